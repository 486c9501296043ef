//! Filter policies: which messages a subscription wants.
//!
//! A policy names members of a message (its attributes, or the members of a JSON body) and for each the
//! conditions of which one must hold. All named members must fit, and of the parts of an `$or` one.
//! Source: the SNS Developer Guide, "Amazon SNS message filtering".

mod condition;
mod parse;

use std::collections::BTreeMap;

use serde_json::Value;

use condition::Condition;

use super::message::Attribute;

pub use parse::FilterError;

/// A filter policy that keeps the rules of the language.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterPolicy {
    rule: Rule,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    Any(Vec<Self>),
    /// One of the conditions holds for what is there under a name.
    Member(String, Vec<Condition>),
    /// The rule holds for the members of what is there under a name.
    Within(String, Box<Self>),
}

impl FilterPolicy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::policy(text).map(|rule| Self { rule })
    }

    /// Whether a message with these attributes is wanted.
    #[must_use]
    pub fn matches_attributes(&self, attributes: &BTreeMap<String, Attribute>) -> bool {
        let members = attributes
            .iter()
            .map(|(name, attribute)| (name.clone(), attribute_value(attribute)));
        self.rule.holds(&Value::Object(members.collect()))
    }

    /// Whether a message is wanted. One that is no JSON object is not.
    #[must_use]
    pub fn matches_body(&self, body: &str) -> bool {
        let body: Option<Value> = serde_json::from_str(body).ok();
        body.is_some_and(|body| body.is_object() && self.rule.holds(&body))
    }
}

/// An attribute as a value of JSON: an array holds several, and bytes are nothing to compare with.
fn attribute_value(attribute: &Attribute) -> Value {
    let text = || Value::from(attribute.value.clone());
    match attribute.data_type.as_str() {
        "String.Array" => serde_json::from_str(&attribute.value).unwrap_or_else(|_| text()),
        of if of.starts_with("Number") => {
            serde_json::from_str(&attribute.value).unwrap_or_else(|_| text())
        }
        of if of.starts_with("Binary") => Value::Array(Vec::new()),
        _ => text(),
    }
}

