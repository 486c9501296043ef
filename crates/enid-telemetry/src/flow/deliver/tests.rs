//! Delivery of rows that tests make up, to directories, log groups and an endpoint that fails.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use enid_model::flow_log::{LogFormat, TrafficType};
use enid_model::id::VpcId;
use enid_model::key::{AccountId, Key, Kind, RegionName};
use enid_model::record::Record as Stored;
use enid_model::state::Revision;
use tokio::runtime::Runtime;

use super::*;
use crate::bucket::endpoint::{Endpoint, Endpoints};
use crate::flow::account::Delta;
use crate::flow::collector::telling::row;
use crate::flow::row::{Row, batch};
use crate::flow::watch::fixture;
use crate::store::{Disk, Options, Space};

struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

const ID: FlowLogId = FlowLogId(7);

fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("us-east-1"),
    }
}

fn flow_log(destination: FlowLogDestination) -> FlowLog {
    FlowLog {
        id: ID,
        resource: FlowLogResource::Vpc(VpcId(1)),
        traffic: TrafficType::All,
        destination,
        format: LogFormat::parse("${interface-id} ${srcport} ${packets} ${log-status}").unwrap(),
        interval_s: 60,
        created: Timestamp(0),
        tags: BTreeMap::new(),
    }
}

fn bucket() -> FlowLogDestination {
    FlowLogDestination::Bucket {
        bucket: "it".to_owned(),
        folder: String::new(),
        is_parquet: false,
        is_hive_compatible: false,
        is_per_hour: false,
    }
}

fn group() -> FlowLogDestination {
    FlowLogDestination::LogGroup {
        name: "g".to_owned(),
        as_arn: false,
        role: "r".to_owned(),
    }
}

/// A state with a flow log, and an interface in use without packets.
fn state(destination: FlowLogDestination) -> State {
    let mut state = State::default();
    let mut put = |kind, name: String, record| {
        let key = Key {
            scope: scope(),
            kind,
            name: name.into(),
        };
        state.apply(Revision(1), &key, Some(record));
    };
    let flow_log = flow_log(destination);
    put(Kind::FlowLog, ID.to_string(), Stored::FlowLog(flow_log));
    let eni = serde_json::json!({
        "id": "eni-0000000000000000c", "subnet": "subnet-00000000000000002",
        "vpc": "vpc-00000000000000001", "mac": "02:00:00:00:00:01", "description": "",
        "groups": [], "addresses": ["10.0.0.9"], "interface_type": "nat_gateway",
        "source_dest_check": true, "requester_id": null, "attachment": null, "tags": {},
    });
    let eni: NetworkInterface = serde_json::from_value(eni).unwrap();
    let name = eni.id.to_string();
    put(Kind::NetworkInterface, name, Stored::NetworkInterface(eni));
    state
}

struct World {
    root: tempfile::TempDir,
    clock: Arc<Set>,
    store: Store,
}

/// A disk that is full as soon as anything was written to files.
fn small() -> Disk {
    Disk::new(|directory| {
        let is_empty = std::fs::read_dir(directory)?.next().is_none();
        let total = 1 << 20;
        let free = if is_empty { total } else { 0 };
        Ok(Space { free, total })
    })
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(Set(AtomicI64::new(10_000)));
        let options = Options {
            is_durable: false,
            disk_reserve: 0,
            ..Options::new(root.path().join("store"))
        };
        let store = Store::open(options, crate::kinds(), clock.clone()).unwrap();
        Self { root, clock, store }
    }

    fn options(&self, endpoints: Option<Endpoints>) -> DeliveryOptions {
        DeliveryOptions {
            window_ms: 1_000,
            file_ms: 2_000,
            buckets: Buckets {
                directory: self.root.path().join("buckets"),
                endpoints: endpoints.map(Arc::new),
            },
        }
    }

    fn delivery(&self, sink: Option<Arc<dyn LogSink>>) -> Delivery {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Delivery::open(store, clock, self.options(None), sink, Reach::Near).unwrap()
    }

    /// What all text files say, without their headers.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut directories = vec![self.root.path().join("buckets")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                    continue;
                }
                let file = std::fs::File::open(entry.path()).unwrap();
                let text = std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap();
                lines.extend(text.lines().skip(1).map(str::to_owned));
            }
        }
        lines.sort();
        lines
    }
}

/// Rows of an interface at a time, one of each source port.
fn some_rows(eni: u64, time_ms: i64, ports: std::ops::Range<u16>) -> RecordBatch {
    let eni = Arc::new(fixture::eni(eni, [10, 0, 0, 5]));
    let told = Delta {
        packets: 2,
        bytes: 200,
        retransmits: 0,
        tcp_flags: 0,
        before_ms: None,
    };
    let times = (time_ms, time_ms, time_ms);
    let rows: Vec<Row> = ports
        .map(|port| Row {
            is_accepted: true,
            ..row(&eni, false, &told, times, (port, 53), 17)
        })
        .collect();
    batch(&rows).unwrap()
}

/// Takes events until it shall not, and notes them.
#[derive(Default)]
struct Sink {
    left: AtomicUsize,
    taken: Mutex<Vec<String>>,
}

impl LogSink for Sink {
    fn prepare(&self, delivery: &LogDelivery) -> Result<Write, LogSinkError> {
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        left.map_err(|_none| LogSinkError::RateLimited)?;
        let mut taken = self.taken.lock().unwrap();
        taken.extend(delivery.events.iter().map(|(_, message)| message.clone()));
        Ok(Write::new())
    }

