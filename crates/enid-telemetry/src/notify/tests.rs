//! The parts together: what is published is durable, and is delivered by the clock.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;

use enid_model::key::{AccountId, Key, Kind, RegionName, Scope};
use enid_model::record::Record;
use enid_model::state::Revision;
use enid_model::subscription::{Protocol, subscription_key};
use enid_model::topic::Topic;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::reach::Reach;
use super::*;
use crate::store::Options;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:a";

#[derive(Default)]
struct Simulated(AtomicI64);

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn id() -> Uuid {
    Uuid::from_random(7, 7)
}

/// A region with a topic and a confirmed subscription to it.
fn state(endpoint: &str, filter_policy: Option<&str>) -> Arc<State> {
    let scope = Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    };
    let mut state = State::default();
    let mut put = |kind, name: String, record| {
        let key = Key {
            scope: scope.clone(),
            kind,
            name: name.into(),
        };
        state.apply(Revision(1), &key, Some(record));
    };
    let topic = Topic {
        uid: id(),
        display_name: String::new(),
        delivery_policy: None,
        signature_version: None,
        created_at: Timestamp(0),
        tags: BTreeMap::new(),
    };
    put(Kind::Topic, "a".to_owned(), Record::Topic(topic));
    let subscription = Subscription {
        protocol: Protocol::Http,
        endpoint: endpoint.to_owned(),
        state: SubscriptionState::Confirmed {
            was_authenticated: false,
        },
        token: "token".to_owned(),
        principal: String::new(),
        needs_authentication: false,
        // Bare messages need no key, which takes its time to make.
        is_raw: true,
        filter_policy: filter_policy.map(str::to_owned),
        filter_policy_scope: None,
        delivery_policy: None,
        since: Timestamp(0),
    };
    let key = subscription_key("a", id());
    put(Kind::Subscription, key, Record::Subscription(subscription));
    Arc::new(state)
}

fn open(directory: &std::path::Path, clock: &Arc<Simulated>, state: &Arc<State>) -> Notify {
    let (clock, state) = (Arc::clone(clock), Arc::clone(state));
    let options = Options::new(directory.to_owned());
    let store = Store::open(options, Vec::new(), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let own = "127.0.0.1:1".parse().unwrap();
    let config = Config {
        base_url: "http://127.0.0.1:1".to_owned(),
        client: Client::new(Reach::new(Reach::loopback(), own), Vec::new()),
        relay: None,
        key_file: directory.join("key.pem"),
        seed: 1,
    };
    Notify::open(store, Arc::new(move || Arc::clone(&state)), clock, config).unwrap()
}

fn waiting(notify: &Notify) -> usize {
    lock(&notify.0.outbox).len()
}

#[test]
fn what_was_taken_is_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Simulated::default());
    let state = state("http://127.0.0.1:2/", None);
    let first = open(directory.path(), &clock, &state);
    first.publish(TOPIC, Some("subject"), "one").unwrap();
    first.publish(TOPIC, None, "two").unwrap();
    assert_eq!(waiting(&first), 2);
    drop(first);
    let second = open(directory.path(), &clock, &state);
    assert_eq!(waiting(&second), 2);
    let taken = lock(&second.0.outbox).take(Timestamp(0)).unwrap();
    assert_eq!(taken.message.content.text, "one");
    let note = Note {
        done: vec![taken.id],
        ..Note::default()
    };
    second.0.note(&note).unwrap();
    // A note of everything says the same as all that came before it.
    second.finish(&taken);
    second.0.noted.store(u64::MAX, Ordering::Relaxed);
    second.0.note(&Note::default()).unwrap();
    drop(second);
    let third = open(directory.path(), &clock, &state);
    let left = lock(&third.0.outbox).take(Timestamp(0)).unwrap();
    assert_eq!((waiting(&third), &*left.message.content.text), (1, "two"));
}

