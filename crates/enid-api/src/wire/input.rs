//! A request before anything is known of it but its protocol.

use super::conform::conform;
use super::params::Params;
use super::query;
use super::schema::Shape;
use super::value::{FromValue, Value};
use super::words::Words;
use crate::error::ApiError;

/// The members of a request, with the words in which it is refused.
#[derive(Debug)]
pub struct Input<'a> {
    body: Body<'a>,
    words: Words,
}

#[derive(Debug)]
enum Body<'a> {
    Document(Value),
    Form(Params<'a>),
}

impl<'a> Input<'a> {
    /// A document, of JSON or CBOR.
    #[must_use]
    pub fn document(document: Value, words: Words) -> Self {
        Self {
            body: Body::Document(document),
            words,
        }
    }

    /// A form.
    #[must_use]
    pub fn form(params: Params<'a>, words: Words) -> Self {
        Self {
            body: Body::Form(params),
            words,
        }
    }

    /// Holds the request against its table, then reads it.
    pub fn read<T: FromValue>(
        self,
        operation: &'static str,
        shape: &'static Shape,
    ) -> Result<T, ApiError> {
        let value = match self.body {
            Body::Document(value) => value,
            Body::Form(params) => query::decode(shape, params),
        };
        T::from_value(conform(operation, shape, value, self.words)?)
    }

    /// The refusal of an operation that AWS does not have.
    #[must_use]
    pub fn invalid_action(&self, action: &str) -> ApiError {
        match self.body {
            Body::Document(_) => ApiError::unknown_operation(),
            Body::Form(_) => ApiError::invalid_action(action),
        }
    }
}
