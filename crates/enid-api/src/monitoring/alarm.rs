//! Alarms: PutMetricAlarm, PutCompositeAlarm, DeleteAlarms, SetAlarmState and the switch of actions.

use std::collections::BTreeSet;

use enid_control::{PutAlarm, alarm_arn};
use enid_model::alarm::{
    AlarmQuery, AlarmRule, AlarmStat, AlarmState, Comparison, MetricRule, MissingData, Suppressor,
    Watched,
};
use enid_model::anomaly_detector::AnomalyDetector;
use enid_telemetry::metric::level::is_period;
use enid_telemetry::metric::query::{self, Of};
use enid_telemetry::metric::statistic::Statistic;

use super::data::{self, validation};
use super::metric::{bad_value, identity, unit};
use super::{Monitoring, anomaly_detector, failed, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    DeleteAlarmsRequest, DisableAlarmActionsRequest, EnableAlarmActionsRequest, MetricDataQuery,
    PutCompositeAlarmRequest, PutMetricAlarmRequest, SetAlarmStateRequest,
};
use crate::generated::cloudwatch::response::{
    DeleteAlarmsResponse, DisableAlarmActionsResponse, EnableAlarmActionsResponse,
    PutCompositeAlarmResponse, PutMetricAlarmResponse, SetAlarmStateResponse,
};

/// Alarms of one request.
const NAMES_MAX: usize = 100;
/// Queries of metrics of one alarm.
const METRICS_MAX: usize = 10;
/// Seconds that the periods of an alarm may have together.
const WINDOW_MAX_S: i64 = 604_800;
/// The same for periods below an hour.
const SHORT_WINDOW_MAX_S: i64 = 86_400;

/// PutMetricAlarm.
pub(super) async fn put_metric_alarm(
    monitoring: &Monitoring,
    context: &Context,
    request: PutMetricAlarmRequest,
) -> Result<PutMetricAlarmResponse, ApiError> {
    let description = description(request.alarm_description.clone())?;
    let actions_enabled = request.actions_enabled.unwrap_or(true);
    let tags = tag::tags(request.tags.clone())?;
    let name = request.alarm_name.clone();
    let ok_actions = request.ok_actions.clone();
    let alarm_actions = request.alarm_actions.clone();
    let insufficient_data_actions = request.insufficient_data_actions.clone();
    let (rule, detector) = rule(request)?;
    let caller = context.caller();
    if let Some((name, detector)) = &detector {
        let needed = monitoring
            .control
            .need_anomaly_detector(&caller, name, detector);
        needed.await.map_err(failed)?;
    }
    let input = PutAlarm {
        name,
        description,
        actions_enabled,
        ok_actions,
        alarm_actions,
        insufficient_data_actions,
        suppressor: None,
        rule: AlarmRule::Metric(rule),
        tags,
    };
    let put = monitoring.control.put_alarm(&caller, &input);
    put.await.map_err(failed)?;
    Ok(PutMetricAlarmResponse {})
}

/// PutCompositeAlarm.
pub(super) async fn put_composite_alarm(
    monitoring: &Monitoring,
    context: &Context,
    request: PutCompositeAlarmRequest,
) -> Result<PutCompositeAlarmResponse, ApiError> {
    let suppressor = suppressor(
        context,
        request.actions_suppressor,
        request.actions_suppressor_wait_period,
        request.actions_suppressor_extension_period,
    )?;
    let input = PutAlarm {
        name: request.alarm_name,
        description: description(request.alarm_description)?,
        actions_enabled: request.actions_enabled.unwrap_or(true),
        ok_actions: request.ok_actions,
        alarm_actions: request.alarm_actions,
        insufficient_data_actions: request.insufficient_data_actions,
        suppressor,
        rule: AlarmRule::Composite(request.alarm_rule),
        tags: tag::tags(request.tags)?,
    };
    let caller = context.caller();
    let put = monitoring.control.put_alarm(&caller, &input);
    put.await.map_err(failed)?;
    Ok(PutCompositeAlarmResponse {})
}

