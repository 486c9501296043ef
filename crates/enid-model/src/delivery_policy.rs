//! How deliveries over HTTP are retried, throttled and labelled, as topics and subscriptions say it.
//!
//! The names are those of AWS's JSON, so that what is stored reads like what was sent.

use serde::{Deserialize, Serialize};

/// What a topic says for all its subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicDeliveryPolicy {
    /// For HTTP and HTTPS, the only protocols that have one.
    #[serde(default)]
    pub http: HttpDeliveryPolicy,
}

/// What a topic says of deliveries over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpDeliveryPolicy {
    /// When a delivery is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_healthy_retry_policy: Option<RetryPolicy>,
    /// Whether what subscriptions say is of no effect.
    #[serde(default)]
    pub disable_subscription_overrides: bool,
    /// How many deliveries a second there are at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_throttle_policy: Option<ThrottlePolicy>,
    /// What requests say of their bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_request_policy: Option<RequestPolicy>,
}

/// What a subscription says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionDeliveryPolicy {
    /// When a delivery is tried again.
    #[serde(default)]
    pub healthy_retry_policy: Option<RetryPolicy>,
    /// AWS has this member and gives it no meaning; only its absence is accepted.
    #[serde(default)]
    pub sickly_retry_policy: Option<Nothing>,
    /// How many deliveries a second there are at most.
    #[serde(default)]
    pub throttle_policy: Option<ThrottlePolicy>,
    /// What requests say of their bodies.
    #[serde(default)]
    pub request_policy: Option<RequestPolicy>,
    /// As with the sickly retry policy: only `false`.
    #[serde(default)]
    pub guaranteed: bool,
}

/// No value is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

/// When a delivery that failed is tried again. What is absent is as in [`Retries::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// Seconds between tries before the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_delay_target: Option<u32>,
    /// Seconds between tries after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay_target: Option<u32>,
    /// How many tries follow the first, in all phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// How many of them are after the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_max_delay_retries: Option<u32>,
    /// How many of them follow at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_no_delay_retries: Option<u32>,
    /// How many of them are before the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_min_delay_retries: Option<u32>,
    /// How the delay grows meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_function: Option<BackoffFunction>,
}

/// How many deliveries a second there are at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottlePolicy {
    /// So many.
    pub max_receives_per_second: u32,
}

/// What requests say of their bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestPolicy {
    /// Their `Content-Type`.
    pub header_content_type: String,
}

/// How the delay between tries grows from the least to the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackoffFunction {
    /// By steps that grow evenly.
    Arithmetic,
    /// By a constant factor, steeper than the geometric one.
    Exponential,
    /// By a constant factor.
    Geometric,
    /// By equal steps.
    #[default]
    Linear,
}

/// When a delivery is tried again, with everything said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Seconds between tries before the backoff.
    pub min_delay_target: u32,
    /// Seconds between tries after it.
    pub max_delay_target: u32,
    /// How many tries follow the first.
    pub num_retries: u32,
    /// How many of them are after the backoff.
    pub num_max_delay_retries: u32,
    /// How many of them follow at once.
    pub num_no_delay_retries: u32,
    /// How many of them are before the backoff.
    pub num_min_delay_retries: u32,
    /// How the delay grows meanwhile.
    pub backoff_function: BackoffFunction,
}

/// AWS's own for HTTP: three times, twenty seconds apart.
impl Default for Retries {
    fn default() -> Self {
        Self {
            min_delay_target: 20,
            max_delay_target: 20,
            num_retries: 3,
            num_max_delay_retries: 0,
            num_no_delay_retries: 0,
            num_min_delay_retries: 0,
            backoff_function: BackoffFunction::Linear,
        }
    }
}

impl From<&RetryPolicy> for Retries {
    fn from(policy: &RetryPolicy) -> Self {
        let usual = Self::default();
        Self {
            min_delay_target: policy.min_delay_target.unwrap_or(usual.min_delay_target),
            max_delay_target: policy.max_delay_target.unwrap_or(usual.max_delay_target),
            num_retries: policy.num_retries.unwrap_or(usual.num_retries),
            num_max_delay_retries: policy.num_max_delay_retries.unwrap_or_default(),
            num_no_delay_retries: policy.num_no_delay_retries.unwrap_or_default(),
            num_min_delay_retries: policy.num_min_delay_retries.unwrap_or_default(),
            backoff_function: policy.backoff_function.unwrap_or_default(),
        }
    }
}

impl Retries {
    /// AWS's own for mail, which no policy changes: fifty times, over six hours.
    pub const MAIL: Self = Self {
        min_delay_target: 10,
        max_delay_target: 600,
        num_retries: 50,
        num_max_delay_retries: 38,
        num_no_delay_retries: 0,
        num_min_delay_retries: 2,
        backoff_function: BackoffFunction::Exponential,
    };

