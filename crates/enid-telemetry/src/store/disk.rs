//! How much room the disk has, and which hours were given up because it had none.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Space {
    /// Of a small disk less is left free than was asked for.
    pub(super) fn reserve(self, wanted: u64) -> u64 {
        wanted.min(self.total / SMALLEST_PART)
    }
}

/// At most one part of so many is left free.
const SMALLEST_PART: u64 = 8;

/// How it is asked for, of a directory.
type Ask = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

/// Says how much room there is.
#[derive(Clone)]
pub struct Disk(Arc<Ask>);

impl Disk {
    /// A disk that answers like this.
    pub fn new(ask: impl Fn(&Path) -> io::Result<Space> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(super) fn space(&self, directory: &Path) -> io::Result<Space> {
        (self.0)(directory)
    }
}

/// The disk that a directory is on.
impl Default for Disk {
    fn default() -> Self {
        Self::new(|directory| {
            let disk = rustix::fs::statvfs(directory)?;
            Ok(Space {
                free: disk.f_bavail.saturating_mul(disk.f_frsize),
                total: disk.f_blocks.saturating_mul(disk.f_frsize),
            })
        })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

/// The latest hour of each kind of which rows were removed before their time: whoever tells what was there
/// must know that there was more. A start finds it again.
#[derive(Debug)]
pub(super) struct Evicted {
    path: PathBuf,
    hours: Mutex<BTreeMap<String, i64>>,
}

impl Evicted {
    /// What an earlier process noted below a directory.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let path = root.join("evicted.json");
        let hours = match fs::read(&path) {
            // Not written by this: nothing is known.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            hours: Mutex::new(hours),
        })
    }

    /// Notes that rows of an hour are gone.
    pub(super) fn note(&self, kind: &str, hour: i64) {
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        if hours.get(kind).is_some_and(|known| *known >= hour) {
            return;
        }
        hours.insert(kind.to_owned(), hour);
        if let Err(error) = self.write(&hours) {
            tracing::warn!(%error, kind, "that telemetry was removed could not be noted");
        }
    }

    /// The latest hour of a kind of which rows are gone.
    pub(super) fn hour(&self, kind: &str) -> Option<i64> {
        let hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        hours.get(kind).copied()
    }

    /// Forgets all of it.
    pub(super) fn clear(&self) -> io::Result<()> {
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        hours.clear();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, hours: &BTreeMap<String, i64>) -> io::Result<()> {
        let unfinished = self.path.with_extension("part");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(hours)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_small_disk_an_eighth_is_left_free() {
        let space = |total| Space { free: 0, total };
        assert_eq!(space(64 << 20).reserve(512 << 20), 8 << 20);
        assert_eq!(space(1 << 40).reserve(512 << 20), 512 << 20);
        assert_eq!(space(1 << 40).reserve(0), 0);
    }

    #[test]
    fn the_latest_hour_that_was_given_up_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let evicted = Evicted::open(root.path()).unwrap();
        assert_eq!(evicted.hour("flow"), None);
        evicted.note("flow", 7);
        evicted.note("flow", 5);
        evicted.note("log", 9);
        let again = Evicted::open(root.path()).unwrap();
        assert_eq!((again.hour("flow"), again.hour("log")), (Some(7), Some(9)));
        again.clear().unwrap();
        assert_eq!(Evicted::open(root.path()).unwrap().hour("flow"), None);
    }
}
