//! Egress-only internet gateways.

use enid_control::CreateEgressOnlyInternetGateway;
use enid_model::gateway::EgressOnlyInternetGateway;
use enid_model::id::EgressOnlyInternetGatewayId;

use super::filter::Filters;
use super::page::Page;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateEgressOnlyInternetGatewayRequest, DeleteEgressOnlyInternetGatewayRequest,
    DescribeEgressOnlyInternetGatewaysRequest,
};
use crate::generated::ec2::response::{
    self, CreateEgressOnlyInternetGatewayResponse, DeleteEgressOnlyInternetGatewayResponse,
    DescribeEgressOnlyInternetGatewaysResponse, InternetGatewayAttachment,
};
use crate::wire::text::Text;

/// CreateEgressOnlyInternetGateway.
pub(super) async fn create_egress_only_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: CreateEgressOnlyInternetGatewayRequest,
) -> Result<CreateEgressOnlyInternetGatewayResponse, ApiError> {
    let client_token = request.client_token.clone();
    let input = CreateEgressOnlyInternetGateway {
        vpc: id::parse(&request.vpc_id)?,
        client_token: request.client_token,
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let gateway = ec2
        .control
        .create_egress_only_internet_gateway(&caller, input)
        .await?;
    Ok(CreateEgressOnlyInternetGatewayResponse {
        client_token: client_token.map(Text::from),
        egress_only_internet_gateway: Some(answer(&gateway)),
    })
}

/// DeleteEgressOnlyInternetGateway.
pub(super) async fn delete_egress_only_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: DeleteEgressOnlyInternetGatewayRequest,
) -> Result<DeleteEgressOnlyInternetGatewayResponse, ApiError> {
    let gateway = id::parse(&request.egress_only_internet_gateway_id)?;
    let caller = context.caller();
    ec2.control
        .delete_egress_only_internet_gateway(&caller, gateway)
        .await?;
    Ok(DeleteEgressOnlyInternetGatewayResponse {
        return_code: Some(true),
    })
}

/// DescribeEgressOnlyInternetGateways. AWS filters by tags only.
pub(super) async fn describe_egress_only_internet_gateways(
    ec2: &Ec2,
    context: &Context,
    request: DescribeEgressOnlyInternetGatewaysRequest,
) -> Result<DescribeEgressOnlyInternetGatewaysResponse, ApiError> {
    let ids = &request.egress_only_internet_gateway_ids;
    let page = Page::read(
        "DescribeEgressOnlyInternetGateways",
        5..=255,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("egressOnlyInternetGatewayIds"),
    )?;
    let filters = Filters::<()>::compile(&request.filters, |_| None)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<EgressOnlyInternetGatewayId> = page.after()?;
    let gateways = &region.egress_only_internet_gateways;
    let named = id::find(ids, gateways)?;
    let all = gateways.values().filter(|_| ids.is_empty());
    let gateways = named.into_values().chain(all).filter(|gateway| {
        after.is_none_or(|after| gateway.id > after)
            && filters.match_resource(&gateway.tags, |(), _| {})
    });
    let (gateways, next_token) = page.take(gateways, |gateway| gateway.id.to_string());
    let gateways = gateways.into_iter().map(|gateway| answer(gateway));
    Ok(DescribeEgressOnlyInternetGatewaysResponse {
        egress_only_internet_gateways: gateways.collect(),
        next_token,
    })
}

fn answer(gateway: &EgressOnlyInternetGateway) -> response::EgressOnlyInternetGateway {
    response::EgressOnlyInternetGateway {
        attachments: vec![InternetGatewayAttachment {
            state: Some("attached".into()),
            vpc_id: Some(Text::display(gateway.vpc)),
        }],
        egress_only_internet_gateway_id: Some(Text::display(gateway.id)),
        tags: tag::answer(&gateway.tags),
    }
}
