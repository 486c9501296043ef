//! What the nodes of load balancers count, by the names of AWS's metrics.
//!
//! A node counts for its zone, and what the zones say together for the load balancer. Counts of flows are
//! of their first packets: a client that tries again counts again where it is refused, and once where its
//! flow goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enid_host::Installation;
use enid_host::flows::{FlowError, FlowTables, monotonic_ns};
use enid_host::nat_counts::NatTables;
use enid_host::proxy::{AllProxyCounts, CarriedCounts, NodePlace, ProxyCounts};
use enid_model::id::{LoadBalancerId, ResourceId as _};
use enid_model::key::Scope;
use enid_model::state::State;
use enid_pipeline::nat_counts::NatCountsRecord;
use enid_pipeline::table::protocol;
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Post, Reading, Source, SourceError};

use super::balancer_targets::of_targets;
use super::capacity::{Capacity, Carried, OfProtocol};
use super::nat_gateways::{carried, whole};
use super::peaks::Peaks;

const NLB: Option<&str> = Some("AWS/NetworkELB");

meanings! {
    ACTIVE = NLB, "ActiveFlowCount", COUNT, Gauge, Some("enid_nlb_active_flows"), "Flows from clients through the load balancer that go on";
    ACTIVE_TCP = NLB, "ActiveFlowCount_TCP", COUNT, Gauge, Some("enid_nlb_active_tcp_flows"), "TCP connections through the load balancer that go on";
    ACTIVE_TLS = NLB, "ActiveFlowCount_TLS", COUNT, Gauge, Some("enid_nlb_active_tls_flows"), "TLS connections to the load balancer that go on";
    ACTIVE_UDP = NLB, "ActiveFlowCount_UDP", COUNT, Gauge, Some("enid_nlb_active_udp_flows"), "UDP flows through the load balancer that go on";
    CLIENT_TLS_ERRORS = NLB, "ClientTLSNegotiationErrorCount", COUNT, Counter, Some("enid_nlb_client_tls_errors_total"), "TLS handshakes with clients that failed";
    CONSUMED = NLB, "ConsumedLCUs", COUNT, Gauge, None, "Hours of capacity units that the load balancer used: the sum of the three protocols'";
    CONSUMED_TCP = NLB, "ConsumedLCUs_TCP", COUNT, Gauge, None, "Hours of capacity units that the load balancer used for TCP";
    CONSUMED_TLS = NLB, "ConsumedLCUs_TLS", COUNT, Gauge, None, "Hours of capacity units that the load balancer used for TLS";
    CONSUMED_UDP = NLB, "ConsumedLCUs_UDP", COUNT, Gauge, None, "Hours of capacity units that the load balancer used for UDP";
    NEW = NLB, "NewFlowCount", COUNT, Counter, Some("enid_nlb_flows_total"), "Flows through the load balancer that began";
    NEW_TCP = NLB, "NewFlowCount_TCP", COUNT, Counter, Some("enid_nlb_tcp_flows_total"), "TCP connections through the load balancer that began";
    NEW_TLS = NLB, "NewFlowCount_TLS", COUNT, Counter, Some("enid_nlb_tls_flows_total"), "TLS connections to the load balancer that began";
    NEW_UDP = NLB, "NewFlowCount_UDP", COUNT, Counter, Some("enid_nlb_udp_flows_total"), "UDP flows through the load balancer that began";
    PEAK_BYTES = NLB, "PeakBytesPerSecond", COUNT, Gauge, None, "The most bytes a second, in ten seconds of the minute, that the load balancer carried";
    PEAK_PACKETS = NLB, "PeakPacketsPerSecond", COUNT, Gauge, None, "The most packets a second, in ten seconds of the minute, that the load balancer carried";
    PORT_ERRORS = NLB, "PortAllocationErrorCount", COUNT, Counter, Some("enid_nlb_port_allocation_errors_total"), "Times that the load balancer had no port for a new flow to a target";
    BYTES = NLB, "ProcessedBytes", BYTES, Counter, Some("enid_nlb_bytes_total"), "Bytes that the load balancer carried, both ways, from the IP header on";
    BYTES_TCP = NLB, "ProcessedBytes_TCP", BYTES, Counter, Some("enid_nlb_tcp_bytes_total"), "Bytes of TCP that the load balancer carried, both ways, from the IP header on";
    BYTES_TLS = NLB, "ProcessedBytes_TLS", BYTES, Counter, Some("enid_nlb_tls_bytes_total"), "Bytes that TLS listeners passed on, both ways, without those of TLS itself";
    BYTES_UDP = NLB, "ProcessedBytes_UDP", BYTES, Counter, Some("enid_nlb_udp_bytes_total"), "Bytes of UDP that the load balancer carried, both ways, from the IP header on";
    PACKETS = NLB, "ProcessedPackets", COUNT, Counter, Some("enid_nlb_packets_total"), "Packets that the load balancer carried, both ways";
    REJECTED = NLB, "RejectedFlowCount", COUNT, Counter, Some("enid_nlb_rejected_flows_total"), "First packets of flows to a listener that had no target, or no port, for them";
    REJECTED_TCP = NLB, "RejectedFlowCount_TCP", COUNT, Counter, Some("enid_nlb_rejected_tcp_flows_total"), "First packets of TCP connections to a listener that had no target, or no port, for them";
    BLOCKED_IN_TCP = NLB, "SecurityGroupBlockedFlowCount_Inbound_TCP", COUNT, Counter, Some("enid_nlb_blocked_inbound_tcp_total"), "First packets of TCP connections that the inbound rules of the load balancer's security groups refused";
    BLOCKED_IN_UDP = NLB, "SecurityGroupBlockedFlowCount_Inbound_UDP", COUNT, Counter, Some("enid_nlb_blocked_inbound_udp_total"), "First packets of UDP flows that the inbound rules of the load balancer's security groups refused";
    BLOCKED_OUT_TCP = NLB, "SecurityGroupBlockedFlowCount_Outbound_TCP", COUNT, Counter, Some("enid_nlb_blocked_outbound_tcp_total"), "First packets of TCP connections that the outbound rules of the load balancer's security groups refused";
    BLOCKED_OUT_UDP = NLB, "SecurityGroupBlockedFlowCount_Outbound_UDP", COUNT, Counter, Some("enid_nlb_blocked_outbound_udp_total"), "First packets of UDP flows that the outbound rules of the load balancer's security groups refused";
    RESETS_CLIENT = NLB, "TCP_Client_Reset_Count", COUNT, Counter, Some("enid_nlb_client_resets_total"), "Resets that clients sent to targets";
    RESETS_OWN = NLB, "TCP_ELB_Reset_Count", COUNT, Counter, Some("enid_nlb_own_resets_total"), "Resets that the load balancer sent";
    RESETS_TARGET = NLB, "TCP_Target_Reset_Count", COUNT, Counter, Some("enid_nlb_target_resets_total"), "Resets that targets sent to clients";
    TARGET_TLS_ERRORS = NLB, "TargetTLSNegotiationErrorCount", COUNT, Counter, Some("enid_nlb_target_tls_errors_total"), "TLS handshakes with targets that failed";
    FAIL_OPEN = NLB, "UnhealthyRoutingFlowCount", COUNT, Counter, Some("enid_nlb_unhealthy_routing_flows_total"), "Flows that began while too few targets were healthy, so that all targets got them";
}

