//! DescribeAlarms, DescribeAlarmsForMetric and DescribeAlarmHistory.

use enid_control::alarm_arn;
use enid_model::alarm::{
    Alarm, AlarmHistory, AlarmQuery, AlarmRule, AlarmStat, MetricRule, SuppressedBy, Suppression,
    Watched,
};
use enid_telemetry::metric::statistic::Statistic;

use super::alarm::names;
use super::data::validation;
use super::metric::identity;
use super::{Monitoring, failed, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    DescribeAlarmHistoryRequest, DescribeAlarmsForMetricRequest, DescribeAlarmsRequest,
};
use crate::generated::cloudwatch::response::{
    self, AlarmHistoryItem, CompositeAlarm, DescribeAlarmHistoryResponse,
    DescribeAlarmsForMetricResponse, DescribeAlarmsResponse, MetricAlarm,
};
use crate::wire::text::Text;

/// Records on a page, if the request does not say.
const PAGE: usize = 50;

/// DescribeAlarms. Composite alarms are told of only if they are asked for.
pub(super) async fn describe_alarms(
    monitoring: &Monitoring,
    context: &Context,
    request: DescribeAlarmsRequest,
) -> Result<DescribeAlarmsResponse, ApiError> {
    const OPERATION: &str = "DescribeAlarms";
    names(&request.alarm_names)?;
    if !request.alarm_names.is_empty() && request.alarm_name_prefix.is_some() {
        return Err(validation(
            "AlarmNames and AlarmNamePrefix cannot be specified together.".to_owned(),
        ));
    }
    let size = size(request.max_records)?;
    let after = page::open(OPERATION, request.next_token.as_deref())?;
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let types = &request.alarm_types;
    let of_type = |alarm: &Alarm| match alarm.rule.is_composite() {
        true => types.iter().any(|name| name == "CompositeAlarm"),
        false => types.is_empty() || types.iter().any(|name| name == "MetricAlarm"),
    };
    let prefix = request.alarm_name_prefix.unwrap_or_default();
    let fits = |alarm: &Alarm| {
        let named = &request.alarm_names;
        let state = request.state_value.as_deref();
        of_type(alarm)
            && alarm.name.starts_with(&prefix)
            && (named.is_empty() || named.contains(&alarm.name))
            && state.is_none_or(|state| state == alarm.state.as_str())
    };
    let alarms = region.alarms.values();
    let mut rest = alarms.filter(|alarm| {
        fits(alarm)
            && after
                .as_deref()
                .is_none_or(|after| alarm.name.as_str() > after)
    });
    let mut response = DescribeAlarmsResponse::default();
    let mut last = None;
    for alarm in rest.by_ref().take(size) {
        last = Some(alarm.name.clone());
        match &alarm.rule {
            AlarmRule::Metric(rule) => {
                response
                    .metric_alarms
                    .push(metric_alarm(context, alarm, rule));
            }
            AlarmRule::Composite(rule) => {
                response
                    .composite_alarms
                    .push(composite_alarm(context, alarm, rule));
            }
        }
    }
    if let (Some(last), Some(_)) = (last, rest.next()) {
        response.next_token = Some(page::close(OPERATION, &last));
    }
    Ok(response)
}

/// DescribeAlarmsForMetric.
pub(super) async fn describe_alarms_for_metric(
    monitoring: &Monitoring,
    context: &Context,
    request: DescribeAlarmsForMetricRequest,
) -> Result<DescribeAlarmsForMetricResponse, ApiError> {
    let metric = identity(request.namespace, request.metric_name, request.dimensions)?;
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let statistic = request.statistic.or(request.extended_statistic);
    let fits = |rule: &MetricRule| {
        let Watched::Stat(stat) = &rule.watched else {
            return false;
        };
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        stat.namespace == metric.namespace
            && stat.name == metric.name
            && stat.dimensions == metric.dimensions()
            && same(&statistic, Some(&stat.statistic))
            && same(&request.unit, stat.unit.as_deref())
            && request
                .period
                .is_none_or(|period| i64::from(period) == rule.period_s)
    };
    let alarms = region
        .alarms
        .values()
        .filter_map(|alarm| match &alarm.rule {
            AlarmRule::Metric(rule) if fits(rule) => Some(metric_alarm(context, alarm, rule)),
            _ => None,
        });
    Ok(DescribeAlarmsForMetricResponse {
        metric_alarms: alarms.collect(),
    })
}

