//! Network load balancers: the tables that say where a node's new flows go.
//!
//! A node is an interface of its own, a key of `enis` with
//! [`EniRecord::BALANCER`](crate::table::EniRecord::BALANCER).
//!
//! - `listeners`: (node, port, protocol, family) → the target groups that flows go to, with their shares.
//! - `balancer_slots`: the Maglev tables, in chunks. A table's id is a hash of the targets that it was made
//!   of, so a table never changes: it is put beside the old one, and one entry of `listeners` is switched.
//! - `balancer_targets`: (table, number) → the target that a slot names.
//! - `balancer_members`: (group, address, port) → what becomes of flows that a target has. Targets that get
//!   no new flows are here as well, as long as they are known.

use core::mem::size_of;

use crate::bytes::{Addr, Be16};

/// The slots of a Maglev table: a prime, and so many more than targets that few change hands when one of
/// them goes.
pub const SLOTS: u32 = 65_521;
/// Slots of one entry of `balancer_slots`.
pub const CHUNK: u32 = 256;
/// The most target groups of one listener.
pub const SHARES_MAX: usize = 5;
/// How long a node knows a UDP flow (Network Load Balancers, "Connection idle timeout").
pub const UDP_IDLE_S: u32 = 120;
/// The first port from which nodes send what does not keep the client's address. Those below are for what
/// the node itself begins: health checks.
pub const FIRST_PORT: u16 = 4096;

/// Key of `listeners`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerKey {
    /// The node, a key of `enis`.
    pub node: u64,
    /// The port.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Whether of IPv6: 1, or 0. Addresses of one family are not translated to the other's; the node's proxy takes such targets.
    pub is_v6: u8,
    /// Always zero.
    pub pad: [u8; 4],
}

/// A target group's share of a listener's flows.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Share {
    /// The group.
    pub group: u64,
    /// Its Maglev table for this node; 0 if there is no target to choose.
    pub table: u64,
    /// Of [`ListenerRecord::weights`] flows those before this number that no earlier share gets.
    pub below: u32,
    /// [`Share::PRESERVES`], [`Share::STICKY`], [`Share::FAIL_OPEN`].
    pub flags: u32,
}

impl Share {
    /// Targets see the client's address, and not the node's.
    pub const PRESERVES: u32 = 1;
    /// All flows of a source go to one target.
    pub const STICKY: u32 = 2;
    /// Too few targets are healthy, and all get flows.
    pub const FAIL_OPEN: u32 = 4;
}

/// Value of `listeners`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerRecord {
    /// Where flows go, the first `count` of them.
    pub shares: [Share; SHARES_MAX],
    /// How many shares count.
    pub count: u32,
    /// The sum of all weights; 0 if no flow goes anywhere.
    pub weights: u32,
    /// After how long without a packet a TCP connection is forgotten.
    pub idle_s: u32,
    /// [`ListenerRecord::FORGETS`], [`ListenerRecord::NO_INTERNET`], [`ListenerRecord::DELIVERED`],
    /// [`ListenerRecord::STICKY`].
    pub flags: u32,
    /// The node's own address of the family.
    pub address: Addr,
}

impl ListenerRecord {
    /// Flows to targets that are not known any more end; else they go on.
    pub const FORGETS: u32 = 1;
    /// Nothing comes to it by an internet gateway.
    pub const NO_INTERNET: u32 = 2;
    /// Connections end at the node's device, and go on from there as the node's own.
    pub const DELIVERED: u32 = 4;
    /// All flows of a source go to one target group.
    pub const STICKY: u32 = 8;
}

/// Key of `balancer_slots`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotsKey {
    /// The table.
    pub table: u64,
    /// Which [`CHUNK`] of its slots.
    pub chunk: u32,
    /// Always zero.
    pub pad: u32,
}

/// Value of `balancer_slots`: the numbers of targets.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slots(pub [u16; CHUNK as usize]);

/// Key of `balancer_targets`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetKey {
    /// The table.
    pub table: u64,
    /// The number of the target in it.
    pub number: u32,
    /// Always zero.
    pub pad: u32,
}

/// Value of `balancer_targets`: a target's address. Whoever has it gets the flow.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetRecord {
    /// The VPC that the address is in.
    pub vpc: u64,
    /// The address.
    pub address: Addr,
    /// The port.
    pub port: Be16,
    /// Always zero.
    pub pad: [u8; 6],
}

/// Key of `balancer_members`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey {
    /// The target group.
    pub group: u64,
    /// A target's address.
    pub address: Addr,
    /// Its port.
    pub port: Be16,
    /// Always zero.
    pub pad: [u8; 6],
}

/// Value of `balancer_members`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// [`Member::ENDS`].
    pub flags: u64,
}

impl Member {
    /// The flows that it has end.
    pub const ENDS: u64 = 1;
}

const _: () = {
    assert!(size_of::<ListenerKey>() == 16);
    assert!(size_of::<Share>() == 24);
    assert!(size_of::<ListenerRecord>() == 152);
    assert!(size_of::<SlotsKey>() == 16);
    assert!(size_of::<Slots>() == 512);
    assert!(size_of::<TargetKey>() == 16);
    assert!(size_of::<TargetRecord>() == 32);
    assert!(size_of::<MemberKey>() == 32);
    assert!(size_of::<Member>() == 8);
    assert!(CHUNK.is_power_of_two());
};
