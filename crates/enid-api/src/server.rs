//! HTTP/1.1: connections, limits and stopping.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::front::FrontDoor;
use crate::reply::Reply;

/// The longest body. AWS's own limit is of this order; user data is 16 KiB.
const BODY_MAX: usize = 1024 * 1024;
/// The longest body of a document. PutLogEvents takes a mebibyte of messages, and JSON may write a byte of
/// them as six.
const DOCUMENT_MAX: usize = 8 * 1024 * 1024;
/// The longest request line with all headers; a presigned request has everything in its line.
const HEAD_MAX: usize = 64 * 1024;
/// Connections at a time. When there are more, they wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// For the head of the next request; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// For a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// For requests under way when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After the system refused a connection for lack of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` becomes true, then finishes the requests under way.
pub async fn serve(listener: TcpListener, front: Arc<FrontDoor>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let stopping = stop.clone();
    loop {
        let place = tokio::select! {
            () = stopped(&mut stop) => break,
            place = Arc::clone(&places).acquire_owned() => match place {
                Ok(place) => place,
                Err(_) => break,
            },
        };
        let (stream, peer) = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => (stream, peer),
                Err(error) => {
                    // A connection that went away is no matter; being out of files is, for a while.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (front, stop) = (Arc::clone(&front), stopping.clone());
        connections.spawn(async move {
            connection(stream, peer, front, stop).await;
            drop(place);
        });
        // Finished ones are collected as new ones come, so that the set stays small.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(DRAIN_TIMEOUT, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "requests cut off");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<FrontDoor>,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let stopping = stop.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (front, stop) = (Arc::clone(&front), stopping.clone());
        async move {
            let response = receive(&front, request).await;
            // What would go on for hours ends with the server.
            Ok::<_, Infallible>(response.map(|body| body.until(stop)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // `None`: the server stops.
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stopped(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Returns when the server is to stop, or whoever would say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn receive(front: &Arc<FrontDoor>, request: Request<Incoming>) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let is_document = ["x-amz-target", "smithy-protocol"]
        .iter()
        .any(|name| parts.headers.contains_key(*name));
    let most = match is_document {
        true => DOCUMENT_MAX,
        false => BODY_MAX,
    };
    let whole = timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
    match whole {
        Ok(Ok(body)) => {
            // A task of its own: an operation that has begun ends, whether or not its client waits.
            let request = Request::from_parts(parts, body.to_bytes());
            let answering = Arc::clone(front);
            let answer = tokio::spawn(async move { answering.answer(request).await });
            match answer.await {
                Ok(response) => response,
                Err(failure) => front.unreadable(ApiError::internal(failure)),
            }
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => front.unreadable(ApiError::new(
            "RequestEntityTooLarge",
            413,
            format!("A request must not be longer than {most} bytes."),
        )),
        Ok(Err(_)) => front.unreadable(ApiError::new(
            "MalformedHTTPRequestException",
            400,
            "The body could not be read.".to_owned(),
        )),
        Err(_) => front.unreadable(ApiError::new(
            "RequestTimeout",
            408,
            "The body did not arrive in time.".to_owned(),
        )),
    }
}
