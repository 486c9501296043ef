//! What an alarm sees when it looks at its metric, and what it makes of it.

use enid_model::alarm::{Alarm, AlarmQuery, AlarmStat, AlarmState, MetricRule, Watched};
use enid_model::key::Scope;
use enid_model::time::Timestamp;
use serde_json::json;

use super::evaluate::{BEYOND, Quorum, state};
use crate::metric::database::Metrics;
use crate::metric::identity::Identity;
use crate::metric::level;
use crate::metric::query::{self, MetricStat, Of, Query, QueryError};
use crate::metric::statistic::Statistic;
use crate::metric::unit::Unit;

/// What an alarm makes of its metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its state.
    pub state: AlarmState,
    /// Why, in words.
    pub reason: String,
    /// Why, in JSON.
    pub reason_data: String,
}

/// Looks at the metric of an alarm. `None`: its state stays what it is. Blocks.
pub fn look(
    metrics: &Metrics,
    scope: &Scope,
    alarm: &Alarm,
    rule: &MetricRule,
) -> Result<Option<Verdict>, QueryError> {
    let now = metrics.now();
    // Whole periods only: the present one is not over.
    let end = level::floor(now, if rule.period_s < 60 { 10 } else { 60 });
    let of = rule.evaluation_periods;
    let count = i64::from(of + BEYOND);
    let start = Timestamp(end.0 - count * rule.period_s * 1000);
    let queries = queries(rule)?;
    query::check(&queries)?;
    let answers = query::run(metrics, scope, &queries, start, end)?;
    let points = answers.into_iter().next().map(|answer| answer.points);
    let points = points.unwrap_or_default();
    let periods: Vec<(Timestamp, Option<f64>)> = (0..count)
        .map(|number| {
            let time = Timestamp(start.0 + number * rule.period_s * 1000);
            let value = points.iter().find(|(at, _)| *at == time);
            (time, value.map(|(_, value)| *value))
        })
        .collect();
    if rule.ignores_low_samples == Some(true)
        && has_low_samples(metrics, scope, rule, &periods, start, end)?
    {
        return Ok(None);
    }
    Ok(judge(alarm, rule, &periods, now))
}

/// What the values of periods make of an alarm.
fn judge(
    alarm: &Alarm,
    rule: &MetricRule,
    periods: &[(Timestamp, Option<f64>)],
    now: Timestamp,
) -> Option<Verdict> {
    let of = usize::try_from(rule.evaluation_periods).unwrap_or(1);
    let breaching = rule.datapoints_to_alarm.unwrap_or(rule.evaluation_periods);
    let quorum = Quorum {
        breaching: usize::try_from(breaching).unwrap_or(1),
        of,
    };
    let breaches: Vec<Option<bool>> = periods
        .iter()
        .map(|(_, value)| value.map(|value| rule.comparison.is_breached(value, rule.threshold)))
        .collect();
    let state = state(&breaches, quorum, rule.missing)?;
    let real = periods.iter().rev().filter(|(_, value)| value.is_some());
    let newest: Vec<(Timestamp, f64)> = real
        .take(of)
        .filter_map(|(time, value)| Some((*time, (*value)?)))
        .collect();
    let statistic = match &rule.watched {
        Watched::Stat(stat) => Some(stat.statistic.as_str()),
        Watched::Queries(_) => None,
    };
    let reason_data = json!({
        "version": "1.0",
        "queryDate": iso(now),
        "startDate": newest.last().map(|(time, _)| iso(*time)),
        "statistic": statistic,
        "period": rule.period_s,
        "recentDatapoints": newest.iter().rev().map(|(_, value)| *value).collect::<Vec<f64>>(),
        "threshold": rule.threshold,
        "evaluatedDatapoints": newest
            .iter()
            .map(|(time, value)| json!({"timestamp": iso(*time), "value": value}))
            .collect::<Vec<_>>(),
    });
    Some(Verdict {
        state,
        reason: reason(alarm.state, state, rule, quorum, &newest),
        reason_data: reason_data.to_string(),
    })
}

