//! What network load balancers do to packets, read plainly.
//!
//! Sources: Elastic Load Balancing, User Guide for Network Load Balancers (listeners, target groups, target group
//! health, security groups).
//!
//! - "The load balancer selects a target using a flow hash algorithm ... each individual TCP connection is routed
//!   to a single target for the life of the connection." Which of the permitted targets a new flow gets, the
//!   hash says and not the guide: the reading is told which ([`Question::choice`]), and sees to it that the same
//!   flow gets the same as long as the same targets are permitted.
//! - A target gets a client's packets with the client's address, or with that of the node; it answers by the
//!   node, whatever its own routes are.

use enid_model::target::HealthState;
use enid_pipeline::Reason;
use enid_pipeline::bytes::Addr;
use enid_pipeline::table::{Direction, protocol};

use crate::balancer::{Balancer, Listener, Target, TargetGroup};
use crate::gates::gate;
use crate::region::Eni;
use crate::tuple::Tuple;
use crate::way::{End, Question, Trip};

/// The first port from which nodes send on what does not keep the client's address.
const FIRST_PORT: u16 = 4096;

/// A connection through a node that a packet belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Balanced {
    /// The node's interface.
    pub(crate) node: u64,
    /// The packet's addresses and ports beyond the node.
    pub(crate) beyond: Tuple,
    /// The interface of the target.
    pub(crate) target: u64,
    /// Whether it comes back from the target.
    pub(crate) is_back: bool,
    /// The port that the client asked for.
    pub(crate) port: u16,
    /// The protocol of the connection; that of an error about it is another one.
    pub(crate) protocol: u8,
    /// The client as the node sees it: by its public address, if it came by an internet gateway.
    pub(crate) client: Option<Addr>,
}

/// A target that a node could have taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    /// The id of its group.
    pub(crate) group: u64,
    pub(crate) target: Target,
    preserves: bool,
    is_sticky: bool,
}

/// A choice that was made.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Choice {
    node: u64,
    /// As it came to the node.
    tuple: Tuple,
    /// All that it was made from, with the weights of their groups.
    from: Vec<(Candidate, u16)>,
    taken: Candidate,
    /// Whether the source's flows all go to one group.
    is_of_group: bool,
    /// The groups that it could have been, with their weights.
    groups: Vec<(u64, u16)>,
}

impl Choice {
    /// Whether another choice has to be the same, and is not.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        let is_same_flow = (self.node, self.tuple) == (other.node, other.tuple);
        if is_same_flow && self.from == other.from {
            return self.taken != other.taken;
        }
        // And of one listener to one group, if that is sticky.
        let is_same_listener = (self.node, self.tuple.target_port, self.tuple.protocol)
            == (other.node, other.tuple.target_port, other.tuple.protocol);
        if is_same_listener
            && self.is_of_group
            && self.tuple.source == other.tuple.source
            && self.groups == other.groups
            && self.taken.group != other.taken.group
        {
            return true;
        }
        // "All requests from the source IP go to the same target": of one group.
        let of_group = |choice: &Self| -> Vec<Target> {
            let own = choice.from.iter().map(|(candidate, _)| candidate);
            let own = own.filter(|candidate| candidate.group == choice.taken.group);
            own.map(|candidate| candidate.target).collect()
        };
        self.taken.is_sticky
            && self.taken.group == other.taken.group
            && self.tuple.source == other.tuple.source
            && of_group(self) == of_group(other)
            && self.taken.target != other.taken.target
    }
}

