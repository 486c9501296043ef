//! The record of what was dropped: one entry per 5-tuple at the sending ENI, latest reason last.

use core::{cell::Cell, mem::size_of};

/// A dropped flow's entry. `W` as in [`Flow`](crate::flow::Flow).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Dropped<W> {
    /// Packets of the wire.
    pub packets: W,
    /// Bytes from the IP header on.
    pub bytes: W,
    /// When the first was dropped.
    pub first_seen_ns: W,
    /// When the last was dropped.
    pub last_seen_ns: W,
    /// Number of the latest [`Reason`](crate::Reason).
    pub reason: W,
    /// The sending ENI, 0 if unknown.
    pub source_eni: W,
    /// The ENI that has the destination, 0 if none or not yet known.
    pub target_eni: W,
    /// The network ACL that refused it, if that is the reason.
    pub acl: W,
    /// The number of its entry, likewise; 32767 if no entry matched.
    pub acl_entry: W,
}

/// An entry as the tables hold it.
pub type DropEntry = Dropped<Cell<u64>>;
/// An entry as user space reads it.
pub type DropRecord = Dropped<u64>;

const _: () = assert!(size_of::<DropEntry>() == 72);

impl<W> Dropped<W> {
    /// The same entry with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> Dropped<V> {
        Dropped {
            packets: f(&self.packets),
            bytes: f(&self.bytes),
            first_seen_ns: f(&self.first_seen_ns),
            last_seen_ns: f(&self.last_seen_ns),
            reason: f(&self.reason),
            source_eni: f(&self.source_eni),
            target_eni: f(&self.target_eni),
            acl: f(&self.acl),
            acl_entry: f(&self.acl_entry),
        }
    }
}
