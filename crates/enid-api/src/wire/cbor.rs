//! CBOR requests and answers: the protocol rpc-v2-cbor.
//! <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>

use std::convert::Infallible;

use enid_model::time::Timestamp;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};

use super::answer::Sink;
use super::conform::{DEPTH_MAX, from_seconds};
use super::value::Value;
use crate::error::ApiError;

/// Seconds since 1970: <https://www.rfc-editor.org/rfc/rfc8949#section-3.4.2>.
const EPOCH: u64 = 1;

/// Reads a document; an empty body is an empty structure.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Members(Vec::new()));
    }
    let mut decoder = Decoder::new(body);
    match value(&mut decoder, DEPTH_MAX) {
        Some(value) if decoder.position() == body.len() => Ok(value),
        _ => Err(ApiError::serialization("The body is not well-formed CBOR.")),
    }
}

/// One value; `None` if it is malformed, or of a kind that the protocol does not have.
fn value(decoder: &mut Decoder<'_>, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match decoder.datatype().ok()? {
        Type::Null => {
            decoder.null().ok()?;
            Value::Null
        }
        Type::Undefined => {
            decoder.undefined().ok()?;
            Value::Null
        }
        Type::Bool => Value::Boolean(decoder.bool().ok()?),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int => {
            let number = i128::from(decoder.int().ok()?);
            #[expect(
                clippy::cast_precision_loss,
                reason = "what is larger than any integer of the models is a number at best"
            )]
            i64::try_from(number).map_or(Value::Number(number as f64), Value::Integer)
        }
        Type::F16 | Type::F32 | Type::F64 => Value::Number(decoder.f64().ok()?),
        Type::String | Type::StringIndef => {
            let mut text = String::new();
            for part in decoder.str_iter().ok()? {
                text.push_str(part.ok()?);
            }
            Value::Text(text)
        }
        Type::Bytes | Type::BytesIndef => {
            let mut bytes = Vec::new();
            for part in decoder.bytes_iter().ok()? {
                bytes.extend_from_slice(part.ok()?);
            }
            Value::Bytes(bytes)
        }
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array().ok()?;
            let mut items = Vec::new();
            while more(decoder, length, items.len())? {
                items.push(value(decoder, depth)?);
            }
            Value::List(items)
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map().ok()?;
            let mut members = Vec::new();
            while more(decoder, length, members.len())? {
                let name = match value(decoder, depth)? {
                    Value::Text(name) => name,
                    _ => return None,
                };
                members.push((name, value(decoder, depth)?));
            }
            Value::Members(members)
        }
        Type::Tag => {
            let tag = decoder.tag().ok()?;
            let tagged = value(decoder, depth)?;
            match tagged {
                Value::Integer(seconds) if tag.as_u64() == EPOCH => {
                    Value::Time(Timestamp(seconds.checked_mul(1000)?))
                }
                Value::Number(seconds) if tag.as_u64() == EPOCH => {
                    Value::Time(from_seconds(seconds)?)
                }
                _ => return None,
            }
        }
        Type::Simple | Type::Break | Type::Unknown(_) => return None,
    })
}

/// Whether another item follows; takes the mark that ends a list without a length.
fn more(decoder: &mut Decoder<'_>, length: Option<u64>, read: usize) -> Option<bool> {
    if let Some(length) = length {
        return Some(u64::try_from(read).ok()? < length);
    }
    if decoder.datatype().ok()? != Type::Break {
        return Some(true);
    }
    decoder.skip().ok()?;
    Some(false)
}

/// A CBOR answer in the making. Nobody knows how many members follow when a structure begins, so that
/// all lengths are left open, as the protocol permits.
#[derive(Debug)]
pub struct Cbor {
    encoder: Encoder<Vec<u8>>,
}

impl Default for Cbor {
    fn default() -> Self {
        Self {
            encoder: Encoder::new(Vec::new()),
        }
    }
}

