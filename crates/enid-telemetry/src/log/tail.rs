//! Live tails: events of some groups, as they are stored.
//!
//! Whoever tails takes what has come since it last did. Between two takes so many events are kept at most;
//! of more, a sample in which each has the same chance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_model::key::Scope;
use enid_model::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::logs::{Stored, Watcher};
use super::pattern::FilterPattern;

/// Events of an update. Source: CloudWatch Logs API Reference, StartLiveTail.
const EVENTS_MAX: usize = 500;
/// Bytes of messages of an update: clients read no longer ones than six times that.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Tails of an account in a region at a time. Source: CloudWatch Logs quotas.
const TAILS_MAX: usize = 15;

/// All live tails.
#[derive(Default)]
pub struct Tails {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    open: BTreeMap<u64, Session>,
}

/// What a tail is about.
pub struct Wanted {
    /// Whose events, and where.
    pub scope: Scope,
    /// Of which groups.
    pub groups: BTreeSet<String>,
    /// Of which of their streams.
    pub streams: Streams,
    /// What their messages must be like.
    pub pattern: FilterPattern,
}

/// Which streams of a group.
pub enum Streams {
    /// All of them.
    All,
    /// Those with these names.
    Named(Vec<String>),
    /// Those whose names start so.
    Prefixed(Vec<String>),
}

/// An event of a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The group's name.
    pub group: String,
    /// The stream's name.
    pub stream: String,
    /// The event's time.
    pub at: Timestamp,
    /// When it came.
    pub ingested: Timestamp,
    /// What it says.
    pub message: String,
}

/// What came since the last update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The events, the earliest first.
    pub events: Vec<Told>,
    /// Whether these are not all of them.
    pub is_sampled: bool,
}

/// There are as many tails as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {TAILS_MAX} live tails")]
pub struct TooManyTails;

struct Session {
    wanted: Wanted,
    /// How many have come since the last update.
    count: usize,
    bytes: usize,
    kept: Vec<Told>,
    random: StdRng,
}

/// A tail. It ends when this is dropped.
pub struct Tail {
    tails: Arc<Tails>,
    number: u64,
}

impl Tails {
    /// Starts a tail of what is stored from now on; the seed is for its samples.
    pub fn start(self: &Arc<Self>, wanted: Wanted, seed: u64) -> Result<Tail, TooManyTails> {
        let mut sessions = self.sessions();
        let open = sessions.open.values();
        let own = open.filter(|session| session.wanted.scope == wanted.scope);
        if own.count() >= TAILS_MAX {
            return Err(TooManyTails);
        }
        let number = sessions.next;
        sessions.next += 1;
        let session = Session {
            wanted,
            count: 0,
            bytes: 0,
            kept: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        };
        sessions.open.insert(number, session);
        Ok(Tail {
            tails: Arc::clone(self),
            number,
        })
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    /// What has come since the last time.
    #[must_use]
    pub fn take(&self) -> Update {
        let mut sessions = self.tails.sessions();
        let Some(session) = sessions.open.get_mut(&self.number) else {
            return Update::default();
        };
        let mut events = std::mem::take(&mut session.kept);
        events.sort_by_key(|event| (event.at, event.ingested));
        let is_sampled = session.count > events.len();
        session.count = 0;
        session.bytes = 0;
        Update { events, is_sampled }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.tails.sessions().open.remove(&self.number);
    }
}

impl Watcher for Tails {
    fn stored(&self, stored: &Stored<'_>) {
        let mut sessions = self.sessions();
        for session in sessions.open.values_mut() {
            if !session.wanted.is_of(stored) {
                continue;
            }
            for event in stored.events {
                if session.wanted.pattern.matches(&event.message) {
                    session.keep(|| Told {
                        group: stored.group_name.to_owned(),
                        stream: stored.stream_name.to_owned(),
                        at: event.at(),
                        ingested: event.ingested,
                        message: event.message.clone(),
                    });
                }
            }
        }
    }
}

impl Wanted {
    fn is_of(&self, stored: &Stored<'_>) -> bool {
        let name = stored.stream_name;
        *stored.scope == self.scope
            && self.groups.contains(stored.group_name)
            && match &self.streams {
                Streams::All => true,
                Streams::Named(names) => names.iter().any(|known| known == name),
                Streams::Prefixed(prefixes) => prefixes.iter().any(|start| name.starts_with(start)),
            }
    }
}

impl Session {
    fn keep(&mut self, told: impl FnOnce() -> Told) {
        self.count += 1;
        if self.kept.len() < EVENTS_MAX {
            let told = told();
            if self.bytes + told.message.len() <= BYTES_MAX {
                self.bytes += told.message.len();
                self.kept.push(told);
            }
            return;
        }
        // Each of so many has the same chance to be among those that are kept.
        let place = self.random.random_range(0..self.count);
        if let Some(kept) = self.kept.get_mut(place) {
            let told = told();
            let bytes = self.bytes - kept.message.len() + told.message.len();
            if bytes <= BYTES_MAX {
                self.bytes = bytes;
                *kept = told;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};
    use enid_model::log_group::{LogGroup, LogUid};

    use super::super::event::{Event, Position};
    use super::*;

    fn scope(region: &str) -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new(region),
        }
    }

