//! Addresses that a NAT gateway gets and loses while it lives. The primary one it keeps. One that goes
//! is drained first (`nat_gateway_drain`), and until it is gone none comes or goes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_model::id::{AllocationId, AssociationId, NatGatewayId};
use enid_model::nat_gateway::{NatGateway, NatGatewayAddress};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::Stored;
use enid_model::subnet::Subnet;

use crate::address_lease::Claims;
use crate::internet_gateway::depend_on_gateway;
use crate::nat_gateway::{
    ADDRESSES_MAX, associated, automatic_for, check_allocations, require_available,
};
use crate::nat_gateway_drain::{DrainSeconds, begin, require_settled};
use crate::{Caller, Control, Draft, Error};

/// What AssociateNatGatewayAddress takes.
#[derive(Debug, Clone)]
pub struct AssociateNatGatewayAddress {
    /// A public gateway.
    pub gateway: NatGatewayId,
    /// The Elastic IPs.
    pub allocations: Vec<AllocationId>,
    /// The private addresses that they shall stand for, one each; none means any free ones.
    pub private_ips: Vec<Ipv4Addr>,
}

/// What AssignPrivateNatGatewayAddress takes.
#[derive(Debug, Clone)]
pub struct AssignPrivateNatGatewayAddress {
    /// A private gateway.
    pub gateway: NatGatewayId,
    /// Which addresses; excludes a count.
    pub private_ips: Vec<Ipv4Addr>,
    /// How many to choose.
    pub count: Option<u32>,
}

impl Control {
    /// AssociateNatGatewayAddress. Returns the new addresses of the gateway.
    pub async fn associate_nat_gateway_address(
        &self,
        caller: &Caller,
        input: &AssociateNatGatewayAddress,
    ) -> Result<(NatGateway, Vec<NatGatewayAddress>), Error> {
        if input.allocations.is_empty() {
            return Err(Error::MissingParameter {
                name: "allocationIds",
            });
        }
        let automatic = automatic_for(&input.allocations, &input.private_ips)?;
        self.transact(caller, |draft| {
            let gateway = require_of_type(draft, input.gateway, true, "allocationIds")?;
            if !depend_on_gateway(draft, gateway.vpc) {
                return Err(Error::NatGatewayWithoutInternet { vpc: gateway.vpc });
            }
            check_allocations(draft, &input.allocations, gateway.addresses.len())?;
            let private_ips = grow(draft, &gateway, &input.private_ips, automatic)?;
            let new = input.allocations.iter().zip(private_ips);
            let new = new.map(|(allocation, private_ip)| {
                associated(draft, gateway.eni, *allocation, private_ip)
            });
            let new: Vec<NatGatewayAddress> = new.collect::<Result<_, _>>()?;
            draft.edit(&gateway, |gateway| gateway.addresses.extend(&new));
            Ok((NatGateway::clone(&gateway), new))
        })
        .await
    }

    /// DisassociateNatGatewayAddress. Returns the addresses that are going, with their Elastic IPs, which
    /// stay allocated. They keep the connections that they have for so long at most.
    pub async fn disassociate_nat_gateway_address(
        &self,
        caller: &Caller,
        gateway: NatGatewayId,
        associations: &[AssociationId],
        drain: DrainSeconds,
    ) -> Result<(NatGateway, Vec<NatGatewayAddress>), Error> {
        if associations.is_empty() {
            return Err(Error::MissingParameter {
                name: "associationIds",
            });
        }
        self.transact(caller, |draft| {
            let gateway = require_of_type(draft, gateway, true, "associationIds")?;
            let mut going = BTreeSet::new();
            for id in associations {
                let mut known = gateway.addresses.iter();
                let found =
                    known.find(|address| address.public.is_some_and(|p| p.association == *id));
                going.insert(found.ok_or_else(|| Error::not_found(*id))?.private_ip);
            }
            let gone = begin(draft, &gateway, &going, drain)?;
            Ok((NatGateway::clone(&gateway), gone))
        })
        .await
    }

