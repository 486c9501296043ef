//! Notifications: what is published to a topic of SNS reaches everyone who subscribed to it.
//!
//! A message is durable when [`Notifier::publish`] returns, and is delivered at least once to each
//! confirmed subscription whose filter policy wants it, with the retries of the delivery policy. A
//! subscription that ends meanwhile gets nothing any more, because every try looks at the region's state.
//!
//! The parts: [`message`] what is sent and signed; [`filter`] who wants it; `outbox` what is still to be
//! done; `courier` one try; [`http`] and [`mail`] the ways; [`reach`] where to; `signer` the key.
//!
//! Left to others: topics and subscriptions themselves (`enid-control`), and the API (`enid-api`).

mod certificate;
mod courier;
pub mod filter;
pub mod http;
pub mod mail;
pub mod message;
mod outbox;
mod outcome;
pub mod reach;
mod signer;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use enid_model::state::{RegionState, State};
use enid_model::subscription::{
    FilterPolicyScope, Subscription, SubscriptionArn, SubscriptionState,
};
use enid_model::time::{Clock, Timestamp};
use enid_model::topic::TopicArn;
use enid_model::uuid::Uuid;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify as Bell, OnceCell};
use tokio::time::timeout;

use self::courier::Courier;
use self::filter::FilterPolicy;
use self::http::{Client, EndpointError};
use self::mail::Relay;
use self::message::{Content, Message, MessageId, MessageKind};
use self::outbox::{Delivery, Limits, Note, Outbox};
use self::outcome::Outcome;
use self::target::Target;
use crate::store::{Store, StoreError, Write};

pub use self::message::subject;
pub use self::signer::SignError;

/// What alarms and other parts of the daemon publish through.
pub trait Notifier: Send + Sync {
    /// Publishes to a topic, as SNS's Publish does. The message is durable when this returns. Blocks for
    /// a write: from async code it belongs on a thread for blocking work. A subject must be one
    /// ([`subject`] makes one of any text).
    fn publish(
        &self,
        topic_arn: &str,
        subject: Option<&str>,
        message: &str,
    ) -> Result<MessageId, PublishError>;
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The text is no ARN of a topic.
    #[error("\"{0}\" is no ARN of a topic")]
    MalformedArn(Box<str>),
    /// There is no such topic.
    #[error("the topic {0} does not exist")]
    NotFound(Box<str>),
    /// The subject has line breaks, letters that are not ASCII, or too many.
    #[error("the subject is none")]
    Subject,
    /// More is waiting to be delivered than there is room for.
    #[error("the outbox is full")]
    Full,
    /// The message could not be made durable.
    #[error("store a message")]
    Store(#[from] StoreError),
}

/// Where the region's state comes from.
pub type States = Arc<dyn Fn() -> Arc<State> + Send + Sync>;

/// How notifications are delivered.
pub struct Config {
    /// Where the daemon can be asked, without a slash at the end: in every message.
    pub base_url: String,
    /// Sends requests.
    pub client: Client,
    /// Where mail goes, if anywhere.
    pub relay: Option<Relay>,
    /// The file of the signing key.
    pub key_file: PathBuf,
    /// What ids and the signing key are made from.
    pub seed: u64,
}

/// What became of messages since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Messages that were published.
    pub published: u64,
    /// Deliveries that a filter policy left out.
    pub filtered: u64,
    /// Deliveries that endpoints took.
    pub delivered: u64,
    /// Tries that failed and are followed by another.
    pub retried: u64,
    /// Deliveries that were given up.
    pub failed: u64,
}

#[derive(Default)]
struct Counters {
    published: AtomicU64,
    filtered: AtomicU64,
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
}

/// Notifications at work. A clone is the same.
#[derive(Clone)]
pub struct Notify(Arc<Inner>);

struct Inner {
    store: Store,
    states: States,
    clock: Arc<dyn Clock>,
    courier: Courier,
    random: Mutex<StdRng>,
    outbox: Mutex<Outbox>,
    /// Held for reading from before a note is written until the outbox holds what it says, and for
    /// writing while the whole outbox is written: a full note makes all others obsolete, so none may be
    /// on its way.
    journal: RwLock<()>,
    /// What is done, and not yet in a note.
    finished: Mutex<Note>,
    /// Bytes of notes since the last full one.
    noted: AtomicU64,
    /// When the last delivery to a subscription that is throttled began.
    starts: Mutex<HashMap<SubscriptionArn, Timestamp>>,
    counters: Counters,
    /// Something may be due.
    work: Bell,
    /// Something is finished.
    ends: Bell,
}

