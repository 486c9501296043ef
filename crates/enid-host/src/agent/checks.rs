//! Whether instances that run can be reached: what AWS calls status checks.
//!
//! The system's check is of what the host does for an instance: each of its devices is there and switched
//! on, and both programs are on it. The instance's own check is of what it does: the far end of its first
//! interface is switched on, which the host's end tells, and somebody holds it if it is a tap. That its
//! processes live is no question: an instance whose first process has ended does not run.

use std::collections::BTreeMap;

use enid_model::id::{EniId, InstanceId};

use super::guests::Phase;
use super::{Agent, AgentError};
use crate::device::EniDevice;
use crate::netlink::{Link, Netlink};

/// What the checks of an instance that runs have found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Whether the host does what it should.
    pub system_passes: bool,
    /// Whether the instance does.
    pub instance_passes: bool,
}

impl Agent {
    /// Checks every instance that runs.
    pub(super) fn check(&self) -> Result<BTreeMap<InstanceId, Checked>, AgentError> {
        let links = Netlink::open()?.links()?;
        let links: BTreeMap<&str, &Link> = links.iter().map(|link| (&*link.name, link)).collect();
        let runs = |guest: &&_| matches!(guest, Phase::Running { .. });
        let phases = self.guests.iter().map(|(id, guest)| (id, &guest.phase));
        let running = phases.filter(|(_, phase)| runs(phase));
        // One without a device of its own, because nobody has taken it yet, is not reached.
        let unseen = Checked {
            system_passes: true,
            instance_passes: false,
        };
        let mut all: BTreeMap<InstanceId, Checked> = running.map(|(id, _)| (*id, unseen)).collect();
        for (eni, spec) in &self.devices {
            // One that comes or goes just now is no failure.
            if self.planner.device(*eni) != Some(spec) {
                continue;
            }
            let Some(checked) = all.get_mut(&spec.instance) else {
                continue;
            };
            let link = links.get(&*EniDevice::host_name_of(*eni));
            checked.system_passes &= link.is_some_and(|link| self.carries(*eni, link));
            if spec.number() == 0 {
                checked.instance_passes = link.is_some_and(|link| link.has_carrier);
            }
        }
        Ok(all)
    }

    /// Whether the device of an interface is switched on and judged.
    fn carries(&self, eni: EniId, link: &Link) -> bool {
        link.is_up && self.datapath.verify_attached(eni, link.number()).is_ok()
    }
}