/// The load balancers of this host.
pub(crate) struct LoadBalancers {
    counts: NatTables,
    flows: FlowTables,
    peaks: Peaks,
    capacity: Capacity,
    proxies: AllProxyCounts,
    /// The proxies' counts begin anew with each daemon.
    proxies_life: String,
    /// The nodes by the last state that was followed: what one counted counts to whom it was.
    nodes: BTreeMap<u64, Node>,
}

/// Whose node an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    scope: Scope,
    id: LoadBalancerId,
    balancer: String,
    zone: String,
}

/// What was read of a node.
#[derive(Debug, Default)]
struct Counted {
    counts: NatCountsRecord,
    active_tcp: u64,
    active_udp: u64,
    proxied: Option<Arc<ProxyCounts>>,
}

impl LoadBalancers {
    const NAME: &str = "load-balancers";

    /// The load balancers of an installation.
    pub(crate) fn open(
        installation: Installation,
        proxies: AllProxyCounts,
    ) -> Result<Self, FlowError> {
        let counts = NatTables::open(installation)?;
        // What was carried before the daemon began is nobody's minute.
        let before = counts.all_counts()?.into_iter().map(|(id, counts)| {
            let counted = Counted {
                counts,
                ..Counted::default()
            };
            (id, counted.carried())
        });
        let capacity = Capacity::begin(monotonic_ns(), before.collect());
        Ok(Self {
            proxies,
            proxies_life: format!("proxies-{:x}", monotonic_ns()),
            counts,
            flows: FlowTables::open(installation)?,
            peaks: Peaks::default(),
            capacity,
            nodes: BTreeMap::new(),
        })
    }

