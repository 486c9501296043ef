//! Balancing, with the whole ledger compared after each packet.

use super::*;
use crate::Verdict;
use crate::balancer::FIRST_PORT;
use crate::ledger::{A, B, Change, D, Gate, World, addr, device, mac, query, reply, router_mac};
use crate::ledger_balance::{
    NODE, NODE_PRIVATE, NODE_PUBLIC, PORT, asks_target, balanced, change_listeners, end_flows_of,
    listener, set_targets, target_answers,
};
use crate::ledger_nat::{ACK, SYN_ACK, tcp};
use crate::ledger_wide::{E, SENT_OUT, X, add_route, at, at_x, forward, from_x, set_acl, to};
use crate::packet_builder::{Cut, PacketBuilder, Transport};

#[track_caller]
fn goes(world: &World, from: u64, packet: &PacketBuilder, arrives: &PacketBuilder, new: isize) {
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

/// A packet that is refused and answered with a reset.
#[track_caller]
fn is_reset(world: &World, from: u64, packet: &PacketBuilder) {
    let mut frame = packet.frame();
    let change = Change::dropped(Reason::BalancerReset);
    assert_eq!(world.send(from, &mut frame, &change), Verdict::Reply);
    assert_eq!(frame[47] & 0x04, 0x04, "RST");
    assert_eq!(frame[26..30], packet.target.v4_octets());
    assert_eq!(frame[30..34], packet.source.v4_octets());
}

#[test]
fn a_flow_goes_to_its_target_and_back_as_if_from_the_node() {
    let world = balanced(&[D], Share::PRESERVES);
    let asks = to(A, NODE_PRIVATE, query());
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
    let answers = to(D, addr(A), target_answers(1000));
    goes(&world, D, &answers, &at(A, NODE_PRIVATE, reply()), 0);
    // By the flow table alone.
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 0);
    goes(&world, D, &answers, &at(A, NODE_PRIVATE, reply()), 0);
    let counts = world.memory.counts_of(NODE);
    assert_eq!(
        (counts.attempts, counts.out_packets, counts.back_packets),
        (1, 2, 2)
    );
}

#[test]
fn a_connection_passes_and_a_target_beside_its_client_answers_by_the_node() {
    let world = balanced(&[B], Share::PRESERVES);
    let from_b = |transport| {
        // B knows its neighbour's MAC and uses it.
        PacketBuilder::new(addr(B), addr(A), transport).macs(mac(B), mac(A))
    };
    let syn = to(A, NODE_PRIVATE, Transport::syn(5, 80));
    goes(&world, A, &syn, &at(B, addr(A), Transport::syn(5, PORT)), 2);
    let accepts = from_b(tcp(PORT, 5, SYN_ACK));
    goes(
        &world,
        B,
        &accepts,
        &at(A, NODE_PRIVATE, tcp(80, 5, SYN_ACK)),
        0,
    );
    let ack = to(A, NODE_PRIVATE, tcp(5, 80, ACK));
    goes(&world, A, &ack, &at(B, addr(A), tcp(5, PORT, ACK)), 0);
    // The same first packet again chooses the same, and opens nothing.
    goes(&world, A, &syn, &at(B, addr(A), Transport::syn(5, PORT)), 0);
    assert_eq!(world.memory.counts_of(NODE).attempts, 1);
}

#[test]
fn clients_from_outside_are_seen_as_they_are_whatever_the_targets_routes_say() {
    let world = balanced(&[D], Share::PRESERVES);
    let asks = from_x(NODE_PUBLIC, query());
    let mut frame = asks.frame();
    assert_eq!(
        world.send_in(&mut frame, &Change::opened(2, 28)),
        forward(D)
    );
    assert_eq!(frame, at(D, X, asks_target(1000)).frame());
    // Subnet 12 has no route but the local one.
    let mut frame = to(D, X, target_answers(1000)).frame();
    assert_eq!(world.send(D, &mut frame, &Change::carried(28)), SENT_OUT);
    assert_eq!(frame, at_x(NODE_PUBLIC, reply()).frame());
    fails(&world, D, &to(D, X, query()), Reason::NoRoute);
}

