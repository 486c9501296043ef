//! What would happen to the first packet of a new connection, and why: the plan's own tables, and
//! the pipeline's own stages, on ordinary memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use enid_model::id::{EniId, InstanceId, SecurityGroupRuleId};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use enid_pipeline::bytes::Addr;
use enid_pipeline::explain::{Probe, Story, explain as tell};
use enid_pipeline::memory::Memory;
use enid_pipeline::{Pass, Reason, table};
use enid_plan::Planner;
use serde::Serialize;

/// One end of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An address: of an interface in the same VPC, or of nobody.
    Address(Ipv4Addr),
    /// An interface, at its primary address.
    Eni(EniId),
    /// An instance, at its primary interface.
    Instance(InstanceId),
}

/// A connection that somebody asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who begins it; an address alone is not enough, as VPCs overlap.
    pub from: End,
    /// Whom it goes to.
    pub to: End,
    /// Its protocol number.
    pub protocol: u8,
    /// The destination port; for ICMP, type × 256 + code.
    pub port: u16,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `forward` or `drop`.
    pub verdict: &'static str,
    /// The label of the reason of a drop.
    pub reason: Option<&'static str>,
    /// The same in a sentence.
    pub words: Option<&'static str>,
    /// The sender.
    pub from: Party,
    /// The receiver.
    pub to: Party,
    /// The protocol number.
    pub protocol: u8,
    /// The destination port; for ICMP, type × 256 + code.
    pub port: u16,
    /// What each stage says, in the order in which a packet meets them.
    pub hops: Vec<Hop>,
}

/// An end of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Party {
    /// The interface; absent for an address that nobody has.
    pub eni: Option<String>,
    /// Its instance.
    pub instance: Option<String>,
    /// The address.
    pub address: Ipv4Addr,
}

/// What one stage says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Which stage: `source-check`, `egress-gate`, `route` or `ingress-gate`.
    pub stage: &'static str,
    /// The interface whose stage it is.
    pub eni: Option<String>,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The id of the rule that decided.
    pub rule: Option<String>,
    /// The group that has the rule.
    pub group: Option<String>,
    /// Why it is denied.
    pub reason: Option<&'static str>,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The sender is given by an address.
    #[error("--from needs an instance or a network interface")]
    AmbiguousSender,
    /// There is no such interface or instance.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The interface is attached to no running instance.
    #[error("{0} is not attached to a running instance: no packet leaves it")]
    NotAttached(EniId),
    /// The two ends are in different VPCs.
    #[error("{from} and {to} are in different VPCs: no packet goes from one to the other")]
    DifferentVpcs {
        /// The sender.
        from: EniId,
        /// The receiver.
        to: EniId,
    },
}

/// The source port of the connection that is asked about; security groups do not look at it.
const SOURCE_PORT: u16 = 49_152;

/// Answers a question about a state.
pub fn explain(state: &Arc<State>, question: &Question) -> Result<Explanation, Unanswerable> {
    let (scope, from) = match question.from {
        End::Address(_) => return Err(Unanswerable::AmbiguousSender),
        End::Eni(id) => eni(state, id)?,
        End::Instance(id) => primary_eni(state, id)?,
    };
    let nothing = RegionState::default();
    let region = state.region(&scope).map_or(&nothing, Arc::as_ref);
    let (address, to) = match question.to {
        End::Address(address) => (address, None),
        End::Eni(id) => same_vpc(&from, eni(state, id)?.1)?,
        End::Instance(id) => same_vpc(&from, primary_eni(state, id)?.1)?,
    };

    // Every device counts as present: whether it is, the kernel's tables say, not the plan.
    let mut planner = Planner::default();
    planner.advance(Arc::clone(state));
    if planner.device(from.id).is_none() {
        return Err(Unanswerable::NotAttached(from.id));
    }
    let numbered: BTreeMap<EniId, u32> = planner.devices().keys().copied().zip(1..).collect();
    for (eni, ifindex) in numbered {
        planner.bind(eni, Some(ifindex));
    }
    let memory = Memory::new(planner.tables());
    let story = tell(
        &memory,
        &Probe {
            source_eni: from.id.0,
            source: Addr::from(from.primary_address()),
            target: Addr::from(address),
            protocol: question.protocol,
            source_port: SOURCE_PORT,
            target_port: question.port,
        },
    );
    let receiver = story.way.ok().map(EniId);
    let receiver = receiver
        .and_then(|id| region.network_interfaces.get(&id))
        .map(|found| Arc::clone(found.record()))
        .or(to);
    Ok(Explanation {
        verdict: if story.verdict.is_ok() {
            "forward"
        } else {
            "drop"
        },
        reason: story.verdict.err().map(Reason::label),
        words: story.verdict.err().map(Reason::words),
        from: party(Some(&from), from.primary_address()),
        to: party(receiver.as_deref(), address),
        protocol: question.protocol,
        port: question.port,
        hops: hops(region, &from, receiver.as_deref(), &story),
    })
}

