//! Topics of SNS: names, attributes and tags.

use enid_model::Tags;
use enid_model::delivery_policy::TopicDeliveryPolicy;
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::region::Region;
use enid_model::state::{RegionState, Stored};
use enid_model::subscription::subscription_key;
use enid_model::topic::{SignatureVersion, Topic, TopicArn};
use enid_model::uuid::Uuid;
use enid_store::Condition;

use crate::{Caller, Control, Draft, Error, NotificationError};

/// What CreateTopic takes.
#[derive(Debug, Clone, Default)]
pub struct CreateTopic {
    /// Its name, unique in the region.
    pub name: String,
    /// Attributes for it.
    pub attributes: Vec<TopicAttribute>,
    /// Tags for it.
    pub tags: Tags,
}

/// An attribute of a topic that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAttribute {
    /// How deliveries over HTTP are retried.
    DeliveryPolicy(Option<TopicDeliveryPolicy>),
    /// What e-mails name as their sender.
    DisplayName(String),
    /// How messages are signed.
    SignatureVersion(SignatureVersion),
}

impl TopicAttribute {
    /// The attribute of a name that Enid enforces, from a client's text; `None` for any other name.
    pub fn read(name: &str, value: &str) -> Option<Result<Self, NotificationError>> {
        Some(match name {
            "DeliveryPolicy" => {
                crate::delivery_policy::topic_delivery_policy(value).map(Self::DeliveryPolicy)
            }
            "DisplayName" => display_name(value).map(Self::DisplayName),
            "SignatureVersion" => SignatureVersion::numbered(value)
                .map(Self::SignatureVersion)
                .ok_or_else(|| NotificationError::invalid("SignatureVersion")),
            _ => return None,
        })
    }

    fn set(self, topic: &mut Topic) {
        match self {
            Self::DeliveryPolicy(policy) => topic.delivery_policy = policy,
            Self::DisplayName(name) => topic.display_name = name,
            Self::SignatureVersion(version) => topic.signature_version = Some(version),
        }
    }
}

fn display_name(value: &str) -> Result<String, NotificationError> {
    // It becomes a header of e-mails.
    let is_short = value.chars().count() <= DISPLAY_NAME_MAX;
    match is_short && !value.chars().any(char::is_control) {
        true => Ok(value.to_owned()),
        false => Err(NotificationError::invalid("DisplayName")),
    }
}

const DISPLAY_NAME_MAX: usize = 100;

impl Control {
    /// CreateTopic. A topic of this name that is as it is asked for is the answer as well.
    pub async fn create_topic(
        &self,
        caller: &Caller,
        input: &CreateTopic,
    ) -> Result<TopicArn, Error> {
        if !is_topic_name(&input.name) {
            return Err(NotificationError::invalid("Topic Name").into());
        }
        check_tags(&input.tags)?;
        self.transact(caller, |draft| create(draft, input)).await?;
        Ok(TopicArn {
            scope: caller.scope(),
            name: input.name.clone(),
        })
    }

    /// DeleteTopic, with its subscriptions. That there is none is no error.
    pub async fn delete_topic(&self, caller: &Caller, arn: &TopicArn) -> Result<(), Error> {
        check_owner(caller, arn, "DeleteTopic")?;
        self.transact(caller, |draft| {
            let region = std::sync::Arc::clone(&draft.region);
            let Some(topic) = region.topics.get(&*arn.name) else {
                return Ok(());
            };
            for (id, found) in region.subscriptions_of_topic(&arn.name) {
                let key = subscription_key(&arn.name, id);
                draft.release(Kind::Subscription, key, found.revision);
            }
            draft.demand_none_new(Kind::Subscription);
            draft.release(Kind::Topic, &*arn.name, topic.revision);
            Ok(())
        })
        .await
    }

    /// SetTopicAttributes.
    pub async fn set_topic_attribute(
        &self,
        caller: &Caller,
        arn: &TopicArn,
        attribute: &TopicAttribute,
    ) -> Result<(), Error> {
        check_owner(caller, arn, "SetTopicAttributes")?;
        self.edit_topic(caller, arn, |topic| {
            attribute.clone().set(topic);
            Ok(())
        })
        .await
    }

    /// TagResource.
    pub async fn tag_topic(
        &self,
        caller: &Caller,
        arn: &TopicArn,
        tags: &Tags,
    ) -> Result<(), Error> {
        check_tags(tags)?;
        let edited = self.edit_topic(caller, arn, |topic| {
            let new = tags.iter().map(|(key, value)| (key.clone(), value.clone()));
            topic.tags.extend(new);
            match topic.tags.len() > TAGS_MAX {
                true => Err(NotificationError::TagLimitExceeded.into()),
                false => Ok(()),
            }
        });
        edited.await.map_err(as_resource)
    }

