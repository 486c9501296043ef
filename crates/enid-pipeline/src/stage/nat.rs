//! NAT gateways: many private addresses behind few, connections begun from inside only.
//!
//! A packet out crosses into the gateway's subnet, takes one of the gateway's private addresses and a
//! port of its own, and is routed on from there; an internet gateway on the way makes the private address
//! the public one. The flow table is the table of ports: a port is taken when the entry of the answers
//! could be added. An answer is one that has such an entry; nothing else passes.
//!
//! Limits: IPv4 only. After 350 idle seconds a packet begins a new connection, where AWS sends a reset.

use crate::{
    Scratch,
    bytes::{Addr, Be16},
    flow::{FlowKey, FlowRecord, flag},
    owner::owner,
    packet::{Fragment, Packet},
    reason::Reason,
    table::{NAT_ADDRESSES_MAX, NatRecord, SubnetRecord, protocol},
    tables::Tables,
};

/// Ports that are tried before a connection is refused. With AWS's 55,000 connections to one destination
/// one in fifty new ones finds none.
const TRIES: u32 = 24;
/// The first port that a gateway uses.
const FIRST_PORT: u32 = 1024;

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
    if nat.subnet != journey.subnet {
        journey.leave(subnet)?;
        let inner = tables.subnet(nat.subnet).ok_or(Reason::Incomplete)?;
        journey.enter(inner)?;
    }
    if journey.via != 0 {
        return Err(Reason::NatRoute);
    }
    check(&scratch.packet, scratch.is_related)?;
    let carried = &scratch.carried;
    // Errors about an answer go the connection's own way, and so do its packets.
    let known = if carried.via == id && (scratch.is_related || !carried.is_reply()) {
        index_of(nat, carried.translation.source)
    } else {
        None
    };
    if known.is_none() && (scratch.is_related || carried.is_answer()) {
        return Err(Reason::NatUnsolicited);
    }
    let index = known.unwrap_or_else(|| spread(&scratch.key, nat.count));
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

/// What a NAT gateway carries.
#[inline(always)]
fn check(packet: &Packet, is_related: bool) -> Result<(), Reason> {
    let is_carried = match packet.protocol {
        protocol::TCP | protocol::UDP => packet.source.is_v4(),
        protocol::ICMP => is_related || matches!(packet.target_port.bytes()[0], 0 | 8),
        _ => false,
    };
    if !is_carried {
        return Err(Reason::NatProtocol);
    }
    if packet.fragment != Fragment::None && packet.protocol != protocol::UDP {
        return Err(Reason::NatFragment);
    }
    Ok(())
}

