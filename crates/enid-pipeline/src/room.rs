//! The room in the flow table, and how much of it each instance holds.
//!
//! Every entry has a holder: the instance that sends its packets; for packets from the outside, the instance
//! that gets them. A new connection needs room at both of its ends, and is refused when one of them holds
//! as many entries as are free already. So one instance that opens connections without end, or lets others
//! open them, fills half of the table at most, two fill a third each, and there is always as much left for
//! one that comes anew as the greediest has. When nothing is left the table is full, for everybody. What is there lives on. The measure is the dynamic threshold
//! of shared switch buffers (Choudhury and Hahne, 1998, with a factor of one): it needs no setting, and an
//! instance that is alone is not held to the share of one among many.
//!
//! Counts are atomic sums: an entry is counted by who makes it and by who removes it, in the same program
//! run. Two CPUs may each pass the check and add, so that a share is exceeded by an entry of each CPU at
//! most. Limit: of two CPUs that begin the same 5-tuple anew in the same microsecond both may count the
//! change of a tracked entry to an untracked one; the count of tracked connections is then off by one.

use core::{cell::Cell, mem::size_of};

use crate::{
    Scratch,
    flow::{FlowEntry, FlowKey, FlowRecord, flag},
    reason::Reason,
    table::OUTSIDE,
    tables::Tables,
};

/// What an instance uses up. `W` as in [`Flow`](crate::flow::Flow).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Use<W> {
    /// Flow entries that it holds.
    pub entries: W,
    /// Those of them that it tracks.
    pub tracked: W,
    /// Buckets: see [`allowance`](crate::allowance).
    pub bandwidth_in: W,
    /// What it sends.
    pub bandwidth_out: W,
    /// What it gets beyond its baseline.
    pub credits_in: W,
    /// What it sends beyond its baseline.
    pub credits_out: W,
    /// What it gets from the outside.
    pub gateway_in: W,
    /// What it sends to the outside.
    pub gateway_out: W,
    /// Packets in both directions.
    pub packets: W,
}

/// As the tables hold it.
pub type UseEntry = Use<Cell<u64>>;
/// As user space reads it.
pub type UseRecord = Use<u64>;

impl<W> Use<W> {
    /// The same with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> Use<V> {
        Use {
            entries: f(&self.entries),
            tracked: f(&self.tracked),
            bandwidth_in: f(&self.bandwidth_in),
            bandwidth_out: f(&self.bandwidth_out),
            credits_in: f(&self.credits_in),
            credits_out: f(&self.credits_out),
            gateway_in: f(&self.gateway_in),
            gateway_out: f(&self.gateway_out),
            packets: f(&self.packets),
        }
    }
}

const _: () = assert!(size_of::<UseRecord>() == 72);

/// What stands for the whole table where an instance is named; also the holder of what belongs to none.
pub const WHOLE: u64 = 0;

/// How many entries an instance holds.
#[inline(never)]
pub(crate) fn held<T: Tables>(tables: &T, instance: u64) -> u64 {
    match tables.usage(instance) {
        Some(usage) => not_below_zero(usage.entries.get()),
        None => 0,
    }
}

/// How many connections an instance tracks.
#[inline(never)]
pub(crate) fn tracked<T: Tables>(tables: &T, instance: u64) -> u64 {
    match tables.usage(instance) {
        Some(usage) => not_below_zero(usage.tracked.get()),
        None => 0,
    }
}

/// A sum of which more may have been taken than was added, for a moment.
#[inline(always)]
const fn not_below_zero(sum: u64) -> u64 {
    if sum >> 63 == 0 { sum } else { 0 }
}

/// Whether there is room for a new connection at both ends. One that begins anew in entries that are
/// there needs none.
#[inline(never)]
pub(crate) fn check<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let free = tables
        .flow_entries_max()
        .saturating_sub(held(tables, WHOLE));
    let ends = [
        (scratch.source_instance, scratch.source_eni),
        (scratch.target_instance, scratch.journey.eni),
    ];
    for (instance, eni) in ends {
        if instance != WHOLE
            && held(tables, instance) >= free
            && tables.flow(&scratch.key).is_none()
        {
            scratch.blamed_eni = eni;
            return Err(if free == 0 {
                Reason::FlowTableFull
            } else {
                Reason::FlowShare
            });
        }
    }
    Ok(())
}

/// Adds an entry and counts it. False if the table is full or the key is there already.
#[inline(never)]
#[must_use]
pub(crate) fn insert<T: Tables>(tables: &T, key: &FlowKey, record: &FlowRecord) -> bool {
    let is_added = tables.insert_flow(key, record);
    if is_added {
        count(tables, record.holder, record.flags, 1);
    }
    is_added
}

