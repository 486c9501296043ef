//! The telemetry store: rows of a few kinds, durable when they are answered, and kept within bounds.
//!
//! What is appended goes to a write-ahead log and to memory. From time to time all of memory is written to
//! Parquet files, a directory per kind, day and hour, and the log is cut. A scan reads memory and files as
//! they are at one moment.
//!
//! Invariants:
//! - A write that was answered survives any crash, whole; one that was not may survive, also whole.
//! - A scan finds each row once, also while rows move from memory to files and files are put together.
//! - Memory, log and files have bounds. When the disk is full or the bound on files is reached the oldest
//!   hour goes first, which is counted and told. When nothing more can go, or memory is full and cannot be
//!   written, appends are refused: what is left of the disk is for others, the region's state above all.
//!
//! All calls block: from async code they belong on a thread for blocking work.

mod disk;
mod files;
mod keeper;
mod kind;
mod merge;
mod notes;
mod partition;
mod recovery;
mod scan;
mod stats;
mod tables;
#[cfg(test)]
mod tests;
mod wal;
mod write;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use enid_model::time::{Clock, Timestamp};
use parquet::errors::ParquetError;

pub use disk::{Disk, Space};
pub use kind::{ARRIVAL, Floor, KEY, Kind, TIME};
pub use scan::{Keys, Query, Scan};
pub use stats::{KindStats, Stats};
pub use write::Write;

use disk::Evicted;
use files::Files;
use partition::HOUR_MS;
use stats::Counters;
use tables::{ROWS_MAX, Tables};
use writer::{Job, Writer};

/// How a store works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of everything.
    pub root: PathBuf,
    /// Bytes of rows in memory; on a small disk a sixteenth of it, as rows are on it twice while they are
    /// written to files.
    pub memory_max: usize,
    /// Bytes of files and the log.
    pub disk_max: u64,
    /// Bytes of the disk that are left free for others; of a small one an eighth.
    pub disk_reserve: u64,
    /// What says how much room there is.
    pub disk: Disk,
    /// How long rows stay in memory and the log only.
    pub flush_after: Duration,
    /// Whether an answered write survives a loss of power, or only the end of the process.
    pub is_durable: bool,
}

