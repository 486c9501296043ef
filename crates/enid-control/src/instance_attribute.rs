//! Attributes of an instance: one per call.

use enid_model::id::{InstanceId, SecurityGroupId};
use enid_model::instance::Instance;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::Stored;

use crate::address_limit::Slots;
use crate::attachment::{Limits, Place, attached, place_of};
use crate::error::ComputingError;
use crate::instance::{require_all, require_changeable, require_visible};
use crate::instance_specification::check_user_data;
use crate::instance_state::{InstanceState, is_visible};
use crate::network_interface::checked_groups;
use crate::network_interface_attribute::only_one;
use crate::network_interface_permission::lent_to;
use crate::volume::check_cpu_credits;
use crate::{Caller, Control, Draft, Error};

/// The input of ModifyInstanceAttribute: exactly one attribute is present.
#[derive(Debug, Clone, Default)]
pub struct ModifyInstance {
    /// Which of its devices shall go with it, by name; recorded only.
    pub block_devices: Option<Vec<(String, bool)>>,
    /// Whether StopInstances shall refuse it.
    pub disable_api_stop: Option<bool>,
    /// Whether TerminateInstances shall refuse it.
    pub disable_api_termination: Option<bool>,
    /// EBS optimisation, while it is stopped; recorded only.
    pub ebs_optimized: Option<bool>,
    /// New security groups of its only interface.
    pub groups: Option<Vec<SecurityGroupId>>,
    /// A new type, while it is stopped.
    pub instance_type: Option<String>,
    /// Source/destination checking of its only interface.
    pub source_dest_check: Option<bool>,
    /// Whether a halt from inside terminates it.
    pub terminate_on_shutdown: Option<bool>,
    /// New user data, while it is stopped.
    pub user_data: Option<Vec<u8>>,
}

impl Control {
    /// ModifyInstanceAttribute.
    pub async fn modify_instance(
        &self,
        caller: &Caller,
        id: InstanceId,
        input: ModifyInstance,
    ) -> Result<(), Error> {
        only_one(&[
            ("blockDeviceMapping", input.block_devices.is_some()),
            ("disableApiStop", input.disable_api_stop.is_some()),
            (
                "disableApiTermination",
                input.disable_api_termination.is_some(),
            ),
            ("ebsOptimized", input.ebs_optimized.is_some()),
            ("groupSet", input.groups.is_some()),
            ("instanceType", input.instance_type.is_some()),
            ("sourceDestCheck", input.source_dest_check.is_some()),
            (
                "instanceInitiatedShutdownBehavior",
                input.terminate_on_shutdown.is_some(),
            ),
            ("userData", input.user_data.is_some()),
        ])?;
        check_user_data(input.user_data.as_deref())?;
        self.transact(caller, |draft| {
            let instance = require_visible(draft, id)?;
            let needs_stop = input.ebs_optimized.is_some()
                || input.instance_type.is_some()
                || input.user_data.is_some();
            if needs_stop && self.instance_state(&instance) != InstanceState::Stopped {
                return Err(Error::InstanceNotStopped { id });
            }
            if let Some(groups) = &input.groups {
                if groups.is_empty() {
                    return Err(Error::NoGroups);
                }
                let eni = only_interface(draft, id)?;
                let groups = checked_groups(draft, eni.vpc, groups)?;
                draft.edit(&eni, |eni| eni.groups = groups);
            }
            if let Some(check) = input.source_dest_check {
                let eni = only_interface(draft, id)?;
                draft.edit(&eni, |eni| eni.source_dest_check = check);
            }
            if let Some(name) = &input.instance_type {
                check_type(draft, id, name)?;
            }
            let devices = &instance.recorded.block_devices;
            for (name, _) in input.block_devices.iter().flatten() {
                if !devices.iter().any(|device| device.name == *name) {
                    let name = name.as_str().into();
                    return Err(ComputingError::DeviceUnknown { name }.into());
                }
            }
            draft.edit(&instance, |instance| {
                for (name, goes) in input.block_devices.iter().flatten() {
                    let mut devices = instance.recorded.block_devices.iter_mut();
                    if let Some(device) = devices.find(|device| device.name == *name) {
                        device.delete_on_termination = *goes;
                    }
                }
                let present = instance.disable_api_stop;
                instance.disable_api_stop = input.disable_api_stop.unwrap_or(present);
                let present = instance.disable_api_termination;
                instance.disable_api_termination = input.disable_api_termination.unwrap_or(present);
                let present = instance.recorded.ebs_optimized;
                instance.recorded.ebs_optimized = input.ebs_optimized.unwrap_or(present);
                let present = instance.terminate_on_shutdown;
                instance.terminate_on_shutdown = input.terminate_on_shutdown.unwrap_or(present);
                if let Some(name) = &input.instance_type {
                    instance.instance_type.clone_from(name);
                }
                if let Some(data) = &input.user_data {
                    instance.user_data = Some(data.clone()).filter(|data| !data.is_empty());
                }
            });
            Ok(())
        })
        .await
    }
}

