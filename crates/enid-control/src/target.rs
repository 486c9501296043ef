//! Targets: registering and deregistering them. Their health is in `target_health`.
//!
//! A target that is deregistered is draining for the group's delay, and is forgotten then
//! ([`Control::forget_targets`]). One that no flow can have come to goes at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use enid_model::id::{InstanceId, TargetGroupId};
use enid_model::instance::{DesiredState, Instance};
use enid_model::key::Kind;
use enid_model::network_interface::NetworkInterface;
use enid_model::record::Record;
use enid_model::state::RegionState;
use enid_model::subnet::Subnet;
use enid_model::target::{HealthState, Target, TargetHealth, TargetId, TargetKey};
use enid_model::target_group::{TargetGroup, TargetType};
use enid_model::time::Timestamp;
use ipnet::Ipv4Net;

use crate::target_group::put_target;
use crate::target_quota::check_new;
use crate::{BalancingError, Caller, Control, Draft, Error};

/// A target as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTarget {
    /// An instance, or an address.
    pub id: String,
    /// Its port; else the group's.
    pub port: Option<u16>,
    /// Its zone, or `all`: of addresses only.
    pub zone: Option<String>,
}

impl Control {
    /// RegisterTargets: all of them or none. One that is registered stays as it is, one that is draining
    /// is registered again.
    pub async fn register_targets(
        &self,
        caller: &Caller,
        group: TargetGroupId,
        wanted: &[NamedTarget],
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let group = draft.require::<TargetGroup>(group)?;
            let mut new = BTreeMap::new();
            let resolved = resolve(draft, &group, wanted)?;
            for target in resolved {
                new.insert(target.key, target);
            }
            check_new(&draft.region, &group, &new)?;
            for (key, target) in new {
                let known = draft.region.targets.get(&key).cloned();
                match known {
                    None => draft.claim(key.to_string(), Record::Target(target)),
                    Some(known) if known.is_registered() => {}
                    // The flows that it has go on: it is the registration that they know.
                    Some(known) => {
                        let uid = known.uid;
                        put_target(draft, &known, Target { uid, ..target });
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// DeregisterTargets. Those that are not registered are no error.
    pub async fn deregister_targets(
        &self,
        caller: &Caller,
        group: TargetGroupId,
        wanted: &[NamedTarget],
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let group = draft.require::<TargetGroup>(group)?;
            let region = Arc::clone(&draft.region);
            for target in wanted {
                let key = target_key(&group, target)?;
                let Some(known) = region.targets.get(&key) else {
                    continue;
                };
                let delay_ms = i64::from(group.attributes.deregistration_delay_s) * 1000;
                let is_unused = region.why_unused(known).is_some();
                if known.is_registered() && !is_unused && delay_ms > 0 {
                    let mut going = Target::clone(known);
                    going.draining_until = Some(Timestamp(draft.now.0 + delay_ms));
                    put_target(draft, known, going);
                } else if known.is_registered() || is_unused {
                    draft.release(Kind::Target, key.to_string(), known.revision);
                }
            }
            Ok(())
        })
        .await
    }

    /// Forgets targets that have been draining for long enough, and those whose instance is forgotten.
    pub async fn forget_targets(&self, caller: &Caller) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            for target in region.targets.values() {
                if is_over(&region, target, draft.now) {
                    draft.release(Kind::Target, target.key.to_string(), target.revision);
                }
            }
            Ok(())
        })
        .await
    }
}

/// Whether a target is to be forgotten.
#[must_use]
pub fn is_over(region: &RegionState, target: &Target, now: Timestamp) -> bool {
    let is_drained = target.draining_until.is_some_and(|until| until <= now);
    let is_gone = match target.key.id {
        TargetId::Instance(id) => !region.instances.contains_key(&id),
        TargetId::Ip(_) => false,
    };
    is_drained || is_gone
}

