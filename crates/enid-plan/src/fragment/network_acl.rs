//! A network ACL: two gates whose lowest bit is the first entry that matches.

use enid_model::id::{NetworkAclId, ResourceId as _};
use enid_model::network_acl::{AclAction, NetworkAcl};
use enid_model::security_group::Direction;
use enid_model::state::RegionState;
use enid_model::vpc::Vpc;
use enid_pipeline::table::{self, GATE_CLOSED, GATE_OPEN};

use super::service_range;
use crate::gate::{self, AclEntry, RulePeer, RuleSpec};
use crate::tables::Tables;

/// The gates that the subnets of an ACL ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AclGates {
    pub(crate) egress: u64,
    pub(crate) ingress: u64,
}

impl AclGates {
    /// The gates of an ACL without a record. A VPC's default ACL has none in regions of the first
    /// version until somebody asks for them, and allowed everything there; all others are closed.
    pub(crate) fn without_record(acl: NetworkAclId, vpc: &Vpc) -> Self {
        let gate = if acl == vpc.default_network_acl {
            GATE_OPEN
        } else {
            GATE_CLOSED
        };
        Self {
            egress: gate,
            ingress: gate,
        }
    }
}

/// A network ACL: the entries of its gates.
pub(crate) fn of_network_acl(region: &RegionState, acl: &NetworkAcl) -> (AclGates, Tables) {
    let vpc = region.vpcs.get(&acl.vpc);
    let has_ipv6 = vpc.is_some_and(|vpc| !vpc.ipv6_cidrs.is_empty());
    let compile = |direction, direction_of_gate| {
        let entries = acl.entries_of(direction).map(|entry| {
            let (protocol, from, to) = service_range(entry.service);
            AclEntry {
                allows: entry.action == AclAction::Allow,
                rule: RuleSpec {
                    id: u64::from(entry.number),
                    peer: RulePeer::Cidr(entry.cidr),
                    protocol,
                    from,
                    to,
                },
            }
        });
        let entries: Vec<AclEntry> = entries.collect();
        gate::compile_acl(acl.id.bits(), direction_of_gate, &entries, has_ipv6)
    };
    let egress = compile(Direction::Egress, table::Direction::Egress);
    let ingress = compile(Direction::Ingress, table::Direction::Ingress);
    let gates = AclGates {
        egress: egress.id,
        ingress: ingress.id,
    };
    let mut tables = Tables::default();
    egress.insert_into(&mut tables);
    ingress.insert_into(&mut tables);
    (gates, tables)
}
