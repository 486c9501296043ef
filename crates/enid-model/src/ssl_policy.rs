//! Security policies of TLS listeners: which versions and ciphers clients may choose from.
//!
//! Of AWS's policies only those are here whose every version and cipher the proxy has: none of those has a
//! cipher of CBC mode or without forward secrecy.
//!
//! Source: the User Guide for Network Load Balancers, "Security policies for your Network Load Balancer".

use serde::{Deserialize, Serialize};

/// A security policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SslPolicy {
    /// TLS 1.2 alone, with ciphers of GCM mode.
    #[serde(rename = "ELBSecurityPolicy-FS-1-2-Res-2020-10")]
    Fs12Res202010,
    /// TLS 1.3, and 1.2 with ciphers of GCM mode.
    #[serde(rename = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06")]
    Tls13And12Res202106,
    /// TLS 1.3 alone.
    #[serde(rename = "ELBSecurityPolicy-TLS13-1-3-2021-06")]
    Tls13202106,
}

impl SslPolicy {
    /// All of them, by name.
    pub const ALL: [Self; 3] = [
        Self::Fs12Res202010,
        Self::Tls13And12Res202106,
        Self::Tls13202106,
    ];
    /// That of a listener that names none. AWS's own has ciphers that nobody should use any more.
    pub const USUAL: Self = Self::Tls13And12Res202106;

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fs12Res202010 => "ELBSecurityPolicy-FS-1-2-Res-2020-10",
            Self::Tls13And12Res202106 => "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
            Self::Tls13202106 => "ELBSecurityPolicy-TLS13-1-3-2021-06",
        }
    }

    /// The policy of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether clients may choose TLS 1.2.
    #[must_use]
    pub fn has_tls12(self) -> bool {
        self != Self::Tls13202106
    }

    /// Whether clients may choose TLS 1.3.
    #[must_use]
    pub fn has_tls13(self) -> bool {
        self != Self::Fs12Res202010
    }

    /// Its ciphers by AWS's names, the most wanted first.
    pub fn ciphers(self) -> impl Iterator<Item = &'static str> {
        let newer = self.has_tls13().then_some(CIPHERS_13).into_iter().flatten();
        let older = self.has_tls12().then_some(CIPHERS_12).into_iter().flatten();
        newer.chain(older)
    }

    /// Its versions by AWS's names.
    pub fn versions(self) -> impl Iterator<Item = &'static str> {
        let newer = self.has_tls13().then_some("TLSv1.3");
        newer
            .into_iter()
            .chain(self.has_tls12().then_some("TLSv1.2"))
    }
}

const CIPHERS_13: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const CIPHERS_12: [&str; 4] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

/// Names of AWS's policies that are none of these: refused by name.
pub const POLICIES_OF_AWS: [&str; 15] = [
    "ELBSecurityPolicy-2015-05",
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-FS-2018-06",
    "ELBSecurityPolicy-FS-1-1-2019-08",
    "ELBSecurityPolicy-FS-1-2-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2019-08",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
];

/// Which protocols a TLS listener agrees on with clients (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlpnPolicy {
    /// HTTP/1.1 and 1.0.
    HTTP1Only,
    /// HTTP/2.
    HTTP2Only,
    /// HTTP/1.1 and 1.0 rather than HTTP/2.
    HTTP2Optional,
    /// HTTP/2 rather than HTTP/1.1 and 1.0.
    HTTP2Preferred,
}

impl AlpnPolicy {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::HTTP1Only => "HTTP1Only",
            Self::HTTP2Only => "HTTP2Only",
            Self::HTTP2Optional => "HTTP2Optional",
            Self::HTTP2Preferred => "HTTP2Preferred",
        }
    }

    /// Its protocols, the most wanted first.
    #[must_use]
    pub fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::HTTP1Only => &["http/1.1", "http/1.0"],
            Self::HTTP2Only => &["h2"],
            Self::HTTP2Optional => &["http/1.1", "http/1.0", "h2"],
            Self::HTTP2Preferred => &["h2", "http/1.1", "http/1.0"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_known_by_name_and_none_is_of_both_lists() {
        for policy in SslPolicy::ALL {
            assert_eq!(SslPolicy::named(policy.name()), Some(policy));
            assert!(!POLICIES_OF_AWS.contains(&policy.name()));
            let stored = serde_json::to_string(&policy).unwrap();
            assert_eq!(stored, format!("\"{}\"", policy.name()));
        }
        assert_eq!(SslPolicy::named("ELBSecurityPolicy-2016-08"), None);
        assert_eq!(SslPolicy::Tls13202106.ciphers().count(), 3);
        assert_eq!(SslPolicy::USUAL.ciphers().count(), 7);
        let versions: Vec<_> = SslPolicy::Fs12Res202010.versions().collect();
        assert_eq!(versions, ["TLSv1.2"]);
    }
}
