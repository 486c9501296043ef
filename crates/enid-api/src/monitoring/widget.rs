//! What a metric widget says: the JSON of GetMetricWidgetImage, read member by member. What AWS does not
//! know is refused as AWS refuses it, what Enid does not draw by its name.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Metric-Widget-Structure.html>

use enid_model::time::Timestamp;
use enid_telemetry::chart::{Axis, Color, Legend, Level, Moment, Shade, Side};
use serde_json::{Map, Value};

use super::widget_members::{Members, ONE_OF, invalid, not_drawn};
use super::widget_time;
use crate::error::ApiError;

/// What is to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Widget {
    pub width: u16,
    pub height: u16,
    pub title: Option<String>,
    pub start: Timestamp,
    pub end: Timestamp,
    pub offset_ms: i64,
    pub is_stacked: bool,
    pub is_dark: bool,
    pub legend: Legend,
    pub left: Axis,
    pub right: Axis,
    pub levels: Vec<Level>,
    pub moments: Vec<Moment>,
    pub metrics: Vec<Metric>,
}

/// A metric or an expression of a widget.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric {
    pub what: What,
    pub id: Option<String>,
    pub label: Option<String>,
    pub color: Option<Color>,
    pub side: Side,
    pub is_visible: bool,
    pub period_s: i32,
    pub stat: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Expression(String),
    Metric {
        namespace: String,
        name: String,
        dimensions: Vec<(String, String)>,
    },
}

// Source of all: the page that the module names.
const METRICS_MAX: usize = 100;
const SIDE_MAX: u64 = 2000;
const WIDTH: u16 = 600;
const HEIGHT: u16 = 400;
const PERIOD_S: i32 = 300;
const STAT: &str = "Average";
/// What the widget shows if it does not say.
const START: &str = "-PT3H";
const END: &str = "-PT0H";
const BYTES_MAX: usize = 100 * 1024;

/// Colours of annotations that have none of their own.
const MARK: Color = [0xd6, 0x27, 0x28];

impl Widget {
    /// Reads a widget that is asked for at a time, in a region.
    pub(super) fn parse(text: &str, now: Timestamp, region: &str) -> Result<Self, ApiError> {
        if text.len() > BYTES_MAX {
            return Err(invalid("", "Should NOT be longer than 100 KB"));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|_malformed| invalid("", "The metric widget is not valid JSON"))?;
        let mut members = Members::of("", value)?;
        let default_period = members.period()?.unwrap_or(PERIOD_S);
        let default_stat = members.text("stat")?.unwrap_or_else(|| STAT.to_owned());
        members.own_region(region)?;
        match members.text("view")?.as_deref() {
            None | Some("timeSeries") => {}
            Some(view @ ("singleValue" | "gauge" | "pie" | "bar" | "table")) => {
                return Err(not_drawn(&format!("view={view}")));
            }
            Some(_) => return Err(members.wrong("view", ONE_OF)),
        }
        let side = |value: Option<u64>, default: u16, members: &Members, name: &str| match value {
            None => Ok(default),
            Some(pixels @ 1..=SIDE_MAX) => Ok(u16::try_from(pixels).unwrap_or(default)),
            Some(0) => Err(members.wrong(name, "Should be >= 1")),
            Some(_) => Err(members.wrong(name, "Should be <= 2000")),
        };
        let (width, height) = (members.whole("width")?, members.whole("height")?);
        let start = members.text("start")?.unwrap_or_else(|| START.to_owned());
        let end = members.text("end")?.unwrap_or_else(|| END.to_owned());
        let time = |text: &str, name: &str| {
            let time = widget_time::parse(text, now);
            time.ok_or_else(|| members.wrong(name, "Should be a time or a duration"))
        };
        let (start, end) = (time(&start, "start")?, time(&end, "end")?);
        if start >= end {
            return Err(members.wrong("start", "Should be before the end"));
        }
        let offset_ms = match members.text("timezone")? {
            None => 0,
            Some(text) => widget_time::offset_ms(&text).ok_or_else(|| {
                members.wrong("timezone", "Should match pattern \"^[+-]\\d{4}$\"")
            })?,
        };
        let is_dark = match members.text("theme")?.as_deref() {
            None | Some("light") => false,
            Some("dark") => true,
            Some(_) => return Err(members.wrong("theme", ONE_OF)),
        };
        let is_stacked = members.truth("stacked")?.unwrap_or(false);
        let (left, right) = axes(&mut members)?;
        let (levels, moments) = annotations(&mut members, now)?;
        let widget = Self {
            width: side(width, WIDTH, &members, "width")?,
            height: side(height, HEIGHT, &members, "height")?,
            title: members.text("title")?,
            start,
            end,
            offset_ms,
            is_stacked,
            is_dark,
            legend: legend(&mut members)?,
            left,
            right,
            levels,
            moments,
            metrics: metrics(&mut members, default_period, &default_stat, region)?,
        };
        members.end()?;
        Ok(widget)
    }
}

