//! CloudWatch Logs: each operation's request becomes a call of the control plane or of the telemetry
//! store, and what that returns its answer. One file per resource.

mod live_tail;
mod log_event;
mod log_group;
mod log_query;
mod log_stream;
mod metric_filter;
mod page;
mod subscription_filter;
mod tag;

use std::sync::Arc;

use enid_control::Control;
use enid_model::log_group::LogGroup;
use enid_model::state::{RegionState, Stored};
use enid_telemetry::log::logs::{Logs as Events, LogsError};
use enid_telemetry::log::query::registry::Queries;
use enid_telemetry::log::subscription::Subscriptions;
use enid_telemetry::log::tail::Tails;

use crate::context::Context;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;
use crate::wire::words::constraint;

/// The operations of CloudWatch Logs.
pub struct Logs {
    control: Arc<Control>,
    events: Arc<Events>,
    queries: Arc<Queries>,
    subscriptions: Subscriptions,
    tails: Arc<Tails>,
}

impl Logs {
    /// Logs whose groups are a control plane's, and whose events are in a store. The subscriptions
    /// are those that are told of the events.
    #[must_use]
    pub fn new(
        control: Arc<Control>,
        events: Arc<Events>,
        queries: Arc<Queries>,
        subscriptions: Subscriptions,
    ) -> Self {
        let tails = Arc::new(Tails::default());
        events.watch(Arc::clone(&tails) as _);
        Self {
            control,
            events,
            queries,
            subscriptions,
            tails,
        }
    }

    /// What a request is about, for the policy of its key: the streams of a group, one of them, or
    /// for tags the group itself.
    #[must_use]
    pub fn asked(&self, context: &Context, request: &Request) -> Asked {
        let streams = |group: &str, stream: &str| {
            let group = group_arn(context, group_in(group));
            Asked::about([format!("{group}:log-stream:{stream}")])
        };
        let either = |name: &Option<String>, identifier: &Option<String>, stream: &str| {
            let group = name.as_deref().or(identifier.as_deref());
            streams(group.unwrap_or_default(), stream)
        };
        match request {
            Request::CreateLogGroup(it) => streams(&it.log_group_name, ""),
            Request::CreateLogStream(it) => streams(&it.log_group_name, &it.log_stream_name),
            Request::DeleteLogGroup(it) => streams(&it.log_group_name, ""),
            Request::DeleteLogStream(it) => streams(&it.log_group_name, &it.log_stream_name),
            Request::DeleteMetricFilter(it) => streams(&it.log_group_name, ""),
            Request::DeleteRetentionPolicy(it) => streams(&it.log_group_name, ""),
            Request::DeleteSubscriptionFilter(it) => streams(&it.log_group_name, ""),
            Request::DescribeLogGroups(_) | Request::ListLogGroups(_) => streams("", ""),
            Request::DescribeLogStreams(it) => {
                either(&it.log_group_name, &it.log_group_identifier, "")
            }
            Request::DescribeMetricFilters(it) => either(&it.log_group_name, &None, ""),
            Request::DescribeSubscriptionFilters(it) => streams(&it.log_group_name, ""),
            Request::FilterLogEvents(it) => {
                either(&it.log_group_name, &it.log_group_identifier, "")
            }
            Request::GetLogEvents(it) => {
                let stream = &it.log_stream_name;
                either(&it.log_group_name, &it.log_group_identifier, stream)
            }
            Request::ListTagsForResource(it) => Asked::about([it.resource_arn.clone()]),
            Request::ListTagsLogGroup(it) => Asked::about([group_arn(context, &it.log_group_name)]),
            Request::PutLogEvents(it) => streams(&it.log_group_name, &it.log_stream_name),
            Request::PutLogGroupDeletionProtection(it) => streams(&it.log_group_identifier, ""),
            Request::PutMetricFilter(it) => streams(&it.log_group_name, ""),
            Request::PutRetentionPolicy(it) => streams(&it.log_group_name, ""),
            Request::PutSubscriptionFilter(it) => streams(&it.log_group_name, ""),
            Request::TagLogGroup(it) => Asked::about([group_arn(context, &it.log_group_name)]),
            Request::TagResource(it) => Asked::about([it.resource_arn.clone()]),
            Request::StartLiveTail(it) => {
                let arns = it.log_group_identifiers.iter();
                Asked::about(arns.map(|arn| format!("{arn}:log-stream:")))
            }
            Request::StartQuery(it) => Asked::about(log_query::arns(context, it)),
            Request::DescribeQueries(_)
            | Request::GetQueryResults(_)
            | Request::StopQuery(_)
            | Request::TestMetricFilter(_) => Asked::default(),
            Request::UntagLogGroup(it) => Asked::about([group_arn(context, &it.log_group_name)]),
            Request::UntagResource(it) => Asked::about([it.resource_arn.clone()]),
        }
    }

