//! NAT gateways.

use enid_control::{
    AssignPrivateNatGatewayAddress, AssociateNatGatewayAddress, CreateNatGateway, DrainSeconds,
    nat_gateway_is_visible, parse_address,
};
use enid_model::id::NatGatewayId;
use enid_model::nat_gateway::{NatGateway, NatGatewayAddress};
use enid_model::state::Stored;

use super::filter::Filters;
use super::network_interface::wanted::count;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssignPrivateNatGatewayAddressRequest, AssociateNatGatewayAddressRequest,
    CreateNatGatewayRequest, DeleteNatGatewayRequest, DescribeNatGatewaysRequest,
    DisassociateNatGatewayAddressRequest, UnassignPrivateNatGatewayAddressRequest,
};
use crate::generated::ec2::response::{
    self, AssignPrivateNatGatewayAddressResponse, AssociateNatGatewayAddressResponse,
    CreateNatGatewayResponse, DeleteNatGatewayResponse, DescribeNatGatewaysResponse,
    DisassociateNatGatewayAddressResponse, UnassignPrivateNatGatewayAddressResponse,
};
use crate::wire::text::Text;

/// CreateNatGateway.
pub(super) async fn create_nat_gateway(
    ec2: &Ec2,
    context: &Context,
    request: CreateNatGatewayRequest,
) -> Result<CreateNatGatewayResponse, ApiError> {
    let subnet = request.subnet_id;
    let subnet = subnet.ok_or_else(|| ApiError::missing_parameter("SubnetId"))?;
    let private_ip = request.private_ip_address.as_deref();
    let client_token = request.client_token.clone();
    let input = CreateNatGateway {
        subnet: id::parse(&subnet)?,
        is_public: request.connectivity_type.as_deref() != Some(PRIVATE),
        allocation: id::parse_optional(request.allocation_id.as_deref())?,
        private_ip: private_ip.map(parse_address).transpose()?,
        secondary_allocations: id::parse_all(&request.secondary_allocation_ids)?,
        secondary_private_ips: addresses(&request.secondary_private_ip_addresses)?,
        secondary_count: count(
            request.secondary_private_ip_address_count,
            "SecondaryPrivateIpAddressCount",
        )?,
        client_token: request.client_token,
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let gateway = ec2.control.create_nat_gateway(&caller, input).await?;
    Ok(CreateNatGatewayResponse {
        client_token: client_token.map(Text::from),
        nat_gateway: Some(answer(&gateway)),
    })
}

/// DeleteNatGateway.
pub(super) async fn delete_nat_gateway(
    ec2: &Ec2,
    context: &Context,
    request: DeleteNatGatewayRequest,
) -> Result<DeleteNatGatewayResponse, ApiError> {
    let gateway = id::parse(&request.nat_gateway_id)?;
    let caller = context.caller();
    ec2.control.delete_nat_gateway(&caller, gateway).await?;
    Ok(DeleteNatGatewayResponse {
        nat_gateway_id: Some(Text::display(gateway)),
    })
}

/// AssociateNatGatewayAddress.
pub(super) async fn associate_nat_gateway_address(
    ec2: &Ec2,
    context: &Context,
    request: AssociateNatGatewayAddressRequest,
) -> Result<AssociateNatGatewayAddressResponse, ApiError> {
    let input = AssociateNatGatewayAddress {
        gateway: id::parse(&request.nat_gateway_id)?,
        allocations: id::parse_all(&request.allocation_ids)?,
        private_ips: addresses(&request.private_ip_addresses)?,
    };
    let caller = context.caller();
    let (gateway, new) = ec2
        .control
        .associate_nat_gateway_address(&caller, &input)
        .await?;
    Ok(AssociateNatGatewayAddressResponse {
        nat_gateway_id: Some(Text::display(gateway.id)),
        nat_gateway_addresses: told(&gateway, &new, SUCCEEDED),
    })
}

/// DisassociateNatGatewayAddress.
pub(super) async fn disassociate_nat_gateway_address(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateNatGatewayAddressRequest,
) -> Result<DisassociateNatGatewayAddressResponse, ApiError> {
    let gateway = id::parse(&request.nat_gateway_id)?;
    let associations = id::parse_all(&request.association_ids)?;
    let drain = DrainSeconds::new(request.max_drain_duration_seconds)?;
    let caller = context.caller();
    let (gateway, gone) = ec2
        .control
        .disassociate_nat_gateway_address(&caller, gateway, &associations, drain)
        .await?;
    Ok(DisassociateNatGatewayAddressResponse {
        nat_gateway_id: Some(Text::display(gateway.id)),
        nat_gateway_addresses: told(&gateway, &gone, SUCCEEDED),
    })
}

/// AssignPrivateNatGatewayAddress.
pub(super) async fn assign_private_nat_gateway_address(
    ec2: &Ec2,
    context: &Context,
    request: AssignPrivateNatGatewayAddressRequest,
) -> Result<AssignPrivateNatGatewayAddressResponse, ApiError> {
    let input = AssignPrivateNatGatewayAddress {
        gateway: id::parse(&request.nat_gateway_id)?,
        private_ips: addresses(&request.private_ip_addresses)?,
        count: count(request.private_ip_address_count, "PrivateIpAddressCount")?,
    };
    let caller = context.caller();
    let (gateway, new) = ec2
        .control
        .assign_private_nat_gateway_address(&caller, &input)
        .await?;
    Ok(AssignPrivateNatGatewayAddressResponse {
        nat_gateway_id: Some(Text::display(gateway.id)),
        nat_gateway_addresses: told(&gateway, &new, SUCCEEDED),
    })
}

/// UnassignPrivateNatGatewayAddress.
pub(super) async fn unassign_private_nat_gateway_address(
    ec2: &Ec2,
    context: &Context,
    request: UnassignPrivateNatGatewayAddressRequest,
) -> Result<UnassignPrivateNatGatewayAddressResponse, ApiError> {
    let gateway = id::parse(&request.nat_gateway_id)?;
    let private_ips = addresses(&request.private_ip_addresses)?;
    let drain = DrainSeconds::new(request.max_drain_duration_seconds)?;
    let caller = context.caller();
    let (gateway, gone) = ec2
        .control
        .unassign_private_nat_gateway_address(&caller, gateway, &private_ips, drain)
        .await?;
    Ok(UnassignPrivateNatGatewayAddressResponse {
        nat_gateway_id: Some(Text::display(gateway.id)),
        nat_gateway_addresses: told(&gateway, &gone, SUCCEEDED),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Id,
    State,
    SubnetId,
    VpcId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "nat-gateway-id" => Field::Id,
        "state" => Field::State,
        "subnet-id" => Field::SubnetId,
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

/// DescribeNatGateways. Deleted ones are told for an hour.
pub(super) async fn describe_nat_gateways(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNatGatewaysRequest,
) -> Result<DescribeNatGatewaysResponse, ApiError> {
    let ids = &request.nat_gateway_ids;
    let page = Page::read(
        "DescribeNatGateways",
        page::USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("natGatewayIds"),
    )?;
    let filters = Filters::compile(&request.filter, field)?;
    let now = ec2.control.now();
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<NatGatewayId> = page.after()?;
    let named = id::find(ids, &region.nat_gateways)?;
    let is_visible = |gateway: &&Stored<NatGateway>| nat_gateway_is_visible(gateway, now);
    if let Some((id, _)) = named.iter().find(|(_, gateway)| !is_visible(gateway)) {
        return Err(id::not_found("nat", &[&id.to_string()]));
    }
    let all = region.nat_gateways.values().filter(|_| ids.is_empty());
    let gateways = named.into_values().chain(all).filter(is_visible);
    let gateways = gateways.filter(|gateway| {
        after.is_none_or(|after| gateway.id > after)
            && filters.match_resource(&gateway.tags, |field, test| match field {
                Field::Id => test.display(gateway.id),
                Field::State => test.text(state(gateway)),
                Field::SubnetId => test.display(gateway.subnet),
                Field::VpcId => test.display(gateway.vpc),
            })
    });
    let (gateways, next_token) = page.take(gateways, |gateway| gateway.id.to_string());
    let gateways = gateways.into_iter().map(|gateway| answer(gateway));
    Ok(DescribeNatGatewaysResponse {
        nat_gateways: gateways.collect(),
        next_token,
    })
}

fn answer(gateway: &NatGateway) -> response::NatGateway {
    response::NatGateway {
        create_time: Some(gateway.create_time),
        delete_time: gateway.delete_time,
        nat_gateway_addresses: told(gateway, &gateway.addresses, SUCCEEDED),
        nat_gateway_id: Some(Text::display(gateway.id)),
        state: Some(state(gateway).into()),
        subnet_id: Some(Text::display(gateway.subnet)),
        vpc_id: Some(Text::display(gateway.vpc)),
        tags: tag::answer(&gateway.tags),
        connectivity_type: Some(if gateway.is_public { PUBLIC } else { PRIVATE }.into()),
        availability_mode: Some("zonal".into()),
    }
}

fn state(gateway: &NatGateway) -> &'static str {
    if gateway.is_available() {
        "available"
    } else {
        "deleted"
    }
}

/// Some of a gateway's addresses, or some that it had.
fn told(
    gateway: &NatGateway,
    addresses: &[NatGatewayAddress],
    status: &'static str,
) -> Vec<response::NatGatewayAddress> {
    let primary = gateway.addresses.first().map(|address| address.private_ip);
    let addresses = addresses.iter().map(|address| response::NatGatewayAddress {
        allocation_id: address
            .public
            .map(|public| Text::display(public.allocation)),
        network_interface_id: Some(Text::display(gateway.eni)),
        private_ip: Some(Text::display(address.private_ip)),
        public_ip: address.public.map(|public| Text::display(public.public_ip)),
        association_id: address
            .public
            .map(|public| Text::display(public.association)),
        is_primary: Some(Some(address.private_ip) == primary),
        status: Some(match address.drain_until {
            Some(_) if gateway.is_public => "disassociating".into(),
            Some(_) => "unassigning".into(),
            None => status.into(),
        }),
    });
    addresses.collect()
}

fn addresses(texts: &[String]) -> Result<Vec<std::net::Ipv4Addr>, ApiError> {
    let addresses = texts.iter().map(|text| parse_address(text));
    Ok(addresses.collect::<Result<_, _>>()?)
}

const PRIVATE: &str = "private";
const PUBLIC: &str = "public";
/// The state of an address that is in use.
const SUCCEEDED: &str = "succeeded";
