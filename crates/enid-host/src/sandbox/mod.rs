//! Instances as sandboxes: processes in namespaces over the host's own root filesystem.
//!
//! A sandbox is a named network namespace (its name is the instance's id), a first process in
//! mount, PID, IPC and UTS namespaces of its own, and a directory that holds what outlives both:
//! the changed part of the root filesystem, the console, and which process is the first one. The
//! process needs no daemon. Whoever knows the directory finds it again: nothing is held in memory.
//!
//! The steps of a launch are [`Sandbox::prepare`], which makes namespace and directory; the making
//! of devices by the caller; and [`Sandbox::start`]. A stop keeps the directory and removes the
//! namespace with all devices in it, so a later start takes the same steps. A reboot keeps
//! the namespace and its devices.

mod capability;
mod init;
mod layers;
mod network;
mod process;
mod rootfs;

use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use enid_model::id::InstanceId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

pub(crate) use self::capability::bound as bound_capabilities;
pub(crate) use self::init::environment;
pub use self::init::main as init_main;
pub use self::process::Status;
pub(crate) use self::process::{Identity, boot_id};

use self::init::{Config, Report};
use crate::installation::{self, Installation};
use crate::netlink::NetlinkError;
use crate::netns::{NetNs, NetNsError};

/// What an instance is started with.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The image that it was launched from; named on the console only.
    pub image: String,
    /// Its host name, such as `ip-10-0-0-5`.
    pub hostname: String,
    /// Its primary address.
    pub address: Ipv4Addr,
    /// The text of its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The public key that root is known by, in OpenSSH's format.
    pub authorized_key: Option<String>,
    /// Its user data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// How long its processes have to end when it is stopped.
    pub grace: Duration,
    /// The program that becomes its first process.
    pub init: InitProgram,
}

/// The program that calls [`init_main`] when its first argument is [`INIT_ARGUMENT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitProgram {
    /// The program that calls [`Sandbox::start`], even if its file has been replaced since.
    Own,
    /// Another one.
    Path(PathBuf),
}

/// Why a sandbox cannot be made, started or ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A directory or file of the sandbox cannot be made or read.
    #[error("prepare {path}")]
    Directory {
        /// The path.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The first process could not build the sandbox.
    #[error("build sandbox of {instance}")]
    Build {
        /// The instance.
        instance: InstanceId,
        /// What the first process reported.
        source: BuildError,
    },
    /// The sandbox's network cannot be set up or taken down.
    #[error("set up network of {instance}")]
    Netlink {
        /// The instance.
        instance: InstanceId,
        /// The request that was refused.
        source: NetlinkError,
    },
    /// There is a namespace of the instance's name that another daemon made.
    #[error("network namespace {instance} belongs to another data directory")]
    Foreign {
        /// The instance.
        instance: InstanceId,
    },
    /// The sandbox's namespace cannot be made, entered or removed.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The first process cannot be watched or signalled.
    #[error("control first process of {instance}")]
    Process {
        /// The instance.
        instance: InstanceId,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The sandbox has a first process already.
    #[error("sandbox of {instance} is running")]
    Running {
        /// The instance.
        instance: InstanceId,
    },
    /// The first process did not end although it was killed.
    #[error("first process of {instance} does not end")]
    Unkillable {
        /// The instance.
        instance: InstanceId,
    },
}

/// What a first process reports of its failure.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It failed, with this chain of causes; the text crossed a process boundary.
    #[error("{0}")]
    Failed(Box<str>),
    /// It ended, or went on for too long, without a word.
    #[error("no report from the first process")]
    Silent,
}

/// An instance's sandbox, running or not.
#[derive(Debug, Clone)]
pub struct Sandbox {
    installation: Installation,
    instance: InstanceId,
    data_dir: PathBuf,
    dir: PathBuf,
}

impl Sandbox {
    /// The sandbox of an instance of the daemon that keeps its data in `data_dir`.
    #[must_use]
    pub fn of(data_dir: &Path, instance: InstanceId) -> Self {
        let data_dir = installation::resolve(data_dir);
        Self {
            installation: Installation::of(&data_dir),
            instance,
            dir: instances_dir(&data_dir).join(instance.to_string()),
            data_dir,
        }
    }

    /// The directory that holds what outlives the sandbox's processes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the sandbox runs.
    pub fn status(&self) -> Result<Status, SandboxError> {
        let identity = self.identity()?;
        Ok(identity.map_or(Status::Dead, |identity| identity.status()))
    }

    /// A descriptor that becomes readable when the sandbox ends; `None` if it does not run.
    ///
    /// Call [`Sandbox::status`] afterwards: it collects the process if it was a child of this one.
    pub fn watch(&self) -> Result<Option<OwnedFd>, SandboxError> {
        match self.identity()? {
            Some(identity) => identity.open().map_err(|e| self.process_error(e)),
            None => Ok(None),
        }
    }

