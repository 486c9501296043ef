//! How each service words the refusal of a request that does not fit its table.

use super::conform::Step;
use crate::error::ApiError;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// ACM's.
    Acm,
    /// CloudWatch Logs'.
    Logs,
    /// CloudWatch's.
    Monitoring,
    /// Those of services of the query protocol.
    Query,
}

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The way to it.
    pub path: Vec<Step>,
    /// What it is.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A required member is absent.
    Missing,
    /// AWS has the member, Enid does not.
    NotImplemented,
    /// A member is there twice.
    Twice,
    /// It is not of the type that is named.
    Type(&'static str),
    /// AWS has no such member.
    Unknown,
    /// AWS permits other values only.
    Value(String, &'static [&'static str]),
    /// AWS permits the value, Enid does not.
    ValueNotImplemented(String),
}

impl Words {
    /// The error of a problem.
    #[must_use]
    pub fn refuse(self, operation: &str, problem: &Problem) -> ApiError {
        let name = self.name(&problem.path);
        let (missing, invalid) = match self {
            Self::Acm => ("ValidationException", "ValidationException"),
            Self::Logs => ("InvalidParameterException", "InvalidParameterException"),
            Self::Monitoring | Self::Query => ("MissingParameter", "InvalidParameterValue"),
        };
        match &problem.fault {
            Fault::NotImplemented => ApiError::parameter_not_implemented(operation, &name),
            Fault::ValueNotImplemented(value) => {
                ApiError::value_not_implemented(operation, &name, value)
            }
            Fault::Unknown if self.is_bare() => ApiError::new(
                invalid,
                400,
                format!("The parameter {name} is not recognized"),
            ),
            Fault::Unknown => ApiError::unknown_parameter(&name),
            Fault::Missing if self.is_bare() => ApiError::new(
                missing,
                400,
                constraint("null", &coral(&problem.path), "Member must not be null"),
            ),
            Fault::Missing => {
                ApiError::new(missing, 400, format!("The parameter {name} is required."))
            }
            Fault::Twice => ApiError::new(
                invalid,
                400,
                format!("The parameter {name} is present more than once."),
            ),
            Fault::Type(what) => ApiError::new(
                invalid,
                400,
                format!("The value for parameter {name} is invalid: expected {what}."),
            ),
            Fault::Value(value, of) => {
                let code = match self {
                    Self::Acm | Self::Logs => invalid,
                    Self::Monitoring | Self::Query => "ValidationError",
                };
                let short: String = value.chars().take(100).collect();
                let rule = format!("Member must satisfy enum value set: [{}]", of.join(", "));
                ApiError::new(
                    code,
                    400,
                    constraint(&format!("'{short}'"), &coral(&problem.path), &rule),
                )
            }
        }
    }

    /// Whether it is a service that never spoke the query protocol.
    fn is_bare(self) -> bool {
        matches!(self, Self::Acm | Self::Logs)
    }

    /// The name of a member as the service writes it: with the query protocol's words, or bare.
    #[must_use]
    pub fn name(self, path: &[Step]) -> String {
        let steps = path.iter().map(|step| match step {
            Step::Member(name) | Step::Key(name) => short(name),
            Step::Item(number) if self.is_bare() => number.to_string(),
            Step::Item(number) => format!("member.{number}"),
        });
        steps.collect::<Vec<_>>().join(".")
    }
}

/// The words in which AWS tells of a constraint of its models; `value` has its own quotes.
#[must_use]
pub fn constraint(value: &str, name: &str, rule: &str) -> String {
    format!(
        "1 validation error detected: Value {value} at '{name}' failed to satisfy constraint: {rule}"
    )
}

/// A member's name in those words: small first letters, `1.member` for items.
fn coral(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Member(name) | Step::Key(name) => super::params::lower_first(&short(name)),
        Step::Item(number) => format!("{number}.member"),
    });
    steps.collect::<Vec<_>>().join(".")
}

/// A name can be as long as a request; a message need not.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: Words, fault: Fault) -> String {
        let path = vec![
            Step::Member("logEvents".to_owned()),
            Step::Item(2),
            Step::Member("message".to_owned()),
        ];
        let error = words.refuse("Op", &Problem { path, fault });
        format!("{}: {}", error.code(), error.message())
    }

    #[test]
    fn each_service_has_its_own_words() {
        assert_eq!(
            said(Words::Logs, Fault::Missing),
            "InvalidParameterException: 1 validation error detected: Value null at 'logEvents.2.member.message' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            said(Words::Monitoring, Fault::Missing),
            "MissingParameter: The parameter logEvents.member.2.message is required."
        );
        assert_eq!(
            said(Words::Logs, Fault::Unknown),
            "InvalidParameterException: The parameter logEvents.2.message is not recognized"
        );
        assert_eq!(
            said(Words::Logs, Fault::NotImplemented),
            "UnsupportedOperation: Enid does not implement the parameter logEvents.2.message of Op."
        );
    }
}
