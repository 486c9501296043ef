//! Tags of load balancers, target groups and listeners.

use enid_control::balancer_tags;

use super::{Elbv2, arn};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    self, AddTagsRequest, DescribeTagsRequest, RemoveTagsRequest,
};
use crate::generated::elbv2::response::{
    AddTagsResponse, DescribeTagsResponse, RemoveTagsResponse, Tag, TagDescription,
};
use crate::wire::text::Text;

/// AddTags.
pub(super) async fn add_tags(
    elbv2: &Elbv2,
    context: &Context,
    request: AddTagsRequest,
) -> Result<AddTagsResponse, ApiError> {
    let arns = request.resource_arns.iter();
    let resources: Result<Vec<_>, _> = arns.map(|text| arn::resource(context, text)).collect();
    let tags = read(request.tags);
    elbv2
        .control
        .add_balancer_tags(&context.caller(), &resources?, &tags)
        .await?;
    Ok(AddTagsResponse {})
}

/// RemoveTags.
pub(super) async fn remove_tags(
    elbv2: &Elbv2,
    context: &Context,
    request: RemoveTagsRequest,
) -> Result<RemoveTagsResponse, ApiError> {
    let arns = request.resource_arns.iter();
    let resources: Result<Vec<_>, _> = arns.map(|text| arn::resource(context, text)).collect();
    elbv2
        .control
        .remove_balancer_tags(&context.caller(), &resources?, &request.tag_keys)
        .await?;
    Ok(RemoveTagsResponse {})
}

/// DescribeTags.
pub(super) async fn describe_tags(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeTagsRequest,
) -> Result<DescribeTagsResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let mut described = Vec::with_capacity(request.resource_arns.len());
    for text in &request.resource_arns {
        let resource = arn::resource(context, text)?;
        let tags = balancer_tags(&region, &resource)?.iter();
        let tags = tags.map(|(key, value)| Tag {
            key: Some(Text::from(key.as_str())),
            value: Some(Text::from(value.as_str())),
        });
        described.push(TagDescription {
            resource_arn: Some(Text::from(text.as_str())),
            tags: tags.collect(),
        });
    }
    Ok(DescribeTagsResponse {
        tag_descriptions: described,
    })
}

/// A client's tags.
pub(super) fn read(tags: Vec<request::Tag>) -> Vec<enid_control::Tag> {
    let tags = tags.into_iter().map(|tag| enid_control::Tag {
        key: tag.key,
        value: tag.value.unwrap_or_default(),
    });
    tags.collect()
}
