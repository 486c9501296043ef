//! Who refers to whom: the references that records hold, turned round.
//!
//! One set holds the references of all kinds. Each record says which it makes ([`Linked`]); the
//! state adds and removes them with the record.

use imbl::OrdSet;

use crate::address::ElasticIp;
use crate::dhcp_options::DhcpOptions;
use crate::flow_log::FlowLog;
use crate::gateway::{EgressOnlyInternetGateway, InternetGateway};
use crate::id::{
    AllocationId, DhcpOptionsId, EgressOnlyInternetGatewayId, EniId, InstanceId, InternetGatewayId,
    ListenerId, LoadBalancerId, NatGatewayId, NetworkAclId, NetworkInterfacePermissionId,
    PrefixListId, ResourceId, RouteTableId, SecurityGroupId, SubnetCidrReservationId, SubnetId,
    TargetGroupId, TrafficMirrorFilterId, TrafficMirrorFilterRuleId, TrafficMirrorSessionId,
    TrafficMirrorTargetId, VpcId, VpcPeeringConnectionId,
};
use crate::key_pair::KeyPair;
use crate::launch_template::LaunchTemplate;
use crate::listener::Listener;
use crate::load_balancer::LoadBalancer;
use crate::nat_gateway::NatGateway;
use crate::network_acl::NetworkAcl;
use crate::network_interface_permission::{LentInterface, NetworkInterfacePermission};
use crate::prefix_list::PrefixList;
use crate::route_table::{RouteDestination, RouteTable, RouteTarget};
use crate::security_group::{Peer, SecurityGroup};
use crate::subnet::{Subnet, SubnetCidrReservation};
use crate::target_group::TargetGroup;
use crate::traffic_mirror::{TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget};
use crate::volume::Volume;
use crate::vpc::Vpc;
use crate::vpc_peering_connection::VpcPeeringConnection;

/// All references of one region, by what is referred to.
pub(super) type Links = OrdSet<Link>;

/// One reference: its kind, the resource that is referred to, and the one that refers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link(Relation, u64, u64);

/// A record that refers to others.
pub(super) trait Linked {
    /// Names each reference.
    fn links(&self, link: &mut dyn FnMut(Link));
}

/// Adds the references of a record, or removes them.
pub(super) fn set(links: &mut Links, record: &impl Linked, present: bool) {
    record.links(&mut |link| {
        if present {
            links.insert(link);
        } else {
            links.remove(&link);
        }
    });
}

