//! Tags of log groups, by the group's ARN or, as before 2022, by its name.

use std::collections::BTreeMap;

use enid_control::{check_group_name, log_group_named};

use super::{Logs, identified, invalid};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    ListTagsForResourceRequest, ListTagsLogGroupRequest, TagLogGroupRequest, TagResourceRequest,
    UntagLogGroupRequest, UntagResourceRequest,
};
use crate::generated::logs::response::{
    ListTagsForResourceResponse, ListTagsLogGroupResponse, TagLogGroupResponse,
    TagResourceResponse, UntagLogGroupResponse, UntagResourceResponse,
};
use crate::wire::text::Text;

/// TagResource.
pub(super) async fn tag_resource(
    logs: &Logs,
    context: &Context,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let group = group_of(context, &request.resource_arn)?;
    let caller = context.caller();
    logs.control
        .tag_log_group(&caller, group, &request.tags)
        .await?;
    Ok(TagResourceResponse {})
}

/// TagLogGroup.
pub(super) async fn tag_log_group(
    logs: &Logs,
    context: &Context,
    request: TagLogGroupRequest,
) -> Result<TagLogGroupResponse, ApiError> {
    check_group_name(&request.log_group_name)?;
    let caller = context.caller();
    logs.control
        .tag_log_group(&caller, &request.log_group_name, &request.tags)
        .await?;
    Ok(TagLogGroupResponse {})
}

/// UntagResource.
pub(super) async fn untag_resource(
    logs: &Logs,
    context: &Context,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    let group = group_of(context, &request.resource_arn)?;
    let caller = context.caller();
    logs.control
        .untag_log_group(&caller, group, &request.tag_keys)
        .await?;
    Ok(UntagResourceResponse {})
}

/// UntagLogGroup.
pub(super) async fn untag_log_group(
    logs: &Logs,
    context: &Context,
    request: UntagLogGroupRequest,
) -> Result<UntagLogGroupResponse, ApiError> {
    check_group_name(&request.log_group_name)?;
    let caller = context.caller();
    logs.control
        .untag_log_group(&caller, &request.log_group_name, &request.tags)
        .await?;
    Ok(UntagLogGroupResponse {})
}

/// ListTagsForResource.
pub(super) async fn list_tags_for_resource(
    logs: &Logs,
    context: &Context,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let group = group_of(context, &request.resource_arn)?;
    let tags = tags(logs, context, group).await?;
    Ok(ListTagsForResourceResponse { tags })
}

/// ListTagsLogGroup.
pub(super) async fn list_tags_log_group(
    logs: &Logs,
    context: &Context,
    request: ListTagsLogGroupRequest,
) -> Result<ListTagsLogGroupResponse, ApiError> {
    check_group_name(&request.log_group_name)?;
    let tags = tags(logs, context, &request.log_group_name).await?;
    Ok(ListTagsLogGroupResponse { tags })
}

async fn tags(
    logs: &Logs,
    context: &Context,
    group: &str,
) -> Result<BTreeMap<String, Text>, ApiError> {
    let region = logs.region(context).await?;
    let tags = log_group_named(&region, group)?.tags.iter();
    let tags = tags.map(|(key, value)| (key.clone(), Text::from(&**value)));
    Ok(tags.collect())
}

/// The group's name in its ARN. Nothing else of Logs has tags here.
fn group_of<'a>(context: &Context, arn: &'a str) -> Result<&'a str, ApiError> {
    if !arn.starts_with("arn:") || !arn.contains(":log-group:") {
        return Err(invalid(format!(
            "'{}' is not a valid ARN of a log group.",
            short(arn)
        )));
    }
    let name = identified(context, arn)?;
    check_group_name(name)?;
    Ok(name)
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
