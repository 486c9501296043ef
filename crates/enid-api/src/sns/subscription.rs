//! Subscriptions.

use std::collections::BTreeMap;

use enid_control::{NotificationError, Subscribe, SubscriptionAttribute, check_owner};
use enid_model::delivery_policy::{EffectivePolicy, SubscriptionDeliveryPolicy};
use enid_model::state::RegionState;
use enid_model::subscription::{
    FilterPolicyScope, Protocol, Subscription, SubscriptionArn, SubscriptionState,
};
use enid_model::topic::TopicArn;
use enid_telemetry::notify::filter::FilterPolicy;
use serde_json::json;

use super::{Sns, invalid, page, refused, unknown_attribute};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::sns::request::{
    ConfirmSubscriptionRequest, GetSubscriptionAttributesRequest, ListSubscriptionsByTopicRequest,
    ListSubscriptionsRequest, SetSubscriptionAttributesRequest, SubscribeRequest,
    UnsubscribeRequest,
};
use crate::generated::sns::response::{
    self, ConfirmSubscriptionResponse, GetSubscriptionAttributesResponse,
    ListSubscriptionsByTopicResponse, ListSubscriptionsResponse, SetSubscriptionAttributesResponse,
    SubscribeResponse, UnsubscribeResponse,
};
use crate::wire::text::Text;

/// Subscribe. The endpoint is asked whether it wants to be notified.
pub(super) async fn subscribe(
    sns: &Sns,
    context: &Context,
    request: SubscribeRequest,
) -> Result<SubscribeResponse, ApiError> {
    let caller = context.caller();
    let topic = enid_control::topic_arn(&caller, &request.topic_arn, "TopicArn")?;
    let protocol = protocol(sns, &request.protocol)?;
    let endpoint = request.endpoint.unwrap_or_default();
    let mut attributes = Vec::new();
    for (name, value) in &request.attributes {
        attributes.push(attribute("Subscribe", "Attributes", name, value)?);
    }
    if protocol.is_http() {
        let admitted = sns.notify.admit(&endpoint).await;
        admitted.map_err(|error| {
            tracing::info!(%error, "an endpoint was not admitted");
            invalid(format!("Endpoint Reason: {error}"))
        })?;
    }
    let principal = match &context.permissions {
        Some(permissions) => permissions.user.arn.clone(),
        None => {
            let (partition, account) = (context.region.partition(), context.account);
            format!("arn:{partition}:iam::{account}:root")
        }
    };
    let input = Subscribe {
        topic,
        protocol,
        endpoint,
        attributes,
        principal,
    };
    let made = sns.control.subscribe(&caller, &input).await?;
    let arn = made.arn.to_string();
    let is_pending = made.subscription.state == SubscriptionState::Pending;
    if is_pending {
        // Also when the endpoint has been asked before and has not answered.
        let asking = move |notify: &enid_telemetry::notify::Notify| {
            notify.ask_for_confirmation(&made.arn, &made.subscription)
        };
        sns.posting(asking).await?;
    }
    let is_told = !is_pending || request.return_subscription_arn.unwrap_or(false);
    let told = match is_told {
        true => Text::display(arn),
        false => Text::from("pending confirmation"),
    };
    Ok(SubscribeResponse {
        subscription_arn: Some(told),
    })
}

/// ConfirmSubscription by a signed request.
pub(super) async fn confirm_subscription(
    sns: &Sns,
    context: &Context,
    request: ConfirmSubscriptionRequest,
) -> Result<ConfirmSubscriptionResponse, ApiError> {
    let caller = context.caller();
    // Which topic it is follows from the token; AWS wants no more than that the region is right.
    let arn = TopicArn::parse(&request.topic_arn);
    let arn = arn.filter(|arn| arn.scope.region.as_str() == context.region.name);
    let arn = arn.ok_or_else(|| invalid("Topic"))?;
    check_owner(&caller, &arn, "ConfirmSubscription")?;
    let needs = request.authenticate_on_unsubscribe.as_deref();
    let needs = match needs.map(str::to_ascii_lowercase).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid("AuthenticateOnUnsubscribe")),
    };
    let confirmed = sns
        .control
        .confirm_subscription(&caller, &request.token, true, needs);
    Ok(ConfirmSubscriptionResponse {
        subscription_arn: Some(Text::display(confirmed.await?)),
    })
}

