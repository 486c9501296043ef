//! The key that messages are signed with: one of this installation, made at its first use and kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enid_model::topic::SignatureVersion;
use rand::Rng as _;
use rand::rngs::StdRng;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, pkcs8};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::certificate::certificate;

/// Signs messages.
pub(super) struct Signer {
    key: RsaPrivateKey,
    certificate: String,
    name: String,
}

/// Why there is no key, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key's file cannot be read or written.
    #[error("the file of the signing key")]
    Io(#[from] std::io::Error),
    /// What the file holds is no key, or a key cannot be written.
    #[error("the signing key")]
    Key(#[from] pkcs8::Error),
    /// A key cannot be made, or does not sign.
    #[error("RSA")]
    Rsa(#[from] rsa::Error),
}

impl Signer {
    /// The key in a file; it is made if there is none. Takes a while: not for a thread of async code.
    pub(super) fn open(path: &Path, random: StdRng) -> Result<Self, SignError> {
        let key = match fs::read_to_string(path) {
            Ok(pem) => RsaPrivateKey::from_pkcs8_pem(&pem)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, random)?,
            Err(error) => return Err(error.into()),
        };
        let der = certificate(&key)?;
        let digest = Sha256::digest(&der);
        let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        let name = format!(
            "SimpleNotificationService-{}.pem",
            digits.collect::<String>()
        );
        Ok(Self {
            key,
            certificate: pem(&der),
            name,
        })
    }

    /// The certificate, in PEM.
    #[must_use]
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The name of the certificate's file, another one for every key.
    #[must_use]
    pub(super) fn certificate_name(&self) -> &str {
        &self.name
    }

    /// The signature of a text, in base64.
    pub(super) fn sign(&self, version: SignatureVersion, text: &str) -> Result<String, SignError> {
        let hashed = match version {
            SignatureVersion::Sha1 => HashedWith::Sha1,
            SignatureVersion::Sha256 => HashedWith::Sha256,
        };
        Ok(STANDARD.encode(signature(&self.key, hashed, text.as_bytes())?))
    }
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashedWith {
    Sha1,
    Sha256,
}

/// The signature of RSASSA-PKCS1-v1_5: https://www.rfc-editor.org/rfc/rfc8017#section-8.2.
pub(super) fn signature(
    key: &RsaPrivateKey,
    hashed: HashedWith,
    bytes: &[u8],
) -> Result<Vec<u8>, SignError> {
    let (digest, prefix) = match hashed {
        HashedWith::Sha1 => (Sha1::digest(bytes).to_vec(), SHA1_PREFIX),
        HashedWith::Sha256 => (Sha256::digest(bytes).to_vec(), SHA256_PREFIX),
    };
    let padding = Pkcs1v15Sign {
        hash_len: Some(digest.len()),
        prefix: prefix.into(),
    };
    Ok(key.sign(padding, &digest)?)
}

/// What stands before a digest in the padding: https://www.rfc-editor.org/rfc/rfc8017#section-9.2, note 1.
const SHA1_PREFIX: &[u8] = &[
    0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14,
];
const SHA256_PREFIX: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

const BITS: usize = 2048;

fn make(path: &Path, random: StdRng) -> Result<RsaPrivateKey, SignError> {
    let key = RsaPrivateKey::new(&mut Older(random), BITS)?;
    let pem = key.to_pkcs8_pem(LineEnding::LF)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // Whole or not at all, and for its owner only.
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    Ok(key)
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is between letters.
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + "-----END CERTIFICATE-----\n"
}

/// The workspace's generator for a crate that knows an older interface of generators.
struct Older(StdRng);

impl rsa::rand_core::RngCore for Older {
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
impl rsa::rand_core::CryptoRng for Older {}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_signs_in_both_versions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify/key.pem");
        let first = Signer::open(&path, StdRng::seed_from_u64(1)).unwrap();
        let again = Signer::open(&path, StdRng::seed_from_u64(2)).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        assert_eq!(first.certificate_name(), again.certificate_name());
        let public = first.key.to_public_key();
        for (version, padding, digest) in [
            (
                SignatureVersion::Sha1,
                SHA1_PREFIX,
                Sha1::digest(b"text").to_vec(),
            ),
            (
                SignatureVersion::Sha256,
                SHA256_PREFIX,
                Sha256::digest(b"text").to_vec(),
            ),
        ] {
            let signed = STANDARD
                .decode(first.sign(version, "text").unwrap())
                .unwrap();
            let padding = || Pkcs1v15Sign {
                hash_len: Some(digest.len()),
                prefix: padding.into(),
            };
            assert!(public.verify(padding(), &digest, &signed).is_ok());
            let other = vec![0; digest.len()];
            assert!(public.verify(padding(), &other, &signed).is_err());
        }
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, "no key").unwrap();
        assert!(Signer::open(&path, StdRng::seed_from_u64(1)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "no key");
    }
}
