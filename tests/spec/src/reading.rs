//! What the AWS rules say about a packet, read plainly.
//!
//! Sources: VPC User Guide (security groups), EC2 User Guide (security group connection tracking).
//! The way of a packet is read in `way.rs`. A packet passes when the sender's security groups let it out and the receiver's let it in. A reply of
//! a *tracked* connection passes whatever the rules say, and so do later packets after the rules changed.
//! An *untracked* connection (TCP or UDP, let through by a rule for everybody while the other direction is
//! open to everybody on all ports) is judged packet by packet.

use std::collections::VecDeque;

use enid_pipeline::Reason;
use enid_pipeline::bytes::Addr;
use enid_pipeline::flow::tcp;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::{Direction, OUTSIDE, protocol};

use crate::balancing::{Balanced, Choice, is_port_of_node};
use crate::connection::{Connection, Flow, NOBODY};
use crate::gates::{acls, allows_all, gate};
use crate::region::{Eni, Region, Way};
use crate::told::{refused, reset};
use crate::tuple::{Tuple, error_quotes, requote};
use crate::way::{End, Question, Through, Trip, longest};

/// Who sends a packet.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// An interface.
    Eni(&'a Eni),
    /// Somebody outside.
    Outside,
}

impl Sender<'_> {
    /// The interface's id, or [`OUTSIDE`].
    #[must_use]
    pub const fn id(&self) -> u64 {
        match self {
            Self::Eni(eni) => eni.id,
            Self::Outside => OUTSIDE,
        }
    }

    pub(crate) const fn eni(&self) -> Option<&Eni> {
        match self {
            Self::Eni(eni) => Some(eni),
            Self::Outside => None,
        }
    }
}

/// Whether a packet asks a link-local service: metadata, time, names, or DHCP of the router.
/// Source: VPC User Guide, "Understanding Amazon DNS", EC2 User Guide, "Instance metadata", "Set the time".
fn asks_service(region: &Region, sender: &Eni, tuple: &Tuple) -> bool {
    let is_at = |last| tuple.target == Addr::v4([169, 254, 169, last]);
    match (tuple.protocol, tuple.target_port) {
        (protocol::TCP, 80) => is_at(254),
        (protocol::TCP | protocol::UDP, 53) => is_at(253),
        (protocol::UDP, 123) => is_at(123),
        (protocol::UDP, 67) => tuple.target == region.subnet_of(sender).router(),
        _ => false,
    }
}

/// The frame that arrives, or why none does.
pub type Outcome = Result<Vec<u8>, Reason>;

/// The reading, with the connections that it has seen.
#[derive(Clone, Default, Debug)]
pub struct Reading {
    connections: Vec<Connection>,
    /// What nodes of load balancers have chosen lately.
    choices: VecDeque<Choice>,
    /// Whether an answer has gone to another interface than who asked; see [`Reading::forget`].
    went_astray: bool,
    /// Raised when the region changes.
    pub version: u64,
}

/// How many choices of load balancers are remembered.
const CHOICES: usize = 200;

/// What a judgement says beside its outcome.
#[derive(Default, Debug)]
struct Judged {
    /// How many different choices a node had.
    choices: usize,
    /// The one that it is said to have made.
    made: Option<Choice>,
}

/// A packet to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) region: &'a Region,
    pub(crate) sender: Sender<'a>,
    pub(crate) packet: &'a PacketBuilder,
    tuple: Tuple,
    now_ns: u64,
}

