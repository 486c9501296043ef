//! Ids of 128 random bits in the text form of RFC 9562: subscriptions and messages have them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

impl Uuid {
    /// The version 4 UUID with these random bits; six of them give way to version and variant.
    #[must_use]
    pub fn from_random(high: u64, low: u64) -> Self {
        let bits = u128::from(high) << 64 | u128::from(low);
        let version = bits & !(0xf << 76) | 4 << 76;
        Self(version & !(0b11 << 62) | 0b10 << 62)
    }
}

impl fmt::Display for Uuid {
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

/// The text is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID in lower case")]
pub struct MalformedUuid;

impl FromStr for Uuid {
    type Err = MalformedUuid;

    fn from_str(text: &str) -> Result<Self, MalformedUuid> {
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        let bits = u128::from_str_radix(&digits, 16).map_err(|_not_hexadecimal| MalformedUuid)?;
        let uuid = Self(bits);
        // One text for one id: dashes are where they belong, and letters are small.
        match uuid.to_string() == text {
            true => Ok(uuid),
            false => Err(MalformedUuid),
        }
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_they_are_written() {
        let uuid = Uuid::from_random(u64::MAX, 7);
        assert_eq!(uuid.to_string(), "ffffffff-ffff-4fff-8000-000000000007");
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        for text in [
            "",
            "ffffffffffff4fff8000000000000007",
            "FFFFFFFF-ffff-4fff-8000-000000000007",
            "+fffffff-ffff-4fff-8000-000000000007",
            "ffffffff-ffff-4fff-8000-00000000000g",
        ] {
            assert_eq!(text.parse::<Uuid>(), Err(MalformedUuid), "{text}");
        }
    }
}
