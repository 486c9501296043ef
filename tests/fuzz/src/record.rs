//! What the store's file holds: keys and records.

use enid_model::key::{Key, Kind};
use enid_model::record::Record;

/// A key is written as it was read.
pub fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = text.parse::<Key>() {
        assert_eq!(key.to_string(), text);
    }
}

/// The input is a kind's word, a line feed, and a stored value: what is read, stored again, is read
/// alike.
pub fn record(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (word, value) = (&data[..at], &data[at + 1..]);
    let Some(kind) = KINDS.iter().find(|kind| kind.word().as_bytes() == word) else {
        return;
    };
    let Ok(record) = Record::from_bytes(*kind, value) else {
        return;
    };
    assert_eq!(record.kind(), *kind);
    let again = Record::from_bytes(*kind, &record.to_bytes());
    assert_eq!(again.ok(), Some(record));
}

const KINDS: [Kind; 9] = [
    Kind::AddressLease,
    Kind::GroupName,
    Kind::Instance,
    Kind::NetworkInterface,
    Kind::Region,
    Kind::SecurityGroup,
    Kind::Subnet,
    Kind::Token,
    Kind::Vpc,
];
