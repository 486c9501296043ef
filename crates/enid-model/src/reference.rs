//! Which resources a record names.
//!
//! An operation that may go through only while nothing names a resource (deleting a security group
//! that no interface carries) commits on the condition that nothing has come to name it meanwhile.
//! That condition is as narrow as what is told here: an interface in another group is no matter.

use crate::id::ResourceId;
use crate::record::Record;
use crate::route_table::RouteDestination;
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
            // A lease comes and goes with its interface, whose record names the subnet, a lent interface
            // with its permission, and a volume stays when its instance goes. A key pair or a prefix
            // list names nothing, and what a flow log is of may go. So may the VPC of a target group.
            Self::AddressLease(_)
            | Self::Alarm(_)
            | Self::AlarmAction(_)
            | Self::AlarmHistory(_)
            | Self::AnomalyDetector(_)
            | Self::Certificate(_)
            | Self::Dashboard(_)
            | Self::DhcpOptions(_)
            | Self::FlowLog(_)
            | Self::GroupName(_)
            | Self::Ipv6Lease(_)
            | Self::Ipv6PrefixLease(_)
            | Self::KeyPair(_)
            | Self::LaunchTemplate(_)
            | Self::LentInterface(_)
            | Self::LogGroup(_)
            | Self::LogStream(_)
            | Self::NameClaim(_)
            | Self::PrefixList(_)
            | Self::PublicAddress(_)
            | Self::Region(_)
            | Self::Subscription(_)
            | Self::TargetGroup(_)
            | Self::Token(_)
            | Self::Topic(_)
            | Self::TrafficMirrorFilter(_)
            | Self::Volume(_) => Vec::new(),
            Self::EgressOnlyInternetGateway(gateway) => vec![Reference::to(gateway.vpc)],
            Self::ElasticIp(address) => {
                let association = address.association.iter();
                association.map(|own| Reference::to(own.eni)).collect()
            }
            Self::InternetGateway(gateway) => {
                let vpc = gateway.vpc.iter().map(|vpc| Reference::to(*vpc));
                let table = gateway.route_table.iter();
                vpc.chain(table.map(|own| Reference::to(own.table)))
                    .collect()
            }
            Self::Listener(listener) => {
                let groups = listener.forward.iter();
                let groups = groups.map(|forward| Reference::to(forward.group));
                std::iter::once(Reference::to(listener.load_balancer))
                    .chain(groups)
                    .collect()
            }
            Self::LoadBalancer(balancer) => {
                let zones = balancer.zones.iter();
                let zones =
                    zones.flat_map(|own| [Reference::to(own.subnet), Reference::to(own.eni)]);
                std::iter::once(Reference::to(balancer.vpc))
                    .chain(zones)
                    .collect()
            }
            Self::NatGateway(gateway) => vec![
                Reference::to(gateway.vpc),
                Reference::to(gateway.subnet),
                Reference::to(gateway.eni),
            ],
            Self::NetworkAcl(acl) => vec![Reference::to(acl.vpc)],
            Self::NetworkInterfacePermission(permission) => vec![Reference::to(permission.eni)],
            // A target may go: its routes are blackholes from then on.
            Self::RouteTable(table) => {
                let lists = table
                    .routes
                    .iter()
                    .filter_map(|route| match route.destination {
                        RouteDestination::PrefixList(list) => Some(Reference::to(list)),
                        RouteDestination::Cidr(_) => None,
                    });
                std::iter::once(Reference::to(table.vpc))
                    .chain(lists)
                    .collect()
            }
            Self::SubnetCidrReservation(reservation) => vec![Reference::to(reservation.subnet)],
            // Its instance may go: it is of no use from then on.
            Self::Target(target) => vec![Reference::to(target.key.group)],
            Self::TrafficMirrorSession(session) => vec![
                Reference::to(session.network_interface),
                Reference::to(session.target),
                Reference::to(session.filter),
            ],
            // Its interface may go, but may not become a source while it is there.
            Self::TrafficMirrorTarget(target) => vec![Reference::to(target.network_interface)],
            Self::Vpc(vpc) => {
                let options = vpc.dhcp_options.iter();
                options.map(|options| Reference::to(*options)).collect()
            }
            Self::VpcPeeringConnection(connection) => vec![
                Reference::to(connection.requester.vpc),
                Reference::to(connection.accepter.vpc),
            ],
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
                        Peer::PrefixList(list) => Some(Reference::to(list)),
                        Peer::Ipv4(_) | Peer::Ipv6(_) => None,
                    });
                let others = group.associated_vpcs.iter().map(|vpc| Reference::to(*vpc));
                std::iter::once(Reference::to(group.vpc))
                    .chain(others)
                    .chain(peers)
                    .collect()
            }
            Self::Subnet(subnet) => {
                let own = [
                    Reference::to(subnet.vpc),
                    Reference::to(subnet.network_acl.acl),
                ];
                let table = subnet.route_table.iter();
                let table = table.map(|own| Reference::to(own.table));
                own.into_iter().chain(table).collect()
            }
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
            associated_vpcs: std::collections::BTreeSet::new(),
            rules: std::collections::BTreeMap::new(),
            tags: Tags::new(),
        });
        assert_eq!(group.references(), [Reference::to(VpcId(1))]);
    }
}
