//! A view of a form as nested structures and lists, and the reading of typed values from it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enid_model::time::Timestamp;

use super::form::{Pair, sort};
use super::instant;
use crate::error::ApiError;

/// The parameters below one place of a request: its own value, and those of its members.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// The name of this place as the client wrote it; empty at the top.
    path: &'a str,
    value: Option<&'a str>,
    /// The members: sorted, all starting with the path.
    items: &'a [Pair<'a>],
    /// How many bytes of each name lie behind this place.
    start: usize,
}

/// Bytes that travel in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// A structure as the client sent it: values by their names below its place. It has been held against
/// its table like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent(pub BTreeMap<String, String>);

impl Sent {
    /// Reads a structure from what was sent elsewhere.
    pub fn read_as<T: Read>(&self) -> Result<T, ApiError> {
        let pairs = self.0.iter();
        let mut pairs: Vec<Pair<'_>> = pairs
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect();
        sort(&mut pairs);
        T::read(Params::new(&pairs))
    }
}

impl Read for Sent {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let below = params.items.iter().map(|(name, value)| {
            let name = name.get(params.start..).unwrap_or_default();
            (name.to_owned(), value.clone().into_owned())
        });
        Ok(Self(below.collect()))
    }
}

/// A value that a request can hold.
pub trait Read: Sized {
    /// Reads the value at this place.
    fn read(params: Params<'_>) -> Result<Self, ApiError>;
}

impl<'a> Params<'a> {
    pub(super) fn new(items: &'a [Pair<'a>]) -> Self {
        Self {
            path: "",
            value: None,
            items,
            start: 0,
        }
    }

    /// The name of this place, as the client wrote it.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The value of this place itself.
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        self.value
    }

    /// Whether there is anything below this place.
    #[must_use]
    pub fn has_members(&self) -> bool {
        !self.items.is_empty()
    }

    /// The full name of the first parameter below this place.
    #[must_use]
    pub fn first_name(&self) -> &'a str {
        self.items.first().map_or(self.path, |(name, _)| name)
    }

    /// The name that a member would have in an error: AWS writes a lower-case first letter.
    #[must_use]
    pub fn name_of(&self, member: &str) -> String {
        let path = match self.path {
            "" => member.to_owned(),
            path => format!("{path}.{member}"),
        };
        lower_first(&path)
    }

    /// Every parameter below this place, by its full name.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.items.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The members by the next segment of their names.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, Params<'a>)> {
        let mut rest = self.items;
        let start = self.start;
        std::iter::from_fn(move || {
            let (first, _) = rest.first()?;
            let segment = segment(first, start);
            let count = rest.partition_point(|(name, _)| self::segment(name, start) == segment);
            let (group, others) = rest.split_at_checked(count)?;
            rest = others;
            Some((segment, Self::group(group, start, segment)))
        })
    }

    fn group(group: &'a [Pair<'a>], start: usize, segment: &'a str) -> Self {
        let end = start + segment.len();
        // The value itself sorts before its members.
        let (value, items) = match group.split_first() {
            Some(((name, value), items)) if name.len() == end => (Some(&**value), items),
            _ => (None, group),
        };
        let path = group
            .first()
            .and_then(|(name, _)| name.get(..end))
            .unwrap_or_default();
        Self {
            path,
            value,
            items,
            start: end + 1,
        }
    }

    /// One member.
    fn member(&self, name: &str) -> Option<Self> {
        let of = |(key, _): &Pair<'_>| segment(key, self.start).cmp(name);
        let first = self.items.partition_point(|pair| of(pair).is_lt());
        let rest = self.items.get(first..)?;
        let count = rest.partition_point(|pair| of(pair).is_eq());
        let group = rest.get(..count).filter(|group| !group.is_empty())?;
        let found = group.first().map(|(key, _)| segment(key, self.start))?;
        Some(Self::group(group, self.start, found))
    }

    /// A member that may be absent.
    pub fn optional<T: Read>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.member(name).map(T::read).transpose()
    }

    /// A member that must be present.
    pub fn required<T: Read>(&self, name: &str) -> Result<T, ApiError> {
        match self.member(name) {
            Some(params) => T::read(params),
            None => Err(ApiError::missing_parameter(&self.name_of(name))),
        }
    }

    /// A list `Name.N`, in the order of its numbers.
    pub fn list<T: Read>(&self, name: &str) -> Result<Vec<T>, ApiError> {
        let Some(list) = self.member(name) else {
            return Ok(Vec::new());
        };
        let mut items = list.numbered()?;
        items.sort_by_key(|(number, _)| *number);
        items
            .into_iter()
            .map(|(_, params)| T::read(params))
            .collect()
    }

    /// A list `Name.member.N` of the query protocol.
    pub fn member_list<T: Read>(&self, name: &str, member: &str) -> Result<Vec<T>, ApiError> {
        match self.member(name) {
            Some(list) => list.list(member),
            None => Ok(Vec::new()),
        }
    }

    /// The members as those of a list.
    fn numbered(&self) -> Result<Vec<(u32, Self)>, ApiError> {
        self.members()
            .map(|(segment, params)| match index(segment) {
                Some(number) => Ok((number, params)),
                None => Err(ApiError::unknown_parameter(params.first_name())),
            })
            .collect()
    }

    fn scalar<T>(&self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ApiError> {
        let Some(value) = self.value else {
            return Err(ApiError::unknown_parameter(self.first_name()));
        };
        parse(value).ok_or_else(|| ApiError::invalid_parameter_value(value, self.path, what))
    }
}

