//! Related: an ICMP error about a packet of a live flow goes back to the flow's source.
//!
//! The error quotes the packet. If the quoted packet's source is the error's destination, and its
//! 5-tuple is a live flow of that ENI, the error passes both gates: path MTU discovery works, and a
//! closed port says so. Only who may have met the flow's packets can send one: the ENI that the flow
//! goes to, or one whose source/destination check is off, as a router or firewall on the way has it.
//! Anybody else's error is an ordinary ICMP message, whatever it quotes.
//!
//! An error about a translated packet quotes it as it was after NAT. It takes the way of the packets that
//! answer, and what it quotes is translated back. No error is let through a network ACL by its quotation.
//!
//! A flow that is judged packet by packet (not tracked at one of its ENIs) must have been judged by
//! the present tables: a flow that new rules forbid has no errors either.

use crate::{
    Scratch,
    bytes::{Addr, Be16},
    connection::{self, leads_back},
    flow::{FlowEntry, FlowKey, flag},
    frame::Frame,
    packet::Fragment,
    stage::parse::{is_icmp_query, load_v6},
    table::{EniRecord, OUTSIDE, protocol},
    tables::Tables,
};

/// Reads what an ICMP error quotes. If that is a packet of a flow that NAT translates, the entry of the
/// packets that answer it says how: the error goes their way, which the scratch record then has.
#[inline(never)]
pub(crate) fn prepare<T: Tables, F: Frame>(tables: &T, frame: &F, scratch: &mut Scratch) {
    scratch.is_related = false;
    scratch.is_quoting = false;
    // A later fragment has its first one's kind, and no quotation.
    let may_quote = scratch.packet.is_icmp_error() && scratch.packet.fragment != Fragment::Later;
    if !may_quote || scratch.carried.is_something() || !quoted(frame, scratch) {
        return;
    }
    scratch.is_quoting = true;
    let Some(answers) = scratch.quoted.reversed(scratch.key.ifindex) else {
        return;
    };
    let Some(entry) = tables.flow(&answers) else {
        return;
    };
    let is_translated = entry.flags.get() & (flag::TRANSLATED | flag::ENDED) == flag::TRANSLATED;
    // It goes to who sent the quoted packet, and comes from where the packet went.
    let is_its_own = scratch.quoted.source == scratch.packet.target
        && entry.source_eni.get() == scratch.source_eni;
    if is_translated && is_its_own && is_opposite_live(tables, scratch, &answers, &entry) {
        scratch.carried.load_way(&answers, &entry);
        scratch.is_related = true;
    }
}

/// Whether the flow that an entry answers goes on.
#[inline(never)]
fn is_opposite_live<T: Tables>(
    tables: &T,
    scratch: &Scratch,
    answers: &FlowKey,
    entry: &FlowEntry,
) -> bool {
    let Some(key) = entry.opposite(answers) else {
        return false;
    };
    match tables.flow(&key) {
        // A flow that goes another way by now has other answers.
        Some(own) => leads_back(&key, &own, answers) && is_live(tables, scratch, &key, &own),
        None => false,
    }
}

/// Whether the packet is an error about a live flow of the ENI that it is for. Of flows that NAT
/// translates [`prepare`] has found that.
#[inline(never)]
pub(crate) fn is_related<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    if !scratch.is_quoting || scratch.is_related {
        return scratch.is_related;
    }
    let journey = &scratch.journey;
    let remote_eni = if journey.eni == 0 {
        journey.remote
    } else {
        journey.eni
    };
    let (ifindex, is_on_the_way) = ends(tables, scratch, remote_eni);
    scratch.quoted.ifindex = ifindex;
    if scratch.quoted.source != scratch.packet.target || ifindex == 0 {
        return false;
    }
    let Some(entry) = tables.flow(&scratch.quoted) else {
        return false;
    };
    if entry.target_eni.get() != scratch.source_eni && !is_on_the_way {
        return false;
    }
    entry.source_eni.get() == remote_eni && is_live(tables, scratch, &scratch.quoted, &entry)
}

