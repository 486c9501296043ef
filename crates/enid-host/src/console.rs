//! The console of an instance: a file that its first process appends to and keeps short.
//!
//! The file holds at least the last [`KEPT`] bytes and never more than twice as many. The writer
//! shortens it under a lock that readers share, so that a reader sees no half-moved text. How much
//! was cut off is kept beside it: whoever follows a console knows what it has read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

/// What is read of a console at most; EC2 keeps as much (GetConsoleOutput).
pub const KEPT: u64 = 64 * 1024;

/// The last [`KEPT`] bytes of the console of the instance whose directory this is.
///
/// An instance that has never been started has an empty console.
pub fn read(instance_dir: &Path) -> io::Result<Vec<u8>> {
    let mut file = match File::open(instance_dir.join(FILE_NAME)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    rustix::fs::flock(&file, FlockOperation::LockShared)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT)))?;
    let mut bytes = Vec::new();
    file.take(KEPT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A part of a console, of everything that was ever written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it begins; later than was asked for if that has been cut off.
    pub start: u64,
    /// What it is, up to [`KEPT`] bytes.
    pub bytes: Vec<u8>,
}

/// What follows a place in the console of the instance whose directory this is.
pub fn read_from(instance_dir: &Path, place: u64) -> io::Result<Part> {
    let mut file = match File::open(instance_dir.join(FILE_NAME)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let (start, bytes) = (place, Vec::new());
            return Ok(Part { start, bytes });
        }
        file => file?,
    };
    rustix::fs::flock(&file, FlockOperation::LockShared)?;
    let cut = read_cut(instance_dir)?;
    let end = cut + file.metadata()?.len();
    // A console that is shorter than what was read of it is another one.
    let start = if place > end { cut } else { place.max(cut) };
    file.seek(SeekFrom::Start(start - cut))?;
    let mut bytes = Vec::new();
    file.take(KEPT).read_to_end(&mut bytes)?;
    Ok(Part { start, bytes })
}

/// How many bytes have been cut off.
fn read_cut(instance_dir: &Path) -> io::Result<u64> {
    match fs::read_to_string(instance_dir.join(CUT_FILE_NAME)) {
        Ok(text) if text.is_empty() => Ok(0),
        Ok(text) => text.parse().map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// When the console was last written to.
pub fn written(instance_dir: &Path) -> io::Result<std::time::SystemTime> {
    fs::metadata(instance_dir.join(FILE_NAME))?.modified()
}

/// The writing end of a console.
#[derive(Debug)]
pub(crate) struct Console {
    file: File,
    length: u64,
    /// Bytes that were cut off, and where that is kept. It is open: the writer's root is another one soon.
    cut: u64,
    cut_file: File,
}

impl Console {
    /// Opens the console in an instance's directory; what it holds stays.
    pub(crate) fn open(instance_dir: &Path) -> io::Result<Self> {
        let open = |name| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(instance_dir.join(name))
        };
        let file = open(FILE_NAME)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            cut: read_cut(instance_dir)?,
            cut_file: open(CUT_FILE_NAME)?,
        })
    }

    /// Appends to the console.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PART) {
            self.file.write_all_at(part, self.length)?;
            self.length += part.len() as u64;
            if self.length > 2 * KEPT - PART as u64 {
                self.shorten()?;
            }
        }
        self.file.flush()
    }

    fn shorten(&mut self) -> io::Result<()> {
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(self.length - KEPT))?;
        (&self.file).take(KEPT).read_to_end(&mut tail)?;
        rustix::fs::flock(&self.file, FlockOperation::LockExclusive)?;
        self.cut += self.length - tail.len() as u64;
        // It only grows, so what stands there before is written over.
        let cut = self.cut.to_string();
        let moved = self
            .cut_file
            .write_all_at(cut.as_bytes(), 0)
            .and_then(|()| self.file.write_all_at(&tail, 0))
            .and_then(|()| self.file.set_len(tail.len() as u64));
        rustix::fs::flock(&self.file, FlockOperation::Unlock)?;
        self.length = tail.len() as u64;
        moved
    }
}

/// The console's name in the instance's directory.
const FILE_NAME: &str = "console.log";

/// Where it is kept how much was cut off.
const CUT_FILE_NAME: &str = "console.cut";

/// How much is written between two looks at the length.
const PART: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), b"");
        let mut console = Console::open(dir.path()).unwrap();
        let mut all = Vec::new();
        for line in 0..40_000 {
            let line = format!("line {line}\n");
            console.write(line.as_bytes()).unwrap();
            all.extend_from_slice(line.as_bytes());
            assert!(console.length <= 2 * KEPT);
        }
        let kept = read(dir.path()).unwrap();
        assert_eq!(kept.len() as u64, KEPT);
        assert!(all.ends_with(&kept));
    }

    #[test]
    fn a_console_is_followed_over_cuts_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_from(dir.path(), 0).unwrap().bytes, b"");
        let (mut written, mut read, mut place) = (Vec::new(), Vec::new(), 0);
        for round in 0..3 {
            let mut console = Console::open(dir.path()).unwrap();
            for line in 0..10_000 {
                let line = format!("{round} {line}\n");
                console.write(line.as_bytes()).unwrap();
                written.extend_from_slice(line.as_bytes());
                if line.len() % 3 == 0 {
                    let part = read_from(dir.path(), place).unwrap();
                    assert_eq!(part.start, place);
                    place += part.bytes.len() as u64;
                    read.extend(part.bytes);
                }
            }
        }
        assert!(written.starts_with(&read) && read.len() as u64 > 2 * KEPT);
        // Who comes too late is told what is missing.
        let part = read_from(dir.path(), 0).unwrap();
        assert!(part.start > 0);
        let start = usize::try_from(part.start).unwrap();
        assert!(written[start..].starts_with(&part.bytes));
        // Another console starts again.
        let part = read_from(dir.path(), u64::MAX / 2).unwrap();
        assert_eq!(part.start, read_from(dir.path(), 0).unwrap().start);
    }

    #[test]
    fn a_console_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        Console::open(dir.path()).unwrap().write(b"one\n").unwrap();
        Console::open(dir.path()).unwrap().write(b"two\n").unwrap();
        assert_eq!(read(dir.path()).unwrap(), b"one\ntwo\n");
    }
}
