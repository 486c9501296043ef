//! Where datapoints are kept.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use enid_model::time::Timestamp;

use super::aggregate::Aggregate;
use super::level::Level;
use super::unit::Unit;

/// What is known of a grain of a metric, or a part of it: rows of one grain add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The grain's start.
    pub time: Timestamp,
    /// The metric's key.
    pub key: String,
    /// The unit.
    pub unit: Unit,
    /// The values.
    pub aggregate: Aggregate,
}

/// What is appended at once: all of it is kept, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The rows.
    pub rows: Vec<(Level, Row)>,
    /// What the owner wants to know after a restart; `true` for one that replaces all before it.
    pub note: Option<(bool, Vec<u8>)>,
    /// What somebody else wants to know of the same rows.
    pub beside: Option<Beside>,
}

/// A note that goes with rows of whoever puts them: what it says of them is durable when they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Whose note it is.
    pub owner: &'static str,
    /// Whether it replaces all before it.
    pub is_full: bool,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Why datapoints could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("the store of datapoints failed")]
pub struct RowsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps rows. All calls block.
pub trait Rows: Send + Sync {
    /// Keeps rows. They are durable when this returns. Answers the number of the first row; every row has one,
    /// in the order of their arrival.
    fn append(&self, append: Append) -> Result<u64, RowsError>;

    /// The rows of these metrics from one time up to, but without, another.
    fn scan(
        &self,
        level: Level,
        keys: &BTreeSet<String>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Row>, RowsError>;

    /// All rows of a level that arrived with this number or later and whose time is not before `from`,
    /// with their own numbers.
    fn arrived_from(
        &self,
        level: Level,
        arrival: u64,
        from: Timestamp,
    ) -> Result<Vec<(u64, Row)>, RowsError>;

    /// The last note that replaces all before it, and those after it, oldest first.
    fn notes(&self) -> Result<Vec<Vec<u8>>, RowsError>;
}

/// Rows that nothing keeps beyond the process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: Vec<(Level, Row)>,
    notes: Vec<Vec<u8>>,
}

impl Rows for Memory {
    fn append(&self, append: Append) -> Result<u64, RowsError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.rows.len();
        kept.rows.extend(append.rows);
        if let Some((is_full, note)) = append.note {
            if is_full {
                kept.notes.clear();
            }
            kept.notes.push(note);
        }
        Ok(u64::try_from(first).unwrap_or(u64::MAX))
    }

    fn scan(
        &self,
        level: Level,
        keys: &BTreeSet<String>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Row>, RowsError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.rows.iter().filter(|(of, row)| {
            *of == level && keys.contains(&row.key) && row.time >= from && row.time < to
        });
        Ok(found.map(|(_, row)| row.clone()).collect())
    }

    fn arrived_from(
        &self,
        level: Level,
        arrival: u64,
        from: Timestamp,
    ) -> Result<Vec<(u64, Row)>, RowsError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = (0..)
            .zip(&kept.rows)
            .filter(|(number, (of, row))| *of == level && *number >= arrival && row.time >= from);
        Ok(found
            .map(|(number, (_, row))| (number, row.clone()))
            .collect())
    }

    fn notes(&self) -> Result<Vec<Vec<u8>>, RowsError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.notes.clone())
    }
}
