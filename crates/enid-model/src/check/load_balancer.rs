//! Load balancers with their nodes, target groups, targets and listeners.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Report;
use super::name::CLAIMED;
use crate::address::PublicAddressHolder;
use crate::listener::{FORWARDS_MAX, Listener};
use crate::load_balancer::{IpAddressType, LoadBalancer, LoadBalancerZone, Scheme};
use crate::network_interface::{InterfaceType, NetworkInterface};
use crate::target::TargetId;
use crate::target_group::TargetType;

impl Report<'_> {
    pub(super) fn load_balancers(&mut self) {
        for (id, balancer) in &self.region.load_balancers {
            self.need(*id == balancer.id, id, "its key is its id", &balancer.id);
            let claimed = self.is_claimed(*id, &balancer.name);
            self.need(claimed, id, CLAIMED, &balancer.name);
            self.vpc(id, balancer.vpc);
            let zones = &balancer.zones;
            self.need(!zones.is_empty(), id, "it has a zone", &"none");
            let in_order = zones.is_sorted_by(|one, next| one.zone < next.zone);
            let invariant = "its zones are in order, each once";
            self.need(in_order, id, invariant, &format_args!("{zones:?}"));
            for own in zones {
                self.node(balancer, own);
            }
            for group in &balancer.security_groups {
                self.group(id, "each of its groups is there", *group);
            }
        }
    }

    fn node(&mut self, balancer: &LoadBalancer, own: &LoadBalancerZone) {
        let id = &balancer.id;
        let subnet = self.region.subnets.get(&own.subnet);
        let there =
            subnet.is_some_and(|subnet| subnet.vpc == balancer.vpc && subnet.zone == own.zone);
        let invariant = "each zone's subnet is there, in its VPC and in the zone";
        self.need(there, id, invariant, &own.subnet);
        let is_dualstack = balancer.ip_address_type == IpAddressType::Dualstack;
        let invariant = "each node has an IPv6 address if it is dualstack";
        self.need(own.ipv6.is_some() == is_dualstack, id, invariant, &own.eni);
        let Some(eni) = self.eni(id, own.eni) else {
            return;
        };
        let made_for_it = eni.interface_type == InterfaceType::NetworkLoadBalancer
            && eni.subnet == own.subnet
            && eni.addresses == [own.private_ip]
            && eni.ipv6_addresses.iter().eq(&own.ipv6);
        let invariant = "each node's interface is made for it";
        self.need(made_for_it, id, invariant, &eni.id);
        let carried: BTreeSet<_> = eni.groups.iter().collect();
        let groups: BTreeSet<_> = balancer.security_groups.iter().collect();
        let invariant = "its nodes' interfaces carry its groups";
        self.need(carried == groups, id, invariant, &eni.id);
        self.public_of(balancer, own, eni);
    }

    fn public_of(
        &mut self,
        balancer: &LoadBalancer,
        own: &LoadBalancerZone,
        eni: &NetworkInterface,
    ) {
        let id = &balancer.id;
        let is_public = balancer.scheme == Scheme::InternetFacing;
        let invariant = "each node has a public address if it is internet-facing";
        self.need(own.public.is_some() == is_public, id, invariant, &own.eni);
        let Some(public) = own.public else {
            return;
        };
        let Some(allocation) = public.allocation else {
            let assigned = eni.public_address == Some(public.public_ip);
            let invariant = "each node's public address is its interface's";
            self.need(assigned, id, invariant, &public.public_ip);
            let holder = PublicAddressHolder::NetworkInterface(own.eni);
            self.holds_public(id, IpAddr::V4(public.public_ip), holder);
            return;
        };
        let elastic = self.region.elastic_ips.get(&allocation);
        let stands_for = elastic.is_some_and(|elastic| {
            let place = elastic.association.map(|at| (at.eni, at.private_ip));
            elastic.public_ip == public.public_ip && place == Some((own.eni, own.private_ip))
        });
        let invariant = "each of its Elastic IPs stands for its node's address";
        self.need(stands_for, id, invariant, &allocation);
    }

    pub(super) fn listeners(&mut self) {
        let region = self.region;
        let places = region.listeners.values().map(|listener| {
            let place = format!("{} {}", listener.load_balancer, listener.port);
            (place, listener.id.to_string())
        });
        self.unique("its load balancer has no other at its port", places);
        for (id, listener) in &region.listeners {
            self.need(*id == listener.id, id, "its key is its id", &listener.id);
            let balancer = region.load_balancers.get(&listener.load_balancer);
            let invariant = "its load balancer is there";
            self.need(balancer.is_some(), id, invariant, &listener.load_balancer);
            let count = listener.forward.len();
            let fits = (1..=FORWARDS_MAX).contains(&count);
            let invariant = "it leads to as many groups as it may";
            self.need(fits, id, invariant, &count);
            if let Some(balancer) = balancer {
                self.forwards(listener, balancer);
            }
        }
    }

    fn forwards(&mut self, listener: &Listener, balancer: &LoadBalancer) {
        let id = &listener.id;
        let mut seen = BTreeSet::new();
        for forward in &listener.forward {
            let once = seen.insert(forward.group);
            self.need(once, id, "each of its groups is there once", &forward.group);
            let group = self.region.target_groups.get(&forward.group);
            let same = group.is_some_and(|group| group.vpc == balancer.vpc);
            let invariant = "each of its groups is there, in its load balancer's VPC";
            self.need(same, id, invariant, &forward.group);
            let is_ipv6 = group.is_some_and(|group| group.is_ipv6());
            let reaches = !is_ipv6 || balancer.ip_address_type == IpAddressType::Dualstack;
            let invariant = "a group of IPv6 has a dualstack load balancer";
            self.need(reaches, id, invariant, &forward.group);
        }
    }

    pub(super) fn target_groups(&mut self) {
        for (id, group) in &self.region.target_groups {
            self.need(*id == group.id, id, "its key is its id", &group.id);
            let claimed = self.is_claimed(*id, &group.name);
            self.need(claimed, id, CLAIMED, &group.name);
            let balancers = self.region.load_balancers_of_group(*id).count();
            let invariant = "one load balancer leads to it";
            self.need(balancers <= 1, id, invariant, &balancers);
        }
    }

    pub(super) fn targets(&mut self) {
        let region = self.region;
        let uids = region.targets.values();
        let uids = uids.map(|target| (target.uid, target.key.to_string()));
        self.unique("its registration is its own", uids);
        for (key, target) in &region.targets {
            self.need(*key == target.key, key, "its key is its own", &target.key);
            let Some(group) = region.target_groups.get(&key.group) else {
                self.find(key, "its group is there", &key.group);
                continue;
            };
            let of_type = match key.id {
                TargetId::Instance(_) => group.target_type == TargetType::Instance,
                TargetId::Ip(address) => {
                    group.target_type == TargetType::Ip && address == target.address
                }
            };
            let of_type = of_type && group.is_ipv6() == target.address.is_ipv6();
            let invariant = "it is what its group's targets are";
            self.need(of_type, key, invariant, &target.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::check::tests::{World, add_eni, world};
    use crate::id::{EniId, ListenerId, LoadBalancerId, SubnetId, TargetGroupId, TargetUid, VpcId};
    use crate::key::Kind;
    use crate::network_interface::InterfaceType;

    type Change = fn(&mut World);

    const BALANCER: LoadBalancerId = LoadBalancerId(1);
    const GROUP: TargetGroupId = TargetGroupId(1);
    const NODE: EniId = EniId(7);

    fn add_balancer(world: &mut World, id: LoadBalancerId, name: &str) {
        world.json(
            Kind::LoadBalancer,
            id,
            json!({
                "id": id, "name": name, "vpc": VpcId(1), "scheme": "internal",
                "zones": [{
                    "zone": "eu-west-1a", "subnet": SubnetId(1), "eni": NODE,
                    "private_ip": "10.0.0.7", "public": null,
                }],
                "security_groups": [], "create_time": 0, "tags": {},
            }),
        );
        let claim = json!({"holder": id.to_string()});
        world.json(Kind::NameClaim, format!("loadbalancer/{name}"), claim);
    }

    fn add_listener(world: &mut World, id: u64, balancer: LoadBalancerId) {
        let id = ListenerId(id);
        let listener = json!({
            "id": id, "load_balancer": balancer, "protocol": "TCP", "port": 80,
            "forward": [{"group": GROUP, "weight": 1}], "tags": {},
        });
        world.json(Kind::Listener, id, listener);
    }

    fn add_target(world: &mut World, id: &str, address: &str) {
        let target = json!({
            "group": GROUP, "id": id, "port": 80, "uid": TargetUid(1), "address": address,
            "zone": "eu-west-1a", "registered_at": 0, "draining_until": null,
            "health": {"state": "initial", "since": 0},
        });
        world.json(Kind::Target, format!("{GROUP}/{id}/80"), target);
    }

    /// A world with a load balancer that leads to a target.
    fn balanced() -> World {
        let mut world = world();
        add_eni(&mut world, NODE, 7);
        world.eni(NODE, |eni| {
            eni.interface_type = InterfaceType::NetworkLoadBalancer;
            eni.groups.clear();
        });
        add_balancer(&mut world, BALANCER, "web");
        add_listener(&mut world, 1, BALANCER);
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
        let claim = json!({"holder": GROUP.to_string()});
        world.json(Kind::NameClaim, "targetgroup/web", claim);
        add_target(&mut world, "10.0.0.5", "10.0.0.5");
        world
    }

    #[test]
    fn each_change_breaks_its_invariant() {
        assert_eq!(balanced().check(), []);
        let changes: &[(&str, Change)] = &[
            ("its interface is there", |world| {
                world.remove(Kind::NetworkInterface, NODE);
            }),
            ("it is a load balancer's node's if it says so", |world| {
                world.remove(Kind::LoadBalancer, BALANCER);
            }),
            ("its load balancer is there", |world| {
                world.remove(Kind::LoadBalancer, BALANCER);
            }),
            ("its nodes' interfaces carry its groups", |world| {
                let group = crate::id::SecurityGroupId(1);
                world.eni(NODE, |eni| eni.groups.push(group));
            }),
            ("each node's interface is made for it", |world| {
                world.eni(NODE, |eni| eni.addresses = vec![[10, 0, 0, 8].into()]);
            }),
            ("its name is claimed by it", |world| {
                world.remove(Kind::NameClaim, "targetgroup/web");
            }),
            ("its holder has the name", |world| {
                world.remove(Kind::TargetGroup, GROUP);
            }),
            ("its group is there", |world| {
                world.remove(Kind::TargetGroup, GROUP);
            }),
            (
                "each of its groups is there, in its load balancer's VPC",
                |world| {
                    world.remove(Kind::TargetGroup, GROUP);
                },
            ),
            ("its load balancer has no other at its port", |world| {
                add_listener(world, 2, BALANCER);
            }),
            ("one load balancer leads to it", |world| {
                add_balancer(world, LoadBalancerId(2), "other");
                add_listener(world, 2, LoadBalancerId(2));
            }),
            ("it is what its group's targets are", |world| {
                add_target(world, "10.0.0.5", "10.0.0.6");
            }),
            ("its registration is its own", |world| {
                add_target(world, "10.0.0.6", "10.0.0.6");
            }),
        ];
        for (invariant, change) in changes {
            let mut world = balanced();
            change(&mut world);
            let findings = world.check();
            let found = findings.iter().any(|found| found.invariant == *invariant);
            assert!(found, "{invariant}: {findings:?}");
        }
    }
}
