//! Verifying AWS Signature Version 4: in the `Authorization` header, or in a presigned query.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html> says how clients sign.
//! Nothing in here is told why a request is made; it says who made it, for which region and
//! service.

mod authorization;
mod canonical;
mod error;
mod key;

use std::fmt;
use std::sync::Arc;

use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::time::Timestamp;
use hyper::http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use self::authorization::{Authorization, Presigned, parse_authorization, parse_presigned};
pub use self::canonical::Signed;
pub use self::error::AuthError;
pub use self::key::SigningKeys;
use crate::policy::Policy;
use crate::wire::instant;

/// How far a client's clock may be off.
const SKEW_MS: i64 = 15 * 60 * 1000;
const TERMINATOR: &str = "aws4_request";

/// Finds access keys.
pub trait Keys: Send + Sync {
    /// The key with this id. A session token belongs to temporary keys: a permanent key that comes
    /// with one is not found.
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key>;
}

/// An access key.
#[derive(Clone, PartialEq)]
pub struct Key {
    /// The secret that it signs with.
    pub secret: String,
    /// The account that it belongs to.
    pub account: AccountId,
    /// What it may do; without a policy, everything in its account.
    pub policy: Option<Arc<Policy>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Who made a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The access key that signed it.
    pub access_key_id: String,
    /// The account of the key.
    pub account: AccountId,
    /// The policy of the key.
    pub policy: Option<Arc<Policy>>,
    /// The region that the request is for.
    pub region: &'static Region,
}

/// The claim in a request, if it makes one.
pub fn claim<'a>(signed: &Signed<'a>) -> Option<Result<Authorization<'a>, AuthError>> {
    match signed.headers.get("authorization") {
        Some(header) => Some(match header.to_str() {
            Ok(header) => parse_authorization(header),
            Err(_) => Err(AuthError::Malformed),
        }),
        None => parse_presigned(signed.query),
    }
}

/// Holds a claim against the request and the keys.
pub fn verify(
    claim: &Authorization<'_>,
    signed: Signed<'_>,
    body: &[u8],
    now: Timestamp,
    keys: &dyn Keys,
    signing_keys: &SigningKeys,
) -> Result<Caller, AuthError> {
    let (stamp, time) = stamp(claim, signed.headers)?;
    scope(claim, &stamp)?;
    let region = Region::named(&claim.region)
        .ok_or_else(|| AuthError::Region(claim.region.chars().take(64).collect()))?;
    let names: Vec<&str> = claim.signed_headers.split(';').collect();
    if !names.contains(&"host") {
        return Err(AuthError::HostNotSigned);
    }
    let token = match &claim.presigned {
        Some(presigned) => presigned.session_token.as_deref(),
        None => header(signed.headers, "x-amz-security-token"),
    };
    let key = keys
        .find(&claim.access_key_id, token)
        .ok_or(AuthError::UnknownKey)?;
    let body_hash = hex(&Sha256::digest(body));
    let canonical = canonical::request(signed, &claim.signed_headers, &body_hash)
        .ok_or(AuthError::Signature)?;
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{}/{}/{}/{TERMINATOR}\n{}",
        claim.date,
        claim.region,
        claim.service,
        hex(&Sha256::digest(canonical))
    );
    let wanted = signing_keys.sign(claim, &key.secret, to_sign.as_bytes());
    let given = from_hex(&claim.signature).ok_or(AuthError::Signature)?;
    if !bool::from(wanted.as_slice().ct_eq(&given)) {
        return Err(AuthError::Signature);
    }
    // After the signature: who does not know the secret learns nothing about the clock.
    timely(claim, time, now)?;
    Ok(Caller {
        access_key_id: claim.access_key_id.clone().into_owned(),
        account: key.account,
        policy: key.policy,
        region,
    })
}

/// When the request was signed, in the basic form and as a point in time.
fn stamp(claim: &Authorization<'_>, headers: &HeaderMap) -> Result<(String, Timestamp), AuthError> {
    let text = match &claim.presigned {
        Some(presigned) => Some(presigned.date.as_str()),
        None => header(headers, "x-amz-date"),
    };
    if let Some(text) = text {
        let time = instant::parse_basic(text).ok_or(AuthError::Date)?;
        return Ok((text.to_owned(), time));
    }
    let text = header(headers, "date").ok_or(AuthError::NoDate)?;
    let time = instant::parse_basic(text)
        .or_else(|| instant::parse_http(text))
        .ok_or(AuthError::Date)?;
    Ok((instant::basic(time), time))
}

fn scope(claim: &Authorization<'_>, stamp: &str) -> Result<(), AuthError> {
    let day = stamp.get(..8).unwrap_or_default();
    if claim.date != day {
        let claimed = claim.date.chars().take(16).collect();
        return Err(AuthError::ScopeDate {
            claimed,
            stamped: day.to_owned(),
        });
    }
    if claim.terminator != TERMINATOR {
        return Err(AuthError::Terminator(
            claim.terminator.chars().take(64).collect(),
        ));
    }
    Ok(())
}

fn timely(claim: &Authorization<'_>, time: Timestamp, now: Timestamp) -> Result<(), AuthError> {
    let latest = match &claim.presigned {
        Some(presigned) => time.0 + presigned.expires * 1000,
        None => time.0 + SKEW_MS,
    };
    if now.0 > latest {
        return Err(AuthError::Expired { signed: time, now });
    }
    if now.0 < time.0 - SKEW_MS {
        return Err(AuthError::NotYet { signed: time, now });
    }
    Ok(())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
