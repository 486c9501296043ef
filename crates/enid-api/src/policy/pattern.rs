//! Patterns of policies: `*`, `?`, and variables such as `${aws:username}`.

use std::borrow::Cow;

use super::key;
use super::request::Facts;
use super::{Malformed, Place};

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Any text, also none (`*`).
    Any,
    /// This character.
    Char(char),
    /// Any one character (`?`).
    One,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Token(Token),
    /// A variable by its key in lower case, and what stands for it where the request has none.
    Variable(Box<str>, Option<Box<str>>),
}

/// How a text of a policy is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Whether `*` and `?` stand for other characters.
    pub(super) wildcards: bool,
    /// Whether `${…}` is a variable: in policies of version 2012-10-17.
    pub(super) variables: bool,
}

/// A text of a policy that others are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    pub(super) fn parse(text: &str, reading: Reading, place: Place) -> Result<Self, Malformed> {
        let mut parts = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if reading.variables
                && let Some(inside) = rest.strip_prefix("${")
            {
                let unended = || Malformed::Variable(place, text.into());
                let (name, after) = inside.split_once('}').ok_or_else(unended)?;
                parts.push(variable(name).ok_or_else(unended)?);
                rest = after;
                continue;
            }
            parts.push(Part::Token(match letter {
                '*' if reading.wildcards => Token::Any,
                '?' if reading.wildcards => Token::One,
                letter => Token::Char(letter),
            }));
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
        Ok(Self { parts })
    }

    /// Whether a text matches. A variable for which the request has no single value matches
    /// nothing.
    pub(super) fn matches(&self, text: &str, facts: &Facts, ignore_case: bool) -> bool {
        self.tokens(facts)
            .is_some_and(|tokens| glob(&tokens, text, ignore_case))
    }

    /// The same for an ARN, whose parts match one by one.
    pub(super) fn matches_arn(&self, text: &str, facts: &Facts) -> bool {
        let Some(tokens) = self.tokens(facts) else {
            return false;
        };
        if *tokens == [Token::Any] {
            return true;
        }
        let wanted: Vec<&[Token]> = tokens
            .splitn(ARN_PARTS, |token| *token == Token::Char(':'))
            .collect();
        let given: Vec<&str> = text.splitn(ARN_PARTS, ':').collect();
        let mut pairs = wanted.iter().zip(&given);
        wanted.len() == given.len() && pairs.all(|(wanted, given)| glob(wanted, given, false))
    }

    /// Whether every variable has a value in this request.
    pub(super) fn is_resolved(&self, facts: &Facts) -> bool {
        self.tokens(facts).is_some()
    }

    /// Whether it can match an ARN: six parts, or any text at all.
    pub(super) fn is_arn(text: &str) -> bool {
        text == "*" || (text.starts_with("arn:") && text.split(':').count() >= ARN_PARTS)
    }

    fn tokens(&self, facts: &Facts) -> Option<Cow<'_, [Token]>> {
        let mut tokens = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Token(token) => tokens.push(*token),
                Part::Variable(key, default) => {
                    let value = match (facts.get(key), default) {
                        ([value], _) => value.as_str(),
                        ([], Some(default)) => default,
                        _ => return None,
                    };
                    tokens.extend(value.chars().map(Token::Char));
                }
            }
        }
        Some(Cow::Owned(tokens))
    }
}

/// `arn:partition:service:region:account:resource`; the resource may have further colons.
const ARN_PARTS: usize = 6;

/// What stands between `${` and `}`: a key, perhaps with a default, or a character that would
/// otherwise be special.
fn variable(name: &str) -> Option<Part> {
    if let special @ ("*" | "?" | "$") = name {
        return special.chars().next().map(|c| Part::Token(Token::Char(c)));
    }
    let (name, default) = match name.split_once(',') {
        None => (name.trim(), None),
        Some((name, default)) => {
            let quoted = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (name.trim(), Some(quoted.into()))
        }
    };
    Some(Part::Variable(key::known(name)?.into(), default))
}

/// Whether a text is what the tokens say. On a mismatch, the last `*` takes one more character:
/// an earlier one need never be tried again.
fn glob(tokens: &[Token], text: &str, ignore_case: bool) -> bool {
    let fold = |letter: char| letter.to_lowercase().next().unwrap_or(letter);
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut token) = (0, 0);
    // Where the last `*` stands, and where the text after what it took begins.
    let mut last_any: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(at) {
        let here = match tokens.get(token) {
            Some(Token::Any) => {
                last_any = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Char(wanted)) if ignore_case => fold(*wanted) == fold(*letter),
            Some(Token::Char(wanted)) => wanted == letter,
            None => false,
        };
        if here {
            (at, token) = (at + 1, token + 1);
        } else if let Some((any, from)) = last_any {
            last_any = Some((any, from + 1));
            (at, token) = (from + 1, any + 1);
        } else {
            return false;
        }
    }
    let rest = tokens.get(token..).unwrap_or_default();
    rest.iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Reading = Reading {
        wildcards: true,
        variables: true,
    };

    fn pattern(text: &str, reading: Reading) -> Pattern {
        Pattern::parse(text, reading, Place::Resource).unwrap()
    }

    #[test]
    fn wildcards_stand_for_any_and_one() {
        let facts = Facts::default();
        for (text, given, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("*b*b", "abab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a**", "a", true),
            ("é?", "éa", true),
            ("A", "a", false),
        ] {
            assert_eq!(
                pattern(text, ALL).matches(given, &facts, false),
                wanted,
                "{text} {given}"
            );
        }
        assert!(pattern("eC2:*S", ALL).matches("Ec2:DescribeVpcs", &facts, true));
        let literal = Reading {
            wildcards: false,
            ..ALL
        };
        assert!(pattern("a*", literal).matches("a*", &facts, false));
        assert!(!pattern("a*", literal).matches("ab", &facts, false));
    }

    #[test]
    fn variables_are_the_requests_own() {
        let mut facts = Facts::default();
        facts.set("aws:username", "a*");
        let own = pattern("x/${aws:UserName}/${*}", ALL);
        assert!(own.matches("x/a*/*", &facts, false));
        assert!(
            !own.matches("x/ab/*", &facts, false),
            "a value is no pattern"
        );
        let absent = pattern("x/${aws:RequestTag/team}", ALL);
        assert!(!absent.matches("x/", &facts, false));
        assert!(!absent.is_resolved(&facts));
        let default = pattern("x/${aws:RequestTag/team, 'none'}", ALL);
        assert!(default.matches("x/none", &facts, false));
        let old = Reading {
            variables: false,
            ..ALL
        };
        assert!(pattern("${aws:username}", old).matches("${aws:username}", &facts, false));
        for wrong in [
            "${aws:username",
            "${aws:planet}",
            "${aws:username, x}",
            "${}",
        ] {
            assert!(
                Pattern::parse(wrong, ALL, Place::Resource).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_parts_of_an_arn_match_one_by_one() {
        let facts = Facts::default();
        let vpc = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1";
        for (text, wanted) in [
            ("*", true),
            ("arn:*:ec2:*:*:vpc/*", true),
            ("arn:aws:*:*:*:*", true),
            ("arn:aws:ec2:*:vpc/*", false),
            ("arn:aws:ec2:*:*:subnet/*", false),
        ] {
            assert_eq!(
                pattern(text, ALL).matches_arn(vpc, &facts),
                wanted,
                "{text}"
            );
        }
    }
}
