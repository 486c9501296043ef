//! What PutMetricData takes: the limits of its datapoints, and what becomes of them.

use std::fmt;

use enid_model::time::Timestamp;

use super::aggregate::Aggregate;
use super::identity::Identity;
use super::unit::Unit;

/// A datapoint as a client sends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Datum {
    /// The metric's name.
    pub name: String,
    /// Names and values.
    pub dimensions: Vec<(String, String)>,
    /// When; the time of receipt if it does not say.
    pub timestamp: Option<Timestamp>,
    /// One value.
    pub value: Option<f64>,
    /// Values,
    pub values: Vec<f64>,
    /// and how often each is there; once if it does not say.
    pub counts: Vec<f64>,
    /// What is known of values that are not sent.
    pub statistics: Option<StatisticSet>,
    /// The unit's name.
    pub unit: Option<String>,
    /// 1 or 60.
    pub storage_resolution: Option<i32>,
}

/// What is known of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticSet {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
}

/// A datapoint that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its metric.
    pub metric: Identity,
    /// When.
    pub time: Timestamp,
    /// Its unit.
    pub unit: Unit,
    /// Its values.
    pub aggregate: Aggregate,
    /// Whether it is kept by the second.
    pub high_resolution: bool,
}

/// Why a datapoint is refused: AWS's code and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    /// Two members exclude one another.
    #[error("{0}")]
    Combination(String),
    /// A member is absent.
    #[error("The parameter {0} is required.")]
    Missing(String),
    /// A value is outside its bounds.
    #[error("{0}")]
    Value(String),
}

impl DatumError {
    /// AWS's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Combination(_) => "InvalidParameterCombination",
            Self::Missing(_) => "MissingParameter",
            Self::Value(_) => "InvalidParameterValue",
        }
    }
}

/// The most datapoints of a request.
pub const DATA_MAX: usize = 1000;
/// The most values of a datapoint.
const VALUES_MAX: usize = 150;
/// The most dimensions of a metric.
pub const DIMENSIONS_MAX: usize = 30;
/// How old a datapoint may be.
const PAST_MS: i64 = 14 * 24 * 3600 * 1000;
/// How far ahead it may be.
const FUTURE_MS: i64 = 2 * 3600 * 1000;

/// Holds the data of a request against AWS's limits. Nothing of a request is stored if any of it is wrong.
pub fn samples(
    namespace: &str,
    data: Vec<Datum>,
    now: Timestamp,
) -> Result<Vec<Sample>, DatumError> {
    check_namespace(namespace)?;
    if namespace.starts_with("AWS/") {
        return Err(bad_value(namespace, "Namespace"));
    }
    if data.is_empty() {
        return Err(DatumError::Missing("MetricData".to_owned()));
    }
    if data.len() > DATA_MAX {
        return Err(DatumError::Value(format!(
            "The collection MetricData must not have a size greater than {DATA_MAX}."
        )));
    }
    let numbered = (1..).zip(data);
    numbered
        .map(|(number, datum)| {
            Reader {
                place: format!("MetricData.member.{number}"),
                now,
            }
            .sample(namespace, datum)
        })
        .collect()
}

/// Holds a namespace against its rule.
pub fn check_namespace(namespace: &str) -> Result<(), DatumError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_/#: ".contains(letter);
    let fits = !namespace.is_empty()
        && namespace.len() <= 255
        && !namespace.starts_with(':')
        && namespace.chars().all(plain);
    match fits {
        true => Ok(()),
        false => Err(bad_value(namespace, "Namespace")),
    }
}

fn bad_value(value: impl fmt::Display, name: &str) -> DatumError {
    let short: String = value.to_string().chars().take(100).collect();
    DatumError::Value(format!(
        "The value {short} for parameter {name} is invalid."
    ))
}

/// Reads one datapoint.
struct Reader {
    /// Where it is in the request.
    place: String,
    now: Timestamp,
}

impl Reader {
    fn name(&self, member: &str) -> String {
        format!("{}.{member}", self.place)
    }

    fn sample(&self, namespace: &str, datum: Datum) -> Result<Sample, DatumError> {
        self.text(&datum.name, "MetricName", 255)?;
        let aggregate = self.aggregate(&datum)?;
        let unit = match &datum.unit {
            None => Unit::NONE,
            Some(name) => Unit::named(name).ok_or_else(|| bad_value(name, &self.name("Unit")))?,
        };
        let high_resolution = match datum.storage_resolution {
            None | Some(60) => false,
            Some(1) => true,
            Some(other) => return Err(bad_value(other, &self.name("StorageResolution"))),
        };
        let time = datum.timestamp.unwrap_or(self.now);
        let stamp = self.name("Timestamp");
        if time.0 < self.now.0 - PAST_MS {
            return Err(DatumError::Value(format!(
                "The parameter {stamp} must specify a time within the past two weeks."
            )));
        }
        if time.0 > self.now.0 + FUTURE_MS {
            return Err(DatumError::Value(format!(
                "The parameter {stamp} must specify a time no more than two hours in the future."
            )));
        }
        let metric = self.metric(namespace, datum)?;
        Ok(Sample {
            metric,
            time,
            unit,
            aggregate,
            high_resolution,
        })
    }

