//! Alarms of CloudWatch, and what happened to them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::uuid::Uuid;

/// An alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name, unique in the region.
    pub name: String,
    /// What its maker says of it.
    pub description: Option<String>,
    /// Whether a change of state has its actions carried out.
    pub actions_enabled: bool,
    /// What is done when it becomes OK.
    pub ok_actions: Vec<String>,
    /// What is done when it goes off.
    pub alarm_actions: Vec<String>,
    /// What is done when there are too few data.
    pub insufficient_data_actions: Vec<String>,
    /// What keeps it from doing that, if something may.
    #[serde(default)]
    pub suppressor: Option<Suppressor>,
    /// Why it does nothing at the moment, if it is kept from it.
    #[serde(default)]
    pub suppression: Option<Suppression>,
    /// What it watches.
    pub rule: AlarmRule,
    /// Its state.
    pub state: AlarmState,
    /// Why it is in it, in words.
    pub reason: String,
    /// Why, in JSON.
    pub reason_data: Option<String>,
    /// When state or reason were set.
    pub state_updated: Timestamp,
    /// When the state became another.
    pub state_transitioned: Timestamp,
    /// When the alarm was made or changed.
    pub configured: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

// A threshold is never NaN: only finite numbers are taken.
impl Eq for Alarm {}

impl Alarm {
    /// What is done when it becomes this.
    #[must_use]
    pub fn actions_for(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData => &self.insufficient_data_actions,
            AlarmState::Ok => &self.ok_actions,
        }
    }
}

/// An alarm that keeps a composite alarm from its actions while it is in the ALARM state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressor {
    /// Its name.
    pub alarm: String,
    /// Its name or its ARN, as it was given.
    pub given: String,
    /// How long the composite alarm waits for it to go off.
    pub wait_s: u32,
    /// How long the composite alarm waits when it is calm again.
    pub extension_s: u32,
}

/// That a composite alarm is kept from its actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// By what.
    pub by: SuppressedBy,
    /// Until when at most; by an alarm as long as that is in its state.
    pub until: Option<Timestamp>,
    /// The state that it was in when it did its actions last, if it is in another one now.
    pub owed_from: Option<AlarmState>,
}

/// What keeps a composite alarm from its actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuppressedBy {
    /// The other alarm.
    Alarm,
    /// That it has just become calm.
    ExtensionPeriod,
    /// That it may still go off.
    WaitPeriod,
}

/// What an alarm is to do because its state became another. It is recorded together with the new state,
/// and goes when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmAction {
    /// The alarm's name.
    pub alarm: String,
    /// Whether it watches other alarms.
    pub is_composite: bool,
    /// What is to be done: an ARN.
    pub action: String,
    /// The instance that it is done to, if it is about one.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Which boot of it that was.
    #[serde(default)]
    pub boot: Option<u32>,
    /// When the state became another.
    pub at: Timestamp,
    /// The id of the message. The same message is not published twice.
    pub message_id: Uuid,
    /// What the message is about.
    pub subject: String,
    /// What it says, in JSON.
    pub text: String,
    /// What it says to readers of mail.
    pub letter: String,
}

/// What an alarm watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmRule {
    /// Other alarms, by an expression.
    Composite(String),
    /// A metric.
    Metric(MetricRule),
}

/// When a metric sets an alarm off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// Where the values come from.
    pub watched: Watched,
    /// How long a period is, in seconds.
    pub period_s: i64,
    /// Of how many periods.
    pub evaluation_periods: u32,
    /// So many must breach; all, if it does not say.
    pub datapoints_to_alarm: Option<u32>,
    /// What the values are compared with; nothing, if it is a band.
    pub threshold: f64,
    /// The id of the query whose band the values are compared with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_metric: Option<String>,
    /// How.
    pub comparison: Comparison,
    /// What a period without a value counts as.
    pub missing: MissingData,
    /// Whether the state stays when there are too few values for a percentile.
    pub ignores_low_samples: Option<bool>,
}

/// Where the values of an alarm come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// Queries, of which one is watched.
    Queries(Vec<AlarmQuery>),
    /// A statistic of a metric.
    Stat(AlarmStat),
}

/// A statistic of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStat {
    /// Such as `AWS/EC2`.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// Names and values, as they were given.
    pub dimensions: Vec<(String, String)>,
    /// Such as `Sum` or `p99`.
    pub statistic: String,
    /// Only values of this unit.
    pub unit: Option<String>,
}

/// A query of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmQuery {
    /// What others refer to it by.
    pub id: String,
    /// What it is called.
    pub label: Option<String>,
    /// Whether it is the one that is watched; as it was given.
    pub return_data: Option<bool>,
    /// Its period in seconds; as it was given.
    pub period_s: Option<i64>,
    /// An expression,
    pub expression: Option<String>,
    /// or a statistic.
    pub stat: Option<AlarmStat>,
}

/// How a value is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `>=`
    GreaterThanOrEqualToThreshold,
    /// `>`
    GreaterThanThreshold,
    /// Above a band.
    GreaterThanUpperThreshold,
    /// Outside a band.
    LessThanLowerOrGreaterThanUpperThreshold,
    /// Below a band.
    LessThanLowerThreshold,
    /// `<=`
    LessThanOrEqualToThreshold,
    /// `<`
    LessThanThreshold,
}

