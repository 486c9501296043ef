//! Secondary private addresses of a network interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use enid_model::id::EniId;
use enid_model::instance::Instance;
use enid_model::instance_type::InstanceType;
use enid_model::network_interface::NetworkInterface;
use enid_model::record::Record;
use enid_model::state::{Stored, lease_name};
use enid_model::subnet::{AddressLease, Subnet};

use crate::address_lease::{Claims, check_in_subnet, give_back};
use crate::attachment::largest_ipv4_limit;
use crate::network_interface::require_own;
use crate::public_address::{
    Associations, associations, end_associations, move_associations, settle,
};
use crate::{Caller, Control, Draft, Error};

/// The input of AssignPrivateIpAddresses.
#[derive(Debug, Clone)]
pub struct AssignPrivateAddresses {
    /// The interface.
    pub eni: EniId,
    /// Which addresses; excludes a count.
    pub addresses: Vec<Ipv4Addr>,
    /// How many to choose.
    pub count: Option<u32>,
    /// Whether secondary addresses of other interfaces in the subnet may move to this one.
    pub allow_reassignment: bool,
}

impl Control {
    /// AssignPrivateIpAddresses. Returns the addresses that the interface has got.
    pub async fn assign_private_addresses(
        &self,
        caller: &Caller,
        input: AssignPrivateAddresses,
    ) -> Result<Vec<Ipv4Addr>, Error> {
        let count = match (input.addresses.as_slice(), input.count) {
            ([], None | Some(0)) => return Err(Error::NoAddressesToAssign),
            ([], Some(count)) => usize::try_from(count).unwrap_or(usize::MAX),
            (listed, None) => listed.len(),
            (_, Some(_)) => return Err(Error::AddressListAndCount),
        };
        let mut seen = BTreeSet::new();
        for address in &input.addresses {
            if !seen.insert(*address) {
                return Err(Error::AddressNamedTwice { address: *address });
            }
        }
        self.transact(caller, |draft| {
            let eni = require_own(draft, input.eni)?;
            let subnet = draft.require::<Subnet>(eni.subnet)?;
            let own = |address: &&Ipv4Addr| eni.addresses.contains(address);
            let owned = input.addresses.iter().filter(own).count();
            if eni.addresses.len() + count - owned > addresses_max(draft, &eni)? {
                return Err(Error::PrivateAddressLimitExceeded);
            }
            let mut claims = Claims::default();
            let mut assigned = Vec::new();
            if input.addresses.is_empty() {
                for _ in 0..count {
                    assigned.push(claims.choose(draft, &subnet, eni.id)?);
                }
            } else {
                take_listed(draft, &mut claims, &subnet, &eni, &input)?;
                assigned.clone_from(&input.addresses);
            }
            draft.edit(&eni, |eni| {
                let new = assigned.iter().filter(|a| !eni.addresses.contains(a));
                let new: Vec<_> = new.copied().collect();
                eni.addresses.extend(new);
            });
            Ok(assigned)
        })
        .await
    }

    /// UnassignPrivateIpAddresses.
    pub async fn unassign_private_addresses(
        &self,
        caller: &Caller,
        id: EniId,
        addresses: &[Ipv4Addr],
    ) -> Result<(), Error> {
        if addresses.is_empty() {
            return Err(Error::NoAddressesToUnassign);
        }
        let going: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            if going.contains(&eni.primary_address()) {
                return Err(Error::PrimaryAddressUnassigned);
            }
            if !going.iter().all(|address| eni.addresses.contains(address)) {
                return Err(Error::AddressesNotAssigned { id });
            }
            for address in &going {
                give_back(draft, eni.subnet, *address);
            }
            let left = end_associations(draft, id, |address| going.contains(&address));
            take_away(draft, &eni, &going, &left)?;
            Ok(())
        })
        .await
    }
}

