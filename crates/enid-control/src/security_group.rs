//! Security groups: their names, their making and their end. Rules are in `security_group_rule`.

use std::collections::BTreeSet;

use enid_model::id::{SecurityGroupId, VpcId};
use enid_model::key::Kind;
use enid_model::security_group::SecurityGroup;
use enid_model::state::{RegionState, Stored};
use enid_model::vpc::Vpc;

use crate::draft::group_name_key;
use crate::region::{everything_out, new_rule};
use crate::vpc::default_vpc;
use crate::{Caller, Control, Draft, Error, TagSpecification, tag};

/// What CreateSecurityGroup takes.
#[derive(Debug, Clone, Default)]
pub struct CreateSecurityGroup {
    /// Its name, unique in the VPC without regard to case.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its VPC; none means the default VPC.
    pub vpc: Option<VpcId>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// How a client names a group: by its id, or by its name if it is in the default VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSelector {
    /// The group's id.
    pub id: Option<SecurityGroupId>,
    /// The group's name.
    pub name: Option<String>,
}

impl From<SecurityGroupId> for GroupSelector {
    fn from(id: SecurityGroupId) -> Self {
        Self {
            id: Some(id),
            name: None,
        }
    }
}

impl Control {
    /// CreateSecurityGroup. A new group lets everything out and nothing in.
    pub async fn create_security_group(
        &self,
        caller: &Caller,
        input: &CreateSecurityGroup,
    ) -> Result<SecurityGroup, Error> {
        let tags = tag::specified(&input.tag_specifications, "security-group")?;
        let name = checked_name(&input.name)?;
        if input.description.is_empty() {
            return Err(Error::MissingParameter {
                name: "groupDescription",
            });
        }
        if !is_plain(&input.description) {
            return Err(Error::GroupDescriptionInvalid);
        }
        self.transact(caller, |draft| {
            let vpc = match input.vpc {
                Some(vpc) => draft.require::<Vpc>(vpc)?,
                None => {
                    let vpc = default_vpc(&draft.region).cloned();
                    let vpc = vpc.ok_or(Error::NoDefaultVpc)?;
                    draft.depend(&vpc);
                    vpc
                }
            };
            check_quota(draft, vpc.id)?;
            let has_ipv6 = !vpc.ipv6_cidrs.is_empty();
            let rules = everything_out(has_ipv6).map(|matcher| new_rule(draft, matcher));
            let rules = rules.collect();
            let group = SecurityGroup {
                associated_vpcs: BTreeSet::new(),
                id: draft.mint(),
                vpc: vpc.id,
                name: name.to_owned(),
                description: input.description.clone(),
                rules,
                tags: tags.clone(),
            };
            let taken = &draft.region.group_names;
            if taken.contains_key(&*group_name_key(&group)) {
                return Err(Error::GroupNameTaken {
                    name: name.into(),
                    vpc: vpc.id,
                });
            }
            draft.claim_group_name(&group);
            draft.create(group.clone());
            Ok(group)
        })
        .await
    }

    /// DeleteSecurityGroup. Answers which group it was.
    pub async fn delete_security_group(
        &self,
        caller: &Caller,
        selector: &GroupSelector,
    ) -> Result<SecurityGroupId, Error> {
        self.transact(caller, |draft| {
            let group = resolve(draft, selector)?;
            let id = group.id;
            let vpc = draft.region.vpcs.get(&group.vpc);
            if vpc.is_some_and(|vpc| vpc.default_group == id) {
                return Err(Error::DefaultGroup { id });
            }
            let region = std::sync::Arc::clone(&draft.region);
            // A rule of a peer VPC does not keep the group: it turns stale.
            let named_by_others = region.groups_referencing(id).any(|other| {
                let other = region.security_groups.get(&other);
                other.is_some_and(|other| other.id != id && other.vpc == group.vpc)
            });
            if named_by_others
                || !group.associated_vpcs.is_empty()
                || region.enis_of_group(id).next().is_some()
            {
                return Err(Error::GroupInUse { id });
            }
            draft.demand_unnamed(Kind::NetworkInterface, id);
            draft.demand_unnamed(Kind::SecurityGroup, id);
            let name = group_name_key(&group);
            if let Some(claim) = region.group_names.get(&*name) {
                draft.release(Kind::GroupName, name, claim.revision);
            }
            draft.delete(&group);
            Ok(id)
        })
        .await
    }
}

