//! The thread that writes files, puts them together, and removes what is old or for which there is no space.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use arrow_array::{Array as _, BooleanArray, RecordBatch};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;

use super::files::{Encoder, sort};
use super::kind::Kind;
use super::merge::Merge;
use super::partition::{HOUR_MS, Place, hour_of};
use super::scan::keys_of;
use super::tables::{Stored, Tables, frames, times};
use super::{Shared, StoreError, is_full};

/// What the thread is told.
pub(super) enum Task {
    /// Write all that is to be flushed to files.
    Flush,
    /// Remove the oldest rows as far as the disk lacks what is left free, and of so many bytes at least; say
    /// whether there is more room now.
    MakeRoom(u64, Sender<bool>),
    /// Remove everything.
    Clear(Sender<Result<(), StoreError>>),
}

/// How often the thread looks for what can be put together or must go.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often a flush makes room and tries again.
const TRIES: usize = 4;

/// How long after an hour's end its files are put together.
const SETTLED_MS: i64 = 10 * 60_000;

/// An hour that still goes on has at most this many files.
const OPEN_FILES_MAX: usize = 16;

/// What is put together at most: the file that comes of it is in memory until it is written.
const MERGE_BYTES_MAX: u64 = 32 << 20;
const MERGE_ROWS_MAX: u64 = 1 << 20;

/// How long room that was made waits for those who read what goes.
const READ_MAX: Duration = Duration::from_secs(2);

/// What room is made when it is not known how much is missing.
pub(super) const ROOM: u64 = 16 << 20;

