//! A subnet, and the claims on its addresses.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{
    EniId, NetworkAclAssociationId, NetworkAclId, RouteTableAssociationId, RouteTableId,
    SubnetCidrAssociationId, SubnetCidrReservationId, SubnetId, VpcId,
};

/// A range of a VPC's addresses in one availability zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its block, host bits zero, /16 to /28, inside the VPC's.
    pub cidr: Ipv4Net,
    /// The name of its zone, such as `us-east-1a`.
    pub zone: String,
    /// The id of its zone, such as `use1-az1`.
    pub zone_id: String,
    /// Whether it is the default subnet of its zone.
    pub default_for_az: bool,
    /// Its IPv6 block, a /64 inside one of the VPC's.
    #[serde(default)]
    pub ipv6_cidr: Option<SubnetIpv6Cidr>,
    /// The route table that it was given; without one it uses the VPC's main table.
    #[serde(default)]
    pub route_table: Option<SubnetRouteTable>,
    /// Its network ACL.
    #[serde(default)]
    pub network_acl: SubnetNetworkAcl,
    /// What new interfaces and instances in it get.
    #[serde(default)]
    pub attributes: SubnetAttributes,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet's IPv6 block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetIpv6Cidr {
    /// Its association.
    pub association: SubnetCidrAssociationId,
    /// The block, host bits zero.
    pub cidr: Ipv6Net,
}

/// A route table that a subnet was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRouteTable {
    /// The association.
    pub association: RouteTableAssociationId,
    /// The table.
    pub table: RouteTableId,
}

/// The network ACL of a subnet. A subnet always has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetNetworkAcl {
    /// The association.
    pub association: NetworkAclAssociationId,
    /// The ACL.
    pub acl: NetworkAclId,
}

/// What can be set of a subnet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetAttributes {
    /// Whether instances launched here get a public address.
    pub map_public_ip_on_launch: bool,
    /// Whether new interfaces get an IPv6 address.
    pub assign_ipv6_address_on_creation: bool,
    /// What the private host names of instances are made from.
    pub hostname_type: HostnameType,
    /// Whether resource names resolve to IPv4 addresses.
    pub resource_name_dns_a_record: bool,
    /// Whether resource names resolve to IPv6 addresses.
    pub resource_name_dns_aaaa_record: bool,
    /// Whether the resolver synthesises IPv6 addresses for names that have none.
    pub enable_dns64: bool,
}

/// What a private host name is made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostnameType {
    /// The primary private IPv4 address.
    #[default]
    IpName,
    /// The instance's id.
    ResourceName,
}

impl Subnet {
    /// The router's address: base + 1.
    #[must_use]
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).wrapping_add(1))
    }

    /// Whether AWS keeps this address of the block for itself: base to base + 3, and the last one.
    #[must_use]
    pub fn reserves(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.cidr.network()));
        offset < 4 || address == self.cidr.broadcast()
    }

    /// How many addresses interfaces can have in all: the block's size less the five reserved.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        // A /16 is the largest block, a /28 the smallest.
        (1_u32 << (32 - u32::from(self.cidr.prefix_len()))).saturating_sub(5)
    }
}

/// The claim of one address by one interface. Its key (subnet and address) is created if absent,
/// so that no two interfaces ever hold one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressLease {
    /// The holder.
    pub eni: EniId,
}

/// The claim of one IPv6 address by one interface, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Lease {
    /// The holder.
    pub eni: EniId,
}

/// The claim of an IPv6 prefix (a /80) by one interface. Its key is subnet and block. No address of
/// the block is leased while the prefix is, and the other way round: each claim demands that the
/// other kind is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6PrefixLease {
    /// The holder.
    pub eni: EniId,
}

/// A part of a subnet's block that automatic assignment leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetCidrReservation {
    /// Its id.
    pub id: SubnetCidrReservationId,
    /// The subnet.
    pub subnet: SubnetId,
    /// The reserved block, inside the subnet's.
    pub cidr: IpNet,
    /// What it is kept for.
    pub kind: ReservationKind,
    /// Free text.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// What a reserved block is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationKind {
    /// Addresses that are named one by one.
    Explicit,
    /// Prefixes of interfaces, automatic ones included.
    Prefix,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_addresses_are_reserved() {
        let Ok(cidr) = "10.0.0.16/28".parse() else {
            unreachable!("a literal block parses")
        };
        let subnet = Subnet {
            id: SubnetId(1),
            vpc: VpcId(1),
            cidr,
            zone: String::new(),
            zone_id: String::new(),
            default_for_az: false,
            ipv6_cidr: None,
            route_table: None,
            network_acl: SubnetNetworkAcl::default(),
            attributes: SubnetAttributes::default(),
            tags: Tags::new(),
        };
        let reserved: Vec<u8> = (16..32)
            .filter(|last| subnet.reserves(Ipv4Addr::new(10, 0, 0, *last)))
            .collect();
        assert_eq!(reserved, [16, 17, 18, 19, 31]);
        assert_eq!(subnet.capacity(), 11);
        assert_eq!(subnet.router(), Ipv4Addr::new(10, 0, 0, 17));
    }
}
