//! Which targets are to be checked, how, and from which nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use enid_model::id::{EniId, TargetUid};
use enid_model::key::Scope;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::{RegionState, State};
use enid_model::target::{HealthState, Target, TargetKey};
use enid_model::target_group::{HealthCheck, TargetGroup};

use super::Seen;

/// How a target is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Which registration it is.
    pub(super) uid: TargetUid,
    /// What is asked.
    pub(super) address: SocketAddr,
    /// How.
    pub(super) settings: HealthCheck,
    /// Whether it begins with a header of the proxy protocol.
    pub(super) has_header: bool,
    /// From where, and what each node calls the host that it asks.
    pub(super) nodes: Vec<(EniId, String)>,
}

/// All targets to check, by nodes that are there.
pub(super) fn wanted(
    state: &State,
    is_there: impl Fn(EniId) -> bool,
) -> BTreeMap<(Scope, TargetKey), Check> {
    let mut wanted = BTreeMap::new();
    for (scope, region) in state.regions() {
        for group in region.target_groups.values() {
            let Some(balancer) = region.load_balancers_of_group(group.id).next() else {
                continue;
            };
            for target in region.targets_of_group(group.id) {
                if !target.is_registered() || region.why_unused(target).is_some() {
                    continue;
                }
                let nodes = nodes(region, balancer, group, target, &is_there);
                if !nodes.is_empty() {
                    let check = check(group, target, nodes);
                    wanted.insert((scope.clone(), target.key), check);
                }
            }
        }
    }
    wanted
}

/// The targets of which something was seen that nobody checks any more: nothing is known of them.
pub(super) fn unseen(state: &State) -> Vec<Seen> {
    let regions = state.regions().iter();
    let unseen = regions.flat_map(|(scope, region)| {
        let targets = region.targets.values().filter(|target| {
            target.is_registered()
                && target.health.state != HealthState::Initial
                && region.why_unused(target).is_some()
        });
        targets.map(|target| Seen {
            scope: scope.clone(),
            key: target.key,
            uid: target.uid,
            state: HealthState::Initial,
        })
    });
    unseen.collect()
}

fn check(group: &TargetGroup, target: &Target, nodes: Vec<(EniId, String)>) -> Check {
    let port = group.health_check.port.unwrap_or(target.key.port);
    Check {
        uid: target.uid,
        address: SocketAddr::new(target.address, port),
        settings: group.health_check.clone(),
        has_header: group.attributes.proxy_protocol_v2,
        nodes,
    }
}

/// The nodes that send flows to a target, with what they say as the host: their address, and the port of a
/// listener that leads to the group.
fn nodes(
    region: &RegionState,
    balancer: &LoadBalancer,
    group: &TargetGroup,
    target: &Target,
    is_there: impl Fn(EniId) -> bool,
) -> Vec<(EniId, String)> {
    let mut ports = region
        .listeners_of_target_group(group.id)
        .filter_map(|id| region.listeners.get(&id))
        .map(|listener| listener.port);
    let port = ports.next().unwrap_or(group.port);
    let crosses = group.crosses_zones(balancer);
    let zones = balancer.zones.iter();
    zones
        .filter(|zone| crosses || target.is_of_zone(&zone.zone))
        .filter(|zone| is_there(zone.eni))
        .filter_map(|zone| {
            let own = match target.address {
                IpAddr::V4(_) => IpAddr::V4(zone.private_ip),
                IpAddr::V6(_) => IpAddr::V6(zone.ipv6?),
            };
            Some((zone.eni, SocketAddr::new(own, port).to_string()))
        })
        .collect()
}
