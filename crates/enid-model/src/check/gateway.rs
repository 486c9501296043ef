//! Internet gateways, egress-only ones, and NAT gateways with their interfaces and addresses.

use std::collections::BTreeSet;

use super::Report;
use crate::nat_gateway::NatGateway;
use crate::network_interface::InterfaceType;
use crate::route_table::RouteTarget;

impl Report<'_> {
    pub(super) fn internet_gateways(&mut self) {
        let region = self.region;
        let gateways = || region.internet_gateways.values();
        let attached = gateways().filter_map(|own| Some((own.vpc?, own.id.to_string())));
        self.unique("its VPC has one internet gateway", attached);
        for (id, gateway) in &region.internet_gateways {
            if let Some(vpc) = gateway.vpc {
                self.vpc(id, vpc);
            }
            if let Some(own) = gateway.route_table {
                let table = region.route_tables.get(&own.table);
                let of_vpc = table.is_some_and(|table| Some(table.vpc) == gateway.vpc);
                let invariant = "its route table is there, in its VPC";
                self.need(of_vpc, id, invariant, &own.table);
                // A subnet may go and leave its route behind, so destinations are not looked at.
                let routes = table.iter().flat_map(|table| &table.routes);
                for route in routes {
                    let is_inside = matches!(route.target, RouteTarget::NetworkInterface(_));
                    let invariant = "its route table leads to interfaces only";
                    self.need(is_inside, id, invariant, &format_args!("{route:?}"));
                }
            }
        }
    }

    pub(super) fn egress_only_internet_gateways(&mut self) {
        for (id, gateway) in &self.region.egress_only_internet_gateways {
            self.vpc(id, gateway.vpc);
        }
    }

    pub(super) fn nat_gateways(&mut self) {
        let region = self.region;
        for (id, gateway) in &region.nat_gateways {
            self.need(*id == gateway.id, id, "its key is its id", &gateway.id);
            // A deleted one is kept visible for a time, whatever becomes of its VPC.
            if !gateway.is_available() {
                continue;
            }
            let subnet = region.subnets.get(&gateway.subnet);
            let there = subnet.is_some_and(|subnet| subnet.vpc == gateway.vpc);
            let invariant = "its subnet is there, in its VPC";
            self.need(there, id, invariant, &gateway.subnet);
            self.nat_interface(gateway);
            self.nat_addresses(gateway);
        }
    }

    fn nat_interface(&mut self, gateway: &NatGateway) {
        let id = &gateway.id;
        let Some(eni) = self.eni(id, gateway.eni) else {
            return;
        };
        let own = eni.interface_type == InterfaceType::NatGateway && eni.subnet == gateway.subnet;
        self.need(own, id, "its interface is made for it", &eni.id);
        let listed: BTreeSet<_> = gateway.addresses.iter().map(|own| own.private_ip).collect();
        let had: BTreeSet<_> = eni.addresses.iter().copied().collect();
        let primary = gateway.addresses.first().map(|own| own.private_ip);
        let same = listed == had && primary == eni.addresses.first().copied();
        let invariant = "its addresses are its interface's";
        self.need(same, id, invariant, &format_args!("{listed:?}, {had:?}"));
        let first = gateway.addresses.first();
        let stays = first.is_none_or(|own| own.drain_until.is_none());
        let invariant = "its primary address is not on its way out";
        self.need(stays, id, invariant, &gateway.eni);
    }

    fn nat_addresses(&mut self, gateway: &NatGateway) {
        let id = &gateway.id;
        for address in &gateway.addresses {
            let invariant = "each of its addresses has an Elastic IP if it is public";
            let has = address.public.is_some();
            self.need(has == gateway.is_public, id, invariant, &address.private_ip);
            let Some(public) = address.public else {
                continue;
            };
            let elastic = self.region.elastic_ips.get(&public.allocation);
            let agrees = elastic.is_some_and(|elastic| {
                let stands_for = elastic.association.is_some_and(|own| {
                    let place = (own.id, own.eni, own.private_ip);
                    place == (public.association, gateway.eni, address.private_ip)
                });
                stands_for && elastic.public_ip == public.public_ip
            });
            let invariant = "each of its Elastic IPs stands for its address";
            self.need(agrees, id, invariant, &public.allocation);
        }
    }
}
