//! The rules of filters of traffic mirroring.

use enid_model::id::{TrafficMirrorFilterId, TrafficMirrorFilterRuleId};
use enid_model::security_group::Direction;
use enid_model::state::Stored;
use enid_model::traffic_mirror::{
    MirrorAction, PortRange, RULES_PER_FILTER_MAX, TrafficMirrorFilter, TrafficMirrorFilterRule,
};
use ipnet::IpNet;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error, MirroringError, RoutingError};

/// The input of CreateTrafficMirrorFilterRule.
#[derive(Debug, Clone)]
pub struct CreateTrafficMirrorFilterRule {
    /// The filter.
    pub filter: TrafficMirrorFilterId,
    /// Seen from the source.
    pub direction: Direction,
    /// 1 to 32766.
    pub number: i32,
    /// What it does with what it matches.
    pub action: MirrorAction,
    /// The protocol's number.
    pub protocol: Option<i32>,
    /// The first and the last source port.
    pub source_ports: Option<WantedPorts>,
    /// The first and the last destination port.
    pub destination_ports: Option<WantedPorts>,
    /// The packet's source.
    pub source: String,
    /// The packet's destination.
    pub destination: String,
    /// Free text.
    pub description: Option<String>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

/// Ports as a client writes them.
pub type WantedPorts = (Option<i32>, Option<i32>);

/// The input of ModifyTrafficMirrorFilterRule: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct ModifyTrafficMirrorFilterRule {
    /// Seen from the source.
    pub direction: Option<Direction>,
    /// 1 to 32766.
    pub number: Option<i32>,
    /// What it does with what it matches.
    pub action: Option<MirrorAction>,
    /// The protocol's number.
    pub protocol: Option<i32>,
    /// The first and the last source port.
    pub source_ports: Option<WantedPorts>,
    /// The first and the last destination port.
    pub destination_ports: Option<WantedPorts>,
    /// The packet's source.
    pub source: Option<String>,
    /// The packet's destination.
    pub destination: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// What shall be as if it had never been set.
    pub remove: Vec<MirrorRuleField>,
}

/// A property of a rule that can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorRuleField {
    /// The text.
    Description,
    /// The destination ports.
    DestinationPorts,
    /// The protocol.
    Protocol,
    /// The source ports.
    SourcePorts,
}

impl Control {
    /// CreateTrafficMirrorFilterRule.
    pub async fn create_traffic_mirror_filter_rule(
        &self,
        caller: &Caller,
        input: &CreateTrafficMirrorFilterRule,
    ) -> Result<(TrafficMirrorFilterId, TrafficMirrorFilterRule), Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let rule = TrafficMirrorFilterRule {
            id: TrafficMirrorFilterRuleId(0),
            direction: input.direction,
            number: rule_number(input.number)?,
            action: input.action,
            protocol: input.protocol.map(protocol).transpose()?,
            source_ports: ports(input.source_ports, &SOURCE_PORTS)?,
            destination_ports: ports(input.destination_ports, &DESTINATION_PORTS)?,
            source: block(&input.source, "sourceCidrBlock")?,
            destination: block(&input.destination, "destinationCidrBlock")?,
            description: input.description.clone(),
            tags: specified(&input.tags, "traffic-mirror-filter-rule")?,
        };
        check(&rule)?;
        self.transact(caller, |draft| {
            let token = token.as_deref();
            let made = draft.made_before(OPERATION, token, &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let filter = filter_of(draft, id)?;
                let known = filter.rules.get(&id);
                let known = known.ok_or_else(|| Error::not_found(id))?;
                return Ok((filter.id, known.clone()));
            }
            let filter = draft.require::<TrafficMirrorFilter>(input.filter)?;
            let rule = TrafficMirrorFilterRule {
                id: draft.mint(),
                ..rule.clone()
            };
            check_place(&filter, &rule)?;
            if filter.rules.len() >= RULES_PER_FILTER_MAX {
                return Err(MirroringError::TrafficMirrorFilterRuleLimitExceeded.into());
            }
            let made = vec![rule.id.to_string()];
            draft.remember(OPERATION, token, &parameters, made);
            draft.edit(&filter, |filter| {
                filter.rules.insert(rule.id, rule.clone());
            });
            Ok((filter.id, rule))
        })
        .await
    }

    /// ModifyTrafficMirrorFilterRule.
    pub async fn modify_traffic_mirror_filter_rule(
        &self,
        caller: &Caller,
        id: TrafficMirrorFilterRuleId,
        input: &ModifyTrafficMirrorFilterRule,
    ) -> Result<(TrafficMirrorFilterId, TrafficMirrorFilterRule), Error> {
        check_removals(input)?;
        self.transact(caller, |draft| {
            let filter = filter_of(draft, id)?;
            let known = filter.rules.get(&id);
            let known = known.ok_or_else(|| Error::not_found(id))?;
            let rule = modified(known, input)?;
            check(&rule)?;
            check_place(&filter, &rule)?;
            draft.edit(&filter, |filter| {
                filter.rules.insert(id, rule.clone());
            });
            Ok((filter.id, rule))
        })
        .await
    }

    /// DeleteTrafficMirrorFilterRule.
    pub async fn delete_traffic_mirror_filter_rule(
        &self,
        caller: &Caller,
        id: TrafficMirrorFilterRuleId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let filter = filter_of(draft, id)?;
            draft.edit(&filter, |filter| {
                filter.rules.remove(&id);
            });
            Ok(())
        })
        .await
    }
}

