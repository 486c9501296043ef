//! Policies of access keys: IAM's JSON policy language, and which requests it allows.
//!
//! A policy is read once, when its key is made ([`Policy::parse`]); whatever of it Enid could not
//! obey is refused then, by name. Each request of the key becomes a list of questions, one for
//! each pair of an action and a resource ([`resource`]), with what conditions may ask for
//! ([`request::Facts`]). [`Policy::decide`] is pure: an explicit deny wins, then an allow, and what
//! nothing allows is denied.

mod association;
pub(crate) mod authorize;
mod condition;
pub mod elsewhere;
mod json;
mod key;
mod launch;
mod parse;
mod pattern;
mod place;
pub mod request;
mod resource;

pub use self::request::{Facts, Permissions};

use self::condition::Condition;
use self::pattern::Pattern;

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// What a policy says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it, and none denies it.
    Allowed,
    /// A statement denies it.
    DeniedExplicitly,
    /// No statement allows it.
    DeniedImplicitly,
}

/// Why a text is no policy that Enid can obey.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// An action that is not `*` and has no service before a colon.
    #[error("the action \"{0}\" must be \"*\" or start with a service, as in \"ec2:DescribeVpcs\"")]
    Action(Box<str>),
    /// Something has another JSON type.
    #[error("{0} must not be {1}")]
    Expected(&'static str, &'static str),
    /// Something that only makes sense with content has none.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The `Effect` is neither of two.
    #[error("the effect \"{0}\" must be \"Allow\" or \"Deny\"")]
    Effect(Box<str>),
    /// An element that the policies of keys cannot have.
    #[error("unknown element \"{0}\"")]
    Element(Box<str>),
    /// Neither or both of two elements.
    #[error("a statement needs either \"{0}\" or \"Not{0}\"")]
    EitherOr(&'static str),
    /// Not JSON.
    #[error("not JSON, or a name is there twice")]
    Json(#[source] serde_json::Error),
    /// A condition key that requests do not carry.
    #[error("unknown condition key \"{0}\"")]
    Key(Box<str>),
    /// An element that must be there is not.
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    /// A condition operator that Enid does not have.
    #[error("unknown condition operator \"{0}\"")]
    Operator(Box<str>),
    /// A resource that is neither `*` nor an ARN.
    #[error("the resource \"{0}\" must be \"*\" or an ARN")]
    Resource(Box<str>),
    /// A `Sid` with other characters than letters and digits, or one that is there twice.
    #[error("the Sid \"{0}\" must have letters and digits only, and be there once")]
    Sid(Box<str>),
    /// Longer than AWS's managed policies may be.
    #[error("a policy has at most {max} characters without white space", max = parse::CHARACTERS_MAX)]
    TooLong,
    /// A value that its condition operator cannot read.
    #[error("the value \"{value}\" is none that {operator} can read")]
    Value {
        /// The operator.
        operator: Box<str>,
        /// The value.
        value: Box<str>,
    },
    /// The values of a condition key are not texts.
    #[error("the condition key \"{0}\" needs a value or a list of values")]
    Values(Box<str>),
    /// A variable that is not one, in this text.
    #[error("{0}: an unknown or unended variable in \"{1}\"")]
    Variable(Place, Box<str>),
    /// A version of the language that does not exist.
    #[error("the version \"{0}\" must be \"2012-10-17\" or \"2008-10-17\"")]
    Version(Box<str>),
}

/// Where in a statement something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a condition.
    Condition,
    /// In a resource.
    Resource,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Condition => "Condition",
            Self::Resource => "Resource",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    effect: Effect,
    actions: Choice,
    resources: Choice,
    conditions: Vec<Condition>,
}

/// What an element names, or (`Not…`) all but that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    patterns: Vec<Pattern>,
    negated: bool,
}

impl Policy {
    /// What the policy says to an action, such as `ec2:CreateVpc`, on a resource.
    #[must_use]
    pub fn decide(&self, action: &str, resource: &str, facts: &Facts) -> Decision {
        let mut decision = Decision::DeniedImplicitly;
        for statement in &self.statements {
            if !statement.applies(action, resource, facts) {
                continue;
            }
            match statement.effect {
                Effect::Allow => decision = Decision::Allowed,
                Effect::Deny => return Decision::DeniedExplicitly,
            }
        }
        decision
    }
}

