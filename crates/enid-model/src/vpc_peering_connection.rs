//! A VPC peering connection.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{VpcId, VpcPeeringConnectionId};
use crate::time::Timestamp;

/// A VPC peering connection between two VPCs of one account and region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcPeeringConnection {
    /// Its id.
    pub id: VpcPeeringConnectionId,
    /// The VPC that asked for it.
    pub requester: PeeredVpc,
    /// The VPC that was asked.
    pub accepter: PeeredVpc,
    /// How far it is.
    pub status: PeeringStatus,
    /// When it was asked for. It expires seven days later if it is still pending.
    pub create_time: Timestamp,
    /// When it came to its last status; dead ones are forgotten some time after.
    pub status_time: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// One side of a peering connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeeredVpc {
    /// The VPC.
    pub vpc: VpcId,
    /// Its IPv4 blocks when the connection was asked for or accepted.
    pub cidrs: Vec<Ipv4Net>,
    /// Its IPv6 blocks then.
    pub ipv6_cidrs: Vec<Ipv6Net>,
    /// Whether this side's public DNS names resolve to private addresses on the other side.
    pub allow_dns_resolution: bool,
}

/// How far a peering connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeeringStatus {
    /// Packets pass where routes lead them.
    Active,
    /// Deleted by one side.
    Deleted,
    /// Never accepted.
    Expired,
    /// The blocks of the two VPCs overlap.
    Failed,
    /// Waits to be accepted.
    PendingAcceptance,
    /// Refused by the other side.
    Rejected,
}
