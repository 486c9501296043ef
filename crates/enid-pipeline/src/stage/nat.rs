//! NAT gateways: many private addresses behind few, connections begun from inside only.
//!
//! A packet out crosses into the gateway's subnet, takes one of the gateway's private addresses and a
//! port of its own (`nat_port`), and is routed on from there; an internet gateway on the way makes the
//! private address the public one. An answer is one that has an entry in the flow table which holds a port;
//! nothing else passes.
//!
//! Limit: IPv4 only.

use crate::{
    Scratch,
    bytes::Addr,
    flow::FlowKey,
    owner::owner,
    packet::{Fragment, Packet},
    reason::Reason,
    stage::nat_port,
    table::{NAT_ADDRESSES_MAX, NatRecord, OUTSIDE, SubnetRecord, protocol},
    tables::Tables,
};

/// The type of an ICMP echo request.
const ECHO: u8 = 8;
/// The longest packet that a NAT gateway carries (VPC user guide, "NAT gateway basics").
const MTU: u32 = 8500;

/// Brings a packet into the subnet of a NAT gateway and gives it the gateway's address.
#[inline(never)]
pub(crate) fn out<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    subnet: &SubnetRecord,
    id: u64,
) -> Result<(), Reason> {
    let nat = tables.nat(id).ok_or(Reason::Incomplete)?;
    let journey = &mut scratch.journey;
    journey.nat = id;
    if nat.subnet != journey.subnet {
        journey.leave(subnet)?;
        let inner = tables.subnet(nat.subnet).ok_or(Reason::Incomplete)?;
        journey.enter(inner)?;
    }
    journey.come_to_gateway();
    if journey.via != 0 {
        return Err(Reason::NatRoute);
    }
    check(&scratch.packet, scratch.is_related)?;
    journey.narrow(MTU, &scratch.packet)?;
    let carried = &scratch.carried;
    // Errors about an answer go the connection's own way, and so do its packets.
    let known = if carried.via == id && (scratch.is_related || !carried.is_reply()) {
        index_of(nat, carried.translation.source.v4_octets())
    } else {
        None
    };
    if known.is_none() && (scratch.is_related || carried.is_answer()) {
        return Err(Reason::NatUnsolicited);
    }
    let index = match known {
        Some(index) => index,
        None => nat_port::choose(tables, scratch, nat, id),
    };
    let journey = &mut scratch.journey;
    let carried = &scratch.carried;
    let (Some(private), Some(public)) = (nat.private.get(index), nat.public.get(index)) else {
        return Err(Reason::Incomplete);
    };
    journey.source = Addr::v4(*private);
    journey.nat_public = if nat.flags & NatRecord::PUBLIC != 0 {
        Addr::v4(*public)
    } else {
        Addr::UNSPECIFIED
    };
    if known.is_none() {
        journey.needs_port = true;
    } else if !scratch.is_related {
        journey.source_port = carried.translation.source_port;
    }
    journey.via = id;
    journey.subnet = nat.subnet;
    journey.is_member = false;
    journey.is_routed_on = true;
    Ok(())
}

/// What a NAT gateway carries. Answers to an echo come back through it, none goes out.
#[inline(always)]
fn check(packet: &Packet, is_related: bool) -> Result<(), Reason> {
    let is_carried = match packet.protocol {
        protocol::TCP | protocol::UDP => packet.source.is_v4(),
        protocol::ICMP => is_related || packet.target_port.bytes()[0] == ECHO,
        _ => false,
    };
    if !is_carried {
        return Err(Reason::NatProtocol);
    }
    if is_cut(packet) {
        return Err(Reason::NatFragment);
    }
    Ok(())
}

/// Whether it is a fragment that no NAT gateway carries: of anything but UDP.
#[inline(always)]
pub(crate) fn is_cut(packet: &Packet) -> bool {
    packet.fragment != Fragment::None && packet.protocol != protocol::UDP
}

