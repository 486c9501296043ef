//! Queries for metrics and expressions over them, several at a time, as GetMetricData and alarms make them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use enid_model::key::Scope;
use enid_model::time::Timestamp;

use super::aggregate::Aggregate;
use super::database::{Metrics, Selection};
use super::identity::Identity;
use super::level;
use super::statistic::Statistic;
use super::unit::Unit;
use crate::anomaly::{self, Detectors, NoDetectors};
use crate::math::evaluate::{MathError, Source, evaluate};
use crate::math::parse::{Expression, ParseError, is_id, parse};
use crate::math::search::Search;
use crate::math::value::{Series, Value};

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What others refer to it by.
    pub id: String,
    /// What its answer is called.
    pub label: Option<String>,
    /// Whether it is answered, or only referred to.
    pub return_data: bool,
    /// What it asks.
    pub of: Of,
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    /// An expression; the period is of its own searches and series.
    Expression(Expression, Option<i64>),
    /// A statistic of a metric.
    Metric(MetricStat),
}

/// A statistic of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricStat {
    /// The metric.
    pub metric: Identity,
    /// How long a period is, in seconds.
    pub period_s: i64,
    /// The statistic.
    pub statistic: Statistic,
    /// Only values of this unit.
    pub unit: Option<Unit>,
}

/// The answer to a query, or a part of one: a search has several.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The query's id.
    pub id: String,
    /// What it is called.
    pub label: String,
    /// The points, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// Why queries cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Two have the same id.
    #[error("The values for parameter id in MetricDataQueries are not unique.")]
    RepeatedId,
    /// An id is none.
    #[error(
        "The value {0} for parameter id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
    )]
    Id(String),
    /// An expression cannot be read.
    #[error("Error in expression '{0}': {1}.")]
    Parse(String, ParseError),
    /// An expression has no value.
    #[error("Error in expression '{0}': {1}.")]
    Math(String, MathError),
    /// An expression whose value is a number.
    #[error("Error in expression '{0}': the result is a scalar, not a time series.")]
    Scalar(String),
    /// The datapoints could not be read.
    #[error("the datapoints could not be read")]
    Rows(#[source] super::rows::RowsError),
}

/// The most series that a search finds.
const FOUND_MAX: usize = 500;

/// Reads the expression of a query.
pub fn expression(id: &str, text: &str) -> Result<Expression, QueryError> {
    parse(text).map_err(|error| QueryError::Parse(id.to_owned(), error))
}

/// Holds queries against the rules that need no data: ids, and what refers to what.
pub fn check(queries: &[Query]) -> Result<(), QueryError> {
    let mut ids = BTreeSet::new();
    for query in queries {
        if !is_id(&query.id) || query.id.len() > 255 {
            return Err(QueryError::Id(query.id.chars().take(100).collect()));
        }
        if !ids.insert(query.id.as_str()) {
            return Err(QueryError::RepeatedId);
        }
    }
    for query in queries {
        let Of::Expression(expression, _) = &query.of else {
            continue;
        };
        let fail = |error| Err(QueryError::Math(query.id.clone(), error));
        for name in expression.references() {
            if !ids.contains(name) {
                return fail(MathError::UnknownId(name.to_owned()));
            }
        }
        if reaches(queries, &query.id, &query.id) {
            return fail(MathError::Circle);
        }
    }
    Ok(())
}

/// Whether a query refers to another, by whatever way.
fn reaches(queries: &[Query], from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        let Some(query) = queries.iter().find(|query| query.id == id) else {
            continue;
        };
        if let Of::Expression(expression, _) = &query.of {
            for name in expression.references() {
                if name == to {
                    return true;
                }
                if seen.insert(name) {
                    open.push(name);
                }
            }
        }
    }
    false
}

