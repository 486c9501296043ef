//! Traffic mirroring: copies of an ENI's packets, each in a VXLAN packet to another ENI.
//!
//! - A packet is copied once. The sessions of its ENI are asked in their order, and the first whose filter
//!   accepts the packet takes it. Of a filter the first rule that matches decides; what none matches is not
//!   accepted.
//! - What the ENI's own security groups or network ACL drop is not copied. ARP, neighbour discovery, DHCP,
//!   metadata and time never are, and questions to the VPC's resolver only if the filter says so.
//! - Nor are errors about copies, which come if nobody listens at the target.
//! - The VXLAN packet is one that the ENI sends: route tables and network ACLs judge it as any other, and the
//!   receiver's security groups, but not the sender's. It makes no flow, and is itself never copied.
//!
//! Two programs do this. The first ([`headers`]) gets a copy as the ENI sends or gets it, perhaps standing for
//! several packets, and puts the new headers before it. Then the kernel makes single packets of it and
//! finishes their checksums, and the second ([`mirrored`]) cuts what is too long, judges the packet and hands
//! it over. Between the two its MAC addresses say whose copy it is.
//!
//! Sources: Traffic Mirroring User Guide, "How Traffic Mirroring works", "Packet format", "Limitations";
//! RFC 7348.

mod deliver;
#[cfg(test)]
mod tests;
mod wrap;

use core::mem::size_of;

use crate::{
    bytes::Addr,
    packet::{Fragment, Packet},
    table::protocol,
};

pub use deliver::mirrored;
pub use wrap::{Wrapping, headers};

/// The UDP port that VXLAN packets go to.
pub const PORT: u16 = 4789;
/// The most sessions of one ENI.
pub const SESSIONS_MAX: usize = 3;
/// The most rules of a filter in one direction.
pub const RULES_MAX: usize = 10;
/// Bytes of all headers before a mirrored frame's network header: Ethernet, IPv4, UDP, VXLAN, Ethernet.
pub const HEADERS: usize = 64;
/// Bytes that a mirrored packet has before the mirrored frame begins, from the IP header on.
const WRAPPING: u32 = 36;
/// The longest packet inside a VPC, from the IP header on.
const MTU: u32 = 9001;

/// Value of `mirrors`: the sessions of an ENI.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorRecord {
    /// How many of them count, in the order in which they are asked.
    pub count: u32,
    /// Where the copies come from: the ENI's primary address.
    pub source: [u8; 4],
    /// The sessions.
    pub sessions: [MirrorSession; SESSIONS_MAX],
}

/// A session.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorSession {
    /// Its filter, a key of `mirror_filters`.
    pub filter: u64,
    /// The VXLAN network identifier of its packets.
    pub vni: u32,
    /// How many bytes of a frame are copied; 0 is all.
    pub packet_length: u32,
    /// Where the copies go: the primary address of the target's ENI.
    pub target: [u8; 4],
    /// Always zero.
    pub pad: u32,
}

/// Value of `mirror_filters`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorFilter {
    /// [`MirrorFilter::AMAZON_DNS`].
    pub flags: u32,
    /// How many rules of each direction count.
    pub egress_count: u16,
    /// See `egress_count`.
    pub ingress_count: u16,
    /// The rules for what the ENI sends, in their order.
    pub egress: [MirrorRule; RULES_MAX],
    /// The rules for what it gets.
    pub ingress: [MirrorRule; RULES_MAX],
}

impl MirrorFilter {
    /// Questions to the VPC's resolver and its answers are judged by the rules, instead of not copied.
    pub const AMAZON_DNS: u32 = 1;
}

/// A rule of a filter.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorRule {
    /// The network that the packet comes from, and which of its bits count.
    pub source: Addr,
    /// See `source`.
    pub source_mask: Addr,
    /// The network that it goes to, likewise.
    pub target: Addr,
    /// See `target`.
    pub target_mask: Addr,
    /// First and last source port.
    pub source_ports: [u16; 2],
    /// First and last destination port.
    pub target_ports: [u16; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// [`MirrorRule::ACCEPT`], [`MirrorRule::ANY_PROTOCOL`], [`MirrorRule::SOURCE_PORTS`],
    /// [`MirrorRule::TARGET_PORTS`], [`MirrorRule::IPV6`].
    pub flags: u8,
    /// Always zero.
    pub pad: u16,
}

impl MirrorRule {
    /// What matches is copied; else it is not, by this session.
    pub const ACCEPT: u8 = 1;
    /// `protocol` does not count.
    pub const ANY_PROTOCOL: u8 = 2;
    /// `source_ports` count: the packet has ports, one of these.
    pub const SOURCE_PORTS: u8 = 4;
    /// `target_ports` count, likewise.
    pub const TARGET_PORTS: u8 = 8;
    /// The networks are of IPv6: IPv4 addresses, which lie within `::/0`, are in none of them.
    pub const IPV6: u8 = 16;

    #[inline(always)]
    fn matches(&self, packet: &Packet) -> bool {
        if self.flags & Self::ANY_PROTOCOL == 0 && self.protocol != packet.protocol {
            return false;
        }
        if self.flags & Self::IPV6 != 0 && packet.source.is_v4() {
            return false;
        }
        if !packet.source.is_in(&self.source, &self.source_mask)
            || !packet.target.is_in(&self.target, &self.target_mask)
        {
            return false;
        }
        if self.flags & (Self::SOURCE_PORTS | Self::TARGET_PORTS) == 0 {
            return true;
        }
        // Limit: later fragments have no ports, and none are looked up for them.
        let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP)
            && packet.fragment != Fragment::Later;
        let is_in = |[first, last]: [u16; 2], port: u16| first <= port && port <= last;
        let is_source = self.flags & Self::SOURCE_PORTS == 0
            || is_in(self.source_ports, packet.source_port.value());
        let is_target = self.flags & Self::TARGET_PORTS == 0
            || is_in(self.target_ports, packet.target_port.value());
        has_ports && is_source && is_target
    }
}

const _: () = {
    assert!(size_of::<MirrorSession>() == 24);
    assert!(size_of::<MirrorRecord>() == 80);
    assert!(size_of::<MirrorRule>() == 76);
    assert!(size_of::<MirrorFilter>() == 1528);
};
