//! The rules of security groups. A call changes all the rules that it speaks of, or none.

use std::collections::BTreeMap;

use enid_model::id::{PrefixListId, SecurityGroupId, SecurityGroupRuleId};
use enid_model::prefix_list::{AddressFamily, PrefixList};
use enid_model::security_group::{Direction, Matcher, Peer, Rule, SecurityGroup};

use crate::security_group::{GroupSelector, resolve};
use crate::security_group_permission::{FlatPermission, IpPermission, Peers, in_words, wanted};
use crate::{Caller, Control, Draft, Error, TagSpecification, tag};

/// What AuthorizeSecurityGroupIngress and AuthorizeSecurityGroupEgress take.
#[derive(Debug, Clone, Default)]
pub struct AuthorizeRules {
    /// The group.
    pub group: GroupSelector,
    /// The rules.
    pub permissions: Vec<IpPermission>,
    /// The flat form of one permission, for ingress only.
    pub flat: FlatPermission,
    /// Tags for every new rule.
    pub tag_specifications: Vec<TagSpecification>,
}

/// What RevokeSecurityGroupIngress and RevokeSecurityGroupEgress take.
#[derive(Debug, Clone, Default)]
pub struct RevokeRules {
    /// The group.
    pub group: GroupSelector,
    /// The rules by id.
    pub rules: Vec<SecurityGroupRuleId>,
    /// The rules by what they allow.
    pub permissions: Vec<IpPermission>,
    /// The flat form of one permission, for ingress only.
    pub flat: FlatPermission,
}

/// A group, and the rules of it that a call made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    /// The group.
    pub group: SecurityGroupId,
    /// The new rules, in the order of the request.
    pub rules: Vec<Rule>,
}

/// A group, and the rules that a call took from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The group.
    pub group: SecurityGroupId,
    /// The rules that are gone, in the order of the request.
    pub rules: Vec<Rule>,
    /// What the request spoke of and the group does not have.
    pub unknown: Vec<Matcher>,
}

impl Control {
    /// AuthorizeSecurityGroupIngress and AuthorizeSecurityGroupEgress.
    pub async fn authorize_rules(
        &self,
        caller: &Caller,
        direction: Direction,
        input: &AuthorizeRules,
    ) -> Result<Authorized, Error> {
        let tags = tag::specified(&input.tag_specifications, "security-group-rule")?;
        let permissions = listed(direction, &input.permissions, &input.flat)?;
        if permissions.is_empty() {
            return Err(Error::MissingParameter {
                name: "ipPermissions",
            });
        }
        self.transact(caller, |draft| {
            let group = resolve(draft, &input.group)?;
            let wanted = wanted(draft, &group, direction, &permissions, Peers::MustExist)?;
            let mut new = SecurityGroup::clone(&group);
            let mut rules = Vec::with_capacity(wanted.len());
            for wanted in wanted {
                check_absent(&group, &wanted.matcher)?;
                let rule = Rule {
                    id: draft.mint(),
                    matcher: wanted.matcher,
                    description: wanted.description,
                    tags: tags.clone(),
                };
                new.rules.insert(rule.id, rule.clone());
                rules.push(rule);
            }
            let weights = weights(draft, &new)?;
            check_quota(&new, direction, draft.quotas.rules_per_group, &weights)?;
            draft.update(&group, new);
            let group = group.id;
            Ok(Authorized { group, rules })
        })
        .await
    }

