//! Filters of Describe operations: compiled once per request, then held against each resource.
//!
//! Values of one filter are alternatives, filters are conditions that all hold. `*` stands for any
//! text, `?` for one character, a backslash takes either's meaning away.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Display;

use crate::error::ApiError;
use crate::generated::ec2::request::Filter;
use crate::wire::text::Text;

/// Values of all filters of one call together.
const VALUES_MAX: usize = 200;
/// Characters of one value.
const LENGTH_MAX: usize = 255;

/// The compiled filters of one request. `F` is what the resource can be filtered by.
#[derive(Debug)]
pub struct Filters<F> {
    conditions: Vec<Condition<F>>,
}

#[derive(Debug)]
struct Condition<F> {
    subject: Subject<F>,
    values: Values,
}

#[derive(Debug)]
enum Subject<F> {
    /// One of the resource's own names.
    Field(F),
    /// `tag:Key`.
    Tag(String),
    /// `tag-key`.
    TagKey,
    /// `tag-value`.
    TagValue,
}

/// What one filter asks for. `None` instead of values: some have wildcards.
#[derive(Clone, Copy, Debug)]
pub enum Sought<'a, F> {
    /// One of the resource's own names.
    Field(F, Option<&'a [String]>),
    /// `tag:Key`.
    Tag(&'a str, Option<&'a [String]>),
    /// `tag-key`.
    TagKey(Option<&'a [String]>),
    /// `tag-value`.
    TagValue(Option<&'a [String]>),
}

/// The values of one filter.
#[derive(Debug, Default)]
struct Values {
    /// Sorted: most filters have one value, and none more than a few hundred.
    exact: Vec<String>,
    patterns: Vec<Vec<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    Letter(char),
    One,
}

/// Takes the values that a resource has under one name.
#[derive(Debug)]
pub struct Test<'a> {
    values: &'a Values,
    hit: bool,
}

impl Test<'_> {
    /// A value.
    pub fn text(&mut self, value: &str) {
        self.hit = self.hit || self.values.matches(value);
    }

    /// A value that is made text first.
    pub fn display(&mut self, value: impl Display) {
        if !self.hit {
            self.hit = self.values.matches(&Text::display(value));
        }
    }

    /// A truth value.
    pub fn flag(&mut self, value: bool) {
        self.text(if value { "true" } else { "false" });
    }
}

impl<F: Copy + PartialEq> Filters<F> {
    /// Compiles filters. `field` knows the resource's own names; tags are known already.
    pub fn compile(
        filters: &[Filter],
        field: impl Fn(&str) -> Option<F>,
    ) -> Result<Self, ApiError> {
        if filters
            .iter()
            .map(|filter| filter.values.len())
            .sum::<usize>()
            > VALUES_MAX
        {
            return Err(limit_exceeded(&format!(
                "The maximum number of filter values specified on a single call is {VALUES_MAX}"
            )));
        }
        let conditions = filters.iter().map(|filter| {
            let name = filter.name.as_deref().unwrap_or("null");
            let subject = subject(name, &field).ok_or_else(|| invalid(name))?;
            if filter.values.is_empty() {
                let message = format!("The filter '{}' has no values", short(name));
                return Err(ApiError::new("InvalidParameterValue", 400, message));
            }
            Ok(Condition {
                subject,
                values: Values::compile(&filter.values)?,
            })
        });
        Ok(Self {
            conditions: conditions.collect::<Result<_, _>>()?,
        })
    }

