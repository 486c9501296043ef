//! What an instance may use of the network, if the host enforces that: AWS's allowances.
//!
//! They belong to the instance, all its interfaces together. Bandwidth is counted for each direction on
//! its own, in bytes from the IP header on; packets are counted in both directions together. A frame that
//! stands for several packets counts as these. Three buckets limit each direction: the burst bandwidth
//! (shallow), the baseline (as deep as the credits that let an instance burst for minutes), and for what
//! passes an internet gateway a third one; a fourth limits the flow. A packet passes if all buckets at both
//! ends let it pass, and is then taken out of all of them.
//!
//! A packet beyond an allowance is dropped, and counted at the interface whose instance exceeds it. AWS
//! queues such packets for a moment before it drops them; there is no queue here. The buckets are as deep
//! as a TCP sender's shortest retransmission timeout instead: while it waits, nothing of its rate is lost.
//!
//! Flows know whether an end of them has allowances ([`flag::METERED`](crate::flow::flag)): where nothing
//! is enforced a packet of a known flow meets none of this.

use core::mem::size_of;

use crate::{
    Scratch,
    bucket::{Rate, charge, has_room},
    flow::{FlowEntry, flag},
    packet::Packet,
    reason::Reason,
    room::{self, UseEntry},
    table::{EniRecord, OUTSIDE},
    tables::Tables,
};

/// Value of `allowances`: what an instance may use. Rates of bandwidth are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// At most, in each direction.
    pub bandwidth: Rate,
    /// For long, in each direction, and the credits to burst.
    pub credits: Rate,
    /// Through an internet gateway, in each direction.
    pub gateway: Rate,
    /// Of one flow.
    pub flow: Rate,
    /// Packets, both directions together.
    pub packets: Rate,
    /// Connections that it can track.
    pub tracked: u64,
}

const _: () = assert!(size_of::<Allowance>() == 88);

/// Which end of a packet's way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Target,
}

/// The packet in question, as far as allowances go.
#[derive(Clone, Copy)]
struct Load {
    bytes: u64,
    segments: u64,
    now_ns: u64,
    is_by_gateway: bool,
}

impl Load {
    #[inline(always)]
    const fn of(packet: &Packet, now_ns: u64, is_by_gateway: bool) -> Self {
        Self {
            bytes: packet.bytes as u64,
            segments: packet.segments as u64,
            now_ns,
            is_by_gateway,
        }
    }
}

/// Whether an end of a packet's way has allowances.
#[inline(always)]
pub(crate) const fn is_metered(eni: &EniRecord) -> bool {
    eni.flags & EniRecord::METERED != 0
}

/// Takes a packet of a known flow out of the allowances at both ends, and of the flow's. If one of them is
/// exceeded the scratch record has why, and at which interface.
#[inline(never)]
#[must_use]
pub(crate) fn admits<T: Tables>(tables: &T, scratch: &mut Scratch, entry: &FlowEntry) -> bool {
    let (source, target) = (entry.source_eni.get(), entry.target_eni.get());
    scratch.source_eni = source;
    scratch.target_eni = target;
    let by_gateway = source == OUTSIDE || entry.flags.get() & flag::TO_OUTSIDE != 0;
    let load = Load::of(&scratch.packet, scratch.now_ns, by_gateway);
    scratch.source_instance = instance_of(tables, source);
    scratch.target_instance = instance_of(tables, target);
    let rate = flow_rate(tables, scratch);
    let bucket = if rate.is_unlimited() {
        None
    } else {
        tables.flow_bucket(&scratch.key)
    };
    if let Some(bucket) = &bucket
        && !has_room(bucket, rate, load.now_ns)
    {
        scratch.blamed_eni = if scratch.source_instance == 0 {
            target
        } else {
            source
        };
        scratch.refused = Reason::FlowAllowance;
        return false;
    }
    if !has_room_at_both(tables, scratch, load) {
        return false;
    }
    take_at_both(tables, scratch, load);
    if let Some(bucket) = &bucket {
        charge(tables, bucket, rate, load.bytes, load.now_ns);
    }
    true
}

