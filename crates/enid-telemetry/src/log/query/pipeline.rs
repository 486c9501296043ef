//! A plan at work: events go in, one after another, and rows come out.
//!
//! Steps that look at one row at a time keep nothing. Those that look at several keep what they need,
//! up to a bound: a query that needs more fails, it does not answer something else.

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate::Accumulators;
use super::parse::LIMIT_MAX;
use super::plan::{Column, Expr, Parse, Plan, SortKey, Step};
use super::row::{Row, Source};
use super::value::Value;

/// What a query answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The rows: names and values of the columns that have one.
    pub rows: Vec<Vec<(String, String)>>,
    /// How many events passed the filters before anything was made of them.
    pub matched: u64,
}

/// A query would have to keep too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the query keeps more than {KEPT_MAX} rows")]
pub struct TooMuch;

/// A plan at work.
pub struct Pipeline {
    stages: Vec<Stage>,
    /// How many of the stages come before anything is made of the events.
    first: usize,
    matched: u64,
    shown: Vec<String>,
    out: Out,
}

/// The rows that have come through.
struct Out {
    rows: Vec<Row>,
    limit: usize,
}

enum Stage {
    Dedup {
        keys: Vec<Expr>,
        seen: BTreeSet<Vec<Option<String>>>,
    },
    Fields(Vec<Column>),
    Filter(Expr),
    Limit(usize),
    Parse(Parse),
    Sort {
        keys: Vec<SortKey>,
        rows: Vec<Row>,
        /// So many are wanted at most.
        wanted: usize,
    },
    Stats {
        of: Vec<Column>,
        by: Vec<Column>,
        sets: BTreeMap<Vec<Option<String>>, Set>,
    },
}

/// What is reckoned of the rows that agree.
struct Set {
    by: Vec<Value>,
    of: Vec<Accumulators>,
}

/// Rows, sets or keys that a step may keep.
const KEPT_MAX: usize = 200_000;

impl Pipeline {
    /// A plan whose outcome has so many rows at most.
    #[must_use]
    pub fn new(plan: &Plan, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
        let mut stages = Vec::new();
        for (at, step) in plan.steps.iter().enumerate() {
            stages.push(match step {
                Step::Dedup(keys) => Stage::Dedup {
                    keys: keys.clone(),
                    seen: BTreeSet::new(),
                },
                // What is only shown has no step to take.
                Step::Display(columns) | Step::Fields(columns) => Stage::Fields(columns.clone()),
                Step::Filter(expr) => Stage::Filter(expr.clone()),
                Step::Limit(rows) => Stage::Limit(*rows),
                Step::Parse(parse) => Stage::Parse(parse.clone()),
                Step::Sort(keys) => Stage::Sort {
                    keys: keys.clone(),
                    rows: Vec::new(),
                    wanted: wanted(&plan.steps[at + 1..], limit),
                },
                Step::Stats { of, by } => Stage::Stats {
                    of: of.clone(),
                    by: by.clone(),
                    sets: BTreeMap::new(),
                },
            });
        }
        let is_of_one =
            |stage: &&Stage| matches!(stage, Stage::Fields(_) | Stage::Filter(_) | Stage::Parse(_));
        Self {
            first: stages.iter().take_while(is_of_one).count(),
            stages,
            matched: 0,
            shown: shown(plan),
            out: Out {
                rows: Vec::new(),
                limit,
            },
        }
    }

    /// Whether it matters in which order events go in: the latest first.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        // Of those that reckon, the earliest and latest go by time.
        !self
            .stages
            .get(self.first)
            .is_some_and(|stage| matches!(stage, Stage::Stats { .. }))
    }

    /// Takes an event. Whether more could change the outcome.
    pub fn push(&mut self, source: Source) -> Result<bool, TooMuch> {
        let (before, after) = self.stages.split_at_mut(self.first);
        let mut row = Row::of(source);
        for stage in before {
            if !stage.passes(&mut row) {
                return Ok(true);
            }
        }
        self.matched += 1;
        push(after, row, &mut self.out)
    }

    /// The outcome.
    pub fn finish(mut self) -> Result<Outcome, TooMuch> {
        finish(&mut self.stages, &mut self.out)?;
        let shown = &self.shown;
        let rows = self.out.rows.iter().map(|row| {
            let columns = shown.iter().filter_map(|name| {
                let value = row.field(name);
                value
                    .is_present()
                    .then(|| (name.clone(), value.to_string()))
            });
            let pointer = row.pointer().map(|it| ("@ptr".to_owned(), it.to_owned()));
            columns
                .filter(|(name, _)| name != "@ptr")
                .chain(pointer)
                .collect()
        });
        Ok(Outcome {
            rows: rows.collect(),
            matched: self.matched,
        })
    }
}

