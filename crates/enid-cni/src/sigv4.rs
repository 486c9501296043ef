//! The signature of a request (AWS Signature Version 4), for one kind of request: a form that is posted
//! to the root.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// An access key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// What is signed.
pub(crate) struct Request<'a> {
    pub(crate) host: &'a str,
    pub(crate) region: &'a str,
    /// The moment, such as `20260102T030405Z`.
    pub(crate) stamp: &'a str,
    pub(crate) body: &'a str,
}

/// The type of the bodies.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The value of the header `authorization`.
pub(crate) fn authorization(key: &Key, request: &Request<'_>) -> String {
    let Request {
        host,
        region,
        stamp,
        body,
    } = request;
    let body = hex(&Sha256::digest(body.as_bytes()));
    let signed = "content-type;host;x-amz-date";
    let canonical = format!(
        "POST\n/\n\ncontent-type:{FORM}\nhost:{host}\nx-amz-date:{stamp}\n\n{signed}\n{body}"
    );
    let date = stamp.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/ec2/aws4_request");
    let canonical = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{canonical}");
    let secret = format!("AWS4{}", key.secret);
    let mut derived = secret.into_bytes();
    for part in [date, region, "ec2", "aws4_request", &to_sign] {
        derived = hmac(&derived, part.as_bytes());
    }
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={}",
        key.id,
        hex(&derived)
    )
}

/// The moment as requests say it, from the seconds since 1970.
pub(crate) fn stamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in eras of 400 years that begin with a March, so that leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The hash of a text in hexadecimal digits.
pub(crate) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // Unwrap: a key may have any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_aws_writes_them() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_440_938_160), "20150830T123600Z");
        assert_eq!(stamp(1_798_761_599), "20261231T235959Z");
    }

    #[test]
    fn a_signature_depends_on_everything() {
        // The secret of AWS's published examples.
        let key = Key {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        };
        let sign = |host, body| {
            let request = Request {
                host,
                region: "us-east-1",
                stamp: "20150830T123600Z",
                body,
            };
            authorization(&key, &request)
        };
        let one = sign("example.amazonaws.com", "Action=A");
        assert!(one.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/ec2/aws4_request, "
        ));
        assert_ne!(one, sign("example.amazonaws.com", "Action=B"));
        assert_ne!(one, sign("example.com", "Action=A"));
    }
}
