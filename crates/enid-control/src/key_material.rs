//! The material of key pairs: making it, reading a client's, and AWS's fingerprints of it.
//!
//! Sources: RFC 4253 section 6.6 and RFC 8709 (public keys), OpenSSH's PROTOCOL.key (private Ed25519
//! keys), RFC 4716 (public key files), EC2 User Guide "Verify the fingerprint of your key pair".

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use enid_model::key_pair::KeyType;
use md5::Md5;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A public key with its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) key_type: KeyType,
    pub(crate) fingerprint: String,
    /// OpenSSH's format without a comment: `ssh-ed25519 AAAA…`.
    pub(crate) openssh: String,
}

/// A new key pair. The private key is told once and kept nowhere.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) public: PublicKey,
    /// PEM: PKCS #1 of an RSA key, OpenSSH's own format of an Ed25519 key, as AWS gives them.
    pub(crate) private: String,
}

/// Key material that cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MaterialError {
    /// A client's text is no public key of a kind and size that AWS takes.
    #[error("read a public key")]
    Unreadable,
    /// The generator failed.
    #[error("make a key")]
    Unmakeable,
}

/// Makes a key pair of this kind. An RSA key takes part of a second.
pub(crate) fn make(key_type: KeyType, seed: [u8; 32]) -> Result<Made, MaterialError> {
    let mut random = Seeded(StdRng::from_seed(seed));
    match key_type {
        KeyType::Ed25519 => {
            let mut secret = [0; 32];
            random.0.fill_bytes(&mut secret);
            let check = random.0.next_u32();
            let key = SigningKey::from_bytes(&secret);
            Ok(Made {
                public: ed25519(key.verifying_key().as_bytes()),
                private: openssh_private(&key, check),
            })
        }
        KeyType::Rsa => {
            let key = RsaPrivateKey::new(&mut random, RSA_BITS)
                .map_err(|_source| MaterialError::Unmakeable)?;
            let (pkcs1, pkcs8) = (key.to_pkcs1_pem(LineEnding::LF), key.to_pkcs8_der());
            let (Ok(pkcs1), Ok(pkcs8)) = (pkcs1, pkcs8) else {
                return Err(MaterialError::Unmakeable);
            };
            Ok(Made {
                public: PublicKey {
                    key_type,
                    fingerprint: colons(&Sha1::digest(pkcs8.as_bytes())),
                    openssh: openssh_rsa(&key.to_public_key()),
                },
                private: pkcs1.trim_end().to_owned(),
            })
        }
    }
}

const RSA_BITS: usize = 2048;
/// The sizes of RSA keys that AWS imports.
const RSA_BYTES: [usize; 3] = [128, 256, 512];

/// Reads a public key in a format that AWS imports: OpenSSH's, RFC 4716's, or DER in base64.
pub(crate) fn read(material: &[u8]) -> Result<PublicKey, MaterialError> {
    let unreadable = MaterialError::Unreadable;
    let text = std::str::from_utf8(material).map_err(|_source| unreadable)?;
    let text = text.trim();
    let mut words = text.split_ascii_whitespace();
    if let (Some("ssh-rsa" | "ssh-ed25519"), Some(blob)) = (words.next(), words.next()) {
        return read_blob(&decode(blob)?);
    }
    if let Some(body) = text.strip_prefix("---- BEGIN SSH2 PUBLIC KEY ----") {
        let body = body.strip_suffix("---- END SSH2 PUBLIC KEY ----");
        return read_blob(&decode(&without_headers(body.ok_or(unreadable)?))?);
    }
    let key = RsaPublicKey::from_public_key_der(&decode(text)?);
    imported_rsa(&key.map_err(|_source| unreadable)?)
}

/// The lines of an RFC 4716 file that are no headers; a header goes on after a backslash.
fn without_headers(body: &str) -> String {
    let mut goes_on = false;
    let body = body.lines().filter(|line| {
        let is_header = goes_on || line.contains(':');
        goes_on = is_header && line.ends_with('\\');
        !is_header
    });
    body.collect()
}

fn decode(text: &str) -> Result<Vec<u8>, MaterialError> {
    let packed: String = text.split_ascii_whitespace().collect();
    let decoded = BASE64.decode(packed);
    decoded.map_err(|_source| MaterialError::Unreadable)
}

