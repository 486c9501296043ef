//! Pages of what is listed in an order: a token is the key of the last one that was shown.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::invalid;
use crate::error::ApiError;
use crate::wire::text::Text;

/// Up to so many of what comes after the token's key, and the token for the rest. Keys grow.
pub(super) fn take<T>(
    all: impl Iterator<Item = (String, T)>,
    token: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<Text>), ApiError> {
    take_ordered(all, token, limit, Ordering::Greater)
}

/// The same where each key compares so with the one before it.
pub(super) fn take_ordered<T>(
    all: impl Iterator<Item = (String, T)>,
    token: Option<&str>,
    limit: usize,
    order: Ordering,
) -> Result<(Vec<T>, Option<Text>), ApiError> {
    let after = token.map(read).transpose()?;
    let is_after = |key: &String| after.as_ref().is_none_or(|after| key.cmp(after) == order);
    let mut rest = all.filter(|(key, _)| is_after(key));
    let mut last = None;
    let mut taken = Vec::new();
    for (key, item) in rest.by_ref().take(limit) {
        last = Some(key);
        taken.push(item);
    }
    let has_more = rest.next().is_some();
    let next = last.filter(|_| has_more);
    let next = next.map(|key| Text::display(BASE64_URL_SAFE_NO_PAD.encode(key)));
    Ok((taken, next))
}

fn read(token: &str) -> Result<String, ApiError> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let key = key.and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(bad_token)
}

/// The error for a token that no answer had.
pub(super) fn bad_token() -> ApiError {
    invalid("The specified nextToken is invalid.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_until_nothing_is_left() {
        let all = || ["a", "b", "c"].into_iter().map(|it| (it.to_owned(), it));
        let (first, token) = take(all(), None, 2).expect("a page");
        assert_eq!(first, ["a", "b"]);
        let token = token.expect("a token");
        let (second, token) = take(all(), Some(&token), 2).expect("a page");
        assert_eq!((second, token.is_none()), (vec!["c"], true));
        let (whole, token) = take(all(), None, 3).expect("a page");
        assert_eq!((whole.len(), token.is_none()), (3, true));
        let back = || all().collect::<Vec<_>>().into_iter().rev();
        let (first, token) = take_ordered(back(), None, 2, Ordering::Less).expect("a page");
        assert_eq!(first, ["c", "b"]);
        let token = token.expect("a token");
        let second = take_ordered(back(), Some(&token), 2, Ordering::Less);
        assert_eq!(second.expect("a page").0, ["a"]);
        let bad = take(all(), Some("?"), 2).err();
        assert_eq!(
            bad.map(|it| it.code().to_owned()).as_deref(),
            Some("InvalidParameterException")
        );
    }
}
