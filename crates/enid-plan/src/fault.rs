//! Faults that somebody injects: what stops, as long as it is to stop.

use std::fmt;

use enid_model::id::{EniId, InstanceId, NatGatewayId};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use serde::{Deserialize, Serialize};

/// What fails.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An instance: all traffic of its interfaces.
    Instance(InstanceId),
    /// An interface: all its traffic.
    Interface(EniId),
    /// The ports of a NAT gateway: it has none for new connections.
    NatPorts(NatGatewayId),
    /// A zone: all traffic of all interfaces in its subnets, nodes of load balancers and NAT gateways included.
    Zone(String),
}

impl Fault {
    /// Whether there is what is to fail.
    #[must_use]
    pub fn has_object(&self, state: &State) -> bool {
        let mut regions = state.regions().values();
        regions.any(|region| match self {
            Self::Instance(id) => region.instances.contains_key(id),
            Self::Interface(id) => region.network_interfaces.contains_key(id),
            Self::NatPorts(id) => region.nat_gateways.contains_key(id),
            Self::Zone(zone) => region.subnets.values().any(|subnet| subnet.zone == *zone),
        })
    }

    /// Whether it stops an interface.
    #[must_use]
    pub fn stops(&self, region: &RegionState, eni: &NetworkInterface) -> bool {
        match self {
            Self::Instance(id) => eni.attachment.as_ref().is_some_and(|it| it.instance == *id),
            Self::Interface(id) => eni.id == *id,
            Self::NatPorts(_) => false,
            Self::Zone(zone) => {
                let subnet = region.subnets.get(&eni.subnet);
                subnet.is_some_and(|subnet| subnet.zone == *zone)
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => write!(f, "target {id}"),
            Self::Interface(id) => write!(f, "target {id}"),
            Self::NatPorts(id) => write!(f, "nat-ports {id}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
        }
    }
}
