//! Pages of events: from a position on or back, with as many events as a page may have.
//!
//! A scan has no order, and a group may have more events than fit into memory. So a page is
//! collected from windows of time, small ones near the position first, and a collector keeps no
//! more than a page of what it is shown.

use std::collections::{BTreeMap, BTreeSet};

use enid_model::time::Timestamp;

use super::batch::size;
use super::event::{Event, KIND, Position, Row, rows_of};
use crate::store::{Keys, Query, Store, StoreError};

/// Which events of which streams.
#[derive(Debug, Clone)]
pub struct Span {
    /// Keys of the streams.
    pub keys: BTreeSet<String>,
    /// Not before this time.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
}

/// Which way a page goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To events before the position.
    Backward,
    /// To events after the position.
    Forward,
}

/// Where a page begins, and how far it goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Which way.
    pub direction: Direction,
    /// The event that it is after, or before; none for the first or last events of the span.
    pub position: Option<Position>,
    /// Events at most.
    pub limit: usize,
}

/// A page of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The events, the earliest first.
    pub events: Vec<Event>,
    /// Whether there may be more of them that way.
    pub is_cut: bool,
}

/// Reads a page of the events that a function accepts by their messages.
pub fn read(
    store: &Store,
    span: &Span,
    bounds: Bounds,
    accepts: impl Fn(&str) -> bool,
) -> Result<Page, StoreError> {
    let Bounds {
        direction,
        position,
        limit,
    } = bounds;
    let mut collector = Collector::new(direction, limit);
    let is_beyond = |row: &Row<'_>| match (position, direction) {
        (None, _) => true,
        (Some(position), Direction::Forward) => row.position > position,
        (Some(position), Direction::Backward) => row.position < position,
    };
    for (from, to) in windows(span, bounds) {
        let query = Query {
            kind: KIND,
            from: Timestamp(from),
            to: Timestamp(to),
            keys: Keys::Only(span.keys.clone()),
            columns: None,
        };
        for batch in store.scan(&query)? {
            for row in rows_of(&batch?).filter(is_beyond) {
                if collector.has_room(row.position) && accepts(row.message) {
                    collector.add(row);
                }
            }
        }
        if collector.is_full() {
            break;
        }
    }
    Ok(collector.into_page())
}

/// The span in windows from the position on, each twice as wide as the one before it.
fn windows(span: &Span, bounds: Bounds) -> impl Iterator<Item = (i64, i64)> {
    let at = bounds.position.map(|position| position.time);
    let (mut from, mut to) = (span.from.0, span.to.0);
    let mut width = FIRST_WINDOW_MS;
    match bounds.direction {
        Direction::Backward => to = to.min(at.map_or(i64::MAX, |at| at.saturating_add(1))),
        Direction::Forward => from = from.max(at.unwrap_or(i64::MIN)),
    }
    std::iter::from_fn(move || {
        if from >= to || span.keys.is_empty() {
            return None;
        }
        let window = match bounds.direction {
            Direction::Backward => {
                let end = to;
                to = from.max(to.saturating_sub(width));
                (to, end)
            }
            Direction::Forward => {
                let start = from;
                from = to.min(from.saturating_add(width));
                (start, from)
            }
        };
        width = width.saturating_mul(2);
        Some(window)
    })
}

/// The first events that it is shown, or the last ones.
struct Collector {
    direction: Direction,
    limit: usize,
    events: BTreeMap<Position, Event>,
    bytes: usize,
    is_cut: bool,
}

impl Collector {
    fn new(direction: Direction, limit: usize) -> Self {
        Self {
            direction,
            limit,
            events: BTreeMap::new(),
            bytes: 0,
            is_cut: false,
        }
    }

    /// Whether a page that has been cut, or is full, would still take an event from here.
    fn has_room(&mut self, position: Position) -> bool {
        let is_open = !self.is_cut && self.events.len() < self.limit;
        let farthest = match self.direction {
            Direction::Backward => self.events.first_key_value(),
            Direction::Forward => self.events.last_key_value(),
        };
        let is_nearer = farthest.is_some_and(|(farthest, _)| match self.direction {
            Direction::Backward => position > *farthest,
            Direction::Forward => position < *farthest,
        });
        let has_room = is_open || is_nearer;
        self.is_cut |= !has_room;
        has_room
    }

