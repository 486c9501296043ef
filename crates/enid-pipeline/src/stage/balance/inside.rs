//! Clients of the same installation that are no plain neighbours of the node, with the whole ledger compared
//! after each packet: those that come by their public addresses, those that speak on the link, and targets that
//! are clients.

use super::wide::{self, NODE_WIDE};
use crate::Verdict;
use crate::balancer::Share;
use crate::bytes::{Addr, Mac};
use crate::ledger::{A, Change, D, Gate, World, mac, query, reply, router_mac};
use crate::ledger_balance::{
    NODE, NODE_PRIVATE, NODE_PUBLIC, PORT, asks_target, balanced, target_answers,
};
use crate::ledger_wide::{ALL, E, GATEWAY, add_route, at, forward, public, to, v6};
use crate::packet_builder::{PacketBuilder, Transport};
use crate::reason::Reason;
use crate::table::Route;

/// The port that a datagram comes with.
fn port_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

/// A world in which A and E, of another VPC, leave by their internet gateways.
fn online(flags: u32) -> World {
    let mut world = balanced(&[D], flags);
    for subnet in [11, 31] {
        add_route(&mut world, subnet, ALL, Route::INTERNET_GATEWAY, GATEWAY);
    }
    world
}

#[test]
fn answers_find_a_client_that_came_by_its_public_address() {
    for (client, flags) in [(A, 0), (E, 0), (A, Share::PRESERVES), (E, Share::PRESERVES)] {
        let mut world = online(flags);
        let asks = to(client, NODE_PUBLIC, query());
        for new in [2, 0, 0] {
            let mut frame = asks.frame();
            let verdict = world.send(client, &mut frame, &Change::opened(new, 28));
            assert_eq!(verdict, forward(D));
            let port = port_of(&frame);
            let seen = match flags {
                0 => NODE_PRIVATE,
                _ => public(client),
            };
            assert_eq!(frame, at(D, seen, asks_target(port)).frame());
            let mut frame = to(D, seen, target_answers(port)).frame();
            let verdict = world.send(D, &mut frame, &Change::carried(28));
            assert_eq!(verdict, forward(client));
            assert_eq!(frame, at(client, NODE_PUBLIC, reply()).frame());
            if new == 0 {
                world.memory.generation += 1;
            }
        }
    }
}

#[test]
fn a_client_without_its_public_address_gets_no_answers() {
    let mut world = online(0);
    let mut frame = to(E, NODE_PUBLIC, query()).frame();
    let _ = world.send(E, &mut frame, &Change::opened(2, 28));
    let answers = to(D, NODE_PRIVATE, target_answers(port_of(&frame)));
    world.memory.tables.public_of.retain(|key, _| key.vpc == 1);
    world.memory.generation += 1;
    let change = Change::dropped(Reason::NoPublicAddress);
    let verdict = world.send(D, &mut answers.frame(), &change);
    assert_eq!(verdict, Verdict::Drop(Reason::NoPublicAddress));
}

#[test]
fn a_target_that_has_asked_the_node_lets_in_its_answers_and_nobody_else() {
    // D asks at its own service's port, and is its own target.
    let mut world = balanced(&[D], 0);
    let own = to(D, NODE_PRIVATE, Transport::Udp { from: PORT, to: 53 });
    let mut frame = own.frame();
    let verdict = world.send(D, &mut frame, &Change::opened(2, 28));
    assert_eq!(verdict, forward(D));
    world.policy(D, Gate::Everybody, Gate::Closed);
    // Who sends from the port that D asked is no answer of the node's.
    let asks = to(A, NODE_PRIVATE, Transport::Udp { from: 53, to: 53 });
    let change = Change::dropped(Reason::IngressRule);
    let verdict = world.send(A, &mut asks.frame(), &change);
    assert_eq!(verdict, Verdict::Drop(Reason::IngressRule));
    let taken: u64 = world.memory.ports().values().map(|it| it.taken).sum();
    assert_eq!(taken, 1);
    // Its answer to itself goes on as before.
    let port = port_of(&frame);
    let answer = to(
        D,
        NODE_PRIVATE,
        Transport::Udp {
            from: PORT,
            to: port,
        },
    );
    let verdict = world.send(D, &mut answer.frame(), &Change::carried(28));
    assert_eq!(verdict, forward(D));
}

/// An address that an interface makes from its MAC.
fn on_link(eni: u64) -> Addr {
    let Mac([a, b, c, d, e, f]) = mac(eni);
    let own = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&own);
    Addr::v6(octets)
}

#[test]
fn addresses_on_the_link_are_not_balanced() {
    let mut world = wide::world(&[D], Share::PRESERVES);
    // A is the node's neighbour.
    world.change_eni(A, |eni| eni.subnet = 13);
    let asks =
        |source, target| PacketBuilder::new(source, target, query()).macs(mac(A), router_mac(13));
    for (source, target) in [(on_link(A), NODE_WIDE), (v6(0xa), on_link(NODE))] {
        let change = Change::dropped(Reason::LinkLocal);
        let verdict = world.send(A, &mut asks(source, target).frame(), &change);
        assert_eq!(verdict, Verdict::Drop(Reason::LinkLocal));
    }
    let arrives = wide::at(D, v6(0xa), asks_target(1000));
    wide::goes(&world, A, &asks(v6(0xa), NODE_WIDE), &arrives, 2);
}
