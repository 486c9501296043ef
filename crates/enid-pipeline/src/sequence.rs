//! What TCP's sequence numbers and its handshake tell of a connection's quality, by what passes here: which
//! packets were sent again, and how long the other side took to answer. See
//! docs/decisions/0020-what-was-sent-again.md.
//!
//! A packet that takes sequence numbers, data, SYN or FIN, was *sent again* if they came before. Numbers
//! that were left out and come later are late, whether they were overtaken or lost before they came here: they
//! pass for the first time. What takes no number is not looked at (acknowledgements, resets, most
//! keep-alives), and of a single byte that comes again nobody can tell whether it probes.
//!
//! A *round trip* ends with the first packet of a direction that acknowledges: it answers the other side's SYN,
//! or SYN and ACK. It counts if both came once.
//!
//! Limit: words are written without regard to other CPUs. Two that carry packets of one direction in the same
//! microsecond may forget a gap, and the worst is one packet more or less.

use crate::{
    counter,
    flow::{FlowEntry, FlowRecord, RETRANSMIT, flag, high, low, tcp},
    packet::Packet,
    tables::Tables,
};

/// TCP's sequence numbers as one word of a flow's entry, which is 0 if none is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The number that follows the highest one that came.
    pub next: u32,
    /// How many numbers below it have not come.
    pub missing: u32,
}

impl Sent {
    /// As one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.missing as u64) << 32 | self.next as u64
    }

    /// From the word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            next: low(word),
            missing: high(word),
        }
    }
}

/// What an entry knows after its first packet.
#[inline(always)]
pub(crate) const fn first(packet: &Packet) -> u64 {
    if packet.sequenced == 0 {
        return 0;
    }
    let next = packet.sequence.wrapping_add(packet.sequenced);
    Sent { next, missing: 0 }.word()
}

/// Notes a packet that an entry carries.
#[inline(always)]
pub(crate) fn note<T: Tables>(tables: &T, entry: &FlowEntry, packet: &Packet) {
    if packet.sequenced == 0 {
        return;
    }
    let seen = Sent::from_word(entry.sent.get());
    if seen.next == packet.sequence {
        let next = packet.sequence.wrapping_add(packet.sequenced);
        entry.sent.set(Sent { next, ..seen }.word());
    } else {
        out_of_order(tables, entry, packet);
    }
}

/// Notes one that does not begin where the last one ended.
#[inline(never)]
fn out_of_order<T: Tables>(tables: &T, entry: &FlowEntry, packet: &Packet) {
    let word = entry.sent.get();
    let Sent { next, missing } = Sent::from_word(word);
    let end = packet.sequence.wrapping_add(packet.sequenced);
    let begins_anew = packet.tcp_flags & tcp::SYN != 0 && end != next;
    if word == 0 || begins_anew {
        entry.sent.set(first(packet));
        return;
    }
    if is_ahead(packet.sequence, next) {
        let gap = packet.sequence.wrapping_sub(next);
        let missing = missing.saturating_add(gap);
        entry.sent.set(Sent { next: end, missing }.word());
        return;
    }
    let below = next.wrapping_sub(packet.sequence);
    let (known, next) = if is_ahead(end, next) {
        (below, end)
    } else {
        (packet.sequenced, next)
    };
    let is_late = known <= missing;
    let missing = if is_late { missing - known } else { missing };
    entry.sent.set(Sent { next, missing }.word());
    let is_probe = known == 1 && packet.tcp_flags & (tcp::SYN | tcp::FIN) == 0;
    if !is_late && !is_probe {
        // Of a frame that stands for several packets, those that have old numbers.
        let length = u64::from(packet.sequenced.max(1));
        let again = (u64::from(known) * u64::from(packet.segments)).div_ceil(length);
        tables.add(&entry.troubles, again * RETRANSMIT);
    }
}

/// Whether an acknowledgement is of all that has come by an entry.
#[inline(always)]
pub(crate) fn is_acknowledged(entry: &FlowEntry, acknowledged: u32) -> bool {
    let word = entry.sent.get();
    word != 0 && Sent::from_word(word).next == acknowledged
}