/// The key of a target that a client names.
pub fn target_key(group: &TargetGroup, wanted: &NamedTarget) -> Result<TargetKey, BalancingError> {
    let text = &*wanted.id;
    let id = match group.target_type {
        TargetType::Instance => instance_id(text).map(TargetId::Instance)?,
        TargetType::Ip => {
            let family = match group.is_ipv6() {
                true => "IPv6",
                false => "IPv4",
            };
            let read: Option<IpAddr> = text.parse().ok();
            let own = read.filter(|address| address.is_ipv6() == group.is_ipv6());
            own.map(TargetId::Ip).ok_or_else(|| {
                let short: String = text.chars().take(100).collect();
                BalancingError::validation(format!(
                    "The IP address '{short}' is not a valid {family} address"
                ))
            })?
        }
    };
    Ok(TargetKey {
        group: group.id,
        id,
        port: wanted.port.unwrap_or(group.port),
    })
}

fn instance_id(text: &str) -> Result<InstanceId, BalancingError> {
    let read = text.parse();
    read.map_err(|_malformed| {
        let short: String = text.chars().take(100).collect();
        BalancingError::validation(format!("Instance ID '{short}' is not valid"))
    })
}

/// The targets that a client names, each as it would be registered.
fn resolve(
    draft: &mut Draft<'_>,
    group: &TargetGroup,
    wanted: &[NamedTarget],
) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::with_capacity(wanted.len());
    let (mut gone, mut elsewhere, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let mut narrow = Vec::new();
    for named in wanted {
        let key = target_key(group, named)?;
        let (address, zone) = match key.id {
            TargetId::Ip(address) => (address, zone_of(draft, group, address, named)?),
            TargetId::Instance(id) => {
                if named.zone.is_some() {
                    let why = "You cannot specify an Availability Zone for targets with target type 'instance'";
                    return Err(BalancingError::validation(why).into());
                }
                let Some(instance) = draft.region.instances.get(&id).cloned() else {
                    gone.push(id);
                    continue;
                };
                draft.depend::<Instance>(&instance);
                let eni = draft.region.primary_eni(id);
                match eni.map(|eni| address_of(group, eni)) {
                    Some(_) if instance.vpc != group.vpc => {
                        elsewhere.push(id);
                        continue;
                    }
                    Some(address) if instance.desired == DesiredState::Running => {
                        let Some(address) = address else {
                            narrow.push(id);
                            continue;
                        };
                        (address, Some(instance.zone.clone()))
                    }
                    _ => {
                        idle.push(id);
                        continue;
                    }
                }
            }
        };
        targets.push(Target {
            key,
            uid: draft.mint(),
            address,
            zone,
            is_zone_chosen: named.zone.is_some(),
            registered_at: draft.now,
            draining_until: None,
            health: TargetHealth {
                state: HealthState::Initial,
                since: draft.now,
            },
        });
    }
    if !gone.is_empty() {
        return Err(BalancingError::TargetsNotFound { ids: quoted(&gone) }.into());
    }
    if !elsewhere.is_empty() {
        return Err(BalancingError::TargetsOfOtherVpc {
            vpc: group.vpc.to_string().into(),
            ids: quoted(&elsewhere),
        }
        .into());
    }
    if !idle.is_empty() {
        return Err(BalancingError::TargetsNotRunning { ids: quoted(&idle) }.into());
    }
    if !narrow.is_empty() {
        let ids = quoted(&narrow);
        return Err(BalancingError::TargetsWithoutIpv6 { ids }.into());
    }
    Ok(targets)
}

/// The address by which an instance is a target: the primary one of its family.
fn address_of(group: &TargetGroup, eni: &NetworkInterface) -> Option<IpAddr> {
    if !group.is_ipv6() {
        return Some(IpAddr::V4(eni.primary_address()));
    }
    let first = eni.ipv6_addresses.first().filter(|_| eni.primary_ipv6);
    first.copied().map(IpAddr::V6)
}

fn quoted(ids: &[InstanceId]) -> Box<str> {
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    ids.join(", ").into()
}

