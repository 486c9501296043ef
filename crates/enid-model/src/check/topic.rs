//! Subscriptions to topics. A topic refers to nothing.

use super::Report;
use crate::uuid::Uuid;

impl Report<'_> {
    pub(super) fn subscriptions(&mut self) {
        for (key, _) in &self.region.subscriptions {
            let (topic, id) = key.split_once('/').unwrap_or((key, ""));
            let well_named = id.parse::<Uuid>().is_ok();
            self.need(well_named, key, "its key ends with an id", &id);
            let there = self.region.topics.contains_key(topic);
            self.need(there, key, "its topic is there", &topic);
        }
        let mut live = std::collections::BTreeMap::new();
        for (key, subscription) in &self.region.subscriptions {
            let topic = key.split_once('/').map_or("", |(topic, _)| topic);
            let place = (topic, subscription.protocol, &subscription.endpoint);
            if let Some(other) = live.insert(place, key) {
                let invariant = "its topic has no other to the same endpoint";
                self.find(key, invariant, other);
            }
        }
    }
}
