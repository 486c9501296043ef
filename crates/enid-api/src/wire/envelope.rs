//! What stands around an answer or an error in each protocol.

use super::answer::{Encode, Sink};
use super::cbor::Cbor;
use super::json::Json;
use super::query::Answer;
use super::xml::{ToXml, Xml};
use crate::error::ApiError;
use crate::tag;

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// CBOR.
    Cbor(Document),
    /// The EC2 flavour of the query protocol.
    Ec2,
    /// JSON.
    Json(JsonVersion, Document),
    /// The query protocol, with the service's namespace.
    Query {
        /// The namespace of answers.
        namespace: &'static str,
    },
}

/// The version of the JSON protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonVersion {
    /// 1.0.
    V1_0,
    /// 1.1.
    V1_1,
}

/// How the errors of a service that answers in documents are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The codes that the service has in the query protocol, with the names of their shapes in
    /// documents. Empty for a service whose codes are the names.
    pub shapes: &'static [(&'static str, &'static str)],
    /// Whether the client wants the code of the query protocol in a header: it says so by
    /// `x-amzn-query-mode`.
    pub query_mode: bool,
}

/// The namespace of EC2's answers; the live service ends it with a slash, the models do not.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

impl Dialect {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Cbor(_) => "application/cbor",
            Self::Ec2 => "text/xml;charset=UTF-8",
            Self::Json(JsonVersion::V1_0, _) => "application/x-amz-json-1.0",
            Self::Json(JsonVersion::V1_1, _) => "application/x-amz-json-1.1",
            Self::Query { .. } => "text/xml",
        }
    }

    /// Whether requests and answers are documents rather than forms and XML.
    #[must_use]
    pub fn is_document(self) -> bool {
        matches!(self, Self::Cbor(_) | Self::Json(..))
    }

    /// The document of a success of EC2.
    #[must_use]
    pub fn ec2_success(operation: &str, response: &impl ToXml, request_id: &str) -> String {
        let mut xml = Xml::new();
        xml.root(&format!("{operation}Response"), EC2, |xml| {
            xml.element(tag!("requestId"), request_id);
            response.to_xml(xml);
        });
        xml.finish()
    }

    /// The document of a success of any other service. An operation that is `void` has no result.
    #[must_use]
    pub fn success(
        self,
        operation: &str,
        response: &dyn Encode,
        void: bool,
        request_id: &str,
    ) -> Vec<u8> {
        let namespace = match self {
            Self::Cbor(_) if void => return Vec::new(),
            Self::Cbor(_) => {
                let mut cbor = Cbor::default();
                response.encode(&mut cbor);
                return cbor.finish();
            }
            Self::Json(..) => {
                let mut json = Json::default();
                response.encode(&mut json);
                return json.finish();
            }
            Self::Ec2 => EC2,
            Self::Query { namespace } => namespace,
        };
        let mut xml = Xml::new();
        xml.root(&format!("{operation}Response"), namespace, |xml| {
            if !void {
                xml.within_named(&format!("{operation}Result"), |xml| {
                    response.encode(&mut Answer::new(xml));
                });
            }
            xml.within(tag!("ResponseMetadata"), |xml| {
                xml.element(tag!("RequestId"), request_id)
            });
        });
        xml.finish().into_bytes()
    }

    /// The document of an error.
    #[must_use]
    pub fn error(self, error: &ApiError, request_id: &str) -> Vec<u8> {
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
                    xml.element(tag!("Type"), side(error));
                    code_and_message(xml);
                });
                xml.element(tag!("RequestId"), request_id);
            }),
            Self::Json(_, document) => {
                let mut json = Json::default();
                document.error(error, &mut json);
                return json.finish();
            }
            Self::Cbor(document) => {
                let mut cbor = Cbor::default();
                document.error(error, &mut cbor);
                return cbor.finish();
            }
        }
        xml.finish().into_bytes()
    }

    /// What the header `x-amzn-query-error` says of an error, for clients that ask for it.
    #[must_use]
    pub fn query_error(self, error: &ApiError) -> Option<String> {
        match self {
            Self::Cbor(document) | Self::Json(_, document) if document.query_mode => {
                Some(format!("{};{}", error.code(), side(error)))
            }
            _ => None,
        }
    }
}

impl Document {
    fn error(self, error: &ApiError, sink: &mut dyn Sink) {
        let shape = self.shapes.iter().find(|(code, _)| *code == error.code());
        sink.begin();
        sink.name("__type");
        sink.text(shape.map_or_else(|| error.code(), |(_, name)| name));
        sink.name("message");
        sink.text(error.message());
        sink.end();
    }
}

/// Whose fault an error is.
fn side(error: &ApiError) -> &'static str {
    if error.status() < 500 {
        "Sender"
    } else {
        "Receiver"
    }
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

    impl Encode for Nothing {
        fn encode(&self, sink: &mut dyn Sink) {
            sink.begin();
            sink.name("return");
            sink.boolean(true);
            sink.end();
        }
    }

    /// As CloudWatch has it.
    const COMPATIBLE: Document = Document {
        shapes: &[("Some.Code", "SomeException")],
        query_mode: true,
    };

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    const STS: Dialect = Dialect::Query {
        namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
    };

    #[test]
    fn successes_have_the_shape_of_their_protocol() {
        assert_eq!(
            Dialect::ec2_success("DeleteVpc", &Nothing, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id</requestId><return>true</return></DeleteVpcResponse>"
        );
        assert_eq!(
            text(STS.success("X", &Nothing, false, "id")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><XResult><return>true</return></XResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></XResponse>"
        );
        assert_eq!(
            text(STS.success("X", &Nothing, true, "id")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></XResponse>"
        );
        let json = Dialect::Json(JsonVersion::V1_1, Document::default());
        assert_eq!(
            text(json.success("X", &Nothing, false, "id")),
            "{\"return\":true}"
        );
        let cbor = Dialect::Cbor(Document::default());
        assert_eq!(
            cbor.success("X", &Nothing, false, "id"),
            b"\xbf\x66return\xf5\xff"
        );
        assert!(cbor.success("X", &Nothing, true, "id").is_empty());
    }

    #[test]
    fn errors_have_the_shape_of_their_protocol() {
        let error = ApiError::new("Some.Code", 400, "a < b \"c\"".to_owned());
        assert_eq!(
            text(Dialect::Ec2.error(&error, "id")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>Some.Code</Code><Message>a &lt; b &quot;c&quot;</Message></Error></Errors><RequestID>id</RequestID></Response>"
        );
        assert_eq!(
            text(STS.error(&error, "id")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>Some.Code</Code><Message>a &lt; b &quot;c&quot;</Message></Error><RequestId>id</RequestId></ErrorResponse>"
        );
        let json = Dialect::Json(JsonVersion::V1_1, Document::default());
        assert_eq!(
            text(json.error(&error, "id")),
            "{\"__type\":\"Some.Code\",\"message\":\"a < b \\\"c\\\"\"}"
        );
        assert_eq!(json.query_error(&error), None);
        let json = Dialect::Json(JsonVersion::V1_0, COMPATIBLE);
        assert_eq!(
            text(json.error(&error, "id")),
            "{\"__type\":\"SomeException\",\"message\":\"a < b \\\"c\\\"\"}"
        );
        assert_eq!(json.query_error(&error).unwrap(), "Some.Code;Sender");
        assert!(
            Dialect::Cbor(COMPATIBLE)
                .error(&error, "id")
                .starts_with(b"\xbf\x66__type\x6dSomeException\x67message")
        );
    }
}
