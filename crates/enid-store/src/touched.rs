//! When records of each kind were last written, as a whole and by the resources that they name.
//!
//! Only what was written since some revision is known, the floor: a condition on an older one does
//! not hold, and whoever read that long ago reads again. So nothing need be known when a store is
//! opened, and what is kept is bounded.

use std::collections::HashMap;

use enid_model::key::{Key, Kind, Scope};
use enid_model::record::Record;
use enid_model::reference::Reference;
use enid_model::state::Revision;

/// Entries that are kept; the floor rises when there are more.
const ENTRIES_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Touched {
    floor: Revision,
    last: HashMap<(Scope, Kind, Option<Reference>), Revision>,
}

impl Touched {
    /// Nothing is known of what was written up to this revision.
    pub(crate) fn since(floor: Revision) -> Self {
        Self {
            floor,
            last: HashMap::new(),
        }
    }

    /// Forgets if there is too much to know. To be called with the revision of the last commit,
    /// before more is noted.
    pub(crate) fn trim(&mut self, revision: Revision) {
        if self.last.len() > ENTRIES_MAX {
            *self = Self::since(revision);
        }
    }

    /// Notes that a record was written.
    pub(crate) fn note(&mut self, revision: Revision, key: &Key, record: &Record) {
        let mut named = record.references();
        named.sort_unstable();
        named.dedup();
        let named = named.into_iter().map(Some);
        for reference in std::iter::once(None).chain(named) {
            let entry = (key.scope.clone(), key.kind, reference);
            self.last.insert(entry, revision);
        }
    }

    /// Whether no record of a kind, or none that names a resource, was written after a revision.
    pub(crate) fn none_since(
        &self,
        scope: &Scope,
        kind: Kind,
        reference: Option<Reference>,
        revision: Revision,
    ) -> bool {
        let entry = (scope.clone(), kind, reference);
        revision >= self.floor && self.last.get(&entry).is_none_or(|last| *last <= revision)
    }
}

#[cfg(test)]
mod tests {
    use enid_model::Tags;
    use enid_model::id::{SecurityGroupId, VpcId};
    use enid_model::key::{AccountId, RegionName};
    use enid_model::security_group::SecurityGroup;

    use super::*;

    fn group(vpc: u64) -> Record {
        Record::SecurityGroup(SecurityGroup {
            id: SecurityGroupId(1),
            vpc: VpcId(vpc),
            name: String::new(),
            description: String::new(),
            associated_vpcs: Default::default(),
            rules: std::collections::BTreeMap::new(),
            tags: Tags::new(),
        })
    }

    #[test]
    fn what_is_not_known_counts_as_written() {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        };
        let kind = Kind::SecurityGroup;
        let key = Key {
            scope: scope.clone(),
            kind,
            name: "x".into(),
        };
        let mut touched = Touched::since(Revision(5));
        let none = |touched: &Touched, vpc: Option<u64>, revision| {
            let reference = vpc.map(|vpc| Reference::to(VpcId(vpc)));
            touched.none_since(&scope, kind, reference, Revision(revision))
        };
        assert!(none(&touched, None, 5) && !none(&touched, None, 4));
        touched.note(Revision(6), &key, &group(1));
        assert!(!none(&touched, None, 5) && none(&touched, None, 6));
        assert!(!none(&touched, Some(1), 5) && none(&touched, Some(2), 5));

        for vpc in 0..=ENTRIES_MAX as u64 {
            touched.note(Revision(7), &key, &group(vpc));
        }
        touched.trim(Revision(7));
        assert!(!none(&touched, Some(2), 6) && none(&touched, Some(1), 7));
    }
}
