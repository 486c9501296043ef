//! What would happen to the first packet of a new connection, and why: the plan's own tables, and
//! the pipeline's own stages, on ordinary memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::id::{EniId, InstanceId, NatGatewayId, NetworkAclId, SecurityGroupRuleId, VpcId};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use enid_pipeline::bytes::Addr;
use enid_pipeline::explain::{EdgeStory, Probe, RouteStory, Story, explain as tell};
use enid_pipeline::memory::Memory;
use enid_pipeline::table::Route;
use enid_pipeline::{LAST_ENTRY, Pass, Reason, table};
use enid_plan::{Planner, PublicPools};
use serde::Serialize;

use crate::node;

/// One end of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An address: of an interface of the VPC or of its peer, a public one, or one outside.
    Address(IpAddr),
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
    pub address: IpAddr,
    /// The address that the other end sees, if that is another one.
    pub seen_as: Option<IpAddr>,
}

/// What one stage says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Which stage: `source-check`, `link-local-service`, `egress-gate`, `route`, `load-balancer`, `nat-gateway`, `acl-egress`, `acl-ingress` or
    /// `ingress-gate`.
    pub stage: &'static str,
    /// The interface whose stage it is, if it is one's.
    pub eni: Option<String>,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// What decided: the id of the security group rule, the number of the network ACL's entry, the
    /// destination of the route.
    pub rule: Option<String>,
    /// The group that has the rule.
    pub group: Option<String>,
    /// The network ACL, the route table, the NAT gateway or the load balancer.
    pub resource: Option<String>,
    /// What kind of target the route has.
    pub target: Option<&'static str>,
    /// Why it is denied.
    pub reason: Option<&'static str>,
    /// What more there is to know: of a load balancer its listener, and how its targets are.
    pub detail: Option<String>,
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
    /// The sender has no address of the receiver's family.
    #[error("{0} has no IPv6 address")]
    NoIpv6Address(EniId),
    /// The two ends are in different VPCs that are not peers.
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

/// Answers a question about a state. The pools are those of the public addresses that lead here.
pub fn explain(
    state: &Arc<State>,
    pools: &PublicPools,
    question: &Question,
) -> Result<Explanation, Unanswerable> {
    let (scope, from) = match question.from {
        End::Address(_) => return Err(Unanswerable::AmbiguousSender),
        End::Eni(id) => eni(state, id)?,
        End::Instance(id) => primary_eni(state, id)?,
    };
    let nothing = RegionState::default();
    let region = state.region(&scope).map_or(&nothing, Arc::as_ref);
    let (address, to) = match question.to {
        End::Address(address) => (address, None),
        End::Eni(id) => reachable(region, &from, eni(state, id)?.1)?,
        End::Instance(id) => reachable(region, &from, primary_eni(state, id)?.1)?,
    };
    let source = match address {
        IpAddr::V4(_) => IpAddr::V4(from.primary_address()),
        IpAddr::V6(_) => {
            let own = from.ipv6_addresses.first();
            IpAddr::V6(*own.ok_or(Unanswerable::NoIpv6Address(from.id))?)
        }
    };

    // Every device counts as present: whether it is, the kernel's tables say, not the plan.
    let mut planner = Planner::default().with_outside(pools);
    planner.advance(Arc::clone(state));
    if planner.device(from.id).is_none() && planner.node(from.id).is_none() {
        return Err(Unanswerable::NotAttached(from.id));
    }
    let devices = planner.devices().keys().chain(planner.nodes().keys());
    let numbered: BTreeMap<EniId, u32> = devices.copied().zip(1..).collect();
    for (eni, ifindex) in numbered {
        planner.bind(eni, Some(ifindex));
    }
    // So do the devices that lead to link-local services.
    let vpcs: Vec<VpcId> = planner.vpcs_in_use().collect();
    for (vpc, ifindex) in vpcs.into_iter().zip(1 << 24..) {
        planner.bind_service(vpc, Some(ifindex));
    }
    let mut memory = Memory::new(planner.tables());
    memory.outside.ifindex = u32::MAX;
    let story = tell(
        &memory,
        &Probe {
            source_eni: from.id.0,
            source: Addr::from(source),
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
        from: party(Some(&from), source, &story.source),
        to: party(receiver.as_deref(), address, &story.target),
        protocol: question.protocol,
        port: question.port,
        hops: hops(
            region,
            &from,
            receiver.as_deref(),
            Addr::from(address),
            (question.protocol, question.port),
            &story,
        ),
    })
}