    /// Whether every condition holds for a resource. `values` tells the [`Test`] each value that
    /// the resource has under a name.
    pub fn match_resource(
        &self,
        tags: &BTreeMap<String, String>,
        mut values: impl FnMut(F, &mut Test<'_>),
    ) -> bool {
        self.all(|subject, test| match subject {
            Subject::Field(field) => values(*field, test),
            Subject::Tag(key) => {
                if let Some(value) = tags.get(key) {
                    test.text(value);
                }
            }
            Subject::TagKey => tags.keys().for_each(|key| test.text(key)),
            Subject::TagValue => tags.values().for_each(|value| test.text(value)),
        })
    }

    /// Whether every condition holds for one tag of a resource.
    pub fn match_tag(
        &self,
        (key, value): (&str, &str),
        mut values: impl FnMut(F, &mut Test<'_>),
    ) -> bool {
        self.all(|subject, test| match subject {
            Subject::Field(field) => values(*field, test),
            Subject::Tag(wanted) => {
                if wanted == key {
                    test.text(value);
                }
            }
            Subject::TagKey => test.text(key),
            Subject::TagValue => test.text(value),
        })
    }

    fn all(&self, mut tell: impl FnMut(&Subject<F>, &mut Test<'_>)) -> bool {
        self.conditions.iter().all(|condition| {
            let mut test = Test {
                values: &condition.values,
                hit: false,
            };
            tell(&condition.subject, &mut test);
            test.hit
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// What each filter asks for, to look it up in an index. Values are sorted.
    pub fn sought(&self) -> impl Iterator<Item = Sought<'_, F>> {
        self.conditions.iter().map(|condition| {
            let exact = condition.values.patterns.is_empty();
            let values = exact.then_some(&*condition.values.exact);
            match &condition.subject {
                Subject::Field(field) => Sought::Field(*field, values),
                Subject::Tag(key) => Sought::Tag(key, values),
                Subject::TagKey => Sought::TagKey(values),
                Subject::TagValue => Sought::TagValue(values),
            }
        })
    }

    /// The values that a name must have one of, if a filter names them without wildcards: enough
    /// to look resources up in an index instead of going through all of them.
    pub fn exact(&self, field: F) -> Option<impl Iterator<Item = &str>> {
        let condition = self.conditions.iter().find(|condition| {
            matches!(condition.subject, Subject::Field(of) if of == field)
                && condition.values.patterns.is_empty()
        })?;
        Some(condition.values.exact.iter().map(Borrow::borrow))
    }
}

impl Values {
    fn compile(values: &[String]) -> Result<Self, ApiError> {
        let mut this = Self::default();
        for value in values {
            if value.chars().count() > LENGTH_MAX {
                return Err(limit_exceeded(&format!(
                    "The maximum length for a filter value is {LENGTH_MAX} characters"
                )));
            }
            let tokens = tokens(value);
            let plain = tokens.iter().map(|token| match token {
                Token::Letter(letter) => Some(*letter),
                Token::Any | Token::One => None,
            });
            match plain.collect::<Option<String>>() {
                Some(text) => {
                    this.exact.push(text);
                }
                None => this.patterns.push(tokens),
            }
        }
        this.exact.sort_unstable();
        this.exact.dedup();
        Ok(this)
    }

    fn matches(&self, value: &str) -> bool {
        self.exact
            .binary_search_by(|known| known.as_str().cmp(value))
            .is_ok()
            || self
                .patterns
                .iter()
                .any(|pattern| matches_pattern(pattern, value))
    }
}

fn subject<F>(name: &str, field: impl Fn(&str) -> Option<F>) -> Option<Subject<F>> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Some(Subject::Tag(key.to_owned()));
    }
    match name {
        "tag-key" => Some(Subject::TagKey),
        "tag-value" => Some(Subject::TagValue),
        name => field(name).map(Subject::Field),
    }
}

fn tokens(value: &str) -> Vec<Token> {
    let mut letters = value.chars().peekable();
    let mut tokens = Vec::with_capacity(value.len());
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            // Several in a row mean the same as one.
            '*' if tokens.last() == Some(&Token::Any) => continue,
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => match letters.next_if(|next| matches!(next, '*' | '?' | '\\')) {
                Some(next) => Token::Letter(next),
                None => Token::Letter('\\'),
            },
            letter => Token::Letter(letter),
        });
    }
    tokens
}

