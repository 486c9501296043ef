//! The writer: one thread that checks conditions, makes commits durable and publishes the state.
//!
//! Transactions that wait while the disk is busy are made durable together (group commit). Each is
//! judged against the state as the ones before it left it, so the group is equal to its members
//! one after another. Nothing is published, and nobody is answered, before the disk has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use arc_swap::ArcSwap;
use enid_model::key::{Key, Kind, Scope};
use enid_model::state::{Revision, State};
use tokio::sync::{oneshot, watch};

use crate::load::load;
use crate::touched::Touched;
use crate::transaction::{Condition, Transaction};
use crate::{CommitError, Engine, EngineError, OpenError, Write};

/// Requests that may wait for the writer; senders beyond it wait themselves.
pub(crate) const QUEUE_MAX: usize = 1024;
/// Transactions that one durable write may carry.
const GROUP_MAX: usize = 256;

/// How long the writer waits for one more request when several are likely to come: much less than
/// making a group durable takes.
const GATHER_WAIT: Duration = Duration::from_micros(250);

/// Records that the writer frees itself after a reset.
const TAKEN_APART_AT_ONCE_MAX: usize = 10_000;

type Answer = oneshot::Sender<Result<Revision, CommitError>>;

pub(crate) enum Request {
    /// Lets go of the file in good order, and answers.
    Close(oneshot::Sender<()>),
    Commit(Transaction, Answer),
    Reset(Answer),
}

pub(crate) struct Writer {
    engine: Box<dyn Engine>,
    state: Arc<State>,
    /// Which revision wrote each key that has a record.
    written: BTreeMap<Key, Revision>,
    touched: Touched,
    /// What a reset forgot and nobody has taken apart yet.
    forgotten: Option<Forgotten>,
}

/// A state and the revisions of its keys.
type Forgotten = (Arc<State>, BTreeMap<Key, Revision>);

impl Writer {
    pub(crate) fn load(mut engine: Box<dyn Engine>) -> Result<Self, OpenError> {
        let (state, written) = load(&mut *engine)?;
        Ok(Self {
            engine,
            touched: Touched::since(state.revision),
            state: Arc::new(state),
            written,
            forgotten: None,
        })
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Serves requests on a thread of its own until every sender is gone or the engine fails.
    pub(crate) fn run(
        mut self,
        inbox: Receiver<Request>,
        current: Arc<ArcSwap<State>>,
        announce: watch::Sender<Arc<State>>,
    ) {
        std::thread::spawn(move || {
            let mut expected = 1;
            while let Some(mut group) = next_group(&inbox, expected) {
                if self.engine.is_slow() {
                    expected = group.len();
                }
                let closing = match group.pop() {
                    Some(Request::Close(answer)) => Some(answer),
                    last => {
                        group.extend(last);
                        None
                    }
                };
                let answers = self.serve(group);
                // First the state, then the answers: who is answered reads his own write.
                current.store(Arc::clone(&self.state));
                announce.send_replace(Arc::clone(&self.state));
                let stop = matches!(answers, Err(CommitError::Stopped));
                for (answer, outcome) in answers.into_iter().flatten() {
                    // The asker may have gone; what was committed stays committed.
                    let _ = answer.send(outcome);
                }
                if let Some(closed) = closing {
                    drop(self);
                    let _ = closed.send(());
                    return;
                }
                if stop {
                    return;
                }
                if let Some(forgotten) = self.forgotten.take() {
                    take_apart(forgotten);
                }
            }
        });
    }

    /// Judges a group and makes it durable. An engine failure fails the whole group.
    #[expect(clippy::type_complexity, reason = "read in one place")]
    fn serve(
        &mut self,
        group: Vec<Request>,
    ) -> Result<Vec<(Answer, Result<Revision, CommitError>)>, CommitError> {
        let mut state = State::clone(&self.state);
        self.touched.trim(state.revision);
        let mut writes = Vec::new();
        let mut undo = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            match request {
                // The last of its group, and taken out of it before.
                Request::Close(_) => {}
                Request::Commit(transaction, answer) => {
                    let verdict = if self.holds(&transaction) {
                        Ok(self.stage(transaction, &mut state, &mut writes, &mut undo))
                    } else {
                        Err(CommitError::Conflict)
                    };
                    answers.push((answer, verdict));
                }
                Request::Reset(answer) => {
                    // What the group staged before it is forgotten with the rest.
                    let revision = self.reset(&mut state)?;
                    writes.clear();
                    undo.clear();
                    answers.push((answer, Ok(revision)));
                }
            }
        }
        if !writes.is_empty()
            && let Err(failure) = self.engine.write(state.revision, &writes)
        {
            return self.give_up(failure, undo, answers);
        }
        self.state = Arc::new(state);
        Ok(answers)
    }

