//! CloudWatch, version 2010-08-01.

pub mod operations;
pub mod request;
pub mod response;
