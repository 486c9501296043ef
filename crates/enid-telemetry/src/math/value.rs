//! What expressions are about: numbers, series, and arrays of series; and the operators between them.

use std::collections::BTreeMap;

use super::parse::Operator;

/// A series: points in time, in milliseconds, with their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What it is called where nothing else says so.
    pub label: String,
    /// The points.
    pub points: BTreeMap<i64, f64>,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `TS[]`: several series.
    Array(Vec<Series>),
    /// `S`: a number.
    Scalar(f64),
    /// `TS`: one series.
    Series(Series),
}

impl Series {
    /// The same with other points.
    #[must_use]
    pub fn with(&self, points: BTreeMap<i64, f64>) -> Self {
        Self {
            label: self.label.clone(),
            points,
        }
    }

    /// The same with each point changed; those without a result are dropped.
    #[must_use]
    pub fn map(&self, change: impl Fn(i64, f64) -> Option<f64>) -> Self {
        let points = self.points.iter();
        let points =
            points.filter_map(|(time, value)| Some((*time, finite(change(*time, *value))?)));
        self.with(points.collect())
    }
}

/// Only numbers are points.
pub(super) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// What an operator makes of two values; `None` if there is no such thing.
#[must_use]
pub fn combine(operator: Operator, left: &Value, right: &Value) -> Option<Value> {
    Some(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            Value::Scalar(finite(apply(operator, *left, *right))?)
        }
        (Value::Series(left), Value::Series(right)) => Value::Series(both(operator, left, right)),
        (Value::Series(series), Value::Scalar(number)) => {
            Value::Series(series.map(|_, value| apply(operator, value, *number)))
        }
        (Value::Scalar(number), Value::Series(series)) => {
            Value::Series(series.map(|_, value| apply(operator, *number, value)))
        }
        (Value::Array(_), Value::Array(_)) => return None,
        (Value::Array(array), other) => {
            let each = array.iter();
            let each = each.map(|series| combine(operator, &Value::Series(series.clone()), other));
            Value::Array(each.map(series_of).collect::<Option<_>>()?)
        }
        (other, Value::Array(array)) => {
            let each = array.iter();
            let each = each.map(|series| {
                let combined = combine(operator, other, &Value::Series(series.clone()));
                let mut made = series_of(combined)?;
                made.label.clone_from(&series.label);
                Some(made)
            });
            Value::Array(each.collect::<Option<_>>()?)
        }
    })
}

fn series_of(value: Option<Value>) -> Option<Series> {
    match value {
        Some(Value::Series(series)) => Some(series),
        _ => None,
    }
}

/// Where only one has a point, the other counts as zero.
fn both(operator: Operator, left: &Series, right: &Series) -> Series {
    let times = left.points.keys().chain(right.points.keys());
    let value = |series: &Series, time: &i64| series.points.get(time).copied().unwrap_or(0.0);
    let points = times.filter_map(|time| {
        let combined = apply(operator, value(left, time), value(right, time));
        Some((*time, finite(combined)?))
    });
    left.with(points.collect())
}

fn apply(operator: Operator, left: f64, right: f64) -> Option<f64> {
    #[expect(clippy::float_cmp, reason = "expressions compare values as they are")]
    let truth = match operator {
        Operator::Add => return Some(left + right),
        Operator::Subtract => return Some(left - right),
        Operator::Multiply => return Some(left * right),
        Operator::Divide if right == 0.0 => return None,
        Operator::Divide => return Some(left / right),
        Operator::Power => return Some(left.powf(right)),
        Operator::And => left != 0.0 && right != 0.0,
        Operator::Or => left != 0.0 || right != 0.0,
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
    };
    Some(f64::from(u8::from(truth)))
}
