//! A NAT gateway.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{AllocationId, AssociationId, EniId, NatGatewayId, SubnetId, VpcId};
use crate::time::Timestamp;

/// A NAT gateway: lets instances open connections through addresses of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// Its id.
    pub id: NatGatewayId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its subnet: the route table and the network ACL of this subnet are its own.
    pub subnet: SubnetId,
    /// Whether it translates to public addresses.
    pub is_public: bool,
    /// Its interface, made and kept by Enid; gone when the gateway is deleted.
    pub eni: EniId,
    /// Its addresses; the first is the primary one.
    pub addresses: Vec<NatGatewayAddress>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it was deleted. A deleted gateway stays visible for an hour.
    pub delete_time: Option<Timestamp>,
    /// Its tags.
    pub tags: Tags,
}

impl NatGateway {
    /// Whether packets go through it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.delete_time.is_none()
    }
}

/// An address of a NAT gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGatewayAddress {
    /// The private address, one of the interface's.
    pub private_ip: Ipv4Addr,
    /// The Elastic IP that stands for it, and its address; none in a private gateway.
    pub public: Option<NatGatewayPublicAddress>,
    /// Until when it keeps the connections that it has, if it is on its way out; it gets no new ones.
    #[serde(default)]
    pub drain_until: Option<Timestamp>,
}

/// The Elastic IP of an address of a NAT gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGatewayPublicAddress {
    /// The Elastic IP.
    pub allocation: AllocationId,
    /// Its association with the private address.
    pub association: AssociationId,
    /// The public address.
    pub public_ip: Ipv4Addr,
}
