//! The nodes of load balancers: each has a device in a namespace of its own, from where health checks go.
//!
//! What clients send to a node does not come here: the program of the device that it leaves sends it on to a
//! target. So balancing goes on without the daemon, and only the checks wait for it. Where bytes change on
//! the way, connections do end here, at a proxy. The namespace has no name, and goes with the daemon, with
//! the device in it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use enid_model::id::EniId;
use enid_pipeline::balancer::FIRST_PORT;
use enid_plan::NodeSpec;

use super::{Agent, AgentError};
use crate::device::EniDevice;
use crate::netns::NetNs;

/// The first port that the node's own connections may come from.
const FIRST_OWN_PORT: u16 = 1024;

impl Agent {
    /// Makes and removes the devices of nodes as the plan says. What fails is tried again later: without its
    /// node's device nothing is known of a target's health, and that stays as it was.
    pub(super) fn settle_nodes(&mut self, nodes: BTreeSet<EniId>) {
        self.nodes_owed.extend(nodes);
        for eni in std::mem::take(&mut self.nodes_owed) {
            let wanted = self.planner.node(eni).cloned();
            if self.nodes.get(&eni) == wanted.as_ref() {
                continue;
            }
            let mut settled = self.close_node(eni);
            if let (Ok(()), Some(spec)) = (&settled, wanted) {
                settled = self.open_node(spec);
            }
            if let Err(error) = settled {
                let error = crate::chain(&error);
                tracing::error!(%eni, error, "the device of a load balancer's node was not made or removed");
                self.nodes_owed.insert(eni);
            }
        }
    }

    fn open_node(&mut self, spec: NodeSpec) -> Result<(), AgentError> {
        let namespace = NetNs::unnamed(&format!("of the node {}", spec.eni))?;
        let range = format!("{FIRST_OWN_PORT} {}", FIRST_PORT - 1);
        namespace
            .run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", range))?
            .map_err(AgentError::NodePorts)?;
        let device = device_of(&spec);
        let made = device.create(self.installation, &namespace);
        let opened = made.map_err(AgentError::from).and_then(|links| {
            self.bind(spec.eni, links.host)?;
            device.up(&namespace, links.host)?;
            // What targets answer to clients for whom the proxy speaks.
            Ok(device.deliver_all(&namespace)?)
        });
        if opened.is_err() {
            // The first failure is the one to report; what is left is replaced by the next try.
            let _ = self.close_node(spec.eni);
            return opened;
        }
        let namespace = Arc::new(namespace);
        self.health.open(spec.eni, Arc::clone(&namespace));
        self.proxies.open(spec.eni, namespace);
        self.nodes.insert(spec.eni, spec);
        Ok(())
    }

    fn close_node(&mut self, eni: EniId) -> Result<(), AgentError> {
        self.health.close(eni);
        self.proxies.close(eni);
        self.nodes.remove(&eni);
        let diff = self.planner.bind(eni, None);
        self.settle(&diff)?;
        EniDevice::delete(self.installation, eni)?;
        self.datapath.detach(eni)?;
        Ok(())
    }
}

fn device_of(spec: &NodeSpec) -> EniDevice {
    EniDevice {
        eni: spec.eni,
        network_card_index: 0,
        device_index: 0,
        name: None,
        mac: spec.mac,
        router_mac: spec.router_mac,
        subnet: spec.subnet,
        primary: spec.address,
        secondaries: Vec::new(),
        ipv6_subnet: spec.ipv6_subnet,
        ipv6_addresses: spec.ipv6_addresses.clone(),
    }
}
