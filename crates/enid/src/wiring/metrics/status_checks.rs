//! Status checks of instances: what the host finds is a metric of each, and what DescribeInstanceStatus
//! tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use enid_host::agent::Checked;
use enid_model::id::InstanceId;
use enid_model::instance::DesiredState;
use enid_model::state::State;
use enid_model::time::{Clock, Timestamp};
use enid_store::{Checks, Hosts};
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Post, Reading, Source, SourceError};

use crate::wiring::host::Inquiry;

const EC2: Option<&str> = Some("AWS/EC2");

meanings! {
    EITHER = EC2, "StatusCheckFailed", COUNT, Gauge, Some("enid_instance_status_check_failed"), "One if a status check of the instance fails, else zero";
    INSTANCE = EC2, "StatusCheckFailed_Instance", COUNT, Gauge, Some("enid_instance_status_check_failed_instance"), "One if the instance's end of its first interface is down, else zero";
    SYSTEM = EC2, "StatusCheckFailed_System", COUNT, Gauge, Some("enid_instance_status_check_failed_system"), "One if the host's end of one of its interfaces is down or lacks its programs, else zero";
}

/// The instances of this host.
pub(crate) struct StatusChecks {
    inquiry: Inquiry,
    hosts: Hosts,
    clock: Arc<dyn Clock>,
    /// What fails, and since when.
    last: BTreeMap<InstanceId, Checks>,
}

impl StatusChecks {
    const NAME: &str = "status-checks";

    pub(crate) fn new(inquiry: Inquiry, hosts: Hosts, clock: Arc<dyn Clock>) -> Self {
        Self {
            inquiry,
            hosts,
            clock,
            last: BTreeMap::new(),
        }
    }

    /// Has the agent look, and notes what it found; `None` if it does not come to it.
    fn look(&mut self) -> Option<()> {
        let found = self.inquiry.check()?;
        self.last = noted(&self.last, &found, self.clock.now());
        self.hosts.note_checks(self.last.clone());
        Some(())
    }
}

impl Source for StatusChecks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn glance(&mut self) {
        // What is not known now is asked again at the minute's end, and told then.
        let _ = self.look();
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        self.look()
            .ok_or_else(|| SourceError::new(Self::NAME, "the agent did not answer"))?;
        Ok(readings(&self.last, state))
    }

    fn clear(&mut self) {
        self.last.clear();
    }
}

/// What fails now: since the first check that found it so.
fn noted(
    last: &BTreeMap<InstanceId, Checks>,
    found: &BTreeMap<InstanceId, Checked>,
    now: Timestamp,
) -> BTreeMap<InstanceId, Checks> {
    let since = |passes: bool, last: Option<Timestamp>| match passes {
        true => None,
        false => Some(last.unwrap_or(now)),
    };
    let noted = found.iter().map(|(id, found)| {
        let last = last.get(id).copied().unwrap_or_default();
        let checks = Checks {
            system_failed: since(found.system_passes, last.system_failed),
            instance_failed: since(found.instance_passes, last.instance_failed),
        };
        (*id, checks)
    });
    noted.collect()
}

fn readings(checks: &BTreeMap<InstanceId, Checks>, state: &State) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (scope, region) in state.regions() {
        for instance in region.instances.values() {
            let found = checks.get(&instance.id);
            let runs = instance.desired == DesiredState::Running;
            let Some(found) = found.filter(|_| runs) else {
                continue;
            };
            let (instance_failed, system_failed) = (
                found.instance_failed.is_some(),
                found.system_failed.is_some(),
            );
            let values: [(&'static Meaning, bool); 3] = [
                (&EITHER, instance_failed || system_failed),
                (&INSTANCE, instance_failed),
                (&SYSTEM, system_failed),
            ];
            for (meaning, fails) in values {
                let id = instance.id.to_string();
                let key = format!("{id}/{}", meaning.name);
                let post = Post::new(meaning, scope, vec![("InstanceId", id)]);
                let level = if fails { 1.0 } else { 0.0 };
                readings.push(Reading::level(key, level, vec![post]));
            }
        }
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lasts_from_the_first_check_that_found_it() {
        let found = |system_passes, instance_passes| {
            let checked = Checked {
                system_passes,
                instance_passes,
            };
            BTreeMap::from([(InstanceId(7), checked)])
        };
        let well = noted(&BTreeMap::new(), &found(true, true), Timestamp(1));
        assert_eq!(well[&InstanceId(7)], Checks::default());
        let ill = noted(&well, &found(true, false), Timestamp(2));
        let ill = noted(&ill, &found(false, false), Timestamp(3));
        assert_eq!(
            ill[&InstanceId(7)],
            Checks {
                system_failed: Some(Timestamp(3)),
                instance_failed: Some(Timestamp(2)),
            }
        );
        let well = noted(&ill, &found(true, true), Timestamp(4));
        assert_eq!(well[&InstanceId(7)], Checks::default());
        assert!(noted(&well, &BTreeMap::new(), Timestamp(5)).is_empty());
        // Of an instance that is in no region nothing is told.
        assert!(readings(&well, &State::default()).is_empty());
    }
}
