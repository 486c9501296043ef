//! NAT gateways: making and deleting them. What becomes of their addresses afterwards is in
//! `nat_gateway_address`.
//!
//! A gateway has a network interface that is Enid's own: it counts in its subnet like any other,
//! and nobody but the gateway's operations changes it. Elastic IPs of a public gateway are
//! associated with the addresses of that interface.
//!
//! In AWS a gateway that cannot be made appears and then fails. Here the call fails at once, with
//! what would have been the failure's code and words, and nothing appears.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_model::Tags;
use enid_model::address::{ElasticIp, ElasticIpAssociation};
use enid_model::id::{AllocationId, EniId, NatGatewayId, SubnetId};
use enid_model::key::Kind;
use enid_model::nat_gateway::{NatGateway, NatGatewayAddress, NatGatewayPublicAddress};
use enid_model::network_interface::{ConnectionTracking, InterfaceType, NetworkInterface};
use enid_model::state::Stored;
use enid_model::subnet::Subnet;
use enid_model::time::Timestamp;

use crate::address_lease::{Claims, Wish};
use crate::internet_gateway::depend_on_gateway;
use crate::network_interface::{new_mac, remove};
use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error};

/// What CreateNatGateway takes.
#[derive(Debug, Clone)]
pub struct CreateNatGateway {
    /// Its subnet.
    pub subnet: SubnetId,
    /// Whether it translates to public addresses.
    pub is_public: bool,
    /// The Elastic IP of its primary address: of a public one only, which must have one.
    pub allocation: Option<AllocationId>,
    /// Its primary address; else any free one of the subnet.
    pub private_ip: Option<Ipv4Addr>,
    /// The Elastic IPs of further addresses: of a public one only.
    pub secondary_allocations: Vec<AllocationId>,
    /// Further addresses; as many as Elastic IPs for a public one, or none.
    pub secondary_private_ips: Vec<Ipv4Addr>,
    /// How many further addresses to choose: of a private one only.
    pub secondary_count: Option<u32>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

/// Addresses that a gateway can have, Elastic IPs or not.
pub(crate) const ADDRESSES_MAX: usize = 8;

/// Whether a client can still see a gateway: a deleted one for an hour.
#[must_use]
pub fn nat_gateway_is_visible(gateway: &NatGateway, now: Timestamp) -> bool {
    gateway
        .delete_time
        .is_none_or(|deleted| now.0 - deleted.0 < DELETED_KEPT_MS)
}

const DELETED_KEPT_MS: i64 = 60 * 60 * 1000;

impl Control {
    /// CreateNatGateway. The gateway is available when this is answered.
    pub async fn create_nat_gateway(
        &self,
        caller: &Caller,
        input: CreateNatGateway,
    ) -> Result<NatGateway, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = specified(&input.tags, "natgateway")?;
        let wish = wish(&input)?;
        self.transact(caller, |draft| {
            let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let known = draft.require::<NatGateway>(id)?;
                return Ok(NatGateway::clone(&known));
            }
            let gateway = create(draft, &input, &wish, tags.clone())?;
            let made = vec![gateway.id.to_string()];
            draft.remember(OPERATION, token.as_deref(), &parameters, made);
            Ok(gateway)
        })
        .await
    }

    /// DeleteNatGateway. Its interface goes, its Elastic IPs stay allocated, routes to it become
    /// blackholes.
    pub async fn delete_nat_gateway(&self, caller: &Caller, id: NatGatewayId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = require_available(draft, id)?;
            let eni = draft.require::<NetworkInterface>(gateway.eni)?;
            remove(draft, &eni);
            let now = draft.now;
            draft.edit(&gateway, |gateway| gateway.delete_time = Some(now));
            Ok(())
        })
        .await
    }
}

/// The gateway with an id, if it is there and not deleted.
pub(crate) fn require_available(
    draft: &mut Draft<'_>,
    id: NatGatewayId,
) -> Result<Stored<NatGateway>, Error> {
    let gateway = draft.require::<NatGateway>(id)?;
    if gateway.is_available() {
        Ok(gateway)
    } else {
        Err(Error::not_found(id))
    }
}

