//! Metric filters at work: events become datapoints.
//!
//! A filter says which events count and what an event is worth. In a minute in which events came
//! and none matched, its default value is reported, if it has one; that is known when the minute is
//! over, so [`MetricFilters::flush`] is called now and then.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::key::Scope;
use enid_model::log_group::{LogUid, MetricFilter, MetricTransformation};
use enid_model::time::Timestamp;

use super::logs::{Stored, Watcher};
use super::pattern::{FilterPattern, PatternError, Selector, json_of};
use crate::metric::aggregate::Aggregate;
use crate::metric::database::Metrics;
use crate::metric::datum::Sample;
use crate::metric::identity::Identity;
use crate::metric::unit::Unit;

/// What a metric filter reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// Its dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// Its unit, if one is given.
    pub unit: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How much.
    pub value: f64,
}

/// Where datapoints go.
pub trait MetricSink: Send + Sync {
    /// Takes datapoints of an account's region.
    fn publish(&self, scope: &Scope, data: Vec<Datum>);
}

/// Datapoints of one metric and minute are kept as one, so that a minute of events is few rows.
impl MetricSink for Metrics {
    fn publish(&self, scope: &Scope, data: Vec<Datum>) {
        let mut samples: BTreeMap<(Identity, Timestamp, &str), Aggregate> = BTreeMap::new();
        for datum in &data {
            let dimensions = datum.dimensions.clone().into_iter().collect();
            // Names in a map are there once.
            let Ok(metric) = Identity::new(&*datum.namespace, &*datum.name, dimensions) else {
                continue;
            };
            let unit = datum.unit.as_deref().unwrap_or_default();
            let value = Aggregate::value(datum.value);
            samples
                .entry((metric, minute_of(datum.at), unit))
                .and_modify(|sum| sum.merge(&value))
                .or_insert(value);
        }
        let samples = samples
            .into_iter()
            .map(|((metric, time, unit), aggregate)| Sample {
                metric,
                time,
                unit: Unit::named(unit).unwrap_or(Unit::NONE),
                aggregate,
                high_resolution: false,
            });
        if let Err(error) = self.put(scope, samples.collect()) {
            tracing::error!(%error, "datapoints of metric filters are lost");
        }
    }
}

/// Why a filter cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Only names of a pattern have values.
    #[error("The specified filter pattern does not support dimensions")]
    DimensionsUnsupported,
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A value that is neither a number nor in the pattern.
    #[error("Invalid metric transformation: '{0}' is neither a number nor a value of the pattern")]
    Value(Box<str>),
}

/// A metric filter that can be applied.
#[derive(Debug, Clone)]
pub struct Transformation {
    pattern: FilterPattern,
    value: Source,
    dimensions: BTreeMap<String, Source>,
    of: MetricTransformation,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
enum Source {
    Constant(f64),
    /// A field of a space-delimited event, as `$name`.
    Field(String),
    Selector(Selector),
}

impl Transformation {
    /// A filter with this pattern.
    pub fn new(pattern: &str, of: &MetricTransformation) -> Result<Self, FilterError> {
        let pattern = FilterPattern::parse(pattern)?;
        let value = Source::parse(&of.value, &pattern)
            .ok_or_else(|| FilterError::Value(of.value.as_str().into()))?;
        let dimensions =
            of.dimensions
                .iter()
                .map(|(name, text)| match Source::parse(text, &pattern) {
                    Some(Source::Constant(_)) => Err(FilterError::Value(text.as_str().into())),
                    Some(source) => Ok((name.clone(), source)),
                    None => Err(FilterError::DimensionsUnsupported),
                });
        Ok(Self {
            value,
            dimensions: dimensions.collect::<Result<_, _>>()?,
            of: of.clone(),
            pattern,
        })
    }

    /// What an event is worth. `None` if it does not match, or has no number where one is wanted,
    /// or not every dimension.
    #[must_use]
    pub fn apply(&self, at: Timestamp, message: &str) -> Option<Datum> {
        let values = self.pattern.extract(message)?;
        let event = self.pattern.is_json().then(|| json_of(message)).flatten();
        let text = |source: &Source| match source {
            Source::Constant(number) => Some(number.to_string()),
            Source::Field(name) => values.get(name).cloned(),
            Source::Selector(selector) => selector.text_in(event.as_ref()?),
        };
        let value: f64 = text(&self.value)?.parse().ok()?;
        let dimensions = self.dimensions.iter();
        let dimensions = dimensions.map(|(name, source)| Some((name.clone(), text(source)?)));
        let dimensions = dimensions.collect::<Option<_>>()?;
        value.is_finite().then(|| self.datum(at, value, dimensions))
    }

    fn default_value(&self, at: Timestamp) -> Option<Datum> {
        let value = self.of.default_value?;
        Some(self.datum(at, value, BTreeMap::new()))
    }

