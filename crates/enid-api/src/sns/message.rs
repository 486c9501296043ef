//! Messages: what is published, held against AWS's rules.

use std::collections::{BTreeMap, BTreeSet};

use enid_control::check_owner;
use enid_model::topic::TopicArn;
use enid_telemetry::notify::message::{Attribute, Content, is_subject};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::{Sns, invalid};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::sns::request::{
    MessageAttributeValue, PublishBatchRequest, PublishBatchRequestEntry, PublishRequest,
};
use crate::generated::sns::response::{
    BatchResultErrorEntry, PublishBatchResponse, PublishBatchResultEntry, PublishResponse,
};
use crate::wire::params::to_base64;
use crate::wire::text::Text;

/// Bytes of a message with its attributes, and of all messages of a batch.
/// Source: the SNS API Reference, Publish.
const SIZE_MAX: usize = 256 * 1024;
/// Messages of a batch.
const BATCH_MAX: usize = 10;

/// Publish.
pub(super) async fn publish(
    sns: &Sns,
    context: &Context,
    request: PublishRequest,
) -> Result<PublishResponse, ApiError> {
    let (text, parameter) = match (&request.topic_arn, &request.target_arn) {
        (Some(arn), None) => (arn, "TopicArn"),
        (None, Some(arn)) => (arn, "TargetArn"),
        (None, None) => {
            return Err(invalid(
                "TopicArn or TargetArn Reason: no value for required parameter",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(invalid(
                "TopicArn or TargetArn Reason: only one may be given",
            ));
        }
    };
    let arn = topic(sns, context, text, parameter).await?;
    let said = Said {
        message: request.message,
        subject: request.subject,
        structure: request.message_structure,
        attributes: request.message_attributes,
    };
    if said.size() > SIZE_MAX {
        return Err(invalid("Message too long"));
    }
    let content = said.content()?;
    let id = sns
        .posting(move |notify| notify.publish_content(&arn, content))
        .await?;
    Ok(PublishResponse {
        message_id: Some(Text::display(id)),
    })
}

/// PublishBatch. What is wrong with one message is told of that message alone, and of the whole batch
/// where AWS does so.
pub(super) async fn publish_batch(
    sns: &Sns,
    context: &Context,
    request: PublishBatchRequest,
) -> Result<PublishBatchResponse, ApiError> {
    let arn = topic(sns, context, &request.topic_arn, "TopicArn").await?;
    let entries = request.publish_batch_request_entries;
    check_batch(&entries)?;
    let entries: Vec<(String, Said)> = entries.into_iter().map(Said::of_entry).collect();
    let size: usize = entries.iter().map(|(_, said)| said.size()).sum();
    if size > SIZE_MAX {
        let words = "The length of all the messages put together is more than the limit.";
        return Err(ApiError::new("BatchRequestTooLong", 400, words.to_owned()));
    }
    let mut contents = Vec::with_capacity(entries.len());
    for (id, said) in entries {
        contents.push((id, said.content()?));
    }
    let mut answer = PublishBatchResponse::default();
    for (id, content) in contents {
        let arn = arn.clone();
        let posted = sns.posting(move |notify| notify.publish_content(&arn, content));
        let id = Some(Text::display(id));
        match posted.await {
            Ok(message) => answer.successful.push(PublishBatchResultEntry {
                id,
                message_id: Some(Text::display(message)),
            }),
            Err(error) => answer.failed.push(BatchResultErrorEntry {
                id,
                code: Some(Text::display(error.code())),
                message: Some(Text::display(error.message())),
                sender_fault: Some(error.status() < 500),
            }),
        }
    }
    Ok(answer)
}

/// The topic that a request names, which must be there.
async fn topic(
    sns: &Sns,
    context: &Context,
    text: &str,
    parameter: &str,
) -> Result<TopicArn, ApiError> {
    let caller = context.caller();
    let arn = enid_control::topic_arn(&caller, text, parameter)?;
    check_owner(&caller, &arn, "Publish")?;
    enid_control::topic_named(&*sns.region(&caller).await?, &arn.name)?;
    Ok(arn)
}

fn check_batch(entries: &[PublishBatchRequestEntry]) -> Result<(), ApiError> {
    let refuse = |code: &'static str, words: &str| Err(ApiError::new(code, 400, words.to_owned()));
    if entries.is_empty() {
        let words = "The batch request doesn't contain any entries.";
        return refuse("EmptyBatchRequest", words);
    }
    if entries.len() > BATCH_MAX {
        let words = "The batch request contains more entries than permissible.";
        return refuse("TooManyEntriesInBatchRequest", words);
    }
    let mut ids = BTreeSet::new();
    for entry in entries {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=80).contains(&entry.id.len()) || !entry.id.bytes().all(is_allowed) {
            let words =
                "The Id of a batch entry in a batch request doesn't abide by the specification.";
            return refuse("InvalidBatchEntryId", words);
        }
        if !ids.insert(&entry.id) {
            let words = "Two or more batch entries in the request have the same Id.";
            return refuse("BatchEntryIdsNotDistinct", words);
        }
    }
    Ok(())
}

/// A message as its publisher wrote it.
struct Said {
    message: String,
    subject: Option<String>,
    structure: Option<String>,
    attributes: BTreeMap<String, MessageAttributeValue>,
}

impl Said {
    fn of_entry(entry: PublishBatchRequestEntry) -> (String, Self) {
        let said = Self {
            message: entry.message,
            subject: entry.subject,
            structure: entry.message_structure,
            attributes: entry.message_attributes,
        };
        (entry.id, said)
    }

    /// What counts against the limit: the message, and names, types and values of its attributes.
    fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, own)| {
            let text = own.string_value.as_ref().map_or(0, String::len);
            let bytes = own.binary_value.as_ref().map_or(0, |bytes| bytes.0.len());
            name.len() + own.data_type.len() + text + bytes
        });
        self.message.len() + attributes.sum::<usize>()
    }

    fn content(self) -> Result<Content, ApiError> {
        if self.message.is_empty() {
            return Err(invalid("Empty message"));
        }
        if self
            .subject
            .as_deref()
            .is_some_and(|subject| !is_subject(subject))
        {
            return Err(invalid("Subject"));
        }
        let attributes = self.attributes.into_iter().map(|(name, value)| {
            let value = attribute(&name, value)?;
            Ok((name, value))
        });
        let attributes = attributes.collect::<Result<_, ApiError>>()?;
        let (text, by_protocol) = match self.structure.as_deref() {
            None => (self.message, BTreeMap::new()),
            Some("json") => structured(&self.message)?,
            Some(other) => {
                let short: String = other.chars().take(100).collect();
                return Err(invalid(format!(
                    "Message Structure Reason: {short} is not json"
                )));
            }
        };
        Ok(Content {
            subject: self.subject,
            text,
            by_protocol,
            attributes,
        })
    }
}

