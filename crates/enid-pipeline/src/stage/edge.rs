//! The edge of a VPC: what comes in by an internet gateway, and who gets it first.
//!
//! An internet gateway may have a route table of its own. It leads what comes in, after the translation of
//! its destination, to the ENI that has the address, or to a middlebox: an ENI that takes packets for
//! others and sends them on by the table of its subnet. Answers have to come back the same way: that is
//! what the subnets' route tables are for.

use crate::{
    Scratch,
    reason::Reason,
    stage::route::find,
    table::{EniRecord, OUTSIDE, Route},
    tables::Tables,
};

/// Comes in to a VPC by its internet gateway. The gateway's own route table, if it has one, may hand the
/// packet to another ENI than the one that has the address: a middlebox, which sends it on by the table of
/// its subnet. It must have a public address itself, as AWS wants it (VPC User Guide, "Gateway route
/// tables"); of IPv6 addresses all are public.
#[inline(never)]
pub(crate) fn enter<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.source_eni == OUTSIDE {
        is_stranger(tables, scratch)?;
    }
    // An egress-only gateway has no table: answers to what left by it come straight.
    let carried = &scratch.carried;
    let journey = &mut scratch.journey;
    if carried.comes_by_egress_only() {
        journey.route = carried.route;
        return Ok(());
    }
    if journey.edge == 0 {
        return Ok(());
    }
    let route = match find(tables, journey.edge, &journey.target) {
        Some(route) if route.kind != Route::NONE => route,
        _ => return Err(Reason::NoRoute),
    };
    if journey.route == 0 {
        journey.route = route.word();
    }
    match route.kind {
        Route::LOCAL => Ok(()),
        Route::ENI => {
            let target = tables.eni(route.target).ok_or(Reason::Incomplete)?;
            let is_other = route.target != journey.eni;
            journey.eni = route.target;
            if is_other && target.flags & EniRecord::SOURCE_DEST_CHECK != 0 {
                return Err(Reason::DestinationCheck);
            }
            if journey.target.is_v4() && target.flags & EniRecord::PUBLIC == 0 {
                return Err(Reason::MiddleboxAddress);
            }
            if is_other && scratch.source_eni == OUTSIDE {
                is_stranger(tables, scratch)?;
            }
            Ok(())
        }
        Route::BLACKHOLE => Err(Reason::Blackhole),
        // Fail closed: AWS allows no other targets here.
        _ => Err(Reason::NoRoute),
    }
}

