//! What listeners do with new flows: forward them. Other actions are application load balancers'.

use enid_control::{BalancingError, ForwardAction, target_group_arn};
use enid_model::listener::{Forward, GroupStickiness, Listener};
use enid_model::state::RegionState;

use super::{arn, invalid, refused};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{Action, TargetGroupStickinessConfig};
use crate::generated::elbv2::response;
use crate::wire::text::Text;

/// The one action of a listener.
pub(super) fn read(
    context: &Context,
    region: &RegionState,
    actions: &[Action],
) -> Result<ForwardAction, ApiError> {
    let action = match actions {
        [action] => action,
        [] => return Err(invalid("A default action must be specified")),
        _ => return Err(refused(BalancingError::TooManyActions)),
    };
    let group = |text: &str| arn::target_group(context, region, text).map(|group| group.id);
    let named = action.target_group_arn.as_deref().map(group).transpose()?;
    let tuples = action.forward_config.iter();
    let tuples = tuples.flat_map(|config| &config.target_groups);
    let mut groups = Vec::new();
    for tuple in tuples {
        let text = tuple.target_group_arn.as_deref().unwrap_or_default();
        groups.push(Forward {
            group: group(text)?,
            weight: weight(tuple.weight)?,
        });
    }
    match (named, groups.as_slice()) {
        (None, []) => return Err(action_error("A target group ARN must be specified")),
        (Some(group), []) => groups.push(Forward {
            group,
            weight: WEIGHT,
        }),
        (Some(group), [only]) if only.group == group => {}
        (Some(_), _) => {
            let why = "The target group ARN and the forward config must name the same target group";
            return Err(action_error(why));
        }
        (None, _) => {}
    }
    let order = action.order.map(|order| match order {
        1..=50_000 => Ok(u16::try_from(order).unwrap_or(0)),
        _ => Err(invalid(format!(
            "1 validation error detected: Value '{order}' at 'defaultActions.1.member.order' failed to satisfy constraint: Member must have value between 1 and 50000"
        ))),
    });
    let config = action.forward_config.as_ref();
    let stickiness = config.and_then(|config| config.target_group_stickiness_config.as_ref());
    Ok(ForwardAction {
        groups,
        stickiness: stickiness.map(stickiness_of).transpose()?,
        order: order.transpose()?,
    })
}

/// AWS's, where nothing is said.
const WEIGHT: u16 = 1;

fn weight(weight: Option<i32>) -> Result<u16, ApiError> {
    match weight {
        None => Ok(WEIGHT),
        Some(weight @ 0..=999) => Ok(u16::try_from(weight).unwrap_or(0)),
        Some(weight) => Err(invalid(format!(
            "Target group weight '{weight}' must be between 0 and 999 inclusive"
        ))),
    }
}

fn stickiness_of(config: &TargetGroupStickinessConfig) -> Result<GroupStickiness, ApiError> {
    let duration_s = match config.duration_seconds {
        None => None,
        Some(seconds @ 1..=604_800) => u32::try_from(seconds).ok(),
        Some(seconds) => {
            return Err(invalid(format!(
                "Target group stickiness duration '{seconds}' must be between 1 and 604800 seconds inclusive"
            )));
        }
    };
    Ok(GroupStickiness {
        is_enabled: config.enabled.unwrap_or(false),
        duration_s,
    })
}

fn action_error(why: &str) -> ApiError {
    refused(BalancingError::Action { why: why.into() })
}

/// The action as AWS describes it.
pub(super) fn answer(
    context: &Context,
    region: &RegionState,
    listener: &Listener,
) -> response::Action {
    let caller = context.caller();
    let arn_of = |forward: &Forward| {
        let group = region.target_groups.get(&forward.group);
        group.map(|group| Text::display(target_group_arn(&caller, group)))
    };
    let only = match listener.forward.as_slice() {
        [only] => arn_of(only),
        _ => None,
    };
    let groups = listener.forward.iter();
    let groups = groups.map(|forward| response::TargetGroupTuple {
        target_group_arn: arn_of(forward),
        weight: Some(forward.weight.into()),
    });
    response::Action {
        r#type: Some("forward".into()),
        target_group_arn: only,
        order: listener.order.map(i32::from),
        forward_config: Some(response::ForwardActionConfig {
            target_groups: groups.collect(),
            target_group_stickiness_config: listener.stickiness.map(|own| {
                response::TargetGroupStickinessConfig {
                    enabled: Some(own.is_enabled),
                    duration_seconds: own.duration_s.and_then(|it| i32::try_from(it).ok()),
                }
            }),
        }),
    }
}
