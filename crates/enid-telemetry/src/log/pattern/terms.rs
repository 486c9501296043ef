//! Patterns of terms: words, phrases and regular expressions anywhere in a message.

use regex::bytes::Regex;

use super::PatternError;
use super::cursor::Cursor;

/// Terms that a message must, may or must not contain.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    required: Vec<Term>,
    /// One of them is enough. They mean nothing beside required ones.
    optional: Vec<Term>,
    excluded: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Regex(Regex),
    Text(String),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(message.as_bytes()),
            Self::Text(text) => message.contains(&**text),
        }
    }
}

impl Terms {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, PatternError> {
        let mut terms = Self::default();
        loop {
            cursor.skip_space();
            if cursor.is_at_end() {
                return Ok(terms);
            }
            let list = if cursor.eat("?") {
                &mut terms.optional
            } else if cursor.eat("-") {
                // The documentation has a space here: `"ERROR" - "Exiting"`.
                cursor.skip_space();
                &mut terms.excluded
            } else {
                &mut terms.required
            };
            list.push(term(cursor)?);
        }
    }

    pub(super) fn match_text(&self, message: &str) -> bool {
        let is_in = |term: &Term| term.is_in(message);
        let is_wanted = match (self.required.is_empty(), self.optional.is_empty()) {
            (false, _) => self.required.iter().all(is_in),
            (true, false) => self.optional.iter().any(is_in),
            (true, true) => true,
        };
        is_wanted && !self.excluded.iter().any(is_in)
    }

    pub(super) fn is_everything(&self) -> bool {
        let is_empty = |term: &Term| matches!(term, Term::Text(text) if text.is_empty());
        self.excluded.is_empty() && self.optional.is_empty() && self.required.iter().all(is_empty)
    }
}

/// The term that is next: a word of letters, digits and underscores, or something in quotes or
/// percent signs.
fn term(cursor: &mut Cursor<'_>) -> Result<Term, PatternError> {
    let term = match cursor.peek() {
        Some('"') => Term::Text(cursor.quoted()?.into_literal()),
        Some('%') => Term::Regex(cursor.regex()?),
        _ => {
            let word = cursor.run(|c| c.is_alphanumeric() || c == '_');
            if word.is_empty() {
                return Err(cursor.unexpected());
            }
            Term::Text(word.to_owned())
        }
    };
    match cursor.peek() {
        None => Ok(term),
        Some(next) if next.is_whitespace() => Ok(term),
        Some(_) => Err(cursor.unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, message: &str) -> bool {
        let terms = Terms::parse(&mut Cursor::new(pattern)).expect(pattern);
        terms.match_text(message)
    }

    /// Of the documentation's examples, what each pattern returns.
    #[test]
    fn terms_are_found_as_documented() {
        let events = [
            "[ERROR 400] BAD REQUEST",
            "[ERROR 401] UNAUTHORIZED REQUEST",
            "[ERROR 419] MISSING ARGUMENTS",
            "[ERROR 420] INVALID ARGUMENTS",
            "[WARN] error, lower case",
        ];
        for (pattern, expected) in [
            ("ERROR", &[0, 1, 2, 3][..]),
            ("ERROR ARGUMENTS", &[2, 3]),
            ("?ERROR ?WARN", &[0, 1, 2, 3, 4]),
            ("?400 ?401", &[0, 1]),
            ("ERROR -ARGUMENTS", &[0, 1]),
            ("ERROR - \"ARGUMENTS\"", &[0, 1]),
            ("-ERROR", &[4]),
            ("\"BAD REQUEST\"", &[0]),
            ("\"[ERROR 4\" -\"MISSING ARG\"", &[0, 1, 3]),
            ("%AUTHORIZED%", &[1]),
            ("%4[12]0?%", &[2, 3]),
            ("?%MISSING% ?BAD", &[0, 2]),
            // Optional terms mean nothing beside required ones.
            ("ERROR ?BAD ?MISSING", &[0, 1, 2, 3]),
            ("?BAD ?MISSING -REQUEST", &[2]),
        ] {
            let found = (0..events.len()).filter(|at| matches(pattern, events[*at]));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{pattern}");
        }
    }

    #[test]
    fn asterisks_in_phrases_are_asterisks() {
        assert!(matches("\"a*b\"", "xa*bx"));
        assert!(!matches("\"a*b\"", "xacbx"));
    }

    #[test]
    fn other_characters_need_quotes() {
        for (pattern, character) in [
            ("?Status: timeout", ":"),
            ("a[", "["),
            ("level\\x", "\\"),
            ("`a", "`"),
            ("a.b", "."),
            ("(a)", "("),
            ("\"a\"b", "b"),
            ("* a", "*"),
        ] {
            let error = Terms::parse(&mut Cursor::new(pattern)).err();
            let error = error.map(|it| it.to_string());
            let expected = format!("Invalid character(s) in term '{character}'");
            assert_eq!(error, Some(expected), "{pattern}");
        }
        for pattern in ["\"a", "?", "-", "%a"] {
            let error = Terms::parse(&mut Cursor::new(pattern)).err();
            assert_eq!(error, Some(PatternError::Malformed), "{pattern}");
        }
    }
}
