//! Balancing of IPv6, with the whole ledger compared after each packet.
//!
//! The world of `ledger_balance`, where A, B, D and the node have IPv6 addresses, and listeners for them.

use crate::Verdict;
use crate::balancer::{
    FIRST_PORT, ListenerKey, ListenerRecord, Member, MemberKey, Share, TargetRecord,
};
use crate::bytes::{Addr, Be16};
use crate::flow::tcp::SYN;
use crate::ledger::{A, B, Change, D, Gate, World, addr, mac, query, reply, router_mac};
use crate::ledger_balance::{
    GROUP, NODE, PORT, asks_target, balanced, change_listeners, listener, target_answers,
};
use crate::ledger_nat::{ACK, SYN_ACK, tcp};
use crate::ledger_wide::{EDGE, FAR, GATEWAY, NEAR, SENT_OUT, add_edge_table, forward, v6};
use crate::packet_builder::{PacketBuilder, Transport};
use crate::reason::Reason;
use crate::table::{Endpoint, EndpointKey, Pool, PoolKey, Route, RouteKey, TABLE_BITS, trie_id};

pub(super) const NODE_WIDE: Addr = v6(9);
const X: Addr = Addr::v6([0x20, 1, 0xd, 0xb8, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

fn wide_of(eni: u64) -> Addr {
    match eni {
        A => v6(0xa),
        B => v6(0xb),
        _ => v6(0xd),
    }
}

fn subnet_of(eni: u64) -> u64 {
    if eni == D { 12 } else { 11 }
}

fn to(from: u64, target: Addr, transport: Transport) -> PacketBuilder {
    let router = router_mac(subnet_of(from));
    PacketBuilder::new(wide_of(from), target, transport).macs(mac(from), router)
}

pub(super) fn at(eni: u64, source: Addr, transport: Transport) -> PacketBuilder {
    let router = router_mac(subnet_of(eni));
    PacketBuilder::new(source, wide_of(eni), transport).macs(router, mac(eni))
}

fn route(world: &mut World, subnet: u64, (length, addr): (u32, Addr), kind: u32, target: u64) {
    let key = RouteKey {
        prefix_len: TABLE_BITS + length,
        table: trie_id(subnet),
        addr,
    };
    let route = Route {
        target,
        kind,
        prefix_len: length,
    };
    world.memory.tables.routes.insert(key, route);
}

/// The world, where these are the targets by IPv6.
pub(super) fn world(targets: &[u64], flags: u32) -> World {
    let mut world = balanced(targets, flags);
    for (eni, addr) in [(NODE, NODE_WIDE), (D, wide_of(D))] {
        let key = EndpointKey { vpc: 1, addr };
        world.memory.tables.endpoints.insert(key, Endpoint { eni });
    }
    for subnet in [11, 12, 13] {
        route(&mut world, subnet, (56, v6(0)), Route::LOCAL, 0);
    }
    route(
        &mut world,
        13,
        (0, Addr::UNSPECIFIED),
        Route::INTERNET_GATEWAY,
        GATEWAY,
    );
    let tables = &mut world.memory.tables;
    for (key, record) in &mut tables.balancer_targets {
        let eni = targets[usize::try_from(key.number).expect("few targets")];
        *record = TargetRecord {
            address: wide_of(eni),
            ..*record
        };
        let member = MemberKey {
            group: GROUP,
            address: wide_of(eni),
            port: Be16::new(PORT),
            pad: [0; 6],
        };
        tables.balancer_members.insert(member, Member { flags: 0 });
    }
    for (port, number) in [(80, 6), (53, 17)] {
        let old = listener(port, number);
        let record = ListenerRecord {
            address: NODE_WIDE,
            ..tables.listeners[&old]
        };
        let key = ListenerKey { is_v6: 1, ..old };
        tables.listeners.insert(key, record);
    }
    world.memory.generation += 1;
    world
}

#[track_caller]
pub(super) fn goes(
    world: &World,
    from: u64,
    packet: &PacketBuilder,
    arrives: &PacketBuilder,
    new: isize,
) {
    let mut frame = packet.frame();
    let bytes = packet.packet().len() as u64;
    let _ = world.send(from, &mut frame, &Change::opened(new, bytes));
    assert_eq!(frame, arrives.frame());
}

#[track_caller]
fn fails(world: &World, from: u64, packet: &PacketBuilder, reason: Reason) {
    let verdict = world.send(from, &mut packet.frame(), &Change::dropped(reason));
    assert_eq!(verdict, Verdict::Drop(reason));
}

#[test]
fn a_flow_goes_to_its_target_and_back_as_if_from_the_node() {
    for (target, asks, asked, answers, answered) in [
        (D, query(), asks_target(1000), target_answers(1000), reply()),
        (
            B,
            Transport::syn(5, 80),
            Transport::syn(5, PORT),
            tcp(PORT, 5, SYN_ACK),
            tcp(80, 5, SYN_ACK),
        ),
    ] {
        let mut world = world(&[target], Share::PRESERVES);
        let asks = to(A, NODE_WIDE, asks);
        let at_target = at(target, wide_of(A), asked);
        let answers = to(target, wide_of(A), answers);
        let answered = at(A, NODE_WIDE, answered);
        goes(&world, A, &asks, &at_target, 2);
        goes(&world, target, &answers, &answered, 0);
        // By the flow table alone, and judged again.
        for _ in 0..2 {
            goes(&world, A, &asks, &at_target, 0);
            goes(&world, target, &answers, &answered, 0);
            world.memory.generation += 1;
        }
    }
}

#[test]
fn without_preservation_the_target_sees_the_node() {
    let mut world = world(&[D, B], 0);
    let mut ports = Vec::new();
    for from in 1000..1020 {
        let asks = to(A, NODE_WIDE, Transport::Udp { from, to: 53 });
        let mut frame = asks.frame();
        let verdict = world.send(A, &mut frame, &Change::opened(2, 48));
        let target = if verdict == forward(D) { D } else { B };
        let port = u16::from_be_bytes([frame[54], frame[55]]);
        assert_eq!(frame, at(target, NODE_WIDE, asks_target(port)).frame());
        assert!(port >= FIRST_PORT);
        let answers = to(target, NODE_WIDE, target_answers(port));
        let arrives = at(A, NODE_WIDE, Transport::Udp { from: 53, to: from });
        for _ in 0..3 {
            goes(&world, target, &answers, &arrives, 0);
            goes(
                &world,
                A,
                &asks,
                &at(target, NODE_WIDE, asks_target(port)),
                0,
            );
            world.memory.generation += 1;
        }
        ports.push((target, port));
    }
    assert!(ports.iter().any(|(t, _)| *t == D) && ports.iter().any(|(t, _)| *t == B));
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20);
    assert_eq!(world.memory.flows().len(), 40);
    // What ends gives its port back.
    world.wait_s(121);
    for key in world.memory.flows().into_keys() {
        let order = crate::release::ReleaseOrder {
            key,
            is_lost: false,
        };
        assert!(crate::release::release(&world.memory, &order, world.now_ns));
    }
    let taken: u64 = world.memory.ports().values().map(|it| it.taken).sum();
    assert_eq!(taken, 0);
}

#[test]
fn clients_from_outside_are_seen_as_they_are() {
    let mut world = world(&[D], Share::PRESERVES);
    let asks = PacketBuilder::new(X, NODE_WIDE, query()).macs(FAR, NEAR);
    let mut frame = asks.frame();
    assert_eq!(
        world.send_in(&mut frame, &Change::opened(2, 48)),
        forward(D)
    );
    assert_eq!(frame, at(D, X, asks_target(1000)).frame());
    let mut frame = to(D, X, target_answers(1000)).frame();
    assert_eq!(world.send(D, &mut frame, &Change::carried(48)), SENT_OUT);
    let at_x = PacketBuilder::new(NODE_WIDE, X, reply()).macs(NEAR, FAR);
    assert_eq!(frame, at_x.frame());
    // Unless the internet is kept away from the node; who is inside gets there.
    change_listeners(&mut world, |it| it.flags |= ListenerRecord::NO_INTERNET);
    let change = Change::dropped(Reason::BalancerRoute);
    let verdict = world.send_in(&mut asks.frame(), &change);
    assert_eq!(verdict, Verdict::Drop(Reason::BalancerRoute));
    let inside = to(A, NODE_WIDE, query());
    goes(&world, A, &inside, &at(D, wide_of(A), asks_target(1000)), 2);
    // And where the VPC has no internet gateway for IPv6 nobody comes in.
    let pool = PoolKey {
        prefix_len: 56,
        addr: v6(0),
    };
    world.memory.tables.pools.insert(
        pool,
        Pool {
            vpc: 1,
            flags: 0,
            edge: 0,
        },
    );
    change_listeners(&mut world, |it| it.flags = 0);
    let change = Change::dropped_again(Reason::NoInternetGateway);
    let _ = world.send_in(&mut asks.frame(), &change);
}

#[test]
fn the_gates_are_asked_about_addresses_of_ipv6() {
    let asks = to(A, NODE_WIDE, query());
    let mut closed = world(&[D], Share::PRESERVES);
    closed.policy(D, Gate::Everybody, Gate::Closed);
    fails(&closed, A, &asks, Reason::IngressRule);
    let mut closed = world(&[D], Share::PRESERVES);
    closed.policy(A, Gate::Closed, Gate::Everybody);
    fails(&closed, A, &asks, Reason::EgressRule);
    let mut closed = world(&[D], Share::PRESERVES);
    closed.policy(NODE, Gate::Everybody, Gate::Closed);
    closed.change_eni(NODE, |node| {
        node.groups[0] = 7;
        node.group_count = 1;
    });
    fails(&closed, A, &asks, Reason::BalancerIngressRule);
    // A listener of one family says nothing of the other.
    let mut world = world(&[D], Share::PRESERVES);
    world
        .memory
        .tables
        .listeners
        .retain(|key, _| key.is_v6 == 0);
    world.memory.generation += 1;
    fails(&world, A, &asks, Reason::NoListener);
}

#[test]
fn targets_of_the_other_family_are_the_proxys_alone() {
    let mut world = world(&[D], Share::PRESERVES);
    let open = to(A, NODE_WIDE, tcp(5, 80, SYN));
    for target in world.memory.tables.balancer_targets.values_mut() {
        target.address = addr(D);
    }
    world.memory.generation += 1;
    fails(&world, A, &open, Reason::BalancerTarget);
    for (key, listener) in &mut world.memory.tables.listeners {
        if key.is_v6 == 1 {
            listener.flags |= ListenerRecord::DELIVERED;
        }
    }
    world.memory.generation += 1;
    let mut frame = open.frame();
    let verdict = world.send(A, &mut frame, &Change::opened(2, 60));
    assert_eq!(verdict, forward(NODE));
    // Nor does what comes from the internet, where that is denied.
    for listener in world.memory.tables.listeners.values_mut() {
        listener.flags |= ListenerRecord::NO_INTERNET;
    }
    world.memory.generation += 1;
    let mut frame = PacketBuilder::new(X, NODE_WIDE, tcp(6, 80, SYN))
        .macs(FAR, NEAR)
        .frame();
    let closed = Change::dropped(Reason::BalancerRoute);
    let verdict = world.send_in(&mut frame, &closed);
    assert_eq!(verdict, Verdict::Drop(Reason::BalancerRoute));
    // Datagrams never come to the proxy.
    fails(
        &world,
        A,
        &to(A, NODE_WIDE, query()),
        Reason::BalancerTarget,
    );
}

#[test]
fn a_connection_that_nobody_knows_is_reset() {
    let mut world = world(&[D], Share::PRESERVES);
    let is_reset = |world: &World, from, packet: &PacketBuilder, change: &Change| {
        let mut frame = packet.frame();
        assert_eq!(world.send(from, &mut frame, change), Verdict::Reply);
        assert_eq!(frame.len().min(74), 74);
        let back = PacketBuilder::new(packet.target, packet.source, tcp(80, 5, 0x04));
        let wanted = back.macs(packet.to_mac, packet.from_mac).frame();
        assert_eq!(frame[..18], wanted[..18]);
        assert_eq!(frame[22..54], wanted[22..54]);
        assert_eq!(frame[67] & 0x04, 0x04, "RST");
        // The sum over the pseudo header and the segment.
        let words = frame[22..74].chunks(2);
        let sum: u32 = words
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = sum + 20 + 6;
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    };
    let change = Change::dropped(Reason::BalancerReset);
    is_reset(&world, A, &to(A, NODE_WIDE, tcp(5, 80, ACK)), &change);
    let syn = to(A, NODE_WIDE, Transport::syn(6, 80));
    goes(
        &world,
        A,
        &syn,
        &at(D, wide_of(A), Transport::syn(6, PORT)),
        2,
    );
    let accepts = to(D, wide_of(A), tcp(PORT, 6, SYN_ACK));
    goes(
        &world,
        D,
        &accepts,
        &at(A, NODE_WIDE, tcp(80, 6, SYN_ACK)),
        0,
    );
    let ack = to(A, NODE_WIDE, tcp(6, 80, ACK));
    goes(&world, A, &ack, &at(D, wide_of(A), tcp(6, PORT, ACK)), 0);
    world.wait_s(351);
    is_reset(&world, D, &to(D, wide_of(A), tcp(PORT, 6, ACK)), &change);
    is_reset(&world, A, &ack, &change);
}

#[test]
fn addresses_of_every_length_of_prefix_spread() {
    // The hash takes all of an address.
    let numbers: std::collections::BTreeSet<u64> = (0..16)
        .map(|octet| {
            let mut octets = v6(1).octets();
            octets[octet] ^= 0x40;
            super::number_of(&Addr::v6(octets))
        })
        .collect();
    assert_eq!(numbers.len(), 16);
}

#[test]
fn an_error_that_a_middlebox_gets_first_quotes_what_it_quoted() {
    let mut world = world(&[D], Share::PRESERVES);
    world.change_eni(B, |eni| eni.flags = 0);
    let from_x = |transport| PacketBuilder::new(X, NODE_WIDE, transport).macs(FAR, NEAR);
    let _ = world.send_in(&mut from_x(query()).frame(), &Change::opened(2, 48));
    let mut answers = to(D, X, target_answers(1000)).frame();
    assert_eq!(world.send(D, &mut answers, &Change::carried(48)), SENT_OUT);
    add_edge_table(&mut world);
    route(&mut world, EDGE, (0, Addr::UNSPECIFIED), Route::ENI, B);
    world.memory.generation += 1;
    // What comes in for the node goes to B first. The node is where it ends, if B sends it on.
    let answered = PacketBuilder::new(NODE_WIDE, X, reply());
    let error = from_x(Transport::unreachable(&answered));
    let mut frame = error.frame();
    let change = Change {
        related: 1,
        ..Change::default()
    };
    assert_eq!(world.send_in(&mut frame, &change), forward(B));
    assert_eq!(frame, error.macs(router_mac(11), mac(B)).frame());
}

#[test]
fn errors_about_a_flow_go_to_both_ends() {
    let related = Change {
        related: 1,
        ..Change::default()
    };
    for flags in [Share::PRESERVES, 0] {
        let world = world(&[D], flags);
        let asks = to(A, NODE_WIDE, tcp(5, 80, SYN));
        let mut frame = asks.frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 60));
        let arrived = &frame[14..];
        let source = Addr::v6(arrived[8..24].try_into().expect("an address"));
        let port = u16::from_be_bytes([arrived[40], arrived[41]]);
        // What the target says of the client's packet comes from the node, and quotes it as the client sent it.
        let met = PacketBuilder::new(source, wide_of(D), tcp(port, PORT, SYN));
        let error = to(D, source, Transport::unreachable(&met));
        let own = PacketBuilder::new(wide_of(A), NODE_WIDE, tcp(5, 80, SYN));
        let told = at(A, NODE_WIDE, Transport::unreachable(&own));
        let mut frame = error.frame();
        assert_eq!(world.send(D, &mut frame, &related), forward(A), "{flags}");
        assert_eq!(frame, told.frame());
        // What the client says of the target's answer comes to the target as from whom it knows.
        let answer = PacketBuilder::new(NODE_WIDE, wide_of(A), tcp(80, 5, SYN_ACK));
        let error = to(A, NODE_WIDE, Transport::unreachable(&answer));
        let sent = PacketBuilder::new(wide_of(D), source, tcp(PORT, port, SYN_ACK));
        let told = at(D, source, Transport::unreachable(&sent));
        let mut frame = error.frame();
        assert_eq!(world.send(A, &mut frame, &related), forward(D), "{flags}");
        assert_eq!(frame, told.frame());
        // About a flow that there is not.
        let other = PacketBuilder::new(NODE_WIDE, wide_of(A), tcp(80, 6, SYN_ACK));
        let mut frame = to(A, NODE_WIDE, Transport::unreachable(&other)).frame();
        let refused = Change::dropped(Reason::BalancerProtocol);
        let _ = world.send(A, &mut frame, &refused);
    }
}
