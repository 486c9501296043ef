//! Spoof guard: source MAC and source address must belong to the ENI.
//!
//! With the source/destination check off an ENI may send from other addresses, but never from one
//! that is nobody's. Of a load balancer's node the proxy may speak for its clients, with TCP.

use crate::{
    Scratch,
    owner::owner_seen,
    reason::Reason,
    table::{EniRecord, protocol},
    tables::Tables,
};

/// Finds the sender, which the scratch record is told even if it is refused, and checks that it may send
/// this packet.
#[inline(never)]
pub(crate) fn check<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let packet = &scratch.packet;
    let eni = tables
        .device(scratch.ifindex)
        .ok_or(Reason::UnknownDevice)?;
    scratch.source_eni = eni;
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    if record.flags & EniRecord::FAULTY != 0 {
        return Err(Reason::Fault);
    }
    if packet.source_mac() != record.mac {
        return Err(Reason::SourceMac);
    }
    let owns_address = !packet.source.is_no_source()
        && owner_seen(tables, record.vpc, record.subnet, &packet.source) == eni;
    let is_proxy = record.flags & EniRecord::BALANCER != 0 && packet.protocol == protocol::TCP;
    let is_checked = record.flags & EniRecord::SOURCE_DEST_CHECK != 0 && !is_proxy;
    if !owns_address && (is_checked || packet.source.is_no_source()) {
        return Err(Reason::SourceAddress);
    }
    scratch.owns_address = owns_address;
    Ok(())
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
