//! Fragments: the first one's ports stand for all.

use crate::{
    fragments::{FragmentKey, FragmentRecord},
    packet::{Fragment, Packet},
    reason::Reason,
    tables::Tables,
};

/// Remembers the ports of a first fragment and gives them to the later ones.
///
/// A first fragment is remembered before it is judged: the later ones are then judged by the same
/// ports. Fragments that overtake their first one are dropped; senders repeat the packet.
#[inline(always)]
pub(crate) fn ports<T: Tables>(
    tables: &T,
    ifindex: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    if packet.fragment == Fragment::None {
        return Ok(());
    }
    let key = FragmentKey {
        ifindex,
        id: packet.fragment_id,
        source: packet.source,
        target: packet.target,
        protocol: packet.protocol,
        pad: [0; 3],
    };
    if packet.fragment == Fragment::First {
        let record = FragmentRecord {
            source_port: packet.source_port,
            target_port: packet.target_port,
        };
        tables.insert_fragment(&key, &record);
        return Ok(());
    }
    let Some(first) = tables.fragment(&key) else {
        return Err(Reason::FragmentUnknown);
    };
    packet.source_port = first.source_port;
    packet.target_port = first.target_port;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Reason;
    use crate::ledger::{A, B, Change, Gate, World, packet, query};
    use crate::packet_builder::Cut;

    fn fragment(id: u16, offset: u16, more: bool) -> Vec<u8> {
        let mut packet = packet(A, B, query());
        packet.payload = 24;
        packet.cut = Some(Cut { id, offset, more });
        packet.frame()
    }

    #[test]
    fn later_fragments_follow_the_first() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        let _ = world.send(A, &mut fragment(7, 0, true), &Change::opened(2, 52));
        let _ = world.send(A, &mut fragment(7, 4, true), &Change::carried(52));
        let _ = world.send(A, &mut fragment(7, 8, false), &Change::carried(52));
    }

    #[test]
    fn later_fragments_of_another_packet_do_not() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        let _ = world.send(A, &mut fragment(7, 0, true), &Change::opened(2, 52));
        let change = Change::dropped(Reason::FragmentUnknown);
        let _ = world.send(A, &mut fragment(8, 4, false), &change);
    }

    #[test]
    fn fragments_of_a_refused_packet_are_refused() {
        let world = World::new(Gate::Everybody, Gate::Closed);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send(A, &mut fragment(7, 0, true), &change);
        let change = Change::dropped_again(Reason::IngressRule);
        let _ = world.send(A, &mut fragment(7, 4, false), &change);
    }
}
