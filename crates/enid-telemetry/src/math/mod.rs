//! Metric math: expressions over metrics, and searches for them.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>
//!
//! An expression is parsed whole before anything is read ([`parse`]), and evaluated without looking at
//! a clock or a store: what it refers to comes from a [`evaluate::Source`].

pub mod evaluate;
mod function;
pub mod parse;
pub mod search;
pub mod value;
