//! What the AWS rules say about a packet, read plainly.
//!
//! Sources: VPC User Guide (security groups), EC2 User Guide (security group connection tracking).
//! A packet passes when the sender's security groups let it out and the receiver's let it in. A reply of
//! a *tracked* connection passes whatever the rules say, and so do later packets after the rules changed.
//! An *untracked* connection (TCP or UDP, let through by a rule for everybody while the other direction is
//! open to everybody on all ports) is judged packet by packet.

use enid_pipeline::Reason;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::flow::tcp;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::{Direction, protocol};
use enid_plan::gate::{RulePeer, RuleSpec};
use ipnet::IpNet;

use crate::region::{Eni, Region, TCP_ESTABLISHED_S, UDP_S, UDP_STREAM_S};

/// Protocol, addresses and ports. ICMP queries have their identifier and their type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// Source port, or identifier.
    pub source_port: u16,
    /// Destination port, or type × 256 + code.
    pub target_port: u16,
}

impl Tuple {
    /// Of a packet.
    #[must_use]
    pub fn of(packet: &PacketBuilder) -> Self {
        let (number, source_port, target_port) = match &packet.transport {
            Transport::Tcp { from, to, .. } => (protocol::TCP, *from, *to),
            Transport::Udp { from, to } => (protocol::UDP, *from, *to),
            Transport::Other(number) => (*number, 0, 0),
            Transport::Icmp {
                kind, code, rest, ..
            } => {
                let id = u16::from_be_bytes([rest[0], rest[1]]);
                let id = if matches!(kind, 0 | 8) { id } else { 0 };
                (protocol::ICMP, id, u16::from_be_bytes([*kind, *code]))
            }
        };
        Self {
            protocol: number,
            source: packet.source,
            target: packet.target,
            source_port,
            target_port,
        }
    }

    /// Of the packets that answer. Of ICMP messages only an echo has an answer.
    #[must_use]
    pub fn answer(&self) -> Option<Self> {
        let (source_port, target_port) = match (self.protocol, self.target_port >> 8) {
            (protocol::ICMP, 8) => (self.source_port, 0),
            (protocol::ICMP, _) => return None,
            _ => (self.target_port, self.source_port),
        };
        Some(Self {
            protocol: self.protocol,
            source: self.target,
            target: self.source,
            source_port,
            target_port,
        })
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Default, Debug)]
struct Way {
    packets: u64,
    last_ns: u64,
    has_fin: bool,
    /// The version of the region by which its last packet was judged; 0 is none.
    judged: u64,
}

/// A connection that both gates admitted.
#[derive(Clone, Debug)]
struct Connection {
    initiator: u64,
    responder: u64,
    tuple: Tuple,
    tracked_by_initiator: bool,
    tracked_by_responder: bool,
    out: Way,
    back: Way,
    is_closing: bool,
}

impl Connection {
    fn has_ended(&self, now_ns: u64) -> bool {
        let (out, back) = (&self.out, &self.back);
        let idle_s = match self.tuple.protocol {
            protocol::TCP if self.is_closing => 10,
            protocol::TCP if out.packets == 0 || back.packets == 0 => 60,
            protocol::TCP => TCP_ESTABLISHED_S,
            protocol::UDP if out.packets > 1 && back.packets > 1 => UDP_STREAM_S,
            protocol::UDP => UDP_S,
            protocol::ICMP => 30,
            _ => 600,
        };
        now_ns > out.last_ns.max(back.last_ns) + u64::from(idle_s) * 1_000_000_000
    }
}

/// Where a packet goes, or why nowhere.
pub type Outcome = Result<Mac, Reason>;

/// The reading, with the connections that it has seen.
#[derive(Clone, Default, Debug)]
pub struct Reading {
    connections: Vec<Connection>,
    /// Raised when the region changes.
    pub version: u64,
}

