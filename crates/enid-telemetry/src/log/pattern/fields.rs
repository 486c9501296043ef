//! Patterns of space-delimited events: `[ip, user, ..., status = 4*, bytes > 1000]`.
//!
//! A pattern names the fields of an event in order. Without an ellipsis, the event has as many
//! fields as the pattern.

use std::collections::BTreeMap;

use super::PatternError;
use super::cursor::Cursor;
use super::operand::{Comparison, Operator, number};
use super::tree::Tree;

/// The fields of an event, with conditions.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    before: Vec<Field>,
    /// What follows the ellipsis, if there is one.
    after: Option<Vec<Field>>,
}

#[derive(Debug, Clone, Default)]
struct Field {
    name: Option<String>,
    condition: Option<Tree<Comparison>>,
}

impl Fields {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, PatternError> {
        cursor.expect("[")?;
        let mut fields = Self {
            before: Vec::new(),
            after: None,
        };
        loop {
            cursor.skip_space();
            if cursor.eat("...") {
                if fields.after.replace(Vec::new()).is_some() {
                    return Err(PatternError::Malformed);
                }
            } else {
                let field = field(cursor)?;
                fields
                    .after
                    .as_mut()
                    .unwrap_or(&mut fields.before)
                    .push(field);
            }
            cursor.skip_space();
            if cursor.eat("]") {
                break;
            }
            cursor.expect(",")?;
        }
        if !cursor.is_at_end() {
            return Err(cursor.unexpected());
        }
        Ok(fields)
    }

    /// The names of the fields that have one.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.before.iter().chain(self.after.iter().flatten());
        all.filter_map(|field| field.name.as_deref())
    }

    /// The texts of a message's fields, by `$name` or by `$` and their place, if the message has
    /// these fields and they fulfil the conditions.
    pub(super) fn matches(&self, message: &str) -> Option<BTreeMap<String, String>> {
        let texts = split(message);
        let after = self.after.as_deref().unwrap_or_default();
        let skipped = texts.len().checked_sub(self.before.len() + after.len())?;
        if skipped > 0 && self.after.is_none() {
            return None;
        }
        let unnamed = Field::default();
        let fields = self.before.iter();
        let fields = fields.chain(std::iter::repeat_n(&unnamed, skipped));
        let mut values = BTreeMap::new();
        for (place, (field, text)) in fields.chain(after).zip(&texts).enumerate() {
            let holds = |comparison: &Comparison| comparison.holds(text, number(text));
            if !field.condition.as_ref().is_none_or(|it| it.holds(&holds)) {
                return None;
            }
            let name = match &field.name {
                Some(name) => format!("${name}"),
                None => format!("${}", place + 1),
            };
            values.insert(name, (*text).to_owned());
        }
        Some(values)
    }
}

