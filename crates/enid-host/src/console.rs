//! The console of an instance: a file that its first process appends to and keeps short.
//!
//! The file holds at least the last [`KEPT`] bytes and never more than twice as many. The writer
//! shortens it under a lock that readers share, so that a reader sees no half-moved text.

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

/// When the console was last written to.
pub fn written(instance_dir: &Path) -> io::Result<std::time::SystemTime> {
    fs::metadata(instance_dir.join(FILE_NAME))?.modified()
}

/// The writing end of a console.
#[derive(Debug)]
pub(crate) struct Console {
    file: File,
    length: u64,
}

impl Console {
    /// Opens the console in an instance's directory; what it holds stays.
    pub(crate) fn open(instance_dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(instance_dir.join(FILE_NAME))?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
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
        let moved = self
            .file
            .write_all_at(&tail, 0)
            .and_then(|()| self.file.set_len(tail.len() as u64));
        rustix::fs::flock(&self.file, FlockOperation::Unlock)?;
        self.length = tail.len() as u64;
        moved
    }
}

/// The console's name in the instance's directory.
const FILE_NAME: &str = "console.log";

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
    fn a_console_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        Console::open(dir.path()).unwrap().write(b"one\n").unwrap();
        Console::open(dir.path()).unwrap().write(b"two\n").unwrap();
        assert_eq!(read(dir.path()).unwrap(), b"one\ntwo\n");
    }
}