/// What keeps a composite alarm from its actions: all three or none.
fn suppressor(
    context: &Context,
    given: Option<String>,
    wait: Option<i32>,
    extension: Option<i32>,
) -> Result<Option<Suppressor>, ApiError> {
    let seconds = |seconds: i32, name: &str| {
        u32::try_from(seconds).map_err(|_negative| bad_value(&seconds.to_string(), name))
    };
    match (given, wait, extension) {
        (None, None, None) => Ok(None),
        (Some(given), Some(wait), Some(extension)) => {
            let prefix = alarm_arn(&context.caller(), "");
            let name = given.strip_prefix(prefix.as_str()).unwrap_or(&given);
            Ok(Some(Suppressor {
                alarm: name.to_owned(),
                wait_s: seconds(wait, "ActionsSuppressorWaitPeriod")?,
                extension_s: seconds(extension, "ActionsSuppressorExtensionPeriod")?,
                given,
            }))
        }
        _ => Err(failed(enid_control::AlarmError::SuppressorPeriods.into())),
    }
}

fn description(text: Option<String>) -> Result<Option<String>, ApiError> {
    match &text {
        Some(long) if long.chars().count() > 1024 => Err(validation(
            "The alarm description must not be longer than 1024 characters.".to_owned(),
        )),
        _ => Ok(text),
    }
}

/// The detector of an alarm's band, with what it is kept under.
type Detector = (String, AnomalyDetector);

