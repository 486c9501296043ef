//! CloudWatch Logs: what log events are, how they are chosen, and what becomes of them.

pub mod batch;
pub mod pattern;
