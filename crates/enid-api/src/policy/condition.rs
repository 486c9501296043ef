//! Conditions: an operator, a key of the request, and the values that it is held against.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>
//! says what each operator does. One value of a condition that matches is enough; of an operator
//! with `Not`, none may match.

use std::net::IpAddr;

use enid_model::time::Timestamp;
use ipnet::IpNet;

use super::json::Json;
use super::pattern::{Pattern, Reading};
use super::request::Facts;
use super::{Malformed, Place, key};
use crate::wire::instant::parse_iso;

/// One key under one operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// In lower case.
    key: Box<str>,
    quantifier: Quantifier,
    /// Whether it holds for a request without the key.
    if_exists: bool,
    negated: bool,
    test: Test,
}

/// How the values of a key with several values are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// All of them must hold (`ForAllValues:`); none at all holds.
    All,
    /// One of them must hold (`ForAnyValue:`).
    Any,
    /// The key has one value.
    One,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Arn(Vec<Pattern>),
    Bool(Vec<bool>),
    Date(Order, Vec<i64>),
    Ip(Vec<IpNet>),
    /// Whether the key shall be absent.
    Null(bool),
    Number(Order, Vec<f64>),
    Text(Vec<Pattern>, Case),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Ignored,
    Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, given: T, wanted: T) -> bool {
        match self {
            Self::Equal => given == wanted,
            Self::Greater => given > wanted,
            Self::GreaterOrEqual => given >= wanted,
            Self::Less => given < wanted,
            Self::LessOrEqual => given <= wanted,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Arn,
    Bool,
    Date(Order),
    Ip,
    Null,
    Number(Order),
    Text { wildcards: bool, case: Case },
}

/// An operator's kind, and whether it is negated.
fn operator(name: &str) -> Option<(Kind, bool)> {
    const fn text(wildcards: bool, case: Case) -> Kind {
        Kind::Text { wildcards, case }
    }
    Some(match name {
        "ArnEquals" | "ArnLike" => (Kind::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Kind::Arn, true),
        "Bool" => (Kind::Bool, false),
        "DateEquals" => (Kind::Date(Order::Equal), false),
        "DateGreaterThan" => (Kind::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Kind::Date(Order::GreaterOrEqual), false),
        "DateLessThan" => (Kind::Date(Order::Less), false),
        "DateLessThanEquals" => (Kind::Date(Order::LessOrEqual), false),
        "DateNotEquals" => (Kind::Date(Order::Equal), true),
        "IpAddress" => (Kind::Ip, false),
        "NotIpAddress" => (Kind::Ip, true),
        "Null" => (Kind::Null, false),
        "NumericEquals" => (Kind::Number(Order::Equal), false),
        "NumericGreaterThan" => (Kind::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Kind::Number(Order::GreaterOrEqual), false),
        "NumericLessThan" => (Kind::Number(Order::Less), false),
        "NumericLessThanEquals" => (Kind::Number(Order::LessOrEqual), false),
        "NumericNotEquals" => (Kind::Number(Order::Equal), true),
        "StringEquals" => (text(false, Case::Kept), false),
        "StringEqualsIgnoreCase" => (text(false, Case::Ignored), false),
        "StringLike" => (text(true, Case::Kept), false),
        "StringNotEquals" => (text(false, Case::Kept), true),
        "StringNotEqualsIgnoreCase" => (text(false, Case::Ignored), true),
        "StringNotLike" => (text(true, Case::Kept), true),
        _ => return None,
    })
}

impl Condition {
    /// Reads one key of an operator.
    pub(super) fn parse(
        operator_name: &str,
        key_name: &str,
        values: &Json,
        variables: bool,
    ) -> Result<Self, Malformed> {
        let unknown = || Malformed::Operator(operator_name.into());
        let (quantifier, rest) = match operator_name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return Err(unknown()),
            None => (Quantifier::One, operator_name),
        };
        let (if_exists, rest) = match rest.strip_suffix("IfExists") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (kind, negated) = operator(rest).ok_or_else(unknown)?;
        // Whether a key is there cannot depend on whether it is there.
        if matches!(kind, Kind::Null) && (if_exists || quantifier != Quantifier::One) {
            return Err(unknown());
        }
        let key = key::known(key_name).ok_or_else(|| Malformed::Key(key_name.into()))?;
        let values = texts(values).ok_or_else(|| Malformed::Values(key_name.into()))?;
        let wrong = |value: &str| Malformed::Value {
            operator: operator_name.into(),
            value: value.into(),
        };
        Ok(Self {
            key: key.into(),
            quantifier,
            if_exists,
            negated,
            test: Test::parse(kind, &values, variables, wrong)?,
        })
    }

    /// Whether a request fulfils it.
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        let values = facts.get(&self.key);
        if let Test::Null(absent) = self.test {
            return values.is_empty() == absent;
        }
        let holds = |value: &String| self.test.matches(value, facts) != self.negated;
        match self.quantifier {
            Quantifier::All => values.iter().all(holds),
            Quantifier::Any if values.is_empty() => self.if_exists,
            Quantifier::Any => values.iter().any(holds),
            Quantifier::One if values.is_empty() => self.if_exists || self.negated,
            Quantifier::One if self.negated => values.iter().all(holds),
            Quantifier::One => values.iter().any(holds),
        }
    }
}

