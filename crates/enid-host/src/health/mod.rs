//! Health checks of load balancers' targets, from the balancers' own nodes.
//!
//! Each node has a network namespace and a device of its own, so that a check leaves as any packet of an
//! interface does: the node's security groups, network ACLs, routes and the target's groups judge it. One
//! thread makes all checks. A target is checked by every node that sends it flows, and a round passes if one
//! of the nodes gets through: what stops one zone's node stops no target of another zone.
//!
//! What is said is what was seen. The state of a target is part of the region; here it is only compared with
//! what was seen last, so that an observation which was not kept is told again after the next round.

mod probe;
mod round;
mod wanted;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use enid_model::id::{EniId, TargetUid};
use enid_model::key::Scope;
use enid_model::state::State;
use enid_model::target::{HealthState, TargetKey};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::probe::Prober;
use self::round::Target;
use self::wanted::{Check, unseen, wanted};
use crate::netns::NetNs;

/// What was seen of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub scope: Scope,
    /// Which it is.
    pub key: TargetKey,
    /// Which registration.
    pub uid: TargetUid,
    /// What was seen.
    pub state: HealthState,
}

/// The thread that checks all targets. It ends when this is dropped.
#[derive(Debug)]
pub struct Health {
    commands: Option<UnboundedSender<Command>>,
    states: watch::Sender<Arc<State>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Close(EniId),
    Open(EniId, Arc<NetNs>),
}

impl Health {
    /// Starts the thread; no node is there yet, so nothing is checked.
    pub fn start(
        state: Arc<State>,
        say: impl Fn(Seen) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (commands, received) = unbounded_channel();
        let (states, seen) = watch::channel(state);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || runtime.block_on(serve(received, seen, Arc::new(say))))?;
        Ok(Self {
            commands: Some(commands),
            states,
            thread: Some(thread),
        })
    }

    /// From now on this state says what is to be checked.
    pub fn follow(&self, state: Arc<State>) {
        self.states.send_replace(state);
    }

    /// A node is there, in this namespace.
    pub fn open(&self, node: EniId, namespace: Arc<NetNs>) {
        self.tell(Command::Open(node, namespace));
    }

    /// A node is gone.
    pub fn close(&self, node: EniId) {
        self.tell(Command::Close(node));
    }

    fn tell(&self, command: Command) {
        // The thread ends after this does, unless it panicked, and then it says so itself.
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of health checks panicked");
        }
    }
}

/// Checks that are made at the same time; more wait for these.
const AT_ONCE: usize = 256;

/// A target that is being checked.
struct Running {
    check: Check,
    task: AbortHandle,
}

async fn serve(
    mut commands: UnboundedReceiver<Command>,
    mut states: watch::Receiver<Arc<State>>,
    say: Arc<dyn Fn(Seen) + Send + Sync>,
) {
    let mut nodes: BTreeMap<EniId, Arc<NetNs>> = BTreeMap::new();
    let mut running: BTreeMap<(Scope, TargetKey), Running> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let prober = Arc::new(Prober::new(Semaphore::new(AT_ONCE)));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Open(node, namespace)) => {
                    nodes.insert(node, namespace);
                }
                Some(Command::Close(node)) => {
                    nodes.remove(&node);
                }
                None => return,
            },
            changed = states.changed() => if changed.is_err() {
                return;
            },
            Some(ended) = tasks.join_next() => {
                // Tasks end when they are aborted, and not otherwise.
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a health check panicked");
                }
                continue;
            }
        }
        let state = Arc::clone(&states.borrow_and_update());
        unseen(&state).into_iter().for_each(|seen| say(seen));
        let wanted = wanted(&state, |node| nodes.contains_key(&node));
        running.retain(|key, run| {
            let is_kept = wanted.get(key) == Some(&run.check);
            if !is_kept {
                run.task.abort();
            }
            is_kept
        });
        for (key, check) in wanted {
            if running.contains_key(&key) {
                continue;
            }
            let found = check
                .nodes
                .iter()
                .filter_map(|(node, host)| Some((Arc::clone(nodes.get(node)?), host.clone())));
            let target = Target {
                scope: key.0.clone(),
                key: key.1,
                nodes: found.collect(),
                check: check.clone(),
                states: states.clone(),
            };
            let task = tasks.spawn(target.watch(Arc::clone(&prober), Arc::clone(&say)));
            running.insert(key, Running { check, task });
        }
    }
}
