//! A packet's way from the ENI or the outside to whoever gets it: where it is, with which addresses, and
//! which subnet edges it has crossed.

use crate::{
    bytes::{Addr, Be16, MacPair},
    flow::GATEWAY_EDGE_SHIFT,
    packet::Packet,
    reason::Reason,
    table::{Direction, GATE_OPEN, SubnetRecord},
};

/// The most subnet edges of one way: out of the sender's subnet, through that of a NAT gateway, again
/// through one on the way back, into the receiver's.
pub(crate) const EDGES_MAX: usize = 6;

/// A subnet edge that a packet crosses: one question to a network ACL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// The gate that is asked.
    pub(crate) gate: u64,
    /// The ACL that has it.
    pub(crate) acl: u64,
    /// The address at the other end, as it is in this place.
    pub(crate) remote: Addr,
    /// The destination port, likewise.
    pub(crate) port: Be16,
    /// Out of the subnet or into it.
    pub(crate) direction: Direction,
}

impl Edge {
    const NONE: Self = Self {
        gate: GATE_OPEN,
        acl: 0,
        remote: Addr::UNSPECIFIED,
        port: Be16::from_bytes([0; 2]),
        direction: Direction::Egress,
    };
}

/// The MAC addresses of a packet and of its answers.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Hop {
    /// MAC addresses that the frame goes on with.
    pub(crate) leaves: MacPair,
    /// MAC addresses that answers are expected with, and go on with.
    pub(crate) answer_arrives: MacPair,
    pub(crate) answer_leaves: MacPair,
}

/// A way. Lives in the scratch record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journey {
    /// The VPC that the packet is in; 0 outside.
    pub(crate) vpc: u64,
    /// The subnet that it is in; 0 between VPCs and outside.
    pub(crate) subnet: u64,
    /// The ENI that gets it, [`OUTSIDE`](crate::table::OUTSIDE), or 0 while nobody does.
    pub(crate) eni: u64,
    /// The ENI whose security groups count at the sender's egress gate; 0 if none.
    pub(crate) remote: u64,
    /// The NAT gateway, or the node of a load balancer, that it passes; 0 if none.
    pub(crate) via: u64,
    /// The node of a load balancer that it has come to, whether it passes or not; 0 if none.
    pub(crate) balancer: u64,
    /// The route table of the internet gateway that it comes in by; 0 if that has none.
    pub(crate) edge: u64,
    /// The first route that was asked, as [`Flow::route`](crate::flow::Flow::route) has it.
    pub(crate) route: u64,
    /// Addresses and ports as they are now.
    pub(crate) source: Addr,
    pub(crate) target: Addr,
    /// The public address of the NAT gateway's address that `source` is; `::` if there is none.
    pub(crate) nat_public: Addr,
    /// The NAT gateway that it has come to, whether it passes or not; 0 if none.
    pub(crate) nat: u64,
    pub(crate) source_port: Be16,
    pub(crate) target_port: Be16,
    /// The device that it goes to.
    pub(crate) ifindex: u32,
    /// The longest packet that its way takes; 0 is any.
    pub(crate) mtu: u32,
    /// After how long without a packet a load balancer forgets the connection.
    pub(crate) idle_s: u32,
    edge_count: u32,
    /// How many edges it had crossed when it came to the interface of a NAT gateway, and one more; 0 if it has
    /// not.
    gateway_edge: u32,
    pub(crate) hop: Hop,
    /// Whether the sender's security groups count at the receiver's ingress gate.
    pub(crate) is_member: bool,
    /// Whether it has come to the node of a load balancer, and is to go on from there.
    pub(crate) is_at_node: bool,
    /// Whether `via` is the node of a load balancer.
    pub(crate) is_balanced: bool,
    /// Whether it goes from the proxy of a load balancer's node under its client's address, or back there.
    pub(crate) is_transparent: bool,
    /// Whether the load balancer chose among unhealthy targets.
    pub(crate) is_fail_open: bool,
    /// Whether the NAT gateway, or the node, has yet to find a port for it.
    pub(crate) needs_port: bool,
    /// Whether answers take the same way back, and nothing on it asks a network ACL.
    pub(crate) is_both_ways: bool,
    /// Whether it leaves this installation.
    pub(crate) is_to_outside: bool,
    /// Whether it has come to a NAT gateway's subnet and is routed on from there.
    pub(crate) is_routed_on: bool,
    /// Whether it goes out to come in again, or has come in so: see
    /// [`gateway`](crate::stage::gateway).
    pub(crate) is_turned: bool,
    /// Whether it comes in to a VPC from the internet.
    pub(crate) is_entering: bool,
    /// Whether it goes back through the NAT gateway, to who began the connection.
    pub(crate) is_back: bool,
    /// Whether it may only go on as an error about a live flow of the receiver's.
    pub(crate) must_be_related: bool,
    edges: [Edge; EDGES_MAX],
}

