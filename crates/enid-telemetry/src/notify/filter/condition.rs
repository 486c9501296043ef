//! One condition of a filter policy, and whether a value meets it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Number, Value};

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// Something is there, and none of these holds for it.
    AnythingBut(Vec<Self>),
    /// The text is an address in a block.
    Cidr(IpNet),
    /// The value is this one.
    Equals(Value),
    /// The text is this one, whatever the case of its letters.
    EqualsIgnoreCase(String),
    /// Something is there, or nothing is.
    Exists(bool),
    /// The number is between these.
    Numeric(Bound, Bound),
    /// The text starts so.
    Prefix(String),
    /// The text ends so.
    Suffix(String),
    /// The text is this one with anything in place of each `*`.
    Wildcard(String),
}

/// One end of a range of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// None.
    Open,
    /// The end belongs to the range.
    With(f64),
    /// It does not.
    Without(f64),
}

impl Condition {
    /// Whether what is there meets it. Of a list one item must.
    pub(super) fn holds(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Exists(wanted), found) => found.is_some() == *wanted,
            (_, None) => false,
            // No item of a list may be what is excluded.
            (Self::AnythingBut(excluded), Some(Value::Array(items))) => {
                let is_excluded = |item| excluded.iter().any(|own| own.meets(item));
                !items.is_empty() && !items.iter().any(is_excluded)
            }
            (_, Some(Value::Array(items))) => items.iter().any(|item| self.meets(item)),
            (_, Some(value)) => self.meets(value),
        }
    }

    fn meets(&self, value: &Value) -> bool {
        let text = value.as_str();
        let is = |test: &dyn Fn(&str) -> bool| text.is_some_and(test);
        match self {
            Self::AnythingBut(excluded) => {
                let is_scalar = !value.is_object() && !value.is_null();
                is_scalar && !excluded.iter().any(|own| own.meets(value))
            }
            Self::Cidr(block) => is(&|text| {
                let address: Option<IpAddr> = text.parse().ok();
                address.is_some_and(|address| block.contains(&address))
            }),
            Self::Equals(Value::Number(wanted)) => {
                let number = value.as_number();
                number.is_some_and(|number| number.as_f64() == wanted.as_f64())
            }
            Self::Equals(wanted) => value == wanted,
            Self::EqualsIgnoreCase(wanted) => {
                is(&|text| text.to_lowercase() == wanted.to_lowercase())
            }
            // What is there is something.
            Self::Exists(wanted) => *wanted,
            Self::Numeric(bottom, top) => value
                .as_number()
                .and_then(Number::as_f64)
                .is_some_and(|number| bottom.is_below(number) && top.is_above(number)),
            Self::Prefix(start) => is(&|text| text.starts_with(start)),
            Self::Suffix(end) => is(&|text| text.ends_with(end)),
            Self::Wildcard(pattern) => is(&|text| matches_wildcard(pattern, text)),
        }
    }
}

impl Bound {
    fn is_below(self, number: f64) -> bool {
        match self {
            Self::Open => true,
            Self::With(end) => number >= end,
            Self::Without(end) => number > end,
        }
    }

    fn is_above(self, number: f64) -> bool {
        match self {
            Self::Open => true,
            Self::With(end) => number <= end,
            Self::Without(end) => number < end,
        }
    }
}

/// The parts between the stars occur one after another, the first at the start and the last at the end.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("a*a", "a", false),
            ("*b*d", "abcd", true),
            ("*b*d", "abdc", false),
            ("*", "", true),
            ("ä*ü", "äöü", true),
        ] {
            assert_eq!(matches_wildcard(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
