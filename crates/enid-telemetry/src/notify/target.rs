//! Who gets a delivery now, by the region's state: an endpoint that was unsubscribed meanwhile gets
//! nothing any more.

use enid_model::delivery_policy::{EffectivePolicy, Retries};
use enid_model::state::State;
use enid_model::subscription::{Protocol, SubscriptionArn, SubscriptionState};
use enid_model::topic::SignatureVersion;

use super::message::MessageKind;

/// Where a delivery goes, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) protocol: Protocol,
    pub(super) endpoint: String,
    pub(super) is_raw: bool,
    pub(super) retries: Retries,
    pub(super) receives_per_second: Option<u32>,
    pub(super) content_type: String,
    pub(super) signature_version: SignatureVersion,
    /// The topic's, beside the sender of mails.
    pub(super) display_name: String,
}

impl Target {
    /// The target of a message to a subscription; `None` if it is not to be delivered any more.
    pub(super) fn of(state: &State, arn: &SubscriptionArn, kind: &MessageKind) -> Option<Self> {
        let region = state.region(&arn.topic.scope)?;
        let topic = region.topics.get(&*arn.topic.name)?;
        let subscription = region.subscriptions.get(&*arn.key())?;
        let is_wanted = match (kind, subscription.state) {
            (MessageKind::Notification, SubscriptionState::Confirmed { .. }) => true,
            (MessageKind::SubscriptionConfirmation { token }, SubscriptionState::Pending)
            | (MessageKind::UnsubscribeConfirmation { token }, SubscriptionState::Deleted) => {
                *token == subscription.token
            }
            _ => false,
        };
        if !is_wanted {
            return None;
        }
        let protocol = subscription.protocol;
        let own = subscription.delivery_policy.as_ref();
        let policy = EffectivePolicy::of(topic.delivery_policy.as_ref(), own);
        let is_notification = *kind == MessageKind::Notification;
        Some(Self {
            protocol,
            endpoint: subscription.endpoint.clone(),
            is_raw: is_notification && subscription.is_raw,
            retries: match protocol.is_http() {
                true => policy.retries,
                false => Retries::MAIL,
            },
            receives_per_second: policy
                .throttle
                .map(|throttle| throttle.max_receives_per_second),
            // What is no notification is what it is, whatever the policy.
            content_type: match is_notification {
                true => policy.content_type,
                false => enid_model::delivery_policy::CONTENT_TYPE.to_owned(),
            },
            signature_version: topic.signature_version.unwrap_or_default(),
            display_name: topic.display_name.clone(),
        })
    }
}
