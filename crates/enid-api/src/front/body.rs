//! From the bytes of a request to its operation and its members, for each form of request.

use std::borrow::Cow;
use std::io::Read as _;

use hyper::Method;
use hyper::header::CONTENT_ENCODING;
use hyper::http::request::Parts;

use super::service::{RequestForm, Service};
use crate::error::ApiError;
use crate::wire::form::{Form, parse_form};
use crate::wire::value::Value;
use crate::wire::{cbor, json};

/// How long a body may become by unpacking it.
const UNPACKED_MAX: usize = 8 * 1024 * 1024;

/// A request that has been decoded.
pub(super) enum Body<'a> {
    /// A form; its operation is one of its parameters.
    Form(Form<'a>),
    /// A document, with its operation.
    Document(String, Value),
}

/// Decodes a request.
pub(super) fn decode<'a>(
    service: Service,
    form: RequestForm,
    parts: &Parts,
    query: &'a [u8],
    body: &'a [u8],
) -> Result<Body<'a>, ApiError> {
    let known = match service {
        Service::Ec2 | Service::Elbv2 | Service::Sns | Service::Sts => form == RequestForm::Query,
        Service::Acm | Service::Logs => form == RequestForm::Json,
        Service::Monitoring => true,
    };
    if !known {
        let words = format!(
            "The service {} has no protocol of this kind.",
            service.title()
        );
        return Err(ApiError::new("InvalidRequest", 400, words));
    }
    match form {
        RequestForm::Query => Ok(Body::Form(read_form(parts, query, body)?)),
        RequestForm::Json => {
            post_to(parts, "/")?;
            let target = parts.headers.get("x-amz-target");
            let target = target.and_then(|target| target.to_str().ok());
            let operation = operation(service, target.unwrap_or_default(), '.')?;
            Ok(Body::Document(operation, json::decode(body)?))
        }
        RequestForm::Cbor => {
            let path = parts.uri.path();
            post_to(parts, path)?;
            let target = path.strip_prefix("/service/").unwrap_or_default();
            let target = target.replacen("/operation/", ":", 1);
            let operation = operation(service, &target, ':')?;
            Ok(Body::Document(operation, cbor::decode(body)?))
        }
    }
}

/// The operation of a target such as `GraniteServiceVersion20100801.PutMetricData`.
fn operation(service: Service, target: &str, separator: char) -> Result<String, ApiError> {
    let (of, operation) = target.split_once(separator).unwrap_or_default();
    match service.target() == Some(of) && !operation.is_empty() {
        true => Ok(operation.to_owned()),
        false => Err(ApiError::unknown_operation()),
    }
}

fn post_to(parts: &Parts, path: &str) -> Result<(), ApiError> {
    if parts.method != Method::POST {
        return Err(no_such_method("Only POST is known."));
    }
    match parts.uri.path() == path {
        true => Ok(()),
        false => Err(nothing_here()),
    }
}

fn nothing_here() -> ApiError {
    ApiError::new(
        "InvalidRequest",
        404,
        "There is nothing at this path.".into(),
    )
}

fn no_such_method(words: &str) -> ApiError {
    ApiError::new("InvalidRequest", 405, words.to_owned())
}

/// The parameters: from the query string, from the body, or from both.
pub(super) fn read_form<'a>(
    parts: &Parts,
    query: &'a [u8],
    body: &'a [u8],
) -> Result<Form<'a>, ApiError> {
    if parts.uri.path() != "/" {
        return Err(nothing_here());
    }
    let mut form = match parts.method {
        Method::GET => parse_form(query)?,
        Method::POST => {
            let mut form = parse_form(body)?;
            if !query.is_empty() {
                form.extend(query)?;
            }
            form
        }
        _ => return Err(no_such_method("Only GET and POST are known.")),
    };
    form.drop_if(|name| PRESIGNED.contains(&name));
    Ok(form)
}

