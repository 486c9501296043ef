//! What can be set of a target group by name.

use enid_model::id::TargetGroupId;
use enid_model::target_group::{
    BalancedProtocol, MinimumHealthy, TargetGroup, TargetGroupAttributes, TargetType,
};

use crate::listener_tls::check_proxied_group;
use crate::load_balancer_attribute::{Attribute, check_once, flag, number, value_error};
use crate::target_quota::check_crossing;
use crate::{BalancingError, Caller, Control, Error};

impl Control {
    /// ModifyTargetGroupAttributes: all of them or none.
    pub async fn modify_target_group_attributes(
        &self,
        caller: &Caller,
        id: TargetGroupId,
        attributes: &[Attribute],
    ) -> Result<TargetGroup, Error> {
        check_once(attributes)?;
        self.transact(caller, |draft| {
            let group = draft.require::<TargetGroup>(id)?;
            let mut new = TargetGroup::clone(&group);
            for Attribute { key, value } in attributes {
                set(&mut new, key, value)?;
            }
            check_together(&new)?;
            if new.attributes.cross_zone != group.attributes.cross_zone {
                for balancer in draft.region.load_balancers_of_group(id) {
                    check_crossing(&draft.region, balancer, Some(&new))?;
                }
            }
            check_proxied_group(&new)?;
            // Of a group that changes and a listener that comes to lead to it, the second finds the first.
            draft.edit(&group, |group| *group = new.clone());
            Ok(new)
        })
        .await
    }
}

/// What a new target group has.
pub(crate) fn defaults(protocol: BalancedProtocol, of: TargetType) -> TargetGroupAttributes {
    TargetGroupAttributes {
        connection_termination: protocol.has_udp(),
        preserve_client_ip: of == TargetType::Instance || protocol.has_udp(),
        ..TargetGroupAttributes::default()
    }
}

/// The attributes of a target group by name.
#[must_use]
pub fn target_group_attributes(group: &TargetGroup) -> Vec<(&'static str, String)> {
    let own = &group.attributes;
    let count = |minimum: MinimumHealthy| {
        let count = minimum.count.map(|count| count.to_string());
        count.unwrap_or_else(|| OFF.to_owned())
    };
    let percentage = |minimum: MinimumHealthy| {
        let percentage = minimum.percentage.map(|percentage| percentage.to_string());
        percentage.unwrap_or_else(|| OFF.to_owned())
    };
    let cross_zone = own.cross_zone.map(|crosses| crosses.to_string());
    let mut all = vec![
        (DELAY, own.deregistration_delay_s.to_string()),
        (TERMINATION, own.connection_termination.to_string()),
        (PRESERVE, own.preserve_client_ip.to_string()),
        (PROXY_PROTOCOL, own.proxy_protocol_v2.to_string()),
        (STICKINESS, own.is_sticky.to_string()),
        (STICKINESS_TYPE, SOURCE_IP.to_owned()),
        (
            CROSS_ZONE,
            cross_zone.unwrap_or_else(|| AS_LOAD_BALANCER.to_owned()),
        ),
        (DNS_COUNT, count(own.dns_failover)),
        (DNS_PERCENTAGE, percentage(own.dns_failover)),
        (ROUTING_COUNT, count(own.unhealthy_routing)),
        (ROUTING_PERCENTAGE, percentage(own.unhealthy_routing)),
    ];
    if group.protocol.has_tcp() {
        let unhealthy = own.unhealthy_connection_termination;
        let interval = own.unhealthy_draining_interval_s;
        all.push((UNHEALTHY_TERMINATION, unhealthy.to_string()));
        all.push((UNHEALTHY_INTERVAL, interval.to_string()));
    }
    all.sort_unstable();
    all
}

