//! What balanced flows belong to, by name: the daemon knows the load balancers, the kernel's tables the flows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enid_model::state::State;
use enid_model::target_group::BalancedProtocol;
use enid_pipeline::table::protocol;
use serde::{Deserialize, Serialize};

use super::Flow;
use crate::cli::Common;
use crate::client;

/// What the daemon answers at `/_enid/load-balancers`: all load balancers by the interfaces of their nodes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Balancers {
    nodes: BTreeMap<String, Named>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    name: String,
    listeners: Vec<Listening>,
}

/// A listener, and the groups that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listening {
    port: u16,
    protocols: Vec<u8>,
    groups: Vec<Group>,
}

/// A target group with its targets, those that are draining included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    name: String,
    targets: Vec<(IpAddr, u16, String)>,
}

impl Balancers {
    /// Those of a state.
    pub(crate) fn of(state: &State) -> Self {
        let mut nodes = BTreeMap::new();
        for region in state.regions().values() {
            for balancer in region.load_balancers.values() {
                let listeners = region.listeners_of_load_balancer(balancer.id);
                let listeners = listeners.filter_map(|id| region.listeners.get(&id));
                let listeners = listeners.map(|listener| {
                    let groups = listener.forward.iter();
                    let groups = groups.filter_map(|it| region.target_groups.get(&it.group));
                    let groups = groups.map(|group| {
                        let targets = region.targets_of_group(group.id);
                        let targets =
                            targets.map(|it| (it.address, it.key.port, it.key.id.to_string()));
                        Group {
                            name: group.name.clone(),
                            targets: targets.collect(),
                        }
                    });
                    Listening {
                        port: listener.port,
                        protocols: numbers(listener.protocol),
                        groups: groups.collect(),
                    }
                });
                let named = Named {
                    name: balancer.name.clone(),
                    listeners: listeners.collect(),
                };
                for own in &balancer.zones {
                    nodes.insert(own.eni.to_string(), named.clone());
                }
            }
        }
        Self { nodes }
    }

