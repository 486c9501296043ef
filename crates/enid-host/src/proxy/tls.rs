//! TLS on both sides of a proxy: with clients by the listener's certificates and policy, with targets without
//! asking who they are, as AWS has it.

use std::sync::{Arc, Mutex, PoisonError};

use enid_model::listener::{Listener, ListenerTls};
use enid_model::state::{RegionState, Revision};
use enid_model::uuid::Uuid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::access::Facts;
use crate::trusting::Trusting;

/// How a listener ends TLS.
pub(super) struct Ended {
    /// What it does.
    pub(super) end: Arc<End>,
    /// What it was made of: as long as that stays, sessions are resumed.
    source: (ListenerTls, Vec<(Uuid, Revision)>),
}

/// How a TLS listener ends TLS; taken over from before as long as nothing of it changes. `None` for other
/// listeners.
pub(super) fn of_listener(
    region: &RegionState,
    listener: &Listener,
    before: Option<&Ended>,
) -> Option<Ended> {
    let tls = listener.tls.as_ref()?;
    let ids = std::iter::once(&tls.certificate).chain(&tls.others);
    let stored = ids.filter_map(|id| region.certificates.get(id));
    let revisions = stored.clone().map(|own| (own.id, own.revision)).collect();
    let source = (tls.clone(), revisions);
    if let Some(before) = before.filter(|before| before.source == source) {
        return Some(Ended {
            end: Arc::clone(&before.end),
            source,
        });
    }
    let provider = Arc::new(provider_of(tls));
    let mut names = Vec::new();
    for certificate in stored {
        let key = certified(
            &provider,
            &certificate.body,
            &certificate.chain,
            &certificate.private_key.0,
        )?;
        names.push(Named {
            id: certificate.id,
            names: certificate.facts.names.clone(),
            key: Arc::new(key),
        });
    }
    if names.is_empty() {
        return None;
    }
    let versions: &[_] = match (tls.policy.has_tls12(), tls.policy.has_tls13()) {
        (true, true) => &[&TLS13, &TLS12],
        (true, false) => &[&TLS12],
        _ => &[&TLS13],
    };
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(versions).ok()?;
    let certificates = Arc::new(Certificates(names));
    let resolver = Arc::clone(&certificates);
    let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
    let alpn = tls.alpn.map(enid_model::ssl_policy::AlpnPolicy::protocols);
    let alpn = alpn.into_iter().flatten();
    config.alpn_protocols = alpn.map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    let end = Arc::new(End {
        config,
        certificates,
    });
    Some(Ended { end, source })
}

/// The end of clients' TLS.
pub(super) struct End {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl End {
    /// What accepts a client. What it says first is noted, if anybody wants to know.
    pub(super) fn acceptor(&self, facts: Option<Arc<Mutex<Facts>>>) -> TlsAcceptor {
        let Some(facts) = facts else {
            return TlsAcceptor::from(Arc::clone(&self.config));
        };
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Noting {
            certificates: Arc::clone(&self.certificates),
            facts,
        });
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The ciphers of a policy.
fn provider_of(tls: &ListenerTls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let is_of_policy = |suite: CipherSuite| match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => tls.policy.has_tls13(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => tls.policy.has_tls12(),
        _ => false,
    };
    provider
        .cipher_suites
        .retain(|suite| is_of_policy(suite.suite()));
    provider
}

fn certified(
    provider: &CryptoProvider,
    body: &str,
    chain: &str,
    private_key: &str,
) -> Option<CertifiedKey> {
    let all = [body, chain];
    let read = all
        .iter()
        .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()));
    let certificates = read.collect::<Result<Vec<_>, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).ok()?;
    let key = provider.key_provider.load_private_key(key).ok()?;
    Some(CertifiedKey::new(certificates, key))
}

/// The certificates of a listener. The first is that of clients that name no other's server.
#[derive(Debug)]
struct Certificates(Vec<Named>);

/// A certificate with its names.
#[derive(Debug)]
struct Named {
    id: Uuid,
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Named> {
        let schemes = hello.signature_schemes();
        let can_sign = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let mut named = self.0.iter().filter(|own| {
            let asked = asked.as_deref();
            asked.is_some_and(|asked| own.names.iter().any(|name| is_for(name, asked)))
        });
        let found = named.find(|own| can_sign(&own.key));
        found.or_else(|| self.0.first())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&hello).map(|own| Arc::clone(&own.key))
    }
}

/// The same for one connection, with a note of what its client says.
#[derive(Debug)]
struct Noting {
    certificates: Arc<Certificates>,
    facts: Arc<Mutex<Facts>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.certificates.choose(&hello);
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.domain = hello.server_name().map(str::to_owned);
        let offered = hello.alpn().into_iter().flatten();
        facts.offered = offered.map(<[u8]>::to_vec).collect();
        facts.certificate = chosen.map(|own| own.id);
        chosen.map(|own| Arc::clone(&own.key))
    }
}

/// Whether a name in a certificate stands for a server's: as it is, or with `*` for its first label.
fn is_for(name: &str, asked: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(rest) => asked.split_once('.').is_some_and(|(_, own)| own == rest),
        None => name == asked,
    }
}

/// TLS with targets.
pub(super) struct Outgoing(Option<Arc<ClientConfig>>);

impl Outgoing {
    pub(super) fn new() -> Self {
        Self(Trusting::config().map(Arc::new))
    }

    /// What connects, offering the protocol that was agreed on with the client.
    pub(super) fn connector(&self, alpn: Option<&[u8]>) -> Option<TlsConnector> {
        let config = self.0.as_ref()?;
        let Some(alpn) = alpn else {
            return Some(TlsConnector::from(Arc::clone(config)));
        };
        let mut config = ClientConfig::clone(config);
        config.alpn_protocols = vec![alpn.to_vec()];
        Some(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use enid_model::ssl_policy::SslPolicy;

    use super::*;

    #[test]
    fn a_policy_has_its_ciphers_and_no_other() {
        for policy in SslPolicy::ALL {
            let tls = ListenerTls {
                certificate: Uuid::from_random(1, 1),
                others: Vec::new(),
                policy,
                alpn: None,
            };
            let suites = provider_of(&tls).cipher_suites;
            assert_eq!(suites.len(), policy.ciphers().count(), "{policy:?}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_for("www.example.com", "www.example.com"));
        assert!(is_for("*.Example.com", "www.example.com"));
        assert!(!is_for("*.example.com", "a.www.example.com"));
        assert!(!is_for("*.example.com", "example.com"));
        assert!(!is_for("www.example.com", "example.com"));
    }
}