#[test]
fn without_preservation_the_target_sees_the_node() {
    let world = balanced(&[D, B], 0);
    let mut ports = Vec::new();
    for from in 1000..1020 {
        let asks = to(A, NODE_PRIVATE, Transport::Udp { from, to: 53 });
        let mut frame = asks.frame();
        let verdict = world.send(A, &mut frame, &Change::opened(2, 28));
        let target = if verdict == forward(D) { D } else { B };
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        assert_eq!(frame, at(target, NODE_PRIVATE, asks_target(port)).frame());
        assert!(port >= FIRST_PORT);
        let answers = to(target, NODE_PRIVATE, target_answers(port));
        let arrives = at(A, NODE_PRIVATE, Transport::Udp { from: 53, to: from });
        goes(&world, target, &answers, &arrives, 0);
        ports.push((target, port));
    }
    let both = ports.iter().any(|(t, _)| *t == D) && ports.iter().any(|(t, _)| *t == B);
    assert!(both);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20);
    // Also to itself: the client is the target.
    let world = balanced(&[A], 0);
    let asks = to(A, NODE_PRIVATE, query());
    assert_eq!(
        world.send(A, &mut asks.frame(), &Change::opened(2, 28)),
        forward(A)
    );
    let world = balanced(&[A], Share::PRESERVES);
    fails(&world, A, &asks, Reason::BalancerHairpin);
}

#[test]
fn every_gate_on_the_way_is_asked() {
    let asks = to(A, NODE_PRIVATE, query());
    let arrives = at(D, addr(A), asks_target(1000));
    let mut world = balanced(&[D], Share::PRESERVES);
    world.policy(A, Gate::Closed, Gate::Everybody);
    fails(&world, A, &asks, Reason::EgressRule);
    let mut world = balanced(&[D], Share::PRESERVES);
    world.policy(D, Gate::Everybody, Gate::Closed);
    fails(&world, A, &asks, Reason::IngressRule);
    // Each subnet's ACL: out of the client's, into the node's and out of it, into the target's.
    for (subnet, out, into, reason) in [
        (11, Some(&[][..]), None, Reason::AclEgress),
        (13, None, Some(&[][..]), Reason::AclIngress),
        (13, Some(&[][..]), None, Reason::AclEgress),
        (12, None, Some(&[][..]), Reason::AclIngress),
    ] {
        let mut world = balanced(&[D], Share::PRESERVES);
        set_acl(&mut world, subnet, out, into);
        fails(&world, A, &asks, reason);
    }
    // The answers' edges likewise.
    for (subnet, out, into, reason) in [
        (12, Some(&[][..]), None, Reason::AclEgress),
        (11, None, Some(&[][..]), Reason::AclIngress),
    ] {
        let mut world = balanced(&[D], Share::PRESERVES);
        set_acl(&mut world, subnet, out, into);
        goes(&world, A, &asks, &arrives, 2);
        fails(&world, D, &to(D, addr(A), target_answers(1000)), reason);
    }
}

