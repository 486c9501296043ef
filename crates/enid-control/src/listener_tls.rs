//! How listeners end TLS: certificates, security policies, protocols above TLS; and what it means for
//! target groups that connections end at the node.

use enid_model::id::ListenerId;
use enid_model::listener::{Listener, ListenerTls};
use enid_model::ssl_policy::{AlpnPolicy, SslPolicy};
use enid_model::target_group::{BalancedProtocol, TargetGroup};
use enid_model::uuid::Uuid;

use crate::certificate::require_certificate;
use crate::{BalancingError, Caller, Control, Draft, Error, certificate_arn};

/// What a request says of a listener's TLS; what is absent stays, or is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedTls {
    /// The certificate of clients that name no other server's.
    pub certificate: Option<Uuid>,
    /// The versions and ciphers.
    pub policy: Option<SslPolicy>,
    /// Which protocols are agreed on; `Some(None)` is none of them.
    pub alpn: Option<Option<AlpnPolicy>>,
}

impl WantedTls {
    /// What a listener of a protocol then has, by what it had.
    pub(crate) fn apply(
        &self,
        draft: &mut Draft<'_>,
        protocol: BalancedProtocol,
        before: Option<&ListenerTls>,
    ) -> Result<Option<ListenerTls>, Error> {
        if protocol != BalancedProtocol::Tls {
            let what = match self {
                Self {
                    certificate: Some(_),
                    ..
                } => "A certificate",
                Self {
                    policy: Some(_), ..
                } => "An SSL policy",
                Self {
                    alpn: Some(Some(_)),
                    ..
                } => "An ALPN policy",
                _ => return Ok(None),
            };
            let protocol = protocol.word();
            let why = format!("{what} cannot be specified for {protocol} listeners");
            return Err(BalancingError::validation(why).into());
        }
        let certificate = self
            .certificate
            .or_else(|| before.map(|own| own.certificate));
        let Some(certificate) = certificate else {
            let why = "A certificate must be specified for TLS listeners";
            return Err(BalancingError::validation(why).into());
        };
        require(draft, certificate)?;
        let mut others = before.map(|own| own.others.clone()).unwrap_or_default();
        others.retain(|other| *other != certificate);
        Ok(Some(ListenerTls {
            certificate,
            others,
            policy: self
                .policy
                .or_else(|| before.map(|own| own.policy))
                .unwrap_or(SslPolicy::USUAL),
            alpn: self.alpn.unwrap_or_else(|| before.and_then(|own| own.alpn)),
        }))
    }
}

impl Control {
    /// AddListenerCertificates. Those that it has already are no error.
    pub async fn add_listener_certificates(
        &self,
        caller: &Caller,
        id: ListenerId,
        certificates: &[Uuid],
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let listener = draft.require::<Listener>(id)?;
            let mut tls = tls_of(&listener)?.clone();
            for certificate in certificates {
                require(draft, *certificate)?;
                if tls.certificate != *certificate && !tls.others.contains(certificate) {
                    tls.others.push(*certificate);
                }
            }
            if tls.others.len() > CERTIFICATES_MAX {
                return Err(BalancingError::TooManyCertificates.into());
            }
            draft.edit(&listener, |listener| listener.tls = Some(tls));
            Ok(())
        })
        .await
    }

    /// RemoveListenerCertificates: not of the default one.
    pub async fn remove_listener_certificates(
        &self,
        caller: &Caller,
        id: ListenerId,
        certificates: &[Uuid],
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let listener = draft.require::<Listener>(id)?;
            let mut tls = tls_of(&listener)?.clone();
            if certificates.contains(&tls.certificate) {
                let why = "The default certificate cannot be removed from the listener";
                return Err(BalancingError::NotPermitted { why: why.into() }.into());
            }
            tls.others.retain(|other| !certificates.contains(other));
            draft.edit(&listener, |listener| listener.tls = Some(tls));
            Ok(())
        })
        .await
    }
}

fn tls_of(listener: &Listener) -> Result<&ListenerTls, Error> {
    listener.tls.as_ref().ok_or_else(|| {
        let protocol = listener.protocol.word();
        let why = format!("Certificates cannot be specified for {protocol} listeners");
        BalancingError::validation(why).into()
    })
}

/// Sources: the quotas of Network Load Balancers: certificates beside the default one.
const CERTIFICATES_MAX: usize = 25;

fn require(draft: &mut Draft<'_>, id: Uuid) -> Result<(), Error> {
    let found = require_certificate(draft, id);
    let found = found.map_err(|_not_found| BalancingError::CertificateNotFound {
        arn: certificate_arn(draft.caller, id).into(),
    });
    found?;
    Ok(())
}

/// Refuses headers of the proxy protocol before datagrams.
pub(crate) fn check_proxied_group(group: &TargetGroup) -> Result<(), BalancingError> {
    let attributes = &group.attributes;
    if attributes.proxy_protocol_v2 && group.protocol.has_udp() {
        let protocol = group.protocol.word();
        return Err(BalancingError::NotImplemented {
            what: format!(
                "proxy_protocol_v2.enabled for target groups with the {protocol} protocol"
            )
            .into(),
        });
    }
    Ok(())
}