/// Whether a sequence number is another one or follows it. They begin anew at 2^32.
#[inline(always)]
const fn is_ahead(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) < 1 << 31
}

/// Notes in an entry that is there that a connection begins by this record, whose SYN may be the one that
/// nobody answered yet.
#[inline(never)]
pub(crate) fn begin_anew<T: Tables>(tables: &T, entry: &FlowEntry, record: &FlowRecord) {
    const SYN: u64 = (tcp::SYN as u64) << flag::TCP_SHIFT;
    const ACK: u64 = (tcp::ACK as u64) << flag::TCP_SHIFT;
    let is_repeated = record.sent != 0
        && record.sent == entry.sent.get()
        && record.flags & SYN != 0
        && entry.flags.get() & ACK == 0;
    if is_repeated {
        tables.add(&entry.troubles, RETRANSMIT);
        return;
    }
    counter::handshake_over(tables, entry);
    entry.begin();
    // The answers' own numbers are known by their first packet.
    if record.sent != 0 {
        entry.sent.set(record.sent);
    }
}

/// Notes the round trip that ends with the first packet of an entry's direction that acknowledges.
#[inline(always)]
pub(crate) fn end_round_trip<T: Tables>(
    tables: &T,
    entry: &FlowEntry,
    opposite: &FlowEntry,
    flags: u8,
) {
    if flags & tcp::RST != 0 {
        return;
    }
    let now_ns = tables.exact_ns(entry.last_seen_ns.get());
    entry.last_seen_ns.set(now_ns);
    // Of a SYN that was sent twice nobody knows which one is answered (RFC 6298, "Karn's algorithm").
    let own = if flags & tcp::SYN != 0 { 1 } else { 2 };
    let is_of_syn = opposite.flags.get() & (tcp::SYN as u64) << flag::TCP_SHIFT != 0;
    if !is_of_syn || opposite.packets_of_connection() != 1 || entry.packets_of_connection() != own {
        return;
    }
    let microseconds = now_ns.saturating_sub(opposite.last_seen_ns.get()) / 1000;
    // Zero says that it is unknown.
    let microseconds = u32::try_from(microseconds).unwrap_or(u32::MAX).max(1);
    opposite.note_round_trip(microseconds);
}

#[cfg(test)]
mod tests {
    use crate::counter::{self, CounterKey};
    use crate::flow::tcp::{ACK, FIN, RST, SYN};
    use crate::flow::{FlowKey, FlowRecord, flag};
    use crate::frame::Bytes;
    use crate::ledger::{A, B, D, Gate, World, device, packet};
    use crate::packet_builder::Transport;
    use crate::release::{ReleaseOrder, release};
    use crate::tables::Tables as _;
    use crate::{Scratch, Verdict, connection, egress};

    /// Data of a connection, as it is sent.
    struct Segment {
        from: u64,
        to: u64,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        length: usize,
        /// Bytes of each packet that it stands for; 0 for one packet.
        size: u32,
    }

    const DATA: Segment = Segment {
        from: A,
        to: B,
        flags: ACK,
        sequence: 0,
        acknowledged: 0,
        length: 0,
        size: 0,
    };

    fn send(world: &World, segment: &Segment) {
        let Segment { from, to, .. } = *segment;
        // The higher number is the server's.
        let (from_port, to_port) = if from < to { (1000, 80) } else { (80, 1000) };
        let transport = Transport::Tcp {
            from: from_port,
            to: to_port,
            flags: segment.flags,
        };
        let mut built = packet(from, to, transport);
        built.payload = segment.length;
        let mut frame = built.frame();
        frame[38..42].copy_from_slice(&segment.sequence.to_be_bytes());
        frame[42..46].copy_from_slice(&segment.acknowledged.to_be_bytes());
        let mut bytes = match segment.size {
            0 => Bytes::new(&mut frame),
            size => Bytes::new(&mut frame).with_segment_size(size),
        };
        let mut scratch = Scratch::new();
        let verdict = egress(
            &world.memory,
            &mut bytes,
            device(from),
            world.now_ns,
            &mut scratch,
        );
        assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    }