/// Unsubscribe by a signed request.
pub(super) async fn unsubscribe(
    sns: &Sns,
    context: &Context,
    request: UnsubscribeRequest,
) -> Result<UnsubscribeResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::subscription_arn(&caller, &request.subscription_arn)?;
    sns.control.unsubscribe(&caller, &arn).await?;
    Ok(UnsubscribeResponse {})
}

/// ListSubscriptions.
pub(super) async fn list_subscriptions(
    sns: &Sns,
    context: &Context,
    request: ListSubscriptionsRequest,
) -> Result<ListSubscriptionsResponse, ApiError> {
    let caller = context.caller();
    let region = sns.region(&caller).await?;
    let all = region.subscriptions.iter().filter_map(|(key, own)| {
        let (topic, id) = key.split_once('/')?;
        let topic = TopicArn {
            scope: caller.scope(),
            name: topic.to_owned(),
        };
        let id = id.parse().ok()?;
        Some((&**key, listed(&SubscriptionArn { topic, id }, own)?))
    });
    let (subscriptions, next_token) = page::take(all, request.next_token.as_deref())?;
    Ok(ListSubscriptionsResponse {
        subscriptions,
        next_token,
    })
}

/// ListSubscriptionsByTopic.
pub(super) async fn list_subscriptions_by_topic(
    sns: &Sns,
    context: &Context,
    request: ListSubscriptionsByTopicRequest,
) -> Result<ListSubscriptionsByTopicResponse, ApiError> {
    let caller = context.caller();
    let topic = enid_control::topic_arn(&caller, &request.topic_arn, "TopicArn")?;
    check_owner(&caller, &topic, "ListSubscriptionsByTopic")?;
    let region = sns.region(&caller).await?;
    enid_control::topic_named(&region, &topic.name)?;
    let all: Vec<_> = region
        .subscriptions_of_topic(&topic.name)
        .filter_map(|(id, own)| {
            let topic = topic.clone();
            let listed = listed(&SubscriptionArn { topic, id }, own)?;
            Some((id.to_string(), listed))
        })
        .collect();
    let all = all.iter().map(|(id, listed)| (id.as_str(), listed.clone()));
    let (subscriptions, next_token) = page::take(all, request.next_token.as_deref())?;
    Ok(ListSubscriptionsByTopicResponse {
        subscriptions,
        next_token,
    })
}

/// GetSubscriptionAttributes.
pub(super) async fn get_subscription_attributes(
    sns: &Sns,
    context: &Context,
    request: GetSubscriptionAttributesRequest,
) -> Result<GetSubscriptionAttributesResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::subscription_arn(&caller, &request.subscription_arn)?;
    check_owner(&caller, &arn.topic, "GetSubscriptionAttributes")?;
    let region = sns.region(&caller).await?;
    let found = region.subscriptions.get(&*arn.key());
    let found = found.filter(|own| own.state != SubscriptionState::Deleted);
    let found = found.ok_or_else(|| refused(NotificationError::SubscriptionNotFound))?;
    Ok(GetSubscriptionAttributesResponse {
        attributes: attributes(&region, &arn, found),
    })
}

/// SetSubscriptionAttributes.
pub(super) async fn set_subscription_attributes(
    sns: &Sns,
    context: &Context,
    request: SetSubscriptionAttributesRequest,
) -> Result<SetSubscriptionAttributesResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::subscription_arn(&caller, &request.subscription_arn)?;
    let name = &request.attribute_name;
    let value = request.attribute_value.unwrap_or_default();
    let attribute = attribute("SetSubscriptionAttributes", "AttributeName", name, &value)?;
    sns.control
        .set_subscription_attribute(&caller, &arn, &attribute)
        .await?;
    Ok(SetSubscriptionAttributesResponse {})
}

/// A protocol that Enid delivers by.
fn protocol(sns: &Sns, name: &str) -> Result<Protocol, ApiError> {
    if OTHER_PROTOCOLS.contains(&name) {
        return Err(ApiError::value_not_implemented(
            "Subscribe",
            "Protocol",
            name,
        ));
    }
    let protocol = Protocol::named(name).ok_or_else(|| {
        let short: String = name.chars().take(100).collect();
        invalid(format!(
            "Amazon SNS does not support this protocol string: {short}"
        ))
    })?;
    if !protocol.is_http() && !sns.notify.has_relay() {
        return Err(invalid(format!(
            "Protocol Reason: {name} needs a relay for mail, smtp in the section [notify] of the configuration"
        )));
    }
    Ok(protocol)
}