/// Why, in AWS's words.
fn reason(
    from: AlarmState,
    to: AlarmState,
    rule: &MetricRule,
    quorum: Quorum,
    newest: &[(Timestamp, f64)],
) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let unknown = quorum.of.saturating_sub(newest.len());
    if to == AlarmState::InsufficientData {
        return format!(
            "Insufficient Data: {unknown} datapoint{} {} unknown.",
            plural(unknown),
            if unknown == 1 { "was" } else { "were" }
        );
    }
    let breaches = |value: f64| rule.comparison.is_breached(value, rule.threshold);
    let is_alarm = to == AlarmState::Alarm;
    let told: Vec<String> = newest
        .iter()
        .filter(|(_, value)| breaches(*value) == is_alarm)
        .map(|(time, value)| format!("{value:?} ({})", stamp(*time)))
        .collect();
    let transition = match is_alarm {
        true => format!(
            " (minimum {} datapoint{} for OK -> ALARM transition)",
            quorum.breaching,
            plural(quorum.breaching)
        ),
        false => {
            let least = quorum.of - quorum.breaching + 1;
            format!(
                " (minimum {least} datapoint{} for ALARM -> OK transition)",
                plural(least)
            )
        }
    };
    if told.is_empty() {
        let kind = match is_alarm {
            true => "Breaching",
            false => "NonBreaching",
        };
        return format!(
            "Threshold Crossed: no datapoints were received for {} period{} and {unknown} missing datapoint{} {} treated as [{kind}].",
            quorum.of,
            plural(quorum.of),
            plural(unknown),
            if unknown == 1 { "was" } else { "were" },
        );
    }
    // An alarm that was never OK has nothing to go back to; its transition is told all the same.
    let transition = if from == to {
        String::new()
    } else {
        transition
    };
    format!(
        "Threshold Crossed: {} out of the last {} datapoint{} [{}] {} {}{} the threshold ({:?}){transition}.",
        told.len(),
        quorum.of,
        plural(quorum.of),
        told.join(", "),
        if told.len() == 1 { "was" } else { "were" },
        if is_alarm { "" } else { "not " },
        rule.comparison.words(),
        rule.threshold,
    )
}

/// Whether one of the values that would decide is a percentile of too few.
fn has_low_samples(
    metrics: &Metrics,
    scope: &Scope,
    rule: &MetricRule,
    periods: &[(Timestamp, Option<f64>)],
    start: Timestamp,
    end: Timestamp,
) -> Result<bool, QueryError> {
    let Watched::Stat(stat) = &rule.watched else {
        return Ok(false);
    };
    let Some(Statistic::Percentile(percent)) = Statistic::parse(&stat.statistic) else {
        return Ok(false);
    };
    let share = percent / 100.0;
    let enough = 10.0 / if share >= 0.5 { 1.0 - share } else { share };
    let mut counted = metric_stat(stat, rule.period_s)?;
    counted.statistic = Statistic::SampleCount;
    let counts = query::series(metrics, scope, &counted, start, end).map_err(QueryError::Rows)?;
    let deciding = periods.iter().rev().filter(|(_, value)| value.is_some());
    let of = usize::try_from(rule.evaluation_periods).unwrap_or(1);
    let mut deciding = deciding.take(of);
    Ok(deciding.any(|(time, _)| {
        let count = counts.points.get(&time.0);
        count.is_some_and(|count| *count < enough)
    }))
}

/// The queries of an alarm; only one of them returns data.
pub fn queries(rule: &MetricRule) -> Result<Vec<Query>, QueryError> {
    match &rule.watched {
        Watched::Stat(stat) => Ok(vec![Query {
            id: "m1".to_owned(),
            label: None,
            return_data: true,
            of: Of::Metric(metric_stat(stat, rule.period_s)?),
        }]),
        Watched::Queries(queries) => queries
            .iter()
            .map(|query| one(query, queries.len()))
            .collect(),
    }
}

fn one(query: &AlarmQuery, count: usize) -> Result<Query, QueryError> {
    let of = match (&query.expression, &query.stat) {
        (Some(text), _) => Of::Expression(query::expression(&query.id, text)?, query.period_s),
        (None, Some(stat)) => Of::Metric(metric_stat(stat, query.period_s.unwrap_or(60))?),
        (None, None) => return Err(QueryError::Id(query.id.clone())),
    };
    Ok(Query {
        id: query.id.clone(),
        label: query.label.clone(),
        return_data: query.return_data.unwrap_or(count == 1),
        of,
    })
}

/// The statistic of a record, which was checked when the alarm was made.
fn metric_stat(stat: &AlarmStat, period_s: i64) -> Result<MetricStat, QueryError> {
    let unreadable = || QueryError::Id(stat.name.clone());
    let metric = Identity::new(
        stat.namespace.as_str(),
        stat.name.as_str(),
        stat.dimensions.clone(),
    );
    Ok(MetricStat {
        metric: metric.map_err(|_repeated| unreadable())?,
        period_s,
        statistic: Statistic::parse(&stat.statistic).ok_or_else(unreadable)?,
        unit: stat.unit.as_deref().and_then(Unit::named),
    })
}

/// `2026-01-02T03:04:05.000+0000`
fn iso(time: Timestamp) -> String {
    time.to_string().replace('Z', "+0000")
}

