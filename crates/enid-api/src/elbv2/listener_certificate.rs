//! Certificates of TLS listeners: the default one, and those of the servers that clients name.

use enid_control::{BalancingError, certificate_arn, certificate_named};
use enid_model::listener::Listener;
use enid_model::uuid::Uuid;

use super::{Elbv2, arn, invalid, page, refused};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    AddListenerCertificatesRequest, Certificate, DescribeListenerCertificatesRequest,
    RemoveListenerCertificatesRequest,
};
use crate::generated::elbv2::response::{
    self, AddListenerCertificatesResponse, DescribeListenerCertificatesResponse,
    RemoveListenerCertificatesResponse,
};
use crate::wire::text::Text;

/// AddListenerCertificates.
pub(super) async fn add_listener_certificates(
    elbv2: &Elbv2,
    context: &Context,
    request: AddListenerCertificatesRequest,
) -> Result<AddListenerCertificatesResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::listener(context, &region, &request.listener_arn)?.id;
    let ids = read(context, &request.certificates)?;
    elbv2
        .control
        .add_listener_certificates(&caller, id, &ids)
        .await?;
    let added = ids.iter().map(|id| answer(context, *id, false));
    Ok(AddListenerCertificatesResponse {
        certificates: added.collect(),
    })
}

/// RemoveListenerCertificates.
pub(super) async fn remove_listener_certificates(
    elbv2: &Elbv2,
    context: &Context,
    request: RemoveListenerCertificatesRequest,
) -> Result<RemoveListenerCertificatesResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::listener(context, &region, &request.listener_arn)?.id;
    let ids = read(context, &request.certificates)?;
    elbv2
        .control
        .remove_listener_certificates(&caller, id, &ids)
        .await?;
    Ok(RemoveListenerCertificatesResponse {})
}

/// DescribeListenerCertificates: the default one first.
pub(super) async fn describe_listener_certificates(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeListenerCertificatesRequest,
) -> Result<DescribeListenerCertificatesResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let listener = arn::listener(context, &region, &request.listener_arn)?;
    let own = default_of(context, listener).into_iter();
    let others = listener.tls.iter().flat_map(|tls| &tls.others);
    let others = others.map(|id| answer(context, *id, false));
    // Keys that grow with the place in the list.
    let numbered = (0_u32..).zip(own.chain(others));
    let numbered = numbered.map(|(place, own)| (format!("{place:04}"), own));
    let page = page::take(numbered, request.marker.as_deref(), request.page_size)?;
    let (certificates, next_marker) = page;
    Ok(DescribeListenerCertificatesResponse {
        certificates,
        next_marker,
    })
}

/// The one certificate that CreateListener and ModifyListener take.
pub(super) fn read_default(
    context: &Context,
    certificates: &[Certificate],
) -> Result<Option<Uuid>, ApiError> {
    match read(context, certificates)?.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        _ => Err(refused(BalancingError::TooManyCertificates)),
    }
}

/// The default certificate of a listener as AWS describes it.
pub(super) fn default_of(context: &Context, listener: &Listener) -> Option<response::Certificate> {
    let tls = listener.tls.as_ref()?;
    Some(answer(context, tls.certificate, true))
}

fn read(context: &Context, certificates: &[Certificate]) -> Result<Vec<Uuid>, ApiError> {
    let caller = context.caller();
    let ids = certificates.iter().map(|certificate| {
        let Some(arn) = &certificate.certificate_arn else {
            return Err(invalid("A certificate ARN must be specified"));
        };
        certificate_named(&caller, arn).ok_or_else(|| {
            let arn: String = arn.chars().take(200).collect();
            refused(BalancingError::CertificateNotFound { arn: arn.into() })
        })
    });
    ids.collect()
}

fn answer(context: &Context, id: Uuid, is_default: bool) -> response::Certificate {
    response::Certificate {
        certificate_arn: Some(Text::display(certificate_arn(&context.caller(), id))),
        is_default: Some(is_default),
    }
}
