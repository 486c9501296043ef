//! What is still to be delivered, and when it is tried next.
//!
//! Everything is here in memory and in the notes of the telemetry store. A message is in a note before
//! it is taken, and what is done with a delivery is in one afterwards: a crash in between delivers it
//! again, and never not at all.
//!
//! Invariants: the bytes of messages and the number of deliveries have bounds; every delivery is either
//! queued for a time or under way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use enid_model::subscription::SubscriptionArn;
use enid_model::time::Timestamp;
use enid_model::uuid::Uuid;
use serde::{Deserialize, Serialize};

use super::message::Message;

/// A message that one subscriber is to get.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// Its number, which grows.
    pub(super) id: u64,
    /// The message.
    pub(super) message: Arc<Message>,
    /// Who is to get it.
    pub(super) subscription: SubscriptionArn,
    /// How many tries failed.
    pub(super) tries: u32,
}

/// A message with its subscribers, as a note holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Posted {
    message: Arc<Message>,
    /// Whether whoever published it may do so again, and it is not to be taken twice.
    #[serde(default)]
    once: bool,
    /// Numbers, subscriptions, tries that failed, and when the next is.
    to: Vec<(u64, String, u32, Timestamp)>,
}

/// A note.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    /// Messages that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) posted: Vec<Posted>,
    /// Deliveries that are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) done: Vec<u64>,
    /// Deliveries that failed, with how often, and when the next try is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<(u64, u32, Timestamp)>,
    /// Of a note of everything: messages that are not to be taken again.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) known: VecDeque<Uuid>,
}

impl Note {
    pub(super) fn is_empty(&self) -> bool {
        self.posted.is_empty() && self.done.is_empty() && self.failed.is_empty()
    }
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What is still to be delivered.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: Limits,
    next_id: u64,
    /// All of it, by number.
    deliveries: BTreeMap<u64, (Delivery, Timestamp)>,
    /// What waits, by the time of its next try.
    queue: BTreeSet<(Timestamp, u64)>,
    /// How many deliveries to one subscription are under way.
    under_way: HashMap<SubscriptionArn, usize>,
    /// How many deliveries each message still has, by its first delivery's message id.
    bytes: usize,
    holders: HashMap<Uuid, (usize, usize)>,
    /// The latest messages that are not to be taken again, oldest first.
    known: VecDeque<Uuid>,
}