/// The targets of a group that a node sends new flows to: the healthy ones of its zone, or of all zones if these
/// are crossed, or if too few of them are healthy, all of them ("fail open").
fn permitted(balancer: &Balancer, group: &TargetGroup, node: &Eni) -> Vec<Target> {
    let has_node = |zone: usize| balancer.nodes.iter().any(|node| node.subnet == zone);
    let crosses = group.crosses.unwrap_or(balancer.crosses);
    let mut seen = Vec::new();
    for target in &group.targets {
        // "Targets in Availability Zones that are not enabled" get nothing, nor does what is deregistered.
        let is_in_use = target.zone.is_none_or(has_node) && !target.is_draining;
        let is_here = crosses || target.zone.is_none_or(|zone| zone == node.subnet);
        if is_in_use && is_here {
            seen.push(*target);
        }
    }
    let is_healthy = |target: &Target| target.health == HealthState::Healthy;
    let healthy: Vec<Target> = seen.iter().copied().filter(is_healthy).collect();
    let least = group.least_healthy;
    let is_enough = least
        .count
        .is_none_or(|count| healthy.len() >= usize::try_from(count).unwrap_or(usize::MAX));
    let is_share = least
        .percentage
        .is_none_or(|share| healthy.len() * 100 >= seen.len() * usize::from(share));
    if is_enough && is_share { healthy } else { seen }
}

/// Whether the flows of a listener to a target end, though neither side has closed them.
fn ends(balancer: &Balancer, listener: &Listener, address: Addr, port: u16) -> bool {
    let groups = || {
        let numbers = listener.forward.iter();
        let groups = numbers.map(|(number, _)| &balancer.groups[*number]);
        groups.filter(|group| group.is_v6 != address.is_v4())
    };
    for group in groups() {
        let mut targets = group.targets.iter();
        let known = targets.find(|target| (target.address, target.port) == (address, port));
        if let Some(target) = known {
            let is_unhealthy = matches!(target.health, HealthState::Unhealthy(_));
            // What some node takes for want of healthy ones keeps its flows.
            let mut nodes = balancer.nodes.iter();
            let is_taken = nodes.any(|node| permitted(balancer, group, node).contains(target));
            return group.ends_unhealthy && is_unhealthy && !is_taken;
        }
    }
    groups().any(|group| group.ends_deregistered)
}

/// The address of a node in the family of another one.
fn address_of(node: &Eni, like: Addr) -> Option<Addr> {
    let mut own = node.addresses.iter();
    own.find(|addr| addr.is_v4() == like.is_v4()).copied()
}

