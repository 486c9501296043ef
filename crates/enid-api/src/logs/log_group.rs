//! Log groups.

use std::sync::Arc;

use enid_control::CreateLogGroup;
use enid_model::log_group::{LogGroup, LogUid};
use enid_model::state::{RegionState, Stored};

use super::{DESCRIBED_MAX, Logs, group_arn, identified, invalid, limit, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    CreateLogGroupRequest, DeleteLogGroupRequest, DeleteRetentionPolicyRequest,
    DescribeLogGroupsRequest, ListLogGroupsRequest, PutLogGroupDeletionProtectionRequest,
    PutRetentionPolicyRequest,
};
use crate::generated::logs::response::{
    self, CreateLogGroupResponse, DeleteLogGroupResponse, DeleteRetentionPolicyResponse,
    DescribeLogGroupsResponse, ListLogGroupsResponse, LogGroupSummary,
    PutLogGroupDeletionProtectionResponse, PutRetentionPolicyResponse,
};
use crate::wire::text::Text;

/// CreateLogGroup.
pub(super) async fn create_log_group(
    logs: &Logs,
    context: &Context,
    request: CreateLogGroupRequest,
) -> Result<CreateLogGroupResponse, ApiError> {
    let input = CreateLogGroup {
        name: request.log_group_name,
        is_protected: request.deletion_protection_enabled.unwrap_or(false),
        tags: request.tags,
    };
    let caller = context.caller();
    logs.control.create_log_group(&caller, &input).await?;
    Ok(CreateLogGroupResponse {})
}

/// DeleteLogGroup.
pub(super) async fn delete_log_group(
    logs: &Logs,
    context: &Context,
    request: DeleteLogGroupRequest,
) -> Result<DeleteLogGroupResponse, ApiError> {
    let name = &request.log_group_name;
    let before = logs.region(context).await?;
    logs.control
        .delete_log_group(&context.caller(), name)
        .await?;
    if let Some(group) = before.log_groups.get(&**name) {
        for filter in group.subscription_filters.keys() {
            logs.subscriptions.forget(group.uid, filter);
        }
    }
    Ok(DeleteLogGroupResponse {})
}

/// PutRetentionPolicy.
pub(super) async fn put_retention_policy(
    logs: &Logs,
    context: &Context,
    request: PutRetentionPolicyRequest,
) -> Result<PutRetentionPolicyResponse, ApiError> {
    let (caller, days) = (context.caller(), Some(request.retention_in_days));
    let control = &logs.control;
    control
        .set_log_retention(&caller, &request.log_group_name, days)
        .await?;
    Ok(PutRetentionPolicyResponse {})
}

/// DeleteRetentionPolicy.
pub(super) async fn delete_retention_policy(
    logs: &Logs,
    context: &Context,
    request: DeleteRetentionPolicyRequest,
) -> Result<DeleteRetentionPolicyResponse, ApiError> {
    let caller = context.caller();
    let control = &logs.control;
    control
        .set_log_retention(&caller, &request.log_group_name, None)
        .await?;
    Ok(DeleteRetentionPolicyResponse {})
}

/// PutLogGroupDeletionProtection.
pub(super) async fn put_log_group_deletion_protection(
    logs: &Logs,
    context: &Context,
    request: PutLogGroupDeletionProtectionRequest,
) -> Result<PutLogGroupDeletionProtectionResponse, ApiError> {
    let name = identified(context, &request.log_group_identifier)?;
    let (caller, is_protected) = (context.caller(), request.deletion_protection_enabled);
    let control = &logs.control;
    control
        .protect_log_group(&caller, name, is_protected)
        .await?;
    Ok(PutLogGroupDeletionProtectionResponse {})
}

