//! Pages of a hundred: a token is the key of the last one that was shown.

use crate::error::ApiError;
use crate::sns::invalid;
use crate::wire::params::{from_base64, to_base64};
use crate::wire::text::Text;

/// What AWS lists at once.
const PAGE: usize = 100;

/// What comes after the token's key, and the token for the rest. Keys grow.
pub(super) fn take<'a, T>(
    all: impl Iterator<Item = (&'a str, T)>,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<Text>), ApiError> {
    let after = token.map(read).transpose()?;
    let mut rest = all.filter(|(key, _)| after.as_deref().is_none_or(|after| *key > after));
    let mut last = None;
    let mut taken = Vec::new();
    for (key, item) in rest.by_ref().take(PAGE) {
        last = Some(key);
        taken.push(item);
    }
    let next = last.filter(|_| rest.next().is_some());
    let next = next.map(|key| Text::display(to_base64(key.as_bytes())));
    Ok((taken, next))
}

fn read(token: &str) -> Result<String, ApiError> {
    let key = from_base64(token).and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| invalid("NextToken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_until_nothing_is_left() {
        let keys: Vec<String> = (0..150).map(|number| format!("{number:03}")).collect();
        let all = || keys.iter().map(|key| (key.as_str(), key.clone()));
        let (first, token) = take(all(), None).unwrap();
        assert_eq!(first.len(), 100);
        let token = token.unwrap();
        let (second, end) = take(all(), Some(&token)).unwrap();
        assert_eq!(
            (second.len(), second.first()),
            (50, Some(&"100".to_owned()))
        );
        assert!(end.is_none());
        assert!(take(all(), Some("?")).is_err());
    }
}
