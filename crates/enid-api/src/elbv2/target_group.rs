//! Target groups.

use enid_control::{
    BalancingError, CreateTargetGroup, TRAFFIC_PORT, WantedHealthCheck, load_balancer_arn,
    target_group_arn, target_group_attributes, target_group_named,
};
use enid_model::id::VpcId;
use enid_model::state::{RegionState, Stored};
use enid_model::target_group::{
    HealthCheckProtocol, TargetGroup, TargetGroupIpAddressType, TargetType,
};

use super::{Elbv2, arn, attribute, invalid, listener, page, refused, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    CreateTargetGroupRequest, DeleteTargetGroupRequest, DescribeTargetGroupAttributesRequest,
    DescribeTargetGroupsRequest, ModifyTargetGroupAttributesRequest, ModifyTargetGroupRequest,
};
use crate::generated::elbv2::response::{
    self, CreateTargetGroupResponse, DeleteTargetGroupResponse,
    DescribeTargetGroupAttributesResponse, DescribeTargetGroupsResponse, Matcher,
    ModifyTargetGroupAttributesResponse, ModifyTargetGroupResponse, TargetGroupAttribute,
};
use crate::wire::text::Text;

/// CreateTargetGroup.
pub(super) async fn create_target_group(
    elbv2: &Elbv2,
    context: &Context,
    request: CreateTargetGroupRequest,
) -> Result<CreateTargetGroupResponse, ApiError> {
    let vpc = request.vpc_id.as_deref().map(vpc).transpose()?;
    let input = CreateTargetGroup {
        name: request.name,
        protocol: request.protocol.as_deref().and_then(listener::protocol),
        port: request.port,
        vpc,
        target_type: match request.target_type.as_deref() {
            Some("ip") => TargetType::Ip,
            _ => TargetType::Instance,
        },
        ip_address_type: match request.ip_address_type.as_deref() {
            Some("ipv6") => TargetGroupIpAddressType::Ipv6,
            _ => TargetGroupIpAddressType::Ipv4,
        },
        health_check: WantedHealthCheck {
            protocol: request.health_check_protocol.as_deref().and_then(protocol),
            port: request.health_check_port,
            enabled: request.health_check_enabled,
            path: request.health_check_path,
            interval_s: request.health_check_interval_seconds,
            timeout_s: request.health_check_timeout_seconds,
            healthy_threshold: request.healthy_threshold_count,
            unhealthy_threshold: request.unhealthy_threshold_count,
            matcher: request.matcher.and_then(|matcher| matcher.http_code),
        },
        tags: tag::read(request.tags),
    };
    let caller = context.caller();
    let group = elbv2.control.create_target_group(&caller, &input).await?;
    let region = elbv2.region(&caller).await?;
    Ok(CreateTargetGroupResponse {
        target_groups: vec![answer(context, &region, &group)],
    })
}

/// DeleteTargetGroup. That there is none is no error.
pub(super) async fn delete_target_group(
    elbv2: &Elbv2,
    context: &Context,
    request: DeleteTargetGroupRequest,
) -> Result<DeleteTargetGroupResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    match arn::target_group(context, &region, &request.target_group_arn) {
        Ok(group) => elbv2.control.delete_target_group(&caller, group.id).await?,
        Err(error) if error.code() == "TargetGroupNotFound" => {}
        Err(error) => return Err(error),
    }
    Ok(DeleteTargetGroupResponse {})
}

/// DescribeTargetGroups: of a load balancer, by ARN, by name, or all.
pub(super) async fn describe_target_groups(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeTargetGroupsRequest,
) -> Result<DescribeTargetGroupsResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let ways = [
        request.load_balancer_arn.is_some(),
        !request.target_group_arns.is_empty(),
        !request.names.is_empty(),
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let why = "Target group ARNs, target group names and a load balancer ARN cannot be specified at the same time";
        return Err(invalid(why));
    }
    let not_found = || refused(BalancingError::TargetGroupsNotFound);
    let mut found: Vec<&Stored<TargetGroup>> = Vec::new();
    for text in &request.target_group_arns {
        let group = arn::target_group(context, &region, text);
        found.push(group.map_err(|error| match error.code() {
            "TargetGroupNotFound" => not_found(),
            _ => error,
        })?);
    }
    for name in &request.names {
        found.push(target_group_named(&region, name).ok_or_else(not_found)?);
    }
    if let Some(text) = &request.load_balancer_arn {
        let balancer = arn::load_balancer(context, &region, text)?.id;
        let listeners = region.listeners_of_load_balancer(balancer);
        let listeners = listeners.filter_map(|id| region.listeners.get(&id));
        let groups = listeners.flat_map(|listener| &listener.forward);
        found.extend(groups.filter_map(|forward| region.target_groups.get(&forward.group)));
    } else if ways == [false; 3] {
        found.extend(region.target_groups.values());
    }
    found.sort_by_key(|group| group.id);
    found.dedup_by_key(|group| group.id);
    let described = found
        .into_iter()
        .map(|group| (group.id.to_string(), answer(context, &region, group)));
    let page = page::take(described, request.marker.as_deref(), request.page_size)?;
    let (target_groups, next_marker) = page;
    Ok(DescribeTargetGroupsResponse {
        target_groups,
        next_marker,
    })
}

