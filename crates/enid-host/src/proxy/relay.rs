//! Bytes from one connection to another, both ways.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::keepalive::watch;

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
    let clock = Activity::new(idle);
    // The sockets are watched while the connections above them are read and written.
    let sockets = [client.socket().as_raw_fd(), target.socket().as_raw_fd()];
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_target, mut to_target) = tokio::io::split(target);
    let of_client = |bytes| count(Side::Client, bytes);
    let of_target = |bytes| count(Side::Target, bytes);
    let there = pump(&mut from_client, &mut to_target, &clock, &of_client);
    let back = pump(&mut from_target, &mut to_client, &clock, &of_target);
    let watching = watch(sockets, idle, &clock);
    let both = async { tokio::try_join!(there, back).map(|_| ()) };
    tokio::select! {
        carried = both => carried,
        () = watching => Ok(()),
    }
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
pub(super) struct Activity {
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

    /// Something was carried, or came.
    pub(super) fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// When that was last, in milliseconds since the beginning.
    pub(super) fn last(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// Waits for something to be done, as long as something is done now and then in the other direction.
    async fn limit<T>(&self, work: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::pin!(work);
        loop {
            let last = Duration::from_millis(self.last());
            let until = self.began + last + self.idle;
            match tokio::time::timeout_at(until, &mut work).await {
                Ok(done) => {
                    self.note();
                    return Ok(done);
                }
                Err(_elapsed) => {
                    if Duration::from_millis(self.last()) == last {
                        return Err(Cut::Idle);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::{SockRef, TcpKeepalive};
    use tokio::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("a connection"), far.expect("a connection").0)
    }

    /// Carries between two connections, and gives their outer ends.
    async fn carried(
        idle: Duration,
    ) -> (
        TcpStream,
        TcpStream,
        tokio::task::JoinHandle<(Result<(), Cut>, [u64; 2])>,
    ) {
        let ((client, near), (target, far)) = (pair().await, pair().await);
        let relaying = tokio::spawn(async move {
            let counts = [AtomicU64::new(0), AtomicU64::new(0)];
            let count = |side: Side, bytes| {
                counts[side as usize].fetch_add(bytes, Ordering::Relaxed);
            };
            let (mut near, mut far): (Box<dyn Wire>, Box<dyn Wire>) =
                (Box::new(near), Box::new(far));
            let done = relay(&mut near, &mut far, idle, count).await;
            (done, counts.map(|count| count.into_inner()))
        });
        (client, target, relaying)
    }

    #[tokio::test]
    async fn what_each_side_sends_arrives_and_is_counted_until_both_end() {
        let (mut client, mut target, relaying) = carried(Duration::from_secs(9)).await;
        client.write_all(b"question").await.expect("sent");
        client.shutdown().await.expect("half closed");
        let mut heard = Vec::new();
        target.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"question");
        // The other half goes on.
        target.write_all(b"an answer").await.expect("sent");
        drop(target);
        heard.clear();
        client.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"an answer");
        let (done, counts) = relaying.await.expect("no panic");
        assert!(done.is_ok());
        assert_eq!(counts, [8, 9]);
    }

    #[tokio::test]
    async fn silence_ends_a_connection_unless_it_is_kept_alive() {
        let idle = Duration::from_millis(2_400);
        let (_client, _target, silent) = carried(idle).await;
        let (mut client, mut target, kept) = carried(idle).await;
        let every = TcpKeepalive::new()
            .with_time(Duration::from_secs(1))
            .with_interval(Duration::from_secs(1));
        SockRef::from(&client)
            .set_tcp_keepalive(&every)
            .expect("it is kept alive");
        let (done, _) = silent.await.expect("no panic");
        assert!(matches!(done, Err(Cut::Idle)));
        tokio::time::sleep(idle).await;
        assert!(!kept.is_finished());
        client.write_all(b"it").await.expect("sent");
        let mut heard = [0; 2];
        target.read_exact(&mut heard).await.expect("heard");
        assert_eq!(&heard, b"it");
        // And nothing after it: it ends as well.
        SockRef::from(&client)
            .set_keepalive(false)
            .expect("no longer");
        let (done, _) = kept.await.expect("no panic");
        assert!(matches!(done, Err(Cut::Idle)));
    }
}
