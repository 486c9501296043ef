//! The pipeline over planned tables agrees with the plain reading, packet by packet.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

use std::collections::BTreeMap;
use std::ops::Range;

use enid_pipeline::frame::{Bytes, Frame as _};
use enid_pipeline::memory::Memory;
use enid_pipeline::table::Outside;
use enid_pipeline::{Reason, Scratch, Verdict, egress, outside};
use enid_spec::random::{ENIS, Random, as_arrived, regions};
use enid_spec::reading::{Outcome, Reading, Sender};
use enid_spec::region::{FAR, NEAR};

const SECOND_NS: u64 = 1_000_000_000;
const REGIONS: u64 = 50;
const PACKETS: usize = 2_500;

/// The device that leads outside.
const OUTSIDE_DEVICE: u32 = 99;

/// What the pipeline says about a frame, in the words of the reading.
fn carried(memory: &Memory, frame: &mut Vec<u8>, sender: Sender<'_>, now_ns: u64) -> Outcome {
    let mut scratch = Scratch::new();
    let mut bytes = Bytes::new(frame);
    let verdict = match sender {
        Sender::Eni(eni) => egress(memory, &mut bytes, eni.ifindex, now_ns, &mut scratch),
        Sender::Outside => outside(memory, &mut bytes, OUTSIDE_DEVICE, now_ns, &mut scratch),
    };
    let length = usize::try_from(bytes.len()).unwrap_or(0);
    frame.truncate(length);
    let is_to_outside = frame[..6] == FAR.0;
    match verdict {
        Verdict::Forward { .. } if !is_to_outside => Ok(frame.to_vec()),
        Verdict::Outside { ifindex } if is_to_outside && ifindex == OUTSIDE_DEVICE => {
            Ok(frame.to_vec())
        }
        Verdict::Again { ifindex } if ifindex == OUTSIDE_DEVICE => Ok(frame.clone()),
        Verdict::Reply => Ok(frame.clone()),
        Verdict::Drop(reason) => Err(reason),
        other => panic!("unexpected verdict {other:?}"),
    }
}

/// How packets follow each other, and in which regions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As varied, with load balancers.
    Balanced,
    /// With pauses in which connections end, and of all lengths.
    Varied,
    /// As the kernel is shown them: one after the other, short ones.
    Quick,
}

/// How often each outcome came up, and packets that went out to come in again.
type Counts = (BTreeMap<Result<(), Reason>, usize>, usize);

fn run(seed: u64, pace: Pace, (counts, turned): &mut Counts) {
    let mut random = Random::new(seed);
    if pace != Pace::Quick {
        random.lengths = &[1500, 1501, 8500, 8501, 9001];
    }
    let ifindexes = std::array::from_fn(|index| 10 + u32::try_from(index).unwrap_or(0));
    let ifindexes: [u32; ENIS] = ifindexes;
    let mut region = match pace {
        Pace::Balanced => random.balanced_region(&ifindexes),
        Pace::Quick | Pace::Varied => random.region(&ifindexes),
    };
    let mut reading = Reading::new();
    let mut memory = Memory::new(region.tables());
    memory.outside = Outside {
        ifindex: OUTSIDE_DEVICE,
        far_mac: FAR,
        near_mac: NEAR,
    };
    let mut now_ns = SECOND_NS;
    for step in 0..PACKETS {
        if random.chance(3) {
            match pace {
                Pace::Balanced => random.change_balanced(&mut region),
                Pace::Quick | Pace::Varied => random.change(&mut region),
            }
            let tables = region.tables();
            // An agent writes what differs, and nothing has to be judged again where nothing does.
            if pace != Pace::Quick || memory.tables != tables {
                memory.change(tables);
                reading.version += 1;
            }
        }
        let pause = match pace {
            Pace::Quick => SECOND_NS / 10_000,
            Pace::Balanced | Pace::Varied => match random.below(100) {
                0 => random.below(700 * SECOND_NS),
                1..=4 => random.below(40 * SECOND_NS),
                _ => random.below(SECOND_NS / 100),
            },
        };
        now_ns += pause;
        let (mut sender, mut packet) = random.packet(&region);
        let mut has_turned = false;
        loop {
            let mut frame = packet.frame();
            let found = carried(&memory, &mut frame, sender, now_ns);
            let expected = reading.judge(&region, sender, &packet, now_ns, &found);
            assert_eq!(
                found, expected,
                "seed {seed}, packet {step}: {packet:#?}\nfrom {sender:#?}"
            );
            if reading.went_astray() {
                reading.forget();
                memory.forget_flows();
            }
            *counts
                .entry(found.as_ref().map(|_| ()).map_err(|reason| *reason))
                .or_default() += 1;
            if found.is_err() {
                break;
            }
            if frame[..6] == NEAR.0 {
                // It comes in again.
                packet = as_arrived(&packet, &frame);
                sender = Sender::Outside;
                has_turned = true;
                *turned += 1;
                continue;
            }
            if !has_turned {
                random.sent(sender, &packet);
            }
            random.reached(&region, &frame, &packet);
            break;
        }
    }
}

