//! The security group gates: one at the ENI that sends, one at the ENI that receives.
//!
//! Rules only allow, and any matching rule of any group lets a packet pass. A gate is compiled to
//! bits: rules that match the remote side (its address, or a security group of its ENI) AND rules that
//! match protocol and port. The cost does not grow with the number of rules. The lowest bit left
//! decides; rules for everybody come first.

use crate::{
    Scratch,
    bytes::Addr,
    reason::Reason,
    stage::flow_lookup::is_by_egress_only,
    table::{
        ADDR_BITS, Direction, EniRecord, GATE_CLOSED, GROUPS_MAX, GateGroupKey, GateRemoteKey,
        GateRule, GateRuleKey, GateServiceKey, RuleBits, SERVICE_BITS, gate_of_ipv6, open_bit,
        split_bit, trie_id,
    },
    tables::Tables,
};

/// What a gate is asked, and its answer. Lives in the scratch record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) gate: u64,
    pub(crate) remote: Addr,
    pub(crate) protocol: u8,
    pub(crate) port: [u8; 2],
    bits: RuleBits,
    pub(crate) answer: GateRule,
}

impl Question {
    pub(crate) const EMPTY: Self = Self {
        gate: GATE_CLOSED,
        remote: Addr::UNSPECIFIED,
        protocol: 0,
        port: [0; 2],
        bits: RuleBits::NONE,
        answer: GateRule { rule: 0, flags: 0 },
    };
}

/// How a packet passed a gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    /// The deciding rule.
    pub rule: u64,
    /// Whether the flow is tracked at this ENI from now on. Not tracked is a TCP or UDP flow that is
    /// admitted by a rule for everybody while the other direction is open to everybody on all ports:
    /// its packets are judged each on their own. Not so one that leaves by a NAT gateway or an egress-only
    /// internet gateway, or passes a load balancer, which is always tracked.
    pub is_tracked: bool,
}

impl Pass {
    /// At the outside, which has no gate of its own and forgets nothing.
    pub(crate) const OUTSIDE: Self = Self {
        rule: 0,
        is_tracked: true,
    };
}

/// Judges a packet at one gate of an ENI: what leaves by the addresses that it came with, what enters by
/// those that it arrives with. `remote` is the ENI at the other end, if its security groups count.
#[inline(never)]
pub(crate) fn judge<T: Tables>(
    tables: &T,
    direction: Direction,
    eni: &EniRecord,
    remote: Option<&EniRecord>,
    scratch: &mut Scratch,
) -> Result<Pass, Reason> {
    let Scratch {
        packet,
        question,
        journey,
        ..
    } = scratch;
    if eni.flags & EniRecord::BALANCER != 0 && eni.group_count == 0 {
        // A load balancer without security groups: what its node begins may go, and comes back.
        return Ok(Pass::OUTSIDE);
    }
    let policy = tables.policy(eni.policy).ok_or(Reason::Incomplete)?;
    let refused = match direction {
        Direction::Egress => {
            question.gate = policy.egress_gate;
            question.remote = packet.target;
            question.port = packet.target_port.bytes();
            Reason::EgressRule
        }
        Direction::Ingress => {
            question.gate = policy.ingress_gate;
            question.remote = journey.source;
            question.port = journey.target_port.bytes();
            Reason::IngressRule
        }
    };
    if policy.open & split_bit(direction) != 0 && !packet.source.is_v4() {
        question.gate = gate_of_ipv6(question.gate);
    }
    question.protocol = packet.protocol;
    if !ask(tables, remote, question) {
        return Err(refused);
    }
    let open = open_bit(direction.opposite(), packet.protocol, packet.source.is_v4());
    let is_untracked = question.answer.flags & GateRule::ANY_PEER != 0 && policy.open & open != 0;
    // What leaves by these gateways is tracked whatever the rules say.
    let is_by_gateway = journey.via != 0 || is_by_egress_only(journey.route);
    let is_always_tracked = direction == Direction::Egress && is_by_gateway
        || journey.is_balanced
        || journey.is_transparent;
    Ok(Pass {
        rule: question.answer.rule,
        is_tracked: !is_untracked || is_always_tracked,
    })
}

/// Finds the deciding rule. One function of the program, called for all gates: the verifier and the
/// instruction cache meet it once.
#[inline(never)]
pub(crate) fn ask<T: Tables>(
    tables: &T,
    remote: Option<&EniRecord>,
    question: &mut Question,
) -> bool {
    let gate = question.gate;
    if gate == GATE_CLOSED {
        return false;
    }
    let key = GateRemoteKey {
        prefix_len: ADDR_BITS,
        gate: trie_id(gate),
        addr: question.remote,
    };
    // Cleared and added to in place: a copy would go over the stack.
    question.bits.clear();
    if let Some(bits) = tables.gate_remote(&key) {
        question.bits.add(bits);
    }
    if let Some(remote) = remote {
        for index in 0..GROUPS_MAX {
            if index >= usize::from(remote.group_count) {
                break;
            }
            let group = remote.groups[index];
            if let Some(bits) = tables.gate_group(&GateGroupKey { gate, group }) {
                question.bits.add(bits);
            }
        }
    }
    let key = GateServiceKey {
        prefix_len: SERVICE_BITS,
        gate: trie_id(gate),
        protocol: question.protocol,
        port: question.port,
        pad: 0,
    };
    let Some(service) = tables.gate_service(&key) else {
        return false;
    };
    let mut base = 0;
    for (remote, service) in question.bits.0.iter().zip(service.0.iter()) {
        let both = *remote & *service;
        if both != 0 {
            let key = GateRuleKey {
                gate,
                bit: base + lowest(both),
                pad: 0,
            };
            return match tables.gate_rule(&key) {
                Some(rule) => {
                    question.answer = *rule;
                    true
                }
                // Fail closed: a bit without a rule is a gate that is half there.
                None => false,
            };
        }
        base += 64;
    }
    false
}

