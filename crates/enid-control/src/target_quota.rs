//! How many targets there may be: of a group, of a load balancer, and for the node of each zone.
//!
//! A target counts for each node that sends it flows: where zones are crossed that is every node, so that all
//! targets together are then no more than one zone's may be.

use std::collections::{BTreeMap, BTreeSet};

use enid_model::id::{LoadBalancerId, TargetGroupId};
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_model::target::{Target, TargetKey};
use enid_model::target_group::TargetGroup;

use crate::BalancingError;

/// AWS's quota of a target group.
pub const TARGETS_PER_GROUP_MAX: usize = 1000;
/// The same of a load balancer.
pub const TARGETS_PER_BALANCER_MAX: usize = 3000;
/// The same of a load balancer's zone.
pub const TARGETS_PER_ZONE_MAX: usize = 500;

/// Whether new targets fit into their group, and to those that its load balancer has.
pub(crate) fn check_new(
    region: &RegionState,
    group: &TargetGroup,
    new: &BTreeMap<TargetKey, Target>,
) -> Result<(), BalancingError> {
    let is_known = |key: &TargetKey| {
        let known = region.targets.get(key);
        known.is_some_and(|known| known.is_registered())
    };
    let added: Vec<&Target> = new.values().filter(|it| !is_known(&it.key)).collect();
    if registered(region, group.id).count() + added.len() > TARGETS_PER_GROUP_MAX {
        return Err(BalancingError::TooManyTargets);
    }
    let Some(balancer) = region.load_balancers_of_group(group.id).next() else {
        return Ok(());
    };
    let groups = groups_of(region, balancer.id);
    let own = groups.iter().filter_map(|id| region.target_groups.get(id));
    let there = own.flat_map(|own| registered(region, own.id).map(move |it| (&**own, it)));
    let all = there.chain(added.into_iter().map(|target| (group, target)));
    check(balancer, all)
}

/// Whether the targets of these groups, one perhaps changed, fit together to a load balancer.
pub(crate) fn check_groups(
    region: &RegionState,
    balancer: &LoadBalancer,
    more: &BTreeSet<TargetGroupId>,
    changed: Option<&TargetGroup>,
) -> Result<(), BalancingError> {
    let mut groups = groups_of(region, balancer.id);
    groups.extend(more);
    let groups = groups
        .iter()
        .filter_map(|id| match changed.filter(|it| it.id == *id) {
            Some(changed) => Some(changed),
            None => region.target_groups.get(id).map(|group| &**group),
        });
    let all = groups.flat_map(|group| registered(region, group.id).map(move |it| (group, it)));
    check(balancer, all)
}

/// Whether the targets of a load balancer still fit to it when zones are crossed by what is set.
pub(crate) fn check_crossing(
    region: &RegionState,
    balancer: &LoadBalancer,
    changed: Option<&TargetGroup>,
) -> Result<(), BalancingError> {
    let fits = check_groups(region, balancer, &BTreeSet::new(), changed);
    fits.map_err(|_too_many| BalancingError::TooManyTargetsCrossing)
}

fn check<'a>(
    balancer: &LoadBalancer,
    targets: impl Iterator<Item = (&'a TargetGroup, &'a Target)>,
) -> Result<(), BalancingError> {
    let mut count = 0;
    let mut of_zones = vec![0; balancer.zones.len()];
    for (group, target) in targets {
        count += 1;
        let crosses = group.crosses_zones(balancer);
        for (of_zone, own) in of_zones.iter_mut().zip(&balancer.zones) {
            *of_zone += usize::from(crosses || target.is_of_zone(&own.zone));
        }
    }
    let is_full = of_zones.iter().any(|count| *count > TARGETS_PER_ZONE_MAX);
    match is_full || count > TARGETS_PER_BALANCER_MAX {
        true => Err(BalancingError::TooManyTargets),
        false => Ok(()),
    }
}

