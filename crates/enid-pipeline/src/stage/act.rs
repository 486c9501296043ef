//! Act: the frame gets its MAC addresses and the flow table its entries.

use crate::{
    Scratch, allowance,
    balancer::UDP_IDLE_S,
    bytes::{MacPair, tails},
    connection, copy,
    flow::{FlowEntry, FlowKey, FlowRecord, Timeouts, Translation, flag},
    frame::Frame,
    journey::Journey,
    packet::Packet,
    reason::Reason,
    room, sequence,
    stage::{flow_lookup::is_by_egress_only, gate::Pass, nat, nat_port, translate},
    table::{EniRecord, OUTSIDE, protocol},
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

/// Fills the scratch record's entry with that of the packets that answer, to be added before the packet's
/// own. They are judged when they come, unless the journey says that they need not be.
#[inline(never)]
pub(crate) fn prepare_answers(scratch: &mut Scratch) {
    let is_translated =
        scratch.journey.is_translated(&scratch.packet) || scratch.journey.needs_port;
    let Scratch {
        key,
        journey,
        record,
        ..
    } = scratch;
    // The answer to the packet as it came: what answers go on as.
    let back = key.reversed(key.ifindex);
    let new = match back {
        Some(back) => Translation {
            source: back.source,
            target: back.target,
            source_port: back.source_port,
            target_port: back.target_port,
        },
        None => Translation::default(),
    };
    let new = new.words(&journey.target, &journey.source);
    let holder = holder(
        journey.eni,
        scratch.target_instance,
        scratch.source_instance,
    );
    let mut flags = swapped(tracked_bits(scratch.egress, scratch.ingress));
    flags |= copy::seen_from_target(scratch.watched);
    flags |= room::counted_bit(flags, journey.eni, holder);
    if scratch.is_metered {
        flags |= flag::METERED;
    }
    if is_translated {
        flags |= flag::TRANSLATED;
    }
    if scratch.source_eni == OUTSIDE {
        flags |= flag::TO_OUTSIDE;
    }
    if journey.needs_port {
        flags |= flag::HOLDS_PORT;
    }
    flags |= passage(journey);
    // Answers to an address that the sender does not own may go elsewhere.
    let is_known = journey.is_both_ways && scratch.owns_address;
    *record = FlowRecord {
        packets: 0,
        bytes: 0,
        first_seen_ns: scratch.now_ns,
        last_seen_ns: scratch.now_ns,
        sent: 0,
        begun: 0,
        egress_rule: scratch.ingress.rule,
        ingress_rule: scratch.egress.rule,
        source_eni: journey.eni,
        target_eni: scratch.source_eni,
        troubles: 0,
        generation: if is_known { scratch.generation } else { 0 },
        target_ifindex: u64::from(key.ifindex) | new.rest,
        arrives_head: journey.hop.answer_arrives.head,
        leaves_head: journey.hop.answer_leaves.head,
        tails: tails(journey.hop.answer_arrives, journey.hop.answer_leaves),
        flags: flag::REPLY | flags | new.flags,
        timeouts: scratch.timeouts,
        new_addresses: new.addresses,
        new_ports: new.ports,
        via: journey.via,
        acl_entries: 0,
        route: route_back(journey.route),
        holder,
    };
}

/// What the entry of the answers says of the route: nothing until they come, but that they come in by the
/// egress-only gateway by which the packet left.
#[inline(always)]
const fn route_back(route: u64) -> u64 {
    if is_by_egress_only(route) { route } else { 0 }
}

/// Writes a new connection's two entries, or begins a connection anew in entries that are there. Both
/// or none: an entry that was made for nothing is removed again. The scratch record has the entry of the
/// answers, and becomes the packet's own.
///
/// An entry that is there is written in place, word by word, so that no count is lost. Another CPU may
/// meanwhile carry a packet of the same 5-tuple by a mix of the old and the new words; both were
/// admitted by the gates, and the worst is one frame with the other one's MAC addresses or ports.
#[inline(never)]
pub(crate) fn open<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.has_answer && scratch.answer == scratch.key {
        // To its own public address, and from the port that it goes to: it would answer itself.
        return Err(Reason::OwnAddress);
    }
    if scratch.has_answer && !scratch.key.asks() {
        if let Some(query) = tables.flow(&scratch.answer) {
            // An answer that nobody asked for must not keep an ended query alive.
            tables.set(&query.flags, flag::ENDED);
        }
        scratch.has_answer = false;
    }
    // A port that was taken is an entry that was made.
    let mut is_made = scratch.journey.needs_port;
    if scratch.has_answer {
        match put(tables, &scratch.answer, &scratch.record, &scratch.key) {
            Put::Added => is_made = true,
            Put::BegunAnew => {}
            Put::Full => return Err(Reason::FlowTableFull),
        }
    }
    if scratch.packet.opens_tcp() {
        // From here on its round trip is measured.
        scratch.now_ns = tables.exact_ns(scratch.now_ns);
    }
    own_record(scratch);
    if put(tables, &scratch.key, &scratch.record, &scratch.answer) == Put::Full {
        if is_made && scratch.has_answer {
            if let Some(answers) = tables.flow(&scratch.answer) {
                nat_port::let_go(tables, &scratch.answer, &answers, false);
            }
            room::remove(tables, &scratch.answer);
        }
        return Err(Reason::FlowTableFull);
    }
    Ok(())
}

