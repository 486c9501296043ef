//! VPCs, subnets, reservations and peering connections: blocks nest and do not overlap.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::Report;
use crate::address::PublicAddressHolder;
use crate::vpc::Vpc;
use crate::vpc_peering_connection::PeeringStatus;

const OVERLAP: &str = "its block overlaps no other";
const OWN_ASSOCIATION: &str = "its association is its own";

impl Report<'_> {
    pub(super) fn vpcs(&mut self) {
        let region = self.region;
        let cidrs = region.vpcs.values().flat_map(|vpc| {
            let secondary = vpc.secondary_cidrs.iter().map(|block| block.association);
            let ipv6 = vpc.ipv6_cidrs.iter().map(|block| block.association);
            let own = std::iter::once(vpc.cidr_association);
            own.chain(secondary)
                .chain(ipv6)
                .map(|association| (association, vpc.id.to_string()))
        });
        self.unique(OWN_ASSOCIATION, cidrs);
        let defaults = region.vpcs.values().filter(|vpc| vpc.is_default);
        let defaults = defaults.map(|vpc| ("default", vpc.id.to_string()));
        self.unique("there is one default VPC", defaults);
        for (id, vpc) in &region.vpcs {
            self.need(*id == vpc.id, id, "its key is its id", &vpc.id);
            let blocks: Vec<IpNet> = vpc.cidrs().collect();
            self.apart(id, &blocks);
            let group = region.security_groups.get(&vpc.default_group);
            let own = group.is_some_and(|group| group.vpc == *id && group.name == "default");
            let invariant = "its default group is there";
            self.need(own, id, invariant, &vpc.default_group);
            for block in &vpc.ipv6_cidrs {
                if block.pool == "Amazon" {
                    let first = IpAddr::V6(block.cidr.network());
                    self.holds_public(id, first, PublicAddressHolder::Vpc(*id));
                }
            }
            if self.is_current() {
                self.outfit(vpc);
            }
        }
    }

    /// What a VPC has had since its records came to be.
    fn outfit(&mut self, vpc: &Vpc) {
        let (region, id) = (self.region, &vpc.id);
        let table = region.route_tables.get(&vpc.main_route_table);
        let own = table.is_some_and(|table| table.vpc == *id);
        let invariant = "its main route table is there";
        self.need(own, id, invariant, &vpc.main_route_table);
        let acl = region.network_acls.get(&vpc.default_network_acl);
        let own = acl.is_some_and(|acl| acl.vpc == *id && acl.is_default);
        let invariant = "its default network ACL is there";
        self.need(own, id, invariant, &vpc.default_network_acl);
        if let Some(options) = vpc.dhcp_options {
            let there = region.dhcp_options.contains_key(&options);
            self.need(there, id, "its DHCP option set is there", &options);
        }
    }

    pub(super) fn subnets(&mut self) {
        let region = self.region;
        let subnets = || region.subnets.values();
        let acls = subnets().map(|subnet| (subnet.network_acl.association, subnet.id.to_string()));
        let tables = subnets().filter_map(|subnet| {
            let own = subnet.route_table?;
            Some((own.association, subnet.id.to_string()))
        });
        let blocks = subnets().filter_map(|subnet| {
            let own = subnet.ipv6_cidr?;
            Some((own.association, subnet.id.to_string()))
        });
        if self.is_current() {
            self.unique(OWN_ASSOCIATION, acls);
        }
        self.unique(OWN_ASSOCIATION, tables);
        self.unique(OWN_ASSOCIATION, blocks);
        let defaults = subnets().filter(|subnet| subnet.default_for_az);
        let defaults = defaults.map(|subnet| (&*subnet.zone, subnet.id.to_string()));
        self.unique("its zone has one default subnet", defaults);
        for (id, subnet) in &region.subnets {
            self.need(*id == subnet.id, id, "its key is its id", &subnet.id);
            let Some(vpc) = region.vpcs.get(&subnet.vpc) else {
                self.find(id, "its VPC is there", &subnet.vpc);
                continue;
            };
            let inside = vpc.ipv4_cidrs().any(|block| block.contains(&subnet.cidr));
            self.need(inside, id, "its block is in its VPC's", &subnet.cidr);
            if let Some(own) = subnet.ipv6_cidr {
                let mut blocks = vpc.ipv6_cidrs.iter();
                let inside = blocks.any(|block| block.cidr.contains(&own.cidr));
                self.need(inside, id, "its block is in its VPC's", &own.cidr);
            }
            for other in region.subnets_of_vpc(subnet.vpc).filter(|other| other > id) {
                let Some(other) = region.subnets.get(&other) else {
                    continue;
                };
                let apart = !overlap(subnet.cidr, other.cidr);
                self.need(apart, id, OVERLAP, &other.id);
                let ipv6 = subnet.ipv6_cidr.zip(other.ipv6_cidr);
                let apart = ipv6.is_none_or(|(one, other)| one.cidr != other.cidr);
                self.need(apart, id, OVERLAP, &other.id);
            }
            if let Some(own) = subnet.route_table {
                let table = region.route_tables.get(&own.table);
                let of_vpc = table.is_some_and(|table| table.vpc == subnet.vpc);
                self.need(
                    of_vpc,
                    id,
                    "its route table is there, in its VPC",
                    &own.table,
                );
            }
            if self.is_current() {
                let acl = region.network_acls.get(&subnet.network_acl.acl);
                let of_vpc = acl.is_some_and(|acl| acl.vpc == subnet.vpc);
                let invariant = "its network ACL is there, in its VPC";
                self.need(of_vpc, id, invariant, &subnet.network_acl.acl);
            }
            let leased = region.leases_of_subnet(*id).count();
            let counted = u32::try_from(leased) == Ok(region.leased_count(*id));
            self.need(counted, id, "its leases are counted", &leased);
        }
    }

    pub(super) fn subnet_cidr_reservations(&mut self) {
        let region = self.region;
        for (id, reservation) in &region.subnet_cidr_reservations {
            let Some(subnet) = region.subnets.get(&reservation.subnet) else {
                self.find(id, "its subnet is there", &reservation.subnet);
                continue;
            };
            let ipv6 = subnet.ipv6_cidr.map(|own| IpNet::V6(own.cidr));
            let mut blocks = std::iter::once(IpNet::V4(subnet.cidr)).chain(ipv6);
            let inside = blocks.any(|block| block.contains(&reservation.cidr));
            self.need(
                inside,
                id,
                "its block is in its subnet's",
                &reservation.cidr,
            );
            let others = region.reservations_of_subnet(reservation.subnet);
            for other in others.filter(|other| other > id) {
                let other = region.subnet_cidr_reservations.get(&other);
                let overlaps = other.is_some_and(|other| meet(other.cidr, reservation.cidr));
                self.need(!overlaps, id, OVERLAP, &reservation.cidr);
            }
        }
    }

    pub(super) fn vpc_peering_connections(&mut self) {
        let region = self.region;
        let mut active = Vec::new();
        for (id, peering) in &region.vpc_peering_connections {
            // A dead one is kept visible for a time, whatever becomes of its VPCs.
            let lives = matches!(
                peering.status,
                PeeringStatus::Active | PeeringStatus::PendingAcceptance
            );
            if !lives {
                continue;
            }
            let sides = [peering.requester.vpc, peering.accepter.vpc];
            for vpc in sides {
                self.vpc(id, vpc);
            }
            let [one, other] = sides;
            self.need(one != other, id, "it joins two VPCs", &one);
            // Each of them may have asked the other.
            if peering.status == PeeringStatus::Active {
                let pair = format!("{} {}", one.min(other), one.max(other));
                active.push((pair, id.to_string()));
            }
        }
        let invariant = "two VPCs have one active connection";
        self.unique(invariant, active.into_iter());
    }

    /// None of a VPC's blocks overlaps another.
    fn apart(&mut self, id: &crate::id::VpcId, blocks: &[IpNet]) {
        for (at, block) in blocks.iter().enumerate() {
            let others = blocks.iter().skip(at + 1);
            for other in others.filter(|other| meet(**other, *block)) {
                self.find(id, OVERLAP, other);
            }
        }
    }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    meet(IpNet::V4(one), IpNet::V4(other))
}

/// Blocks either nest or are apart.
fn meet(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}