fn legend(members: &mut Members) -> Result<Legend, ApiError> {
    let Some(mut legend) = members.part("legend")? else {
        return Ok(Legend::Bottom);
    };
    let position = match legend.text("position")?.as_deref() {
        None | Some("bottom") => Legend::Bottom,
        Some("hidden") => Legend::Hidden,
        Some("right") => Legend::Right,
        Some(_) => return Err(legend.wrong("position", ONE_OF)),
    };
    legend.end()?;
    Ok(position)
}

fn axes(members: &mut Members) -> Result<(Axis, Axis), ApiError> {
    let Some(mut both) = members.part("yAxis")? else {
        return Ok((Axis::default(), Axis::default()));
    };
    let mut axis = |name: &str| {
        let Some(mut axis) = both.part(name)? else {
            return Ok(Axis::default());
        };
        // Units are not written beside an axis, wanted or not.
        if axis.truth("showUnits")? == Some(true) {
            return Err(not_drawn("yAxis.showUnits=true"));
        }
        let read = Axis {
            label: axis.text("label")?,
            min: axis.number("min")?,
            max: axis.number("max")?,
        };
        if let (Some(min), Some(max)) = (read.min, read.max)
            && min >= max
        {
            return Err(axis.wrong("min", "Should be less than max"));
        }
        axis.end()?;
        Ok(read)
    };
    let axes = (axis("left")?, axis("right")?);
    both.end()?;
    Ok(axes)
}

fn annotations(
    members: &mut Members,
    now: Timestamp,
) -> Result<(Vec<Level>, Vec<Moment>), ApiError> {
    let Some(mut annotations) = members.part("annotations")? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut levels = Vec::new();
    for (path, item) in annotations.list("horizontal")? {
        levels.extend(level(&path, item)?);
    }
    let mut moments = Vec::new();
    for (path, item) in annotations.list("vertical")? {
        moments.extend(moment(&path, item, now)?);
    }
    annotations.end()?;
    Ok((levels, moments))
}

/// A value that is marked, or two with what is between them. `None`: it is not visible.
fn level(path: &str, item: Value) -> Result<Option<Level>, ApiError> {
    let (first, other) = pair(path, item)?;
    let mut members = Members::of(path, first)?;
    let is_visible = members.truth("visible")?.unwrap_or(true);
    let value = members.number("value")?;
    let value = value.ok_or_else(|| members.missing("value"))?;
    let mut shade = match members.text("fill")?.as_deref() {
        None | Some("none") => Shade::None,
        Some("above") => Shade::Above,
        Some("below") => Shade::Below,
        Some(_) => return Err(members.wrong("fill", ONE_OF)),
    };
    let level = Level {
        value,
        label: members.text("label")?,
        color: members.color()?.unwrap_or(MARK),
        side: members.side()?,
        shade: Shade::None,
    };
    members.end()?;
    if let Some(other) = other {
        let mut other = Members::of(path, other)?;
        let value = other.number("value")?;
        shade = Shade::To(value.ok_or_else(|| other.missing("value"))?);
        other.text("label")?;
        other.end()?;
    }
    Ok(is_visible.then_some(Level { shade, ..level }))
}

fn moment(path: &str, item: Value, now: Timestamp) -> Result<Option<Moment>, ApiError> {
    let (first, other) = pair(path, item)?;
    let mut members = Members::of(path, first)?;
    let time = |members: &mut Members| {
        let text = members.text("value")?;
        let text = text.ok_or_else(|| members.missing("value"))?;
        let time = widget_time::parse(&text, now);
        time.ok_or_else(|| members.wrong("value", "Should be a time"))
    };
    let is_visible = members.truth("visible")?.unwrap_or(true);
    let mut moment = Moment {
        at: time(&mut members)?,
        label: members.text("label")?,
        color: members.color()?.unwrap_or(MARK),
        until: None,
    };
    match members.text("fill")?.as_deref() {
        None | Some("none") => {}
        Some("before") => (moment.at, moment.until) = (Timestamp(0), Some(moment.at)),
        Some("after") => moment.until = Some(now),
        Some(_) => return Err(members.wrong("fill", ONE_OF)),
    }
    members.end()?;
    if let Some(other) = other {
        let mut other = Members::of(path, other)?;
        moment.until = Some(time(&mut other)?);
        other.text("label")?;
        other.end()?;
    }
    Ok(is_visible.then_some(moment))
}

