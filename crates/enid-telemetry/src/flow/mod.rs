//! Flow logs: what packets did, as records of windows of time, and their delivery.

pub mod sink;

use crate::store::Kind;

/// What flow logs store.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    Vec::new()
}
