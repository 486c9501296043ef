//! What a collector is told, and what it answers.

use enid_model::time::Timestamp;
use enid_pipeline::flow::{FlowKey, FlowRecord};
use enid_pipeline::strays::{StrayKey, StrayRecord};

/// A part of the kernel's tables as somebody read it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The clock of the entries' times, when they were read.
    pub now_ns: u64,
    /// Flows.
    pub flows: Vec<SeenFlow>,
    /// Packets without a flow.
    pub strays: Vec<(StrayKey, StrayRecord)>,
    /// Whether there was no room for another count of packets without a flow.
    pub is_full: bool,
    /// Whether these are the last of a pass over all entries, and when that began.
    pub pass: Option<Timestamp>,
}

/// A flow's entry.
#[derive(Debug, Clone, Copy)]
pub struct SeenFlow {
    /// Its key.
    pub key: FlowKey,
    /// What it counts.
    pub record: FlowRecord,
    /// Whether it is to be removed as soon as it is accounted for.
    pub has_ended: bool,
}

/// An entry of which everything has been told: it may be removed, as long as it counts no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// A flow's.
    Flow(FlowKey, u64),
    /// One of packets without a flow.
    Stray(StrayKey, u64),
}