/// Goes through the text once and returns to the last `*` on a mismatch, so that the time is
/// bounded by the product of both lengths whatever the pattern.
fn matches_pattern(pattern: &[Token], text: &str) -> bool {
    let mut at = 0;
    let mut rest = text.chars();
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (pattern.get(at), rest.next()) {
            (Some(Token::Any), _) => {
                at += 1;
                retry = Some((at, before.clone()));
                rest = before;
                continue;
            }
            (Some(Token::One), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(Token::Letter(wanted)), Some(found)) if *wanted == found => {
                at += 1;
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        // The last star takes one character more.
        let Some((after, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        at = *after;
        rest = from.clone();
    }
}

fn invalid(name: &str) -> ApiError {
    let message = format!("The filter '{}' is invalid", short(name));
    ApiError::new("InvalidParameterValue", 400, message)
}

fn limit_exceeded(message: &str) -> ApiError {
    ApiError::new("FilterLimitExceeded", 400, message.to_owned())
}

fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Field {
        Group,
        Vpc,
    }

    fn field(name: &str) -> Option<Field> {
        match name {
            "group-id" => Some(Field::Group),
            "vpc-id" => Some(Field::Vpc),
            _ => None,
        }
    }

    fn filter(name: &str, values: &[&str]) -> Filter {
        Filter {
            name: Some(name.to_owned()),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    /// Whether filters match a resource of VPC `vpc-1`, groups `sg-1` and `sg-2`, tag `Name=web`.
    fn matches(filters: &[Filter]) -> bool {
        let tags = BTreeMap::from([("Name".to_owned(), "web".to_owned())]);
        Filters::compile(filters, field)
            .unwrap()
            .match_resource(&tags, |field, test| match field {
                Field::Group => {
                    test.text("sg-1");
                    test.display("sg-2");
                }
                Field::Vpc => test.text("vpc-1"),
            })
    }

    #[test]
    fn values_are_alternatives_and_filters_are_conditions() {
        let vpc = filter("vpc-id", &["vpc-0", "vpc-1"]);
        assert!(matches(&[]));
        assert!(matches(std::slice::from_ref(&vpc)));
        assert!(matches(&[vpc.clone(), filter("group-id", &["sg-2"])]));
        assert!(!matches(&[vpc, filter("group-id", &["sg-3"])]));
        assert!(!matches(&[filter("vpc-id", &["VPC-1"])]));
    }

    #[test]
    fn tags_can_be_filtered_by() {
        assert!(matches(&[filter("tag:Name", &["w*"])]));
        assert!(!matches(&[filter("tag:Name", &["x*"])]));
        assert!(!matches(&[filter("tag:name", &["web"])]));
        assert!(matches(&[filter("tag-key", &["Name"])]));
        assert!(matches(&[filter("tag-value", &["web"])]));
        assert!(!matches(&[filter("tag-key", &["web"])]));
    }

    #[test]
    fn a_tag_alone_is_held_against_all_conditions() {
        let matches = |filters: &[Filter], tag: (&str, &str)| {
            let filters = Filters::compile(filters, field).unwrap();
            filters.match_tag(tag, |_, test| test.text("vpc-1"))
        };
        let web = ("Name", "web");
        assert!(matches(
            &[filter("tag:Name", &["w*"]), filter("vpc-id", &["vpc-1"])],
            web
        ));
        assert!(!matches(&[filter("tag:Team", &["web"])], web));
        assert!(matches(
            &[filter("tag-key", &["Name"]), filter("tag-value", &["web"])],
            web
        ));
        assert!(!matches(&[filter("tag-key", &["web"])], web));
    }

    #[test]
    fn wildcards_follow_aws() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("?", "", false),
            ("?", "ä", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("a?c", "abc", true),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a\\\\*", "a\\x", true),
            ("a\\c", "a\\c", true),
        ] {
            let values = Values::compile(&[pattern.to_owned()]).unwrap();
            assert_eq!(values.matches(text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn mistakes_and_limits_are_told() {
        let error = |filters: &[Filter]| {
            let error = Filters::compile(filters, field).unwrap_err();
            format!("{}: {}", error.code(), error.message())
        };
        assert_eq!(
            error(&[filter("nope", &["x"])]),
            "InvalidParameterValue: The filter 'nope' is invalid"
        );
        assert_eq!(
            error(&[Filter {
                name: None,
                values: vec!["x".to_owned()]
            }]),
            "InvalidParameterValue: The filter 'null' is invalid"
        );
        assert!(error(&[filter("vpc-id", &[])]).starts_with("InvalidParameterValue"));
        let many: Vec<&str> = vec!["x"; 201];
        assert!(error(&[filter("vpc-id", &many)]).starts_with("FilterLimitExceeded"));
        assert!(error(&[filter("vpc-id", &[&"x".repeat(256)])]).starts_with("FilterLimitExceeded"));
        assert!(Filters::compile(&[filter("vpc-id", &[&"ä".repeat(255)])], field).is_ok());
    }

    #[test]
    fn exact_values_can_be_looked_up() {
        let compile = |filters: &[Filter]| Filters::compile(filters, field).unwrap();
        let exact = compile(&[filter("vpc-id", &["vpc-1"])]);
        assert_eq!(
            exact.exact(Field::Vpc).unwrap().collect::<Vec<_>>(),
            ["vpc-1"]
        );
        assert!(exact.exact(Field::Group).is_none());
        assert!(
            compile(&[filter("vpc-id", &["vpc-*", "vpc-1"])])
                .exact(Field::Vpc)
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn a_literal_matches_itself_only(text in "[ab?*\\\\]{0,8}", other in "[ab?*\\\\]{0,8}") {
            let escaped: String = text
                .chars()
                .flat_map(|letter| matches!(letter, '*' | '?' | '\\').then_some('\\').into_iter().chain([letter]))
                .collect();
            let values = Values::compile(&[escaped]).unwrap();
            prop_assert!(values.matches(&text));
            prop_assert_eq!(values.matches(&other), text == other);
        }

        #[test]
        fn patterns_agree_with_a_plain_reading(pattern in "[ab?*]{0,7}", text in "[ab]{0,7}") {
            fn plain(pattern: &[Token], text: &[char]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((Token::Any, rest)), _) => {
                        (0..=text.len()).any(|skip| plain(rest, &text[skip..]))
                    }
                    (Some((Token::One, rest)), Some((_, text))) => plain(rest, text),
                    (Some((Token::Letter(wanted), rest)), Some((found, text))) => {
                        wanted == found && plain(rest, text)
                    }
                    (Some(_), None) => false,
                }
            }
            let tokens = tokens(&pattern);
            let letters: Vec<char> = text.chars().collect();
            prop_assert_eq!(matches_pattern(&tokens, &text), plain(&tokens, &letters));
        }
    }
}