    /// What the entry of the packets that an ENI sends knows.
    fn sent_by(world: &World, eni: u64) -> FlowRecord {
        let flows = world.memory.flows();
        let mut own = flows.values().filter(|flow| flow.source_eni == eni);
        *own.next().expect("an entry")
    }

    fn again(world: &World) -> u32 {
        sent_by(world, A).retransmits()
    }

    fn world() -> World {
        World::new(Gate::Everybody, Gate::Everybody)
    }

    fn wait_us(world: &mut World, microseconds: u64) {
        world.now_ns += microseconds * 1000;
    }

    const A_SYN: Segment = Segment {
        flags: SYN,
        sequence: 99,
        ..DATA
    };
    const B_SYN: Segment = Segment {
        from: B,
        to: A,
        flags: SYN | ACK,
        sequence: 4_999,
        ..DATA
    };

    /// A connection from A to B whose first bytes have the numbers 100 and 5,000.
    fn connected() -> World {
        let world = world();
        send(&world, &A_SYN);
        send(&world, &B_SYN);
        let sequence = 100;
        send(&world, &Segment { sequence, ..DATA });
        world
    }

    fn data(world: &World, sequence: u32, length: usize) {
        let segment = Segment {
            sequence,
            length,
            ..DATA
        };
        send(world, &segment);
    }

    #[test]
    fn data_that_came_before_was_sent_again() {
        let world = connected();
        data(&world, 100, 10);
        data(&world, 110, 10);
        assert_eq!(again(&world), 0);
        data(&world, 110, 10);
        data(&world, 100, 10);
        assert_eq!(again(&world), 2);
        data(&world, 120, 10);
        assert_eq!(again(&world), 2);
        // Old and new bytes in one.
        data(&world, 120, 20);
        data(&world, 140, 1);
        assert_eq!(again(&world), 3);
        assert_eq!(sent_by(&world, B).retransmits(), 0);
    }

    #[test]
    fn what_comes_late_was_not_sent_again() {
        let world = connected();
        data(&world, 120, 10);
        data(&world, 110, 10);
        data(&world, 100, 10);
        assert_eq!(again(&world), 0);
        data(&world, 100, 10);
        assert_eq!(again(&world), 1);
        data(&world, 130, 10);
        assert_eq!(again(&world), 1);
    }

    #[test]
    fn what_takes_no_number_or_probes_was_not_sent_again() {
        let world = connected();
        data(&world, 100, 10);
        let rest = |flags, sequence, length| Segment {
            flags,
            sequence,
            length,
            ..DATA
        };
        // Acknowledgements, keep-alives without and with a byte.
        for length in [0, 0, 1] {
            send(&world, &rest(ACK, 109, length));
        }
        // The first byte behind a closed window, which probes until the window opens.
        for length in [1, 1, 1, 20] {
            send(&world, &rest(ACK, 110, length));
        }
        assert_eq!(again(&world), 0);
        // The last byte and the end of the connection are one packet; the end alone comes again.
        send(&world, &rest(ACK | FIN, 130, 0));
        assert_eq!(again(&world), 0);
        send(&world, &rest(ACK | FIN, 130, 0));
        assert_eq!(again(&world), 1);
        send(&world, &rest(RST, 100, 0));
        send(&world, &rest(RST | ACK, 100, 5));
        assert_eq!(again(&world), 1);
    }

    #[test]
    fn numbers_begin_anew_after_the_last_one() {
        let world = world();
        let sequence = u32::MAX - 10;
        send(&world, &Segment { sequence, ..A_SYN });
        data(&world, u32::MAX - 9, 10);
        data(&world, 0, 10);
        data(&world, 10, 10);
        assert_eq!(again(&world), 0);
        data(&world, u32::MAX - 9, 10);
        data(&world, 0, 10);
        assert_eq!(again(&world), 2);
        data(&world, 20, 10);
        assert_eq!(again(&world), 2);
    }