/// The same for a packet that was judged, whose flow may be new and is not limited on its own yet.
#[inline(never)]
pub(crate) fn judge<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let by_gateway = scratch.source_eni == OUTSIDE || scratch.journey.is_to_outside;
    let load = Load::of(&scratch.packet, scratch.now_ns, by_gateway);
    if !has_room_at_both(tables, scratch, load) {
        return Err(scratch.refused);
    }
    take_at_both(tables, scratch, load);
    Ok(())
}

/// Whether a new connection is one that both ends can still track.
#[inline(never)]
pub(crate) fn check_tracking<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let ends = [
        (scratch.source_instance, scratch.source_eni, scratch.egress),
        (
            scratch.target_instance,
            scratch.journey.eni,
            scratch.ingress,
        ),
    ];
    for (instance, eni, pass) in ends {
        if eni == OUTSIDE || !pass.is_tracked {
            continue;
        }
        if let Some(allowance) = tables.allowance(instance)
            && room::tracked(tables, instance) >= allowance.tracked
            && tables.flow(&scratch.key).is_none()
        {
            scratch.blamed_eni = eni;
            return Err(Reason::ConntrackAllowance);
        }
    }
    Ok(())
}

#[inline(always)]
fn instance_of<T: Tables>(tables: &T, eni: u64) -> u64 {
    match tables.eni(eni) {
        Some(eni) if is_metered(eni) => eni.instance,
        _ => 0,
    }
}

/// The rate of one flow: the sender's, or if that has none the receiver's.
#[inline(always)]
fn flow_rate<T: Tables>(tables: &T, scratch: &Scratch) -> Rate {
    for instance in [scratch.source_instance, scratch.target_instance] {
        if instance == 0 {
            continue;
        }
        if let Some(allowance) = tables.allowance(instance) {
            return allowance.flow;
        }
    }
    Rate::UNLIMITED
}

#[inline(always)]
fn has_room_at_both<T: Tables>(tables: &T, scratch: &mut Scratch, load: Load) -> bool {
    let source = scratch.source_instance;
    if let Some(reason) = lacks(tables, source, End::Source, &load) {
        scratch.blamed_eni = scratch.source_eni;
        scratch.refused = reason;
        return false;
    }
    let target = scratch.target_instance;
    if let Some(reason) = lacks(tables, target, End::Target, &load) {
        scratch.blamed_eni = scratch.target_eni;
        scratch.refused = reason;
        return false;
    }
    true
}

#[inline(always)]
fn take_at_both<T: Tables>(tables: &T, scratch: &Scratch, load: Load) {
    take(tables, scratch.source_instance, End::Source, &load);
    take(tables, scratch.target_instance, End::Target, &load);
}

/// The allowance of an instance that has no room for a packet.
#[inline(never)]
fn lacks<T: Tables>(tables: &T, instance: u64, end: End, load: &Load) -> Option<Reason> {
    if instance == 0 {
        return None;
    }
    let allowance = tables.allowance(instance)?;
    // What cannot be counted is not let through.
    let Some(usage) = tables.usage(instance) else {
        return Some(Reason::Incomplete);
    };
    let (buckets, reason) = match end {
        End::Source => (buckets_out(&usage), Reason::BandwidthOutAllowance),
        End::Target => (buckets_in(&usage), Reason::BandwidthInAllowance),
    };
    let [bandwidth, credits, gateway] = buckets;
    let now_ns = load.now_ns;
    if !has_room(&usage.packets, allowance.packets, now_ns) {
        return Some(Reason::PacketAllowance);
    }
    let has_bandwidth = has_room(bandwidth, allowance.bandwidth, now_ns)
        && has_room(credits, allowance.credits, now_ns)
        && (!load.is_by_gateway || has_room(gateway, allowance.gateway, now_ns));
    if has_bandwidth { None } else { Some(reason) }
}

/// Takes a packet out of the buckets of an instance.
#[inline(never)]
fn take<T: Tables>(tables: &T, instance: u64, end: End, load: &Load) {
    if instance == 0 {
        return;
    }
    let Some(allowance) = tables.allowance(instance) else {
        return;
    };
    let Some(usage) = tables.usage(instance) else {
        return;
    };
    let [bandwidth, credits, gateway] = match end {
        End::Source => buckets_out(&usage),
        End::Target => buckets_in(&usage),
    };
    let (bytes, now_ns) = (load.bytes, load.now_ns);
    charge(tables, bandwidth, allowance.bandwidth, bytes, now_ns);
    charge(tables, credits, allowance.credits, bytes, now_ns);
    if load.is_by_gateway {
        charge(tables, gateway, allowance.gateway, bytes, now_ns);
    }
    charge(
        tables,
        &usage.packets,
        allowance.packets,
        load.segments,
        now_ns,
    );
}