/// Removes an entry that was made for nothing.
#[inline(never)]
pub(crate) fn remove<T: Tables>(tables: &T, key: &FlowKey) {
    if let Some(entry) = tables.flow(key) {
        count(tables, entry.holder.get(), entry.flags.get(), ONE_LESS);
        tables.remove_flow(key);
    }
}

/// What takes one away from a sum.
const ONE_LESS: u64 = u64::MAX;

/// Adds to what a holder has, and to what the table has.
#[inline(always)]
fn count<T: Tables>(tables: &T, holder: u64, flags: u64, amount: u64) {
    if let Some(usage) = tables.usage(WHOLE) {
        tables.add(&usage.entries, amount);
    }
    if holder == WHOLE {
        return;
    }
    if let Some(usage) = tables.usage(holder) {
        tables.add(&usage.entries, amount);
        if flags & flag::COUNTED != 0 {
            tables.add(&usage.tracked, amount);
        }
    }
}

/// Takes note that an entry becomes another one, in place.
#[inline(never)]
pub(crate) fn change<T: Tables>(tables: &T, entry: &FlowEntry, record: &FlowRecord) {
    const COUNTED: u64 = flag::COUNTED;
    let (holder, flags) = (entry.holder.get(), entry.flags.get());
    if holder == record.holder && flags & COUNTED == record.flags & COUNTED {
        return;
    }
    count(tables, holder, flags, ONE_LESS);
    count(tables, record.holder, record.flags, 1);
    entry.holder.set(record.holder);
}

/// Counts an entry whose holder tracks it from now on.
#[inline(never)]
pub(crate) fn track<T: Tables>(tables: &T, entry: &FlowEntry) {
    let flags = entry.flags.get();
    let is_due = flags & flag::TRACKED_AT_SOURCE != 0 && flags & flag::COUNTED == 0;
    if !is_due || entry.source_eni.get() == OUTSIDE || entry.holder.get() == WHOLE {
        return;
    }
    let Some(usage) = tables.usage(entry.holder.get()) else {
        return;
    };
    // Another CPU may be here as well.
    if tables.fetch_set(&entry.flags, flag::COUNTED) & flag::COUNTED == 0 {
        tables.add(&usage.tracked, 1);
    }
}

/// Takes note that the ENIs have forgotten a connection whose entry stays.
///
/// Another CPU may track it anew in this moment: until its next judgement it then counts as untracked.
#[inline(never)]
pub(crate) fn untrack<T: Tables>(tables: &T, entry: &FlowEntry) {
    const TRACKED: u64 = flag::TRACKED_AT_SOURCE | flag::TRACKED_AT_TARGET | flag::COUNTED;
    let flags = entry.flags.get();
    if flags & TRACKED == 0 {
        return;
    }
    entry.flags.set(flags & !TRACKED);
    if flags & flag::COUNTED != 0
        && let Some(usage) = tables.usage(entry.holder.get())
    {
        tables.add(&usage.tracked, ONE_LESS);
    }
}

