//! Which listeners are served by which nodes, and by which rules.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use enid_model::id::{EniId, ListenerId, LoadBalancerId, TargetGroupId};
use enid_model::key::Scope;
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::{RegionState, State};
use enid_model::target_group::BalancedProtocol;
use enid_plan::proxied::BalancerTables;

use super::access::Logged;
use super::counts::{AllProxyCounts, NodePlace, ProxyCounts};
use super::tls::{self, End, Ended};

/// By what a listener of a node goes.
#[derive(Clone)]
pub(super) struct Rules {
    /// The node.
    pub(super) node: EniId,
    /// The listener's port.
    pub(super) port: u16,
    /// How long a connection may carry nothing.
    pub(super) idle: Duration,
    /// The listener.
    pub(super) listener: ListenerId,
    /// How TLS ends here; `None` if there is none.
    pub(super) tls: Option<Arc<End>>,
    /// Where its connections are logged, if they are.
    pub(super) logged: Option<Arc<Logged>>,
    /// The targets.
    pub(super) tables: Arc<BalancerTables>,
    /// The target groups of the listener.
    pub(super) groups: BTreeMap<TargetGroupId, GroupRules>,
    /// What is counted.
    pub(super) counts: Arc<ProxyCounts>,
}

/// How connections to the targets of a group begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupRules {
    /// With a header of the proxy protocol.
    pub(super) has_header: bool,
    /// With TLS.
    pub(super) is_tls: bool,
    /// From the client's address and port.
    pub(super) is_from_client: bool,
}

/// All that is to be served, with what it was made of.
#[derive(Default)]
pub(super) struct Wanted {
    /// By node, its address of either family, and port.
    pub(super) rules: BTreeMap<(EniId, SocketAddr), Arc<Rules>>,
    tables: BTreeMap<(Scope, LoadBalancerId), Arc<BalancerTables>>,
    ended: BTreeMap<(Scope, ListenerId), Ended>,
}

impl Wanted {
    /// Goes on to a state.
    pub(super) fn advance(&mut self, state: &State, counts: &AllProxyCounts) {
        let before = std::mem::take(self);
        for (scope, region) in state.regions() {
            for balancer in region.load_balancers.values() {
                let listeners = region.listeners_of_load_balancer(balancer.id);
                let listeners = listeners.filter_map(|id| region.listeners.get(&id));
                let proxied: Vec<&Listener> = listeners
                    .map(|listener| &**listener)
                    .filter(|listener| is_proxied(region, listener))
                    .collect();
                if proxied.is_empty() {
                    continue;
                }
                let at = (scope.clone(), balancer.id);
                let known = before.tables.get(&at).map(|tables| &**tables);
                let tables = Arc::new(BalancerTables::of(region, balancer, known));
                self.tables.insert(at, Arc::clone(&tables));
                for listener in proxied {
                    let at = (scope.clone(), listener.id);
                    let ended = tls::of_listener(region, listener, before.ended.get(&at));
                    if listener.protocol == BalancedProtocol::Tls && ended.is_none() {
                        // Its certificates are not there, which the control plane does not let happen.
                        continue;
                    }
                    self.add(
                        scope,
                        region,
                        balancer,
                        listener,
                        &tables,
                        ended.as_ref(),
                        counts,
                    );
                    if let Some(ended) = ended {
                        self.ended.insert(at, ended);
                    }
                }
            }
        }
        counts.retain(|place| {
            let region = state.region(&place.scope);
            region.is_some_and(|region| region.load_balancers.contains_key(&place.balancer))
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one listener")]
    fn add(
        &mut self,
        scope: &Scope,
        region: &RegionState,
        balancer: &LoadBalancer,
        listener: &Listener,
        tables: &Arc<BalancerTables>,
        ended: Option<&Ended>,
        counts: &AllProxyCounts,
    ) {
        let groups = listener.forward.iter();
        let groups = groups.filter_map(|forward| region.target_groups.get(&forward.group));
        let groups: BTreeMap<_, _> = groups
            .map(|group| {
                let rules = GroupRules {
                    has_header: group.attributes.proxy_protocol_v2,
                    is_tls: group.protocol == BalancedProtocol::Tls,
                    is_from_client: group.attributes.preserve_client_ip,
                };
                (group.id, rules)
            })
            .collect();
        for zone in &balancer.zones {
            let place = NodePlace {
                scope: scope.clone(),
                balancer: balancer.id,
                zone: zone.zone.clone(),
            };
            let counts = counts.of(place.clone());
            let logs = &balancer.attributes.access_logs;
            let is_logged = logs.is_enabled && ended.is_some();
            let logged = is_logged.then(|| Logged {
                place,
                path: balancer.path(),
                logs: logs.clone(),
            });
            let rules = Rules {
                node: zone.eni,
                port: listener.port,
                idle: Duration::from_secs(listener.tcp_idle_timeout_s.into()),
                listener: listener.id,
                tls: ended.map(|ended| Arc::clone(&ended.end)),
                logged: logged.map(Arc::new),
                tables: Arc::clone(tables),
                groups: groups.clone(),
                counts,
            };
            let rules = Arc::new(rules);
            let ipv6 = zone.ipv6.map(IpAddr::V6);
            let addresses = ipv6.into_iter().chain([IpAddr::V4(zone.private_ip)]);
            for address in addresses {
                if !region.is_proxied(listener, address.is_ipv6()) {
                    continue;
                }
                let at = SocketAddr::new(address, listener.port);
                self.rules.insert((zone.eni, at), Arc::clone(&rules));
            }
        }
    }
}

/// Whether the connections of any family to a listener end at its nodes.
pub(super) fn is_proxied(region: &RegionState, listener: &Listener) -> bool {
    [false, true]
        .into_iter()
        .any(|is_ipv6| region.is_proxied(listener, is_ipv6))
}
