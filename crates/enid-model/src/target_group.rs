//! A target group: where a listener's flows go, and how its targets' health is found out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{TargetGroupId, VpcId};
use crate::load_balancer::LoadBalancer;
use crate::time::Timestamp;

/// Targets that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Its id, the last part of its ARN.
    pub id: TargetGroupId,
    /// Its name, unique in its region while it is there.
    pub name: String,
    /// What its targets speak, for life.
    pub protocol: BalancedProtocol,
    /// The port of targets that are registered without one, for life.
    pub port: u16,
    /// The VPC of its targets, for life. The VPC may go before the group.
    pub vpc: VpcId,
    /// What its targets are, for life.
    pub target_type: TargetType,
    /// Which addresses its targets have, for life.
    #[serde(default)]
    pub ip_address_type: TargetGroupIpAddressType,
    /// How its targets are checked.
    pub health_check: HealthCheck,
    /// What can be set of it.
    pub attributes: TargetGroupAttributes,
    /// When it was made.
    pub create_time: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

impl TargetGroup {
    /// What AWS calls it in dimensions of metrics.
    #[must_use]
    pub fn path(&self) -> String {
        format!("targetgroup/{}/{}", self.name, self.id)
    }

    /// Whether its targets have addresses of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.ip_address_type == TargetGroupIpAddressType::Ipv6
    }

    /// Whether a node of a load balancer sends flows to its targets of all zones.
    #[must_use]
    pub fn crosses_zones(&self, balancer: &LoadBalancer) -> bool {
        let own = self.attributes.cross_zone;
        own.unwrap_or(balancer.attributes.cross_zone)
    }
}

/// What a listener or a target group speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BalancedProtocol {
    /// TCP.
    Tcp,
    /// Both on one port.
    TcpUdp,
    /// TLS, which the balancer ends.
    Tls,
    /// UDP.
    Udp,
}

impl BalancedProtocol {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
        }
    }

    /// Whether TCP segments are spoken.
    #[must_use]
    pub fn has_tcp(self) -> bool {
        self != Self::Udp
    }

    /// Whether UDP datagrams are spoken.
    #[must_use]
    pub fn has_udp(self) -> bool {
        matches!(self, Self::Udp | Self::TcpUdp)
    }
}

/// What targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetType {
    /// Instances: the primary address of the primary interface.
    Instance,
    /// Addresses.
    Ip,
}

/// Which addresses targets have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetGroupIpAddressType {
    /// Those of IPv4.
    #[default]
    Ipv4,
    /// Those of IPv6.
    Ipv6,
}

impl TargetGroupIpAddressType {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// How targets are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What the check speaks.
    pub protocol: HealthCheckProtocol,
    /// The port; `None` is the one that the target gets its traffic on.
    pub port: Option<u16>,
    /// What is asked for: of HTTP and HTTPS.
    pub path: String,
    /// How often a node checks, 5 to 300.
    pub interval_s: u16,
    /// After how long an answer is too late, 2 to 120.
    pub timeout_s: u16,
    /// So many checks in a row must pass for an unhealthy target to be healthy, 2 to 10.
    pub healthy_threshold: u8,
    /// So many must fail for a healthy one to be unhealthy, 2 to 10.
    pub unhealthy_threshold: u8,
    /// Which status codes pass: of HTTP and HTTPS.
    pub matcher: StatusCodes,
}

/// What a health check speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthCheckProtocol {
    /// A request over a connection.
    Http,
    /// The same over TLS; nobody verifies the certificate.
    Https,
    /// A connection.
    Tcp,
}

impl HealthCheckProtocol {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
        }
    }
}

/// Status codes of HTTP, written as `200`, `200,202` or `200-399`: ranges, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCodes(Vec<(u16, u16)>);

impl StatusCodes {
    /// AWS's, where a group says nothing.
    #[must_use]
    pub fn usual() -> Self {
        Self(vec![(200, 399)])
    }

    /// Whether a code is among them.
    #[must_use]
    pub fn has(&self, code: u16) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&code))
    }
}

/// The text names no status codes, or ones outside 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected status codes from 200 to 599, such as 200,202 or 200-399")]
pub struct MalformedStatusCodes;

