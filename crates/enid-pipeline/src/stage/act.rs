//! Act: the frame gets its MAC addresses and the flow table its entries.

use crate::{
    Scratch,
    bytes::MacPair,
    connection,
    flow::{FlowKey, FlowRecord, Timeouts, flag},
    frame::Frame,
    packet::Packet,
    reason::Reason,
    stage::{gate::Pass, route::Remote, spoof_guard::Source},
    table::{EniRecord, protocol},
    tables::Tables,
};

/// Writes the MAC addresses that a frame goes on with.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    leaves: MacPair,
) -> Result<(), Reason> {
    if leaves == packet.macs || frame.store(0, &leaves.bytes()) {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// What both gates and the route said about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) target: Remote<'a>,
    pub(crate) egress: Pass,
    pub(crate) ingress: Pass,
}

/// Writes a new connection's two entries, or begins a connection anew in entries that are there. Both
/// or none: an entry that was made for nothing is removed again.
///
/// An entry that is there is written in place, word by word, so that no count is lost. Another CPU may
/// meanwhile carry a packet of the same 5-tuple by a mix of the old and the new words; both were
/// admitted by the gates, and the worst is one frame with the other one's MAC addresses.
#[inline(never)]
pub(crate) fn open<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    judged: &Judged<'_>,
) -> Result<(), Reason> {
    let Scratch {
        packet,
        key,
        record,
        hop,
        generation,
        now_ns,
        ..
    } = scratch;
    let tracked = tracked_bits(judged.egress, judged.ingress);
    *record = FlowRecord {
        packets: 0,
        bytes: 0,
        first_seen_ns: *now_ns,
        last_seen_ns: *now_ns,
        packets_before: 0,
        egress_rule: judged.ingress.rule,
        ingress_rule: judged.egress.rule,
        source_eni: judged.target.eni,
        target_eni: judged.source.eni,
        related_packets: 0,
        // Answers to an address that the sender does not own may go elsewhere: they are judged when
        // they come.
        generation: if judged.source.owns_address {
            *generation
        } else {
            0
        },
        target_ifindex: u64::from(key.ifindex),
        arrives_head: hop.answer_arrives.head,
        arrives_tail: hop.answer_arrives.tail,
        leaves_head: hop.answer_leaves.head,
        leaves_tail: hop.answer_leaves.tail,
        flags: flag::REPLY | swapped(tracked),
        timeouts: timeouts(packet.protocol, judged).word(),
        ..FlowRecord::default()
    };
    let mut answer = key.reversed(judged.target.record.ifindex);
    if !key.asks()
        && let Some(query) = answer.take()
        && let Some(query) = tables.flow(&query)
    {
        // An answer that nobody asked for must not keep an ended query alive.
        tables.set(&query.flags, flag::ENDED);
    }
    let mut is_made = false;
    if let Some(answer) = &answer {
        match put(tables, answer, record) {
            Put::Added => is_made = true,
            Put::BegunAnew => {}
            Put::Full => return Err(Reason::FlowTableFull),
        }
    }
    record.packets = u64::from(packet.segments);
    record.bytes = u64::from(packet.bytes);
    record.egress_rule = judged.egress.rule;
    record.ingress_rule = judged.ingress.rule;
    record.source_eni = judged.source.eni;
    record.target_eni = judged.target.eni;
    record.generation = *generation;
    record.target_ifindex = u64::from(judged.target.record.ifindex);
    record.arrives_head = packet.macs.head;
    record.arrives_tail = packet.macs.tail;
    record.leaves_head = hop.leaves.head;
    record.leaves_tail = hop.leaves.tail;
    record.flags = tracked | u64::from(packet.tcp_flags) << flag::TCP_SHIFT;
    if put(tables, key, record) == Put::Full {
        if is_made && let Some(answer) = &answer {
            tables.remove_flow(answer);
        }
        return Err(Reason::FlowTableFull);
    }
    Ok(())
}

/// What became of an entry.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Put {
    Added,
    BegunAnew,
    Full,
}

/// Adds an entry, or begins anew in the one that is there.
#[inline(never)]
fn put<T: Tables>(tables: &T, key: &FlowKey, record: &FlowRecord) -> Put {
    // The insertion looks the key up itself, and a key that is there already is the rare case.
    if tables.insert_flow(key, record) {
        return Put::Added;
    }
    let Some(entry) = tables.flow(key) else {
        return Put::Full;
    };
    entry.packets_before.set(entry.packets.get());
    entry.last_seen_ns.set(record.last_seen_ns);
    entry.egress_rule.set(record.egress_rule);
    entry.ingress_rule.set(record.ingress_rule);
    entry.source_eni.set(record.source_eni);
    entry.target_eni.set(record.target_eni);
    entry.target_ifindex.set(record.target_ifindex);
    entry.arrives_head.set(record.arrives_head);
    entry.arrives_tail.set(record.arrives_tail);
    entry.leaves_head.set(record.leaves_head);
    entry.leaves_tail.set(record.leaves_tail);
    entry.timeouts.set(record.timeouts);
    entry.flags.set(record.flags);
    entry.generation.set(record.generation);
    tables.add(&entry.packets, record.packets);
    tables.add(&entry.bytes, record.bytes);
    Put::BegunAnew
}