/// Makes the entry of the answers the packet's own.
#[inline(always)]
fn own_record(scratch: &mut Scratch) {
    let new = translate::words_of_journey(scratch);
    let holder = holder(
        scratch.source_eni,
        scratch.source_instance,
        scratch.target_instance,
    );
    let mut flags = way_flags(scratch) | tracked_bits(scratch.egress, scratch.ingress);
    flags |= room::counted_bit(flags, scratch.source_eni, holder);
    let Scratch {
        packet,
        record,
        journey,
        ..
    } = scratch;
    record.packets = u64::from(packet.segments);
    record.bytes = u64::from(packet.bytes);
    record.last_seen_ns = scratch.now_ns;
    record.egress_rule = scratch.egress.rule;
    record.ingress_rule = scratch.ingress.rule;
    record.source_eni = scratch.source_eni;
    record.target_eni = journey.eni;
    record.generation = scratch.generation;
    record.target_ifindex = u64::from(journey.ifindex) | new.rest;
    record.arrives_head = packet.macs.head;
    record.leaves_head = journey.hop.leaves.head;
    record.tails = tails(packet.macs, journey.hop.leaves);
    record.sent = sequence::first(packet);
    record.flags = flags | new.flags | u64::from(packet.tcp_flags) << flag::TCP_SHIFT;
    record.new_addresses = new.addresses;
    record.new_ports = new.ports;
    record.acl_entries = scratch.acl_entries;
    record.route = journey.route_word();
    record.holder = holder;
}

/// The instance that an entry is counted for: the sender's, or of what comes from the outside the
/// receiver's.
#[inline(always)]
const fn holder(source_eni: u64, source_instance: u64, target_instance: u64) -> u64 {
    if source_eni == OUTSIDE {
        target_instance
    } else {
        source_instance
    }
}

/// The flags of both directions that say what the packet passes.
#[inline(always)]
const fn passage(journey: &Journey) -> u64 {
    (journey.is_balanced as u64 * flag::BALANCED)
        | (journey.is_turned as u64 * flag::TURNED)
        | (journey.is_transparent as u64 * flag::TRANSPARENT)
}

/// The flags that say how the packet goes on.
#[inline(always)]
fn way_flags(scratch: &Scratch) -> u64 {
    let mut flags = 0;
    if scratch.journey.is_translated(&scratch.packet) {
        flags |= flag::TRANSLATED;
    }
    if scratch.journey.is_to_outside {
        flags |= flag::TO_OUTSIDE;
    }
    if scratch.is_metered {
        flags |= flag::METERED;
    }
    flags |= passage(&scratch.journey);
    flags | scratch.watched | u64::from(scratch.journey.mtu) << flag::MTU_SHIFT
}

/// What became of an entry.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Put {
    Added,
    BegunAnew,
    Full,
}