impl Stage {
    /// Whether a row goes on, of a step that looks at one at a time.
    fn passes(&self, row: &mut Row) -> bool {
        match self {
            Self::Fields(columns) => {
                for Column { expr, name } in columns {
                    if !matches!(expr, Expr::Field(field) if field == name) {
                        let value = expr.value(row);
                        row.name(name, value);
                    }
                }
                true
            }
            Self::Filter(expr) => expr.value(row).is_true(),
            Self::Parse(parse) => {
                let text = parse.source.value(row).text().unwrap_or_default();
                if let Some(found) = parse.regex.captures(&text) {
                    // Groups are named in their order, so the first name is that of the first group.
                    for (name, group) in parse.names.iter().zip(found.iter().skip(1)) {
                        if let Some(group) = group {
                            row.name(name, Value::Text(group.as_str().to_owned()));
                        }
                    }
                }
                true
            }
            _ => true,
        }
    }
}

/// How many rows the steps behind a `sort` can use.
fn wanted(behind: &[Step], limit: usize) -> usize {
    match behind {
        [] => limit,
        [Step::Limit(rows), ..] => *rows,
        [
            Step::Display(_) | Step::Fields(_) | Step::Parse(_),
            behind @ ..,
        ] => wanted(behind, limit),
        _ => usize::MAX,
    }
}

/// The columns of the outcome.
fn shown(plan: &Plan) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut displayed = None;
    let mut is_chosen = false;
    for step in &plan.steps {
        let names = |columns: &[Column]| {
            let names = columns.iter().map(|column| column.name.clone());
            names.collect::<Vec<_>>()
        };
        let (new, chooses) = match step {
            Step::Display(columns) => {
                displayed = Some(names(columns));
                continue;
            }
            Step::Fields(columns) => (names(columns), true),
            Step::Parse(parse) => (parse.names.clone(), false),
            Step::Stats { of, by } => {
                shown.clear();
                ([names(by), names(of)].concat(), true)
            }
            _ => continue,
        };
        is_chosen |= chooses;
        for name in new {
            if !shown.contains(&name) {
                shown.push(name);
            }
        }
    }
    if let Some(displayed) = displayed {
        return displayed;
    }
    if !is_chosen {
        let usual = ["@timestamp", "@message"].map(str::to_owned);
        shown.splice(0..0, usual);
    }
    shown
}

/// Sends a row through the stages. Whether more could change the outcome.
fn push(stages: &mut [Stage], mut row: Row, out: &mut Out) -> Result<bool, TooMuch> {
    let Some((stage, rest)) = stages.split_first_mut() else {
        if out.rows.len() < out.limit {
            out.rows.push(row);
        }
        return Ok(out.rows.len() < out.limit);
    };
    match stage {
        Stage::Dedup { keys, seen } => {
            let key = keys.iter().map(|key| key.value(&row).text()).collect();
            // Rows that lack one of the fields are kept, as on AWS.
            let key: Vec<Option<String>> = key;
            if key.iter().any(Option::is_none) || seen.insert(key) {
                if seen.len() > KEPT_MAX {
                    return Err(TooMuch);
                }
                return push(rest, row, out);
            }
            Ok(true)
        }
        Stage::Limit(0) => Ok(false),
        Stage::Limit(left) => {
            *left -= 1;
            let is_open = *left > 0;
            Ok(push(rest, row, out)? && is_open)
        }
        Stage::Sort { keys, rows, wanted } => {
            rows.push(row);
            if rows.len() > wanted.saturating_mul(2).max(SORTED_MIN) {
                sort(keys, rows);
                rows.truncate(*wanted);
            }
            if rows.len() > KEPT_MAX {
                return Err(TooMuch);
            }
            Ok(true)
        }
        Stage::Stats { of, by, sets } => {
            let values: Vec<Value> = by.iter().map(|column| column.expr.value(&row)).collect();
            let key = values.iter().map(Value::text).collect();
            let set = sets.entry(key).or_insert_with(|| Set {
                by: values,
                of: of
                    .iter()
                    .map(|column| Accumulators::new(&column.expr))
                    .collect(),
            });
            for (column, accumulators) in of.iter().zip(&mut set.of) {
                accumulators.add(&column.expr, &row);
            }
            if sets.len() > KEPT_MAX {
                return Err(TooMuch);
            }
            Ok(true)
        }
        Stage::Fields(_) | Stage::Filter(_) | Stage::Parse(_) => match stage.passes(&mut row) {
            true => push(rest, row, out),
            false => Ok(true),
        },
    }
}