fn hops(
    region: &RegionState,
    from: &NetworkInterface,
    to: Option<&NetworkInterface>,
    story: &Story,
) -> Vec<Hop> {
    let plain = |stage, outcome: Result<(), Reason>| Hop {
        stage,
        eni: Some(from.id.to_string()),
        verdict: verdict(outcome.is_ok()),
        rule: None,
        group: None,
        reason: outcome.err().map(Reason::label),
    };
    let gate = |stage, eni: Option<EniId>, outcome: Result<Pass, Reason>| {
        let rule = outcome.ok().map(|pass| SecurityGroupRuleId(pass.rule));
        let group = rule.and_then(|rule| region.group_of_rule(rule));
        Hop {
            stage,
            eni: eni.map(|eni| eni.to_string()),
            verdict: verdict(outcome.is_ok()),
            rule: rule.map(|rule| rule.to_string()),
            group: group.map(|group| group.id.to_string()),
            reason: outcome.err().map(Reason::label),
        }
    };
    let mut hops = vec![
        plain("source-check", story.spoof_guard),
        gate("egress-gate", Some(from.id), story.egress),
        plain("route", story.way.map(|_| ())),
    ];
    if let Some(ingress) = story.ingress {
        hops.push(gate("ingress-gate", to.map(|to| to.id), ingress));
    }
    hops
}

fn verdict(passes: bool) -> &'static str {
    if passes { "allow" } else { "deny" }
}

fn party(eni: Option<&NetworkInterface>, address: Ipv4Addr) -> Party {
    let attachment = eni.and_then(|eni| eni.attachment.as_ref());
    Party {
        eni: eni.map(|eni| eni.id.to_string()),
        instance: attachment.map(|attachment| attachment.instance.to_string()),
        address,
    }
}

fn same_vpc(
    from: &NetworkInterface,
    to: Arc<NetworkInterface>,
) -> Result<(Ipv4Addr, Option<Arc<NetworkInterface>>), Unanswerable> {
    if from.vpc != to.vpc {
        return Err(Unanswerable::DifferentVpcs {
            from: from.id,
            to: to.id,
        });
    }
    Ok((to.primary_address(), Some(to)))
}

fn eni(state: &State, id: EniId) -> Result<(Scope, Arc<NetworkInterface>), Unanswerable> {
    let found = state.regions().iter().find_map(|(scope, region)| {
        let found = region.network_interfaces.get(&id)?;
        Some((scope.clone(), Arc::clone(found.record())))
    });
    found.ok_or_else(|| Unanswerable::NotFound(id.to_string()))
}

fn primary_eni(
    state: &State,
    id: InstanceId,
) -> Result<(Scope, Arc<NetworkInterface>), Unanswerable> {
    let found = state.regions().iter().find_map(|(scope, region)| {
        let found = region.enis_of_instance(id).next()?;
        Some((scope.clone(), Arc::clone(found.record())))
    });
    found.ok_or_else(|| Unanswerable::NotFound(id.to_string()))
}

/// The text names no end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no instance id, network interface id or IPv4 address")]
pub struct NotAnEnd(String);

impl std::str::FromStr for End {
    type Err = NotAnEnd;

    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        if let Ok(IpAddr::V4(address)) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(eni) = text.parse() {
            return Ok(Self::Eni(eni));
        }
        let instance = text.parse().map(Self::Instance);
        instance.map_err(|_malformed| NotAnEnd(text.to_owned()))
    }
}

/// The number of a protocol given by name (`tcp`, `udp`, `icmp`) or number.
#[must_use]
pub fn protocol_number(text: &str) -> Option<u8> {
    match text {
        "icmp" => Some(table::protocol::ICMP),
        "tcp" => Some(table::protocol::TCP),
        "udp" => Some(table::protocol::UDP),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_interface_an_instance_or_an_address() {
        let end = |text: &str| text.parse::<End>().ok();
        assert_eq!(
            end("10.0.0.1"),
            Some(End::Address(Ipv4Addr::new(10, 0, 0, 1)))
        );
        assert_eq!(end("eni-0000000000000000a"), Some(End::Eni(EniId(10))));
        assert_eq!(
            end("i-0000000000000000a"),
            Some(End::Instance(InstanceId(10)))
        );
        for text in ["", "eni-1", "vpc-0000000000000000a", "10.0.0", "::1"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let question = Question {
            from: End::Eni(EniId(10)),
            to: End::Address(Ipv4Addr::LOCALHOST),
            protocol: 6,
            port: 80,
        };
        let answer = explain(&Arc::default(), &question);
        let name = "eni-0000000000000000a".to_owned();
        assert_eq!(answer, Err(Unanswerable::NotFound(name)));
        let from = End::Address(Ipv4Addr::LOCALHOST);
        let answer = explain(&Arc::default(), &Question { from, ..question });
        assert_eq!(answer, Err(Unanswerable::AmbiguousSender));
    }
}
