//! Anomaly detectors: PutAnomalyDetector, DescribeAnomalyDetectors and DeleteAnomalyDetector.

use enid_model::alarm::{AlarmQuery, AlarmStat, Watched};
use enid_model::anomaly_detector::AnomalyDetector;
use enid_telemetry::alarm::watch;
use enid_telemetry::anomaly::{self, FUNCTION, Training, Zone};
use enid_telemetry::math::parse::Expression;
use enid_telemetry::metric::query::{self, Of, Query};
use enid_telemetry::metric::statistic::Statistic;

use super::alarm::{kept, stat};
use super::data::{self, refused, validation};
use super::describe::{alarm_dimensions, alarm_query};
use super::metric::{bad_value, pairs};
use super::{Monitoring, failed, internal, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    AnomalyDetectorConfiguration, DeleteAnomalyDetectorRequest, DescribeAnomalyDetectorsRequest,
    Dimension, MetricMathAnomalyDetector, PutAnomalyDetectorRequest, SingleMetricAnomalyDetector,
};
use crate::generated::cloudwatch::response::{
    self, AnomalyDetector as Answer, DeleteAnomalyDetectorResponse,
    DescribeAnomalyDetectorsResponse, PutAnomalyDetectorResponse,
};
use crate::wire::text::Text;

/// Detectors on a page at most, and if the request does not say.
const PAGE: i32 = 100;
/// The period in which a metric's detector is told how much it has seen.
const PERIOD_S: i64 = 300;

/// PutAnomalyDetector.
pub(super) async fn put_anomaly_detector(
    monitoring: &Monitoring,
    context: &Context,
    request: PutAnomalyDetectorRequest,
) -> Result<PutAnomalyDetectorResponse, ApiError> {
    let (name, of) = learned(Meant {
        namespace: request.namespace,
        metric_name: request.metric_name,
        dimensions: request.dimensions,
        stat: request.stat,
        single: request.single_metric_anomaly_detector,
        math: request.metric_math_anomaly_detector,
    })?;
    let (excluded, time_zone) = configuration(request.configuration)?;
    let characteristics = request.metric_characteristics;
    let detector = AnomalyDetector {
        of,
        excluded,
        time_zone,
        periodic_spikes: characteristics.and_then(|it| it.periodic_spikes),
    };
    let (caller, control) = (context.caller(), &monitoring.control);
    let put = control.put_anomaly_detector(&caller, &name, &detector);
    put.await.map_err(failed)?;
    Ok(PutAnomalyDetectorResponse {})
}

/// DeleteAnomalyDetector.
pub(super) async fn delete_anomaly_detector(
    monitoring: &Monitoring,
    context: &Context,
    request: DeleteAnomalyDetectorRequest,
) -> Result<DeleteAnomalyDetectorResponse, ApiError> {
    let (name, _) = learned(Meant {
        namespace: request.namespace,
        metric_name: request.metric_name,
        dimensions: request.dimensions,
        stat: request.stat,
        single: request.single_metric_anomaly_detector,
        math: request.metric_math_anomaly_detector,
    })?;
    let (caller, control) = (context.caller(), &monitoring.control);
    let deleted = control.delete_anomaly_detector(&caller, &name);
    deleted.await.map_err(failed)?;
    Ok(DeleteAnomalyDetectorResponse {})
}

/// What a request says of what is learned: in members of its own, which are older, or in one of two
/// structures.
struct Meant {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimensions: Vec<Dimension>,
    stat: Option<String>,
    single: Option<SingleMetricAnomalyDetector>,
    math: Option<MetricMathAnomalyDetector>,
}

/// What is learned, and the name that detectors of it have.
fn learned(meant: Meant) -> Result<(String, Watched), ApiError> {
    let is_old = meant.namespace.is_some()
        || meant.metric_name.is_some()
        || meant.stat.is_some()
        || !meant.dimensions.is_empty();
    let single = match (is_old, meant.single, meant.math) {
        (true, None, None) => SingleMetricAnomalyDetector {
            namespace: meant.namespace,
            metric_name: meant.metric_name,
            dimensions: meant.dimensions,
            stat: meant.stat,
        },
        (false, Some(single), None) => single,
        (false, None, Some(math)) => return of_math(math),
        (false, None, None) => {
            return Err(missing("SingleMetricAnomalyDetector"));
        }
        _ => {
            return Err(ApiError::invalid_combination(
                "SingleMetricAnomalyDetector, MetricMathAnomalyDetector and the parameters of a single metric are mutually exclusive.",
            ));
        }
    };
    let namespace = single.namespace.ok_or_else(|| missing("Namespace"))?;
    let name = single.metric_name.ok_or_else(|| missing("MetricName"))?;
    let statistic = single.stat.ok_or_else(|| missing("Stat"))?;
    if Statistic::parse(&statistic).is_none() {
        let shown: String = statistic.chars().take(100).collect();
        return Err(bad_value(&shown, "Stat"));
    }
    let of = Watched::Stat(stat(namespace, name, single.dimensions, statistic, None)?);
    let queries = watch::queries_of(&of, PERIOD_S).map_err(refused)?;
    Ok((named(&queries, METRIC)?.name, of))
}

