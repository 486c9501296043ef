//! The front door: HTTP, SigV4, wire protocols, shapes generated from the AWS API models.
//!
//! A request is verified ([`sigv4`]), read whole and held against the support table ([`wire`],
//! [`generated`]) and the policy of its key ([`policy`]), and handed to its operation ([`ec2`],
//! [`logs`], [`monitoring`], [`sts`]). Every refusal of a parameter
//! happens in [`wire::schema`] and [`wire::conform`]; every AWS error of this crate is worded in [`error`]. What the
//! operations do is `enid-control`'s matter.

#![forbid(unsafe_code)]

pub mod acm;
pub mod context;
pub mod ec2;
pub mod elbv2;
pub mod error;
pub mod front;
pub mod generated;
mod handlers;
pub mod logs;
pub mod monitoring;
mod origin;
pub mod policy;
pub mod reply;
pub mod server;
pub mod sigv4;
pub mod sns;
pub mod sts;
pub mod throttle;
pub mod wire;
