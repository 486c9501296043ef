//! Transactions and watch over a key-value engine, and the in-memory view of all records.
//!
//! A [`Store`] keeps one [`State`] in memory, current as of the last durable commit. Readers take
//! it without a lock; writers send a [`Transaction`], which holds only if its conditions do. A
//! transaction is durable before [`Store::commit`] answers. [`Hosts`] says which revisions the
//! datapaths obey.

#![forbid(unsafe_code)]

mod disk;
mod hosts;
mod load;
mod memory;
mod touched;
mod transaction;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use enid_model::key::Key;
use enid_model::state::{Revision, State};
use tokio::sync::{oneshot, watch};

pub use hosts::{Checks, HostHandle, HostName, Hosts, Observation, Observed};
pub use transaction::{Condition, Transaction};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has the file.
    #[error("another process uses the store {0}")]
    InUse(Box<Path>),
    /// The engine failed.
    #[error("open the store")]
    Engine(#[source] EngineError),
    /// A record cannot be read.
    #[error("read the record {key}")]
    Record {
        /// The record's key.
        key: Key,
        /// What is wrong with it.
        source: enid_model::record::UnreadableRecord,
    },
    /// A key cannot be read.
    #[error("read a key")]
    Key(#[source] enid_model::key::MalformedKey),
}

/// An engine's failure. What it held before is still there; what was being written may not be.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct EngineError {
    /// What was being done.
    pub what: &'static str,
    /// What the engine said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a transaction did not commit. In each case nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold: read again and decide anew.
    #[error("the records changed meanwhile")]
    Conflict,
    /// There is no space on the disk.
    #[error("no space left for the store")]
    Full,
    /// The store has stopped after a failure or at shutdown.
    #[error("the store has stopped")]
    Stopped,
}

/// Where stored records can be read.
trait Source: Send {
    /// Tells everything stored, a part at a time, then the last revision.
    fn load(&mut self, tell: &mut dyn FnMut(Vec<Row>)) -> Result<Revision, EngineError>;
}

/// Where records are kept. The writer thread owns it: calls come one at a time.
trait Engine: Source {
    /// Whether a write takes so long that it is worth waiting a moment for more to write with it.
    fn is_slow(&self) -> bool;

    /// Stores all writes as one, durably.
    fn write(&mut self, revision: Revision, writes: &[Write]) -> Result<(), EngineError>;

    /// Forgets every record; the revision is kept, so that none is ever given twice.
    fn clear(&mut self, revision: Revision) -> Result<(), EngineError>;
}

/// A stored row: key, value, and the revision that wrote it.
type Row = (String, Vec<u8>, Revision);

/// One key's new value, or its absence.
#[derive(Debug, Clone)]
struct Write {
    key: String,
    value: Option<Vec<u8>>,
    revision: Revision,
}

/// The store.
#[derive(Clone)]
pub struct Store {
    current: Arc<ArcSwap<State>>,
    changes: watch::Receiver<Arc<State>>,
    requests: std::sync::mpsc::SyncSender<writer::Request>,
    hosts: Hosts,
}

impl Store {
    /// Opens or creates the store file in a directory that exists.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = Self::file(directory);
        Self::start(Box::new(disk::Disk::open(&path)?))
    }

    /// The store file in a directory.
    #[must_use]
    pub fn file(directory: &Path) -> PathBuf {
        directory.join("enid.redb")
    }

    /// What the store file in a directory holds, without opening it for others. `None` if its last
    /// writer was cut off: [`Store::open`] repairs it.
    pub fn read(directory: &Path) -> Result<Option<State>, OpenError> {
        let path = Self::file(directory);
        match disk::Still::open(&path)? {
            Some(mut still) => Ok(Some(load::load(&mut still)?.0)),
            None => Ok(None),
        }
    }

    /// A store that forgets everything when it is dropped.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(Box::new(memory::Memory))
    }

    fn start(engine: Box<dyn Engine>) -> Result<Self, OpenError> {
        let (requests, inbox) = std::sync::mpsc::sync_channel(writer::QUEUE_MAX);
        let writer = writer::Writer::load(engine)?;
        let state = writer.state();
        let current = Arc::new(ArcSwap::new(Arc::clone(&state)));
        let (announce, changes) = watch::channel(state);
        writer.run(inbox, Arc::clone(&current), announce);
        let hosts = Hosts::default();
        Ok(Self {
            current,
            changes,
            requests,
            hosts,
        })
    }

    /// All records as of the last commit.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.current.load_full()
    }

    /// Follows the state. A slow follower misses intermediate states, never the last one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.changes.clone()
    }

    /// The hosts and what they obey.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Stores a transaction if its conditions hold. When this returns `Ok`, it is durable, and
    /// [`Store::state`] holds it.
    pub async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.send(writer::Request::Commit(transaction, answer))
            .await?;
        answered.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// Forgets every record. The revision goes on.
    pub async fn reset(&self) -> Result<Revision, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.send(writer::Request::Reset(answer)).await?;
        answered.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// Lets go of the file in good order: opening it again then needs no repair, and whoever only
    /// wants to read it can. Nothing can be committed afterwards.
    pub async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(writer::Request::Close(answer)).await.is_ok() {
            // A writer that stopped before it came to this has let go as well.
            let _ = answered.await;
        }
    }

    /// Waits, without blocking a worker thread, until the writer takes the request.
    async fn send(&self, mut request: writer::Request) -> Result<(), CommitError> {
        use std::sync::mpsc::TrySendError;
        loop {
            match self.requests.try_send(request) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(CommitError::Stopped),
                Err(TrySendError::Full(back)) => {
                    request = back;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
