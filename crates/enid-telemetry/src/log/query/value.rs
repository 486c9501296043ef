//! What expressions are worth.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use enid_model::time::Timestamp;
use serde_json::Value as Json;

use super::plan::Key;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// There is none.
    Missing,
    /// A map or a list: what AWS calls a structure.
    Structure(Arc<Json>),
    /// A number; what holds is 1 and what does not is 0.
    Number(f64),
    /// A text.
    Text(String),
    /// A point in time, in milliseconds.
    Time(i64),
}

impl Value {
    /// Whether something holds.
    pub(super) fn truth(holds: bool) -> Self {
        Self::Number(if holds { 1.0 } else { 0.0 })
    }

    /// Whether a condition is fulfilled.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Structure(_) => false,
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => text.eq_ignore_ascii_case("true") || text == "1",
            Self::Time(_) => true,
        }
    }

    /// It as a number, if it is one or is written as one.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Missing | Self::Structure(_) => None,
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53")]
            Self::Time(ms) => Some(*ms as f64),
        };
        number.filter(|number: &f64| number.is_finite())
    }

    /// It as a text, if there is one.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::Text(text) => Some(text.clone()),
            Self::Number(_) | Self::Structure(_) | Self::Time(_) => Some(self.to_string()),
        }
    }

    /// What JSON says, if it says anything.
    pub(super) fn of_json(json: &Json) -> Self {
        match json {
            Json::Array(_) | Json::Object(_) => Self::Structure(Arc::new(json.clone())),
            Json::Bool(holds) => Self::truth(*holds),
            Json::Null => Self::Missing,
            Json::Number(number) => number.as_f64().map_or(Self::Missing, Self::Number),
            Json::String(text) => Self::Text(text.clone()),
        }
    }

    /// A map or list that a text says; nothing if it says something else.
    pub(super) fn structure(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(json @ (Json::Array(_) | Json::Object(_))) => Self::Structure(Arc::new(json)),
            _ => Self::Missing,
        }
    }

    /// What is in a structure where these keys lead one after another.
    pub(super) fn within<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Self {
        let Self::Structure(json) = self else {
            return Self::Missing;
        };
        let mut found = Some(&**json);
        for key in keys {
            found = found.and_then(|json| match key {
                Key::Index(index) => json.as_array()?.get(*index),
                Key::Name(name) => json.as_object()?.get(name),
            });
        }
        found.map_or(Self::Missing, Self::of_json)
    }

    /// It as milliseconds.
    pub(super) fn millis(&self) -> Option<i64> {
        match self {
            Self::Time(ms) => Some(*ms),
            other => other.number().map(whole),
        }
    }

    /// Whether there is one.
    pub(super) fn is_present(&self) -> bool {
        *self != Self::Missing
    }

    /// How it compares with another: as numbers if both are, else as texts. What is missing compares
    /// with nothing.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        if let (Some(one), Some(other)) = (self.number(), other.number()) {
            return one.partial_cmp(&other);
        }
        Some(self.text()?.cmp(&other.text()?))
    }

    /// The order of `sort`: what is no number, then numbers, then what is missing.
    /// Source: CloudWatch Logs User Guide, "sort".
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self.number(), other.number()) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (one, number) => match (self.text(), other.text()) {
                (Some(text), Some(other)) => {
                    let numbers = one.is_some().cmp(&number.is_some());
                    numbers.then_with(|| natural(&text, &other))
                }
                (one, other) => one.is_none().cmp(&other.is_none()),
            },
        }
    }
}

/// Texts with numbers in them: digits go by how many they are, then by what they are.
fn natural(mut one: &str, mut other: &str) -> Ordering {
    while let (Some(a), Some(b)) = (one.chars().next(), other.chars().next()) {
        let is_digit = |c: char| c.is_ascii_digit();
        if !is_digit(a) || !is_digit(b) {
            let order = a.cmp(&b);
            if order.is_ne() {
                return order;
            }
            (one, other) = (&one[a.len_utf8()..], &other[b.len_utf8()..]);
            continue;
        }
        let digits = |text: &str| text.find(|c| !is_digit(c)).unwrap_or(text.len());
        let (a, b) = (one.split_at(digits(one)), other.split_at(digits(other)));
        let order = a.0.len().cmp(&b.0.len()).then_with(|| a.0.cmp(b.0));
        if order.is_ne() {
            return order;
        }
        (one, other) = (a.1, b.1);
    }
    one.len().cmp(&other.len())
}

/// The nearest whole number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates, which is what is wanted"
)]
pub(super) fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// As results show it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => Ok(()),
            Self::Number(number) => {
                // Four digits behind the point, as AWS shows, without those that say nothing.
                let rounded = (number * 10_000.0).round() / 10_000.0;
                let shown = if rounded == 0.0 && *number != 0.0 {
                    *number
                } else {
                    rounded
                };
                write!(f, "{shown}")
            }
            Self::Structure(json) => json.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Time(ms) => {
                let (year, month, day, hour, minute, second) = Timestamp(*ms).civil();
                let milli = ms.rem_euclid(1000);
                write!(
                    f,
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_aws_shows_them() {
        for (value, shown) in [
            (Value::Number(3.0), "3"),
            (Value::Number(2.0 / 3.0), "0.6667"),
            (Value::Number(-0.5), "-0.5"),
            (Value::Number(0.00001), "0.00001"),
            (Value::Time(1_767_323_045_006), "2026-01-02 03:04:05.006"),
            (Value::Missing, ""),
        ] {
            assert_eq!(value.to_string(), shown);
        }
    }

    #[test]
    fn numbers_compare_as_numbers_and_others_as_texts() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            text("10").compare(&Value::Number(9.0)),
            Some(Ordering::Greater)
        );
        assert_eq!(text("10").compare(&text("9")), Some(Ordering::Greater));
        assert_eq!(
            text("a").compare(&Value::Number(9.0)),
            Some(Ordering::Greater)
        );
        assert_eq!(Value::Missing.compare(&text("a")), None);
        let mut all = [
            Value::Missing,
            text("b10"),
            Value::Number(30.0),
            text("b9"),
            text("2"),
            text("a"),
        ];
        all.sort_by(Value::order);
        let shown = all.map(|value| value.to_string());
        assert_eq!(shown, ["a", "b9", "b10", "2", "30", ""]);
    }
}
