//! Traffic mirroring: copies of an ENI's packets, each in a VXLAN packet to another ENI.
//!
//! - A packet is copied once. The sessions of its ENI are asked in their order, and the first whose filter
//!   accepts the packet takes it. Of a filter the first rule that matches decides; what none matches is not
//!   accepted.
//! - What the ENI's own security groups or network ACL drop is not copied. ARP, neighbour discovery, DHCP,
//!   metadata and time never are, and questions to the VPC's resolver only if the filter says so.
//! - Nor are errors about copies, which come if nobody listens at the target.
//! - The VXLAN packet is one that the ENI sends: route tables and network ACLs judge it as any other, and the
//!   receiver's security groups, but not the sender's. It makes no flow, and is itself never copied.
//!
//! Two programs do this. The first ([`headers`]) gets a copy as the ENI sends or gets it, perhaps standing for
//! several packets, and puts the new headers before it. Then the kernel makes single packets of it and
//! finishes their checksums, and the second ([`mirrored`]) cuts what is too long, judges the packet and hands
//! it over. Between the two its MAC addresses say whose copy it is.
//!
//! Sources: Traffic Mirroring User Guide, "How Traffic Mirroring works", "Packet format", "Limitations";
//! RFC 7348.

use core::mem::size_of;

use crate::{
    Course, Scratch, Verdict, allowance,
    bytes::{Addr, MacPair},
    copy::{Note, kind},
    counter, dropped_at,
    frame::Frame,
    packet::{Asks, Fragment, Packet},
    reason::Reason,
    service::port,
    stage::{acl, act, gate, parse, route},
    table::{Direction, EniRecord, protocol},
    tables::Tables,
};

/// The UDP port that VXLAN packets go to.
pub const PORT: u16 = 4789;
/// The most sessions of one ENI.
pub const SESSIONS_MAX: usize = 3;
/// The most rules of a filter in one direction.
pub const RULES_MAX: usize = 10;
/// Bytes of all headers before a mirrored frame's network header: Ethernet, IPv4, UDP, VXLAN, Ethernet.
pub const HEADERS: usize = 64;
/// Bytes that a mirrored packet has before the mirrored frame begins, from the IP header on.
const WRAPPING: u32 = 36;
/// The longest packet inside a VPC, from the IP header on.
const MTU: u32 = 9001;

/// Value of `mirrors`: the sessions of an ENI.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorRecord {
    /// How many of them count, in the order in which they are asked.
    pub count: u32,
    /// Where the copies come from: the ENI's primary address.
    pub source: [u8; 4],
    /// The sessions.
    pub sessions: [MirrorSession; SESSIONS_MAX],
}

/// A session.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorSession {
    /// Its filter, a key of `mirror_filters`.
    pub filter: u64,
    /// The VXLAN network identifier of its packets.
    pub vni: u32,
    /// How many bytes of a frame are copied; 0 is all.
    pub packet_length: u32,
    /// Where the copies go: the primary address of the target's ENI.
    pub target: [u8; 4],
    /// Always zero.
    pub pad: u32,
}

/// Value of `mirror_filters`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorFilter {
    /// [`MirrorFilter::AMAZON_DNS`].
    pub flags: u32,
    /// How many rules of each direction count.
    pub egress_count: u16,
    /// See `egress_count`.
    pub ingress_count: u16,
    /// The rules for what the ENI sends, in their order.
    pub egress: [MirrorRule; RULES_MAX],
    /// The rules for what it gets.
    pub ingress: [MirrorRule; RULES_MAX],
}

impl MirrorFilter {
    /// Questions to the VPC's resolver and its answers are judged by the rules, instead of not copied.
    pub const AMAZON_DNS: u32 = 1;
}

/// A rule of a filter.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorRule {
    /// The network that the packet comes from, and which of its bits count.
    pub source: Addr,
    /// See `source`.
    pub source_mask: Addr,
    /// The network that it goes to, likewise.
    pub target: Addr,
    /// See `target`.
    pub target_mask: Addr,
    /// First and last source port.
    pub source_ports: [u16; 2],
    /// First and last destination port.
    pub target_ports: [u16; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// [`MirrorRule::ACCEPT`], [`MirrorRule::ANY_PROTOCOL`], [`MirrorRule::SOURCE_PORTS`],
    /// [`MirrorRule::TARGET_PORTS`], [`MirrorRule::IPV6`].
    pub flags: u8,
    /// Always zero.
    pub pad: u16,
}

