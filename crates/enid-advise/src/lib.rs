//! Pure questions about a region: why a packet passes or not, how large a VPC is.

#![forbid(unsafe_code)]

pub mod explain;
pub mod network_address_usage;
mod node;