impl Reading {
    /// Reads a region's first version.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: Vec::new(),
            choices: VecDeque::new(),
            went_astray: false,
            version: 1,
        }
    }

    /// Whether the last packet was an answer that went to another interface than who asked, or under other
    /// addresses, by a middlebox that has not seen the question. What that one and the two others remember of
    /// it from then on is nothing that the AWS documentation tells: the caller has all forget it, see
    /// [`Reading::forget`].
    #[must_use]
    pub const fn went_astray(&self) -> bool {
        self.went_astray
    }

    /// Forgets all connections.
    pub fn forget(&mut self) {
        self.connections.clear();
        self.went_astray = false;
    }

    /// Judges a packet. `found` is what became of it: a NAT gateway chooses address and port, a load balancer
    /// a target as well, and the reading takes them from there and checks that they may.
    ///
    /// # Panics
    /// If a load balancer has chosen otherwise for the same flow, from the same targets.
    pub fn judge(
        &mut self,
        region: &Region,
        sender: Sender<'_>,
        packet: &PacketBuilder,
        now_ns: u64,
        found: &Outcome,
    ) -> Outcome {
        let own = packet.frame();
        let seen = found.as_ref().unwrap_or(&own);
        if region.balancers.is_empty() {
            let mut judged = Judged::default();
            return self.judge_with(region, sender, packet, now_ns, (0, seen), &mut judged);
        }
        let mut first = None;
        for choice in 0.. {
            let mut trial = self.clone();
            let mut judged = Judged::default();
            let said = (choice, seen.as_slice());
            let outcome = trial.judge_with(region, sender, packet, now_ns, said, &mut judged);
            if outcome == *found {
                if let (Ok(_), Some(made)) = (&outcome, judged.made) {
                    trial.note(made);
                }
                *self = trial;
                return outcome;
            }
            first.get_or_insert(outcome);
            if choice + 1 >= judged.choices {
                break;
            }
        }
        first.unwrap_or(Err(Reason::Incomplete))
    }

    /// Notes what a node has chosen, which has to be what it chose before.
    fn note(&mut self, made: Choice) {
        let mut before = self.choices.iter();
        let other = before.find(|before| before.contradicts(&made));
        assert!(other.is_none(), "chosen: {made:#?}\nbefore: {other:#?}");
        if self.choices.len() == CHOICES {
            self.choices.pop_front();
        }
        self.choices.push_back(made);
    }

    /// The same, if a node takes the choice with this number.
    fn judge_with(
        &mut self,
        region: &Region,
        sender: Sender<'_>,
        packet: &PacketBuilder,
        now_ns: u64,
        (choice, seen): (usize, &[u8]),
        judged: &mut Judged,
    ) -> Outcome {
        if packet.target.is_multicast() {
            return Err(Reason::Multicast);
        }
        let case = Case {
            region,
            sender,
            packet,
            tuple: Tuple::of(packet),
            now_ns,
        };
        if let Some(node) = self.late(&case).and_then(|node| region.balancer_of(node)) {
            return reset(&case, node.1.subnet);
        }
        let is_own = is_own(&case)?;
        if let Sender::Eni(eni) = sender
            && asks_service(region, eni, &case.tuple)
        {
            // No group and no network ACL is asked; the services of the regions read here are down.
            return Err(match () {
                () if !is_own => Reason::SourceAddress,
                () if packet.to_mac != region.subnet_of(eni).router_mac() => Reason::DestinationMac,
                () => Reason::ServiceDown,
            });
        }
        let known = self.known(&case);
        let quoted = if known.is_none() {
            self.quoted_through_nat(&case)
        } else {
            None
        };
        let mut known = known;
        let mut connection = known.map(|(index, is_out)| (&self.connections[index], is_out));
        let question = Question {
            region,
            sender,
            to_mac: packet.to_mac,
            tuple: case.tuple,
            is_answer: connection.is_some_and(|(_, is_out)| !is_out),
            through: match (connection, quoted) {
                (Some((connection, is_out)), _) => through(connection, is_out),
                // An error goes the way of the packets that answer what it quotes.
                (None, Some((connection, is_out, _))) => through(connection, !is_out),
                (None, None) => None,
            },
            balanced: match (connection, quoted) {
                (Some((connection, is_out)), _) => balanced(region, connection, is_out),
                (None, Some((connection, is_out, _))) => balanced(region, connection, !is_out),
                (None, None) => None,
            },
            choice,
            owns_address: is_own,
            has_turned: self.has_turned(&case),
            quotes: connection.is_none() && error_quotes(packet).is_some(),
            is_error: quoted.is_some(),
            opens_tcp: opens_tcp(packet),
            length: packet.packet().len(),
            comes_by_egress_only: connection
                .is_some_and(|(connection, is_out)| !is_out && connection.by_egress_only),
            seen: seen_source(seen, case.tuple.protocol),
        };
        let (trip, mut end) = Trip::of(question);
        judged.choices = trip.choices;
        judged.made.clone_from(&trip.made);
        if trip.begins_anew {
            (known, connection) = (None, None);
        }
        let receiver = end
            .ok()
            .or(trip.found)
            .or_else(|| trip.remote.map(End::Eni));
        let is_related = quoted.is_some() || known.is_none() && self.is_related(&case, receiver);
        if trip.must_be_related && !is_related && end.is_ok() {
            end = Err(Reason::NoInternetGateway);
        }
        if is_related {
            acls(region, &trip.edges)?;
            if let Err(reason) = end {
                return refused(&case, &trip, reason);
            }
            let inner = quoted.map(|(_, _, inner)| inner);
            return Ok(frame(packet, &trip, inner));
        }

        let remembered = connection.filter(|(connection, _)| !connection.is_forgotten(now_ns));
        let tracked = remembered.map_or((false, false), |(connection, is_out)| {
            let (i, r) = (
                connection.tracked_by_initiator,
                connection.tracked_by_responder,
            );
            if is_out { (i, r) } else { (r, i) }
        });
        let egress = match sender {
            Sender::Eni(eni) if !tracked.0 => {
                // "Automatically tracked": what goes through a NAT gateway or out of an egress-only one.
                gate(region, eni, Direction::Egress, &case.tuple, trip.remote)?
                    || trip.via.is_some()
                    || trip.node.is_some()
                    || trip.by_egress_only
            }
            _ => true,
        };
        acls(region, &trip.edges)?;
        let end = match end {
            Ok(end) => end,
            Err(reason) => return refused(&case, &trip, reason),
        };
        let other = connection.map(|(connection, is_out)| {
            if is_out {
                connection.responder
            } else {
                connection.initiator
            }
        });
        let ingress = match end {
            End::Eni(eni) if !(tracked.1 && other == Some(eni.id)) => {
                // Behind a load balancer it is the balancer's groups that a rule may name.
                let peer = sender.eni().filter(|_| is_own && trip.is_member);
                let peer = trip.node.or(peer);
                match gate(region, eni, Direction::Ingress, &trip.tuple, peer) {
                    Err(_) if !trip.takes_port && self.is_asked_for(&case, eni, &trip.tuple) => {
                        if known.is_none() {
                            // It answers a connection that stays as it is.
                            return Ok(frame(packet, &trip, None));
                        }
                        true
                    }
                    passed => passed? || trip.node.is_some(),
                }
            }
            _ => true,
        };
        if trip.is_reset {
            return refused(&case, &trip, Reason::NatReset);
        }
        let responder = match end {
            End::Eni(eni) => eni.id,
            End::Outside => OUTSIDE,
        };
        if known.is_none() && responder == sender.id() && trip.tuple.answer() == Some(case.tuple) {
            // To its own public address, from the port that it goes to: it would answer itself.
            return Err(Reason::OwnAddress);
        }
        if trip.takes_port && !self.may_take_port(&case, &trip, responder) {
            return Err(Reason::NatPortAllocation);
        }
        let both_ways = is_own && is_both_ways(&case, &trip, end);
        self.pass(&case, known, &trip, responder, (egress, ingress), both_ways);
        Ok(frame(packet, &trip, None))
    }

    /// Notes a packet that passed.
    fn pass(
        &mut self,
        case: &Case<'_>,
        known: Option<(usize, bool)>,
        trip: &Trip<'_>,
        responder: u64,
        (egress, ingress): (bool, bool),
        both_ways: bool,
    ) {
        let Case { tuple, now_ns, .. } = *case;
        let flags = match case.packet.transport {
            Transport::Tcp { flags, .. } => flags,
            _ => 0,
        };
        let (initiator, version) = (case.sender.id(), self.version);
        let unanswered = Flow {
            last_ns: now_ns,
            ..Flow::default()
        };
        let Some((index, is_out)) = known else {
            let arrived = trip.tuple;
            // It replaces whatever was there on these addresses and ports, in either direction.
            self.connections.retain_mut(|other| {
                let new = [(initiator, Some(tuple)), (responder, arrived.answer())];
                if !new.iter().any(|(sender, tuple)| other.has(*sender, *tuple)) {
                    return true;
                }
                // Only its client's side is: the load balancer still resets what its target sends.
                let own = (other.responder, other.arrived.answer());
                let is_over = other.is_balanced_tcp() && !new.contains(&own);
                other.initiator = NOBODY;
                other.is_over = true;
                is_over
            });
            self.connections.push(Connection {
                initiator,
                responder,
                tuple,
                arrived,
                via: trip.via,
                tracked_by_initiator: egress,
                tracked_by_responder: ingress,
                out: Flow {
                    packets: 1,
                    last_ns: now_ns,
                    has_ack: flags & tcp::ACK != 0,
                    has_fin: flags & tcp::FIN != 0,
                    judged: version,
                },
                back: Flow {
                    judged: if both_ways { version } else { 0 },
                    ..unanswered
                },
                is_closing: false,
                is_established: false,
                by_egress_only: trip.by_egress_only,
                node: trip.node.map(|node| node.id),
                idle_s: trip.idle_s,
                is_turned: trip.is_turned,
                is_over: false,
            });
            return;
        };
        let connection = &mut self.connections[index];
        let is_forgotten = connection.is_forgotten(now_ns);
        let (mut takes_over, mut left) = (false, None);
        // What turns goes on again, and is another connection's then.
        let is_renamed = !trip.is_turned && Some(trip.tuple) != connection.tuple.answer();
        self.went_astray = !is_out && (responder != connection.initiator || is_renamed);
        if is_out {
            connection.tracked_by_initiator = egress;
            connection.tracked_by_responder = ingress;
            if is_forgotten {
                // Its answers are judged anew.
                connection.back.judged = 0;
            }
            if (connection.responder, connection.arrived) != (responder, trip.tuple) {
                // From now on answers come another way, and what a target still sends is reset.
                left = connection.is_balanced_tcp().then(|| connection.clone());
                connection.responder = responder;
                connection.arrived = trip.tuple;
                connection.back = unanswered;
                takes_over = responder == OUTSIDE && is_own(case) == Ok(true);
            }
            connection.via = trip.via;
            connection.by_egress_only = trip.by_egress_only;
            connection.node = trip.node.map(|node| node.id);
            connection.idle_s = trip.idle_s;
            connection.is_turned = trip.is_turned;
        } else if is_forgotten {
            // An answer that the rules let pass.
            connection.tracked_by_initiator = ingress;
            connection.tracked_by_responder = egress;
            // Its own packets are judged anew.
            connection.out.judged = 0;
        }
        let flow = if is_out {
            &mut connection.out
        } else {
            &mut connection.back
        };
        flow.packets += 1;
        flow.last_ns = now_ns;
        flow.judged = version;
        flow.has_ack |= flags & tcp::ACK != 0;
        flow.has_fin |= flags & tcp::FIN != 0;
        connection.is_established |= connection.out.has_ack && connection.back.has_ack;
        let both_fin = connection.out.has_fin && connection.back.has_fin;
        if flags & tcp::RST != 0 || flags & tcp::FIN != 0 && both_fin {
            connection.is_closing = true;
        }
        let arrived = connection.arrived;
        if is_out {
            let answers = arrived.answer();
            self.connections
                .retain(|other| !(other.is_over && other.has(responder, answers)));
        }
        self.connections.extend(left.map(|left| Connection {
            initiator: NOBODY,
            is_over: true,
            ..left
        }));
        if takes_over {
            // Under an address of its own: nobody who had it before is answered any more.
            self.connections.retain(|other| {
                other.initiator == initiator
                    || (other.responder, other.arrived) != (OUTSIDE, arrived)
            });
        }
    }

    /// The node whose connection a target goes on with, though the load balancer is rid of it. Datagrams are no
    /// connection: a target's are its own then.
    fn late(&self, case: &Case<'_>) -> Option<u64> {
        let (sender, tuple) = (case.sender.id(), case.tuple);
        if tuple.protocol != protocol::TCP || opens_tcp(case.packet) {
            return None;
        }
        let late = self.connections.iter().find(|connection| {
            let is_targets =
                connection.responder == sender && connection.arrived.answer() == Some(tuple);
            is_targets && connection.node.is_some() && connection.has_ended(case.now_ns)
        })?;
        late.node
    }

    /// Whether a packet from the outside was sent there by this installation, to come in again.
    fn has_turned(&self, case: &Case<'_>) -> bool {
        self.connections.iter().any(|connection| {
            let goes = connection.responder == OUTSIDE && connection.arrived == case.tuple;
            let answers =
                connection.initiator == OUTSIDE && connection.tuple.answer() == Some(case.tuple);
            connection.is_turned && (goes || answers)
        })
    }

    /// Whether a node may send on a flow from the port that it did: one that no other flow to the target has.
    fn may_take_port(&self, case: &Case<'_>, trip: &Trip<'_>, responder: u64) -> bool {
        let answer = trip.tuple.answer();
        let is_taken = self.connections.iter().any(|connection| {
            let is_same =
                (connection.initiator, connection.tuple) == (case.sender.id(), case.tuple);
            !is_same && connection.has(responder, answer) && !connection.has_ended(case.now_ns)
        });
        is_port_of_node(trip.tuple.source_port) && !is_taken
    }

    /// The live connection of a packet and whether it goes the connection's own way. A packet that opens
    /// a TCP connection belongs to none.
    fn known(&self, case: &Case<'_>) -> Option<(usize, bool)> {
        if opens_tcp(case.packet) {
            return None;
        }
        let sender = case.sender.id();
        let mut all = self.connections.iter().enumerate();
        let found = all.find_map(|(index, connection)| {
            if connection.is_over {
                return None;
            }
            if connection.initiator == sender && connection.tuple == case.tuple {
                Some((index, true))
            } else {
                connection
                    .has(sender, Some(case.tuple))
                    .then_some((index, false))
            }
        })?;
        let connection = &self.connections[found.0];
        // What an error quotes is translated each time, and not as it was for another error. Of what goes
        // out, none is carried by another one's entry.
        let is_out = connection.is_translated() || connection.responder == OUTSIDE;
        let is_other = error_quotes(case.packet).is_some() && is_out;
        (!is_other && !connection.has_ended(case.now_ns)).then_some(found)
    }

    /// The live connection, translated on its way, whose packet an ICMP error quotes as it came to who
    /// sends the error: with the direction of that packet, and the packet as its sender knows it.
    fn quoted_through_nat(&self, case: &Case<'_>) -> Option<(&Connection, bool, Tuple)> {
        let quoted = error_quotes(case.packet)?;
        if quoted.source != case.packet.target {
            return None;
        }
        let sender = case.sender.id();
        self.connections.iter().find_map(|connection| {
            let (flow, is_out, inner) = if connection.responder == sender
                && connection.arrived == quoted
            {
                // Answers to what was quoted must be possible: of ICMP only an echo has them.
                quoted.answer()?;
                (connection.out, true, connection.tuple)
            } else if connection.initiator == sender && connection.tuple.answer() == Some(quoted) {
                (connection.back, false, connection.arrived.answer()?)
            } else {
                return None;
            };
            let is_live = self.is_live(connection, flow, case.now_ns);
            (connection.is_translated() && is_live).then_some((connection, is_out, inner))
        })
    }

    fn is_live(&self, connection: &Connection, flow: Flow, now_ns: u64) -> bool {
        let is_tracked = connection.tracked_by_initiator && connection.tracked_by_responder;
        (flow.judged == self.version || is_tracked) && !connection.is_over_at_ends(now_ns)
    }

    /// An ICMP error about a packet of a live connection goes to that packet's sender, if it comes from
    /// the other end or from who may forward packets, unless the connection is judged packet by packet
    /// and has not been since the region changed.
    fn is_related(&self, case: &Case<'_>, receiver: Option<End<'_>>) -> bool {
        let Some(quoted) = error_quotes(case.packet) else {
            return false;
        };
        let receiver = match receiver {
            Some(End::Eni(eni)) if eni.is_up => eni.id,
            Some(End::Outside) => OUTSIDE,
            _ => return false,
        };
        // Who is outside has met what went out, and nothing else.
        let is_on_the_way = case.sender.eni().is_some_and(|eni| !eni.check);
        quoted.source == case.packet.target
            && self.connections.iter().any(|connection| {
                let (flow, other) =
                    if connection.initiator == receiver && connection.tuple == quoted {
                        (connection.out, connection.responder)
                    } else if connection.has(receiver, Some(quoted)) {
                        (connection.back, connection.initiator)
                    } else {
                        return false;
                    };
                (other == case.sender.id() || is_on_the_way)
                    && self.is_live(connection, flow, case.now_ns)
            })
    }

    /// Whether a packet answers one that its receiver sent, and tracks, though by another way.
    fn is_asked_for(&self, case: &Case<'_>, receiver: &Eni, arrived: &Tuple) -> bool {
        let Some(asked) = arrived.question() else {
            return false;
        };
        !opens_tcp(case.packet)
            && self.connections.iter().any(|connection| {
                let is_tracked = if connection.initiator == receiver.id && connection.tuple == asked
                {
                    connection.tracked_by_initiator
                } else if connection.has(receiver.id, Some(asked)) {
                    connection.tracked_by_responder
                } else {
                    return false;
                };
                is_tracked && !connection.is_over_at_ends(case.now_ns)
            })
    }
}

