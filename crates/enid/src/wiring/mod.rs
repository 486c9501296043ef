//! What connects crates that do not know each other: the store with the host's agent, and both
//! with the daemon's own interface.

pub(crate) mod access_logs;
pub(crate) mod address_usage;
pub(crate) mod admin;
pub(crate) mod alarm_actions;
pub(crate) mod alarms;
pub(crate) mod capture;
pub(crate) mod certificates;
pub(crate) mod console;
pub(crate) mod console_logs;
pub(crate) mod drain;
pub(crate) mod faults;
pub(crate) mod flow_logs;
pub(crate) mod host;
pub(crate) mod log_groups;
pub(crate) mod metrics;
pub(crate) mod socket;
pub(crate) mod targets;
pub(crate) mod telemetry;
