//! The services that Enid has, and the protocols that each speaks.

use hyper::http::request::Parts;

use crate::generated::cloudwatch::operations::SHAPES;
use crate::wire::envelope::{Dialect, Document, JsonVersion};
use crate::wire::words::Words;

/// A service of AWS that Enid has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Acm,
    Ec2,
    Elbv2,
    Logs,
    Monitoring,
    Sns,
    Sts,
}

impl Service {
    /// The service of a credential scope.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "acm" => Some(Self::Acm),
            "ec2" => Some(Self::Ec2),
            "elasticloadbalancing" => Some(Self::Elbv2),
            "logs" => Some(Self::Logs),
            "monitoring" => Some(Self::Monitoring),
            "sns" => Some(Self::Sns),
            "sts" => Some(Self::Sts),
            _ => None,
        }
    }

    /// Its version in forms.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Acm => "2015-12-08",
            Self::Ec2 => "2016-11-15",
            Self::Elbv2 => "2015-12-01",
            Self::Logs => "2014-03-28",
            Self::Monitoring => "2010-08-01",
            Self::Sns => "2010-03-31",
            Self::Sts => "2011-06-15",
        }
    }

    /// What the service calls itself in messages.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Acm => "AWSCertificateManager",
            Self::Ec2 => "AmazonEC2",
            Self::Elbv2 => "AmazonElasticLoadBalancing",
            Self::Logs => "AmazonCloudWatchLogs",
            Self::Monitoring => "AmazonCloudWatch",
            Self::Sns => "AmazonSNS",
            Self::Sts => "AWSSecurityTokenService",
        }
    }

    /// The name of its actions in policies.
    pub(super) fn action_prefix(self) -> &'static str {
        match self {
            Self::Acm => "acm",
            Self::Ec2 => "ec2",
            Self::Elbv2 => "elasticloadbalancing",
            Self::Logs => "logs",
            Self::Monitoring => "cloudwatch",
            Self::Sns => "sns",
            Self::Sts => "sts",
        }
    }

    /// What stands before an operation's name in `X-Amz-Target`, and between `service` and `operation` in
    /// the paths of CBOR.
    pub(super) fn target(self) -> Option<&'static str> {
        match self {
            Self::Ec2 | Self::Elbv2 | Self::Sns | Self::Sts => None,
            Self::Acm => Some("CertificateManager"),
            Self::Logs => Some("Logs_20140328"),
            Self::Monitoring => Some("GraniteServiceVersion20100801"),
        }
    }

    /// How it words what its tables refuse.
    pub(super) fn words(self) -> Words {
        match self {
            Self::Ec2 | Self::Elbv2 | Self::Sns | Self::Sts => Words::Query,
            Self::Acm => Words::Acm,
            Self::Logs => Words::Logs,
            Self::Monitoring => Words::Monitoring,
        }
    }

    /// How the service answers a request of this form. A request of a form that it does not know is
    /// answered in one that it does.
    pub(super) fn dialect(self, form: RequestForm, query_mode: bool) -> Dialect {
        match (self, form) {
            (Self::Ec2, _) => Dialect::Ec2,
            (Self::Elbv2, _) => Dialect::Query {
                namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            },
            (Self::Sns, _) => Dialect::Query {
                namespace: "http://sns.amazonaws.com/doc/2010-03-31/",
            },
            (Self::Sts, _) => Dialect::Query {
                namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
            },
            (Self::Acm | Self::Logs, _) => Dialect::Json(JsonVersion::V1_1, Document::default()),
            (Self::Monitoring, RequestForm::Json) => {
                Dialect::Json(JsonVersion::V1_0, compatible(query_mode))
            }
            (Self::Monitoring, RequestForm::Cbor) => Dialect::Cbor(compatible(query_mode)),
            (Self::Monitoring, RequestForm::Query) => Dialect::Query {
                namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
            },
        }
    }
}

/// CloudWatch had the query protocol first, and its codes.
fn compatible(query_mode: bool) -> Document {
    Document {
        shapes: SHAPES,
        query_mode,
    }
}

/// How a request is written, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestForm {
    /// `smithy-protocol: rpc-v2-cbor`.
    Cbor,
    /// With `X-Amz-Target`.
    Json,
    /// A form in the body or in the query string.
    Query,
}

impl RequestForm {
    /// The form of a request.
    pub(super) fn of(parts: &Parts) -> Self {
        if parts.headers.contains_key("smithy-protocol") {
            Self::Cbor
        } else if parts.headers.contains_key("x-amz-target") {
            Self::Json
        } else {
            Self::Query
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_answers_in_a_form_that_it_has() {
        for name in [
            "acm",
            "ec2",
            "elasticloadbalancing",
            "logs",
            "monitoring",
            "sns",
            "sts",
        ] {
            let service = Service::named(name).unwrap();
            for form in [RequestForm::Cbor, RequestForm::Json, RequestForm::Query] {
                let dialect = service.dialect(form, true);
                assert_eq!(
                    dialect.is_document(),
                    matches!(service, Service::Acm | Service::Logs)
                        || service == Service::Monitoring && form != RequestForm::Query,
                    "{name} {form:?}"
                );
            }
        }
        assert_eq!(Service::named("cloudwatch"), None);
    }
}
