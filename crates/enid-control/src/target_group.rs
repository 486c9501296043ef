//! Target groups: making, changing and deleting them, and how their targets are checked.

use enid_model::balancer_arn::{BalancerArn, BalancerResource};
use enid_model::id::{ResourceId as _, TargetGroupId, VpcId};
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::state::{RegionState, Stored};
use enid_model::target_group::{
    BalancedProtocol, HealthCheck, HealthCheckProtocol, StatusCodes, TargetGroup,
    TargetGroupIpAddressType, TargetType,
};
use enid_model::vpc::Vpc;

use crate::balancer_tag::checked_tags;
use crate::load_balancer::{check_name, claim, claim_name, release_name};
use crate::target_group_attribute::defaults;
use crate::{BalancingError, Caller, Control, Draft, Error, Tag};

/// What CreateTargetGroup takes.
#[derive(Debug, Clone)]
pub struct CreateTargetGroup {
    /// Its name, unique in the region.
    pub name: String,
    /// What its targets speak.
    pub protocol: Option<BalancedProtocol>,
    /// The port of targets that are registered without one.
    pub port: Option<i32>,
    /// The VPC of its targets.
    pub vpc: Option<VpcId>,
    /// What its targets are.
    pub target_type: TargetType,
    /// Which addresses its targets have.
    pub ip_address_type: TargetGroupIpAddressType,
    /// How its targets are checked.
    pub health_check: WantedHealthCheck,
    /// Tags for it.
    pub tags: Vec<Tag>,
}

/// What a request says of a health check; the rest is as it is, or as AWS has it.
#[derive(Debug, Clone, Default)]
pub struct WantedHealthCheck {
    /// What the check speaks.
    pub protocol: Option<HealthCheckProtocol>,
    /// A port, or `traffic-port`.
    pub port: Option<String>,
    /// Whether there are checks: there are.
    pub enabled: Option<bool>,
    /// What is asked for.
    pub path: Option<String>,
    /// How often is checked.
    pub interval_s: Option<i32>,
    /// After how long an answer is too late.
    pub timeout_s: Option<i32>,
    /// How many must pass.
    pub healthy_threshold: Option<i32>,
    /// How many must fail.
    pub unhealthy_threshold: Option<i32>,
    /// Which status codes pass.
    pub matcher: Option<String>,
}

impl Control {
    /// CreateTargetGroup. One of this name that is as it is asked for is the answer as well.
    pub async fn create_target_group(
        &self,
        caller: &Caller,
        input: &CreateTargetGroup,
    ) -> Result<TargetGroup, Error> {
        check_name("Target group", &input.name)?;
        let tags = checked_tags(&input.tags)?;
        let missing =
            |what: &str| BalancingError::validation(format!("A {what} must be specified"));
        let protocol = input.protocol.ok_or_else(|| missing("protocol"))?;
        let port = input.port.ok_or_else(|| missing("port"))?;
        let port = checked_port("port", port)?;
        let vpc = input.vpc.ok_or_else(|| missing("VPC ID"))?;
        let is_ipv6 = input.ip_address_type == TargetGroupIpAddressType::Ipv6;
        if is_ipv6 && protocol.has_udp() {
            let word = protocol.word();
            let why = format!(
                "Target groups with the {word} protocol and the IP address type ipv6 need EnablePrefixForIpv6SourceNat, which is not supported"
            );
            return Err(BalancingError::configuration(why).into());
        }
        let health_check = input.health_check.apply(None)?;
        self.transact(caller, |draft| {
            let known = target_group_named(&draft.region, &input.name).cloned();
            let mut group = TargetGroup {
                id: TargetGroupId(0),
                name: input.name.clone(),
                protocol,
                port,
                vpc,
                target_type: input.target_type,
                ip_address_type: input.ip_address_type,
                health_check: health_check.clone(),
                attributes: defaults(protocol, input.target_type),
                create_time: draft.now,
                tags: tags.clone(),
            };
            if let Some(known) = known {
                draft.depend(&known);
                group.id = known.id;
                group.create_time = known.create_time;
                group.attributes = known.attributes;
                return match group == **known.record() {
                    true => Ok(group),
                    false => Err(BalancingError::TargetGroupNameTaken {
                        name: (*input.name).into(),
                    }
                    .into()),
                };
            }
            let there = draft.require::<Vpc>(vpc);
            there.map_err(|_not_found| {
                BalancingError::validation(format!("The VPC ID '{vpc}' is not found"))
            })?;
            if draft.region.target_groups.len() >= draft.quotas.target_groups {
                return Err(BalancingError::TooManyTargetGroups.into());
            }
            group.id = draft.mint();
            let holder = group.id.to_string();
            claim(draft, TargetGroupId::PREFIX, &group.name, holder);
            draft.create(group.clone());
            Ok(group)
        })
        .await
    }

