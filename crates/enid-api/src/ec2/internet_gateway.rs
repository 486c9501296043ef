//! Internet gateways.

use enid_model::gateway::InternetGateway;
use enid_model::id::InternetGatewayId;

use super::filter::Filters;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AttachInternetGatewayRequest, CreateInternetGatewayRequest, DeleteInternetGatewayRequest,
    DescribeInternetGatewaysRequest, DetachInternetGatewayRequest,
};
use crate::generated::ec2::response::{
    self, AttachInternetGatewayResponse, CreateInternetGatewayResponse,
    DeleteInternetGatewayResponse, DescribeInternetGatewaysResponse, DetachInternetGatewayResponse,
    InternetGatewayAttachment,
};
use crate::wire::text::Text;

/// CreateInternetGateway.
pub(super) async fn create_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: CreateInternetGatewayRequest,
) -> Result<CreateInternetGatewayResponse, ApiError> {
    let tags = tag::specifications(request.tag_specifications);
    let caller = context.caller();
    let gateway = ec2.control.create_internet_gateway(&caller, &tags).await?;
    Ok(CreateInternetGatewayResponse {
        internet_gateway: Some(answer(context, &gateway)),
    })
}

/// AttachInternetGateway.
pub(super) async fn attach_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: AttachInternetGatewayRequest,
) -> Result<AttachInternetGatewayResponse, ApiError> {
    let gateway = id::parse(&request.internet_gateway_id)?;
    let vpc = id::parse(&request.vpc_id)?;
    let caller = context.caller();
    ec2.control
        .attach_internet_gateway(&caller, gateway, vpc)
        .await?;
    Ok(AttachInternetGatewayResponse {})
}

/// DetachInternetGateway.
pub(super) async fn detach_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: DetachInternetGatewayRequest,
) -> Result<DetachInternetGatewayResponse, ApiError> {
    let gateway = id::parse(&request.internet_gateway_id)?;
    let vpc = id::parse(&request.vpc_id)?;
    let caller = context.caller();
    ec2.control
        .detach_internet_gateway(&caller, gateway, vpc)
        .await?;
    Ok(DetachInternetGatewayResponse {})
}

/// DeleteInternetGateway.
pub(super) async fn delete_internet_gateway(
    ec2: &Ec2,
    context: &Context,
    request: DeleteInternetGatewayRequest,
) -> Result<DeleteInternetGatewayResponse, ApiError> {
    let gateway = id::parse(&request.internet_gateway_id)?;
    let caller = context.caller();
    ec2.control
        .delete_internet_gateway(&caller, gateway)
        .await?;
    Ok(DeleteInternetGatewayResponse {})
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    AttachmentState,
    AttachmentVpc,
    Id,
    Owner,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "attachment.state" => Field::AttachmentState,
        "attachment.vpc-id" => Field::AttachmentVpc,
        "internet-gateway-id" => Field::Id,
        "owner-id" => Field::Owner,
        _ => return None,
    })
}

/// DescribeInternetGateways.
pub(super) async fn describe_internet_gateways(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInternetGatewaysRequest,
) -> Result<DescribeInternetGatewaysResponse, ApiError> {
    let ids = &request.internet_gateway_ids;
    let page = Page::read(
        "DescribeInternetGateways",
        page::USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("internetGatewayIds"),
    )?;
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<InternetGatewayId> = page.after()?;
    let named = id::find(ids, &region.internet_gateways)?;
    let all = region.internet_gateways.values().filter(|_| ids.is_empty());
    let gateways = named.into_values().chain(all).filter(|gateway| {
        after.is_none_or(|after| gateway.id > after)
            && filters.match_resource(&gateway.tags, |field, test| match field {
                Field::AttachmentState => gateway.vpc.iter().for_each(|_| test.text(ATTACHED)),
                Field::AttachmentVpc => gateway.vpc.iter().for_each(|vpc| test.display(vpc)),
                Field::Id => test.display(gateway.id),
                Field::Owner => test.display(context.account),
            })
    });
    let (gateways, next_token) = page.take(gateways, |gateway| gateway.id.to_string());
    let gateways = gateways.into_iter().map(|gateway| answer(context, gateway));
    Ok(DescribeInternetGatewaysResponse {
        internet_gateways: gateways.collect(),
        next_token,
    })
}

fn answer(context: &Context, gateway: &InternetGateway) -> response::InternetGateway {
    let attachments = gateway.vpc.iter().map(|vpc| InternetGatewayAttachment {
        state: Some(ATTACHED.into()),
        vpc_id: Some(Text::display(vpc)),
    });
    response::InternetGateway {
        attachments: attachments.collect(),
        internet_gateway_id: Some(Text::display(gateway.id)),
        owner_id: Some(Text::display(context.account)),
        tags: tag::answer(&gateway.tags),
    }
}

/// What AWS calls the state of an attached internet gateway, whatever its model's words are.
const ATTACHED: &str = "available";
