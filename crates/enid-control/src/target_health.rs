//! The health of targets: what was seen of it, and how AWS words it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use enid_model::id::{InstanceId, TargetGroupId, TargetUid};
use enid_model::state::{RegionState, Stored, Unused};
use enid_model::target::{HealthFailure, HealthState, Target, TargetHealth, TargetId, TargetKey};
use enid_model::target_group::TargetGroup;
use enid_model::time::Timestamp;

use crate::target_group::put_target;
use crate::{Caller, Control, Draft, Error};

/// How AWS words the health of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCondition {
    /// Its state.
    pub state: &'static str,
    /// The code of what it is owed to.
    pub reason: Option<&'static str>,
    /// The same in words.
    pub description: Option<Cow<'static, str>>,
}

impl Control {
    /// Keeps what was seen of targets' health. What was seen of an earlier registration, of one that is gone,
    /// or of a target that nobody uses by now, is left out.
    pub async fn observe_target_health(
        &self,
        caller: &Caller,
        seen: &[(TargetKey, TargetUid, HealthState)],
    ) -> Result<(), Error> {
        // Of several the last one counts.
        let seen = seen.iter().map(|(key, uid, state)| ((*key, *uid), *state));
        let seen: BTreeMap<(TargetKey, TargetUid), HealthState> = seen.collect();
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            for ((key, uid), state) in &seen {
                let known = region.targets.get(key);
                let Some(known) = known.filter(|known| known.uid == *uid) else {
                    continue;
                };
                let is_late = *state != HealthState::Initial && region.why_unused(known).is_some();
                if !is_late {
                    see(draft, known, *state);
                }
            }
            Ok(())
        })
        .await
    }

    /// How AWS words the health of a target that is registered or draining. With no live host there is
    /// nobody to check it, whatever was seen once.
    #[must_use]
    pub fn target_condition(
        &self,
        region: &RegionState,
        group: &TargetGroup,
        target: &Target,
    ) -> TargetCondition {
        let of = |state, reason, description: Cow<'static, str>| TargetCondition {
            state,
            reason: Some(reason),
            description: Some(description),
        };
        if !target.is_registered() {
            let why = "Target deregistration is in progress";
            return of("draining", "Target.DeregistrationInProgress", why.into());
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
            return of("unused", reason, why.into());
        }
        if !self.store().hosts().any_live() {
            let why = "Health checks are disabled: no datapath runs that could check";
            return of("unavailable", "Target.HealthCheckDisabled", why.into());
        }
        match target.health.state {
            HealthState::Healthy => TargetCondition {
                state: "healthy",
                reason: None,
                description: None,
            },
            HealthState::Initial => of(
                "initial",
                "Elb.InitialHealthChecking",
                "Initial health checks in progress".into(),
            ),
            HealthState::Unhealthy(failure) => {
                let state = match is_draining_unhealthy(group, target, self.now()) {
                    true => "unhealthy.draining",
                    false => "unhealthy",
                };
                let (reason, why) = words_of(failure);
                of(state, reason, why)
            }
        }
    }
}

/// How AWS words why checks fail.
fn words_of(failure: HealthFailure) -> (&'static str, Cow<'static, str>) {
    match failure {
        HealthFailure::Connection => ("Target.FailedHealthChecks", "Health checks failed".into()),
        HealthFailure::Status(code) => (
            "Target.ResponseCodeMismatch",
            format!("Health checks failed with these codes: [{code}]").into(),
        ),
        HealthFailure::Timeout => ("Target.Timeout", "Request timed out".into()),
    }
}

/// What AWS says of a target that a request names and the group does not have.
pub const NOT_REGISTERED: TargetCondition = TargetCondition {
    state: "unused",
    reason: Some("Target.NotRegistered"),
    description: Some(Cow::Borrowed(
        "Target is not registered to the target group",
    )),
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
        see(draft, target, HealthState::Initial);
    }
}

/// An instance that ends: what was seen of it says nothing of how it comes back.
pub(crate) fn forget_health_of(draft: &mut Draft<'_>, instance: InstanceId) {
    let region = Arc::clone(&draft.region);
    for target in region.targets.values() {
        if target.key.id == TargetId::Instance(instance) {
            see(draft, target, HealthState::Initial);
        }
    }
}

/// Records a target's state. Another reason why it is unhealthy leaves it unhealthy since it was.
fn see(draft: &mut Draft<'_>, known: &Stored<Target>, state: HealthState) {
    let before = known.health;
    if before.state == state {
        return;
    }
    let is_still = matches!(
        (before.state, state),
        (HealthState::Unhealthy(_), HealthState::Unhealthy(_))
    );
    let since = if is_still { before.since } else { draft.now };
    let mut new = Target::clone(known);
    new.health = TargetHealth { state, since };
    put_target(draft, known, new);
}
