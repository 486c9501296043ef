//! Filter policies of SNS subscriptions.

use std::collections::BTreeMap;

use enid_telemetry::notify::filter::FilterPolicy;
use enid_telemetry::notify::message::Attribute;
use serde_json::Value;

/// The input is a policy, and after a line break the body of a message. A policy that is read is JSON, and is
/// read alike when it is written down again; what is no object has no members that it could want; and the
/// strings of a body are wanted as attributes if they are as members.
pub fn filter_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (policy, body) = text.split_once('\n').unwrap_or((text, ""));
    let read = match FilterPolicy::parse(policy) {
        Ok(read) => read,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let value: Value = serde_json::from_str(policy).expect("a policy is JSON");
    // What is written down may be longer than what was sent, and there is a limit.
    if policy.len() < 1_000 {
        assert_eq!(FilterPolicy::parse(&value.to_string()).as_ref(), Ok(&read));
    }
    let is_wanted = read.matches_body(body);
    let Ok(Value::Object(members)) = serde_json::from_str(body) else {
        return assert!(!is_wanted);
    };
    let strings = members.iter().map(|(name, value)| {
        let attribute = Attribute {
            data_type: "String".to_owned(),
            value: value.as_str()?.to_owned(),
        };
        Some((name.clone(), attribute))
    });
    let strings: Option<BTreeMap<String, Attribute>> = strings.collect();
    if let Some(attributes) = strings {
        assert_eq!(read.matches_attributes(&attributes), is_wanted);
    }
}
