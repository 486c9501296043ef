//! What a query asks for, step by step.

use regex::Regex;

use super::function::{Aggregate, Function};

/// A query that can be carried out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is done to the events, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps the first row of each set of rows that agree.
    Dedup(Vec<Expr>),
    /// These columns and no others are shown.
    Display(Vec<Column>),
    /// These columns are shown, too.
    Fields(Vec<Column>),
    /// Keeps the rows for which it is true.
    Filter(Expr),
    /// Keeps the first rows.
    Limit(usize),
    /// Makes fields from parts of a text.
    Parse(Parse),
    /// Orders the rows.
    Sort(Vec<SortKey>),
    /// Makes one row of each set of rows.
    Stats {
        /// What is reckoned.
        of: Vec<Column>,
        /// What the rows of a set agree in.
        by: Vec<Column>,
    },
}

/// Something that is reckoned, and its name.
#[derive(Debug, Clone)]
pub struct Column {
    /// What it is.
    pub expr: Expr,
    /// Its alias, or how it is written.
    pub name: String,
}

/// What rows are ordered by.
#[derive(Debug, Clone)]
pub struct SortKey {
    /// What is compared.
    pub expr: Expr,
    /// How it is written.
    pub name: String,
    /// Whether the greatest comes first.
    pub is_descending: bool,
}

/// Makes fields from parts of a text.
#[derive(Debug, Clone)]
pub struct Parse {
    /// The text.
    pub source: Expr,
    /// Which parts, by group of the expression.
    pub regex: Regex,
    /// The fields' names, in the order of the groups.
    pub names: Vec<String>,
}

/// Something that is reckoned for a row, or in a [`Step::Stats`] for a set of rows.
#[derive(Debug, Clone)]
pub enum Expr {
    /// What is in a map or list, where keys lead.
    Access(Box<Self>, Vec<Key>),
    /// Of all rows of a set.
    Aggregate(Aggregate, Vec<Self>),
    /// Both hold.
    And(Box<Self>, Box<Self>),
    /// Of two numbers.
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    /// Of other values.
    Call(Function, Vec<Self>),
    /// Whether two values compare so.
    Compare(Comparison, Box<Self>, Box<Self>),
    /// The value of a field.
    Field(String),
    /// Whether a value is one of several.
    In(Box<Self>, Vec<Self>),
    /// Whether a text has a part.
    Like(Box<Self>, Likeness),
    /// The other sign.
    Negative(Box<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A number.
    Number(f64),
    /// One of them holds.
    Or(Box<Self>, Box<Self>),
    /// A length of time.
    Period(Period),
    /// A text.
    Text(String),
}

/// What leads into a map or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The place in a list, from 0 on.
    Index(usize),
    /// The name of a member of a map.
    Name(String),
}

/// What a text is held against.
#[derive(Debug, Clone)]
pub enum Likeness {
    /// A regular expression.
    Regex(Regex),
    /// A part of it.
    Text(String),
}

/// An operation with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Divide,
    Multiply,
    Power,
    Remainder,
    Subtract,
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
}

/// A length of time: so many milliseconds, or so many months.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// As long as it says.
    Milliseconds(i64),
    /// As long as the calendar says.
    Months(i64),
}

impl Period {
    /// A number with a unit, if the unit is one.
    #[must_use]
    pub fn new(count: u64, unit: &str) -> Option<Self> {
        let count = i64::try_from(count).ok().filter(|count| *count > 0)?;
        let (length, is_months) = match unit {
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => (1, false),
            "s" | "sec" | "secs" | "second" | "seconds" => (1_000, false),
            "m" | "min" | "mins" | "minute" | "minutes" => (60_000, false),
            "h" | "hr" | "hrs" | "hour" | "hours" => (3_600_000, false),
            "d" | "day" | "days" => (86_400_000, false),
            "w" | "week" | "weeks" => (7 * 86_400_000, false),
            "mo" | "mon" | "month" | "months" => (1, true),
            "q" | "qtr" | "quarter" | "quarters" => (3, true),
            "y" | "yr" | "year" | "years" => (12, true),
            _ => return None,
        };
        let total = count.checked_mul(length)?;
        Some(if is_months {
            Self::Months(total)
        } else {
            Self::Milliseconds(total)
        })
    }
}