/// What a period without a value counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MissingData {
    /// As one that breaches.
    Breaching,
    /// The state stays.
    Ignore,
    /// As nothing.
    Missing,
    /// As one that does not breach.
    NotBreaching,
}

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmState {
    /// It went off.
    #[serde(rename = "ALARM")]
    Alarm,
    /// There are too few data.
    #[serde(rename = "INSUFFICIENT_DATA")]
    InsufficientData,
    /// All is well.
    #[serde(rename = "OK")]
    Ok,
}

/// What happened to an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmHistory {
    /// The alarm's name.
    pub alarm: String,
    /// Whether it watches other alarms.
    pub is_composite: bool,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: HistoryItem,
    /// In words.
    pub summary: String,
    /// In JSON.
    pub data: String,
}

/// What can happen to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryItem {
    /// It did something.
    Action,
    /// It was made, changed or deleted.
    ConfigurationUpdate,
    /// Its state became another.
    StateUpdate,
}

impl AlarmRule {
    /// Whether it is about other alarms.
    #[must_use]
    pub fn is_composite(&self) -> bool {
        matches!(self, Self::Composite(_))
    }
}

macro_rules! names {
    ($($type:ident { $($variant:ident => $name:literal,)* })*) => {$(
        impl $type {
            /// AWS's name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What has this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

names! {
    AlarmState {
        Alarm => "ALARM",
        InsufficientData => "INSUFFICIENT_DATA",
        Ok => "OK",
    }
    Comparison {
        GreaterThanOrEqualToThreshold => "GreaterThanOrEqualToThreshold",
        GreaterThanThreshold => "GreaterThanThreshold",
        GreaterThanUpperThreshold => "GreaterThanUpperThreshold",
        LessThanLowerOrGreaterThanUpperThreshold => "LessThanLowerOrGreaterThanUpperThreshold",
        LessThanLowerThreshold => "LessThanLowerThreshold",
        LessThanOrEqualToThreshold => "LessThanOrEqualToThreshold",
        LessThanThreshold => "LessThanThreshold",
    }
    HistoryItem {
        Action => "Action",
        ConfigurationUpdate => "ConfigurationUpdate",
        StateUpdate => "StateUpdate",
    }
    MissingData {
        Breaching => "breaching",
        Ignore => "ignore",
        Missing => "missing",
        NotBreaching => "notBreaching",
    }
    SuppressedBy {
        Alarm => "Alarm",
        ExtensionPeriod => "ExtensionPeriod",
        WaitPeriod => "WaitPeriod",
    }
}

impl Comparison {
    /// Whether values are compared with a band.
    #[must_use]
    pub fn is_of_band(self) -> bool {
        matches!(
            self,
            Self::GreaterThanUpperThreshold
                | Self::LessThanLowerOrGreaterThanUpperThreshold
                | Self::LessThanLowerThreshold
        )
    }

    /// Whether a value breaches what it is compared with: a threshold, which is both bounds, or a band.
    #[must_use]
    pub fn is_breached(self, value: f64, (lower, upper): (f64, f64)) -> bool {
        match self {
            Self::GreaterThanOrEqualToThreshold => value >= upper,
            Self::GreaterThanThreshold | Self::GreaterThanUpperThreshold => value > upper,
            Self::LessThanOrEqualToThreshold => value <= lower,
            Self::LessThanLowerThreshold | Self::LessThanThreshold => value < lower,
            Self::LessThanLowerOrGreaterThanUpperThreshold => value < lower || value > upper,
        }
    }

    /// How a breach is told: "was … the threshold".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::GreaterThanUpperThreshold
            | Self::LessThanLowerOrGreaterThanUpperThreshold
            | Self::LessThanLowerThreshold => "outside",
            Self::GreaterThanOrEqualToThreshold => "greater than or equal to",
            Self::GreaterThanThreshold => "greater than",
            Self::LessThanOrEqualToThreshold => "less than or equal to",
            Self::LessThanThreshold => "less than",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for state in [
            AlarmState::Alarm,
            AlarmState::InsufficientData,
            AlarmState::Ok,
        ] {
            assert_eq!(AlarmState::named(state.as_str()), Some(state));
        }
        assert_eq!(
            MissingData::named("notBreaching"),
            Some(MissingData::NotBreaching)
        );
        assert_eq!(MissingData::named("NotBreaching"), None);
    }

    #[test]
    fn a_threshold_is_on_one_side() {
        use Comparison::*;
        for (comparison, below, at, above) in [
            (GreaterThanThreshold, false, false, true),
            (GreaterThanOrEqualToThreshold, false, true, true),
            (LessThanThreshold, true, false, false),
            (LessThanOrEqualToThreshold, true, true, false),
        ] {
            let found = [0.0, 1.0, 2.0].map(|value| comparison.is_breached(value, (1.0, 1.0)));
            assert_eq!(found, [below, at, above], "{comparison}");
            assert!(!comparison.is_of_band());
        }
    }

    #[test]
    fn a_band_has_two_sides() {
        use Comparison::*;
        for (comparison, wanted) in [
            (GreaterThanUpperThreshold, [false, false, false, true]),
            (
                LessThanLowerOrGreaterThanUpperThreshold,
                [true, false, false, true],
            ),
            (LessThanLowerThreshold, [true, false, false, false]),
        ] {
            let values = [0.0, 1.0, 2.0, 3.0];
            let found = values.map(|value| comparison.is_breached(value, (1.0, 2.0)));
            assert_eq!(found, wanted, "{comparison}");
            assert!(comparison.is_of_band());
        }
    }
}
