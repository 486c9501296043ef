//! Names of load balancers: `web-0123456789abcdef.elb.eu-west-1.amazonaws.com` leads to the nodes of all
//! healthy zones, and the same below a zone's name to the node there. With no healthy zone all count as
//! healthy.
//!
//! An internal load balancer has private addresses for whoever asks, an internet-facing one public ones. A
//! dualstack one has the nodes' IPv6 addresses as well.
//! Within its VPC a load balancer's routing policy may prefer the node of the asker's own zone.

use std::net::Ipv4Addr;

use enid_model::id::LoadBalancerId;
use enid_model::load_balancer::{ClientRoutingPolicy, LoadBalancer, LoadBalancerZone};
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_plan::target_health::answering_zones;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, RecordType};

use super::super::asker::Asker;
use super::zone::{Found, Labels};

/// What there is to a name, if it is one of a load balancer's here. What is another's is not told
/// here. `draw` is another number with every query: it decides which address comes first.
pub(super) fn find(
    asker: &Asker<'_>,
    labels: &Labels,
    kind: RecordType,
    draw: u16,
) -> Option<Found> {
    let mut names = labels.all().iter().skip_while(|label| *label != ELB);
    let region = Region::named(names.nth(1)?)?;
    let domain = format!("{ELB}.{}.{}", region.name, region.dns_suffix());
    let (zone, label) = match labels.below(&domain)? {
        [label] => (None, label),
        [zone, label] => (Some(zone.as_str()), label),
        _ => return None,
    };
    let (name, id) = label.rsplit_once('-')?;
    let id: LoadBalancerId = id.parse().ok()?;
    let mut regions = asker.state.regions().iter();
    let (resources, balancer) = regions.find_map(|(scope, resources)| {
        let found = resources.load_balancers.get(&id)?;
        // Names in the DNS have no case.
        let same = scope.region.as_str() == region.name && found.name.eq_ignore_ascii_case(name);
        same.then_some((&**resources, &**found.record()))
    })?;
    let domain = format!("{domain}.");
    let nodes = nodes(asker, resources, balancer, zone, draw);
    if nodes.is_empty() {
        return Some(Found::NoName(domain));
    }
    let nodes = nodes.into_iter();
    let mut records: Vec<_> = match kind {
        RecordType::A => nodes.map(|own| RData::A(A(ipv4_of(own)))).collect(),
        RecordType::AAAA => nodes
            .filter_map(|own| Some(RData::AAAA(AAAA(own.ipv6?))))
            .collect(),
        _ => Vec::new(),
    };
    if records.is_empty() {
        return Some(Found::NoRecord(domain));
    }
    let first = usize::from(draw) % records.len();
    records.rotate_left(first);
    Some(Found::Records(records))
}

/// The address of IPv4 that a node is reached by.
fn ipv4_of(own: &LoadBalancerZone) -> Ipv4Addr {
    match own.public {
        Some(public) => public.public_ip,
        None => own.private_ip,
    }
}

/// The nodes that a name leads to.
fn nodes<'a>(
    asker: &Asker<'_>,
    resources: &RegionState,
    balancer: &'a LoadBalancer,
    zone: Option<&str>,
    draw: u16,
) -> Vec<&'a LoadBalancerZone> {
    let answering = answering_zones(resources, balancer, asker.failing);
    let of = |name: &str| answering.iter().find(|own| own.zone == name);
    if let Some(zone) = zone {
        return of(zone).copied().into_iter().collect();
    }
    let prefers = match balancer.attributes.client_routing_policy {
        ClientRoutingPolicy::AnyAvailabilityZone => false,
        ClientRoutingPolicy::AvailabilityZoneAffinity => true,
        ClientRoutingPolicy::PartialAvailabilityZoneAffinity => draw % 100 < PARTIAL,
    };
    let subnet = asker.resources.subnets.get(&asker.eni.subnet);
    let near = subnet.filter(|subnet| prefers && subnet.vpc == balancer.vpc);
    match near.and_then(|subnet| of(&subnet.zone)) {
        Some(own) => vec![*own],
        None => answering,
    }
}

const ELB: &str = "elb";

/// Of 100 queries, so many are answered with the own zone's node under partial affinity.
/// Source: User Guide for Network Load Balancers, "Availability Zone DNS affinity".
const PARTIAL: u16 = 85;

#[cfg(test)]
mod tests {
    use enid_model::id::{EniId, ListenerId, SubnetId, TargetGroupId, TargetUid, VpcId};
    use enid_model::key::Kind;
    use enid_model::load_balancer::LoadBalancerAttributes;
    use hickory_proto::rr::Name;
    use serde_json::json;

    use super::super::super::fixture::{World, scope, world};
    use super::*;

    const BALANCER: LoadBalancerId = LoadBalancerId(0x1234);
    const GROUP: TargetGroupId = TargetGroupId(1);
    const NAME: &str = "web-0000000000001234.elb.eu-west-1.amazonaws.com.";