/// Stamps an entry that was judged again, and tells its opposite what is tracked from now on.
#[inline(never)]
pub(crate) fn renew<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    judged: &Judged<'_>,
) -> Result<(), Reason> {
    let Scratch {
        packet,
        key,
        record,
        carried,
        hop,
        generation,
        now_ns,
        ..
    } = scratch;
    let Some(entry) = tables.flow(key) else {
        // The flow sweep removed it in this moment: the next packet is judged as new.
        return Ok(());
    };
    // Only packets in the connection's own direction say whether it is tracked, except to an ENI that
    // the connection is new to.
    let is_new = entry.target_eni.get() != judged.target.eni;
    if is_new {
        // What the ENI that had the address before tracked is nothing to this one.
        entry
            .flags
            .set(entry.flags.get() & !flag::TRACKED_AT_TARGET);
    }
    let tracked = if carried.is_reply() {
        let at_target = if is_new && judged.ingress.is_tracked {
            flag::TRACKED_AT_TARGET
        } else {
            0
        };
        carried.tracked_bits() | at_target
    } else {
        tracked_bits(judged.egress, judged.ingress)
    };
    entry.egress_rule.set(judged.egress.rule);
    entry.ingress_rule.set(judged.ingress.rule);
    entry.target_eni.set(judged.target.eni);
    entry
        .target_ifindex
        .set(u64::from(judged.target.record.ifindex));
    entry.arrives_head.set(packet.macs.head);
    entry.arrives_tail.set(packet.macs.tail);
    entry.leaves_head.set(hop.leaves.head);
    entry.leaves_tail.set(hop.leaves.tail);
    entry.timeouts.set(timeouts(packet.protocol, judged).word());
    tables.set(&entry.flags, tracked);
    entry.generation.set(*generation);
    entry.last_seen_ns.set(*now_ns);
    tables.add(&entry.packets, u64::from(packet.segments));
    tables.add(&entry.bytes, u64::from(packet.bytes));
    if packet.protocol == protocol::TCP {
        connection::note_tcp_flags(tables, key, &entry, packet.tcp_flags);
    }

    if !key.asks() && !carried.is_reply() {
        return Ok(());
    }
    let Some(answer) = key.reversed(judged.target.record.ifindex) else {
        return Ok(());
    };
    if let Some(opposite) = tables.flow(&answer) {
        tables.set(&opposite.flags, swapped(tracked));
        return Ok(());
    }
    // The destination moved to another ENI, or the opposite was lost: made again, to be judged when
    // its first packet comes.
    let reply = if carried.is_reply() { 0 } else { flag::REPLY };
    *record = FlowRecord {
        first_seen_ns: *now_ns,
        last_seen_ns: *now_ns,
        egress_rule: judged.ingress.rule,
        ingress_rule: judged.egress.rule,
        source_eni: judged.target.eni,
        target_eni: judged.source.eni,
        target_ifindex: u64::from(key.ifindex),
        flags: reply | swapped(tracked),
        timeouts: timeouts(packet.protocol, judged).word(),
        ..FlowRecord::default()
    };
    match put(tables, &answer, record) {
        Put::Added | Put::BegunAnew => Ok(()),
        Put::Full => Err(Reason::FlowTableFull),
    }
}

#[inline(always)]
const fn tracked_bits(egress: Pass, ingress: Pass) -> u64 {
    let mut bits = 0;
    if egress.is_tracked {
        bits |= flag::TRACKED_AT_SOURCE;
    }
    if ingress.is_tracked {
        bits |= flag::TRACKED_AT_TARGET;
    }
    bits
}

/// The tracked bits as the opposite entry has them.
#[inline(always)]
const fn swapped(tracked: u64) -> u64 {
    let mut bits = 0;
    if tracked & flag::TRACKED_AT_SOURCE != 0 {
        bits |= flag::TRACKED_AT_TARGET;
    }
    if tracked & flag::TRACKED_AT_TARGET != 0 {
        bits |= flag::TRACKED_AT_SOURCE;
    }
    bits
}

/// The shorter timeouts of the two ENIs: a flow that one of them has forgotten is over.
#[inline(always)]
const fn timeouts(number: u8, judged: &Judged<'_>) -> Timeouts {
    let (a, b): (&EniRecord, &EniRecord) = (judged.source.record, judged.target.record);
    if number == protocol::TCP {
        Timeouts {
            first_s: shorter(a.tcp_established_s, b.tcp_established_s),
            stream_s: 0,
        }
    } else {
        Timeouts {
            first_s: shorter(a.udp_s, b.udp_s),
            stream_s: shorter(a.udp_stream_s, b.udp_stream_s),
        }
    }
}