/// Who owns the notes in the telemetry store.
const OWNER: &str = "notify";
/// Bytes of notes after which all of the outbox is one note, unless the outbox itself is larger.
const NOTED_MAX: u64 = 4 << 20;
/// How long the loop sleeps at most. The clock may be set.
const NAP: Duration = Duration::from_secs(60);

impl Notify {
    /// Takes up what is still to be delivered by the notes of the store. Blocks.
    pub fn open(
        store: Store,
        states: States,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Self, StoreError> {
        let notes = store.notes(OWNER)?;
        let notes = notes.iter().filter_map(|bytes| {
            let note = serde_json::from_slice(bytes);
            note.inspect_err(|error| tracing::error!(%error, "a note of messages is unreadable"))
                .ok()
        });
        let outbox = Outbox::restore(Limits::default(), notes);
        if outbox.len() > 0 {
            tracing::info!(
                deliveries = outbox.len(),
                "messages are still to be delivered"
            );
        }
        let mut random = StdRng::seed_from_u64(config.seed);
        let courier = Courier {
            client: config.client,
            relay: config.relay,
            base_url: config.base_url,
            key_file: config.key_file,
            seed: random.next_u64(),
            signer: OnceCell::new(),
        };
        Ok(Self(Arc::new(Inner {
            store,
            states,
            clock,
            courier,
            random: Mutex::new(random),
            outbox: Mutex::new(outbox),
            journal: RwLock::new(()),
            finished: Mutex::new(Note::default()),
            noted: AtomicU64::new(0),
            starts: Mutex::new(HashMap::new()),
            counters: Counters::default(),
            work: Bell::new(),
            ends: Bell::new(),
        })))
    }

    /// Delivers, until the task is dropped.
    pub async fn run(self) {
        tokio::join!(self.deliver(), self.note_what_is_finished());
    }

    /// Publishes to a topic that is there: to all its confirmed subscriptions that want the message.
    /// Blocks.
    pub fn publish_content(
        &self,
        arn: &TopicArn,
        content: Content,
    ) -> Result<MessageId, PublishError> {
        self.publish_as(None, arn, content)
    }

    /// The same of a message that has an id, for somebody who does not know after a crash whether it was
    /// published: one that was is not published again. Blocks.
    pub fn publish_once(
        &self,
        id: MessageId,
        arn: &TopicArn,
        content: Content,
    ) -> Result<(), PublishError> {
        let is_known = lock(&self.0.outbox).is_known(id);
        match is_known {
            true => Ok(()),
            false => self.publish_as(Some(id), arn, content).map(drop),
        }
    }

    fn publish_as(
        &self,
        id: Option<MessageId>,
        arn: &TopicArn,
        content: Content,
    ) -> Result<MessageId, PublishError> {
        let inner = &self.0;
        let state = (inner.states)();
        let region = state.region(&arn.scope);
        let region = region.filter(|region| region.topics.contains_key(&*arn.name));
        let missing = || PublishError::NotFound(arn.to_string().into());
        let region = region.ok_or_else(missing)?;
        let to = self.recipients(region, arn, &content);
        let id = self.post(id, MessageKind::Notification, content, &to)?;
        inner.counters.published.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Asks an endpoint whether it wants its subscription. Blocks.
    pub fn ask_for_confirmation(
        &self,
        arn: &SubscriptionArn,
        subscription: &Subscription,
    ) -> Result<MessageId, PublishError> {
        let token = subscription.token.clone();
        let kind = MessageKind::SubscriptionConfirmation { token };
        self.post(None, kind, Content::default(), std::slice::from_ref(arn))
    }

    /// Tells an endpoint that its subscription has ended, and how it is restored. Blocks.
    pub fn tell_of_end(
        &self,
        arn: &SubscriptionArn,
        subscription: &Subscription,
    ) -> Result<MessageId, PublishError> {
        let token = subscription.token.clone();
        let kind = MessageKind::UnsubscribeConfirmation { token };
        self.post(None, kind, Content::default(), std::slice::from_ref(arn))
    }

    /// Whether a URL may be subscribed.
    pub async fn admit(&self, url: &str) -> Result<(), EndpointError> {
        self.0.courier.client.admit(url).await
    }

    /// Whether there is a relay for mail.
    #[must_use]
    pub fn has_relay(&self) -> bool {
        self.0.courier.relay.is_some()
    }

    /// The certificate of the signing key, in PEM, if that is its file's name.
    pub async fn certificate(&self, name: &str) -> Result<Option<String>, SignError> {
        let signer = self.0.courier.signer().await?;
        Ok((signer.certificate_name() == name).then(|| signer.certificate().to_owned()))
    }

    /// What became of messages since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            published: read(&counters.published),
            filtered: read(&counters.filtered),
            delivered: read(&counters.delivered),
            retried: read(&counters.retried),
            failed: read(&counters.failed),
        }
    }

