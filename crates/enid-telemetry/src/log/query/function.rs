//! The functions of the query language: their names and how many arguments they take.

use std::ops::RangeInclusive;

macro_rules! functions {
    ($(#[$doc:meta])* enum $set:ident $($name:ident = $word:literal, $arguments:expr;)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $(#[doc = concat!("`", $word, "`.")] $name,)*
        }

        impl $set {
            /// The one with a name, whatever the name's case, and how many arguments it takes.
            pub(super) fn named(name: &str) -> Option<(Self, RangeInclusive<usize>)> {
                let all = [$((Self::$name, $word, $arguments),)*];
                let mut all = all.into_iter();
                let found = all.find(|(_, word, _)| word.eq_ignore_ascii_case(name));
                found.map(|(it, _, arguments)| (it, arguments))
            }
        }
    };
}

/// As many as one likes.
const MANY: usize = 100;

functions! {
    /// What is reckoned of all rows of a set.
    enum Aggregate
    Average = "avg", 1..=1;
    Count = "count", 0..=1;
    CountDistinct = "count_distinct", 1..=1;
    Earliest = "earliest", 1..=1;
    Latest = "latest", 1..=1;
    Maximum = "max", 1..=1;
    Minimum = "min", 1..=1;
    Percentile = "pct", 2..=2;
    SortsFirst = "sortsFirst", 1..=1;
    SortsLast = "sortsLast", 1..=1;
    StandardDeviation = "stddev", 1..=1;
    Sum = "sum", 1..=1;
}

functions! {
    /// What is reckoned of the values of one row.
    enum Function
    Absolute = "abs", 1..=1;
    Bin = "bin", 1..=1;
    Ceiling = "ceil", 1..=1;
    Coalesce = "coalesce", 1..=MANY;
    Concat = "concat", 1..=MANY;
    DateCeiling = "dateceil", 2..=2;
    DateFloor = "datefloor", 2..=2;
    Floor = "floor", 1..=1;
    FromMillis = "fromMillis", 1..=1;
    Greatest = "greatest", 1..=MANY;
    IsBlank = "isblank", 1..=1;
    IsEmpty = "isempty", 1..=1;
    IsIpInSubnet = "isIpInSubnet", 2..=2;
    IsIpv4InSubnet = "isIpv4InSubnet", 2..=2;
    IsIpv6InSubnet = "isIpv6InSubnet", 2..=2;
    IsPresent = "ispresent", 1..=1;
    IsValidIp = "isValidIp", 1..=1;
    IsValidIpv4 = "isValidIpV4", 1..=1;
    IsValidIpv6 = "isValidIpV6", 1..=1;
    JsonParse = "jsonParse", 1..=1;
    JsonStringify = "jsonStringify", 1..=1;
    Least = "least", 1..=MANY;
    Logarithm = "log", 1..=1;
    Lower = "tolower", 1..=1;
    Now = "now", 0..=0;
    Replace = "replace", 3..=3;
    SquareRoot = "sqrt", 1..=1;
    TextContains = "strcontains", 2..=2;
    TextLength = "strlen", 1..=1;
    Substring = "substr", 2..=3;
    ToMillis = "toMillis", 1..=1;
    Trim = "trim", 1..=2;
    TrimLeft = "ltrim", 1..=2;
    TrimRight = "rtrim", 1..=2;
    Upper = "toupper", 1..=1;
}