    /// AssignPrivateNatGatewayAddress. Returns the new addresses of the gateway.
    pub async fn assign_private_nat_gateway_address(
        &self,
        caller: &Caller,
        input: &AssignPrivateNatGatewayAddress,
    ) -> Result<(NatGateway, Vec<NatGatewayAddress>), Error> {
        let automatic = match (input.private_ips.as_slice(), input.count) {
            ([], None | Some(0)) => return Err(Error::NoAddressesToAssign),
            (_, None) => 0,
            ([], Some(count)) => count,
            (_, Some(_)) => return Err(Error::AddressListAndCount),
        };
        self.transact(caller, |draft| {
            let gateway = require_of_type(draft, input.gateway, false, "privateIpAddresses")?;
            let private_ips = grow(draft, &gateway, &input.private_ips, automatic)?;
            let new = private_ips.into_iter().map(|private_ip| NatGatewayAddress {
                private_ip,
                public: None,
                drain_until: None,
            });
            let new: Vec<NatGatewayAddress> = new.collect();
            draft.edit(&gateway, |gateway| gateway.addresses.extend(&new));
            Ok((NatGateway::clone(&gateway), new))
        })
        .await
    }

    /// UnassignPrivateNatGatewayAddress. Returns the addresses that are going. They keep the connections
    /// that they have for so long at most.
    pub async fn unassign_private_nat_gateway_address(
        &self,
        caller: &Caller,
        gateway: NatGatewayId,
        private_ips: &[Ipv4Addr],
        drain: DrainSeconds,
    ) -> Result<(NatGateway, Vec<NatGatewayAddress>), Error> {
        if private_ips.is_empty() {
            return Err(Error::NoAddressesToUnassign);
        }
        let going: BTreeSet<Ipv4Addr> = private_ips.iter().copied().collect();
        self.transact(caller, |draft| {
            let gateway = require_of_type(draft, gateway, false, "privateIpAddresses")?;
            let has =
                |address: &Ipv4Addr| gateway.addresses.iter().any(|a| a.private_ip == *address);
            if !going.iter().all(has) {
                return Err(Error::AddressesNotAssigned { id: gateway.eni });
            }
            let gone = begin(draft, &gateway, &going, drain)?;
            Ok((NatGateway::clone(&gateway), gone))
        })
        .await
    }
}

/// The gateway with an id, which must be of the type that `what` is for.
fn require_of_type(
    draft: &mut Draft<'_>,
    id: NatGatewayId,
    is_public: bool,
    what: &'static str,
) -> Result<Stored<NatGateway>, Error> {
    let gateway = require_available(draft, id)?;
    if gateway.is_public == is_public {
        require_settled(&gateway)?;
        return Ok(gateway);
    }
    let has = if gateway.is_public {
        "public"
    } else {
        "private"
    };
    Err(Error::NatGatewayType { what, has })
}