/// What a metric alarm watches, and the detector that it needs.
fn rule(request: PutMetricAlarmRequest) -> Result<(MetricRule, Option<Detector>), ApiError> {
    let missing = |name: &str| {
        let message = format!("The parameter {name} is required.");
        ApiError::new("MissingParameter", 400, message)
    };
    let comparison = request.comparison_operator.as_deref();
    let comparison = comparison.ok_or_else(|| missing("ComparisonOperator"))?;
    let comparison =
        Comparison::named(comparison).ok_or_else(|| bad_value(comparison, "ComparisonOperator"))?;
    let (threshold, threshold_metric) = match (request.threshold, request.threshold_metric_id) {
        (Some(_), Some(_)) => {
            return Err(validation(
                "The parameters Threshold and ThresholdMetricId are mutually exclusive and you have specified both."
                    .to_owned(),
            ));
        }
        (_, None) if comparison.is_of_band() => {
            return Err(validation(
                "ComparisonOperators for ranges require ThresholdMetricId to be set".to_owned(),
            ));
        }
        (None, None) => return Err(missing("Threshold")),
        (None, Some(_)) if !comparison.is_of_band() => {
            return Err(validation(
                "ThresholdMetricId requires a ComparisonOperator for ranges".to_owned(),
            ));
        }
        (None, Some(id)) => (0.0, Some(id)),
        (Some(threshold), None) if !threshold.is_finite() => {
            return Err(bad_value(&threshold.to_string(), "Threshold"));
        }
        (Some(threshold), None) => (threshold, None),
    };
    let mut detector = None;
    let treat_missing = match request.treat_missing_data.as_deref() {
        None => MissingData::Missing,
        Some(name) => {
            MissingData::named(name).ok_or_else(|| bad_value(name, "TreatMissingData"))?
        }
    };
    let ignores_low_samples = match request.evaluate_low_sample_count_percentile.as_deref() {
        None => None,
        Some("evaluate") => Some(false),
        Some("ignore") => Some(true),
        Some(other) => return Err(bad_value(other, "EvaluateLowSampleCountPercentile")),
    };
    let periods = request.evaluation_periods;
    let evaluation_periods =
        count(periods, "EvaluationPeriods")?.ok_or_else(|| missing("EvaluationPeriods"))?;
    let datapoints_to_alarm = count(request.datapoints_to_alarm, "DatapointsToAlarm")?;
    if datapoints_to_alarm.is_some_and(|of| of > evaluation_periods) {
        return Err(validation(
            "DatapointsToAlarm must be less than or equal to EvaluationPeriods.".to_owned(),
        ));
    }
    let single = [
        ("MetricName", request.metric_name.is_some()),
        ("Namespace", request.namespace.is_some()),
        ("Statistic", request.statistic.is_some()),
        ("ExtendedStatistic", request.extended_statistic.is_some()),
        ("Dimensions", !request.dimensions.is_empty()),
        ("Period", request.period.is_some()),
        ("Unit", request.unit.is_some()),
    ];
    let (watched, period_s) = match request.metrics.is_empty() {
        false => {
            if let Some((name, _)) = single.iter().find(|(_, given)| *given) {
                return Err(validation(format!(
                    "The parameters Metrics and {name} are mutually exclusive and you have specified both."
                )));
            }
            let band = threshold_metric.as_deref();
            let (watched, period_s, needed) = queries(request.metrics, band)?;
            detector = needed;
            (watched, period_s)
        }
        true if threshold_metric.is_some() => return Err(missing("Metrics")),
        true => {
            let namespace = request.namespace.ok_or_else(|| missing("Namespace"))?;
            let name = request.metric_name.ok_or_else(|| missing("MetricName"))?;
            let statistic = match (request.statistic, request.extended_statistic) {
                (Some(statistic), None) => statistic,
                (None, Some(statistic)) => {
                    let known = Statistic::extended(&statistic);
                    known.ok_or_else(|| bad_value(&statistic, "ExtendedStatistic"))?;
                    statistic
                }
                _ => {
                    return Err(validation(
                        "Exactly one of the parameters Statistic and ExtendedStatistic must be specified."
                            .to_owned(),
                    ));
                }
            };
            let period_s = i64::from(request.period.ok_or_else(|| missing("Period"))?);
            let stat = stat(namespace, name, request.dimensions, statistic, request.unit)?;
            (Watched::Stat(stat), period_s)
        }
    };
    if !is_period(period_s) || matches!(period_s, 1 | 5) {
        return Err(validation(
            "Period must be 10, 20, 30 or a multiple of 60.".to_owned(),
        ));
    }
    let window = period_s * i64::from(evaluation_periods);
    let most = match period_s < 3600 {
        true => SHORT_WINDOW_MAX_S,
        false => WINDOW_MAX_S,
    };
    if window > most {
        return Err(validation(format!(
            "Metrics cannot be checked across more than {most} seconds: EvaluationPeriods * Period must be <= {most}."
        )));
    }
    let rule = MetricRule {
        watched,
        period_s,
        evaluation_periods,
        datapoints_to_alarm,
        threshold,
        threshold_metric,
        comparison,
        missing: treat_missing,
        ignores_low_samples,
    };
    Ok((rule, detector))
}

/// A number of periods, which is at least one.
fn count(number: Option<i32>, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(number) = number else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(bad_value(&number.to_string(), name)),
    }
}

/// A statistic of a metric as it is kept.
pub(super) fn stat(
    namespace: String,
    name: String,
    dimensions: Vec<crate::generated::cloudwatch::request::Dimension>,
    statistic: String,
    of_unit: Option<String>,
) -> Result<AlarmStat, ApiError> {
    unit(of_unit.as_deref())?;
    let metric = identity(namespace, name, dimensions)?;
    Ok(AlarmStat {
        dimensions: metric.dimensions().to_vec(),
        namespace: metric.namespace,
        name: metric.name,
        statistic,
        unit: of_unit,
    })
}