fn set(group: &mut TargetGroup, key: &str, value: &str) -> Result<(), BalancingError> {
    let protocol = group.protocol;
    let own = &mut group.attributes;
    match key {
        DELAY => own.deregistration_delay_s = number(key, value, 0..=3600)?,
        TERMINATION => own.connection_termination = flag(key, value)?,
        PRESERVE => {
            let preserves = flag(key, value)?;
            if !preserves && protocol.has_udp() {
                let protocol = protocol.word();
                let why = format!(
                    "Client IP preservation cannot be disabled for target groups with the {protocol} protocol"
                );
                return Err(BalancingError::Attributes { why: why.into() });
            }
            own.preserve_client_ip = preserves;
        }
        PROXY_PROTOCOL => own.proxy_protocol_v2 = flag(key, value)?,
        STICKINESS => own.is_sticky = flag(key, value)?,
        STICKINESS_TYPE => {
            if value != SOURCE_IP {
                let protocol = protocol.word();
                let why = format!(
                    "Stickiness type '{value}' is not supported for target groups with the {protocol} protocol"
                );
                return Err(BalancingError::Attributes { why: why.into() });
            }
        }
        CROSS_ZONE => {
            own.cross_zone = match value {
                "true" => Some(true),
                "false" => Some(false),
                AS_LOAD_BALANCER => None,
                _ => {
                    let why = format!("it must be true, false or {AS_LOAD_BALANCER}");
                    return Err(value_error(key, value, why));
                }
            }
        }
        DNS_COUNT => own.dns_failover.count = or_off(key, value, |v| number(key, v, 1..=1000))?,
        DNS_PERCENTAGE => {
            own.dns_failover.percentage = or_off(key, value, |v| number(key, v, 1..=100))?;
        }
        // A group has a number below which all its targets are taken.
        ROUTING_COUNT => own.unhealthy_routing.count = Some(number(key, value, 1..=1000)?),
        ROUTING_PERCENTAGE => {
            own.unhealthy_routing.percentage = or_off(key, value, |v| number(key, v, 1..=100))?;
        }
        UNHEALTHY_TERMINATION if protocol.has_tcp() => {
            own.unhealthy_connection_termination = flag(key, value)?;
        }
        UNHEALTHY_INTERVAL if protocol.has_tcp() => {
            own.unhealthy_draining_interval_s = number(key, value, 0..=360_000)?;
        }
        _ => return Err(unknown(protocol, key)),
    }
    Ok(())
}

fn or_off<T>(
    key: &str,
    value: &str,
    read: impl Fn(&str) -> Result<T, BalancingError>,
) -> Result<Option<T>, BalancingError> {
    if value == OFF {
        return Ok(None);
    }
    let read = read(value).map(Some);
    read.map_err(|error| match error {
        BalancingError::AttributeValue { why, .. } => {
            value_error(key, value, format!("{why}, or {OFF}"))
        }
        other => other,
    })
}

/// What attributes say of one another.
fn check_together(group: &TargetGroup) -> Result<(), BalancingError> {
    let own = &group.attributes;
    let refuse = |why: &str| Err(BalancingError::Attributes { why: why.into() });
    if own.unhealthy_draining_interval_s > 0 && own.unhealthy_connection_termination {
        return refuse(
            "You can specify a draining interval only if connection termination for unhealthy targets is disabled",
        );
    }
    let (dns, routing) = (own.dns_failover, own.unhealthy_routing);
    let below = |dns: Option<u32>, routing: Option<u32>| match (dns, routing) {
        (Some(dns), Some(routing)) => dns < routing,
        _ => false,
    };
    let percentages = (
        dns.percentage.map(u32::from),
        routing.percentage.map(u32::from),
    );
    if below(dns.count, routing.count) || below(percentages.0, percentages.1) {
        return refuse(
            "The DNS failover threshold must be greater than or equal to the unhealthy state routing threshold",
        );
    }
    Ok(())
}

fn unknown(protocol: BalancedProtocol, key: &str) -> BalancingError {
    let short: String = key.chars().take(100).collect();
    if OF_OTHERS.iter().any(|prefix| key.starts_with(prefix)) {
        let protocol = protocol.word();
        let why = format!(
            "Target group attribute key '{short}' is not supported on target groups with the {protocol} protocol"
        );
        return BalancingError::Attributes { why: why.into() };
    }
    BalancingError::validation(format!(
        "Target group attribute key '{short}' is not recognized"
    ))
}

