//! Metrics: datapoints by namespace, name and dimensions, kept by the second, minute, five minutes and
//! hour as CloudWatch does, their statistics, and expressions over them.

pub mod aggregate;
pub mod database;
pub mod datum;
pub mod identity;
mod known;
pub mod level;
pub mod query;
pub mod rows;
pub mod statistic;
pub mod stored;
pub mod unit;

pub use stored::kinds;
