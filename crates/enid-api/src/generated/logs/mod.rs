//! CloudWatch Logs, version 2014-03-28.

pub mod operations;
pub mod request;
pub mod response;
