//! A key pair for logging in to instances.

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::KeyPairId;
use crate::time::Timestamp;

/// A key pair. The private key is never kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Its id.
    pub id: KeyPairId,
    /// Its name, unique in the region.
    pub name: String,
    /// Which kind of key.
    pub key_type: KeyType,
    /// As AWS computes it for the kind and the origin of the key.
    pub fingerprint: String,
    /// The public key, in OpenSSH's format: `ssh-ed25519 AAAA… name`.
    pub public_key: String,
    /// When it was made or imported.
    pub create_time: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa,
}