    fn add(&mut self, row: Row<'_>) {
        self.bytes += size(row.message);
        self.events.insert(row.position, row.to_event());
        while self.events.len() > self.limit
            || (self.bytes > PAGE_BYTES_MAX && self.events.len() > 1)
        {
            let gone = match self.direction {
                Direction::Backward => self.events.pop_first(),
                Direction::Forward => self.events.pop_last(),
            };
            self.bytes -= gone.map_or(0, |(_, event)| size(&event.message));
            self.is_cut = true;
        }
    }

    fn is_full(&self) -> bool {
        self.is_cut || self.events.len() >= self.limit
    }

    fn into_page(self) -> Page {
        let is_cut = self.is_full();
        let events = self.events.into_values().collect();
        Page { events, is_cut }
    }
}

/// What a page holds at most.
/// Source: CloudWatch Logs API Reference, FilterLogEvents and GetLogEvents.
const PAGE_BYTES_MAX: usize = 1_048_576;

/// The store keeps events by hours, so a smaller window would not be cheaper.
const FIRST_WINDOW_MS: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span {
            keys: BTreeSet::from(["a/b".to_owned()]),
            from: Timestamp(from),
            to: Timestamp(to),
        }
    }

    #[test]
    fn windows_cover_the_span_from_the_position_on() {
        const HOUR: i64 = FIRST_WINDOW_MS;
        let bounds = |direction, position: Option<i64>| Bounds {
            direction,
            position: position.map(|time| Position { time, arrival: 7 }),
            limit: 10,
        };
        let forward = bounds(Direction::Forward, None);
        let all: Vec<_> = windows(&span(0, 8 * HOUR), forward).collect();
        assert_eq!(
            all,
            [
                (0, HOUR),
                (HOUR, 3 * HOUR),
                (3 * HOUR, 7 * HOUR),
                (7 * HOUR, 8 * HOUR)
            ]
        );
        let forward = bounds(Direction::Forward, Some(7 * HOUR));
        let all: Vec<_> = windows(&span(0, 8 * HOUR), forward).collect();
        assert_eq!(all, [(7 * HOUR, 8 * HOUR)]);
        // Events of the position's own time may be before it.
        let backward = bounds(Direction::Backward, Some(2 * HOUR));
        let all: Vec<_> = windows(&span(0, 8 * HOUR), backward).collect();
        assert_eq!(all, [(HOUR + 1, 2 * HOUR + 1), (0, HOUR + 1)]);
        assert_eq!(windows(&span(5, 5), forward).count(), 0);
        let everywhere = span(0, i64::MAX);
        let forward = bounds(Direction::Forward, None);
        assert!(windows(&everywhere, forward).count() < 50);
    }

    #[test]
    fn a_collector_keeps_what_is_nearest() {
        let row = |time: i64, message| Row {
            position: Position { time, arrival: 1 },
            key: "0000000000000001/0000000000000002",
            ingested: Timestamp(9),
            message,
        };
        let times = |collector: Collector| {
            let page = collector.into_page();
            let times: Vec<i64> = page.events.iter().map(|it| it.position.time).collect();
            (times, page.is_cut)
        };
        for (direction, expected) in [
            (Direction::Forward, vec![1, 2, 3]),
            (Direction::Backward, vec![5, 6, 7]),
        ] {
            let mut collector = Collector::new(direction, 3);
            for time in [4, 6, 2, 7, 1, 5, 3] {
                let row = row(time, "m");
                if collector.has_room(row.position) {
                    collector.add(row);
                }
            }
            assert_eq!(times(collector), (expected, true));
        }
        let mut collector = Collector::new(Direction::Forward, 3);
        collector.add(row(1, "m"));
        assert_eq!(times(collector), (vec![1], false));
        let large = "x".repeat(PAGE_BYTES_MAX / 2);
        let mut collector = Collector::new(Direction::Forward, 10);
        for time in [1, 2, 3] {
            collector.add(row(time, &large));
        }
        assert_eq!(times(collector), (vec![1], true));
    }
}