    /// UntagResource.
    pub async fn untag_topic(
        &self,
        caller: &Caller,
        arn: &TopicArn,
        keys: &[String],
    ) -> Result<(), Error> {
        let edited = self.edit_topic(caller, arn, |topic| {
            topic.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        });
        edited.await.map_err(as_resource)
    }

    async fn edit_topic(
        &self,
        caller: &Caller,
        arn: &TopicArn,
        edit: impl Fn(&mut Topic) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let read = require_topic(draft, &arn.name)?;
            let mut new = Topic::clone(&read);
            edit(&mut new)?;
            if new != *read {
                draft.replace(&*arn.name, read.revision, Record::Topic(new));
            }
            Ok(())
        })
        .await
    }
}

/// The operations on tags say it in their own words that there is no such topic.
fn as_resource(error: Error) -> Error {
    match error {
        Error::NotificationError(NotificationError::TopicNotFound) => {
            NotificationError::ResourceNotFound.into()
        }
        other => other,
    }
}

/// The topic with a name.
pub fn topic_named<'a>(region: &'a RegionState, name: &str) -> Result<&'a Stored<Topic>, Error> {
    let found = region.topics.get(name);
    found.ok_or_else(|| NotificationError::TopicNotFound.into())
}

/// The topic with a name, which must still be the same when the operation commits.
pub(crate) fn require_topic(draft: &mut Draft<'_>, name: &str) -> Result<Stored<Topic>, Error> {
    let found = topic_named(&draft.region, name)?.clone();
    let key = draft.key(Kind::Topic, name);
    draft.demand(Condition::Unchanged(key, found.revision));
    Ok(found)
}

/// A client's ARN of a topic of the region that it asks; `parameter` names it in errors.
pub fn topic_arn(caller: &Caller, text: &str, parameter: &str) -> Result<TopicArn, Error> {
    check_elements(text, parameter)?;
    let arn = TopicArn::parse(text);
    let arn = arn.filter(|arn| arn.scope.region == caller.scope().region);
    arn.ok_or_else(|| NotificationError::invalid(parameter).into())
}

/// Whether an ARN has as many parts as any has.
pub(crate) fn check_elements(text: &str, parameter: &str) -> Result<(), Error> {
    let count = text.split(':').count();
    if count >= ARN_ELEMENTS {
        return Ok(());
    }
    let what = format!(
        "{parameter} Reason: An ARN must have at least {ARN_ELEMENTS} elements, not {count}"
    );
    Err(NotificationError::invalid(what).into())
}

const ARN_ELEMENTS: usize = 6;

/// A topic is its account's alone: that is what AWS's default policy says, which none here replaces.
pub fn check_owner(caller: &Caller, arn: &TopicArn, action: &'static str) -> Result<(), Error> {
    if arn.scope.account == caller.account {
        return Ok(());
    }
    let error = NotificationError::NotAuthorized {
        principal: root_arn(caller).into(),
        action,
        arn: arn.to_string().into(),
    };
    Err(error.into())
}

/// The ARN of an account's root user.
pub(crate) fn root_arn(caller: &Caller) -> String {
    let partition = Region::partition(caller.region);
    format!("arn:{partition}:iam::{}:root", caller.account)
}

fn create(draft: &mut Draft<'_>, input: &CreateTopic) -> Result<(), Error> {
    let region = std::sync::Arc::clone(&draft.region);
    if let Some(known) = region.topics.get(&*input.name) {
        let mut wanted = Topic::clone(known);
        for attribute in &input.attributes {
            attribute.clone().set(&mut wanted);
        }
        if wanted != **known {
            let what = "Attributes Reason: Topic already exists with different attributes";
            return Err(NotificationError::invalid(what).into());
        }
        let mut tags = input.tags.iter();
        if !tags.all(|(key, value)| known.tags.get(key) == Some(value)) {
            let what = "Tags Reason: Topic already exists with different tags";
            return Err(NotificationError::invalid(what).into());
        }
        let key = draft.key(Kind::Topic, &*input.name);
        draft.demand(Condition::Unchanged(key, known.revision));
        return Ok(());
    }
    if region.topics.len() >= TOPICS_MAX {
        return Err(NotificationError::TopicLimitExceeded.into());
    }
    let mut topic = Topic {
        uid: Uuid::from_random(draft.random(), draft.random()),
        display_name: String::new(),
        delivery_policy: None,
        signature_version: None,
        created_at: draft.now,
        tags: input.tags.clone(),
    };
    for attribute in &input.attributes {
        attribute.clone().set(&mut topic);
    }
    draft.claim(&*input.name, Record::Topic(topic));
    Ok(())
}

