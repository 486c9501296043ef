//! What can be set of a load balancer by name, and what is only told of it.
//!
//! An attribute that nothing enforces has its default. Setting it to that is no change; another value
//! is refused with the attribute's name.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use enid_model::id::LoadBalancerId;
use enid_model::load_balancer::{ClientRoutingPolicy, LoadBalancer};

use crate::flow_log::{is_bucket, is_folder};
use crate::target_quota::check_crossing;
use crate::{BalancingError, Caller, Control, Error};

/// An attribute of a load balancer, a target group or a listener, as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Control {
    /// ModifyLoadBalancerAttributes: all of them or none.
    pub async fn modify_load_balancer_attributes(
        &self,
        caller: &Caller,
        id: LoadBalancerId,
        attributes: &[Attribute],
    ) -> Result<LoadBalancer, Error> {
        check_once(attributes)?;
        self.transact(caller, |draft| {
            let balancer = draft.require::<LoadBalancer>(id)?;
            let mut new = LoadBalancer::clone(&balancer);
            set_all(&mut new, attributes)?;
            if new.attributes.cross_zone && !balancer.attributes.cross_zone {
                check_crossing(&draft.region, &new, None)?;
            }
            draft.edit(&balancer, |balancer| *balancer = new.clone());
            Ok(new)
        })
        .await
    }
}

/// The attributes of a load balancer by name, in AWS's order: those that were set and those that
/// cannot be.
#[must_use]
pub fn load_balancer_attributes(balancer: &LoadBalancer) -> Vec<(&'static str, String)> {
    let attributes = &balancer.attributes;
    let mut all = vec![
        (CROSS_ZONE, attributes.cross_zone.to_string()),
        (
            DELETION_PROTECTION,
            attributes.deletion_protection.to_string(),
        ),
        (
            ROUTING_POLICY,
            policy_word(attributes.client_routing_policy).to_owned(),
        ),
    ];
    let logs = &attributes.access_logs;
    all.push((LOGS_BUCKET, logs.bucket.clone()));
    all.push((LOGS_ENABLED, logs.is_enabled.to_string()));
    all.push((LOGS_PREFIX, logs.prefix.clone()));
    all.push((DENY_IGW, balancer.denies_ipv6_internet().to_string()));
    all.extend(
        FIXED
            .iter()
            .copied()
            .map(|(key, value)| (key, value.to_owned())),
    );
    all.sort_unstable();
    all
}

/// The bucket that access logs would go to if these attributes were set, and did not before: it has to be asked.
/// `None` as well for attributes that cannot be set.
#[must_use]
pub fn new_access_log_bucket(balancer: &LoadBalancer, wanted: &[Attribute]) -> Option<String> {
    let mut new = balancer.clone();
    set_all(&mut new, wanted).ok()?;
    let (old, new) = (&balancer.attributes.access_logs, new.attributes.access_logs);
    (new.is_enabled && new != *old).then_some(new.bucket)
}

fn set_all(balancer: &mut LoadBalancer, attributes: &[Attribute]) -> Result<(), BalancingError> {
    for Attribute { key, value } in attributes {
        set(balancer, key, value)?;
    }
    let logs = &balancer.attributes.access_logs;
    if logs.is_enabled && logs.bucket.is_empty() {
        let why = format!("'{LOGS_BUCKET}' must be specified when '{LOGS_ENABLED}' is true");
        return Err(BalancingError::Attributes { why: why.into() });
    }
    Ok(())
}

