//! Interfaces and instances: every address is leased, every attachment is two-sided.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Report;
use crate::address::PublicAddressHolder;
use crate::id::{EniId, InstanceId};
use crate::instance::DesiredState;
use crate::network_interface::{Attachment, InterfaceType, NetworkInterface};
use crate::subnet::Subnet;

const LEASED: &str = "each of its addresses is leased to it";
const ONCE: &str = "each of its addresses is there once";
const INSIDE: &str = "each of its addresses is in its subnet";

impl Report<'_> {
    pub(super) fn network_interfaces(&mut self) {
        let enis = || self.region.network_interfaces.values();
        let macs: Vec<_> = enis().map(|eni| (eni.mac, eni.id.to_string())).collect();
        let attached = |eni: &NetworkInterface| Some((eni.attachment.as_ref()?.id, eni.id));
        let attachments: Vec<_> = enis().filter_map(|eni| attached(eni)).collect();
        self.unique("its MAC address is its own", macs.into_iter());
        let attachments = attachments.into_iter();
        let attachments = attachments.map(|(attachment, eni)| (attachment, eni.to_string()));
        self.unique("its attachment is its own", attachments);
        for (id, eni) in &self.region.network_interfaces {
            self.need(*id == eni.id, id, "its key is its id", &eni.id);
            if let Some(subnet) = self.region.subnets.get(&eni.subnet) {
                let same = subnet.vpc == eni.vpc;
                self.need(same, id, "it is in its subnet's VPC", &eni.vpc);
                self.addresses(eni, subnet);
                self.ipv6(eni, subnet);
            } else {
                self.find(id, "its subnet is there", &eni.subnet);
            }
            self.vpc(id, eni.vpc);
            self.groups_of(eni);
            if let Some(attachment) = &eni.attachment {
                self.attachment(eni, attachment);
            }
            if let Some(address) = eni.public_address {
                let holder = PublicAddressHolder::NetworkInterface(eni.id);
                self.holds_public(id, IpAddr::V4(address), holder);
            }
            let balancer = self.region.load_balancers_of_eni(*id).next();
            let is_nodes = eni.interface_type == InterfaceType::NetworkLoadBalancer;
            let invariant = "it is a load balancer's node's if it says so";
            let found = balancer.map_or_else(|| "none".to_owned(), |id| id.to_string());
            self.need(balancer.is_some() == is_nodes, id, invariant, &found);
            let gateway = self.region.nat_gateways_of_eni(*id).next();
            let is_gateways = eni.interface_type == InterfaceType::NatGateway;
            let invariant = "it is a NAT gateway's if it says so";
            let found = gateway.map_or_else(|| "none".to_owned(), |id| id.to_string());
            self.need(gateway.is_some() == is_gateways, id, invariant, &found);
        }
    }

    fn addresses(&mut self, eni: &NetworkInterface, subnet: &Subnet) {
        let id = &eni.id;
        let invariant = "it has a primary address";
        self.need(!eni.addresses.is_empty(), id, invariant, &"none");
        let mut seen = BTreeSet::new();
        for address in &eni.addresses {
            let inside = subnet.cidr.contains(address);
            self.need(inside, id, INSIDE, address);
            let invariant = "none of its addresses is reserved";
            self.need(!subnet.reserves(*address), id, invariant, address);
        }
        for prefix in &eni.ipv4_prefixes {
            self.need(subnet.cidr.contains(prefix), id, INSIDE, prefix);
        }
        let of_prefixes = eni.ipv4_prefixes.iter().flat_map(|block| {
            let (first, last) = (block.network(), block.broadcast());
            (u32::from(first)..=u32::from(last)).map(std::net::Ipv4Addr::from)
        });
        for address in eni.addresses.iter().copied().chain(of_prefixes) {
            self.need(seen.insert(address), id, ONCE, &address);
            let lease = self.region.leases.get(&(eni.subnet, address));
            let own = lease.is_some_and(|lease| lease.eni == *id);
            self.need(own, id, LEASED, &address);
        }
    }

    fn ipv6(&mut self, eni: &NetworkInterface, subnet: &Subnet) {
        let id = &eni.id;
        let block = subnet.ipv6_cidr.map(|own| own.cidr);
        let mut seen = BTreeSet::new();
        for address in &eni.ipv6_addresses {
            let inside = block.is_some_and(|block| block.contains(address));
            self.need(inside, id, INSIDE, address);
            self.need(seen.insert(*address), id, ONCE, address);
            let lease = self.region.ipv6_leases.get(&(eni.subnet, *address));
            let own = lease.is_some_and(|lease| lease.eni == *id);
            self.need(own, id, LEASED, address);
        }
        for prefix in &eni.ipv6_prefixes {
            let inside = block.is_some_and(|block| block.contains(prefix));
            self.need(inside, id, INSIDE, prefix);
            self.need(seen.insert(prefix.network()), id, ONCE, prefix);
            let at = (eni.subnet, prefix.network());
            let lease = self.region.ipv6_prefix_leases.get(&at);
            let own = lease.is_some_and(|lease| lease.eni == *id);
            self.need(own, id, LEASED, prefix);
        }
        let invariant = "a primary IPv6 address is there";
        let there = !eni.primary_ipv6 || !eni.ipv6_addresses.is_empty();
        self.need(there, id, invariant, &"none");
    }

    fn groups_of(&mut self, eni: &NetworkInterface) {
        let id = &eni.id;
        // A NAT gateway's interface has none: AWS lets nobody choose any. A load balancer may have none.
        let may_lack = eni.interface_type != InterfaceType::Interface;
        let invariant = "it has a group";
        self.need(may_lack || !eni.groups.is_empty(), id, invariant, &"none");
        let mut seen = BTreeSet::new();
        for group in &eni.groups {
            self.need(seen.insert(*group), id, "each group is there once", group);
            match self.region.security_groups.get(group) {
                None => self.find(id, "each of its groups is there", group),
                Some(found) => {
                    let reaches = found.vpc == eni.vpc || found.associated_vpcs.contains(&eni.vpc);
                    self.need(reaches, id, "each of its groups is of its VPC", group);
                }
            }
        }
    }

    fn attachment(&mut self, eni: &NetworkInterface, attachment: &Attachment) {
        let id = &eni.id;
        if let Some(account) = attachment.instance_owner {
            let borrower = self.state.region(&attachment.scope_of_instance(self.scope));
            let lent = borrower.and_then(|borrower| borrower.lent_interfaces.get(id));
            let told = lent.and_then(|lent| lent.attachment);
            let agrees = told.is_some_and(|told| told.id == attachment.id);
            let invariant = "the account of its instance has it lent";
            self.need(agrees, id, invariant, &account);
            let is_primary = (attachment.network_card_index, attachment.device_index) == (0, 0);
            let invariant = "no other account's instance has it as its primary interface";
            self.need(!is_primary, id, invariant, &account);
        }
        match self.state.instance_of(self.scope, eni) {
            None => self.find(id, "its instance is there", &attachment.instance),
            Some(instance) => {
                let lives = instance.desired != DesiredState::Terminated;
                self.need(lives, id, "its instance is not terminated", &instance.id);
                // Its VPC may be another one.
                let subnet = self.region.subnets.get(&eni.subnet);
                let same = subnet.is_none_or(|subnet| subnet.zone == instance.zone);
                self.need(same, id, "its instance is of its zone", &instance.zone);
            }
        }
    }

    pub(super) fn instances(&mut self) {
        for (id, instance) in &self.region.instances {
            self.need(*id == instance.id, id, "its key is its id", &instance.id);
            let mut slots = BTreeSet::new();
            let attached: Vec<_> = self.region.enis_of_instance(*id).collect();
            let lent = self.state.lent_to(self.scope, *id);
            for eni in attached.iter().copied().chain(lent.iter().map(|it| it.eni)) {
                // What the index says is in the record: anything else is the index's finding.
                if let Some(attachment) = &eni.attachment {
                    let slot = (attachment.network_card_index, attachment.device_index);
                    let invariant = "each device index is used once";
                    self.need(slots.insert(slot), id, invariant, &eni.id);
                }
            }
            if instance.desired == DesiredState::Terminated {
                continue;
            }
            let primary = attached.first().filter(|_| slots.contains(&(0, 0)));
            self.primary(*id, primary.map(|eni| &***eni));
            let subnet = self.region.subnets.get(&instance.subnet);
            let there = subnet.is_some_and(|subnet| subnet.vpc == instance.vpc);
            self.need(
                there,
                id,
                "its subnet is there, in its VPC",
                &instance.subnet,
            );
            let zone = subnet.is_none_or(|subnet| subnet.zone == instance.zone);
            self.need(zone, id, "its zone is its subnet's", &instance.zone);
        }
    }

    fn primary(&mut self, id: InstanceId, eni: Option<&NetworkInterface>) {
        let Some(eni) = eni else {
            self.find(&id, "it has a primary interface", &"none");
            return;
        };
        let subnet = self.region.instances.get(&id).map(|found| found.subnet);
        let same = subnet == Some(eni.subnet);
        let found: EniId = eni.id;
        self.need(same, &id, "its primary interface is in its subnet", &found);
    }
}
