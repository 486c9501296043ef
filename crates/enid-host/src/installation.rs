//! The mark that tells what one daemon made from what others made.
//!
//! Several daemons run side by side on one host, each with a data directory of its own. A short
//! hash of that directory's absolute path names the daemon's pins, is written into the alias of
//! each link that it makes, and stands in the arguments of each sandbox's first process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use enid_model::id::{EniId, InstanceId, VpcId};
use sha2::{Digest, Sha256};

/// One daemon's mark: the same for the same data directory, different for any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Installation([u8; 6]);

/// The text is no installation's mark.
#[derive(Debug, thiserror::Error)]
#[error("expected {} hexadecimal digits", Installation::DIGITS)]
pub struct MalformedInstallation;

impl Installation {
    const DIGITS: usize = 12;

    /// The mark of the daemon that keeps its data in `data_dir`.
    ///
    /// The directory has to exist: only then do different paths to it, such as one through a
    /// symbolic link, give the same mark.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;

        let digest = Sha256::digest(resolve(data_dir).as_os_str().as_bytes());
        let mut mark = [0; 6];
        mark.copy_from_slice(&digest[..6]);
        Self(mark)
    }

    /// The alias that the host-side link of `eni` carries.
    #[must_use]
    pub fn eni_alias(self, eni: EniId) -> String {
        format!("enid:{self}:{eni}")
    }

    /// The alias that the loopback link in the namespace of `instance` carries.
    #[must_use]
    pub fn instance_alias(self, instance: InstanceId) -> String {
        format!("enid:{self}:{instance}")
    }

    /// The alias that both links of the way to the outside carry.
    #[must_use]
    pub fn outside_alias(self) -> String {
        format!("enid:{self}:outside")
    }

    /// The alias that both links carry through which copies of packets go.
    #[must_use]
    pub fn copies_alias(self) -> String {
        format!("enid:{self}:copies")
    }

    /// The alias that the host-side link to the services of `vpc` carries.
    #[must_use]
    pub fn service_alias(self, vpc: VpcId) -> String {
        format!("enid:{self}:{vpc}")
    }

    /// What follows this installation's mark in a link's alias; `None` for a link of others.
    #[must_use]
    pub fn owned(self, alias: &str) -> Option<&str> {
        let (mark, rest) = split(alias)?;
        (mark == self).then_some(rest)
    }

    /// The installation whose mark a link's alias has.
    #[must_use]
    pub fn owner_of(alias: &str) -> Option<Self> {
        split(alias).map(|(mark, _)| mark)
    }
}

/// The mark in an alias, and what follows it.
fn split(alias: &str) -> Option<(Installation, &str)> {
    let (mark, rest) = alias.strip_prefix("enid:")?.split_once(':')?;
    Some((mark.parse().ok()?, rest))
}

/// The path of a data directory without links and without a dependence on where the program is. Of one
/// that is gone it is the path that it had, as long as what it lay in is there.
pub(crate) fn resolve(data_dir: &Path) -> PathBuf {
    if let Ok(resolved) = data_dir.canonicalize() {
        return resolved;
    }
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_path_buf());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => absolute,
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Installation {
    type Err = MalformedInstallation;

    fn from_str(text: &str) -> Result<Self, MalformedInstallation> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::DIGITS || !text.bytes().all(lower_hex) {
            return Err(MalformedInstallation);
        }
        let mut mark = [0; 6];
        for (byte, at) in mark.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16)
                .map_err(|_not_hex| MalformedInstallation)?;
        }
        Ok(Self(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_is_one_installation() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let plain = Installation::of(&dir.path().join("a"));
        assert_eq!(plain, Installation::of(&dir.path().join("./a/")));
        assert_ne!(plain, Installation::of(dir.path()));
        assert_eq!(plain, plain.to_string().parse().unwrap());
    }

    #[test]
    fn a_directory_that_is_gone_leaves_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let [real, link] = ["real", "link"].map(|name| dir.path().join(name));
        std::fs::create_dir_all(real.join("data/ephemeral")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let there = Installation::of(&link.join("data/ephemeral"));
        std::fs::remove_dir_all(real.join("data")).unwrap();
        assert_eq!(Installation::of(&link.join("data/ephemeral")), there);
        assert_ne!(Installation::of(&link.join("data")), there);
    }

    #[test]
    fn only_its_own_alias_is_owned() {
        let ours: Installation = "0123456789ab".parse().unwrap();
        let theirs: Installation = "0123456789ac".parse().unwrap();
        let alias = ours.eni_alias(EniId(7));
        assert_eq!(alias, "enid:0123456789ab:eni-00000000000000007");
        assert_eq!(ours.owned(&alias), Some("eni-00000000000000007"));
        assert_eq!(theirs.owned(&alias), None);
        assert_eq!(ours.owned("uplink"), None);
        assert_eq!(Installation::owner_of(&alias), Some(ours));
        assert_eq!(Installation::owner_of("uplink"), None);
    }

    #[test]
    fn malformed_marks_are_refused() {
        for text in ["", "0123", "0123456789AB", "0123456789abc", "0123456789éa"] {
            assert!(text.parse::<Installation>().is_err(), "{text}");
        }
    }
}