/// Reads a public key as SSH transmits it.
fn read_blob(blob: &[u8]) -> Result<PublicKey, MaterialError> {
    let unreadable = MaterialError::Unreadable;
    let mut rest = blob;
    let mut next = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, after) = after.split_at_checked(length)?;
        rest = after;
        Some(field)
    };
    match next() {
        Some(b"ssh-ed25519") => {
            let point: Option<&[u8; 32]> = next().and_then(|field| field.try_into().ok());
            let point = point.filter(|_| rest.is_empty()).ok_or(unreadable)?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(point);
            Ok(ed25519(key.map_err(|_source| unreadable)?.as_bytes()))
        }
        Some(b"ssh-rsa") => {
            let (Some(e), Some(n)) = (next(), next()) else {
                return Err(unreadable);
            };
            if !rest.is_empty() {
                return Err(unreadable);
            }
            let (n, e) = (BigUint::from_bytes_be(n), BigUint::from_bytes_be(e));
            let key = RsaPublicKey::new_with_max_size(n, e, RSA_BITS_MAX);
            imported_rsa(&key.map_err(|_source| unreadable)?)
        }
        _ => Err(unreadable),
    }
}

const RSA_BITS_MAX: usize = 4096;

fn imported_rsa(key: &RsaPublicKey) -> Result<PublicKey, MaterialError> {
    let unreadable = MaterialError::Unreadable;
    if !RSA_BYTES.contains(&key.size()) {
        return Err(unreadable);
    }
    let der = key.to_public_key_der().map_err(|_source| unreadable)?;
    Ok(PublicKey {
        key_type: KeyType::Rsa,
        fingerprint: colons(&Md5::digest(der.as_bytes())),
        openssh: openssh_rsa(key),
    })
}

fn ed25519(point: &[u8; 32]) -> PublicKey {
    let blob = ed25519_blob(point);
    PublicKey {
        key_type: KeyType::Ed25519,
        fingerprint: BASE64.encode(Sha256::digest(&blob)),
        openssh: format!("ssh-ed25519 {}", BASE64.encode(blob)),
    }
}

fn ed25519_blob(point: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-ed25519");
    put(&mut blob, point);
    blob
}

fn openssh_rsa(key: &RsaPublicKey) -> String {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-rsa");
    for number in [key.e(), key.n()] {
        let mut bytes = number.to_bytes_be();
        // Numbers are signed: a leading zero keeps them positive.
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            bytes.insert(0, 0);
        }
        put(&mut blob, &bytes);
    }
    format!("ssh-rsa {}", BASE64.encode(blob))
}

