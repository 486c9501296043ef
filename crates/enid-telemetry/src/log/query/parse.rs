//! The grammar of the query language: a text becomes a [`Plan`].
//!
//! Commands that the language has and Enid has not are refused by name.

use enid_model::time::Timestamp;
use regex::{Regex, RegexBuilder};

use super::expression::Expressions;
use super::lexer::{Lexer, QueryError, Token};
use super::plan::{Column, Expr, Parse, Plan, SortKey, Step};

impl Plan {
    /// Reads a query that is started at this time.
    pub fn parse(query: &str, now: Timestamp) -> Result<Self, QueryError> {
        let count = query.chars().count();
        if count > CHARACTERS_MAX {
            return Err(QueryError {
                message: format!("a query has {CHARACTERS_MAX} characters at most"),
                start: CHARACTERS_MAX,
                end: count,
            });
        }
        let mut lexer = Lexer::new(query, now)?;
        let mut steps = Vec::new();
        loop {
            steps.push(step(&mut lexer)?);
            if *lexer.peek() == Token::End {
                break;
            }
            lexer.expect("|")?;
        }
        Ok(Self { steps })
    }
}

/// Source: CloudWatch Logs API Reference, StartQuery.
const CHARACTERS_MAX: usize = 10_000;

fn step(lexer: &mut Lexer<'_>) -> Result<Step, QueryError> {
    let start = lexer.start();
    let Token::Name { text, .. } = lexer.peek().clone() else {
        return Err(lexer.unexpected("a command"));
    };
    let command = text.to_ascii_lowercase();
    if !COMMANDS.contains(&&*command) {
        let message = if OTHER_COMMANDS.contains(&&*command) {
            format!("Enid does not implement the command {command}")
        } else {
            format!("unknown command {text}")
        };
        return Err(lexer.error(message));
    }
    lexer.take()?;
    Ok(match &*command {
        "dedup" => Step::Dedup(list(lexer, |lexer| lexer.scalar())?),
        "display" => Step::Display(list(lexer, |lexer| column(lexer, false))?),
        "fields" => Step::Fields(list(lexer, |lexer| column(lexer, false))?),
        "filter" | "where" => Step::Filter(lexer.scalar()?),
        "limit" | "head" => Step::Limit(limit(lexer, start)?),
        "parse" => Step::Parse(parse(lexer)?),
        "sort" => Step::Sort(list(lexer, sort_key)?),
        _ => {
            let of = list(lexer, |lexer| column(lexer, true))?;
            let by = if lexer.eat_word("by")? {
                list(lexer, |lexer| column(lexer, false))?
            } else {
                Vec::new()
            };
            Step::Stats { of, by }
        }
    })
}

