//! Attributes of a network interface: one per call.

use enid_model::id::{AttachmentId, EniId, SecurityGroupId};
use enid_model::network_interface::{ConnectionTracking, NetworkInterface};

use crate::network_interface::{checked_groups, require_own};
use crate::{AddressingError, Caller, Control, Error, public_address};

/// The input of ModifyNetworkInterfaceAttribute: exactly one attribute is present.
#[derive(Debug, Clone, Default)]
pub struct ModifyNetworkInterface {
    /// A new description.
    pub description: Option<String>,
    /// New security groups, instead of the present ones.
    pub groups: Option<Vec<SecurityGroupId>>,
    /// Whether only packets from or to its own addresses shall pass.
    pub source_dest_check: Option<bool>,
    /// Whether it shall have a public address while it is the only one of a running instance.
    pub associate_public_address: Option<bool>,
    /// Which attachment, and whether the interface shall go with the instance.
    pub attachment: Option<(AttachmentId, bool)>,
    /// Idle timeouts; those that are absent stay as they are.
    pub connection_tracking: Option<ConnectionTracking>,
    /// Whether its first IPv6 address shall be the primary one.
    pub primary_ipv6: Option<bool>,
}

impl Control {
    /// ModifyNetworkInterfaceAttribute.
    pub async fn modify_network_interface(
        &self,
        caller: &Caller,
        id: EniId,
        input: ModifyNetworkInterface,
    ) -> Result<(), Error> {
        only_one(&[
            ("description", input.description.is_some()),
            ("groupSet", input.groups.is_some()),
            ("sourceDestCheck", input.source_dest_check.is_some()),
            ("attachment", input.attachment.is_some()),
            (
                "connectionTrackingSpecification",
                input.connection_tracking.is_some(),
            ),
            ("enablePrimaryIpv6", input.primary_ipv6.is_some()),
            (
                "associatePublicIpAddress",
                input.associate_public_address.is_some(),
            ),
        ])?;
        check_connection_tracking(input.connection_tracking.unwrap_or_default())?;
        self.transact(caller, |draft| {
            let read = require_own(draft, id)?;
            let mut eni = NetworkInterface::clone(&read);
            if let Some(description) = &input.description {
                eni.description.clone_from(description);
            }
            if let Some(groups) = &input.groups {
                if groups.is_empty() {
                    return Err(Error::NoGroups);
                }
                eni.groups = checked_groups(draft, eni.vpc, groups)?;
            }
            if let Some(check) = input.source_dest_check {
                eni.source_dest_check = check;
            }
            if let Some(associate) = input.associate_public_address {
                eni.associate_public_address = associate;
                if associate {
                    let elastic = public_address::associations(&draft.region, id);
                    public_address::settle(draft, &mut eni, &elastic)?;
                } else {
                    public_address::withdraw(draft, &mut eni);
                }
            }
            if let Some((attachment, delete_on_termination)) = input.attachment {
                match &mut eni.attachment {
                    Some(known) if known.id == attachment => {
                        known.delete_on_termination = delete_on_termination;
                    }
                    _ => return Err(Error::not_found(attachment)),
                }
            }
            if let Some(new) = input.connection_tracking {
                let old = eni.connection_tracking;
                eni.connection_tracking = ConnectionTracking {
                    tcp_established_timeout: new
                        .tcp_established_timeout
                        .or(old.tcp_established_timeout),
                    udp_stream_timeout: new.udp_stream_timeout.or(old.udp_stream_timeout),
                    udp_timeout: new.udp_timeout.or(old.udp_timeout),
                };
            }
            match input.primary_ipv6 {
                Some(true) if eni.ipv6_addresses.is_empty() => {
                    return Err(AddressingError::PrimaryIpv6WithoutAddress.into());
                }
                Some(true) => eni.primary_ipv6 = true,
                Some(false) if eni.primary_ipv6 => {
                    return Err(AddressingError::PrimaryIpv6Disabled { id }.into());
                }
                Some(false) | None => {}
            }
            draft.edit(&read, |old| *old = eni);
            Ok(())
        })
        .await
    }

    /// ResetNetworkInterfaceAttribute: source/destination checking is on again.
    pub async fn reset_source_dest_check(&self, caller: &Caller, id: EniId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            draft.edit(&eni, |eni| eni.source_dest_check = true);
            Ok(())
        })
        .await
    }
}

/// Each idle timeout is in the range that AWS permits.
pub(crate) fn check_connection_tracking(timeouts: ConnectionTracking) -> Result<(), Error> {
    let ConnectionTracking {
        tcp_established_timeout,
        udp_stream_timeout,
        udp_timeout,
    } = timeouts;
    for (name, value, range) in [
        (
            "TcpEstablishedTimeout",
            tcp_established_timeout,
            60..=432_000,
        ),
        ("UdpStreamTimeout", udp_stream_timeout, 60..=180),
        ("UdpTimeout", udp_timeout, 30..=60),
    ] {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let (first, last) = range.into_inner();
            return Err(Error::InvalidValue {
                value: value.to_string().into(),
                name,
                why: format!("Expecting a value from {first} to {last}.").into(),
            });
        }
    }
    Ok(())
}

