//! Tags of topics.

use enid_control::{Caller, NotificationError, check_owner};
use enid_model::topic::TopicArn;

use super::{Sns, refused, topic};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::sns::request::{
    ListTagsForResourceRequest, TagResourceRequest, UntagResourceRequest,
};
use crate::generated::sns::response::{
    ListTagsForResourceResponse, Tag, TagResourceResponse, UntagResourceResponse,
};
use crate::wire::text::Text;

/// TagResource.
pub(super) async fn tag_resource(
    sns: &Sns,
    context: &Context,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let caller = context.caller();
    let arn = resource(&caller, &request.resource_arn, "TagResource")?;
    let tags = topic::tags(request.tags)?;
    sns.control.tag_topic(&caller, &arn, &tags).await?;
    Ok(TagResourceResponse {})
}

/// UntagResource.
pub(super) async fn untag_resource(
    sns: &Sns,
    context: &Context,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    let caller = context.caller();
    let arn = resource(&caller, &request.resource_arn, "UntagResource")?;
    sns.control
        .untag_topic(&caller, &arn, &request.tag_keys)
        .await?;
    Ok(UntagResourceResponse {})
}

/// ListTagsForResource.
pub(super) async fn list_tags_for_resource(
    sns: &Sns,
    context: &Context,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let caller = context.caller();
    let arn = resource(&caller, &request.resource_arn, "ListTagsForResource")?;
    let region = sns.region(&caller).await?;
    let topic = region.topics.get(&*arn.name);
    let topic = topic.ok_or_else(|| refused(NotificationError::ResourceNotFound))?;
    let tags = topic.tags.iter().map(|(key, value)| Tag {
        key: Some(Text::from(key.as_str())),
        value: Some(Text::from(value.as_str())),
    });
    Ok(ListTagsForResourceResponse {
        tags: tags.collect(),
    })
}

/// Only topics have tags.
fn resource(caller: &Caller, text: &str, action: &'static str) -> Result<TopicArn, ApiError> {
    let arn = enid_control::topic_arn(caller, text, "ResourceArn")?;
    check_owner(caller, &arn, action)?;
    Ok(arn)
}
