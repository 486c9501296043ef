//! Parse: Ethernet, ARP, IPv4, IPv6 and the transport header, each with one check of its length.
//!
//! What contradicts itself is dropped here, and so is what is never carried: multicast, broadcast,
//! and an IPv6 packet with a v4-mapped address, which would pass for an IPv4 endpoint.

use crate::{
    bytes::{Addr, Be16, MacPair},
    flow::tcp,
    frame::{Aligned, Frame},
    packet::{Asks, Fragment, Packet},
    reason::Reason,
    service::{ROUTER_SOLICITATION, port},
    table::protocol,
};

/// Length of an Ethernet header.
pub(crate) const ETHERNET: u32 = 14;
/// Ethernet, IPv4 and TCP without options.
const NEAR: usize = 54;
/// Ethernet and IPv4 without options; the transport header follows.
const NEAR_TRANSPORT: usize = 34;
/// The longest transport header that is read: TCP's, without options.
const TRANSPORT: usize = 20;
/// Ethertype of IPv4.
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
/// Ethertype of ARP.
pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
/// Ethertype of IPv6.
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];

/// The first bytes of a frame, behind two that are none of it: the words of an IPv4 header and of what
/// follows then lie where one instruction loads them. They stay in this one place. Were they chosen from
/// two, the compiler would hold each byte on its own, and the kernel's stack has no room for that.
#[repr(C, align(8))]
struct Head([u8; LEAD + NEAR]);

/// The bytes before the frame's.
const LEAD: usize = 2;

/// Offsets in a [`Head`].
mod at {
    use super::LEAD;

    pub(super) const ETHERTYPE: usize = LEAD + 12;
    pub(super) const VERSION: usize = LEAD + 14;
    pub(super) const TOTAL_LENGTH: usize = LEAD + 16;
    pub(super) const ID: usize = LEAD + 18;
    pub(super) const FRAGMENT: usize = LEAD + 20;
    pub(super) const PROTOCOL: usize = LEAD + 23;
    pub(super) const SOURCE: usize = LEAD + 26;
    pub(super) const TARGET: usize = LEAD + 30;
    pub(super) const TRANSPORT: usize = LEAD + super::NEAR_TRANSPORT;
}

impl Head {
    /// Bytes at a constant offset.
    #[inline(always)]
    fn bytes<const AT: usize, const N: usize>(&self) -> [u8; N] {
        match self.0.get(AT..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => *bytes,
            None => [0; N],
        }
    }

