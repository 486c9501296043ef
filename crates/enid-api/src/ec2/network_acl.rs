//! Network ACLs.

use enid_control::CreateNetworkAcl;
use enid_model::id::{NetworkAclId, ResourceId as _, VpcId};
use enid_model::network_acl::NetworkAcl;
use enid_model::state::RegionState;

use super::filter::Filters;
use super::network_acl_entry::entries;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateNetworkAclRequest, DeleteNetworkAclRequest, DescribeNetworkAclsRequest,
    ReplaceNetworkAclAssociationRequest,
};
use crate::generated::ec2::response::{
    self, CreateNetworkAclResponse, DeleteNetworkAclResponse, DescribeNetworkAclsResponse,
    NetworkAclAssociation, ReplaceNetworkAclAssociationResponse,
};
use crate::wire::text::Text;

/// CreateNetworkAcl.
pub(super) async fn create_network_acl(
    ec2: &Ec2,
    context: &Context,
    request: CreateNetworkAclRequest,
) -> Result<CreateNetworkAclResponse, ApiError> {
    let input = CreateNetworkAcl {
        vpc: id::parse(&request.vpc_id)?,
        client_token: request.client_token,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let acl = ec2.control.create_network_acl(&caller, &input).await?;
    let region = ec2.control.read(&caller).await?;
    Ok(CreateNetworkAclResponse {
        network_acl: Some(answer(context, &region, &acl)),
        client_token: input.client_token.map(Text::from),
    })
}

/// DeleteNetworkAcl.
pub(super) async fn delete_network_acl(
    ec2: &Ec2,
    context: &Context,
    request: DeleteNetworkAclRequest,
) -> Result<DeleteNetworkAclResponse, ApiError> {
    let acl = id::parse(&request.network_acl_id)?;
    let caller = context.caller();
    ec2.control.delete_network_acl(&caller, acl).await?;
    Ok(DeleteNetworkAclResponse {})
}

/// ReplaceNetworkAclAssociation.
pub(super) async fn replace_network_acl_association(
    ec2: &Ec2,
    context: &Context,
    request: ReplaceNetworkAclAssociationRequest,
) -> Result<ReplaceNetworkAclAssociationResponse, ApiError> {
    let association = id::parse(&request.association_id)?;
    let acl = id::parse(&request.network_acl_id)?;
    let caller = context.caller();
    let new = ec2
        .control
        .replace_network_acl_association(&caller, association, acl);
    Ok(ReplaceNetworkAclAssociationResponse {
        new_association_id: Some(Text::display(new.await?)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    AssociationAcl,
    AssociationId,
    AssociationSubnet,
    Default,
    Entry(EntryField),
    Id,
    OwnerId,
    VpcId,
}

#[derive(Clone, Copy, PartialEq)]
enum EntryField {
    Action,
    Cidr,
    Egress,
    IcmpCode,
    IcmpType,
    Ipv6Cidr,
    Number,
    PortFrom,
    PortTo,
    Protocol,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "association.association-id" => Field::AssociationId,
        "association.network-acl-id" => Field::AssociationAcl,
        "association.subnet-id" => Field::AssociationSubnet,
        "default" => Field::Default,
        "entry.cidr" => Field::Entry(EntryField::Cidr),
        "entry.egress" => Field::Entry(EntryField::Egress),
        "entry.icmp.code" => Field::Entry(EntryField::IcmpCode),
        "entry.icmp.type" => Field::Entry(EntryField::IcmpType),
        "entry.ipv6-cidr" => Field::Entry(EntryField::Ipv6Cidr),
        "entry.port-range.from" => Field::Entry(EntryField::PortFrom),
        "entry.port-range.to" => Field::Entry(EntryField::PortTo),
        "entry.protocol" => Field::Entry(EntryField::Protocol),
        "entry.rule-action" => Field::Entry(EntryField::Action),
        "entry.rule-number" => Field::Entry(EntryField::Number),
        "network-acl-id" => Field::Id,
        "owner-id" => Field::OwnerId,
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

/// DescribeNetworkAcls.
pub(super) async fn describe_network_acls(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNetworkAclsRequest,
) -> Result<DescribeNetworkAclsResponse, ApiError> {
    let DescribeNetworkAclsRequest {
        filters,
        network_acl_ids,
        next_token,
        max_results,
    } = request;
    let ids = (!network_acl_ids.is_empty()).then_some("networkAclIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeNetworkAcls", page::USUAL, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<NetworkAclId> = page.after()?;
    let named = id::find(&network_acl_ids, &region.network_acls)?;
    let candidates: Vec<&NetworkAcl> = if ids.is_some() {
        named.into_values().map(|acl| &**acl).collect()
    } else if let Some(vpcs) = filters.exact(Field::VpcId) {
        of_vpcs(&region, vpcs)
    } else {
        region.network_acls.values().map(|acl| &**acl).collect()
    };
    let acls = candidates.into_iter().filter(|acl| {
        after.is_none_or(|after| acl.id > after)
            && filters.match_resource(&acl.tags, |field, test| match field {
                Field::AssociationAcl => {
                    if region.subnets_of_acl(acl.id).next().is_some() {
                        test.display(acl.id);
                    }
                }
                Field::AssociationId => {
                    for own in associations(&region, acl) {
                        own.network_acl_association_id
                            .iter()
                            .for_each(|id| test.text(id));
                    }
                }
                Field::AssociationSubnet => {
                    for subnet in region.subnets_of_acl(acl.id) {
                        test.display(subnet);
                    }
                }
                Field::Default => test.flag(acl.is_default),
                Field::Entry(field) => {
                    for entry in entries(&region, acl) {
                        for value in entry_values(field, &entry) {
                            test.text(&value);
                        }
                    }
                }
                Field::Id => test.display(acl.id),
                Field::OwnerId => test.display(context.account),
                Field::VpcId => test.display(acl.vpc),
            })
    });
    let (acls, next_token) = page.take(acls, |acl| acl.id.to_string());
    let acls = acls.into_iter().map(|acl| answer(context, &region, acl));
    Ok(DescribeNetworkAclsResponse {
        network_acls: acls.collect(),
        next_token,
    })
}

/// What an entry has under a filter's name.
fn entry_values(field: EntryField, entry: &response::NetworkAclEntry) -> Vec<Text> {
    let number = |number: Option<i32>| number.map(Text::display);
    let icmp = entry.icmp_type_code.as_ref();
    let ports = entry.port_range.as_ref();
    let value = match field {
        EntryField::Action => entry.rule_action.clone(),
        EntryField::Cidr => entry.cidr_block.clone(),
        EntryField::Egress => entry.egress.map(Text::display),
        EntryField::IcmpCode => number(icmp.and_then(|icmp| icmp.code)),
        EntryField::IcmpType => number(icmp.and_then(|icmp| icmp.r#type)),
        EntryField::Ipv6Cidr => entry.ipv6_cidr_block.clone(),
        EntryField::Number => number(entry.rule_number),
        EntryField::PortFrom => number(ports.and_then(|ports| ports.from)),
        EntryField::PortTo => number(ports.and_then(|ports| ports.to)),
        EntryField::Protocol => {
            // Filters know the usual protocols by their names as well.
            let name = match entry.protocol.as_deref() {
                Some("1") => Some("icmp"),
                Some("6") => Some("tcp"),
                Some("17") => Some("udp"),
                _ => None,
            };
            return entry
                .protocol
                .iter()
                .cloned()
                .chain(name.map(Text::from))
                .collect();
        }
    };
    value.into_iter().collect()
}

/// The ACLs of some VPCs, by id. A text that is no VPC's id has none.
fn of_vpcs<'a>(
    region: &'a RegionState,
    vpcs: impl Iterator<Item = &'a str>,
) -> Vec<&'a NetworkAcl> {
    let vpcs = vpcs.filter_map(|vpc| vpc.parse::<VpcId>().ok());
    let acls = vpcs.flat_map(|vpc| region.acls_of_vpc(vpc));
    let acls = acls.filter_map(|acl| region.network_acls.get(&acl));
    let mut acls: Vec<&NetworkAcl> = acls.map(|acl| &**acl).collect();
    acls.sort_unstable_by_key(|acl| acl.id.bits());
    acls
}

fn associations(region: &RegionState, acl: &NetworkAcl) -> Vec<NetworkAclAssociation> {
    let subnets = region.subnets_of_acl(acl.id);
    let subnets = subnets.filter_map(|subnet| region.subnets.get(&subnet));
    let associations = subnets.map(|subnet| NetworkAclAssociation {
        network_acl_association_id: Some(Text::display(subnet.network_acl.association)),
        network_acl_id: Some(Text::display(acl.id)),
        subnet_id: Some(Text::display(subnet.id)),
    });
    associations.collect()
}

fn answer(context: &Context, region: &RegionState, acl: &NetworkAcl) -> response::NetworkAcl {
    response::NetworkAcl {
        associations: associations(region, acl),
        entries: entries(region, acl),
        is_default: Some(acl.is_default),
        network_acl_id: Some(Text::display(acl.id)),
        tags: tag::answer(&acl.tags),
        vpc_id: Some(Text::display(acl.vpc)),
        owner_id: Some(Text::display(context.account)),
    }
}
