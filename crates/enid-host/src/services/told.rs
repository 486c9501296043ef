//! What an interface's host is told of its network, by DHCP and by the router's advertisements: a function
//! of the state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_model::dhcp_options::{DhcpOptions, NameServer};
use enid_model::id::VpcId;
use enid_model::key::Scope;
use enid_model::network_interface::{Mac, NetworkInterface};
use enid_model::private_dns_name::host_label;
use enid_model::state::{RegionState, State};
use enid_pipeline::service;
use enid_plan::{resolver_of, router_mac};
use ipnet::{Ipv4Net, Ipv6Net};

/// All that an interface's host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The interface's primary address; none in a subnet without IPv4.
    pub(super) address: Option<Ipv4Addr>,
    /// Its subnet.
    pub(super) subnet: Ipv4Net,
    /// The MAC address of its subnet's router.
    pub(super) router_mac: Mac,
    /// Its name, without a domain.
    pub(super) host_name: String,
    /// The block of its subnet, if it has one.
    pub(super) ipv6_subnet: Option<Ipv6Net>,
    /// The interface's IPv6 addresses.
    pub(super) ipv6_addresses: Vec<Ipv6Addr>,
    /// The domains to complete names with, separated by spaces.
    pub(super) domain_name: Option<String>,
    /// The resolvers.
    pub(super) resolvers: Vec<IpAddr>,
    /// Time servers.
    pub(super) ntp_servers: Vec<IpAddr>,
    /// NetBIOS name servers.
    pub(super) netbios_name_servers: Vec<Ipv4Addr>,
    /// How NetBIOS names are resolved.
    pub(super) netbios_node_type: Option<u8>,
    /// How long IPv6 addresses are preferred, in seconds.
    pub(super) ipv6_preferred_s: u32,
}

impl Told {
    /// What the interface of a VPC with this MAC address is told; `None` if it is attached to no instance.
    pub(super) fn to(state: &State, scope: &Scope, vpc: VpcId, mac: Mac) -> Option<Self> {
        let region = state.region(scope)?;
        Self::of(state, scope, find(region, vpc, mac)?)
    }

    /// What an interface is told; `None` if it is attached to no instance.
    pub(super) fn of(state: &State, scope: &Scope, eni: &NetworkInterface) -> Option<Self> {
        let instance = state.instance_of(scope, eni)?;
        let region = state.region(scope)?;
        let subnet = region.subnets.get(&eni.subnet)?;
        let vpc = region.vpcs.get(&eni.vpc)?;
        let options = vpc.dhcp_options.and_then(|id| region.dhcp_options.get(&id));
        let has_ipv4 = !eni.addresses.is_empty();
        let amazon = [
            IpAddr::V4(resolver_of(vpc.cidr)),
            IpAddr::from(service::RESOLVER_V6),
        ];
        let resolvers = options.map_or_else(Vec::new, |options| {
            let servers = options.domain_name_servers.iter();
            let addresses = servers.flat_map(|server| match server {
                NameServer::AmazonProvidedDns => amazon.to_vec(),
                NameServer::Address(address) => vec![*address],
            });
            addresses.collect()
        });
        let of =
            |value: fn(&DhcpOptions) -> Vec<IpAddr>| options.map_or_else(Vec::new, |it| value(it));
        Some(Self {
            address: has_ipv4.then(|| eni.primary_address()),
            subnet: subnet.cidr,
            router_mac: router_mac(subnet.id),
            host_name: host_label(instance, eni.primary_address()),
            ipv6_subnet: subnet.ipv6_cidr.map(|own| own.cidr),
            ipv6_addresses: eni.ipv6_addresses.clone(),
            domain_name: options.and_then(|options| options.domain_name.clone()),
            resolvers,
            ntp_servers: of(|options| options.ntp_servers.clone()),
            netbios_name_servers: options
                .map_or_else(Vec::new, |options| options.netbios_name_servers.clone()),
            netbios_node_type: options.and_then(|options| options.netbios_node_type),
            ipv6_preferred_s: options
                .and_then(|options| options.ipv6_preferred_lease_s)
                .unwrap_or(IPV6_PREFERRED_S),
        })
    }

    /// The router of its subnet: base + 1.
    pub(super) fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()).wrapping_add(1))
    }
}

/// How long IPv6 addresses are preferred if the option set does not say.
/// Source: VPC User Guide, "DHCP option sets".
const IPV6_PREFERRED_S: u32 = 140;

/// The interface of a VPC with a MAC address. It is looked for among all of the region: that is some ten
/// microseconds for a thousand, and hosts ask this rarely.
fn find(region: &RegionState, vpc: VpcId, mac: Mac) -> Option<&NetworkInterface> {
    let mut enis = region.network_interfaces.values();
    enis.find(|eni| eni.mac == mac && eni.vpc == vpc)
        .map(|eni| &**eni)
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// An interface that is told everything there is.
    pub(in crate::services) fn told() -> Told {
        let address = |text: &str| text.parse().expect("an address");
        Told {
            address: Some(Ipv4Addr::new(10, 0, 0, 9)),
            subnet: "10.0.0.0/24".parse().expect("a block"),
            router_mac: Mac([2, 0, 0, 0, 0, 1]),
            host_name: "ip-10-0-0-9".to_owned(),
            ipv6_subnet: Some("2001:db8:0:1::/64".parse().expect("a block")),
            ipv6_addresses: vec!["2001:db8:0:1::9".parse().expect("an address")],
            domain_name: Some("corp.example".to_owned()),
            resolvers: vec![address("10.0.0.2"), address("fd00:ec2::253")],
            ntp_servers: vec![address("169.254.169.123"), address("fd00:ec2::123")],
            netbios_name_servers: vec![Ipv4Addr::new(10, 0, 0, 5)],
            netbios_node_type: Some(2),
            ipv6_preferred_s: 140,
        }
    }
}
