//! The whole story of one packet, told by the same stages that carry it.
//!
//! Unlike [`egress`](crate::egress), a story goes on after a gate refused, so that it has both gates'
//! verdicts. It is about a new connection: flows that are there are not asked.

use crate::{
    Course, Scratch,
    bytes::{Addr, Be16, MacPair},
    flow::tcp,
    journey::{EDGES_MAX, Journey},
    owner::owner,
    packet::Packet,
    pass_node,
    reason::Reason,
    stage::{
        acl,
        gate::{self, Pass},
        route, service,
    },
    table::{Direction, EniRecord, GATE_OPEN, Route, protocol},
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Story {
    /// The spoof guard: whether the ENI may send from this address.
    pub spoof_guard: Result<(), Reason>,
    /// The gate of the ENI that sends.
    pub egress: Result<Pass, Reason>,
    /// The subnet edges on the way, in the order in which they are crossed.
    pub edges: Vec<EdgeStory>,
    /// The route of the sender's subnet that decided; `None` inside a subnet, or if there is none.
    pub route: Option<RouteStory>,
    /// The NAT gateway on the way, or the interface of a load balancer's node; 0 if there is none.
    pub via: u64,
    /// Whether it is a load balancer's node. Which of its targets gets a connection depends on its first
    /// sequence number as well; this is one of them.
    pub is_balanced: bool,
    /// The interface of a load balancer's node that it has come to, whether it passes or not; 0 if none.
    pub balancer: u64,
    /// The source address that the packet arrives with.
    pub source: Addr,
    /// The destination address that it arrives with.
    pub target: Addr,
    /// The way: the ENI that gets it or [`OUTSIDE`](crate::table::OUTSIDE), or why there is no way.
    pub way: Result<u64, Reason>,
    /// The gate of the ENI that receives, if there is one.
    pub ingress: Option<Result<Pass, Reason>>,
    /// Whether it goes to the link-local services of the VPC: then nobody else has a say.
    pub is_service: bool,
    /// What happens to the packet: the first refusal, in the order of the stages.
    pub verdict: Result<(), Reason>,
}

/// What a network ACL says at the edge of a subnet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EdgeStory {
    /// The ACL.
    pub acl: u64,
    /// Out of the subnet or into it.
    pub direction: Direction,
    /// The number of the entry that decided; `None` of an ACL that lets everything pass.
    pub entry: Option<u64>,
    /// Whether it lets the packet pass.
    pub outcome: Result<(), Reason>,
}

/// A route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteStory {
    /// What kind of target it has, as in [`Route`].
    pub kind: u32,
    /// The prefix length of its destination, of 128 bits.
    pub prefix_len: u32,
}

