//! Every record at one revision, with the indexes that operations ask for.
//!
//! A [`State`] is a value: cloning it costs a few reference counts, and a reader's copy never
//! changes. Two copies share what is equal in both, so their difference is found without visiting
//! the rest ([`imbl::OrdMap::diff`]).
//!
//! Invariant: an index holds exactly what the records say. [`RegionState::put`] and
//! [`RegionState::delete`] are the only writers.

mod balanced;
mod leased;
mod lent;
mod links;
mod located;
mod rebuild;
mod term;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::address::{ElasticIp, PublicAddress};
use crate::alarm::{Alarm, AlarmAction, AlarmHistory};
use crate::anomaly_detector::AnomalyDetector;
use crate::certificate::Certificate;
use crate::dashboard::Dashboard;
use crate::dhcp_options::DhcpOptions;
use crate::flow_log::FlowLog;
use crate::gateway::{EgressOnlyInternetGateway, InternetGateway};
use crate::id::{
    AllocationId, AttachmentId, DhcpOptionsId, EgressOnlyInternetGatewayId, EniId, FlowLogId,
    InstanceId, InternetGatewayId, KeyPairId, LaunchTemplateId, ListenerId, LoadBalancerId,
    NatGatewayId, NetworkAclId, NetworkInterfacePermissionId, PrefixListId, RouteTableId,
    SecurityGroupId, SecurityGroupRuleId, SubnetCidrReservationId, SubnetId, TargetGroupId,
    TrafficMirrorFilterId, TrafficMirrorFilterRuleId, TrafficMirrorSessionId,
    TrafficMirrorTargetId, VolumeId, VpcId, VpcPeeringConnectionId,
};
use crate::instance::Instance;
use crate::key::{Key, Kind, Scope};
use crate::key_pair::KeyPair;
use crate::launch_template::LaunchTemplate;
use crate::listener::Listener;
use crate::load_balancer::LoadBalancer;
use crate::log_group::{LogGroup, LogStream, LogUid};
use crate::nat_gateway::NatGateway;
use crate::network_acl::NetworkAcl;
use crate::network_interface::NetworkInterface;
use crate::network_interface_permission::{LentInterface, NetworkInterfacePermission};
use crate::prefix_list::PrefixList;
use crate::record::{GroupName, NameClaim, Record, Token};
use crate::region::RegionRecord;
use crate::route_table::RouteTable;
use crate::security_group::{Peer, SecurityGroup};
use crate::subnet::{AddressLease, Ipv6Lease, Ipv6PrefixLease, Subnet, SubnetCidrReservation};
use crate::subscription::Subscription;
use crate::target::{Target, TargetKey};
use crate::target_group::TargetGroup;
use crate::topic::Topic;
use crate::traffic_mirror::{TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget};
use crate::uuid::Uuid;
use crate::volume::Volume;
use crate::vpc::Vpc;
use crate::vpc_peering_connection::VpcPeeringConnection;

use leased::Leased;
use term::TermIndex;

pub use balanced::Unused;
pub use lent::Lent;
pub use term::Term;

/// A map whose copies share what is equal in both.
pub type Map<K, V> = OrdMap<K, V>;

/// The number of a store commit. Zero is the empty store.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A record with the revision that wrote it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The commit that wrote this version of the record.
    pub revision: Revision,
    record: Arc<T>,
}

impl<T> Stored<T> {
    /// The record, shared.
    #[must_use]
    pub fn record(&self) -> &Arc<T> {
        &self.record
    }
}

// Not derived: a record need not be `Clone` for its reference to be.
impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self {
            revision: self.revision,
            record: Arc::clone(&self.record),
        }
    }
}

impl<T> Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

/// All regions of all accounts.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The last commit that is in this state.
    pub revision: Revision,
    regions: OrdMap<Scope, Arc<RegionState>>,
}

