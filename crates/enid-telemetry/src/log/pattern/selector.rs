//! Selectors: `$.a.b[0]`, where a value is in a JSON event.

use std::fmt;

use serde_json::Value;

use super::PatternError;
use super::cursor::Cursor;

/// Where a value is in a JSON event; with a wildcard, where several are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    steps: Vec<Step>,
    /// As it was written.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    AnyElement,
    AnyField,
    Element(usize),
    Field(String),
}

impl Selector {
    /// Reads a selector that is the whole text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut cursor = Cursor::new(text);
        let selector = Self::read(&mut cursor)?;
        if !cursor.is_at_end() {
            return Err(cursor.unexpected());
        }
        Ok(selector)
    }

    /// Reads the selector that is next.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, PatternError> {
        cursor.expect("$")?;
        let mut steps = Vec::new();
        loop {
            let step = if cursor.eat(".") {
                match cursor.peek() {
                    Some('[') => continue,
                    Some('*') => {
                        cursor.expect("*")?;
                        Step::AnyField
                    }
                    _ => {
                        let name = cursor.run(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
                        if name.is_empty() {
                            return Err(cursor.unexpected());
                        }
                        Step::Field(name.to_owned())
                    }
                }
            } else if cursor.eat("[") {
                let step = in_brackets(cursor)?;
                cursor.expect("]")?;
                step
            } else {
                break;
            };
            steps.push(step);
        }
        if steps.is_empty() {
            return Err(cursor.unexpected());
        }
        let selector = Self::of(steps);
        if selector.wildcards() > 1 {
            return Err(PatternError::WildcardsTooMany);
        }
        Ok(selector)
    }

    fn of(steps: Vec<Step>) -> Self {
        let text = steps.iter().fold("$".to_owned(), |text, step| match step {
            Step::AnyElement => text + "[*]",
            Step::AnyField => text + ".*",
            Step::Element(index) => format!("{text}[{index}]"),
            Step::Field(name) if name.contains(is_odd) => format!("{text}.['{name}']"),
            Step::Field(name) => format!("{text}.{name}"),
        });
        Self { steps, text }
    }

    /// How many of its steps lead to several values.
    pub(super) fn wildcards(&self) -> usize {
        let is_wildcard = |step: &&Step| matches!(step, Step::AnyElement | Step::AnyField);
        self.steps.iter().filter(is_wildcard).count()
    }

    /// What it leads to in an event.
    #[must_use]
    pub fn select<'a>(&self, event: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![event];
        for step in &self.steps {
            let next = found.into_iter().flat_map(|value| match step {
                Step::AnyElement => value
                    .as_array()
                    .map_or(Vec::new(), |it| it.iter().collect()),
                Step::AnyField => value
                    .as_object()
                    .map_or(Vec::new(), |it| it.values().collect()),
                Step::Element(index) => value.get(*index).into_iter().collect(),
                Step::Field(name) => value.get(&**name).into_iter().collect(),
            });
            found = next.collect();
        }
        found
    }

    /// The first text or number that it leads to, as text.
    #[must_use]
    pub fn text_in(&self, event: &Value) -> Option<String> {
        self.select(event).into_iter().find_map(scalar)
    }
}

/// As it is written.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text of a value that is neither empty nor a container.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(it) => Some(it.to_string()),
        Value::Array(_) | Value::Null | Value::Object(_) => None,
    }
}

/// An index, an asterisk, or a name in quotes that other characters need.
fn in_brackets(cursor: &mut Cursor<'_>) -> Result<Step, PatternError> {
    if cursor.eat("*") {
        return Ok(Step::AnyElement);
    }
    for quote in ["'", "\""] {
        if cursor.eat(quote) {
            let name = cursor.run(|c| !quote.contains(c));
            cursor.expect(quote)?;
            return Ok(Step::Field(name.to_owned()));
        }
    }
    let digits = cursor.run(|c| c.is_ascii_digit());
    let index = digits.parse().map_err(|_none| cursor.unexpected())?;
    Ok(Step::Element(index))
}

/// Characters that a name has in brackets only.
fn is_odd(character: char) -> bool {
    !character.is_alphanumeric() && !matches!(character, '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_lead_to_values() {
        let event = serde_json::json!({
            "a": {"b-c": [10, {"d_1": "x"}]},
            "cluster.name": "c",
            "none": null,
            "on": true,
        });
        for (text, expected) in [
            ("$.a.b-c[0]", Some("10")),
            ("$.a.b-c[1].d_1", Some("x")),
            ("$.a.*[0]", Some("10")),
            ("$.a.b-c[*].d_1", Some("x")),
            ("$.['cluster.name']", Some("c")),
            ("$['on']", Some("true")),
            ("$.none", None),
            ("$.a", None),
            ("$.a.b-c[2]", None),
            ("$.b", None),
        ] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!(selector.text_in(&event).as_deref(), expected, "{text}");
        }
        let normal = Selector::parse("$['on'][3].*").map(|it| it.to_string());
        assert_eq!(normal.as_deref(), Ok("$.on[3].*"));
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "", "$", "$.", "a", "$.a[", "$.a[x]", "$.a[-1]", "$.\"a\"", "$.a b", "$.a['b]",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        let two = Selector::parse("$.*[*]");
        assert_eq!(two.err(), Some(PatternError::WildcardsTooMany));
    }
}
