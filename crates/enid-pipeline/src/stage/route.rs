//! Route: who gets the packet, by which way, and with which MAC addresses.
//!
//! Inside a subnet packets go from MAC to MAC or through the router, and no route table and no network
//! ACL is asked: also not for a packet to anywhere that goes to the MAC of a neighbour which forwards for
//! others. Everything else goes to the router's MAC, and the route table of the subnet decides:
//! the longest prefix, a more specific one than the VPC's own included. A packet that a NAT gateway sends
//! on is routed once more, by the table of the gateway's subnet. The virtual router does not show: the
//! TTL stays.
//!
//! The way is found as a whole before a gate is asked, and the subnet edges on it are noted for the
//! network ACLs. What a way fails at is reported after the gates that lie before.

use crate::{
    Scratch,
    bytes::{Addr, MacPair},
    owner::{owner, owner_seen},
    reason::Reason,
    stage::{balance, edge, gateway, nat, neighbour},
    table::{ADDR_BITS, EniRecord, GATE_OPEN, Route, RouteKey, SubnetRecord, trie_id},
    tables::Tables,
};

/// Finds the way of a packet that an ENI sends.
#[inline(never)]
pub(crate) fn from_eni<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let sender = tables.eni(scratch.source_eni).ok_or(Reason::Incomplete)?;
    let subnet = tables.subnet(sender.subnet).ok_or(Reason::Incomplete)?;
    let journey = &mut scratch.journey;
    journey.begin(&scratch.packet, sender.vpc, sender.subnet);
    journey.is_transparent = !scratch.owns_address && sender.flags & EniRecord::BALANCER != 0;
    journey.is_member = scratch.owns_address || journey.is_transparent;
    let eni = owner_seen(tables, sender.vpc, sender.subnet, &scratch.packet.target);
    journey.remote = eni;
    if eni == scratch.source_eni {
        return Err(Reason::OwnAddress);
    }
    let to_mac = scratch.packet.macs.destination();
    if eni != 0 {
        let target = tables.eni(eni).ok_or(Reason::Incomplete)?;
        if target.subnet == sender.subnet {
            if to_mac != target.mac
                && to_mac != subnet.router_mac
                && neighbour::takes_all(tables, scratch, to_mac)
            {
                return neighbour::switched(tables, scratch, sender, to_mac);
            }
            return neighbour::next_to(tables, scratch, sender, subnet, eni, target);
        }
    } else if subnet.is_router(&scratch.packet.target) {
        return Err(Reason::RouterAddress);
    } else if scratch.packet.target.is_link_local() || scratch.packet.target.is_ec2() {
        return Err(Reason::LinkLocal);
    }
    // With the source/destination check off; no router carries these (RFC 4291, section 2.5.6).
    if scratch.packet.source.is_link_local() {
        return Err(Reason::LinkLocal);
    }
    if to_mac != subnet.router_mac {
        return neighbour::switched(tables, scratch, sender, to_mac);
    }
    decide(tables, scratch)?;
    if scratch.journey.is_routed_on {
        decide(tables, scratch)?;
    }
    if scratch.journey.is_entering {
        edge::enter(tables, scratch)?;
    }
    deliver(tables, scratch)?;
    if scratch.journey.is_at_node {
        return Ok(());
    }
    both_ways(tables, scratch, sender, subnet);
    Ok(())
}

/// Finds the way of what the target of a load balancer answers: back to the node, and from there to the
/// client by the routes of the node's subnet.
#[inline(never)]
pub(crate) fn from_target<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    balance::back(tables, scratch)?;
    decide(tables, scratch)?;
    if scratch.journey.is_entering {
        edge::enter(tables, scratch)?;
    }
    deliver(tables, scratch)?;
    if scratch.journey.is_at_node {
        return Err(Reason::BalancerRoute);
    }
    balance::end_back(scratch);
    Ok(())
}

