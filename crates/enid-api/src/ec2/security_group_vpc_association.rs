//! Security groups and the other VPCs whose interfaces may carry them.

use std::str::FromStr;

use enid_model::id::{SecurityGroupId, VpcId};
use enid_model::security_group::SecurityGroup;

use super::filter::Filters;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssociateSecurityGroupVpcRequest, DescribeSecurityGroupVpcAssociationsRequest,
    DisassociateSecurityGroupVpcRequest, GetSecurityGroupsForVpcRequest,
};
use crate::generated::ec2::response::{
    AssociateSecurityGroupVpcResponse, DescribeSecurityGroupVpcAssociationsResponse,
    DisassociateSecurityGroupVpcResponse, GetSecurityGroupsForVpcResponse, SecurityGroupForVpc,
    SecurityGroupVpcAssociation,
};
use crate::wire::text::Text;

/// AssociateSecurityGroupVpc.
pub(super) async fn associate_security_group_vpc(
    ec2: &Ec2,
    context: &Context,
    request: AssociateSecurityGroupVpcRequest,
) -> Result<AssociateSecurityGroupVpcResponse, ApiError> {
    let (group, vpc) = (id::parse(&request.group_id)?, id::parse(&request.vpc_id)?);
    let caller = context.caller();
    ec2.control
        .associate_security_group_vpc(&caller, group, vpc)
        .await?;
    Ok(AssociateSecurityGroupVpcResponse {
        state: Some(ASSOCIATED.into()),
    })
}

/// DisassociateSecurityGroupVpc.
pub(super) async fn disassociate_security_group_vpc(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateSecurityGroupVpcRequest,
) -> Result<DisassociateSecurityGroupVpcResponse, ApiError> {
    let (group, vpc) = (id::parse(&request.group_id)?, id::parse(&request.vpc_id)?);
    let caller = context.caller();
    ec2.control
        .disassociate_security_group_vpc(&caller, group, vpc)
        .await?;
    Ok(DisassociateSecurityGroupVpcResponse {
        state: Some("disassociated".into()),
    })
}

/// An association is there or not: Enid has no states between.
const ASSOCIATED: &str = "associated";

#[derive(Clone, Copy, PartialEq)]
enum AssociationField {
    GroupId,
    OwnerId,
    State,
    VpcId,
}

/// The place of an association in the list of all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(SecurityGroupId, VpcId);

impl FromStr for Place {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (group, vpc) = text.split_once('/').ok_or(())?;
        Ok(Self(group.parse().or(Err(()))?, vpc.parse().or(Err(()))?))
    }
}

/// DescribeSecurityGroupVpcAssociations.
pub(super) async fn describe_security_group_vpc_associations(
    ec2: &Ec2,
    context: &Context,
    request: DescribeSecurityGroupVpcAssociationsRequest,
) -> Result<DescribeSecurityGroupVpcAssociationsResponse, ApiError> {
    let (operation, token) = (
        "DescribeSecurityGroupVpcAssociations",
        request.next_token.as_deref(),
    );
    let page = Page::read(operation, page::USUAL, request.max_results, token, None)?;
    let filters = Filters::compile(&request.filters, |name| match name {
        "group-id" => Some(AssociationField::GroupId),
        "group-owner-id" | "vpc-owner-id" => Some(AssociationField::OwnerId),
        "state" => Some(AssociationField::State),
        "vpc-id" => Some(AssociationField::VpcId),
        _ => None,
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<Place> = page.after()?;
    let all = region.security_groups.values().flat_map(|group| {
        let vpcs = group.associated_vpcs.iter();
        vpcs.map(|vpc| (Place(group.id, *vpc), &group.tags))
    });
    let wanted = all.filter(|(place, tags)| {
        after.is_none_or(|after| *place > after)
            && filters.match_resource(tags, |field, test| match field {
                AssociationField::GroupId => test.display(place.0),
                AssociationField::OwnerId => test.display(context.account),
                AssociationField::State => test.text(ASSOCIATED),
                AssociationField::VpcId => test.display(place.1),
            })
    });
    let key = |(Place(group, vpc), _): &(Place, _)| format!("{group}/{vpc}");
    let (associations, next_token) = page.take(wanted, key);
    let owner = Some(Text::display(context.account));
    let associations = associations.into_iter();
    let associations = associations.map(|(Place(group, vpc), _)| SecurityGroupVpcAssociation {
        group_id: Some(Text::display(group)),
        vpc_id: Some(Text::display(vpc)),
        vpc_owner_id: owner.clone(),
        state: Some(ASSOCIATED.into()),
        group_owner_id: owner.clone(),
    });
    Ok(DescribeSecurityGroupVpcAssociationsResponse {
        security_group_vpc_associations: associations.collect(),
        next_token,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum GroupField {
    Description,
    Id,
    Name,
    OwnerId,
    PrimaryVpcId,
}

/// GetSecurityGroupsForVpc: the groups that interfaces of a VPC may carry.
pub(super) async fn get_security_groups_for_vpc(
    ec2: &Ec2,
    context: &Context,
    request: GetSecurityGroupsForVpcRequest,
) -> Result<GetSecurityGroupsForVpcResponse, ApiError> {
    let (operation, token) = ("GetSecurityGroupsForVpc", request.next_token.as_deref());
    let page = Page::read(operation, page::USUAL, request.max_results, token, None)?;
    let filters = Filters::compile(&request.filters, |name| match name {
        "description" => Some(GroupField::Description),
        "group-id" => Some(GroupField::Id),
        "group-name" => Some(GroupField::Name),
        "owner-id" => Some(GroupField::OwnerId),
        "primary-vpc-id" => Some(GroupField::PrimaryVpcId),
        _ => None,
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<SecurityGroupId> = page.after()?;
    let mut ids: Vec<SecurityGroupId> = Vec::new();
    for vpc in id::find(&[request.vpc_id], &region.vpcs)?.into_keys() {
        ids.extend(region.groups_of_vpc(vpc));
        ids.extend(region.groups_associated_with_vpc(vpc));
    }
    ids.sort_unstable();
    let groups = ids.iter().filter_map(|id| region.security_groups.get(id));
    let groups = groups.filter(|group| {
        after.is_none_or(|after| group.id > after)
            && filters.match_resource(&group.tags, |field, test| match field {
                GroupField::Description => test.text(&group.description),
                GroupField::Id => test.display(group.id),
                GroupField::Name => test.text(&group.name),
                GroupField::OwnerId => test.display(context.account),
                GroupField::PrimaryVpcId => test.display(group.vpc),
            })
    });
    let (groups, next_token) = page.take(groups, |group| group.id.to_string());
    let groups = groups.into_iter().map(|group| for_vpc(context, group));
    Ok(GetSecurityGroupsForVpcResponse {
        next_token,
        security_group_for_vpcs: groups.collect(),
    })
}

fn for_vpc(context: &Context, group: &SecurityGroup) -> SecurityGroupForVpc {
    SecurityGroupForVpc {
        description: Some((&group.description).into()),
        group_name: Some((&group.name).into()),
        owner_id: Some(Text::display(context.account)),
        group_id: Some(Text::display(group.id)),
        tags: tag::answer(&group.tags),
        primary_vpc_id: Some(Text::display(group.vpc)),
    }
}
