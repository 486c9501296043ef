//! How far the counters of sources were published.
//!
//! A reading adds what each counter has gained to what is pending. A minute's end makes datapoints of that,
//! and a note of how far each counter is: both are one write. After a crash the counters' gains since the
//! last write are simply still to be published; of what was pending only the minutes of slow metrics are
//! in the note, because nothing else is older than the counters that it knows.
//!
//! Invariant: the sum of all datapoints of a counter is what it counted, up to the last write.

use std::collections::{BTreeMap, BTreeSet};

use enid_model::key::{AccountId, RegionName, Scope};
use enid_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Pace, Reading, Role, Value};
use crate::metric::aggregate::Aggregate;
use crate::metric::datum::Sample;
use crate::metric::identity::Identity;
use crate::metric::unit::Unit;

/// Whose the notes are.
pub const OWNER: &str = "source";

/// How far everything was published, and what is still to be.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What each counter said at the last reading, by source and key.
    read: BTreeMap<String, BTreeMap<String, u64>>,
    /// What changed since the last note.
    changed: BTreeSet<(String, String)>,
    /// Sums of what counters gained in this minute.
    minute: BTreeMap<Series, f64>,
    /// What counters of one metric gained in this minute: what is divided, and by what.
    ratios: BTreeMap<Series, (f64, f64)>,
    /// Sums of values of now.
    levels: BTreeMap<Series, f64>,
    /// The minutes of metrics that are published every five.
    slow: BTreeMap<Series, Vec<f64>>,
    /// Notes since the last one that was full.
    notes: u32,
}

/// Datapoints of a metric, or of one part of what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    scope: Scope,
    metric: Identity,
    unit: Unit,
    part: String,
    pace: Slowness,
}

/// [`Pace`] of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slowness {
    Minute,
    FiveMinutes,
    IfAny,
}

/// What is remembered over a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Counters by source: how far each was published.
    #[serde(default)]
    published: BTreeMap<String, BTreeMap<String, u64>>,
    /// Counters that are there no more.
    #[serde(default)]
    gone: Vec<(String, String)>,
    /// Minutes that wait for their five: a metric's key, its unit, whose part, and the values.
    #[serde(default)]
    slow: Vec<(String, u8, String, Vec<f64>)>,
}

/// What is to be written at a minute's end: datapoints, and the note that belongs to them.
#[derive(Debug, Default)]
pub struct Close {
    /// The datapoints.
    pub samples: Vec<(Scope, Sample)>,
    /// The note, and whether it makes all before it obsolete.
    pub note: Option<(bool, Vec<u8>)>,
    /// Whether slow metrics are among the datapoints.
    ends_five: bool,
}

/// Notes after which everything is one note again.
const NOTES_MAX: u32 = 60;

impl Ledger {
    /// Goes on where notes end, oldest first.
    #[must_use]
    pub fn open(notes: &[Vec<u8>]) -> Self {
        let mut ledger = Self {
            notes: NOTES_MAX,
            ..Self::default()
        };
        for note in notes {
            let note: Note = match serde_json::from_slice(note) {
                Ok(note) => note,
                Err(error) => {
                    tracing::error!(%error, "a note of metrics is unreadable");
                    continue;
                }
            };
            for (source, counters) in note.published {
                ledger.read.entry(source).or_default().extend(counters);
            }
            for (source, key) in note.gone {
                if let Some(counters) = ledger.read.get_mut(&source) {
                    counters.remove(&key);
                }
            }
            let slow = note
                .slow
                .into_iter()
                .filter_map(|(key, unit, part, values)| {
                    let series = Series::of_key(&key, Unit::numbered(unit), part)?;
                    Some((series, values))
                });
            ledger.slow = slow.collect();
        }
        ledger
    }

