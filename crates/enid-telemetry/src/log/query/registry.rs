//! Queries that run, and the outcomes of those that have ended.
// Limit: outcomes are kept in memory, the latest of each account's region, until the daemon ends; AWS
// keeps them for seven days.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_model::key::Scope;
use enid_model::time::Timestamp;

use super::pipeline::{Outcome, Pipeline};
use super::plan::Plan;
use super::row::Source;
use crate::log::logs::{Logs, LogsError};

/// What a query asks, of which events.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose, and where.
    pub scope: Scope,
    /// The query as it was written.
    pub text: String,
    /// What it asks for.
    pub plan: Plan,
    /// The names of the groups.
    pub groups: Vec<String>,
    /// The streams by their keys: the name, and the account and group.
    pub streams: HashMap<String, (String, String)>,
    /// Of events from this time on,
    pub from: Timestamp,
    /// and before this one.
    pub to: Timestamp,
    /// Rows at most.
    pub limit: Option<usize>,
}

/// How a query goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was stopped.
    Cancelled,
    /// It has ended.
    Complete,
    /// It could not be answered.
    Failed,
    /// It runs.
    Running,
}

/// How a query goes, and what has come of it.
#[derive(Debug, Clone)]
pub struct Progress {
    /// How it goes.
    pub status: Status,
    /// The outcome, when it has ended.
    pub outcome: Outcome,
    /// Events that were looked at.
    pub scanned: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// A query.
#[derive(Debug)]
pub struct Query {
    /// Its id.
    pub id: String,
    /// What it asks.
    pub question: Question,
    /// When it was started.
    pub started_at: Timestamp,
    progress: Mutex<Progress>,
    is_stopped: AtomicBool,
}

/// There are as many queries as may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many queries run")]
pub struct TooMany;

/// All queries.
#[derive(Debug, Default)]
pub struct Queries {
    by_scope: Mutex<BTreeMap<Scope, VecDeque<Arc<Query>>>>,
}

impl Query {
    /// How it goes.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Stops it. Whether it ran.
    pub fn stop(&self) -> bool {
        let mut progress = self.lock();
        let runs = progress.status == Status::Running;
        if runs {
            self.is_stopped.store(true, Ordering::Relaxed);
            progress.status = Status::Cancelled;
        }
        runs
    }

    /// Answers it. Blocks.
    pub fn run(&self, logs: &Logs) {
        let answered = self.answer(logs, WINDOW_EVENTS_MAX);
        let mut progress = self.lock();
        progress.duration_ms = logs.now().0 - self.started_at.0;
        if progress.status != Status::Running {
            return;
        }
        match answered {
            Ok(Some(outcome)) => {
                progress.status = Status::Complete;
                progress.outcome = outcome;
            }
            Ok(None) => progress.status = Status::Failed,
            Err(error) => {
                tracing::error!(query = self.id, %error, "a query failed");
                progress.status = Status::Failed;
            }
        }
    }