/// The number of a gateway's address, private or public.
#[inline(never)]
pub(crate) fn index_of(nat: &NatRecord, address: [u8; 4]) -> Option<usize> {
    for index in 0..NAT_ADDRESSES_MAX {
        if index >= nat.count as usize {
            break;
        }
        let is_public = nat.flags & NatRecord::PUBLIC != 0 && nat.public[index] == address;
        if is_public || nat.private[index] == address {
            return Some(index);
        }
    }
    None
}

/// Takes an answer that has come to the gateway's interface and sends it on to who asked.
#[inline(never)]
pub(crate) fn back<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let carried = &scratch.carried;
    let journey = &mut scratch.journey;
    let is_answer = carried.is_answer() || scratch.is_related;
    // Its interface knows the gateway.
    journey.nat = match tables.eni(journey.eni) {
        Some(eni) => eni.policy,
        None => 0,
    };
    journey.is_back = true;
    if carried.via == 0 || !is_answer {
        return Err(Reason::NatUnsolicited);
    }
    let Some(nat) = tables.nat(carried.via) else {
        return Err(Reason::NatUnsolicited);
    };
    // Errors may come from routers on the way; answers come from whom the connection goes to.
    let is_from_target = journey.source == carried.translation.source;
    if nat.eni != journey.eni || !(is_from_target || scratch.is_related) {
        return Err(Reason::NatUnsolicited);
    }
    let inner = tables.subnet(nat.subnet).ok_or(Reason::Incomplete)?;
    if nat.subnet != journey.subnet {
        journey.enter(inner)?;
    }
    journey.come_to_gateway();
    if is_cut(&scratch.packet) {
        return Err(Reason::NatFragment);
    }
    let narrowed = journey.narrow(MTU, &scratch.packet);
    if scratch.source_eni != OUTSIDE {
        narrowed?;
    }
    journey.target = carried.translation.target;
    if !scratch.is_related {
        journey.source_port = carried.translation.source_port;
        journey.target_port = carried.translation.target_port;
    }
    journey.via = carried.via;
    journey.vpc = nat.vpc;
    journey.subnet = nat.subnet;
    journey.is_member = false;
    journey.eni = owner(tables, nat.vpc, &journey.target);
    if journey.eni == 0 {
        journey.leave(inner)?;
        return Err(Reason::NoEndpoint);
    }
    if journey.eni != carried.target_eni() {
        // Another ENI has the address now.
        return Err(Reason::NatUnsolicited);
    }
    let target = tables.eni(journey.eni).ok_or(Reason::Incomplete)?;
    if target.subnet != nat.subnet {
        journey.leave(inner)?;
    }
    Ok(())
}

