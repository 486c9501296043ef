//! Any frames through the pipeline, held against an independent reader of packets.
//!
//! The input is a list of frames: number of the device (128 and above is the outside), pause, length (two bytes), and the frame. The
//! pause is a power of two of nanoseconds, so that flows also end.

use enid_pipeline::bytes::{Addr, Be16, Mac};
use enid_pipeline::explain::{Probe, explain};
use enid_pipeline::flow::FlowKey;
use enid_pipeline::frame::{Bytes, Frame as _};
use enid_pipeline::memory::Memory;
use enid_pipeline::table::{EndpointKey, EniRecord, protocol};
use enid_pipeline::{Reason, Scratch, Tables as _, Verdict, egress, outside};
use etherparse::{Ipv6ExtensionSlice, LinkSlice, NetSlice, SlicedPacket, TransportSlice};

use crate::network::{self, FIRST_DEVICE};

/// More frames than this show nothing new.
const FRAMES_MAX: usize = 64;
/// As many IPv6 extension headers as the pipeline reads.
const EXTENSIONS_MAX: usize = 4;

/// What must hold of each frame: see [`check_forward`] and [`check_drop`].
pub fn packet(data: &[u8]) {
    verdicts(data);
}

/// The same, and what became of each frame.
pub fn verdicts(data: &[u8]) -> Vec<Verdict> {
    let mut memory = Memory::new(network::tables());
    memory.outside = network::OUTSIDE;
    let mut verdicts = Vec::new();
    let mut now_ns = 1_000_000_000;
    let mut scratch = Scratch::new();
    let mut rest = data;
    while let Some(([device, pause, high, low], body)) = rest.split_first_chunk()
        && verdicts.len() < FRAMES_MAX
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(body.len());
        let (before, behind) = body.split_at(length);
        rest = behind;
        now_ns += 1 << (pause % 40);
        let is_from_outside = *device >= 128;
        let ifindex = if is_from_outside {
            network::OUTSIDE.ifindex
        } else {
            FIRST_DEVICE + u32::from(device % 8)
        };
        let mut frame = before.to_vec();
        let had_flow = Seen::read(before).map(|seen| memory.flow(&seen.key(ifindex)).is_some());
        let judge = if is_from_outside { outside } else { egress };
        let bytes = &mut Bytes::new(&mut frame);
        let verdict = judge(&memory, bytes, ifindex, now_ns, &mut scratch);
        let length = usize::try_from(bytes.len()).unwrap_or(0);
        assert_eq!(frame.len(), before.len(), "the frame has another length");
        match verdict {
            Verdict::Forward { .. } | Verdict::Outside { .. }
                if frame[12..] != before[12..] || is_from_outside =>
            {
                check_translated(before, &frame);
            }
            Verdict::Again { .. } => panic!("there is no load balancer"),
            Verdict::Outside { .. } => panic!("a private address is outside"),
            Verdict::Forward { ifindex: target } => {
                let had_flow = had_flow.unwrap_or(false);
                check_forward(&memory, ifindex, target, &frame, had_flow);
            }
            Verdict::Reply if length < before.len() || frame[12..14] == [8, 0] => {
                check_told(before, &frame[..length]);
            }
            Verdict::Reply if frame[12..14] == [0x86, 0xdd] => check_advertisement(before, &frame),
            Verdict::Reply => check_reply(before, &frame),
            Verdict::Drop(reason) => {
                assert_eq!(frame, before, "a frame that was dropped was changed");
                if !is_from_outside {
                    check_drop(&memory, ifindex, before, reason);
                }
            }
            Verdict::Punt { .. } => assert_eq!(frame, before, "a question was changed"),
        }
        verdicts.push(verdict);
    }
    verdicts
}

/// A packet as the independent reader sees it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    source: Addr,
    target: Addr,
    protocol: u8,
    source_port: u16,
    target_port: u16,
}

