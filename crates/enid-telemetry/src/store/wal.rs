//! The write-ahead log: segments of checksummed frames.
//!
//! A frame is durable when [`Wal::commit`] returns. At open the frames are read again in their order; what
//! follows the last whole frame of the last segment was never answered, and is cut off. A frame that is
//! broken anywhere else was damaged after it was durable: what follows it in its segment is given up, with
//! a word to the log.
//!
//! ```text
//! segment: magic (8 bytes), frames      frame: length (4), checksum (4), sequence (8), payload
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"enidwal1";
const HEADER: usize = 16;

/// The longest payload.
pub(super) const PAYLOAD_MAX: usize = 256 << 20;

/// The open log.
#[derive(Debug)]
pub(super) struct Wal {
    directory: PathBuf,
    is_durable: bool,
    segment: u64,
    file: File,
    /// The bytes of whole frames in the open segment.
    length: u64,
    /// The lengths of the segments before it.
    older: BTreeMap<u64, u64>,
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens a log, tells all its frames in their order, and begins a new segment.
    pub(super) fn open(
        directory: &Path,
        is_durable: bool,
        mut tell: impl FnMut(Frame, &[u8]),
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut segments = segments(directory)?;
        let last = segments.pop_last();
        let mut older = BTreeMap::new();
        for (number, path) in segments {
            let read = replay(number, &path, &mut tell)?;
            if !read.is_whole {
                tracing::error!(
                    segment = number,
                    at = read.length,
                    "a frame of the telemetry log is damaged, what follows it in its segment is lost"
                );
            }
            older.insert(number, read.length);
        }
        let mut segment = 0;
        if let Some((number, path)) = last {
            let read = replay(number, &path, &mut tell)?;
            if read.length == 0 {
                // It was begun, and nothing was written to it.
                remove(&path)?;
            } else if !read.is_whole {
                tracing::info!(
                    segment = number,
                    at = read.length,
                    "cut off the end of the telemetry log, which was never answered"
                );
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(read.length)?;
                file.sync_all()?;
            }
            if read.length > 0 {
                older.insert(number, read.length);
            }
            segment = number + 1;
        }
        let file = begin(directory, segment, is_durable)?;
        Ok(Self {
            directory: directory.to_owned(),
            is_durable,
            segment,
            file,
            length: MAGIC.len() as u64,
            older,
            buffer: Vec::new(),
        })
    }

    /// The number of the open segment.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.length + self.older.values().sum::<u64>()
    }

    /// Adds a frame to what [`Wal::commit`] will write, and says where it will be.
    pub(super) fn push(&mut self, sequence: u64, payload: &[u8]) -> Frame {
        let frame = Frame {
            segment: self.segment,
            offset: self.length + self.buffer.len() as u64,
            sequence,
        };
        let sequence = sequence.to_le_bytes();
        // Longer ones are refused where they are made.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer
            .extend_from_slice(&checksum(&sequence, payload).to_le_bytes());
        self.buffer.extend_from_slice(&sequence);
        self.buffer.extend_from_slice(payload);
        frame
    }

    /// The payload of a durable frame.
    pub(super) fn read(&self, frame: Frame) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.directory.join(name(frame.segment)))?;
        file.seek(SeekFrom::Start(frame.offset))?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let [a, b, c, d, e, f, g, h, sequence @ ..] = header;
        let mut payload = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
        file.read_exact(&mut payload)?;
        if checksum(&sequence, &payload) != u32::from_le_bytes([e, f, g, h]) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(payload)
    }

    /// Makes all pushed frames durable, or none of them.
    pub(super) fn commit(&mut self) -> Result<(), CommitError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.buffer);
        let written = self.file.write_all(&frames);
        self.buffer = frames;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        if let Err(source) = written {
            // The part that was written goes: the next frame must follow the last whole one.
            let cut = self.file.set_len(self.length);
            let cut = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(match cut {
                Ok(_) => CommitError::NotWritten(source),
                Err(error) => CommitError::Unknown(error),
            });
        }
        if self.is_durable {
            self.file.sync_data().map_err(CommitError::Unknown)?;
        }
        self.length = self.file.stream_position().map_err(CommitError::Unknown)?;
        Ok(())
    }

    /// Goes on in a new segment.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let next = self.segment + 1;
        let file = begin(&self.directory, next, self.is_durable)?;
        self.older.insert(self.segment, self.length);
        self.file = file;
        self.segment = next;
        self.length = MAGIC.len() as u64;
        Ok(())
    }

    /// Removes the segments before this one.
    pub(super) fn forget_before(&mut self, segment: u64) -> io::Result<()> {
        while let Some((number, _)) = self.older.first_key_value() {
            let number = *number;
            if number >= segment {
                break;
            }
            remove(&self.directory.join(name(number)))?;
            self.older.remove(&number);
        }
        Ok(())
    }
}

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) segment: u64,
    /// Where in the segment it begins.
    pub(super) offset: u64,
    pub(super) sequence: u64,
}

/// Tells all frames of a log that nobody has open, and changes nothing.
pub(super) fn look_through(directory: &Path, mut tell: impl FnMut(Frame, &[u8])) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for (number, path) in segments(directory)? {
        replay(number, &path, &mut tell)?;
    }
    Ok(())
}

