//! The private names of instances: what they are made from, and how they are answered.

use enid_model::id::InstanceId;
use enid_model::private_dns_name::PrivateDnsNameOptions;
use enid_model::subnet::HostnameType;

use crate::instance::require_changeable;
use crate::instance_state::InstanceState;
use crate::{Caller, Control, Error};

/// The options of private names that a client names; the others stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WantedPrivateDnsName {
    /// What the host name is made from.
    pub hostname_type: Option<HostnameType>,
    /// Whether the resource name resolves to the IPv4 address.
    pub a_record: Option<bool>,
    /// Whether the resource name resolves to the IPv6 address.
    pub aaaa_record: Option<bool>,
}

impl WantedPrivateDnsName {
    /// Options with what is named here in place of what they were.
    #[must_use]
    pub fn over(self, options: PrivateDnsNameOptions) -> PrivateDnsNameOptions {
        PrivateDnsNameOptions {
            hostname_type: self.hostname_type.unwrap_or(options.hostname_type),
            resource_name_a_record: self.a_record.unwrap_or(options.resource_name_a_record),
            resource_name_aaaa_record: self
                .aaaa_record
                .unwrap_or(options.resource_name_aaaa_record),
        }
    }
}

impl Control {
    /// ModifyPrivateDnsNameOptions. An instance knows its host name from its boot, so that changes
    /// only while it is stopped.
    pub async fn modify_private_dns_name_options(
        &self,
        caller: &Caller,
        id: InstanceId,
        wanted: WantedPrivateDnsName,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let instance = require_changeable(draft, id)?;
            let old = instance.private_dns_name_options;
            let new = wanted.over(old);
            let is_renamed = new.hostname_type != old.hostname_type;
            if is_renamed && self.instance_state(&instance) != InstanceState::Stopped {
                return Err(Error::InstanceNotStopped { id });
            }
            draft.edit(&instance, |instance| {
                instance.private_dns_name_options = new;
            });
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_instance, place};
    use crate::{ModifySubnetAttribute, RunInstances};

    #[tokio::test]
    async fn an_instance_gets_its_subnets_options_and_may_change_them() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let modify = ModifySubnetAttribute {
            hostname_type: Some(HostnameType::ResourceName),
            ..ModifySubnetAttribute::default()
        };
        let subnet = place.subnet;
        let modified = control
            .modify_subnet_attribute(&caller, subnet, modify)
            .await;
        assert_eq!(modified, Ok(()));
        let input = RunInstances {
            private_dns_name_options: WantedPrivateDnsName {
                a_record: Some(true),
                ..WantedPrivateDnsName::default()
            },
            ..new_instance(&place)
        };
        let launched = control.run_instances(&caller, input).await;
        let instance = launched.expect("a launch").instances.remove(0);
        let options = instance.private_dns_name_options;
        assert_eq!(options.hostname_type, HostnameType::ResourceName);
        assert!(options.resource_name_a_record && !options.resource_name_aaaa_record);

        let id = instance.id;
        let modify = |wanted| control.modify_private_dns_name_options(&caller, id, wanted);
        let records = WantedPrivateDnsName {
            aaaa_record: Some(true),
            ..WantedPrivateDnsName::default()
        };
        assert_eq!(modify(records).await, Ok(()));
        let by_address = WantedPrivateDnsName {
            hostname_type: Some(HostnameType::IpName),
            ..WantedPrivateDnsName::default()
        };
        assert_eq!(
            modify(by_address).await,
            Err(Error::InstanceNotStopped { id })
        );
        let stopped = control.stop_instances(&caller, &[id]).await;
        assert!(stopped.is_ok());
        assert_eq!(modify(by_address).await, Ok(()));
    }
}
