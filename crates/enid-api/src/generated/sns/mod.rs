//! SNS, version 2010-03-31.

pub mod operations;
pub mod request;
pub mod response;