#[test]
fn the_balancers_groups_are_asked_and_may_be_named_by_the_targets() {
    let asks = to(A, NODE_PRIVATE, query());
    let arrives = at(D, addr(A), asks_target(1000));
    let grouped = |out, into| {
        let mut world = balanced(&[D], Share::PRESERVES);
        world.policy(NODE, out, into);
        world.change_eni(NODE, |node| {
            node.groups[0] = 7;
            node.group_count = 1;
        });
        world
    };
    let world = grouped(Gate::Everybody, Gate::Closed);
    fails(&world, A, &asks, Reason::BalancerIngressRule);
    let world = grouped(Gate::Closed, Gate::Everybody);
    fails(&world, A, &asks, Reason::BalancerEgressRule);
    let mut world = grouped(Gate::Neighbours, Gate::Neighbours);
    let gate = world.gate_for_group(7);
    let policy = world.memory.tables.policies.get_mut(&D);
    policy.expect("D's policy").ingress_gate = gate;
    goes(&world, A, &asks, &arrives, 2);
    // Stateful: what is closed now lets the flow go on, and no new one.
    world.policy(NODE, Gate::Closed, Gate::Closed);
    goes(&world, A, &asks, &arrives, 0);
    let other = to(A, NODE_PRIVATE, Transport::Udp { from: 9, to: 53 });
    fails(&world, A, &other, Reason::BalancerIngressRule);
    // The client's groups do not count for the target.
    let mut world = balanced(&[D], Share::PRESERVES);
    let gate = world.gate_for_group(8);
    let policy = world.memory.tables.policies.get_mut(&D);
    policy.expect("D's policy").ingress_gate = gate;
    world.change_eni(A, |client| {
        client.groups[0] = 8;
        client.group_count = 1;
    });
    fails(&world, A, &asks, Reason::IngressRule);
}

#[test]
fn a_node_counts_what_it_refuses_by_protocol() {
    let (asks, syn) = (
        to(A, NODE_PRIVATE, query()),
        to(A, NODE_PRIVATE, Transport::syn(5, 80)),
    );
    let grouped = |out, into| {
        let mut world = balanced(&[D], Share::PRESERVES);
        world.policy(NODE, out, into);
        world.change_eni(NODE, |node| {
            node.groups[0] = 7;
            node.group_count = 1;
        });
        world
    };
    let refused = |world: &World, reason| {
        fails(world, A, &asks, reason);
        fails(world, A, &syn, reason);
        let another = to(A, NODE_PRIVATE, Transport::syn(6, 80));
        fails(world, A, &another, reason);
        let counts = world.memory.counts_of(NODE);
        assert_eq!((counts.attempts, counts.udp_flows), (0, 0));
        counts
    };
    let world = grouped(Gate::Everybody, Gate::Closed);
    let counts = refused(&world, Reason::BalancerIngressRule);
    assert_eq!((counts.blocked_in_tcp, counts.blocked_in_udp), (2, 1));
    let world = grouped(Gate::Closed, Gate::Everybody);
    let counts = refused(&world, Reason::BalancerEgressRule);
    assert_eq!((counts.blocked_out_tcp, counts.blocked_out_udp), (2, 1));
    let world = balanced(&[], Share::PRESERVES);
    let counts = refused(&world, Reason::BalancerTarget);
    assert_eq!((counts.rejected_tcp, counts.rejected_udp), (2, 1));
    // A reset that is sent, and what goes on.
    let world = balanced(&[D], Share::PRESERVES);
    is_reset(&world, A, &to(A, NODE_PRIVATE, tcp(1, 80, ACK)));
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
    goes(&world, A, &syn, &at(D, addr(A), Transport::syn(5, PORT)), 2);
    // Nobody listens: that is no flow of the load balancer's.
    let other = to(A, NODE_PRIVATE, Transport::syn(1, 53));
    fails(&world, A, &other, Reason::NoListener);
    let counts = world.memory.counts_of(NODE);
    assert_eq!(
        (counts.own_resets, counts.attempts, counts.udp_flows),
        (1, 2, 1)
    );
    assert_eq!((counts.out_packets, counts.udp_bytes), (2, 28));
    assert_eq!((counts.rejected_tcp, counts.blocked_in_tcp), (0, 0));
}