    /// Those that the daemon knows.
    pub(super) fn ask(common: &Common) -> anyhow::Result<Self> {
        let answer = client::request(&common.endpoint()?, "GET", "/_enid/load-balancers")?;
        anyhow::ensure!(
            answer.status == 200,
            "the daemon does not tell of its load balancers"
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Says what a flow belongs to, if it passes a node, was dropped there, or is a node's own: a client's
    /// connection to its proxy, the proxy's to a target, a health check.
    pub(super) fn name(&self, flow: &mut Flow) {
        let node = flow.load_balancer_eni.as_ref();
        let dropped_at = flow
            .destination_eni
            .as_ref()
            .filter(|_| flow.verdict == "drop");
        let Some(named) = node.or(dropped_at).and_then(|eni| self.nodes.get(eni)) else {
            return self.name_own(flow);
        };
        flow.load_balancer = Some(named.name.clone());
        let new = flow.translation.as_ref();
        let (port, target) = match flow.reply {
            false => (
                flow.destination_port,
                new.map(|new| (new.destination, new.destination_port)),
            ),
            true => (
                new.map_or(0, |new| new.source_port),
                Some((flow.source, flow.source_port)),
            ),
        };
        let mut listeners = named.listeners.iter();
        let listener =
            listeners.find(|it| it.port == port && it.protocols.contains(&flow.protocol));
        let Some(listener) = listener else { return };
        let found = listener.groups.iter().find_map(|group| {
            let mut targets = group.targets.iter();
            let is_it = |it: &&(IpAddr, u16, String)| Some((it.0, it.1)) == target;
            targets.find(is_it).map(|it| (group, it.2.clone()))
        });
        // One that is forgotten, or none at all: the group is known if there is one only.
        flow.target_group = match (&found, &*listener.groups) {
            (Some((group, _)), _) => Some(group.name.clone()),
            (None, [group]) => Some(group.name.clone()),
            (None, _) => None,
        };
        flow.target = found.map(|(_, target)| target);
    }

    fn name_own(&self, flow: &mut Flow) {
        let node_of = |eni: &Option<String>| self.nodes.get(eni.as_ref()?);
        let (own, other) = match (node_of(&flow.source_eni), node_of(&flow.destination_eni)) {
            (Some(own), _) => (own, (flow.destination, flow.destination_port)),
            (None, Some(own)) => (own, (flow.source, flow.source_port)),
            (None, None) => return,
        };
        flow.load_balancer = Some(own.name.clone());
        let mut groups = own.listeners.iter().flat_map(|it| &it.groups);
        let found = groups.find_map(|group| {
            let mut targets = group.targets.iter();
            let target = targets.find(|it| (it.0, it.1) == other)?;
            Some((group.name.clone(), target.2.clone()))
        });
        if let Some((group, target)) = found {
            (flow.target_group, flow.target) = (Some(group), Some(target));
        }
    }
}

/// The protocol numbers of a listener's flows.
fn numbers(of: BalancedProtocol) -> Vec<u8> {
    match of {
        BalancedProtocol::Tcp | BalancedProtocol::Tls => vec![protocol::TCP],
        BalancedProtocol::TcpUdp => vec![protocol::TCP, protocol::UDP],
        BalancedProtocol::Udp => vec![protocol::UDP],
    }
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::{Addr, Be16};
    use enid_pipeline::drops::DropRecord;
    use enid_pipeline::flow::{FlowKey, FlowRecord, Translation, flag};

    use super::super::{drop_of, forward, words};
    use super::*;

    fn balancers() -> Balancers {
        let group = |name: &str, last| Group {
            name: name.to_owned(),
            targets: vec![(IpAddr::from([10, 0, 1, last]), 8080, format!("i-{last}"))],
        };
        let named = Named {
            name: "web".to_owned(),
            listeners: vec![Listening {
                port: 80,
                protocols: vec![protocol::TCP],
                groups: vec![group("blue", 1), group("green", 2)],
            }],
        };
        let node = enid_model::id::EniId(9).to_string();
        Balancers {
            nodes: BTreeMap::from([(node, named)]),
        }
    }

    fn key(source: [u8; 4], from: u16, target: [u8; 4], to: u16) -> FlowKey {
        FlowKey {
            protocol: protocol::TCP,
            source: Addr::v4(source),
            target: Addr::v4(target),
            source_port: Be16::new(from),
            target_port: Be16::new(to),
            ..FlowKey::default()
        }
    }

    fn balanced(key: &FlowKey, flags: u64, new: Translation) -> Flow {
        let new = new.words(&key.source, &key.target);
        let record = FlowRecord {
            source_eni: 7,
            target_eni: 8,
            via: 9,
            flags: flag::BALANCED | flag::TRANSLATED | flags,
            new_addresses: new.addresses,
            new_ports: new.ports,
            ..FlowRecord::default()
        };
        let mut flow = forward(key, &record, 0);
        balancers().name(&mut flow);
        flow
    }

    fn told(flow: &Flow) -> [Option<&str>; 3] {
        [&flow.load_balancer, &flow.target_group, &flow.target].map(Option::as_deref)
    }

    #[test]
    fn both_directions_of_a_flow_have_its_names() {
        let (client, node, target) = ([10, 0, 0, 5], [10, 0, 0, 4], [10, 0, 1, 2]);
        let out = Translation {
            source: Addr::v4(client),
            target: Addr::v4(target),
            source_port: Be16::new(40_000),
            target_port: Be16::new(8080),
        };
        let flow = balanced(&key(client, 40_000, node, 80), 0, out);
        assert_eq!(told(&flow), [Some("web"), Some("green"), Some("i-2")]);
        assert!(words(&flow).contains(" through web to i-2 of green "));
        let back = Translation {
            source: Addr::v4(node),
            target: Addr::v4(client),
            source_port: Be16::new(80),
            target_port: Be16::new(40_000),
        };
        let flow = balanced(&key(target, 8080, client, 40_000), flag::REPLY, back);
        assert_eq!(told(&flow), [Some("web"), Some("green"), Some("i-2")]);
        // A target that is forgotten, of one of two groups.
        let gone = Translation {
            target: Addr::v4([10, 0, 1, 3]),
            ..out
        };
        let flow = balanced(&key(client, 40_000, node, 80), 0, gone);
        assert_eq!(told(&flow), [Some("web"), None, None]);
    }

    #[test]
    fn a_drop_at_a_node_has_the_load_balancers_name() {
        let record = DropRecord {
            target_eni: 9,
            ..DropRecord::default()
        };
        let mut flow = drop_of(&key([10, 0, 0, 5], 1, [10, 0, 0, 4], 80), &record, 0);
        balancers().name(&mut flow);
        assert_eq!(told(&flow), [Some("web"), None, None]);
        let elsewhere = DropRecord {
            target_eni: 8,
            ..record
        };
        let mut flow = drop_of(&key([10, 0, 0, 5], 1, [10, 0, 0, 4], 80), &elsewhere, 0);
        balancers().name(&mut flow);
        assert_eq!(told(&flow), [None, None, None]);
    }

    #[test]
    fn what_a_node_begins_or_ends_itself_has_names_as_well() {
        let told_of = |source_eni, target_eni, key: FlowKey| {
            let record = FlowRecord {
                source_eni,
                target_eni,
                ..FlowRecord::default()
            };
            let mut flow = forward(&key, &record, 0);
            balancers().name(&mut flow);
            told(&flow).map(|name| name.map(str::to_owned))
        };
        let (client, node, target) = ([10, 0, 0, 5], [10, 0, 0, 4], [10, 0, 1, 2]);
        let named = ["web", "green", "i-2"].map(|name| Some(name.to_owned()));
        let only = [Some("web".to_owned()), None, None];
        assert_eq!(told_of(5, 9, key(client, 40_000, node, 80)), only);
        assert_eq!(told_of(9, 5, key(node, 80, client, 40_000)), only);
        assert_eq!(told_of(9, 8, key(node, 5000, target, 8080)), named);
        assert_eq!(told_of(8, 9, key(target, 8080, node, 5000)), named);
        // A health check of another port, and a flow that no node has to do with.
        assert_eq!(told_of(9, 8, key(node, 1025, target, 81)), only);
        let nobody = told_of(5, 8, key(client, 1, target, 8080));
        assert_eq!(nobody, [None, None, None]);
    }
}
