//! Subscriptions to topics: made, confirmed, changed and ended.
//!
//! A subscription is confirmed by a token that only its endpoint was told, so that nobody is notified
//! who did not want it. What the endpoint itself ends, by a request that is not signed, it can take
//! back for two days with a new token.

use std::sync::Arc;

use enid_model::delivery_policy::SubscriptionDeliveryPolicy;
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::state::{RegionState, Stored};
use enid_model::subscription::{
    FilterPolicyScope, Protocol, Subscription, SubscriptionArn, SubscriptionState, subscription_key,
};
use enid_model::time::Timestamp;
use enid_model::topic::TopicArn;
use enid_model::uuid::Uuid;
use serde_json::Value;

use crate::topic::{check_elements, require_topic};
use crate::{Caller, Control, Draft, Error, NotificationError, check_owner};

/// What Subscribe takes.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The topic.
    pub topic: TopicArn,
    /// How messages are to be delivered.
    pub protocol: Protocol,
    /// Where to.
    pub endpoint: String,
    /// Attributes for it.
    pub attributes: Vec<SubscriptionAttribute>,
    /// Who subscribes, as an ARN.
    pub principal: String,
}

/// A subscription with its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Its ARN.
    pub arn: SubscriptionArn,
    /// The subscription.
    pub subscription: Subscription,
}

/// An attribute of a subscription that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionAttribute {
    /// How deliveries over HTTP are retried.
    DeliveryPolicy(Option<SubscriptionDeliveryPolicy>),
    /// Which messages are delivered.
    FilterPolicy(Option<CheckedFilterPolicy>),
    /// What the filter policy looks at.
    FilterPolicyScope(FilterPolicyScope),
    /// Whether messages are delivered bare.
    RawMessageDelivery(bool),
}

/// A filter policy that keeps the rules of its language: whoever makes one has seen to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFilterPolicy(pub String);

impl SubscriptionAttribute {
    /// The attribute of a name that Enid enforces, from a client's text; `None` for any other name. The
    /// text of a filter policy must have been checked before.
    pub fn read(name: &str, value: &str) -> Option<Result<Self, NotificationError>> {
        Some(match name {
            "DeliveryPolicy" => crate::delivery_policy::subscription_delivery_policy(value)
                .map(Self::DeliveryPolicy),
            "FilterPolicy" => {
                let policy = Some(value).filter(|value| !matches!(*value, "" | "{}"));
                let policy = policy.map(|value| CheckedFilterPolicy(value.to_owned()));
                Ok(Self::FilterPolicy(policy))
            }
            "FilterPolicyScope" => {
                let scope = FilterPolicyScope::named(value).map(Self::FilterPolicyScope);
                scope.ok_or_else(|| {
                    NotificationError::invalid(format!(
                        "FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
                    ))
                })
            }
            "RawMessageDelivery" => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(Self::RawMessageDelivery(true)),
                "false" => Ok(Self::RawMessageDelivery(false)),
                _ => Err(NotificationError::invalid(format!(
                    "RawMessageDelivery: Invalid value [{value}]. Must be true or false."
                ))),
            },
            _ => return None,
        })
    }

    fn set(self, subscription: &mut Subscription) {
        match self {
            Self::DeliveryPolicy(policy) => subscription.delivery_policy = policy,
            Self::FilterPolicy(policy) => {
                subscription.filter_policy = policy.map(|CheckedFilterPolicy(text)| text);
            }
            Self::FilterPolicyScope(scope) => subscription.filter_policy_scope = Some(scope),
            Self::RawMessageDelivery(is_raw) => subscription.is_raw = is_raw,
        }
    }
}

impl Control {
    /// Subscribe. A subscription of the topic to the same endpoint is the answer as well.
    pub async fn subscribe(&self, caller: &Caller, input: &Subscribe) -> Result<Subscribed, Error> {
        check_owner(caller, &input.topic, "Subscribe")?;
        check_endpoint(input.protocol, &input.endpoint)?;
        self.transact(caller, |draft| subscribe(draft, input)).await
    }

