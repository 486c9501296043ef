//! Names that are unique in a region, and the key pairs and launch templates that have them.
//! Load balancers and target groups have such names too.

use super::Report;
use crate::id::{KeyPairId, LaunchTemplateId, LoadBalancerId, ResourceId, TargetGroupId};

pub(super) const CLAIMED: &str = "its name is claimed by it";

impl Report<'_> {
    pub(super) fn key_pairs(&mut self) {
        for (id, pair) in &self.region.key_pairs {
            let claimed = self.is_claimed(*id, &pair.name);
            self.need(claimed, id, CLAIMED, &pair.name);
        }
    }

    pub(super) fn launch_templates(&mut self) {
        for (id, template) in &self.region.launch_templates {
            let claimed = self.is_claimed(*id, &template.name);
            self.need(claimed, id, CLAIMED, &template.name);
            let default = template.versions.contains_key(&template.default_version);
            let invariant = "its default version is there";
            self.need(default, id, invariant, &template.default_version);
            let last = template
                .versions
                .last_key_value()
                .map(|(number, _)| *number);
            let in_reach = last.is_some_and(|last| last <= template.latest_version);
            let invariant = "no version is above the latest";
            self.need(in_reach, id, invariant, &template.latest_version);
        }
    }

    pub(super) fn is_claimed<I: ResourceId>(&self, id: I, name: &str) -> bool {
        let key = format!("{}/{name}", I::PREFIX);
        let claim = self.region.names.get(key.as_str());
        claim.is_some_and(|claim| claim.holder == id.to_string())
    }

    pub(super) fn names(&mut self) {
        for (name, claim) in &self.region.names {
            let found = match name.split_once('/') {
                Some((KeyPairId::PREFIX, name)) => {
                    let id: Option<KeyPairId> = claim.holder.parse().ok();
                    let pair = id.and_then(|id| self.region.key_pairs.get(&id));
                    pair.is_some_and(|pair| pair.name == name)
                }
                Some((LaunchTemplateId::PREFIX, name)) => {
                    let id: Option<LaunchTemplateId> = claim.holder.parse().ok();
                    let template = id.and_then(|id| self.region.launch_templates.get(&id));
                    template.is_some_and(|template| template.name == name)
                }
                Some((LoadBalancerId::PREFIX, name)) => {
                    let id: Option<LoadBalancerId> = claim.holder.parse().ok();
                    let balancer = id.and_then(|id| self.region.load_balancers.get(&id));
                    balancer.is_some_and(|balancer| balancer.name == name)
                }
                Some((TargetGroupId::PREFIX, name)) => {
                    let id: Option<TargetGroupId> = claim.holder.parse().ok();
                    let group = id.and_then(|id| self.region.target_groups.get(&id));
                    group.is_some_and(|group| group.name == name)
                }
                _ => false,
            };
            self.need(found, name, "its holder has the name", &claim.holder);
        }
    }
}
