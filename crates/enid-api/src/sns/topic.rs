//! Topics.

use std::collections::BTreeMap;

use enid_control::{CreateTopic, TopicAttribute, check_owner};
use enid_model::Tags;
use enid_model::delivery_policy::{EffectivePolicy, TopicDeliveryPolicy};
use enid_model::state::RegionState;
use enid_model::subscription::SubscriptionState;
use enid_model::topic::{Topic, TopicArn};
use serde_json::json;

use super::{Sns, invalid, page, topic_arn, unknown_attribute};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::sns::request::{
    CreateTopicRequest, DeleteTopicRequest, GetTopicAttributesRequest, ListTopicsRequest,
    SetTopicAttributesRequest, Tag,
};
use crate::generated::sns::response::{
    self, CreateTopicResponse, DeleteTopicResponse, GetTopicAttributesResponse, ListTopicsResponse,
    SetTopicAttributesResponse,
};
use crate::wire::text::Text;

/// CreateTopic.
pub(super) async fn create_topic(
    sns: &Sns,
    context: &Context,
    request: CreateTopicRequest,
) -> Result<CreateTopicResponse, ApiError> {
    let mut attributes = Vec::new();
    for (name, value) in &request.attributes {
        // What says that a topic is no FIFO topic says nothing.
        if name == "FifoTopic" && value == "false" {
            continue;
        }
        let read = TopicAttribute::read(name, value);
        let read = read.ok_or_else(|| {
            unknown_attribute("CreateTopic", "Attributes", name, OTHER_ATTRIBUTES)
        })?;
        attributes.push(read.map_err(|error| super::refused(error.in_attributes()))?);
    }
    let input = CreateTopic {
        name: request.name,
        attributes,
        tags: tags(request.tags)?,
    };
    let arn = sns.control.create_topic(&context.caller(), &input).await?;
    Ok(CreateTopicResponse {
        topic_arn: Some(Text::display(arn)),
    })
}

/// DeleteTopic.
pub(super) async fn delete_topic(
    sns: &Sns,
    context: &Context,
    request: DeleteTopicRequest,
) -> Result<DeleteTopicResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::topic_arn(&caller, &request.topic_arn, "TopicArn")?;
    sns.control.delete_topic(&caller, &arn).await?;
    Ok(DeleteTopicResponse {})
}

/// ListTopics.
pub(super) async fn list_topics(
    sns: &Sns,
    context: &Context,
    request: ListTopicsRequest,
) -> Result<ListTopicsResponse, ApiError> {
    let region = sns.region(&context.caller()).await?;
    let names = region.topics.keys().map(|name| {
        let arn = Text::display(topic_arn(context, name));
        let topic_arn = Some(arn);
        (&**name, response::Topic { topic_arn })
    });
    let (topics, next_token) = page::take(names, request.next_token.as_deref())?;
    Ok(ListTopicsResponse { topics, next_token })
}

/// GetTopicAttributes.
pub(super) async fn get_topic_attributes(
    sns: &Sns,
    context: &Context,
    request: GetTopicAttributesRequest,
) -> Result<GetTopicAttributesResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::topic_arn(&caller, &request.topic_arn, "TopicArn")?;
    check_owner(&caller, &arn, "GetTopicAttributes")?;
    let region = sns.region(&caller).await?;
    let topic = enid_control::topic_named(&region, &arn.name)?;
    Ok(GetTopicAttributesResponse {
        attributes: attributes(&region, &arn, topic),
    })
}

/// SetTopicAttributes.
pub(super) async fn set_topic_attributes(
    sns: &Sns,
    context: &Context,
    request: SetTopicAttributesRequest,
) -> Result<SetTopicAttributesResponse, ApiError> {
    let caller = context.caller();
    let arn = enid_control::topic_arn(&caller, &request.topic_arn, "TopicArn")?;
    let name = &request.attribute_name;
    let value = request.attribute_value.unwrap_or_default();
    let attribute = TopicAttribute::read(name, &value).ok_or_else(|| {
        unknown_attribute(
            "SetTopicAttributes",
            "AttributeName",
            name,
            OTHER_ATTRIBUTES,
        )
    })?;
    let attribute = attribute.map_err(super::refused)?;
    sns.control
        .set_topic_attribute(&caller, &arn, &attribute)
        .await?;
    Ok(SetTopicAttributesResponse {})
}

