//! Instances: stopping, starting, rebooting and terminating them.
//!
//! An operation commits what shall be, then waits until a host has seen it. A boot that fails ends
//! in the `stopped` state, or undoes the launch (see `instance_launch`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use enid_model::id::InstanceId;
use enid_model::image::Driver;
use enid_model::instance::{DesiredState, Instance, StateReason};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{State, Stored};
use enid_store::Observation;

use crate::instance_state::{
    BOOT_FAILED, InstanceState, SHUT_DOWN_INSIDE, StateChange, cause_of, initiated_by_user,
    is_visible, reason,
};
use crate::network_interface::remove;
use crate::network_interface_permission::{lent_to, note_detached};
use crate::target_health::forget_health_of;
use crate::{Caller, Control, Draft, Error, public_address, volume};

/// How long a call waits for a host to start or end instances before it answers all the same.
const HOST_PATIENCE: Duration = Duration::from_secs(20);

/// A launch that takes longer has had its first boot.
const LAUNCH_MS_MAX: i64 = 60_000;

impl Control {
    /// StopInstances. Answers when no host runs any of them.
    pub async fn stop_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Error> {
        let changes = self
            .transact(caller, |draft| {
                let mut changes = Vec::new();
                for instance in require_all(draft, ids)? {
                    let id = instance.id;
                    let previous = self.instance_state(&instance);
                    let current = match instance.desired {
                        DesiredState::Terminated => return Err(Error::InstanceNotStoppable { id }),
                        DesiredState::Stopped => previous,
                        DesiredState::Running if instance.disable_api_stop => {
                            return Err(Error::StopDisabled { id });
                        }
                        DesiredState::Running => {
                            let reason = initiated_by_user();
                            end(draft, &instance, DesiredState::Stopped, reason);
                            InstanceState::Stopping
                        }
                    };
                    changes.push(StateChange {
                        id,
                        previous,
                        current,
                    });
                }
                Ok(changes)
            })
            .await?;
        self.idle(&changes).await;
        Ok(changes)
    }

    /// StartInstances. Answers when hosts run all of them; an error if one cannot be run.
    pub async fn start_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Error> {
        let (changes, boots) = self
            .transact(caller, |draft| {
                let (mut changes, mut boots) = (Vec::new(), Vec::new());
                for instance in require_all(draft, ids)? {
                    let id = instance.id;
                    let previous = self.instance_state(&instance);
                    let current = match previous {
                        InstanceState::Pending | InstanceState::Running => previous,
                        InstanceState::Stopped => {
                            boots.push((id, instance.boot + 1));
                            public_address::start(draft, &instance)?;
                            let now = draft.now;
                            draft.edit(&instance, |instance| {
                                instance.desired = DesiredState::Running;
                                instance.boot += 1;
                                instance.launch_time = now;
                                instance.state_reason = None;
                                instance.transition_time = None;
                            });
                            InstanceState::Pending
                        }
                        InstanceState::ShuttingDown
                        | InstanceState::Stopping
                        | InstanceState::Terminated => {
                            return Err(Error::InstanceNotStartable { id });
                        }
                    };
                    changes.push(StateChange {
                        id,
                        previous,
                        current,
                    });
                }
                Ok((changes, boots))
            })
            .await?;
        self.all_booted(caller, &boots).await?;
        Ok(changes)
    }

    /// RebootInstances. Answers when hosts run the new boot of all of them.
    pub async fn reboot_instances(&self, caller: &Caller, ids: &[InstanceId]) -> Result<(), Error> {
        let boots = self
            .transact(caller, |draft| {
                let mut boots = Vec::new();
                for instance in require_all(draft, ids)? {
                    if instance.desired != DesiredState::Running {
                        return Err(Error::InstanceNotRunning { id: instance.id });
                    }
                    if Driver::of_image(&instance.image).is_foreign() {
                        let what = "the reboot of a guest that Enid does not run";
                        return Err(Error::Unsupported { what });
                    }
                    boots.push((instance.id, instance.boot + 1));
                    draft.edit(&instance, |instance| instance.boot += 1);
                }
                Ok(boots)
            })
            .await?;
        self.all_booted(caller, &boots).await
    }