/// The number of the lowest set bit of a word that is not zero, by halving: BPF has no instruction
/// for it, and the table that the compiler would use costs a load.
#[inline(always)]
const fn lowest(word: u64) -> u32 {
    let mut word = word;
    let mut bit = 0;
    let mut half = 32;
    while half > 0 {
        if word & ((1 << half) - 1) == 0 {
            word >>= half;
            bit += half;
        }
        half /= 2;
    }
    bit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::flag;
    use crate::ledger::{A, B, C, Change, D, Gate, World, query, reply};
    use crate::ledger_wide::{ALL, GATEWAY, NAT, X, add_route, to, wide};
    use crate::packet_builder::Transport;
    use crate::table::Route;

    #[test]
    fn each_eni_has_a_gate_of_its_own() {
        let mut world = World::new(Gate::Closed, Gate::Closed);
        world.drops(A, B, query(), Reason::EgressRule);
        world.policy(A, Gate::Everybody, Gate::Closed);
        let mut frame = crate::ledger::packet(A, B, query()).frame();
        let change = Change::dropped_again(Reason::IngressRule);
        let _ = world.send(A, &mut frame, &change);
        world.policy(B, Gate::Closed, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        // What the receiver lets in, the sender does not: B's own packets are B's egress.
        world.drops(B, A, query(), Reason::EgressRule);
    }

    #[test]
    fn what_leaves_through_a_nat_gateway_is_tracked_whatever_the_rules_say() {
        let by_nat = (Route::NAT_GATEWAY, NAT, true);
        let by_internet = (Route::INTERNET_GATEWAY, GATEWAY, false);
        for (kind, target, is_tracked) in [by_nat, by_internet] {
            let mut world = wide(Gate::Everybody, Gate::Everybody);
            add_route(&mut world, 11, ALL, kind, target);
            add_route(&mut world, 13, ALL, Route::INTERNET_GATEWAY, GATEWAY);
            let change = Change::opened(2, 28);
            let _ = world.send(A, &mut to(A, X, query()).frame(), &change);
            let flows = world.memory.flows();
            let own = flows.values().find(|flow| flow.source_eni == A);
            let found = own.map(|own| own.flags & flag::TRACKED_AT_SOURCE != 0);
            assert_eq!(found, Some(is_tracked));
        }
    }

    #[test]
    fn the_deciding_rules_are_in_the_flow() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        let flows = world.memory.flows();
        let rules: Vec<_> = flows
            .values()
            .map(|f| (f.egress_rule, f.ingress_rule))
            .collect();
        // A's rule 10 let it out and B's rule 21 let it in; the answer is admitted by the same two.
        assert_eq!(rules, [(10, 21), (21, 10)]);
        world.passes(B, A, reply(), 0);
    }

    #[test]
    fn the_same_address_in_another_vpc_is_somebody_else() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.policy(B, Gate::Closed, Gate::Closed);
        // C has B's address, and everything is open to it.
        world.drops(A, B, query(), Reason::IngressRule);
        assert_eq!(crate::ledger::addr(B), crate::ledger::addr(C));
    }

    #[test]
    fn membership_is_the_senders_and_only_with_its_own_address() {
        let mut world = World::new(Gate::Everybody, Gate::Closed);
        // B lets in the members of group 7.
        let gate = world.gate_for_group(7);
        let tables = &mut world.memory.tables;
        tables
            .policies
            .get_mut(&B)
            .expect("B's policy")
            .ingress_gate = gate;
        world.drops(A, B, query(), Reason::IngressRule);
        world.change_eni(A, |eni| {
            eni.groups[1] = 7;
            // One group counts, and it is not the one.
            eni.group_count = 1;
        });
        world.drops(A, B, Transport::echo(1), Reason::IngressRule);
        world.change_eni(A, |eni| eni.group_count = 2);
        world.passes(A, B, query(), 2);
        world.change_eni(A, |eni| eni.flags = 0);
        let mut foreign = crate::ledger::packet(A, B, query());
        foreign.source = Addr::v4([10, 9, 9, 9]);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send(A, &mut foreign.frame(), &change);
    }

    #[test]
    fn icmp_is_always_tracked_and_an_echo_lets_only_its_reply_back() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, D, Transport::echo(7), 2);
        for eni in [A, D] {
            world.policy(eni, Gate::Closed, Gate::Closed);
        }
        world.passes(D, A, Transport::echo_reply(7), 0);
        world.drops(D, A, Transport::echo_reply(8), Reason::EgressRule);
        world.drops(D, A, Transport::echo(7), Reason::EgressRule);
    }

    #[test]
    fn the_lowest_bit_is_found() {
        for bit in 0..64 {
            assert_eq!(lowest(1 << bit), bit);
            assert_eq!(lowest(u64::MAX << bit), bit);
        }
    }

    #[test]
    fn a_gate_that_is_half_there_lets_nothing_pass() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.memory.tables.gate_rules.clear();
        world.drops(A, B, query(), Reason::EgressRule);
    }
}
