//! The canonical form of a request, which is what a client signs.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::http::HeaderMap;

use crate::wire::form::decode;

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The query string as sent, without the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// The canonical request. `None` if the request cannot have one: a header that is said to be
/// signed is absent or not text, or the query is not a form.
pub(super) fn request(signed: Signed<'_>, signed_headers: &str, body_hash: &str) -> Option<String> {
    let mut out = String::with_capacity(512);
    out.push_str(signed.method);
    out.push('\n');
    path(&mut out, signed.path);
    out.push('\n');
    query(&mut out, signed.query)?;
    out.push('\n');
    for name in signed_headers.split(';') {
        header(&mut out, signed.headers, name)?;
    }
    out.push('\n');
    out.push_str(signed_headers);
    out.push('\n');
    out.push_str(body_hash);
    Some(out)
}

/// The path: normalised, and encoded once more than it was sent.
fn path(out: &mut String, path: &str) {
    if matches!(path, "/" | "") {
        out.push('/');
        return;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push('/');
        encode(out, segment.as_bytes());
    }
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if segments.is_empty() || directory {
        out.push('/');
    }
}

/// The query: decoded, encoded in the one canonical way, sorted; without the signature itself.
fn query(out: &mut String, query: &str) -> Option<()> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let canonical = |text: &str| -> Option<String> {
            let decoded: Cow<'_, str> = decode(text.as_bytes()).ok()?;
            let mut encoded = String::with_capacity(decoded.len());
            encode(&mut encoded, decoded.as_bytes());
            Some(encoded)
        };
        let name = canonical(name)?;
        if name != "X-Amz-Signature" {
            pairs.push((name, canonical(value)?));
        }
    }
    pairs.sort();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    Some(())
}

/// A header's line: values joined, outer space trimmed, inner space collapsed.
fn header(out: &mut String, headers: &HeaderMap, name: &str) -> Option<()> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    out.push_str(name);
    out.push(':');
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        for (at, word) in value
            .split([' ', '\t'])
            .filter(|word| !word.is_empty())
            .enumerate()
        {
            if at > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    out.push('\n');
    Some(())
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte));
            }
            byte => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_encoded() {
        for (sent, wanted) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/a%20b", "/a%2520b"),
            ("/%E1%88%B4", "/%25E1%2588%25B4"),
            ("/-._~", "/-._~"),
        ] {
            let mut out = String::new();
            path(&mut out, sent);
            assert_eq!(out, wanted, "{sent}");
        }
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        for (sent, wanted) in [
            ("", Some("")),
            ("b=2&a=1&a=0", Some("a=0&a=1&b=2")),
            ("a", Some("a=")),
            ("a=%7e+x&X-Amz-Signature=y", Some("a=~%20x")),
            ("a=/:", Some("a=%2F%3A")),
            ("a=%", None),
        ] {
            let mut out = String::new();
            assert_eq!(
                query(&mut out, sent).map(|()| out.as_str()),
                wanted,
                "{sent}"
            );
        }
    }

    #[test]
    fn headers_are_trimmed_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x", " a   b ".parse().unwrap());
        headers.append("x", "c".parse().unwrap());
        let mut out = String::new();
        assert_eq!(header(&mut out, &headers, "x"), Some(()));
        assert_eq!(out, "x:a b,c\n");
        assert_eq!(header(&mut out, &headers, "y"), None);
    }
}
