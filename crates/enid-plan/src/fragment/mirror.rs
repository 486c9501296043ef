//! Traffic mirroring: a filter's rules, and the sessions of a source.

use enid_model::id::{EniId, ResourceId as _};
use enid_model::network_interface::NetworkInterface;
use enid_model::security_group::Direction;
use enid_model::state::RegionState;
use enid_model::traffic_mirror::{
    MirrorAction, TrafficMirrorFilter, TrafficMirrorFilterRule, TrafficMirrorSession,
};
use enid_pipeline::bytes::Addr;
use enid_pipeline::capture::Capture;
use enid_pipeline::mirror::{MirrorFilter, MirrorRecord, MirrorRule, MirrorSession, RULES_MAX};
use enid_pipeline::table::EniRecord;
use ipnet::IpNet;

use crate::gate::address_bits;
use crate::tables::Tables;

/// A filter.
pub(crate) fn of_mirror_filter(filter: &TrafficMirrorFilter) -> Tables {
    let mut record = MirrorFilter::default();
    if filter.amazon_dns {
        record.flags |= MirrorFilter::AMAZON_DNS;
    }
    record.egress_count = fill(&mut record.egress, &filter.rules_of(Direction::Egress));
    record.ingress_count = fill(&mut record.ingress, &filter.rules_of(Direction::Ingress));
    let mut tables = Tables::default();
    tables.mirror_filters.insert(filter.id.bits(), record);
    tables
}

/// The sessions of an interface that can send copies, as the fragment of the interface has them.
pub(super) fn add_sessions(tables: &mut Tables, region: &RegionState, eni: &NetworkInterface) {
    let sessions = region.traffic_mirror_sessions_of_eni(eni.id);
    let sessions = sessions.filter_map(|id| region.traffic_mirror_sessions.get(&id));
    let mut sessions: Vec<_> = sessions.collect();
    sessions.sort_by_key(|session| session.number);
    let mut record = MirrorRecord {
        source: eni.primary_address().octets(),
        ..MirrorRecord::default()
    };
    let compiled = sessions.iter().filter_map(|it| session_of(region, it));
    for (slot, session) in record.sessions.iter_mut().zip(compiled) {
        *slot = session;
        record.count += 1;
    }
    if record.count == 0 {
        return;
    }
    tables.mirrors.insert(eni.id.bits(), record);
    if let Some(record) = tables.enis.get_mut(&eni.id.bits()) {
        record.flags |= EniRecord::MIRRORED;
    }
}

/// Says in an interface's fragment how much of its packets somebody captures.
pub(crate) fn recapture(tables: &mut Tables, eni: EniId, snaplen: Option<u32>) {
    tables.captures.clear();
    let Some(record) = tables.enis.get_mut(&eni.bits()) else {
        return;
    };
    record.flags &= !EniRecord::CAPTURED;
    if let Some(snaplen) = snaplen {
        record.flags |= EniRecord::CAPTURED;
        let capture = Capture { snaplen, pad: 0 };
        tables.captures.insert(eni.bits(), capture);
    }
}

/// A session, unless its target's interface is gone.
fn session_of(region: &RegionState, session: &TrafficMirrorSession) -> Option<MirrorSession> {
    let target = region.traffic_mirror_targets.get(&session.target)?;
    let eni = region.network_interfaces.get(&target.network_interface)?;
    Some(MirrorSession {
        filter: session.filter.bits(),
        vni: session.virtual_network_id,
        packet_length: session.packet_length.map_or(0, u32::from),
        target: eni.primary_address().octets(),
        pad: 0,
    })
}

/// Writes rules into the slots, and says how many.
fn fill(slots: &mut [MirrorRule; RULES_MAX], rules: &[&TrafficMirrorFilterRule]) -> u16 {
    let mut count = 0;
    // The control plane allows no more than there are slots.
    for (slot, rule) in slots.iter_mut().zip(rules) {
        *slot = rule_of(rule);
        count += 1;
    }
    count
}

fn rule_of(rule: &TrafficMirrorFilterRule) -> MirrorRule {
    let mut flags = 0;
    if rule.action == MirrorAction::Accept {
        flags |= MirrorRule::ACCEPT;
    }
    if rule.protocol.is_none() {
        flags |= MirrorRule::ANY_PROTOCOL;
    }
    if rule.source_ports.is_some() {
        flags |= MirrorRule::SOURCE_PORTS;
    }
    if rule.destination_ports.is_some() {
        flags |= MirrorRule::TARGET_PORTS;
    }
    if matches!(rule.source, IpNet::V6(_)) {
        flags |= MirrorRule::IPV6;
    }
    let mask = |net: &IpNet| Addr::v6([0xff; 16]).masked(address_bits(net));
    MirrorRule {
        source: Addr::from(rule.source.network()),
        source_mask: mask(&rule.source),
        target: Addr::from(rule.destination.network()),
        target_mask: mask(&rule.destination),
        source_ports: rule.source_ports.map_or([0; 2], |it| [it.from, it.to]),
        target_ports: rule.destination_ports.map_or([0; 2], |it| [it.from, it.to]),
        protocol: rule.protocol.unwrap_or(0),
        flags,
        pad: 0,
    }
}
