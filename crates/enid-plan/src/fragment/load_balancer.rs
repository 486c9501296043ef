//! A load balancer: where the new flows of its listeners go, and what becomes of those that are there. Its
//! nodes' interfaces are owners of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enid_model::id::ResourceId as _;
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_model::target::{HealthState, Target, TargetKey as Key};
use enid_model::target_group::{BalancedProtocol, TargetGroup};
use enid_pipeline::balancer::{
    CHUNK, ListenerKey, ListenerRecord, Member, MemberKey, SHARES_MAX, Share, Slots, SlotsKey,
    TargetKey, TargetRecord,
};
use enid_pipeline::bytes::{Addr, Be16};
use enid_pipeline::table::protocol;
use sha2::{Digest as _, Sha256};

use crate::maglev;
use crate::tables::Tables;
use crate::target_health::considered;

/// A load balancer with all its listeners. `before` is what there was of it, of which Maglev tables are taken
/// over: each is a function of its id.
pub(crate) fn of_load_balancer(
    region: &RegionState,
    balancer: &LoadBalancer,
    before: Option<&Tables>,
) -> Tables {
    let mut tables = Tables::default();
    let listeners = region.listeners_of_load_balancer(balancer.id);
    let listeners: Vec<_> = listeners
        .filter_map(|id| region.listeners.get(&id))
        .collect();
    let forwards = listeners.iter().flat_map(|listener| &listener.forward);
    let groups: BTreeSet<_> = forwards.map(|forward| forward.group).collect();
    // What the nodes choose from, by group and zone.
    let mut choices = BTreeMap::new();
    for id in groups {
        let Some(group) = region.target_groups.get(&id) else {
            continue;
        };
        let mut chosen = BTreeSet::new();
        for zone in &balancer.zones {
            let seen = considered(region, balancer, group, &zone.zone);
            chosen.extend(seen.taken.iter().map(|target| target.key));
            let mut targets: Vec<_> = seen
                .taken
                .iter()
                .map(|target| record_of(region, group, target))
                .collect();
            targets.sort_unstable_by_key(bytes_of);
            targets.dedup();
            targets.truncate(maglev::TARGETS_MAX);
            let table = add_table(&mut tables, balancer, &targets, before);
            choices.insert((id, &zone.zone), (table, seen.is_fail_open));
        }
        add_members(&mut tables, region, group, &chosen);
    }
    for listener in listeners {
        for zone in &balancer.zones {
            let choice = |share: &mut Share, group: &TargetGroup| {
                let found = choices.get(&(group.id, &zone.zone));
                let (table, is_fail_open) = found.copied().unwrap_or_default();
                share.table = table;
                if is_fail_open {
                    share.flags |= Share::FAIL_OPEN;
                }
            };
            let ipv6 = zone.ipv6.map(IpAddr::V6);
            for address in ipv6.into_iter().chain([IpAddr::V4(zone.private_ip)]) {
                for number in protocols_of(listener.protocol) {
                    let mut record = listener_of(region, listener, *number, address, choice);
                    if address.is_ipv6() && balancer.denies_ipv6_internet() {
                        record.flags |= ListenerRecord::NO_INTERNET;
                    }
                    let key = ListenerKey {
                        node: zone.eni.bits(),
                        port: Be16::new(listener.port),
                        protocol: *number,
                        is_v6: address.is_ipv6().into(),
                        pad: [0; 4],
                    };
                    tables.listeners.insert(key, record);
                }
            }
        }
    }
    tables
}

/// The IP protocols that nodes carry for a listener.
const fn protocols_of(own: BalancedProtocol) -> &'static [u8] {
    match own {
        BalancedProtocol::Tcp | BalancedProtocol::Tls => &[protocol::TCP],
        BalancedProtocol::TcpUdp => &[protocol::TCP, protocol::UDP],
        BalancedProtocol::Udp => &[protocol::UDP],
    }
}

