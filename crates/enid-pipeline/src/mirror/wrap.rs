//! The first program: which copies a session takes, and the headers of a VXLAN packet.

use super::{
    HEADERS, MirrorFilter, MirrorRecord, MirrorRule, MirrorSession, PORT, SESSIONS_MAX, WRAPPING,
};
use crate::{
    copy::{Note, kind},
    frame::Frame,
    packet::{Asks, Packet},
    service::port,
    stage::parse,
    table::protocol,
    tables::Tables,
};

/// The working memory of the first program.
#[derive(Clone, Copy, Debug)]
pub struct Wrapping {
    packet: Packet,
    headers: [u8; HEADERS],
}

impl Wrapping {
    /// Ready for a first copy.
    pub fn new() -> Self {
        Self {
            packet: Packet::default(),
            headers: [0; HEADERS],
        }
    }
}

impl Default for Wrapping {
    fn default() -> Self {
        Self::new()
    }
}

/// The headers that go before the network header of a copy, in place of the Ethernet header that it has, if
/// a session takes it.
#[inline(always)]
pub fn headers<'a, T: Tables, F: Frame>(
    tables: &T,
    frame: &F,
    note: &Note,
    scratch: &'a mut Wrapping,
) -> Option<&'a [u8; HEADERS]> {
    if note.kind & (kind::DROPPED_HERE | kind::MIRRORED) != 0 {
        return None;
    }
    let record = tables.mirror(note.eni)?;
    let Wrapping { packet, headers } = scratch;
    if parse::parse(frame, packet).is_err() || packet.asks != Asks::Nothing {
        return None;
    }
    if is_about_copy(frame, record, packet) {
        return None;
    }
    let session = choose(tables, record, note, packet)?;
    let ethernet = frame.load::<14>(0)?;
    // What stands for several packets may be longer than the field says; it is set anew for each of them.
    let length = frame.len() + WRAPPING;
    write(headers, record, session, note.eni, hash(packet), length);
    headers[50..64].copy_from_slice(&ethernet.0);
    Some(headers)
}

/// Whether a packet is an error about a copy, which the ENI's guest never sent: nobody listens at the target.
/// A copy of it would be answered by the next error, without end.
#[inline(always)]
fn is_about_copy<F: Frame>(frame: &F, record: &MirrorRecord, packet: &Packet) -> bool {
    if packet.protocol != protocol::ICMP || !packet.is_icmp_error() {
        return false;
    }
    // The message's own eight bytes, an IPv4 header as copies have it, and ports.
    match frame.load::<32>(packet.transport) {
        Some(bytes) => {
            let quoted = &bytes.0;
            quoted[8] == 0x45
                && quoted[17] == protocol::UDP
                && [quoted[20], quoted[21], quoted[22], quoted[23]] == record.source
                && [quoted[30], quoted[31]] == PORT.to_be_bytes()
        }
        None => false,
    }
}

/// The first session whose filter accepts a packet.
#[inline(always)]
fn choose<'a, T: Tables>(
    tables: &T,
    record: &'a MirrorRecord,
    note: &Note,
    packet: &Packet,
) -> Option<&'a MirrorSession> {
    for index in 0..SESSIONS_MAX {
        if index >= record.count as usize {
            return None;
        }
        let session = record.sessions.get(index)?;
        if let Some(filter) = tables.mirror_filter(session.filter)
            && accepts(filter, note.kind, packet)
        {
            return Some(session);
        }
    }
    None
}

/// Whether a filter accepts a packet.
#[inline(never)]
fn accepts(filter: &MirrorFilter, kind: u32, packet: &Packet) -> bool {
    let is_ingress = kind & kind::INGRESS != 0;
    if kind & kind::SERVICE != 0 {
        let port = if is_ingress {
            packet.source_port
        } else {
            packet.target_port
        };
        if port.value() != port::DNS || filter.flags & MirrorFilter::AMAZON_DNS == 0 {
            return false;
        }
    }
    let (rules, count) = if is_ingress {
        (&filter.ingress, filter.ingress_count)
    } else {
        (&filter.egress, filter.egress_count)
    };
    for (index, rule) in rules.iter().enumerate() {
        if index >= usize::from(count) {
            return false;
        }
        if rule.matches(packet) {
            return rule.flags & MirrorRule::ACCEPT != 0;
        }
    }
    false
}

