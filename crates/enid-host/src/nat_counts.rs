//! What NAT gateways count: read from the pins, with or without an agent, and kept small by the agent.

use std::collections::{BTreeMap, BTreeSet};

use enid_pipeline::balancer::{ListenerKey, ListenerRecord};
use enid_pipeline::flow::SECOND_NS;
use enid_pipeline::nat_counts::{NatCountsRecord, NatPortsKey, NatPortsRecord};
use enid_pipeline::table::NatRecord;

use crate::Installation;
use crate::flows::{FlowError, clear, failed, life};
use crate::loader::Pins;
use crate::maps::Map;

/// The tables of NAT gateways: what the plan says of them, and what the programs count.
#[derive(Debug)]
pub struct NatTables {
    nats: Map<u64, NatRecord>,
    ports: Map<NatPortsKey, NatPortsRecord>,
    counts: Map<u64, NatCountsRecord>,
    listeners: Map<ListenerKey, ListenerRecord>,
    swept_ns: u64,
    /// Gateways that were gone at the last sweep.
    departed: BTreeSet<u64>,
}

/// How long a count of no ports is kept: a destination that is asked now and then keeps its entry.
const UNUSED_NS: u64 = 90 * SECOND_NS;

impl NatTables {
    /// Opens the pins of an installation.
    pub fn open(installation: Installation) -> Result<Self, FlowError> {
        let pins = Pins::existing(installation)?;
        Ok(Self {
            nats: Map::open(&pins.map("nats")).map_err(failed("open", "nats"))?,
            ports: Map::open(&pins.map("nat_ports")).map_err(failed("open", "nat_ports"))?,
            counts: Map::open(&pins.map("nat_counts")).map_err(failed("open", "nat_counts"))?,
            listeners: Map::open(&pins.map("listeners")).map_err(failed("open", "listeners"))?,
            swept_ns: 0,
            departed: BTreeSet::new(),
        })
    }

    /// Which counters these are: the same text as long as none of them begins anew.
    #[must_use]
    pub fn life(&self) -> String {
        life(self.counts.id)
    }

    /// What was counted, of gateways that have just gone as well.
    pub fn all_counts(&self) -> Result<BTreeMap<u64, NatCountsRecord>, FlowError> {
        let counts: Vec<(u64, NatCountsRecord)> = self
            .counts
            .read_all()
            .map_err(failed("read", "nat_counts"))?;
        Ok(counts.into_iter().collect())
    }

    /// All NAT gateways of this host's tables, and what each has counted.
    pub fn counts(&self) -> Result<Vec<(u64, NatRecord, NatCountsRecord)>, FlowError> {
        let nats: Vec<(u64, NatRecord)> = self.nats.read_all().map_err(failed("read", "nats"))?;
        let with_counts = nats.into_iter().map(|(id, record)| {
            let counts = self.counts.lookup(&id);
            let counts = counts.map_err(failed("read", "nat_counts"))?;
            Ok((id, record, counts.unwrap_or_default()))
        });
        with_counts.collect()
    }

    /// What the nodes of load balancers have counted, by interface: of all that have a listener.
    pub fn node_counts(&self) -> Result<BTreeMap<u64, NatCountsRecord>, FlowError> {
        let nodes = self.nodes()?.into_iter();
        let with_counts = nodes.map(|node| {
            let counts = self.counts.lookup(&node);
            let counts = counts.map_err(failed("read", "nat_counts"))?;
            Ok((node, counts.unwrap_or_default()))
        });
        with_counts.collect()
    }

    /// The nodes that have a listener.
    fn nodes(&self) -> Result<BTreeSet<u64>, FlowError> {
        let listeners: Vec<(ListenerKey, ListenerRecord)> = self
            .listeners
            .read_all()
            .map_err(failed("read", "listeners"))?;
        Ok(listeners.into_iter().map(|(key, _)| key.node).collect())
    }

    /// The ports that are taken, by address and destination.
    pub fn ports(&self) -> Result<Vec<(NatPortsKey, NatPortsRecord)>, FlowError> {
        self.ports.read_all().map_err(failed("read", "nat_ports"))
    }

    /// Removes counts of no ports, and those of gateways and nodes that are gone, if the last time was a while ago.
    pub(crate) fn sweep(&mut self, now_ns: u64) -> Result<(), FlowError> {
        if now_ns.saturating_sub(self.swept_ns) < UNUSED_NS {
            return Ok(());
        }
        self.swept_ns = now_ns;
        for (key, record) in self.ports()? {
            if is_unused(&record, now_ns) {
                let deleted = self.ports.delete(&key);
                deleted.map_err(failed("delete from", "nat_ports"))?;
            }
        }
        let nats: Vec<(u64, NatRecord)> = self.nats.read_all().map_err(failed("read", "nats"))?;
        let mut nats: BTreeSet<u64> = nats.into_iter().map(|(id, _)| id).collect();
        nats.extend(self.nodes()?);
        // What a gateway counted last stays until the next time: somebody may want to read it.
        let before = std::mem::take(&mut self.departed);
        for id in self.all_counts()?.into_keys() {
            if nats.contains(&id) {
                continue;
            }
            if before.contains(&id) {
                let deleted = self.counts.delete(&id);
                deleted.map_err(failed("delete from", "nat_counts"))?;
            } else {
                self.departed.insert(id);
            }
        }
        Ok(())
    }

    /// Removes every count.
    pub(crate) fn forget(&self) -> Result<(), FlowError> {
        clear(&self.ports, "nat_ports")?;
        clear(&self.counts, "nat_counts")
    }
}

/// What AWS's metrics of a gateway say (`AWS/NATGateway`), as sums since it was made; `ActiveConnectionCount`
/// is of now. The two peaks per second are for who reads these often enough.
#[must_use]
pub fn metrics(counts: &NatCountsRecord) -> [(&'static str, u64); 14] {
    [
        ("ActiveConnectionCount", counts.active),
        (
            "BytesInFromDestination",
            counts.back_bytes + counts.refused_back_bytes,
        ),
        (
            "BytesInFromSource",
            counts.out_bytes + counts.refused_out_bytes,
        ),
        ("BytesOutToDestination", counts.out_bytes),
        ("BytesOutToSource", counts.back_bytes),
        ("ConnectionAttemptCount", counts.attempts),
        ("ConnectionEstablishedCount", counts.established),
        ("ErrorPortAllocation", counts.port_errors),
        ("IdleTimeoutCount", counts.idle),
        ("PacketsDropCount", counts.dropped_packets),
        (
            "PacketsInFromDestination",
            counts.back_packets + counts.refused_back_packets,
        ),
        (
            "PacketsInFromSource",
            counts.out_packets + counts.refused_out_packets,
        ),
        ("PacketsOutToDestination", counts.out_packets),
        ("PacketsOutToSource", counts.back_packets),
    ]
}

/// Whether no port is taken, and none was for a while. Less than none is none: see the pipeline's
/// `nat_port`.
fn is_unused(record: &NatPortsRecord, now_ns: u64) -> bool {
    record.taken.cast_signed() <= 0 && now_ns.saturating_sub(record.taken_ns) > UNUSED_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_counts_of_nothing_are_unused() {
        let now_ns = 1000 * SECOND_NS;
        let of = |taken, ago_s| NatPortsRecord {
            taken,
            taken_ns: now_ns - ago_s * SECOND_NS,
        };
        assert!(is_unused(&of(0, 91), now_ns));
        assert!(is_unused(&of(u64::MAX, 91), now_ns));
        assert!(!is_unused(&of(0, 89), now_ns));
        assert!(!is_unused(&of(1, 600), now_ns));
    }
}
