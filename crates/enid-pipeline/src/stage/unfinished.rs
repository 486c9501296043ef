//! Unfinished checksums: a guest may leave one to whoever needs it, and says where it belongs. Who has to
//! fill it in then, on the way to a tap without checksum offload or to the outside, writes two bytes at that
//! place, after the packet has been judged.
//!
//! So the place must be that of the packet's own checksum, or lie behind what was judged: a tunnel's inner
//! packets are unfinished as well. Anything else is dropped where the bytes may be written. Between devices
//! that finish nothing the packet stays as it was judged.

use crate::{
    frame::Frame,
    packet::{Fragment, Packet},
    reason::Reason,
    table::{TAP, protocol},
    verdict::Verdict,
};

/// Refuses a packet that somebody would change before it arrives.
#[inline(always)]
pub(crate) fn check<F: Frame>(
    frame: &F,
    packet: &Packet,
    verdict: Verdict,
) -> Result<Verdict, Reason> {
    let may_be_finished = match verdict {
        Verdict::Forward { ifindex } => ifindex & TAP != 0,
        Verdict::Outside { .. } => true,
        // It is judged once more.
        Verdict::Again { .. } => false,
        Verdict::Punt { .. } | Verdict::Reply | Verdict::Drop(_) => false,
    };
    if may_be_finished && is_misplaced(frame, packet) {
        Err(Reason::ChecksumPlace)
    } else {
        Ok(verdict)
    }
}

/// Whether the frame has an unfinished checksum whose two bytes were judged as something else.
#[inline(never)]
fn is_misplaced<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let Some(place) = frame.unfinished() else {
        return false;
    };
    let transport = packet.transport;
    // Its own place, and where what nobody has judged begins. Errors of ICMP are judged by all that they quote,
    // and in TCP and ICMP there are no tunnels.
    let (own, free) = match packet.protocol {
        _ if packet.fragment == Fragment::Later => (0, transport),
        protocol::TCP => (transport + 16, u32::MAX),
        protocol::UDP => (transport + 6, transport + 8),
        protocol::ICMP | protocol::ICMP_V6 => (transport + 2, u32::MAX),
        _ => (0, transport),
    };
    place != own && place < free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Bytes;
    use crate::ledger::{A, B, D, Gate, World, device, packet, query};
    use crate::ledger_wide::{ALL, GATEWAY, SENT_OUT, X, add_route, to, wide};
    use crate::packet_builder::{PacketBuilder, Transport};
    use crate::table::Route;
    use crate::{Scratch, egress};

    /// What becomes of A's packet whose checksum belongs to this offset of its frame.
    fn sent(world: &World, packet: &PacketBuilder, place: Option<u32>) -> Verdict {
        let mut frame = packet.frame();
        let mut bytes = Bytes::new(&mut frame);
        if let Some(place) = place {
            bytes = bytes.with_unfinished(place);
        }
        let mut scratch = Scratch::new();
        egress(
            &world.memory,
            &mut bytes,
            device(A),
            world.now_ns,
            &mut scratch,
        )
    }

    /// B's device is a tap.
    fn with_tap() -> World {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.change_eni(B, |eni| eni.ifindex |= TAP);
        world
    }

    const REFUSED: Verdict = Verdict::Drop(Reason::ChecksumPlace);

    #[test]
    fn a_tap_gets_what_was_judged() {
        let world = with_tap();
        let delivered = Verdict::Forward {
            ifindex: device(B) | TAP,
        };
        let udp = |place| sent(&world, &packet(A, B, query()), place);
        // Its own checksum, none, and that of a packet inside, of a new flow and of a known one.
        for place in [Some(40), None, Some(42), Some(92)] {
            assert_eq!(udp(place), delivered, "{place:?}");
        }
        // Addresses and ports, and what is half a checksum.
        for place in [0, 6, 12, 26, 30, 34, 36, 39, 41] {
            assert_eq!(udp(Some(place)), REFUSED, "{place}");
        }
        let tcp = |place| sent(&world, &packet(A, B, Transport::syn(1, 2)), Some(place));
        assert_eq!(tcp(50), delivered);
        for place in [34, 36, 46, 48, 52, 54] {
            assert_eq!(tcp(place), REFUSED, "{place}");
        }
        let tunnel = |place| sent(&world, &packet(A, B, Transport::Other(47)), Some(place));
        assert_eq!((tunnel(34), tunnel(33)), (delivered, REFUSED));
        assert_eq!(world.memory.dropped_for(Reason::ChecksumPlace), 16);
    }

    #[test]
    fn what_a_known_flow_sends_is_looked_at_as_well() {
        let world = with_tap();
        let first = sent(&world, &packet(A, B, query()), None);
        assert!(matches!(first, Verdict::Forward { .. }));
        assert_eq!(sent(&world, &packet(A, B, query()), Some(36)), REFUSED);
    }

    #[test]
    fn where_nothing_is_finished_nothing_is_refused() {
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let verdict = sent(&world, &packet(A, D, query()), Some(36));
        assert_eq!(verdict, Verdict::Forward { ifindex: device(D) });
    }

    #[test]
    fn the_outside_gets_what_was_judged() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let packet = to(A, X, query());
        assert_eq!(sent(&world, &packet, Some(40)), SENT_OUT);
        assert_eq!(sent(&world, &packet, Some(26)), REFUSED);
    }
}
