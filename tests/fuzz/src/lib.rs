//! What is fuzzed: one function per parser of outside bytes, each with what must hold of it.
//!
//! A target takes any bytes and panics if something is wrong: if the code under it panics, or if a
//! second, independent reading disagrees. `fuzz/` runs them under libFuzzer; this crate's test runs
//! them briefly over the same corpus, mutated from a seed ([`mutate`]).
#![forbid(unsafe_code)]

mod authorization;
mod filter;
mod filter_policy;
mod form;
mod front;
mod id;
mod logs;
mod monitoring;
pub mod mutate;
mod network;
pub mod packet;
mod policy;
mod record;
mod services;
mod session;

pub use authorization::authorization;
pub use filter::filter;
pub use filter_policy::filter_policy;
pub use form::{form, request};
pub use front::front;
pub use id::id;
pub use logs::{log_pattern, log_query};
pub use monitoring::{dashboard, widget};
pub use packet::packet;
pub use policy::policy;
pub use record::{key, record};
pub use services::{dns, imds};
pub use session::session;

/// A function that holds its parser against any bytes.
pub type Target = fn(&[u8]);

/// All targets by name, which is also that of their directory under `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("authorization", authorization),
    ("dashboard", dashboard),
    ("dns", dns),
    ("filter", filter),
    ("filter_policy", filter_policy),
    ("form", form),
    ("front", front),
    ("id", id),
    ("imds", imds),
    ("key", key),
    ("log_pattern", log_pattern),
    ("log_query", log_query),
    ("packet", packet),
    ("policy", policy),
    ("record", record),
    ("request", request),
    ("session", session),
    ("widget", widget),
];
