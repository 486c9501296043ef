//! Security groups and network ACLs, read plainly: lists of rules, and which of them matches.

use enid_pipeline::Reason;
use enid_pipeline::table::{Direction, protocol};
use enid_plan::gate::{AclEntry, RulePeer, RuleSpec};
use ipnet::IpNet;

use crate::region::{Eni, Region};
use crate::tuple::Tuple;

/// Whether the entries that everything of each family meets first allow it.
pub(crate) fn allows_all(entries: &[AclEntry]) -> bool {
    [true, false].into_iter().all(|is_v4| {
        let of_family = entries.iter().filter(|entry| {
            matches!(entry.rule.peer, RulePeer::Cidr(cidr) if cidr.addr().is_ipv4() == is_v4)
        });
        let first = of_family.min_by_key(|entry| entry.rule.id);
        first.is_some_and(|first| {
            first.allows && first.rule.is_any_peer() && first.rule.protocol.is_none()
        })
    })
}

/// Each subnet edge on the way asks its network ACL: the first entry by number that matches decides.
pub(crate) fn acls(region: &Region, edges: &[(usize, Direction, Tuple)]) -> Result<(), Reason> {
    for (subnet, direction, tuple) in edges {
        let subnet = &region.subnets[*subnet];
        let (entries, remote, refused) = match direction {
            Direction::Egress => (&subnet.acl_egress, tuple.target, Reason::AclEgress),
            Direction::Ingress => (&subnet.acl_ingress, tuple.source, Reason::AclIngress),
        };
        let matching = entries.iter().filter(|entry| {
            let is_remote = match entry.rule.peer {
                RulePeer::Cidr(cidr) => cidr.contains(&std::net::IpAddr::from(remote)),
                RulePeer::Group(_) => false,
            };
            is_remote && serves(&entry.rule, tuple)
        });
        let first = matching.min_by_key(|entry| entry.rule.id);
        if !first.is_some_and(|entry| entry.allows) {
            return Err(refused);
        }
    }
    Ok(())
}

/// Whether a rule is about this protocol and port.
fn serves(rule: &RuleSpec, tuple: &Tuple) -> bool {
    match rule.protocol {
        None => true,
        Some(number) => {
            number == tuple.protocol && (rule.from..=rule.to).contains(&tuple.target_port)
        }
    }
}

/// One gate: any rule of any group of the interface. Says whether the connection is tracked there.
pub(crate) fn gate(
    region: &Region,
    eni: &Eni,
    direction: Direction,
    tuple: &Tuple,
    peer: Option<&Eni>,
) -> Result<bool, Reason> {
    let (remote, refused) = match direction {
        Direction::Egress => (tuple.target, Reason::EgressRule),
        Direction::Ingress => (tuple.source, Reason::IngressRule),
    };
    let peer_groups: Vec<u64> = peer.map_or_else(Vec::new, |peer| {
        peer.groups
            .iter()
            .map(|group| region.groups[*group].id)
            .collect()
    });
    let mut matching = rules(region, eni, direction).into_iter().filter(|rule| {
        let peer = match rule.peer {
            RulePeer::Group(group) => peer_groups.contains(&group),
            RulePeer::Cidr(cidr) => cidr.contains(&std::net::IpAddr::from(remote)),
        };
        peer && serves(rule, tuple)
    });
    let Some(first) = matching.next() else {
        return Err(refused);
    };
    // "An untracked connection": one of the rules that admit it is for everybody, and the other
    // direction is open to everybody on all ports of the protocol.
    let is_for_everybody = first.is_any_peer() || matching.any(|rule| rule.is_any_peer());
    let is_open = rules(region, eni, direction.opposite())
        .into_iter()
        .any(|rule| {
            let is_v4 = matches!(rule.peer, RulePeer::Cidr(IpNet::V4(_)));
            let is_same_family = is_v4 == tuple.source.is_v4();
            let is_all_ports = rule.protocol.is_none()
                || rule.protocol == Some(tuple.protocol) && (rule.from, rule.to) == (0, u16::MAX);
            rule.is_any_peer() && is_same_family && is_all_ports
        });
    let can_be_untracked = matches!(tuple.protocol, protocol::TCP | protocol::UDP);
    Ok(!(can_be_untracked && is_for_everybody && is_open))
}

fn rules(region: &Region, eni: &Eni, direction: Direction) -> Vec<RuleSpec> {
    let groups = eni.groups.iter().map(|group| &region.groups[*group]);
    groups
        .flat_map(|group| match direction {
            Direction::Egress => group.egress.iter().copied(),
            Direction::Ingress => group.ingress.iter().copied(),
        })
        .collect()
}
