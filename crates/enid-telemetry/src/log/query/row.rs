//! Rows of a query: events with the fields that are found in them, or what was reckoned.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::plan::Key;
use super::value::Value;

/// An event that a query sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// When it happened, in milliseconds.
    pub at: i64,
    /// When it was received.
    pub ingested: i64,
    /// What it says.
    pub message: String,
    /// Its stream's name.
    pub stream: String,
    /// Its account and group: `123456789012:name`.
    pub log: String,
    /// What names it, for `@ptr`.
    pub pointer: String,
}

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    source: Option<Source>,
    /// What was given a name, which goes before what is found.
    named: BTreeMap<String, Value>,
    found: OnceCell<BTreeMap<String, Value>>,
}

impl Row {
    pub(super) fn of(source: Source) -> Self {
        Self {
            source: Some(source),
            named: BTreeMap::new(),
            found: OnceCell::new(),
        }
    }

    /// A row of what was reckoned.
    pub(super) fn reckoned(named: BTreeMap<String, Value>) -> Self {
        Self {
            source: None,
            named,
            found: OnceCell::new(),
        }
    }

    pub(super) fn name(&mut self, name: &str, value: Value) {
        self.named.insert(name.to_owned(), value);
    }

    pub(super) fn field(&self, name: &str) -> Value {
        if let Some(value) = self.named.get(name) {
            return value.clone();
        }
        if let Some(value) = self.member(name) {
            return value;
        }
        let Some(source) = &self.source else {
            return Value::Missing;
        };
        let text = |text: &str| Value::Text(text.to_owned());
        match name {
            "@ingestionTime" => Value::Time(source.ingested),
            "@log" => text(&source.log),
            "@logStream" => text(&source.stream),
            "@message" => text(&source.message),
            "@ptr" => text(&source.pointer),
            "@timestamp" => Value::Time(source.at),
            _ => {
                let found = self.found.get_or_init(|| discover(&source.message));
                found.get(name).cloned().unwrap_or(Value::Missing)
            }
        }
    }

    /// What is in a map that was given a name: `map.member.of`.
    fn member(&self, name: &str) -> Option<Value> {
        let mut dots = name.match_indices('.');
        dots.find_map(|(dot, _)| {
            let map = self.named.get(&name[..dot])?;
            let keys = name[dot + 1..].split('.');
            let keys: Vec<Key> = keys.map(|key| Key::Name(key.to_owned())).collect();
            matches!(map, Value::Structure(_)).then(|| map.within(keys.iter()))
        })
    }

    /// What names the event, unless the row is of several.
    pub(super) fn pointer(&self) -> Option<&str> {
        self.source.as_ref().map(|source| &*source.pointer)
    }

    pub(super) fn time(&self) -> Option<i64> {
        self.source.as_ref().map(|source| source.at)
    }
}

/// The fields of a message: of JSON, or of a flow log of the default format.
fn discover(message: &str) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let start = message.find('{');
    let json = start.and_then(|start| serde_json::from_str::<Json>(message[start..].trim()).ok());
    if let Some(json) = json {
        flatten("", &json, &mut fields);
        return fields;
    }
    let words: Vec<&str> = message.split_ascii_whitespace().collect();
    if words.len() == FLOW_FIELDS.len() && words[0] == "2" {
        for (name, word) in FLOW_FIELDS.iter().zip(words) {
            let is_there = word != "-";
            if is_there {
                fields.insert((*name).to_owned(), Value::Text(word.to_owned()));
            }
        }
    }
    fields
}

/// What the fields of the default format are called.
/// Source: CloudWatch Logs User Guide, "Supported logs and discovered fields".
const FLOW_FIELDS: [&str; 14] = [
    "version",
    "accountId",
    "interfaceId",
    "srcAddr",
    "dstAddr",
    "srcPort",
    "dstPort",
    "protocol",
    "packets",
    "bytes",
    "startTime",
    "endTime",
    "action",
    "logStatus",
];

/// Members by their ways: `a.b`, `list.0`. AWS finds so many in an event at most.
fn flatten(way: &str, json: &Json, fields: &mut BTreeMap<String, Value>) {
    if fields.len() >= FIELDS_MAX {
        return;
    }
    let way_to = |name: &dyn std::fmt::Display| match way {
        "" => name.to_string(),
        way => format!("{way}.{name}"),
    };
    let value = match json {
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&way_to(&index), item, fields);
            }
            return;
        }
        Json::Object(members) => {
            for (name, member) in members {
                flatten(&way_to(name), member, fields);
            }
            return;
        }
        Json::Null => return,
        Json::Bool(_) | Json::Number(_) | Json::String(_) => Value::of_json(json),
    };
    fields.insert(way.to_owned(), value);
}

const FIELDS_MAX: usize = 200;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::log::query) fn source(at: i64, message: &str) -> Source {
        Source {
            at,
            ingested: at + 1,
            message: message.to_owned(),
            stream: "s".to_owned(),
            log: "123456789012:g".to_owned(),
            pointer: format!("p{at}"),
        }
    }

    #[test]
    fn fields_are_found_in_messages() {
        let flow = "2 123456789012 eni-1 10.0.0.5 10.0.1.9 40000 22 6 3 180 17 18 REJECT OK";
        for (message, name, shown) in [
            (r#"{"a": {"b": [1, {"c": "x"}]}}"#, "a.b.0", "1"),
            (r#"{"a": {"b": [1, {"c": "x"}]}}"#, "a.b.1.c", "x"),
            (r#"{"on": true, "off": false}"#, "on", "1"),
            (r#"INFO {"a": 2.5}"#, "a", "2.5"),
            (r#"{"a": null}"#, "a", ""),
            (flow, "dstPort", "22"),
            (flow, "action", "REJECT"),
            ("plain", "a", ""),
            ("plain", "@message", "plain"),
            ("plain", "@timestamp", "1970-01-01 00:00:00.007"),
            ("plain", "@log", "123456789012:g"),
        ] {
            let row = Row::of(source(7, message));
            assert_eq!(row.field(name).to_string(), shown, "{message} {name}");
        }
    }
}
