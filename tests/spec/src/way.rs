//! The way of a packet, read plainly: subnets, route tables, gateways and NAT.
//!
//! Sources: VPC User Guide (route tables, internet gateways, NAT gateways, peering, network ACLs).

use enid_pipeline::Reason;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{Direction, ROUTER_LINK_LOCAL, protocol};
use ipnet::IpNet;

use crate::balancing::{Balanced, Choice};
use crate::reading::Sender;
use crate::region::{Eni, FAR, HOST, NEAR, Nat, POOL, Region, Subnet, V6_POOL, Way};
use crate::tuple::Tuple;

/// Who gets a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    Eni(&'a Eni),
    Outside,
}

/// A connection through a NAT gateway that a packet belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Through {
    /// The gateway's id.
    pub(crate) nat: u64,
    /// The packet's addresses and ports beyond the gateway.
    pub(crate) beyond: Tuple,
    /// Whether it comes back to who began the connection.
    pub(crate) is_back: bool,
    /// The interface that began it.
    pub(crate) initiator: u64,
}

/// A question about a way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) region: &'a Region,
    pub(crate) sender: Sender<'a>,
    /// MAC address that the packet goes to.
    pub(crate) to_mac: Mac,
    pub(crate) tuple: Tuple,
    /// Whether it belongs to a connection that is there, and answers it.
    pub(crate) is_answer: bool,
    pub(crate) through: Option<Through>,
    /// The connection through the node of a load balancer that it belongs to, or is an error about.
    pub(crate) balanced: Option<Balanced>,
    /// Which of the targets that a node may take it is said to take.
    pub(crate) choice: usize,
    /// Whether its source is an address of the sender's own.
    pub(crate) owns_address: bool,
    /// Whether somebody of this installation waits for it on the other side of the internet.
    pub(crate) has_turned: bool,
    /// Whether it quotes another packet, as ICMP errors do.
    pub(crate) quotes: bool,
    /// Whether it is an error about a packet that went through NAT.
    pub(crate) is_error: bool,
    /// Whether it answers a packet that left by an egress-only internet gateway.
    pub(crate) comes_by_egress_only: bool,
    /// Source address and port that the packet was seen with in the end: a NAT gateway chooses them.
    pub(crate) seen: (Addr, u16),
    /// Whether it opens a TCP connection.
    pub(crate) opens_tcp: bool,
    /// Its length from the IP header on.
    pub(crate) length: usize,
}

/// What a packet has passed so far.
#[derive(Clone, Debug)]
pub(crate) struct Trip<'a> {
    pub(crate) asked: Question<'a>,
    /// Edges of subnets, by number, with the addresses and ports that the packet had there.
    pub(crate) edges: Vec<(usize, Direction, Tuple)>,
    /// The interface that the sender's gate knows as the other end.
    pub(crate) remote: Option<&'a Eni>,
    /// Addresses and ports as they are now.
    pub(crate) tuple: Tuple,
    pub(crate) via: Option<u64>,
    /// Whether the receiver's gate knows the sender.
    pub(crate) is_member: bool,
    /// Source and destination MAC in the end.
    pub(crate) macs: (Mac, Mac),
    /// Whom the way has come to, also if it goes no further.
    pub(crate) found: Option<End<'a>>,
    /// Whether it leaves by an egress-only internet gateway.
    pub(crate) by_egress_only: bool,
    /// Whether it comes in where only errors about what left may.
    pub(crate) must_be_related: bool,
    nat_public: Option<Addr>,
    /// Whether a NAT gateway resets it: TCP that belongs to no connection and opens none.
    pub(crate) is_reset: bool,
    /// The longest packet that its way takes.
    pub(crate) mtu: usize,
    /// The NAT gateway that it has come to, as the subnet and the address that it speaks with.
    pub(crate) nat: Option<(usize, Addr)>,
    /// The node of a load balancer that it passes, either way.
    pub(crate) node: Option<&'a Eni>,
    /// The node that it has come to, which resets connections that it does not know.
    pub(crate) reset_by: Option<&'a Eni>,
    /// How many different choices there are at the node.
    pub(crate) choices: usize,
    /// The one that was made.
    pub(crate) made: Option<Choice>,
    /// Whether the node gives it a port.
    pub(crate) takes_port: bool,
    /// Whether it begins a flow anew, whose target is gone.
    pub(crate) begins_anew: bool,
    /// After how many idle seconds the load balancer forgets it.
    pub(crate) idle_s: u32,
    /// Whether it comes in to a VPC from the internet.
    pub(crate) is_entering: bool,
    /// Whether it goes out to come in again, as it passes two translators, or has come in so.
    pub(crate) is_turned: bool,
}