impl State {
    /// One account's region, if it has come to life.
    #[must_use]
    pub fn region(&self, scope: &Scope) -> Option<&Arc<RegionState>> {
        self.regions.get(scope)
    }

    /// All of them.
    #[must_use]
    pub fn regions(&self) -> &OrdMap<Scope, Arc<RegionState>> {
        &self.regions
    }

    /// Puts (`Some`) or deletes (`None`) the record of a key, at a revision.
    pub fn apply(&mut self, revision: Revision, key: &Key, record: Option<Record>) {
        self.revision = self.revision.max(revision);
        let region = self.regions.entry(key.scope.clone()).or_default();
        let region = Arc::make_mut(region);
        if !key.kind.is_interfaces() {
            region.surroundings = revision;
        }
        region.delete(key);
        if let Some(record) = record {
            region.put(revision, key, record);
        }
    }
}

/// One account's region.
#[derive(Debug, Clone, Default)]
pub struct RegionState {
    /// That it has come to life.
    pub region: Option<Stored<RegionRecord>>,
    /// The last commit that changed more than interfaces and what is claimed for them: what is told
    /// of an interface follows from its record and from nothing younger than this.
    pub surroundings: Revision,
    /// Certificates of ACM.
    pub certificates: OrdMap<Uuid, Stored<Certificate>>,
    /// DHCP option sets.
    pub dhcp_options: OrdMap<DhcpOptionsId, Stored<DhcpOptions>>,
    /// Egress-only internet gateways.
    pub egress_only_internet_gateways:
        OrdMap<EgressOnlyInternetGatewayId, Stored<EgressOnlyInternetGateway>>,
    /// Elastic IP addresses.
    pub elastic_ips: OrdMap<AllocationId, Stored<ElasticIp>>,
    /// Flow logs.
    pub flow_logs: OrdMap<FlowLogId, Stored<FlowLog>>,
    /// IPv4 addresses claimed, by subnet.
    pub leases: OrdMap<(SubnetId, Ipv4Addr), Stored<AddressLease>>,
    /// IPv6 addresses claimed, by subnet.
    pub ipv6_leases: OrdMap<(SubnetId, Ipv6Addr), Stored<Ipv6Lease>>,
    /// IPv6 prefixes claimed, by subnet and the block's first address.
    pub ipv6_prefix_leases: OrdMap<(SubnetId, Ipv6Addr), Stored<Ipv6PrefixLease>>,
    /// Names of groups, by key name.
    pub group_names: OrdMap<Box<str>, Stored<GroupName>>,
    /// Instances, terminated ones that are still visible included.
    pub instances: OrdMap<InstanceId, Stored<Instance>>,
    /// Internet gateways.
    pub internet_gateways: OrdMap<InternetGatewayId, Stored<InternetGateway>>,
    /// Key pairs.
    pub key_pairs: OrdMap<KeyPairId, Stored<KeyPair>>,
    /// Launch templates.
    pub launch_templates: OrdMap<LaunchTemplateId, Stored<LaunchTemplate>>,
    /// Interfaces of other accounts that may be attached here.
    pub lent_interfaces: OrdMap<EniId, Stored<LentInterface>>,
    /// Alarms by name.
    pub alarms: OrdMap<Box<str>, Stored<Alarm>>,
    /// What alarms are to do, by time.
    pub alarm_actions: OrdMap<Box<str>, Stored<AlarmAction>>,
    /// What happened to alarms, by time.
    pub alarm_history: OrdMap<Box<str>, Stored<AlarmHistory>>,
    /// Anomaly detectors, by what names their model.
    pub anomaly_detectors: OrdMap<Box<str>, Stored<AnomalyDetector>>,
    /// Dashboards of the account, where they are kept, by name.
    pub dashboards: OrdMap<Box<str>, Stored<Dashboard>>,
    /// Listeners of load balancers.
    pub listeners: OrdMap<ListenerId, Stored<Listener>>,
    /// Load balancers.
    pub load_balancers: OrdMap<LoadBalancerId, Stored<LoadBalancer>>,
    /// Log groups by name.
    pub log_groups: OrdMap<Box<str>, Stored<LogGroup>>,
    /// Streams of log groups, by group and name.
    pub log_streams: OrdMap<(LogUid, Box<str>), Stored<LogStream>>,
    /// Names that are unique in the region, by key name.
    pub names: OrdMap<Box<str>, Stored<NameClaim>>,
    /// NAT gateways, deleted ones that are still visible included.
    pub nat_gateways: OrdMap<NatGatewayId, Stored<NatGateway>>,
    /// Network ACLs.
    pub network_acls: OrdMap<NetworkAclId, Stored<NetworkAcl>>,
    /// Network interfaces.
    pub network_interfaces: OrdMap<EniId, Stored<NetworkInterface>>,
    /// Permissions of other accounts to attach interfaces.
    pub network_interface_permissions:
        OrdMap<NetworkInterfacePermissionId, Stored<NetworkInterfacePermission>>,
    /// Managed prefix lists.
    pub prefix_lists: OrdMap<PrefixListId, Stored<PrefixList>>,
    /// Public addresses claimed, IPv6 blocks by their first one. Only in the state of
    /// [`Scope::everywhere`].
    pub public_addresses: OrdMap<IpAddr, Stored<PublicAddress>>,
    /// Route tables.
    pub route_tables: OrdMap<RouteTableId, Stored<RouteTable>>,
    /// Security groups.
    pub security_groups: OrdMap<SecurityGroupId, Stored<SecurityGroup>>,
    /// Reserved parts of subnets' blocks.
    pub subnet_cidr_reservations: OrdMap<SubnetCidrReservationId, Stored<SubnetCidrReservation>>,
    /// Subnets.
    pub subnets: OrdMap<SubnetId, Stored<Subnet>>,
    /// Subscriptions to topics, by key name: the topic's name, a slash, and the id.
    pub subscriptions: OrdMap<Box<str>, Stored<Subscription>>,
    /// Target groups.
    pub target_groups: OrdMap<TargetGroupId, Stored<TargetGroup>>,
    /// Targets of all groups, those on their way out included.
    pub targets: OrdMap<TargetKey, Stored<Target>>,
    /// Client tokens, by key name.
    pub tokens: OrdMap<Box<str>, Stored<Token>>,
    /// Topics by name.
    pub topics: OrdMap<Box<str>, Stored<Topic>>,
    /// Filters of mirrored packets.
    pub traffic_mirror_filters: OrdMap<TrafficMirrorFilterId, Stored<TrafficMirrorFilter>>,
    /// Sessions that mirror interfaces' packets.
    pub traffic_mirror_sessions: OrdMap<TrafficMirrorSessionId, Stored<TrafficMirrorSession>>,
    /// Targets of mirrored packets.
    pub traffic_mirror_targets: OrdMap<TrafficMirrorTargetId, Stored<TrafficMirrorTarget>>,
    /// Volumes.
    pub volumes: OrdMap<VolumeId, Stored<Volume>>,
    /// VPCs.
    pub vpcs: OrdMap<VpcId, Stored<Vpc>>,
    /// Peering connections, dead ones that are still visible included.
    pub vpc_peering_connections: OrdMap<VpcPeeringConnectionId, Stored<VpcPeeringConnection>>,