/// The part of a name up to the next dot.
fn segment(name: &str, start: usize) -> &str {
    let rest = name.get(start..).unwrap_or_default();
    rest.split_once('.').map_or(rest, |(segment, _)| segment)
}

/// A number in a list: from 1, decimal, without leading zeros.
pub(super) fn index(segment: &str) -> Option<u32> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !segment.starts_with('0')).then(|| segment.parse().ok())?
}

/// With a lower-case first letter, as AWS names parameters in messages.
pub(crate) fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

/// Decodes base64 as AWS's clients send it; line breaks, as `base64(1)` makes them, do not count.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let dense: String = text
            .chars()
            .filter(|letter| !letter.is_ascii_whitespace())
            .collect();
        return STANDARD.decode(dense).ok();
    }
    STANDARD.decode(text).ok()
}

/// Encodes base64.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

impl Read for String {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("", |value| Some(value.to_owned()))
    }
}

impl Read for bool {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("Expected true or false.", |value| match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }
}

impl Read for i32 {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("Expected an integer.", |value| value.parse().ok())
    }
}

impl Read for i64 {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("Expected an integer.", |value| value.parse().ok())
    }
}

impl Read for f64 {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("Expected a number.", |value| {
            value
                .parse()
                .ok()
                .filter(|number: &Self| number.is_finite())
        })
    }
}

impl Read for Timestamp {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar(
            "Expected a time such as 2026-01-02T03:04:05Z.",
            instant::parse_iso,
        )
    }
}

impl Read for Blob {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        params.scalar("Expected base64.", |value| from_base64(value).map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::form::parse_form;

    #[derive(Debug, PartialEq)]
    struct Filter {
        name: String,
        values: Vec<String>,
    }

    impl Read for Filter {
        fn read(params: Params<'_>) -> Result<Self, ApiError> {
            Ok(Self {
                name: params.required("Name")?,
                values: params.list("Value")?,
            })
        }
    }

    #[test]
    fn lists_are_read_in_the_order_of_their_numbers() {
        let body = b"Filter.2.Name=b&Filter.10.Name=c&Filter.1.Name=a&Filter.1.Value.7=y&Filter.1.Value.2=x";
        let form = parse_form(body).unwrap();
        let filters: Vec<Filter> = form.params().list("Filter").unwrap();
        let names: Vec<_> = filters.iter().map(|filter| filter.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(filters[0].values, ["x", "y"]);
        assert!(filters[1].values.is_empty());
    }

    #[test]
    fn errors_name_the_parameter() {
        let read = |body: &'static [u8]| {
            let form = parse_form(body).unwrap();
            form.params().list::<Filter>("Filter").unwrap_err()
        };
        let missing = read(b"Filter.1.Value.1=x");
        assert_eq!(missing.code(), "MissingParameter");
        assert!(missing.message().ends_with("filter.1.Name"), "{missing:?}");
        assert_eq!(read(b"Filter.x.Name=a").code(), "UnknownParameter");
        assert_eq!(read(b"Filter.0.Name=a").code(), "UnknownParameter");
        assert_eq!(
            read(b"Filter.1.Name.2=a").message(),
            "The parameter Filter.1.Name.2 is not recognized"
        );
    }

    #[test]
    fn scalars_are_strict() {
        fn read<T: Read>(value: &str) -> Option<T> {
            let body = format!("A={value}");
            let form = parse_form(body.as_bytes()).unwrap();
            form.params().required("A").ok()
        }
        assert_eq!(read("true"), Some(true));
        assert_eq!(read::<bool>("yes"), None);
        assert_eq!(read("-5"), Some(-5));
        assert_eq!(read::<i32>("2147483648"), None);
        assert_eq!(read("2147483648"), Some(2_147_483_648_i64));
        assert_eq!(read::<i32>(""), None);
        assert_eq!(read("1.5"), Some(1.5));
        assert_eq!(read::<f64>("nan"), None);
        assert_eq!(read("aGk%3D"), Some(Blob(b"hi".to_vec())));
        assert_eq!(read::<Blob>("a"), None);
        assert_eq!(read("1970-01-01T00:00:01Z"), Some(Timestamp(1000)));
        assert_eq!(read::<Timestamp>("yesterday"), None);
    }

    #[test]
    fn query_lists_have_a_member_segment() {
        let form = parse_form(b"Names.member.1=a&Names.member.2=b").unwrap();
        let names: Vec<String> = form.params().member_list("Names", "member").unwrap();
        assert_eq!(names, ["a", "b"]);
    }
}
