//! Flow lookup: one hash lookup whatever the rules.
//!
//! A hit of the present generation counts, rewrites and forwards. A hit of an older generation is
//! judged again, but not at gates where the flow is tracked. One of a connection that only a NAT gateway
//! knows any more is judged again at all gates. A TCP packet that opens a connection is
//! never carried by an entry that is there: it is judged as new, and if it is refused it leaves the
//! entry alone.

use crate::{
    Scratch, allowance,
    bytes::{Addr, Be16, MacPair},
    connection,
    copy::WATCHED,
    flow::{Age, FlowEntry, FlowKey, GATEWAY_EDGE_SHIFT, SECOND_NS, SHORTEST_S, Translation, flag},
    reason::Reason,
    sequence,
    stage::{gate::Pass, nat},
    table::{OUTSIDE, Route, protocol},
    tables::Tables,
};

/// What the flow table says about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup {
    /// Carried.
    Hit {
        /// MAC addresses that the frame goes on with.
        leaves: MacPair,
        /// Index of the target's device.
        ifindex: u32,
        /// Whether the frame goes on with other addresses, which are in the scratch record, or to the
        /// outside, or was taken out of allowances, or is copied.
        is_special: bool,
    },
    /// No entry, or one of a connection that has ended or begins anew.
    Miss,
    /// One that an allowance does not let pass, or that comes too late; why is in the scratch record.
    Refused,
    /// An entry that was judged by older tables; what it says is in the scratch record.
    Stale,
}

/// What of an older judgement still holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    source_eni: u64,
    target_eni: u64,
    flags: u64,
    egress_rule: u64,
    ingress_rule: u64,
    /// Whether only a NAT gateway knows the connection, and the ENIs have forgotten it.
    pub(crate) is_forgotten: bool,
    /// Whether its packets go from a target back through the node of a load balancer.
    pub(crate) is_from_target: bool,
    /// The NAT gateway that it passes, or the node of a load balancer; 0 if none.
    pub(crate) via: u64,
    /// The route that decided, as [`Flow::route`](crate::flow::Flow::route) has it.
    pub(crate) route: u64,
    /// Its addresses and ports after translation, if it is translated.
    pub(crate) translation: Translation,
}

impl Carried {
    /// No older judgement.
    pub(crate) const NOTHING: Self = Self {
        source_eni: 0,
        target_eni: 0,
        flags: 0,
        egress_rule: 0,
        ingress_rule: 0,
        is_forgotten: false,
        is_from_target: false,
        via: 0,
        route: 0,
        translation: Translation {
            source: Addr::UNSPECIFIED,
            target: Addr::UNSPECIFIED,
            source_port: Be16::from_bytes([0; 2]),
            target_port: Be16::from_bytes([0; 2]),
        },
    };

