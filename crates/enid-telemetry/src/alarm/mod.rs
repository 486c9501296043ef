//! Evaluating alarms: from the values of periods to a state. Pure: what time it is, and what the values
//! are, is told.

pub mod evaluate;
pub mod watch;
