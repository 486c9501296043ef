//! What this host observes, as metrics: sources are read every minute, what their counters have gained
//! becomes datapoints of CloudWatch, and the counters themselves are exposed to Prometheus.
//!
//! A source says what it has counted since somebody made the counter; the [`ledger`] knows how far that
//! was published, in the same durable write as the datapoints. The counters of the kernel outlive the
//! daemon, so nothing is lost and nothing published twice over a crash: what was counted meanwhile comes
//! with the next minute.
//!
//! Nothing is invented: what a source does not observe it does not say, and there is no datapoint then.
//!
//! Left to others: reading the kernel and the daemon (sources are in `enid/src/wiring`).

pub mod exposition;
pub mod ledger;

use enid_model::key::Scope;
use enid_model::state::State;

use crate::metric::unit::Unit;

/// Something that observes. It is asked by one thread at a time, which may block.
pub trait Source: Send {
    /// A word of its own, that never changes: what was published is known by it.
    fn name(&self) -> &'static str;

    /// Whether the counters must be read before it follows this state: what they have gained would count
    /// to somebody else afterwards.
    fn is_overtaken(&self, _state: &State) -> bool {
        false
    }

    /// Looks at the region's state, about once a second while it changes.
    fn follow(&mut self, _state: &State) {}

    /// Looks at what changes quickly, every ten seconds.
    fn glance(&mut self) {}

    /// Reads all its counters and values. If it fails nothing of it is published, and the counters'
    /// gains come with the next reading.
    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError>;

    /// What was read last has become datapoints: a minute ended. Not told if they could not be written.
    fn end(&mut self) {}

    /// Forgets what it has followed: everything is forgotten.
    fn clear(&mut self) {}
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the source {name}")]
pub struct SourceError {
    /// The source.
    pub name: &'static str,
    /// How it failed.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a metric means. There is one for each, and the documentation lists them all.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Its namespace in CloudWatch; none for what is only exposed to Prometheus.
    pub namespace: Option<&'static str>,
    /// Its name in CloudWatch; empty without a namespace.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Whether it grows, or goes up and down.
    pub shape: Shape,
    /// Its name for Prometheus; none for what is only in CloudWatch.
    pub exposed: Option<&'static str>,
    /// What it tells, in one sentence without a full stop.
    pub help: &'static str,
}

/// How values of a metric go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A count that only grows: a datapoint is what it has gained.
    Counter,
    /// A value of now: a datapoint is the value.
    Gauge,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Everything that was ever counted.
    Count(u64),
    /// How much it is now.
    Level(f64),
}

/// One value of a source, and the metrics that it counts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What is read: the same text at each reading, and another than that of all others of the source.
    /// A counter that begins anew must have a new one.
    pub key: String,
    /// The value.
    pub value: Value,
    /// The metrics that it counts to.
    pub posts: Vec<Post>,
}

/// A metric that a value counts to. Several values may count to one: their sum is a datapoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// What the metric means.
    pub meaning: &'static Meaning,
    /// Whose it is; nobody's is only exposed.
    pub scope: Option<Scope>,
    /// Names of dimensions, as CloudWatch has them, with their values.
    pub dimensions: Vec<(&'static str, String)>,
    /// Labels that only Prometheus gets.
    pub labels: Vec<(&'static str, String)>,
    /// Whose part of the metric it is, of one that is about many: each has a datapoint of its own.
    pub part: String,
    /// When it becomes a datapoint.
    pub pace: Pace,
    /// Whether Prometheus gets no line of it: what sums up lines that are there.
    pub is_sum: bool,
    /// What the value is to the metric.
    pub role: Role,
}

/// What a value is to its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The metric itself, or a part of its sum.
    Amount,
    /// What is divided, of a metric that is one gain by another: there is a datapoint when the divisor
    /// gained something, and it counts for as many values. One in percent is a hundred times that.
    Dividend,
    /// What it is divided by.
    Divisor,
}

/// When a value becomes a datapoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Every minute.
    Minute,
    /// Every five minutes, with a value for each minute: AWS's basic monitoring.
    FiveMinutes,
    /// Every minute in which it is not zero.
    IfAny,
    /// Never: it is only exposed.
    Never,
}

impl SourceError {
    /// A failure of this source.
    pub fn new(
        name: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self { name, source }
    }
}

/// Declares metrics, and `ALL` of them.
#[macro_export]
macro_rules! meanings {
    ($($(#[$note:meta])* $ident:ident = $namespace:expr, $name:literal, $unit:ident, $shape:ident, $exposed:expr,
        $help:literal;)*) => {
        $(
            $(#[$note])*
            pub(crate) static $ident: $crate::source::Meaning = $crate::source::Meaning {
                namespace: $namespace,
                name: $name,
                unit: $crate::metric::unit::Unit::$unit,
                shape: $crate::source::Shape::$shape,
                exposed: $exposed,
                help: $help,
            };
        )*

        /// All of them.
        #[allow(dead_code, reason = "some are listed in tests only, which hold the documentation against it")]
        pub(crate) static ALL: &[&$crate::source::Meaning] = &[$(&$ident),*];
    };
}

impl Reading {
    /// A counter.
    #[must_use]
    pub fn count(key: String, count: u64, posts: Vec<Post>) -> Self {
        let value = Value::Count(count);
        Self { key, value, posts }
    }

    /// A value of now.
    #[must_use]
    pub fn level(key: String, level: f64, posts: Vec<Post>) -> Self {
        let value = Value::Level(level);
        Self { key, value, posts }
    }
}

impl Post {
    /// A metric of somebody's, of every minute.
    #[must_use]
    pub fn new(
        meaning: &'static Meaning,
        scope: &Scope,
        dimensions: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            meaning,
            scope: Some(scope.clone()),
            dimensions,
            labels: Vec::new(),
            part: String::new(),
            pace: Pace::Minute,
            is_sum: false,
            role: Role::Amount,
        }
    }

    /// A value of the daemon's own.
    #[must_use]
    pub fn own(meaning: &'static Meaning, labels: Vec<(&'static str, String)>) -> Self {
        Self {
            meaning,
            scope: None,
            dimensions: Vec::new(),
            labels,
            part: String::new(),
            pace: Pace::Never,
            is_sum: false,
            role: Role::Amount,
        }
    }

    /// The same, with labels that only Prometheus gets.
    #[must_use]
    pub fn with_labels(self, labels: Vec<(&'static str, String)>) -> Self {
        Self { labels, ..self }
    }

    /// The same at another pace.
    #[must_use]
    pub fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same as a sum of others, for CloudWatch only.
    #[must_use]
    pub fn sum(self) -> Self {
        let is_sum = true;
        Self { is_sum, ..self }
    }

    /// The same in another role. A metric of two roles has both from counters, every minute.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same as a part of a metric that is about many.
    #[must_use]
    pub fn part(self, part: &str) -> Self {
        let part = part.to_owned();
        Self { part, ..self }
    }
}
