//! What NAT gateways count, for AWS's metrics of them: see [`nat_counts`](crate::nat_counts).
//!
//! A gateway's entry is made by the first packet that comes to it. The agent removes it with the gateway.

use crate::{
    Scratch, flow::tcp, nat_counts::NatCountsEntry, packet::Packet, reason::Reason,
    table::protocol, tables::Tables,
};

/// Counts a packet that goes on through a gateway, if there is one.
#[inline(never)]
pub(crate) fn carried<T: Tables>(tables: &T, nat: u64, is_back: bool, packet: &Packet) {
    if nat == 0 {
        return;
    }
    let Some(counts) = tables.nat_counts(nat) else {
        return;
    };
    let (packets, bytes) = if is_back {
        (&counts.back_packets, &counts.back_bytes)
    } else {
        (&counts.out_packets, &counts.out_bytes)
    };
    tables.add(packets, u64::from(packet.segments));
    tables.add(bytes, u64::from(packet.bytes));
    if packet.protocol == protocol::UDP {
        tables.add(&counts.udp_bytes, u64::from(packet.bytes));
    }
    if packet.tcp_flags & tcp::RST != 0 && packet.protocol == protocol::TCP {
        let resets = if is_back {
            &counts.back_resets
        } else {
            &counts.out_resets
        };
        tables.add(resets, 1);
    }
}

/// Counts a packet that a gateway refused.
#[inline(never)]
pub(crate) fn refused<T: Tables>(tables: &T, reason: Reason, is_answered: bool, scratch: &Scratch) {
    let is_its_own = matches!(
        reason,
        Reason::NatUnsolicited
            | Reason::NatProtocol
            | Reason::NatFragment
            | Reason::NatPortAllocation
            | Reason::NatRoute
            | Reason::NatReset
            | Reason::TooBig
    );
    if scratch.journey.balancer != 0 {
        refused_by_node(tables, reason, is_answered, scratch);
        return;
    }
    if !is_its_own || scratch.journey.nat == 0 {
        return;
    }
    make(tables, scratch.journey.nat);
    let Some(counts) = tables.nat_counts(scratch.journey.nat) else {
        return;
    };
    let (packets, bytes) = if scratch.journey.is_back {
        (&counts.refused_back_packets, &counts.refused_back_bytes)
    } else {
        (&counts.refused_out_packets, &counts.refused_out_bytes)
    };
    let segments = u64::from(scratch.packet.segments);
    tables.add(packets, segments);
    tables.add(bytes, u64::from(scratch.packet.bytes));
    if !is_answered {
        tables.add(&counts.dropped_packets, segments);
    }
    if reason == Reason::NatPortAllocation {
        tables.add(&counts.port_errors, 1);
    }
}

/// Counts what the node of a load balancer refused, and what it reset.
#[inline(never)]
fn refused_by_node<T: Tables>(tables: &T, reason: Reason, is_answered: bool, scratch: &Scratch) {
    let is_counted = matches!(
        reason,
        Reason::BalancerEgressRule
            | Reason::BalancerHairpin
            | Reason::BalancerIngressRule
            | Reason::BalancerReset
            | Reason::BalancerTarget
            | Reason::NatPortAllocation
    );
    if !is_counted {
        return;
    }
    make(tables, scratch.journey.balancer);
    let Some(counts) = tables.nat_counts(scratch.journey.balancer) else {
        return;
    };
    let is_tcp = scratch.packet.protocol == protocol::TCP;
    let word = match (reason, is_tcp) {
        (Reason::BalancerIngressRule, true) => &counts.blocked_in_tcp,
        (Reason::BalancerIngressRule, false) => &counts.blocked_in_udp,
        (Reason::BalancerEgressRule, true) => &counts.blocked_out_tcp,
        (Reason::BalancerEgressRule, false) => &counts.blocked_out_udp,
        (Reason::BalancerReset, _) if !is_answered => return,
        (Reason::BalancerReset, _) => &counts.own_resets,
        (_, true) => &counts.rejected_tcp,
        (_, false) => &counts.rejected_udp,
    };
    tables.add(word, 1);
    if reason == Reason::NatPortAllocation {
        tables.add(&counts.port_errors, 1);
    }
}

/// Makes the entry of a gateway, if it has none.
#[inline(never)]
pub(crate) fn make<T: Tables>(tables: &T, nat: u64) {
    if tables.nat_counts(nat).is_none() {
        tables.insert_nat_counts(nat);
    }
}

/// Counts connections that hold a port.
#[inline(always)]
pub(crate) fn add_active<T: Tables>(tables: &T, nat: u64, count: u64) {
    with(tables, nat, |counts| tables.add(&counts.active, count));
}

/// Counts a connection that begins.
#[inline(always)]
pub(crate) fn add_attempt<T: Tables>(tables: &T, nat: u64) {
    with(tables, nat, |counts| tables.add(&counts.attempts, 1));
}

/// Counts a UDP flow that begins at the node of a load balancer.
#[inline(always)]
pub(crate) fn add_udp_flow<T: Tables>(tables: &T, node: u64) {
    with(tables, node, |counts| tables.add(&counts.udp_flows, 1));
}

