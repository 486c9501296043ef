//! Where flow logs go whose destination is a log group.

use enid_model::key::{AccountId, RegionName};
use enid_model::time::Timestamp;

use crate::store::Write;

/// Log groups, as flow logs see them.
pub trait LogSink: Send + Sync {
    /// What must be appended so that the events are in their stream; the group and the stream are made if
    /// they are missing. The caller appends it together with its own cursor, so that no event is lost or
    /// delivered twice.
    fn prepare(&self, delivery: &LogDelivery) -> Result<Write, LogSinkError>;

    /// Told when what was prepared is durable, and which arrival its first event has; the others' follow it.
    fn stored(&self, delivery: &LogDelivery, first_arrival: u64);
}

/// Events of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDelivery {
    /// Whose log group it is.
    pub account: AccountId,
    /// Its region.
    pub region: RegionName,
    /// The log group.
    pub group: String,
    /// The log stream.
    pub stream: String,
    /// Times and messages, in the order of the times.
    pub events: Vec<(Timestamp, String)>,
}

/// Why events are not taken, in the words that a flow log's description has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogSinkError {
    /// The group cannot be made or written to.
    #[error("Access error")]
    AccessError,
    /// There are too many groups or events.
    #[error("Rate limited")]
    RateLimited,
    /// Something else.
    #[error("Unknown error")]
    Unknown,
}
