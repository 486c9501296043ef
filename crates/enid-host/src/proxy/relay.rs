//! Bytes from one connection to another, both ways.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection, with or without TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// The connection below.
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Wire for tokio_rustls::client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Has a connection reset when it is dropped, whatever drops it, until it has ended well.
pub(super) fn reset(stream: &TcpStream) {
    // One that is gone already needs none.
    let _ = stream.set_zero_linger();
}

/// Ends a connection that was to be reset: what is on its way still arrives.
pub(super) fn end(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, None);
}

/// Why connections end before both sides have said so.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// Nothing came for too long.
    #[error("nothing was carried for too long")]
    Idle,
    /// One of them broke.
    #[error("a connection broke")]
    Broken(#[source] io::Error),
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Target,
}

/// Carries what each side sends to the other until both have ended. `count` is told how many bytes were.
pub(super) async fn relay(
    client: &mut Box<dyn Wire>,
    target: &mut Box<dyn Wire>,
    idle: Duration,
    count: impl Fn(Side, u64),
) -> Result<(), Cut> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_target, mut to_target) = tokio::io::split(target);
    let clock = Activity::new(idle);
    let of_client = |bytes| count(Side::Client, bytes);
    let of_target = |bytes| count(Side::Target, bytes);
    let there = pump(&mut from_client, &mut to_target, &clock, &of_client);
    let back = pump(&mut from_target, &mut to_client, &clock, &of_target);
    tokio::try_join!(there, back).map(|_| ())
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    clock: &Activity,
    count: &impl Fn(u64),
) -> Result<(), Cut> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = clock.limit(from.read(&mut buffer)).await?;
        let length = match read {
            Ok(length) => length,
            // Many end TLS without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(Cut::Broken(error)),
        };
        if length == 0 {
            let ended = clock.limit(to.shutdown()).await?;
            return ended.map_err(Cut::Broken);
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        let written = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        clock.limit(written).await?.map_err(Cut::Broken)?;
        count(length as u64);
    }
}

/// Bytes of one direction of a connection that are on their way.
const BUFFER: usize = 16 * 1024;

/// When something was carried last, in either direction.
struct Activity {
    began: Instant,
    idle: Duration,
    last_ms: AtomicU64,
}

impl Activity {
    fn new(idle: Duration) -> Self {
        Self {
            began: Instant::now(),
            idle,
            last_ms: AtomicU64::new(0),
        }
    }

    /// Waits for something to be done, as long as something is done now and then in the other direction.
    async fn limit<T>(&self, work: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::pin!(work);
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = self.began + last + self.idle;
            match tokio::time::timeout_at(until, &mut work).await {
                Ok(done) => {
                    let now = self.began.elapsed().as_millis();
                    let now = u64::try_from(now).unwrap_or(u64::MAX);
                    self.last_ms.store(now, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(_elapsed) => {
                    let newer = self.last_ms.load(Ordering::Relaxed);
                    if Duration::from_millis(newer) == last {
                        return Err(Cut::Idle);
                    }
                }
            }
        }
    }
}