/// Adds an entry, or begins anew in the one that is there. `opposite` is the key of the other direction.
#[inline(never)]
fn put<T: Tables>(tables: &T, key: &FlowKey, record: &FlowRecord, opposite: &FlowKey) -> Put {
    // The insertion looks the key up itself, and a key that is there already is the rare case.
    if room::insert(tables, key, record) {
        return Put::Added;
    }
    let Some(entry) = tables.flow(key) else {
        return Put::Full;
    };
    forget_old_way(tables, key, &entry, opposite);
    if record.flags & flag::HOLDS_PORT == 0 {
        nat_port::let_go(tables, key, &entry, false);
    }
    room::change(tables, &entry, record);
    sequence::begin_anew(tables, &entry, record);
    entry.last_seen_ns.set(record.last_seen_ns);
    entry.egress_rule.set(record.egress_rule);
    entry.ingress_rule.set(record.ingress_rule);
    entry.source_eni.set(record.source_eni);
    entry.target_eni.set(record.target_eni);
    entry.target_ifindex.set(record.target_ifindex);
    entry.arrives_head.set(record.arrives_head);
    entry.leaves_head.set(record.leaves_head);
    entry.tails.set(record.tails);
    entry.timeouts.set(record.timeouts);
    entry.new_addresses.set(record.new_addresses);
    entry.new_ports.set(record.new_ports);
    entry.via.set(record.via);
    entry.acl_entries.set(record.acl_entries);
    entry.route.set(record.route);
    entry.flags.set(record.flags);
    entry.generation.set(record.generation);
    tables.add(&entry.packets, record.packets);
    tables.add(&entry.bytes, record.bytes);
    Put::BegunAnew
}

/// Ends the entry of the answers to an entry that goes another way from now on: what still came by it
/// would be taken for answers. Its counts stay until the sweep.
#[inline(never)]
fn forget_old_way<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry, new: &FlowKey) {
    let Some(old) = entry.opposite(key) else {
        return;
    };
    if old == *new {
        return;
    }
    if let Some(opposite) = tables.flow(&old)
        && connection::leads_back(&old, &opposite, key)
    {
        tables.set(&opposite.flags, flag::ENDED);
    }
}

/// Stamps an entry that was judged again, and tells its opposite what is tracked from now on. The scratch
/// record has the entry that the opposite gets if it is missing.
#[inline(never)]
pub(crate) fn renew<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let Some(entry) = tables.flow(&scratch.key) else {
        // The flow sweep removed it in this moment: the next packet is judged as new.
        return Ok(());
    };
    // An answer that goes by another way than the question came leaves the question alone. To who asked it is
    // none either, and makes no question.
    let is_of_question = !scratch.carried.is_reply()
        || entry.target_eni.get() != scratch.journey.eni
        || connection::leads_back(&scratch.key, &entry, &scratch.answer);
    if !scratch.carried.is_reply() {
        forget_old_way(tables, &scratch.key, &entry, &scratch.answer);
    }
    let tracked = stamp(tables, scratch, &entry);
    if scratch.packet.protocol == protocol::TCP {
        sequence::note(tables, &entry, &scratch.packet);
        connection::note_tcp_flags(tables, &scratch.key, &entry, &scratch.packet);
    }
    let is_of_connection = scratch.key.asks() || scratch.carried.is_reply();
    if !is_of_connection || !scratch.has_answer {
        return Ok(());
    }
    // Answers that ended because the connection took another way are waited for again.
    let is_back = |opposite: &FlowEntry| {
        opposite.flags.get() & flag::ENDED != 0 && !scratch.carried.is_reply()
    };
    // What leaves under an address of the sender's own is answered to it, and no more to who had the address
    // before and still waits for answers.
    let is_taken_over = |opposite: &FlowEntry| {
        let is_own = !scratch.carried.is_reply() && scratch.owns_address;
        let is_of_answers = opposite.flags.get() & flag::REPLY != 0;
        is_own
            && is_of_answers
            && opposite.source_eni.get() == OUTSIDE
            && opposite.target_eni.get() != scratch.source_eni
    };
    if let Some(opposite) = tables.flow(&scratch.answer)
        && !is_back(&opposite)
        && !is_taken_over(&opposite)
    {
        // One that goes another way is the concern of who it goes to.
        if connection::leads_back(&scratch.answer, &opposite, &scratch.key) {
            if scratch.carried.is_forgotten {
                room::untrack(tables, &opposite);
                // Its own packets say whether it is tracked from now on.
                opposite.generation.set(0);
            }
            tables.set(&opposite.flags, swapped(tracked));
            let route = route_back(scratch.journey.route);
            let is_same = is_by_egress_only(opposite.route.get()) == is_by_egress_only(route);
            let is_own = !scratch.carried.is_reply() && scratch.source_eni != OUTSIDE;
            if is_own && !is_same {
                // They come in by another gateway from now on, and are judged for it.
                opposite.route.set(route);
                opposite.generation.set(0);
            }
            room::track(tables, &opposite);
        }
        return Ok(());
    }
    if !is_of_question {
        return Ok(());
    }
    // The destination moved to another ENI, or the opposite was lost or ended: made again, to be judged when
    // its first packet comes.
    let record = &mut scratch.record;
    record.generation = 0;
    record.flags &= flag::WAY;
    record.flags |= swapped(tracked);
    record.flags |= room::counted_bit(record.flags, record.source_eni, record.holder);
    if !scratch.carried.is_reply() {
        record.flags |= flag::REPLY;
        let is_from_node = scratch.journey.source != scratch.packet.source;
        if scratch.journey.via != 0 && (!scratch.journey.is_balanced || is_from_node) {
            record.flags |= flag::HOLDS_PORT;
        }
    }
    let holds_port = record.flags & flag::HOLDS_PORT != 0;
    match put(tables, &scratch.answer, record, &scratch.key) {
        Put::Added => {
            if holds_port {
                nat_port::take_again(tables, scratch);
            }
            Ok(())
        }
        Put::BegunAnew => Ok(()),
        Put::Full => Err(Reason::FlowTableFull),
    }
}

