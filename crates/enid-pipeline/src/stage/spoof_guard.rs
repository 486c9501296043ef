//! Spoof guard: source MAC and source address must belong to the ENI.
//!
//! With the source/destination check off an ENI may send from other addresses, but never from one
//! that is nobody's.

use crate::{
    bytes::Addr,
    packet::Packet,
    reason::Reason,
    table::{EndpointKey, EniRecord},
    tables::Tables,
};

/// The ENI that sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) eni: u64,
    pub(crate) record: &'a EniRecord,
    /// Whether the packet's source address is the ENI's own.
    pub(crate) owns_address: bool,
}

/// Finds the sender and checks that it may send this packet.
#[inline(always)]
pub(crate) fn check<'a, T: Tables>(
    tables: &'a T,
    ifindex: u32,
    packet: &Packet,
) -> Result<Source<'a>, Reason> {
    let eni = tables.device(ifindex).ok_or(Reason::UnknownDevice)?;
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    if packet.source_mac() != record.mac {
        return Err(Reason::SourceMac);
    }
    let owns_address =
        !packet.source.is_no_source() && owner(tables, record.vpc, &packet.source) == eni;
    let is_checked = record.flags & EniRecord::SOURCE_DEST_CHECK != 0;
    if !owns_address && (is_checked || packet.source.is_no_source()) {
        return Err(Reason::SourceAddress);
    }
    Ok(Source {
        eni,
        record,
        owns_address,
    })
}

/// The ENI that has an address in a VPC; 0, which is nobody's id, if none has. One function of the kernel
/// program, so that the key is on no caller's stack.
#[inline(never)]
pub(crate) fn owner<T: Tables>(tables: &T, vpc: u64, addr: &Addr) -> u64 {
    tables
        .endpoint(&EndpointKey { vpc, addr: *addr })
        .unwrap_or(0)
}