    /// Takes what a source has read, which is all that it counts.
    pub fn take(&mut self, source: &str, readings: &[Reading]) {
        let before = self.read.remove(source).unwrap_or_default();
        let mut read = BTreeMap::new();
        for reading in readings {
            let amount = match reading.value {
                Value::Count(count) => {
                    let last = before.get(&reading.key).copied();
                    if last != Some(count) {
                        self.changed
                            .insert((source.to_owned(), reading.key.clone()));
                    }
                    read.insert(reading.key.clone(), count);
                    gain(last.unwrap_or(0), count)
                }
                Value::Level(level) => level,
            };
            self.post(reading, amount);
        }
        for key in before.keys().filter(|key| !read.contains_key(*key)) {
            self.changed.insert((source.to_owned(), key.clone()));
        }
        self.read.insert(source.to_owned(), read);
    }

    /// The gains of a source's counters, and not its levels: what is read between two minutes' ends.
    pub fn take_gains(&mut self, source: &str, readings: &[Reading]) {
        let counts: Vec<Reading> = readings
            .iter()
            .filter(|reading| matches!(reading.value, Value::Count(_)))
            .cloned()
            .collect();
        self.take(source, &counts);
    }

    fn post(&mut self, reading: &Reading, amount: f64) {
        for post in &reading.posts {
            let pace = match post.pace {
                Pace::Minute => Slowness::Minute,
                Pace::FiveMinutes => Slowness::FiveMinutes,
                Pace::IfAny => Slowness::IfAny,
                Pace::Never => continue,
            };
            let (Some(namespace), Some(scope)) = (post.meaning.namespace, &post.scope) else {
                continue;
            };
            let dimensions = post.dimensions.iter();
            let dimensions = dimensions.map(|(name, value)| ((*name).to_owned(), value.clone()));
            let metric = Identity::new(namespace, post.meaning.name, dimensions.collect());
            // Unwrap: sources name their dimensions themselves, each once.
            let metric = metric.expect("dimensions are different");
            let series = Series {
                scope: scope.clone(),
                metric,
                unit: post.meaning.unit,
                part: post.part.clone(),
                pace,
            };
            if post.role != Role::Amount {
                let ratio = self.ratios.entry(series).or_default();
                match post.role {
                    Role::Divisor => ratio.1 += amount,
                    Role::Amount | Role::Dividend => ratio.0 += amount,
                }
                continue;
            }
            let sums = match reading.value {
                Value::Count(_) => &mut self.minute,
                Value::Level(_) => &mut self.levels,
            };
            *sums.entry(series).or_default() += amount;
        }
    }

    /// Ends the minute that began at `start`; `five` is the start of the five minutes that end with it, if
    /// some do. Finer than a minute: `is_fine`.
    #[must_use]
    pub fn close(&mut self, start: Timestamp, five: Option<Timestamp>, is_fine: bool) -> Close {
        let counted = |series: &Series, time: Timestamp, values: &[(f64, f64)]| {
            let sample = Sample {
                metric: series.metric.clone(),
                time,
                unit: series.unit,
                aggregate: Aggregate::values(values),
                high_resolution: is_fine,
            };
            (series.scope.clone(), sample)
        };
        let sample = |series: &Series, time: Timestamp, values: &[f64]| {
            let values: Vec<(f64, f64)> = values.iter().map(|value| (*value, 1.0)).collect();
            counted(series, time, &values)
        };
        let mut samples = Vec::new();
        // Levels are of now: those of a minute that cannot be written are not told later.
        for (series, level) in std::mem::take(&mut self.levels) {
            match series.pace {
                Slowness::IfAny if level <= 0.0 => {}
                Slowness::IfAny | Slowness::Minute => {
                    samples.push(sample(&series, start, &[level]));
                }
                Slowness::FiveMinutes => self.slow.entry(series).or_default().push(level),
            }
        }
        let mut slow = self.slow.clone();
        for (series, gain) in &self.minute {
            match series.pace {
                Slowness::IfAny if *gain <= 0.0 => {}
                Slowness::IfAny | Slowness::Minute => samples.push(sample(series, start, &[*gain])),
                Slowness::FiveMinutes => slow.entry(series.clone()).or_default().push(*gain),
            }
        }
        for (series, (dividend, divisor)) in &self.ratios {
            // Of nothing there is no mean.
            if *divisor > 0.0 {
                let whole = if series.unit == Unit::PERCENT {
                    100.0
                } else {
                    1.0
                };
                let value = whole * dividend / divisor;
                samples.push(counted(series, start, &[(value, *divisor)]));
            }
        }
        if let Some(five) = five {
            samples.extend(
                slow.iter()
                    .map(|(series, values)| sample(series, five, values)),
            );
            slow.clear();
        }
        let note = self.note(&slow);
        Close {
            samples,
            note,
            ends_five: five.is_some(),
        }
    }

