//! CloudWatch, version 2010-08-01.

pub mod operations;
