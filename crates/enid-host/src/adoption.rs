//! Which namespace the interfaces of an instance are in, when it is not Enid's.
//!
//! What is written down outlives the agent: an instance stays adopted until it is released, stopped or
//! terminated, or its namespace is gone. A namespace is known by its path and its number; under the
//! path there may be another one later. Nothing here keeps a namespace alive.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use enid_model::network_interface::device_number;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::device::EniDevice;
use crate::netns::{self, NetNs, NetNsError};
use crate::sandbox;

/// Where the interfaces of an instance are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The file that stands for the namespace.
    pub path: PathBuf,
    /// The name of the first interface there.
    pub ifname: String,
    cookie: u64,
    host_boot: String,
}

/// Why a namespace cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// The file stands for the namespace that the daemon is in.
    #[error("{} is the host's own network namespace", .0.display())]
    Own(PathBuf),
    /// The name is none of an interface.
    #[error("\"{0}\" is no name of an interface")]
    Name(String),
    /// The namespace cannot be opened.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// Something about this host cannot be read.
    #[error("read the host's state")]
    Host(#[source] io::Error),
}

impl Adoption {
    /// The namespace that a file stands for; a name without a slash is one of `ip netns`.
    pub fn of(path: &Path, ifname: &str) -> Result<Self, AdoptionError> {
        let path = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new(netns::DIRECTORY).join(path),
            _ => path.to_owned(),
        };
        if !is_link_name(ifname) {
            return Err(AdoptionError::Name(ifname.to_owned()));
        }
        let cookie = NetNs::open_at(&path)?.cookie()?;
        if cookie == netns::own_cookie().map_err(AdoptionError::Host)? {
            return Err(AdoptionError::Own(path));
        }
        Ok(Self {
            path,
            ifname: ifname.to_owned(),
            cookie,
            host_boot: sandbox::boot_id().map_err(AdoptionError::Host)?,
        })
    }

    /// The namespace, if it is still the one that was adopted.
    pub fn open(&self) -> Result<NetNs, NetNsError> {
        let namespace = NetNs::open_at(&self.path)?;
        if namespace.cookie()? != self.cookie {
            return Err(NetNsError::Replaced {
                name: self.path.display().to_string(),
            });
        }
        Ok(namespace)
    }

    /// Whether the host has not been restarted since.
    #[must_use]
    pub fn is_of_this_host_boot(&self) -> bool {
        sandbox::boot_id().is_ok_and(|boot| boot == self.host_boot)
    }

    /// The name of an interface there: the first one's, with its number raised by the device's.
    #[must_use]
    pub fn name_of(&self, device_number: u16) -> String {
        if device_number == 0 {
            return self.ifname.clone();
        }
        let stem = self.ifname.trim_end_matches(|c: char| c.is_ascii_digit());
        let number: u64 = self.ifname[stem.len()..].parse().unwrap_or(0);
        let number = number.wrapping_add(device_number.into()).to_string();
        // The kernel's limit cuts the stem.
        let room = (libc::IFNAMSIZ - 1).saturating_sub(number.len());
        let stem: String = stem.chars().take(room).collect();
        stem + &number
    }
}

/// Removes what devices leave in an adopted namespace that outlives them: their rules. A namespace that
/// is gone, or is another one by now, has none.
pub(crate) fn leave(directory: &Path) {
    let Ok(Some(adoption)) = load::<Adoption>(&directory.join(ADOPTION_FILE)) else {
        return;
    };
    let Ok(namespace) = adoption.open() else {
        return;
    };
    let names = (0..=LAST_DEVICE).map(|index| adoption.name_of(index));
    if let Err(error) = EniDevice::forget_rules_of(&namespace, names) {
        let path = adoption.path.display();
        tracing::warn!(%path, error = crate::chain(&error), "rules were left behind");
    }
}

/// What the kernel takes as the name of a link, in ASCII.
fn is_link_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    (1..libc::IFNAMSIZ).contains(&name.len())
        && name.bytes().all(is_plain)
        && !matches!(name, "." | "..")
}

/// The highest number of a device: the last index on the last of as many cards as any instance type
/// has.
const LAST_DEVICE: u16 = device_number(31, u8::MAX);

/// The name of the file in an instance's directory that says where its interfaces are.
pub(crate) const ADOPTION_FILE: &str = "adoption.json";

/// The name of the one that says whose its taps are.
pub(crate) const TAP_OWNER_FILE: &str = "tap.json";

/// Reads what was written down; `None` if nothing was.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes down; when this returns it outlives a crash of the host.
pub(crate) fn store<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Forgets what was written down, if anything was.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adoption(ifname: &str) -> Adoption {
        Adoption {
            path: "/run/netns/a".into(),
            ifname: ifname.to_owned(),
            cookie: 7,
            host_boot: "b".to_owned(),
        }
    }

    #[test]
    fn further_interfaces_are_counted_from_the_first() {
        assert_eq!(adoption("eth0").name_of(0), "eth0");
        assert_eq!(adoption("eth0").name_of(2), "eth2");
        assert_eq!(adoption("net7").name_of(1), "net8");
        assert_eq!(adoption("uplink").name_of(3), "uplink3");
        assert_eq!(adoption("fifteen-letters").name_of(10), "fifteen-lette10");
    }

    #[test]
    fn only_names_that_the_kernel_takes_are_names() {
        assert!(is_link_name("eth0"));
        for name in ["", "..", "a/b", "a b", "a:1", "eth%d", "sixteen-letters-"] {
            assert!(!is_link_name(name), "{name}");
        }
    }

    #[test]
    fn what_was_written_down_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADOPTION_FILE);
        assert_eq!(load::<Adoption>(&path).unwrap(), None);
        store(&path, &adoption("eth0")).unwrap();
        assert_eq!(load(&path).unwrap(), Some(adoption("eth0")));
        forget(&path).unwrap();
        forget(&path).unwrap();
        assert_eq!(load::<Adoption>(&path).unwrap(), None);
        // Not the number of any namespace: this one is not the one that was adopted.
        let other = Adoption {
            path: "/proc/self/ns/net".into(),
            ..adoption("eth0")
        };
        assert!(matches!(
            other.open(),
            Err(NetNsError::Replaced { .. } | NetNsError::Enter { .. })
        ));
        let own = Adoption::of(Path::new("/proc/self/ns/net"), "eth0");
        assert!(matches!(
            own,
            Err(AdoptionError::Own(_) | AdoptionError::NetNs(_))
        ));
    }
}