/// Messages that are known not to be taken again. Whoever publishes one again does so after a crash.
const KNOWN_MAX: usize = 4096;

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of messages.
    pub(super) bytes: usize,
    /// Deliveries.
    pub(super) deliveries: usize,
    /// Deliveries under way at a time.
    pub(super) at_once: usize,
    /// Of them to one subscription: a slow endpoint does not hold up others.
    pub(super) at_once_to_one: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            deliveries: 100_000,
            at_once: 64,
            at_once_to_one: 8,
        }
    }
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_id: 1,
            deliveries: BTreeMap::new(),
            queue: BTreeSet::new(),
            under_way: HashMap::new(),
            bytes: 0,
            holders: HashMap::new(),
            known: VecDeque::new(),
        }
    }

    /// What notes say, oldest first.
    pub(super) fn restore(limits: Limits, notes: impl IntoIterator<Item = Note>) -> Self {
        let mut outbox = Self::new(limits);
        for note in notes {
            outbox.known.extend(note.known);
            for posted in note.posted {
                outbox.put(&posted);
            }
            for id in note.done {
                outbox.remove(id);
            }
            for (id, tries, at) in note.failed {
                outbox.queue_again(id, tries, at);
            }
        }
        outbox
    }

    /// Makes room for a message to some subscriptions. Nothing is queued before [`Self::put`].
    pub(super) fn prepare(
        &mut self,
        message: Arc<Message>,
        once: bool,
        to: &[SubscriptionArn],
        now: Timestamp,
    ) -> Result<Posted, Full> {
        let bytes = self.bytes.saturating_add(message.size());
        let count = self.deliveries.len().saturating_add(to.len());
        if bytes > self.limits.bytes || count > self.limits.deliveries {
            return Err(Full);
        }
        let to = to.iter().map(|subscription| {
            let id = self.next_id;
            self.next_id += 1;
            (id, subscription.to_string(), 0, now)
        });
        let to = to.collect();
        Ok(Posted { message, once, to })
    }

    /// Queues a message that is durable.
    pub(super) fn put(&mut self, posted: &Posted) {
        if posted.once && !self.is_known(posted.message.id) {
            self.known.push_back(posted.message.id);
            if self.known.len() > KNOWN_MAX {
                self.known.pop_front();
            }
        }
        let mut count = 0;
        for (id, subscription, tries, at) in &posted.to {
            self.next_id = self.next_id.max(id + 1);
            let Some(subscription) = SubscriptionArn::parse(subscription) else {
                continue;
            };
            let delivery = Delivery {
                id: *id,
                message: Arc::clone(&posted.message),
                subscription,
                tries: *tries,
            };
            if self.deliveries.insert(*id, (delivery, *at)).is_none() {
                count += 1;
            }
            self.queue.insert((*at, *id));
        }
        if count > 0 {
            let size = posted.message.size();
            let holder = self.holders.entry(posted.message.id).or_insert((0, size));
            if holder.0 == 0 {
                self.bytes += size;
            }
            holder.0 += count;
        }
    }

    /// Whether a message is not to be taken again.
    pub(super) fn is_known(&self, id: Uuid) -> bool {
        self.known.contains(&id)
    }

    /// The next delivery that is due and may be under way now.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Delivery> {
        let under_way: usize = self.under_way.values().sum();
        if under_way >= self.limits.at_once {
            return None;
        }
        let due = self.queue.range(..=(now, u64::MAX));
        let free = due.copied().find(|(_, id)| {
            let delivery = self.deliveries.get(id);
            let to_one = delivery.and_then(|(own, _)| self.under_way.get(&own.subscription));
            to_one.copied().unwrap_or_default() < self.limits.at_once_to_one
        });
        let (at, id) = free?;
        self.queue.remove(&(at, id));
        let (delivery, _) = self.deliveries.get(&id)?;
        *self
            .under_way
            .entry(delivery.subscription.clone())
            .or_default() += 1;
        Some(delivery.clone())
    }

    /// A delivery that was taken is done, one way or the other.
    pub(super) fn done(&mut self, delivery: &Delivery) {
        self.landed(delivery);
        self.remove(delivery.id);
    }

    /// A delivery that was taken is tried again at a time, after so many failures.
    pub(super) fn again(&mut self, delivery: &Delivery, tries: u32, at: Timestamp) {
        self.landed(delivery);
        self.queue_again(delivery.id, tries, at);
    }

    /// When something is due next, of what waits.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// All of it as one note.
    pub(super) fn full_note(&self) -> Note {
        let mut posted: BTreeMap<_, Posted> = BTreeMap::new();
        for (delivery, at) in self.deliveries.values() {
            let Delivery {
                id,
                message,
                subscription,
                tries,
            } = delivery;
            let entry = posted.entry(message.id).or_insert_with(|| Posted {
                message: Arc::clone(message),
                once: false,
                to: Vec::new(),
            });
            entry.to.push((*id, subscription.to_string(), *tries, *at));
        }
        Note {
            posted: posted.into_values().collect(),
            known: self.known.clone(),
            ..Note::default()
        }
    }

    /// How many deliveries there are.
    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Bytes of messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn landed(&mut self, delivery: &Delivery) {
        if let Some(count) = self.under_way.get_mut(&delivery.subscription) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.under_way.remove(&delivery.subscription);
            }
        }
    }

    fn queue_again(&mut self, id: u64, tries: u32, at: Timestamp) {
        if let Some((delivery, due)) = self.deliveries.get_mut(&id) {
            self.queue.remove(&(*due, id));
            delivery.tries = tries;
            *due = at;
            self.queue.insert((at, id));
        }
    }

    fn remove(&mut self, id: u64) {
        let Some((delivery, due)) = self.deliveries.remove(&id) else {
            return;
        };
        self.queue.remove(&(due, id));
        if let Some((count, size)) = self.holders.get_mut(&delivery.message.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.bytes = self.bytes.saturating_sub(*size);
                self.holders.remove(&delivery.message.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::MessageKind;
    use super::super::message::tests::message;
    use super::*;

    fn arn(number: u64) -> SubscriptionArn {
        let id = Uuid::from_random(0, number);
        let text = format!("arn:aws:sns:eu-west-1:123456789012:a:{id}");
        SubscriptionArn::parse(&text).unwrap()
    }

    fn posted(outbox: &mut Outbox, number: u64, to: &[SubscriptionArn]) -> Posted {
        let mut message = message(MessageKind::Notification, "text");
        message.id = Uuid::from_random(1, number);
        let message = Arc::new(message);
        outbox.prepare(message, false, to, Timestamp(0)).unwrap()
    }

    #[test]
    fn a_delivery_is_taken_once_and_again_after_a_failure() {
        let mut outbox = Outbox::new(Limits::default());
        let posted = posted(&mut outbox, 1, &[arn(1), arn(2)]);
        assert!(outbox.take(Timestamp(0)).is_none());
        outbox.put(&posted);
        let first = outbox.take(Timestamp(0)).unwrap();
        let second = outbox.take(Timestamp(0)).unwrap();
        assert!(outbox.take(Timestamp(0)).is_none());
        assert_eq!((first.id, second.id), (1, 2));
        outbox.done(&first);
        outbox.again(&second, 1, Timestamp(20_000));
        assert!(outbox.take(Timestamp(19_999)).is_none());
        assert_eq!(outbox.next_due(), Some(Timestamp(20_000)));
        let again = outbox.take(Timestamp(20_000)).unwrap();
        assert_eq!((again.id, again.tries), (2, 1));
        outbox.done(&again);
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
    }

    #[test]
    fn one_endpoint_does_not_hold_up_another() {
        let limits = Limits {
            at_once: 3,
            at_once_to_one: 1,
            ..Limits::default()
        };
        let mut outbox = Outbox::new(limits);
        for number in 0..3 {
            let posted = posted(&mut outbox, number, &[arn(1)]);
            outbox.put(&posted);
        }
        let other = posted(&mut outbox, 9, &[arn(2)]);
        outbox.put(&other);
        let first = outbox.take(Timestamp(0)).unwrap();
        assert_eq!(outbox.take(Timestamp(0)).unwrap().subscription, arn(2));
        assert!(outbox.take(Timestamp(0)).is_none());
        outbox.done(&first);
        assert_eq!(outbox.take(Timestamp(0)).unwrap().subscription, arn(1));
    }

    #[test]
    fn there_are_bounds() {
        let limits = Limits {
            deliveries: 2,
            ..Limits::default()
        };
        let mut outbox = Outbox::new(limits);
        let first = posted(&mut outbox, 1, &[arn(1), arn(2)]);
        outbox.put(&first);
        let message = Arc::new(message(MessageKind::Notification, "text"));
        let more = outbox.prepare(Arc::clone(&message), false, &[arn(1)], Timestamp(0));
        assert!(more.is_err());
        let limits = Limits {
            bytes: 10,
            ..Limits::default()
        };
        let mut outbox = Outbox::new(limits);
        let refused = outbox.prepare(message, false, &[arn(1)], Timestamp(0));
        assert!(refused.is_err());
    }

    #[test]
    fn what_is_taken_once_is_known_over_restarts() {
        let mut outbox = Outbox::new(Limits::default());
        let note = |posted| Note {
            posted: vec![posted],
            ..Note::default()
        };
        let mut message = message(MessageKind::Notification, "text");
        message.id = Uuid::from_random(9, 9);
        let id = message.id;
        let once = outbox.prepare(Arc::new(message), true, &[arn(1)], Timestamp(0));
        let once = note(once.unwrap());
        let other = note(posted(&mut outbox, 1, &[arn(1)]));
        let mut restored = Outbox::restore(Limits::default(), [once, other]);
        assert!(restored.is_known(id));
        assert!(!restored.is_known(Uuid::from_random(1, 1)));
        while let Some(delivery) = restored.take(Timestamp(0)) {
            restored.done(&delivery);
        }
        let restored = Outbox::restore(Limits::default(), [restored.full_note()]);
        assert!(restored.is_known(id) && restored.len() == 0);
    }

    #[test]
    fn notes_restore_what_is_left() {
        let mut outbox = Outbox::new(Limits::default());
        let mut notes = Vec::new();
        let round = |note: &Note| -> Note {
            serde_json::from_slice(&serde_json::to_vec(note).unwrap()).unwrap()
        };
        for number in 0..3 {
            let posted = posted(&mut outbox, number, &[arn(number)]);
            outbox.put(&posted);
            notes.push(Note {
                posted: vec![posted],
                ..Note::default()
            });
        }
        let first = outbox.take(Timestamp(0)).unwrap();
        outbox.done(&first);
        let second = outbox.take(Timestamp(0)).unwrap();
        outbox.again(&second, 4, Timestamp(50));
        notes.push(Note {
            done: vec![first.id],
            failed: vec![(second.id, 4, Timestamp(50))],
            ..Note::default()
        });
        let full = vec![outbox.full_note()];
        for notes in [notes, full] {
            let mut restored = Outbox::restore(Limits::default(), notes.iter().map(round));
            assert_eq!((restored.len(), restored.bytes()), (2, outbox.bytes()));
            assert_eq!(restored.take(Timestamp(49)).unwrap().id, 3);
            assert!(restored.take(Timestamp(49)).is_none());
            assert_eq!(restored.take(Timestamp(50)).unwrap().tries, 4);
            let next = posted(&mut restored, 7, &[arn(7)]);
            assert_eq!(next.to.first().map(|to| to.0), Some(4));
        }
    }
}
