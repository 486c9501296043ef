//! Which targets new flows go to, and which zones a load balancer's name leads to.
//!
//! A zone's node considers the targets of its zone, or all of them where zones are crossed. Of those it
//! takes the healthy ones, unless they are too few: then it takes all (it fails open). A zone with too
//! few healthy targets for any of the target groups is not answered for by name, unless that is so of
//! every zone: then all are.

use enid_model::load_balancer::{LoadBalancer, LoadBalancerZone};
use enid_model::state::{RegionState, Stored};
use enid_model::target::{HealthState, Target};
use enid_model::target_group::TargetGroup;

/// What a zone's node knows of a target group.
#[derive(Debug)]
pub struct Considered<'a> {
    /// The targets that new flows go to.
    pub taken: Vec<&'a Stored<Target>>,
    /// Whether they are all that there are, because too few are healthy.
    pub is_fail_open: bool,
    /// How many of all are healthy.
    pub healthy: usize,
    /// How many are registered, for this zone's node.
    pub all: usize,
}

/// What the node of a zone takes of a target group that a listener of its load balancer leads to.
#[must_use]
pub fn considered<'a>(
    region: &'a RegionState,
    balancer: &LoadBalancer,
    group: &TargetGroup,
    zone: &str,
) -> Considered<'a> {
    let crosses = group.crosses_zones(balancer);
    let all: Vec<_> = region
        .targets_of_group(group.id)
        .filter(|target| crosses || target.is_of_zone(zone))
        .filter(|target| target.is_registered() && region.why_unused(target).is_none())
        .collect();
    let healthy: Vec<_> = all
        .iter()
        .copied()
        .filter(|target| target.health.state == HealthState::Healthy)
        .collect();
    let counts = (healthy.len(), all.len());
    let is_enough = group
        .attributes
        .unhealthy_routing
        .is_met(counts.0, counts.1);
    let is_fail_open = !is_enough && counts.0 < counts.1;
    Considered {
        taken: if is_enough { healthy } else { all },
        is_fail_open,
        healthy: counts.0,
        all: counts.1,
    }
}

/// The zones that a load balancer's name leads to; not `failing` ones, whose nodes an injected fault has
/// stopped.
#[must_use]
pub fn answering_zones<'a>(
    region: &RegionState,
    balancer: &'a LoadBalancer,
    failing: &[String],
) -> Vec<&'a LoadBalancerZone> {
    let answering: Vec<_> = balancer
        .zones
        .iter()
        .filter(|own| !failing.contains(&own.zone))
        .filter(|own| is_answering(region, balancer, &own.zone))
        .collect();
    if answering.is_empty() {
        return balancer.zones.iter().collect();
    }
    answering
}

fn is_answering(region: &RegionState, balancer: &LoadBalancer, zone: &str) -> bool {
    let listeners = region.listeners_of_load_balancer(balancer.id);
    let listeners = listeners.filter_map(|id| region.listeners.get(&id));
    let mut groups = listeners
        .flat_map(|listener| &listener.forward)
        .filter_map(|forward| region.target_groups.get(&forward.group));
    groups.all(|group| {
        let seen = considered(region, balancer, group, zone);
        let minimum = group.attributes.dns_failover;
        minimum.is_met(seen.healthy, seen.all)
    })
}
