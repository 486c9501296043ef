//! A network ACL and its entries.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{NetworkAclId, VpcId};
use crate::security_group::{Direction, Service};

/// A network ACL: judges each packet that crosses the edge of a subnet, without a memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// Its id.
    pub id: NetworkAclId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Whether new subnets of the VPC get it.
    pub is_default: bool,
    /// Its entries, by direction and number. What none matches is denied.
    pub entries: Vec<NetworkAclEntry>,
    /// Its tags.
    pub tags: Tags,
}

impl NetworkAcl {
    /// The entries of one direction, in the order in which they are asked.
    pub fn entries_of(&self, direction: Direction) -> impl Iterator<Item = &NetworkAclEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.direction == direction)
    }
}

/// One entry of a network ACL. Its identity is direction and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAclEntry {
    /// Seen from the subnet: egress leaves it.
    pub direction: Direction,
    /// 1 to 32766; the lowest number that matches decides.
    pub number: u16,
    /// What it does with what it matches.
    pub action: AclAction,
    /// Which protocol and ports.
    pub service: Service,
    /// Which other side, host bits zero.
    pub cidr: IpNet,
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclAction {
    /// Lets the packet pass.
    Allow,
    /// Drops it.
    Deny,
}
