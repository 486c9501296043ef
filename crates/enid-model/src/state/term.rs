//! What interfaces are looked up by: a name and a value, hashed.
//!
//! The index holds 16 bytes per term and interface, whatever its text. Two terms with one hash are
//! found together, so what is found is a candidate that is still to be compared.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};

use imbl::OrdSet;

use crate::id::EniId;
use crate::network_interface::{Mac, NetworkInterface};

/// Something that an interface has, and that few interfaces may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Term<'a> {
    /// It is attached.
    Attached,
    /// Its description.
    Description(&'a str),
    /// Its MAC address.
    Mac(Mac),
    /// Who made it, if not the account itself.
    Requester(&'a str),
    /// It forwards: source and destination are not checked.
    Router,
    /// A tag with its value.
    Tag(&'a str, &'a str),
    /// A tag's key.
    TagKey(&'a str),
    /// A tag's value.
    TagValue(&'a str),
}

impl Term<'_> {
    /// Calls with every term of an interface.
    fn each(eni: &NetworkInterface, mut tell: impl FnMut(Term<'_>)) {
        if eni.is_in_use() {
            tell(Term::Attached);
        }
        // Most have none: that is nothing to look an interface up by.
        if !eni.description.is_empty() {
            tell(Term::Description(&eni.description));
        }
        tell(Term::Mac(eni.mac));
        if let Some(requester) = &eni.requester_id {
            tell(Term::Requester(requester));
        }
        if !eni.source_dest_check {
            tell(Term::Router);
        }
        for (key, value) in &eni.tags {
            tell(Term::Tag(key, value));
            tell(Term::TagKey(key));
            tell(Term::TagValue(value));
        }
    }

    fn digest(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The interfaces by their terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TermIndex(OrdSet<(u64, EniId)>);

impl TermIndex {
    pub(super) fn insert(&mut self, eni: &NetworkInterface) {
        Term::each(eni, |term| {
            self.0.insert((term.digest(), eni.id));
        });
    }

    pub(super) fn remove(&mut self, eni: &NetworkInterface) {
        Term::each(eni, |term| {
            self.0.remove(&(term.digest(), eni.id));
        });
    }

    /// The interfaces from an id on that have a term, by id; some may only seem to have it.
    pub(super) fn from(&self, term: Term<'_>, first: EniId) -> impl Iterator<Item = EniId> + '_ {
        let digest = term.digest();
        self.0
            .range((digest, first)..=(digest, EniId(u64::MAX)))
            .map(|(_, eni)| *eni)
    }
}