    /// ModifyTargetGroup: how its targets are checked.
    pub async fn modify_target_group(
        &self,
        caller: &Caller,
        id: TargetGroupId,
        wanted: &WantedHealthCheck,
    ) -> Result<TargetGroup, Error> {
        self.transact(caller, |draft| {
            let group = draft.require::<TargetGroup>(id)?;
            let mut new = TargetGroup::clone(&group);
            new.health_check = wanted.apply(Some(&group.health_check))?;
            draft.edit(&group, |group| *group = new.clone());
            Ok(new)
        })
        .await
    }

    /// DeleteTargetGroup, with its targets. That there is none is no error; one that a listener leads
    /// to stays.
    pub async fn delete_target_group(
        &self,
        caller: &Caller,
        id: TargetGroupId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let region = std::sync::Arc::clone(&draft.region);
            let Some(group) = region.target_groups.get(&id) else {
                return Ok(());
            };
            draft.depend(group);
            if region.listeners_of_target_group(id).next().is_some() {
                let arn = target_group_arn(caller, group).into();
                return Err(BalancingError::TargetGroupInUse { arn }.into());
            }
            draft.demand_unnamed(Kind::Listener, id);
            draft.demand_unnamed(Kind::Target, id);
            for target in region.targets_of_group(id) {
                draft.release(Kind::Target, target.key.to_string(), target.revision);
            }
            release_name(draft, TargetGroupId::PREFIX, &group.name);
            draft.delete(group);
            Ok(())
        })
        .await
    }
}

/// The target group of a name, if there is one.
#[must_use]
pub fn target_group_named<'a>(
    region: &'a RegionState,
    name: &str,
) -> Option<&'a Stored<TargetGroup>> {
    let claim = region
        .names
        .get(&*claim_name(TargetGroupId::PREFIX, name))?;
    let id: TargetGroupId = claim.holder.parse().ok()?;
    region.target_groups.get(&id)
}

/// The ARN of a target group.
#[must_use]
pub fn target_group_arn(caller: &Caller, group: &TargetGroup) -> String {
    let arn = BalancerArn {
        scope: caller.scope(),
        resource: BalancerResource::TargetGroup {
            name: group.name.clone(),
            id: group.id,
        },
    };
    arn.to_string()
}

/// A port that can be one.
pub(crate) fn checked_port(name: &str, port: i32) -> Result<u16, BalancingError> {
    let port_read = u16::try_from(port).ok().filter(|port| *port > 0);
    port_read.ok_or_else(|| bound(name, port, 1, 65_535))
}

/// A number out of bounds, in the words of AWS's validation.
pub(crate) fn bound(name: &str, value: i32, first: i32, last: i32) -> BalancingError {
    let rule = match value < first {
        true => format!("Member must have value greater than or equal to {first}"),
        false => format!("Member must have value less than or equal to {last}"),
    };
    BalancingError::validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {rule}"
    ))
}

