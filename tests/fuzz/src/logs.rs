//! Filter patterns and queries of CloudWatch Logs.

use enid_model::time::Timestamp;
use enid_telemetry::log::pattern::FilterPattern;
use enid_telemetry::log::query::Source;
use enid_telemetry::log::query::pipeline::Pipeline;
use enid_telemetry::log::query::plan::Plan;

/// The input is a pattern, and after a line break a message. A pattern that is read matches what it
/// extracts from, and one of plain words matches what has them all.
pub fn log_pattern(data: &[u8]) {
    let Some((pattern, message)) = parts(data) else {
        return;
    };
    let Ok(read) = FilterPattern::parse(pattern) else {
        return;
    };
    let matches = read.matches(message);
    assert_eq!(matches, read.extract(message).is_some());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    if pattern.chars().all(is_plain) {
        let has_all = pattern.split(' ').all(|word| message.contains(word));
        assert_eq!(matches, has_all);
    }
}

/// The input is a query, and after a line break a message. What is read is carried out, and what is
/// not says where it is wrong.
pub fn log_query(data: &[u8]) {
    let Some((query, message)) = parts(data) else {
        return;
    };
    let plan = match Plan::parse(query, Timestamp(0)) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(error.start <= error.end && error.end <= query.chars().count());
            return;
        }
    };
    let mut pipeline = Pipeline::new(&plan, Some(3));
    for at in 0..5 {
        let source = Source {
            at,
            ingested: at,
            message: message.to_owned(),
            stream: "s".to_owned(),
            log: "l".to_owned(),
            pointer: at.to_string(),
        };
        if !pipeline.push(source).expect("five events are kept") {
            break;
        }
    }
    let outcome = pipeline.finish().expect("five events are kept");
    assert!(outcome.rows.len() <= 3 && outcome.matched <= 5);
}

fn parts(data: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(data).ok()?;
    Some(text.split_once('\n').unwrap_or((text, "")))
}
