//! Signing keys, derived once a day per access key, region and service.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Authorization, TERMINATOR};

/// Derived keys, so that a request costs one HMAC and not five.
#[derive(Default)]
pub struct SigningKeys {
    derived: RwLock<HashMap<Scope, Derived>>,
}

/// Access key id, date, region and service, each ended by a slash.
type Scope = String;

struct Derived {
    /// The secret that it came from: a key may get another one.
    secret: String,
    key: [u8; 32],
}

/// Only keys that exist are derived, for a day each; when these are more, all are forgotten.
const DERIVED_MAX: usize = 1024;

impl SigningKeys {
    /// Signs a text with the key of the claim's scope.
    pub(super) fn sign(&self, claim: &Authorization<'_>, secret: &str, text: &[u8]) -> [u8; 32] {
        let Authorization {
            access_key_id,
            date,
            region,
            service,
            ..
        } = claim;
        let scope = format!("{access_key_id}/{date}/{region}/{service}/");
        // A panic elsewhere leaves the map whole: entries are inserted at once.
        let read = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        let known = read.get(&scope).filter(|derived| derived.secret == secret);
        if let Some(derived) = known {
            return hmac(&derived.key, text);
        }
        drop(read);
        let key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        let key = hmac(&key, region.as_bytes());
        let key = hmac(&key, service.as_bytes());
        let key = hmac(&key, TERMINATOR.as_bytes());
        let mut write = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if write.len() >= DERIVED_MAX {
            write.clear();
        }
        write.insert(
            scope,
            Derived {
                secret: secret.to_owned(),
                key,
            },
        );
        drop(write);
        hmac(&key, text)
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::parse_authorization;

    const HEADER: &str = "AWS4-HMAC-SHA256 Credential=AK/20150830/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=00";

    #[test]
    fn a_changed_secret_is_not_served_from_the_cache() {
        let keys = SigningKeys::default();
        let claim = parse_authorization(HEADER).unwrap();
        let first = keys.sign(&claim, "one", b"text");
        assert_eq!(keys.sign(&claim, "one", b"text"), first);
        assert_ne!(keys.sign(&claim, "two", b"text"), first);
        assert_eq!(keys.sign(&claim, "one", b"text"), first);
    }

    #[test]
    fn the_cache_is_bounded() {
        let keys = SigningKeys::default();
        for number in 0..DERIVED_MAX + 10 {
            let header = HEADER.replace("AK", &format!("AK{number}"));
            keys.sign(&parse_authorization(&header).unwrap(), "s", b"");
        }
        assert!(keys.derived.read().unwrap().len() <= DERIVED_MAX);
    }
}