    /// Becomes [`Self::NOTHING`].
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.source_eni = 0;
        self.flags = 0;
        self.is_forgotten = false;
        self.is_from_target = false;
        self.via = 0;
        self.route = 0;
    }

    /// Drops what another ENI was allowed, if another has got the device since.
    #[inline(always)]
    pub(crate) fn keep_for_source(&mut self, source_eni: u64) {
        if self.source_eni != source_eni {
            self.clear();
        }
    }

    /// Drops what another ENI let in, if the address has moved. From outside that is everything: who sends
    /// there has no memory of its own.
    #[inline(always)]
    pub(crate) fn keep_for_target(&mut self, target_eni: u64) {
        if self.target_eni == target_eni {
            return;
        }
        if self.source_eni == OUTSIDE {
            self.clear();
        } else {
            self.flags &= !flag::TRACKED_AT_TARGET;
        }
    }

    /// Whether there is an older judgement: no ENI has the id zero.
    #[inline(always)]
    pub(crate) const fn is_something(&self) -> bool {
        self.source_eni != 0
    }

    /// Whether its packets go on with other addresses.
    #[inline(always)]
    pub(crate) const fn is_translated(&self) -> bool {
        self.flags & flag::TRANSLATED != 0
    }

    /// Whether its packets go to the outside.
    #[inline(always)]
    pub(crate) const fn is_to_outside(&self) -> bool {
        self.flags & flag::TO_OUTSIDE != 0
    }

    /// Whether its packets pass two translators, and what goes to the outside comes in again.
    #[inline(always)]
    pub(crate) const fn is_turned(&self) -> bool {
        self.flags & flag::TURNED != 0
    }

    /// Whether its packets answer a client's address under which the proxy of a node spoke.
    #[inline(always)]
    pub(crate) const fn is_to_proxy(&self) -> bool {
        const TO_PROXY: u64 = flag::TRANSPARENT | flag::REPLY;
        self.flags & TO_PROXY == TO_PROXY
    }

    /// Whether copies are wanted of what its ENI sends.
    #[inline(always)]
    pub(crate) const fn is_watched_at_source(&self) -> bool {
        self.flags & flag::WATCHED_AT_SOURCE != 0
    }

    /// The ENI that its packets come from.
    #[inline(always)]
    pub(crate) const fn source_eni(&self) -> u64 {
        self.source_eni
    }

    /// Whether the packets answer the connection's own direction.
    #[inline(always)]
    pub(crate) const fn is_reply(&self) -> bool {
        self.flags & flag::REPLY != 0
    }

    /// Whether the packets answer others that left by an egress-only internet gateway.
    #[inline(always)]
    pub(crate) const fn comes_by_egress_only(&self) -> bool {
        self.is_answer() && is_by_egress_only(self.route)
    }

    /// Whether there is an older judgement, of packets that answer others.
    #[inline(always)]
    pub(crate) const fn is_answer(&self) -> bool {
        self.is_something() && self.is_reply()
    }

    /// The longest packet that its way takes; 0 is any.
    #[inline(always)]
    pub(crate) const fn mtu(&self) -> u32 {
        mtu_of(self.flags)
    }

    /// Takes what an entry says. Of a connection that the ENIs have forgotten nothing is tracked.
    #[inline(always)]
    fn load(&mut self, key: &FlowKey, entry: &FlowEntry, is_forgotten: bool) {
        self.source_eni = entry.source_eni.get();
        self.flags = entry.flags.get();
        self.is_forgotten = is_forgotten;
        if is_forgotten {
            self.flags &= !(flag::TRACKED_AT_SOURCE | flag::TRACKED_AT_TARGET);
        }
        self.egress_rule = entry.egress_rule.get();
        self.ingress_rule = entry.ingress_rule.get();
        self.load_way(key, entry);
    }

    /// Whom its packets go to.
    #[inline(always)]
    pub(crate) const fn target_eni(&self) -> u64 {
        self.target_eni
    }

    /// Takes from an entry by which NAT gateway, with which addresses and to whom its packets go, and no
    /// more.
    #[inline(always)]
    pub(crate) fn load_way(&mut self, key: &FlowKey, entry: &FlowEntry) {
        self.target_eni = entry.target_eni.get();
        self.is_from_target = is_from_target(entry.flags.get());
        self.via = entry.via.get();
        self.route = entry.route.get() & ((1 << GATEWAY_EDGE_SHIFT) - 1);
        self.translation = entry.translation(key);
    }

    /// The pass of the source's gate, if the flow is tracked there.
    #[inline(always)]
    pub(crate) const fn egress(&self) -> Option<Pass> {
        if self.flags & flag::TRACKED_AT_SOURCE != 0 {
            Some(Pass {
                rule: self.egress_rule,
                is_tracked: true,
            })
        } else {
            None
        }
    }

    /// The pass of the target's gate, if the flow is tracked there.
    #[inline(always)]
    pub(crate) const fn ingress(&self) -> Option<Pass> {
        if self.flags & flag::TRACKED_AT_TARGET != 0 {
            Some(Pass {
                rule: self.ingress_rule,
                is_tracked: true,
            })
        } else {
            None
        }
    }

    /// The gates at which the flow is tracked, as bits of the entry's flags.
    #[inline(always)]
    pub(crate) const fn tracked_bits(&self) -> u64 {
        self.flags & (flag::TRACKED_AT_SOURCE | flag::TRACKED_AT_TARGET)
    }
}

/// Whether a flow's route is one to an egress-only internet gateway.
#[inline(always)]
pub(crate) const fn is_by_egress_only(route: u64) -> bool {
    route & 0xffff_ffff == Route::EGRESS_ONLY as u64
}

/// The longest packet of an entry's way, from its flags.
#[inline(always)]
const fn mtu_of(flags: u64) -> u32 {
    (flags >> flag::MTU_SHIFT) as u32
}

/// Whether an entry with these flags is that of a target's packets.
#[inline(always)]
const fn is_from_target(flags: u64) -> bool {
    const FROM_TARGET: u64 = flag::BALANCED | flag::REPLY;
    flags & FROM_TARGET == FROM_TARGET
}

