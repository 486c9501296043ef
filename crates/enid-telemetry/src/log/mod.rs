//! CloudWatch Logs: what log events are, how they are chosen, and what becomes of them.
//!
//! Groups, streams and filters are region state; events are rows of the telemetry store, by the
//! uids of their group and stream. A call of PutLogEvents goes through [`batch`] into [`logs`];
//! reading goes by [`page`]s. [`metric`] makes datapoints of events, [`subscription`] sends them on.

pub mod batch;
pub mod destination;
pub mod event;
pub mod logs;
pub mod metric;
pub mod page;
pub mod pattern;
pub mod query;
pub mod sink;
pub mod subscription;
pub mod tail;
pub mod token;

use crate::store::Kind;

/// What the store has to know of log events.
#[must_use]
pub fn kind() -> Kind {
    Kind::new(event::KIND, event::columns(), event::RETENTION)
}
