//! What an imported certificate says, and whether its key and its chain go with it.

use enid_model::certificate::CertificateFacts;
use enid_model::time::Timestamp;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::CertificateError;

/// Reads a certificate as PEM, with its private key and its chain, both as PEM.
pub(crate) fn read(
    body: &str,
    private_key: &str,
    chain: &str,
) -> Result<CertificateFacts, CertificateError> {
    let own = parsed(body).ok_or_else(|| CertificateError::import(NOT_PEM))?;
    let [(der, certificate)] = own.as_slice() else {
        return Err(CertificateError::import(match own.is_empty() {
            true => NOT_PEM,
            false => SEVERAL,
        }));
    };
    let issuers = parsed(chain).ok_or_else(|| CertificateError::import(CHAIN))?;
    if !chain.trim().is_empty() && issuers.is_empty() {
        return Err(CertificateError::import(CHAIN));
    }
    check_order(certificate, issuers.iter().map(|(_, issuer)| issuer))?;
    check_key(der, private_key)?;
    facts(certificate).ok_or_else(|| CertificateError::import(NOT_PEM))
}

type Parsed = (CertificateDer<'static>, Certificate);

fn parsed(pem: &str) -> Option<Vec<Parsed>> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| {
        let der = der.ok()?;
        let parsed = Certificate::from_der(&der).ok()?;
        Some((der, parsed))
    });
    read.collect()
}

/// Each certificate is followed by that of who signed it.
fn check_order<'a>(
    certificate: &'a Certificate,
    chain: impl Iterator<Item = &'a Certificate>,
) -> Result<(), CertificateError> {
    let mut before = certificate;
    for issuer in chain {
        if before.tbs_certificate.issuer != issuer.tbs_certificate.subject {
            return Err(CertificateError::import(CHAIN));
        }
        before = issuer;
    }
    Ok(())
}

fn check_key(der: &CertificateDer<'static>, private_key: &str) -> Result<(), CertificateError> {
    let unsupported = || CertificateError::import("The private key is not supported.");
    let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes());
    let key = key.map_err(|_malformed| unsupported())?;
    let provider = ring::default_provider();
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|_unsupported| unsupported())?;
    let both = CertifiedKey::new(vec![der.clone()], key);
    both.keys_match().map_err(|_other| {
        CertificateError::import("The private key does not match the certificate.")
    })
}

fn facts(certificate: &Certificate) -> Option<CertificateFacts> {
    let own = &certificate.tbs_certificate;
    let mut names = Vec::new();
    for extension in own.extensions.iter().flatten() {
        if extension.extn_id == SUBJECT_ALT_NAME {
            let value = extension.extn_value.as_bytes();
            let SubjectAltName(found) = SubjectAltName::from_der(value).ok()?;
            names.extend(found.iter().filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(name.to_string()),
                _ => None,
            }));
        }
    }
    let subject = own.subject.to_string();
    let common = common_name(&subject);
    let domain = names.first().cloned().or(common)?;
    if names.is_empty() {
        names.push(domain.clone());
    }
    let serial = own.serial_number.as_bytes().iter();
    let serial: Vec<_> = serial.map(|byte| format!("{byte:02x}")).collect();
    let at = |time: x509_cert::time::Time| {
        let since = time.to_unix_duration().as_millis();
        Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
    };
    Some(CertificateFacts {
        domain,
        names,
        serial: serial.join(":"),
        subject,
        issuer: own.issuer.to_string(),
        not_before: at(own.validity.not_before),
        not_after: at(own.validity.not_after),
        key_algorithm: key_algorithm(certificate)?,
        signature_algorithm: signature_algorithm(certificate),
    })
}

/// The name of a server in a subject, where the certificate has no other.
fn common_name(subject: &str) -> Option<String> {
    let mut parts = subject
        .split(',')
        .filter_map(|part| part.trim().split_once('='));
    let found = parts.find(|(kind, _)| kind.eq_ignore_ascii_case("CN"));
    found.map(|(_, name)| name.to_owned())
}

/// AWS's word for the kind and the size of the key.
fn key_algorithm(certificate: &Certificate) -> Option<String> {
    let key = &certificate.tbs_certificate.subject_public_key_info;
    match key.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => {
            let bytes = key.subject_public_key.as_bytes()?;
            let key = rsa::RsaPublicKey::from_pkcs1_der(bytes).ok()?;
            let bits = rsa::traits::PublicKeyParts::size(&key) * 8;
            Some(format!("RSA_{bits}"))
        }
        "1.2.840.10045.2.1" => {
            let curve = key.algorithm.parameters.as_ref()?.to_der().ok()?;
            // The object identifiers of the two curves in their encoded form.
            match curve.as_slice() {
                [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => Some("EC_prime256v1".to_owned()),
                [6, 5, 0x2b, 0x81, 4, 0, 0x22] => Some("EC_secp384r1".to_owned()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn signature_algorithm(certificate: &Certificate) -> String {
    let oid = certificate.signature_algorithm.oid.to_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.11" => "SHA256WITHRSA".to_owned(),
        "1.2.840.113549.1.1.12" => "SHA384WITHRSA".to_owned(),
        "1.2.840.113549.1.1.13" => "SHA512WITHRSA".to_owned(),
        "1.2.840.10045.4.3.2" => "SHA256WITHECDSA".to_owned(),
        "1.2.840.10045.4.3.3" => "SHA384WITHECDSA".to_owned(),
        _ => oid,
    }
}

const SUBJECT_ALT_NAME: x509_cert::der::asn1::ObjectIdentifier =
    x509_cert::der::asn1::ObjectIdentifier::new_unwrap("2.5.29.17");
const NOT_PEM: &str =
    "Unable to parse certificate. Please ensure the certificate is in PEM format.";
const SEVERAL: &str = "The certificate field contains more than one certificate. You can specify only one certificate in this field.";
const CHAIN: &str = "Could not validate the certificate with the certificate chain.";