fn hops(
    region: &RegionState,
    from: &NetworkInterface,
    to: Option<&NetworkInterface>,
    target: Addr,
    (protocol, port): (u8, u16),
    story: &Story,
) -> Vec<Hop> {
    let plain = |stage, outcome: Result<(), Reason>| Hop {
        stage,
        eni: None,
        verdict: verdict(outcome.is_ok()),
        rule: None,
        group: None,
        resource: None,
        target: None,
        reason: outcome.err().map(Reason::label),
        detail: None,
    };
    let gate = |stage, eni: Option<EniId>, outcome: Result<Pass, Reason>| {
        let rule = outcome.ok().map(|pass| SecurityGroupRuleId(pass.rule));
        let group = rule.and_then(|rule| region.group_of_rule(rule));
        Hop {
            eni: eni.map(|eni| eni.to_string()),
            rule: rule.map(|rule| rule.to_string()),
            group: group.map(|group| group.id.to_string()),
            ..plain(stage, outcome.map(|_| ()))
        }
    };
    let edge = |edge: &EdgeStory| {
        let stage = match edge.direction {
            table::Direction::Egress => "acl-egress",
            table::Direction::Ingress => "acl-ingress",
        };
        Hop {
            rule: edge.entry.map(|entry| match entry {
                LAST_ENTRY => "*".to_owned(),
                number => number.to_string(),
            }),
            resource: Some(NetworkAclId(edge.acl).to_string()),
            ..plain(stage, edge.outcome)
        }
    };
    let own = Some(from.id.to_string());
    let mut hops = vec![Hop {
        eni: own.clone(),
        ..plain("source-check", story.spoof_guard)
    }];
    if story.is_service {
        hops.push(plain("link-local-service", story.verdict));
        return hops;
    }
    hops.push(gate("egress-gate", Some(from.id), story.egress));
    // The first edge is that of the sender's own subnet, before its route.
    let leaves = story.edges.first();
    let leaves = leaves.filter(|edge| edge.direction == table::Direction::Egress);
    let rest = &story.edges[usize::from(leaves.is_some())..];
    hops.extend(leaves.map(edge));
    let way = story.way.map(|_| ());
    hops.push(Hop {
        eni: own,
        rule: story.route.map(|route| destination(route, target)),
        resource: story.route.and_then(|_| route_table(region, from)),
        target: story.route.map(|route| route_word(route.kind)),
        ..plain("route", way)
    });
    if story.balancer != 0 {
        let node = EniId(story.balancer);
        let asked = node::asked(region, node, protocol, port, !target.is_v4());
        // What stops it behind the node says so itself.
        let at_node = match story.way {
            Err(reason) if reason.is_of_balancer() => Err(reason),
            _ => Ok(()),
        };
        hops.push(Hop {
            eni: Some(node.to_string()),
            resource: asked.as_ref().map(|asked| asked.balancer.clone()),
            detail: asked.map(|asked| asked.words),
            ..plain("load-balancer", at_node)
        });
    } else if story.via != 0 {
        hops.push(Hop {
            resource: Some(NatGatewayId(story.via).to_string()),
            ..plain("nat-gateway", Ok(()))
        });
    }
    hops.extend(rest.iter().map(edge));
    if let Some(ingress) = story.ingress {
        hops.push(gate("ingress-gate", to.map(|to| to.id), ingress));
    }
    hops
}

/// The destination of a route that was taken to an address.
fn destination(route: RouteStory, target: Addr) -> String {
    let length = if target.is_v4() {
        route.prefix_len.saturating_sub(96)
    } else {
        route.prefix_len
    };
    format!("{}/{length}", target.masked(route.prefix_len.min(128)))
}

/// The route table of an interface's subnet.
fn route_table(region: &RegionState, eni: &NetworkInterface) -> Option<String> {
    let subnet = region.subnets.get(&eni.subnet)?;
    let table = match subnet.route_table {
        Some(own) => own.table,
        None => region.vpcs.get(&eni.vpc)?.main_route_table,
    };
    Some(table.to_string())
}

