//! Session tokens: signed, not remembered.
//!
//! A token is the second at which it ends and a MAC over that and the instance it is for. Nobody but
//! this daemon can make one, and one that was handed to another instance is worth nothing there. The
//! key outlives a restart, so that sessions do.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use enid_model::time::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The key that tokens are signed with.
pub(super) struct Key([u8; 32]);

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("keep the metadata service's key in {path}")]
pub struct KeyError {
    path: Box<str>,
    #[source]
    source: io::Error,
}

/// The file in a data directory that holds the key.
const KEY_FILE: &str = "imds-key";
/// The length of a token's end, and of all of it, before it is text.
const END_BYTES: usize = 8;
const TOKEN_BYTES: usize = END_BYTES + 32;

impl Key {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key that a data directory holds; made at the first time, for its owner's eyes only.
    pub(super) fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let path = data_dir.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                Ok(key) => Ok(key),
                // A daemon ended while it wrote: no token was ever signed with it.
                Err(_) => make(&path),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path),
            Err(error) => Err(error),
        };
        let key = key.map_err(|source| KeyError {
            path: path.display().to_string().into(),
            source,
        })?;
        Ok(Self(key))
    }

    /// A token for an instance that holds for so many seconds.
    pub(super) fn token(&self, instance: &str, now: Timestamp, ttl: u32) -> String {
        let end = now.seconds().saturating_add(i64::from(ttl)).to_be_bytes();
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.extend(end);
        bytes.extend(self.mac(instance, end).finalize().into_bytes());
        URL_SAFE.encode(bytes)
    }

    /// Whether a token is one of an instance and has not ended.
    pub(super) fn is_valid(&self, token: &[u8], instance: &str, now: Timestamp) -> bool {
        let Ok(bytes) = URL_SAFE.decode(token) else {
            return false;
        };
        let Some((end, mac)) = bytes.split_first_chunk::<END_BYTES>() else {
            return false;
        };
        // Compared in constant time.
        let is_ours = self.mac(instance, *end).verify_slice(mac).is_ok();
        is_ours && now.seconds() < i64::from_be_bytes(*end)
    }

    fn mac(&self, instance: &str, end: [u8; END_BYTES]) -> Hmac<Sha256> {
        // Unwrap: HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key will do");
        mac.update(&end);
        mac.update(instance.as_bytes());
        mac
    }
}

/// Writes a new key. The kernel's generator is what makes keys; nothing here needs repeating it.
fn make(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    // In place of a file that another's umask or a crash left behind.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOON: Timestamp = Timestamp(1_000_000_000_000);

    fn later(seconds: i64) -> Timestamp {
        Timestamp(NOON.0 + seconds * 1000)
    }

    #[test]
    fn a_token_holds_for_its_instance_and_time() {
        let key = Key::new([7; 32]);
        let token = key.token("i-1", NOON, 60);
        assert_eq!(token.len(), 56);
        let is_valid = |instance, now| key.is_valid(token.as_bytes(), instance, now);
        assert!(is_valid("i-1", NOON) && is_valid("i-1", later(59)));
        assert!(!is_valid("i-1", later(60)));
        assert!(!is_valid("i-2", NOON));
        assert!(!Key::new([8; 32]).is_valid(token.as_bytes(), "i-1", NOON));
    }

    #[test]
    fn a_token_that_was_changed_is_none() {
        let key = Key::new([7; 32]);
        let token = key.token("i-1", NOON, 60);
        let bytes = URL_SAFE.decode(&token).expect("base64");
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let other = URL_SAFE.encode(other);
            assert!(!key.is_valid(other.as_bytes(), "i-1", NOON), "byte {at}");
        }
        for wrong in [&b""[..], b"x", b"AAAA", &bytes, &token.as_bytes()[..52]] {
            assert!(!key.is_valid(wrong, "i-1", NOON));
        }
    }

    #[test]
    fn the_key_stays_and_is_for_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let token = Key::open(dir.path()).expect("a key").token("i-1", NOON, 60);
        let path = dir.path().join(KEY_FILE);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Key::open(dir.path()).expect("the key");
        assert!(again.is_valid(token.as_bytes(), "i-1", NOON));
        fs::write(&path, b"half").expect("written");
        let new = Key::open(dir.path()).expect("another key");
        assert!(!new.is_valid(token.as_bytes(), "i-1", NOON));
    }
}
