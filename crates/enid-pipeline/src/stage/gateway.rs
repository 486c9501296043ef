//! Internet gateways: what goes to the outside, what comes from there, and what turns around on the way.
//!
//! An IPv4 address is translated one to one: outside, an ENI has its public address and no other. IPv6
//! addresses are the same on both sides. A packet to a public address of this installation does not go
//! out: it comes back in to whoever has the address, with the sender's public address, and no security
//! group is recognised by it. One way passes one translator: what a NAT gateway sends to the node of a load
//! balancer, and what such a node sends back to the gateway, does go out, and comes in again at once in a run
//! of the outside's program. It is then judged as what comes from the internet, and its flow is seen
//! twice, by the sender's and by the receiver's side. Nobody outside can make use of its addresses: it
//! is taken in only while the flow table has who waits for its answer. Limit: errors of ICMP about it are
//! not. What comes in may first have to pass a middlebox, by the gateway's own route table.

use crate::{
    Scratch,
    bytes::{Addr, MacPair},
    flow::flag,
    journey::Journey,
    owner::{owner, pool},
    reason::Reason,
    stage::{edge, route::deliver},
    table::{EndpointKey, EniRecord, OUTSIDE, Outside, Pool},
    tables::Tables,
};

/// Leaves a VPC by its internet gateway.
#[inline(never)]
pub(crate) fn out<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    if journey.source.is_v4() {
        if journey.via != 0 && !journey.is_balanced {
            // A private NAT gateway sends nothing to the internet.
            if journey.nat_public == Addr::UNSPECIFIED {
                return Err(Reason::NatRoute);
            }
            journey.source = journey.nat_public;
        } else {
            journey.source = public_of(tables, journey.vpc, &journey.source)?;
        }
    } else {
        let block = pool(tables, &journey.source).ok_or(Reason::NoPublicAddress)?;
        if block.vpc != journey.vpc || block.flags & Pool::INTERNET_GATEWAY == 0 {
            return Err(Reason::NoPublicAddress);
        }
    }
    beyond(tables, scratch)
}

/// The public address of a private one.
#[inline(never)]
pub(crate) fn public_of<T: Tables>(tables: &T, vpc: u64, private: &Addr) -> Result<Addr, Reason> {
    let key = EndpointKey {
        vpc,
        addr: *private,
    };
    match tables.public_of(&key) {
        Some(public) => Ok(public.addr),
        None => Err(Reason::NoPublicAddress),
    }
}

/// Leaves a VPC by its egress-only internet gateway.
#[inline(never)]
pub(crate) fn egress_only<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &scratch.journey;
    if journey.source.is_v4() {
        return Err(Reason::NoRoute);
    }
    if owner(tables, journey.vpc, &journey.source) == 0 {
        return Err(Reason::NoPublicAddress);
    }
    beyond(tables, scratch)
}

/// Finds the way of a packet that comes from the outside.
#[inline(never)]
pub(crate) fn from_outside<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.journey.begin(&scratch.packet, 0, 0);
    if scratch.packet.source.is_no_source() || scratch.packet.source.is_link_local() {
        return Err(Reason::SourceAddress);
    }
    let is_ours =
        pool(tables, &scratch.packet.source).is_some_and(|pool| pool.flags & Pool::HOST == 0);
    scratch.journey.is_turned = is_ours && has_turned(tables, scratch);
    if is_ours && !scratch.journey.is_turned || scratch.packet.source.is_private() {
        return Err(Reason::OutsideSource);
    }
    beyond(tables, scratch)?;
    edge::enter(tables, scratch)?;
    deliver(tables, scratch)
}

/// Whether somebody of this installation has sent a packet that comes in, and waits for what answers it.
#[inline(never)]
fn has_turned<T: Tables>(tables: &T, scratch: &Scratch) -> bool {
    let Some(answer) = scratch.key.reversed(scratch.key.ifindex) else {
        return false;
    };
    match tables.flow(&answer) {
        Some(entry) => entry.source_eni.get() == OUTSIDE && entry.flags.get() & flag::TURNED != 0,
        None => false,
    }
}

