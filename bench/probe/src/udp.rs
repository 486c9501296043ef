//! UDP: datagrams per second that arrive.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::server::{COUNT_PORT, Datagram};
use crate::tcp::rate;

const ANSWER_MAX: Duration = Duration::from_millis(300);
const ATTEMPTS: usize = 10;
/// Sends between two looks at the clock.
const BURST: u64 = 64;

/// Sends for `duration` and asks the peer what arrived. The exchange before makes the flow one
/// that stateful filters know in both directions.
pub(crate) fn packets(to: IpAddr, duration: Duration, payload: usize) -> Result<Value> {
    ensure!((1..=2_048).contains(&payload), "payload of {payload} bytes");
    let any: IpAddr = match to {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0)).context("bind a socket")?;
    socket.connect((to, COUNT_PORT)).context("connect")?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    ask(&socket, Datagram::RESET, 1)?;

    let mut datagram = vec![0; payload];
    datagram[0] = Datagram::COUNT;
    let start = Instant::now();
    let mut sent = 0_u64;
    let mut failed = 0_u64;
    while start.elapsed() < duration {
        for _ in 0..BURST {
            match socket.send(&datagram) {
                Ok(_) => sent += 1,
                Err(_) => failed += 1,
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let report = ask(&socket, Datagram::REPORT, 16)?;
    let (count, span) = report.split_at(8);
    // Unwrap: both halves are eight bytes long, `ask` has compared the length.
    let count = u64::from_be_bytes(count.try_into().unwrap());
    let span = Duration::from_nanos(u64::from_be_bytes(span.try_into().unwrap()));
    Ok(json!({
        "sent_per_second": rate(sent, seconds),
        "received_per_second": rate(count, span.as_secs_f64().max(seconds)),
        "sent": sent,
        "received": count,
        "failed": failed,
    }))
}

/// A question with an answer of `length` bytes. Either may meet a full socket buffer.
fn ask(socket: &UdpSocket, question: u8, length: usize) -> Result<Vec<u8>> {
    let mut buffer = [0; 64];
    for _ in 0..ATTEMPTS {
        // A refusal that an earlier datagram met shows up here; the next attempt tells.
        if socket.send(&[question]).is_err() {
            continue;
        }
        match socket.recv(&mut buffer) {
            Ok(received) if received == length => return Ok(buffer[..length].to_vec()),
            _ => {}
        }
    }
    bail!("no answer from {:?}", socket.peer_addr())
}