/// Refuses a source that for the receiver is inside: of its VPC or of a peer, whose blocks need not be
/// private ones. Its rules for these would let it in.
#[inline(never)]
fn is_stranger<T: Tables>(tables: &T, scratch: &Scratch) -> Result<(), Reason> {
    let target = tables.eni(scratch.journey.eni).ok_or(Reason::Incomplete)?;
    let subnet = tables.subnet(target.subnet).ok_or(Reason::Incomplete)?;
    match find(tables, subnet.route_table, &scratch.packet.source) {
        Some(route) if matches!(route.kind, Route::LOCAL | Route::PEERING) => {
            Err(Reason::OutsideSource)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::bytes::Addr;
    use crate::ledger::{A, B, Change, D, Gate, World, addr, mac, query, reply, router_mac};
    use crate::ledger_wide::{
        ALL, E, EDGE, FAR, GATEWAY, NAT, NAT_PRIVATE, NAT_PUBLIC, NEAR, SENT_OUT, X,
        add_edge_table, add_route, at, at_x, forward, from_x, public, set_acl, to, v6, wide,
    };
    use crate::packet_builder::{PacketBuilder, Transport};
    use crate::table::{PoolKey, RouteKey, TABLE_BITS, trie_id};

    const SUBNET_12: (u32, [u8; 4]) = (24, [10, 0, 1, 0]);

    /// What comes in to D goes to A first, which forwards it and has a route to the internet; D's answers
    /// take the same way.
    fn guarded(into: Gate) -> World {
        let mut world = wide(Gate::Everybody, into);
        world.change_eni(A, |eni| eni.flags &= !EniRecord::SOURCE_DEST_CHECK);
        add_edge_table(&mut world);
        add_route(&mut world, EDGE, SUBNET_12, Route::ENI, A);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        add_route(&mut world, 12, ALL, Route::ENI, A);
        world
    }

    #[track_caller]
    fn comes(world: &World, packet: &PacketBuilder, arrives: &PacketBuilder, flows: isize) {
        let mut frame = packet.frame();
        let _ = world.send_in(&mut frame, &Change::opened(flows, 28));
        assert_eq!(frame, arrives.frame());
    }

    #[track_caller]
    fn goes(world: &World, from: u64, packet: &PacketBuilder, arrives: &PacketBuilder, new: isize) {
        let mut frame = packet.frame();
        let _ = world.send(from, &mut frame, &Change::opened(new, 28));
        assert_eq!(frame, arrives.frame());
    }

    #[track_caller]
    fn refuses(world: &World, packet: &PacketBuilder, reason: Reason) {
        let verdict = world.send_in(&mut packet.frame(), &Change::dropped(reason));
        assert_eq!(verdict, Verdict::Drop(reason));
    }

    /// A packet as A gets it from its router, for somebody else.
    fn at_a(source: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(source, target, transport).macs(router_mac(11), mac(A))
    }

    /// The same as A sends it on.
    fn by_a(source: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(source, target, transport).macs(mac(A), router_mac(11))
    }

    #[test]
    fn what_comes_in_passes_the_middlebox_and_so_do_answers() {
        let world = guarded(Gate::Everybody);
        let d = addr(D);
        comes(&world, &from_x(public(D), query()), &at_a(X, d, query()), 2);
        goes(&world, A, &by_a(X, d, query()), &at(D, X, query()), 2);
        // D answers by the middlebox, which has the connection at both of its ends.
        goes(&world, D, &to(D, X, reply()), &at_a(d, X, reply()), 0);
        goes(
            &world,
            A,
            &by_a(d, X, reply()),
            &at_x(public(D), reply()),
            0,
        );
        // By the flow table alone.
        comes(&world, &from_x(public(D), query()), &at_a(X, d, query()), 0);
        goes(&world, A, &by_a(X, d, query()), &at(D, X, query()), 0);
        // What is for A itself, and for other subnets, comes straight.
        comes(&world, &from_x(public(A), query()), &at(A, X, query()), 2);
        let nothing = from_x(NAT_PUBLIC, query());
        refuses(&world, &nothing, Reason::NatUnsolicited);
    }

    #[test]
    fn the_middleboxes_gate_and_acl_are_asked_and_not_those_of_the_target() {
        let mut world = guarded(Gate::Closed);
        let packet = from_x(public(D), query());
        refuses(&world, &packet, Reason::IngressRule);
        world.policy(A, Gate::Everybody, Gate::Everybody);
        set_acl(&mut world, 12, None, Some(&[]));
        comes(&world, &packet, &at_a(X, addr(D), query()), 2);
        set_acl(&mut world, 11, None, Some(&[]));
        let change = Change::dropped_again(Reason::AclIngress);
        let _ = world.send_in(&mut packet.frame(), &change);
        // Stateful at the middlebox: what D asked comes back past a closed gate.
        let mut world = guarded(Gate::Closed);
        world.policy(A, Gate::Everybody, Gate::Neighbours);
        let d = addr(D);
        goes(&world, D, &to(D, X, query()), &at_a(d, X, query()), 2);
        goes(
            &world,
            A,
            &by_a(d, X, query()),
            &at_x(public(D), query()),
            2,
        );
        comes(&world, &from_x(public(D), reply()), &at_a(X, d, reply()), 0);
        goes(&world, A, &by_a(X, d, reply()), &at(D, X, reply()), 0);
    }

    #[test]
    fn a_middlebox_forwards_and_has_a_public_address() {
        let packet = from_x(public(D), query());
        let mut world = guarded(Gate::Everybody);
        world.change_eni(A, |eni| eni.flags |= EniRecord::SOURCE_DEST_CHECK);
        refuses(&world, &packet, Reason::DestinationCheck);
        // But for what is its own.
        add_route(&mut world, EDGE, (16, [10, 0, 0, 0]), Route::ENI, A);
        comes(&world, &from_x(public(A), query()), &at(A, X, query()), 2);
        let mut world = guarded(Gate::Everybody);
        world.change_eni(A, |eni| eni.flags = 0);
        refuses(&world, &packet, Reason::MiddleboxAddress);
        let mut world = guarded(Gate::Everybody);
        add_route(&mut world, EDGE, SUBNET_12, Route::BLACKHOLE, 0);
        refuses(&world, &packet, Reason::Blackhole);
        for kind in [Route::NONE, Route::INTERNET_GATEWAY, 99] {
            add_route(&mut world, EDGE, SUBNET_12, kind, 0);
            let change = Change::dropped_again(Reason::NoRoute);
            let _ = world.send_in(&mut packet.frame(), &change);
        }
    }

    #[test]
    fn nobody_outside_is_inside_for_the_target_or_the_middlebox() {
        for subnet in [11, 12] {
            let mut world = guarded(Gate::Everybody);
            let packet = from_x(public(D), query());
            add_route(
                &mut world,
                subnet,
                (24, [203, 0, 113, 0]),
                Route::PEERING,
                3,
            );
            refuses(&world, &packet, Reason::OutsideSource);
        }
    }

    #[test]
    fn what_turns_around_at_the_gateway_comes_in_by_its_table_too() {
        let mut world = guarded(Gate::Everybody);
        add_route(&mut world, 31, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let arrives = at_a(public(E), addr(D), query());
        goes(&world, E, &to(E, public(D), query()), &arrives, 2);
    }

    #[test]
    fn answers_to_a_nat_gateway_pass_the_middlebox() {
        let mut world = guarded(Gate::Everybody);
        world.policy(D, Gate::Everybody, Gate::Closed);
        add_route(&mut world, 12, ALL, Route::NAT_GATEWAY, NAT);
        add_route(&mut world, 13, ALL, Route::ENI, A);
        add_route(&mut world, EDGE, (24, [10, 0, 2, 0]), Route::ENI, A);
        let mut frame = to(D, X, query()).frame();
        assert_eq!(
            world.send(D, &mut frame, &Change::opened(2, 28)),
            forward(A)
        );
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let asks = Transport::Udp { from: port, to: 53 };
        assert_eq!(frame, at_a(NAT_PRIVATE, X, asks.clone()).frame());
        let mut frame = by_a(NAT_PRIVATE, X, asks.clone()).frame();
        assert_eq!(world.send(A, &mut frame, &Change::opened(2, 28)), SENT_OUT);
        assert_eq!(frame, at_x(NAT_PUBLIC, asks).frame());
        let answers = Transport::Udp { from: 53, to: port };
        let back = at_a(X, NAT_PRIVATE, answers.clone());
        comes(&world, &from_x(NAT_PUBLIC, answers.clone()), &back, 0);
        let at_d = at(D, X, reply());
        goes(&world, A, &by_a(X, NAT_PRIVATE, answers), &at_d, 0);
    }

    const FAR_AWAY: Addr = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Adds a route for all of IPv6.
    fn add_wide_route(world: &mut World, table: u64, kind: u32, target: u64) {
        let key = RouteKey {
            prefix_len: TABLE_BITS,
            table: trie_id(table),
            addr: Addr::UNSPECIFIED,
        };
        let route = Route {
            target,
            kind,
            prefix_len: 0,
        };
        world.memory.tables.routes.insert(key, route);
        world.memory.generation += 1;
    }

    #[test]
    fn ipv6_passes_the_middlebox_without_translation() {
        // What comes in for A goes to B, whose addresses are public as all IPv6 addresses are.
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.change_eni(B, |eni| eni.flags = 0);
        add_edge_table(&mut world);
        add_wide_route(&mut world, EDGE, Route::ENI, B);
        add_wide_route(&mut world, 11, Route::INTERNET_GATEWAY, GATEWAY);
        let asks = PacketBuilder::new(FAR_AWAY, v6(0xa), query()).macs(FAR, NEAR);
        let mut frame = asks.frame();
        assert_eq!(
            world.send_in(&mut frame, &Change::opened(2, 48)),
            forward(B)
        );
        let at_b = asks.macs(router_mac(11), mac(B));
        assert_eq!(frame, at_b.frame());
        // B sends it on to its neighbour.
        let mut frame = at_b.macs(mac(B), mac(A)).frame();
        assert_eq!(
            world.send(B, &mut frame, &Change::opened(2, 48)),
            forward(A)
        );
    }

    #[test]
    fn answers_by_an_egress_only_gateway_know_no_edge() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.change_eni(B, |eni| eni.flags = 0);
        add_edge_table(&mut world);
        add_wide_route(&mut world, EDGE, Route::ENI, B);
        add_wide_route(&mut world, 11, Route::EGRESS_ONLY, 1);
        let block = PoolKey {
            prefix_len: 56,
            addr: v6(0),
        };
        assert!(world.memory.tables.pools[&block].edge != 0);
        let asks = PacketBuilder::new(v6(0xa), FAR_AWAY, query()).macs(mac(A), router_mac(11));
        let mut frame = asks.frame();
        assert_eq!(world.send(A, &mut frame, &Change::opened(2, 48)), SENT_OUT);
        let answer = PacketBuilder::new(FAR_AWAY, v6(0xa), reply()).macs(FAR, NEAR);
        for _ in 0..3 {
            let verdict = world.send_in(&mut answer.frame(), &Change::carried(48));
            assert_eq!(verdict, forward(A));
            world.memory.generation += 1;
        }
        // By the internet gateway they would go to the middlebox.
        add_wide_route(&mut world, 11, Route::INTERNET_GATEWAY, GATEWAY);
        assert_eq!(
            world.send(A, &mut asks.frame(), &Change::carried(48)),
            SENT_OUT
        );
        let change = Change::opened(1, 48);
        assert_eq!(world.send_in(&mut answer.frame(), &change), forward(B));
    }
}