    /// TerminateInstances. Interfaces go with their instance or become available again, in the
    /// same transaction. Answers when no host runs any of the instances.
    pub async fn terminate_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Error> {
        let changes = self
            .transact(caller, |draft| {
                let mut changes = Vec::new();
                for instance in require_all(draft, ids)? {
                    let id = instance.id;
                    let previous = self.instance_state(&instance);
                    let current = match instance.desired {
                        DesiredState::Terminated => previous,
                        _ if instance.disable_api_termination => {
                            return Err(Error::TerminationDisabled { id });
                        }
                        _ => {
                            let reason = initiated_by_user();
                            end(draft, &instance, DesiredState::Terminated, reason);
                            InstanceState::ShuttingDown
                        }
                    };
                    changes.push(StateChange {
                        id,
                        previous,
                        current,
                    });
                }
                Ok(changes)
            })
            .await?;
        self.idle(&changes).await;
        Ok(changes)
    }

    /// A host saw a boot of an instance end by itself: the instance is stopped, or terminated if
    /// it was launched so. Nothing happens if it was told to do anything else meanwhile.
    pub async fn instance_exited(
        &self,
        caller: &Caller,
        id: InstanceId,
        boot: u32,
    ) -> Result<(), Error> {
        self.end_boot(caller, id, boot, |instance| {
            let desired = if instance.terminate_on_shutdown {
                DesiredState::Terminated
            } else {
                DesiredState::Stopped
            };
            (
                desired,
                reason(SHUT_DOWN_INSIDE, "Instance initiated shutdown"),
            )
        })
        .await
    }

    /// A host could not make a boot of an instance run. The first boot of a launch ends in the
    /// terminated state, a later one in the stopped state, as in AWS. So does a first boot that ran
    /// before, as after a restart of its host.
    pub async fn instance_failed(
        &self,
        caller: &Caller,
        id: InstanceId,
        boot: u32,
        cause: &str,
    ) -> Result<(), Error> {
        self.end_boot(caller, id, boot, |instance| {
            let age_ms = self.now().0 - instance.launch_time.0;
            let desired = if instance.boot == FIRST_BOOT && age_ms < LAUNCH_MS_MAX {
                DesiredState::Terminated
            } else {
                DesiredState::Stopped
            };
            (desired, reason(BOOT_FAILED, cause))
        })
        .await
    }

    async fn end_boot(
        &self,
        caller: &Caller,
        id: InstanceId,
        boot: u32,
        outcome: impl Fn(&Instance) -> (DesiredState, StateReason),
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let found = draft.region.instances.get(&id).cloned();
            if let Some(instance) = found.filter(|found| is_booting(found, boot)) {
                let (desired, reason) = outcome(&instance);
                end(draft, &instance, desired, reason);
            }
            Ok(())
        })
        .await
    }

    /// Waits until no host runs these instances, but not for ever: one that does not end stays
    /// `stopping` or `shutting-down`, and the host goes on trying.
    async fn idle(&self, changes: &[StateChange]) {
        let all = async {
            for change in changes {
                self.store().hosts().idle(change.id).await;
            }
        };
        let _ = tokio::time::timeout(HOST_PATIENCE, all).await;
    }

    /// Waits until hosts run these boots. Each that fails is put right; the first one's cause is
    /// the answer.
    async fn all_booted(&self, caller: &Caller, boots: &[(InstanceId, u32)]) -> Result<(), Error> {
        let mut first = Ok(());
        for (id, boot) in boots {
            if let Err(cause) = self.booted(caller, *id, *boot).await {
                self.instance_failed(caller, *id, *boot, &cause).await?;
                first = first.and(Err(Error::BootFailed { id: *id, cause }));
            }
        }
        first
    }

    /// Waits until a host has seen this boot of an instance, or until the instance has been told
    /// otherwise. Returns why it could not be made to run.
    pub(crate) async fn booted(
        &self,
        caller: &Caller,
        id: InstanceId,
        boot: u32,
    ) -> Result<(), Arc<str>> {
        let scope = caller.scope();
        let record = |state: &State| {
            let region = state.region(&scope)?;
            region.instances.get(&id).cloned()
        };
        let mut changes = self.store().watch();
        let overtaken = changes.wait_for(|state| {
            let found = record(state);
            !found.is_some_and(|found| is_booting(&found, boot))
        });
        tokio::select! {
            seen = self.store().hosts().seen(id, boot, |_| true) => match seen {
                Some(Observation::Failed(cause)) => return Err(cause),
                Some(_) | None => return Ok(()),
            },
            _ = overtaken => {}
            () = tokio::time::sleep(HOST_PATIENCE) => return Err("no host made it run in time".into()),
        }
        // Whoever follows the hosts may have been the first to hear of a failure.
        let reason = record(&self.store().state()).and_then(|found| found.state_reason.clone());
        match reason {
            Some(reason) if reason.code == BOOT_FAILED => Err(cause_of(&reason).into()),
            _ => Ok(()),
        }
    }
}

