//! Subnets.

use enid_control::{CreateSubnet, ModifySubnetAttribute, available_addresses};
use enid_model::id::{SubnetId, VpcId};
use enid_model::state::RegionState;
use enid_model::subnet::Subnet;

use super::filter::Filters;
use super::page::{self, Page};
use super::private_dns_name::hostname_type;
use super::subnet_cidr_block::association;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateDefaultSubnetRequest, CreateSubnetRequest, DeleteSubnetRequest, DescribeSubnetsRequest,
    ModifySubnetAttributeRequest,
};
use crate::generated::ec2::response::{
    self, CreateDefaultSubnetResponse, CreateSubnetResponse, DeleteSubnetResponse,
    DescribeSubnetsResponse, ModifySubnetAttributeResponse, PrivateDnsNameOptionsOnLaunch,
};
use crate::wire::text::Text;

/// CreateSubnet.
pub(super) async fn create_subnet(
    ec2: &Ec2,
    context: &Context,
    request: CreateSubnetRequest,
) -> Result<CreateSubnetResponse, ApiError> {
    let cidr_block = request.cidr_block;
    let input = CreateSubnet {
        vpc: id::parse(&request.vpc_id)?,
        cidr_block: cidr_block.ok_or_else(|| ApiError::missing_parameter("CidrBlock"))?,
        ipv6_cidr_block: request.ipv6_cidr_block,
        availability_zone: request.availability_zone,
        availability_zone_id: request.availability_zone_id,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let subnet = ec2.control.create_subnet(&context.caller(), &input).await?;
    Ok(CreateSubnetResponse {
        subnet: Some(answer(context, &subnet, subnet.capacity())),
    })
}

/// CreateDefaultSubnet.
pub(super) async fn create_default_subnet(
    ec2: &Ec2,
    context: &Context,
    request: CreateDefaultSubnetRequest,
) -> Result<CreateDefaultSubnetResponse, ApiError> {
    let zone = match (request.availability_zone, request.availability_zone_id) {
        (Some(name), None) => name,
        // An id that is none is told like a name that is none.
        (None, Some(id)) => {
            let mut zones = context.region.zones();
            let found = zones.find(|(_, known)| *known == id);
            found.map_or(id, |(name, _)| name)
        }
        (None, None) => return Err(ApiError::missing_parameter("AvailabilityZone")),
        (Some(_), Some(_)) => return Err(enid_control::Error::ZoneTwice.into()),
    };
    let caller = context.caller();
    let subnet = ec2.control.create_default_subnet(&caller, &zone).await?;
    Ok(CreateDefaultSubnetResponse {
        subnet: Some(answer(context, &subnet, subnet.capacity())),
    })
}

/// DeleteSubnet.
pub(super) async fn delete_subnet(
    ec2: &Ec2,
    context: &Context,
    request: DeleteSubnetRequest,
) -> Result<DeleteSubnetResponse, ApiError> {
    let subnet = id::parse(&request.subnet_id)?;
    ec2.control.delete_subnet(&context.caller(), subnet).await?;
    Ok(DeleteSubnetResponse {})
}

/// ModifySubnetAttribute. Of all other attributes the support table lets only the values pass that
/// every subnet has.
pub(super) async fn modify_subnet_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ModifySubnetAttributeRequest,
) -> Result<ModifySubnetAttributeResponse, ApiError> {
    let subnet = id::parse(&request.subnet_id)?;
    let assign_ipv6 = request.assign_ipv6_address_on_creation;
    let assign_ipv6 = assign_ipv6.and_then(|flag| flag.value);
    let kind = request.private_dns_hostname_type_on_launch;
    let a_record = request.enable_resource_name_dns_a_record_on_launch;
    let aaaa_record = request.enable_resource_name_dns_aaaa_record_on_launch;
    let customer_owned = request.map_customer_owned_ip_on_launch;
    let input = ModifySubnetAttribute {
        assign_ipv6_address_on_creation: assign_ipv6,
        map_public_ip_on_launch: request.map_public_ip_on_launch.and_then(|map| map.value),
        map_customer_owned_ip_on_launch: customer_owned.and_then(|flag| flag.value),
        enable_dns64: request.enable_dns64.and_then(|flag| flag.value),
        hostname_type: hostname_type(kind.as_deref(), "PrivateDnsHostnameTypeOnLaunch")?,
        resource_name_dns_a_record: a_record.and_then(|flag| flag.value),
        resource_name_dns_aaaa_record: aaaa_record.and_then(|flag| flag.value),
    };
    let caller = context.caller();
    ec2.control
        .modify_subnet_attribute(&caller, subnet, input)
        .await?;
    Ok(ModifySubnetAttributeResponse {})
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Absent,
    Arn,
    AvailableAddresses,
    Cidr,
    DefaultForAz,
    HostnameType,
    Ipv6AssociationId,
    Ipv6AssociationState,
    Ipv6Cidr,
    MapPublicIp,
    /// An attribute that is off everywhere.
    Off,
    OwnerId,
    ResourceNameA,
    ResourceNameAaaa,
    State,
    SubnetId,
    VpcId,
    Zone,
    ZoneId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "availability-zone" | "availabilityZone" => Field::Zone,
        "availability-zone-id" | "availabilityZoneId" => Field::ZoneId,
        "available-ip-address-count" => Field::AvailableAddresses,
        "cidr" | "cidr-block" | "cidrBlock" => Field::Cidr,
        "customer-owned-ipv4-pool" | "enable-lni-at-device-index" | "outpost-arn" => Field::Absent,
        "default-for-az" | "defaultForAz" => Field::DefaultForAz,
        "enable-dns64" | "ipv6-native" | "map-customer-owned-ip-on-launch" => Field::Off,
        "ipv6-cidr-block-association.association-id" => Field::Ipv6AssociationId,
        "ipv6-cidr-block-association.ipv6-cidr-block" => Field::Ipv6Cidr,
        "ipv6-cidr-block-association.state" => Field::Ipv6AssociationState,
        "map-public-ip-on-launch" => Field::MapPublicIp,
        "owner-id" => Field::OwnerId,
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record" => {
            Field::ResourceNameA
        }
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record" => {
            Field::ResourceNameAaaa
        }
        "private-dns-name-options-on-launch.hostname-type" => Field::HostnameType,
        "state" => Field::State,
        "subnet-arn" => Field::Arn,
        "subnet-id" => Field::SubnetId,
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

