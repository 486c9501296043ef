//! What the tables say of small regions, case by case.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module"
)]

mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::id::{
    AttachmentId, EgressOnlyInternetGatewayId, EniId, InstanceId, InternetGatewayId, NatGatewayId,
    NetworkInterfacePermissionId, PrefixListId, VpcPeeringConnectionId,
};
use enid_model::key::{AccountId, Scope};
use enid_model::network_interface::InterfaceType;
use enid_model::network_interface_permission::{LentAttachment, LentInterface};
use enid_model::record::Record;
use enid_model::route_table::{RouteDestination, RouteTarget};
use enid_model::state::State;
use enid_pipeline::bytes::Addr;
use enid_pipeline::mirror::{MirrorFilter, MirrorRule};
use enid_pipeline::table::{
    EndpointKey, EniRecord, GATE_CLOSED, GATE_OPEN, Pool, PoolKey, Route, RouteKey, TABLE_BITS,
    trie_id,
};
use enid_plan::tables::Tables;
use enid_plan::{Planner, PublicPools};

use self::region::{apply, apply_in, first, net, scope};

fn plan(records: impl IntoIterator<Item = Record>) -> Tables {
    let mut state = State::default();
    for record in first().into_iter().chain(records) {
        apply(&mut state, record, true);
    }
    let mut planner = Planner::new(BTreeMap::new());
    planner.advance(Arc::new(state));
    planner.tables()
}

fn addr(text: &str) -> Addr {
    let addr: IpAddr = text.parse().expect("an address");
    Addr::from(addr)
}

/// The route of a table to exactly this block: kind and target.
fn route(tables: &Tables, table: u64, block: &str) -> Option<(u32, u64)> {
    let block = net(block);
    let bits = if block.addr().is_ipv4() { 96 } else { 0 };
    let prefix_len = bits + u32::from(block.prefix_len());
    let key = RouteKey {
        prefix_len: TABLE_BITS + prefix_len,
        table: trie_id(table),
        addr: Addr::from(block.network()),
    };
    let found = tables.routes.get(&key)?;
    assert_eq!(found.prefix_len, prefix_len);
    Some((found.kind, found.target))
}

fn table(routes: &[(&str, RouteTarget)]) -> Record {
    let routes = routes
        .iter()
        .map(|(block, target)| (RouteDestination::Cidr(net(block)), *target));
    region::route_table(3, routes.collect())
}

const IGW: RouteTarget = RouteTarget::InternetGateway(InternetGatewayId(1));
const TO_ENI: RouteTarget = RouteTarget::NetworkInterface(EniId(3));
const LOCAL: Option<(u32, u64)> = Some((Route::LOCAL, 0));
const BLACKHOLE: Option<(u32, u64)> = Some((Route::BLACKHOLE, 0));

#[test]
fn every_block_of_a_vpc_has_a_local_route_in_each_of_its_tables() {
    let tables = plan([region::vpc(1, true, true, 1), table(&[])]);
    for id in [1, 3] {
        for block in ["10.0.0.0/16", "10.101.0.0/16", "2001:db8:0:100::/56"] {
            assert_eq!(route(&tables, id, block), LOCAL, "{id} {block}");
        }
        assert_eq!(route(&tables, id, "10.1.0.0/16"), None);
    }
    assert_eq!(route(&tables, 2, "10.1.0.0/16"), LOCAL);
}

#[test]
fn a_route_to_a_whole_block_replaces_the_local_one_and_a_part_does_not() {
    let running = [
        Record::NetworkInterface(region::eni(3, Some(1), 7)),
        region::instance(1, true),
    ];
    let whole = table(&[("10.0.0.0/16", TO_ENI)]);
    let tables = plan(running.clone().into_iter().chain([whole]));
    assert_eq!(route(&tables, 3, "10.0.0.0/16"), Some((Route::ENI, 3)));
    let part = table(&[("10.0.1.0/24", TO_ENI)]);
    let tables = plan(running.into_iter().chain([part]));
    assert_eq!(route(&tables, 3, "10.0.0.0/16"), LOCAL);
    assert_eq!(route(&tables, 3, "10.0.1.0/24"), Some((Route::ENI, 3)));
}

