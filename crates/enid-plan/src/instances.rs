//! What one host shall run: instances, and the devices of their interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enid_model::dhcp_options::NameServer;
use enid_model::id::{EniId, InstanceId, ResourceId as _, SubnetId, VpcId};
use enid_model::image::Driver;
use enid_model::instance::{DesiredState, Instance};
use enid_model::key::Scope;
use enid_model::network_interface::{InterfaceType, Mac, NetworkInterface, device_number};
use enid_model::private_dns_name::host_label;
use enid_model::state::{RegionState, State};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::fragment::resolver_of;

/// What a host shall do with an instance. Terminated instances have no spec: nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The instance.
    pub id: InstanceId,
    /// Whether it shall run; else its root file system is kept.
    pub running: bool,
    /// Which boot this is: a higher number than the one that runs is a reboot or a new start.
    pub boot: u32,
    /// The image id that it was launched from.
    pub image: String,
    /// What makes it on its host.
    pub driver: Driver,
    /// The primary address of its primary interface.
    pub address: Ipv4Addr,
    /// Its host name: `ip-10-0-0-5`, or its id.
    pub host_name: String,
    /// The domains that it completes names with, separated by spaces, if its VPC's option set has
    /// any.
    pub search: Option<String>,
    /// The resolvers of the option set.
    pub resolvers: Vec<IpAddr>,
    /// The public key that its user is known by, in OpenSSH's format.
    pub authorized_key: Option<Arc<str>>,
    /// What runs at its first boot.
    pub user_data: Option<Arc<[u8]>>,
}

/// The device of an interface that is attached to an instance that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The interface.
    pub eni: EniId,
    /// The instance.
    pub instance: InstanceId,
    /// The VPC that its addresses live in.
    pub vpc: VpcId,
    /// What makes that instance on its host.
    pub driver: Driver,
    /// The network card of the instance that it is on.
    pub network_card_index: u8,
    /// Its place on the card.
    pub device_index: u8,
    /// Its MAC address.
    pub mac: Mac,
    /// The MAC address of its subnet's router.
    pub router_mac: Mac,
    /// Its subnet's block.
    pub subnet: Ipv4Net,
    /// Its addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// Its subnet's IPv6 block, if it has one.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// Its IPv6 addresses.
    pub ipv6_addresses: Vec<Ipv6Addr>,
}

impl DeviceSpec {
    /// The number of the device in the instance: `eth` and this is its name.
    #[must_use]
    pub fn number(&self) -> u16 {
        device_number(self.network_card_index, self.device_index)
    }
}

/// The MAC address of a subnet's virtual router: locally administered, and a function of the
/// subnet's id, so that it outlives every restart.
#[must_use]
pub fn router_mac(subnet: SubnetId) -> Mac {
    let [_, _, _, a, b, c, d, e] = subnet.bits().to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// The spec of an instance of a region, unless it is terminated or has lost its interface.
#[must_use]
pub(crate) fn instance_spec(region: &RegionState, instance: &Instance) -> Option<InstanceSpec> {
    if instance.desired == DesiredState::Terminated {
        return None;
    }
    let primary = region.enis_of_instance(instance.id).next()?;
    let address = primary.primary_address();
    let vpc = region.vpcs.get(&primary.vpc);
    let options = vpc.and_then(|vpc| region.dhcp_options.get(&vpc.dhcp_options?));
    let resolvers = options.zip(vpc).into_iter().flat_map(|(options, vpc)| {
        let servers = options.domain_name_servers.iter();
        servers.map(|server| match server {
            NameServer::AmazonProvidedDns => IpAddr::V4(resolver_of(vpc.cidr)),
            NameServer::Address(address) => *address,
        })
    });
    Some(InstanceSpec {
        id: instance.id,
        running: instance.desired == DesiredState::Running,
        boot: instance.boot,
        image: instance.image.clone(),
        driver: Driver::of_image(&instance.image),
        address,
        host_name: host_label(instance, address),
        search: options.and_then(|options| options.domain_name.clone()),
        resolvers: resolvers.collect(),
        authorized_key: instance.recorded.public_key.as_deref().map(Arc::from),
        user_data: instance.user_data.as_deref().map(Arc::from),
    })
}

/// The device of the node of a load balancer, which is in no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its interface.
    pub eni: EniId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its MAC address.
    pub mac: Mac,
    /// The MAC address of its subnet's router.
    pub router_mac: Mac,
    /// Its subnet's block.
    pub subnet: Ipv4Net,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its subnet's block of IPv6, if it has an address in it.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// Its address of IPv6, if it has one.
    pub ipv6_addresses: Vec<Ipv6Addr>,
}

/// The spec of a node's device, if the interface is one's.
#[must_use]
pub(crate) fn node_spec(region: &RegionState, eni: &NetworkInterface) -> Option<NodeSpec> {
    if eni.interface_type != InterfaceType::NetworkLoadBalancer {
        return None;
    }
    let subnet = region.subnets.get(&eni.subnet)?;
    Some(NodeSpec {
        eni: eni.id,
        vpc: eni.vpc,
        mac: eni.mac,
        router_mac: router_mac(subnet.id),
        subnet: subnet.cidr,
        address: eni.primary_address(),
        ipv6_subnet: subnet
            .ipv6_cidr
            .map(|own| own.cidr)
            .filter(|_| !eni.ipv6_addresses.is_empty()),
        ipv6_addresses: eni.ipv6_addresses.clone(),
    })
}

/// The spec of the device of an interface of a scope, if the interface is attached to an instance that
/// shall run. The instance may be another account's.
#[must_use]
pub(crate) fn device_spec(
    state: &State,
    scope: &Scope,
    eni: &NetworkInterface,
) -> Option<DeviceSpec> {
    let attachment = eni.attachment.as_ref()?;
    let instance = state.instance_of(scope, eni)?;
    if instance.desired != DesiredState::Running {
        return None;
    }
    let subnet = state.region(scope)?.subnets.get(&eni.subnet)?;
    Some(DeviceSpec {
        eni: eni.id,
        instance: instance.id,
        vpc: eni.vpc,
        driver: Driver::of_image(&instance.image),
        network_card_index: attachment.network_card_index,
        device_index: attachment.device_index,
        mac: eni.mac,
        router_mac: router_mac(subnet.id),
        subnet: subnet.cidr,
        addresses: eni.addresses.clone(),
        ipv6_subnet: subnet.ipv6_cidr.map(|own| own.cidr),
        ipv6_addresses: eni.ipv6_addresses.clone(),
    })
}