/// Claims further private addresses for a gateway's interface: those named, and as many more.
fn grow(
    draft: &mut Draft<'_>,
    gateway: &NatGateway,
    named: &[Ipv4Addr],
    automatic: u32,
) -> Result<Vec<Ipv4Addr>, Error> {
    let wanted = named.len() + usize::try_from(automatic).unwrap_or(usize::MAX);
    if gateway.addresses.len().saturating_add(wanted) > ADDRESSES_MAX {
        return Err(Error::NatGatewayAddressLimitExceeded {
            limit: ADDRESSES_MAX,
        });
    }
    let eni = draft.require::<NetworkInterface>(gateway.eni)?;
    let subnet = draft.require::<Subnet>(gateway.subnet)?;
    let mut claims = Claims::default();
    for address in named {
        claims.take(draft, &subnet, *address, eni.id)?;
    }
    let mut new = named.to_vec();
    for _ in 0..automatic {
        new.push(claims.choose(draft, &subnet, eni.id)?);
    }
    draft.edit(&eni, |eni| eni.addresses.extend(&new));
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Place, caller, control, internet, place};
    use crate::{AllocateAddress, CreateNatGateway, Quotas};

    const DRAIN: DrainSeconds = DrainSeconds::DEFAULT;

    fn new(place: &Place, allocation: Option<AllocationId>) -> CreateNatGateway {
        CreateNatGateway {
            subnet: place.subnet,
            is_public: allocation.is_some(),
            allocation,
            private_ip: Some(address(9)),
            secondary_allocations: Vec::new(),
            secondary_private_ips: Vec::new(),
            secondary_count: None,
            client_token: None,
            tags: Vec::new(),
        }
    }

    async fn allocate(control: &Control) -> AllocationId {
        let input = AllocateAddress::default();
        let made = control.allocate_address(&caller(), &input).await;
        made.expect("an address is free").id
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    /// The addresses of a gateway, which are those of its interface; and how many are leased.
    async fn has(control: &Control, id: NatGatewayId) -> (Vec<Ipv4Addr>, usize) {
        let region = control.read(&caller()).await.expect("a region");
        let gateway = region.nat_gateways.get(&id).expect("the gateway");
        let addresses: Vec<_> = gateway.addresses.iter().map(|a| a.private_ip).collect();
        let eni = region.network_interfaces.get(&gateway.eni);
        assert_eq!(eni.expect("its interface").addresses, addresses);
        let elastic_ips = region.elastic_ips_of_eni(gateway.eni).count();
        let public = gateway.addresses.iter().filter(|a| a.public.is_some());
        assert_eq!(elastic_ips, public.count());
        let capacity = region.subnets.get(&gateway.subnet).expect("its subnet");
        let free = crate::available_addresses(&region, capacity);
        let leased = usize::try_from(capacity.capacity() - free).expect("a small subnet");
        (addresses, leased)
    }

    #[tokio::test]
    async fn elastic_ips_come_and_go() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let (one, two, three) = (
            allocate(&control).await,
            allocate(&control).await,
            allocate(&control).await,
        );
        let made = control.create_nat_gateway(&caller, new(&place, Some(one)));
        let gateway = made.await.expect("a gateway").id;
        let associate = |allocations: &[AllocationId], private_ips: &[Ipv4Addr]| {
            let input = AssociateNatGatewayAddress {
                gateway,
                allocations: allocations.to_vec(),
                private_ips: private_ips.to_vec(),
            };
            let (control, caller) = (&control, &caller);
            async move {
                let done = control.associate_nat_gateway_address(caller, &input).await;
                done.map(|(_, new)| new)
            }
        };
        let code = |refused: Result<Vec<_>, Error>| refused.map_err(|error| error.code());
        let refused = code(associate(&[], &[]).await);
        assert_eq!(refused, Err("MissingParameter"));
        let refused = code(associate(&[two], &[address(7), address(8)]).await);
        assert_eq!(refused, Err("InvalidParameterCombination"));
        let refused = code(associate(&[one], &[]).await);
        assert_eq!(refused, Err("Resource.AlreadyAssociated"));
        let refused = code(associate(&[two, three], &[]).await);
        assert_eq!(refused, Err("NatGatewayAddressLimitExceeded"));
        let added = associate(&[two], &[address(7)]).await.expect("it is added");
        let (addresses, leased) = has(&control, gateway).await;
        assert_eq!((addresses, leased), (vec![address(9), address(7)], 2));

        let public = added[0].public.expect("a public address");
        let disassociate = |id| {
            let (control, caller) = (&control, &caller);
            async move {
                let done = control
                    .disassociate_nat_gateway_address(caller, gateway, &[id], DRAIN)
                    .await;
                done.map(|(_, gone)| gone)
            }
        };
        let unknown = AssociationId(7);
        let refused = disassociate(unknown).await;
        assert_eq!(refused, Err(Error::not_found(unknown)));
        let region = control.read(&caller).await.expect("a region");
        let primary = region.elastic_ips.get(&one).and_then(|e| e.association);
        let refused = disassociate(primary.expect("it is associated").id).await;
        assert_eq!(refused, Err(Error::NatGatewayPrimaryAddress));
        let going = disassociate(public.association).await.expect("it goes");
        assert_eq!(going[0].public, Some(public));
        let until = going[0].drain_until.expect("it is drained");
        assert_eq!(until.0 - control.now().0, 350_000);
        // It is there until somebody says that it is over, and none comes or goes meanwhile.
        let (addresses, leased) = has(&control, gateway).await;
        assert_eq!((addresses, leased), (vec![address(9), address(7)], 2));
        let busy = |doing: &str| format!("Service is currently {doing} the following");
        for refused in [
            associate(&[three], &[]).await,
            disassociate(public.association).await,
        ] {
            let error = refused.expect_err("another one goes");
            assert_eq!(error.code(), "OperationInProgress");
            let words = format!("{} EIPs: [{two}].", busy("DISASSOCIATING"));
            assert_eq!(error.to_string(), words);
        }
        let over = BTreeSet::from([address(7), address(9)]);
        let released = control.release_nat_gateway_addresses(&caller, gateway, &over);
        assert_eq!(released.await, Ok(()));
        let (addresses, leased) = has(&control, gateway).await;
        assert_eq!((addresses, leased), (vec![address(9)], 1));
        // The address is free again.
        assert!(associate(&[three], &[address(7)]).await.is_ok());
    }

    #[tokio::test]
    async fn private_addresses_come_and_go() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let made = control.create_nat_gateway(&caller, new(&place, None)).await;
        let made = made.expect("a gateway");
        let gateway = made.id;
        let assign = |private_ips: &[Ipv4Addr], count| {
            let input = AssignPrivateNatGatewayAddress {
                gateway,
                private_ips: private_ips.to_vec(),
                count,
            };
            let (control, caller) = (&control, &caller);
            async move {
                let done = control.assign_private_nat_gateway_address(caller, &input);
                let done = done.await.map(|(_, new)| new.len());
                done.map_err(|error| error.code())
            }
        };
        assert_eq!(assign(&[], None).await, Err("MissingParameter"));
        let both = assign(&[address(7)], Some(1)).await;
        assert_eq!(both, Err("InvalidParameterCombination"));
        assert_eq!(assign(&[address(7)], None).await, Ok(1));
        assert_eq!(assign(&[], Some(6)).await, Ok(6));
        let full = assign(&[], Some(1)).await;
        assert_eq!(full, Err("NatGatewayAddressLimitExceeded"));
        let unassign = |last| {
            let (control, caller) = (&control, &caller);
            async move {
                let going = [address(last)];
                let gone = control
                    .unassign_private_nat_gateway_address(caller, gateway, &going, DRAIN)
                    .await;
                let gone = gone.map(|(_, gone)| gone.len());
                let going = BTreeSet::from(going);
                let released = control.release_nat_gateway_addresses(caller, gateway, &going);
                assert_eq!(released.await, Ok(()));
                gone
            }
        };
        assert_eq!(unassign(7).await, Ok(1));
        let unknown = Err(Error::AddressesNotAssigned { id: made.eni });
        assert_eq!(unassign(7).await, unknown);
        assert_eq!(unassign(9).await, Err(Error::NatGatewayPrimaryAddress));
        assert_eq!(has(&control, gateway).await.1, 7);
    }

    #[tokio::test]
    async fn each_type_has_its_own_operations() {
        let control = control().with_quotas(Quotas {
            addresses_per_nat_gateway: 8,
            ..Quotas::default()
        });
        let caller = caller();
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let id = allocate(&control).await;
        let private = control.create_nat_gateway(&caller, new(&place, None)).await;
        let associate = AssociateNatGatewayAddress {
            gateway: private.expect("a gateway").id,
            allocations: vec![id],
            private_ips: Vec::new(),
        };
        let refused = control.associate_nat_gateway_address(&caller, &associate);
        let wrong = |what, has| Some(Error::NatGatewayType { what, has });
        assert_eq!(refused.await.err(), wrong("allocationIds", "private"));
        let input = CreateNatGateway {
            private_ip: None,
            ..new(&place, Some(id))
        };
        let public = control.create_nat_gateway(&caller, input).await;
        let public = public.expect("a gateway").id;
        let refused = control
            .unassign_private_nat_gateway_address(&caller, public, &[address(7)], DRAIN)
            .await;
        assert_eq!(refused.err(), wrong("privateIpAddresses", "public"));
        assert_eq!(control.delete_nat_gateway(&caller, public).await, Ok(()));
        let gone = control
            .unassign_private_nat_gateway_address(&caller, public, &[address(7)], DRAIN)
            .await;
        assert_eq!(gone.err(), Some(Error::not_found(public)));
    }
}
