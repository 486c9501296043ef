//! Reading filter policies, with AWS's limits and words.

use serde_json::{Map, Value};

use super::Rule;
use super::condition::{Bound, Condition};

/// Why a text is no filter policy, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(Box<str>);

fn wrong<T>(words: impl Into<Box<str>>) -> Result<T, FilterError> {
    Err(FilterError(words.into()))
}

/// Members that a policy may name, how many combinations of conditions it may stand for, and how deep.
/// Source: the SNS Developer Guide, "Filter policy constraints".
const KEYS_MAX: usize = 5;
const COMBINATIONS_MAX: u64 = 150;
const SIZE_MAX: usize = 256 * 1024;

pub(super) fn policy(text: &str) -> Result<Rule, FilterError> {
    if text.len() > SIZE_MAX {
        return wrong("Filter policy is too large");
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return wrong(format!("failed to parse JSON. {error}")),
    };
    let Value::Object(members) = value else {
        return wrong("Filter is not an object");
    };
    let mut counted = Counted::default();
    let rule = object(&members, 1, &mut counted)?;
    if counted.keys > KEYS_MAX {
        return wrong(format!(
            "Filter policy can not have more than {KEYS_MAX} keys"
        ));
    }
    if combinations(&rule, 1) > COMBINATIONS_MAX {
        return wrong("Filter policy is too complex");
    }
    Ok(rule)
}

#[derive(Default)]
struct Counted {
    keys: usize,
}

/// How many combinations a rule stands for: the product of its conditions, each as often as it is deep,
/// and the sum over what one of several must hold.
fn combinations(rule: &Rule, depth: u64) -> u64 {
    match rule {
        Rule::All(rules) => rules.iter().fold(1, |product: u64, rule| {
            product.saturating_mul(combinations(rule, depth))
        }),
        Rule::Any(rules) => rules.iter().fold(0, |sum: u64, rule| {
            sum.saturating_add(combinations(rule, depth))
        }),
        Rule::Member(_, conditions) => {
            depth.saturating_mul(u64::try_from(conditions.len()).unwrap_or(u64::MAX))
        }
        Rule::Within(_, rule) => combinations(rule, depth + 1),
    }
}

fn object(
    members: &Map<String, Value>,
    depth: usize,
    counted: &mut Counted,
) -> Result<Rule, FilterError> {
    if members.is_empty() && depth > 1 {
        return wrong("Empty objects are not allowed");
    }
    let mut rules = Vec::with_capacity(members.len());
    for (name, value) in members {
        rules.push(match value {
            Value::Array(parts) if name == "$or" && is_or(parts) => {
                let parts = parts.iter().filter_map(Value::as_object);
                let parts = parts.map(|part| object(part, depth, counted));
                Rule::Any(parts.collect::<Result<_, _>>()?)
            }
            Value::Array(conditions) => {
                if conditions.is_empty() {
                    return wrong("Empty arrays are not allowed");
                }
                counted.keys += 1;
                let conditions = conditions.iter().map(condition);
                Rule::Member(name.clone(), conditions.collect::<Result<_, _>>()?)
            }
            Value::Object(below) => {
                Rule::Within(name.clone(), Box::new(object(below, depth + 1, counted)?))
            }
            _ => return wrong(format!("\"{name}\" must be an object or an array")),
        });
    }
    Ok(Rule::All(rules))
}

/// An `$or` has two parts at least, all objects that are no conditions; anything else of this name is a
/// member like any other.
fn is_or(parts: &[Value]) -> bool {
    let is_rule = |part: &Value| {
        part.as_object().is_some_and(|part| {
            !part.is_empty() && !part.keys().any(|name| WORDS.contains(&name.as_str()))
        })
    };
    parts.len() >= 2 && parts.iter().all(is_rule)
}

const WORDS: &[&str] = &[
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
];