    fn metric(&self, namespace: &str, datum: Datum) -> Result<Identity, DatumError> {
        if datum.dimensions.len() > DIMENSIONS_MAX {
            return Err(DatumError::Value(format!(
                "The collection {} must not have a size greater than {DIMENSIONS_MAX}.",
                self.name("Dimensions")
            )));
        }
        for (number, (name, value)) in (1..).zip(&datum.dimensions) {
            let place = format!("Dimensions.member.{number}");
            self.text(name, &format!("{place}.Name"), 255)?;
            self.text(value, &format!("{place}.Value"), 1024)?;
            if name.starts_with(':') {
                return Err(bad_value(name, &self.name(&format!("{place}.Name"))));
            }
        }
        Identity::new(namespace, datum.name, datum.dimensions).map_err(|repeated| {
            DatumError::Value(format!(
                "No duplicate dimension names are allowed in {}: {}.",
                self.name("Dimensions"),
                repeated.0
            ))
        })
    }

    /// A name or a value of a dimension: ASCII, not empty and not blank.
    fn text(&self, text: &str, member: &str, most: usize) -> Result<(), DatumError> {
        if text.trim().is_empty() {
            return Err(DatumError::Missing(self.name(member)));
        }
        if text.len() > most {
            return Err(DatumError::Value(format!(
                "The value for parameter {} must not be longer than {most} characters.",
                self.name(member)
            )));
        }
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(DatumError::Value(format!(
                "The value for parameter {} contains non-ASCII characters.",
                self.name(member)
            )));
        }
        Ok(())
    }

    fn aggregate(&self, datum: &Datum) -> Result<Aggregate, DatumError> {
        let given = [
            ("Value", datum.value.is_some()),
            ("Values", !datum.values.is_empty()),
            ("StatisticValues", datum.statistics.is_some()),
        ];
        let mut given = given.iter().filter(|(_, given)| *given);
        let (first, second) = (given.next(), given.next());
        if let (Some((first, _)), Some((second, _))) = (first, second) {
            return Err(DatumError::Combination(format!(
                "The parameters {} and {} are mutually exclusive and you have specified both.",
                self.name(first),
                self.name(second)
            )));
        }
        if let Some(value) = datum.value {
            self.number(value, "Value")?;
            return Ok(Aggregate::value(value));
        }
        if let Some(set) = datum.statistics {
            return self.statistics(set);
        }
        if datum.values.is_empty() {
            return Err(DatumError::Missing(self.name("Value")));
        }
        self.values(&datum.values, &datum.counts)
    }

    fn values(&self, values: &[f64], counts: &[f64]) -> Result<Aggregate, DatumError> {
        if values.len() > VALUES_MAX {
            return Err(DatumError::Value(format!(
                "The collection {} must not have a size greater than {VALUES_MAX}.",
                self.name("Values")
            )));
        }
        if !counts.is_empty() && counts.len() != values.len() {
            return Err(DatumError::Value(format!(
                "The parameters {} and {} must be of the same size.",
                self.name("Values"),
                self.name("Counts")
            )));
        }
        for value in values {
            self.number(*value, "Values")?;
        }
        for count in counts {
            self.number(*count, "Counts")?;
            if *count < 0.0 {
                return Err(bad_value(count, &self.name("Counts")));
            }
        }
        let once = std::iter::repeat(1.0);
        let counts = counts.iter().copied().chain(once);
        let pairs: Vec<(f64, f64)> = values.iter().copied().zip(counts).collect();
        Ok(Aggregate::values(&pairs))
    }

    fn statistics(&self, set: StatisticSet) -> Result<Aggregate, DatumError> {
        for (value, member) in [
            (set.count, "SampleCount"),
            (set.sum, "Sum"),
            (set.minimum, "Minimum"),
            (set.maximum, "Maximum"),
        ] {
            self.number(value, &format!("StatisticValues.{member}"))?;
        }
        if set.count <= 0.0 {
            let name = self.name("StatisticValues.SampleCount");
            return Err(bad_value(set.count, &name));
        }
        if set.minimum > set.maximum {
            return Err(DatumError::Value(format!(
                "The parameter {} must be less than or equal to the parameter {}.",
                self.name("StatisticValues.Minimum"),
                self.name("StatisticValues.Maximum")
            )));
        }
        Ok(Aggregate::statistics(
            set.count,
            set.sum,
            set.minimum,
            set.maximum,
        ))
    }

    /// A finite number within ±2^360.
    fn number(&self, value: f64, member: &str) -> Result<(), DatumError> {
        match value.abs() <= 2_f64.powi(360) {
            true => Ok(()),
            false => Err(bad_value(value, &self.name(member))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn datum() -> Datum {
        Datum {
            name: "m".to_owned(),
            value: Some(1.5),
            ..Datum::default()
        }
    }

    fn read(namespace: &str, datum: Datum) -> Result<Sample, String> {
        match samples(namespace, vec![datum], NOW) {
            Ok(samples) => Ok(samples[0].clone()),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }
    }

    #[test]
    fn datapoints_of_every_form_are_read() {
        let sample = read("N", datum()).unwrap();
        assert_eq!((sample.time, sample.unit), (NOW, Unit::NONE));
        assert_eq!(sample.aggregate, Aggregate::value(1.5));
        let counted = Datum {
            value: None,
            values: vec![1.0, 2.0],
            counts: vec![3.0, 1.0],
            unit: Some("Bytes".to_owned()),
            storage_resolution: Some(1),
            ..datum()
        };
        let sample = read("N", counted).unwrap();
        assert_eq!(sample.aggregate.sum, 5.0);
        assert!(sample.high_resolution);
        assert_eq!(sample.unit, Unit::BYTES);
        let set = StatisticSet {
            count: 2.0,
            sum: 3.0,
            minimum: 1.0,
            maximum: 2.0,
        };
        let set = Datum {
            value: None,
            statistics: Some(set),
            ..datum()
        };
        assert_eq!(read("N", set).unwrap().aggregate.count, 2.0);
    }

    #[test]
    fn the_rest_is_refused_in_the_words_of_aws() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (change, wanted) in [
            (
                Datum {
                    value: None,
                    ..datum()
                },
                "MissingParameter: The parameter MetricData.member.1.Value is required.",
            ),
            (
                Datum {
                    values: vec![1.0],
                    ..datum()
                },
                "InvalidParameterCombination: The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you have specified both.",
            ),
            (
                Datum {
                    value: None,
                    values: vec![1.0],
                    counts: vec![1.0, 2.0],
                    ..datum()
                },
                "InvalidParameterValue: The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size.",
            ),
            (
                Datum {
                    value: None,
                    values: vec![1.0; 151],
                    ..datum()
                },
                "InvalidParameterValue: The collection MetricData.member.1.Values must not have a size greater than 150.",
            ),
            (
                Datum {
                    value: Some(f64::NAN),
                    ..datum()
                },
                "InvalidParameterValue: The value NaN for parameter MetricData.member.1.Value is invalid.",
            ),
            (
                Datum {
                    value: Some(2_f64.powi(361)),
                    ..datum()
                },
                "InvalidParameterValue: The value 4697085165547666",
            ),
            (
                Datum {
                    timestamp: Some(Timestamp(NOW.0 - PAST_MS - 1)),
                    ..datum()
                },
                "InvalidParameterValue: The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
            ),
            (
                Datum {
                    timestamp: Some(Timestamp(NOW.0 + FUTURE_MS + 1)),
                    ..datum()
                },
                "InvalidParameterValue: The parameter MetricData.member.1.Timestamp must specify a time no more than two hours in the future.",
            ),
            (
                Datum {
                    unit: Some("Furlongs".to_owned()),
                    ..datum()
                },
                "InvalidParameterValue: The value Furlongs for parameter MetricData.member.1.Unit is invalid.",
            ),
            (
                Datum {
                    storage_resolution: Some(30),
                    ..datum()
                },
                "InvalidParameterValue: The value 30 for parameter MetricData.member.1.StorageResolution is invalid.",
            ),
            (
                Datum {
                    dimensions: vec![pair("a", "1"), pair("a", "2")],
                    ..datum()
                },
                "InvalidParameterValue: No duplicate dimension names are allowed in MetricData.member.1.Dimensions: a.",
            ),
            (
                Datum {
                    dimensions: vec![pair("a", "")],
                    ..datum()
                },
                "MissingParameter: The parameter MetricData.member.1.Dimensions.member.1.Value is required.",
            ),
            (
                Datum {
                    dimensions: vec![pair("é", "1")],
                    ..datum()
                },
                "InvalidParameterValue: The value for parameter MetricData.member.1.Dimensions.member.1.Name contains non-ASCII characters.",
            ),
        ] {
            let found = read("N", change).unwrap_err();
            assert!(found.starts_with(wanted), "{found}");
        }
        for namespace in ["", ":x", "AWS/EC2", "a\u{1}", &"x".repeat(256)] {
            assert!(read(namespace, datum()).is_err(), "{namespace}");
        }
        assert!(samples("N", vec![datum(); 1001], NOW).is_err());
        assert!(samples("N", vec![], NOW).is_err());
    }
}
