//! ACM: certificates that were imported, for TLS listeners of load balancers. Each operation's request
//! becomes a call of the control plane, and what that returns its answer.

mod certificate;
mod page;
mod tag;

use std::sync::Arc;

use enid_control::{Caller, CertificateError, Control, certificate_named};
use enid_model::state::RegionState;
use enid_model::uuid::Uuid;

use crate::context::Context;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;

/// The operations of ACM.
pub struct Acm {
    control: Arc<Control>,
}

impl Acm {
    /// The certificates of a control plane.
    #[must_use]
    pub fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// What a request is about, for the policy of its key: a certificate, of which a new one has no name yet.
    #[must_use]
    pub fn asked(&self, context: &Context, request: &Request) -> Asked {
        let one = |arn: &str| Asked::about([arn.to_owned()]);
        match request {
            Request::AddTagsToCertificate(it) => one(&it.certificate_arn),
            Request::DeleteCertificate(it) => one(&it.certificate_arn),
            Request::DescribeCertificate(it) => one(&it.certificate_arn),
            Request::GetCertificate(it) => one(&it.certificate_arn),
            Request::ImportCertificate(it) => match &it.certificate_arn {
                Some(arn) => one(arn),
                None => {
                    let (partition, region) = (context.region.partition(), context.region.name);
                    let account = context.account;
                    one(&format!(
                        "arn:{partition}:acm:{region}:{account}:certificate/*"
                    ))
                }
            },
            Request::ListCertificates(_) => Asked::default(),
            Request::ListTagsForCertificate(it) => one(&it.certificate_arn),
            Request::RemoveTagsFromCertificate(it) => one(&it.certificate_arn),
        }
    }

    /// The caller's region.
    async fn region(&self, caller: &Caller) -> Result<Arc<RegionState>, ApiError> {
        Ok(self.control.read(caller).await?)
    }
}

/// An error of the control plane.
fn refused(error: CertificateError) -> ApiError {
    enid_control::Error::from(error).into()
}

/// The certificate that an ARN names.
fn named(caller: &Caller, arn: &str) -> Result<Uuid, ApiError> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.next() == Some("arn")
        && parts.nth(1) == Some("acm")
        && parts
            .nth(2)
            .is_some_and(|own| own.starts_with("certificate/"));
    let short: String = arn.chars().take(200).collect();
    if !is_arn {
        return Err(refused(CertificateError::MalformedArn {
            arn: short.into(),
        }));
    }
    let found = certificate_named(caller, arn);
    found.ok_or_else(|| refused(CertificateError::NotFound { arn: short.into() }))
}

handlers! {
    Acm in crate::generated::acm::operations {
        AddTagsToCertificate => tag::add_tags_to_certificate,
        DeleteCertificate => certificate::delete_certificate,
        DescribeCertificate => certificate::describe_certificate,
        GetCertificate => certificate::get_certificate,
        ImportCertificate => certificate::import_certificate,
        ListCertificates => certificate::list_certificates,
        ListTagsForCertificate => tag::list_tags_for_certificate,
        RemoveTagsFromCertificate => tag::remove_tags_from_certificate,
    }
}
