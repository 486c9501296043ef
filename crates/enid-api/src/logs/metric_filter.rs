//! Metric filters of log groups.

use enid_control::{PutMetricFilter, log_group_named};
use enid_model::log_group::{MetricFilter, MetricTransformation};
use enid_telemetry::log::metric::Transformation;
use enid_telemetry::log::pattern::FilterPattern;

use super::{DESCRIBED_MAX, Logs, invalid, limit, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    DeleteMetricFilterRequest, DescribeMetricFiltersRequest, PutMetricFilterRequest,
    TestMetricFilterRequest,
};
use crate::generated::logs::response::{
    self, DeleteMetricFilterResponse, DescribeMetricFiltersResponse, MetricFilterMatchRecord,
    PutMetricFilterResponse, TestMetricFilterResponse,
};
use crate::wire::text::Text;

/// PutMetricFilter.
pub(super) async fn put_metric_filter(
    logs: &Logs,
    context: &Context,
    request: PutMetricFilterRequest,
) -> Result<PutMetricFilterResponse, ApiError> {
    let Ok([transformation]) = <[_; 1]>::try_from(request.metric_transformations) else {
        return Err(invalid(
            "1 validation error detected: Value at 'metricTransformations' failed to satisfy \
             constraint: Member must have length less than or equal to 1",
        ));
    };
    let transformation = MetricTransformation {
        namespace: transformation.metric_namespace,
        name: transformation.metric_name,
        value: transformation.metric_value,
        default_value: transformation.default_value,
        dimensions: transformation.dimensions,
        unit: transformation.unit,
    };
    Transformation::new(&request.filter_pattern, &transformation)
        .map_err(|error| invalid(error.to_string()))?;
    let input = PutMetricFilter {
        group: request.log_group_name,
        name: request.filter_name,
        pattern: request.filter_pattern,
        transformation,
    };
    let caller = context.caller();
    logs.control.put_metric_filter(&caller, &input).await?;
    Ok(PutMetricFilterResponse {})
}

/// DeleteMetricFilter.
pub(super) async fn delete_metric_filter(
    logs: &Logs,
    context: &Context,
    request: DeleteMetricFilterRequest,
) -> Result<DeleteMetricFilterResponse, ApiError> {
    let caller = context.caller();
    let control = &logs.control;
    control
        .delete_metric_filter(&caller, &request.log_group_name, &request.filter_name)
        .await?;
    Ok(DeleteMetricFilterResponse {})
}

/// DescribeMetricFilters: of one group or of all, or by the metric that they report.
pub(super) async fn describe_metric_filters(
    logs: &Logs,
    context: &Context,
    request: DescribeMetricFiltersRequest,
) -> Result<DescribeMetricFiltersResponse, ApiError> {
    let limit = limit(request.limit, DESCRIBED_MAX)?;
    if request.metric_name.is_some() != request.metric_namespace.is_some() {
        return Err(invalid(
            "metricName and metricNamespace must be specified together.",
        ));
    }
    let region = logs.region(context).await?;
    let only = request.log_group_name.as_deref();
    if let Some(group) = only {
        enid_control::check_group_name(group)?;
        log_group_named(&region, group)?;
    }
    // The prefix counts in one group only.
    let prefix = request.filter_name_prefix.filter(|_| only.is_some());
    let prefix = prefix.unwrap_or_default();
    let metric = request.metric_name.zip(request.metric_namespace);
    let is_shown = |name: &str, filter: &MetricFilter| {
        let of = &filter.transformation;
        name.starts_with(&*prefix)
            && metric
                .as_ref()
                .is_none_or(|(name, namespace)| of.name == *name && of.namespace == *namespace)
    };
    let groups = region.log_groups.iter();
    let groups = groups.filter(|(name, _)| only.is_none_or(|only| only == &***name));
    let filters = groups.flat_map(|(group, found)| {
        let filters = found.metric_filters.iter();
        filters.map(move |(name, filter)| (group, name, filter))
    });
    let filters = filters.filter(|(_, name, filter)| is_shown(name, filter));
    // No name of a group has a line break.
    let filters = filters.map(|(group, name, filter)| {
        let key = format!("{group}\n{name}");
        (key, answer(group, name, filter))
    });
    let (metric_filters, next_token) = page::take(filters, request.next_token.as_deref(), limit)?;
    Ok(DescribeMetricFiltersResponse {
        metric_filters,
        next_token,
    })
}

/// TestMetricFilter.
pub(super) async fn test_metric_filter(
    _logs: &Logs,
    _context: &Context,
    request: TestMetricFilterRequest,
) -> Result<TestMetricFilterResponse, ApiError> {
    let messages = request.log_event_messages;
    if messages.len() > MESSAGES_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logEventMessages' failed to satisfy \
             constraint: Member must have length less than or equal to {MESSAGES_MAX}"
        )));
    }
    let pattern = FilterPattern::parse(&request.filter_pattern);
    let pattern = pattern.map_err(|error| invalid(error.to_string()))?;
    let matches = (1..).zip(messages).filter_map(|(number, message)| {
        let values = pattern.extract(&message)?.into_iter();
        Some(MetricFilterMatchRecord {
            event_number: Some(number),
            event_message: Some(Text::from(message)),
            extracted_values: values
                .map(|(name, value)| (name, Text::from(value)))
                .collect(),
        })
    });
    Ok(TestMetricFilterResponse {
        matches: matches.collect(),
    })
}

/// Messages that a filter may be tried with.
/// Source: CloudWatch Logs API Reference, TestMetricFilter.
const MESSAGES_MAX: usize = 50;

fn answer(group: &str, name: &str, filter: &MetricFilter) -> response::MetricFilter {
    let of = &filter.transformation;
    let dimensions = of.dimensions.iter();
    let transformation = response::MetricTransformation {
        metric_name: Some(Text::from(&*of.name)),
        metric_namespace: Some(Text::from(&*of.namespace)),
        metric_value: Some(Text::from(&*of.value)),
        default_value: of.default_value,
        dimensions: dimensions
            .map(|(name, value)| (name.clone(), Text::from(&**value)))
            .collect(),
        unit: of.unit.as_deref().map(Text::from),
    };
    response::MetricFilter {
        filter_name: Some(Text::from(name)),
        filter_pattern: Some(Text::from(&*filter.pattern)),
        metric_transformations: vec![transformation],
        creation_time: Some(filter.created_at.0),
        log_group_name: Some(Text::from(group)),
    }
}