    fn stored(&self, _delivery: &LogDelivery, _first_arrival: u64) {}
}

#[test]
fn a_period_is_one_file_whatever_parts_it_is_made_of() {
    let world = World::new();
    for (eni, ports) in [(0xa, 0..40), (0xb, 0..3)] {
        let rows = some_rows(eni, 500, ports);
        world.store.append(Write::new().batch(KIND, rows)).unwrap();
    }
    let state = state(bucket());
    let mut delivery = world.delivery(None);
    delivery.part_rows = 10;
    delivery.deliver(&state, Timestamp(1_999));
    assert!(world.lines().is_empty(), "the period goes on");
    delivery.deliver(&state, Timestamp(2_000));
    let of = |eni: &str, port: u16| format!("eni-0000000000000000{eni} {port} 2 OK");
    let mut expected: Vec<String> = (0..40).map(|port| of("a", port)).collect();
    expected.extend((0..3).map(|port| of("b", port)));
    // Two windows without packets.
    expected.extend((0..2).map(|_| "eni-0000000000000000c - - NODATA".to_owned()));
    expected.sort();
    assert_eq!(world.lines(), expected);
    assert_eq!(delivery.delivered(), Timestamp(2_000));
    // The next one goes on there.
    drop(delivery);
    assert_eq!(world.delivery(None).delivered(), Timestamp(2_000));
}

#[test]
fn parts_of_a_window_come_to_a_log_group_once_over_a_failure_and_a_crash() {
    let world = World::new();
    let rows = some_rows(0xa, 500, 0..40);
    world.store.append(Write::new().batch(KIND, rows)).unwrap();
    let state = state(group());
    let sink = Arc::new(Sink::default());
    sink.left.store(2, Ordering::Relaxed);
    let delivery = || {
        let mut delivery = world.delivery(Some(Arc::clone(&sink) as Arc<dyn LogSink>));
        delivery.part_rows = 10;
        delivery
    };
    let mut first = delivery();
    first.deliver(&state, Timestamp(1_000));
    assert_eq!(first.failures().of(ID), Some(LogSinkError::RateLimited));
    let taken = || sink.taken.lock().unwrap().len();
    assert!(taken() > 0 && taken() < 40);
    sink.left.store(100, Ordering::Relaxed);
    // Not tried again at once.
    first.deliver(&state, Timestamp(1_000));
    assert!(taken() < 40);
    drop(first);
    let mut second = delivery();
    // What was told of a window in part must not change.
    assert_eq!(second.delivered(), Timestamp(1_000));
    second.deliver(&state, Timestamp(1_000));
    assert_eq!(second.failures().of(ID), None);
    let mut lines = sink.taken.lock().unwrap().clone();
    lines.sort();
    lines.dedup();
    assert_eq!(
        (lines.len(), taken()),
        (41, 41),
        "forty, and NODATA of the other"
    );
}

#[test]
fn what_was_removed_before_it_was_delivered_is_told_as_skipped() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set(AtomicI64::new(10_000)));
    let options = Options {
        is_durable: false,
        disk_reserve: 1 << 20,
        disk: small(),
        ..Options::new(root.path().join("store"))
    };
    let store = Store::open(options, crate::kinds(), clock.clone()).unwrap();
    let rows = some_rows(0xa, 500, 0..4);
    store.append(Write::new().batch(KIND, rows)).unwrap();
    store.flush().unwrap();
    store.flush().unwrap();
    let world = World { root, clock, store };
    assert!(world.store.evicted_until(KIND) > Timestamp(500));
    let mut delivery = world.delivery(None);
    delivery.deliver(&state(bucket()), Timestamp(2_000));
    assert_eq!(world.lines(), ["eni-0000000000000000c - - SKIPDATA"; 2]);
}

#[test]
fn an_endpoint_that_is_away_fails_alone_and_is_left_alone_for_longer_and_longer() {
    let world = World::new();
    let runtime = Runtime::new().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    drop(silent);
    let endpoint = Endpoint {
        url,
        region: "us-east-1".to_owned(),
        buckets: vec!["*".to_owned()],
        access_key_id: "a".to_owned(),
        secret_access_key: "b".to_owned(),
        certificates: Vec::new(),
    };
    let endpoints = Endpoints::new(vec![endpoint], runtime.handle().clone()).unwrap();
    let options = world.options(Some(endpoints));
    let open = |reach| {
        let (store, clock) = (world.store.clone(), world.clock.clone());
        Delivery::open(store, clock, options.clone(), None, reach).unwrap()
    };
    let (mut far, mut near) = (open(Reach::Far), open(Reach::Near));
    let state = state(bucket());
    near.deliver(&state, Timestamp(2_000));
    assert!(world.lines().is_empty() && near.failures().of(ID).is_none());
    for ms in [1_000, 2_000, 4_000] {
        far.deliver(&state, Timestamp(2_000));
        assert_eq!(far.failures().of(ID), Some(LogSinkError::Unknown));
        let wait = far.waits[&Obstacle::Endpoint(0)];
        assert_eq!(wait.ms, ms);
        far.deliver(&state, Timestamp(2_000));
        assert_eq!(
            far.waits[&Obstacle::Endpoint(0)].ms,
            ms,
            "it was left alone"
        );
        world.clock.0.store(wait.until.0, Ordering::Relaxed);
    }
    assert_eq!(far.delivered(), Timestamp(i64::MIN));
    far.deliver(&State::default(), Timestamp(2_000));
    assert_eq!(far.failures().of(ID), None, "it was deleted");
}