/// Protocols that AWS has and Enid has not.
const OTHER_PROTOCOLS: &[&str] = &["application", "firehose", "lambda", "sms", "sqs"];

/// An attribute from a client's text. In a map of attributes the words of an error say so.
fn attribute(
    operation: &str,
    parameter: &str,
    name: &str,
    value: &str,
) -> Result<SubscriptionAttribute, ApiError> {
    let worded = |error: NotificationError| {
        refused(match parameter {
            "AttributeName" => error,
            _ => error.in_attributes(),
        })
    };
    if name == "FilterPolicy" && !value.is_empty() {
        FilterPolicy::parse(value).map_err(|error| {
            worded(NotificationError::invalid(format!("FilterPolicy: {error}")))
        })?;
    }
    let read = SubscriptionAttribute::read(name, value);
    let read =
        read.ok_or_else(|| unknown_attribute(operation, parameter, name, OTHER_ATTRIBUTES))?;
    read.map_err(worded)
}

/// Attributes of subscriptions that AWS has and nothing here enforces.
const OTHER_ATTRIBUTES: &[&str] = &["RedrivePolicy", "ReplayPolicy", "SubscriptionRoleArn"];

/// A subscription in a list; those that ended are in none.
fn listed(arn: &SubscriptionArn, subscription: &Subscription) -> Option<response::Subscription> {
    let told = match subscription.state {
        SubscriptionState::Confirmed { .. } => Text::display(arn),
        SubscriptionState::Pending => Text::from("PendingConfirmation"),
        SubscriptionState::Deleted => return None,
    };
    Some(response::Subscription {
        subscription_arn: Some(told),
        owner: Some(Text::display(arn.topic.account())),
        protocol: Some(Text::from(subscription.protocol.name())),
        endpoint: Some(Text::from(subscription.endpoint.as_str())),
        topic_arn: Some(Text::display(&arn.topic)),
    })
}

fn attributes(
    region: &RegionState,
    arn: &SubscriptionArn,
    own: &Subscription,
) -> BTreeMap<String, Text> {
    let flag = |value: bool| Text::from(if value { "true" } else { "false" });
    let was_authenticated = own.state
        == SubscriptionState::Confirmed {
            was_authenticated: true,
        };
    let is_pending = own.state == SubscriptionState::Pending;
    let mut all = vec![
        ("ConfirmationWasAuthenticated", flag(was_authenticated)),
        ("Endpoint", Text::from(own.endpoint.as_str())),
        ("Owner", Text::display(arn.topic.account())),
        ("PendingConfirmation", flag(is_pending)),
        ("Protocol", Text::from(own.protocol.name())),
        ("RawMessageDelivery", flag(own.is_raw)),
        ("SubscriptionArn", Text::display(arn)),
        ("SubscriptionPrincipal", Text::from(own.principal.as_str())),
        ("TopicArn", Text::display(&arn.topic)),
    ];
    if let Some(policy) = &own.filter_policy {
        let scope: FilterPolicyScope = own.filter_policy_scope.unwrap_or_default();
        all.push(("FilterPolicy", Text::from(policy.as_str())));
        all.push(("FilterPolicyScope", Text::from(scope.name())));
    }
    if own.protocol.is_http() {
        let of_topic = region.topics.get(&*arn.topic.name);
        let of_topic = of_topic.and_then(|topic| topic.delivery_policy.as_ref());
        let policy = own.delivery_policy.as_ref();
        let effective = EffectivePolicy::of(of_topic, policy);
        // AWS tells it only where one has been set.
        if policy.is_some() || of_topic.is_some() {
            all.push(("EffectiveDeliveryPolicy", Text::display(told(&effective))));
        }
        if let Some(text) = policy.and_then(written) {
            all.push(("DeliveryPolicy", Text::display(text)));
        }
    }
    let all = all
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    all.collect()
}

fn written(policy: &SubscriptionDeliveryPolicy) -> Option<String> {
    serde_json::to_string(policy).ok()
}

fn told(policy: &EffectivePolicy) -> serde_json::Value {
    json!({
        "healthyRetryPolicy": policy.retries,
        "sicklyRetryPolicy": null,
        "throttlePolicy": policy.throttle,
        "requestPolicy": {"headerContentType": policy.content_type},
        "guaranteed": false,
    })
}
