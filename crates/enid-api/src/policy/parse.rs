//! From a policy's text to its statements. What is not understood whole is refused.

use std::collections::BTreeSet;

use super::condition::Condition;
use super::json::Json;
use super::pattern::{Pattern, Reading};
use super::{Choice, Effect, Malformed, Place, Policy, Statement};

/// AWS's limit for a managed policy; white space does not count.
pub(super) const CHARACTERS_MAX: usize = 6_144;

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let counted = text.chars().filter(|letter| !letter.is_whitespace());
        if counted.count() > CHARACTERS_MAX {
            return Err(Malformed::TooLong);
        }
        let json = serde_json::from_str(text).map_err(Malformed::Json)?;
        let Json::Object(members) = json else {
            return Err(Malformed::Expected("a policy", json.word()));
        };
        // Without a version it is the older one, which has no variables.
        let (mut variables, mut statements) = (false, None);
        for (name, value) in members {
            match name.as_str() {
                "Id" => drop(one_text("Id", &value)?),
                "Statement" => statements = Some(value),
                "Version" => {
                    variables = match one_text("Version", &value)? {
                        "2008-10-17" => false,
                        "2012-10-17" => true,
                        other => return Err(Malformed::Version(other.into())),
                    }
                }
                _ => return Err(Malformed::Element(name.into())),
            }
        }
        let statements = match statements.ok_or(Malformed::Missing("Statement"))? {
            Json::Array(statements) if statements.is_empty() => {
                return Err(Malformed::Empty("Statement"));
            }
            Json::Array(statements) => statements,
            one => vec![one],
        };
        let mut sids = BTreeSet::new();
        let statements = statements.into_iter();
        let statements: Result<Vec<_>, _> = statements
            .map(|json| statement(json, variables, &mut sids))
            .collect();
        Ok(Self {
            statements: statements?,
        })
    }
}

fn statement(
    json: Json,
    variables: bool,
    sids: &mut BTreeSet<String>,
) -> Result<Statement, Malformed> {
    let Json::Object(members) = json else {
        return Err(Malformed::Expected("a statement", json.word()));
    };
    let (mut effect, mut conditions) = (None, Vec::new());
    let (mut actions, mut resources) = (None, None);
    for (name, value) in members {
        match name.as_str() {
            "Action" | "NotAction" => {
                let named = texts("Action", &value)?;
                let patterns: Result<_, _> = named.into_iter().map(action).collect();
                choose(&mut actions, "Action", name.starts_with("Not"), patterns?)?;
            }
            "Condition" => conditions = self::conditions(&value, variables)?,
            "Effect" => {
                effect = Some(match one_text("Effect", &value)? {
                    "Allow" => Effect::Allow,
                    "Deny" => Effect::Deny,
                    other => return Err(Malformed::Effect(other.into())),
                });
            }
            "NotResource" | "Resource" => {
                let named = texts("Resource", &value)?.into_iter();
                let patterns: Result<_, _> = named.map(|text| resource(text, variables)).collect();
                choose(
                    &mut resources,
                    "Resource",
                    name.starts_with("Not"),
                    patterns?,
                )?;
            }
            "Sid" => {
                let sid = one_text("Sid", &value)?;
                let plain = sid.chars().all(|letter| letter.is_ascii_alphanumeric());
                if !plain || !sids.insert(sid.to_owned()) {
                    return Err(Malformed::Sid(sid.into()));
                }
            }
            _ => return Err(Malformed::Element(name.into())),
        }
    }
    Ok(Statement {
        effect: effect.ok_or(Malformed::Missing("Effect"))?,
        actions: actions.ok_or(Malformed::EitherOr("Action"))?,
        resources: resources.ok_or(Malformed::EitherOr("Resource"))?,
        conditions,
    })
}

/// An element or its negation, of which a statement has one.
fn choose(
    place: &mut Option<Choice>,
    name: &'static str,
    negated: bool,
    patterns: Vec<Pattern>,
) -> Result<(), Malformed> {
    match place.replace(Choice { patterns, negated }) {
        None => Ok(()),
        Some(_) => Err(Malformed::EitherOr(name)),
    }
}

fn action(text: &str) -> Result<Pattern, Malformed> {
    let service = text.split_once(':').map(|(service, _)| service);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let named = service.is_some_and(|service| !service.is_empty() && service.chars().all(plain));
    if text != "*" && !named {
        return Err(Malformed::Action(text.into()));
    }
    let reading = Reading {
        wildcards: true,
        variables: false,
    };
    Pattern::parse(text, reading, Place::Resource)
}

fn resource(text: &str, variables: bool) -> Result<Pattern, Malformed> {
    if text != "*" && !text.starts_with("arn:") {
        return Err(Malformed::Resource(text.into()));
    }
    let reading = Reading {
        wildcards: true,
        variables,
    };
    Pattern::parse(text, reading, Place::Resource)
}

