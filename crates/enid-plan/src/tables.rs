//! The tables of one host's datapath, and how two sets of them differ.
//!
//! They are the pipeline's own types, so that what is planned is what a packet meets.

pub use enid_pipeline::table_set::{Change, TableDiff, TableSet as Tables};