/// The instance with an id, if a client can still see it.
pub(crate) fn require_visible(
    draft: &mut Draft<'_>,
    id: InstanceId,
) -> Result<Stored<Instance>, Error> {
    let instance = draft.require::<Instance>(id)?;
    if is_visible(&instance, draft.now) {
        Ok(instance)
    } else {
        Err(Error::not_found(id))
    }
}

/// The same of one that is not terminated, whose options can still be changed.
pub(crate) fn require_changeable(
    draft: &mut Draft<'_>,
    id: InstanceId,
) -> Result<Stored<Instance>, Error> {
    let instance = require_visible(draft, id)?;
    if instance.desired == DesiredState::Terminated {
        return Err(Error::InstanceNotRunning { id });
    }
    Ok(instance)
}

/// The instances of a list, each once. If several do not exist, the error names all of them.
pub(crate) fn require_all(
    draft: &mut Draft<'_>,
    ids: &[InstanceId],
) -> Result<Vec<Stored<Instance>>, Error> {
    let (mut seen, mut found, mut unknown) = (BTreeSet::new(), Vec::new(), Vec::new());
    for id in ids {
        if seen.insert(*id) {
            match require_visible(draft, *id) {
                Ok(instance) => found.push(instance),
                Err(_) => unknown.push(id.to_string()),
            }
        }
    }
    match unknown.as_slice() {
        [] => Ok(found),
        [id] => Err(Error::not_found_text("i", id)),
        several => {
            let ids = several.join(", ").into();
            Err(Error::InstancesNotFound { ids })
        }
    }
}

/// Tells a running instance to stop or to terminate. A terminated one loses its interfaces.
fn end(
    draft: &mut Draft<'_>,
    instance: &Stored<Instance>,
    desired: DesiredState,
    reason: StateReason,
) {
    if desired == DesiredState::Terminated {
        let attached: Vec<Stored<NetworkInterface>> = draft
            .region
            .enis_of_instance(instance.id)
            .cloned()
            .collect();
        volume::leave(draft, instance);
        for eni in attached {
            leave(draft, &eni);
        }
        for (owner, eni) in lent_to(draft, instance.id) {
            draft.within(owner, |draft| leave(draft, &eni));
        }
    } else {
        public_address::stop(draft, instance);
    }
    forget_health_of(draft, instance.id);
    let now = draft.now;
    draft.edit(instance, |instance| {
        instance.desired = desired;
        instance.state_reason = Some(reason);
        instance.transition_time = Some(now);
        if desired == DesiredState::Terminated {
            instance.recorded.block_devices.clear();
        }
    });
}

/// An interface's instance goes: the interface goes with it, or becomes available again.
fn leave(draft: &mut Draft<'_>, eni: &Stored<NetworkInterface>) {
    let attachment = eni.attachment.as_ref();
    if attachment.is_some_and(|attachment| attachment.delete_on_termination) {
        remove(draft, eni);
    } else {
        detach(draft, eni);
    }
}

