//! Parse: Ethernet, ARP, IPv4, IPv6 and the transport header, each with one check of its length.
//!
//! What contradicts itself is dropped here, and so is what is never carried: multicast, broadcast,
//! and an IPv6 packet with a v4-mapped address, which would pass for an IPv4 endpoint.

use crate::{
    bytes::{Addr, Be16, MacPair},
    frame::Frame,
    packet::{Fragment, Packet},
    reason::Reason,
    table::protocol,
};

/// Length of an Ethernet header.
pub(crate) const ETHERNET: u32 = 14;
/// Ethertype of IPv4.
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
/// Ethertype of ARP.
pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
/// Ethertype of IPv6.
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];

/// Offsets in a frame with an IPv4 header.
mod v4 {
    pub(super) const VERSION: usize = 14;
    pub(super) const TOTAL_LENGTH: usize = 16;
    pub(super) const ID: usize = 18;
    pub(super) const FRAGMENT: usize = 20;
    pub(super) const PROTOCOL: usize = 23;
    pub(super) const SOURCE: usize = 26;
    pub(super) const TARGET: usize = 30;
}

/// The most IPv6 extension headers that are read.
const EXTENSIONS_MAX: usize = 4;
/// "Don't fragment" and the reserved bit set aside: more fragments, or an offset.
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Fills `packet` from the frame.
#[inline(always)]
pub(crate) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    if frame.is_tagged() {
        return Err(Reason::EtherType);
    }
    // Ethernet and a whole IPv4 header; an ARP message and an IPv6 header are longer.
    let head = frame.load::<34>(0).ok_or(Reason::Malformed)?.0;
    packet.macs = MacPair {
        head: u64::from_ne_bytes([
            head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7],
        ]),
        tail: u64::from_ne_bytes([head[8], head[9], head[10], head[11], 0, 0, 0, 0]),
    };
    packet.segments = match frame.segments() {
        0 => 1,
        segments => segments,
    };
    packet.fragment = Fragment::None;
    packet.fragment_id = 0;
    packet.tcp_flags = 0;
    packet.is_arp = false;
    match [head[12], head[13]] {
        IPV4 => ipv4(frame, &head, packet),
        IPV6 => ipv6(frame, packet),
        ARP => {
            packet.is_arp = true;
            Ok(())
        }
        _ => Err(Reason::EtherType),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, head: &[u8; 34], packet: &mut Packet) -> Result<(), Reason> {
    let header = u32::from(head[v4::VERSION] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([
        head[v4::TOTAL_LENGTH],
        head[v4::TOTAL_LENGTH + 1],
    ]));
    if head[v4::VERSION] >> 4 != 4
        || header < 20
        || total < header
        || total > frame.len() - ETHERNET
    {
        return Err(Reason::Malformed);
    }
    packet.source = Addr::v4([
        head[v4::SOURCE],
        head[v4::SOURCE + 1],
        head[v4::SOURCE + 2],
        head[v4::SOURCE + 3],
    ]);
    packet.target = Addr::v4([
        head[v4::TARGET],
        head[v4::TARGET + 1],
        head[v4::TARGET + 2],
        head[v4::TARGET + 3],
    ]);
    packet.protocol = head[v4::PROTOCOL];
    let cut = u16::from_be_bytes([head[v4::FRAGMENT], head[v4::FRAGMENT + 1]]);
    if cut & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
        packet.fragment = if cut & FRAGMENT_OFFSET == 0 {
            Fragment::First
        } else {
            Fragment::Later
        };
        packet.fragment_id = u32::from(u16::from_be_bytes([head[v4::ID], head[v4::ID + 1]]));
    }
    packet.transport = ETHERNET + header;
    transport(frame, packet, header, total - header)
}