impl Options {
    /// What fits a machine that does other things too.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            memory_max: 64 << 20,
            disk_max: 8 << 30,
            disk_reserve: 512 << 20,
            disk: Disk::default(),
            flush_after: Duration::from_secs(300),
            is_durable: true,
        }
    }
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or memory is and cannot be written: the write is not stored.
    #[error("no space left for telemetry")]
    Full,
    /// A file cannot be read or written.
    #[error("a file of the telemetry store")]
    Io(#[from] std::io::Error),
    /// The object store failed.
    #[error("an object of the telemetry store")]
    Objects(#[from] object_store::Error),
    /// A Parquet file cannot be read or written.
    #[error("a Parquet file of the telemetry store")]
    Parquet(#[from] ParquetError),
    /// Rows cannot be read or put together.
    #[error("rows of the telemetry store")]
    Rows(#[from] ArrowError),
    /// The rows have not the columns of their kind.
    #[error("the rows are not of the kind {0}")]
    Schema(&'static str),
    /// The store has stopped, at its end or after a failure that leaves unknown what is durable.
    #[error("the telemetry store has stopped")]
    Stopped,
    /// More rows or bytes than fit one write.
    #[error("the write is too large")]
    TooLarge,
    /// A kind that the store was not opened with.
    #[error("there is no kind {0}")]
    UnknownKind(&'static str),
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The arrival of its first row; the others' follow it, in the order of the write.
    pub first_arrival: u64,
}

/// The store. A clone is the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// What ends the threads with the last handle.
struct Inner {
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// What all threads see.
struct Shared {
    options: Options,
    kinds: BTreeMap<&'static str, Kind>,
    clock: Arc<dyn Clock>,
    tables: RwLock<Tables>,
    files: Arc<Files>,
    evicted: Evicted,
    counters: Counters,
}

/// What is waiting to be written. More callers wait for their turn.
const JOBS_MAX: usize = 1024;

impl Store {
    /// Opens the store, and finds again what was appended. Nobody else may have it open.
    pub fn open(
        options: Options,
        kinds: Vec<Kind>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let kinds: BTreeMap<&'static str, Kind> =
            kinds.into_iter().map(|kind| (kind.name(), kind)).collect();
        let files = Files::local(options.root.join("files"), options.is_durable)?;
        let mut options = options;
        let space = options.disk.space(files.directory())?;
        let memory = usize::try_from(space.total / 16).unwrap_or(usize::MAX);
        options.memory_max = options.memory_max.min(memory);
        let evicted = Evicted::open(&options.root)?;
        let recovered = recovery::recover(&options, &kinds, &files, &evicted)?;
        let shared = Arc::new(Shared {
            options,
            kinds,
            clock,
            tables: RwLock::new(recovered.tables),
            files: Arc::new(files),
            evicted,
            counters: Counters::default(),
        });
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let writer = Writer::new(
            Arc::clone(&shared),
            inbox,
            recovered.wal,
            recovered.sequence,
            recovered.notes,
        );
        let writer = std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self(Arc::new(Inner {
            shared,
            jobs: Some(jobs),
            writer: Some(writer),
        })))
    }

    /// Stores rows and notes. When this returns they are durable, and scans find the rows. What many
    /// threads append at the same time is made durable at once.
    pub fn append(&self, write: Write) -> Result<Appended, StoreError> {
        let shared = &self.0.shared;
        let mut rows = 0;
        for (kind, batch) in &write.batches {
            let known = shared.kinds.get(kind);
            let known = known.ok_or(StoreError::UnknownKind(kind))?;
            if batch.schema() != known.schema() {
                return Err(StoreError::Schema(kind));
            }
            rows += batch.num_rows();
        }
        let payload = write.encode()?;
        if rows > ROWS_MAX || payload.len() > wal::PAYLOAD_MAX {
            return Err(StoreError::TooLarge);
        }
        self.ask(|answer| Job::Append {
            write,
            payload,
            answer,
        })
    }

    /// The rows that a query asks for, as they are now.
    pub fn scan(&self, query: &Query) -> Result<Scan, StoreError> {
        let shared = &self.0.shared;
        let kind = shared.kinds.get(query.kind);
        let kind = kind.ok_or(StoreError::UnknownKind(query.kind))?;
        let tables = shared.tables.read().unwrap_or_else(PoisonError::into_inner);
        let nothing = tables::Table::default();
        let table = tables.0.get(query.kind).unwrap_or(&nothing);
        Ok(Scan::new(query, kind, table, Arc::clone(&shared.files)))
    }

    /// The same as one batch, sorted by time and arrival. All of it is in memory: ask for little.
    pub fn scan_sorted(&self, query: &Query) -> Result<RecordBatch, StoreError> {
        let scan = self.scan(query)?;
        let schema = scan.schema();
        let batches = scan.collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(&schema, &batches)?;
        files::sort_by(&whole, &[TIME, ARRIVAL])
    }

    /// An owner's notes that count: the last full one and those after it, oldest first.
    pub fn notes(&self, owner: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        self.ask(|answer| Job::Notes {
            owner: owner.to_owned(),
            answer,
        })
    }

    /// Writes all that is in memory to files.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.ask(Job::Flush)
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.ask(Job::Clear)
    }

    /// The time before which rows of a kind may have been removed for want of space, before they were old;
    /// `Timestamp(i64::MIN)` if none were.
    #[must_use]
    pub fn evicted_until(&self, kind: &str) -> Timestamp {
        let hour = self.0.shared.evicted.hour(kind);
        Timestamp(hour.map_or(i64::MIN, |hour| (hour + 1).saturating_mul(HOUR_MS)))
    }

    /// What there is, and what became of the rest.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.0.shared;
        let tables = shared.tables.read().unwrap_or_else(PoisonError::into_inner);
        shared.counters.stats(&tables)
    }

    fn ask<T>(
        &self,
        job: impl FnOnce(Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = channel();
        let jobs = self.0.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(job(answer))
            .map_err(|_gone| StoreError::Stopped)?;
        answered.recv().map_err(|_gone| StoreError::Stopped)?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the telemetry store's thread panicked");
        }
    }
}

impl Shared {
    /// Changes what there is of kinds.
    fn change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables)
    }

    fn memory_bytes(&self) -> usize {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.memory_bytes()
    }

    /// What is missing of the bytes that are left free for others.
    fn missing_bytes(&self) -> u64 {
        let options = &self.options;
        match options.disk.space(self.files.directory()) {
            Ok(space) => {
                let reserve = space.reserve(options.disk_reserve);
                self.counters
                    .free_bytes
                    .store(space.free, Ordering::Relaxed);
                self.counters
                    .reserve_bytes
                    .store(reserve, Ordering::Relaxed);
                reserve.saturating_sub(space.free)
            }
            Err(error) => {
                tracing::debug!(%error, "the free space of the disk is not known");
                0
            }
        }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &std::sync::atomic::AtomicU64, amount: u64) {
        counter(&self.counters).fetch_add(amount, Ordering::Relaxed);
    }
}

/// Whether something failed because there is no space.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let kind = io.kind();
            if matches!(
                kind,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ) {
                return true;
            }
        }
        next = error.source();
    }
    false
}
