//! Elastic Load Balancing, version 2: each operation's request becomes a call of the control plane, and
//! what that returns its answer. One file per resource.
//!
//! Load balancers are network load balancers: other types are refused by name.

mod account;
mod action;
mod arn;
mod listener;
mod listener_certificate;
mod load_balancer;
mod page;
mod ssl_policy;
mod tag;
mod target;
mod target_group;

use std::sync::Arc;

use enid_control::{Attribute, BalancingError, Caller, Control};
use enid_model::state::RegionState;

use crate::context::Context;
use crate::ec2::Deliveries;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;

/// The operations of Elastic Load Balancing.
pub struct Elbv2 {
    control: Arc<Control>,
    deliveries: Option<Arc<dyn Deliveries>>,
}

impl Elbv2 {
    /// The load balancers of a control plane.
    #[must_use]
    pub fn new(control: Arc<Control>) -> Self {
        let deliveries = None;
        Self {
            control,
            deliveries,
        }
    }

    /// The same with buckets that can be asked.
    #[must_use]
    pub fn with_deliveries(self, deliveries: Arc<dyn Deliveries>) -> Self {
        let deliveries = Some(deliveries);
        Self { deliveries, ..self }
    }

    /// What a request is about, for the policy of its key. Describing is about everything, as in AWS.
    #[must_use]
    pub fn asked(&self, context: &Context, request: &Request) -> Asked {
        let one = |arn: &str| Asked::about([arn.to_owned()]);
        let new = |path: String| one(&arn::of_new(context, &path));
        match request {
            Request::AddListenerCertificates(it) => one(&it.listener_arn),
            Request::AddTags(it) => Asked::about(it.resource_arns.iter().cloned()),
            Request::CreateListener(it) => one(&it.load_balancer_arn),
            Request::CreateLoadBalancer(it) => new(format!("loadbalancer/net/{}", it.name)),
            Request::CreateTargetGroup(it) => new(format!("targetgroup/{}", it.name)),
            Request::DeleteListener(it) => one(&it.listener_arn),
            Request::DeleteLoadBalancer(it) => one(&it.load_balancer_arn),
            Request::DeleteTargetGroup(it) => one(&it.target_group_arn),
            Request::DeregisterTargets(it) => one(&it.target_group_arn),
            Request::DescribeAccountLimits(_)
            | Request::DescribeListenerAttributes(_)
            | Request::DescribeListenerCertificates(_)
            | Request::DescribeListeners(_)
            | Request::DescribeLoadBalancerAttributes(_)
            | Request::DescribeLoadBalancers(_)
            | Request::DescribeRules(_)
            | Request::DescribeSSLPolicies(_)
            | Request::DescribeTags(_)
            | Request::DescribeTargetGroupAttributes(_)
            | Request::DescribeTargetGroups(_)
            | Request::DescribeTargetHealth(_) => Asked::default(),
            Request::ModifyListener(it) => one(&it.listener_arn),
            Request::ModifyListenerAttributes(it) => one(&it.listener_arn),
            Request::ModifyLoadBalancerAttributes(it) => one(&it.load_balancer_arn),
            Request::ModifyTargetGroup(it) => one(&it.target_group_arn),
            Request::ModifyTargetGroupAttributes(it) => one(&it.target_group_arn),
            Request::RegisterTargets(it) => one(&it.target_group_arn),
            Request::RemoveListenerCertificates(it) => one(&it.listener_arn),
            Request::RemoveTags(it) => Asked::about(it.resource_arns.iter().cloned()),
            Request::SetIpAddressType(it) => one(&it.load_balancer_arn),
            Request::SetSecurityGroups(it) => one(&it.load_balancer_arn),
            Request::SetSubnets(it) => one(&it.load_balancer_arn),
        }
    }

    /// The caller's region.
    async fn region(&self, caller: &Caller) -> Result<Arc<RegionState>, ApiError> {
        Ok(self.control.read(caller).await?)
    }
}

/// An error of the control plane.
fn refused(error: BalancingError) -> ApiError {
    enid_control::Error::from(error).into()
}

/// What AWS says of a request that cannot be meant.
fn invalid(why: impl Into<Box<str>>) -> ApiError {
    refused(BalancingError::validation(why))
}

/// An attribute as a client writes it.
fn attribute(key: Option<String>, value: Option<String>) -> Attribute {
    Attribute {
        key: key.unwrap_or_default(),
        value: value.unwrap_or_default(),
    }
}

handlers! {
    Elbv2 in crate::generated::elbv2::operations {
        AddListenerCertificates => listener_certificate::add_listener_certificates,
        AddTags => tag::add_tags,
        CreateListener => listener::create_listener,
        CreateLoadBalancer => load_balancer::create_load_balancer,
        CreateTargetGroup => target_group::create_target_group,
        DeleteListener => listener::delete_listener,
        DeleteLoadBalancer => load_balancer::delete_load_balancer,
        DeleteTargetGroup => target_group::delete_target_group,
        DeregisterTargets => target::deregister_targets,
        DescribeAccountLimits => account::describe_account_limits,
        DescribeListenerAttributes => listener::describe_listener_attributes,
        DescribeListenerCertificates => listener_certificate::describe_listener_certificates,
        DescribeListeners => listener::describe_listeners,
        DescribeLoadBalancerAttributes => load_balancer::describe_load_balancer_attributes,
        DescribeLoadBalancers => load_balancer::describe_load_balancers,
        DescribeRules => listener::describe_rules,
        DescribeSSLPolicies => ssl_policy::describe_ssl_policies,
        DescribeTags => tag::describe_tags,
        DescribeTargetGroupAttributes => target_group::describe_target_group_attributes,
        DescribeTargetGroups => target_group::describe_target_groups,
        DescribeTargetHealth => target::describe_target_health,
        ModifyListener => listener::modify_listener,
        ModifyListenerAttributes => listener::modify_listener_attributes,
        ModifyLoadBalancerAttributes => load_balancer::modify_load_balancer_attributes,
        ModifyTargetGroup => target_group::modify_target_group,
        ModifyTargetGroupAttributes => target_group::modify_target_group_attributes,
        RegisterTargets => target::register_targets,
        RemoveListenerCertificates => listener_certificate::remove_listener_certificates,
        RemoveTags => tag::remove_tags,
        SetIpAddressType => load_balancer::set_ip_address_type,
        SetSecurityGroups => load_balancer::set_security_groups,
        SetSubnets => load_balancer::set_subnets,
    }
}
