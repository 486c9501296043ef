//! Network load balancers of a small region, as a person would describe them, and the tables that the plan
//! makes of them.
//!
//! The records that the plan reads are those of the load balancer, its listeners, and its target groups with
//! their targets. What nodes are in the tables is in `region.rs`: interfaces of their own.

use std::net::IpAddr;
use std::sync::Arc;

use enid_model::Tags;
use enid_model::id::{
    EniId, ListenerId, LoadBalancerId, ResourceId as _, SecurityGroupId, SubnetId, TargetGroupId,
    TargetUid, VpcId,
};
use enid_model::key::{AccountId, Key, RegionName, Scope};
use enid_model::listener as listened;
use enid_model::load_balancer::{
    IpAddressType, LoadBalancer, LoadBalancerAttributes, LoadBalancerZone, Scheme,
};
use enid_model::record::Record;
use enid_model::state::{Revision, State};
use enid_model::target::{self, HealthFailure, HealthState, TargetHealth, TargetId, TargetKey};
use enid_model::target_group::{
    self, BalancedProtocol, HealthCheck, HealthCheckProtocol, MinimumHealthy, StatusCodes,
    TargetGroupAttributes, TargetGroupIpAddressType, TargetType,
};
use enid_model::time::Timestamp;
use enid_pipeline::bytes::Addr;
use enid_pipeline::table::protocol;
use enid_plan::Planner;
use enid_plan::tables::Tables;

use crate::region::{Eni, Region};

/// A network load balancer.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Its id.
    pub id: u64,
    /// The interfaces of its nodes, one for each of its zones. A subnet is a zone.
    pub nodes: Vec<Eni>,
    /// Whether nodes choose among the targets of all zones, unless a group says otherwise.
    pub crosses: bool,
    /// Whether nothing comes to its IPv6 addresses by an internet gateway.
    pub denies_ipv6_internet: bool,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its target groups.
    pub groups: Vec<TargetGroup>,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its id.
    pub id: u64,
    /// What it carries.
    pub carries: BalancedProtocol,
    /// The port.
    pub port: u16,
    /// After how many idle seconds a TCP connection is forgotten.
    pub idle_s: u16,
    /// Whether all flows of a source go to one of its target groups.
    pub is_sticky: bool,
    /// Target groups of the load balancer, by number, with their weights.
    pub forward: Vec<(usize, u16)>,
}

/// A target group.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its id.
    pub id: u64,
    /// Whether its targets have IPv6 addresses.
    pub is_v6: bool,
    /// Whether targets see the client's address.
    pub preserves: bool,
    /// Whether all flows of a source go to one target.
    pub is_sticky: bool,
    /// Whether nodes choose among the targets of all zones, if the group says so itself.
    pub crosses: Option<bool>,
    /// Whether flows end when their target is registered no more.
    pub ends_deregistered: bool,
    /// Whether flows end when their target is unhealthy.
    pub ends_unhealthy: bool,
    /// So many targets have to be healthy, or a node chooses among all.
    pub least_healthy: MinimumHealthy,
    /// Its targets.
    pub targets: Vec<Target>,
}

/// A target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its address.
    pub address: Addr,
    /// Its port.
    pub port: u16,
    /// Its zone, the number of a subnet; all, if there is none.
    pub zone: Option<usize>,
    /// What checks found.
    pub health: HealthState,
    /// Whether it was deregistered and is on its way out.
    pub is_draining: bool,
}

/// An unhealthy target.
pub const UNHEALTHY: HealthState = HealthState::Unhealthy(HealthFailure::Timeout);

impl Balancer {
    /// The listener at a port for a protocol.
    #[must_use]
    pub fn listener(&self, port: u16, number: u8) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.port == port && listener.carries(number))
    }
}

impl Listener {
    fn carries(&self, number: u8) -> bool {
        match number {
            protocol::TCP => self.carries.has_tcp(),
            protocol::UDP => self.carries.has_udp(),
            _ => false,
        }
    }
}

/// The tables that the plan makes of a region's load balancers.
pub(crate) fn tables_of(region: &Region) -> Tables {
    let mut state = State::default();
    let mut add = |name: String, record: Record| {
        let key = Key {
            scope: Scope {
                account: AccountId::DEFAULT,
                region: RegionName::new("eu-west-1"),
            },
            kind: record.kind(),
            name: name.into(),
        };
        state.apply(Revision(1), &key, Some(record));
    };
    for balancer in &region.balancers {
        let id = LoadBalancerId::from_bits(balancer.id);
        add(id.to_string(), record_of(region, balancer));
        for listener in &balancer.listeners {
            let record = listener_of(balancer, listener);
            add(ListenerId::from_bits(listener.id).to_string(), record);
        }
        for group in &balancer.groups {
            let id = TargetGroupId::from_bits(group.id);
            add(id.to_string(), group_of(region, balancer, group));
            for target in &group.targets {
                let target = target_of(id, target);
                add(target.key.to_string(), Record::Target(target));
            }
        }
    }
    let mut planner = Planner::default();
    planner.advance(Arc::new(state));
    planner.tables()
}