/// Which private addresses a request asks for, if its parts go together.
fn wish(input: &CreateNatGateway) -> Result<Wish, Error> {
    let has = if input.is_public { "public" } else { "private" };
    let other = |what| Err(Error::NatGatewayType { what, has });
    if input.is_public {
        if input.allocation.is_none() {
            return Err(Error::MissingParameter {
                name: "allocationId",
            });
        }
        if input.secondary_count.is_some() {
            return other("secondaryPrivateIpAddressCount");
        }
    } else {
        if input.allocation.is_some() {
            return other("allocationId");
        }
        if !input.secondary_allocations.is_empty() {
            return other("secondaryAllocationIds");
        }
    }
    if !input.secondary_private_ips.is_empty() && input.secondary_count.is_some() {
        return Err(Error::AddressListAndCount);
    }
    let automatic = if input.is_public {
        automatic_for(&input.secondary_allocations, &input.secondary_private_ips)?
    } else {
        input.secondary_count.unwrap_or(0)
    };
    let mut seen: BTreeSet<Ipv4Addr> = input.private_ip.into_iter().collect();
    for address in &input.secondary_private_ips {
        if !seen.insert(*address) {
            return Err(Error::AddressNamedTwice { address: *address });
        }
    }
    let wish = Wish {
        primary: input.private_ip,
        secondary: input.secondary_private_ips.clone(),
        automatic,
        prefixes: Vec::new(),
        automatic_prefixes: 0,
    };
    if wish.slots() > ADDRESSES_MAX {
        return Err(Error::NatGatewayAddressLimitExceeded {
            limit: ADDRESSES_MAX,
        });
    }
    Ok(wish)
}

/// How many private addresses to choose for Elastic IPs: all or none are named.
pub(crate) fn automatic_for(
    allocations: &[AllocationId],
    private_ips: &[Ipv4Addr],
) -> Result<u32, Error> {
    if private_ips.is_empty() {
        return Ok(u32::try_from(allocations.len()).unwrap_or(u32::MAX));
    }
    if private_ips.len() == allocations.len() {
        return Ok(0);
    }
    Err(Error::NatGatewayAddressesUnpaired)
}

fn create(
    draft: &mut Draft<'_>,
    input: &CreateNatGateway,
    wish: &Wish,
    tags: Tags,
) -> Result<NatGateway, Error> {
    let subnet = draft.require::<Subnet>(input.subnet)?;
    check_quotas(draft, &subnet)?;
    if input.is_public && !depend_on_gateway(draft, subnet.vpc) {
        return Err(Error::NatGatewayWithoutInternet { vpc: subnet.vpc });
    }
    let id: NatGatewayId = draft.mint();
    let eni = new_interface(draft, &subnet, wish, id)?;
    let primary = input.allocation.iter();
    let allocations: Vec<AllocationId> = primary
        .chain(&input.secondary_allocations)
        .copied()
        .collect();
    let mut addresses = Vec::with_capacity(eni.addresses.len());
    if input.is_public {
        check_allocations(draft, &allocations, 0)?;
        for (allocation, private_ip) in allocations.iter().zip(&eni.addresses) {
            addresses.push(associated(draft, eni.id, *allocation, *private_ip)?);
        }
    } else {
        let private = eni.addresses.iter().map(|private_ip| NatGatewayAddress {
            private_ip: *private_ip,
            public: None,
            drain_until: None,
        });
        addresses.extend(private);
    }
    let gateway = NatGateway {
        id,
        vpc: subnet.vpc,
        subnet: subnet.id,
        is_public: input.is_public,
        eni: eni.id,
        addresses,
        create_time: draft.now,
        delete_time: None,
        tags,
    };
    draft.create(eni);
    draft.create(gateway.clone());
    Ok(gateway)
}

fn check_quotas(draft: &mut Draft<'_>, subnet: &Subnet) -> Result<(), Error> {
    let region = &draft.region;
    if region.network_interfaces.len() >= draft.quotas.network_interfaces {
        return Err(Error::InterfaceLimitExceeded);
    }
    let in_zone = region.nat_gateways.values().filter(|gateway| {
        let its_subnet = region.subnets.get(&gateway.subnet);
        gateway.is_available() && its_subnet.is_some_and(|its| its.zone == subnet.zone)
    });
    let limit = draft.quotas.nat_gateways_per_zone;
    if in_zone.count() >= limit {
        return Err(Error::NatGatewayLimitExceeded { limit });
    }
    draft.demand_none_new(Kind::NatGateway);
    Ok(())
}

