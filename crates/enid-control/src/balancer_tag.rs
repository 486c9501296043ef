//! Tags of load balancers, target groups and listeners: by ARN, all resources named or none.

use enid_model::Tags;
use enid_model::balancer_arn::BalancerResource;
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_model::target_group::TargetGroup;

use crate::{BalancingError, Caller, Control, Error, Tag};

/// A client's tags, if they keep AWS's rules.
pub(crate) fn checked_tags(tags: &[Tag]) -> Result<Tags, BalancingError> {
    let mut checked = Tags::new();
    for Tag { key, value } in tags {
        let characters = key.chars().count();
        if !(1..=KEY_CHARACTERS_MAX).contains(&characters) {
            return Err(BalancingError::validation(format!(
                "Tag keys must have between 1 and {KEY_CHARACTERS_MAX} characters"
            )));
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return Err(BalancingError::validation(format!(
                "Tag values must not have more than {VALUE_CHARACTERS_MAX} characters"
            )));
        }
        let start = key.get(..RESERVED.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            let why = "Tag keys starting with 'aws:' are reserved for system use";
            return Err(BalancingError::validation(why));
        }
        if checked.insert(key.clone(), value.clone()).is_some() {
            let key = (**key).into();
            return Err(BalancingError::TagKeyTwice { key });
        }
    }
    check_count(&checked)?;
    Ok(checked)
}

fn check_count(tags: &Tags) -> Result<(), BalancingError> {
    match tags.len() > TAGS_MAX {
        true => Err(BalancingError::TooManyTags),
        false => Ok(()),
    }
}

const TAGS_MAX: usize = 50;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;
/// What keys of AWS's own tags start with.
const RESERVED: &str = "aws:";

impl Control {
    /// AddTags.
    pub async fn add_balancer_tags(
        &self,
        caller: &Caller,
        resources: &[BalancerResource],
        tags: &[Tag],
    ) -> Result<(), Error> {
        let new = checked_tags(tags)?;
        self.retag_balancers(caller, resources, |tags| {
            tags.extend(new.clone());
            check_count(tags)
        })
        .await
    }

    /// RemoveTags.
    pub async fn remove_balancer_tags(
        &self,
        caller: &Caller,
        resources: &[BalancerResource],
        keys: &[String],
    ) -> Result<(), Error> {
        self.retag_balancers(caller, resources, |tags| {
            tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    async fn retag_balancers(
        &self,
        caller: &Caller,
        resources: &[BalancerResource],
        change: impl Fn(&mut Tags) -> Result<(), BalancingError>,
    ) -> Result<(), Error> {
        let mut named: Vec<&BalancerResource> = Vec::new();
        for resource in resources {
            if !named.contains(&resource) {
                named.push(resource);
            }
        }
        self.transact(caller, |draft| {
            /// A record with its tags changed.
            macro_rules! retag {
                ($record:ident, $id:expr) => {{
                    let found = draft.require::<$record>(*$id)?;
                    let mut tags = found.tags.clone();
                    change(&mut tags)?;
                    draft.edit(&found, |new| new.tags = tags);
                }};
            }
            for resource in &named {
                match resource {
                    BalancerResource::Listener { id, .. } => retag!(Listener, id),
                    BalancerResource::ListenerRule { .. } => return Err(untaggable().into()),
                    BalancerResource::LoadBalancer { id, .. } => retag!(LoadBalancer, id),
                    BalancerResource::TargetGroup { id, .. } => retag!(TargetGroup, id),
                }
            }
            Ok(())
        })
        .await
    }
}

/// The tags of a resource that is there.
pub fn balancer_tags<'a>(
    region: &'a RegionState,
    resource: &BalancerResource,
) -> Result<&'a Tags, Error> {
    match resource {
        BalancerResource::Listener { id, .. } => {
            let found = region.listeners.get(id);
            found
                .map(|found| &found.tags)
                .ok_or_else(|| Error::not_found(*id))
        }
        BalancerResource::ListenerRule { .. } => Err(untaggable().into()),
        BalancerResource::LoadBalancer { id, .. } => {
            let found = region.load_balancers.get(id);
            found
                .map(|found| &found.tags)
                .ok_or_else(|| Error::not_found(*id))
        }
        BalancerResource::TargetGroup { id, .. } => {
            let found = region.target_groups.get(id);
            found
                .map(|found| &found.tags)
                .ok_or_else(|| Error::not_found(*id))
        }
    }
}

fn untaggable() -> BalancingError {
    BalancingError::NotPermitted {
        why: "Default rules cannot have tags".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{balancer, caller, control, place};

    fn tag(key: &str) -> Tag {
        Tag {
            key: key.to_owned(),
            value: "v".to_owned(),
        }
    }

    #[test]
    fn tags_keep_the_rules() {
        let many: Vec<Tag> = (0..51).map(|number| tag(&number.to_string())).collect();
        for (tags, code) in [
            (vec![tag("a"), tag("a")], "DuplicateTagKeys"),
            (vec![tag("AWS:a")], "ValidationError"),
            (vec![tag("")], "ValidationError"),
            (many, "TooManyTags"),
        ] {
            let refused = checked_tags(&tags).map_err(|error| error.code());
            assert_eq!(refused, Err(code));
        }
        assert_eq!(
            checked_tags(&[tag("a"), tag("b")]).map(|tags| tags.len()),
            Ok(2)
        );
    }

    #[tokio::test]
    async fn all_are_tagged_or_none() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let balancer = balancer(&control, &place, "web").await;
        let there = BalancerResource::LoadBalancer {
            name: balancer.name.clone(),
            id: balancer.id,
        };
        let gone = BalancerResource::TargetGroup {
            name: "gone".to_owned(),
            id: enid_model::id::TargetGroupId(7),
        };
        let both = [there.clone(), gone.clone()];
        let tags = [tag("a"), tag("b")];
        let refused = control.add_balancer_tags(&caller, &both, &tags);
        let code = refused.await.map_err(|error| error.code());
        assert_eq!(code, Err("TargetGroupNotFound"));
        let one = [there.clone(), there.clone()];
        let added = control.add_balancer_tags(&caller, &one, &tags);
        assert_eq!(added.await, Ok(()));
        let keys = ["a".to_owned()];
        let removed = control.remove_balancer_tags(&caller, &one, &keys);
        assert_eq!(removed.await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        let left = balancer_tags(&region, &there).map(|tags| tags.keys().cloned().collect());
        assert_eq!(left, Ok(vec!["b".to_owned()]));
        assert!(balancer_tags(&region, &gone).is_err());
    }
}
