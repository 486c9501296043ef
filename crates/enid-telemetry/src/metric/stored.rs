//! Rows of datapoints in the telemetry store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{Float64Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt8Array,
};
use arrow_schema::{ArrowError, DataType, Field};
use enid_model::time::Timestamp;

use super::aggregate::Aggregate;
use super::level::Level;
use super::rows::{Append, Row, Rows, RowsError};
use super::unit::Unit;
use crate::store::{ARRIVAL, KEY, Keys, Kind, Query, Store, StoreError, TIME, Write};

/// Whose the notes are.
const OWNER: &str = "metric";
const UNIT: &str = "unit";
const COUNT: &str = "count";
const SUM: &str = "sum";
const MINIMUM: &str = "minimum";
const MAXIMUM: &str = "maximum";
/// The different values, and in another column how often each is there.
const VALUES: &str = "values";
const COUNTS: &str = "counts";

/// What is stored of metrics: a kind for each level.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    Level::ALL.into_iter().map(kind).collect()
}

fn kind(level: Level) -> Kind {
    let number = |name| Field::new(name, DataType::Float64, false);
    let numbers = |name| Field::new(name, list(), true);
    let columns = vec![
        Field::new(UNIT, DataType::UInt8, false),
        number(COUNT),
        number(SUM),
        number(MINIMUM),
        number(MAXIMUM),
        numbers(VALUES),
        numbers(COUNTS),
    ];
    let retention = u64::try_from(level.retention_s()).unwrap_or(0);
    Kind::new(name(level), columns, Duration::from_secs(retention))
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Second => "metric-second",
        Level::Minute => "metric-minute",
        Level::FiveMinutes => "metric-five-minutes",
        Level::Hour => "metric-hour",
    }
}

/// The rows of a store.
pub struct Stored(Store);

impl Stored {
    /// The rows of this store, which was opened with [`kinds`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    fn query(&self, query: &Query) -> Result<Vec<(u64, Row)>, RowsError> {
        let mut rows = Vec::new();
        for batch in self.0.scan(query).map_err(failed)? {
            read(&batch.map_err(failed)?, &mut rows).map_err(|error| failed(error.into()))?;
        }
        Ok(rows)
    }
}

fn failed(error: StoreError) -> RowsError {
    RowsError(Box::new(error))
}

impl Rows for Stored {
    fn append(&self, append: Append) -> Result<u64, RowsError> {
        let mut write = Write::new();
        for level in Level::ALL {
            let of_level: Vec<&Row> = append
                .rows
                .iter()
                .filter(|(of, _)| *of == level)
                .map(|(_, row)| row)
                .collect();
            if !of_level.is_empty() {
                let batch = batch(level, &of_level).map_err(|error| failed(error.into()))?;
                write = write.batch(name(level), batch);
            }
        }
        if let Some((is_full, note)) = append.note {
            write = write.note(OWNER, is_full, note);
        }
        if let Some(beside) = append.beside {
            write = write.note(beside.owner, beside.is_full, beside.bytes);
        }
        let appended = self.0.append(write).map_err(failed)?;
        Ok(appended.first_arrival)
    }

    fn scan(
        &self,
        level: Level,
        keys: &BTreeSet<String>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Row>, RowsError> {
        let rows = self.query(&Query {
            kind: name(level),
            from,
            to,
            keys: Keys::Only(keys.clone()),
            columns: None,
        })?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn arrived_from(
        &self,
        level: Level,
        arrival: u64,
        from: Timestamp,
    ) -> Result<Vec<(u64, Row)>, RowsError> {
        let mut rows = self.query(&Query {
            kind: name(level),
            from,
            to: Timestamp(i64::MAX),
            keys: Keys::All,
            columns: None,
        })?;
        rows.retain(|(number, _)| *number >= arrival);
        Ok(rows)
    }

    fn notes(&self) -> Result<Vec<Vec<u8>>, RowsError> {
        self.0.notes(OWNER).map_err(failed)
    }
}

fn batch(level: Level, rows: &[&Row]) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: fn(&Aggregate) -> f64| -> ArrayRef {
        let numbers = rows.iter().map(|row| of(&row.aggregate));
        Arc::new(Float64Array::from_iter_values(numbers))
    };
    let lists = |of: fn(&(f64, f64)) -> f64| -> ArrayRef {
        let mut lists = ListBuilder::new(Float64Builder::new());
        for row in rows {
            if let Some(values) = &row.aggregate.values {
                for pair in values {
                    lists.values().append_value(of(pair));
                }
            }
            lists.append(row.aggregate.values.is_some());
        }
        Arc::new(lists.finish())
    };
    let times = rows.iter().map(|row| row.time.0);
    let keys = rows.iter().map(|row| row.key.as_str());
    let units = rows.iter().map(|row| row.unit.number());
    RecordBatch::try_new(
        kind(level).schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(times)),
            Arc::new(StringArray::from_iter_values(keys)),
            Arc::new(UInt8Array::from_iter_values(units)),
            numbers(|of| of.count),
            numbers(|of| of.sum),
            numbers(|of| of.minimum),
            numbers(|of| of.maximum),
            lists(|(value, _)| *value),
            lists(|(_, count)| *count),
        ],
    )
}