/// Makes an interface available again; what it was given with the instance is taken.
pub(crate) fn detach(draft: &mut Draft<'_>, read: &Stored<NetworkInterface>) {
    note_detached(draft, read);
    let mut eni = NetworkInterface::clone(read);
    eni.attachment = None;
    public_address::withdraw(draft, &mut eni);
    draft.update(read, eni);
}

fn is_booting(instance: &Instance, boot: u32) -> bool {
    instance.desired == DesiredState::Running && instance.boot == boot
}

/// The boot of a launch.
pub(crate) const FIRST_BOOT: u32 = 1;

#[cfg(test)]
mod tests {
    use enid_store::Observed;

    use super::*;
    use crate::fixture::{Place, caller, control, new_eni, new_instance, place};
    use crate::{AttachNetworkInterface, RunInstances, transition_reason};

    async fn launch(control: &Control, place: &Place) -> Instance {
        let launched = control.run_instances(&caller(), new_instance(place)).await;
        launched.expect("a launch").instances.remove(0)
    }

    async fn read(control: &Control, id: InstanceId) -> Instance {
        let region = control.read(&caller()).await.expect("the region is alive");
        let found = region.instances.get(&id).cloned();
        Instance::clone(&found.expect("the instance is there"))
    }

    fn states(changes: Result<Vec<StateChange>, Error>) -> Vec<(InstanceState, InstanceState)> {
        let changes = changes.expect("the states change");
        changes
            .iter()
            .map(|change| (change.previous, change.current))
            .collect()
    }

    #[tokio::test]
    async fn a_life() {
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = launch(&control, &place).await;
        let (id, ids) = (launched.id, [launched.id, launched.id]);
        assert_eq!(control.instance_state(&launched), Running);
        assert_eq!(
            states(control.start_instances(&caller, &ids).await),
            [(Running, Running)]
        );
        assert_eq!(
            states(control.stop_instances(&caller, &ids).await),
            [(Running, Stopping)]
        );
        assert_eq!(
            states(control.stop_instances(&caller, &ids).await),
            [(Stopped, Stopped)]
        );
        let stopped = read(&control, id).await;
        assert_eq!(
            transition_reason(&stopped),
            "User initiated (2026-01-02 03:04:05 GMT)"
        );
        let refused = control.reboot_instances(&caller, &ids).await;
        assert_eq!(refused, Err(Error::InstanceNotRunning { id }));
        assert_eq!(
            states(control.start_instances(&caller, &ids).await),
            [(Stopped, Pending)]
        );
        assert_eq!(control.reboot_instances(&caller, &ids).await, Ok(()));
        let running = read(&control, id).await;
        assert_eq!((running.boot, running.state_reason), (3, None));
        assert_eq!(
            states(control.terminate_instances(&caller, &ids).await),
            [(Running, ShuttingDown)]
        );
        assert_eq!(
            states(control.terminate_instances(&caller, &ids).await),
            [(Terminated, Terminated)]
        );
        let refused = control.start_instances(&caller, &ids).await;
        assert_eq!(refused, Err(Error::InstanceNotStartable { id }));
        let refused = control.stop_instances(&caller, &ids).await;
        assert_eq!(refused, Err(Error::InstanceNotStoppable { id }));
    }