impl Cbor {
    /// The document.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.encoder.into_writer()
    }

    fn write<'a>(
        &'a mut self,
        write: impl FnOnce(
            &'a mut Encoder<Vec<u8>>,
        )
            -> Result<&'a mut Encoder<Vec<u8>>, minicbor::encode::Error<Infallible>>,
    ) {
        // Writing to a vector does not fail.
        let _ = write(&mut self.encoder);
    }
}

impl Sink for Cbor {
    fn begin(&mut self) {
        self.write(|out| out.begin_map());
    }

    fn end(&mut self) {
        self.write(|out| out.end());
    }

    fn name(&mut self, name: &str) {
        self.write(|out| out.str(name));
    }

    fn begin_list(&mut self, _item: &'static str) {
        self.write(|out| out.begin_array());
    }

    fn end_list(&mut self) {
        self.end();
    }

    fn begin_map(&mut self) {
        self.begin();
    }

    fn key(&mut self, key: &str) {
        self.name(key);
    }

    fn end_map(&mut self) {
        self.end();
    }

    fn text(&mut self, text: &str) {
        self.name(text);
    }

    fn boolean(&mut self, value: bool) {
        self.write(|out| out.bool(value));
    }

    fn integer(&mut self, value: i64) {
        self.write(|out| out.i64(value));
    }

    fn number(&mut self, value: f64) {
        self.write(|out| out.f64(value));
    }

    fn time(&mut self, time: Timestamp) {
        self.write(|out| out.tag(Tag::new(EPOCH)));
        if time.0 % 1000 == 0 {
            return self.integer(time.0 / 1000);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of this age are exact in a double"
        )]
        self.number(time.0 as f64 / 1000.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.write(|out| out.bytes(bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_read_with_and_without_lengths() {
        // {"a": 1, "b": [h'6869', 1.5 (half), true, null]}
        let definite = b"\xa2\x61a\x01\x61b\x84\x42hi\xf9\x3e\x00\xf5\xf6";
        let indefinite =
            b"\xbf\x61a\x01\x7f\x61b\xff\x9f\x5f\x41h\x41i\xff\xfa\x3f\xc0\x00\x00\xf5\xf6\xff\xff";
        let wanted = "Members([(\"a\", Integer(1)), (\"b\", List([Bytes([104, 105]), Number(1.5), Boolean(true), Null]))])";
        assert_eq!(format!("{:?}", decode(definite).unwrap()), wanted);
        assert_eq!(format!("{:?}", decode(indefinite).unwrap()), wanted);
        assert_eq!(decode(b"").unwrap(), Value::Members(Vec::new()));
    }

    #[test]
    fn times_have_a_tag() {
        for (bytes, millis) in [
            (&b"\xc1\x1a\x00\x00\x00\x02"[..], 2000),
            (b"\xc1\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00", 1500),
            (b"\xc1\x20", -1000),
        ] {
            assert_eq!(decode(bytes).unwrap(), Value::Time(Timestamp(millis)));
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let deep = [0x81; 1000];
        for body in [
            &b"\xa1"[..],
            b"\xa1\x01\x01",
            b"\xa0\xa0",
            b"\xff",
            b"\xc2\x41a",
            b"\x9f",
            &deep,
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(
                decode(body).unwrap_err().code(),
                "SerializationException",
                "{body:x?}"
            );
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut cbor = Cbor::default();
        cbor.begin();
        cbor.name("A");
        cbor.begin_list("member");
        cbor.number(0.5);
        cbor.integer(-7);
        cbor.end_list();
        cbor.name("B");
        cbor.time(Timestamp(1500));
        cbor.name("C");
        cbor.time(Timestamp(-3000));
        cbor.end();
        assert_eq!(
            format!("{:?}", decode(&cbor.finish()).unwrap()),
            "Members([(\"A\", List([Number(0.5), Integer(-7)])), (\"B\", Time(Timestamp(1500))), (\"C\", Time(Timestamp(-3000)))])"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
        }
    }
}
