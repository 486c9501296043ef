//! The collector on entries that tests make up, with a clock that they set.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use enid_pipeline::bytes::{Addr, Be16};
use enid_pipeline::flow::{FlowKey, FlowRecord, GATEWAY_EDGE_SHIFT, RETRANSMIT, Translation, tcp};
use enid_pipeline::table::protocol;

use super::*;
use crate::flow::row::rows;
use crate::flow::watch::fixture;
use crate::store::{Disk, Keys, Options, Query, Space};

struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A collector of two interfaces, A at 10.0.0.5 and B at 10.0.0.6; windows of a second.
struct World {
    root: tempfile::TempDir,
    clock: Arc<Set>,
    store: Store,
    collector: Collector,
}

const A: u64 = 0xa;
const B: u64 = 0xb;

fn open(root: &std::path::Path, clock: &Arc<Set>) -> (Store, Collector) {
    let options = Options {
        is_durable: false,
        disk_reserve: 0,
        ..Options::new(root.to_owned())
    };
    let store = Store::open(options, crate::kinds(), clock.clone()).unwrap();
    let mut collector =
        Collector::open(store.clone(), clock.clone(), 1_000, Timestamp(i64::MIN)).unwrap();
    let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
    collector.follow(fixture::watch(
        enis.map(|(bits, address)| fixture::eni(bits, address)),
    ));
    (store, collector)
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(Set(AtomicI64::new(10_500)));
        let (store, collector) = open(root.path(), &clock);
        Self {
            root,
            clock,
            store,
            collector,
        }
    }

    fn at(&self, ms: i64) {
        self.clock.0.store(ms, Ordering::Relaxed);
    }

    /// The kernel's clock is the wall's here.
    fn seen(&self) -> Seen {
        let now = self.clock.now();
        Seen {
            now_ns: ns(now.0),
            pass: Some(now),
            ..Seen::default()
        }
    }

    fn see(&mut self, flow: SeenFlow) -> Vec<Settled> {
        let seen = Seen {
            flows: vec![flow],
            ..self.seen()
        };
        self.collector.collect(seen)
    }

    /// Interface, direction, whether accepted, packets.
    fn told(&self) -> Vec<(String, bool, bool, u64)> {
        let batch = self.store.scan_sorted(&everything()).unwrap();
        rows(&batch)
            .map(|row| {
                let eni = row.eni().trim_start_matches("eni-").trim_start_matches('0');
                let flags = (row.flag("is_egress"), row.flag("is_accepted"));
                (eni.to_owned(), flags.0, flags.1, row.count("packets"))
            })
            .collect()
    }
}

fn ns(ms: i64) -> u64 {
    u64::try_from(ms).unwrap() * 1_000_000
}

fn key() -> FlowKey {
    FlowKey {
        ifindex: 3,
        protocol: protocol::TCP,
        source: Addr::v4([10, 0, 0, 5]),
        target: Addr::v4([10, 0, 0, 6]),
        source_port: Be16::new(40_000),
        target_port: Be16::new(80),
        ..FlowKey::default()
    }
}

fn flow(packets: u64, last_ms: i64, has_ended: bool) -> SeenFlow {
    SeenFlow {
        key: key(),
        record: FlowRecord {
            packets,
            bytes: packets * 60,
            first_seen_ns: ns(10_100),
            last_seen_ns: ns(last_ms),
            source_eni: A,
            target_eni: B,
            flags: u64::from(tcp::SYN) << flag::TCP_SHIFT,
            ..FlowRecord::default()
        },
        has_ended,
    }
}

fn told(eni: &str, is_egress: bool, is_accepted: bool, packets: u64) -> (String, bool, bool, u64) {
    (eni.to_owned(), is_egress, is_accepted, packets)
}

#[test]
fn a_flow_is_told_at_both_interfaces_once_a_window_and_settled_at_its_end() {
    let mut world = World::new();
    assert!(world.see(flow(3, 10_400, false)).is_empty());
    assert!(world.told().is_empty());
    world.at(11_200);
    assert!(world.see(flow(5, 11_100, false)).is_empty());
    let first = [told("a", true, true, 5), told("b", false, true, 5)];
    assert_eq!(world.told(), first);
    assert_eq!(world.collector.closed(), Timestamp(11_000));
    world.at(11_600);
    let settled = world.see(flow(6, 11_300, true));
    assert_eq!(settled, [Settled::Flow(key(), 6)]);
    assert_eq!(world.told().iter().map(|row| row.3).sum::<u64>(), 12);
    // Nothing more is told of it, however often it is seen.
    assert_eq!(world.see(flow(6, 11_300, true)).len(), 1);
    assert_eq!(world.told().len(), 4);
}