fn set(balancer: &mut LoadBalancer, key: &str, value: &str) -> Result<(), BalancingError> {
    let default = match key {
        CROSS_ZONE => {
            balancer.attributes.cross_zone = flag(key, value)?;
            return Ok(());
        }
        DELETION_PROTECTION => {
            balancer.attributes.deletion_protection = flag(key, value)?;
            return Ok(());
        }
        ROUTING_POLICY => {
            let policy = POLICIES.iter().find(|(_, word)| *word == value);
            let (policy, _) = policy.ok_or_else(|| {
                let of = POLICIES.map(|(_, word)| word).join(", ");
                value_error(key, value, format!("it must be one of {of}"))
            })?;
            balancer.attributes.client_routing_policy = *policy;
            return Ok(());
        }
        LOGS_ENABLED => {
            balancer.attributes.access_logs.is_enabled = flag(key, value)?;
            return Ok(());
        }
        LOGS_BUCKET => {
            if !value.is_empty() && !is_bucket(value) {
                return Err(value_error(key, value, "it is no name of a bucket"));
            }
            value.clone_into(&mut balancer.attributes.access_logs.bucket);
            return Ok(());
        }
        LOGS_PREFIX => {
            if !is_folder(value) {
                let why = "it must be a path of plain names, none of which is AWSLogs";
                return Err(value_error(key, value, why));
            }
            value.clone_into(&mut balancer.attributes.access_logs.prefix);
            return Ok(());
        }
        DENY_IGW => {
            balancer.attributes.deny_ipv6_internet = Some(flag(key, value)?);
            return Ok(());
        }
        _ => {
            let known = FIXED.iter().find(|(own, _)| *own == key);
            known.map(|(_, value)| *value).ok_or_else(|| unknown(key))?
        }
    };
    fixed(key, value, default)
}

fn unknown(key: &str) -> BalancingError {
    let of_others = OF_OTHER_TYPES.iter().any(|prefix| key.starts_with(prefix));
    if of_others {
        let why = format!(
            "Load balancer attribute key '{key}' is not supported on load balancers with type 'network'"
        );
        return BalancingError::Attributes { why: why.into() };
    }
    let short: String = key.chars().take(100).collect();
    BalancingError::validation(format!(
        "Load balancer attribute key '{short}' is not recognized"
    ))
}

fn policy_word(policy: ClientRoutingPolicy) -> &'static str {
    let known = POLICIES.iter().find(|(own, _)| *own == policy);
    known.map_or("", |(_, word)| word)
}

const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const DELETION_PROTECTION: &str = "deletion_protection.enabled";
const ROUTING_POLICY: &str = "dns_record.client_routing_policy";
const LOGS_BUCKET: &str = "access_logs.s3.bucket";
const LOGS_ENABLED: &str = "access_logs.s3.enabled";
const LOGS_PREFIX: &str = "access_logs.s3.prefix";
const DENY_IGW: &str = "ipv6.deny_all_igw_traffic";

/// Attributes that nothing enforces, with their defaults.
const FIXED: &[(&str, &str)] = &[
    ("secondary_ips.auto_assigned.per_subnet", "0"),
    ("zonal_shift.config.enabled", "false"),
];

/// What names of attributes of application load balancers start with.
const OF_OTHER_TYPES: &[&str] = &[
    "client_keep_alive.",
    "connection_logs.",
    "health_check_logs.",
    "idle_timeout.",
    "routing.http",
    "waf.",
];

const POLICIES: [(ClientRoutingPolicy, &str); 3] = [
    (
        ClientRoutingPolicy::AnyAvailabilityZone,
        "any_availability_zone",
    ),
    (
        ClientRoutingPolicy::AvailabilityZoneAffinity,
        "availability_zone_affinity",
    ),
    (
        ClientRoutingPolicy::PartialAvailabilityZoneAffinity,
        "partial_availability_zone_affinity",
    ),
];

/// Refuses a name that is there twice.
pub(crate) fn check_once(attributes: &[Attribute]) -> Result<(), BalancingError> {
    let mut seen = BTreeSet::new();
    let mut keys = attributes.iter().map(|attribute| &attribute.key);
    match keys.find(|key| !seen.insert(*key)) {
        None => Ok(()),
        Some(key) => {
            let short: String = key.chars().take(100).collect();
            let why = format!("The attribute '{short}' was specified more than once");
            Err(BalancingError::validation(why))
        }
    }
}

/// `true` or `false`.
pub(crate) fn flag(key: &str, value: &str) -> Result<bool, BalancingError> {
    let read = value.parse();
    read.map_err(|_neither| value_error(key, value, "it must be true or false"))
}

/// A whole number within bounds.
pub(crate) fn number<T>(
    key: &str,
    value: &str,
    bounds: RangeInclusive<T>,
) -> Result<T, BalancingError>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let read = value.parse().ok().filter(|read| bounds.contains(read));
    let (first, last) = (bounds.start(), bounds.end());
    read.ok_or_else(|| value_error(key, value, format!("it must be between {first} and {last}")))
}