    /// Makes the sandbox's directory and its namespace, with the loopback link up.
    ///
    /// What is there already is used as it is, unless it is another daemon's: instances of a copied
    /// data directory have the same names.
    pub fn prepare(&self) -> Result<NetNs, SandboxError> {
        for dir in [&self.dir, &self.layers_dir()] {
            make_dirs(dir)?;
        }
        self.make_layers()?;
        let name = self.instance.to_string();
        let namespace = match NetNs::open(&name) {
            Ok(namespace) => self.require_own(namespace)?,
            Err(_) => NetNs::create(&name)?,
        };
        // Also in a namespace that is there: whoever made it may not have come to this.
        self.set_up_network(&namespace)?;
        Ok(namespace)
    }

    /// Starts the sandbox's first process and waits until the sandbox is complete.
    pub fn start(&self, spec: &Spec) -> Result<(), SandboxError> {
        if self.status()? != Status::Dead {
            return Err(SandboxError::Running {
                instance: self.instance,
            });
        }
        let namespace = NetNs::open(&self.instance.to_string())?;
        let report = self.launch(spec, &namespace)?;
        let report = match report {
            Report::Failed { overlay: true, .. } if !self.scratch_dir().exists() => {
                self.make_scratch()?;
                self.launch(spec, &namespace)?
            }
            report => report,
        };
        match report {
            Report::Ready => Ok(()),
            Report::Failed { error, .. } => Err(self.build_error(BuildError::Failed(error.into()))),
        }
    }

    /// Ends the sandbox's processes, then removes its namespace and the devices in it. The root
    /// filesystem stays.
    pub fn stop(&self, grace: Duration) -> Result<(), SandboxError> {
        self.end_processes(Some(grace))?;
        self.remove_network()
    }

    /// Ends the sandbox's processes and starts it again, in the same namespace.
    pub fn reboot(&self, spec: &Spec) -> Result<(), SandboxError> {
        self.end_processes(Some(spec.grace))?;
        self.start(spec)
    }

    /// Ends the sandbox at once and removes all of it.
    pub fn terminate(&self) -> Result<(), Vec<SandboxError>> {
        let mut failures = Vec::new();
        failures.extend(self.end_processes(None).err());
        failures.extend(self.remove_network().err());
        failures.extend(self.remove_scratch().err());
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                failures.push(directory_error(&self.dir)(e));
            }
            _ => {}
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// Removes what the kernel holds of the sandbox, at once; the directory stays. It is then as after
    /// a restart of the host: its end was none of its own.
    pub(crate) fn remove_from_kernel(&self) -> Vec<SandboxError> {
        let mut failures = Vec::new();
        failures.extend(self.end_processes(None).err());
        failures.extend(self.remove_network().err());
        failures.extend(self.remove_scratch().err());
        if failures.is_empty() {
            failures.extend(self.forget_process().err());
        }
        failures
    }

