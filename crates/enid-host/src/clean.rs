//! The removal of everything that an installation has in the kernel.
//!
//! Each thing is found by the mark that it carries, not by what some record says that there should
//! be: processes by their arguments, links and namespaces by their aliases, mounts by the data
//! directory that they are under. So it works after a crash, without a daemon, and without the
//! data directory. A failure does not end it; all failures are returned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_model::id::{EniId, InstanceId};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::adoption;
use crate::copies::{CopyPair, CopyPairError};
use crate::device::{DeviceError, EniDevice};
use crate::installation::{self, Installation};
use crate::netlink::{Netlink, NetlinkError};
use crate::netns::{NetNs, NetNsError};
use crate::outside::{self, Gateway, OutsideError};
use crate::sandbox::{self, Sandbox, SandboxError};
use crate::services::site::Site;

/// A thing that could not be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The links for copies of packets cannot be removed.
    #[error(transparent)]
    CopyPair(#[from] CopyPairError),
    /// A device cannot be removed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The way to the outside cannot be removed.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The links cannot be looked through.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace cannot be removed.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The namespaces' names cannot be read.
    #[error("list network namespaces")]
    NetNsNames(#[source] io::Error),
    /// A process cannot be ended.
    #[error("end process {pid}")]
    Process {
        /// The process.
        pid: i32,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The host's processes cannot be looked through.
    #[error("list processes")]
    Processes(#[source] io::Error),
    /// A directory cannot be removed.
    #[error("remove {path}")]
    Remove {
        /// The path.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A sandbox cannot be removed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A mount cannot be removed.
    #[error("unmount {path}")]
    Unmount {
        /// The path.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Removes every process, link, namespace and mount of the installation that keeps its data in
/// `data_dir`. The data stays.
#[must_use]
pub fn kernel(data_dir: &Path) -> Vec<CleanError> {
    let data_dir = installation::resolve(data_dir);
    let installation = Installation::of(&data_dir);
    let mut failures = Vec::new();
    processes(installation, &mut failures);
    match EniDevice::list(installation) {
        Ok(devices) => failures.extend(delete_devices(installation, &devices)),
        Err(e) => failures.push(e.into()),
    }
    // These go with the daemon; one that ended a moment ago may have left them for this moment.
    match Site::list(installation) {
        Ok(vpcs) => {
            let removed = vpcs.into_iter().map(|(_, index)| Site::remove(index));
            failures.extend(removed.filter_map(Result::err).map(CleanError::from));
        }
        Err(e) => failures.push(e.into()),
    }
    failures.extend(CopyPair::remove(installation).err().map(CleanError::from));
    failures.extend(Gateway::remove(installation).err().map(CleanError::from));
    match sandbox::instances(&data_dir) {
        Ok(instances) => {
            for instance in instances {
                adoption::leave(Sandbox::of(&data_dir, instance).dir());
                let left = Sandbox::of(&data_dir, instance).remove_from_kernel();
                failures.extend(left.into_iter().map(CleanError::Sandbox));
            }
        }
        Err(source) => failures.push(CleanError::Remove {
            path: sandbox::instances_dir(&data_dir),
            source,
        }),
    }
    namespaces(installation, &mut failures);
    mounts(&sandbox::instances_dir(&data_dir), &mut failures);
    failures
}

/// Removes what [`kernel`] removes, the instances' directories with their root filesystems, and the
/// claim on a pool of public addresses.
#[must_use]
pub fn everything(data_dir: &Path) -> Vec<CleanError> {
    let mut failures = kernel(data_dir);
    if !failures.is_empty() {
        // A directory that something still uses is better left as it is.
        return failures;
    }
    if let Err(source) = outside::forget(data_dir) {
        let path = data_dir.to_owned();
        failures.push(CleanError::Remove { path, source });
    }
    let path = sandbox::instances_dir(data_dir);
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            failures.push(CleanError::Remove { path, source });
        }
        _ => {}
    }
    failures
}

/// The first processes of the installation's sandboxes, with their instances.
pub fn first_processes(installation: Installation) -> io::Result<Vec<(i32, InstanceId)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while the list is read.
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found.extend(instance_of(&arguments, installation).map(|instance| (pid, instance)));
    }
    Ok(found)
}

/// The instance whose first process was started with these arguments.
fn instance_of(arguments: &[u8], installation: Installation) -> Option<InstanceId> {
    let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
    if arguments.next()? != sandbox::INIT_ARGUMENT.as_bytes() {
        return None;
    }
    let marked: Installation = std::str::from_utf8(arguments.next()?).ok()?.parse().ok()?;
    if marked != installation {
        return None;
    }
    std::str::from_utf8(arguments.next()?).ok()?.parse().ok()
}

fn processes(installation: Installation, failures: &mut Vec<CleanError>) {
    let found = match first_processes(installation) {
        Ok(found) => found,
        Err(e) => return failures.push(CleanError::Processes(e)),
    };
    let mut ending = Vec::new();
    for (pid, _instance) in found {
        match end_process(pid, installation) {
            Ok(pidfd) => ending.extend(pidfd.map(|pidfd| (pid, pidfd))),
            Err(source) => failures.push(CleanError::Process { pid, source }),
        }
    }
    for (pid, pidfd) in ending {
        match sandbox::has_ended(&pidfd, END_LIMIT) {
            Ok(true) => {}
            Ok(false) => failures.push(CleanError::Process {
                pid,
                source: io::ErrorKind::TimedOut.into(),
            }),
            Err(source) => failures.push(CleanError::Process { pid, source }),
        }
    }
}

/// Kills a first process; `None` if it is gone or its number belongs to another by now.
fn end_process(pid: i32, installation: Installation) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Some(raw) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        pidfd => pidfd?,
    };
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if instance_of(&arguments, installation).is_none() {
        return Ok(None);
    }
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn delete_devices(installation: Installation, devices: &[(EniId, u32)]) -> Vec<CleanError> {
    devices
        .iter()
        .filter_map(|(eni, _index)| EniDevice::delete(installation, *eni).err())
        .map(CleanError::Device)
        .collect()
}

/// Removes the namespaces whose loopback link carries the installation's mark.
fn namespaces(installation: Installation, failures: &mut Vec<CleanError>) {
    let names = match NetNs::names() {
        Ok(names) => names,
        Err(e) => return failures.push(CleanError::NetNsNames(e)),
    };
    for name in names {
        // A sandbox's namespace has its instance's id as its name.
        if name.parse::<InstanceId>().is_ok() && is_marked(&name, installation) {
            failures.extend(NetNs::delete(&name).err().map(CleanError::NetNs));
        }
    }
}

/// Whether a namespace is the installation's. One that cannot be looked into is taken as others'.
fn is_marked(name: &str, installation: Installation) -> bool {
    let looked = NetNs::open(name).ok().and_then(|namespace| {
        let mut netlink = Netlink::open_in(&namespace).ok()?;
        netlink.link("lo").ok()??.alias
    });
    looked.is_some_and(|alias| installation.owned(&alias) == Some(name))
}

fn mounts(instances_dir: &Path, failures: &mut Vec<CleanError>) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut paths: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path.starts_with(instances_dir))
        .collect();
    // What is mounted inside comes off before what it is inside of.
    paths.sort();
    for path in paths.into_iter().rev() {
        if let Err(e) = rustix::mount::unmount(&path, UnmountFlags::DETACH) {
            failures.push(CleanError::Unmount {
                path,
                source: e.into(),
            });
        }
    }
}

/// The kernel writes space, tab, newline and backslash in a mount's path as octal numbers.
fn unescape(path: &str) -> PathBuf {
    let mut plain = path.to_owned();
    for (escaped, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")] {
        plain = plain.replace(escaped, character);
    }
    PathBuf::from(plain.replace("\\134", "\\"))
}

/// How long the kernel may take to end killed processes.
const END_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_first_processes_are_found() {
        let ours: Installation = "0123456789ab".parse().unwrap();
        let theirs: Installation = "0123456789ac".parse().unwrap();
        let arguments = b"enid\0__sandbox-init\x000123456789ab\0i-00000000000000007\0";
        assert_eq!(instance_of(arguments, ours), Some(InstanceId(7)));
        assert_eq!(instance_of(arguments, theirs), None);
        let editor = b"vi\0__sandbox-init\0";
        assert_eq!(instance_of(editor, ours), None);
        assert_eq!(instance_of(b"", ours), None);
    }

    #[test]
    fn a_mount_s_path_is_read_as_the_kernel_writes_it() {
        assert_eq!(unescape("/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape("/plain"), Path::new("/plain"));
    }
}
