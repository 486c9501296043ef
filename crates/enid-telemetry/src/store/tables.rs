//! What there is of each kind at this moment: batches in memory and files. Readers take it all at once, so
//! that they see each row once whatever is moved meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_select::concat::concat_batches;

use super::kind::{ARRIVAL, TIME};
use super::partition::{HOUR_MS, Place};

/// The bits of an arrival below its frame's sequence: a frame has no more rows.
pub(super) const ROW_BITS: u32 = 20;

/// The most rows of one write.
pub(super) const ROWS_MAX: usize = 1 << ROW_BITS;

/// A batch in memory, as the kind's stored schema has it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) batch: RecordBatch,
    pub(super) bytes: usize,
    /// The earliest and latest time in it.
    pub(super) times: (i64, i64),
}

impl Held {
    /// A batch that is not empty.
    pub(super) fn new(batch: RecordBatch) -> Self {
        let times = times(&batch);
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for time in times {
            first = first.min(*time);
            last = last.max(*time);
        }
        Self {
            bytes: batch.get_array_memory_size(),
            times: (first, last),
            batch,
        }
    }
}

/// The times of a batch.
pub(super) fn times(batch: &RecordBatch) -> &[i64] {
    match batch.column_by_name(TIME) {
        Some(column) => column.as_primitive::<Int64Type>().values(),
        None => &[],
    }
}

/// The frames of the rows of a batch, the first and the last.
pub(super) fn frames(batch: &RecordBatch) -> (u64, u64) {
    let arrivals = match batch.column_by_name(ARRIVAL) {
        Some(column) => column.as_primitive::<UInt64Type>().values().as_ref(),
        None => &[],
    };
    let first = arrivals.iter().min().copied().unwrap_or(0);
    let last = arrivals.iter().max().copied().unwrap_or(0);
    (first >> ROW_BITS, last >> ROW_BITS)
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) bytes: u64,
}

impl Stored {
    /// Whether it may hold rows of these times; `to` is not one of them.
    pub(super) fn may_have(&self, from: i64, to: i64) -> bool {
        let begins = self.place.hour.saturating_mul(HOUR_MS);
        begins < to && from < begins.saturating_add(HOUR_MS)
    }
}

/// What there is of one kind.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Rows that are in memory and in the log.
    pub(super) active: Vec<Held>,
    /// The same, while they are being written to files.
    pub(super) flushing: Vec<Held>,
    pub(super) files: Vec<Arc<Stored>>,
}

impl Table {
    /// Adds rows; small batches are put together, so that there are never many.
    pub(super) fn add(&mut self, batch: RecordBatch) {
        self.active.push(Held::new(batch));
        let small = self.active.iter().rev();
        let small = small
            .take_while(|held| held.batch.num_rows() < SMALL_ROWS)
            .count();
        if small < SMALL_BATCHES {
            return;
        }
        let from = self.active.len() - small;
        let batches = self.active[from..].iter().map(|held| &held.batch);
        // They are all of one schema.
        if let Ok(whole) = concat_batches(&self.active[from].batch.schema(), batches) {
            self.active.truncate(from);
            self.active.push(Held::new(whole));
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let held = self.active.iter().chain(&self.flushing);
        held.map(|held| held.bytes).sum()
    }
}

/// A batch with fewer rows is put together with others.
const SMALL_ROWS: usize = 4096;
/// How many such batches there may be.
const SMALL_BATCHES: usize = 64;

/// What there is of all kinds.
#[derive(Debug, Default)]
pub(super) struct Tables(pub(super) BTreeMap<&'static str, Table>);

impl Tables {
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.values().map(Table::memory_bytes).sum()
    }

    /// The earliest time of rows in memory, in milliseconds since the epoch.
    pub(super) fn oldest_in_memory(&self) -> Option<i64> {
        let held = self.0.values().flat_map(|table| &table.active);
        held.map(|held| held.times.0).min()
    }

    /// Takes the oldest file of all kinds out.
    pub(super) fn take_oldest(&mut self) -> Option<Arc<Stored>> {
        let age = |file: &Arc<Stored>| (file.place.hour, file.place.first);
        let oldest = |table: &Table| table.files.iter().map(age).min();
        let tables = self.0.values_mut();
        let with_files = tables.filter(|table| !table.files.is_empty());
        let table = with_files.min_by_key(|table| oldest(table))?;
        let first = oldest(table)?;
        let at = table.files.iter().position(|file| age(file) == first)?;
        Some(table.files.remove(at))
    }

    pub(super) fn file_bytes(&self) -> u64 {
        let files = self.0.values().flat_map(|table| &table.files);
        files.map(|file| file.bytes).sum()
    }
}
