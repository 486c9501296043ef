//! One check: a connection from a node's namespace, and perhaps a question.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use enid_model::target::HealthFailure;
use enid_model::target_group::HealthCheckProtocol;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::wanted::Check;
use crate::netns::NetNs;
use crate::proxy::header;
use crate::trusting::Trusting;

/// Makes checks, not too many at once.
pub(super) struct Prober {
    permits: Semaphore,
    tls: Option<TlsConnector>,
}

/// What an attempt came to.
type Outcome = Result<(), HealthFailure>;

impl Prober {
    pub(super) fn new(permits: Semaphore) -> Self {
        Self {
            permits,
            tls: Trusting::config().map(|config| TlsConnector::from(Arc::new(config))),
        }
    }

    /// Checks a target from a node.
    pub(super) async fn probe(&self, namespace: &NetNs, check: &Check, host: &str) -> Outcome {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(HealthFailure::Timeout);
        };
        let limit = Duration::from_secs(check.settings.timeout_s.into());
        let attempt = self.attempt(namespace, check, host);
        let ended = tokio::time::timeout(limit, attempt).await;
        ended.unwrap_or(Err(HealthFailure::Timeout))
    }

    async fn attempt(&self, namespace: &NetNs, check: &Check, host: &str) -> Outcome {
        let refused = |_error| HealthFailure::Connection;
        let socket = namespace.run(|| match check.address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        });
        let socket = match socket {
            Ok(made) => made.map_err(refused)?,
            Err(error) => {
                tracing::warn!(
                    error = crate::chain(&error),
                    "a node's namespace is not there"
                );
                return Err(HealthFailure::Connection);
            }
        };
        let stream = socket.connect(check.address).await;
        let mut stream = stream.map_err(refused)?;
        if check.has_header {
            let written = stream.write_all(&header::of_node()).await;
            written.map_err(refused)?;
        }
        match check.settings.protocol {
            HealthCheckProtocol::Tcp => Ok(()),
            HealthCheckProtocol::Http => ask(stream, check, host).await,
            HealthCheckProtocol::Https => {
                let stream = self.secure(stream, check).await.map_err(refused)?;
                ask(stream, check, host).await
            }
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        check: &Check,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let tls = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let name = ServerName::IpAddress(check.address.ip().into());
        tls.connect(name, stream).await
    }
}

/// Asks for the path and reads the status.
async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, check: &Check, host: &str) -> Outcome {
    let status = exchange(stream, &check.settings.path, host).await;
    match status {
        Ok(Some(status)) if check.settings.matcher.has(status) => Ok(()),
        Ok(Some(status)) => Err(HealthFailure::Status(status)),
        Ok(None) | Err(_) => Err(HealthFailure::Connection),
    }
}

/// The status of an answer; `None` if what came is none of HTTP.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    host: &str,
) -> io::Result<Option<u16>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: {AGENT}\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(HEAD);
    while answer.len() < HEAD {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(status_of(&answer))
}

/// What AWS's health checks call themselves.
const AGENT: &str = "ELB-HealthChecker/2.0";

/// As much of an answer as says the status: `HTTP/1.1 200`.
const HEAD: usize = 12;

fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    let code = match rest {
        [b'0' | b'1', b' ', code @ ..] => code.get(..3)?,
        _ => return None,
    };
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_of_http_and_of_nothing_else() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503"), Some(503));
        for other in [
            &b""[..],
            b"HTTP/1.1 20",
            b"HTTP/2 200 ok",
            b"HTTP/1.1 2x0",
            b"SSH-2.0-OpenSSH",
        ] {
            assert_eq!(status_of(other), None);
        }
    }

    #[test]
    fn the_question_says_whom_it_asks_and_for_what() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1024);
            let asked = exchange(near, "/health", "10.0.0.9:80");
            let answers = async {
                let mut question = Vec::new();
                while !question.ends_with(b"\r\n\r\n") {
                    far.read_buf(&mut question).await.unwrap();
                }
                far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
                String::from_utf8(question).unwrap()
            };
            let (status, question) = tokio::join!(asked, answers);
            assert_eq!(status.unwrap(), Some(204));
            assert!(question.starts_with("GET /health HTTP/1.1\r\nHost: 10.0.0.9:80\r\n"));
        });
    }
}