    attachments: OrdMap<AttachmentId, EniId>,
    enis_by_group: OrdSet<(SecurityGroupId, EniId)>,
    enis_by_instance: OrdSet<(InstanceId, u8, u8, EniId)>,
    enis_by_subnet: OrdSet<(SubnetId, EniId)>,
    enis_by_term: TermIndex,
    enis_by_vpc: OrdSet<(VpcId, EniId)>,
    groups_by_vpc: OrdSet<(VpcId, SecurityGroupId)>,
    leased: Leased,
    links: links::Links,
    referencing_groups: OrdSet<(SecurityGroupId, SecurityGroupId)>,
    rules: OrdMap<SecurityGroupRuleId, SecurityGroupId>,
    subnets_by_vpc: OrdSet<(VpcId, SubnetId)>,
    targets_by_address: balanced::TargetsByAddress,
}

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident: $set:ident ($owner:ty => $member:ty);)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, owner: $owner) -> impl Iterator<Item = $member> + '_ {
            self.$set
                .range((owner, <$member>::from_bits(0))..=(owner, <$member>::from_bits(u64::MAX)))
                .map(|(_, member)| *member)
        }
    )*};
}

use crate::id::ResourceId as _;

impl RegionState {
    members! {
        /// The interfaces that carry a group.
        enis_of_group: enis_by_group (SecurityGroupId => EniId);
        /// The interfaces in a subnet.
        enis_of_subnet: enis_by_subnet (SubnetId => EniId);
        /// The interfaces in a VPC.
        enis_of_vpc: enis_by_vpc (VpcId => EniId);
        /// The groups of a VPC.
        groups_of_vpc: groups_by_vpc (VpcId => SecurityGroupId);
        /// The groups with a rule that names a group; a group that names itself included.
        groups_referencing: referencing_groups (SecurityGroupId => SecurityGroupId);
        /// The subnets of a VPC.
        subnets_of_vpc: subnets_by_vpc (VpcId => SubnetId);
    }

