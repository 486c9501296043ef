//! Pages: a marker is the key of the last one that was shown.

use super::invalid;
use crate::error::ApiError;
use crate::wire::params::{from_base64, to_base64};
use crate::wire::text::Text;

/// What AWS lists at most at once, and what it lists unless told otherwise.
const PAGE_MAX: i32 = 400;

/// What comes after the marker's key, and the marker for the rest. Keys grow.
pub(super) fn take<T>(
    all: impl Iterator<Item = (String, T)>,
    marker: Option<&str>,
    size: Option<i32>,
) -> Result<(Vec<T>, Option<Text>), ApiError> {
    let size = size.unwrap_or(PAGE_MAX);
    let rule = match size {
        ..=0 => Some(("greater than or equal to", 1)),
        1..=PAGE_MAX => None,
        _ => Some(("less than or equal to", PAGE_MAX)),
    };
    if let Some((rule, bound)) = rule {
        return Err(invalid(format!(
            "1 validation error detected: Value '{size}' at 'pageSize' failed to satisfy constraint: Member must have value {rule} {bound}"
        )));
    }
    let after = marker.map(read).transpose()?;
    let mut rest = all.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let mut last = None;
    let mut taken = Vec::new();
    for (key, item) in rest.by_ref().take(usize::try_from(size).unwrap_or(0)) {
        last = Some(key);
        taken.push(item);
    }
    let next = last.filter(|_| rest.next().is_some());
    let next = next.map(|key| Text::display(to_base64(key.as_bytes())));
    Ok((taken, next))
}

fn read(marker: &str) -> Result<String, ApiError> {
    let key = from_base64(marker).and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| invalid("The specified marker is not valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_until_nothing_is_left() {
        let all = || (0..5).map(|number| (format!("{number:03}"), number));
        let (first, marker) = take(all(), None, Some(3)).unwrap();
        assert_eq!(first, [0, 1, 2]);
        let marker = marker.unwrap();
        let (second, end) = take(all(), Some(&marker), Some(3)).unwrap();
        assert_eq!((second, end.is_none()), (vec![3, 4], true));
        for (marker, size) in [(Some("?"), None), (None, Some(0)), (None, Some(401))] {
            let error = take(all(), marker, size).unwrap_err();
            assert_eq!(error.code(), "ValidationError");
        }
    }
}