/// Counts a flow that begins while too few targets are healthy.
#[inline(always)]
pub(crate) fn add_fail_open<T: Tables>(tables: &T, node: u64) {
    with(tables, node, |counts| tables.add(&counts.fail_open, 1));
}

/// Counts a connection that was accepted.
#[inline(never)]
pub(crate) fn add_established<T: Tables>(tables: &T, nat: u64) {
    with(tables, nat, |counts| tables.add(&counts.established, 1));
}

/// Counts a connection that nobody closed.
#[inline(always)]
pub(crate) fn add_idle<T: Tables>(tables: &T, nat: u64) {
    with(tables, nat, |counts| tables.add(&counts.idle, 1));
}

#[inline(always)]
fn with<T: Tables>(tables: &T, nat: u64, count: impl FnOnce(&NatCountsEntry)) {
    if let Some(counts) = tables.nat_counts(nat) {
        count(&counts);
    }
}

#[cfg(test)]
mod tests {
    use crate::Reason;
    use crate::flow::flag;
    use crate::ledger::{A, Change, D, Gate, World, query, reply};
    use crate::ledger_nat::{ACK, answer, behind, comes, fails, goes, opened, tcp};
    use crate::ledger_wide::{NAT, NAT_PUBLIC, X, at, from_x, to, wide_addr};
    use crate::packet_builder::Transport;
    use crate::release::{ReleaseOrder, release};

    #[test]
    fn a_closed_connection_is_not_idle() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let port = opened(&world, 2);
        let _ = goes(&world, A, &to(A, X, tcp(5, 80, 0x11)), 0);
        world.wait_s(300);
        // Half closed it lives on.
        let fin = from_x(NAT_PUBLIC, tcp(80, port, 0x11));
        comes(&world, &fin, &at(A, X, tcp(80, 5, 0x11)));
        let _ = goes(&world, A, &to(A, X, tcp(5, 80, ACK)), 0);
        world.wait_s(11);
        let mut late = to(A, X, tcp(5, 80, ACK)).frame();
        let _ = world.send(A, &mut late, &Change::dropped(Reason::NatReset));
        assert_eq!(sweep(&world), 1);
        let counts = world.memory.counts_of(NAT);
        assert_eq!((counts.idle, counts.active), (0, 0));
        // One that nobody closed is.
        let _ = opened(&world, 1);
        assert_eq!(sweep(&world), 0);
        assert_eq!(world.memory.counts_of(NAT).active, 1);
        world.wait_s(351);
        assert_eq!(sweep(&world), 1);
        let counts = world.memory.counts_of(NAT);
        assert_eq!((counts.idle, counts.active), (1, 0));
        let taken: u64 = world.memory.ports().values().map(|it| it.taken).sum();
        assert_eq!(taken, 0);
    }

    /// Releases what has ended, as the agent orders it, and says how many entries these were.
    fn sweep(world: &World) -> usize {
        let flows = world.memory.flows();
        let holding = flows
            .iter()
            .filter(|(_, flow)| flow.flags & flag::HOLDS_PORT != 0);
        let gone = holding.filter(|(key, _)| {
            let order = ReleaseOrder {
                key: **key,
                is_lost: false,
            };
            release(&world.memory, &order, world.now_ns)
        });
        gone.count()
    }

    #[test]
    fn every_packet_is_counted_once() {
        let world = behind(Gate::Everybody, Gate::Closed);
        let port = goes(&world, A, &to(A, X, query()), 2);
        let mut answer = from_x(NAT_PUBLIC, answer(port));
        let mut arrives = at(A, X, reply());
        (answer.payload, arrives.payload) = (100, 100);
        for _ in 0..3 {
            comes(&world, &answer, &arrives);
            let _ = goes(&world, A, &to(A, X, query()), 0);
        }
        fails(
            &world,
            A,
            &to(A, X, Transport::Other(47)),
            Reason::NatProtocol,
        );
        let counts = world.memory.counts_of(NAT);
        assert_eq!((counts.out_packets, counts.out_bytes), (4, 4 * 28));
        assert_eq!((counts.back_packets, counts.back_bytes), (3, 3 * 128));
        assert_eq!(
            (counts.refused_out_packets, counts.refused_out_bytes),
            (1, 28)
        );
        assert_eq!((counts.dropped_packets, counts.port_errors), (1, 0));
        // No connection of TCP's.
        assert_eq!(
            (counts.active, counts.attempts, counts.established),
            (0, 0, 0)
        );
    }

    #[test]
    fn an_address_that_an_instance_gets_frees_the_gateways_ports() {
        let mut world = behind(Gate::Everybody, Gate::Everybody);
        let port = goes(&world, A, &to(A, X, query()), 2);
        assert_eq!(world.memory.ports().len(), 1);
        // D gets the address, and a packet for the gateway's port.
        let record = world.memory.tables.publics.get_mut(&NAT_PUBLIC);
        let record = record.expect("the gateway's address");
        (record.eni, record.private) = (D, wide_addr(D));
        world.memory.generation += 1;
        let packet = from_x(NAT_PUBLIC, answer(port));
        let mut frame = packet.frame();
        let _ = world.send_in(&mut frame, &Change::opened(1, 28));
        let taken: u64 = world.memory.ports().values().map(|it| it.taken).sum();
        assert_eq!(taken, 0);
    }
}
