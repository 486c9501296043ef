//! The one thread that appends: it takes what many ask for, makes it durable at once, and answers.
//!
//! When memory is half full, or its oldest rows have been there for long, all of it goes to the keeper,
//! which writes files, and the log goes on in a new segment. When the files are there the old segments go,
//! but for those that hold notes: few of these are written again in the new segment, many keep theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use enid_model::time::Timestamp;

use super::keeper::{Keeper, ROOM, Task};
use super::notes::Notes;
use super::recovery::arrived;
use super::tables::ROW_BITS;
use super::wal::{CommitError, Frame, Wal};
use super::write::{Note, Part, Write, carried, decode, flushed};
use super::{Appended, Shared, StoreError};

/// What the thread is asked for.
pub(super) enum Job {
    Append {
        write: Write,
        /// As the log has it.
        payload: Vec<u8>,
        answer: Sender<Result<Appended, StoreError>>,
    },
    Clear(Sender<Result<(), StoreError>>),
    Flush(Sender<Result<(), StoreError>>),
    Notes {
        owner: String,
        answer: Sender<Result<Vec<Vec<u8>>, StoreError>>,
    },
}

/// A write that waits to be durable.
struct Pending {
    write: Write,
    payload: Vec<u8>,
    answer: Sender<Result<Appended, StoreError>>,
}

/// A flush that is under way.
struct Flushing {
    /// The last frame whose rows it writes.
    to: u64,
    /// The segment that was begun for what comes after it.
    segment: u64,
}

/// How often the thread looks around when nobody asks for anything.
const TICK: Duration = Duration::from_millis(500);

/// Notes of this many bytes in all are written again so that their segments can go.
const CARRIED_MAX: usize = 8 << 20;

/// With a log of this many bytes all notes are.
const LOG_MAX: u64 = 1 << 30;

/// What is made durable at once, at most.
const GROUP_MAX: usize = 256;

/// How long after a failed flush the next one is tried.
const RETRY_MS: i64 = 5_000;

/// The space of the disk is looked at so often, and after so many bytes.
const LOOK_MS: i64 = 500;
const LOOK_BYTES: u64 = 4 << 20;

/// Writing files for want of space is worth it with a log of this many bytes.
const LOG_WORTH_A_FLUSH: u64 = 1 << 20;

