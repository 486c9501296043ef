//! Delivery: the records of closed windows go to where each flow log says.
//!
//! What was delivered is noted in the store. A file is written before that is noted, and is the same if it is
//! written again; events of a log group are stored in the same moment as the note. So nothing is lost over a
//! crash, and nothing is there twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::flow_log::{FlowLog, FlowLogDestination, FlowLogResource};
use enid_model::id::FlowLogId;
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use enid_model::time::Timestamp;

use super::files::{Period, objects, write};
use super::record::{Facts, Record, Window};
use super::render::line;
use super::row::{KIND, Told, rows};
use super::sink::{LogDelivery, LogSink, LogSinkError};
use super::watch::covers;
use crate::store::{Keys, Query, Store, StoreError, Write};

/// How records are delivered.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// The length of a window.
    pub window_ms: i64,
    /// What one file tells of: a whole number of windows.
    pub file_ms: i64,
    /// The directory whose directories are the buckets.
    pub buckets: PathBuf,
}

/// Delivers records.
pub struct Delivery {
    store: Store,
    options: DeliveryOptions,
    sink: Option<Arc<dyn LogSink>>,
    /// Up to when each flow log's records were delivered.
    done: BTreeMap<FlowLogId, i64>,
    failures: Arc<Mutex<BTreeMap<FlowLogId, LogSinkError>>>,
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
}

/// The owner of the notes.
const OWNER: &str = "flow-delivery";