    /// What was closed is durable. What is not is closed again with the next minute.
    pub fn settle(&mut self, close: &Close) {
        for (series, value) in std::mem::take(&mut self.minute) {
            if series.pace == Slowness::FiveMinutes && !close.ends_five {
                self.slow.entry(series).or_default().push(value);
            }
        }
        self.ratios.clear();
        if close.ends_five {
            self.slow.clear();
        }
        self.changed.clear();
        if let Some((is_full, _)) = close.note {
            self.notes = if is_full { 0 } else { self.notes + 1 };
        }
    }

    /// Forgets everything: so have the sources.
    pub fn clear(&mut self) {
        *self = Self {
            notes: NOTES_MAX,
            ..Self::default()
        };
    }

    fn note(&self, slow: &BTreeMap<Series, Vec<f64>>) -> Option<(bool, Vec<u8>)> {
        let is_full = self.notes >= NOTES_MAX;
        let slow: Vec<_> = slow
            .iter()
            .map(|(series, values)| {
                let key = series.metric.key(&series.scope);
                (
                    key,
                    series.unit.number(),
                    series.part.clone(),
                    values.clone(),
                )
            })
            .collect();
        if !is_full && self.changed.is_empty() && slow.is_empty() && self.slow.is_empty() {
            return None;
        }
        let mut note = Note {
            slow,
            ..Note::default()
        };
        if is_full {
            note.published = self.read.clone();
        } else {
            for (source, key) in &self.changed {
                let count = self.read.get(source).and_then(|read| read.get(key));
                match count {
                    Some(count) => {
                        let counters = note.published.entry(source.clone()).or_default();
                        counters.insert(key.clone(), *count);
                    }
                    None => note.gone.push((source.clone(), key.clone())),
                }
            }
        }
        let note = serde_json::to_vec(&note).ok()?;
        Some((is_full, note))
    }
}

/// What a counter has gained. One that is behind itself has begun anew, and its source did not know.
#[expect(
    clippy::cast_precision_loss,
    reason = "datapoints are such numbers, exact to 2^53"
)]
fn gain(last: u64, now: u64) -> f64 {
    now.checked_sub(last).unwrap_or(now) as f64
}

impl Series {
    /// The slow series of a stored key.
    fn of_key(key: &str, unit: Unit, part: String) -> Option<Self> {
        let (account, region, metric) = Identity::of_key(key)?;
        let account: AccountId = account.parse().ok()?;
        let region = RegionName::new(region);
        Some(Self {
            scope: Scope { account, region },
            metric,
            unit,
            part,
            pace: Slowness::FiveMinutes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meaning, Post, Shape};
    use super::*;

    static IN: Meaning = Meaning {
        namespace: Some("AWS/EC2"),
        name: "NetworkIn",
        unit: Unit::BYTES,
        shape: Shape::Counter,
        exposed: None,
        help: "Bytes",
    };
    static FLOWS: Meaning = Meaning {
        namespace: Some("Enid"),
        name: "FlowsActive",
        unit: Unit::COUNT,
        shape: Shape::Gauge,
        exposed: None,
        help: "Flows",
    };

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        }
    }

    fn bytes(key: &str, count: u64, pace: Pace) -> Reading {
        let dimensions = vec![("InstanceId", "i-1".to_owned())];
        let post = Post::new(&IN, &scope(), dimensions).at(pace);
        Reading::count(key.to_owned(), count, vec![post])
    }