/// One annotation, or the two edges of a band.
fn pair(path: &str, item: Value) -> Result<(Value, Option<Value>), ApiError> {
    match item {
        Value::Array(edges) => {
            let mut edges = edges.into_iter();
            match (edges.next(), edges.next(), edges.next()) {
                (Some(first), Some(other), None) => Ok((first, Some(other))),
                _ => Err(invalid(path, "Should have 2 items")),
            }
        }
        one => Ok((one, None)),
    }
}

fn metrics(
    members: &mut Members,
    default_period: i32,
    default_stat: &str,
    region: &str,
) -> Result<Vec<Metric>, ApiError> {
    if !members.has("metrics") {
        return Err(invalid("", "Should have required property 'metrics'"));
    }
    let list = members.list("metrics")?;
    if list.is_empty() {
        return Err(members.wrong("metrics", "Should NOT have fewer than 1 items"));
    }
    if list.len() > METRICS_MAX {
        return Err(members.wrong("metrics", "Should NOT have more than 100 items"));
    }
    let mut before: Vec<String> = Vec::new();
    let mut metrics = Vec::new();
    for (path, item) in list {
        let Value::Array(mut items) = item else {
            return Err(invalid(&path, "Should be array"));
        };
        let rendering = match items.last() {
            Some(Value::Object(_)) => items.pop(),
            _ => None,
        };
        let at = format!("{path}/{}", items.len());
        let rendering = rendering.unwrap_or_else(|| Value::Object(Map::new()));
        let mut members = Members::of(&at, rendering)?;
        let words = items.into_iter().map(|item| match item {
            Value::String(word) => Ok(word),
            _ => Err(invalid(&path, "Should be string")),
        });
        let words: Vec<String> = words.collect::<Result<_, _>>()?;
        let what = match (words.is_empty(), members.text("expression")?) {
            (true, Some(expression)) => What::Expression(expression),
            (false, None) => {
                before = spelled_out(&path, words, &before)?;
                metric(&path, &before)?
            }
            _ => {
                let words = "Should have either a metric or an expression";
                return Err(invalid(&path, words));
            }
        };
        members.own_region(region)?;
        metrics.push(Metric {
            what,
            id: members.text("id")?,
            label: members.text("label")?,
            color: members.color()?,
            side: members.side()?,
            is_visible: members.truth("visible")?.unwrap_or(true),
            period_s: members.period()?.unwrap_or(default_period),
            stat: members
                .text("stat")?
                .unwrap_or_else(|| default_stat.to_owned()),
        });
        members.end()?;
    }
    Ok(metrics)
}

/// A metric whose words are all there: `.` is the word at the same place of the one before, `...` all of
/// its words for which this one has none.
fn spelled_out(path: &str, words: Vec<String>, before: &[String]) -> Result<Vec<String>, ApiError> {
    let nothing = || invalid(path, "Nothing before it to repeat");
    let mut spelled = Vec::new();
    let rest = match words.split_first() {
        Some((first, rest)) if first == "..." => {
            let kept = before.len().checked_sub(rest.len());
            let kept = kept.filter(|kept| *kept > 0).ok_or_else(nothing)?;
            spelled.extend(before.iter().take(kept).cloned());
            rest.to_vec()
        }
        _ => words,
    };
    for word in rest {
        let word = match word.as_str() {
            "." => before.get(spelled.len()).cloned().ok_or_else(nothing)?,
            _ => word,
        };
        spelled.push(word);
    }
    Ok(spelled)
}