#[test]
fn a_node_takes_what_its_listeners_ask_for_and_nothing_else() {
    let world = balanced(&[D], Share::PRESERVES);
    for (transport, reason) in [
        (Transport::Udp { from: 1, to: 54 }, Reason::NoListener),
        (Transport::Udp { from: 1, to: 80 }, Reason::NoListener),
        (Transport::syn(1, 53), Reason::NoListener),
        (Transport::echo(7), Reason::BalancerProtocol),
        (Transport::Other(47), Reason::BalancerProtocol),
    ] {
        fails(&world, A, &to(A, NODE_PRIVATE, transport), reason);
    }
    let cut = PacketBuilder {
        payload: 24,
        cut: Some(Cut {
            id: 3,
            offset: 0,
            more: true,
        }),
        ..to(A, NODE_PRIVATE, Transport::syn(2, 80))
    };
    fails(&world, A, &cut, Reason::BalancerProtocol);
    is_reset(&world, A, &to(A, NODE_PRIVATE, tcp(1, 80, ACK)));
    // Without targets, or where nobody has a target's address.
    let empty = balanced(&[], Share::PRESERVES);
    fails(
        &empty,
        A,
        &to(A, NODE_PRIVATE, query()),
        Reason::BalancerTarget,
    );
    let mut world = balanced(&[D], Share::PRESERVES);
    world.memory.tables.endpoints.retain(|_, it| it.eni != D);
    fails(&world, A, &to(A, NODE_PRIVATE, query()), Reason::NoEndpoint);
    let mut world = balanced(&[D], Share::PRESERVES);
    change_listeners(&mut world, |record| record.weights = 0);
    fails(
        &world,
        A,
        &to(A, NODE_PRIVATE, query()),
        Reason::BalancerTarget,
    );
}

#[test]
fn flows_keep_their_target_until_it_has_to_let_them_go() {
    let mut world = balanced(&[D], Share::PRESERVES);
    let syn = to(A, NODE_PRIVATE, Transport::syn(5, 80));
    goes(&world, A, &syn, &at(D, addr(A), Transport::syn(5, PORT)), 2);
    let accepts = to(D, addr(A), tcp(PORT, 5, SYN_ACK));
    goes(
        &world,
        D,
        &accepts,
        &at(A, NODE_PRIVATE, tcp(80, 5, SYN_ACK)),
        0,
    );
    let ack = to(A, NODE_PRIVATE, tcp(5, 80, ACK));
    let arrives = at(D, addr(A), tcp(5, PORT, ACK));
    let asks = to(A, NODE_PRIVATE, query());
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
    // New flows go elsewhere from now on.
    set_targets(&mut world, 2, &[B], Share::PRESERVES);
    goes(&world, A, &ack, &arrives, 0);
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 0);
    let other = to(A, NODE_PRIVATE, Transport::Udp { from: 7, to: 53 });
    goes(&world, A, &other, &at(B, addr(A), asks_target(7)), 2);
    // Not known any more: they go on, unless the group says otherwise.
    world
        .memory
        .tables
        .balancer_members
        .retain(|key, _| key.address == addr(B));
    world.memory.generation += 1;
    goes(&world, A, &ack, &arrives, 0);
    change_listeners(&mut world, |it| it.flags = ListenerRecord::FORGETS);
    is_reset(&world, A, &ack);
    // A datagram gets a new target.
    goes(&world, A, &asks, &at(B, addr(A), asks_target(1000)), 1);
    // Both ends of a connection are told.
    let mut world = balanced(&[D], Share::PRESERVES);
    goes(&world, A, &syn, &at(D, addr(A), Transport::syn(5, PORT)), 2);
    goes(
        &world,
        D,
        &accepts,
        &at(A, NODE_PRIVATE, tcp(80, 5, SYN_ACK)),
        0,
    );
    end_flows_of(&mut world, D);
    is_reset(&world, A, &ack);
    is_reset(&world, D, &to(D, addr(A), tcp(PORT, 5, ACK)));
}