    /// The place for so many of the frame's first bytes.
    #[inline(always)]
    fn place<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.get_mut(LEAD..).and_then(<[u8]>::first_chunk_mut)
    }

    /// The place for the transport header that follows an IPv4 header without options.
    #[inline(always)]
    fn transport(&mut self) -> Option<&mut [u8; TRANSPORT]> {
        self.0
            .get_mut(at::TRANSPORT..)
            .and_then(<[u8]>::first_chunk_mut)
    }

    /// The MAC addresses, from two whole words.
    #[inline(always)]
    fn macs(&self) -> MacPair {
        let first = u64::from_le_bytes(self.bytes::<0, 8>());
        let second = u64::from_le_bytes(self.bytes::<8, 8>());
        let (head, tail) = (first >> 16 | second << 48, second >> 16 & 0xffff_ffff);
        MacPair {
            head: u64::from_ne_bytes(head.to_le_bytes()),
            tail: u64::from_ne_bytes(tail.to_le_bytes()),
        }
    }
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
    // Nearly every packet has its headers within these bytes, and nothing else is loaded.
    let mut head = Head([0; LEAD + NEAR]);
    let is_near = match head.place::<NEAR>() {
        Some(place) => frame.read(0, place),
        None => false,
    };
    if !is_near {
        // Ethernet and a whole IPv4 header; an ARP message and an IPv6 header are longer.
        let place = head.place::<NEAR_TRANSPORT>().ok_or(Reason::Malformed)?;
        if !frame.read(0, place) {
            return Err(Reason::Malformed);
        }
    }
    packet.macs = head.macs();
    packet.segments = frame.segments();
    packet.fragment = Fragment::None;
    packet.fragment_id = 0;
    packet.tcp_flags = 0;
    packet.sequenced = 0;
    packet.asks = Asks::Nothing;
    match head.bytes::<{ at::ETHERTYPE }, 2>() {
        IPV4 => ipv4(frame, &mut head, is_near, packet),
        IPV6 => ipv6(frame, packet),
        ARP => {
            packet.asks = Asks::Arp;
            Ok(())
        }
        _ => Err(Reason::EtherType),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(
    frame: &F,
    head: &mut Head,
    is_near: bool,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let [version] = head.bytes::<{ at::VERSION }, 1>();
    let header = u32::from(version & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes(head.bytes::<{ at::TOTAL_LENGTH }, 2>()));
    if version >> 4 != 4 || header < 20 || total < header || total > frame.len() - ETHERNET {
        return Err(Reason::Malformed);
    }
    packet.source = Addr::v4(head.bytes::<{ at::SOURCE }, 4>());
    packet.target = Addr::v4(head.bytes::<{ at::TARGET }, 4>());
    [packet.protocol] = head.bytes::<{ at::PROTOCOL }, 1>();
    let cut = u16::from_be_bytes(head.bytes::<{ at::FRAGMENT }, 2>());
    if cut & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
        packet.fragment = if cut & FRAGMENT_OFFSET == 0 {
            Fragment::First
        } else {
            Fragment::Later
        };
        packet.fragment_id = u32::from(u16::from_be_bytes(head.bytes::<{ at::ID }, 2>()));
    }
    packet.transport = ETHERNET + header;
    let is_there = is_near && header == 20;
    let place = head.transport().ok_or(Reason::Malformed)?;
    transport(frame, packet, place, is_there, header, total - header)
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
    if next == protocol::ICMP_V6 && skipped == 0 {
        // Router and neighbour solicitations and advertisements, redirects (RFC 4861).
        if let Some(Aligned([kind @ 133..=137])) = frame.load::<1>(packet.transport)
            && payload >= 8
        {
            packet.asks = if kind == ROUTER_SOLICITATION {
                Asks::Configuration
            } else {
                Asks::Neighbour
            };
            packet.target_port = Be16::from_bytes([kind, 0]);
            packet.segments = 1;
            return Ok(());
        }
    }
    let mut room = Aligned([0; TRANSPORT]);
    let (header, length) = (40 + skipped, payload - skipped);
    transport(frame, packet, &mut room.0, false, header, length)
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

/// Ports, ICMP kind and TCP flags. `length` is the payload's, from the transport header on; the header's
/// first bytes may be in their place already.
#[inline(always)]
fn transport<F: Frame>(
    frame: &F,
    packet: &mut Packet,
    place: &mut [u8; TRANSPORT],
    is_there: bool,
    ip_header: u32,
    length: u32,
) -> Result<(), Reason> {
    if packet.target.is_multicast() {
        return configuration(frame, packet);
    }
    packet.source_port = Be16::new(0);
    packet.target_port = Be16::new(0);
    let mut header = 0;
    if packet.fragment != Fragment::Later {
        match packet.protocol {
            protocol::TCP => {
                fetch::<F, TRANSPORT>(frame, packet, place, is_there)?;
                header = u32::from(place[12] >> 4) * 4;
                if header < 20 || length < header {
                    return Err(Reason::Malformed);
                }
                packet.source_port = Be16::from_bytes([place[0], place[1]]);
                packet.target_port = Be16::from_bytes([place[2], place[3]]);
                packet.tcp_flags = place[13];
                packet.sequence = u32::from_be_bytes([place[4], place[5], place[6], place[7]]);
                packet.acknowledged =
                    u32::from_be_bytes([place[8], place[9], place[10], place[11]]);
                if packet.tcp_flags & tcp::RST == 0 && packet.fragment == Fragment::None {
                    let ends = packet.tcp_flags & tcp::FIN;
                    let opens = (packet.tcp_flags & tcp::SYN) / tcp::SYN;
                    packet.sequenced = length - header + u32::from(ends + opens);
                }
            }
            protocol::UDP => {
                fetch::<F, 8>(frame, packet, place, is_there)?;
                header = 8;
                if length < header {
                    return Err(Reason::Malformed);
                }
                packet.source_port = Be16::from_bytes([place[0], place[1]]);
                packet.target_port = Be16::from_bytes([place[2], place[3]]);
            }
            protocol::ICMP | protocol::ICMP_V6 => {
                fetch::<F, 8>(frame, packet, place, is_there)?;
                if length < 8 {
                    return Err(Reason::Malformed);
                }
                packet.target_port = Be16::from_bytes([place[0], place[1]]);
                if is_icmp_query(packet.protocol, place[0]) {
                    packet.source_port = Be16::from_bytes([place[4], place[5]]);
                }
            }
            _ => {}
        }
    }
    let (payload, size) = (length - header, frame.segment_size());
    if packet.segments == 0 {
        packet.segments = count_segments(payload, size);
    }
    packet.longest = if size == 0 || payload <= size {
        ip_header + length
    } else {
        ip_header + header + size
    };
    // A frame that stands for several packets has their headers once, the wire has them each time.
    packet.bytes =
        (ip_header + length).wrapping_add((packet.segments - 1).wrapping_mul(ip_header + header));
    Ok(())
}

/// The one kind of packet to everybody that somebody takes: a DHCP message, to the router or from it.
#[inline(never)]
fn configuration<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    if packet.protocol != protocol::UDP || packet.fragment != Fragment::None {
        return Err(Reason::Multicast);
    }
    let Some(ports) = frame.load::<4>(packet.transport) else {
        return Err(Reason::Malformed);
    };
    packet.source_port = Be16::from_bytes([ports.0[0], ports.0[1]]);
    packet.target_port = Be16::from_bytes([ports.0[2], ports.0[3]]);
    let is_dhcp = match packet.target_port.value() {
        port::DHCP_SERVER | port::DHCP_CLIENT => packet.target == Addr::v4([255; 4]),
        port::DHCP_V6_SERVER => packet.target == DHCP_V6_SERVERS,
        _ => false,
    };
    if !is_dhcp {
        return Err(Reason::Multicast);
    }
    packet.asks = Asks::Configuration;
    packet.segments = 1;
    Ok(())
}

