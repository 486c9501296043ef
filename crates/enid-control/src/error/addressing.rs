//! What CIDR blocks of VPCs and subnets, their reservations, IPv6 addresses and delegated prefixes say
//! instead of being given or taken back.

use std::net::Ipv6Addr;

use enid_model::id::{EniId, SubnetCidrAssociationId, SubnetId, VpcCidrAssociationId, VpcId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation on CIDR blocks, IPv6 addresses or prefixes was not done.
    enum AddressingError
    /// A VPC has as many blocks of a family as it may have.
    CidrLimitExceeded { vpc: VpcId, max: usize } => "CidrLimitExceeded",
        "This network '{vpc}' has met its maximum number of allowed CIDRs: {max}";
    /// A subnet has an IPv6 block already.
    SubnetCidrLimitExceeded { id: SubnetId } => "CidrLimitExceeded",
        "The subnet '{id}' has met its maximum number of allowed IPv6 CIDRs: 1";
    /// No IPv6 block of the pool is free.
    Ipv6PoolExhausted => "InsufficientAddressCapacity",
        "There are not enough free IPv6 CIDR blocks in the pool to satisfy the request.";
    /// No /28 of the subnet is free, though it has enough addresses.
    InsufficientCidrBlocks => "InsufficientCidrBlocks",
        "The specified subnet does not have enough free cidr blocks to satisfy the request.";
    /// The named IPv6 block is another VPC's.
    Ipv6BlockInUse { cidr: Ipv6Net } => "InvalidCidrBlock.InUse", "The IPv6 CIDR '{cidr}' is already in use.";
    /// New interfaces of the subnet shall get addresses of its IPv6 block.
    SubnetCidrAssigns { id: SubnetCidrAssociationId } => "InvalidCidrBlock.InUse",
        "The subnet IPv6 CIDR block with association ID {id} may not be disassociated, because its subnet has assign-ipv6-address-on-creation set to true.";
    /// A subnet's IPv6 block has addresses that interfaces hold or reservations keep.
    SubnetCidrInUse { id: SubnetCidrAssociationId } => "InvalidCidrBlock.InUse",
        "The subnet IPv6 CIDR block with association ID {id} may not be disassociated, because addresses of it are reserved or assigned to network interfaces.";
    /// A VPC's block has subnets.
    VpcCidrInUse { id: VpcCidrAssociationId } => "InvalidCidrBlock.InUse",
        "The vpc CIDR block with association ID {id} may not be disassociated, because it contains one or more subnets.";
    /// An IPv6 address that another interface has, or whose prefix is delegated.
    Ipv6AddressInUse { address: Ipv6Addr } => "InvalidIPAddress.InUse",
        "The IPv6 address {address} is already in use.";
    /// A prefix that is taken, whole or in part.
    PrefixInUse { prefix: IpNet } => "InvalidIPAddress.InUse", "The prefix {prefix} is already in use.";
    /// The instance type allows fewer IPv6 addresses per interface.
    InterfaceIpv6LimitExceeded => "InvalidInterface.IpAddressLimitExceeded",
        "Number of IPv6 addresses will exceed limit.";
    /// Addresses or prefixes of one family in several ways.
    AddressKindsMixed => "InvalidParameterCombination",
        "Only one of privateIpAddresses, secondaryPrivateIpAddressCount, ipv4Prefixes and ipv4PrefixCount may be specified on the same request";
    /// IPv6 addresses by name and by number.
    Ipv6ListAndCount => "InvalidParameterCombination",
        "IPv6 addresses and IPv6 address count may not be specified on the same request";
    /// There is no IPv6 address to be the primary one.
    PrimaryIpv6WithoutAddress => "InvalidParameterCombination",
        "A primary IPv6 address can be enabled only on an interface with an IPv6 address";
    /// Setting the attribute needs an IPv6 block.
    AssignIpv6WithoutBlock { id: SubnetId } => "InvalidParameterValue",
        "Invalid value 'true' for assign-ipv6-address-on-creation. Cannot set assign-ipv6-address-on-creation to true unless the subnet ({id}) has an IPv6 CIDR block associated with it.";
    /// The subnet has fewer free addresses than a prefix.
    InsufficientAddressesForPrefix => "InvalidParameterValue",
        "There aren't sufficient free Ipv4 addresses or prefixes";
    /// An IPv6 address outside the subnet's block.
    Ipv6AddressOutsideSubnet { address: Ipv6Addr } => "InvalidParameterValue",
        "The IPv6 address {address} does not fall within the subnet's IPv6 address range";
    /// IPv6 addresses or prefixes in several ways.
    Ipv6KindsMixed => "InvalidParameterValue",
        "You can and can only specify one of ipv6-addresses or ipv6-addresses-count  ipv6-prefix and ipv6-prefix-count.";
    /// A request names one IPv6 address or prefix twice.
    Ipv6NamedTwice { what: Box<str> } => "InvalidParameterValue", "{what} is specified more than once";
    /// A prefix outside the subnet's block.
    PrefixOutsideSubnet { prefix: IpNet } => "InvalidParameterValue",
        "The prefix {prefix} does not fall within the subnet's address range";
    /// A prefix with one of the subnet's own addresses.
    PrefixReserved { prefix: IpNet } => "InvalidParameterValue",
        "The prefix {prefix} is in subnet's reserved address range";
    /// Prefixes for an instance of an older kind.
    PrefixesNeedNitro { instance_type: Box<str> } => "InvalidParameterValue",
        "Prefixes can be assigned to interfaces of Nitro-based instances only, and {instance_type} is not one";
    /// A primary IPv6 address stays one.
    PrimaryIpv6Disabled { id: EniId } => "InvalidParameterValue",
        "The primary IPv6 address of interface {id} cannot be disabled";
    /// The primary IPv6 address stays for the life of the interface.
    PrimaryIpv6Unassigned => "InvalidParameterValue",
        "The primary IPv6 address of an interface cannot be unassigned.";
    /// A reservation overlaps another.
    ReservationConflict { cidr: IpNet } => "InvalidParameterValue",
        "The CIDR '{cidr}' overlaps with an existing subnet CIDR reservation";
    /// A reservation outside the subnet's blocks.
    ReservationOutsideSubnet { cidr: IpNet } => "InvalidParameterValue",
        "The CIDR '{cidr}' is not within the CIDR range of the subnet";
    /// The subnet has no IPv6 block.
    SubnetWithoutIpv6 { id: SubnetId } => "InvalidParameterValue",
        "The subnet '{id}' does not have an IPv6 CIDR block";
    /// The id of an IPv6 pool names none.
    Ipv6PoolNotFound { id: Box<str> } => "InvalidPoolID.NotFound", "The pool ID '{id}' does not exist";
    /// A subnet's block overlaps another's.
    SubnetConflict { cidr: Box<str> } => "InvalidSubnet.Conflict",
        "The CIDR '{cidr}' conflicts with another subnet";
    /// A subnet's IPv6 block overlaps another's.
    SubnetIpv6Conflict { cidr: Box<str> } => "InvalidSubnet.Conflict",
        "The IPv6 CIDR '{cidr}' conflicts with another subnet";
    /// A subnet's IPv6 block has a wrong size, or is in none of the VPC's.
    SubnetIpv6Range { cidr: Box<str> } => "InvalidSubnet.Range", "The IPv6 CIDR '{cidr}' is invalid.";
    /// A subnet's block has a wrong size, or is not in the VPC's.
    SubnetRange { cidr: Box<str> } => "InvalidSubnet.Range", "The CIDR '{cidr}' is invalid.";
    /// An id of a subnet's block names none.
    SubnetCidrAssociationNotFound { id: Box<str> } => "InvalidSubnetCidrBlockAssociationID.NotFound",
        "The subnet CIDR block association ID '{id}' does not exist";
    /// An id of a reservation names none.
    SubnetCidrReservationNotFound { id: Box<str> } => "InvalidSubnetCidrReservationID.NotFound",
        "The subnet CIDR reservation ID '{id}' does not exist";
    /// A block that overlaps another one that the VPC knows.
    VpcCidrConflict { cidr: Ipv4Net, other: Box<str> } => "InvalidVpc.Range",
        "The CIDR '{cidr}' conflicts with {other}";
    /// An IPv6 block that no pool can give.
    VpcIpv6Range { cidr: Box<str> } => "InvalidVpc.Range", "The IPv6 CIDR '{cidr}' is invalid.";
    /// A VPC's block has a wrong size or addresses that nobody can have.
    VpcRange { cidr: Box<str> } => "InvalidVpc.Range", "The CIDR '{cidr}' is invalid.";
    /// A block of another private range than the VPC's.
    VpcRangeRestricted { cidr: Ipv4Net } => "InvalidVpc.Range",
        "The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, or use a publicly-routable CIDR. For additional restrictions, see https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html";
    /// An id of a VPC's block names none.
    VpcCidrAssociationNotFound { id: Box<str> } => "InvalidVpcCidrBlockAssociationID.NotFound",
        "The vpc CIDR block association ID '{id}' does not exist";
    /// Nothing says which IPv6 addresses to assign.
    NoIpv6ToAssign => "MissingParameter",
        "Either ipv6Addresses, ipv6AddressCount, ipv6Prefixes or ipv6PrefixCount must be specified.";
    /// Nothing says which IPv6 addresses to unassign.
    NoIpv6ToUnassign => "MissingParameter", "Either ipv6Addresses or ipv6Prefixes must be specified.";
    /// The primary block stays for the life of the VPC.
    PrimaryCidrDisassociated { id: VpcCidrAssociationId } => "OperationNotPermitted",
        "The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR block of the VPC";
    /// More IPv6 addresses and prefixes than the interface may have.
    Ipv6AddressLimitExceeded => "PrivateIpAddressLimitExceeded",
        "Number of IPv6 addresses will exceed limit.";
}

impl AddressingError {
    /// The error for an id that names no resource of these.
    pub(super) fn not_found(prefix: &str, text: &str) -> Option<Self> {
        let id = text.into();
        Some(match prefix {
            "scr" => Self::SubnetCidrReservationNotFound { id },
            "subnet-cidr-assoc" => Self::SubnetCidrAssociationNotFound { id },
            "vpc-cidr-assoc" => Self::VpcCidrAssociationNotFound { id },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Error;

    #[test]
    fn an_id_that_names_none_has_the_code_of_its_kind() {
        for (prefix, code) in [
            ("scr", "InvalidSubnetCidrReservationID.NotFound"),
            (
                "subnet-cidr-assoc",
                "InvalidSubnetCidrBlockAssociationID.NotFound",
            ),
            (
                "vpc-cidr-assoc",
                "InvalidVpcCidrBlockAssociationID.NotFound",
            ),
            ("rtb", "InvalidRouteTableID.NotFound"),
            ("subnet", "InvalidSubnetID.NotFound"),
            ("other", "InvalidID"),
        ] {
            assert_eq!(Error::not_found_text(prefix, "x").code(), code);
        }
    }
}
