//! What the node of a load balancer has for a packet: its listener, and how the targets are.

use enid_model::id::EniId;
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_model::target_group::{BalancedProtocol, TargetGroup};
use enid_pipeline::table::protocol;
use enid_plan::target_health::considered;

/// What a node was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its load balancer, as AWS's metrics name it.
    pub(crate) balancer: String,
    /// The listener and its targets, in words.
    pub(crate) words: String,
}

/// What the node of this interface has for a port at its address of a family; `None` if it is no node.
pub(crate) fn asked(
    region: &RegionState,
    node: EniId,
    number: u8,
    port: u16,
    is_ipv6: bool,
) -> Option<Asked> {
    let mut balancers = region.load_balancers.values();
    let (balancer, zone) = balancers.find_map(|balancer| {
        let mut zones = balancer.zones.iter();
        let own = zones.find(|own| own.eni == node)?;
        Some((balancer, &*own.zone))
    })?;
    let listeners = region.listeners_of_load_balancer(balancer.id);
    let mut listeners = listeners.filter_map(|id| region.listeners.get(&id));
    let listener = listeners.find(|it| it.port == port && speaks(it.protocol, number));
    let words = match listener {
        Some(listener) => {
            let is_tcp = number == protocol::TCP;
            let proxy = match is_tcp && region.is_proxied(listener, is_ipv6) {
                true => "; connections end at the node, and its proxy makes others to targets",
                false => "",
            };
            of_listener(region, balancer, listener, zone) + proxy
        }
        None => format!("no listener for protocol {number} at port {port}"),
    };
    Some(Asked {
        balancer: balancer.path(),
        words,
    })
}

fn speaks(listener: BalancedProtocol, number: u8) -> bool {
    match listener {
        BalancedProtocol::Tcp | BalancedProtocol::Tls => number == protocol::TCP,
        BalancedProtocol::TcpUdp => matches!(number, protocol::TCP | protocol::UDP),
        BalancedProtocol::Udp => number == protocol::UDP,
    }
}

fn of_listener(
    region: &RegionState,
    balancer: &LoadBalancer,
    listener: &Listener,
    zone: &str,
) -> String {
    let groups = listener.forward.iter();
    let groups = groups.filter_map(|forward| region.target_groups.get(&forward.group));
    let groups: Vec<String> = groups
        .map(|group| of_group(region, balancer, group, zone))
        .collect();
    let (name, port) = (listener.protocol.word(), listener.port);
    format!("listener {name} {port}: {}", groups.join("; "))
}

fn of_group(
    region: &RegionState,
    balancer: &LoadBalancer,
    group: &TargetGroup,
    zone: &str,
) -> String {
    let seen = considered(region, balancer, group, zone);
    let of = match group.crosses_zones(balancer) {
        true => "all zones".to_owned(),
        false => zone.to_owned(),
    };
    let (name, healthy, all) = (&group.name, seen.healthy, seen.all);
    let open = match seen.is_fail_open {
        true => ", all get flows because too few are healthy",
        false => "",
    };
    format!("target group {name} has {healthy} of {all} targets healthy in {of}{open}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_speaks_its_protocols() {
        assert!(speaks(BalancedProtocol::Tcp, protocol::TCP));
        assert!(!speaks(BalancedProtocol::Tcp, protocol::UDP));
        assert!(speaks(BalancedProtocol::TcpUdp, protocol::UDP));
        assert!(!speaks(BalancedProtocol::Udp, protocol::TCP));
    }

    #[test]
    fn an_interface_that_is_no_node_has_nothing_to_say() {
        assert_eq!(asked(&RegionState::default(), EniId(1), 6, 80, false), None);
    }
}