/// The bits of an entry's flags that are the longest packet of its way.
const MTU: u64 = u64::MAX << flag::MTU_SHIFT;

/// Writes into an entry how its packet was judged. Returns the gates at which it is tracked.
#[inline(always)]
fn stamp<T: Tables>(tables: &T, scratch: &Scratch, entry: &FlowEntry) -> u64 {
    let Scratch {
        packet,
        journey,
        carried,
        egress,
        ingress,
        ..
    } = scratch;
    // Only packets in the connection's own direction say whether it is tracked, except to an ENI that
    // the connection is new to, or that has forgotten it.
    let is_new = entry.target_eni.get() != journey.eni;
    let mut stale = flag::WAY | MTU;
    if entry.via.get() != journey.via && entry.flags.get() & flag::HOLDS_PORT != 0 {
        nat_port::let_go(tables, &scratch.key, entry, false);
        stale |= flag::HOLDS_PORT | flag::UNCOUNTED_PORT;
    }
    if carried.is_forgotten {
        room::untrack(tables, entry);
    } else if is_new {
        // What the ENI that had the address before tracked is nothing to this one.
        stale |= flag::TRACKED_AT_TARGET;
    }
    let new = translate::words_of_journey(scratch);
    let way = way_flags(scratch) | new.flags;
    stale &= !way;
    if entry.flags.get() & stale != 0 {
        entry.flags.set(entry.flags.get() & !stale);
    }
    let tracked = if carried.is_reply() && !carried.is_forgotten {
        let at_target = if is_new && ingress.is_tracked {
            flag::TRACKED_AT_TARGET
        } else {
            0
        };
        carried.tracked_bits() | at_target
    } else {
        tracked_bits(*egress, *ingress)
    };
    entry.egress_rule.set(egress.rule);
    entry.ingress_rule.set(ingress.rule);
    entry.target_eni.set(journey.eni);
    entry
        .target_ifindex
        .set(u64::from(journey.ifindex) | new.rest);
    entry.arrives_head.set(packet.macs.head);
    entry.leaves_head.set(journey.hop.leaves.head);
    entry.tails.set(tails(packet.macs, journey.hop.leaves));
    entry.new_addresses.set(new.addresses);
    entry.new_ports.set(new.ports);
    entry.via.set(journey.via);
    entry.acl_entries.set(scratch.acl_entries);
    entry.route.set(journey.route_word());
    entry.timeouts.set(scratch.timeouts);
    tables.set(&entry.flags, tracked | way);
    room::track(tables, entry);
    entry.generation.set(scratch.generation);
    entry.last_seen_ns.set(scratch.now_ns);
    tables.add(&entry.packets, u64::from(packet.segments));
    tables.add(&entry.bytes, u64::from(packet.bytes));
    tracked
}

