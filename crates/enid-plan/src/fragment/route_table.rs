//! A route table: the local routes of its VPC, and its own with the present state of their targets.

use std::net::Ipv6Addr;

use enid_model::id::{ResourceId as _, RouteTableId, VpcId};
use enid_model::key::Scope;
use enid_model::route_table::{RouteDestination, RouteTarget};
use enid_model::state::State;
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::PeeringStatus;
use enid_pipeline::bytes::Addr;
use enid_pipeline::table::{Route, RouteKey, TABLE_BITS, trie_id};
use ipnet::{IpNet, Ipv4Net};

use crate::gate::{address_bits, is_ipv4_mapped};
use crate::instances::device_spec;
use crate::tables::Tables;

/// A route table with all its routes. A VPC of the first version has a main table without a record: it
/// has the local routes.
pub(crate) fn of_route_table(state: &State, scope: &Scope, id: RouteTableId) -> Option<Tables> {
    let region = state.region(scope)?;
    let record = region.route_tables.get(&id);
    let vpc = match record {
        Some(record) => region.vpcs.get(&record.vpc)?,
        None => {
            let mut vpcs = region.vpcs.values();
            vpcs.find(|vpc| vpc.main_route_table == id)?
        }
    };
    let mut tables = Tables::default();
    let mut add = |block: IpNet, (kind, target): (u32, u64)| {
        if is_ipv4_mapped(&block) {
            return;
        }
        let prefix_len = address_bits(&block);
        let key = RouteKey {
            prefix_len: TABLE_BITS + prefix_len,
            table: trie_id(id.bits()),
            addr: Addr::from(block.network()),
        };
        let route = Route {
            target,
            kind,
            prefix_len,
        };
        tables.routes.insert(key, route);
    };
    // Least first, what comes later replaces it: no route to IPv4 through an IPv6 prefix that holds
    // all of it, the blocks of prefix lists, the local routes, and the table's own routes to a block.
    let own = record.map_or(&[][..], |record| &record.routes);
    let mut is_ipv6_wide = false;
    let mut of_lists = Vec::new();
    let mut of_blocks = Vec::new();
    for route in own {
        let to = target(state, scope, vpc, route.target);
        match route.destination {
            RouteDestination::Cidr(block) => of_blocks.push((block, to)),
            RouteDestination::PrefixList(list) => {
                let found = region.prefix_lists.get(&list);
                let blocks = found.iter().flat_map(|list| list.entries());
                of_lists.extend(blocks.map(|entry| (list, entry.cidr, to)));
            }
        }
    }
    // AWS chooses among lists with the same block as it likes, but always the same: here the lowest id.
    of_lists.sort_by_key(|(list, ..)| std::cmp::Reverse(*list));
    let of_lists = of_lists.into_iter().map(|(_, block, to)| (block, to));
    let local = vpc.cidrs().map(|block| (block, (Route::LOCAL, 0)));
    let all: Vec<(IpNet, (u32, u64))> = of_lists.chain(local).chain(of_blocks).collect();
    for (block, _) in &all {
        is_ipv6_wide |= matches!(block, IpNet::V6(wide) if wide.contains(&MAPPED));
    }
    if is_ipv6_wide {
        add(IpNet::V4(Ipv4Net::default()), (Route::NONE, 0));
    }
    for (block, to) in all {
        add(block, to);
    }
    Some(tables)
}

/// The first address of those that stand for IPv4 addresses.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);

/// Where a route leads at present.
fn target(state: &State, scope: &Scope, vpc: &Vpc, target: RouteTarget) -> (u32, u64) {
    let Some(region) = state.region(scope) else {
        return (Route::BLACKHOLE, 0);
    };
    let way = match target {
        RouteTarget::EgressOnlyInternetGateway(id) => {
            let gateway = region.egress_only_internet_gateways.get(&id);
            let is_there = gateway.is_some_and(|gateway| gateway.vpc == vpc.id);
            is_there.then_some((Route::EGRESS_ONLY, id.bits()))
        }
        RouteTarget::InternetGateway(id) => {
            let gateway = region.internet_gateways.get(&id);
            let is_attached = gateway.is_some_and(|gateway| gateway.vpc == Some(vpc.id));
            is_attached.then_some((Route::INTERNET_GATEWAY, id.bits()))
        }
        RouteTarget::NatGateway(id) => {
            let gateway = region.nat_gateways.get(&id);
            let is_available = gateway.is_some_and(|gateway| gateway.is_available());
            is_available.then_some((Route::NAT_GATEWAY, id.bits()))
        }
        RouteTarget::NetworkInterface(id) => {
            let eni = region.network_interfaces.get(&id);
            let runs = eni.is_some_and(|eni| device_spec(state, scope, eni).is_some());
            runs.then_some((Route::ENI, id.bits()))
        }
        RouteTarget::VpcPeeringConnection(id) => {
            let connection = region.vpc_peering_connections.get(&id);
            let connection = connection.filter(|it| it.status == PeeringStatus::Active);
            connection
                .and_then(|it| other_side(vpc.id, [it.requester.vpc, it.accepter.vpc]))
                .filter(|other| region.vpcs.contains_key(other))
                .map(|other| (Route::PEERING, other.bits()))
        }
    };
    way.unwrap_or((Route::BLACKHOLE, 0))
}

fn other_side(own: VpcId, sides: [VpcId; 2]) -> Option<VpcId> {
    match sides {
        [a, b] if a == own => Some(b),
        [a, b] if b == own => Some(a),
        _ => None,
    }
}
