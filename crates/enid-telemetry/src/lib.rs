//! What packets did and what people say of it: flow records, log events and datapoints, stored as Arrow
//! batches and Parquet files, kept within bounds, and read again.
//!
//! [`store`] is what the rest stands on: what was appended is durable, and a part of the state of whoever
//! appends it is durable in the same moment, so that nothing is lost or counted twice over a crash.
//!
//! Left to others: reading the kernel's tables (`enid-host`), the region's own records of what is to be
//! collected (`enid-control`), and the APIs (`enid-api`).

#![forbid(unsafe_code)]

pub mod alarm;
pub mod anomaly;
pub mod bucket;
pub mod chart;
pub mod flow;
pub mod log;
pub mod math;
pub mod metric;
pub mod notify;
pub mod source;
pub mod store;

/// Everything that is stored, of all parts.
#[must_use]
pub fn kinds() -> Vec<store::Kind> {
    let mut kinds = Vec::new();
    kinds.extend(flow::kinds());
    kinds.push(log::kind());
    kinds.extend(metric::kinds());
    kinds
}
