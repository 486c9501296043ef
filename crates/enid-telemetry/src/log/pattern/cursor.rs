//! Reading a pattern's text from left to right.

use regex::bytes::{Regex, RegexBuilder};

use super::PatternError;
use super::operand::Glob;

/// A place in a pattern's text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    regexes: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            regexes: 0,
        }
    }

    /// How many regular expressions have been read.
    pub(super) fn regexes(&self) -> usize {
        self.regexes
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Goes past a text if it is next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Goes past a text that must be next.
    pub(super) fn expect(&mut self, text: &str) -> Result<(), PatternError> {
        if self.eat(text) {
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// Goes past the characters that belong to a run, which may be empty.
    pub(super) fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    /// Goes past a word if it is next and ends there, whatever its case.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let Some((next, rest)) = self.rest.split_at_checked(word.len()) else {
            return false;
        };
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if goes_on || !next.eq_ignore_ascii_case(word) {
            return false;
        }
        self.rest = rest;
        true
    }

    /// The error for the next character, or for the end.
    pub(super) fn unexpected(&self) -> PatternError {
        match self.peek() {
            Some(character) => PatternError::Character(character.to_string().into()),
            None => PatternError::Malformed,
        }
    }

    /// A text in double quotes, which are next. A backslash takes a quote, a backslash or an
    /// asterisk literally.
    pub(super) fn quoted(&mut self) -> Result<Glob, PatternError> {
        self.expect("\"")?;
        let mut glob = Glob::default();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(glob);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\' | '*'))) => glob.push(escaped),
                    Some((_, other)) => {
                        glob.push('\\');
                        glob.push(other);
                    }
                    None => break,
                },
                '*' => glob.push_wildcard(),
                other => glob.push(other),
            }
        }
        Err(PatternError::Malformed)
    }

    /// A regular expression between percent signs, which are next.
    pub(super) fn regex(&mut self) -> Result<Regex, PatternError> {
        self.expect("%")?;
        let mut is_escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '%' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let (text, rest) = self.rest.split_at(end.ok_or(PatternError::Malformed)?);
        self.rest = &rest[1..];
        self.regexes += 1;
        let belongs = |c: char| c.is_ascii_alphanumeric() || REGEX_CHARACTERS.contains(c);
        if let Some(character) = text.chars().find(|c| !belongs(*c)) {
            return Err(PatternError::Character(character.to_string().into()));
        }
        // Without Unicode, as patterns have none: `\w` is a letter of ASCII.
        let regex = RegexBuilder::new(text)
            .unicode(false)
            .size_limit(REGEX_BYTES_MAX)
            .build();
        regex.map_err(|_said| PatternError::Regex(text.into()))
    }
}

/// What a regular expression may be made of beside letters and digits.
const REGEX_CHARACTERS: &str = ":_#=@/;,-^$?[]{}|\\*+.%";

/// What a regular expression may take when it is compiled: far more than one of 1,024 characters
/// needs, unless it counts high.
const REGEX_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_texts_are_read_to_their_end() {
        let mut cursor = Cursor::new(r#""a \"b\" \\ \d" rest"#);
        let glob = cursor.quoted().expect("a text");
        assert!(glob.matches(r#"a "b" \ \d"#));
        assert_eq!(cursor.rest, " rest");
        assert!(Cursor::new("\"a").quoted().is_err());
        assert!(Cursor::new("\"a\\").quoted().is_err());
    }

    #[test]
    fn regular_expressions_are_those_of_the_language() {
        for (text, message, matches) in [
            ("%colou?r%", "color", true),
            ("%^[hc]at%", "that", false),
            (r"%10\.10\.0\.1%", "10x10x0x1", false),
            (r"%\x28x\x29%", "a (x)", true),
            (r"%a{3,5}\d+$%", "xaaa17", true),
            (r"%50\%%", "50%", true),
        ] {
            let regex = Cursor::new(text).regex().expect(text);
            assert_eq!(regex.is_match(message.as_bytes()), matches, "{text}");
        }
        for text in ["%(a)%", "%a b%", "%a!%", "%é%", "%[a%", "%a", "%*%"] {
            assert!(Cursor::new(text).regex().is_err(), "{text}");
        }
    }
}
