//! How often metrics of this host are published.

use anyhow::ensure;
use serde::Deserialize;

/// How often metrics of this host are published: as AWS does, unless it is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricConfig {
    /// The seconds between datapoints of detailed monitoring; basic monitoring has five times as many.
    every_s: Option<u32>,
}

/// AWS's.
const EVERY_S: u32 = 60;

impl MetricConfig {
    /// The time between datapoints. Whole minutes are so many of these.
    pub(crate) fn every_ms(&self) -> anyhow::Result<i64> {
        let every_s = self.every_s.unwrap_or(EVERY_S);
        ensure!(
            (1..=EVERY_S).contains(&every_s) && EVERY_S.is_multiple_of(every_s),
            "metrics.every_s: a divisor of {EVERY_S} is expected"
        );
        Ok(i64::from(every_s) * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(text: &str) -> anyhow::Result<i64> {
        toml::from_str::<MetricConfig>(text)?.every_ms()
    }

    #[test]
    fn a_minute_unless_it_is_said() {
        assert_eq!(every("").expect("a minute"), 60_000);
        assert_eq!(every("every_s = 2").expect("two seconds"), 2_000);
        for text in ["every_s = 0", "every_s = 7", "every_s = 120", "other = 1"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