/// One or more, with commas between them.
fn list<T>(
    lexer: &mut Lexer<'_>,
    mut read: impl FnMut(&mut Lexer<'_>) -> Result<T, QueryError>,
) -> Result<Vec<T>, QueryError> {
    let mut all = vec![read(lexer)?];
    while lexer.eat(",")? {
        all.push(read(lexer)?);
    }
    Ok(all)
}

/// Something with its name; of a set of rows if it is in `stats`.
fn column(lexer: &mut Lexer<'_>, is_aggregate: bool) -> Result<Column, QueryError> {
    let start = lexer.start();
    let expr = if is_aggregate {
        lexer.aggregate()?
    } else {
        lexer.scalar()?
    };
    let written = lexer.text_since(start).trim().to_owned();
    if lexer.eat_word("as")? {
        let name = name(lexer)?;
        return Ok(Column { expr, name });
    }
    let name = match &expr {
        Expr::Field(field) => field.clone(),
        _ => written,
    };
    Ok(Column { expr, name })
}

fn name(lexer: &mut Lexer<'_>) -> Result<String, QueryError> {
    let wanted = lexer.unexpected("a name");
    match lexer.take()? {
        Token::Name { text, .. } => Ok(text),
        _ => Err(wanted),
    }
}

fn sort_key(lexer: &mut Lexer<'_>) -> Result<SortKey, QueryError> {
    let start = lexer.start();
    // After `stats`, an aggregate is the name of a column.
    let expr = lexer.aggregate()?;
    let name = lexer.text_since(start).trim().to_owned();
    let is_descending = lexer.eat_word("desc")?;
    if !is_descending {
        lexer.eat_word("asc")?;
    }
    Ok(SortKey {
        expr,
        name,
        is_descending,
    })
}

fn limit(lexer: &mut Lexer<'_>, start: usize) -> Result<usize, QueryError> {
    let wanted = lexer.unexpected("a number");
    let Token::Number(number) = lexer.take()? else {
        return Err(wanted);
    };
    // A whole number is written without a point.
    let rows = number.to_string().parse().ok();
    let rows = rows.filter(|rows| (1..=LIMIT_MAX).contains(rows));
    rows.ok_or_else(|| lexer.error_since(format!("a limit is from 1 to {LIMIT_MAX}"), start))
}

/// Rows that a query may show.
/// Source: CloudWatch Logs User Guide, "limit".
pub(super) const LIMIT_MAX: usize = 10_000;

/// `parse @message "user=* id=*" as user, id`, or with an expression whose groups have names.
fn parse(lexer: &mut Lexer<'_>) -> Result<Parse, QueryError> {
    let is_pattern = |token: &Token| matches!(token, Token::Text(_) | Token::Symbol("/"));
    let source = if is_pattern(lexer.peek()) {
        Expr::Field("@message".to_owned())
    } else {
        Expr::Field(name(lexer)?)
    };
    let start = lexer.start();
    if let Some(text) = lexer.regex()? {
        let regex = regex(lexer, &text, start)?;
        let names: Vec<String> = regex
            .capture_names()
            .skip(1)
            .flatten()
            .map(str::to_owned)
            .collect();
        let unnamed = regex.captures_len() - 1 - names.len();
        if names.is_empty() || unnamed > 0 {
            let message = "each group of the expression needs a name: (?<name>…)";
            return Err(lexer.error_since(message.to_owned(), start));
        }
        return Ok(Parse {
            source,
            regex,
            names,
        });
    }
    let wanted = lexer.unexpected("a pattern");
    let Token::Text(glob) = lexer.take()? else {
        return Err(wanted);
    };
    let parts: Vec<&str> = glob.split('*').collect();
    let text = parts.iter().map(|part| regex::escape(part));
    // A part is as short as what follows it allows; the last one goes to the end.
    let text = text.collect::<Vec<_>>().join("(.*?)");
    let text = if glob.ends_with('*') {
        format!("(?s){text}$")
    } else {
        format!("(?s){text}")
    };
    let regex = regex(lexer, &text, start)?;
    if !lexer.eat_word("as")? {
        return Err(lexer.unexpected("as"));
    }
    let names = list(lexer, name)?;
    if names.len() != parts.len() - 1 {
        let message = format!(
            "the pattern has {} asterisks, and {} names are given",
            parts.len() - 1,
            names.len()
        );
        return Err(lexer.error_since(message, start));
    }
    Ok(Parse {
        source,
        regex,
        names,
    })
}

/// A regular expression of a query. What is linear in the text is possible: no look-around and no
/// back-references.
pub(super) fn regex(lexer: &Lexer<'_>, text: &str, start: usize) -> Result<Regex, QueryError> {
    let regex = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    regex.map_err(|_said| {
        let message = format!("/{text}/ is no regular expression that is supported");
        lexer.error_since(message, start)
    })
}

const REGEX_BYTES_MAX: usize = 1 << 21;

const COMMANDS: [&str; 10] = [
    "dedup", "display", "fields", "filter", "head", "limit", "parse", "sort", "stats", "where",
];

/// What the language has beside them.
const OTHER_COMMANDS: [&str; 25] = [
    "accum",
    "addtotals",
    "anomaly",
    "appendcols",
    "autoregress",
    "cidrlookup",
    "countfrequent",
    "diff",
    "estimate",
    "filldown",
    "fillmissing",
    "filterindex",
    "join",
    "logcompare",
    "lookup",
    "outlier",
    "pattern",
    "sessionize",
    "source",
    "subquery",
    "tail",
    "transaction",
    "unmask",
    "unnest",
    "union",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        let plan = Plan::parse(query, Timestamp(0)).expect(query);
        let columns = plan.steps.into_iter().flat_map(|step| match step {
            Step::Display(columns) | Step::Fields(columns) => columns,
            Step::Stats { of, by } => [of, by].concat(),
            _ => Vec::new(),
        });
        columns.map(|column| column.name).collect()
    }

    #[test]
    fn columns_are_named_as_they_are_written() {
        for (query, expected) in [
            (
                "fields @timestamp, `x-y`, a + b as c",
                &["@timestamp", "x-y", "c"][..],
            ),
            (
                "stats count(*), pct(a, 95) as p95, sum(bytes) / 1024 by bin(5m), host",
                &["count(*)", "p95", "sum(bytes) / 1024", "bin(5m)", "host"],
            ),
            ("fields a | display b, strlen(c)", &["a", "b", "strlen(c)"]),
        ] {
            assert_eq!(names(query), expected, "{query}");
        }
    }

    #[test]
    fn commands_become_steps() {
        let query = "fields @timestamp, @message # all\n| filter @message like /x/ \
                     | parse @message \"a=*, b=*\" as a, b | sort a desc, b | dedup a | limit 20";
        let plan = Plan::parse(query, Timestamp(0)).expect(query);
        let [
            _,
            Step::Filter(_),
            Step::Parse(parse),
            Step::Sort(keys),
            Step::Dedup(_),
            Step::Limit(20),
        ] = &plan.steps[..]
        else {
            panic!("{plan:?}");
        };
        assert_eq!(parse.names, ["a", "b"]);
        let order: Vec<_> = keys.iter().map(|key| key.is_descending).collect();
        assert_eq!(order, [true, false]);
        let parsed = parse.regex.captures("x a=1, b=2 3");
        let parsed = parsed.map(|it| (it[1].to_owned(), it[2].to_owned()));
        assert_eq!(parsed, Some(("1".to_owned(), "2 3".to_owned())));
    }

    #[test]
    fn other_queries_say_what_is_wrong_and_where() {
        for (query, part, start) in [
            ("", "expected a command", 0),
            ("frobnicate x", "unknown command frobnicate", 0),
            (
                "fields a | pattern @message",
                "Enid does not implement the command pattern",
                11,
            ),
            ("fields a b", "unexpected b", 9),
            ("fields a |", "expected a command", 10),
            ("limit 0", "a limit is from 1 to 10000", 0),
            ("limit 10001", "a limit is from 1 to 10000", 0),
            ("limit x", "unexpected x, expected a number", 6),
            ("parse \"a=*\" as a, b", "1 asterisks, and 2 names", 6),
            ("parse @message /(a)/", "needs a name", 15),
            ("parse @message /(?=a)(?<b>a)/", "no regular expression", 15),
            ("filter count(*) > 1", "count", 7),
            ("filter nothing(a)", "unknown function nothing", 7),
            ("filter strlen(a, b)", "strlen takes 1", 7),
            ("stats bin(5parsec)", "parsec", 10),
        ] {
            let error = Plan::parse(query, Timestamp(0)).expect_err(query);
            assert!(error.message.contains(part), "{query}: {error}");
            assert_eq!(error.start, start, "{query}: {error}");
        }
    }
}
