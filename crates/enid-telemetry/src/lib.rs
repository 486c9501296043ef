//! What packets did, and what else happens: flow logs, metrics, alarms and logs.

#![forbid(unsafe_code)]

pub mod log;
pub mod store;
