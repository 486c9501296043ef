//! Errors, as the specification words them.

use serde_json::{Value, json};

/// What kind of error it is: the specification's numbers, and one above 100 of this plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A version that the plugin does not speak.
    Version = 1,
    /// A member of the configuration that the plugin does not know.
    Unsupported = 2,
    /// The container is not what the runtime says.
    Container = 3,
    /// An environment variable is missing or wrong.
    Environment = 4,
    /// Something could not be read or written.
    Io = 5,
    /// The input is not what it should be.
    Decode = 6,
    /// The configuration makes no sense.
    Config = 7,
    /// It may work later.
    TryAgain = 11,
    /// STATUS: the plugin cannot be used.
    Unavailable = 50,
    /// The API said no.
    Refused = 100,
}

/// An error for the runtime.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct CniError {
    pub(crate) code: Code,
    words: String,
}

impl CniError {
    pub(crate) fn new(code: Code, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }

    /// The same as what another command answers.
    pub(crate) fn into_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// The error as the runtime reads it.
    pub(crate) fn to_json(&self, version: String) -> Value {
        json!({
            "cniVersion": version,
            "code": self.code as u32,
            "msg": self.words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_its_number() {
        let error = CniError::new(Code::TryAgain, "later").to_json("1.0.0".to_owned());
        assert_eq!(
            error,
            json!({"cniVersion": "1.0.0", "code": 11, "msg": "later"})
        );
    }
}
