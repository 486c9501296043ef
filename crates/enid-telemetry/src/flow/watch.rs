//! Which interfaces are watched, and what flow logs say of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enid_model::flow_log::{FlowLog, FlowLogResource};
use enid_model::id::{EniId, InstanceId, SubnetId, VpcId};
use enid_model::key::{AccountId, RegionName, Scope};
use enid_model::nat_gateway::NatGateway;
use enid_model::network_interface::{Attachment, NetworkInterface};
use enid_model::state::{RegionState, State};
use enid_model::time::Timestamp;

/// What flow logs say of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniFacts {
    /// Its id.
    pub eni: EniId,
    /// Whose it is.
    pub account: AccountId,
    /// Where.
    pub region: RegionName,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its subnet.
    pub subnet: SubnetId,
    /// The id of the subnet's zone.
    pub zone_id: String,
    /// The instance that it is attached to, if that is the owner's as well.
    pub instance: Option<InstanceId>,
    /// Its private addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// When the first flow log that watches it began.
    pub since: Timestamp,
}

impl EniFacts {
    /// An address of a packet at this interface, as the interface's own side is shown: its primary one,
    /// whichever it has or stands for.
    pub(super) fn own(&self, address: IpAddr) -> IpAddr {
        let is_family = |own: &&IpAddr| own.is_ipv4() == address.is_ipv4();
        let mut of_family = self.addresses.iter().filter(is_family);
        match address {
            IpAddr::V4(_) => of_family.next().copied().unwrap_or(address),
            // Of IPv6 addresses none stands for others.
            IpAddr::V6(_) if self.addresses.contains(&address) => address,
            IpAddr::V6(_) => of_family.next().copied().unwrap_or(address),
        }
    }

    /// The same as the packet itself has it: a public address never shows.
    pub(super) fn own_of_packet(&self, address: IpAddr) -> IpAddr {
        if self.addresses.contains(&address) {
            address
        } else {
            self.own(address)
        }
    }
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    /// Its interface, by its id's bits.
    pub(super) eni: u64,
    /// Its private addresses, each with the public one that stands for it.
    addresses: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
}

impl Gateway {
    fn of(gateway: &NatGateway) -> Self {
        let addresses = gateway.addresses.iter();
        Self {
            eni: gateway.eni.0,
            addresses: addresses
                .map(|it| (it.private_ip, it.public.map(|public| public.public_ip)))
                .collect(),
        }
    }

    /// Whether an address is the gateway's, a private or a public one.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let is_own = |(private, public): &(Ipv4Addr, Option<Ipv4Addr>)| {
            address == *private || public.is_some_and(|public| address == public)
        };
        self.addresses.iter().any(is_own)
    }

    /// The private address that a public one of the gateway's stands for; any other one as it is.
    pub(super) fn private(&self, address: IpAddr) -> IpAddr {
        let mut own = self.addresses.iter();
        let own = own.find(|(_, public)| public.is_some_and(|public| address == public));
        own.map_or(address, |(private, _)| IpAddr::V4(*private))
    }
}

/// The interfaces that flow logs tell of, by their ids' bits.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    enis: BTreeMap<u64, Arc<EniFacts>>,
    /// The NAT gateways of their regions, likewise.
    gateways: BTreeMap<u64, Gateway>,
}

impl Watch {
    /// What the flow logs of a state watch.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut enis = BTreeMap::new();
        let mut gateways = BTreeMap::new();
        for (scope, region) in state.regions() {
            if region.flow_logs.is_empty() {
                continue;
            }
            let own = region.nat_gateways.values();
            gateways.extend(own.map(|gateway| (gateway.id.0, Gateway::of(gateway))));
            for eni in region.network_interfaces.values() {
                let watching = region.flow_logs.values();
                let watching = watching.filter(|it| covers(it, eni)).map(|it| it.created);
                if let Some(since) = watching.min() {
                    enis.insert(eni.id.0, Arc::new(facts(scope, region, eni, since)));
                }
            }
        }
        Self { enis, gateways }
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.enis.is_empty()
    }

    /// What is said of an interface, if it is watched.
    #[must_use]
    pub fn eni(&self, bits: u64) -> Option<&Arc<EniFacts>> {
        self.enis.get(&bits)
    }

    /// A NAT gateway of a region in which something is watched.
    pub(super) fn gateway(&self, bits: u64) -> Option<&Gateway> {
        self.gateways.get(&bits)
    }

    /// All of these, with their ids' bits.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (u64, &Gateway)> {
        self.gateways.iter().map(|(bits, gateway)| (*bits, gateway))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<EniFacts>> {
        self.enis.values()
    }
}

