//! The fragment table: what the first fragment of a packet said.

use core::mem::size_of;

use crate::bytes::{Addr, Be16};

/// Key of `fragments`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FragmentKey {
    /// Index of the sending ENI's host-side device.
    pub ifindex: u32,
    /// Identification of the packet that was cut.
    pub id: u32,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// Value of `fragments`: what the first fragment said.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FragmentRecord {
    /// As in [`FlowKey`](crate::flow::FlowKey).
    pub source_port: Be16,
    /// As in [`FlowKey`](crate::flow::FlowKey).
    pub target_port: Be16,
}

const _: () = assert!(size_of::<FragmentKey>() == 44);
const _: () = assert!(size_of::<FragmentRecord>() == 4);