/// The thread's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    inbox: Receiver<Job>,
    wal: Wal,
    /// The sequence of the next frame.
    sequence: u64,
    notes: Notes,
    keeper: Option<Sender<Task>>,
    keeper_thread: Option<JoinHandle<()>>,
    done: Receiver<Result<(), StoreError>>,
    flushing: Option<Flushing>,
    /// When the oldest rows that are only in memory came.
    since: Option<Timestamp>,
    /// No flush is tried before.
    retry_at: Timestamp,
    /// When the space of the disk was looked at last, and what was written since.
    looked: (Timestamp, u64),
    /// Whether the log must become short now, whatever it costs.
    is_urgent: bool,
    /// What is durable is not known any more.
    is_stopped: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Receiver<Job>,
        wal: Wal,
        sequence: u64,
        notes: Notes,
    ) -> Self {
        let (keeper, tasks) = channel();
        let (say, done) = channel();
        let working = Keeper::new(Arc::clone(&shared), tasks, say);
        let keeper_thread = std::thread::Builder::new()
            .name("telemetry-keep".to_owned())
            .spawn(move || working.run());
        // Rows of the log are as old as they say: one who dies and starts again and again writes files as well.
        let since = shared.change(|tables| tables.oldest_in_memory());
        let since = since.map(|time| Timestamp(time.min(shared.clock.now().0)));
        Self {
            is_stopped: keeper_thread.is_err(),
            keeper_thread: keeper_thread.ok(),
            keeper: Some(keeper),
            shared,
            inbox,
            wal,
            sequence,
            notes,
            done,
            flushing: None,
            since,
            retry_at: Timestamp(i64::MIN),
            looked: (Timestamp(i64::MIN), 0),
            is_urgent: false,
        }
    }

    /// Works until every handle of the store is gone.
    pub(super) fn run(mut self) {
        loop {
            let mut job = match self.inbox.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(next) = job.take() {
                job = self.take(next);
            }
            self.look_around();
        }
        self.keeper = None;
        if let Some(thread) = self.keeper_thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps telemetry panicked");
        }
    }

    /// Does a job, with those like it that wait behind it. Returns the first other one.
    fn take(&mut self, job: Job) -> Option<Job> {
        // Whoever asked may have gone, in all of these.
        match job {
            Job::Append {
                write,
                payload,
                answer,
            } => {
                let mut group = vec![Pending {
                    write,
                    payload,
                    answer,
                }];
                let mut other = None;
                while group.len() < GROUP_MAX {
                    match self.inbox.try_recv() {
                        Ok(Job::Append {
                            write,
                            payload,
                            answer,
                        }) => group.push(Pending {
                            write,
                            payload,
                            answer,
                        }),
                        Ok(job) => {
                            other = Some(job);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                self.append(group);
                return other;
            }
            Job::Clear(answer) => {
                let _ = answer.send(self.clear());
            }
            Job::Flush(answer) => {
                let _ = answer.send(self.flush_now());
            }
            Job::Notes { owner, answer } => {
                let _ = answer.send(self.read_notes(&owner));
            }
        }
        None
    }

    /// Makes writes durable and their rows visible, or refuses all of them.
    fn append(&mut self, group: Vec<Pending>) {
        if self.is_stopped {
            refuse(group, || StoreError::Stopped);
            return;
        }
        if !self.has_space() || !self.has_room() {
            self.shared
                .count(|it| &it.refused_writes, group.len() as u64);
            refuse(group, || StoreError::Full);
            return;
        }
        let mut committed = self.commit(&group);
        if let Err(CommitError::NotWritten(error)) = &committed
            && super::is_full(error)
            && self.make_room(ROOM)
        {
            committed = self.commit(&group);
        }
        let frames = match committed {
            Ok(frames) => frames,
            Err(CommitError::NotWritten(error)) => {
                self.shared
                    .count(|it| &it.refused_writes, group.len() as u64);
                tracing::warn!(%error, "telemetry could not be written");
                refuse(group, || match super::is_full(&error) {
                    true => StoreError::Full,
                    false => StoreError::Io(error.kind().into()),
                });
                return;
            }
            Err(CommitError::Unknown(error)) => {
                tracing::error!(%error, "the telemetry log failed, nothing is stored until the next start");
                self.is_stopped = true;
                refuse(group, || StoreError::Stopped);
                return;
            }
        };
        self.since.get_or_insert_with(|| self.shared.clock.now());
        for (pending, frame) in group.iter().zip(&frames) {
            for note in &pending.write.notes {
                self.notes.add(note, *frame);
            }
        }
        let rows = self.show(&group, &frames);
        self.shared.count(|it| &it.appended_rows, rows);
        for (pending, frame) in group.into_iter().zip(frames) {
            let first_arrival = frame.sequence << ROW_BITS;
            let _ = pending.answer.send(Ok(Appended { first_arrival }));
        }
    }

    fn commit(&mut self, group: &[Pending]) -> Result<Vec<Frame>, CommitError> {
        let bytes = group.iter().map(|pending| pending.payload.len() as u64);
        self.looked.1 += bytes.sum::<u64>();
        let first = self.sequence;
        let frames: Vec<Frame> = group
            .iter()
            .zip(first..)
            .map(|(pending, sequence)| self.wal.push(sequence, &pending.payload))
            .collect();
        self.wal.commit()?;
        self.sequence = first + frames.len() as u64;
        Ok(frames)
    }

    /// Adds the rows of durable writes to the tables, all at the same moment. Returns how many they are.
    fn show(&self, group: &[Pending], frames: &[Frame]) -> u64 {
        let mut all = 0;
        self.shared.change(|tables| {
            for (pending, frame) in group.iter().zip(frames) {
                let mut before = 0;
                for (name, batch) in &pending.write.batches {
                    let Some(kind) = self.shared.kinds.get(name) else {
                        continue;
                    };
                    match arrived(kind, batch, frame.sequence, before) {
                        Ok(batch) => tables.0.entry(kind.name()).or_default().add(batch),
                        // Checked when it was appended.
                        Err(error) => tracing::error!(%error, "rows do not fit their kind"),
                    }
                    before += batch.num_rows() as u64;
                }
                all += before;
            }
        });
        all
    }

    /// Whether there is room in memory; waits for a flush that makes some.
    fn has_room(&mut self) -> bool {
        let is_over = |it: &Self| it.shared.memory_bytes() >= it.shared.options.memory_max;
        if !is_over(self) {
            return true;
        }
        if self.flushing.is_none() && self.retry_at <= self.shared.clock.now() {
            self.begin_flush();
        }
        if self.flushing.is_some() {
            self.wait_for_flush();
        }
        !is_over(self)
    }

    /// Whether the disk has room for a write beside what is left to others. When it has not, the oldest
    /// files go, then what is in the log only becomes files, which take a small part of it.
    fn has_space(&mut self) -> bool {
        let (now, shared) = (self.shared.clock.now(), Arc::clone(&self.shared));
        let was_short = shared.counters.is_short_of_space.load(Relaxed);
        let (looked_at, written) = self.looked;
        if now.0.saturating_sub(looked_at.0) < LOOK_MS && written < LOOK_BYTES {
            return !was_short;
        }
        self.looked = (now, 0);
        let mut missing = shared.missing_bytes();
        if missing > 0 && self.make_room(0) {
            missing = shared.missing_bytes();
        }
        if missing > 0 && self.wal.bytes() > LOG_WORTH_A_FLUSH && self.retry_at <= now {
            self.is_urgent = true;
            self.begin_flush();
            if self.flushing.is_some() {
                self.wait_for_flush();
            }
            self.is_urgent = false;
            missing = shared.missing_bytes();
        }
        let is_short = missing > 0;
        if is_short != was_short {
            shared.counters.is_short_of_space.store(is_short, Relaxed);
            match is_short {
                true => tracing::error!(
                    missing,
                    "the disk is full: no telemetry is stored until there is room again"
                ),
                false => tracing::warn!("the disk has room again: telemetry is stored"),
            }
        }
        !is_short
    }

    /// Has the keeper remove what is oldest, so many bytes of it at least. False if there is nothing to
    /// remove.
    fn make_room(&mut self, least: u64) -> bool {
        if self.flushing.is_some() {
            self.wait_for_flush();
        }
        let (answer, answered) = channel();
        let asked = self
            .keeper
            .as_ref()
            .map(|it| it.send(Task::MakeRoom(least, answer)));
        matches!(asked, Some(Ok(()))) && answered.recv().unwrap_or(false)
    }

    fn look_around(&mut self) {
        if let Ok(done) = self.done.try_recv() {
            self.end_flush(done);
        }
        self.shared
            .counters
            .log_bytes
            .store(self.wal.bytes(), Relaxed);
        if self.flushing.is_some() || self.is_stopped {
            return;
        }
        let now = self.shared.clock.now();
        let options = &self.shared.options;
        let after = i64::try_from(options.flush_after.as_millis()).unwrap_or(i64::MAX);
        let is_old = self.since.is_some_and(|since| now.0 - since.0 >= after);
        let is_half_full = self.shared.memory_bytes() >= options.memory_max / 2;
        if (is_old || is_half_full) && self.retry_at <= now {
            self.begin_flush();
        }
    }

    /// Gives all that is in memory to the keeper, and goes on in a new segment.
    fn begin_flush(&mut self) {
        if let Err(error) = self.wal.rotate() {
            tracing::warn!(%error, "no new segment of the telemetry log could be begun");
            self.retry_at = Timestamp(self.shared.clock.now().0 + RETRY_MS);
            return;
        }
        self.since = None;
        self.carry_notes();
        self.shared.change(|tables| {
            for table in tables.0.values_mut() {
                table.flushing.append(&mut table.active);
            }
        });
        let flushing = Flushing {
            to: self.sequence.saturating_sub(1),
            segment: self.wal.segment(),
        };
        let asked = self.keeper.as_ref().map(|it| it.send(Task::Flush));
        if matches!(asked, Some(Ok(()))) {
            self.flushing = Some(flushing);
        }
    }

    fn wait_for_flush(&mut self) {
        let done = self.done.recv().unwrap_or(Err(StoreError::Stopped));
        self.end_flush(done);
    }

    /// Cuts the log when the files are there.
    fn end_flush(&mut self, done: Result<(), StoreError>) {
        let Some(flushing) = self.flushing.take() else {
            return;
        };
        if let Err(error) = done {
            let shared = &self.shared;
            shared.count(|it| &it.failed_flushes, 1);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "telemetry could not be written to files, it stays in memory and in the log"
            );
            let now = shared.clock.now();
            self.since.get_or_insert(now);
            self.retry_at = Timestamp(now.0 + RETRY_MS);
            return;
        }
        self.shared.count(|it| &it.flushes, 1);
        self.note_flushed(flushing.to);
        let needed = self.notes.first_segment().unwrap_or(u64::MAX);
        let forgotten = self.wal.forget_before(flushing.segment.min(needed));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "a segment of the telemetry log was not removed");
        }
    }

    /// Notes that all rows up to a frame are in files. Without it the files themselves say so, unless they
    /// are removed before the next start.
    fn note_flushed(&mut self, to: u64) {
        self.wal.push(self.sequence, &flushed(to));
        match self.wal.commit() {
            Ok(()) => self.sequence += 1,
            Err(CommitError::NotWritten(error)) => {
                tracing::warn!(%error, "the end of a flush was not noted");
            }
            Err(CommitError::Unknown(error)) => {
                tracing::error!(%error, "the telemetry log failed, nothing is stored until the next start");
                self.is_stopped = true;
            }
        }
    }

    /// Writes notes again in the open segment, so that those that hold them can go.
    fn carry_notes(&mut self) {
        let is_long = self.wal.bytes() > LOG_MAX || self.is_urgent;
        let mut left = CARRIED_MAX;
        for (bytes, owner) in self.notes.by_size() {
            if bytes > left && !is_long {
                continue;
            }
            left = left.saturating_sub(bytes);
            let notes = match self.read_notes(&owner) {
                Ok(notes) => notes,
                Err(error) => {
                    tracing::warn!(owner, %error, "notes could not be read");
                    continue;
                }
            };
            let notes: Vec<Note> = notes
                .into_iter()
                .enumerate()
                .map(|(index, bytes)| Note {
                    owner: owner.clone(),
                    is_full: index == 0,
                    bytes,
                })
                .collect();
            let frame = self.wal.push(self.sequence, &carried(&notes));
            if let Err(CommitError::Unknown(error)) = self.wal.commit().map(|()| {
                self.sequence += 1;
                for note in &notes {
                    self.notes.add(note, frame);
                }
            }) {
                tracing::error!(%error, "the telemetry log failed, nothing is stored until the next start");
                self.is_stopped = true;
            }
        }
    }

    /// An owner's notes that count, oldest first.
    fn read_notes(&self, owner: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut notes = Vec::new();
        let mut last = None;
        for (frame, _) in self.notes.of(owner) {
            // Several of one frame are read at once.
            if last.replace(*frame) == Some(*frame) {
                continue;
            }
            let payload = self.wal.read(*frame)?;
            for part in decode(&payload).map_err(std::io::Error::other)? {
                let Part::Note(note) = part else { continue };
                if note.owner != owner {
                    continue;
                }
                if note.is_full {
                    notes.clear();
                }
                notes.push(note.bytes);
            }
        }
        Ok(notes)
    }

    fn flush_now(&mut self) -> Result<(), StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        if self.flushing.is_some() {
            self.wait_for_flush();
        }
        let failed = |it: &Self| {
            let failed = &it.shared.counters.failed_flushes;
            failed.load(Relaxed)
        };
        let before = failed(self);
        self.begin_flush();
        if self.flushing.is_none() {
            return Err(StoreError::Stopped);
        }
        self.wait_for_flush();
        match failed(self) == before {
            true => Ok(()),
            false => Err(StoreError::Full),
        }
    }

    /// Removes rows, notes and files.
    fn clear(&mut self) -> Result<(), StoreError> {
        if self.flushing.is_some() {
            self.wait_for_flush();
        }
        let (answer, answered) = channel();
        let keeper = self.keeper.as_ref().ok_or(StoreError::Stopped)?;
        keeper
            .send(Task::Clear(answer))
            .map_err(|_gone| StoreError::Stopped)?;
        answered.recv().map_err(|_gone| StoreError::Stopped)??;
        self.notes = Notes::default();
        self.since = None;
        self.wal.rotate()?;
        // Whatever comes back of the old segments does not count.
        self.note_flushed(self.sequence.saturating_sub(1));
        self.wal.forget_before(self.wal.segment())?;
        Ok(())
    }
}

fn refuse(group: Vec<Pending>, why: impl Fn() -> StoreError) {
    for pending in group {
        // Whoever asked may have gone.
        let _ = pending.answer.send(Err(why()));
    }
}