    fn forget_process(&self) -> Result<(), SandboxError> {
        let path = self.identity_path();
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(directory_error(&path)(e)),
            _ => Ok(()),
        }
    }

    /// Whether the sandbox was last started since the host was.
    pub(crate) fn is_of_this_host_boot(&self) -> bool {
        let identity = self.identity().ok().flatten();
        identity.is_some_and(|identity| identity.is_of_this_host_boot())
    }

    /// Which process is the sandbox's first one, or was.
    ///
    /// A copied data directory names a process of the original's; that one is nobody here.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, SandboxError> {
        let path = self.identity_path();
        let identity = Identity::load(&path).map_err(directory_error(&path))?;
        let own = [
            INIT_ARGUMENT.to_owned(),
            self.installation.to_string(),
            self.instance.to_string(),
        ];
        Ok(identity
            .filter(|identity| identity.status() == Status::Dead || identity.is_started_with(&own)))
    }

    fn launch(&self, spec: &Spec, namespace: &NetNs) -> Result<Report, SandboxError> {
        let program = match &spec.init {
            InitProgram::Own => Path::new("/proc/self/exe"),
            InitProgram::Path(path) => path,
        };
        let mut command = Command::new(program);
        command
            .arg(INIT_ARGUMENT)
            .arg(self.installation.to_string())
            .arg(self.instance.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = namespace.spawn_first_process(&mut command)?;
        // The process is written down before it is told to go on: one that no file names ends.
        let report = Identity::of(child.id())
            .and_then(|identity| identity.store(&self.identity_path()))
            .and_then(|()| {
                // Unwrap: both were asked for above, and nobody has taken them.
                let mut stdin = child.stdin.take().unwrap();
                serde_json::to_writer(&mut stdin, &self.config(spec))?;
                stdin.flush()?;
                drop(stdin);
                // Unwrap: as above.
                read_report(child.stdout.take().unwrap())
            });
        let report = match report {
            Ok(Some(report)) => report,
            Ok(None) => {
                self.end_child(&mut child)?;
                return Err(self.build_error(BuildError::Silent));
            }
            Err(e) => {
                self.end_child(&mut child)?;
                return Err(self.process_error(e));
            }
        };
        if matches!(report, Report::Failed { .. }) {
            self.end_child(&mut child)?;
        }
        Ok(report)
    }

    fn end_child(&self, child: &mut std::process::Child) -> Result<(), SandboxError> {
        // A process that has ended already is as good as killed.
        let _ = child.kill();
        child
            .wait()
            .map(|_status| ())
            .map_err(|e| self.process_error(e))
    }

    fn config(&self, spec: &Spec) -> Config {
        let layers = self.layers_dir();
        Config {
            dir: self.dir.clone(),
            hidden: vec![self.data_dir.clone()],
            instance: self.instance.to_string(),
            image: spec.image.clone(),
            hostname: spec.hostname.clone(),
            address: spec.address,
            resolv_conf: spec.resolv_conf.clone(),
            authorized_key: spec.authorized_key.clone(),
            user_data: spec.user_data.clone(),
            first_boot: !layers.join("upper/etc/hostname").exists(),
            grace_ms: u64::try_from(spec.grace.as_millis()).unwrap_or(u64::MAX),
            volatile: self.scratch_dir().exists(),
            layers,
        }
    }

    /// Ends the first process, and with it all others: after `grace` by force, without it at once.
    fn end_processes(&self, grace: Option<Duration>) -> Result<(), SandboxError> {
        let Some(pidfd) = self.watch()? else {
            return Ok(());
        };
        if let Some(grace) = grace {
            self.signal(&pidfd, Signal::TERM)?;
            // The first process itself waits for the others for as long as the grace is.
            let patience = grace.saturating_add(KILL_MARGIN);
            if has_ended(&pidfd, patience).map_err(|e| self.process_error(e))? {
                return self.status().map(|_collected| ());
            }
        }
        self.signal(&pidfd, Signal::KILL)?;
        if !has_ended(&pidfd, KILL_LIMIT).map_err(|e| self.process_error(e))? {
            return Err(SandboxError::Unkillable {
                instance: self.instance,
            });
        }
        self.status().map(|_collected| ())
    }

    fn signal(&self, pidfd: &OwnedFd, signal: Signal) -> Result<(), SandboxError> {
        match rustix::process::pidfd_send_signal(pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(self.process_error(e.into())),
        }
    }

    fn identity_path(&self) -> PathBuf {
        self.dir.join("process.json")
    }

    fn build_error(&self, source: BuildError) -> SandboxError {
        SandboxError::Build {
            instance: self.instance,
            source,
        }
    }

    fn process_error(&self, source: io::Error) -> SandboxError {
        SandboxError::Process {
            instance: self.instance,
            source,
        }
    }

    fn netlink_error(&self, source: NetlinkError) -> SandboxError {
        SandboxError::Netlink {
            instance: self.instance,
            source,
        }
    }
}

/// Where the instances' directories are.
#[must_use]
pub fn instances_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("instances")
}

/// The instances that have a directory.
pub fn instances(data_dir: &Path) -> io::Result<Vec<InstanceId>> {
    let entries = match fs::read_dir(instances_dir(data_dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut instances = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        instances.extend(
            name.to_str()
                .and_then(|name| name.parse::<InstanceId>().ok()),
        );
    }
    instances.sort();
    Ok(instances)
}

/// Reads the first process's report; `None` if it ended or took too long without one.
fn read_report(mut stdout: std::process::ChildStdout) -> io::Result<Option<Report>> {
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit))? == 0 {
        return Ok(None);
    }
    let mut text = Vec::new();
    stdout.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// Waits for a process to end, for a while.
pub(crate) fn has_ended(pidfd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)) {
            Ok(ended) => return Ok(ended > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn make_dirs(path: &Path) -> Result<(), SandboxError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(directory_error(path))
}

fn directory_error(path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_path_buf();
    |source| SandboxError::Directory { path, source }
}

/// The first argument of a sandbox's first process; the installation and the instance follow.
pub const INIT_ARGUMENT: &str = "__sandbox-init";

/// How much longer than the grace the first process may take to end before it is killed.
const KILL_MARGIN: Duration = Duration::from_secs(1);

/// How long the kernel may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_named_by_ids_are_instances() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(instances(dir.path()).unwrap(), []);
        let sandbox = Sandbox::of(dir.path(), InstanceId(5));
        fs::create_dir_all(sandbox.dir()).unwrap();
        fs::create_dir_all(instances_dir(dir.path()).join("lost+found")).unwrap();
        assert_eq!(instances(dir.path()).unwrap(), [InstanceId(5)]);
    }

    #[test]
    fn an_instance_without_a_process_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::of(dir.path(), InstanceId(5));
        assert_eq!(sandbox.status().unwrap(), Status::Dead);
        assert!(sandbox.watch().unwrap().is_none());
    }
}
