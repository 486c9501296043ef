//! What an alarm sees when it looks at its metric, and what it makes of it.

use enid_model::alarm::{Alarm, AlarmQuery, AlarmStat, AlarmState, MetricRule, Watched};
use enid_model::key::Scope;
use enid_model::time::Timestamp;

use super::evaluate::{BEYOND, Quorum, state};
use super::reason::{self, Seen};
use crate::anomaly::Detectors;
use crate::metric::database::Metrics;
use crate::metric::identity::Identity;
use crate::metric::level;
use crate::metric::query::{self, Answer, MetricStat, Of, Query, QueryError};
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
    detectors: &dyn Detectors,
    alarm: &Alarm,
    rule: &MetricRule,
) -> Result<Option<Verdict>, QueryError> {
    let now = metrics.now();
    // Whole periods only: the present one is not over.
    let end = level::floor(now, if rule.period_s < 60 { 10 } else { 60 });
    let of = rule.evaluation_periods;
    let count = i64::from(of + BEYOND);
    let start = Timestamp(end.0 - count * rule.period_s * 1000);
    let mut queries = queries(rule)?;
    let band = rule.threshold_metric.as_deref();
    for query in &mut queries {
        query.return_data |= Some(query.id.as_str()) == band;
    }
    query::check(&queries)?;
    let answers = query::run(metrics, scope, detectors, &queries, start..end)?;
    let (bounds, watched): (Vec<Answer>, Vec<Answer>) = answers
        .into_iter()
        .partition(|answer| Some(answer.id.as_str()) == band);
    let watched = watched.into_iter().next().map(|answer| answer.points);
    let watched = watched.unwrap_or_default();
    let at = |points: &[(Timestamp, f64)], time: Timestamp| {
        let found = points.iter().find(|(at, _)| *at == time);
        found.map(|(_, value)| *value)
    };
    let periods: Vec<Option<Seen>> = (0..count)
        .map(|number| {
            let time = Timestamp(start.0 + number * rule.period_s * 1000);
            let bounds = match (band, bounds.as_slice()) {
                (None, _) => (rule.threshold, rule.threshold),
                (Some(_), [upper, lower]) => (at(&lower.points, time)?, at(&upper.points, time)?),
                // A value is nothing where nothing is expected.
                (Some(_), _) => return None,
            };
            let value = at(&watched, time)?;
            Some(Seen {
                time,
                value,
                bounds,
            })
        })
        .collect();
    if rule.ignores_low_samples == Some(true)
        && has_low_samples(metrics, scope, rule, &periods, start, end)?
    {
        return Ok(None);
    }
    Ok(judge(alarm, rule, &periods, now))
}

/// What periods, the oldest first, make of an alarm.
fn judge(
    alarm: &Alarm,
    rule: &MetricRule,
    periods: &[Option<Seen>],
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
        .map(|period| period.map(|seen| seen.is_breaching(rule)))
        .collect();
    let state = state(&breaches, quorum, rule.missing)?;
    let real = periods.iter().rev().flatten().copied();
    let newest: Vec<Seen> = real.take(of).collect();
    Some(Verdict {
        state,
        reason: reason::words(alarm.state, state, rule, quorum, &newest),
        reason_data: reason::data(rule, &newest, now),
    })
}

/// Whether one of the values that would decide is a percentile of too few.
fn has_low_samples(
    metrics: &Metrics,
    scope: &Scope,
    rule: &MetricRule,
    periods: &[Option<Seen>],
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
    let deciding = periods.iter().rev().flatten();
    let of = usize::try_from(rule.evaluation_periods).unwrap_or(1);
    let mut deciding = deciding.take(of);
    Ok(deciding.any(|seen| {
        let count = counts.points.get(&seen.time.0);
        count.is_some_and(|count| *count < enough)
    }))
}

/// The queries of an alarm; only one of them returns data.
pub fn queries(rule: &MetricRule) -> Result<Vec<Query>, QueryError> {
    queries_of(&rule.watched, rule.period_s)
}

/// The queries of what is watched; a statistic of a metric becomes one, `m1`, of this period.
pub fn queries_of(watched: &Watched, period_s: i64) -> Result<Vec<Query>, QueryError> {
    match watched {
        Watched::Stat(stat) => Ok(vec![Query {
            id: "m1".to_owned(),
            label: None,
            return_data: true,
            of: Of::Metric(metric_stat(stat, period_s)?),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enid_model::alarm::{AlarmRule, Comparison, MissingData};
    use enid_model::key::{AccountId, RegionName};
    use enid_model::time::Clock;
    use serde_json::json;

    use super::*;
    use crate::anomaly::NoDetectors;
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
            threshold_metric: None,
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
        look(&metrics, &scope(), &NoDetectors, &alarm, rule).unwrap()
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

    #[test]
    fn a_band_is_a_threshold() {
        let query = |id: &str, expression: Option<&str>| AlarmQuery {
            id: id.to_owned(),
            label: None,
            return_data: Some(true),
            period_s: expression.is_none().then_some(60),
            expression: expression.map(str::to_owned),
            stat: expression.is_none().then(|| AlarmStat {
                namespace: "N".to_owned(),
                name: "m".to_owned(),
                dimensions: Vec::new(),
                statistic: "Sum".to_owned(),
                unit: None,
            }),
        };
        let of = |comparison| MetricRule {
            watched: Watched::Queries(vec![
                query("m", None),
                query("b", Some("ANOMALY_DETECTION_BAND(m, 2)")),
            ]),
            threshold_metric: Some("b".to_owned()),
            comparison,
            evaluation_periods: 1,
            ..rule("Sum")
        };
        let past: Vec<(i64, f64)> = (2..=60).map(|ago| (ago, 100.0)).collect();
        for (last, above, either, below) in [
            (100.0, false, false, false),
            (103.0, true, true, false),
            (97.0, false, true, true),
        ] {
            let mut minutes = past.clone();
            minutes.push((1, last));
            for (comparison, wanted) in [
                (Comparison::GreaterThanUpperThreshold, above),
                (Comparison::LessThanLowerOrGreaterThanUpperThreshold, either),
                (Comparison::LessThanLowerThreshold, below),
            ] {
                let found = looked(&of(comparison), &minutes).unwrap();
                let is_alarm = found.state == AlarmState::Alarm;
                assert_eq!(is_alarm, wanted, "{last} {comparison}: {}", found.reason);
            }
        }
        let mut minutes = past;
        minutes.push((1, 103.0));
        let found = looked(&of(Comparison::GreaterThanUpperThreshold), &minutes).unwrap();
        assert_eq!(
            found.reason,
            "Thresholds Crossed: 1 out of the last 1 datapoint [103.0 (02/01/26 03:03:00)] was greater than the upper thresholds [102.0] (minimum 1 datapoint for OK -> ALARM transition)."
        );
        let data: serde_json::Value = serde_json::from_str(&found.reason_data).unwrap();
        assert_eq!(data["recentLowerThresholds"], json!([98.0]));
        assert_eq!(data["threshold"], json!(null));
        // Of a metric that is hardly known nothing is expected.
        let few = looked(&of(Comparison::GreaterThanUpperThreshold), &[(1, 103.0)]).unwrap();
        assert_eq!(few.state, AlarmState::InsufficientData);
    }
}