/// The id of a single metric among the queries that are made of it.
const METRIC: &str = "m1";

fn missing(name: &str) -> ApiError {
    let message = format!("The parameter {name} is required.");
    ApiError::new("MissingParameter", 400, message)
}

fn named(queries: &[Query], id: &str) -> Result<anomaly::Subject, ApiError> {
    let subject = anomaly::subject(queries, &Expression::Name(id.to_owned()));
    subject.map_err(|error| refused(query::QueryError::Math(id.to_owned(), error)))
}

/// What queries return, of which exactly one returns data.
fn of_math(math: MetricMathAnomalyDetector) -> Result<(String, Watched), ApiError> {
    let queries = math.metric_data_queries;
    if queries.is_empty() {
        return Err(missing("MetricMathAnomalyDetector.MetricDataQueries"));
    }
    let read = queries.iter().cloned().map(data::read);
    let read: Vec<Query> = read.collect::<Result<_, _>>()?;
    query::check(&read).map_err(refused)?;
    let kept = kept(queries, &read)?;
    let Some(returned) = returned(&kept) else {
        return Err(validation(
            "Exactly one of the metrics must return data: ReturnData.".to_owned(),
        ));
    };
    let name = named(&read, returned)?.name;
    Ok((name, Watched::Queries(kept)))
}

/// The id of the one query that returns data.
fn returned(queries: &[AlarmQuery]) -> Option<&str> {
    let all = queries.iter();
    let mut returned = all.filter(|query| query.return_data.unwrap_or(queries.len() == 1));
    match (returned.next(), returned.next()) {
        (Some(query), None) => Some(&query.id),
        _ => None,
    }
}

type Configuration = (
    Vec<(enid_model::time::Timestamp, enid_model::time::Timestamp)>,
    Option<String>,
);

fn configuration(given: Option<AnomalyDetectorConfiguration>) -> Result<Configuration, ApiError> {
    let Some(given) = given else {
        return Ok((Vec::new(), None));
    };
    let mut excluded = Vec::new();
    for range in given.excluded_time_ranges {
        if range.start_time >= range.end_time {
            let message = "The StartTime of an excluded time range must be before its EndTime.";
            return Err(ApiError::new("InvalidParameterValue", 400, message.into()));
        }
        excluded.push((range.start_time, range.end_time));
    }
    if let Some(name) = &given.metric_timezone
        && Zone::named(name).is_none()
    {
        let shown: String = name.chars().take(100).collect();
        return Err(bad_value(&shown, "MetricTimezone"));
    }
    Ok((excluded, given.metric_timezone))
}

/// DescribeAnomalyDetectors.
pub(super) async fn describe_anomaly_detectors(
    monitoring: &Monitoring,
    context: &Context,
    request: DescribeAnomalyDetectorsRequest,
) -> Result<DescribeAnomalyDetectorsResponse, ApiError> {
    const OPERATION: &str = "DescribeAnomalyDetectors";
    let size = request.max_results.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&size) {
        return Err(bad_value(&size.to_string(), "MaxResults"));
    }
    let size = usize::try_from(size).unwrap_or(1);
    let after = page::open(OPERATION, request.next_token.as_deref())?;
    let types = &request.anomaly_detector_types;
    let of_type = |name: &str| match types.is_empty() {
        true => name == "SINGLE_METRIC",
        false => types.iter().any(|wanted| wanted == name),
    };
    let wanted = pairs(request.dimensions);
    let fits = |detector: &AnomalyDetector| match &detector.of {
        Watched::Queries(_) => of_type("METRIC_MATH"),
        Watched::Stat(stat) => {
            let same = |wanted: &Option<String>, found: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == found)
            };
            of_type("SINGLE_METRIC")
                && same(&request.namespace, &stat.namespace)
                && same(&request.metric_name, &stat.name)
                && wanted.iter().all(|pair| stat.dimensions.contains(pair))
        }
    };
    let caller = context.caller();
    let region = monitoring.control.read(&caller).await.map_err(failed)?;
    let all = region.anomaly_detectors.iter();
    let mut rest = all.filter(|(name, detector)| {
        fits(detector) && after.as_deref().is_none_or(|after| &***name > after)
    });
    let found: Vec<(String, AnomalyDetector)> = rest
        .by_ref()
        .take(size)
        .map(|(name, detector)| (name.to_string(), AnomalyDetector::clone(detector)))
        .collect();
    let next_token = match (found.last(), rest.next()) {
        (Some((last, _)), Some(_)) => Some(page::close(OPERATION, last)),
        _ => None,
    };
    drop(rest);
    let scope = caller.scope();
    let told = monitoring.blocking(move |metrics| {
        let each = found.into_iter().map(|(_, detector)| {
            let queries = watch::queries_of(&detector.of, PERIOD_S)?;
            let id = match &detector.of {
                Watched::Stat(_) => METRIC,
                Watched::Queries(queries) => returned(queries).unwrap_or_default(),
            };
            let training = anomaly::training(metrics, &scope, &queries, id, &*region)?;
            Ok(answer(&detector, training))
        });
        each.collect::<Result<Vec<Answer>, query::QueryError>>()
    });
    Ok(DescribeAnomalyDetectorsResponse {
        anomaly_detectors: told.await?.map_err(internal)?,
        next_token,
    })
}

