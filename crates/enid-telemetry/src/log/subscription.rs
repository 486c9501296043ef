//! Subscription filters at work: matching events are sent on, over HTTP.
//!
//! AWS sends to Kinesis, Firehose and Lambda, which Enid does not have. Here a destination is an
//! `http://` URL, and what it gets is what a Lambda function would: a JSON document
//! `{"awslogs": {"data": …}}` whose data is Base64 of gzip of the message that AWS documents. An
//! answer of 2xx means that it was taken; what is not taken is sent again, later and later.
//!
//! Each filter has a queue and a thread of its own while it has something to send, so that a slow
//! destination delays nobody else.
// Limit: what has not been delivered when the daemon ends is not delivered.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enid_model::log_group::LogUid;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::destination::{Destination, DestinationError};
use super::event::Event;
use super::logs::{Stored, Watcher};
use super::pattern::FilterPattern;

/// The subscription filters of all groups.
#[derive(Clone, Default)]
pub struct Subscriptions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<HashMap<(LogUid, String), Queue>>,
    /// Something was queued, or sending shall stop.
    changed: Condvar,
    lost: AtomicU64,
}

/// What waits to be sent for one filter, by a thread that ends when there is nothing left.
struct Queue {
    waiting: VecDeque<Delivery>,
}

struct Delivery {
    destination: Destination,
    body: Vec<u8>,
}

impl Subscriptions {
    /// Sends a destination the message by which AWS finds out whether it is there. Blocks.
    pub fn probe(&self, destination: &Destination) -> Result<(), DestinationError> {
        let message = json!({
            "messageType": "CONTROL_MESSAGE",
            "owner": "CloudwatchLogs",
            "logGroup": "",
            "logStream": "",
            "subscriptionFilters": [],
            "logEvents": [{
                "id": "",
                "timestamp": 0,
                "message": "CWL CONTROL MESSAGE: Checking health of destination",
            }],
        });
        destination.post(&envelope(&message))
    }

    /// How many messages were given up because their queue was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn queue(&self, key: (LogUid, String), delivery: Delivery) {
        let mut queues = self.shared.queues();
        if let Some(queue) = queues.get_mut(&key) {
            if queue.waiting.len() >= WAITING_MAX {
                // The oldest goes, as on AWS, where a message is given up when it is a day old.
                queue.waiting.pop_front();
                let lost = self.shared.lost.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(filter = key.1, lost, "subscription's queue is full");
            }
            queue.waiting.push_back(delivery);
            return;
        }
        let waiting = VecDeque::from([delivery]);
        queues.insert(key.clone(), Queue { waiting });
        drop(queues);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("subscription".to_owned());
        if let Err(error) = thread.spawn({
            let key = key.clone();
            move || shared.send(&key)
        }) {
            tracing::error!(%error, "start a thread for a subscription");
            self.shared.queues().remove(&key);
        }
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, HashMap<(LogUid, String), Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits for a filter until nothing does.
    fn send(&self, key: &(LogUid, String)) {
        let mut pause = PAUSE_FIRST;
        loop {
            let next = {
                let mut queues = self.queues();
                let queue = queues.get_mut(key);
                match queue.and_then(|queue| queue.waiting.pop_front()) {
                    Some(next) => next,
                    None => {
                        queues.remove(key);
                        return;
                    }
                }
            };
            match next.destination.post(&next.body) {
                Ok(()) => pause = PAUSE_FIRST,
                Err(error) => {
                    tracing::debug!(filter = key.1, %error, "subscription not delivered");
                    let mut queues = self.queues();
                    // A reset, or the end of the filter, has emptied the queue.
                    let Some(queue) = queues.get_mut(key) else {
                        return;
                    };
                    queue.waiting.push_front(next);
                    let waited = self.changed.wait_timeout(queues, pause);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
        }
    }
}

impl Subscriptions {
    /// Gives up what waits for a filter: it is gone, or leads elsewhere.
    pub fn forget(&self, group: LogUid, filter: &str) {
        self.shared.queues().remove(&(group, filter.to_owned()));
        self.shared.changed.notify_all();
    }

    /// Gives up everything.
    pub fn clear(&self) {
        self.shared.queues().clear();
        self.shared.changed.notify_all();
    }
}

impl Watcher for Subscriptions {
    fn stored(&self, stored: &Stored<'_>) {
        for (name, filter) in &stored.group.subscription_filters {
            // What is kept has been checked when it was put.
            let (Ok(pattern), Ok(destination)) = (
                FilterPattern::parse(&filter.pattern),
                Destination::parse(&filter.destination),
            ) else {
                continue;
            };
            let events = stored.events.iter();
            let events: Vec<&Event> = events
                .filter(|event| pattern.matches(&event.message))
                .collect();
            if events.is_empty() {
                continue;
            }
            let body = envelope(&message(stored, name, &events));
            let delivery = Delivery { destination, body };
            self.queue((stored.group.uid, name.clone()), delivery);
        }
    }
}

fn message(stored: &Stored<'_>, filter: &str, events: &[&Event]) -> serde_json::Value {
    let events = events.iter().map(|event| {
        json!({
            "id": event.position.to_string(),
            "timestamp": event.position.time,
            "message": event.message,
        })
    });
    json!({
        "messageType": "DATA_MESSAGE",
        "owner": stored.scope.account.to_string(),
        "logGroup": stored.group_name,
        "logStream": stored.stream_name,
        "subscriptionFilters": [filter],
        "logEvents": events.collect::<Vec<_>>(),
    })
}

/// A message as a destination gets it.
fn envelope(message: &serde_json::Value) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let data = gzip
        .write_all(message.to_string().as_bytes())
        .and_then(|()| gzip.finish())
        .unwrap_or_default();
    let data = BASE64_STANDARD.encode(data);
    json!({"awslogs": {"data": data}}).to_string().into_bytes()
}

/// Messages that wait for one filter: each is of one call of PutLogEvents, 1 MiB of text at most.
const WAITING_MAX: usize = 256;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use enid_model::Tags;
    use enid_model::key::{AccountId, RegionName, Scope};
    use enid_model::log_group::{LogGroup, SubscriptionFilter};
    use enid_model::time::Timestamp;
    use flate2::read::GzDecoder;

