//! What becomes durable all together: rows of any kinds, and notes of whoever appends them.
//!
//! A write is one frame of the write-ahead log. Its payload is a sequence of parts: a tag, a name, and
//! bytes, which are an Arrow stream, a note, or a number.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;

/// Rows and notes that are stored all together or not at all.
#[derive(Debug, Default)]
pub struct Write {
    pub(super) batches: Vec<(&'static str, RecordBatch)>,
    pub(super) notes: Vec<Note>,
}

/// A piece of the state of whoever appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) owner: String,
    /// Whether those before it are obsolete.
    pub(super) is_full: bool,
    pub(super) bytes: Vec<u8>,
}

impl Write {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And these rows, as the kind's schema has them.
    #[must_use]
    pub fn batch(mut self, kind: &'static str, batch: RecordBatch) -> Self {
        if batch.num_rows() > 0 {
            self.batches.push((kind, batch));
        }
        self
    }

    /// And a piece of the owner's own state. One that is full makes all earlier ones of the owner
    /// obsolete: write one now and then, the others are read again and again until then.
    #[must_use]
    pub fn note(mut self, owner: &'static str, is_full: bool, bytes: Vec<u8>) -> Self {
        self.notes.push(Note {
            owner: owner.to_owned(),
            is_full,
            bytes,
        });
        self
    }

    /// And all that is in another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.batches.extend(other.batches);
        self.notes.extend(other.notes);
        self
    }

    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.notes.is_empty()
    }

    /// What the notes say.
    #[cfg(test)]
    pub(crate) fn notes(&self) -> Vec<Vec<u8>> {
        let notes = self.notes.iter();
        notes.map(|note| note.bytes.clone()).collect()
    }

    /// As the log keeps it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, ArrowError> {
        let mut payload = Vec::new();
        for (kind, batch) in &self.batches {
            let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
            writer.write(batch)?;
            let bytes = writer.into_inner()?;
            put(&mut payload, ROWS, kind, &bytes);
        }
        for note in &self.notes {
            put_note(&mut payload, note);
        }
        Ok(payload)
    }
}

/// The payload that says up to which frame all rows are in files, or were.
pub(super) fn flushed(sequence: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    put(&mut payload, FLUSHED, "", &sequence.to_le_bytes());
    payload
}

/// The payload of notes that are written again.
pub(super) fn carried(notes: &[Note]) -> Vec<u8> {
    let mut payload = Vec::new();
    for note in notes {
        put_note(&mut payload, note);
    }
    payload
}

/// A part of a payload.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// Rows of a kind: see [`rows`].
    Rows(&'a str, &'a [u8]),
    /// A note.
    Note(Note),
    /// All rows up to this frame are in files, or were.
    Flushed(u64),
}

/// The batches of a part.
pub(super) fn rows(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(Cursor::new(bytes), None)?.collect()
}

/// Why a payload whose checksum is right cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadablePayload {
    /// A part is cut short.
    #[error("a part of the frame is cut short")]
    Short,
    /// A part of a sort that this version does not know.
    #[error("a part of the frame has the unknown tag {0}")]
    Tag(u8),
}

/// The parts of a payload.
pub(super) fn decode(mut rest: &[u8]) -> Result<Vec<Part<'_>>, UnreadablePayload> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let tag = take(&mut rest, 1)?[0];
        let name = take_counted(&mut rest)?;
        let name = std::str::from_utf8(name).map_err(|_not_text| UnreadablePayload::Short)?;
        let bytes = take_counted(&mut rest)?;
        match tag {
            ROWS => parts.push(Part::Rows(name, bytes)),
            NOTE | FULL_NOTE => parts.push(Part::Note(Note {
                owner: name.to_owned(),
                is_full: tag == FULL_NOTE,
                bytes: bytes.to_vec(),
            })),
            FLUSHED => {
                let number = bytes.try_into().map_err(|_size| UnreadablePayload::Short)?;
                parts.push(Part::Flushed(u64::from_le_bytes(number)));
            }
            other => return Err(UnreadablePayload::Tag(other)),
        }
    }
    Ok(parts)
}

const ROWS: u8 = 1;
const NOTE: u8 = 2;
const FULL_NOTE: u8 = 3;
const FLUSHED: u8 = 4;

fn put_note(payload: &mut Vec<u8>, note: &Note) {
    let tag = if note.is_full { FULL_NOTE } else { NOTE };
    put(payload, tag, &note.owner, &note.bytes);
}

fn put(payload: &mut Vec<u8>, tag: u8, name: &str, bytes: &[u8]) {
    payload.push(tag);
    for counted in [name.as_bytes(), bytes] {
        // A frame of more than four gigabytes is refused before it is written.
        let length = u32::try_from(counted.len()).unwrap_or(u32::MAX);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(counted);
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], UnreadablePayload> {
    let (head, tail) = rest
        .split_at_checked(length)
        .ok_or(UnreadablePayload::Short)?;
    *rest = tail;
    Ok(head)
}

fn take_counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], UnreadablePayload> {
    let length = take(rest, 4)?;
    // Unwrap: four bytes were taken.
    let length = u32::from_le_bytes(length.try_into().unwrap());
    take(rest, length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_from_a_payload_and_a_short_one_is_refused() {
        let write =
            Write::new()
                .note("flow", true, b"all".to_vec())
                .note("flow", false, Vec::new());
        let mut payload = write.encode().unwrap();
        payload.extend(flushed(7));
        let parts = decode(&payload).unwrap();
        let [Part::Note(first), Part::Note(second), Part::Flushed(7)] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!(*first, write.notes[0]);
        assert_eq!(*second, write.notes[1]);
        payload.pop();
        assert!(matches!(decode(&payload), Err(UnreadablePayload::Short)));
        assert!(matches!(
            decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(UnreadablePayload::Tag(9))
        ));
    }
}
