//! Keeps web pages away from Enid's own interface, which asks for no signature.
//!
//! A page from anywhere can make a browser send requests to this machine. Such requests carry an
//! `Origin` that is not this server's, or (when a name was made to point here) a `Host` that is
//! neither an address nor a local name.

use std::net::IpAddr;

use hyper::http::HeaderMap;

/// Whether the request comes from a program on this machine or from a page served here.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let Some(host) = text("host") else {
        return !headers.contains_key("origin");
    };
    if !is_local_name(host) {
        return false;
    }
    match text("origin") {
        None => true,
        Some(origin) => origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|authority| authority == host),
    }
}

/// An address, `localhost`, or a name without a dot, which no public name server gives out.
fn is_local_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let plain = !name.is_empty() && !name.contains('.');
    plain || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_programs_and_own_pages_are_let_in() {
        for (host, origin, wanted) in [
            (Some("127.0.0.1:4566"), None, true),
            (Some("localhost:4566"), None, true),
            (Some("enid:4566"), None, true),
            (Some("[::1]:4566"), None, true),
            (Some("127.0.0.1:4566"), Some("http://127.0.0.1:4566"), true),
            (Some("127.0.0.1:4566"), Some("http://127.0.0.1:8080"), false),
            (Some("127.0.0.1:4566"), Some("https://example.com"), false),
            (Some("127.0.0.1:4566"), Some("null"), false),
            (Some("example.com"), None, false),
            (Some("example.com"), Some("http://example.com"), false),
            (None, None, true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert("host", host.parse().unwrap());
            }
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            assert_eq!(is_local(&headers), wanted, "{host:?} {origin:?}");
        }
    }
}
