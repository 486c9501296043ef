//! Route tables.

use std::collections::BTreeSet;

use super::Report;
use crate::route_table::RouteDestination;

impl Report<'_> {
    pub(super) fn route_tables(&mut self) {
        let region = self.region;
        for (id, table) in &region.route_tables {
            self.need(*id == table.id, id, "its key is its id", &table.id);
            self.vpc(id, table.vpc);
            let mut destinations = BTreeSet::new();
            for route in &table.routes {
                let once = destinations.insert(route.destination);
                let found = format!("{:?}", route.destination);
                self.need(once, id, "each destination is there once", &found);
                // A target may be gone: that makes its route a blackhole. A list cannot go while
                // a route names it.
                if let RouteDestination::PrefixList(list) = route.destination {
                    let there = region.prefix_lists.contains_key(&list);
                    let invariant = "each prefix list that a route names is there";
                    self.need(there, id, invariant, &list);
                }
            }
        }
    }
}