/// Why a period of a flow log was not delivered.
#[derive(Debug, thiserror::Error)]
enum DeliverError {
    #[error("write a file")]
    File(#[from] std::io::Error),
    #[error("read what is to be delivered, or note that it was")]
    Store(#[from] StoreError),
    #[error("write to the log group")]
    Sink(#[from] LogSinkError),
    #[error("there are no log groups")]
    NoSink,
}

impl Delivery {
    /// A delivery that goes on where the store says that the last one ended.
    pub fn open(
        store: Store,
        options: DeliveryOptions,
        sink: Option<Arc<dyn LogSink>>,
    ) -> Result<Self, StoreError> {
        let mut done = BTreeMap::new();
        for note in store.notes(OWNER)? {
            for pair in note.chunks_exact(16) {
                let (id, until) = pair.split_at(8);
                // Unwrap: of eight bytes each.
                let id = FlowLogId(u64::from_le_bytes(id.try_into().unwrap()));
                done.insert(id, i64::from_le_bytes(until.try_into().unwrap()));
            }
        }
        Ok(Self {
            store,
            options,
            sink,
            done,
            failures: Arc::default(),
        })
    }

    /// Up to when records of any flow log were delivered.
    #[must_use]
    pub fn delivered(&self) -> Timestamp {
        let done = self.done.values().max();
        Timestamp(done.copied().unwrap_or(i64::MIN))
    }

    /// Tells which flow logs' records are not delivered.
    #[must_use]
    pub fn failures(&self) -> Failures {
        Failures(Arc::clone(&self.failures))
    }

    /// Delivers what is to be delivered of windows that end before a time, for all flow logs.
    pub fn deliver(&mut self, state: &State, closed: Timestamp) {
        for (scope, region) in state.regions() {
            for flow_log in region.flow_logs.values() {
                let delivered = self.deliver_one(scope, region, flow_log, closed.0);
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                let Err(error) = delivered else {
                    failures.remove(&flow_log.id);
                    continue;
                };
                let said = match &error {
                    DeliverError::Sink(said) => *said,
                    DeliverError::File(_) | DeliverError::NoSink => LogSinkError::AccessError,
                    DeliverError::Store(_) => LogSinkError::Unknown,
                };
                if failures.insert(flow_log.id, said) != Some(said) {
                    tracing::warn!(
                        flow_log = %flow_log.id,
                        error = &error as &dyn std::error::Error,
                        "records of a flow log are not delivered, it is tried again"
                    );
                }
            }
        }
        let is_there = |id: &FlowLogId| {
            let mut regions = state.regions().values();
            regions.any(|region| region.flow_logs.contains_key(id))
        };
        self.done.retain(|id, _| is_there(id));
    }

    fn deliver_one(
        &mut self,
        scope: &Scope,
        region: &RegionState,
        flow_log: &FlowLog,
        closed: i64,
    ) -> Result<(), DeliverError> {
        let period = match flow_log.destination {
            FlowLogDestination::Bucket { .. } => self.options.file_ms,
            FlowLogDestination::LogGroup { .. } => self.options.window_ms,
        };
        loop {
            let begins = self.done.get(&flow_log.id).copied();
            let begins = begins.unwrap_or(flow_log.created.0);
            // The first period begins in the middle of one.
            let ends = (begins.div_euclid(period) + 1) * period;
            if ends > closed {
                return Ok(());
            }
            let mut records = Vec::new();
            let mut from = begins;
            while from < ends {
                let window = self.options.window_ms;
                let to = ((from.div_euclid(window) + 1) * window).min(ends);
                records.extend(self.records(scope, region, flow_log, from, to)?);
                from = to;
            }
            let note = self.note(flow_log.id, ends);
            match &flow_log.destination {
                FlowLogDestination::Bucket { bucket, .. } => {
                    let period = Period {
                        scope,
                        flow_log,
                        begins_ms: ends - period,
                    };
                    for object in objects(period, &records)? {
                        write(&self.options.buckets.join(bucket), &object)?;
                    }
                    self.store.append(note)?;
                }
                FlowLogDestination::LogGroup { name, .. } => {
                    self.send(scope, flow_log, name, &records, note)?;
                }
            }
            self.done.insert(flow_log.id, ends);
        }
    }

    /// The note that a flow log's records were delivered up to a time.
    fn note(&self, id: FlowLogId, until: i64) -> Write {
        let mut done = self.done.clone();
        done.insert(id, until);
        let mut bytes = Vec::with_capacity(done.len() * 16);
        for (id, until) in done {
            bytes.extend(id.0.to_le_bytes());
            bytes.extend(until.to_le_bytes());
        }
        Write::new().note(OWNER, true, bytes)
    }

    /// The records of a window.
    fn records(
        &self,
        scope: &Scope,
        region: &RegionState,
        flow_log: &FlowLog,
        from: i64,
        to: i64,
    ) -> Result<Vec<Record>, DeliverError> {
        let keys = match flow_log.resource {
            FlowLogResource::NetworkInterface(id) => Keys::one(&id.to_string()),
            FlowLogResource::Subnet(_) | FlowLogResource::Vpc(_) => Keys::All,
        };
        let resource = flow_log.resource.to_string();
        let is_covered = |row: &Told<'_>| match flow_log.resource {
            FlowLogResource::NetworkInterface(_) => true,
            FlowLogResource::Subnet(_) => row.text("subnet") == Some(&resource),
            FlowLogResource::Vpc(_) => row.text("vpc") == Some(&resource),
        };
        let query = Query {
            kind: KIND,
            from: Timestamp(from),
            to: Timestamp(to),
            keys,
            columns: None,
        };
        let mut window = Window::new(flow_log, from, to);
        for batch in self.store.scan(&query)? {
            let batch = batch?;
            rows(&batch)
                .filter(is_covered)
                .for_each(|row| window.add(&row));
        }
        let idle = region.network_interfaces.values();
        let idle = idle.filter(|eni| eni.is_in_use() && covers(flow_log, eni));
        Ok(window.records(idle.map(|eni| (eni.id.to_string(), facts(scope, region, eni)))))
    }

    /// Stores records as events of log streams, one for each interface.
    fn send(
        &self,
        scope: &Scope,
        flow_log: &FlowLog,
        group: &str,
        records: &[Record],
        note: Write,
    ) -> Result<(), DeliverError> {
        let sink = self.sink.as_ref().ok_or(DeliverError::NoSink)?;
        let mut streams: BTreeMap<String, Vec<(Timestamp, String)>> = BTreeMap::new();
        for record in records {
            let traffic = flow_log.traffic.word().to_ascii_lowercase();
            let events = streams
                .entry(format!("{}-{traffic}", record.eni))
                .or_default();
            let at = Timestamp(record.start_s * 1000);
            events.push((at, line(record, &flow_log.format)));
        }
        let deliveries: Vec<LogDelivery> = streams
            .into_iter()
            .map(|(stream, mut events)| {
                events.sort_by_key(|(at, _)| *at);
                LogDelivery {
                    account: scope.account,
                    region: scope.region.clone(),
                    group: group.to_owned(),
                    stream,
                    events,
                }
            })
            .collect();
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