/// Tells what would happen to the first packet of a new connection.
pub fn explain<T: Tables>(tables: &T, probe: &Probe) -> Story {
    let mut scratch = Scratch::new();
    let refused = |reason| Story {
        spoof_guard: Err(reason),
        egress: Err(reason),
        edges: Vec::new(),
        route: None,
        via: 0,
        is_balanced: false,
        balancer: 0,
        source: probe.source,
        target: probe.target,
        way: Err(reason),
        ingress: None,
        is_service: false,
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
        tcp_flags: match probe.protocol {
            protocol::TCP => tcp::SYN,
            _ => 0,
        },
        segments: 1,
        ..Packet::default()
    };
    scratch.key = scratch.packet.key(record.ifindex);
    scratch.source_eni = probe.source_eni;
    scratch.owns_address = owner(tables, record.vpc, &probe.source) == probe.source_eni;
    let may_send = scratch.owns_address
        || record.flags & EniRecord::SOURCE_DEST_CHECK == 0 && !probe.source.is_no_source();
    let is_faulty =
        |eni: Option<&EniRecord>| eni.is_some_and(|eni| eni.flags & EniRecord::FAULTY != 0);
    let spoof_guard = if is_faulty(Some(record)) {
        Err(Reason::Fault)
    } else if probe.target.is_multicast() {
        Err(Reason::Multicast)
    } else if may_send {
        Ok(())
    } else {
        Err(Reason::SourceAddress)
    };

    if let Some(asked) = ask(tables, spoof_guard, &mut scratch) {
        return Story {
            spoof_guard,
            egress: Ok(Pass::OUTSIDE),
            way: asked.map(|()| 0),
            is_service: true,
            verdict: asked,
            ..refused(Reason::Incomplete)
        };
    }
    scratch.way = route::from_eni(tables, &mut scratch);
    pass_node(tables, &mut scratch);
    let way = match scratch.way {
        Ok(()) if is_faulty(tables.eni(scratch.journey.eni)) => Err(Reason::Fault),
        way => way,
    };
    let remote = tables.eni(scratch.journey.remote);
    let egress = gate::judge(tables, Direction::Egress, record, remote, &mut scratch);
    let edges = edges(tables, &mut scratch);
    let receiver = if scratch.journey.eni == 0 {
        scratch.journey.remote
    } else {
        scratch.journey.eni
    };
    let ingress = tables
        .eni(receiver)
        .filter(|target| target.flags & (EniRecord::NAT_GATEWAY | EniRecord::BALANCER) == 0);
    let ingress = ingress.map(|target| {
        let member = match scratch.journey.is_balanced {
            true => tables.eni(scratch.journey.via),
            false => scratch.journey.is_member.then_some(record),
        };
        gate::judge(tables, Direction::Ingress, target, member, &mut scratch)
    });
    let verdict = spoof_guard
        .and_then(|()| egress.map(|_| ()))
        .and_then(|()| edges.iter().try_for_each(|edge| edge.outcome))
        .and(way)
        .and_then(|()| ingress.map_or(Ok(()), |ingress| ingress.map(|_| ())));
    let Journey {
        route,
        via,
        is_balanced,
        balancer,
        ..
    } = scratch.journey;
    Story {
        spoof_guard,
        egress,
        edges,
        route: (route != 0).then(|| RouteStory {
            kind: u32::try_from(route & u64::from(u32::MAX)).unwrap_or(Route::NONE),
            prefix_len: u32::try_from(route >> 32).unwrap_or(0),
        }),
        via,
        is_balanced,
        balancer,
        source: scratch.journey.source,
        target: scratch.journey.target,
        way: way.map(|()| scratch.journey.eni),
        ingress,
        is_service: false,
        verdict,
    }
}

/// What the link-local services' stage says, if the packet is for one of them.
fn ask<T: Tables>(
    tables: &T,
    spoof_guard: Result<(), Reason>,
    scratch: &mut Scratch,
) -> Option<Result<(), Reason>> {
    if spoof_guard.is_err() || !service::is_port(&scratch.packet) {
        return None;
    }
    match service::ask(tables, scratch) {
        Ok(()) if scratch.course != Course::Service => None,
        asked => Some(asked),
    }
}

/// All edges of the way, whatever the first of them says.
fn edges<T: Tables>(tables: &T, scratch: &mut Scratch) -> Vec<EdgeStory> {
    let mut stories = Vec::new();
    for index in 0..EDGES_MAX {
        let Some(edge) = scratch.journey.edge(index) else {
            break;
        };
        let question = &mut scratch.question;
        question.gate = edge.gate;
        question.remote = edge.remote;
        question.protocol = scratch.packet.protocol;
        question.port = edge.port.bytes();
        let is_open = edge.gate == GATE_OPEN;
        let is_allowed = is_open || acl::is_allowed(tables, question);
        stories.push(EdgeStory {
            acl: edge.acl,
            direction: edge.direction,
            entry: (!is_open).then_some(question.answer.rule),
            outcome: if is_allowed {
                Ok(())
            } else {
                Err(acl::refusal(edge.direction))
            },
        });
    }
    stories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, B, D, Gate, World, addr};

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
        assert_eq!(story.way, Ok(B));
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

    #[test]
    fn a_service_is_asked_whatever_the_gates_say() {
        let mut world = World::new(Gate::Closed, Gate::Closed);
        let asks = |port| Probe {
            target_port: port,
            ..probe(A, crate::service::METADATA)
        };
        let story = explain(&world.memory, &asks(80));
        assert_eq!(
            (story.is_service, story.verdict),
            (true, Err(Reason::ServiceDown))
        );
        let record = crate::table::ServiceRecord {
            resolver: Addr::v4([10, 0, 0, 2]),
            ifindex: 100,
            pad: 0,
        };
        world.memory.tables.services.insert(1, record);
        let story = explain(&world.memory, &asks(80));
        assert_eq!((story.is_service, story.verdict), (true, Ok(())));
        let story = explain(&world.memory, &asks(81));
        assert_eq!(
            (story.is_service, story.verdict),
            (false, Err(Reason::EgressRule))
        );
    }
}
