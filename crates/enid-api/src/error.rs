//! Errors as clients see them: the one place where AWS's codes and words for what the front door
//! itself refuses are written, and where errors from below become AWS's.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::wire::params::lower_first;

/// An error of the API: a code, a status and a message as AWS has them.
pub struct ApiError {
    code: Cow<'static, str>,
    status: u16,
    message: String,
    /// For the log only.
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// An error with these words.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, status: u16, message: String) -> Self {
        Self {
            code: code.into(),
            status,
            message,
            cause: None,
        }
    }

    /// Something broke inside. The client learns the request's id, the log the cause.
    #[must_use]
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::internal_as("InternalError", cause)
    }

    /// The same with a service's own code.
    #[must_use]
    pub fn internal_as(code: &'static str, cause: impl Error + Send + Sync + 'static) -> Self {
        let mut error = Self::new(code, 500, "An internal error has occurred".to_owned());
        error.cause = Some(Box::new(cause));
        error
    }

    /// The same, with what the log says beyond the message.
    #[must_use]
    pub fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Some(Box::new(cause)),
            ..self
        }
    }

    /// The same with the code that a service has for it.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self {
            code: code.into(),
            ..self
        }
    }

    /// AWS's code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// AWS's words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the log says beyond the message.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.cause.as_deref()
    }

    /// A parameter that AWS does not have.
    #[must_use]
    pub fn unknown_parameter(name: &str) -> Self {
        let message = format!("The parameter {name} is not recognized");
        Self::new("UnknownParameter", 400, message)
    }

    /// A required parameter is absent.
    #[must_use]
    pub fn missing_parameter(name: &str) -> Self {
        let message = format!(
            "The request must contain the parameter {}",
            lower_first(name)
        );
        Self::new("MissingParameter", 400, message)
    }

    /// A value that cannot be what the parameter holds; `hint` may be empty.
    #[must_use]
    pub fn invalid_parameter_value(value: &str, name: &str, hint: &str) -> Self {
        // A value can be as long as a request; a message need not.
        let short: String = value.chars().take(100).collect();
        let name = lower_first(name);
        let message = format!("Value ({short}) for parameter {name} is invalid. {hint}");
        Self::new("InvalidParameterValue", 400, message.trim_end().to_owned())
    }

    /// A value that is wrong for a reason that needs no repetition of it.
    #[must_use]
    pub fn invalid_value(name: &str, reason: &str) -> Self {
        let message = format!(
            "The value of the parameter {} is invalid. {reason}",
            lower_first(name)
        );
        Self::new("InvalidParameterValue", 400, message)
    }

    /// Parameters that exclude one another.
    #[must_use]
    pub fn invalid_combination(message: &str) -> Self {
        Self::new("InvalidParameterCombination", 400, message.to_owned())
    }

    /// A request whose form cannot be read.
    #[must_use]
    pub fn malformed_query(message: String) -> Self {
        Self::new("MalformedQueryString", 400, message)
    }

    /// An operation that AWS does not have.
    #[must_use]
    pub fn invalid_action(action: &str) -> Self {
        let short: String = action.chars().take(100).collect();
        let message = format!("The action {short} is not valid for this web service.");
        Self::new("InvalidAction", 400, message)
    }

    /// An operation that AWS does not have, asked for in JSON or CBOR.
    #[must_use]
    pub fn unknown_operation() -> Self {
        Self::new("UnknownOperationException", 400, String::new())
    }

    /// A body that is not of its format.
    #[must_use]
    pub fn serialization(message: &str) -> Self {
        Self::new("SerializationException", 400, message.to_owned())
    }

    /// An operation that AWS has and Enid has not.
    #[must_use]
    pub fn operation_not_implemented(operation: &str) -> Self {
        Self::unsupported(format!(
            "Enid does not implement the operation {operation}."
        ))
    }

    /// A parameter that AWS has and Enid has not.
    #[must_use]
    pub fn parameter_not_implemented(operation: &str, name: &str) -> Self {
        Self::unsupported(format!(
            "Enid does not implement the parameter {name} of {operation}."
        ))
    }

    /// A value that AWS has and Enid has not.
    #[must_use]
    pub fn value_not_implemented(operation: &str, name: &str, value: &str) -> Self {
        let short: String = value.chars().take(100).collect();
        Self::unsupported(format!(
            "Enid does not implement the value '{short}' of the parameter {name} of {operation}."
        ))
    }

    /// A service that Enid has not.
    #[must_use]
    pub fn service_not_implemented(service: &str) -> Self {
        let short: String = service.chars().take(100).collect();
        Self::unsupported(format!("Enid does not implement the service '{short}'."))
    }

    /// The request would have been carried out.
    #[must_use]
    pub fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.";
        Self::new("DryRunOperation", 412, message.to_owned())
    }

    /// The policy of the key does not allow a request of EC2; `reason` names who, what and why.
    #[must_use]
    pub fn unauthorized(reason: &str) -> Self {
        let message = format!("You are not authorized to perform this operation. {reason}");
        Self::new("UnauthorizedOperation", 403, message)
    }

    /// The policy of the key does not allow a request of another service.
    #[must_use]
    pub fn access_denied(reason: &str) -> Self {
        Self::new("AccessDenied", 403, reason.to_owned())
    }

    /// The same in the protocols of documents.
    #[must_use]
    pub fn access_denied_exception(reason: &str) -> Self {
        Self::new("AccessDeniedException", 400, reason.to_owned())
    }

    /// There are more requests than AWS would answer.
    #[must_use]
    pub fn request_limit_exceeded() -> Self {
        Self::new(
            "RequestLimitExceeded",
            503,
            "Request limit exceeded.".to_owned(),
        )
    }

    fn unsupported(message: String) -> Self {
        Self::new("UnsupportedOperation", 400, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.status)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause:?}"),
            None => Ok(()),
        }
    }
}

impl Error for ApiError {}

impl From<enid_control::Error> for ApiError {
    fn from(error: enid_control::Error) -> Self {
        Self::new(error.code(), error.status(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_for_the_log_only() {
        let error = ApiError::internal(std::io::Error::other("disk on fire"));
        assert_eq!((error.code(), error.status()), ("InternalError", 500));
        assert!(!error.to_string().contains("fire"));
        assert!(
            error
                .cause()
                .is_some_and(|cause| cause.to_string().contains("fire"))
        );
    }

    #[test]
    fn messages_do_not_grow_with_the_request() {
        let long = "x".repeat(100_000);
        assert!(
            ApiError::invalid_parameter_value(&long, "A", "")
                .message()
                .len()
                < 200
        );
        assert!(ApiError::invalid_action(&long).message().len() < 200);
    }
}