    /// A load balancer with nodes in the asker's zone and in another.
    fn add_balancer(world: &mut World, attributes: LoadBalancerAttributes) {
        let node = |zone: &str, subnet: u64, address: &str| {
            json!({
                "zone": zone, "subnet": SubnetId(subnet), "eni": EniId(subnet + 10),
                "private_ip": address, "public": null,
            })
        };
        world.json(
            Kind::LoadBalancer,
            BALANCER,
            json!({
                "id": BALANCER, "name": "web", "vpc": VpcId(1), "scheme": "internal",
                "zones": [
                    node("eu-west-1a", 1, "10.0.1.9"), node("eu-west-1b", 2, "10.0.2.9"),
                ],
                "security_groups": [], "attributes": attributes, "create_time": 0, "tags": {},
            }),
        );
        world.json(
            Kind::TargetGroup,
            GROUP,
            json!({
                "id": GROUP, "name": "web", "protocol": "TCP", "port": 80, "vpc": VpcId(1),
                "target_type": "ip", "attributes": {}, "create_time": 0, "tags": {},
                "health_check": {
                    "protocol": "TCP", "port": null, "path": "/", "interval_s": 30, "timeout_s": 10,
                    "healthy_threshold": 5, "unhealthy_threshold": 2, "matcher": "200-399",
                },
            }),
        );
        let id = ListenerId(1);
        let listener = json!({
            "id": id, "load_balancer": BALANCER, "protocol": "TCP", "port": 80,
            "forward": [{"group": GROUP, "weight": 1}], "tags": {},
        });
        world.json(Kind::Listener, id, listener);
    }

    fn add_target(world: &mut World, zone: &str, address: &str, health: &str) {
        let target = json!({
            "group": GROUP, "id": address, "port": 80, "uid": TargetUid(1), "address": address,
            "zone": zone, "registered_at": 0, "draining_until": null,
            "health": {"state": health, "since": 0},
        });
        world.json(Kind::Target, format!("{GROUP}/{address}/80"), target);
    }

    /// What an interface is told: addresses, or what there is instead; `None` if it is another's.
    fn told(world: &World, eni: u64, name: &str, kind: RecordType, draw: u16) -> Option<String> {
        let state = world.state();
        let asker = Asker::of_eni(&state, &scope(), EniId(eni)).expect("an interface");
        let labels = Labels::of(&Name::from_ascii(name).expect("a name"));
        Some(match find(&asker, &labels, kind, draw)? {
            Found::Records(all) => {
                let all: Vec<String> = all.iter().map(RData::to_string).collect();
                all.join(" ")
            }
            Found::NoName(zone) => format!("NXDOMAIN {zone}"),
            Found::NoRecord(zone) => format!("NODATA {zone}"),
            Found::Elsewhere | Found::Record(_) => panic!("{name} leads elsewhere"),
        })
    }

    fn a(world: &World, eni: u64, name: &str, draw: u16) -> Option<String> {
        told(world, eni, name, RecordType::A, draw)
    }

    #[test]
    fn names_lead_to_the_nodes_of_healthy_zones() {
        let mut world = world();
        add_balancer(&mut world, LoadBalancerAttributes::default());
        let (both, turned) = (Some("10.0.1.9 10.0.2.9"), Some("10.0.2.9 10.0.1.9"));
        let (near, far) = (format!("eu-west-1a.{NAME}"), format!("eu-west-1b.{NAME}"));
        let zone = "elb.eu-west-1.amazonaws.com.";
        // Without a healthy target anywhere, all zones count.
        assert_eq!(a(&world, 1, NAME, 0).as_deref(), both);
        assert_eq!(a(&world, 1, NAME, 1).as_deref(), turned);
        assert_eq!(a(&world, 1, &far, 0).as_deref(), Some("10.0.2.9"));
        add_target(&mut world, "eu-west-1a", "10.0.1.20", "healthy");
        add_target(&mut world, "eu-west-1b", "10.0.2.20", "initial");
        assert_eq!(a(&world, 1, NAME, 1).as_deref(), Some("10.0.1.9"));
        assert_eq!(a(&world, 1, &near, 1).as_deref(), Some("10.0.1.9"));
        let gone = Some(format!("NXDOMAIN {zone}"));
        assert_eq!(a(&world, 1, &far, 1), gone);
        assert_eq!(a(&world, 1, &format!("eu-west-1c.{NAME}"), 1), gone);
        add_target(&mut world, "eu-west-1b", "10.0.2.20", "healthy");
        // From another VPC as well, in any case.
        assert_eq!(a(&world, 3, &NAME.to_uppercase(), 0).as_deref(), both);
        let none = Some(format!("NODATA {zone}"));
        assert_eq!(told(&world, 1, NAME, RecordType::AAAA, 0), none);
        for other in [
            "web-0000000000001235.elb.eu-west-1.amazonaws.com.",
            "www-0000000000001234.elb.eu-west-1.amazonaws.com.",
            "web-0000000000001234.elb.eu-west-2.amazonaws.com.",
            "web-0000000000001234.elb.eu-west-1.example.com.",
            "a.b.web-0000000000001234.elb.eu-west-1.amazonaws.com.",
            "elb.eu-west-1.amazonaws.com.",
        ] {
            assert_eq!(a(&world, 1, other, 0), None, "{other}");
        }
    }

    #[test]
    fn a_policy_prefers_the_askers_zone() {
        let mut world = world();
        let with = |client_routing_policy| LoadBalancerAttributes {
            client_routing_policy,
            ..LoadBalancerAttributes::default()
        };
        let (own, both) = (Some("10.0.1.9"), Some("10.0.1.9 10.0.2.9"));
        add_balancer(
            &mut world,
            with(ClientRoutingPolicy::AvailabilityZoneAffinity),
        );
        assert_eq!(a(&world, 1, NAME, 98).as_deref(), own);
        // An asker of another VPC has no zone of its own here.
        assert_eq!(a(&world, 3, NAME, 98).as_deref(), both);
        let partial = ClientRoutingPolicy::PartialAvailabilityZoneAffinity;
        add_balancer(&mut world, with(partial));
        assert_eq!(a(&world, 1, NAME, 84).as_deref(), own);
        assert_eq!(a(&world, 1, NAME, 86).as_deref(), both);
        // Only a zone that is healthy is preferred.
        add_target(&mut world, "eu-west-1b", "10.0.2.20", "healthy");
        assert_eq!(a(&world, 1, NAME, 84).as_deref(), Some("10.0.2.9"));
    }
}