#[test]
fn a_route_is_a_blackhole_without_its_target() {
    let everywhere = |target| table(&[("0.0.0.0/0", target)]);
    let to = |target, records: Vec<Record>| {
        let tables = plan(records.into_iter().chain([everywhere(target)]));
        route(&tables, 3, "0.0.0.0/0")
    };
    let gateway = |vpc| region::internet_gateway(1, vpc);
    assert_eq!(
        to(IGW, vec![gateway(Some(1))]),
        Some((Route::INTERNET_GATEWAY, 1))
    );
    for records in [vec![gateway(None)], vec![gateway(Some(2))], vec![]] {
        assert_eq!(to(IGW, records), BLACKHOLE);
    }

    let eni = || Record::NetworkInterface(region::eni(3, Some(1), 7));
    let running = vec![eni(), region::instance(1, true)];
    assert_eq!(to(TO_ENI, running), Some((Route::ENI, 3)));
    let detached = Record::NetworkInterface(region::eni(3, None, 7));
    let down = [
        vec![],
        vec![detached, region::instance(1, true)],
        vec![eni(), region::instance(1, false)],
    ];
    for records in down {
        assert_eq!(to(TO_ENI, records), BLACKHOLE);
    }

    let nat = RouteTarget::NatGateway(NatGatewayId(1));
    let available = region::nat_gateway(1, 3, false, 1);
    assert_eq!(to(nat, vec![available]), Some((Route::NAT_GATEWAY, 1)));
    assert_eq!(to(nat, vec![region::nat_gateway(1, 3, true, 1)]), BLACKHOLE);

    let peer = RouteTarget::VpcPeeringConnection(VpcPeeringConnectionId(1));
    for turned in [true, false] {
        let active = region::peering(1, true, turned);
        assert_eq!(to(peer, vec![active]), Some((Route::PEERING, 2)));
    }
    assert_eq!(to(peer, vec![region::peering(1, false, false)]), BLACKHOLE);
}

#[test]
fn an_ipv6_route_for_everything_is_none_for_ipv4() {
    let eigw = RouteTarget::EgressOnlyInternetGateway(EgressOnlyInternetGatewayId(1));
    let gateway = || region::egress_only(1, 1);
    let tables = plan([gateway(), table(&[("::/0", eigw)])]);
    assert_eq!(route(&tables, 3, "::/0"), Some((Route::EGRESS_ONLY, 1)));
    assert_eq!(route(&tables, 3, "0.0.0.0/0"), Some((0, 0)));
    // It gives way to a route of one's own, and no prefix below it reaches IPv4.
    let own = table(&[("::/0", eigw), ("0.0.0.0/0", IGW)]);
    let tables = plan([gateway(), region::internet_gateway(1, Some(1)), own]);
    let igw = Some((Route::INTERNET_GATEWAY, 1));
    assert_eq!(route(&tables, 3, "0.0.0.0/0"), igw);
    let tables = plan([gateway(), table(&[("::ffff:10.9.0.0/112", eigw)])]);
    assert_eq!(route(&tables, 3, "10.9.0.0/16"), None);
}

#[test]
fn a_block_beats_the_same_block_of_a_list_and_the_lower_list_the_higher() {
    let lists = |ids: &[u64]| -> Vec<Record> {
        let blocks = BTreeSet::from([0, 5]);
        ids.iter()
            .map(|id| region::prefix_list(*id, &blocks))
            .collect()
    };
    let gateway = || region::internet_gateway(1, Some(1));
    let to_list = |id| RouteDestination::PrefixList(PrefixListId(id));
    let dead = RouteTarget::NatGateway(NatGatewayId(2));
    let routes = BTreeMap::from([(to_list(1), IGW), (to_list(2), dead)]);
    let own = region::route_table(3, routes.clone());
    let tables = plan(lists(&[1, 2]).into_iter().chain([gateway(), own]));
    let igw = Some((Route::INTERNET_GATEWAY, 1));
    assert_eq!(route(&tables, 3, "10.5.0.0/16"), igw);
    assert_eq!(route(&tables, 3, "10.0.0.0/16"), LOCAL);

    let mut routes = routes;
    routes.insert(RouteDestination::Cidr(net("10.5.0.0/16")), dead);
    let own = region::route_table(3, routes);
    let tables = plan(lists(&[1, 2]).into_iter().chain([gateway(), own]));
    assert_eq!(route(&tables, 3, "10.5.0.0/16"), BLACKHOLE);
}