    /// ConfirmSubscription. `is_signed` tells a request of an account from that of an endpoint.
    pub async fn confirm_subscription(
        &self,
        caller: &Caller,
        token: &str,
        is_signed: bool,
        needs_authentication: bool,
    ) -> Result<SubscriptionArn, Error> {
        if !is_token(token) {
            return Err(NotificationError::MalformedToken.into());
        }
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let found = subscription_with_token(&region, token);
            let wrong = || Error::from(NotificationError::invalid("Token"));
            let (topic, id, found) = found.ok_or_else(wrong)?;
            let topic = topic.to_owned();
            if !matches!(found.state, SubscriptionState::Confirmed { .. }) {
                if is_over(found, draft.now) {
                    return Err(wrong());
                }
                require_topic(draft, &topic)?;
                let confirmed = Subscription {
                    state: SubscriptionState::Confirmed {
                        was_authenticated: is_signed,
                    },
                    needs_authentication: is_signed && needs_authentication,
                    since: draft.now,
                    ..Subscription::clone(found)
                };
                let key = subscription_key(&topic, id);
                draft.replace(key, found.revision, Record::Subscription(confirmed));
            }
            let scope = draft.caller.scope();
            let topic = TopicArn { scope, name: topic };
            Ok(SubscriptionArn { topic, id })
        })
        .await
    }

    /// Unsubscribe by a signed request. That there is no such subscription is no error.
    pub async fn unsubscribe(&self, caller: &Caller, arn: &SubscriptionArn) -> Result<(), Error> {
        check_owner(caller, &arn.topic, "Unsubscribe")?;
        self.transact(caller, |draft| {
            let revision = draft
                .region
                .subscriptions
                .get(&*arn.key())
                .map(|own| own.revision);
            if let Some(revision) = revision {
                draft.release(Kind::Subscription, arn.key(), revision);
            }
            Ok(())
        })
        .await
    }

    /// Unsubscribe by whoever has the endpoint. Answers what is left of the subscription, with the token
    /// that restores it, if there was one.
    pub async fn leave(
        &self,
        caller: &Caller,
        arn: &SubscriptionArn,
    ) -> Result<Option<Subscription>, Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let found = region.subscriptions.get(&*arn.key());
            let Some(found) = found.filter(|own| own.state != SubscriptionState::Deleted) else {
                return Ok(None);
            };
            if found.needs_authentication {
                let arn = arn.to_string().into();
                return Err(NotificationError::UnsubscribeNeedsAuthentication { arn }.into());
            }
            let left = Subscription {
                state: SubscriptionState::Deleted,
                token: token(draft),
                since: draft.now,
                ..Subscription::clone(found)
            };
            let record = Record::Subscription(left.clone());
            draft.replace(arn.key(), found.revision, record);
            Ok(Some(left))
        })
        .await
    }

    /// SetSubscriptionAttributes.
    pub async fn set_subscription_attribute(
        &self,
        caller: &Caller,
        arn: &SubscriptionArn,
        attribute: &SubscriptionAttribute,
    ) -> Result<(), Error> {
        check_owner(caller, &arn.topic, "SetSubscriptionAttributes")?;
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let found = region.subscriptions.get(&*arn.key());
            let found = found.filter(|own| own.state != SubscriptionState::Deleted);
            let found = found.ok_or(NotificationError::SubscriptionNotFound)?;
            let mut new = Subscription::clone(found);
            attribute.clone().set(&mut new);
            check_attributes(&new)?;
            if new.filter_policy.is_some() && found.filter_policy.is_none() {
                check_filter_quota(&region, &arn.topic.name)?;
                draft.demand_none_new(Kind::Subscription);
            }
            if new != **found {
                draft.replace(arn.key(), found.revision, Record::Subscription(new));
            }
            Ok(())
        })
        .await
    }
}

