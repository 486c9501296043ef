//! What is reckoned of a set of rows.

use std::collections::BTreeSet;

use super::evaluate::reckon;
use super::function::Aggregate;
use super::plan::Expr;
use super::row::Row;
use super::value::Value;

/// The aggregates of one column, in the order in which its expression has them.
#[derive(Debug)]
pub(super) struct Accumulators(Vec<Accumulator>);

#[derive(Debug)]
struct Accumulator {
    aggregate: Aggregate,
    count: f64,
    sum: f64,
    /// Of the squares of the distances from the mean: Welford's way.
    squares: f64,
    mean: f64,
    best: Value,
    /// When the best was, for those that go by time.
    best_at: Option<i64>,
    numbers: Vec<f64>,
    distinct: BTreeSet<String>,
    percentile: f64,
}

impl Accumulators {
    pub(super) fn new(expr: &Expr) -> Self {
        let mut all = Vec::new();
        visit(expr, &mut |aggregate, arguments| {
            let percentile = match arguments.get(1) {
                Some(Expr::Number(number)) => *number,
                _ => 0.0,
            };
            all.push(Accumulator::new(aggregate, percentile));
        });
        Self(all)
    }

    pub(super) fn add(&mut self, expr: &Expr, row: &Row) {
        let mut all = self.0.iter_mut();
        visit(expr, &mut |_, arguments| {
            if let Some(accumulator) = all.next() {
                accumulator.add(arguments.first().map(|it| it.value(row)), row);
            }
        });
    }

    /// What the expression is worth for the set.
    pub(super) fn value(&mut self, expr: &Expr) -> Value {
        let mut values = self.0.iter_mut().map(Accumulator::value);
        let mut next = || values.next().unwrap_or(Value::Missing);
        worth(expr, &mut next)
    }
}

/// Shows each aggregate of an expression.
fn visit<'a>(expr: &'a Expr, show: &mut impl FnMut(Aggregate, &'a [Expr])) {
    match expr {
        Expr::Aggregate(aggregate, arguments) => show(*aggregate, arguments),
        Expr::Arithmetic(_, one, other) => {
            visit(one, show);
            visit(other, show);
        }
        Expr::Negative(of) => visit(of, show),
        _ => {}
    }
}

/// The value of an expression whose aggregates have these.
fn worth(expr: &Expr, next: &mut impl FnMut() -> Value) -> Value {
    match expr {
        Expr::Aggregate(..) => next(),
        Expr::Arithmetic(operation, one, other) => {
            let (one, other) = (worth(one, next), worth(other, next));
            reckon(*operation, &one, &other)
        }
        Expr::Negative(of) => reckon(
            super::plan::Arithmetic::Subtract,
            &Value::Number(0.0),
            &worth(of, next),
        ),
        Expr::Number(number) => Value::Number(*number),
        _ => Value::Missing,
    }
}

impl Accumulator {
    fn new(aggregate: Aggregate, percentile: f64) -> Self {
        Self {
            aggregate,
            count: 0.0,
            sum: 0.0,
            squares: 0.0,
            mean: 0.0,
            best: Value::Missing,
            best_at: None,
            numbers: Vec::new(),
            distinct: BTreeSet::new(),
            percentile,
        }
    }

    /// Adds a row's value; `count(*)` has none.
    fn add(&mut self, value: Option<Value>, row: &Row) {
        let Some(value) = value else {
            self.count += 1.0;
            return;
        };
        if !value.is_present() {
            return;
        }
        match self.aggregate {
            Aggregate::Count => self.count += 1.0,
            Aggregate::CountDistinct => {
                // AWS estimates when there are many; here there is an end.
                if self.distinct.len() < DISTINCT_MAX {
                    self.distinct.extend(value.text());
                }
            }
            Aggregate::Earliest => {
                let at = row.time();
                if self
                    .best_at
                    .is_none_or(|best| at.is_some_and(|at| at < best))
                {
                    (self.best, self.best_at) = (value, at);
                }
            }
            Aggregate::Latest => {
                let at = row.time();
                if self
                    .best_at
                    .is_none_or(|best| at.is_some_and(|at| at >= best))
                {
                    (self.best, self.best_at) = (value, at);
                }
            }
            Aggregate::Maximum | Aggregate::SortsLast => {
                if !self.best.is_present() || value.order(&self.best).is_gt() {
                    self.best = value;
                }
            }
            Aggregate::Minimum | Aggregate::SortsFirst => {
                if !self.best.is_present() || value.order(&self.best).is_lt() {
                    self.best = value;
                }
            }
            Aggregate::Average
            | Aggregate::Percentile
            | Aggregate::StandardDeviation
            | Aggregate::Sum => {
                let Some(number) = value.number() else {
                    return;
                };
                self.count += 1.0;
                self.sum += number;
                let distance = number - self.mean;
                self.mean += distance / self.count;
                self.squares += distance * (number - self.mean);
                if self.aggregate == Aggregate::Percentile {
                    self.numbers.push(number);
                }
            }
        }
    }

    fn value(&mut self) -> Value {
        let of_some = |number: f64| match self.count > 0.0 {
            true => Value::Number(number),
            false => Value::Missing,
        };
        match self.aggregate {
            Aggregate::Average => of_some(self.sum / self.count),
            Aggregate::Count => Value::Number(self.count),
            #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
            Aggregate::CountDistinct => Value::Number(self.distinct.len() as f64),
            Aggregate::Percentile => self.percentile(),
            Aggregate::StandardDeviation => of_some((self.squares / self.count).sqrt()),
            Aggregate::Sum => of_some(self.sum),
            _ => self.best.clone(),
        }
    }

    /// The least number that so many percent of all are not above.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank among the numbers"
    )]
    fn percentile(&mut self) -> Value {
        self.numbers.sort_by(f64::total_cmp);
        let count = self.numbers.len();
        let rank = (self.percentile / 100.0 * count as f64).ceil().max(1.0) as usize;
        let number = self.numbers.get(rank.min(count).saturating_sub(1));
        number.map_or(Value::Missing, |number| Value::Number(*number))
    }
}

const DISTINCT_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::super::expression::Expressions as _;
    use super::super::lexer::Lexer;
    use super::super::row::tests::source;
    use super::*;

    #[test]
    fn sets_of_rows_are_reckoned() {
        let rows = [(3, 2, "b"), (1, 4, "a"), (2, 9, "b")].map(|(at, n, name)| {
            Row::of(source(at, &format!(r#"{{"n": {n}, "name": "{name}"}}"#)))
        });
        for (text, shown) in [
            ("count(*)", "3"),
            ("count(nothing)", "0"),
            ("count_distinct(name)", "2"),
            ("sum(n)", "15"),
            ("avg(n)", "5"),
            ("min(n)", "2"),
            ("max(n)", "9"),
            ("max(name)", "b"),
            ("pct(n, 50)", "4"),
            ("pct(n, 95)", "9"),
            ("stddev(n)", "2.9439"),
            ("earliest(name)", "a"),
            ("latest(n)", "2"),
            ("sortsFirst(name)", "a"),
            ("sortsLast(name)", "b"),
            ("sum(n) / count(*) + 1", "6"),
            ("-max(n)", "-9"),
            ("sum(nothing)", ""),
            ("avg(name)", ""),
        ] {
            let expr = Lexer::new(text, enid_model::time::Timestamp(0))
                .and_then(|mut it| it.aggregate())
                .expect(text);
            let mut accumulators = Accumulators::new(&expr);
            for row in &rows {
                accumulators.add(&expr, row);
            }
            assert_eq!(accumulators.value(&expr).to_string(), shown, "{text}");
        }
    }
}