/// The filter that has a rule.
fn filter_of(
    draft: &mut Draft<'_>,
    rule: TrafficMirrorFilterRuleId,
) -> Result<Stored<TrafficMirrorFilter>, Error> {
    let filter = draft.region.traffic_mirror_filter_of_rule(rule).cloned();
    let filter = filter.ok_or_else(|| Error::not_found(rule))?;
    draft.depend(&filter);
    Ok(filter)
}

/// No property is both set and removed.
fn check_removals(input: &ModifyTrafficMirrorFilterRule) -> Result<(), Error> {
    use MirrorRuleField::{Description, DestinationPorts, Protocol, SourcePorts};
    let pairs = [
        (input.description.is_some(), Description, "description"),
        (
            input.destination_ports.is_some(),
            DestinationPorts,
            "destination-port-range",
        ),
        (input.protocol.is_some(), Protocol, "protocol"),
        (
            input.source_ports.is_some(),
            SourcePorts,
            "source-port-range",
        ),
    ];
    for (is_set, field, name) in pairs {
        if is_set && input.remove.contains(&field) {
            return Err(MirroringError::FieldSetAndRemoved { field: name }.into());
        }
    }
    Ok(())
}

/// A rule as a request changes it.
fn modified(
    known: &TrafficMirrorFilterRule,
    input: &ModifyTrafficMirrorFilterRule,
) -> Result<TrafficMirrorFilterRule, Error> {
    let mut rule = known.clone();
    for field in &input.remove {
        match field {
            MirrorRuleField::Description => rule.description = None,
            MirrorRuleField::DestinationPorts => rule.destination_ports = None,
            MirrorRuleField::Protocol => rule.protocol = None,
            MirrorRuleField::SourcePorts => rule.source_ports = None,
        }
    }
    if let Some(direction) = input.direction {
        rule.direction = direction;
    }
    if let Some(number) = input.number {
        rule.number = rule_number(number)?;
    }
    if let Some(action) = input.action {
        rule.action = action;
    }
    if let Some(number) = input.protocol {
        rule.protocol = Some(protocol(number)?);
    }
    if input.source_ports.is_some() {
        rule.source_ports = ports(input.source_ports, &SOURCE_PORTS)?;
    }
    if input.destination_ports.is_some() {
        rule.destination_ports = ports(input.destination_ports, &DESTINATION_PORTS)?;
    }
    if let Some(text) = &input.source {
        rule.source = block(text, "sourceCidrBlock")?;
    }
    if let Some(text) = &input.destination {
        rule.destination = block(text, "destinationCidrBlock")?;
    }
    if input.description.is_some() {
        rule.description.clone_from(&input.description);
    }
    Ok(rule)
}