type Bucket = core::cell::Cell<u64>;

#[inline(always)]
const fn buckets_in(usage: &UseEntry) -> [&Bucket; 3] {
    [&usage.bandwidth_in, &usage.credits_in, &usage.gateway_in]
}

#[inline(always)]
const fn buckets_out(usage: &UseEntry) -> [&Bucket; 3] {
    [&usage.bandwidth_out, &usage.credits_out, &usage.gateway_out]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::counter::CounterKey;
    use crate::ledger::{A, B, Change, D, Gate, World, device, packet, query, reply};
    use crate::ledger_wide::{ALL, GATEWAY, SENT_OUT, X, add_route, to, wide};
    use crate::packet_builder::Transport;
    use crate::table::Route;

    /// An allowance that only the test's own part of limits.
    fn unlimited() -> Allowance {
        Allowance {
            tracked: u64::MAX,
            ..Allowance::default()
        }
    }

    fn limit(world: &mut World, eni: u64, allowance: Allowance) {
        world.change_eni(eni, |eni| eni.flags |= EniRecord::METERED);
        world.memory.tables.allowances.insert(eni + 100, allowance);
    }

    fn at(world: &World, eni: u64, reason: Reason) -> u64 {
        let what = reason as u32;
        let counters = world.memory.counters();
        let found = counters.get(&CounterKey { eni, what, pad: 0 });
        found.copied().unwrap_or(0)
    }

    /// A packet of 28 bytes each time: three fit.
    fn three_packets() -> Rate {
        Rate::new(64, 28 * 2 + 1)
    }

    #[test]
    fn what_is_sent_beyond_the_bandwidth_is_dropped_and_what_is_got_is_not() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        let bandwidth = three_packets();
        limit(
            &mut world,
            A,
            Allowance {
                bandwidth,
                ..unlimited()
            },
        );
        world.passes(A, B, query(), 2);
        world.passes(A, B, query(), 0);
        world.passes(A, B, query(), 0);
        world.drops(A, B, query(), Reason::BandwidthOutAllowance);
        assert_eq!(at(&world, A, Reason::BandwidthOutAllowance), 1);
        // The other direction has a bucket of its own.
        for _ in 0..3 {
            world.passes(B, A, reply(), 0);
        }
        world.drops(B, A, reply(), Reason::BandwidthInAllowance);
        assert_eq!(at(&world, A, Reason::BandwidthInAllowance), 1);
        assert_eq!(at(&world, B, Reason::BandwidthInAllowance), 0);
        // Ten packets' worth later there is room for those that the bucket holds.
        world.wait_s(5);
        world.passes(A, B, query(), 0);
    }

    #[test]
    fn a_new_flow_is_no_way_around_a_limit() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        let packets = Rate::new(64, 3);
        limit(
            &mut world,
            B,
            Allowance {
                packets,
                ..unlimited()
            },
        );
        for port in 1..=3 {
            world.passes(A, B, Transport::syn(port, 80), 2);
        }
        world.drops(A, B, Transport::syn(4, 80), Reason::PacketAllowance);
        assert_eq!(at(&world, B, Reason::PacketAllowance), 1);
        // Both directions count together, and other instances have their own.
        world.drops(B, A, Transport::syn(4, 80), Reason::PacketAllowance);
        world.passes(A, D, query(), 2);
    }

    #[test]
    fn all_interfaces_of_an_instance_have_one_allowance() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        let packets = Rate::new(64, 3);
        let allowance = Allowance {
            packets,
            ..unlimited()
        };
        limit(&mut world, A, allowance);
        world.change_eni(D, |eni| {
            eni.flags |= EniRecord::METERED;
            eni.instance = A + 100;
        });
        world.passes(A, B, query(), 2);
        world.passes(D, B, query(), 2);
        world.passes(A, B, query(), 0);
        world.drops(D, B, query(), Reason::PacketAllowance);
        assert_eq!(at(&world, D, Reason::PacketAllowance), 1);
        assert_eq!(at(&world, A, Reason::PacketAllowance), 0);
    }

    #[test]
    fn credits_last_for_the_burst_and_then_the_baseline_holds() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        // 280 bytes a second for long, 2,800 at most, and credits of ten packets more.
        let allowance = Allowance {
            bandwidth: Rate::new(2_800, 2_800),
            credits: Rate::new(280, 280 + 280),
            ..unlimited()
        };
        limit(&mut world, A, allowance);
        world.passes(A, B, query(), 2);
        for _ in 0..19 {
            world.passes(A, B, query(), 0);
        }
        world.drops(A, B, query(), Reason::BandwidthOutAllowance);
        world.wait_s(1);
        let mut passed = 0;
        while passed < 100 {
            let mut frame = packet(A, B, query()).frame();
            let mut scratch = Scratch::new();
            let mut bytes = crate::frame::Bytes::new(&mut frame);
            let device = device(A);
            let now_ns = world.now_ns;
            let verdict = crate::egress(&world.memory, &mut bytes, device, now_ns, &mut scratch);
            if matches!(verdict, Verdict::Drop(_)) {
                break;
            }
            passed += 1;
        }
        assert_eq!(passed, 10);
    }

    #[test]
    fn one_flow_is_limited_and_another_is_not() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        let flow = three_packets();
        limit(
            &mut world,
            A,
            Allowance {
                flow,
                ..unlimited()
            },
        );
        // The packet that opens a flow is not counted for it.
        world.passes(A, B, query(), 2);
        for _ in 0..3 {
            world.passes(A, B, query(), 0);
        }
        world.drops(A, B, query(), Reason::FlowAllowance);
        world.passes(A, B, Transport::Udp { from: 2, to: 53 }, 2);
        // Each direction is a flow.
        world.passes(B, A, reply(), 0);
    }

    #[test]
    fn tracked_connections_end_at_the_allowance_and_untracked_ones_do_not() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        let two = Allowance {
            tracked: 2,
            ..unlimited()
        };
        limit(&mut world, B, two);
        world.passes(A, B, Transport::syn(1, 80), 2);
        world.passes(A, B, Transport::syn(2, 80), 2);
        world.drops(A, B, Transport::syn(3, 80), Reason::ConntrackAllowance);
        assert_eq!(at(&world, B, Reason::ConntrackAllowance), 1);
        // What is there goes on and begins anew.
        world.passes(A, B, Transport::syn(1, 80), 0);
        // What everybody may do in both directions is not tracked.
        world.policy(B, Gate::Everybody, Gate::Everybody);
        world.passes(A, B, Transport::syn(4, 80), 2);
    }

    #[test]
    fn what_goes_outside_has_a_limit_of_its_own() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 11, ALL, Route::INTERNET_GATEWAY, GATEWAY);
        let gateway = three_packets();
        limit(
            &mut world,
            A,
            Allowance {
                gateway,
                ..unlimited()
            },
        );
        let send = |flows| {
            let change = Change::opened(flows, 28);
            let verdict = world.send(A, &mut to(A, X, query()).frame(), &change);
            assert_eq!(verdict, SENT_OUT);
        };
        send(2);
        send(0);
        send(0);
        let change = Change::dropped(Reason::BandwidthOutAllowance);
        let _ = world.send(A, &mut to(A, X, query()).frame(), &change);
    }

    #[test]
    fn where_nothing_is_enforced_nothing_is_charged() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        world.passes(A, B, query(), 0);
        let uses = world.memory.uses();
        assert!(
            uses.values()
                .all(|usage| usage.bandwidth_out == 0 && usage.packets == 0)
        );
        let flows = world.memory.flows();
        assert!(flows.values().all(|flow| flow.flags & flag::METERED == 0));
    }

    #[test]
    fn an_allowance_that_comes_and_goes_holds_for_flows_that_are_there() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        let packets = Rate::new(64, 2);
        limit(
            &mut world,
            A,
            Allowance {
                packets,
                ..unlimited()
            },
        );
        world.passes(A, B, query(), 0);
        world.passes(A, B, query(), 0);
        world.drops(A, B, query(), Reason::PacketAllowance);
        world.change_eni(A, |eni| eni.flags &= !EniRecord::METERED);
        world.memory.tables.allowances.clear();
        for _ in 0..5 {
            world.passes(A, B, query(), 0);
        }
    }
}
