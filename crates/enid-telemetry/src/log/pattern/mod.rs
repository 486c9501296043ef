//! Filter patterns: the language of FilterLogEvents, metric filters, subscription filters and live
//! tail.
//!
//! A pattern has one of three forms, told apart by its first character: terms in any text
//! ([`terms`]), conditions on the values of a JSON event (`{ … }`, [`json`]), and conditions on the
//! fields of a space-delimited event (`[ … ]`, [`fields`]). What conditions compare with is in
//! [`operand`].
//!
//! A pattern that exists is valid. It is matched in time linear in the message: regular expressions
//! have neither groups nor back-references.
//! Source: CloudWatch Logs User Guide, "Filter pattern syntax".

mod cursor;
mod fields;
mod json;
mod operand;
mod selector;
mod terms;
mod tree;

use std::collections::BTreeMap;

use serde_json::Value;

use cursor::Cursor;
use fields::Fields;
use json::Conditions;
use terms::Terms;

pub use selector::Selector;

/// What a filter pattern asks for.
#[derive(Debug, Clone)]
pub struct FilterPattern {
    form: Form,
    regexes: usize,
}

#[derive(Debug, Clone)]
enum Form {
    Fields(Fields),
    Json(Conditions),
    Terms(Terms),
}

/// Why a text is no filter pattern, in AWS's words where they are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A character where it has no meaning.
    #[error("Invalid character(s) in term '{0}'")]
    Character(Box<str>),
    /// A text that ends too early or does not have the form that it begins with.
    #[error("Invalid filter pattern")]
    Malformed,
    /// A text between percent signs that is no regular expression of this language.
    #[error("Invalid regular expression in filter pattern '{0}'")]
    Regex(Box<str>),
    /// A pattern may have two regular expressions.
    #[error("The filter pattern has more than {REGEXES_MAX} regular expressions")]
    RegexesTooMany,
    /// A pattern has 1,024 characters at most.
    #[error(
        "1 validation error detected: Value at 'filterPattern' failed to satisfy constraint: Member must have length less than or equal to 1024"
    )]
    TooLong,
    /// A selector may have one wildcard, a pattern three.
    #[error("The filter pattern has too many wildcard selectors")]
    WildcardsTooMany,
}

/// Characters of a pattern.
pub const CHARACTERS_MAX: usize = 1024;
/// Regular expressions in a pattern.
pub const REGEXES_MAX: usize = 2;

impl FilterPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > CHARACTERS_MAX {
            return Err(PatternError::TooLong);
        }
        let mut cursor = Cursor::new(text.trim());
        let form = match cursor.peek() {
            Some('[') => Form::Fields(Fields::parse(&mut cursor)?),
            Some('{') => Form::Json(Conditions::parse(&mut cursor)?),
            _ => Form::Terms(Terms::parse(&mut cursor)?),
        };
        let regexes = cursor.regexes();
        if regexes > REGEXES_MAX {
            return Err(PatternError::RegexesTooMany);
        }
        Ok(Self { form, regexes })
    }

    /// Whether an event's message is one that the pattern asks for.
    #[must_use]
    pub fn matches(&self, message: &str) -> bool {
        match &self.form {
            Form::Fields(fields) => fields.matches(message).is_some(),
            Form::Json(conditions) => json_of(message).is_some_and(|it| conditions.hold(&it)),
            Form::Terms(terms) => terms.match_text(message),
        }
    }

    /// What the pattern's names stand for in a message that it matches: fields as `$name`, or as
    /// `$3` if they have none; values as their selectors are written. `None` if it does not match.
    #[must_use]
    pub fn extract(&self, message: &str) -> Option<BTreeMap<String, String>> {
        match &self.form {
            Form::Fields(fields) => fields.matches(message),
            Form::Json(conditions) => {
                let event = json_of(message)?;
                conditions
                    .hold(&event)
                    .then(|| conditions.extracted(&event))
            }
            Form::Terms(terms) => terms.match_text(message).then(BTreeMap::new),
        }
    }

    /// How many regular expressions it has.
    #[must_use]
    pub fn regexes(&self) -> usize {
        self.regexes
    }

    /// Whether events are read as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self.form, Form::Json(_))
    }

    /// The names of a space-delimited pattern's fields; none for other patterns.
    #[must_use]
    pub fn field_names(&self) -> Vec<&str> {
        match &self.form {
            Form::Fields(fields) => fields.names().collect(),
            Form::Json(_) | Form::Terms(_) => Vec::new(),
        }
    }

    /// Whether every event is asked for.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(&self.form, Form::Terms(terms) if terms.is_everything())
    }
}

/// An event that is JSON. Others match no JSON pattern.
pub(super) fn json_of(message: &str) -> Option<Value> {
    serde_json::from_str(message)
        .ok()
        .filter(|it: &Value| it.is_object() || it.is_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_the_first_character() {
        for (text, is_json, names) in [
            ("ERROR", false, &[][..]),
            ("  { $.a = 1 } ", true, &[]),
            ("[ip, ..., bytes]", false, &["ip", "bytes"]),
        ] {
            let pattern = FilterPattern::parse(text).expect(text);
            assert_eq!(pattern.is_json(), is_json, "{text}");
            assert_eq!(pattern.field_names(), names, "{text}");
        }
    }

    #[test]
    fn what_is_empty_asks_for_everything() {
        for text in ["", " ", "   ", "\"\""] {
            let pattern = FilterPattern::parse(text).expect(text);
            assert!(pattern.matches("anything"), "{text:?}");
            assert!(pattern.is_everything(), "{text:?}");
        }
        assert!(
            !FilterPattern::parse("a")
                .expect("a pattern")
                .is_everything()
        );
    }

    #[test]
    fn a_pattern_has_limits() {
        let long = "a".repeat(CHARACTERS_MAX);
        assert!(FilterPattern::parse(&long).is_ok());
        let longer = "a".repeat(CHARACTERS_MAX + 1);
        assert_eq!(
            FilterPattern::parse(&longer).err(),
            Some(PatternError::TooLong)
        );
        assert_eq!(
            FilterPattern::parse("{ $.a = %x% && $.b = %y% }").map(|it| it.regexes()),
            Ok(2)
        );
        let three = FilterPattern::parse("{ $.a = %x% && $.b = %y% && $.c = %z% }");
        assert_eq!(three.err(), Some(PatternError::RegexesTooMany));
    }
}
