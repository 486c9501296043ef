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