/// DescribeSubnets.
pub(super) async fn describe_subnets(
    ec2: &Ec2,
    context: &Context,
    request: DescribeSubnetsRequest,
) -> Result<DescribeSubnetsResponse, ApiError> {
    let DescribeSubnetsRequest {
        filters,
        subnet_ids,
        next_token,
        max_results,
    } = request;
    let ids = (!subnet_ids.is_empty()).then_some("subnetIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeSubnets", page::USUAL, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<SubnetId> = page.after()?;
    let named = id::find(&subnet_ids, &region.subnets)?;
    let candidates: Vec<&Subnet> = if ids.is_some() {
        named.into_values().map(|subnet| &**subnet).collect()
    } else if let Some(vpcs) = filters.exact(Field::VpcId) {
        of_vpcs(&region, vpcs)
    } else {
        region.subnets.values().map(|subnet| &**subnet).collect()
    };
    let subnets = candidates.into_iter().filter(|subnet| {
        after.is_none_or(|after| subnet.id > after)
            && filters.match_resource(&subnet.tags, |field, test| match field {
                Field::Absent => {}
                Field::Arn => test.text(&context.arn("subnet", subnet.id)),
                Field::AvailableAddresses => test.display(available_addresses(&region, subnet)),
                Field::Cidr => test.display(subnet.cidr),
                Field::DefaultForAz => test.flag(subnet.default_for_az),
                Field::HostnameType => test.text(subnet.attributes.hostname_type.word()),
                Field::Ipv6AssociationId => {
                    let block = subnet.ipv6_cidr.iter();
                    block.for_each(|block| test.display(block.association));
                }
                Field::Ipv6AssociationState => {
                    subnet
                        .ipv6_cidr
                        .iter()
                        .for_each(|_| test.text("associated"));
                }
                Field::Ipv6Cidr => subnet.ipv6_cidr.iter().for_each(|b| test.display(b.cidr)),
                Field::MapPublicIp => test.flag(subnet.attributes.map_public_ip_on_launch),
                Field::Off => test.flag(false),
                Field::OwnerId => test.display(context.account),
                Field::ResourceNameA => test.flag(subnet.attributes.resource_name_dns_a_record),
                Field::ResourceNameAaaa => {
                    test.flag(subnet.attributes.resource_name_dns_aaaa_record);
                }
                Field::State => test.text("available"),
                Field::SubnetId => test.display(subnet.id),
                Field::VpcId => test.display(subnet.vpc),
                Field::Zone => test.text(&subnet.zone),
                Field::ZoneId => test.text(&subnet.zone_id),
            })
    });
    let (subnets, next_token) = page.take(subnets, |subnet| subnet.id.to_string());
    let subnets = subnets
        .into_iter()
        .map(|subnet| answer(context, subnet, available_addresses(&region, subnet)));
    Ok(DescribeSubnetsResponse {
        next_token,
        subnets: subnets.collect(),
    })
}

/// The subnets of some VPCs, by id. A text that is no VPC's id has none.
fn of_vpcs<'a>(region: &'a RegionState, vpcs: impl Iterator<Item = &'a str>) -> Vec<&'a Subnet> {
    let vpcs = vpcs.filter_map(|vpc| vpc.parse::<VpcId>().ok());
    let subnets = vpcs.flat_map(|vpc| region.subnets_of_vpc(vpc));
    let subnets = subnets.filter_map(|subnet| region.subnets.get(&subnet));
    let mut subnets: Vec<&Subnet> = subnets.map(|subnet| &**subnet).collect();
    subnets.sort_unstable_by_key(|subnet| subnet.id);
    subnets
}

fn answer(context: &Context, subnet: &Subnet, available: u32) -> response::Subnet {
    response::Subnet {
        availability_zone_id: Some((&subnet.zone_id).into()),
        map_customer_owned_ip_on_launch: Some(false),
        owner_id: Some(Text::display(context.account)),
        assign_ipv6_address_on_creation: Some(subnet.attributes.assign_ipv6_address_on_creation),
        ipv6_cidr_block_association_set: subnet
            .ipv6_cidr
            .iter()
            .map(|block| association(block, "associated"))
            .collect(),
        tags: tag::answer(&subnet.tags),
        subnet_arn: Some(context.arn("subnet", subnet.id)),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        private_dns_name_options_on_launch: Some(PrivateDnsNameOptionsOnLaunch {
            hostname_type: Some(subnet.attributes.hostname_type.word().into()),
            enable_resource_name_dns_a_record: Some(subnet.attributes.resource_name_dns_a_record),
            enable_resource_name_dns_aaaa_record: Some(
                subnet.attributes.resource_name_dns_aaaa_record,
            ),
        }),
        subnet_id: Some(Text::display(subnet.id)),
        state: Some("available".into()),
        vpc_id: Some(Text::display(subnet.vpc)),
        cidr_block: Some(Text::display(subnet.cidr)),
        available_ip_address_count: i32::try_from(available).ok(),
        availability_zone: Some((&subnet.zone).into()),
        default_for_az: Some(subnet.default_for_az),
        map_public_ip_on_launch: Some(subnet.attributes.map_public_ip_on_launch),
    }
}
