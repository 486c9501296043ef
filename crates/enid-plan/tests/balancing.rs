//! Load balancers in the plan: what nodes choose from, and that the way to a state does not matter.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module"
)]

mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enid_model::Tags;
use enid_model::id::{
    EniId, InstanceId, ListenerId, LoadBalancerId, SubnetId, TargetGroupId, TargetUid, VpcId,
};
use enid_model::listener::{Forward, Listener};
use enid_model::load_balancer::{
    IpAddressType, LoadBalancer, LoadBalancerAttributes, LoadBalancerZone, Scheme,
};
use enid_model::network_interface::InterfaceType;
use enid_model::record::Record;
use enid_model::state::State;
use enid_model::target::{HealthFailure, HealthState, Target, TargetHealth, TargetId, TargetKey};
use enid_model::target_group::{
    BalancedProtocol, HealthCheck, HealthCheckProtocol, StatusCodes, TargetGroup,
    TargetGroupAttributes, TargetGroupIpAddressType, TargetType,
};
use enid_model::time::Timestamp;
use enid_pipeline::balancer::{self, ListenerRecord, Member, SLOTS, Share};
use enid_pipeline::table::EniRecord;
use enid_plan::Planner;
use enid_plan::fault::Fault;
use enid_plan::tables::Tables;
use proptest::prelude::*;

use self::region::{apply, eni, first, instance};

const ZONE: &str = "eu-west-1a";
const NODE: u64 = 9;
const UNHEALTHY: HealthState = HealthState::Unhealthy(HealthFailure::Timeout);

/// The load balancer, with a node in subnet 1.
fn load_balancer(crosses: bool) -> Record {
    Record::LoadBalancer(LoadBalancer {
        id: LoadBalancerId(1),
        name: "lb".to_owned(),
        vpc: VpcId(1),
        scheme: Scheme::Internal,
        ip_address_type: IpAddressType::Ipv4,
        zones: vec![LoadBalancerZone {
            zone: ZONE.to_owned(),
            subnet: SubnetId(1),
            eni: EniId(NODE),
            private_ip: Ipv4Addr::new(10, 0, 1, 99),
            ipv6: None,
            is_ipv6_chosen: false,
            public: None,
            is_private_ip_chosen: false,
        }],
        security_groups: Vec::new(),
        attributes: LoadBalancerAttributes {
            cross_zone: crosses,
            ..LoadBalancerAttributes::default()
        },
        create_time: Timestamp(0),
        tags: Tags::new(),
    })
}

/// The interface of its node.
fn node() -> Record {
    let mut node = eni(NODE, None, 99);
    node.interface_type = InterfaceType::NetworkLoadBalancer;
    node.subnet = SubnetId(1);
    node.vpc = VpcId(1);
    node.groups.clear();
    node.addresses = vec![Ipv4Addr::new(10, 0, 1, 99)];
    Record::NetworkInterface(node)
}

fn group(id: u64, attributes: TargetGroupAttributes) -> Record {
    Record::TargetGroup(TargetGroup {
        id: TargetGroupId(id),
        name: format!("group-{id}"),
        protocol: BalancedProtocol::Tcp,
        port: 8080,
        vpc: VpcId(1),
        target_type: TargetType::Ip,
        ip_address_type: TargetGroupIpAddressType::Ipv4,
        health_check: HealthCheck {
            protocol: HealthCheckProtocol::Tcp,
            port: None,
            path: "/".to_owned(),
            interval_s: 30,
            timeout_s: 10,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: StatusCodes::usual(),
        },
        attributes,
        create_time: Timestamp(0),
        tags: Tags::new(),
    })
}

fn listener(id: u64, protocol: BalancedProtocol, forward: &[(u64, u16)]) -> Record {
    let forward = forward.iter().map(|(group, weight)| Forward {
        group: TargetGroupId(*group),
        weight: *weight,
    });
    Record::Listener(Listener {
        id: ListenerId(id),
        order: None,
        load_balancer: LoadBalancerId(1),
        protocol,
        port: 80 + u16::try_from(id).expect("few ids"),
        forward: forward.collect(),
        stickiness: None,
        tcp_idle_timeout_s: 350,
        tls: None,
        tags: Tags::new(),
    })
}

fn target(group: u64, host: u8, zone: Option<&str>, state: HealthState, drains: bool) -> Record {
    let address = IpAddr::from([10, 0, 1, host]);
    let id = match host {
        1..=2 => TargetId::Instance(InstanceId(host.into())),
        _ => TargetId::Ip(address),
    };
    Record::Target(Target {
        key: TargetKey {
            group: TargetGroupId(group),
            id,
            port: 8080,
        },
        uid: TargetUid(1),
        address,
        zone: zone.map(str::to_owned),
        is_zone_chosen: false,
        registered_at: Timestamp(0),
        draining_until: drains.then_some(Timestamp(1)),
        health: TargetHealth {
            state,
            since: Timestamp(0),
        },
    })
}

fn state_of(records: impl IntoIterator<Item = Record>) -> State {
    let mut state = State::default();
    for record in first().into_iter().chain(records) {
        apply(&mut state, record, true);
    }
    state
}

