//! Subscription filters of log groups.

use enid_control::{PutSubscriptionFilter, check_group_name, log_group_named};
use enid_telemetry::log::destination::{Destination, DestinationError};
use enid_telemetry::log::pattern::FilterPattern;

use super::{DESCRIBED_MAX, Logs, invalid, limit, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    DeleteSubscriptionFilterRequest, DescribeSubscriptionFiltersRequest,
    PutSubscriptionFilterRequest,
};
use crate::generated::logs::response::{
    DeleteSubscriptionFilterResponse, DescribeSubscriptionFiltersResponse,
    PutSubscriptionFilterResponse, SubscriptionFilter,
};
use crate::wire::text::Text;

/// PutSubscriptionFilter. The destination is sent a message first, as AWS does; one that does not
/// take it is refused.
pub(super) async fn put_subscription_filter(
    logs: &Logs,
    context: &Context,
    request: PutSubscriptionFilterRequest,
) -> Result<PutSubscriptionFilterResponse, ApiError> {
    FilterPattern::parse(&request.filter_pattern).map_err(|error| invalid(error.to_string()))?;
    let destination = Destination::parse(&request.destination_arn).map_err(refusal)?;
    check_group_name(&request.log_group_name)?;
    let before = logs.region(context).await?;
    let group = log_group_named(&before, &request.log_group_name)?;
    let subscriptions = logs.subscriptions.clone();
    let probed = tokio::task::spawn_blocking(move || subscriptions.probe(&destination)).await;
    probed.map_err(ApiError::internal)?.map_err(refusal)?;
    let input = PutSubscriptionFilter {
        group: request.log_group_name,
        name: request.filter_name,
        pattern: request.filter_pattern,
        destination: request.destination_arn,
    };
    let caller = context.caller();
    logs.control
        .put_subscription_filter(&caller, &input)
        .await?;
    let replaced = group.subscription_filters.get(&input.name);
    if replaced.is_some_and(|replaced| replaced.destination != input.destination) {
        logs.subscriptions.forget(group.uid, &input.name);
    }
    Ok(PutSubscriptionFilterResponse {})
}

fn refusal(error: DestinationError) -> ApiError {
    match error {
        DestinationError::Answer(_) | DestinationError::Io(_) => invalid(
            "Could not deliver test message to specified destination. \
             Check if the destination is valid.",
        ),
        DestinationError::Service(_) => {
            ApiError::new("UnsupportedOperation", 400, format!("{error}."))
        }
        DestinationError::Url(_) => invalid(format!("The destination {error}.")),
    }
}

/// DeleteSubscriptionFilter.
pub(super) async fn delete_subscription_filter(
    logs: &Logs,
    context: &Context,
    request: DeleteSubscriptionFilterRequest,
) -> Result<DeleteSubscriptionFilterResponse, ApiError> {
    let (caller, name) = (context.caller(), &request.filter_name);
    let before = logs.region(context).await?;
    let control = &logs.control;
    control
        .delete_subscription_filter(&caller, &request.log_group_name, name)
        .await?;
    if let Ok(group) = log_group_named(&before, &request.log_group_name) {
        logs.subscriptions.forget(group.uid, name);
    }
    Ok(DeleteSubscriptionFilterResponse {})
}

/// DescribeSubscriptionFilters.
pub(super) async fn describe_subscription_filters(
    logs: &Logs,
    context: &Context,
    request: DescribeSubscriptionFiltersRequest,
) -> Result<DescribeSubscriptionFiltersResponse, ApiError> {
    let limit = limit(request.limit, DESCRIBED_MAX)?;
    check_group_name(&request.log_group_name)?;
    let prefix = request.filter_name_prefix.unwrap_or_default();
    let region = logs.region(context).await?;
    let group = log_group_named(&region, &request.log_group_name)?;
    let filters = group.subscription_filters.iter();
    let filters = filters.filter(|(name, _)| name.starts_with(&*prefix));
    let filters = filters.map(|(name, filter)| {
        let answer = SubscriptionFilter {
            filter_name: Some(Text::from(&**name)),
            log_group_name: Some(Text::from(&*request.log_group_name)),
            filter_pattern: Some(Text::from(&*filter.pattern)),
            destination_arn: Some(Text::from(&*filter.destination)),
            distribution: Some("ByLogStream".into()),
            creation_time: Some(filter.created_at.0),
        };
        (name.clone(), answer)
    });
    let (subscription_filters, next_token) =
        page::take(filters, request.next_token.as_deref(), limit)?;
    Ok(DescribeSubscriptionFiltersResponse {
        subscription_filters,
        next_token,
    })
}