/// A client's ARN of a subscription in the region that it asks.
pub fn subscription_arn(caller: &Caller, text: &str) -> Result<SubscriptionArn, Error> {
    if text.is_empty() {
        let what = "SubscriptionArn Reason: no value for required parameter";
        return Err(NotificationError::invalid(what).into());
    }
    check_elements(text, "SubscriptionArn")?;
    let invalid = |what: &str| Error::from(NotificationError::invalid(what));
    let topic = TopicArn::parse_prefix(text).map(|(topic, _)| topic);
    let topic = topic.filter(|topic| topic.scope.region == caller.scope().region);
    topic.ok_or_else(|| invalid("SubscriptionArn"))?;
    SubscriptionArn::parse(text).ok_or_else(|| invalid("SubscriptionId"))
}

/// The subscription that a token confirms, with its topic's name and its id.
#[must_use]
pub fn subscription_with_token<'a>(
    region: &'a RegionState,
    token: &str,
) -> Option<(&'a str, Uuid, &'a Stored<Subscription>)> {
    let mut all = region.subscriptions.iter();
    let (key, found) = all.find(|(_, subscription)| subscription.token == token)?;
    let (topic, id) = key.split_once('/')?;
    Some((topic, id.parse().ok()?, found))
}

fn subscribe(draft: &mut Draft<'_>, input: &Subscribe) -> Result<Subscribed, Error> {
    require_topic(draft, &input.topic.name)?;
    let region = Arc::clone(&draft.region);
    let new = Subscription {
        protocol: input.protocol,
        endpoint: input.endpoint.clone(),
        state: SubscriptionState::Pending,
        token: token(draft),
        principal: input.principal.clone(),
        needs_authentication: false,
        is_raw: false,
        filter_policy: None,
        filter_policy_scope: None,
        delivery_policy: None,
        since: draft.now,
    };
    let with_attributes = |mut subscription: Subscription| {
        for attribute in &input.attributes {
            attribute.clone().set(&mut subscription);
        }
        check_attributes(&subscription).map_err(NotificationError::in_attributes)?;
        Ok::<_, Error>(subscription)
    };
    let mut known = region.subscriptions_of_topic(&input.topic.name);
    let known =
        known.find(|(_, own)| own.protocol == input.protocol && own.endpoint == input.endpoint);
    let arn = |id| SubscriptionArn {
        topic: input.topic.clone(),
        id,
    };
    if let Some((id, known)) = known {
        let key = subscription_key(&input.topic.name, id);
        let live = Subscription::clone(known);
        let subscription = if known.state == SubscriptionState::Deleted {
            let again = with_attributes(new)?;
            draft.replace(key, known.revision, Record::Subscription(again.clone()));
            again
        } else if with_attributes(live.clone())? == live {
            let key = draft.key(Kind::Subscription, key);
            draft.demand(enid_store::Condition::Unchanged(key, known.revision));
            live
        } else {
            let what = "Attributes Reason: Subscription already exists with different attributes";
            return Err(NotificationError::invalid(what).into());
        };
        let arn = arn(id);
        return Ok(Subscribed { arn, subscription });
    }
    let subscription = with_attributes(new)?;
    check_quota(&region)?;
    if subscription.filter_policy.is_some() {
        check_filter_quota(&region, &input.topic.name)?;
    }
    let id = Uuid::from_random(draft.random(), draft.random());
    // That there is no other to the endpoint, and that the quotas are kept.
    draft.demand_none_new(Kind::Subscription);
    let record = Record::Subscription(subscription.clone());
    draft.claim(subscription_key(&input.topic.name, id), record);
    let arn = arn(id);
    Ok(Subscribed { arn, subscription })
}

