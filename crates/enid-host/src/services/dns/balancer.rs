//! Names of load balancers: `web-0123456789abcdef.elb.eu-west-1.amazonaws.com` leads to the nodes of all
//! healthy zones, and the same below a zone's name to the node there. With no healthy zone all count as
//! healthy.
//!
//! An internal load balancer has private addresses for whoever asks, an internet-facing one public ones.
//! Within its VPC a load balancer's routing policy may prefer the node of the asker's own zone.

use std::net::Ipv4Addr;

use enid_model::id::LoadBalancerId;
use enid_model::load_balancer::{ClientRoutingPolicy, LoadBalancer, LoadBalancerZone};
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_plan::target_health::answering_zones;
use hickory_proto::rr::rdata::A;
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
    if kind != RecordType::A {
        return Some(Found::NoRecord(domain));
    }
    let mut records: Vec<_> = nodes.into_iter().map(|own| RData::A(A(own))).collect();
    let first = usize::from(draw) % records.len();
    records.rotate_left(first);
    Some(Found::Records(records))
}

/// The addresses that a name leads to.
fn nodes(
    asker: &Asker<'_>,
    resources: &RegionState,
    balancer: &LoadBalancer,
    zone: Option<&str>,
    draw: u16,
) -> Vec<Ipv4Addr> {
    let address = |own: &LoadBalancerZone| match own.public {
        Some(public) => public.public_ip,
        None => own.private_ip,
    };
    let answering = answering_zones(resources, balancer, asker.failing);
    let of = |name: &str| answering.iter().find(|own| own.zone == name);
    if let Some(zone) = zone {
        return of(zone).map(|own| address(own)).into_iter().collect();
    }
    let prefers = match balancer.attributes.client_routing_policy {
        ClientRoutingPolicy::AnyAvailabilityZone => false,
        ClientRoutingPolicy::AvailabilityZoneAffinity => true,
        ClientRoutingPolicy::PartialAvailabilityZoneAffinity => draw % 100 < PARTIAL,
    };
    let subnet = asker.resources.subnets.get(&asker.eni.subnet);
    let near = subnet.filter(|subnet| prefers && subnet.vpc == balancer.vpc);
    match near.and_then(|subnet| of(&subnet.zone)) {
        Some(own) => vec![address(own)],
        None => answering.iter().map(|own| address(own)).collect(),
    }
}

const ELB: &str = "elb";

/// Of 100 queries, so many are answered with the own zone's node under partial affinity.
/// Source: User Guide for Network Load Balancers, "Availability Zone DNS affinity".
const PARTIAL: u16 = 85;
