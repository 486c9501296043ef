//! Pages of certificates: a token is the id of the last one that was shown.

use enid_control::CertificateError;

use super::refused;
use crate::error::ApiError;
use crate::wire::text::Text;

/// Up to so many of what comes after the token, and the token for the rest. Keys grow.
pub(super) fn take<T>(
    all: impl Iterator<Item = (String, T)>,
    token: Option<&str>,
    size: Option<i32>,
) -> Result<(Vec<T>, Option<Text>), ApiError> {
    let size = match size {
        None => SIZE,
        Some(size @ 1..=1000) => usize::try_from(size).unwrap_or(SIZE),
        Some(size) => {
            let rule = match size < 1 {
                true => "greater than or equal to 1",
                false => "less than or equal to 1000",
            };
            let why = format!(
                "1 validation error detected: Value '{size}' at 'maxItems' failed to satisfy constraint: Member must have value {rule}"
            );
            return Err(refused(CertificateError::import(why)));
        }
    };
    let mut rest = all.filter(|(key, _)| token.is_none_or(|token| key.as_str() > token));
    let mut last = None;
    let mut taken = Vec::new();
    for (key, item) in rest.by_ref().take(size) {
        last = Some(key);
        taken.push(item);
    }
    let has_more = rest.next().is_some();
    let next = last.filter(|_| has_more).map(Text::display);
    Ok((taken, next))
}

/// What a page has where nothing is said.
const SIZE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_until_nothing_is_left() {
        let all = || ["a", "b", "c"].into_iter().map(|it| (it.to_owned(), it));
        let (page, next) = take(all(), None, Some(2)).unwrap();
        assert_eq!(page, ["a", "b"]);
        let next = next.unwrap();
        let (page, next) = take(all(), Some(next.as_str()), Some(2)).unwrap();
        assert_eq!(page, ["c"]);
        assert!(next.is_none());
        assert!(take(all(), None, Some(0)).is_err());
    }
}