fn metric(path: &str, words: &[String]) -> Result<What, ApiError> {
    let [namespace, name, dimensions @ ..] = words else {
        return Err(invalid(path, "Should NOT have fewer than 2 items"));
    };
    let pairs = dimensions.chunks(2).map(|pair| match pair {
        [name, value] => Ok((name.clone(), value.clone())),
        _ => Err(invalid(path, "A dimension should have a name and a value")),
    });
    Ok(What::Metric {
        namespace: namespace.clone(),
        name: name.clone(),
        dimensions: pairs.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn parse(text: &str) -> Result<Widget, String> {
        Widget::parse(text, NOW, "eu-west-1").map_err(|error| error.to_string())
    }

    fn shown(metric: &Metric) -> String {
        match &metric.what {
            What::Expression(text) => text.clone(),
            What::Metric {
                namespace,
                name,
                dimensions,
            } => {
                let pairs = dimensions
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                format!("{namespace} {name} {}", pairs.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn short_words_stand_for_those_before() {
        let widget = parse(
            r##"{"metrics": [
                ["AWS/EC2", "NetworkIn", "InstanceId", "i-1", {"stat": "Sum", "id": "m1"}],
                ["...", "i-2"],
                [".", "NetworkOut", ".", "i-3", {"yAxis": "right", "color": "#ff0000"}],
                [{"expression": "m1*8", "label": "bits", "period": 60}]
            ]}"##,
        )
        .unwrap();
        let metrics: Vec<String> = widget.metrics.iter().map(shown).collect();
        assert_eq!(
            metrics,
            [
                "AWS/EC2 NetworkIn InstanceId=i-1",
                "AWS/EC2 NetworkIn InstanceId=i-2",
                "AWS/EC2 NetworkOut InstanceId=i-3",
                "m1*8",
            ]
        );
        let of = |number: usize| &widget.metrics[number];
        assert_eq!(
            (of(0).stat.as_str(), of(1).stat.as_str()),
            ("Sum", "Average")
        );
        assert_eq!((of(2).side, of(2).color), (Side::Right, Some([255, 0, 0])));
        assert_eq!((of(0).period_s, of(3).period_s), (300, 60));
        assert_eq!((widget.width, widget.height), (600, 400));
        assert_eq!(widget.end.0 - widget.start.0, 3 * 3_600_000);
    }

    #[test]
    fn everything_that_is_drawn() {
        let widget = parse(
            r##"{"metrics": [["N", "m"]], "title": "t", "width": 1000, "height": 2000,
                "start": "-P1D", "end": "2026-01-02T00:00:00.000Z", "timezone": "-0130",
                "theme": "dark", "stacked": true, "view": "timeSeries", "region": "eu-west-1",
                "legend": {"position": "right"},
                "yAxis": {"left": {"min": 0, "max": 10, "label": "x", "showUnits": false}},
                "annotations": {
                    "horizontal": [{"value": 5, "fill": "above", "color": "#00f"},
                                   [{"value": 1, "label": "a"}, {"value": 2}],
                                   {"value": 9, "visible": false}],
                    "vertical": [{"value": "2026-01-01T12:00:00Z", "label": "deployed"}]
                }}"##,
        )
        .unwrap();
        assert_eq!(widget.legend, Legend::Right);
        assert!(widget.is_dark && widget.is_stacked);
        assert_eq!(widget.offset_ms, -90 * 60_000);
        assert_eq!((widget.left.min, widget.left.max), (Some(0.0), Some(10.0)));
        let shades: Vec<Shade> = widget.levels.iter().map(|level| level.shade).collect();
        assert_eq!(shades, [Shade::Above, Shade::To(2.0)]);
        assert_eq!(widget.levels[0].color, [0, 0, 255]);
        assert_eq!(widget.moments.len(), 1);
    }

    #[test]
    fn what_is_no_widget_is_refused_by_name() {
        let with = |more: &str| format!("{{\"metrics\": [[\"N\", \"m\"]], {more}}}");
        for (text, wanted) in [
            ("{".to_owned(), "The metric widget is not valid JSON"),
            ("[]".to_owned(), "Should be object"),
            ("{}".to_owned(), "Should have required property 'metrics'"),
            (
                r#"{"metrics": []}"#.to_owned(),
                "Should NOT have fewer than 1 items",
            ),
            (
                r#"{"metrics": [["N"]]}"#.to_owned(),
                "Should NOT have fewer than 2 items",
            ),
            (
                r#"{"metrics": [["...", "x"]]}"#.to_owned(),
                "Nothing before it to repeat",
            ),
            (
                r#"{"metrics": [["N", "m", "d"]]}"#.to_owned(),
                "A dimension should have",
            ),
            (
                r#"{"metrics": [["N", "m", {"colour": "x"}]]}"#.to_owned(),
                r#"{"dataPath":"/metrics/0/2","message":"Should NOT have additional properties: 'colour'"}"#,
            ),
            (with(r#""height": 2001"#), "Should be <= 2000"),
            (
                with(r#""widht": 1"#),
                "Should NOT have additional properties: 'widht'",
            ),
            (with(r#""view": "pie""#), "view=pie"),
            (with(r#""liveData": true"#), "liveData"),
            (with(r#""region": "us-east-1""#), "region=us-east-1"),
            (
                with(r#""start": "PT0H", "end": "-PT1H""#),
                "Should be before the end",
            ),
            (
                with(r#""start": "yesterday""#),
                "Should be a time or a duration",
            ),
            (
                with(r#""legend": {"position": "top"}"#),
                "Should be equal to one of",
            ),
            (
                with(r#""yAxis": {"left": {"min": 2, "max": 1}}"#),
                "Should be less than max",
            ),
            (
                with(r#""annotations": {"horizontal": [{"label": "x"}]}"#),
                "required property 'value'",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
