//! The host's sweeps and the flow logs: what the kernel counts goes to the collector, what it made of that to
//! where each flow log says. Collecting is one thread's work, delivering on this machine another's, and
//! delivering to S3 endpoints that of a third: none waits for another, and the agent for none of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use enid_api::ec2::{Asking, Deliveries};
use enid_control::BucketRefusal;
use enid_host::flow_observer::{FlowObserver, SettledEntry, Swept};
use enid_model::id::FlowLogId;
use enid_model::state::Revision;
use enid_model::time::{Clock, SystemClock, Timestamp};
use enid_store::Store;
use enid_telemetry::bucket::endpoint::{Endpoints, Refusal};
use enid_telemetry::flow::sink::{LogSink, LogSinkError};
use enid_telemetry::flow::{
    Collector, Delivery, DeliveryOptions, Failures, Reach, Seen, SeenFlow, Settled, Watch,
};
use enid_telemetry::store::Store as Telemetry;

/// Sweeps that wait for the thread. What comes when there are more is read again in the next pass.
const WAITING_MAX: usize = 64;

/// How often is looked whether something is to be delivered, and what is watched.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The flow logs of this host, at work.
pub(crate) struct FlowLogs {
    failures: Failures,
    endpoints: Option<Arc<Endpoints>>,
    /// Ends the threads when it goes.
    stop: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl FlowLogs {
    /// Goes on where the last daemon ended. The agent gets the observer.
    pub(crate) fn start(
        telemetry: &Telemetry,
        store: &Store,
        options: DeliveryOptions,
        sink: Option<Arc<dyn LogSink>>,
    ) -> anyhow::Result<(Self, Box<dyn FlowObserver>)> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let window_ms = options.window_ms;
        let endpoints = options.buckets.endpoints.clone();
        let open = |reach| {
            let (rows, time) = (telemetry.clone(), Arc::clone(&clock));
            Delivery::open(rows, time, options.clone(), sink.clone(), reach)
                .context("read what was delivered of flow logs")
        };
        let delivery = open(Reach::Near)?;
        let delivered = delivery.delivered();
        let (rows, time) = (telemetry.clone(), Arc::clone(&clock));
        let collector = Collector::open(rows, time, window_ms, delivered)
            .context("read the account of flows")?;
        let failures = delivery.failures();
        let watched = Watched::default();
        let (sweeps, inbox) = sync_channel(WAITING_MAX);
        let (settled, settling) = channel();
        let (stop, stopping) = channel();
        let closed = Arc::new(AtomicI64::new(i64::MIN));
        let mut flow_logs = Self {
            failures: failures.clone(),
            endpoints,
            stop: vec![stop],
            threads: Vec::new(),
        };
        if flow_logs.endpoints.is_some() {
            let delivery = open(Reach::Far)?.with_failures(failures);
            flow_logs.start_courier("flow-far", store, &closed, delivery)?;
        }
        flow_logs.start_courier("flow-near", store, &closed, delivery)?;
        let mut worker = Worker {
            store: store.clone(),
            clock,
            collector,
            watched: watched.clone(),
            inbox,
            settled,
            stopping,
            closed,
            revision: None,
        };
        // Before the agent's first sweep: what ended meanwhile is not to be removed untold.
        worker.follow();
        let thread = std::thread::Builder::new()
            .name("flow-logs".to_owned())
            .spawn(move || worker.run())
            .context("start the thread of flow logs")?;
        let observer = Observer {
            watched,
            sweeps,
            settling,
            is_pass_whole: true,
        };
        flow_logs.threads.push(thread);
        Ok((flow_logs, Box::new(observer)))
    }

    /// Starts a thread that delivers what is closed.
    fn start_courier(
        &mut self,
        name: &str,
        store: &Store,
        closed: &Arc<AtomicI64>,
        mut delivery: Delivery,
    ) -> anyhow::Result<()> {
        let (stop, stopping) = channel::<()>();
        let (store, closed) = (store.clone(), Arc::clone(closed));
        let work = move || {
            while let Err(RecvTimeoutError::Timeout) = stopping.recv_timeout(LOOK_EVERY) {
                let closed = Timestamp(closed.load(Ordering::Relaxed));
                delivery.deliver(&store.state(), closed);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(work);
        self.threads
            .push(thread.context("start the thread that delivers flow logs")?);
        self.stop.push(stop);
        Ok(())
    }

    /// What becomes of records, for those who describe flow logs.
    pub(crate) fn deliveries(&self) -> Arc<dyn Deliveries> {
        Arc::new(Told(self.failures.clone(), self.endpoints.clone()))
    }

    /// Ends the threads. The agent must have ended before: what it says last is still stored.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if let Some(endpoints) = &self.endpoints {
            endpoints.stop();
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of flow logs panicked");
            }
        }
    }
}

