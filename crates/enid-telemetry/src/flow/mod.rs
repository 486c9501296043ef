//! Flow logs: what packets did, as records of windows of time, and their delivery.
//!
//! ```text
//! kernel's counters ─▶ account ─▶ rows of the store ─▶ windows ─▶ records ─▶ a bucket or a log group
//!                      what is not       durable with          as each flow
//!                      told of yet       the account           log has them
//! ```
//!
//! Invariants:
//! - Each packet and byte that the kernel counts for a watched interface comes to be in exactly one row: the
//!   kernel's counters only grow, and what was told of them is durable in the same moment as the rows that
//!   tell it. An entry is removed from the kernel's tables only after that.
//! - A row belongs to the window of its time. When a window is closed no row is added to it any more, and
//!   what is delivered of it is the same whenever it is read.
//! - No record is invented: what was not counted by 5-tuple, because a table was full, could not be stored,
//!   or was removed for want of space before it was delivered, is told as skipped.

mod account;
mod collector;
mod deliver;
mod files;
mod part;
mod progress;
mod record;
mod render;
mod row;
pub mod sink;
mod watch;

pub use collector::{Collector, Seen, SeenFlow, Settled};
pub use deliver::{Delivery, DeliveryOptions, Failures, Reach};
pub use watch::{EniFacts, Watch};

use crate::store::Kind;

/// What flow logs store.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    vec![row::kind()]
}
