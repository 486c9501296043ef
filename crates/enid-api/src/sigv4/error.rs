//! Why a signature is not accepted, in the words of each protocol.

use enid_model::time::Timestamp;

use crate::error::ApiError;
use crate::wire::envelope::Dialect;
use crate::wire::instant::basic;

/// Why a request's signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The algorithm is not AWS4-HMAC-SHA256.
    #[error("unsupported signing algorithm")]
    Algorithm,
    /// The request's date cannot be read.
    #[error("malformed date")]
    Date,
    /// The request is too old.
    #[error("signature expired")]
    Expired {
        /// When it was signed.
        signed: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// The host is not among the signed headers.
    #[error("the host header is not signed")]
    HostNotSigned,
    /// The claim cannot be read.
    #[error("malformed authorization")]
    Malformed,
    /// There is no claim.
    #[error("no authorization")]
    Missing,
    /// A part of the claim is absent.
    #[error("authorization without {0}")]
    MissingPart(&'static str),
    /// There is no date.
    #[error("no date")]
    NoDate,
    /// The request is from the future.
    #[error("signature not yet current")]
    NotYet {
        /// When it was signed.
        signed: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// No region has this name.
    #[error("no such region: {0}")]
    Region(String),
    /// The scope is for another day than the request.
    #[error("scope date {claimed} is not {stamped}")]
    ScopeDate {
        /// The scope's day.
        claimed: String,
        /// The request's day.
        stamped: String,
    },
    /// The signature is not that of the request and the key.
    #[error("wrong signature")]
    Signature,
    /// The scope does not end as it must.
    #[error("wrong scope terminator {0}")]
    Terminator(String),
    /// No access key has this id.
    #[error("unknown access key")]
    UnknownKey,
}

impl AuthError {
    /// As the service that was asked would say it.
    #[must_use]
    pub fn into_api(self, dialect: Dialect) -> ApiError {
        let ec2 = dialect == Dialect::Ec2;
        let document = dialect.is_document();
        let refused = |message: String| match document {
            _ if ec2 => ApiError::new("AuthFailure", 401, message),
            true => ApiError::new("InvalidSignatureException", 400, message),
            false => ApiError::new("SignatureDoesNotMatch", 403, message),
        };
        let incomplete = |message: String| {
            let code = match document {
                true => "IncompleteSignatureException",
                false => "IncompleteSignature",
            };
            ApiError::new(code, 400, message)
        };
        match self {
            Self::UnknownKey | Self::Signature if ec2 => {
                refused("AWS was not able to validate the provided access credentials".to_owned())
            }
            Self::Expired { .. } | Self::NotYet { .. } if ec2 => {
                ApiError::new("RequestExpired", 400, "Request has expired.".to_owned())
            }
            Self::UnknownKey => {
                let (code, status) = match document {
                    true => ("UnrecognizedClientException", 400),
                    false => ("InvalidClientTokenId", 403),
                };
                let message = "The security token included in the request is invalid.";
                ApiError::new(code, status, message.to_owned())
            }
            Self::Signature => refused(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details."
                    .to_owned(),
            ),
            Self::Expired { signed, now } => refused(format!(
                "Signature expired: {} is now earlier than {} ({} - 15 min.)",
                basic(signed),
                basic(Timestamp(now.0 - super::SKEW_MS)),
                basic(now)
            )),
            Self::NotYet { signed, now } => refused(format!(
                "Signature not yet current: {} is still later than {} ({} + 15 min.)",
                basic(signed),
                basic(Timestamp(now.0 + super::SKEW_MS)),
                basic(now)
            )),
            Self::Missing => {
                let (code, status) = match document {
                    true => ("MissingAuthenticationTokenException", 400),
                    false => ("MissingAuthenticationToken", 403),
                };
                let message = "Request is missing Authentication Token";
                ApiError::new(code, status, message.to_owned())
            }
            Self::Region(name) => refused(format!(
                "Credential should be scoped to a valid Region, not '{name}'."
            )),
            Self::ScopeDate { claimed, stamped } => refused(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{claimed}' != '{stamped}'."
            )),
            Self::Terminator(end) => refused(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{end}'."
            )),
            Self::HostNotSigned => refused(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
                    .to_owned(),
            ),
            Self::Algorithm => {
                incomplete("Authorization requires the algorithm 'AWS4-HMAC-SHA256'.".to_owned())
            }
            Self::Malformed => incomplete("Authorization is not well formed.".to_owned()),
            Self::MissingPart(part) => {
                incomplete(format!("Authorization requires '{part}' parameter."))
            }
            Self::Date => incomplete("Date must be in ISO-8601 'basic format'.".to_owned()),
            Self::NoDate => incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header."
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::Document;

    #[test]
    fn each_service_has_its_own_words() {
        let sts = Dialect::Query { namespace: "" };
        let cbor = Dialect::Cbor(Document::default());
        let time = Timestamp(1_572_367_764_000);
        for (error, ec2, query, document) in [
            (
                AuthError::UnknownKey,
                ("AuthFailure", 401),
                ("InvalidClientTokenId", 403),
                ("UnrecognizedClientException", 400),
            ),
            (
                AuthError::Signature,
                ("AuthFailure", 401),
                ("SignatureDoesNotMatch", 403),
                ("InvalidSignatureException", 400),
            ),
            (
                AuthError::Malformed,
                ("IncompleteSignature", 400),
                ("IncompleteSignature", 400),
                ("IncompleteSignatureException", 400),
            ),
            (
                AuthError::Missing,
                ("MissingAuthenticationToken", 403),
                ("MissingAuthenticationToken", 403),
                ("MissingAuthenticationTokenException", 400),
            ),
            (
                AuthError::Expired {
                    signed: time,
                    now: time,
                },
                ("RequestExpired", 400),
                ("SignatureDoesNotMatch", 403),
                ("InvalidSignatureException", 400),
            ),
        ] {
            for (dialect, wanted) in [(Dialect::Ec2, ec2), (sts, query), (cbor, document)] {
                let told = error.clone().into_api(dialect);
                assert_eq!((told.code(), told.status()), wanted);
            }
        }
    }

    #[test]
    fn an_old_stamp_is_explained() {
        let (signed, now) = (Timestamp(1_572_364_003_000), Timestamp(1_572_367_724_000));
        let error = AuthError::Expired { signed, now }.into_api(Dialect::Query { namespace: "" });
        assert_eq!(
            error.message(),
            "Signature expired: 20191029T154643Z is now earlier than 20191029T163344Z (20191029T164844Z - 15 min.)"
        );
    }
}
