//! Pure questions about a region: why a packet passes or not.

#![forbid(unsafe_code)]

pub mod explain;