fn answer(detector: &AnomalyDetector, training: Training) -> Answer {
    let state = match training {
        Training::Pending => "PENDING_TRAINING",
        Training::Insufficient => "TRAINED_INSUFFICIENT_DATA",
        Training::Trained => "TRAINED",
    };
    let excluded = detector.excluded.iter();
    let excluded = excluded.map(|(start, end)| response::Range {
        start_time: Some(*start),
        end_time: Some(*end),
    });
    let text = |text: &str| Some(Text::from(text));
    let stat = match &detector.of {
        Watched::Stat(stat) => Some(stat),
        Watched::Queries(_) => None,
    };
    let queries = match &detector.of {
        Watched::Stat(_) => None,
        Watched::Queries(queries) => Some(queries),
    };
    Answer {
        // As of old, beside the structure that has the same.
        namespace: stat.and_then(|stat| text(&stat.namespace)),
        metric_name: stat.and_then(|stat| text(&stat.name)),
        dimensions: stat.map_or_else(Vec::new, |stat| alarm_dimensions(&stat.dimensions)),
        stat: stat.and_then(|stat| text(&stat.statistic)),
        configuration: Some(response::AnomalyDetectorConfiguration {
            excluded_time_ranges: excluded.collect(),
            metric_timezone: detector.time_zone.as_deref().map(Text::from),
        }),
        state_value: text(state),
        metric_characteristics: detector.periodic_spikes.map(|periodic_spikes| {
            response::MetricCharacteristics {
                periodic_spikes: Some(periodic_spikes),
            }
        }),
        single_metric_anomaly_detector: stat.map(single),
        metric_math_anomaly_detector: queries.map(|queries| response::MetricMathAnomalyDetector {
            metric_data_queries: queries.iter().map(alarm_query).collect(),
        }),
    }
}

fn single(stat: &AlarmStat) -> response::SingleMetricAnomalyDetector {
    response::SingleMetricAnomalyDetector {
        namespace: Some(stat.namespace.as_str().into()),
        metric_name: Some(stat.name.as_str().into()),
        dimensions: alarm_dimensions(&stat.dimensions),
        stat: Some(stat.statistic.as_str().into()),
    }
}

/// The detector that an alarm's band needs: what the band's function is about.
pub(super) fn of_band(
    band: &str,
    kept: &[AlarmQuery],
    read: &[Query],
) -> Result<(String, AnomalyDetector), ApiError> {
    let not_a_band = || {
        validation(format!(
            "ThresholdMetricId must be the id of an {FUNCTION} expression."
        ))
    };
    let query = read.iter().find(|query| query.id == band);
    let Some(Of::Expression(Expression::Call(function, arguments), _)) =
        query.map(|query| &query.of)
    else {
        return Err(not_a_band());
    };
    let argument = arguments.first().filter(|_| function == FUNCTION);
    let argument = argument.ok_or_else(not_a_band)?;
    let subject = anomaly::subject(read, argument)
        .map_err(|error| refused(query::QueryError::Math(band.to_owned(), error)))?;
    let part = kept.iter().filter(|query| subject.ids.contains(&query.id));
    let mut part: Vec<AlarmQuery> = part.cloned().collect();
    let of = match (argument, part.as_slice()) {
        (
            Expression::Name(_),
            [
                AlarmQuery {
                    stat: Some(stat), ..
                },
            ],
        ) => Watched::Stat(AlarmStat {
            unit: None,
            ..stat.clone()
        }),
        _ => {
            for query in &mut part {
                let is_it = matches!(argument, Expression::Name(id) if *id == query.id);
                query.return_data = Some(is_it);
            }
            if !matches!(argument, Expression::Name(_)) {
                // An expression inside the function's parentheses has no query of its own.
                part.push(AlarmQuery {
                    id: free_id(kept),
                    label: None,
                    return_data: Some(true),
                    period_s: None,
                    expression: Some(argument.shown(&str::to_owned)),
                    stat: None,
                });
            }
            Watched::Queries(part)
        }
    };
    let detector = AnomalyDetector {
        of,
        excluded: Vec::new(),
        time_zone: None,
        periodic_spikes: None,
    };
    Ok((subject.name, detector))
}

fn free_id(kept: &[AlarmQuery]) -> String {
    let is_free = |id: &String| kept.iter().all(|query| query.id != *id);
    let mut ids = (1..).map(|number| format!("e{number}"));
    ids.find(is_free).unwrap_or_default()
}
