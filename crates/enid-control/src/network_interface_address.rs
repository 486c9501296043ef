//! Secondary private addresses of a network interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use enid_model::id::EniId;
use enid_model::network_interface::NetworkInterface;
use enid_model::record::Record;
use enid_model::state::{Stored, lease_name};
use enid_model::subnet::{AddressLease, Subnet};
use ipnet::Ipv4Net;

use crate::address_lease::{Claims, addresses_of, check_in_subnet, give_back};
use crate::address_limit::Slots;
use crate::network_interface::require_own;
use crate::public_address::{
    Associations, associations, end_associations, move_associations, settle,
};
use crate::{AddressingError, Caller, Control, Draft, Error};

/// The input of AssignPrivateIpAddresses.
#[derive(Debug, Clone, Default)]
pub struct AssignPrivateAddresses {
    /// The interface.
    pub eni: EniId,
    /// Which addresses; excludes a count.
    pub addresses: Vec<Ipv4Addr>,
    /// How many to choose.
    pub count: Option<u32>,
    /// Which prefixes; excludes the other three.
    pub prefixes: Vec<Ipv4Net>,
    /// How many prefixes to choose.
    pub prefix_count: Option<u32>,
    /// Whether secondary addresses of other interfaces in the subnet may move to this one.
    pub allow_reassignment: bool,
}

/// What AssignPrivateIpAddresses has assigned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssignedPrivateAddresses {
    /// Addresses, those that the interface had already included.
    pub addresses: Vec<Ipv4Addr>,
    /// Prefixes.
    pub prefixes: Vec<Ipv4Net>,
}

impl AssignPrivateAddresses {
    /// How many addresses and prefixes are asked for: in one way only.
    fn counts(&self) -> Result<(usize, usize), Error> {
        let number = |count: Option<u32>| usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX);
        let (listed, prefixes) = (self.addresses.len(), self.prefixes.len());
        let (count, prefix_count) = (number(self.count), number(self.prefix_count));
        let kinds = [listed, count, prefixes, prefix_count];
        match kinds.into_iter().filter(|kind| *kind > 0).count() {
            0 => return Err(Error::NoAddressesToAssign),
            1 => {}
            _ if listed > 0 && count > 0 => return Err(Error::AddressListAndCount),
            _ => return Err(AddressingError::AddressKindsMixed.into()),
        }
        let mut seen = BTreeSet::new();
        let bases = self.prefixes.iter().map(Ipv4Net::network);
        for address in self.addresses.iter().copied().chain(bases) {
            if !seen.insert(address) {
                return Err(Error::AddressNamedTwice { address });
            }
        }
        Ok((listed.max(count), prefixes.max(prefix_count)))
    }
}

