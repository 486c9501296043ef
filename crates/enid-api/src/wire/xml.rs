//! Writing XML answers.
//!
//! Absent values are left out, empty lists are present: clients index them.

use std::fmt::Write as _;

use enid_model::time::Timestamp;

use super::text::Text;

/// An XML document in the making.
#[derive(Debug, Default)]
pub struct Xml {
    out: String,
}

/// An element's name in each of the forms that it is written in: answers of a thousand interfaces
/// have ten thousands of elements.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    /// `<name>`
    pub open: &'static str,
    /// `</name>`
    pub close: &'static str,
    /// `<name/>`
    pub empty: &'static str,
}

/// The [`Tag`] of a literal name.
#[macro_export]
macro_rules! tag {
    ($name:literal) => {
        $crate::wire::xml::Tag {
            open: concat!("<", $name, ">"),
            close: concat!("</", $name, ">"),
            empty: concat!("<", $name, "/>"),
        }
    };
}

/// What can be the content of an element.
pub trait ToXml {
    /// Writes the content, without the element around it.
    fn to_xml(&self, xml: &mut Xml);
}

impl Xml {
    /// A document with its declaration.
    #[must_use]
    pub fn new() -> Self {
        let mut out = String::with_capacity(2048);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// An element with this content.
    pub fn element<T: ToXml + ?Sized>(&mut self, tag: Tag, content: &T) {
        self.within(tag, |xml| content.to_xml(xml));
    }

    /// An element, if there is a value.
    pub fn optional<T: ToXml>(&mut self, tag: Tag, content: &Option<T>) {
        if let Some(content) = content {
            self.element(tag, content);
        }
    }

    /// A list, empty or not.
    pub fn list<T: ToXml>(&mut self, tag: Tag, item: Tag, items: &[T]) {
        if items.is_empty() {
            self.out.push_str(tag.empty);
            return;
        }
        self.within(tag, |xml| {
            for content in items {
                xml.element(item, content);
            }
        });
    }

    /// An element around what `write` writes.
    pub fn within(&mut self, tag: Tag, write: impl FnOnce(&mut Self)) {
        self.out.push_str(tag.open);
        write(self);
        self.out.push_str(tag.close);
    }

    /// An element whose name is known only now, around what `write` writes.
    pub fn within_named(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.open_name(name);
        self.out.push('>');
        write(self);
        self.close_name(name);
    }

    /// The outermost element, in its namespace.
    pub fn root(&mut self, name: &str, namespace: &str, write: impl FnOnce(&mut Self)) {
        self.open_name(name);
        self.out.push_str(" xmlns=\"");
        self.escaped(namespace);
        self.out.push_str("\">");
        write(self);
        self.close_name(name);
    }

    /// An element of this name begins.
    pub(super) fn open(&mut self, name: &str) {
        self.open_name(name);
        self.out.push('>');
    }

    /// It ends.
    pub(super) fn close(&mut self, name: &str) {
        self.close_name(name);
    }

    /// An element of this name with a text.
    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        self.escaped(text);
        self.close_name(name);
    }

    /// What was written before, as it is.
    pub fn prepared(&mut self, written: &str) {
        self.out.push_str(written);
    }

    /// The document.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }

    fn open_name(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
    }

    fn close_name(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn escaped(&mut self, text: &str) {
        // Nearly everything is plain; that is seen byte by byte.
        if text.bytes().all(is_plain) {
            self.out.push_str(text);
            return;
        }
        let mut plain = 0;
        for (at, letter) in text.char_indices() {
            let Some(escape) = escape(letter) else {
                continue;
            };
            self.out.push_str(text.get(plain..at).unwrap_or_default());
            self.out.push_str(escape);
            plain = at + letter.len_utf8();
        }
        self.out.push_str(text.get(plain..).unwrap_or_default());
    }
}

/// Whether a byte is that of a character which stands for itself: printable ASCII without XML's own.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"')
}

/// What stands for a character that cannot stand for itself.
fn escape(letter: char) -> Option<&'static str> {
    Some(match letter {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        // A reader turns a bare one into a line feed: https://www.w3.org/TR/xml/#sec-line-ends
        '\r' => "&#xD;",
        letter if !is_xml(letter) => "\u{fffd}",
        _ => return None,
    })
}

/// Whether XML 1.0 can hold the character at all: <https://www.w3.org/TR/xml/#charsets>.
#[must_use]
pub fn is_xml(letter: char) -> bool {
    !matches!(letter, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

impl ToXml for str {
    fn to_xml(&self, xml: &mut Xml) {
        xml.escaped(self);
    }
}

impl ToXml for Text {
    fn to_xml(&self, xml: &mut Xml) {
        xml.escaped(self.as_str());
    }
}

impl ToXml for bool {
    fn to_xml(&self, xml: &mut Xml) {
        xml.out.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! display_to_xml {
    ($($kind:ty),*) => {$(
        impl ToXml for $kind {
            fn to_xml(&self, xml: &mut Xml) {
                // Writing to a string does not fail.
                let _ = write!(xml.out, "{self}");
            }
        }
    )*};
}
display_to_xml!(i32, i64, f64, Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Xml)) -> String {
        let mut xml = Xml::default();
        write(&mut xml);
        xml.finish()
    }

    #[test]
    fn values_are_escaped() {
        for (text, wanted) in [
            ("plain ä", "plain ä"),
            ("a<b>&\"c\"", "a&lt;b&gt;&amp;&quot;c&quot;"),
            ("a\r\n\tb", "a&#xD;\n\tb"),
            ("a\0b\u{ffff}", "a\u{fffd}b\u{fffd}"),
            ("&", "&amp;"),
        ] {
            assert_eq!(
                written(|xml| xml.element(tag!("x"), text)),
                format!("<x>{wanted}</x>")
            );
        }
    }

    #[test]
    fn absent_values_are_left_out_and_empty_lists_are_not() {
        assert_eq!(written(|xml| xml.optional(tag!("x"), &None::<bool>)), "");
        assert_eq!(
            written(|xml| xml.optional(tag!("x"), &Some(false))),
            "<x>false</x>"
        );
        assert_eq!(
            written(|xml| xml.list::<i32>(tag!("x"), tag!("item"), &[])),
            "<x/>"
        );
        assert_eq!(
            written(|xml| xml.list(tag!("x"), tag!("item"), &[1, -2])),
            "<x><item>1</item><item>-2</item></x>"
        );
    }

    #[test]
    fn numbers_and_times_are_written_as_aws_does() {
        assert_eq!(written(|xml| 0.75.to_xml(xml)), "0.75");
        assert_eq!(written(|xml| 10.0.to_xml(xml)), "10");
        assert_eq!(
            written(|xml| Timestamp(0).to_xml(xml)),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
