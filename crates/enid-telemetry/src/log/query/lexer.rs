//! The words of a query.

use std::fmt;

use enid_model::time::Timestamp;

/// A word of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    End,
    /// A name; one in backticks is never a keyword.
    Name {
        text: String,
        is_quoted: bool,
    },
    Number(f64),
    /// A number with a unit of time: `5m`.
    Period(u64, String),
    Symbol(&'static str),
    Text(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the end of the query"),
            Self::Name { text, .. } | Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Period(count, unit) => write!(f, "{count}{unit}"),
            Self::Symbol(symbol) => f.write_str(symbol),
        }
    }
}

/// Why a query is none, with the characters that say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What is wrong.
    pub message: String,
    /// Where it begins, in characters.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// Reads words one after another; the next one can be looked at.
pub(super) struct Lexer<'a> {
    query: &'a str,
    next: Token,
    /// Where the next word begins and ends, and where the one before it ended, in bytes.
    start: usize,
    end: usize,
    before: usize,
    operators: usize,
    now: Timestamp,
}

/// Operators of a query: each may make an expression deeper, and what is deep takes stack.
const OPERATORS_MAX: usize = 300;

impl<'a> Lexer<'a> {
    /// The words of a query that is started at this time.
    pub(super) fn new(query: &'a str, now: Timestamp) -> Result<Self, QueryError> {
        let mut lexer = Self {
            query,
            next: Token::End,
            start: 0,
            end: 0,
            before: 0,
            operators: 0,
            now,
        };
        lexer.advance()?;
        lexer.before = 0;
        Ok(lexer)
    }

    /// When the query is started.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn peek(&self) -> &Token {
        &self.next
    }

    /// Where the next word begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The text from a place to the end of the last word that was taken.
    pub(super) fn text_since(&self, start: usize) -> &'a str {
        self.query.get(start..self.before).unwrap_or_default()
    }

    /// Takes the next word.
    pub(super) fn take(&mut self) -> Result<Token, QueryError> {
        let next = std::mem::replace(&mut self.next, Token::End);
        self.advance()?;
        Ok(next)
    }

    /// Takes a symbol if it is next.
    pub(super) fn eat(&mut self, symbol: &str) -> Result<bool, QueryError> {
        let is_next = matches!(self.next, Token::Symbol(next) if next == symbol);
        if is_next {
            self.take()?;
        }
        Ok(is_next)
    }

    /// Takes a keyword if it is next, whatever its case.
    pub(super) fn eat_word(&mut self, word: &str) -> Result<bool, QueryError> {
        let is_next = self.is_word(word);
        if is_next {
            self.take()?;
        }
        Ok(is_next)
    }

    /// Whether a keyword is next.
    pub(super) fn is_word(&self, word: &str) -> bool {
        let Token::Name { text, is_quoted } = &self.next else {
            return false;
        };
        !is_quoted && text.eq_ignore_ascii_case(word)
    }

    /// Counts an operator that has been taken.
    pub(super) fn count_operator(&mut self) -> Result<(), QueryError> {
        self.operators += 1;
        match self.operators > OPERATORS_MAX {
            true => Err(self.error(format!("a query has {OPERATORS_MAX} operators at most"))),
            false => Ok(()),
        }
    }

    /// Takes a symbol that must be next.
    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), QueryError> {
        if self.eat(symbol)? {
            return Ok(());
        }
        Err(self.unexpected(symbol))
    }

    /// The error for the next word where something else is wanted.
    pub(super) fn unexpected(&self, wanted: &str) -> QueryError {
        let next = &self.next;
        self.error(format!("unexpected {next}, expected {wanted}"))
    }

    /// An error at the next word.
    pub(super) fn error(&self, message: String) -> QueryError {
        self.error_at(message, self.start, self.end)
    }

    /// An error from a place to the last word that was taken.
    pub(super) fn error_since(&self, message: String, start: usize) -> QueryError {
        self.error_at(message, start, self.before)
    }

    fn error_at(&self, message: String, start: usize, end: usize) -> QueryError {
        let characters = |bytes: usize| {
            let before = self.query.get(..bytes);
            before.unwrap_or(self.query).chars().count()
        };
        QueryError {
            message,
            start: characters(start),
            end: characters(end),
        }
    }

    /// A regular expression between slashes, if a slash is next: only the grammar knows that it is
    /// no division.
    pub(super) fn regex(&mut self) -> Result<Option<String>, QueryError> {
        if self.next != Token::Symbol("/") {
            return Ok(None);
        }
        let rest = &self.query[self.end..];
        let mut is_escaped = false;
        let end = rest.find(|c| {
            let ends = c == '/' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let end =
            end.ok_or_else(|| self.error("the regular expression does not end".to_owned()))?;
        let text = rest[..end].replace("\\/", "/");
        self.end += end + 1;
        self.advance()?;
        Ok(Some(text))
    }

    fn advance(&mut self) -> Result<(), QueryError> {
        self.before = self.end;
        let mut rest = &self.query[self.end..];
        loop {
            rest = rest.trim_start();
            match rest.strip_prefix('#') {
                Some(comment) => {
                    rest = comment.split_once('\n').map_or("", |(_, after)| after);
                }
                None => break,
            }
        }
        self.start = self.query.len() - rest.len();
        self.end = self.start;
        let (token, length) = self.scan(rest)?;
        self.next = token;
        self.end = self.start + length;
        Ok(())
    }

    /// The word at the start of a text, with its bytes.
    fn scan(&self, rest: &str) -> Result<(Token, usize), QueryError> {
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, 0));
        };
        let run = |belongs: fn(char) -> bool| {
            let end = rest.find(|c| !belongs(c));
            &rest[..end.unwrap_or(rest.len())]
        };
        if first.is_ascii_digit() {
            return self.scan_number(rest);
        }
        if is_name_start(first) {
            let text = run(|c| is_name_start(c) || c.is_numeric() || c == '.').to_owned();
            let length = text.len();
            let is_quoted = false;
            return Ok((Token::Name { text, is_quoted }, length));
        }
        if let '"' | '\'' | '`' = first {
            return self.scan_quoted(rest, first);
        }
        let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
        match symbol {
            Some(symbol) => Ok((Token::Symbol(symbol), symbol.len())),
            None => {
                let end = self.start + first.len_utf8();
                let message = format!("unexpected symbol found {first}");
                Err(self.error_at(message, self.start, end))
            }
        }
    }

    fn scan_number(&self, rest: &str) -> Result<(Token, usize), QueryError> {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let digits = &rest[..end.unwrap_or(rest.len())];
        let after = &rest[digits.len()..];
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_');
        let unit = &after[..end.unwrap_or(after.len())];
        let length = digits.len() + unit.len();
        let malformed = |text: &str| {
            let message = format!("{text} is no number");
            self.error_at(message, self.start, self.start + length)
        };
        if unit.is_empty() {
            let number = digits.parse().map_err(|_malformed| malformed(digits))?;
            return Ok((Token::Number(number), length));
        }
        // An exponent is a unit that is none: `1e3`.
        if let Ok(number) = rest[..length].parse::<f64>() {
            return Ok((Token::Number(number), length));
        }
        let count = digits.parse();
        let count = count.map_err(|_malformed| malformed(&rest[..length]))?;
        Ok((Token::Period(count, unit.to_owned()), length))
    }

    fn scan_quoted(&self, rest: &str, quote: char) -> Result<(Token, usize), QueryError> {
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' if quote != '`' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) if other == quote || other == '\\' => text.push(other),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                end if end == quote => {
                    let is_quoted = true;
                    let token = match quote {
                        '`' => Token::Name { text, is_quoted },
                        _ => Token::Text(text),
                    };
                    return Ok((token, at + 1));
                }
                other => text.push(other),
            }
        }
        let message = format!("the text that begins with {quote} does not end");
        Err(self.error_at(message, self.start, self.query.len()))
    }
}

