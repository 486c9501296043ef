//! The far end of every traffic mode: one port and one thread for each.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Swallows what arrives.
pub(crate) const STREAM_PORT: u16 = 7_001;
/// Sends back every byte, over connections that last.
pub(crate) const ECHO_PORT: u16 = 7_002;
/// Sends back one byte and waits for the client to close: the client keeps the closed connection's
/// state, so the server's port never runs out.
pub(crate) const CONNECT_PORT: u16 = 7_003;
/// Counts datagrams; see [`Datagram`].
pub(crate) const COUNT_PORT: u16 = 7_004;
/// Sends back every datagram.
pub(crate) const GATE_PORT: u16 = 7_005;

/// The answer to [`Datagram::REPORT`].
pub(crate) const REPORT_LENGTH: usize = 24;

/// Connections served at once on [`CONNECT_PORT`].
const CONNECT_THREADS: usize = 16;

/// How long the counter looks for the next datagram before it sleeps.
const SPIN_MAX: Duration = Duration::from_millis(50);

/// What the first byte of a datagram to [`COUNT_PORT`] asks for.
pub(crate) struct Datagram;

impl Datagram {
    /// Forget the count and answer.
    pub(crate) const RESET: u8 = b'R';
    /// Answer with the count (8 bytes), how many more the socket had no room for (8 bytes), and the
    /// nanoseconds from first to last (8 bytes).
    pub(crate) const REPORT: u8 = b'Q';
    /// Count this one, do not answer.
    pub(crate) const COUNT: u8 = b'C';
}

/// Serves until the process is killed.
pub(crate) fn run(bind: IpAddr) -> Result<()> {
    let stream = listen(bind, STREAM_PORT)?;
    let echo = listen(bind, ECHO_PORT)?;
    let connect = listen(bind, CONNECT_PORT)?;
    let count = UdpSocket::bind((bind, COUNT_PORT)).context("bind the counting socket")?;
    let gate = UdpSocket::bind((bind, GATE_PORT)).context("bind the gate's socket")?;

    thread::spawn(move || accept(&stream, swallow));
    thread::spawn(move || accept(&echo, send_back));
    for _ in 0..CONNECT_THREADS {
        let connect = connect.try_clone().context("share a listening socket")?;
        thread::spawn(move || serve_connects(&connect));
    }
    thread::spawn(move || send_datagrams_back(&gate));
    println!("ready");
    count_datagrams(&count)
}

fn listen(bind: IpAddr, port: u16) -> Result<TcpListener> {
    TcpListener::bind((bind, port)).with_context(|| format!("listen on port {port}"))
}

/// A thread per connection; a connection that fails is the client's to report.
fn accept(listener: &TcpListener, serve: fn(TcpStream) -> std::io::Result<()>) {
    for connection in listener.incoming().flatten() {
        thread::spawn(move || serve(connection));
    }
}

fn swallow(mut connection: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while connection.read(&mut buffer)? > 0 {}
    Ok(())
}

fn send_back(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; 512];
    loop {
        let length = connection.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..length])?;
    }
}

/// One connection after the other; as many threads do so as there are clients.
fn serve_connects(listener: &TcpListener) {
    for mut connection in listener.incoming().flatten() {
        // A client that went away in between is no reason to stop.
        let _ = serve_connect(&mut connection);
    }
}

fn serve_connect(connection: &mut TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut byte = [0];
    connection.read_exact(&mut byte)?;
    connection.write_all(&byte)?;
    connection.read(&mut byte).map(|_| ())
}

fn send_datagrams_back(socket: &UdpSocket) {
    let mut buffer = [0; 2_048];
    loop {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // The way back may be closed: that is what the client finds out.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

fn count_datagrams(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 2_048];
    let mut count = 0_u64;
    let mut overflows_before = 0;
    let mut first = Instant::now();
    let mut last = first;
    let mut spin_until = first;
    loop {
        let (_, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() > spin_until {
                    socket.set_nonblocking(false)?;
                }
                continue;
            }
            // An ICMP error for an answer that nobody waits for any more.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error).context("receive a datagram"),
        };
        match buffer[0] {
            Datagram::COUNT => {
                count += 1;
                // The clock is read for one datagram in 64: it costs a noticeable part of a receive.
                if count == 1 {
                    first = Instant::now();
                    last = first;
                } else if count.is_multiple_of(64) {
                    last = Instant::now();
                    spin_until = last + SPIN_MAX;
                }
            }
            Datagram::RESET => {
                count = 0;
                overflows_before = overflows()?;
                // A receiver that sleeps is woken for almost every datagram, by an interrupt of
                // the other core that costs the sender more than the path that is measured.
                socket.set_nonblocking(true)?;
                spin_until = Instant::now() + SPIN_MAX;
                let _ = socket.send_to(&[Datagram::RESET], from);
            }
            Datagram::REPORT => {
                let span = u64::try_from((last - first).as_nanos()).unwrap_or(u64::MAX);
                let overflowed = overflows()?.saturating_sub(overflows_before);
                let mut report = [0; REPORT_LENGTH];
                report[..8].copy_from_slice(&count.to_be_bytes());
                report[8..16].copy_from_slice(&overflowed.to_be_bytes());
                report[16..].copy_from_slice(&span.to_be_bytes());
                let _ = socket.send_to(&report, from);
            }
            _ => {}
        }
    }
}

/// Datagrams that reached a socket of this namespace and found it full.
fn overflows() -> Result<u64> {
    let text =
        std::fs::read_to_string("/proc/self/net/snmp").context("read /proc/self/net/snmp")?;
    udp_counter(&text, "RcvbufErrors").context("find the overflows in /proc/self/net/snmp")
}

/// A counter in the kernel's two lines on UDP: names, then values.
fn udp_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let index = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams RcvbufErrors\nUdp: 7 9\nUdpLite: A\n";
        assert_eq!(udp_counter(text, "RcvbufErrors"), Some(9));
        assert_eq!(udp_counter(text, "B"), None);
        assert_eq!(udp_counter("", "RcvbufErrors"), None);
    }
}
