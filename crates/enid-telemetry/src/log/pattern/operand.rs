//! What conditions compare with: texts with wildcards, numbers, and regular expressions.

use regex::bytes::Regex;

use super::PatternError;
use super::cursor::Cursor;

/// A text in which an asterisk stands for any text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Glob {
    /// What is found before the first wildcard.
    first: String,
    /// What is found after each wildcard.
    others: Vec<String>,
}

impl Glob {
    pub(super) fn push(&mut self, character: char) {
        let part = self.others.last_mut().unwrap_or(&mut self.first);
        part.push(character);
    }

    pub(super) fn push_wildcard(&mut self) {
        self.others.push(String::new());
    }

    /// Whether a whole text is one that this stands for.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((last, between)) = self.others.split_last() else {
            return self.first == text;
        };
        let Some(mut text) = text.strip_prefix(&*self.first) else {
            return false;
        };
        for part in between {
            // The earliest place leaves the most for the parts that follow.
            let Some(at) = text.find(&**part) else {
                return false;
            };
            text = &text[at + part.len()..];
        }
        text.ends_with(&**last)
    }

    /// Its text with asterisks as they are: what a term is.
    pub(super) fn into_literal(self) -> String {
        let mut text = self.first;
        for part in &self.others {
            text.push('*');
            text.push_str(part);
        }
        text
    }

    fn of(text: &str) -> Self {
        let mut glob = Self::default();
        for character in text.chars() {
            match character {
                '*' => glob.push_wildcard(),
                other => glob.push(other),
            }
        }
        glob
    }
}

/// How a value is compared with an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
}

impl Operator {
    /// The operator that is next, if one is.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Option<Self> {
        // Longer ones first.
        let all = [
            ("!=", Self::NotEqual),
            (">=", Self::GreaterOrEqual),
            ("<=", Self::LessOrEqual),
            ("=", Self::Equal),
            (">", Self::Greater),
            ("<", Self::Less),
        ];
        let found = all.into_iter().find(|(text, _)| cursor.eat(text));
        found.map(|(_, operator)| operator)
    }

    fn orders(self, value: f64, operand: f64) -> bool {
        match self {
            #[expect(clippy::float_cmp, reason = "AWS compares the numbers as written")]
            Self::Equal => value == operand,
            Self::Greater => value > operand,
            Self::GreaterOrEqual => value >= operand,
            Self::Less => value < operand,
            Self::LessOrEqual => value <= operand,
            #[expect(clippy::float_cmp, reason = "AWS compares the numbers as written")]
            Self::NotEqual => value != operand,
        }
    }
}

/// An operator with its operand.
#[derive(Debug, Clone)]
pub(super) enum Comparison {
    /// With a number, which was written so.
    Number(Operator, f64, String),
    Regex {
        is_negated: bool,
        regex: Regex,
    },
    Text {
        is_negated: bool,
        glob: Glob,
    },
}

impl Comparison {
    /// Reads the operand of an operator.
    pub(super) fn parse(operator: Operator, cursor: &mut Cursor<'_>) -> Result<Self, PatternError> {
        cursor.skip_space();
        // Only numbers have an order.
        let is_negated = match operator {
            Operator::Equal => Some(false),
            Operator::NotEqual => Some(true),
            _ => None,
        };
        let text = match cursor.peek() {
            Some('"') => cursor.quoted()?,
            Some('%') => {
                let is_negated = is_negated.ok_or(PatternError::Malformed)?;
                let regex = cursor.regex()?;
                return Ok(Self::Regex { is_negated, regex });
            }
            _ => {
                let word = cursor.run(|c| c.is_alphanumeric() || "_-.*+".contains(c));
                if word.is_empty() {
                    return Err(cursor.unexpected());
                }
                if let Some(number) = number(word) {
                    return Ok(Self::Number(operator, number, word.to_owned()));
                }
                Glob::of(word)
            }
        };
        let is_negated = is_negated.ok_or(PatternError::Malformed)?;
        let glob = text;
        Ok(Self::Text { is_negated, glob })
    }

    /// Whether it holds for a value, given as its text and, if it is one, as a number.
    pub(super) fn holds(&self, text: &str, value: Option<f64>) -> bool {
        match self {
            Self::Number(operator, operand, written) => match (value, operator) {
                (Some(value), operator) => operator.orders(value, *operand),
                (None, Operator::Equal) => text == written,
                (None, Operator::NotEqual) => text != written,
                (None, _) => false,
            },
            Self::Regex { is_negated, regex } => regex.is_match(text.as_bytes()) != *is_negated,
            Self::Text { is_negated, glob } => glob.matches(text) != *is_negated,
        }
    }
}

/// A number as patterns and fields have it: a sign, digits with a point, an exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    // What `f64` reads beside that are words, such as `inf`.
    let is_written_so = text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number = is_written_so.then(|| text.parse().ok()).flatten();
    number.filter(|it: &f64| it.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asterisks_stand_for_any_text() {
        for (glob, text, matches) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("4*", "404", true),
            ("4*", "504", false),
            ("*html*", "GET /a.html HTTP", true),
            ("*Event", "PutEvent", true),
            ("*Event", "PutEvents", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(Glob::of(glob).matches(text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let holds = |comparison: &str, text: &str| {
            let mut cursor = Cursor::new(comparison);
            let operator = Operator::parse(&mut cursor).expect(comparison);
            let comparison = Comparison::parse(operator, &mut cursor).expect(comparison);
            comparison.holds(text, number(text))
        };
        for (comparison, text, expected) in [
            ("= 200", "200", true),
            ("= 200", "2e2", true),
            ("= 200", "200x", false),
            ("!= 200", "200x", true),
            ("> +1000", "1001", true),
            (">= 10e-3", "0.01", true),
            ("< 10e3", "9999", true),
            ("<= 55.5", "55.6", false),
            ("> 5", "six", false),
            ("= 4*", "404", true),
            ("!= 4*", "404", false),
            ("= \"22\"", "22", true),
            ("= \"22\"", "22.0", false),
            ("!= %^10%", "192", true),
        ] {
            assert_eq!(holds(comparison, text), expected, "{comparison} {text}");
        }
    }

    #[test]
    fn only_numbers_have_an_order() {
        for text in ["> abc", "< \"1\"", ">= %1%", "=", "= ,"] {
            let mut cursor = Cursor::new(text);
            let operator = Operator::parse(&mut cursor).expect(text);
            assert!(Comparison::parse(operator, &mut cursor).is_err(), "{text}");
        }
    }
}