impl Seen {
    /// `None` if the frame is no whole TCP, UDP or ICMP packet, or is one that only one of the two
    /// readers looks into.
    fn read(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        if !matches!(sliced.link, Some(LinkSlice::Ethernet2(_))) || !sliced.link_exts.is_empty() {
            return None;
        }
        let (source, target) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) if ip.extensions().auth.is_none() => {
                let header = ip.header();
                (Addr::v4(header.source()), Addr::v4(header.destination()))
            }
            NetSlice::Ipv6(ip) => {
                let mut known = 0;
                for extension in ip.extensions().clone() {
                    if matches!(extension, Ipv6ExtensionSlice::Authentication(_)) {
                        return None;
                    }
                    known += 1;
                }
                if known > EXTENSIONS_MAX {
                    return None;
                }
                let header = ip.header();
                (Addr::v6(header.source()), Addr::v6(header.destination()))
            }
            _ => return None,
        };
        let icmp = |kind: u8, code: u8, id: [u8; 4], has_id: bool| {
            let id = u16::from_be_bytes([id[0], id[1]]);
            let id = if has_id { id } else { 0 };
            (id, u16::from_be_bytes([kind, code]))
        };
        let (protocol, (source_port, target_port)) = match sliced.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => {
                (protocol::TCP, (tcp.source_port(), tcp.destination_port()))
            }
            TransportSlice::Udp(udp) => {
                (protocol::UDP, (udp.source_port(), udp.destination_port()))
            }
            TransportSlice::Icmpv4(message) => {
                let kind = message.type_u8();
                let has_id = matches!(kind, 0 | 8 | 13..=18);
                let ports = icmp(kind, message.code_u8(), message.bytes5to8(), has_id);
                (protocol::ICMP, ports)
            }
            TransportSlice::Icmpv6(message) => {
                let kind = message.type_u8();
                let has_id = matches!(kind, 128 | 129);
                let ports = icmp(kind, message.code_u8(), message.bytes5to8(), has_id);
                (protocol::ICMP_V6, ports)
            }
            TransportSlice::Igmp(_) => return None,
        };
        Some(Self {
            source,
            target,
            protocol,
            source_port,
            target_port,
        })
    }

    fn key(&self, ifindex: u32) -> FlowKey {
        FlowKey {
            ifindex,
            protocol: self.protocol,
            pad: [0; 3],
            source: self.source,
            target: self.target,
            source_port: Be16::new(self.source_port),
            target_port: Be16::new(self.target_port),
        }
    }

    /// Whether it is about another packet.
    fn is_error(&self) -> bool {
        let [kind, _] = self.target_port.to_be_bytes();
        self.protocol == protocol::ICMP && matches!(kind, 3 | 11 | 12)
            || self.protocol == protocol::ICMP_V6 && matches!(kind, 1..=4)
    }
}

/// What is said of the first packet of a flow.
fn is_open(memory: &Memory, key: &FlowKey) -> bool {
    let Some(source_eni) = memory.device(key.ifindex) else {
        return false;
    };
    let word = |port: Be16| u16::from_be_bytes(port.bytes());
    let probe = Probe {
        source_eni,
        source: key.source,
        target: key.target,
        protocol: key.protocol,
        source_port: word(key.source_port),
        target_port: word(key.target_port),
    };
    explain(memory, &probe).verdict.is_ok()
}

/// It goes to the ENI of the sender's VPC that has the address; both gates are open to it, or were
/// to the flow that it answers; and the flow table has the addresses and ports that another reader
/// finds in it.
fn check_forward(memory: &Memory, ifindex: u32, target: u32, frame: &[u8], had_flow: bool) {
    let record = |ifindex| {
        let eni = memory.device(ifindex).expect("a device has an ENI");
        (eni, memory.eni(eni).expect("an ENI has a record"))
    };
    let ((source_eni, source), (target_eni, target_record)) = (record(ifindex), record(target));
    assert_eq!(source.vpc, target_record.vpc, "to another VPC");
    assert_eq!(Mac(first_mac(frame)), target_record.mac);
    let Some(seen) = Seen::read(frame) else {
        return;
    };
    let endpoint = EndpointKey {
        vpc: source.vpc,
        addr: seen.target,
    };
    assert_eq!(memory.endpoint(&endpoint), Some(target_eni), "{seen:?}");
    let key = seen.key(ifindex);
    if seen.is_error() && !is_open(memory, &key) {
        // Of a flow that goes to the sender, or past it if it may stand on the way.
        let is_on_the_way = source.flags & EniRecord::SOURCE_DEST_CHECK == 0;
        let is_about_a_flow = memory.flows().iter().any(|(flow, entry)| {
            flow.ifindex == target
                && flow.source == seen.target
                && (is_on_the_way || entry.target_eni == source_eni)
        });
        assert!(is_about_a_flow, "an error about nothing: {seen:?}");
        return;
    }
    let answers = || {
        let asked = key.reversed(target);
        had_flow && asked.is_some_and(|asked| asked.asks() && is_open(memory, &asked))
    };
    assert!(is_open(memory, &key) || answers(), "{seen:?}");
    if !seen.is_error() {
        assert!(memory.flow(&key).is_some(), "not recorded: {seen:?}");
    }
}

/// A packet that a gate refused is one that the explanation refuses.
fn check_drop(memory: &Memory, ifindex: u32, frame: &[u8], reason: Reason) {
    assert!(memory.dropped_for(reason) > 0, "a drop was not counted");
    if !matches!(reason, Reason::EgressRule | Reason::IngressRule) {
        return;
    }
    if let Some(seen) = Seen::read(frame) {
        let key = seen.key(ifindex);
        assert!(!is_open(memory, &key), "{reason:?} {seen:?}");
        assert!(memory.drops().contains_key(&key), "{seen:?}");
    }
}

