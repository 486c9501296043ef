//! The resources that can have tags.
//!
//! A kind is one line of the table below. Rules of security groups and of filters of mirrored packets
//! are the exception: they live in the record of what they are rules of.

use std::collections::BTreeMap;

use enid_model::Tags;
use enid_model::address::ElasticIp;
use enid_model::dhcp_options::DhcpOptions;
use enid_model::flow_log::FlowLog;
use enid_model::gateway::{EgressOnlyInternetGateway, InternetGateway};
use enid_model::id::{
    AllocationId, DhcpOptionsId, EgressOnlyInternetGatewayId, EniId, FlowLogId, InstanceId,
    InternetGatewayId, KeyPairId, LaunchTemplateId, NatGatewayId, NetworkAclId, Parsed,
    PrefixListId, ResourceId, RouteTableId, SecurityGroupId, SecurityGroupRuleId,
    SubnetCidrReservationId, SubnetId, TrafficMirrorFilterId, TrafficMirrorFilterRuleId,
    TrafficMirrorSessionId, TrafficMirrorTargetId, VolumeId, VpcId, VpcPeeringConnectionId,
};
use enid_model::instance::Instance;
use enid_model::key_pair::KeyPair;
use enid_model::launch_template::LaunchTemplate;
use enid_model::nat_gateway::NatGateway;
use enid_model::network_acl::NetworkAcl;
use enid_model::network_interface::NetworkInterface;
use enid_model::prefix_list::PrefixList;
use enid_model::route_table::RouteTable;
use enid_model::security_group::SecurityGroup;
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::{Subnet, SubnetCidrReservation};
use enid_model::traffic_mirror::{TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget};
use enid_model::volume::Volume;
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::VpcPeeringConnection;

use crate::draft::Resource;
use crate::{Draft, Error};

/// Each kind with its id, where the region keeps it, and AWS's word for it.
macro_rules! taggables {
    ($($kind:ident($id:ident): $map:ident, $word:literal;)*) => {
        /// A resource that can have tags.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Taggable {
            $(
                #[doc = concat!("`", $word, "`.")]
                $kind($id),
            )*
            /// A rule of a security group.
            SecurityGroupRule(SecurityGroupRuleId),
            /// A rule of a filter of mirrored packets.
            TrafficMirrorFilterRule(TrafficMirrorFilterRuleId),
        }

        impl Taggable {
            /// The resource that a client's text names by its id.
            pub fn parse(text: &str) -> Result<Self, Error> {
                match text.split_once('-').map(|(prefix, _)| prefix) {
                    $(Some($id::PREFIX) => read(text, Self::$kind),)*
                    Some(SecurityGroupRuleId::PREFIX) => read(text, Self::SecurityGroupRule),
                    Some(TrafficMirrorFilterRuleId::PREFIX) => {
                        read(text, Self::TrafficMirrorFilterRule)
                    }
                    _ => Err(Error::ResourceNotFound { id: text.into() }),
                }
            }

            /// AWS's word for its type.
            #[must_use]
            pub fn resource_type(self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $word,)*
                    Self::SecurityGroupRule(_) => "security-group-rule",
                    Self::TrafficMirrorFilterRule(_) => "traffic-mirror-filter-rule",
                }
            }
        }

        impl std::fmt::Display for Taggable {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$kind(id) => id.fmt(f),)*
                    Self::SecurityGroupRule(id) => id.fmt(f),
                    Self::TrafficMirrorFilterRule(id) => id.fmt(f),
                }
            }
        }

        /// Every resource of a region with its tags, network interfaces left out.
        fn all_others(region: &RegionState) -> impl Iterator<Item = (Taggable, &Tags)> {
            let none = std::iter::empty();
            $(let none = none.chain(
                region
                    .$map
                    .iter()
                    .filter(|_| $word != ENI)
                    .map(|(id, found)| (Taggable::$kind(*id), &found.tags)),
            );)*
            let groups = region.security_groups.values();
            let rules = groups.flat_map(|group| group.rules.values());
            let none =
                none.chain(rules.map(|rule| (Taggable::SecurityGroupRule(rule.id), &rule.tags)));
            let filters = region.traffic_mirror_filters.values();
            let rules = filters.flat_map(|filter| filter.rules.values());
            none.chain(rules.map(|rule| (Taggable::TrafficMirrorFilterRule(rule.id), &rule.tags)))
        }

        /// The tags of one resource, if it is there.
        #[must_use]
        pub fn tags_of(region: &RegionState, resource: Taggable) -> Option<&Tags> {
            Some(match resource {
                $(Taggable::$kind(id) => &region.$map.get(&id)?.tags,)*
                Taggable::SecurityGroupRule(id) => &region.group_of_rule(id)?.rules.get(&id)?.tags,
                Taggable::TrafficMirrorFilterRule(id) => {
                    let filter = region.traffic_mirror_filter_of_rule(id)?;
                    &filter.rules.get(&id)?.tags
                }
            })
        }

        /// New versions of tagged records. A record that is named twice, or as a group and through
        /// its rules, is still written once.
        #[derive(Default)]
        pub(crate) struct Changes {
            $($map: Versions<$kind>,)*
        }

        impl Changes {
            pub(crate) fn retag(
                &mut self,
                draft: &mut Draft<'_>,
                resource: Taggable,
                change: impl Fn(&Tags) -> Result<Tags, Error>,
            ) -> Result<(), Error> {
                let tags = match resource {
                    $(Taggable::$kind(id) => &mut self.$map.of(draft, id)?.tags,)*
                    Taggable::SecurityGroupRule(id) => {
                        let group = draft.region.group_of_rule(id).map(|group| group.id);
                        let group = group.ok_or_else(|| Error::not_found(id))?;
                        let group = self.security_groups.of(draft, group)?;
                        let rule = group.rules.get_mut(&id);
                        &mut rule.ok_or_else(|| Error::not_found(id))?.tags
                    }
                    Taggable::TrafficMirrorFilterRule(id) => {
                        let filter = draft.region.traffic_mirror_filter_of_rule(id);
                        let filter = filter.map(|filter| filter.id);
                        let filter = filter.ok_or_else(|| Error::not_found(id))?;
                        let filter = self.traffic_mirror_filters.of(draft, filter)?;
                        let rule = filter.rules.get_mut(&id);
                        &mut rule.ok_or_else(|| Error::not_found(id))?.tags
                    }
                };
                *tags = change(tags)?;
                Ok(())
            }

            pub(crate) fn write(self, draft: &mut Draft<'_>) {
                $(self.$map.write(draft);)*
            }
        }
    };
}

