//! The telemetry store of this daemon, and what stands on it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use enid_model::log_group::{LogGroup, LogPlace};
use enid_model::time::{Clock, SystemClock, Timestamp};
use enid_telemetry::log;
use enid_telemetry::log::logs::{Floor as _, Logs};
use enid_telemetry::log::metric::MetricFilters;
use enid_telemetry::log::query::registry::Queries;
use enid_telemetry::log::subscription::Subscriptions;
use enid_telemetry::metric::database::Metrics;
use enid_telemetry::metric::stored::Stored;
use enid_telemetry::notify::Notify;
use enid_telemetry::store::{Options, Store};

use crate::paths::DataDir;

/// What everything that is told of packets and logs is kept in.
#[derive(Clone)]
pub(crate) struct Telemetry {
    pub(crate) store: Store,
    pub(crate) logs: Arc<Logs>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) subscriptions: Subscriptions,
    metric_filters: Arc<MetricFilters>,
    pub(crate) notify: Notify,
}

impl Telemetry {
    /// Opens the store in a data directory. What a daemon that forgets everything keeps need not
    /// survive a loss of power.
    pub(crate) fn open(
        own: &DataDir,
        is_ephemeral: bool,
        regions: &enid_store::Store,
        notify: enid_telemetry::notify::Config,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let root = own.path().join("telemetry");
        if is_ephemeral
            && let Err(error) = std::fs::remove_dir_all(&root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("empty {}", root.display()));
        }
        let mut options = Options::new(root);
        options.is_durable = !is_ephemeral;
        let kinds =
            enid_telemetry::kinds()
                .into_iter()
                .map(|kind| match kind.name() == log::event::KIND {
                    true => kind.with_floor(kept(regions.clone(), Arc::clone(&clock))),
                    false => kind,
                });
        let store = Store::open(options, kinds.collect(), Arc::clone(&clock))
            .with_context(|| format!("open the telemetry in {}", own.path().display()))?;
        let rows = Arc::new(Stored::new(store.clone()));
        let metrics = Metrics::open(rows, Arc::clone(&clock)).context("open the metrics")?;
        let metrics = Arc::new(metrics);
        let notify = notifications(&store, regions.clone(), Arc::clone(&clock), notify)?;
        let logs = Arc::new(Logs::new(store.clone(), clock));
        let metric_filters = Arc::new(MetricFilters::new(Arc::clone(&metrics) as _));
        logs.watch(Arc::clone(&metric_filters) as _);
        let subscriptions = Subscriptions::default();
        logs.watch(Arc::new(subscriptions.clone()));
        Ok(Self {
            store,
            logs,
            metrics,
            queries: Arc::default(),
            subscriptions,
            metric_filters,
            notify,
        })
    }

    /// Does from time to time what is due without a request, until the daemon ends.
    pub(crate) async fn tend(self) {
        let mut ticks = tokio::time::interval(TEND_EVERY);
        loop {
            ticks.tick().await;
            let this = self.clone();
            let tended = tokio::task::spawn_blocking(move || {
                this.metric_filters.flush(this.logs.now());
            });
            if let Err(error) = tended.await {
                tracing::error!(%error, "the telemetry is not tended any more");
                return;
            }
        }
    }

    /// Forgets everything. Blocks.
    pub(crate) fn reset(&self) -> Result<(), enid_telemetry::store::StoreError> {
        self.queries.clear();
        self.subscriptions.clear();
        self.logs.forget();
        self.metric_filters.clear();
        self.metrics.clear();
        // Nothing can be in a store to which nothing has been appended, and a test run resets often.
        match self
            .store
            .stats()
            .kinds
            .values()
            .all(|kind| kind.memory_rows + kind.files == 0)
        {
            true => Ok(()),
            false => self.store.clear(),
        }
    }
}

/// What is still to be delivered is taken up again.
fn notifications(
    store: &Store,
    regions: enid_store::Store,
    clock: Arc<dyn Clock>,
    config: enid_telemetry::notify::Config,
) -> anyhow::Result<Notify> {
    let states = Arc::new(move || regions.state());
    Notify::open(store.clone(), states, clock, config).context("take up messages to deliver")
}

/// A minute without a match is reported at most so much later.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// From when on events of a stream are kept: never if the stream is gone.
fn kept(
    regions: enid_store::Store,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Fn(&str) -> Timestamp + Send + Sync> {
    Arc::new(move |key| {
        let Ok(place) = key.parse::<LogPlace>() else {
            return Timestamp(i64::MIN);
        };
        let state = regions.state();
        let mut groups = state.regions().values().filter_map(|region| {
            let group = region
                .log_groups
                .values()
                .find(|it| it.uid == place.group)?;
            let mut streams = region.log_streams_from(place.group, "");
            let has_stream = streams.any(|(_, stream)| stream.uid == place.stream);
            has_stream.then(|| LogGroup::floor(group, clock.now()))
        });
        groups.next().unwrap_or(Timestamp(i64::MAX))
    })
}
