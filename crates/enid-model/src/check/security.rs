//! Security groups, network ACLs and prefix lists.

use std::collections::BTreeSet;

use super::Report;
use crate::prefix_list::AddressFamily;
use crate::security_group::Peer;

impl Report<'_> {
    pub(super) fn security_groups(&mut self) {
        let region = self.region;
        let rules = region.security_groups.values().flat_map(|group| {
            let rules = group.rules.keys();
            rules.map(|rule| (*rule, group.id.to_string()))
        });
        self.unique("each rule's id is its own", rules);
        for (id, group) in &region.security_groups {
            self.need(*id == group.id, id, "its key is its id", &group.id);
            self.vpc(id, group.vpc);
            let key = format!("{}/{}", group.vpc, group.name.to_lowercase());
            let claim = region.group_names.get(key.as_str());
            let own = claim.is_some_and(|claim| claim.group == *id);
            self.need(own, id, "its name is claimed by it", &group.name);
            for vpc in &group.associated_vpcs {
                let there = region.vpcs.contains_key(vpc) && *vpc != group.vpc;
                self.need(there, id, "each associated VPC is there", vpc);
            }
            let mut matchers = BTreeSet::new();
            for (key, rule) in &group.rules {
                self.need(*key == rule.id, id, "each rule has its id for a key", key);
                let once = matchers.insert(rule.matcher);
                self.need(once, id, "no two rules allow the same", key);
                match rule.matcher.peer {
                    Peer::Group(peer) => {
                        self.group(id, "each group that a rule names is there", peer);
                    }
                    Peer::PrefixList(list) => {
                        let there = region.prefix_lists.contains_key(&list);
                        let invariant = "each prefix list that a rule names is there";
                        self.need(there, id, invariant, &list);
                    }
                    Peer::Ipv4(_) | Peer::Ipv6(_) => {}
                }
            }
        }
    }

    pub(super) fn group_names(&mut self) {
        for (name, claim) in &self.region.group_names {
            let group = self.region.security_groups.get(&claim.group);
            let own = group.is_some_and(|group| {
                format!("{}/{}", group.vpc, group.name.to_lowercase()) == **name
            });
            self.need(own, name, "its group has the name", &claim.group);
        }
    }

    pub(super) fn network_acls(&mut self) {
        let region = self.region;
        for (id, acl) in &region.network_acls {
            self.vpc(id, acl.vpc);
            let vpc = region.vpcs.get(&acl.vpc);
            let is_default = vpc.is_some_and(|vpc| vpc.default_network_acl == *id);
            let invariant = "it is its VPC's default one if it says so";
            self.need(is_default == acl.is_default, id, invariant, &acl.is_default);
            let mut last = None;
            for entry in &acl.entries {
                let place = (entry.direction, entry.number);
                let invariant = "its entries are in order, each number once";
                self.need(last < Some(place), id, invariant, &entry.number);
                last = Some(place);
            }
        }
    }

    pub(super) fn prefix_lists(&mut self) {
        for (id, list) in &self.region.prefix_lists {
            let present = list.versions.contains_key(&list.version);
            self.need(present, id, "its present version is there", &list.version);
            let invariant = "its version is the last one";
            let is_last = list.versions.last_key_value().map(|(number, _)| *number);
            self.need(is_last == Some(list.version), id, invariant, &list.version);
            let entries = list.entries();
            let fits = u32::try_from(entries.len()).is_ok_and(|count| count <= list.entries_max);
            let invariant = "it has no more entries than it may";
            self.need(fits, id, invariant, &entries.len());
            let mut last = None;
            for entry in entries {
                let invariant = "its entries are in order, each block once";
                self.need(last < Some(entry.cidr), id, invariant, &entry.cidr);
                last = Some(entry.cidr);
                let is_ipv4 = entry.cidr.addr().is_ipv4();
                let fits = is_ipv4 == (list.family == AddressFamily::Ipv4);
                self.need(fits, id, "each entry is of its family", &entry.cidr);
            }
        }
    }
}
