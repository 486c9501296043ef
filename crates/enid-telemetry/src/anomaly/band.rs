//! The band of a metric or of an expression: what is learned, from when to when, and what it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_model::key::Scope;
use enid_model::time::Timestamp;
use sha2::{Digest as _, Sha256};

use super::models::Of as Key;
use super::{Model, Settings, Training};
use crate::math::evaluate::MathError;
use crate::math::parse::Expression;
use crate::math::value::Series;
use crate::metric::database::Metrics;
use crate::metric::level;
use crate::metric::query::{self, MetricStat, Of, Query, QueryError};

/// What a model learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What detectors of it are kept under. Two requests that mean the same name it alike, whatever ids
    /// they use.
    pub name: String,
    /// The queries that it is made of.
    pub ids: BTreeSet<String>,
}

/// The function that makes bands.
pub const FUNCTION: &str = "ANOMALY_DETECTION_BAND";

/// How much of the past is learned: what AWS learns.
const PAST_MS: i64 = 14 * 24 * 3_600_000;
/// A model learns again each hour, and while it has seen little each five minutes.
const OFTEN_S: i64 = 300;
const SELDOM_S: i64 = 3600;

/// What the model of an argument of the function learns.
pub fn subject(queries: &[Query], argument: &Expression) -> Result<Subject, MathError> {
    let wrong = || MathError::Arguments(FUNCTION.to_owned());
    let mut names = Names {
        queries,
        known: BTreeMap::new(),
    };
    let found = match argument {
        Expression::Name(id) => names.of_query(id)?,
        other => names.of_expression(other)?,
    };
    let ids: BTreeSet<String> = names.known.into_keys().collect();
    // A band of a band, or of whatever metrics there are, has no past of its own.
    let used = queries.iter().filter(|query| ids.contains(&query.id));
    let expressions = used.filter_map(|query| match &query.of {
        Of::Expression(expression, _) => Some(expression),
        Of::Metric(_) => None,
    });
    let refused = [FUNCTION, "METRICS", "SEARCH"];
    let is_refused = |expression: &Expression| refused.iter().any(|name| expression.calls(name));
    if is_refused(argument) || expressions.into_iter().any(is_refused) {
        return Err(wrong());
    }
    Ok(Subject { name: found, ids })
}

/// The names of queries, by their ids.
struct Names<'a> {
    queries: &'a [Query],
    known: BTreeMap<String, String>,
}

impl Names<'_> {
    fn of_query(&mut self, id: &str) -> Result<String, MathError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let query = self.queries.iter().find(|query| query.id == id);
        let query = query.ok_or_else(|| MathError::UnknownId(id.to_owned()))?;
        let name = match &query.of {
            Of::Metric(stat) => of_metric(stat),
            // Queries have been held against `check`: none refers to itself.
            Of::Expression(expression, _) => self.of_expression(expression)?,
        };
        self.known.insert(id.to_owned(), name.clone());
        Ok(name)
    }

    /// A digest: the names of what an expression refers to may be long, and each may be there often.
    fn of_expression(&mut self, expression: &Expression) -> Result<String, MathError> {
        let mut parts = BTreeMap::new();
        for id in expression.references() {
            let query = self.queries.iter().find(|query| query.id == id);
            let period_s = query.and_then(|query| match &query.of {
                Of::Metric(stat) => Some(stat.period_s),
                Of::Expression(..) => None,
            });
            let name = self.of_query(id)?;
            parts.insert(id, format!("{name} {}", period_s.unwrap_or(0)));
        }
        let shown = expression.shown(&|id| match parts.get(id) {
            Some(name) => name.clone(),
            None => id.to_owned(),
        });
        let digest = Sha256::digest(shown.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("math {hex}"))
    }
}

/// The name of a statistic of a metric, whatever the period.
fn of_metric(stat: &MetricStat) -> String {
    let mut parts = vec![
        stat.metric.namespace.clone(),
        stat.metric.name.clone(),
        stat.statistic.to_string(),
    ];
    for (name, value) in stat.metric.dimensions() {
        parts.extend([name.clone(), value.clone()]);
    }
    serde_json::Value::from(parts).to_string()
}

