//! An elastic network interface.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use crate::key::{AccountId, Scope};
use crate::time::Timestamp;

/// An elastic network interface (ENI).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its id.
    pub id: EniId,
    /// Its subnet, for life.
    pub subnet: SubnetId,
    /// The subnet's VPC.
    pub vpc: VpcId,
    /// Its MAC address, for life.
    pub mac: Mac,
    /// Free text.
    pub description: String,
    /// Its security groups, each once, in the order given: at least one, unless it is a NAT
    /// gateway's, which has none, or a load balancer's, which may have none.
    pub groups: Vec<SecurityGroupId>,
    /// Its private addresses, each once; the first is the primary one, for life.
    pub addresses: Vec<Ipv4Addr>,
    /// Its delegated IPv4 prefixes, /28 each. Each of their addresses is leased to it.
    #[serde(default)]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Its IPv6 addresses, each once.
    #[serde(default)]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Its delegated IPv6 prefixes, /80 each.
    #[serde(default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Whether the first IPv6 address is the primary one, for life.
    #[serde(default)]
    pub primary_ipv6: bool,
    /// The public address that it was given when its instance started.
    #[serde(default)]
    pub public_address: Option<Ipv4Addr>,
    /// Whether it is given a public address when its instance starts. Acts on primary interfaces.
    #[serde(default)]
    pub associate_public_address: bool,
    /// Idle timeouts of its own for tracked flows.
    #[serde(default)]
    pub connection_tracking: ConnectionTracking,
    /// Whether only packets from or to its own addresses pass.
    pub source_dest_check: bool,
    /// What it is for.
    #[serde(default)]
    pub interface_type: InterfaceType,
    /// Who made it, if not the account itself: its users cannot change it.
    pub requester_id: Option<String>,
    /// To what it is attached.
    pub attachment: Option<Attachment>,
    /// Its tags.
    pub tags: Tags,
}

impl NetworkInterface {
    /// Whether it is attached: to an instance, or for life to what it was made for.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.attachment.is_some() || self.interface_type != InterfaceType::Interface
    }

    /// The primary private address.
    #[must_use]
    pub fn primary_address(&self) -> Ipv4Addr {
        self.addresses
            .first()
            .copied()
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

/// What an interface is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceType {
    /// An instance's, or free to become one's.
    #[default]
    Interface,
    /// A NAT gateway's.
    NatGateway,
    /// A node's of a network load balancer.
    NetworkLoadBalancer,
}

/// Idle timeouts of tracked flows in seconds; `None` is the default of the instance's type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionTracking {
    /// Of established TCP connections, 60 to 432,000.
    pub tcp_established_timeout: Option<u32>,
    /// Of UDP flows with more than one exchange, 60 to 180.
    pub udp_stream_timeout: Option<u32>,
    /// Of other UDP flows, 30 to 60.
    pub udp_timeout: Option<u32>,
}

/// The attachment of an interface to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The instance.
    pub instance: InstanceId,
    /// Whose instance it is, if not the interface owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_owner: Option<AccountId>,
    /// The device's place on its card; see [`device_number`].
    pub device_index: u8,
    /// The network card; the place in the instance is (card, index).
    pub network_card_index: u8,
    /// When it was made.
    pub attach_time: Timestamp,
    /// Whether the interface goes when the instance is terminated.
    pub delete_on_termination: bool,
}

impl Attachment {
    /// Where the instance is, if this is where the interface is.
    #[must_use]
    pub fn scope_of_instance(&self, scope: &Scope) -> Scope {
        Scope {
            account: self.instance_owner.unwrap_or(scope.account),
            region: scope.region.clone(),
        }
    }

    /// The instance, if it is the interface owner's: of another account's instance, AWS tells the
    /// owner whose it is and not which.
    #[must_use]
    pub fn own_instance(&self) -> Option<InstanceId> {
        self.instance_owner.is_none().then_some(self.instance)
    }
}

/// The number of a device in its instance: `eth` and this is its name. On the first card it is the
/// device index; each further card has 256 numbers of its own, so that the same index on two cards is
/// two devices.
#[must_use]
pub const fn device_number(network_card_index: u8, device_index: u8) -> u16 {
    u16::from_be_bytes([network_card_index, device_index])
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address is six pairs of hexadecimal digits with colons")]
pub struct MalformedMac;

impl FromStr for Mac {
    type Err = MalformedMac;

    fn from_str(text: &str) -> Result<Self, MalformedMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or(MalformedMac)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(MalformedMac),
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