    #[test]
    fn each_packet_of_a_frame_counts() {
        let world = connected();
        let whole = Segment {
            sequence: 100,
            length: 1000,
            size: 100,
            ..DATA
        };
        send(&world, &whole);
        assert_eq!(again(&world), 0);
        // The second half again, and as much new.
        let half = Segment {
            sequence: 600,
            ..whole
        };
        send(&world, &half);
        assert_eq!(again(&world), 5);
        send(&world, &whole);
        assert_eq!(again(&world), 15);
    }

    #[test]
    fn a_flow_that_is_joined_late_is_measured_from_then_on() {
        let world = world();
        data(&world, 7_000, 10);
        data(&world, 7_010, 10);
        assert_eq!(again(&world), 0);
        data(&world, 7_000, 10);
        assert_eq!(again(&world), 1);
        assert_eq!(sent_by(&world, A).round_trip_us(), None);
    }

    #[test]
    fn each_side_is_timed_by_the_other() {
        let mut world = world();
        send(&world, &A_SYN);
        wait_us(&mut world, 300);
        send(&world, &B_SYN);
        wait_us(&mut world, 50);
        data(&world, 100, 5);
        wait_us(&mut world, 9_000);
        data(&world, 105, 5);
        assert_eq!(sent_by(&world, A).round_trip_us(), Some(300));
        assert_eq!(sent_by(&world, B).round_trip_us(), Some(50));
    }

    #[test]
    fn of_a_packet_that_came_twice_nobody_knows_which_was_answered() {
        let mut world = world();
        send(&world, &A_SYN);
        wait_us(&mut world, 1_000_000);
        send(&world, &A_SYN);
        send(&world, &B_SYN);
        send(
            &world,
            &Segment {
                sequence: 100,
                ..DATA
            },
        );
        let (a, b) = (sent_by(&world, A), sent_by(&world, B));
        assert_eq!((a.round_trip_us(), a.retransmits()), (None, 1));
        assert_eq!((b.round_trip_us(), b.retransmits()), (None, 0));
        // The same of the answer.
        let mut world = self::world();
        send(&world, &A_SYN);
        wait_us(&mut world, 20);
        send(&world, &B_SYN);
        wait_us(&mut world, 1_000_000);
        send(&world, &B_SYN);
        data(&world, 100, 5);
        let (a, b) = (sent_by(&world, A), sent_by(&world, B));
        assert_eq!((a.round_trip_us(), a.retransmits()), (Some(20), 0));
        assert_eq!((b.round_trip_us(), b.retransmits()), (None, 1));
    }

    #[test]
    fn a_refusal_is_no_round_trip() {
        let mut world = world();
        send(&world, &A_SYN);
        wait_us(&mut world, 20);
        let reset = Segment {
            flags: RST | ACK,
            ..B_SYN
        };
        send(&world, &reset);
        assert_eq!(sent_by(&world, A).round_trip_us(), None);
    }

    #[test]
    fn another_connection_on_the_same_ports_is_measured_anew() {
        let mut world = connected();
        data(&world, 100, 10);
        data(&world, 100, 10);
        let first = sent_by(&world, A).round_trip_us();
        assert_eq!(first, Some(1));
        for (at, syn) in [(&A_SYN, 700_000), (&B_SYN, 800_000)] {
            wait_us(&mut world, 70);
            send(
                &world,
                &Segment {
                    sequence: syn,
                    ..*at
                },
            );
        }
        assert_eq!(sent_by(&world, A).round_trip_us(), Some(70));
        data(&world, 700_001, 10);
        // What was sent again before is not forgotten, and no more was.
        assert_eq!((again(&world), sent_by(&world, B).retransmits()), (1, 0));
    }

