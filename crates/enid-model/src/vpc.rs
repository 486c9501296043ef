//! A VPC.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    DhcpOptionsId, NetworkAclId, RouteTableAssociationId, RouteTableId, SecurityGroupId,
    VpcCidrAssociationId, VpcId,
};

/// A virtual private cloud: an address space of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its primary block, host bits zero, /16 to /28.
    pub cidr: Ipv4Net,
    /// The association that carries the primary block.
    pub cidr_association: VpcCidrAssociationId,
    /// Its other IPv4 blocks, in the order in which they were associated.
    #[serde(default)]
    pub secondary_cidrs: Vec<VpcCidr>,
    /// Its IPv6 blocks, likewise.
    #[serde(default)]
    pub ipv6_cidrs: Vec<VpcIpv6Cidr>,
    /// Whether this is the region's default VPC.
    pub is_default: bool,
    /// The group that an interface gets when none is named.
    pub default_group: SecurityGroupId,
    /// The route table of subnets without one of their own.
    pub main_route_table: RouteTableId,
    /// The association that makes it the main one.
    #[serde(default)]
    pub main_route_table_association: RouteTableAssociationId,
    /// The network ACL of new subnets.
    pub default_network_acl: NetworkAclId,
    /// The option set in force; none if instances are told nothing (`default`).
    pub dhcp_options: Option<DhcpOptionsId>,
    /// Whether the resolver answers.
    pub enable_dns_support: bool,
    /// Whether instances get public DNS names.
    pub enable_dns_hostnames: bool,
    /// Whether the use of its addresses is measured.
    #[serde(default)]
    pub network_address_usage_metrics: bool,
    /// Its tags.
    pub tags: Tags,
}

impl Vpc {
    /// Its IPv4 blocks, the primary one first.
    pub fn ipv4_cidrs(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        let secondary = self.secondary_cidrs.iter().map(|secondary| secondary.cidr);
        std::iter::once(self.cidr).chain(secondary)
    }

    /// All its blocks: what the local routes of its route tables lead to.
    pub fn cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        let ipv6 = self.ipv6_cidrs.iter().map(|block| IpNet::V6(block.cidr));
        self.ipv4_cidrs().map(IpNet::V4).chain(ipv6)
    }
}

/// A secondary IPv4 block of a VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcCidr {
    /// Its association.
    pub association: VpcCidrAssociationId,
    /// The block, host bits zero, /16 to /28.
    pub cidr: Ipv4Net,
}

/// An IPv6 block of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcIpv6Cidr {
    /// Its association.
    pub association: VpcCidrAssociationId,
    /// The block, host bits zero.
    pub cidr: Ipv6Net,
    /// The pool that it comes from: `Amazon` if Enid provided it.
    pub pool: String,
    /// From where it is reachable: the region's name.
    pub network_border_group: String,
}
