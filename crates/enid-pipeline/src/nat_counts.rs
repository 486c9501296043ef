//! What NAT gateways count: the ports that are taken towards each destination, and what AWS's metrics of a
//! gateway say. The nodes of load balancers count the same: the source is the client, the destination the
//! target.
//!
//! The programs alone write both tables, in the same run that adds or removes the flow entry that a port
//! belongs to: no crash of the agent comes between. See [`crate::release`].

use core::{cell::Cell, mem::size_of};

use crate::bytes::Be16;

/// Connections at the same time through one address of a gateway to one destination (VPC user guide, "NAT
/// gateway basics").
pub const PORTS_MAX: u64 = 55_000;

/// Key of `nat_ports`: one address of a gateway, and one destination.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NatPortsKey {
    /// The gateway.
    pub nat: u64,
    /// Its address, as packets leave with it: the public one, or the private one to private networks.
    pub address: [u8; 4],
    /// The destination, as whoever opens the connection knows it.
    pub target: [u8; 4],
    /// Its port; zero for ICMP.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 5],
}

/// Value of `nat_ports`. `W` as in [`Flow`](crate::flow::Flow).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct NatPorts<W> {
    /// Ports that connections have.
    pub taken: W,
    /// When the latest was taken.
    pub taken_ns: W,
}

/// As the tables hold it.
pub type NatPortsEntry = NatPorts<Cell<u64>>;
/// As user space reads it.
pub type NatPortsRecord = NatPorts<u64>;

/// Value of `nat_counts`: what a gateway has seen since it was made.
///
/// "Source" is who is behind the gateway, "destination" is beyond it. What a gateway refuses has come in and
/// does not go out.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct NatCounts<W> {
    /// Packets from the source, carried.
    pub out_packets: W,
    /// Their bytes from the IP header on.
    pub out_bytes: W,
    /// Packets from the destination, carried.
    pub back_packets: W,
    /// Their bytes.
    pub back_bytes: W,
    /// Packets from the source that it refused or answered itself.
    pub refused_out_packets: W,
    /// Their bytes.
    pub refused_out_bytes: W,
    /// Packets from the destination that it refused.
    pub refused_back_packets: W,
    /// Their bytes.
    pub refused_back_bytes: W,
    /// Of the refused packets those that it did not answer.
    pub dropped_packets: W,
    /// TCP connections that it holds a port for.
    pub active: W,
    /// TCP connections that began.
    pub attempts: W,
    /// TCP connections whose destination accepted.
    pub established: W,
    /// Packets of new connections for which it had no port.
    pub port_errors: W,
    /// TCP connections that were forgotten because they were idle.
    pub idle: W,
    /// TCP resets from the source, carried; of load balancers.
    pub out_resets: W,
    /// TCP resets from the destination likewise.
    pub back_resets: W,
    /// Flows that began while too few targets were healthy; of load balancers.
    pub fail_open: W,
    /// Of the bytes that were carried those of UDP.
    pub udp_bytes: W,
    /// UDP flows that began; of load balancers, whose `attempts` are those of TCP and UDP.
    pub udp_flows: W,
    /// Connections that the node reset; of load balancers, as all that follows.
    pub own_resets: W,
    /// First packets of TCP connections for which a listener had no target or no port.
    pub rejected_tcp: W,
    /// The same of UDP.
    pub rejected_udp: W,
    /// First packets of TCP connections that the node's ingress rules refused.
    pub blocked_in_tcp: W,
    /// The same of UDP.
    pub blocked_in_udp: W,
    /// First packets of TCP connections that the node's egress rules refused.
    pub blocked_out_tcp: W,
    /// The same of UDP.
    pub blocked_out_udp: W,
}

/// As the tables hold it.
pub type NatCountsEntry = NatCounts<Cell<u64>>;
/// As user space reads it.
pub type NatCountsRecord = NatCounts<u64>;

const _: () = assert!(size_of::<NatPortsKey>() == 24);
const _: () = assert!(size_of::<NatPortsEntry>() == 16);
const _: () = assert!(size_of::<NatCountsEntry>() == 208);

impl<W> NatPorts<W> {
    /// The same with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> NatPorts<V> {
        NatPorts {
            taken: f(&self.taken),
            taken_ns: f(&self.taken_ns),
        }
    }
}

impl<W> NatCounts<W> {
    /// The same with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> NatCounts<V> {
        NatCounts {
            out_packets: f(&self.out_packets),
            out_bytes: f(&self.out_bytes),
            back_packets: f(&self.back_packets),
            back_bytes: f(&self.back_bytes),
            refused_out_packets: f(&self.refused_out_packets),
            refused_out_bytes: f(&self.refused_out_bytes),
            refused_back_packets: f(&self.refused_back_packets),
            refused_back_bytes: f(&self.refused_back_bytes),
            dropped_packets: f(&self.dropped_packets),
            active: f(&self.active),
            attempts: f(&self.attempts),
            established: f(&self.established),
            port_errors: f(&self.port_errors),
            idle: f(&self.idle),
            out_resets: f(&self.out_resets),
            back_resets: f(&self.back_resets),
            fail_open: f(&self.fail_open),
            udp_bytes: f(&self.udp_bytes),
            udp_flows: f(&self.udp_flows),
            own_resets: f(&self.own_resets),
            rejected_tcp: f(&self.rejected_tcp),
            rejected_udp: f(&self.rejected_udp),
            blocked_in_tcp: f(&self.blocked_in_tcp),
            blocked_in_udp: f(&self.blocked_in_udp),
            blocked_out_tcp: f(&self.blocked_out_tcp),
            blocked_out_udp: f(&self.blocked_out_udp),
        }
    }
}
