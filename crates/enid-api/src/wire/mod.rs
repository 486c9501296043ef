//! The wire protocols: forms and XML, JSON, CBOR.
//!
//! EC2's requests go from their form straight to their structures ([`schema`], [`params`]) and its
//! answers straight to XML ([`xml`]). All other services have one form of request and answer for all
//! protocols ([`value`], [`answer`]), with a decoder and an encoder for each ([`query`], [`json`],
//! [`cbor`]).

pub mod answer;
pub mod cbor;
pub mod conform;
pub mod envelope;
pub mod event_stream;
pub mod form;
pub mod input;
pub mod instant;
pub mod json;
pub mod params;
pub mod prepared;
pub mod query;
pub mod schema;
pub mod text;
pub mod value;
pub mod words;
pub mod xml;