/// An unencrypted private key in OpenSSH's format. `check` stands in it twice, for decryption.
fn openssh_private(key: &SigningKey, check: u32) -> String {
    let point = key.verifying_key();
    let mut secret = Vec::new();
    for _ in 0..2 {
        secret.extend(check.to_be_bytes());
    }
    put(&mut secret, b"ssh-ed25519");
    put(&mut secret, point.as_bytes());
    put(&mut secret, &key.to_keypair_bytes());
    put(&mut secret, b"");
    secret.extend((1..=8).take((8 - secret.len() % 8) % 8));
    let mut file = b"openssh-key-v1\0".to_vec();
    for word in [&b"none"[..], b"none", b""] {
        put(&mut file, word);
    }
    file.extend(1_u32.to_be_bytes());
    put(&mut file, &ed25519_blob(point.as_bytes()));
    put(&mut file, &secret);

    let mut pem = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
    for (place, letter) in BASE64.encode(file).chars().enumerate() {
        if place > 0 && place % 70 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    pem
}

/// A string of SSH: its length, then itself.
fn put(blob: &mut Vec<u8>, field: &[u8]) {
    // A field is a key or a word: far from 4 GiB.
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    blob.extend(length.to_be_bytes());
    blob.extend(field);
}

fn colons(digest: &[u8]) -> String {
    let mut text = String::with_capacity(digest.len() * 3);
    for byte in digest {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

/// The workspace's generator for a crate that knows an older interface of generators.
struct Seeded(StdRng);

impl rsa::rand_core::RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

// `StdRng` is a generator for cryptographic use.
impl rsa::rand_core::CryptoRng for Seeded {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen -t rsa -b 1024`; its fingerprint by `openssl md5 -c` of the DER form.
    const RSA: &str = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQDjzaob80xecvOFKtkDMNT5NzgmGhPZ6Tpfrn6C9NBW2ZIHXZ0fg9JMatuILdZ9isHSBRUTVPi8K/eV/f2M1L70QSJjGzkGnhKOPpX96x6DC1N087HbNV9YCX6CcK2hiF0RQJHq2icJyJYLvPkPwHhgMbHWFPZIkprO2HUpRWW23Q==";
    const RSA_DER: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDjzaob80xecvOFKtkDMNT5NzgmGhPZ6Tpfrn6C9NBW2ZIHXZ0fg9JMatuILdZ9isHSBRUTVPi8K/eV/f2M1L70QSJjGzkGnhKOPpX96x6DC1N087HbNV9YCX6CcK2hiF0RQJHq2icJyJYLvPkPwHhgMbHWFPZIkprO2HUpRWW23QIDAQAB";
    const RSA_FINGERPRINT: &str = "28:0f:4f:e4:c9:5e:3f:ca:5e:cf:bb:b7:bf:ba:4a:82";
    /// Made by `ssh-keygen -t ed25519`; its fingerprint by `ssh-keygen -l`, padded as AWS pads it.
    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIDcVmbbka+GOzowDffuJH1o2dBBFLqSV1xN7V+AA1Kf1";
    const ED25519_FINGERPRINT: &str = "9rs1MPFGW7wrjjHw4SU5flbptFQtYhtjwTaHgpnm7zY=";

    #[test]
    fn a_public_key_is_read_in_each_of_its_forms() {
        let file = format!(
            "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"1024-bit RSA, \\\nof mine\"\n{}\n{}\n\
             ---- END SSH2 PUBLIC KEY ----\n",
            &RSA[..70],
            &RSA[70..]
        );
        for form in [
            format!("ssh-rsa {RSA} me@home\n"),
            format!("ssh-rsa {RSA}"),
            file,
            RSA_DER.to_owned(),
        ] {
            let key = read(form.as_bytes()).expect("a public key");
            assert_eq!(key.key_type, KeyType::Rsa);
            assert_eq!(key.fingerprint, RSA_FINGERPRINT);
            assert_eq!(key.openssh, format!("ssh-rsa {RSA}"));
        }
        let key = read(format!("ssh-ed25519 {ED25519} me").as_bytes()).expect("a public key");
        assert_eq!(key.key_type, KeyType::Ed25519);
        assert_eq!(key.fingerprint, ED25519_FINGERPRINT);
        assert_eq!(key.openssh, format!("ssh-ed25519 {ED25519}"));
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let short = &RSA[..RSA.len() - 8];
        for text in [
            "",
            "ssh-rsa",
            "ssh-rsa !",
            &format!("ssh-rsa {short}"),
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=",
            "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA",
            "AAAA",
        ] {
            assert_eq!(
                read(text.as_bytes()),
                Err(MaterialError::Unreadable),
                "{text}"
            );
        }
        assert_eq!(read(&[0xff]), Err(MaterialError::Unreadable));
    }

    #[test]
    fn made_keys_are_read_as_what_they_are() {
        let one = make(KeyType::Ed25519, [1; 32]).expect("a key");
        assert_eq!(
            read(one.public.openssh.as_bytes()).as_ref(),
            Ok(&one.public)
        );
        let start = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
        assert!(one.private.starts_with(start));
        let other = make(KeyType::Ed25519, [2; 32]).expect("a key");
        assert_ne!(one.public, other.public);

        let rsa = make(KeyType::Rsa, [1; 32]).expect("a key");
        assert!(rsa.private.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        // SHA-1 of the private key; once it is imported, MD5 of the public one.
        assert_eq!(rsa.public.fingerprint.len(), 20 * 3 - 1);
        let imported = read(rsa.public.openssh.as_bytes()).expect("a public key");
        assert_eq!(imported.openssh, rsa.public.openssh);
        assert_eq!(imported.fingerprint.len(), 16 * 3 - 1);
    }
}
