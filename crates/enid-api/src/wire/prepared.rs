//! Parts of answers that were written for an earlier one.

use std::sync::Arc;

use super::xml::{ToXml, Xml};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared<T> {
    /// To be written.
    Made(T),
    /// Written: the XML that its value had.
    Written(Arc<str>),
}

impl<T: ToXml> Prepared<T> {
    /// The XML of a value.
    #[must_use]
    pub fn xml_of(value: &T) -> Arc<str> {
        let mut xml = Xml::default();
        value.to_xml(&mut xml);
        xml.finish().into()
    }
}

impl<T: ToXml> ToXml for Prepared<T> {
    fn to_xml(&self, xml: &mut Xml) {
        match self {
            Self::Made(value) => value.to_xml(xml),
            Self::Written(written) => xml.prepared(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_would_be() {
        let value = "a<b".to_owned();
        let text = super::super::text::Text::from(value);
        let written = Prepared::Written(Prepared::xml_of(&text));
        let both = [Prepared::Made(text), written].map(|part| {
            let mut xml = Xml::default();
            part.to_xml(&mut xml);
            xml.finish()
        });
        assert_eq!(both, ["a&lt;b", "a&lt;b"]);
    }
}