/// The name of a zone.
fn zone_of(subnet: usize) -> String {
    format!("zone-{subnet}")
}

fn vpc_of(region: &Region, balancer: &Balancer) -> VpcId {
    let vpc = balancer
        .nodes
        .first()
        .map(|node| region.subnet_of(node).vpc);
    VpcId::from_bits(vpc.unwrap_or(0))
}

fn record_of(region: &Region, balancer: &Balancer) -> Record {
    let is_dualstack = balancer.nodes.iter().any(|node| node.addresses.len() > 1);
    let zone_of = |node: &Eni| LoadBalancerZone {
        zone: zone_of(node.subnet),
        subnet: SubnetId::from_bits(region.subnet_of(node).id),
        eni: EniId::from_bits(node.id),
        private_ip: node.addresses[0].v4_octets().into(),
        ipv6: node.addresses.get(1).map(|addr| addr.octets().into()),
        is_ipv6_chosen: false,
        public: None,
        is_private_ip_chosen: false,
    };
    let groups = balancer.nodes.first().map(|node| node.groups.clone());
    let groups = groups.unwrap_or_default().into_iter();
    Record::LoadBalancer(LoadBalancer {
        id: LoadBalancerId::from_bits(balancer.id),
        name: format!("lb-{}", balancer.id),
        vpc: vpc_of(region, balancer),
        scheme: Scheme::InternetFacing,
        ip_address_type: match is_dualstack {
            true => IpAddressType::Dualstack,
            false => IpAddressType::Ipv4,
        },
        zones: balancer.nodes.iter().map(zone_of).collect(),
        security_groups: groups
            .map(|group| SecurityGroupId::from_bits(region.groups[group].id))
            .collect(),
        attributes: LoadBalancerAttributes {
            cross_zone: balancer.crosses,
            deny_ipv6_internet: Some(balancer.denies_ipv6_internet),
            ..LoadBalancerAttributes::default()
        },
        create_time: Timestamp(0),
        tags: Tags::new(),
    })
}

fn listener_of(balancer: &Balancer, listener: &Listener) -> Record {
    let forward = listener.forward.iter().map(|(group, weight)| {
        let group = TargetGroupId::from_bits(balancer.groups[*group].id);
        let weight = *weight;
        listened::Forward { group, weight }
    });
    Record::Listener(listened::Listener {
        id: ListenerId::from_bits(listener.id),
        load_balancer: LoadBalancerId::from_bits(balancer.id),
        protocol: listener.carries,
        port: listener.port,
        forward: forward.collect(),
        stickiness: listener.is_sticky.then_some(listened::GroupStickiness {
            is_enabled: true,
            duration_s: None,
        }),
        order: None,
        tcp_idle_timeout_s: listener.idle_s,
        tls: None,
        tags: Tags::new(),
    })
}

fn group_of(region: &Region, balancer: &Balancer, group: &TargetGroup) -> Record {
    Record::TargetGroup(target_group::TargetGroup {
        id: TargetGroupId::from_bits(group.id),
        name: format!("group-{}", group.id),
        protocol: BalancedProtocol::TcpUdp,
        port: 8080,
        vpc: vpc_of(region, balancer),
        target_type: TargetType::Ip,
        ip_address_type: match group.is_v6 {
            true => TargetGroupIpAddressType::Ipv6,
            false => TargetGroupIpAddressType::Ipv4,
        },
        health_check: HealthCheck {
            protocol: HealthCheckProtocol::Tcp,
            port: None,
            path: "/".to_owned(),
            interval_s: 30,
            timeout_s: 10,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: StatusCodes::usual(),
        },
        attributes: TargetGroupAttributes {
            connection_termination: group.ends_deregistered,
            preserve_client_ip: group.preserves,
            is_sticky: group.is_sticky,
            cross_zone: group.crosses,
            unhealthy_routing: group.least_healthy,
            unhealthy_connection_termination: group.ends_unhealthy,
            ..TargetGroupAttributes::default()
        },
        create_time: Timestamp(0),
        tags: Tags::new(),
    })
}

fn target_of(group: TargetGroupId, target: &Target) -> target::Target {
    let address = IpAddr::from(target.address);
    target::Target {
        key: TargetKey {
            group,
            id: TargetId::Ip(address),
            port: target.port,
        },
        uid: TargetUid(1),
        address,
        zone: target.zone.map(zone_of),
        is_zone_chosen: false,
        registered_at: Timestamp(0),
        draining_until: target.is_draining.then_some(Timestamp(1)),
        health: TargetHealth {
            state: target.health,
            since: Timestamp(0),
        },
    }
}
