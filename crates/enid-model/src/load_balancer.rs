//! A network load balancer, with its nodes: one in each of its zones.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{AllocationId, EniId, LoadBalancerId, SecurityGroupId, SubnetId, VpcId};
use crate::region::Region;
use crate::time::Timestamp;

/// A network load balancer: new flows to an address of one of its nodes go to targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its id, the last part of its ARN.
    pub id: LoadBalancerId,
    /// Its name, unique in its region while it is there.
    pub name: String,
    /// Its VPC.
    pub vpc: VpcId,
    /// From where it is reached.
    pub scheme: Scheme,
    /// By which addresses.
    #[serde(default)]
    pub ip_address_type: IpAddressType,
    /// Its zones by name: at least one, each once.
    pub zones: Vec<LoadBalancerZone>,
    /// Its security groups, which its nodes' interfaces carry; it may have none.
    pub security_groups: Vec<SecurityGroupId>,
    /// What can be set of it.
    #[serde(default)]
    pub attributes: LoadBalancerAttributes,
    /// When it was made.
    pub create_time: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

impl LoadBalancer {
    /// What AWS calls it in dimensions of metrics and in its interfaces' descriptions.
    #[must_use]
    pub fn path(&self) -> String {
        format!("net/{}/{}", self.name, self.id)
    }

    /// Its name in the DNS, which leads to the nodes of its healthy zones. With a zone's name and a dot
    /// before it, it leads to the node there.
    #[must_use]
    pub fn dns_name(&self, region: &Region) -> String {
        let (name, suffix) = (region.name, region.dns_suffix());
        format!("{}-{}.elb.{name}.{suffix}", self.name, self.id)
    }

    /// Whether nothing may come to its nodes' IPv6 addresses by an internet gateway: what was said, or what
    /// its scheme says.
    #[must_use]
    pub fn denies_ipv6_internet(&self) -> bool {
        let own = self.attributes.deny_ipv6_internet;
        own.unwrap_or(self.scheme == Scheme::Internal)
    }

    /// Its node in a zone.
    #[must_use]
    pub fn zone(&self, name: &str) -> Option<&LoadBalancerZone> {
        self.zones.iter().find(|own| own.zone == name)
    }
}

/// From where a load balancer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From its VPC and what is connected with that.
    Internal,
    /// From the internet as well: each node has a public address.
    InternetFacing,
}

/// By which addresses a load balancer is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpAddressType {
    /// Those of IPv4 alone.
    #[default]
    Ipv4,
    /// Those of IPv6 as well: each node has one.
    Dualstack,
}

impl IpAddressType {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
        }
    }
}

/// A zone of a load balancer, and its node there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerZone {
    /// The zone's name.
    pub zone: String,
    /// The subnet of that zone that the node is in.
    pub subnet: SubnetId,
    /// The node's interface, made and kept by Enid; gone when the load balancer is deleted.
    pub eni: EniId,
    /// The node's address, the interface's only one, for life.
    pub private_ip: Ipv4Addr,
    /// The node's IPv6 address: of a dualstack load balancer.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// Whether that was asked for.
    #[serde(default)]
    pub is_ipv6_chosen: bool,
    /// The public address that stands for it: of an internet-facing load balancer.
    pub public: Option<NodePublicAddress>,
    /// Whether its private address was asked for.
    #[serde(default)]
    pub is_private_ip_chosen: bool,
}

/// The public address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePublicAddress {
    /// The address.
    pub public_ip: Ipv4Addr,
    /// The Elastic IP that it is; without one it was assigned to the interface, whose it is for life.
    pub allocation: Option<AllocationId>,
}

/// What can be set of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancerAttributes {
    /// Whether a node sends flows to targets of all zones. A target group can say otherwise.
    pub cross_zone: bool,
    /// Whether it cannot be deleted.
    pub deletion_protection: bool,
    /// Whether its IPv6 addresses are closed to the internet; `None` is as the scheme says.
    pub deny_ipv6_internet: Option<bool>,
    /// To which zones' nodes its name leads clients.
    pub client_routing_policy: ClientRoutingPolicy,
    /// Where the logs of its TLS listeners' connections go.
    pub access_logs: AccessLogs,
}

/// Where the logs of TLS listeners' connections go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessLogs {
    /// Whether there are any; then there is a bucket.
    pub is_enabled: bool,
    /// The bucket.
    pub bucket: String,
    /// The folder in it, without a slash at its ends; it may be empty.
    pub prefix: String,
}

/// To which zones' nodes a load balancer's name leads clients within its VPC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientRoutingPolicy {
    /// To all alike.
    #[default]
    AnyAvailabilityZone,
    /// To the client's own zone's.
    AvailabilityZoneAffinity,
    /// Of 100 answers 85 to the client's own zone's.
    PartialAvailabilityZoneAffinity,
}