fn conditions(json: &Json, variables: bool) -> Result<Vec<Condition>, Malformed> {
    let Json::Object(operators) = json else {
        return Err(Malformed::Expected("Condition", json.word()));
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else {
            return Err(Malformed::Expected("a condition operator", keys.word()));
        };
        if keys.is_empty() {
            return Err(Malformed::Empty("a condition operator"));
        }
        for (key, values) in keys {
            conditions.push(Condition::parse(operator, key, values, variables)?);
        }
    }
    Ok(conditions)
}

fn one_text<'a>(name: &'static str, json: &'a Json) -> Result<&'a str, Malformed> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(Malformed::Expected(name, other.word())),
    }
}

/// A text, or a list of texts with at least one.
fn texts<'a>(name: &'static str, json: &'a Json) -> Result<Vec<&'a str>, Malformed> {
    match json {
        Json::Array(items) if items.is_empty() => Err(Malformed::Empty(name)),
        Json::Array(items) => items.iter().map(|item| one_text(name, item)).collect(),
        one => Ok(vec![one_text(name, one)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Policy::parse(text) {
            Ok(policy) => panic!("{text}: {policy:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_element_is_read() {
        let policy = Policy::parse(
            r#"{"Id": "x", "Version": "2012-10-17", "Statement": [
                {"Sid": "One", "Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Sid": "", "Effect": "Deny", "NotAction": ["ec2:*", "sts:Get*"],
                 "NotResource": ["arn:aws:ec2:*:*:vpc/*"],
                 "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}"#,
        );
        assert_eq!(policy.unwrap().statements.len(), 2);
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        let with = |member: &str| {
            format!(
                r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*", {member}}}}}"#
            )
        };
        for (text, wanted) in [
            ("", "not JSON"),
            ("[]", "a policy must not be a list"),
            ("{}", "\"Statement\" is missing"),
            (r#"{"Statement": []}"#, "Statement is empty"),
            (
                r#"{"Statement": {}, "Version": "2020-01-01"}"#,
                "\"2020-01-01\"",
            ),
            (
                r#"{"Statement": {}, "version": "2012-10-17"}"#,
                "unknown element \"version\"",
            ),
            (
                &with(r#""Principal": "*""#),
                "unknown element \"Principal\"",
            ),
            (
                &with(r#""Resource": "*""#),
                "not JSON, or a name is there twice",
            ),
            (
                &with(r#""NotAction": "ec2:*""#),
                "either \"Action\" or \"NotAction\"",
            ),
            (&with(r#""Sid": "a b""#), "\"a b\""),
            (
                &with(r#""Condition": {"Foo": {"aws:SourceIp": 1}}"#),
                "operator \"Foo\"",
            ),
            (
                &with(r#""Condition": {"Bool": {"a:b": "true"}}"#),
                "key \"a:b\"",
            ),
            (&with(r#""Condition": {"Bool": {}}"#), "empty"),
            (&with(r#""Condition": []"#), "Condition must not be a list"),
            (
                r#"{"Statement": {"Effect": "Allow", "Resource": "*"}}"#,
                "\"Action\"",
            ),
            (
                r#"{"Statement": {"Effect": "Allow", "Action": "*"}}"#,
                "\"Resource\"",
            ),
            (
                r#"{"Statement": {"Action": "*", "Resource": "*"}}"#,
                "\"Effect\" is missing",
            ),
            (r#"{"Statement": {"Effect": "allow"}}"#, "\"allow\""),
            (
                r#"{"Statement": {"Action": "DescribeVpcs"}}"#,
                "\"DescribeVpcs\"",
            ),
            (r#"{"Statement": {"Action": "e*2:Run"}}"#, "\"e*2:Run\""),
            (
                r#"{"Statement": {"Action": [1]}}"#,
                "Action must not be a number",
            ),
            (r#"{"Statement": {"Resource": "vpc-1"}}"#, "\"vpc-1\""),
            (
                r#"{"Statement": [{"Sid": "a", "Effect": "Deny", "Action": "*", "Resource": "*"}, {"Sid": "a"}]}"#,
                "\"a\"",
            ),
        ] {
            let words = refused(text);
            assert!(words.contains(wanted), "{text}: {words}");
        }
        let long = format!(r#"{{"Id": "{}"}}"#, "x".repeat(CHARACTERS_MAX));
        assert!(refused(&long).contains("6144"));
    }

    #[test]
    fn variables_come_with_the_newer_version() {
        let old = r#"{"Version": "2008-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:${x}"}}"#;
        assert!(Policy::parse(old).is_ok());
        let new = old.replace("2008", "2012");
        assert!(refused(&new).contains("${x}"));
    }
}
