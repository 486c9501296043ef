//! UDP: datagrams per second that arrive at the far end's socket, and many flows of one datagram.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::server::{COUNT_PORT, Datagram, REPORT_LENGTH};
use crate::tcp::rate;

const ANSWER_MAX: Duration = Duration::from_millis(300);
const ATTEMPTS: usize = 10;
/// Sends between two looks at the clock. (One system call for all of them was no faster.)
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
    let report = ask(&socket, Datagram::REPORT, REPORT_LENGTH)?;
    let words = report.as_chunks::<8>().0.iter();
    let words: Vec<u64> = words.map(|word| u64::from_be_bytes(*word)).collect();
    let (received, overflowed) = (words[0], words[1]);
    let seconds = Duration::from_nanos(words[2]).as_secs_f64().max(seconds);
    // What the link delivered and the reader was too slow for is the link's achievement.
    Ok(json!({
        "arrived_per_second": rate(received + overflowed, seconds),
        "sent": sent,
        "received": received,
        "overflowed": overflowed,
        "failed": failed,
    }))
}

/// Ports that nobody serves at the far end begin here.
const FLOW_PORTS: std::ops::RangeInclusive<u16> = 10_000..=59_999;

/// Sends one datagram in each of `count` flows: from as few sockets as have enough ports before them.
/// What the far end has to say against it (nobody listens) is not waited for.
pub(crate) fn flows(to: IpAddr, count: usize) -> Result<Value> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let start = Instant::now();
    let (mut sent, mut failed) = (0_usize, 0_u64);
    while sent < count {
        let socket = UdpSocket::bind((any, 0)).context("bind a socket")?;
        for port in FLOW_PORTS.take(count - sent) {
            // An error that an earlier datagram met shows up at a later one, which then is not sent.
            while socket.send_to(&[Datagram::COUNT], (to, port)).is_err() {
                failed += 1;
                ensure!(failed < count as u64, "the far end cannot be sent to");
            }
            sent += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "sent": sent, "failed": failed, "seconds": seconds }))
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
