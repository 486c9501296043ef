//! A DHCP option set.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::DhcpOptionsId;

/// A DHCP option set: what instances of the VPCs that use it are told. It never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptions {
    /// Its id.
    pub id: DhcpOptionsId,
    /// The domain that names are completed with; several are separated by spaces.
    pub domain_name: Option<String>,
    /// The resolvers, in order.
    pub domain_name_servers: Vec<NameServer>,
    /// How long IPv6 addresses are preferred, in seconds, if it says so: 140 at least.
    #[serde(default)]
    pub ipv6_preferred_lease_s: Option<u32>,
    /// The NetBIOS name servers, in order.
    #[serde(default)]
    pub netbios_name_servers: Vec<Ipv4Addr>,
    /// How NetBIOS names are resolved: 1, 2, 4 or 8.
    #[serde(default)]
    pub netbios_node_type: Option<u8>,
    /// The time servers, in order.
    #[serde(default)]
    pub ntp_servers: Vec<IpAddr>,
    /// Its tags.
    pub tags: Tags,
}

/// A resolver of an option set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameServer {
    /// The VPC's own.
    AmazonProvidedDns,
    /// Any other.
    Address(IpAddr),
}