/// A field: nothing, a name, or conditions that begin with its name.
fn field(cursor: &mut Cursor<'_>) -> Result<Field, PatternError> {
    if matches!(cursor.peek(), Some(',' | ']')) {
        return Ok(Field::default());
    }
    let mut name: Option<&str> = None;
    let mut is_bare = false;
    let condition = Tree::parse(cursor, &mut |cursor| {
        let its = cursor.run(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if its.is_empty() {
            return Err(cursor.unexpected());
        }
        // All conditions of a field are on that field, and a name without one stands alone.
        if is_bare || name.is_some_and(|name| name != its) {
            return Err(PatternError::Malformed);
        }
        cursor.skip_space();
        let operator = Operator::parse(cursor);
        let is_first = name.replace(its).is_none();
        match operator {
            Some(operator) => Comparison::parse(operator, cursor).map(Some),
            None if is_first => {
                is_bare = true;
                Ok(None)
            }
            None => Err(cursor.unexpected()),
        }
    })?;
    let name = name.map(str::to_owned);
    let condition = with_all(condition);
    Ok(Field { name, condition })
}

/// A tree of conditions that are there; a name alone is a tree of one that is not.
fn with_all(tree: Tree<Option<Comparison>>) -> Option<Tree<Comparison>> {
    let parts = |parts: Vec<_>| parts.into_iter().map(with_all).collect::<Option<_>>();
    Some(match tree {
        Tree::All(all) => Tree::All(parts(all)?),
        Tree::Any(any) => Tree::Any(parts(any)?),
        Tree::Atom(comparison) => Tree::Atom(comparison?),
    })
}

/// The fields of a message: what is in brackets or quotes is one.
fn split(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let closing = match first {
            '[' => Some(']'),
            '"' => Some('"'),
            _ => None,
        };
        let enclosed = closing.and_then(|closing| {
            let (text, after) = rest[1..].split_once(closing)?;
            Some((text, after))
        });
        let (field, after) = enclosed.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        });
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str) -> Result<Fields, PatternError> {
        Fields::parse(&mut Cursor::new(pattern))
    }

    const APACHE: &str =
        r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;
    const FLOW: &str =
        "2 123456789012 eni-1 10.0.0.5 10.0.1.9 40000 22 6 3 180 1700000000 1700000060 REJECT OK\n";

    #[test]
    fn fields_are_split_at_spaces() {
        for (message, expected) in [
            ("a b", &["a", "b"][..]),
            ("  a   [b c] \"d e\" f\n", &["a", "b c", "d e", "f"]),
            ("[]", &[""]),
            ("[open \"too", &["[open", "\"too"]),
            ("", &[]),
        ] {
            assert_eq!(split(message), expected, "{message:?}");
        }
    }

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, message, expected) in [
            (
                "[ip, user, username, timestamp, request, status_code, bytes]",
                APACHE,
                true,
            ),
            (
                "[ip, user, username, timestamp, request, status_code]",
                APACHE,
                false,
            ),
            ("[a, b, c, d, e, f, g, h]", APACHE, false),
            ("[..., status_code, bytes]", APACHE, true),
            ("[ip, user, ...]", APACHE, true),
            ("[ip, user, ..., status_code, bytes]", APACHE, true),
            ("[...]", "", true),
            ("[..., bytes > 1000]", APACHE, true),
            ("[..., bytes > 2000]", APACHE, false),
            ("[..., status_code = 4*, bytes]", APACHE, true),
            ("[..., request=*html*, status_code=4*,]", APACHE, true),
            ("[..., status=404 || status=410, bytes]", APACHE, true),
            ("[..., (status=400 || status=410), bytes]", APACHE, false),
            (
                "[..., status_code = 4* && status_code != 403, bytes]",
                APACHE,
                true,
            ),
            (r"[ip=%127\.0\.0\.[1-9]%, ...]", APACHE, true),
            ("[w1!=ERROR&&w1!=WARN, w2]", "INFO message", true),
            ("[w1!=ERROR&&w1!=WARN, w2]", "WARN message", false),
            (
                r#"[version, account, eni, src, dst, srcport, dstport="22", protocol="6", packets, bytes, start, end, action="REJECT", status]"#,
                FLOW,
                true,
            ),
            (
                r#"[version, account, eni, src=10.0.1.*, ..., action="REJECT", status]"#,
                FLOW,
                false,
            ),
        ] {
            let fields = parse(pattern).expect(pattern);
            assert_eq!(fields.matches(message).is_some(), expected, "{pattern}");
        }
    }

    /// The documentation's own example.
    #[test]
    fn fields_are_extracted_by_name_or_place() {
        let fields = parse("[..., request=*.html*, status_code=4*,]").expect("a pattern");
        let expected = [
            ("$1", "127.0.0.1"),
            ("$2", "-"),
            ("$3", "frank"),
            ("$4", "10/Oct/2000:13:25:15 -0700"),
            ("$7", "1534"),
            ("$request", "GET /index.html HTTP/1.0"),
            ("$status_code", "404"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(fields.matches(APACHE), Some(BTreeMap::from(expected)));
    }

    #[test]
    fn other_texts_are_refused() {
        for pattern in [
            "[",
            "[a",
            "[a] b",
            "[a b]",
            "[a=]",
            "[a=1 || b=1]",
            "[a=1 || a]",
            "[a || a=1]",
            "[..., a, ...]",
            "[=1]",
            "[a=/x]",
            "[a > b]",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
    }
}
