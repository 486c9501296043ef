//! What the parser found: every later stage reads this and not the frame.

use crate::{
    bytes::{Addr, Be16, Mac, MacPair},
    flow::{FlowKey, tcp},
    table::protocol,
};

/// Whether a packet is a fragment, and which.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Fragment {
    /// Any but the first.
    Later,
    /// The first, with the transport header.
    First,
    /// Not a fragment.
    #[default]
    None,
}

/// Messages that the virtual router answers itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Asks {
    /// ARP: nothing but `macs` is set.
    Arp,
    /// How to be configured, by broadcast: a DHCP message or a solicitation of a router. Ports are set of
    /// the former.
    Configuration,
    /// IPv6 neighbour discovery: addresses and `transport` are set as well, and `target_port` as for ICMP.
    Neighbour,
    /// Nothing: it is to be carried.
    #[default]
    Nothing,
}

/// A parsed packet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    /// Destination and source MAC as they came.
    pub(crate) macs: MacPair,
    /// Source address.
    pub(crate) source: Addr,
    /// Destination address.
    pub(crate) target: Addr,
    /// Identification of a fragmented packet.
    pub(crate) fragment_id: u32,
    /// Bytes from the IP header on, as the wire carries them.
    pub(crate) bytes: u32,
    /// Packets of the wire.
    pub(crate) segments: u32,
    /// Bytes of the longest of them, from the IP header on.
    pub(crate) longest: u32,
    /// Offset of the transport header in the frame.
    pub(crate) transport: u32,
    /// TCP: the sequence number.
    pub(crate) sequence: u32,
    /// How many sequence numbers it takes: its bytes, and one for each SYN and FIN. 0 for what has none, and
    /// for what is not measured: resets and fragments.
    pub(crate) sequenced: u32,
    /// TCP: the acknowledgement number.
    pub(crate) acknowledged: u32,
    /// As in [`FlowKey`].
    pub(crate) source_port: Be16,
    /// As in [`FlowKey`].
    pub(crate) target_port: Be16,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// TCP flags.
    pub(crate) tcp_flags: u8,
    /// Whether it is a fragment.
    pub(crate) fragment: Fragment,
    /// What asks the virtual router itself.
    pub(crate) asks: Asks,
}

impl Packet {
    /// The key of the packet's flow.
    #[inline(always)]
    pub(crate) const fn key(&self, ifindex: u32) -> FlowKey {
        FlowKey {
            ifindex,
            protocol: self.protocol,
            pad: [0; 3],
            source: self.source,
            target: self.target,
            source_port: self.source_port,
            target_port: self.target_port,
        }
    }

    /// SYN without ACK: opens a connection, whatever the flow table holds.
    #[inline(always)]
    pub(crate) const fn opens_tcp(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// An ICMP message about another packet, which it quotes.
    #[inline(always)]
    pub(crate) const fn is_icmp_error(&self) -> bool {
        let kind = self.target_port.bytes()[0];
        match self.protocol {
            // Destination unreachable, time exceeded, parameter problem.
            protocol::ICMP => matches!(kind, 3 | 11 | 12),
            // Destination unreachable, packet too big, time exceeded, parameter problem.
            protocol::ICMP_V6 => matches!(kind, 1..=4),
            _ => false,
        }
    }

    /// Whether it is longer than a way takes; 0 is any length.
    #[inline(always)]
    pub(crate) const fn is_too_big(&self, mtu: u32) -> bool {
        mtu != 0 && self.longest > mtu
    }

    /// The source MAC.
    #[inline(always)]
    pub(crate) const fn source_mac(&self) -> Mac {
        self.macs.source()
    }
}