/// The number of the gateway's address that a connection already has.
#[inline(never)]
fn index_of(nat: &NatRecord, address: [u8; 4]) -> Option<usize> {
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

/// The gateway's address that a new connection gets.
#[inline(always)]
fn spread(key: &FlowKey, count: u32) -> usize {
    if count == 0 {
        return usize::MAX;
    }
    ((hash(key) >> 32) as u32 % count) as usize
}

/// A number that looks random, the same for the same connection.
#[inline(never)]
fn hash(key: &FlowKey) -> u64 {
    // The multiplier and the steps of a 64-bit finalizer (MurmurHash3's): each bit changes all.
    let mix = |word: u64| {
        let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        word ^ word >> 33
    };
    let (s, t) = (key.source.v4_octets(), key.target.v4_octets());
    let addresses = u64::from_be_bytes([s[0], s[1], s[2], s[3], t[0], t[1], t[2], t[3]]);
    let (p, q) = (key.source_port.bytes(), key.target_port.bytes());
    let ports = u64::from_be_bytes([0, 0, 0, key.protocol, p[0], p[1], q[0], q[1]]);
    mix(mix(addresses).wrapping_add(ports))
}

/// Takes an answer that has come to the gateway's interface and sends it on to who asked.
#[inline(never)]
pub(crate) fn back<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let carried = &scratch.carried;
    let journey = &mut scratch.journey;
    let is_answer = carried.is_answer() || scratch.is_related;
    if carried.via == 0 || !is_answer {
        return Err(Reason::NatUnsolicited);
    }
    let Some(nat) = tables.nat(carried.via) else {
        return Err(Reason::NatUnsolicited);
    };
    // Errors may come from routers on the way; answers come from whom the connection goes to.
    let is_from_target = journey.source == Addr::v4(carried.translation.source);
    if nat.eni != journey.eni || !(is_from_target || scratch.is_related) {
        return Err(Reason::NatUnsolicited);
    }
    let inner = tables.subnet(nat.subnet).ok_or(Reason::Incomplete)?;
    if nat.subnet != journey.subnet {
        journey.enter(inner)?;
    }
    journey.target = Addr::v4(carried.translation.target);
    if !scratch.is_related {
        journey.source_port = carried.translation.source_port;
        journey.target_port = carried.translation.target_port;
    }
    journey.via = carried.via;
    journey.vpc = nat.vpc;
    journey.subnet = nat.subnet;
    journey.is_member = false;
    journey.eni = owner(tables, nat.vpc, &journey.target);
    let target = tables.eni(journey.eni).ok_or(Reason::NoEndpoint)?;
    if target.subnet != nat.subnet {
        journey.leave(inner)?;
    }
    Ok(())
}

/// Finds a port for a new connection: the one it had, if it begins anew, or one that no other connection
/// to the same destination has. `record` is the entry for its answers; it is added.
#[inline(never)]
pub(crate) fn take_port<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if !scratch.journey.needs_port {
        return Ok(());
    }
    if has_port_before(tables, scratch) {
        return Ok(());
    }
    let start = hash(&scratch.key);
    for attempt in 0..TRIES {
        // An odd step reaches every port.
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash")]
        let random = (start as u32).wrapping_add(attempt.wrapping_mul(0x9e37_79b1));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a 16-bit remainder and offset"
        )]
        let port = (FIRST_PORT + random % (65_536 - FIRST_PORT)) as u16;
        scratch.journey.source_port = Be16::new(port);
        let Some(answer) = answer_key(scratch) else {
            return Err(Reason::NatProtocol);
        };
        if tables.insert_flow(&answer, &scratch.record) {
            return Ok(());
        }
        if tables.flow(&answer).is_none() {
            return Err(Reason::FlowTableFull);
        }
    }
    Err(Reason::NatPortAllocation)
}

/// Takes the port of the connection that was on the same addresses and ports before, if its answers
/// still have their entry.
#[inline(never)]
fn has_port_before<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let Some(entry) = tables.flow(&scratch.key) else {
        return false;
    };
    let before = entry.translation();
    let is_same = entry.flags.get() & flag::TRANSLATED != 0
        && entry.via.get() == scratch.journey.via
        && Addr::v4(before.source) == scratch.journey.source;
    if !is_same {
        return false;
    }
    scratch.journey.source_port = before.source_port;
    let Some(answer) = answer_key(scratch) else {
        return false;
    };
    let Some(answers) = tables.flow(&answer) else {
        return false;
    };
    answers.target_ifindex.get() == u64::from(scratch.key.ifindex)
        && answers.new_addresses.get() == scratch.record.new_addresses
        && answers.new_ports.get() == scratch.record.new_ports
}

/// The key of the packets that answer, as they come.
#[inline(always)]
pub(crate) fn answer_key(scratch: &Scratch) -> Option<FlowKey> {
    let journey = &scratch.journey;
    let key = FlowKey {
        source: journey.source,
        target: journey.target,
        source_port: journey.source_port,
        target_port: journey.target_port,
        ..scratch.key
    };
    key.reversed(journey.ifindex)
}

const _: () = assert!(size_of::<FlowRecord>() == 184);