macro_rules! relations {
    ($($(#[$doc:meta])* $name:ident: $relation:ident ($owner:ty => $member:ty);)*) => {
        /// The kinds of references.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        enum Relation {
            $($relation,)*
        }

        $(
            /// The reference from a member to its owner.
            struct $relation;

            impl $relation {
                fn link(owner: $owner, member: $member) -> Link {
                    Link(Relation::$relation, owner.bits(), member.bits())
                }
            }
        )*

        impl super::RegionState {
            $(
                $(#[$doc])*
                pub fn $name(&self, owner: $owner) -> impl Iterator<Item = $member> + '_ {
                    let first = Link(Relation::$relation, owner.bits(), 0);
                    let last = Link(Relation::$relation, owner.bits(), u64::MAX);
                    self.links
                        .range(first..=last)
                        .map(|Link(.., member)| <$member>::from_bits(*member))
                }
            )*
        }
    };
}

relations! {
    /// The network ACLs of a VPC.
    acls_of_vpc: AclOfVpc (VpcId => NetworkAclId);
    /// The egress-only internet gateways of a VPC.
    egress_only_gateways_of_vpc: EgressOnlyGatewayOfVpc (VpcId => EgressOnlyInternetGatewayId);
    /// The Elastic IPs that stand for addresses of an interface.
    elastic_ips_of_eni: ElasticIpOfEni (EniId => AllocationId);
    /// The route tables with a route to an egress-only internet gateway.
    tables_to_egress_only_gateway: TableToEgressOnlyGateway (EgressOnlyInternetGatewayId => RouteTableId);
    /// The route tables with a route to an internet gateway.
    tables_to_internet_gateway: TableToInternetGateway (InternetGatewayId => RouteTableId);
    /// The route tables with a route to a NAT gateway.
    tables_to_nat_gateway: TableToNatGateway (NatGatewayId => RouteTableId);
    /// The route tables with a route to an interface.
    tables_to_eni: TableToEni (EniId => RouteTableId);
    /// The route tables with a route to a peering connection.
    tables_to_peering: TableToPeering (VpcPeeringConnectionId => RouteTableId);
    /// The route tables with a route for the blocks of a prefix list.
    tables_naming_prefix_list: TableNamingPrefixList (PrefixListId => RouteTableId);
    /// The security groups with a rule for the blocks of a prefix list.
    groups_naming_prefix_list: GroupNamingPrefixList (PrefixListId => SecurityGroupId);
    /// The security groups of other VPCs that are associated with a VPC.
    groups_associated_with_vpc: GroupAssociatedWithVpc (VpcId => SecurityGroupId);
    /// The internet gateways attached to a VPC: one at most.
    internet_gateways_of_vpc: InternetGatewayOfVpc (VpcId => InternetGatewayId);
    /// The internet gateways that use a route table for what comes in.
    internet_gateways_of_table: InternetGatewayOfTable (RouteTableId => InternetGatewayId);
    /// The interfaces of other accounts that are attached to an instance.
    lent_to_instance: LentToInstance (InstanceId => EniId);
    /// The permissions of other accounts to attach an interface.
    permissions_of_eni: PermissionOfEni (EniId => NetworkInterfacePermissionId);
    /// The listeners of a load balancer.
    listeners_of_load_balancer: ListenerOfLoadBalancer (LoadBalancerId => ListenerId);
    /// The listeners that lead to a target group.
    listeners_of_target_group: ListenerOfTargetGroup (TargetGroupId => ListenerId);
    /// The load balancer of a node's interface.
    load_balancers_of_eni: LoadBalancerOfEni (EniId => LoadBalancerId);
    /// The load balancers of a VPC.
    load_balancers_of_vpc: LoadBalancerOfVpc (VpcId => LoadBalancerId);
    /// The NAT gateways of a subnet, deleted ones that are still visible included.
    nat_gateways_of_subnet: NatGatewayOfSubnet (SubnetId => NatGatewayId);
    /// The NAT gateways of a VPC, likewise.
    nat_gateways_of_vpc: NatGatewayOfVpc (VpcId => NatGatewayId);
    /// The NAT gateway of an interface.
    nat_gateways_of_eni: NatGatewayOfEni (EniId => NatGatewayId);
    /// The peering connections of a VPC, dead ones that are still visible included.
    peerings_of_vpc: PeeringOfVpc (VpcId => VpcPeeringConnectionId);
    /// The reservations in a subnet's blocks.
    reservations_of_subnet: ReservationOfSubnet (SubnetId => SubnetCidrReservationId);
    /// The route tables of a VPC.
    route_tables_of_vpc: RouteTableOfVpc (VpcId => RouteTableId);
    /// The subnets that were given a network ACL.
    subnets_of_acl: SubnetOfAcl (NetworkAclId => SubnetId);
    /// The subnets that were given a route table; those of a main table are not listed.
    subnets_of_route_table: SubnetOfRouteTable (RouteTableId => SubnetId);
    /// The target groups of a VPC.
    target_groups_of_vpc: TargetGroupOfVpc (VpcId => TargetGroupId);
    /// The filter that has a rule: one.
    traffic_mirror_filters_of_rule: MirrorFilterOfRule (TrafficMirrorFilterRuleId => TrafficMirrorFilterId);
    /// The sessions that mirror an interface's packets, by id.
    traffic_mirror_sessions_of_eni: MirrorSessionOfEni (EniId => TrafficMirrorSessionId);
    /// The sessions that use a filter.
    traffic_mirror_sessions_of_filter: MirrorSessionOfFilter (TrafficMirrorFilterId => TrafficMirrorSessionId);
    /// The sessions that mirror to a target.
    traffic_mirror_sessions_of_target: MirrorSessionOfTarget (TrafficMirrorTargetId => TrafficMirrorSessionId);
    /// The targets that an interface is.
    traffic_mirror_targets_of_eni: MirrorTargetOfEni (EniId => TrafficMirrorTargetId);
    /// The VPCs that use a DHCP option set.
    vpcs_of_dhcp_options: VpcOfDhcpOptions (DhcpOptionsId => VpcId);
}

impl Linked for DhcpOptions {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for EgressOnlyInternetGateway {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(EgressOnlyGatewayOfVpc::link(self.vpc, self.id));
    }
}

impl Linked for ElasticIp {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        if let Some(association) = &self.association {
            link(ElasticIpOfEni::link(association.eni, self.id));
        }
    }
}