/// DescribeLogGroups.
pub(super) async fn describe_log_groups(
    logs: &Logs,
    context: &Context,
    request: DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, ApiError> {
    let DescribeLogGroupsRequest {
        log_group_name_prefix: prefix,
        log_group_name_pattern: pattern,
        log_group_identifiers: identifiers,
        next_token,
        limit: wanted,
    } = request;
    if prefix.is_some() && pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    if !identifiers.is_empty() && (prefix.is_some() || pattern.is_some()) {
        return Err(invalid(
            "logGroupIdentifiers cannot be combined with other filters.",
        ));
    }
    let limit = limit(wanted, DESCRIBED_MAX)?;
    let identified: Result<Vec<&str>, ApiError> = identifiers
        .iter()
        .map(|it| identified(context, it))
        .collect();
    let identified = identified?;
    let prefix = prefix.unwrap_or_default();
    let region = logs.region(context).await?;
    let is_shown = |name: &str| {
        pattern.as_ref().is_none_or(|part| name.contains(&**part))
            && (identifiers.is_empty() || identified.contains(&name))
    };
    let groups = groups(&region, &prefix, is_shown);
    let (groups, next_token) = page::take(groups, next_token.as_deref(), limit)?;
    let mut answers = Vec::new();
    for (name, group) in groups {
        let answer = answer(context, name, group);
        answers.push(if pattern.is_some() {
            response::LogGroup {
                log_group_name: answer.log_group_name,
                creation_time: answer.creation_time,
                arn: answer.arn,
                ..response::LogGroup::default()
            }
        } else {
            response::LogGroup {
                stored_bytes: Some(stored_bytes(logs, &region, group).await?),
                ..answer
            }
        });
    }
    Ok(DescribeLogGroupsResponse {
        log_groups: answers,
        next_token,
    })
}

/// ListLogGroups: by parts of the name, of which one has to be in it, or with `^` at its start.
pub(super) async fn list_log_groups(
    logs: &Logs,
    context: &Context,
    request: ListLogGroupsRequest,
) -> Result<ListLogGroupsResponse, ApiError> {
    let limit = limit(request.limit, LISTED_MAX)?;
    let pattern = request.log_group_name_pattern;
    let region = logs.region(context).await?;
    let is_shown = |name: &str| {
        let Some(pattern) = &pattern else {
            return true;
        };
        pattern.split('|').any(|part| match part.strip_prefix('^') {
            Some(start) => name.starts_with(start),
            None => name.contains(part),
        })
    };
    let groups = groups(&region, "", is_shown);
    let (groups, next_token) = page::take(groups, request.next_token.as_deref(), limit)?;
    let groups = groups.into_iter().map(|(name, _)| LogGroupSummary {
        log_group_name: Some(name.into()),
        log_group_arn: Some(Text::display(group_arn(context, name))),
        log_group_class: Some(STANDARD.into()),
    });
    Ok(ListLogGroupsResponse {
        log_groups: groups.collect(),
        next_token,
    })
}

const LISTED_MAX: u16 = 1000;
const STANDARD: &str = "STANDARD";

/// The groups whose names start so and are to be shown, by name.
fn groups<'a>(
    region: &'a RegionState,
    prefix: &'a str,
    is_shown: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = (String, (&'a str, &'a Stored<LogGroup>))> + 'a {
    let groups = region.log_groups.range(Box::<str>::from(prefix)..);
    let groups = groups.take_while(move |(name, _)| name.starts_with(prefix));
    let groups = groups.filter(move |(name, _)| is_shown(name));
    groups.map(|(name, group)| (name.to_string(), (&**name, group)))
}

/// What a group's events count for.
async fn stored_bytes(
    logs: &Logs,
    region: &RegionState,
    group: &Stored<LogGroup>,
) -> Result<i64, ApiError> {
    let streams = region.log_streams_from(group.uid, "");
    let streams: Vec<LogUid> = streams.map(|(_, stream)| stream.uid).collect();
    let group = Arc::clone(group.record());
    let counts = logs.blocking(move |events| events.stream_counts(&group, &streams));
    let bytes: u64 = counts.await?.values().map(|counts| counts.bytes).sum();
    Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn answer(context: &Context, name: &str, group: &LogGroup) -> response::LogGroup {
    let arn = group_arn(context, name);
    let filters = i32::try_from(group.metric_filters.len());
    response::LogGroup {
        log_group_name: Some(name.into()),
        creation_time: Some(group.created_at.0),
        retention_in_days: group.retention_days.map(i32::from),
        metric_filter_count: Some(filters.unwrap_or(i32::MAX)),
        arn: Some(Text::display(format_args!("{arn}:*"))),
        stored_bytes: None,
        log_group_class: Some(STANDARD.into()),
        log_group_arn: Some(Text::display(arn)),
        deletion_protection_enabled: Some(group.is_protected),
    }
}
