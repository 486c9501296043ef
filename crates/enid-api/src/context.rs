//! What an operation knows of the request beyond its parameters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enid_control::Caller;
use enid_model::key::AccountId;
use enid_model::region::Region;

use crate::policy::Permissions;
use crate::wire::text::Text;

/// Who asks, where, and under which id.
#[derive(Clone, Debug)]
pub struct Context {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: &'static Region,
    /// The access key that signed the request.
    pub access_key_id: String,
    /// What the policy of the key allows; a key without one may do everything.
    pub permissions: Option<Arc<Permissions>>,
    /// The id of the request.
    pub request_id: RequestId,
    /// Whether to stop short of changing anything. Operations that only read need not look at it:
    /// the front door tells the client in their place.
    pub dry_run: bool,
    /// What the request asks for, of one with a client token.
    pub asked: Option<Arc<str>>,
}

impl Context {
    /// The same for the control plane.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            account: self.account,
            region: self.region,
            dry_run: self.dry_run,
            asked: self.asked.clone(),
        }
    }

    /// The ARN of one of the caller's resources of EC2, such as a `subnet`.
    #[must_use]
    pub fn arn(&self, resource_type: &str, id: impl fmt::Display) -> Text {
        self.arn_of(self.account, resource_type, id)
    }

    /// The ARN of a resource of EC2 of any account.
    #[must_use]
    pub fn arn_of(&self, account: AccountId, resource_type: &str, id: impl fmt::Display) -> Text {
        let (partition, region) = (self.region.partition(), self.region.name);
        Text::display(format_args!(
            "arn:{partition}:ec2:{region}:{account}:{resource_type}/{id}"
        ))
    }
}

/// The id of a request, a version 4 UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id >> 96,
            (id >> 80) & 0xffff,
            (id >> 64) & 0xffff,
            (id >> 48) & 0xffff,
            id & 0xffff_ffff_ffff
        )
    }
}

/// Makes request ids. They need only be different from one another, so that a seed is enough.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// Ids from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            count: AtomicU64::new(0),
        }
    }

    /// The next one.
    pub fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let high = mix(self.seed ^ mix(count));
        let low = mix(high.wrapping_add(count));
        let bits = u128::from(high) << 64 | u128::from(low);
        // Version and variant: https://www.rfc-editor.org/rfc/rfc9562#section-5.4
        let version = bits & !(0xf << 76) | 4 << 76;
        RequestId(version & !(0b11 << 62) | 0b10 << 62)
    }
}

/// The finaliser of SplitMix64, a bijection.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_differ_and_have_the_form_of_a_uuid() {
        let ids = RequestIds::new(7);
        let made: BTreeSet<String> = (0..1000).map(|_| ids.next().to_string()).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            assert_eq!(id.len(), 36);
            assert_eq!(id.get(14..15), Some("4"), "{id}");
            assert!(
                matches!(id.get(19..20), Some("8" | "9" | "a" | "b")),
                "{id}"
            );
        }
        assert_ne!(RequestIds::new(1).next(), RequestIds::new(2).next());
    }
}