impl Journey {
    pub(crate) const NOWHERE: Self = Self {
        vpc: 0,
        subnet: 0,
        eni: 0,
        remote: 0,
        via: 0,
        balancer: 0,
        edge: 0,
        route: 0,
        source: Addr::UNSPECIFIED,
        target: Addr::UNSPECIFIED,
        nat_public: Addr::UNSPECIFIED,
        nat: 0,
        source_port: Be16::from_bytes([0; 2]),
        target_port: Be16::from_bytes([0; 2]),
        ifindex: 0,
        mtu: 0,
        idle_s: 0,
        edge_count: 0,
        gateway_edge: 0,
        hop: Hop {
            leaves: MacPair { head: 0, tail: 0 },
            answer_arrives: MacPair { head: 0, tail: 0 },
            answer_leaves: MacPair { head: 0, tail: 0 },
        },
        is_member: false,
        is_at_node: false,
        is_balanced: false,
        is_transparent: false,
        is_fail_open: false,
        needs_port: false,
        is_both_ways: false,
        is_to_outside: false,
        is_routed_on: false,
        is_turned: false,
        is_entering: false,
        is_back: false,
        must_be_related: false,
        edges: [Edge::NONE; EDGES_MAX],
    };

    /// Begins a way in a subnet of a VPC, or outside.
    #[inline(always)]
    pub(crate) fn begin(&mut self, packet: &Packet, vpc: u64, subnet: u64) {
        self.vpc = vpc;
        self.subnet = subnet;
        self.eni = 0;
        self.remote = 0;
        self.via = 0;
        self.balancer = 0;
        self.edge = 0;
        self.route = 0;
        self.source = packet.source;
        self.target = packet.target;
        self.nat_public = Addr::UNSPECIFIED;
        self.nat = 0;
        self.source_port = packet.source_port;
        self.target_port = packet.target_port;
        self.ifindex = 0;
        self.mtu = 0;
        self.idle_s = 0;
        self.edge_count = 0;
        self.gateway_edge = 0;
        self.is_member = false;
        self.is_at_node = false;
        self.is_balanced = false;
        self.is_transparent = false;
        self.is_fail_open = false;
        self.needs_port = false;
        self.is_both_ways = false;
        self.is_to_outside = false;
        self.is_routed_on = false;
        self.is_turned = false;
        self.is_entering = false;
        self.is_back = false;
        self.must_be_related = false;
    }

    /// Takes a step that carries packets of this length at most. What is too long gets no further.
    #[inline(always)]
    pub(crate) fn narrow(&mut self, mtu: u32, packet: &Packet) -> Result<(), Reason> {
        if self.mtu == 0 || mtu < self.mtu {
            self.mtu = mtu;
        }
        if packet.is_too_big(self.mtu) {
            return Err(Reason::TooBig);
        }
        Ok(())
    }

    /// Begins the list of subnet edges anew.
    #[inline(always)]
    pub(crate) fn forget_edges(&mut self) {
        self.edge_count = 0;
    }

    /// Whether the packet goes on with other addresses or ports than it came with.
    #[inline(always)]
    pub(crate) fn is_translated(&self, packet: &Packet) -> bool {
        self.source != packet.source
            || self.target != packet.target
            || self.source_port != packet.source_port
            || self.target_port != packet.target_port
    }

    /// Notes that the packet has come to the interface of a NAT gateway.
    #[inline(always)]
    pub(crate) fn come_to_gateway(&mut self) {
        self.gateway_edge = self.edge_count + 1;
    }

    /// Whether an edge is the gateway's own: the last one before it, into its subnet, or the first one behind,
    /// out of it.
    #[inline(always)]
    pub(crate) const fn is_at_gateway(&self, index: usize, direction: Direction) -> bool {
        let place = match direction {
            Direction::Egress => index + 1,
            Direction::Ingress => index + 2,
        };
        place == self.gateway_edge as usize
    }

    /// What a flow's entry says of the way: see [`Flow::route`](crate::flow::Flow::route).
    #[inline(always)]
    pub(crate) const fn route_word(&self) -> u64 {
        if self.via == 0 {
            self.route
        } else {
            self.route | (self.gateway_edge as u64) << GATEWAY_EDGE_SHIFT
        }
    }

    /// Notes that the packet leaves a subnet.
    #[inline(always)]
    pub(crate) fn leave(&mut self, subnet: &SubnetRecord) -> Result<(), Reason> {
        let edge = Edge {
            gate: subnet.acl_egress,
            acl: subnet.acl,
            remote: self.target,
            port: self.target_port,
            direction: Direction::Egress,
        };
        self.cross(&edge)
    }

    /// Notes that the packet enters a subnet.
    #[inline(always)]
    pub(crate) fn enter(&mut self, subnet: &SubnetRecord) -> Result<(), Reason> {
        let edge = Edge {
            gate: subnet.acl_ingress,
            acl: subnet.acl,
            remote: self.source,
            port: self.target_port,
            direction: Direction::Ingress,
        };
        self.cross(&edge)
    }

    #[inline(never)]
    fn cross(&mut self, edge: &Edge) -> Result<(), Reason> {
        let Some(slot) = self.edges.get_mut(self.edge_count as usize) else {
            return Err(Reason::Incomplete);
        };
        *slot = *edge;
        self.edge_count += 1;
        Ok(())
    }

    /// The edge with this number, if it was crossed.
    #[inline(always)]
    pub(crate) fn edge(&self, index: usize) -> Option<&Edge> {
        if index < self.edge_count as usize {
            self.edges.get(index)
        } else {
            None
        }
    }
}