impl Reading {
    /// Reads a region's first version.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: Vec::new(),
            version: 1,
        }
    }

    /// Judges a packet that an interface sends.
    pub fn judge(
        &mut self,
        region: &Region,
        sender: &Eni,
        packet: &PacketBuilder,
        now_ns: u64,
    ) -> Outcome {
        if packet.target.is_multicast() {
            return Err(Reason::Multicast);
        }
        let tuple = Tuple::of(packet);
        if !sender.is_up {
            return Err(Reason::UnknownDevice);
        }
        let known = self.known(sender, packet, &tuple, now_ns);

        // The source/destination check.
        let vpc = region.subnet_of(sender).vpc;
        if packet.from_mac != sender.mac {
            return Err(Reason::SourceMac);
        }
        let is_own = sender.addresses.contains(&packet.source);
        if !is_own && (sender.check || packet.source.is_no_source()) {
            return Err(Reason::SourceAddress);
        }

        let receiver = region.owner(vpc, packet.target);
        if known.is_none() && self.is_related(sender, packet, receiver, now_ns) {
            return way(region, sender, receiver, packet).map(|receiver| receiver.mac);
        }

        // Two gates, one per interface.
        let (index, is_out) = known.unwrap_or((usize::MAX, true));
        let connection = self.connections.get(index);
        let tracked = connection.map_or((false, false), |connection| {
            let (i, r) = (
                connection.tracked_by_initiator,
                connection.tracked_by_responder,
            );
            if is_out { (i, r) } else { (r, i) }
        });
        let egress = if tracked.0 {
            true
        } else {
            gate(region, sender, Direction::Egress, &tuple, receiver)?
        };
        let receiver = way(region, sender, receiver, packet)?;
        let ingress = if tracked.1 {
            true
        } else {
            let peer = is_own.then_some(sender);
            gate(region, receiver, Direction::Ingress, &tuple, peer)?
        };

        let flags = match packet.transport {
            Transport::Tcp { flags, .. } => flags,
            _ => 0,
        };
        let version = self.version;
        match self.connections.get_mut(index) {
            Some(connection) => {
                if is_out {
                    connection.tracked_by_initiator = egress;
                    connection.tracked_by_responder = ingress;
                }
                let way = if is_out {
                    &mut connection.out
                } else {
                    &mut connection.back
                };
                way.packets += 1;
                way.last_ns = now_ns;
                way.judged = version;
                way.has_fin |= flags & tcp::FIN != 0;
                let both_fin = connection.out.has_fin && connection.back.has_fin;
                if flags & tcp::RST != 0 || flags & tcp::FIN != 0 && both_fin {
                    connection.is_closing = true;
                }
            }
            None => {
                // It replaces whatever was there on these addresses and ports, in either direction.
                self.connections.retain(|other| {
                    let is_same = other.initiator == sender.id && other.tuple == tuple;
                    let is_reverse = other.responder == sender.id
                        && other.tuple.answer() == Some(tuple)
                        || other.initiator == receiver.id && Some(other.tuple) == tuple.answer();
                    !is_same && !is_reverse
                });
                self.connections.push(Connection {
                    initiator: sender.id,
                    responder: receiver.id,
                    tuple,
                    tracked_by_initiator: egress,
                    tracked_by_responder: ingress,
                    out: Way {
                        packets: 1,
                        last_ns: now_ns,
                        has_fin: flags & tcp::FIN != 0,
                        judged: version,
                    },
                    back: Way {
                        last_ns: now_ns,
                        judged: if is_own { version } else { 0 },
                        ..Way::default()
                    },
                    is_closing: false,
                });
            }
        }
        Ok(receiver.mac)
    }

    /// The live connection of a packet and whether it goes the connection's own way. A packet that opens
    /// a TCP connection belongs to none.
    fn known(
        &self,
        sender: &Eni,
        packet: &PacketBuilder,
        tuple: &Tuple,
        now_ns: u64,
    ) -> Option<(usize, bool)> {
        if let Transport::Tcp { flags, .. } = packet.transport
            && flags & (tcp::SYN | tcp::ACK) == tcp::SYN
        {
            return None;
        }
        let found = self
            .connections
            .iter()
            .enumerate()
            .find_map(|(index, connection)| {
                if connection.initiator == sender.id && connection.tuple == *tuple {
                    Some((index, true))
                } else if connection.responder == sender.id
                    && connection.tuple.answer() == Some(*tuple)
                {
                    Some((index, false))
                } else {
                    None
                }
            })?;
        (!self.connections[found.0].has_ended(now_ns)).then_some(found)
    }

    /// An ICMP error about a packet of a live connection goes to that packet's sender, if it comes from
    /// the other end or from who may forward packets, unless the connection is judged packet by packet
    /// and has not been since the region changed.
    fn is_related(
        &self,
        sender: &Eni,
        packet: &PacketBuilder,
        receiver: Option<&Eni>,
        now_ns: u64,
    ) -> bool {
        let (Transport::Icmp { kind, body, .. }, Some(receiver)) = (&packet.transport, receiver)
        else {
            return false;
        };
        let Some(quoted) = quoted(body).filter(|_| matches!(kind, 3 | 11 | 12)) else {
            return false;
        };
        if quoted.source != packet.target || !receiver.is_up {
            return false;
        }
        self.connections.iter().any(|connection| {
            let (way, other) = if connection.initiator == receiver.id && connection.tuple == quoted
            {
                (connection.out, connection.responder)
            } else if connection.responder == receiver.id
                && connection.tuple.answer() == Some(quoted)
            {
                (connection.back, connection.initiator)
            } else {
                return false;
            };
            if other != sender.id && sender.check {
                return false;
            }
            let is_tracked = connection.tracked_by_initiator && connection.tracked_by_responder;
            (way.judged == self.version || is_tracked) && !connection.has_ended(now_ns)
        })
    }
}

