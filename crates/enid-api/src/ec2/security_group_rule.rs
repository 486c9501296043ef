//! The rules of security groups.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::str::FromStr;

use enid_control::{
    AuthorizeRules, Authorized, RevokeRules, Revoked, RuleRequest, UpdateRuleDescriptions,
};
use enid_model::id::{SecurityGroupId, SecurityGroupRuleId};
use enid_model::security_group::{Direction, Peer, Rule, SecurityGroup};
use enid_model::state::RegionState;

use super::filter::Filters;
use super::page::{self, Page};
use super::security_group_permission::{
    InWords, flat, grouped, in_words, listed, peer_in_words, selector,
};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    self, AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupIngressRequest,
    DescribeSecurityGroupRulesRequest, ModifySecurityGroupRulesRequest,
    RevokeSecurityGroupEgressRequest, RevokeSecurityGroupIngressRequest,
    UpdateSecurityGroupRuleDescriptionsEgressRequest,
    UpdateSecurityGroupRuleDescriptionsIngressRequest,
};
use crate::generated::ec2::response::{
    self, AuthorizeSecurityGroupEgressResponse, AuthorizeSecurityGroupIngressResponse,
    DescribeSecurityGroupRulesResponse, ModifySecurityGroupRulesResponse, ReferencedSecurityGroup,
    RevokeSecurityGroupEgressResponse, RevokeSecurityGroupIngressResponse,
    RevokedSecurityGroupRule, UpdateSecurityGroupRuleDescriptionsEgressResponse,
    UpdateSecurityGroupRuleDescriptionsIngressResponse,
};
use crate::wire::text::Text;

