//! Interfaces and instances by the addresses that they have.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::ElasticIp;
use crate::id::{InstanceId, VpcId};
use crate::instance::Instance;
use crate::network_interface::NetworkInterface;
use crate::state::{RegionState, Stored};

impl RegionState {
    /// The interface of a VPC that has this private address, as an address or within a prefix.
    #[must_use]
    pub fn eni_at(&self, vpc: VpcId, address: IpAddr) -> Option<&Stored<NetworkInterface>> {
        let subnets = self.subnets_of_vpc(vpc);
        let mut subnets = subnets.filter_map(|id| self.subnets.get(&id));
        let eni = match address {
            IpAddr::V4(address) => {
                let subnet = subnets.find(|subnet| subnet.cidr.contains(&address))?;
                self.leases.get(&(subnet.id, address))?.eni
            }
            IpAddr::V6(address) => {
                let holds = |block: &crate::subnet::SubnetIpv6Cidr| block.cidr.contains(&address);
                let subnet = subnets.find(|subnet| subnet.ipv6_cidr.as_ref().is_some_and(holds))?;
                let leased = self.ipv6_leases.get(&(subnet.id, address));
                leased.map(|lease| lease.eni).or_else(|| {
                    // The prefix that starts last before the address is the only one that can hold it.
                    let first = std::net::Ipv6Addr::UNSPECIFIED;
                    let mut held = self
                        .ipv6_prefix_leases
                        .range((subnet.id, first)..=(subnet.id, address));
                    let lease = held.next_back()?.1;
                    let eni = self.network_interfaces.get(&lease.eni)?;
                    let mut prefixes = eni.ipv6_prefixes.iter();
                    prefixes
                        .any(|prefix| prefix.contains(&address))
                        .then_some(lease.eni)
                })?
            }
        };
        self.network_interfaces.get(&eni)
    }

    /// The public address that stands for a private address of an interface, and the Elastic IP
    /// that it is, if it is one.
    #[must_use]
    pub fn public_address_of(
        &self,
        eni: &NetworkInterface,
        private_ip: Ipv4Addr,
    ) -> Option<(Ipv4Addr, Option<&Stored<ElasticIp>>)> {
        let mut elastic_ips = self.elastic_ips_of_eni(eni.id);
        let elastic_ip = elastic_ips.find_map(|id| {
            let found = self.elastic_ips.get(&id)?;
            (found.association?.private_ip == private_ip).then_some(found)
        });
        match elastic_ip {
            Some(found) => Some((found.public_ip, Some(found))),
            None if eni.primary_address() == private_ip => Some((eni.public_address?, None)),
            None => None,
        }
    }

    /// The instance that an interface is attached to.
    #[must_use]
    pub fn instance_of(&self, eni: &NetworkInterface) -> Option<&Stored<Instance>> {
        self.instances.get(&eni.attachment.as_ref()?.instance)
    }

    /// The primary interface of an instance.
    #[must_use]
    pub fn primary_eni(&self, instance: InstanceId) -> Option<&Stored<NetworkInterface>> {
        self.enis_of_instance(instance).next()
    }
}