/// Regions in which the kernel program and the reading did not agree once.
const FOUND_IN_THE_KERNEL: [u64; 1] = [297];

#[test]
fn what_the_kernel_was_found_with_is_read_the_same() {
    let mut counts = Counts::default();
    for seed in FOUND_IN_THE_KERNEL {
        run(seed, Pace::Quick, &mut counts);
    }
    assert!(counts.0.contains_key(&Ok(())));
}

/// The seeds of a test: so many, or the one that was asked for.
fn seeds(usual: u64) -> Range<u64> {
    match std::env::var("ENID_SPEC_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("ENID_SPEC_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..regions(usual),
    }
}

#[test]
fn the_pipeline_agrees_with_the_plain_reading() {
    let mut counts = Counts::default();
    for seed in seeds(REGIONS) {
        run(seed, Pace::Varied, &mut counts);
    }
    println!("{counts:#?}");
    let (counts, _) = counts;
    // A run in which hardly anything passes, or everything, shows nothing.
    let total: usize = counts.values().sum();
    let passed = counts.get(&Ok(())).copied().unwrap_or(0);
    assert!(
        passed * 4 > total && passed * 4 < total * 3,
        "{passed} of {total} passed"
    );
    for reason in [
        Reason::EgressRule,
        Reason::IngressRule,
        Reason::SourceAddress,
        Reason::SourceMac,
        Reason::DestinationMac,
        Reason::NoRoute,
        Reason::NoEndpoint,
        Reason::TargetDown,
        Reason::OwnAddress,
        Reason::RouterAddress,
        Reason::LinkLocal,
        Reason::Multicast,
        Reason::AclEgress,
        Reason::AclIngress,
        Reason::Blackhole,
        Reason::DestinationCheck,
        Reason::MiddleboxAddress,
        Reason::NoInternetGateway,
        Reason::NoPublicAddress,
        Reason::PrivateAddress,
        Reason::UnassignedAddress,
        Reason::OutsideSource,
        Reason::NatUnsolicited,
        Reason::NatProtocol,
        Reason::NatRoute,
        Reason::NatReset,
        Reason::TooBig,
    ] {
        assert!(
            counts.contains_key(&Err(reason)),
            "{reason:?} never came up"
        );
    }
}

/// Regions with load balancers, which are larger.
const BALANCED: u64 = 30;

#[test]
fn load_balancers_agree_with_the_plain_reading() {
    let mut counts = Counts::default();
    for seed in seeds(BALANCED) {
        run(seed, Pace::Balanced, &mut counts);
    }
    println!("{counts:#?}");
    let (counts, turned) = counts;
    let total: usize = counts.values().sum();
    let passed = counts.get(&Ok(())).copied().unwrap_or(0);
    assert!(
        passed * 5 > total && passed * 4 < total * 3,
        "{passed} of {total} passed"
    );
    assert!(turned > 50, "{turned} packets passed two translators");
    for reason in [
        Reason::NoListener,
        Reason::BalancerProtocol,
        Reason::BalancerIngressRule,
        Reason::BalancerEgressRule,
        Reason::BalancerTarget,
        Reason::BalancerReset,
        Reason::BalancerHairpin,
        Reason::BalancerRoute,
    ] {
        assert!(
            counts.contains_key(&Err(reason)),
            "{reason:?} never came up"
        );
    }
}