    fn datum(&self, at: Timestamp, value: f64, dimensions: BTreeMap<String, String>) -> Datum {
        Datum {
            namespace: self.of.namespace.clone(),
            name: self.of.name.clone(),
            dimensions,
            unit: self.of.unit.clone(),
            at,
            value,
        }
    }
}

impl Source {
    fn parse(text: &str, pattern: &FilterPattern) -> Option<Self> {
        if let Ok(number) = text.parse::<f64>() {
            return number.is_finite().then_some(Self::Constant(number));
        }
        if pattern.is_json() {
            return Selector::parse(text).ok().map(Self::Selector);
        }
        let name = text.strip_prefix('$')?;
        let is_known = pattern.field_names().contains(&name);
        is_known.then(|| Self::Field(text.to_owned()))
    }
}

/// The metric filters of all groups.
pub struct MetricFilters {
    sink: Arc<dyn MetricSink>,
    filters: Mutex<HashMap<(LogUid, String), Applied>>,
}

/// A filter, and how it goes in the minute.
struct Applied {
    filter: MetricFilter,
    transformation: Transformation,
    scope: Scope,
    minute: Timestamp,
    seen: Seen,
}

/// What came in a minute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Match,
    NoMatch,
    Nothing,
}

impl MetricFilters {
    /// Filters that report to a sink.
    #[must_use]
    pub fn new(sink: Arc<dyn MetricSink>) -> Self {
        Self {
            sink,
            filters: Mutex::default(),
        }
    }

    /// Forgets how minutes go.
    pub fn clear(&self) {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.clear();
    }

    /// Reports default values for the minutes that are over.
    pub fn flush(&self, now: Timestamp) {
        let mut data = Vec::new();
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        // A filter without events for a while is made anew when one comes.
        filters.retain(|_, applied| {
            let is_current = applied.minute >= minute_of(now);
            if !is_current {
                data.extend(applied.end_minute());
            }
            is_current
        });
        drop(filters);
        self.publish(data);
    }

    fn apply(&self, stored: &Stored<'_>) -> Vec<(Scope, Datum)> {
        let mut data = Vec::new();
        let minute = minute_of(stored.now);
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, filter) in &stored.group.metric_filters {
            let key = (stored.group.uid, name.clone());
            let before = filters.remove(&key);
            let applied = match before {
                Some(applied) if applied.filter == *filter => Some(applied),
                Some(mut replaced) => {
                    data.extend(replaced.end_minute());
                    None
                }
                None => None,
            };
            let applied = applied.or_else(|| Applied::new(stored.scope, filter, minute));
            // What is kept has been checked when it was put, so there is one.
            let Some(mut applied) = applied else {
                continue;
            };
            if applied.minute < minute {
                data.extend(applied.end_minute());
                applied.minute = minute;
            }
            applied.see(stored, &mut data);
            filters.insert(key, applied);
        }
        data
    }

    fn publish(&self, data: Vec<(Scope, Datum)>) {
        let mut by_scope: BTreeMap<Scope, Vec<Datum>> = BTreeMap::new();
        for (scope, datum) in data {
            by_scope.entry(scope).or_default().push(datum);
        }
        for (scope, data) in by_scope {
            self.sink.publish(&scope, data);
        }
    }
}

impl Watcher for MetricFilters {
    fn stored(&self, stored: &Stored<'_>) {
        if !stored.group.metric_filters.is_empty() {
            self.publish(self.apply(stored));
        }
    }
}

impl Applied {
    fn new(scope: &Scope, filter: &MetricFilter, minute: Timestamp) -> Option<Self> {
        let transformation = Transformation::new(&filter.pattern, &filter.transformation).ok()?;
        Some(Self {
            filter: filter.clone(),
            transformation,
            scope: scope.clone(),
            minute,
            seen: Seen::Nothing,
        })
    }

    fn see(&mut self, stored: &Stored<'_>, data: &mut Vec<(Scope, Datum)>) {
        for event in stored.events {
            if let Some(datum) = self.transformation.apply(event.at(), &event.message) {
                self.seen = Seen::Match;
                data.push((self.scope.clone(), datum));
            }
        }
        if self.seen == Seen::Nothing && !stored.events.is_empty() {
            self.seen = Seen::NoMatch;
        }
    }

    /// What is reported when the minute is over.
    fn end_minute(&mut self) -> Option<(Scope, Datum)> {
        let seen = std::mem::replace(&mut self.seen, Seen::Nothing);
        let default = self.transformation.default_value(self.minute);
        let default = default.filter(|_| seen == Seen::NoMatch)?;
        Some((self.scope.clone(), default))
    }
}