/// NAT changes addresses and ports of IPv4 and nothing else, and what was sound stays sound.
fn check_translated(before: &[u8], after: &[u8]) {
    assert_eq!(before[12..14], [8, 0], "only IPv4 is translated");
    assert_eq!(before[14..24], after[14..24]);
    let header = usize::from(before[14] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([before[16], before[17]]));
    let (transport, end) = (14 + header, 14 + total);
    assert_eq!(before[34..transport], after[34..transport], "options");
    assert_eq!(before[end..], after[end..], "what Ethernet pads");
    let is_sound = |frame: &[u8]| sum(&[&frame[14..transport]]) == u16::MAX;
    assert!(
        !is_sound(before) || is_sound(after),
        "the header's checksum"
    );
    let is_cut = u16::from_be_bytes([before[20], before[21]]) & 0x3fff != 0;
    let number = before[23];
    if is_cut || !matches!(number, protocol::ICMP | protocol::TCP | protocol::UDP) {
        return;
    }
    let is_sound = |frame: &[u8]| {
        let body = &frame[transport..end];
        let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
        let pseudo: &[&[u8]] = &[&frame[26..34], &[0, number], &length, body];
        match number {
            protocol::ICMP => sum(&[body]) == u16::MAX,
            protocol::UDP if body[6..8] == [0, 0] => true,
            _ => sum(pseudo) == u16::MAX,
        }
    };
    assert!(
        !is_sound(before) || is_sound(after),
        "the transport checksum"
    );
}

/// The sum of 16-bit words, as RFC 1071 folds it.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// A neighbour advertisement to who asked, with a right checksum.
fn check_advertisement(asked: &[u8], answer: &[u8]) {
    assert_eq!(first_mac(answer), asked[6..12]);
    // To who asked, from the address that was asked for, about that address.
    assert_eq!(answer[38..54], asked[22..38]);
    assert_eq!(answer[22..38], asked[62..78]);
    assert_eq!(answer[62..78], asked[62..78]);
    assert_eq!(answer[54..56], [136, 0]);
    let length = usize::from(u16::from_be_bytes([answer[18], answer[19]]));
    let body = &answer[54..54 + length];
    let parts: &[&[u8]] = &[&answer[22..54], &answer[18..20], &[0, 58], body];
    assert_eq!(sum(parts), u16::MAX);
}

/// What a gateway says to the sender of a packet: a reset, or that it is too long, which quotes it. Sound,
/// and shorter than its cause.
fn check_told(sent: &[u8], told: &[u8]) {
    assert!(told.len() <= sent.len());
    assert_eq!(told[..6], sent[6..12]);
    assert_eq!(told[6..12], sent[..6]);
    assert_eq!(told[12..14], sent[12..14]);
    let seen = Seen::read(told).expect("a gateway speaks clearly");
    let body = |at: usize| &told[at..];
    match seen.protocol {
        protocol::ICMP => {
            assert_eq!(seen.target_port, 0x0304);
            assert_eq!(told[30..34], sent[26..30], "to another than the sender");
            assert_eq!(sum(&[&told[14..34]]), u16::MAX);
            assert_eq!(sum(&[body(34)]), u16::MAX);
            assert_eq!(body(42), &sent[14..14 + 68]);
        }
        protocol::ICMP_V6 => {
            assert_eq!(seen.target_port, 0x0200);
            assert_eq!(told[38..54], sent[22..38], "to another than the sender");
            let parts: &[&[u8]] = &[&told[22..54], &told[18..20], &[0, 58], body(54)];
            assert_eq!(sum(parts), u16::MAX);
            assert_eq!(body(62), &sent[14..14 + 88]);
        }
        protocol::TCP => {
            assert_eq!(told[26..30], sent[30..34]);
            assert_eq!(told[30..34], sent[26..30]);
            assert_eq!(told[47] & 4, 4, "no reset");
            assert_eq!(sum(&[&told[14..34]]), u16::MAX);
            let parts: &[&[u8]] = &[&told[26..34], &[0, 6, 0, 20], body(34)];
            assert_eq!(sum(parts), u16::MAX);
        }
        other => panic!("told by protocol {other}"),
    }
}

/// An ARP answer to who asked.
fn check_reply(asked: &[u8], answer: &[u8]) {
    assert_eq!(asked[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    assert_eq!(answer[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!(first_mac(answer), asked[6..12]);
    // Sender and target change places.
    assert_eq!(answer[32..42], asked[22..32]);
    assert_eq!(answer[28..32], asked[38..42]);
}

fn first_mac(frame: &[u8]) -> [u8; 6] {
    *frame.first_chunk().expect("a frame has MAC addresses")
}
