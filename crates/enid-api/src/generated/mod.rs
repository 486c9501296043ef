//! Shapes generated from the API models by `cargo xtask codegen`, for what `support.txt` lists.

pub mod acm;
pub mod cloudwatch;
pub mod ec2;
pub mod elbv2;
pub mod logs;
pub mod sns;
pub mod sts;