    /// RevokeSecurityGroupIngress and RevokeSecurityGroupEgress.
    ///
    /// What is not there is an error, but in a default VPC it is only reported.
    pub async fn revoke_rules(
        &self,
        caller: &Caller,
        direction: Direction,
        input: &RevokeRules,
    ) -> Result<Revoked, Error> {
        let permissions = listed(direction, &input.permissions, &input.flat)?;
        check_one_way(
            !input.rules.is_empty(),
            !permissions.is_empty(),
            "'ipPermissions' or 'securityGroupRuleIds'",
            "ipPermissions and securityGroupRuleIds",
        )?;
        self.transact(caller, |draft| {
            let group = resolve(draft, &input.group)?;
            let mut unknown = Vec::new();
            let mut rules = Vec::new();
            let mut new = SecurityGroup::clone(&group);
            for id in &input.rules {
                let rule = rule_of(&group, direction, *id)?;
                if new.rules.remove(id).is_some() {
                    rules.push(rule.clone());
                }
            }
            for wanted in wanted(draft, &group, direction, &permissions, Peers::Selected)? {
                match find(&group, &wanted.matcher) {
                    Some(rule) => {
                        new.rules.remove(&rule.id);
                        rules.push(rule.clone());
                    }
                    None => unknown.push(wanted.matcher),
                }
            }
            let vpc = draft.region.vpcs.get(&group.vpc);
            if !unknown.is_empty() && !vpc.is_some_and(|vpc| vpc.is_default) {
                return Err(Error::RuleNotFound);
            }
            if !rules.is_empty() {
                draft.update(&group, new);
            }
            let group = group.id;
            Ok(Revoked {
                group,
                rules,
                unknown,
            })
        })
        .await
    }
}

/// The permissions of a request in their list form.
fn listed(
    direction: Direction,
    permissions: &[IpPermission],
    flat: &FlatPermission,
) -> Result<Vec<IpPermission>, Error> {
    let flat = flat.permissions()?;
    match (flat.is_empty(), permissions.is_empty(), direction) {
        (true, _, _) => Ok(permissions.to_vec()),
        (false, false, _) => Err(Error::FlatAndListed),
        // AWS does not take the flat form for egress either.
        (false, true, Direction::Egress) => Err(Error::Unsupported {
            what: "the parameters of a single permission for egress rules: use IpPermissions",
        }),
        (false, true, Direction::Ingress) => Ok(flat),
    }
}

/// Rules are named by their ids or by their properties, in exactly one way.
pub(crate) fn check_one_way(
    by_id: bool,
    by_properties: bool,
    either: &'static str,
    both: &'static str,
) -> Result<(), Error> {
    match (by_id, by_properties) {
        (false, false) => Err(Error::RulesMissing { names: either }),
        (true, true) => Err(Error::RulesTwice { names: both }),
        _ => Ok(()),
    }
}

pub(crate) fn find<'a>(group: &'a SecurityGroup, matcher: &Matcher) -> Option<&'a Rule> {
    group.rules.values().find(|rule| rule.matcher == *matcher)
}

pub(crate) fn rule_of(
    group: &SecurityGroup,
    direction: Direction,
    id: SecurityGroupRuleId,
) -> Result<&Rule, Error> {
    let rule = group.rules.get(&id);
    rule.filter(|rule| rule.matcher.direction == direction)
        .ok_or_else(|| Error::not_found(id))
}

fn check_absent(group: &SecurityGroup, matcher: &Matcher) -> Result<(), Error> {
    match find(group, matcher) {
        Some(_) => Err(already_there(matcher)),
        None => Ok(()),
    }
}

pub(crate) fn already_there(matcher: &Matcher) -> Error {
    Error::RuleExists {
        rule: in_words(matcher).into(),
    }
}

/// What each prefix list that a group's rules name counts for: its family and its size.
pub(crate) type Weights = BTreeMap<PrefixListId, (AddressFamily, u32)>;

/// The weights of a group's lists, which must still be the same at the commit.
pub(crate) fn weights(draft: &mut Draft<'_>, group: &SecurityGroup) -> Result<Weights, Error> {
    let mut weights = Weights::new();
    for rule in group.rules.values() {
        if let Peer::PrefixList(id) = rule.matcher.peer {
            let list = draft.require::<PrefixList>(id)?;
            weights.insert(id, (list.family, list.entries_max));
        }
    }
    Ok(weights)
}

/// IPv4 and IPv6 rules of a direction are counted apart; a group as a peer counts as both, a prefix
/// list as many rules of its family as it may have entries.
pub(crate) fn counts(
    group: &SecurityGroup,
    direction: Direction,
    weights: &Weights,
) -> (usize, usize) {
    let weight = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
    group
        .rules_of(direction)
        .fold((0, 0), |(v4, v6), rule| match rule.matcher.peer {
            Peer::Group(_) => (v4 + 1, v6 + 1),
            Peer::Ipv4(_) => (v4 + 1, v6),
            Peer::Ipv6(_) => (v4, v6 + 1),
            Peer::PrefixList(list) => match weights.get(&list) {
                Some((AddressFamily::Ipv4, size)) => (v4 + weight(*size), v6),
                Some((AddressFamily::Ipv6, size)) => (v4, v6 + weight(*size)),
                // No list goes while a rule names it.
                None => (v4, v6),
            },
        })
}

