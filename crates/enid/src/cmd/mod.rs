//! One file per command.

pub(crate) mod adopt;
pub(crate) mod capture;
pub(crate) mod check;
pub(crate) mod counters;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod fault;
pub(crate) mod flows;
pub(crate) mod key;
pub(crate) mod nat;
pub(crate) mod release;
pub(crate) mod serve;
pub(crate) mod tap;
pub(crate) mod top;
pub(crate) mod verify;

/// The exit code of a wrong use.
pub(crate) const USAGE: u8 = 2;
