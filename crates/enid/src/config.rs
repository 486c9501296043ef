//! The configuration file: what flags do not say.

mod allowances;
mod certificates;
mod flow_logs;
mod metrics;
mod notify;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use enid_api::generated::ec2::operations::OPERATIONS;
use enid_api::throttle::{Rate, Throttle};
use enid_control::{Images, NamedPool, PublicPools, Quotas};
use enid_host::outside::Wanted;
use enid_plan::allowance::Allowances;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use self::allowances::AllowanceConfig;
pub(crate) use self::certificates::CertificateConfig;
use self::flow_logs::FlowLogConfig;
use self::metrics::MetricConfig;
use self::notify::NotifyConfig;

/// A configuration. Every key is optional; an unknown one is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What instances may use of the network.
    pub(crate) allowances: AllowanceConfig,
    /// Certificates that are given by file.
    pub(crate) certificates: Vec<CertificateConfig>,
    /// The datapath's own limits.
    pub(crate) datapath: DatapathConfig,
    /// How flow logs are kept and delivered.
    pub(crate) flow_logs: FlowLogConfig,
    /// Which image ids can be launched.
    pub(crate) images: ImagesConfig,
    /// How often metrics of this host are published.
    pub(crate) metrics: MetricConfig,
    /// Where notifications of SNS may go.
    pub(crate) notify: NotifyConfig,
    /// Which public addresses lead to instances.
    pub(crate) outside: OutsideConfig,
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

/// The pools of public addresses. Without any, the daemon takes a slice of the default ones for itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OutsideConfig {
    /// Where Elastic IPs and public addresses of instances come from.
    pool: Option<Ipv4Net>,
    /// Where the IPv6 blocks of VPCs come from, a /56 each.
    ipv6_pool: Option<Ipv6Net>,
    /// Parts of the pool for those who name them when they allocate an address.
    named_pools: Vec<NamedPoolConfig>,
}

/// A part of the pool with a name of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPoolConfig {
    id: String,
    cidr: Ipv4Net,
    #[serde(default)]
    description: String,
}

/// What the id of a pool of public addresses starts with in AWS.
const POOL_ID_PREFIX: &str = "ipv4pool-ec2-";

impl OutsideConfig {
    /// The pools as a whole, for a daemon without a datapath: nobody else on the host sees them.
    pub(crate) fn pools(&self) -> PublicPools {
        let default = PublicPools::default();
        PublicPools {
            ipv4: self.pool.unwrap_or(default.ipv4),
            ipv6: self.ipv6_pool.unwrap_or(default.ipv6),
            named: self.named_pools.iter().map(NamedPool::from).collect(),
        }
    }

    /// What this host may be asked for: the pools that were named, or a slice of the default ones.
    pub(crate) fn wanted(&self) -> Wanted {
        let PublicPools { ipv4, ipv6, .. } = self.pools();
        let slices = Wanted::slices_of(ipv4, ipv6);
        Wanted {
            ipv4: self.pool.map_or(slices.ipv4, |pool| vec![pool]),
            ipv6: self.ipv6_pool.map_or(slices.ipv6, |pool| vec![pool]),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let pools = self.pools();
        // The network, the host's own address, the last one, and one to give away.
        anyhow::ensure!(
            pools.ipv4.prefix_len() <= 30,
            "outside.pool must have room for addresses: a /30 or larger"
        );
        anyhow::ensure!(
            pools.ipv6.prefix_len() <= 55,
            "outside.ipv6_pool must have room for a VPC's /56 beside the host's own: a /55 or larger"
        );
        anyhow::ensure!(
            pools.ipv4 == pools.ipv4.trunc() && pools.ipv6 == pools.ipv6.trunc(),
            "outside.pool and outside.ipv6_pool must be blocks whose host bits are zero"
        );
        self.check_named(&pools)
    }

    fn check_named(&self, pools: &PublicPools) -> anyhow::Result<()> {
        anyhow::ensure!(
            pools.named.is_empty() || self.pool.is_some(),
            "outside.named_pools are parts of outside.pool, which must be given as well"
        );
        for (at, named) in pools.named.iter().enumerate() {
            let (id, cidr) = (&named.id, named.cidr);
            anyhow::ensure!(
                id.starts_with(POOL_ID_PREFIX) && id.len() > POOL_ID_PREFIX.len(),
                "the id of a named pool must start with {POOL_ID_PREFIX}, unlike {id}"
            );
            let usable = cidr == cidr.trunc()
                && pools.offers(cidr.network())
                && pools.offers(cidr.broadcast());
            anyhow::ensure!(
                usable,
                "named pool {id} must be a block inside outside.pool, without its ends and its first address"
            );
            let rivals = pools.named.iter().take(at);
            let apart = rivals.into_iter().all(|other| {
                let overlaps = cidr.contains(&other.cidr) || other.cidr.contains(&cidr);
                !overlaps && other.id != *id
            });
            anyhow::ensure!(apart, "named pool {id} is given twice or overlaps another");
        }
        Ok(())
    }
}

impl From<&NamedPoolConfig> for NamedPool {
    fn from(config: &NamedPoolConfig) -> Self {
        Self {
            id: config.id.clone(),
            cidr: config.cidr,
            description: config.description.clone(),
        }
    }
}

macro_rules! quotas {
    ($($name:ident,)*) => {
        /// Quotas that differ from AWS's.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct QuotaConfig {
            $($name: Option<usize>,)*
        }

        impl QuotaConfig {
            /// AWS's quotas where nothing else is asked for.
            fn or_of_aws(&self) -> Quotas {
                let aws = Quotas::default();
                Quotas {
                    $($name: self.$name.unwrap_or(aws.$name),)*
                }
            }
        }
    };
}

