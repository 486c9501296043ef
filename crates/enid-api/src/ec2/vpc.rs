//! VPCs.

use enid_control::{CreateVpc, ModifyVpcAttribute};
use enid_model::id::VpcId;
use enid_model::vpc::{Vpc, VpcCidr};

use super::filter::Filters;
use super::page::{self, Page};
use super::vpc_cidr_block::{WantedIpv6, ipv4_association, ipv6_association};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateDefaultVpcRequest, CreateVpcRequest, DeleteVpcRequest, DescribeVpcAttributeRequest,
    DescribeVpcsRequest, ModifyVpcAttributeRequest,
};
use crate::generated::ec2::response::{
    self, AttributeBooleanValue, CreateDefaultVpcResponse, CreateVpcResponse, DeleteVpcResponse,
    DescribeVpcAttributeResponse, DescribeVpcsResponse, ModifyVpcAttributeResponse,
};
use crate::wire::text::Text;

/// CreateVpc.
pub(super) async fn create_vpc(
    ec2: &Ec2,
    context: &Context,
    request: CreateVpcRequest,
) -> Result<CreateVpcResponse, ApiError> {
    let cidr_block = request.cidr_block;
    let ipv6 = WantedIpv6 {
        amazon_provided: request.amazon_provided_ipv6_cidr_block,
        cidr: request.ipv6_cidr_block,
        pool: request.ipv6_pool,
        network_border_group: request.ipv6_cidr_block_network_border_group,
    };
    let input = CreateVpc {
        cidr_block: cidr_block.ok_or_else(|| ApiError::missing_parameter("CidrBlock"))?,
        ipv6: ipv6.resolve(context)?,
        instance_tenancy: None,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let vpc = ec2.control.create_vpc(&context.caller(), &input).await?;
    Ok(CreateVpcResponse {
        vpc: Some(answer(context, &vpc)),
    })
}

/// CreateDefaultVpc.
pub(super) async fn create_default_vpc(
    ec2: &Ec2,
    context: &Context,
    _request: CreateDefaultVpcRequest,
) -> Result<CreateDefaultVpcResponse, ApiError> {
    let vpc = ec2.control.create_default_vpc(&context.caller()).await?;
    Ok(CreateDefaultVpcResponse {
        vpc: Some(answer(context, &vpc)),
    })
}

/// DeleteVpc.
pub(super) async fn delete_vpc(
    ec2: &Ec2,
    context: &Context,
    request: DeleteVpcRequest,
) -> Result<DeleteVpcResponse, ApiError> {
    let vpc = id::parse(&request.vpc_id)?;
    ec2.control.delete_vpc(&context.caller(), vpc).await?;
    Ok(DeleteVpcResponse {})
}

/// ModifyVpcAttribute.
pub(super) async fn modify_vpc_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ModifyVpcAttributeRequest,
) -> Result<ModifyVpcAttributeResponse, ApiError> {
    let vpc = id::parse(&request.vpc_id)?;
    let metrics = request.enable_network_address_usage_metrics;
    let input = ModifyVpcAttribute {
        enable_dns_hostnames: request.enable_dns_hostnames.and_then(|flag| flag.value),
        enable_dns_support: request.enable_dns_support.and_then(|flag| flag.value),
        enable_network_address_usage_metrics: metrics.and_then(|flag| flag.value),
    };
    let caller = context.caller();
    ec2.control
        .modify_vpc_attribute(&caller, vpc, input)
        .await?;
    Ok(ModifyVpcAttributeResponse {})
}