/// Whether a packet that has passed a translator is for another one.
#[inline(never)]
fn turns<T: Tables>(tables: &T, scratch: &Scratch, eni: u64) -> bool {
    let journey = &scratch.journey;
    let other = if journey.is_balanced {
        EniRecord::NAT_GATEWAY
    } else {
        EniRecord::BALANCER
    };
    journey.via != 0
        && scratch.source_eni != OUTSIDE
        && tables.eni(eni).is_some_and(|eni| eni.flags & other != 0)
}

/// The longest packet that passes an internet gateway (EC2 user guide, "Network maximum transmission unit").
const MTU: u32 = 1500;

/// Passes the gateway. Longer packets from the outside are not its concern, these have come through the
/// internet already; answers to them are.
#[inline(always)]
fn pass(scratch: &mut Scratch) -> Result<(), Reason> {
    let narrowed = scratch.journey.narrow(MTU, &scratch.packet);
    if scratch.source_eni == OUTSIDE {
        Ok(())
    } else {
        narrowed
    }
}

/// Goes on from the internet: in again to a VPC of this installation, or to the outside.
#[inline(never)]
fn beyond<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    journey.vpc = 0;
    journey.subnet = 0;
    journey.is_member = false;
    if let Some(public) = tables.public(&journey.target) {
        if turns(tables, scratch, public.eni) {
            let outside = tables.outside().ok_or(Reason::NoOutside)?;
            scratch.journey.is_turned = true;
            leave(&mut scratch.journey, outside);
            // As it comes in.
            scratch.journey.hop.leaves = MacPair::new(outside.near_mac, outside.far_mac);
            return pass(scratch);
        }
        let journey = &mut scratch.journey;
        journey.vpc = public.vpc;
        journey.target = public.private;
        journey.eni = public.eni;
        journey.edge = public.edge;
        journey.is_entering = true;
        return pass(scratch);
    }
    match pool(tables, &journey.target) {
        Some(block) if block.flags & Pool::HOST == 0 => {
            if block.vpc == 0 {
                return Err(Reason::UnassignedAddress);
            }
            // Answers come in by an egress-only gateway as well, and errors about what went out.
            let is_open = block.flags & Pool::INTERNET_GATEWAY != 0;
            if !is_open && !scratch.carried.is_answer() {
                if !scratch.is_quoting {
                    return Err(Reason::NoInternetGateway);
                }
                journey.must_be_related = true;
            }
            journey.vpc = block.vpc;
            journey.eni = owner(tables, block.vpc, &journey.target);
            if journey.eni == 0 {
                return Err(Reason::UnassignedAddress);
            }
            journey.edge = block.edge;
            journey.is_entering = true;
            pass(scratch)
        }
        // What comes from the outside is not sent back there.
        _ if scratch.source_eni == OUTSIDE => Err(Reason::NoRoute),
        _ if journey.target.is_private() => Err(Reason::PrivateAddress),
        _ => {
            let outside = tables.outside().ok_or(Reason::NoOutside)?;
            leave(journey, outside);
            pass(scratch)
        }
    }
}