/// The interface of a new gateway, its addresses claimed.
fn new_interface(
    draft: &mut Draft<'_>,
    subnet: &Subnet,
    wish: &Wish,
    gateway: NatGatewayId,
) -> Result<NetworkInterface, Error> {
    let id = draft.mint();
    let (addresses, _) = Claims::default().fulfil(draft, subnet, wish, id)?;
    Ok(NetworkInterface {
        id,
        subnet: subnet.id,
        vpc: subnet.vpc,
        mac: new_mac(draft),
        description: format!("Interface for NAT Gateway {gateway}"),
        groups: Vec::new(),
        addresses,
        ipv4_prefixes: Vec::new(),
        ipv6_addresses: Vec::new(),
        ipv6_prefixes: Vec::new(),
        primary_ipv6: false,
        public_address: None,
        associate_public_address: false,
        connection_tracking: ConnectionTracking::default(),
        source_dest_check: false,
        interface_type: InterfaceType::NatGateway,
        requester_id: Some(REQUESTER.to_owned()),
        attachment: None,
        tags: Tags::new(),
    })
}

/// Elastic IPs that a gateway shall get beside those that it has: each once, not more than the
/// quota.
pub(crate) fn check_allocations(
    draft: &Draft<'_>,
    allocations: &[AllocationId],
    present: usize,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    if let Some(id) = allocations.iter().find(|id| !seen.insert(**id)) {
        return Err(Error::NatGatewayAddressTaken { id: *id });
    }
    let limit = draft.quotas.addresses_per_nat_gateway;
    if present + allocations.len() > limit {
        return Err(Error::NatGatewayAddressLimitExceeded { limit });
    }
    Ok(())
}

/// Makes an Elastic IP stand for an address of a gateway. It must be free.
pub(crate) fn associated(
    draft: &mut Draft<'_>,
    eni: EniId,
    allocation: AllocationId,
    private_ip: Ipv4Addr,
) -> Result<NatGatewayAddress, Error> {
    let elastic_ip = draft.require::<ElasticIp>(allocation)?;
    if elastic_ip.association.is_some() {
        return Err(Error::NatGatewayAddressTaken { id: allocation });
    }
    let association = ElasticIpAssociation {
        id: draft.mint(),
        eni,
        private_ip,
    };
    draft.edit(&elastic_ip, |new| new.association = Some(association));
    Ok(NatGatewayAddress {
        private_ip,
        public: Some(NatGatewayPublicAddress {
            allocation,
            association: association.id,
            public_ip: elastic_ip.public_ip,
        }),
        drain_until: None,
    })
}

const OPERATION: &str = "CreateNatGateway";