pub(crate) fn check_quota(
    group: &SecurityGroup,
    direction: Direction,
    quota: usize,
    weights: &Weights,
) -> Result<(), Error> {
    let (v4, v6) = counts(group, direction, weights);
    if v4 > quota || v6 > quota {
        return Err(Error::RulesPerSecurityGroupLimitExceeded);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateSecurityGroup, CreateVpc, GroupPair, IpRange, Quotas, Tag};

    /// A control plane with a group of a VPC that is not the default one.
    pub(crate) struct Bench {
        pub(crate) control: Control,
        pub(crate) caller: Caller,
        pub(crate) group: SecurityGroup,
    }

    pub(crate) async fn bench(control: Control) -> Bench {
        let caller = caller();
        let vpc = CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller, &vpc).await.expect("a VPC");
        let group = group_in(&control, &caller, Some(vpc.id)).await;
        Bench {
            control,
            caller,
            group,
        }
    }

    async fn group_in(
        control: &Control,
        caller: &Caller,
        vpc: Option<enid_model::id::VpcId>,
    ) -> SecurityGroup {
        let input = CreateSecurityGroup {
            name: "web".to_owned(),
            description: "web".to_owned(),
            vpc,
            ..CreateSecurityGroup::default()
        };
        let group = control.create_security_group(caller, &input).await;
        group.expect("a group")
    }

    impl Bench {
        pub(crate) async fn rules(&self) -> Vec<Rule> {
            let region = self.control.read(&self.caller).await.expect("a region");
            let group = region.security_groups.get(&self.group.id);
            group.expect("the group").rules.values().cloned().collect()
        }

        pub(crate) async fn authorize(
            &self,
            permissions: &[IpPermission],
        ) -> Result<Vec<Rule>, (&'static str, String)> {
            let input = AuthorizeRules {
                group: self.group.id.into(),
                permissions: permissions.to_vec(),
                ..AuthorizeRules::default()
            };
            let done = self
                .control
                .authorize_rules(&self.caller, Direction::Ingress, &input)
                .await;
            done.map(|done| done.rules).map_err(said)
        }

        async fn revoke(
            &self,
            permissions: &[IpPermission],
            rules: &[SecurityGroupRuleId],
        ) -> Result<Revoked, (&'static str, String)> {
            let input = RevokeRules {
                group: self.group.id.into(),
                permissions: permissions.to_vec(),
                rules: rules.to_vec(),
                ..RevokeRules::default()
            };
            let done = self
                .control
                .revoke_rules(&self.caller, Direction::Ingress, &input)
                .await;
            done.map_err(said)
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn said(error: Error) -> (&'static str, String) {
        (error.code(), error.to_string())
    }

    pub(crate) fn tcp(port: i32, cidrs: &[&str]) -> IpPermission {
        let range = |cidr: &&str| IpRange {
            cidr: (*cidr).to_owned(),
            description: None,
        };
        let (v6, v4): (Vec<_>, Vec<_>) = cidrs.iter().partition(|cidr| cidr.contains(':'));
        IpPermission {
            ip_protocol: Some("tcp".to_owned()),
            from_port: Some(port),
            to_port: Some(port),
            ipv4_ranges: v4.into_iter().map(range).collect(),
            ipv6_ranges: v6.into_iter().map(range).collect(),
            groups: Vec::new(),
            prefix_lists: Vec::new(),
        }
    }

    fn from_group(id: SecurityGroupId) -> IpPermission {
        IpPermission {
            groups: vec![GroupPair::from(id)],
            ..tcp(443, &[])
        }
    }

    #[tokio::test]
    async fn every_peer_becomes_a_rule() {
        let bench = bench(control()).await;
        let mut first = tcp(22, &["10.1.2.3/8", "192.0.2.1/32", "fd00::1/64"]);
        for range in &mut first.ipv4_ranges {
            range.description = Some("ssh".to_owned());
        }
        let second = from_group(bench.group.id);
        let rules = bench.authorize(&[first, second]).await.expect("authorized");
        let peers: Vec<_> = rules.iter().map(|r| in_words(&r.matcher)).collect();
        let ssh = "TCP, from port: 22, to port: 22, ALLOW";
        assert_eq!(
            peers,
            [
                format!("peer: 10.0.0.0/8, {ssh}"),
                format!("peer: 192.0.2.1/32, {ssh}"),
                format!("peer: fd00::/64, {ssh}"),
                format!(
                    "peer: {}, TCP, from port: 443, to port: 443, ALLOW",
                    bench.group.id
                ),
            ]
        );
        let described = rules.iter().filter(|rule| rule.description.is_some());
        assert_eq!(described.count(), 2);
        // With the egress rule that the group came with.
        assert_eq!(bench.rules().await.len(), 5);
    }

    #[tokio::test]
    async fn a_rule_is_there_once() {
        let bench = bench(control()).await;
        let one = tcp(22, &["10.0.0.0/8"]);
        bench
            .authorize(std::slice::from_ref(&one))
            .await
            .expect("authorized");
        let before = bench.rules().await;
        // The same block with host bits is the same rule; and with it nothing else is made.
        let both = [tcp(80, &["0.0.0.0/0"]), tcp(22, &["10.9.9.9/8"])];
        assert_eq!(
            bench.authorize(&both).await,
            Err((
                "InvalidPermission.Duplicate",
                "the specified rule \"peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW\" \
                 already exists"
                    .to_owned()
            ))
        );
        let repeated = bench
            .authorize(&[tcp(81, &["10.0.0.0/8", "10.0.0.0/8"])])
            .await;
        assert_eq!(
            repeated,
            Err((
                "InvalidParameterValue",
                "The same permission must not appear multiple times".to_owned()
            ))
        );
        assert_eq!(bench.rules().await, before);
        // Overlap is no duplicate, and neither is the other direction.
        assert!(bench.authorize(&[tcp(22, &["10.0.0.0/9"])]).await.is_ok());
        let egress = AuthorizeRules {
            group: bench.group.id.into(),
            permissions: vec![one],
            ..AuthorizeRules::default()
        };
        let egress = bench
            .control
            .authorize_rules(&bench.caller, Direction::Egress, &egress);
        assert!(egress.await.is_ok());
    }

    #[tokio::test]
    async fn peers_must_be_there_and_in_the_vpc() {
        let bench = bench(control()).await;
        let code = async |permission: IpPermission| {
            let done = bench.authorize(&[permission]).await;
            done.map(|rules| rules.len()).map_err(|(code, _)| code)
        };
        let other = group_in(&bench.control, &bench.caller, None).await.id;
        assert_eq!(code(from_group(other)).await, Err("InvalidGroup.NotFound"));
        let unknown = SecurityGroupId(7);
        assert_eq!(
            code(from_group(unknown)).await,
            Err("InvalidGroup.NotFound")
        );
        let mut foreign = from_group(bench.group.id);
        for pair in &mut foreign.groups {
            pair.account = Some("999999999999".to_owned());
        }
        assert_eq!(code(foreign).await, Err("InvalidGroup.NotFound"));
        let mut empty = from_group(bench.group.id);
        empty.groups = vec![GroupPair::default()];
        assert_eq!(code(empty).await, Err("MissingParameter"));
        assert_eq!(code(tcp(22, &[])).await, Err("MissingParameter"));
        let malformed = bench.authorize(&[tcp(22, &["10.0.0.0/33"])]).await;
        let said = "CIDR block 10.0.0.0/33 is malformed".to_owned();
        assert_eq!(malformed, Err(("InvalidParameterValue", said)));
        let none = bench.authorize(&[]).await;
        assert_eq!(none.map_err(|(code, _)| code), Err("MissingParameter"));
        assert_eq!(bench.rules().await.len(), 1);
    }

    #[tokio::test]
    async fn families_and_directions_have_quotas_of_their_own() {
        let bench = bench(control().with_quotas(Quotas {
            rules_per_group: 2,
            ..Quotas::default()
        }))
        .await;
        let code = async |permission: IpPermission| {
            let done = bench.authorize(&[permission]).await;
            done.map(|rules| rules.len()).map_err(|(code, _)| code)
        };
        let full = Err("RulesPerSecurityGroupLimitExceeded");
        assert_eq!(code(tcp(1, &["10.0.0.0/8", "11.0.0.0/8"])).await, Ok(2));
        assert_eq!(code(tcp(1, &["12.0.0.0/8"])).await, full);
        // A group counts in both families, and IPv4 is full.
        assert_eq!(code(from_group(bench.group.id)).await, full);
        assert_eq!(code(tcp(1, &["fd00::/64", "fd01::/64"])).await, Ok(2));
        assert_eq!(code(tcp(1, &["fd02::/64"])).await, full);
    }

    #[tokio::test]
    async fn revoking_is_exact_and_all_or_nothing() {
        let bench = bench(control()).await;
        let ssh = tcp(22, &["10.0.0.0/8", "11.0.0.0/8"]);
        let rules = bench.authorize(&[ssh, tcp(80, &["0.0.0.0/0"])]).await;
        let rules = rules.expect("authorized");
        let absent = bench
            .revoke(&[tcp(22, &["10.0.0.0/8", "12.0.0.0/8"])], &[])
            .await;
        assert_eq!(
            absent.map(|_| ()),
            Err((
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.".to_owned()
            ))
        );
        assert_eq!(bench.rules().await.len(), 4);
        let done = bench.revoke(&[tcp(22, &["10.0.0.0/8"])], &[]).await;
        assert_eq!(done.map(|done| done.rules), Ok(rules[..1].to_vec()));
        let ids: Vec<_> = rules.iter().map(|rule| rule.id).collect();
        let gone = bench.revoke(&[], &ids).await.map(|_| ());
        let gone = gone.map_err(|(code, _)| code);
        assert_eq!(gone, Err("InvalidSecurityGroupRuleId.NotFound"));
        let done = bench.revoke(&[], &ids[1..]).await;
        assert_eq!(done.map(|done| done.rules), Ok(rules[1..].to_vec()));
        // What is left is the egress rule, which ingress calls do not reach.
        let left = bench.rules().await;
        assert_eq!(left.len(), 1);
        let egress: Vec<_> = left.iter().map(|rule| rule.id).collect();
        assert!(bench.revoke(&[], &egress).await.is_err());
        let neither = bench.revoke(&[], &[]).await.map(|_| ());
        assert_eq!(neither.map_err(|(code, _)| code), Err("MissingParameter"));
    }

    #[tokio::test]
    async fn in_a_default_vpc_unknown_rules_are_only_reported() {
        let (control, caller) = (control(), caller());
        let group = group_in(&control, &caller, None).await;
        let bench = Bench {
            control,
            caller,
            group,
        };
        bench
            .authorize(&[tcp(22, &["10.0.0.0/8"])])
            .await
            .expect("authorized");
        let done = bench
            .revoke(&[tcp(22, &["10.0.0.0/8", "11.0.0.0/8"])], &[])
            .await;
        let done = done.map(|done| (done.rules.len(), done.unknown.len()));
        assert_eq!(done, Ok((1, 1)));
    }

    #[tokio::test]
    async fn the_flat_form_is_for_ingress() {
        let (control, caller) = (control(), caller());
        let group = group_in(&control, &caller, None).await;
        let mut input = AuthorizeRules {
            group: group.id.into(),
            flat: FlatPermission {
                source_group_name: Some("web".to_owned()),
                ..FlatPermission::default()
            },
            tag_specifications: vec![TagSpecification {
                resource_type: Some("security-group-rule".to_owned()),
                tags: vec![Tag {
                    key: "k".to_owned(),
                    value: "v".to_owned(),
                }],
            }],
            ..AuthorizeRules::default()
        };
        let done = control.authorize_rules(&caller, Direction::Ingress, &input);
        let rules = done.await.expect("authorized").rules;
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|rule| rule.tags.len() == 1));
        let egress = control.authorize_rules(&caller, Direction::Egress, &input);
        let code = egress.await.map(|_| ()).map_err(|error| error.code());
        assert_eq!(code, Err("UnsupportedOperation"));
        input.permissions = vec![tcp(22, &["10.0.0.0/8"])];
        let both = control.authorize_rules(&caller, Direction::Ingress, &input);
        let code = both.await.map(|_| ()).map_err(|error| error.code());
        assert_eq!(code, Err("InvalidParameterCombination"));
    }
}
