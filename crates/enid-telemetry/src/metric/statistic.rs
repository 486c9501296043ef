//! Statistics, by the names that requests have for them.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html>

use std::fmt;

use super::aggregate::Aggregate;

/// A statistic of the values of a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// How many values.
    SampleCount,
    /// Sum over count.
    Average,
    /// The sum.
    Sum,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
    /// `pNN`.
    Percentile(f64),
    /// A statistic of a part of the values.
    Part(Part, Range),
}

/// What is told of a part of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `TC`: how many are in it.
    Count,
    /// `TM`: their mean.
    Mean,
    /// `PR`: their share of all, in percent.
    Rank,
    /// `TS`: their sum.
    Sum,
    /// `WM`: the mean of all, with those outside moved to its edges.
    Winsorized,
}

/// A part of the values: those above the lower bound, up to and with the upper one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// By the share of values below, in percent.
    Percent(f64, f64),
    /// By the values themselves.
    Values(f64, f64),
}

impl Statistic {
    /// Reads the name of a statistic; `None` if there is no such.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "SampleCount" => Self::SampleCount,
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            "IQM" => Self::Part(Part::Mean, Range::Percent(25.0, 75.0)),
            _ => return Self::extended(text),
        })
    }

    /// Reads the name of a statistic that needs the values themselves.
    #[must_use]
    pub fn extended(text: &str) -> Option<Self> {
        if text == "IQM" {
            return Self::parse(text);
        }
        let at = text.find(|letter: char| !letter.is_ascii_alphabetic())?;
        let (word, rest) = text.split_at_checked(at)?;
        let part = |part: Part, range: Range| Some(Self::Part(part, range));
        let upper = || percentage(rest).map(|upper| Range::Percent(0.0, upper));
        match word {
            "p" => percentage(rest).map(Self::Percentile),
            "tm" => part(Part::Mean, upper()?),
            "tc" => part(Part::Count, upper()?),
            "ts" => part(Part::Sum, upper()?),
            "wm" => part(Part::Winsorized, upper()?),
            "TM" => part(Part::Mean, range(rest)?),
            "TC" => part(Part::Count, range(rest)?),
            "TS" => part(Part::Sum, range(rest)?),
            "WM" => part(Part::Winsorized, range(rest)?),
            "PR" => match range(rest)? {
                Range::Percent(..) => None,
                range => part(Part::Rank, range),
            },
            _ => None,
        }
    }

    /// Whether it needs the values themselves.
    #[must_use]
    pub fn is_extended(self) -> bool {
        matches!(self, Self::Percentile(_) | Self::Part(..))
    }

    /// The statistic of a period; `None` if its values are not known.
    #[must_use]
    pub fn of(self, aggregate: &Aggregate) -> Option<f64> {
        if aggregate.count == 0.0 {
            return None;
        }
        Some(match self {
            Self::SampleCount => aggregate.count,
            Self::Average => aggregate.sum / aggregate.count,
            Self::Sum => aggregate.sum,
            Self::Minimum => aggregate.minimum,
            Self::Maximum => aggregate.maximum,
            Self::Percentile(percent) => {
                percentile(aggregate.values.as_deref()?, aggregate.count, percent)
            }
            Self::Part(part, range) => {
                part_of(part, range, aggregate.values.as_deref()?, aggregate.count)?
            }
        })
    }
}

/// The name that says the same: detectors of anomalies are stored under it.
impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, range) = match self {
            Self::SampleCount => return f.write_str("SampleCount"),
            Self::Average => return f.write_str("Average"),
            Self::Sum => return f.write_str("Sum"),
            Self::Minimum => return f.write_str("Minimum"),
            Self::Maximum => return f.write_str("Maximum"),
            Self::Percentile(percent) => return write!(f, "p{percent}"),
            Self::Part(part, range) => (part, range),
        };
        let word = match part {
            Part::Count => "TC",
            Part::Mean => "TM",
            Part::Rank => "PR",
            Part::Sum => "TS",
            Part::Winsorized => "WM",
        };
        match range {
            Range::Percent(lower, upper) => write!(f, "{word}({lower}%:{upper}%)"),
            Range::Values(lower, upper) => {
                let bound = |bound: f64| match bound.is_finite() {
                    true => bound.to_string(),
                    false => String::new(),
                };
                write!(f, "{word}({}:{})", bound(*lower), bound(*upper))
            }
        }
    }
}

/// `99.9`: from 0 to 100, with at most ten digits behind the point.
fn percentage(text: &str) -> Option<f64> {
    let number = decimal(text)?;
    (0.0..=100.0).contains(&number).then_some(number)
}

/// A plain decimal number.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction) && fraction.len() <= 10).then(|| text.parse().ok())?
}

/// `(10%:90%)`, `(:95%)`, `(150:)`: one bound may be absent, and both are of one kind.
fn range(text: &str) -> Option<Range> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let (lower, upper) = inside.split_once(':')?;
    let (lower, upper) = (lower.trim(), upper.trim());
    let is_percent = |bound: &str| bound.ends_with('%');
    if lower.is_empty() && upper.is_empty() {
        return None;
    }
    if is_percent(lower) || is_percent(upper) {
        let bound = |text: &str, absent: f64| match text {
            "" => Some(absent),
            _ => percentage(text.strip_suffix('%')?),
        };
        let (lower, upper) = (bound(lower, 0.0)?, bound(upper, 100.0)?);
        return (lower < upper).then_some(Range::Percent(lower, upper));
    }
    let bound = |text: &str, absent: f64| match text {
        "" => Some(absent),
        _ => decimal(text),
    };
    let lower = bound(lower, f64::NEG_INFINITY)?;
    let upper = bound(upper, f64::INFINITY)?;
    (lower < upper).then_some(Range::Values(lower, upper))
}

