//! Tags: AWS's rules for them, and the operations that change them on any kind of resource.
//!
//! Every create takes its tags through [`specified`], so the rules are in one place.

use std::collections::BTreeMap;

use enid_model::Tags;

use crate::instance_metadata::check_tags;
use crate::taggable::{Changes, Taggable};
use crate::{Caller, Control, Error};

/// A tag as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value; empty if the client gives none.
    pub value: String,
}

/// Tags for the resources of one type that a request creates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSpecification {
    /// Such as `subnet`.
    pub resource_type: Option<String>,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// A tag that DeleteTags names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSelector {
    /// Its key.
    pub key: String,
    /// Its value. Without one the tag goes whatever its value; with one it goes if they are equal.
    pub value: Option<String>,
}

/// The tags that a create's specifications give to the one type of resource that it makes.
pub(crate) fn specified(
    specifications: &[TagSpecification],
    resource_type: &str,
) -> Result<Tags, Error> {
    let mut by_type = specified_by_type(specifications, &[resource_type])?;
    Ok(by_type.remove(resource_type).unwrap_or_default())
}

/// The same for a create that makes resources of several types.
pub(crate) fn specified_by_type<'a>(
    specifications: &[TagSpecification],
    resource_types: &[&'a str],
) -> Result<BTreeMap<&'a str, Tags>, Error> {
    let mut by_type = BTreeMap::new();
    for specification in specifications {
        let named = specification.resource_type.as_deref().unwrap_or_default();
        if named.is_empty() {
            return Err(Error::TagSpecificationWithoutType);
        }
        let known = resource_types.iter().find(|known| **known == named);
        let known = known.ok_or_else(|| Error::TagSpecificationType {
            named: named.into(),
        })?;
        if specification.tags.is_empty() {
            return Err(Error::TagSpecificationWithoutTags);
        }
        if by_type
            .insert(*known, checked(&specification.tags)?)
            .is_some()
        {
            return Err(Error::TagSpecificationTwice {
                named: named.into(),
            });
        }
    }
    Ok(by_type)
}

/// A client's tags, if they keep AWS's rules.
fn checked(tags: &[Tag]) -> Result<Tags, Error> {
    let mut checked = Tags::new();
    for Tag { key, value } in tags {
        check_key(key)?;
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return Err(Error::TagValueTooLong);
        }
        if checked.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::TagKeyTwice {
                key: (**key).into(),
            });
        }
    }
    if checked.len() > TAGS_MAX {
        return Err(Error::TagLimitExceeded);
    }
    Ok(checked)
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::TagKeyEmpty);
    }
    if key.chars().count() > KEY_CHARACTERS_MAX {
        return Err(Error::TagKeyTooLong);
    }
    let reserved = key
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
    if reserved {
        return Err(Error::TagKeyReserved);
    }
    Ok(())
}

const TAGS_MAX: usize = 50;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;
/// What keys of AWS's own tags start with.
const RESERVED: &str = "aws:";

impl Control {
    /// CreateTags: sets tags on every resource named, or on none.
    pub async fn create_tags(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        tags: &[Tag],
    ) -> Result<(), Error> {
        if tags.is_empty() {
            return Err(Error::MissingParameter { name: "tagSet" });
        }
        self.retag(caller, resources, |before| {
            let mut after = before.clone();
            after.extend(checked(tags)?);
            // AWS's own tags do not count.
            let own = after.keys().filter(|key| !key.starts_with(RESERVED));
            if own.count() > TAGS_MAX {
                return Err(Error::TagLimitExceeded);
            }
            Ok(after)
        })
        .await
    }

    /// DeleteTags: takes tags from every resource named. No tag named means all of them.
    pub async fn delete_tags(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        tags: &[TagSelector],
    ) -> Result<(), Error> {
        for selector in tags {
            check_key(&selector.key)?;
        }
        self.retag(caller, resources, |before| {
            let mut after = before.clone();
            after.retain(|key, value| {
                let goes = |selector: &TagSelector| {
                    selector.key == *key && selector.value.as_ref().is_none_or(|v| v == value)
                };
                // AWS's own tags do not go with a client's.
                key.starts_with(RESERVED) || !(tags.is_empty() || tags.iter().any(goes))
            });
            Ok(after)
        })
        .await
    }

