//! The routes of route tables.

use enid_control::{Error, RoutingError, Seen, WantedDestination, WantedTarget, is_active};
use enid_model::id::{
    EgressOnlyInternetGatewayId, InternetGatewayId, NatGatewayId, Parsed, ResourceId,
};
use enid_model::route_table::{Route, RouteDestination, RouteTable, RouteTarget};

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{CreateRouteRequest, DeleteRouteRequest, ReplaceRouteRequest};
use crate::generated::ec2::response::{
    self, CreateRouteResponse, DeleteRouteResponse, ReplaceRouteResponse,
};
use crate::wire::text::Text;

/// Which routes a request names: table and destination.
macro_rules! place {
    ($request:ident) => {{
        let table = id::parse(&$request.route_table_id)?;
        let destination = destination(
            $request.destination_cidr_block,
            $request.destination_ipv6_cidr_block,
            $request.destination_prefix_list_id.as_deref(),
        )?;
        (table, destination)
    }};
}

/// Where a request leads a route.
macro_rules! way {
    ($request:ident, local: $local:expr) => {
        target(&Targets {
            egress_only: $request.egress_only_internet_gateway_id.as_deref(),
            gateway: $request.gateway_id.as_deref(),
            instance: $request.instance_id.as_deref(),
            interface: $request.network_interface_id.as_deref(),
            local: $local,
            nat_gateway: $request.nat_gateway_id.as_deref(),
            peering: $request.vpc_peering_connection_id.as_deref(),
        })
    };
}

/// CreateRoute.
pub(super) async fn create_route(
    ec2: &Ec2,
    context: &Context,
    request: CreateRouteRequest,
) -> Result<CreateRouteResponse, ApiError> {
    let (table, destination) = place!(request);
    let target = way!(request, local: false)?;
    let caller = context.caller();
    ec2.control
        .create_route(&caller, table, &destination, target)
        .await?;
    Ok(CreateRouteResponse {
        r#return: Some(true),
    })
}

/// ReplaceRoute.
pub(super) async fn replace_route(
    ec2: &Ec2,
    context: &Context,
    request: ReplaceRouteRequest,
) -> Result<ReplaceRouteResponse, ApiError> {
    let (table, destination) = place!(request);
    let target = way!(request, local: request.local_target.unwrap_or(false))?;
    let caller = context.caller();
    ec2.control
        .replace_route(&caller, table, &destination, target)
        .await?;
    Ok(ReplaceRouteResponse {})
}

/// DeleteRoute.
pub(super) async fn delete_route(
    ec2: &Ec2,
    context: &Context,
    request: DeleteRouteRequest,
) -> Result<DeleteRouteResponse, ApiError> {
    let (table, destination) = place!(request);
    let caller = context.caller();
    ec2.control
        .delete_route(&caller, table, &destination)
        .await?;
    Ok(DeleteRouteResponse {})
}

fn destination(
    cidr: Option<String>,
    ipv6_cidr: Option<String>,
    prefix_list: Option<&str>,
) -> Result<WantedDestination, ApiError> {
    Ok(WantedDestination {
        cidr,
        ipv6_cidr,
        prefix_list: id::parse_optional(prefix_list)?,
    })
}

/// The parameters that name a target.
struct Targets<'a> {
    egress_only: Option<&'a str>,
    gateway: Option<&'a str>,
    instance: Option<&'a str>,
    interface: Option<&'a str>,
    local: bool,
    nat_gateway: Option<&'a str>,
    peering: Option<&'a str>,
}