#[test]
fn a_subnet_has_its_own_table_and_acl_or_the_vpcs() {
    let tables = plan([region::subnet(1, true, Some(3), 3)]);
    let own = tables.subnets[&1];
    assert_eq!((own.route_table, own.acl), (3, 3));
    assert_eq!(own.router_v6, addr("2001:db8:0:101::1"));
    // An ACL that is nowhere lets nothing pass; the default one of an old region everything.
    assert_eq!(own.acl_egress, GATE_CLOSED);
    let main = tables.subnets[&2];
    assert_eq!((main.route_table, main.acl), (1, 1));
    assert_eq!((main.acl_egress, main.acl_ingress), (GATE_OPEN, GATE_OPEN));
    assert_eq!(main.router_v6, Addr::UNSPECIFIED);
}

#[test]
fn an_acl_opens_by_its_first_entry_of_each_family() {
    let gates = |entries: &[(bool, u16, bool, u8)], has_ipv6| {
        let vpc = region::vpc(1, false, has_ipv6, 1);
        let subnet = region::subnet(1, false, None, 3);
        let tables = plan([vpc, subnet, region::acl(3, entries)]);
        let subnet = tables.subnets[&1];
        let has_rules = |gate| tables.gate_rules.keys().any(|key| key.gate == gate);
        (
            subnet.acl_egress == GATE_OPEN,
            has_rules(subnet.acl_egress),
            subnet.acl_ingress,
        )
    };
    let all_v4 = (true, 2, true, 0);
    let no_v4 = (true, 1, false, 0);
    let all_v6 = (true, 3, true, 1);
    assert_eq!(gates(&[all_v4], false), (true, false, GATE_CLOSED));
    assert_eq!(gates(&[all_v4], true), (false, true, GATE_CLOSED));
    assert_eq!(gates(&[all_v4, all_v6], true), (true, false, GATE_CLOSED));
    assert_eq!(gates(&[no_v4, all_v4], false), (false, true, GATE_CLOSED));
}

#[test]
fn public_addresses_need_an_internet_gateway() {
    let mut given = region::eni(3, Some(1), 7);
    given.public_address = Some("198.18.1.3".parse().expect("an address"));
    let records = |vpc| {
        [
            region::instance(1, true),
            Record::NetworkInterface(given.clone()),
            region::internet_gateway(1, vpc),
            region::elastic_ip(1, Some((3, 7))),
            // Of an address that the interface does not have.
            region::elastic_ip(2, Some((3, 8))),
        ]
    };
    let tables = plan(records(Some(1)));
    let private = EndpointKey {
        vpc: 1,
        addr: addr("10.0.1.7"),
    };
    let target = |public| tables.publics.get(&addr(public)).map(|it| it.private);
    assert_eq!(target("198.18.0.1"), Some(private.addr));
    assert_eq!(target("198.18.1.3"), Some(private.addr));
    assert_eq!(target("198.18.0.2"), None);
    assert_eq!(tables.public_of[&private].addr, addr("198.18.0.1"));
    for vpc in [None, Some(2)] {
        let tables = plan(records(vpc));
        assert!(tables.publics.is_empty() && tables.public_of.is_empty());
    }
}

