//! The one way to standard output: text for people, or JSON.

use std::io::Write as _;

use serde::Serialize;

/// Prints in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a value as one line of JSON, or as the text that `words` makes of it.
    ///
    /// An error means that nobody reads any more.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        words: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string(value)?
        } else {
            words(value)
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(())
    }
}