#[test]
fn what_has_an_id_is_taken_once_whatever_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Simulated::default());
    let state = state("http://127.0.0.1:2/", None);
    let topic = TopicArn::parse(TOPIC).unwrap();
    let publish = |notify: &Notify, id: MessageId| {
        let content = Content {
            text: "alarm".to_owned(),
            ..Content::default()
        };
        notify.publish_once(id, &topic, content).unwrap();
    };
    let (one, other) = (Uuid::from_random(1, 1), Uuid::from_random(2, 2));
    let first = open(directory.path(), &clock, &state);
    publish(&first, one);
    publish(&first, one);
    assert_eq!(waiting(&first), 1);
    drop(first);
    let second = open(directory.path(), &clock, &state);
    publish(&second, one);
    publish(&second, other);
    assert_eq!(waiting(&second), 2);
    let taken = lock(&second.0.outbox).take(Timestamp(0)).unwrap();
    assert_eq!(taken.message.id, one);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Simulated::default());
    let policy = r#"{"kind":["alarm"]}"#;
    let notify = open(
        directory.path(),
        &clock,
        &state("http://127.0.0.1:2/", Some(policy)),
    );
    let refused = |arn: &str, subject: Option<&str>| notify.publish(arn, subject, "m").unwrap_err();
    assert!(matches!(refused("a", None), PublishError::MalformedArn(_)));
    let other = format!("{TOPIC}b");
    assert!(matches!(refused(&other, None), PublishError::NotFound(_)));
    assert!(matches!(
        refused(TOPIC, Some("a\nb")),
        PublishError::Subject
    ));
    // Nobody wants it, which is no error.
    notify.publish(TOPIC, None, "m").unwrap();
    assert_eq!(waiting(&notify), 0);
    let stats = notify.stats();
    assert_eq!((stats.published, stats.filtered), (1, 1));
}

/// An endpoint that fails for ever, and what tells of each request.
async fn failing() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let answer = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer).await;
            tell.send(()).unwrap();
        }
    });
    (url, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_go_by_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Simulated::default());
    let (url, mut told) = failing().await;
    let (path, ticking) = (directory.path().to_owned(), Arc::clone(&clock));
    let opening = move || open(&path, &ticking, &state(&url, None));
    // Opening the store blocks.
    let notify = tokio::task::spawn_blocking(opening).await.unwrap();
    let running = tokio::spawn(notify.clone().run());
    let publishing = notify.clone();
    let publish = move || publishing.publish(TOPIC, None, "m").map(|_id| ());
    tokio::task::spawn_blocking(publish).await.unwrap().unwrap();
    told.recv().await.unwrap();
    let mut last = Timestamp(0);
    for round in 1..=3 {
        // Until the failure has been taken in, the next try is not known.
        let due = loop {
            let due = lock(&notify.0.outbox).next_due();
            if let Some(due) = due.filter(|due| *due > last) {
                break due;
            }
            tokio::task::yield_now().await;
        };
        let delay = due.0 - last.0;
        assert!(
            (10_000..=20_000).contains(&delay),
            "{delay} in round {round}"
        );
        clock.0.store(due.0 - 1, Ordering::Relaxed);
        notify.0.work.notify_one();
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err(), "too early in round {round}");
        clock.0.store(due.0, Ordering::Relaxed);
        notify.0.work.notify_one();
        told.recv().await.unwrap();
        last = due;
    }
    // Three retries are all that AWS's own policy has.
    while waiting(&notify) > 0 {
        tokio::task::yield_now().await;
    }
    let stats = notify.stats();
    assert_eq!((stats.retried, stats.failed, stats.delivered), (3, 1, 0));
    running.abort();
}

#[test]
fn delays_are_spread_over_their_second_half() {
    assert_eq!((jittered(0, 7), jittered(1, 7)), (0, 1));
    assert_eq!(
        (jittered(20_000, 0), jittered(20_000, 10_000)),
        (20_000, 10_000)
    );
    for random in [1, 77, u64::MAX] {
        assert!((10_000..=20_000).contains(&jittered(20_000, random)));
    }
}
