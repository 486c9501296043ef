//! What stands around an answer or an error in each protocol.

use super::xml::{ToXml, Xml};
use crate::error::ApiError;
use crate::tag;

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The EC2 flavour of the query protocol.
    Ec2,
    /// The query protocol, with the service's namespace.
    Query {
        /// The namespace of answers.
        namespace: &'static str,
    },
    /// JSON: only for telling a client that its service is not implemented.
    Json,
}

/// The namespace of EC2's answers; the live service ends it with a slash, the models do not.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

impl Dialect {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ec2 => "text/xml;charset=UTF-8",
            Self::Query { .. } => "text/xml",
            Self::Json => "application/x-amz-json-1.1",
        }
    }

    /// The document of a success.
    #[must_use]
    pub fn success(self, operation: &str, response: &impl ToXml, request_id: &str) -> String {
        let mut xml = Xml::new();
        let root = format!("{operation}Response");
        match self {
            Self::Ec2 | Self::Json => xml.root(&root, EC2, |xml| {
                xml.element(tag!("requestId"), request_id);
                response.to_xml(xml);
            }),
            Self::Query { namespace } => xml.root(&root, namespace, |xml| {
                xml.within_named(&format!("{operation}Result"), |xml| response.to_xml(xml));
                xml.within(tag!("ResponseMetadata"), |xml| {
                    xml.element(tag!("RequestId"), request_id)
                });
            }),
        }
        xml.finish()
    }

    /// The document of an error.
    #[must_use]
    pub fn error(self, error: &ApiError, request_id: &str) -> String {
        let code_and_message = |xml: &mut Xml| {
            xml.element(tag!("Code"), error.code());
            xml.element(tag!("Message"), error.message());
        };
        let mut xml = Xml::new();
        match self {
            Self::Ec2 => xml.within(tag!("Response"), |xml| {
                xml.within(tag!("Errors"), |xml| {
                    xml.within(tag!("Error"), code_and_message)
                });
                xml.element(tag!("RequestID"), request_id);
            }),
            Self::Query { namespace } => xml.root("ErrorResponse", namespace, |xml| {
                xml.within(tag!("Error"), |xml| {
                    let side = if error.status() < 500 {
                        "Sender"
                    } else {
                        "Receiver"
                    };
                    xml.element(tag!("Type"), side);
                    code_and_message(xml);
                });
                xml.element(tag!("RequestId"), request_id);
            }),
            Self::Json => {
                let (code, message) = (json_string(error.code()), json_string(error.message()));
                return format!("{{\"__type\":{code},\"message\":{message}}}");
            }
        }
        xml.finish()
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl ToXml for Nothing {
        fn to_xml(&self, xml: &mut Xml) {
            xml.element(tag!("return"), &true);
        }
    }

    const STS: Dialect = Dialect::Query {
        namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
    };

    #[test]
    fn successes_have_the_shape_of_their_protocol() {
        assert_eq!(
            Dialect::Ec2.success("DeleteVpc", &Nothing, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id</requestId><return>true</return></DeleteVpcResponse>"
        );
        assert_eq!(
            STS.success("X", &Nothing, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><XResult><return>true</return></XResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></XResponse>"
        );
    }

    #[test]
    fn errors_have_the_shape_of_their_protocol() {
        let error = ApiError::new("Some.Code", 400, "a < b \"c\"".to_owned());
        assert_eq!(
            Dialect::Ec2.error(&error, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>Some.Code</Code><Message>a &lt; b &quot;c&quot;</Message></Error></Errors><RequestID>id</RequestID></Response>"
        );
        assert_eq!(
            STS.error(&error, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>Some.Code</Code><Message>a &lt; b &quot;c&quot;</Message></Error><RequestId>id</RequestId></ErrorResponse>"
        );
        assert_eq!(
            Dialect::Json.error(&error, "id"),
            "{\"__type\":\"Some.Code\",\"message\":\"a < b \\\"c\\\"\"}"
        );
    }
}
