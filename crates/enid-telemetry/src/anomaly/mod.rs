//! What is normal for a metric: a model of its past, and the band that it expects values in.
//!
//! A model is a function of the metric's datapoints and of its detector's settings, nothing else: the
//! same data give the same band. What is kept of it is a cache. How it is made and why so:
//! `docs/decisions/0026-what-is-normal-for-a-metric.md`.

mod band;
mod knots;
mod model;
mod models;
mod zone;

use enid_model::anomaly_detector::AnomalyDetector;
use enid_model::state::RegionState;
use enid_model::time::Timestamp;

pub use band::{FUNCTION, Subject, subject, training};
pub use model::{Model, Training};
pub use models::Models;
pub use zone::Zone;

pub(crate) use band::{Asked, band};

/// How a model is trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// From when to when values are not learned from.
    pub excluded: Vec<(Timestamp, Timestamp)>,
    /// By whose days and weeks the metric goes.
    pub zone: Zone,
    /// Whether spikes that come again and again are normal.
    pub periodic_spikes: bool,
}

/// The detectors that there are.
pub trait Detectors {
    /// How the model of this name is trained; as any other if there is no detector for it.
    fn settings(&self, name: &str) -> Settings;
}

impl Settings {
    /// The settings of a detector.
    #[must_use]
    pub fn of(detector: &AnomalyDetector) -> Self {
        let zone = detector.time_zone.as_deref().and_then(Zone::named);
        Self {
            excluded: detector.excluded.clone(),
            zone: zone.unwrap_or_default(),
            periodic_spikes: detector.periodic_spikes == Some(true),
        }
    }
}

impl Detectors for RegionState {
    fn settings(&self, name: &str) -> Settings {
        let detector = self.anomaly_detectors.get(name);
        detector
            .map(|detector| Settings::of(detector))
            .unwrap_or_default()
    }
}

/// No detectors: every model is trained as any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDetectors;

impl Detectors for NoDetectors {
    fn settings(&self, _name: &str) -> Settings {
        Settings::default()
    }
}