    fn counted(&self) -> Result<BTreeMap<u64, Counted>, FlowError> {
        if self.nodes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let counts = self.counts.all_counts()?;
        let active = self.flows.balanced(monotonic_ns())?;
        let mut proxied: BTreeMap<_, _> = self.proxies.all().into_iter().collect();
        let mut of = |node: &u64, own: &Node| Counted {
            proxied: proxied.remove(&own.place()),
            counts: counts.get(node).copied().unwrap_or_default(),
            active_tcp: active.get(&(*node, protocol::TCP)).copied().unwrap_or(0),
            active_udp: active.get(&(*node, protocol::UDP)).copied().unwrap_or(0),
        };
        let nodes = self.nodes.iter();
        Ok(nodes.map(|(node, own)| (*node, of(node, own))).collect())
    }

    /// The peaks of zones and of whole load balancers.
    fn peaks(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        let mut add = |ids: &[u64], node: &Node, is_whole: bool| {
            let Some((bytes, packets)) = self.peaks.of(ids) else {
                return;
            };
            for (meaning, peak) in [(&PEAK_BYTES, bytes), (&PEAK_PACKETS, packets)] {
                let [whole, zone] = node.posts(meaning);
                let post = if is_whole { whole } else { zone };
                let key = format!("{}/{is_whole}/{}", ids[0], meaning.name);
                readings.push(Reading::level(key, peak, vec![post]));
            }
        };
        for (id, node) in &self.nodes {
            add(&[*id], node, false);
        }
        for (node, ids) in self.balancers() {
            add(&ids, node, true);
        }
        readings
    }

    /// The nodes of each load balancer, and one of them.
    fn balancers(&self) -> impl Iterator<Item = (&Node, Vec<u64>)> {
        let mut together: BTreeMap<(&Scope, &str), (&Node, Vec<u64>)> = BTreeMap::new();
        for (id, node) in &self.nodes {
            let of = together.entry((&node.scope, &node.balancer));
            of.or_insert_with(|| (node, Vec::new())).1.push(*id);
        }
        together.into_values()
    }

    fn note_carried(&mut self, counted: &BTreeMap<u64, Counted>) {
        let carried = counted.iter().map(|(id, counted)| (*id, counted.carried()));
        self.capacity.note(monotonic_ns(), carried.collect());
    }

    /// The capacity units of whole load balancers.
    fn units(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (node, ids) in self.balancers() {
            let Some([tcp, tls, udp]) = self.capacity.used(&ids) else {
                continue;
            };
            let all = [
                (&CONSUMED, tcp + tls + udp),
                (&CONSUMED_TCP, tcp),
                (&CONSUMED_TLS, tls),
                (&CONSUMED_UDP, udp),
            ];
            readings.extend(all.map(|(meaning, used)| {
                let [whole, _] = node.posts(meaning);
                Reading::level(format!("{:x}/{}", ids[0], meaning.name), used, vec![whole])
            }));
        }
        readings
    }
}

impl Source for LoadBalancers {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn is_overtaken(&self, state: &State) -> bool {
        let now = nodes(state);
        self.nodes
            .iter()
            .any(|(id, node)| now.get(id) != Some(node))
    }

    fn follow(&mut self, state: &State) {
        self.nodes = nodes(state);
    }

    fn glance(&mut self) {
        match self.counts.all_counts() {
            Ok(counts) => self.peaks.note(carried(&counts), monotonic_ns()),
            Err(_) => self.peaks.clear(),
        }
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        let counted = self.counted();
        let counted = counted.map_err(|error| SourceError::new(Self::NAME, error))?;
        let life = self.counts.life();
        self.note_carried(&counted);
        let mut readings = self.peaks();
        readings.extend(self.units());
        for (id, node) in &self.nodes {
            if let Some(counted) = counted.get(id) {
                readings.extend(of_node(&life, *id, node, counted));
                if let Some(proxied) = &counted.proxied {
                    readings.extend(of_proxy(&self.proxies_life, *id, node, proxied));
                }
            }
        }
        for (scope, region) in state.regions() {
            for balancer in region.load_balancers.values() {
                readings.extend(of_targets(scope, region, balancer));
            }
        }
        Ok(readings)
    }