    use super::*;
    use crate::log::destination::tests::answer_one;
    use crate::log::event::Position;

    fn message_in(body: &[u8]) -> serde_json::Value {
        let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let data = body["awslogs"]["data"].as_str().expect("data");
        let data = BASE64_STANDARD.decode(data).expect("Base64");
        let mut text = String::new();
        let read = GzDecoder::new(&data[..]).read_to_string(&mut text);
        read.expect("gzip");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn matching_events_are_sent_again_until_they_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/in", listener.local_addr().expect("an address"));
        let filter = SubscriptionFilter {
            pattern: "ERROR".to_owned(),
            destination: url,
            created_at: Timestamp(0),
        };
        let group = LogGroup {
            uid: LogUid(1),
            created_at: Timestamp(0),
            retention_days: None,
            is_protected: false,
            metric_filters: std::collections::BTreeMap::new(),
            subscription_filters: [("f".to_owned(), filter)].into(),
            tags: Tags::new(),
        };
        let event = |time, message: &str| Event {
            position: Position { time, arrival: 3 },
            stream: LogUid(2),
            ingested: Timestamp(9),
            message: message.to_owned(),
        };
        let subscriptions = Subscriptions::default();
        subscriptions.stored(&Stored {
            scope: &Scope {
                account: AccountId::DEFAULT,
                region: RegionName::new("eu-west-1"),
            },
            group_name: "g",
            group: &group,
            stream_name: "s",
            events: &[event(1, "fine"), event(2, "ERROR x")],
            now: Timestamp(9),
        });
        let refused = answer_one(&listener, "503 Service Unavailable");
        let taken = answer_one(&listener, "204 No Content");
        assert_eq!(refused, taken);
        let expected = json!({
            "messageType": "DATA_MESSAGE",
            "owner": "123456789012",
            "logGroup": "g",
            "logStream": "s",
            "subscriptionFilters": ["f"],
            "logEvents": [{
                "id": event(2, "").position.to_string(),
                "timestamp": 2,
                "message": "ERROR x",
            }],
        });
        assert_eq!(message_in(&taken), expected);
    }

    #[test]
    fn a_full_queue_gives_up_its_oldest() {
        let subscriptions = Subscriptions::default();
        let key = (LogUid(1), "f".to_owned());
        // As if a thread were sending for it.
        let waiting = VecDeque::new();
        subscriptions
            .shared
            .queues()
            .insert(key.clone(), Queue { waiting });
        for number in 0..=WAITING_MAX {
            let destination = Destination::parse("http://127.0.0.1:1/").expect("a URL");
            let body = number.to_string().into_bytes();
            subscriptions.queue(key.clone(), Delivery { destination, body });
        }
        assert_eq!(subscriptions.lost(), 1);
        let queues = subscriptions.shared.queues();
        let waiting = &queues[&key].waiting;
        assert_eq!(waiting.len(), WAITING_MAX);
        assert_eq!(waiting[0].body, b"1");
    }
}
