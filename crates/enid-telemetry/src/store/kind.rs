//! What is stored of one sort: its columns, and how long it is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use enid_model::time::Timestamp;

/// The column of a row's time: milliseconds since the epoch.
pub const TIME: &str = "time";
/// The column that most questions select by.
pub const KEY: &str = "key";
/// The column of a row's place in the order of all rows that were ever appended.
pub const ARRIVAL: &str = "arrival";

/// The time before which the rows of a key are not kept; `Timestamp(i64::MIN)` keeps all.
pub type Floor = Arc<dyn Fn(&str) -> Timestamp + Send + Sync>;

/// What is stored of one sort. A kind has a directory of its own.
#[derive(Clone)]
pub struct Kind {
    pub(super) name: &'static str,
    pub(super) retention_ms: i64,
    pub(super) floor: Option<Floor>,
    appended: SchemaRef,
    stored: SchemaRef,
}

impl Kind {
    /// A kind of rows with a time, a key, and these columns. Whole hours of rows that are older than
    /// `retention` are removed. A column that a later version adds must be nullable.
    #[must_use]
    pub fn new(name: &'static str, columns: Vec<Field>, retention: Duration) -> Self {
        let time = Field::new(TIME, DataType::Int64, false);
        let key = Field::new(KEY, DataType::Utf8, false);
        let arrival = Field::new(ARRIVAL, DataType::UInt64, false);
        let mut appended = vec![time.clone(), key.clone()];
        appended.extend(columns.iter().cloned());
        let mut stored = vec![time, key, arrival];
        stored.extend(columns);
        Self {
            name,
            retention_ms: i64::try_from(retention.as_millis()).unwrap_or(i64::MAX),
            floor: None,
            appended: Arc::new(Schema::new(appended)),
            stored: Arc::new(Schema::new(stored)),
        }
    }

    /// Removes the rows of single keys earlier than all others: when files are put together, `floor` is
    /// asked for each key. A scan does not ask it.
    #[must_use]
    pub fn with_floor(self, floor: Floor) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    /// Its name, which is that of its directory.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is appended: the time, the key, and the kind's own columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.appended)
    }

    /// What a scan yields: the time, the key, the arrival, and the kind's own columns.
    #[must_use]
    pub fn stored_schema(&self) -> SchemaRef {
        Arc::clone(&self.stored)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.name)
            .field("retention_ms", &self.retention_ms)
            .field("schema", &self.stored)
            .finish_non_exhaustive()
    }
}

/// A batch as the schema has it, which an earlier version may have written with fewer columns.
pub(super) fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(_) => Err(ArrowError::SchemaError(format!(
                "the column {} has another type",
                field.name()
            ))),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            None => Err(ArrowError::SchemaError(format!(
                "the column {} is missing",
                field.name()
            ))),
        });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array as _, Int64Array, StringArray};

    use super::*;

    #[test]
    fn what_an_earlier_version_wrote_gets_nulls_for_what_it_lacks() {
        let old = Kind::new("it", vec![], Duration::from_secs(1));
        let batch = RecordBatch::try_new(
            old.schema(),
            vec![
                Arc::new(Int64Array::from(vec![7])),
                Arc::new(StringArray::from(vec!["a"])),
            ],
        )
        .unwrap();
        let column = |is_nullable| vec![Field::new("more", DataType::UInt32, is_nullable)];
        let new = Kind::new("it", column(true), Duration::from_secs(1));
        let conformed = conform(batch.clone(), &new.schema()).unwrap();
        assert_eq!(conformed.num_columns(), 3);
        assert!(conformed.column(2).is_null(0));
        let strict = Kind::new("it", column(false), Duration::from_secs(1));
        assert!(conform(batch, &strict.schema()).is_err());
    }
}