/// Exactly one target.
fn target(named: &Targets<'_>) -> Result<WantedTarget, ApiError> {
    let mut targets = Vec::new();
    if let Some(text) = named.egress_only {
        targets.push(WantedTarget::EgressOnlyInternetGateway(gateway_id(text)?));
    }
    if let Some(text) = named.gateway {
        targets.push(gateway(text)?);
    }
    if let Some(text) = named.instance {
        targets.push(WantedTarget::Instance(id::parse(text)?));
    }
    if let Some(text) = named.interface {
        targets.push(WantedTarget::NetworkInterface(id::parse(text)?));
    }
    if named.local {
        targets.push(WantedTarget::Local);
    }
    if let Some(text) = named.nat_gateway {
        targets.push(nat_gateway(text)?);
    }
    if let Some(text) = named.peering {
        targets.push(WantedTarget::VpcPeeringConnection(id::parse(text)?));
    }
    match targets.as_slice() {
        [target] => Ok(*target),
        [] => Err(Error::from(RoutingError::RouteTargetMissing).into()),
        _ => Err(Error::from(RoutingError::RouteTargetsSeveral).into()),
    }
}

/// AWS takes the id of a NAT gateway as that of a gateway as well, and `local`.
fn gateway(text: &str) -> Result<WantedTarget, ApiError> {
    if text == LOCAL {
        return Ok(WantedTarget::Local);
    }
    match text.split_once('-').map(|(prefix, _)| prefix) {
        Some(NatGatewayId::PREFIX) => nat_gateway(text),
        Some(EgressOnlyInternetGatewayId::PREFIX) => {
            gateway_id(text).map(WantedTarget::EgressOnlyInternetGateway)
        }
        Some("vgw" | "vpce") => Err(Error::Unsupported {
            what: "virtual private gateways and gateway endpoints",
        }
        .into()),
        _ => gateway_id::<InternetGatewayId>(text).map(WantedTarget::InternetGateway),
    }
}

/// The gateway that a route table is for.
pub(super) fn gateway_with_table(text: &str) -> Result<InternetGatewayId, ApiError> {
    match gateway(text)? {
        WantedTarget::InternetGateway(id) => Ok(id),
        _ => Err(Error::from(RoutingError::GatewayNotFound { id: text.into() }).into()),
    }
}

/// What AWS calls the target of a local route.
const LOCAL: &str = "local";

/// What is no gateway's id names no gateway.
fn gateway_id<I: ResourceId>(text: &str) -> Result<I, ApiError> {
    match I::parse(text) {
        Ok(Parsed::Native(id)) => Ok(id),
        _ => Err(Error::from(RoutingError::GatewayNotFound { id: text.into() }).into()),
    }
}

fn nat_gateway(text: &str) -> Result<WantedTarget, ApiError> {
    match NatGatewayId::parse(text) {
        Ok(Parsed::Native(id)) => Ok(WantedTarget::NatGateway(id)),
        _ => Err(Error::from(RoutingError::NatGatewayNotFound { id: text.into() }).into()),
    }
}

/// The routes of a table as AWS shows them: the local ones first.
pub(super) fn routes(context: &Context, region: &Seen, table: &RouteTable) -> Vec<response::Route> {
    let vpc = region.vpcs.get(&table.vpc);
    let blocks = vpc.into_iter().flat_map(|vpc| vpc.cidrs());
    let local: Vec<_> = blocks.map(RouteDestination::Cidr).collect();
    let mut shown = Vec::with_capacity(local.len() + table.routes.len());
    for destination in &local {
        let mut routes = table.routes.iter();
        let replaced = routes.find(|route| route.destination == *destination);
        shown.push(match replaced {
            Some(route) => answer(context, region, table, route, CREATED_WITH_TABLE),
            None => response::Route {
                gateway_id: Some(LOCAL.into()),
                origin: Some(CREATED_WITH_TABLE.into()),
                state: Some(ACTIVE.into()),
                ..destined(*destination)
            },
        });
    }
    let others = table.routes.iter();
    let others = others.filter(|route| !local.contains(&route.destination));
    shown.extend(others.map(|route| answer(context, region, table, route, CREATED)));
    shown
}

const CREATED: &str = "CreateRoute";
const CREATED_WITH_TABLE: &str = "CreateRouteTable";
const ACTIVE: &str = "active";

