//! The resources that an association joins: a request that names the association is about them.

use enid_model::id::{
    AssociationId, AttachmentId, NetworkAclAssociationId, RouteTableAssociationId,
    SubnetCidrAssociationId, VpcCidrAssociationId,
};

use super::resource::{Asked, Target};

impl Asked<'_> {
    /// What the association with an id joins; any resource of the type if there is none, and
    /// nothing if the text is no such id.
    pub(super) fn joined(&self, id: &str) -> Vec<Target> {
        let (joined, kind) = match id.rsplit_once('-').map(|(prefix, _)| prefix) {
            Some("aclassoc") => (self.by_acl(id), "network-acl"),
            Some("eipassoc") => (self.by_elastic_ip(id), "elastic-ip"),
            Some("eni-attach") => (self.by_attachment(id), "network-interface"),
            Some("rtbassoc") => (self.by_route_table(id), "route-table"),
            Some("subnet-cidr-assoc") => (self.by_subnet_block(id), "subnet"),
            Some("vpc-cidr-assoc") => (self.by_vpc_block(id), "vpc"),
            _ => return Vec::new(),
        };
        joined.unwrap_or_else(|| vec![Target::any(kind)])
    }

    fn by_acl(&self, id: &str) -> Option<Vec<Target>> {
        let id: NetworkAclAssociationId = id.parse().ok()?;
        let mut subnets = self.region.subnets.values();
        let subnet = subnets.find(|subnet| subnet.network_acl.association == id)?;
        Some(vec![Target::named("network-acl", subnet.network_acl.acl)])
    }

    fn by_attachment(&self, id: &str) -> Option<Vec<Target>> {
        let id: AttachmentId = id.parse().ok()?;
        let own = self.region.eni_of_attachment(id).and_then(|eni| {
            let attachment = eni.attachment.as_ref()?;
            Some((eni.id, attachment.instance, attachment.instance_owner))
        });
        let lent = || {
            let mut lent = self.region.lent_interfaces.values();
            lent.find_map(|lent| {
                let attachment = lent.attachment.filter(|it| it.id == id)?;
                Some((lent.id, attachment.instance, None))
            })
        };
        let (eni, instance, owner) = own.or_else(lent)?;
        Some(vec![
            self.owned("network-interface", &eni.to_string()),
            Target {
                owner,
                ..Target::named("instance", instance)
            },
        ])
    }

    fn by_elastic_ip(&self, id: &str) -> Option<Vec<Target>> {
        let id: AssociationId = id.parse().ok()?;
        let mut all = self.region.elastic_ips.values();
        let found = all.find_map(|elastic| {
            let own = elastic.association.filter(|own| own.id == id)?;
            Some((elastic.id, own.eni))
        });
        let (elastic, eni) = found?;
        Some(vec![
            Target::named("elastic-ip", elastic),
            Target::named("network-interface", eni),
        ])
    }

    fn by_route_table(&self, id: &str) -> Option<Vec<Target>> {
        let id: RouteTableAssociationId = id.parse().ok()?;
        let region = self.region;
        let with = |table, other| vec![Target::named("route-table", table), other];
        let of_subnet = region.subnets.values().find_map(|subnet| {
            let own = subnet.route_table.filter(|own| own.association == id)?;
            Some(with(own.table, Target::named("subnet", subnet.id)))
        });
        let of_gateway = || {
            region.internet_gateways.values().find_map(|gateway| {
                let own = gateway.route_table.filter(|own| own.association == id)?;
                Some(with(
                    own.table,
                    Target::named("internet-gateway", gateway.id),
                ))
            })
        };
        let of_vpc = || {
            let mut vpcs = region.vpcs.values();
            let vpc = vpcs.find(|vpc| vpc.main_route_table_association == id)?;
            Some(vec![Target::named("route-table", vpc.main_route_table)])
        };
        of_subnet.or_else(of_gateway).or_else(of_vpc)
    }

    fn by_subnet_block(&self, id: &str) -> Option<Vec<Target>> {
        let id: SubnetCidrAssociationId = id.parse().ok()?;
        let mut subnets = self.region.subnets.values();
        let subnet = subnets.find(|subnet| {
            let block = subnet.ipv6_cidr.as_ref();
            block.is_some_and(|own| own.association == id)
        });
        Some(vec![Target::named("subnet", subnet?.id)])
    }

    fn by_vpc_block(&self, id: &str) -> Option<Vec<Target>> {
        let id: VpcCidrAssociationId = id.parse().ok()?;
        let mut vpcs = self.region.vpcs.values();
        let vpc = vpcs.find(|vpc| {
            vpc.cidr_association == id
                || vpc.secondary_cidrs.iter().any(|own| own.association == id)
                || vpc.ipv6_cidrs.iter().any(|own| own.association == id)
        });
        Some(vec![Target::named("vpc", vpc?.id)])
    }
}
