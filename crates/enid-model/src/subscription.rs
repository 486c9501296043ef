//! Subscriptions to topics: where messages go, which of them, and in which form.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::delivery_policy::SubscriptionDeliveryPolicy;
use crate::time::Timestamp;
use crate::topic::TopicArn;
use crate::uuid::Uuid;

/// A subscription. Its key is its topic's name, a slash, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// How messages are delivered.
    pub protocol: Protocol,
    /// Where to: a URL or a mail address.
    pub endpoint: String,
    /// Whether whoever has the endpoint wants them.
    pub state: SubscriptionState,
    /// What proves that a confirmation comes from whoever has the endpoint.
    pub token: String,
    /// Who subscribed, as an ARN.
    pub principal: String,
    /// Whether only a signed request ends it.
    #[serde(default)]
    pub needs_authentication: bool,
    /// Whether messages are delivered bare, without the JSON around them.
    #[serde(default)]
    pub is_raw: bool,
    /// Which messages are delivered; all of them if it does not say.
    #[serde(default)]
    pub filter_policy: Option<String>,
    /// What the filter policy looks at, if it was said.
    #[serde(default)]
    pub filter_policy_scope: Option<FilterPolicyScope>,
    /// How deliveries over HTTP are retried, if it is not as the topic says.
    #[serde(default)]
    pub delivery_policy: Option<SubscriptionDeliveryPolicy>,
    /// When its state was last changed.
    pub since: Timestamp,
}

/// The protocols that Enid delivers by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A mail with the message as its text.
    Email,
    /// A mail with the message and what belongs to it as JSON.
    EmailJson,
    /// An HTTP request.
    Http,
    /// An HTTP request over TLS.
    Https,
}

impl Protocol {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::EmailJson => "email-json",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The protocol of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Email, Self::EmailJson, Self::Http, Self::Https]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }

    /// Whether deliveries are HTTP requests.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// How far a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// Messages are delivered.
    Confirmed {
        /// Whether the confirmation was a signed request.
        was_authenticated: bool,
    },
    /// Ended by its endpoint, which can take that back with a new token for a while.
    Deleted,
    /// Not confirmed yet.
    Pending,
}

/// What a filter policy looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterPolicyScope {
    /// The attributes beside the message.
    #[default]
    MessageAttributes,
    /// The message itself, which is JSON.
    MessageBody,
}

impl FilterPolicyScope {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageAttributes => "MessageAttributes",
            Self::MessageBody => "MessageBody",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::MessageAttributes, Self::MessageBody]
            .into_iter()
            .find(|scope| scope.name() == name)
    }
}

/// The ARN of a subscription, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriptionArn {
    /// The topic.
    pub topic: TopicArn,
    /// The subscription's own id.
    pub id: Uuid,
}

impl SubscriptionArn {
    /// The subscription that an ARN names.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let (topic, id) = TopicArn::parse_prefix(arn)?;
        let id = id?.parse().ok()?;
        Some(Self { topic, id })
    }

    /// The name in its record's key.
    #[must_use]
    pub fn key(&self) -> String {
        subscription_key(&self.topic.name, self.id)
    }
}

impl fmt::Display for SubscriptionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.id)
    }
}

/// The name in a subscription's key.
#[must_use]
pub fn subscription_key(topic: &str, id: Uuid) -> String {
    format!("{topic}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_subscriptions_are_read_as_they_are_written() {
        let text = "arn:aws:sns:eu-west-1:123456789012:alarms:ffffffff-ffff-4fff-8000-000000000007";
        let arn = SubscriptionArn::parse(text);
        assert_eq!(arn.as_ref().map(ToString::to_string).as_deref(), Some(text));
        let key = arn.map(|arn| arn.key());
        assert_eq!(
            key.as_deref(),
            Some("alarms/ffffffff-ffff-4fff-8000-000000000007")
        );
        for text in [
            "arn:aws:sns:eu-west-1:123456789012:alarms",
            "arn:aws:sns:eu-west-1:123456789012:alarms:7",
        ] {
            assert_eq!(SubscriptionArn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn protocols_and_scopes_go_by_their_names() {
        assert_eq!(Protocol::named("email-json"), Some(Protocol::EmailJson));
        assert_eq!(Protocol::named("sqs"), None);
        let body = FilterPolicyScope::named("MessageBody");
        assert_eq!(body, Some(FilterPolicyScope::MessageBody));
        assert_eq!(FilterPolicyScope::named("messagebody"), None);
    }
}