/// The zone that an address counts for: its subnet's, or all of them outside the VPC.
fn zone_of(
    draft: &Draft<'_>,
    group: &TargetGroup,
    address: IpAddr,
    named: &NamedTarget,
) -> Result<Option<String>, BalancingError> {
    let region = &draft.region;
    let mut subnets = region
        .subnets_of_vpc(group.vpc)
        .filter_map(|id| region.subnets.get(&id));
    let zone = named.zone.as_deref();
    if let Some(subnet) = subnets.find(|subnet| has(subnet, address)) {
        if zone.is_some_and(|zone| zone != subnet.zone) {
            let own = &subnet.zone;
            return Err(BalancingError::validation(format!(
                "The IP address '{address}' is in the Availability Zone '{own}'"
            )));
        }
        return Ok(Some(subnet.zone.clone()));
    }
    let may_be_outside = match address {
        IpAddr::V4(address) => OUTSIDE.iter().any(|block| block.contains(&address)),
        IpAddr::V6(_) => {
            return Err(BalancingError::validation(format!(
                "The IP address '{address}' is not in a subnet of the VPC"
            )));
        }
    };
    if !may_be_outside {
        return Err(BalancingError::validation(format!(
            "The IP address '{address}' is neither in a subnet of the VPC nor in one of the ranges 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 and 192.168.0.0/16"
        )));
    }
    if group.protocol.has_udp() {
        return Err(BalancingError::validation(format!(
            "The IP address '{address}' is not in the VPC, which target groups with the {} protocol need",
            group.protocol.word()
        )));
    }
    match zone {
        Some(ALL_ZONES) => Ok(None),
        None => Err(BalancingError::validation(format!(
            "The Availability Zone is required for IP address '{address}' because it is not in the VPC"
        ))),
        Some(_) => Err(BalancingError::validation(format!(
            "The Availability Zone for IP address '{address}' must be '{ALL_ZONES}' because it is not in the VPC"
        ))),
    }
}

/// Whether an address is in a subnet's block of its family.
fn has(subnet: &Subnet, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => subnet.cidr.contains(&address),
        IpAddr::V6(address) => subnet
            .ipv6_cidr
            .is_some_and(|own| own.cidr.contains(&address)),
    }
}

/// AWS's word for targets that count for every zone.
pub const ALL_ZONES: &str = "all";

/// What may be a target outside the VPC.
const OUTSIDE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

#[cfg(test)]
mod tests {
    use enid_model::id::TargetUid;
    use enid_model::target_group::{BalancedProtocol, TargetGroupIpAddressType};

    use super::*;
    use crate::fixture::{
        Place, balancer, caller, control, findings, new_instance, new_listener, place,
        target_group, vpc_of,
    };
    use crate::{Attribute, CreateTargetGroup, WantedHealthCheck};

    async fn launch(control: &Control, place: &Place) -> InstanceId {
        let launched = control.run_instances(&caller(), new_instance(place)).await;
        launched.expect("a launch").instances[0].id
    }

    fn named(id: impl ToString) -> NamedTarget {
        NamedTarget {
            id: id.to_string(),
            port: None,
            zone: None,
        }
    }

    async fn condition(
        control: &Control,
        group: TargetGroupId,
    ) -> Vec<(&'static str, &'static str)> {
        let region = control.read(&caller()).await.expect("a region");
        let found = region.target_groups.get(&group).expect("the group");
        let targets = region.targets_of_group(group);
        let conditions = targets.map(|target| control.target_condition(&region, found, target));
        conditions
            .map(|told| (told.state, told.reason.unwrap_or_default()))
            .collect()
    }

    #[tokio::test]
    async fn a_target_is_unused_checked_draining_and_gone() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let instance = launch(&control, &place).await;
        // Somebody is there who could check, and obeys whatever comes.
        let host = control.store().hosts().join("host".into());
        host.acknowledge(enid_model::state::Revision(u64::MAX));
        let group = target_group(&control, &place, "web", BalancedProtocol::Tcp).await;
        let target = [named(instance)];
        let register = || control.register_targets(&caller, group.id, &target);
        let deregister = || control.deregister_targets(&caller, group.id, &target);
        assert_eq!(register().await, Ok(()));
        let not_in_use = ("unused", "Target.NotInUse");
        assert_eq!(condition(&control, group.id).await, [not_in_use]);
        // Nothing can have come to it.
        assert_eq!(deregister().await, Ok(()));
        assert_eq!(condition(&control, group.id).await, []);

