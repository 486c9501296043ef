//! The query language of Logs Insights: [`lexer`] and [`parse`] make a typed [`plan`] of a text.
//! Source: CloudWatch Logs User Guide, "CloudWatch Logs Insights query syntax".

mod expression;
mod function;
mod lexer;
mod parse;
pub mod plan;

pub use function::{Aggregate, Function};
pub use lexer::QueryError;
