//! Certificates that were imported.

use enid_control::{
    Caller, CertificateError, ImportCertificate, certificate_arn, listeners_with, load_balancer_arn,
};
use enid_model::certificate::Certificate;
use enid_model::state::{RegionState, Stored};
use enid_model::time::Timestamp;

use super::{Acm, named, page, refused, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::acm::request::{
    DeleteCertificateRequest, DescribeCertificateRequest, GetCertificateRequest,
    ImportCertificateRequest, ListCertificatesRequest,
};
use crate::generated::acm::response::{
    CertificateDetail, CertificateSummary, DeleteCertificateResponse, DescribeCertificateResponse,
    GetCertificateResponse, ImportCertificateResponse, ListCertificatesResponse,
};
use crate::wire::params::Blob;
use crate::wire::text::Text;

/// ImportCertificate.
pub(super) async fn import_certificate(
    acm: &Acm,
    context: &Context,
    request: ImportCertificateRequest,
) -> Result<ImportCertificateResponse, ApiError> {
    let caller = context.caller();
    let arn = request.certificate_arn.as_deref();
    let chain = request.certificate_chain.unwrap_or_default();
    let input = ImportCertificate {
        id: arn.map(|arn| named(&caller, arn)).transpose()?,
        body: text(request.certificate)?,
        private_key: text(request.private_key)?,
        chain: text(chain)?,
        tags: tag::read(request.tags),
    };
    let id = acm.control.import_certificate(&caller, &input).await?;
    Ok(ImportCertificateResponse {
        certificate_arn: Some(Text::display(certificate_arn(&caller, id))),
    })
}

/// DescribeCertificate.
pub(super) async fn describe_certificate(
    acm: &Acm,
    context: &Context,
    request: DescribeCertificateRequest,
) -> Result<DescribeCertificateResponse, ApiError> {
    let caller = context.caller();
    let region = acm.region(&caller).await?;
    let found = find(&caller, &region, &request.certificate_arn)?;
    let facts = &found.facts;
    let listeners = listeners_with(&region, found.id);
    let balancers = listeners.filter_map(|own| region.load_balancers.get(&own.load_balancer));
    let mut arns: Vec<_> = balancers
        .map(|balancer| load_balancer_arn(&caller, balancer))
        .collect();
    arns.sort_unstable();
    arns.dedup();
    let detail = CertificateDetail {
        certificate_arn: Some(Text::display(certificate_arn(&caller, found.id))),
        domain_name: Some(facts.domain.as_str().into()),
        subject_alternative_names: texts(&facts.names),
        serial: Some(facts.serial.as_str().into()),
        subject: Some(facts.subject.as_str().into()),
        issuer: Some(facts.issuer.as_str().into()),
        created_at: Some(found.created_at),
        imported_at: Some(found.imported_at),
        status: Some(status(found, acm.control.now()).into()),
        not_before: Some(facts.not_before),
        not_after: Some(facts.not_after),
        key_algorithm: Some(facts.key_algorithm.as_str().into()),
        signature_algorithm: Some(facts.signature_algorithm.as_str().into()),
        in_use_by: texts(&arns),
        r#type: Some(IMPORTED.into()),
        renewal_eligibility: Some(INELIGIBLE.into()),
    };
    Ok(DescribeCertificateResponse {
        certificate: Some(detail),
    })
}

/// GetCertificate: without its key, which no operation gives away.
pub(super) async fn get_certificate(
    acm: &Acm,
    context: &Context,
    request: GetCertificateRequest,
) -> Result<GetCertificateResponse, ApiError> {
    let caller = context.caller();
    let region = acm.region(&caller).await?;
    let found = find(&caller, &region, &request.certificate_arn)?;
    Ok(GetCertificateResponse {
        certificate: Some(found.body.as_str().into()),
        certificate_chain: (!found.chain.is_empty()).then(|| found.chain.as_str().into()),
    })
}

/// ListCertificates.
pub(super) async fn list_certificates(
    acm: &Acm,
    context: &Context,
    request: ListCertificatesRequest,
) -> Result<ListCertificatesResponse, ApiError> {
    let caller = context.caller();
    let region = acm.region(&caller).await?;
    let statuses = &request.certificate_statuses;
    let kinds = request.includes.map(|it| it.key_types).unwrap_or_default();
    let wanted = region.certificates.values().filter(|found| {
        let kind = &found.facts.key_algorithm;
        // AWS lists RSA keys of other sizes, and those of curves, only to those who ask for them.
        let is_kind = match kinds.as_slice() {
            [] => matches!(kind.as_str(), "RSA_1024" | "RSA_2048"),
            kinds => kinds.contains(kind),
        };
        let status = status(found, acm.control.now());
        is_kind && (statuses.is_empty() || statuses.iter().any(|own| own == status))
    });
    let listed = wanted.map(|found| {
        let facts = &found.facts;
        let summary = CertificateSummary {
            certificate_arn: Some(Text::display(certificate_arn(&caller, found.id))),
            domain_name: Some(facts.domain.as_str().into()),
            subject_alternative_name_summaries: texts(&facts.names),
            has_additional_subject_alternative_names: Some(false),
            status: Some(status(found, acm.control.now()).into()),
            r#type: Some(IMPORTED.into()),
            key_algorithm: Some(facts.key_algorithm.as_str().into()),
            in_use: Some(listeners_with(&region, found.id).next().is_some()),
            renewal_eligibility: Some(INELIGIBLE.into()),
            not_before: Some(facts.not_before),
            not_after: Some(facts.not_after),
            created_at: Some(found.created_at),
            imported_at: Some(found.imported_at),
        };
        (found.id.to_string(), summary)
    });
    let page = page::take(listed, request.next_token.as_deref(), request.max_items)?;
    let (certificate_summary_list, next_token) = page;
    Ok(ListCertificatesResponse {
        next_token,
        certificate_summary_list,
    })
}

/// DeleteCertificate.
pub(super) async fn delete_certificate(
    acm: &Acm,
    context: &Context,
    request: DeleteCertificateRequest,
) -> Result<DeleteCertificateResponse, ApiError> {
    let caller = context.caller();
    let id = named(&caller, &request.certificate_arn)?;
    acm.control.delete_certificate(&caller, id).await?;
    Ok(DeleteCertificateResponse {})
}

/// No certificate here was issued by ACM.
const IMPORTED: &str = "IMPORTED";
/// So it renews none.
const INELIGIBLE: &str = "INELIGIBLE";

fn status(certificate: &Certificate, now: Timestamp) -> &'static str {
    match certificate.facts.not_after <= now {
        true => "EXPIRED",
        false => "ISSUED",
    }
}

fn find<'a>(
    caller: &Caller,
    region: &'a RegionState,
    arn: &str,
) -> Result<&'a Stored<Certificate>, ApiError> {
    let found = region.certificates.get(&named(caller, arn)?);
    found.ok_or_else(|| refused(CertificateError::NotFound { arn: arn.into() }))
}

/// PEM is text.
fn text(blob: Blob) -> Result<String, ApiError> {
    let text = String::from_utf8(blob.0);
    text.map_err(|_binary| {
        let why = "Unable to parse certificate. Please ensure the certificate is in PEM format.";
        refused(CertificateError::import(why))
    })
}

fn texts(all: &[String]) -> Vec<Text> {
    all.iter().map(|text| text.as_str().into()).collect()
}