/// What must be true of a rule by itself.
fn check(rule: &TrafficMirrorFilterRule) -> Result<(), Error> {
    let has_ports = rule.source_ports.is_some() || rule.destination_ports.is_some();
    if has_ports && !matches!(rule.protocol, Some(TCP | UDP)) {
        return Err(MirroringError::MirrorPortsWithoutProtocol.into());
    }
    if rule.source.addr().is_ipv4() != rule.destination.addr().is_ipv4() {
        return Err(MirroringError::MirrorBlockFamilies {
            source_block: rule.source.to_string().into(),
            destination_block: rule.destination.to_string().into(),
        }
        .into());
    }
    Ok(())
}

/// No other rule of the filter has its number in its direction.
fn check_place(filter: &TrafficMirrorFilter, rule: &TrafficMirrorFilterRule) -> Result<(), Error> {
    let mut others = filter.rules.values().filter(|other| other.id != rule.id);
    let place = (rule.direction, rule.number);
    if others.any(|other| (other.direction, other.number) == place) {
        let direction = match rule.direction {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        };
        return Err(MirroringError::TrafficMirrorFilterRuleExists {
            number: rule.number,
            direction,
            filter: filter.id,
        }
        .into());
    }
    Ok(())
}

fn rule_number(number: i32) -> Result<u16, Error> {
    let read = u16::try_from(number).ok();
    let read = read.filter(|read| (1..=NUMBER_MAX).contains(read));
    read.ok_or_else(|| RoutingError::RuleNumberInvalid { number }.into())
}

fn protocol(number: i32) -> Result<u8, Error> {
    u8::try_from(number).map_err(|_large| Error::InvalidValue {
        value: number.to_string().into(),
        name: "protocol",
        why: "Expecting a protocol number from 0 to 255.".into(),
    })
}

/// What the two ends of a range are called.
struct PortNames {
    from: &'static str,
    to: &'static str,
}

const SOURCE_PORTS: PortNames = PortNames {
    from: "sourcePortRange.fromPort",
    to: "sourcePortRange.toPort",
};
const DESTINATION_PORTS: PortNames = PortNames {
    from: "destinationPortRange.fromPort",
    to: "destinationPortRange.toPort",
};

fn ports(wanted: Option<WantedPorts>, names: &PortNames) -> Result<Option<PortRange>, Error> {
    let Some((from, to)) = wanted else {
        return Ok(None);
    };
    let port = |port: Option<i32>, name| {
        let port = port.ok_or(Error::MissingParameter { name })?;
        u16::try_from(port).map_err(|_large| Error::from(RoutingError::PortOutOfRange { port }))
    };
    let (from, to) = (port(from, names.from)?, port(to, names.to)?);
    if from > to {
        return Err(Error::PortRangeInvalid { from, to });
    }
    Ok(Some(PortRange { from, to }))
}

/// A block of either family, host bits cleared.
fn block(text: &str, name: &'static str) -> Result<IpNet, Error> {
    let Ok(block) = text.parse::<IpNet>() else {
        return Err(Error::InvalidValue {
            value: text.into(),
            name,
            why: "This is not a valid CIDR block.".into(),
        });
    };
    Ok(block.trunc())
}

