//! A transaction: what must still be true, and what becomes true.

use enid_model::key::{Key, Kind, Scope};
use enid_model::record::Record;
use enid_model::reference::Reference;
use enid_model::state::Revision;

/// What must hold at the moment of the commit. Each is a compare that etcd can make as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key has no record.
    Absent(Key),
    /// No key with this prefix of its name has a record.
    Empty(Scope, Kind, Box<str>),
    /// No record of the kind was written after this revision. Deletions do not count.
    NoneWrittenSince(Scope, Kind, Revision),
    /// The key's record is the one that this revision wrote.
    Unchanged(Key, Revision),
    /// No record of the kind that names the resource was written after this revision. Deletions do
    /// not count.
    UnnamedSince(Scope, Kind, Reference, Revision),
}

/// Puts and deletes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// Records to write, replacing what is there.
    pub puts: Vec<(Key, Record)>,
    /// Keys to delete; an absent one is no error.
    pub deletes: Vec<Key>,
}

impl Transaction {
    /// Whether it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Creates a record whose key must be absent.
    pub fn create(&mut self, key: Key, record: Record) {
        self.conditions.push(Condition::Absent(key.clone()));
        self.puts.push((key, record));
    }

    /// Replaces the record that a revision wrote.
    pub fn update(&mut self, key: Key, read: Revision, record: Record) {
        self.conditions
            .push(Condition::Unchanged(key.clone(), read));
        self.puts.push((key, record));
    }

    /// Deletes the record that a revision wrote.
    pub fn delete(&mut self, key: Key, read: Revision) {
        self.conditions
            .push(Condition::Unchanged(key.clone(), read));
        self.deletes.push(key);
    }

    /// Demands that a record that was read is still the same.
    pub fn depend(&mut self, key: Key, read: Revision) {
        self.conditions.push(Condition::Unchanged(key, read));
    }
}
