//! Certificates of ACM: imported ones, with their private keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::time::Timestamp;
use crate::uuid::Uuid;

/// An imported certificate. Its key is its id, the last part of its ARN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its id.
    pub id: Uuid,
    /// Itself, as PEM.
    pub body: String,
    /// Those that lead from it to one that clients trust, as PEM; may be empty.
    pub chain: String,
    /// Its private key.
    pub private_key: PrivateKey,
    /// What it says.
    pub facts: CertificateFacts,
    /// When it was imported first.
    pub created_at: Timestamp,
    /// When it was imported as it is.
    pub imported_at: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// The first of its names.
    pub domain: String,
    /// All names in it that servers can have, a leading `*.` included.
    pub names: Vec<String>,
    /// Its serial number, in hexadecimal with colons.
    pub serial: String,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// AWS's word for its key's kind and size.
    pub key_algorithm: String,
    /// How it is signed.
    pub signature_algorithm: String,
}

/// A private key as PEM, which no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateKey(pub String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_stored_and_never_shown() {
        let key = PrivateKey("secret".to_owned());
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
        let stored = serde_json::to_string(&key).unwrap();
        assert_eq!(stored, "\"secret\"");
    }
}