impl Control {
    /// ResetInstanceAttribute of source/destination checking, the only attribute with a reset.
    pub async fn reset_instance_source_dest_check(
        &self,
        caller: &Caller,
        id: InstanceId,
    ) -> Result<(), Error> {
        let input = ModifyInstance {
            source_dest_check: Some(true),
            ..ModifyInstance::default()
        };
        self.modify_instance(caller, id, input).await
    }

    /// MonitorInstances and UnmonitorInstances: recorded only.
    pub async fn set_monitoring(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        monitoring: bool,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            for instance in require_all(draft, ids)? {
                draft.edit(&instance, |instance| {
                    instance.recorded.monitoring = monitoring
                });
            }
            Ok(())
        })
        .await
    }
}

/// What became of each instance of a change: its id, and why it was not changed if it was not.
pub type CreditOutcomes = Vec<(InstanceId, Result<(), Error>)>;

impl Control {
    /// ModifyInstanceCreditSpecification: recorded only. Each instance is changed or not for itself.
    pub async fn set_cpu_credits(
        &self,
        caller: &Caller,
        token: Option<&str>,
        wanted: &[(InstanceId, String)],
    ) -> Result<CreditOutcomes, Error> {
        const OPERATION: &str = "ModifyInstanceCreditSpecification";
        let parameters = format!("{wanted:?}");
        self.transact(caller, |draft| {
            let is_repeated = draft.made_before(OPERATION, token, &parameters)?.is_some();
            let mut outcomes = CreditOutcomes::new();
            for (id, credits) in wanted {
                let checked = require_changeable(draft, *id).and_then(|instance| {
                    check_cpu_credits(credits, &instance.instance_type).map(|()| instance)
                });
                let outcome = checked.map(|instance| {
                    if !is_repeated {
                        draft.edit(&instance, |instance| {
                            instance.recorded.cpu_credits = Some(credits.clone());
                        });
                    }
                });
                outcomes.push((*id, outcome));
            }
            if !is_repeated {
                draft.remember(OPERATION, token, &parameters, Vec::new());
            }
            Ok(outcomes)
        })
        .await
    }
}

/// The interface of an instance that has one only: AWS asks for the interface's id otherwise.
fn only_interface(
    draft: &mut Draft<'_>,
    id: InstanceId,
) -> Result<Stored<NetworkInterface>, Error> {
    match attached(draft, id).as_slice() {
        [eni] => {
            draft.depend(eni);
            Ok(eni.clone())
        }
        [] => Err(Error::not_found(id)),
        _ => Err(Error::SeveralInterfaces { id }),
    }
}

/// The interfaces that an instance has are within the limits of another type.
fn check_type(draft: &mut Draft<'_>, id: InstanceId, name: &str) -> Result<(), Error> {
    let limits = Limits::of(name)?;
    let enis = attached(draft, id);
    let places: Vec<Place> = enis.iter().filter_map(|eni| place_of(eni)).collect();
    limits.check_places(&places)?;
    let own = draft.region.enis_of_instance(id).cloned();
    let own: Vec<_> = own.map(|eni| (draft.scope().account, eni)).collect();
    for (owner, eni) in own.into_iter().chain(lent_to(draft, id)) {
        Slots::held(&eni).check(Some(limits))?;
        // An address that is assigned at the same time would not be counted.
        draft.within(owner, |draft| draft.depend(&eni));
    }
    Ok(())
}

