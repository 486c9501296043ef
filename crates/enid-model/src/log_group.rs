//! Log groups with their filters, and their streams. What is logged is telemetry, not region state.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::time::Timestamp;

/// What tells a log group or a stream from every other one that ever had its name: events belong to
/// it, so that a group that is made again starts empty.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogUid(pub u64);

impl fmt::Display for LogUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sixteen hexadecimal digits")]
pub struct MalformedLogUid;

impl FromStr for LogUid {
    type Err = MalformedLogUid;

    fn from_str(text: &str) -> Result<Self, MalformedLogUid> {
        if text.len() != 16 {
            return Err(MalformedLogUid);
        }
        let bits = u64::from_str_radix(text, 16);
        bits.map(Self).map_err(|_not_hexadecimal| MalformedLogUid)
    }
}

/// A log group. Its key is its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogGroup {
    /// What its events belong to.
    pub uid: LogUid,
    /// When it was made.
    pub created_at: Timestamp,
    /// For how many days events are kept; for ever if it does not say.
    #[serde(default)]
    pub retention_days: Option<u16>,
    /// Whether it cannot be deleted.
    #[serde(default)]
    pub is_protected: bool,
    /// Its metric filters by name.
    #[serde(default)]
    pub metric_filters: BTreeMap<String, MetricFilter>,
    /// Its subscription filters by name.
    #[serde(default)]
    pub subscription_filters: BTreeMap<String, SubscriptionFilter>,
    /// Its tags.
    pub tags: Tags,
}

// A default value of a metric is never NaN: the front door refuses what is no finite number.
impl Eq for LogGroup {}

/// A metric filter: what events become in CloudWatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricFilter {
    /// The filter pattern, which is valid.
    pub pattern: String,
    /// What an event that matches becomes.
    pub transformation: MetricTransformation,
    /// When it was first made.
    pub created_at: Timestamp,
}

/// What an event that matches a metric filter becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricTransformation {
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// A number, or where it is in the event: `$.latency`, `$bytes`.
    pub value: String,
    /// What is reported for a minute with events of which none matches.
    #[serde(default)]
    pub default_value: Option<f64>,
    /// Names of dimensions with where their values are in the event.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// The metric's unit, if one is given.
    #[serde(default)]
    pub unit: Option<String>,
}

/// A subscription filter: where events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionFilter {
    /// The filter pattern, which is valid.
    pub pattern: String,
    /// Where events go.
    pub destination: String,
    /// When it was first made.
    pub created_at: Timestamp,
}

/// A log stream. Its key is its group's [`LogUid`], a slash, and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// What its events belong to.
    pub uid: LogUid,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What events belong to: a stream, and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// The group.
    pub group: LogUid,
    /// The stream.
    pub stream: LogUid,
}

/// Both uids with a slash between them.
impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.stream)
    }
}

impl FromStr for LogPlace {
    type Err = MalformedLogUid;

    fn from_str(text: &str) -> Result<Self, MalformedLogUid> {
        let (group, stream) = text.split_once('/').ok_or(MalformedLogUid)?;
        let (group, stream) = (group.parse()?, stream.parse()?);
        Ok(Self { group, stream })
    }
}

/// The name in a stream's key.
#[must_use]
pub fn log_stream_key(group: LogUid, stream: &str) -> String {
    format!("{group}/{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_read_as_they_are_written() {
        for uid in [LogUid(0), LogUid(0xfeed), LogUid(u64::MAX)] {
            assert_eq!(uid.to_string().parse(), Ok(uid));
        }
        let (group, stream) = (LogUid(1), LogUid(2));
        let place = LogPlace { group, stream };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "feed", "000000000000000g", "00000000000000000"] {
            assert_eq!(text.parse::<LogUid>(), Err(MalformedLogUid), "{text}");
        }
    }
}
