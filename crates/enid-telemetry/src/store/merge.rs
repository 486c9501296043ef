//! Sorted files put together as one, with a few thousand rows of each in memory at a time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array as _, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::StoreError;
use super::files::Contents;
use super::kind::{ARRIVAL, TIME, conform};
use super::scan::keys_of;

/// Rows that are read of a file, and told, at once.
const ROWS: usize = 4_096;

/// The rows of several files, sorted as each of them is: by key, time, and arrival.
pub(super) struct Merge {
    schema: SchemaRef,
    files: Vec<ParquetRecordBatchReader>,
    heads: BinaryHeap<Head>,
    /// The batches that rows are taken of. Those of heads come first, after each step.
    batches: Vec<RecordBatch>,
}

/// The next row of a file.
struct Head {
    /// Which file.
    file: usize,
    /// Which batch, and the row of it.
    batch: usize,
    row: usize,
    keys: StringArray,
    times: Int64Array,
    arrivals: UInt64Array,
}

impl Merge {
    /// The rows of files, as the schema has them.
    pub(super) fn new(schema: SchemaRef, files: Vec<Contents>) -> Result<Self, StoreError> {
        let mut merge = Self {
            schema,
            files: Vec::with_capacity(files.len()),
            heads: BinaryHeap::new(),
            batches: Vec::new(),
        };
        for (file, contents) in files.into_iter().enumerate() {
            merge.files.push(match contents {
                Contents::File(file) => ParquetRecordBatchReaderBuilder::try_new(file)?
                    .with_batch_size(ROWS)
                    .build()?,
                Contents::Bytes(bytes) => ParquetRecordBatchReaderBuilder::try_new(bytes)?
                    .with_batch_size(ROWS)
                    .build()?,
            });
            merge.read(file)?;
        }
        Ok(merge)
    }

    /// Adds the next batch of a file, if there is one.
    fn read(&mut self, file: usize) -> Result<(), StoreError> {
        for batch in self.files.get_mut(file).into_iter().flatten() {
            let batch = conform(batch?, &self.schema)?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.heads.push(Head {
                file,
                batch: self.batches.len(),
                row: 0,
                keys: keys_of(&batch)?.clone(),
                times: column(&batch, TIME)?.as_primitive::<Int64Type>().clone(),
                arrivals: column(&batch, ARRIVAL)?
                    .as_primitive::<UInt64Type>()
                    .clone(),
            });
            self.batches.push(batch);
            break;
        }
        Ok(())
    }

    /// The next rows; `None` after the last ones.
    pub(super) fn next_rows(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(ROWS);
        while rows.len() < ROWS {
            let Some(mut head) = self.heads.pop() else {
                break;
            };
            // Rows of one file that follow each other are taken without looking at the heap each time.
            loop {
                rows.push((head.batch, head.row));
                head.row += 1;
                let is_first = self.heads.peek().is_none_or(|other| head >= *other);
                if head.row == head.keys.len() || rows.len() == ROWS || !is_first {
                    break;
                }
            }
            if head.row < head.keys.len() {
                self.heads.push(head);
            } else {
                self.read(head.file)?;
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let told = interleave_record_batch(&batches, &rows)?;
        self.forget_told();
        Ok(Some(told))
    }

    /// Keeps the batches of heads only.
    fn forget_told(&mut self) {
        let mut heads = std::mem::take(&mut self.heads).into_vec();
        let batches = std::mem::take(&mut self.batches);
        for head in &mut heads {
            if let Some(batch) = batches.get(head.batch) {
                head.batch = self.batches.len();
                self.batches.push(batch.clone());
            }
        }
        self.heads = heads.into();
    }
}

fn column<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a Arc<dyn arrow_array::Array>, ArrowError> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| ArrowError::SchemaError(format!("the column {name} is missing")))
}

impl Head {
    fn order(&self) -> (&str, i64, u64) {
        // A head has rows left, or it is about to go.
        let row = self.row.min(self.keys.len() - 1);
        let (time, arrival) = (self.times.value(row), self.arrivals.value(row));
        (self.keys.value(row), time, arrival)
    }
}

/// The greatest of a heap is the row that comes first.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.order().cmp(&self.order())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::ArrayRef;

    use super::*;
    use crate::store::files::{encode, sort};
    use crate::store::kind::Kind;

    fn kind() -> Kind {
        Kind::new("it", Vec::new(), Duration::from_secs(1))
    }

    fn file(rows: &[(&str, i64, u64)]) -> Contents {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<UInt64Array>()),
        ];
        let batch = RecordBatch::try_new(kind().stored_schema(), columns).unwrap();
        let sorted = sort(&batch).unwrap();
        Contents::Bytes(encode(kind().stored_schema(), &[sorted]).unwrap().into())
    }

    fn merged(files: Vec<Contents>) -> Vec<(String, i64, u64)> {
        let mut merge = Merge::new(kind().stored_schema(), files).unwrap();
        let mut rows = Vec::new();
        while let Some(batch) = merge.next_rows().unwrap() {
            let keys = keys_of(&batch).unwrap();
            let times = column(&batch, TIME).unwrap().as_primitive::<Int64Type>();
            let arrivals = column(&batch, ARRIVAL).unwrap();
            let arrivals = arrivals.as_primitive::<UInt64Type>();
            rows.extend((0..batch.num_rows()).map(|row| {
                let key = keys.value(row).to_owned();
                (key, times.value(row), arrivals.value(row))
            }));
        }
        rows
    }

    #[test]
    fn rows_of_all_files_come_in_their_order() {
        let one = [("b", 5, 1), ("a", 7, 2), ("a", 1, 3)];
        let two = [("a", 7, 0), ("c", 0, 9)];
        let rows = merged(vec![file(&one), file(&two), file(&[])]);
        let expected = [
            ("a", 1, 3),
            ("a", 7, 0),
            ("a", 7, 2),
            ("b", 5, 1),
            ("c", 0, 9),
        ];
        assert_eq!(
            rows,
            expected.map(|(key, time, at)| (key.to_owned(), time, at))
        );
        assert!(merged(Vec::new()).is_empty());
    }

    #[test]
    fn rows_that_take_several_batches_are_all_there_once() {
        let rows = 3 * ROWS as u64 + 7;
        let part = |of: u64| {
            let rows = (0..rows).filter(|row| row % 3 == of);
            file(&rows.map(|row| ("k", 4, row)).collect::<Vec<_>>())
        };
        let told = merged(vec![part(2), part(0), part(1)]);
        let arrivals: Vec<u64> = told.into_iter().map(|(_, _, arrival)| arrival).collect();
        assert_eq!(arrivals, (0..rows).collect::<Vec<_>>());
    }
}
