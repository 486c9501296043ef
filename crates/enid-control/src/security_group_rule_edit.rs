//! Changes to the rules that security groups have: what they allow, and their descriptions.

use std::collections::BTreeMap;

use enid_model::id::{PrefixListId, SecurityGroupId, SecurityGroupRuleId};
use enid_model::security_group::{Direction, Rule, SecurityGroup};
use enid_model::state::Stored;

use crate::security_group::{GroupSelector, resolve};
use crate::security_group_permission::{
    GroupPair, IpPermission, IpRange, Peers, PrefixListPeer, checked_description, wanted,
};
use crate::security_group_rule::{
    Weights, already_there, check_one_way, check_quota, counts, find, rule_of, weights,
};
use crate::{Caller, Control, Draft, Error};

/// One rule of ModifySecurityGroupRules: what it shall be. Its id and direction stay.
#[derive(Debug, Clone, Default)]
pub struct RuleRequest {
    /// As in [`IpPermission`].
    pub ip_protocol: Option<String>,
    /// As in [`IpPermission`].
    pub from_port: Option<i32>,
    /// As in [`IpPermission`].
    pub to_port: Option<i32>,
    /// An IPv4 peer.
    pub cidr_ipv4: Option<String>,
    /// An IPv6 peer.
    pub cidr_ipv6: Option<String>,
    /// A prefix list as the peer.
    pub prefix_list: Option<PrefixListId>,
    /// A group peer.
    pub referenced_group: Option<SecurityGroupId>,
    /// The description; none takes away the one that is there.
    pub description: Option<String>,
}

/// What UpdateSecurityGroupRuleDescriptionsIngress and its sibling take.
#[derive(Debug, Clone, Default)]
pub struct UpdateRuleDescriptions {
    /// The group.
    pub group: GroupSelector,
    /// Rules by what they allow, with their new descriptions.
    pub permissions: Vec<IpPermission>,
    /// Rules by id, with their new descriptions.
    pub rules: Vec<(SecurityGroupRuleId, Option<String>)>,
}

impl Control {
    /// ModifySecurityGroupRules.
    pub async fn modify_rules(
        &self,
        caller: &Caller,
        group: SecurityGroupId,
        updates: &[(SecurityGroupRuleId, RuleRequest)],
    ) -> Result<(), Error> {
        if updates.is_empty() {
            return Err(Error::MissingParameter {
                name: "securityGroupRules",
            });
        }
        self.transact(caller, |draft| {
            let group = draft.require::<SecurityGroup>(group)?;
            let mut new = SecurityGroup::clone(&group);
            let mut changed = BTreeMap::new();
            for (id, request) in updates {
                let rule = group.rules.get(id).ok_or_else(|| Error::not_found(*id))?;
                let modified = modified(draft, &group, rule, request)?;
                if changed.insert(*id, modified.matcher).is_some() {
                    return Err(Error::RepeatedPermission);
                }
                new.rules.insert(*id, modified);
            }
            // Rules may trade places, so equals are looked for only now.
            let mut seen = BTreeMap::new();
            for rule in new.rules.values() {
                if seen.insert(rule.matcher, rule.id).is_some() {
                    return Err(already_there(&rule.matcher));
                }
            }
            let mut weights = weights(draft, &group)?;
            weights.extend(self::weights(draft, &new)?);
            for direction in [Direction::Egress, Direction::Ingress] {
                let quota = draft.quotas.rules_per_group;
                check_quota_kept(&group, &new, direction, quota, &weights)?;
            }
            draft.edit(&group, |group| *group = new);
            Ok(())
        })
        .await
    }

