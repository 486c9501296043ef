//! Patterns in filters.

use std::collections::BTreeMap;

use enid_api::ec2::filter::Filters;
use enid_api::generated::ec2::request::Filter;

/// The input is a text and the values of a filter, a line each. The filter matches the text if a
/// plain reading of any of its patterns does.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n').map(str::to_owned);
    let subject = lines.next().unwrap_or_default();
    let values: Vec<String> = lines.collect();
    let is_too_much = values.len() > 200 || values.iter().any(|value| value.chars().count() > 255);
    let wanted = values.iter().any(|value| matches(value, &subject));
    let is_empty = values.is_empty();
    let filter = Filter {
        name: Some("tag-value".to_owned()),
        values,
    };
    match Filters::<()>::compile(&[filter], |_| None) {
        Ok(filters) => {
            assert!(!is_too_much && !is_empty);
            let tags = BTreeMap::from([(String::new(), subject)]);
            assert_eq!(filters.match_resource(&tags, |(), _| ()), wanted);
        }
        Err(error) => assert!(is_too_much || is_empty, "{error}"),
    }
}

/// Which beginnings of the text each beginning of the pattern matches, one after the other.
fn matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let wanted = match letter {
            '*' => {
                let first = reached.iter().position(|here| *here);
                let first = first.unwrap_or(reached.len());
                reached[first..].fill(true);
                continue;
            }
            '?' => None,
            '\\' => Some(
                letters
                    .next_if(|next| matches!(next, '*' | '?' | '\\'))
                    .unwrap_or('\\'),
            ),
            letter => Some(letter),
        };
        for at in (0..text.len()).rev() {
            reached[at + 1] = reached[at] && wanted.is_none_or(|wanted| wanted == text[at]);
        }
        reached[0] = false;
    }
    reached[text.len()]
}
