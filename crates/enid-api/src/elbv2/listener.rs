//! Listeners, and the one rule that each has.

use enid_control::{
    BalancingError, CreateListener, ModifyListener, WantedTls, listener_attributes,
    load_balancer_arn,
};
use enid_model::balancer_arn::{BalancerArn, BalancerResource};
use enid_model::listener::Listener;
use enid_model::ssl_policy::{AlpnPolicy, SslPolicy};
use enid_model::state::{RegionState, Stored};
use enid_model::target_group::BalancedProtocol;

use super::{
    Elbv2, action, arn, attribute, invalid, listener_certificate, page, refused, ssl_policy, tag,
};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    CreateListenerRequest, DeleteListenerRequest, DescribeListenerAttributesRequest,
    DescribeListenersRequest, DescribeRulesRequest, ModifyListenerAttributesRequest,
    ModifyListenerRequest,
};
use crate::generated::elbv2::response::{
    self, CreateListenerResponse, DeleteListenerResponse, DescribeListenerAttributesResponse,
    DescribeListenersResponse, DescribeRulesResponse, ListenerAttribute,
    ModifyListenerAttributesResponse, ModifyListenerResponse, Rule,
};
use crate::wire::text::Text;

/// CreateListener.
pub(super) async fn create_listener(
    elbv2: &Elbv2,
    context: &Context,
    request: CreateListenerRequest,
) -> Result<CreateListenerResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let balancer = arn::load_balancer(context, &region, &request.load_balancer_arn)?;
    let input = CreateListener {
        load_balancer: balancer.id,
        protocol: request.protocol.as_deref().and_then(protocol),
        port: request.port,
        action: action::read(context, &region, &request.default_actions)?,
        tls: WantedTls {
            certificate: listener_certificate::read_default(context, &request.certificates)?,
            policy: policy("CreateListener", request.ssl_policy.as_deref())?,
            alpn: alpn(&request.alpn_policy)?,
        },
        tags: tag::read(request.tags),
    };
    let listener = elbv2.control.create_listener(&caller, &input).await?;
    Ok(CreateListenerResponse {
        listeners: vec![answer(context, &region, &listener)],
    })
}

/// ModifyListener.
pub(super) async fn modify_listener(
    elbv2: &Elbv2,
    context: &Context,
    request: ModifyListenerRequest,
) -> Result<ModifyListenerResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::listener(context, &region, &request.listener_arn)?.id;
    let action = match request.default_actions.as_slice() {
        [] => None,
        actions => Some(action::read(context, &region, actions)?),
    };
    let input = ModifyListener {
        id,
        protocol: request.protocol.as_deref().and_then(protocol),
        port: request.port,
        action,
        tls: WantedTls {
            certificate: listener_certificate::read_default(context, &request.certificates)?,
            policy: policy("ModifyListener", request.ssl_policy.as_deref())?,
            alpn: alpn(&request.alpn_policy)?,
        },
    };
    let listener = elbv2.control.modify_listener(&caller, &input).await?;
    Ok(ModifyListenerResponse {
        listeners: vec![answer(context, &region, &listener)],
    })
}

/// DeleteListener.
pub(super) async fn delete_listener(
    elbv2: &Elbv2,
    context: &Context,
    request: DeleteListenerRequest,
) -> Result<DeleteListenerResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::listener(context, &region, &request.listener_arn)?.id;
    elbv2.control.delete_listener(&caller, id).await?;
    Ok(DeleteListenerResponse {})
}

/// DescribeListeners: of a load balancer, or by ARN.
pub(super) async fn describe_listeners(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeListenersRequest,
) -> Result<DescribeListenersResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let found: Vec<&Stored<Listener>> = match &request.load_balancer_arn {
        Some(_) if !request.listener_arns.is_empty() => {
            let why = "You must specify either listener ARNs or a load balancer ARN";
            return Err(invalid(why));
        }
        Some(text) => {
            let balancer = arn::load_balancer(context, &region, text)?.id;
            let ids = region.listeners_of_load_balancer(balancer);
            ids.filter_map(|id| region.listeners.get(&id)).collect()
        }
        None if request.listener_arns.is_empty() => {
            let why = "You must specify either listener ARNs or a load balancer ARN";
            return Err(invalid(why));
        }
        None => by_arn(context, &region, &request.listener_arns)?,
    };
    let described = found.into_iter().map(|listener| {
        let answer = answer(context, &region, listener);
        (listener.id.to_string(), answer)
    });
    let page = page::take(described, request.marker.as_deref(), request.page_size)?;
    let (listeners, next_marker) = page;
    Ok(DescribeListenersResponse {
        listeners,
        next_marker,
    })
}

/// DescribeListenerAttributes.
pub(super) async fn describe_listener_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeListenerAttributesRequest,
) -> Result<DescribeListenerAttributesResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let listener = arn::listener(context, &region, &request.listener_arn)?;
    Ok(DescribeListenerAttributesResponse {
        attributes: attributes(listener),
    })
}

/// ModifyListenerAttributes.
pub(super) async fn modify_listener_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: ModifyListenerAttributesRequest,
) -> Result<ModifyListenerAttributesResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::listener(context, &region, &request.listener_arn)?.id;
    let wanted = request.attributes.into_iter();
    let wanted: Vec<_> = wanted.map(|own| attribute(own.key, own.value)).collect();
    let listener = elbv2
        .control
        .modify_listener_attributes(&caller, id, &wanted)
        .await?;
    Ok(ModifyListenerAttributesResponse {
        attributes: attributes(&listener),
    })
}

