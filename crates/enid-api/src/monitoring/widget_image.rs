//! GetMetricWidgetImage: a chart of metrics.

use std::collections::BTreeMap;

use enid_model::time::Timestamp;
use enid_telemetry::anomaly::FUNCTION;
use enid_telemetry::chart::{COLORS, Chart, Line, Shape};
use enid_telemetry::math::parse::Expression;
use enid_telemetry::metric::level;
use enid_telemetry::metric::query::{self, Answer, Of, Query};

use super::data::{self, refused};
use super::widget::{Metric, What, Widget};
use super::{Monitoring, failed};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{self, GetMetricWidgetImageRequest, MetricDataQuery};
use crate::generated::cloudwatch::response::GetMetricWidgetImageResponse;
use crate::wire::params::Blob;

/// Datapoints of a chart: as many as a page of GetMetricData.
const POINTS_MAX: i64 = 100_800;

/// GetMetricWidgetImage.
pub(super) async fn get_metric_widget_image(
    monitoring: &Monitoring,
    context: &Context,
    request: GetMetricWidgetImageRequest,
) -> Result<GetMetricWidgetImageResponse, ApiError> {
    let now = monitoring.metrics.now();
    let (widget, queries, metrics) = read(&request.metric_widget, now, context.region.name)?;
    let caller = context.caller();
    let (scope, region) = (caller.scope(), monitoring.control.read(&caller).await);
    let region = region.map_err(failed)?;
    let drawn = monitoring.blocking(move |store| {
        // Periods start at whole ones, whenever the chart does.
        let longest = queries.iter().filter_map(|query| match &query.of {
            Of::Metric(stat) => Some(stat.period_s),
            Of::Expression(_, period_s) => *period_s,
        });
        let longest = longest.max().unwrap_or(60);
        let window = level::floor(widget.start, longest)..widget.end;
        let answers = query::run(store, &scope, &*region, &queries, window)?;
        let lines = lines(&metrics, &queries, &answers);
        Ok(chart(widget, lines).png())
    });
    let file = drawn.await?.map_err(refused)?;
    Ok(GetMetricWidgetImageResponse {
        metric_widget_image: Some(Blob(file)),
    })
}

/// Whether a text is a widget that can be drawn.
pub(super) fn check(text: &str, now: Timestamp, region: &str) -> Result<(), ApiError> {
    read(text, now, region).map(drop)
}

/// A widget, and what is asked for it.
fn read(
    text: &str,
    now: Timestamp,
    region: &str,
) -> Result<(Widget, Vec<Query>, Vec<Metric>), ApiError> {
    let widget = Widget::parse(text, now, region)?;
    let (queries, metrics) = queries(&widget)?;
    query::check(&queries).map_err(refused)?;
    Ok((widget, queries, metrics))
}

fn chart(widget: Widget, lines: Vec<Line>) -> Chart {
    Chart {
        width: widget.width,
        height: widget.height,
        title: widget.title,
        start: widget.start,
        end: widget.end,
        offset_ms: widget.offset_ms,
        is_stacked: widget.is_stacked,
        is_dark: widget.is_dark,
        legend: widget.legend,
        left: widget.left,
        right: widget.right,
        lines,
        levels: widget.levels,
        moments: widget.moments,
    }
}

/// The queries of a widget, each beside the metric that it is made of. They have the ids that metrics
/// give, or others.
fn queries(widget: &Widget) -> Result<(Vec<Query>, Vec<Metric>), ApiError> {
    let span_s = (widget.end.0 - widget.start.0) / 1000;
    let mut queries = Vec::new();
    for (number, metric) in widget.metrics.iter().enumerate() {
        let id = metric.id.clone();
        let stat = |namespace: &str, name: &str, dimensions: &[(String, String)]| {
            let dimensions = dimensions.iter().map(|(name, value)| request::Dimension {
                name: name.clone(),
                value: value.clone(),
            });
            request::MetricStat {
                metric: request::Metric {
                    namespace: Some(namespace.to_owned()),
                    metric_name: Some(name.to_owned()),
                    dimensions: dimensions.collect(),
                },
                period: metric.period_s,
                stat: metric.stat.clone(),
                unit: None,
            }
        };
        let (expression, metric_stat) = match &metric.what {
            What::Expression(text) => (Some(text.clone()), None),
            What::Metric {
                namespace,
                name,
                dimensions,
            } => (None, Some(stat(namespace, name, dimensions))),
        };
        if span_s / i64::from(metric.period_s) > POINTS_MAX {
            let message = "The widget has more datapoints than a chart can show.";
            return Err(data::validation(message.to_owned()));
        }
        queries.push(data::read(MetricDataQuery {
            id: id.unwrap_or_else(|| format!("enid_line_{number}")),
            expression,
            metric_stat,
            label: metric.label.clone(),
            return_data: Some(metric.is_visible),
            // An expression goes by the metrics that it is about.
            period: None,
        })?);
    }
    Ok((queries, widget.metrics.clone()))
}