#[test]
fn a_nat_gateway_and_its_interface_are_there_while_it_is() {
    let mut eni = region::eni(3, None, 7);
    eni.interface_type = InterfaceType::NatGateway;
    let records = |is_deleted| {
        [
            Record::NetworkInterface(eni.clone()),
            region::nat_gateway(1, 3, is_deleted, 2),
        ]
    };
    let tables = plan(records(false));
    let nat = tables.nats[&1];
    assert_eq!((nat.eni, nat.count, nat.flags), (3, 2, 0));
    assert_eq!(nat.private[..3], [[10, 0, 1, 0], [10, 0, 1, 1], [0; 4]]);
    let record = tables.enis[&3];
    // It has no security groups: in their place stands whose interface it is.
    assert_eq!((record.policy, record.ifindex), (1, 0));
    assert_ne!(record.flags & EniRecord::NAT_GATEWAY, 0);
    let tables = plan(records(true));
    assert!(tables.nats.is_empty() && tables.enis.is_empty() && tables.endpoints.is_empty());
}

#[test]
fn timeouts_of_an_interface_are_its_own() {
    let mut eni = region::eni(3, Some(1), 7);
    eni.connection_tracking.udp_timeout = Some(60);
    let tables = plan([region::instance(1, true), Record::NetworkInterface(eni)]);
    let record = tables.enis[&3];
    assert_eq!((record.udp_s, record.udp_stream_s), (60, 180));
    assert_eq!(record.tcp_established_s, 432_000);
}

#[test]
fn what_is_in_a_pool_is_known_and_the_host_is_outside() {
    let pools = PublicPools {
        ipv4: "198.18.32.0/19".parse().expect("a block"),
        ipv6: "2001:db8:100::/40".parse().expect("a block"),
    };
    let mut state = State::default();
    let vpc = region::vpc(1, false, true, 1);
    apply(&mut state, vpc, true);
    apply(&mut state, region::internet_gateway(1, Some(1)), true);
    let mut planner = Planner::new(BTreeMap::new()).with_outside(&pools);
    planner.advance(Arc::new(state));
    let tables = planner.tables();
    let pool = |prefix_len, text| {
        let addr = addr(text);
        tables.pools.get(&PoolKey { prefix_len, addr }).copied()
    };
    let of = |vpc, flags| {
        Some(Pool {
            vpc,
            flags,
            edge: 0,
        })
    };
    assert_eq!(pool(96 + 19, "198.18.32.0"), of(0, 0));
    assert_eq!(pool(128, "198.18.32.1"), of(0, Pool::HOST));
    assert_eq!(pool(40, "2001:db8:100::"), of(0, 0));
    assert_eq!(pool(128, "2001:db8:100::1"), of(0, Pool::HOST));
    assert_eq!(pool(56, "2001:db8:0:100::"), of(1, Pool::INTERNET_GATEWAY));
    assert_eq!(tables.pools.len(), 5);
}

#[test]
fn sessions_are_in_the_record_of_their_source_in_their_order() {
    let eni = |id, instance| Record::NetworkInterface(region::eni(id, instance, 4 + small(id)));
    let filters = [
        region::mirror_filter(1, true, &[(true, true, Some(7)), (false, false, None)]),
        region::mirror_filter(2, false, &[]),
    ];
    let records = [
        region::instance(1, true),
        eni(1, Some(1)),
        eni(2, None),
        region::mirror_target(1, 2),
        region::mirror_target(2, 4),
        region::mirror_session(1, 1, 1, 2),
        region::mirror_session(2, 1, 1, 1),
        // Its target's interface is gone: it copies nothing, and the next one is asked.
        region::mirror_session(3, 1, 2, 1),
    ];
    let tables = plan(records.into_iter().chain(filters));
    let record = tables.mirrors[&1];
    assert_eq!(record.count, 2);
    let [first, second, none] = record.sessions;
    assert_eq!(
        (first.filter, first.vni, first.packet_length),
        (1, 1002, 80)
    );
    assert_eq!(
        (second.filter, second.vni, second.packet_length),
        (2, 1001, 0)
    );
    assert_eq!(none, Default::default());
    assert_eq!(first.target, [10, 1, 3, 6]);
    assert_eq!(record.source, [10, 0, 2, 5]);
    assert_ne!(tables.enis[&1].flags & EniRecord::MIRRORED, 0);
    let filter = tables.mirror_filters[&1];
    assert_eq!((filter.egress_count, filter.ingress_count), (1, 1));
    assert_eq!(filter.flags, MirrorFilter::AMAZON_DNS);
    let [udp, any] = [filter.egress[0], filter.ingress[0]];
    assert_eq!(udp.flags, MirrorRule::ACCEPT | MirrorRule::TARGET_PORTS);
    assert_eq!((udp.protocol, udp.target_ports), (17, [7, 16]));
    assert_eq!(any.flags, MirrorRule::ANY_PROTOCOL);
    assert_eq!(
        (udp.target, udp.target_mask),
        (addr("10.0.0.0"), Addr::v6(MASK))
    );
    // Without an attachment nothing is copied, and nothing watched.
    let detached = plan([eni(1, None), eni(2, None), region::mirror_target(1, 2)]);
    assert!(detached.mirrors.is_empty());
}

