//! Public addresses: Elastic IP addresses, and the claims on the public pool.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{AllocationId, AssociationId, EniId, VpcId};
use crate::key::{AccountId, RegionName, Scope};

/// An Elastic IP address: a public IPv4 address that an account keeps until it releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// The id of its allocation.
    pub id: AllocationId,
    /// The address.
    pub public_ip: Ipv4Addr,
    /// The name of the pool that it comes from: `amazon` for the default one.
    pub pool: String,
    /// From where it is reachable: the region's name.
    pub network_border_group: String,
    /// The private address that it stands for.
    pub association: Option<ElasticIpAssociation>,
    /// The name that its reverse DNS record points to.
    pub ptr_record: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// An Elastic IP address stands for a private address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpAssociation {
    /// Its id.
    pub id: AssociationId,
    /// The interface.
    pub eni: EniId,
    /// One of the interface's addresses. No other Elastic IP stands for it.
    pub private_ip: Ipv4Addr,
}

/// The claim of a public address. Its key is the address, in [`Scope::everywhere`]: no two holders
/// in any account and region ever have one address. An IPv6 block is claimed by its first address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAddress {
    /// The holder's account.
    pub account: AccountId,
    /// The holder's region.
    pub region: RegionName,
    /// The holder.
    pub holder: PublicAddressHolder,
}

impl PublicAddress {
    /// Where the holder lives.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            account: self.account,
            region: self.region.clone(),
        }
    }
}

/// Who has a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicAddressHolder {
    /// An Elastic IP.
    ElasticIp(AllocationId),
    /// An interface, to which it was assigned when its instance started.
    NetworkInterface(EniId),
    /// A VPC, to which an IPv6 block was given.
    Vpc(VpcId),
}
