//! Log events as the store keeps them.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field};
use enid_model::log_group::{LogPlace, LogUid};
use enid_model::time::Timestamp;

use super::batch::{InputEvent, size};
use crate::store::Kind;

/// The kind of log events. A row's key is the [`LogPlace`] of its stream.
pub const KIND: &str = "logs";

/// An event that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where in the order of all events.
    pub position: Position,
    /// Its stream.
    pub stream: LogUid,
    /// When it was received.
    pub ingested: Timestamp,
    /// What it says.
    pub message: String,
}

/// Where an event is in the order of all events of a group: by time, and by arrival among those of
/// one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The event's time, in milliseconds; it is not negative.
    pub time: i64,
    /// The event's arrival in the store.
    pub arrival: u64,
}

impl Event {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp(self.position.time)
    }
}

/// As AWS's event ids: 56 digits that are ordered as events are.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = u128::try_from(self.time).unwrap_or(0);
        let number = time << 64 | u128::from(self.arrival);
        write!(f, "{number:056}")
    }
}

impl Position {
    /// Reads what is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_written_so = text.len() == 56 && text.bytes().all(|b| b.is_ascii_digit());
        let number: u128 = is_written_so.then(|| text.parse().ok()).flatten()?;
        let time = i64::try_from(number >> 64).ok()?;
        let arrival = u64::try_from(number & u128::from(u64::MAX)).ok()?;
        Some(Self { time, arrival })
    }
}

/// The columns of an event beside time and key.
pub(crate) fn columns() -> Vec<Field> {
    vec![
        Field::new(INGESTION, DataType::Int64, false),
        // So that counting bytes does not read messages.
        Field::new(BYTES, DataType::UInt32, false),
        Field::new(MESSAGE, DataType::Utf8, false),
    ]
}

/// How long events are kept that no group's retention lets go.
// Limit: AWS keeps them for ever; here the size of the disk decides earlier.
pub(crate) const RETENTION: Duration = Duration::from_secs(3653 * 86_400);

pub(super) const INGESTION: &str = "ingestion";
pub(super) const BYTES: &str = "bytes";
const MESSAGE: &str = "message";

/// Events of a stream as rows for the store.
pub(super) fn rows(
    kind: &Kind,
    place: LogPlace,
    ingested: Timestamp,
    events: &[InputEvent],
) -> Result<RecordBatch, ArrowError> {
    let key = place.to_string();
    let times = events.iter().map(|event| event.at.0);
    let sizes = events.iter().map(|event| {
        let bytes = size(&event.message);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    });
    let messages = events.iter().map(|event| &*event.message);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(times)),
        Arc::new(StringArray::from_iter_values(events.iter().map(|_| &*key))),
        Arc::new(Int64Array::from_iter_values(
            events.iter().map(|_| ingested.0),
        )),
        Arc::new(UInt32Array::from_iter_values(sizes)),
        Arc::new(StringArray::from_iter_values(messages)),
    ];
    RecordBatch::try_new(kind.schema(), columns)
}

/// A row of a scan, read where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) position: Position,
    pub(super) key: &'a str,
    pub(super) ingested: Timestamp,
    pub(super) message: &'a str,
}

impl Row<'_> {
    /// The same, owned.
    pub(super) fn to_event(self) -> Event {
        let place: Option<LogPlace> = self.key.parse().ok();
        Event {
            position: self.position,
            stream: place.map_or(LogUid(0), |place| place.stream),
            ingested: self.ingested,
            message: self.message.to_owned(),
        }
    }
}

/// The rows of a scan's batch that has all columns.
pub(super) fn rows_of(batch: &RecordBatch) -> impl Iterator<Item = Row<'_>> {
    let column = |name: &str| batch.column_by_name(name);
    let times = column("time").and_then(|it| it.as_primitive_opt::<Int64Type>());
    let keys = column("key").and_then(|it| it.as_string_opt::<i32>());
    let arrivals = column("arrival").and_then(|it| it.as_primitive_opt::<UInt64Type>());
    let ingestions = column(INGESTION).and_then(|it| it.as_primitive_opt::<Int64Type>());
    let messages = column(MESSAGE).and_then(|it| it.as_string_opt::<i32>());
    let all = times.zip(keys).zip(arrivals).zip(ingestions).zip(messages);
    all.into_iter()
        .flat_map(|((((times, keys), arrivals), ingestions), messages)| {
            (0..times.len()).map(move |row| Row {
                position: Position {
                    time: times.value(row),
                    arrival: arrivals.value(row),
                },
                key: keys.value(row),
                ingested: Timestamp(ingestions.value(row)),
                message: messages.value(row),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_as_their_texts() {
        let of = |time, arrival| Position { time, arrival };
        let ordered = [
            of(0, 0),
            of(0, 9),
            of(1, 0),
            of(1_767_323_045_000, u64::MAX),
        ];
        let texts = ordered.map(|it| it.to_string());
        assert!(texts.is_sorted());
        for (position, text) in ordered.iter().zip(&texts) {
            assert_eq!(text.len(), 56);
            assert_eq!(Position::parse(text), Some(*position));
        }
        for text in ["", "1", &"9".repeat(56), &"x".repeat(56)] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
