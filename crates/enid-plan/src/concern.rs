//! What a change of the state has to do with: the owners whose fragments may differ.
//!
//! Each kind of record names who depends on it, by the state's own links, so that a change costs what
//! depends on it and no more. Where a record's references change, only the new ones count: the record
//! itself is concerned, and is all that the old ones had to do with. The test of
//! `tests/incremental.rs` holds this against plans that are made from nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enid_model::id::{
    EniId, InstanceId, LoadBalancerId, NatGatewayId, NetworkAclId, RouteTableId, SecurityGroupId,
    SubnetId, TargetGroupId, TrafficMirrorFilterId, TrafficMirrorTargetId, VpcId,
};
use enid_model::key::Scope;
use enid_model::state::{Map, RegionState, State, Stored};
use enid_model::target::{TargetId, TargetKey};
use imbl::ordmap::DiffItem;

/// What a new state concerns.
#[derive(Default)]
pub(crate) struct Concerned {
    pub(crate) enis: BTreeSet<(Scope, EniId)>,
    pub(crate) groups: BTreeSet<SecurityGroupId>,
    pub(crate) instances: BTreeSet<(Scope, InstanceId)>,
    pub(crate) load_balancers: BTreeSet<(Scope, LoadBalancerId)>,
    pub(crate) mirror_filters: BTreeSet<(Scope, TrafficMirrorFilterId)>,
    pub(crate) nat_gateways: BTreeSet<(Scope, NatGatewayId)>,
    pub(crate) network_acls: BTreeSet<(Scope, NetworkAclId)>,
    pub(crate) route_tables: BTreeSet<(Scope, RouteTableId)>,
    pub(crate) subnets: BTreeSet<(Scope, SubnetId)>,
    pub(crate) vpcs: BTreeSet<(Scope, VpcId)>,
}

impl Concerned {
    /// What differs between two states, and what depends on it.
    pub(crate) fn between(before: &State, after: &State) -> Self {
        let after_all = after;
        let mut concerned = Self::default();
        let nothing = std::sync::Arc::default();
        let scopes: BTreeSet<&Scope> = before
            .regions()
            .keys()
            .chain(after.regions().keys())
            .collect();
        for scope in scopes {
            let before = before.region(scope).unwrap_or(&nothing);
            let after = after.region(scope).unwrap_or(&nothing);
            if !std::sync::Arc::ptr_eq(before, after) {
                let mut change = Change {
                    concerned: &mut concerned,
                    all: after_all,
                    scope,
                    before,
                    after,
                };
                change.instances();
                change.security();
                change.network();
                change.gateways();
                change.public_addresses();
                change.mirroring();
                change.balancing();
            }
        }
        concerned
    }
}

/// Two states of one region, and what their difference concerns so far.
struct Change<'a> {
    concerned: &'a mut Concerned,
    /// All regions, as they are now.
    all: &'a State,
    scope: &'a Scope,
    before: &'a RegionState,
    after: &'a RegionState,
}

