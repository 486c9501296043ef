//! The query protocols: reading forms, writing XML.

pub mod envelope;
pub mod form;
pub mod instant;
pub mod params;
pub mod prepared;
pub mod schema;
pub mod text;
pub mod xml;
