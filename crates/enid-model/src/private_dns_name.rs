//! The DNS names of instances and of addresses: what the API reports, the resolver answers, and the
//! metadata service tells are one.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::instance::Instance;
use crate::network_interface::NetworkInterface;
use crate::region::Region;
use crate::state::RegionState;
use crate::subnet::{HostnameType, SubnetAttributes};

/// What the host name of an instance is, and how its resource name is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrivateDnsNameOptions {
    /// What the host name is made from.
    pub hostname_type: HostnameType,
    /// Whether the resource name resolves to the IPv4 address.
    pub resource_name_a_record: bool,
    /// Whether the resource name resolves to the IPv6 address.
    pub resource_name_aaaa_record: bool,
}

impl From<&SubnetAttributes> for PrivateDnsNameOptions {
    /// What an instance gets from its subnet.
    fn from(attributes: &SubnetAttributes) -> Self {
        Self {
            hostname_type: attributes.hostname_type,
            resource_name_a_record: attributes.resource_name_dns_a_record,
            resource_name_aaaa_record: attributes.resource_name_dns_aaaa_record,
        }
    }
}

impl HostnameType {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::IpName => "ip-name",
            Self::ResourceName => "resource-name",
        }
    }

    /// What AWS's word stands for.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::IpName, Self::ResourceName]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// The first label of an address's private name: `ip-10-0-0-5`.
#[must_use]
pub fn ip_label(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

/// The address that a label of that form names.
#[must_use]
pub fn address_in_label(label: &str) -> Option<Ipv4Addr> {
    dashed(label.strip_prefix("ip-")?)
}

/// The first label of an instance's private host name.
#[must_use]
pub fn host_label(instance: &Instance, address: Ipv4Addr) -> String {
    match instance.private_dns_name_options.hostname_type {
        HostnameType::IpName => ip_label(address),
        HostnameType::ResourceName => instance.id.to_string(),
    }
}

/// The address written in a label with dashes, without leading zeros.
fn dashed(text: &str) -> Option<Ipv4Addr> {
    // The standard parser refuses leading zeros, so that each address has one name.
    text.replace('-', ".")
        .parse()
        .ok()
        .filter(|_| !text.contains('.'))
}

impl Region {
    /// The private name of an address: `ip-10-0-0-5.eu-west-1.compute.internal`.
    #[must_use]
    pub fn private_name(&self, address: Ipv4Addr) -> String {
        format!("{}.{}", ip_label(address), self.private_domain())
    }

    /// The resource name of an instance: `i-….eu-west-1.compute.internal`.
    #[must_use]
    pub fn resource_name(&self, instance: InstanceId) -> String {
        format!("{instance}.{}", self.private_domain())
    }

    /// The private host name of an instance whose primary address this is.
    #[must_use]
    pub fn host_name(&self, instance: &Instance, address: Ipv4Addr) -> String {
        format!(
            "{}.{}",
            host_label(instance, address),
            self.private_domain()
        )
    }

    /// The public name of a public address: `ec2-198-18-0-5.eu-west-1.compute.amazonaws.com`.
    #[must_use]
    pub fn public_name(&self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        format!("ec2-{a}-{b}-{c}-{d}.{}", self.public_domain())
    }

    /// The region and the address that a public name stands for.
    #[must_use]
    pub fn of_public_name(name: &str) -> Option<(&'static Self, Ipv4Addr)> {
        let (label, domain) = name.split_once('.')?;
        let address = dashed(label.strip_prefix("ec2-")?)?;
        let mut all = Self::all().iter();
        let region = all.find(|region| region.public_domain() == domain)?;
        Some((region, address))
    }
}

impl RegionState {
    /// The public name of an interface's public address, if its VPC gives such names.
    #[must_use]
    pub fn public_name_at(
        &self,
        region: &Region,
        eni: &NetworkInterface,
        public: Ipv4Addr,
    ) -> Option<String> {
        let vpc = self.vpcs.get(&eni.vpc)?;
        let has_names = vpc.enable_dns_support && vpc.enable_dns_hostnames;
        has_names.then(|| region.public_name(public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_one_private_label() {
        let address = Ipv4Addr::new(10, 0, 200, 5);
        assert_eq!(ip_label(address), "ip-10-0-200-5");
        assert_eq!(address_in_label("ip-10-0-200-5"), Some(address));
        for wrong in [
            "ip-10-0-200",
            "ip-10-0-200-5-1",
            "ip-010-0-200-5",
            "ip-10-0-200-256",
            "ip-10.0-200-5",
            "10-0-200-5",
        ] {
            assert_eq!(address_in_label(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_public_name_says_its_region() {
        let address = Ipv4Addr::new(198, 18, 0, 9);
        for (region, name) in [
            ("us-east-1", "ec2-198-18-0-9.compute-1.amazonaws.com"),
            (
                "eu-west-1",
                "ec2-198-18-0-9.eu-west-1.compute.amazonaws.com",
            ),
            (
                "cn-north-1",
                "ec2-198-18-0-9.cn-north-1.compute.amazonaws.com.cn",
            ),
        ] {
            let found = Region::named(region).expect("a region");
            assert_eq!(found.public_name(address), name);
            assert_eq!(Region::of_public_name(name), Some((found, address)));
        }
        let unknown = "ec2-198-18-0-9.eu-west-9.compute.amazonaws.com";
        assert_eq!(Region::of_public_name(unknown), None);
    }
}
