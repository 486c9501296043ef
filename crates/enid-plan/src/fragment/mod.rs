//! The part of the tables that each resource owns: one file per kind of owner.
//!
//! A fragment is a function of the region's state (and, for an interface, of its device), and of nothing
//! else: [`concern`](crate::concern) knows which owners a change of the state has to do with.

mod instance;
mod load_balancer;
mod mirror;
mod nat_gateway;
mod network_acl;
mod network_interface;
mod outside;
mod policy;
mod route_table;
mod service;
mod subnet;
mod vpc;

use enid_model::id::{ResourceId as _, VpcId};
use enid_model::security_group::Service;
use enid_model::state::RegionState;
use enid_pipeline::table::protocol;

pub(crate) use self::instance::of_instance;
pub(crate) use self::load_balancer::of_load_balancer;
pub(crate) use self::mirror::{of_mirror_filter, recapture};
pub(crate) use self::nat_gateway::of_nat_gateway;
pub(crate) use self::network_acl::{AclGates, of_network_acl};
pub(crate) use self::network_interface::{is_of_nat_gateway, of_eni, rebind, set_faulty};
pub use self::outside::PublicPools;
pub(crate) use self::outside::of_outside;
pub(crate) use self::policy::{Policy, of_policy};
pub(crate) use self::route_table::of_route_table;
pub(crate) use self::service::of_service;
pub use self::service::resolver_of;
pub(crate) use self::subnet::of_subnet;
pub(crate) use self::vpc::of_vpc;

/// Whether packets of a VPC can go to the internet and come from there at all.
fn has_internet_gateway(region: &RegionState, vpc: VpcId) -> bool {
    region.internet_gateways_of_vpc(vpc).next().is_some()
}

/// The route table that the internet gateway of a VPC has for what comes in; 0 if it has none.
fn edge_table(region: &RegionState, vpc: VpcId) -> u64 {
    let gateway = region.internet_gateways_of_vpc(vpc).next();
    let gateway = gateway.and_then(|id| region.internet_gateways.get(&id));
    let own = gateway.and_then(|gateway| gateway.route_table);
    own.map_or(0, |own| own.table.bits())
}

/// A service as the gate compiler takes it: protocol, first port and last port.
fn service_range(service: Service) -> (Option<u8>, u16, u16) {
    match service {
        Service::All => (None, 0, u16::MAX),
        Service::Icmp { kind, code } => (Some(protocol::ICMP), low(kind, code), high(kind, code)),
        Service::Icmpv6 { kind, code } => {
            (Some(protocol::ICMP_V6), low(kind, code), high(kind, code))
        }
        Service::Protocol(number) => (Some(number), 0, u16::MAX),
        Service::Tcp { from, to } => (Some(protocol::TCP), from, to),
        Service::Udp { from, to } => (Some(protocol::UDP), from, to),
    }
}

/// The smallest type and code that a rule matches, as a port.
fn low(kind: Option<u8>, code: Option<u8>) -> u16 {
    u16::from_be_bytes([kind.unwrap_or(0), code.unwrap_or(0)])
}

/// The largest.
fn high(kind: Option<u8>, code: Option<u8>) -> u16 {
    u16::from_be_bytes([kind.unwrap_or(u8::MAX), code.unwrap_or(u8::MAX)])
}
