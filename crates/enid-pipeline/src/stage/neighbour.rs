//! Neighbour: delivery inside a subnet, from MAC to MAC, past all route tables and network ACLs.

use crate::{
    Scratch,
    bytes::{Mac, MacPair},
    journey::Hop,
    owner::neighbour,
    reason::Reason,
    stage::route::deliver,
    table::{EniRecord, SubnetRecord},
    tables::Tables,
};

/// Whether the neighbour with this MAC takes packets for others.
#[inline(never)]
pub(crate) fn takes_all<T: Tables>(tables: &T, scratch: &Scratch, mac: Mac) -> bool {
    let (vpc, subnet) = (scratch.journey.vpc, scratch.journey.subnet);
    let next = neighbour(tables, vpc, subnet, mac);
    let takes = |next: &EniRecord| next.flags & EniRecord::SOURCE_DEST_CHECK == 0;
    next != scratch.source_eni && tables.eni(next).is_some_and(takes)
}

/// Hands a packet to the neighbour with this MAC, whoever has its destination: what goes to another MAC
/// than the router's asks no route table (VPC User Guide, "Subnet route tables"). As behind a middlebox
/// that a route leads to, nobody's security groups are recognised by the destination.
#[inline(never)]
pub(crate) fn switched<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    sender: &EniRecord,
    mac: Mac,
) -> Result<(), Reason> {
    let next = neighbour(tables, sender.vpc, sender.subnet, mac);
    if next == 0 {
        return Err(Reason::DestinationMac);
    }
    if next == scratch.source_eni {
        return Err(Reason::OwnAddress);
    }
    let target = tables.eni(next).ok_or(Reason::Incomplete)?;
    let journey = &mut scratch.journey;
    journey.remote = 0;
    journey.eni = next;
    if target.flags & EniRecord::SOURCE_DEST_CHECK != 0 {
        return Err(Reason::DestinationCheck);
    }
    journey.hop.leaves = MacPair::new(target.mac, sender.mac);
    journey.ifindex = target.ifindex;
    if target.ifindex == 0 {
        return Err(Reason::TargetDown);
    }
    Ok(())
}