#[test]
fn a_crash_between_any_two_steps_neither_loses_nor_repeats() {
    let mut world = World::new();
    let mut sum = 0;
    for (step, packets) in [3, 5, 5, 9, 12].into_iter().enumerate() {
        world.at(10_500 + 700 * i64::try_from(step).unwrap());
        let _ = world.see(flow(packets, 10_400, false));
        // The end of the process: what it knew is gone.
        drop(world.collector);
        drop(world.store);
        (world.store, world.collector) = open(world.root.path(), &world.clock);
        sum = packets;
    }
    world.at(20_000);
    let _ = world.see(flow(sum, 10_400, true));
    let of_a = world.told().into_iter().filter(|row| row.0 == "a");
    assert_eq!(of_a.map(|row| row.3).sum::<u64>(), sum);
}

#[test]
fn nothing_is_added_to_what_was_delivered_before_a_crash() {
    let mut world = World::new();
    drop(world.collector);
    let delivered = Timestamp(12_000);
    let (store, clock) = (world.store.clone(), world.clock.clone());
    world.collector = Collector::open(store, clock, 1_000, delivered).unwrap();
    let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
    world.collector.follow(fixture::watch(
        enis.map(|(bits, address)| fixture::eni(bits, address)),
    ));
    world.at(12_500);
    let _ = world.see(flow(3, 10_400, true));
    let query = Query {
        kind: KIND,
        from: delivered,
        to: Timestamp(i64::MAX),
        keys: Keys::All,
        columns: None,
    };
    assert_eq!(world.store.scan_sorted(&query).unwrap().num_rows(), 2);
}

#[test]
fn what_was_there_before_the_flow_log_is_not_told() {
    let mut world = World::new();
    let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
    world
        .collector
        .follow(fixture::watch(enis.map(|(bits, address)| EniFacts {
            since: Timestamp(10_200),
            ..fixture::eni(bits, address)
        })));
    let _ = world.see(flow(100, 10_400, false));
    world.at(12_000);
    let _ = world.see(flow(103, 11_900, false));
    let later = [told("a", true, true, 3), told("b", false, true, 3)];
    assert_eq!(world.told(), later);
}

