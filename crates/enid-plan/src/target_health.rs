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

/// Whether no target group of a load balancer has too few healthy targets for a zone's node.
#[must_use]
pub fn is_answering(region: &RegionState, balancer: &LoadBalancer, zone: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use enid_model::id::{ListenerId, LoadBalancerId, SubnetId, TargetGroupId, TargetUid, VpcId};
    use enid_model::key::{AccountId, Key, Kind, RegionName, Scope};
    use enid_model::record::{FORMAT, Record};
    use enid_model::state::{Revision, State};
    use enid_pipeline::bytes::Addr;
    use serde_json::{Value, json};

    use super::*;

    const BALANCER: LoadBalancerId = LoadBalancerId(1);
    const GROUP: TargetGroupId = TargetGroupId(1);

    struct World(State);

    impl World {
        fn put(&mut self, kind: Kind, name: impl ToString, mut record: Value) {
            record["v"] = FORMAT.into();
            let record = Record::from_bytes(kind, record.to_string().as_bytes());
            let scope = Scope {
                account: AccountId::DEFAULT,
                region: RegionName::new("eu-west-1"),
            };
            let name = name.to_string().into();
            let key = Key { scope, kind, name };
            let record = record.expect("a record of its kind");
            self.0.apply(Revision(1), &key, Some(record));
        }

        fn target(&mut self, last: u8, zone: &str, health: &str) {
            let address = format!("10.0.0.{last}");
            let target = json!({
                "group": GROUP, "id": address, "port": 80, "uid": TargetUid(last.into()),
                "address": address, "zone": zone, "registered_at": 0, "draining_until": null,
                "health": {"state": health, "since": 0},
            });
            self.put(Kind::Target, format!("{GROUP}/{address}/80"), target);
        }

        /// The last octets of the targets that a zone takes, and whether it fails open.
        fn taken(&self, zone: &str) -> (Vec<u8>, bool) {
            let region = self.region();
            let balancer = region.load_balancers.get(&BALANCER).expect("a balancer");
            let group = region.target_groups.get(&GROUP).expect("a group");
            let seen = considered(region, balancer, group, zone);
            let taken = seen
                .taken
                .iter()
                .map(|target| Addr::from(target.address).v4_octets()[3]);
            (taken.collect(), seen.is_fail_open)
        }

        fn answering(&self) -> Vec<&str> {
            self.answering_without(&[])
        }

        fn answering_without(&self, failing: &[String]) -> Vec<&str> {
            let region = self.region();
            let balancer = region.load_balancers.get(&BALANCER).expect("a balancer");
            let zones = answering_zones(region, balancer, failing);
            zones.iter().map(|own| own.zone.as_str()).collect()
        }

        fn region(&self) -> &RegionState {
            let mut regions = self.0.regions().values();
            regions.next().expect("a region")
        }
    }

    fn world(balancer: Value, group: Value) -> World {
        let mut world = World(State::default());
        let zone = |zone: &str| {
            json!({
                "zone": zone, "subnet": SubnetId(1), "eni": enid_model::id::EniId(1),
                "private_ip": "10.0.0.4", "public": null,
            })
        };
        world.put(
            Kind::LoadBalancer,
            BALANCER,
            json!({
                "id": BALANCER, "name": "web", "vpc": VpcId(1), "scheme": "internal",
                "zones": [zone("a"), zone("b")], "attributes": balancer, "security_groups": [],
                "create_time": 0, "tags": {},
            }),
        );
        world.put(
            Kind::TargetGroup,
            GROUP,
            json!({
                "id": GROUP, "name": "web", "protocol": "TCP", "port": 80, "vpc": VpcId(1),
                "target_type": "ip", "attributes": group, "create_time": 0, "tags": {},
                "health_check": {
                    "protocol": "TCP", "port": null, "path": "/", "interval_s": 30, "timeout_s": 10,
                    "healthy_threshold": 5, "unhealthy_threshold": 2, "matcher": "200-399",
                },
            }),
        );
        let listener = json!({
            "id": ListenerId(1), "load_balancer": BALANCER, "protocol": "TCP", "port": 80,
            "forward": [{"group": GROUP, "weight": 1}], "tags": {},
        });
        world.put(Kind::Listener, ListenerId(1), listener);
        world
    }

    #[test]
    fn a_zone_takes_its_healthy_targets_or_all_of_its_own() {
        let mut world = world(json!({}), json!({}));
        assert_eq!(world.taken("a"), (vec![], false));
        world.target(5, "a", "healthy");
        world.target(6, "a", "initial");
        world.target(7, "b", "initial");
        // Not enabled: of no use to any node.
        world.target(8, "c", "healthy");
        assert_eq!(world.taken("a"), (vec![5], false));
        assert_eq!(world.taken("b"), (vec![7], true));
        assert_eq!(world.answering(), ["a"]);
        world.target(5, "a", "initial");
        assert_eq!(world.taken("a"), (vec![5, 6], true));
        assert_eq!(world.answering(), ["a", "b"]);
    }

    #[test]
    fn across_zones_all_targets_are_every_zones() {
        let crosses = json!({"cross_zone": true});
        let mut all = world(crosses.clone(), json!({}));
        all.target(5, "a", "healthy");
        all.target(7, "b", "initial");
        assert_eq!(all.taken("b"), (vec![5], false));
        assert_eq!(all.answering(), ["a", "b"]);
        assert_eq!(all.answering_without(&["a".to_owned()]), ["b"]);
        // The group's word goes before the load balancer's.
        let mut own = world(crosses, json!({"cross_zone": false}));
        own.target(5, "a", "healthy");
        assert_eq!(own.taken("b"), (vec![], false));
    }

    #[test]
    fn a_group_says_how_many_are_too_few() {
        let minimum = json!({"count": 2, "percentage": null});
        let attributes = json!({"dns_failover": minimum, "unhealthy_routing": minimum});
        let mut world = world(json!({}), attributes);
        world.target(5, "a", "healthy");
        world.target(6, "a", "initial");
        world.target(7, "b", "healthy");
        world.target(8, "b", "healthy");
        assert_eq!(world.taken("a"), (vec![5, 6], true));
        assert_eq!(world.taken("b"), (vec![7, 8], false));
        assert_eq!(world.answering(), ["b"]);
    }
}