/// The source port of a copy, which tells flows apart: one of 16,384, the same for all packets of a flow in
/// one direction.
#[inline(always)]
pub(super) fn hash(packet: &Packet) -> u16 {
    let mut sum = u32::from(packet.protocol);
    for addr in [&packet.source, &packet.target] {
        sum = (sum ^ addr.folded()).wrapping_mul(0x9e37_79b1);
    }
    // An ICMP message's port is its identifier, and the other its type, which is not in the 5-tuple.
    sum ^= u32::from(packet.source_port.value()) << 16;
    if matches!(packet.protocol, protocol::TCP | protocol::UDP) {
        sum ^= u32::from(packet.target_port.value());
    }
    sum = sum.wrapping_mul(0x9e37_79b1);
    let low = (sum >> 18) as u16;
    0xc000 | low
}

/// Offsets in a VXLAN packet's frame.
mod at {
    /// Where the MAC addresses are, and before they are written, whose copy it is.
    pub(super) const ENI: usize = 0;
    pub(super) const PACKET_LENGTH: usize = 8;
    pub(super) const ETHERTYPE: usize = 12;
    pub(super) const IP: usize = 14;
    pub(super) const UDP: usize = 34;
    pub(super) const VXLAN: usize = 42;
}

/// Writes all but the last fourteen bytes. `length` is the packet's, from the IP header on.
#[inline(always)]
fn write(
    headers: &mut [u8; HEADERS],
    record: &MirrorRecord,
    session: &MirrorSession,
    eni: u64,
    source_port: u16,
    length: u32,
) {
    let short = |length: u32| {
        // In the kernel a conversion that can fail costs more than what it saves.
        let [_, _, high, low] = if length > 0xffff {
            [0xff; 4]
        } else {
            length.to_be_bytes()
        };
        [high, low]
    };
    let (ip, udp) = (short(length), short(length - 20));
    let [s0, s1] = source_port.to_be_bytes();
    let [p0, p1] = PORT.to_be_bytes();
    let [_, v0, v1, v2] = session.vni.to_be_bytes();
    let [f0, f1, f2, f3] = record.source;
    let [t0, t1, t2, t3] = session.target;
    headers[at::ENI..at::ENI + 8].copy_from_slice(&eni.to_ne_bytes());
    headers[at::PACKET_LENGTH..at::ETHERTYPE].copy_from_slice(&session.packet_length.to_ne_bytes());
    headers[at::ETHERTYPE..at::IP].copy_from_slice(&parse::IPV4);
    let mut header = [
        // Version and length, service; total length; identification; "don't fragment".
        0x45, 0, ip[0], ip[1], 0, 0, 0x40, 0, // TTL, UDP, checksum
        64, 17, 0, 0, f0, f1, f2, f3, t0, t1, t2, t3,
    ];
    let sum = checksum(&header);
    header[10] = sum[0];
    header[11] = sum[1];
    headers[at::IP..at::UDP].copy_from_slice(&header);
    headers[at::UDP..at::VXLAN].copy_from_slice(&[s0, s1, p0, p1, udp[0], udp[1], 0, 0]);
    // "The VNI counts", and nothing else is said.
    headers[at::VXLAN..50].copy_from_slice(&[0x08, 0, 0, 0, v0, v1, v2, 0]);
}

/// The checksum of an IPv4 header without options.
#[inline(always)]
pub(super) fn checksum(header: &[u8; 20]) -> [u8; 2] {
    let mut sum = 0_u32;
    for pair in header.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    // Ten words: after two rounds nothing is left to carry.
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let sum = !(sum as u16);
    sum.to_be_bytes()
}
