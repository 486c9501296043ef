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
            let direction = edge.direction;
            blame_gateway(tables, index, direction, scratch);
            return Err(refusal(direction));
        }
        if index < 4 {
            scratch.acl_entries |= (entry & 0xffff) << (16 * index);
        }
    }
    Ok(())
}

/// Counts a refusal at a NAT gateway's interface if it was at that one's own edge, into its subnet or out of it.
#[inline(never)]
fn blame_gateway<T: Tables>(tables: &T, index: usize, direction: Direction, scratch: &mut Scratch) {
    let journey = &scratch.journey;
    scratch.is_refused_at_gateway = journey.nat != 0 && journey.is_at_gateway(index, direction);
    if scratch.is_refused_at_gateway
        && let Some(nat) = tables.nat(journey.nat)
    {
        scratch.blamed_eni = nat.eni;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, B, Change, D, Gate, World, packet, query, reply};
    use crate::ledger_wide::{ALL, Entry, set_acl};
    use crate::packet_builder::Transport;
    use crate::table::protocol;

    const fn entry(
        number: u64,
        allows: bool,
        (length, network): (u32, [u8; 4]),
        service: Option<(u8, u16)>,
    ) -> Entry {
        (number, allows, length, network, service)
    }

    const UDP_53: Option<(u8, u16)> = Some((protocol::UDP, 53));
    const UDP_1000: Option<(u8, u16)> = Some((protocol::UDP, 1000));
    const D_ALONE: (u32, [u8; 4]) = (32, [10, 0, 1, 30]);
    const OPEN: &[Entry] = &[entry(100, true, ALL, None)];

    fn open() -> World {
        World::new(Gate::Everybody, Gate::Everybody)
    }

    #[test]
    fn the_first_entry_that_matches_decides() {
        let mut world = open();
        let deny_first = [
            entry(10, false, D_ALONE, UDP_53),
            entry(20, true, ALL, None),
        ];
        set_acl(&mut world, 11, Some(&deny_first), None);
        world.drops(A, D, query(), Reason::AclEgress);
        let drops = world.memory.drops();
        let refused: Vec<_> = drops
            .values()
            .map(|drop| (drop.acl, drop.acl_entry))
            .collect();
        assert_eq!(refused, [(11, 10)]);
        world.passes(A, D, Transport::Udp { from: 1, to: 54 }, 2);
        let allow_first = [
            entry(10, true, ALL, UDP_53),
            entry(20, false, D_ALONE, None),
        ];
        set_acl(&mut world, 11, Some(&allow_first), None);
        world.passes(A, D, query(), 2);
        let flows = world.memory.flows();
        let entries: Vec<_> = flows.values().map(|flow| flow.acl_entries).collect();
        assert!(entries.contains(&10), "{entries:?}");
    }

    #[test]
    fn what_no_entry_matches_is_denied() {
        let mut world = open();
        set_acl(
            &mut world,
            12,
            None,
            Some(&[entry(10, true, ALL, UDP_1000)]),
        );
        world.drops(A, D, query(), Reason::AclIngress);
        let drops = world.memory.drops();
        assert!(
            drops
                .values()
                .all(|drop| (drop.acl, drop.acl_entry) == (12, LAST_ENTRY))
        );
        set_acl(&mut world, 12, None, Some(&[]));
        let mut frame = packet(A, D, query()).frame();
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::AclIngress));
    }

    #[test]
    fn each_direction_is_judged_on_its_own() {
        let mut world = open();
        // Out to port 53 and nothing in: the question gets out, the answer not back in.
        set_acl(
            &mut world,
            11,
            Some(&[entry(10, true, ALL, UDP_53)]),
            Some(&[]),
        );
        world.passes(A, D, query(), 2);
        world.drops(D, A, reply(), Reason::AclIngress);
        // The answer's port is the one that it goes to.
        let answers = [entry(10, true, ALL, UDP_1000)];
        set_acl(
            &mut world,
            11,
            Some(&[entry(10, true, ALL, UDP_53)]),
            Some(&answers),
        );
        world.passes(D, A, reply(), 0);
        world.passes(A, D, query(), 0);
    }

    #[test]
    fn a_tracked_flow_obeys_at_once() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, D, query(), 2);
        world.passes(D, A, reply(), 0);
        set_acl(&mut world, 12, Some(OPEN), Some(&[]));
        world.drops(A, D, query(), Reason::AclIngress);
        world.passes(D, A, reply(), 0);
        set_acl(&mut world, 12, Some(&[]), Some(OPEN));
        world.passes(A, D, query(), 0);
        world.drops(D, A, reply(), Reason::AclEgress);
    }

    #[test]
    fn nothing_is_asked_inside_a_subnet() {
        let mut world = open();
        set_acl(&mut world, 11, Some(&[]), Some(&[]));
        world.passes(A, B, query(), 2);
        world.drops(A, D, query(), Reason::AclEgress);
    }

    #[test]
    fn an_error_about_a_live_flow_is_asked_like_any_other_packet() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        let udp = [entry(10, true, ALL, UDP_53), entry(20, true, ALL, UDP_1000)];
        set_acl(&mut world, 11, None, Some(&udp));
        world.passes(A, D, query(), 2);
        let error = Transport::unreachable(&packet(A, D, query()));
        world.drops(D, A, error.clone(), Reason::AclIngress);
        let kind = entry(30, true, ALL, Some((protocol::ICMP, 0x0303)));
        set_acl(&mut world, 11, None, Some(&[udp[0], udp[1], kind]));
        world.passes(A, D, query(), 0);
        let related = Change {
            related: 1,
            ..Change::default()
        };
        let _ = world.send(D, &mut packet(D, A, error).frame(), &related);
    }

    #[test]
    fn the_gate_of_the_sender_comes_first() {
        let mut world = World::new(Gate::Closed, Gate::Closed);
        set_acl(&mut world, 11, Some(&[]), None);
        world.drops(A, D, query(), Reason::EgressRule);
        world.policy(A, Gate::Everybody, Gate::Closed);
        let mut frame = packet(A, D, query()).frame();
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::AclEgress));
    }
}