    /// The interfaces of an instance, by network card and device index; those that other accounts lent
    /// are not among them ([`State::lent_to`]).
    pub fn enis_of_instance(
        &self,
        instance: InstanceId,
    ) -> impl Iterator<Item = &Stored<NetworkInterface>> + '_ {
        let first = (instance, 0, 0, EniId(0));
        let last = (instance, u8::MAX, u8::MAX, EniId(u64::MAX));
        self.enis_by_instance
            .range(first..=last)
            .filter_map(|(.., eni)| self.network_interfaces.get(eni))
    }

    /// The interface that an attachment attaches.
    #[must_use]
    pub fn eni_of_attachment(&self, attachment: AttachmentId) -> Option<&Stored<NetworkInterface>> {
        let eni = self.attachments.get(&attachment)?;
        self.network_interfaces.get(eni)
    }

    /// The group that has a rule.
    #[must_use]
    pub fn group_of_rule(&self, rule: SecurityGroupRuleId) -> Option<&Stored<SecurityGroup>> {
        self.security_groups.get(self.rules.get(&rule)?)
    }

    /// The filter of mirrored packets that has a rule.
    #[must_use]
    pub fn traffic_mirror_filter_of_rule(
        &self,
        rule: TrafficMirrorFilterRuleId,
    ) -> Option<&Stored<TrafficMirrorFilter>> {
        let filter = self.traffic_mirror_filters_of_rule(rule).next()?;
        self.traffic_mirror_filters.get(&filter)
    }

    /// The interfaces from an id on that carry a group.
    pub fn enis_of_group_from(
        &self,
        group: SecurityGroupId,
        first: EniId,
    ) -> impl Iterator<Item = EniId> + '_ {
        from(&self.enis_by_group, group, first)
    }

    /// The interfaces from an id on in a subnet.
    pub fn enis_of_subnet_from(
        &self,
        subnet: SubnetId,
        first: EniId,
    ) -> impl Iterator<Item = EniId> + '_ {
        from(&self.enis_by_subnet, subnet, first)
    }

    /// The interfaces from an id on in a VPC.
    pub fn enis_of_vpc_from(&self, vpc: VpcId, first: EniId) -> impl Iterator<Item = EniId> + '_ {
        from(&self.enis_by_vpc, vpc, first)
    }

    /// The interfaces from an id on that have a term, by id. A few may only seem to have it: what is
    /// found is still to be compared.
    pub fn enis_with_term_from(
        &self,
        term: Term<'_>,
        first: EniId,
    ) -> impl Iterator<Item = EniId> + '_ {
        self.enis_by_term.from(term, first)
    }

    /// How many addresses of a subnet are leased.
    #[must_use]
    pub fn leased_count(&self, subnet: SubnetId) -> u32 {
        self.leased.count(subnet)
    }

    /// The first address from this one on that no lease of a subnet claims, within its block or not.
    #[must_use]
    pub fn next_unleased(&self, subnet: SubnetId, first: Ipv4Addr) -> Option<Ipv4Addr> {
        self.leased.next_free(subnet, first)
    }

    /// The leases of a subnet, by address.
    pub fn leases_of_subnet(
        &self,
        subnet: SubnetId,
    ) -> impl Iterator<Item = (Ipv4Addr, EniId)> + '_ {
        self.leases
            .range((subnet, Ipv4Addr::UNSPECIFIED)..=(subnet, Ipv4Addr::BROADCAST))
            .map(|((_, address), lease)| (*address, lease.eni))
    }

    /// The streams of a log group from a name on, by name.
    pub fn log_streams_from<'a>(
        &'a self,
        group: LogUid,
        first: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Stored<LogStream>)> + 'a {
        self.log_streams
            .range((group, first.into())..)
            .take_while(move |((of, _), _)| *of == group)
            .map(|((_, name), stream)| (&**name, stream))
    }

    /// The subscriptions to a topic, with their ids.
    pub fn subscriptions_of_topic<'a>(
        &'a self,
        topic: &str,
    ) -> impl Iterator<Item = (Uuid, &'a Stored<Subscription>)> + use<'a> {
        let start = format!("{topic}/").into_boxed_str();
        // No name of a topic has a slash, so that the prefix is the topic's alone.
        self.subscriptions
            .range(start.clone()..)
            .map_while(move |(key, subscription)| {
                Some((key.strip_prefix(&*start)?.parse().ok()?, subscription))
            })
    }

    fn put(&mut self, revision: Revision, key: &Key, record: Record) {
        fn stored<T>(revision: Revision, record: T) -> Stored<T> {
            let record = Arc::new(record);
            Stored { revision, record }
        }
        /// Records whose only indexes are their references.
        macro_rules! linked {
            ($map:ident, $record:ident) => {{
                links::set(&mut self.links, &$record, true);
                self.$map.insert($record.id, stored(revision, $record));
            }};
        }
        match record {
            Record::AddressLease(lease) => {
                if let Some(at) = lease_key(&key.name)
                    && self.leases.insert(at, stored(revision, lease)).is_none()
                {
                    self.leased.insert(at.0, at.1);
                }
            }
            Record::Certificate(certificate) => {
                self.certificates
                    .insert(certificate.id, stored(revision, certificate));
            }
            Record::DhcpOptions(record) => linked!(dhcp_options, record),
            Record::EgressOnlyInternetGateway(record) => {
                linked!(egress_only_internet_gateways, record);
            }
            Record::ElasticIp(record) => linked!(elastic_ips, record),
            Record::FlowLog(record) => linked!(flow_logs, record),
            Record::InternetGateway(record) => linked!(internet_gateways, record),
            Record::Ipv6Lease(lease) => {
                if let Some(at) = lease_key(&key.name) {
                    self.ipv6_leases.insert(at, stored(revision, lease));
                }
            }
            Record::Ipv6PrefixLease(lease) => {
                if let Some(at) = lease_key(&key.name) {
                    self.ipv6_prefix_leases.insert(at, stored(revision, lease));
                }
            }
            Record::KeyPair(record) => linked!(key_pairs, record),
            Record::LaunchTemplate(record) => linked!(launch_templates, record),
            Record::LentInterface(record) => linked!(lent_interfaces, record),
            Record::Alarm(alarm) => {
                self.alarms
                    .insert(key.name.clone(), stored(revision, alarm));
            }
            Record::AlarmAction(action) => {
                self.alarm_actions
                    .insert(key.name.clone(), stored(revision, action));
            }
            Record::AlarmHistory(item) => {
                self.alarm_history
                    .insert(key.name.clone(), stored(revision, item));
            }
            Record::AnomalyDetector(detector) => {
                self.anomaly_detectors
                    .insert(key.name.clone(), stored(revision, detector));
            }
            Record::Dashboard(dashboard) => {
                self.dashboards
                    .insert(key.name.clone(), stored(revision, dashboard));
            }
            Record::Listener(record) => linked!(listeners, record),
            Record::LoadBalancer(record) => linked!(load_balancers, record),
            Record::LogGroup(group) => {
                self.log_groups
                    .insert(key.name.clone(), stored(revision, group));
            }
            Record::LogStream(stream) => {
                if let Some(at) = stream_key(&key.name) {
                    self.log_streams.insert(at, stored(revision, stream));
                }
            }
            Record::NameClaim(name) => {
                self.names.insert(key.name.clone(), stored(revision, name));
            }
            Record::NatGateway(record) => linked!(nat_gateways, record),
            Record::NetworkAcl(record) => linked!(network_acls, record),
            Record::NetworkInterfacePermission(record) => {
                linked!(network_interface_permissions, record);
            }
            Record::PrefixList(record) => linked!(prefix_lists, record),
            Record::PublicAddress(claim) => {
                if let Ok(address) = key.name.parse() {
                    self.public_addresses
                        .insert(address, stored(revision, claim));
                }
            }
            Record::RouteTable(record) => linked!(route_tables, record),
            Record::SubnetCidrReservation(record) => linked!(subnet_cidr_reservations, record),
            Record::VpcPeeringConnection(record) => linked!(vpc_peering_connections, record),
            Record::GroupName(name) => {
                self.group_names
                    .insert(key.name.clone(), stored(revision, name));
            }
            Record::Instance(instance) => {
                self.instances
                    .insert(instance.id, stored(revision, instance));
            }
            Record::NetworkInterface(eni) => {
                self.index_eni(&eni, true);
                self.network_interfaces
                    .insert(eni.id, stored(revision, eni));
            }
            Record::Region(region) => self.region = Some(stored(revision, region)),
            Record::SecurityGroup(group) => {
                self.index_group(&group, true);
                links::set(&mut self.links, &group, true);
                self.security_groups
                    .insert(group.id, stored(revision, group));
            }
            Record::Subnet(subnet) => {
                self.subnets_by_vpc.insert((subnet.vpc, subnet.id));
                links::set(&mut self.links, &subnet, true);
                self.subnets.insert(subnet.id, stored(revision, subnet));
            }
            Record::Subscription(subscription) => {
                self.subscriptions
                    .insert(key.name.clone(), stored(revision, subscription));
            }
            Record::Target(target) => {
                if let Ok(at) = key.name.parse() {
                    self.put_target(revision, at, target);
                }
            }
            Record::TargetGroup(record) => linked!(target_groups, record),
            Record::Token(token) => {
                self.tokens
                    .insert(key.name.clone(), stored(revision, token));
            }
            Record::Topic(topic) => {
                self.topics
                    .insert(key.name.clone(), stored(revision, topic));
            }
            Record::TrafficMirrorFilter(record) => linked!(traffic_mirror_filters, record),
            Record::TrafficMirrorSession(record) => linked!(traffic_mirror_sessions, record),
            Record::TrafficMirrorTarget(record) => linked!(traffic_mirror_targets, record),
            Record::Volume(record) => linked!(volumes, record),
            Record::Vpc(vpc) => {
                links::set(&mut self.links, &vpc, true);
                self.vpcs.insert(vpc.id, stored(revision, vpc));
            }
        }
    }

    fn delete(&mut self, key: &Key) {
        let name = &key.name;
        macro_rules! linked {
            ($map:ident) => {{
                if let Some(record) = take(&mut self.$map, name) {
                    links::set(&mut self.links, &**record.record(), false);
                }
            }};
        }
        match key.kind {
            Kind::AddressLease => {
                if let Some(at) = lease_key(name)
                    && self.leases.remove(&at).is_some()
                {
                    self.leased.remove(at.0, at.1);
                }
            }
            Kind::Certificate => {
                if let Ok(id) = name.parse::<Uuid>() {
                    self.certificates.remove(&id);
                }
            }
            Kind::DhcpOptions => linked!(dhcp_options),
            Kind::EgressOnlyInternetGateway => linked!(egress_only_internet_gateways),
            Kind::ElasticIp => linked!(elastic_ips),
            Kind::FlowLog => linked!(flow_logs),
            Kind::InternetGateway => linked!(internet_gateways),
            Kind::Ipv6Lease => {
                if let Some(at) = lease_key(name) {
                    self.ipv6_leases.remove(&at);
                }
            }
            Kind::Ipv6PrefixLease => {
                if let Some(at) = lease_key(name) {
                    self.ipv6_prefix_leases.remove(&at);
                }
            }
            Kind::KeyPair => linked!(key_pairs),
            Kind::LaunchTemplate => linked!(launch_templates),
            Kind::LentInterface => linked!(lent_interfaces),
            Kind::Alarm => {
                self.alarms.remove(name);
            }
            Kind::AlarmAction => {
                self.alarm_actions.remove(name);
            }
            Kind::AlarmHistory => {
                self.alarm_history.remove(name);
            }
            Kind::AnomalyDetector => {
                self.anomaly_detectors.remove(name);
            }
            Kind::Dashboard => {
                self.dashboards.remove(name);
            }
            Kind::Listener => linked!(listeners),
            Kind::LoadBalancer => linked!(load_balancers),
            Kind::LogGroup => {
                self.log_groups.remove(name);
            }
            Kind::LogStream => {
                if let Some(at) = stream_key(name) {
                    self.log_streams.remove(&at);
                }
            }
            Kind::NameClaim => {
                self.names.remove(name);
            }
            Kind::NatGateway => linked!(nat_gateways),
            Kind::NetworkAcl => linked!(network_acls),
            Kind::NetworkInterfacePermission => linked!(network_interface_permissions),
            Kind::PrefixList => linked!(prefix_lists),
            Kind::PublicAddress => {
                if let Ok(address) = name.parse::<IpAddr>() {
                    self.public_addresses.remove(&address);
                }
            }
            Kind::RouteTable => linked!(route_tables),
            Kind::SubnetCidrReservation => linked!(subnet_cidr_reservations),
            Kind::VpcPeeringConnection => linked!(vpc_peering_connections),
            Kind::GroupName => {
                self.group_names.remove(name);
            }
            Kind::Instance => {
                if let Ok(id) = name.parse() {
                    self.instances.remove::<InstanceId>(&id);
                }
            }
            Kind::NetworkInterface => {
                let gone = name.parse().ok();
                if let Some(eni) = gone.and_then(|id: EniId| self.network_interfaces.remove(&id)) {
                    self.index_eni(&eni, false);
                }
            }
            Kind::Region => self.region = None,
            Kind::SecurityGroup => {
                let gone = name.parse().ok();
                if let Some(group) =
                    gone.and_then(|id: SecurityGroupId| self.security_groups.remove(&id))
                {
                    self.index_group(&group, false);
                    links::set(&mut self.links, &**group.record(), false);
                }
            }
            Kind::Subnet => {
                let gone = name.parse().ok();
                if let Some(subnet) = gone.and_then(|id: SubnetId| self.subnets.remove(&id)) {
                    self.subnets_by_vpc.remove(&(subnet.vpc, subnet.id));
                    links::set(&mut self.links, &**subnet.record(), false);
                }
            }
            Kind::Subscription => {
                self.subscriptions.remove(name);
            }
            Kind::Target => {
                if let Ok(at) = name.parse() {
                    self.delete_target(at);
                }
            }
            Kind::TargetGroup => linked!(target_groups),
            Kind::Token => {
                self.tokens.remove(name);
            }
            Kind::Topic => {
                self.topics.remove(name);
            }
            Kind::TrafficMirrorFilter => linked!(traffic_mirror_filters),
            Kind::TrafficMirrorSession => linked!(traffic_mirror_sessions),
            Kind::TrafficMirrorTarget => linked!(traffic_mirror_targets),
            Kind::Volume => linked!(volumes),
            Kind::Vpc => linked!(vpcs),
        }
    }

    fn index_eni(&mut self, eni: &NetworkInterface, present: bool) {
        fn set<T: Ord + Clone>(index: &mut OrdSet<T>, member: T, present: bool) {
            if present {
                index.insert(member);
            } else {
                index.remove(&member);
            }
        }
        set(&mut self.enis_by_subnet, (eni.subnet, eni.id), present);
        set(&mut self.enis_by_vpc, (eni.vpc, eni.id), present);
        if present {
            self.enis_by_term.insert(eni);
        } else {
            self.enis_by_term.remove(eni);
        }
        for group in &eni.groups {
            set(&mut self.enis_by_group, (*group, eni.id), present);
        }
        if let Some(attachment) = &eni.attachment {
            // An instance of another account finds it as lent.
            if let Some(instance) = attachment.own_instance() {
                let place = (attachment.network_card_index, attachment.device_index);
                let member = (instance, place.0, place.1, eni.id);
                set(&mut self.enis_by_instance, member, present);
            }
            if present {
                self.attachments.insert(attachment.id, eni.id);
            } else {
                self.attachments.remove(&attachment.id);
            }
        }
    }

    fn index_group(&mut self, group: &SecurityGroup, present: bool) {
        let member = (group.vpc, group.id);
        if present {
            self.groups_by_vpc.insert(member);
        } else {
            self.groups_by_vpc.remove(&member);
        }
        for rule in group.rules.values() {
            if present {
                self.rules.insert(rule.id, group.id);
            } else {
                self.rules.remove(&rule.id);
            }
            if let Peer::Group(peer) = rule.matcher.peer {
                if present {
                    self.referencing_groups.insert((peer, group.id));
                } else {
                    self.referencing_groups.remove(&(peer, group.id));
                }
            }
        }
    }
}

