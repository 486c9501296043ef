//! Messages: what is published, and the document that subscribers get of it.
//!
//! The document has AWS's members in AWS's order, and the text that is signed is AWS's to the letter:
//! libraries that verify messages of SNS verify these.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use enid_model::subscription::{Protocol, SubscriptionArn};
use enid_model::time::Timestamp;
use enid_model::uuid::Uuid;
use serde::{Deserialize, Serialize};

/// The id of a message, a UUID.
pub type MessageId = Uuid;

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageKind {
    /// What somebody published.
    Notification,
    /// The question whether an endpoint wants to be notified.
    SubscriptionConfirmation {
        /// What confirms it.
        token: String,
    },
    /// That an endpoint's subscription has ended, and how it is restored.
    UnsubscribeConfirmation {
        /// What restores it.
        token: String,
    },
}

impl MessageKind {
    /// AWS's name for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation { .. } => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation { .. } => "UnsubscribeConfirmation",
        }
    }

    /// The token, of one that has one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Notification => None,
            Self::SubscriptionConfirmation { token } | Self::UnsubscribeConfirmation { token } => {
                Some(token)
            }
        }
    }
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number` or `Binary`, and what the publisher put behind it.
    pub data_type: String,
    /// The value as text; bytes in base64.
    pub value: String,
}

/// What a publisher says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The message.
    pub text: String,
    /// The message for subscribers of some protocols, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_protocol: BTreeMap<String, String>,
    /// Attributes beside the message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
}

impl Content {
    /// The message for subscribers of a protocol.
    #[must_use]
    pub fn text_for(&self, protocol: Protocol) -> &str {
        self.by_protocol.get(protocol.name()).unwrap_or(&self.text)
    }
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id, the same for all subscribers and all tries.
    pub id: MessageId,
    /// What it is.
    pub kind: MessageKind,
    /// When it was published.
    pub at: Timestamp,
    /// What it says.
    pub content: Content,
}

impl Message {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let content = &self.content;
        let texts = content.by_protocol.iter();
        let texts: usize = texts.map(|(name, text)| name.len() + text.len()).sum();
        let attributes = content.attributes.iter();
        let attributes: usize = attributes
            .map(|(name, own)| name.len() + own.data_type.len() + own.value.len())
            .sum();
        let subject = content.subject.as_ref().map_or(0, String::len);
        OVERHEAD + subject + content.text.len() + texts + attributes
    }
}

/// What a message takes beside its texts.
const OVERHEAD: usize = 256;

/// A message as one subscriber gets it, but for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'a> {
    /// The message.
    pub message: &'a Message,
    /// The text of it for this subscriber.
    pub text: String,
    /// The subscription.
    pub subscription: &'a SubscriptionArn,
    /// Where the daemon can be asked: `http://127.0.0.1:4566`.
    pub base_url: &'a str,
}

impl<'a> Letter<'a> {
    /// A message for a subscription of this protocol.
    #[must_use]
    pub fn new(
        message: &'a Message,
        subscription: &'a SubscriptionArn,
        protocol: Protocol,
        base_url: &'a str,
    ) -> Self {
        let topic = &subscription.topic;
        let text = match &message.kind {
            MessageKind::Notification => message.content.text_for(protocol).to_owned(),
            MessageKind::SubscriptionConfirmation { .. } => format!(
                "You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the SubscribeURL included in this message."
            ),
            MessageKind::UnsubscribeConfirmation { .. } => format!(
                "You have chosen to deactivate subscription {subscription}.\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
            ),
        };
        Self {
            message,
            text,
            subscription,
            base_url,
        }
    }

    /// Where a token confirms the subscription.
    #[must_use]
    pub fn subscribe_url(&self) -> Option<String> {
        let (base, topic) = (self.base_url, &self.subscription.topic);
        let token = self.message.kind.token()?;
        Some(format!(
            "{base}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}"
        ))
    }

    /// Where the subscription is ended.
    #[must_use]
    pub fn unsubscribe_url(&self) -> String {
        let (base, arn) = (self.base_url, self.subscription);
        format!("{base}/?Action=Unsubscribe&SubscriptionArn={arn}")
    }

