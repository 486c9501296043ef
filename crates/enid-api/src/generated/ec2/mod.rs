//! EC2, version 2016-11-15.

pub mod operations;
pub mod request;
pub mod response;