#[inline(never)]
fn ipv6<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let head = frame.load::<8>(ETHERNET).ok_or(Reason::Malformed)?.0;
    let payload = u32::from(u16::from_be_bytes([head[4], head[5]]));
    if head[0] >> 4 != 6 || payload + 40 > frame.len() - ETHERNET {
        return Err(Reason::Malformed);
    }
    let has_addresses = load_v6(frame, ETHERNET + 8, &mut packet.source)
        && load_v6(frame, ETHERNET + 24, &mut packet.target);
    if !has_addresses || packet.source.is_v4() || packet.target.is_v4() {
        return Err(Reason::Malformed);
    }
    let mut next = head[6];
    let mut skipped = 0;
    for _ in 0..EXTENSIONS_MAX {
        if !matches!(next, 0 | 43 | 44 | 60) || packet.fragment == Fragment::Later {
            break;
        }
        let extension = frame
            .load::<8>(ETHERNET + 40 + skipped)
            .ok_or(Reason::Malformed)?
            .0;
        if next == 44 {
            let cut = u16::from_be_bytes([extension[2], extension[3]]);
            // Offset zero and no more to come is a whole packet (RFC 6946).
            if cut & 0xfff9 != 0 {
                packet.fragment = if cut & 0xfff8 == 0 {
                    Fragment::First
                } else {
                    Fragment::Later
                };
                packet.fragment_id =
                    u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
            }
            skipped += 8;
        } else {
            skipped += (u32::from(extension[1]) + 1) * 8;
        }
        next = extension[0];
    }
    if skipped > payload {
        return Err(Reason::Malformed);
    }
    packet.protocol = next;
    packet.transport = ETHERNET + 40 + skipped;
    transport(frame, packet, 40 + skipped, payload - skipped)
}

/// Reads an IPv6 address.
#[inline(always)]
pub(crate) fn load_v6<F: Frame>(frame: &F, at: u32, addr: &mut Addr) -> bool {
    match frame.load::<16>(at) {
        Some(octets) => {
            *addr = Addr::v6(octets.0);
            true
        }
        None => false,
    }
}

/// Ports, ICMP kind and TCP flags. `length` is the payload's, from the transport header on.
#[inline(always)]
fn transport<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    ip_header: u32,
    length: u32,
) -> Result<(), Reason> {
    if packet.target.is_multicast() {
        return Err(Reason::Multicast);
    }
    packet.source_port = Be16::new(0);
    packet.target_port = Be16::new(0);
    let mut header = 0;
    if packet.fragment != Fragment::Later {
        match packet.protocol {
            protocol::TCP => {
                let tcp = frame
                    .load::<20>(packet.transport)
                    .ok_or(Reason::Malformed)?
                    .0;
                header = u32::from(tcp[12] >> 4) * 4;
                if header < 20 || length < header {
                    return Err(Reason::Malformed);
                }
                packet.source_port = Be16::from_bytes([tcp[0], tcp[1]]);
                packet.target_port = Be16::from_bytes([tcp[2], tcp[3]]);
                packet.tcp_flags = tcp[13];
            }
            protocol::UDP => {
                let udp = frame
                    .load::<8>(packet.transport)
                    .ok_or(Reason::Malformed)?
                    .0;
                header = 8;
                if length < header {
                    return Err(Reason::Malformed);
                }
                packet.source_port = Be16::from_bytes([udp[0], udp[1]]);
                packet.target_port = Be16::from_bytes([udp[2], udp[3]]);
            }
            protocol::ICMP | protocol::ICMP_V6 => {
                let icmp = frame
                    .load::<8>(packet.transport)
                    .ok_or(Reason::Malformed)?
                    .0;
                if length < 8 {
                    return Err(Reason::Malformed);
                }
                packet.target_port = Be16::from_bytes([icmp[0], icmp[1]]);
                if is_icmp_query(packet.protocol, icmp[0]) {
                    packet.source_port = Be16::from_bytes([icmp[4], icmp[5]]);
                }
            }
            _ => {}
        }
    }
    // A frame that stands for several packets has their headers once, the wire has them each time.
    packet.bytes =
        (ip_header + length).wrapping_add((packet.segments - 1).wrapping_mul(ip_header + header));
    Ok(())
}

/// Whether a type of ICMP message has an identifier: echo, timestamp, information, mask.
#[inline(always)]
pub(crate) const fn is_icmp_query(number: u8, kind: u8) -> bool {
    if number == protocol::ICMP {
        matches!(kind, 0 | 8 | 13..=18)
    } else {
        matches!(kind, 128 | 129)
    }
}
