//! The public addresses that stand for an interface's private ones, as answers and filters tell of
//! them.

use std::net::Ipv4Addr;

use enid_control::public_address_of;
use enid_model::id::{AllocationId, AssociationId};
use enid_model::network_interface::NetworkInterface;

use super::describe::View;
use crate::ec2::filter::Test;
use crate::generated::ec2::response::{
    InstanceNetworkInterfaceAssociation, NetworkInterfaceAssociation,
};
use crate::wire::text::Text;

/// What an association can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::ec2) enum AssociationField {
    AllocationId,
    AssociationId,
    Owner,
    PublicDnsName,
    PublicIp,
}

impl AssociationField {
    /// The field with AWS's name for a filter, or the name that filters of instances have for it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "association.allocation-id" => Self::AllocationId,
            "association.association-id" => Self::AssociationId,
            "addresses.association.owner-id"
            | "addresses.association.ip-owner-id"
            | "association.ip-owner-id" => Self::Owner,
            "addresses.association.public-dns-name" | "association.public-dns-name" => {
                Self::PublicDnsName
            }
            "addresses.association.public-ip" | "association.public-ip" => Self::PublicIp,
            _ => return None,
        })
    }
}

/// A public address and the private one that it stands for.
pub(in crate::ec2) struct Association {
    public_ip: Ipv4Addr,
    /// Of an Elastic IP only.
    elastic_ip: Option<(AllocationId, Option<AssociationId>)>,
}

impl View<'_> {
    /// The public address that stands for a private one.
    pub(in crate::ec2) fn association(
        &self,
        eni: &NetworkInterface,
        private_ip: Ipv4Addr,
    ) -> Option<Association> {
        let (public_ip, elastic_ip) = public_address_of(self.region, eni, private_ip)?;
        let elastic_ip = elastic_ip.map(|found| (found.id, found.association.map(|a| a.id)));
        Some(Association {
            public_ip,
            elastic_ip,
        })
    }

    /// The public DNS name of an interface's public address: empty unless its VPC gives names.
    pub(in crate::ec2) fn public_name(&self, eni: &NetworkInterface, public: Ipv4Addr) -> Text {
        let name = self.region.public_name_at(self.place, eni, public);
        Text::from(name.unwrap_or_default())
    }

    /// The public address of an interface's primary private one, and its DNS name.
    pub(in crate::ec2) fn primary_public(&self, eni: &NetworkInterface) -> Option<(Text, Text)> {
        let association = self.association(eni, eni.primary_address())?;
        let name = self.public_name(eni, association.public_ip);
        Some((Text::display(association.public_ip), name))
    }

    fn owner(&self, association: &Association) -> Text {
        match association.elastic_ip {
            Some(_) => self.account.clone(),
            None => Text::from(AMAZON),
        }
    }

    pub(super) fn association_answer(
        &self,
        eni: &NetworkInterface,
        private_ip: Ipv4Addr,
    ) -> Option<NetworkInterfaceAssociation> {
        let association = self.association(eni, private_ip)?;
        let elastic_ip = association.elastic_ip;
        Some(NetworkInterfaceAssociation {
            allocation_id: elastic_ip.map(|(id, _)| Text::display(id)),
            association_id: elastic_ip.and_then(|(_, id)| id).map(Text::display),
            ip_owner_id: Some(self.owner(&association)),
            public_dns_name: Some(self.public_name(eni, association.public_ip)),
            public_ip: Some(Text::display(association.public_ip)),
        })
    }

    /// The same in the description of an instance.
    pub(in crate::ec2) fn instance_association_answer(
        &self,
        eni: &NetworkInterface,
        private_ip: Ipv4Addr,
    ) -> Option<InstanceNetworkInterfaceAssociation> {
        let association = self.association(eni, private_ip)?;
        Some(InstanceNetworkInterfaceAssociation {
            ip_owner_id: Some(self.owner(&association)),
            public_dns_name: Some(self.public_name(eni, association.public_ip)),
            public_ip: Some(Text::display(association.public_ip)),
        })
    }

    /// Tells the values that the associations of an interface have under a filter's name.
    pub(super) fn test_associations(
        &self,
        eni: &NetworkInterface,
        field: AssociationField,
        test: &mut Test<'_>,
    ) {
        let all = eni.addresses.iter();
        for association in all.filter_map(|address| self.association(eni, *address)) {
            let elastic_ip = association.elastic_ip;
            match field {
                AssociationField::AllocationId => {
                    elastic_ip.iter().for_each(|(id, _)| test.display(id));
                }
                AssociationField::AssociationId => {
                    let id = elastic_ip.and_then(|(_, id)| id);
                    id.iter().for_each(|id| test.display(id));
                }
                AssociationField::Owner => test.text(&self.owner(&association)),
                AssociationField::PublicDnsName => {
                    test.text(&self.public_name(eni, association.public_ip));
                }
                AssociationField::PublicIp => test.display(association.public_ip),
            }
        }
    }
}

/// Who owns a public address that is no Elastic IP.
const AMAZON: &str = "amazon";