/// Answers queries, which have been held against [`check`]. Blocks.
pub fn run(
    metrics: &Metrics,
    scope: &Scope,
    detectors: &dyn Detectors,
    queries: &[Query],
    window: Range<Timestamp>,
) -> Result<Vec<Answer>, QueryError> {
    let run = Run::new(metrics, scope, detectors, queries, window);
    let mut answers = Vec::new();
    for query in queries.iter().filter(|query| query.return_data) {
        let value = run.checked(&query.id, run.answer(query))?;
        let made = |series: Series, label: String| Answer {
            id: query.id.clone(),
            label,
            points: series
                .points
                .into_iter()
                .map(|(time, value)| (Timestamp(time), value))
                .collect(),
        };
        match value {
            Value::Series(series) => {
                let own = match &query.of {
                    Of::Metric(_) => series.label.clone(),
                    Of::Expression(..) => query.id.clone(),
                };
                let label = query.label.clone().unwrap_or(own);
                answers.push(made(series, label));
            }
            Value::Array(array) => {
                for series in array {
                    let label = match &query.label {
                        Some(label) => format!("{label} {}", series.label),
                        None => series.label.clone(),
                    };
                    answers.push(made(series, label));
                }
            }
            Value::Scalar(_) => return Err(QueryError::Scalar(query.id.clone())),
        }
    }
    Ok(answers)
}

/// The value of an expression over queries, which have been held against [`check`]. It has no bands.
/// Blocks.
pub(crate) fn value(
    metrics: &Metrics,
    scope: &Scope,
    queries: &[Query],
    expression: &Expression,
    period_s: i64,
    window: Range<Timestamp>,
) -> Result<Value, QueryError> {
    let run = Run::new(metrics, scope, &NoDetectors, queries, window);
    let part = Part {
        run: &run,
        period_s,
    };
    run.checked("", evaluate(expression, &part))
}

/// The period of what an expression is about: that of the first metric that it refers to, by whatever
/// way, else the shortest of the request.
#[must_use]
pub fn period_for(queries: &[Query], expression: &Expression) -> i64 {
    let period = |query: &Query| match &query.of {
        Of::Metric(stat) => Some(stat.period_s),
        Of::Expression(_, period_s) => *period_s,
    };
    let mut seen = BTreeSet::new();
    let mut open = vec![expression];
    while let Some(expression) = open.pop() {
        for name in expression.references() {
            let Some(query) = queries.iter().find(|query| query.id == name) else {
                continue;
            };
            if let Some(period_s) = period(query) {
                return period_s;
            }
            if let Of::Expression(inner, _) = &query.of
                && seen.insert(name)
            {
                open.push(inner);
            }
        }
    }
    let all = queries.iter().filter_map(|query| match &query.of {
        Of::Metric(stat) => Some(stat.period_s),
        Of::Expression(..) => None,
    });
    all.min().unwrap_or(300)
}

/// The points of a statistic of a metric. Blocks.
pub fn series(
    metrics: &Metrics,
    scope: &Scope,
    stat: &MetricStat,
    start: Timestamp,
    end: Timestamp,
) -> Result<Series, super::rows::RowsError> {
    let window = metrics.window(start, end, stat.period_s);
    let periods = metrics.periods(scope, &stat.metric, window)?;
    let points = periods.into_iter().filter_map(|(time, units)| {
        let mut whole: Option<Aggregate> = None;
        for (unit, values) in units {
            if stat.unit.is_some_and(|wanted| wanted != unit) {
                continue;
            }
            match &mut whole {
                Some(whole) => whole.merge(&values),
                None => whole = Some(values),
            }
        }
        Some((time.0, stat.statistic.of(&whole?)?))
    });
    Ok(Series {
        label: stat.metric.name.clone(),
        points: points.collect(),
    })
}

/// What is being answered.
struct Run<'a> {
    metrics: &'a Metrics,
    scope: &'a Scope,
    detectors: &'a dyn Detectors,
    queries: &'a [Query],
    start: Timestamp,
    end: Timestamp,
    /// Answers that others may refer to.
    known: RefCell<HashMap<String, Value>>,
    /// Why datapoints could not be read.
    failed: RefCell<Option<super::rows::RowsError>>,
}

impl<'a> Run<'a> {
    fn new(
        metrics: &'a Metrics,
        scope: &'a Scope,
        detectors: &'a dyn Detectors,
        queries: &'a [Query],
        window: Range<Timestamp>,
    ) -> Self {
        Self {
            metrics,
            scope,
            detectors,
            queries,
            start: window.start,
            end: window.end,
            known: RefCell::new(HashMap::new()),
            failed: RefCell::new(None),
        }
    }
}

