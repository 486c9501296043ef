//! The filesystem of a sandbox: an overlay over the host's root, with the parts replaced that
//! would show or reach the host.
//!
//! Runs in the sandbox's first process, in mount, PID, UTS and network namespaces of its own, while
//! it still has all capabilities. Only the host's root filesystem is below the overlay: what is
//! mounted elsewhere (`/run`, bpffs, `/dev`) is not seen, except the mounts of [`SHOWN_MOUNTS`],
//! which hold a host's programs and are shown read-only.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::init::Config;

/// What a step of the building does; the step and its error are reported to the launcher.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The overlay itself cannot be mounted.
    #[error("mount an overlay over the host's root")]
    Overlay(#[source] io::Error),
    /// Some other mount or file cannot be made.
    #[error("set up {path} in the sandbox")]
    Path {
        /// The path, within the sandbox.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The sandbox's root cannot become the process's.
    #[error("enter the sandbox's root")]
    Pivot(#[source] io::Error),
}

/// Builds the filesystem and makes it the process's root.
pub(super) fn enter(config: &Config) -> Result<(), RootError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|e| RootError::Overlay(e.into()))?;
    mount_overlay(config).map_err(RootError::Overlay)?;

    show_mounts()?;
    for path in &config.hidden {
        at(path, hide)?;
    }
    at("/dev", devices)?;
    at("/proc", |path| {
        mount("proc", path, "proc", NO_EXEC, None)?;
        protect_proc(path)
    })?;
    at("/sys", |path| {
        mount("sysfs", path, "sysfs", NO_EXEC | MountFlags::RDONLY, None)
    })?;
    at("/tmp", |path| tmpfs(path, "mode=1777"))?;
    at("/run", |path| {
        tmpfs(path, "mode=755")?;
        make_dir(&path.join("lock"), 0o1777)
    })?;
    if config.first_boot {
        at("/root/.ssh", |path| authorized_keys(path, config))?;
    }
    at("/etc", |path| files(path, config))?;

    pivot().map_err(RootError::Pivot)
}

/// Runs a step with the place of a path under the new root, which is the working directory.
fn at(path: impl AsRef<Path>, step: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), RootError> {
    let path = path.as_ref();
    let under = path.strip_prefix("/").unwrap_or(path);
    step(under).map_err(|source| RootError::Path {
        path: path.to_path_buf(),
        source,
    })
}

/// Mounts the overlay and makes it the working directory.
///
/// The names are relative, so that a data directory's path may hold the commas and colons that
/// mean something to the overlay. The upper directory may lie below the lower one: the kernel
/// refuses only to look at it through the overlay, where the data directory is hidden anyway.
fn mount_overlay(config: &Config) -> io::Result<()> {
    rustix::process::chdir(&config.layers)?;
    mount(
        "overlay",
        Path::new(ROOT_DIR),
        "overlay",
        MountFlags::empty(),
        Some("lowerdir=/,upperdir=upper,workdir=work"),
    )?;
    rustix::process::chdir(ROOT_DIR)?;
    Ok(())
}

/// Shows the host's mounts that programs live in.
fn show_mounts() -> Result<(), RootError> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for path in mounts_to_show(&table) {
        at(path, |under| {
            if !under.is_dir() {
                return Ok(());
            }
            rustix::mount::mount_bind(path, under)?;
            rustix::mount::mount_remount(
                under,
                MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV,
                "",
            )?;
            Ok(())
        })?;
    }
    Ok(())
}

fn mounts_to_show(table: &str) -> Vec<&str> {
    let mut shown: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| SHOWN_MOUNTS.contains(path))
        .collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// Covers a directory with an empty one that nobody but the kernel can fill.
fn hide(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let flags = NO_EXEC | MountFlags::RDONLY;
    mount("none", path, "tmpfs", flags, Some("mode=000,size=4k"))
}

