//! A route table and its routes.
//!
//! Which table a subnet uses is in the subnet ([`Subnet::route_table`](crate::subnet::Subnet)), or
//! else the VPC's main table, so that no subnet can have two.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    EgressOnlyInternetGatewayId, EniId, InternetGatewayId, NatGatewayId, PrefixListId,
    RouteTableId, VpcId, VpcPeeringConnectionId,
};

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its id.
    pub id: RouteTableId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its routes, by destination, each destination once. The local routes of the VPC's blocks are
    /// not listed: a route here to a whole block of the VPC replaces that block's local route.
    pub routes: Vec<Route>,
    /// Its tags.
    pub tags: Tags,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which packets.
    pub destination: RouteDestination,
    /// Where to.
    pub target: RouteTarget,
}

/// Which packets a route is for: the longest prefix wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteDestination {
    /// A block, host bits zero.
    Cidr(IpNet),
    /// The blocks of a prefix list.
    PrefixList(PrefixListId),
}

/// Where a route leads. A target that is gone, detached or down makes the route a blackhole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// An egress-only internet gateway.
    EgressOnlyInternetGateway(EgressOnlyInternetGatewayId),
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// A network interface; a route to an instance is one to its interface.
    NetworkInterface(EniId),
    /// A peering connection.
    VpcPeeringConnection(VpcPeeringConnectionId),
}
