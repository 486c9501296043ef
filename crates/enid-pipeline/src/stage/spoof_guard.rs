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

/// Finds the sender, which `sender` is told even if it is refused, and checks that it may send this
/// packet.
#[inline(always)]
pub(crate) fn check<'a, T: Tables>(
    tables: &'a T,
    ifindex: u32,
    packet: &Packet,
    sender: &mut u64,
) -> Result<Source<'a>, Reason> {
    let eni = tables.device(ifindex).ok_or(Reason::UnknownDevice)?;
    *sender = eni;
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

#[cfg(test)]
mod tests {
    use crate::Reason;
    use crate::bytes::{Addr, Mac};
    use crate::ledger::{A, B, Change, Gate, World, addr, packet, query};

    #[test]
    fn another_mac_does_not_leave() {
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let mut spoofed = packet(A, B, query());
        spoofed.from_mac = Mac([2, 0, 0, 0, 0, 9]);
        let _ = world.send(A, &mut spoofed.frame(), &Change::dropped(Reason::SourceMac));
        world.passes(A, B, query(), 2);
        // Nor on a flow that is there.
        let _ = world.send(
            A,
            &mut spoofed.frame(),
            &Change::dropped_again(Reason::SourceMac),
        );
    }

    #[test]
    fn another_address_leaves_only_with_the_check_off() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        let mut foreign = packet(A, B, query());
        foreign.source = Addr::v4([192, 0, 2, 1]);
        let _ = world.send(
            A,
            &mut foreign.frame(),
            &Change::dropped(Reason::SourceAddress),
        );
        world.change_eni(A, |eni| eni.flags = 0);
        let _ = world.send(A, &mut foreign.frame(), &Change::opened(2, 28));
        // Nobody's address never does.
        foreign.source = Addr::v4([127, 0, 0, 1]);
        let _ = world.send(
            A,
            &mut foreign.frame(),
            &Change::dropped(Reason::SourceAddress),
        );
    }

    #[test]
    fn a_device_without_an_eni_sends_nothing() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.memory.tables.devices.clear();
        world.drops(A, B, query(), Reason::UnknownDevice);
    }

    #[test]
    fn an_eni_that_lost_its_address_sends_no_more() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        world
            .memory
            .tables
            .endpoints
            .retain(|key, _| key.addr != addr(A));
        world.memory.generation += 1;
        world.drops(A, B, query(), Reason::SourceAddress);
    }
}
