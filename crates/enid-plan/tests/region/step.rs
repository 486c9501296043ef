//! Changes of the small region, at random: few ids, so that changes meet.

use std::net::Ipv4Addr;

use enid_model::id::{
    EgressOnlyInternetGatewayId, EniId, InternetGatewayId, NatGatewayId, PrefixListId,
    SecurityGroupId, VpcPeeringConnectionId,
};
use enid_model::network_interface::InterfaceType;
use enid_model::record::Record;
use enid_model::route_table::{RouteDestination, RouteTarget};
use enid_model::security_group::Peer;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::{
    acl, dhcp_options, egress_only, elastic_ip, eni, group, instance, internet_gateway,
    mirror_filter, mirror_session, mirror_target, nat_gateway, net, peering, prefix_list,
    route_table, small, subnet, v4, vpc,
};

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A device of an interface comes (`Some`) or goes.
    Bind {
        /// The interface.
        eni: u64,
        /// The device's index.
        ifindex: Option<u32>,
    },
    /// Somebody captures at an interface (`Some`), or no more.
    Capture {
        /// The interface.
        eni: u64,
        /// How much of each packet.
        snaplen: Option<u32>,
    },
    /// The record that this one is a version of goes.
    Delete(Box<Record>),
    /// A record comes, or changes to this.
    Put(Box<Record>),
}

/// Any change.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let put = |record: Record| Step::Put(Box::new(record));
    prop_oneof![
        12 => record().prop_map(put),
        2 => record().prop_map(|record| Step::Delete(Box::new(record))),
        1 => (1..5_u64, option::of(0..4_u32)).prop_map(|(eni, ifindex)| {
            // A device is one interface's.
            let own = u32::try_from(eni).expect("few interfaces") * 10;
            Step::Bind { eni, ifindex: ifindex.map(|ifindex| own + ifindex) }
        }),
        1 => (1..5_u64, option::of(60..62_u32))
            .prop_map(|(eni, snaplen)| Step::Capture { eni, snaplen }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        4 => any_eni(),
        2 => (1..4_u64, vec((any::<bool>(), 0..5_u16, peer()), 0..4))
            .prop_map(|(id, rules)| group(id, &rules)),
        2 => (1..3_u64, any::<bool>()).prop_map(|(id, running)| instance(id, running)),
        2 => (1..4_u64, any::<bool>(), option::of(1..4_u64), 0..4_u64)
            .prop_map(|(id, ipv6, table, acl)| subnet(id, ipv6, table, acl)),
        2 => (1..3_u64, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(id, more, ipv6, other)| {
                let main = if other && id == 1 { 3 } else { id };
                vpc(id, more, ipv6, main)
            }),
        3 => (1..4_u64, btree_map(destination(), target(), 0..5))
            .prop_map(|(id, routes)| route_table(id, routes)),
        2 => (1..4_u64, vec((any::<bool>(), 1..5_u16, any::<bool>(), 0..3_u8), 0..4))
            .prop_map(|(id, entries)| acl(id, &entries)),
        2 => (1..3_u64, option::of(1..3_u64)).prop_map(|(id, vpc)| internet_gateway(id, vpc)),
        1 => (1..3_u64, 1..3_u64).prop_map(|(id, vpc)| egress_only(id, vpc)),
        2 => (1..3_u64, 1..5_u64, any::<bool>(), 1..4_u8)
            .prop_map(|(id, eni, is_deleted, count)| nat_gateway(id, eni, is_deleted, count)),
        2 => (1..4_u64, option::of((1..5_u64, 4..9_u8)))
            .prop_map(|(id, association)| elastic_ip(id, association)),
        1 => (1..3_u64, any::<bool>(), any::<bool>())
            .prop_map(|(id, is_active, turned)| peering(id, is_active, turned)),
        1 => (1..3_u64, btree_set(0..6_u8, 0..4)).prop_map(|(id, blocks)| prefix_list(id, &blocks)),
        1 => (1..3_u64, any::<bool>()).prop_map(|(id, own)| dhcp_options(id, own)),
        1 => (1..3_u64, 1..5_u64).prop_map(|(id, eni)| mirror_target(id, eni)),
        1 => (1..3_u64, any::<bool>(), vec((any::<bool>(), any::<bool>(), option::of(1..3_u16)), 0..3))
            .prop_map(|(id, dns, rules)| mirror_filter(id, dns, &rules)),
        2 => (1..4_u64, 1..5_u64, 1..3_u64, 1..3_u64)
            .prop_map(|(id, eni, target, filter)| mirror_session(id, eni, target, filter)),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(Peer::Ipv4(v4("10.0.0.0/8"))),
        (1..4_u64).prop_map(|id| Peer::Group(SecurityGroupId(id))),
        (1..3_u64).prop_map(|id| Peer::PrefixList(PrefixListId(id))),
    ]
}

fn destination() -> impl Strategy<Value = RouteDestination> {
    let blocks = [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/16",
        "10.0.1.0/24",
        "2001:db8:0:100::/56",
    ];
    prop_oneof![
        (0..blocks.len()).prop_map(move |at| RouteDestination::Cidr(net(blocks[at]))),
        (1..3_u64).prop_map(|id| RouteDestination::PrefixList(PrefixListId(id))),
    ]
}

fn target() -> impl Strategy<Value = RouteTarget> {
    (0..5_u8, 1..5_u64).prop_map(|(kind, id)| match kind {
        0 => RouteTarget::NetworkInterface(EniId(id)),
        1 => RouteTarget::InternetGateway(InternetGatewayId(1 + id % 2)),
        2 => RouteTarget::NatGateway(NatGatewayId(1 + id % 2)),
        3 => RouteTarget::VpcPeeringConnection(VpcPeeringConnectionId(1 + id % 2)),
        _ => RouteTarget::EgressOnlyInternetGateway(EgressOnlyInternetGatewayId(1 + id % 2)),
    })
}

fn any_eni() -> impl Strategy<Value = Record> {
    let place = (1..5_u64, option::of(1..3_u64), 4..9_u8);
    let groups = btree_set(1..4_u64, 1..3);
    let has = any::<[bool; 5]>();
    (place, groups, has).prop_map(|((id, instance, host), groups, has)| {
        let mut eni = eni(id, instance, host);
        let [is_of_nat, has_ipv6, has_prefix, has_public, is_checked] = has;
        eni.groups = groups.into_iter().map(SecurityGroupId).collect();
        if is_of_nat && instance.is_none() {
            eni.interface_type = InterfaceType::NatGateway;
        }
        let (subnet, vpc) = (eni.subnet.0, eni.vpc.0);
        if has_prefix {
            let prefix = format!("10.{}.{subnet}.{}/28", vpc - 1, 16 * (id + 1));
            eni.ipv4_prefixes.push(v4(&prefix));
        }
        if has_ipv6 {
            let ipv6 = format!("2001:db8:0:{vpc}0{subnet}::{id}");
            eni.ipv6_addresses.push(ipv6.parse().expect("an address"));
        }
        eni.public_address = has_public.then(|| Ipv4Addr::new(198, 18, 1, small(id)));
        eni.source_dest_check = is_checked;
        Record::NetworkInterface(eni)
    })
}