fn is_topic_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_allowed)
}

const NAME_MAX: usize = 256;

/// Topics in a region.
/// Source: the AWS General Reference, "Amazon SNS endpoints and quotas".
const TOPICS_MAX: usize = 100_000;

fn check_tags(tags: &Tags) -> Result<(), Error> {
    for (key, value) in tags {
        let length = key.chars().count();
        let is_reserved = key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if length == 0 || length > TAG_KEY_MAX || is_reserved {
            return Err(NotificationError::invalid("Tags Reason: invalid tag key").into());
        }
        if value.chars().count() > TAG_VALUE_MAX {
            return Err(NotificationError::invalid("Tags Reason: invalid tag value").into());
        }
    }
    match tags.len() > TAGS_MAX {
        true => Err(NotificationError::TagLimitExceeded.into()),
        false => Ok(()),
    }
}

const TAGS_MAX: usize = 50;
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn input(name: &str, attributes: &[(&str, &str)]) -> CreateTopic {
        let read = |(name, value): &(&str, &str)| {
            let read = TopicAttribute::read(name, value).expect("a known attribute");
            read.expect("a valid value")
        };
        CreateTopic {
            name: name.to_owned(),
            attributes: attributes.iter().map(read).collect(),
            tags: Tags::new(),
        }
    }

    #[tokio::test]
    async fn a_topic_is_made_once() {
        let (control, caller) = (fixture::control(), fixture::caller());
        let made = control.create_topic(&caller, &input("a", &[])).await;
        let arn = made.expect("a new topic");
        assert_eq!(arn.to_string(), "arn:aws:sns:eu-west-1:123456789012:a");
        let again = control.create_topic(&caller, &input("a", &[])).await;
        assert_eq!(again.as_ref(), Ok(&arn));
        let named = input("a", &[("DisplayName", "x")]);
        let other = control.create_topic(&caller, &named).await;
        assert_eq!(
            other.map_err(|error| error.to_string()),
            Err("Invalid parameter: Attributes Reason: Topic already exists with different attributes".to_owned())
        );
        let mut tagged = input("a", &[]);
        tagged.tags.insert("k".to_owned(), "v".to_owned());
        let tagged = control.create_topic(&caller, &tagged).await;
        assert_eq!(
            tagged.map_err(|error| error.to_string()),
            Err(
                "Invalid parameter: Tags Reason: Topic already exists with different tags"
                    .to_owned()
            )
        );
        assert_eq!(control.delete_topic(&caller, &arn).await, Ok(()));
        assert_eq!(control.delete_topic(&caller, &arn).await, Ok(()));
        let gone = control
            .set_topic_attribute(&caller, &arn, &TopicAttribute::DisplayName(String::new()))
            .await;
        assert_eq!(gone, Err(NotificationError::TopicNotFound.into()));
        let untagged = control.untag_topic(&caller, &arn, &[]).await;
        assert_eq!(untagged, Err(NotificationError::ResourceNotFound.into()));
    }

    #[tokio::test]
    async fn names_arns_and_owners_are_checked() {
        let (control, caller) = (fixture::control(), fixture::caller());
        for name in ["", "a.fifo", "a b", &"x".repeat(257)] {
            let error = control.create_topic(&caller, &input(name, &[])).await;
            let message = error.map_err(|error| error.to_string());
            assert_eq!(
                message,
                Err("Invalid parameter: Topic Name".to_owned()),
                "{name}"
            );
        }
        for (text, wanted) in [
            (
                "x:y",
                "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 2",
            ),
            (
                "arn:aws:sns:eu-west-2:123456789012:a",
                "Invalid parameter: TopicArn",
            ),
        ] {
            let error = topic_arn(&caller, text, "TopicArn");
            assert_eq!(
                error.map_err(|error| error.to_string()),
                Err(wanted.to_owned())
            );
        }
        let foreign = topic_arn(&caller, "arn:aws:sns:eu-west-1:000000000001:a", "TopicArn");
        let foreign = foreign.expect("a well-formed ARN");
        let refused = control.delete_topic(&caller, &foreign).await;
        assert_eq!(
            refused.map_err(|error| error.code()),
            Err("AuthorizationError")
        );
    }

    #[test]
    fn attributes_that_nothing_enforces_are_not_read() {
        assert_eq!(TopicAttribute::read("KmsMasterKeyId", "x"), None);
        let wrong = TopicAttribute::read("SignatureVersion", "3");
        assert!(matches!(wrong, Some(Err(_))));
        let injected = TopicAttribute::read("DisplayName", "a\r\nBcc: b");
        assert!(matches!(injected, Some(Err(_))));
    }
}
