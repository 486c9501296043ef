//! GetMetricData: queries for metrics and expressions, in pages of datapoints.

use enid_model::time::Timestamp;
use enid_telemetry::metric::level::is_period;
use enid_telemetry::metric::query::{self, Answer, MetricStat, Of, Query, QueryError};
use enid_telemetry::metric::statistic::Statistic;

use super::metric::{bad_value, check_times, identity, unit};
use super::{Monitoring, failed, internal, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{GetMetricDataRequest, MetricDataQuery};
use crate::generated::cloudwatch::response::{GetMetricDataResponse, MetricDataResult};

const OPERATION: &str = "GetMetricData";
/// The most queries of a request.
const QUERIES_MAX: usize = 500;
/// The most datapoints of a page.
const POINTS_MAX: i32 = 100_800;

/// GetMetricData.
pub(super) async fn get_metric_data(
    monitoring: &Monitoring,
    context: &Context,
    request: GetMetricDataRequest,
) -> Result<GetMetricDataResponse, ApiError> {
    let most = request.max_datapoints.unwrap_or(POINTS_MAX);
    if !(1..=POINTS_MAX).contains(&most) {
        return Err(bad_value(&most.to_string(), "MaxDatapoints"));
    }
    let start = match page::open(OPERATION, request.next_token.as_deref())? {
        None => Place::default(),
        Some(place) => Place::parse(&place)?,
    };
    if request.metric_data_queries.len() > QUERIES_MAX {
        return Err(validation(format!(
            "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}."
        )));
    }
    check_times(request.start_time, request.end_time)?;
    let queries = request.metric_data_queries.into_iter().map(read);
    let queries: Vec<Query> = queries.collect::<Result<_, _>>()?;
    let returned = queries.iter().any(|query| query.return_data);
    if !returned {
        let message = "At least one metric data query must return data.";
        return Err(validation(message.to_owned()));
    }
    query::check(&queries).map_err(refused)?;
    let scope = context.caller().scope();
    let window = request.start_time..request.end_time;
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let ran =
        monitoring.blocking(move |metrics| query::run(metrics, &scope, &*region, &queries, window));
    let mut answers = ran.await?.map_err(refused)?;
    if request.scan_by.as_deref() != Some("TimestampAscending") {
        for answer in &mut answers {
            answer.points.reverse();
        }
    }
    let most = usize::try_from(most).unwrap_or(1);
    let (results, next) = paged(&answers, &start, most);
    Ok(GetMetricDataResponse {
        metric_data_results: results,
        next_token: next.map(|place| page::close(OPERATION, &place.shown())),
        messages: Vec::new(),
    })
}

/// Where a page starts: the answer, and the time of the last point of it that was told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    answer: usize,
    told: Option<Timestamp>,
}

impl Place {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let parsed = text.split_once(' ').and_then(|(answer, told)| {
            Some(Self {
                answer: answer.parse().ok()?,
                told: match told {
                    "" => None,
                    told => Some(Timestamp(told.parse().ok()?)),
                },
            })
        });
        parsed.ok_or_else(|| {
            let message = "The next token specified is invalid.";
            ApiError::new("InvalidNextToken", 400, message.to_owned())
        })
    }

    fn shown(&self) -> String {
        let told = self.told.map(|time| time.0.to_string());
        format!("{} {}", self.answer, told.unwrap_or_default())
    }
}

/// The answers from a place on, with so many points at most, and where the next page starts.
fn paged(answers: &[Answer], start: &Place, most: usize) -> (Vec<MetricDataResult>, Option<Place>) {
    let mut left = most;
    let mut results = Vec::new();
    for (number, answer) in answers.iter().enumerate().skip(start.answer) {
        let told = start.told.filter(|_| number == start.answer);
        let skipped = match told {
            None => 0,
            Some(told) => {
                let at = answer.points.iter().position(|(time, _)| *time == told);
                at.map_or(0, |at| at + 1)
            }
        };
        let points = answer.points.get(skipped..).unwrap_or_default();
        let page = points.get(..left.min(points.len())).unwrap_or_default();
        left -= page.len();
        let is_whole = page.len() == points.len();
        results.push(MetricDataResult {
            id: Some(answer.id.as_str().into()),
            label: Some(answer.label.as_str().into()),
            timestamps: page.iter().map(|(time, _)| *time).collect(),
            values: page.iter().map(|(_, value)| *value).collect(),
            status_code: Some(if is_whole { "Complete" } else { "PartialData" }.into()),
            messages: Vec::new(),
        });
        let place = |answer, told| Some(Place { answer, told });
        if !is_whole {
            let last = page.last().map(|(time, _)| *time).or(told);
            return (results, place(number, last));
        }
        if left == 0 && number + 1 < answers.len() {
            return (results, place(number + 1, None));
        }
    }
    (results, None)
}