const OPERATION: &str = "CreateTrafficMirrorFilterRule";
const NUMBER_MAX: u16 = 32_766;
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CreateTrafficMirrorFilter;
    use crate::fixture::{caller, control};

    fn new_rule(filter: TrafficMirrorFilterId, number: i32) -> CreateTrafficMirrorFilterRule {
        CreateTrafficMirrorFilterRule {
            filter,
            direction: Direction::Ingress,
            number,
            action: MirrorAction::Accept,
            protocol: None,
            source_ports: None,
            destination_ports: None,
            source: "10.0.0.7/16".to_owned(),
            destination: "0.0.0.0/0".to_owned(),
            description: None,
            client_token: None,
            tags: Vec::new(),
        }
    }

    async fn new_filter(control: &Control) -> TrafficMirrorFilterId {
        let filter = CreateTrafficMirrorFilter::default();
        let made = control
            .create_traffic_mirror_filter(&caller(), &filter)
            .await;
        made.expect("a filter").id
    }

    /// What creating a rule like this one says.
    async fn said(change: impl FnOnce(&mut CreateTrafficMirrorFilterRule)) -> Result<(), String> {
        let control = control();
        let mut rule = new_rule(new_filter(&control).await, 1);
        change(&mut rule);
        let caller = caller();
        let made = control.create_traffic_mirror_filter_rule(&caller, &rule);
        let told = |error: Error| format!("{}: {error}", error.code());
        made.await.map(drop).map_err(told)
    }

    #[tokio::test]
    async fn a_rule_is_what_aws_takes() {
        let tcp = |rule: &mut CreateTrafficMirrorFilterRule| {
            rule.protocol = Some(6);
            rule.destination_ports = Some((Some(22), Some(53)));
            rule.source_ports = Some((Some(0), Some(65_535)));
        };
        assert_eq!(said(tcp).await, Ok(()));
        assert_eq!(said(|rule| rule.protocol = Some(0)).await, Ok(()));
        let ipv6 = |rule: &mut CreateTrafficMirrorFilterRule| {
            rule.source = "::/0".to_owned();
            rule.destination = "fd00::/8".to_owned();
        };
        assert_eq!(said(ipv6).await, Ok(()));

        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(
            said(|rule| rule.number = 0).await,
            refused(
                "InvalidParameterValue: Value (0) for parameter ruleNumber is invalid. Expecting a value from 1 to 32766."
            )
        );
        assert_eq!(
            said(|rule| rule.protocol = Some(256)).await,
            refused(
                "InvalidParameterValue: Value (256) for parameter protocol is invalid. Expecting a protocol number from 0 to 255."
            )
        );
        let ports = "InvalidParameterCombination: Port ranges can be specified only if the protocol is TCP (6) or UDP (17).";
        for protocol in [None, Some(1)] {
            let with_ports = |rule: &mut CreateTrafficMirrorFilterRule| {
                tcp(rule);
                rule.protocol = protocol;
            };
            assert_eq!(said(with_ports).await, refused(ports));
        }
        let half = |rule: &mut CreateTrafficMirrorFilterRule| {
            tcp(rule);
            rule.source_ports = Some((Some(1), None));
        };
        assert_eq!(
            said(half).await,
            refused(
                "MissingParameter: The request must contain the parameter sourcePortRange.toPort"
            )
        );
        let backwards = |rule: &mut CreateTrafficMirrorFilterRule| {
            tcp(rule);
            rule.source_ports = Some((Some(2), Some(1)));
        };
        let told = said(backwards).await;
        assert!(told.is_err_and(|text| text.starts_with("InvalidParameterValue: ")));
        let large = |rule: &mut CreateTrafficMirrorFilterRule| {
            tcp(rule);
            rule.source_ports = Some((Some(2), Some(65_536)));
        };
        let out_of_range = "InvalidParameterValue: TCP/UDP port (65536) out of range";
        assert_eq!(said(large).await, refused(out_of_range));
        assert_eq!(
            said(|rule| rule.source = "10.0.0.0".to_owned()).await,
            refused(
                "InvalidParameterValue: Value (10.0.0.0) for parameter sourceCidrBlock is invalid. This is not a valid CIDR block."
            )
        );
        assert_eq!(
            said(|rule| rule.destination = "::/0".to_owned()).await,
            refused(
                "InvalidParameterValue: The source CIDR block 10.0.0.0/16 and the destination CIDR block ::/0 must both be IPv4 or both be IPv6."
            )
        );
    }

    #[tokio::test]
    async fn a_number_is_taken_once_per_direction_and_ten_rules_are_all() {
        let (control, caller) = (control(), caller());
        let filter = new_filter(&control).await;
        let create = async |rule| {
            control
                .create_traffic_mirror_filter_rule(&caller, &rule)
                .await
        };
        let (_, first) = create(new_rule(filter, 1)).await.expect("a rule");
        assert_eq!(first.source.to_string(), "10.0.0.0/16");
        let again = create(new_rule(filter, 1))
            .await
            .map_err(|error| error.to_string());
        let words = format!("The ingress rule with rule number 1 already exists in {filter}.");
        assert_eq!(again.map(drop), Err(words));
        let mut egress = new_rule(filter, 1);
        egress.direction = Direction::Egress;
        assert!(create(egress).await.is_ok());
        for number in 2..10 {
            assert!(create(new_rule(filter, number)).await.is_ok());
        }
        let full = create(new_rule(filter, 10)).await.map(drop);
        let error = MirroringError::TrafficMirrorFilterRuleLimitExceeded;
        assert_eq!(full, Err(error.into()));
        let gone = control.delete_traffic_mirror_filter_rule(&caller, first.id);
        assert_eq!(gone.await, Ok(()));
        let gone = control.delete_traffic_mirror_filter_rule(&caller, first.id);
        assert_eq!(gone.await, Err(Error::not_found(first.id)));
        assert!(create(new_rule(filter, 10)).await.is_ok());
        let nowhere = create(new_rule(TrafficMirrorFilterId(7), 1))
            .await
            .map(drop);
        assert_eq!(nowhere, Err(Error::not_found(TrafficMirrorFilterId(7))));
    }

    #[tokio::test]
    async fn a_rule_is_modified_part_by_part() {
        let (control, caller) = (control(), caller());
        let filter = new_filter(&control).await;
        let mut input = new_rule(filter, 1);
        input.protocol = Some(17);
        input.source_ports = Some((Some(53), Some(53)));
        input.description = Some("dns".to_owned());
        let made = control.create_traffic_mirror_filter_rule(&caller, &input);
        let (_, rule) = made.await.expect("a rule");
        let modify = async |input: ModifyTrafficMirrorFilterRule| {
            let control = &control;
            let changed = control.modify_traffic_mirror_filter_rule(&caller, rule.id, &input);
            changed.await.map(|(_, rule)| rule)
        };
        let nothing = modify(ModifyTrafficMirrorFilterRule::default()).await;
        assert_eq!(nothing.as_ref(), Ok(&rule));
        let to_tcp = ModifyTrafficMirrorFilterRule {
            protocol: Some(6),
            direction: Some(Direction::Egress),
            remove: vec![MirrorRuleField::Description],
            ..ModifyTrafficMirrorFilterRule::default()
        };
        let expected = TrafficMirrorFilterRule {
            protocol: Some(6),
            direction: Direction::Egress,
            description: None,
            ..rule.clone()
        };
        assert_eq!(modify(to_tcp).await, Ok(expected));
        // Ports would be left without their protocol.
        let all_protocols = ModifyTrafficMirrorFilterRule {
            remove: vec![MirrorRuleField::Protocol],
            ..ModifyTrafficMirrorFilterRule::default()
        };
        let error = MirroringError::MirrorPortsWithoutProtocol;
        assert_eq!(modify(all_protocols).await, Err(error.into()));
        let both = ModifyTrafficMirrorFilterRule {
            protocol: Some(6),
            remove: vec![MirrorRuleField::Protocol],
            ..ModifyTrafficMirrorFilterRule::default()
        };
        let error = MirroringError::FieldSetAndRemoved { field: "protocol" };
        assert_eq!(modify(both).await, Err(error.into()));
        let removed = ModifyTrafficMirrorFilterRule {
            remove: vec![MirrorRuleField::Protocol, MirrorRuleField::SourcePorts],
            ..ModifyTrafficMirrorFilterRule::default()
        };
        let bare = modify(removed).await.expect("a rule without ports");
        assert_eq!((bare.protocol, bare.source_ports), (None, None));
        let id = TrafficMirrorFilterRuleId(7);
        let nothing = ModifyTrafficMirrorFilterRule::default();
        let unknown = control.modify_traffic_mirror_filter_rule(&caller, id, &nothing);
        assert_eq!(unknown.await.map(drop), Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn a_token_makes_one_rule() {
        let (control, caller) = (control(), caller());
        let mut input = new_rule(new_filter(&control).await, 1);
        input.client_token = Some("once".to_owned());
        let create = || control.create_traffic_mirror_filter_rule(&caller, &input);
        let first = create().await;
        assert!(first.is_ok());
        assert_eq!(create().await, first);
    }
}
