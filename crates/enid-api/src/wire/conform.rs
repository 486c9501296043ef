//! Holding a request of any protocol against its table: what Enid lacks is refused by name, and every
//! scalar gets its type.
//!
//! EC2's requests are held against the same tables by [`super::schema`], without this detour.

use enid_model::time::Timestamp;

use super::instant;
use super::params::from_base64;
use super::schema::{Kind, Member, Scalar, Shape};
use super::value::Value;
use super::words::{Fault, Problem, Words};
use crate::error::ApiError;

/// How deep a request may go: no table comes near.
pub const DEPTH_MAX: usize = 32;

/// The request as its table wants it, or the refusal of what the table does not have.
pub fn conform(
    operation: &'static str,
    shape: &'static Shape,
    value: Value,
    words: Words,
) -> Result<Value, ApiError> {
    let mut checking = Checking { path: Vec::new() };
    let checked = match value {
        Value::Members(members) => checking.structure(shape, members),
        _ => Err(checking.problem(Fault::Type("a structure"))),
    };
    checked.map_err(|problem| words.refuse(operation, &problem))
}

/// One step into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member of a structure.
    Member(String),
    /// An item of a list, from 1.
    Item(usize),
    /// A value of a map.
    Key(String),
}

struct Checking {
    path: Vec<Step>,
}

impl Checking {
    fn problem(&self, fault: Fault) -> Problem {
        Problem {
            path: self.path.clone(),
            fault,
        }
    }

    fn within<T>(
        &mut self,
        step: Step,
        check: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.path.push(step);
        let checked = check(self)?;
        self.path.pop();
        Ok(checked)
    }

    fn structure(
        &mut self,
        shape: &'static Shape,
        members: Vec<(String, Value)>,
    ) -> Result<Value, Problem> {
        let mut checked: Vec<(String, Value)> = Vec::with_capacity(members.len());
        for (name, value) in members {
            let member = shape.member(&name);
            let value = self.within(Step::Member(name.clone()), |this| {
                let Some(member) = member else {
                    return Err(this.problem(Fault::Unknown));
                };
                let Some(kind) = member.kind() else {
                    return Err(this.problem(Fault::NotImplemented));
                };
                // A null is an absent member.
                if value == Value::Null {
                    return Ok(None);
                }
                this.value(member, kind, value).map(Some)
            })?;
            if checked.iter().any(|(known, _)| *known == name) {
                self.path.push(Step::Member(name));
                return Err(self.problem(Fault::Twice));
            }
            checked.extend(value.map(|value| (name, value)));
        }
        for name in shape.required() {
            if !checked.iter().any(|(known, _)| known == name) {
                self.path.push(Step::Member(name.to_owned()));
                return Err(self.problem(Fault::Missing));
            }
        }
        Ok(Value::Members(checked))
    }

    fn value(
        &mut self,
        member: &'static Member,
        kind: Kind,
        value: Value,
    ) -> Result<Value, Problem> {
        match (kind, value) {
            (Kind::Structure(shape), Value::Members(members)) => self.structure(shape, members),
            (Kind::Structure(_), _) => Err(self.problem(Fault::Type("a structure"))),
            (Kind::List(item) | Kind::MemberList(_, item), Value::List(items)) => {
                let mut checked = Vec::with_capacity(items.len());
                for (number, value) in (1..).zip(items) {
                    checked.push(
                        self.within(Step::Item(number), |this| this.value(member, *item, value))?,
                    );
                }
                Ok(Value::List(checked))
            }
            (Kind::List(_) | Kind::MemberList(..), _) => Err(self.problem(Fault::Type("a list"))),
            (Kind::Map(of), Value::Members(entries)) => {
                let mut checked = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let value = self.within(Step::Key(key.clone()), |this| {
                        this.value(member, *of, value)
                    })?;
                    checked.push((key, value));
                }
                Ok(Value::Members(checked))
            }
            (Kind::Map(_), _) => Err(self.problem(Fault::Type("a map"))),
            (Kind::Of(scalar), value) => self.scalar(member, scalar, value),
            (Kind::Scalar, value) => self.scalar(member, Scalar::Text, value),
        }
    }

    fn scalar(
        &self,
        member: &'static Member,
        scalar: Scalar,
        value: Value,
    ) -> Result<Value, Problem> {
        let typed = typed(scalar, value).map_err(|what| self.problem(Fault::Type(what)))?;
        let text = match &typed {
            Value::Text(text) => text.as_str(),
            Value::Boolean(true) => "true",
            Value::Boolean(false) => "false",
            _ => return Ok(typed),
        };
        let (only, of) = (member.only_values(), member.values());
        // AWS's own rule comes first: only what it permits can be what Enid lacks.
        if !of.is_empty() && !of.contains(&text) {
            return Err(self.problem(Fault::Value(text.to_owned(), of)));
        }
        if !only.is_empty() && !only.contains(&text) {
            return Err(self.problem(Fault::ValueNotImplemented(text.to_owned())));
        }
        Ok(typed)
    }
}

