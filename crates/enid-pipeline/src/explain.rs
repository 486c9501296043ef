//! The whole story of one packet, told by the same stages that carry it.
//!
//! Unlike [`egress`](crate::egress), a story goes on after a gate refused, so that it has both gates'
//! verdicts. It is about a new connection: flows that are there are not asked.

use crate::{
    Scratch,
    bytes::{Addr, Be16, MacPair},
    packet::Packet,
    reason::Reason,
    stage::{
        gate::{self, Pass},
        route,
        spoof_guard::{Source, owner},
    },
    table::{Direction, EniRecord},
    tables::Tables,
};

/// A packet to be explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The ENI that sends it.
    pub source_eni: u64,
    /// Its source address.
    pub source: Addr,
    /// Its destination.
    pub target: Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; the identifier of an ICMP query.
    pub source_port: u16,
    /// Destination port; ICMP type × 256 + code.
    pub target_port: u16,
}

/// What each stage says about a [`Probe`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Story {
    /// The spoof guard: whether the ENI may send from this address.
    pub spoof_guard: Result<(), Reason>,
    /// The gate of the ENI that sends.
    pub egress: Result<Pass, Reason>,
    /// The way: the ENI that has the destination, or why there is no way to it.
    pub route: Result<u64, Reason>,
    /// The gate of the ENI that receives, if there is one.
    pub ingress: Option<Result<Pass, Reason>>,
    /// What happens to the packet: the first refusal, in the order of the stages.
    pub verdict: Result<(), Reason>,
}

/// Tells what would happen to the first packet of a new connection.
pub fn explain<T: Tables>(tables: &T, probe: &Probe) -> Story {
    let mut scratch = Scratch::new();
    let refused = |reason| Story {
        spoof_guard: Err(reason),
        egress: Err(reason),
        route: Err(reason),
        ingress: None,
        verdict: Err(reason),
    };
    let Some(record) = tables.eni(probe.source_eni) else {
        return refused(Reason::UnknownDevice);
    };
    let Some(subnet) = tables.subnet(record.subnet) else {
        return refused(Reason::Incomplete);
    };
    scratch.packet = Packet {
        // As every stack sends: to the router unless it knows the neighbour, which makes no difference.
        macs: MacPair::new(subnet.router_mac, record.mac),
        source: probe.source,
        target: probe.target,
        source_port: Be16::new(probe.source_port),
        target_port: Be16::new(probe.target_port),
        protocol: probe.protocol,
        segments: 1,
        ..Packet::default()
    };
    let source = Source {
        eni: probe.source_eni,
        record,
        owns_address: owner(tables, record.vpc, &probe.source) == probe.source_eni,
    };
    let may_send = source.owns_address
        || record.flags & EniRecord::SOURCE_DEST_CHECK == 0 && !probe.source.is_no_source();
    let spoof_guard = if probe.target.is_multicast() {
        Err(Reason::Multicast)
    } else if may_send {
        Ok(())
    } else {
        Err(Reason::SourceAddress)
    };

    let remote = match route::remote(tables, record, &scratch.packet) {
        Ok(remote) => remote,
        Err(reason) => return refused(reason),
    };
    let remote_record = remote.map(|remote| remote.record);
    let egress = gate::judge(
        tables,
        Direction::Egress,
        record,
        remote_record,
        &mut scratch,
    );
    let way = route::route(tables, &source, remote, &scratch.packet, &mut scratch.hop);
    let ingress = remote.map(|remote| {
        let member = source.owns_address.then_some(record);
        gate::judge(
            tables,
            Direction::Ingress,
            remote.record,
            member,
            &mut scratch,
        )
    });
    let route = way.map(|target| target.eni);
    let verdict = spoof_guard
        .and_then(|()| egress.map(|_| ()))
        .and_then(|()| route.map(|_| ()))
        .and_then(|()| ingress.map_or(Ok(()), |ingress| ingress.map(|_| ())));
    Story {
        spoof_guard,
        egress,
        route,
        ingress,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, B, D, Gate, World, addr};
    use crate::table::protocol;

    fn probe(source_eni: u64, target: Addr) -> Probe {
        Probe {
            source_eni,
            source: addr(source_eni),
            target,
            protocol: protocol::TCP,
            source_port: 40_000,
            target_port: 443,
        }
    }

    #[test]
    fn both_gates_speak_even_if_the_first_refuses() {
        let mut world = World::new(Gate::Closed, Gate::Neighbours);
        let story = explain(&world.memory, &probe(A, addr(B)));
        assert_eq!(story.egress, Err(Reason::EgressRule));
        assert_eq!(
            story.ingress,
            Some(Ok(Pass {
                rule: 21,
                is_tracked: true
            }))
        );
        assert_eq!(story.verdict, Err(Reason::EgressRule));
        world.policy(A, Gate::Everybody, Gate::Closed);
        let story = explain(&world.memory, &probe(A, addr(B)));
        assert_eq!(story.egress.map(|pass| pass.rule), Ok(10));
        assert_eq!(story.route, Ok(B));
        assert_eq!(story.verdict, Ok(()));
    }

    #[test]
    fn an_address_that_nobody_has_has_no_second_gate() {
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let story = explain(&world.memory, &probe(D, Addr::v4([10, 0, 1, 99])));
        assert_eq!(story.ingress, None);
        assert_eq!(story.verdict, Err(Reason::NoEndpoint));
    }

    #[test]
    fn an_address_that_is_not_the_senders_is_explained() {
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let mut probe = probe(A, addr(B));
        probe.source = addr(D);
        let story = explain(&world.memory, &probe);
        assert_eq!(story.verdict, Err(Reason::SourceAddress));
        assert!(story.egress.is_ok());
    }
}
