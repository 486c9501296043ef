//! SNS: each operation's request becomes a call of the control plane or of what delivers messages, and
//! what that returns its answer. One file per resource.
//!
//! Two operations are asked by those who have an endpoint and no key: their requests are not signed, and
//! come from the links in messages ([`Sns::visit`]).

mod message;
mod page;
mod subscription;
mod tag;
mod topic;
pub mod visit;

use std::sync::Arc;

use enid_control::{Caller, Control, NotificationError};
use enid_model::state::RegionState;
use enid_telemetry::notify::{Notify, PublishError};

use crate::context::Context;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;

/// The operations of SNS.
pub struct Sns {
    control: Arc<Control>,
    notify: Notify,
}

impl Sns {
    /// Topics of a control plane, whose messages are delivered by this.
    #[must_use]
    pub fn new(control: Arc<Control>, notify: Notify) -> Self {
        Self { control, notify }
    }

    /// What a request is about, for the policy of its key: a topic. What concerns a subscription is a
    /// matter of its topic in AWS as well.
    #[must_use]
    pub fn asked(&self, context: &Context, request: &Request) -> Asked {
        let one = |arn: &str| Asked::about([arn.to_owned()]);
        let topic_of = |subscription: &str| one(topic_of(subscription));
        match request {
            Request::ConfirmSubscription(it) => one(&it.topic_arn),
            Request::CreateTopic(it) => one(&topic_arn(context, &it.name)),
            Request::DeleteTopic(it) => one(&it.topic_arn),
            Request::GetSubscriptionAttributes(it) => topic_of(&it.subscription_arn),
            Request::GetTopicAttributes(it) => one(&it.topic_arn),
            Request::ListSubscriptions(_) | Request::ListTopics(_) => Asked::default(),
            Request::ListSubscriptionsByTopic(it) => one(&it.topic_arn),
            Request::ListTagsForResource(it) => one(&it.resource_arn),
            Request::Publish(it) => {
                let arn = it.topic_arn.as_deref().or(it.target_arn.as_deref());
                one(arn.unwrap_or_default())
            }
            Request::PublishBatch(it) => one(&it.topic_arn),
            Request::SetSubscriptionAttributes(it) => topic_of(&it.subscription_arn),
            Request::SetTopicAttributes(it) => one(&it.topic_arn),
            Request::Subscribe(it) => Asked {
                resources: vec![it.topic_arn.clone()],
                facts: vec![
                    ("sns:endpoint", it.endpoint.clone().unwrap_or_default()),
                    ("sns:protocol", it.protocol.clone()),
                ],
            },
            Request::TagResource(it) => one(&it.resource_arn),
            Request::Unsubscribe(it) => topic_of(&it.subscription_arn),
            Request::UntagResource(it) => one(&it.resource_arn),
        }
    }

    /// The caller's region.
    async fn region(&self, caller: &Caller) -> Result<Arc<RegionState>, ApiError> {
        Ok(self.control.read(caller).await?)
    }

    /// Runs what writes messages on a thread that may wait for the disk.
    async fn posting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Notify) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let notify = self.notify.clone();
        let done = tokio::task::spawn_blocking(move || work(&notify)).await;
        done.map_err(ApiError::internal)?
            .map_err(|error| match error {
                PublishError::MalformedArn(_) => invalid("TopicArn"),
                PublishError::NotFound(_) => refused(NotificationError::TopicNotFound),
                PublishError::Subject => invalid("Subject"),
                PublishError::Full => ApiError::new("Throttled", 429, "Rate exceeded".to_owned()),
                PublishError::Store(error) => ApiError::internal(error),
            })
    }
}

/// An error of the control plane.
fn refused(error: NotificationError) -> ApiError {
    enid_control::Error::from(error).into()
}

/// A parameter whose value is none that it may have; the words may give a reason.
fn invalid(what: impl Into<Box<str>>) -> ApiError {
    refused(NotificationError::invalid(what))
}

/// The ARN of a topic of the caller's.
fn topic_arn(context: &Context, name: &str) -> String {
    let (partition, region) = (context.region.partition(), context.region.name);
    let account = context.account;
    format!("arn:{partition}:sns:{region}:{account}:{name}")
}

/// The topic's ARN in a subscription's.
fn topic_of(subscription: &str) -> &str {
    subscription
        .rsplit_once(':')
        .map_or(subscription, |(topic, _)| topic)
}

/// An attribute that AWS has and Enid has not, or that nobody has.
fn unknown_attribute(operation: &str, parameter: &str, name: &str, of_aws: &[&str]) -> ApiError {
    match of_aws.contains(&name) {
        true => ApiError::value_not_implemented(operation, parameter, name),
        false if parameter == "AttributeName" => invalid("AttributeName"),
        false => {
            let short: String = name.chars().take(100).collect();
            invalid(format!("{parameter} Reason: Unknown attribute {short}"))
        }
    }
}

handlers! {
    Sns in crate::generated::sns::operations {
        ConfirmSubscription => subscription::confirm_subscription,
        CreateTopic => topic::create_topic,
        DeleteTopic => topic::delete_topic,
        GetSubscriptionAttributes => subscription::get_subscription_attributes,
        GetTopicAttributes => topic::get_topic_attributes,
        ListSubscriptions => subscription::list_subscriptions,
        ListSubscriptionsByTopic => subscription::list_subscriptions_by_topic,
        ListTagsForResource => tag::list_tags_for_resource,
        ListTopics => topic::list_topics,
        Publish => message::publish,
        PublishBatch => message::publish_batch,
        SetSubscriptionAttributes => subscription::set_subscription_attributes,
        SetTopicAttributes => topic::set_topic_attributes,
        Subscribe => subscription::subscribe,
        TagResource => tag::tag_resource,
        Unsubscribe => subscription::unsubscribe,
        UntagResource => tag::untag_resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_refused_by_name() {
        let refuse = |parameter: &str, name: &str| {
            let error = unknown_attribute("CreateTopic", parameter, name, &["KmsMasterKeyId"]);
            format!("{}: {}", error.code(), error.message())
        };
        assert_eq!(
            refuse("Attributes", "KmsMasterKeyId"),
            "UnsupportedOperation: Enid does not implement the value 'KmsMasterKeyId' of the parameter Attributes of CreateTopic."
        );
        assert_eq!(
            refuse("Attributes", "Colour"),
            "InvalidParameter: Invalid parameter: Attributes Reason: Unknown attribute Colour"
        );
        assert_eq!(
            refuse("AttributeName", "Colour"),
            "InvalidParameter: Invalid parameter: AttributeName"
        );
    }

    #[test]
    fn a_subscription_is_a_matter_of_its_topic() {
        let arn = "arn:aws:sns:eu-west-1:123456789012:a:ffffffff-ffff-4fff-8000-000000000007";
        assert_eq!(topic_of(arn), "arn:aws:sns:eu-west-1:123456789012:a");
    }
}