/// Who made and keeps a gateway's interface.
const REQUESTER: &str = "amazon-aws";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Place, caller, control, internet, place};
    use crate::{
        AddressSelector, AllocateAddress, AssociateAddress, AssociationTarget,
        AttachNetworkInterface, ModifyNetworkInterface, Quotas,
    };

    fn private(place: &Place) -> CreateNatGateway {
        CreateNatGateway {
            subnet: place.subnet,
            is_public: false,
            allocation: None,
            private_ip: None,
            secondary_allocations: Vec::new(),
            secondary_private_ips: Vec::new(),
            secondary_count: None,
            client_token: None,
            tags: Vec::new(),
        }
    }

    async fn allocate(control: &Control) -> ElasticIp {
        let input = AllocateAddress::default();
        let made = control.allocate_address(&caller(), &input).await;
        made.expect("an address is free")
    }

    fn public(place: &Place, elastic_ip: &ElasticIp) -> CreateNatGateway {
        CreateNatGateway {
            is_public: true,
            allocation: Some(elastic_ip.id),
            ..private(place)
        }
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[tokio::test]
    async fn a_public_gateway_lives_and_leaves_its_elastic_ip() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let elastic_ip = allocate(&control).await;
        let create = || control.create_nat_gateway(&caller, public(&place, &elastic_ip));
        let without = create().await;
        assert!(matches!(
            without,
            Err(Error::NatGatewayWithoutInternet { .. })
        ));
        internet(&control, &place).await;
        let gateway = create().await.expect("a gateway");
        let public = gateway.addresses[0].public.expect("a public address");
        assert_eq!(public.public_ip, elastic_ip.public_ip);
        let id = elastic_ip.id;
        assert_eq!(create().await, Err(Error::NatGatewayAddressTaken { id }));
        let region = control.read(&caller).await.expect("a region");
        let eni = region.network_interfaces.get(&gateway.eni);
        let eni = eni.expect("it has an interface");
        assert!(eni.is_in_use() && !eni.source_dest_check && eni.groups.is_empty());
        let description = format!("Interface for NAT Gateway {}", gateway.id);
        assert_eq!(eni.description, description);
        let associated = region.elastic_ips.get(&id).and_then(|e| e.association);
        let at = associated.map(|a| (a.id, a.eni, a.private_ip));
        let there = (public.association, eni.id, eni.primary_address());
        assert_eq!(at, Some(there));
        let subnet = control.delete_subnet(&caller, place.subnet).await;
        assert!(matches!(subnet, Err(Error::SubnetInUse { .. })));

        let delete = || control.delete_nat_gateway(&caller, gateway.id);
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Err(Error::not_found(gateway.id)));
        let region = control.read(&caller).await.expect("a region");
        assert!(region.network_interfaces.is_empty());
        let kept = region.elastic_ips.get(&id).expect("it is kept");
        assert_eq!(kept.association, None);
        let gone = region.nat_gateways.get(&gateway.id).expect("it is visible");
        let deleted = gone.delete_time.expect("it is deleted");
        let after = |ms| nat_gateway_is_visible(gone, Timestamp(deleted.0 + ms));
        assert!(after(DELETED_KEPT_MS - 1) && !after(DELETED_KEPT_MS));
        assert_eq!(control.delete_subnet(&caller, place.subnet).await, Ok(()));
    }

    #[tokio::test]
    async fn its_interface_and_elastic_ip_are_the_gateways_own() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let elastic_ip = allocate(&control).await;
        let gateway = control
            .create_nat_gateway(&caller, public(&place, &elastic_ip))
            .await
            .expect("a gateway");
        let eni = gateway.eni;
        let modify = ModifyNetworkInterface {
            source_dest_check: Some(true),
            ..ModifyNetworkInterface::default()
        };
        let refused = Err(Error::ManagedByService);
        let modified = control.modify_network_interface(&caller, eni, modify).await;
        assert_eq!(modified, refused);
        let deleted = control.delete_network_interface(&caller, eni).await;
        assert_eq!(deleted, refused);
        let reset = control.reset_source_dest_check(&caller, eni).await;
        assert_eq!(reset, refused);
        let private_ip = gateway.addresses[0].private_ip;
        let unassigned = control
            .unassign_private_addresses(&caller, eni, &[private_ip], &[])
            .await;
        assert_eq!(unassigned, refused);
        let launched = control
            .run_instances(&caller, crate::fixture::new_instance(&place))
            .await;
        let attach = AttachNetworkInterface {
            eni,
            instance: launched.expect("a launch").instances[0].id,
            device_index: 1,
            network_card_index: 0,
        };
        let attached = control.attach_network_interface(&caller, attach).await;
        assert_eq!(attached.err(), Some(Error::InterfaceInUse { id: eni }));
        let association = gateway.addresses[0].public.expect("public").association;
        let gone = control.disassociate_address(&caller, association).await;
        assert_eq!(gone, refused);
        let selector = AddressSelector::Allocation(elastic_ip.id);
        let released = control.release_address(&caller, selector, None).await;
        let address = elastic_ip.public_ip;
        assert_eq!(released, Err(Error::ElasticIpInUse { address }));
        let other = allocate(&control).await;
        let onto = AssociateAddress {
            address: AddressSelector::Allocation(other.id),
            target: AssociationTarget::NetworkInterface(eni),
            private_ip: None,
            allow_reassociation: true,
        };
        let associated = control.associate_address(&caller, onto).await;
        assert_eq!(associated, Err(Error::ManagedByService));
    }

    #[tokio::test]
    async fn a_private_gateway_has_the_addresses_that_it_is_given() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let input = CreateNatGateway {
            private_ip: Some(address(9)),
            secondary_private_ips: vec![address(7), address(8)],
            client_token: Some("once".to_owned()),
            ..private(&place)
        };
        let create = |input| control.create_nat_gateway(&caller, input);
        let gateway = create(input.clone()).await.expect("a gateway");
        let has: Vec<_> = gateway.addresses.iter().map(|a| a.private_ip).collect();
        assert_eq!(has, [address(9), address(7), address(8)]);
        assert_eq!(create(input.clone()).await.map(|g| g.id), Ok(gateway.id));
        let other = CreateNatGateway {
            private_ip: Some(address(10)),
            ..input
        };
        let mismatch = create(other).await;
        assert_eq!(mismatch, Err(Error::IdempotentParameterMismatch));
        let counted = CreateNatGateway {
            secondary_count: Some(7),
            ..private(&place)
        };
        let gateway = create(counted).await.expect("a gateway");
        assert_eq!(gateway.addresses.len(), 8);
        let taken = CreateNatGateway {
            private_ip: Some(address(9)),
            ..private(&place)
        };
        let in_use = Err(Error::AddressInUse {
            address: address(9),
        });
        assert_eq!(create(taken).await, in_use);
    }

    #[tokio::test]
    async fn what_does_not_go_together_is_refused() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let (one, two, three) = (
            allocate(&control).await,
            allocate(&control).await,
            allocate(&control).await,
        );
        let with = |secondary: &[&ElasticIp]| CreateNatGateway {
            secondary_allocations: secondary.iter().map(|e| e.id).collect(),
            ..public(&place, &one)
        };
        let named = |input: CreateNatGateway| CreateNatGateway {
            secondary_private_ips: vec![address(7), address(8)],
            ..input
        };
        for (input, code) in [
            (
                CreateNatGateway {
                    allocation: None,
                    ..with(&[])
                },
                "MissingParameter",
            ),
            (
                CreateNatGateway {
                    secondary_count: Some(1),
                    ..with(&[])
                },
                "InvalidParameterCombination",
            ),
            (
                CreateNatGateway {
                    is_public: false,
                    ..with(&[])
                },
                "InvalidParameterCombination",
            ),
            (
                CreateNatGateway {
                    secondary_allocations: vec![two.id],
                    ..private(&place)
                },
                "InvalidParameterCombination",
            ),
            (named(with(&[&two])), "InvalidParameterCombination"),
            (
                named(CreateNatGateway {
                    secondary_count: Some(1),
                    ..private(&place)
                }),
                "InvalidParameterCombination",
            ),
            (
                named(CreateNatGateway {
                    private_ip: Some(address(7)),
                    ..private(&place)
                }),
                "InvalidParameterValue",
            ),
            (with(&[&one]), "Resource.AlreadyAssociated"),
            (with(&[&two, &three]), "NatGatewayAddressLimitExceeded"),
            (
                CreateNatGateway {
                    secondary_count: Some(8),
                    ..private(&place)
                },
                "NatGatewayAddressLimitExceeded",
            ),
            (
                CreateNatGateway {
                    subnet: SubnetId(7),
                    ..private(&place)
                },
                "InvalidSubnetID.NotFound",
            ),
            (
                CreateNatGateway {
                    allocation: Some(AllocationId(7)),
                    ..with(&[])
                },
                "InvalidAllocationID.NotFound",
            ),
        ] {
            let made = control.create_nat_gateway(&caller(), input.clone()).await;
            let refused = made.map_err(|error| error.code());
            assert_eq!(refused, Err(code), "{input:?}");
        }
        let region = control.read(&caller()).await.expect("a region");
        let made = (region.nat_gateways.len(), region.network_interfaces.len());
        assert_eq!(made, (0, 0));
    }

    #[tokio::test]
    async fn the_quota_is_of_a_zone_and_a_deleted_gateway_does_not_count() {
        let control = control().with_quotas(Quotas {
            nat_gateways_per_zone: 1,
            ..Quotas::default()
        });
        let caller = caller();
        let place = place(&control, "10.0.0.0/24").await;
        let create = |input| control.create_nat_gateway(&caller, input);
        let first = create(private(&place)).await.expect("a gateway").id;
        let words = "Performing this operation would exceed the limit of 1 NAT gateways";
        let refused = create(private(&place)).await.map_err(|e| e.to_string());
        assert_eq!(refused.err().as_deref(), Some(words));
        let far = CreateNatGateway {
            subnet: place.far_subnet,
            ..private(&place)
        };
        assert!(create(far).await.is_ok());
        assert_eq!(control.delete_nat_gateway(&caller, first).await, Ok(()));
        assert!(create(private(&place)).await.is_ok());
    }
}
