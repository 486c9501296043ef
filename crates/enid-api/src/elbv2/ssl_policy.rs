//! Security policies of TLS listeners.

use enid_control::BalancingError;
use enid_model::ssl_policy::{POLICIES_OF_AWS, SslPolicy};

use super::{Elbv2, page, refused};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::DescribeSSLPoliciesRequest;
use crate::generated::elbv2::response::{self, Cipher, DescribeSSLPoliciesResponse};

/// DescribeSSLPolicies: those that are honoured as they are written.
pub(super) async fn describe_ssl_policies(
    _elbv2: &Elbv2,
    _context: &Context,
    request: DescribeSSLPoliciesRequest,
) -> Result<DescribeSSLPoliciesResponse, ApiError> {
    let names = request.names.iter();
    let found = names.map(|name| named("DescribeSSLPolicies", "Names", name));
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable_by_key(|policy| policy.name());
    if request.names.is_empty() {
        found.extend(SslPolicy::ALL);
    }
    let described = found
        .into_iter()
        .map(|policy| (policy.name().to_owned(), answer(policy)));
    let page = page::take(described, request.marker.as_deref(), request.page_size)?;
    let (ssl_policies, next_marker) = page;
    Ok(DescribeSSLPoliciesResponse {
        ssl_policies,
        next_marker,
    })
}

/// The policy of a name: one of AWS's that Enid cannot honour is refused by name.
pub(super) fn named(operation: &str, parameter: &str, name: &str) -> Result<SslPolicy, ApiError> {
    if let Some(policy) = SslPolicy::named(name) {
        return Ok(policy);
    }
    if POLICIES_OF_AWS.contains(&name) {
        return Err(ApiError::value_not_implemented(operation, parameter, name));
    }
    let name: String = name.chars().take(100).collect();
    let name = name.into();
    Err(refused(BalancingError::SslPolicyNotFound { name }))
}

fn answer(policy: SslPolicy) -> response::SslPolicy {
    let ciphers = policy.ciphers().zip(1..);
    let ciphers = ciphers.map(|(name, priority)| Cipher {
        name: Some(name.into()),
        priority: Some(priority),
    });
    response::SslPolicy {
        ssl_protocols: policy.versions().map(Into::into).collect(),
        ciphers: ciphers.collect(),
        name: Some(policy.name().into()),
        supported_load_balancer_types: vec!["network".into()],
    }
}