/// Leaves this installation.
#[inline(always)]
fn leave(journey: &mut Journey, outside: &Outside) {
    journey.eni = OUTSIDE;
    journey.is_to_outside = true;
    journey.ifindex = outside.ifindex;
    journey.hop.leaves = MacPair::new(outside.far_mac, outside.near_mac);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Bytes, Frame as _};
    use crate::ledger::{A, B, Change, D, Gate, World, device, packet, query, reply};
    use crate::ledger_wide::{
        ALL, E, FAR, GATEWAY, NAT_PUBLIC, SENT_OUT, X, add_route, at, at_x, forward, from_x,
        public, set_acl, to, too_big, v6, wide, wide_addr,
    };
    use crate::packet_builder::{Cut, PacketBuilder, Transport, arp_request};
    use crate::table::{
        Direction, PoolKey, Route, RouteKey, TABLE_BITS, gate_of_ipv6, split_bit, trie_id,
    };
    use crate::{Scratch, Verdict, egress};

    /// A world whose subnets 11, 12 and 31 have a route to the internet.
    fn online(out: Gate, into: Gate) -> World {
        let mut world = wide(out, into);
        for subnet in [11, 12, 31] {
            add_route(&mut world, subnet, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        }
        world
    }

    /// Sends a packet that must go on as `arrives`.
    #[track_caller]
    fn goes(
        world: &World,
        from: u64,
        packet: &PacketBuilder,
        arrives: &PacketBuilder,
        flows: isize,
    ) {
        let mut frame = packet.frame();
        let change = Change::opened(flows, packet.packet().len() as u64);
        let _ = world.send(from, &mut frame, &change);
        assert_eq!(frame, arrives.frame());
    }

    /// The same from the outside.
    #[track_caller]
    fn comes(world: &World, packet: &PacketBuilder, arrives: &PacketBuilder, flows: isize) {
        let mut frame = packet.frame();
        let change = Change::opened(flows, packet.packet().len() as u64);
        let _ = world.send_in(&mut frame, &change);
        assert_eq!(frame, arrives.frame());
    }

    #[track_caller]
    fn fails(world: &World, from: u64, packet: &PacketBuilder, reason: Reason) {
        let verdict = world.send(from, &mut packet.frame(), &Change::dropped(reason));
        assert_eq!(verdict, Verdict::Drop(reason));
    }

    #[track_caller]
    fn refuses(world: &World, packet: &PacketBuilder, reason: Reason) {
        let verdict = world.send_in(&mut packet.frame(), &Change::dropped(reason));
        assert_eq!(verdict, Verdict::Drop(reason));
    }

    #[test]
    fn an_eni_has_its_public_address_outside() {
        let mut world = online(Gate::Everybody, Gate::Closed);
        let mut frame = to(A, X, query()).frame();
        assert_eq!(world.send(A, &mut frame, &Change::opened(2, 28)), SENT_OUT);
        assert_eq!(frame, at_x(public(A), query()).frame());
        let mut frame = from_x(public(A), reply()).frame();
        assert_eq!(world.send_in(&mut frame, &Change::carried(28)), forward(A));
        assert_eq!(frame, at(A, X, reply()).frame());
        // By the flow table alone, tracked.
        world.policy(A, Gate::Closed, Gate::Closed);
        for _ in 0..2 {
            goes(&world, A, &to(A, X, query()), &at_x(public(A), query()), 0);
            comes(&world, &from_x(public(A), reply()), &at(A, X, reply()), 0);
        }
        // What nobody asked for is the receiver's gate's.
        refuses(&world, &from_x(public(A), query()), Reason::IngressRule);
    }

    #[test]
    fn every_protocol_is_translated_and_its_checksum_follows() {
        for transport in [
            Transport::syn(5, 6),
            Transport::echo(7),
            Transport::Other(47),
            query(),
        ] {
            let world = online(Gate::Everybody, Gate::Everybody);
            let mut packet = to(A, X, transport.clone());
            let mut arrives = at_x(public(A), transport);
            (packet.payload, arrives.payload) = (33, 33);
            goes(&world, A, &packet, &arrives, 2);
            goes(&world, A, &packet, &arrives, 0);
        }
    }

    #[test]
    fn a_udp_packet_without_a_checksum_gets_none() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let (mut frame, mut wanted) = (to(A, X, query()).frame(), at_x(public(A), query()).frame());
        frame[40..42].fill(0);
        wanted[40..42].fill(0);
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(frame, wanted);
    }

    #[test]
    fn whoever_has_no_public_address_stays_inside() {
        let world = online(Gate::Everybody, Gate::Everybody);
        fails(&world, B, &to(B, X, query()), Reason::NoPublicAddress);
        goes(&world, A, &to(A, X, query()), &at_x(public(A), query()), 2);
    }

    #[test]
    fn without_an_outside_nothing_leaves() {
        let mut world = online(Gate::Everybody, Gate::Everybody);
        world.memory.outside = Default::default();
        fails(&world, A, &to(A, X, query()), Reason::NoOutside);
    }

    #[test]
    fn a_connection_from_outside_needs_the_gate_the_acl_and_a_route_for_the_answer() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        comes(&world, &from_x(public(D), query()), &at(D, X, query()), 2);
        fails(&world, D, &to(D, X, reply()), Reason::NoRoute);
        add_route(&mut world, 12, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        goes(&world, D, &to(D, X, reply()), &at_x(public(D), reply()), 0);
        set_acl(&mut world, 12, None, Some(&[]));
        refuses(&world, &from_x(public(D), query()), Reason::AclIngress);
        world.policy(D, Gate::Closed, Gate::Neighbours);
        set_acl(&mut world, 12, None, None);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut from_x(public(D), Transport::echo(1)).frame(), &change);
    }

    #[test]
    fn a_packet_to_a_public_address_turns_around_at_the_gateway() {
        let world = online(Gate::Everybody, Gate::Everybody);
        // Within the VPC and into another one, the sender shows its public address.
        for (target, port) in [(D, 53), (E, 54)] {
            let (there, back) = (
                Transport::Udp { from: 9, to: port },
                Transport::Udp { from: port, to: 9 },
            );
            let asked = at(target, public(A), there.clone());
            goes(&world, A, &to(A, public(target), there.clone()), &asked, 2);
            let answer = to(target, public(A), back.clone());
            goes(&world, target, &answer, &at(A, public(target), back), 0);
            goes(&world, A, &to(A, public(target), there), &asked, 0);
        }
        // Rules for neighbours do not know a public address.
        let world = online(Gate::Everybody, Gate::Neighbours);
        fails(&world, A, &to(A, public(D), query()), Reason::IngressRule);
        world.passes(A, D, query(), 2);
    }

    #[test]
    fn its_own_public_address_is_reached_but_not_from_the_same_port() {
        let world = online(Gate::Everybody, Gate::Everybody);
        goes(
            &world,
            A,
            &to(A, public(A), query()),
            &at(A, public(A), query()),
            2,
        );
        let same = Transport::Udp { from: 5, to: 5 };
        fails(&world, A, &to(A, public(A), same), Reason::OwnAddress);
    }

    #[test]
    fn addresses_of_the_pool_never_go_out_nor_come_in() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let nobody = Addr::v4([198, 18, 9, 9]);
        fails(
            &world,
            A,
            &to(A, nobody, query()),
            Reason::UnassignedAddress,
        );
        refuses(&world, &from_x(nobody, query()), Reason::UnassignedAddress);
        let mut spoofed = from_x(public(A), query());
        spoofed.source = public(D);
        refuses(&world, &spoofed, Reason::OutsideSource);
        // The far end's own address is one of the pool.
        let host = Addr::v4([198, 18, 0, 1]);
        let mut arrives = at_x(public(A), query());
        arrives.target = host;
        goes(&world, A, &to(A, host, query()), &arrives, 2);
        let mut asks = from_x(public(A), Transport::echo(4));
        asks.source = host;
        let mut frame = asks.frame();
        assert_eq!(
            world.send_in(&mut frame, &Change::opened(2, 28)),
            forward(A)
        );
        // What is nobody's comes from nobody.
        asks.source = Addr::v4([127, 0, 0, 1]);
        refuses(&world, &asks, Reason::SourceAddress);
        // No private address is outside.
        let private = Addr::v4([192, 168, 1, 1]);
        fails(&world, A, &to(A, private, query()), Reason::PrivateAddress);
        // And is not sent back.
        refuses(&world, &from_x(X, Transport::echo(9)), Reason::NoRoute);
        refuses(&world, &from_x(NAT_PUBLIC, query()), Reason::NatUnsolicited);
    }

    #[test]
    fn nobody_outside_has_a_source_that_is_inside() {
        let mut world = online(Gate::Everybody, Gate::Everybody);
        let from = |source| {
            let mut packet = from_x(public(A), query());
            packet.source = Addr::v4(source);
            packet
        };
        // A neighbour's, and of networks that no internet carries.
        for source in [[10, 0, 0, 11], [172, 16, 0, 1], [192, 168, 1, 1]] {
            refuses(&world, &from(source), Reason::OutsideSource);
        }
        let next_to_private = from([172, 32, 0, 1]);
        let mut arrives = at(A, X, query());
        arrives.source = next_to_private.source;
        comes(&world, &next_to_private, &arrives, 2);
        // A peer's, whose block is no private one.
        add_route(&mut world, 11, (24, [203, 0, 113, 0]), Route::PEERING, 3);
        refuses(&world, &from_x(public(A), query()), Reason::OutsideSource);
    }

    #[test]
    fn what_is_too_long_for_the_internet_does_not_leave() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let of = |length: usize| {
            let mut packet = to(A, X, query());
            // IP and UDP headers are 28 bytes.
            packet.payload = length - 28;
            packet
        };
        is_told(&world, A, &of(1501), &Change::dropped(Reason::TooBig));
        let mut arrives = at_x(public(A), query());
        arrives.payload = 1472;
        goes(&world, A, &of(1500), &arrives, 2);
        // Of a flow that is there as well.
        let change = Change::dropped_again(Reason::TooBig);
        is_told(&world, A, &of(1501), &change);
        goes(&world, A, &of(1500), &arrives, 0);
        // Inside it may be longer.
        let mut inside = packet(A, B, query());
        inside.payload = 8000;
        let _ = world.send(A, &mut inside.frame(), &Change::opened(2, 8028));
    }

    /// Sends a packet from subnet 11 that its router must answer with the length that passes.
    #[track_caller]
    fn is_told(world: &World, from: u64, packet: &PacketBuilder, change: &Change) {
        let mut frame = packet.frame();
        assert_eq!(world.send(from, &mut frame, change), Verdict::Reply);
        let answer = too_big(packet, Addr::v4([10, 0, 0, 1]), 1500).frame();
        assert_eq!(frame[..answer.len()], answer);
    }

    #[test]
    fn a_public_address_inside_is_reached_by_short_packets_too() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let mut long = to(A, public(D), query());
        long.payload = 1473;
        is_told(&world, A, &long, &Change::dropped(Reason::TooBig));
        long.payload = 1472;
        let mut arrives = at(D, public(A), query());
        arrives.payload = 1472;
        goes(&world, A, &long, &arrives, 2);
    }

    #[test]
    fn errors_and_later_fragments_are_not_answered() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let mut error = to(A, X, Transport::unreachable(&at(A, X, reply())));
        error.payload = 1500;
        fails(&world, A, &error, Reason::TooBig);
        let cut = |offset, more| {
            let id = 7;
            let mut packet = to(A, X, query());
            packet.payload = 2000;
            packet.cut = Some(Cut { id, offset, more });
            packet
        };
        is_told(&world, A, &cut(0, true), &Change::dropped(Reason::TooBig));
        let change = Change::dropped_again(Reason::TooBig);
        let verdict = world.send(A, &mut cut(255, false).frame(), &change);
        assert_eq!(verdict, Verdict::Drop(Reason::TooBig));
    }

    #[test]
    fn a_frame_for_several_packets_is_as_long_as_one_of_them() {
        let world = online(Gate::Everybody, Gate::Everybody);
        let mut packet = to(
            A,
            X,
            Transport::Tcp {
                from: 1,
                to: 2,
                flags: 0x10,
            },
        );
        packet.payload = 6000;
        for (size, passes) in [(1460, true), (1461, false), (8949, false)] {
            let mut frame = packet.frame();
            let mut bytes = Bytes::new(&mut frame).with_segment_size(size);
            let mut scratch = Scratch::new();
            let verdict = egress(&world.memory, &mut bytes, device(A), 1, &mut scratch);
            let expected = if passes { SENT_OUT } else { Verdict::Reply };
            assert_eq!(verdict, expected, "{size}");
        }
    }

    #[test]
    fn ipv6_senders_are_told_as_well() {
        let far = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        ipv6_route(&mut world, Route::INTERNET_GATEWAY);
        let packet = |payload| {
            let mut packet = PacketBuilder::new(v6(0xa), far, query())
                .macs(crate::ledger::mac(A), crate::ledger::router_mac(11));
            packet.payload = payload;
            packet
        };
        for router in [crate::table::ROUTER_LINK_LOCAL, v6(1)] {
            let subnet = world.memory.tables.subnets.get_mut(&11);
            if router != crate::table::ROUTER_LINK_LOCAL {
                subnet.expect("a subnet of the world").router_v6 = router;
            }
            // IPv6 and UDP headers are 48 bytes.
            let long = packet(1453);
            let mut frame = long.frame();
            let mut bytes = Bytes::new(&mut frame);
            let mut scratch = Scratch::new();
            let verdict = egress(&world.memory, &mut bytes, device(A), 1, &mut scratch);
            assert_eq!(verdict, Verdict::Reply);
            let answer = too_big(&long, router, 1500).frame();
            assert_eq!(bytes.len() as usize, answer.len());
            assert_eq!(frame[..answer.len()], answer);
        }
        let mut fits = packet(1452).frame();
        assert_eq!(world.send(A, &mut fits, &Change::opened(2, 1500)), SENT_OUT);
    }

    fn ipv6_route(world: &mut World, kind: u32) {
        let key = RouteKey {
            prefix_len: TABLE_BITS,
            table: trie_id(11),
            addr: Addr::UNSPECIFIED,
        };
        let route = Route {
            target: GATEWAY,
            kind,
            prefix_len: 0,
        };
        world.memory.tables.routes.insert(key, route);
        world.memory.generation += 1;
    }

    #[test]
    fn ipv6_has_a_gate_of_its_own_where_a_policy_is_split() {
        let far = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for (is_swapped, is_split, [v4, v6_is_open]) in [
            (false, false, [true, true]),
            (false, true, [true, false]),
            (true, true, [false, true]),
            (true, false, [false, false]),
        ] {
            let mut world = wide(Gate::Everybody, Gate::Everybody);
            ipv6_route(&mut world, Route::INTERNET_GATEWAY);
            let policy = world.memory.tables.policies.get_mut(&A);
            let policy = policy.expect("A's policy");
            if is_swapped {
                policy.egress_gate = gate_of_ipv6(policy.egress_gate);
            }
            if is_split {
                policy.open |= split_bit(Direction::Egress);
            }
            let packet = PacketBuilder::new(v6(0xa), far, query());
            let mut out = packet
                .macs(crate::ledger::mac(A), crate::ledger::router_mac(11))
                .frame();
            if v6_is_open {
                let sent = world.send(A, &mut out, &Change::opened(2, 48));
                assert_eq!(sent, SENT_OUT);
            } else {
                let _ = world.send(A, &mut out, &Change::dropped(Reason::EgressRule));
            }
            if v4 {
                world.passes(A, B, query(), 2);
            } else {
                world.drops(A, B, query(), Reason::EgressRule);
            }
        }
    }

    #[test]
    fn ipv6_goes_out_and_comes_in_as_it_is() {
        let far = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        ipv6_route(&mut world, Route::INTERNET_GATEWAY);
        let frame = |source, target, transport, inward: bool| {
            let packet = PacketBuilder::new(source, target, transport);
            let (mac, router) = (crate::ledger::mac(A), crate::ledger::router_mac(11));
            let (near, far) = (crate::ledger_wide::NEAR, FAR);
            let macs = if inward { (far, near) } else { (mac, router) };
            packet.macs(macs.0, macs.1).frame()
        };
        let mut out = frame(v6(0xa), far, query(), false);
        assert_eq!(
            world.send(A, &mut out.clone(), &Change::opened(2, 48)),
            SENT_OUT
        );
        let mut answer = frame(far, v6(0xa), reply(), true);
        assert_eq!(world.send_in(&mut answer, &Change::carried(48)), forward(A));
        let mut asked = frame(far, v6(0xa), query(), true);
        assert_eq!(
            world.send_in(&mut asked, &Change::opened(2, 48)),
            forward(A)
        );
        let mut nobody = frame(far, v6(0xcc), query(), true);
        let change = Change::dropped(Reason::UnassignedAddress);
        let _ = world.send_in(&mut nobody, &change);

        // Through an egress-only gateway answers come in, and nothing else.
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        ipv6_route(&mut world, Route::EGRESS_ONLY);
        let key = PoolKey {
            prefix_len: 56,
            addr: v6(0),
        };
        let block = world.memory.tables.pools.get_mut(&key);
        block.expect("the VPC's block").flags = 0;
        assert_eq!(world.send(A, &mut out, &Change::opened(2, 48)), SENT_OUT);
        let mut answer = frame(far, v6(0xa), reply(), true);
        assert_eq!(world.send_in(&mut answer, &Change::carried(48)), forward(A));
        let mut asked = frame(far, v6(0xa), Transport::Udp { from: 8, to: 9 }, true);
        let change = Change::dropped(Reason::NoInternetGateway);
        let _ = world.send_in(&mut asked, &change);
        // So do errors about what went out, from whoever meets it, and no other ones.
        let router = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        let error = |transport| {
            let quoted = PacketBuilder::new(v6(0xa), far, transport);
            frame(router, v6(0xa), Transport::unreachable(&quoted), true)
        };
        let related = Change {
            related: 1,
            ..Change::default()
        };
        assert_eq!(world.send_in(&mut error(query()), &related), forward(A));
        let other = Transport::Udp { from: 8, to: 9 };
        let change = Change::dropped(Reason::NoInternetGateway);
        let _ = world.send_in(&mut error(other), &change);
        // Nor does an internet gateway's route let out what has no internet gateway.
        ipv6_route(&mut world, Route::INTERNET_GATEWAY);
        let mut again = frame(v6(0xa), far, Transport::Udp { from: 8, to: 9 }, false);
        let _ = world.send(A, &mut again, &Change::dropped(Reason::NoPublicAddress));
        // And no egress-only gateway carries IPv4.
        add_route(&mut world, 11, ALL, Route::EGRESS_ONLY, GATEWAY);
        fails(&world, A, &to(A, X, query()), Reason::NoRoute);
    }

    #[test]
    fn an_error_from_outside_quotes_what_its_receiver_sent() {
        let mut world = online(Gate::Everybody, Gate::Closed);
        goes(&world, A, &to(A, X, query()), &at_x(public(A), query()), 2);
        let related = Change {
            related: 1,
            ..Change::default()
        };
        // From X itself and from a router on the way.
        for source in [X, Addr::v4([192, 0, 2, 7])] {
            let mut error = from_x(public(A), Transport::unreachable(&at_x(public(A), query())));
            error.source = source;
            let mut frame = error.frame();
            assert_eq!(world.send_in(&mut frame, &related), forward(A));
            assert_eq!(
                frame[..34],
                at(A, source, error.transport.clone()).frame()[..34]
            );
            // The quotation is A's own packet; its UDP checksum nobody reads.
            let own = to(A, X, query()).packet();
            assert_eq!(frame[42..68], own[..26]);
        }
        // An error about what was never sent.
        let other = Transport::Udp { from: 1000, to: 99 };
        let error = Transport::unreachable(&at_x(public(A), other));
        refuses(&world, &from_x(public(A), error), Reason::IngressRule);
        // And one that the receiver sends about an answer.
        world.policy(A, Gate::Closed, Gate::Closed);
        let error = Transport::unreachable(&at(A, X, reply()));
        let mut frame = to(A, X, error).frame();
        goes(&world, A, &to(A, X, query()), &at_x(public(A), query()), 0);
        comes(&world, &from_x(public(A), reply()), &at(A, X, reply()), 0);
        assert_eq!(world.send(A, &mut frame, &related), SENT_OUT);
        assert_eq!(frame[42..68], from_x(public(A), reply()).packet()[..26]);
    }

    #[test]
    fn the_device_answers_for_the_pool() {
        let world = online(Gate::Closed, Gate::Closed);
        let host = Addr::v4([198, 18, 0, 1]);
        let mut asked = arp_request(FAR, host, public(A));
        assert_eq!(
            world.send_in(&mut asked, &Change::default()),
            Verdict::Reply
        );
        assert_eq!(asked[22..28], crate::ledger_wide::NEAR.0);
        assert_eq!(asked[28..32], public(A).v4_octets());
        for wanted in [host, X, wide_addr(A)] {
            let mut asked = arp_request(FAR, host, wanted);
            let change = Change::dropped_again(Reason::ArpUnanswered);
            let _ = world.send_in(&mut asked, &change);
        }
        assert_ne!(device(A), world.memory.outside.ifindex);
    }
}
