//! Up to when the records of flow logs were delivered.

use std::collections::BTreeMap;

use enid_model::id::FlowLogId;

use crate::store::{Store, StoreError, Write};

/// Up to when a flow log's records were delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Done {
    /// All of what was before.
    pub(super) until_ms: i64,
    /// And so many parts of what begins then.
    pub(super) parts: u64,
}

/// All of it that one delivery knows.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    owner: &'static str,
    done: BTreeMap<FlowLogId, Done>,
}

/// Bytes of one flow log in a note.
const NOTE_BYTES: usize = 24;

impl Progress {
    /// What the notes of owners say: each flow log's furthest. Notes are written as the first owner.
    pub(super) fn open(store: &Store, owners: &[&'static str]) -> Result<Self, StoreError> {
        let mut progress = Self {
            owner: owners.first().copied().unwrap_or_default(),
            done: BTreeMap::new(),
        };
        for owner in owners {
            for note in store.notes(owner)? {
                progress.read(&note);
            }
        }
        Ok(progress)
    }

    fn read(&mut self, note: &[u8]) {
        for one in note.chunks_exact(NOTE_BYTES) {
            let (words, _) = one.as_chunks::<8>();
            let [id, until, parts] = words else { continue };
            let done = Done {
                until_ms: i64::from_le_bytes(*until),
                parts: u64::from_le_bytes(*parts),
            };
            let known = self.done.entry(FlowLogId(u64::from_le_bytes(*id)));
            let known = known.or_insert(done);
            *known = done.max(*known);
        }
    }

    /// Up to when a flow log's records were delivered, if any were.
    pub(super) fn of(&self, id: FlowLogId) -> Option<Done> {
        self.done.get(&id).copied()
    }

    /// Up to when records of any flow log were delivered, or parts of them.
    pub(super) fn latest_ms(&self, window_ms: i64) -> i64 {
        let ends = self.done.values().map(|done| match done.parts {
            0 => done.until_ms,
            _ => done.until_ms.saturating_add(window_ms),
        });
        ends.max().unwrap_or(i64::MIN)
    }

    /// The note that a flow log's records were delivered up to there.
    pub(super) fn note(&self, id: FlowLogId, done: Done) -> Write {
        let mut all = self.done.clone();
        all.insert(id, done);
        let mut bytes = Vec::with_capacity(all.len() * NOTE_BYTES);
        for (id, done) in all {
            bytes.extend(id.0.to_le_bytes());
            bytes.extend(done.until_ms.to_le_bytes());
            bytes.extend(done.parts.to_le_bytes());
        }
        Write::new().note(self.owner, true, bytes)
    }

    /// What the note said is durable.
    pub(super) fn set(&mut self, id: FlowLogId, done: Done) {
        self.done.insert(id, done);
    }

    /// Forgets flow logs that are gone.
    pub(super) fn keep(&mut self, is_there: impl Fn(FlowLogId) -> bool) {
        self.done.retain(|id, _| is_there(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_bring_the_furthest_back() {
        let mut progress = Progress {
            owner: "it",
            done: BTreeMap::new(),
        };
        let done = |until_ms, parts| Done { until_ms, parts };
        progress.set(FlowLogId(1), done(60_000, 0));
        let write = progress.note(FlowLogId(2), done(60_000, 3));
        let [note] = &write.notes()[..] else {
            panic!("one note");
        };
        let mut again = Progress {
            done: BTreeMap::from([(FlowLogId(1), done(120_000, 0))]),
            ..progress.clone()
        };
        again.read(note);
        assert_eq!(again.of(FlowLogId(1)), Some(done(120_000, 0)));
        assert_eq!(again.of(FlowLogId(2)), Some(done(60_000, 3)));
        assert_eq!(again.latest_ms(1_000), 120_000);
        again.keep(|id| id == FlowLogId(2));
        // A window of which a part was delivered must not change any more.
        assert_eq!(again.latest_ms(1_000), 61_000);
    }
}