    /// The outcome; none if it would have to keep too much. So many events are put into order at once.
    fn answer(&self, logs: &Logs, most: usize) -> Result<Option<Outcome>, LogsError> {
        let Question {
            plan,
            streams,
            from,
            to,
            limit,
            ..
        } = &self.question;
        let mut pipeline = Pipeline::new(plan, *limit);
        let is_ordered = pipeline.is_ordered();
        let keys: BTreeSet<String> = streams.keys().cloned().collect();
        let mut end = to.0;
        let mut is_open = !keys.is_empty();
        let mut length = WINDOW_MS;
        // The latest hours first: a query that wants few rows does not read what is older.
        while is_open && from.0 < end && !self.is_stopped.load(Ordering::Relaxed) {
            let start = from.0.max(end.saturating_sub(length));
            let mut events = Vec::new();
            let (mut scanned, mut bytes) = (0, 0);
            let (mut fails, mut is_full) = (false, false);
            logs.each(&keys, Timestamp(start), Timestamp(end), |key, event| {
                scanned += 1;
                bytes += event.message.len() as u64;
                let Some((stream, log)) = streams.get(key) else {
                    return true;
                };
                let position = event.position;
                let source = Source {
                    at: position.time,
                    ingested: event.ingested.0,
                    message: event.message,
                    stream: stream.clone(),
                    log: log.clone(),
                    pointer: format!("{key}/{position}"),
                };
                if is_ordered {
                    events.push((position, source));
                    is_full = events.len() > most;
                } else {
                    match pipeline.push(source) {
                        Ok(goes_on) => is_open = goes_on,
                        Err(_too_much) => fails = true,
                    }
                }
                is_open && !fails && !is_full && !self.is_stopped.load(Ordering::Relaxed)
            })?;
            if is_full {
                // Too many for one window: the later half of it alone, then the rest.
                if end - start <= 1 {
                    return Ok(None);
                }
                length = (end - start) / 2;
                continue;
            }
            if events.len() < most / 4 {
                length = (length * 2).min(WINDOW_MS);
            }
            events.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
            for (_, source) in events {
                match pipeline.push(source) {
                    Ok(goes_on) => is_open = goes_on,
                    Err(_too_much) => fails = true,
                }
                if !is_open || fails {
                    break;
                }
            }
            {
                let mut progress = self.lock();
                progress.scanned += scanned;
                progress.bytes += bytes;
            }
            if fails {
                return Ok(None);
            }
            end = start;
        }
        Ok(pipeline.finish().ok())
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queries {
    /// Takes a query that is run next.
    pub fn start(
        &self,
        id: String,
        question: Question,
        now: Timestamp,
    ) -> Result<Arc<Query>, TooMany> {
        let mut by_scope = self.lock();
        let queries = by_scope.entry(question.scope.clone()).or_default();
        let runs = |query: &&Arc<Query>| query.lock().status == Status::Running;
        if queries.iter().filter(runs).count() >= RUNNING_MAX {
            return Err(TooMany);
        }
        if queries.len() >= KEPT_MAX {
            // The oldest that has ended; no more than those that run are left out.
            let ended = queries.iter().position(|query| !runs(&query));
            ended.map(|at| queries.remove(at));
        }
        let query = Arc::new(Query {
            id,
            question,
            started_at: now,
            progress: Mutex::new(Progress {
                status: Status::Running,
                outcome: Outcome::default(),
                scanned: 0,
                bytes: 0,
                duration_ms: 0,
            }),
            is_stopped: AtomicBool::new(false),
        });
        queries.push_back(Arc::clone(&query));
        Ok(query)
    }

    /// The query with an id.
    #[must_use]
    pub fn find(&self, scope: &Scope, id: &str) -> Option<Arc<Query>> {
        let by_scope = self.lock();
        let mut queries = by_scope.get(scope)?.iter();
        queries.find(|query| query.id == id).map(Arc::clone)
    }

    /// All of an account's region, the latest first.
    #[must_use]
    pub fn list(&self, scope: &Scope) -> Vec<Arc<Query>> {
        let by_scope = self.lock();
        let queries = by_scope.get(scope).into_iter().flatten();
        queries.rev().map(Arc::clone).collect()
    }

    /// Forgets all, and stops those that run.
    pub fn clear(&self) {
        for query in std::mem::take(&mut *self.lock()).into_values().flatten() {
            query.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Scope, VecDeque<Arc<Query>>>> {
        self.by_scope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queries that run at once in an account's region.
/// Source: CloudWatch Logs User Guide, "CloudWatch Logs quotas".
const RUNNING_MAX: usize = 30;
const KEPT_MAX: usize = 100;

/// How many hours are read at once, and how many events of them are put into order.
const WINDOW_MS: i64 = 6 * 3_600_000;
const WINDOW_EVENTS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};
    use enid_model::log_group::{LogGroup, LogPlace, LogUid};
    use enid_model::time::Clock;

    use super::*;
    use crate::log::batch::InputEvent;
    use crate::log::logs::Target;
    use crate::store::{Options, Store};

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            NOW
        }
    }

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        }
    }

