//! Targets, filters and sessions of traffic mirroring.

use super::Report;
use crate::traffic_mirror::{RULES_PER_FILTER_MAX, SESSIONS_PER_SOURCE_MAX};

impl Report<'_> {
    pub(super) fn traffic_mirror_targets(&mut self) {
        let region = self.region;
        for (id, target) in &region.traffic_mirror_targets {
            // Its interface may have gone; its sessions copy nothing then.
            self.need(*id == target.id, id, "its key is its id", &target.id);
        }
    }

    pub(super) fn traffic_mirror_filters(&mut self) {
        let region = self.region;
        let filters = || region.traffic_mirror_filters.values();
        let rules = filters().flat_map(|filter| {
            let rules = filter.rules.keys();
            rules.map(|rule| (*rule, filter.id.to_string()))
        });
        self.unique("its rules are its own", rules);
        for (id, filter) in &region.traffic_mirror_filters {
            self.need(*id == filter.id, id, "its key is its id", &filter.id);
            let places = filter.rules.values().map(|rule| {
                let place = format!("{:?} {}", rule.direction, rule.number);
                (place, id.to_string())
            });
            self.unique("a direction's rules have numbers of their own", places);
            let count = filter.rules.len();
            let fits = count <= RULES_PER_FILTER_MAX;
            self.need(fits, id, "it has no more rules than it may", &count);
            for (key, rule) in &filter.rules {
                self.need(*key == rule.id, id, "a rule's key is its id", &rule.id);
                let ports = rule.source_ports.iter().chain(&rule.destination_ports);
                let in_order = ports.clone().all(|range| range.from <= range.to);
                self.need(in_order, id, "its rules' ports are in order", &rule.id);
                let has_ports = matches!(rule.protocol, Some(TCP | UDP));
                let fits = has_ports || ports.count() == 0;
                self.need(fits, id, "only TCP and UDP have ports", &rule.id);
                let one_family = rule.source.addr().is_ipv4() == rule.destination.addr().is_ipv4();
                let invariant = "both blocks of a rule are of one family";
                self.need(one_family, id, invariant, &rule.id);
            }
        }
    }

    pub(super) fn traffic_mirror_sessions(&mut self) {
        let region = self.region;
        let sessions = region.traffic_mirror_sessions.values();
        let numbers = sessions.map(|session| {
            let place = format!("{} {}", session.network_interface, session.number);
            (place, session.id.to_string())
        });
        self.unique("a source's sessions have numbers of their own", numbers);
        for (id, session) in &region.traffic_mirror_sessions {
            self.need(*id == session.id, id, "its key is its id", &session.id);
            self.eni(id, session.network_interface);
            let there = region.traffic_mirror_targets.contains_key(&session.target);
            self.need(there, id, "its target is there", &session.target);
            let there = region.traffic_mirror_filters.contains_key(&session.filter);
            self.need(there, id, "its filter is there", &session.filter);
            let beside = region.traffic_mirror_sessions_of_eni(session.network_interface);
            let count = beside.count();
            let fits = count <= SESSIONS_PER_SOURCE_MAX;
            let invariant = "its source has no more sessions than it may";
            self.need(fits, id, invariant, &count);
            let mut targets = region.traffic_mirror_targets_of_eni(session.network_interface);
            let apart = targets.next().is_none();
            let invariant = "its source is no target";
            self.need(apart, id, invariant, &session.network_interface);
            let fits = session.virtual_network_id < 1 << 24;
            let invariant = "its network identifier has 24 bits";
            self.need(fits, id, invariant, &session.virtual_network_id);
        }
    }
}

/// The protocols that have ports.
const TCP: u8 = 6;
const UDP: u8 = 17;
