//! Questions and their answers: the rows of some times and keys, from memory and from files.
//!
//! A file is opened only if its hour is asked for, and of it only the row groups are read whose statistics
//! do not exclude the times and keys. What is read is filtered row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::vec;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter_record_batch;
use enid_model::time::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::StoreError;
use super::files::{Contents, Files};
use super::kind::{ARRIVAL, KEY, Kind, TIME, conform};
use super::tables::{Held, Stored, Table};

/// Which rows are asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Of which kind.
    pub kind: &'static str,
    /// The earliest time.
    pub from: Timestamp,
    /// The time after the latest.
    pub to: Timestamp,
    /// Of which keys.
    pub keys: Keys,
    /// Which columns are needed beside time, key and arrival; `None` is all.
    pub columns: Option<Vec<&'static str>>,
}

/// Some keys, or all.
#[derive(Debug, Clone)]
pub enum Keys {
    /// All keys.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Keys {
    /// One key.
    #[must_use]
    pub fn one(key: &str) -> Self {
        Self::Only(BTreeSet::from([key.to_owned()]))
    }
}

/// The answer: batches in no particular order, none empty.
pub struct Scan {
    filter: Filter,
    schema: SchemaRef,
    memory: vec::IntoIter<Held>,
    files: vec::IntoIter<Arc<Stored>>,
    reader: Option<ParquetRecordBatchReader>,
    source: Arc<Files>,
}

impl Scan {
    pub(super) fn new(query: &Query, kind: &Kind, table: &Table, source: Arc<Files>) -> Self {
        let filter = Filter {
            from: query.from.0,
            to: query.to.0,
            keys: query.keys.clone(),
        };
        let held = table.active.iter().chain(&table.flushing);
        let held = held.filter(|held| filter.from <= held.times.1 && held.times.0 < filter.to);
        let files = table.files.iter();
        let files = files.filter(|file| file.may_have(filter.from, filter.to));
        let schema = match &query.columns {
            None => kind.stored_schema(),
            Some(columns) => project(&kind.stored_schema(), columns),
        };
        Self {
            memory: held.cloned().collect::<Vec<_>>().into_iter(),
            files: files.cloned().collect::<Vec<_>>().into_iter(),
            reader: None,
            filter,
            schema,
            source,
        }
    }

    /// The columns of the batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            let batch = match self.memory.next() {
                Some(held) => held.batch,
                None => match self.next_stored()? {
                    Some(batch) => batch,
                    None => return Ok(None),
                },
            };
            let batch = self.filter.apply(&conform(batch, &self.schema)?)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    fn next_stored(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.next() {
                    Some(batch) => return Ok(Some(batch?)),
                    None => self.reader = None,
                }
            }
            let Some(file) = self.files.next() else {
                return Ok(None);
            };
            let reader = match self.source.read(&file.place.path())? {
                Contents::File(file) => self.filter.reader(
                    ParquetRecordBatchReaderBuilder::try_new(file)?,
                    &self.schema,
                )?,
                Contents::Bytes(bytes) => self.filter.reader(
                    ParquetRecordBatchReaderBuilder::try_new(bytes)?,
                    &self.schema,
                )?,
            };
            self.reader = Some(reader);
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// The columns that every kind has, and these.
fn project(schema: &SchemaRef, columns: &[&'static str]) -> SchemaRef {
    let wanted = |name: &str| [TIME, KEY, ARRIVAL].contains(&name) || columns.contains(&name);
    let fields = schema.fields().iter();
    let fields: Vec<_> = fields
        .filter(|field| wanted(field.name()))
        .cloned()
        .collect();
    Arc::new(arrow_schema::Schema::new(fields))
}

/// Which rows are wanted.
#[derive(Debug)]
struct Filter {
    from: i64,
    to: i64,
    keys: Keys,
}

impl Filter {
    fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let times = super::tables::times(batch);
        let keys = keys_of(batch)?;
        let in_time = |time: i64| self.from <= time && time < self.to;
        let wanted: BooleanArray = match &self.keys {
            Keys::All => times.iter().map(|time| Some(in_time(*time))).collect(),
            Keys::Only(only) => {
                // Rows of a key often follow each other.
                let mut last: Option<(&str, bool)> = None;
                let rows = times.iter().zip(0..keys.len());
                rows.map(|(time, row)| {
                    let key = keys.value(row);
                    let is_wanted = match last {
                        Some((of, is_wanted)) if of == key => is_wanted,
                        _ => only.contains(key),
                    };
                    last = Some((key, is_wanted));
                    Some(is_wanted && in_time(*time))
                })
                .collect()
            }
        };
        if wanted.true_count() == batch.num_rows() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &wanted)
    }

    /// A reader of the row groups and columns that are needed.
    fn reader<T: parquet::file::reader::ChunkReader + 'static>(
        &self,
        builder: ParquetRecordBatchReaderBuilder<T>,
        schema: &SchemaRef,
    ) -> Result<ParquetRecordBatchReader, StoreError> {
        let metadata = Arc::clone(builder.metadata());
        let columns: BTreeMap<&str, usize> = builder
            .parquet_schema()
            .columns()
            .iter()
            .enumerate()
            .map(|(index, column)| (column.name(), index))
            .collect();
        let (time, key) = (columns.get(TIME).copied(), columns.get(KEY).copied());
        let groups = metadata.row_groups().iter().enumerate();
        let groups = groups.filter(|(_, group)| self.may_have(group, time, key));
        let groups: Vec<usize> = groups.map(|(index, _)| index).collect();
        let wanted = schema.fields().iter();
        let wanted = wanted.filter_map(|field| columns.get(field.name().as_str()).copied());
        let mask = ProjectionMask::leaves(builder.parquet_schema(), wanted.collect::<Vec<_>>());
        let builder = builder
            .with_row_groups(groups)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        Ok(builder.build()?)
    }

    /// Whether a row group may have wanted rows, by its statistics.
    fn may_have(&self, group: &RowGroupMetaData, time: Option<usize>, key: Option<usize>) -> bool {
        let statistics = |index: Option<usize>| group.column(index?).statistics();
        if let Some(Statistics::Int64(times)) = statistics(time)
            && let (Some(first), Some(last)) = (times.min_opt(), times.max_opt())
            && (*last < self.from || self.to <= *first)
        {
            return false;
        }
        let Keys::Only(only) = &self.keys else {
            return true;
        };
        if let Some(Statistics::ByteArray(keys)) = statistics(key)
            && let (Some(first), Some(last)) = (keys.min_opt(), keys.max_opt())
        {
            // Long ones are cut in the statistics, the last one upwards.
            let (first, last) = (first.data(), last.data());
            let is_within = |key: &String| first <= key.as_bytes() && key.as_bytes() <= last;
            return only.iter().any(is_within);
        }
        true
    }
}

/// Rows per batch that is read from a file.
const BATCH_ROWS: usize = 8192;

/// The keys of a batch.
pub(super) fn keys_of(batch: &RecordBatch) -> Result<&StringArray, ArrowError> {
    let column = batch.column_by_name(KEY);
    let keys = column.and_then(|column| column.as_string_opt::<i32>());
    keys.ok_or_else(|| ArrowError::SchemaError("the column key is missing".to_owned()))
}