impl Change<'_> {
    /// Interfaces, and the instances that they are attached to.
    fn instances(&mut self) {
        let (before, after) = (self.before, self.after);
        for id in changed(&before.network_interfaces, &after.network_interfaces) {
            self.eni(id);
            for target in after.traffic_mirror_targets_of_eni(id) {
                self.sources_of(target);
            }
            // An instance's host name follows its primary interface.
            for region in [before, after] {
                let eni = region.network_interfaces.get(&id);
                if let Some(attachment) = eni.and_then(|eni| eni.attachment.as_ref()) {
                    let scope = attachment.scope_of_instance(self.scope);
                    let member = (scope, attachment.instance);
                    self.concerned.instances.insert(member);
                }
            }
        }
        for id in changed(&before.instances, &after.instances) {
            self.concerned.instances.insert((self.scope.clone(), id));
            for region in [before, after] {
                for eni in region.enis_of_instance(id) {
                    self.eni(eni.id);
                }
                for lent in region.lent_to_instance(id) {
                    self.lent(region, lent);
                }
            }
        }
    }

    /// An interface of another account that an instance has, and the routes to it.
    fn lent(&mut self, region: &RegionState, id: EniId) {
        let Some(lent) = region.lent_interfaces.get(&id) else {
            return;
        };
        let owner = Scope {
            account: lent.owner,
            region: self.scope.region.clone(),
        };
        if let Some(region) = self.all.region(&owner) {
            let tables = region.tables_to_eni(id).map(|table| (owner.clone(), table));
            self.concerned.route_tables.extend(tables);
        }
        self.concerned.enis.insert((owner, id));
    }

    /// Security groups, network ACLs, and the prefix lists that rules and routes name.
    fn security(&mut self) {
        let (before, after) = (self.before, self.after);
        let groups = changed(&before.security_groups, &after.security_groups);
        self.concerned.groups.extend(groups);
        for id in changed(&before.network_acls, &after.network_acls) {
            self.acl(id);
        }
        for id in changed(&before.prefix_lists, &after.prefix_lists) {
            let groups = after.groups_naming_prefix_list(id);
            self.concerned.groups.extend(groups);
            self.tables(after.tables_naming_prefix_list(id));
        }
    }

    /// VPCs, their option sets, subnets, route tables and peering connections.
    fn network(&mut self) {
        let (before, after) = (self.before, self.after);
        for id in changed(&before.subnets, &after.subnets) {
            self.concerned.subnets.insert((self.scope.clone(), id));
            // Of a subnet, an interface's device has only the blocks.
            let of = |region: &RegionState| {
                let subnet = region.subnets.get(&id);
                subnet.map(|subnet| (subnet.cidr, subnet.ipv6_cidr))
            };
            if of(before) != of(after) {
                for eni in after.enis_of_subnet(id) {
                    self.eni(eni);
                }
            }
        }
        for id in changed(&before.vpcs, &after.vpcs) {
            self.vpc(id);
        }
        for id in changed(&before.dhcp_options, &after.dhcp_options) {
            for vpc in after.vpcs_of_dhcp_options(id) {
                self.told(vpc);
            }
        }
        self.tables(changed(&before.route_tables, &after.route_tables));
        let peerings = changed(
            &before.vpc_peering_connections,
            &after.vpc_peering_connections,
        );
        for id in peerings {
            self.tables(after.tables_to_peering(id));
        }
    }

    /// Gateways, and the routes to them.
    fn gateways(&mut self) {
        let (before, after) = (self.before, self.after);
        for id in changed(&before.internet_gateways, &after.internet_gateways) {
            self.tables(after.tables_to_internet_gateway(id));
            // Its own route table is in the records of the VPC's public addresses.
            let of = |region: &RegionState| {
                let gateway = region.internet_gateways.get(&id)?;
                Some((gateway.vpc?, gateway.route_table))
            };
            let (left, joined) = (of(before), of(after));
            if left != joined {
                for (vpc, _) in [left, joined].into_iter().flatten() {
                    self.publicity(vpc);
                }
            }
        }
        let egress_only = changed(
            &before.egress_only_internet_gateways,
            &after.egress_only_internet_gateways,
        );
        for id in egress_only {
            self.tables(after.tables_to_egress_only_gateway(id));
        }
        for id in changed(&before.nat_gateways, &after.nat_gateways) {
            self.concerned.nat_gateways.insert((self.scope.clone(), id));
            self.tables(after.tables_to_nat_gateway(id));
            for region in [before, after] {
                if let Some(gateway) = region.nat_gateways.get(&id) {
                    self.eni(gateway.eni);
                }
            }
        }
    }

    /// Elastic IPs.
    fn public_addresses(&mut self) {
        let (before, after) = (self.before, self.after);
        for id in changed(&before.elastic_ips, &after.elastic_ips) {
            for region in [before, after] {
                let elastic = region.elastic_ips.get(&id);
                if let Some(association) = elastic.and_then(|elastic| elastic.association) {
                    self.eni(association.eni);
                }
            }
        }
    }

    /// Traffic mirroring: filters, and the sources of sessions and targets.
    fn mirroring(&mut self) {
        let (before, after) = (self.before, self.after);
        let scope = self.scope;
        let filters = changed(
            &before.traffic_mirror_filters,
            &after.traffic_mirror_filters,
        );
        let filters = filters.into_iter().map(|id| (scope.clone(), id));
        self.concerned.mirror_filters.extend(filters);
        let sessions = changed(
            &before.traffic_mirror_sessions,
            &after.traffic_mirror_sessions,
        );
        for id in sessions {
            for region in [before, after] {
                if let Some(session) = region.traffic_mirror_sessions.get(&id) {
                    self.source(session.network_interface);
                }
            }
        }
        let targets = changed(
            &before.traffic_mirror_targets,
            &after.traffic_mirror_targets,
        );
        for id in targets {
            self.sources_of(id);
        }
    }

    /// Load balancers: their listeners, target groups and targets, and the instances and interfaces that
    /// these are.
    fn balancing(&mut self) {
        let (before, after) = (self.before, self.after);
        let own = changed(&before.load_balancers, &after.load_balancers);
        self.balancers(own);
        for id in changed(&before.listeners, &after.listeners) {
            for region in [before, after] {
                let listener = region.listeners.get(&id);
                let balancer = listener.map(|listener| listener.load_balancer);
                self.balancers(balancer);
            }
        }
        let mut groups: BTreeSet<TargetGroupId> =
            changed(&before.target_groups, &after.target_groups)
                .into_iter()
                .collect();
        let targets = changed(&before.targets, &after.targets);
        groups.extend(targets.into_iter().map(|key| key.group));
        let instances = changed(&before.instances, &after.instances);
        let mut instances: BTreeSet<InstanceId> = instances.into_iter().collect();
        for id in changed(&before.network_interfaces, &after.network_interfaces) {
            for region in [before, after] {
                let Some(eni) = region.network_interfaces.get(&id) else {
                    continue;
                };
                instances.extend(eni.attachment.as_ref().map(|it| it.instance));
                let ipv4 = eni.addresses.iter().copied().map(IpAddr::V4);
                let ipv6 = eni.ipv6_addresses.iter().copied().map(IpAddr::V6);
                for address in ipv4.chain(ipv6) {
                    groups.extend(after.targets_at(address).map(|target| target.key.group));
                }
            }
        }
        if !instances.is_empty() {
            let is_one = |key: &&TargetKey| match key.id {
                TargetId::Instance(id) => instances.contains(&id),
                TargetId::Ip(_) => false,
            };
            groups.extend(after.targets.keys().filter(is_one).map(|key| key.group));
        }
        let peerings = changed(
            &before.vpc_peering_connections,
            &after.vpc_peering_connections,
        );
        if !peerings.is_empty() {
            // An address may be another interface's from now on. Rare, so all of them are looked at.
            groups.extend(after.target_groups.keys().copied());
        }
        for id in groups {
            for region in [before, after] {
                let balancers = region.load_balancers_of_group(id);
                let balancers: Vec<_> = balancers.map(|balancer| balancer.id).collect();
                self.balancers(balancers);
            }
        }
    }

    fn balancers(&mut self, ids: impl IntoIterator<Item = LoadBalancerId>) {
        let ids = ids.into_iter().map(|id| (self.scope.clone(), id));
        self.concerned.load_balancers.extend(ids);
    }

    /// The sources whose sessions have a target.
    fn sources_of(&mut self, target: TrafficMirrorTargetId) {
        let after = self.after;
        for id in after.traffic_mirror_sessions_of_target(target) {
            if let Some(session) = after.traffic_mirror_sessions.get(&id) {
                self.source(session.network_interface);
            }
        }
    }

    /// An interface that has other sessions: routes to it are the same.
    fn source(&mut self, id: EniId) {
        self.concerned.enis.insert((self.scope.clone(), id));
    }

    /// An interface, and the routes to it.
    fn eni(&mut self, id: EniId) {
        self.concerned.enis.insert((self.scope.clone(), id));
        self.tables(self.after.tables_to_eni(id));
    }

    /// A network ACL, and the subnets that have its gates.
    fn acl(&mut self, id: NetworkAclId) {
        let (before, after) = (self.before, self.after);
        self.concerned.network_acls.insert((self.scope.clone(), id));
        self.subnets(after.subnets_of_acl(id));
        // Subnets of the first version use the default ACL without naming it.
        for region in [before, after] {
            let acl = region.network_acls.get(&id);
            if let Some(acl) = acl.filter(|acl| acl.is_default) {
                self.subnets(after.subnets_of_vpc(acl.vpc));
            }
        }
    }

    /// A VPC: what its subnets use when they have none of their own, the local routes, the routes of
    /// its peers, and whether its ACLs have to know IPv6.
    fn vpc(&mut self, id: VpcId) {
        let (before, after) = (self.before, self.after);
        self.concerned.vpcs.insert((self.scope.clone(), id));
        let (old, new) = (before.vpcs.get(&id), after.vpcs.get(&id));
        let mains = [old, new].map(|vpc| vpc.map(|vpc| vpc.main_route_table));
        let defaults = [old, new].map(|vpc| vpc.map(|vpc| vpc.default_network_acl));
        let blocks = [old, new].map(|vpc| vpc.map(|vpc| vpc.cidrs().collect::<Vec<_>>()));
        let has_ipv6 = [old, new].map(|vpc| vpc.map(|vpc| vpc.ipv6_cidrs.is_empty()));
        if mains[0] != mains[1] || defaults[0] != defaults[1] {
            self.subnets(after.subnets_of_vpc(id));
            self.tables(mains.into_iter().flatten());
        }
        if blocks[0] != blocks[1] {
            self.tables(mains.into_iter().flatten());
            self.tables(after.route_tables_of_vpc(id));
        }
        if has_ipv6[0] != has_ipv6[1] {
            for acl in after.acls_of_vpc(id) {
                self.acl(acl);
            }
        }
        if old.map(|vpc| vpc.dhcp_options) != new.map(|vpc| vpc.dhcp_options) {
            self.told(id);
        }
        if old.is_some() != new.is_some() {
            for connection in after.peerings_of_vpc(id) {
                self.tables(after.tables_to_peering(connection));
            }
        }
    }

    /// The instances of a VPC: they are told of other domains and resolvers.
    fn told(&mut self, vpc: VpcId) {
        let enis = self.after.enis_of_vpc(vpc);
        let enis = enis.filter_map(|id| self.after.network_interfaces.get(&id));
        // What an instance is told follows from its primary interface, which is its own account's.
        let instances = enis.filter_map(|eni| eni.attachment.as_ref()?.own_instance());
        let instances = instances.map(|id| (self.scope.clone(), id));
        self.concerned.instances.extend(instances);
    }

    /// A VPC that gets an internet gateway, or loses it, or whose gateway has another route table: its public
    /// addresses come and go, and what comes to them another way.
    fn publicity(&mut self, vpc: VpcId) {
        let after = self.after;
        self.concerned.vpcs.insert((self.scope.clone(), vpc));
        for id in after.enis_of_vpc(vpc) {
            let eni = after.network_interfaces.get(&id);
            if eni.is_some_and(|eni| eni.public_address.is_some())
                || after.elastic_ips_of_eni(id).next().is_some()
            {
                self.concerned.enis.insert((self.scope.clone(), id));
            }
        }
    }

    fn subnets(&mut self, ids: impl IntoIterator<Item = SubnetId>) {
        let ids = ids.into_iter().map(|id| (self.scope.clone(), id));
        self.concerned.subnets.extend(ids);
    }

    fn tables(&mut self, ids: impl IntoIterator<Item = RouteTableId>) {
        let ids = ids.into_iter().map(|id| (self.scope.clone(), id));
        self.concerned.route_tables.extend(ids);
    }
}

/// The keys whose records differ between two maps; what the maps share is not visited.
fn changed<K: Ord + Copy, T: PartialEq>(
    before: &Map<K, Stored<T>>,
    after: &Map<K, Stored<T>>,
) -> Vec<K> {
    let keys = before.diff(after).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => *key,
        DiffItem::Update { new: (key, _), .. } => *key,
    });
    keys.collect()
}