/// What of the buffer is kept between commits.
const BUFFER_KEPT: usize = 4 << 20;

/// Why frames are not durable.
#[derive(Debug)]
pub(super) enum CommitError {
    /// They are not in the log, and it goes on.
    NotWritten(io::Error),
    /// They may be or not: the log must be opened again.
    Unknown(io::Error),
}

fn checksum(sequence: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sequence);
    hasher.update(payload);
    hasher.finalize()
}

fn name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

fn begin(directory: &Path, segment: u64, is_durable: bool) -> io::Result<File> {
    let path = directory.join(name(segment));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    file.write_all(&MAGIC)?;
    if is_durable {
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

fn segments(directory: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".wal"))
            .and_then(|stem| u64::from_str_radix(stem, 16).ok());
        if let Some(number) = number {
            found.insert(number, path);
        }
    }
    Ok(found)
}

/// That it is gone already is fine.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a segment holds.
struct Replayed {
    /// The bytes up to the end of the last whole frame.
    length: u64,
    /// Whether that is all.
    is_whole: bool,
}

/// Tells the whole frames of a segment.
fn replay(segment: u64, path: &Path, tell: &mut dyn FnMut(Frame, &[u8])) -> io::Result<Replayed> {
    let mut file = io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let size = file.get_ref().metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    let mut length = 0;
    if size >= MAGIC.len() as u64 {
        file.read_exact(&mut magic)?;
        length = MAGIC.len() as u64;
    }
    let broken = |length| Replayed {
        length,
        is_whole: false,
    };
    if magic != MAGIC {
        return Ok(broken(0));
    }
    let mut payload = Vec::new();
    while length < size {
        let rest = size - length;
        let mut header = [0; HEADER];
        if rest < HEADER as u64 {
            return Ok(broken(length));
        }
        file.read_exact(&mut header)?;
        let [a, b, c, d, e, f, g, h, sequence @ ..] = header;
        let bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
        if bytes > PAYLOAD_MAX as u64 || bytes > rest - HEADER as u64 {
            return Ok(broken(length));
        }
        payload.resize(usize::try_from(bytes).unwrap_or(0), 0);
        file.read_exact(&mut payload)?;
        if checksum(&sequence, &payload) != u32::from_le_bytes([e, f, g, h]) {
            return Ok(broken(length));
        }
        let frame = Frame {
            segment,
            offset: length,
            sequence: u64::from_le_bytes(sequence),
        };
        tell(frame, &payload);
        length += HEADER as u64 + bytes;
    }
    Ok(Replayed {
        length,
        is_whole: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directory: &Path) -> (Wal, Vec<(u64, Vec<u8>)>) {
        let mut frames = Vec::new();
        let wal = Wal::open(directory, true, |frame, payload| {
            frames.push((frame.sequence, payload.to_vec()));
        })
        .unwrap();
        (wal, frames)
    }

    fn put(wal: &mut Wal, sequence: u64, payload: &[u8]) {
        wal.push(sequence, payload);
        wal.commit().unwrap();
    }

    #[test]
    fn frames_come_back_in_their_order_over_segments() {
        let directory = tempfile::tempdir().unwrap();
        let (mut wal, frames) = read(directory.path());
        assert!(frames.is_empty());
        put(&mut wal, 1, b"one");
        wal.push(2, b"two");
        wal.push(3, b"");
        wal.commit().unwrap();
        wal.rotate().unwrap();
        let four = wal.push(4, b"four");
        wal.commit().unwrap();
        assert_eq!(wal.read(four).unwrap(), b"four");
        drop(wal);
        let (mut wal, frames) = read(directory.path());
        let expected = [(1, "one"), (2, "two"), (3, ""), (4, "four")];
        let expected: Vec<(u64, Vec<u8>)> = expected
            .map(|(number, text)| (number, text.as_bytes().to_vec()))
            .into();
        assert_eq!(frames, expected);
        wal.forget_before(1).unwrap();
        drop(wal);
        assert_eq!(read(directory.path()).1, [(4, b"four".to_vec())]);
    }

    #[test]
    fn a_torn_end_is_cut_off_at_any_byte_and_what_was_before_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (mut wal, _) = read(directory.path());
        put(&mut wal, 1, b"first");
        let whole = wal.length;
        put(&mut wal, 2, b"second");
        let segment = directory.path().join(name(wal.segment));
        drop(wal);
        let bytes = fs::read(&segment).unwrap();
        for length in usize::try_from(whole).unwrap()..bytes.len() {
            let torn = tempfile::tempdir().unwrap();
            let path = torn.path().join(name(0));
            fs::write(&path, &bytes[..length]).unwrap();
            let (mut wal, frames) = read(torn.path());
            assert_eq!(frames, [(1, b"first".to_vec())], "{length}");
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            put(&mut wal, 3, b"third");
            drop(wal);
            assert_eq!(read(torn.path()).1.len(), 2);
        }
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let (mut wal, _) = read(directory.path());
        put(&mut wal, 1, b"first");
        let at = usize::try_from(wal.length).unwrap() - 1;
        let segment = directory.path().join(name(wal.segment));
        drop(wal);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[at] ^= 1;
        fs::write(&segment, bytes).unwrap();
        assert!(read(directory.path()).1.is_empty());
    }
}