/// What attributes say together.
fn check_attributes(subscription: &Subscription) -> Result<(), NotificationError> {
    let protocol = subscription.protocol;
    if !protocol.is_http() {
        let name = protocol.name();
        if subscription.is_raw {
            return Err(NotificationError::invalid(format!(
                "RawMessageDelivery: Delivery protocol [{name}] does not support raw message delivery."
            )));
        }
        if subscription.delivery_policy.is_some() {
            return Err(NotificationError::invalid(format!(
                "DeliveryPolicy: Delivery protocol [{name}] does not support a delivery policy."
            )));
        }
    }
    let scope = subscription.filter_policy_scope.unwrap_or_default();
    let policy = subscription.filter_policy.as_deref();
    let policy = policy.and_then(|text| serde_json::from_str(text).ok());
    if scope == FilterPolicyScope::MessageAttributes && policy.is_some_and(|it| is_nested(&it)) {
        let what = "Filter policy scope MessageAttributes does not support nested filter policy";
        return Err(NotificationError::invalid(what));
    }
    Ok(())
}

/// Whether a filter policy asks for members of members. Attributes have none.
fn is_nested(policy: &Value) -> bool {
    let members = policy.as_object().into_iter().flatten();
    members.into_iter().any(|(name, value)| match value {
        Value::Array(parts) if name == "$or" => parts.iter().any(is_nested),
        value => value.is_object(),
    })
}

fn check_quota(region: &RegionState) -> Result<(), NotificationError> {
    let pending = region.subscriptions.values();
    let pending = pending.filter(|own| own.state == SubscriptionState::Pending);
    match pending.count() >= PENDING_MAX {
        true => Err(NotificationError::SubscriptionLimitExceeded),
        false => Ok(()),
    }
}

fn check_filter_quota(region: &RegionState, topic: &str) -> Result<(), NotificationError> {
    let filtered = region.subscriptions_of_topic(topic);
    let filtered = filtered.filter(|(_, own)| own.filter_policy.is_some());
    match filtered.count() >= FILTER_POLICIES_MAX {
        true => Err(NotificationError::FilterPolicyLimitExceeded),
        false => Ok(()),
    }
}

/// Subscriptions of a region that wait for their confirmation, and filter policies of a topic.
/// Source: the AWS General Reference, "Amazon SNS endpoints and quotas".
const PENDING_MAX: usize = 5_000;
const FILTER_POLICIES_MAX: usize = 200;

/// Whether an endpoint is one of its protocol. Whether it may be reached is asked elsewhere.
fn check_endpoint(protocol: Protocol, endpoint: &str) -> Result<(), NotificationError> {
    let is_plain = endpoint.len() <= ENDPOINT_MAX && endpoint.bytes().all(|b| b.is_ascii_graphic());
    let start = match protocol {
        Protocol::Http => "http://",
        Protocol::Https => "https://",
        Protocol::Email | Protocol::EmailJson => {
            return match is_plain && is_mail_address(endpoint) {
                true => Ok(()),
                false => Err(NotificationError::invalid("Email address")),
            };
        }
    };
    if !endpoint.starts_with(start) {
        let what = "Endpoint must match the specified protocol";
        return Err(NotificationError::invalid(what));
    }
    match is_plain && endpoint.len() > start.len() {
        true => Ok(()),
        false => Err(NotificationError::invalid("Endpoint")),
    }
}

/// The plain form only: no quotes, comments, lists or angle brackets, which end an SMTP command.
fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let local_ok =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let domain_ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_dotted = |part: &str| !part.is_empty() && part.split('.').all(|label| !label.is_empty());
    is_dotted(local)
        && is_dotted(domain)
        && local.bytes().all(local_ok)
        && domain.bytes().all(domain_ok)
}

const ENDPOINT_MAX: usize = 2048;

