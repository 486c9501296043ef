//! The functions of metric math.

use std::collections::BTreeMap;

use enid_model::time::Timestamp;

use super::evaluate::{MathError, Source, evaluate};
use super::parse::Expression;
use super::value::{Series, Value, finite};

/// All functions, sorted.
const FUNCTIONS: [&str; 35] = [
    "ABS",
    "ANOMALY_DETECTION_BAND",
    "AVG",
    "CEIL",
    "DATAPOINT_COUNT",
    "DATE",
    "DAY",
    "DIFF",
    "DIFF_TIME",
    "EPOCH",
    "FILL",
    "FIRST",
    "FLOOR",
    "HOUR",
    "IF",
    "LAST",
    "LOG",
    "LOG10",
    "MAX",
    "METRICS",
    "METRIC_COUNT",
    "MIN",
    "MINUTE",
    "MONTH",
    "PERIOD",
    "RATE",
    "REMOVE_EMPTY",
    "RUNNING_SUM",
    "SEARCH",
    "SLICE",
    "SORT",
    "STDDEV",
    "SUM",
    "TIME_SERIES",
    "YEAR",
];

/// Whether there is such a function.
pub(super) fn is_known(name: &str) -> bool {
    FUNCTIONS.binary_search(&name).is_ok()
}

/// What a function makes of its arguments.
pub(super) fn call(
    name: &str,
    arguments: &[Expression],
    source: &dyn Source,
) -> Result<Value, MathError> {
    let call = Call {
        name,
        arguments,
        source,
    };
    match name {
        "ABS" => call.each(|_, value| Some(value.abs())),
        "ANOMALY_DETECTION_BAND" => call.band(),
        "CEIL" => call.each(|_, value| Some(value.ceil())),
        "FLOOR" => call.each(|_, value| Some(value.floor())),
        "LOG" => call.each(|_, value| Some(value.ln())),
        "LOG10" => call.each(|_, value| Some(value.log10())),
        "DATE" | "DAY" | "EPOCH" | "HOUR" | "MINUTE" | "MONTH" | "YEAR" => {
            call.each(|time, _| Some(part_of_time(name, time)))
        }
        "AVG" | "MAX" | "MIN" | "STDDEV" | "SUM" => call.statistic(),
        "DIFF" => call.steps(|_, value| value),
        "DIFF_TIME" => call.steps(|seconds, _| seconds),
        "RATE" => call.steps(|seconds, value| value / seconds),
        "RUNNING_SUM" => call.running_sum(),
        "DATAPOINT_COUNT" => Ok(Value::Scalar(count(call.series(0)?.points.len()))),
        "METRIC_COUNT" => Ok(Value::Scalar(count(call.array(0)?.len()))),
        "FILL" => call.fill(),
        "FIRST" => call.one_of(|array| array.first()),
        "LAST" => call.one_of(|array| array.last()),
        "IF" => call.choose(),
        "METRICS" => call.metrics(),
        "PERIOD" => call.period(),
        "REMOVE_EMPTY" => {
            let mut array = call.array(0)?;
            array.retain(|series| !series.points.is_empty());
            Ok(Value::Array(array))
        }
        "SEARCH" => call.search(),
        "SLICE" => call.slice(),
        "SORT" => call.sort(),
        "TIME_SERIES" => {
            let number = call.number(0)?;
            let times = source.times().into_iter();
            let points = times.map(|time| (time, number)).collect();
            let label = String::new();
            Ok(Value::Series(Series { label, points }))
        }
        _ => Err(call.wrong()),
    }
}

/// A call that is being carried out.
struct Call<'a> {
    name: &'a str,
    arguments: &'a [Expression],
    source: &'a dyn Source,
}