/// AuthorizeSecurityGroupIngress.
pub(super) async fn authorize_ingress(
    ec2: &Ec2,
    context: &Context,
    request: AuthorizeSecurityGroupIngressRequest,
) -> Result<AuthorizeSecurityGroupIngressResponse, ApiError> {
    let input = AuthorizeRules {
        group: selector(request.group_id.as_deref(), request.group_name)?,
        permissions: listed(request.ip_permissions)?,
        flat: flat(
            request.ip_protocol,
            (request.from_port, request.to_port),
            request.cidr_ip,
            (
                request.source_security_group_name,
                request.source_security_group_owner_id,
            ),
        ),
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    Ok(AuthorizeSecurityGroupIngressResponse {
        r#return: Some(true),
        security_group_rules: authorize(ec2, context, Direction::Ingress, &input).await?,
    })
}

/// AuthorizeSecurityGroupEgress.
pub(super) async fn authorize_egress(
    ec2: &Ec2,
    context: &Context,
    request: AuthorizeSecurityGroupEgressRequest,
) -> Result<AuthorizeSecurityGroupEgressResponse, ApiError> {
    let input = AuthorizeRules {
        group: selector(Some(&request.group_id), None)?,
        permissions: listed(request.ip_permissions)?,
        tag_specifications: tag::specifications(request.tag_specifications),
        ..AuthorizeRules::default()
    };
    Ok(AuthorizeSecurityGroupEgressResponse {
        r#return: Some(true),
        security_group_rules: authorize(ec2, context, Direction::Egress, &input).await?,
    })
}

async fn authorize(
    ec2: &Ec2,
    context: &Context,
    direction: Direction,
    input: &AuthorizeRules,
) -> Result<Vec<response::SecurityGroupRule>, ApiError> {
    let caller = context.caller();
    let done = ec2.control.authorize_rules(&caller, direction, input);
    let Authorized { group, rules } = done.await?;
    let region = ec2.control.read(&caller).await?;
    let rules = rules
        .iter()
        .map(|rule| answer(context, &region, group, rule));
    Ok(rules.collect())
}

/// RevokeSecurityGroupIngress.
pub(super) async fn revoke_ingress(
    ec2: &Ec2,
    context: &Context,
    request: RevokeSecurityGroupIngressRequest,
) -> Result<RevokeSecurityGroupIngressResponse, ApiError> {
    let input = RevokeRules {
        group: selector(request.group_id.as_deref(), request.group_name)?,
        rules: id::parse_all(&request.security_group_rule_ids)?,
        permissions: listed(request.ip_permissions)?,
        flat: flat(
            request.ip_protocol,
            (request.from_port, request.to_port),
            request.cidr_ip,
            (
                request.source_security_group_name,
                request.source_security_group_owner_id,
            ),
        ),
    };
    let done = revoke(ec2, context, Direction::Ingress, &input).await?;
    Ok(RevokeSecurityGroupIngressResponse {
        r#return: Some(true),
        unknown_ip_permissions: unknown(ec2, context, &done).await?,
        revoked_security_group_rules: revoked(&done),
    })
}

/// RevokeSecurityGroupEgress.
pub(super) async fn revoke_egress(
    ec2: &Ec2,
    context: &Context,
    request: RevokeSecurityGroupEgressRequest,
) -> Result<RevokeSecurityGroupEgressResponse, ApiError> {
    let input = RevokeRules {
        group: selector(Some(&request.group_id), None)?,
        rules: id::parse_all(&request.security_group_rule_ids)?,
        permissions: listed(request.ip_permissions)?,
        ..RevokeRules::default()
    };
    let done = revoke(ec2, context, Direction::Egress, &input).await?;
    Ok(RevokeSecurityGroupEgressResponse {
        r#return: Some(true),
        unknown_ip_permissions: unknown(ec2, context, &done).await?,
        revoked_security_group_rules: revoked(&done),
    })
}

async fn revoke(
    ec2: &Ec2,
    context: &Context,
    direction: Direction,
    input: &RevokeRules,
) -> Result<Revoked, ApiError> {
    let caller = context.caller();
    let done = ec2.control.revoke_rules(&caller, direction, input);
    Ok(done.await?)
}

async fn unknown(
    ec2: &Ec2,
    context: &Context,
    done: &Revoked,
) -> Result<Vec<response::IpPermission>, ApiError> {
    let region = ec2.control.read(&context.caller()).await?;
    let matchers = done.unknown.iter().map(|matcher| (matcher, None));
    Ok(grouped(context, &region, done.group, matchers))
}

/// ModifySecurityGroupRules.
pub(super) async fn modify_security_group_rules(
    ec2: &Ec2,
    context: &Context,
    request: ModifySecurityGroupRulesRequest,
) -> Result<ModifySecurityGroupRulesResponse, ApiError> {
    let group = id::parse(&request.group_id)?;
    let updates = request.security_group_rules.into_iter();
    let updates: Result<Vec<_>, ApiError> = updates
        .map(|update| {
            let id = id::parse(&update.security_group_rule_id)?;
            let rule = update.security_group_rule;
            let rule = rule.ok_or_else(|| ApiError::missing_parameter("SecurityGroupRule"))?;
            let referenced_group = id::parse_optional(rule.referenced_group_id.as_deref())?;
            let prefix_list = id::parse_optional(rule.prefix_list_id.as_deref())?;
            let request = RuleRequest {
                ip_protocol: rule.ip_protocol,
                from_port: rule.from_port,
                to_port: rule.to_port,
                cidr_ipv4: rule.cidr_ipv4,
                cidr_ipv6: rule.cidr_ipv6,
                prefix_list,
                referenced_group,
                description: rule.description,
            };
            Ok((id, request))
        })
        .collect();
    let caller = context.caller();
    ec2.control.modify_rules(&caller, group, &updates?).await?;
    Ok(ModifySecurityGroupRulesResponse {
        r#return: Some(true),
    })
}

/// UpdateSecurityGroupRuleDescriptionsIngress.
pub(super) async fn update_descriptions_ingress(
    ec2: &Ec2,
    context: &Context,
    request: UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Result<UpdateSecurityGroupRuleDescriptionsIngressResponse, ApiError> {
    let input = UpdateRuleDescriptions {
        group: selector(request.group_id.as_deref(), request.group_name)?,
        permissions: listed(request.ip_permissions)?,
        rules: described(request.security_group_rule_descriptions)?,
    };
    let caller = context.caller();
    ec2.control
        .update_rule_descriptions(&caller, Direction::Ingress, &input)
        .await?;
    Ok(UpdateSecurityGroupRuleDescriptionsIngressResponse {
        r#return: Some(true),
    })
}

/// UpdateSecurityGroupRuleDescriptionsEgress.
pub(super) async fn update_descriptions_egress(
    ec2: &Ec2,
    context: &Context,
    request: UpdateSecurityGroupRuleDescriptionsEgressRequest,
) -> Result<UpdateSecurityGroupRuleDescriptionsEgressResponse, ApiError> {
    let input = UpdateRuleDescriptions {
        group: selector(request.group_id.as_deref(), request.group_name)?,
        permissions: listed(request.ip_permissions)?,
        rules: described(request.security_group_rule_descriptions)?,
    };
    let caller = context.caller();
    ec2.control
        .update_rule_descriptions(&caller, Direction::Egress, &input)
        .await?;
    Ok(UpdateSecurityGroupRuleDescriptionsEgressResponse {
        r#return: Some(true),
    })
}

fn described(
    descriptions: Vec<request::SecurityGroupRuleDescription>,
) -> Result<Vec<(SecurityGroupRuleId, Option<String>)>, ApiError> {
    let read = |described: request::SecurityGroupRuleDescription| {
        let id = described.security_group_rule_id;
        let id = id.ok_or_else(|| ApiError::missing_parameter("SecurityGroupRuleId"))?;
        Ok((id::parse(&id)?, described.description))
    };
    descriptions.into_iter().map(read).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    GroupId,
    RuleId,
}

/// The place of a rule in the list of all: by group, then by id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: SecurityGroupId,
    rule: SecurityGroupRuleId,
}

impl FromStr for Place {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (group, rule) = text.split_once('/').ok_or(())?;
        Ok(Self {
            group: group.parse().or(Err(()))?,
            rule: rule.parse().or(Err(()))?,
        })
    }
}

