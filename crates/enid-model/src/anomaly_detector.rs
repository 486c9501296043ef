//! Anomaly detectors of CloudWatch: how the model of what is normal for a metric is trained. The model
//! itself is not stored: it is a function of the metric's datapoints.

use serde::{Deserialize, Serialize};

use crate::alarm::Watched;
use crate::time::Timestamp;

/// An anomaly detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyDetector {
    /// What it learns: a statistic of a metric, or what queries return.
    pub of: Watched,
    /// From when to when values are not learned from.
    pub excluded: Vec<(Timestamp, Timestamp)>,
    /// The time zone by whose days and weeks the metric goes, as it was given.
    pub time_zone: Option<String>,
    /// Whether spikes that come again and again are normal, as it was given.
    pub periodic_spikes: Option<bool>,
}
