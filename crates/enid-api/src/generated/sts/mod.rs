//! STS, version 2011-06-15.

pub mod operations;
pub mod request;
pub mod response;