#[test]
fn a_refused_packet_is_told_where_it_was_refused() {
    let mut world = World::new();
    let stray = |reason: Reason| {
        let key = StrayKey {
            flow: key(),
            reason: reason as u32,
        };
        let record = StrayRecord {
            packets: 1,
            bytes: 60,
            first_seen_ns: ns(10_100),
            last_seen_ns: ns(10_100),
            source_eni: A,
            target_eni: B,
            tcp_flags: 2,
            ..StrayRecord::default()
        };
        (key, record)
    };
    let reasons = [
        Reason::IngressRule,
        Reason::EgressRule,
        Reason::NoRoute,
        Reason::SourceAddress,
    ];
    let seen = |world: &World| Seen {
        strays: reasons.map(stray).into(),
        ..world.seen()
    };
    world.at(11_500);
    let first = seen(&world);
    assert!(world.collector.collect(first).is_empty());
    world.at(30_000);
    let last = seen(&world);
    assert_eq!(world.collector.collect(last).len(), 4);
    let mut rows = world.told();
    rows.sort();
    let expected = [
        // Refused there.
        told("a", true, false, 1),
        // Refused by B, and without a route.
        told("a", true, true, 1),
        told("a", true, true, 1),
        told("b", false, false, 1),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn what_could_not_be_counted_is_told_as_skipped() {
    let mut world = World::new();
    let full = Seen {
        is_full: true,
        ..world.seen()
    };
    let _ = world.collector.collect(full);
    world.at(11_500);
    let next = world.seen();
    let _ = world.collector.collect(next);
    assert_eq!(world.told().len(), 2, "one for each interface");
    world.at(12_500);
    let next = world.seen();
    let _ = world.collector.collect(next);
    assert_eq!(world.told().len(), 2);
}

#[test]
fn what_passes_a_nat_gateway_is_told_at_its_interface_both_ways() {
    // The gateway's interface is B's, 10.0.0.6.
    const NAT: u64 = 0xf;
    const FAR: [u8; 4] = [203, 0, 113, 5];
    let mut world = World::new();
    let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
    let enis = enis.map(|(bits, address)| fixture::eni(bits, address));
    let gateway = fixture::gateway(B, [10, 0, 0, 6], [198, 18, 0, 9]);
    world
        .collector
        .follow(fixture::watch_with(enis, NAT, gateway));
    assert!(world.collector.watched().contains(&NAT));
    let new = Translation {
        source: Addr::v4([198, 18, 0, 9]),
        target: Addr::v4(FAR),
        source_port: Be16::new(1_024),
        target_port: Be16::new(80),
    };
    let new = new.words(&Addr::UNSPECIFIED, &Addr::UNSPECIFIED);
    let mut out = flow(4, 10_400, true);
    out.key.target = Addr::v4(FAR);
    out.record = FlowRecord {
        target_eni: OUTSIDE,
        via: NAT,
        flags: out.record.flags | flag::TRANSLATED | flag::TO_OUTSIDE,
        new_addresses: new.addresses,
        new_ports: new.ports,
        // Out of A's subnet, into the gateway's and out of it.
        acl_entries: 10 | 20 << 16 | 30 << 32,
        route: 3 << GATEWAY_EDGE_SHIFT,
        begun: 250 << 32,
        troubles: RETRANSMIT,
        ..out.record
    };
    let _ = world.see(out);
    let mut told = world.told();
    told.sort();
    let expected = [
        self::told("a", true, true, 4),
        self::told("b", false, true, 4),
        self::told("b", true, true, 4),
    ];
    assert_eq!(told, expected);
    let batch = world.store.scan_sorted(&everything()).unwrap();
    let of = |is_own: &dyn Fn(&crate::flow::row::Told<'_>) -> bool| {
        let row = rows(&batch).find(|row| is_own(row)).expect("a row");
        let text = |column| row.text(column).unwrap_or("-").to_owned();
        let number = |column| row.number(column).unwrap_or(-1);
        (
            [text("source"), text("target"), text("packet_target")],
            [number("source_port"), number("nacl_entry")],
            [number("rtt_us"), number("retransmits")],
        )
    };
    let is_gateways = |row: &crate::flow::row::Told<'_>| row.eni().ends_with('b');
    let came = of(&|row| is_gateways(row) && !row.flag("is_egress"));
    assert_eq!(came.0, ["10.0.0.5", "10.0.0.6", "203.0.113.5"]);
    assert_eq!((came.1, came.2), ([40_000, 20], [250, 1]));
    let left = of(&|row| is_gateways(row) && row.flag("is_egress"));
    assert_eq!(left.0, ["10.0.0.6", "203.0.113.5", "203.0.113.5"]);
    assert_eq!((left.1, left.2), ([1_024, 30], [250, 1]));
    let own = of(&|row| row.eni().ends_with('a'));
    assert_eq!((own.1, own.2), ([40_000, 10], [250, 1]));
}

fn everything() -> Query {
    Query {
        kind: KIND,
        from: Timestamp(i64::MIN),
        to: Timestamp(i64::MAX),
        keys: Keys::All,
        columns: None,
    }
}

#[test]
fn windows_whose_rows_could_not_be_stored_are_closed_when_they_can_say_so() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set(AtomicI64::new(10_500)));
    let is_full = Arc::new(AtomicBool::new(false));
    let options = Options {
        is_durable: false,
        disk_reserve: 1 << 20,
        disk: disk(&is_full),
        ..Options::new(root.path().to_owned())
    };
    let store = Store::open(options, crate::kinds(), clock.clone()).unwrap();
    let (rows, time) = (store.clone(), clock.clone());
    let mut collector = Collector::open(rows, time, 1_000, Timestamp(i64::MIN)).unwrap();
    collector.follow(fixture::watch([fixture::eni(A, [10, 0, 0, 5])]));
    let mut world = World {
        root,
        clock,
        store,
        collector,
    };
    let _ = world.see(flow(3, 10_400, false));
    assert_eq!(world.collector.closed(), Timestamp(10_000));
    is_full.store(true, Ordering::Relaxed);
    for (at, packets) in [(11_200, 5), (12_200, 7)] {
        world.at(at);
        let _ = world.see(flow(packets, at - 100, false));
        assert_eq!(world.collector.closed(), Timestamp(10_000));
    }
    is_full.store(false, Ordering::Relaxed);
    world.at(13_200);
    let _ = world.see(flow(9, 13_100, false));
    assert_eq!(world.collector.closed(), Timestamp(13_000));
    let told = world.told();
    let skipped = told.iter().filter(|row| row.3 == 0).count();
    assert_eq!(skipped, 3, "one for each window: {told:?}");
    // What was given up is not told later.
    assert_eq!(told.iter().map(|row| row.3).sum::<u64>(), 2);
}

/// A disk that is full as long as that is said.
fn disk(is_full: &Arc<AtomicBool>) -> Disk {
    let is_full = Arc::clone(is_full);
    Disk::new(move |_| {
        let total = 1 << 30;
        let free = if is_full.load(Ordering::Relaxed) {
            0
        } else {
            total
        };
        Ok(Space { free, total })
    })
}