/// The decision of one route table, in the subnet where the packet is. Leaves in the journey the ENI that
/// has the destination, the outside, or the subnet of a NAT gateway to go on from.
#[inline(never)]
fn decide<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    let is_first = !journey.is_routed_on;
    journey.is_routed_on = false;
    let subnet = tables.subnet(journey.subnet).ok_or(Reason::Incomplete)?;
    let route = match find(tables, subnet.route_table, &journey.target) {
        Some(route) if route.kind != Route::NONE => route,
        _ => {
            journey.leave(subnet)?;
            return Err(Reason::NoRoute);
        }
    };
    if is_first {
        journey.route = route.word();
    }
    if route.kind != Route::LOCAL {
        journey.remote = 0;
    }
    match route.kind {
        Route::LOCAL => {
            let eni = owner(tables, journey.vpc, &journey.target);
            if eni == 0 {
                journey.leave(subnet)?;
                return Err(Reason::NoEndpoint);
            }
            let target = tables.eni(eni).ok_or(Reason::Incomplete)?;
            if target.subnet != journey.subnet {
                journey.leave(subnet)?;
            }
            journey.eni = eni;
            Ok(())
        }
        Route::ENI => middlebox(tables, scratch, subnet, route.target),
        Route::NAT_GATEWAY => nat::out(tables, scratch, subnet, route.target),
        Route::PEERING => {
            journey.leave(subnet)?;
            let eni = owner(tables, route.target, &journey.target);
            if is_first {
                journey.remote = eni;
            }
            journey.vpc = route.target;
            journey.subnet = 0;
            journey.eni = eni;
            if eni == 0 {
                return Err(Reason::NoEndpoint);
            }
            Ok(())
        }
        Route::INTERNET_GATEWAY => {
            journey.leave(subnet)?;
            gateway::out(tables, scratch)
        }
        Route::EGRESS_ONLY => {
            journey.leave(subnet)?;
            gateway::egress_only(tables, scratch)
        }
        Route::BLACKHOLE => {
            journey.leave(subnet)?;
            Err(Reason::Blackhole)
        }
        // Fail closed: a kind that this program does not know is no way at all.
        _ => Err(Reason::NoRoute),
    }
}

/// Hands a packet to the ENI that a route names. It must take packets for others, unless the
/// destination is its own.
#[inline(always)]
fn middlebox<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    subnet: &SubnetRecord,
    eni: u64,
) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    if eni == scratch.source_eni {
        return Err(Reason::OwnAddress);
    }
    let target = tables.eni(eni).ok_or(Reason::Incomplete)?;
    if target.subnet != journey.subnet {
        journey.leave(subnet)?;
    }
    journey.eni = eni;
    let is_checked = target.flags & EniRecord::SOURCE_DEST_CHECK != 0;
    if is_checked && owner(tables, journey.vpc, &journey.target) != eni {
        return Err(Reason::DestinationCheck);
    }
    Ok(())
}

/// Brings a packet to the ENI that the journey has come to. That of a NAT gateway is no end: it only
/// takes answers, and sends them on; that of a load balancer's node is where the way goes on from.
#[inline(never)]
pub(crate) fn deliver<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.journey.is_to_outside {
        return Ok(());
    }
    let first = tables.eni(scratch.journey.eni).ok_or(Reason::Incomplete)?;
    if first.flags & EniRecord::NAT_GATEWAY != 0 {
        nat::back(tables, scratch)?;
    } else if first.flags & EniRecord::BALANCER != 0 {
        // From a function of its own: the kernel bounds how deep calls are nested.
        scratch.journey.is_at_node = true;
        return Ok(());
    }
    hand_over(tables, scratch)
}