/// DescribeAlarmHistory: the newest first.
pub(super) async fn describe_alarm_history(
    monitoring: &Monitoring,
    context: &Context,
    request: DescribeAlarmHistoryRequest,
) -> Result<DescribeAlarmHistoryResponse, ApiError> {
    const OPERATION: &str = "DescribeAlarmHistory";
    let size = size(request.max_records)?;
    let after = page::open(OPERATION, request.next_token.as_deref())?;
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let types = &request.alarm_types;
    let fits = |item: &AlarmHistory| {
        let of_type = match item.is_composite {
            true => types.iter().any(|name| name == "CompositeAlarm"),
            // Without a type metric alarms are told of, and whatever has the name that is asked for.
            false => types.is_empty() || types.iter().any(|name| name == "MetricAlarm"),
        };
        let named = request.alarm_name.as_deref();
        (of_type || types.is_empty() && named.is_some())
            && named.is_none_or(|name| name == item.alarm)
            && request
                .history_item_type
                .as_deref()
                .is_none_or(|wanted| wanted == item.what.as_str())
            && request.start_date.is_none_or(|start| item.at >= start)
            && request.end_date.is_none_or(|end| item.at <= end)
    };
    let ascending = request.scan_by.as_deref() == Some("TimestampAscending");
    let mut found: Vec<(&str, &AlarmHistory)> = region
        .alarm_history
        .iter()
        .filter(|(_, item)| fits(item))
        .map(|(key, item)| (&**key, &**item))
        .collect();
    if !ascending {
        found.reverse();
    }
    let mut rest = found.into_iter().filter(|(key, _)| match after.as_deref() {
        None => true,
        Some(after) if ascending => *key > after,
        Some(after) => *key < after,
    });
    let mut response = DescribeAlarmHistoryResponse::default();
    let mut last = None;
    for (key, item) in rest.by_ref().take(size) {
        last = Some(key.to_owned());
        let kind = match item.is_composite {
            true => "CompositeAlarm",
            false => "MetricAlarm",
        };
        response.alarm_history_items.push(AlarmHistoryItem {
            alarm_name: Some(item.alarm.as_str().into()),
            alarm_type: Some(kind.into()),
            timestamp: Some(item.at),
            history_item_type: Some(item.what.as_str().into()),
            history_summary: Some(item.summary.as_str().into()),
            history_data: Some(item.data.as_str().into()),
        });
    }
    if let (Some(last), Some(_)) = (last, rest.next()) {
        response.next_token = Some(page::close(OPERATION, &last));
    }
    Ok(response)
}

fn size(wanted: Option<i32>) -> Result<usize, ApiError> {
    match wanted {
        None => Ok(PAGE),
        Some(size @ 1..=100) => Ok(usize::try_from(size).unwrap_or(PAGE)),
        Some(size) => Err(validation(format!(
            "1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must have value between 1 and 100"
        ))),
    }
}

fn texts(list: &[String]) -> Vec<Text> {
    list.iter().map(Text::from).collect()
}

/// Whether a statistic is told as an extended one.
fn is_extended(name: &str) -> bool {
    Statistic::parse(name).is_some_and(Statistic::is_extended)
}

fn metric_alarm(context: &Context, alarm: &Alarm, rule: &MetricRule) -> MetricAlarm {
    let integer = |number: i64| i32::try_from(number).ok();
    let (stat, metrics) = match &rule.watched {
        Watched::Stat(stat) => (Some(stat), None),
        Watched::Queries(queries) => (None, Some(queries.iter().map(alarm_query).collect())),
    };
    let statistic = stat.map(|stat| stat.statistic.as_str());
    let dimensions = stat.map(|stat| alarm_dimensions(&stat.dimensions));
    MetricAlarm {
        alarm_name: Some(alarm.name.as_str().into()),
        alarm_arn: Some(alarm_arn(&context.caller(), &alarm.name).into()),
        alarm_description: alarm.description.as_deref().map(Text::from),
        alarm_configuration_updated_timestamp: Some(alarm.configured),
        actions_enabled: Some(alarm.actions_enabled),
        ok_actions: texts(&alarm.ok_actions),
        alarm_actions: texts(&alarm.alarm_actions),
        insufficient_data_actions: texts(&alarm.insufficient_data_actions),
        state_value: Some(alarm.state.as_str().into()),
        state_reason: Some(alarm.reason.as_str().into()),
        state_reason_data: alarm.reason_data.as_deref().map(Text::from),
        state_updated_timestamp: Some(alarm.state_updated),
        metric_name: stat.map(|stat| stat.name.as_str().into()),
        namespace: stat.map(|stat| stat.namespace.as_str().into()),
        statistic: statistic.filter(|name| !is_extended(name)).map(Text::from),
        extended_statistic: statistic.filter(|name| is_extended(name)).map(Text::from),
        dimensions: dimensions.unwrap_or_default(),
        period: stat.and_then(|_| integer(rule.period_s)),
        unit: stat.and_then(|stat| stat.unit.as_deref()).map(Text::from),
        evaluation_periods: integer(rule.evaluation_periods.into()),
        datapoints_to_alarm: rule
            .datapoints_to_alarm
            .and_then(|count| integer(count.into())),
        threshold: rule.threshold_metric.is_none().then_some(rule.threshold),
        threshold_metric_id: rule.threshold_metric.as_deref().map(Text::from),
        comparison_operator: Some(rule.comparison.as_str().into()),
        treat_missing_data: Some(rule.missing.as_str().into()),
        evaluate_low_sample_count_percentile: rule
            .ignores_low_samples
            .map(|ignores| if ignores { "ignore" } else { "evaluate" }.into()),
        metrics,
        state_transitioned_timestamp: Some(alarm.state_transitioned),
    }
}