    /// Milliseconds between the failure after so many retries and the next one; `None` if there is no
    /// next one. The phases follow one another: at once, before the backoff, the backoff, after it.
    #[must_use]
    pub fn delay_ms(&self, done: u32) -> Option<i64> {
        if done >= self.num_retries {
            return None;
        }
        let (least, most) = (
            f64::from(self.min_delay_target),
            f64::from(self.max_delay_target),
        );
        let backoff_starts = self
            .num_no_delay_retries
            .saturating_add(self.num_min_delay_retries);
        let backoff_ends = self.num_retries.saturating_sub(self.num_max_delay_retries);
        let seconds = if done < self.num_no_delay_retries {
            0.0
        } else if done < backoff_starts {
            least
        } else if done >= backoff_ends {
            most
        } else {
            let steps = backoff_ends
                .saturating_sub(backoff_starts)
                .saturating_sub(1);
            let step = done.saturating_sub(backoff_starts);
            let way = f64::from(step) / f64::from(steps.max(1));
            self.backoff(least, most, way)
        };
        // Both ends are bounded by an hour or less, so the number is small and positive.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most some thousand seconds"
        )]
        Some((seconds * 1000.0).round() as i64)
    }

    /// The delay at a part of the way, from 0 to 1, through the backoff. AWS draws the four functions
    /// and gives no formulas; these have the order of its drawing, linear highest and exponential lowest.
    fn backoff(&self, least: f64, most: f64, way: f64) -> f64 {
        match self.backoff_function {
            BackoffFunction::Linear => least + (most - least) * way,
            BackoffFunction::Arithmetic => least + (most - least) * way * (1.0 + way) / 2.0,
            BackoffFunction::Geometric => least * (most / least).powf(way),
            BackoffFunction::Exponential => least * (most / least).powf(way * way),
        }
    }
}

/// What is in force for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// When a delivery is tried again.
    pub retries: Retries,
    /// How many deliveries a second there are at most.
    pub throttle: Option<ThrottlePolicy>,
    /// The `Content-Type` of notifications.
    pub content_type: String,
}

/// The `Content-Type` of what is sent, unless a policy says another.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";

impl EffectivePolicy {
    /// What a topic says, and of a subscription what the topic lets it say.
    #[must_use]
    pub fn of(
        topic: Option<&TopicDeliveryPolicy>,
        subscription: Option<&SubscriptionDeliveryPolicy>,
    ) -> Self {
        let topic = topic.map(|policy| &policy.http);
        let overruled = topic.is_some_and(|topic| topic.disable_subscription_overrides);
        let subscription = subscription.filter(|_| !overruled);
        let retry = subscription
            .and_then(|own| own.healthy_retry_policy.as_ref())
            .or_else(|| topic?.default_healthy_retry_policy.as_ref());
        let throttle = subscription
            .and_then(|own| own.throttle_policy)
            .or_else(|| topic?.default_throttle_policy);
        let request = subscription
            .and_then(|own| own.request_policy.as_ref())
            .or_else(|| topic?.default_request_policy.as_ref());
        Self {
            retries: retry.map(Retries::from).unwrap_or_default(),
            throttle,
            content_type: request
                .map_or(CONTENT_TYPE, |own| &own.header_content_type)
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_overrides_its_topic_unless_that_is_disabled() {
        assert_eq!(EffectivePolicy::of(None, None).retries, Retries::default());
        let retries = |num_retries| RetryPolicy {
            num_retries: Some(num_retries),
            ..RetryPolicy::default()
        };
        let mut topic = TopicDeliveryPolicy::default();
        topic.http.default_healthy_retry_policy = Some(retries(5));
        topic.http.default_request_policy = Some(RequestPolicy {
            header_content_type: "application/json".to_owned(),
        });
        let subscription = SubscriptionDeliveryPolicy {
            healthy_retry_policy: Some(retries(7)),
            ..SubscriptionDeliveryPolicy::default()
        };
        let both = EffectivePolicy::of(Some(&topic), Some(&subscription));
        assert_eq!(both.retries.num_retries, 7);
        assert_eq!(both.content_type, "application/json");
        topic.http.disable_subscription_overrides = true;
        let overruled = EffectivePolicy::of(Some(&topic), Some(&subscription));
        assert_eq!(overruled.retries.num_retries, 5);
    }

    #[test]
    fn retries_go_through_four_phases() {
        let usual = Retries::default();
        let delays: Vec<_> = (0..4).map(|done| usual.delay_ms(done)).collect();
        assert_eq!(delays, [Some(20_000), Some(20_000), Some(20_000), None]);
        let phases = Retries {
            min_delay_target: 1,
            max_delay_target: 9,
            num_retries: 8,
            num_max_delay_retries: 2,
            num_no_delay_retries: 2,
            num_min_delay_retries: 1,
            backoff_function: BackoffFunction::Linear,
        };
        let delays: Vec<_> = (0..9).map_while(|done| phases.delay_ms(done)).collect();
        assert_eq!(delays, [0, 0, 1000, 1000, 5000, 9000, 9000, 9000]);
        let middle = |backoff_function| {
            let retries = Retries {
                backoff_function,
                ..phases
            };
            retries.delay_ms(4).unwrap_or_default()
        };
        assert_eq!(middle(BackoffFunction::Arithmetic), 4000);
        assert_eq!(middle(BackoffFunction::Geometric), 3000);
        assert_eq!(middle(BackoffFunction::Exponential), 1732);
        let mail: i64 = (0..50)
            .filter_map(|done| Retries::MAIL.delay_ms(done))
            .sum();
        assert!(mail > 6 * 3_600_000 && Retries::MAIL.delay_ms(50).is_none());
    }

    #[test]
    fn a_policy_is_stored_in_awss_words() -> Result<(), serde_json::Error> {
        let text = r#"{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":5,"numRetries":1},"disableSubscriptionOverrides":false}}"#;
        let policy: TopicDeliveryPolicy = serde_json::from_str(text)?;
        assert_eq!(serde_json::to_string(&policy)?, text);
        for wrong in [
            r#"{"https":{}}"#,
            r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":-1}}}"#,
            r#"{"http":{"defaultHealthyRetryPolicy":{"backoffFunction":"steep"}}}"#,
        ] {
            assert!(
                serde_json::from_str::<TopicDeliveryPolicy>(wrong).is_err(),
                "{wrong}"
            );
        }
        let sickly = r#"{"sicklyRetryPolicy":{"numRetries":1}}"#;
        assert!(serde_json::from_str::<SubscriptionDeliveryPolicy>(sickly).is_err());
        Ok(())
    }
}
