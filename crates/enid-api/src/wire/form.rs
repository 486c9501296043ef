//! Forms: the parameters of a query-protocol request, decoded and in order.

use std::borrow::Cow;
use std::sync::Arc;

use super::params::Params;
use super::xml::is_xml;
use crate::error::ApiError;

pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a request, sorted by the segments of their names, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form<'a> {
    pairs: Vec<Pair<'a>>,
}

/// Reads `application/x-www-form-urlencoded` bytes. Never panics.
pub fn parse_form(body: &[u8]) -> Result<Form<'_>, ApiError> {
    let mut form = Form::default();
    form.extend(body)?;
    Ok(form)
}

impl<'a> Form<'a> {
    /// Adds the parameters of a second source, such as the query string beside a body.
    pub fn extend(&mut self, encoded: &'a [u8]) -> Result<(), ApiError> {
        for pair in encoded
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let at = pair
                .iter()
                .position(|byte| *byte == b'=')
                .unwrap_or(pair.len());
            let name = decode(pair.get(..at).unwrap_or_default())?;
            let value = decode(pair.get(at + 1..).unwrap_or_default())?;
            // What XML cannot say could be stored but never be reported back.
            if !value.chars().all(is_xml) {
                return Err(ApiError::invalid_value(
                    &name,
                    "It has characters that XML cannot hold.",
                ));
            }
            self.pairs.push((name, value));
        }
        sort(&mut self.pairs);
        for neighbours in self.pairs.windows(2) {
            if let [(a, _), (b, _)] = neighbours
                && a == b
            {
                return Err(ApiError::malformed_query(format!(
                    "The parameter {a} is present more than once."
                )));
            }
        }
        Ok(())
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.remove(at).1)
    }

    /// Drops parameters that are not the operation's, such as those of a presigned request.
    pub fn drop_if(&mut self, drop: impl Fn(&str) -> bool) {
        self.pairs.retain(|(name, _)| !drop(name));
    }

    /// If there is this parameter: all others, as a text that two forms share only if they have the
    /// same. It is stored, so that its shape must never change.
    #[must_use]
    pub fn asked(&self, token: &str) -> Option<Arc<str>> {
        self.pairs.iter().find(|(name, _)| name == token)?;
        let mut asked = String::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| name != token) {
            // Lengths keep a value from passing for the next name.
            let (names, values) = (name.len(), value.len());
            asked.push_str(&format!("{names}:{name}={values}:{value};"));
        }
        Some(asked.into())
    }

    /// The parameters as a structure.
    #[must_use]
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.pairs)
    }
}

/// Sorts by the segments of names.
pub(super) fn sort(pairs: &mut [Pair<'_>]) {
    pairs.sort_by(|(a, _), (b, _)| a.split('.').cmp(b.split('.')));
}

/// Decodes `+` and `%xx`.
pub(crate) fn decode(encoded: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    let malformed =
        || ApiError::malformed_query("The request is not a well-formed form.".to_owned());
    if !encoded.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(encoded)
            .map(Cow::Borrowed)
            .ok()
            .ok_or_else(malformed);
    }
    let mut out = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (bytes.next().and_then(digit), bytes.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(malformed()),
            },
            byte => byte,
        });
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .ok()
        .ok_or_else(malformed)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(body: &str) -> Vec<(String, String)> {
        let form = parse_form(body.as_bytes()).unwrap();
        form.pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn names_and_values_are_decoded() {
        let wanted = [("A", "b c"), ("D.1", "é/"), ("E", ""), ("F", "")];
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(pairs("D.1=%c3%A9%2F&A=b+c&&E=&F"), wanted);
    }

    #[test]
    fn two_forms_that_ask_for_the_same_say_so() {
        let asked = |body: &str| {
            let form = parse_form(body.as_bytes()).unwrap();
            form.asked("Token").map(|asked| asked.to_string())
        };
        assert_eq!(asked("A=1&B=2"), None);
        let first = asked("B=2&A=1&Token=x");
        assert_eq!(first.as_deref(), Some("1:A=1:1;1:B=1:2;"));
        assert_eq!(asked("A=%31&Token=y&B=2"), first);
        assert_ne!(asked("A=1;1:B=1:2&Token=x"), first);
    }

    #[test]
    fn segments_stay_together() {
        let form = parse_form(b"A.1=x&A-b=y&A=z&A.1.2=w").unwrap();
        let names: Vec<&str> = form.pairs.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["A", "A.1", "A.1.2", "A-b"]);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for body in ["A=%", "A=%1", "A=%zz", "A=%ff", "A=1&A=2", "%=", "A=%c3"] {
            assert_eq!(
                parse_form(body.as_bytes()).unwrap_err().code(),
                "MalformedQueryString",
                "{body}"
            );
        }
        assert_eq!(
            parse_form(b"A=%00").unwrap_err().code(),
            "InvalidParameterValue"
        );
        assert!(parse_form(b"").is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_form(&body);
        }
    }
}