impl Control {
    /// AssignPrivateIpAddresses. Returns what the interface has got.
    pub async fn assign_private_addresses(
        &self,
        caller: &Caller,
        input: AssignPrivateAddresses,
    ) -> Result<AssignedPrivateAddresses, Error> {
        let (count, prefix_count) = input.counts()?;
        self.transact(caller, |draft| {
            let eni = require_own(draft, input.eni)?;
            let subnet = draft.require::<Subnet>(eni.subnet)?;
            let own = |address: &&Ipv4Addr| eni.addresses.contains(address);
            let owned = input.addresses.iter().filter(own).count();
            let mut slots = Slots::held(&eni);
            slots.add_ipv4(count - owned, prefix_count);
            slots.check_attached(draft, &eni)?;
            let mut claims = Claims::default();
            let mut assigned = AssignedPrivateAddresses::default();
            for prefix in &input.prefixes {
                claims.take_prefix(draft, &subnet, *prefix, eni.id)?;
                assigned.prefixes.push(*prefix);
            }
            for _ in input.prefixes.len()..prefix_count {
                let prefix = claims.choose_prefix(draft, &subnet, eni.id)?;
                assigned.prefixes.push(prefix);
            }
            if input.addresses.is_empty() {
                for _ in 0..count {
                    let address = claims.choose(draft, &subnet, eni.id)?;
                    assigned.addresses.push(address);
                }
            } else {
                take_listed(draft, &mut claims, &subnet, &eni, &input)?;
                assigned.addresses.clone_from(&input.addresses);
            }
            draft.edit(&eni, |eni| {
                let new = assigned.addresses.iter();
                let new: Vec<_> = new
                    .filter(|a| !eni.addresses.contains(a))
                    .copied()
                    .collect();
                eni.addresses.extend(new);
                eni.ipv4_prefixes.extend(&assigned.prefixes);
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
        prefixes: &[Ipv4Net],
    ) -> Result<(), Error> {
        if addresses.is_empty() && prefixes.is_empty() {
            return Err(Error::NoAddressesToUnassign);
        }
        let going: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
        let prefixes: BTreeSet<Ipv4Net> = prefixes.iter().copied().collect();
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            if going.contains(&eni.primary_address()) {
                return Err(Error::PrimaryAddressUnassigned);
            }
            let has_prefix = |prefix| eni.ipv4_prefixes.contains(prefix);
            if !going.iter().all(|address| eni.addresses.contains(address))
                || !prefixes.iter().all(has_prefix)
            {
                return Err(Error::AddressesNotAssigned { id });
            }
            let delegated = prefixes.iter().flat_map(|prefix| addresses_of(*prefix));
            for address in going.iter().copied().chain(delegated) {
                give_back(draft, eni.subnet, address);
            }
            let left = end_associations(draft, id, |address| going.contains(&address));
            take_away(draft, &eni, &going, &prefixes, &left)?;
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
        // An address of a delegated prefix is none of these.
        let mut secondary = holder.addresses.iter().skip(1);
        let is_secondary = secondary.any(|known| known == address);
        let may_go = is_secondary && holder.requester_id.is_none();
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
        take_away(draft, &holder, &addresses, &BTreeSet::new(), &left)?;
    }
    Ok(())
}

/// Takes secondary addresses and prefixes from an interface whose Elastic IPs will be those that are left.
fn take_away(
    draft: &mut Draft<'_>,
    read: &Stored<NetworkInterface>,
    going: &BTreeSet<Ipv4Addr>,
    prefixes: &BTreeSet<Ipv4Net>,
    left: &Associations,
) -> Result<(), Error> {
    let mut eni = NetworkInterface::clone(read);
    eni.addresses.retain(|address| !going.contains(address));
    eni.ipv4_prefixes
        .retain(|prefix| !prefixes.contains(prefix));
    if left.len() < associations(&draft.region, eni.id).len() {
        settle(draft, &mut eni, left)?;
    }
    draft.update(read, eni);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

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
            prefixes: Vec::new(),
            prefix_count: None,
            allow_reassignment,
        }
    }

    async fn held_by(control: &Control, eni: EniId) -> Vec<Ipv4Addr> {
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
            assign(listed(one, &[11, 12], false))
                .await
                .map(|a| a.addresses.len()),
            Ok(2)
        );
        let refused = assign(listed(one, &[13, 21, 20], false)).await;
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("[10.0.0.21, 10.0.0.20] assigned, but move is not allowed.".to_owned())
        );
        // A primary address never moves.
        assert!(assign(listed(one, &[21, 20], true)).await.is_err());
        assert_eq!(held_by(&control, one).await, [10, 11, 12].map(address));
        assert_eq!(held_by(&control, two).await, [20, 21].map(address));
        assert!(assign(listed(one, &[21], true)).await.is_ok());
        assert_eq!(held_by(&control, one).await, [10, 11, 12, 21].map(address));
        assert_eq!(held_by(&control, two).await, [address(20)]);
        // The claim has moved too: the address is free only when its new holder gives it up.
        assert!(assign(listed(two, &[21], false)).await.is_err());
        let gone = control
            .unassign_private_addresses(&caller(), one, &[address(21)], &[])
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
        assert_eq!(held_by(&control, two).await, [address(20)]);
        assert_eq!(held_by(&control, one).await, [10, 21, 22].map(address));
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
        assert_eq!(
            assign(counted(Some(1))).await.map(|a| a.addresses.len()),
            Ok(1)
        );
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
                    .unassign_private_addresses(&caller(), eni, &addresses, &[])
                    .await
            }
        };
        assert_eq!(unassign(&[10]).await, Err(Error::PrimaryAddressUnassigned));
        let foreign = Err(Error::AddressesNotAssigned { id: eni });
        assert_eq!(unassign(&[11, 12]).await, foreign);
        assert_eq!(held_by(&control, eni).await, [10, 11].map(address));
        assert_eq!(unassign(&[11]).await, Ok(()));
        assert_eq!(unassign(&[11]).await, foreign);
    }

    /// A /26 has two prefixes between the first and the last, which hold reserved addresses.
    #[tokio::test]
    async fn prefixes_are_whole_free_blocks() {
        let control = control();
        let place = place(&control, "10.0.0.0/26").await;
        let eni = eni_with(&control, &place, &[60]).await;
        let prefixes = |prefixes: &[&str], prefix_count| AssignPrivateAddresses {
            prefixes: prefixes
                .iter()
                .map(|text| crate::parse_prefix(text).expect("a prefix"))
                .collect(),
            prefix_count,
            ..listed(eni, &[], false)
        };
        let assign = |input| {
            let control = &control;
            async move { control.assign_private_addresses(&caller(), input).await }
        };
        let prefix = |last| IpNet::V4(Ipv4Net::new_assert(address(last), 28));
        for (text, error) in [
            (
                "10.0.0.0/28",
                AddressingError::PrefixReserved { prefix: prefix(0) }.into(),
            ),
            (
                "10.0.0.48/28",
                AddressingError::PrefixReserved { prefix: prefix(48) }.into(),
            ),
            (
                "10.0.0.64/28",
                AddressingError::PrefixOutsideSubnet { prefix: prefix(64) }.into(),
            ),
        ] {
            assert_eq!(assign(prefixes(&[text], None)).await, Err(error));
        }
        let mixed = AssignPrivateAddresses {
            count: Some(1),
            ..prefixes(&[], Some(1))
        };
        assert_eq!(
            assign(mixed).await,
            Err(AddressingError::AddressKindsMixed.into())
        );
        let first = assign(prefixes(&["10.0.0.16/28"], None)).await;
        let first = first.expect("it is free").prefixes;
        assert_eq!(first, [Ipv4Net::new_assert(address(16), 28)]);
        let taken = assign(prefixes(&["10.0.0.16/28"], None)).await;
        assert_eq!(
            taken,
            Err(AddressingError::PrefixInUse { prefix: prefix(16) }.into())
        );
        // Its addresses are nobody else's, whether they may move or not.
        let other = eni_with(&control, &place, &[61]).await;
        for allow in [false, true] {
            let refused = assign(listed(other, &[20], allow)).await;
            assert!(matches!(refused, Err(Error::AddressesAssigned { .. })));
        }
        let region = control.read(&caller()).await.expect("the region is alive");
        let subnet = region.subnets.get(&place.subnet).expect("the subnet");
        assert_eq!(crate::available_addresses(&region, subnet), 59 - 16 - 2);

        let second = assign(prefixes(&[], Some(1))).await;
        let second = second.expect("one is left").prefixes;
        assert_eq!(second, [Ipv4Net::new_assert(address(32), 28)]);
        let none = assign(prefixes(&[], Some(1))).await;
        assert_eq!(none, Err(AddressingError::InsufficientCidrBlocks.into()));
        let go = |prefixes: Vec<Ipv4Net>| {
            let control = &control;
            async move {
                control
                    .unassign_private_addresses(&caller(), eni, &[], &prefixes)
                    .await
            }
        };
        assert_eq!(go(first.clone()).await, Ok(()));
        let foreign = Err(Error::AddressesNotAssigned { id: eni });
        assert_eq!(go(first).await, foreign);
        // An address in the middle of the free block leaves no room for the prefix.
        assert!(assign(listed(eni, &[20], false)).await.is_ok());
        let none = assign(prefixes(&[], Some(1))).await;
        assert_eq!(none, Err(AddressingError::InsufficientCidrBlocks.into()));
        assert_eq!(
            control.delete_network_interface(&caller(), eni).await,
            Ok(())
        );
        let region = control.read(&caller()).await.expect("the region is alive");
        assert_eq!(region.leased_count(place.subnet), 1);
    }
}