impl<'a> Trip<'a> {
    /// Comes to a node: from a subnet, or from elsewhere.
    pub(crate) fn at_node(
        &mut self,
        node: &'a Eni,
        from: Option<usize>,
    ) -> Result<End<'a>, Reason> {
        let asked = self.asked;
        if self.node.is_some() {
            // The client's address is a node's by now.
            return Err(Reason::BalancerRoute);
        }
        self.reset_by = Some(node);
        if from != Some(node.subnet) {
            let edge = (node.subnet, Direction::Ingress, self.tuple);
            self.edges.push(edge);
        }
        if asked.is_answer && asked.balanced.is_none() {
            // Whoever has asked this under the node's address: it is no answer to the node.
            self.begins_anew = true;
        }
        let is_about_targets = asked.is_error && asked.balanced.is_some();
        if (asked.quotes || asked.is_error) && !is_about_targets {
            // An error about what the node has begun itself, which goes to its device. Nodes have none here.
            return Err(Reason::TargetDown);
        }
        let is_carried = match self.tuple.protocol {
            protocol::TCP | protocol::UDP => true,
            protocol::ICMP | protocol::ICMP_V6 => asked.is_error,
            _ => false,
        };
        if !is_carried {
            return Err(Reason::BalancerProtocol);
        }
        // On the link there is no load balancer, and no router carries these (RFC 4291, section 2.5.6).
        if self.tuple.source.is_link_local() || self.tuple.target.is_link_local() {
            return Err(Reason::LinkLocal);
        }
        if self.via.is_some() {
            return Err(Reason::BalancerRoute);
        }
        let known = asked.balanced;
        if known.is_none_or(|known| known.node != node.id) && self.is_proxied(node)? {
            // It goes to the node's device. Nodes have none here.
            return Err(Reason::TargetDown);
        }
        match known.filter(|known| known.node == node.id && !known.is_back) {
            Some(known) => match self.keep(node, known)? {
                Some(target) => self.on_from(node, target),
                None => {
                    self.begins_anew = true;
                    self.choose(node)
                }
            },
            None => self.choose(node),
        }
    }

    /// The listener that a packet asks for, or that an error is about.
    fn listener(&self, node: &Eni, port: u16, number: u8) -> Option<(&'a Balancer, &'a Listener)> {
        let (balancer, _) = self.asked.region.balancer_of(node.id)?;
        let listener = balancer.listener(port, number)?;
        address_of(node, self.tuple.source)?;
        Some((balancer, listener))
    }

    /// Whether a connection ends at the node: "translation" between families is a proxy's.
    fn is_proxied(&self, node: &Eni) -> Result<bool, Reason> {
        let listener = self.listener(node, self.tuple.target_port, protocol::TCP);
        let Some((balancer, listener)) = listener.filter(|_| self.tuple.protocol == protocol::TCP)
        else {
            return Ok(false);
        };
        let mut numbers = listener.forward.iter().map(|(number, _)| *number);
        let is_own = |number: usize| balancer.groups[number].is_v6 != self.tuple.source.is_v4();
        if numbers.any(is_own) {
            return Ok(false);
        }
        if self.is_kept_out(balancer) {
            return Err(Reason::BalancerRoute);
        }
        Ok(true)
    }

    /// A listener of IPv6 may be closed to what comes by an internet gateway.
    fn is_kept_out(&self, balancer: &Balancer) -> bool {
        let is_v6 = !self.tuple.source.is_v4();
        self.is_entering && is_v6 && balancer.denies_ipv6_internet
    }

    /// The target that a flow has, or none if it has to get another one.
    fn keep(&mut self, node: &Eni, known: Balanced) -> Result<Option<&'a Eni>, Reason> {
        let region = self.asked.region;
        let is_error = self.asked.is_error;
        let mut enis = region.enis.iter();
        let target = enis.find(|eni| eni.id == known.target);
        let has_address = |eni: &&Eni| {
            let owner = region.owner(region.subnet_of(eni).vpc, known.beyond.target);
            owner.is_some_and(|owner| owner.id == eni.id)
        };
        let target = target.filter(has_address);
        // What an error says of a connection is said whatever becomes of it.
        let number = self.tuple.protocol;
        let port = self.tuple.target_port;
        let listener = self.listener(node, port, number);
        let to = (known.beyond.target, known.beyond.target_port);
        let is_over = !is_error
            && listener.is_none_or(|(balancer, listener)| ends(balancer, listener, to.0, to.1));
        let Some(target) = target.filter(|_| !is_over) else {
            return match number {
                protocol::TCP => Err(Reason::BalancerReset),
                _ => Ok(None),
            };
        };
        if let Some((balancer, listener)) = listener {
            if self.is_kept_out(balancer) {
                return Err(Reason::BalancerRoute);
            }
            self.idle_s = u32::from(listener.idle_s);
        }
        self.tuple.source = known.beyond.source;
        self.tuple.target = known.beyond.target;
        if !is_error {
            self.tuple = known.beyond;
        }
        Ok(Some(target))
    }

    /// Takes a target for a new flow.
    fn choose(&mut self, node: &'a Eni) -> Result<End<'a>, Reason> {
        let Question { region, sender, .. } = self.asked;
        let is_late = self.tuple.protocol == protocol::TCP && !self.asked.opens_tcp;
        let port = self.tuple.target_port;
        let Some((balancer, listener)) = self.listener(node, port, self.tuple.protocol) else {
            // "A target's" packet at a port that nodes send from.
            return Err(match is_late && port >= FIRST_PORT {
                true => Reason::BalancerReset,
                false => Reason::NoListener,
            });
        };
        if is_late {
            return Err(Reason::BalancerReset);
        }
        if self.is_kept_out(balancer) {
            return Err(Reason::BalancerRoute);
        }
        let peer = sender
            .eni()
            .filter(|_| self.asked.owns_address && self.is_member);
        self.ask_groups(node, Direction::Ingress, peer, Reason::BalancerIngressRule)?;
        let mut from = Vec::new();
        let mut has_empty = false;
        let mut groups = Vec::new();
        for (number, weight) in &listener.forward {
            let group = &balancer.groups[*number];
            if *weight == 0 || group.is_v6 == self.tuple.source.is_v4() {
                continue;
            }
            groups.push((group.id, *weight));
            let targets = permitted(balancer, group, node);
            has_empty |= targets.is_empty();
            for target in targets {
                let candidate = Candidate {
                    group: group.id,
                    target,
                    preserves: group.preserves,
                    is_sticky: group.is_sticky,
                };
                from.push((candidate, *weight));
            }
        }
        // A flow whose group has no target goes nowhere.
        self.choices = from.len() + usize::from(has_empty || from.is_empty());
        let Some((taken, _)) = from.get(self.asked.choice).copied() else {
            return Err(Reason::BalancerTarget);
        };
        let came = self.tuple;
        self.tuple.target = taken.target.address;
        self.tuple.target_port = taken.target.port;
        self.idle_s = u32::from(listener.idle_s);
        self.made = Some(Choice {
            node: node.id,
            tuple: came,
            from,
            taken,
            is_of_group: listener.is_sticky,
            groups,
        });
        let vpc = region.subnet_of(node).vpc;
        let Some(target) = region.owner(vpc, taken.target.address) else {
            return Err(Reason::NoEndpoint);
        };
        self.found = Some(End::Eni(target));
        if !taken.preserves {
            let (address, port) = self.asked.seen;
            self.tuple.source = address_of(node, address).ok_or(Reason::Incomplete)?;
            self.tuple.source_port = port;
            self.takes_port = true;
        } else if target.id == sender.id() {
            return Err(Reason::BalancerHairpin);
        }
        self.ask_groups(
            node,
            Direction::Egress,
            Some(target),
            Reason::BalancerEgressRule,
        )?;
        self.on_from(node, target)
    }

    /// A load balancer may have security groups, which are asked about new flows.
    fn ask_groups(
        &self,
        node: &Eni,
        direction: Direction,
        peer: Option<&Eni>,
        refused: Reason,
    ) -> Result<(), Reason> {
        if node.groups.is_empty() {
            return Ok(());
        }
        let judged = gate(self.asked.region, node, direction, &self.tuple, peer);
        judged.map(|_| ()).map_err(|_closed| refused)
    }

    /// Goes on from the node to the target.
    fn on_from(&mut self, node: &'a Eni, target: &'a Eni) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        self.node = Some(node);
        self.is_member = false;
        self.found = Some(End::Eni(target));
        if region.balancer_of(target.id).is_some() {
            return Err(Reason::BalancerRoute);
        }
        if target.subnet != node.subnet {
            self.leave(node.subnet);
        }
        self.arrive(target, Some(node.subnet))
    }

    /// What a target answers, or says about a connection: to the node, and from there to the client by the
    /// routes of the node's subnet.
    pub(crate) fn come_back(
        &mut self,
        sender: &'a Eni,
        known: Balanced,
    ) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        let Some((balancer, node)) = region.balancer_of(known.node) else {
            return Err(Reason::BalancerReset);
        };
        self.reset_by = Some(node);
        let Some(listener) = balancer.listener(known.port, known.protocol) else {
            return Err(Reason::BalancerReset);
        };
        let own = (self.tuple.source, self.tuple.source_port);
        if !self.asked.is_error && ends(balancer, listener, own.0, own.1) {
            return Err(Reason::BalancerReset);
        }
        if sender.subnet != node.subnet {
            self.leave(sender.subnet);
            let edge = (node.subnet, Direction::Ingress, self.tuple);
            self.edges.push(edge);
        }
        self.node = Some(node);
        self.is_member = false;
        self.idle_s = u32::from(listener.idle_s);
        // The node answers with its own address to the client as it has seen it.
        let address = address_of(node, self.tuple.source).ok_or(Reason::Incomplete)?;
        if self.tuple.target == address {
            self.tuple.target = known.client.ok_or(Reason::NoPublicAddress)?;
        }
        self.tuple.source = address;
        if !self.asked.is_error {
            self.tuple.source_port = known.beyond.source_port;
            self.tuple.target_port = known.beyond.target_port;
        }
        let end = self.route(node.subnet, false)?;
        self.tuple.source = known.beyond.source;
        self.tuple.target = known.beyond.target;
        Ok(end)
    }
}

/// Whether a node may have sent on a connection from this port.
#[must_use]
pub(crate) const fn is_port_of_node(port: u16) -> bool {
    port >= FIRST_PORT
}
