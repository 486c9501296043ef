//! Captures: what is told of an ENI's packets while somebody captures there.
//!
//! The program that gets copies ([`copy`](crate::copy)) writes for each a [`Seen`] and the packet's first
//! bytes to a buffer that the agent reads. There is no buffer while nobody reads, and one that is full loses
//! what comes, which is counted.

use core::mem::size_of;

use crate::{copy::Note, frame::Frame, tables::Tables};

/// Value of `captures`: an ENI that somebody captures at.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Capture {
    /// How many bytes of each packet are told at most.
    pub snaplen: u32,
    /// Always zero.
    pub pad: u32,
}

/// The most bytes of a packet that a capture can have. A packet of the wire is shorter; one that stands for
/// several is cut.
pub const SNAPLEN_MAX: u32 = 16_384;

/// What is told of one packet, before its bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When it was copied, by the monotonic clock.
    pub time_ns: u64,
    /// Its length from the destination MAC on.
    pub length: u32,
    /// How many of its bytes follow.
    pub captured: u32,
    /// How many packets of the wire it stands for; 0 if nobody has counted them.
    pub segments: u32,
    /// Payload bytes in each of these; 0 if it is one.
    pub segment_size: u32,
    /// What became of it.
    pub note: Note,
}

const _: () = assert!(size_of::<Seen>() == 112);

/// Tells of a copy. False if nobody captures at its ENI.
#[inline(always)]
pub fn seen<T: Tables, F: Frame>(
    tables: &T,
    frame: &F,
    note: &Note,
    time_ns: u64,
    seen: &mut Seen,
) -> bool {
    let Some(capture) = tables.capture(note.eni) else {
        return false;
    };
    let length = frame.len();
    let most = if capture.snaplen < SNAPLEN_MAX {
        capture.snaplen
    } else {
        SNAPLEN_MAX
    };
    seen.time_ns = time_ns;
    seen.length = length;
    seen.captured = if length < most { length } else { most };
    seen.segments = frame.segments();
    seen.segment_size = frame.segment_size();
    seen.note = *note;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Bytes;
    use crate::memory::Memory;
    use crate::table_set::TableSet;

    #[test]
    fn a_capture_has_as_many_bytes_as_were_asked_for() {
        let mut tables = TableSet::default();
        for (eni, snaplen) in [(1, 40), (2, u32::MAX)] {
            tables.captures.insert(eni, Capture { snaplen, pad: 0 });
        }
        let memory = Memory::new(tables);
        let told = |eni, length: usize| {
            let mut bytes = vec![0; length];
            let frame = Bytes::new(&mut bytes);
            let note = Note { eni, ..Note::NONE };
            let mut found = Seen::default();
            let is_told = seen(&memory, &frame, &note, 5, &mut found);
            is_told.then_some((found.length, found.captured, found.time_ns))
        };
        assert_eq!(told(1, 60), Some((60, 40, 5)));
        assert_eq!(told(1, 30), Some((30, 30, 5)));
        assert_eq!(told(2, 60_000), Some((60_000, SNAPLEN_MAX, 5)));
        assert_eq!(told(3, 60), None);
    }
}
