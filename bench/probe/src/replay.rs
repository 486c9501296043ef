//! Signed HTTP requests from a file, sent again and again or each once: the server is what is
//! measured, so the client neither signs nor parses more than it must.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::latency::Samples;
use crate::tcp::rate;

/// A slow server with a large answer needs its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What one connection saw.
#[derive(Default)]
struct Seen {
    samples: Samples,
    refused: u64,
    bytes: u64,
}

/// The requests of a file, and when to stop.
struct Work {
    bytes: Vec<u8>,
    /// Where each request ends.
    ends: Vec<usize>,
    next: AtomicUsize,
    /// Whether each request is sent only once.
    once: bool,
    start: Instant,
    duration: Duration,
}

impl Work {
    /// The next request, in the order of the file over all connections.
    fn next(&self) -> Option<&[u8]> {
        if self.start.elapsed() >= self.duration {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if self.once && turn >= self.ends.len() {
            return None;
        }
        let at = turn % self.ends.len();
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[begin..self.ends[at]])
    }
}

/// Sends the requests in `file` over `connections` at once, each connection waiting for its
/// answers. They are sent in turn until the time is over, or, with `once`, until each was sent.
pub(crate) fn run(
    to: SocketAddr,
    duration: Duration,
    connections: usize,
    file: &str,
    once: bool,
) -> Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("read {file}"))?;
    let ends = ends(&bytes).with_context(|| format!("find the requests of {file}"))?;
    let start = Instant::now();
    let work = Work {
        bytes,
        ends,
        next: AtomicUsize::new(0),
        once,
        start,
        duration,
    };
    let seen = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| converse(to, &work)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(seen) => seen,
                Err(_) => bail!("a connection's thread panicked"),
            })
            .collect::<Result<Vec<Seen>>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut all = Seen::default();
    for one in seen {
        all.samples.append(one.samples);
        all.refused += one.refused;
        all.bytes += one.bytes;
    }
    let count = all.samples.len() as u64;
    let [p50, p99] = all.samples.quantiles_us([500, 990]);
    Ok(json!({
        "per_second": rate(count, seconds),
        "answers": count,
        "refused": all.refused,
        "bytes": all.bytes,
        "p50_us": p50,
        "p99_us": p99,
    }))
}

/// Requests and answers over one connection, opened again where the server closes it.
fn converse(to: SocketAddr, work: &Work) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut connection = None;
    while let Some(request) = work.next() {
        let mut reader = match connection.take() {
            Some(reader) => reader,
            None => BufReader::with_capacity(64 * 1024, open(to)?),
        };
        let before = Instant::now();
        reader
            .get_mut()
            .write_all(request)
            .context("send a request")?;
        let answer = read_answer(&mut reader)?;
        seen.samples.push(before.elapsed());
        seen.refused += u64::from(answer.status != 200);
        seen.bytes += answer.length;
        if answer.is_kept {
            connection = Some(reader);
        }
    }
    Ok(seen)
}

/// Where each of several requests ends: its head says how long its body is.
fn ends(bytes: &[u8]) -> Result<Vec<usize>> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let mut ends = Vec::new();
    let mut begin = 0;
    while let Some(rest) = bytes.get(begin..).filter(|rest| !rest.is_empty()) {
        let head = rest
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END)
            .context("a request without an end of its head")?;
        let text = String::from_utf8_lossy(&rest[..head]);
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())
            .context("a Content-Length that is no number")?;
        begin += head + HEAD_END.len() + length;
        if begin > bytes.len() {
            bail!("the last request is cut off");
        }
        ends.push(begin);
    }
    if ends.is_empty() {
        bail!("no request");
    }
    Ok(ends)
}

fn open(to: SocketAddr) -> Result<TcpStream> {
    let connection = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(connection)
}

/// What matters of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    length: u64,
    is_kept: bool,
}

fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line).context("read a status line")?;
    let mut words = line.split(' ');
    let mut is_kept = words.next() == Some("HTTP/1.1");
    let status = words
        .next()
        .and_then(|word| word.trim().parse().ok())
        .with_context(|| format!("no status line: {line:?}"))?;
    let mut content_length = None;
    let mut is_chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line).context("read a header")?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => content_length = value.parse().ok(),
            "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => is_kept = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let length = if is_chunked {
        skip_chunks(reader)?
    } else if let Some(length) = content_length {
        skip(reader, length)?;
        length
    } else {
        is_kept = false;
        std::io::copy(reader, &mut std::io::sink()).context("read a body")?
    };
    Ok(Answer {
        status,
        length,
        is_kept,
    })
}

fn skip_chunks(reader: &mut impl BufRead) -> Result<u64> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).context("read a chunk's size")?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size =
            u64::from_str_radix(size, 16).with_context(|| format!("no chunk size: {line:?}"))?;
        // Two more for the line end behind the chunk.
        skip(reader, size + 2)?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}

fn skip(reader: &mut impl BufRead, length: u64) -> Result<()> {
    let skipped =
        std::io::copy(&mut reader.take(length), &mut std::io::sink()).context("read a body")?;
    if skipped < length {
        bail!("the body ends {} bytes early", length - skipped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mut bytes: &[u8]) -> Result<(Answer, usize)> {
        let answer = read_answer(&mut bytes)?;
        Ok((answer, bytes.len()))
    }

    #[test]
    fn bodies_are_skipped_to_their_end() {
        let kept = |length| Answer {
            status: 200,
            length,
            is_kept: true,
        };
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP";
        assert_eq!(answer(sized).unwrap(), (kept(3), 4));
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP";
        assert_eq!(answer(chunked).unwrap(), (kept(3), 4));
    }

    #[test]
    fn a_connection_that_ends_is_not_kept() {
        let (closed, _) = answer(b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\nabc").unwrap();
        assert_eq!(closed.status, 400);
        assert!(!closed.is_kept);
        let (old, _) = answer(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(!old.is_kept);
    }

    #[test]
    fn requests_are_told_apart_by_their_lengths() {
        let two = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        assert_eq!(ends(two).unwrap(), [41, two.len()]);
        assert!(ends(&two[..40]).is_err());
        assert!(ends(b"").is_err());
    }

    #[test]
    fn half_an_answer_is_an_error() {
        assert!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").is_err());
        assert!(answer(b"").is_err());
    }
}