impl Run<'_> {
    /// What was evaluated, or the error that is behind its failure.
    fn checked(&self, id: &str, value: Result<Value, MathError>) -> Result<Value, QueryError> {
        match self.failed.borrow_mut().take() {
            Some(error) => Err(QueryError::Rows(error)),
            None => value.map_err(|error| QueryError::Math(id.to_owned(), error)),
        }
    }

    fn answer(&self, query: &Query) -> Result<Value, MathError> {
        if let Some(known) = self.known.borrow().get(&query.id) {
            return Ok(known.clone());
        }
        let value = match &query.of {
            Of::Metric(stat) => Value::Series(self.series(stat)?),
            Of::Expression(expression, period_s) => {
                let part = Part {
                    run: self,
                    period_s: period_s.unwrap_or_else(|| period_for(self.queries, expression)),
                };
                evaluate(expression, &part)?
            }
        };
        let mut known = self.known.borrow_mut();
        known.insert(query.id.clone(), value.clone());
        Ok(value)
    }

    fn series(&self, stat: &MetricStat) -> Result<Series, MathError> {
        series(self.metrics, self.scope, stat, self.start, self.end).map_err(|error| {
            self.failed.replace(Some(error));
            MathError::Read
        })
    }

    fn find(&self, id: &str) -> Option<&Query> {
        self.queries.iter().find(|query| query.id == id)
    }

    fn period(&self, query: &Query) -> Option<i64> {
        match &query.of {
            Of::Metric(stat) => Some(stat.period_s),
            Of::Expression(_, period_s) => *period_s,
        }
    }
}

/// What one expression sees.
struct Part<'a> {
    run: &'a Run<'a>,
    period_s: i64,
}

impl Source for Part<'_> {
    fn named(&self, id: &str) -> Result<Value, MathError> {
        let query = self.run.find(id);
        let query = query.ok_or_else(|| MathError::UnknownId(id.to_owned()))?;
        self.run.answer(query)
    }

    fn metrics(&self) -> Vec<(String, Series)> {
        let queries = self.run.queries.iter();
        // Expressions are no metrics: one that asks for all must not wait for itself.
        let metrics = queries.filter(|query| matches!(query.of, Of::Metric(_)));
        let answered = metrics.filter_map(|query| match self.run.answer(query) {
            Ok(Value::Series(series)) => Some((query.id.clone(), series)),
            _ => None,
        });
        answered.collect()
    }

    fn period_of(&self, id: &str) -> Option<i64> {
        self.run.period(self.run.find(id)?)
    }

    fn search(
        &self,
        terms: &str,
        statistic: &str,
        period_s: i64,
    ) -> Result<Vec<Series>, MathError> {
        let search = Search::parse(terms).map_err(MathError::Search)?;
        let statistic = Statistic::parse(statistic)
            .ok_or_else(|| MathError::Statistic(statistic.to_owned()))?;
        let all = self.run.metrics.list(self.run.scope, &Selection::default());
        let found = all.into_iter().filter(|metric| search.finds(metric));
        let found: Vec<Identity> = found.take(FOUND_MAX).collect();
        let names: BTreeSet<&str> = found.iter().map(|metric| metric.name.as_str()).collect();
        let many_names = names.len() > 1;
        let series = found.iter().map(|metric| {
            let stat = MetricStat {
                metric: metric.clone(),
                period_s,
                statistic,
                unit: None,
            };
            let mut series = self.run.series(&stat)?;
            series.label = label(metric, many_names);
            Ok(series)
        });
        series.collect()
    }

    fn band(&self, of: &Expression, deviations: f64) -> Result<[Series; 2], MathError> {
        let times = self.times();
        let asked = anomaly::Asked {
            metrics: self.run.metrics,
            scope: self.run.scope,
            queries: self.run.queries,
            argument: of,
            settings: self.run.detectors,
            period_s: self.period_s,
        };
        anomaly::band(&asked, deviations, &times).map_err(|error| match error {
            QueryError::Math(_, error) => error,
            QueryError::Rows(error) => {
                self.run.failed.replace(Some(error));
                MathError::Read
            }
            _ => MathError::Read,
        })
    }

    fn times(&self) -> Vec<i64> {
        let now = self.run.metrics.now();
        let start = level::snapped_start(self.run.start, self.period_s, now);
        let step = usize::try_from(self.period_s * 1000).unwrap_or(60_000);
        (start.0..self.run.end.0).step_by(step.max(1000)).collect()
    }

    fn period_s(&self) -> i64 {
        self.period_s
    }
}

/// What tells the metrics of a search apart: the values of dimensions, and the names if they differ.
fn label(metric: &Identity, with_name: bool) -> String {
    let values = metric.dimensions().iter().map(|(_, value)| value.as_str());
    let mut parts: Vec<&str> = values.collect();
    if with_name || parts.is_empty() {
        parts.push(&metric.name);
    }
    parts.join(" ")
}

