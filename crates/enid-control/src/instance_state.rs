//! What state an instance is in.
//!
//! A record says what an instance shall be; hosts make it so and say what they see. The state that
//! AWS would show follows from both. With no live host there is nobody to ask, and what shall be
//! counts as reached.

use enid_model::id::InstanceId;
use enid_model::instance::{DesiredState, Instance, StateReason};
use enid_model::time::Timestamp;
use enid_store::Observation;

use crate::Control;

/// The state of an instance as AWS names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// It is being booted.
    Pending,
    /// It runs.
    Running,
    /// It is being terminated.
    ShuttingDown,
    /// It does not run.
    Stopped,
    /// It is being stopped.
    Stopping,
    /// It is gone.
    Terminated,
}

impl InstanceState {
    /// AWS's number for it.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Stopped => 80,
            Self::Stopping => 64,
            Self::Terminated => 48,
        }
    }

    /// AWS's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::Terminated => "terminated",
        }
    }
}

/// What an operation did to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    /// The instance.
    pub id: InstanceId,
    /// Its state before.
    pub previous: InstanceState,
    /// Its state when the operation took hold.
    pub current: InstanceState,
}

impl Control {
    /// The state of an instance: what it shall be, and what a host sees of it.
    #[must_use]
    pub fn instance_state(&self, instance: &Instance) -> InstanceState {
        let hosts = self.store().hosts();
        let observed = hosts.any_live().then(|| hosts.instance(instance.id));
        let seen = |observation| {
            let found = observed.as_ref().and_then(Option::as_ref);
            found.is_some_and(|seen| seen.state == observation)
        };
        // Still there: what it was told to be is not reached.
        let lingers = seen(Observation::Running) || seen(Observation::Ending);
        match instance.desired {
            // It ended by itself, which is about to be recorded.
            DesiredState::Running if seen(Observation::Ending) => InstanceState::Stopping,
            // An instance that reboots is seen to run its earlier boot: AWS shows no other state.
            DesiredState::Running if observed.is_none() || seen(Observation::Running) => {
                InstanceState::Running
            }
            DesiredState::Running => InstanceState::Pending,
            DesiredState::Stopped if lingers => InstanceState::Stopping,
            DesiredState::Stopped => InstanceState::Stopped,
            DesiredState::Terminated if lingers => InstanceState::ShuttingDown,
            DesiredState::Terminated => InstanceState::Terminated,
        }
    }
}

/// Whether a client can still see an instance: a terminated one for an hour.
#[must_use]
pub fn is_visible(instance: &Instance, now: Timestamp) -> bool {
    let ended = instance.transition_time.unwrap_or(now);
    instance.desired != DesiredState::Terminated || now.0 - ended.0 < TERMINATED_KEPT_MS
}

/// Why an instance left the running state, as AWS words it in a description.
#[must_use]
pub fn transition_reason(instance: &Instance) -> String {
    let Some(reason) = &instance.state_reason else {
        return String::new();
    };
    match instance.transition_time {
        Some(time) if reason.code == INITIATED_BY_USER => {
            let (year, month, day, hour, minute, second) = time.civil();
            format!(
                "User initiated ({year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} GMT)"
            )
        }
        _ => reason.message.clone(),
    }
}

pub(crate) fn initiated_by_user() -> StateReason {
    reason(INITIATED_BY_USER, "User initiated shutdown")
}

/// What [`reason`] was given as the message.
pub(crate) fn cause_of(reason: &StateReason) -> &str {
    let rest = reason.message.strip_prefix(reason.code.as_str());
    let cause = rest.and_then(|rest| rest.strip_prefix(": "));
    cause.unwrap_or(&reason.message)
}

/// AWS repeats the code in the message.
pub(crate) fn reason(code: &str, message: &str) -> StateReason {
    StateReason {
        code: code.to_owned(),
        message: format!("{code}: {message}"),
    }
}

pub(crate) const BOOT_FAILED: &str = "Server.InternalError";
const INITIATED_BY_USER: &str = "Client.UserInitiatedShutdown";
pub(crate) const SHUT_DOWN_INSIDE: &str = "Client.InstanceInitiatedShutdown";
const TERMINATED_KEPT_MS: i64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_instance, place};

    #[tokio::test]
    async fn a_terminated_instance_is_visible_for_an_hour() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let id = launched.expect("a launch").instances[0].id;
        let ended = control.terminate_instances(&caller, &[id]).await;
        assert!(ended.is_ok());
        let instance = control.instance(&caller, id).await.expect("it is visible");
        let after = |ms| Timestamp(control.now().0 + ms);
        assert!(is_visible(&instance, after(TERMINATED_KEPT_MS - 1)));
        assert!(!is_visible(&instance, after(TERMINATED_KEPT_MS)));
        assert_eq!(control.sweep(&caller).await, Ok(()));
        assert!(control.instance(&caller, id).await.is_ok());
    }
}