fn token(draft: &mut Draft<'_>) -> String {
    let words: [u64; 4] = std::array::from_fn(|_| draft.random());
    words.iter().map(|word| format!("{word:016x}")).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes subscriptions that were not confirmed, or not restored, in their time.
pub(crate) fn sweep(draft: &mut Draft<'_>) {
    let region = Arc::clone(&draft.region);
    for (key, found) in &region.subscriptions {
        if is_over(found, draft.now) {
            draft.release(Kind::Subscription, key.clone(), found.revision);
        }
    }
}

fn is_over(subscription: &Subscription, now: Timestamp) -> bool {
    let is_waiting = !matches!(subscription.state, SubscriptionState::Confirmed { .. });
    is_waiting && now.0.saturating_sub(subscription.since.0) >= TOKEN_MS
}

/// How long a token confirms: two days.
/// Source: the SNS API Reference, ConfirmSubscription.
const TOKEN_MS: i64 = 2 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateTopic, fixture};

    async fn topic(control: &Control, caller: &Caller) -> TopicArn {
        let input = CreateTopic {
            name: "a".to_owned(),
            ..CreateTopic::default()
        };
        control
            .create_topic(caller, &input)
            .await
            .expect("a new topic")
    }

    fn input(topic: &TopicArn, endpoint: &str, attributes: &[(&str, &str)]) -> Subscribe {
        let protocol = endpoint
            .split_once("://")
            .map_or("email", |(protocol, _)| protocol);
        let read = |(name, value): &(&str, &str)| {
            let read = SubscriptionAttribute::read(name, value).expect("a known attribute");
            read.expect("a valid value")
        };
        Subscribe {
            topic: topic.clone(),
            protocol: Protocol::named(protocol).expect("a known protocol"),
            endpoint: endpoint.to_owned(),
            attributes: attributes.iter().map(read).collect(),
            principal: "arn:aws:iam::123456789012:root".to_owned(),
        }
    }

    const HOOK: &str = "http://127.0.0.1:8080/hook";

    #[tokio::test]
    async fn a_token_confirms_and_the_endpoint_can_leave_and_come_back() {
        let (control, caller) = (fixture::control(), fixture::caller());
        let topic = topic(&control, &caller).await;
        let made = control.subscribe(&caller, &input(&topic, HOOK, &[])).await;
        let Subscribed { arn, subscription } = made.expect("a new subscription");
        assert_eq!(subscription.state, SubscriptionState::Pending);
        for (token, wanted) in [
            ("no token", "Invalid token"),
            ("abc123", "Invalid parameter: Token"),
        ] {
            let wrong = control
                .confirm_subscription(&caller, token, false, false)
                .await;
            assert_eq!(
                wrong.map_err(|error| error.to_string()),
                Err(wanted.to_owned())
            );
        }
        let token = subscription.token;
        for _ in 0..2 {
            let confirmed = control
                .confirm_subscription(&caller, &token, false, false)
                .await;
            assert_eq!(confirmed.as_ref(), Ok(&arn));
        }
        let left = control.leave(&caller, &arn).await.expect("it may leave");
        let left = left.expect("there was one");
        assert_eq!(left.state, SubscriptionState::Deleted);
        assert_ne!(left.token, token);
        assert_eq!(control.leave(&caller, &arn).await, Ok(None));
        let back = control
            .confirm_subscription(&caller, &left.token, false, false)
            .await;
        assert_eq!(back.as_ref(), Ok(&arn));
        assert_eq!(control.unsubscribe(&caller, &arn).await, Ok(()));
        assert_eq!(control.unsubscribe(&caller, &arn).await, Ok(()));
        let state = control.store().state();
        assert_eq!(enid_model::check::check(&state), []);
    }

    #[tokio::test]
    async fn who_asked_for_authentication_is_not_left_without() {
        let (control, caller) = (fixture::control(), fixture::caller());
        let topic = topic(&control, &caller).await;
        let made = control.subscribe(&caller, &input(&topic, HOOK, &[])).await;
        let Subscribed { arn, subscription } = made.expect("a new subscription");
        let token = subscription.token;
        let confirmed = control
            .confirm_subscription(&caller, &token, true, true)
            .await;
        assert_eq!(confirmed.as_ref(), Ok(&arn));
        let left = control.leave(&caller, &arn).await;
        assert_eq!(
            left.map_err(|error| error.code()),
            Err("AuthorizationError")
        );
    }

    #[tokio::test]
    async fn an_endpoint_is_subscribed_once() {
        let (control, caller) = (fixture::control(), fixture::caller());
        let topic = topic(&control, &caller).await;
        let raw = [("RawMessageDelivery", "true")];
        let first = control.subscribe(&caller, &input(&topic, HOOK, &raw)).await;
        let again = control.subscribe(&caller, &input(&topic, HOOK, &raw)).await;
        assert_eq!(first, again);
        let plain = control.subscribe(&caller, &input(&topic, HOOK, &[])).await;
        assert_eq!(first, plain);
        let other = [("RawMessageDelivery", "false")];
        let other = control
            .subscribe(&caller, &input(&topic, HOOK, &other))
            .await;
        assert_eq!(
            other.map_err(|error| error.to_string()),
            Err("Invalid parameter: Attributes Reason: Subscription already exists with different attributes".to_owned())
        );
        control
            .delete_topic(&caller, &topic)
            .await
            .expect("it goes");
        let state = control.store().state();
        let region = state.region(&caller.scope()).expect("it is awake");
        assert!(region.subscriptions.is_empty());
    }

    #[tokio::test]
    async fn attributes_must_fit_one_another() {
        let (control, caller) = (fixture::control(), fixture::caller());
        let topic = topic(&control, &caller).await;
        let nested = r#"{"a":{"b":["c"]}}"#;
        for (endpoint, attributes, wanted) in [
            (
                "a@example.com",
                &[("RawMessageDelivery", "true")][..],
                "Invalid parameter: Attributes Reason: RawMessageDelivery: Delivery protocol [email] does not support raw message delivery.",
            ),
            (
                HOOK,
                &[("FilterPolicy", nested)],
                "Invalid parameter: Attributes Reason: Filter policy scope MessageAttributes does not support nested filter policy",
            ),
        ] {
            let made = control
                .subscribe(&caller, &input(&topic, endpoint, attributes))
                .await;
            assert_eq!(
                made.map_err(|error| error.to_string()),
                Err(wanted.to_owned())
            );
        }
        let scoped = [
            ("FilterPolicyScope", "MessageBody"),
            ("FilterPolicy", nested),
        ];
        let made = control
            .subscribe(&caller, &input(&topic, HOOK, &scoped))
            .await;
        let arn = made.expect("a body may be nested").arn;
        let back = SubscriptionAttribute::FilterPolicyScope(FilterPolicyScope::MessageAttributes);
        let back = control
            .set_subscription_attribute(&caller, &arn, &back)
            .await;
        assert_eq!(back.map_err(|error| error.code()), Err("InvalidParameter"));
    }

    #[test]
    fn endpoints_are_of_their_protocol() {
        for (protocol, endpoint) in [
            (Protocol::Http, "http://127.0.0.1:80/a?b=c"),
            (Protocol::Https, "https://user:pass@example.com/"),
            (Protocol::Email, "a.b+c@mail.example.com"),
        ] {
            assert_eq!(check_endpoint(protocol, endpoint), Ok(()), "{endpoint}");
        }
        for (protocol, endpoint) in [
            (Protocol::Http, "https://example.com/"),
            (Protocol::Http, "http://"),
            (Protocol::Http, "http://a/\r\nX: y"),
            (Protocol::Email, "nobody"),
            (Protocol::Email, "a@b>c"),
            (Protocol::Email, "a b@c"),
            (Protocol::Email, "a@b..c"),
            (Protocol::Email, "a@b@c"),
        ] {
            let code = check_endpoint(protocol, endpoint).map_err(|error| error.code());
            assert_eq!(code, Err("InvalidParameter"), "{endpoint}");
        }
    }
}
