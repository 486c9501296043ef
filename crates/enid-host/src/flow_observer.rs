//! Who accounts for what flows carry.
//!
//! The sweep hands on what it reads, and removes an ended flow of a watched interface only when the observer
//! says that all it counts has been accounted for. The kernel keeps the counts until then, whatever becomes of
//! the agent.

use enid_pipeline::flow::{FlowKey, FlowRecord, SECOND_NS};
use enid_pipeline::strays::{StrayKey, StrayRecord};

/// Accounts for what flows carry. Nothing here may wait: the agent does nothing else meanwhile.
pub trait FlowObserver: Send {
    /// Whether somebody wants to know what an interface, or a NAT gateway's interface by the gateway's id,
    /// sends and gets.
    fn is_watched(&self, eni: u64) -> bool;

    /// Takes what a sweep has read of watched interfaces.
    fn saw(&mut self, swept: Swept);

    /// What may be removed: all that it counts has been accounted for, durably.
    fn settled(&mut self) -> Vec<SettledEntry>;
}

/// What a sweep has read.
#[derive(Debug, Default)]
pub struct Swept {
    /// When, by the clock of the entries' times.
    pub now_ns: u64,
    /// Flows, and whether each has ended.
    pub flows: Vec<(FlowKey, FlowRecord, bool)>,
    /// Packets without a flow.
    pub strays: Vec<(StrayKey, StrayRecord)>,
    /// Whether there is no room to count more of these.
    pub is_full: bool,
    /// When the pass over all entries began that ends with these, if one does.
    pub pass_began_ns: Option<u64>,
}

/// An entry that may be removed as long as it counts no more packets than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledEntry {
    /// A flow's.
    Flow(FlowKey, u64),
    /// One of packets without a flow.
    Stray(StrayKey, u64),
}

/// How long packets without a flow are quiet before an entry that nobody watches is removed.
pub(crate) const STRAY_QUIET_NS: u64 = 10 * SECOND_NS;