    /// What is signed.
    /// Source: the SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".
    #[must_use]
    pub fn canonical(&self) -> String {
        let message = self.message;
        let (id, at) = (message.id.to_string(), message.at.to_string());
        let topic = self.subscription.topic.to_string();
        let subscribe_url = self.subscribe_url();
        let pairs = [
            ("Message", Some(self.text.as_str())),
            ("MessageId", Some(&*id)),
            ("SubscribeURL", subscribe_url.as_deref()),
            ("Subject", message.content.subject.as_deref()),
            ("Timestamp", Some(&*at)),
            ("Token", message.kind.token()),
            ("TopicArn", Some(&*topic)),
            ("Type", Some(message.kind.name())),
        ];
        let mut text = String::new();
        for (name, value) in pairs {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name}\n{value}");
            }
        }
        text
    }

    /// The document, with a signature and where the certificate of its key is.
    #[must_use]
    pub fn document(&self, version: &str, signature: &str, certificate_url: &str) -> String {
        let message = self.message;
        let mut members: Vec<(&str, String)> = Vec::new();
        let mut text = |name, value: &str| members.push((name, json(value)));
        text("Type", message.kind.name());
        text("MessageId", &message.id.to_string());
        if let Some(token) = message.kind.token() {
            text("Token", token);
        }
        text("TopicArn", &self.subscription.topic.to_string());
        if let Some(subject) = &message.content.subject {
            text("Subject", subject);
        }
        text("Message", &self.text);
        if let Some(url) = self.subscribe_url() {
            text("SubscribeURL", &url);
        }
        text("Timestamp", &message.at.to_string());
        text("SignatureVersion", version);
        text("Signature", signature);
        text("SigningCertURL", certificate_url);
        if message.kind == MessageKind::Notification {
            text("UnsubscribeURL", &self.unsubscribe_url());
        }
        let attributes = &message.content.attributes;
        if !attributes.is_empty() {
            let entries = attributes.iter().map(|(name, own)| {
                let (name, of, value) = (json(name), json(&own.data_type), json(&own.value));
                format!("    {name} : {{\"Type\":{of},\"Value\":{value}}}")
            });
            let entries = entries.collect::<Vec<_>>().join(",\n");
            members.push(("MessageAttributes", format!("{{\n{entries}\n  }}")));
        }
        let lines = members
            .iter()
            .map(|(name, value)| format!("  \"{name}\" : {value}"));
        format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is left of a text when all that no subject may have has been taken out: line breaks and other
/// control characters, what is not ASCII, and what is over a hundred characters.
#[must_use]
pub fn subject(text: &str) -> String {
    let plain = text.chars().map(|letter| match letter {
        letter if letter.is_ascii_graphic() || letter == ' ' => letter,
        letter if letter.is_whitespace() => ' ',
        _ => '?',
    });
    plain.take(SUBJECT_MAX).collect()
}

/// Whether a text can be a subject.
#[must_use]
pub fn is_subject(text: &str) -> bool {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_plain && (1..=SUBJECT_MAX).contains(&text.len()) && !text.starts_with(' ')
}

/// Characters of a subject.
const SUBJECT_MAX: usize = 100;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ARN: &str =
        "arn:aws:sns:eu-west-1:123456789012:alarms:ffffffff-ffff-4fff-8000-000000000007";

    pub(in super::super) fn message(kind: MessageKind, text: &str) -> Message {
        Message {
            id: Uuid::from_random(1, 2),
            kind,
            at: Timestamp(1_767_323_045_006),
            content: Content {
                text: text.to_owned(),
                ..Content::default()
            },
        }
    }

    #[test]
    fn what_is_signed_is_awss_to_the_letter() {
        let arn = SubscriptionArn::parse(ARN).unwrap();
        let mut notification = message(MessageKind::Notification, "it\nburns");
        let base = "http://127.0.0.1:4566";
        let letter = Letter::new(&notification, &arn, Protocol::Http, base);
        let id = "00000000-0000-4001-8000-000000000002";
        assert_eq!(
            letter.canonical(),
            format!(
                "Message\nit\nburns\nMessageId\n{id}\nTimestamp\n2026-01-02T03:04:05.006Z\nTopicArn\narn:aws:sns:eu-west-1:123456789012:alarms\nType\nNotification\n"
            )
        );
        notification.content.subject = Some("ALARM".to_owned());
        let letter = Letter::new(&notification, &arn, Protocol::Http, base);
        assert!(letter.canonical().contains("\nSubject\nALARM\nTimestamp\n"));
        let token = "abc".to_owned();
        let asked = message(MessageKind::SubscriptionConfirmation { token }, "");
        let letter = Letter::new(&asked, &arn, Protocol::Http, base);
        let url = "http://127.0.0.1:4566/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:alarms&Token=abc";
        assert!(
            letter
                .canonical()
                .contains(&format!("\nSubscribeURL\n{url}\nTimestamp\n"))
        );
        assert!(letter.canonical().contains("\nToken\nabc\nTopicArn\n"));
    }

    #[test]
    fn a_document_is_json_with_awss_members() {
        let arn = SubscriptionArn::parse(ARN).unwrap();
        let mut notification = message(MessageKind::Notification, "say \"it\"");
        let attribute = Attribute {
            data_type: "Number".to_owned(),
            value: "1".to_owned(),
        };
        notification
            .content
            .attributes
            .insert("a".to_owned(), attribute);
        let letter = Letter::new(&notification, &arn, Protocol::Http, "http://h");
        let document = letter.document("1", "c2lnbmVk", "http://h/cert.pem");
        assert!(document.starts_with("{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : "));
        let read: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(read["Message"], "say \"it\"");
        assert_eq!(read["MessageAttributes"]["a"]["Type"], "Number");
        assert!(read.get("Subject").is_none() && read.get("Token").is_none());
        assert_eq!(
            read["UnsubscribeURL"],
            format!("http://h/?Action=Unsubscribe&SubscriptionArn={ARN}")
        );
    }

    #[test]
    fn subjects_are_short_and_plain() {
        assert!(is_subject("ALARM: \"x\" in EU (Ireland)"));
        for text in ["", " a", "a\nb", "ä", &"x".repeat(101)] {
            assert!(!is_subject(text), "{text:?}");
        }
        assert_eq!(subject("a\nä").as_str(), "a ?");
        assert!(is_subject(&subject(&"x".repeat(500))));
    }
}