#[test]
fn an_idle_connection_is_forgotten_and_reset() {
    let mut world = balanced(&[D], Share::PRESERVES);
    let syn = to(A, NODE_PRIVATE, Transport::syn(5, 80));
    goes(&world, A, &syn, &at(D, addr(A), Transport::syn(5, PORT)), 2);
    let accepts = to(D, addr(A), tcp(PORT, 5, SYN_ACK));
    goes(
        &world,
        D,
        &accepts,
        &at(A, NODE_PRIVATE, tcp(80, 5, SYN_ACK)),
        0,
    );
    let ack = to(A, NODE_PRIVATE, tcp(5, 80, ACK));
    let arrives = at(D, addr(A), tcp(5, PORT, ACK));
    goes(&world, A, &ack, &arrives, 0);
    world.wait_s(350);
    goes(&world, A, &ack, &arrives, 0);
    world.wait_s(351);
    is_reset(&world, A, &ack);
    // Datagrams after 120 seconds are another flow, of another target perhaps.
    let asks = to(A, NODE_PRIVATE, query());
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
    world.wait_s(119);
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 0);
    set_targets(&mut world, 2, &[B], Share::PRESERVES);
    world.wait_s(121);
    goes(&world, A, &asks, &at(B, addr(A), asks_target(1000)), 1);
}

#[test]
fn a_node_has_55_000_ports_towards_one_target() {
    let mut world = balanced(&[D], 0);
    // Past the ledger, which would compare 110,000 flows each time.
    let send = |world: &World, from| {
        let asks = to(A, NODE_PRIVATE, Transport::Udp { from, to: 53 });
        let mut frame = asks.frame();
        let mut bytes = crate::frame::Bytes::new(&mut frame);
        let mut scratch = Scratch::new();
        let (memory, now_ns) = (&world.memory, world.now_ns);
        crate::egress(memory, &mut bytes, device(A), now_ns, &mut scratch)
    };
    for from in 1..=55_000 {
        assert_eq!(send(&world, from), forward(D), "{from}");
    }
    let full = Verdict::Drop(Reason::NatPortAllocation);
    for from in 55_001..55_011 {
        assert_eq!(send(&world, from), full);
    }
    assert_eq!(world.memory.counts_of(NODE).port_errors, 10);
    // Those that are there go on, and another target has ports of its own.
    assert_eq!(send(&world, 7), forward(D));
    set_targets(&mut world, 2, &[B], 0);
    assert_eq!(send(&world, 55_001), forward(B));
}

#[test]
fn a_sticky_source_keeps_its_target_and_others_spread() {
    let chosen = |flags| {
        let world = balanced(&[B, D], flags);
        let to_target = |from| {
            let asks = to(A, NODE_PRIVATE, Transport::Udp { from, to: 53 });
            world.send(A, &mut asks.frame(), &Change::opened(2, 28))
        };
        (1..200)
            .map(to_target)
            .filter(|it| *it == forward(D))
            .count()
    };
    assert!([0, 199].contains(&chosen(Share::PRESERVES | Share::STICKY)));
    assert!((70..130).contains(&chosen(Share::PRESERVES)));
}

#[test]
fn ten_thousand_flows_spread_evenly() {
    const TARGETS: u32 = 10;
    const FLOWS: u32 = 10_000;
    // Ports of one client; clients with one port; one client that uses one port again and again.
    let kinds: [fn(&mut Scratch, u32); 3] = [
        |scratch, flow| {
            let port = 1024 + flow;
            scratch.journey.source_port = Be16::new(u16::try_from(port).expect("a port"));
        },
        |scratch, flow| {
            let [.., a, b] = flow.to_be_bytes();
            scratch.journey.source = Addr::v4([10, 1, a, b]);
        },
        |scratch, flow| scratch.sequence = flow * 64_000,
    ];
    for (number, vary) in kinds.into_iter().enumerate() {
        let mut scratch = Scratch::new();
        scratch.journey.source = Addr::v4([10, 0, 0, 10]);
        scratch.journey.target = NODE_PRIVATE;
        scratch.journey.target_port = Be16::new(80);
        scratch.packet.protocol = protocol::TCP;
        let mut sums = [0_u32; 10];
        for flow in 0..FLOWS {
            vary(&mut scratch, flow);
            let slot = hash(&scratch, false) % u64::from(SLOTS);
            let target = usize::try_from(slot % u64::from(TARGETS));
            sums[target.expect("a small number")] += 1;
        }
        let expected = f64::from(FLOWS) / f64::from(TARGETS);
        let chi_square: f64 = sums
            .iter()
            .map(|sum| (f64::from(*sum) - expected).powi(2) / expected)
            .sum();
        // Nine degrees of freedom: one in a thousand fair spreads is more uneven.
        assert!(chi_square < 27.9, "{number}: {chi_square} {sums:?}");
    }
}

