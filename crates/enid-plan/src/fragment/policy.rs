//! A set of security groups: two gates with all their entries.

use enid_model::id::{ResourceId as _, SecurityGroupId};
use enid_model::key::Scope;
use enid_model::security_group::{Direction, Peer, Rule};
use enid_model::state::RegionState;
use enid_pipeline::table::{self, PolicyRecord};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::service_range;
use crate::gate::{self, RulePeer, RuleSpec};
use crate::tables::Tables;

/// A set of security groups that interfaces share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A hash of the groups' ids: the same set has the same id, on every host and after every
    /// restart.
    pub(crate) id: u64,
    /// Where the groups are.
    pub(crate) scope: Scope,
    /// The groups, each once, by id.
    pub(crate) groups: Vec<SecurityGroupId>,
}

impl Policy {
    pub(crate) fn of(scope: Scope, groups: &[SecurityGroupId]) -> Self {
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();
        let mut hash = Sha256::new();
        for group in &groups {
            hash.update(group.bits().to_be_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        Self {
            id: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            scope,
            groups,
        }
    }
}

/// A policy: its two gates with all their entries.
pub(crate) fn of_policy(region: &RegionState, policy: &Policy) -> Tables {
    let specs = |direction| -> Vec<RuleSpec> {
        let groups = policy.groups.iter();
        let groups = groups.filter_map(|group| region.security_groups.get(group));
        let mut specs = Vec::new();
        for rule in groups.flat_map(|group| group.rules_of(direction)) {
            specs.extend(rule_specs(region, rule));
        }
        specs
    };
    let egress = gate::compile(
        policy.id,
        table::Direction::Egress,
        &specs(Direction::Egress),
    );
    let ingress = gate::compile(
        policy.id,
        table::Direction::Ingress,
        &specs(Direction::Ingress),
    );
    let mut tables = Tables::default();
    let record = PolicyRecord {
        egress_gate: egress.id,
        ingress_gate: ingress.id,
        open: gate::open_bits(&egress, &ingress),
    };
    tables.policies.insert(policy.id, record);
    egress.insert_into(&mut tables);
    ingress.insert_into(&mut tables);
    tables
}

/// What the compiler takes of a rule: one spec, or one for each block of the prefix list that it names.
/// These share the rule's id: the deciding rule is the same whichever block lets a packet pass.
fn rule_specs(region: &RegionState, rule: &Rule) -> Vec<RuleSpec> {
    let (protocol, from, to) = service_range(rule.matcher.service);
    let spec = |peer| RuleSpec {
        id: rule.id.bits(),
        peer,
        protocol,
        from,
        to,
    };
    match rule.matcher.peer {
        Peer::Group(group) => vec![spec(RulePeer::Group(group.bits()))],
        Peer::Ipv4(block) => vec![spec(RulePeer::Cidr(IpNet::V4(block)))],
        Peer::Ipv6(block) => vec![spec(RulePeer::Cidr(IpNet::V6(block)))],
        Peer::PrefixList(list) => {
            let list = region.prefix_lists.get(&list);
            let blocks = list.map_or(&[][..], |list| list.entries());
            let peers = blocks.iter().map(|entry| RulePeer::Cidr(entry.cidr));
            peers.map(spec).collect()
        }
    }
}