/// Finds the key of the packets that answer, as they come.
#[inline(never)]
pub(crate) fn find_answer(scratch: &mut Scratch) {
    let journey = &scratch.journey;
    let key = FlowKey {
        source: journey.source,
        target: journey.target,
        source_port: journey.source_port,
        target_port: journey.target_port,
        ..scratch.key
    };
    scratch.has_answer = match key.reversed(journey.ifindex) {
        Some(answer) => {
            scratch.answer = answer;
            true
        }
        None => false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, B, Change, D, Gate, World, query, reply};
    use crate::ledger_nat::{ACK, answer, behind, comes, fails, goes, opened, tcp};
    use crate::ledger_wide::{
        ALL, E, GATEWAY, NAT, NAT_ENI, NAT_PRIVATE, NAT_PUBLIC, SENT_OUT, X, add_route, at, at_x,
        forward, from_x, public, set_acl, to,
    };
    use crate::packet_builder::{Cut, PacketBuilder, Transport};
    use crate::release::{ReleaseOrder, release};
    use crate::table::Route;

    #[test]
    fn answers_come_back_and_nothing_else_does() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let port = goes(&world, A, &to(A, X, query()), 2);
        comes(
            &world,
            &from_x(NAT_PUBLIC, answer(port)),
            &at(A, X, reply()),
        );
        comes(
            &world,
            &from_x(NAT_PUBLIC, answer(port)),
            &at(A, X, reply()),
        );
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), port);
        // From another port or address, or to another port.
        let mut foreign = from_x(NAT_PUBLIC, answer(port));
        foreign.source = Addr::v4([203, 0, 113, 10]);
        for packet in [
            from_x(NAT_PUBLIC, Transport::Udp { from: 54, to: port }),
            from_x(NAT_PUBLIC, answer(port ^ 1)),
            foreign,
        ] {
            let change = Change::dropped(Reason::NatUnsolicited);
            let _ = world.send_in(&mut packet.frame(), &change);
        }
        fails(
            &world,
            A,
            &to(A, NAT_PRIVATE, query()),
            Reason::NatUnsolicited,
        );
    }

    #[test]
    fn the_same_port_of_two_instances_becomes_two() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let first = goes(&world, A, &to(A, X, query()), 2);
        let second = goes(&world, B, &to(B, X, query()), 2);
        let third = goes(&world, D, &to(D, X, query()), 2);
        assert!(first != second && second != third && first != third);
        comes(
            &world,
            &from_x(NAT_PUBLIC, answer(second)),
            &at(B, X, reply()),
        );
        comes(
            &world,
            &from_x(NAT_PUBLIC, answer(third)),
            &at(D, X, reply()),
        );
    }

    #[test]
    fn tcp_and_echo_pass_and_other_protocols_do_not() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let port = goes(&world, A, &to(A, X, Transport::syn(5, 80)), 2);
        let accept = |from, to| Transport::Tcp {
            from,
            to,
            flags: 0x12,
        };
        comes(
            &world,
            &from_x(NAT_PUBLIC, accept(80, port)),
            &at(A, X, accept(80, 5)),
        );
        // Opened again on the same port it keeps the gateway's.
        assert_eq!(goes(&world, A, &to(A, X, Transport::syn(5, 80)), 0), port);
        let id = goes(&world, A, &to(A, X, Transport::echo(7)), 2);
        comes(
            &world,
            &from_x(NAT_PUBLIC, Transport::echo_reply(id)),
            &at(A, X, Transport::echo_reply(7)),
        );
        for transport in [
            Transport::Other(47),
            Transport::Icmp {
                kind: 13,
                code: 0,
                rest: [0; 4],
                body: vec![0; 12],
            },
            Transport::echo_reply(9),
        ] {
            fails(&world, A, &to(A, X, transport), Reason::NatProtocol);
        }
    }

    #[test]
    fn fragments_pass_only_of_udp() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let cut = |transport, offset, more| {
            let mut packet = to(A, X, transport);
            packet.payload = 24;
            packet.cut = Some(Cut {
                id: 3,
                offset,
                more,
            });
            packet
        };
        let mut first = cut(query(), 0, true).frame();
        assert_eq!(world.send(A, &mut first, &Change::opened(2, 52)), SENT_OUT);
        let mut later = cut(query(), 4, false).frame();
        let body = later[34..].to_vec();
        assert_eq!(world.send(A, &mut later, &Change::carried(52)), SENT_OUT);
        // Its header has the gateway's address, and what looks like ports is payload.
        assert_eq!(later[26..30], NAT_PUBLIC.v4_octets());
        assert_eq!(later[34..], body);
        fails(
            &world,
            A,
            &cut(Transport::syn(1, 2), 0, true),
            Reason::NatFragment,
        );
    }

    #[test]
    fn fragments_of_a_connection_pass_only_of_udp() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let port = opened(&world, 2);
        let cut = |packet: PacketBuilder, offset, more| PacketBuilder {
            payload: 24,
            cut: Some(Cut {
                id: 5,
                offset,
                more,
            }),
            ..packet
        };
        // Of a connection that is there, whole packets pass.
        let _ = goes(&world, A, &to(A, X, tcp(5, 80, ACK)), 0);
        let first = cut(to(A, X, tcp(5, 80, ACK)), 0, true);
        fails(&world, A, &first, Reason::NatFragment);
        let _ = goes(&world, A, &to(A, X, tcp(5, 80, ACK)), 0);
        let first = cut(from_x(NAT_PUBLIC, tcp(80, port, ACK)), 0, true);
        let change = Change::dropped(Reason::NatFragment);
        let _ = world.send_in(&mut first.frame(), &change);
        // Both fragments of an answer, and the first one's ports are translated.
        let port = goes(&world, A, &to(A, X, query()), 2);
        let answers = from_x(NAT_PUBLIC, answer(port));
        let arrives = at(A, X, reply());
        for (offset, more) in [(0, true), (4, false)] {
            let mut frame = cut(answers.clone(), offset, more).frame();
            let _ = world.send_in(&mut frame, &Change::carried(52));
            let wanted = cut(arrives.clone(), offset, more).frame();
            assert_eq!(frame[..40], wanted[..40]);
        }
    }

    #[test]
    fn what_the_interface_has_forgotten_the_gateway_knows_for_350_seconds() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let tracked = |world: &World| world.memory.uses()[&(A + 100)].tracked;
        let port = goes(&world, A, &to(A, X, query()), 2);
        assert_eq!(tracked(&world), 1);
        world.wait_s(31);
        // The answer is translated, and A's gate has not asked for it.
        let late = from_x(NAT_PUBLIC, answer(port));
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut late.frame(), &change);
        // The sweep takes it from what A tracks, and leaves the gateway its port.
        for key in world.memory.flows().into_keys() {
            let order = ReleaseOrder {
                key,
                is_lost: false,
            };
            assert!(!release(&world.memory, &order, world.now_ns));
        }
        assert_eq!(tracked(&world), 0);
        // A asks again: it is the same connection to the gateway, and a new one to A.
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), port);
        assert_eq!(tracked(&world), 1);
        comes(&world, &late, &at(A, X, reply()));
        world.wait_s(340);
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), port);
        world.wait_s(351);
        let change = Change::dropped_again(Reason::NatUnsolicited);
        let _ = world.send_in(&mut late.frame(), &change);
    }

    #[test]
    fn what_the_interface_has_forgotten_passes_by_its_rules() {
        let mut world = behind(Gate::Everybody, Gate::Everybody);
        let port = goes(&world, A, &to(A, X, query()), 2);
        let late = from_x(NAT_PUBLIC, answer(port));
        world.wait_s(200);
        comes(&world, &late, &at(A, X, reply()));
        // Rules that forbid it do so at once: A does not wait for it.
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.wait_s(200);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut late.frame(), &change);
    }

    #[test]
    fn the_acls_of_both_subnets_are_asked_four_times() {
        const UDP_53: Option<(u8, u16)> = Some((protocol::UDP, 53));
        let all = (100, true, 0, [0; 4], None);
        let of = |network, service| [(10, true, 32, network, service)];
        for subnet in [11, 13] {
            let mut world = behind(Gate::Everybody, Gate::Closed);
            set_acl(&mut world, subnet, Some(&[]), Some(&[all]));
            fails(&world, A, &to(A, X, query()), Reason::AclEgress);
        }
        let mut world = behind(Gate::Everybody, Gate::Closed);
        // Into the gateway's subnet from A, out to X; back in from X to the gateway's port and out to A.
        let x = X.v4_octets();
        let into_a = of([10, 0, 0, 10], UDP_53);
        set_acl(&mut world, 13, Some(&[]), Some(&into_a));
        fails(&world, A, &to(A, X, query()), Reason::AclEgress);
        let out_x = of(x, UDP_53);
        set_acl(&mut world, 13, Some(&out_x), Some(&into_a));
        let port = goes(&world, A, &to(A, X, query()), 2);
        let flows = world.memory.flows();
        let way = flows.values().find(|flow| flow.packets == 1);
        assert_eq!(way.map(|flow| flow.acl_entries), Some(10 << 16 | 10 << 32));
        let back = from_x(NAT_PUBLIC, answer(port));
        let change = Change::dropped(Reason::AclIngress);
        let _ = world.send_in(&mut back.frame(), &change);
        let in_both = [into_a[0], (20, true, 32, x, Some((protocol::UDP, port)))];
        set_acl(&mut world, 13, Some(&out_x), Some(&in_both));
        let change = Change::dropped_again(Reason::AclEgress);
        let _ = world.send_in(&mut back.frame(), &change);
        let out_both = [
            out_x[0],
            (20, true, 32, [10, 0, 0, 10], Some((protocol::UDP, 1000))),
        ];
        set_acl(&mut world, 13, Some(&out_both), Some(&in_both));
        comes(&world, &back, &at(A, X, reply()));
        set_acl(&mut world, 11, None, Some(&[]));
        let change = Change::dropped_again(Reason::AclIngress);
        let _ = world.send_in(&mut back.frame(), &change);
    }

    #[test]
    fn inside_the_gateways_subnet_no_acl_stands_before_it() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let record = world.memory.tables.nats.get_mut(&NAT);
        record.expect("the gateway").subnet = 11;
        world.change_eni(NAT_ENI, |eni| eni.subnet = 11);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        add_route(&mut world, 11, (32, X.v4_octets()), Route::NAT_GATEWAY, NAT);
        // Its table leads back to itself.
        fails(&world, A, &to(A, X, query()), Reason::NatRoute);
        let mut world = behind(Gate::Everybody, Gate::Closed);
        set_acl(&mut world, 13, None, Some(&[]));
        fails(&world, A, &to(A, X, query()), Reason::AclIngress);
    }

    #[test]
    fn a_private_gateway_reaches_neighbours_and_peers_and_no_internet() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let record = world.memory.tables.nats.get_mut(&NAT);
        record.expect("the gateway").flags = 0;
        fails(&world, A, &to(A, X, query()), Reason::NatRoute);
        add_route(&mut world, 13, (16, [10, 9, 0, 0]), Route::PEERING, 3);
        add_route(&mut world, 31, (16, [10, 0, 0, 0]), Route::PEERING, 1);
        world.policy(E, Gate::Closed, Gate::Everybody);
        let peer = Addr::v4([10, 9, 0, 40]);
        let mut frame = to(A, peer, query()).frame();
        assert_eq!(
            world.send(A, &mut frame, &Change::opened(2, 28)),
            forward(E)
        );
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let asked = Transport::Udp { from: port, to: 53 };
        assert_eq!(frame, at(E, NAT_PRIVATE, asked).frame());
        // E answers the gateway, past its own closed gate.
        let mut frame = to(E, NAT_PRIVATE, answer(port)).frame();
        assert_eq!(world.send(E, &mut frame, &Change::carried(28)), forward(A));
        assert_eq!(frame, at(A, peer, reply()).frame());
        // And reaches it with nothing else; the gate is the first to refuse.
        fails(
            &world,
            E,
            &to(E, NAT_PRIVATE, answer(port ^ 1)),
            Reason::EgressRule,
        );
        world.policy(E, Gate::Everybody, Gate::Everybody);
        let again = to(E, NAT_PRIVATE, answer(port ^ 1));
        let change = Change::dropped_again(Reason::NatUnsolicited);
        let _ = world.send(E, &mut again.frame(), &change);
    }

    #[test]
    fn a_public_address_behind_the_gateway_turns_around() {
        let mut world = behind(Gate::Everybody, Gate::Everybody);
        add_route(&mut world, 31, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let mut frame = to(A, public(E), query()).frame();
        assert_eq!(
            world.send(A, &mut frame, &Change::opened(2, 28)),
            forward(E)
        );
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let asked = Transport::Udp { from: port, to: 53 };
        assert_eq!(frame, at(E, NAT_PUBLIC, asked).frame());
        let mut frame = to(E, NAT_PUBLIC, answer(port)).frame();
        assert_eq!(world.send(E, &mut frame, &Change::carried(28)), forward(A));
        assert_eq!(frame, at(A, public(E), reply()).frame());
    }

    #[test]
    fn a_connection_keeps_its_port_when_it_is_judged_again() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let port = goes(&world, A, &to(A, X, query()), 2);
        world.policy(A, Gate::Closed, Gate::Closed);
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), port);
        comes(
            &world,
            &from_x(NAT_PUBLIC, answer(port)),
            &at(A, X, reply()),
        );
        // Another gateway is another connection, whose port is found anew.
        let mut other = world.memory.tables.nats[&NAT];
        other.public[0] = [198, 18, 0, 51];
        world.memory.tables.nats.insert(71, other);
        add_route(&mut world, 11, ALL, Route::NAT_GATEWAY, 71);
        let mut frame = to(A, X, query()).frame();
        assert_eq!(world.send(A, &mut frame, &Change::opened(1, 28)), SENT_OUT);
        assert_eq!(frame[26..30], [198, 18, 0, 51]);
    }

    #[test]
    fn an_error_about_a_translated_packet_reaches_who_sent_it() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let port = goes(&world, A, &to(A, X, query()), 2);
        let related = Change {
            related: 1,
            ..Change::default()
        };
        let sent = at_x(NAT_PUBLIC, Transport::Udp { from: port, to: 53 });
        let error = from_x(NAT_PUBLIC, Transport::unreachable(&sent));
        let mut frame = error.frame();
        assert_eq!(world.send_in(&mut frame, &related), forward(A));
        let own = to(A, X, query()).packet();
        assert_eq!(frame[26..34], at(A, X, query()).frame()[26..34]);
        assert_eq!(frame[42..68], own[..26]);
        // The message is whole: its checksum is right.
        let sum: u32 = frame[34..70]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        // About an echo as well, by its identifier.
        let id = goes(&world, A, &to(A, X, Transport::echo(7)), 2);
        let error = from_x(
            NAT_PUBLIC,
            Transport::unreachable(&at_x(NAT_PUBLIC, Transport::echo(id))),
        );
        let mut frame = error.frame();
        assert_eq!(world.send_in(&mut frame, &related), forward(A));
        assert_eq!(frame[66..68], 7_u16.to_be_bytes());
        // What the gateway did not send is nobody's.
        let other = at_x(
            NAT_PUBLIC,
            Transport::Udp {
                from: port ^ 1,
                to: 53,
            },
        );
        let error = from_x(NAT_PUBLIC, Transport::unreachable(&other));
        let change = Change::dropped(Reason::NatUnsolicited);
        let _ = world.send_in(&mut error.frame(), &change);
    }

    #[test]
    fn a_connection_that_an_answer_has_woken_is_tracked_when_it_goes_on() {
        let mut world = behind(Gate::Everybody, Gate::Everybody);
        let port = goes(&world, A, &to(A, X, query()), 2);
        let answers = from_x(NAT_PUBLIC, answer(port));
        // A has forgotten it, and its rules let the answer in.
        world.wait_s(40);
        comes(&world, &answers, &at(A, X, reply()));
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), port);
        world.policy(A, Gate::Closed, Gate::Closed);
        comes(&world, &answers, &at(A, X, reply()));
        // Without a packet of A's own it would be nobody's.
        let mut world = behind(Gate::Everybody, Gate::Everybody);
        let port = goes(&world, A, &to(A, X, query()), 2);
        let answers = from_x(NAT_PUBLIC, answer(port));
        world.wait_s(40);
        comes(&world, &answers, &at(A, X, reply()));
        world.policy(A, Gate::Closed, Gate::Closed);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut answers.frame(), &change);
    }
}
