//! Whether new flows pass, asked from outside at the moment that matters.

use std::io::{BufRead as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::server::GATE_PORT;

/// The first source port; every flow has one of its own, so that no flow that is tracked since it was
/// allowed can be taken for one that passes now.
const FIRST_PORT: u16 = 10_000;

/// For every line on stdin, which holds a number of flows and the milliseconds to wait: sends one
/// datagram from that many new source ports and prints how many are answered within the time.
pub(crate) fn run(to: IpAddr) -> Result<()> {
    let stdin = std::io::stdin().lock();
    let mut stdout = std::io::stdout().lock();
    let mut ports = FIRST_PORT..=u16::MAX;
    for line in stdin.lines() {
        let line = line.context("read stdin")?;
        let (flows, wait_ms) = line.split_once(' ').context("two numbers in a line")?;
        let flows: usize = flows.parse().context("a number of flows")?;
        let wait = Duration::from_millis(wait_ms.parse().context("a number of milliseconds")?);
        let ports: Vec<u16> = ports.by_ref().take(flows).collect();
        ensure!(ports.len() == flows, "no source port is left");
        let passed = attempt(to, &ports, wait)?;
        writeln!(stdout, "{passed}").context("write stdout")?;
        stdout.flush().context("write stdout")?;
    }
    Ok(())
}

fn attempt(to: IpAddr, ports: &[u16], wait: Duration) -> Result<usize> {
    let any = IpAddr::from([0; 4]);
    let sockets = ports
        .iter()
        .map(|port| {
            let socket = UdpSocket::bind((any, *port)).context("bind a socket")?;
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
