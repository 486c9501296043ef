//! Asks a running daemon what only it knows (`/_enid/…`).

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request without a body. The path may carry a query.
pub(crate) fn request(endpoint: &str, method: &str, path: &str) -> anyhow::Result<Answer> {
    let Some(authority) = endpoint.strip_prefix("http://") else {
        bail!("the endpoint {endpoint} does not start with http://");
    };
    let authority = authority.trim_end_matches('/');
    let address = authority
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("{endpoint} names no host and port"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("no daemon answers at {endpoint} (start one: enid serve)"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut raw = Vec::new();
    stream
        .read_to_end(&mut raw)
        .with_context(|| format!("read the daemon's answer to {method} {path}"))?;
    let text = String::from_utf8_lossy(&raw);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the daemon's answer is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer {
        status: status.context("the daemon's answer has no status")?,
        body: body.to_owned(),
    })
}