/// Which interfaces are watched: the thread says so, the agent asks.
#[derive(Clone, Default)]
struct Watched(Arc<RwLock<BTreeSet<u64>>>);

/// What the agent's sweep talks to.
struct Observer {
    watched: Watched,
    sweeps: SyncSender<(Swept, Timestamp)>,
    settling: Receiver<Vec<SettledEntry>>,
    /// Whether all that was read in this pass was handed on.
    is_pass_whole: bool,
}

impl FlowObserver for Observer {
    fn is_watched(&self, eni: u64) -> bool {
        let watched = self.watched.0.read();
        watched
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&eni)
    }

    fn saw(&mut self, mut swept: Swept) {
        let ends_pass = swept.pass_began_ns.is_some();
        if !self.is_pass_whole {
            swept.pass_began_ns = None;
        }
        let sent = self.sweeps.try_send((swept, SystemClock.now()));
        if let Err(TrySendError::Full(_)) = sent {
            tracing::debug!("flow logs are behind, the flows are read again");
            self.is_pass_whole = false;
        } else if ends_pass {
            self.is_pass_whole = true;
        }
    }

    fn settled(&mut self) -> Vec<SettledEntry> {
        self.settling.try_iter().flatten().collect()
    }
}

/// The thread's state.
struct Worker {
    store: Store,
    clock: Arc<dyn Clock>,
    collector: Collector,
    watched: Watched,
    inbox: Receiver<(Swept, Timestamp)>,
    settled: Sender<Vec<SettledEntry>>,
    stopping: Receiver<()>,
    /// Up to when windows are closed, for the other threads.
    closed: Arc<AtomicI64>,
    /// Of the state that was last followed.
    revision: Option<Revision>,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.inbox.recv_timeout(LOOK_EVERY) {
                Ok((swept, at)) => self.collect(swept, at),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let is_stopping = matches!(
                self.stopping.try_recv(),
                Err(std::sync::mpsc::TryRecvError::Disconnected)
            );
            if is_stopping {
                return;
            }
            self.follow();
            let closed = self.collector.closed();
            self.closed.store(closed.0, Ordering::Relaxed);
        }
    }

    fn collect(&mut self, swept: Swept, at: Timestamp) {
        self.follow();
        let behind_ns = |began: u64| swept.now_ns.saturating_sub(began) / 1_000_000;
        let pass = swept.pass_began_ns.map(|began| {
            let behind = i64::try_from(behind_ns(began)).unwrap_or(0);
            Timestamp(at.0 - behind)
        });
        // The collector takes the time of its own clock for that of the entries' reading.
        let late_ms = u64::try_from(self.clock.now().0 - at.0).unwrap_or(0);
        let seen = Seen {
            now_ns: swept.now_ns + late_ms * 1_000_000,
            flows: swept
                .flows
                .into_iter()
                .map(|(key, record, has_ended)| SeenFlow {
                    key,
                    record,
                    has_ended,
                })
                .collect(),
            strays: swept.strays,
            is_full: swept.is_full,
            pass,
        };
        let settled = self.collector.collect(seen).into_iter();
        let settled: Vec<SettledEntry> = settled
            .map(|entry| match entry {
                Settled::Flow(key, packets) => SettledEntry::Flow(key, packets),
                Settled::Stray(key, packets) => SettledEntry::Stray(key, packets),
            })
            .collect();
        if !settled.is_empty() {
            // An agent that has ended removes nothing; the next one does.
            let _ = self.settled.send(settled);
        }
    }

    /// Watches what the flow logs of the present state want to know.
    fn follow(&mut self) {
        let state = self.store.state();
        if self.revision == Some(state.revision) {
            return;
        }
        self.revision = Some(state.revision);
        self.collector.follow(Watch::of(&state));
        let watched = self.collector.watched().into_iter().collect();
        *self
            .watched
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = watched;
    }
}

/// Tells the API of failures, and what endpoints say when they are asked.
struct Told(Failures, Option<Arc<Endpoints>>);

impl Deliveries for Told {
    fn failure(&self, id: FlowLogId) -> Option<&'static str> {
        self.0.of(id).map(|error| match error {
            LogSinkError::AccessError => "Access error",
            LogSinkError::RateLimited => "Rate limited",
            LogSinkError::Unknown => "Unknown error",
        })
    }
    fn refusal<'a>(&'a self, bucket: &'a str) -> Asking<'a> {
        Box::pin(async move {
            let endpoints = self.1.as_ref()?;
            endpoints.of(bucket)?;
            Some(match endpoints.ask(bucket).await? {
                Refusal::Denied => BucketRefusal::Denied,
                Refusal::Missing => BucketRefusal::Missing,
            })
        })
    }
}
