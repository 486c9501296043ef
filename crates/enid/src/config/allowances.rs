//! What instances may use of the network: enforced only if asked for, and by which figures.

use std::collections::BTreeMap;

use enid_plan::allowance::{Allowances, Estimates, Override};
use serde::Deserialize;

/// The part `[allowances]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AllowanceConfig {
    /// As `--enforce-allowances`.
    enforce: bool,
    /// How long an instance with full credits goes at its peak.
    burst_seconds: Option<u64>,
    /// Packets a second for each Gbit/s of peak bandwidth.
    packets_per_gbps: Option<u64>,
    /// Tracked connections for each virtual CPU.
    tracked_connections_per_vcpu: Option<u64>,
    /// Other figures, by instance type.
    types: BTreeMap<String, TypeConfig>,
}

/// Figures of one type.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeConfig {
    baseline_gbps: Option<f64>,
    peak_gbps: Option<f64>,
    flow_gbps: Option<f64>,
    packets_per_second: Option<u64>,
    tracked_connections: Option<u64>,
}

/// The slowest rates: what a bucket can count.
const GBPS_MIN: f64 = 0.000_01;
const PER_SECOND_MIN: u64 = 64;
/// A day.
const BURST_S_MAX: u64 = 86_400;

impl AllowanceConfig {
    /// The allowances to enforce, if that is asked for here or by the flag.
    pub(crate) fn allowances(&self, flag: bool) -> anyhow::Result<Option<Allowances>> {
        let standard = Estimates::default();
        let estimates = Estimates {
            burst_s: self.burst_seconds.unwrap_or(standard.burst_s),
            packets_per_gbps: self.packets_per_gbps.unwrap_or(standard.packets_per_gbps),
            tracked_per_vcpu: self
                .tracked_connections_per_vcpu
                .unwrap_or(standard.tracked_per_vcpu),
        };
        anyhow::ensure!(
            estimates.burst_s <= BURST_S_MAX,
            "allowances.burst_seconds may be at most {BURST_S_MAX}"
        );
        anyhow::ensure!(
            estimates.packets_per_gbps >= PER_SECOND_MIN,
            "allowances.packets_per_gbps must be at least {PER_SECOND_MIN}"
        );
        let mut overrides = BTreeMap::new();
        for (name, config) in &self.types {
            config.check(name)?;
            overrides.insert(name.clone(), Override::from(config));
        }
        let is_enforced = flag || self.enforce;
        Ok(is_enforced.then_some(Allowances {
            estimates,
            overrides,
        }))
    }
}

impl TypeConfig {
    fn check(&self, name: &str) -> anyhow::Result<()> {
        let key = format!("allowances.types.{name:?}");
        anyhow::ensure!(
            enid_model::instance_type::InstanceType::named(name).is_some(),
            "{key}: there is no such instance type"
        );
        for gbps in [self.baseline_gbps, self.peak_gbps, self.flow_gbps] {
            anyhow::ensure!(
                gbps.is_none_or(|gbps| gbps.is_finite() && gbps >= GBPS_MIN),
                "{key}: a bandwidth must be at least {GBPS_MIN} Gbit/s"
            );
        }
        anyhow::ensure!(
            self.packets_per_second
                .is_none_or(|rate| rate >= PER_SECOND_MIN),
            "{key}: packets_per_second must be at least {PER_SECOND_MIN}"
        );
        Ok(())
    }
}

impl From<&TypeConfig> for Override {
    fn from(config: &TypeConfig) -> Self {
        Self {
            baseline_gbps: config.baseline_gbps,
            peak_gbps: config.peak_gbps,
            flow_gbps: config.flow_gbps,
            packets_per_second: config.packets_per_second,
            tracked_connections: config.tracked_connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, flag: bool) -> anyhow::Result<Option<Allowances>> {
        toml::from_str::<AllowanceConfig>(text)?.allowances(flag)
    }

    #[test]
    fn nothing_is_enforced_unless_asked_for() -> anyhow::Result<()> {
        assert_eq!(read("burst_seconds = 5", false)?, None);
        assert_eq!(read("", true)?, Some(Allowances::default()));
        assert_eq!(read("enforce = true", false)?, Some(Allowances::default()));
        Ok(())
    }

    #[test]
    fn figures_are_checked_even_if_they_are_not_enforced() -> anyhow::Result<()> {
        let good = "[types.\"t3.micro\"]\npeak_gbps = 0.2\npackets_per_second = 1000";
        let read_back = read(good, true)?.unwrap_or_default();
        assert_eq!(read_back.overrides["t3.micro"].peak_gbps, Some(0.2));
        for wrong in [
            "[types.\"t9.micro\"]\npeak_gbps = 0.2",
            "[types.\"t3.micro\"]\npeak_gbps = 0.0",
            "[types.\"t3.micro\"]\npackets_per_second = 63",
            "[types.\"t3.micro\"]\nspeed = 1",
            "burst_seconds = 100000",
            "packets_per_gbps = 1",
        ] {
            assert!(read(wrong, false).is_err(), "{wrong}");
        }
        Ok(())
    }
}
