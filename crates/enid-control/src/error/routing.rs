//! What network ACLs, route tables, peering connections and DHCP option sets say instead of doing
//! their work.

use enid_model::id::{
    DhcpOptionsId, NetworkAclId, RouteTableAssociationId, RouteTableId, SubnetId, VpcId,
    VpcPeeringConnectionId,
};
use ipnet::IpNet;

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation on a network ACL, a route table, a peering connection or an option set was
    /// not done.
    enum RoutingError
    /// An option set is still a VPC's.
    DhcpOptionsInUse { id: DhcpOptionsId } => "DependencyViolation",
        "The dhcpOptions '{id}' has dependencies and cannot be deleted.";
    /// A network ACL still has subnets.
    NetworkAclInUse { id: NetworkAclId } => "DependencyViolation",
        "The networkAcl '{id}' has dependencies and cannot be deleted.";
    /// A route table still has associations.
    RouteTableInUse { id: RouteTableId } => "DependencyViolation",
        "The routeTable '{id}' has dependencies and cannot be deleted.";
    /// An association id names none.
    AssociationNotFound { id: Box<str> } => "InvalidAssociationID.NotFound",
        "The association ID '{id}' does not exist";
    /// An option set id names none.
    DhcpOptionsNotFound { id: Box<str> } => "InvalidDhcpOptionID.NotFound",
        "The dhcpOption ID '{id}' does not exist";
    /// A route's gateway is not there.
    GatewayNotFound { id: Box<str> } => "InvalidGatewayID.NotFound",
        "The gateway ID '{id}' does not exist";
    /// A route's NAT gateway is not there.
    NatGatewayNotFound { id: Box<str> } => "InvalidNatGatewayID.NotFound",
        "The natGateway ID '{id}' does not exist";
    /// An entry that shall be replaced or deleted is not there.
    NetworkAclEntryNotFound { number: u16 } => "InvalidNetworkAclEntry.NotFound",
        "The network acl entry identified by {number} does not exist.";
    /// A network ACL id names none.
    NetworkAclNotFound { id: Box<str> } => "InvalidNetworkAclID.NotFound",
        "The networkAcl ID '{id}' does not exist";
    /// A block of each family where one of them is wanted.
    BlocksOfBothFamilies { names: &'static str } => "InvalidParameterCombination",
        "The parameters {names} may not be used together";
    /// A route table for more than one user.
    TableUsersSeveral => "InvalidParameterCombination",
        "The parameters subnetId and gatewayId may not be used together";
    /// A route with more than one destination.
    RouteDestinationsSeveral => "InvalidParameterCombination",
        "The request must contain exactly one of destinationCidrBlock, destinationIpv6CidrBlock or destinationPrefixListId";
    /// A route with more than one target.
    RouteTargetsSeveral => "InvalidParameterCombination",
        "The request must contain exactly one of gatewayId, egressOnlyInternetGatewayId, natGatewayId, \
         networkInterfaceId, vpcPeeringConnectionId or instanceId";
    /// An ACL that goes only with its VPC.
    DefaultNetworkAcl { id: NetworkAclId } => "InvalidParameterValue",
        "cannot delete default network ACL {id}";
    /// A route, an association or a peering connection between two VPCs that are not the same.
    DifferentNetworks { one: Box<str>, other: Box<str> } => "InvalidParameterValue",
        "{one} and {other} belong to different networks";
    /// Destinations that AWS keeps for its own services.
    DestinationReserved { cidr: IpNet } => "InvalidParameterValue",
        "The destination CIDR block {cidr} is within a range that is reserved for AWS services.";
    /// The route table of an internet gateway leads on into the VPC only.
    EdgeRoute { table: RouteTableId, destination: Box<str>, why: &'static str } => "InvalidParameterValue",
        "The route to {destination} in route table {table} is not supported for an internet gateway. {why}";
    /// An egress-only gateway does not know IPv4.
    EgressOnlyTakesIpv6 { cidr: IpNet } => "InvalidParameterValue",
        "The destination CIDR block {cidr} is not an IPv6 CIDR block. An egress-only internet gateway can be a target for IPv6 only.";
    /// An ICMP code without a type.
    IcmpCodeWithoutType => "InvalidParameterValue", "ICMP code must be -1 when the ICMP type is -1";
    /// An ICMP type or code that is none.
    IcmpOutOfRange { what: &'static str, value: i32 } => "InvalidParameterValue",
        "ICMP {what} ({value}) out of range";
    /// A local route stays.
    LocalRouteDeleted { cidr: IpNet, table: RouteTableId } => "InvalidParameterValue",
        "cannot remove local route {cidr} in route table {table}";
    /// Only local routes have the local target.
    LocalTargetElsewhere => "InvalidParameterValue",
        "The local target is for the routes to the VPC's own CIDR blocks only.";
    /// A main table has to be replaced.
    MainAssociation { id: RouteTableAssociationId } => "InvalidParameterValue",
        "cannot disassociate the main route table association {id}";
    /// A peering connection that packets will never pass.
    PeeringNotRoutable { id: VpcPeeringConnectionId } => "InvalidParameterValue",
        "The VPC peering connection '{id}' is neither active nor pending acceptance";
    /// A VPC is its own peer.
    PeeringWithItself { vpc: VpcId } => "InvalidParameterValue",
        "The VPC '{vpc}' cannot be peered with itself";
    /// A port that is none.
    PortOutOfRange { port: i32 } => "InvalidParameterValue", "TCP/UDP port ({port}) out of range";
    /// There is no such route to replace.
    RouteToReplaceNotFound { destination: Box<str> } => "InvalidParameterValue",
        "There is no route defined for '{destination}' in the route table. Use CreateRoute instead.";
    /// Inside a VPC, routes lead to interfaces.
    RouteTargetNotSupported => "InvalidParameterValue",
        "Route target is not supported. This route only supports interface and instance targets.";
    /// A number that no entry can have.
    RuleNumberInvalid { number: i32 } => "InvalidParameterValue",
        "Value ({number}) for parameter ruleNumber is invalid. Expecting a value from 1 to 32766.";
    /// A more specific route than a VPC's must be for a whole subnet.
    SubnetBlockMissing { cidr: IpNet } => "InvalidParameterValue",
        "The destination CIDR block {cidr} is more specific than one of this VPC's CIDR blocks and is no subnet's CIDR block.";
    /// An option set names something that Enid has not.
    DhcpOptionUnknown { key: Box<str> } => "InvalidParameterValue",
        "Value ({key}) for parameter key is invalid. Unknown DHCP option.";
    /// An option that is set twice.
    DhcpOptionTwice { key: Box<str> } => "InvalidParameterValue",
        "Duplicate DHCP option '{key}' specified.";
    /// An option's values are none that it can have.
    DhcpOptionInvalid { value: Box<str>, key: &'static str, why: &'static str } => "InvalidParameterValue",
        "Value ({value}) for parameter {key} is invalid. {why}";
    /// A route that shall be deleted is not there.
    RouteNotFound { kind: &'static str, destination: Box<str>, table: RouteTableId } => "InvalidRoute.NotFound",
        "no route with {kind} {destination} in route table {table}";
    /// A route table id names none.
    RouteTableNotFound { id: Box<str> } => "InvalidRouteTableID.NotFound",
        "The routeTable ID '{id}' does not exist";
    /// A peering connection cannot go from where it is to where it shall be.
    PeeringTransition { id: VpcPeeringConnectionId, from: &'static str, to: &'static str } => "InvalidStateTransition",
        "Invalid state transition for {id}, attempted to transition from {from} to {to}";
    /// A peering connection id names none.
    VpcPeeringConnectionNotFound { id: Box<str> } => "InvalidVpcPeeringConnectionID.NotFound",
        "The vpcPeeringConnection ID '{id}' does not exist";
    /// A route without a destination.
    RouteDestinationMissing => "MissingParameter",
        "The request must contain exactly one of destinationCidrBlock, destinationIpv6CidrBlock or destinationPrefixListId";
    /// A route without a target.
    RouteTargetMissing => "MissingParameter",
        "The request must contain exactly one of gatewayId, egressOnlyInternetGatewayId, natGatewayId, \
         networkInterfaceId, vpcPeeringConnectionId or instanceId";
    /// An entry's number is taken.
    NetworkAclEntryExists { number: u16 } => "NetworkAclEntryAlreadyExists",
        "The network acl entry identified by {number} already exists.";
    /// The quota of entries in a direction.
    NetworkAclEntryLimitExceeded => "NetworkAclEntryLimitExceeded",
        "The maximum number of network acl entries has been reached.";
    /// The quota of ACLs in a VPC.
    NetworkAclLimitExceeded => "NetworkAclLimitExceeded",
        "The maximum number of network acls has been reached.";
    /// Options are for connections that packets pass.
    PeeringNotActive { id: VpcPeeringConnectionId } => "OperationNotPermitted",
        "Peering {id} is not active. Peering options can be added only to active peerings.";
    /// The quota of unanswered requests for peering.
    OutstandingPeeringsExceeded => "OutstandingVpcPeeringConnectionLimitExceeded",
        "The maximum number of outstanding VPC peering connection requests has been reached.";
    /// A subnet has a table of its own already.
    AlreadyAssociated { table: RouteTableId } => "Resource.AlreadyAssociated",
        "the specified association for route table {table} conflicts with an existing association";
    /// A destination has a route.
    RouteExists { destination: Box<str> } => "RouteAlreadyExists",
        "The route identified by {destination} already exists.";
    /// The quota of routes in a table.
    RouteLimitExceeded => "RouteLimitExceeded", "The maximum number of routes has been reached.";
    /// The quota of tables in a VPC.
    RouteTableLimitExceeded => "RouteTableLimitExceeded",
        "The maximum number of route tables has been reached.";
    /// The pair of VPCs has an active peering connection.
    PeeringExists { id: VpcPeeringConnectionId } => "VpcPeeringConnectionAlreadyExists",
        "The vpc peering connection identified by {id} already exists.";
    /// The quota of active peering connections of a VPC.
    PeeringsPerVpcExceeded { vpc: VpcId } => "VpcPeeringConnectionsPerVpcLimitExceeded",
        "The maximum number of active VPC peering connections for VPC '{vpc}' has been reached.";
}

impl RoutingError {
    /// The error for an id that names no resource of these.
    pub(super) fn not_found(prefix: &str, text: &str) -> Option<Self> {
        let id = text.into();
        Some(match prefix {
            "acl" => Self::NetworkAclNotFound { id },
            "aclassoc" | "rtbassoc" => Self::AssociationNotFound { id },
            "dopt" => Self::DhcpOptionsNotFound { id },
            "pcx" => Self::VpcPeeringConnectionNotFound { id },
            "rtb" => Self::RouteTableNotFound { id },
            _ => return None,
        })
    }

    /// A network ACL of another VPC than the subnet's.
    pub(crate) fn acl_and_subnet(acl: NetworkAclId, subnet: SubnetId) -> Self {
        Self::DifferentNetworks {
            one: format!("network acl {acl}").into(),
            other: format!("subnet {subnet}").into(),
        }
    }

    /// A route table of another VPC than something else.
    pub(crate) fn table_and(table: RouteTableId, other: String) -> Self {
        Self::DifferentNetworks {
            one: format!("route table {table}").into(),
            other: other.into(),
        }
    }
}
