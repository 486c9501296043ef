//! What the store holds, and what became of the rest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::tables::Tables;

/// What a store holds, and what became of the rest since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// By kind.
    pub kinds: BTreeMap<&'static str, KindStats>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Rows that were appended.
    pub appended_rows: u64,
    /// Writes that were refused because there was no space.
    pub refused_writes: u64,
    /// Rows that were removed because they were old.
    pub expired_rows: u64,
    /// Rows that were removed because there was no space for them any more.
    pub evicted_rows: u64,
    /// Files that were put together with others.
    pub merged_files: u64,
    /// Times that memory was written to files.
    pub flushes: u64,
    /// Times that this failed.
    pub failed_flushes: u64,
    /// Bytes that the disk has left, when it was looked at last.
    pub free_bytes: u64,
    /// Those of them that are left to others.
    pub reserve_bytes: u64,
    /// Whether nothing is stored any more, because the disk has no more than these and there is nothing
    /// that could be removed.
    pub is_short_of_space: bool,
}

/// What there is of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindStats {
    /// Rows in memory.
    pub memory_rows: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Files.
    pub files: u64,
    /// Rows in files.
    pub file_rows: u64,
    /// Bytes of files.
    pub file_bytes: u64,
}

/// What is counted while the store is open.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) log_bytes: AtomicU64,
    pub(super) appended_rows: AtomicU64,
    pub(super) refused_writes: AtomicU64,
    pub(super) expired_rows: AtomicU64,
    pub(super) evicted_rows: AtomicU64,
    pub(super) merged_files: AtomicU64,
    pub(super) flushes: AtomicU64,
    pub(super) failed_flushes: AtomicU64,
    pub(super) free_bytes: AtomicU64,
    pub(super) reserve_bytes: AtomicU64,
    pub(super) is_short_of_space: AtomicBool,
}

impl Counters {
    pub(super) fn stats(&self, tables: &Tables) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = tables.0.iter().map(|(kind, table)| {
            let held = || table.active.iter().chain(&table.flushing);
            let stats = KindStats {
                memory_rows: held().map(|held| held.batch.num_rows() as u64).sum(),
                memory_bytes: held().map(|held| held.bytes as u64).sum(),
                files: table.files.len() as u64,
                file_rows: table.files.iter().map(|file| file.place.rows).sum(),
                file_bytes: table.files.iter().map(|file| file.bytes).sum(),
            };
            (*kind, stats)
        });
        Stats {
            kinds: kinds.collect(),
            log_bytes: of(&self.log_bytes),
            appended_rows: of(&self.appended_rows),
            refused_writes: of(&self.refused_writes),
            expired_rows: of(&self.expired_rows),
            evicted_rows: of(&self.evicted_rows),
            merged_files: of(&self.merged_files),
            flushes: of(&self.flushes),
            failed_flushes: of(&self.failed_flushes),
            free_bytes: of(&self.free_bytes),
            reserve_bytes: of(&self.reserve_bytes),
            is_short_of_space: self.is_short_of_space.load(Ordering::Relaxed),
        }
    }
}
