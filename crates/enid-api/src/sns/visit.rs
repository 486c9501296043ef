//! The links in messages: requests that are not signed, from those who have an endpoint and no key.
//!
//! What they may do is in what they show: a token that only the endpoint was told, or the ARN of a
//! subscription, whose id nobody guesses. They bring no region to life.

use std::sync::Arc;

use enid_control::Caller;
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_model::subscription::SubscriptionArn;
use enid_model::topic::TopicArn;

use super::{Sns, invalid};
use crate::error::ApiError;
use crate::generated::sns::operations::Response;
use crate::generated::sns::response::{ConfirmSubscriptionResponse, UnsubscribeResponse};
use crate::wire::form::Form;
use crate::wire::text::Text;

/// What a link asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// That a subscription is confirmed, or restored.
    Confirm {
        /// The topic.
        topic_arn: String,
        /// What proves that the endpoint asks.
        token: String,
    },
    /// That a subscription ends.
    Leave {
        /// The subscription.
        subscription_arn: String,
    },
}

impl Visit {
    /// What a form asks for, if it is one of a link. It may say which version of SNS it means.
    #[must_use]
    pub fn read(mut form: Form<'_>) -> Option<Self> {
        let action = form.take("Action")?;
        let version = form.take("Version");
        if version.is_some_and(|version| version != VERSION) {
            return None;
        }
        let mut text = |name: &str| {
            form.take(name)
                .map(|text| text.into_owned())
                .unwrap_or_default()
        };
        match &*action {
            "ConfirmSubscription" => Some(Self::Confirm {
                topic_arn: text("TopicArn"),
                token: text("Token"),
            }),
            "Unsubscribe" => Some(Self::Leave {
                subscription_arn: text("SubscriptionArn"),
            }),
            _ => None,
        }
    }

    /// The operation's name.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Confirm { .. } => "ConfirmSubscription",
            Self::Leave { .. } => "Unsubscribe",
        }
    }
}

const VERSION: &str = "2010-03-31";

impl Sns {
    /// Does what a link asks for.
    pub async fn visit(&self, visit: &Visit) -> Result<Response, ApiError> {
        match visit {
            Visit::Confirm { topic_arn, token } => self.confirm(topic_arn, token).await,
            Visit::Leave { subscription_arn } => self.leave(subscription_arn).await,
        }
    }

    async fn confirm(&self, topic_arn: &str, token: &str) -> Result<Response, ApiError> {
        let arn = TopicArn::parse(topic_arn).ok_or_else(|| invalid("Topic"))?;
        let (caller, region) = self.stranger(&arn)?;
        // Without the token there is nothing to be done, and no reason to write.
        let is_known =
            |region: &RegionState| enid_control::subscription_with_token(region, token).is_some();
        if !is_known(&region) {
            return Err(invalid("Token"));
        }
        let confirmed = self
            .control
            .confirm_subscription(&caller, token, false, false);
        let subscription_arn = Some(Text::display(confirmed.await?));
        Ok(ConfirmSubscriptionResponse { subscription_arn }.into())
    }

    async fn leave(&self, text: &str) -> Result<Response, ApiError> {
        let arn = SubscriptionArn::parse(text).ok_or_else(|| invalid("SubscriptionArn"))?;
        let (caller, _) = self.stranger(&arn.topic)?;
        let left = self.control.leave(&caller, &arn).await?;
        if let Some(left) = left {
            let telling =
                move |notify: &enid_telemetry::notify::Notify| notify.tell_of_end(&arn, &left);
            self.posting(telling).await?;
        }
        Ok(UnsubscribeResponse {}.into())
    }

    /// Whoever visits, as a caller of the account and the region that the link names, which must be
    /// awake.
    fn stranger(&self, arn: &TopicArn) -> Result<(Caller, Arc<RegionState>), ApiError> {
        let region = Region::named(arn.scope.region.as_str());
        let region = region.ok_or_else(|| invalid("Topic"))?;
        let state = self.control.store().state();
        let known = state.region(&arn.scope).cloned();
        let known = known.ok_or_else(|| invalid("Topic"))?;
        let caller = Caller {
            account: arn.scope.account,
            region,
            dry_run: false,
            asked: None,
        };
        Ok((caller, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::form::parse_form;

    #[test]
    fn only_links_are_read() {
        let read = |text: &str| Visit::read(parse_form(text.as_bytes()).unwrap());
        assert_eq!(
            read("Action=ConfirmSubscription&TopicArn=a&Token=b"),
            Some(Visit::Confirm {
                topic_arn: "a".to_owned(),
                token: "b".to_owned(),
            })
        );
        let left = read("Action=Unsubscribe&Version=2010-03-31&SubscriptionArn=a");
        assert_eq!(left.map(|visit| visit.operation()), Some("Unsubscribe"));
        for text in [
            "",
            "Action=Publish&TopicArn=a&Message=b",
            "Action=Unsubscribe&Version=2016-11-15&SubscriptionArn=a",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