/// The queries of an alarm, their period, and the detector of the band that one of them may be.
fn queries(
    queries: Vec<MetricDataQuery>,
    band: Option<&str>,
) -> Result<(Watched, i64, Option<Detector>), ApiError> {
    let read: Vec<query::Query> = queries
        .iter()
        .cloned()
        .map(data::read)
        .collect::<Result<_, _>>()?;
    query::check(&read).map_err(data::refused)?;
    let mut periods = BTreeSet::new();
    let mut metrics = 0;
    for query in &read {
        match &query.of {
            Of::Metric(stat) => {
                metrics += 1;
                periods.insert(stat.period_s);
            }
            Of::Expression(expression, period) => {
                if expression.calls("SEARCH") {
                    let message = "SEARCH is not supported in alarms.";
                    return Err(validation(message.to_owned()));
                }
                periods.extend(*period);
            }
        }
    }
    if metrics > METRICS_MAX {
        let message = format!("An alarm has at most {METRICS_MAX} metrics.");
        return Err(validation(message));
    }
    let kept = kept(queries, &read)?;
    let detector = match band {
        Some(band) => Some(anomaly_detector::of_band(band, &kept, &read)?),
        None => None,
    };
    // What is returned beside a band is what is compared with it.
    let returned = kept.iter().filter(|query| Some(query.id.as_str()) != band);
    let returned = returned.filter(|query| query.return_data.unwrap_or(kept.len() == 1));
    if returned.count() != 1 {
        return Err(validation(
            "Exactly one of the metrics must return data: ReturnData.".to_owned(),
        ));
    }
    let mut periods = periods.into_iter();
    match (periods.next(), periods.next()) {
        (Some(period_s), None) => Ok((Watched::Queries(kept), period_s, detector)),
        _ => Err(validation(
            "The metrics of an alarm must all have the same period.".to_owned(),
        )),
    }
}

/// Queries as they are kept, beside what was read of them.
pub(super) fn kept(
    queries: Vec<MetricDataQuery>,
    read: &[query::Query],
) -> Result<Vec<AlarmQuery>, ApiError> {
    let kept = queries.into_iter().zip(read).map(|(query, read)| {
        let stat = match query.metric_stat {
            Some(stat) => Some(self::stat(
                stat.metric.namespace.unwrap_or_default(),
                stat.metric.metric_name.unwrap_or_default(),
                stat.metric.dimensions,
                stat.stat,
                stat.unit,
            )?),
            None => None,
        };
        let period_s = match &read.of {
            Of::Metric(stat) => Some(stat.period_s),
            Of::Expression(_, period) => *period,
        };
        Ok(AlarmQuery {
            id: query.id,
            label: query.label,
            return_data: query.return_data,
            period_s,
            expression: query.expression,
            stat,
        })
    });
    kept.collect()
}

/// DeleteAlarms.
pub(super) async fn delete_alarms(
    monitoring: &Monitoring,
    context: &Context,
    request: DeleteAlarmsRequest,
) -> Result<DeleteAlarmsResponse, ApiError> {
    names(&request.alarm_names)?;
    let caller = context.caller();
    let deleted = monitoring
        .control
        .delete_alarms(&caller, &request.alarm_names);
    deleted.await.map_err(failed)?;
    Ok(DeleteAlarmsResponse {})
}

/// EnableAlarmActions.
pub(super) async fn enable_alarm_actions(
    monitoring: &Monitoring,
    context: &Context,
    request: EnableAlarmActionsRequest,
) -> Result<EnableAlarmActionsResponse, ApiError> {
    names(&request.alarm_names)?;
    let (caller, control) = (context.caller(), &monitoring.control);
    let done = control.enable_alarm_actions(&caller, &request.alarm_names, true);
    done.await.map_err(failed)?;
    Ok(EnableAlarmActionsResponse {})
}

/// DisableAlarmActions.
pub(super) async fn disable_alarm_actions(
    monitoring: &Monitoring,
    context: &Context,
    request: DisableAlarmActionsRequest,
) -> Result<DisableAlarmActionsResponse, ApiError> {
    names(&request.alarm_names)?;
    let (caller, control) = (context.caller(), &monitoring.control);
    let done = control.enable_alarm_actions(&caller, &request.alarm_names, false);
    done.await.map_err(failed)?;
    Ok(DisableAlarmActionsResponse {})
}

/// The names of a request are not too many.
pub(super) fn names(names: &[String]) -> Result<(), ApiError> {
    match names.len() <= NAMES_MAX {
        true => Ok(()),
        false => Err(validation(format!(
            "The collection AlarmNames must not have a size greater than {NAMES_MAX}."
        ))),
    }
}