quotas! {
    addresses,
    addresses_per_nat_gateway,
    cidr_blocks_per_vpc,
    egress_only_internet_gateways,
    entries_per_network_acl,
    flow_logs_per_resource,
    groups_per_interface,
    internet_gateways,
    ipv6_cidr_blocks_per_vpc,
    load_balancer_nodes_per_vpc,
    nat_gateways_per_zone,
    network_acls_per_vpc,
    network_interfaces,
    network_load_balancers,
    outstanding_peerings,
    peerings_per_vpc,
    prefix_lists,
    route_tables_per_vpc,
    routes_per_table,
    rules_per_group,
    security_groups,
    subnets_per_vpc,
    target_groups,
    traffic_mirror_filters,
    traffic_mirror_sessions,
    traffic_mirror_targets,
    vpcs,
}

/// AWS's hard limit on rules per group times groups per interface. It counts each direction and each
/// family apart, and a compiled policy holds as many of each.
const RULES_PER_INTERFACE_MAX: usize = 1_000;
const GROUPS_PER_INTERFACE_MAX: usize = 16;
/// AWS's hard limit, which is also what the datapath has room for.
const ADDRESSES_PER_NAT_GATEWAY_MAX: usize = 8;
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
        certificates::check(&config.certificates)?;
        config.quotas()?;
        config.flow_logs.endpoints()?;
        config.notify.check()?;
        config.outside.check()?;
        config.throttle()?;
        config.allowances(false)?;
        Ok(config)
    }

    /// What instances may use of the network, if that is enforced: by this file or by a flag.
    pub(crate) fn allowances(&self, flag: bool) -> anyhow::Result<Option<Allowances>> {
        self.allowances.allowances(flag)
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
        let quotas = self.quotas.or_of_aws();
        anyhow::ensure!(
            quotas.addresses_per_nat_gateway <= ADDRESSES_PER_NAT_GATEWAY_MAX,
            "quotas.addresses_per_nat_gateway may be at most {ADDRESSES_PER_NAT_GATEWAY_MAX}"
        );
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
    fn named_pools_are_parts_of_the_pool() -> anyhow::Result<()> {
        let config = |parts: &[(&str, &str)]| -> anyhow::Result<Config> {
            let parts: String = parts
                .iter()
                .map(|(id, cidr)| {
                    format!("[[outside.named_pools]]\nid = \"{id}\"\ncidr = \"{cidr}\"\n")
                })
                .collect();
            let text = format!("[outside]\npool = \"203.0.113.0/24\"\n{parts}");
            let config: Config = toml::from_str(&text)?;
            config.outside.check()?;
            Ok(config)
        };
        let (one, two) = ("ipv4pool-ec2-1", "ipv4pool-ec2-2");
        let good = config(&[(one, "203.0.113.64/26"), (two, "203.0.113.8/29")])?;
        assert_eq!(good.outside.pools().named.len(), 2);
        for bad in [
            &[("mine", "203.0.113.64/26")][..],
            &[(one, "203.0.113.65/26")],
            &[(one, "203.0.113.0/26")],
            &[(one, "203.0.113.192/26")],
            &[(one, "198.18.0.64/26")],
            &[(one, "203.0.113.64/26"), (two, "203.0.113.64/27")],
            &[(one, "203.0.113.64/26"), (one, "203.0.113.8/29")],
        ] {
            assert!(config(bad).is_err(), "{bad:?}");
        }
        let text = format!("[[outside.named_pools]]\nid = \"{one}\"\ncidr = \"198.18.7.0/24\"");
        let without: Config = toml::from_str(&text)?;
        assert!(without.outside.check().is_err());
        Ok(())
    }

    #[test]
    fn a_pool_that_is_named_is_taken_as_a_whole() -> anyhow::Result<()> {
        let config: Config = toml::from_str("")?;
        let wanted = config.outside.wanted();
        assert_eq!(wanted.ipv4.first(), Some(&"198.18.0.0/19".parse()?));
        assert_eq!(config.outside.pools(), PublicPools::default());
        let config: Config = toml::from_str("[outside]\npool = \"203.0.113.0/24\"")?;
        config.outside.check()?;
        let wanted = config.outside.wanted();
        assert_eq!(wanted.ipv4, ["203.0.113.0/24".parse()?]);
        assert_eq!(wanted.ipv6.len(), 256);
        for bad in [
            "pool = \"203.0.113.0/31\"",
            "pool = \"203.0.113.1/24\"",
            "ipv6_pool = \"2001:db8::/56\"",
        ] {
            let config: Config = toml::from_str(&format!("[outside]\n{bad}"))?;
            assert!(config.outside.check().is_err(), "{bad}");
        }
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
    fn a_nat_gateway_has_eight_addresses_at_most() -> anyhow::Result<()> {
        let config: Config = toml::from_str("[quotas]\naddresses_per_nat_gateway = 8")?;
        assert_eq!(config.quotas()?.addresses_per_nat_gateway, 8);
        let config: Config = toml::from_str("[quotas]\naddresses_per_nat_gateway = 9")?;
        assert!(config.quotas().is_err());
        Ok(())
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Config>("colour = \"red\"").is_err());
        assert!(toml::from_str::<Config>("[quotas]\nplanets = 8").is_err());
    }
}