/// Claims listed addresses; those that other interfaces have move if that is allowed. Either all
/// or none, and all that cannot be had are named.
fn take_listed(
    draft: &mut Draft<'_>,
    claims: &mut Claims,
    subnet: &Subnet,
    eni: &NetworkInterface,
    input: &AssignPrivateAddresses,
) -> Result<(), Error> {
    let mut moving: BTreeMap<EniId, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    let mut refused = Vec::new();
    for address in &input.addresses {
        check_in_subnet(subnet, *address)?;
        let lease = draft.region.leases.get(&(subnet.id, *address)).cloned();
        let Some(lease) = lease else {
            claims.take(draft, subnet, *address, eni.id)?;
            continue;
        };
        let holder = draft.require::<NetworkInterface>(lease.eni)?;
        let may_go = holder.primary_address() != *address && holder.requester_id.is_none();
        if !input.allow_reassignment || !may_go {
            refused.push(*address);
        } else if holder.id != eni.id {
            moving.entry(holder.id).or_default().insert(*address);
            let record = Record::AddressLease(AddressLease { eni: eni.id });
            draft.replace(lease_name(subnet.id, *address), lease.revision, record);
        }
    }
    if !refused.is_empty() {
        let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let addresses = texts.join(", ").into();
        return Err(Error::AddressesAssigned { addresses });
    }
    // One edit for each holder: a draft holds one version of a record.
    for (holder, addresses) in moving {
        let holder: Stored<NetworkInterface> = draft.require(holder)?;
        let moves = |address| addresses.contains(&address);
        let left = move_associations(draft, holder.id, eni.id, moves);
        take_away(draft, &holder, &addresses, &left)?;
    }
    Ok(())
}

/// Takes secondary addresses from an interface whose Elastic IPs will be those that are left.
fn take_away(
    draft: &mut Draft<'_>,
    read: &Stored<NetworkInterface>,
    going: &BTreeSet<Ipv4Addr>,
    left: &Associations,
) -> Result<(), Error> {
    let mut eni = NetworkInterface::clone(read);
    eni.addresses.retain(|address| !going.contains(address));
    if left.len() < associations(&draft.region, eni.id).len() {
        settle(draft, &mut eni, left)?;
    }
    draft.update(read, eni);
    Ok(())
}