/// SetAlarmState.
pub(super) async fn set_alarm_state(
    monitoring: &Monitoring,
    context: &Context,
    request: SetAlarmStateRequest,
) -> Result<SetAlarmStateResponse, ApiError> {
    let state = AlarmState::named(&request.state_value);
    let state = state.ok_or_else(|| bad_value(&request.state_value, "StateValue"))?;
    if request.state_reason.chars().count() > 1023 {
        let message = "The state reason must not be longer than 1023 characters.";
        return Err(validation(message.to_owned()));
    }
    if let Some(data) = &request.state_reason_data {
        let is_json = serde_json::from_str::<serde_json::Value>(data).is_ok();
        if !is_json || data.len() > 4000 {
            let message = "StateReasonData is not valid JSON of at most 4000 characters.";
            return Err(ApiError::new("InvalidFormat", 400, message.to_owned()));
        }
    }
    let caller = context.caller();
    let set = monitoring.control.set_alarm_state(
        &caller,
        &request.alarm_name,
        state,
        &request.state_reason,
        request.state_reason_data.as_deref(),
    );
    set.await.map_err(failed)?;
    Ok(SetAlarmStateResponse {})
}

#[cfg(test)]
mod tests {
    use enid_telemetry::alarm::watch;

    use super::*;
    use crate::generated::cloudwatch::request::{Metric, MetricStat};

    fn request() -> PutMetricAlarmRequest {
        PutMetricAlarmRequest {
            alarm_name: "a".to_owned(),
            metric_name: Some("m".to_owned()),
            namespace: Some("N".to_owned()),
            statistic: Some("Sum".to_owned()),
            period: Some(60),
            evaluation_periods: Some(3),
            threshold: Some(1.0),
            comparison_operator: Some("GreaterThanThreshold".to_owned()),
            ..PutMetricAlarmRequest::default()
        }
    }

    fn query(id: &str, expression: Option<&str>, return_data: bool) -> MetricDataQuery {
        MetricDataQuery {
            id: id.to_owned(),
            expression: expression.map(str::to_owned),
            metric_stat: expression.is_none().then(|| MetricStat {
                metric: Metric {
                    namespace: Some("N".to_owned()),
                    metric_name: Some("m".to_owned()),
                    dimensions: Vec::new(),
                },
                period: 60,
                stat: "Sum".to_owned(),
                unit: None,
            }),
            return_data: Some(return_data),
            ..MetricDataQuery::default()
        }
    }

    fn math(metrics: Vec<MetricDataQuery>) -> PutMetricAlarmRequest {
        PutMetricAlarmRequest {
            metric_name: None,
            namespace: None,
            statistic: None,
            period: None,
            metrics,
            ..request()
        }
    }

    #[test]
    fn what_is_taken_can_be_evaluated() {
        let both = vec![query("m", None, false), query("e", Some("m*2"), true)];
        for request in [request(), math(both)] {
            let (rule, detector) = rule(request).unwrap();
            assert_eq!(detector, None);
            assert_eq!(rule.period_s, 60);
            assert!(watch::queries(&rule).is_ok());
        }
    }

    fn band(comparison: &str, expression: &str) -> PutMetricAlarmRequest {
        let band = query("b", Some(expression), true);
        PutMetricAlarmRequest {
            threshold: None,
            threshold_metric_id: Some("b".to_owned()),
            comparison_operator: Some(comparison.to_owned()),
            ..math(vec![query("m", None, true), band])
        }
    }

