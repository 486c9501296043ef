//! What CloudWatch gets as JSON in a text: metric widgets and the bodies of dashboards.

use enid_api::monitoring::{check_dashboard, check_widget};
use enid_model::time::Timestamp;
use serde_json::Value;

const NOW: Timestamp = Timestamp(1_767_323_045_000);

/// The input is a metric widget. One that is read is JSON, and is read alike when it is written down again;
/// one that is not says why.
pub fn widget(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = check_widget(text, NOW, "eu-west-1");
    let value: Value = match (serde_json::from_str(text), &read) {
        (Ok(value), _) => value,
        (Err(_), Ok(())) => panic!("what is no JSON was read"),
        (Err(_), Err(_)) => return,
    };
    let again = check_widget(&value.to_string(), NOW, "eu-west-1");
    match read {
        // What is written down may be longer than what was sent, and there is a limit.
        Ok(()) if text.len() < 10_000 => assert!(again.is_ok()),
        Ok(()) => {}
        Err(error) => {
            assert!(matches!(error.status(), 400) && !error.message().is_empty());
            assert!(text.len() > 10_000 || again.is_err());
        }
    }
}

/// The input is the body of a dashboard. One without a problem is what its own reading says; a problem is
/// where the body has something, or lacks it.
pub fn dashboard(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let problems = check_dashboard(text);
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return assert_eq!(problems.len(), 1);
    };
    for place in &problems {
        assert!(value.pointer(place).is_some(), "{place}");
    }
    if problems.is_empty() {
        let widgets = value["widgets"].as_array().expect("it has widgets");
        for widget in widgets {
            assert!(widget["type"].is_string() && widget["properties"].is_object());
        }
    }
}
