//! Mirror sessions, through both programs.

use super::wrap::{checksum, hash};
use super::*;
use crate::copy::{Note, kind};
use crate::counter::CounterKey;
use crate::frame::{Bytes, Frame as _};
use crate::ledger::{A, B, C, Change, D, Gate, World, addr, device, mac, packet, query, reply};
use crate::packet_builder::{Cut, PacketBuilder, Transport};
use crate::stage::parse;
use crate::table::EniRecord;
use crate::table::{Endpoint, EndpointKey};
use crate::{Reason, Scratch, Verdict, counter};

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
    let vnis =
        |frames: Vec<Vec<u8>>| -> Vec<u32> { frames.iter().map(|frame| vni_of(frame)).collect() };
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