impl WantedHealthCheck {
    /// The check as it shall be: with what is asked for, and the rest as before or as AWS has it.
    fn apply(&self, before: Option<&HealthCheck>) -> Result<HealthCheck, BalancingError> {
        if self.enabled == Some(false) {
            let why = "Health check enabled must be true for target groups with target type 'instance' or 'ip'";
            return Err(BalancingError::validation(why));
        }
        let was = before.map(|before| before.protocol);
        let protocol = self.protocol.or(was).unwrap_or(HealthCheckProtocol::Tcp);
        let is_http = protocol != HealthCheckProtocol::Tcp;
        if !is_http && (self.path.is_some() || self.matcher.is_some()) {
            let why = "Health check path and matcher cannot be specified for a health check with the TCP protocol";
            return Err(BalancingError::HealthCheck { why: why.into() });
        }
        let usual = usual(protocol);
        // What was left open follows the protocol.
        let before = before.filter(|_| was == Some(protocol)).unwrap_or(&usual);
        let wanted = |name, wanted: Option<i32>, before: u16, first, last| match wanted {
            None => Ok(before),
            Some(value) if (first..=last).contains(&value) => Ok(u16::try_from(value).unwrap_or(0)),
            Some(value) => Err(bound(name, value, first, last)),
        };
        let threshold = |name, value, before: u8| {
            let read = wanted(name, value, before.into(), 2, 10)?;
            Ok::<u8, BalancingError>(u8::try_from(read).unwrap_or(before))
        };
        let interval_s = wanted(
            "healthCheckIntervalSeconds",
            self.interval_s,
            before.interval_s,
            5,
            300,
        )?;
        // A timeout that nobody named is no longer than the interval.
        let timeout_before = before.timeout_s.min(interval_s);
        let timeout_s = wanted(
            "healthCheckTimeoutSeconds",
            self.timeout_s,
            timeout_before,
            2,
            120,
        )?;
        if timeout_s > interval_s {
            return Err(BalancingError::validation(format!(
                "Health check timeout '{timeout_s}' must be smaller than or equal to the interval '{interval_s}'"
            )));
        }
        Ok(HealthCheck {
            protocol,
            port: self.port()?.unwrap_or(before.port),
            path: self.path(&before.path)?,
            interval_s,
            timeout_s,
            healthy_threshold: threshold(
                "healthyThresholdCount",
                self.healthy_threshold,
                before.healthy_threshold,
            )?,
            unhealthy_threshold: threshold(
                "unhealthyThresholdCount",
                self.unhealthy_threshold,
                before.unhealthy_threshold,
            )?,
            matcher: self.matcher(&before.matcher)?,
        })
    }

    fn port(&self) -> Result<Option<Option<u16>>, BalancingError> {
        match self.port.as_deref() {
            None => Ok(None),
            Some(TRAFFIC_PORT) => Ok(Some(None)),
            Some(text) => {
                let port = text.parse().ok().filter(|port| *port > 0);
                let port = port.ok_or_else(|| {
                    let short: String = text.chars().take(100).collect();
                    BalancingError::validation(format!(
                        "Health check port '{short}' must be '{TRAFFIC_PORT}' or a port from 1 to 65535"
                    ))
                })?;
                Ok(Some(Some(port)))
            }
        }
    }

    fn path(&self, before: &str) -> Result<String, BalancingError> {
        let Some(path) = &self.path else {
            return Ok(before.to_owned());
        };
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || path.len() > PATH_MAX || !is_plain {
            let why = format!(
                "Health check path must begin with '/' and have at most {PATH_MAX} printable characters"
            );
            return Err(BalancingError::validation(why));
        }
        Ok(path.clone())
    }

    fn matcher(&self, before: &StatusCodes) -> Result<StatusCodes, BalancingError> {
        let Some(text) = &self.matcher else {
            return Ok(before.clone());
        };
        let read = text.parse();
        read.map_err(|_malformed| {
            let short: String = text.chars().take(100).collect();
            BalancingError::validation(format!(
                "Health check matcher HTTP code '{short}' must be within '200-599' inclusive"
            ))
        })
    }
}

/// AWS's word for the port that a target gets its traffic on.
pub const TRAFFIC_PORT: &str = "traffic-port";
const PATH_MAX: usize = 1024;

/// A check where nothing is said.
fn usual(protocol: HealthCheckProtocol) -> HealthCheck {
    HealthCheck {
        protocol,
        port: None,
        path: "/".to_owned(),
        interval_s: 30,
        timeout_s: match protocol {
            HealthCheckProtocol::Http => 6,
            HealthCheckProtocol::Https | HealthCheckProtocol::Tcp => 10,
        },
        healthy_threshold: 5,
        unhealthy_threshold: 2,
        matcher: StatusCodes::usual(),
    }
}