/// The longest packets that gateways carry.
const MTU_NAT: usize = 8500;
const MTU_INTERNET: usize = 1500;

impl<'a> Trip<'a> {
    /// The way of a packet, and where it ends.
    pub(crate) fn of(asked: Question<'a>) -> (Self, Result<End<'a>, Reason>) {
        let mut trip = Self {
            asked,
            edges: Vec::new(),
            remote: None,
            tuple: asked.tuple,
            via: None,
            is_member: true,
            macs: (Mac::default(), Mac::default()),
            found: None,
            by_egress_only: false,
            must_be_related: false,
            nat_public: None,
            is_reset: false,
            mtu: usize::MAX,
            nat: None,
            node: None,
            reset_by: None,
            choices: 0,
            made: None,
            takes_port: false,
            begins_anew: false,
            idle_s: 0,
            is_entering: false,
            is_turned: false,
        };
        let answered = asked.balanced.filter(|known| known.is_back);
        let end = match (asked.sender, answered) {
            (Sender::Eni(eni), Some(known)) => trip.come_back(eni, known),
            (Sender::Eni(eni), None) => trip.begin_at(eni),
            (Sender::Outside, _) => trip.begin_outside(),
        };
        (trip, end)
    }

    fn begin_at(&mut self, sender: &'a Eni) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        let subnet = region.subnet_of(sender);
        let is_to_router = self.asked.to_mac == subnet.router_mac();
        self.remote = region.owner_seen(sender.subnet, self.tuple.target);
        let nat = region.nat_at(subnet.vpc, self.tuple.target);
        if self.remote.is_some_and(|remote| remote.id == sender.id) {
            return Err(Reason::OwnAddress);
        }
        // A neighbour is found by its address, whatever MAC it had when it was last seen.
        let is_near = self.remote.map(|remote| remote.subnet) == Some(sender.subnet)
            || nat.map(|nat| nat.subnet) == Some(sender.subnet);
        // A neighbour that forwards for others is left what goes to its MAC.
        let next = region.neighbour(sender.subnet, self.asked.to_mac);
        let forwards = |next: &&Eni| {
            let is_its_own = self.remote.is_some_and(|remote| remote.id == next.id);
            !next.check && next.id != sender.id && !is_its_own
        };
        if is_near && let Some(next) = next.filter(forwards) {
            return self.switched(sender, Some(next));
        }
        if is_near && self.asked.to_mac.is_group() {
            return Err(Reason::DestinationMac);
        }
        if let Some(remote) = self.remote.filter(|_| is_near) {
            if region.balancer_of(remote.id).is_some() {
                self.found = Some(End::Eni(remote));
                return self.at_node(remote, Some(sender.subnet));
            }
            let router = subnet.router_mac();
            self.macs = (if is_to_router { router } else { sender.mac }, remote.mac);
            self.found = Some(End::Eni(remote));
            return if remote.is_up {
                Ok(End::Eni(remote))
            } else {
                Err(Reason::TargetDown)
            };
        }
        if let Some(nat) = nat.filter(|_| is_near) {
            return self.back(nat, Some(sender.subnet));
        }
        if self.remote.is_none() && nat.is_none() {
            let routers = [subnet.router(), subnet.v6(1), ROUTER_LINK_LOCAL];
            if routers.contains(&self.tuple.target) {
                return Err(Reason::RouterAddress);
            }
            if self.tuple.target.is_link_local() {
                return Err(Reason::LinkLocal);
            }
        }
        if self.tuple.source.is_link_local() {
            return Err(Reason::LinkLocal);
        }
        if !is_to_router {
            return self.switched(sender, next);
        }
        self.route(sender.subnet, true)
    }

    /// To whoever has the MAC, past all route tables.
    fn switched(&mut self, sender: &Eni, next: Option<&'a Eni>) -> Result<End<'a>, Reason> {
        let next = next.ok_or(Reason::DestinationMac)?;
        if next.id == sender.id {
            return Err(Reason::OwnAddress);
        }
        self.remote = None;
        self.found = Some(End::Eni(next));
        if next.check {
            return Err(Reason::DestinationCheck);
        }
        self.macs = (sender.mac, next.mac);
        if next.is_up {
            Ok(End::Eni(next))
        } else {
            Err(Reason::TargetDown)
        }
    }

    fn begin_outside(&mut self) -> Result<End<'a>, Reason> {
        let source = self.tuple.source;
        if source.is_no_source() || source.is_link_local() {
            return Err(Reason::SourceAddress);
        }
        if is_pool(source) && !self.asked.has_turned || source.is_private() {
            return Err(Reason::OutsideSource);
        }
        self.is_turned = is_pool(source);
        self.internet()
    }

