//! Public addresses of interfaces: the Elastic IPs that stand for their private addresses, and the
//! one that an instance is given by itself.
//!
//! An interface's own public address ([`NetworkInterface::public_address`]) stands for its primary
//! private address while no Elastic IP does. Its life follows the instance: given at launch and at
//! start, taken at stop and at the end, taken when an Elastic IP comes and given again when that
//! leaves. See "Public IPv4 addresses" in the EC2 User Guide.
//!
//! Whoever changes an association writes the interface's record as well: of two operations at the
//! same time on one interface, one runs again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use enid_model::address::{ElasticIp, PublicAddressHolder};
use enid_model::id::{AllocationId, EniId};
use enid_model::instance::{DesiredState, Instance};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, Stored};

use crate::attachment::{PRIMARY, attached, place_of};
use crate::{Draft, Error};

/// Which private addresses of an interface have an Elastic IP, and which one.
pub(crate) type Associations = BTreeMap<Ipv4Addr, AllocationId>;

/// The associations of an interface.
pub(crate) fn associations(region: &RegionState, eni: EniId) -> Associations {
    let elastic_ips = region.elastic_ips_of_eni(eni);
    let elastic_ips = elastic_ips.filter_map(|id| region.elastic_ips.get(&id));
    elastic_ips
        .filter_map(|found| Some((found.association?.private_ip, found.id)))
        .collect()
}

/// The public address that stands for a private address of an interface, and the Elastic IP that
/// it is, if it is one.
#[must_use]
pub fn public_address_of<'a>(
    region: &'a RegionState,
    eni: &NetworkInterface,
    private_ip: Ipv4Addr,
) -> Option<(Ipv4Addr, Option<&'a Stored<ElasticIp>>)> {
    region.public_address_of(eni, private_ip)
}

/// Gives an interface a public address of its own.
pub(crate) fn give(draft: &mut Draft<'_>, eni: &mut NetworkInterface) -> Result<(), Error> {
    let holder = PublicAddressHolder::NetworkInterface(eni.id);
    eni.public_address = Some(draft.claim_any_public(holder)?);
    Ok(())
}

/// Takes an interface's own public address.
pub(crate) fn withdraw(draft: &mut Draft<'_>, eni: &mut NetworkInterface) {
    if let Some(address) = eni.public_address.take() {
        draft.release_public(IpAddr::V4(address));
    }
}

/// An instance starts: its interface gets a public address if it shall have one.
pub(crate) fn start(draft: &mut Draft<'_>, instance: &Instance) -> Result<(), Error> {
    let only = only_interface(draft, instance);
    let Some(read) = only.filter(|eni| eni.associate_public_address) else {
        return Ok(());
    };
    if read.public_address.is_none() && associations(&draft.region, read.id).is_empty() {
        let mut eni = NetworkInterface::clone(&read);
        give(draft, &mut eni)?;
        draft.update(&read, eni);
    }
    Ok(())
}

/// An instance stops: what it was given is taken.
pub(crate) fn stop(draft: &mut Draft<'_>, instance: &Instance) {
    let attached = draft.region.enis_of_instance(instance.id).cloned();
    for read in attached.collect::<Vec<_>>() {
        let mut eni = NetworkInterface::clone(&read);
        withdraw(draft, &mut eni);
        draft.edit(&read, |old| *old = eni);
    }
}