    #[test]
    fn what_is_over_is_kept_at_the_interface() {
        let mut world = connected();
        data(&world, 100, 10);
        data(&world, 100, 10);
        for syn in [&A_SYN, &B_SYN] {
            wait_us(&mut world, 70);
            let sequence = syn.sequence + 1_000_000;
            send(&world, &Segment { sequence, ..*syn });
        }
        world.wait_s(100_000);
        for key in world.memory.flows().into_keys() {
            let is_lost = false;
            assert!(release(
                &world.memory,
                &ReleaseOrder { key, is_lost },
                world.now_ns
            ));
        }
        let counters = world.memory.counters();
        let at = |eni, what| {
            let key = CounterKey { eni, what, pad: 0 };
            counters.get(&key).copied().unwrap_or(0)
        };
        assert_eq!(at(A, counter::TCP_PACKETS_OUT), 5);
        assert_eq!(at(A, counter::RETRANSMITS), 1);
        assert_eq!(
            (at(A, counter::HANDSHAKES), at(A, counter::HANDSHAKE_US)),
            (2, 71)
        );
        assert_eq!(
            (at(B, counter::HANDSHAKES), at(B, counter::HANDSHAKE_US)),
            (1, 1)
        );
        assert_eq!(at(B, counter::TCP_PACKETS_OUT), 2);
    }

    /// The ends of a connection, as both sides say them.
    fn closed(world: &World, of_a: u32, of_b: u32) {
        data(world, 100, 10);
        let ends = |from, to, sequence, acknowledged, flags| Segment {
            from,
            to,
            flags,
            sequence,
            acknowledged,
            ..DATA
        };
        send(world, &ends(A, B, 110, 5_000, FIN | ACK));
        send(world, &ends(B, A, 5_000, of_b, FIN | ACK));
        send(world, &ends(A, B, 111, of_a, ACK));
    }

    /// For how many seconds after its last packet the connection is known.
    fn known_s(world: &mut World) -> u64 {
        let keys: Vec<FlowKey> = world.memory.flows().into_keys().collect();
        let is_known = |world: &World| {
            let live = keys.iter().map(|key| {
                let entry = world.memory.flow(key).expect("nothing removes it");
                connection::is_live(&world.memory, key, &entry, world.now_ns)
            });
            let live: Vec<bool> = live.collect();
            assert_eq!(live[0], live[1], "both directions end together");
            live[0]
        };
        let mut seconds = 0;
        while is_known(world) {
            seconds += 1;
            world.wait_s(1);
        }
        seconds
    }

    #[test]
    fn a_connection_is_over_soon_after_both_sides_acknowledged_its_end() {
        // A packet that is missing on one side or the other may come again for longer.
        for (of_a, of_b, wanted) in [(5_001, 111, 3), (5_000, 111, 11), (5_001, 110, 11)] {
            let mut world = connected();
            closed(&world, of_a, of_b);
            assert_eq!(known_s(&mut world), wanted, "{of_a} {of_b}");
        }
    }

    #[test]
    fn a_last_packet_that_comes_again_keeps_the_connection() {
        let mut world = connected();
        closed(&world, 5_001, 111);
        world.wait_s(2);
        let again = Segment {
            from: B,
            to: A,
            flags: FIN | ACK,
            sequence: 5_000,
            acknowledged: 111,
            ..DATA
        };
        send(&world, &again);
        assert_eq!(known_s(&mut world), 3);
    }

    #[test]
    fn a_reset_is_acknowledged_by_nobody() {
        let mut world = connected();
        data(&world, 100, 10);
        let reset = Segment {
            flags: RST | ACK,
            sequence: 110,
            acknowledged: 5_000,
            ..DATA
        };
        send(&world, &reset);
        assert_eq!(known_s(&mut world), 11);
    }

    #[test]
    fn udp_has_no_numbers() {
        let world = world();
        world.passes(A, D, Transport::Udp { from: 1, to: 2 }, 2);
        let flow = sent_by(&world, A);
        assert_eq!((flow.sent, flow.begun, flow.troubles), (0, 0, 0));
        assert_eq!(flow.flags & flag::ESTABLISHED, 0);
    }
}
