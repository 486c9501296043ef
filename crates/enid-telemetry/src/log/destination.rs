//! Where subscriptions are sent: an HTTP URL, and one request to it.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// An HTTP URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// With the port, if the URL has one.
    authority: String,
    /// With the query.
    path: String,
}

/// Why a destination is none, or did not take what it was sent.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// It answered, but did not take it.
    #[error("the destination answered \"{0}\"")]
    Answer(Box<str>),
    /// It could not be reached, or did not answer.
    #[error("send to the destination")]
    Io(#[from] io::Error),
    /// A service of AWS that Enid does not have.
    #[error("Enid does not implement destinations of the service '{0}'")]
    Service(Box<str>),
    /// Neither an ARN nor a URL that Enid can send to.
    #[error("'{0}' is not an http:// URL")]
    Url(Box<str>),
}

impl Destination {
    /// Reads a URL, or refuses an ARN by the name of its service.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let malformed = || DestinationError::Url(text.chars().take(100).collect());
        if let Some(arn) = text.strip_prefix("arn:") {
            let service = arn.split(':').nth(1).unwrap_or_default();
            return Err(DestinationError::Service(service.into()));
        }
        let rest = text.strip_prefix("http://").ok_or_else(malformed)?;
        // What is written into a request is a line of it.
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed());
        }
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let (host, port) = host_and_port(authority).ok_or_else(malformed)?;
        if host.is_empty() || host.contains('@') || port == Some(0) {
            return Err(malformed());
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
        })
    }

    /// Sends a JSON document, and waits for the answer that it was taken. Blocks.
    pub fn post(&self, body: &[u8]) -> Result<(), DestinationError> {
        let (host, port) = host_and_port(&self.authority).unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = (host, port.unwrap_or(80)).to_socket_addrs()?;
        let address = addresses.next();
        let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\nUser-Agent: Enid\r\n\r\n",
            self.path,
            self.authority,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
        let status = line.trim().split_once(' ').map(|(_, status)| status);
        match status {
            Some(status) if status.starts_with('2') => Ok(()),
            Some(status) => Err(DestinationError::Answer(status.into())),
            None => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }
}

/// The URL.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// A host, an IPv6 address in brackets, and the port behind it.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = authority.rfind(':');
    let colon = colon.filter(|at| !authority[*at..].contains(']'));
    match colon {
        Some(at) => Some((&authority[..at], Some(authority[at + 1..].parse().ok()?))),
        None => Some((authority, None)),
    }
}

/// How long a destination may take for each step.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read of an answer at most.
const LINE_MAX: u64 = 1024;

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with a status; what its body was.
    pub(in crate::log) fn answer_one(listener: &TcpListener, status: &str) -> Vec<u8> {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let written = reader.get_mut().write_all(answer.as_bytes());
        written.expect("the answer is written");
        body
    }

    #[test]
    fn urls_are_read() {
        for (text, read) in [
            ("http://127.0.0.1:8080/a?b=c", "http://127.0.0.1:8080/a?b=c"),
            ("http://sink", "http://sink/"),
            ("http://[::1]:9/x", "http://[::1]:9/x"),
            ("http://sink?x#y", "http://sink/?x"),
        ] {
            let destination = Destination::parse(text).expect(text);
            assert_eq!(destination.to_string(), read);
        }
        for (text, said) in [
            (
                "arn:aws:lambda:eu-west-1:123456789012:function:f",
                "Enid does not implement destinations of the service 'lambda'",
            ),
            ("https://sink/", "'https://sink/' is not an http:// URL"),
            ("http://", "'http://' is not an http:// URL"),
            ("http://a b/", "'http://a b/' is not an http:// URL"),
            ("http://a:x/", "'http://a:x/' is not an http:// URL"),
            ("http://u:p@h/", "'http://u:p@h/' is not an http:// URL"),
        ] {
            let error = Destination::parse(text).expect_err(text);
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn what_is_not_taken_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let destination = Destination::parse(&url).expect("a URL");
        for (status, is_taken) in [("200 OK", true), ("404 Not Found", false)] {
            std::thread::scope(|scope| {
                let server = scope.spawn(|| answer_one(&listener, status));
                assert_eq!(destination.post(b"{}").is_ok(), is_taken, "{status}");
                assert_eq!(server.join().expect("served"), b"{}");
            });
        }
        drop(listener);
        assert!(matches!(
            destination.post(b"{}"),
            Err(DestinationError::Io(_))
        ));
    }
}