/// Whether a packet passes as the answer to one that its receiver sent and tracks, though by another way;
/// then the scratch record has how.
#[inline(never)]
pub(crate) fn is_answered<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    nat::find_answer(scratch);
    let key = &scratch.answer;
    if scratch.packet.opens_tcp() || !scratch.has_answer || !key.asks() {
        return false;
    }
    let Some(entry) = tables.flow(key) else {
        return false;
    };
    let is_tracked = entry.source_eni.get() == scratch.journey.eni
        && entry.flags.get() & flag::TRACKED_AT_SOURCE != 0
        && connection::is_live(tables, key, &entry, scratch.now_ns);
    if is_tracked {
        scratch.is_answer = true;
        scratch.ingress = Pass {
            rule: entry.egress_rule.get(),
            is_tracked: true,
        };
    }
    is_tracked
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

/// Takes from the ENIs at both ends whose instances they are, whether these have allowances, and the
/// timeouts of a flow between them: the shorter ones of the ENIs, for a flow that one of them has forgotten
/// is over. A NAT gateway that it passes has its own, and so has a load balancer, which is one of the ends
/// to both. The outside forgets nothing.
#[inline(never)]
pub(crate) fn meet_ends<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.is_metered = false;
    scratch.watched = 0;
    scratch.source_instance = 0;
    scratch.target_instance = 0;
    let mut all = Timeouts {
        first_s: u32::MAX,
        stream_s: u32::MAX >> 1,
        is_kept: scratch.journey.via != 0 && !scratch.journey.is_balanced,
    };
    let is_tcp = scratch.packet.protocol == protocol::TCP;
    for is_source in [true, false] {
        let id = if is_source {
            scratch.source_eni
        } else {
            scratch.journey.eni
        };
        if let Some(eni) = tables.eni(id) {
            if eni.flags & EniRecord::FAULTY != 0 {
                scratch.blamed_eni = id;
                return Err(Reason::Fault);
            }
            let watched = if is_source {
                scratch.source_instance = eni.instance;
                flag::WATCHED_AT_SOURCE
            } else {
                scratch.target_instance = eni.instance;
                flag::WATCHED_AT_TARGET
            };
            if copy::is_watched(eni) {
                scratch.watched |= watched;
            }
            scratch.is_metered |= allowance::is_metered(eni);
            let first_s = if is_tcp {
                eni.tcp_established_s
            } else {
                eni.udp_s
            };
            all.first_s = shorter(all.first_s, first_s);
            all.stream_s = shorter(all.stream_s, eni.udp_stream_s);
        }
    }
    if scratch.journey.is_balanced && is_tcp {
        all.first_s = shorter(all.first_s, scratch.journey.idle_s);
    } else if scratch.journey.is_balanced {
        // Tracked by the balancer, whatever the interfaces' own timeouts are (EC2 User Guide, "Security group
        // connection tracking").
        all.first_s = UDP_IDLE_S;
        all.stream_s = UDP_IDLE_S;
    }
    if is_tcp {
        all.stream_s = 0;
    }
    scratch.timeouts = all.word();
    Ok(())
}