/// Brings a packet to the end of its way.
#[inline(never)]
pub(crate) fn hand_over<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    let target = tables.eni(journey.eni).ok_or(Reason::Incomplete)?;
    let subnet = tables.subnet(target.subnet).ok_or(Reason::Incomplete)?;
    if target.flags & EniRecord::NAT_GATEWAY != 0 {
        return Err(Reason::NatUnsolicited);
    }
    if target.subnet != journey.subnet {
        journey.enter(subnet)?;
    }
    journey.hop.leaves = MacPair::new(target.mac, subnet.router_mac);
    journey.ifindex = target.ifindex;
    if target.ifindex == 0 {
        return Err(Reason::TargetDown);
    }
    Ok(())
}

/// Whether answers may take the same way back without being judged: by the local route in both
/// directions, with network ACLs that let everything pass.
#[inline(always)]
fn both_ways<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    sender: &EniRecord,
    subnet: &SubnetRecord,
) {
    let journey = &mut scratch.journey;
    let is_local = journey.remote != 0 && journey.remote == journey.eni && journey.via == 0;
    if !is_local || journey.vpc != sender.vpc {
        return;
    }
    let Some(target) = tables.eni(journey.eni) else {
        return;
    };
    let Some(beyond) = tables.subnet(target.subnet) else {
        return;
    };
    let is_open =
        |subnet: &SubnetRecord| subnet.acl_egress == GATE_OPEN && subnet.acl_ingress == GATE_OPEN;
    if !is_open(subnet) || !is_open(beyond) {
        return;
    }
    match find(tables, beyond.route_table, &scratch.packet.source) {
        Some(route) if route.kind == Route::LOCAL => {}
        _ => return,
    }
    journey.is_both_ways = true;
    journey.hop.answer_arrives = MacPair::new(beyond.router_mac, target.mac);
    journey.hop.answer_leaves = MacPair::new(sender.mac, subnet.router_mac);
}

