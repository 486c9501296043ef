//! Delivery: the records of closed windows go to where each flow log says.
//!
//! What was delivered is noted in the store. A file is written before that is noted, and is the same if it is
//! written again; events of a log group are stored in the same moment as the note. So nothing is lost over a
//! crash, and nothing is there twice. A destination that fails is tried again, later and later; nothing of it
//! is left out meanwhile, and others do not wait for it.
//!
//! Of a window only a part is in memory at a time ([`super::part`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::flow_log::{FlowLog, FlowLogDestination, FlowLogResource};
use enid_model::id::FlowLogId;
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use enid_model::time::{Clock, Timestamp};

use super::files::{Files, Period};
use super::part::Census;
use super::progress::{Done, Progress};
use super::record::{Facts, Record, Status, Window};
use super::render::line;
use super::row::{KIND, Told, rows};
use super::sink::{LogDelivery, LogSink, LogSinkError};
use super::watch::covers;
use crate::bucket::endpoint::PutError;
use crate::bucket::{BucketError, Buckets, Object};
use crate::store::{Keys, Query, Store, StoreError, Write};

/// How records are delivered.
#[derive(Clone)]
pub struct DeliveryOptions {
    /// The length of a window.
    pub window_ms: i64,
    /// What one file tells of: a whole number of windows.
    pub file_ms: i64,
    /// The buckets.
    pub buckets: Buckets,
}

/// Which destinations a delivery is for. Each of them has a thread of its own: what waits for the network
/// holds up nothing on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// S3 endpoints.
    Far,
    /// Directories and log groups.
    Near,
}

/// Delivers records.
pub struct Delivery {
    store: Store,
    clock: Arc<dyn Clock>,
    options: DeliveryOptions,
    sink: Option<Arc<dyn LogSink>>,
    reach: Reach,
    /// The rows of a window whose records are made at once.
    part_rows: usize,
    progress: Progress,
    waits: BTreeMap<Obstacle, Wait>,
    failures: Failures,
}

/// Which flow logs' latest records were not delivered, and why.
#[derive(Debug, Clone, Default)]
pub struct Failures(Arc<Mutex<BTreeMap<FlowLogId, LogSinkError>>>);

impl Failures {
    /// Why a flow log's latest records were not delivered; `None` if they were.
    #[must_use]
    pub fn of(&self, id: FlowLogId) -> Option<LogSinkError> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&id).copied()
    }

    fn set(&self, id: FlowLogId, failure: Option<LogSinkError>) -> Option<LogSinkError> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(failure) => failures.insert(id, failure),
            None => failures.remove(&id),
        }
    }
}

/// What is in the way of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    /// An endpoint is away.
    Endpoint(usize),
    /// A flow log's destination fails.
    FlowLog(FlowLogId),
}

/// When it is tried again.
#[derive(Debug, Clone, Copy)]
struct Wait {
    until: Timestamp,
    ms: i64,
}

/// From the first to the longest time between tries.
const WAIT_MS: (i64, i64) = (1_000, 60_000);

/// The owners of the notes.
const OWNERS: [(Reach, &str); 2] = [
    (Reach::Far, "flow-delivered-far"),
    (Reach::Near, "flow-delivered-near"),
];

/// So many take some 100 MB at most.
const PART_ROWS: usize = 131_072;

/// Why a period of a flow log was not delivered.
#[derive(Debug, thiserror::Error)]
enum DeliverError {
    #[error("write a file")]
    File(#[from] std::io::Error),
    #[error("put a file")]
    Put(#[source] PutError),
    #[error("read what is to be delivered, or note that it was")]
    Store(#[from] StoreError),
    #[error("write to the log group")]
    Sink(#[from] LogSinkError),
    #[error("there are no log groups")]
    NoSink,
}

impl From<BucketError> for DeliverError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::File(error) => Self::File(error),
            BucketError::Put(error) => Self::Put(error),
        }
    }
}

impl DeliverError {
    /// In the words of a flow log's description.
    fn said(&self) -> LogSinkError {
        match self {
            Self::Sink(said) => *said,
            Self::NoSink | Self::Put(PutError::Refused { .. }) => LogSinkError::AccessError,
            Self::File(error) if error.kind() != std::io::ErrorKind::StorageFull => {
                LogSinkError::AccessError
            }
            Self::File(_) | Self::Put(_) | Self::Store(_) => LogSinkError::Unknown,
        }
    }
}

/// A flow log, and where it is.
#[derive(Clone, Copy)]
struct Of<'a> {
    scope: &'a Scope,
    region: &'a RegionState,
    flow_log: &'a FlowLog,
}

