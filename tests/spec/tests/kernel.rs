//! The loaded kernel program agrees with the plain reading, packet by packet (`BPF_PROG_TEST_RUN`).
//!
//! The devices of the random region are real ones, in a network namespace of the test; nothing travels.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod lab;

use enid_host::datapath::{Datapath, Options};
use enid_host::flows::monotonic_ns;
use enid_host::netns::NetNs;
use enid_pipeline::bytes::Be16;
use enid_pipeline::flow::FlowKey;
use enid_pipeline::frame::{Bytes, Frame as _};
use enid_pipeline::memory::Memory;
use enid_pipeline::packet_builder::{arp_request, neighbour_solicitation};
use enid_pipeline::{Reason, Scratch, Verdict, egress, outside};
use enid_plan::tables::Tables;
use enid_spec::random::{ENIS, Random, as_arrived, regions};
use enid_spec::reading::{Outcome, Reading, Sender};
use enid_spec::region::NEAR;
use enid_spec::tuple::Tuple;

use crate::lab::{Lab, REDIRECT, SHOT, devices, way_out};

const REGIONS: u64 = 34;
/// And so many with load balancers.
const BALANCED: u64 = 6;
const PACKETS: usize = 2_500;

/// What the kernel says about a frame, in the words of the reading.
fn carried(
    datapath: &Datapath,
    sender: Sender<'_>,
    outside: u32,
    frame: &mut Vec<u8>,
    tuple: &Tuple,
) -> Outcome {
    let (ifindex, verdict) = match sender {
        Sender::Eni(eni) => (eni.ifindex, datapath.inject(eni.ifindex, frame)),
        Sender::Outside => (outside, datapath.inject_outside(outside, frame)),
    };
    match verdict.expect("the program runs") {
        REDIRECT => Ok(frame.to_vec()),
        SHOT if tuple.target.is_multicast() => Err(Reason::Multicast),
        SHOT => {
            let key = FlowKey {
                ifindex,
                protocol: tuple.protocol,
                pad: [0; 3],
                source: tuple.source,
                target: tuple.target,
                source_port: Be16::new(tuple.source_port),
                target_port: Be16::new(tuple.target_port),
            };
            let dropped = datapath
                .flows()
                .dropped(&key)
                .expect("the table can be read");
            let reason = dropped.and_then(|entry| u32::try_from(entry.reason).ok());
            Err(reason
                .and_then(Reason::from_number)
                .expect("a drop has a reason"))
        }
        other => panic!("unexpected verdict {other}"),
    }
}

fn run(
    datapath: &mut Datapath,
    (ifindexes, outside): (&[u32; ENIS], u32),
    (seed, is_balanced): (u64, bool),
    tables: &mut Tables,
) -> usize {
    let mut random = Random::new(seed);
    let mut region = match is_balanced {
        true => random.balanced_region(ifindexes),
        false => random.region(ifindexes),
    };
    let mut reading = Reading::new();
    // The reading knows nothing of what other regions had on the same devices and addresses.
    datapath.forget_flows().expect("the flows go");
    // Whether the tables differ: only then have flows to be judged again.
    let mut change = |datapath: &mut Datapath, new: Tables| {
        let diff = tables.diff(&new);
        datapath.apply(&diff).expect("the tables change");
        *tables = new;
        !diff.is_empty()
    };
    change(datapath, region.tables());
    let mut passed = 0;
    for step in 0..PACKETS {
        if random.chance(3) {
            match is_balanced {
                true => random.change_balanced(&mut region),
                false => random.change(&mut region),
            }
            if change(datapath, region.tables()) {
                reading.version += 1;
            }
        }
        let (mut sender, mut packet) = random.packet(&region);
        let mut has_turned = false;
        loop {
            let mut frame = packet.frame();
            let tuple = Tuple::of(&packet);
            let found = carried(datapath, sender, outside, &mut frame, &tuple);
            let expected = reading.judge(&region, sender, &packet, monotonic_ns(), &found);
            assert_eq!(
                found, expected,
                "seed {seed}, packet {step}: {packet:#?}\nfrom {sender:#?}"
            );
            if reading.went_astray() {
                reading.forget();
                datapath.forget_flows().expect("the flows go");
            }
            if found.is_err() {
                break;
            }
            if frame[..6] == NEAR.0 {
                // It comes in again.
                packet = as_arrived(&packet, &frame);
                sender = Sender::Outside;
                has_turned = true;
                continue;
            }
            if !has_turned {
                random.sent(sender, &packet);
            }
            random.reached(&region, &frame, &packet);
            passed += 1;
            break;
        }
    }
    assert_eq!(datapath.read().expect("the tables can be read"), *tables);
    passed
}