/// What is drawn of the answers.
fn lines(metrics: &[Metric], queries: &[Query], answers: &[Answer]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (metric, query) in metrics.iter().zip(queries) {
        let own = answers.iter().filter(|answer| answer.id == query.id);
        let own: Vec<&Answer> = own.collect();
        let period_s = match &query.of {
            Of::Metric(stat) => stat.period_s,
            Of::Expression(expression, period_s) => {
                period_s.unwrap_or_else(|| query::period_for(queries, expression))
            }
        };
        let line = |label: &str, number: usize, shape: Shape| {
            let next = COLORS.get(number % COLORS.len()).copied();
            Line {
                label: label.to_owned(),
                color: metric.color.or(next).unwrap_or_default(),
                side: metric.side,
                period_ms: period_s * 1000,
                shape,
            }
        };
        let is_band =
            matches!(&query.of, Of::Expression(Expression::Call(name, _), _) if name == FUNCTION);
        if let ([upper, lower], true) = (own.as_slice(), is_band) {
            let lower: BTreeMap<i64, f64> = points(lower);
            let bounds = points(upper).into_iter();
            let bounds =
                bounds.filter_map(|(time, upper)| Some((time, (*lower.get(&time)?, upper))));
            let label = metric.label.clone().unwrap_or_else(|| query.id.clone());
            lines.push(line(&label, lines.len(), Shape::Band(bounds.collect())));
            continue;
        }
        for answer in own {
            let label = match (&metric.label, &metric.what) {
                // Ids that nobody gave say nothing.
                (None, What::Expression(text)) if metric.id.is_none() => text,
                _ => &answer.label,
            };
            lines.push(line(label, lines.len(), Shape::Line(points(answer))));
        }
    }
    lines
}

fn points(answer: &Answer) -> BTreeMap<i64, f64> {
    let points = answer.points.iter();
    points.map(|(time, value)| (time.0, *value)).collect()
}

#[cfg(test)]
mod tests {
    use enid_model::time::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn widget(text: &str) -> Widget {
        Widget::parse(text, NOW, "eu-west-1").unwrap()
    }

    fn answer(id: &str, label: &str, value: f64) -> Answer {
        Answer {
            id: id.to_owned(),
            label: label.to_owned(),
            points: vec![(NOW, value)],
        }
    }

    #[test]
    fn what_is_answered_becomes_lines() {
        let widget = widget(
            r##"{"metrics": [
                ["N", "m", {"id": "m1", "color": "#123456", "period": 60}],
                [{"expression": "ANOMALY_DETECTION_BAND(m1)", "id": "b", "label": "normal"}],
                [{"expression": "m1*2"}],
                ["N", "hidden", {"visible": false}]
            ]}"##,
        );
        let (queries, metrics) = queries(&widget).unwrap();
        query::check(&queries).unwrap();
        let returned: Vec<bool> = queries.iter().map(|query| query.return_data).collect();
        assert_eq!(returned, [true, true, true, false]);
        let answers = [
            answer("m1", "m", 1.0),
            answer("b", "normal m upper", 3.0),
            answer("b", "normal m lower", -1.0),
            answer("enid_line_2", "enid_line_2", 2.0),
        ];
        let lines = lines(&metrics, &queries, &answers);
        let labels: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["m", "normal", "m1*2"]);
        assert_eq!(lines[0].color, [0x12, 0x34, 0x56]);
        assert_eq!(lines[1].shape, Shape::Band([(NOW.0, (-1.0, 3.0))].into()));
        assert_eq!(lines[2].color, COLORS[2]);
        assert!(lines.iter().all(|line| line.period_ms == 60_000));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for (text, wanted) in [
            (
                r#"{"metrics": [["N", "m", {"stat": "p101"}]]}"#,
                "InvalidParameterValue",
            ),
            (
                r#"{"metrics": [[{"expression": "m1+"}]]}"#,
                "ValidationError",
            ),
            (
                r#"{"metrics": [["N", "m", {"period": 1}]], "start": "-P30D"}"#,
                "ValidationError",
            ),
        ] {
            assert_eq!(queries(&widget(text)).unwrap_err().code(), wanted, "{text}");
        }
    }
}
