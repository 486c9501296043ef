//! What a request says, whatever the protocol it was said in: structures, lists and scalars.
//!
//! Each protocol's decoder makes a [`Value`]; [`super::conform`] holds it against its table and
//! gives every scalar the type that the table wants; the generated [`FromValue`]s read it.

use std::collections::BTreeMap;

use enid_model::time::Timestamp;

use super::params::Blob;
use crate::error::ApiError;

/// A part of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Absent, said aloud.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A string.
    Text(String),
    /// A scalar of a protocol in which all scalars are texts.
    Plain(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A point in time.
    Time(Timestamp),
    /// A list.
    List(Vec<Self>),
    /// A structure or a map, in the order of the request.
    Members(Vec<(String, Self)>),
}

impl Value {
    /// The members of a structure.
    pub fn members(self) -> Result<Members, ApiError> {
        match self {
            Self::Members(members) => Ok(Members(members)),
            _ => Err(mismatch()),
        }
    }
}

/// A value is read by a type that its table does not have: the tables and the readers come from one
/// generator, so that no request leads here.
fn mismatch() -> ApiError {
    ApiError::internal(Mismatch)
}

#[derive(Debug, thiserror::Error)]
#[error("a request was read as what its table does not say")]
struct Mismatch;

/// The members of a structure that are yet to be read.
#[derive(Debug)]
pub struct Members(Vec<(String, Value)>);

impl Members {
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A member that may be absent.
    pub fn optional<T: FromValue>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.take(name).map(T::from_value).transpose()
    }

    /// A member that must be present: its table has seen to it.
    pub fn required<T: FromValue>(&mut self, name: &str) -> Result<T, ApiError> {
        T::from_value(self.take(name).ok_or_else(mismatch)?)
    }

    /// A list; absent is empty.
    pub fn list<T: FromValue>(&mut self, name: &str) -> Result<Vec<T>, ApiError> {
        Ok(self.optional(name)?.unwrap_or_default())
    }

    /// A map; absent is empty.
    pub fn map<T: FromValue>(&mut self, name: &str) -> Result<BTreeMap<String, T>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(BTreeMap::new());
        };
        let entries = value.members()?.0.into_iter();
        entries
            .map(|(key, value)| Ok((key, T::from_value(value)?)))
            .collect()
    }
}

/// What can be read from a value that conforms to its table.
pub trait FromValue: Sized {
    /// Reads the value.
    fn from_value(value: Value) -> Result<Self, ApiError>;
}

macro_rules! scalars {
    ($($rust:ty: $variant:ident($inner:ident) => $read:expr,)*) => {$(
        impl FromValue for $rust {
            fn from_value(value: Value) -> Result<Self, ApiError> {
                match value {
                    Value::$variant($inner) => $read.ok_or_else(mismatch),
                    _ => Err(mismatch()),
                }
            }
        }
    )*};
}
scalars! {
    bool: Boolean(value) => Some(value),
    i32: Integer(value) => i32::try_from(value).ok(),
    i64: Integer(value) => Some(value),
    f64: Number(value) => Some(value),
    String: Text(value) => Some(value),
    Blob: Bytes(value) => Some(Blob(value)),
    Timestamp: Time(value) => Some(value),
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            _ => Err(mismatch()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_once_each() {
        let members = vec![
            ("A".to_owned(), Value::Text("x".to_owned())),
            (
                "B".to_owned(),
                Value::List(vec![Value::Integer(1), Value::Integer(2)]),
            ),
            (
                "C".to_owned(),
                Value::Members(vec![("k".to_owned(), Value::Number(0.5))]),
            ),
        ];
        let mut members = Value::Members(members).members().unwrap();
        assert_eq!(members.required::<String>("A").unwrap(), "x");
        assert_eq!(members.list::<i32>("B").unwrap(), [1, 2]);
        assert_eq!(members.list::<i32>("B").unwrap(), [0; 0]);
        assert_eq!(members.map::<f64>("C").unwrap()["k"], 0.5);
        assert_eq!(members.optional::<bool>("D").unwrap(), None);
        assert_eq!(
            members.required::<bool>("D").unwrap_err().code(),
            "InternalError"
        );
        assert!(i32::from_value(Value::Integer(1 << 40)).is_err());
    }
}