    fn end(&mut self) {
        self.capacity.end();
    }

    fn clear(&mut self) {
        self.peaks.clear();
        self.capacity = Capacity::begin(monotonic_ns(), BTreeMap::new());
        self.nodes.clear();
    }
}

/// All nodes by a state.
fn nodes(state: &State) -> BTreeMap<u64, Node> {
    let mut nodes = BTreeMap::new();
    for (scope, region) in state.regions() {
        for balancer in region.load_balancers.values() {
            for own in &balancer.zones {
                let node = Node {
                    scope: scope.clone(),
                    id: balancer.id,
                    balancer: balancer.path(),
                    zone: own.zone.clone(),
                };
                nodes.insert(own.eni.bits(), node);
            }
        }
    }
    nodes
}

impl Node {
    /// Whose its proxy's counts are.
    fn place(&self) -> NodePlace {
        NodePlace {
            scope: self.scope.clone(),
            balancer: self.id,
            zone: self.zone.clone(),
        }
    }

    /// A metric of the load balancer, and of its zone.
    fn posts(&self, meaning: &'static Meaning) -> [Post; 2] {
        let balancer = ("LoadBalancer", self.balancer.clone());
        let zone = ("AvailabilityZone", self.zone.clone());
        [
            Post::new(meaning, &self.scope, vec![balancer.clone()]).sum(),
            Post::new(meaning, &self.scope, vec![balancer, zone]),
        ]
    }
}

impl Counted {
    /// What it carries by itself and by its proxy: TCP, TLS, UDP.
    fn carried(&self) -> Carried {
        let of = |counts: &CarriedCounts| OfProtocol {
            new: counts.new_flows.load(Ordering::Relaxed),
            active: counts.active_flows.load(Ordering::Relaxed),
            bytes: counts.processed_bytes.load(Ordering::Relaxed),
        };
        let proxied = self.proxied.as_deref();
        let [by_proxy, tls] = proxied.map_or_else(Default::default, |proxied| {
            [of(&proxied.tcp), of(&proxied.tls)]
        });
        let it = &self.counts;
        let bytes = it.out_bytes + it.back_bytes;
        let tcp = OfProtocol {
            new: it.attempts.saturating_sub(it.udp_flows) + by_proxy.new,
            active: self.active_tcp + by_proxy.active,
            bytes: bytes.saturating_sub(it.udp_bytes) + by_proxy.bytes,
        };
        let udp = OfProtocol {
            new: it.udp_flows,
            active: self.active_udp,
            bytes: it.udp_bytes,
        };
        [tcp, tls, udp]
    }
}

/// What a node counts to.
fn of_node(life: &str, id: u64, node: &Node, counted: &Counted) -> Vec<Reading> {
    let it = &counted.counts;
    let bytes = it.out_bytes + it.back_bytes;
    let counters = [
        (&NEW, it.attempts),
        (&NEW_TCP, it.attempts.saturating_sub(it.udp_flows)),
        (&NEW_UDP, it.udp_flows),
        (&BYTES, bytes),
        (&BYTES_TCP, bytes.saturating_sub(it.udp_bytes)),
        (&BYTES_UDP, it.udp_bytes),
        (&PACKETS, it.out_packets + it.back_packets),
        (&RESETS_CLIENT, it.out_resets),
        (&RESETS_OWN, it.own_resets),
        (&RESETS_TARGET, it.back_resets),
        (&REJECTED, it.rejected_tcp + it.rejected_udp),
        (&REJECTED_TCP, it.rejected_tcp),
        (&FAIL_OPEN, it.fail_open),
        (&PORT_ERRORS, it.port_errors),
        (&BLOCKED_IN_TCP, it.blocked_in_tcp),
        (&BLOCKED_IN_UDP, it.blocked_in_udp),
        (&BLOCKED_OUT_TCP, it.blocked_out_tcp),
        (&BLOCKED_OUT_UDP, it.blocked_out_udp),
    ];
    let proxied = counted.proxied.as_deref();
    let active = |of: fn(&ProxyCounts) -> &CarriedCounts| {
        proxied.map_or(0, |proxied| {
            of(proxied).active_flows.load(Ordering::Relaxed)
        })
    };
    let active_tls = active(|proxied| &proxied.tls);
    let active_tcp = counted.active_tcp + active(|proxied| &proxied.tcp);
    let levels = [
        (&ACTIVE, active_tcp + counted.active_udp + active_tls),
        (&ACTIVE_TCP, active_tcp),
        (&ACTIVE_TLS, active_tls),
        (&ACTIVE_UDP, counted.active_udp),
    ];
    let counters = counters.into_iter().map(|(meaning, count)| {
        let key = format!("{life}/{id:x}/{}", meaning.name);
        Reading::count(key, count, node.posts(meaning).into())
    });
    let levels = levels.into_iter().map(|(meaning, level)| {
        let key = format!("{id:x}/{}", meaning.name);
        Reading::level(key, whole(level), node.posts(meaning).into())
    });
    counters.chain(levels).collect()
}

