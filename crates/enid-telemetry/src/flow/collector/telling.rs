//! What is told of entries until it is stored.

use std::net::IpAddr;
use std::sync::Arc;

use super::Settled;
use super::gateway::Ends;
use crate::flow::account::{Counted, Delta, EntryKey};
use crate::flow::row::Row;
use crate::flow::watch::EniFacts;

/// What is being told.
pub(super) struct Telling {
    pub(super) now: i64,
    /// From the entries' clock to the wall's.
    pub(super) offset_ns: i64,
    pub(super) window: i64,
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<(EntryKey, Counted, i64)>,
    pub(super) settled: Vec<Settled>,
}

impl Telling {
    pub(super) fn wall_ms(&self, at_ns: u64) -> i64 {
        let at = i64::try_from(at_ns).unwrap_or(i64::MAX);
        at.saturating_add(self.offset_ns).div_euclid(1_000_000)
    }

    pub(super) fn note(&mut self, entry: EntryKey, counted: Counted, end_ms: i64) {
        self.notes.push((entry, counted, end_ms));
    }
}

/// The number of a time's window.
pub(super) fn window_of(time_ms: i64, window_ms: i64) -> i64 {
    time_ms.div_euclid(window_ms.max(1))
}

/// A row whose addresses are still to be said.
pub(in crate::flow) fn row(
    eni: &Arc<EniFacts>,
    is_egress: bool,
    delta: &Delta,
    (time_ms, end_ms, start_ms): (i64, i64, i64),
    (source_port, target_port): (u16, u16),
    protocol: u8,
) -> Row {
    let nobody = IpAddr::from([0; 4]);
    Row {
        time_ms,
        eni: Arc::clone(eni),
        is_egress,
        is_accepted: false,
        is_skipped: false,
        source: nobody,
        target: nobody,
        packet_source: nobody,
        packet_target: nobody,
        source_port,
        target_port,
        protocol,
        packets: delta.packets,
        bytes: delta.bytes,
        start_ms,
        end_ms,
        tcp_flags: delta.tcp_flags,
        traffic_path: None,
        sg_rule: None,
        nacl_entry: None,
        route: None,
        drop_reason: None,
        rtt_us: None,
        retransmits: None,
    }
}

/// A row of a NAT gateway's interface with these addresses: its own side is shown as its own.
pub(super) fn at_gateway(row: Row, ends: Ends) -> Row {
    let (source, target) = match row.is_egress {
        true => (row.eni.own(ends.source), ends.target),
        false => (ends.source, row.eni.own(ends.target)),
    };
    Row {
        source,
        target,
        packet_source: ends.source,
        packet_target: ends.target,
        source_port: ends.ports.0,
        target_port: ends.ports.1,
        ..row
    }
}