/// DescribeSecurityGroupRules.
pub(super) async fn describe_security_group_rules(
    ec2: &Ec2,
    context: &Context,
    request: DescribeSecurityGroupRulesRequest,
) -> Result<DescribeSecurityGroupRulesResponse, ApiError> {
    let DescribeSecurityGroupRulesRequest {
        filters,
        security_group_rule_ids: ids,
        next_token,
        max_results,
    } = request;
    let named = (!ids.is_empty()).then_some("securityGroupRuleIds");
    let (operation, token) = ("DescribeSecurityGroupRules", next_token.as_deref());
    let page = Page::read(operation, page::USUAL, max_results, token, named)?;
    let filters = Filters::compile(&filters, |name| match name {
        "group-id" => Some(Field::GroupId),
        "security-group-rule-id" => Some(Field::RuleId),
        _ => None,
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<Place> = page.after()?;
    let candidates = if named.is_some() {
        Box::new(selected(&region, &ids)?.into_iter())
    } else {
        candidates(&region, &filters, after)
    };
    let rules = candidates.filter(|(group, rule)| {
        let place = Place {
            group: *group,
            rule: rule.id,
        };
        after.is_none_or(|after| place > after)
            && filters.match_resource(&rule.tags, |field, test| match field {
                Field::GroupId => test.display(group),
                Field::RuleId => test.display(rule.id),
            })
    });
    let (rules, next_token) = page.take(rules, |(group, rule)| format!("{group}/{}", rule.id));
    let rules = rules
        .into_iter()
        .map(|(group, rule)| answer(context, &region, group, rule));
    Ok(DescribeSecurityGroupRulesResponse {
        security_group_rules: rules.collect(),
        next_token,
    })
}

type RuleOf<'a> = (SecurityGroupId, &'a Rule);

/// The rules that a request names by id.
fn selected<'a>(region: &'a RegionState, ids: &[String]) -> Result<Vec<RuleOf<'a>>, ApiError> {
    let mut absent: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for text in ids {
        // A well-formed id that is not native is unknown, so that both are told the same way.
        let rule = match id::parse::<SecurityGroupRuleId>(text) {
            Ok(id) => rule_with_id(region, id),
            Err(error) if error.code().ends_with(".NotFound") => None,
            Err(error) => return Err(error),
        };
        match rule {
            Some(rule) => found.push(rule),
            None => absent.push(text),
        }
    }
    if !absent.is_empty() {
        return Err(id::not_found("sgr", &absent));
    }
    sort(&mut found);
    Ok(found)
}

fn rule_with_id(region: &RegionState, id: SecurityGroupRuleId) -> Option<RuleOf<'_>> {
    let group = region.group_of_rule(id)?;
    Some((group.id, group.rules.get(&id)?))
}