/// The thread's state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    tasks: Receiver<Task>,
    done: Sender<Result<(), StoreError>>,
    /// Files that are in no table any more, but of which a scan may still want rows.
    retired: Vec<Arc<Stored>>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        tasks: Receiver<Task>,
        done: Sender<Result<(), StoreError>>,
    ) -> Self {
        Self {
            shared,
            tasks,
            done,
            retired: Vec::new(),
        }
    }

    /// Works until the writer is gone.
    pub(super) fn run(mut self) {
        loop {
            // Whoever asked may have gone, in all of these.
            match self.tasks.recv_timeout(LOOK_EVERY) {
                Ok(Task::Flush) => {
                    let done = self.flush();
                    let _ = self.done.send(done);
                }
                Ok(Task::MakeRoom(least, answer)) => {
                    let _ = answer.send(self.make_room(least));
                }
                Ok(Task::Clear(answer)) => {
                    let _ = answer.send(self.clear());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.keep_within_bounds();
            self.merge();
            self.remove_retired();
        }
    }

    /// Writes what is to be flushed, and lets it go from memory. When the disk is full the oldest files
    /// make room.
    fn flush(&mut self) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            let written = self.try_flush();
            tries += 1;
            match written {
                Err(error) if is_full(&error) && tries < TRIES && self.evict(ROOM) > 0 => {
                    self.remove_retired();
                }
                done => return done,
            }
        }
    }

    fn try_flush(&self) -> Result<(), StoreError> {
        let batches: Vec<(&'static str, Vec<RecordBatch>)> = self.shared.change(|tables| {
            let tables = tables.0.iter();
            let with_rows = tables.filter(|(_, table)| !table.flushing.is_empty());
            let batches = with_rows.map(|(kind, table)| {
                let batches = table.flushing.iter().map(|held| held.batch.clone());
                (*kind, batches.collect())
            });
            batches.collect()
        });
        let mut written: Vec<Stored> = Vec::new();
        for (kind, batches) in batches {
            let Some(kind) = self.shared.kinds.get(kind) else {
                continue;
            };
            if let Err(error) = self.write_hours(kind, &batches, &mut written) {
                // All of it is written again later; as long as these are there a start finds their rows twice,
                // and leaves out those of the log.
                for file in written {
                    self.remove(&file);
                }
                return Err(error);
            }
        }
        self.shared.change(|tables| {
            for table in tables.0.values_mut() {
                table.flushing.clear();
            }
            for file in written {
                add(tables, &self.shared.kinds, file);
            }
        });
        Ok(())
    }

    /// Writes rows of a kind, a file for each hour.
    fn write_hours(
        &self,
        kind: &Kind,
        batches: &[RecordBatch],
        written: &mut Vec<Stored>,
    ) -> Result<(), StoreError> {
        let whole = sort(&concat_batches(&kind.stored_schema(), batches)?)?;
        let hours: Vec<i64> = times(&whole).iter().map(|time| hour_of(*time)).collect();
        let distinct: BTreeSet<i64> = hours.iter().copied().collect();
        for hour in &distinct {
            let part = if distinct.len() == 1 {
                whole.clone()
            } else {
                let is_in: BooleanArray = hours.iter().map(|of| Some(of == hour)).collect();
                filter_record_batch(&whole, &is_in)?
            };
            let (first, last) = frames(&part);
            let mut rows = Encoder::new(kind.stored_schema())?;
            rows.write(&part)?;
            written.push(self.put(kind, *hour, (first, last), rows)?);
        }
        Ok(())
    }

    fn put(
        &self,
        kind: &Kind,
        hour: i64,
        (first, last): (u64, u64),
        rows: Encoder,
    ) -> Result<Stored, StoreError> {
        let place = Place {
            kind: kind.name().to_owned(),
            hour,
            first,
            last,
            rows: rows.rows(),
        };
        let bytes = rows.finish()?;
        let length = bytes.len() as u64;
        self.shared.files.write(&place.path(), bytes)?;
        Ok(Stored {
            place,
            bytes: length,
        })
    }

    /// Removes what is too old, and what is too much.
    fn keep_within_bounds(&mut self) {
        self.expire();
        let options = &self.shared.options;
        let used = self.used();
        if used > options.disk_max {
            self.evict(used - options.disk_max);
        }
        let missing = self.missing();
        if missing > 0 {
            self.evict(missing);
            self.remove_retired();
        }
    }

    /// Removes the oldest files as far as room is missing, and of so many bytes at least. Returns whether
    /// there is more room now.
    fn make_room(&mut self, least: u64) -> bool {
        // What was missing when this was asked for may have been found since.
        self.wait_for_readers();
        let wanted = self.missing().max(least);
        if wanted == 0 {
            return true;
        }
        let has_more = self.evict(wanted) > 0;
        // The room is there when the files are gone.
        self.wait_for_readers();
        has_more
    }

    /// What the disk lacks beside what the files leave that go already.
    fn missing(&self) -> u64 {
        let going: u64 = self.retired.iter().map(|file| file.bytes).sum();
        self.shared.missing_bytes().saturating_sub(going)
    }

    /// Removes the files that go, when those who still read them are done; not later than [`READ_MAX`].
    fn wait_for_readers(&mut self) {
        let began = Instant::now();
        self.remove_retired();
        while !self.retired.is_empty() && began.elapsed() < READ_MAX {
            std::thread::sleep(Duration::from_millis(5));
            self.remove_retired();
        }
    }

    fn used(&self) -> u64 {
        let log = &self.shared.counters.log_bytes;
        let log = log.load(std::sync::atomic::Ordering::Relaxed);
        log + self.shared.change(|tables| tables.file_bytes())
    }

    /// Removes the hours that are older than their kind is kept for.
    fn expire(&mut self) {
        let now = self.shared.clock.now().0;
        let kinds = &self.shared.kinds;
        let expired: Vec<Arc<Stored>> = self.shared.change(|tables| {
            let mut expired = Vec::new();
            for (name, table) in &mut tables.0 {
                let Some(kind) = kinds.get(name) else {
                    continue;
                };
                let oldest = now.saturating_sub(kind.retention_ms);
                let is_over =
                    |file: &Arc<Stored>| (file.place.hour + 1).saturating_mul(HOUR_MS) <= oldest;
                expired.extend(table.files.extract_if(.., |file| is_over(file)));
            }
            expired
        });
        if expired.is_empty() {
            return;
        }
        let rows = expired.iter().map(|file| file.place.rows).sum();
        self.shared.count(|it| &it.expired_rows, rows);
        tracing::info!(files = expired.len(), rows, "removed old telemetry");
        self.retired.extend(expired);
    }

    /// Removes the oldest files until so many bytes are free. Returns how many bytes they had.
    fn evict(&mut self, bytes: u64) -> u64 {
        let mut freed = 0;
        let mut gone: BTreeMap<String, i64> = BTreeMap::new();
        while freed < bytes {
            let oldest = self.shared.change(Tables::take_oldest);
            let Some(file) = oldest else { break };
            freed += file.bytes;
            self.shared.count(|it| &it.evicted_rows, file.place.rows);
            say_evicted(&file);
            let hour = gone.entry(file.place.kind.clone()).or_insert(i64::MIN);
            *hour = file.place.hour.max(*hour);
            self.retired.push(file);
        }
        for (kind, hour) in gone {
            self.shared.evicted.note(&kind, hour);
        }
        freed
    }

    /// Puts small files of one hour together.
    fn merge(&mut self) {
        while let Some(files) = self.to_merge() {
            match self.merge_files(&files) {
                Ok(()) => {
                    self.shared.count(|it| &it.merged_files, files.len() as u64);
                    self.retired.extend(files);
                    // Before the next ones need their room.
                    self.remove_retired();
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "files of telemetry could not be put together"
                    );
                    return;
                }
            }
        }
    }

    /// Files of one hour that follow each other and are small enough to be one.
    fn to_merge(&self) -> Option<Vec<Arc<Stored>>> {
        let now = self.shared.clock.now().0;
        let files: Vec<Arc<Stored>> = self.shared.change(|tables| {
            let files = tables.0.values().flat_map(|table| &table.files);
            files.cloned().collect()
        });
        let mut hours: BTreeMap<(&str, i64), Vec<&Arc<Stored>>> = BTreeMap::new();
        for file in &files {
            let hour = (file.place.kind.as_str(), file.place.hour);
            hours.entry(hour).or_default().push(file);
        }
        for ((_, hour), mut files) in hours {
            let is_settled = (hour + 1)
                .saturating_mul(HOUR_MS)
                .saturating_add(SETTLED_MS)
                <= now;
            if files.len() < 2 || !is_settled && files.len() < OPEN_FILES_MAX {
                continue;
            }
            files.sort_by_key(|file| file.place.first);
            let mut run: Vec<Arc<Stored>> = Vec::new();
            let (mut bytes, mut rows) = (0, 0);
            for file in files {
                if bytes + file.bytes > MERGE_BYTES_MAX || rows + file.place.rows > MERGE_ROWS_MAX {
                    if run.len() > 1 {
                        break;
                    }
                    run.clear();
                    (bytes, rows) = (0, 0);
                }
                bytes += file.bytes;
                rows += file.place.rows;
                run.push(Arc::clone(file));
            }
            if run.len() > 1 {
                return Some(run);
            }
        }
        None
    }

    fn merge_files(&self, files: &[Arc<Stored>]) -> Result<(), StoreError> {
        let Some(first) = files.first() else {
            return Ok(());
        };
        let Some(kind) = self.shared.kinds.get(first.place.kind.as_str()) else {
            return Ok(());
        };
        let contents = files.iter();
        let contents = contents.map(|file| self.shared.files.read(&file.place.path()));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let mut rows = Merge::new(kind.stored_schema(), contents)?;
        let mut encoder = Encoder::new(kind.stored_schema())?;
        while let Some(batch) = rows.next_rows()? {
            encoder.write(&above_floor(kind, batch)?)?;
        }
        let last = files.iter().map(|file| file.place.last).max();
        let range = (first.place.first, last.unwrap_or(first.place.last));
        let merged = self.put(kind, first.place.hour, range, encoder)?;
        self.shared.change(|tables| {
            if let Some(table) = tables.0.get_mut(kind.name()) {
                table.files.retain(|file| !files.contains(file));
            }
            add(tables, &self.shared.kinds, merged);
        });
        Ok(())
    }

    /// Removes files that nobody reads any more.
    fn remove_retired(&mut self) {
        let retired = std::mem::take(&mut self.retired);
        for file in retired {
            if Arc::strong_count(&file) > 1 {
                self.retired.push(file);
            } else {
                self.remove(&file);
            }
        }
    }

    fn remove(&self, file: &Stored) {
        let path = file.place.path();
        if let Err(error) = self.shared.files.remove(&path) {
            tracing::warn!(
                path = path.as_ref(),
                error = &error as &dyn std::error::Error,
                "a file of telemetry was not removed"
            );
        }
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        let files: Vec<Arc<Stored>> = self.shared.change(|tables| {
            let mut files = Vec::new();
            for table in tables.0.values_mut() {
                files.append(&mut table.files);
                table.active.clear();
                table.flushing.clear();
            }
            files
        });
        for file in files.iter().chain(&self.retired) {
            self.shared.files.remove(&file.place.path())?;
        }
        self.retired.clear();
        self.shared.evicted.clear()?;
        Ok(())
    }
}