impl Control {
    /// An instance by its id, if a client can still see it.
    pub async fn instance(
        &self,
        caller: &Caller,
        id: InstanceId,
    ) -> Result<Stored<Instance>, Error> {
        let region = self.read(caller).await?;
        let found = region.instances.get(&id).cloned();
        found
            .filter(|found| is_visible(found, self.now()))
            .ok_or_else(|| Error::not_found(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_eni, new_instance, place};
    use crate::{AttachNetworkInterface, RunInstances};

    #[tokio::test]
    async fn some_attributes_change_only_while_it_is_stopped() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let id = launched.expect("a launch").instances[0].id;
        let modify = |input| control.modify_instance(&caller, id, input);
        let to_type = |name: &str| ModifyInstance {
            instance_type: Some(name.to_owned()),
            ..ModifyInstance::default()
        };
        let protect = ModifyInstance {
            disable_api_termination: Some(true),
            ..ModifyInstance::default()
        };
        assert_eq!(
            modify(ModifyInstance::default()).await,
            Err(Error::NoAttribute)
        );
        assert_eq!(modify(protect).await, Ok(()));
        assert_eq!(
            modify(to_type("m5.large")).await,
            Err(Error::InstanceNotStopped { id })
        );
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
        let unknown = Error::InstanceTypeUnknown {
            name: "t9.nano".into(),
        };
        assert_eq!(modify(to_type("t9.nano")).await, Err(unknown));
        assert_eq!(modify(to_type("m5.large")).await, Ok(()));
        let instance = control
            .instance(&caller, id)
            .await
            .expect("the instance is there");
        assert_eq!(instance.instance_type, "m5.large");
        assert!(instance.disable_api_termination);
    }

    #[tokio::test]
    async fn a_smaller_type_must_hold_what_the_instance_has() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let large = RunInstances {
            instance_type: Some("m5.large".to_owned()),
            ..new_instance(&place)
        };
        let launched = control.run_instances(&caller, large).await;
        let id = launched.expect("a launch").instances[0].id;
        for device_index in [1, 2] {
            let eni = control
                .create_network_interface(&caller, new_eni(&place))
                .await;
            let request = AttachNetworkInterface {
                eni: eni.expect("an interface").id,
                instance: id,
                device_index,
                network_card_index: 0,
            };
            assert!(
                control
                    .attach_network_interface(&caller, request)
                    .await
                    .is_ok()
            );
        }
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
        let smaller = ModifyInstance {
            instance_type: Some("t3.micro".to_owned()),
            ..ModifyInstance::default()
        };
        let refused = control.modify_instance(&caller, id, smaller).await;
        assert!(matches!(
            refused,
            Err(Error::AttachmentLimitExceeded { count: 3, .. })
        ));
        // With several interfaces, the instance stands for none of them.
        let check = ModifyInstance {
            source_dest_check: Some(false),
            ..ModifyInstance::default()
        };
        let refused = control.modify_instance(&caller, id, check).await;
        assert_eq!(refused, Err(Error::SeveralInterfaces { id }));
    }

    #[tokio::test]
    async fn the_only_interface_is_meant_by_its_instance() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let id = launched.expect("a launch").instances[0].id;
        let modify = |input| control.modify_instance(&caller, id, input);
        let check = ModifyInstance {
            source_dest_check: Some(false),
            ..ModifyInstance::default()
        };
        let groups = ModifyInstance {
            groups: Some(vec![place.groups[0]]),
            ..ModifyInstance::default()
        };
        assert_eq!(modify(check).await, Ok(()));
        assert_eq!(modify(groups).await, Ok(()));
        let region = control.read(&caller).await.expect("the region is alive");
        let mut enis = region.enis_of_instance(id);
        let eni = enis.next().expect("a primary interface");
        assert!(!eni.source_dest_check);
        assert_eq!(eni.groups, [place.groups[0]]);
    }

    #[tokio::test]
    async fn a_protected_instance_is_not_stopped() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let protected = RunInstances {
            disable_api_stop: true,
            ..new_instance(&place)
        };
        let launched = control.run_instances(&caller, protected).await;
        let id = launched.expect("a launch").instances[0].id;
        let refused = control.stop_instances(&caller, &[id]).await;
        assert_eq!(refused, Err(Error::StopDisabled { id }));
        let open = ModifyInstance {
            disable_api_stop: Some(false),
            ..ModifyInstance::default()
        };
        assert_eq!(control.modify_instance(&caller, id, open).await, Ok(()));
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
    }

    #[tokio::test]
    async fn monitoring_is_recorded_and_the_check_reset() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let id = launched.expect("a launch").instances[0].id;
        assert_eq!(control.set_monitoring(&caller, &[id], true).await, Ok(()));
        let found = control.instance(&caller, id).await.expect("the instance");
        assert!(found.recorded.monitoring);
        let unknown = InstanceId(7);
        let refused = control.set_monitoring(&caller, &[id, unknown], false).await;
        assert_eq!(refused, Err(Error::not_found(unknown)));
        let off = ModifyInstance {
            source_dest_check: Some(false),
            ..ModifyInstance::default()
        };
        assert_eq!(control.modify_instance(&caller, id, off).await, Ok(()));
        assert_eq!(
            control.reset_instance_source_dest_check(&caller, id).await,
            Ok(())
        );
        let region = control.read(&caller).await.expect("the region is alive");
        let eni = region.enis_of_instance(id).next();
        assert!(eni.is_some_and(|eni| eni.source_dest_check));
    }
}
