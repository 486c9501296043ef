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
        let answered = self.answer(logs);
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

    /// The outcome; none if it would have to keep too much.
    fn answer(&self, logs: &Logs) -> Result<Option<Outcome>, LogsError> {
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
        // The latest hours first: a query that wants few rows does not read what is older.
        while is_open && from.0 < end && !self.is_stopped.load(Ordering::Relaxed) {
            let start = from.0.max(end.saturating_sub(WINDOW_MS));
            let mut events = Vec::new();
            let (mut scanned, mut bytes) = (0, 0);
            let mut fails = false;
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
                    fails = events.len() > WINDOW_EVENTS_MAX;
                } else {
                    match pipeline.push(source) {
                        Ok(goes_on) => is_open = goes_on,
                        Err(_too_much) => fails = true,
                    }
                }
                is_open && !fails && !self.is_stopped.load(Ordering::Relaxed)
            })?;
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
const WINDOW_EVENTS_MAX: usize = 2_000_000;