/// A query, of GetMetricData or of an alarm.
pub(super) fn read(query: MetricDataQuery) -> Result<Query, ApiError> {
    let id = query.id;
    if query
        .label
        .as_deref()
        .is_some_and(|label| label.contains("${"))
    {
        return Err(ApiError::value_not_implemented(
            OPERATION,
            "Label",
            query.label.as_deref().unwrap_or_default(),
        ));
    }
    let period = |seconds: i32| match is_period(i64::from(seconds)) {
        true => Ok(i64::from(seconds)),
        false => Err(bad_value(&seconds.to_string(), "Period")),
    };
    let of = match (query.expression, query.metric_stat) {
        (Some(text), None) => {
            if text.len() > 2048 {
                let message = format!("Error in expression '{id}': it is too long.");
                return Err(validation(message));
            }
            if text
                .trim_start()
                .to_ascii_uppercase()
                .starts_with("SELECT ")
            {
                let feature = "Metrics Insights";
                return Err(ApiError::value_not_implemented(
                    OPERATION,
                    "Expression",
                    feature,
                ));
            }
            let expression = query::expression(&id, &text).map_err(refused)?;
            Of::Expression(expression, query.period.map(period).transpose()?)
        }
        (None, Some(stat)) => {
            let metric = stat.metric;
            let (namespace, name) = (metric.namespace, metric.metric_name);
            let missing = |name: &str| {
                let message = format!("The parameter MetricDataQueries.member.{name} is required.");
                ApiError::new("MissingParameter", 400, message)
            };
            let namespace = namespace.ok_or_else(|| missing("MetricStat.Metric.Namespace"))?;
            let name = name.ok_or_else(|| missing("MetricStat.Metric.MetricName"))?;
            let statistic = Statistic::parse(&stat.stat);
            Of::Metric(MetricStat {
                metric: identity(namespace, name, metric.dimensions)?,
                period_s: period(stat.period)?,
                statistic: statistic.ok_or_else(|| {
                    bad_value(&stat.stat.chars().take(100).collect::<String>(), "Stat")
                })?,
                unit: unit(stat.unit.as_deref())?,
            })
        }
        _ => {
            let message = format!(
                "Exactly one of the parameters MetricStat and Expression must be specified for the query '{id}'."
            );
            return Err(validation(message));
        }
    };
    Ok(Query {
        id,
        label: query.label,
        return_data: query.return_data.unwrap_or(true),
        of,
    })
}

pub(super) fn validation(message: String) -> ApiError {
    ApiError::new("ValidationError", 400, message)
}

/// An expression of a function that Enid lacks is refused as what Enid lacks.
pub(super) fn refused(error: QueryError) -> ApiError {
    use enid_telemetry::math::parse::ParseError;
    match error {
        QueryError::Rows(error) => internal(error),
        QueryError::Parse(_, ParseError::NotImplemented(name)) => {
            ApiError::value_not_implemented(OPERATION, "Expression", &name)
        }
        error => validation(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_tell_every_point_once() {
        let answer = |id: &str, count: i64| Answer {
            id: id.to_owned(),
            label: id.to_owned(),
            points: (0..count).map(|at| (Timestamp(at), 1.0)).collect(),
        };
        let answers = [answer("a", 5), answer("b", 0), answer("c", 3)];
        for most in 1..10 {
            let mut place = Place::default();
            let mut told: Vec<(String, i64)> = Vec::new();
            for _ in 0..20 {
                let (results, next) = paged(&answers, &place, most);
                for result in &results {
                    let id = result.id.clone().unwrap_or_default();
                    told.extend(
                        result
                            .timestamps
                            .iter()
                            .map(|time| (id.to_string(), time.0)),
                    );
                }
                match next {
                    None => break,
                    Some(next) => place = Place::parse(&next.shown()).unwrap(),
                }
            }
            assert_eq!(told.len(), 8, "{most}");
            assert!(told.is_sorted(), "{told:?}");
        }
        assert!(Place::parse("x").is_err());
    }
}