    async fn retag(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        change: impl Fn(&Tags) -> Result<Tags, Error>,
    ) -> Result<(), Error> {
        if resources.is_empty() {
            return Err(Error::MissingParameter {
                name: "resourceIdSet",
            });
        }
        self.transact(caller, |draft| {
            let mut changes = Changes::default();
            for resource in resources {
                changes.retag(draft, *resource, &change)?;
            }
            for instance in changes.instances() {
                check_tags(instance.metadata_options, &instance.tags)?;
            }
            changes.write(draft);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use enid_model::id::VpcId;

    use super::*;
    use crate::fixture::{caller, control};
    use crate::{tagged, tags_of};

    fn tag(key: &str, value: &str) -> Tag {
        Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    fn specification(resource_type: &str, tags: &[Tag]) -> TagSpecification {
        TagSpecification {
            resource_type: Some(resource_type.to_owned()),
            tags: tags.to_vec(),
        }
    }

    #[test]
    fn ids_of_every_kind_are_read() {
        let id = "sgr-00123456789abcdef";
        let parsed = Taggable::parse(id);
        assert_eq!(parsed.as_ref().map(|p| p.to_string()).as_deref(), Ok(id));
        assert_eq!(
            parsed.map(Taggable::resource_type),
            Ok("security-group-rule")
        );
        let code = |text| Taggable::parse(text).map_err(|error| error.code());
        assert_eq!(code("vpc-12345678"), Err("InvalidVpcID.NotFound"));
        assert_eq!(
            code("sgr-f0123456789abcdef"),
            Err("InvalidSecurityGroupRuleId.NotFound")
        );
        for text in ["", "vpc", "vpc-xyz", "planet-00123456789abcdef"] {
            assert_eq!(code(text), Err("InvalidID"), "{text}");
        }
    }

    #[test]
    fn a_specification_must_fit_what_is_created() {
        let fits = specified(&[specification("vpc", &[tag("Name", "a")])], "vpc");
        assert_eq!(
            fits.map(|tags| tags.get("Name").cloned()),
            Ok(Some("a".to_owned()))
        );
        let error = |specifications: &[TagSpecification]| {
            specified(specifications, "vpc").map_err(|error| error.to_string())
        };
        assert_eq!(
            error(&[specification("subnet", &[tag("a", "")])]),
            Err("'subnet' is not a valid taggable resource type for this operation.".to_owned())
        );
        assert!(error(&[specification("vpc", &[])]).is_err());
        let untyped = TagSpecification {
            resource_type: None,
            tags: vec![tag("a", "")],
        };
        assert!(error(&[untyped]).is_err());
        let one = specification("vpc", &[tag("a", "")]);
        assert!(error(&[one.clone(), one]).is_err());
    }

    #[test]
    fn tags_keep_the_rules() {
        let code = |tags: &[Tag]| checked(tags).map(|t| t.len()).map_err(|e| e.code());
        let longest = tag(&"k".repeat(128), &"é".repeat(256));
        assert_eq!(code(&[longest]), Ok(1));
        let invalid = Err("InvalidParameterValue");
        assert_eq!(code(&[tag(&"k".repeat(129), "")]), invalid);
        assert_eq!(code(&[tag("k", &"v".repeat(257))]), invalid);
        assert_eq!(code(&[tag("", "v")]), invalid);
        assert_eq!(code(&[tag("aws:name", "v")]), invalid);
        assert_eq!(code(&[tag("awsome", "v")]), Ok(1));
        assert_eq!(code(&[tag("k", "1"), tag("k", "2")]), invalid);
        let many = |count| {
            let tags = (0..count).map(|n: u32| tag(&n.to_string(), ""));
            tags.collect::<Vec<_>>()
        };
        assert_eq!(code(&many(50)), Ok(50));
        assert_eq!(code(&many(51)), Err("TagLimitExceeded"));
    }

    #[tokio::test]
    async fn tags_are_set_and_taken_together_or_not_at_all() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let group = region.security_groups.values().next().expect("a group");
        let rules = group.rules.keys().copied().map(Taggable::SecurityGroupRule);
        let mut all: Vec<_> = rules.collect();
        all.push(Taggable::SecurityGroup(group.id));
        all.extend(region.subnets.keys().copied().map(Taggable::Subnet));
        all.push(Taggable::SecurityGroup(group.id));
        let count = || async {
            let region = control.read(&caller).await.expect("a region");
            for (resource, tags) in tagged(&region) {
                assert_eq!(tags_of(&region, resource), Some(tags));
            }
            tagged(&region).map(|(_, tags)| tags.len()).sum::<usize>()
        };
        let tags = [tag("a", "1"), tag("b", "2")];
        let done = control.create_tags(&caller, &all, &tags).await;
        assert_eq!(done, Ok(()));
        assert_eq!(count().await, 2 * (all.len() - 1));

        // One unknown resource, and nothing changes.
        let mut unknown = all.clone();
        unknown.push(Taggable::Vpc(VpcId(7)));
        let done = control.delete_tags(&caller, &unknown, &[]).await;
        assert_eq!(done.map_err(|e| e.code()), Err("InvalidVpcID.NotFound"));
        assert_eq!(count().await, 2 * (all.len() - 1));

        let select = |key: &str, value: Option<&str>| TagSelector {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        let selectors = [select("a", Some("other")), select("b", None)];
        let done = control.delete_tags(&caller, &all, &selectors).await;
        assert_eq!(done, Ok(()));
        assert_eq!(count().await, all.len() - 1);
        assert_eq!(control.delete_tags(&caller, &all, &[]).await, Ok(()));
        assert_eq!(count().await, 0);
    }

    #[tokio::test]
    async fn a_resource_has_at_most_fifty_tags() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = region.vpcs.keys().copied().map(Taggable::Vpc);
        let vpc: Vec<_> = vpc.collect();
        let many: Vec<_> = (0..50).map(|n| tag(&n.to_string(), "")).collect();
        assert_eq!(control.create_tags(&caller, &vpc, &many).await, Ok(()));
        // A key that is there already is no further tag.
        let again = [tag("7", "new")];
        assert_eq!(control.create_tags(&caller, &vpc, &again).await, Ok(()));
        let further = [tag("fifty-one", "")];
        let done = control.create_tags(&caller, &vpc, &further).await;
        assert_eq!(done, Err(Error::TagLimitExceeded));
    }
}