#[inline(always)]
const fn shorter(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use crate::bytes::Addr;
    use crate::ledger::{A, B, Change, D, Gate, World, addr, device, mac, packet, query, reply};
    use crate::packet_builder::Transport;
    use crate::table::{Endpoint, EndpointKey};
    use crate::{Reason, Verdict};

    #[test]
    fn a_full_table_takes_both_entries_or_none() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 3;
        world.passes(A, B, query(), 2);
        world.drops(A, D, query(), Reason::FlowTableFull);
        // Flows that are there live on, and there is room for one that needs a single entry.
        world.passes(B, A, reply(), 0);
        world.passes(A, B, Transport::echo_reply(1), 1);
    }

    #[test]
    fn a_connection_that_begins_anew_keeps_the_counts() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, Transport::syn(1, 2), 2);
        world.passes(A, B, Transport::syn(1, 2), 0);
        let flows = world.memory.flows();
        let counts: Vec<_> = flows
            .values()
            .map(|f| (f.packets, f.packets_before))
            .collect();
        assert_eq!(counts, [(2, 1), (0, 0)]);
    }

    #[test]
    fn an_address_that_moved_is_judged_by_its_new_owner() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        // B's address goes to D's subnet neighbour: D itself, which lets nothing in.
        world.policy(D, Gate::Closed, Gate::Closed);
        let key = EndpointKey {
            vpc: 1,
            addr: addr(B),
        };
        world
            .memory
            .tables
            .endpoints
            .insert(key, Endpoint { eni: D });
        world.memory.generation += 1;
        let mut moved = packet(A, D, query());
        moved.target = addr(B);
        let _ = world.send(A, &mut moved.frame(), &Change::dropped(Reason::IngressRule));
        world.policy(D, Gate::Closed, Gate::Neighbours);
        let mut frame = moved.frame();
        // A's entry goes on, and D gets one for its answers.
        let verdict = world.send(A, &mut frame, &Change::opened(1, 28));
        assert_eq!(verdict, Verdict::Forward { ifindex: device(D) });
        assert_eq!(frame[..6], mac(D).0);
        let mut answer = packet(D, A, reply());
        answer.source = addr(B);
        let _ = world.send(D, &mut answer.frame(), &Change::carried(28));
    }

    #[test]
    fn an_answer_to_an_address_that_the_sender_does_not_own_goes_to_the_owner() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.change_eni(A, |eni| eni.flags = 0);
        let mut borrowed = packet(A, B, query());
        borrowed.source = addr(D);
        let _ = world.send(A, &mut borrowed.frame(), &Change::opened(2, 28));
        // D admits it by its own rule, not by what A began. D's entry for the way back is made.
        let mut frame = packet(B, D, reply()).frame();
        let verdict = world.send(B, &mut frame, &Change::opened(1, 28));
        assert_eq!(verdict, Verdict::Forward { ifindex: device(D) });
        world.policy(D, Gate::Closed, Gate::Closed);
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.change_eni(A, |eni| eni.flags = 0);
        world.policy(D, Gate::Closed, Gate::Closed);
        let _ = world.send(A, &mut borrowed.frame(), &Change::opened(2, 28));
        world.drops(B, D, reply(), Reason::IngressRule);
    }

    #[test]
    fn a_device_that_another_eni_got_has_no_old_flows() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        world.policy(A, Gate::Closed, Gate::Closed);
        // Another ENI, with A's address and device.
        let mut record = world.memory.tables.enis[&A];
        record.flags = 0;
        world.memory.tables.enis.insert(77, record);
        world.memory.tables.devices.insert(device(A), 77);
        world.memory.generation += 1;
        world.drops(A, B, query(), Reason::EgressRule);
    }

    #[test]
    fn a_query_that_ended_is_not_revived_by_an_answer() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, Transport::echo(5), 2);
        world.wait_s(31);
        // B's answer comes too late and passes by its rules, alone.
        let mut late = packet(B, A, Transport::echo_reply(5)).frame();
        let _ = world.send(B, &mut late, &Change::carried(28));
        world.policy(A, Gate::Closed, Gate::Closed);
        world.drops(A, B, Transport::echo(5), Reason::EgressRule);
    }

    #[test]
    fn timeouts_are_the_shorter_of_both() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.change_eni(B, |eni| eni.tcp_established_s = 60);
        world.passes(A, B, Transport::syn(1, 2), 2);
        let flows = world.memory.flows();
        assert!(flows.values().all(|flow| flow.timeouts == 60));
        assert_eq!(Addr::v4([10, 0, 0, 10]), addr(A));
    }
}
