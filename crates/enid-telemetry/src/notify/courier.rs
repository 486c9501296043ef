//! One try of one delivery: the message in the form that the subscriber gets, and its sending.

use std::path::PathBuf;
use std::sync::Arc;

use enid_model::subscription::Protocol;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::OnceCell;

use super::http::{Client, Post};
use super::mail::{Mail, Relay};
use super::message::{Letter, MessageKind};
use super::outbox::Delivery;
use super::outcome::Outcome;
use super::signer::{SignError, Signer};
use super::target::Target;

/// Sends what is to be delivered.
pub(super) struct Courier {
    pub(super) client: Client,
    pub(super) relay: Option<Relay>,
    /// Where the daemon can be asked, without a slash at the end.
    pub(super) base_url: String,
    pub(super) key_file: PathBuf,
    pub(super) seed: u64,
    pub(super) signer: OnceCell<Arc<Signer>>,
}

impl Courier {
    /// The key is made or read at its first use: making one takes seconds on a slow machine.
    pub(super) async fn signer(&self) -> Result<&Arc<Signer>, SignError> {
        let open = || async {
            let (path, seed) = (self.key_file.clone(), self.seed);
            let open = move || Signer::open(&path, StdRng::seed_from_u64(seed));
            let opened = tokio::task::spawn_blocking(open).await;
            // A thread that panicked has said so itself.
            let opened = opened.map_err(std::io::Error::other)?;
            opened.map(Arc::new)
        };
        self.signer.get_or_try_init(open).await
    }

    /// Tries a delivery.
    pub(super) async fn send(&self, delivery: &Delivery, target: &Target) -> Outcome {
        let message = &*delivery.message;
        let arn = &delivery.subscription;
        let letter = Letter::new(message, arn, target.protocol, &self.base_url);
        match target.protocol {
            Protocol::Http | Protocol::Https => self.post(&letter, target).await,
            Protocol::Email => self.mail(&letter, target, plain(&letter)).await,
            Protocol::EmailJson => match self.document(&letter, target).await {
                Ok(document) => self.mail(&letter, target, document).await,
                Err(outcome) => outcome,
            },
        }
    }

    async fn post(&self, letter: &Letter<'_>, target: &Target) -> Outcome {
        let body = match target.is_raw {
            true => letter.text.clone(),
            false => match self.document(letter, target).await {
                Ok(document) => document,
                Err(outcome) => return outcome,
            },
        };
        let message = letter.message;
        let mut headers = vec![
            ("x-amz-sns-message-type", message.kind.name().to_owned()),
            ("x-amz-sns-message-id", message.id.to_string()),
            ("x-amz-sns-topic-arn", letter.subscription.topic.to_string()),
        ];
        // Who has not confirmed a subscription is not told its ARN.
        if !matches!(message.kind, MessageKind::SubscriptionConfirmation { .. }) {
            let arn = letter.subscription.to_string();
            headers.push(("x-amz-sns-subscription-arn", arn));
        }
        if target.is_raw {
            headers.push(("x-amz-sns-rawdelivery", "true".to_owned()));
        }
        let post = Post {
            headers,
            content_type: target.content_type.clone(),
            body,
        };
        self.client.post(&target.endpoint, post).await
    }

    async fn mail(&self, letter: &Letter<'_>, target: &Target, text: String) -> Outcome {
        let Some(relay) = &self.relay else {
            return Outcome::Failed("no relay for mail is configured");
        };
        let message = letter.message;
        let subject = match &message.kind {
            MessageKind::Notification => message.content.subject.as_deref(),
            MessageKind::SubscriptionConfirmation { .. } => {
                Some("AWS Notification - Subscription Confirmation")
            }
            MessageKind::UnsubscribeConfirmation { .. } => {
                Some("AWS Notification - Unsubscribe Confirmation")
            }
        };
        let mail = Mail {
            to: &target.endpoint,
            from_name: &target.display_name,
            subject: subject.unwrap_or("AWS Notification Message"),
            id: &message.id.to_string(),
            at: message.at,
            text: &text,
        };
        relay.send(&mail).await
    }

    /// The signed document.
    async fn document(&self, letter: &Letter<'_>, target: &Target) -> Result<String, Outcome> {
        let signed = async {
            let signer = self.signer().await?;
            let version = target.signature_version;
            let (signing, text) = (Arc::clone(signer), letter.canonical());
            let sign = move || signing.sign(version, &text);
            let signature = tokio::task::spawn_blocking(sign).await;
            let signature = signature.map_err(std::io::Error::other)??;
            let url = self.certificate_url(signer);
            Ok::<_, SignError>(letter.document(version.number(), &signature, &url))
        };
        signed.await.map_err(|error| {
            tracing::error!(%error, "a message could not be signed");
            Outcome::Failed("the message could not be signed")
        })
    }

    fn certificate_url(&self, signer: &Signer) -> String {
        let (base, name) = (&self.base_url, signer.certificate_name());
        format!("{base}/_enid/sns/{name}")
    }
}

/// A mail for people.
fn plain(letter: &Letter<'_>) -> String {
    let topic = &letter.subscription.topic;
    match &letter.message.kind {
        MessageKind::Notification => {
            let (text, url) = (&letter.text, letter.unsubscribe_url());
            format!("{text}\n\n--\nTo get no more notifications of {topic}, visit\n{url}\n")
        }
        MessageKind::SubscriptionConfirmation { .. } => {
            let url = letter.subscribe_url().unwrap_or_default();
            format!(
                "You have chosen to subscribe to the topic\n{topic}\n\nTo confirm this subscription, visit\n{url}\n\nIf this was not your wish, nothing need be done.\n"
            )
        }
        MessageKind::UnsubscribeConfirmation { .. } => {
            let url = letter.subscribe_url().unwrap_or_default();
            format!(
                "Your subscription to the topic\n{topic}\nhas ended. If this was not your wish, visit\n{url}\nto subscribe again.\n"
            )
        }
    }
}