/// The group that a client names; it must still be the same at the commit.
pub(crate) fn resolve(
    draft: &mut Draft<'_>,
    selector: &GroupSelector,
) -> Result<Stored<SecurityGroup>, Error> {
    match (selector.id, selector.name.as_deref()) {
        (Some(id), None) => draft.require(id),
        (None, Some(name)) => named(draft, name),
        (None, None) => Err(Error::MissingParameter {
            name: "groupName or groupId",
        }),
        (Some(_), Some(_)) => Err(Error::GroupTwice),
    }
}

/// The group of the default VPC with a name.
pub fn group_named<'a>(
    region: &'a RegionState,
    name: &str,
) -> Result<&'a Stored<SecurityGroup>, Error> {
    let vpc = default_vpc(region).ok_or(Error::NoDefaultVpc)?.id;
    let key = format!("{vpc}/{}", name.to_lowercase());
    let claim = region.group_names.get(&*key);
    let found = claim.and_then(|claim| region.security_groups.get(&claim.group));
    found.ok_or_else(|| Error::GroupNameNotFound {
        name: name.into(),
        vpc,
    })
}

/// The same; it must still be the same at the commit.
pub(crate) fn named(draft: &mut Draft<'_>, name: &str) -> Result<Stored<SecurityGroup>, Error> {
    let found = group_named(&draft.region, name)?.clone();
    draft.depend(&found);
    Ok(found)
}

/// There is room for another group.
fn check_quota(draft: &mut Draft<'_>, vpc: VpcId) -> Result<(), Error> {
    let (count, quota) = (
        draft.region.security_groups.len(),
        draft.quotas.security_groups,
    );
    if count >= quota {
        return Err(Error::SecurityGroupLimitExceeded { vpc });
    }
    // Only near the quota do creations need to wait for each other to keep it.
    if count + CREATIONS_AT_ONCE_MAX >= quota {
        draft.demand_none_new(Kind::SecurityGroup);
    }
    Ok(())
}

/// More creations than this are never under way together.
const CREATIONS_AT_ONCE_MAX: usize = 256;