/// A listener as a node has it for one protocol at its address of one family: with the groups of that family. If
/// it leads to none, connections are the proxy's, which takes those of the other family, and datagrams go nowhere.
fn listener_of(
    region: &RegionState,
    listener: &Listener,
    number: u8,
    address: IpAddr,
    choice: impl Fn(&mut Share, &TargetGroup),
) -> ListenerRecord {
    let is_tcp = number == protocol::TCP;
    let mut record = ListenerRecord {
        shares: [Share::default(); SHARES_MAX],
        count: 0,
        weights: 0,
        idle_s: u32::from(listener.tcp_idle_timeout_s),
        flags: if is_tcp && region.is_proxied(listener, address.is_ipv6()) {
            ListenerRecord::DELIVERED
        } else {
            0
        },
        address: Addr::from(address),
    };
    if listener.has_sticky_groups() {
        record.flags |= ListenerRecord::STICKY;
    }
    let groups = listener.forward.iter().filter_map(|forward| {
        let group = region.target_groups.get(&forward.group)?;
        Some((forward, group))
    });
    let is_translated = is_tcp && region.is_translated(listener, address.is_ipv6());
    let is_own = |group: &TargetGroup| group.is_ipv6() == address.is_ipv6();
    let groups = groups.filter(|(_, group)| is_translated || is_own(group));
    // The control plane allows at most five groups, the length of the array.
    for (share, (forward, group)) in record.shares.iter_mut().zip(groups) {
        record.weights += u32::from(forward.weight);
        record.count += 1;
        share.group = group.id.bits();
        share.below = record.weights;
        let attributes = &group.attributes;
        if attributes.preserve_client_ip {
            share.flags |= Share::PRESERVES;
        }
        if attributes.is_sticky {
            share.flags |= Share::STICKY;
        }
        if attributes.connection_termination {
            record.flags |= ListenerRecord::FORGETS;
        }
        choice(share, group);
    }
    record
}

/// A target as the tables have it: in the VPC of the interface that has its address.
fn record_of(region: &RegionState, group: &TargetGroup, target: &Target) -> TargetRecord {
    let vpc = region.target_eni(target).map_or(group.vpc, |eni| eni.vpc);
    TargetRecord {
        vpc: vpc.bits(),
        address: Addr::from(target.address),
        port: Be16::new(target.key.port),
        pad: [0; 6],
    }
}

/// What tells targets apart.
fn bytes_of(target: &TargetRecord) -> [u8; 26] {
    let mut bytes = [0; 26];
    bytes[..8].copy_from_slice(&target.vpc.to_be_bytes());
    bytes[8..24].copy_from_slice(&target.address.octets());
    bytes[24..].copy_from_slice(&target.port.bytes());
    bytes
}

/// Adds the Maglev table of targets, which are sorted, and gives its id; 0 if there are none.
fn add_table(
    tables: &mut Tables,
    balancer: &LoadBalancer,
    targets: &[TargetRecord],
    before: Option<&Tables>,
) -> u64 {
    if targets.is_empty() {
        return 0;
    }
    let names: Vec<_> = targets.iter().map(bytes_of).collect();
    let mut hash = Sha256::new();
    // No other load balancer has a table of this id, so that each owns its own.
    hash.update(balancer.id.bits().to_be_bytes());
    for name in &names {
        hash.update(name);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    let table = u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1);
    let first = TargetKey {
        table,
        number: 0,
        pad: 0,
    };
    if tables.balancer_targets.contains_key(&first) {
        // Another zone's node chooses from the same targets.
        return table;
    }
    for (number, target) in (0..).zip(targets) {
        let key = TargetKey { number, ..first };
        tables.balancer_targets.insert(key, *target);
    }
    let first = SlotsKey {
        table,
        chunk: 0,
        pad: 0,
    };
    let last = SlotsKey {
        chunk: u32::MAX,
        ..first
    };
    let known = before.map(|before| before.balancer_slots.range(first..=last));
    let known: Vec<_> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        let known = known.into_iter().map(|(key, slots)| (*key, *slots));
        tables.balancer_slots.extend(known);
        return table;
    }
    let names: Vec<&[u8]> = names.iter().map(<[u8; 26]>::as_slice).collect();
    let slots = maglev::table(&names);
    for (chunk, part) in (0..).zip(slots.chunks(CHUNK as usize)) {
        let mut value = Slots([0; CHUNK as usize]);
        for (slot, number) in value.0.iter_mut().zip(part) {
            *slot = *number;
        }
        let key = SlotsKey { chunk, ..first };
        tables.balancer_slots.insert(key, value);
    }
    table
}

/// Says what becomes of the flows that the targets of a group have. Those of an unhealthy target end, unless
/// the group says otherwise or a node still chooses it. `chosen` are the targets that new flows go to.
fn add_members(
    tables: &mut Tables,
    region: &RegionState,
    group: &TargetGroup,
    chosen: &BTreeSet<Key>,
) {
    let ends = group.attributes.unhealthy_connection_termination && group.protocol.has_tcp();
    for target in region.targets_of_group(group.id) {
        let key = MemberKey {
            group: group.id.bits(),
            address: Addr::from(target.address),
            port: Be16::new(target.key.port),
            pad: [0; 6],
        };
        let is_unhealthy = matches!(target.health.state, HealthState::Unhealthy(_));
        let is_over = ends && is_unhealthy && !chosen.contains(&target.key);
        let flags = if is_over { Member::ENDS } else { 0 };
        // An instance and its address may both be targets: the flows go on as long as either wants them.
        let member = tables
            .balancer_members
            .entry(key)
            .or_insert(Member { flags });
        member.flags &= flags;
    }
}