/// The least value that at least this share of all is not above.
fn percentile(values: &[(f64, f64)], count: f64, percent: f64) -> f64 {
    let wanted = percent / 100.0 * count;
    let mut seen = 0.0;
    for (value, count) in values {
        seen += count;
        // What is computed as a share of the count may be off in its last digit.
        if seen * (1.0 + f64::EPSILON) >= wanted {
            return *value;
        }
    }
    values.last().map_or(0.0, |(value, _)| *value)
}

fn part_of(part: Part, range: Range, values: &[(f64, f64)], count: f64) -> Option<f64> {
    let kept: Vec<(f64, f64)> = match range {
        Range::Values(lower, upper) => values
            .iter()
            .copied()
            .filter(|(value, _)| *value > lower && *value <= upper)
            .collect(),
        Range::Percent(lower, upper) => {
            let (lower, upper) = (lower / 100.0 * count, upper / 100.0 * count);
            let mut seen = 0.0;
            let shares = values.iter().map(|(value, count)| {
                // The share of a value lies between what is seen before it and with it.
                let (start, end) = (f64::max(seen, lower), f64::min(seen + count, upper));
                seen += count;
                (*value, (end - start).max(0.0))
            });
            shares.filter(|(_, count)| *count > 0.0).collect()
        }
    };
    let inside: f64 = kept.iter().map(|(_, count)| count).sum();
    let sum: f64 = kept.iter().map(|(value, count)| value * count).sum();
    Some(match part {
        Part::Count => inside,
        Part::Sum => sum,
        Part::Rank => inside / count * 100.0,
        Part::Mean if inside == 0.0 => return None,
        Part::Mean => sum / inside,
        Part::Winsorized => {
            let (least, greatest) = (kept.first()?.0, kept.last()?.0);
            let moved = values
                .iter()
                .map(|(value, count)| value.clamp(least, greatest) * count);
            moved.sum::<f64>() / count
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 to 10.
    fn ten() -> Aggregate {
        let values: Vec<(f64, f64)> = (1..=10).map(|n| (f64::from(n), 1.0)).collect();
        Aggregate::values(&values)
    }

    #[test]
    fn statistics_of_one_to_ten() {
        for (name, wanted) in [
            ("SampleCount", 10.0),
            ("Average", 5.5),
            ("Sum", 55.0),
            ("Minimum", 1.0),
            ("Maximum", 10.0),
            ("p0", 1.0),
            ("p10", 1.0),
            ("p50", 5.0),
            ("p90", 9.0),
            ("p90.5", 10.0),
            ("p100", 10.0),
            ("tm90", 5.0),
            ("TM(10%:90%)", 5.5),
            ("IQM", 5.5),
            ("TM(:5)", 3.0),
            ("TM(5:)", 8.0),
            ("TM(5:7)", 6.5),
            ("tc90", 9.0),
            ("TC(2:4)", 2.0),
            ("ts90", 45.0),
            ("TS(8:)", 19.0),
            ("wm90", 5.4),
            ("WM(10%:90%)", 5.5),
            ("PR(:3)", 30.0),
            ("PR(3:9)", 60.0),
        ] {
            let found = Statistic::parse(name).unwrap().of(&ten()).unwrap();
            assert!((found - wanted).abs() < 1e-9, "{name}: {found}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for (name, wanted) in [
            ("Sum", "Sum"),
            ("p99.0", "p99"),
            ("p99.9", "p99.9"),
            ("tm90", "TM(0%:90%)"),
            ("IQM", "TM(25%:75%)"),
            ("PR(:300)", "PR(:300)"),
            ("TC(0.5:)", "TC(0.5:)"),
        ] {
            let statistic = Statistic::parse(name).unwrap();
            assert_eq!(statistic.to_string(), wanted, "{name}");
            assert_eq!(Statistic::parse(wanted), Some(statistic), "{name}");
        }
    }

    #[test]
    fn what_is_no_statistic() {
        for name in [
            "",
            "average",
            "p",
            "p101",
            "p-1",
            "p1.12345678901",
            "pp9",
            "tm",
            "tm101",
            "TM",
            "TM()",
            "TM(:)",
            "TM(90%:10%)",
            "TM(10%:90)",
            "TM(5:5)",
            "PR(1%:2%)",
            "IQM1",
            "TM(a:b)",
            "px",
            "é90",
        ] {
            assert_eq!(Statistic::parse(name), None, "{name}");
        }
    }

    #[test]
    fn percentiles_need_the_values() {
        let set = Aggregate::statistics(2.0, 6.0, 2.0, 4.0);
        assert_eq!(Statistic::Percentile(50.0).of(&set), None);
        assert_eq!(Statistic::Average.of(&set), Some(3.0));
        assert_eq!(Statistic::Average.of(&Aggregate::values(&[])), None);
        let outside = Statistic::parse("TM(20:30)").unwrap();
        assert_eq!(outside.of(&ten()), None);
    }
}