    fn values(close: &Close) -> Vec<(i64, f64, f64)> {
        let samples = close.samples.iter();
        samples
            .map(|(_, sample)| (sample.time.0, sample.aggregate.count, sample.aggregate.sum))
            .collect()
    }

    /// Closes a minute, durably: the notes are what a restart reads.
    fn close(ledger: &mut Ledger, notes: &mut Vec<Vec<u8>>, minute: i64, five: bool) -> Close {
        let start = Timestamp(minute * 60_000);
        let five = five.then_some(Timestamp((minute - 4) * 60_000));
        let closed = ledger.close(start, five, false);
        if let Some((is_full, note)) = &closed.note {
            if *is_full {
                notes.clear();
            }
            notes.push(note.clone());
        }
        ledger.settle(&closed);
        closed
    }

    #[test]
    fn every_gain_is_published_once_whenever_the_daemon_ends() {
        let mut notes = Vec::new();
        let mut ledger = Ledger::open(&notes);
        ledger.take("s", &[bytes("a", 10, Pace::Minute)]);
        assert_eq!(
            values(&close(&mut ledger, &mut notes, 0, false)),
            [(0, 1.0, 10.0)]
        );
        // Read and not closed: the daemon ends.
        ledger.take("s", &[bytes("a", 15, Pace::Minute)]);
        let mut ledger = Ledger::open(&notes);
        ledger.take("s", &[bytes("a", 17, Pace::Minute)]);
        assert_eq!(
            values(&close(&mut ledger, &mut notes, 5, false)),
            [(300_000, 1.0, 7.0)]
        );
        let mut ledger = Ledger::open(&notes);
        ledger.take("s", &[bytes("a", 17, Pace::Minute)]);
        assert_eq!(
            values(&close(&mut ledger, &mut notes, 6, false)),
            [(360_000, 1.0, 0.0)]
        );
    }

    #[test]
    fn a_minute_that_could_not_be_written_comes_with_the_next() {
        let mut ledger = Ledger::open(&[]);
        ledger.take("s", &[bytes("a", 10, Pace::Minute)]);
        let _lost = ledger.close(Timestamp(0), None, false);
        ledger.take("s", &[bytes("a", 11, Pace::Minute)]);
        let closed = close(&mut ledger, &mut Vec::new(), 1, false);
        assert_eq!(values(&closed), [(60_000, 1.0, 11.0)]);
    }

    #[test]
    fn two_counters_of_an_instance_are_one_datapoint_and_parts_are_several() {
        let mut ledger = Ledger::open(&[]);
        let part = |key: &str, count, part: &str| {
            let mut reading = bytes(key, count, Pace::Minute);
            let posts = reading.posts.drain(..);
            reading.posts = posts.map(|post| post.part(part)).collect();
            reading
        };
        ledger.take(
            "s",
            &[part("a", 1, ""), part("b", 2, ""), part("c", 4, "x")],
        );
        let closed = close(&mut ledger, &mut Vec::new(), 0, false);
        assert_eq!(values(&closed), [(0, 1.0, 3.0), (0, 1.0, 4.0)]);
    }

    #[test]
    fn five_minutes_survive_a_restart() {
        let mut notes = Vec::new();
        let mut ledger = Ledger::open(&notes);
        for minute in 0..3 {
            let count = u64::try_from(minute).unwrap() * 10 + 10;
            ledger.take("s", &[bytes("a", count, Pace::FiveMinutes)]);
            let closed = close(&mut ledger, &mut notes, minute, false);
            assert!(closed.samples.is_empty());
        }
        let mut ledger = Ledger::open(&notes);
        ledger.take("s", &[bytes("a", 37, Pace::FiveMinutes)]);
        let closed = close(&mut ledger, &mut notes, 4, true);
        assert_eq!(values(&closed), [(0, 4.0, 37.0)]);
        let mut ledger = Ledger::open(&notes);
        ledger.take("s", &[bytes("a", 37, Pace::FiveMinutes)]);
        assert_eq!(
            values(&close(&mut ledger, &mut notes, 9, true)),
            [(300_000, 1.0, 0.0)]
        );
    }

