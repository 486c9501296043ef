//! Targets of target groups, and their health.

use enid_control::{
    ALL_ZONES, Caller, NOT_REGISTERED, NamedTarget, TargetCondition, is_over, target_key,
};
use enid_model::id::TargetGroupId;
use enid_model::state::Stored;
use enid_model::target::{Target, TargetKey};
use enid_model::target_group::TargetGroup;

use super::{Elbv2, arn, invalid, refused};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    DeregisterTargetsRequest, DescribeTargetHealthRequest, RegisterTargetsRequest,
    TargetDescription,
};
use crate::generated::elbv2::response::{
    self, DeregisterTargetsResponse, DescribeTargetHealthResponse, RegisterTargetsResponse,
    TargetHealth, TargetHealthDescription,
};
use crate::wire::text::Text;

/// RegisterTargets.
pub(super) async fn register_targets(
    elbv2: &Elbv2,
    context: &Context,
    request: RegisterTargetsRequest,
) -> Result<RegisterTargetsResponse, ApiError> {
    let (caller, group, targets) =
        named(elbv2, context, &request.target_group_arn, request.targets).await?;
    let control = &elbv2.control;
    control.register_targets(&caller, group, &targets).await?;
    Ok(RegisterTargetsResponse {})
}

/// DeregisterTargets.
pub(super) async fn deregister_targets(
    elbv2: &Elbv2,
    context: &Context,
    request: DeregisterTargetsRequest,
) -> Result<DeregisterTargetsResponse, ApiError> {
    let (caller, group, targets) =
        named(elbv2, context, &request.target_group_arn, request.targets).await?;
    let control = &elbv2.control;
    control.deregister_targets(&caller, group, &targets).await?;
    Ok(DeregisterTargetsResponse {})
}

/// Who asks, and the group and the targets that are named.
async fn named(
    elbv2: &Elbv2,
    context: &Context,
    group: &str,
    targets: Vec<TargetDescription>,
) -> Result<(Caller, TargetGroupId, Vec<NamedTarget>), ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let group = arn::target_group(context, &region, group)?.id;
    Ok((caller, group, read_all(targets)?))
}

/// DescribeTargetHealth: of those named, or of all.
pub(super) async fn describe_target_health(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeTargetHealthRequest,
) -> Result<DescribeTargetHealthResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let group = arn::target_group(context, &region, &request.target_group_arn)?;
    let now = elbv2.control.now();
    let visible = |target: &&Stored<Target>| !is_over(&region, target, now);
    let mut described = Vec::new();
    if request.targets.is_empty() {
        for target in region.targets_of_group(group.id).filter(visible) {
            let condition = elbv2.control.target_condition(&region, group, target);
            described.push(answer(group, target.key, Some(target), condition));
        }
    }
    for named in read_all(request.targets)? {
        let key = target_key(group, &named).map_err(refused)?;
        let found = region.targets.get(&key);
        let target = found.filter(visible);
        let condition = target.map_or(NOT_REGISTERED, |target| {
            elbv2.control.target_condition(&region, group, target)
        });
        described.push(answer(
            group,
            key,
            target.map(|target| &**target.record()),
            condition,
        ));
    }
    Ok(DescribeTargetHealthResponse {
        target_health_descriptions: described,
    })
}

fn answer(
    group: &TargetGroup,
    key: TargetKey,
    target: Option<&Target>,
    condition: TargetCondition,
) -> TargetHealthDescription {
    let zone = target.filter(|target| target.is_zone_chosen);
    let zone = zone.map(|target| target.zone.as_deref().unwrap_or(ALL_ZONES).into());
    let checked_at = group.health_check.port.unwrap_or(key.port);
    TargetHealthDescription {
        target: Some(response::TargetDescription {
            id: Some(Text::display(key.id)),
            port: Some(key.port.into()),
            availability_zone: zone,
        }),
        health_check_port: Some(Text::display(checked_at)),
        target_health: Some(TargetHealth {
            state: Some(condition.state.into()),
            reason: condition.reason.map(Text::from),
            description: condition.description.map(Text::display),
        }),
    }
}

fn read_all(targets: Vec<TargetDescription>) -> Result<Vec<NamedTarget>, ApiError> {
    targets.into_iter().map(read).collect()
}

fn read(target: TargetDescription) -> Result<NamedTarget, ApiError> {
    let port = target.port.map(|port| match u16::try_from(port) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(invalid(format!(
            "1 validation error detected: Value '{port}' at 'targets.1.member.port' failed to satisfy constraint: Member must have value between 1 and 65535"
        ))),
    });
    Ok(NamedTarget {
        id: target.id,
        port: port.transpose()?,
        zone: target.availability_zone,
    })
}
