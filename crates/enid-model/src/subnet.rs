//! A subnet, and the claims on its addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{EniId, SubnetId, VpcId};

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
    /// Its tags.
    pub tags: Tags,
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
