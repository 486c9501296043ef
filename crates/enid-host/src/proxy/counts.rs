//! What the proxies of nodes have carried, by load balancer and zone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::LoadBalancerId;
use enid_model::key::Scope;

/// Whose counts they are: those of the node of a load balancer in a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePlace {
    /// The account and region.
    pub scope: Scope,
    /// The load balancer.
    pub balancer: LoadBalancerId,
    /// The zone.
    pub zone: String,
}

/// What one node's proxy has carried since the daemon began.
#[derive(Debug, Default)]
pub struct ProxyCounts {
    /// By TCP listeners.
    pub tcp: CarriedCounts,
    /// By TLS listeners, handshakes included.
    pub tls: CarriedCounts,
    /// TLS handshakes with clients that failed.
    pub client_tls_negotiation_errors: AtomicU64,
    /// TLS handshakes with targets that failed.
    pub target_tls_negotiation_errors: AtomicU64,
    /// Connections for which the node had no port of its own to the target.
    pub port_allocation_errors: AtomicU64,
    /// Connections that got a target though too few are healthy, as all get them then.
    pub fail_open: AtomicU64,
}

/// What was carried for listeners of one protocol. Only [`CarriedCounts::active_flows`] falls.
#[derive(Debug, Default)]
pub struct CarriedCounts {
    /// Connections of clients that began.
    pub new_flows: AtomicU64,
    /// Those that are there.
    pub active_flows: AtomicU64,
    /// Bytes of clients and targets that were passed on, both ways, without those of TLS itself.
    pub processed_bytes: AtomicU64,
    /// Connections that found no target, or none that answered.
    pub rejected_flows: AtomicU64,
}

impl ProxyCounts {
    pub(super) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn take(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    /// Those of a listener.
    pub(super) const fn carried(&self, is_tls: bool) -> &CarriedCounts {
        if is_tls { &self.tls } else { &self.tcp }
    }
}

/// The counts of all nodes that ever had a proxy, shared with those who publish them.
#[derive(Debug, Clone, Default)]
pub struct AllProxyCounts(Arc<Mutex<BTreeMap<NodePlace, Arc<ProxyCounts>>>>);

impl AllProxyCounts {
    /// All counts.
    #[must_use]
    pub fn all(&self) -> Vec<(NodePlace, Arc<ProxyCounts>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.iter();
        known
            .map(|(place, counts)| (place.clone(), Arc::clone(counts)))
            .collect()
    }

    /// The counts of a node.
    pub(super) fn of(&self, place: NodePlace) -> Arc<ProxyCounts> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(place).or_default())
    }

    /// Forgets load balancers that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&NodePlace) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|place, _| is_there(place));
    }
}
