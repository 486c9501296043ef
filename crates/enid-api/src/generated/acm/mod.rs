//! ACM, version 2015-12-08.

pub mod operations;
pub mod request;
pub mod response;
