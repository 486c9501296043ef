//! JSON requests and answers: AWS's JSON protocols 1.0 and 1.1.

use std::fmt::{self, Write as _};

use enid_model::time::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::answer::Sink;
use super::params::to_base64;
use super::value::Value;
use crate::error::ApiError;

/// Reads a document; an empty body is an empty structure.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Members(Vec::new()));
    }
    match serde_json::from_slice(body) {
        Ok(Document(value)) => Ok(value),
        Err(_malformed) => Err(ApiError::serialization("The body is not well-formed JSON.")),
    }
}

struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "what is larger than any integer of the models is a number at best"
        )]
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Document(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, Document(value))) = map.next_entry::<String, _>()? {
            members.push((name, value));
        }
        Ok(Value::Members(members))
    }
}

/// A JSON answer in the making.
#[derive(Debug, Default)]
pub struct Json {
    out: String,
    /// Whether the next member or item is the first of its structure or list.
    first: bool,
    /// Whether a name has been written for the next value.
    named: bool,
}

impl Json {
    /// The document.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    fn value(&mut self) {
        if self.named {
            self.named = false;
        } else {
            self.separate();
        }
    }

    fn separate(&mut self) {
        if !self.first && !self.out.is_empty() {
            self.out.push(',');
        }
        self.first = false;
    }

    fn open(&mut self, bracket: char) {
        self.value();
        self.out.push(bracket);
        self.first = true;
    }

    fn close(&mut self, bracket: char) {
        self.out.push(bracket);
        self.first = false;
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                letter if letter.is_control() => {
                    // Writing to a string does not fail.
                    let _ = write!(self.out, "\\u{:04x}", u32::from(letter));
                }
                letter => self.out.push(letter),
            }
        }
        self.out.push('"');
    }
}

impl Sink for Json {
    fn begin(&mut self) {
        self.open('{');
    }

    fn end(&mut self) {
        self.close('}');
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.string(name);
        self.out.push(':');
        self.named = true;
    }

    fn begin_list(&mut self, _item: &'static str) {
        self.open('[');
    }

    fn end_list(&mut self) {
        self.close(']');
    }

    fn begin_map(&mut self) {
        self.open('{');
    }

    fn key(&mut self, key: &str) {
        self.name(key);
    }

    fn end_map(&mut self) {
        self.close('}');
    }

    fn text(&mut self, text: &str) {
        self.value();
        self.string(text);
    }

    fn boolean(&mut self, value: bool) {
        self.value();
        self.out.push_str(if value { "true" } else { "false" });
    }

    fn integer(&mut self, value: i64) {
        self.value();
        let _ = write!(self.out, "{value}");
    }

    fn number(&mut self, value: f64) {
        self.value();
        // What JSON has no number for goes as the text that the protocol has for it.
        let _ = match value {
            _ if value.is_nan() => write!(self.out, "\"NaN\""),
            _ if value.is_infinite() && value > 0.0 => write!(self.out, "\"Infinity\""),
            _ if value.is_infinite() => write!(self.out, "\"-Infinity\""),
            _ => write!(self.out, "{value:?}"),
        };
    }

    fn time(&mut self, time: Timestamp) {
        self.value();
        let (seconds, millis) = (time.0.div_euclid(1000), time.0.rem_euclid(1000));
        let _ = match (time.0, millis) {
            (_, 0) => write!(self.out, "{seconds}"),
            // Before 1970 the fraction counts backwards.
            (..0, _) => write!(self.out, "-{}.{:03}", -time.0 / 1000, -time.0 % 1000),
            _ => write!(self.out, "{seconds}.{millis:03}"),
        };
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.text(&to_base64(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_in_order() {
        let value = decode(br#"{"b": [1, -2.5, "x", null], "a": {"c": true}}"#).unwrap();
        assert_eq!(
            format!("{value:?}"),
            "Members([(\"b\", List([Integer(1), Number(-2.5), Text(\"x\"), Null])), (\"a\", Members([(\"c\", Boolean(true))]))])"
        );
        assert_eq!(decode(b"").unwrap(), Value::Members(Vec::new()));
        for body in ["{", "{} {}", "\u{1}", "{\"a\": NaN}", &"[".repeat(100_000)] {
            assert_eq!(
                decode(body.as_bytes()).unwrap_err().code(),
                "SerializationException"
            );
        }
    }

    #[test]
    fn answers_are_written() {
        let mut json = Json::default();
        json.begin();
        json.name("A");
        json.text("x\"\n\u{1}é");
        json.name("B");
        json.begin_list("member");
        json.integer(1);
        json.number(10.0);
        json.begin();
        json.end();
        json.end_list();
        json.name("C");
        json.begin_list("member");
        json.end_list();
        json.name("D");
        json.time(Timestamp(1_500));
        json.name("E");
        json.time(Timestamp(2_000));
        json.name("F");
        json.begin_map();
        json.key("k");
        json.boolean(true);
        json.key("l");
        json.bytes(b"hi");
        json.end_map();
        json.end();
        assert_eq!(
            String::from_utf8(json.finish()).unwrap(),
            r#"{"A":"x\"\n\u0001é","B":[1,10.0,{}],"C":[],"D":1.500,"E":2,"F":{"k":true,"l":"aGk="}}"#
        );
    }

    #[test]
    fn times_before_1970_are_negative() {
        for (millis, wanted) in [(-1, "-0.001"), (-1000, "-1"), (-1500, "-1.500")] {
            let mut json = Json::default();
            json.time(Timestamp(millis));
            assert_eq!(json.finish(), wanted.as_bytes());
        }
    }
}