        assert_eq!(register().await, Ok(()));
        let web = balancer(&control, &place, "web").await;
        let listener = new_listener(web.id, 80, group.id);
        let listener = control.create_listener(&caller, &listener).await;
        let initial = ("initial", "Elb.InitialHealthChecking");
        assert_eq!(condition(&control, group.id).await, [initial]);
        let region = control.read(&caller).await.expect("a region");
        let seen = region.targets_of_group(group.id).next().expect("a target");
        let (key, uid) = (seen.key, seen.uid);
        let see = async |uid, state| {
            let seen = [(key, uid, state)];
            let done = control.observe_target_health(&caller, &seen).await;
            assert_eq!(done, Ok(()));
        };
        see(TargetUid(uid.0 ^ 1), HealthState::Healthy).await;
        assert_eq!(condition(&control, group.id).await, [initial]);
        see(uid, HealthState::Healthy).await;
        assert_eq!(condition(&control, group.id).await, [("healthy", "")]);
        let failure = enid_model::target::HealthFailure::Timeout;
        see(uid, HealthState::Unhealthy(failure)).await;
        let failed = "Target.Timeout";
        assert_eq!(condition(&control, group.id).await, [("unhealthy", failed)]);
        let attributes = [
            (
                "target_health_state.unhealthy.connection_termination.enabled",
                "false",
            ),
            (
                "target_health_state.unhealthy.draining_interval_seconds",
                "60",
            ),
        ];
        let attributes = attributes.map(|(key, value)| Attribute {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let set = control.modify_target_group_attributes(&caller, group.id, &attributes);
        assert!(set.await.is_ok());
        let draining = ("unhealthy.draining", failed);
        assert_eq!(condition(&control, group.id).await, [draining]);

        assert_eq!(deregister().await, Ok(()));
        let draining = ("draining", "Target.DeregistrationInProgress");
        assert_eq!(condition(&control, group.id).await, [draining]);
        assert_eq!(control.forget_targets(&caller).await, Ok(()));
        assert_eq!(condition(&control, group.id).await, [draining]);
        // It comes back as what it was.
        assert_eq!(register().await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(region.targets.get(&key).map(|target| target.uid), Some(uid));
        let until = deregistered_at(&control, key);
        assert_eq!(until, None);
        assert_eq!(deregister().await, Ok(()));
        let until = deregistered_at(&control, key).expect("it is draining");
        assert_eq!(until.0 - control.now().0, 300_000);
        let state = control.store().state();
        let region = state.region(&caller.scope()).expect("a region");
        let target = region.targets.get(&key).expect("it is draining");
        assert!(is_over(region, target, until) && !is_over(region, target, control.now()));
        let id = listener.expect("a listener").id;
        assert_eq!(control.delete_listener(&caller, id).await, Ok(()));
        let known = control.read(&caller).await.expect("a region");
        let known = known.targets.get(&key).expect("it is draining");
        assert_eq!(known.health.state, HealthState::Initial);
        // With no listener there is nothing to drain.
        assert_eq!(deregister().await, Ok(()));
        assert_eq!(condition(&control, group.id).await, []);
        assert_eq!(findings(&control), []);
    }

    fn deregistered_at(control: &Control, key: TargetKey) -> Option<Timestamp> {
        let state = control.store().state();
        let region = state.region(&caller().scope()).expect("a region");
        region.targets.get(&key).expect("the target").draining_until
    }

    #[tokio::test]
    async fn targets_that_cannot_be_are_refused_in_awss_words() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let vpc = vpc_of(&control, &place).await;
        let instances = target_group(&control, &place, "instances", BalancedProtocol::Tcp).await;
        let of = async |name: &str, protocol| {
            let input = CreateTargetGroup {
                name: name.to_owned(),
                protocol: Some(protocol),
                port: Some(80),
                vpc: Some(vpc),
                target_type: TargetType::Ip,
                ip_address_type: TargetGroupIpAddressType::Ipv4,
                health_check: WantedHealthCheck::default(),
                tags: Vec::new(),
            };
            let made = control.create_target_group(&caller, &input).await;
            made.expect("a target group").id
        };
        let addresses = of("addresses", BalancedProtocol::Tcp).await;
        let udp = of("udp", BalancedProtocol::Udp).await;
        let running = launch(&control, &place).await;
        let ended = launch(&control, &place).await;
        let done = control.terminate_instances(&caller, &[ended]).await;
        assert!(done.is_ok());
        let register = async |group, id: &str, zone: Option<&str>| {
            let target = [NamedTarget {
                zone: zone.map(str::to_owned),
                ..named(id)
            }];
            let done = control.register_targets(&caller, group, &target).await;
            done.map_err(|error| format!("{}: {error}", error.code()))
        };
        let refused = |words: &str| Err(words.to_owned());
        let (running, ended) = (running.to_string(), ended.to_string());
        assert_eq!(register(instances.id, &running, None).await, Ok(()));
        assert_eq!(register(addresses, "10.0.0.7", None).await, Ok(()));
        assert_eq!(
            register(addresses, "10.0.255.7", Some("eu-west-1b")).await,
            Ok(())
        );
        assert_eq!(
            register(addresses, "192.168.7.7", Some("all")).await,
            Ok(())
        );
        for (group, id, zone, words) in [
            (
                instances.id,
                &*ended,
                None,
                format!("InvalidTarget: The following targets are not in a running state and cannot be registered: '{ended}'"),
            ),
            (
                instances.id,
                "i-00000000000000007",
                None,
                "InvalidTarget: The following targets do not exist: 'i-00000000000000007'".to_owned(),
            ),
            (
                instances.id,
                "10.0.0.7",
                None,
                "ValidationError: Instance ID '10.0.0.7' is not valid".to_owned(),
            ),
            (
                addresses,
                "2001:db8::1",
                None,
                "ValidationError: The IP address '2001:db8::1' is not a valid IPv4 address".to_owned(),
            ),
            (
                addresses,
                "10.4.40.87",
                None,
                "ValidationError: The Availability Zone is required for IP address '10.4.40.87' because it is not in the VPC".to_owned(),
            ),
            (
                addresses,
                "10.0.0.7",
                Some("eu-west-1b"),
                "ValidationError: The IP address '10.0.0.7' is in the Availability Zone 'eu-west-1a'".to_owned(),
            ),
            (
                addresses,
                "8.8.8.8",
                Some("all"),
                "ValidationError: The IP address '8.8.8.8' is neither in a subnet of the VPC nor in one of the ranges 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 and 192.168.0.0/16".to_owned(),
            ),
            (
                udp,
                "192.168.7.7",
                Some("all"),
                "ValidationError: The IP address '192.168.7.7' is not in the VPC, which target groups with the UDP protocol need".to_owned(),
            ),
        ] {
            assert_eq!(register(group, id, zone).await, refused(&words));
        }
        let many: Vec<NamedTarget> = (1..=1000)
            .map(|port| NamedTarget {
                port: Some(port),
                ..named("10.0.0.8")
            })
            .collect();
        let done = control.register_targets(&caller, addresses, &many).await;
        assert_eq!(done.map_err(|error| error.code()), Err("TooManyTargets"));
        let done = control
            .register_targets(&caller, addresses, &many[..997])
            .await;
        assert_eq!(done, Ok(()));
        let never = [named("10.0.0.9")];
        let done = control.deregister_targets(&caller, addresses, &never).await;
        assert_eq!(done, Ok(()));
        assert_eq!(findings(&control), []);
    }
}