/// Counts an error that passed at the flow that it is about.
#[inline(never)]
pub(crate) fn count<T: Tables>(tables: &T, scratch: &Scratch) {
    let mut key = scratch.quoted;
    if scratch.is_related {
        let Some(answers) = key.reversed(scratch.key.ifindex) else {
            return;
        };
        let Some(entry) = tables.flow(&answers) else {
            return;
        };
        let Some(own) = entry.opposite(&answers) else {
            return;
        };
        key = own;
    }
    if let Some(entry) = tables.flow(&key) {
        tables.add(&entry.troubles, 1);
    }
}

/// The device of the ENI or the outside that an error is for, 0 if it has none; and whether the sender may
/// stand on the way of a flow that does not go to it.
#[inline(never)]
fn ends<T: Tables>(tables: &T, scratch: &Scratch, remote: u64) -> (u32, bool) {
    let ifindex = if remote == OUTSIDE {
        scratch.journey.ifindex
    } else {
        tables.eni(remote).map_or(0, |remote| remote.ifindex)
    };
    let is_on_the_way = tables
        .eni(scratch.source_eni)
        .is_some_and(|sender| sender.flags & EniRecord::SOURCE_DEST_CHECK == 0);
    (ifindex, is_on_the_way)
}

/// Whether a flow goes on, by the present tables unless both of its ends track it.
#[inline(always)]
fn is_live<T: Tables>(tables: &T, scratch: &Scratch, key: &FlowKey, entry: &FlowEntry) -> bool {
    const TRACKED: u64 = flag::TRACKED_AT_SOURCE | flag::TRACKED_AT_TARGET;
    let is_present =
        entry.generation.get() == scratch.generation || entry.flags.get() & TRACKED == TRACKED;
    is_present && connection::is_live(tables, key, entry, scratch.now_ns)
}

/// Reads the 5-tuple of the quoted packet.
#[inline(always)]
fn quoted<F: Frame>(frame: &F, scratch: &mut Scratch) -> bool {
    let Scratch { packet, quoted, .. } = scratch;
    let at = packet.transport + 8;
    let transport = if packet.protocol == protocol::ICMP {
        quoted_ipv4(frame, at, quoted)
    } else {
        quoted_ipv6(frame, at, quoted)
    };
    scratch.quoted_transport = transport;
    transport != 0 && quoted_ports(frame, transport, &mut scratch.quoted)
}

/// Reads a quoted IPv4 header; the offset of what follows, or 0.
#[inline(never)]
fn quoted_ipv4<F: Frame>(frame: &F, at: u32, key: &mut FlowKey) -> u32 {
    let Some(head) = frame.load::<20>(at) else {
        return 0;
    };
    let head = head.0;
    let header = u32::from(head[0] & 0x0f) * 4;
    // A quoted later fragment has no ports.
    if head[0] >> 4 != 4 || header < 20 || head[6] & 0x1f != 0 || head[7] != 0 {
        return 0;
    }
    key.protocol = head[9];
    key.source = Addr::v4([head[12], head[13], head[14], head[15]]);
    key.target = Addr::v4([head[16], head[17], head[18], head[19]]);
    at + header
}

/// Reads a quoted IPv6 header without extensions; the offset of what follows, or 0.
#[inline(never)]
fn quoted_ipv6<F: Frame>(frame: &F, at: u32, key: &mut FlowKey) -> u32 {
    let Some(head) = frame.load::<8>(at) else {
        return 0;
    };
    let head = head.0;
    key.protocol = head[6];
    let has_addresses =
        load_v6(frame, at + 8, &mut key.source) && load_v6(frame, at + 24, &mut key.target);
    if head[0] >> 4 == 6 && has_addresses {
        at + 40
    } else {
        0
    }
}

