//! A connection: a flow's entry and the one of the other direction, seen together.

use crate::{
    flow::{self, Activity, Age, FlowEntry, FlowKey, Timeouts, flag, tcp},
    packet::Packet,
    sequence,
    stage::nat_count,
    tables::Tables,
};

/// The flag of a packet that opens a connection or accepts one, as an entry has it.
const SYN: u64 = (tcp::SYN as u64) << flag::TCP_SHIFT;

/// How far the connection of this entry and its opposite has come.
#[inline(never)]
pub(crate) fn age<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry, now_ns: u64) -> Age {
    let opposite = opposite(tables, key, entry);
    let other = opposite.as_deref().map_or(Activity::NONE, Activity::of);
    let timeouts = Timeouts::from_word(entry.timeouts.get());
    flow::age(key.protocol, timeouts, Activity::of(entry), other, now_ns)
}

/// Whether the ENIs at its ends know the connection.
#[inline(always)]
pub(crate) fn is_live<T: Tables>(
    tables: &T,
    key: &FlowKey,
    entry: &FlowEntry,
    now_ns: u64,
) -> bool {
    matches!(age(tables, key, entry, now_ns), Age::Live)
}

/// Whether nobody knows the connection any more: it has been idle for too long.
#[inline(always)]
pub(crate) fn has_ended<T: Tables>(
    tables: &T,
    key: &FlowKey,
    entry: &FlowEntry,
    now_ns: u64,
) -> bool {
    matches!(age(tables, key, entry, now_ns), Age::Lapsed | Age::Ended)
}

/// Notes TCP flags; after both FINs or a RST both entries are closing.
#[inline(always)]
pub(crate) fn note_tcp_flags<T: Tables>(
    tables: &T,
    key: &FlowKey,
    entry: &FlowEntry,
    packet: &Packet,
) {
    let flags = packet.tcp_flags;
    let seen = entry.flags.get();
    let new = u64::from(flags) << flag::TCP_SHIFT;
    if new & !seen != 0 {
        let before = tables.fetch_set(&entry.flags, new);
        if new & !before & SYN != 0 && before & flag::HOLDS_PORT != 0 {
            // The destination accepts what began behind a NAT gateway.
            nat_count::add_established(tables, entry.via.get());
        }
        if flags & tcp::ACK != 0 && seen & flag::ESTABLISHED == 0 {
            establish(tables, key, entry, flags);
        }
    }
    if seen & flag::CLOSING != 0 || flags & (tcp::FIN | tcp::RST) != 0 {
        close(tables, key, entry, packet);
    }
}

/// Both entries of a connection are established when both sides have acknowledged. With the first packet of a
/// direction that acknowledges, a round trip of the handshake ends.
#[inline(never)]
fn establish<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry, flags: u8) {
    let Some(opposite) = opposite(tables, key, entry) else {
        return;
    };
    sequence::end_round_trip(tables, entry, &opposite, flags);
    if opposite.flags.get() & (tcp::ACK as u64) << flag::TCP_SHIFT != 0 {
        tables.set(&entry.flags, flag::ESTABLISHED);
        tables.set(&opposite.flags, flag::ESTABLISHED);
    }
}

/// Notes a packet that ends a connection, or comes after its end.
#[inline(never)]
fn close<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry, packet: &Packet) {
    let flags = packet.tcp_flags;
    let opposite = opposite(tables, key, entry);
    if entry.flags.get() & flag::CLOSING == 0 {
        let other = opposite.as_deref().map_or(0, |other| other.flags.get());
        let has_other_fin = other & (tcp::FIN as u64) << flag::TCP_SHIFT != 0;
        if flags & tcp::RST == 0 && !has_other_fin {
            return;
        }
        tables.set(&entry.flags, flag::CLOSING);
        if let Some(opposite) = &opposite {
            tables.set(&opposite.flags, flag::CLOSING);
        }
    }
    // After a RST nobody acknowledges.
    if flags & (tcp::RST | tcp::ACK) == tcp::ACK
        && let Some(opposite) = &opposite
        && sequence::is_acknowledged(opposite, packet.acknowledged)
    {
        tables.set(&entry.flags, flag::ACKNOWLEDGED);
    }
}

/// Whether what answers an entry has this key.
#[inline(never)]
pub(crate) fn leads_back(key: &FlowKey, entry: &FlowEntry, back: &FlowKey) -> bool {
    match entry.opposite(key) {
        Some(opposite) => opposite == *back,
        None => false,
    }
}

/// The entry of the other direction.
#[inline(always)]
fn opposite<'a, T: Tables>(tables: &'a T, key: &FlowKey, entry: &FlowEntry) -> Option<T::Flow<'a>> {
    tables.flow(&entry.opposite(key)?)
}
