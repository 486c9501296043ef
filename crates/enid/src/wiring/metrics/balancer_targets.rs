//! How the targets of load balancers are, by the names of AWS's metrics: only what health checks have seen.

use std::collections::{BTreeMap, BTreeSet};

use enid_model::key::Scope;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_model::target::HealthState;
use enid_plan::target_health::is_answering;
use enid_telemetry::meanings;
use enid_telemetry::source::{Post, Reading};

const NLB: Option<&str> = Some("AWS/NetworkELB");

meanings! {
    HEALTHY = NLB, "HealthyHostCount", COUNT, Gauge, Some("enid_nlb_healthy_targets"), "Targets of a target group that are healthy";
    UNHEALTHY = NLB, "UnHealthyHostCount", COUNT, Gauge, Some("enid_nlb_unhealthy_targets"), "Targets of a target group that are unhealthy";
    ZONAL = NLB, "ZonalHealthStatus", COUNT, Gauge, Some("enid_nlb_zone_healthy"), "One for each zone with enough healthy targets, zero for each other one";
}

/// How the targets of a load balancer are, and its zones.
pub(super) fn of_targets(
    scope: &Scope,
    region: &RegionState,
    balancer: &LoadBalancer,
) -> Vec<Reading> {
    let mut readings = Vec::new();
    let path = balancer.path();
    let dimension = || ("LoadBalancer", path.clone());
    let listeners = region.listeners_of_load_balancer(balancer.id);
    let groups: BTreeSet<_> = listeners
        .filter_map(|id| region.listeners.get(&id))
        .flat_map(|listener| listener.forward.iter().map(|forward| forward.group))
        .collect();
    for group in groups {
        let Some(group) = region.target_groups.get(&group) else {
            continue;
        };
        // Of each zone, and of what is of no zone in particular.
        let mut seen: BTreeMap<Option<&str>, [f64; 2]> = BTreeMap::new();
        for target in region.targets_of_group(group.id) {
            if !target.is_registered() || region.why_unused(target).is_some() {
                continue;
            }
            let [healthy, unhealthy] = seen.entry(target.zone.as_deref()).or_default();
            match target.health.state {
                HealthState::Healthy => *healthy += 1.0,
                HealthState::Unhealthy(_) => *unhealthy += 1.0,
                HealthState::Initial => {}
            }
        }
        for (zone, counts) in seen {
            for (meaning, count) in [&HEALTHY, &UNHEALTHY].into_iter().zip(counts) {
                let of_group = vec![("TargetGroup", group.path()), dimension()];
                let mut posts = vec![Post::new(meaning, scope, of_group.clone())];
                if let Some(zone) = zone {
                    let mut of_zone = of_group;
                    of_zone.push(("AvailabilityZone", zone.to_owned()));
                    posts = vec![posts.remove(0).sum(), Post::new(meaning, scope, of_zone)];
                }
                let key = format!("{path}/{}/{zone:?}/{}", group.id, meaning.name);
                readings.push(Reading::level(key, count, posts));
            }
        }
    }
    for own in &balancer.zones {
        let level = f64::from(u8::from(is_answering(region, balancer, &own.zone)));
        let zone = ("AvailabilityZone", own.zone.clone());
        let posts = vec![
            Post::new(&ZONAL, scope, vec![dimension()])
                .part(&own.zone)
                .sum(),
            Post::new(&ZONAL, scope, vec![dimension(), zone]),
        ];
        let key = format!("{path}/{}/{}", own.zone, ZONAL.name);
        readings.push(Reading::level(key, level, posts));
    }
    readings
}
