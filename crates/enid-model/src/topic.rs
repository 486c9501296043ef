//! Topics of SNS. Their messages are no region state: they wait in the outbox until they are delivered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::delivery_policy::TopicDeliveryPolicy;
use crate::key::{AccountId, RegionName, Scope};
use crate::region::Region;
use crate::time::Timestamp;
use crate::uuid::Uuid;

/// A topic. Its key is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Tells it from every other topic that ever had its name: messages belong to it.
    pub uid: Uuid,
    /// What e-mails name as their sender.
    #[serde(default)]
    pub display_name: String,
    /// How deliveries over HTTP are retried, if it is not as usual.
    #[serde(default)]
    pub delivery_policy: Option<TopicDeliveryPolicy>,
    /// How messages are signed, if it was said.
    #[serde(default)]
    pub signature_version: Option<SignatureVersion>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// With which hash messages are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureVersion {
    /// RSA with SHA-1.
    #[default]
    #[serde(rename = "1")]
    Sha1,
    /// RSA with SHA-256.
    #[serde(rename = "2")]
    Sha256,
}

impl SignatureVersion {
    /// The version of this number.
    #[must_use]
    pub fn numbered(number: &str) -> Option<Self> {
        match number {
            "1" => Some(Self::Sha1),
            "2" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::Sha1 => "1",
            Self::Sha256 => "2",
        }
    }
}

/// The ARN of a topic, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicArn {
    /// Where the topic is, and whose.
    pub scope: Scope,
    /// Its name.
    pub name: String,
}

impl TopicArn {
    /// The topic that an ARN names. `None` if it is the ARN of something else, or of nothing.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let (topic, more) = Self::parse_prefix(arn)?;
        more.is_none().then_some(topic)
    }

    /// The topic that an ARN starts with, and what follows it after another colon.
    #[must_use]
    pub fn parse_prefix(arn: &str) -> Option<(Self, Option<&str>)> {
        let mut parts = arn.splitn(7, ':');
        let mut next = || parts.next();
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let (region, account, name) = (Region::named(next()?)?, next()?.parse().ok()?, next()?);
        if scheme != "arn" || service != "sns" || partition != region.partition() || name.is_empty()
        {
            return None;
        }
        let scope = Scope {
            account,
            region: RegionName::new(region.name),
        };
        let name = name.to_owned();
        Some((Self { scope, name }, parts.next()))
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.scope.account
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { account, region } = &self.scope;
        let partition = Region::named(region.as_str()).map_or("aws", Region::partition);
        write!(f, "arn:{partition}:sns:{region}:{account}:{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_topics_are_read_as_they_are_written() {
        for text in [
            "arn:aws:sns:eu-west-1:123456789012:alarms",
            "arn:aws-cn:sns:cn-north-1:000000000001:a_b-c",
        ] {
            let arn = TopicArn::parse(text);
            assert_eq!(arn.map(|arn| arn.to_string()).as_deref(), Some(text));
        }
        for text in [
            "",
            "alarms",
            "arn:aws:sqs:eu-west-1:123456789012:alarms",
            "arn:aws:sns:eu-west-9:123456789012:alarms",
            "arn:aws-cn:sns:eu-west-1:123456789012:alarms",
            "arn:aws:sns:eu-west-1:12345:alarms",
            "arn:aws:sns:eu-west-1:123456789012:",
            "arn:aws:sns:eu-west-1:123456789012:alarms:more",
        ] {
            assert_eq!(TopicArn::parse(text), None, "{text}");
        }
        let subscription = "arn:aws:sns:eu-west-1:123456789012:alarms:more:still";
        let parsed = TopicArn::parse_prefix(subscription);
        assert_eq!(parsed.and_then(|(_, more)| more), Some("more:still"));
    }
}