/// Refuses any value but the one that an attribute has for good.
pub(crate) fn fixed(key: &str, value: &str, default: &str) -> Result<(), BalancingError> {
    if value == default {
        return Ok(());
    }
    let short: String = value.chars().take(100).collect();
    Err(BalancingError::NotImplemented {
        what: format!("the value '{short}' of the attribute {key}").into(),
    })
}

pub(crate) fn value_error(key: &str, value: &str, why: impl Into<Box<str>>) -> BalancingError {
    let short: String = value.chars().take(100).collect();
    BalancingError::AttributeValue {
        key: key.into(),
        value: short.into(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{balancer, caller, control, place};

    #[tokio::test]
    async fn what_is_enforced_can_be_set_and_nothing_else() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let id = balancer(&control, &place, "web").await.id;
        let set = |key: &str, value: &str| {
            let attribute = Attribute {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            let (control, caller) = (&control, &caller);
            async move {
                let attributes = [attribute];
                let done = control.modify_load_balancer_attributes(caller, id, &attributes);
                done.await
                    .map_err(|error| (error.code(), error.to_string()))
            }
        };
        let new = set(CROSS_ZONE, "true").await.expect("it is set");
        assert!(new.attributes.cross_zone);
        let new = set(ROUTING_POLICY, "availability_zone_affinity").await;
        let told = load_balancer_attributes(&new.expect("it is set"));
        assert_eq!(told.len(), 9);
        assert!(told.contains(&(ROUTING_POLICY, "availability_zone_affinity".to_owned())));
        assert!(told.contains(&(DENY_IGW, "true".to_owned())));
        assert!(set("zonal_shift.config.enabled", "false").await.is_ok());
        assert!(set(LOGS_BUCKET, "logs-of-mine").await.is_ok());
        assert!(set(LOGS_PREFIX, "web/tls").await.is_ok());
        let new = set(LOGS_ENABLED, "true").await.expect("it is set");
        let logs = new.attributes.access_logs.clone();
        let told = (logs.is_enabled, &*logs.bucket, &*logs.prefix);
        assert_eq!(told, (true, "logs-of-mine", "web/tls"));
        let asked = |key: &str, value: &str| {
            let attribute = Attribute {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            new_access_log_bucket(&new, &[attribute])
        };
        assert_eq!(asked(LOGS_BUCKET, "another").as_deref(), Some("another"));
        assert_eq!(asked(LOGS_BUCKET, "logs-of-mine"), None);
        assert_eq!(asked(LOGS_ENABLED, "false"), None);
        for (key, value, code, words) in [
            (
                LOGS_BUCKET,
                "",
                "InvalidConfigurationRequest",
                "'access_logs.s3.bucket' must be specified when 'access_logs.s3.enabled' is true",
            ),
            (
                LOGS_BUCKET,
                "../b",
                "InvalidConfigurationRequest",
                "'access_logs.s3.bucket' value '../b' is not valid: it is no name of a bucket",
            ),
            (
                LOGS_PREFIX,
                "AWSLogs/x",
                "InvalidConfigurationRequest",
                "'access_logs.s3.prefix' value 'AWSLogs/x' is not valid: it must be a path of plain names, none of which is AWSLogs",
            ),
            (
                "zonal_shift.config.enabled",
                "true",
                "UnsupportedOperation",
                "Enid does not implement the value 'true' of the attribute zonal_shift.config.enabled",
            ),
            (
                CROSS_ZONE,
                "yes",
                "InvalidConfigurationRequest",
                "'load_balancing.cross_zone.enabled' value 'yes' is not valid: it must be true or false",
            ),
            (
                "idle_timeout.timeout_seconds",
                "60",
                "InvalidConfigurationRequest",
                "Load balancer attribute key 'idle_timeout.timeout_seconds' is not supported on load balancers with type 'network'",
            ),
            (
                "colour",
                "red",
                "ValidationError",
                "Load balancer attribute key 'colour' is not recognized",
            ),
        ] {
            let refused = set(key, value).await.map(|_| ());
            assert_eq!(refused, Err((code, words.to_owned())));
        }
    }
}