#[test]
fn the_kernel_program_agrees_with_the_plain_reading() {
    let Some(lab) = Lab::new() else { return };
    let namespace = NetNs::open(&lab.name).expect("the namespace is there");
    let work = || {
        let (ifindexes, outside) = devices();
        let mut datapath =
            Datapath::open(lab.installation(), Options::default()).expect("the datapath loads");
        datapath
            .set_outside(way_out(outside))
            .expect("the way out is written");
        let mut tables = Tables::default();
        for (is_balanced, usual, least) in [(false, REGIONS, 20), (true, BALANCED, 15)] {
            let regions = regions(usual);
            let passed: usize = (0..regions)
                .map(|seed| {
                    let devices = (&ifindexes, outside);
                    run(&mut datapath, devices, (seed, is_balanced), &mut tables)
                })
                .sum();
            let share = passed * 100 / (PACKETS * usize::try_from(regions).unwrap_or(1));
            assert!(
                (least..80).contains(&share),
                "{share}% passed, with load balancers: {is_balanced}"
            );
        }
    };
    namespace.run(work).expect("the namespace can be entered");
}

/// Changes some bytes of a frame, or cuts it short.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let end = if random.chance(80) { 54 } else { frame.len() };
        let at = usize::try_from(random.below(end.min(frame.len()) as u64)).unwrap_or(0);
        frame[at] = match random.below(3) {
            0 => frame[at] ^ 1 << random.below(8),
            1 => frame[at].wrapping_add(1),
            _ => u8::try_from(random.below(256)).unwrap_or(0),
        };
    }
    if random.chance(10) {
        // The kernel's test run wants an Ethernet and an IP header.
        let headers = if frame[12..14] == [0x86, 0xdd] {
            54
        } else {
            34
        };
        let length = usize::try_from(random.below(frame.len() as u64)).unwrap_or(0);
        frame.truncate(length.max(headers));
    }
}

#[test]
fn broken_frames_fare_the_same_in_the_kernel_and_in_memory() {
    let Some(lab) = Lab::new() else { return };
    let namespace = NetNs::open(&lab.name).expect("the namespace is there");
    let work = || {
        let (ifindexes, outside_device) = devices();
        let mut datapath =
            Datapath::open(lab.installation(), Options::default()).expect("the datapath loads");
        let mut random = Random::new(7);
        let region = random.region(&ifindexes);
        let way_out = way_out(outside_device);
        datapath
            .set_outside(way_out)
            .expect("the way out is written");
        let mut memory = Memory::new(region.tables());
        memory.outside = way_out;
        let diff = Tables::default().diff(&region.tables());
        datapath.apply(&diff).expect("the tables change");
        let mut scratch = Scratch::new();
        for step in 0..30_000 {
            let (sender, packet) = random.packet(&region);
            let mut frame = packet.frame();
            if let Sender::Eni(eni) = sender
                && random.chance(5)
            {
                frame = arp_request(eni.mac, eni.addresses[0], packet.target);
            }
            if let Sender::Eni(eni) = sender
                && random.chance(5)
            {
                // The router is 1, interfaces follow from 10 on.
                let wanted = [1, 10, 11, 12, 13, 14, 15, 99][step % 8];
                let home = region.subnet_of(eni);
                let own = home.v6(eni.mac.0[5]);
                frame = neighbour_solicitation(eni.mac, own, home.v6(wanted)).frame();
            }
            mutate(&mut random, &mut frame);
            let (before, mut other) = (frame.clone(), frame.clone());
            let mut bytes = Bytes::new(&mut other);
            let now_ns = monotonic_ns();
            let (verdict, expected) = match sender {
                Sender::Eni(eni) => (
                    datapath.inject(eni.ifindex, &mut frame),
                    egress(&memory, &mut bytes, eni.ifindex, now_ns, &mut scratch),
                ),
                Sender::Outside => (
                    datapath.inject_outside(outside_device, &mut frame),
                    outside(&memory, &mut bytes, outside_device, now_ns, &mut scratch),
                ),
            };
            let length = usize::try_from(bytes.len()).unwrap_or(0);
            other.truncate(length);
            let verdict = verdict.expect("the program runs");
            let wanted = match expected {
                Verdict::Forward { .. }
                | Verdict::Outside { .. }
                | Verdict::Again { .. }
                | Verdict::Punt { .. }
                | Verdict::Reply => REDIRECT,
                Verdict::Drop(_) => SHOT,
            };
            assert_eq!(
                (verdict, &frame),
                (wanted, &other),
                "{step}: {expected:?} {before:02x?}"
            );
            if verdict == REDIRECT {
                random.reached(&region, &frame, &packet);
            }
        }
        for (reason, count) in datapath
            .flows()
            .reasons()
            .expect("the counters can be read")
        {
            assert_eq!(count, memory.dropped_for(reason), "{reason:?}");
        }
    };
    namespace.run(work).expect("the namespace can be entered");
}