/// The 5-tuple of a quoted IPv4 packet.
fn quoted(body: &[u8]) -> Option<Tuple> {
    let header = body.first_chunk::<28>()?;
    let addr = |at: usize| Addr::v4([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (source_port, target_port) = match header[9] {
        protocol::TCP | protocol::UDP => (word(20), word(22)),
        protocol::ICMP if matches!(header[20], 0 | 8) => (word(24), word(20)),
        protocol::ICMP => (0, word(20)),
        _ => (0, 0),
    };
    Some(Tuple {
        protocol: header[9],
        source: addr(12),
        target: addr(16),
        source_port,
        target_port,
    })
}

/// The interface that a packet reaches: straight in its subnet, through the router to others.
fn way<'a>(
    region: &Region,
    sender: &Eni,
    receiver: Option<&'a Eni>,
    packet: &PacketBuilder,
) -> Result<&'a Eni, Reason> {
    let subnet = region.subnet_of(sender);
    let is_to_router = packet.to_mac == subnet.router_mac();
    // Every subnet's route table has the VPC's local route, 10.0.0.0/16, and nothing else.
    let is_local = packet.target.is_v4() && packet.target.v4_octets()[..2] == [10, 0];
    let Some(receiver) = receiver else {
        return Err(if packet.target == subnet.router() {
            Reason::RouterAddress
        } else if packet.target.is_link_local() {
            Reason::LinkLocal
        } else if !is_to_router {
            Reason::DestinationMac
        } else if !is_local {
            Reason::NoRoute
        } else {
            Reason::NoEndpoint
        });
    };
    if receiver.id == sender.id {
        return Err(Reason::OwnAddress);
    }
    // A neighbour is found by its address, whatever MAC it had when it was last seen.
    let is_neighbour = receiver.subnet == sender.subnet && !packet.to_mac.is_group();
    if !is_to_router && !is_neighbour {
        return Err(Reason::DestinationMac);
    }
    if !receiver.is_up {
        return Err(Reason::TargetDown);
    }
    Ok(receiver)
}

/// One gate: any rule of any group of the interface. Says whether the connection is tracked there.
fn gate(
    region: &Region,
    eni: &Eni,
    direction: Direction,
    tuple: &Tuple,
    peer: Option<&Eni>,
) -> Result<bool, Reason> {
    let (remote, refused) = match direction {
        Direction::Egress => (tuple.target, Reason::EgressRule),
        Direction::Ingress => (tuple.source, Reason::IngressRule),
    };
    let peer_groups: Vec<u64> = peer.map_or_else(Vec::new, |peer| {
        peer.groups
            .iter()
            .map(|group| region.groups[*group].id)
            .collect()
    });
    let mut matching = rules(region, eni, direction).into_iter().filter(|rule| {
        let peer = match rule.peer {
            RulePeer::Group(group) => peer_groups.contains(&group),
            RulePeer::Cidr(cidr) => cidr.contains(&std::net::IpAddr::from(remote)),
        };
        let service = match rule.protocol {
            None => true,
            Some(number) => {
                number == tuple.protocol && (rule.from..=rule.to).contains(&tuple.target_port)
            }
        };
        peer && service
    });
    let Some(first) = matching.next() else {
        return Err(refused);
    };
    // "An untracked connection": one of the rules that admit it is for everybody, and the other
    // direction is open to everybody on all ports of the protocol.
    let is_for_everybody = first.is_any_peer() || matching.any(|rule| rule.is_any_peer());
    let is_open = rules(region, eni, direction.opposite())
        .into_iter()
        .any(|rule| {
            let is_same_family = matches!(rule.peer, RulePeer::Cidr(IpNet::V4(_)));
            let is_all_ports = rule.protocol.is_none()
                || rule.protocol == Some(tuple.protocol) && (rule.from, rule.to) == (0, u16::MAX);
            rule.is_any_peer() && is_same_family && is_all_ports
        });
    let can_be_untracked = matches!(tuple.protocol, protocol::TCP | protocol::UDP);
    Ok(!(can_be_untracked && is_for_everybody && is_open))
}

fn rules(region: &Region, eni: &Eni, direction: Direction) -> Vec<RuleSpec> {
    let groups = eni.groups.iter().map(|group| &region.groups[*group]);
    groups
        .flat_map(|group| match direction {
            Direction::Egress => group.egress.iter().copied(),
            Direction::Ingress => group.ingress.iter().copied(),
        })
        .collect()
}