    #[tokio::test]
    async fn unknown_instances_are_named_and_nothing_happens_to_the_others() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let known = launch(&control, &place).await.id;
        let refused = control
            .stop_instances(&caller, &[known, InstanceId(7)])
            .await;
        assert_eq!(refused, Err(Error::not_found(InstanceId(7))));
        let refused = control
            .stop_instances(&caller, &[InstanceId(8), known, InstanceId(7)])
            .await;
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err(
                "The instance IDs 'i-00000000000000008, i-00000000000000007' do not exist"
                    .to_owned()
            )
        );
        assert_eq!(read(&control, known).await.desired, DesiredState::Running);
    }

    #[tokio::test]
    async fn interfaces_go_with_their_instance_or_become_available() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let id = launch(&control, &place).await.id;
        let eni = control
            .create_network_interface(&caller, new_eni(&place))
            .await;
        let eni = eni.expect("an interface").id;
        let request = AttachNetworkInterface {
            eni,
            instance: id,
            device_index: 1,
            network_card_index: 0,
        };
        assert!(
            control
                .attach_network_interface(&caller, request)
                .await
                .is_ok()
        );
        let ended = control.terminate_instances(&caller, &[id]).await;
        assert!(ended.is_ok());
        let region = control.read(&caller).await.expect("the region is alive");
        let left: Vec<_> = region.network_interfaces.values().collect();
        assert!(matches!(left.as_slice(), [kept] if kept.id == eni && kept.attachment.is_none()));
        assert_eq!(region.leases.len(), 1);
    }

    #[tokio::test]
    async fn a_protected_instance_is_not_terminated_nor_is_any_other() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let free = launch(&control, &place).await.id;
        let protected = RunInstances {
            disable_api_termination: true,
            ..new_instance(&place)
        };
        let launched = control.run_instances(&caller, protected).await;
        let id = launched.expect("a launch").instances[0].id;
        let refused = control.terminate_instances(&caller, &[free, id]).await;
        assert_eq!(refused, Err(Error::TerminationDisabled { id }));
        assert_eq!(read(&control, free).await.desired, DesiredState::Running);
    }

    #[tokio::test]
    async fn a_live_host_decides_what_is_seen() {
        let (control, caller) = (Arc::new(control()), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let host = control.store().hosts().join("one".into());
        host.acknowledge(enid_model::state::Revision(u64::MAX));
        let calling = tokio::spawn({
            let (control, input) = (Arc::clone(&control), new_instance(&place));
            async move {
                control
                    .run_instances(&crate::fixture::caller(), input)
                    .await
            }
        });
        let mut changes = control.store().watch();
        let scope = caller.scope();
        let launched = |state: &Arc<State>| {
            let region = state.region(&scope)?;
            region.instances.keys().next().copied()
        };
        let committed = changes.wait_for(|state| launched(state).is_some()).await;
        let id = committed
            .ok()
            .and_then(|state| launched(&state))
            .expect("a launch");
        assert_eq!(
            control.instance_state(&read(&control, id).await),
            InstanceState::Pending
        );
        assert!(!calling.is_finished());
        let running = |boot| Observed {
            boot,
            state: Observation::Running,
        };
        host.observe(id, running(1));
        assert!(calling.await.expect("the call does not panic").is_ok());
        assert_eq!(
            control.instance_state(&read(&control, id).await),
            InstanceState::Running
        );

        // One whose process has ended is never said to run, even before that is recorded.
        let ending = Observed {
            boot: 1,
            state: Observation::Ending,
        };
        host.observe(id, ending);
        let instance = read(&control, id).await;
        assert_eq!(instance.desired, DesiredState::Running);
        assert_eq!(control.instance_state(&instance), InstanceState::Stopping);

        // An exit of an earlier boot is old news; one of this boot stops the instance.
        for (boot, desired) in [(0, DesiredState::Running), (1, DesiredState::Stopped)] {
            assert_eq!(control.instance_exited(&caller, id, boot).await, Ok(()));
            assert_eq!(read(&control, id).await.desired, desired);
        }
        let instance = read(&control, id).await;
        assert_eq!(control.instance_state(&instance), InstanceState::Stopping);
        assert!(transition_reason(&instance).starts_with("Client.InstanceInitiatedShutdown"));
        host.observe(
            id,
            Observed {
                boot: 1,
                state: Observation::Stopped,
            },
        );
        assert_eq!(control.instance_state(&instance), InstanceState::Stopped);

        // A start that fails leaves the instance stopped and says why.
        let failed = Observation::Failed("no overlay".into());
        host.observe(
            id,
            Observed {
                boot: 2,
                state: failed,
            },
        );
        let refused = control.start_instances(&caller, &[id]).await;
        assert_eq!(
            refused,
            Err(Error::BootFailed {
                id,
                cause: "no overlay".into()
            })
        );
        let instance = read(&control, id).await;
        assert_eq!(instance.desired, DesiredState::Stopped);
        assert_eq!(
            transition_reason(&instance),
            "Server.InternalError: no overlay"
        );
    }
}
