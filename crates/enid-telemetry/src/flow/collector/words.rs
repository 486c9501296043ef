//! What rows say in words and numbers of their own, of the words that entries are made of.

use std::net::IpAddr;

use enid_model::id::SecurityGroupRuleId;
use enid_pipeline::bytes::Addr;
use enid_pipeline::flow::{FlowKey, FlowRecord, flag, tcp};
use enid_pipeline::table::{OUTSIDE, Route, protocol};

pub(super) fn ip(address: &Addr) -> IpAddr {
    IpAddr::from(address.octets()).to_canonical()
}

pub(super) const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// The ports of a key, of protocols that have any.
pub(super) fn ports(key: &FlowKey) -> (u16, u16) {
    match has_ports(key.protocol) {
        true => (key.source_port.value(), key.target_port.value()),
        false => (0, 0),
    }
}

/// The flags that flow logs tell of a flow's packets: an ACK only with a SYN in the same packet, which only
/// who answers sends.
pub(super) fn tcp_flags_of(record: &FlowRecord) -> u8 {
    let [_, seen, ..] = record.flags.to_le_bytes();
    let told = seen & (tcp::FIN | tcp::SYN | tcp::RST);
    if record.flags & flag::REPLY != 0 && seen & tcp::SYN != 0 {
        told | tcp::ACK & seen
    } else {
        told
    }
}

pub(super) fn rule(bits: u64) -> Option<String> {
    (bits != 0).then(|| SecurityGroupRuleId(bits).to_string())
}

/// The entry of the network ACL at an edge of a subnet on a flow's way, by the edge's place on it. None if
/// it was not crossed, or its ACL lets everything pass.
pub(super) fn acl_entry(word: u64, edge: usize) -> Option<u16> {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    let entries = [[a, b], [c, d], [e, f], [g, h]];
    let entry = entries.get(edge).copied().map(u16::from_le_bytes);
    entry.filter(|entry| *entry != 0)
}

/// The places of the edges of subnets on a flow's way that belong to the interfaces which it passes: out of
/// the sender's subnet, into and out of a NAT gateway's, into the receiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edges {
    pub(super) source: Option<usize>,
    pub(super) gateway_in: Option<usize>,
    pub(super) gateway_out: Option<usize>,
    pub(super) target: Option<usize>,
}

impl Edges {
    pub(super) fn of(record: &FlowRecord) -> Self {
        let is_inside = record.source_eni != OUTSIDE;
        let Some(before) = record.edges_before_gateway().filter(|_| record.via != 0) else {
            return Self {
                source: is_inside.then_some(0),
                gateway_in: None,
                gateway_out: None,
                target: Some(usize::from(is_inside)),
            };
        };
        Self {
            // Within the gateway's subnet none is crossed.
            source: (is_inside && before > 0).then_some(0),
            gateway_in: before.checked_sub(1),
            gateway_out: Some(before),
            target: Some(before + 1),
        }
    }
}

/// Kind and prefix length of a route's word.
fn parts_of_route(word: u64) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    let parts = (word as u32, (word >> 32) as u32 & 0xff);
    parts
}

/// The route that decided, in words.
pub(super) fn route(word: u64, is_ipv4: bool) -> Option<String> {
    let (kind, prefix) = parts_of_route(word);
    let name = match kind {
        Route::LOCAL => "local",
        Route::BLACKHOLE => "blackhole",
        Route::ENI => "network-interface",
        Route::INTERNET_GATEWAY => "internet-gateway",
        Route::NAT_GATEWAY => "nat-gateway",
        Route::PEERING => "peering",
        Route::EGRESS_ONLY => "egress-only-gateway",
        _ => return None,
    };
    // IPv4 lies in the last 32 of 128 bits.
    let prefix = if is_ipv4 {
        prefix.saturating_sub(96)
    } else {
        prefix
    };
    Some(format!("{name}/{prefix}"))
}

/// VPC User Guide, "Flow log records": the numbers of `traffic-path`.
pub(super) fn traffic_path(word: u64) -> Option<u8> {
    match parts_of_route(word).0 {
        Route::NONE | Route::LOCAL | Route::ENI | Route::NAT_GATEWAY => Some(1),
        Route::PEERING => Some(4),
        Route::INTERNET_GATEWAY => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_that_flow_logs_tell() {
        let of = |seen: u8, more: u64| {
            tcp_flags_of(&FlowRecord {
                flags: u64::from(seen) << flag::TCP_SHIFT | more,
                ..FlowRecord::default()
            })
        };
        let (fin, syn, rst, ack) = (tcp::FIN, tcp::SYN, tcp::RST, tcp::ACK);
        assert_eq!(of(syn | ack | fin, 0), 3);
        assert_eq!(of(syn | ack | fin, flag::REPLY), 19);
        assert_eq!(of(ack | 0x08, flag::REPLY), 0);
        assert_eq!(of(syn | rst | ack, flag::REPLY), 22);
    }

    #[test]
    fn routes_have_words_and_ways_their_numbers() {
        let word = |kind: u32, prefix: u64| u64::from(kind) | prefix << 32;
        assert_eq!(
            route(word(Route::LOCAL, 112), true).as_deref(),
            Some("local/16")
        );
        let gateway = word(Route::INTERNET_GATEWAY, 96);
        assert_eq!(route(gateway, true).as_deref(), Some("internet-gateway/0"));
        assert_eq!(traffic_path(gateway), Some(8));
        assert_eq!((route(0, true), traffic_path(0)), (None, Some(1)));
        assert_eq!(traffic_path(word(Route::PEERING, 112)), Some(4));
        let entries = 100 | 200 << 32;
        assert_eq!(
            (acl_entry(entries, 0), acl_entry(entries, 1)),
            (Some(100), None)
        );
        assert_eq!(
            (acl_entry(entries, 2), acl_entry(entries, 4)),
            (Some(200), None)
        );
    }
}