    fn stage(
        &mut self,
        transaction: Transaction,
        state: &mut State,
        writes: &mut Vec<Write>,
        undo: &mut Vec<(Key, Option<Revision>)>,
    ) -> Revision {
        if transaction.is_empty() {
            return state.revision;
        }
        let revision = Revision(state.revision.0 + 1);
        for key in transaction.deletes {
            undo.push((key.clone(), self.written.remove(&key)));
            state.apply(revision, &key, None);
            writes.push(Write {
                key: key.to_string(),
                value: None,
                revision,
            });
        }
        for (key, record) in transaction.puts {
            writes.push(Write {
                key: key.to_string(),
                value: Some(record.to_bytes()),
                revision,
            });
            undo.push((key.clone(), self.written.insert(key.clone(), revision)));
            self.touched.note(revision, &key, &record);
            state.apply(revision, &key, Some(record));
        }
        revision
    }

    fn reset(&mut self, state: &mut State) -> Result<Revision, CommitError> {
        let revision = Revision(state.revision.0 + 1);
        if let Err(failure) = self.engine.clear(revision) {
            log(&failure);
            return Err(CommitError::Stopped);
        }
        *state = State::default();
        state.revision = revision;
        // Taking a large region apart takes longer than all else here, so it is not waited for.
        let written = std::mem::take(&mut self.written);
        self.forgotten = Some((Arc::clone(&self.state), written));
        self.touched = Touched::since(revision);
        Ok(revision)
    }

    /// The engine failed: nothing of the group counts. A full disk is survived; after any other
    /// failure the file's state is unknown and the writer ends, which ends the daemon.
    #[expect(clippy::type_complexity, reason = "read in one place")]
    fn give_up(
        &mut self,
        failure: EngineError,
        undo: Vec<(Key, Option<Revision>)>,
        answers: Vec<(Answer, Result<Revision, CommitError>)>,
    ) -> Result<Vec<(Answer, Result<Revision, CommitError>)>, CommitError> {
        log(&failure);
        // The revisions of the group will be given again.
        self.touched = Touched::since(self.state.revision);
        for (key, before) in undo.into_iter().rev() {
            match before {
                Some(revision) => self.written.insert(key, revision),
                None => self.written.remove(&key),
            };
        }
        let outcome = if is_full(&failure) {
            CommitError::Full
        } else {
            CommitError::Stopped
        };
        let answers: Vec<_> = answers
            .into_iter()
            .map(|(answer, verdict)| (answer, verdict.and(Err(outcome))))
            .collect();
        if outcome == CommitError::Full {
            return Ok(answers);
        }
        for (answer, verdict) in answers {
            let _ = answer.send(verdict);
        }
        Err(CommitError::Stopped)
    }

    fn holds(&self, transaction: &Transaction) -> bool {
        transaction
            .conditions
            .iter()
            .all(|condition| match condition {
                Condition::Absent(key) => !self.written.contains_key(key),
                Condition::Unchanged(key, revision) => self.written.get(key) == Some(revision),
                Condition::Empty(scope, kind, prefix) => self
                    .of_kind(scope, *kind, prefix)
                    .next()
                    .is_none_or(|(key, _)| !key.name.starts_with(&**prefix)),
                Condition::NoneWrittenSince(scope, kind, revision) => {
                    self.touched.none_since(scope, *kind, None, *revision)
                }
                Condition::UnnamedSince(scope, kind, named, revision) => {
                    let named = Some(*named);
                    self.touched.none_since(scope, *kind, named, *revision)
                }
            })
    }

    /// The keys of a kind, from a name on.
    fn of_kind<'a>(
        &'a self,
        scope: &'a Scope,
        kind: Kind,
        from: &str,
    ) -> impl Iterator<Item = (&'a Key, &'a Revision)> {
        let first = Key {
            scope: scope.clone(),
            kind,
            name: from.into(),
        };
        self.written
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.scope == *scope)
    }
}

/// Waits for a request, then takes what else is there. Those who were answered together are likely to
/// ask again together: until as many are there as the last time, a little time is given to each.
fn next_group(inbox: &Receiver<Request>, expected: usize) -> Option<Vec<Request>> {
    let mut group = vec![inbox.recv().ok()?];
    let is_last = |request: &Request| matches!(request, Request::Close(_) | Request::Reset(_));
    while group.len() < GROUP_MAX && !group.last().is_some_and(is_last) {
        let next = if group.len() < expected {
            inbox.recv_timeout(GATHER_WAIT).ok()
        } else {
            inbox.try_recv().ok()
        };
        match next {
            Some(request) => group.push(request),
            None => break,
        }
    }
    Some(group)
}

/// Frees what a reset forgot; on a thread of its own if that takes long.
fn take_apart(forgotten: Forgotten) {
    if forgotten.1.len() > TAKEN_APART_AT_ONCE_MAX {
        std::thread::spawn(move || drop(forgotten));
    }
}

fn log(failure: &EngineError) {
    let cause: &dyn std::error::Error = &*failure.source;
    tracing::error!(what = failure.what, cause, "the store's engine failed");
}

/// Whether the root of a failure is that the disk is full.
fn is_full(failure: &EngineError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*failure.source);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            );
        }
        cause = error.source();
    }
    false
}
