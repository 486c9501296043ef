//! What is counted for each ENI: drops by their reason's number, and the packets that no flow counts.
//!
//! The packets of a flow are counted in its entry alone, as long as it is there; when it goes its counts go
//! to both of its ENIs. What passes without an entry of its own, errors about flows and answers that come
//! another way than the question went, is counted here. The sum of both is exact.
//!
//! Limit: a flow whose address moves to another ENI takes all its counts there with it.

use core::mem::size_of;

use crate::{
    flow::{FlowEntry, RETRANSMIT},
    reason::REASON_COUNTERS,
    table::{OUTSIDE, protocol},
    tables::Tables,
};

/// Key of `eni_counters`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CounterKey {
    /// The ENI.
    pub eni: u64,
    /// The number of a [`Reason`](crate::Reason), or one of those below.
    pub what: u32,
    /// Always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<CounterKey>() == 16);

/// Packets that left the ENI, of flows that are over or without one.
pub const PACKETS_OUT: u32 = REASON_COUNTERS;
/// Their bytes.
pub const BYTES_OUT: u32 = REASON_COUNTERS + 1;
/// Packets that entered it likewise.
pub const PACKETS_IN: u32 = REASON_COUNTERS + 2;
/// Their bytes.
pub const BYTES_IN: u32 = REASON_COUNTERS + 3;
/// Flows of what it sends that are over.
pub const FLOWS_OVER: u32 = REASON_COUNTERS + 4;
/// Packets that mirror sessions of the ENI have sent, each a copy in a VXLAN packet.
pub const MIRRORED_PACKETS: u32 = REASON_COUNTERS + 5;
/// Their bytes.
pub const MIRRORED_BYTES: u32 = REASON_COUNTERS + 6;
/// Copies of its packets that could not be made, or told of.
pub const COPIES_LOST: u32 = REASON_COUNTERS + 7;
/// Of flows that are over: TCP's packets that left the ENI.
pub const TCP_PACKETS_OUT: u32 = REASON_COUNTERS + 8;
/// Those of them that were sent again.
pub const RETRANSMITS: u32 = REASON_COUNTERS + 9;
/// Handshakes of connections that are over in which the other side's answer to the ENI was timed.
pub const HANDSHAKES: u32 = REASON_COUNTERS + 10;
/// The microseconds that they took.
pub const HANDSHAKE_US: u32 = REASON_COUNTERS + 11;

/// Counts packets that go from one ENI to another, except at the outside.
#[inline(never)]
pub(crate) fn carried<T: Tables>(tables: &T, source: u64, target: u64, packets: u64, bytes: u64) {
    if source != OUTSIDE {
        tables.count_at(source, PACKETS_OUT, packets);
        tables.count_at(source, BYTES_OUT, bytes);
    }
    if target != OUTSIDE {
        tables.count_at(target, PACKETS_IN, packets);
        tables.count_at(target, BYTES_IN, bytes);
    }
}

/// Keeps what the entry of a flow that is over has counted.
#[inline(always)]
pub(crate) fn over<T: Tables>(tables: &T, protocol: u8, entry: &FlowEntry) {
    let source = entry.source_eni.get();
    let packets = entry.packets.get();
    carried(
        tables,
        source,
        entry.target_eni.get(),
        packets,
        entry.bytes.get(),
    );
    if source == OUTSIDE {
        return;
    }
    if protocol == protocol::TCP {
        tables.count_at(source, TCP_PACKETS_OUT, packets);
        let again = entry.troubles.get() / RETRANSMIT;
        if again != 0 {
            tables.count_at(source, RETRANSMITS, again);
        }
        handshake_over(tables, entry);
    }
    tables.count_at(source, FLOWS_OVER, 1);
}

/// Keeps how long the handshake of a connection took that is over, if that is known.
#[inline(never)]
pub(crate) fn handshake_over<T: Tables>(tables: &T, entry: &FlowEntry) {
    let (source, microseconds) = (entry.source_eni.get(), entry.round_trip_us());
    if source != OUTSIDE && microseconds != 0 {
        tables.count_at(source, HANDSHAKES, 1);
        tables.count_at(source, HANDSHAKE_US, u64::from(microseconds));
    }
}