    #[test]
    fn a_counter_that_is_gone_is_forgotten_and_one_that_began_anew_counts_from_there() {
        let mut notes = Vec::new();
        let mut ledger = Ledger::open(&notes);
        ledger.take(
            "s",
            &[bytes("a", 10, Pace::Minute), bytes("b", 9, Pace::Minute)],
        );
        close(&mut ledger, &mut notes, 0, false);
        ledger.take("s", &[bytes("b", 4, Pace::Minute)]);
        assert_eq!(
            values(&close(&mut ledger, &mut notes, 1, false)),
            [(60_000, 1.0, 4.0)]
        );
        let ledger = Ledger::open(&notes);
        assert_eq!(ledger.read["s"], BTreeMap::from([("b".to_owned(), 4)]));
    }

    #[test]
    fn a_mean_counts_for_as_many_values_as_it_is_of() {
        static TIME: Meaning = Meaning {
            namespace: Some("Enid"),
            name: "TcpRoundTripTime",
            unit: Unit::MICROSECONDS,
            shape: Shape::Gauge,
            exposed: None,
            help: "Time",
        };
        static RATE: Meaning = Meaning {
            name: "TcpRetransmissionRate",
            unit: Unit::PERCENT,
            ..TIME
        };
        let of = |key: &str, count, role| {
            let post = |meaning| {
                let dimensions = vec![("NetworkInterfaceId", "eni-1".to_owned())];
                Post::new(meaning, &scope(), dimensions).role(role)
            };
            Reading::count(key.to_owned(), count, vec![post(&TIME), post(&RATE)])
        };
        let mut ledger = Ledger::open(&[]);
        ledger.take(
            "s",
            &[of("us", 300, Role::Dividend), of("n", 4, Role::Divisor)],
        );
        let _lost = ledger.close(Timestamp(0), None, false);
        ledger.take(
            "s",
            &[of("us", 450, Role::Dividend), of("n", 5, Role::Divisor)],
        );
        let closed = close(&mut ledger, &mut Vec::new(), 1, false);
        assert_eq!(
            values(&closed),
            [(60_000, 5.0, 45_000.0), (60_000, 5.0, 450.0)]
        );
        // Nothing more happened, so there is nothing to tell.
        ledger.take(
            "s",
            &[of("us", 450, Role::Dividend), of("n", 5, Role::Divisor)],
        );
        let closed = close(&mut ledger, &mut Vec::new(), 2, false);
        assert!(closed.samples.is_empty());
    }

    #[test]
    fn levels_are_of_now_and_quiet_metrics_say_nothing() {
        let level = |level: f64| {
            let dimensions = vec![("NetworkInterfaceId", "eni-1".to_owned())];
            let post = Post::new(&FLOWS, &scope(), dimensions);
            Reading::level("f".to_owned(), level, vec![post])
        };
        let mut ledger = Ledger::open(&[]);
        ledger.take_gains("s", &[level(5.0), bytes("a", 3, Pace::IfAny)]);
        ledger.take("s", &[level(7.0), bytes("a", 3, Pace::IfAny)]);
        let closed = close(&mut ledger, &mut Vec::new(), 0, false);
        assert_eq!(values(&closed), [(0, 1.0, 7.0), (0, 1.0, 3.0)]);
        ledger.take("s", &[level(8.0), bytes("a", 3, Pace::IfAny)]);
        let _lost = ledger.close(Timestamp(0), None, false);
        ledger.take("s", &[level(6.0), bytes("a", 3, Pace::IfAny)]);
        let closed = close(&mut ledger, &mut Vec::new(), 1, false);
        assert_eq!(values(&closed), [(60_000, 1.0, 6.0)]);
    }
}