    #[test]
    fn a_band_has_a_detector() {
        let made = |expression: &str| {
            let (rule, detector) = rule(band("GreaterThanUpperThreshold", expression)).unwrap();
            assert_eq!(rule.threshold_metric.as_deref(), Some("b"));
            detector.unwrap()
        };
        let (name, detector) = made("ANOMALY_DETECTION_BAND(m, 3)");
        assert_eq!(name, r#"["N","m","Sum"]"#);
        assert!(matches!(detector.of, Watched::Stat(_)));
        let (name, detector) = made("ANOMALY_DETECTION_BAND(m*2)");
        let Watched::Queries(queries) = detector.of else {
            panic!("{name}");
        };
        let told = queries.iter().map(|query| {
            let expression = query.expression.as_deref().unwrap_or_default();
            format!("{} {expression} {:?}", query.id, query.return_data)
        });
        let told: Vec<String> = told.collect();
        assert_eq!(told, ["m  Some(false)", "e1 (m*2) Some(true)"]);
        // The same by other ids is the same.
        assert_eq!(made("ANOMALY_DETECTION_BAND(m * 2, 1)").0, name);
        assert_ne!(made("ANOMALY_DETECTION_BAND(m * 3)").0, name);
    }

    #[test]
    fn what_is_no_alarm_of_a_band() {
        const BAND: &str = "ANOMALY_DETECTION_BAND(m)";
        type Change = fn(&mut PutMetricAlarmRequest);
        let changes: [(&str, Change, &str); 6] = [
            (
                BAND,
                |it| it.threshold_metric_id = None,
                "ValidationError: ComparisonOperators for ranges require ThresholdMetricId to be set",
            ),
            (
                BAND,
                |it| it.comparison_operator = Some("LessThanThreshold".to_owned()),
                "ValidationError: ThresholdMetricId requires",
            ),
            (
                BAND,
                |it| it.threshold = Some(1.0),
                "ValidationError: The parameters Threshold and ThresholdMetricId are mutually",
            ),
            (
                BAND,
                |it| it.threshold_metric_id = Some("m".to_owned()),
                "ValidationError: ThresholdMetricId must be the id of",
            ),
            (
                BAND,
                |it| it.metrics = Vec::new(),
                "MissingParameter: The parameter Metrics is required.",
            ),
            (
                "ANOMALY_DETECTION_BAND(METRICS())",
                |_| (),
                "ValidationError: Error in expression 'b'",
            ),
        ];
        for (expression, change, wanted) in changes {
            let mut changed = band("LessThanLowerThreshold", expression);
            change(&mut changed);
            let error = rule(changed).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        type Change = fn(&mut PutMetricAlarmRequest);
        let changes: [(Change, &str); 9] = [
            (
                |it| it.threshold = None,
                "MissingParameter: The parameter Threshold is required.",
            ),
            (
                |it| it.statistic = None,
                "ValidationError: Exactly one of the parameters Statistic and ExtendedStatistic",
            ),
            (|it| it.period = Some(5), "ValidationError: Period must be"),
            (
                |it| it.evaluation_periods = Some(1441),
                "ValidationError: Metrics cannot be checked across more than 86400 seconds",
            ),
            (
                |it| it.datapoints_to_alarm = Some(4),
                "ValidationError: DatapointsToAlarm must be",
            ),
            (
                |it| it.evaluation_periods = Some(0),
                "InvalidParameterValue: The value 0 for parameter EvaluationPeriods",
            ),
            (
                |it| it.treat_missing_data = Some("x".to_owned()),
                "InvalidParameterValue: The value x for parameter TreatMissingData",
            ),
            (
                |it| it.unit = Some("x".to_owned()),
                "InvalidParameterValue: The value x for parameter Unit",
            ),
            (
                |it| it.metrics = vec![query("m", None, true)],
                "ValidationError: The parameters Metrics and MetricName are mutually exclusive",
            ),
        ];
        for (change, wanted) in changes {
            let mut changed = request();
            change(&mut changed);
            let error = rule(changed).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
        for (metrics, wanted) in [
            (
                vec![query("m", None, false)],
                "ValidationError: Exactly one of the metrics",
            ),
            (
                vec![query("e", Some("SEARCH('{N} m', 'Sum', 60)"), true)],
                "ValidationError: SEARCH is not supported in alarms.",
            ),
            (
                vec![query("e", Some("x+1"), true)],
                "ValidationError: Error in expression 'e'",
            ),
        ] {
            let error = rule(math(metrics)).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
