//! The members of a widget's objects: each is read once, and what is left at the end is refused by name.

use enid_telemetry::chart::{Color, Side};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// What AWS says of a text that is none of a few.
pub(super) const ONE_OF: &str = "Should be equal to one of the allowed values";

/// What AWS knows and Enid does not draw.
const NOT_DRAWN: [&str; 10] = [
    "accountId",
    "labels",
    "liveData",
    "setPeriodToTimeRange",
    "singleValueFullPrecision",
    "sparkline",
    "table",
    "trend",
    "gauge",
    "alarms",
];
/// The members of an object that have not been read yet.
pub(super) struct Members {
    path: String,
    left: Map<String, Value>,
}

impl Members {
    pub(super) fn of(path: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(left) => Ok(Self {
                path: path.to_owned(),
                left,
            }),
            _ => Err(invalid(path, "Should be object")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    pub(super) fn wrong(&self, name: &str, words: &str) -> ApiError {
        invalid(&format!("{}/{name}", self.path), words)
    }

    pub(super) fn missing(&self, name: &str) -> ApiError {
        invalid(
            &self.path,
            &format!("Should have required property '{name}'"),
        )
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "Should be string")),
        }
    }

    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(self.wrong(name, "Should be boolean")),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.left.remove(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, "Should be number"))
    }

    pub(super) fn whole(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.left.remove(name) else {
            return Ok(None);
        };
        let number = value.as_u64();
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, "Should be integer"))
    }

    pub(super) fn period(&mut self) -> Result<Option<i32>, ApiError> {
        let Some(seconds) = self.whole("period")? else {
            return Ok(None);
        };
        let period = i32::try_from(seconds).ok();
        let known =
            period.filter(|period| enid_telemetry::metric::level::is_period((*period).into()));
        known
            .map(Some)
            .ok_or_else(|| self.wrong("period", "Should be 1, 5, 10, 30 or a multiple of 60"))
    }

    /// Metrics of another region are nowhere near.
    pub(super) fn own_region(&mut self, own: &str) -> Result<(), ApiError> {
        match self.text("region")? {
            Some(region) if region != own => Err(not_drawn(&format!("region={region}"))),
            _ => Ok(()),
        }
    }

    pub(super) fn side(&mut self) -> Result<Side, ApiError> {
        match self.text("yAxis")?.as_deref() {
            None | Some("left") => Ok(Side::Left),
            Some("right") => Ok(Side::Right),
            Some(_) => Err(self.wrong("yAxis", ONE_OF)),
        }
    }

    pub(super) fn color(&mut self) -> Result<Option<Color>, ApiError> {
        let Some(text) = self.text("color")? else {
            return Ok(None);
        };
        let color = color(&text);
        color
            .map(Some)
            .ok_or_else(|| self.wrong("color", "Should match pattern \"^#[0-9a-fA-F]{6}$\""))
    }

    pub(super) fn part(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        let path = format!("{}/{name}", self.path);
        let part = self.left.remove(name);
        part.map(|part| Self::of(&path, part)).transpose()
    }

    /// The items of a list, each with its path.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<(String, Value)>, ApiError> {
        let path = format!("{}/{name}", self.path);
        match self.left.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(number, item)| (format!("{path}/{number}"), item));
                Ok(items.collect())
            }
            Some(_) => Err(self.wrong(name, "Should be array")),
        }
    }

    /// There is nothing else.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) if NOT_DRAWN.contains(&name.as_str()) => Err(not_drawn(name)),
            Some(name) => {
                let short: String = name.chars().take(100).collect();
                let words = format!("Should NOT have additional properties: '{short}'");
                Err(invalid(&self.path, &words))
            }
        }
    }
}

/// `#1f77b4`, or three digits for short.
fn color(text: &str) -> Option<Color> {
    let digits = text.strip_prefix('#')?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    match digits.len() {
        6 => Some([red, green, blue]),
        3 => {
            let [_, _, high, low] = number.to_be_bytes();
            Some([high & 15, low >> 4, low & 15].map(|digit| digit * 17))
        }
        _ => None,
    }
}

/// What AWS says of a widget that is none, and where.
pub(super) fn invalid(path: &str, words: &str) -> ApiError {
    let problem = serde_json::json!([{"dataPath": path, "message": words}]);
    let message =
        format!("The field MetricWidget is invalid, there is 1 validation error: {problem}");
    ApiError::new("ValidationError", 400, message)
}

/// What AWS draws and Enid does not.
pub(super) fn not_drawn(what: &str) -> ApiError {
    ApiError::value_not_implemented("GetMetricWidgetImage", "MetricWidget", what)
}