/// The flag of a new entry that its holder tracks. The outside, which forgets nothing, holds nothing.
#[inline(always)]
pub(crate) const fn counted_bit(flags: u64, source_eni: u64, holder: u64) -> u64 {
    if flags & flag::TRACKED_AT_SOURCE != 0 && source_eni != OUTSIDE && holder != WHOLE {
        flag::COUNTED
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{self, CounterKey};
    use crate::ledger::{A, B, Change, D, Gate, World, packet, query};
    use crate::ledger_wide::{ALL, GATEWAY, X, add_route, from_x, public, to, wide};
    use crate::packet_builder::Transport;
    use crate::release::{ReleaseOrder, release};
    use crate::table::Route;

    fn probe(port: u16) -> Transport {
        Transport::Udp { from: port, to: 53 }
    }

    /// Opens connections until one is refused, and tells how many there were.
    fn open_all(world: &World, from: u64, towards: u64) -> u16 {
        for port in 1..10_000 {
            let mut frame = packet(from, towards, probe(port)).frame();
            let before = world.memory.flows().len();
            let mut scratch = Scratch::new();
            let mut bytes = crate::frame::Bytes::new(&mut frame);
            let device = crate::ledger::device(from);
            let now_ns = world.now_ns;
            let _ = crate::egress(&world.memory, &mut bytes, device, now_ns, &mut scratch);
            if world.memory.flows().len() == before {
                return port - 1;
            }
        }
        panic!("nothing is refused");
    }

    #[test]
    fn one_that_opens_without_end_leaves_room_for_others() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 300;
        // Both ends hold an entry of each: a third each, and a third is free.
        assert_eq!(open_all(&world, A, B), 100);
        world.drops(A, B, Transport::syn(1, 2), Reason::FlowShare);
        // Between A and a third one the share of A is what stands in the way.
        world.drops(D, A, Transport::syn(1, 2), Reason::FlowShare);
        let at = |eni, reason| {
            let what = reason as u32;
            let counters = world.memory.counters();
            counters.get(&CounterKey { eni, what, pad: 0 }).copied()
        };
        // At whom it was refused, and nobody else.
        assert_eq!(at(D, Reason::FlowShare), None);
        assert!(at(A, Reason::FlowShare).is_some_and(|count| count >= 3));
        // What is there lives on, and begins anew.
        world.passes(A, B, probe(7), 0);
        world.passes(B, A, Transport::Udp { from: 53, to: 9 }, 0);
        world.wait_s(40);
        world.passes(A, B, probe(5), 0);
    }

    #[test]
    fn another_instance_gets_in_when_one_has_taken_its_share() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 300;
        add_route(&mut world, 12, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        assert_eq!(open_all(&world, A, B), 100);
        // D holds both entries of what it sends outside.
        let query_out = |port| to(D, X, probe(port)).frame();
        for port in 1..=25 {
            let _ = world.send(D, &mut query_out(port), &Change::opened(2, 28));
        }
        assert_eq!(held(&world.memory, D + 100), 50);
        // As many are free.
        let change = Change::dropped(Reason::FlowShare);
        let _ = world.send(D, &mut query_out(26), &change);
    }

    #[test]
    fn when_nothing_is_left_the_table_is_full_for_everybody() {
        let mut world = wide(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 8;
        add_route(&mut world, 12, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        assert_eq!(open_all(&world, A, B), 3);
        let mut frame = to(D, X, probe(1)).frame();
        let _ = world.send(D, &mut frame, &Change::opened(2, 28));
        let change = Change::dropped(Reason::FlowTableFull);
        let _ = world.send(D, &mut to(D, X, probe(2)).frame(), &change);
        world.drops(A, B, Transport::syn(1, 2), Reason::FlowTableFull);
        world.passes(A, B, probe(1), 0);
    }

    #[test]
    fn what_is_released_makes_room_and_keeps_its_counts() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.memory.flows_max = 30;
        assert_eq!(open_all(&world, A, B), 10);
        world.passes(B, A, Transport::Udp { from: 53, to: 1 }, 0);
        world.drops(A, B, Transport::syn(1, 2), Reason::FlowShare);
        world.wait_s(31);
        for key in world.memory.flows().into_keys() {
            let is_lost = false;
            assert!(release(
                &world.memory,
                &ReleaseOrder { key, is_lost },
                world.now_ns
            ));
        }
        assert_eq!(held(&world.memory, A + 100), 0);
        world.passes(A, B, Transport::syn(1, 2), 2);
        let counters = world.memory.counters();
        let of = |eni, what| counters[&CounterKey { eni, what, pad: 0 }];
        assert_eq!(of(A, counter::PACKETS_OUT), 10);
        assert_eq!(of(B, counter::BYTES_IN), 10 * 28);
        assert_eq!(of(B, counter::PACKETS_OUT), 1);
        assert_eq!(of(A, counter::FLOWS_OVER), 10);
    }

    #[test]
    fn what_comes_from_the_outside_is_held_by_who_gets_it() {
        let mut world = wide(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Everybody);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let mut frame = from_x(public(A), query()).frame();
        let _ = world.send_in(&mut frame, &Change::opened(2, 28));
        assert_eq!(held(&world.memory, A + 100), 2);
        // A is open to everybody and tracks nothing; where it is not it tracks one of the two.
        assert_eq!(tracked(&world.memory, A + 100), 0);
        world.policy(A, Gate::Closed, Gate::Everybody);
        let mut frame = from_x(public(A), Transport::syn(1, 2)).frame();
        let _ = world.send_in(&mut frame, &Change::opened(2, 40));
        assert_eq!(tracked(&world.memory, A + 100), 1);
    }

    #[test]
    fn a_count_never_goes_below_nothing() {
        assert_eq!(not_below_zero(5), 5);
        assert_eq!(not_below_zero(3_u64.wrapping_sub(5)), 0);
    }
}
