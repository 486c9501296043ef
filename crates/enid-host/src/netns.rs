//! Network namespaces with names, and the entering of namespaces.
//!
//! A named namespace is what `ip netns` makes: a file under `/run/netns` onto which the namespace
//! is mounted, in a mount that all mount namespaces share. A thread's namespaces are changed only
//! on threads made for it, never on a caller's: what comes back from one is a result, an open
//! socket, or a child process. This module and `maps` are the crate's only ones with `unsafe`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{panic, thread};

use rustix::fs::{FlockOperation, Mode, OFlags, StatFs};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

/// Why a namespace cannot be made, opened, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The namespace cannot be made.
    #[error("create network namespace {name}")]
    Create {
        /// The name that the namespace should have had.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The namespace cannot be removed.
    #[error("delete network namespace {name}")]
    Delete {
        /// The namespace's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The namespace cannot be entered.
    #[error("enter network namespace {name}")]
    Enter {
        /// The namespace's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The name holds a namespace already.
    #[error("network namespace {name} exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// The name holds no namespace.
    #[error("open network namespace {name}")]
    Open {
        /// The name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Under the name there is another namespace than before.
    #[error("{name} is another network namespace by now")]
    Replaced {
        /// The name.
        name: String,
    },
    /// The directory of names cannot be set up as the shared mount that it has to be.
    #[error("prepare {DIRECTORY}")]
    Prepare(#[source] io::Error),
}

/// An open network namespace. It has a name, but for those of [`NetNs::unnamed`].
#[derive(Debug)]
pub struct NetNs {
    name: String,
    file: File,
}

impl NetNs {
    /// Makes a namespace under a name that `ip netns` shows.
    pub fn create(name: &str) -> Result<Self, NetNsError> {
        let lock = prepare_directory().map_err(NetNsError::Prepare)?;
        let path = path_of(name);
        if is_namespace(&path) {
            return Err(NetNsError::Exists {
                name: name.to_owned(),
            });
        }
        let error = |source| NetNsError::Create {
            name: name.to_owned(),
            source,
        };
        // A plain file is what a host restart leaves behind when /run is on disk: it is reused.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o444)
            .open(&path)
            .map_err(error)?;
        let mounted = on_own_thread(|| -> io::Result<()> {
            leave_namespaces(UnshareFlags::NEWNET)?;
            rustix::mount::mount_bind("/proc/thread-self/ns/net", &path)?;
            Ok(())
        });
        if let Err(source) = mounted {
            // The file is of no use without its mount; the mount's error is the one that matters.
            let _ = fs::remove_file(&path);
            return Err(error(source));
        }
        drop(lock);
        Self::open(name)
    }

    /// Makes a namespace that no directory lists: it is gone when its last descriptor, link and socket are.
    /// `label` stands for its name in errors.
    pub(crate) fn unnamed(label: &str) -> Result<Self, NetNsError> {
        let made = on_own_thread(|| -> io::Result<File> {
            leave_namespaces(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.map_err(|source| NetNsError::Create {
            name: label.to_owned(),
            source,
        })?;
        Ok(Self {
            name: label.to_owned(),
            file,
        })
    }

    /// Opens the namespace of this name.
    pub fn open(name: &str) -> Result<Self, NetNsError> {
        let path = path_of(name);
        let error = |source| NetNsError::Open {
            name: name.to_owned(),
            source,
        };
        let file = File::open(&path).map_err(error)?;
        if !is_namespace(&path) {
            return Err(error(io::ErrorKind::NotFound.into()));
        }
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// Opens the namespace that a file stands for: a name of `ip netns`, or that of a process below
    /// `/proc`.
    pub fn open_at(path: &Path) -> Result<Self, NetNsError> {
        let name = path.display().to_string();
        let error = |source| NetNsError::Open {
            name: name.clone(),
            source,
        };
        // The path is somebody else's: what it leads to may be a pipe, which shall not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        let file = File::from(file.map_err(|e| error(e.into()))?);
        let kind = rustix::fs::fstatfs(&file).map_err(|e| error(e.into()))?;
        if !is_of_namespaces(&kind) {
            return Err(error(io::ErrorKind::InvalidInput.into()));
        }
        Ok(Self { name, file })
    }

    /// The namespace's number, which no other has while the host is up.
    pub fn cookie(&self) -> Result<u64, NetNsError> {
        self.run(own_cookie)?.map_err(|source| NetNsError::Enter {
            name: self.name.clone(),
            source,
        })
    }

    /// Whether the name holds a namespace.
    #[must_use]
    pub fn exists(name: &str) -> bool {
        is_namespace(&path_of(name))
    }

    /// Removes the name. The namespace itself goes when its last process and socket are gone.
    ///
    /// A name that does not exist is no error: it is as it should be.
    pub fn delete(name: &str) -> Result<(), NetNsError> {
        let path = path_of(name);
        let error = |source: io::Error| NetNsError::Delete {
            name: name.to_owned(),
            source,
        };
        while is_namespace(&path) {
            rustix::mount::unmount(&path, UnmountFlags::DETACH).map_err(|e| error(e.into()))?;
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error(e)),
            _ => Ok(()),
        }
    }

    /// The names of all namespaces, of whoever made them.
    pub fn names() -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(DIRECTORY) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.retain(|name| Self::exists(name));
        names.sort();
        Ok(names)
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure in the namespace, on a thread of its own.
    ///
    /// A socket opened there stays in the namespace and can be used from any thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Starts a command as the first process of new PID, mount, IPC and UTS namespaces within this
    /// network namespace.
    ///
    /// `CLONE_NEWPID` concerns the children of the calling *thread* only, so the thread that makes
    /// the namespaces needs no fork of its own and the child is an ordinary child of this process.
    pub(crate) fn spawn_first_process(&self, command: &mut Command) -> Result<Child, NetNsError> {
        on_own_thread(|| {
            self.enter()?;
            leave_namespaces(
                UnshareFlags::NEWPID
                    | UnshareFlags::NEWNS
                    | UnshareFlags::NEWIPC
                    | UnshareFlags::NEWUTS,
            )
            .and_then(|()| command.spawn())
            .map_err(|source| NetNsError::Enter {
                name: self.name.clone(),
                source,
            })
        })
    }

    fn enter(&self) -> Result<(), NetNsError> {
        rustix::thread::move_into_link_name_space(
            self.file.as_fd(),
            Some(LinkNameSpaceType::Network),
        )
        .map_err(|e| NetNsError::Enter {
            name: self.name.clone(),
            source: e.into(),
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread into the network, mount, PID, IPC and UTS namespaces of a process.
///
/// Only for a thread made for it. The PID namespace concerns the children that it starts.
pub(crate) fn join_process(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // The kernel lets only a thread with a working directory of its own change mount namespaces.
    leave_namespaces(UnshareFlags::FS)?;
    let all = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    Ok(rustix::thread::move_into_thread_name_spaces(pidfd, all)?)
}

/// Starts a command that ends when the calling thread does, on a terminal if one is given.
///
/// The terminal becomes the controlling one of a new session; without one, the command stays in
/// the caller's session, so that the keyboard's signals reach it.
pub(crate) fn spawn_attached(
    command: &mut Command,
    terminal: Option<OwnedFd>,
) -> io::Result<Child> {
    let prepare = move || {
        close_inherited(libc::CLOSE_RANGE_CLOEXEC)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(terminal) = &terminal {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(terminal)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe things may happen. The closure makes
    // system calls without allocating; the descriptor it holds is not dropped in the child.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}

/// Closes every descriptor but the standard three, which someone above this program may have left
/// open without knowing that they would go into a sandbox.
///
/// Only for a process that has opened nothing yet: the first process of a sandbox, as it starts.
pub(crate) fn close_all_inherited() -> io::Result<()> {
    close_inherited(0)
}

fn close_inherited(flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call reads no memory. With `CLOSE_RANGE_CLOEXEC`, descriptors stay open until the
    // process runs another program; without, the caller owns none of those that are closed.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of the calling thread's network namespace.
pub(crate) fn own_cookie() -> io::Result<u64> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut cookie: u64 = 0;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most `length` bytes to the first pointer, which is that long, and
    // four to the second.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match status {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the calling thread namespaces, or a working directory, of its own.
fn leave_namespaces(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the descriptor table stays shared (no caller passes `FILES`, which is the only flag
    // that the function's contract is about), so no thread loses sight of a descriptor.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    unsafe {
        rustix::thread::unshare_unsafe(flags)?;
    }
    Ok(())
}

/// Runs a closure on a thread that ends with it, so that what it does to itself stays there.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(cause) => panic::resume_unwind(cause),
    })
}

/// Makes the directory of names a mount whose changes every mount namespace sees, as `ip netns`
/// does, and returns it locked (iproute2 takes the same lock).
fn prepare_directory() -> io::Result<OwnedFd> {
    fs::create_dir_all(DIRECTORY)?;
    let directory = OwnedFd::from(File::open(DIRECTORY)?);
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match rustix::mount::mount_change(DIRECTORY, shared) {
        Ok(()) => {}
        // The directory is not a mount yet.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(DIRECTORY, DIRECTORY)?;
            rustix::mount::mount_change(DIRECTORY, shared)?;
        }
        Err(e) => return Err(e.into()),
    }
    Ok(directory)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| is_of_namespaces(&stat))
}

const fn is_of_namespaces(stat: &StatFs) -> bool {
    stat.f_type == NSFS_MAGIC
}

/// The socket option of `asm-generic/socket.h` that tells a namespace's number.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Where `ip netns` looks.
pub const DIRECTORY: &str = "/run/netns";

/// The type of the filesystem that namespaces' files are on (`NSFS_MAGIC` in linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_no_namespace_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(NetNs::open_at(&path).is_err());
        assert!(NetNs::open_at(Path::new("/proc/self/ns/net")).is_ok());
    }

    #[test]
    fn a_plain_file_is_no_namespace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_namespace(file.path()));
        assert!(is_namespace(Path::new("/proc/self/ns/net")));
        assert!(matches!(
            NetNs::open("enid-test-no-such-namespace"),
            Err(NetNsError::Open { .. })
        ));
    }

    #[test]
    fn a_panic_on_the_own_thread_reaches_the_caller() {
        assert_eq!(on_own_thread(|| 7), 7);
        assert!(panic::catch_unwind(|| on_own_thread(|| panic!("inside"))).is_err());
    }
}
