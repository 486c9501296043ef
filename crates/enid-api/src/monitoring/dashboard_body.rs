//! What is wrong with the body of a dashboard: problems, with which it is refused, and doubts, with which it
//! is kept.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html>
//!
//! The widgets' own properties are looked at as far as a widget cannot be without them. Whoever draws them
//! judges the rest.

use serde_json::{Map, Value};

/// What is said of a body: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub path: String,
    pub message: String,
}

/// What was found in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// It is no dashboard.
    pub problems: Vec<Remark>,
    /// It is one, with something that nobody reads.
    pub doubts: Vec<Remark>,
}

const MEMBERS: [&str; 5] = ["end", "periodOverride", "start", "variables", "widgets"];
const WIDGET_MEMBERS: [&str; 6] = ["height", "properties", "type", "width", "x", "y"];
const TYPES: [&str; 7] = [
    "alarm", "chart", "custom", "explorer", "log", "metric", "text",
];
const WIDGETS_MAX: usize = 500;
const COLUMNS: u64 = 24;
const ROWS_MAX: u64 = 1_000;

const ONE_OF: &str = "Should be equal to one of the allowed values";

impl Findings {
    /// Reads a body.
    pub(super) fn of(body: &str) -> Self {
        let mut found = Self::default();
        match serde_json::from_str(body) {
            Ok(Value::Object(members)) => found.read(&members),
            Ok(_) => found.wrong("", "Should be object"),
            Err(_malformed) => found.wrong("", "The dashboard body is not valid JSON"),
        }
        found
    }

    fn read(&mut self, members: &Map<String, Value>) {
        self.doubt_others("", members, &MEMBERS);
        for name in ["start", "end"] {
            if members.get(name).is_some_and(|value| !value.is_string()) {
                self.wrong(&format!("/{name}"), "Should be string");
            }
        }
        let period = members.get("periodOverride");
        if period.is_some_and(|value| !matches!(value.as_str(), Some("auto" | "inherit"))) {
            self.wrong("/periodOverride", ONE_OF);
        }
        if members
            .get("variables")
            .is_some_and(|value| !value.is_array())
        {
            self.wrong("/variables", "Should be array");
        }
        let Some(widgets) = members.get("widgets") else {
            return self.lacks("", "widgets");
        };
        let Some(widgets) = widgets.as_array() else {
            return self.wrong("/widgets", "Should be array");
        };
        if widgets.len() > WIDGETS_MAX {
            let words = format!("Should NOT have more than {WIDGETS_MAX} items");
            return self.wrong("/widgets", &words);
        }
        for (at, widget) in widgets.iter().enumerate() {
            let path = format!("/widgets/{at}");
            match widget {
                Value::Object(members) => self.widget(&path, members),
                _ => self.wrong(&path, "Should be object"),
            }
        }
    }

    fn widget(&mut self, path: &str, members: &Map<String, Value>) {
        self.doubt_others(path, members, &WIDGET_MEMBERS);
        let bounds = [
            ("x", 0, COLUMNS - 1),
            ("y", 0, u64::MAX),
            ("width", 1, COLUMNS),
            ("height", 1, ROWS_MAX),
        ];
        for (name, least, most) in bounds {
            let Some(value) = members.get(name) else {
                continue;
            };
            let path = format!("{path}/{name}");
            match value.as_u64() {
                None => self.wrong(&path, "Should be integer"),
                Some(number) if number < least => {
                    self.wrong(&path, &format!("Should be >= {least}"));
                }
                Some(number) if number > most => {
                    self.wrong(&path, &format!("Should be <= {most}"));
                }
                Some(_) => {}
            }
        }
        // One of them alone says nothing of the place.
        if members.contains_key("x") != members.contains_key("y") {
            self.wrong(path, "Should have both of x and y, or neither");
        }
        let properties = match members.get("properties") {
            None => return self.lacks(path, "properties"),
            Some(Value::Object(properties)) => properties,
            Some(_) => return self.wrong(&format!("{path}/properties"), "Should be object"),
        };
        let Some(kind) = members.get("type") else {
            return self.lacks(path, "type");
        };
        let path = &format!("{path}/properties");
        let kind = kind.as_str().filter(|kind| TYPES.contains(kind));
        let Some(kind) = kind else {
            return self.wrong(&path.replace("/properties", "/type"), ONE_OF);
        };
        match kind {
            "alarm" => self.need(path, properties, "alarms", Value::is_array, "array"),
            "custom" => self.need(path, properties, "endpoint", Value::is_string, "string"),
            "log" => {
                self.need(path, properties, "region", Value::is_string, "string");
                self.need(path, properties, "query", Value::is_string, "string");
            }
            "metric" => {
                self.need(path, properties, "region", Value::is_string, "string");
                // A chart of an alarm names it among the annotations, and no metrics.
                if properties.contains_key("metrics") || !properties.contains_key("annotations") {
                    self.need(path, properties, "metrics", Value::is_array, "array");
                }
                let metrics = properties.get("metrics").and_then(Value::as_array);
                if metrics.is_some_and(Vec::is_empty) {
                    self.wrong(
                        &format!("{path}/metrics"),
                        "Should NOT have fewer than 1 items",
                    );
                }
            }
            "text" => self.need(path, properties, "markdown", Value::is_string, "string"),
            // What charts and explorers need depends on what they are of.
            _ => {}
        }
    }

