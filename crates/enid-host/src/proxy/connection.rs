//! One connection of a client, and the one to a target that it becomes.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use enid_plan::proxied::Choice;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::ServerName;

use super::access::{AccessRecords, Story};
use super::counts::{CarriedCounts, ProxyCounts};
use super::header;
use super::relay::{Side, Wire, end, relay, reset};
use super::tls::Outgoing;
use super::wanted::{GroupRules, Rules};
use crate::netns::NetNs;

/// A client's connection that was accepted.
pub(super) struct Connection {
    pub(super) namespace: Arc<NetNs>,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) records: AccessRecords,
    pub(super) client: SocketAddr,
    pub(super) node: SocketAddr,
}

/// How long a client's handshake may take, and how long a target may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// It has no target, or one that does not answer.
    #[error("connect to a target")]
    Connect(#[source] io::Error),
    /// Its target does not speak TLS.
    #[error("agree on TLS with a target")]
    Tls(#[source] io::Error),
}

impl Connection {
    pub(super) async fn run(mut self, stream: TcpStream) {
        // Small packets of the one side are not to wait at the other.
        let _ = stream.set_nodelay(true);
        let rules = Arc::clone(&self.rules.borrow_and_update());
        let counts = Arc::clone(&rules.counts);
        let carried = counts.carried(rules.tls.is_some());
        ProxyCounts::add(&carried.new_flows, 1);
        ProxyCounts::add(&carried.active_flows, 1);
        let _active = Active(carried);
        let Some(end) = &rules.tls else {
            return self.carry(&rules, Box::new(stream), None, None).await;
        };
        let story = rules.logged.as_ref().map(|logged| {
            let (logged, records) = (Arc::clone(logged), self.records.clone());
            Story::begin(logged, records, rules.listener, (self.client, self.node))
        });
        let story = story.as_ref();
        let acceptor = end.acceptor(story.map(|story| Arc::clone(&story.facts)));
        let accepted = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
        let error = match accepted {
            Ok(Ok(stream)) => {
                let state = stream.get_ref().1;
                if let Some(story) = story {
                    story.agreed(state);
                }
                let alpn = state.alpn_protocol().map(<[u8]>::to_vec);
                return self.carry(&rules, Box::new(stream), alpn, story).await;
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => io::ErrorKind::TimedOut.into(),
        };
        ProxyCounts::add(&counts.client_tls_negotiation_errors, 1);
        if let Some(story) = story {
            story.failed(&error);
        }
    }

    /// Brings a connection to a target, and carries what both send.
    async fn carry(
        &self,
        rules: &Rules,
        mut client: Box<dyn Wire>,
        alpn: Option<Vec<u8>>,
        story: Option<&Story>,
    ) {
        let counts = &rules.counts;
        let own = counts.carried(rules.tls.is_some());
        reset(client.socket());
        // Another one for each connection, whoever it is of.
        let number = RandomState::new().hash_one(self.client);
        let chosen = rules
            .tables
            .choose(rules.node, rules.port, self.client.ip(), number);
        let Some(choice) = chosen else {
            ProxyCounts::add(&own.rejected_flows, 1);
            return;
        };
        if choice.is_fail_open {
            ProxyCounts::add(&counts.fail_open, 1);
        }
        let group = rules.groups.get(&choice.group).copied();
        let connected = self.connect(&choice, group, alpn.as_deref(), story).await;
        let mut target = match connected {
            Ok(target) => target,
            Err(refused) => {
                let (Refused::Connect(source) | Refused::Tls(source)) = &refused;
                let counter = match (&refused, source.kind()) {
                    (Refused::Tls(_), _) => &counts.target_tls_negotiation_errors,
                    (_, io::ErrorKind::AddrNotAvailable) => &counts.port_allocation_errors,
                    _ => &own.rejected_flows,
                };
                ProxyCounts::add(counter, 1);
                let error = crate::chain(&refused);
                tracing::debug!(target = %choice.target, error, "a connection found no target");
                return;
            }
        };
        reset(target.socket());
        let count = |side: Side, bytes| {
            ProxyCounts::add(&own.processed_bytes, bytes);
            if let Some(story) = story {
                ProxyCounts::add(&story.carried[side as usize], bytes);
            }
        };
        let over = self.over(rules, choice);
        let is_whole = tokio::select! {
            carried = relay(&mut client, &mut target, rules.idle, count) => carried.is_ok(),
            () = over => false,
        };
        if is_whole {
            end(client.socket());
            end(target.socket());
        }
    }

    /// A connection to a target, with what it begins with.
    async fn connect(
        &self,
        choice: &Choice,
        group: Option<GroupRules>,
        alpn: Option<&[u8]>,
        story: Option<&Story>,
    ) -> Result<Box<dyn Wire>, Refused> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let begun = tokio::time::timeout(PATIENCE, self.begin(choice, group)).await;
        let stream = begun.unwrap_or_else(|_elapsed| Err(late()));
        let stream = stream.map_err(Refused::Connect)?;
        if !group.is_some_and(|group| group.is_tls) {
            return Ok(Box::new(stream));
        }
        let connector = self.outgoing.connector(alpn);
        let connector = connector.ok_or_else(|| Refused::Tls(io::ErrorKind::Unsupported.into()))?;
        let name = ServerName::IpAddress(choice.target.ip().into());
        let secured = tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await;
        let secured = secured.unwrap_or_else(|_elapsed| Err(late()));
        let secured = secured.map_err(Refused::Tls)?;
        if let Some(story) = story {
            let agreed = secured.get_ref().1.alpn_protocol();
            story.facts().alpn_target = agreed.map(<[u8]>::to_vec);
        }
        Ok(Box::new(secured))
    }

    async fn begin(&self, choice: &Choice, group: Option<GroupRules>) -> io::Result<TcpStream> {
        let is_v4 = choice.target.is_ipv4();
        let socket = self.namespace.run(|| match is_v4 {
            true => TcpSocket::new_v4(),
            false => TcpSocket::new_v6(),
        });
        let socket = socket.map_err(io::Error::other)??;
        // So that the port of a new listener is not taken by a connection of the node's.
        socket.set_reuseaddr(true)?;
        // A client of the other family has no address under which the target could be spoken to.
        let is_translated = self.client.is_ipv4() != is_v4;
        if group.is_some_and(|group| group.is_from_client) && !is_translated {
            if self.client.ip() == choice.target.ip() {
                // It would get a packet from itself.
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let own = SockRef::from(&socket);
            match is_v4 {
                true => own.set_ip_transparent_v4(true)?,
                false => own.set_ip_transparent_v6(true)?,
            }
            socket.bind(self.client)?;
        }
        let mut stream = socket.connect(choice.target).await?;
        stream.set_nodelay(true)?;
        if group.is_some_and(|group| group.has_header) {
            let header = header::of_client(self.client, self.node);
            stream.write_all(&header).await?;
        }
        Ok(stream)
    }

    /// Waits until a connection to a target is to end: what ends it is in the rules, which change.
    async fn over(&self, rules: &Rules, choice: Choice) {
        let mut changes = self.rules.clone();
        let client = self.client.ip();
        loop {
            // The listener ends all its connections with itself.
            if changes.changed().await.is_err() {
                return;
            }
            let now = Arc::clone(&changes.borrow_and_update());
            let is_other = now.tls.is_some() != rules.tls.is_some();
            if is_other || now.tables.is_over(now.node, now.port, client, &choice) {
                return;
            }
        }
    }
}

/// A connection that is there.
struct Active<'a>(&'a CarriedCounts);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        ProxyCounts::take(&self.0.active_flows);
    }
}