    /// The confirmed subscriptions of a topic that want a message.
    fn recipients(
        &self,
        region: &RegionState,
        arn: &TopicArn,
        content: &Content,
    ) -> Vec<SubscriptionArn> {
        let mut to = Vec::new();
        for (id, subscription) in region.subscriptions_of_topic(&arn.name) {
            if !matches!(subscription.state, SubscriptionState::Confirmed { .. }) {
                continue;
            }
            if !wants(subscription, content) {
                self.0.counters.filtered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            to.push(SubscriptionArn {
                topic: arn.clone(),
                id,
            });
        }
        to
    }

    /// Makes a message durable, then queues it. One with an id of its own is not taken again.
    fn post(
        &self,
        own: Option<MessageId>,
        kind: MessageKind,
        content: Content,
        to: &[SubscriptionArn],
    ) -> Result<MessageId, PublishError> {
        let inner = &self.0;
        let now = inner.clock.now();
        let id = own.unwrap_or_else(|| {
            let mut random = lock(&inner.random);
            Uuid::from_random(random.next_u64(), random.next_u64())
        });
        if to.is_empty() {
            return Ok(id);
        }
        let message = Arc::new(Message {
            id,
            kind,
            at: now,
            content,
        });
        let _journal = inner.journal.read().unwrap_or_else(PoisonError::into_inner);
        let posted = lock(&inner.outbox).prepare(message, own.is_some(), to, now);
        let posted = posted.map_err(|_full| PublishError::Full)?;
        let note = Note {
            posted: vec![posted],
            ..Note::default()
        };
        inner.append(&note, false)?;
        let mut outbox = lock(&inner.outbox);
        for posted in &note.posted {
            outbox.put(posted);
        }
        inner.work.notify_one();
        Ok(id)
    }

    /// Starts what is due, and sleeps until something is.
    async fn deliver(&self) {
        loop {
            let now = self.0.clock.now();
            while let Some(delivery) = self.take(now) {
                let (this, delivery) = delivery;
                tokio::spawn(async move { this.attempt(delivery).await });
            }
            let next = lock(&self.0.outbox).next_due();
            let wait = next.map_or(NAP, |next| {
                let ms = next.0.saturating_sub(now.0);
                // What is due and was not taken waits for one of those under way to end.
                match u64::try_from(ms) {
                    Ok(ms) if ms > 0 => NAP.min(Duration::from_millis(ms)),
                    _ => NAP,
                }
            });
            // Either way there is something to look at.
            let _ = timeout(wait, self.0.work.notified()).await;
        }
    }

    fn take(&self, now: Timestamp) -> Option<(Self, Delivery)> {
        let delivery = lock(&self.0.outbox).take(now)?;
        Some((self.clone(), delivery))
    }

    async fn attempt(self, delivery: Delivery) {
        let inner = &self.0;
        let state = (inner.states)();
        let target = Target::of(&state, &delivery.subscription, &delivery.message.kind);
        let Some(target) = target else {
            tracing::debug!(subscription = %delivery.subscription, "nobody to deliver to any more");
            return self.finish(&delivery);
        };
        if let Some(at) = self.throttled(&delivery, &target) {
            lock(&inner.outbox).again(&delivery, delivery.tries, at);
            return inner.work.notify_one();
        }
        let outcome = inner.courier.send(&delivery, &target).await;
        let why = match outcome {
            Outcome::Delivered => {
                inner.counters.delivered.fetch_add(1, Ordering::Relaxed);
                return self.finish(&delivery);
            }
            Outcome::Refused(why) => {
                self.give_up(&delivery, why);
                return self.finish(&delivery);
            }
            Outcome::Failed(why) => why,
        };
        let Some(delay) = target.retries.delay_ms(delivery.tries) else {
            self.give_up(&delivery, why);
            return self.finish(&delivery);
        };
        let delay = jittered(delay, lock(&inner.random).next_u64());
        inner.counters.retried.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(subscription = %delivery.subscription, why, delay, "a delivery is tried again");
        let at = Timestamp(inner.clock.now().0.saturating_add(delay));
        let tries = delivery.tries.saturating_add(1);
        lock(&inner.outbox).again(&delivery, tries, at);
        lock(&inner.finished).failed.push((delivery.id, tries, at));
        inner.ends.notify_one();
        inner.work.notify_one();
    }

    /// When a delivery to a subscription that is throttled may be tried, if that is not now.
    fn throttled(&self, delivery: &Delivery, target: &Target) -> Option<Timestamp> {
        let per_second = target.receives_per_second?;
        let apart = 1000 / i64::from(per_second.max(1));
        let now = self.0.clock.now();
        let mut starts = lock(&self.0.starts);
        starts.retain(|_, at| at.0.saturating_add(THROTTLE_MEMORY_MS) > now.0);
        let next = match starts.get(&delivery.subscription) {
            Some(last) => Timestamp(last.0.saturating_add(apart)),
            None => now,
        };
        if next > now {
            return Some(next);
        }
        starts.insert(delivery.subscription.clone(), now);
        None
    }

    fn give_up(&self, delivery: &Delivery, why: &'static str) {
        self.0.counters.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            subscription = %delivery.subscription,
            message = %delivery.message.id,
            tries = delivery.tries + 1,
            why,
            "a delivery was given up"
        );
    }