impl MirrorRule {
    /// What matches is copied; else it is not, by this session.
    pub const ACCEPT: u8 = 1;
    /// `protocol` does not count.
    pub const ANY_PROTOCOL: u8 = 2;
    /// `source_ports` count: the packet has ports, one of these.
    pub const SOURCE_PORTS: u8 = 4;
    /// `target_ports` count, likewise.
    pub const TARGET_PORTS: u8 = 8;
    /// The networks are of IPv6: IPv4 addresses, which lie within `::/0`, are in none of them.
    pub const IPV6: u8 = 16;

    #[inline(always)]
    fn matches(&self, packet: &Packet) -> bool {
        if self.flags & Self::ANY_PROTOCOL == 0 && self.protocol != packet.protocol {
            return false;
        }
        if self.flags & Self::IPV6 != 0 && packet.source.is_v4() {
            return false;
        }
        if !packet.source.is_in(&self.source, &self.source_mask)
            || !packet.target.is_in(&self.target, &self.target_mask)
        {
            return false;
        }
        if self.flags & (Self::SOURCE_PORTS | Self::TARGET_PORTS) == 0 {
            return true;
        }
        // Limit: later fragments have no ports, and none are looked up for them.
        let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP)
            && packet.fragment != Fragment::Later;
        let is_in = |[first, last]: [u16; 2], port: u16| first <= port && port <= last;
        let is_source = self.flags & Self::SOURCE_PORTS == 0
            || is_in(self.source_ports, packet.source_port.value());
        let is_target = self.flags & Self::TARGET_PORTS == 0
            || is_in(self.target_ports, packet.target_port.value());
        has_ports && is_source && is_target
    }
}

const _: () = {
    assert!(size_of::<MirrorSession>() == 24);
    assert!(size_of::<MirrorRecord>() == 80);
    assert!(size_of::<MirrorRule>() == 76);
    assert!(size_of::<MirrorFilter>() == 1528);
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
fn hash(packet: &Packet) -> u16 {
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
    #[expect(clippy::cast_possible_truncation, reason = "14 bits")]
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
    pub(super) const IP_LENGTH: usize = 16;
    pub(super) const IP_CHECKSUM: usize = 24;
    pub(super) const UDP: usize = 34;
    pub(super) const UDP_LENGTH: usize = 38;
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
        #[expect(clippy::cast_possible_truncation, reason = "capped before")]
        let short = if length > 0xffff {
            0xffff
        } else {
            length as u16
        };
        short.to_be_bytes()
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
fn checksum(header: &[u8; 20]) -> [u8; 2] {
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

/// Judges and rewrites a copy that the kernel has made single packets of.
#[inline(always)]
pub fn mirrored<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.begin(tables.generation(), 0, now_ns);
    scratch.known();
    match deliver(tables, frame, scratch) {
        Ok(()) => {
            let (segments, bytes) = (scratch.packet.segments, scratch.packet.bytes);
            let (segments, bytes) = (u64::from(segments), u64::from(bytes));
            tables.count_at(scratch.source_eni, counter::MIRRORED_PACKETS, segments);
            tables.count_at(scratch.source_eni, counter::MIRRORED_BYTES, bytes);
            tables.count_at(scratch.journey.eni, counter::PACKETS_IN, segments);
            tables.count_at(scratch.journey.eni, counter::BYTES_IN, bytes);
            scratch.verdict()
        }
        Err(reason) => {
            // Not among the dropped flows: no flow log and no list of flows shows what was mirrored.
            tables.count(reason, 1);
            let eni = dropped_at(reason, scratch);
            if eni != 0 {
                tables.count_at(eni, reason as u32, 1);
            }
            Verdict::Drop(reason)
        }
    }
}

/// The stages; each is a function of its own in the kernel, for the sake of the stack.
#[inline(always)]
fn deliver<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    take(tables, frame, scratch)?;
    read(frame, scratch)?;
    scratch.packet.macs = scratch.journey.hop.leaves;
    find_way(tables, scratch)?;
    judge(tables, frame, scratch)
}

/// Makes the ENI whose copy it is the sender, and cuts the copy. The journey has the MAC addresses that the
/// ENI would have sent it with.
#[inline(never)]
fn take<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let head = frame.load::<14>(0).ok_or(Reason::Malformed)?.0;
    let eni = u64::from_ne_bytes([
        head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7],
    ]);
    let packet_length = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    let record = tables.eni(eni).ok_or(Reason::UnknownDevice)?;
    // A session that has ended meanwhile sends nothing any more.
    if record.flags & EniRecord::MIRRORED == 0 {
        return Err(Reason::Incomplete);
    }
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    scratch.journey.hop.leaves = MacPair::new(subnet.router_mac, record.mac);
    scratch.source_eni = eni;
    scratch.owns_address = true;
    scratch.carried.clear();
    scratch.is_related = false;
    scratch.is_quoting = false;
    cut(frame, packet_length)
}