/// Rows that are kept before it is worth sorting them to drop some.
const SORTED_MIN: usize = 4096;

/// Tells the stages that no more rows come.
fn finish(stages: &mut [Stage], out: &mut Out) -> Result<(), TooMuch> {
    let Some((stage, rest)) = stages.split_first_mut() else {
        return Ok(());
    };
    let rows = match stage {
        Stage::Sort { keys, rows, .. } => {
            sort(keys, rows);
            std::mem::take(rows)
        }
        Stage::Stats { of, by, sets } => {
            if by.is_empty() && sets.is_empty() {
                // Of no rows, too, there is a count.
                let set = Set {
                    by: Vec::new(),
                    of: of
                        .iter()
                        .map(|column| Accumulators::new(&column.expr))
                        .collect(),
                };
                sets.insert(Vec::new(), set);
            }
            let sets = std::mem::take(sets);
            let rows = sets.into_values().map(|mut set| {
                let mut named = BTreeMap::new();
                for (column, value) in by.iter().zip(set.by) {
                    named.insert(column.name.clone(), value);
                }
                for (column, accumulators) in of.iter().zip(&mut set.of) {
                    named.insert(column.name.clone(), accumulators.value(&column.expr));
                }
                Row::reckoned(named)
            });
            rows.collect()
        }
        _ => Vec::new(),
    };
    for row in rows {
        if !push(rest, row, out)? {
            break;
        }
    }
    finish(rest, out)
}