impl FromStr for StatusCodes {
    type Err = MalformedStatusCodes;

    fn from_str(text: &str) -> Result<Self, MalformedStatusCodes> {
        let code = |text: &str| match text.parse() {
            Ok(code @ 200..=599) if text.len() == 3 => Ok(code),
            _ => Err(MalformedStatusCodes),
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (code(first)?, code(last)?);
            if first > last {
                return Err(MalformedStatusCodes);
            }
            Ok((first, last))
        };
        text.split(',')
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for StatusCodes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusCodes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What can be set of a target group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetGroupAttributes {
    /// For how long a deregistered target is draining, up to 3,600 s.
    pub deregistration_delay_s: u16,
    /// Whether flows to a deregistered target end when that time is up.
    pub connection_termination: bool,
    /// Whether targets see the clients' addresses, or the nodes'.
    pub preserve_client_ip: bool,
    /// Whether connections to targets begin with a header of the proxy protocol.
    pub proxy_protocol_v2: bool,
    /// Whether all flows of a source go to one target.
    pub is_sticky: bool,
    /// Whether nodes send flows to targets of all zones; `None` is as the load balancer says.
    pub cross_zone: Option<bool>,
    /// Of how many healthy targets a zone needs to be answered for by name.
    pub dns_failover: MinimumHealthy,
    /// Of how many healthy targets a zone needs so that only they get new flows.
    pub unhealthy_routing: MinimumHealthy,
    /// Whether flows to a target end when it becomes unhealthy.
    pub unhealthy_connection_termination: bool,
    /// For how long an unhealthy target is draining, if they do not, up to 360,000 s.
    pub unhealthy_draining_interval_s: u32,
}

impl Default for TargetGroupAttributes {
    fn default() -> Self {
        Self {
            deregistration_delay_s: 300,
            connection_termination: false,
            preserve_client_ip: true,
            proxy_protocol_v2: false,
            is_sticky: false,
            cross_zone: None,
            dns_failover: MinimumHealthy::default(),
            unhealthy_routing: MinimumHealthy::default(),
            unhealthy_connection_termination: true,
            unhealthy_draining_interval_s: 0,
        }
    }
}

/// How many targets must be healthy; with fewer than either says, too few are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumHealthy {
    /// So many; `None` is off.
    pub count: Option<u32>,
    /// Of 100, so many; `None` is off.
    pub percentage: Option<u8>,
}

impl Default for MinimumHealthy {
    fn default() -> Self {
        Self {
            count: Some(1),
            percentage: None,
        }
    }
}

impl MinimumHealthy {
    /// Whether so many healthy ones of all are enough.
    #[must_use]
    pub fn is_met(self, healthy: usize, all: usize) -> bool {
        let enough = self
            .count
            .is_none_or(|count| usize::try_from(count).is_ok_and(|count| healthy >= count));
        let share = self.percentage.is_none_or(|percentage| {
            healthy.saturating_mul(100) >= all.saturating_mul(percentage.into())
        });
        enough && share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_read_as_they_are_written() {
        for text in ["200", "200,202", "200-399", "200-299,404,500-599"] {
            let codes: Result<StatusCodes, _> = text.parse();
            assert_eq!(codes.map(|codes| codes.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "", "200,", "199", "600", "300-200", "2e2", "+200", "0200", "200-",
        ] {
            assert!(text.parse::<StatusCodes>().is_err(), "{text}");
        }
        let codes = StatusCodes::usual();
        assert!(codes.has(200) && codes.has(399) && !codes.has(400));
    }

    #[test]
    fn too_few_are_healthy_by_number_or_by_share() {
        let of = |count, percentage| MinimumHealthy { count, percentage };
        assert!(of(None, None).is_met(0, 10));
        assert!(of(Some(1), None).is_met(1, 10) && !of(Some(1), None).is_met(0, 10));
        assert!(of(None, Some(50)).is_met(5, 10) && !of(None, Some(50)).is_met(4, 10));
        assert!(!of(Some(6), Some(50)).is_met(5, 10));
        assert!(!of(Some(1), Some(60)).is_met(5, 10));
    }
}