/// The parameters by which a request is presigned.
const PRESIGNED: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// The body as it was before a client packed it, as SDKs do with long ones of PutMetricData. What is
/// signed is the packed one.
pub(super) fn unpacked<'a>(parts: &Parts, body: &'a [u8]) -> Result<Cow<'a, [u8]>, ApiError> {
    let Some(encoding) = parts.headers.get(CONTENT_ENCODING) else {
        return Ok(Cow::Borrowed(body));
    };
    if !encoding.as_bytes().eq_ignore_ascii_case(b"gzip") {
        return Err(ApiError::serialization(
            "The only Content-Encoding that is known is gzip.",
        ));
    }
    let mut whole = Vec::new();
    let limit = u64::try_from(UNPACKED_MAX).unwrap_or(u64::MAX) + 1;
    let read = flate2::read::GzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut whole);
    match read {
        Ok(length) if length <= UNPACKED_MAX => Ok(Cow::Owned(whole)),
        Ok(_) => Err(ApiError::new(
            "RequestEntityTooLarge",
            413,
            format!("A request must not be longer than {UNPACKED_MAX} bytes."),
        )),
        Err(_malformed) => Err(ApiError::serialization("The body is not well-formed gzip.")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use hyper::Request;

    use super::*;

    fn parts(headers: &[(&'static str, &'static str)], path: &str) -> Parts {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn read(service: Service, parts: &Parts, body: &[u8]) -> String {
        match decode(service, RequestForm::of(parts), parts, b"", body) {
            Ok(Body::Document(operation, value)) => format!("{operation} {value:?}"),
            Ok(Body::Form(form)) => format!("{form:?}"),
            Err(error) => error.code().to_owned(),
        }
    }

    #[test]
    fn each_form_names_its_operation() {
        let target = "GraniteServiceVersion20100801.ListMetrics";
        let json = parts(&[("x-amz-target", target)], "/");
        assert_eq!(
            read(Service::Monitoring, &json, b"{}"),
            "ListMetrics Members([])"
        );
        assert_eq!(
            read(Service::Monitoring, &json, b"{"),
            "SerializationException"
        );
        assert_eq!(
            read(Service::Logs, &json, b"{}"),
            "UnknownOperationException"
        );
        assert_eq!(read(Service::Ec2, &json, b"{}"), "InvalidRequest");
        let headers = [("smithy-protocol", "rpc-v2-cbor")];
        let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
        let cbor = parts(&headers, path);
        assert_eq!(
            read(Service::Monitoring, &cbor, b"\xa0"),
            "ListMetrics Members([])"
        );
        for path in ["/", "/service/X/operation/ListMetrics", "/service/"] {
            assert_eq!(
                read(Service::Monitoring, &parts(&headers, path), b"\xa0"),
                "UnknownOperationException"
            );
        }
        assert_eq!(read(Service::Logs, &cbor, b"\xa0"), "InvalidRequest");
        assert_eq!(read(Service::Sts, &parts(&[], "/x"), b""), "InvalidRequest");
    }

    #[test]
    fn packed_bodies_are_unpacked_within_bounds() {
        let pack = |bytes: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let packed = parts(&[("content-encoding", "gzip")], "/");
        assert_eq!(&*unpacked(&packed, &pack(b"{}")).unwrap(), b"{}");
        assert_eq!(&*unpacked(&parts(&[], "/"), b"{}").unwrap(), b"{}");
        let bomb = pack(&vec![0; UNPACKED_MAX + 1]);
        assert_eq!(unpacked(&packed, &bomb).unwrap_err().status(), 413);
        for body in [&b"{}"[..], &bomb[..bomb.len() / 2]] {
            assert_eq!(
                unpacked(&packed, body).unwrap_err().code(),
                "SerializationException"
            );
        }
        let other = parts(&[("content-encoding", "br")], "/");
        assert!(unpacked(&other, b"").is_err());
    }
}
