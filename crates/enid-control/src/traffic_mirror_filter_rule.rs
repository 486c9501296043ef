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
