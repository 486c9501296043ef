//! What a client says about its signature: in a header, or in the query of a presigned request.

use std::borrow::Cow;

use super::AuthError;
use crate::wire::form::decode;

/// A client's claim: who signed, for what scope, over which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The access key's id.
    pub access_key_id: Cow<'a, str>,
    /// The day of the scope, `yyyymmdd`.
    pub date: Cow<'a, str>,
    /// The region of the scope.
    pub region: Cow<'a, str>,
    /// The service of the scope.
    pub service: Cow<'a, str>,
    /// The end of the scope, which must be `aws4_request`.
    pub terminator: Cow<'a, str>,
    /// The names of the signed headers, with semicolons.
    pub signed_headers: Cow<'a, str>,
    /// The signature in hexadecimal digits.
    pub signature: Cow<'a, str>,
    /// What only a presigned request has.
    pub presigned: Option<Presigned>,
}

/// The rest of a presigned request's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// When it was signed, as sent.
    pub date: String,
    /// For how many seconds it is good.
    pub expires: i64,
    /// The session token.
    pub session_token: Option<String>,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A presigned request is good for a week at most.
const EXPIRES_MAX: i64 = 604_800;

/// Reads the value of an `Authorization` header. Never panics.
pub fn parse_authorization(header: &str) -> Result<Authorization<'_>, AuthError> {
    let rest = header
        .strip_prefix(ALGORITHM)
        .filter(|rest| rest.starts_with([' ', '\t']))
        .ok_or(AuthError::Algorithm)?;
    let (mut credential, mut headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let Some((name, value)) = part.trim().split_once('=') else {
            return Err(AuthError::Malformed);
        };
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut headers,
            "Signature" => &mut signature,
            _ => return Err(AuthError::Malformed),
        };
        if place.replace(value).is_some() {
            return Err(AuthError::Malformed);
        }
    }
    authorization(
        Cow::Borrowed(credential.ok_or(AuthError::MissingPart("Credential"))?),
        Cow::Borrowed(headers.ok_or(AuthError::MissingPart("SignedHeaders"))?),
        Cow::Borrowed(signature.ok_or(AuthError::MissingPart("Signature"))?),
        None,
    )
}

/// Reads the claim of a presigned request from its query. `None` if it makes none.
pub fn parse_presigned(query: &str) -> Option<Result<Authorization<'_>, AuthError>> {
    if !query.split('&').any(|pair| pair.starts_with("X-Amz-")) {
        return None;
    }
    Some(presigned(query))
}

fn presigned(query: &str) -> Result<Authorization<'_>, AuthError> {
    let part = |name: &'static str| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = values
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value);
        value
            .map(|value| decode(value.as_bytes()).ok().ok_or(AuthError::Malformed))
            .transpose()
    };
    let needed = |name| part(name)?.ok_or(AuthError::MissingPart(name));
    if needed("X-Amz-Algorithm")? != ALGORITHM {
        return Err(AuthError::Algorithm);
    }
    let expires = needed("X-Amz-Expires")?
        .parse()
        .ok()
        .filter(|expires| (1..=EXPIRES_MAX).contains(expires))
        .ok_or(AuthError::Malformed)?;
    let rest = Presigned {
        date: needed("X-Amz-Date")?.into_owned(),
        expires,
        session_token: part("X-Amz-Security-Token")?.map(Cow::into_owned),
    };
    authorization(
        needed("X-Amz-Credential")?,
        needed("X-Amz-SignedHeaders")?,
        needed("X-Amz-Signature")?,
        Some(rest),
    )
}

fn authorization<'a>(
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    signature: Cow<'a, str>,
    presigned: Option<Presigned>,
) -> Result<Authorization<'a>, AuthError> {
    let lower =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.;".contains(&byte);
    if !signed_headers.bytes().all(lower) {
        return Err(AuthError::Malformed);
    }
    let parts: Vec<Cow<'a, str>> = match credential {
        Cow::Borrowed(text) => text.split('/').map(Cow::Borrowed).collect(),
        Cow::Owned(text) => text
            .split('/')
            .map(|part| Cow::Owned(part.to_owned()))
            .collect(),
    };
    let [access_key_id, date, region, service, terminator] =
        <[_; 5]>::try_from(parts).ok().ok_or(AuthError::Malformed)?;
    Ok(Authorization {
        access_key_id,
        date,
        region,
        service,
        terminator,
        signed_headers,
        signature,
        presigned,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "AWS4-HMAC-SHA256 Credential=AK/20150830/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=00ff";

    #[test]
    fn a_header_is_read_with_and_without_spaces() {
        for header in [GOOD.to_owned(), GOOD.replace(", ", ",")] {
            let read = parse_authorization(&header).unwrap();
            assert_eq!(read.access_key_id, "AK");
            assert_eq!(read.region, "us-east-1");
            assert_eq!(read.service, "ec2");
            assert_eq!(read.signed_headers, "host;x-amz-date");
            assert_eq!(read.signature, "00ff");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (header, wanted) in [
            ("", AuthError::Algorithm),
            ("Basic abc", AuthError::Algorithm),
            ("AWS4-HMAC-SHA256", AuthError::Algorithm),
            ("AWS4-HMAC-SHA256 x", AuthError::Malformed),
            (
                "AWS4-HMAC-SHA256 SignedHeaders=a,Signature=b",
                AuthError::MissingPart("Credential"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,Signature=b",
                AuthError::MissingPart("SignedHeaders"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=b",
                AuthError::MissingPart("Signature"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/c/d,SignedHeaders=b,Signature=c",
                AuthError::Malformed,
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=B,Signature=c",
                AuthError::Malformed,
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=b,Signature=c,Signature=d",
                AuthError::Malformed,
            ),
        ] {
            assert_eq!(parse_authorization(header), Err(wanted), "{header}");
        }
    }

    #[test]
    fn a_presigned_query_is_read() {
        let query = "Action=X&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20150830%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00";
        let read = parse_presigned(query).unwrap().unwrap();
        assert_eq!(read.access_key_id, "AK");
        assert_eq!(read.presigned.unwrap().expires, 60);
        let forever = query.replace("Expires=60", "Expires=604801");
        assert_eq!(parse_presigned(&forever), Some(Err(AuthError::Malformed)));
        let bare = "X-Amz-Algorithm=AWS4-HMAC-SHA256";
        assert_eq!(
            parse_presigned(bare),
            Some(Err(AuthError::MissingPart("X-Amz-Expires")))
        );
        assert_eq!(parse_presigned("Action=X"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            let _ = parse_authorization(&text);
            let _ = parse_authorization(&format!("AWS4-HMAC-SHA256 {text}"));
            let _ = parse_presigned(&format!("X-Amz-{text}"));
        }
    }
}
