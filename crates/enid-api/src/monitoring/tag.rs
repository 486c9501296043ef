//! Tags of alarms.

use enid_control::alarm_named_by_arn;
use enid_model::Tags;

use super::{Monitoring, failed};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    ListTagsForResourceRequest, Tag, TagResourceRequest, UntagResourceRequest,
};
use crate::generated::cloudwatch::response::{
    self, ListTagsForResourceResponse, TagResourceResponse, UntagResourceResponse,
};

/// The tags of a request, each key once.
pub(super) fn tags(list: Vec<Tag>) -> Result<Tags, ApiError> {
    let count = list.len();
    let tags: Tags = list.into_iter().map(|tag| (tag.key, tag.value)).collect();
    match tags.len() == count {
        true => Ok(tags),
        false => Err(ApiError::new(
            "InvalidParameterValue",
            400,
            "Tags must not have the same key twice.".to_owned(),
        )),
    }
}

/// TagResource.
pub(super) async fn tag_resource(
    monitoring: &Monitoring,
    context: &Context,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let tags = tags(request.tags)?;
    let (caller, arn) = (context.caller(), &request.resource_arn);
    let tagged = monitoring.control.tag_alarm(&caller, arn, &tags, &[]);
    tagged.await.map_err(failed)?;
    Ok(TagResourceResponse {})
}

/// UntagResource.
pub(super) async fn untag_resource(
    monitoring: &Monitoring,
    context: &Context,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    let (caller, arn) = (context.caller(), &request.resource_arn);
    let none = Tags::default();
    let tagged = monitoring
        .control
        .tag_alarm(&caller, arn, &none, &request.tag_keys);
    tagged.await.map_err(failed)?;
    Ok(UntagResourceResponse {})
}

/// ListTagsForResource.
pub(super) async fn list_tags_for_resource(
    monitoring: &Monitoring,
    context: &Context,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let alarm = alarm_named_by_arn(&region, &caller, &request.resource_arn).map_err(failed)?;
    let tags = alarm.tags.iter();
    Ok(ListTagsForResourceResponse {
        tags: tags
            .map(|(key, value)| response::Tag {
                key: Some(key.into()),
                value: Some(value.into()),
            })
            .collect(),
    })
}