/// Attributes of topics that AWS has and nothing here enforces.
const OTHER_ATTRIBUTES: &[&str] = &[
    "ApplicationFailureFeedbackRoleArn",
    "ApplicationSuccessFeedbackRoleArn",
    "ApplicationSuccessFeedbackSampleRate",
    "ArchivePolicy",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "FifoThroughputScope",
    "FifoTopic",
    "FirehoseFailureFeedbackRoleArn",
    "FirehoseSuccessFeedbackRoleArn",
    "FirehoseSuccessFeedbackSampleRate",
    "HTTPFailureFeedbackRoleArn",
    "HTTPSuccessFeedbackRoleArn",
    "HTTPSuccessFeedbackSampleRate",
    "KmsMasterKeyId",
    "LambdaFailureFeedbackRoleArn",
    "LambdaSuccessFeedbackRoleArn",
    "LambdaSuccessFeedbackSampleRate",
    "Policy",
    "SQSFailureFeedbackRoleArn",
    "SQSSuccessFeedbackRoleArn",
    "SQSSuccessFeedbackSampleRate",
    "TracingConfig",
];

/// A client's tags.
pub(super) fn tags(tags: Vec<Tag>) -> Result<Tags, ApiError> {
    let mut read = Tags::new();
    for Tag { key, value } in tags {
        if read.insert(key, value).is_some() {
            return Err(invalid("Duplicated keys are not allowed."));
        }
    }
    Ok(read)
}

fn attributes(region: &RegionState, arn: &TopicArn, topic: &Topic) -> BTreeMap<String, Text> {
    let (mut confirmed, mut deleted, mut pending) = (0, 0, 0);
    for (_, subscription) in region.subscriptions_of_topic(&arn.name) {
        match subscription.state {
            SubscriptionState::Confirmed { .. } => confirmed += 1,
            SubscriptionState::Deleted => deleted += 1,
            SubscriptionState::Pending => pending += 1,
        }
    }
    let own = topic.delivery_policy.as_ref();
    let mut all = vec![
        ("DisplayName", Text::from(topic.display_name.as_str())),
        ("EffectiveDeliveryPolicy", Text::display(effective(own))),
        ("Owner", Text::display(arn.account())),
        ("Policy", Text::display(policy(arn))),
        ("SubscriptionsConfirmed", Text::display(confirmed)),
        ("SubscriptionsDeleted", Text::display(deleted)),
        ("SubscriptionsPending", Text::display(pending)),
        ("TopicArn", Text::display(arn)),
    ];
    if let Some(own) = own.and_then(|own| serde_json::to_string(own).ok()) {
        all.push(("DeliveryPolicy", Text::display(own)));
    }
    if let Some(version) = topic.signature_version {
        all.push(("SignatureVersion", Text::from(version.number())));
    }
    let all = all
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    all.collect()
}

/// The delivery policy in force, with everything said.
fn effective(own: Option<&TopicDeliveryPolicy>) -> serde_json::Value {
    let policy = EffectivePolicy::of(own, None);
    let overruled = own.is_some_and(|own| own.http.disable_subscription_overrides);
    let mut http = json!({
        "defaultHealthyRetryPolicy": policy.retries,
        "disableSubscriptionOverrides": overruled,
        "defaultRequestPolicy": {"headerContentType": policy.content_type},
    });
    if let (Some(throttle), Some(http)) = (policy.throttle, http.as_object_mut()) {
        http.insert("defaultThrottlePolicy".to_owned(), json!(throttle));
    }
    json!({"http": http})
}

/// AWS's default policy, which every topic has: its account may do everything with it, and nobody else
/// anything.
fn policy(arn: &TopicArn) -> serde_json::Value {
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": [
                "SNS:GetTopicAttributes",
                "SNS:SetTopicAttributes",
                "SNS:AddPermission",
                "SNS:RemovePermission",
                "SNS:DeleteTopic",
                "SNS:Subscribe",
                "SNS:ListSubscriptionsByTopic",
                "SNS:Publish",
            ],
            "Resource": arn.to_string(),
            "Condition": {"StringEquals": {"AWS:SourceOwner": arn.account().to_string()}},
        }],
    })
}