/// The rules that can match: those that an index finds, or all of them.
fn candidates<'a>(
    region: &'a RegionState,
    filters: &Filters<Field>,
    after: Option<Place>,
) -> Box<dyn Iterator<Item = RuleOf<'a>> + 'a> {
    fn of_group(group: &SecurityGroup) -> impl Iterator<Item = RuleOf<'_>> {
        group.rules.values().map(|rule| (group.id, rule))
    }
    let groups = &region.security_groups;
    if let Some(ids) = filters.exact(Field::RuleId) {
        let ids = ids.filter_map(|id| id.parse().ok());
        let mut rules: Vec<_> = ids.filter_map(|id| rule_with_id(region, id)).collect();
        sort(&mut rules);
        return Box::new(rules.into_iter());
    }
    if let Some(ids) = filters.exact(Field::GroupId) {
        let ids = ids.filter_map(|id| id.parse().ok());
        let ids: BTreeSet<SecurityGroupId> = ids.collect();
        let groups = ids.into_iter().filter_map(|id| groups.get(&id));
        return Box::new(groups.flat_map(|group| of_group(group)));
    }
    let first = after.map_or(Bound::Unbounded, |after| Bound::Included(after.group));
    let groups = groups.range((first, Bound::Unbounded));
    Box::new(groups.flat_map(|(_, group)| of_group(group)))
}

/// In the order of their places, each once.
fn sort(rules: &mut Vec<RuleOf<'_>>) {
    rules.sort_unstable_by_key(|(group, rule)| (*group, rule.id));
    rules.dedup_by_key(|(_, rule)| rule.id);
}

fn answer(
    context: &Context,
    region: &RegionState,
    group: SecurityGroupId,
    rule: &Rule,
) -> response::SecurityGroupRule {
    let InWords { protocol, ports } = in_words(rule.matcher.service);
    // Where DescribeSecurityGroups leaves ports out, this form has -1.
    let (from, to) = ports.unwrap_or((-1, -1));
    let mut answer = response::SecurityGroupRule {
        security_group_rule_id: Some(Text::display(rule.id)),
        group_id: Some(Text::display(group)),
        group_owner_id: Some(Text::display(context.account)),
        is_egress: Some(rule.matcher.direction == Direction::Egress),
        ip_protocol: Some(protocol),
        from_port: Some(from),
        to_port: Some(to),
        description: rule.description.as_deref().map(Text::from),
        tags: tag::answer(&rule.tags),
        security_group_rule_arn: Some(context.arn("security-group-rule", rule.id)),
        ..response::SecurityGroupRule::default()
    };
    match rule.matcher.peer {
        Peer::Group(peer) => {
            let peer = peer_in_words(context, region, group, peer);
            answer.referenced_group_info = Some(ReferencedSecurityGroup {
                group_id: Some(peer.group_id),
                peering_status: peer.peering_status,
                user_id: Some(peer.user_id),
                vpc_id: peer.vpc_id,
                vpc_peering_connection_id: peer.vpc_peering_connection_id,
            });
        }
        Peer::Ipv4(block) => answer.cidr_ipv4 = Some(Text::display(block)),
        Peer::Ipv6(block) => answer.cidr_ipv6 = Some(Text::display(block)),
        Peer::PrefixList(list) => answer.prefix_list_id = Some(Text::display(list)),
    }
    answer
}

fn revoked(done: &Revoked) -> Vec<RevokedSecurityGroupRule> {
    let rules = done.rules.iter().map(|rule| {
        let InWords { protocol, ports } = in_words(rule.matcher.service);
        let (from, to) = ports.unwrap_or((-1, -1));
        let mut answer = RevokedSecurityGroupRule {
            security_group_rule_id: Some(Text::display(rule.id)),
            group_id: Some(Text::display(done.group)),
            is_egress: Some(rule.matcher.direction == Direction::Egress),
            ip_protocol: Some(protocol),
            from_port: Some(from),
            to_port: Some(to),
            description: rule.description.as_deref().map(Text::from),
            ..RevokedSecurityGroupRule::default()
        };
        match rule.matcher.peer {
            Peer::Group(peer) => answer.referenced_group_id = Some(Text::display(peer)),
            Peer::Ipv4(block) => answer.cidr_ipv4 = Some(Text::display(block)),
            Peer::Ipv6(block) => answer.cidr_ipv6 = Some(Text::display(block)),
            Peer::PrefixList(list) => answer.prefix_list_id = Some(Text::display(list)),
        }
        answer
    });
    rules.collect()
}