fn minute_of(time: Timestamp) -> Timestamp {
    Timestamp(time.0 - time.0.rem_euclid(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::event::{Event, Position};
    use enid_model::Tags;
    use enid_model::key::{AccountId, RegionName};
    use enid_model::log_group::LogGroup;

    fn transformation(value: &str, dimensions: &[(&str, &str)]) -> MetricTransformation {
        let dimensions = dimensions.iter();
        MetricTransformation {
            namespace: "App".to_owned(),
            name: "M".to_owned(),
            value: value.to_owned(),
            default_value: None,
            dimensions: dimensions
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            unit: Some("Count".to_owned()),
        }
    }

    #[test]
    fn an_event_is_worth_what_the_filter_says() {
        const AT: Timestamp = Timestamp(60_001);
        for (pattern, value, dimensions, message, expected) in [
            ("ERROR", "1", &[][..], "ERROR x", Some((1.0, vec![]))),
            ("ERROR", "1", &[], "fine", None),
            ("ERROR", "2.5", &[], "ERROR", Some((2.5, vec![]))),
            (
                "{ $.latency = * }",
                "$.latency",
                &[("Kind", "$.kind")],
                r#"{"latency": 50, "kind": "GET"}"#,
                Some((50.0, vec!["GET"])),
            ),
            // No number, and not every dimension.
            (
                "{ $.latency = * }",
                "$.latency",
                &[],
                r#"{"latency": "slow"}"#,
                None,
            ),
            (
                "{ $.latency = * }",
                "$.latency",
                &[("Kind", "$.kind")],
                r#"{"latency": 50}"#,
                None,
            ),
            (
                "[ip, ..., status = 4*, bytes]",
                "$bytes",
                &[("Ip", "$ip")],
                "10.0.0.1 x 404 1534",
                Some((1534.0, vec!["10.0.0.1"])),
            ),
        ] {
            let of = transformation(value, dimensions);
            let filter = Transformation::new(pattern, &of).expect(pattern);
            let datum = filter.apply(AT, message);
            let found = datum.as_ref().map(|datum| {
                let values = datum.dimensions.values().map(|it| &**it);
                (datum.value, values.collect())
            });
            assert_eq!(found, expected, "{pattern} {message}");
        }
    }

    #[test]
    fn values_are_of_the_pattern() {
        let of = |pattern, value, dimensions| {
            Transformation::new(pattern, &transformation(value, dimensions)).err()
        };
        let value = |text: &str| Some(FilterError::Value(text.into()));
        let unsupported = Some(FilterError::DimensionsUnsupported);
        assert_eq!(of("a", "$.x", &[]), value("$.x"));
        assert_eq!(of("a", "x", &[]), value("x"));
        assert_eq!(of("[a]", "$b", &[]), value("$b"));
        assert_eq!(of("{ $.a = 1 }", "NaN", &[]), value("NaN"));
        assert_eq!(of("a", "1", &[("D", "$.d")]), unsupported);
        assert_eq!(of("[a]", "$a", &[("D", "$b")]), unsupported);
        assert!(matches!(of("a[", "1", &[]), Some(FilterError::Pattern(_))));
        assert_eq!(of("[a]", "$a", &[("D", "$a")]), None);
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<Datum>>);

    impl MetricSink for Kept {
        fn publish(&self, _scope: &Scope, data: Vec<Datum>) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(data);
        }
    }

    #[test]
    fn a_minute_without_a_match_reports_the_default_once() {
        let sink = Arc::new(Kept::default());
        let filters = MetricFilters::new(Arc::clone(&sink) as Arc<dyn MetricSink>);
        let mut of = transformation("1", &[]);
        of.default_value = Some(0.0);
        let filter = MetricFilter {
            pattern: "ERROR".to_owned(),
            transformation: of,
            created_at: Timestamp(0),
        };
        let group = LogGroup {
            uid: LogUid(1),
            created_at: Timestamp(0),
            retention_days: None,
            is_protected: false,
            metric_filters: BTreeMap::from([("f".to_owned(), filter)]),
            subscription_filters: BTreeMap::new(),
            tags: Tags::new(),
        };
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        };
        let put = |now: i64, message: &str| {
            let events = [Event {
                position: Position {
                    time: now,
                    arrival: 1,
                },
                stream: LogUid(2),
                ingested: Timestamp(now),
                message: message.to_owned(),
            }];
            filters.stored(&Stored {
                scope: &scope,
                group_name: "g",
                group: &group,
                stream_name: "s",
                events: &events,
                now: Timestamp(now),
            });
        };
        let reported = || {
            let kept = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
            let all = kept.iter().map(|datum| (datum.at.0, datum.value));
            all.collect::<Vec<_>>()
        };
        put(1_000, "fine");
        put(2_000, "fine");
        filters.flush(Timestamp(59_999));
        assert_eq!(reported(), []);
        filters.flush(Timestamp(60_000));
        assert_eq!(reported(), [(0, 0.0)]);
        // The minute with a match, and the one with nothing, report no default.
        put(61_000, "fine");
        put(62_000, "ERROR");
        filters.flush(Timestamp(240_000));
        assert_eq!(reported(), [(0, 0.0), (62_000, 1.0)]);
        // The next event ends the minute of the one before it.
        put(300_000, "fine");
        put(360_000, "fine");
        assert_eq!(reported(), [(0, 0.0), (62_000, 1.0), (300_000, 0.0)]);
    }
}
