//! Network ACLs: each subnet edge on a packet's way asks the ACL of its subnet.
//!
//! ACLs are stateless. Whenever a flow's entry is judged, its edges are asked again, tracked or not, and
//! for each direction on its own; ICMP errors are asked by their own addresses. The entry with the lowest
//! number that matches decides, and what none matches is denied. A rule's remote side is the destination
//! of what leaves and the source of what enters; its ports are the destination's.

use crate::{
    Scratch,
    journey::EDGES_MAX,
    reason::Reason,
    stage::gate::{Question, ask},
    table::{Direction, GATE_OPEN, GateRule},
    tables::Tables,
};

/// The number that AWS gives to the last entry, `*`, which denies everything.
pub const LAST_ENTRY: u64 = 32_767;

/// Asks at all edges of the way. A refusal leaves ACL and entry in the scratch record.
#[inline(never)]
pub(crate) fn judge<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.acl_entries = 0;
    for index in 0..EDGES_MAX {
        let Some(edge) = scratch.journey.edge(index) else {
            break;
        };
        if edge.gate == GATE_OPEN {
            continue;
        }
        let question = &mut scratch.question;
        question.gate = edge.gate;
        question.remote = edge.remote;
        question.protocol = scratch.packet.protocol;
        question.port = edge.port.bytes();
        let is_allowed = is_allowed(tables, question);
        let entry = question.answer.rule;
        if !is_allowed {
            scratch.refused_acl = edge.acl;
            scratch.refused_entry = entry;
            return Err(refusal(edge.direction));
        }
        if index < 4 {
            scratch.acl_entries |= (entry & 0xffff) << (16 * index);
        }
    }
    Ok(())
}

/// Asks at one edge. The question's answer is the entry that decided.
#[inline(always)]
pub(crate) fn is_allowed<T: Tables>(tables: &T, question: &mut Question) -> bool {
    question.answer = GateRule {
        rule: LAST_ENTRY,
        flags: GateRule::DENY,
    };
    ask(tables, None, question) && question.answer.flags & GateRule::DENY == 0
}

/// The reason of a refusal.
#[inline(always)]
pub(crate) const fn refusal(direction: Direction) -> Reason {
    match direction {
        Direction::Egress => Reason::AclEgress,
        Direction::Ingress => Reason::AclIngress,
    }
}