/// Removes the record that a key names.
fn take<K: Ord + Clone + FromStr, T>(
    map: &mut OrdMap<K, Stored<T>>,
    name: &str,
) -> Option<Stored<T>> {
    let id: K = name.parse().ok()?;
    map.remove(&id)
}

/// The members of an index's owner, from an id on.
fn from<O: Ord + Copy>(
    index: &OrdSet<(O, EniId)>,
    owner: O,
    first: EniId,
) -> impl Iterator<Item = EniId> + '_ {
    index
        .range((owner, first)..=(owner, EniId(u64::MAX)))
        .map(|(_, eni)| *eni)
}

/// The name part of the key of an address's lease, or of a prefix's by its first address.
#[must_use]
pub fn lease_name(subnet: SubnetId, address: impl Into<IpAddr>) -> Box<str> {
    format!("{subnet}/{}", address.into()).into()
}

fn lease_key<A: FromStr>(name: &str) -> Option<(SubnetId, A)> {
    let (subnet, address) = name.split_once('/')?;
    Some((subnet.parse().ok()?, address.parse().ok()?))
}

fn stream_key(name: &str) -> Option<(LogUid, Box<str>)> {
    let (group, name) = name.split_once('/')?;
    Some((group.parse().ok()?, name.into()))
}

#[cfg(test)]
mod tests;