/// Whether a flow log tells of an interface.
pub(super) fn covers(flow_log: &FlowLog, eni: &NetworkInterface) -> bool {
    match flow_log.resource {
        FlowLogResource::NetworkInterface(id) => id == eni.id,
        FlowLogResource::Subnet(id) => id == eni.subnet,
        FlowLogResource::Vpc(id) => id == eni.vpc,
    }
}

fn facts(
    scope: &Scope,
    region: &RegionState,
    eni: &NetworkInterface,
    since: Timestamp,
) -> EniFacts {
    let subnet = region.subnets.get(&eni.subnet);
    let v4 = eni.addresses.iter().map(|address| IpAddr::V4(*address));
    let v6 = eni.ipv6_addresses.iter().copied().map(Ipv6Addr::into);
    EniFacts {
        eni: eni.id,
        account: scope.account,
        region: scope.region.clone(),
        vpc: eni.vpc,
        subnet: eni.subnet,
        zone_id: subnet
            .map(|subnet| subnet.zone_id.clone())
            .unwrap_or_default(),
        instance: eni.attachment.as_ref().and_then(Attachment::own_instance),
        addresses: v4.chain(v6).collect(),
        since,
    }
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// An interface of one address.
    pub(crate) fn eni(bits: u64, address: [u8; 4]) -> EniFacts {
        EniFacts {
            eni: EniId(bits),
            account: AccountId::DEFAULT,
            region: RegionName::new("us-east-1"),
            vpc: VpcId(1),
            subnet: SubnetId(2),
            zone_id: "use1-az1".to_owned(),
            instance: Some(InstanceId(bits)),
            addresses: vec![IpAddr::from(address)],
            since: Timestamp(0),
        }
    }

    /// These are watched.
    pub(crate) fn watch(enis: impl IntoIterator<Item = EniFacts>) -> Watch {
        let enis = enis.into_iter();
        Watch {
            enis: enis.map(|eni| (eni.eni.0, Arc::new(eni))).collect(),
            gateways: BTreeMap::new(),
        }
    }

    /// A NAT gateway with this interface, and one address.
    pub(crate) fn gateway(eni: u64, private: [u8; 4], public: [u8; 4]) -> Gateway {
        Gateway {
            eni,
            addresses: vec![(private.into(), Some(public.into()))],
        }
    }

    /// The same, with a gateway.
    pub(crate) fn watch_with(
        enis: impl IntoIterator<Item = EniFacts>,
        id: u64,
        gateway: Gateway,
    ) -> Watch {
        let gateways = BTreeMap::from([(id, gateway)]);
        Watch {
            gateways,
            ..watch(enis)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_side_shows_the_primary_address_and_never_a_public_one() {
        let mut eni = fixture::eni(1, [10, 0, 0, 5]);
        let secondary = IpAddr::from([10, 0, 0, 6]);
        eni.addresses.push(secondary);
        let primary = IpAddr::from([10, 0, 0, 5]);
        let public = IpAddr::from([198, 18, 0, 1]);
        assert_eq!((eni.own(secondary), eni.own(public)), (primary, primary));
        assert_eq!(eni.own_of_packet(secondary), secondary);
        assert_eq!(eni.own_of_packet(public), primary);
        let v6: IpAddr = "fd00::5".parse().unwrap();
        assert_eq!(eni.own(v6), v6);
    }
}
