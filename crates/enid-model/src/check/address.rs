//! Public addresses: each is claimed once in all accounts and regions, by a holder that has it.

use std::fmt::Display;
use std::net::IpAddr;

use super::Report;
use crate::address::{PublicAddress, PublicAddressHolder};
use crate::key::Scope;

impl Report<'_> {
    pub(super) fn elastic_ips(&mut self) {
        let region = self.region;
        let addresses = || region.elastic_ips.values();
        let associated = addresses().filter_map(|own| {
            let association = own.association?;
            let place = format!("{} {}", association.eni, association.private_ip);
            Some((place, own.id.to_string()))
        });
        self.unique("one Elastic IP stands for an address", associated);
        let associations =
            addresses().filter_map(|own| Some((own.association?.id, own.id.to_string())));
        self.unique("its association is its own", associations);
        for (id, elastic) in &region.elastic_ips {
            self.need(*id == elastic.id, id, "its key is its id", &elastic.id);
            let holder = PublicAddressHolder::ElasticIp(*id);
            self.holds_public(id, IpAddr::V4(elastic.public_ip), holder);
            let Some(association) = elastic.association else {
                continue;
            };
            let Some(eni) = self.eni(id, association.eni) else {
                continue;
            };
            let has = eni.addresses.contains(&association.private_ip);
            let invariant = "its interface has the address that it stands for";
            self.need(has, id, invariant, &association.private_ip);
        }
    }

    /// A public address of a record must be claimed for it.
    pub(super) fn holds_public(
        &mut self,
        record: &dyn Display,
        address: IpAddr,
        holder: PublicAddressHolder,
    ) {
        let everywhere = self.state.region(&Scope::everywhere());
        let claim = everywhere.and_then(|all| all.public_addresses.get(&address));
        let own = claim.is_some_and(|claim| claim.holder == holder && claim.scope() == *self.scope);
        let invariant = "its public address is claimed for it";
        self.need(own, record, invariant, &address);
    }

    pub(super) fn public_addresses(&mut self) {
        for (address, claim) in &self.region.public_addresses {
            let everywhere = *self.scope == Scope::everywhere();
            let invariant = "it is claimed across all regions";
            self.need(everywhere, address, invariant, &self.scope.region.clone());
            let held = self.is_held(*address, claim);
            let holder = format!("{:?}", claim.holder);
            self.need(held, address, "its holder has it", &holder);
        }
    }

    fn is_held(&self, address: IpAddr, claim: &PublicAddress) -> bool {
        let Some(region) = self.state.region(&claim.scope()) else {
            return false;
        };
        match claim.holder {
            PublicAddressHolder::ElasticIp(id) => {
                let found = region.elastic_ips.get(&id);
                found.is_some_and(|own| address == own.public_ip)
            }
            PublicAddressHolder::NetworkInterface(id) => {
                let found = region.network_interfaces.get(&id);
                found.is_some_and(|own| own.public_address.is_some_and(|own| address == own))
            }
            PublicAddressHolder::Vpc(id) => region.vpcs.get(&id).is_some_and(|vpc| {
                let mut blocks = vpc.ipv6_cidrs.iter();
                blocks.any(|block| address == block.cidr.network())
            }),
        }
    }
}
