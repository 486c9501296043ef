//! VPC peering connections.

use enid_control::{
    CreateVpcPeeringConnection, expiration_time, is_peering_visible, peering_status, status_code,
};
use enid_model::id::VpcPeeringConnectionId;
use enid_model::time::Timestamp;
use enid_model::vpc_peering_connection::{PeeredVpc, PeeringStatus, VpcPeeringConnection};

use super::filter::Filters;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AcceptVpcPeeringConnectionRequest, CreateVpcPeeringConnectionRequest,
    DeleteVpcPeeringConnectionRequest, DescribeVpcPeeringConnectionsRequest,
    ModifyVpcPeeringConnectionOptionsRequest, PeeringConnectionOptionsRequest,
    RejectVpcPeeringConnectionRequest,
};
use crate::generated::ec2::response::{
    self, AcceptVpcPeeringConnectionResponse, CidrBlock, CreateVpcPeeringConnectionResponse,
    DeleteVpcPeeringConnectionResponse, DescribeVpcPeeringConnectionsResponse, Ipv6CidrBlock,
    ModifyVpcPeeringConnectionOptionsResponse, PeeringConnectionOptions,
    RejectVpcPeeringConnectionResponse, VpcPeeringConnectionOptionsDescription,
    VpcPeeringConnectionStateReason, VpcPeeringConnectionVpcInfo,
};
use crate::wire::text::Text;