/// What a node's proxy counts to: metrics of its own, and those that are about all flows of the node.
fn of_proxy(life: &str, id: u64, node: &Node, proxied: &ProxyCounts) -> Vec<Reading> {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let own = [
        (&NEW_TLS, &proxied.tls.new_flows),
        (&BYTES_TLS, &proxied.tls.processed_bytes),
        (&CLIENT_TLS_ERRORS, &proxied.client_tls_negotiation_errors),
        (&TARGET_TLS_ERRORS, &proxied.target_tls_negotiation_errors),
    ];
    let (tcp, tls) = (&proxied.tcp, &proxied.tls);
    let shared = [
        (&NEW, of(&tcp.new_flows) + of(&tls.new_flows)),
        (&NEW_TCP, of(&tcp.new_flows)),
        (&BYTES, of(&tcp.processed_bytes) + of(&tls.processed_bytes)),
        (&BYTES_TCP, of(&tcp.processed_bytes)),
        (&REJECTED, of(&tcp.rejected_flows) + of(&tls.rejected_flows)),
        (&REJECTED_TCP, of(&tcp.rejected_flows)),
        (&FAIL_OPEN, of(&proxied.fail_open)),
        (&PORT_ERRORS, of(&proxied.port_allocation_errors)),
    ];
    let own = own.into_iter().map(|(meaning, counter)| {
        let key = format!("{life}/{id:x}/{}", meaning.name);
        Reading::count(key, of(counter), node.posts(meaning).into())
    });
    let shared = shared.into_iter().map(|(meaning, count)| {
        let key = format!("{life}/{id:x}/all/{}", meaning.name);
        let posts = node.posts(meaning).map(Post::sum);
        Reading::count(key, count, posts.into())
    });
    own.chain(shared).collect()
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};
    use enid_telemetry::source::Value;

    use super::*;

    #[test]
    fn a_node_counts_for_its_zone_and_its_load_balancer() {
        let node = Node {
            scope: Scope {
                account: AccountId::DEFAULT,
                region: RegionName::new("eu-west-1"),
            },
            id: LoadBalancerId(7),
            balancer: "net/web/0123456789abcdef".to_owned(),
            zone: "eu-west-1a".to_owned(),
        };
        let counts = NatCountsRecord {
            attempts: 7,
            udp_flows: 3,
            out_bytes: 100,
            back_bytes: 20,
            udp_bytes: 30,
            rejected_tcp: 1,
            rejected_udp: 2,
            ..NatCountsRecord::default()
        };
        let counted = Counted {
            counts,
            active_tcp: 4,
            active_udp: 1,
            proxied: Some(Arc::new(ProxyCounts {
                tls: CarriedCounts {
                    active_flows: AtomicU64::new(2),
                    ..CarriedCounts::default()
                },
                ..ProxyCounts::default()
            })),
        };
        let readings = of_node("life", 9, &node, &counted);
        let value = |meaning: &Meaning| {
            let mut found = readings
                .iter()
                .filter(|reading| reading.posts[0].meaning == meaning);
            let reading = found.next().expect(meaning.name);
            assert!(found.next().is_none());
            let [of_all, of_zone] = &*reading.posts else {
                panic!("two posts of {}", meaning.name);
            };
            assert!(of_all.is_sum && !of_zone.is_sum);
            assert_eq!(of_all.dimensions.len() + 1, of_zone.dimensions.len());
            reading.value.clone()
        };
        assert_eq!(value(&NEW), Value::Count(7));
        assert_eq!(value(&NEW_TCP), Value::Count(4));
        assert_eq!(value(&BYTES_TCP), Value::Count(90));
        assert_eq!(value(&REJECTED), Value::Count(3));
        assert_eq!(value(&ACTIVE), Value::Level(7.0));
    }
}