/// How many addresses an interface may have: by the type of its instance, or as many as any type
/// allows while it is attached to none.
fn addresses_max(draft: &mut Draft<'_>, eni: &NetworkInterface) -> Result<usize, Error> {
    let Some(attachment) = &eni.attachment else {
        return Ok(usize::from(largest_ipv4_limit()));
    };
    let instance = draft.require::<Instance>(attachment.instance)?;
    let found = InstanceType::named(&instance.instance_type);
    Ok(found.map_or(0, |found| usize::from(found.ipv4_per_eni)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Place, caller, control, new_eni, new_instance, place};

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    async fn eni_with(control: &Control, place: &Place, addresses: &[u8]) -> EniId {
        let mut input = new_eni(place);
        input.addresses.listed = addresses
            .iter()
            .enumerate()
            .map(|(at, last)| crate::ListedAddress {
                address: address(*last),
                primary: at == 0,
            })
            .collect();
        let eni = control.create_network_interface(&caller(), input).await;
        eni.expect("the addresses are free").id
    }

    fn listed(eni: EniId, last: &[u8], allow_reassignment: bool) -> AssignPrivateAddresses {
        AssignPrivateAddresses {
            eni,
            addresses: last.iter().map(|last| address(*last)).collect(),
            count: None,
            allow_reassignment,
        }
    }

    async fn addresses_of(control: &Control, eni: EniId) -> Vec<Ipv4Addr> {
        let region = control.read(&caller()).await.expect("the region is alive");
        let eni = region.network_interfaces.get(&eni);
        eni.expect("the interface is there").addresses.clone()
    }

    #[tokio::test]
    async fn addresses_are_assigned_all_or_none() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let one = eni_with(&control, &place, &[10]).await;
        let two = eni_with(&control, &place, &[20, 21]).await;
        let assign = |input| {
            let control = &control;
            async move { control.assign_private_addresses(&caller(), input).await }
        };
        assert_eq!(
            assign(listed(one, &[11, 12], false)).await.map(|a| a.len()),
            Ok(2)
        );
        let refused = assign(listed(one, &[13, 21, 20], false)).await;
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("[10.0.0.21, 10.0.0.20] assigned, but move is not allowed.".to_owned())
        );
        // A primary address never moves.
        assert!(assign(listed(one, &[21, 20], true)).await.is_err());
        assert_eq!(addresses_of(&control, one).await, [10, 11, 12].map(address));
        assert_eq!(addresses_of(&control, two).await, [20, 21].map(address));
        assert!(assign(listed(one, &[21], true)).await.is_ok());
        assert_eq!(
            addresses_of(&control, one).await,
            [10, 11, 12, 21].map(address)
        );
        assert_eq!(addresses_of(&control, two).await, [address(20)]);
        // The claim has moved too: the address is free only when its new holder gives it up.
        assert!(assign(listed(two, &[21], false)).await.is_err());
        let gone = control
            .unassign_private_addresses(&caller(), one, &[address(21)])
            .await;
        assert_eq!(gone, Ok(()));
        assert!(assign(listed(two, &[21], false)).await.is_ok());
    }

    #[tokio::test]
    async fn several_addresses_of_one_holder_move_together() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let one = eni_with(&control, &place, &[10]).await;
        let two = eni_with(&control, &place, &[20, 21, 22]).await;
        let moved = control
            .assign_private_addresses(&caller(), listed(one, &[21, 22], true))
            .await;
        assert!(moved.is_ok());
        assert_eq!(addresses_of(&control, two).await, [address(20)]);
        assert_eq!(addresses_of(&control, one).await, [10, 21, 22].map(address));
    }

    #[tokio::test]
    async fn a_count_chooses_and_the_type_limits() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller(), new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let region = control.read(&caller()).await.expect("the region is alive");
        let mut enis = region.enis_of_instance(instance);
        let eni = enis.next().expect("a primary interface").id;
        let counted = |count| AssignPrivateAddresses {
            count,
            ..listed(eni, &[], false)
        };
        let assign = |input| {
            let control = &control;
            async move { control.assign_private_addresses(&caller(), input).await }
        };
        let limit = Err(Error::PrivateAddressLimitExceeded);
        assert_eq!(assign(counted(Some(2))).await, limit);
        assert_eq!(assign(counted(Some(1))).await.map(|a| a.len()), Ok(1));
        assert_eq!(assign(counted(Some(1))).await, limit);
        assert_eq!(assign(counted(None)).await, Err(Error::NoAddressesToAssign));
        let both = AssignPrivateAddresses {
            count: Some(1),
            ..listed(eni, &[9], false)
        };
        assert_eq!(assign(both).await, Err(Error::AddressListAndCount));
    }

    #[tokio::test]
    async fn only_own_secondary_addresses_are_unassigned() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let eni = eni_with(&control, &place, &[10, 11]).await;
        let unassign = |last: &'static [u8]| {
            let control = &control;
            async move {
                let addresses: Vec<_> = last.iter().map(|last| address(*last)).collect();
                control
                    .unassign_private_addresses(&caller(), eni, &addresses)
                    .await
            }
        };
        assert_eq!(unassign(&[10]).await, Err(Error::PrimaryAddressUnassigned));
        let foreign = Err(Error::AddressesNotAssigned { id: eni });
        assert_eq!(unassign(&[11, 12]).await, foreign);
        assert_eq!(addresses_of(&control, eni).await, [10, 11].map(address));
        assert_eq!(unassign(&[11]).await, Ok(()));
        assert_eq!(unassign(&[11]).await, foreign);
    }
}