fn sort(keys: &[SortKey], rows: &mut Vec<Row>) {
    let value = |key: &SortKey, row: &Row| {
        // After `stats` a column goes by what it was written as.
        let named = row.field(&key.name);
        if named.is_present() {
            named
        } else {
            key.expr.value(row)
        }
    };
    let mut keyed: Vec<(Vec<Value>, Row)> = std::mem::take(rows)
        .into_iter()
        .map(|row| (keys.iter().map(|key| value(key, &row)).collect(), row))
        .collect();
    keyed.sort_by(|(one, _), (other, _)| {
        let orders = keys.iter().zip(one.iter().zip(other));
        // What is missing is last either way.
        let mut orders = orders.map(|(key, (one, other))| {
            let is_whole = one.is_present() && other.is_present();
            match key.is_descending && is_whole {
                true => other.order(one),
                false => one.order(other),
            }
        });
        orders
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    rows.extend(keyed.into_iter().map(|(_, row)| row));
}

#[cfg(test)]
mod tests {
    use enid_model::time::Timestamp;

    use super::super::row::tests::source;
    use super::*;

    /// The outcome of a query over these events, the latest first, as lines of values.
    fn answer(query: &str, limit: Option<usize>) -> Vec<String> {
        let messages = [
            r#"{"host": "a", "ms": 5, "level": "INFO"}"#,
            r#"{"host": "b", "ms": 50, "level": "ERROR"}"#,
            r#"{"host": "a", "ms": 20, "level": "ERROR"}"#,
            r#"{"host": "c", "ms": 1, "level": "INFO"}"#,
            "user=bob id=7 done",
        ];
        let plan = Plan::parse(query, Timestamp(0)).expect(query);
        let mut pipeline = Pipeline::new(&plan, limit);
        for (at, message) in messages.iter().enumerate().rev() {
            let at = i64::try_from(at).expect("small") * 60_000;
            if !pipeline.push(source(at, message)).expect("little is kept") {
                break;
            }
        }
        let outcome = pipeline.finish().expect("little is kept");
        let rows = outcome.rows.into_iter().map(|row| {
            let values = row.into_iter().filter(|(name, _)| name != "@ptr");
            values.map(|(_, value)| value).collect::<Vec<_>>().join(" ")
        });
        rows.collect()
    }

    #[test]
    fn queries_are_answered() {
        for (query, expected) in [
            ("fields host | limit 2", &["", "c"][..]),
            (
                "fields host | filter ispresent(host) | limit 2",
                &["c", "a"],
            ),
            (
                "filter level = \"ERROR\" | display host, ms",
                &["a 20", "b 50"],
            ),
            ("fields ms | filter ms > 1 | sort ms", &["5", "20", "50"]),
            (
                "fields host, ms | sort host desc, ms asc | limit 3",
                &["c 1", "b 50", "a 5"],
            ),
            (
                "filter ispresent(host) | stats count(*) as n, max(ms) by host | sort n desc, host",
                &["a 2 20", "b 1 50", "c 1 1"],
            ),
            (
                "stats count(*) by bin(2m) | sort bin(2m)",
                &[
                    "1970-01-01 00:00:00.000 2",
                    "1970-01-01 00:02:00.000 2",
                    "1970-01-01 00:04:00.000 1",
                ],
            ),
            (
                "stats count(*) by level | sort count(*) desc | limit 1",
                &["ERROR 2"],
            ),
            ("filter host = \"nobody\" | stats count(*), sum(ms)", &["0"]),
            (
                "filter ispresent(host) | dedup host | display host, ms",
                &["c 1", "a 20", "b 50"],
            ),
            (
                "parse \"user=* id=* \" as user, id | filter ispresent(user) | display user, id",
                &["bob 7"],
            ),
            (
                "parse @message /id=(?<id>\\d+)/ | filter id = 7 | display id",
                &["7"],
            ),
            (
                "fields ms * 2 as twice | filter twice = 100 | display twice",
                &["100"],
            ),
            (
                "fields jsonParse(@message) as m | filter m.ms > 5 | stats count() by m.host",
                &["a 1", "b 1"],
            ),
            (
                "filter ispresent(ms) | stats sum(ms) as total by host | stats max(total) as most",
                &["50"],
            ),
        ] {
            assert_eq!(answer(query, None), expected, "{query}");
        }
        assert_eq!(answer("fields host | sort host", Some(1)), ["a"]);
    }

    #[test]
    fn columns_are_shown_as_documented() {
        for (query, expected) in [
            ("filter a = 1", &["@timestamp", "@message"][..]),
            (
                "parse @message \"a=*\" as a",
                &["@timestamp", "@message", "a"],
            ),
            ("fields a, b | fields b, c", &["a", "b", "c"]),
            ("fields a | display b", &["b"]),
            ("fields a | stats count(*) as n by b", &["b", "n"]),
        ] {
            let plan = Plan::parse(query, Timestamp(0)).expect(query);
            assert_eq!(shown(&plan), expected, "{query}");
        }
    }

    #[test]
    fn a_query_that_keeps_too_much_fails() {
        let plan = Plan::parse("stats count(*) by @timestamp", Timestamp(0)).expect("a plan");
        let mut pipeline = Pipeline::new(&plan, None);
        assert!(!pipeline.is_ordered());
        let outcome = (0..)
            .map(|at| pipeline.push(source(at, "x")))
            .find(Result::is_err);
        assert_eq!(outcome, Some(Err(TooMuch)));
        // What a limit follows keeps no more than that.
        let plan = Plan::parse(
            "fields @timestamp | sort @timestamp | limit 1",
            Timestamp(0),
        )
        .expect("a plan");
        let mut pipeline = Pipeline::new(&plan, None);
        for at in (0..20_000).rev() {
            assert_eq!(pipeline.push(source(at, "x")), Ok(true));
        }
        let outcome = pipeline.finish().expect("an outcome");
        assert_eq!((outcome.rows.len(), outcome.matched), (1, 20_000));
        assert_eq!(outcome.rows[0][0].1, "1970-01-01 00:00:00.000");
    }
}
