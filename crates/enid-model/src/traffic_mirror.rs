//! Traffic mirroring: who gets copies of an interface's packets, and of which.
//!
//! A session joins a source interface, a target and a filter. A packet is copied once per source:
//! the sessions are asked by ascending number, and the first whose filter accepts the packet takes
//! the copy. What no filter accepts is not copied.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    EniId, TrafficMirrorFilterId, TrafficMirrorFilterRuleId, TrafficMirrorSessionId,
    TrafficMirrorTargetId,
};
use crate::security_group::Direction;

/// How many rules a filter may have, both directions together: AWS's quota, which cannot be raised.
pub const RULES_PER_FILTER_MAX: usize = 10;
/// How many sessions a source may have, likewise.
pub const SESSIONS_PER_SOURCE_MAX: usize = 3;

/// A place that copies are sent to: an interface, which is the source of no session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMirrorTarget {
    /// Its id.
    pub id: TrafficMirrorTargetId,
    /// The interface that gets the copies, for the target's life. It may have been deleted, as it
    /// may be attached to nothing: then nothing is copied.
    pub network_interface: EniId,
    /// Free text; cannot change.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// Which packets are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMirrorFilter {
    /// Its id.
    pub id: TrafficMirrorFilterId,
    /// Its rules of both directions. No two of a direction have the same number.
    pub rules: BTreeMap<TrafficMirrorFilterRuleId, TrafficMirrorFilterRule>,
    /// Whether questions to the VPC's resolver and its answers are copied at all (`amazon-dns`);
    /// if so, the rules judge them as any other packets.
    pub amazon_dns: bool,
    /// Free text; cannot change.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

impl TrafficMirrorFilter {
    /// The rules of one direction, in the order in which they are asked.
    #[must_use]
    pub fn rules_of(&self, direction: Direction) -> Vec<&TrafficMirrorFilterRule> {
        let rules = self.rules.values();
        let mut rules: Vec<_> = rules.filter(|rule| rule.direction == direction).collect();
        rules.sort_by_key(|rule| rule.number);
        rules
    }
}

/// One rule of a filter. What no rule matches is not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMirrorFilterRule {
    /// Its id.
    pub id: TrafficMirrorFilterRuleId,
    /// Seen from the source interface.
    pub direction: Direction,
    /// 1 to 32766; the lowest number that matches decides.
    pub number: u16,
    /// What it does with what it matches.
    pub action: MirrorAction,
    /// The protocol's number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// The source ports of TCP and UDP; `None` is every port, and what has no ports.
    pub source_ports: Option<PortRange>,
    /// The destination ports, likewise.
    pub destination_ports: Option<PortRange>,
    /// The packet's source, host bits zero.
    pub source: IpNet,
    /// The packet's destination, host bits zero, of the same family.
    pub destination: IpNet,
    /// Free text.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// What a rule of a filter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MirrorAction {
    /// The session copies the packet.
    Accept,
    /// It does not; the next session may.
    Reject,
}

/// Ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub from: u16,
    /// Last port, not below `from`.
    pub to: u16,
}

/// Sends copies of an interface's packets to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMirrorSession {
    /// Its id.
    pub id: TrafficMirrorSessionId,
    /// The source. When it is deleted, so is the session; while it is not attached, nothing is
    /// copied. It is no target's interface.
    pub network_interface: EniId,
    /// Where the copies go.
    pub target: TrafficMirrorTargetId,
    /// Which packets are copied.
    pub filter: TrafficMirrorFilterId,
    /// 1 to 32766, each number once per source; the lowest is asked first.
    pub number: u16,
    /// The VXLAN network identifier of the copies, 0 to 16777215.
    pub virtual_network_id: u32,
    /// How many bytes of a packet are copied, counted from behind the VXLAN header; `None` is all.
    pub packet_length: Option<u16>,
    /// Free text.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}