/// The texts of a message that differ by protocol. What is no string is left out, as AWS does; of a name
/// that is there twice the last counts.
fn structured(message: &str) -> Result<(String, BTreeMap<String, String>), ApiError> {
    let texts: Texts = serde_json::from_str(message).map_err(|error| {
        tracing::debug!(%error, "a structured message is no JSON object");
        invalid("Message Structure - JSON message body failed to parse")
    })?;
    let mut texts = texts.0;
    let default = texts.remove("default");
    let default = default
        .ok_or_else(|| invalid("Message Structure - No default entry in JSON message body"))?;
    Ok((default, texts))
}

/// The members of an object that are strings.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    if let serde_json::Value::String(text) = value {
                        texts.insert(name, text);
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// An attribute, held against AWS's rules and told in AWS's words.
fn attribute(name: &str, value: MessageAttributeValue) -> Result<Attribute, ApiError> {
    check_name(name)?;
    let MessageAttributeValue {
        data_type,
        string_value,
        binary_value,
    } = value;
    let prefix = data_type.split('.').next().unwrap_or_default();
    if !matches!(prefix, "Binary" | "Number" | "String") {
        return Err(wrong(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
        )));
    }
    let field = if prefix == "Binary" {
        "Binary"
    } else {
        "String"
    };
    let is_other = match field {
        "Binary" => string_value.is_some(),
        _ => binary_value.is_some(),
    };
    if is_other {
        return Err(wrong(format!(
            "The message attribute '{name}' with type '{data_type}' must use field '{field}'."
        )));
    }
    let value = match binary_value {
        Some(bytes) if !bytes.0.is_empty() => Some(to_base64(&bytes.0)),
        _ => string_value.filter(|text| !text.is_empty()),
    };
    let value = value.ok_or_else(|| {
        wrong(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{data_type}'."
        ))
    })?;
    if prefix == "Number"
        && value
            .trim()
            .parse::<f64>()
            .map_or(true, |number| !number.is_finite())
    {
        return Err(wrong(format!(
            "Could not cast message attribute '{name}' value to number."
        )));
    }
    Ok(Attribute { data_type, value })
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() > 256 {
        return Err(wrong(
            "Length of message attribute name must be less than 256 bytes.".to_owned(),
        ));
    }
    let is_allowed = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    if let Some(letter) = name.chars().find(|letter| !is_allowed(letter)) {
        let code = u32::from(letter);
        return Err(wrong(format!(
            "Invalid non-alphanumeric character '#x{code:X}' was found in the message attribute name. Can only include alphanumeric characters, hyphens, underscores, or dots."
        )));
    }
    for (is_at_end, place) in [
        (name.starts_with('.'), "starting"),
        (name.ends_with('.'), "ending"),
    ] {
        if is_at_end {
            return Err(wrong(format!(
                "Invalid message attribute name {place} with character '.' was found."
            )));
        }
    }
    if name.contains("..") {
        return Err(wrong(
            "Message attribute name can not have successive '.' character.".to_owned(),
        ));
    }
    Ok(())
}