#[test]
fn weights_divide_flows_among_groups() {
    let mut world = balanced(&[D], Share::PRESERVES);
    change_listeners(&mut world, |record| {
        // The second group, with three times the weight, has no target.
        record.shares[1] = Share {
            table: 0,
            below: 4,
            ..record.shares[0]
        };
        (record.count, record.weights) = (2, 4);
    });
    let mut through = 0;
    for from in 1..400 {
        let asks = to(A, NODE_PRIVATE, Transport::Udp { from, to: 53 });
        let before = world.memory.dropped_for(Reason::BalancerTarget);
        let mut scratch = Scratch::new();
        let mut frame = asks.frame();
        let mut bytes = crate::frame::Bytes::new(&mut frame);
        let _ = crate::egress(
            &world.memory,
            &mut bytes,
            device(A),
            world.now_ns,
            &mut scratch,
        );
        through += u32::from(world.memory.dropped_for(Reason::BalancerTarget) == before);
    }
    assert!((70..130).contains(&through), "{through}");
}

#[test]
fn a_sticky_listener_gives_a_source_one_group() {
    let record = ListenerRecord {
        shares: [1, 2, 3, 0, 0].map(|group| Share {
            group,
            below: u32::try_from(10 * group).expect("few groups"),
            ..Share::default()
        }),
        count: 3,
        weights: 30,
        idle_s: 350,
        flags: ListenerRecord::STICKY,
        address: NODE_PRIVATE,
    };
    let mut scratch = Scratch::new();
    scratch.packet.protocol = protocol::TCP;
    let mut sums = [0_u32; 3];
    for source in 0..3_000_u32 {
        let [.., a, b] = source.to_be_bytes();
        scratch.journey.source = Addr::v4([10, 1, a, b]);
        let mut group_of = |port| {
            scratch.journey.source_port = Be16::new(port);
            scratch.sequence = u32::from(port) * 64_000;
            share_of(&record, hash(&scratch, true)).map(|share| share.group)
        };
        let group = group_of(1024).expect("a group");
        assert!((1025..1030).all(|port| group_of(port) == Some(group)));
        sums[usize::try_from(group).expect("a small number") - 1] += 1;
    }
    assert!(sums.iter().all(|sum| (880..1120).contains(sum)), "{sums:?}");
}

#[test]
fn what_a_node_begins_leaves_and_its_answers_stay_there() {
    let mut world = balanced(&[D], Share::PRESERVES);
    // It has no groups; the target's are asked.
    let checks = |port| {
        PacketBuilder::new(NODE_PRIVATE, addr(D), Transport::syn(port, PORT))
            .macs(mac(NODE), router_mac(13))
    };
    let arrives = at(D, NODE_PRIVATE, Transport::syn(1025, PORT));
    goes(&world, NODE, &checks(1025), &arrives, 2);
    let accepts = to(D, NODE_PRIVATE, tcp(PORT, 1025, SYN_ACK));
    let mut frame = accepts.frame();
    assert_eq!(
        world.send(D, &mut frame, &Change::carried(40)),
        forward(NODE)
    );
    assert_eq!(frame[..6], mac(NODE).0);
    world.policy(D, Gate::Everybody, Gate::Closed);
    fails(&world, NODE, &checks(1026), Reason::IngressRule);
    assert!(world.memory.tables.listeners.contains_key(&listener(80, 6)));
}