fn condition(value: &Value) -> Result<Condition, FilterError> {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(_) => {
            return wrong("Match value must be String, number, true, false, or null");
        }
        scalar => return Ok(Condition::Equals(scalar.clone())),
    };
    let mut members = members.iter();
    let Some((word, value)) = members.next() else {
        return wrong("Empty objects are not allowed");
    };
    // What the first word is comes before how many there are.
    if !WORDS.contains(&word.as_str()) {
        return wrong(format!("Unrecognized match type {word}"));
    }
    if members.next().is_some() {
        return wrong("Only one key allowed in match expression");
    }
    match word.as_str() {
        "anything-but" => anything_but(value),
        "cidr" => {
            let block = text(word, value)?.parse();
            let block = block.or_else(|_not_a_block| wrong("Malformed CIDR"))?;
            Ok(Condition::Cidr(block))
        }
        "exists" => match value {
            Value::Bool(wanted) => Ok(Condition::Exists(*wanted)),
            _ => wrong("exists match pattern must be either true or false."),
        },
        "numeric" => numeric(value),
        _ => text_condition(word, value),
    }
}

fn text_condition(word: &str, value: &Value) -> Result<Condition, FilterError> {
    let wanted = text(word, value)?;
    Ok(match word {
        "equals-ignore-case" => Condition::EqualsIgnoreCase(wanted),
        "prefix" => Condition::Prefix(wanted),
        "suffix" => Condition::Suffix(wanted),
        "wildcard" => Condition::Wildcard(wanted),
        _ => return wrong(format!("Unrecognized match type {word}")),
    })
}

fn text(word: &str, value: &Value) -> Result<String, FilterError> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => wrong(format!("{word} match pattern must be a string")),
    }
}

fn anything_but(value: &Value) -> Result<Condition, FilterError> {
    let excluded = match value {
        Value::Object(members) => {
            let mut members = members.iter();
            let (Some((word, value)), None) = (members.next(), members.next()) else {
                return wrong("Only one key allowed in match expression");
            };
            match value {
                Value::Array(several) if !several.is_empty() => {
                    let several = several.iter().map(|value| text_condition(word, value));
                    several.collect::<Result<_, _>>()?
                }
                value => vec![text_condition(word, value)?],
            }
        }
        Value::Array(several) if !several.is_empty() => {
            let several = several.iter().map(excluded_value);
            several.collect::<Result<_, _>>()?
        }
        value => vec![excluded_value(value)?],
    };
    Ok(Condition::AnythingBut(excluded))
}

fn excluded_value(value: &Value) -> Result<Condition, FilterError> {
    match value {
        Value::String(_) | Value::Number(_) => Ok(Condition::Equals(value.clone())),
        _ => wrong("Inside anything-but list, start|null|boolean is not supported."),
    }
}

fn numeric(value: &Value) -> Result<Condition, FilterError> {
    let Value::Array(terms) = value else {
        return wrong("Value of numeric must be an array.");
    };
    let mut terms = terms.iter();
    let operator = match terms.next() {
        Some(Value::String(operator)) => operator.as_str(),
        Some(other) => return wrong(format!("Invalid member in numeric match: {other}")),
        None => return wrong("Invalid member in numeric match: ]"),
    };
    if !matches!(operator, "=" | "<" | "<=" | ">" | ">=") {
        return wrong(format!("Unrecognized numeric range operator: {operator}"));
    }
    let first = number(operator, terms.next())?;
    let (bottom, top) = match operator {
        "=" => (Bound::With(first), Bound::With(first)),
        "<" => (Bound::Open, Bound::Without(first)),
        "<=" => (Bound::Open, Bound::With(first)),
        ">" => (Bound::Without(first), Bound::Open),
        _ => (Bound::With(first), Bound::Open),
    };
    let Some(second) = terms.next() else {
        return Ok(Condition::Numeric(bottom, top));
    };
    if top != Bound::Open {
        return wrong("Too many elements in numeric expression");
    }
    let Value::String(second) = second else {
        return wrong(format!("Bad value in numeric range: {second}"));
    };
    if !matches!(second.as_str(), "<" | "<=") {
        return wrong(format!("Bad numeric range operator: {second}"));
    }
    let end = number(second, terms.next())?;
    if end <= first {
        return wrong("Bottom must be less than top");
    }
    if terms.next().is_some() {
        return wrong("Too many terms in numeric range expression");
    }
    let top = match second.as_str() {
        "<" => Bound::Without(end),
        _ => Bound::With(end),
    };
    Ok(Condition::Numeric(bottom, top))
}

fn number(operator: &str, value: Option<&Value>) -> Result<f64, FilterError> {
    let name = match operator {
        "=" => "equals",
        other => other,
    };
    match value.and_then(Value::as_f64) {
        Some(number) => Ok(number),
        None => wrong(format!("Value of {name} must be numeric")),
    }
}