taggables! {
    DhcpOptions(DhcpOptionsId): dhcp_options, "dhcp-options";
    EgressOnlyInternetGateway(EgressOnlyInternetGatewayId): egress_only_internet_gateways, "egress-only-internet-gateway";
    ElasticIp(AllocationId): elastic_ips, "elastic-ip";
    FlowLog(FlowLogId): flow_logs, "vpc-flow-log";
    Instance(InstanceId): instances, "instance";
    InternetGateway(InternetGatewayId): internet_gateways, "internet-gateway";
    KeyPair(KeyPairId): key_pairs, "key-pair";
    LaunchTemplate(LaunchTemplateId): launch_templates, "launch-template";
    NatGateway(NatGatewayId): nat_gateways, "natgateway";
    NetworkAcl(NetworkAclId): network_acls, "network-acl";
    NetworkInterface(EniId): network_interfaces, "network-interface";
    PrefixList(PrefixListId): prefix_lists, "prefix-list";
    RouteTable(RouteTableId): route_tables, "route-table";
    SecurityGroup(SecurityGroupId): security_groups, "security-group";
    Subnet(SubnetId): subnets, "subnet";
    SubnetCidrReservation(SubnetCidrReservationId): subnet_cidr_reservations, "subnet-cidr-reservation";
    TrafficMirrorFilter(TrafficMirrorFilterId): traffic_mirror_filters, "traffic-mirror-filter";
    TrafficMirrorSession(TrafficMirrorSessionId): traffic_mirror_sessions, "traffic-mirror-session";
    TrafficMirrorTarget(TrafficMirrorTargetId): traffic_mirror_targets, "traffic-mirror-target";
    Volume(VolumeId): volumes, "volume";
    Vpc(VpcId): vpcs, "vpc";
    VpcPeeringConnection(VpcPeeringConnectionId): vpc_peering_connections, "vpc-peering-connection";
}

impl Changes {
    /// The instances that are tagged, as they shall be.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.0.values().map(|(_, new)| new)
    }
}

/// AWS's word for a network interface.
const ENI: &str = "network-interface";

/// Every tagged resource of a region with its tags.
pub fn tagged(region: &RegionState) -> impl Iterator<Item = (Taggable, &Tags)> {
    let enis = region.network_interfaces.iter();
    let enis = enis.map(|(id, found)| (Taggable::NetworkInterface(*id), &found.tags));
    tagged_others(region).chain(enis.filter(|(_, tags)| !tags.is_empty()))
}

/// The same without network interfaces, of which there may be many more than of all else. Theirs are
/// found through [`RegionState::enis_with_term_from`].
pub fn tagged_others(region: &RegionState) -> impl Iterator<Item = (Taggable, &Tags)> {
    all_others(region).filter(|(_, tags)| !tags.is_empty())
}

fn read<I: ResourceId>(text: &str, resource: impl Fn(I) -> Taggable) -> Result<Taggable, Error> {
    match I::parse(text) {
        Ok(Parsed::Native(id)) => Ok(resource(id)),
        Ok(Parsed::Foreign) => Err(Error::not_found_text(I::PREFIX, text)),
        Err(_) => Err(Error::ResourceNotFound { id: text.into() }),
    }
}

/// Records as read, and as they shall be.
struct Versions<T: Resource>(BTreeMap<T::Id, (Stored<T>, T)>);

impl<T: Resource> Default for Versions<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Resource + PartialEq> Versions<T> {
    fn of(&mut self, draft: &mut Draft<'_>, id: T::Id) -> Result<&mut T, Error> {
        use std::collections::btree_map::Entry;
        let (_, new) = match self.0.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let read = draft.require::<T>(id)?;
                let new = T::clone(&read);
                place.insert((read, new))
            }
        };
        Ok(new)
    }

    fn write(self, draft: &mut Draft<'_>) {
        for (read, new) in self.0.into_values() {
            if new != *read {
                draft.update(&read, new);
            }
        }
    }
}
