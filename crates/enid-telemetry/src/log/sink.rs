//! Events that services of the region log: flow logs, and the consoles of instances.
//!
//! Whoever logs has a cursor of its own, which it appends to the store together with the events; so
//! an event is logged once, whatever ends when. What follows from an event, its filters and counts,
//! is told afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::key::{AccountId, RegionName, Scope};
use enid_model::log_group::{LogGroup, LogPlace};
use enid_model::time::Timestamp;

use super::batch::InputEvent;
use super::logs::{Logs, Target};
use crate::flow::sink::{LogDelivery, LogSink, LogSinkError};
use crate::store::Write;

/// Where log groups are found, and made.
pub trait Directory: Send + Sync {
    /// A stream and its group as it is now; both are made if they are missing. Blocks.
    fn find(
        &self,
        account: AccountId,
        region: &RegionName,
        group: &str,
        stream: &str,
    ) -> Result<(Arc<LogGroup>, LogPlace), LogSinkError>;
}

/// Logs for services of the region.
pub struct ServiceLogs {
    logs: Arc<Logs>,
    directory: Arc<dyn Directory>,
    /// What has been prepared and may be in the store, and since when.
    prepared: Mutex<HashMap<LogPlace, Timestamp>>,
}

impl ServiceLogs {
    /// Logs in these groups.
    #[must_use]
    pub fn new(logs: Arc<Logs>, directory: Arc<dyn Directory>) -> Self {
        Self {
            logs,
            directory,
            prepared: Mutex::default(),
        }
    }

    fn find(&self, delivery: &LogDelivery) -> Result<(Arc<LogGroup>, LogPlace), LogSinkError> {
        let LogDelivery {
            account,
            region,
            group,
            stream,
            ..
        } = delivery;
        self.directory.find(*account, region, group, stream)
    }
}

impl LogSink for ServiceLogs {
    fn prepare(&self, delivery: &LogDelivery) -> Result<Write, LogSinkError> {
        let (_, place) = self.find(delivery)?;
        let now = self.logs.now();
        let events = delivery.events.iter().map(|(at, message)| InputEvent {
            at: *at,
            message: message.clone(),
        });
        let events: Vec<InputEvent> = events.collect();
        let write = self.logs.prepare(place, &events, now);
        let write = write.map_err(|error| {
            tracing::error!(%error, "events of a service cannot be stored");
            LogSinkError::Unknown
        })?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.entry(place).or_insert(now);
        Ok(write)
    }

    fn stored(&self, delivery: &LogDelivery) {
        let Ok((group, place)) = self.find(delivery) else {
            return;
        };
        let since = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.remove(&place)
        };
        let times = delivery.events.iter().map(|(at, _)| *at);
        let span = times.clone().min().zip(times.max());
        let (Some(since), Some((first, last))) = (since, span) else {
            return;
        };
        let scope = Scope {
            account: delivery.account,
            region: delivery.region.clone(),
        };
        let target = Target {
            scope: &scope,
            group_name: &delivery.group,
            group: &group,
            stream_name: &delivery.stream,
            stream: place.stream,
        };
        if let Err(error) = self.logs.tell_stored(target, first, last, since) {
            tracing::error!(%error, "filters have not seen what a service logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use enid_model::Tags;
    use enid_model::log_group::LogUid;
    use enid_model::time::Clock;

    use super::*;
    use crate::log::event::Event;
    use crate::log::logs::{Stored, Watcher};
    use crate::log::page::{Bounds, Direction};
    use crate::store::{Options, Store};

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(1_767_323_045_000)
        }
    }

    struct OneGroup(Arc<LogGroup>);

    impl Directory for OneGroup {
        fn find(
            &self,
            _account: AccountId,
            _region: &RegionName,
            group: &str,
            _stream: &str,
        ) -> Result<(Arc<LogGroup>, LogPlace), LogSinkError> {
            let stream = LogUid(2);
            match group {
                "g" => Ok((
                    Arc::clone(&self.0),
                    LogPlace {
                        group: self.0.uid,
                        stream,
                    },
                )),
                _ => Err(LogSinkError::AccessError),
            }
        }
    }

    #[derive(Default)]
    struct Seen(Mutex<Vec<Event>>);

    impl Watcher for Seen {
        fn stored(&self, stored: &Stored<'_>) {
            let mut seen = self.0.lock().expect("no panic before");
            seen.extend_from_slice(stored.events);
        }
    }

    #[test]
    fn what_is_prepared_is_told_once_it_is_stored() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock: Arc<dyn Clock> = Arc::new(Noon);
        let options = Options::new(directory.path().to_owned());
        let store = Store::open(options, crate::kinds(), Arc::clone(&clock)).expect("a store");
        let logs = Arc::new(Logs::new(store.clone(), clock));
        let seen = Arc::new(Seen::default());
        logs.watch(Arc::clone(&seen) as Arc<dyn Watcher>);
        let group = Arc::new(LogGroup {
            uid: LogUid(1),
            created_at: Noon.now(),
            retention_days: None,
            is_protected: false,
            metric_filters: std::collections::BTreeMap::new(),
            subscription_filters: std::collections::BTreeMap::new(),
            tags: Tags::new(),
        });
        let groups = Arc::new(OneGroup(Arc::clone(&group)));
        let service = ServiceLogs::new(Arc::clone(&logs), groups);
        let delivery = |group: &str, texts: &[&str]| LogDelivery {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
            group: group.to_owned(),
            stream: "s".to_owned(),
            events: texts
                .iter()
                .map(|text| (Noon.now(), (*text).to_owned()))
                .collect(),
        };
        let refused = service.prepare(&delivery("other", &["x"])).err();
        assert_eq!(refused, Some(LogSinkError::AccessError));
        for texts in [&["a", "b"][..], &["c"]] {
            let delivery = delivery("g", texts);
            let write = service.prepare(&delivery).expect("a write");
            store.append(write).expect("stored");
            service.stored(&delivery);
        }
        let span = logs.span(&group, [LogUid(2)], None, None);
        let bounds = Bounds {
            direction: Direction::Forward,
            position: None,
            limit: 9,
        };
        let page = logs.page(&span, bounds, |_| true).expect("a page");
        let texts: Vec<_> = page.events.iter().map(|event| &*event.message).collect();
        assert_eq!(texts, ["a", "b", "c"]);
        // With the ids that the events have for those who read them.
        assert_eq!(*seen.0.lock().expect("no panic"), page.events);
        let counts = logs.stream_counts(&group, &[LogUid(2)]).expect("counts");
        assert_eq!(counts[&LogUid(2)].bytes, 3 * 27);
    }
}
