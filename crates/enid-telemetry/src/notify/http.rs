//! Delivery by HTTP and HTTPS: one request on one connection, and what its answer means.
//!
//! The address that is connected to is the one that was allowed ([`Reach`]). Redirections are not
//! followed, and of an answer only the status is read.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::outcome::Outcome;
use super::reach::{Reach, Unreachable};

/// An endpoint, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    is_tls: bool,
    /// As it is in the URL, an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

/// Why a URL is no endpoint that can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL cannot be read.
    #[error("the URL cannot be read")]
    Malformed,
    /// A user name or password is in it.
    #[error("Enid does not implement credentials in URLs")]
    Credentials,
    /// Where it leads to may not be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Endpoint {
    /// The endpoint of a URL.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_no_uri| EndpointError::Malformed)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(EndpointError::Malformed),
        };
        let authority = uri.authority().ok_or(EndpointError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(EndpointError::Malformed);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn host_header(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        match self.port == usual {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The addresses behind it that may be reached.
    async fn addresses(&self, reach: &Reach) -> Result<Vec<SocketAddr>, Outcome> {
        let found = lookup_host((self.bare_host(), self.port)).await;
        let found = found.map_err(|_unknown| Outcome::Failed("the endpoint's name is unknown"))?;
        let allowed: Vec<_> = found.filter(|to| reach.check(*to).is_ok()).collect();
        match allowed.is_empty() {
            true => Err(Outcome::Refused("the endpoint may not be reached")),
            false => Ok(allowed),
        }
    }
}

/// Sends requests.
pub struct Client {
    reach: Reach,
    /// Certificates that are trusted beside those of the system, in PEM.
    certificates: Vec<u8>,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// A request's own headers, and its body.
pub(super) struct Post {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content_type: String,
    pub(super) body: String,
}

/// For everything from the connection to the answer's head.
/// Source: the SNS Developer Guide, "Fanout Amazon SNS notifications to HTTPS endpoints".
const PATIENCE: Duration = Duration::from_secs(15);
/// For finding an endpoint's address when it is subscribed.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

impl Client {
    /// A client with these bounds.
    #[must_use]
    pub fn new(reach: Reach, certificates: Vec<u8>) -> Self {
        Self {
            reach,
            certificates,
            tls: OnceLock::new(),
        }
    }

    /// Whether a URL may be subscribed. A name that cannot be resolved now may be another time, and is
    /// asked again at every connection.
    pub async fn admit(&self, url: &str) -> Result<(), EndpointError> {
        let endpoint = Endpoint::parse(url)?;
        let found = lookup_host((endpoint.bare_host(), endpoint.port));
        let Ok(Ok(found)) = timeout(LOOKUP_PATIENCE, found).await else {
            return Ok(());
        };
        let mut refused = None;
        for to in found {
            match self.reach.check(to) {
                Ok(()) => return Ok(()),
                Err(why) => refused = Some(why),
            }
        }
        refused.map_or(Ok(()), |why| Err(why.into()))
    }

    /// Sends a request and says what became of it.
    pub(super) async fn post(&self, url: &str, post: Post) -> Outcome {
        let Ok(endpoint) = Endpoint::parse(url) else {
            return Outcome::Refused("the endpoint is no URL");
        };
        match timeout(PATIENCE, self.send(&endpoint, post)).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_elapsed) => Outcome::Failed("the endpoint did not answer in time"),
        }
    }

    async fn send(&self, endpoint: &Endpoint, post: Post) -> Result<Outcome, Outcome> {
        let addresses = endpoint.addresses(&self.reach).await?;
        let stream = TcpStream::connect(&*addresses).await;
        let stream = stream.map_err(|_refused| Outcome::Failed("no connection to the endpoint"))?;
        let request = request(endpoint, post)?;
        if !endpoint.is_tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(endpoint.bare_host().to_owned());
        let name = name.map_err(|_invalid| Outcome::Refused("the endpoint's name is none"))?;
        let connector = TlsConnector::from(self.tls());
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|_untrusted| Outcome::Failed("no TLS with the endpoint"))?;
        exchange(stream, request).await
    }

    /// The certificates that are trusted are read at the first use of TLS.
    fn tls(&self) -> Arc<ClientConfig> {
        let made = self.tls.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            let own = CertificateDer::pem_slice_iter(&self.certificates);
            roots.add_parsable_certificates(own.filter_map(Result::ok));
            let config = ClientConfig::builder().with_root_certificates(roots);
            Arc::new(config.with_no_client_auth())
        });
        Arc::clone(made)
    }
}