/// Reads the quoted ports, or the kind and identifier of an ICMP message.
#[inline(never)]
fn quoted_ports<F: Frame>(frame: &F, at: u32, key: &mut FlowKey) -> bool {
    key.pad = [0; 3];
    key.source_port = Be16::new(0);
    key.target_port = Be16::new(0);
    if !matches!(
        key.protocol,
        protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMP_V6
    ) {
        return true;
    }
    // Errors quote at least eight bytes of the transport header (RFC 792).
    let Some(head) = frame.load::<8>(at) else {
        return false;
    };
    let head = head.0;
    if matches!(key.protocol, protocol::TCP | protocol::UDP) {
        key.source_port = Be16::from_bytes([head[0], head[1]]);
        key.target_port = Be16::from_bytes([head[2], head[3]]);
    } else {
        key.target_port = Be16::from_bytes([head[0], head[1]]);
        if is_icmp_query(key.protocol, head[0]) {
            key.source_port = Be16::from_bytes([head[4], head[5]]);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::Reason;
    use crate::ledger::{A, B, Change, D, Gate, World, packet, query};
    use crate::packet_builder::{Cut, Transport};

    fn related() -> Change {
        Change {
            related: 1,
            ..Change::default()
        }
    }

    /// An error about a packet from A to B.
    fn error(quoted: Transport) -> Transport {
        Transport::unreachable(&packet(A, B, quoted))
    }

    #[test]
    fn an_error_about_a_live_flow_passes_both_gates() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        world.policy(B, Gate::Closed, Gate::Closed);
        let mut frame = packet(B, A, error(query())).frame();
        let _ = world.send(B, &mut frame, &related());
        // And for an echo.
        world.policy(B, Gate::Closed, Gate::Neighbours);
        world.passes(A, B, Transport::echo(3), 2);
        let mut frame = packet(B, A, error(Transport::echo(3))).frame();
        let _ = world.send(B, &mut frame, &related());
    }

    #[test]
    fn only_the_target_and_routers_on_the_way_send_errors() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        // D knows the 5-tuple, and the packets never came by it.
        world.drops(D, A, error(query()), Reason::IngressRule);
        world.change_eni(D, |eni| eni.flags = 0);
        world.passes(A, B, query(), 0);
        let mut frame = packet(D, A, error(query())).frame();
        let _ = world.send(D, &mut frame, &related());
    }

    #[test]
    fn a_later_fragment_quotes_nothing() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        let cut = |offset, more| {
            let id = 7;
            let mut packet = packet(B, A, error(query()));
            packet.cut = Some(Cut { id, offset, more });
            packet.frame()
        };
        let _ = world.send(B, &mut cut(0, true), &related());
        // It holds at its beginning what would be a quotation in a first one.
        let mut later = cut(5, false);
        let first = cut(0, true);
        later[34..].copy_from_slice(&first[34..]);
        let _ = world.send(B, &mut later, &Change::dropped(Reason::IngressRule));
    }

    #[test]
    fn an_error_about_anything_else_is_ordinary() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        let other = Transport::Udp { from: 1000, to: 54 };
        world.drops(B, A, error(other), Reason::IngressRule);
        // The quoted packet is not the receiver's own.
        world.policy(D, Gate::Everybody, Gate::Closed);
        world.drops(B, D, error(query()), Reason::IngressRule);
    }

    #[test]
    fn an_ended_flow_has_no_errors() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        world.wait_s(31);
        world.drops(B, A, error(query()), Reason::IngressRule);
    }

    #[test]
    fn a_flow_that_new_rules_forbid_has_no_errors() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 2);
        for eni in [A, B] {
            world.policy(eni, Gate::Closed, Gate::Closed);
        }
        world.drops(B, A, error(query()), Reason::EgressRule);
    }

    #[test]
    fn a_quotation_that_is_cut_short_is_ordinary() {
        let mut world = World::new(Gate::Everybody, Gate::Neighbours);
        world.policy(A, Gate::Everybody, Gate::Closed);
        world.passes(A, B, query(), 2);
        let Transport::Icmp {
            kind,
            code,
            rest,
            mut body,
        } = error(query())
        else {
            panic!("an ICMP message");
        };
        body.truncate(12);
        let short = Transport::Icmp {
            kind,
            code,
            rest,
            body,
        };
        world.drops(B, A, short, Reason::IngressRule);
    }
}
