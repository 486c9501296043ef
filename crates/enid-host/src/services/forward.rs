//! What the resolver does not know: asked of the host's resolvers, from the host's own network.
//!
//! Each question goes from a port of its own with a random id, so that nobody can guess an answer into it,
//! and what comes back is passed on only if it answers the question. How many may be on their way at once
//! is bounded, and no VPC has more than are left for the others: above that a question fails, and who asked
//! asks again.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use enid_model::id::VpcId;
use rustix::rand::GetRandomFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::dns::{self, Transport};
use super::shares::Shares;

/// The way to the host's resolvers.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// Where the host says which they are.
    file: PathBuf,
    known: Mutex<Known>,
    room: Shares,
}

/// What the file said when it was last changed.
#[derive(Debug, Default)]
struct Known {
    of: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

/// Questions that are on their way at once, of all VPCs.
const OUTSTANDING_MAX: usize = 1024;
/// How long one resolver has for an answer, and how many times all of them are asked.
const ATTEMPT: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 2;
/// Servers that are asked, as libc does.
const SERVERS_MAX: usize = 3;
/// The longest datagram that is taken.
const DATAGRAM_MAX: usize = 4096;
const PORT: u16 = 53;

impl Forwarder {
    /// A forwarder to the resolvers that a file in the format of `resolv.conf` names.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            known: Mutex::default(),
            room: Shares::new(OUTSTANDING_MAX),
        }
    }

    /// The answer to a query from a VPC, or that there is none. `None` if the query is no query.
    pub(super) async fn ask(
        &self,
        vpc: VpcId,
        query: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let Some(_room) = self.room.take(vpc) else {
            return dns::failure(query);
        };
        let servers = self.servers();
        for _ in 0..ROUNDS {
            for server in &servers {
                let answer = timeout(ATTEMPT, ask_one(*server, query, transport)).await;
                if let Ok(Ok(answer)) = answer {
                    return Some(answer);
                }
            }
        }
        dns::failure(query)
    }

    /// The host's resolvers, as the file has them now.
    fn servers(&self) -> Vec<SocketAddr> {
        let changed = fs::metadata(&self.file)
            .and_then(|file| file.modified())
            .ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of != changed || changed.is_none() {
            known.of = changed;
            known.servers = read(&fs::read_to_string(&self.file).unwrap_or_default());
        }
        known.servers.clone()
    }
}

/// The resolvers in a file.
fn read(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::split_whitespace);
    let named = lines.filter_map(|mut words| {
        (words.next()? == "nameserver").then_some(())?;
        // A link-local address has its link after a percent sign, which only the host itself knows.
        let address: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    });
    named.take(SERVERS_MAX).collect()
}

/// Asks one resolver.
async fn ask_one(server: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    let own = with_random_id(query)?;
    match transport {
        Transport::Udp => {
            let any: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            // From now on only the resolver's own answers come in.
            socket.connect(server).await?;
            socket.send(&own).await?;
            let mut answer = vec![0; DATAGRAM_MAX];
            loop {
                let length = socket.recv(&mut answer).await?;
                let answer = answer.get(..length).unwrap_or_default();
                if let Some(answer) = accept(query, &own, answer, transport) {
                    return Ok(answer);
                }
            }
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(server).await?;
            let length = u16::try_from(own.len()).map_err(io::Error::other)?;
            stream
                .write_all(&[&length.to_be_bytes()[..], &own].concat())
                .await?;
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            accept(query, &own, &answer, transport).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

/// The query with an id that nobody can guess.
fn with_random_id(query: &[u8]) -> io::Result<Vec<u8>> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, GetRandomFlags::empty())?;
    let rest = query.get(2..).ok_or(io::ErrorKind::InvalidInput)?;
    Ok([&id, rest].concat())
}

/// An answer as who asked gets it, if it is one to this question.
fn accept(query: &[u8], own: &[u8], answer: &[u8], transport: Transport) -> Option<Vec<u8>> {
    if answer.get(..2) != own.get(..2) {
        return None;
    }
    dns::passed_on(query, answer, transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The question for the address of `a`, with an id.
    fn question(id: u8) -> Vec<u8> {
        let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x01a\0\x00\x01\x00\x01");
        query
    }

    fn answer_to(query: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2] = 0x81;
        answer[3] = 0x80;
        answer
    }

    #[test]
    fn the_file_is_read_as_libc_reads_it() {
        let text = "# comment\nsearch a\nnameserver 192.0.2.1 \nnameserver fe80::1%eth0\noptions x\n\
                    nameserver 2001:db8::1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver";
        let servers: Vec<String> = read(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]
        );
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let (query, own) = (question(7), question(9));
        let right = accept(&query, &own, &answer_to(&own), Transport::Udp).expect("an answer");
        assert_eq!(right, answer_to(&query));
        assert!(
            accept(&query, &own, &answer_to(&query), Transport::Udp).is_none(),
            "a guessed id"
        );
        let mut other = answer_to(&own);
        other[13] = b'b';
        assert!(
            accept(&query, &own, &other, Transport::Udp).is_none(),
            "another name"
        );
        assert!(
            accept(&query, &own, &own, Transport::Udp).is_none(),
            "a question"
        );
    }

    #[tokio::test]
    async fn without_a_resolver_the_question_fails() {
        let dir = tempfile::tempdir().unwrap();
        let forwarder = Forwarder::new(&dir.path().join("resolv.conf"));
        let answer = forwarder
            .ask(VpcId(1), &question(7), Transport::Udp)
            .await
            .expect("an answer");
        assert_eq!((answer[1], answer[3] & 0xf), (7, 2));
        assert_eq!(forwarder.ask(VpcId(1), b"\0", Transport::Udp).await, None);
    }

    #[tokio::test]
    async fn a_resolver_is_asked_and_its_answer_passed_on() {
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = resolver.local_addr().unwrap();
        let resolving = async {
            let mut query = [0; 512];
            let (length, from) = resolver.recv_from(&mut query).await.unwrap();
            // Somebody's guess first.
            let mut guess = answer_to(&query[..length]);
            guess[0] ^= 1;
            resolver.send_to(&guess, from).await.unwrap();
            let answer = answer_to(&query[..length]);
            resolver.send_to(&answer, from).await.unwrap();
        };
        let query = question(7);
        let (answer, ()) = tokio::join!(ask_one(at, &query, Transport::Udp), resolving);
        assert_eq!(answer.unwrap(), answer_to(&query));
    }
}