/// DescribeTargetGroupAttributes.
pub(super) async fn describe_target_group_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeTargetGroupAttributesRequest,
) -> Result<DescribeTargetGroupAttributesResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let group = arn::target_group(context, &region, &request.target_group_arn)?;
    Ok(DescribeTargetGroupAttributesResponse {
        attributes: attributes(group),
    })
}

/// ModifyTargetGroup.
pub(super) async fn modify_target_group(
    elbv2: &Elbv2,
    context: &Context,
    request: ModifyTargetGroupRequest,
) -> Result<ModifyTargetGroupResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::target_group(context, &region, &request.target_group_arn)?.id;
    let wanted = WantedHealthCheck {
        protocol: request.health_check_protocol.as_deref().and_then(protocol),
        port: request.health_check_port,
        enabled: request.health_check_enabled,
        path: request.health_check_path,
        interval_s: request.health_check_interval_seconds,
        timeout_s: request.health_check_timeout_seconds,
        healthy_threshold: request.healthy_threshold_count,
        unhealthy_threshold: request.unhealthy_threshold_count,
        matcher: request.matcher.and_then(|matcher| matcher.http_code),
    };
    let group = elbv2
        .control
        .modify_target_group(&caller, id, &wanted)
        .await?;
    Ok(ModifyTargetGroupResponse {
        target_groups: vec![answer(context, &region, &group)],
    })
}

/// ModifyTargetGroupAttributes.
pub(super) async fn modify_target_group_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: ModifyTargetGroupAttributesRequest,
) -> Result<ModifyTargetGroupAttributesResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::target_group(context, &region, &request.target_group_arn)?.id;
    let wanted = request.attributes.into_iter();
    let wanted: Vec<_> = wanted.map(|own| attribute(own.key, own.value)).collect();
    let group = elbv2
        .control
        .modify_target_group_attributes(&caller, id, &wanted)
        .await?;
    Ok(ModifyTargetGroupAttributesResponse {
        attributes: attributes(&group),
    })
}

fn vpc(text: &str) -> Result<VpcId, ApiError> {
    let read = text.parse();
    read.map_err(|_malformed| {
        let short: String = text.chars().take(100).collect();
        invalid(format!("The VPC ID '{short}' is not found"))
    })
}

/// The protocol of AWS's word: of those that the table lets through.
fn protocol(word: &str) -> Option<HealthCheckProtocol> {
    match word {
        "HTTP" => Some(HealthCheckProtocol::Http),
        "HTTPS" => Some(HealthCheckProtocol::Https),
        "TCP" => Some(HealthCheckProtocol::Tcp),
        _ => None,
    }
}

fn attributes(group: &TargetGroup) -> Vec<TargetGroupAttribute> {
    let attributes = target_group_attributes(group).into_iter();
    let attributes = attributes.map(|(key, value)| TargetGroupAttribute {
        key: Some(key.into()),
        value: Some(Text::display(value)),
    });
    attributes.collect()
}

fn answer(context: &Context, region: &RegionState, group: &TargetGroup) -> response::TargetGroup {
    let caller = context.caller();
    let check = &group.health_check;
    let is_http = check.protocol != HealthCheckProtocol::Tcp;
    let balancers = region.load_balancers_of_group(group.id);
    let arns = balancers.map(|balancer| Text::display(load_balancer_arn(&caller, balancer)));
    response::TargetGroup {
        target_group_arn: Some(Text::display(target_group_arn(&caller, group))),
        target_group_name: Some(group.name.as_str().into()),
        protocol: Some(group.protocol.word().into()),
        port: Some(group.port.into()),
        vpc_id: Some(Text::display(group.vpc)),
        health_check_protocol: Some(check.protocol.word().into()),
        health_check_port: Some(match check.port {
            Some(port) => Text::display(port),
            None => TRAFFIC_PORT.into(),
        }),
        health_check_enabled: Some(true),
        health_check_interval_seconds: Some(check.interval_s.into()),
        health_check_timeout_seconds: Some(check.timeout_s.into()),
        healthy_threshold_count: Some(check.healthy_threshold.into()),
        unhealthy_threshold_count: Some(check.unhealthy_threshold.into()),
        health_check_path: is_http.then(|| check.path.as_str().into()),
        matcher: is_http.then(|| Matcher {
            http_code: Some(Text::display(&check.matcher)),
        }),
        load_balancer_arns: arns.collect(),
        target_type: Some(match group.target_type {
            TargetType::Instance => "instance".into(),
            TargetType::Ip => "ip".into(),
        }),
        ip_address_type: Some(group.ip_address_type.word().into()),
    }
}