/// The source/destination check. Says whether the address is the sender's own.
fn is_own(case: &Case<'_>) -> Result<bool, Reason> {
    let Sender::Eni(sender) = case.sender else {
        return Ok(true);
    };
    if !sender.is_up {
        return Err(Reason::UnknownDevice);
    }
    if case.packet.from_mac != sender.mac {
        return Err(Reason::SourceMac);
    }
    let source = case.packet.source;
    let owner = case.region.owner_seen(sender.subnet, source);
    let is_own = !source.is_no_source() && owner.is_some_and(|owner| owner.id == sender.id);
    if !is_own && (sender.check || case.packet.source.is_no_source()) {
        return Err(Reason::SourceAddress);
    }
    Ok(is_own)
}

/// What a connection through NAT makes of the packets of one of its directions.
fn through(connection: &Connection, is_out: bool) -> Option<Through> {
    let nat = connection.via?;
    let beyond = if is_out {
        connection.arrived
    } else {
        connection.tuple.answer()?
    };
    Some(Through {
        nat,
        beyond,
        is_back: !is_out,
        initiator: connection.initiator,
    })
}

/// What a load balancer makes of the packets of one direction of a connection.
fn balanced(region: &Region, connection: &Connection, is_out: bool) -> Option<Balanced> {
    let (_, node) = region.balancer_of(connection.node?)?;
    let beyond = if is_out {
        connection.arrived
    } else {
        connection.tuple.answer()?
    };
    let asked = connection.tuple;
    let mut enis = region.enis.iter();
    let client = enis.find(|eni| eni.id == connection.initiator);
    let client = match client {
        // To the node's public address it has come under its own.
        Some(eni) if !node.addresses.contains(&asked.target) => {
            region.public_of(region.subnet_of(eni).vpc, asked.source)
        }
        _ => Some(asked.source),
    };
    Some(Balanced {
        node: node.id,
        beyond,
        target: connection.responder,
        is_back: !is_out,
        port: asked.target_port,
        protocol: asked.protocol,
        client,
    })
}