/// The word for what a route of this kind leads to.
#[must_use]
pub fn route_word(kind: u32) -> &'static str {
    match kind {
        Route::LOCAL => "local",
        Route::BLACKHOLE => "blackhole",
        Route::ENI => "network-interface",
        Route::INTERNET_GATEWAY => "internet-gateway",
        Route::NAT_GATEWAY => "nat-gateway",
        Route::PEERING => "vpc-peering-connection",
        Route::EGRESS_ONLY => "egress-only-internet-gateway",
        _ => "none",
    }
}

fn verdict(passes: bool) -> &'static str {
    if passes { "allow" } else { "deny" }
}

fn party(eni: Option<&NetworkInterface>, address: IpAddr, arrived: &Addr) -> Party {
    let attachment = eni.and_then(|eni| eni.attachment.as_ref());
    let arrived = IpAddr::from(*arrived);
    Party {
        eni: eni.map(|eni| eni.id.to_string()),
        instance: attachment.map(|attachment| attachment.instance.to_string()),
        address,
        seen_as: (arrived != address).then_some(arrived),
    }
}

/// The private address of an interface that the sender may reach by it: in its VPC or a peer.
fn reachable(
    region: &RegionState,
    from: &NetworkInterface,
    to: Arc<NetworkInterface>,
) -> Result<(IpAddr, Option<Arc<NetworkInterface>>), Unanswerable> {
    let is_peer = || {
        region.vpc_peering_connections.values().any(|peering| {
            let sides = [peering.requester.vpc, peering.accepter.vpc];
            sides.contains(&from.vpc) && sides.contains(&to.vpc)
        })
    };
    if from.vpc != to.vpc && !is_peer() {
        return Err(Unanswerable::DifferentVpcs {
            from: from.id,
            to: to.id,
        });
    }
    Ok((IpAddr::V4(to.primary_address()), Some(to)))
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
#[error("\"{0}\" is no instance id, network interface id or address")]
pub struct NotAnEnd(String);

impl std::str::FromStr for End {
    type Err = NotAnEnd;

    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        if let Ok(address) = text.parse() {
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

    fn pools() -> PublicPools {
        PublicPools {
            ipv4: "198.18.0.0/15".parse().expect("a block"),
            ipv6: "2001:db8::/32".parse().expect("a block"),
        }
    }

    #[test]
    fn an_end_is_an_interface_an_instance_or_an_address() {
        let end = |text: &str| text.parse::<End>().ok();
        assert_eq!(
            end("10.0.0.1"),
            Some(End::Address(IpAddr::from([10, 0, 0, 1])))
        );
        assert_eq!(end("eni-0000000000000000a"), Some(End::Eni(EniId(10))));
        assert_eq!(
            end("i-0000000000000000a"),
            Some(End::Instance(InstanceId(10)))
        );
        for text in ["", "eni-1", "vpc-0000000000000000a", "10.0.0"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let question = Question {
            from: End::Eni(EniId(10)),
            to: End::Address(IpAddr::from([127, 0, 0, 1])),
            protocol: 6,
            port: 80,
        };
        let answer = explain(&Arc::default(), &pools(), &question);
        let name = "eni-0000000000000000a".to_owned();
        assert_eq!(answer, Err(Unanswerable::NotFound(name)));
        let from = End::Address(IpAddr::from([127, 0, 0, 1]));
        let answer = explain(&Arc::default(), &pools(), &Question { from, ..question });
        assert_eq!(answer, Err(Unanswerable::AmbiguousSender));
    }

    #[test]
    fn the_destination_of_a_route_is_told_in_its_own_family() {
        let told = |addr: &str, prefix_len| {
            let addr: IpAddr = addr.parse().expect("an address");
            let route = RouteStory {
                kind: Route::LOCAL,
                prefix_len,
            };
            destination(route, Addr::from(addr))
        };
        assert_eq!(told("10.0.1.7", 96 + 16), "10.0.0.0/16");
        assert_eq!(told("8.8.8.8", 96), "0.0.0.0/0");
        assert_eq!(told("2001:db8::7", 32), "2001:db8::/32");
    }
}