fn plan_of(records: impl IntoIterator<Item = Record>) -> Tables {
    let mut planner = Planner::new(BTreeMap::new());
    planner.advance(Arc::new(state_of(records)));
    planner.tables()
}

/// The last bytes of the addresses that a share's table leads to.
fn hosts(tables: &Tables, share: &Share) -> BTreeSet<u8> {
    let of_table = |key: u64| key == share.table;
    let slots = tables
        .balancer_slots
        .iter()
        .filter(|(key, _)| of_table(key.table));
    let numbers: Vec<u16> = slots.flat_map(|(_, slots)| slots.0).collect();
    let used: BTreeSet<u16> = numbers.into_iter().take(SLOTS as usize).collect();
    let numbers = used.into_iter().map(|number| balancer::TargetKey {
        table: share.table,
        number: number.into(),
        pad: 0,
    });
    numbers
        .map(|key| tables.balancer_targets[&key].address.v4_octets()[3])
        .collect()
}

fn only_listener(tables: &Tables) -> ListenerRecord {
    let mut records = tables.listeners.values();
    let record = *records.next().expect("a listener");
    assert!(records.all(|other| *other == record));
    record
}

/// A listener with a group of these targets.
fn with_targets(targets: impl IntoIterator<Item = Record>, crosses: bool) -> Tables {
    let own = [
        node(),
        load_balancer(crosses),
        group(1, TargetGroupAttributes::default()),
        listener(1, BalancedProtocol::Tcp, &[(1, 1)]),
    ];
    plan_of(own.into_iter().chain(targets))
}

#[test]
fn nodes_choose_among_the_healthy_ones_of_their_zone() {
    let here = |host, state| target(1, host, Some(ZONE), state, false);
    let healthy = HealthState::Healthy;
    let all = || {
        [
            here(5, healthy),
            here(6, healthy),
            here(7, UNHEALTHY),
            here(8, HealthState::Initial),
            target(1, 9, Some("eu-west-1b"), healthy, false),
            target(1, 10, Some(ZONE), healthy, true),
        ]
    };
    let tables = with_targets(all(), false);
    let record = only_listener(&tables);
    assert_eq!(hosts(&tables, &record.shares[0]), BTreeSet::from([5, 6]));
    assert_eq!(record.shares[0].flags, Share::PRESERVES);
    assert_eq!(
        tables.enis[&NODE].flags & EniRecord::BALANCER,
        EniRecord::BALANCER
    );
    // Whatever becomes of it, each is known, and the flows of the unhealthy one end.
    let ends: BTreeSet<u8> = tables
        .balancer_members
        .iter()
        .filter(|(_, member)| member.flags & Member::ENDS != 0)
        .map(|(key, _)| key.address.v4_octets()[3])
        .collect();
    assert_eq!(
        (tables.balancer_members.len(), ends),
        (6, BTreeSet::from([7]))
    );
    // Zones that the load balancer has no node in are used by nobody.
    let tables = with_targets(all(), true);
    assert_eq!(
        hosts(&tables, &only_listener(&tables).shares[0]),
        BTreeSet::from([5, 6])
    );
}

#[test]
fn where_nobody_is_healthy_all_are_chosen_and_no_flow_ends() {
    let all = [5, 6].map(|host| target(1, host, Some(ZONE), UNHEALTHY, false));
    let tables = with_targets(all, false);
    let share = only_listener(&tables).shares[0];
    assert_eq!(hosts(&tables, &share), BTreeSet::from([5, 6]));
    assert_eq!(share.flags, Share::PRESERVES | Share::FAIL_OPEN);
    assert!(
        tables
            .balancer_members
            .values()
            .all(|member| member.flags == 0)
    );
    let tables = with_targets([], false);
    assert_eq!(only_listener(&tables).shares[0].table, 0);
}

#[test]
fn a_fault_is_in_the_records_of_what_it_stops_and_goes_again() {
    let mut planner = Planner::new(BTreeMap::new());
    let records = [
        instance(1, true),
        Record::NetworkInterface(eni(1, Some(1), 5)),
        node(),
    ];
    planner.advance(Arc::new(state_of(records)));
    let before = planner.tables();
    let stopped = |faults: &[Fault]| {
        let mut planner = Planner::new(BTreeMap::new());
        let records = [
            instance(1, true),
            Record::NetworkInterface(eni(1, Some(1), 5)),
            node(),
        ];
        planner.advance(Arc::new(state_of(records)));
        let mut kernel = planner.tables();
        kernel.apply(&planner.set_faults(faults.iter().cloned().collect()));
        assert_eq!(kernel, planner.tables());
        let enis = kernel.enis.iter();
        let faulty = enis.filter(|(_, eni)| eni.flags & EniRecord::FAULTY != 0);
        let faulty: Vec<u64> = faulty.map(|(id, _)| *id).collect();
        kernel.apply(&planner.set_faults(BTreeSet::new()));
        assert_eq!(kernel, before);
        faulty
    };
    assert_eq!(stopped(&[Fault::Zone(ZONE.to_owned())]), [1, NODE]);
    assert_eq!(stopped(&[Fault::Instance(InstanceId(1))]), [1]);
    assert_eq!(stopped(&[Fault::Interface(EniId(NODE))]), [NODE]);
    assert_eq!(stopped(&[Fault::Zone("eu-west-1b".to_owned())]), [0; 0]);
}

