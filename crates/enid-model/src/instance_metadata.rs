//! How an instance may read what its metadata service tells, and an account's defaults for that.

use serde::{Deserialize, Serialize};

/// The metadata options of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataOptions {
    /// Whether requests need a session token (version 2 of the service).
    pub tokens_required: bool,
    /// How many hops the answer that carries a token may take, 1 to 64.
    pub hop_limit: u8,
    /// Whether the service answers at all.
    pub endpoint_enabled: bool,
    /// Whether it answers at its IPv6 address as well.
    pub ipv6_enabled: bool,
    /// Whether it tells the instance's tags.
    pub tags_enabled: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            tokens_required: false,
            hop_limit: 1,
            endpoint_enabled: true,
            ipv6_enabled: false,
            tags_enabled: false,
        }
    }
}

/// What new instances of an account's region get where their launch says nothing; `None` is no
/// preference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataDefaults {
    /// Whether requests need a session token.
    pub tokens_required: Option<bool>,
    /// The hop limit.
    pub hop_limit: Option<u8>,
    /// Whether the service answers.
    pub endpoint_enabled: Option<bool>,
    /// Whether it tells tags.
    pub tags_enabled: Option<bool>,
    /// Whether a launch that makes tokens optional is refused.
    pub tokens_enforced: Option<bool>,
}

/// Whether the metadata service can tell a tag with this key: the key is a part of a path there.
#[must_use]
pub fn is_tellable_tag_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+=,.@:".contains(&byte);
    (1..=255).contains(&key.len())
        && key.bytes().all(plain)
        && !matches!(key, "." | ".." | "_index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_path_segment_cannot_be_told() {
        for key in ["Name", "a-b_c+d=e,f.g@h:i", "..."] {
            assert!(is_tellable_tag_key(key), "{key}");
        }
        for key in ["", ".", "..", "_index", "a/b", "a b", "ä"] {
            assert!(!is_tellable_tag_key(key), "{key}");
        }
    }

    #[test]
    fn an_instance_of_before_has_the_options_of_before() {
        let read: Result<MetadataOptions, _> = serde_json::from_str("{}");
        assert_eq!(read.ok(), Some(MetadataOptions::default()));
    }
}
