//! Log groups and their streams.

use std::collections::BTreeSet;

use super::Report;

impl Report<'_> {
    pub(super) fn log_groups(&mut self) {
        let groups = self.region.log_groups.iter();
        let uids = groups.map(|(name, group)| (group.uid, name.to_string()));
        self.unique("its events are its own", uids);
    }

    pub(super) fn log_streams(&mut self) {
        let groups = self.region.log_groups.values();
        let groups: BTreeSet<_> = groups.map(|group| group.uid).collect();
        for ((group, name), _) in &self.region.log_streams {
            let there = groups.contains(group);
            self.need(there, name, "its group is there", group);
        }
        let streams = self.region.log_streams.iter();
        let uids = streams.map(|((_, name), stream)| (stream.uid, name.to_string()));
        self.unique("its events are its own", uids);
    }
}