/// `02/01/26 03:04:05`
fn stamp(time: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!(
        "{day:02}/{month:02}/{:02} {hour:02}:{minute:02}:{second:02}",
        year % 100
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enid_model::alarm::{AlarmRule, Comparison, MissingData};
    use enid_model::key::{AccountId, RegionName};
    use enid_model::time::Clock;

    use super::*;
    use crate::metric::aggregate::Aggregate;
    use crate::metric::datum::Sample;
    use crate::metric::rows::Memory;

    const NOW: Timestamp = Timestamp(1_767_323_065_000);

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            NOW
        }
    }

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        }
    }

    fn rule(statistic: &str) -> MetricRule {
        MetricRule {
            watched: Watched::Stat(AlarmStat {
                namespace: "N".to_owned(),
                name: "m".to_owned(),
                dimensions: Vec::new(),
                statistic: statistic.to_owned(),
                unit: None,
            }),
            period_s: 60,
            evaluation_periods: 2,
            datapoints_to_alarm: None,
            threshold: 5.0,
            comparison: Comparison::GreaterThanThreshold,
            missing: MissingData::Missing,
            ignores_low_samples: None,
        }
    }

    fn looked(rule: &MetricRule, minutes: &[(i64, f64)]) -> Option<Verdict> {
        let metrics = Metrics::open(Arc::new(Memory::default()), Arc::new(Stopped)).unwrap();
        let samples = minutes.iter().map(|(ago, value)| Sample {
            metric: Identity::new("N", "m", Vec::new()).unwrap(),
            time: Timestamp(NOW.0 - ago * 60_000),
            unit: Unit::NONE,
            aggregate: Aggregate::value(*value),
            high_resolution: false,
        });
        metrics.put(&scope(), samples.collect()).unwrap();
        let alarm = Alarm {
            name: "a".to_owned(),
            description: None,
            actions_enabled: true,
            ok_actions: Vec::new(),
            alarm_actions: Vec::new(),
            insufficient_data_actions: Vec::new(),
            suppressor: None,
            suppression: None,
            rule: AlarmRule::Metric(rule.clone()),
            state: AlarmState::Ok,
            reason: String::new(),
            reason_data: None,
            state_updated: NOW,
            state_transitioned: NOW,
            configured: NOW,
            tags: enid_model::Tags::default(),
        };
        look(&metrics, &scope(), &alarm, rule).unwrap()
    }

    #[test]
    fn the_last_whole_periods_decide() {
        let found = looked(&rule("Sum"), &[(2, 6.0), (1, 7.0), (0, 0.0)]).unwrap();
        assert_eq!(found.state, AlarmState::Alarm);
        assert_eq!(
            found.reason,
            "Threshold Crossed: 2 out of the last 2 datapoints [7.0 (02/01/26 03:03:00), 6.0 (02/01/26 03:02:00)] were greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
        );
        let data: serde_json::Value = serde_json::from_str(&found.reason_data).unwrap();
        assert_eq!(data["recentDatapoints"], json!([6.0, 7.0]));
        let found = looked(&rule("Sum"), &[(2, 6.0), (1, 5.0)]).unwrap();
        assert_eq!(found.state, AlarmState::Ok);
        assert!(
            found
                .reason
                .contains("[5.0 (02/01/26 03:03:00)] was not greater than"),
            "{}",
            found.reason
        );
        let found = looked(&rule("Sum"), &[]).unwrap();
        assert_eq!(found.state, AlarmState::InsufficientData);
        assert_eq!(
            found.reason,
            "Insufficient Data: 2 datapoints were unknown."
        );
    }

    #[test]
    fn expressions_are_watched() {
        let query = |id: &str, expression: Option<&str>, return_data: bool| AlarmQuery {
            id: id.to_owned(),
            label: None,
            return_data: Some(return_data),
            period_s: Some(60),
            expression: expression.map(str::to_owned),
            stat: expression.is_none().then(|| AlarmStat {
                namespace: "N".to_owned(),
                name: "m".to_owned(),
                dimensions: Vec::new(),
                statistic: "Sum".to_owned(),
                unit: None,
            }),
        };
        let math = MetricRule {
            watched: Watched::Queries(vec![
                query("m", None, false),
                query("e", Some("m*10"), true),
            ]),
            ..rule("Sum")
        };
        assert_eq!(
            looked(&math, &[(2, 1.0), (1, 1.0)]).unwrap().state,
            AlarmState::Alarm
        );
        assert_eq!(
            looked(&math, &[(2, 1.0), (1, 0.1)]).unwrap().state,
            AlarmState::Ok
        );
    }

    #[test]
    fn percentiles_of_few_values_are_ignored_if_the_alarm_says_so() {
        let values = [(2, 9.0), (1, 9.0)];
        assert_eq!(
            looked(&rule("p90"), &values).unwrap().state,
            AlarmState::Alarm
        );
        let careful = MetricRule {
            ignores_low_samples: Some(true),
            ..rule("p90")
        };
        assert_eq!(looked(&careful, &values), None);
    }
}