/// Eight bits of an IPv4 address, and all that say that it is one.
const MASK: [u8; 16] = {
    let mut mask = [0xff; 16];
    mask[13] = 0;
    mask[14] = 0;
    mask[15] = 0;
    mask
};

fn small(id: u64) -> u8 {
    u8::try_from(id).expect("few ids")
}

/// An interface that is lent to the instance of another account, which has the id of an instance of the
/// owner's.
#[test]
fn a_lent_interface_follows_the_instance_of_the_borrower() {
    let borrower = Scope {
        account: AccountId(2),
        ..scope()
    };
    let mut state = State::default();
    let own = [table(&[("0.0.0.0/0", TO_ENI)]), region::instance(1, true)];
    let primary = Record::NetworkInterface(region::eni(4, Some(1), 9));
    for record in first().into_iter().chain(own).chain([primary]) {
        apply(&mut state, record, true);
    }
    let mut planner = Planner::new(BTreeMap::new());
    let mut look = |state: &State| {
        planner.advance(Arc::new(state.clone()));
        let mut fresh = Planner::new(BTreeMap::new());
        fresh.advance(Arc::new(state.clone()));
        assert_eq!(planner.tables(), fresh.tables());
        assert_eq!(planner.devices(), fresh.devices());
        assert_eq!(planner.instances(), fresh.instances());
        let device = planner.device(EniId(3));
        (
            device.map(|device| (device.instance, device.vpc)),
            route(&planner.tables(), 3, "0.0.0.0/0"),
        )
    };
    let mut eni = region::eni(3, Some(7), 7);
    let vpc = eni.vpc;
    assert_eq!(look(&state), (None, BLACKHOLE));

    let attachment = eni.attachment.as_mut().expect("it is attached");
    attachment.instance_owner = Some(borrower.account);
    let lent = LentInterface {
        id: eni.id,
        owner: scope().account,
        permission: Some(NetworkInterfacePermissionId(1)),
        attachment: Some(LentAttachment {
            id: AttachmentId(3),
            instance: InstanceId(7),
        }),
    };
    apply(&mut state, Record::NetworkInterface(eni.clone()), true);
    let lent = Record::LentInterface(lent);
    apply_in(&mut state, borrower.clone(), lent.clone(), true);
    let stopped = region::instance(7, false);
    apply_in(&mut state, borrower.clone(), stopped, true);
    assert_eq!(look(&state), (None, BLACKHOLE));
    let running = region::instance(7, true);
    apply_in(&mut state, borrower.clone(), running, true);
    let there = (Some((InstanceId(7), vpc)), Some((Route::ENI, 3)));
    assert_eq!(look(&state), there);
    // An instance of the owner's with the same id is another one.
    apply(&mut state, region::instance(7, false), true);
    assert_eq!(look(&state), there);
    eni.attachment = None;
    apply(&mut state, Record::NetworkInterface(eni), true);
    apply_in(&mut state, borrower, lent, false);
    assert_eq!(look(&state), (None, BLACKHOLE));
}
