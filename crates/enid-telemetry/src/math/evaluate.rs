//! The value of an expression.

use super::function;
use super::parse::Expression;
use super::value::{Series, Value, combine};

/// What an expression refers to.
pub trait Source {
    /// The value of another query of the request, by its id.
    fn named(&self, id: &str) -> Result<Value, MathError>;

    /// The series of all metrics of the request, each with its query's id.
    fn metrics(&self) -> Vec<(String, Series)>;

    /// The period of a query, in seconds.
    fn period_of(&self, id: &str) -> Option<i64>;

    /// The series that a search finds.
    fn search(&self, terms: &str, statistic: &str, period_s: i64)
    -> Result<Vec<Series>, MathError>;

    /// The upper and the lower bound that an expression is expected between, so many standard
    /// deviations from what it is expected to be.
    fn band(&self, of: &Expression, deviations: f64) -> Result<[Series; 2], MathError>;

    /// The times of all periods.
    fn times(&self) -> Vec<i64>;

    /// The period of the expression, in seconds.
    fn period_s(&self) -> i64;
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MathError {
    /// A function with other arguments than it takes.
    #[error("the arguments of {0} are not what it takes")]
    Arguments(String),
    /// A query that refers to itself.
    #[error("a circular reference")]
    Circle,
    /// An operator between values that it cannot combine.
    #[error("the types of the operands do not fit the operator")]
    Operands,
    /// The datapoints could not be read.
    #[error("the datapoints could not be read")]
    Read,
    /// A search that cannot be read.
    #[error("the search expression cannot be read: {0}")]
    Search(super::search::SearchError),
    /// A search for a statistic that there is not.
    #[error("unknown statistic '{0}'")]
    Statistic(String),
    /// No query has this id.
    #[error("the id '{0}' is not found")]
    UnknownId(String),
}

/// The value of an expression.
pub fn evaluate(expression: &Expression, source: &dyn Source) -> Result<Value, MathError> {
    match expression {
        Expression::Number(number) => Ok(Value::Scalar(*number)),
        Expression::Name(name) => source.named(name),
        Expression::Text(text) => Err(MathError::Arguments(text.clone())),
        Expression::Negative(inner) => {
            let inner = evaluate(inner, source)?;
            let minus = Value::Scalar(-1.0);
            combine(super::parse::Operator::Multiply, &inner, &minus).ok_or(MathError::Operands)
        }
        Expression::Binary(operator, left, right) => {
            let (left, right) = (evaluate(left, source)?, evaluate(right, source)?);
            // A number over zero is no number: the series that it would become has no points.
            let is_number = matches!((&left, &right), (Value::Scalar(_), Value::Scalar(_)));
            match combine(*operator, &left, &right) {
                Some(value) => Ok(value),
                None if is_number => Ok(Value::Series(Series::default())),
                None => Err(MathError::Operands),
            }
        }
        Expression::Array(parts) => {
            let mut all = Vec::new();
            for part in parts {
                match evaluate(part, source)? {
                    Value::Series(series) => all.push(series),
                    Value::Array(array) => all.extend(array),
                    Value::Scalar(_) => return Err(MathError::Operands),
                }
            }
            Ok(Value::Array(all))
        }
        Expression::Call(name, arguments) => function::call(name, arguments, source),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::parse::parse;
    use super::*;

    /// Four minutes; m1 has all of them, m2 lacks the second and third.
    struct Minutes;

    impl Source for Minutes {
        fn named(&self, id: &str) -> Result<Value, MathError> {
            let found = self.metrics().into_iter().find(|(known, _)| known == id);
            let found = found.map(|(_, series)| Value::Series(series));
            found.ok_or_else(|| MathError::UnknownId(id.to_owned()))
        }

        fn metrics(&self) -> Vec<(String, Series)> {
            let series = |label: &str, points: &[(i64, f64)]| {
                let points: BTreeMap<i64, f64> = points
                    .iter()
                    .map(|(minute, value)| (minute * 60_000, *value))
                    .collect();
                let label = label.to_owned();
                (label.clone(), Series { label, points })
            };
            vec![
                series("m1", &[(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0)]),
                series("m2", &[(0, 10.0), (3, 0.0)]),
                series("none", &[]),
            ]
        }

        fn period_of(&self, id: &str) -> Option<i64> {
            (id == "m1").then_some(60)
        }

        fn search(
            &self,
            terms: &str,
            statistic: &str,
            period_s: i64,
        ) -> Result<Vec<Series>, MathError> {
            assert_eq!((terms, statistic, period_s), ("{N} x", "Sum", 300));
            Ok(vec![self.metrics().remove(0).1])
        }

        fn band(&self, of: &Expression, deviations: f64) -> Result<[Series; 2], MathError> {
            assert_eq!(*of, Expression::Name("m1".to_owned()));
            let bound = |bound: f64| Series {
                label: String::new(),
                points: [(0, bound)].into(),
            };
            Ok([bound(deviations), bound(-deviations)])
        }

        fn times(&self) -> Vec<i64> {
            (0..4).map(|minute| minute * 60_000).collect()
        }

        fn period_s(&self) -> i64 {
            60
        }
    }

    /// Points by minute; series of an array with their labels; a scalar alone.
    fn value(text: &str) -> String {
        let points = |series: &Series| {
            let points = series.points.iter();
            let points = points.map(|(time, value)| format!("{}:{value}", time / 60_000));
            points.collect::<Vec<_>>().join(" ")
        };
        match parse(text).map(|expression| evaluate(&expression, &Minutes)) {
            Ok(Ok(Value::Scalar(number))) => format!("{number}"),
            Ok(Ok(Value::Series(series))) => points(&series),
            Ok(Ok(Value::Array(array))) => {
                let parts = array
                    .iter()
                    .map(|of| format!("{}={}", of.label, points(of)));
                parts.collect::<Vec<_>>().join("; ")
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn operators_and_functions() {
        for (text, wanted) in [
            ("m1*2", "0:2 1:4 2:8 3:16"),
            ("10-m1", "0:9 1:8 2:6 3:2"),
            ("-m1", "0:-1 1:-2 2:-4 3:-8"),
            // The other side counts as zero, and what is divided by zero has no point.
            ("m1+m2", "0:11 1:2 2:4 3:8"),
            ("m1/m2", "0:0.1"),
            ("m1>2", "0:0 1:0 2:1 3:1"),
            ("m1>1 AND m1<8", "0:0 1:1 2:1 3:0"),
            ("2^3", "8"),
            ("1/0", ""),
            ("[m1,m2]*2", "m1=0:2 1:4 2:8 3:16; m2=0:20 3:0"),
            ("m1-[m1,m2]", "m1=0:0 1:0 2:0 3:0; m2=0:-9 1:2 2:4 3:8"),
            ("ABS(m1-3)", "0:2 1:1 2:1 3:5"),
            ("CEIL(m1/3)", "0:1 1:1 2:2 3:3"),
            ("FLOOR(m1/3)", "0:0 1:0 2:1 3:2"),
            ("LOG10(m1*0+100)", "0:2 1:2 2:2 3:2"),
            ("LOG(m1*0)", ""),
            ("AVG(m1)", "3.75"),
            ("SUM(m1)", "15"),
            ("MIN(m1)", "1"),
            ("MAX(m1)", "8"),
            ("STDDEV([m1,m1])", "0:0 1:0 2:0 3:0"),
            ("SUM([m1,m2])", "0:11 1:2 2:4 3:8"),
            ("AVG(METRICS())", "0:5.5 1:2 2:4 3:4"),
            ("METRICS(\"m1\")", "m1=0:1 1:2 2:4 3:8"),
            ("DATAPOINT_COUNT(m2)", "2"),
            ("METRIC_COUNT(METRICS())", "3"),
            ("REMOVE_EMPTY([none,m2])", "m2=0:10 3:0"),
            ("DIFF(m1)", "1:1 2:2 3:4"),
            ("DIFF_TIME(m2)", "3:180"),
            ("RATE(m2)", "3:-0.05555555555555555"),
            ("RUNNING_SUM(m1)", "0:1 1:3 2:7 3:15"),
            ("FILL(m2,7)", "0:10 1:7 2:7 3:0"),
            ("FILL(m2,REPEAT)", "0:10 1:10 2:10 3:0"),
            ("FILL(m2*3,LINEAR)", "0:30 1:20 2:10 3:0"),
            ("FIRST([m2,m1])", "0:10 3:0"),
            ("LAST([m2,m1])", "0:1 1:2 2:4 3:8"),
            ("IF(m1>2,m1,0)", "0:0 1:0 2:4 3:8"),
            ("IF(m1>2,m2)", "2:0 3:0"),
            ("IF(m2,m1,m1*100)", "0:1 3:800"),
            ("IF(1,m1,2)", "0:1 1:2 2:4 3:8"),
            ("PERIOD(m1)", "60"),
            ("TIME_SERIES(5)", "0:5 1:5 2:5 3:5"),
            ("MINUTE(m1)", "0:0 1:1 2:2 3:3"),
            ("EPOCH(m2)", "0:0 3:180"),
            ("DAY(m2)", "0:4 3:4"),
            ("YEAR(m2)", "0:1970 3:1970"),
            ("SORT([m1,m2],MAX,DESC)", "m2=0:10 3:0; m1=0:1 1:2 2:4 3:8"),
            ("SORT([m1,m2],SUM,ASC,1)", "m2=0:10 3:0"),
            ("SLICE([m1,m2,none],1,2)", "m2=0:10 3:0"),
            ("SLICE([m1,m2],1)", "m2=0:10 3:0"),
            ("SEARCH('{N} x','Sum',300)", "m1=0:1 1:2 2:4 3:8"),
            (
                "ANOMALY_DETECTION_BAND(m1,3)",
                "m1 upper=0:3; m1 lower=0:-3",
            ),
            ("FIRST(ANOMALY_DETECTION_BAND(m1))", "0:2"),
        ] {
            assert_eq!(value(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_has_no_value() {
        for (text, wanted) in [
            ("m9", "the id 'm9' is not found"),
            (
                "[m1]+[m2]",
                "the types of the operands do not fit the operator",
            ),
            ("[1]", "the types of the operands do not fit the operator"),
            ("AVG()", "the arguments of AVG are not what it takes"),
            ("AVG(1)", "the arguments of AVG are not what it takes"),
            ("FIRST(m1)", "the arguments of FIRST are not what it takes"),
            (
                "ANOMALY_DETECTION_BAND(5)",
                "the arguments of ANOMALY_DETECTION_BAND are not what it takes",
            ),
            (
                "ANOMALY_DETECTION_BAND(m1,0)",
                "the arguments of ANOMALY_DETECTION_BAND are not what it takes",
            ),
            (
                "SORT([m1],TOP,ASC)",
                "the arguments of SORT are not what it takes",
            ),
            ("FILL(m1,SOMEHOW)", "the id 'SOMEHOW' is not found"),
            ("'x'", "the arguments of x are not what it takes"),
            (
                "SEARCH('x')",
                "the arguments of SEARCH are not what it takes",
            ),
        ] {
            assert_eq!(value(text), wanted, "{text}");
        }
    }
}