fn devices(dev: &Path) -> io::Result<()> {
    mount(
        "dev",
        dev,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some("mode=755,size=64k"),
    )?;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )?;
        // The file mode creation mask may have taken bits away.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    make_dir(&dev.join("pts"), 0o755)?;
    mount(
        "devpts",
        &dev.join("pts"),
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some("newinstance,gid=5,mode=620,ptmxmode=666"),
    )?;
    make_dir(&dev.join("shm"), 0o1777)?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    for (name, target) in DEVICE_LINKS {
        symlink(target, dev.join(name))?;
    }
    // The first process reads what is written to the console.
    let console = dev.join("console");
    mknodat(CWD, &console, FileType::Fifo, Mode::from_raw_mode(0o622), 0)?;
    fs::set_permissions(&console, fs::Permissions::from_mode(0o622))
}

/// Keeps root, who has no special capability there, from changing the host through `/proc`.
fn protect_proc(proc: &Path) -> io::Result<()> {
    for name in PROC_READ_ONLY {
        let path = proc.join(name);
        if path.exists() {
            rustix::mount::mount_bind(&path, &path)?;
            remount(&path, NO_EXEC | MountFlags::RDONLY)?;
        }
    }
    // What is under net belongs to the sandbox's own network namespace.
    let net = proc.join("sys/net");
    rustix::mount::mount_bind(&net, &net)?;
    remount(&net, NO_EXEC)?;
    for name in PROC_MASKED {
        let path = proc.join(name);
        if path.exists() {
            rustix::mount::mount_bind("dev/null", &path)?;
        }
    }
    Ok(())
}

/// The files that say who the instance is. Each start writes name and resolver, as a DHCP client
/// does; the hosts file is written once and is the instance's own from then on.
fn files(etc: &Path, config: &Config) -> io::Result<()> {
    if config.first_boot {
        let hosts = format!(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {}\n",
            config.address, config.hostname
        );
        replace(&etc.join("hosts"), &hosts)?;
    }
    replace(&etc.join("resolv.conf"), &config.resolv_conf)?;
    // Last: by this file the launcher knows a root filesystem that has been set up.
    replace(&etc.join("hostname"), &format!("{}\n", config.hostname))
}

/// Who may log in as root: whoever has the instance's key, and nobody who may on the host.
fn authorized_keys(dir: &Path, config: &Config) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(dir)?,
        Ok(_) => fs::remove_file(dir)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let Some(key) = &config.authorized_key else {
        return Ok(());
    };
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    let file = dir.join("authorized_keys");
    fs::write(&file, format!("{key}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
}

/// Writes a file anew: on the host the name may be a link to a place that does not exist here.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::write(path, text)
}

/// Makes the working directory the root, and lets go of everything of the host's.
fn pivot() -> io::Result<()> {
    rustix::process::pivot_root(".", ".")?;
    // The old root is stacked on the new one and comes off first.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

fn tmpfs(path: &Path, options: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(options))
}

fn mount(
    source: &str,
    path: &Path,
    kind: &str,
    flags: MountFlags,
    options: Option<&str>,
) -> io::Result<()> {
    let options = std::ffi::CString::new(options.unwrap_or_default())?;
    Ok(rustix::mount::mount(
        source,
        path,
        kind,
        flags,
        Some(options.as_c_str()),
    )?)
}

fn remount(path: &Path, flags: MountFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(
        path,
        MountFlags::BIND | flags,
        "",
    )?)
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Where the overlay is mounted, within the directory of its layers.
pub(super) const ROOT_DIR: &str = "root";

const NO_EXEC: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts of a host that a sandbox shows, read-only: they hold programs.
const SHOWN_MOUNTS: [&str; 5] = ["/nix", "/opt", "/snap", "/usr", "/usr/local"];

/// Name, major and minor number (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Files that say something of the host, or do something to it, and have no per-sandbox meaning.
const PROC_MASKED: [&str; 6] = [
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "timer_list",
];

const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_with_programs_are_shown() {
        let table = "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /usr ext4 ro 0 0\n\
                     /dev/sdb1 /usr/local ext4 ro 0 0\n/dev/sdc1 /home ext4 rw 0 0\n\
                     bpf /sys/fs/bpf bpf rw 0 0\n/dev/sdb2 /usr ext4 ro 0 0\n";
        assert_eq!(mounts_to_show(table), ["/usr", "/usr/local"]);
    }
}