/// Refuses a target's packet of a connection that is over: the load balancer resets it, and to its client it
/// would be a stranger's.
#[inline(never)]
fn refuse_late(scratch: &mut Scratch, entry: &FlowEntry) -> Lookup {
    scratch.source_eni = entry.source_eni.get();
    scratch.target_eni = entry.target_eni.get();
    scratch.journey.balancer = entry.via.get();
    scratch.journey.via = entry.via.get();
    scratch.refused = Reason::BalancerReset;
    Lookup::Refused
}

/// Looks a packet up and, on a hit, counts it.
#[inline(always)]
pub(crate) fn lookup<T: Tables>(tables: &T, scratch: &mut Scratch) -> Lookup {
    let Scratch {
        packet,
        key,
        generation,
        now_ns,
        carried,
        ..
    } = scratch;
    let now_ns = *now_ns;
    if packet.opens_tcp() {
        return Lookup::Miss;
    }
    let Some(entry) = tables.flow(key) else {
        return Lookup::Miss;
    };
    let quiet_ns = now_ns.saturating_sub(entry.last_seen_ns.get());
    let may_have_ended =
        quiet_ns > SHORTEST_S as u64 * SECOND_NS || entry.flags.get() & flag::ENDED != 0;
    let mut is_forgotten = false;
    if may_have_ended {
        match connection::age(tables, key, &entry, now_ns) {
            Age::Live => {}
            Age::Forgotten => is_forgotten = true,
            Age::Lapsed | Age::Ended
                if packet.protocol == protocol::TCP && is_from_target(entry.flags.get()) =>
            {
                return refuse_late(scratch, &entry);
            }
            Age::Lapsed | Age::Ended => return Lookup::Miss,
        }
    }
    let flags = entry.flags.get();
    const SPECIAL: u64 = flag::TRANSLATED | flag::TO_OUTSIDE | flag::METERED | flag::WATCHED;
    let is_special = flags & SPECIAL != 0;
    // What an error quotes is not in the entry of other errors.
    if flags & (flag::TRANSLATED | flag::TO_OUTSIDE) != 0 && packet.is_icmp_error() {
        return Lookup::Miss;
    }
    // A frame with other MAC addresses than before may still be right (the router's instead of the
    // neighbour's), and one that a gateway does not carry is wrong: both are judged again.
    let is_refused = packet.is_too_big(mtu_of(flags))
        || is_special && nat::is_cut(packet) && entry.via.get() != 0
        || is_forgotten;
    if entry.generation.get() != *generation || entry.arrives() != packet.macs || is_refused {
        carried.load(key, &entry, is_forgotten);
        return Lookup::Stale;
    }
    // Before the allowances: what they drop is sent again, and counts as such.
    sequence::note(tables, &entry, packet);
    if is_special {
        carried.source_eni = entry.source_eni.get();
        carried.flags = flags;
        carried.via = entry.via.get();
        carried.translation = entry.translation(key);
        if flags & flag::METERED != 0 && !allowance::admits(tables, scratch, &entry) {
            return Lookup::Refused;
        }
    }
    let packet = &scratch.packet;
    let key = &scratch.key;
    entry.last_seen_ns.set(now_ns);
    tables.add(&entry.packets, u64::from(packet.segments));
    tables.add(&entry.bytes, u64::from(packet.bytes));
    if packet.protocol == protocol::TCP {
        connection::note_tcp_flags(tables, key, &entry, packet);
    }
    #[expect(clippy::cast_possible_truncation, reason = "written from 32 bits")]
    let mut ifindex = entry.target_ifindex.get() as u32;
    if flags & flag::WATCHED_AT_TARGET != 0 {
        ifindex |= WATCHED;
    }
    Lookup::Hit {
        leaves: entry.leaves(),
        ifindex,
        is_special,
    }
}

#[cfg(test)]
mod tests {
    use crate::Reason;
    use crate::flow::tcp;
    use crate::ledger::{A, B, Change, D, Gate, World, packet, query, reply, router_mac};
    use crate::packet_builder::Transport;

    fn tcp(flags: u8) -> Transport {
        Transport::Tcp {
            from: 1000,
            to: 80,
            flags,
        }
    }

    fn tcp_back(flags: u8) -> Transport {
        Transport::Tcp {
            from: 80,
            to: 1000,
            flags,
        }
    }