/// The route with the longest prefix.
#[inline(never)]
pub(crate) fn find<'a, T: Tables>(
    tables: &'a T,
    route_table: u64,
    target: &Addr,
) -> Option<&'a Route> {
    let key = RouteKey {
        prefix_len: ADDR_BITS,
        table: trie_id(route_table),
        addr: *target,
    };
    tables.route(&key)
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Mac;
    use crate::ledger::{
        A, B, Change, D, Gate, World, addr, mac, packet, query, reply, router_mac,
    };
    use crate::ledger_wide::{ALL, E, GATEWAY, add_route, at, to, wide, wide_addr};
    use crate::packet_builder::PacketBuilder;

    fn open() -> World {
        World::new(Gate::Everybody, Gate::Everybody)
    }

    #[test]
    fn the_router_rewrites_both_macs_and_leaves_the_ttl() {
        let world = open();
        let packet = packet(A, D, query());
        let mut frame = packet.frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(frame[..6], mac(D).0);
        assert_eq!(frame[6..12], router_mac(12).0);
        assert_eq!(frame[14..], packet.frame()[14..]);
    }

    #[test]
    fn another_subnet_is_reached_through_the_router_only() {
        let world = open();
        let mut straight = packet(A, D, query());
        straight.to_mac = mac(D);
        let _ = world.send(
            A,
            &mut straight.frame(),
            &Change::dropped(Reason::DestinationMac),
        );
    }

    #[test]
    fn inside_a_subnet_the_address_decides_and_not_an_old_mac() {
        let world = open();
        let mut old = packet(A, B, query());
        old.to_mac = Mac([2, 9, 9, 9, 9, 9]);
        let mut frame = old.frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(frame[..6], mac(B).0);
        assert_eq!(frame[6..12], mac(A).0);

        let world = open();
        let mut everybody = packet(A, B, query());
        everybody.to_mac = Mac([0xff; 6]);
        let _ = world.send(
            A,
            &mut everybody.frame(),
            &Change::dropped(Reason::DestinationMac),
        );
    }

    #[test]
    fn without_a_route_other_subnets_are_out_of_reach() {
        let mut world = open();
        world.memory.tables.routes.clear();
        world.drops(A, D, query(), Reason::NoRoute);
        world.passes(A, B, query(), 2);
    }

    #[test]
    fn each_address_that_nobody_has_says_why() {
        let world = open();
        for (target, reason) in [
            ([10, 0, 0, 1], Reason::RouterAddress),
            ([10, 0, 0, 99], Reason::NoEndpoint),
            ([8, 8, 8, 8], Reason::NoRoute),
            ([169, 254, 169, 254], Reason::LinkLocal),
        ] {
            let mut packet = packet(A, B, query());
            packet.target = Addr::v4(target);
            packet.to_mac = router_mac(11);
            let _ = world.send(A, &mut packet.frame(), &Change::dropped(reason));
        }
        let mut own = packet(A, A, query());
        own.to_mac = router_mac(11);
        assert_eq!(own.target, addr(A));
        let _ = world.send(A, &mut own.frame(), &Change::dropped(Reason::OwnAddress));
    }

    #[test]
    fn a_link_local_source_does_not_leave_its_subnet() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.change_eni(A, |eni| eni.flags = 0);
        let from = |target, source| {
            let mut packet = packet(A, target, query());
            packet.source = Addr::v4(source);
            packet.frame()
        };
        let mut frame = from(D, [169, 254, 1, 1]);
        let _ = world.send(A, &mut frame, &Change::dropped(Reason::LinkLocal));
        // Another foreign one does: the check is off.
        let mut frame = from(D, [192, 0, 2, 1]);
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
    }

    #[test]
    fn an_eni_without_a_device_is_not_reached() {
        let mut world = open();
        world.change_eni(B, |eni| eni.ifindex = 0);
        world.drops(A, B, query(), Reason::TargetDown);
        world.change_eni(B, |eni| eni.ifindex = 2);
        world.passes(A, B, query(), 2);
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

    #[track_caller]
    fn fails(world: &World, from: u64, packet: &PacketBuilder, reason: Reason) {
        let _ = world.send(from, &mut packet.frame(), &Change::dropped(reason));
    }

    /// The middlebox's subnets and the packets that it forwards.
    const B_ALONE: (u32, [u8; 4]) = (32, [10, 0, 0, 20]);
    const D_SUBNET: (u32, [u8; 4]) = (24, [10, 0, 1, 0]);

    #[test]
    fn a_blackhole_is_no_way() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let x = Addr::v4([203, 0, 113, 9]);
        add_route(&mut world, 11, (24, [203, 0, 113, 0]), Route::BLACKHOLE, 0);
        fails(&world, A, &to(A, x, query()), Reason::Blackhole);
        // The shorter prefix serves others.
        let mut frame = to(A, Addr::v4([203, 0, 114, 9]), query()).frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        // A kind that nobody knows is no way, nor is one that stands for none.
        for kind in [Route::NONE, 99] {
            add_route(&mut world, 11, (32, x.v4_octets()), kind, 0);
            let mut frame = to(A, x, query()).frame();
            let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::NoRoute));
        }
    }

    #[test]
    fn a_middlebox_stands_between_two_subnets() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        // A's packets to D's subnet go to B, which forwards them; answers go the straight way.
        add_route(&mut world, 11, D_SUBNET, Route::ENI, B);
        fails(
            &world,
            A,
            &to(A, addr(D), query()),
            Reason::DestinationCheck,
        );
        world.change_eni(B, |eni| eni.flags = 0);
        let mut at_b = to(A, addr(D), query());
        at_b.to_mac = mac(B);
        at_b.from_mac = router_mac(11);
        goes(&world, A, &to(A, addr(D), query()), &at_b, 2);
        // B's own table leads back to it.
        let forwarded = at_b.macs(mac(B), router_mac(11));
        fails(&world, B, &forwarded, Reason::OwnAddress);
        let record = world.memory.tables.subnets.get_mut(&11);
        record.expect("a subnet of the world").route_table = 13;
        world.memory.generation += 1;
        let at_d = at(D, addr(A), query());
        goes(&world, B, &forwarded, &at_d, 2);
        goes(
            &world,
            D,
            &to(D, addr(A), reply()),
            &at(A, addr(D), reply()),
            0,
        );
    }

    #[test]
    fn a_route_to_the_middlebox_itself_needs_no_forwarder() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        add_route(&mut world, 12, B_ALONE, Route::ENI, B);
        goes(
            &world,
            D,
            &to(D, addr(B), query()),
            &at(B, addr(D), query()),
            2,
        );
    }

    #[test]
    fn security_groups_are_not_recognised_behind_a_middlebox() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.change_eni(B, |eni| eni.flags = 0);
        add_route(&mut world, 11, D_SUBNET, Route::ENI, B);
        // A may send to members of D's group only.
        let gate = world.gate_for_group(7);
        let policy = world.memory.tables.policies.get_mut(&A);
        policy.expect("A's policy").egress_gate = gate;
        world.change_eni(D, |eni| {
            eni.groups[0] = 7;
            eni.group_count = 1;
        });
        fails(&world, A, &to(A, addr(D), query()), Reason::EgressRule);
        add_route(&mut world, 11, D_SUBNET, Route::LOCAL, 0);
        goes(
            &world,
            A,
            &to(A, addr(D), query()),
            &at(D, addr(A), query()),
            2,
        );
    }

    #[test]
    fn a_peer_is_reached_with_a_route_on_both_sides() {
        let mut world = wide(Gate::Everybody, Gate::Neighbours);
        let there = (16, [10, 9, 0, 0]);
        let e = wide_addr(E);
        fails(&world, A, &to(A, e, query()), Reason::NoRoute);
        add_route(&mut world, 11, there, Route::PEERING, 3);
        goes(&world, A, &to(A, e, query()), &at(E, addr(A), query()), 2);
        fails(&world, E, &to(E, addr(A), reply()), Reason::NoRoute);
        add_route(&mut world, 31, (16, [10, 0, 0, 0]), Route::PEERING, 1);
        goes(&world, E, &to(E, addr(A), reply()), &at(A, e, reply()), 0);
        // Nobody there, and nobody beyond it: a peer is no transit.
        fails(
            &world,
            A,
            &to(A, Addr::v4([10, 9, 0, 99]), query()),
            Reason::NoEndpoint,
        );
        add_route(&mut world, 11, (24, [203, 0, 113, 0]), Route::PEERING, 3);
        add_route(&mut world, 31, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        fails(
            &world,
            A,
            &to(A, Addr::v4([203, 0, 113, 9]), query()),
            Reason::NoEndpoint,
        );
    }

    #[test]
    fn a_peers_security_groups_are_recognised() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        add_route(&mut world, 11, (16, [10, 9, 0, 0]), Route::PEERING, 3);
        let gate = world.gate_for_group(7);
        let policy = world.memory.tables.policies.get_mut(&E);
        policy.expect("E's policy").ingress_gate = gate;
        fails(
            &world,
            A,
            &to(A, wide_addr(E), query()),
            Reason::IngressRule,
        );
        world.change_eni(A, |eni| {
            eni.groups[0] = 7;
            eni.group_count = 1;
        });
        goes(
            &world,
            A,
            &to(A, wide_addr(E), query()),
            &at(E, addr(A), query()),
            2,
        );
    }

    #[test]
    fn answers_are_judged_where_they_take_another_way() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        add_route(
            &mut world,
            12,
            (32, addr(A).v4_octets()),
            Route::BLACKHOLE,
            0,
        );
        goes(
            &world,
            A,
            &to(A, addr(D), query()),
            &at(D, addr(A), query()),
            2,
        );
        fails(&world, D, &to(D, addr(A), reply()), Reason::Blackhole);
    }
}
