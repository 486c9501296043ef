//! `application/vnd.amazon.eventstream`: an answer that is told event by event.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>
//!
//! A message is its whole length, the length of its headers and a checksum of both; headers; the payload;
//! a checksum of all before it. All numbers are big-endian.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::answer::{Encode, Sink};
use super::json::Json;

/// The value of `Content-Type`.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The messages of an answer, as they come. It belongs to whoever takes it first.
#[derive(Clone, Default)]
pub struct EventStream(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>);

impl EventStream {
    /// A stream of these messages.
    #[must_use]
    pub fn new(messages: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Some(messages))))
    }

    /// The messages, once.
    #[must_use]
    pub fn take(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}

impl PartialEq for EventStream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The message that stands before all events: the members of the answer beside its events, of which
/// there are none.
#[must_use]
pub fn initial_response() -> Bytes {
    message(":event-type", "initial-response", "event", b"{}")
}

/// The message of an event.
#[must_use]
pub fn event(name: &str, payload: &impl Encode) -> Bytes {
    let mut json = Json::default();
    payload.encode(&mut json);
    message(":event-type", name, "event", &json.finish())
}

/// The message of an exception, after which there is nothing.
#[must_use]
pub fn exception(name: &str, words: &str) -> Bytes {
    let mut json = Json::default();
    json.begin();
    json.name("message");
    json.text(words);
    json.end();
    message(":exception-type", name, "exception", &json.finish())
}

fn message(type_header: &str, name: &str, kind: &str, payload: &[u8]) -> Bytes {
    let mut headers = Vec::new();
    header(&mut headers, ":message-type", kind);
    header(&mut headers, type_header, name);
    header(&mut headers, ":content-type", "application/json");
    let length = PRELUDE + headers.len() + payload.len() + CHECKSUM;
    let mut bytes = Vec::with_capacity(length);
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend(number(length));
    bytes.extend(number(headers.len()));
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.into()
}

/// A header whose value is a text. Both are short constants.
fn header(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(name.as_bytes());
    bytes.push(TEXT);
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(value.as_bytes());
}

/// Two lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The type of a header's value.
const TEXT: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_the_specification_says() {
        let bytes = initial_response();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(number(0) as usize, bytes.len());
        assert_eq!(number(8), crc32fast::hash(&bytes[..8]));
        let end = bytes.len() - 4;
        assert_eq!(number(end), crc32fast::hash(&bytes[..end]));
        let headers_end = 12 + number(4) as usize;
        assert_eq!(&bytes[headers_end..end], b"{}");
        let headers = b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00\x10initial-response\x0d:content-type\x07\x00\x10application/json";
        assert_eq!(&bytes[12..headers_end], headers);
    }

    #[test]
    fn an_exception_has_a_message() {
        let bytes = exception("SessionTimeoutException", "over");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains(":exception-type\u{7}"), "{text}");
        assert!(text.contains("{\"message\":\"over\"}"), "{text}");
    }

    #[test]
    fn a_stream_is_taken_once() {
        let (_sender, receiver) = mpsc::channel(1);
        let stream = EventStream::new(receiver);
        let other = stream.clone();
        assert_eq!(stream, other);
        assert!(other.take().is_some() && stream.take().is_none());
    }
}