fn answer(
    context: &Context,
    region: &Seen,
    table: &RouteTable,
    route: &Route,
    origin: &str,
) -> response::Route {
    let state = match is_active(region, table.vpc, route.target) {
        true => ACTIVE,
        false => "blackhole",
    };
    let mut answer = response::Route {
        origin: Some(origin.into()),
        state: Some(state.into()),
        ..destined(route.destination)
    };
    match route.target {
        RouteTarget::EgressOnlyInternetGateway(id) => {
            answer.egress_only_internet_gateway_id = Some(Text::display(id));
        }
        RouteTarget::InternetGateway(id) => answer.gateway_id = Some(Text::display(id)),
        RouteTarget::NatGateway(id) => answer.nat_gateway_id = Some(Text::display(id)),
        RouteTarget::NetworkInterface(id) => {
            answer.network_interface_id = Some(Text::display(id));
            let eni = region.network_interfaces.get(&id);
            if let Some(own) = eni.and_then(|eni| eni.attachment.as_ref()) {
                let owner = own.instance_owner.unwrap_or(context.account);
                answer.instance_id = own.own_instance().map(Text::display);
                answer.instance_owner_id = Some(Text::display(owner));
            }
        }
        RouteTarget::VpcPeeringConnection(id) => {
            answer.vpc_peering_connection_id = Some(Text::display(id));
        }
    }
    answer
}

/// A route of which only the destination is told.
fn destined(destination: RouteDestination) -> response::Route {
    let mut answer = response::Route::default();
    match destination {
        RouteDestination::Cidr(cidr) => {
            let text = Some(Text::display(cidr));
            match cidr.addr().is_ipv4() {
                true => answer.destination_cidr_block = text,
                false => answer.destination_ipv6_cidr_block = text,
            }
        }
        RouteDestination::PrefixList(list) => {
            answer.destination_prefix_list_id = Some(Text::display(list));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Targets<'_> = Targets {
        egress_only: None,
        gateway: None,
        instance: None,
        interface: None,
        local: false,
        nat_gateway: None,
        peering: None,
    };

    fn by_gateway(text: &str) -> Result<WantedTarget, String> {
        let named = Targets {
            gateway: Some(text),
            ..NOTHING
        };
        target(&named).map_err(|error| format!("{}: {}", error.code(), error.message()))
    }

    #[test]
    fn a_gateway_is_told_by_its_prefix() {
        assert_eq!(
            by_gateway("igw-00000000000000007"),
            Ok(WantedTarget::InternetGateway(InternetGatewayId(7)))
        );
        assert_eq!(
            by_gateway("nat-00000000000000007"),
            Ok(WantedTarget::NatGateway(NatGatewayId(7)))
        );
        assert_eq!(by_gateway("local"), Ok(WantedTarget::Local));
        for text in ["igw-12345678", "eni-00000000000000007", "", "x"] {
            assert_eq!(
                by_gateway(text),
                Err(format!(
                    "InvalidGatewayID.NotFound: The gateway ID '{text}' does not exist"
                ))
            );
        }
        let vgw = by_gateway("vgw-00000000000000007");
        assert!(vgw.is_err_and(|said| said.starts_with("UnsupportedOperation")));
    }

    #[test]
    fn a_route_has_one_target() {
        let code = |named: &Targets<'_>| {
            let target = target(named);
            target.map(|_| ()).map_err(|error| error.code().to_owned())
        };
        assert_eq!(code(&NOTHING), Err("MissingParameter".to_owned()));
        let two = Targets {
            gateway: Some("igw-00000000000000007"),
            local: true,
            ..NOTHING
        };
        assert_eq!(code(&two), Err("InvalidParameterCombination".to_owned()));
        let one = Targets {
            interface: Some("eni-00000000000000007"),
            ..NOTHING
        };
        assert_eq!(code(&one), Ok(()));
    }
}