/// DescribeRules: the default rule of a listener, or of those that rules are named of.
pub(super) async fn describe_rules(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeRulesRequest,
) -> Result<DescribeRulesResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let found: Vec<&Stored<Listener>> = match (&request.listener_arn, &*request.rule_arns) {
        (Some(text), []) => vec![arn::listener(context, &region, text)?],
        (None, [_, ..]) => rules_by_arn(context, &region, &request.rule_arns)?,
        _ => {
            let why = "You must specify either listener rule ARNs or a listener ARN";
            return Err(invalid(why));
        }
    };
    let described = found.into_iter().map(|listener| {
        let name = name_of(&region, listener);
        let rule = Rule {
            rule_arn: Some(Text::display(arn::rule_arn(context, name, listener))),
            priority: Some("default".into()),
            conditions: Vec::new(),
            actions: vec![action::answer(context, &region, listener)],
            is_default: Some(true),
        };
        (listener.id.to_string(), rule)
    });
    let page = page::take(described, request.marker.as_deref(), request.page_size)?;
    let (rules, next_marker) = page;
    Ok(DescribeRulesResponse { rules, next_marker })
}

fn by_arn<'a>(
    context: &Context,
    region: &'a RegionState,
    arns: &[String],
) -> Result<Vec<&'a Stored<Listener>>, ApiError> {
    let mut found = Vec::with_capacity(arns.len());
    for text in arns {
        found.push(arn::listener(context, region, text)?);
    }
    found.sort_by_key(|listener| listener.id);
    found.dedup_by_key(|listener| listener.id);
    Ok(found)
}

fn rules_by_arn<'a>(
    context: &Context,
    region: &'a RegionState,
    arns: &[String],
) -> Result<Vec<&'a Stored<Listener>>, ApiError> {
    let mut found = Vec::with_capacity(arns.len());
    for text in arns {
        let Some(BalancerArn {
            scope,
            resource: BalancerResource::ListenerRule { id, .. },
        }) = BalancerArn::parse(text)
        else {
            return Err(arn::malformed(text, "listener rule"));
        };
        let listener = region.listeners.get(&id);
        let listener = listener.filter(|_| scope == context.caller().scope());
        let not_found = || refused(BalancingError::RuleNotFound);
        found.push(listener.ok_or_else(not_found)?);
    }
    found.sort_by_key(|listener| listener.id);
    found.dedup_by_key(|listener| listener.id);
    Ok(found)
}

/// The protocol of AWS's word: of those that the table lets through.
pub(super) fn protocol(word: &str) -> Option<BalancedProtocol> {
    match word {
        "TCP" => Some(BalancedProtocol::Tcp),
        "TCP_UDP" => Some(BalancedProtocol::TcpUdp),
        "TLS" => Some(BalancedProtocol::Tls),
        "UDP" => Some(BalancedProtocol::Udp),
        _ => None,
    }
}

fn policy(operation: &str, name: Option<&str>) -> Result<Option<SslPolicy>, ApiError> {
    let named = name.map(|name| ssl_policy::named(operation, "SslPolicy", name));
    named.transpose()
}

/// The ALPN policy of a request, which may be none.
fn alpn(words: &[String]) -> Result<Option<Option<AlpnPolicy>>, ApiError> {
    let word = match words {
        [] => return Ok(None),
        [word] => word.as_str(),
        _ => return Err(invalid("Only one ALPN policy can be specified")),
    };
    let known = match word {
        "None" => None,
        "HTTP1Only" => Some(AlpnPolicy::HTTP1Only),
        "HTTP2Only" => Some(AlpnPolicy::HTTP2Only),
        "HTTP2Optional" => Some(AlpnPolicy::HTTP2Optional),
        "HTTP2Preferred" => Some(AlpnPolicy::HTTP2Preferred),
        other => {
            let name: String = other.chars().take(100).collect();
            let name = name.into();
            return Err(refused(BalancingError::AlpnPolicyNotFound { name }));
        }
    };
    Ok(Some(known))
}

fn name_of<'a>(region: &'a RegionState, listener: &Listener) -> &'a str {
    let balancer = region.load_balancers.get(&listener.load_balancer);
    balancer.map_or("", |balancer| balancer.name.as_str())
}

fn attributes(listener: &Listener) -> Vec<ListenerAttribute> {
    let attributes = listener_attributes(listener).into_iter();
    let attributes = attributes.map(|(key, value)| ListenerAttribute {
        key: Some(key.into()),
        value: Some(Text::display(value)),
    });
    attributes.collect()
}

fn answer(context: &Context, region: &RegionState, listener: &Listener) -> response::Listener {
    let balancer = region.load_balancers.get(&listener.load_balancer);
    let arn = arn::listener_arn(context, name_of(region, listener), listener);
    let tls = listener.tls.as_ref();
    response::Listener {
        listener_arn: Some(Text::display(arn)),
        load_balancer_arn: balancer
            .map(|balancer| Text::display(load_balancer_arn(&context.caller(), balancer))),
        port: Some(listener.port.into()),
        protocol: Some(listener.protocol.word().into()),
        default_actions: vec![action::answer(context, region, listener)],
        certificates: listener_certificate::default_of(context, listener).map(|own| vec![own]),
        ssl_policy: tls.map(|tls| tls.policy.name().into()),
        alpn_policy: tls.map(|tls| vec![tls.alpn.map_or("None", AlpnPolicy::word).into()]),
    }
}
