//! All metrics: datapoints go in, lists and periods come out.
//!
//! A datapoint becomes a row of its minute (and of its second, if it is of high resolution) before it is
//! answered for. Rows of five minutes and of hours are added up meanwhile and kept by
//! [`Metrics::roll_up`] now and then; what was added up when the process died is added up again from the
//! rows that arrived since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use enid_model::key::Scope;
use enid_model::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::datum::Sample;
use super::identity::Identity;
use super::known::Known;
use super::level::{self, Level};
use super::rows::{Append, Beside, Row, Rows, RowsError};
use super::unit::Unit;
use crate::anomaly::Models;

/// How many metrics there may be, over all accounts and regions: a bound of memory. Beyond it, what this
/// installation published longest ago is forgotten.
const METRICS_MAX: usize = 500_000;
/// Metrics without a datapoint for so long are not listed.
const LISTED_MS: i64 = 14 * 24 * 3600 * 1000;

/// All metrics.
pub struct Metrics {
    rows: Arc<dyn Rows>,
    clock: Arc<dyn Clock>,
    /// Held for reading while rows are appended and added up, for writing while what was added up is kept.
    gate: RwLock<()>,
    state: Mutex<State>,
    /// What is normal for metrics, as it was learned lately.
    models: Models,
}

#[derive(Default)]
struct State {
    known: Known,
    /// Grains of coarse levels that are not kept yet.
    pending: HashMap<(Level, Timestamp, String, Unit), Aggregate>,
    /// The number of the next row that is not in any kept coarse one.
    next: u64,
}

/// What is remembered over a restart.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Metrics by key, each with its latest datapoint.
    metrics: Vec<(String, Timestamp)>,
    /// Of a full one: the number of the first row that is not rolled up.
    next: Option<u64>,
}

/// Why datapoints were not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// There are too many metrics.
    #[error("the maximum number of metrics has been reached")]
    TooManyMetrics,
    /// The store failed.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Which metrics to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this namespace.
    pub namespace: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// With each of these dimensions, and with these values where they are given.
    pub dimensions: Vec<(String, Option<String>)>,
    /// With a datapoint since.
    pub since: Option<Timestamp>,
}

/// A part of a metric's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it starts: periods are counted from here.
    pub start: Timestamp,
    /// Where it ends, exclusive.
    pub end: Timestamp,
    /// How long a period is, in seconds.
    pub period_s: i64,
}

/// The values of each period that has any, by its start, then by unit.
pub type Periods = BTreeMap<Timestamp, BTreeMap<Unit, Aggregate>>;

