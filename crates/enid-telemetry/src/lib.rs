//! What packets did and what people say of it: flow records, log events and datapoints, stored as Arrow
//! batches and Parquet files, kept within bounds, and read again.

#![forbid(unsafe_code)]

pub mod metric;
