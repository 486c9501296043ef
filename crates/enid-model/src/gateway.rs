//! The gateways between a VPC and the internet that keep no state.

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    EgressOnlyInternetGatewayId, InternetGatewayId, RouteTableAssociationId, RouteTableId, VpcId,
};

/// An internet gateway: translates between private addresses and the public ones that stand for
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// Its id.
    pub id: InternetGatewayId,
    /// The VPC that it is attached to. A VPC has at most one.
    pub vpc: Option<VpcId>,
    /// The route table for what comes in through it, if it has one of its own.
    #[serde(default)]
    pub route_table: Option<GatewayRouteTable>,
    /// Its tags.
    pub tags: Tags,
}

/// A gateway's route table (an "edge association").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRouteTable {
    /// The association.
    pub association: RouteTableAssociationId,
    /// The table.
    pub table: RouteTableId,
}

/// An egress-only internet gateway: lets IPv6 out, and only answers in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressOnlyInternetGateway {
    /// Its id.
    pub id: EgressOnlyInternetGatewayId,
    /// Its VPC, for life.
    pub vpc: VpcId,
    /// Its tags.
    pub tags: Tags,
}