fn any_record() -> impl Strategy<Value = Record> {
    let state = prop_oneof![
        Just(HealthState::Healthy),
        Just(HealthState::Initial),
        Just(UNHEALTHY)
    ];
    prop_oneof![
        1 => any::<bool>().prop_map(load_balancer),
        1 => Just(node()),
        2 => (1..3_u64, any::<bool>(), any::<bool>()).prop_map(|(id, ends, keeps)| {
            group(id, TargetGroupAttributes {
                connection_termination: ends,
                preserve_client_ip: keeps,
                ..TargetGroupAttributes::default()
            })
        }),
        2 => (1..3_u64, prop_oneof![Just(BalancedProtocol::Tcp), Just(BalancedProtocol::TcpUdp)],
                proptest::collection::btree_map(1..3_u64, 0..3_u16, 1..3))
            .prop_map(|(id, protocol, forward)| {
                let forward: Vec<_> = forward.into_iter().collect();
                listener(id, protocol, &forward)
            }),
        6 => (1..3_u64, 1..5_u8, any::<bool>(), state, any::<bool>())
            .prop_map(|(group, host, is_here, state, drains)| {
                let zone = if is_here { ZONE } else { "eu-west-1b" };
                target(group, host, Some(zone), state, drains)
            }),
        2 => (1..3_u64, any::<bool>()).prop_map(|(id, runs)| instance(id, runs)),
        2 => (1..4_u64, proptest::option::of(1..3_u64), 1..5_u8)
            .prop_map(|(id, instance, host)| Record::NetworkInterface(eni(id, instance, host))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_way_does_not_matter(
        steps in proptest::collection::vec((any_record(), proptest::bool::weighted(0.8)), 1..40),
    ) {
        // From the beginning there is something to change.
        let mut state = state_of([
            node(),
            load_balancer(true),
            group(1, TargetGroupAttributes::default()),
            listener(1, BalancedProtocol::Tcp, &[(1, 1)]),
        ]);
        let mut planner = Planner::new(BTreeMap::new());
        planner.advance(Arc::new(state.clone()));
        let mut kernel = planner.tables();
        for (record, is_there) in steps {
            apply(&mut state, record, is_there);
            kernel.apply(&planner.advance(Arc::new(state.clone())).tables);
        }
        let mut fresh = Planner::new(BTreeMap::new());
        fresh.advance(Arc::new(state));
        prop_assert_eq!(planner.nodes(), fresh.nodes());
        prop_assert!(planner.tables() == fresh.tables(), "{:?}", fresh.tables().diff(&planner.tables()).describe());
        prop_assert!(kernel == fresh.tables());
    }
}

#[test]
fn each_family_has_the_groups_of_its_own() {
    let mut balancer = load_balancer(false);
    if let Record::LoadBalancer(own) = &mut balancer {
        own.ip_address_type = IpAddressType::Dualstack;
        own.zones[0].ipv6 = Some(Ipv6Addr::LOCALHOST);
    }
    let mut wide = group(2, TargetGroupAttributes::default());
    if let Record::TargetGroup(own) = &mut wide {
        own.ip_address_type = TargetGroupIpAddressType::Ipv6;
    }
    let tables = plan_of([
        node(),
        balancer,
        group(1, TargetGroupAttributes::default()),
        wide,
        listener(1, BalancedProtocol::Tcp, &[(1, 1), (2, 3)]),
        listener(2, BalancedProtocol::Tcp, &[(1, 1)]),
        listener(3, BalancedProtocol::Tls, &[(1, 1), (2, 3)]),
        listener(4, BalancedProtocol::Tls, &[(1, 1)]),
    ]);
    let told: Vec<_> = tables
        .listeners
        .iter()
        .map(|(key, record)| {
            let groups = record.shares.iter().take(record.count as usize);
            let groups: Vec<u64> = groups.map(|share| share.group).collect();
            (key.port.value(), key.is_v6, groups, record.weights)
        })
        .collect();
    let wanted = [
        (81, 0, vec![1], 1),
        (81, 1, vec![2], 3),
        (82, 0, vec![1], 1),
        // Connections by the other family are the proxy's.
        (82, 1, vec![1], 1),
        (83, 0, vec![1], 1),
        (83, 1, vec![2], 3),
        (84, 0, vec![1], 1),
        (84, 1, vec![1], 1),
    ];
    assert_eq!(told, wanted);
    // An internal one is closed to the internet by IPv6.
    for (key, record) in &tables.listeners {
        let is_closed = record.flags & ListenerRecord::NO_INTERNET != 0;
        assert_eq!(is_closed, key.is_v6 == 1);
        assert_eq!(record.address.is_v4(), key.is_v6 == 0);
    }
}
