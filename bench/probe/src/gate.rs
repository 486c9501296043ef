//! Whether new flows pass, asked from outside at the moment that matters.

use std::io::{BufRead as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::server::GATE_PORT;

/// For every line on stdin, which holds a number: sends one datagram from that many new source
/// ports and prints how many are answered within the time given. A new port is a new flow: no
/// tracked one can carry it.
pub(crate) fn run(to: IpAddr, wait_ms: u64) -> Result<()> {
    let stdin = std::io::stdin().lock();
    let mut stdout = std::io::stdout().lock();
    for line in stdin.lines() {
        let line = line.context("read stdin")?;
        let count: usize = line.trim().parse().context("a number of flows")?;
        let passed = attempt(to, count, Duration::from_millis(wait_ms))?;
        writeln!(stdout, "{passed}").context("write stdout")?;
        stdout.flush().context("write stdout")?;
    }
    Ok(())
}

fn attempt(to: IpAddr, count: usize, wait: Duration) -> Result<usize> {
    let sockets = (0..count)
        .map(|_| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind a socket")?;
            socket.connect((to, GATE_PORT)).context("connect")?;
            Ok(socket)
        })
        .collect::<Result<Vec<_>>>()?;
    for socket in &sockets {
        // A send that is refused locally is a flow that does not pass.
        let _ = socket.send(b"?");
    }
    let deadline = Instant::now() + wait;
    let mut passed = 0;
    for socket in &sockets {
        // The deadline is everybody's: what waits behind another socket has arrived meanwhile.
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_micros(1));
        socket.set_read_timeout(Some(left))?;
        passed += usize::from(socket.recv(&mut [0; 8]).is_ok());
    }
    Ok(passed)
}
