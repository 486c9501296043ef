//! A planner that took many states holds what one that took only the last of them holds, and the
//! differences that it gave lead from the first tables to the last.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use enid_model::Tags;
use enid_model::id::{
    AttachmentId, DhcpOptionsId, EniId, InstanceId, NetworkAclId, ReservationId, RouteTableId,
    SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcCidrAssociationId, VpcId,
};
use enid_model::instance::{DesiredState, Instance, Recorded};
use enid_model::key::{AccountId, Key, RegionName, Scope};
use enid_model::network_interface::{Attachment, Mac, NetworkInterface};
use enid_model::record::Record;
use enid_model::security_group::{Direction, Matcher, Peer, Rule, SecurityGroup, Service};
use enid_model::state::{Revision, State};
use enid_model::subnet::Subnet;
use enid_model::time::Timestamp;
use enid_model::vpc::Vpc;
use enid_plan::Planner;
use enid_plan::tables::Tables;
use proptest::prelude::*;

/// One change of the region, over a few ids so that changes meet each other.
#[derive(Debug, Clone)]
enum Step {
    Attach {
        eni: u64,
        instance: Option<u64>,
        groups: BTreeSet<u64>,
        host: u8,
    },
    DeleteEni(u64),
    Group {
        id: u64,
        rules: Vec<(bool, u16, Option<u64>)>,
    },
    DeleteGroup(u64),
    Instance {
        id: u64,
        running: bool,
    },
    DeleteInstance(u64),
    Subnet(bool),
    Vpc(bool),
    Bind {
        eni: u64,
        ifindex: Option<u32>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let groups = proptest::collection::btree_set(1..4_u64, 1..3);
    let rule = (any::<bool>(), 0..5_u16, proptest::option::of(1..4_u64));
    prop_oneof![
        4 => (1..5_u64, proptest::option::of(1..3_u64), groups, 4..9_u8).prop_map(
            |(eni, instance, groups, host)| Step::Attach { eni, instance, groups, host }
        ),
        1 => (1..5_u64).prop_map(Step::DeleteEni),
        3 => (1..4_u64, proptest::collection::vec(rule, 0..4))
            .prop_map(|(id, rules)| Step::Group { id, rules }),
        1 => (1..4_u64).prop_map(Step::DeleteGroup),
        2 => (1..3_u64, any::<bool>()).prop_map(|(id, running)| Step::Instance { id, running }),
        1 => (1..3_u64).prop_map(Step::DeleteInstance),
        1 => any::<bool>().prop_map(Step::Subnet),
        1 => any::<bool>().prop_map(Step::Vpc),
        2 => (1..5_u64, proptest::option::of(0..4_u32))
            .prop_map(|(eni, ifindex)| {
                // A device is one interface's.
                let own = u32::try_from(eni).expect("few interfaces") * 10;
                Step::Bind { eni, ifindex: ifindex.map(|ifindex| own + ifindex) }
            }),
    ]
}

fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    }
}

fn net(text: &str) -> ipnet::Ipv4Net {
    text.parse().expect("a literal block")
}

fn put(state: &mut State, name: String, record: Record) {
    let key = Key {
        scope: scope(),
        kind: record.kind(),
        name: name.into(),
    };
    let revision = Revision(state.revision.0 + 1);
    state.apply(revision, &key, Some(record));
}

fn delete(state: &mut State, name: String, like: &Record) {
    let key = Key {
        scope: scope(),
        kind: like.kind(),
        name: name.into(),
    };
    let revision = Revision(state.revision.0 + 1);
    state.apply(revision, &key, None);
}

fn vpc() -> Record {
    Record::Vpc(Vpc {
        secondary_cidrs: Vec::new(),
        ipv6_cidrs: Vec::new(),
        main_route_table_association: Default::default(),
        network_address_usage_metrics: false,
        id: VpcId(1),
        cidr: net("10.0.0.0/16"),
        cidr_association: VpcCidrAssociationId(1),
        is_default: false,
        default_group: SecurityGroupId(1),
        main_route_table: RouteTableId(1),
        default_network_acl: NetworkAclId(1),
        dhcp_options: Some(DhcpOptionsId(1)),
        enable_dns_support: true,
        enable_dns_hostnames: false,
        tags: Tags::new(),
    })
}

fn subnet() -> Record {
    Record::Subnet(Subnet {
        ipv6_cidr: None,
        route_table: None,
        network_acl: Default::default(),
        attributes: Default::default(),
        id: SubnetId(1),
        vpc: VpcId(1),
        cidr: net("10.0.1.0/24"),
        zone: "eu-west-1a".to_owned(),
        zone_id: "euw1-az1".to_owned(),
        default_for_az: false,
        tags: Tags::new(),
    })
}

fn eni(id: u64, instance: Option<u64>, groups: &BTreeSet<u64>, host: u8) -> Record {
    let attachment = instance.map(|instance| Attachment {
        id: AttachmentId(id),
        instance: InstanceId(instance),
        device_index: u8::try_from(id).expect("few interfaces"),
        network_card_index: 0,
        attach_time: Timestamp(0),
        delete_on_termination: true,
    });
    Record::NetworkInterface(NetworkInterface {
        ipv4_prefixes: Vec::new(),
        ipv6_addresses: Vec::new(),
        ipv6_prefixes: Vec::new(),
        primary_ipv6: false,
        public_address: None,
        associate_public_address: false,
        connection_tracking: Default::default(),
        interface_type: Default::default(),
        id: EniId(id),
        subnet: SubnetId(1),
        vpc: VpcId(1),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        description: String::new(),
        groups: groups.iter().copied().map(SecurityGroupId).collect(),
        addresses: vec![Ipv4Addr::new(10, 0, 1, host)],
        source_dest_check: true,
        requester_id: None,
        attachment,
        tags: Tags::new(),
    })
}

