//! The resolver's sockets: questions in datagrams and in streams.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dns::{self, Answer, Transport};
use super::server::Site;

/// The longest question that is read in a datagram.
const QUESTION_MAX: usize = 4096;
/// How long a stream may be quiet, and how long a question may take to come.
const IDLE: Duration = Duration::from_secs(10);
/// Questions of one stream. Who has more opens another one.
const QUESTIONS_MAX: usize = 1000;

/// Answers every question that comes to a socket.
pub(super) async fn answer_all(site: Arc<Site>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut question = vec![0; QUESTION_MAX];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else {
            continue;
        };
        while waiting.try_join_next().is_some() {}
        let question = question.get(..length).unwrap_or_default();
        match known(&site, from.ip(), question, Transport::Udp) {
            // Who asked asks again.
            Answer::Reply(reply) => drop(socket.send_to(&reply, from).await),
            Answer::Ignore => {}
            Answer::Forward => {
                let Some(place) = site.place(from.ip()) else {
                    if let Some(failure) = dns::failure(question) {
                        let _ = socket.send_to(&failure, from).await;
                    }
                    continue;
                };
                let (site, socket) = (Arc::clone(&site), Arc::clone(&socket));
                let question = question.to_vec();
                waiting.spawn(async move {
                    let forwarder = &site.shared.forwarder;
                    if let Some(reply) = forwarder.ask(site.vpc, &question, Transport::Udp).await {
                        let _ = socket.send_to(&reply, from).await;
                    }
                    drop(place);
                });
            }
        }
    }
}

/// Answers the questions of a stream until one of both ends closes it.
pub(super) async fn converse(site: &Arc<Site>, mut stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    for _ in 0..QUESTIONS_MAX {
        let Ok(Some(question)) = timeout(IDLE, read(&mut stream)).await else {
            return;
        };
        let reply = match known(site, peer.ip(), &question, Transport::Tcp) {
            Answer::Reply(reply) => Some(reply),
            Answer::Ignore => None,
            Answer::Forward => {
                let forwarder = &site.shared.forwarder;
                forwarder.ask(site.vpc, &question, Transport::Tcp).await
            }
        };
        let Some(reply) = reply else { return };
        // No message is longer than its length field says.
        let Ok(length) = u16::try_from(reply.len()) else {
            return;
        };
        let message = [&length.to_be_bytes()[..], &reply].concat();
        if !matches!(timeout(IDLE, stream.write_all(&message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next question of a stream; `None` at its end.
async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut question = vec![0; usize::from(length)];
    stream.read_exact(&mut question).await.ok()?;
    Some(question)
}

/// What the resolver says by itself.
fn known(site: &Site, address: IpAddr, question: &[u8], transport: Transport) -> Answer {
    let answer = site.with_asker(address, |asker| dns::answer(asker, question, transport));
    answer.unwrap_or(Answer::Ignore)
}
