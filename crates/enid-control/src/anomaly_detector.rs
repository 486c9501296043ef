//! Anomaly detectors of CloudWatch. What each is kept under comes here made: two that learn the same have
//! the same name.

use enid_model::anomaly_detector::AnomalyDetector;
use enid_model::key::Kind;
use enid_model::record::Record;

use crate::{AlarmError, Caller, Control, Draft, Error};

/// Detectors of a region: a bound of memory, well above what alarms need.
const DETECTORS_MAX: usize = 5000;

impl Control {
    /// PutAnomalyDetector: makes a detector or changes how it is trained.
    pub async fn put_anomaly_detector(
        &self,
        caller: &Caller,
        name: &str,
        detector: &AnomalyDetector,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| put(draft, name, detector, true))
            .await
    }

    /// Makes a detector if there is none that learns the same, as an alarm on a band does.
    pub async fn need_anomaly_detector(
        &self,
        caller: &Caller,
        name: &str,
        detector: &AnomalyDetector,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| put(draft, name, detector, false))
            .await
    }

    /// DeleteAnomalyDetector.
    pub async fn delete_anomaly_detector(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let found = draft.region.anomaly_detectors.get(name);
            let revision = found.map(|found| found.revision);
            let revision = revision.ok_or(AlarmError::DetectorNotFound)?;
            draft.release(Kind::AnomalyDetector, name, revision);
            Ok(())
        })
        .await
    }
}

fn put(
    draft: &mut Draft<'_>,
    name: &str,
    detector: &AnomalyDetector,
    replaces: bool,
) -> Result<(), Error> {
    let detectors = &draft.region.anomaly_detectors;
    let count = detectors.len();
    let known = detectors.get(name).cloned();
    let record = || Record::AnomalyDetector(detector.clone());
    match known {
        Some(known) if replaces && *known != *detector => {
            draft.replace(name, known.revision, record());
        }
        Some(_) => {}
        None if count >= DETECTORS_MAX => return Err(AlarmError::TooManyDetectors.into()),
        None => draft.claim(name, record()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use enid_model::alarm::{AlarmStat, Watched};

    use super::*;
    use crate::fixture::{caller, control};

    fn detector(time_zone: Option<&str>) -> AnomalyDetector {
        AnomalyDetector {
            of: Watched::Stat(AlarmStat {
                namespace: "N".to_owned(),
                name: "m".to_owned(),
                dimensions: Vec::new(),
                statistic: "Sum".to_owned(),
                unit: None,
            }),
            excluded: Vec::new(),
            time_zone: time_zone.map(str::to_owned),
            periodic_spikes: None,
        }
    }

    #[tokio::test]
    async fn a_detector_is_made_changed_and_deleted() {
        let (control, caller) = (control(), caller());
        let zone = async || {
            let region = control.read(&caller).await.unwrap();
            let found = region.anomaly_detectors.get("d");
            found.map(|found| found.time_zone.clone())
        };
        let put = async |time_zone| {
            let detector = detector(time_zone);
            control.put_anomaly_detector(&caller, "d", &detector).await
        };
        let need = async |time_zone| {
            let detector = detector(time_zone);
            control.need_anomaly_detector(&caller, "d", &detector).await
        };
        need(None).await.unwrap();
        assert_eq!(zone().await, Some(None));
        put(Some("Europe/Berlin")).await.unwrap();
        // An alarm leaves alone what somebody has set.
        need(None).await.unwrap();
        assert_eq!(zone().await, Some(Some("Europe/Berlin".to_owned())));
        control.delete_anomaly_detector(&caller, "d").await.unwrap();
        assert_eq!(zone().await, None);
        let gone = control.delete_anomaly_detector(&caller, "d").await;
        assert_eq!(gone.unwrap_err().code(), "ResourceNotFoundException");
    }
}
