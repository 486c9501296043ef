//! Security groups.

use std::collections::BTreeMap;

use enid_control::{CreateSecurityGroup, group_named};
use enid_model::id::{SecurityGroupId, VpcId};
use enid_model::security_group::{Direction, Peer, Rule, SecurityGroup};
use enid_model::state::RegionState;

use super::filter::{Filters, Test};
use super::page::{self, Page};
use super::security_group_permission::{grouped, in_words, selector};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateSecurityGroupRequest, DeleteSecurityGroupRequest, DescribeSecurityGroupsRequest,
};
use crate::generated::ec2::response::{
    self, CreateSecurityGroupResponse, DeleteSecurityGroupResponse, DescribeSecurityGroupsResponse,
};
use crate::wire::text::Text;

/// CreateSecurityGroup.
pub(super) async fn create_security_group(
    ec2: &Ec2,
    context: &Context,
    request: CreateSecurityGroupRequest,
) -> Result<CreateSecurityGroupResponse, ApiError> {
    let input = CreateSecurityGroup {
        name: request.group_name,
        description: request.description,
        vpc: id::parse_optional(request.vpc_id.as_deref())?,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let group = ec2.control.create_security_group(&caller, &input).await?;
    Ok(CreateSecurityGroupResponse {
        group_id: Some(Text::display(group.id)),
        tags: tag::answer(&group.tags),
        security_group_arn: Some(context.arn("security-group", group.id)),
    })
}

/// DeleteSecurityGroup.
pub(super) async fn delete_security_group(
    ec2: &Ec2,
    context: &Context,
    request: DeleteSecurityGroupRequest,
) -> Result<DeleteSecurityGroupResponse, ApiError> {
    let group = selector(request.group_id.as_deref(), request.group_name)?;
    let caller = context.caller();
    let group = ec2.control.delete_security_group(&caller, &group).await?;
    Ok(DeleteSecurityGroupResponse {
        r#return: Some(true),
        group_id: Some(Text::display(group)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Description,
    GroupId,
    GroupName,
    OwnerId,
    Rule(Direction, RuleField),
    VpcId,
}

/// What the rules of a group can be filtered by. Several such filters may each be met by another
/// rule.
#[derive(Clone, Copy, PartialEq)]
enum RuleField {
    Cidr,
    FromPort,
    GroupId,
    GroupName,
    Ipv6Cidr,
    PrefixListId,
    Protocol,
    ToPort,
    UserId,
}

fn field(name: &str) -> Option<Field> {
    if let Some(of_rule) = name.strip_prefix("ip-permission.") {
        return Some(Field::Rule(Direction::Ingress, rule_field(of_rule)?));
    }
    if let Some(of_rule) = name.strip_prefix("egress.ip-permission.") {
        return Some(Field::Rule(Direction::Egress, rule_field(of_rule)?));
    }
    Some(match name {
        "description" => Field::Description,
        "group-id" => Field::GroupId,
        "group-name" => Field::GroupName,
        "owner-id" => Field::OwnerId,
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

fn rule_field(name: &str) -> Option<RuleField> {
    Some(match name {
        "cidr" => RuleField::Cidr,
        "from-port" => RuleField::FromPort,
        "group-id" => RuleField::GroupId,
        "group-name" => RuleField::GroupName,
        "ipv6-cidr" => RuleField::Ipv6Cidr,
        "prefix-list-id" => RuleField::PrefixListId,
        "protocol" => RuleField::Protocol,
        "to-port" => RuleField::ToPort,
        "user-id" => RuleField::UserId,
        _ => return None,
    })
}

/// DescribeSecurityGroups.
pub(super) async fn describe_security_groups(
    ec2: &Ec2,
    context: &Context,
    request: DescribeSecurityGroupsRequest,
) -> Result<DescribeSecurityGroupsResponse, ApiError> {
    let DescribeSecurityGroupsRequest {
        group_ids,
        group_names,
        next_token,
        max_results,
        filters,
    } = request;
    let named = match (group_ids.is_empty(), group_names.is_empty()) {
        (true, true) => None,
        (true, false) => Some("groupNames"),
        (false, _) => Some("groupIds"),
    };
    let (operation, token) = ("DescribeSecurityGroups", next_token.as_deref());
    let page = Page::read(operation, page::USUAL, max_results, token, named)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<SecurityGroupId> = page.after()?;
    let candidates = if named.is_some() {
        selected(&region, &group_ids, &group_names)?
    } else {
        candidates(&region, &filters)
    };
    let groups = candidates.into_iter().filter(|group| {
        after.is_none_or(|after| group.id > after)
            && filters.match_resource(&group.tags, |field, test| match field {
                Field::Description => test.text(&group.description),
                Field::GroupId => test.display(group.id),
                Field::GroupName => test.text(&group.name),
                Field::OwnerId => test.display(context.account),
                Field::Rule(direction, field) => {
                    for rule in group.rules_of(direction) {
                        test_rule(context, &region, rule, field, test);
                    }
                }
                Field::VpcId => test.display(group.vpc),
            })
    });
    let (groups, next_token) = page.take(groups, |group| group.id.to_string());
    let groups = groups
        .into_iter()
        .map(|group| answer(context, &region, group));
    Ok(DescribeSecurityGroupsResponse {
        next_token,
        security_groups: groups.collect(),
    })
}

/// The groups that a request names by id or, in the default VPC, by name.
fn selected<'a>(
    region: &'a RegionState,
    ids: &[String],
    names: &[String],
) -> Result<Vec<&'a SecurityGroup>, ApiError> {
    let mut groups: BTreeMap<SecurityGroupId, &SecurityGroup> = BTreeMap::new();
    for (id, group) in id::find(ids, &region.security_groups)? {
        groups.insert(id, group);
    }
    for name in names {
        let group = group_named(region, name)?;
        groups.insert(group.id, group);
    }
    Ok(groups.into_values().collect())
}

/// The groups that can match, by id: those that an index finds, or all of them.
fn candidates<'a>(region: &'a RegionState, filters: &Filters<Field>) -> Vec<&'a SecurityGroup> {
    let groups = &region.security_groups;
    let ids: Vec<SecurityGroupId> = if let Some(ids) = filters.exact(Field::GroupId) {
        ids.filter_map(|id| id.parse().ok()).collect()
    } else if let Some(vpcs) = filters.exact(Field::VpcId) {
        let vpcs = vpcs.filter_map(|vpc| vpc.parse::<VpcId>().ok());
        vpcs.flat_map(|vpc| region.groups_of_vpc(vpc)).collect()
    } else {
        return groups.values().map(|group| &**group).collect();
    };
    let found = ids.iter().filter_map(|id| groups.get(id));
    let mut found: Vec<&SecurityGroup> = found.map(|group| &**group).collect();
    found.sort_unstable_by_key(|group| group.id);
    found
}

fn test_rule(
    context: &Context,
    region: &RegionState,
    rule: &Rule,
    field: RuleField,
    test: &mut Test<'_>,
) {
    let service = in_words(rule.matcher.service);
    match (field, rule.matcher.peer) {
        (RuleField::Cidr, Peer::Ipv4(block)) => test.display(block),
        (RuleField::FromPort, _) => {
            if let Some((from, _)) = service.ports {
                test.display(from);
            }
        }
        (RuleField::GroupId, Peer::Group(group)) => test.display(group),
        (RuleField::GroupName, Peer::Group(group)) => {
            if let Some(group) = region.security_groups.get(&group) {
                test.text(&group.name);
            }
        }
        (RuleField::Ipv6Cidr, Peer::Ipv6(block)) => test.display(block),
        (RuleField::PrefixListId, Peer::PrefixList(list)) => test.display(list),
        (RuleField::Protocol, _) => test.text(&service.protocol),
        (RuleField::ToPort, _) => {
            if let Some((_, to)) = service.ports {
                test.display(to);
            }
        }
        (RuleField::UserId, Peer::Group(_)) => test.display(context.account),
        // A peer of another kind has no such value.
        _ => {}
    }
}

fn answer(
    context: &Context,
    region: &RegionState,
    group: &SecurityGroup,
) -> response::SecurityGroup {
    let permissions = |direction| {
        let rules = group.rules_of(direction);
        grouped(
            context,
            region,
            group.id,
            rules.map(|rule| (&rule.matcher, rule.description.as_deref())),
        )
    };
    response::SecurityGroup {
        group_id: Some(Text::display(group.id)),
        ip_permissions_egress: permissions(Direction::Egress),
        tags: tag::answer(&group.tags),
        vpc_id: Some(Text::display(group.vpc)),
        security_group_arn: Some(context.arn("security-group", group.id)),
        owner_id: Some(Text::display(context.account)),
        group_name: Some((&group.name).into()),
        description: Some((&group.description).into()),
        ip_permissions: permissions(Direction::Ingress),
    }
}
