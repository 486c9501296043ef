//! HTTP of the metadata service: one connection of an instance.
//!
//! The packets of an answer that has a token go no further than the instance's options say: the socket is
//! told so before the answer is written. What is still on its way of an earlier answer on the same
//! connection then goes no further either; hosts that a token's answer must not reach are not meant to get
//! the others.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use enid_model::time::{Clock as _, SystemClock};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::imds::{self, TOKEN_HEADER, TTL_HEADER};
use super::server::Site;

/// The connection is closed without an answer.
#[derive(Debug)]
struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("who asks gets no answer")
    }
}

impl std::error::Error for NoAnswer {}

/// Answers the requests of a connection until one of both ends closes it.
pub(super) async fn converse(site: &Arc<Site>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    let socket = Arc::new(socket);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(site, peer, &socket, &request);
        async move { answer }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Who has asked may say that it asks no more.
        .half_close(true)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that takes no answer does not keep its place for ever.
    if let Ok(Err(error)) = timeout(CONNECTION_MAX, connection).await {
        tracing::debug!(%error, "a connection to the metadata service ended");
    }
}

fn answer(
    site: &Site,
    peer: SocketAddr,
    socket: &OwnedFd,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let asked = imds::Request {
        method: request.method().as_str(),
        target,
        token: header(TOKEN_HEADER),
        ttl: header(TTL_HEADER),
        is_forwarded: request.headers().contains_key("x-forwarded-for"),
        over_ipv6: peer.is_ipv6(),
    };
    let now = SystemClock.now();
    let imds = &site.shared.imds;
    let answer = site.with_asker(peer.ip(), |asker| imds.answer(asker, &asked, now));
    let answer = answer.flatten().ok_or(NoAnswer)?;
    let hop_limit = answer.hop_limit.unwrap_or(HOP_LIMIT);
    limit_hops(socket, peer, hop_limit).map_err(|_refused| NoAnswer)?;
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(SERVER, imds::SERVER);
    if let Some(ttl) = answer.ttl {
        response = response.header(TTL_HEADER, ttl);
    }
    if let Some(allow) = answer.allow {
        response = response.header(ALLOW, allow);
    }
    let body = Full::from(answer.body);
    response.body(body).map_err(|_malformed| NoAnswer)
}

/// Sets how many hops the packets of a connection may take from now on.
fn limit_hops(socket: &OwnedFd, peer: SocketAddr, hops: u8) -> rustix::io::Result<()> {
    match peer {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_ttl(socket, hops.into()),
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_unicast_hops(socket, Some(hops)),
    }
}

/// Of answers without a token.
const HOP_LIMIT: u8 = 64;
/// How long the head of a request may take, from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// The longest head, with everything that has been read beyond it.
const HEAD_MAX: usize = 16 << 10;
