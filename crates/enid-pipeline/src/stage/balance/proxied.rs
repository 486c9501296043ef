//! Connections of a node's own proxy, which ends its clients' connections and speaks to targets under their
//! addresses.
//!
//! What the proxy sends leaves the node's device as any packet does, and is judged at the node's gate and the
//! target's: there the client's address counts, and for rules that name groups the balancer's. The entry of the
//! answers says that they go to the node. A target that answers a client which the proxy does not speak for
//! sends it an ordinary packet.
//!
//! From a target in a peer's VPC answers go back if its routes lead to the node's subnet: they are asked for that one's
//! router, as the node's own address is in none of these packets.

use super::leads;
use crate::{Scratch, reason::Reason, stage::route::hand_over, table::EniRecord, tables::Tables};

/// Brings what a target answers to a client's address to the node whose proxy spoke under it.
#[inline(never)]
pub(crate) fn to_proxy<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let sender = tables.eni(scratch.source_eni).ok_or(Reason::Incomplete)?;
    let id = scratch.carried.target_eni();
    let journey = &mut scratch.journey;
    journey.begin(&scratch.packet, sender.vpc, sender.subnet);
    journey.balancer = id;
    journey.is_transparent = true;
    let node = tables.eni(id).ok_or(Reason::BalancerReset)?;
    if node.flags & EniRecord::BALANCER == 0 {
        return Err(Reason::BalancerReset);
    }
    if sender.subnet != node.subnet {
        let outer = tables.subnet(sender.subnet).ok_or(Reason::Incomplete)?;
        journey.leave(outer)?;
        let inner = tables.subnet(node.subnet).ok_or(Reason::Incomplete)?;
        let router = match journey.target.is_v4() {
            true => inner.router,
            false => inner.router_v6,
        };
        if !leads(tables, sender, &router, node.vpc) {
            return Err(Reason::BalancerRoute);
        }
    }
    journey.eni = id;
    hand_over(tables, scratch)
}

#[cfg(test)]
mod tests {
    use crate::Verdict;
    use crate::balancer::Share;
    use crate::bytes::Addr;
    use crate::flow::tcp::SYN;
    use crate::ledger::{A, B, Change, D, Gate, World, addr, mac, router_mac};
    use crate::ledger_balance::{NODE, PORT, balanced};
    use crate::ledger_nat::{ACK, SYN_ACK, tcp};
    use crate::ledger_wide::{E, add_route, forward, to};
    use crate::packet_builder::{PacketBuilder, Transport};
    use crate::reason::Reason;
    use crate::table::Route;

    /// What the node's proxy sends to a target under an address.
    fn speaks(client: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(client, target, transport).macs(mac(NODE), router_mac(13))
    }

    #[track_caller]
    fn carries(world: &World, from: u64, packet: &PacketBuilder, to: u64, change: &Change) {
        assert_eq!(world.send(from, &mut packet.frame(), change), forward(to));
    }

    /// A connection of the proxy's to D under A's address and port 5.
    fn spoken(world: &World) {
        let open = speaks(addr(A), addr(D), tcp(5, PORT, SYN));
        carries(world, NODE, &open, D, &Change::opened(2, 40));
        let answer = to(D, addr(A), tcp(PORT, 5, SYN_ACK));
        let mut frame = answer.frame();
        let verdict = world.send(D, &mut frame, &Change::carried(40));
        assert_eq!(verdict, forward(NODE));
        // With the addresses of the wire.
        let arrives = PacketBuilder::new(addr(D), addr(A), tcp(PORT, 5, SYN_ACK));
        assert_eq!(frame, arrives.macs(router_mac(13), mac(NODE)).frame());
        let next = speaks(addr(A), addr(D), tcp(5, PORT, ACK));
        carries(world, NODE, &next, D, &Change::carried(40));
    }

    #[test]
    fn a_target_that_answers_the_client_answers_the_proxy() {
        let mut world = balanced(&[D], Share::PRESERVES);
        spoken(&world);
        let answers = to(D, addr(A), tcp(PORT, 5, ACK));
        carries(&world, D, &answers, NODE, &Change::carried(40));
        // Whatever is judged again.
        world.memory.generation += 1;
        carries(&world, D, &answers, NODE, &Change::carried(40));
        // To no other port of the client's, nor from another target.
        let other = to(D, addr(A), tcp(PORT, 6, SYN));
        carries(&world, D, &other, A, &Change::opened(2, 40));
        let other = to(B, addr(A), tcp(PORT, 5, SYN));
        carries(&world, B, &other, A, &Change::opened(2, 40));
    }

