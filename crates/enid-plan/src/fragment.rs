//! The part of the tables that each resource owns.

use std::sync::Arc;

use enid_model::id::{EniId, ResourceId as _, SecurityGroupId};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::security_group::{self, Direction, Peer, SecurityGroup, Service};
use enid_model::subnet::Subnet;
use enid_model::vpc::Vpc;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    self, Endpoint, EndpointKey, EniRecord, GATE_OPEN, GROUPS_MAX, PolicyRecord, Route, RouteKey,
    SubnetRecord, TABLE_BITS, protocol, trie_id,
};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use crate::gate::{self, RulePeer, RuleSpec};
use crate::instances::router_mac;
use crate::tables::Tables;

/// A set of security groups that interfaces share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A hash of the groups' ids: the same set has the same id, on every host and after every
    /// restart.
    pub(crate) id: u64,
    /// Where the groups are.
    pub(crate) scope: Scope,
    /// The groups, each once, by id.
    pub(crate) groups: Vec<SecurityGroupId>,
}

impl Policy {
    pub(crate) fn of(scope: Scope, groups: &[SecurityGroupId]) -> Self {
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();
        let mut hash = Sha256::new();
        for group in &groups {
            hash.update(group.bits().to_be_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        Self {
            id: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            scope,
            groups,
        }
    }
}

/// Idle timeouts in seconds where an interface sets none of its own.
/// Source: EC2 User Guide, connection tracking.
const TCP_ESTABLISHED_S: u32 = 432_000;
const UDP_S: u32 = 30;
const UDP_STREAM_S: u32 = 180;

/// An interface: its record and its addresses. Without a device it is known, but not reached.
pub(crate) fn of_eni(eni: &NetworkInterface, policy: u64, ifindex: Option<u32>) -> Tables {
    let mut tables = Tables::default();
    let id = eni.id.bits();
    let mut groups = [0; GROUPS_MAX];
    for (slot, group) in groups.iter_mut().zip(&eni.groups) {
        *slot = group.bits();
    }
    // The control plane allows at most 16 groups, the length of the array.
    let group_count = u8::try_from(eni.groups.len().min(GROUPS_MAX)).unwrap_or(0);
    let record = EniRecord {
        vpc: eni.vpc.bits(),
        subnet: eni.subnet.bits(),
        policy,
        groups,
        ifindex: ifindex.unwrap_or(0),
        tcp_established_s: TCP_ESTABLISHED_S,
        udp_s: UDP_S,
        udp_stream_s: UDP_STREAM_S,
        mac: Mac(eni.mac.0),
        flags: if eni.source_dest_check {
            EniRecord::SOURCE_DEST_CHECK
        } else {
            0
        },
        group_count,
    };
    tables.enis.insert(id, record);
    for address in &eni.addresses {
        let key = EndpointKey {
            vpc: eni.vpc.bits(),
            addr: Addr::from(*address),
        };
        tables.endpoints.insert(key, Endpoint { eni: id });
    }
    rebind(&mut tables, eni.id, ifindex);
    tables
}

/// Gives the record of an interface another device, or none.
pub(crate) fn rebind(tables: &mut Tables, eni: EniId, ifindex: Option<u32>) {
    tables.devices.clear();
    if let Some(record) = tables.enis.get_mut(&eni.bits()) {
        record.ifindex = ifindex.unwrap_or(0);
        if let Some(ifindex) = ifindex {
            tables.devices.insert(ifindex, eni.bits());
        }
    }
}

/// A subnet: its router and its VPC's main route table.
pub(crate) fn of_subnet(vpc: &Vpc, subnet: &Subnet) -> Tables {
    let mut tables = Tables::default();
    let record = SubnetRecord {
        vpc: subnet.vpc.bits(),
        router: Addr::from(subnet.router()),
        cidr: Addr::from(subnet.cidr.network()),
        cidr_len: V4_BITS + u32::from(subnet.cidr.prefix_len()),
        router_v6: Addr::UNSPECIFIED,
        route_table: vpc.main_route_table.bits(),
        acl: 0,
        acl_egress: GATE_OPEN,
        acl_ingress: GATE_OPEN,
        router_mac: Mac(router_mac(subnet.id).0),
        pad: [0; 6],
    };
    tables.subnets.insert(subnet.id.bits(), record);
    tables
}

/// A VPC: the local route of its main table.
pub(crate) fn of_vpc(vpc: &Vpc) -> Tables {
    let mut tables = Tables::default();
    let prefix_len = V4_BITS + u32::from(vpc.cidr.prefix_len());
    let key = RouteKey {
        prefix_len: TABLE_BITS + prefix_len,
        table: trie_id(vpc.main_route_table.bits()),
        addr: Addr::from(vpc.cidr.network()),
    };
    let route = Route {
        target: 0,
        kind: Route::LOCAL,
        prefix_len,
    };
    tables.routes.insert(key, route);
    tables
}

/// A policy: its two gates with all their entries.
pub(crate) fn of_policy(policy: &Policy, groups: &[Arc<SecurityGroup>]) -> Tables {
    let specs = |direction| -> Vec<RuleSpec> {
        let rules = groups.iter().flat_map(|group| group.rules_of(direction));
        rules.filter_map(rule_spec).collect()
    };
    let egress = gate::compile(
        policy.id,
        table::Direction::Egress,
        &specs(Direction::Egress),
    );
    let ingress = gate::compile(
        policy.id,
        table::Direction::Ingress,
        &specs(Direction::Ingress),
    );
    let mut tables = Tables::default();
    let record = PolicyRecord {
        egress_gate: egress.id,
        ingress_gate: ingress.id,
        open: gate::open_bits(&egress, &ingress),
    };
    tables.policies.insert(policy.id, record);
    egress.insert_into(&mut tables);
    ingress.insert_into(&mut tables);
    tables
}

/// IPv4 addresses are the last 32 bits of the 128 of an address.
const V4_BITS: u32 = 96;

/// What the compiler takes of a rule.
fn rule_spec(rule: &security_group::Rule) -> Option<RuleSpec> {
    let (protocol, from, to) = match rule.matcher.service {
        Service::All => (None, 0, u16::MAX),
        Service::Icmp { kind, code } => (Some(protocol::ICMP), low(kind, code), high(kind, code)),
        Service::Icmpv6 { kind, code } => {
            (Some(protocol::ICMP_V6), low(kind, code), high(kind, code))
        }
        Service::Protocol(number) => (Some(number), 0, u16::MAX),
        Service::Tcp { from, to } => (Some(protocol::TCP), from, to),
        Service::Udp { from, to } => (Some(protocol::UDP), from, to),
    };
    Some(RuleSpec {
        id: rule.id.bits(),
        peer: match rule.matcher.peer {
            Peer::Group(group) => RulePeer::Group(group.bits()),
            Peer::Ipv4(block) => RulePeer::Cidr(IpNet::V4(block)),
            Peer::Ipv6(block) => RulePeer::Cidr(IpNet::V6(block)),
            // No operation makes such a rule yet.
            Peer::PrefixList(_) => return None,
        },
        protocol,
        from,
        to,
    })
}

/// The smallest type and code that a rule allows, as a port.
fn low(kind: Option<u8>, code: Option<u8>) -> u16 {
    u16::from_be_bytes([kind.unwrap_or(0), code.unwrap_or(0)])
}

/// The largest.
fn high(kind: Option<u8>, code: Option<u8>) -> u16 {
    u16::from_be_bytes([kind.unwrap_or(u8::MAX), code.unwrap_or(u8::MAX)])
}