impl Call<'_> {
    fn wrong(&self) -> MathError {
        MathError::Arguments(self.name.to_owned())
    }

    fn value(&self, at: usize) -> Result<Value, MathError> {
        let argument = self.arguments.get(at).ok_or_else(|| self.wrong())?;
        evaluate(argument, self.source)
    }

    fn series(&self, at: usize) -> Result<Series, MathError> {
        match self.value(at)? {
            Value::Series(series) => Ok(series),
            _ => Err(self.wrong()),
        }
    }

    fn array(&self, at: usize) -> Result<Vec<Series>, MathError> {
        match self.value(at)? {
            Value::Array(array) => Ok(array),
            _ => Err(self.wrong()),
        }
    }

    fn number(&self, at: usize) -> Result<f64, MathError> {
        match self.value(at)? {
            Value::Scalar(number) => Ok(number),
            _ => Err(self.wrong()),
        }
    }

    /// A whole number that is not negative.
    fn index(&self, at: usize) -> Result<usize, MathError> {
        let number = self.number(at)?;
        let fits = number.fract() == 0.0 && (0.0..1e9).contains(&number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small whole number"
        )]
        fits.then_some(number as usize).ok_or_else(|| self.wrong())
    }

    fn word(&self, at: usize) -> Result<&str, MathError> {
        match self.arguments.get(at) {
            Some(Expression::Name(word)) => Ok(word),
            _ => Err(self.wrong()),
        }
    }

    fn text(&self, at: usize) -> Result<&str, MathError> {
        match self.arguments.get(at) {
            Some(Expression::Text(text)) => Ok(text),
            _ => Err(self.wrong()),
        }
    }

    /// A change of every point, or of a number.
    fn each(&self, change: impl Fn(i64, f64) -> Option<f64>) -> Result<Value, MathError> {
        self.over(
            |series| series.map(&change),
            |number| finite(change(0, number)),
        )
    }

    fn over(
        &self,
        change: impl Fn(&Series) -> Series,
        number: impl Fn(f64) -> Option<f64>,
    ) -> Result<Value, MathError> {
        Ok(match self.value(0)? {
            Value::Series(series) => Value::Series(change(&series)),
            Value::Array(array) => Value::Array(array.iter().map(change).collect()),
            Value::Scalar(value) => Value::Scalar(number(value).ok_or_else(|| self.wrong())?),
        })
    }

    /// Of one series a number, of several a series.
    fn statistic(&self) -> Result<Value, MathError> {
        match self.value(0)? {
            Value::Series(series) => {
                let values: Vec<f64> = series.points.values().copied().collect();
                match statistic(self.name, &values) {
                    Some(number) => Ok(Value::Scalar(number)),
                    // Of nothing there is no number, and nothing that is computed with it has points.
                    None => Ok(Value::Series(series)),
                }
            }
            Value::Array(array) => {
                let mut columns: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                for (time, value) in array.iter().flat_map(|series| &series.points) {
                    columns.entry(*time).or_default().push(*value);
                }
                let columns = columns.into_iter();
                let points = columns
                    .filter_map(|(time, values)| Some((time, statistic(self.name, &values)?)));
                let points = points.collect();
                let label = String::new();
                Ok(Value::Series(Series { label, points }))
            }
            Value::Scalar(_) => Err(self.wrong()),
        }
    }

    /// From each point to the next: of the seconds and the difference between them.
    fn steps(&self, of: impl Fn(f64, f64) -> f64) -> Result<Value, MathError> {
        let step = |series: &Series| {
            let next = series.points.iter().skip(1);
            let pairs = series.points.iter().zip(next);
            let points = pairs.filter_map(|((before, from), (time, to))| {
                let seconds = seconds(time - before);
                Some((*time, finite(Some(of(seconds, to - from)))?))
            });
            series.with(points.collect())
        };
        self.over(step, |_| None)
    }

    fn running_sum(&self) -> Result<Value, MathError> {
        let sum = |series: &Series| {
            let mut sum = 0.0;
            let points = series.points.iter().map(|(time, value)| {
                sum += value;
                (*time, sum)
            });
            let points = points.collect();
            series.with(points)
        };
        self.over(sum, |_| None)
    }

    /// The upper and the lower bound, in this order; of two standard deviations if it is not said.
    fn band(&self) -> Result<Value, MathError> {
        let deviations = match self.arguments.len() {
            1 => 2.0,
            2 => self.number(1)?,
            _ => return Err(self.wrong()),
        };
        if deviations <= 0.0 || !deviations.is_finite() {
            return Err(self.wrong());
        }
        let argument = self.arguments.first().ok_or_else(|| self.wrong())?;
        // Of what has no band, such as a number, the argument's own error is told.
        let Value::Series(of) = evaluate(argument, self.source)? else {
            return Err(self.wrong());
        };
        let [mut upper, mut lower] = self.source.band(argument, deviations)?;
        upper.label = format!("{} upper", of.label);
        lower.label = format!("{} lower", of.label);
        Ok(Value::Array(vec![upper, lower]))
    }

    fn fill(&self) -> Result<Value, MathError> {
        let times = self.source.times();
        match self.arguments.get(1) {
            Some(Expression::Name(word)) if word == "REPEAT" => {
                self.over(|series| repeated(series, &times), |_| None)
            }
            Some(Expression::Name(word)) if word == "LINEAR" => {
                self.over(|series| interpolated(series, &times), |_| None)
            }
            _ => {
                let with = self.value(1)?;
                let filled = |series: &Series| {
                    let points = times.iter().filter_map(|time| {
                        let missing = match &with {
                            Value::Scalar(number) => Some(*number),
                            Value::Series(other) => other.points.get(time).copied(),
                            Value::Array(_) => None,
                        };
                        Some((*time, series.points.get(time).copied().or(missing)?))
                    });
                    series.with(points.collect())
                };
                self.over(filled, |_| None)
            }
        }
    }

    fn one_of(&self, pick: impl Fn(&Vec<Series>) -> Option<&Series>) -> Result<Value, MathError> {
        let array = self.array(0)?;
        Ok(Value::Series(pick(&array).cloned().unwrap_or_default()))
    }

    fn choose(&self) -> Result<Value, MathError> {
        let (condition, then) = (self.value(0)?, self.value(1)?);
        let other = match self.arguments.len() {
            2 => None,
            3 => Some(self.value(2)?),
            _ => return Err(self.wrong()),
        };
        let condition = match condition {
            // One answer for all times.
            Value::Scalar(number) => {
                return match (number != 0.0, other) {
                    (true, _) => Ok(then),
                    (false, Some(other)) => Ok(other),
                    (false, None) => Ok(Value::Series(Series::default())),
                };
            }
            Value::Series(series) => series,
            Value::Array(_) => return Err(self.wrong()),
        };
        let at = |value: &Value, time: i64| match value {
            Value::Scalar(number) => Some(*number),
            Value::Series(series) => series.points.get(&time).copied(),
            Value::Array(_) => None,
        };
        if [Some(&then), other.as_ref()]
            .iter()
            .flatten()
            .any(|value| matches!(value, Value::Array(_)))
        {
            return Err(self.wrong());
        }
        Ok(Value::Series(condition.map(|time, truth| {
            match truth != 0.0 {
                true => Some(at(&then, time).unwrap_or(0.0)),
                false => at(other.as_ref()?, time),
            }
        })))
    }

    fn metrics(&self) -> Result<Value, MathError> {
        let part = match self.arguments.len() {
            0 => "",
            _ => self.text(0)?,
        };
        let all = self.source.metrics().into_iter();
        let fitting = all.filter(|(id, _)| id.contains(part));
        Ok(Value::Array(fitting.map(|(_, series)| series).collect()))
    }

    fn period(&self) -> Result<Value, MathError> {
        let period = self.source.period_of(self.word(0)?);
        let period = period.ok_or_else(|| self.wrong())?;
        Ok(Value::Scalar(seconds(period * 1000)))
    }

    fn search(&self) -> Result<Value, MathError> {
        let (terms, statistic) = (self.text(0)?, self.text(1)?);
        let period = match self.arguments.len() {
            2 => self.source.period_s(),
            3 => i64::try_from(self.index(2)?).unwrap_or(60),
            _ => return Err(self.wrong()),
        };
        if !crate::metric::level::is_period(period) {
            return Err(self.wrong());
        }
        let found = self.source.search(terms, statistic, period)?;
        Ok(Value::Array(found))
    }

    fn slice(&self) -> Result<Value, MathError> {
        let array = self.array(0)?;
        let start = self.index(1)?;
        let end = match self.arguments.len() {
            2 => array.len(),
            _ => self.index(2)?,
        };
        let count = end.saturating_sub(start);
        Ok(Value::Array(
            array.into_iter().skip(start).take(count).collect(),
        ))
    }

    fn sort(&self) -> Result<Value, MathError> {
        let mut array = self.array(0)?;
        let by = self.word(1)?;
        if !["AVG", "MAX", "MIN", "SUM"].contains(&by) {
            return Err(self.wrong());
        }
        let rank = |series: &Series| {
            let values: Vec<f64> = series.points.values().copied().collect();
            statistic(by, &values).unwrap_or(f64::NEG_INFINITY)
        };
        match self.word(2)? {
            "ASC" => array.sort_by(|a, b| rank(a).total_cmp(&rank(b))),
            "DESC" => array.sort_by(|a, b| rank(b).total_cmp(&rank(a))),
            _ => return Err(self.wrong()),
        }
        if self.arguments.len() > 3 {
            array.truncate(self.index(3)?);
        }
        Ok(Value::Array(array))
    }
}

