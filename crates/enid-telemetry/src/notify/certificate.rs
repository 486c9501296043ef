//! The certificate of the signing key: self-signed, X.509 version 1, in DER.
//!
//! It only carries the public key to those who verify messages. Its whole content is fixed but for the
//! key and the day, so that a library of X.509 would be used for some forty bytes.

use rsa::pkcs8::EncodePublicKey as _;
use rsa::{RsaPrivateKey, pkcs8};
use sha2::{Digest as _, Sha256};

use super::signer::{HashedWith, SignError, signature};

/// `sha256WithRSAEncryption`, 1.2.840.113549.1.1.11, with its null parameters.
const SHA256_WITH_RSA: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
];
/// `commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const GENERALIZED_TIME: u8 = 0x18;

/// Who the certificate says it is of: a name that nobody has.
const SUBJECT: &str = "sns.enid.invalid";
/// From before any clock that Enid is run with, to the day that RFC 5280 gives for no end.
const FROM: &str = "20200101000000Z";
const TO: &str = "99991231235959Z";

/// The certificate of a key, in DER. The same key has the same certificate.
pub(super) fn certificate(key: &RsaPrivateKey) -> Result<Vec<u8>, SignError> {
    let public = key.to_public_key().to_public_key_der();
    let public = public.map_err(|error: pkcs8::spki::Error| SignError::Key(error.into()))?;
    let digest = Sha256::digest(public.as_bytes());
    // Sixteen bytes of the key's digest; the leading one keeps it positive and of that length.
    let mut serial = vec![0x01];
    serial.extend(digest.iter().take(15));
    let common_name = element(UTF8_STRING, SUBJECT.as_bytes());
    let attribute = element(SEQUENCE, &[COMMON_NAME, &common_name].concat());
    let name = element(SEQUENCE, &element(SET, &attribute));
    let times = [FROM, TO].map(|time| element(GENERALIZED_TIME, time.as_bytes()));
    let validity = element(SEQUENCE, &times.concat());
    // https://www.rfc-editor.org/rfc/rfc5280#section-4.1; version 1 is the default and not written.
    let tbs = element(
        SEQUENCE,
        &[
            &element(INTEGER, &serial),
            SHA256_WITH_RSA,
            &name,
            &validity,
            &name,
            public.as_bytes(),
        ]
        .concat(),
    );
    let mut bits = vec![0];
    bits.extend(signature(key, HashedWith::Sha256, &tbs)?);
    let signed = [&*tbs, SHA256_WITH_RSA, &element(BIT_STRING, &bits)].concat();
    Ok(element(SEQUENCE, &signed))
}

/// A tag, a length, and a content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_short_and_long() {
        assert_eq!(element(INTEGER, &[5]), [0x02, 0x01, 0x05]);
        assert_eq!(
            element(SET, &[0; 0x80]).get(..3),
            Some(&[0x31, 0x81, 0x80][..])
        );
        assert_eq!(
            element(SET, &[0; 0x1ff]).get(..4),
            Some(&[0x31, 0x82, 0x01, 0xff][..])
        );
    }
}