    fn finish(&self, delivery: &Delivery) {
        lock(&self.0.outbox).done(delivery);
        lock(&self.0.finished).done.push(delivery.id);
        self.0.ends.notify_one();
        self.0.work.notify_one();
    }

    /// What is finished is noted together with all that has been meanwhile.
    async fn note_what_is_finished(&self) {
        loop {
            self.0.ends.notified().await;
            let note = std::mem::take(&mut *lock(&self.0.finished));
            if note.is_empty() {
                continue;
            }
            let inner = Arc::clone(&self.0);
            let noted = tokio::task::spawn_blocking(move || inner.note(&note)).await;
            if let Ok(Err(error)) = noted {
                // After a restart these are delivered again.
                tracing::warn!(%error, "what was delivered could not be noted");
            }
        }
    }
}

/// A throttle of less than one in this time cannot be set.
const THROTTLE_MEMORY_MS: i64 = 2_000;

impl Inner {
    fn append(&self, note: &Note, is_full: bool) -> Result<(), StoreError> {
        // Unwrap: a note has no map with keys that are not text, and its parts serialize.
        let bytes = serde_json::to_vec(note).expect("notes serialize");
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.store
            .append(Write::new().note(OWNER, is_full, bytes))?;
        match is_full {
            true => self.noted.store(0, Ordering::Relaxed),
            false => {
                self.noted.fetch_add(length, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Notes what is finished; now and then everything instead.
    fn note(&self, note: &Note) -> Result<(), StoreError> {
        let live = u64::try_from(lock(&self.outbox).bytes()).unwrap_or(u64::MAX);
        if self.noted.load(Ordering::Relaxed) < NOTED_MAX.max(live.saturating_mul(2)) {
            return self.append(note, false);
        }
        let _journal = self.journal.write().unwrap_or_else(PoisonError::into_inner);
        let full = lock(&self.outbox).full_note();
        self.append(&full, true)
    }
}

impl Notifier for Notify {
    fn publish(
        &self,
        topic_arn: &str,
        subject: Option<&str>,
        message: &str,
    ) -> Result<MessageId, PublishError> {
        let arn = TopicArn::parse(topic_arn);
        let arn = arn.ok_or_else(|| PublishError::MalformedArn(topic_arn.into()))?;
        if subject.is_some_and(|subject| !message::is_subject(subject)) {
            return Err(PublishError::Subject);
        }
        let content = Content {
            subject: subject.map(str::to_owned),
            text: message.to_owned(),
            ..Content::default()
        };
        self.publish_content(&arn, content)
    }
}

/// Whether a subscription's filter policy wants a message.
fn wants(subscription: &Subscription, content: &Content) -> bool {
    let Some(text) = &subscription.filter_policy else {
        return true;
    };
    let policy = match FilterPolicy::parse(text) {
        Ok(policy) => policy,
        // It was checked before it was stored; a newer version may know more words.
        Err(error) => {
            tracing::error!(%error, "a stored filter policy is unreadable");
            return false;
        }
    };
    match subscription.filter_policy_scope.unwrap_or_default() {
        FilterPolicyScope::MessageAttributes => policy.matches_attributes(&content.attributes),
        FilterPolicyScope::MessageBody => {
            policy.matches_body(content.text_for(subscription.protocol))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A delay from its half on: what failed together is not all tried again in the same moment. SNS applies
/// jitter as the AWS Architecture Blog has it ("Exponential Backoff And Jitter") and does not say which; this is
/// the blog's "equal jitter", which never adds to what a policy may take in all.
/// Source: the SNS Developer Guide, "Amazon SNS message delivery retries".
fn jittered(delay_ms: i64, random: u64) -> i64 {
    let half = delay_ms.max(0) / 2;
    let less = random % (half.unsigned_abs() + 1);
    delay_ms - i64::try_from(less).unwrap_or(half)
}