/// `ff02::1:2`: all servers and relays of DHCP by IPv6 (RFC 8415, section 7.1).
const DHCP_V6_SERVERS: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);

/// How many packets a payload is cut into: for frames that come uncounted, as most that are one packet
/// do, and those that a raw socket hands over to be cut.
#[inline(always)]
const fn count_segments(payload: u32, size: u32) -> u32 {
    if size == 0 || payload <= size {
        1
    } else {
        payload.div_ceil(size)
    }
}

/// Brings the first bytes of the transport header to their place, unless they are there.
#[inline(always)]
fn fetch<F: Frame, const N: usize>(
    frame: &F,
    packet: &Packet,
    place: &mut [u8; TRANSPORT],
    is_there: bool,
) -> Result<(), Reason> {
    if is_there {
        return Ok(());
    }
    let place = place.first_chunk_mut::<N>().ok_or(Reason::Malformed)?;
    if frame.read(packet.transport, place) {
        Ok(())
    } else {
        Err(Reason::Malformed)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Bytes;
    use crate::packet_builder::{PacketBuilder, Transport};

    fn parsed(frame: &mut [u8]) -> Result<Packet, Reason> {
        let mut packet = Packet::default();
        parse(&Bytes::new(frame), &mut packet).map(|()| packet)
    }

    fn tcp() -> Vec<u8> {
        let (a, b) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        PacketBuilder::new(a, b, Transport::syn(40_000, 80)).frame()
    }

    #[test]
    fn a_tcp_packet_has_its_five_tuple_and_flags() {
        let packet = parsed(&mut tcp()).expect("a packet");
        assert_eq!(packet.source, Addr::v4([10, 0, 0, 1]));
        assert_eq!(packet.target, Addr::v4([10, 0, 0, 2]));
        assert_eq!(
            (packet.source_port.value(), packet.target_port.value()),
            (40_000, 80)
        );
        assert_eq!(packet.protocol, protocol::TCP);
        assert!(packet.opens_tcp());
        // What Ethernet pads is not counted.
        assert_eq!(packet.bytes, 40);
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        for length in [0, 13, 33, 34, 53] {
            assert_eq!(
                parsed(&mut tcp()[..length]),
                Err(Reason::Malformed),
                "{length}"
            );
        }
        assert!(parsed(&mut tcp()[..54]).is_ok());
    }

    #[test]
    fn what_contradicts_itself_is_malformed() {
        // Where, the byte, and the change that makes it wrong.
        for (at, byte) in [
            (14, 0x55),
            (14, 0x44),
            (16, 0xff),
            (17, 19),
            (14 + 20 + 12, 0x40),
        ] {
            let mut frame = tcp();
            frame[at] = byte;
            assert_eq!(parsed(&mut frame), Err(Reason::Malformed), "byte {at}");
        }
    }

    #[test]
    fn other_ether_types_and_multicast_are_not_carried() {
        let mut frame = tcp();
        frame[13] = 0x99;
        assert_eq!(parsed(&mut frame), Err(Reason::EtherType));
        let mut frame = tcp();
        frame[30] = 224;
        assert_eq!(parsed(&mut frame), Err(Reason::Multicast));
    }

    #[test]
    fn ip_options_move_the_ports() {
        let mut frame = tcp();
        frame[14] = 0x46;
        frame[17] += 4;
        frame.splice(34..34, [1, 1, 1, 1]);
        let packet = parsed(&mut frame).expect("a packet");
        assert_eq!(packet.target_port.value(), 80);
        assert_eq!(packet.bytes, 44);
    }

    #[test]
    fn a_frame_for_many_packets_has_all_their_bytes() {
        let (a, b) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        let mut builder = PacketBuilder::new(a, b, Transport::syn(1, 2));
        builder.payload = 3000;
        let mut frame = builder.frame();
        let mut packet = Packet::default();
        parse(&Bytes::new(&mut frame).with_segments(3), &mut packet).expect("a packet");
        assert_eq!((packet.segments, packet.bytes), (3, 3000 + 3 * 40));
        // The same when nobody has counted, and the last one is not full.
        for (size, segments) in [(1000, 3), (1400, 3), (1500, 2), (3000, 1), (0, 1)] {
            let frame = Bytes::new(&mut frame).with_segment_size(size);
            parse(&frame, &mut packet).expect("a packet");
            assert_eq!(
                (packet.segments, packet.bytes),
                (segments, 3000 + segments * 40)
            );
            let longest = if size == 0 { 3040 } else { size + 40 };
            assert_eq!(packet.longest, longest);
        }
    }

    #[test]
    fn an_echo_has_its_identifier_and_an_error_has_none() {
        let (a, b) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        let echo = PacketBuilder::new(a, b, Transport::echo(77));
        let packet = parsed(&mut echo.frame()).expect("a packet");
        assert_eq!(packet.source_port.value(), 77);
        assert_eq!(packet.target_port.bytes(), [8, 0]);
        let error = PacketBuilder::new(b, a, Transport::unreachable(&echo));
        let packet = parsed(&mut error.frame()).expect("a packet");
        assert_eq!(packet.source_port.value(), 0);
        assert!(packet.is_icmp_error());
    }

    fn ipv6(next: u8, extensions: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV6);
        let length = u16::try_from(extensions.len() + payload.len()).expect("short");
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([next, 64]);
        frame.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend(extensions);
        frame.extend(payload);
        frame
    }

    const UDP: [u8; 8] = [0x03, 0xe8, 0, 53, 0, 8, 0, 0];

    #[test]
    fn ipv6_extensions_are_skipped_to_the_ports() {
        let packet = parsed(&mut ipv6(17, &[], &UDP)).expect("a packet");
        assert_eq!(
            (packet.source_port.value(), packet.target_port.value()),
            (1000, 53)
        );
        let options = [17, 0, 0, 0, 0, 0, 0, 0];
        let packet = parsed(&mut ipv6(60, &options, &UDP)).expect("a packet");
        assert_eq!((packet.protocol, packet.target_port.value()), (17, 53));
        // An extension that claims to be longer than the packet.
        let options = [17, 9, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            parsed(&mut ipv6(60, &options, &UDP)),
            Err(Reason::Malformed)
        );
    }

    #[test]
    fn ipv6_fragments_have_their_identification() {
        let first = [17, 0, 0, 1, 0, 0, 0, 9];
        let packet = parsed(&mut ipv6(44, &first, &UDP)).expect("a packet");
        assert_eq!((packet.fragment, packet.fragment_id), (Fragment::First, 9));
        let later = [17, 0, 0, 9, 0, 0, 0, 9];
        let packet = parsed(&mut ipv6(44, &later, &UDP)).expect("a packet");
        assert_eq!(
            (packet.fragment, packet.target_port.value()),
            (Fragment::Later, 0)
        );
    }

    #[test]
    fn an_ipv4_address_in_an_ipv6_header_is_malformed() {
        let mut frame = ipv6(17, &[], &UDP);
        frame[22..38].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
        assert_eq!(parsed(&mut frame), Err(Reason::Malformed));
    }
}