/// The value as this type; else what was expected.
fn typed(scalar: Scalar, value: Value) -> Result<Value, &'static str> {
    let (what, read): (_, Option<Value>) = match scalar {
        Scalar::Blob => (
            "base64",
            match value {
                Value::Bytes(bytes) => Some(Value::Bytes(bytes)),
                Value::Text(text) | Value::Plain(text) => from_base64(&text).map(Value::Bytes),
                _ => None,
            },
        ),
        Scalar::Boolean => (
            "true or false",
            match value {
                Value::Boolean(value) => Some(Value::Boolean(value)),
                Value::Plain(text) => text.parse().ok().map(Value::Boolean),
                _ => None,
            },
        ),
        Scalar::Integer => {
            let whole = whole(value).filter(|whole| i32::try_from(*whole).is_ok());
            ("an integer", whole.map(Value::Integer))
        }
        Scalar::Long => ("an integer", whole(value).map(Value::Integer)),
        Scalar::Number => (
            "a number",
            match value {
                Value::Number(number) => Some(Value::Number(number)),
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a double is what AWS stores as well"
                )]
                Value::Integer(number) => Some(Value::Number(number as f64)),
                Value::Plain(text) => text.parse().ok().map(Value::Number),
                // JSON has no other way to say them.
                Value::Text(text) if matches!(&*text, "NaN" | "Infinity" | "-Infinity") => {
                    text.parse().ok().map(Value::Number)
                }
                _ => None,
            },
        ),
        Scalar::Text => (
            "a string",
            match value {
                Value::Text(text) | Value::Plain(text) => Some(Value::Text(text)),
                _ => None,
            },
        ),
        Scalar::Timestamp => ("a time", time(value).map(Value::Time)),
    };
    read.ok_or(what)
}

fn whole(value: Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(number),
        // `60.0`, as some clients write what they keep as a float.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only whole numbers of a size that is kept exactly"
        )]
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(number as i64)
        }
        Value::Plain(text) => text.parse().ok(),
        _ => None,
    }
}

fn time(value: Value) -> Option<Timestamp> {
    match value {
        Value::Time(time) => Some(time),
        Value::Integer(seconds) => seconds.checked_mul(1000).map(Timestamp),
        Value::Number(seconds) => from_seconds(seconds),
        Value::Text(text) | Value::Plain(text) => instant::parse_iso(&text),
        _ => None,
    }
}

/// A time in seconds, to the millisecond.
pub(super) fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only numbers of a size that is kept exactly"
    )]
    (millis.abs() < 9e15).then_some(Timestamp(millis as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    static DIMENSION: Shape = Shape::new(&[
        Member::supported("Name", Kind::Of(Scalar::Text)).required(),
        Member::refused("Value"),
    ]);
    static OUTER: Shape = Shape::new(&[
        Member::supported(
            "Dimensions",
            Kind::MemberList("member", &Kind::Structure(&DIMENSION)),
        ),
        Member::supported("Mode", Kind::Of(Scalar::Text))
            .only(&["a"])
            .of(&["a", "b"]),
        Member::supported("Period", Kind::Of(Scalar::Integer)).required(),
        Member::supported("Tags", Kind::Map(&Kind::Of(Scalar::Text))),
        Member::supported("Time", Kind::Of(Scalar::Timestamp)),
        Member::supported("Value", Kind::Of(Scalar::Number)),
    ]);

    fn check(body: &str) -> String {
        let value = json::decode(body.as_bytes()).unwrap();
        match conform("Op", &OUTER, value, Words::Monitoring) {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{}: {}", error.code(), error.message()),
        }
    }

    #[test]
    fn scalars_get_the_type_of_their_table() {
        for body in [r#"{"Period": 60}"#, r#"{"Period": 60.0, "Mode": null}"#] {
            assert_eq!(check(body), "Members([(\"Period\", Integer(60))])");
        }
        for (time, wanted) in [
            ("1.5", "1500"),
            ("2", "2000"),
            (r#""1970-01-01T00:00:03Z""#, "3000"),
        ] {
            let found = check(&format!(r#"{{"Period": 1, "Time": {time}}}"#));
            assert!(
                found.contains(&format!("Time(Timestamp({wanted}))")),
                "{found}"
            );
        }
        assert!(check(r#"{"Period": 1, "Value": 3}"#).contains("Number(3.0)"));
        assert!(check(r#"{"Period": 1, "Value": "NaN"}"#).contains("Number(NaN)"));
        assert!(check(r#"{"Period": 1, "Tags": {"a": "b"}}"#).contains("Text(\"b\")"));
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (body, wanted) in [
            ("{}", "MissingParameter: The parameter Period is required."),
            (
                r#"{"Period": 1, "Nonsense": 1}"#,
                "UnknownParameter: The parameter Nonsense is not recognized",
            ),
            (
                r#"{"Period": 1, "Dimensions": [{"Name": "a"}, {"Name": "a", "Value": "x"}]}"#,
                "UnsupportedOperation: Enid does not implement the parameter Dimensions.member.2.Value of Op.",
            ),
            (
                r#"{"Period": 1, "Dimensions": [{}]}"#,
                "MissingParameter: The parameter Dimensions.member.1.Name is required.",
            ),
            (
                r#"{"Period": 1, "Mode": "b"}"#,
                "UnsupportedOperation: Enid does not implement the value 'b' of the parameter Mode of Op.",
            ),
            (
                r#"{"Period": 1, "Mode": "c"}"#,
                "ValidationError: 1 validation error detected: Value 'c' at 'mode' failed to satisfy constraint: Member must satisfy enum value set: [a, b]",
            ),
            (
                r#"{"Period": "x"}"#,
                "InvalidParameterValue: The value for parameter Period is invalid: expected an integer.",
            ),
            (
                r#"{"Period": 1, "Tags": {"a": 1}}"#,
                "InvalidParameterValue: The value for parameter Tags.a is invalid: expected a string.",
            ),
            (
                r#"{"Period": 1, "Period": 2}"#,
                "InvalidParameterValue: The parameter Period is present more than once.",
            ),
            (
                r#"{"Period": 1, "Dimensions": "x"}"#,
                "InvalidParameterValue: The value for parameter Dimensions is invalid: expected a list.",
            ),
        ] {
            assert_eq!(check(body), wanted, "{body}");
        }
    }
}