/// A window or a part of one, from a time on to another.
type Span = (i64, i64);

impl Delivery {
    /// A delivery that goes on where the store says that the last one ended.
    pub fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        options: DeliveryOptions,
        sink: Option<Arc<dyn LogSink>>,
        reach: Reach,
    ) -> Result<Self, StoreError> {
        let mut owners = OWNERS;
        // A bucket may have moved to an endpoint since, or away from one.
        owners.sort_by_key(|(of, _)| *of != reach);
        let progress = Progress::open(&store, &owners.map(|(_, owner)| owner))?;
        Ok(Self {
            store,
            clock,
            options,
            sink,
            reach,
            part_rows: PART_ROWS,
            progress,
            waits: BTreeMap::new(),
            failures: Failures::default(),
        })
    }

    /// The same, which tells of its failures together with another one.
    #[must_use]
    pub fn with_failures(self, failures: Failures) -> Self {
        Self { failures, ..self }
    }

    /// Up to when records of any flow log were delivered.
    #[must_use]
    pub fn delivered(&self) -> Timestamp {
        Timestamp(self.progress.latest_ms(self.options.window_ms))
    }

    /// Tells which flow logs' records are not delivered.
    #[must_use]
    pub fn failures(&self) -> Failures {
        self.failures.clone()
    }

    /// Delivers what is to be delivered of windows that end before a time, for all flow logs.
    pub fn deliver(&mut self, state: &State, closed: Timestamp) {
        for (scope, region) in state.regions() {
            for flow_log in region.flow_logs.values() {
                let of = Of {
                    scope,
                    region,
                    flow_log,
                };
                let endpoint = self.endpoint(flow_log);
                if self.reach == Reach::Far && endpoint.is_none()
                    || self.reach == Reach::Near && endpoint.is_some()
                    || self.must_wait(endpoint, flow_log.id)
                {
                    continue;
                }
                let delivered = self.deliver_one(of, closed.0);
                self.account(endpoint, flow_log.id, delivered);
            }
        }
        let is_there = |id: FlowLogId| {
            let mut regions = state.regions().values();
            regions.any(|region| region.flow_logs.contains_key(&id))
        };
        self.progress.keep(is_there);
        self.waits.retain(|obstacle, _| match obstacle {
            Obstacle::Endpoint(_) => true,
            Obstacle::FlowLog(id) => is_there(*id),
        });
        let failures = self.failures.0.lock();
        let mut failures = failures.unwrap_or_else(PoisonError::into_inner);
        failures.retain(|id, _| is_there(*id));
    }

    /// The endpoint that a flow log's bucket is at.
    fn endpoint(&self, flow_log: &FlowLog) -> Option<usize> {
        match &flow_log.destination {
            FlowLogDestination::Bucket { bucket, .. } => self.options.buckets.endpoint(bucket),
            FlowLogDestination::LogGroup { .. } => None,
        }
    }

    fn must_wait(&self, endpoint: Option<usize>, id: FlowLogId) -> bool {
        let now = self.clock.now();
        let waits = |obstacle| self.waits.get(&obstacle).is_some_and(|it| now < it.until);
        waits(Obstacle::FlowLog(id)) || endpoint.is_some_and(|it| waits(Obstacle::Endpoint(it)))
    }

    /// Remembers what became of a delivery.
    fn account(
        &mut self,
        endpoint: Option<usize>,
        id: FlowLogId,
        delivered: Result<bool, DeliverError>,
    ) {
        let error = match delivered {
            // There was nothing to deliver: what was wrong may still be.
            Ok(false) => return,
            Ok(true) => {
                self.waits.remove(&Obstacle::FlowLog(id));
                endpoint.map(|it| self.waits.remove(&Obstacle::Endpoint(it)));
                self.failures.set(id, None);
                return;
            }
            Err(DeliverError::Put(PutError::Stopping)) => return,
            Err(error) => error,
        };
        let obstacle = match (&error, endpoint) {
            (DeliverError::Put(PutError::Away(_)), Some(endpoint)) => Obstacle::Endpoint(endpoint),
            _ => Obstacle::FlowLog(id),
        };
        let (first, longest) = WAIT_MS;
        let ms = self.waits.get(&obstacle);
        let ms = ms.map_or(first, |wait| (2 * wait.ms).min(longest));
        let until = Timestamp(self.clock.now().0 + ms);
        self.waits.insert(obstacle, Wait { until, ms });
        let said = error.said();
        if self.failures.set(id, Some(said)) != Some(said) {
            tracing::warn!(
                flow_log = %id,
                error = &error as &dyn std::error::Error,
                "records of a flow log are not delivered, it is tried again"
            );
        }
    }

    /// Delivers a flow log's records up to a time. False if there was nothing to deliver.
    fn deliver_one(&mut self, of: Of<'_>, closed: i64) -> Result<bool, DeliverError> {
        let id = of.flow_log.id;
        let period = match of.flow_log.destination {
            FlowLogDestination::Bucket { .. } => self.options.file_ms,
            FlowLogDestination::LogGroup { .. } => self.options.window_ms,
        };
        let mut has_any = false;
        loop {
            let done = self.progress.of(id).unwrap_or(Done {
                until_ms: of.flow_log.created.0,
                parts: 0,
            });
            let begins = done.until_ms;
            // The first period begins in the middle of one.
            let ends = (begins.div_euclid(period) + 1) * period;
            if ends > closed {
                return Ok(has_any);
            }
            match &of.flow_log.destination {
                FlowLogDestination::Bucket { bucket, .. } => {
                    self.to_bucket(of, bucket, ends - period, (begins, ends))?;
                }
                FlowLogDestination::LogGroup { name, .. } => {
                    self.to_group(of, name, done.parts, (begins, ends))?;
                }
            }
            self.progress.set(
                id,
                Done {
                    until_ms: ends,
                    parts: 0,
                },
            );
            has_any = true;
        }
    }

    /// Writes the files of a period, and notes that they are there.
    fn to_bucket(
        &self,
        of: Of<'_>,
        bucket: &str,
        begins_ms: i64,
        (begins, ends): Span,
    ) -> Result<(), DeliverError> {
        let put = |object: Option<Object>| match object {
            None => Ok(()),
            Some(object) => self.options.buckets.put(bucket, &object),
        };
        let mut files = Files::new(Period {
            scope: of.scope,
            flow_log: of.flow_log,
            begins_ms,
        });
        let window = self.options.window_ms;
        let mut from = begins;
        while from < ends {
            let to = ((from.div_euclid(window) + 1) * window).min(ends);
            self.tell(of, (from, to), 0, |_, records| {
                for record in records {
                    put(files.add(record)?)?;
                }
                Ok(())
            })?;
            from = to;
        }
        put(files.finish()?)?;
        let done = Done {
            until_ms: ends,
            parts: 0,
        };
        self.store
            .append(self.progress.note(of.flow_log.id, done))?;
        Ok(())
    }

    /// Tells the records of a window part by part, from one on: each with its number, and whether there are
    /// more.
    fn tell(
        &self,
        of: Of<'_>,
        (from, to): Span,
        first: u64,
        mut each: impl FnMut((u64, bool), &mut dyn Iterator<Item = Record>) -> Result<(), DeliverError>,
    ) -> Result<(), DeliverError> {
        let query = Query {
            kind: KIND,
            from: Timestamp(from),
            to: Timestamp(to),
            keys: match of.flow_log.resource {
                FlowLogResource::NetworkInterface(id) => Keys::one(&id.to_string()),
                FlowLogResource::Subnet(_) | FlowLogResource::Vpc(_) => Keys::All,
            },
            columns: None,
        };
        let census = Census::take(&self.store, &query)?;
        let resource = of.flow_log.resource.to_string();
        let is_covered = |row: &Told<'_>| match of.flow_log.resource {
            FlowLogResource::NetworkInterface(_) => true,
            FlowLogResource::Subnet(_) => row.text("subnet") == Some(&resource),
            FlowLogResource::Vpc(_) => row.text("vpc") == Some(&resource),
        };
        for (number, part) in (0..).zip(census.parts(self.part_rows)) {
            if number < first {
                continue;
            }
            let mut window = Window::new(of.flow_log, from, to);
            let query = Query {
                keys: part.keys.clone(),
                ..query.clone()
            };
            for batch in self.store.scan(&query)? {
                let batch = batch?;
                rows(&batch)
                    .filter(|row| part.has(row) && is_covered(row))
                    .for_each(|row| window.add(&row));
            }
            each((number, true), &mut window.records())?;
        }
        // What was removed before it was delivered is not known any more.
        let is_lost = from < self.store.evicted_until(KIND).0;
        let window = Window::new(of.flow_log, from, to);
        let enis = of.region.network_interfaces.values();
        let enis = enis.filter(|eni| eni.is_in_use() && covers(of.flow_log, eni));
        let mut idle = enis.filter_map(|eni| {
            let id = eni.id.to_string();
            let status = match (census.skipped.contains(&id), census.busy.contains(&id)) {
                (true, _) => return None,
                (false, _) if is_lost => Status::SkipData,
                (false, true) => return None,
                (false, false) => Status::NoData,
            };
            let facts = Arc::new(facts(of.scope, of.region, eni));
            Some(window.without_packets(id, facts, status))
        });
        each((u64::MAX, false), &mut idle)
    }

    /// Stores the records of a window as events of log streams, part by part, each with the note of it.
    fn to_group(
        &self,
        of: Of<'_>,
        group: &str,
        first: u64,
        span: Span,
    ) -> Result<(), DeliverError> {
        let sink = self.sink.clone().ok_or(DeliverError::NoSink)?;
        let id = of.flow_log.id;
        self.tell(of, span, first, |(number, has_more), records| {
            let done = match has_more {
                true => Done {
                    until_ms: span.0,
                    parts: number + 1,
                },
                false => Done {
                    until_ms: span.1,
                    parts: 0,
                },
            };
            let deliveries = events(of, group, records);
            self.send(&*sink, deliveries, self.progress.note(id, done))
        })
    }

    /// Stores events and a note, all in one moment.
    fn send(
        &self,
        sink: &dyn LogSink,
        deliveries: Vec<LogDelivery>,
        note: Write,
    ) -> Result<(), DeliverError> {
        let mut all = note;
        for delivery in &deliveries {
            all = all.and(sink.prepare(delivery)?);
        }
        // Events arrive in the order in which they were prepared.
        let mut arrival = self.store.append(all)?.first_arrival;
        for delivery in &deliveries {
            sink.stored(delivery, arrival);
            arrival += delivery.events.len() as u64;
        }
        Ok(())
    }
}