fn statistic(name: &str, values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let sum: f64 = values.iter().sum();
    let mean = sum / count(values.len());
    Some(match name {
        "SUM" => sum,
        "MIN" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "MAX" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "STDDEV" => {
            let squares = values.iter().map(|value| (value - mean).powi(2));
            (squares.sum::<f64>() / count(values.len())).sqrt()
        }
        _ => mean,
    })
}

fn repeated(series: &Series, times: &[i64]) -> Series {
    let points = times.iter().filter_map(|time| {
        let last = series.points.range(..=time).next_back()?;
        Some((*time, *last.1))
    });
    series.with(points.collect())
}

fn interpolated(series: &Series, times: &[i64]) -> Series {
    let points = times.iter().filter_map(|time| {
        let (before, from) = series.points.range(..=time).next_back()?;
        let (after, to) = series.points.range(time..).next()?;
        let share = match after - before {
            0 => 0.0,
            width => seconds(time - before) / seconds(width),
        };
        Some((*time, from + (to - from) * share))
    });
    series.with(points.collect())
}

fn part_of_time(name: &str, time: i64) -> f64 {
    let (year, month, date, hour, minute, _) = Timestamp(time).civil();
    match name {
        "DATE" => f64::from(date),
        // 1970-01-01 was a Thursday, the fourth day; Monday is the first.
        "DAY" => {
            let day = (time.div_euclid(86_400_000) + 3).rem_euclid(7) + 1;
            seconds(day * 1000)
        }
        "EPOCH" => seconds(time),
        "HOUR" => f64::from(hour),
        "MINUTE" => f64::from(minute),
        "MONTH" => f64::from(month),
        _ => seconds(year * 1000),
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of this age are exact")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a double counts")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_sorted() {
        assert!(FUNCTIONS.is_sorted());
        assert!(is_known("SUM") && !is_known("sum"));
    }
}