#[inline(never)]
fn read<F: Frame>(frame: &F, scratch: &mut Scratch) -> Result<(), Reason> {
    parse::parse(frame, &mut scratch.packet)
}

/// Route tables and network ACLs.
#[inline(never)]
fn find_way<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.way = route::from_eni(tables, scratch);
    scratch.target_eni = scratch.journey.eni;
    acl::judge(tables, scratch)?;
    scratch.way
}

/// The receiver's gate, the allowances, and the frame as it goes on. Nothing but the local route, a peering
/// connection and routes to an ENI lead to a target.
#[inline(never)]
fn judge<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let is_translated = scratch.journey.is_translated(&scratch.packet);
    if scratch.journey.is_to_outside || is_translated || scratch.journey.needs_port {
        return Err(Reason::NoEndpoint);
    }
    act::meet_ends(tables, scratch);
    let target = tables.eni(scratch.journey.eni).ok_or(Reason::Incomplete)?;
    let member = if scratch.journey.is_member {
        tables.eni(scratch.source_eni)
    } else {
        None
    };
    let is_captured = target.flags & EniRecord::CAPTURED != 0;
    let _ = gate::judge(tables, Direction::Ingress, target, member, scratch)?;
    if scratch.is_metered {
        allowance::judge(tables, scratch)?;
    }
    scratch.course = Course::Inside;
    scratch.ifindex = scratch.journey.ifindex;
    if is_captured {
        scratch.ifindex |= crate::copy::WATCHED;
    }
    act::rewrite(frame, &scratch.packet, scratch.journey.hop.leaves)
}

