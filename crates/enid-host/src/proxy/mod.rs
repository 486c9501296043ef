//! Proxies of load balancers' nodes, for connections whose bytes change on their way: TLS that ends at the
//! node, connections to targets that begin with a header of the proxy protocol, and those of one family to
//! targets of the other.
//!
//! Such a listener's packets are delivered to the node's device, judged on the way as any interface's are.
//! Here, in the node's namespace, a connection is accepted, and another one made to a target, which leaves as
//! any packet of the node does. Targets are chosen by the tables that packets are balanced by. One client's
//! connection is one connection to a target: what one side ends or resets is ended or reset at the other.
//!
//! One thread carries all of them. Connections end with the daemon, unlike those that are balanced packet by
//! packet.

mod access;
mod connection;
mod counts;
pub(crate) mod header;
mod keepalive;
mod relay;
mod tls;
mod wanted;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use enid_model::id::EniId;
use enid_model::state::State;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use self::access::{AccessRecord, AccessRecords, Logged};
use self::connection::Connection;
pub use self::counts::{AllProxyCounts, CarriedCounts, NodePlace, ProxyCounts};
use self::tls::Outgoing;
use self::wanted::{Rules, Wanted};
use crate::netns::NetNs;

/// The thread of all proxies. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxies {
    commands: Option<UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxies tell of themselves.
#[derive(Debug, Clone, Default)]
pub struct ProxyReports {
    /// What they have carried.
    pub counts: AllProxyCounts,
    /// The connections that are to be logged.
    pub records: AccessRecords,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Close(EniId),
    /// The sender is told when everything that this state has is listened for.
    Follow(Arc<State>, Sender<()>),
    Open(EniId, Arc<NetNs>),
}

impl Proxies {
    /// Starts the thread; no node is there yet, so nothing is accepted.
    pub(crate) fn start(state: Arc<State>, reports: ProxyReports) -> io::Result<Self> {
        let (commands, received) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("proxies".to_owned())
            .spawn(move || runtime.block_on(serve(received, state, reports)))?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// From now on this state says what is accepted, and where it goes. Listeners that are new accept when
    /// this returns: whoever made one is answered later.
    pub(crate) fn follow(&self, state: Arc<State>) {
        let mut regions = state.regions().values();
        let has_any = regions.any(|region| {
            let mut listeners = region.listeners.values();
            listeners.any(|listener| wanted::is_proxied(region, listener))
        });
        let (done, listening) = channel();
        self.tell(Command::Follow(state, done));
        if has_any {
            // A thread that is this busy will come to it later.
            let _ = listening.recv_timeout(PATIENCE);
        }
    }

    /// A node is there, in this namespace.
    pub(crate) fn open(&self, node: EniId, namespace: Arc<NetNs>) {
        self.tell(Command::Open(node, namespace));
    }

    /// A node is gone.
    pub(crate) fn close(&self, node: EniId) {
        self.tell(Command::Close(node));
    }

    fn tell(&self, command: Command) {
        // The thread ends after this does, unless it panicked, and then it says so itself.
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of load balancers' proxies panicked");
        }
    }
}

/// The most connections at the same time, of all nodes: those beyond wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;

/// As many as leave half of the process's descriptors to others: each takes two.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    (limit / 4).min(CONNECTIONS_MAX)
}
/// How long a new state may wait for its listeners.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a port that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A listener that is served.
struct Running {
    namespace: Arc<NetNs>,
    rules: watch::Sender<Arc<Rules>>,
    // Its connections end with it.
    _tasks: JoinSet<()>,
}

async fn serve(
    mut commands: UnboundedReceiver<Command>,
    mut state: Arc<State>,
    reports: ProxyReports,
) {
    let ProxyReports { counts, records } = reports;
    let mut nodes: BTreeMap<EniId, Arc<NetNs>> = BTreeMap::new();
    let mut running: BTreeMap<(EniId, SocketAddr), Running> = BTreeMap::new();
    let mut wanted = Wanted::default();
    let room = Arc::new(Semaphore::new(connections_max()));
    let outgoing = Arc::new(Outgoing::new());
    while let Some(command) = commands.recv().await {
        let mut done = None;
        match command {
            Command::Close(node) => {
                nodes.remove(&node);
            }
            Command::Follow(new, sender) => {
                state = new;
                done = Some(sender);
            }
            Command::Open(node, namespace) => {
                nodes.insert(node, namespace);
            }
        }
        wanted.advance(&state, &counts);
        running.retain(|at, run| {
            let namespace = nodes.get(&at.0);
            let is_there = namespace.is_some_and(|own| Arc::ptr_eq(own, &run.namespace));
            is_there && wanted.rules.contains_key(at)
        });
        for (at, rules) in &wanted.rules {
            let Some(namespace) = nodes.get(&at.0) else {
                continue;
            };
            if let Some(run) = running.get(at) {
                run.rules.send_replace(Arc::clone(rules));
                continue;
            }
            let (sender, receiver) = watch::channel(Arc::clone(rules));
            let server = Server {
                namespace: Arc::clone(namespace),
                at: at.1,
                rules: receiver,
                room: Arc::clone(&room),
                outgoing: Arc::clone(&outgoing),
                records: records.clone(),
            };
            let bound = server.bind();
            let mut tasks = JoinSet::new();
            tasks.spawn(server.run(bound));
            let run = Running {
                namespace: Arc::clone(namespace),
                rules: sender,
                _tasks: tasks,
            };
            running.insert(*at, run);
        }
        if let Some(done) = done {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }
}

/// Accepts the connections of one listener of one node.
struct Server {
    namespace: Arc<NetNs>,
    at: SocketAddr,
    rules: watch::Receiver<Arc<Rules>>,
    room: Arc<Semaphore>,
    outgoing: Arc<Outgoing>,
    records: AccessRecords,
}

impl Server {
    async fn run(self, mut bound: io::Result<TcpListener>) {
        let socket = loop {
            match bound {
                Ok(socket) => break socket,
                Err(error) => {
                    tracing::warn!(%error, at = %self.at, "a load balancer's node cannot listen");
                }
            }
            tokio::time::sleep(RETRY).await;
            bound = self.bind();
        };
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("a load balancer's proxy panicked");
                    }
                    continue;
                }
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, or a client that has gone already.
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let connection = Connection {
                namespace: Arc::clone(&self.namespace),
                rules: self.rules.clone(),
                outgoing: Arc::clone(&self.outgoing),
                records: self.records.clone(),
                client,
                node: self.at,
            };
            connections.spawn(async move {
                connection.run(stream).await;
                drop(permit);
            });
        }
    }

    fn bind(&self) -> io::Result<TcpListener> {
        let bound = self.namespace.run(|| std::net::TcpListener::bind(self.at));
        let bound = bound.map_err(io::Error::other)??;
        bound.set_nonblocking(true)?;
        TcpListener::from_std(bound)
    }
}