const DELAY: &str = "deregistration_delay.timeout_seconds";
const TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
const PRESERVE: &str = "preserve_client_ip.enabled";
const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
const STICKINESS: &str = "stickiness.enabled";
const STICKINESS_TYPE: &str = "stickiness.type";
const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";
const ROUTING_COUNT: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
const ROUTING_PERCENTAGE: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
const UNHEALTHY_TERMINATION: &str = "target_health_state.unhealthy.connection_termination.enabled";
const UNHEALTHY_INTERVAL: &str = "target_health_state.unhealthy.draining_interval_seconds";

const OFF: &str = "off";
const SOURCE_IP: &str = "source_ip";
const AS_LOAD_BALANCER: &str = "use_load_balancer_configuration";

/// What names of attributes of other target groups start with.
const OF_OTHERS: &[&str] = &[
    "lambda.",
    "load_balancing.algorithm.",
    "slow_start.",
    "stickiness.",
    "target_failover.",
    "target_health_state.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, place, target_group};

    #[tokio::test]
    async fn attributes_have_bounds_and_go_together() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let tcp = target_group(&control, &place, "tcp", BalancedProtocol::Tcp).await;
        let udp = target_group(&control, &place, "udp", BalancedProtocol::Udp).await;
        assert!(!tcp.attributes.connection_termination && udp.attributes.connection_termination);
        assert_eq!(target_group_attributes(&tcp).len(), 13);
        assert_eq!(target_group_attributes(&udp).len(), 11);
        let set = |group: &TargetGroup, pairs: &[(&str, &str)]| {
            let attributes: Vec<_> = pairs
                .iter()
                .map(|(key, value)| Attribute {
                    key: (*key).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect();
            let (control, caller, id) = (&control, &caller, group.id);
            async move {
                let done = control.modify_target_group_attributes(caller, id, &attributes);
                let done = done.await.map(|group| group.attributes);
                done.map_err(|error| error.code())
            }
        };
        let new = set(&tcp, &[(DELAY, "30"), (CROSS_ZONE, "true")]).await;
        let new = new.expect("they are set");
        assert_eq!(
            (new.deregistration_delay_s, new.cross_zone),
            (30, Some(true))
        );
        let new = set(&tcp, &[(CROSS_ZONE, AS_LOAD_BALANCER), (DNS_COUNT, OFF)]).await;
        let new = new.expect("they are set");
        assert_eq!((new.cross_zone, new.dns_failover.count), (None, None));
        let drained = [(UNHEALTHY_TERMINATION, "false"), (UNHEALTHY_INTERVAL, "60")];
        assert!(set(&tcp, &drained).await.is_ok());
        let headed = [(PROXY_PROTOCOL, "true")];
        assert!(set(&tcp, &headed).await.is_ok());
        let wrong = Err("InvalidConfigurationRequest");
        for (group, pairs, refused) in [
            (&tcp, &[(DELAY, "3601")][..], wrong),
            (&tcp, &[(ROUTING_COUNT, OFF)], wrong),
            (&tcp, &[(DNS_PERCENTAGE, "101")], wrong),
            (&tcp, &[(UNHEALTHY_TERMINATION, "true")], wrong),
            (
                &tcp,
                &[(DNS_PERCENTAGE, "10"), (ROUTING_PERCENTAGE, "20")],
                wrong,
            ),
            (&udp, &[(PRESERVE, "false")], wrong),
            (&udp, &[(UNHEALTHY_TERMINATION, "false")], wrong),
            (&tcp, &[(STICKINESS_TYPE, "lb_cookie")], wrong),
            (&tcp, &[("slow_start.duration_seconds", "30")], wrong),
            (&tcp, &[("colour", "red")], Err("ValidationError")),
            (&tcp, &[(DELAY, "1"), (DELAY, "2")], Err("ValidationError")),
            (
                &udp,
                &[(PROXY_PROTOCOL, "true")],
                Err("UnsupportedOperation"),
            ),
        ] {
            assert_eq!(set(group, pairs).await, refused, "{pairs:?}");
        }
    }
}
