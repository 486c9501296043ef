//! A security group and its rules.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{PrefixListId, SecurityGroupId, SecurityGroupRuleId, VpcId};

/// A security group. Its rules only allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its name, unique in the VPC without regard to case.
    pub name: String,
    /// Its description; cannot change.
    pub description: String,
    /// The other VPCs whose interfaces may carry it.
    #[serde(default)]
    pub associated_vpcs: BTreeSet<VpcId>,
    /// Its rules of both directions.
    pub rules: BTreeMap<SecurityGroupRuleId, Rule>,
    /// Its tags.
    pub tags: Tags,
}

impl SecurityGroup {
    /// The rules of one direction, by id.
    pub fn rules_of(&self, direction: Direction) -> impl Iterator<Item = &Rule> {
        self.rules
            .values()
            .filter(move |rule| rule.matcher.direction == direction)
    }
}

/// Seen from the network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Leaving the interface.
    Egress,
    /// Entering the interface.
    Ingress,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id, kept when the rule is modified.
    pub id: SecurityGroupRuleId,
    /// What it allows.
    pub matcher: Matcher,
    /// Free text; not part of the rule's identity.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// What a rule allows: its identity. A group holds no two rules with equal matchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// Which way.
    pub direction: Direction,
    /// Which protocol and ports.
    pub service: Service,
    /// Which other side.
    pub peer: Peer,
}

/// A protocol with its ports, or with its type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Every protocol (`-1`).
    All,
    /// ICMP with a type and code; an absent type means all types, an absent code all codes.
    Icmp {
        /// The type.
        kind: Option<u8>,
        /// The code; absent whenever the type is.
        code: Option<u8>,
    },
    /// ICMPv6, as `Icmp`.
    Icmpv6 {
        /// The type.
        kind: Option<u8>,
        /// The code; absent whenever the type is.
        code: Option<u8>,
    },
    /// Any other protocol by number, all of it. Never 1, 6, 17 or 58.
    Protocol(u8),
    /// TCP with destination ports, both ends included.
    Tcp {
        /// First port.
        from: u16,
        /// Last port, not below `from`.
        to: u16,
    },
    /// UDP with destination ports, both ends included.
    Udp {
        /// First port.
        from: u16,
        /// Last port, not below `from`.
        to: u16,
    },
}

/// The other side of a rule: the source of an ingress rule, the destination of an egress rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// The private addresses of the interfaces that carry this group.
    Group(SecurityGroupId),
    /// An IPv4 block, host bits zero.
    Ipv4(Ipv4Net),
    /// An IPv6 block, host bits zero.
    Ipv6(Ipv6Net),
    /// The blocks of a managed prefix list, as they are at the moment.
    PrefixList(PrefixListId),
}
