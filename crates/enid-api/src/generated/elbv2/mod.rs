//! Elastic Load Balancing, version 2 (2015-12-01).

pub mod operations;
pub mod request;
pub mod response;
