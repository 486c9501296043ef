//! Packets of connections that were idle for too long, with the whole ledger compared after each packet.

use crate::Verdict;
use crate::balancer::{FIRST_PORT, Share};
use crate::bytes::Addr;
use crate::counter::CounterKey;
use crate::ledger::{A, Change, D, World, addr};
use crate::ledger_balance::{NODE, NODE_PRIVATE, PORT, balanced};
use crate::ledger_nat::{ACK, SYN_ACK, tcp};
use crate::ledger_wide::{at, forward, set_acl, to};
use crate::packet_builder::{PacketBuilder, Transport};
use crate::reason::Reason;
use crate::release::{ReleaseOrder, release};

/// Opens a connection of A's, and tells how the target sees its client.
fn opened(world: &World, client: Addr) -> u16 {
    let mut frame = to(A, NODE_PRIVATE, Transport::syn(5, 80)).frame();
    let verdict = world.send(A, &mut frame, &Change::opened(2, 40));
    assert_eq!(verdict, forward(D));
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    for (from, packet) in [
        (D, to(D, client, tcp(PORT, port, SYN_ACK))),
        (A, to(A, NODE_PRIVATE, tcp(5, 80, ACK))),
    ] {
        let _ = world.send(from, &mut packet.frame(), &Change::carried(40));
    }
    port
}

/// Removes what has ended, as the agent orders it, and says how many entries these were.
fn sweep(world: &World) -> usize {
    let gone = world.memory.flows().into_keys().filter(|key| {
        let order = ReleaseOrder {
            key: *key,
            is_lost: false,
        };
        release(&world.memory, &order, world.now_ns)
    });
    gone.count()
}

#[track_caller]
fn is_reset(world: &World, from: u64, packet: &PacketBuilder, change: &Change) {
    let mut frame = packet.frame();
    assert_eq!(world.send(from, &mut frame, change), Verdict::Reply);
    assert_eq!(frame[47] & 0x04, 0x04, "RST");
    assert_eq!(frame[26..30], packet.target.v4_octets());
    assert_eq!(frame[30..34], packet.source.v4_octets());
}

#[test]
fn a_targets_packet_after_the_idle_timeout_is_reset() {
    let mut world = balanced(&[D], Share::PRESERVES);
    let port = opened(&world, addr(A));
    let answers = to(D, addr(A), tcp(PORT, port, ACK));
    world.wait_s(350);
    let mut frame = answers.frame();
    assert_eq!(world.send(D, &mut frame, &Change::carried(40)), forward(A));
    assert_eq!(frame, at(A, NODE_PRIVATE, tcp(80, 5, ACK)).frame());
    world.wait_s(351);
    assert_eq!(sweep(&world), 0);
    let uses = world.memory.uses();
    assert_eq!(uses[&(A + 100)].tracked + uses[&(D + 100)].tracked, 0);
    is_reset(&world, D, &answers, &Change::dropped(Reason::BalancerReset));
    let change = Change::dropped(Reason::BalancerReset);
    is_reset(&world, A, &to(A, NODE_PRIVATE, tcp(5, 80, ACK)), &change);
    // A reset is not answered.
    let mut reset = to(D, addr(A), tcp(PORT, port, 0x04)).frame();
    let change = Change::dropped_again(Reason::BalancerReset);
    let verdict = world.send(D, &mut reset, &change);
    assert_eq!(verdict, Verdict::Drop(Reason::BalancerReset));
    world.wait_s(350);
    assert_eq!(sweep(&world), 2);
}

#[test]
fn a_target_that_knows_the_node_is_reset_however_late_it_is() {
    let mut world = balanced(&[D], 0);
    let port = opened(&world, NODE_PRIVATE);
    assert!(port >= FIRST_PORT);
    world.wait_s(351);
    let _ = sweep(&world);
    world.wait_s(351);
    let _ = sweep(&world);
    assert_eq!(world.memory.flows().len(), 0);
    let taken: u64 = world.memory.ports().values().map(|it| it.taken).sum();
    assert_eq!(taken, 0);
    let late = to(D, NODE_PRIVATE, tcp(PORT, port, ACK));
    is_reset(&world, D, &late, &Change::dropped(Reason::BalancerReset));
    // Below are the ports of its health checks, and of nobody.
    let other = to(D, NODE_PRIVATE, tcp(PORT, FIRST_PORT - 1, ACK));
    let change = Change::dropped(Reason::NoListener);
    let _ = world.send(D, &mut other.frame(), &change);
}

#[test]
fn a_connection_that_was_closed_is_not_remembered() {
    let mut world = balanced(&[D], Share::PRESERVES);
    let port = opened(&world, addr(A));
    let fin = to(A, NODE_PRIVATE, tcp(5, 80, 0x11));
    let _ = world.send(A, &mut fin.frame(), &Change::carried(40));
    let fin = to(D, addr(A), tcp(PORT, port, 0x11));
    let _ = world.send(D, &mut fin.frame(), &Change::carried(40));
    world.wait_s(11);
    // Before it is swept a late packet is reset all the same.
    is_reset(&world, D, &fin, &Change::dropped(Reason::BalancerReset));
    assert_eq!(sweep(&world), 2);
}

#[test]
fn a_reset_crosses_the_acls_between_the_node_and_who_is_late() {
    for (subnet, is_out, is_answered) in [(13, true, false), (12, false, false), (11, false, true)]
    {
        let mut world = balanced(&[D], Share::PRESERVES);
        let port = opened(&world, addr(A));
        world.wait_s(351);
        let closed = Some(&[][..]);
        let (out, into) = if is_out {
            (closed, None)
        } else {
            (None, closed)
        };
        set_acl(&mut world, subnet, out, into);
        let late = to(D, addr(A), tcp(PORT, port, ACK));
        let change = Change::dropped(Reason::BalancerReset);
        let verdict = world.send(D, &mut late.frame(), &change);
        assert_eq!(verdict == Verdict::Reply, is_answered, "{subnet}");
        let at_node = CounterKey {
            eni: NODE,
            what: Reason::BalancerReset as u32,
            pad: 0,
        };
        assert_eq!(world.memory.counters().get(&at_node), Some(&1));
    }
}