    /// A member that must be there and be of a type.
    fn need(
        &mut self,
        path: &str,
        members: &Map<String, Value>,
        name: &str,
        fits: fn(&Value) -> bool,
        kind: &str,
    ) {
        match members.get(name) {
            None => self.lacks(path, name),
            Some(value) if fits(value) => {}
            Some(_) => self.wrong(&format!("{path}/{name}"), &format!("Should be {kind}")),
        }
    }

    fn doubt_others(&mut self, path: &str, members: &Map<String, Value>, known: &[&str]) {
        let others = members
            .keys()
            .filter(|name| !known.contains(&name.as_str()));
        self.doubts.extend(others.map(|name| Remark {
            path: format!("{path}/{name}"),
            message: "Should NOT have additional properties".to_owned(),
        }));
    }

    fn lacks(&mut self, path: &str, name: &str) {
        self.wrong(path, &format!("Should have required property '{name}'"));
    }

    fn wrong(&mut self, path: &str, message: &str) {
        self.problems.push(Remark {
            path: path.to_owned(),
            message: message.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Where something is said, in order.
    fn paths(remarks: &[Remark]) -> Vec<&str> {
        remarks.iter().map(|remark| remark.path.as_str()).collect()
    }

    #[test]
    fn dashboards_are_found_to_be_some() {
        for body in [
            json!({"widgets": []}),
            json!({"start": "-PT6H", "periodOverride": "inherit", "variables": [], "widgets": [
                {"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6, "properties":
                    {"metrics": [["Enid", "BytesIn"]], "region": "eu-west-1"}},
                {"type": "metric", "properties": {"annotations": {"alarms": ["a"]}, "region": "r"}},
                {"type": "text", "properties": {"markdown": "hello"}},
                {"type": "log", "properties": {"query": "SOURCE 'g'", "region": "eu-west-1"}},
                {"type": "alarm", "properties": {"alarms": []}},
                {"type": "explorer", "properties": {}},
            ]}),
        ] {
            assert_eq!(
                Findings::of(&body.to_string()),
                Findings::default(),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = |properties| json!({"type": "text", "properties": properties});
        for (body, wanted) in [
            (json!([]), &[""][..]),
            (json!({}), &[""]),
            (json!({"widgets": 1}), &["/widgets"]),
            (json!({"widgets": vec![json!({}); 501]}), &["/widgets"]),
            (
                json!({"widgets": [1, {"type": "text"}]}),
                &["/widgets/0", "/widgets/1"],
            ),
            (
                json!({"widgets": [{"type": "pie", "properties": {}}]}),
                &["/widgets/0/type"],
            ),
            (
                json!({"widgets": [text(json!({}))]}),
                &["/widgets/0/properties"],
            ),
            (
                json!({"widgets": [text(json!({"markdown": 1}))]}),
                &["/widgets/0/properties/markdown"],
            ),
            (
                json!({"widgets": [{"type": "metric", "properties": {"metrics": []}}]}),
                &["/widgets/0/properties", "/widgets/0/properties/metrics"],
            ),
            (
                json!({"start": 1, "periodOverride": "never", "widgets": [
                    {"x": 24, "y": 0, "width": 0, "height": 1.5, "type": "explorer",
                        "properties": {}}]}),
                &[
                    "/start",
                    "/periodOverride",
                    "/widgets/0/x",
                    "/widgets/0/width",
                    "/widgets/0/height",
                ],
            ),
        ] {
            let found = Findings::of(&body.to_string());
            assert_eq!(paths(&found.problems), wanted, "{body}");
            assert!(found.doubts.is_empty());
        }
        assert_eq!(paths(&Findings::of("{").problems), [""]);
    }

    #[test]
    fn what_nobody_reads_is_doubted() {
        let body = json!({"colour": 1, "widgets": [
            {"type": "text", "properties": {"markdown": "m"}, "z": 1}]});
        let found = Findings::of(&body.to_string());
        assert!(found.problems.is_empty());
        assert_eq!(paths(&found.doubts), ["/colour", "/widgets/0/z"]);
    }
}
