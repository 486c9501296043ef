//! Pure functions: region state to the tables that one host's datapath needs.
//!
//! A [`Planner`] holds one host's plan: kernel tables, devices and instances. It takes states and
//! says what differs. No I/O, no time, no randomness: equal states give equal plans.

#![forbid(unsafe_code)]

pub mod allowance;
mod concern;
pub mod fault;
mod fragment;
pub mod gate;
mod instances;
pub mod maglev;
mod planner;
pub mod proxied;
pub mod tables;
pub mod target_health;

pub use fragment::{PublicPools, resolver_of};
pub use instances::{DeviceSpec, InstanceSpec, NodeSpec, router_mac};
pub use planner::{Delta, Planner};