fn is_name_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '@' | '_')
}

/// Longer ones first.
const SYMBOLS: [&str; 21] = [
    "!=", "<=", ">=", "=~", "(", ")", "[", "]", ",", "|", "=", "<", ">", "+", "-", "*", "/", "%",
    "^", "!", ".",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(query: &str) -> Result<Vec<Token>, QueryError> {
        let mut lexer = Lexer::new(query, Timestamp(0))?;
        let mut words = Vec::new();
        loop {
            match lexer.take()? {
                Token::End => return Ok(words),
                word => words.push(word),
            }
        }
    }

    #[test]
    fn queries_are_split_into_words() {
        let name = |text: &str, is_quoted| Token::Name {
            text: text.to_owned(),
            is_quoted,
        };
        let query = "fields @timestamp, a.b.0 # a comment | x\n| filter `x-y`>=1.5e3 and z='it\\'s' | bin(5m)";
        let expected = vec![
            name("fields", false),
            name("@timestamp", false),
            Token::Symbol(","),
            name("a.b.0", false),
            Token::Symbol("|"),
            name("filter", false),
            name("x-y", true),
            Token::Symbol(">="),
            Token::Number(1500.0),
            name("and", false),
            name("z", false),
            Token::Symbol("="),
            Token::Text("it's".to_owned()),
            Token::Symbol("|"),
            name("bin", false),
            Token::Symbol("("),
            Token::Period(5, "m".to_owned()),
            Token::Symbol(")"),
        ];
        assert_eq!(words(query), Ok(expected));
    }

    #[test]
    fn errors_say_where_they_are() {
        for (query, start, end) in [
            ("fields é ~", 9, 10),
            ("filter a = \"x", 11, 13),
            ("limit 1.2.3", 6, 11),
        ] {
            let error = words(query).expect_err(query);
            assert_eq!((error.start, error.end), (start, end), "{query}: {error}");
        }
    }
}