/// Delivers inside a subnet. The address decides, not the MAC: after an address has moved, a neighbour's
/// ARP cache keeps the MAC of the interface that had it before, for half a minute and more. Only a
/// neighbour that forwards for others is left the packets that go to its MAC.
#[inline(always)]
pub(crate) fn next_to<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    sender: &EniRecord,
    subnet: &SubnetRecord,
    eni: u64,
    target: &EniRecord,
) -> Result<(), Reason> {
    let macs = scratch.packet.macs;
    if macs.destination().is_group() {
        return Err(Reason::DestinationMac);
    }
    scratch.journey.eni = eni;
    if target.flags & (EniRecord::NAT_GATEWAY | EniRecord::BALANCER) != 0 {
        return deliver(tables, scratch);
    }
    let from = if macs.destination() == subnet.router_mac {
        subnet.router_mac
    } else {
        sender.mac
    };
    let journey = &mut scratch.journey;
    journey.hop = Hop {
        leaves: MacPair::new(target.mac, from),
        answer_arrives: MacPair::new(sender.mac, target.mac),
        answer_leaves: MacPair::new(sender.mac, target.mac),
    };
    journey.is_both_ways = true;
    journey.ifindex = target.ifindex;
    if target.ifindex == 0 {
        return Err(Reason::TargetDown);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Addr;
    use crate::ledger::{A, B, C, Change, D, Gate, World, addr, mac, packet, query, reply};
    use crate::ledger_wide::{ALL, X, add_route, forward, set_acl, to, wide};
    use crate::packet_builder::PacketBuilder;
    use crate::table::Route;

    /// B forwards for others; A's route table leads nowhere but to the VPC.
    fn forwarder() -> World {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.change_eni(B, |eni| eni.flags = 0);
        world
    }

    /// A packet to the MAC of a neighbour.
    fn by_mac(target: Addr, next: u64) -> PacketBuilder {
        to(A, target, query()).macs(mac(A), mac(next))
    }

    #[track_caller]
    fn fails(world: &World, packet: &PacketBuilder, reason: Reason) {
        let _ = world.send(A, &mut packet.frame(), &Change::dropped(reason));
    }

    #[test]
    fn a_frame_goes_to_the_neighbour_whose_mac_it_has() {
        let mut world = forwarder();
        // No route and no network ACL is asked; the frame stays as it is.
        set_acl(&mut world, 11, Some(&[]), Some(&[]));
        for target in [X, addr(D), Addr::v4([10, 0, 0, 99])] {
            let packet = by_mac(target, B);
            let mut frame = packet.frame();
            let verdict = world.send(A, &mut frame, &Change::opened(2, 28));
            assert_eq!(verdict, forward(B));
            assert_eq!(frame, packet.frame());
            let again = world.send(A, &mut frame, &Change::carried(28));
            assert_eq!(again, forward(B));
        }
        // The same flow by the router is another way.
        fails(&world, &to(A, X, query()), Reason::AclEgress);
    }

    #[test]
    fn both_gates_are_asked_about_the_packet_as_it_is() {
        let mut world = forwarder();
        world.policy(B, Gate::Closed, Gate::Closed);
        fails(&world, &by_mac(X, B), Reason::IngressRule);
        world.policy(A, Gate::Neighbours, Gate::Closed);
        let change = Change::dropped_again(Reason::EgressRule);
        let _ = world.send(A, &mut by_mac(X, B).frame(), &change);
        world.policy(B, Gate::Closed, Gate::Neighbours);
        let mut frame = by_mac(addr(D), B).frame();
        assert_eq!(
            world.send(A, &mut frame, &Change::opened(2, 28)),
            forward(B)
        );
        // The destination's group is not recognised: it is not known to be the other end.
        let gate = world.gate_for_group(7);
        let policy = world.memory.tables.policies.get_mut(&A);
        policy.expect("A's policy").egress_gate = gate;
        world.change_eni(D, |eni| (eni.groups[0], eni.group_count) = (7, 1));
        let mut other = by_mac(addr(D), B);
        other.transport = reply();
        fails(&world, &other, Reason::EgressRule);
    }

    #[test]
    fn only_neighbours_that_forward_take_packets_for_others() {
        let mut world = forwarder();
        // Of another subnet, of another VPC, of nobody, and its own.
        fails(&world, &by_mac(X, D), Reason::DestinationMac);
        fails(&world, &by_mac(addr(D), C), Reason::DestinationMac);
        fails(
            &world,
            &by_mac(Addr::v4([9, 9, 9, 9]), 77),
            Reason::DestinationMac,
        );
        fails(
            &world,
            &by_mac(Addr::v4([9, 9, 9, 8]), A),
            Reason::OwnAddress,
        );
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, 80);
        world.change_eni(B, |eni| eni.ifindex = 0);
        fails(
            &world,
            &by_mac(Addr::v4([9, 9, 9, 7]), B),
            Reason::TargetDown,
        );
        world.change_eni(B, |eni| {
            (eni.ifindex, eni.flags) = (2, EniRecord::SOURCE_DEST_CHECK)
        });
        fails(
            &world,
            &by_mac(Addr::v4([9, 9, 9, 6]), B),
            Reason::DestinationCheck,
        );
        fails(&world, &by_mac(addr(A), B), Reason::OwnAddress);
    }

    #[test]
    fn between_neighbours_a_forwarder_keeps_what_goes_to_its_mac() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        // D is a third one in the subnet.
        world.change_eni(D, |eni| eni.subnet = 11);
        let mut astray = packet(A, B, query());
        astray.to_mac = mac(D);
        let mut frame = astray.frame();
        let verdict = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(verdict, forward(B), "the address decides");
        world.change_eni(D, |eni| eni.flags = 0);
        let mut frame = astray.frame();
        let _ = world.send(A, &mut frame, &Change::opened(1, 28));
        assert_eq!(frame, astray.frame());
    }

    /// The address on the link that an ENI makes from its MAC.
    fn on_link(eni: u64) -> Addr {
        let [a, b, c, d, e, f] = mac(eni).0;
        Addr::v6([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ])
    }

    #[test]
    fn addresses_on_the_link_reach_neighbours_and_nobody_else() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        let packet = |source, target: u64| {
            PacketBuilder::new(source, on_link(target), query()).macs(mac(A), mac(target))
        };
        let own = on_link(A);
        let mut frame = packet(own, B).frame();
        assert_eq!(
            world.send(A, &mut frame, &Change::opened(2, 48)),
            forward(B)
        );
        let mut answer = PacketBuilder::new(on_link(B), own, reply())
            .macs(mac(B), mac(A))
            .frame();
        assert_eq!(world.send(B, &mut answer, &Change::carried(48)), forward(A));
        fails(&world, &packet(own, D), Reason::LinkLocal);
        fails(&world, &packet(own, A), Reason::OwnAddress);
        // One that is made of another MAC, or of none.
        fails(&world, &packet(on_link(B), B), Reason::SourceAddress);
        let of_nobody = Addr::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        fails(&world, &packet(of_nobody, B), Reason::SourceAddress);
        // Gates are asked as ever.
        world.policy(B, Gate::Closed, Gate::Neighbours);
        let mut other = packet(own, B);
        other.transport = crate::packet_builder::Transport::Udp { from: 7, to: 8 };
        fails(&world, &other, Reason::IngressRule);
    }
}
