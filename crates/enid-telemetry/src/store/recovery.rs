//! What a store finds when it is opened: files, and the rows and notes of the log.
//!
//! A row of the log is left out if a file has it already: when all rows up to its frame are known to be in
//! files, or when a file of its hour goes up to its frame, because the last process ended between writing
//! files and noting it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow_select::filter::filter_record_batch;

use super::disk::Evicted;
use super::files::Files;
use super::keeper::say_evicted;
use super::kind::{ARRIVAL, Kind, conform};
use super::notes::Notes;
use super::partition::{Place, hour_of};
use super::tables::{ROW_BITS, Stored, Tables, times};
use super::wal::{self, Frame, Wal};
use super::write::{Part, decode, rows};
use super::{Options, StoreError};

/// What was found.
pub(super) struct Recovered {
    pub(super) tables: Tables,
    pub(super) wal: Wal,
    /// The sequence of the next frame.
    pub(super) sequence: u64,
    pub(super) notes: Notes,
}

pub(super) fn recover(
    options: &Options,
    kinds: &BTreeMap<&'static str, Kind>,
    files: &Files,
    evicted: &Evicted,
) -> Result<Recovered, StoreError> {
    let mut tables = Tables::default();
    for kind in kinds.keys() {
        tables.0.entry(kind).or_default();
    }
    let mut sequence = 0;
    // Up to which frame the files of an hour go.
    let mut covered: BTreeMap<(&'static str, i64), u64> = BTreeMap::new();
    for stored in list(files)? {
        sequence = sequence.max(stored.place.last + 1);
        // What a version without this kind finds is left alone.
        let Some((kind, _)) = kinds.get_key_value(stored.place.kind.as_str()) else {
            continue;
        };
        let covered = covered.entry((kind, stored.place.hour)).or_default();
        *covered = stored.place.last.max(*covered);
        if let Some(table) = tables.0.get_mut(kind) {
            table.files.push(Arc::new(stored));
        }
    }
    make_room(options, files, evicted, &mut tables)?;
    let log = options.root.join("log");
    let mut flushed = 0;
    wal::look_through(&log, |frame, payload| {
        sequence = sequence.max(frame.sequence + 1);
        for part in decode(payload).unwrap_or_default() {
            if let Part::Flushed(to) = part {
                flushed = flushed.max(to + 1);
            }
        }
    })?;
    let mut notes = Notes::default();
    let mut replay = Replay {
        kinds,
        covered,
        flushed,
        tables,
    };
    let wal = Wal::open(&log, options.is_durable, |frame, payload| {
        if let Err(error) = replay.frame(frame, payload, &mut notes) {
            tracing::error!(
                sequence = frame.sequence,
                %error,
                "a frame of the telemetry log cannot be read and is lost"
            );
        }
    })?;
    Ok(Recovered {
        tables: replay.tables,
        wal,
        sequence,
        notes,
    })
}

/// Removes the oldest files as long as the disk lacks what is left free: a full one must not keep a daemon
/// from starting.
fn make_room(
    options: &Options,
    files: &Files,
    evicted: &Evicted,
    tables: &mut Tables,
) -> Result<(), StoreError> {
    loop {
        let space = options.disk.space(files.directory())?;
        if space.free >= space.reserve(options.disk_reserve) {
            return Ok(());
        }
        let Some(file) = tables.take_oldest() else {
            return Ok(());
        };
        files.remove(&file.place.path())?;
        say_evicted(&file);
        evicted.note(&file.place.kind, file.place.hour);
    }
}

/// The files that there are. Those that others cover are removed.
fn list(files: &Files) -> Result<Vec<Stored>, StoreError> {
    let listed = files.list()?;
    let stored = listed.into_iter().filter_map(|(path, bytes)| {
        let place = Place::parse(&path)?;
        Some(Stored { place, bytes })
    });
    let stored: Vec<Stored> = stored.collect();
    let mut by_hour: BTreeMap<(String, i64), Vec<Stored>> = BTreeMap::new();
    for file in stored {
        let hour = (file.place.kind.clone(), file.place.hour);
        by_hour.entry(hour).or_default().push(file);
    }
    let mut kept = Vec::new();
    for hour in by_hour.into_values() {
        for file in &hour {
            if hour.iter().any(|other| other.place.covers(&file.place)) {
                files.remove(&file.place.path())?;
            } else {
                kept.push(file.clone());
            }
        }
    }
    kept.sort_by_key(|file| (file.place.hour, file.place.first));
    Ok(kept)
}

struct Replay<'a> {
    kinds: &'a BTreeMap<&'static str, Kind>,
    covered: BTreeMap<(&'static str, i64), u64>,
    /// The first frame whose rows may not be in files.
    flushed: u64,
    tables: Tables,
}

impl Replay<'_> {
    fn frame(
        &mut self,
        frame: Frame,
        payload: &[u8],
        notes: &mut Notes,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut row = 0;
        for part in decode(payload)? {
            match part {
                Part::Note(note) => notes.add(&note, frame),
                Part::Rows(kind, bytes) if frame.sequence >= self.flushed => {
                    let Some((name, kind)) = self.kinds.get_key_value(kind) else {
                        continue;
                    };
                    for batch in rows(bytes)? {
                        let batch = conform(batch, &kind.schema())?;
                        let stored = arrived(kind, &batch, frame.sequence, row)?;
                        row += batch.num_rows() as u64;
                        let missing = self.without_covered(name, &stored)?;
                        if missing.num_rows() > 0
                            && let Some(table) = self.tables.0.get_mut(name)
                        {
                            table.add(missing);
                        }
                    }
                }
                Part::Rows(..) | Part::Flushed(_) => {}
            }
        }
        Ok(())
    }

    /// The rows that no file has.
    fn without_covered(
        &self,
        kind: &'static str,
        batch: &RecordBatch,
    ) -> Result<RecordBatch, StoreError> {
        let arrivals = match batch.column_by_name(ARRIVAL) {
            Some(column) => column.as_primitive::<UInt64Type>().values().as_ref(),
            None => &[],
        };
        let missing = times(batch).iter().zip(arrivals).map(|(time, arrival)| {
            let last = self.covered.get(&(kind, hour_of(*time)));
            Some(last.is_none_or(|last| arrival >> ROW_BITS > *last))
        });
        let missing: BooleanArray = missing.collect();
        Ok(filter_record_batch(batch, &missing)?)
    }
}

/// Appended rows as they are stored: with their arrival, from that of the frame and a number of rows before
/// them in it on.
pub(super) fn arrived(
    kind: &Kind,
    batch: &RecordBatch,
    sequence: u64,
    before: u64,
) -> Result<RecordBatch, StoreError> {
    let first = (sequence << ROW_BITS) + before;
    let arrivals = first..first + batch.num_rows() as u64;
    let arrivals: ArrayRef = Arc::new(UInt64Array::from_iter_values(arrivals));
    let mut columns = batch.columns().to_vec();
    // After the time and the key.
    columns.insert(2, arrivals);
    Ok(RecordBatch::try_new(kind.stored_schema(), columns)?)
}
