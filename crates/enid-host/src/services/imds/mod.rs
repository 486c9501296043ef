//! The instance metadata service, versions 1 and 2.
//!
//! [`Imds::answer`] is a function of the state, of who asks, and of the request. It has no memory:
//! a session token says itself for which instance and until when it holds, and is signed with a key
//! that the data directory keeps ([`token`]). What there is to tell is built anew for each request
//! ([`tree`]), so that an answer is never older than the state.
//!
//! Source of the behaviour: the EC2 User Guide, "Access instance metadata" and "Instance metadata
//! categories".

mod token;
mod tree;

use std::net::IpAddr;
use std::path::Path;

use enid_model::instance_metadata::MetadataOptions;
use enid_model::time::Timestamp;

use super::asker::Asker;
use token::Key;
pub use token::KeyError;
use tree::{Found, Tree};

/// The metadata service of one daemon.
pub struct Imds {
    key: Key,
}

/// A request, as far as the service looks at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The target of the request line: a path, and perhaps a query.
    pub target: &'a str,
    /// The value of [`TOKEN_HEADER`].
    pub token: Option<&'a [u8]>,
    /// The value of [`TTL_HEADER`].
    pub ttl: Option<&'a [u8]>,
    /// Whether there is an `X-Forwarded-For` header: a proxy passed it on.
    pub is_forwarded: bool,
    /// Whether it came to the service's IPv6 address.
    pub over_ipv6: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// How many seconds a token holds: the value of [`TTL_HEADER`].
    pub ttl: Option<u32>,
    /// The methods that the path has, where the request's is none of them.
    pub allow: Option<&'static str>,
    /// How many hops the packets of the answer may take, where that is limited.
    pub hop_limit: Option<u8>,
    /// The body; to be left away if the request's method is `HEAD`.
    pub body: Vec<u8>,
}

/// The header that carries a session token.
pub const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// The header that says how many seconds a token shall hold, and does.
pub const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// What the service calls itself.
pub const SERVER: &str = "EC2ws";
/// The service's address.
pub const IPV4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254));
/// The service's IPv6 address.
pub const IPV6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));
/// A token holds for six hours at most.
const TTL_MAX: u32 = 21_600;
const TOKEN_PATH: [&str; 3] = ["latest", "api", "token"];

impl Imds {
    /// The service with the key of a data directory; one is made if there is none.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let key = Key::open(data_dir)?;
        Ok(Self { key })
    }

    /// The service with a given key.
    #[must_use]
    pub fn with_key(key: [u8; 32]) -> Self {
        Self { key: Key::new(key) }
    }

    /// The answer to a request; `None` is none: whoever asks is no instance, or the service is not
    /// there at the address that it asked.
    #[must_use]
    pub fn answer(
        &self,
        asker: &Asker<'_>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Option<Response> {
        let instance = asker.instance()?;
        let options = instance.metadata_options;
        if request.over_ipv6 && !options.ipv6_enabled {
            return None;
        }
        if !options.endpoint_enabled {
            return Some(error(403));
        }
        let path = request.target.split(['?', '#']).next().unwrap_or_default();
        // Clients join paths carelessly: a doubled slash is one.
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let is_token_path = segments == TOKEN_PATH;
        Some(match request.method {
            "PUT" if is_token_path => {
                let mut response = self.new_token(asker, request, now);
                response.hop_limit = Some(options.hop_limit);
                response
            }
            // The service of a certain version has no tokens.
            "PUT" if matches!(*segments, [_, "api", "token"]) => error(403),
            "GET" | "HEAD" if is_token_path => not_allowed("OPTIONS, PUT"),
            "GET" | "HEAD" => match self.admit(instance.id.to_string(), options, request, now) {
                Ok(()) => tell(asker, options, &segments),
                Err(refusal) => refusal,
            },
            _ if is_token_path => not_allowed("OPTIONS, PUT"),
            _ => not_allowed("OPTIONS, HEAD, GET"),
        })
    }

    fn new_token(&self, asker: &Asker<'_>, request: &Request<'_>, now: Timestamp) -> Response {
        // A token is for the instance that asks, never for whoever stands behind a proxy on it.
        if request.is_forwarded {
            return error(403);
        }
        let ttl = request.ttl.and_then(|text| std::str::from_utf8(text).ok());
        let ttl = ttl.and_then(|text| text.trim().parse().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=TTL_MAX).contains(ttl)) else {
            return error(400);
        };
        let Some(instance) = asker.instance() else {
            return error(403);
        };
        let token = self.key.token(&instance.id.to_string(), now, ttl);
        Response {
            ttl: Some(ttl),
            ..text(token.into_bytes())
        }
    }

    /// Whether a request may be answered: a token has to hold, and there has to be one if the
    /// instance's options say so.
    fn admit(
        &self,
        instance: String,
        options: MetadataOptions,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<(), Response> {
        match request.token {
            Some(token) if self.key.is_valid(token, &instance, now) => Ok(()),
            None if !options.tokens_required => Ok(()),
            _ => Err(error(401)),
        }
    }
}

/// What there is at a path.
fn tell(asker: &Asker<'_>, options: MetadataOptions, segments: &[&str]) -> Response {
    let Some((version, rest)) = segments.split_first() else {
        let versions = tree::VERSIONS.join("\n");
        return text(format!("{versions}\nlatest").into_bytes());
    };
    let version = match *version {
        "latest" => None,
        dated if tree::VERSIONS.contains(&dated) => Some(dated),
        _ => return error(404),
    };
    let Some(tree) = Tree::of(asker, options, version) else {
        return error(404);
    };
    match tree.find(rest) {
        Some(Found::Listing(names)) => text(names.join("\n").into_bytes()),
        Some(Found::Value(value)) if matches!(rest, ["user-data"]) => Response {
            content_type: "application/octet-stream",
            ..text(value.to_vec())
        },
        Some(Found::Value(value)) => text(value.to_vec()),
        None => error(404),
    }
}

fn text(body: Vec<u8>) -> Response {
    Response {
        status: 200,
        content_type: "text/plain",
        ttl: None,
        allow: None,
        hop_limit: None,
        body,
    }
}

fn not_allowed(allow: &'static str) -> Response {
    Response {
        allow: Some(allow),
        ..error(405)
    }
}

/// The page that goes with an error's status.
fn error(status: u16) -> Response {
    let title = match status {
        400 => "400 - Bad Request",
        401 => "401 - Unauthorized",
        403 => "403 - Forbidden",
        404 => "404 - Not Found",
        _ => "405 - Method Not Allowed",
    };
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n\
         <head><title>{title}</title></head>\n\
         <body><h1>{title}</h1></body>\n\
         </html>\n"
    );
    Response {
        status,
        content_type: "text/html",
        ..text(page.into_bytes())
    }
}

#[cfg(test)]
mod tests;
