//! HTTP of the metadata service: one connection of an instance.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::server::Site;

/// Answers the requests of a connection until one of both ends closes it.
pub(super) async fn converse(site: &Arc<Site>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(site);
        async move { Ok::<_, Infallible>(answer(&site, peer, &request)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the metadata service ended");
    }
}

fn answer(site: &Site, peer: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let state = site.state();
    let eni = site.asker(&state, peer.ip());
    let text = format!("{eni:?} {}", request.uri().path());
    Response::new(Full::from(text))
}

/// How long the head of a request may take, from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head: hyper's least.
const HEAD_MAX: usize = 16 << 10;