/// A name for a new group, without spaces at its end.
fn checked_name(name: &str) -> Result<&str, Error> {
    let name = name.trim_end_matches(' ');
    let invalid = |why: &str| Error::InvalidValue {
        value: name.into(),
        name: "GroupName",
        why: why.into(),
    };
    if name.is_empty() {
        return Err(Error::MissingParameter { name: "groupName" });
    }
    if !name.is_ascii() {
        return Err(invalid("Character sets beyond ASCII are not supported."));
    }
    if !is_plain(name) {
        return Err(invalid(
            "Group names are at most 255 characters from the following set: \
             a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    let reserved = |start: &str| {
        let head = name.get(..start.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    if reserved("sg-") {
        return Err(invalid("Group names may not be in the format sg-*."));
    }
    if name.eq_ignore_ascii_case("default") {
        return Err(Error::GroupNameReserved { name: name.into() });
    }
    Ok(name)
}

/// Whether a text is at most 255 characters of those that names and descriptions can have.
pub(crate) fn is_plain(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b" ._-:/()#,@[]+=&;{}!$*".contains(&byte);
    text.len() <= TEXT_BYTES_MAX && text.bytes().all(plain)
}

const TEXT_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use enid_model::security_group::Direction;

    use super::*;
    use crate::fixture::{caller, control, new_eni};
    use crate::{AuthorizeRules, CreateVpc, GroupPair, IpPermission, Quotas, RevokeRules};

    fn create(name: &str, vpc: Option<VpcId>) -> CreateSecurityGroup {
        CreateSecurityGroup {
            name: name.to_owned(),
            description: "a group".to_owned(),
            vpc,
            ..CreateSecurityGroup::default()
        }
    }

    async fn made(
        control: &Control,
        caller: &Caller,
        name: &str,
        vpc: Option<VpcId>,
    ) -> Result<SecurityGroup, Error> {
        let input = create(name, vpc);
        control.create_security_group(caller, &input).await
    }

    #[tokio::test]
    async fn a_new_group_lets_all_out_and_nothing_in() {
        let (control, caller) = (control(), caller());
        let group = made(&control, &caller, "web  ", None).await;
        let group = group.expect("a group");
        assert_eq!(group.name, "web");
        assert_eq!(group.rules_of(Direction::Ingress).count(), 0);
        let out: Vec<_> = group.rules_of(Direction::Egress).collect();
        assert_eq!(out.len(), 1);
        assert!(
            out.iter()
                .map(|rule| rule.matcher)
                .eq(everything_out(false))
        );
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(default_vpc(&region).map(|vpc| vpc.id), Some(group.vpc));
    }

    #[test]
    fn names_keep_the_rules() {
        for name in ["web", "a b._-:/()#,@[]+=&;{}!$*", "sg", &"n".repeat(255)] {
            assert_eq!(checked_name(name), Ok(name));
        }
        for (name, code) in [
            ("", "MissingParameter"),
            ("  ", "MissingParameter"),
            ("sg-web", "InvalidParameterValue"),
            ("SG-1", "InvalidParameterValue"),
            ("wéb", "InvalidParameterValue"),
            ("web?", "InvalidParameterValue"),
            (&"n".repeat(256), "InvalidParameterValue"),
            ("default", "InvalidGroup.Reserved"),
            ("DEFAULT", "InvalidGroup.Reserved"),
        ] {
            assert_eq!(
                checked_name(name).map_err(|e| e.code()),
                Err(code),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_taken_once_in_a_vpc_and_free_again_after_deletion() {
        let (control, caller) = (control(), caller());
        let vpc = CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller, &vpc).await.expect("a VPC").id;
        let in_vpc = create("web", Some(vpc));
        let first = control.create_security_group(&caller, &in_vpc).await;
        let first = first.expect("a group").id;
        let upper = made(&control, &caller, "WEB", Some(vpc)).await;
        assert_eq!(
            upper.map_err(|e| (e.code(), e.to_string())),
            Err((
                "InvalidGroup.Duplicate",
                format!("The security group 'WEB' already exists for VPC '{vpc}'")
            ))
        );
        let elsewhere = made(&control, &caller, "web", None).await;
        assert!(elsewhere.is_ok());
        let deleted = control.delete_security_group(&caller, &first.into()).await;
        assert_eq!(deleted, Ok(first));
        assert!(
            control
                .create_security_group(&caller, &in_vpc)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn what_is_referenced_or_default_stays() {
        let (control, caller) = (control(), caller());
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let group = made(&control, &caller, name, None).await;
            ids.push(group.expect("a group").id);
        }
        let [one, two] = ids[..] else {
            unreachable!("two were made")
        };
        for peer in [one, two] {
            let input = AuthorizeRules {
                group: two.into(),
                permissions: vec![IpPermission {
                    ip_protocol: Some("-1".to_owned()),
                    groups: vec![GroupPair::from(peer)],
                    ..IpPermission::default()
                }],
                ..AuthorizeRules::default()
            };
            let done = control.authorize_rules(&caller, Direction::Ingress, &input);
            done.await.expect("authorized");
        }
        let delete = async |id: SecurityGroupId| {
            let done = control.delete_security_group(&caller, &id.into()).await;
            done.map_err(|error| (error.code(), error.to_string()))
        };
        let in_use = format!("resource {one} has a dependent object");
        assert_eq!(delete(one).await, Err(("DependencyViolation", in_use)));
        // A group that names only itself can go, and then the other one as well.
        assert_eq!(delete(two).await, Ok(two));
        assert_eq!(delete(one).await, Ok(one));
        let gone = delete(one).await.map_err(|(code, _)| code);
        assert_eq!(gone, Err("InvalidGroup.NotFound"));

        let region = control.read(&caller).await.expect("a region");
        let default = default_vpc(&region).map(|vpc| vpc.default_group);
        let refused = delete(default.expect("a default group")).await;
        assert_eq!(refused.map_err(|(code, _)| code), Err("CannotDelete"));
    }

    #[tokio::test]
    async fn a_name_selects_in_the_default_vpc_only() {
        let (control, caller) = (control(), caller());
        let group = made(&control, &caller, "web", None).await;
        let group = group.expect("a group").id;
        let selector = |id, name: Option<&str>| GroupSelector {
            id,
            name: name.map(str::to_owned),
        };
        let resolve = async |selector: GroupSelector| {
            let found = control
                .transact(&caller, |draft| resolve(draft, &selector).map(|g| g.id))
                .await;
            found.map_err(|error| error.code())
        };
        assert_eq!(resolve(selector(None, Some("Web"))).await, Ok(group));
        assert_eq!(resolve(selector(Some(group), None)).await, Ok(group));
        let none = resolve(selector(None, None)).await;
        assert_eq!(none, Err("MissingParameter"));
        let both = resolve(selector(Some(group), Some("web"))).await;
        assert_eq!(both, Err("InvalidParameterCombination"));
        let unknown = resolve(selector(None, Some("db"))).await;
        assert_eq!(unknown, Err("InvalidGroup.NotFound"));
    }

    #[tokio::test]
    async fn a_region_has_a_quota_of_groups() {
        let control = control().with_quotas(Quotas {
            security_groups: 2,
            ..Quotas::default()
        });
        let caller = caller();
        let mut codes = Vec::new();
        for name in ["one", "two"] {
            let made = made(&control, &caller, name, None).await;
            codes.push(made.err().map(|error| error.code()));
        }
        assert_eq!(codes, [None, Some("SecurityGroupLimitExceeded")]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_rule_ever_names_a_group_that_is_gone() {
        let (control, caller) = (std::sync::Arc::new(control()), caller());
        let keeper = made(&control, &caller, "keeper", None).await;
        let keeper = keeper.expect("a group").id;
        for _ in 0..20 {
            let peer = made(&control, &caller, "peer", None).await;
            let peer = peer.expect("a group").id;
            let delete = {
                let (control, caller) = (std::sync::Arc::clone(&control), caller.clone());
                tokio::task::spawn(async move {
                    control.delete_security_group(&caller, &peer.into()).await
                })
            };
            let input = AuthorizeRules {
                group: keeper.into(),
                permissions: vec![IpPermission {
                    ip_protocol: Some("-1".to_owned()),
                    groups: vec![GroupPair::from(peer)],
                    ..IpPermission::default()
                }],
                ..AuthorizeRules::default()
            };
            let done = control
                .authorize_rules(&caller, Direction::Ingress, &input)
                .await;
            let deleted = delete.await.expect("no panic");
            match done {
                Ok(done) => {
                    assert_eq!(deleted, Err(Error::GroupInUse { id: peer }));
                    let revoke = RevokeRules {
                        group: keeper.into(),
                        rules: done.rules.iter().map(|rule| rule.id).collect(),
                        ..RevokeRules::default()
                    };
                    let revoked = control.revoke_rules(&caller, Direction::Ingress, &revoke);
                    assert!(revoked.await.is_ok());
                    let deleted = control.delete_security_group(&caller, &peer.into()).await;
                    assert_eq!(deleted, Ok(peer));
                }
                Err(error) => {
                    assert_eq!((error.code(), deleted), ("InvalidGroup.NotFound", Ok(peer)))
                }
            }
        }
    }

    /// Fails when the deletion's condition is dropped, or when it takes in interfaces of all groups.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_group_goes_amid_interfaces_of_other_groups_but_not_of_its_own() {
        let control = std::sync::Arc::new(control());
        let place = crate::fixture::place(&control, "10.0.0.0/20").await;
        let [own, ..] = place.groups[..] else {
            unreachable!("a place has groups")
        };
        let create = |group| {
            let (control, mut input) = (std::sync::Arc::clone(&control), new_eni(&place));
            input.groups = vec![group];
            tokio::spawn(async move { control.create_network_interface(&caller(), input).await })
        };
        let others: Vec<_> = (0..400).map(|_| create(place.default_group)).collect();
        let rivals: Vec<_> = (0..8).map(|_| create(own)).collect();
        let deleted = control.delete_security_group(&caller(), &own.into()).await;
        let mut carriers = 0;
        for rival in rivals {
            match rival.await.expect("no panic") {
                Ok(_) => carriers += 1,
                Err(error) => assert_eq!(error, Error::not_found(own)),
            }
        }
        match deleted {
            Ok(_) => assert_eq!(carriers, 0),
            Err(error) => {
                assert_eq!(error, Error::GroupInUse { id: own });
                assert!(carriers > 0);
            }
        }
        for other in others {
            assert!(other.await.expect("no panic").is_ok());
        }
    }
}