impl Test {
    fn parse(
        kind: Kind,
        values: &[String],
        variables: bool,
        wrong: impl Fn(&str) -> Malformed,
    ) -> Result<Self, Malformed> {
        fn all<T>(
            values: &[String],
            read: impl Fn(&str) -> Option<T>,
            wrong: impl Fn(&str) -> Malformed,
        ) -> Result<Vec<T>, Malformed> {
            let values = values.iter();
            values
                .map(|value| read(value).ok_or_else(|| wrong(value)))
                .collect()
        }
        let patterns = |wildcards| {
            let reading = Reading {
                wildcards,
                variables,
            };
            let values = values.iter();
            values
                .map(|value| Pattern::parse(value, reading, Place::Condition))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match kind {
            Kind::Arn => {
                if let Some(value) = values.iter().find(|value| !Pattern::is_arn(value)) {
                    return Err(wrong(value));
                }
                Self::Arn(patterns(true)?)
            }
            Kind::Bool => Self::Bool(all(values, boolean, wrong)?),
            Kind::Date(order) => Self::Date(order, all(values, date, wrong)?),
            Kind::Ip => Self::Ip(all(values, network, wrong)?),
            Kind::Null => match values {
                [value] => Self::Null(boolean(value).ok_or_else(|| wrong(value))?),
                _ => return Err(wrong("several values")),
            },
            Kind::Number(order) => Self::Number(order, all(values, number, wrong)?),
            Kind::Text { wildcards, case } => Self::Text(patterns(wildcards)?, case),
        })
    }

    /// Whether one value of the request is what one of the policy's values says.
    fn matches(&self, value: &str, facts: &Facts) -> bool {
        match self {
            Self::Arn(wanted) => wanted
                .iter()
                .any(|pattern| pattern.matches_arn(value, facts)),
            Self::Bool(wanted) => boolean(value).is_some_and(|value| wanted.contains(&value)),
            Self::Date(order, wanted) => date(value)
                .is_some_and(|value| wanted.iter().any(|wanted| order.holds(value, *wanted))),
            Self::Ip(wanted) => value
                .parse::<IpAddr>()
                .is_ok_and(|value| wanted.iter().any(|network| network.contains(&value))),
            Self::Null(_) => false,
            Self::Number(order, wanted) => number(value)
                .is_some_and(|value| wanted.iter().any(|wanted| order.holds(value, *wanted))),
            Self::Text(wanted, case) => wanted
                .iter()
                .any(|pattern| pattern.matches(value, facts, *case == Case::Ignored)),
        }
    }
}

