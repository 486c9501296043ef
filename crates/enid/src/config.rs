//! The configuration file: what flags do not say.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use enid_api::generated::ec2::operations::OPERATIONS;
use enid_api::throttle::{Rate, Throttle};
use enid_control::{Images, Quotas};
use serde::Deserialize;

/// A configuration. Every key is optional; an unknown one is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The datapath's own limits.
    pub(crate) datapath: DatapathConfig,
    /// Which image ids can be launched.
    pub(crate) images: ImagesConfig,
    /// How many of each resource there may be.
    pub(crate) quotas: QuotaConfig,
    /// How many requests are answered.
    pub(crate) throttling: ThrottlingConfig,
}

/// How many requests are answered: all of them, unless this is enabled.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ThrottlingConfig {
    enabled: bool,
    /// Rates other than AWS's, by operation of EC2.
    operations: BTreeMap<String, RateConfig>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateConfig {
    /// Tokens of a full bucket.
    burst: u32,
    /// Tokens a second.
    refill: f64,
}

/// Which image ids can be launched.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ImagesConfig {
    /// Any well-formed one.
    #[default]
    Any,
    /// Only those that DescribeImages lists.
    Strict,
}

impl From<ImagesConfig> for Images {
    fn from(config: ImagesConfig) -> Self {
        match config {
            ImagesConfig::Any => Self::Any,
            ImagesConfig::Strict => Self::Strict,
        }
    }
}

/// The datapath's own limits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatapathConfig {
    /// Entries of the flow table; a connection has two.
    pub(crate) flow_entries: Option<u32>,
}

/// Quotas; AWS's defaults where absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QuotaConfig {
    entries_per_network_acl: Option<usize>,
    groups_per_interface: Option<usize>,
    network_acls_per_vpc: Option<usize>,
    network_interfaces: Option<usize>,
    outstanding_peerings: Option<usize>,
    peerings_per_vpc: Option<usize>,
    route_tables_per_vpc: Option<usize>,
    routes_per_table: Option<usize>,
    rules_per_group: Option<usize>,
    security_groups: Option<usize>,
    subnets_per_vpc: Option<usize>,
    vpcs: Option<usize>,
}

/// AWS's hard limit on rules per group times groups per interface, which is also what one compiled
/// policy can hold.
const RULES_PER_INTERFACE_MAX: usize = 1_000;
const GROUPS_PER_INTERFACE_MAX: usize = 16;
/// AWS's own limit on how far this quota can be raised.
const ENTRIES_PER_NETWORK_ACL_MAX: usize = 40;

impl Config {
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("read {name}"))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("understand {name}"))?;
        config.quotas()?;
        config.throttle()?;
        Ok(config)
    }

    /// The limits on requests, if there are any.
    pub(crate) fn throttle(&self) -> anyhow::Result<Option<Throttle>> {
        let ThrottlingConfig {
            enabled,
            operations,
        } = &self.throttling;
        let mut rates = BTreeMap::new();
        for (operation, RateConfig { burst, refill }) in operations {
            anyhow::ensure!(
                OPERATIONS.binary_search(&operation.as_str()).is_ok(),
                "throttling.operations.{operation}: there is no such operation"
            );
            anyhow::ensure!(
                *burst > 0 && refill.is_finite() && *refill > 0.0,
                "throttling.operations.{operation}: burst and refill must be above zero"
            );
            let rate = Rate {
                burst: *burst,
                refill: *refill,
            };
            rates.insert(operation.clone(), rate);
        }
        Ok(enabled.then(|| Throttle::new(rates)))
    }

    /// The quotas in force.
    pub(crate) fn quotas(&self) -> anyhow::Result<Quotas> {
        let asked = &self.quotas;
        let aws = Quotas::default();
        let quotas = Quotas {
            entries_per_network_acl: asked
                .entries_per_network_acl
                .unwrap_or(aws.entries_per_network_acl),
            groups_per_interface: asked
                .groups_per_interface
                .unwrap_or(aws.groups_per_interface),
            network_acls_per_vpc: asked
                .network_acls_per_vpc
                .unwrap_or(aws.network_acls_per_vpc),
            network_interfaces: asked.network_interfaces.unwrap_or(aws.network_interfaces),
            outstanding_peerings: asked
                .outstanding_peerings
                .unwrap_or(aws.outstanding_peerings),
            peerings_per_vpc: asked.peerings_per_vpc.unwrap_or(aws.peerings_per_vpc),
            route_tables_per_vpc: asked
                .route_tables_per_vpc
                .unwrap_or(aws.route_tables_per_vpc),
            routes_per_table: asked.routes_per_table.unwrap_or(aws.routes_per_table),
            rules_per_group: asked.rules_per_group.unwrap_or(aws.rules_per_group),
            security_groups: asked.security_groups.unwrap_or(aws.security_groups),
            subnets_per_vpc: asked.subnets_per_vpc.unwrap_or(aws.subnets_per_vpc),
            vpcs: asked.vpcs.unwrap_or(aws.vpcs),
        };
        anyhow::ensure!(
            quotas.groups_per_interface <= GROUPS_PER_INTERFACE_MAX,
            "quotas.groups_per_interface may be at most {GROUPS_PER_INTERFACE_MAX}"
        );
        anyhow::ensure!(
            quotas.groups_per_interface * quotas.rules_per_group <= RULES_PER_INTERFACE_MAX,
            "quotas.groups_per_interface times quotas.rules_per_group may be at most \
             {RULES_PER_INTERFACE_MAX}"
        );
        anyhow::ensure!(
            quotas.entries_per_network_acl <= ENTRIES_PER_NETWORK_ACL_MAX,
            "quotas.entries_per_network_acl may be at most {ENTRIES_PER_NETWORK_ACL_MAX}"
        );
        Ok(quotas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_stay_within_what_a_policy_can_hold() -> anyhow::Result<()> {
        let config: Config = toml::from_str("[quotas]\nrules_per_group = 200\nvpcs = 50")?;
        assert_eq!(config.quotas()?.rules_per_group, 200);
        assert_eq!(config.quotas()?.vpcs, 50);
        let config: Config = toml::from_str("[quotas]\nrules_per_group = 201")?;
        assert!(config.quotas().is_err());
        let config: Config = toml::from_str("[quotas]\nentries_per_network_acl = 41")?;
        assert!(config.quotas().is_err());
        Ok(())
    }

    #[test]
    fn throttling_is_off_until_it_is_enabled() -> anyhow::Result<()> {
        let throttle = |text: &str| toml::from_str::<Config>(text)?.throttle();
        assert!(throttle("")?.is_none());
        let one = "[throttling.operations.DescribeVpcs]\nburst = 1\nrefill = 0.5";
        assert!(throttle(one)?.is_none());
        let enabled = format!("[throttling]\nenabled = true\n{one}");
        assert!(throttle(&enabled)?.is_some());
        for wrong in [
            one.replace("DescribeVpcs", "DescribePlanets"),
            one.replace("0.5", "0.0"),
            one.replace("burst = 1", "burst = 0"),
            one.replace("0.5", "0.5\nsize = 1"),
        ] {
            assert!(throttle(&wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Config>("colour = \"red\"").is_err());
        assert!(toml::from_str::<Config>("[quotas]\nplanets = 8").is_err());
    }
}