impl Rule {
    fn holds(&self, of: &Value) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.holds(of)),
            Self::Any(rules) => rules.iter().any(|rule| rule.holds(of)),
            Self::Member(name, conditions) => {
                let found = of.get(name);
                conditions.iter().any(|condition| condition.holds(found))
            }
            Self::Within(name, rule) => match of.get(name) {
                // Of a list of objects, one must fit.
                Some(Value::Array(items)) => items.iter().any(|item| rule.holds(item)),
                Some(members) => rule.holds(members),
                None => rule.holds(&Value::Null),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(policy: &str, body: &str) -> bool {
        FilterPolicy::parse(policy).unwrap().matches_body(body)
    }

    #[test]
    fn each_condition_takes_one_and_leaves_another() {
        for (condition, taken, left) in [
            (r#""red""#, r#""red""#, r#""Red""#),
            ("3", "3.0", "4"),
            ("true", "true", "false"),
            ("null", "null", r#""null""#),
            (r#"{"prefix":"re"}"#, r#""red""#, r#""blue""#),
            (r#"{"suffix":"ed"}"#, r#""red""#, r#""blue""#),
            (r#"{"equals-ignore-case":"RED"}"#, r#""red""#, r#""re""#),
            (r#"{"wildcard":"r*d"}"#, r#""round""#, r#""rounds""#),
            (r#"{"anything-but":"red"}"#, r#""blue""#, r#""red""#),
            (r#"{"anything-but":["red",3]}"#, r#""blue""#, "3"),
            (
                r#"{"anything-but":{"prefix":"re"}}"#,
                r#""blue""#,
                r#""red""#,
            ),
            (
                r#"{"anything-but":{"suffix":"ed"}}"#,
                r#""blue""#,
                r#""red""#,
            ),
            (
                r#"{"anything-but":{"wildcard":"r*d"}}"#,
                r#""blue""#,
                r#""red""#,
            ),
            (r#"{"numeric":["=",3.015]}"#, "3.015", "3.016"),
            (r#"{"numeric":[">",0,"<=",5]}"#, "5", "0"),
            (r#"{"numeric":["<",10]}"#, "-1", "10"),
            (r#"{"numeric":[">=",10]}"#, "10", r#""10""#),
            (r#"{"cidr":"10.0.0.0/8"}"#, r#""10.1.2.3""#, r#""11.1.2.3""#),
            (r#"{"exists":true}"#, "0", ""),
            (r#"{"exists":false}"#, "", "0"),
        ] {
            let policy = format!(r#"{{"a":[{condition}]}}"#);
            let with = |value: &str| match value {
                "" => r#"{"b":1}"#.to_owned(),
                value => format!(r#"{{"a":{value}}}"#),
            };
            assert!(body(&policy, &with(taken)), "{policy} {taken}");
            assert!(!body(&policy, &with(left)), "{policy} {left}");
        }
    }

    #[test]
    fn members_must_all_fit_and_conditions_once() {
        let policy = r#"{"a":["x","y"],"b":[1]}"#;
        assert!(body(policy, r#"{"a":"y","b":1}"#));
        assert!(!body(policy, r#"{"a":"y","b":2}"#));
        assert!(!body(policy, r#"{"a":"y"}"#));
        assert!(!body(policy, "y") && !body(policy, "[]"));
        let either = r#"{"c":[1],"$or":[{"a":["x"]},{"b":[1]}]}"#;
        assert!(body(either, r#"{"b":1,"c":1}"#) && body(either, r#"{"a":"x","c":1}"#));
        assert!(!body(either, r#"{"a":"y","c":1}"#) && !body(either, r#"{"a":"x"}"#));
    }

    #[test]
    fn bodies_are_searched_deep_and_in_lists() {
        let policy = r#"{"order":{"items":{"colour":["red"]}}}"#;
        assert!(body(policy, r#"{"order":{"items":{"colour":"red"}}}"#));
        assert!(body(
            policy,
            r#"{"order":{"items":[{"colour":"blue"},{"colour":["red"]}]}}"#
        ));
        assert!(!body(policy, r#"{"order":{"items":[{"colour":"blue"}]}}"#));
        assert!(!body(policy, r#"{"order":1}"#));
    }

    #[test]
    fn attributes_have_their_types() {
        let attributes = |data_type: &str, value: &str| {
            let attribute = Attribute {
                data_type: data_type.to_owned(),
                value: value.to_owned(),
            };
            BTreeMap::from([("a".to_owned(), attribute)])
        };
        let wants = |policy: &str, data_type: &str, value: &str| {
            let policy = FilterPolicy::parse(policy).unwrap();
            policy.matches_attributes(&attributes(data_type, value))
        };
        assert!(wants(r#"{"a":["3"]}"#, "String", "3"));
        assert!(!wants(r#"{"a":["3"]}"#, "Number", "3"));
        assert!(wants(r#"{"a":[{"numeric":["=",3]}]}"#, "Number", "3"));
        assert!(wants(r#"{"a":["y"]}"#, "String.Array", r#"["x","y"]"#));
        assert!(!wants(r#"{"a":["z"]}"#, "String.Array", r#"["x","y"]"#));
        assert!(wants(r#"{"a":[{"exists":true}]}"#, "Binary", "AQID"));
        assert!(!wants(r#"{"a":["AQID"]}"#, "Binary", "AQID"));
        let policy = FilterPolicy::parse(r#"{"a":["x"]}"#).unwrap();
        assert!(!policy.matches_attributes(&BTreeMap::new()));
    }

    #[test]
    fn mistakes_are_told_in_awss_words() {
        for (policy, wanted) in [
            (
                r#"{"k":[["v"]]}"#,
                "Match value must be String, number, true, false, or null",
            ),
            (r#"{"k":[{"wrong":true}]}"#, "Unrecognized match type wrong"),
            (
                r#"{"k":[{"suffix":"v","prefix":"w"}]}"#,
                "Only one key allowed in match expression",
            ),
            (
                r#"{"k":[{"suffix":100}]}"#,
                "suffix match pattern must be a string",
            ),
            (
                r#"{"k":{"suffix":"v"}}"#,
                "\"suffix\" must be an object or an array",
            ),
            (r#"{"k":"v"}"#, "\"k\" must be an object or an array"),
            (r#"{"k":[]}"#, "Empty arrays are not allowed"),
            (
                r#"{"k":[{"numeric":[]}]}"#,
                "Invalid member in numeric match: ]",
            ),
            (
                r#"{"k":[{"numeric":["operator"]}]}"#,
                "Unrecognized numeric range operator: operator",
            ),
            (
                r#"{"k":[{"numeric":[1,"<="]}]}"#,
                "Invalid member in numeric match: 1",
            ),
            (
                r#"{"k":[{"numeric":["=","0"]}]}"#,
                "Value of equals must be numeric",
            ),
            (
                r#"{"k":[{"numeric":[">="]}]}"#,
                "Value of >= must be numeric",
            ),
            (
                r#"{"k":[{"numeric":["<",100,">",10]}]}"#,
                "Too many elements in numeric expression",
            ),
            (
                r#"{"k":[{"numeric":[">=",1,">",2]}]}"#,
                "Bad numeric range operator: >",
            ),
            (
                r#"{"k":[{"numeric":[">",3,"<",1]}]}"#,
                "Bottom must be less than top",
            ),
            (
                r#"{"k":[{"numeric":[">",20,30]}]}"#,
                "Bad value in numeric range: 30",
            ),
            (
                r#"{"k":[{"numeric":[">",20,"<",30,"<",50]}]}"#,
                "Too many terms in numeric range expression",
            ),
            (
                r#"{"k":[{"exists":"no"}]}"#,
                "exists match pattern must be either true or false.",
            ),
            (
                r#"{"a":["v"],"b":["v"],"c":["v"],"d":["v"],"e":["v"],"f":["v"]}"#,
                "Filter policy can not have more than 5 keys",
            ),
            (
                r#"{"a":[1,2,3,4,5,6,7,8,9,10,11,12,13],"b":[1,2,3,4,5,6,7,8,9,10,11,12]}"#,
                "Filter policy is too complex",
            ),
        ] {
            let error = FilterPolicy::parse(policy).map_err(|error| error.to_string());
            assert_eq!(error, Err(wanted.to_owned()), "{policy}");
        }
        for policy in [
            "",
            "[]",
            "{",
            r#"{"$or":[{"a":["b"]}]}"#,
            r#"{"a":[{"cidr":"x"}]}"#,
        ] {
            assert!(FilterPolicy::parse(policy).is_err(), "{policy}");
        }
    }
}