#[test]
fn errors_about_a_flow_find_their_way_in_both_directions() {
    let world = balanced(&[D], Share::PRESERVES);
    let asks = to(A, NODE_PRIVATE, query());
    let arrives = at(D, addr(A), asks_target(1000));
    goes(&world, A, &asks, &arrives, 2);
    let error = Transport::unreachable(&arrives);
    let mut frame = to(D, addr(A), error).frame();
    let change = Change {
        related: 1,
        ..Change::default()
    };
    assert_eq!(world.send(D, &mut frame, &change), forward(A));
    // From the node, about what A sent.
    assert_eq!(frame[26..30], NODE_PRIVATE.v4_octets());
    let expected = at(A, NODE_PRIVATE, Transport::unreachable(&asks));
    assert_eq!(frame[42 + 12..42 + 20], expected.frame()[42 + 12..42 + 20]);
    assert_eq!(frame[42 + 20..42 + 24], expected.frame()[42 + 20..42 + 24]);
}

#[test]
fn errors_about_what_ends_at_the_node_come_to_its_device() {
    let about = |packet: &PacketBuilder| Transport::unreachable(packet);
    let change = Change {
        related: 1,
        ..Change::default()
    };
    // What it has begun: a health check.
    let mut world = balanced(&[D], Share::PRESERVES);
    let checks = PacketBuilder::new(NODE_PRIVATE, addr(D), Transport::syn(1025, PORT));
    let mut frame = checks.clone().macs(mac(NODE), router_mac(13)).frame();
    let _ = world.send(NODE, &mut frame, &Change::opened(2, 40));
    let mut error = to(D, NODE_PRIVATE, about(&checks)).frame();
    assert_eq!(world.send(D, &mut error, &change), forward(NODE));
    // What ends there, of a client outside, who quotes the node's public address.
    change_listeners(&mut world, |it| it.flags = ListenerRecord::DELIVERED);
    let mut frame = from_x(NODE_PUBLIC, Transport::syn(7, 80)).frame();
    let verdict = world.send_in(&mut frame, &Change::opened(2, 40));
    assert_eq!(verdict, forward(NODE));
    let own = PacketBuilder::new(NODE_PRIVATE, X, tcp(80, 7, SYN_ACK));
    let mut frame = own.clone().macs(mac(NODE), router_mac(13)).frame();
    assert_eq!(world.send(NODE, &mut frame, &Change::carried(40)), SENT_OUT);
    let public = PacketBuilder::new(NODE_PUBLIC, X, tcp(80, 7, SYN_ACK));
    let mut error = from_x(NODE_PUBLIC, about(&public)).frame();
    assert_eq!(world.send_in(&mut error, &change), forward(NODE));
    assert_eq!(error[42..62], own.frame()[14..34]);
    // About anything else, or from somebody else.
    let other = PacketBuilder::new(NODE_PUBLIC, X, tcp(80, 8, SYN_ACK));
    let mut error = from_x(NODE_PUBLIC, about(&other)).frame();
    let refused = Change::dropped(Reason::BalancerProtocol);
    let _ = world.send_in(&mut error, &refused);
    let mut error = to(A, NODE_PRIVATE, about(&checks)).frame();
    let _ = world.send(A, &mut error, &refused);
}

#[test]
fn fragments_of_datagrams_go_with_their_first_one() {
    let world = balanced(&[D], Share::PRESERVES);
    let cut = |packet: PacketBuilder, id, offset| PacketBuilder {
        payload: 24,
        cut: Some(Cut {
            id,
            offset,
            more: offset == 0,
        }),
        ..packet
    };
    let both = [
        (
            A,
            to(A, NODE_PRIVATE, query()),
            forward(D),
            addr(A),
            addr(D),
        ),
        (
            D,
            to(D, addr(A), target_answers(1000)),
            forward(A),
            NODE_PRIVATE,
            addr(A),
        ),
    ];
    for (number, (from, packet, reaches, source, target)) in both.into_iter().enumerate() {
        let new = if number == 0 { 2 } else { 0 };
        let mut first = cut(packet.clone(), 3, 0).frame();
        let change = Change::opened(new, 52);
        assert_eq!(world.send(from, &mut first, &change), reaches);
        let mut later = cut(packet.clone(), 3, 4).frame();
        let body = later[34..].to_vec();
        assert_eq!(world.send(from, &mut later, &Change::carried(52)), reaches);
        assert_eq!(later[26..30], source.v4_octets());
        assert_eq!(later[30..34], target.v4_octets());
        assert_eq!(later[34..], body);
        // Of another datagram, whose first one nobody has seen.
        let mut other = cut(packet, 4, 4).frame();
        let _ = world.send(from, &mut other, &Change::dropped(Reason::FragmentUnknown));
    }
}