/// What is asked for, as the run of its request sees it.
pub(crate) struct Asked<'a> {
    pub metrics: &'a Metrics,
    pub scope: &'a Scope,
    pub queries: &'a [Query],
    pub argument: &'a Expression,
    pub settings: &'a dyn super::Detectors,
    pub period_s: i64,
}

/// The upper and the lower bound at these times.
pub(crate) fn band(
    asked: &Asked<'_>,
    deviations: f64,
    times: &[i64],
) -> Result<[Series; 2], QueryError> {
    let model = model(asked)?;
    let mut bounds = [Series::default(), Series::default()];
    for time in times {
        if let Some((lower, upper)) = model.band(*time, deviations) {
            for (series, bound) in bounds.iter_mut().zip([upper, lower]) {
                if bound.is_finite() {
                    series.points.insert(*time, bound);
                }
            }
        }
    }
    Ok(bounds)
}

/// How much the model of a detector has seen.
pub fn training(
    metrics: &Metrics,
    scope: &Scope,
    queries: &[Query],
    id: &str,
    settings: &dyn super::Detectors,
) -> Result<Training, QueryError> {
    let argument = Expression::Name(id.to_owned());
    let asked = Asked {
        metrics,
        scope,
        queries,
        argument: &argument,
        settings,
        period_s: query::period_for(queries, &argument),
    };
    Ok(model(&asked)?.training())
}

/// The model of what is asked for, trained up to the last whole hour; or, until that is enough, up to the
/// last whole five minutes.
fn model(asked: &Asked<'_>) -> Result<Arc<Model>, QueryError> {
    let math = |error| QueryError::Math(FUNCTION.to_owned(), error);
    let subject = subject(asked.queries, asked.argument).map_err(math)?;
    let settings = asked.settings.settings(&subject.name);
    let period_ms = asked.period_s * 1000;
    let key = Key {
        scope: (
            asked.scope.account.to_string(),
            asked.scope.region.as_str().to_owned(),
        ),
        name: subject.name,
        settings: settings.clone(),
        period_s: asked.period_s,
    };
    let now = asked.metrics.now();
    let seldom = level::floor(now, SELDOM_S).0;
    let models = asked.metrics.models();
    if let Some(model) = models.get(&key, seldom)
        && model.training() == Training::Trained
    {
        return Ok(model);
    }
    let often = level::floor(now, OFTEN_S).0;
    if let Some(model) = models.get(&key, often) {
        return Ok(model);
    }
    // Whole periods, wherever the request's start: what is learned goes by the middle of each.
    let end = often.div_euclid(period_ms) * period_ms;
    let count = PAST_MS / period_ms;
    let start = end - count * period_ms;
    let mut points = past(asked, start, end)?;
    let model = Model::train(&points, asked.period_s, &settings);
    let (until, model) = match model.training() {
        Training::Trained => {
            points.retain(|time, _| time + period_ms <= seldom);
            (seldom, trained(&points, asked.period_s, &settings, model))
        }
        Training::Insufficient | Training::Pending => (often, model),
    };
    let model = Arc::new(model);
    if model.training() != Training::Pending {
        models.put(key, until, Arc::clone(&model));
    }
    Ok(model)
}

/// The model of whole hours, if that is as much as with the minutes after them.
fn trained(
    points: &BTreeMap<i64, f64>,
    period_s: i64,
    settings: &Settings,
    with_minutes: Model,
) -> Model {
    let hours = Model::train(points, period_s, settings);
    match hours.training() {
        Training::Trained => hours,
        Training::Insufficient | Training::Pending => with_minutes,
    }
}

fn past(asked: &Asked<'_>, start: i64, end: i64) -> Result<BTreeMap<i64, f64>, QueryError> {
    let (start, end) = (Timestamp(start), Timestamp(end));
    let value = query::value(
        asked.metrics,
        asked.scope,
        asked.queries,
        asked.argument,
        asked.period_s,
        start..end,
    )?;
    match value {
        crate::math::value::Value::Series(series) => Ok(series.points),
        _ => {
            let error = MathError::Arguments(FUNCTION.to_owned());
            Err(QueryError::Math(FUNCTION.to_owned(), error))
        }
    }
}