/// Adds the rows of a batch, each with its number.
fn read(batch: &RecordBatch, rows: &mut Vec<(u64, Row)>) -> Result<(), ArrowError> {
    let column = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| ArrowError::SchemaError(format!("the column {name} is missing")))
    };
    let times = column(TIME)?.as_primitive::<Int64Type>();
    let keys = column(KEY)?.as_string::<i32>();
    let arrivals = column(ARRIVAL)?.as_primitive::<UInt64Type>();
    let units = column(UNIT)?.as_primitive::<UInt8Type>();
    let counts = column(COUNT)?.as_primitive::<Float64Type>();
    let sums = column(SUM)?.as_primitive::<Float64Type>();
    let minima = column(MINIMUM)?.as_primitive::<Float64Type>();
    let maxima = column(MAXIMUM)?.as_primitive::<Float64Type>();
    let values = column(VALUES)?.as_list::<i32>();
    let value_counts = column(COUNTS)?.as_list::<i32>();
    for at in 0..batch.num_rows() {
        let pairs = (!values.is_null(at)).then(|| {
            let (values, counts) = (values.value(at), value_counts.value(at));
            let values = values.as_primitive::<Float64Type>().values().to_vec();
            let counts = counts.as_primitive::<Float64Type>().values().to_vec();
            values.into_iter().zip(counts).collect()
        });
        let aggregate = Aggregate {
            count: counts.value(at),
            sum: sums.value(at),
            minimum: minima.value(at),
            maximum: maxima.value(at),
            values: pairs,
        };
        let row = Row {
            time: Timestamp(times.value(at)),
            key: keys.value(at).to_owned(),
            unit: Unit::numbered(units.value(at)),
            aggregate,
        };
        rows.push((arrivals.value(at), row));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use enid_model::time::SystemClock;

    use super::*;
    use crate::store::Options;

    #[test]
    fn rows_come_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let options = Options::new(directory.path().to_owned());
            let store = Store::open(options, kinds(), Arc::new(SystemClock)).unwrap();
            Stored::new(store)
        };
        let now = enid_model::time::Clock::now(&SystemClock);
        let row = |key: &str, aggregate: Aggregate| Row {
            time: now,
            key: key.to_owned(),
            unit: Unit::BYTES,
            aggregate,
        };
        let rows = vec![
            (
                Level::Minute,
                row("a", Aggregate::values(&[(1.0, 2.0), (3.0, 1.0)])),
            ),
            (
                Level::Minute,
                row("a", Aggregate::statistics(2.0, 5.0, 1.0, 4.0)),
            ),
            (Level::Hour, row("a", Aggregate::value(1.0))),
            (Level::Minute, row("b", Aggregate::value(2.0))),
        ];
        let append = Append {
            rows: rows.clone(),
            note: Some((true, b"note".to_vec())),
            beside: None,
        };
        let first = open().append(append).unwrap();
        let stored = open();
        let end = Timestamp(now.0 + 1);
        let keys = BTreeSet::from(["a".to_owned()]);
        let mut found = stored.scan(Level::Minute, &keys, now, end).unwrap();
        found.sort_by(|a, b| a.aggregate.sum.total_cmp(&b.aggregate.sum));
        assert_eq!(found, [rows[0].1.clone(), rows[1].1.clone()]);
        assert!(
            stored
                .scan(Level::Minute, &keys, end, end)
                .unwrap()
                .is_empty()
        );
        assert_eq!(stored.notes().unwrap(), [b"note"]);
        let later = stored.arrived_from(Level::Minute, first + 2, now).unwrap();
        assert_eq!(later, [(first + 2, rows[3].1.clone())]);
    }
}
