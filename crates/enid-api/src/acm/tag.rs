//! Tags of certificates.

use enid_model::Tags;

use super::{Acm, named, refused};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::acm::request::{
    AddTagsToCertificateRequest, ListTagsForCertificateRequest, RemoveTagsFromCertificateRequest,
    Tag,
};
use crate::generated::acm::response::{
    self, AddTagsToCertificateResponse, ListTagsForCertificateResponse,
    RemoveTagsFromCertificateResponse,
};

/// The tags of a request; one without a value has an empty one.
pub(super) fn read(tags: Vec<Tag>) -> Tags {
    let tags = tags.into_iter();
    tags.map(|Tag { key, value }| (key, value.unwrap_or_default()))
        .collect()
}

/// AddTagsToCertificate.
pub(super) async fn add_tags_to_certificate(
    acm: &Acm,
    context: &Context,
    request: AddTagsToCertificateRequest,
) -> Result<AddTagsToCertificateResponse, ApiError> {
    let caller = context.caller();
    let id = named(&caller, &request.certificate_arn)?;
    let tags = read(request.tags);
    acm.control.tag_certificate(&caller, id, &tags).await?;
    Ok(AddTagsToCertificateResponse {})
}

/// RemoveTagsFromCertificate.
pub(super) async fn remove_tags_from_certificate(
    acm: &Acm,
    context: &Context,
    request: RemoveTagsFromCertificateRequest,
) -> Result<RemoveTagsFromCertificateResponse, ApiError> {
    let caller = context.caller();
    let id = named(&caller, &request.certificate_arn)?;
    let tags = request.tags.into_iter();
    let tags: Vec<_> = tags.map(|tag| (tag.key, tag.value)).collect();
    acm.control.untag_certificate(&caller, id, &tags).await?;
    Ok(RemoveTagsFromCertificateResponse {})
}

/// ListTagsForCertificate.
pub(super) async fn list_tags_for_certificate(
    acm: &Acm,
    context: &Context,
    request: ListTagsForCertificateRequest,
) -> Result<ListTagsForCertificateResponse, ApiError> {
    let caller = context.caller();
    let id = named(&caller, &request.certificate_arn)?;
    let region = acm.region(&caller).await?;
    let arn = request.certificate_arn.into();
    let found = region.certificates.get(&id);
    let found = found.ok_or_else(|| refused(enid_control::CertificateError::NotFound { arn }))?;
    let tags = found.tags.iter().map(|(key, value)| response::Tag {
        key: Some(key.as_str().into()),
        value: Some(value.as_str().into()),
    });
    Ok(ListTagsForCertificateResponse {
        tags: tags.collect(),
    })
}
