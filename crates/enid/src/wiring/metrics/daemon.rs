//! What the daemon says of itself. Only Prometheus is told: CloudWatch is the region's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use enid_host::agent::Work;
use enid_model::state::State;
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Post, Reading, Source, SourceError};

use crate::wiring::telemetry::Telemetry;

meanings! {
    INFO = None, "", NONE, Gauge, Some("enid_build_info"), "One, with the daemon's version";
    COMMITS = None, "", COUNT, Counter, Some("enid_store_commits_total"), "Commits of the region's state since it was made";
    STORE_BYTES = None, "", BYTES, Gauge, Some("enid_store_bytes"), "Bytes of the file of the region's state";
    SWEEPS = None, "", COUNT, Counter, Some("enid_flow_sweeps_total"), "Sweeps of the flow table since the daemon started";
    SWEEP_SECONDS = None, "", SECONDS, Counter, Some("enid_flow_sweep_seconds_total"), "Seconds that these sweeps took";
    ROWS = None, "", COUNT, Gauge, Some("enid_telemetry_rows"), "Rows of the telemetry store by kind";
    BYTES = None, "", BYTES, Gauge, Some("enid_telemetry_bytes"), "Bytes of the telemetry store by kind, in memory and in files";
    LOG_BYTES = None, "", BYTES, Gauge, Some("enid_telemetry_log_bytes"), "Bytes of the telemetry store's write-ahead log";
    APPENDED = None, "", COUNT, Counter, Some("enid_telemetry_appended_rows_total"), "Rows appended to the telemetry store since the daemon started";
    EXPIRED = None, "", COUNT, Counter, Some("enid_telemetry_expired_rows_total"), "Rows that the telemetry store removed because they were old";
    EVICTED = None, "", COUNT, Counter, Some("enid_telemetry_evicted_rows_total"), "Rows that the telemetry store removed for want of space";
    REFUSED = None, "", COUNT, Counter, Some("enid_telemetry_refused_writes_total"), "Writes that the telemetry store refused for want of space";
    FAILED_FLUSHES = None, "", COUNT, Counter, Some("enid_telemetry_failed_flushes_total"), "Times that the telemetry store could not write its memory to files";
    PUBLISHED = None, "", COUNT, Counter, Some("enid_notify_messages_total"), "Messages published to topics since the daemon started";
    DELIVERIES = None, "", COUNT, Counter, Some("enid_notify_deliveries_total"), "Deliveries of messages since the daemon started, by what became of them";
}

/// The daemon.
pub(crate) struct Own {
    telemetry: Telemetry,
    /// The file of the region's state, if it is kept in one.
    store_file: Option<PathBuf>,
    /// What the agent has done, if there is one.
    work: Option<Arc<Work>>,
}

impl Own {
    pub(crate) fn new(
        telemetry: &Telemetry,
        store_file: Option<PathBuf>,
        work: Option<Arc<Work>>,
    ) -> Self {
        Self {
            telemetry: telemetry.clone(),
            store_file,
            work,
        }
    }
}

impl Source for Own {
    fn name(&self) -> &'static str {
        "daemon"
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        let stats = self.telemetry.store.stats();
        let notified = self.telemetry.notify.stats();
        let mut readings = vec![
            labelled(&INFO, 1.0, "version", env!("CARGO_PKG_VERSION")),
            level(&COMMITS, whole(state.revision.0)),
            level(&LOG_BYTES, whole(stats.log_bytes)),
            level(&APPENDED, whole(stats.appended_rows)),
            level(&EXPIRED, whole(stats.expired_rows)),
            level(&EVICTED, whole(stats.evicted_rows)),
            level(&REFUSED, whole(stats.refused_writes)),
            level(&FAILED_FLUSHES, whole(stats.failed_flushes)),
            level(&PUBLISHED, whole(notified.published)),
        ];
        for (outcome, count) in [
            ("delivered", notified.delivered),
            ("failed", notified.failed),
            ("filtered", notified.filtered),
            ("retried", notified.retried),
        ] {
            readings.push(labelled(&DELIVERIES, whole(count), "outcome", outcome));
        }
        for (kind, held) in &stats.kinds {
            let (rows, bytes) = (
                held.memory_rows + held.file_rows,
                held.memory_bytes + held.file_bytes,
            );
            readings.push(labelled(&ROWS, whole(rows), "kind", kind));
            readings.push(labelled(&BYTES, whole(bytes), "kind", kind));
        }
        let file = self.store_file.as_ref();
        if let Some(file) = file.and_then(|path| std::fs::metadata(path).ok()) {
            readings.push(level(&STORE_BYTES, whole(file.len())));
        }
        if let Some(work) = &self.work {
            let sweeps = work.sweeps.load(Ordering::Relaxed);
            let sweep_ns = work.sweep_ns.load(Ordering::Relaxed);
            readings.push(level(&SWEEPS, whole(sweeps)));
            readings.push(level(&SWEEP_SECONDS, whole(sweep_ns) / 1e9));
        }
        Ok(readings)
    }
}

/// A value without labels. Counters are values here as well: nothing is published of them.
fn level(meaning: &'static Meaning, value: f64) -> Reading {
    let key = meaning.exposed.unwrap_or("").to_owned();
    Reading::level(key, value, vec![Post::own(meaning, Vec::new())])
}

fn labelled(meaning: &'static Meaning, value: f64, label: &'static str, word: &str) -> Reading {
    let key = format!("{}/{word}", meaning.exposed.unwrap_or(""));
    let labels = vec![(label, word.to_owned())];
    Reading::level(key, value, vec![Post::own(meaning, labels)])
}

#[expect(clippy::cast_precision_loss, reason = "what Prometheus knows")]
fn whole(count: u64) -> f64 {
    count as f64
}
