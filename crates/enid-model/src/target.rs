//! A target: an instance or an address, with a port, in a target group.
//!
//! Its key is the group, what it is, and the port: what is registered with two ports is two targets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, TargetGroupId, TargetUid};
use crate::time::Timestamp;

/// A registered target, or one that is on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where it is registered, what it is, and on which port.
    #[serde(flatten)]
    pub key: TargetKey,
    /// Tells it from what had the same key before.
    pub uid: TargetUid,
    /// Its address, for life: an instance's is the primary one of its primary interface. Which
    /// interface has it now, [`RegionState::target_eni`](crate::state::RegionState::target_eni) tells.
    pub address: IpAddr,
    /// The zone that it counts for; `None` is all of them: of addresses outside the VPC.
    pub zone: Option<String>,
    /// Whether the zone was named when it was registered.
    #[serde(default)]
    pub is_zone_chosen: bool,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Until when it keeps the flows that it has, if it was deregistered; it gets no new ones.
    pub draining_until: Option<Timestamp>,
    /// What was last seen of its health.
    pub health: TargetHealth,
}

impl Target {
    /// Whether it may get new flows, if its health allows it.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.draining_until.is_none()
    }

    /// Whether it counts for a zone.
    #[must_use]
    pub fn is_of_zone(&self, zone: &str) -> bool {
        self.zone.as_deref().is_none_or(|own| own == zone)
    }
}

/// The key of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// Its group.
    pub group: TargetGroupId,
    /// What it is.
    pub id: TargetId,
    /// Its port.
    pub port: u16,
}

/// The text is no key of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a target group, an instance or an address, and a port")]
pub struct MalformedTarget;

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, id, port } = self;
        write!(f, "{group}/{id}/{port}")
    }
}

impl FromStr for TargetKey {
    type Err = MalformedTarget;

    fn from_str(text: &str) -> Result<Self, MalformedTarget> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(MalformedTarget);
        let (group, id, port) = (next()?, next()?, next()?);
        if next().is_ok() {
            return Err(MalformedTarget);
        }
        Ok(Self {
            group: group.parse().or(Err(MalformedTarget))?,
            id: id.parse()?,
            port: port.parse().or(Err(MalformedTarget))?,
        })
    }
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetId {
    /// An instance.
    Instance(InstanceId),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => id.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl FromStr for TargetId {
    type Err = MalformedTarget;

    fn from_str(text: &str) -> Result<Self, MalformedTarget> {
        let instance = text.parse().map(Self::Instance);
        let ip = || text.parse().map(Self::Ip);
        instance.or_else(|_malformed| ip()).or(Err(MalformedTarget))
    }
}

impl Serialize for TargetId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What was last seen of a target's health. Nothing is seen of a target that no listener leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// What was seen.
    pub state: HealthState,
    /// When this was seen first.
    pub since: Timestamp,
}

/// What can be seen of a target's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Its checks passed.
    Healthy,
    /// No check has passed or failed often enough yet.
    Initial,
    /// Its checks failed.
    Unhealthy(HealthFailure),
}

/// Why checks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthFailure {
    /// No connection, or none that was kept.
    Connection,
    /// An answer with a status that the group's matcher does not have.
    Status(u16),
    /// No answer in time.
    Timeout,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in [
            "00000000000000ab/i-00000000000000007/80",
            "00000000000000ab/10.0.0.7/65535",
            "00000000000000ab/2001:db8::7/80",
        ] {
            let key: Result<TargetKey, _> = text.parse();
            assert_eq!(key.map(|key| key.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "",
            "00000000000000ab/10.0.0.7",
            "00000000000000ab/10.0.0.7/65536",
            "00000000000000ab/10.0.0.7/1/2",
            "ab/10.0.0.7/1",
            "00000000000000ab/eni-00000000000000007/1",
        ] {
            assert_eq!(text.parse::<TargetKey>(), Err(MalformedTarget), "{text}");
        }
    }

    #[test]
    fn a_target_of_no_zone_counts_for_all() {
        let target = |zone: Option<&str>| Target {
            key: TargetKey {
                group: TargetGroupId(1),
                id: TargetId::Ip([10, 0, 0, 7].into()),
                port: 80,
            },
            uid: TargetUid(1),
            address: [10, 0, 0, 7].into(),
            zone: zone.map(str::to_owned),
            is_zone_chosen: false,
            registered_at: Timestamp(0),
            draining_until: None,
            health: TargetHealth {
                state: HealthState::Unhealthy(HealthFailure::Status(503)),
                since: Timestamp(1),
            },
        };
        assert!(target(None).is_of_zone("eu-west-1a"));
        let one = target(Some("eu-west-1a"));
        assert!(one.is_of_zone("eu-west-1a") && !one.is_of_zone("eu-west-1b"));
        let json = serde_json::to_string(&one);
        let read = json.and_then(|json| serde_json::from_str(&json));
        assert_eq!(read.ok(), Some(one));
    }
}
