//! A DHCP option set.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::DhcpOptionsId;

/// A DHCP option set: what instances of the VPCs that use it are told. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptions {
    /// Its id.
    pub id: DhcpOptionsId,
    /// The domain that names are completed with; several are separated by spaces.
    pub domain_name: Option<String>,
    /// The resolvers, in order.
    pub domain_name_servers: Vec<NameServer>,
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