impl Metrics {
    /// The metrics of these rows. Blocks.
    pub fn open(rows: Arc<dyn Rows>, clock: Arc<dyn Clock>) -> Result<Self, RowsError> {
        let mut state = State::default();
        for note in rows.notes()? {
            // A note of a later version is not read: its metrics are known again by their next datapoint.
            let Ok(note) = serde_json::from_slice::<Note>(&note) else {
                continue;
            };
            for (key, latest) in note.metrics {
                state.known.note(&key, latest);
            }
            state.next = note.next.unwrap_or(state.next);
        }
        let oldest = Timestamp(clock.now().0 - LISTED_MS - 3_600_000);
        for (number, row) in rows.arrived_from(Level::Minute, state.next, oldest)? {
            state.known.note(&row.key, row.time);
            state.add(&row);
            state.next = state.next.max(number + 1);
        }
        Ok(Self {
            rows,
            clock,
            gate: RwLock::new(()),
            state: Mutex::new(state),
            models: Models::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes datapoints: all of them or none. They are durable, and visible to everybody, when this
    /// returns. Blocks.
    pub fn put(&self, scope: &Scope, samples: Vec<Sample>) -> Result<(), PutError> {
        let samples = samples.into_iter().map(|sample| (scope.clone(), sample));
        self.put_all(samples.collect(), None)
    }

    /// The same of several accounts and regions, with a note that is durable in the same moment.
    pub fn put_all(
        &self,
        samples: Vec<(Scope, Sample)>,
        beside: Option<Beside>,
    ) -> Result<(), PutError> {
        let mut rows = Vec::with_capacity(samples.len());
        let mut fresh = BTreeMap::new();
        {
            let mut state = self.state();
            for (scope, sample) in samples {
                let key = sample.metric.key(&scope);
                if !state.known.has(&scope, &sample.metric) {
                    fresh.insert(key.clone(), sample.time);
                }
                let row = |level: Level| {
                    let row = Row {
                        time: level.floor(sample.time),
                        key: key.clone(),
                        unit: sample.unit,
                        aggregate: sample.aggregate.clone(),
                    };
                    (level, row)
                };
                rows.push(row(Level::Minute));
                if sample.high_resolution {
                    rows.push(row(Level::Second));
                }
            }
            if !state.known.make_room(fresh.len(), METRICS_MAX) {
                return Err(PutError::TooManyMetrics);
            }
        }
        if rows.is_empty() && beside.is_none() {
            return Ok(());
        }
        let note = Note {
            metrics: fresh.into_iter().collect(),
            next: None,
        };
        let note = match note.metrics.is_empty() {
            true => None,
            false => serde_json::to_vec(&note).ok().map(|note| (false, note)),
        };
        let _append = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let count = u64::try_from(rows.len()).unwrap_or(0);
        let first = self.rows.append(Append {
            rows: rows.clone(),
            note,
            beside,
        })?;
        let mut state = self.state();
        state.next = state.next.max(first + count);
        for (level, row) in rows {
            if level == Level::Minute {
                state.known.note(&row.key, row.time);
                state.add(&row);
            }
        }
        Ok(())
    }

    /// Keeps what was added up. Called every few minutes. Blocks.
    pub fn roll_up(&self) -> Result<(), RowsError> {
        let _rest = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let oldest = Timestamp(self.now().0 - Level::Hour.retention_s() * 1000);
        let (pending, note) = {
            let mut state = self.state();
            if state.pending.is_empty() {
                return Ok(());
            }
            state.known.forget(oldest);
            let note = Note {
                metrics: state.known.all(),
                next: Some(state.next),
            };
            (state.pending.clone(), note)
        };
        let rows = pending.iter().map(|((level, time, key, unit), values)| {
            let row = Row {
                time: *time,
                key: key.clone(),
                unit: *unit,
                aggregate: values.clone(),
            };
            (*level, row)
        });
        let note = serde_json::to_vec(&note).ok().map(|note| (true, note));
        let rows: Vec<(Level, Row)> = rows.collect();
        let count = u64::try_from(rows.len()).unwrap_or(0);
        let first = self.rows.append(Append {
            rows,
            note,
            beside: None,
        })?;
        let mut state = self.state();
        state.next = state.next.max(first + count);
        state.pending.clear();
        Ok(())
    }

    /// Forgets what is known of metrics, when the store has forgotten their rows.
    pub fn clear(&self) {
        let _rest = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        *state = State {
            next: state.next,
            ..State::default()
        };
        self.models.clear();
    }

    /// What is normal for metrics, as it was learned lately.
    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// The metrics of an account and region that a selection fits, in order.
    #[must_use]
    pub fn list(&self, scope: &Scope, selection: &Selection) -> Vec<Identity> {
        let oldest = Timestamp(self.now().0 - LISTED_MS);
        let since = selection.since.unwrap_or(oldest).max(oldest);
        let mut metrics = self.state().known.since(scope, since);
        metrics.retain(|metric| selection.fits(metric));
        metrics
    }

    /// The values of a metric in each period of a window. Blocks.
    pub fn periods(
        &self,
        scope: &Scope,
        metric: &Identity,
        window: Window,
    ) -> Result<Periods, RowsError> {
        let mut found = self.read(scope, metric, window, window.period_s)?;
        if found.is_empty() && window.period_s < 60 {
            // Of a metric that is kept by the minute, its minutes are all there is.
            found = self.read(scope, metric, window, 60)?;
        }
        Ok(found)
    }

    fn read(
        &self,
        scope: &Scope,
        metric: &Identity,
        window: Window,
        finest_s: i64,
    ) -> Result<Periods, RowsError> {
        let mut found = Periods::new();
        if !self.state().known.has(scope, metric) {
            return Ok(found);
        }
        let keys = BTreeSet::from([metric.key(scope)]);
        for part in Level::parts(window.start, window.end, finest_s, self.now()) {
            // A grain counts to the period in which it starts.
            let from = part.level.floor(part.from);
            let from = match from < window.start {
                true => part.from,
                false => from,
            };
            let step = window.period_s.max(part.level.seconds()) * 1000;
            for row in self.rows.scan(part.level, &keys, from, part.to)? {
                let number = (row.time.0 - window.start.0).div_euclid(step);
                let start = Timestamp(window.start.0 + number * step);
                let of_unit = found.entry(start).or_default().entry(row.unit);
                of_unit
                    .and_modify(|values| values.merge(&row.aggregate))
                    .or_insert(row.aggregate);
            }
        }
        Ok(found)
    }

    /// The window that a request for a part of time is about: its start is rounded down as AWS does.
    #[must_use]
    pub fn window(&self, start: Timestamp, end: Timestamp, period_s: i64) -> Window {
        Window {
            start: level::snapped_start(start, period_s, self.now()),
            end,
            period_s,
        }
    }
}

impl State {
    /// Adds a minute to its coarser grains.
    fn add(&mut self, row: &Row) {
        for level in [Level::FiveMinutes, Level::Hour] {
            let grain = (level, level.floor(row.time), row.key.clone(), row.unit);
            self.pending
                .entry(grain)
                .and_modify(|values| values.merge(&row.aggregate))
                .or_insert_with(|| row.aggregate.clone());
        }
    }
}

impl Selection {
    fn fits(&self, metric: &Identity) -> bool {
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        same(&self.namespace, &metric.namespace)
            && same(&self.name, &metric.name)
            && self.dimensions.iter().all(|(name, value)| {
                metric
                    .dimension(name)
                    .is_some_and(|found| same(value, found))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use enid_model::key::{AccountId, RegionName};

    use super::super::rows::Memory;
    use super::*;

    struct Set(AtomicI64);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    const NOW: i64 = 1_767_323_040_000;
    const DAY: i64 = 24 * 3_600_000;

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        }
    }

    fn metric(name: &str) -> Identity {
        let dimensions = vec![("Host".to_owned(), "a".to_owned())];
        Identity::new("N", name, dimensions).unwrap()
    }

    fn sample(name: &str, time: i64, value: f64) -> Sample {
        Sample {
            metric: metric(name),
            time: Timestamp(time),
            unit: Unit::NONE,
            aggregate: Aggregate::value(value),
            high_resolution: false,
        }
    }

    fn open(rows: &Arc<Memory>) -> (Metrics, Arc<Set>) {
        let clock = Arc::new(Set(AtomicI64::new(NOW)));
        let rows: Arc<dyn Rows> = Arc::clone(rows) as Arc<dyn Rows>;
        let metrics = Metrics::open(rows, Arc::clone(&clock) as Arc<dyn Clock>);
        (metrics.unwrap(), clock)
    }

    fn sums(metrics: &Metrics, name: &str, start: i64, end: i64, period_s: i64) -> Vec<(i64, f64)> {
        let window = metrics.window(Timestamp(start), Timestamp(end), period_s);
        let periods = metrics.periods(&scope(), &metric(name), window).unwrap();
        let sum = |units: &BTreeMap<Unit, Aggregate>| units.values().map(|of| of.sum).sum();
        periods
            .iter()
            .map(|(time, units)| (time.0, sum(units)))
            .collect()
    }

    #[test]
    fn periods_add_up_what_was_put() {
        let (metrics, _) = open(&Arc::default());
        let data = vec![
            sample("m", NOW, 1.0),
            sample("m", NOW + 59_999, 2.0),
            sample("m", NOW + 60_000, 4.0),
            sample("other", NOW, 8.0),
        ];
        metrics.put(&scope(), data).unwrap();
        let end = NOW + 120_000;
        assert_eq!(
            sums(&metrics, "m", NOW, end, 60),
            [(NOW, 3.0), (NOW + 60_000, 4.0)]
        );
        assert_eq!(sums(&metrics, "m", NOW + 20_000, end, 300), [(NOW, 7.0)]);
        // The end is not in it.
        assert_eq!(sums(&metrics, "m", NOW, NOW + 60_000, 60), [(NOW, 3.0)]);
        // Kept by the minute, whatever is asked for.
        assert_eq!(sums(&metrics, "m", NOW, end, 10).len(), 2);
        assert!(sums(&metrics, "none", NOW, end, 60).is_empty());
    }

    #[test]
    fn seconds_are_kept_of_metrics_of_high_resolution() {
        let (metrics, clock) = open(&Arc::default());
        let fine = Sample {
            high_resolution: true,
            ..sample("m", NOW - 50_500, 1.0)
        };
        metrics.put(&scope(), vec![fine.clone(), fine]).unwrap();
        assert_eq!(
            sums(&metrics, "m", NOW - 60_000, NOW, 1),
            [(NOW - 51_000, 2.0)]
        );
        assert_eq!(
            sums(&metrics, "m", NOW - 60_000, NOW, 60),
            [(NOW - 60_000, 2.0)]
        );
        // Seconds are kept for three hours; then its minute is what there is.
        clock
            .0
            .store(NOW + 3 * 3_600_000 + 60_000, Ordering::Relaxed);
        assert_eq!(
            sums(&metrics, "m", NOW - 60_000, NOW, 1),
            [(NOW - 60_000, 2.0)]
        );
    }

    #[test]
    fn old_data_is_told_by_coarser_grains_and_survives_a_restart() {
        let rows = Arc::new(Memory::default());
        let (metrics, _) = open(&rows);
        let hour = Level::Hour.floor(Timestamp(NOW)).0;
        let data = |minute: i64| sample("m", hour + minute * 60_000, 1.0);
        metrics.put(&scope(), vec![data(0), data(1)]).unwrap();
        metrics.roll_up().unwrap();
        metrics.roll_up().unwrap();
        metrics.put(&scope(), vec![data(6)]).unwrap();
        // What was not rolled up is, after a restart.
        let (metrics, clock) = open(&rows);
        metrics.roll_up().unwrap();
        clock.0.store(NOW + 20 * DAY, Ordering::Relaxed);
        let end = hour + 3_600_000;
        assert_eq!(
            sums(&metrics, "m", hour, end, 60),
            [(hour, 2.0), (hour + 300_000, 1.0)]
        );
        clock.0.store(NOW + 100 * DAY, Ordering::Relaxed);
        assert_eq!(sums(&metrics, "m", hour, end, 60), [(hour, 3.0)]);
        clock.0.store(NOW + 456 * DAY, Ordering::Relaxed);
        assert!(sums(&metrics, "m", hour, end, 60).is_empty());
    }

    #[test]
    fn metrics_are_listed_while_they_have_data() {
        let rows = Arc::new(Memory::default());
        let (metrics, clock) = open(&rows);
        metrics
            .put(
                &scope(),
                vec![sample("a", NOW, 1.0), sample("b", NOW - 5 * 3_600_000, 1.0)],
            )
            .unwrap();
        let all = Selection::default();
        let names = |metrics: &Metrics, selection: &Selection| {
            let listed = metrics.list(&scope(), selection);
            listed
                .iter()
                .map(|metric| metric.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&metrics, &all), ["a", "b"]);
        for (selection, wanted) in [
            (
                Selection {
                    name: Some("b".to_owned()),
                    ..all.clone()
                },
                vec!["b"],
            ),
            (
                Selection {
                    namespace: Some("X".to_owned()),
                    ..all.clone()
                },
                vec![],
            ),
            (
                Selection {
                    since: Some(Timestamp(NOW - 3 * 3_600_000)),
                    ..all.clone()
                },
                vec!["a"],
            ),
            (
                Selection {
                    dimensions: vec![("Host".to_owned(), None)],
                    ..all.clone()
                },
                vec!["a", "b"],
            ),
            (
                Selection {
                    dimensions: vec![("Host".to_owned(), Some("b".to_owned()))],
                    ..all.clone()
                },
                vec![],
            ),
            (
                Selection {
                    dimensions: vec![("Zone".to_owned(), None)],
                    ..all.clone()
                },
                vec![],
            ),
        ] {
            assert_eq!(names(&metrics, &selection), wanted, "{selection:?}");
        }
        let other = Scope {
            region: RegionName::new("us-east-1"),
            ..scope()
        };
        assert!(metrics.list(&other, &all).is_empty());
        let (metrics, _) = open(&rows);
        assert_eq!(names(&metrics, &all), ["a", "b"]);
        drop(clock);
        let (metrics, clock) = open(&rows);
        clock.0.store(NOW + 15 * DAY, Ordering::Relaxed);
        assert!(names(&metrics, &all).is_empty());
    }
}
