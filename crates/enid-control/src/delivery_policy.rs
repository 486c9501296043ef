//! Delivery policies as clients write them, held against AWS's rules.
//!
//! Source of the ranges: the SNS Developer Guide, "Creating an HTTP/S delivery policy".

use enid_model::delivery_policy::{
    RequestPolicy, Retries, RetryPolicy, SubscriptionDeliveryPolicy, ThrottlePolicy,
    TopicDeliveryPolicy,
};
use serde::de::DeserializeOwned;

use crate::NotificationError;

/// A topic's policy. An empty text takes it away.
pub fn topic_delivery_policy(text: &str) -> Result<Option<TopicDeliveryPolicy>, NotificationError> {
    let Some(policy) = read::<TopicDeliveryPolicy>(text)? else {
        return Ok(None);
    };
    let http = &policy.http;
    check(
        http.default_healthy_retry_policy.as_ref(),
        http.default_throttle_policy,
        http.default_request_policy.as_ref(),
    )?;
    Ok(Some(policy))
}

/// A subscription's policy. An empty text takes it away.
pub fn subscription_delivery_policy(
    text: &str,
) -> Result<Option<SubscriptionDeliveryPolicy>, NotificationError> {
    let Some(policy) = read::<SubscriptionDeliveryPolicy>(text)? else {
        return Ok(None);
    };
    if policy.guaranteed {
        return Err(wrong("guaranteed must be false"));
    }
    let retry = policy.healthy_retry_policy.as_ref();
    check(
        retry,
        policy.throttle_policy,
        policy.request_policy.as_ref(),
    )?;
    Ok(Some(policy))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<Option<T>, NotificationError> {
    if text.is_empty() {
        return Ok(None);
    }
    // An empty object and a null are as much as nothing.
    let value: Option<T> = serde_json::from_str(text)
        .map_err(|error| wrong(&format!("failed to parse JSON. {error}")))?;
    Ok(value)
}

fn wrong(reason: &str) -> NotificationError {
    NotificationError::invalid(format!("DeliveryPolicy: {reason}"))
}

fn check(
    retry: Option<&RetryPolicy>,
    throttle: Option<ThrottlePolicy>,
    request: Option<&RequestPolicy>,
) -> Result<(), NotificationError> {
    if let Some(retry) = retry {
        check_retries(&Retries::from(retry))?;
    }
    if throttle.is_some_and(|throttle| throttle.max_receives_per_second == 0) {
        let reason = "throttlePolicy.maxReceivesPerSecond must be greater than or equal to 1";
        return Err(wrong(reason));
    }
    if let Some(RequestPolicy {
        header_content_type,
    }) = request
    {
        let media_type = header_content_type.split(';').next().unwrap_or_default();
        if !CONTENT_TYPES.contains(&media_type.trim())
            || header_content_type.chars().any(char::is_control)
        {
            return Err(wrong("requestPolicy.headerContentType is not supported"));
        }
    }
    Ok(())
}

fn check_retries(retries: &Retries) -> Result<(), NotificationError> {
    let between = |value: u32, least: u32, most: u32, name: &str| match value {
        value if value < least => Err(wrong(&format!(
            "healthyRetryPolicy.{name} must be greater than or equal to {least}"
        ))),
        value if value > most => Err(wrong(&format!(
            "healthyRetryPolicy.{name} must be less than or equal to {most}"
        ))),
        _ => Ok(()),
    };
    between(retries.num_retries, 0, 100, "numRetries")?;
    between(retries.min_delay_target, 1, TOTAL_MAX, "minDelayTarget")?;
    between(retries.max_delay_target, 1, TOTAL_MAX, "maxDelayTarget")?;
    if retries.max_delay_target < retries.min_delay_target {
        let reason =
            "healthyRetryPolicy.maxDelayTarget must be greater than or equal to minDelayTarget";
        return Err(wrong(reason));
    }
    let phases = [
        retries.num_no_delay_retries,
        retries.num_min_delay_retries,
        retries.num_max_delay_retries,
    ];
    let named: u64 = phases.into_iter().map(u64::from).sum();
    if named > u64::from(retries.num_retries) {
        let reason = "healthyRetryPolicy.numRetries must be greater than or equal to the retries of its phases";
        return Err(wrong(reason));
    }
    let total_ms: i64 = (0..).map_while(|done| retries.delay_ms(done)).sum();
    if total_ms > i64::from(TOTAL_MAX) * 1000 {
        let reason =
            "healthyRetryPolicy: the total delay of all retries must not be more than 3600 seconds";
        return Err(wrong(reason));
    }
    Ok(())
}

/// Seconds that all retries of a delivery may take, which AWS does not let anybody raise.
const TOTAL_MAX: u32 = 3600;

/// What a notification may say that its body is.
/// Source: the SNS Developer Guide, "Creating an HTTP/S delivery policy", `headerContentType`.
const CONTENT_TYPES: &[&str] = &[
    "application/atom+xml",
    "application/json",
    "application/octet-stream",
    "application/soap+xml",
    "application/x-www-form-urlencoded",
    "application/xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/plain",
    "text/xml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_keep_awss_rules() {
        for text in [
            "{}",
            r#"{"healthyRetryPolicy":{"numRetries":5}}"#,
            r#"{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":0,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"sicklyRetryPolicy":null,"throttlePolicy":{"maxReceivesPerSecond":1000},"requestPolicy":null,"guaranteed":false}"#,
            r#"{"requestPolicy":{"headerContentType":"application/json; charset=UTF-8"}}"#,
        ] {
            let policy = subscription_delivery_policy(text);
            assert!(matches!(policy, Ok(Some(_))), "{text}");
        }
        assert_eq!(subscription_delivery_policy(""), Ok(None));
        for text in [
            "{",
            r#"{"healthyRetryPolicy":{"numRetries":101}}"#,
            r#"{"healthyRetryPolicy":{"minDelayTarget":0}}"#,
            r#"{"healthyRetryPolicy":{"minDelayTarget":21}}"#,
            r#"{"healthyRetryPolicy":{"maxDelayTarget":3601}}"#,
            r#"{"healthyRetryPolicy":{"numRetries":1,"numNoDelayRetries":2}}"#,
            r#"{"healthyRetryPolicy":{"minDelayTarget":60,"maxDelayTarget":60,"numRetries":61}}"#,
            r#"{"throttlePolicy":{"maxReceivesPerSecond":0}}"#,
            r#"{"requestPolicy":{"headerContentType":"image/png"}}"#,
            r#"{"requestPolicy":{"headerContentType":"text/plain;\r\nX-Other: 1"}}"#,
            r#"{"guaranteed":true}"#,
            r#"{"colour":1}"#,
        ] {
            let code = subscription_delivery_policy(text).map_err(|error| error.code());
            assert_eq!(code, Err("InvalidParameter"), "{text}");
        }
    }

    #[test]
    fn a_topics_policy_is_under_http() {
        let text = r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":0},"defaultThrottlePolicy":{"maxReceivesPerSecond":5}}}"#;
        assert!(matches!(topic_delivery_policy(text), Ok(Some(_))));
        let error =
            topic_delivery_policy(r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":101}}}"#);
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err("Invalid parameter: DeliveryPolicy: healthyRetryPolicy.numRetries must be less than or equal to 100".to_owned())
        );
        assert!(topic_delivery_policy(r#"{"healthyRetryPolicy":{}}"#).is_err());
    }
}