    /// Whether the source is an address of the receiver's VPC or of a peer's, by the receiver's routes.
    fn is_from_inside(&self, subnet: Option<usize>) -> bool {
        let region = self.asked.region;
        let way = subnet.and_then(|subnet| longest(region, subnet, self.tuple.source));
        matches!(way, Some(Way::Local | Way::Peer(_)))
    }

    /// The longest prefix of a subnet's route table decides.
    pub(crate) fn route(&mut self, number: usize, is_first: bool) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        let subnet = &region.subnets[number];
        let Some(way) = longest(region, number, self.tuple.target) else {
            self.leave(number);
            return Err(Reason::NoRoute);
        };
        if way != Way::Local {
            self.remote = None;
        }
        match way {
            Way::Local => self.local(subnet.vpc, Some(number)),
            Way::Blackhole => {
                self.leave(number);
                Err(Reason::Blackhole)
            }
            Way::Peer(vpc) => {
                self.leave(number);
                if is_first {
                    self.remote = region.owner(vpc, self.tuple.target);
                }
                self.local(vpc, None)
            }
            Way::Eni(eni) => {
                let eni = &region.enis[eni];
                if eni.id == self.asked.sender.id() {
                    return Err(Reason::OwnAddress);
                }
                if eni.subnet != number {
                    self.leave(number);
                }
                self.found = Some(End::Eni(eni));
                let owner = region.owner(subnet.vpc, self.tuple.target);
                if eni.check && owner.map(|owner| owner.id) != Some(eni.id) {
                    return Err(Reason::DestinationCheck);
                }
                self.arrive(eni, Some(number))
            }
            Way::EgressOnly => {
                self.leave(number);
                self.by_egress_only = is_first;
                if region.owner(subnet.vpc, self.tuple.source).is_none() {
                    return Err(Reason::NoPublicAddress);
                }
                self.internet()
            }
            Way::InternetGateway => {
                self.leave(number);
                let source = self.tuple.source;
                self.tuple.source = if !source.is_v4() {
                    let is_its_own = region.vpc_of_v6(source) == Some(subnet.vpc);
                    if !is_its_own || !region.gateways.contains(&subnet.vpc) {
                        return Err(Reason::NoPublicAddress);
                    }
                    source
                } else if self.via.is_some() {
                    self.nat_public.ok_or(Reason::NatRoute)?
                } else {
                    let public = region.public_of(subnet.vpc, self.tuple.source);
                    public.ok_or(Reason::NoPublicAddress)?
                };
                self.internet()
            }
            Way::Nat(nat) => self.nat(nat, number),
        }
    }

    /// To whoever has the address in a VPC, out of a subnet of it or from elsewhere.
    fn local(&mut self, vpc: u64, from: Option<usize>) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        let owner = region.owner(vpc, self.tuple.target);
        let nat = region.nat_at(vpc, self.tuple.target);
        let to = owner
            .map(|eni| eni.subnet)
            .or_else(|| nat.map(|nat| nat.subnet));
        if let Some(from) = from
            && to != Some(from)
        {
            self.leave(from);
        }
        self.found = owner.map(End::Eni);
        match (owner, nat) {
            (Some(eni), _) => self.arrive(eni, from),
            (None, Some(nat)) => self.back(nat, from),
            (None, None) => Err(Reason::NoEndpoint),
        }
    }

    pub(crate) fn arrive(&mut self, eni: &'a Eni, from: Option<usize>) -> Result<End<'a>, Reason> {
        if self.asked.region.balancer_of(eni.id).is_some() {
            return self.at_node(eni, from);
        }
        if from != Some(eni.subnet) {
            self.edges
                .push((eni.subnet, Direction::Ingress, self.tuple));
        }
        self.macs = (self.asked.region.subnet_of(eni).router_mac(), eni.mac);
        if eni.is_up {
            Ok(End::Eni(eni))
        } else {
            Err(Reason::TargetDown)
        }
    }

    /// Beyond an internet gateway.
    fn internet(&mut self) -> Result<End<'a>, Reason> {
        self.is_member = false;
        if let Some((vpc, private)) = self.asked.region.private_of(self.tuple.target) {
            if self.turns(vpc, private) {
                // One way passes one translator: it goes out, and comes in again.
                self.is_turned = true;
                self.macs = (FAR, NEAR);
                self.found = Some(End::Outside);
                self.narrow(MTU_INTERNET)?;
                return Ok(End::Outside);
            }
            self.tuple.target = private;
            self.found = self.asked.region.owner(vpc, private).map(End::Eni);
            self.narrow(MTU_INTERNET)?;
            return self.enter(vpc);
        }
        let region = self.asked.region;
        if let Some(vpc) = region.vpc_of_v6(self.tuple.target) {
            // Answers come in by an egress-only gateway as well, and errors about what went out.
            if !region.gateways.contains(&vpc) && !self.asked.is_answer {
                if !self.asked.quotes {
                    return Err(Reason::NoInternetGateway);
                }
                self.must_be_related = true;
            }
            self.found = region.owner(vpc, self.tuple.target).map(End::Eni);
            if self.found.is_none() {
                return Err(Reason::UnassignedAddress);
            }
            self.narrow(MTU_INTERNET)?;
            return self.enter(vpc);
        }
        if is_pool(self.tuple.target) {
            return Err(Reason::UnassignedAddress);
        }
        if matches!(self.asked.sender, Sender::Outside) {
            return Err(Reason::NoRoute);
        }
        if self.tuple.target.is_private() {
            return Err(Reason::PrivateAddress);
        }
        self.macs = (NEAR, FAR);
        self.found = Some(End::Outside);
        self.narrow(MTU_INTERNET)?;
        Ok(End::Outside)
    }

    /// Whether what has passed a NAT gateway is for the node of a load balancer, or the other way round.
    fn turns(&self, vpc: u64, private: Addr) -> bool {
        let region = self.asked.region;
        let owner = region.owner(vpc, private);
        let is_node = owner.is_some_and(|eni| region.balancer_of(eni.id).is_some());
        self.via.is_some() && is_node
            || self.node.is_some() && region.nat_at(vpc, private).is_some()
    }

    /// Passes something that carries packets of this length at most. Those from outside have come as far.
    fn narrow(&mut self, mtu: usize) -> Result<(), Reason> {
        self.mtu = self.mtu.min(mtu);
        if self.asked.length > self.mtu && !matches!(self.asked.sender, Sender::Outside) {
            return Err(Reason::TooBig);
        }
        Ok(())
    }

    /// Into a VPC by its internet gateway, whose own route table may lead to another interface.
    fn enter(&mut self, vpc: u64) -> Result<End<'a>, Reason> {
        let region = self.asked.region;
        self.is_entering = true;
        let owner = region.owner(vpc, self.tuple.target);
        let nat = region.nat_at(vpc, self.tuple.target);
        self.found = owner.map(End::Eni);
        let subnet = owner.map(|eni| eni.subnet);
        let subnet = subnet.or_else(|| nat.map(|nat| nat.subnet));
        let is_outside = matches!(self.asked.sender, Sender::Outside);
        if is_outside && self.is_from_inside(subnet) {
            return Err(Reason::OutsideSource);
        }
        let Some(routes) = region
            .edge(vpc)
            .filter(|_| !self.asked.comes_by_egress_only)
        else {
            return self.local(vpc, None);
        };
        let locals = region.subnets.iter().find(|subnet| subnet.vpc == vpc);
        let locals = locals.map_or_else(|| [IpNet::default(); 2], Subnet::locals);
        match longest_of(&locals, routes, self.tuple.target) {
            Some(Way::Local) => self.local(vpc, None),
            Some(Way::Blackhole) => Err(Reason::Blackhole),
            Some(Way::Eni(number)) => {
                let eni = &region.enis[number];
                let is_other = owner.map(|owner| owner.id) != Some(eni.id);
                self.found = Some(End::Eni(eni));
                if is_other && eni.check {
                    return Err(Reason::DestinationCheck);
                }
                if self.tuple.target.is_v4() && eni.public.is_none() {
                    return Err(Reason::MiddleboxAddress);
                }
                if is_other && is_outside && self.is_from_inside(Some(eni.subnet)) {
                    return Err(Reason::OutsideSource);
                }
                self.arrive(eni, None)
            }
            _ => Err(Reason::NoRoute),
        }
    }

    /// Out through a NAT gateway.
    fn nat(&mut self, number: usize, from: usize) -> Result<End<'a>, Reason> {
        let nat = &self.asked.region.nats[number];
        if nat.subnet != from {
            self.leave(from);
            self.edges
                .push((nat.subnet, Direction::Ingress, self.tuple));
        }
        if self.via.is_some() || self.node.is_some() {
            return Err(Reason::NatRoute);
        }
        let is_carried = match self.tuple.protocol {
            protocol::TCP | protocol::UDP => true,
            protocol::ICMP => self.asked.is_error || self.tuple.target_port >> 8 == 8,
            _ => false,
        };
        if !is_carried {
            return Err(Reason::NatProtocol);
        }
        self.nat = Some((nat.subnet, nat.addresses[0].0));
        self.narrow(MTU_NAT)?;
        let known = self.asked.through.filter(|through| {
            let is_its_own = nat.addresses.iter().any(|(private, public)| {
                through.beyond.source == *private || Some(through.beyond.source) == *public
            });
            through.nat == nat.id && !through.is_back && is_its_own
        });
        if known.is_none() && (self.asked.is_error || self.asked.is_answer) {
            return Err(Reason::NatUnsolicited);
        }
        let (address, port) = match known {
            Some(through) => (through.beyond.source, through.beyond.source_port),
            None => self.asked.seen,
        };
        let number = nat
            .addresses
            .iter()
            .position(|(private, public)| address == *private || Some(address) == *public);
        let (private, public) = nat.addresses[number.unwrap_or(0)];
        self.nat = Some((nat.subnet, private));
        self.is_reset =
            known.is_none() && self.tuple.protocol == protocol::TCP && !self.asked.opens_tcp;
        self.tuple.source = private;
        self.nat_public = public;
        if !self.asked.is_error {
            self.tuple.source_port = port;
        }
        self.via = Some(nat.id);
        self.is_member = false;
        self.route(nat.subnet, false)
    }

    /// Back through a NAT gateway: to who began the connection, and to nobody without one.
    fn back(&mut self, nat: &Nat, from: Option<usize>) -> Result<End<'a>, Reason> {
        let known = self.asked.through;
        let known = known.filter(|through| through.nat == nat.id);
        let known = known.filter(|through| through.is_back || self.asked.is_error);
        let Some(through) = known else {
            return Err(Reason::NatUnsolicited);
        };
        if through.beyond.source != self.tuple.source && !self.asked.is_error {
            return Err(Reason::NatUnsolicited);
        }
        if from != Some(nat.subnet) {
            self.edges
                .push((nat.subnet, Direction::Ingress, self.tuple));
        }
        self.nat = Some((nat.subnet, self.tuple.target));
        self.narrow(MTU_NAT)?;
        self.tuple.target = through.beyond.target;
        if !self.asked.is_error {
            self.tuple = through.beyond;
        }
        self.via = Some(nat.id);
        self.is_member = false;
        let region = self.asked.region;
        let vpc = region.subnets[nat.subnet].vpc;
        let owner = region.owner(vpc, self.tuple.target);
        if owner.is_some_and(|owner| owner.id != through.initiator) {
            // Limit: what a forwarder has sent under somebody else's address is not answered.
            self.found = owner.map(End::Eni);
            return Err(Reason::NatUnsolicited);
        }
        self.local(self.asked.region.subnets[nat.subnet].vpc, Some(nat.subnet))
    }

    pub(crate) fn leave(&mut self, subnet: usize) {
        self.edges.push((subnet, Direction::Egress, self.tuple));
    }
}

/// Whether an address is one that only this installation gives to somebody.
fn is_pool(addr: Addr) -> bool {
    if !addr.is_v4() {
        return addr.octets()[..4] == V6_POOL;
    }
    let [a, b, ..] = addr.v4_octets();
    a == POOL[0] && b & 0xfe == POOL[1] && addr != HOST
}

/// The route of a subnet's table with the longest prefix.
pub(crate) fn longest(region: &Region, subnet: usize, target: Addr) -> Option<Way> {
    let subnet = &region.subnets[subnet];
    longest_of(&subnet.locals(), &subnet.routes, target)
}

/// The same of local routes and others; where both are for one block, the local one is replaced.
fn longest_of(locals: &[IpNet], routes: &[(IpNet, Way)], target: Addr) -> Option<Way> {
    let target = std::net::IpAddr::from(target);
    let locals = locals.iter().map(|net| (*net, Way::Local));
    let matching = locals.chain(routes.iter().copied());
    let matching = matching.filter(|(net, _)| net.contains(&target));
    // Of equal ones the last.
    matching
        .max_by_key(|(net, _)| net.prefix_len())
        .map(|(_, way)| way)
}