/// Cuts what is longer than the session wants, or than a packet can be, and says so in the new headers.
#[inline(always)]
fn cut<F: Frame>(frame: &mut F, packet_length: u32) -> Result<(), Reason> {
    let wanted = WRAPPING.saturating_add(packet_length);
    let most = if packet_length == 0 || wanted > MTU {
        MTU
    } else {
        wanted
    };
    let length = frame.len().saturating_sub(at::IP as u32);
    if length <= most {
        return Ok(());
    }
    let old = frame.load::<4>(at::IP as u32).ok_or(Reason::Malformed)?.0;
    if !frame.cut(most + at::IP as u32) {
        return Err(Reason::Rewrite);
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most the MTU")]
    let [ip, udp] = [most as u16, most as u16 - 20].map(u16::to_be_bytes);
    let new = [old[0], old[1], ip[0], ip[1]];
    let is_written = frame.store(at::IP_LENGTH as u32, &ip)
        && frame.update_ip_checksum(at::IP_CHECKSUM as u32, old, new)
        && frame.store(at::UDP_LENGTH as u32, &udp);
    if is_written {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::CounterKey;
    use crate::frame::Bytes;
    use crate::ledger::{A, B, C, Change, D, Gate, World, addr, device, mac, packet, query, reply};
    use crate::packet_builder::{Cut, PacketBuilder, Transport};
    use crate::table::{Endpoint, EndpointKey};

    const ANY: MirrorRule = MirrorRule {
        source: Addr::v4([0; 4]),
        source_mask: Addr::v6([
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
        ]),
        target: Addr::v4([0; 4]),
        target_mask: Addr::v6([
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
        ]),
        source_ports: [0; 2],
        target_ports: [0; 2],
        protocol: 0,
        flags: MirrorRule::ACCEPT | MirrorRule::ANY_PROTOCOL,
        pad: 0,
    };

    /// A filter with these rules in both directions.
    fn filter(rules: &[MirrorRule]) -> MirrorFilter {
        let mut filter = MirrorFilter::default();
        filter.egress[..rules.len()].copy_from_slice(rules);
        filter.ingress = filter.egress;
        filter.egress_count = u16::try_from(rules.len()).expect("a few rules");
        filter.ingress_count = filter.egress_count;
        filter
    }

    /// A world that is open to everybody. A has sessions with these filters and the VNIs 100, 101, …, to D.
    fn world(filters: &[MirrorFilter]) -> World {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        mirror(&mut world, A, D, filters);
        world
    }

    fn mirror(world: &mut World, eni: u64, target: u64, filters: &[MirrorFilter]) {
        let mut record = MirrorRecord {
            source: addr(eni).v4_octets(),
            ..MirrorRecord::default()
        };
        for (id, filter) in (0..).zip(filters) {
            let key = 10 * eni + u64::from(record.count);
            world.memory.tables.mirror_filters.insert(key, *filter);
            record.sessions[record.count as usize] = MirrorSession {
                filter: key,
                vni: 100 + id,
                packet_length: 0,
                target: addr(target).v4_octets(),
                pad: 0,
            };
            record.count += 1;
        }
        world.memory.tables.mirrors.insert(eni, record);
        world.change_eni(eni, |eni| eni.flags |= EniRecord::MIRRORED);
    }

    /// The VXLAN packets that the copies so far become, between the two programs.
    fn wrapped(world: &World) -> Vec<Vec<u8>> {
        let copies = world.memory.take_copies().into_iter();
        let wrapped = copies.filter_map(|(note, mut bytes)| {
            let mut scratch = Wrapping::new();
            let frame = Bytes::new(&mut bytes);
            let headers = headers(&world.memory, &frame, &note, &mut scratch)?;
            let mut frame = headers.to_vec();
            frame.extend(&bytes[14..]);
            Some(frame)
        });
        wrapped.collect()
    }

    /// What becomes of one of these.
    fn delivered(world: &World, frame: &mut Vec<u8>) -> Verdict {
        let mut scratch = Scratch::new();
        let mut bytes = Bytes::new(frame);
        let verdict = mirrored(&world.memory, &mut bytes, world.now_ns, &mut scratch);
        let length = bytes.len() as usize;
        frame.truncate(length);
        verdict
    }

    fn vni_of(frame: &[u8]) -> u32 {
        u32::from_be_bytes([0, frame[46], frame[47], frame[48]])
    }

    /// A sends a query to B, which B gets.
    fn ask(world: &World) {
        let _ = world.send(
            A,
            &mut packet(A, B, query()).frame(),
            &Change::opened(2, 28),
        );
    }

    #[test]
    fn a_copy_arrives_as_the_packet_was_sent() {
        let world = world(&[filter(&[ANY])]);
        ask(&world);
        let [mut frame] = wrapped(&world).try_into().expect("one copy");
        let to_d = Verdict::Forward { ifindex: device(D) };
        assert_eq!(delivered(&world, &mut frame), to_d);
        assert_eq!(frame[..6], mac(D).0);
        assert_eq!(frame[64 - 14..], packet(A, B, query()).frame());
        // The outer packet is whole: its headers agree with its length, and the checksum is right.
        let length = u16::try_from(frame.len() - 14).expect("short");
        assert_eq!(frame[16..18], length.to_be_bytes());
        assert_eq!(frame[38..40], (length - 20).to_be_bytes());
        assert_eq!(frame[26..30], [10, 0, 0, 10]);
        assert_eq!(frame[30..34], [10, 0, 1, 30]);
        assert_eq!(frame[36..38], PORT.to_be_bytes());
        assert_eq!(frame[42..50], [8, 0, 0, 0, 0, 0, 100, 0]);
        let header: &[u8; 20] = frame[14..34].first_chunk().expect("a header");
        assert_eq!(checksum(header), [0; 2]);
        // It made no flow, and is counted.
        assert_eq!(world.memory.flows().len(), 2);
        let counted = |eni, what| {
            let key = CounterKey { eni, what, pad: 0 };
            world.memory.counters().get(&key).copied()
        };
        assert_eq!(counted(A, counter::MIRRORED_PACKETS), Some(1));
        assert_eq!(counted(D, counter::PACKETS_IN), Some(1));
        // Nor is it copied itself.
        assert_eq!(world.memory.take_copies(), []);
    }

    #[test]
    fn both_directions_are_copied_on_known_flows_as_well() {
        let world = world(&[filter(&[ANY])]);
        ask(&world);
        assert_eq!(wrapped(&world).len(), 1);
        let mut answer = packet(B, A, reply()).frame();
        let verdict = world.send(B, &mut answer, &Change::carried(28));
        let ifindex = device(A) | crate::copy::WATCHED;
        assert_eq!(verdict, Verdict::Forward { ifindex });
        // The index says so, and the program that hands it over copies it.
        assert_eq!(world.memory.take_copies(), []);
        let mut scratch = Scratch::new();
        let mut bytes = Bytes::new(&mut answer);
        crate::copy::received(&world.memory, &mut bytes, device(A), 0, &mut scratch);
        let [frame] = wrapped(&world).try_into().expect("one copy");
        assert_eq!(frame[50..], answer);
        let _ = world.send(A, &mut packet(A, B, query()).frame(), &Change::carried(28));
        assert_eq!(wrapped(&world).len(), 1);
        // B is not mirrored: what it sends to D is nobody's business.
        world.passes(B, D, query(), 2);
        assert_eq!(world.memory.take_copies(), []);
    }

    #[test]
    fn a_session_on_a_known_flow_begins_and_ends_at_once() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        let carry = |world: &World| {
            let frame = &mut packet(A, B, query()).frame();
            let _ = world.send(A, frame, &Change::carried(28));
            wrapped(world)
        };
        ask(&world);
        assert_eq!(world.memory.take_copies(), []);
        mirror(&mut world, A, D, &[filter(&[ANY])]);
        let mut late = carry(&world);
        assert_eq!(late.len(), 1);
        world.change_eni(A, |eni| eni.flags &= !EniRecord::MIRRORED);
        world.memory.tables.mirrors.clear();
        assert_eq!(carry(&world), Vec::<Vec<u8>>::new());
        // What is on its way does not arrive either.
        let dropped = Verdict::Drop(Reason::Incomplete);
        assert_eq!(delivered(&world, &mut late[0]), dropped);
    }

    #[test]
    fn the_first_session_whose_filter_accepts_takes_the_copy() {
        let reject = MirrorRule {
            flags: MirrorRule::ANY_PROTOCOL,
            ..ANY
        };
        let tcp = MirrorRule {
            flags: MirrorRule::ACCEPT,
            protocol: protocol::TCP,
            ..ANY
        };
        let filters = [filter(&[reject, ANY]), filter(&[tcp]), filter(&[ANY])];
        let world = world(&filters);
        ask(&world);
        let vnis = |frames: Vec<Vec<u8>>| -> Vec<u32> {
            frames.iter().map(|frame| vni_of(frame)).collect()
        };
        assert_eq!(vnis(wrapped(&world)), [102]);
        world.passes(A, B, Transport::syn(1, 2), 2);
        assert_eq!(vnis(wrapped(&world)), [101]);
        let world = self::world(&filters[..1]);
        ask(&world);
        assert_eq!(vnis(wrapped(&world)), []);
    }

    #[test]
    fn rules_match_networks_protocols_and_ports() {
        let b_alone = MirrorRule {
            target: addr(B),
            target_mask: Addr::v6([0xff; 16]),
            ..ANY
        };
        let from_1000 = MirrorRule {
            source_ports: [1000, 1000],
            flags: ANY.flags | MirrorRule::SOURCE_PORTS,
            ..ANY
        };
        let to_dns = MirrorRule {
            target_ports: [53, 60],
            flags: ANY.flags | MirrorRule::TARGET_PORTS,
            ..ANY
        };
        let ipv6 = MirrorRule {
            source_mask: Addr::UNSPECIFIED,
            target_mask: Addr::UNSPECIFIED,
            source: Addr::UNSPECIFIED,
            target: Addr::UNSPECIFIED,
            flags: ANY.flags | MirrorRule::IPV6,
            ..ANY
        };
        let udp = |from, to| Transport::Udp { from, to };
        let to = |target: Addr, transport| {
            let mut parsed = Packet::default();
            let source = if target.is_v4() { addr(A) } else { V6 };
            let mut bytes = PacketBuilder::new(source, target, transport).frame();
            parse::parse(&Bytes::new(&mut bytes), &mut parsed).expect("a packet");
            parsed
        };
        const V6: Addr = Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        for (rule, target, transport, expected) in [
            (b_alone, addr(B), udp(1, 2), true),
            (b_alone, addr(D), udp(1, 2), false),
            (from_1000, addr(B), udp(1000, 2), true),
            (from_1000, addr(B), udp(2, 1000), false),
            (to_dns, addr(B), udp(1, 53), true),
            (to_dns, addr(B), Transport::syn(1, 60), true),
            (to_dns, addr(B), udp(1, 61), false),
            (to_dns, addr(B), Transport::echo(53), false),
            (ANY, addr(B), Transport::echo(53), true),
            (ANY, V6, udp(1, 2), false),
            (ipv6, V6, udp(1, 2), true),
            (ipv6, addr(B), udp(1, 2), false),
        ] {
            let packet = to(target, transport);
            assert_eq!(rule.matches(&packet), expected, "{rule:?} {packet:?}");
        }
        // A later fragment has no ports.
        let mut later = packet(A, B, udp(1, 53));
        later.cut = Some(Cut {
            id: 7,
            offset: 10,
            more: false,
        });
        let mut parsed = Packet::default();
        parse::parse(&Bytes::new(&mut later.frame()), &mut parsed).expect("a packet");
        assert!(ANY.matches(&parsed) && !to_dns.matches(&parsed));
    }

    #[test]
    fn what_the_senders_own_gate_drops_is_not_copied_and_what_others_drop_is() {
        let mut world = world(&[filter(&[ANY])]);
        world.policy(B, Gate::Everybody, Gate::Closed);
        world.drops(A, B, query(), Reason::IngressRule);
        assert_eq!(wrapped(&world).len(), 1);
        world.policy(A, Gate::Closed, Gate::Closed);
        world.drops(A, D, query(), Reason::EgressRule);
        // What its gate keeps from A is not copied either.
        world.drops(B, A, query(), Reason::IngressRule);
        assert_eq!(wrapped(&world), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn the_targets_gate_judges_the_copy_and_the_sources_does_not() {
        let mut world = world(&[filter(&[ANY])]);
        world.policy(A, Gate::Neighbours, Gate::Everybody);
        ask(&world);
        let mut frames = wrapped(&world);
        world.policy(A, Gate::Closed, Gate::Everybody);
        let to_d = Verdict::Forward { ifindex: device(D) };
        assert_eq!(delivered(&world, &mut frames[0].clone()), to_d);
        world.policy(D, Gate::Everybody, Gate::Closed);
        let dropped = Verdict::Drop(Reason::IngressRule);
        assert_eq!(delivered(&world, &mut frames[0]), dropped);
        assert_eq!(world.memory.dropped_for(Reason::IngressRule), 1);
        assert_eq!(world.memory.drops().len(), 0);
    }

    #[test]
    fn a_target_without_a_way_gets_nothing() {
        let mut world = world(&[filter(&[ANY])]);
        ask(&world);
        let mut frames = wrapped(&world);
        let key = EndpointKey {
            vpc: 1,
            addr: addr(D),
        };
        world.memory.tables.endpoints.remove(&key);
        let dropped = Verdict::Drop(Reason::NoEndpoint);
        assert_eq!(delivered(&world, &mut frames[0].clone()), dropped);
        world
            .memory
            .tables
            .endpoints
            .insert(key, Endpoint { eni: D });
        world.change_eni(D, |eni| eni.ifindex = 0);
        let dropped = Verdict::Drop(Reason::TargetDown);
        assert_eq!(delivered(&world, &mut frames[0]), dropped);
    }

    #[test]
    fn a_copy_is_cut_to_what_the_session_wants_and_to_what_fits() {
        let mut world = world(&[filter(&[ANY])]);
        let mut big = packet(A, B, query());
        big.payload = 8_980;
        let _ = world.send(A, &mut big.frame(), &Change::opened(2, 9_008));
        let mut whole = wrapped(&world).remove(0);
        let _ = delivered(&world, &mut whole);
        assert_eq!(whole.len(), 9_001 + 14);
        assert_eq!(whole[16..18], 9_001_u16.to_be_bytes());
        assert_eq!(whole[50..], big.frame()[..9_001 - 36]);
        let record = world.memory.tables.mirrors.get_mut(&A);
        record.expect("A is mirrored").sessions[0].packet_length = 60;
        let _ = world.send(A, &mut big.frame(), &Change::carried(9_008));
        let mut short = wrapped(&world).remove(0);
        let _ = delivered(&world, &mut short);
        assert_eq!(short[50..], big.frame()[..60]);
        assert_eq!(short[38..40], (16_u16 + 60).to_be_bytes());
        let header: &[u8; 20] = short[14..34].first_chunk().expect("a header");
        assert_eq!(checksum(header), [0; 2]);
    }

    #[test]
    fn two_ends_that_are_mirrored_make_two_copies_and_no_more() {
        let mut world = world(&[filter(&[ANY])]);
        mirror(&mut world, B, D, &[filter(&[ANY])]);
        ask(&world);
        // A's; B's is made when the packet is handed over.
        assert_eq!(wrapped(&world).len(), 1);
        // Even the target, should it be a source as well.
        mirror(&mut world, D, A, &[filter(&[ANY])]);
        let _ = world.send(A, &mut packet(A, B, query()).frame(), &Change::carried(28));
        let mut frames = wrapped(&world);
        let to_d = Verdict::Forward { ifindex: device(D) };
        assert_eq!(delivered(&world, &mut frames[0]), to_d);
    }

    #[test]
    fn a_stranger_in_another_vpc_is_not_reached() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        mirror(&mut world, A, C, &[filter(&[ANY])]);
        ask(&world);
        // B has the same address in A's own VPC, and gets it.
        let mut frame = wrapped(&world).remove(0);
        let to_b = Verdict::Forward { ifindex: device(B) };
        assert_eq!(delivered(&world, &mut frame), to_b);
        assert_eq!(frame[..6], mac(B).0);
    }

    #[test]
    fn errors_about_copies_are_not_copied_and_others_are() {
        let world = world(&[filter(&[ANY])]);
        ask(&world);
        let copy = wrapped(&world).remove(0);
        let note = Note {
            eni: A,
            kind: kind::INGRESS,
            ..Note::NONE
        };
        let is_copied = |quoted: &[u8]| {
            let transport = Transport::Icmp {
                kind: 3,
                code: 3,
                rest: [0; 4],
                body: quoted.to_vec(),
            };
            let mut error = packet(D, A, transport).frame();
            let frame = Bytes::new(&mut error);
            headers(&world.memory, &frame, &note, &mut Wrapping::new()).is_some()
        };
        assert!(!is_copied(&copy[14..]));
        assert!(is_copied(&packet(A, D, query()).packet()));
    }

    #[test]
    fn flows_have_ports_of_their_own() {
        let port = |transport| {
            let mut bytes = packet(A, B, transport).frame();
            let mut parsed = Packet::default();
            parse::parse(&Bytes::new(&mut bytes), &mut parsed).expect("a packet");
            hash(&parsed)
        };
        let udp = |from| port(Transport::Udp { from, to: 53 });
        assert_eq!(udp(1000), udp(1000));
        assert!(udp(1000) >= 0xc000);
        let ports: std::collections::BTreeSet<u16> = (1000..1100).map(udp).collect();
        assert!(ports.len() > 90);
    }
}
