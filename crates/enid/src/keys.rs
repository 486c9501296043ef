//! Access keys: a file of the data directory, readable by its owner only.
//!
//! `enid key create` adds to the file while a daemon runs: a key that the daemon does not know
//! makes it look at the file again if that has changed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use enid_api::policy::Policy;
use enid_api::sigv4::Key;
use enid_model::key::AccountId;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// One access key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccessKey {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) account: String,
    /// What it may do, in IAM's policy language; without a policy, everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<serde_json::Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KeyFile {
    keys: Vec<AccessKey>,
}

/// The keys of a data directory as a daemon sees them.
#[derive(Debug)]
pub(crate) struct KeyRing {
    path: PathBuf,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    version: Option<Version>,
    keys: BTreeMap<String, Key>,
}

/// Tells one version of the file from another: each is a file of its own, moved into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    /// Alone it would not do: its clock ticks some hundred times a second.
    modified: (i64, i64),
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Reads all keys of a file; none if it does not exist.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<AccessKey>> {
    match std::fs::read(path) {
        Ok(text) => {
            let file: KeyFile = serde_json::from_slice(&text)
                .with_context(|| format!("{} is not a file of access keys", path.display()))?;
            Ok(file.keys)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// The key that `enid env` hands out: the first that may do everything.
pub(crate) fn root(keys: Vec<AccessKey>) -> Option<AccessKey> {
    keys.into_iter().find(|key| key.policy.is_none())
}

/// Makes another key and adds it to the file. Whoever reads meanwhile sees the old file or the new.
pub(crate) fn create(
    path: &Path,
    account: AccountId,
    policy: Option<serde_json::Value>,
) -> anyhow::Result<AccessKey> {
    let mut keys = read(path)?;
    let key = generate(account, policy);
    keys.push(key.clone());
    let text = serde_json::to_vec_pretty(&KeyFile { keys })?;
    let temporary = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.with_context(|| format!("write {}", path.display()))?;
    Ok(key)
}

fn generate(account: AccountId, policy: Option<serde_json::Value>) -> AccessKey {
    const ID_LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const SECRET_LETTERS: &[u8] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random: rand::rngs::StdRng = rand::make_rng();
    let mut text = |letters: &[u8], count: usize| -> String {
        let mut letter = || {
            let at = random.random_range(0..letters.len());
            letters.get(at).copied().map_or('A', char::from)
        };
        (0..count).map(|_| letter()).collect()
    };
    AccessKey {
        access_key_id: format!("AKIA{}", text(ID_LETTERS, 16)),
        secret_access_key: text(SECRET_LETTERS, 40),
        account: account.to_string(),
        policy,
    }
}

impl KeyRing {
    /// The keys of a data directory. A root key is made if there is none.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        if root(read(&path)?).is_none() {
            create(&path, AccountId::DEFAULT, None)?;
        }
        let ring = Self {
            path,
            known: RwLock::default(),
        };
        ring.reload()?;
        Ok(ring)
    }

    /// A key's secret, account and policy.
    pub(crate) fn find(&self, id: &str) -> Option<Key> {
        if let Some(found) = self.known(id) {
            return Some(found);
        }
        let version = Version::of(&self.path);
        let seen = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .version;
        if version == seen {
            return None;
        }
        if let Err(error) = self.reload() {
            tracing::warn!(error = format!("{error:#}"), "the key file cannot be read");
        }
        self.known(id)
    }

    fn known(&self, id: &str) -> Option<Key> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.get(id).cloned()
    }

    fn reload(&self) -> anyhow::Result<()> {
        let version = Version::of(&self.path);
        let mut keys = BTreeMap::new();
        for key in read(&self.path)? {
            let AccessKey {
                access_key_id: id,
                secret_access_key: secret,
                account,
                policy,
            } = key;
            let of = |what| format!("{}: {what} of {id}", self.path.display());
            let account = account.parse().with_context(|| of("account"))?;
            // A policy that cannot be obeyed is no reason to let its key do everything.
            let policy = policy
                .map(|policy| Policy::parse(&policy.to_string()).map(Arc::new))
                .transpose()
                .with_context(|| of("policy"))?;
            let key = Key {
                secret,
                account,
                policy,
            };
            keys.insert(id, key);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known { version, keys };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_made_while_a_daemon_runs_is_found() -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("keys.json");
        let ring = KeyRing::open(path.clone())?;
        let root = read(&path)?.remove(0);
        let found = ring.find(&root.access_key_id);
        let wanted = Key {
            secret: root.secret_access_key,
            account: AccountId::DEFAULT,
            policy: None,
        };
        assert_eq!(found, Some(wanted));
        let second = create(&path, AccountId(210_987_654_321), None)?;
        let found = ring.find(&second.access_key_id);
        assert_eq!(
            found.map(|key| key.account),
            Some(AccountId(210_987_654_321))
        );
        assert_eq!(ring.find("AKIAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(
            std::fs::metadata(&path)?.permissions().mode() & 0o777,
            0o600
        );
        Ok(())
    }
    #[test]
    fn a_key_keeps_its_policy_and_is_no_root_key() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("keys.json");
        let policy = serde_json::json!({
            "Statement": {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}
        });
        let key = create(&path, AccountId::DEFAULT, Some(policy))?;
        assert!(root(read(&path)?).is_none());
        let ring = KeyRing::open(path.clone())?;
        let found = ring.find(&key.access_key_id);
        assert!(found.is_some_and(|key| key.policy.is_some()));
        let handed_out = root(read(&path)?);
        assert!(handed_out.is_some_and(|root| root.access_key_id != key.access_key_id));

        create(&path, AccountId::DEFAULT, Some(serde_json::json!({})))?;
        let refused = KeyRing::open(path).map_err(|error| format!("{error:#}"));
        assert!(refused.is_err_and(|words| words.contains("Statement")));
        Ok(())
    }
}
