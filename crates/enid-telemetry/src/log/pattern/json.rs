//! Patterns of conditions on JSON events: `{ $.user.id = 1 && $.error NOT EXISTS }`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::PatternError;
use super::cursor::Cursor;
use super::operand::{Comparison, Operator};
use super::selector::{Selector, scalar};
use super::tree::Tree;

/// Conditions on the values of a JSON event.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    tree: Tree<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    selector: Selector,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Compare(Comparison),
    Is(Value),
    NotExists,
}

impl Conditions {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, PatternError> {
        cursor.expect("{")?;
        let tree = Tree::parse(cursor, &mut condition)?;
        cursor.skip_space();
        cursor.expect("}")?;
        if !cursor.is_at_end() {
            return Err(cursor.unexpected());
        }
        let mut wildcards = 0;
        tree.visit(&mut |condition| wildcards += condition.selector.wildcards());
        if wildcards > WILDCARDS_MAX {
            return Err(PatternError::WildcardsTooMany);
        }
        Ok(Self { tree })
    }

    /// Whether an event fulfils them.
    pub(super) fn hold(&self, event: &Value) -> bool {
        self.tree.holds(&|condition| condition.holds(event))
    }

    /// The values of the selectors, by their texts.
    pub(super) fn extracted(&self, event: &Value) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        self.tree.visit(&mut |Condition { selector, .. }| {
            if let Some(text) = selector.text_in(event) {
                values.insert(selector.to_string(), text);
            }
        });
        values
    }
}

impl Condition {
    /// A comparison with what is missing, empty or a container never holds: not even `!=`.
    fn holds(&self, event: &Value) -> bool {
        let found = self.selector.select(event);
        match &self.test {
            Test::Compare(comparison) => found.into_iter().any(|value| {
                scalar(value).is_some_and(|text| comparison.holds(&text, value.as_f64()))
            }),
            Test::Is(wanted) => found.into_iter().any(|value| value == wanted),
            Test::NotExists => found.is_empty(),
        }
    }
}

fn condition(cursor: &mut Cursor<'_>) -> Result<Condition, PatternError> {
    let selector = Selector::read(cursor)?;
    cursor.skip_space();
    let test = if let Some(operator) = Operator::parse(cursor) {
        Test::Compare(Comparison::parse(operator, cursor)?)
    } else if cursor.eat_word("IS") {
        cursor.skip_space();
        let values = [
            ("NULL", Value::Null),
            ("TRUE", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
        ];
        let found = values.into_iter().find(|(word, _)| cursor.eat_word(word));
        let (_, value) = found.ok_or_else(|| cursor.unexpected())?;
        Test::Is(value)
    } else if cursor.eat_word("NOT") {
        cursor.skip_space();
        if !cursor.eat_word("EXISTS") {
            return Err(cursor.unexpected());
        }
        Test::NotExists
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Condition { selector, test })
}

/// Selectors with a wildcard in one pattern.
const WILDCARDS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str) -> Result<Conditions, PatternError> {
        Conditions::parse(&mut Cursor::new(pattern))
    }

    fn event() -> Value {
        serde_json::json!({
            "eventType": "UpdateTrail",
            "sourceIPAddress": "111.111.111.111",
            "arrayKey": ["value", "another value"],
            "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
            "SomeObject": null,
            "ThisFlag": true,
            "latency": 50.5,
            "code": "400",
            "user": {"id": 1, "email": "John.Stiles@example.com"},
            "users": [{"id": 2, "email": "John.Doe@example.com"}],
            "actions": ["GET", "PUT", "DELETE"],
            "coordinates": [[0, 1, 2], [4, 5, 6]],
        })
    }

    #[test]
    fn conditions_hold_as_documented() {
        for (pattern, expected) in [
            (r#"{ $.eventType = "UpdateTrail" }"#, true),
            ("{ $.eventType = UpdateTrail }", true),
            ("{$.eventType=Update*}", true),
            ("{ $.eventType = updatetrail }", false),
            ("{ $.eventType = %Trail$% }", true),
            ("{ $.sourceIPAddress != 123.123.* }", true),
            ("{ $.sourceIPAddress != 111.111.* }", false),
            (r#"{ $.arrayKey[0] = "value" }"#, true),
            (r#"{ $.arrayKey[*] = "another*" }"#, true),
            ("{ $.objectList[1].id = 2 }", true),
            ("{ $.objectList[*].id > 2 }", false),
            ("{ $.SomeObject IS NULL }", true),
            ("{ $.ThisFlag IS NULL }", false),
            ("{ $.SomeOtherObject NOT EXISTS }", true),
            ("{ $.SomeObject NOT EXISTS }", false),
            ("{ $.ThisFlag IS TRUE }", true),
            ("{ $.ThisFlag IS FALSE }", false),
            // A container is no value, and what is missing is none either.
            ("{ $.users = 1 }", false),
            ("{ $.users != 1 }", false),
            ("{ $.nothing != 1 }", false),
            ("{ $.SomeObject != 1 }", false),
            ("{ $.latency = * }", true),
            ("{ $.nothing = * }", false),
            ("{ $.latency >= 50.5 && $.latency < 1e3 }", true),
            ("{ $.code = 400 }", true),
            ("{ $.code > 300 }", false),
            (
                r#"{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }"#,
                true,
            ),
            (
                r#"{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }"#,
                false,
            ),
            (
                r#"{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nonmatch }"#,
                true,
            ),
            (
                r#"{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nonmatch }"#,
                false,
            ),
            (r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }", true),
        ] {
            let conditions = parse(pattern).expect(pattern);
            assert_eq!(conditions.hold(&event()), expected, "{pattern}");
        }
    }

    #[test]
    fn values_are_extracted_by_their_selectors() {
        let conditions = parse("{ $.latency = * && $.user.id = 1 && $.nothing NOT EXISTS }");
        let values = conditions.expect("a pattern").extracted(&event());
        let expected = [("$.latency", "50.5"), ("$.user.id", "1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(values, BTreeMap::from(expected));
    }

    #[test]
    fn other_texts_are_refused() {
        for pattern in [
            "{",
            "{}",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = b",
            "{ $.a = b } c",
            "{ a = b }",
            "{ $.a IS NOT NULL }",
            "{ $.a EXISTS }",
            "{ $.a = b & $.c = d }",
            "{ $.a = a@b }",
            "{ $.\"a\" = b }",
            "{ $.a ISNULL }",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
        let three = "$.a[*] = 1 && $.b[*] = 1 && $.c[*] = 1";
        assert!(parse(&format!("{{ {three} }}")).is_ok());
        let four = parse(&format!("{{ {three} && $.d[*] = 1 }}"));
        assert_eq!(four.err(), Some(PatternError::WildcardsTooMany));
    }
}
