//! Clients behind a NAT gateway of the same installation, with the whole ledger compared after each packet.
//!
//! ```text
//!   A ──▶ NAT gateway 198.18.0.50 ──▶ out, and in again ──▶ node 198.18.0.90 ──▶ D
//! ```

use crate::Verdict;
use crate::balancer::{ListenerRecord, Share};
use crate::ledger::{A, Change, D, Gate, World, query, reply};
use crate::ledger_balance::{
    NODE, NODE_PUBLIC, PORT, asks_target, balanced, change_listeners, target_answers,
};
use crate::ledger_nat::{ACK, SYN_ACK, tcp};
use crate::ledger_wide::{
    ALL, FAR, NAT, NAT_PUBLIC, NEAR, OUTSIDE_DEVICE, add_route, at, forward, to,
};
use crate::packet_builder::{PacketBuilder, Transport};
use crate::reason::Reason;
use crate::table::Route;

const AGAIN: Verdict = Verdict::Again {
    ifindex: OUTSIDE_DEVICE,
};

fn behind(flags: u32) -> World {
    let mut world = balanced(&[D], flags);
    add_route(&mut world, 11, ALL, Route::NAT_GATEWAY, NAT);
    world
}

/// A packet between two public addresses, as it comes in.
fn between(source: crate::bytes::Addr, target: crate::bytes::Addr, it: Transport) -> PacketBuilder {
    PacketBuilder::new(source, target, it).macs(FAR, NEAR)
}

/// Sends a packet of A's that must turn around, and gives it as it comes in, with the gateway's port.
#[track_caller]
fn turns(world: &World, packet: &PacketBuilder, flows: isize) -> (Vec<u8>, u16) {
    let mut frame = packet.frame();
    let bytes = packet.packet().len() as u64;
    assert_eq!(
        world.send(A, &mut frame, &Change::opened(flows, bytes)),
        AGAIN
    );
    assert_eq!(frame[26..30], NAT_PUBLIC.v4_octets());
    assert_eq!(frame[30..34], NODE_PUBLIC.v4_octets());
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    (frame, port)
}

#[test]
fn a_flow_goes_out_and_comes_in_again_and_so_do_its_answers() {
    let mut world = behind(Share::PRESERVES);
    let asks = to(A, NODE_PUBLIC, query());
    for new in [2, 0, 0] {
        let (mut frame, port) = turns(&world, &asks, new);
        let from_port = Transport::Udp { from: port, to: 53 };
        let public = between(NAT_PUBLIC, NODE_PUBLIC, from_port);
        assert_eq!(frame, public.frame());
        let verdict = world.send_in(&mut frame, &Change::opened(new, 28));
        assert_eq!(verdict, forward(D));
        assert_eq!(frame, at(D, NAT_PUBLIC, asks_target(port)).frame());
        let mut frame = to(D, NAT_PUBLIC, target_answers(port)).frame();
        assert_eq!(world.send(D, &mut frame, &Change::carried(28)), AGAIN);
        let to_port = Transport::Udp { from: 53, to: port };
        let public = between(NODE_PUBLIC, NAT_PUBLIC, to_port);
        assert_eq!(frame, public.frame());
        let verdict = world.send_in(&mut frame, &Change::carried(28));
        assert_eq!(verdict, forward(A));
        assert_eq!(frame, at(A, NODE_PUBLIC, reply()).frame());
        // Also when all of it is judged again.
        if new == 0 {
            world.memory.generation += 1;
        }
    }
    assert_eq!(world.memory.counts_of(NODE).attempts, 1);
}

#[test]
fn nobody_outside_may_use_the_gateways_address() {
    let world = behind(Share::PRESERVES);
    let (mut frame, port) = turns(&world, &to(A, NODE_PUBLIC, query()), 2);
    let other = Transport::Udp {
        from: port ^ 1,
        to: 53,
    };
    let mut forged = between(NAT_PUBLIC, NODE_PUBLIC, other).frame();
    let change = Change::dropped(Reason::OutsideSource);
    let _ = world.send_in(&mut forged, &change);
    let other = Transport::Udp { from: port, to: 53 };
    let mut forged = between(NAT_PUBLIC, crate::ledger_wide::public(D), other).frame();
    let _ = world.send_in(&mut forged, &change);
    let _ = world.send_in(&mut frame, &Change::opened(2, 28));
}

#[test]
fn the_gates_see_who_is_outside() {
    let asks = to(A, NODE_PUBLIC, query());
    let mut world = behind(Share::PRESERVES);
    world.policy(A, Gate::Closed, Gate::Everybody);
    let change = Change::dropped(Reason::EgressRule);
    let _ = world.send(A, &mut asks.frame(), &change);
    // Addresses of the VPC may come in, and the gateway's public one is none of them.
    let mut world = behind(Share::PRESERVES);
    world.policy(D, Gate::Everybody, Gate::Neighbours);
    let (mut frame, _) = turns(&world, &asks, 2);
    let change = Change::dropped(Reason::IngressRule);
    let _ = world.send_in(&mut frame, &change);
    // Where the target sees the node they may.
    let mut world = behind(0);
    world.policy(D, Gate::Everybody, Gate::Neighbours);
    let (mut frame, _) = turns(&world, &asks, 2);
    let verdict = world.send_in(&mut frame, &Change::opened(2, 28));
    assert_eq!(verdict, forward(D));
}

#[test]
fn a_reset_finds_its_way_back() {
    let mut world = behind(Share::PRESERVES);
    let (mut frame, port) = turns(&world, &to(A, NODE_PUBLIC, Transport::syn(5, 80)), 2);
    let _ = world.send_in(&mut frame, &Change::opened(2, 40));
    let mut frame = to(D, NAT_PUBLIC, tcp(PORT, port, SYN_ACK)).frame();
    assert_eq!(world.send(D, &mut frame, &Change::carried(40)), AGAIN);
    let verdict = world.send_in(&mut frame, &Change::carried(40));
    assert_eq!(verdict, forward(A));
    assert_eq!(frame, at(A, NODE_PUBLIC, tcp(80, 5, SYN_ACK)).frame());
    let ack = to(A, NODE_PUBLIC, tcp(5, 80, ACK));
    let (mut frame, _) = turns(&world, &ack, 0);
    let _ = world.send_in(&mut frame, &Change::carried(40));
    world.memory.tables.balancer_members.clear();
    change_listeners(&mut world, |it| it.flags = ListenerRecord::FORGETS);
    let (mut frame, _) = turns(&world, &ack, 0);
    let change = Change::dropped(Reason::BalancerReset);
    assert_eq!(world.send_in(&mut frame, &change), AGAIN);
    frame.truncate(54);
    let verdict = world.send_in(&mut frame, &Change::carried(40));
    assert_eq!(verdict, forward(A));
    assert_eq!((frame[47] & 0x04, &frame[36..38]), (0x04, &[0, 5][..]));
}
