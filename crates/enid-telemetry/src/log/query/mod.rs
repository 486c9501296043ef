//! The query language of Logs Insights: [`lexer`], [`expression`] and [`parse`] make a typed
//! [`plan`] of a text, a [`pipeline`] carries it out, event by event, and the [`registry`] knows
//! which queries there are.
//! Source: CloudWatch Logs User Guide, "CloudWatch Logs Insights query syntax".

mod aggregate;
mod evaluate;
mod expression;
mod function;
mod lexer;
mod parse;
pub mod pipeline;
pub mod plan;
pub mod registry;
mod row;
mod value;

pub use function::{Aggregate, Function};
pub use lexer::QueryError;
pub use row::Source;