    /// UpdateSecurityGroupRuleDescriptionsIngress and UpdateSecurityGroupRuleDescriptionsEgress.
    pub async fn update_rule_descriptions(
        &self,
        caller: &Caller,
        direction: Direction,
        input: &UpdateRuleDescriptions,
    ) -> Result<(), Error> {
        check_one_way(
            !input.rules.is_empty(),
            !input.permissions.is_empty(),
            "'ipPermissions' or 'securityGroupRuleDescriptions'",
            "ipPermissions and securityGroupRuleDescriptions",
        )?;
        self.transact(caller, |draft| {
            let group = resolve(draft, &input.group)?;
            let descriptions = descriptions(draft, &group, direction, input)?;
            draft.edit(&group, |group| {
                for (id, description) in descriptions {
                    if let Some(rule) = group.rules.get_mut(&id) {
                        rule.description = description;
                    }
                }
            });
            Ok(())
        })
        .await
    }
}

/// A change may leave a group over a quota that was lowered meanwhile, but not grow it there.
fn check_quota_kept(
    old: &SecurityGroup,
    new: &SecurityGroup,
    direction: Direction,
    quota: usize,
    weights: &Weights,
) -> Result<(), Error> {
    let before = counts(old, direction, weights);
    let after = counts(new, direction, weights);
    if after.0 > before.0 || after.1 > before.1 {
        return check_quota(new, direction, quota, weights);
    }
    Ok(())
}

/// A rule as a request wants it; id, direction and tags stay.
fn modified(
    draft: &mut Draft<'_>,
    group: &Stored<SecurityGroup>,
    rule: &Rule,
    request: &RuleRequest,
) -> Result<Rule, Error> {
    let range = |cidr: &Option<String>| {
        let range = cidr.iter().map(|cidr| IpRange {
            cidr: cidr.clone(),
            description: request.description.clone(),
        });
        range.collect::<Vec<_>>()
    };
    let pair = request.referenced_group.map(|id| GroupPair {
        description: request.description.clone(),
        ..GroupPair::from(id)
    });
    let list = request.prefix_list.map(|id| PrefixListPeer {
        description: request.description.clone(),
        ..PrefixListPeer::from(id)
    });
    let permission = IpPermission {
        ip_protocol: request.ip_protocol.clone(),
        from_port: request.from_port,
        to_port: request.to_port,
        ipv4_ranges: range(&request.cidr_ipv4),
        ipv6_ranges: range(&request.cidr_ipv6),
        groups: pair.into_iter().collect(),
        prefix_lists: list.into_iter().collect(),
    };
    let direction = rule.matcher.direction;
    let mut wanted = wanted(draft, group, direction, &[permission], Peers::MustExist)?;
    match (wanted.pop(), wanted.pop()) {
        (Some(one), None) => Ok(Rule {
            id: rule.id,
            matcher: one.matcher,
            description: one.description,
            tags: rule.tags.clone(),
        }),
        _ => Err(Error::PeersSeveral),
    }
}

/// The new descriptions that a request asks for, of rules that are all there.
fn descriptions(
    draft: &mut Draft<'_>,
    group: &Stored<SecurityGroup>,
    direction: Direction,
    input: &UpdateRuleDescriptions,
) -> Result<Vec<(SecurityGroupRuleId, Option<String>)>, Error> {
    let mut descriptions = Vec::new();
    for (id, description) in &input.rules {
        let rule = rule_of(group, direction, *id)?;
        let description = checked_description(description.as_deref())?;
        descriptions.push((rule.id, description));
    }
    for wanted in wanted(draft, group, direction, &input.permissions, Peers::Selected)? {
        let rule = find(group, &wanted.matcher).ok_or(Error::RuleNotFound)?;
        descriptions.push((rule.id, wanted.description));
    }
    Ok(descriptions)
}

#[cfg(test)]
mod tests {
    use enid_model::security_group::Service;

    use super::*;
    use crate::fixture::control;
    use crate::security_group_rule::tests::{bench, tcp};

