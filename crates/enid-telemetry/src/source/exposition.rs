//! The text in which Prometheus reads metrics.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! A metric is one group of lines: what it is, its type, and a line for each set of labels, in a fixed
//! order. Values that count to the same line are added up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Meaning, Post, Reading, Shape, Value};

/// What the answer says of itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of all readings that are exposed.
#[must_use]
pub fn expose<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> String {
    let mut groups: BTreeMap<&str, (&Meaning, BTreeMap<String, f64>)> = BTreeMap::new();
    for reading in readings {
        for post in reading.posts.iter().filter(|post| !post.is_sum) {
            let Some(name) = post.meaning.exposed else {
                continue;
            };
            let (_, lines) = groups
                .entry(name)
                .or_insert_with(|| (post.meaning, BTreeMap::new()));
            *lines.entry(labels(post)).or_default() += number(&reading.value);
        }
    }
    let mut text = String::new();
    for (name, (meaning, lines)) in groups {
        let kind = match meaning.shape {
            Shape::Counter => "counter",
            Shape::Gauge => "gauge",
        };
        // Writing to a string does not fail, here and below.
        let help = meaning.help;
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other numbers than these"
)]
fn number(value: &Value) -> f64 {
    match value {
        Value::Count(count) => *count as f64,
        Value::Level(level) => *level,
    }
}

/// `{account="…",region="…",network_interface_id="…"}`
fn labels(post: &Post) -> String {
    let mut pairs: Vec<(String, &str)> = Vec::new();
    let (account, region);
    if let Some(scope) = &post.scope {
        account = scope.account.to_string();
        region = scope.region.as_str();
        pairs.push(("account".to_owned(), &account));
        pairs.push(("region".to_owned(), region));
    }
    let dimensions = post.dimensions.iter();
    pairs.extend(dimensions.map(|(name, value)| (snake_case(name), value.as_str())));
    let labels = post.labels.iter();
    pairs.extend(labels.map(|(name, value)| ((*name).to_owned(), value.as_str())));
    if pairs.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// `NetworkInterfaceId` is `network_interface_id`.
fn snake_case(name: &str) -> String {
    let mut made = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && was_small {
            made.push('_');
        }
        was_small = letter.is_ascii_lowercase();
        made.push(match letter {
            letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
            _ => '_',
        });
    }
    made
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName, Scope};

    use super::*;
    use crate::metric::unit::Unit;

    static BYTES: Meaning = Meaning {
        namespace: Some("Enid"),
        name: "BytesIn",
        unit: Unit::BYTES,
        shape: Shape::Counter,
        exposed: Some("enid_eni_receive_bytes_total"),
        help: "Bytes",
    };
    static FLOWS: Meaning = Meaning {
        namespace: None,
        name: "",
        unit: Unit::COUNT,
        shape: Shape::Gauge,
        exposed: Some("enid_flow_entries"),
        help: "Entries",
    };
    static HIDDEN: Meaning = Meaning {
        namespace: Some("Enid"),
        name: "Hidden",
        unit: Unit::COUNT,
        shape: Shape::Gauge,
        exposed: None,
        help: "Hidden",
    };

    #[test]
    fn groups_are_whole_and_lines_add_up() {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        };
        let eni = |id: &str| {
            let dimensions = vec![("NetworkInterfaceId", id.to_owned())];
            vec![Post::new(&BYTES, &scope, dimensions)]
        };
        let readings = [
            Reading::count("b".to_owned(), 2, eni("eni-b")),
            Reading::level("f".to_owned(), 0.5, vec![Post::own(&FLOWS, Vec::new())]),
            Reading::count("a".to_owned(), 1, eni("eni-\"a\\\n")),
            Reading::count("c".to_owned(), 3, eni("eni-b")),
            Reading::count("d".to_owned(), 9, vec![eni("eni-b").remove(0).sum()]),
            Reading::level("h".to_owned(), 1.0, vec![Post::own(&HIDDEN, Vec::new())]),
        ];
        let who = "account=\"123456789012\",region=\"eu-west-1\"";
        let wanted = format!(
            "# HELP enid_eni_receive_bytes_total Bytes.\n\
             # TYPE enid_eni_receive_bytes_total counter\n\
             enid_eni_receive_bytes_total{{{who},network_interface_id=\"eni-\\\"a\\\\\\n\"}} 1\n\
             enid_eni_receive_bytes_total{{{who},network_interface_id=\"eni-b\"}} 5\n\
             # HELP enid_flow_entries Entries.\n\
             # TYPE enid_flow_entries gauge\n\
             enid_flow_entries 0.5\n"
        );
        assert_eq!(expose(&readings), wanted);
    }

    #[test]
    fn dimensions_become_labels() {
        assert_eq!(snake_case("NatGatewayId"), "nat_gateway_id");
        assert_eq!(snake_case("Per-VPC Metrics"), "per_vpc_metrics");
    }
}
