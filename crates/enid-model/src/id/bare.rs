//! Ids that are nothing but sixteen hexadecimal digits: those of load balancers, which are known to
//! their clients by the ARNs that end with them.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::{MalformedId, Parsed, ResourceId, hexadecimal};

/// The text is no such id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sixteen hexadecimal digits")]
pub struct MalformedBareId;

/// The bits of sixteen lower-case digits.
fn bits_of(text: &str) -> Result<u64, MalformedBareId> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 16 || !text.bytes().all(lower_hex) {
        return Err(MalformedBareId);
    }
    u64::from_str_radix(text, 16).or(Err(MalformedBareId))
}

macro_rules! bare_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl ResourceId for $name {
            const PREFIX: &'static str = $prefix;

            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            fn bits(self) -> u64 {
                self.0
            }

            fn parse(text: &str) -> Result<Parsed<Self>, MalformedId> {
                let malformed = MalformedId { prefix: $prefix };
                text.parse().map(Parsed::Native).or(Err(malformed))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(hexadecimal(self.0, &mut [0; 16]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "/{}"), self)
            }
        }

        impl FromStr for $name {
            type Err = MalformedBareId;

            fn from_str(text: &str) -> Result<Self, MalformedBareId> {
                bits_of(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

bare_ids! {
    /// A listener of a load balancer.
    ListenerId = "listener";
    /// A load balancer.
    LoadBalancerId = "loadbalancer";
    /// A target group.
    TargetGroupId = "targetgroup";
    /// A registration of a target: registered again, it has another one.
    TargetUid = "target";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_are_one_to_one() {
        let id = LoadBalancerId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123456789abcdef");
        assert_eq!("0123456789abcdef".parse(), Ok(id));
        assert_eq!(format!("{id:?}"), "loadbalancer/0123456789abcdef");
        let json = serde_json::to_string(&id);
        assert_eq!(json.ok().as_deref(), Some("\"0123456789abcdef\""));
        for text in [
            "",
            "123456789abcdef",
            "0123456789abcdef0",
            "0123456789ABCDEF",
            "+123456789abcdef",
        ] {
            assert_eq!(
                text.parse::<LoadBalancerId>(),
                Err(MalformedBareId),
                "{text}"
            );
        }
    }
}