    #[test]
    fn a_hit_asks_no_table_but_the_flow_table() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 2);
        // Same generation: the hit does not see that everything is gone.
        world.memory.tables = Default::default();
        world.passes(A, B, query(), 0);
        world.passes(B, A, reply(), 0);
    }

    #[test]
    fn a_tracked_flow_survives_the_revoke_and_a_new_one_does_not_begin() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, tcp(tcp::SYN), 2);
        world.policy(A, Gate::Closed, Gate::Closed);
        world.policy(B, Gate::Closed, Gate::Closed);
        world.passes(B, A, tcp_back(tcp::SYN | tcp::ACK), 0);
        world.passes(A, B, tcp(tcp::ACK), 0);
        // The same 5-tuple, opened again, is new: refused, and the flow goes on.
        world.drops(A, B, tcp(tcp::SYN), Reason::EgressRule);
        world.passes(A, B, tcp(tcp::ACK), 0);
    }

    #[test]
    fn an_untracked_flow_stops_at_once() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 2);
        world.policy(B, Gate::Everybody, Gate::Closed);
        world.drops(A, B, query(), Reason::IngressRule);
        // Its answers pass: B's egress is open to them, and A's ingress.
        world.passes(B, A, reply(), 0);
        world.policy(B, Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 0);
    }

    #[test]
    fn an_untracked_flow_that_becomes_tracked_carries_its_answers() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 2);
        world.policy(B, Gate::Closed, Gate::Neighbours);
        // B's egress refuses answers until a packet of A's makes the flow tracked.
        world.drops(B, A, reply(), Reason::EgressRule);
        world.passes(A, B, query(), 0);
        world.passes(B, A, reply(), 0);
    }

    #[test]
    fn an_answer_passes_a_closed_gate_and_nothing_else_does() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, D, query(), 2);
        world.passes(D, A, reply(), 0);
        world.drops(D, A, query(), Reason::IngressRule);
    }

    #[test]
    fn a_flow_ends_when_it_was_idle_for_long_enough() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        world.policy(B, Gate::Closed, Gate::Closed);
        world.wait_s(29);
        world.passes(A, B, query(), 0);
        world.wait_s(31);
        world.drops(A, B, query(), Reason::IngressRule);
    }

    #[test]
    fn the_other_direction_keeps_a_flow_alive() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        world.policy(B, Gate::Closed, Gate::Closed);
        for _ in 0..3 {
            world.wait_s(20);
            world.passes(B, A, reply(), 0);
        }
        // A's own last packet is a minute old.
        world.passes(A, B, query(), 0);
    }

    #[test]
    fn a_closed_connection_passes_its_last_packets_and_ends_soon() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, tcp(tcp::SYN), 2);
        world.passes(B, A, tcp_back(tcp::SYN | tcp::ACK), 0);
        world.policy(B, Gate::Closed, Gate::Closed);
        world.passes(A, B, tcp(tcp::FIN | tcp::ACK), 0);
        world.wait_s(60);
        // Half closed is not closed.
        world.passes(B, A, tcp_back(tcp::ACK), 0);
        world.passes(B, A, tcp_back(tcp::FIN | tcp::ACK), 0);
        world.passes(A, B, tcp(tcp::ACK), 0);
        world.wait_s(11);
        world.drops(A, B, tcp(tcp::ACK), Reason::IngressRule);
    }

    #[test]
    fn a_connection_that_nobody_completes_ends_soon_even_if_it_was_answered() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        for completes in [false, true] {
            world.policy(B, Gate::Everybody, Gate::Neighbours);
            world.passes(A, B, tcp(tcp::SYN), if completes { 0 } else { 2 });
            world.passes(B, A, tcp_back(tcp::SYN | tcp::ACK), 0);
            if completes {
                world.passes(A, B, tcp(tcp::ACK), 0);
            }
            world.policy(B, Gate::Closed, Gate::Closed);
            world.wait_s(59);
            world.passes(B, A, tcp_back(tcp::SYN | tcp::ACK), 0);
            world.wait_s(61);
            if completes {
                world.passes(A, B, tcp(tcp::ACK), 0);
            } else {
                world.drops(A, B, tcp(tcp::ACK), Reason::IngressRule);
            }
        }
    }

    #[test]
    fn a_reset_ends_both_directions() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, tcp(tcp::SYN), 2);
        world.passes(B, A, tcp_back(tcp::RST), 0);
        world.wait_s(11);
        world.drops(B, A, tcp_back(tcp::ACK), Reason::IngressRule);
    }

    #[test]
    fn the_routers_mac_serves_a_neighbour_as_well() {
        let world = World::new(Gate::Everybody, Gate::Neighbours);
        world.passes(A, B, query(), 2);
        let mut through = packet(A, B, query());
        through.to_mac = router_mac(11);
        let mut frame = through.frame();
        let _ = world.send(A, &mut frame, &Change::carried(28));
        assert_eq!(frame[6..12], router_mac(11).0);
    }
}
