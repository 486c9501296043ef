//! Which resources a record names.
//!
//! An operation that may go through only while nothing names a resource (deleting a security group
//! that no interface carries) commits on the condition that nothing has come to name it meanwhile.
//! That condition is as narrow as what is told here: an interface in another group is no matter.

use crate::id::ResourceId;
use crate::record::Record;
use crate::security_group::Peer;

/// A resource as other records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    prefix: &'static str,
    bits: u64,
}

impl Reference {
    /// To the resource with this id.
    pub fn to<I: ResourceId>(id: I) -> Self {
        Self {
            prefix: I::PREFIX,
            bits: id.bits(),
        }
    }
}

impl Record {
    /// The resources that it names, of those that cannot go while it is there. Some may be named
    /// several times.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        match self {
            // A lease comes and goes with its interface, whose record names the subnet.
            Self::AddressLease(_)
            | Self::GroupName(_)
            | Self::Region(_)
            | Self::Token(_)
            | Self::Vpc(_) => Vec::new(),
            Self::Instance(instance) => {
                vec![Reference::to(instance.subnet), Reference::to(instance.vpc)]
            }
            Self::NetworkInterface(eni) => {
                let place = [Reference::to(eni.subnet), Reference::to(eni.vpc)];
                let groups = eni.groups.iter().map(|group| Reference::to(*group));
                let attachment = eni.attachment.iter();
                let instance = attachment.map(|attachment| Reference::to(attachment.instance));
                place.into_iter().chain(groups).chain(instance).collect()
            }
            Self::SecurityGroup(group) => {
                let peers = group
                    .rules
                    .values()
                    .filter_map(|rule| match rule.matcher.peer {
                        Peer::Group(peer) => Some(Reference::to(peer)),
                        _ => None,
                    });
                std::iter::once(Reference::to(group.vpc))
                    .chain(peers)
                    .collect()
            }
            Self::Subnet(subnet) => vec![Reference::to(subnet.vpc)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tags;
    use crate::id::{SecurityGroupId, SubnetId, VpcId};
    use crate::security_group::SecurityGroup;

    #[test]
    fn equal_bits_of_other_kinds_are_other_resources() {
        assert_eq!(Reference::to(VpcId(1)), Reference::to(VpcId(1)));
        assert_ne!(Reference::to(VpcId(1)), Reference::to(VpcId(2)));
        assert_ne!(Reference::to(VpcId(1)), Reference::to(SubnetId(1)));
        let group = Record::SecurityGroup(SecurityGroup {
            id: SecurityGroupId(7),
            vpc: VpcId(1),
            name: String::new(),
            description: String::new(),
            rules: std::collections::BTreeMap::new(),
            tags: Tags::new(),
        });
        assert_eq!(group.references(), [Reference::to(VpcId(1))]);
    }
}
