//! A network interface: its record, its private addresses, and the public ones that stand for them.

use std::net::Ipv4Addr;

use enid_model::id::{EniId, ResourceId as _};
use enid_model::instance::Instance;
use enid_model::instance_type::InstanceType;
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::state::RegionState;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    Endpoint, EndpointKey, EniRecord, GROUPS_MAX, MacKey, PrefixKey, PublicOf, PublicRecord,
    TABLE_BITS, trie_id,
};
use ipnet::IpNet;

use super::{edge_table, has_internet_gateway, mirror};
use crate::gate::address_bits;
use crate::tables::Tables;

/// Idle timeouts in seconds where neither an interface nor its instance's type says others: TCP established,
/// UDP, UDP stream. Source: EC2 User Guide, connection tracking.
const TIMEOUTS_S: [u32; 3] = [432_000, 30, 180];

/// An interface: its record and its addresses. Without a device it is known, but not reached. Its
/// instance may be of another region than its owner's.
pub(crate) fn of_eni(
    region: &RegionState,
    eni: &NetworkInterface,
    instance: Option<&Instance>,
    policy: u64,
    ifindex: Option<u32>,
    is_metered: bool,
) -> Tables {
    let mut tables = Tables::default();
    let mut record = record_of(eni, instance, policy);
    if eni.interface_type == InterfaceType::NatGateway {
        // It has no security groups; packets that come to it count for its gateway.
        let mut gateways = region.nat_gateways_of_eni(eni.id);
        record.policy = gateways.next().map_or(0, |gateway| gateway.bits());
    }
    if is_metered && record.instance != 0 {
        record.flags |= EniRecord::METERED;
    }
    tables.enis.insert(eni.id.bits(), record);
    let endpoint = Endpoint { eni: eni.id.bits() };
    let key = |addr| EndpointKey {
        vpc: eni.vpc.bits(),
        addr,
    };
    let mac_key = MacKey {
        vpc: eni.vpc.bits(),
        mac: Mac(eni.mac.0),
        pad: [0; 2],
    };
    tables.macs.insert(mac_key, endpoint);
    for address in &eni.addresses {
        tables.endpoints.insert(key(Addr::from(*address)), endpoint);
    }
    for address in &eni.ipv6_addresses {
        let addr = Addr::v6(address.octets());
        tables.endpoints.insert(key(addr), endpoint);
    }
    let ipv4_prefixes = eni.ipv4_prefixes.iter().copied().map(IpNet::V4);
    let ipv6_prefixes = eni.ipv6_prefixes.iter().copied().map(IpNet::V6);
    for prefix in ipv4_prefixes.chain(ipv6_prefixes) {
        let key = PrefixKey {
            prefix_len: TABLE_BITS + address_bits(&prefix),
            vpc: trie_id(eni.vpc.bits()),
            addr: Addr::from(prefix.network()),
        };
        tables.prefixes.insert(key, endpoint);
    }
    let mut is_public = false;
    if has_internet_gateway(region, eni.vpc) {
        for (public, private) in publics(region, eni) {
            let record = PublicRecord {
                vpc: eni.vpc.bits(),
                eni: eni.id.bits(),
                private: Addr::from(private),
                edge: edge_table(region, eni.vpc),
            };
            is_public = true;
            let public = Addr::from(public);
            tables.publics.insert(public, record);
            let of = PublicOf { addr: public };
            tables.public_of.insert(key(Addr::from(private)), of);
        }
    }
    if is_public {
        record.flags |= EniRecord::PUBLIC;
    }
    tables.enis.insert(eni.id.bits(), record);
    mirror::add_sessions(&mut tables, region, eni);
    rebind(&mut tables, eni.id, ifindex);
    tables
}