    /// The caller's region.
    async fn region(&self, context: &Context) -> Result<Arc<RegionState>, ApiError> {
        Ok(self.control.read(&context.caller()).await?)
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Events) -> Result<T, LogsError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let events = Arc::clone(&self.events);
        let done = tokio::task::spawn_blocking(move || work(&events)).await;
        done.map_err(ApiError::internal)?.map_err(|error| {
            let words = "The service cannot complete the request.";
            ApiError::new("ServiceUnavailableException", 503, words.to_owned()).caused_by(error)
        })
    }
}

/// An error of a member that AWS's model does not tell.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", 400, message.into())
}

/// The ARN of a group, without `:*`.
fn group_arn(context: &Context, group: &str) -> String {
    let (partition, region) = (context.region.partition(), context.region.name);
    let account = context.account;
    format!("arn:{partition}:logs:{region}:{account}:log-group:{group}")
}

/// The group's name in what is its name or its ARN.
fn group_in(identifier: &str) -> &str {
    let name = identifier.split_once(":log-group:").map(|(_, name)| name);
    let name = name.unwrap_or(identifier);
    name.strip_suffix(":*").unwrap_or(name)
}

/// The group that a request names by its name or by its name or ARN.
fn named<'a>(
    context: &Context,
    region: &'a RegionState,
    name: Option<&str>,
    identifier: Option<&str>,
) -> Result<(&'a str, &'a Stored<LogGroup>), ApiError> {
    let name = match (name, identifier) {
        (Some(name), None) => name,
        (None, Some(identifier)) => identified(context, identifier)?,
        _ => {
            return Err(invalid(
                "Exactly one of logGroupName and logGroupIdentifier must be specified.",
            ));
        }
    };
    enid_control::check_group_name(name)?;
    let found = region.log_groups.get_key_value(name);
    let (name, group) = found
        .ok_or(enid_control::LogsError::GroupNotFound)
        .map_err(enid_control::Error::from)?;
    Ok((name, group))
}

/// The name in a group's name or ARN, which must be the caller's own.
fn identified<'a>(context: &Context, identifier: &'a str) -> Result<&'a str, ApiError> {
    let name = group_in(identifier);
    let is_own = name == identifier
        || identifier.strip_suffix(":*").unwrap_or(identifier) == group_arn(context, name);
    if !is_own {
        return Err(enid_control::Error::from(enid_control::LogsError::GroupNotFound).into());
    }
    Ok(name)
}

/// A limit within its bounds, or the most.
fn limit(limit: Option<i32>, most: u16) -> Result<usize, ApiError> {
    let Some(limit) = limit else {
        return Ok(most.into());
    };
    let known = u16::try_from(limit)
        .ok()
        .filter(|it| (1..=most).contains(it));
    known.map(usize::from).ok_or_else(|| {
        let rule = match limit {
            ..1 => "Member must have value greater than or equal to 1".to_owned(),
            _ => format!("Member must have value less than or equal to {most}"),
        };
        invalid(constraint(&format!("'{limit}'"), "limit", &rule))
    })
}

/// What descriptions list at most.
const DESCRIBED_MAX: u16 = 50;

handlers! {
    Logs in crate::generated::logs::operations {
        CreateLogGroup => log_group::create_log_group,
        CreateLogStream => log_stream::create_log_stream,
        DeleteLogGroup => log_group::delete_log_group,
        DeleteLogStream => log_stream::delete_log_stream,
        DeleteMetricFilter => metric_filter::delete_metric_filter,
        DeleteRetentionPolicy => log_group::delete_retention_policy,
        DeleteSubscriptionFilter => subscription_filter::delete_subscription_filter,
        DescribeLogGroups => log_group::describe_log_groups,
        DescribeLogStreams => log_stream::describe_log_streams,
        DescribeMetricFilters => metric_filter::describe_metric_filters,
        DescribeQueries => log_query::describe_queries,
        DescribeSubscriptionFilters => subscription_filter::describe_subscription_filters,
        FilterLogEvents => log_event::filter_log_events,
        GetLogEvents => log_event::get_log_events,
        GetQueryResults => log_query::get_query_results,
        ListLogGroups => log_group::list_log_groups,
        ListTagsForResource => tag::list_tags_for_resource,
        ListTagsLogGroup => tag::list_tags_log_group,
        PutLogEvents => log_event::put_log_events,
        PutLogGroupDeletionProtection => log_group::put_log_group_deletion_protection,
        PutMetricFilter => metric_filter::put_metric_filter,
        PutRetentionPolicy => log_group::put_retention_policy,
        PutSubscriptionFilter => subscription_filter::put_subscription_filter,
        StartLiveTail => live_tail::start_live_tail,
        StartQuery => log_query::start_query,
        StopQuery => log_query::stop_query,
        TagLogGroup => tag::tag_log_group,
        TagResource => tag::tag_resource,
        TestMetricFilter => metric_filter::test_metric_filter,
        UntagLogGroup => tag::untag_log_group,
        UntagResource => tag::untag_resource,
    }
}
