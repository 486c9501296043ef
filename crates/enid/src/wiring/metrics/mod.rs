//! Metrics of this host: every minute its sources are read, what their counters gained becomes datapoints,
//! and whoever scrapes `/metrics` gets the counters themselves.
//!
//! One thread does the first, because sources read the kernel and the telemetry store, and both block.

mod balancer_targets;
mod capacity;
pub(crate) mod daemon;
pub(crate) mod interfaces;
pub(crate) mod load_balancers;
pub(crate) mod nat_gateways;
mod peaks;
pub(crate) mod status_checks;

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use enid_model::state::Revision;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use enid_telemetry::metric::database::Metrics;
use enid_telemetry::metric::rows::Beside;
use enid_telemetry::source::exposition::expose;
use enid_telemetry::source::ledger::{Ledger, OWNER};
use enid_telemetry::source::{Reading, Source};
use enid_telemetry::store::Store as Rows;
use tokio::sync::watch;

/// How often the region's state is looked at, and the clock.
const LOOK_EVERY_MS: i64 = 1_000;
/// How often sources look at what changes quickly.
const GLANCE_EVERY_MS: i64 = 10_000;
/// Minutes of basic monitoring.
const SLOW: i64 = 5;
const MINUTE_MS: i64 = 60_000;

/// The sources of this host, and how far they were published.
pub(crate) struct Meters {
    parts: Mutex<Parts>,
    metrics: Arc<Metrics>,
    store: Store,
    clock: Arc<dyn Clock>,
    every_ms: i64,
    /// The end of the last minute that was published, or could not be.
    published: watch::Sender<Timestamp>,
}

struct Parts {
    sources: Vec<Box<dyn Source>>,
    ledger: Ledger,
    /// The state that sources follow.
    followed: Option<Revision>,
    glanced: Timestamp,
}

