//! The ledger's wide world behind its NAT gateway.

use crate::{
    Reason,
    ledger::{A, Change, Gate, World},
    ledger_wide::{
        ALL, GATEWAY, NAT, NAT_PUBLIC, SENT_OUT, X, add_route, at, at_x, from_x, to, wide,
    },
    packet_builder::{PacketBuilder, Transport},
    table::Route,
};

/// Subnets 11 and 12 go out by the NAT gateway, its own by the internet gateway.
pub(crate) fn behind(out: Gate, into: Gate) -> World {
    let mut world = wide(out, into);
    add_route(&mut world, 11, ALL, Route::NAT_GATEWAY, NAT);
    add_route(&mut world, 12, ALL, Route::NAT_GATEWAY, NAT);
    add_route(&mut world, 13, ALL, Route::INTERNET_GATEWAY, GATEWAY);
    world
}

/// Sends a packet that must go out, and tells from which port.
#[track_caller]
pub(crate) fn goes(world: &World, from: u64, packet: &PacketBuilder, flows: isize) -> u16 {
    let mut frame = packet.frame();
    let change = Change::opened(flows, packet.packet().len() as u64);
    assert_eq!(world.send(from, &mut frame, &change), SENT_OUT);
    let at = if packet.transport == Transport::echo(7) {
        38
    } else {
        34
    };
    let port = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let transport = match &packet.transport {
        Transport::Udp { to, .. } => Transport::Udp {
            from: port,
            to: *to,
        },
        Transport::Tcp { to, flags, .. } => Transport::Tcp {
            from: port,
            to: *to,
            flags: *flags,
        },
        Transport::Icmp { .. } => Transport::echo(port),
        other => other.clone(),
    };
    let mut arrives = at_x(NAT_PUBLIC, transport);
    arrives.target = packet.target;
    assert_eq!(frame, arrives.frame());
    assert!(port >= 1024);
    port
}

#[track_caller]
pub(crate) fn comes(world: &World, packet: &PacketBuilder, arrives: &PacketBuilder) {
    let mut frame = packet.frame();
    let change = Change::carried(packet.packet().len() as u64);
    let _ = world.send_in(&mut frame, &change);
    assert_eq!(frame, arrives.frame());
}

#[track_caller]
pub(crate) fn fails(world: &World, from: u64, packet: &PacketBuilder, reason: Reason) {
    let _ = world.send(from, &mut packet.frame(), &Change::dropped(reason));
}

pub(crate) fn answer(port: u16) -> Transport {
    Transport::Udp { from: 53, to: port }
}

pub(crate) fn tcp(from: u16, to: u16, flags: u8) -> Transport {
    Transport::Tcp { from, to, flags }
}

pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;

/// Opens a connection from A's port 5 to X's port 80 with so many new entries, and tells the gateway's
/// port.
pub(crate) fn opened(world: &World, flows: isize) -> u16 {
    let port = goes(world, A, &to(A, X, Transport::syn(5, 80)), flows);
    let accept = from_x(NAT_PUBLIC, tcp(80, port, SYN_ACK));
    comes(world, &accept, &at(A, X, tcp(80, 5, SYN_ACK)));
    port
}
