//! Which notes count, and in which frames of the log they are.

use std::collections::BTreeMap;

use super::wal::Frame;
use super::write::Note;

/// Where the notes are that count, by their owners.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Vec<(Frame, usize)>>);

impl Notes {
    /// Adds a note of a frame.
    pub(super) fn add(&mut self, note: &Note, frame: Frame) {
        let of = match self.0.get_mut(&note.owner) {
            Some(of) => of,
            None => self.0.entry(note.owner.clone()).or_default(),
        };
        if note.is_full {
            of.clear();
        }
        of.push((frame, note.bytes.len()));
    }

    /// All owners, with the bytes of each's notes, those of the fewest first.
    pub(super) fn by_size(&self) -> Vec<(usize, String)> {
        let owners = self.0.iter().map(|(owner, notes)| {
            let bytes = notes.iter().map(|(_, bytes)| bytes).sum();
            (bytes, owner.clone())
        });
        let mut owners: Vec<(usize, String)> = owners.collect();
        owners.sort();
        owners
    }

    /// The frames with an owner's notes and the bytes of each, oldest first.
    pub(super) fn of(&self, owner: &str) -> &[(Frame, usize)] {
        self.0.get(owner).map_or(&[], Vec::as_slice)
    }

    /// The oldest segment that is needed.
    pub(super) fn first_segment(&self) -> Option<u64> {
        let frames = self.0.values().filter_map(|of| of.first());
        frames.map(|(frame, _)| frame.segment).min()
    }
}