    /// A thousand events of three hours, `n` from 0 on, in three calls that overlap in time.
    fn logs(directory: &std::path::Path) -> Logs {
        let clock: Arc<dyn Clock> = Arc::new(Stopped);
        let options = Options::new(directory.to_owned());
        let store = Store::open(options, crate::kinds(), Arc::clone(&clock)).unwrap();
        let logs = Logs::new(store, clock);
        let group = LogGroup {
            uid: LogUid(1),
            created_at: NOW,
            retention_days: None,
            is_protected: false,
            metric_filters: BTreeMap::new(),
            subscription_filters: BTreeMap::new(),
            tags: enid_model::Tags::new(),
        };
        for part in 0..3 {
            let numbers = (0..1000).filter(|number| number % 3 == part);
            let events = numbers.map(|number| InputEvent {
                at: Timestamp(NOW.0 - 3 * 3_600_000 + number * 10_000),
                message: format!("{{\"n\": {number}}}"),
            });
            let events: Vec<InputEvent> = events.collect();
            let target = Target {
                scope: &scope(),
                group_name: "g",
                group: &group,
                stream_name: "s",
                stream: LogUid(2),
            };
            logs.put(target, &events).unwrap();
        }
        logs
    }

    fn query(text: &str) -> Query {
        let place = LogPlace {
            group: LogUid(1),
            stream: LogUid(2),
        };
        let named = ("s".to_owned(), "123456789012:g".to_owned());
        let question = Question {
            scope: scope(),
            text: text.to_owned(),
            plan: Plan::parse(text, NOW).unwrap(),
            groups: vec!["g".to_owned()],
            streams: HashMap::from([(place.to_string(), named)]),
            from: Timestamp(NOW.0 - 4 * 3_600_000),
            to: NOW,
            limit: None,
        };
        let queries = Queries::default();
        let query = queries.start("q".to_owned(), question, NOW).unwrap();
        drop(queries);
        Arc::into_inner(query).unwrap()
    }

    fn numbers(outcome: &Outcome) -> Vec<String> {
        let rows = outcome.rows.iter();
        let values = rows.map(|row| row[0].1.clone());
        values.collect()
    }

    #[test]
    fn few_events_are_kept_at_once_whatever_their_number() {
        let directory = tempfile::tempdir().unwrap();
        let logs = logs(directory.path());
        for (text, wanted) in [
            ("fields n | limit 3", ["999", "998", "997"]),
            ("fields n | filter n < 500 | limit 3", ["499", "498", "497"]),
            ("fields n | sort n asc | limit 3", ["0", "1", "2"]),
        ] {
            for most in [5, 100, 10_000] {
                let query = query(text);
                let outcome = query.answer(&logs, most).unwrap().unwrap();
                assert_eq!(numbers(&outcome), wanted, "{text}, {most} at once");
            }
        }
        let all = query("stats count(*) as c, sum(n) as s");
        let outcome = all.answer(&logs, 5).unwrap().unwrap();
        let row: Vec<&str> = outcome.rows[0].iter().map(|(_, it)| it.as_str()).collect();
        assert_eq!(row, ["1000", "499500"]);
        assert_eq!(all.progress().scanned, 1000);
        // Events of one moment cannot be told apart by time.
        let crowded = query("fields n | limit 3");
        assert!(crowded.answer(&logs, 0).unwrap().is_none());
    }

    #[test]
    fn each_event_is_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let logs = logs(directory.path());
        for most in [7, 64, 10_000] {
            let query = query("fields n | sort n desc");
            let outcome = query.answer(&logs, most).unwrap().unwrap();
            assert_eq!(outcome.rows.len(), 1000, "{most} at once");
            assert_eq!(query.progress().scanned, 1000, "{most} at once");
        }
    }
}