/// Whether an interface is that of a NAT gateway which packets go through.
pub(crate) fn is_of_nat_gateway(region: &RegionState, eni: &NetworkInterface) -> bool {
    if eni.interface_type != InterfaceType::NatGateway {
        return false;
    }
    let mut gateways = region
        .nat_gateways_of_eni(eni.id)
        .filter_map(|id| region.nat_gateways.get(&id));
    gateways.any(|gateway| gateway.is_available())
}

/// Gives the record of an interface another device, or none.
pub(crate) fn rebind(tables: &mut Tables, eni: EniId, ifindex: Option<u32>) {
    tables.devices.clear();
    if let Some(record) = tables.enis.get_mut(&eni.bits()) {
        record.ifindex = ifindex.unwrap_or(0);
        if let Some(ifindex) = ifindex {
            tables.devices.insert(ifindex, eni.bits());
        }
    }
}

/// Says in the record of an interface whether an injected fault stops it.
pub(crate) fn set_faulty(tables: &mut Tables, eni: EniId, is_faulty: bool) {
    if let Some(record) = tables.enis.get_mut(&eni.bits()) {
        if is_faulty {
            record.flags |= EniRecord::FAULTY;
        } else {
            record.flags &= !EniRecord::FAULTY;
        }
    }
}

fn record_of(eni: &NetworkInterface, instance: Option<&Instance>, policy: u64) -> EniRecord {
    let mut groups = [0; GROUPS_MAX];
    for (slot, group) in groups.iter_mut().zip(&eni.groups) {
        *slot = group.bits();
    }
    let mut flags = 0;
    if eni.source_dest_check {
        flags |= EniRecord::SOURCE_DEST_CHECK;
    }
    match eni.interface_type {
        InterfaceType::Interface => {}
        InterfaceType::NatGateway => flags |= EniRecord::NAT_GATEWAY,
        InterfaceType::NetworkLoadBalancer => flags |= EniRecord::BALANCER,
    }
    let tracking = &eni.connection_tracking;
    let [tcp_established_s, udp_s, udp_stream_s] = timeouts_of(instance);
    let instance = eni.attachment.as_ref().map(|it| it.instance);
    EniRecord {
        vpc: eni.vpc.bits(),
        subnet: eni.subnet.bits(),
        policy,
        instance: instance.map_or(0, |instance| instance.bits()),
        groups,
        ifindex: 0,
        tcp_established_s: tracking
            .tcp_established_timeout
            .unwrap_or(tcp_established_s),
        udp_s: tracking.udp_timeout.unwrap_or(udp_s),
        udp_stream_s: tracking.udp_stream_timeout.unwrap_or(udp_stream_s),
        mac: Mac(eni.mac.0),
        flags,
        // The control plane allows at most 16 groups, the length of the array.
        group_count: u8::try_from(eni.groups.len().min(GROUPS_MAX)).unwrap_or(0),
    }
}

/// The idle timeouts of an instance's type: 350 seconds for TCP on the newest ones.
fn timeouts_of(instance: Option<&Instance>) -> [u32; 3] {
    let known = instance.and_then(|instance| InstanceType::named(&instance.instance_type));
    known
        .and_then(|known| known.conntrack_defaults_s)
        .unwrap_or(TIMEOUTS_S)
}

/// The public addresses that stand for addresses of an interface, with these. What its instance was
/// given comes first: an Elastic IP for the same address is the one that it sends with.
fn publics(region: &RegionState, eni: &NetworkInterface) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let given = eni.public_address.map(|it| (it, eni.primary_address()));
    let elastic = region
        .elastic_ips_of_eni(eni.id)
        .filter_map(|id| region.elastic_ips.get(&id))
        .filter_map(|elastic| Some((elastic.public_ip, elastic.association?.private_ip)));
    let is_own = |private: &Ipv4Addr| {
        let mut prefixes = eni.ipv4_prefixes.iter();
        eni.addresses.contains(private) || prefixes.any(|prefix| prefix.contains(private))
    };
    let all = given.into_iter().chain(elastic);
    all.filter(|(_, private)| is_own(private)).collect()
}