/// Dimensions of a record in an answer.
pub(super) fn alarm_dimensions(pairs: &[(String, String)]) -> Vec<response::Dimension> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| response::Dimension {
            name: Some(name.into()),
            value: Some(value.into()),
        })
        .collect()
}

/// A query of a record in an answer.
pub(super) fn alarm_query(query: &AlarmQuery) -> response::MetricDataQuery {
    let period = query.period_s.and_then(|period| i32::try_from(period).ok());
    let stat = |stat: &AlarmStat| response::MetricStat {
        metric: Some(response::Metric {
            namespace: Some(stat.namespace.as_str().into()),
            metric_name: Some(stat.name.as_str().into()),
            dimensions: alarm_dimensions(&stat.dimensions),
        }),
        period,
        stat: Some(stat.statistic.as_str().into()),
        unit: stat.unit.as_deref().map(Text::from),
    };
    response::MetricDataQuery {
        id: Some(query.id.as_str().into()),
        metric_stat: query.stat.as_ref().map(stat),
        expression: query.expression.as_deref().map(Text::from),
        label: query.label.as_deref().map(Text::from),
        return_data: query.return_data,
        period: period.filter(|_| query.expression.is_some()),
    }
}

fn composite_alarm(context: &Context, alarm: &Alarm, rule: &str) -> CompositeAlarm {
    let (suppressor, suppression) = (alarm.suppressor.as_ref(), alarm.suppression.as_ref());
    let period = |seconds: u32| i32::try_from(seconds).ok();
    let reason = |own: &Suppression| {
        let name = suppressor.map_or("", |suppressor| suppressor.alarm.as_str());
        let until = own
            .until
            .map_or_else(String::new, |until| until.to_string());
        match own.by {
            SuppressedBy::Alarm => format!("The suppressor alarm {name} is in the ALARM state"),
            SuppressedBy::ExtensionPeriod => {
                format!("The suppressor alarm {name} left the ALARM state; waiting until {until}")
            }
            SuppressedBy::WaitPeriod => {
                format!(
                    "Waiting until {until} for the suppressor alarm {name} to go into the ALARM state"
                )
            }
        }
    };
    CompositeAlarm {
        actions_enabled: Some(alarm.actions_enabled),
        alarm_actions: texts(&alarm.alarm_actions),
        alarm_arn: Some(alarm_arn(&context.caller(), &alarm.name).into()),
        alarm_configuration_updated_timestamp: Some(alarm.configured),
        alarm_description: alarm.description.as_deref().map(Text::from),
        alarm_name: Some(alarm.name.as_str().into()),
        alarm_rule: Some(rule.into()),
        insufficient_data_actions: texts(&alarm.insufficient_data_actions),
        ok_actions: texts(&alarm.ok_actions),
        state_reason: Some(alarm.reason.as_str().into()),
        state_reason_data: alarm.reason_data.as_deref().map(Text::from),
        state_updated_timestamp: Some(alarm.state_updated),
        state_value: Some(alarm.state.as_str().into()),
        state_transitioned_timestamp: Some(alarm.state_transitioned),
        actions_suppressed_by: suppression.map(|own| own.by.as_str().into()),
        actions_suppressed_reason: suppression.map(|own| reason(own).into()),
        actions_suppressor: suppressor.map(|own| own.given.as_str().into()),
        actions_suppressor_wait_period: suppressor.and_then(|own| period(own.wait_s)),
        actions_suppressor_extension_period: suppressor.and_then(|own| period(own.extension_s)),
    }
}
