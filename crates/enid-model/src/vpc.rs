//! A VPC.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    DhcpOptionsId, NetworkAclId, RouteTableId, SecurityGroupId, VpcCidrAssociationId, VpcId,
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
    /// Whether this is the region's default VPC.
    pub is_default: bool,
    /// The group that an interface gets when none is named.
    pub default_group: SecurityGroupId,
    /// The route table of subnets without one of their own.
    pub main_route_table: RouteTableId,
    /// The network ACL of new subnets.
    pub default_network_acl: NetworkAclId,
    /// The option set in force.
    pub dhcp_options: DhcpOptionsId,
    /// Whether the resolver answers.
    pub enable_dns_support: bool,
    /// Whether instances get public DNS names.
    pub enable_dns_hostnames: bool,
    /// Its tags.
    pub tags: Tags,
}