fn registered(region: &RegionState, group: TargetGroupId) -> impl Iterator<Item = &Target> {
    let targets = region.targets_of_group(group);
    targets
        .map(|target| &**target)
        .filter(|target| target.is_registered())
}

/// The groups that the listeners of a load balancer lead to.
fn groups_of(region: &RegionState, balancer: LoadBalancerId) -> BTreeSet<TargetGroupId> {
    let listeners = region.listeners_of_load_balancer(balancer);
    let listeners = listeners.filter_map(|id| region.listeners.get(&id));
    listeners
        .flat_map(|listener| listener.forward.iter().map(|forward| forward.group))
        .collect()
}

#[cfg(test)]
mod tests {
    use enid_model::target_group::{BalancedProtocol, TargetGroupIpAddressType, TargetType};

    use crate::fixture::{balancer, caller, control, findings, new_listener, place, vpc_of};
    use crate::{Attribute, CreateTargetGroup, NamedTarget, WantedHealthCheck};

    #[tokio::test]
    async fn a_zone_has_room_for_so_many_targets_of_all_its_groups() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let vpc = vpc_of(&control, &place).await;
        let make = async |name: &str| {
            let input = CreateTargetGroup {
                name: name.to_owned(),
                protocol: Some(BalancedProtocol::Tcp),
                port: Some(80),
                vpc: Some(vpc),
                target_type: TargetType::Ip,
                ip_address_type: TargetGroupIpAddressType::Ipv4,
                health_check: WantedHealthCheck::default(),
                tags: Vec::new(),
            };
            let made = control.create_target_group(&caller, &input).await;
            made.expect("a target group").id
        };
        let register = async |group, address: &str, ports: std::ops::RangeInclusive<u16>| {
            let targets: Vec<NamedTarget> = ports
                .map(|port| NamedTarget {
                    id: address.to_owned(),
                    port: Some(port),
                    zone: None,
                })
                .collect();
            let done = control.register_targets(&caller, group, &targets).await;
            done.map_err(|error| error.code())
        };
        let (one, other) = (make("one").await, make("other").await);
        let web = balancer(&control, &place, "web").await;
        let listen = async |port, group| {
            let wanted = new_listener(web.id, port, group);
            let done = control.create_listener(&caller, &wanted).await;
            done.map(|_| ()).map_err(|error| error.code())
        };
        let full = Err("TooManyTargets");
        assert_eq!(listen(80, one).await, Ok(()));
        assert_eq!(register(one, "10.0.0.9", 1..=400).await, Ok(()));
        // Known ones count once.
        assert_eq!(register(one, "10.0.0.9", 1..=500).await, Ok(()));
        assert_eq!(register(one, "10.0.0.9", 501..=501).await, full);
        // A zone without a node, which is full of its own.
        assert_eq!(register(one, "10.0.255.9", 1..=300).await, Ok(()));
        assert_eq!(register(other, "10.0.0.8", 1..=1).await, Ok(()));
        assert_eq!(listen(81, other).await, full);
        let crosses = |value: &str| {
            [Attribute {
                key: "load_balancing.cross_zone.enabled".to_owned(),
                value: value.to_owned(),
            }]
        };
        let (on, off) = (crosses("true"), crosses("false"));
        // Where zones are crossed all count for every node.
        let done = control.modify_target_group_attributes(&caller, one, &on);
        let crossing = Err("InvalidConfigurationRequest");
        assert_eq!(done.await.map(|_| ()).map_err(|it| it.code()), crossing);
        let done = control.modify_load_balancer_attributes(&caller, web.id, &on);
        assert_eq!(done.await.map(|_| ()).map_err(|it| it.code()), crossing);
        let done = control.modify_target_group_attributes(&caller, one, &off);
        assert!(done.await.is_ok());
        let done = control.modify_load_balancer_attributes(&caller, web.id, &on);
        assert!(done.await.is_ok());
        assert_eq!(findings(&control), []);
    }
}
