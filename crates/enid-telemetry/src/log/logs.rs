//! Log events: putting them into the store and reading them from it.
//!
//! Which groups and streams there are is region state, and comes with each call. What is kept here
//! beside the store is what streams are described with, made from the store when it is first asked
//! for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_schema::ArrowError;
use enid_model::key::Scope;
use enid_model::log_group::{LogGroup, LogPlace, LogUid};
use enid_model::time::{Clock, Timestamp};

use super::batch::{AGE_MAX_MS, DAY_MS, InputEvent, size};
use super::event::{BYTES, Event, INGESTION, KIND, Position, Row, rows, rows_of};
use super::page::{self, Bounds, Page, Span};
use crate::store::{Keys, Kind, Query, Store, StoreError, Write};

/// Log events of all groups.
pub struct Logs {
    store: Store,
    kind: Kind,
    clock: Arc<dyn Clock>,
    groups: Mutex<HashMap<LogUid, GroupCounts>>,
    /// The last arrival of streams that services log to that watchers were told of.
    told: Mutex<HashMap<LogPlace, u64>>,
    watchers: RwLock<Vec<Arc<dyn Watcher>>>,
}

/// Is told of every event that is stored.
pub trait Watcher: Send + Sync {
    /// Takes the events of one call. Does not block for long: the call is answered afterwards.
    fn stored(&self, stored: &Stored<'_>);
}

/// Events that have been stored together.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Whose, and where.
    pub scope: &'a Scope,
    /// The group's name.
    pub group_name: &'a str,
    /// The group as it was then.
    pub group: &'a LogGroup,
    /// The stream's name.
    pub stream_name: &'a str,
    /// The events, the earliest first.
    pub events: &'a [Event],
    /// When that was.
    pub now: Timestamp,
}

/// Where events are put.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Whose, and where.
    pub scope: &'a Scope,
    /// The group's name.
    pub group_name: &'a str,
    /// The group.
    pub group: &'a LogGroup,
    /// The stream's name.
    pub stream_name: &'a str,
    /// The stream.
    pub stream: LogUid,
}

/// Why events were not put or read.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The events cannot be rows.
    #[error("make rows of log events")]
    Rows(#[from] ArrowError),
    /// The store did not do it.
    #[error("read or write log events")]
    Store(#[from] StoreError),
}

/// What a stream is described with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCounts {
    /// The time of its earliest event.
    pub first: Timestamp,
    /// The time of its latest event.
    pub last: Timestamp,
    /// When the last event came.
    pub ingested: Timestamp,
    /// What its events count for.
    pub bytes: u64,
}

#[derive(Default)]
struct GroupCounts {
    streams: BTreeMap<LogUid, StreamCounts>,
    /// The last arrival that is counted.
    arrival: Option<u64>,
}