fn request(endpoint: &Endpoint, post: Post) -> Result<Request<Full<Bytes>>, Outcome> {
    let unwritable = || Outcome::Refused("the request cannot be written");
    let mut request = Request::post(&endpoint.path)
        .header(HOST, endpoint.host_header())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT_ENCODING, "gzip,deflate")
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, post.content_type);
    for (name, value) in post.headers {
        let value = HeaderValue::try_from(value).map_err(|_invalid| unwritable())?;
        request = request.header(HeaderName::from_static(name), value);
    }
    let request = request.body(Full::new(Bytes::from(post.body)));
    request.map_err(|_invalid| unwritable())
}

/// What AWS calls itself.
const AGENT: &str = "Amazon Simple Notification Service Agent";

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Outcome, Outcome> {
    let broken = |_error: hyper::Error| Outcome::Failed("the connection to the endpoint broke");
    let stream = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(broken)?;
    let response = sender.send_request(request);
    tokio::pin!(connection);
    tokio::pin!(response);
    // The connection does the work; it may be over before the answer is looked at.
    let response = tokio::select! {
        response = &mut response => response,
        ended = &mut connection => {
            ended.map_err(broken)?;
            response.await
        }
    };
    let status = response.map_err(broken)?.status();
    Ok(Outcome::of_status(status.as_u16()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let endpoint = Endpoint::parse("http://[::1]:8080/a?b=c").unwrap();
        assert_eq!(endpoint.bare_host(), "::1");
        assert_eq!(endpoint.host_header(), "[::1]:8080");
        assert_eq!(endpoint.path, "/a?b=c");
        let endpoint = Endpoint::parse("https://example.com").unwrap();
        assert_eq!((endpoint.port, &*endpoint.path), (443, "/"));
        assert_eq!(endpoint.host_header(), "example.com");
        let with = Endpoint::parse("https://user:word@example.com/");
        assert_eq!(with, Err(EndpointError::Credentials));
        for url in ["", "ftp://a/", "http:///a", "/a", "http://a b/"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    fn client() -> Client {
        let own = "127.0.0.1:1".parse().unwrap();
        Client::new(Reach::new(Reach::loopback(), own), Vec::new())
    }

    fn letter() -> Post {
        Post {
            headers: vec![("x-amz-sns-message-type", "Notification".to_owned())],
            content_type: "text/plain".to_owned(),
            body: "hello".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_request_is_sent_and_its_status_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"hello") {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).await.unwrap();
                head.extend(&buffer[..count]);
            }
            let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let outcome = client().post(&url, letter()).await;
        assert_eq!(outcome, Outcome::Failed("the endpoint failed"));
        let request = server.await.unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("x-amz-sns-message-type: Notification\r\n"));
        assert!(request.contains("content-length: 5\r\n"));
    }

    #[tokio::test]
    async fn what_may_not_be_reached_is_not() {
        let outcome = client()
            .post("http://169.254.169.254/latest/", letter())
            .await;
        assert_eq!(outcome, Outcome::Refused("the endpoint may not be reached"));
        let admitted = client().admit("http://10.0.0.1/").await;
        assert!(matches!(admitted, Err(EndpointError::Unreachable(_))));
        assert_eq!(client().admit("http://127.0.0.1:8080/").await, Ok(()));
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", nobody.local_addr().unwrap());
        drop(nobody);
        let outcome = client().post(&url, letter()).await;
        assert_eq!(outcome, Outcome::Failed("no connection to the endpoint"));
    }
}
