//! TCP: bytes per second, round trips, and connections per second.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::latency::Samples;
use crate::server::{CONNECT_PORT, ECHO_PORT, STREAM_PORT};

/// An answer that takes longer is a failure, not a sample.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Round trips before the first sample: both caches and the peer's scheduler are warm then.
const WARM_UP: usize = 200;

/// Opens a connection that fails rather than hangs.
pub(crate) fn connect(to: SocketAddr) -> Result<TcpStream> {
    let connection =
        TcpStream::connect_timeout(&to, ANSWER_MAX).with_context(|| format!("connect to {to}"))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    connection.set_write_timeout(Some(ANSWER_MAX))?;
    Ok(connection)
}

/// Bytes per second that the peer accepts.
pub(crate) fn stream(to: IpAddr, duration: Duration) -> Result<Value> {
    let mut connection = connect((to, STREAM_PORT).into())?;
    let buffer = vec![0x5a; 128 * 1024];
    // Slow start and buffer growth are not what is compared.
    let warm = Instant::now();
    while warm.elapsed() < duration / 10 {
        connection.write_all(&buffer).context("send")?;
    }
    let start = Instant::now();
    let mut bytes = 0_u64;
    while start.elapsed() < duration {
        connection.write_all(&buffer).context("send")?;
        bytes += buffer.len() as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "bytes_per_second": rate(bytes, seconds), "seconds": seconds }))
}

/// Round trips of one byte over one connection.
pub(crate) fn request_response(to: IpAddr, duration: Duration) -> Result<Value> {
    let mut connection = connect((to, ECHO_PORT).into())?;
    for _ in 0..WARM_UP {
        round_trip(&mut connection)?;
    }
    let mut samples = Samples::with_capacity(1 << 20);
    let start = Instant::now();
    let mut before = start;
    while before - start < duration {
        round_trip(&mut connection)?;
        let after = Instant::now();
        samples.push(after - before);
        before = after;
    }
    let per_second = rate(samples.len() as u64, start.elapsed().as_secs_f64());
    let [p50, p99] = samples.quantiles_us([500, 990]);
    Ok(json!({ "per_second": per_second, "p50_us": p50, "p99_us": p99 }))
}

/// Connections per second, each with one round trip of one byte. Several clients at once keep both
/// ends busy: one alone mostly measures how fast a sleeping core wakes.
pub(crate) fn connect_request_close(
    to: IpAddr,
    duration: Duration,
    clients: usize,
) -> Result<Value> {
    let to = SocketAddr::from((to, CONNECT_PORT));
    let start = Instant::now();
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| connect_again_and_again(to, start, duration)))
            .collect();
        let mut all = Samples::default();
        for thread in threads {
            match thread.join() {
                Ok(samples) => all.append(samples?),
                Err(_) => bail!("a client's thread panicked"),
            }
        }
        Ok(all)
    })?;
    let per_second = rate(all.len() as u64, start.elapsed().as_secs_f64());
    let [p50, p99] = all.quantiles_us([500, 990]);
    Ok(json!({ "per_second": per_second, "p50_us": p50, "p99_us": p99 }))
}

fn connect_again_and_again(to: SocketAddr, start: Instant, duration: Duration) -> Result<Samples> {
    let mut samples = Samples::with_capacity(1 << 16);
    let mut before = Instant::now();
    while before - start < duration {
        let mut connection = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        round_trip(&mut connection)?;
        drop(connection);
        let after = Instant::now();
        samples.push(after - before);
        before = after;
    }
    Ok(samples)
}

/// One byte there and back.
pub(crate) fn round_trip(connection: &mut TcpStream) -> Result<()> {
    let mut byte = [0x5a];
    connection.write_all(&byte).context("send a request")?;
    connection
        .read_exact(&mut byte)
        .context("receive an answer")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure to three digits has no use for the last bits"
)]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