/// AWS takes one attribute per call though its model carries all.
pub(crate) fn only_one(attributes: &[(&str, bool)]) -> Result<(), Error> {
    let present: Vec<&str> = attributes
        .iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| *name)
        .collect();
    match present.as_slice() {
        [_] => Ok(()),
        [] => Err(Error::NoAttribute),
        several => {
            let names = several.join(", ").into();
            Err(Error::SeveralAttributes { names })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_eni, new_instance, place};

    #[tokio::test]
    async fn one_attribute_changes_per_call() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let eni = control
            .create_network_interface(&caller, new_eni(&place))
            .await;
        let id = eni.expect("an interface").id;
        let modify = |input| control.modify_network_interface(&caller, id, input);

        assert_eq!(
            modify(ModifyNetworkInterface::default()).await,
            Err(Error::NoAttribute)
        );
        let two = ModifyNetworkInterface {
            description: Some("x".to_owned()),
            source_dest_check: Some(false),
            ..ModifyNetworkInterface::default()
        };
        assert_eq!(
            modify(two).await.map_err(|error| error.to_string()),
            Err(
                "Fields for multiple attribute types specified: description, sourceDestCheck"
                    .to_owned()
            )
        );
        let groups = |groups: &[SecurityGroupId]| ModifyNetworkInterface {
            groups: Some(groups.to_vec()),
            ..ModifyNetworkInterface::default()
        };
        assert_eq!(modify(groups(&[])).await, Err(Error::NoGroups));
        assert_eq!(
            modify(groups(&place.groups)).await,
            Err(Error::GroupsPerInterfaceLimitExceeded)
        );
        assert_eq!(
            modify(groups(&[place.foreign_group])).await,
            Err(Error::DifferentNetworks)
        );
        assert_eq!(modify(groups(&place.groups[..2])).await, Ok(()));
        let check_off = ModifyNetworkInterface {
            source_dest_check: Some(false),
            ..ModifyNetworkInterface::default()
        };
        assert_eq!(modify(check_off).await, Ok(()));
        let read = || async {
            let region = control.read(&caller).await.expect("the region is alive");
            let eni = region.network_interfaces.get(&id).cloned();
            eni.expect("the interface is there")
        };
        let eni = read().await;
        assert_eq!(eni.groups, place.groups[..2]);
        assert!(!eni.source_dest_check);
        assert_eq!(control.reset_source_dest_check(&caller, id).await, Ok(()));
        assert!(read().await.source_dest_check);
    }

    #[tokio::test]
    async fn an_attachment_is_named_with_its_interface() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let region = control.read(&caller).await.expect("the region is alive");
        let mut enis = region.enis_of_instance(instance);
        let eni = enis.next().expect("a primary interface");
        let attachment = eni.attachment.as_ref().expect("it is attached").id;
        let modify = |attachment| {
            let input = ModifyNetworkInterface {
                attachment: Some((attachment, false)),
                ..ModifyNetworkInterface::default()
            };
            control.modify_network_interface(&caller, eni.id, input)
        };
        let other = AttachmentId(7);
        assert_eq!(modify(other).await, Err(Error::not_found(other)));
        assert_eq!(modify(attachment).await, Ok(()));
        // So the interface outlives its instance.
        let ended = control.terminate_instances(&caller, &[instance]).await;
        assert!(ended.is_ok());
        let region = control.read(&caller).await.expect("the region is alive");
        let kept = region.network_interfaces.get(&eni.id);
        assert!(kept.is_some_and(|eni| eni.attachment.is_none()));
    }

    #[tokio::test]
    async fn idle_timeouts_have_ranges_and_change_one_by_one() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mut input = new_eni(&place);
        input.connection_tracking.tcp_established_timeout = Some(350);
        let eni = control.create_network_interface(&caller, input).await;
        let id = eni.expect("an interface").id;
        let timeouts = |tcp, stream, udp| ConnectionTracking {
            tcp_established_timeout: tcp,
            udp_stream_timeout: stream,
            udp_timeout: udp,
        };
        let modify = async |new| {
            let input = ModifyNetworkInterface {
                connection_tracking: Some(new),
                ..ModifyNetworkInterface::default()
            };
            control.modify_network_interface(&caller, id, input).await
        };
        assert_eq!(modify(timeouts(None, Some(60), Some(60))).await, Ok(()));
        for outside in [
            timeouts(Some(59), None, None),
            timeouts(Some(432_001), None, None),
            timeouts(None, Some(59), None),
            timeouts(None, Some(181), None),
            timeouts(None, None, Some(29)),
            timeouts(None, None, Some(61)),
        ] {
            let refused = modify(outside).await.map_err(|error| error.code());
            assert_eq!(refused, Err("InvalidParameterValue"));
            let mut input = new_eni(&place);
            input.connection_tracking = outside;
            let refused = control.create_network_interface(&caller, input).await;
            assert!(refused.is_err());
        }
        let region = control.read(&caller).await.expect("the region is alive");
        let eni = region.network_interfaces.get(&id);
        assert_eq!(
            eni.map(|eni| eni.connection_tracking),
            Some(timeouts(Some(350), Some(60), Some(60)))
        );
    }
}