/// Says that a file goes, or went, before its time.
pub(super) fn say_evicted(file: &Stored) {
    tracing::warn!(
        kind = file.place.kind,
        path = file.place.path().as_ref(),
        rows = file.place.rows,
        bytes = file.bytes,
        "no space: removed the oldest telemetry"
    );
}

/// Adds a file to the table of its kind.
fn add(tables: &mut Tables, kinds: &BTreeMap<&'static str, Kind>, file: Stored) {
    if let Some((kind, _)) = kinds.get_key_value(file.place.kind.as_str()) {
        let table = tables.0.entry(kind).or_default();
        table.files.push(Arc::new(file));
    }
}

/// The rows whose keys are still kept at their times.
fn above_floor(kind: &Kind, batch: RecordBatch) -> Result<RecordBatch, StoreError> {
    let Some(floor) = &kind.floor else {
        return Ok(batch);
    };
    let keys = keys_of(&batch)?;
    let mut last: Option<(&str, i64)> = None;
    let kept: BooleanArray = times(&batch)
        .iter()
        .zip(0..keys.len())
        .map(|(time, row)| {
            let key = keys.value(row);
            let from = match last {
                Some((of, from)) if of == key => from,
                _ => floor(key).0,
            };
            last = Some((key, from));
            Some(*time >= from)
        })
        .collect();
    Ok(filter_record_batch(&batch, &kept)?)
}