/// DescribeVpcAttribute.
pub(super) async fn describe_vpc_attribute(
    ec2: &Ec2,
    context: &Context,
    request: DescribeVpcAttributeRequest,
) -> Result<DescribeVpcAttributeResponse, ApiError> {
    let id = id::parse::<VpcId>(&request.vpc_id)?;
    let region = ec2.control.read(&context.caller()).await?;
    let vpc = region.vpcs.get(&id);
    let vpc = vpc.ok_or_else(|| id::not_found("vpc", &[&request.vpc_id]))?;
    let flag = |value: bool| Some(AttributeBooleanValue { value: Some(value) });
    let mut response = DescribeVpcAttributeResponse {
        vpc_id: Some(Text::display(id)),
        ..DescribeVpcAttributeResponse::default()
    };
    match &*request.attribute {
        "enableDnsHostnames" => response.enable_dns_hostnames = flag(vpc.enable_dns_hostnames),
        "enableDnsSupport" => response.enable_dns_support = flag(vpc.enable_dns_support),
        // The support table lets no other attribute pass.
        _ => {
            let metrics = flag(vpc.network_address_usage_metrics);
            response.enable_network_address_usage_metrics = metrics;
        }
    }
    Ok(response)
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    AssociationCidr,
    AssociationId,
    AssociationState,
    Cidr,
    DhcpOptionsId,
    Ipv6AssociationId,
    Ipv6AssociationState,
    Ipv6Cidr,
    Ipv6Pool,
    IsDefault,
    OwnerId,
    State,
    VpcId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "cidr" | "cidr-block" | "cidrBlock" => Field::Cidr,
        "cidr-block-association.association-id" => Field::AssociationId,
        "cidr-block-association.cidr-block" => Field::AssociationCidr,
        "cidr-block-association.state" => Field::AssociationState,
        "dhcp-options-id" | "dhcpOptionsId" => Field::DhcpOptionsId,
        "ipv6-cidr-block-association.association-id" => Field::Ipv6AssociationId,
        "ipv6-cidr-block-association.ipv6-cidr-block" => Field::Ipv6Cidr,
        "ipv6-cidr-block-association.ipv6-pool" => Field::Ipv6Pool,
        "ipv6-cidr-block-association.state" => Field::Ipv6AssociationState,
        "is-default" | "isDefault" => Field::IsDefault,
        "owner-id" => Field::OwnerId,
        "state" => Field::State,
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

/// DescribeVpcs.
pub(super) async fn describe_vpcs(
    ec2: &Ec2,
    context: &Context,
    request: DescribeVpcsRequest,
) -> Result<DescribeVpcsResponse, ApiError> {
    let DescribeVpcsRequest {
        filters,
        vpc_ids,
        next_token,
        max_results,
    } = request;
    let ids = (!vpc_ids.is_empty()).then_some("vpcIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeVpcs", page::USUAL, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<VpcId> = page.after()?;
    let wanted = id::find(&vpc_ids, &region.vpcs)?;
    let wanted = wanted.into_values();
    let all = region.vpcs.values().filter(|_| ids.is_none());
    let vpcs = wanted.chain(all).map(|vpc| &**vpc).filter(|vpc: &&Vpc| {
        after.is_none_or(|after| vpc.id > after)
            && filters.match_resource(&vpc.tags, |field, test| match field {
                Field::AssociationCidr => vpc.ipv4_cidrs().for_each(|cidr| test.display(cidr)),
                Field::AssociationId => ipv4_blocks(vpc).for_each(|b| test.display(b.association)),
                Field::AssociationState => test.text("associated"),
                Field::Cidr => test.display(vpc.cidr),
                Field::DhcpOptionsId => test.text(&dhcp_options(vpc)),
                Field::Ipv6AssociationId => {
                    vpc.ipv6_cidrs
                        .iter()
                        .for_each(|b| test.display(b.association));
                }
                Field::Ipv6AssociationState => {
                    vpc.ipv6_cidrs.iter().for_each(|_| test.text("associated"));
                }
                Field::Ipv6Cidr => vpc.ipv6_cidrs.iter().for_each(|b| test.display(b.cidr)),
                Field::Ipv6Pool => vpc.ipv6_cidrs.iter().for_each(|b| test.text(&b.pool)),
                Field::IsDefault => test.flag(vpc.is_default),
                Field::OwnerId => test.display(context.account),
                Field::State => test.text("available"),
                Field::VpcId => test.display(vpc.id),
            })
    });
    let (vpcs, next_token) = page.take(vpcs, |vpc| vpc.id.to_string());
    let vpcs = vpcs.into_iter().map(|vpc| answer(context, vpc));
    Ok(DescribeVpcsResponse {
        next_token,
        vpcs: vpcs.collect(),
    })
}

fn answer(context: &Context, vpc: &Vpc) -> response::Vpc {
    let cidr = Text::display(vpc.cidr);
    response::Vpc {
        owner_id: Some(Text::display(context.account)),
        instance_tenancy: Some("default".into()),
        ipv6_cidr_block_association_set: vpc
            .ipv6_cidrs
            .iter()
            .map(|block| ipv6_association(block, "associated"))
            .collect(),
        cidr_block_association_set: ipv4_blocks(vpc)
            .map(|block| ipv4_association(block, "associated"))
            .collect(),
        is_default: Some(vpc.is_default),
        tags: tag::answer(&vpc.tags),
        vpc_id: Some(Text::display(vpc.id)),
        state: Some("available".into()),
        cidr_block: Some(cidr),
        dhcp_options_id: Some(dhcp_options(vpc)),
    }
}

/// The IPv4 blocks of a VPC, the primary one first.
fn ipv4_blocks(vpc: &Vpc) -> impl Iterator<Item = VpcCidr> {
    let primary = VpcCidr {
        association: vpc.cidr_association,
        cidr: vpc.cidr,
    };
    std::iter::once(primary).chain(vpc.secondary_cidrs.iter().copied())
}

/// The option set's id; `default` stands for none.
fn dhcp_options(vpc: &Vpc) -> Text {
    match vpc.dhcp_options {
        Some(id) => Text::display(id),
        None => Text::from("default"),
    }
}
