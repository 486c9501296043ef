//! Metrics: PutMetricData, ListMetrics and GetMetricStatistics.

use enid_model::time::Timestamp;
use enid_telemetry::metric::database::{PutError, Selection};
use enid_telemetry::metric::datum::{Datum, DatumError, StatisticSet, check_namespace, samples};
use enid_telemetry::metric::identity::Identity;
use enid_telemetry::metric::level::is_period;
use enid_telemetry::metric::statistic::Statistic;
use enid_telemetry::metric::unit::Unit;

use super::{Monitoring, internal, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    Dimension, GetMetricStatisticsRequest, ListMetricsRequest, MetricDatum, PutMetricDataRequest,
};
use crate::generated::cloudwatch::response::{
    self, Datapoint, GetMetricStatisticsResponse, ListMetricsResponse, PutMetricDataResponse,
};
use crate::wire::text::Text;

/// The longest body of PutMetricData, unpacked, is held by the front door; the most points of
/// GetMetricStatistics are so many.
const POINTS_MAX: i64 = 1440;
/// Metrics on a page.
const PAGE: usize = 500;
/// `RecentlyActive=PT3H`.
const RECENTLY_MS: i64 = 3 * 3600 * 1000;

/// PutMetricData.
pub(super) async fn put_metric_data(
    monitoring: &Monitoring,
    context: &Context,
    request: PutMetricDataRequest,
) -> Result<PutMetricDataResponse, ApiError> {
    let data = request.metric_data.into_iter().map(datum).collect();
    let now = monitoring.metrics.now();
    let samples = samples(&request.namespace, data, now).map_err(|error| refused(&error))?;
    let scope = context.caller().scope();
    let put = monitoring.blocking(move |metrics| metrics.put(&scope, samples));
    match put.await? {
        Ok(()) => Ok(PutMetricDataResponse {}),
        Err(error @ PutError::TooManyMetrics) => {
            Err(ApiError::new("LimitExceeded", 400, error.to_string()))
        }
        Err(PutError::Rows(error)) => Err(internal(error)),
    }
}

fn datum(datum: MetricDatum) -> Datum {
    Datum {
        name: datum.metric_name,
        dimensions: pairs(datum.dimensions),
        timestamp: datum.timestamp,
        value: datum.value,
        values: datum.values,
        counts: datum.counts,
        statistics: datum.statistic_values.map(|set| StatisticSet {
            count: set.sample_count,
            sum: set.sum,
            minimum: set.minimum,
            maximum: set.maximum,
        }),
        unit: datum.unit,
        storage_resolution: datum.storage_resolution,
    }
}

/// Names and values.
pub(super) fn pairs(dimensions: Vec<Dimension>) -> Vec<(String, String)> {
    let pairs = dimensions.into_iter();
    pairs
        .map(|dimension| (dimension.name, dimension.value))
        .collect()
}

pub(super) fn refused(error: &DatumError) -> ApiError {
    ApiError::new(error.code(), 400, error.to_string())
}

/// The metric that a request names.
pub(super) fn identity(
    namespace: String,
    name: String,
    dimensions: Vec<Dimension>,
) -> Result<Identity, ApiError> {
    check_namespace(&namespace).map_err(|error| refused(&error))?;
    if name.is_empty() || name.len() > 255 {
        let value = name.chars().take(100).collect::<String>();
        return Err(bad_value(&value, "MetricName"));
    }
    Identity::new(namespace, name, pairs(dimensions)).map_err(|repeated| {
        let message = format!(
            "No duplicate dimension names are allowed in Dimensions: {}.",
            repeated.0
        );
        ApiError::new("InvalidParameterValue", 400, message)
    })
}

/// A value that a parameter cannot have, in CloudWatch's words.
pub(super) fn bad_value(value: &str, name: &str) -> ApiError {
    let message = format!("The value {value} for parameter {name} is invalid.");
    ApiError::new("InvalidParameterValue", 400, message)
}

/// The unit of a name.
pub(super) fn unit(name: Option<&str>) -> Result<Option<Unit>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    match Unit::named(name) {
        Some(unit) => Ok(Some(unit)),
        None => Err(bad_value(name, "Unit")),
    }
}

/// A dimension in an answer.
pub(super) fn dimensions(metric: &Identity) -> Vec<response::Dimension> {
    let dimensions = metric.dimensions().iter();
    dimensions
        .map(|(name, value)| response::Dimension {
            name: Some(name.into()),
            value: Some(value.into()),
        })
        .collect()
}