/// Whether answers take the same way back, and no network ACL is on it.
fn is_both_ways(case: &Case<'_>, trip: &Trip<'_>, end: End<'_>) -> bool {
    let (Sender::Eni(sender), End::Eni(receiver)) = (case.sender, end) else {
        return false;
    };
    if trip.remote.map(|remote| remote.id) != Some(receiver.id) {
        return false;
    }
    if sender.subnet == receiver.subnet && trip.edges.is_empty() {
        return true;
    }
    let is_open = |number: usize| {
        let subnet = &case.region.subnets[number];
        allows_all(&subnet.acl_egress) && allows_all(&subnet.acl_ingress)
    };
    let way = |from, to| longest(case.region, from, to) == Some(Way::Local);
    trip.via.is_none()
        && way(sender.subnet, case.tuple.target)
        && way(receiver.subnet, case.tuple.source)
        && is_open(sender.subnet)
        && is_open(receiver.subnet)
}

/// The packet as it arrives. An error that went through NAT quotes what its receiver sent.
fn frame(packet: &PacketBuilder, trip: &Trip<'_>, inner: Option<Tuple>) -> Vec<u8> {
    let new = trip.tuple;
    let mut transport = packet.transport.clone();
    match &mut transport {
        Transport::Tcp { from, to, .. } | Transport::Udp { from, to } => {
            (*from, *to) = (new.source_port, new.target_port);
        }
        Transport::Icmp {
            kind: 0 | 8, rest, ..
        } => rest[..2].copy_from_slice(&new.source_port.to_be_bytes()),
        Transport::Icmp { body, .. } => {
            // Of IPv6 only load balancers translate.
            let is_due = |inner: &Tuple| inner.source.is_v4() || trip.node.is_some();
            if let Some(inner) = inner.filter(is_due) {
                requote(body, &inner);
            }
        }
        Transport::Other(_) => {}
    }
    let arrived = PacketBuilder {
        source: new.source,
        target: new.target,
        transport,
        ..packet.clone()
    };
    arrived.macs(trip.macs.0, trip.macs.1).frame()
}

/// Source address and port of a frame, or the identifier of an echo.
fn seen_source(frame: &[u8], number: u8) -> (Addr, u16) {
    if let ([0x86, 0xdd], Some(Ok(source))) = (
        [frame[12], frame[13]],
        frame.get(22..38).map(<[u8; 16]>::try_from),
    ) {
        let port = u16::from_be_bytes([frame[54], frame[55]]);
        return (Addr::v6(source), port);
    }
    let at = if number == protocol::ICMP { 38 } else { 34 };
    let source = Addr::v4([frame[26], frame[27], frame[28], frame[29]]);
    (source, u16::from_be_bytes([frame[at], frame[at + 1]]))
}

fn opens_tcp(packet: &PacketBuilder) -> bool {
    matches!(packet.transport, Transport::Tcp { flags, .. } if flags & (tcp::SYN | tcp::ACK) == tcp::SYN)
}