/// The values of a key: one, or a list of them.
fn texts(values: &Json) -> Option<Vec<String>> {
    fn text(value: &Json) -> Option<String> {
        match value {
            Json::Bool(value) => Some(value.to_string()),
            Json::Number(value) => Some(value.to_string()),
            Json::Text(value) => Some(value.clone()),
            Json::Array(_) | Json::Null | Json::Object(_) => None,
        }
    }
    match values {
        Json::Array(values) => {
            let values: Vec<String> = values.iter().map(text).collect::<Option<_>>()?;
            (!values.is_empty()).then_some(values)
        }
        value => text(value).map(|value| vec![value]),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Milliseconds since the epoch: of an ISO 8601 time or date, or of seconds since the epoch.
fn date(text: &str) -> Option<i64> {
    let whole = parse_iso(text).or_else(|| parse_iso(&format!("{text}T00:00:00Z")));
    if let Some(Timestamp(time)) = whole {
        return Some(time);
    }
    text.parse::<i64>().ok()?.checked_mul(1000)
}

/// A block, or one address.
fn network(text: &str) -> Option<IpNet> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let mut facts = Facts::default();
        facts.set("aws:requestedregion", "eu-west-1");
        facts.set("aws:sourceip", "10.1.2.3");
        facts.set("aws:currenttime", "2026-01-02T03:04:05Z");
        facts.set("aws:epochtime", "1767323045");
        facts.set("aws:securetransport", "false");
        facts.set("aws:username", "ann");
        facts.set("ec2:vpc", "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1");
        facts.add("aws:tagkeys", "a");
        facts.add("aws:tagkeys", "b");
        facts
    }

    fn holds(operator: &str, key: &str, values: &str) -> bool {
        let values: Json = serde_json::from_str(values).unwrap();
        let condition = Condition::parse(operator, key, &values, true).unwrap();
        condition.holds(&facts())
    }

    #[test]
    fn each_operator_passes_one_and_not_another() {
        for (operator, key, passes, fails) in [
            (
                "StringEquals",
                "aws:RequestedRegion",
                r#"["x", "eu-west-1"]"#,
                r#""EU-west-1""#,
            ),
            (
                "StringNotEquals",
                "aws:RequestedRegion",
                r#""x""#,
                r#"["x", "eu-west-1"]"#,
            ),
            (
                "StringEqualsIgnoreCase",
                "aws:RequestedRegion",
                r#""EU-WEST-1""#,
                r#""eu""#,
            ),
            (
                "StringNotEqualsIgnoreCase",
                "aws:RequestedRegion",
                r#""eu""#,
                r#""EU-WEST-1""#,
            ),
            (
                "StringLike",
                "aws:RequestedRegion",
                r#""eu-*""#,
                r#""us-*""#,
            ),
            (
                "StringLike",
                "aws:username",
                r#""${aws:username}""#,
                r#""${aws:RequestTag/x}""#,
            ),
            (
                "StringNotLike",
                "aws:RequestedRegion",
                r#""us-*""#,
                r#""eu-*""#,
            ),
            ("NumericEquals", "aws:EpochTime", "1767323045", "1"),
            ("NumericNotEquals", "aws:EpochTime", "1", "1767323045"),
            (
                "NumericLessThan",
                "aws:EpochTime",
                "1767323046",
                "1767323045",
            ),
            ("NumericLessThanEquals", "aws:EpochTime", "1767323045", "1"),
            ("NumericGreaterThan", "aws:EpochTime", "1", "1767323045"),
            (
                "NumericGreaterThanEquals",
                "aws:EpochTime",
                r#""1767323045""#,
                "1767323046",
            ),
            (
                "DateEquals",
                "aws:CurrentTime",
                r#""1767323045""#,
                r#""2026-01-02""#,
            ),
            (
                "DateNotEquals",
                "aws:CurrentTime",
                r#""2026-01-02""#,
                r#""1767323045""#,
            ),
            (
                "DateLessThan",
                "aws:CurrentTime",
                r#""2026-01-03""#,
                r#""2026-01-02T03:04:05Z""#,
            ),
            (
                "DateLessThanEquals",
                "aws:EpochTime",
                r#""2026-01-02T03:04:05Z""#,
                "1",
            ),
            (
                "DateGreaterThan",
                "aws:CurrentTime",
                r#""2026-01-02""#,
                r#""2027-01-01""#,
            ),
            (
                "DateGreaterThanEquals",
                "aws:CurrentTime",
                "1767323045",
                "1767323046",
            ),
            ("Bool", "aws:SecureTransport", "false", r#""true""#),
            (
                "IpAddress",
                "aws:SourceIp",
                r#"["::/0", "10.0.0.0/8"]"#,
                r#""10.1.2.4""#,
            ),
            (
                "NotIpAddress",
                "aws:SourceIp",
                r#""10.1.2.4""#,
                r#"["::/0", "10.0.0.0/8"]"#,
            ),
            (
                "ArnEquals",
                "ec2:Vpc",
                r#""arn:aws:ec2:*:*:vpc/vpc-1""#,
                r#""arn:aws:ec2:*:*:vpc/x""#,
            ),
            (
                "ArnLike",
                "ec2:Vpc",
                r#""arn:*:ec2:*:*:vpc/*""#,
                r#""arn:aws:ec2:*:*:subnet/*""#,
            ),
            (
                "ArnNotEquals",
                "ec2:Vpc",
                r#""arn:aws:ec2:*:*:vpc/x""#,
                r#""arn:aws:ec2:*:*:vpc/vpc-1""#,
            ),
            (
                "ArnNotLike",
                "ec2:Vpc",
                r#""arn:aws:ec2:*:*:vpc/x""#,
                r#""*""#,
            ),
            ("Null", "aws:RequestTag/x", "true", "false"),
            ("Null", "aws:SourceIp", "false", "true"),
            (
                "ForAllValues:StringEquals",
                "aws:TagKeys",
                r#"["a", "b", "c"]"#,
                r#""a""#,
            ),
            (
                "ForAnyValue:StringEquals",
                "aws:TagKeys",
                r#"["b", "c"]"#,
                r#""c""#,
            ),
            (
                "ForAllValues:StringNotEquals",
                "aws:TagKeys",
                r#""c""#,
                r#""a""#,
            ),
            (
                "ForAnyValue:StringNotEquals",
                "aws:TagKeys",
                r#""a""#,
                r#"["a", "b"]"#,
            ),
        ] {
            assert!(holds(operator, key, passes), "{operator} {passes}");
            assert!(!holds(operator, key, fails), "{operator} {fails}");
        }
    }

    #[test]
    fn a_key_that_the_request_lacks() {
        let lacks = "aws:RequestTag/x";
        for (operator, wanted) in [
            ("StringEquals", false),
            ("StringEqualsIfExists", true),
            ("StringNotEquals", true),
            ("StringNotEqualsIfExists", true),
            ("ForAllValues:StringEquals", true),
            ("ForAnyValue:StringEquals", false),
            ("ForAnyValue:StringNotEquals", false),
            ("ForAnyValue:StringEqualsIfExists", true),
        ] {
            assert_eq!(holds(operator, lacks, r#""v""#), wanted, "{operator}");
        }
        assert!(!holds("NumericLessThan", "aws:MultiFactorAuthAge", "60"));
        assert!(holds("BoolIfExists", "aws:MultiFactorAuthPresent", "true"));
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused_by_name() {
        for (operator, key, values, wanted) in [
            (
                "StringMatches",
                "aws:SourceIp",
                "1",
                "unknown condition operator \"StringMatches\"",
            ),
            (
                "ForSomeValues:Bool",
                "aws:SourceIp",
                "1",
                "\"ForSomeValues:Bool\"",
            ),
            ("NullIfExists", "aws:SourceIp", "true", "\"NullIfExists\""),
            (
                "StringEquals",
                "aws:SourceVpc",
                "1",
                "unknown condition key \"aws:SourceVpc\"",
            ),
            ("StringEquals", "aws:SourceIp", "[]", "\"aws:SourceIp\""),
            (
                "StringEquals",
                "aws:SourceIp",
                r#"{"a": 1}"#,
                "\"aws:SourceIp\"",
            ),
            (
                "IpAddress",
                "aws:SourceIp",
                r#""10.0.0.0/33""#,
                "\"10.0.0.0/33\"",
            ),
            ("NumericEquals", "aws:EpochTime", r#""ten""#, "\"ten\""),
            (
                "DateEquals",
                "aws:CurrentTime",
                r#""yesterday""#,
                "\"yesterday\"",
            ),
            ("Bool", "aws:SecureTransport", r#""maybe""#, "\"maybe\""),
            ("ArnLike", "ec2:Vpc", r#""vpc-1""#, "\"vpc-1\""),
            ("Null", "aws:SourceIp", r#"["true", "false"]"#, "Null"),
            (
                "StringLike",
                "aws:username",
                r#""${aws:planet}""#,
                "${aws:planet}",
            ),
        ] {
            let values: Json = serde_json::from_str(values).unwrap();
            let refused = Condition::parse(operator, key, &values, true).unwrap_err();
            assert!(refused.to_string().contains(wanted), "{refused}");
        }
    }
}