/// Answers by id, for those that need only one series of each.
#[must_use]
pub fn by_id(answers: Vec<Answer>) -> BTreeMap<String, Answer> {
    let answers = answers.into_iter();
    answers.map(|answer| (answer.id.clone(), answer)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enid_model::key::{AccountId, RegionName};
    use enid_model::time::Clock;

    use super::super::datum::Sample;
    use super::super::rows::Memory;
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_040_000);

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

    fn metric(host: &str) -> Identity {
        Identity::new("N", "m", vec![("Host".to_owned(), host.to_owned())]).unwrap()
    }

    fn metrics() -> Metrics {
        let metrics = Metrics::open(Arc::new(Memory::default()), Arc::new(Stopped)).unwrap();
        let sample = |host: &str, minute: i64, value: f64| Sample {
            metric: metric(host),
            time: Timestamp(NOW.0 - minute * 60_000),
            unit: Unit::COUNT,
            aggregate: Aggregate::value(value),
            high_resolution: false,
        };
        let data = vec![
            sample("a", 2, 1.0),
            sample("a", 1, 2.0),
            sample("b", 1, 5.0),
        ];
        metrics.put(&scope(), data).unwrap();
        metrics
    }

    fn stat(id: &str, host: &str, return_data: bool) -> Query {
        let stat = MetricStat {
            metric: metric(host),
            period_s: 60,
            statistic: Statistic::Sum,
            unit: None,
        };
        Query {
            id: id.to_owned(),
            label: None,
            return_data,
            of: Of::Metric(stat),
        }
    }

    fn math(id: &str, text: &str) -> Query {
        Query {
            id: id.to_owned(),
            label: None,
            return_data: true,
            of: Of::Expression(expression(id, text).unwrap(), None),
        }
    }

    fn ask(queries: &[Query]) -> String {
        let start = Timestamp(NOW.0 - 180_000);
        let answered = check(queries)
            .and_then(|()| run(&metrics(), &scope(), &NoDetectors, queries, start..NOW));
        match answered {
            Ok(answers) => {
                let shown = answers.iter().map(|answer| {
                    let points = answer.points.iter();
                    let points = points
                        .map(|(time, value)| format!("{}:{value}", (time.0 - NOW.0) / 60_000));
                    let points: Vec<String> = points.collect();
                    format!("{} {} {}", answer.id, answer.label, points.join(" "))
                });
                shown.collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn metrics_and_expressions_are_answered() {
        let (a, b) = (stat("a", "a", true), stat("b", "b", false));
        assert_eq!(ask(&[a.clone(), b.clone()]), "a m -2:1 -1:2");
        assert_eq!(
            ask(&[b.clone(), math("e", "a+b"), a, math("f", "e*10")]),
            "e e -2:1 -1:7; a m -2:1 -1:2; f f -2:10 -1:70"
        );
        assert_eq!(
            ask(&[math("e", "SEARCH('{N,Host} m', 'Sum', 60)")]),
            "e a -2:1 -1:2; e b -1:5"
        );
        assert_eq!(
            ask(&[
                b.clone(),
                math("e", "FILL(b, 0)"),
                math("t", "TIME_SERIES(PERIOD(b))")
            ]),
            "e e -3:0 -2:0 -1:5; t t -3:60 -2:60 -1:60"
        );
        let named = Query {
            label: Some("L".to_owned()),
            ..math("e", "METRICS()")
        };
        assert_eq!(ask(&[b, named]), "e L m -1:5");
    }

    #[test]
    fn queries_that_cannot_be_answered() {
        let a = stat("a", "a", true);
        for (queries, wanted) in [
            (
                vec![a.clone(), a.clone()],
                "The values for parameter id in MetricDataQueries are not unique.",
            ),
            (
                vec![stat("A", "a", true)],
                "The value A for parameter id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
            ),
            (
                vec![math("e", "x")],
                "Error in expression 'e': the id 'x' is not found.",
            ),
            (
                vec![math("e", "f+1"), math("f", "e+1")],
                "Error in expression 'e': a circular reference.",
            ),
            (
                vec![a, math("e", "SUM(a)")],
                "Error in expression 'e': the result is a scalar, not a time series.",
            ),
        ] {
            assert_eq!(ask(&queries), wanted);
        }
    }
}