    #[tokio::test]
    async fn a_modified_rule_keeps_its_id_and_direction() {
        let bench = bench(control()).await;
        let both = [tcp(22, &["10.0.0.0/8"]), tcp(80, &["10.0.0.0/8"])];
        let rules = bench.authorize(&both).await.expect("authorized");
        let [ssh, web] = &rules[..] else {
            unreachable!("two were made")
        };
        let request = |port| RuleRequest {
            ip_protocol: Some("tcp".to_owned()),
            from_port: Some(port),
            to_port: Some(port),
            cidr_ipv4: Some("10.0.0.0/8".to_owned()),
            description: Some("new".to_owned()),
            ..RuleRequest::default()
        };
        let modify = async |updates: &[(SecurityGroupRuleId, RuleRequest)]| {
            let (control, caller) = (&bench.control, &bench.caller);
            let done = control.modify_rules(caller, bench.group.id, updates).await;
            done.map_err(|error| error.code())
        };
        let taken = modify(&[(ssh.id, request(80))]).await;
        assert_eq!(taken, Err("InvalidPermission.Duplicate"));
        // But they may trade places.
        let traded = modify(&[(ssh.id, request(80)), (web.id, request(22))]).await;
        assert_eq!(traded, Ok(()));
        let now = bench.rules().await;
        let now = now.iter().find(|rule| rule.id == ssh.id).expect("the rule");
        assert_eq!(now.matcher.service, Service::Tcp { from: 80, to: 80 });
        assert_eq!(now.matcher.direction, Direction::Ingress);
        assert_eq!(now.description.as_deref(), Some("new"));

        let mut two_peers = request(81);
        two_peers.cidr_ipv6 = Some("::/0".to_owned());
        let several = modify(&[(ssh.id, two_peers)]).await;
        assert_eq!(several, Err("InvalidParameterCombination"));
        let unknown = modify(&[(SecurityGroupRuleId(7), request(81))]).await;
        assert_eq!(unknown, Err("InvalidSecurityGroupRuleId.NotFound"));
        assert_eq!(modify(&[]).await, Err("MissingParameter"));
        let twice = modify(&[(ssh.id, request(81)), (ssh.id, request(82))]).await;
        assert_eq!(twice, Err("InvalidParameterValue"));
    }

    #[tokio::test]
    async fn descriptions_change_alone() {
        let bench = bench(control()).await;
        let rules = bench.authorize(&[tcp(22, &["10.0.0.0/8"])]).await;
        let rule = rules.expect("authorized").pop().expect("a rule");
        let update = async |input: UpdateRuleDescriptions| {
            let input = UpdateRuleDescriptions {
                group: bench.group.id.into(),
                ..input
            };
            let (control, caller) = (&bench.control, &bench.caller);
            let done = control.update_rule_descriptions(caller, Direction::Ingress, &input);
            done.await.map_err(|error| error.code())
        };
        let described = async || {
            let rules = bench.rules().await;
            let found = rules.into_iter().find(|found| found.id == rule.id);
            found.and_then(|rule| rule.description)
        };
        let mut permission = tcp(22, &["10.0.0.0/8"]);
        for range in &mut permission.ipv4_ranges {
            range.description = Some("ssh".to_owned());
        }
        let by_properties = |permission| UpdateRuleDescriptions {
            permissions: vec![permission],
            ..UpdateRuleDescriptions::default()
        };
        let by_id = |text: Option<&str>| UpdateRuleDescriptions {
            rules: vec![(rule.id, text.map(str::to_owned))],
            ..UpdateRuleDescriptions::default()
        };
        assert_eq!(update(by_properties(permission)).await, Ok(()));
        assert_eq!(described().await.as_deref(), Some("ssh"));
        let absent = update(by_properties(tcp(23, &["10.0.0.0/8"]))).await;
        assert_eq!(absent, Err("InvalidPermission.NotFound"));
        let odd = update(by_id(Some("caf\u{e9}"))).await;
        assert_eq!(odd, Err("InvalidParameterValue"));
        assert_eq!(update(by_id(Some("by id"))).await, Ok(()));
        assert_eq!(described().await.as_deref(), Some("by id"));
        assert_eq!(update(by_id(None)).await, Ok(()));
        assert_eq!(described().await, None);
        let neither = update(UpdateRuleDescriptions::default()).await;
        assert_eq!(neither, Err("MissingParameter"));
    }
}
