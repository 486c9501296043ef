//! The strings of answers.

use std::fmt::{self, Write};
use std::ops::Deref;

/// Ids, addresses and states fit; with them an answer of a thousand interfaces allocates little.
const INLINE: usize = 30;

/// A string of an answer: short ones are kept in place.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Box<str>),
}

impl Text {
    /// What the value displays as, without an intermediate string if it is short.
    #[must_use]
    pub fn display(value: impl fmt::Display) -> Self {
        let mut writer = Writer::default();
        // Writing to memory does not fail; a `Display` that does has nothing to show.
        let _ = write!(writer, "{value}");
        writer.finish()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Heap(text) => text,
            Repr::Inline { length, bytes } => bytes
                .get(..usize::from(*length))
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .unwrap_or_default(),
        }
    }
}

/// Fills the place in line first and moves to the heap when that overflows.
#[derive(Default)]
struct Writer {
    bytes: [u8; INLINE],
    length: usize,
    heap: Option<String>,
}

impl Writer {
    fn finish(self) -> Text {
        Text(match (self.heap, u8::try_from(self.length)) {
            (Some(heap), _) => Repr::Heap(heap.into_boxed_str()),
            (None, Ok(length)) => Repr::Inline {
                length,
                bytes: self.bytes,
            },
            (None, Err(_)) => Repr::Heap(Box::default()),
        })
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(heap) = &mut self.heap {
            heap.push_str(text);
            return Ok(());
        }
        let end = self.length + text.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text.as_bytes());
            self.length = end;
            return Ok(());
        }
        let start = self.bytes.get(..self.length).unwrap_or_default();
        let mut heap = std::str::from_utf8(start)
            .ok()
            .ok_or(fmt::Error)?
            .to_owned();
        heap.push_str(text);
        self.heap = Some(heap);
        Ok(())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Repr::Inline { length, bytes })
            }
            _ => Self(Repr::Heap(text.into())),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Heap(text.into_boxed_str()))
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_kept() {
        for length in [0, 1, 29, 30, 31, 300] {
            let text = "ä".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(&*Text::from(text.as_str()), text);
            assert_eq!(&*Text::from(text.clone()), text);
            assert_eq!(&*Text::display(&text), text);
        }
        // Written in pieces, over the edge in the middle of one.
        let pieces = format_args!("{}{}", "a".repeat(25), "b".repeat(25)).to_string();
        assert_eq!(
            Text::display(format_args!("{}{}", "a".repeat(25), "b".repeat(25))),
            Text::from(pieces)
        );
        assert_ne!(Text::from("a"), Text::from("b"));
    }

    #[test]
    fn a_text_is_small() {
        assert_eq!(size_of::<Text>(), 32);
    }
}