fn group(id: u64, rules: &[(bool, u16, Option<u64>)]) -> Record {
    let rules = (1..).zip(rules).map(|(number, (egress, port, peer))| {
        let direction = if *egress {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let peer = peer.map_or(Peer::Ipv4(net("10.0.0.0/8")), |id| {
            Peer::Group(SecurityGroupId(id))
        });
        let service = Service::Tcp {
            from: *port,
            to: *port,
        };
        let rule = Rule {
            id: SecurityGroupRuleId(id * 100 + number),
            matcher: Matcher {
                direction,
                service,
                peer,
            },
            description: None,
            tags: Tags::new(),
        };
        (rule.id, rule)
    });
    Record::SecurityGroup(SecurityGroup {
        associated_vpcs: Default::default(),
        id: SecurityGroupId(id),
        vpc: VpcId(1),
        name: format!("group-{id}"),
        description: String::new(),
        rules: rules.collect(),
        tags: Tags::new(),
    })
}

fn instance(id: u64, running: bool) -> Record {
    Record::Instance(Instance {
        disable_api_stop: false,
        id: InstanceId(id),
        reservation: ReservationId(1),
        launch_index: 0,
        image: "ami-00000000000000001".to_owned(),
        instance_type: "t3.micro".to_owned(),
        vpc: VpcId(1),
        subnet: SubnetId(1),
        zone: "eu-west-1a".to_owned(),
        desired: if running {
            DesiredState::Running
        } else {
            DesiredState::Stopped
        },
        boot: 1,
        launch_time: Timestamp(0),
        state_reason: None,
        transition_time: None,
        user_data: None,
        disable_api_termination: false,
        terminate_on_shutdown: false,
        client_token: None,
        recorded: Recorded::default(),
        tags: Tags::new(),
    })
}

fn take(state: &mut State, bound: &mut BTreeMap<EniId, u32>, step: &Step) {
    match step {
        Step::Attach {
            eni: id,
            instance,
            groups,
            host,
        } => {
            // As the leases have it, an address is one interface's. It can move in one commit.
            let region = state.region(&scope()).cloned();
            let others = region
                .iter()
                .flat_map(|region| region.network_interfaces.values());
            for other in others.filter(|other| other.id != EniId(*id)) {
                if other.addresses == [Ipv4Addr::new(10, 0, 1, *host)] {
                    let own = 100 + u8::try_from(other.id.0).expect("few interfaces");
                    let mut loser = NetworkInterface::clone(other);
                    loser.addresses = vec![Ipv4Addr::new(10, 0, 1, own)];
                    put(state, other.id.to_string(), Record::NetworkInterface(loser));
                }
            }
            put(
                state,
                EniId(*id).to_string(),
                eni(*id, *instance, groups, *host),
            );
        }
        Step::DeleteEni(id) => {
            let like = eni(*id, None, &BTreeSet::new(), 4);
            delete(state, EniId(*id).to_string(), &like);
        }
        Step::Group { id, rules } => {
            put(state, SecurityGroupId(*id).to_string(), group(*id, rules));
        }
        Step::DeleteGroup(id) => {
            delete(state, SecurityGroupId(*id).to_string(), &group(*id, &[]));
        }
        Step::Instance { id, running } => {
            put(state, InstanceId(*id).to_string(), instance(*id, *running));
        }
        Step::DeleteInstance(id) => {
            delete(state, InstanceId(*id).to_string(), &instance(*id, false));
        }
        Step::Subnet(true) => put(state, SubnetId(1).to_string(), subnet()),
        Step::Subnet(false) => delete(state, SubnetId(1).to_string(), &subnet()),
        Step::Vpc(true) => put(state, VpcId(1).to_string(), vpc()),
        Step::Vpc(false) => delete(state, VpcId(1).to_string(), &vpc()),
        Step::Bind { eni, ifindex } => {
            match ifindex {
                Some(ifindex) => bound.insert(EniId(*eni), *ifindex),
                None => bound.remove(&EniId(*eni)),
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_way_does_not_matter(steps in proptest::collection::vec(step(), 1..60)) {
        let mut state = State::default();
        let mut bound = BTreeMap::new();
        put(&mut state, VpcId(1).to_string(), vpc());
        put(&mut state, SubnetId(1).to_string(), subnet());
        let mut planner = Planner::new(BTreeMap::new());
        let mut kernel = Tables::default();
        kernel.apply(&planner.advance(Arc::new(state.clone())).tables);
        for step in &steps {
            take(&mut state, &mut bound, step);
            let diff = match step {
                Step::Bind { eni, ifindex } => planner.bind(EniId(*eni), *ifindex),
                _ => planner.advance(Arc::new(state.clone())).tables,
            };
            kernel.apply(&diff);
        }
        let mut fresh = Planner::new(bound);
        fresh.advance(Arc::new(state));
        prop_assert_eq!(planner.tables(), fresh.tables());
        prop_assert_eq!(&kernel, &fresh.tables());
        prop_assert_eq!(planner.devices(), fresh.devices());
        prop_assert_eq!(planner.instances(), fresh.instances());
    }
}
