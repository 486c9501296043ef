//! How flow logs are kept and delivered.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use enid_telemetry::flow::DeliveryOptions;
use serde::Deserialize;

/// How flow logs are kept and delivered: as AWS does, unless it is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FlowLogConfig {
    /// The seconds that a record tells of at most.
    window_s: Option<u32>,
    /// The seconds that a file in a bucket tells of.
    file_s: Option<u32>,
    /// The directory whose directories are buckets.
    buckets: Option<PathBuf>,
}

/// AWS's: a minute, as on all instances of today, and five.
const WINDOW_S: u32 = 60;
const FILE_S: u32 = 300;

impl FlowLogConfig {
    /// What was configured; buckets are below the data directory unless it is said.
    pub(crate) fn options(&self, data: &Path) -> anyhow::Result<DeliveryOptions> {
        let window_s = self.window_s.unwrap_or(WINDOW_S);
        let file_s = self.file_s.unwrap_or_else(|| FILE_S.max(window_s));
        ensure!(
            (1..=WINDOW_S).contains(&window_s),
            "flow_logs.window_s: 1 to {WINDOW_S} seconds are expected"
        );
        ensure!(
            (window_s..=FILE_S).contains(&file_s) && file_s.is_multiple_of(window_s),
            "flow_logs.file_s: a multiple of window_s, at most {FILE_S}, is expected"
        );
        let buckets = self.buckets.clone();
        Ok(DeliveryOptions {
            window_ms: i64::from(window_s) * 1000,
            file_ms: i64::from(file_s) * 1000,
            buckets: buckets.unwrap_or_else(|| data.join("buckets")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> anyhow::Result<DeliveryOptions> {
        toml::from_str::<FlowLogConfig>(text)?.options(Path::new("/data"))
    }

    #[test]
    fn windows_and_files_are_as_aws_has_them_unless_it_is_said() {
        let default = options("").expect("options");
        assert_eq!((default.window_ms, default.file_ms), (60_000, 300_000));
        assert_eq!(default.buckets, Path::new("/data/buckets"));
        let short = options("window_s = 2\nfile_s = 4\nbuckets = \"/b\"").expect("options");
        assert_eq!((short.window_ms, short.file_ms), (2_000, 4_000));
        for text in [
            "window_s = 0",
            "window_s = 61",
            "window_s = 2\nfile_s = 3",
            "other = 1",
        ] {
            assert!(options(text).is_err(), "{text}");
        }
    }
}
