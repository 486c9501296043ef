//! The ARNs that clients write, and what they name.

use enid_control::BalancingError;
use enid_model::balancer_arn::{BalancerArn, BalancerResource};
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::{RegionState, Stored};
use enid_model::target_group::TargetGroup;

use super::{invalid, refused};
use crate::context::Context;
use crate::error::ApiError;

/// The ARN of something that is yet to be made: its digits are not known.
pub(super) fn of_new(context: &Context, path: &str) -> String {
    let (partition, region) = (context.region.partition(), context.region.name);
    let account = context.account;
    format!("arn:{partition}:elasticloadbalancing:{region}:{account}:{path}/0000000000000000")
}

/// The load balancer that an ARN names.
pub(super) fn load_balancer<'a>(
    context: &Context,
    region: &'a RegionState,
    text: &str,
) -> Result<&'a Stored<LoadBalancer>, ApiError> {
    let Some(BalancerArn {
        scope,
        resource: BalancerResource::LoadBalancer { name, id },
    }) = BalancerArn::parse(text)
    else {
        return Err(malformed(text, "load balancer"));
    };
    let found = region.load_balancers.get(&id);
    let found = found.filter(|found| found.name == name && scope == context.caller().scope());
    found.ok_or_else(|| refused(BalancingError::LoadBalancerNotFound { arn: text.into() }))
}

/// The target group that an ARN names.
pub(super) fn target_group<'a>(
    context: &Context,
    region: &'a RegionState,
    text: &str,
) -> Result<&'a Stored<TargetGroup>, ApiError> {
    let Some(BalancerArn {
        scope,
        resource: BalancerResource::TargetGroup { name, id },
    }) = BalancerArn::parse(text)
    else {
        return Err(malformed(text, "target group"));
    };
    let found = region.target_groups.get(&id);
    let found = found.filter(|found| found.name == name && scope == context.caller().scope());
    found.ok_or_else(|| refused(BalancingError::TargetGroupNotFound { arn: text.into() }))
}

/// The listener that an ARN names.
pub(super) fn listener<'a>(
    context: &Context,
    region: &'a RegionState,
    text: &str,
) -> Result<&'a Stored<Listener>, ApiError> {
    let Some(BalancerArn {
        scope,
        resource: BalancerResource::Listener {
            load_balancer, id, ..
        },
    }) = BalancerArn::parse(text)
    else {
        return Err(malformed(text, "listener"));
    };
    let found = region.listeners.get(&id);
    let found = found.filter(|found| found.load_balancer == load_balancer);
    let found = found.filter(|_| scope == context.caller().scope());
    found.ok_or_else(|| refused(BalancingError::ListenerNotFound))
}

/// Whatever of the caller's region an ARN names, whether it is there or not.
pub(super) fn resource(context: &Context, text: &str) -> Result<BalancerResource, ApiError> {
    let arn = BalancerArn::parse(text);
    let own = arn.filter(|arn| arn.scope == context.caller().scope());
    match own {
        Some(arn) => Ok(arn.resource),
        None => Err(malformed(text, "resource")),
    }
}

pub(super) fn malformed(text: &str, what: &str) -> ApiError {
    let short: String = text.chars().take(200).collect();
    invalid(format!("'{short}' is not a valid {what} ARN"))
}

/// The ARN of a listener of the caller's.
pub(super) fn listener_arn(context: &Context, name: &str, listener: &Listener) -> String {
    let arn = BalancerArn {
        scope: context.caller().scope(),
        resource: BalancerResource::Listener {
            name: name.to_owned(),
            load_balancer: listener.load_balancer,
            id: listener.id,
        },
    };
    arn.to_string()
}

/// The ARN of its one rule.
pub(super) fn rule_arn(context: &Context, name: &str, listener: &Listener) -> String {
    let arn = BalancerArn {
        scope: context.caller().scope(),
        resource: BalancerResource::ListenerRule {
            name: name.to_owned(),
            load_balancer: listener.load_balancer,
            id: listener.id,
        },
    };
    arn.to_string()
}