    fn wanted(streams: Streams, pattern: &str) -> Wanted {
        Wanted {
            scope: scope("eu-west-1"),
            groups: ["g".to_owned()].into(),
            streams,
            pattern: FilterPattern::parse(pattern).unwrap(),
        }
    }

    fn store(tails: &Tails, region: &str, group: &str, stream: &str, messages: &[&str]) {
        let record = LogGroup {
            uid: LogUid(1),
            created_at: Timestamp(0),
            retention_days: None,
            is_protected: false,
            metric_filters: BTreeMap::new(),
            subscription_filters: BTreeMap::new(),
            tags: enid_model::Tags::default(),
        };
        let events = messages
            .iter()
            .zip(0_u64..)
            .map(|(message, arrival)| Event {
                position: Position { time: 5, arrival },
                stream: LogUid(2),
                ingested: Timestamp(6),
                message: (*message).to_owned(),
            });
        let events: Vec<Event> = events.collect();
        tails.stored(&Stored {
            scope: &scope(region),
            group_name: group,
            group: &record,
            stream_name: stream,
            events: &events,
            now: Timestamp(6),
        });
    }

    fn messages(tail: &Tail) -> Vec<String> {
        let update = tail.take();
        assert!(!update.is_sampled);
        let events = update.events.into_iter();
        events.map(|event| event.message).collect()
    }

    #[test]
    fn a_tail_tells_what_it_is_about_and_each_event_once() {
        let tails = Arc::new(Tails::default());
        let all = tails.start(wanted(Streams::All, ""), 0).unwrap();
        let named = Streams::Named(vec!["web-1".to_owned()]);
        let named = tails.start(wanted(named, "?a ?b"), 0).unwrap();
        let prefixed = Streams::Prefixed(vec!["db".to_owned(), "web".to_owned()]);
        let prefixed = tails.start(wanted(prefixed, "-b"), 0).unwrap();
        store(&tails, "eu-west-1", "g", "web-1", &["a", "b", "c"]);
        store(&tails, "eu-west-1", "g", "web-2", &["a2"]);
        store(&tails, "eu-west-1", "other", "web-1", &["d"]);
        store(&tails, "eu-west-2", "g", "web-1", &["e"]);
        store(&tails, "eu-west-1", "g", "x", &["x"]);
        assert_eq!(messages(&all), ["a", "b", "c", "a2", "x"]);
        assert_eq!(messages(&named), ["a", "b"]);
        assert_eq!(messages(&prefixed), ["a", "c", "a2"]);
        assert_eq!(messages(&all), Vec::<String>::new());
        drop(all);
        assert_eq!(tails.sessions().open.len(), 2);
    }

    #[test]
    fn of_many_events_a_fair_sample_is_told() {
        let tails = Arc::new(Tails::default());
        let tail = tails.start(wanted(Streams::All, ""), 7).unwrap();
        let many: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        store(&tails, "eu-west-1", "g", "s", &many);
        let update = tail.take();
        assert!(update.is_sampled);
        assert_eq!(update.events.len(), EVENTS_MAX);
        let late = update.events.iter();
        let late = late.filter(|event| event.message.parse::<u32>().unwrap() >= 2500);
        assert!((150..350).contains(&late.count()));
        store(&tails, "eu-west-1", "g", "s", &["next"]);
        assert_eq!(messages(&tail), ["next"]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tails = Arc::new(Tails::default());
        let tail = tails.start(wanted(Streams::All, ""), 0).unwrap();
        let long = "x".repeat(BYTES_MAX / 2);
        store(&tails, "eu-west-1", "g", "s", &[&long, &long, &long]);
        let update = tail.take();
        assert_eq!((update.events.len(), update.is_sampled), (2, true));
        let tails_open: Vec<Tail> = (1..TAILS_MAX)
            .map(|_| tails.start(wanted(Streams::All, ""), 0).unwrap())
            .collect();
        assert!(tails.start(wanted(Streams::All, ""), 0).is_err());
        drop(tails_open);
        assert!(tails.start(wanted(Streams::All, ""), 0).is_ok());
    }
}
