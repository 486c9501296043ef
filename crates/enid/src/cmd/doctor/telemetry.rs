//! What `enid doctor` says of a running daemon's telemetry: whether its disk is full.

use enid_telemetry::store::Stats;
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::cli::Common;
use crate::client;

/// What the daemon answers at `/_enid/telemetry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Whether nothing is stored any more, for want of space.
    is_short_of_space: bool,
    rows: u64,
    memory_bytes: u64,
    log_bytes: u64,
    file_bytes: u64,
    free_bytes: u64,
    /// What of the free bytes is left to others.
    reserve_bytes: u64,
    /// Since the daemon's start, as all that follows.
    appended_rows: u64,
    expired_rows: u64,
    evicted_rows: u64,
    refused_writes: u64,
    failed_flushes: u64,
}

impl From<Stats> for Kept {
    fn from(stats: Stats) -> Self {
        let sum =
            |of: fn(&enid_telemetry::store::KindStats) -> u64| stats.kinds.values().map(of).sum();
        Self {
            is_short_of_space: stats.is_short_of_space,
            rows: sum(|kind| kind.memory_rows + kind.file_rows),
            memory_bytes: sum(|kind| kind.memory_bytes),
            log_bytes: stats.log_bytes,
            file_bytes: sum(|kind| kind.file_bytes),
            free_bytes: stats.free_bytes,
            reserve_bytes: stats.reserve_bytes,
            appended_rows: stats.appended_rows,
            expired_rows: stats.expired_rows,
            evicted_rows: stats.evicted_rows,
            refused_writes: stats.refused_writes,
            failed_flushes: stats.failed_flushes,
        }
    }
}

/// What is to be said, if a daemon runs on the data directory.
pub(super) fn finding(common: &Common) -> Option<Finding> {
    let daemon = common.data_dir().ok()?.daemon()?;
    let answer = client::request(&daemon.endpoint, "GET", "/_enid/telemetry").ok()?;
    let kept: Kept = serde_json::from_str(&answer.body).ok()?;
    Some(said(&kept))
}

fn said(kept: &Kept) -> Finding {
    let Kept {
        rows,
        evicted_rows,
        refused_writes,
        ..
    } = kept;
    let mib = |bytes: u64| bytes >> 20;
    let used = mib(kept.file_bytes + kept.log_bytes);
    let free = mib(kept.free_bytes);
    let mut seen = format!("{rows} rows in {used} MiB, {free} MiB are free");
    if *evicted_rows > 0 {
        seen.push_str(&format!(
            ", {evicted_rows} rows were removed for want of space"
        ));
    }
    if *refused_writes > 0 {
        seen.push_str(&format!(", {refused_writes} writes were refused"));
    }
    Finding {
        subject: "telemetry of the running daemon",
        state: if kept.is_short_of_space { "full" } else { "ok" },
        seen,
        remedy: kept
            .is_short_of_space
            .then_some("make room on the disk of the data directory: nothing is stored meanwhile"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_with_what_it_cost() {
        let kept = Kept {
            is_short_of_space: true,
            ..Kept::from(Stats {
                evicted_rows: 7,
                refused_writes: 2,
                free_bytes: 3 << 20,
                ..Stats::default()
            })
        };
        let found = said(&kept);
        assert_eq!(found.state, "full");
        assert!(found.remedy.is_some());
        let words = "0 rows in 0 MiB, 3 MiB are free, 7 rows were removed for want of space, \
                     2 writes were refused";
        assert_eq!(found.seen, words);
        let well = said(&Kept::from(Stats::default()));
        assert_eq!((well.state, well.remedy), ("ok", None));
    }
}
