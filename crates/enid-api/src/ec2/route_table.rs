//! Route tables.

use enid_control::{CreateRouteTable, Error, RouteTableUser, RoutingError, Seen};
use enid_model::id::{ResourceId as _, RouteTableId, VpcId};
use enid_model::route_table::RouteTable;
use enid_model::state::RegionState;

use super::filter::Filters;
use super::page::Page;
use super::route::{gateway_with_table, routes};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssociateRouteTableRequest, CreateRouteTableRequest, DeleteRouteTableRequest,
    DescribeRouteTablesRequest, DisassociateRouteTableRequest, ReplaceRouteTableAssociationRequest,
};
use crate::generated::ec2::response::{
    self, AssociateRouteTableResponse, CreateRouteTableResponse, DeleteRouteTableResponse,
    DescribeRouteTablesResponse, DisassociateRouteTableResponse,
    ReplaceRouteTableAssociationResponse, RouteTableAssociation, RouteTableAssociationState,
};
use crate::wire::text::Text;

/// CreateRouteTable.
pub(super) async fn create_route_table(
    ec2: &Ec2,
    context: &Context,
    request: CreateRouteTableRequest,
) -> Result<CreateRouteTableResponse, ApiError> {
    let input = CreateRouteTable {
        vpc: id::parse(&request.vpc_id)?,
        client_token: request.client_token,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let table = ec2.control.create_route_table(&caller, &input).await?;
    let region = ec2.control.see(&caller).await?;
    Ok(CreateRouteTableResponse {
        route_table: Some(answer(context, &region, &table)),
        client_token: input.client_token.map(Text::from),
    })
}

/// DeleteRouteTable.
pub(super) async fn delete_route_table(
    ec2: &Ec2,
    context: &Context,
    request: DeleteRouteTableRequest,
) -> Result<DeleteRouteTableResponse, ApiError> {
    let table = id::parse(&request.route_table_id)?;
    let caller = context.caller();
    ec2.control.delete_route_table(&caller, table).await?;
    Ok(DeleteRouteTableResponse {})
}

/// AssociateRouteTable.
pub(super) async fn associate_route_table(
    ec2: &Ec2,
    context: &Context,
    request: AssociateRouteTableRequest,
) -> Result<AssociateRouteTableResponse, ApiError> {
    let table = id::parse(&request.route_table_id)?;
    let user = match (request.subnet_id, request.gateway_id) {
        (Some(subnet), None) => RouteTableUser::Subnet(id::parse(&subnet)?),
        (None, Some(gateway)) => RouteTableUser::Gateway(gateway_with_table(&gateway)?),
        (None, None) => return Err(ApiError::missing_parameter("SubnetId")),
        (Some(_), Some(_)) => {
            return Err(Error::from(RoutingError::TableUsersSeveral).into());
        }
    };
    let caller = context.caller();
    let association = ec2.control.associate_route_table(&caller, table, user);
    Ok(AssociateRouteTableResponse {
        association_id: Some(Text::display(association.await?)),
        association_state: associated(),
    })
}

/// DisassociateRouteTable.
pub(super) async fn disassociate_route_table(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateRouteTableRequest,
) -> Result<DisassociateRouteTableResponse, ApiError> {
    let association = id::parse(&request.association_id)?;
    let caller = context.caller();
    ec2.control
        .disassociate_route_table(&caller, association)
        .await?;
    Ok(DisassociateRouteTableResponse {})
}

/// ReplaceRouteTableAssociation.
pub(super) async fn replace_route_table_association(
    ec2: &Ec2,
    context: &Context,
    request: ReplaceRouteTableAssociationRequest,
) -> Result<ReplaceRouteTableAssociationResponse, ApiError> {
    let association = id::parse(&request.association_id)?;
    let table = id::parse(&request.route_table_id)?;
    let caller = context.caller();
    let new = ec2
        .control
        .replace_route_table_association(&caller, association, table);
    Ok(ReplaceRouteTableAssociationResponse {
        new_association_id: Some(Text::display(new.await?)),
        association_state: associated(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    /// Of transit gateways, which no route leads to.
    Absent,
    AssociationGateway,
    AssociationId,
    AssociationMain,
    AssociationSubnet,
    AssociationTable,
    Id,
    OwnerId,
    Route(RouteField),
    VpcId,
}

#[derive(Clone, Copy, PartialEq)]
enum RouteField {
    Cidr,
    EgressOnlyGateway,
    Gateway,
    Instance,
    Ipv6Cidr,
    NatGateway,
    Origin,
    Peering,
    PrefixList,
    State,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "association.gateway-id" => Field::AssociationGateway,
        "association.main" => Field::AssociationMain,
        "association.route-table-association-id" => Field::AssociationId,
        "association.route-table-id" => Field::AssociationTable,
        "association.subnet-id" => Field::AssociationSubnet,
        "owner-id" => Field::OwnerId,
        "route-table-id" => Field::Id,
        "route.destination-cidr-block" => Field::Route(RouteField::Cidr),
        "route.destination-ipv6-cidr-block" => Field::Route(RouteField::Ipv6Cidr),
        "route.destination-prefix-list-id" => Field::Route(RouteField::PrefixList),
        "route.egress-only-internet-gateway-id" => Field::Route(RouteField::EgressOnlyGateway),
        "route.gateway-id" => Field::Route(RouteField::Gateway),
        "route.instance-id" => Field::Route(RouteField::Instance),
        "route.nat-gateway-id" => Field::Route(RouteField::NatGateway),
        "route.origin" => Field::Route(RouteField::Origin),
        "route.state" => Field::Route(RouteField::State),
        "route.transit-gateway-id" => Field::Absent,
        "route.vpc-peering-connection-id" => Field::Route(RouteField::Peering),
        "vpc-id" => Field::VpcId,
        _ => return None,
    })
}

/// DescribeRouteTables.
pub(super) async fn describe_route_tables(
    ec2: &Ec2,
    context: &Context,
    request: DescribeRouteTablesRequest,
) -> Result<DescribeRouteTablesResponse, ApiError> {
    let DescribeRouteTablesRequest {
        filters,
        route_table_ids,
        next_token,
        max_results,
    } = request;
    let ids = (!route_table_ids.is_empty()).then_some("routeTableIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeRouteTables", PAGES, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.see(&context.caller()).await?;
    let after: Option<RouteTableId> = page.after()?;
    let named = id::find(&route_table_ids, &region.route_tables)?;
    let candidates: Vec<&RouteTable> = if ids.is_some() {
        named.into_values().map(|table| &**table).collect()
    } else if let Some(vpcs) = filters.exact(Field::VpcId) {
        of_vpcs(&region, vpcs)
    } else {
        region.route_tables.values().map(|table| &**table).collect()
    };
    let tables = candidates.into_iter().filter(|table| {
        after.is_none_or(|after| table.id > after)
            && filters.match_resource(&table.tags, |field, test| match field {
                Field::Absent => {}
                Field::AssociationGateway => {
                    for gateway in region.internet_gateways_of_table(table.id) {
                        test.display(gateway);
                    }
                }
                Field::AssociationId => {
                    for own in associations(&region, table) {
                        own.route_table_association_id
                            .iter()
                            .for_each(|id| test.text(id));
                    }
                }
                Field::AssociationMain => {
                    for own in associations(&region, table) {
                        test.flag(own.main.unwrap_or(false));
                    }
                }
                Field::AssociationSubnet => {
                    for subnet in region.subnets_of_route_table(table.id) {
                        test.display(subnet);
                    }
                }
                Field::AssociationTable => {
                    if !associations(&region, table).is_empty() {
                        test.display(table.id);
                    }
                }
                Field::Id => test.display(table.id),
                Field::OwnerId => test.display(context.account),
                Field::Route(field) => {
                    for route in routes(context, &region, table) {
                        if let Some(value) = route_value(field, &route) {
                            test.text(value);
                        }
                    }
                }
                Field::VpcId => test.display(table.vpc),
            })
    });
    let (tables, next_token) = page.take(tables, |table| table.id.to_string());
    let tables = tables.into_iter();
    let tables = tables.map(|table| answer(context, &region, table));
    Ok(DescribeRouteTablesResponse {
        route_tables: tables.collect(),
        next_token,
    })
}

/// What DescribeRouteTables permits as `MaxResults`.
const PAGES: std::ops::RangeInclusive<i32> = 5..=100;

/// What a route has under a filter's name.
fn route_value(field: RouteField, route: &response::Route) -> Option<&str> {
    let value = match field {
        RouteField::Cidr => &route.destination_cidr_block,
        RouteField::EgressOnlyGateway => &route.egress_only_internet_gateway_id,
        RouteField::Gateway => &route.gateway_id,
        RouteField::Instance => &route.instance_id,
        RouteField::Ipv6Cidr => &route.destination_ipv6_cidr_block,
        RouteField::NatGateway => &route.nat_gateway_id,
        RouteField::Origin => &route.origin,
        RouteField::Peering => &route.vpc_peering_connection_id,
        RouteField::PrefixList => &route.destination_prefix_list_id,
        RouteField::State => &route.state,
    };
    value.as_deref()
}

/// The tables of some VPCs, by id. A text that is no VPC's id has none.
fn of_vpcs<'a>(
    region: &'a RegionState,
    vpcs: impl Iterator<Item = &'a str>,
) -> Vec<&'a RouteTable> {
    let vpcs = vpcs.filter_map(|vpc| vpc.parse::<VpcId>().ok());
    let tables = vpcs.flat_map(|vpc| region.route_tables_of_vpc(vpc));
    let tables = tables.filter_map(|table| region.route_tables.get(&table));
    let mut tables: Vec<&RouteTable> = tables.map(|table| &**table).collect();
    tables.sort_unstable_by_key(|table| table.id.bits());
    tables
}

/// Who uses a table: as the main one first, then subnets by id, then the internet gateway.
fn associations(region: &RegionState, table: &RouteTable) -> Vec<RouteTableAssociation> {
    let vpc = region.vpcs.get(&table.vpc);
    let main = vpc.filter(|vpc| vpc.main_route_table == table.id);
    let main = main.map(|vpc| RouteTableAssociation {
        main: Some(true),
        route_table_association_id: Some(Text::display(vpc.main_route_table_association)),
        route_table_id: Some(Text::display(table.id)),
        association_state: associated(),
        ..RouteTableAssociation::default()
    });
    let subnets = region.subnets_of_route_table(table.id);
    let subnets = subnets.filter_map(|subnet| {
        let subnet = region.subnets.get(&subnet)?;
        let own = subnet.route_table.as_ref()?;
        Some(RouteTableAssociation {
            main: Some(false),
            route_table_association_id: Some(Text::display(own.association)),
            route_table_id: Some(Text::display(table.id)),
            subnet_id: Some(Text::display(subnet.id)),
            association_state: associated(),
            ..RouteTableAssociation::default()
        })
    });
    let gateways = region.internet_gateways_of_table(table.id);
    let gateways = gateways.filter_map(|gateway| {
        let gateway = region.internet_gateways.get(&gateway)?;
        let own = gateway.route_table.as_ref()?;
        Some(RouteTableAssociation {
            main: Some(false),
            route_table_association_id: Some(Text::display(own.association)),
            route_table_id: Some(Text::display(table.id)),
            gateway_id: Some(Text::display(gateway.id)),
            association_state: associated(),
            ..RouteTableAssociation::default()
        })
    });
    main.into_iter().chain(subnets).chain(gateways).collect()
}

/// Associations are in force when the answer says so.
fn associated() -> Option<RouteTableAssociationState> {
    Some(RouteTableAssociationState {
        state: Some("associated".into()),
    })
}

fn answer(context: &Context, region: &Seen, table: &RouteTable) -> response::RouteTable {
    response::RouteTable {
        associations: associations(region, table),
        propagating_vgws: Vec::new(),
        route_table_id: Some(Text::display(table.id)),
        routes: routes(context, region, table),
        tags: tag::answer(&table.tags),
        vpc_id: Some(Text::display(table.vpc)),
        owner_id: Some(Text::display(context.account)),
    }
}