#[test]
fn nobody_but_the_target_answers_for_the_node() {
    // Where the client's address is kept: another one's packet is its own.
    let world = balanced(&[D], Share::PRESERVES);
    let asks = to(A, NODE_PRIVATE, query());
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
    let own = PacketBuilder::new(addr(B), addr(A), target_answers(1000)).macs(mac(B), mac(A));
    goes(&world, B, &own, &own, 2);
    // And where it is not, the node knows nothing of it.
    let world = balanced(&[D], 0);
    let mut frame = asks.frame();
    let _ = world.send(A, &mut frame, &Change::opened(2, 28));
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    let false_answer = to(B, NODE_PRIVATE, target_answers(port));
    fails(&world, B, &false_answer, Reason::NoListener);
    let other_port = Transport::Udp {
        from: PORT + 1,
        to: port,
    };
    fails(
        &world,
        D,
        &to(D, NODE_PRIVATE, other_port),
        Reason::NoListener,
    );
}

#[test]
fn a_target_that_talks_first_is_answered_as_itself() {
    let world = balanced(&[D], Share::PRESERVES);
    let own = to(D, addr(A), target_answers(1000));
    goes(&world, D, &own, &at(A, addr(D), target_answers(1000)), 2);
    // The client's flow on the same addresses and ports takes their place.
    let asks = to(A, NODE_PRIVATE, query());
    goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 1);
    goes(&world, D, &own, &at(A, NODE_PRIVATE, reply()), 0);
    // What the client still sends to the target itself is another flow, which takes it back.
    let direct = to(A, addr(D), asks_target(1000));
    goes(&world, A, &direct, &at(D, addr(A), asks_target(1000)), 0);
    goes(&world, D, &own, &at(A, addr(D), target_answers(1000)), 0);
}

#[test]
fn a_target_in_a_peered_vpc_needs_routes_on_both_sides() {
    let mut world = balanced(&[E], Share::PRESERVES);
    let asks = to(A, NODE_PRIVATE, query());
    fails(&world, A, &asks, Reason::BalancerRoute);
    add_route(&mut world, 13, (16, [10, 9, 0, 0]), Route::PEERING, 3);
    goes(&world, A, &asks, &at(E, addr(A), asks_target(1000)), 2);
    let answers = to(E, addr(A), target_answers(1000));
    fails(&world, E, &answers, Reason::BalancerRoute);
    add_route(&mut world, 31, (16, [10, 0, 0, 0]), Route::PEERING, 1);
    let mut frame = answers.frame();
    let change = Change::carried(28);
    assert_eq!(world.send(E, &mut frame, &change), forward(A));
    assert_eq!(frame, at(A, NODE_PRIVATE, reply()).frame());
}

#[test]
fn a_fault_stops_a_node_and_an_interface() {
    let asks = to(A, NODE_PRIVATE, query());
    for faulty in [A, NODE, D] {
        let mut world = balanced(&[D], Share::PRESERVES);
        world.change_eni(faulty, |eni| eni.flags |= EniRecord::FAULTY);
        fails(&world, A, &asks, Reason::Fault);
        world.change_eni(faulty, |eni| eni.flags &= !EniRecord::FAULTY);
        goes(&world, A, &asks, &at(D, addr(A), asks_target(1000)), 2);
        world.change_eni(faulty, |eni| eni.flags |= EniRecord::FAULTY);
        let answers = to(D, addr(A), target_answers(1000));
        fails(&world, D, &answers, Reason::Fault);
    }
}
