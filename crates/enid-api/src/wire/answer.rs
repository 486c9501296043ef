//! Answers, whatever the protocol they are written in.

use std::collections::BTreeMap;

use enid_model::time::Timestamp;

use super::params::Blob;
use super::text::Text;

/// What an answer is written to: one per protocol.
pub trait Sink {
    /// A structure begins.
    fn begin(&mut self);
    /// It ends.
    fn end(&mut self);
    /// The next value is this member of the structure.
    fn name(&mut self, name: &str);
    /// A list begins; in XML its items are elements of this name.
    fn begin_list(&mut self, item: &'static str);
    /// It ends.
    fn end_list(&mut self);
    /// A map begins.
    fn begin_map(&mut self);
    /// The next value has this key.
    fn key(&mut self, key: &str);
    /// It ends.
    fn end_map(&mut self);
    /// A string.
    fn text(&mut self, text: &str);
    /// `true` or `false`.
    fn boolean(&mut self, value: bool);
    /// A whole number.
    fn integer(&mut self, value: i64);
    /// A double.
    fn number(&mut self, value: f64);
    /// A point in time.
    fn time(&mut self, time: Timestamp);
    /// Bytes.
    fn bytes(&mut self, bytes: &[u8]);
}

/// A part of an answer.
pub trait Encode {
    /// Writes it.
    fn encode(&self, sink: &mut dyn Sink);
}

/// A member, if there is a value.
pub fn optional<T: Encode>(sink: &mut dyn Sink, name: &str, value: &Option<T>) {
    if let Some(value) = value {
        sink.name(name);
        value.encode(sink);
    }
}

/// A list, empty or not: clients index them.
pub fn list<T: Encode>(sink: &mut dyn Sink, item: &'static str, name: &str, items: &[T]) {
    sink.name(name);
    items_of(sink, item, items);
}

/// A map, if there are entries.
pub fn map<T: Encode>(sink: &mut dyn Sink, name: &str, entries: &BTreeMap<String, T>) {
    if entries.is_empty() {
        return;
    }
    sink.name(name);
    sink.begin_map();
    for (key, value) in entries {
        sink.key(key);
        value.encode(sink);
    }
    sink.end_map();
}

fn items_of<T: Encode>(sink: &mut dyn Sink, item: &'static str, items: &[T]) {
    sink.begin_list(item);
    for value in items {
        value.encode(sink);
    }
    sink.end_list();
}

impl Encode for Text {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.text(self);
    }
}

impl Encode for bool {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.boolean(*self);
    }
}

impl Encode for i32 {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.integer(i64::from(*self));
    }
}

impl Encode for i64 {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.integer(*self);
    }
}

impl Encode for f64 {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.number(*self);
    }
}

impl Encode for Timestamp {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.time(*self);
    }
}

impl Encode for Blob {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.bytes(&self.0);
    }
}

/// A list of lists.
impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, sink: &mut dyn Sink) {
        items_of(sink, "member", self);
    }
}