impl Linked for FlowLog {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for InternetGateway {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        if let Some(vpc) = self.vpc {
            link(InternetGatewayOfVpc::link(vpc, self.id));
        }
        if let Some(own) = self.route_table {
            link(InternetGatewayOfTable::link(own.table, self.id));
        }
    }
}

impl Linked for KeyPair {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for LaunchTemplate {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for LentInterface {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        if let Some(attachment) = &self.attachment {
            link(LentToInstance::link(attachment.instance, self.id));
        }
    }
}

impl Linked for Listener {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(ListenerOfLoadBalancer::link(self.load_balancer, self.id));
        for forward in &self.forward {
            link(ListenerOfTargetGroup::link(forward.group, self.id));
        }
    }
}

impl Linked for LoadBalancer {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(LoadBalancerOfVpc::link(self.vpc, self.id));
        for own in &self.zones {
            link(LoadBalancerOfEni::link(own.eni, self.id));
        }
    }
}

impl Linked for NatGateway {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(NatGatewayOfVpc::link(self.vpc, self.id));
        link(NatGatewayOfSubnet::link(self.subnet, self.id));
        link(NatGatewayOfEni::link(self.eni, self.id));
    }
}

impl Linked for NetworkAcl {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(AclOfVpc::link(self.vpc, self.id));
    }
}

impl Linked for NetworkInterfacePermission {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(PermissionOfEni::link(self.eni, self.id));
    }
}

impl Linked for PrefixList {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for RouteTable {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        let own = self.id;
        link(RouteTableOfVpc::link(self.vpc, own));
        for route in &self.routes {
            if let RouteDestination::PrefixList(list) = route.destination {
                link(TableNamingPrefixList::link(list, own));
            }
            link(match route.target {
                RouteTarget::EgressOnlyInternetGateway(id) => {
                    TableToEgressOnlyGateway::link(id, own)
                }
                RouteTarget::InternetGateway(id) => TableToInternetGateway::link(id, own),
                RouteTarget::NatGateway(id) => TableToNatGateway::link(id, own),
                RouteTarget::NetworkInterface(id) => TableToEni::link(id, own),
                RouteTarget::VpcPeeringConnection(id) => TableToPeering::link(id, own),
            });
        }
    }
}

impl Linked for SecurityGroup {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        for rule in self.rules.values() {
            if let Peer::PrefixList(list) = rule.matcher.peer {
                link(GroupNamingPrefixList::link(list, self.id));
            }
        }
        for vpc in &self.associated_vpcs {
            link(GroupAssociatedWithVpc::link(*vpc, self.id));
        }
    }
}

impl Linked for Subnet {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(SubnetOfAcl::link(self.network_acl.acl, self.id));
        if let Some(own) = self.route_table {
            link(SubnetOfRouteTable::link(own.table, self.id));
        }
    }
}

impl Linked for SubnetCidrReservation {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(ReservationOfSubnet::link(self.subnet, self.id));
    }
}

impl Linked for TargetGroup {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(TargetGroupOfVpc::link(self.vpc, self.id));
    }
}

impl Linked for TrafficMirrorFilter {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        for rule in self.rules.keys() {
            link(MirrorFilterOfRule::link(*rule, self.id));
        }
    }
}

impl Linked for TrafficMirrorSession {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(MirrorSessionOfEni::link(self.network_interface, self.id));
        link(MirrorSessionOfFilter::link(self.filter, self.id));
        link(MirrorSessionOfTarget::link(self.target, self.id));
    }
}

impl Linked for TrafficMirrorTarget {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(MirrorTargetOfEni::link(self.network_interface, self.id));
    }
}

impl Linked for Volume {
    fn links(&self, _link: &mut dyn FnMut(Link)) {}
}

impl Linked for Vpc {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        if let Some(options) = self.dhcp_options {
            link(VpcOfDhcpOptions::link(options, self.id));
        }
    }
}

impl Linked for VpcPeeringConnection {
    fn links(&self, link: &mut dyn FnMut(Link)) {
        link(PeeringOfVpc::link(self.requester.vpc, self.id));
        link(PeeringOfVpc::link(self.accepter.vpc, self.id));
    }
}
