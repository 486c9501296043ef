//! Targets of traffic mirroring.

use enid_control::CreateTrafficMirrorTarget;
use enid_model::id::TrafficMirrorTargetId;
use enid_model::traffic_mirror::TrafficMirrorTarget;

use super::filter::Filters;
use super::page::{Page, USUAL};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateTrafficMirrorTargetRequest, DeleteTrafficMirrorTargetRequest,
    DescribeTrafficMirrorTargetsRequest,
};
use crate::generated::ec2::response::{
    self, CreateTrafficMirrorTargetResponse, DeleteTrafficMirrorTargetResponse,
    DescribeTrafficMirrorTargetsResponse,
};
use crate::wire::text::Text;

/// CreateTrafficMirrorTarget.
pub(super) async fn create_traffic_mirror_target(
    ec2: &Ec2,
    context: &Context,
    request: CreateTrafficMirrorTargetRequest,
) -> Result<CreateTrafficMirrorTargetResponse, ApiError> {
    let eni = request.network_interface_id;
    let eni = eni.ok_or_else(|| ApiError::missing_parameter("NetworkInterfaceId"))?;
    let input = CreateTrafficMirrorTarget {
        eni: id::parse(&eni)?,
        description: request.description.filter(|text| !text.is_empty()),
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2.control.create_traffic_mirror_target(&caller, &input);
    let target = answer(context, &made.await?);
    Ok(CreateTrafficMirrorTargetResponse {
        traffic_mirror_target: Some(target),
        client_token: input.client_token.map(Text::from),
    })
}

/// DeleteTrafficMirrorTarget.
pub(super) async fn delete_traffic_mirror_target(
    ec2: &Ec2,
    context: &Context,
    request: DeleteTrafficMirrorTargetRequest,
) -> Result<DeleteTrafficMirrorTargetResponse, ApiError> {
    let target = id::parse(&request.traffic_mirror_target_id)?;
    let caller = context.caller();
    let gone = ec2.control.delete_traffic_mirror_target(&caller, target);
    gone.await?;
    Ok(DeleteTrafficMirrorTargetResponse {
        traffic_mirror_target_id: Some(Text::display(target)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Description,
    Id,
    NetworkInterfaceId,
    NetworkLoadBalancerArn,
    OwnerId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "description" => Field::Description,
        "network-interface-id" => Field::NetworkInterfaceId,
        "network-load-balancer-arn" => Field::NetworkLoadBalancerArn,
        "owner-id" => Field::OwnerId,
        "traffic-mirror-target-id" => Field::Id,
        _ => return None,
    })
}

/// DescribeTrafficMirrorTargets.
pub(super) async fn describe_traffic_mirror_targets(
    ec2: &Ec2,
    context: &Context,
    request: DescribeTrafficMirrorTargetsRequest,
) -> Result<DescribeTrafficMirrorTargetsResponse, ApiError> {
    let ids = request.traffic_mirror_target_ids;
    let named = (!ids.is_empty()).then_some("trafficMirrorTargetIds");
    let page = Page::read(
        "DescribeTrafficMirrorTargets",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        named,
    )?;
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<TrafficMirrorTargetId> = page.after()?;
    let wanted = id::find(&ids, &region.traffic_mirror_targets)?;
    let wanted = wanted.into_values();
    let all = region.traffic_mirror_targets.values();
    let all = all.filter(|_| named.is_none());
    let targets = wanted.chain(all).filter(|target| {
        after.is_none_or(|after| target.id > after)
            && filters.match_resource(&target.tags, |field, test| match field {
                Field::Description => target.description.iter().for_each(|text| test.text(text)),
                Field::Id => test.display(target.id),
                Field::NetworkInterfaceId => test.display(target.network_interface),
                // No target is a load balancer.
                Field::NetworkLoadBalancerArn => {}
                Field::OwnerId => test.display(context.account),
            })
    });
    let (targets, next_token) = page.take(targets, |target| target.id.to_string());
    let targets = targets.into_iter().map(|target| answer(context, target));
    Ok(DescribeTrafficMirrorTargetsResponse {
        traffic_mirror_targets: targets.collect(),
        next_token,
    })
}

fn answer(context: &Context, target: &TrafficMirrorTarget) -> response::TrafficMirrorTarget {
    response::TrafficMirrorTarget {
        traffic_mirror_target_id: Some(Text::display(target.id)),
        network_interface_id: Some(Text::display(target.network_interface)),
        r#type: Some("network-interface".into()),
        description: target.description.as_deref().map(Text::from),
        owner_id: Some(Text::display(context.account)),
        tags: tag::answer(&target.tags),
    }
}