#[inline(always)]
const fn shorter(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use crate::bytes::Addr;
    use crate::ledger::{A, B, Change, D, Gate, World, addr, device, mac, packet, query, reply};
    use crate::ledger_wide::{ALL, GATEWAY, NAT, X, add_route, from_x, public, to, wide};
    use crate::packet_builder::Transport;
    use crate::table::{Endpoint, EndpointKey, Route};
    use crate::{Reason, Verdict, room};

    #[test]
    fn a_full_table_takes_both_entries_or_none() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 3;
        // Of no instance: nobody's share stands before the end of the table.
        for eni in [A, B, D] {
            world.change_eni(eni, |eni| eni.instance = room::WHOLE);
        }
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
        let mut other = packet(A, B, Transport::syn(1, 2)).frame();
        other[38..42].copy_from_slice(&77_u32.to_be_bytes());
        let _ = world.send(A, &mut other, &Change::opened(0, 40));
        let flows = world.memory.flows();
        let counts: Vec<_> = flows.values().map(|f| (f.packets, f.begun)).collect();
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

    #[test]
    fn a_connection_that_takes_another_way_leaves_no_old_answers() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        add_route(&mut world, 13, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let _ = world.send(A, &mut to(A, X, query()).frame(), &Change::opened(2, 28));
        add_route(&mut world, 11, ALL, Route::NAT_GATEWAY, NAT);
        // By the NAT gateway it is the same connection of A's, with other answers.
        let _ = world.send(A, &mut to(A, X, query()).frame(), &Change::opened(1, 28));
        // What still comes by the old way is an answer that A waits for, and changes nothing.
        let old = from_x(public(A), reply());
        let _ = world.send_in(&mut old.frame(), &Change::default());
        let _ = world.send(A, &mut to(A, X, query()).frame(), &Change::carried(28));
        // When A waits no more, its gate decides alone.
        world.wait_s(31);
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut old.frame(), &change);
    }

    #[test]
    fn who_has_a_public_address_now_gets_the_answers_to_what_leaves_under_it() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        for subnet in [11, 12] {
            add_route(&mut world, subnet, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        }
        // D by a NAT gateway first, A under its own address.
        add_route(&mut world, 12, ALL, Route::NAT_GATEWAY, NAT);
        add_route(&mut world, 13, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let _ = world.send(A, &mut to(A, X, query()).frame(), &Change::opened(2, 28));
        let _ = world.send(D, &mut to(D, X, query()).frame(), &Change::opened(2, 28));
        // A's address goes to D, which leaves under it from now on: as A did, to whom an answer is due.
        let record = world.memory.tables.publics.get_mut(&public(A));
        let record = record.expect("A's public address");
        (record.eni, record.private) = (D, addr(D));
        let own = EndpointKey {
            vpc: 1,
            addr: addr(D),
        };
        let of_d = crate::table::PublicOf { addr: public(A) };
        world.memory.tables.public_of.insert(own, of_d);
        add_route(&mut world, 12, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let _ = world.send(D, &mut to(D, X, query()).frame(), &Change::carried(28));
        let answers = world.memory.flows().into_iter().filter(|(key, flow)| {
            key.target == public(A) && flow.flags & crate::flow::flag::REPLY != 0
        });
        let targets: Vec<u64> = answers.map(|(_, flow)| flow.target_eni).collect();
        assert_eq!(targets, [D]);
        let mut answer = from_x(public(A), reply()).frame();
        let verdict = world.send_in(&mut answer, &Change::carried(28));
        assert_eq!(verdict, Verdict::Forward { ifindex: device(D) });
    }

    #[test]
    fn an_answer_that_comes_past_the_middlebox_is_known_to_who_asked() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        world.change_eni(B, |eni| eni.flags = 0);
        // A asks D through B, which forwards; D answers A itself.
        add_route(&mut world, 11, (24, [10, 0, 1, 0]), Route::ENI, B);
        world.policy(B, Gate::Everybody, Gate::Everybody);
        world.policy(D, Gate::Everybody, Gate::Everybody);
        let _ = world.send(
            A,
            &mut to(A, addr(D), query()).frame(),
            &Change::opened(2, 28),
        );
        let subnet = world.memory.tables.subnets.get_mut(&11);
        subnet.expect("a subnet of the world").route_table = 13;
        world.memory.generation += 1;
        let mut forwarded = to(A, addr(D), query());
        forwarded.from_mac = mac(B);
        let _ = world.send(B, &mut forwarded.frame(), &Change::opened(2, 28));
        let mut frame = to(D, addr(A), reply()).frame();
        let verdict = world.send(D, &mut frame, &Change::opened(0, 28));
        assert_eq!(verdict, Verdict::Forward { ifindex: device(A) });
        // What A never asked for its gate refuses.
        let other = Transport::Udp { from: 54, to: 1000 };
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send(D, &mut to(D, addr(A), other).frame(), &change);
    }

    #[test]
    fn a_public_address_that_moved_has_no_old_flows() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let _ = world.send(A, &mut to(A, X, query()).frame(), &Change::opened(2, 28));
        let _ = world.send_in(
            &mut from_x(public(A), reply()).frame(),
            &Change::carried(28),
        );
        let record = world.memory.tables.publics.get_mut(&public(A));
        let record = record.expect("A's public address");
        (record.eni, record.private) = (D, addr(D));
        world.memory.generation += 1;
        let change = Change::dropped(Reason::IngressRule);
        let _ = world.send_in(&mut from_x(public(A), reply()).frame(), &change);
    }
}
