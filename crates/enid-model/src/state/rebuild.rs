//! A region's indexes made anew from its records: what they must be.

use super::{RegionState, Stored, lease_name};
use crate::key::{AccountId, Key, Kind, RegionName, Scope};
use crate::log_group::{LogUid, log_stream_key};
use crate::record::Record;

impl RegionState {
    /// The names of the indexes that are not what the records say. There are none, unless
    /// something is wrong with how indexes follow records.
    #[must_use]
    pub fn stale_indexes(&self) -> Vec<&'static str> {
        let rebuilt = self.rebuilt();
        let mut stale = Vec::new();
        macro_rules! compare {
            ($($index:ident)+) => {$(
                if self.$index != rebuilt.$index {
                    stale.push(stringify!($index));
                }
            )+};
        }
        compare! {
            attachments enis_by_group enis_by_instance enis_by_subnet enis_by_term enis_by_vpc
            groups_by_vpc leased links referencing_groups rules subnets_by_vpc targets_by_address
        }
        stale
    }

    /// The same records, put into an empty state one by one.
    fn rebuilt(&self) -> Self {
        // Named one by one, so that a new map or index is not forgotten here.
        let Self {
            region,
            certificates,
            dhcp_options,
            egress_only_internet_gateways,
            elastic_ips,
            flow_logs,
            leases,
            ipv6_leases,
            ipv6_prefix_leases,
            group_names,
            instances,
            internet_gateways,
            key_pairs,
            launch_templates,
            lent_interfaces,
            listeners,
            load_balancers,
            alarms,
            alarm_actions,
            alarm_history,
            anomaly_detectors,
            dashboards,
            log_groups,
            log_streams,
            names,
            nat_gateways,
            network_acls,
            network_interfaces,
            network_interface_permissions,
            prefix_lists,
            public_addresses,
            route_tables,
            security_groups,
            subnet_cidr_reservations,
            subnets,
            subscriptions,
            target_groups,
            targets,
            tokens,
            topics,
            traffic_mirror_filters,
            traffic_mirror_sessions,
            traffic_mirror_targets,
            volumes,
            vpcs,
            vpc_peering_connections,
            attachments: _,
            enis_by_group: _,
            enis_by_instance: _,
            enis_by_subnet: _,
            enis_by_term: _,
            enis_by_vpc: _,
            groups_by_vpc: _,
            leased: _,
            links: _,
            referencing_groups: _,
            rules: _,
            subnets_by_vpc: _,
            targets_by_address: _,
            surroundings: _,
        } = self;
        let mut rebuilt = Self::default();
        macro_rules! put {
            ($($map:ident: $record:ident($name:expr);)+) => {$(
                for (at, stored) in $map {
                    rebuilt.put_again(Kind::$record, $name(at), stored, Record::$record);
                }
            )+};
        }
        put! {
            certificates: Certificate(text);
            dhcp_options: DhcpOptions(text);
            egress_only_internet_gateways: EgressOnlyInternetGateway(text);
            elastic_ips: ElasticIp(text);
            flow_logs: FlowLog(text);
            leases: AddressLease(|(subnet, address): &(_, _)| lease_name(*subnet, *address));
            ipv6_leases: Ipv6Lease(|(subnet, address): &(_, _)| lease_name(*subnet, *address));
            ipv6_prefix_leases: Ipv6PrefixLease(|(subnet, first): &(_, _)| lease_name(*subnet, *first));
            group_names: GroupName(text);
            instances: Instance(text);
            internet_gateways: InternetGateway(text);
            key_pairs: KeyPair(text);
            launch_templates: LaunchTemplate(text);
            lent_interfaces: LentInterface(text);
            listeners: Listener(text);
            load_balancers: LoadBalancer(text);
            alarms: Alarm(text);
            alarm_actions: AlarmAction(text);
            alarm_history: AlarmHistory(text);
            anomaly_detectors: AnomalyDetector(text);
            dashboards: Dashboard(text);
            log_groups: LogGroup(text);
            log_streams: LogStream(|(group, name): &(LogUid, Box<str>)| log_stream_key(*group, name).into());
            names: NameClaim(text);
            nat_gateways: NatGateway(text);
            network_acls: NetworkAcl(text);
            network_interfaces: NetworkInterface(text);
            network_interface_permissions: NetworkInterfacePermission(text);
            prefix_lists: PrefixList(text);
            public_addresses: PublicAddress(text);
            route_tables: RouteTable(text);
            security_groups: SecurityGroup(text);
            subnet_cidr_reservations: SubnetCidrReservation(text);
            subnets: Subnet(text);
            subscriptions: Subscription(text);
            target_groups: TargetGroup(text);
            targets: Target(text);
            tokens: Token(text);
            topics: Topic(text);
            traffic_mirror_filters: TrafficMirrorFilter(text);
            traffic_mirror_sessions: TrafficMirrorSession(text);
            traffic_mirror_targets: TrafficMirrorTarget(text);
            volumes: Volume(text);
            vpcs: Vpc(text);
            vpc_peering_connections: VpcPeeringConnection(text);
        }
        rebuilt.region.clone_from(region);
        rebuilt
    }

    fn put_again<T: Clone>(
        &mut self,
        kind: Kind,
        name: Box<str>,
        stored: &Stored<T>,
        record: fn(T) -> Record,
    ) {
        // Where the region is makes no difference to its indexes.
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new(""),
        };
        let key = Key { scope, kind, name };
        self.put(stored.revision, &key, record(T::clone(stored)));
    }
}

fn text(name: &impl ToString) -> Box<str> {
    name.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EniId, SubnetId, VpcId};

    #[test]
    fn an_index_that_is_not_what_the_records_say_is_named() {
        let mut region = RegionState::default();
        assert_eq!(region.stale_indexes(), Vec::<&str>::new());
        region.enis_by_vpc.insert((VpcId(1), EniId(1)));
        region.leased.insert(SubnetId(1), [10, 0, 0, 4].into());
        assert_eq!(region.stale_indexes(), ["enis_by_vpc", "leased"]);
    }
}
