//! IPv6 addresses and prefixes of a network interface.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use enid_model::id::EniId;
use enid_model::subnet::Subnet;
use ipnet::Ipv6Net;

use crate::address_lease::Claims;
use crate::address_limit::Slots;
use crate::ipv6_lease::{WantedIpv6Addresses, give_back_ipv6_address, give_back_ipv6_prefix};
use crate::network_interface::require_own;
use crate::{AddressingError, Caller, Control, Error};

/// Addresses and prefixes that an interface has got or lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipv6Addresses {
    /// The addresses.
    pub addresses: Vec<Ipv6Addr>,
    /// The prefixes.
    pub prefixes: Vec<Ipv6Net>,
}

impl Control {
    /// AssignIpv6Addresses. Returns what the interface has got.
    pub async fn assign_ipv6_addresses(
        &self,
        caller: &Caller,
        id: EniId,
        wanted: &WantedIpv6Addresses,
    ) -> Result<Ipv6Addresses, Error> {
        let mut wish = wanted.resolve()?;
        // Unlike for a new interface, the subnet adds nothing to what is asked for.
        let automatic = wish.automatic.unwrap_or(0);
        wish.automatic = Some(automatic);
        let automatic = usize::try_from(automatic).unwrap_or(usize::MAX);
        let count = wish.addresses.len().saturating_add(automatic);
        if count == 0 && wish.prefix_count() == 0 {
            return Err(AddressingError::NoIpv6ToAssign.into());
        }
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            let subnet = draft.require::<Subnet>(eni.subnet)?;
            let mut slots = Slots::held(&eni);
            slots.add_ipv6(count, wish.prefix_count());
            slots.check_attached(draft, &eni)?;
            let held = Claims::default().fulfil_ipv6(draft, &subnet, &wish, eni.id)?;
            draft.edit(&eni, |eni| {
                eni.ipv6_addresses.extend(&held.addresses);
                eni.ipv6_prefixes.extend(&held.prefixes);
            });
            Ok(Ipv6Addresses {
                addresses: held.addresses,
                prefixes: held.prefixes,
            })
        })
        .await
    }

    /// UnassignIpv6Addresses.
    pub async fn unassign_ipv6_addresses(
        &self,
        caller: &Caller,
        id: EniId,
        going: &Ipv6Addresses,
    ) -> Result<(), Error> {
        if going.addresses.is_empty() && going.prefixes.is_empty() {
            return Err(AddressingError::NoIpv6ToUnassign.into());
        }
        let addresses: BTreeSet<Ipv6Addr> = going.addresses.iter().copied().collect();
        let prefixes: BTreeSet<Ipv6Net> = going.prefixes.iter().copied().collect();
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            let primary = eni.ipv6_addresses.first();
            if eni.primary_ipv6 && primary.is_some_and(|primary| addresses.contains(primary)) {
                return Err(AddressingError::PrimaryIpv6Unassigned.into());
            }
            let mut known = addresses.iter().map(|a| eni.ipv6_addresses.contains(a));
            let mut known_prefixes = prefixes.iter().map(|p| eni.ipv6_prefixes.contains(p));
            if !known.all(|is_own| is_own) || !known_prefixes.all(|is_own| is_own) {
                return Err(Error::AddressesNotAssigned { id });
            }
            for address in &addresses {
                give_back_ipv6_address(draft, eni.subnet, *address);
            }
            for prefix in &prefixes {
                give_back_ipv6_prefix(draft, eni.subnet, *prefix);
            }
            draft.edit(&eni, |eni| {
                eni.ipv6_addresses.retain(|a| !addresses.contains(a));
                eni.ipv6_prefixes.retain(|p| !prefixes.contains(p));
            });
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use enid_model::network_interface::{ConnectionTracking, NetworkInterface};
    use enid_model::subnet::ReservationKind;

    use super::*;
    use crate::fixture::{caller, control, new_instance, place};
    use crate::{
        AttachNetworkInterface, CreateNetworkInterface, CreateSubnet, CreateSubnetCidrReservation,
        CreateVpc, ModifyNetworkInterface, ModifySubnetAttribute, WantedAddresses, WantedIpv6Block,
        parse_ipv6_prefix,
    };

    /// A VPC with one subnet in the first zone, and the subnet's IPv6 block.
    async fn dual(control: &Control) -> (Subnet, u128) {
        let vpc = CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ipv6: Some(WantedIpv6Block::AmazonProvided),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller(), &vpc).await.expect("a VPC");
        let mut input = CreateSubnet::new(vpc.id, "10.0.0.0/24");
        let base = vpc.ipv6_cidrs[0].cidr.network();
        input.ipv6_cidr_block = Some(format!("{base}/64"));
        let subnet = control.create_subnet(&caller(), &input).await;
        (subnet.expect("a subnet"), base.into())
    }

    async fn create(
        control: &Control,
        subnet: &Subnet,
        ipv6: WantedIpv6Addresses,
    ) -> Result<NetworkInterface, Error> {
        let input = CreateNetworkInterface {
            subnet: subnet.id,
            description: String::new(),
            groups: Vec::new(),
            addresses: WantedAddresses::default(),
            ipv6,
            connection_tracking: ConnectionTracking::default(),
            client_token: None,
            tags: Vec::new(),
        };
        control.create_network_interface(&caller(), input).await
    }

    fn named(addresses: &[Ipv6Addr]) -> WantedIpv6Addresses {
        WantedIpv6Addresses {
            addresses: addresses.to_vec(),
            ..WantedIpv6Addresses::default()
        }
    }

    fn counted(count: Option<u32>, prefix_count: Option<u32>) -> WantedIpv6Addresses {
        WantedIpv6Addresses {
            count,
            prefix_count,
            ..WantedIpv6Addresses::default()
        }
    }

    #[tokio::test]
    async fn addresses_are_the_subnets_and_nobody_elses() {
        let control = control();
        let (subnet, base) = dual(&control).await;
        let at = |offset: u128| Ipv6Addr::from(base + offset);
        let eni = create(&control, &subnet, named(&[at(16), at(17)])).await;
        let eni = eni.expect("the addresses are free");
        assert_eq!(eni.ipv6_addresses, [at(16), at(17)]);
        let other = create(&control, &subnet, counted(Some(2), None)).await;
        let other = other.expect("an interface");
        assert_eq!(other.ipv6_addresses.len(), 2);
        let assign = async |wanted| {
            control
                .assign_ipv6_addresses(&caller(), other.id, &wanted)
                .await
        };
        let last = at(u128::from(u64::MAX));
        for (address, error) in [
            (
                at(16),
                AddressingError::Ipv6AddressInUse { address: at(16) }.into(),
            ),
            (at(3), Error::AddressReserved),
            (last, Error::AddressReserved),
            (
                at(1 << 64),
                AddressingError::Ipv6AddressOutsideSubnet {
                    address: at(1 << 64),
                }
                .into(),
            ),
        ] {
            assert_eq!(assign(named(&[at(30), address])).await, Err(error));
        }
        assert_eq!(
            assign(counted(None, None)).await,
            Err(AddressingError::NoIpv6ToAssign.into())
        );
        let twice = assign(named(&[at(30), at(30)])).await;
        assert!(matches!(
            twice,
            Err(Error::AddressingError(
                AddressingError::Ipv6NamedTwice { .. }
            ))
        ));
        let both = WantedIpv6Addresses {
            count: Some(1),
            ..named(&[at(30)])
        };
        assert_eq!(
            assign(both).await,
            Err(AddressingError::Ipv6ListAndCount.into())
        );
        let mixed = assign(counted(Some(1), Some(1))).await;
        assert_eq!(mixed, Err(AddressingError::Ipv6KindsMixed.into()));

        let go = async |id, addresses: &[Ipv6Addr]| {
            let going = Ipv6Addresses {
                addresses: addresses.to_vec(),
                ..Ipv6Addresses::default()
            };
            control.unassign_ipv6_addresses(&caller(), id, &going).await
        };
        let foreign = Err(Error::AddressesNotAssigned { id: eni.id });
        assert_eq!(go(eni.id, &[at(16), at(30)]).await, foreign);
        assert_eq!(
            go(eni.id, &[]).await,
            Err(AddressingError::NoIpv6ToUnassign.into())
        );
        assert_eq!(go(eni.id, &[at(16)]).await, Ok(()));
        assert!(assign(named(&[at(16)])).await.is_ok());
        assert_eq!(
            control.delete_network_interface(&caller(), other.id).await,
            Ok(())
        );
        let region = control.read(&caller()).await.expect("a region");
        assert_eq!(region.ipv6_leases.len(), 1);
    }

    #[tokio::test]
    async fn a_prefix_and_its_addresses_exclude_each_other() {
        let control = control();
        let (subnet, base) = dual(&control).await;
        let at = |offset: u128| Ipv6Addr::from(base + offset);
        let prefix = |number: u128| Ipv6Net::new_assert(at(number << 48), 80);
        let wanted = |prefixes: &[Ipv6Net]| WantedIpv6Addresses {
            prefixes: prefixes.to_vec(),
            ..WantedIpv6Addresses::default()
        };
        let eni = create(&control, &subnet, wanted(&[prefix(1)])).await;
        let eni = eni.expect("it is free").id;
        let assign = async |wanted| control.assign_ipv6_addresses(&caller(), eni, &wanted).await;
        let inside = at((1 << 48) + 9);
        assert_eq!(
            assign(named(&[inside])).await,
            Err(AddressingError::Ipv6AddressInUse { address: inside }.into())
        );
        let taken = assign(wanted(&[prefix(1)])).await;
        let in_use = |number| {
            AddressingError::PrefixInUse {
                prefix: prefix(number).into(),
            }
            .into()
        };
        assert_eq!(taken, Err(in_use(1)));
        assert!(assign(named(&[at(2 << 48)])).await.is_ok());
        assert_eq!(assign(wanted(&[prefix(2)])).await, Err(in_use(2)));
        for number in [0, (1 << 16) - 1] {
            let refused = assign(wanted(&[prefix(number)])).await;
            let reserved = AddressingError::PrefixReserved {
                prefix: prefix(number).into(),
            }
            .into();
            assert_eq!(refused, Err(reserved));
        }
        let outside = assign(wanted(&[prefix(1 << 16)])).await;
        assert!(matches!(
            outside,
            Err(Error::AddressingError(
                AddressingError::PrefixOutsideSubnet { .. }
            ))
        ));
        let chosen = assign(counted(None, Some(2))).await.expect("two are free");
        assert_eq!(chosen.prefixes.len(), 2);
        let going = Ipv6Addresses {
            prefixes: vec![prefix(1)],
            ..Ipv6Addresses::default()
        };
        let gone = control
            .unassign_ipv6_addresses(&caller(), eni, &going)
            .await;
        assert_eq!(gone, Ok(()));
        assert!(assign(named(&[inside])).await.is_ok());
        for text in [
            "2001:db8::/64",
            "2001:db8::1/80",
            "2001:db8::",
            "10.0.0.0/28",
        ] {
            assert!(parse_ipv6_prefix(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn automatic_ones_respect_reservations() {
        let control = control();
        let (subnet, base) = dual(&control).await;
        let part = |number: u128| Ipv6Net::new_assert((base + (number << 62)).into(), 66);
        let reserve = async |cidr: Ipv6Net, kind| {
            let input = CreateSubnetCidrReservation {
                subnet: subnet.id,
                cidr: cidr.to_string(),
                kind,
                description: None,
                tags: Vec::new(),
            };
            let made = control
                .create_subnet_cidr_reservation(&caller(), &input)
                .await;
            assert!(made.is_ok());
        };
        // Three quarters are kept: one for prefixes, two for who names addresses.
        reserve(part(1), ReservationKind::Prefix).await;
        reserve(part(2), ReservationKind::Explicit).await;
        reserve(part(3), ReservationKind::Explicit).await;
        for _ in 0..8 {
            let eni = create(&control, &subnet, counted(Some(2), None)).await;
            let eni = eni.expect("a quarter is free");
            assert!(eni.ipv6_addresses.iter().all(|a| part(0).contains(a)));
            let prefixes = counted(None, Some(2));
            let got = control
                .assign_ipv6_addresses(&caller(), eni.id, &prefixes)
                .await;
            let got = got.expect("a quarter is kept");
            assert!(got.prefixes.iter().all(|prefix| part(1).contains(prefix)));
        }
    }

    #[tokio::test]
    async fn a_subnet_gives_an_address_unless_told_not_to() {
        let control = control();
        let (subnet, base) = dual(&control).await;
        let on = ModifySubnetAttribute {
            assign_ipv6_address_on_creation: Some(true),
            ..ModifySubnetAttribute::default()
        };
        let on = control
            .modify_subnet_attribute(&caller(), subnet.id, on)
            .await;
        assert_eq!(on, Ok(()));
        let count = async |wanted| {
            let eni = create(&control, &subnet, wanted)
                .await
                .expect("an interface");
            (eni.ipv6_addresses.len(), eni.ipv6_prefixes.len())
        };
        assert_eq!(count(counted(None, None)).await, (1, 0));
        assert_eq!(count(counted(Some(0), None)).await, (0, 0));
        assert_eq!(count(counted(Some(2), None)).await, (2, 0));
        assert_eq!(count(counted(None, Some(1))).await, (0, 1));
        assert_eq!(count(named(&[(base + 77).into()])).await, (1, 0));
        let place = place(&control, "10.0.0.0/24").await;
        let mut input = crate::fixture::new_eni(&place);
        input.ipv6.count = Some(1);
        let without = control.create_network_interface(&caller(), input).await;
        assert_eq!(
            without,
            Err(AddressingError::SubnetWithoutIpv6 { id: place.subnet }.into())
        );
    }

    #[tokio::test]
    async fn a_primary_address_is_one_for_good() {
        let control = control();
        let (subnet, base) = dual(&control).await;
        let primary = |ipv6| WantedIpv6Addresses {
            primary: true,
            ..ipv6
        };
        let without = create(&control, &subnet, primary(counted(None, None))).await;
        assert_eq!(
            without,
            Err(AddressingError::PrimaryIpv6WithoutAddress.into())
        );
        let eni = create(&control, &subnet, primary(named(&[(base + 9).into()]))).await;
        let eni = eni.expect("an interface");
        assert!(eni.primary_ipv6);
        let going = Ipv6Addresses {
            addresses: eni.ipv6_addresses.clone(),
            ..Ipv6Addresses::default()
        };
        let go = async |id| control.unassign_ipv6_addresses(&caller(), id, &going).await;
        assert_eq!(
            go(eni.id).await,
            Err(AddressingError::PrimaryIpv6Unassigned.into())
        );
        let set = async |id, primary_ipv6| {
            let input = ModifyNetworkInterface {
                primary_ipv6: Some(primary_ipv6),
                ..ModifyNetworkInterface::default()
            };
            control.modify_network_interface(&caller(), id, input).await
        };
        let id = eni.id;
        assert_eq!(
            set(id, false).await,
            Err(AddressingError::PrimaryIpv6Disabled { id }.into())
        );
        assert_eq!(set(id, true).await, Ok(()));
        let plain = create(&control, &subnet, counted(None, None)).await;
        let plain = plain.expect("an interface").id;
        assert_eq!(set(plain, false).await, Ok(()));
        let without = set(plain, true).await;
        assert_eq!(
            without,
            Err(AddressingError::PrimaryIpv6WithoutAddress.into())
        );
    }

    #[tokio::test]
    async fn a_type_limits_what_its_instances_may_have() {
        let control = control();
        let (subnet, _) = dual(&control).await;
        let place = place(&control, "10.0.0.0/24").await;
        let launch = async |instance_type: &str| {
            let mut input = new_instance(&place);
            input.subnet = Some(subnet.id);
            input.instance_type = Some(instance_type.to_owned());
            let launched = control.run_instances(&caller(), input).await;
            launched.expect("a launch").instances[0].id
        };
        let instance = launch("t3.micro").await;
        let attach = async |eni, instance| {
            let request = AttachNetworkInterface {
                eni,
                instance,
                device_index: 1,
                network_card_index: 0,
            };
            control.attach_network_interface(&caller(), request).await
        };
        // Two of each family, a prefix counting like an address.
        let many = create(&control, &subnet, counted(Some(3), None)).await;
        let many = many.expect("an interface of no instance").id;
        let refused = attach(many, instance).await;
        assert_eq!(
            refused,
            Err(AddressingError::Ipv6AddressLimitExceeded.into())
        );
        let eni = create(&control, &subnet, counted(Some(1), None)).await;
        let eni = eni.expect("an interface").id;
        assert!(attach(eni, instance).await.is_ok());
        let assign = async |wanted| control.assign_ipv6_addresses(&caller(), eni, &wanted).await;
        let over = assign(counted(None, Some(2))).await;
        assert_eq!(over, Err(AddressingError::Ipv6AddressLimitExceeded.into()));
        assert!(assign(counted(None, Some(1))).await.is_ok());
        let old = launch("t2.micro").await;
        let prefix = create(&control, &subnet, counted(None, Some(1))).await;
        let refused = attach(prefix.expect("an interface").id, old).await;
        assert!(matches!(
            refused,
            Err(Error::AddressingError(
                AddressingError::PrefixesNeedNitro { .. }
            ))
        ));
    }
}