/// ListMetrics.
pub(super) async fn list_metrics(
    monitoring: &Monitoring,
    context: &Context,
    request: ListMetricsRequest,
) -> Result<ListMetricsResponse, ApiError> {
    const OPERATION: &str = "ListMetrics";
    if let Some(namespace) = &request.namespace {
        check_namespace(namespace).map_err(|error| refused(&error))?;
    }
    if request.dimensions.len() > 10 {
        let message = "The collection Dimensions must not have a size greater than 10.";
        return Err(ApiError::new("InvalidParameterValue", 400, message.into()));
    }
    let after = page::open(OPERATION, request.next_token.as_deref())?;
    let now = monitoring.metrics.now();
    let filters = request.dimensions.into_iter();
    let selection = Selection {
        namespace: request.namespace,
        name: request.metric_name,
        dimensions: filters.map(|filter| (filter.name, filter.value)).collect(),
        since: request
            .recently_active
            .map(|_| Timestamp(now.0 - RECENTLY_MS)),
    };
    let scope = context.caller().scope();
    let listed = monitoring.metrics.list(&scope, &selection);
    // A token names the last metric of its page: what comes and goes meanwhile moves nothing.
    let last = after.and_then(|key| Identity::of_key(&key).map(|(_, _, metric)| metric));
    let mut rest = listed
        .into_iter()
        .filter(|metric| last.as_ref().is_none_or(|last| metric > last));
    let found: Vec<Identity> = rest.by_ref().take(PAGE).collect();
    let next = match (found.last(), rest.next()) {
        (Some(last), Some(_)) => Some(page::close(OPERATION, &last.key(&scope))),
        _ => None,
    };
    Ok(ListMetricsResponse {
        metrics: found.iter().map(answer).collect(),
        next_token: next,
    })
}

/// A metric in an answer.
pub(super) fn answer(metric: &Identity) -> response::Metric {
    response::Metric {
        namespace: Some(metric.namespace.as_str().into()),
        metric_name: Some(metric.name.as_str().into()),
        dimensions: dimensions(metric),
    }
}

/// GetMetricStatistics.
pub(super) async fn get_metric_statistics(
    monitoring: &Monitoring,
    context: &Context,
    request: GetMetricStatisticsRequest,
) -> Result<GetMetricStatisticsResponse, ApiError> {
    let statistics = statistics(&request)?;
    let label = Text::from(request.metric_name.as_str());
    let metric = identity(request.namespace, request.metric_name, request.dimensions)?;
    let unit = unit(request.unit.as_deref())?;
    let period_s = i64::from(request.period);
    if !is_period(period_s) {
        return Err(bad_value(&period_s.to_string(), "Period"));
    }
    let (start, end) = (request.start_time, request.end_time);
    check_times(start, end)?;
    let points = (end.0 - start.0) / 1000 / period_s;
    if points > POINTS_MAX {
        return Err(ApiError::invalid_combination(&format!(
            "You have requested up to {points} datapoints, which exceeds the limit of 1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    let window = monitoring.metrics.window(start, end, period_s);
    let scope = context.caller().scope();
    let periods = monitoring.blocking(move |metrics| metrics.periods(&scope, &metric, window));
    let periods = periods.await?.map_err(internal)?;
    let mut datapoints = Vec::new();
    for (time, units) in periods {
        for (of, values) in units {
            if unit.is_some_and(|wanted| wanted != of) {
                continue;
            }
            let mut datapoint = Datapoint {
                timestamp: Some(time),
                unit: Some(of.as_str().into()),
                ..Datapoint::default()
            };
            for (name, statistic) in &statistics {
                let value = statistic.of(&values);
                match &**name {
                    "SampleCount" => datapoint.sample_count = value,
                    "Average" => datapoint.average = value,
                    "Sum" => datapoint.sum = value,
                    "Minimum" => datapoint.minimum = value,
                    "Maximum" => datapoint.maximum = value,
                    _ => datapoint
                        .extended_statistics
                        .extend(value.map(|value| (name.clone(), value))),
                }
            }
            datapoints.push(datapoint);
        }
    }
    Ok(GetMetricStatisticsResponse {
        label: Some(label),
        datapoints,
    })
}

/// The statistics that are asked for, by name.
fn statistics(request: &GetMetricStatisticsRequest) -> Result<Vec<(String, Statistic)>, ApiError> {
    let (plain, extended) = (&request.statistics, &request.extended_statistics);
    if plain.is_empty() && extended.is_empty() {
        let message = "Must specify either Statistics or ExtendedStatistics.";
        return Err(ApiError::invalid_combination(message));
    }
    for (name, list, most) in [
        ("Statistics", plain, 5),
        ("ExtendedStatistics", extended, 10),
    ] {
        if list.len() > most {
            let message =
                format!("The collection {name} must not have a size greater than {most}.");
            return Err(ApiError::new("InvalidParameterValue", 400, message));
        }
    }
    let plain = plain.iter().map(|name| (name, Statistic::parse(name)));
    let extended = extended
        .iter()
        .map(|name| (name, Statistic::extended(name)));
    let all = plain.chain(extended).map(|(name, statistic)| {
        let invalid = || {
            bad_value(
                &name.chars().take(100).collect::<String>(),
                "ExtendedStatistics",
            )
        };
        Ok((name.clone(), statistic.ok_or_else(invalid)?))
    });
    all.collect()
}

/// A window must have a length.
pub(super) fn check_times(start: Timestamp, end: Timestamp) -> Result<(), ApiError> {
    match start < end {
        true => Ok(()),
        false => Err(ApiError::invalid_combination(
            "The parameter StartTime must be less than the parameter EndTime.",
        )),
    }
}