/// Replaces the record of a target that was read.
pub(crate) fn put_target(
    draft: &mut Draft<'_>,
    read: &Stored<enid_model::target::Target>,
    new: enid_model::target::Target,
) {
    if new != **read.record() {
        draft.replace(new.key.to_string(), read.revision, Record::Target(new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, place, target_group, vpc_of};

    #[tokio::test]
    async fn a_name_belongs_to_one_group() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let first = target_group(&control, &place, "web", BalancedProtocol::Tcp).await;
        let again = target_group(&control, &place, "web", BalancedProtocol::Tcp).await;
        assert_eq!(first, again);
        let mut input = CreateTargetGroup {
            name: "web".to_owned(),
            protocol: Some(BalancedProtocol::Udp),
            port: Some(80),
            vpc: Some(vpc_of(&control, &place).await),
            target_type: TargetType::Instance,
            ip_address_type: TargetGroupIpAddressType::Ipv4,
            health_check: WantedHealthCheck::default(),
            tags: Vec::new(),
        };
        let other = control.create_target_group(&caller, &input).await;
        let code = other.map(|_| ()).map_err(|error| error.code());
        assert_eq!(code, Err("DuplicateTargetGroupName"));
        for (name, why) in [
            ("-a", "Target group name '-a' cannot begin or end with '-'"),
            (
                "a_b",
                "Target group name 'a_b' can only contain characters that are alphanumeric characters and hyphens(-)",
            ),
        ] {
            input.name = name.to_owned();
            let refused = control.create_target_group(&caller, &input).await;
            assert_eq!(
                refused.map_err(|error| error.to_string()),
                Err(why.to_owned())
            );
        }
        let delete = || control.delete_target_group(&caller, first.id);
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        assert!(region.target_groups.is_empty() && region.names.is_empty());
    }

    #[tokio::test]
    async fn a_quota_and_what_must_be_said() {
        let control = control().with_quotas(crate::Quotas {
            target_groups: 0,
            ..crate::Quotas::default()
        });
        let caller = caller();
        let place = place(&control, "10.0.0.0/24").await;
        let vpc = vpc_of(&control, &place).await;
        let whole = CreateTargetGroup {
            name: "web".to_owned(),
            protocol: Some(BalancedProtocol::Tcp),
            port: Some(80),
            vpc: Some(vpc),
            target_type: TargetType::Instance,
            ip_address_type: TargetGroupIpAddressType::Ipv4,
            health_check: WantedHealthCheck::default(),
            tags: Vec::new(),
        };
        let refusal = async |input: CreateTargetGroup| {
            let done = control.create_target_group(&caller, &input).await;
            let error = done.expect_err("it is refused");
            (error.code(), error.to_string())
        };
        let validation = |words: &str| ("ValidationError", words.to_owned());
        let (code, _) = refusal(whole.clone()).await;
        assert_eq!(code, "TooManyTargetGroups");
        let without = CreateTargetGroup {
            port: None,
            ..whole.clone()
        };
        assert_eq!(
            refusal(without).await,
            validation("A port must be specified")
        );
        let without = CreateTargetGroup {
            vpc: None,
            ..whole.clone()
        };
        assert_eq!(
            refusal(without).await,
            validation("A VPC ID must be specified")
        );
        let elsewhere = CreateTargetGroup {
            vpc: Some(VpcId(7)),
            ..whole
        };
        let words = "The VPC ID 'vpc-00000000000000007' is not found";
        assert_eq!(refusal(elsewhere).await, validation(words));
    }

    #[test]
    fn checks_have_aws_defaults_and_bounds() {
        let http = WantedHealthCheck {
            protocol: Some(HealthCheckProtocol::Http),
            ..WantedHealthCheck::default()
        };
        let made = http.apply(None).expect("it is whole");
        assert_eq!((made.timeout_s, made.interval_s, &*made.path), (6, 30, "/"));
        let shorter = WantedHealthCheck {
            interval_s: Some(5),
            ..WantedHealthCheck::default()
        };
        let changed = shorter.apply(Some(&made)).expect("it is whole");
        assert_eq!((changed.timeout_s, changed.interval_s), (5, 5));
        let tcp = WantedHealthCheck {
            protocol: Some(HealthCheckProtocol::Tcp),
            port: Some("8080".to_owned()),
            ..WantedHealthCheck::default()
        };
        let changed = tcp.apply(Some(&made)).expect("it is whole");
        assert_eq!((changed.timeout_s, changed.port), (10, Some(8080)));
        let refused = |change: &dyn Fn(&mut WantedHealthCheck)| {
            let mut wanted = http.clone();
            change(&mut wanted);
            wanted.apply(None).map_err(|error| error.code())
        };
        let validation = Err("ValidationError");
        assert_eq!(refused(&|it| it.interval_s = Some(4)), validation);
        assert_eq!(refused(&|it| it.timeout_s = Some(31)), validation);
        assert_eq!(refused(&|it| it.healthy_threshold = Some(11)), validation);
        assert_eq!(refused(&|it| it.path = Some("x".to_owned())), validation);
        assert_eq!(
            refused(&|it| it.matcher = Some("100".to_owned())),
            validation
        );
        assert_eq!(refused(&|it| it.port = Some("0".to_owned())), validation);
        assert_eq!(refused(&|it| it.enabled = Some(false)), validation);
        let tcp = refused(&|it| {
            it.protocol = None;
            it.matcher = Some("200".to_owned());
        });
        assert_eq!(tcp, Err("InvalidConfigurationRequest"));
    }
}