/// Puts an interface's own public address right when its Elastic IPs, or its wish for one, have
/// changed. `left` are the associations as they are about to be.
pub(crate) fn settle(
    draft: &mut Draft<'_>,
    eni: &mut NetworkInterface,
    left: &Associations,
) -> Result<(), Error> {
    if left.contains_key(&eni.primary_address()) {
        withdraw(draft, eni);
    } else if left.is_empty() && eni.public_address.is_none() && may_have_one(draft, eni)? {
        match give(draft, eni) {
            // What was taken away is not held back because the pool has nothing to give.
            Ok(()) | Err(Error::InsufficientAddressCapacity) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an interface is one that AWS gives public addresses: the only one of a running
/// instance, which wants one.
pub(crate) fn may_have_one(draft: &mut Draft<'_>, eni: &NetworkInterface) -> Result<bool, Error> {
    let Some(attachment) = eni
        .attachment
        .as_ref()
        .filter(|_| eni.associate_public_address && place_of(eni) == Some(PRIMARY))
    else {
        return Ok(false);
    };
    // Attaching another interface writes the instance, so this depends on there being one only.
    let instance = draft.require::<Instance>(attachment.instance)?;
    let only = only_interface(draft, &instance);
    Ok(instance.desired == DesiredState::Running && only.is_some())
}

/// The interface of an instance that has one, another account's counted as well.
fn only_interface(draft: &Draft<'_>, instance: &Instance) -> Option<Stored<NetworkInterface>> {
    match attached(draft, instance.id).as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// Ends the associations of an interface's addresses that go: the Elastic IPs stay allocated.
/// Returns those that are left.
pub(crate) fn end_associations(
    draft: &mut Draft<'_>,
    eni: EniId,
    goes: impl Fn(Ipv4Addr) -> bool,
) -> Associations {
    let (going, left): (Associations, Associations) = associations(&draft.region, eni)
        .into_iter()
        .partition(|(address, _)| goes(*address));
    for id in going.values() {
        if let Some(read) = draft.region.elastic_ips.get(id).cloned() {
            draft.edit(&read, |elastic_ip| elastic_ip.association = None);
        }
    }
    left
}

/// Moves the associations of addresses to the interface that gets these addresses. Returns those
/// that are left with the one that had them.
pub(crate) fn move_associations(
    draft: &mut Draft<'_>,
    from: EniId,
    to: EniId,
    goes: impl Fn(Ipv4Addr) -> bool,
) -> Associations {
    let (going, left): (Associations, Associations) = associations(&draft.region, from)
        .into_iter()
        .partition(|(address, _)| goes(*address));
    for id in going.values() {
        if let Some(read) = draft.region.elastic_ips.get(id).cloned() {
            draft.edit(&read, |elastic_ip| {
                if let Some(association) = &mut elastic_ip.association {
                    association.eni = to;
                }
            });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use enid_model::id::InstanceId;
    use enid_model::key::Scope;

    use super::*;
    use crate::fixture::{
        Place, caller, control, interface, internet, new_eni, new_instance, place, with_interfaces,
    };
    use crate::{
        AddressSelector, AllocateAddress, AssociateAddress, AssociationTarget,
        AttachNetworkInterface, Control, InterfaceSpecification, ModifyNetworkInterface,
        ModifySubnetAttribute, PublicPools, RunInstances,
    };

    /// A place whose subnet gives public addresses.
    async fn public_place(control: &Control) -> Place {
        let place = place(control, "10.0.0.0/24").await;
        internet(control, &place).await;
        let input = ModifySubnetAttribute {
            map_public_ip_on_launch: Some(true),
            ..ModifySubnetAttribute::default()
        };
        let done = control
            .modify_subnet_attribute(&caller(), place.subnet, input)
            .await;
        assert_eq!(done, Ok(()));
        place
    }

    async fn launch(control: &Control, input: RunInstances) -> Result<InstanceId, Error> {
        let launched = control.run_instances(&caller(), input).await;
        launched.map(|launched| launched.instances[0].id)
    }

    /// The primary interface, and how many public addresses are claimed in all.
    async fn primary(control: &Control, instance: InstanceId) -> NetworkInterface {
        let region = control.read(&caller()).await.expect("a region");
        let mut enis = region.enis_of_instance(instance);
        NetworkInterface::clone(enis.next().expect("a primary interface"))
    }

    fn claimed(control: &Control) -> usize {
        let state = control.store().state();
        let everywhere = state.region(&Scope::everywhere());
        everywhere.map_or(0, |everywhere| everywhere.public_addresses.len())
    }

    #[tokio::test]
    async fn an_address_lives_with_the_run_of_an_instance() {
        let (control, caller) = (control(), caller());
        let place = public_place(&control).await;
        let id = launch(&control, new_instance(&place))
            .await
            .expect("a launch");
        let first = primary(&control, id).await.public_address;
        assert!(first.is_some());
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
        assert_eq!(primary(&control, id).await.public_address, None);
        assert_eq!(claimed(&control), 0);
        assert!(control.start_instances(&caller, &[id]).await.is_ok());
        let second = primary(&control, id).await.public_address;
        assert!(second.is_some() && second != first);
        assert!(control.reboot_instances(&caller, &[id]).await.is_ok());
        assert_eq!(primary(&control, id).await.public_address, second);
        assert!(control.terminate_instances(&caller, &[id]).await.is_ok());
        assert_eq!(claimed(&control), 0);
    }

    #[tokio::test]
    async fn an_elastic_ip_takes_its_place_and_gives_it_back() {
        let (control, caller) = (control(), caller());
        let place = public_place(&control).await;
        let id = launch(&control, new_instance(&place))
            .await
            .expect("a launch");
        let made = control
            .allocate_address(&caller, &AllocateAddress::default())
            .await;
        let input = AssociateAddress {
            address: AddressSelector::Allocation(made.expect("an address").id),
            target: AssociationTarget::Instance(id),
            private_ip: None,
            allow_reassociation: true,
        };
        let association = control.associate_address(&caller, input).await;
        let association = association.expect("it is associated");
        assert_eq!(primary(&control, id).await.public_address, None);
        assert_eq!(claimed(&control), 1);
        // A start gives none while the Elastic IP is there.
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
        assert!(control.start_instances(&caller, &[id]).await.is_ok());
        assert_eq!(claimed(&control), 1);
        let done = control.disassociate_address(&caller, association).await;
        assert_eq!(done, Ok(()));
        assert!(primary(&control, id).await.public_address.is_some());
        // With a second interface, nothing comes back.
        let association = control.associate_address(&caller, input).await;
        let association = association.expect("it is associated");
        let eni = control.create_network_interface(&caller, new_eni(&place));
        let attach = AttachNetworkInterface {
            eni: eni.await.expect("an interface").id,
            instance: id,
            device_index: 1,
            network_card_index: 0,
        };
        let attached = control.attach_network_interface(&caller, attach).await;
        assert!(attached.is_ok());
        let done = control.disassociate_address(&caller, association).await;
        assert_eq!(done, Ok(()));
        assert_eq!(primary(&control, id).await.public_address, None);
        assert!(control.stop_instances(&caller, &[id]).await.is_ok());
        assert!(control.start_instances(&caller, &[id]).await.is_ok());
        assert_eq!(primary(&control, id).await.public_address, None);
    }

    #[tokio::test]
    async fn a_launch_says_whether_it_wants_one() {
        let (control, caller) = (control(), caller());
        let place = public_place(&control).await;
        let wish = |associate: Option<bool>| InterfaceSpecification {
            associate_public_address: associate,
            ..interface(0, place.subnet)
        };
        for (associate, has_one) in [(None, true), (Some(true), true), (Some(false), false)] {
            let input = with_interfaces(&place, &[wish(associate)]);
            let id = launch(&control, input).await.expect("a launch");
            let eni = primary(&control, id).await;
            assert_eq!(eni.public_address.is_some(), has_one, "{associate:?}");
        }
        let second = interface(1, place.subnet);
        let two = with_interfaces(&place, &[wish(None), second.clone()]);
        let id = launch(&control, two).await.expect("a launch");
        assert_eq!(primary(&control, id).await.public_address, None);
        let two = with_interfaces(&place, &[wish(Some(true)), second]);
        let refused = launch(&control, two).await;
        assert_eq!(refused, Err(Error::AssociatePublicSeveral));
        // An interface that exists has what it was made with.
        let eni = control.create_network_interface(&caller, new_eni(&place));
        let eni = eni.await.expect("an interface").id;
        let existing = |associate_public_address| InterfaceSpecification {
            eni: Some(eni),
            subnet: None,
            associate_public_address,
            ..interface(0, place.subnet)
        };
        let refused = launch(&control, with_interfaces(&place, &[existing(Some(false))])).await;
        assert_eq!(refused, Err(Error::AssociatePublicElsewhere));
        let id = launch(&control, with_interfaces(&place, &[existing(None)])).await;
        let id = id.expect("a launch");
        assert!(primary(&control, id).await.public_address.is_some());
        // It outlives the instance, its public address does not.
        assert!(control.terminate_instances(&caller, &[id]).await.is_ok());
        let region = control.read(&caller).await.expect("a region");
        let kept = region.network_interfaces.get(&eni).expect("it is kept");
        assert!(kept.public_address.is_none() && kept.associate_public_address);
    }

    #[tokio::test]
    async fn an_interface_can_change_its_wish_while_it_runs() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let id = launch(&control, new_instance(&place))
            .await
            .expect("a launch");
        let eni = primary(&control, id).await;
        assert_eq!(eni.public_address, None);
        for wish in [true, false] {
            let input = ModifyNetworkInterface {
                associate_public_address: Some(wish),
                ..ModifyNetworkInterface::default()
            };
            let done = control.modify_network_interface(&caller, eni.id, input);
            assert_eq!(done.await, Ok(()));
            let now = primary(&control, id).await.public_address;
            assert_eq!(now.is_some(), wish);
        }
        assert_eq!(claimed(&control), 0);
    }

    #[tokio::test]
    async fn a_launch_without_a_free_address_makes_nothing() {
        let pools = PublicPools {
            ipv4: "198.18.0.0/29".parse().expect("a literal block parses"),
            ..PublicPools::default()
        };
        let control = control().with_pools(pools);
        let place = public_place(&control).await;
        let six = RunInstances {
            min_count: 6,
            max_count: 6,
            ..new_instance(&place)
        };
        let refused = launch(&control, six).await;
        assert_eq!(refused, Err(Error::InsufficientAddressCapacity));
        assert_eq!(claimed(&control), 0);
        let five = RunInstances {
            min_count: 5,
            max_count: 5,
            ..new_instance(&place)
        };
        assert!(launch(&control, five).await.is_ok());
        assert_eq!(claimed(&control), 5);
    }
}
