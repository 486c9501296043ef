//! A sandbox's first process, as seen from outside and across restarts of the daemon.
//!
//! The kernel uses process numbers again. A process is known by its number, the time it started
//! and the boot that it started in; the three are kept in the instance's directory, so that
//! any later program finds the process or learns that it is gone.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

/// What is known of a first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number in the host's PID namespace.
    pid: i32,
    /// When it started, in clock ticks since the host did.
    started: u64,
    /// The host's boot that it started in.
    boot: String,
}

/// Whether a first process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Dead,
    /// It runs, and the sandbox is complete.
    Running,
    /// It runs, and is still setting up its root filesystem.
    Starting,
}

impl Identity {
    /// The identity of a process that runs now.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Self {
            pid,
            started: Stat::read(pid)?.started,
            boot: boot_id()?,
        })
    }

    /// Reads what an earlier program wrote; `None` if no process was ever started.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        // A file that a crash cut short belongs to a process that was never told to go on.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Writes the identity for later programs.
    pub(crate) fn store(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::File::create(&new)?.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }

    /// Whether the process is there; collects it if it was a child of this process and has ended.
    pub(crate) fn status(&self) -> Status {
        if !self.is_of_this_host_boot() {
            return Status::Dead;
        }
        match Stat::read(self.pid) {
            Ok(stat) if stat.started != self.started => Status::Dead,
            Ok(stat) if matches!(stat.state, 'Z' | 'X') => {
                self.collect();
                Status::Dead
            }
            Ok(stat) if stat.name == READY_NAME => Status::Running,
            Ok(_) => Status::Starting,
            Err(_) => Status::Dead,
        }
    }

    /// Whether the process started since the host did.
    pub(crate) fn is_of_this_host_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
    }

    /// Whether these are the process's first arguments. One that has ended meanwhile has none, and
    /// is taken as fitting: its end is for others to see.
    pub(crate) fn is_started_with(&self, own: &[String]) -> bool {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
        let is_same = own
            .iter()
            .all(|own| arguments.next() == Some(own.as_bytes()));
        is_same || self.status() == Status::Dead
    }

    /// A descriptor of the process, which becomes readable when it ends; `None` if it has ended.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            pidfd => pidfd?,
        };
        // The number may have changed hands before it was opened; from here on it cannot.
        Ok((self.status() != Status::Dead).then_some(pidfd))
    }

    fn collect(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // Not a child of this process: whoever is its parent collects it.
            let _ = rustix::process::waitid(WaitId::Pid(pid), options);
        }
    }
}

/// The part of `/proc/PID/stat` that is of interest.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name stands in parentheses and may hold any character, parentheses too.
    fn parse(text: &str) -> Option<Self> {
        let (_pid, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // proc(5): the state is field 3, the start time field 22.
        let started = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            state,
            started,
        })
    }
}

/// Which start of the host this is.
pub(crate) fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim_end().to_owned())
}

/// The name that a first process takes when its sandbox is complete. Who finds another name must
/// not enter: the process may still be in the host's root filesystem.
pub(super) const READY_NAME: &str = "enid-init";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let text = "42 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.name, "a) R (b");
        assert_eq!((stat.state, stat.started), ('S', 777));
        assert_eq!(Stat::parse("42 (a) S 1 2"), None);
    }

    #[test]
    fn a_process_is_not_mistaken_for_another() {
        let own = Identity::of(std::process::id()).unwrap();
        assert_eq!(own.status(), Status::Starting);
        assert!(own.open().unwrap().is_some());
        let earlier = Identity {
            started: own.started - 1,
            ..own.clone()
        };
        assert_eq!(earlier.status(), Status::Dead);
        assert!(earlier.open().unwrap().is_none());
        let before_restart = Identity {
            boot: String::new(),
            ..own
        };
        assert_eq!(before_restart.status(), Status::Dead);
    }

    #[test]
    fn what_is_stored_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        assert_eq!(Identity::load(&path).unwrap(), None);
        let own = Identity::of(std::process::id()).unwrap();
        own.store(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap(), Some(own));
        fs::write(&path, "{\"pid\":").unwrap();
        assert_eq!(Identity::load(&path).unwrap(), None);
    }
}
