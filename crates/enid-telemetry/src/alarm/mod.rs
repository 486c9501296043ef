//! Evaluating alarms: from the values of periods to a state. Pure: what time it is, and what the values
//! are, is told.

pub mod evaluate;
mod reason;
pub mod watch;