/// The thread that publishes, at work.
pub(crate) struct Publishing {
    /// Ends the thread when it goes.
    _stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Meters {
    /// Goes on where the last daemon ended. Blocks.
    pub(crate) fn open(
        rows: &Rows,
        metrics: &Arc<Metrics>,
        store: &Store,
        clock: Arc<dyn Clock>,
        every_ms: i64,
        sources: Vec<Box<dyn Source>>,
    ) -> anyhow::Result<Self> {
        let notes = rows.notes(OWNER).context("read what was published")?;
        let now = clock.now();
        let parts = Parts {
            sources,
            ledger: Ledger::open(&notes),
            followed: None,
            glanced: now,
        };
        let published = watch::Sender::new(floor(now, every_ms));
        Ok(Self {
            parts: Mutex::new(parts),
            metrics: Arc::clone(metrics),
            store: store.clone(),
            clock,
            every_ms,
            published,
        })
    }

    /// Publishes from now on.
    pub(crate) fn start(self: &Arc<Self>) -> anyhow::Result<Publishing> {
        let (stop, stopping) = channel::<()>();
        let this = Arc::clone(self);
        let work = move || {
            loop {
                let now = this.clock.now();
                let next = floor(now, LOOK_EVERY_MS).0 + LOOK_EVERY_MS;
                let wait = u64::try_from(next - now.0).unwrap_or(0);
                match stopping.recv_timeout(Duration::from_millis(wait)) {
                    Err(RecvTimeoutError::Timeout) => this.look(),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(work)
            .context("start the thread of metrics")?;
        Ok(Publishing {
            _stop: stop,
            thread,
        })
    }

    /// Does what is due. Blocks.
    fn look(&self) {
        let now = self.clock.now();
        let mut parts = self.parts();
        parts.follow(&self.store);
        if now.0 - parts.glanced.0 >= GLANCE_EVERY_MS {
            parts.glanced = now;
            parts.sources.iter_mut().for_each(|source| source.glance());
        }
        let end = floor(now, self.every_ms);
        let last = *self.published.borrow();
        if end > last {
            self.publish(&mut parts, last, end);
            drop(parts);
            self.published.send_replace(end);
        }
    }

    /// Publishes what was counted up to the end of a minute.
    fn publish(&self, parts: &mut Parts, last: Timestamp, end: Timestamp) {
        let state = self.store.state();
        let Parts {
            sources, ledger, ..
        } = parts;
        for source in &mut *sources {
            match source.read(&state) {
                Ok(readings) => ledger.take(source.name(), &readings),
                Err(error) => {
                    let error = enid_host::chain(&error);
                    tracing::warn!(error, "a source was not read, its counts come later");
                }
            }
        }
        let slow_ms = SLOW * self.every_ms;
        let slow = floor(end, slow_ms);
        let five = (slow > floor(last, slow_ms)).then_some(Timestamp(slow.0 - slow_ms));
        let start = Timestamp(end.0 - self.every_ms);
        let mut close = ledger.close(start, five, self.every_ms < MINUTE_MS);
        let beside = close.note.clone().map(|(is_full, bytes)| Beside {
            owner: OWNER,
            is_full,
            bytes,
        });
        let samples = std::mem::take(&mut close.samples);
        match self.metrics.put_all(samples, beside) {
            Ok(()) => {
                ledger.settle(&close);
                sources.iter_mut().for_each(|source| source.end());
            }
            Err(error) => {
                let error = enid_host::chain(&error);
                tracing::warn!(error, "metrics were not published, their counts come later");
            }
        }
    }

    /// Waits until the minute that ends then was published, but not for long.
    pub(crate) async fn until_published(&self, end: Timestamp) {
        let end = floor(end, self.every_ms);
        let mut published = self.published.subscribe();
        let published = published.wait_for(|last| *last >= end);
        // Whoever waits goes on without.
        let _ = tokio::time::timeout(PATIENCE, published).await;
    }

    /// Everything as Prometheus reads it. Blocks.
    pub(crate) fn expose(&self) -> String {
        let state = self.store.state();
        let mut parts = self.parts();
        parts.follow(&self.store);
        let mut readings: Vec<Reading> = Vec::new();
        for source in &mut parts.sources {
            match source.read(&state) {
                Ok(read) => readings.extend(read),
                Err(error) => {
                    let error = enid_host::chain(&error);
                    tracing::warn!(error, "a source was not read for a scrape");
                }
            }
        }
        expose(&readings)
    }

    /// Forgets what was published: the counters are forgotten as well.
    pub(crate) fn clear(&self) {
        let mut parts = self.parts();
        parts.ledger.clear();
        parts.followed = None;
        parts.sources.iter_mut().for_each(|source| source.clear());
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long somebody waits for a minute to be published.
const PATIENCE: Duration = Duration::from_secs(3);

impl Parts {
    /// Has the sources follow the region's state. What counts to somebody else by it is read before.
    fn follow(&mut self, store: &Store) {
        let state = store.state();
        if self.followed == Some(state.revision) {
            return;
        }
        let mut is_followed = true;
        for source in &mut self.sources {
            if source.is_overtaken(&state) {
                match source.read(&state) {
                    Ok(readings) => self.ledger.take_gains(source.name(), &readings),
                    Err(error) => {
                        let error = enid_host::chain(&error);
                        tracing::debug!(error, "a source was not read, it follows later");
                        is_followed = false;
                        continue;
                    }
                }
            }
            source.follow(&state);
        }
        if is_followed {
            self.followed = Some(state.revision);
        }
    }
}

impl Publishing {
    /// Ends the thread. What is not published is by the next daemon.
    pub(crate) fn stop(self) {
        let Self { _stop, thread } = self;
        drop(_stop);
        if thread.join().is_err() {
            tracing::error!("the thread of metrics panicked");
        }
    }
}

fn floor(time: Timestamp, ms: i64) -> Timestamp {
    Timestamp(time.0.div_euclid(ms) * ms)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use enid_telemetry::source::Meaning;

    use super::*;

    fn all() -> Vec<&'static Meaning> {
        let parts = [
            interfaces::ALL,
            balancer_targets::ALL,
            load_balancers::ALL,
            nat_gateways::ALL,
            daemon::ALL,
            status_checks::ALL,
            crate::wiring::address_usage::ALL,
        ];
        parts.into_iter().flatten().copied().collect()
    }

    fn read(path: &str) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
        std::fs::read_to_string(format!("{root}{path}")).expect(path)
    }

    /// The words in a text that are names of exposed metrics.
    fn exposed_in(text: &str) -> BTreeSet<&str> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        words.filter(|word| word.starts_with("enid_")).collect()
    }

    #[test]
    fn every_metric_is_documented_and_nothing_else() {
        let page = read("metrics.md");
        for meaning in all() {
            let quoted = |name: &str| match name {
                "" => "\u{2013}".to_owned(),
                name => format!("`{name}`"),
            };
            let start = format!("| {} | {} | ", quoted(meaning.name), meaning.unit);
            let exposed = quoted(meaning.exposed.unwrap_or(""));
            let end = format!(" | {exposed} | {} |", meaning.help);
            let mut lines = page.lines();
            let found = lines.any(|line| line.starts_with(&start) && line.ends_with(&end));
            assert!(found, "docs/metrics.md lacks: {start}\u{2026}{end}");
        }
        let known: BTreeSet<&str> = all().iter().filter_map(|meaning| meaning.exposed).collect();
        assert_eq!(exposed_in(&page), known);
    }

    #[test]
    fn the_dashboard_asks_for_what_is_exposed() {
        let board: serde_json::Value =
            serde_json::from_str(&read("grafana/enid.json")).expect("a dashboard");
        let panels = board["panels"].as_array().expect("panels");
        let targets = panels
            .iter()
            .filter_map(|panel| panel["targets"].as_array());
        let known: BTreeSet<&str> = all().iter().filter_map(|meaning| meaning.exposed).collect();
        let mut count = 0;
        for target in targets.flatten() {
            let query = target["expr"].as_str().expect("a query");
            let asked = exposed_in(query);
            assert!(!asked.is_empty(), "{query}");
            assert!(asked.is_subset(&known), "{query}");
            count += 1;
        }
        assert!(count >= 10, "{count} queries");
    }

    #[test]
    fn a_metric_has_one_name_and_one_meaning() {
        let mut names = BTreeSet::new();
        for meaning in all() {
            if let Some(exposed) = meaning.exposed {
                assert!(names.insert(exposed), "{exposed}");
                let is_total = exposed.ends_with("_total");
                let is_counter = meaning.shape == enid_telemetry::source::Shape::Counter;
                assert_eq!(is_total, is_counter, "{exposed}");
            }
            assert_eq!(meaning.namespace.is_none(), meaning.name.is_empty());
            assert!(!meaning.help.ends_with('.'), "{}", meaning.help);
        }
    }
}