fn wrong(words: String) -> ApiError {
    ApiError::new("ParameterValueInvalid", 400, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::params::Blob;

    fn said(message: &str) -> Said {
        Said {
            message: message.to_owned(),
            subject: None,
            structure: None,
            attributes: BTreeMap::new(),
        }
    }

    fn message_of(result: Result<Content, ApiError>) -> String {
        result.map_or_else(|error| error.message().to_owned(), |content| content.text)
    }

    #[test]
    fn a_structured_message_has_a_text_for_each_protocol() {
        let structured = |message: &str| Said {
            structure: Some("json".to_owned()),
            ..said(message)
        };
        let content = structured(r#"{"default":"a","http":"b","sms":1,"http":"c"}"#);
        let content = content.content().unwrap();
        assert_eq!(content.text, "a");
        assert_eq!(
            content.by_protocol.get("http").map(String::as_str),
            Some("c")
        );
        assert!(!content.by_protocol.contains_key("sms"));
        for (message, wanted) in [
            (
                r#"{"http":"b"}"#,
                "Invalid parameter: Message Structure - No default entry in JSON message body",
            ),
            (
                r#"{"default":{"a":1}}"#,
                "Invalid parameter: Message Structure - No default entry in JSON message body",
            ),
            (
                "{",
                "Invalid parameter: Message Structure - JSON message body failed to parse",
            ),
            ("", "Invalid parameter: Empty message"),
        ] {
            assert_eq!(
                message_of(structured(message).content()),
                wanted,
                "{message}"
            );
        }
    }

    #[test]
    fn subjects_are_checked() {
        let with = |subject: &str| {
            let subject = Some(subject.to_owned());
            message_of(
                Said {
                    subject,
                    ..said("text")
                }
                .content(),
            )
        };
        assert_eq!(with("ALARM"), "text");
        for subject in ["", "a\nb", "ä"] {
            assert_eq!(with(subject), "Invalid parameter: Subject", "{subject:?}");
        }
    }

    #[test]
    fn attributes_are_checked_in_awss_words() {
        let value =
            |data_type: &str, text: Option<&str>, bytes: Option<&[u8]>| MessageAttributeValue {
                data_type: data_type.to_owned(),
                string_value: text.map(str::to_owned),
                binary_value: bytes.map(|bytes| Blob(bytes.to_vec())),
            };
        let taken = |name: &str, value: MessageAttributeValue| match attribute(name, value) {
            Ok(attribute) => attribute.value,
            Err(error) => error.message().to_owned(),
        };
        assert_eq!(taken("a", value("String", Some("x"), None)), "x");
        assert_eq!(taken("a", value("Number.int", Some("-1.5"), None)), "-1.5");
        assert_eq!(taken("a", value("Binary", None, Some(&[2, 3, 4]))), "AgME");
        for (name, value, wanted) in [
            (
                "a",
                value("String", Some(""), None),
                "The message attribute 'a' must contain non-empty message attribute value for message attribute type 'String'.",
            ),
            (
                "a",
                value("Number", None, Some(&[1])),
                "The message attribute 'a' with type 'Number' must use field 'String'.",
            ),
            (
                "a",
                value("Binary", Some("x"), None),
                "The message attribute 'a' with type 'Binary' must use field 'Binary'.",
            ),
            (
                "a",
                value("Boolean", Some("x"), None),
                "The message attribute 'a' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.",
            ),
            (
                "a",
                value("Number", Some("x"), None),
                "Could not cast message attribute 'a' value to number.",
            ),
            (
                "a^b",
                value("String", Some("x"), None),
                "Invalid non-alphanumeric character '#x5E' was found in the message attribute name. Can only include alphanumeric characters, hyphens, underscores, or dots.",
            ),
            (
                ".a",
                value("String", Some("x"), None),
                "Invalid message attribute name starting with character '.' was found.",
            ),
            (
                "a..b",
                value("String", Some("x"), None),
                "Message attribute name can not have successive '.' character.",
            ),
        ] {
            assert_eq!(taken(name, value), wanted);
        }
    }

    #[test]
    fn batches_have_limits() {
        let entry = |id: &str| PublishBatchRequestEntry {
            id: id.to_owned(),
            message: "m".to_owned(),
            ..PublishBatchRequestEntry::default()
        };
        let code = |ids: &[&str]| {
            let entries: Vec<_> = ids.iter().map(|id| entry(id)).collect();
            check_batch(&entries).map_err(|error| error.code().to_owned())
        };
        assert_eq!(code(&["a", "b"]), Ok(()));
        for (ids, wanted) in [
            (&[][..], "EmptyBatchRequest"),
            (&["a", "a"], "BatchEntryIdsNotDistinct"),
            (&["a b"], "InvalidBatchEntryId"),
            (&["a"; 11], "TooManyEntriesInBatchRequest"),
        ] {
            assert_eq!(code(ids), Err(wanted.to_owned()));
        }
    }
}
