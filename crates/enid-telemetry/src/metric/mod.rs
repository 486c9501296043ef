//! Metrics.

pub mod aggregate;
pub mod identity;
pub mod statistic;
pub mod unit;