impl Logs {
    /// Log events in a store that has been opened with [`super::kind`].
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            kind: super::kind(),
            clock,
            groups: Mutex::default(),
            told: Mutex::default(),
            watchers: RwLock::default(),
        }
    }

    /// Has a watcher told of what is stored from now on.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        let mut watchers = self
            .watchers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        watchers.push(watcher);
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stores events, which are in the order of their times. They can be read when this returns.
    /// Blocks.
    pub fn put(&self, target: Target<'_>, events: &[InputEvent]) -> Result<(), LogsError> {
        if events.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let appended = self
            .store
            .append(self.prepare(target.place(), events, now)?)?;
        self.tell(target, events, now, appended.first_arrival);
        Ok(())
    }

    /// What has to be appended to the store so that events are in a stream.
    pub fn prepare(
        &self,
        place: LogPlace,
        events: &[InputEvent],
        now: Timestamp,
    ) -> Result<Write, LogsError> {
        let rows = rows(&self.kind, place, now, events)?;
        Ok(Write::new().batch(KIND, rows))
    }

    /// Counts events that are in the store, and tells the watchers.
    fn tell(&self, target: Target<'_>, events: &[InputEvent], now: Timestamp, first_arrival: u64) {
        let events = events.iter().zip(first_arrival..);
        let events: Vec<Event> = events
            .map(|(event, arrival)| Event {
                position: Position {
                    time: event.at.0,
                    arrival,
                },
                stream: target.stream,
                ingested: now,
                message: event.message.clone(),
            })
            .collect();
        self.tell_events(target, &events, now);
    }

    /// The same for events of these times that others have appended since a time, and that have not
    /// been told of. Blocks.
    pub fn tell_stored(
        &self,
        target: Target<'_>,
        first: Timestamp,
        last: Timestamp,
        since: Timestamp,
    ) -> Result<(), LogsError> {
        let place = target.place();
        let told = self.told().get(&place).copied();
        let query = Query {
            kind: KIND,
            from: first,
            to: Timestamp(last.0.saturating_add(1)),
            keys: Keys::Only(BTreeSet::from([place.to_string()])),
            columns: None,
        };
        let mut events = Vec::new();
        for batch in self.store.scan(&query)? {
            let batch = batch?;
            let new = rows_of(&batch).filter(|row| {
                row.ingested >= since && told.is_none_or(|told| row.position.arrival > told)
            });
            events.extend(new.map(Row::to_event));
        }
        events.sort_unstable_by_key(|event| event.position);
        let arrivals = events.iter().map(|event| event.position.arrival);
        if let Some(arrival) = arrivals.max() {
            self.told().insert(place, arrival);
            self.tell_events(target, &events, self.now());
        }
        Ok(())
    }

    fn tell_events(&self, target: Target<'_>, events: &[Event], now: Timestamp) {
        if let Some(counts) = self.counts().get_mut(&target.group.uid) {
            for event in events {
                let bytes = size(&event.message) as u64;
                counts.add(target.stream, event.position, event.ingested, bytes);
            }
        }
        let stored = Stored {
            scope: target.scope,
            group_name: target.group_name,
            group: target.group,
            stream_name: target.stream_name,
            events,
            now,
        };
        let watchers = self.watchers.read().unwrap_or_else(PoisonError::into_inner);
        for watcher in &*watchers {
            watcher.stored(&stored);
        }
    }

    /// A page of a group's events, of those that a function accepts by their messages. Blocks.
    pub fn page(
        &self,
        span: &Span,
        bounds: Bounds,
        accepts: impl Fn(&str) -> bool,
    ) -> Result<Page, LogsError> {
        Ok(page::read(&self.store, span, bounds, accepts)?)
    }

    /// Shows the events of streams in a span of time, in no order, with the keys of their streams,
    /// as long as more are wanted. Blocks.
    pub fn each(
        &self,
        keys: &BTreeSet<String>,
        from: Timestamp,
        to: Timestamp,
        mut show: impl FnMut(&str, Event) -> bool,
    ) -> Result<(), LogsError> {
        let query = Query {
            kind: KIND,
            from,
            to,
            keys: Keys::Only(keys.clone()),
            columns: None,
        };
        for batch in self.store.scan(&query)? {
            let batch = batch?;
            for row in rows_of(&batch) {
                if !show(row.key, row.to_event()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The span of streams of a group in which there may be events, within these times.
    pub fn span(
        &self,
        group: &LogGroup,
        streams: impl IntoIterator<Item = LogUid>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Span {
        let now = self.now();
        let first = group.floor(now).0;
        // An event may be two hours ahead of the clock, which may have been set back meanwhile.
        let last = now.0 + DAY_MS;
        let group = group.uid;
        let keys = streams
            .into_iter()
            .map(|stream| LogPlace { group, stream }.to_string());
        Span {
            keys: keys.collect(),
            from: Timestamp(from.map_or(first, |from| from.0.max(first))),
            to: Timestamp(to.map_or(last, |to| to.0.min(last))),
        }
    }

    /// What the streams of a group are described with; one without events is left out. Blocks if
    /// the group has not been asked for since the start.
    pub fn stream_counts(
        &self,
        group: &LogGroup,
        streams: &[LogUid],
    ) -> Result<BTreeMap<LogUid, StreamCounts>, LogsError> {
        let mut groups = self.counts();
        if !groups.contains_key(&group.uid) {
            let span = self.span(group, streams.iter().copied(), None, None);
            groups.insert(group.uid, self.count(&span)?);
        }
        let counts = groups.get(&group.uid);
        let counts = counts.map(|counts| counts.streams.clone());
        Ok(counts.unwrap_or_default())
    }

    /// Forgets what is counted: the store has been emptied.
    pub fn forget(&self) {
        self.counts().clear();
        self.told().clear();
    }

    fn told(&self) -> MutexGuard<'_, HashMap<LogPlace, u64>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<LogUid, GroupCounts>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, span: &Span) -> Result<GroupCounts, LogsError> {
        let mut counts = GroupCounts::default();
        if span.keys.is_empty() {
            return Ok(counts);
        }
        let query = Query {
            kind: KIND,
            from: span.from,
            to: span.to,
            keys: Keys::Only(BTreeSet::clone(&span.keys)),
            columns: Some(vec!["time", "key", "arrival", INGESTION, BYTES]),
        };
        for batch in self.store.scan(&query)? {
            let batch = batch?;
            let column = |name: &str| batch.column_by_name(name);
            let times = column("time").and_then(|it| it.as_primitive_opt::<Int64Type>());
            let keys = column("key").and_then(|it| it.as_string_opt::<i32>());
            let arrivals = column("arrival").and_then(|it| it.as_primitive_opt::<UInt64Type>());
            let ingested = column(INGESTION).and_then(|it| it.as_primitive_opt::<Int64Type>());
            let bytes = column(BYTES).and_then(|it| it.as_primitive_opt::<UInt32Type>());
            let all = times.zip(keys).zip(arrivals).zip(ingested).zip(bytes);
            let Some(((((times, keys), arrivals), ingested), bytes)) = all else {
                continue;
            };
            for row in 0..batch.num_rows() {
                let Ok(place) = keys.value(row).parse::<LogPlace>() else {
                    continue;
                };
                let position = Position {
                    time: times.value(row),
                    arrival: arrivals.value(row),
                };
                let ingested = Timestamp(ingested.value(row));
                counts.count(place.stream, position, ingested, bytes.value(row).into());
            }
        }
        Ok(counts)
    }
}

impl Target<'_> {
    fn place(&self) -> LogPlace {
        LogPlace {
            group: self.group.uid,
            stream: self.stream,
        }
    }
}

impl GroupCounts {
    /// Counts an event unless it was there when the group was counted.
    fn add(&mut self, stream: LogUid, position: Position, ingested: Timestamp, bytes: u64) {
        if self.arrival.is_none_or(|last| position.arrival > last) {
            self.count(stream, position, ingested, bytes);
        }
    }

    fn count(&mut self, stream: LogUid, position: Position, ingested: Timestamp, bytes: u64) {
        self.arrival = self.arrival.max(Some(position.arrival));
        let at = Timestamp(position.time);
        let counts = self.streams.entry(stream).or_insert(StreamCounts {
            first: at,
            last: at,
            ingested,
            bytes: 0,
        });
        counts.first = counts.first.min(at);
        counts.last = counts.last.max(at);
        counts.ingested = counts.ingested.max(ingested);
        counts.bytes += bytes;
    }
}

/// When the earliest event of a group may be.
pub trait Floor {
    /// The time before which a group has no events to show: it did not exist and took nothing that
    /// old, or does not keep it.
    fn floor(&self, now: Timestamp) -> Timestamp;
}

impl Floor for LogGroup {
    fn floor(&self, now: Timestamp) -> Timestamp {
        let taken = self.created_at.0 - AGE_MAX_MS;
        let kept = self
            .retention_days
            .map(|days| now.0 - i64::from(days) * DAY_MS);
        Timestamp(kept.map_or(taken, |kept| kept.max(taken)))
    }
}