/// Records as events of log streams, one for each interface.
fn events(of: Of<'_>, group: &str, records: &mut dyn Iterator<Item = Record>) -> Vec<LogDelivery> {
    let traffic = of.flow_log.traffic.word().to_ascii_lowercase();
    let mut streams: BTreeMap<String, Vec<(Timestamp, String)>> = BTreeMap::new();
    for record in records {
        let event = (
            Timestamp(record.start_s * 1000),
            line(&record, &of.flow_log.format),
        );
        streams.entry(record.eni).or_default().push(event);
    }
    let streams = streams.into_iter();
    streams
        .map(|(eni, mut events)| {
            events.sort_by_key(|(at, _)| *at);
            LogDelivery {
                account: of.scope.account,
                region: of.scope.region.clone(),
                group: group.to_owned(),
                stream: format!("{eni}-{traffic}"),
                events,
            }
        })
        .collect()
}

/// What is said of an interface as it is now.
fn facts(scope: &Scope, region: &RegionState, eni: &NetworkInterface) -> Facts {
    let subnet = region.subnets.get(&eni.subnet);
    Facts {
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        vpc: eni.vpc.to_string(),
        subnet: eni.subnet.to_string(),
        instance: eni
            .attachment
            .as_ref()
            .and_then(|it| it.own_instance())
            .map(|instance| instance.to_string()),
        zone_id: subnet.map(|it| it.zone_id.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