    #[test]
    fn the_targets_gate_sees_the_client_and_the_balancers_groups() {
        let mut world = balanced(&[D], Share::PRESERVES);
        world.policy(D, Gate::Everybody, Gate::Closed);
        let open = speaks(addr(A), addr(D), tcp(5, PORT, SYN));
        let refused = Change::dropped(Reason::IngressRule);
        let verdict = world.send(NODE, &mut open.frame(), &refused);
        assert_eq!(verdict, Verdict::Drop(Reason::IngressRule));
        // A rule for the members of the balancer's group, and one for others.
        let gate = world.gate_for_group(7);
        let policy = world.memory.tables.enis[&D].policy;
        let tables = &mut world.memory.tables;
        tables
            .policies
            .get_mut(&policy)
            .expect("a policy")
            .ingress_gate = gate;
        world.policy(NODE, Gate::Everybody, Gate::Everybody);
        world.change_eni(NODE, |node| (node.groups[0], node.group_count) = (8, 1));
        let again = Change::dropped_again(Reason::IngressRule);
        let verdict = world.send(NODE, &mut open.frame(), &again);
        assert_eq!(verdict, Verdict::Drop(Reason::IngressRule));
        world.change_eni(NODE, |node| node.groups[0] = 7);
        carries(&world, NODE, &open, D, &Change::opened(2, 40));
    }

    #[test]
    fn nobody_else_speaks_for_others_and_the_proxy_with_tcp_alone() {
        let world = balanced(&[D], Share::PRESERVES);
        let mut spoofed = to(B, addr(D), tcp(5, PORT, SYN));
        spoofed.source = addr(A);
        let change = Change::dropped(Reason::SourceAddress);
        assert_eq!(
            world.send(B, &mut spoofed.frame(), &change),
            Verdict::Drop(Reason::SourceAddress)
        );
        let datagram = speaks(addr(A), addr(D), Transport::Udp { from: 5, to: PORT });
        assert_eq!(
            world.send(NODE, &mut datagram.frame(), &change),
            Verdict::Drop(Reason::SourceAddress)
        );
    }

    #[test]
    fn a_target_in_a_peered_vpc_answers_if_its_routes_lead_back() {
        let mut world = balanced(&[E], Share::PRESERVES);
        let peer = Addr::v4([10, 9, 0, 40]);
        add_route(&mut world, 13, (16, [10, 9, 0, 0]), Route::PEERING, 3);
        let open = speaks(addr(A), peer, tcp(5, PORT, SYN));
        carries(&world, NODE, &open, E, &Change::opened(2, 40));
        let answer = to(E, addr(A), tcp(PORT, 5, SYN_ACK));
        let refused = Change::dropped(Reason::BalancerRoute);
        let verdict = world.send(E, &mut answer.frame(), &refused);
        assert_eq!(verdict, Verdict::Drop(Reason::BalancerRoute));
        // To the client's subnet alone, and to the node's.
        add_route(&mut world, 31, (24, [10, 0, 0, 0]), Route::PEERING, 1);
        let again = Change::dropped_again(Reason::BalancerRoute);
        let verdict = world.send(E, &mut answer.frame(), &again);
        assert_eq!(verdict, Verdict::Drop(Reason::BalancerRoute));
        add_route(&mut world, 31, (24, [10, 0, 2, 0]), Route::PEERING, 1);
        carries(&world, E, &answer, NODE, &Change::carried(40));
    }

    #[test]
    fn without_its_node_an_answer_goes_nowhere() {
        let mut world = balanced(&[D], Share::PRESERVES);
        spoken(&world);
        world.memory.tables.enis.remove(&NODE);
        world.memory.generation += 1;
        let mut frame = to(D, addr(A), tcp(PORT, 5, ACK)).frame();
        let verdict = world.send(D, &mut frame, &Change::dropped(Reason::BalancerReset));
        assert_eq!(verdict, Verdict::Drop(Reason::BalancerReset));
    }
}
