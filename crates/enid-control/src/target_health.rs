//! The health of targets: what was seen of it, and how AWS words it.

use std::sync::Arc;

use enid_model::id::{TargetGroupId, TargetUid};
use enid_model::state::{RegionState, Unused};
use enid_model::target::{HealthState, Target, TargetHealth, TargetKey};
use enid_model::target_group::TargetGroup;
use enid_model::time::Timestamp;

use crate::target_group::put_target;
use crate::{Caller, Control, Draft, Error};

/// How AWS words the health of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCondition {
    /// Its state.
    pub state: &'static str,
    /// The code of what it is owed to.
    pub reason: Option<&'static str>,
    /// The same in words.
    pub description: Option<&'static str>,
}

impl Control {
    /// Keeps what was seen of targets' health. What was seen of an earlier registration, or of one that
    /// is gone, is left out.
    pub async fn observe_target_health(
        &self,
        caller: &Caller,
        seen: &[(TargetKey, TargetUid, HealthState)],
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            for (key, uid, state) in seen {
                let known = region.targets.get(key);
                let Some(known) = known.filter(|known| known.uid == *uid) else {
                    continue;
                };
                if known.health.state != *state {
                    let mut new = Target::clone(known);
                    new.health = TargetHealth {
                        state: *state,
                        since: draft.now,
                    };
                    put_target(draft, known, new);
                }
            }
            Ok(())
        })
        .await
    }

    /// How AWS words the health of a target that is registered or draining. With no live host there is
    /// nobody to check it, and what shall be counts as reached.
    #[must_use]
    pub fn target_condition(
        &self,
        region: &RegionState,
        group: &TargetGroup,
        target: &Target,
    ) -> TargetCondition {
        let of = |state, reason, description| TargetCondition {
            state,
            reason: Some(reason),
            description: Some(description),
        };
        if !target.is_registered() {
            let why = "Target deregistration is in progress";
            return of("draining", "Target.DeregistrationInProgress", why);
        }
        if let Some(unused) = region.why_unused(target) {
            let (reason, why) = match unused {
                Unused::NotListened => (
                    "Target.NotInUse",
                    "Target group is not configured to receive traffic from the load balancer",
                ),
                Unused::Stopped => ("Target.InvalidState", "Target is in the stopped state"),
                Unused::Terminated => ("Target.InvalidState", "Target is in the terminated state"),
                Unused::ZoneNotEnabled => (
                    "Target.NotInUse",
                    "Target is in an Availability Zone that is not enabled for the load balancer",
                ),
            };
            return of("unused", reason, why);
        }
        let healthy = TargetCondition {
            state: "healthy",
            reason: None,
            description: None,
        };
        match target.health.state {
            HealthState::Healthy => healthy,
            HealthState::Initial if !self.store().hosts().any_live() => healthy,
            HealthState::Initial => of(
                "initial",
                "Elb.InitialHealthChecking",
                "Initial health checks in progress",
            ),
            HealthState::Unhealthy(_) => of(
                match is_draining_unhealthy(group, target, self.now()) {
                    true => "unhealthy.draining",
                    false => "unhealthy",
                },
                "Target.FailedHealthChecks",
                "Health checks failed",
            ),
        }
    }
}

/// What AWS says of a target that a request names and the group does not have.
pub const NOT_REGISTERED: TargetCondition = TargetCondition {
    state: "unused",
    reason: Some("Target.NotRegistered"),
    description: Some("Target is not registered to the target group"),
};

/// Whether an unhealthy target keeps its flows for a time that is not over.
fn is_draining_unhealthy(group: &TargetGroup, target: &Target, now: Timestamp) -> bool {
    let own = &group.attributes;
    let interval_ms = i64::from(own.unhealthy_draining_interval_s) * 1000;
    !own.unhealthy_connection_termination && now.0 - target.health.since.0 < interval_ms
}

/// A group to which no listener leads any more: nothing is seen of its targets from then on.
pub(crate) fn forget_health(draft: &mut Draft<'_>, group: TargetGroupId) {
    let region = Arc::clone(&draft.region);
    for target in region.targets_of_group(group) {
        if target.health.state != HealthState::Initial {
            let mut new = Target::clone(target);
            new.health = TargetHealth {
                state: HealthState::Initial,
                since: draft.now,
            };
            put_target(draft, target, new);
        }
    }
}