impl Statement {
    fn applies(&self, action: &str, resource: &str, facts: &Facts) -> bool {
        self.actions.holds(action, facts, true)
            && self.has_resource(resource, facts)
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(facts))
    }

    fn has_resource(&self, resource: &str, facts: &Facts) -> bool {
        // `NotResource` with a variable that has no value would name everything: fit for a deny,
        // never for an allow.
        let resolved = |pattern: &Pattern| pattern.is_resolved(facts);
        if self.resources.negated
            && self.effect == Effect::Allow
            && !self.resources.patterns.iter().all(resolved)
        {
            return false;
        }
        self.resources.holds(resource, facts, false)
    }
}

impl Choice {
    fn holds(&self, text: &str, facts: &Facts, ignore_case: bool) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.matches(text, facts, ignore_case)) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VPC: &str = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1";

    fn decide(policy: &str, action: &str, resource: &str) -> Decision {
        let mut facts = Facts::default();
        facts.set("aws:requestedregion", "eu-west-1");
        let policy = Policy::parse(policy).unwrap();
        policy.decide(action, resource, &facts)
    }

    #[test]
    fn an_explicit_deny_wins_then_an_allow() {
        use Decision::{Allowed, DeniedExplicitly, DeniedImplicitly};
        let policy = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["ec2:*Vpc", "EC2:describe*"], "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:DeleteVpc", "Resource": "arn:aws:ec2:*:*:vpc/vpc-1"}
        ]}"#;
        for (action, resource, wanted) in [
            (
                "ec2:CreateVpc",
                "arn:aws:ec2:eu-west-1:123456789012:vpc/*",
                Allowed,
            ),
            ("ec2:DescribeSubnets", "*", Allowed),
            ("ec2:DeleteVpc", VPC, DeniedExplicitly),
            (
                "ec2:DeleteVpc",
                "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-2",
                Allowed,
            ),
            ("ec2:CreateSubnet", VPC, DeniedImplicitly),
            ("sts:GetCallerIdentity", "*", DeniedImplicitly),
        ] {
            assert_eq!(
                decide(policy, action, resource),
                wanted,
                "{action} {resource}"
            );
        }
    }

    #[test]
    fn not_names_all_the_rest() {
        use Decision::{Allowed, DeniedImplicitly};
        let policy = r#"{"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "NotAction": "ec2:Delete*", "NotResource": "arn:aws:ec2:*:*:vpc/*"}}"#;
        let subnet = "arn:aws:ec2:eu-west-1:123456789012:subnet/subnet-1";
        assert_eq!(decide(policy, "ec2:CreateSubnet", subnet), Allowed);
        assert_eq!(decide(policy, "ec2:DeleteSubnet", subnet), DeniedImplicitly);
        assert_eq!(decide(policy, "ec2:CreateSubnet", VPC), DeniedImplicitly);
    }

    #[test]
    fn a_variable_without_a_value_opens_nothing() {
        let policy = |effect: &str| {
            let open = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
            let open = if effect == "Deny" {
                open
            } else {
                r#"{"Effect": "Deny", "Action": "x:y", "Resource": "*"}"#
            };
            format!(
                r#"{{"Version": "2012-10-17", "Statement": [{open}, {{"Effect": "{effect}", "Action": "*",
                "NotResource": "arn:aws:ec2:*:*:vpc/${{aws:RequestTag/x}}"}}]}}"#
            )
        };
        assert_eq!(
            decide(&policy("Allow"), "ec2:DeleteVpc", VPC),
            Decision::DeniedImplicitly
        );
        assert_eq!(
            decide(&policy("Deny"), "ec2:DeleteVpc", VPC),
            Decision::DeniedExplicitly
        );
    }

    #[test]
    fn all_conditions_of_a_statement_must_hold() {
        let policy = |other: &str| {
            format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "ec2:*",
                "Resource": "*", "Condition": {{"StringEquals": {{"aws:RequestedRegion": "eu-west-1"}},
                "Null": {{"aws:RequestTag/x": "{other}"}}}}}}]}}"#
            )
        };
        assert_eq!(
            decide(&policy("true"), "ec2:DeleteVpc", VPC),
            Decision::Allowed
        );
        assert_eq!(
            decide(&policy("false"), "ec2:DeleteVpc", VPC),
            Decision::DeniedImplicitly
        );
    }
}
