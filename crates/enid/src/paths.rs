//! Where a daemon keeps what is its own.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A data directory: everything about one daemon can be found from it.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
    is_default: bool,
}

/// What a running daemon says of itself, for commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Daemon {
    /// Its process.
    pub(crate) pid: i32,
    /// Where it answers, such as `http://127.0.0.1:4566`.
    pub(crate) endpoint: String,
    /// Whether it forgets everything at its end.
    pub(crate) ephemeral: bool,
}

/// Where the daemon listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:4566";

impl DataDir {
    /// The directory that was asked for, or the user's own.
    pub(crate) fn new(asked: Option<PathBuf>) -> anyhow::Result<Self> {
        let is_default = asked.is_none();
        let path = match asked {
            Some(path) => path,
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/enid"),
            None => {
                let home = std::env::var_os("HOME").context("HOME is not set; pass --data DIR")?;
                Path::new(&home).join(".local/share/enid")
            }
        };
        let path =
            std::path::absolute(&path).with_context(|| format!("resolve {}", path.display()))?;
        Ok(Self { path, is_default })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether commands find it without `--data`.
    pub(crate) fn is_default(&self) -> bool {
        self.is_default
    }

    /// Makes it, for its owner only: it holds secrets.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .with_context(|| format!("create {}", self.path.display()))
    }

    /// Access keys and their secrets.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys.json")
    }

    /// Where the daemon answers what only its host's root may ask.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Takes the directory for one daemon, until the file is closed. `None` if another has it.
    pub(crate) fn lock(&self) -> anyhow::Result<Option<File>> {
        self.lock_as(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_as(&self, operation: FlockOperation) -> anyhow::Result<Option<File>> {
        let path = self.path.join("lock");
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Whether a daemon runs on the directory. Those who ask at the same time do not take one another
    /// for one.
    pub(crate) fn is_locked(&self) -> anyhow::Result<bool> {
        let lock = || self.lock_as(FlockOperation::NonBlockingLockShared);
        Ok(self.path.exists() && lock()?.is_none())
    }

    /// Where a daemon that forgets everything keeps what it needs meanwhile: below the data
    /// directory, so that what a lasting daemon keeps there stays untouched.
    pub(crate) fn ephemeral(&self) -> Self {
        Self {
            path: self.path.join("ephemeral"),
            is_default: false,
        }
    }

    /// Where the daemon that runs, or ran last, keeps its instances.
    pub(crate) fn serving(&self) -> Self {
        match self.daemon() {
            Some(daemon) if daemon.ephemeral => self.ephemeral(),
            _ => self.clone(),
        }
    }

    fn daemon_file(&self) -> PathBuf {
        self.path.join("daemon.json")
    }

    pub(crate) fn write_daemon(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let text = serde_json::to_string(daemon)?;
        let path = self.daemon_file();
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// What the last daemon said of itself; it may have ended since.
    pub(crate) fn daemon(&self) -> Option<Daemon> {
        let text = std::fs::read(self.daemon_file()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(crate) fn forget_daemon(&self) {
        // It is only a hint; a stale one is recognised by its silence.
        let _ = std::fs::remove_file(self.daemon_file());
    }
}
