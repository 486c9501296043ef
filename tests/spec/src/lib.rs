//! A plain reading of the AWS rules, against which the pipeline and the kernel program are held.
//!
//! - [`region`]: a small region, and the tables that the plan makes of it; [`balancer`]: its load balancers.
//! - [`reading`]: what the rules say about a packet, with lists and loops: no tables, no bit vectors, no
//!   flow table. Slow, and meant to be read beside the AWS documentation.
//! - [`random`]: random regions, changes and packets from one seed.
#![forbid(unsafe_code)]

pub mod balancer;
mod balancing;
mod connection;
mod gates;
pub mod random;
pub mod reading;
pub mod region;
mod told;
pub mod tuple;
mod way;
