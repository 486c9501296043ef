//! Pages: a token names where the next one starts, and is of one operation.

use crate::error::ApiError;
use crate::wire::params::{from_base64, to_base64};
use crate::wire::text::Text;

/// The token of a place in the answers of an operation.
pub(super) fn close(operation: &str, place: &str) -> Text {
    to_base64(format!("{operation}\n{place}").as_bytes()).into()
}

/// The place of a token.
pub(super) fn open(operation: &str, token: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(token) = token else {
        return Ok(None);
    };
    let bytes = from_base64(token);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.and_then(|text| {
        let (of, place) = text.split_once('\n')?;
        (of == operation).then(|| place.to_owned())
    });
    match place {
        Some(place) => Ok(Some(place)),
        None => Err(ApiError::new(
            "InvalidNextToken",
            400,
            "The next token specified is invalid.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_operation() {
        let token = close("ListMetrics", "a\nb");
        assert_eq!(
            open("ListMetrics", Some(&token)).unwrap().as_deref(),
            Some("a\nb")
        );
        assert_eq!(open("ListMetrics", None).unwrap(), None);
        for (operation, token) in [
            ("Other", &*token),
            ("ListMetrics", "x"),
            ("ListMetrics", ""),
        ] {
            let error = open(operation, Some(token)).unwrap_err();
            assert_eq!(error.code(), "InvalidNextToken");
        }
    }
}