/// CreateVpcPeeringConnection.
pub(super) async fn create_vpc_peering_connection(
    ec2: &Ec2,
    context: &Context,
    request: CreateVpcPeeringConnectionRequest,
) -> Result<CreateVpcPeeringConnectionResponse, ApiError> {
    let own_account = context.account.to_string();
    only(
        "PeerOwnerId",
        request.peer_owner_id.as_deref(),
        &own_account,
    )?;
    only(
        "PeerRegion",
        request.peer_region.as_deref(),
        context.region.name,
    )?;
    let accepter = request.peer_vpc_id.as_deref();
    let accepter = accepter.ok_or_else(|| ApiError::missing_parameter("PeerVpcId"))?;
    let input = CreateVpcPeeringConnection {
        requester: id::parse(&request.vpc_id)?,
        accepter: id::parse(accepter)?,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2
        .control
        .create_vpc_peering_connection(&caller, &input)
        .await?;
    Ok(CreateVpcPeeringConnectionResponse {
        vpc_peering_connection: Some(answer(context, &made, ec2.control.now())),
    })
}

/// A peer is in the caller's own account and region.
fn only(name: &'static str, named: Option<&str>, own: &str) -> Result<(), ApiError> {
    match named {
        Some(other) if other != own => Err(ApiError::value_not_implemented(
            "CreateVpcPeeringConnection",
            name,
            other,
        )),
        _ => Ok(()),
    }
}

/// AcceptVpcPeeringConnection.
pub(super) async fn accept_vpc_peering_connection(
    ec2: &Ec2,
    context: &Context,
    request: AcceptVpcPeeringConnectionRequest,
) -> Result<AcceptVpcPeeringConnectionResponse, ApiError> {
    let connection = id::parse(&request.vpc_peering_connection_id)?;
    let caller = context.caller();
    let accepted = ec2
        .control
        .accept_vpc_peering_connection(&caller, connection)
        .await?;
    Ok(AcceptVpcPeeringConnectionResponse {
        vpc_peering_connection: Some(answer(context, &accepted, ec2.control.now())),
    })
}

/// RejectVpcPeeringConnection.
pub(super) async fn reject_vpc_peering_connection(
    ec2: &Ec2,
    context: &Context,
    request: RejectVpcPeeringConnectionRequest,
) -> Result<RejectVpcPeeringConnectionResponse, ApiError> {
    let connection = id::parse(&request.vpc_peering_connection_id)?;
    let caller = context.caller();
    ec2.control
        .reject_vpc_peering_connection(&caller, connection)
        .await?;
    Ok(RejectVpcPeeringConnectionResponse {
        r#return: Some(true),
    })
}

/// DeleteVpcPeeringConnection.
pub(super) async fn delete_vpc_peering_connection(
    ec2: &Ec2,
    context: &Context,
    request: DeleteVpcPeeringConnectionRequest,
) -> Result<DeleteVpcPeeringConnectionResponse, ApiError> {
    let connection = id::parse(&request.vpc_peering_connection_id)?;
    let caller = context.caller();
    ec2.control
        .delete_vpc_peering_connection(&caller, connection)
        .await?;
    Ok(DeleteVpcPeeringConnectionResponse {
        r#return: Some(true),
    })
}

/// ModifyVpcPeeringConnectionOptions. Answers the options of the sides that the request names.
pub(super) async fn modify_options(
    ec2: &Ec2,
    context: &Context,
    request: ModifyVpcPeeringConnectionOptionsRequest,
) -> Result<ModifyVpcPeeringConnectionOptionsResponse, ApiError> {
    let connection = id::parse(&request.vpc_peering_connection_id)?;
    let allow = |options: &Option<PeeringConnectionOptionsRequest>| {
        options.as_ref()?.allow_dns_resolution_from_remote_vpc
    };
    let (requester, accepter) = (
        request.requester_peering_connection_options,
        request.accepter_peering_connection_options,
    );
    let caller = context.caller();
    let modified = ec2
        .control
        .modify_vpc_peering_options(&caller, connection, allow(&requester), allow(&accepter))
        .await?;
    let shown = |side: &PeeredVpc| PeeringConnectionOptions {
        allow_dns_resolution_from_remote_vpc: Some(side.allow_dns_resolution),
        allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
        allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
    };
    Ok(ModifyVpcPeeringConnectionOptionsResponse {
        accepter_peering_connection_options: accepter.map(|_| shown(&modified.accepter)),
        requester_peering_connection_options: requester.map(|_| shown(&modified.requester)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    AccepterCidr,
    AccepterVpc,
    ExpirationTime,
    Id,
    /// Of either side: both are the caller's.
    OwnerId,
    RequesterCidr,
    RequesterVpc,
    StatusCode,
    StatusMessage,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "accepter-vpc-info.cidr-block" => Field::AccepterCidr,
        "accepter-vpc-info.owner-id" | "requester-vpc-info.owner-id" => Field::OwnerId,
        "accepter-vpc-info.vpc-id" => Field::AccepterVpc,
        "expiration-time" => Field::ExpirationTime,
        "requester-vpc-info.cidr-block" => Field::RequesterCidr,
        "requester-vpc-info.vpc-id" => Field::RequesterVpc,
        "status-code" => Field::StatusCode,
        "status-message" => Field::StatusMessage,
        "vpc-peering-connection-id" => Field::Id,
        _ => return None,
    })
}

/// DescribeVpcPeeringConnections.
pub(super) async fn describe_vpc_peering_connections(
    ec2: &Ec2,
    context: &Context,
    request: DescribeVpcPeeringConnectionsRequest,
) -> Result<DescribeVpcPeeringConnectionsResponse, ApiError> {
    let DescribeVpcPeeringConnectionsRequest {
        filters,
        vpc_peering_connection_ids,
        next_token,
        max_results,
    } = request;
    let ids = (!vpc_peering_connection_ids.is_empty()).then_some("vpcPeeringConnectionIds");
    let (operation, token) = ("DescribeVpcPeeringConnections", next_token.as_deref());
    let page = Page::read(operation, page::USUAL, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let now = ec2.control.now();
    let after: Option<VpcPeeringConnectionId> = page.after()?;
    let named = id::find(&vpc_peering_connection_ids, &region.vpc_peering_connections)?;
    let forgotten = named
        .values()
        .filter(|connection| !is_peering_visible(connection, now));
    let forgotten: Vec<_> = forgotten.map(|gone| gone.id.to_string()).collect();
    if !forgotten.is_empty() {
        let absent: Vec<&str> = forgotten.iter().map(String::as_str).collect();
        return Err(id::not_found("pcx", &absent));
    }
    let named = named.into_values();
    let all = region.vpc_peering_connections.values();
    let all = all.filter(|_| ids.is_none());
    let connections = named.chain(all).map(|connection| &**connection);
    let connections = connections.filter(|connection: &&VpcPeeringConnection| {
        after.is_none_or(|after| connection.id > after)
            && is_peering_visible(connection, now)
            && filters.match_resource(&connection.tags, |field, test| match field {
                Field::AccepterCidr => {
                    let cidrs = connection.accepter.cidrs.iter();
                    cidrs.for_each(|cidr| test.display(cidr));
                }
                Field::AccepterVpc => test.display(connection.accepter.vpc),
                Field::ExpirationTime => {
                    if let Some(time) = shown_expiration(connection, now) {
                        test.display(time);
                    }
                }
                Field::Id => test.display(connection.id),
                Field::OwnerId => test.display(context.account),
                Field::RequesterCidr => {
                    let cidrs = connection.requester.cidrs.iter();
                    cidrs.for_each(|cidr| test.display(cidr));
                }
                Field::RequesterVpc => test.display(connection.requester.vpc),
                Field::StatusCode => test.text(status_code(peering_status(connection, now))),
                Field::StatusMessage => {
                    test.text(&message(context, peering_status(connection, now)));
                }
            })
    });
    let (connections, next_token) = page.take(connections, |shown| shown.id.to_string());
    let connections = connections.into_iter();
    let connections = connections.map(|connection| answer(context, connection, now));
    Ok(DescribeVpcPeeringConnectionsResponse {
        vpc_peering_connections: connections.collect(),
        next_token,
    })
}

/// A request that waits says how long.
fn shown_expiration(connection: &VpcPeeringConnection, now: Timestamp) -> Option<Timestamp> {
    let waits = peering_status(connection, now) == PeeringStatus::PendingAcceptance;
    waits.then(|| expiration_time(connection))
}

/// A status in AWS's words.
fn message(context: &Context, status: PeeringStatus) -> Text {
    let account = context.account;
    match status {
        PeeringStatus::Active => "Active".into(),
        PeeringStatus::Deleted => Text::display(format_args!("Deleted by {account}")),
        PeeringStatus::Expired => "Expired".into(),
        PeeringStatus::Failed => {
            "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into()
        }
        PeeringStatus::PendingAcceptance => {
            Text::display(format_args!("Pending Acceptance by {account}"))
        }
        PeeringStatus::Rejected => Text::display(format_args!("Rejected by {account}")),
    }
}

fn answer(
    context: &Context,
    connection: &VpcPeeringConnection,
    now: Timestamp,
) -> response::VpcPeeringConnection {
    let status = peering_status(connection, now);
    let is_active = status == PeeringStatus::Active;
    response::VpcPeeringConnection {
        // AWS tells the blocks of the VPC that is asked only when it has accepted.
        accepter_vpc_info: Some(side(context, &connection.accepter, is_active, is_active)),
        expiration_time: shown_expiration(connection, now),
        requester_vpc_info: Some(side(context, &connection.requester, true, is_active)),
        status: Some(VpcPeeringConnectionStateReason {
            code: Some(status_code(status).into()),
            message: Some(message(context, status)),
        }),
        tags: tag::answer(&connection.tags),
        vpc_peering_connection_id: Some(Text::display(connection.id)),
    }
}

fn side(
    context: &Context,
    side: &PeeredVpc,
    with_blocks: bool,
    with_options: bool,
) -> VpcPeeringConnectionVpcInfo {
    let cidrs = side.cidrs.iter().filter(|_| with_blocks);
    let ipv6_cidrs = side.ipv6_cidrs.iter().filter(|_| with_blocks);
    VpcPeeringConnectionVpcInfo {
        cidr_block: cidrs.clone().next().map(Text::display),
        ipv6_cidr_block_set: ipv6_cidrs
            .map(|cidr| Ipv6CidrBlock {
                ipv6_cidr_block: Some(Text::display(cidr)),
            })
            .collect(),
        cidr_block_set: cidrs
            .map(|cidr| CidrBlock {
                cidr_block: Some(Text::display(cidr)),
            })
            .collect(),
        owner_id: Some(Text::display(context.account)),
        peering_options: with_options.then_some(VpcPeeringConnectionOptionsDescription {
            allow_dns_resolution_from_remote_vpc: Some(side.allow_dns_resolution),
            allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
            allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
        }),
        vpc_id: Some(Text::display(side.vpc)),
        region: Some(context.region.name.into()),
    }
}
