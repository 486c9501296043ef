//! Writes `fuzz/corpus/packet`: conversations in the network of `src/network.rs`, and frames that
//! have gone wrong in ways that parsers have fallen for.
//!
//! `cargo run -p enid-fuzz --example packet_corpus`

use std::fs;
use std::path::Path;

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::packet_builder::{
    Cut, PacketBuilder, Transport, arp_request, neighbour_solicitation,
};

/// The router of the subnet with this third octet.
const fn router(octet: u8) -> Mac {
    Mac([2, 0xff, 0, 0, 0, octet])
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Device number, address and MAC of the interfaces with devices.
const A: (u8, [u8; 4], Mac) = (0, [10, 0, 0, 10], Mac([2, 0, 0, 0, 0, 10]));
const B: (u8, [u8; 4], Mac) = (1, [10, 0, 0, 11], Mac([2, 0, 0, 0, 0, 11]));
const C: (u8, [u8; 4], Mac) = (2, [10, 0, 1, 10], Mac([2, 0, 0, 0, 0, 12]));
const E: (u8, [u8; 4], Mac) = (4, [10, 0, 0, 10], Mac([2, 0, 0, 0, 0, 14]));
const F: (u8, [u8; 4], Mac) = (5, [10, 0, 0, 11], Mac([2, 0, 0, 0, 0, 15]));
type Eni = (u8, [u8; 4], Mac);

fn tcp(from: u16, to: u16, flags: u8) -> Transport {
    Transport::Tcp { from, to, flags }
}

fn udp(from: u16, to: u16) -> Transport {
    Transport::Udp { from, to }
}

/// From an interface to an address, over the router.
fn to(from: Eni, target: [u8; 4], transport: Transport) -> PacketBuilder {
    let packet = PacketBuilder::new(Addr::v4(from.1), Addr::v4(target), transport);
    packet.macs(from.2, router(from.1[2]))
}

/// Between neighbours.
fn near(from: Eni, target: Eni, transport: Transport) -> PacketBuilder {
    to(from, target.1, transport).macs(from.2, target.2)
}

/// The same over IPv6: the interfaces have `fd00::a` and so on.
fn v6(from: Eni, target: Eni, transport: Transport) -> PacketBuilder {
    let addr = |eni: Eni| {
        let mut octets = [0; 16];
        (octets[0], octets[15]) = (0xfd, eni.2.0[5]);
        Addr::v6(octets)
    };
    PacketBuilder::new(addr(from), addr(target), transport).macs(from.2, router(from.1[2]))
}

/// Frames as the target reads them, a microsecond apart.
#[derive(Default)]
struct Input(Vec<u8>);

impl Input {
    fn raw(self, device: u8, frame: &[u8]) -> Self {
        self.after(10, device, frame)
    }

    fn after(mut self, pause: u8, device: u8, frame: &[u8]) -> Self {
        let length = u16::try_from(frame.len()).expect("a frame is short");
        self.0.extend([device, pause]);
        self.0.extend(length.to_be_bytes());
        self.0.extend(frame);
        self
    }

    fn sent(self, from: Eni, packet: &PacketBuilder) -> Self {
        self.raw(from.0, &packet.frame())
    }
}

/// Beyond VPC 2: who is outside, and the public addresses of E and of the NAT gateway.
const X: [u8; 4] = [192, 0, 2, 9];
const X_BY_NAT: [u8; 4] = [203, 0, 113, 9];
const E_PUBLIC: [u8; 4] = [198, 18, 0, 10];
const NAT_PUBLIC: [u8; 4] = [198, 18, 0, 50];
/// The device number that stands for the outside.
const OUTSIDE: u8 = 128;

/// A frame from outside.
fn from_x(source: [u8; 4], target: [u8; 4], transport: Transport) -> Vec<u8> {
    let packet = PacketBuilder::new(Addr::v4(source), Addr::v4(target), transport);
    let (far, near) = (Mac([2, 0xee, 0, 0, 0, 1]), Mac([2, 0xee, 0, 0, 0, 2]));
    packet.macs(far, near).frame()
}

/// With a payload that makes it as long, from the IP header on.
fn long(packet: PacketBuilder, length: usize) -> PacketBuilder {
    let payload = length - packet.packet().len();
    PacketBuilder { payload, ..packet }
}

fn beyond() -> Vec<(&'static str, Input)> {
    let asks = to(E, X, udp(40_000, 53));
    let seen = PacketBuilder::new(Addr::v4(E_PUBLIC), Addr::v4(X), udp(40_000, 53));
    let error = from_x(X, E_PUBLIC, Transport::unreachable(&seen));
    let by_nat = |transport| to(F, X_BY_NAT, transport);
    let sender = v6(A, B, udp(1, 2)).source;
    let neighbour = v6(A, B, udp(1, 2)).target;
    vec![
        (
            "public-address",
            Input::default()
                .sent(E, &asks)
                .raw(OUTSIDE, &from_x(X, E_PUBLIC, udp(53, 40_000)))
                .raw(OUTSIDE, &error)
                .raw(OUTSIDE, &from_x(X, E_PUBLIC, tcp(9, 80, SYN)))
                .sent(E, &to(E, X, tcp(80, 9, SYN | ACK))),
        ),
        (
            "hairpin",
            Input::default()
                .sent(F, &to(F, E_PUBLIC, udp(1, 2)))
                .sent(E, &to(E, E_PUBLIC, udp(1, 2)))
                .sent(E, &to(E, E_PUBLIC, udp(5, 5))),
        ),
        (
            "nat",
            Input::default()
                .sent(F, &by_nat(tcp(40_000, 80, SYN)))
                .sent(F, &by_nat(tcp(40_000, 80, ACK)))
                .sent(F, &by_nat(Transport::echo(9)))
                .sent(F, &by_nat(tcp(40_000, 25, SYN)))
                .sent(F, &by_nat(Transport::Other(47)))
                .raw(OUTSIDE, &from_x(X_BY_NAT, NAT_PUBLIC, tcp(80, 40_000, ACK))),
        ),
        (
            "told",
            Input::default()
                .sent(F, &by_nat(tcp(40_001, 80, ACK)))
                .sent(F, &by_nat(tcp(40_001, 80, 1)))
                .sent(F, &long(by_nat(udp(40_001, 53)), 1501))
                .sent(F, &long(by_nat(udp(40_001, 53)), 9001))
                .sent(F, &long(by_nat(udp(40_001, 53)), 1500))
                .sent(E, &long(to(E, X, udp(40_001, 53)), 1501))
                .sent(E, &long(to(E, X, udp(40_001, 53)), 1500)),
        ),
        (
            "neighbour",
            Input::default()
                .sent(A, &neighbour_solicitation(A.2, sender, neighbour))
                .sent(A, &neighbour_solicitation(A.2, Addr::UNSPECIFIED, sender)),
        ),
    ]
}

/// One frame, with some of its bytes overwritten.
fn bent(from: Eni, packet: &PacketBuilder, changes: &[(usize, u8)]) -> Input {
    let mut frame = packet.frame();
    for (at, byte) in changes {
        frame[*at] = *byte;
    }
    Input::default().raw(from.0, &frame)
}

/// An IPv6 packet whose transport header lies behind these extension headers.
fn extended(packet: &PacketBuilder, first: u8, extensions: &[u8]) -> Input {
    let mut frame = packet.frame();
    let next = frame[20];
    frame[20] = first;
    let mut extensions = extensions.to_vec();
    // The last one names what follows.
    let last = extensions.len() - 8;
    extensions[last] = next;
    let payload = u16::from_be_bytes([frame[18], frame[19]]);
    let payload = payload + u16::try_from(extensions.len()).expect("they are short");
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    frame.splice(54..54, extensions);
    Input::default().raw(A.0, &frame)
}

fn conversations() -> Vec<(&'static str, Input)> {
    let syn = near(B, A, tcp(40_000, 80, SYN));
    let query = near(A, B, udp(40_000, 53));
    let cut = |offset, more| {
        Some(Cut {
            id: 7,
            offset,
            more,
        })
    };
    let mut first = query.clone();
    (first.cut, first.payload) = (cut(0, true), 64);
    let mut later = query.clone();
    (later.cut, later.payload) = (cut(9, false), 64);
    let ping = to(C, A.1, Transport::echo(9));
    vec![
        (
            "tcp",
            Input::default()
                .sent(B, &syn)
                .sent(A, &near(A, B, tcp(80, 40_000, SYN | ACK)))
                .sent(B, &near(B, A, tcp(40_000, 80, ACK)))
                .sent(A, &near(A, B, tcp(80, 40_000, ACK | 1)))
                .sent(B, &near(B, A, tcp(40_000, 80, ACK | 1)))
                .sent(B, &syn),
        ),
        (
            "udp-by-group",
            Input::default()
                .sent(A, &query)
                .sent(B, &near(B, A, udp(53, 40_000)))
                .sent(B, &near(B, A, udp(54, 40_000))),
        ),
        (
            "udp-ends",
            Input::default()
                .sent(A, &query)
                .after(39, 1, &near(B, A, udp(53, 40_000)).frame())
                .after(39, 1, &near(B, A, udp(53, 40_000)).frame()),
        ),
        (
            "ping",
            Input::default()
                .sent(C, &ping)
                .sent(A, &to(A, C.1, Transport::echo_reply(9)))
                .sent(A, &to(A, C.1, Transport::echo_reply(8))),
        ),
        (
            "unreachable",
            Input::default()
                .sent(A, &query)
                .sent(B, &near(B, A, Transport::unreachable(&query)))
                .sent(C, &to(C, A.1, Transport::unreachable(&query)))
                .sent(B, &near(B, A, Transport::unreachable(&syn))),
        ),
        (
            "fragments",
            Input::default()
                .sent(A, &later)
                .sent(A, &first)
                .sent(A, &later),
        ),
        (
            "arp",
            Input::default()
                .raw(0, &arp_request(A.2, Addr::v4(A.1), Addr::v4([10, 0, 0, 1])))
                .raw(0, &arp_request(A.2, Addr::v4(A.1), Addr::v4(B.1)))
                .raw(
                    0,
                    &arp_request(A.2, Addr::v4(A.1), Addr::v4([10, 0, 0, 99])),
                ),
        ),
        (
            "overlapping-vpc",
            Input::default()
                .sent(E, &near(E, F, udp(1, 2)))
                .sent(F, &near(F, E, udp(2, 1)))
                .sent(E, &to(E, C.1, udp(1, 2))),
        ),
        (
            "v6",
            Input::default()
                .sent(B, &v6(B, A, tcp(40_000, 80, SYN)))
                .sent(A, &v6(A, B, tcp(80, 40_000, SYN | ACK)))
                .sent(B, &v6(B, A, Transport::Other(47))),
        ),
        (
            "other-protocol",
            Input::default().sent(E, &near(E, F, Transport::Other(47))),
        ),
        (
            "refused",
            Input::default()
                .sent(A, &near(A, B, tcp(1, 23, SYN)))
                .sent(A, &to(A, [10, 0, 0, 1], Transport::echo(1)))
                .sent(A, &to(A, [10, 0, 0, 13], tcp(1, 80, SYN)))
                .sent(A, &to(A, [10, 0, 0, 99], tcp(1, 80, SYN)))
                .sent(A, &to(A, [8, 8, 8, 8], tcp(1, 80, SYN)))
                .sent(A, &to(A, [224, 0, 0, 1], udp(1, 2)))
                .sent(A, &to(A, [169, 254, 169, 254], tcp(1, 80, SYN)))
                .sent(A, &to(A, A.1, udp(1, 2)))
                .sent(
                    A,
                    &to((0, C.1, A.2), B.1, tcp(1, 22, SYN)).macs(A.2, router(0)),
                )
                .sent(A, &to(A, B.1, tcp(1, 22, SYN)).macs(B.2, router(0)))
                .sent(A, &to(A, B.1, tcp(1, 22, SYN)).macs(A.2, C.2))
                .sent(A, &near(A, C, tcp(1, 22, SYN)))
                .raw(7, &near(A, B, tcp(1, 22, SYN)).frame()),
        ),
        (
            "spoofed-without-check",
            Input::default().sent(C, &to((2, [10, 9, 1, 9], C.2), A.1, tcp(1, 80, SYN))),
        ),
    ]
}

fn nasty() -> Vec<(&'static str, Input)> {
    let web = near(B, A, tcp(40_000, 80, SYN));
    let query = near(A, B, udp(40_000, 53));
    let six = v6(A, B, tcp(40_000, 22, SYN));
    let quote = near(B, A, Transport::unreachable(&query));
    let whole = web.frame();
    vec![
        ("empty-frame", Input::default().raw(0, &[])),
        ("ethernet-alone", Input::default().raw(1, &whole[..14])),
        ("tcp-cut-short", Input::default().raw(1, &whole[..50])),
        ("ether-type", bent(B, &web, &[(12, 0x88), (13, 0xcc)])),
        ("vlan", bent(B, &web, &[(12, 0x81), (13, 0x00)])),
        ("header-too-short", bent(B, &web, &[(14, 0x44)])),
        ("header-with-options", bent(B, &web, &[(14, 0x4f)])),
        ("version-6-in-4", bent(B, &web, &[(14, 0x65)])),
        ("total-length-zero", bent(B, &web, &[(16, 0), (17, 0)])),
        (
            "total-length-too-long",
            bent(B, &web, &[(16, 0xff), (17, 0xff)]),
        ),
        ("total-length-hides-ports", bent(B, &web, &[(17, 22)])),
        ("data-offset-too-long", bent(B, &web, &[(46, 0xf0)])),
        ("data-offset-too-short", bent(B, &web, &[(46, 0x10)])),
        (
            "fragment-of-nothing",
            bent(A, &query, &[(20, 0x00), (21, 0x01)]),
        ),
        (
            "fragment-tiny-first",
            bent(A, &query, &[(20, 0x20), (17, 24)]),
        ),
        ("protocol-says-icmp", bent(A, &query, &[(23, 1)])),
        ("quote-cut-short", bent(B, &quote, &[(17, 40)])),
        ("quote-with-long-header", bent(B, &quote, &[(42, 0x4f)])),
        (
            "quote-of-fragment",
            bent(B, &quote, &[(48, 0x1f), (49, 0xff)]),
        ),
        (
            "v6-payload-too-long",
            bent(A, &six, &[(18, 0xff), (19, 0xff)]),
        ),
        (
            "v6-mapped-v4",
            bent(A, &six, &[(22, 0), (32, 0xff), (33, 0xff)]),
        ),
        (
            "v6-extension-runs-out",
            bent(A, &six, &[(20, 0), (55, 0xff)]),
        ),
        (
            "v6-hop-by-hop",
            extended(&six, 0, &[0, 0, 1, 4, 0, 0, 0, 0]),
        ),
        (
            "v6-two-extensions",
            extended(&six, 0, &[60, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0]),
        ),
        (
            "v6-atomic-fragment",
            extended(&six, 44, &[0, 0, 0, 0, 0, 0, 0, 1]),
        ),
        (
            "v6-first-fragment",
            extended(&six, 44, &[0, 0, 0, 1, 0, 0, 0, 1]),
        ),
        (
            "v6-later-fragment",
            extended(&six, 44, &[0, 0, 1, 0, 0, 0, 0, 1]),
        ),
    ]
}

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/packet");
    fs::create_dir_all(&directory).expect("the directory can be made");
    for (name, input) in conversations().into_iter().chain(beyond()).chain(nasty()) {
        fs::write(directory.join(name), input.0).expect("the file can be written");
    }
}
