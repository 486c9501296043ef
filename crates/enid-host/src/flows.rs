//! What the programs write: flows, dropped flows, counters. Read from the pins, with or without an agent.
//!
//! The sweep removes flows that have ended. The pipeline itself treats those as ended, so a sweep only
//! makes room; it goes through the table a part at a time.

use std::collections::BTreeSet;
use std::io;

use enid_pipeline::Reason;
use enid_pipeline::drops::DropRecord;
use enid_pipeline::flow::{FlowKey, FlowRecord, SECOND_NS, SHORTEST_S, flag};
use enid_pipeline::fragments::{FragmentKey, FragmentRecord};
use enid_pipeline::release::ReleaseOrder;

use crate::Installation;
use crate::loader::{LoadError, Pins};
use crate::maps::{Counters, Cursor, Map, Plain};

/// Why the tables that the programs write cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// There are no pins.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A table cannot be opened or read.
    #[error("{action} the table {table}")]
    Table {
        /// What was tried.
        action: &'static str,
        /// Which table.
        table: &'static str,
        /// How it failed.
        source: io::Error,
    },
}

/// The tables that the programs write.
#[derive(Debug)]
pub struct FlowTables {
    flows: Map<FlowKey, FlowRecord>,
    drops: Map<FlowKey, DropRecord>,
    fragments: Map<FragmentKey, FragmentRecord>,
    reasons: Counters,
}

/// Where the next part of the flow table begins.
#[derive(Debug, Default)]
pub struct Sweep {
    cursor: Cursor,
}

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Entries read.
    pub read: usize,
    /// Entries removed.
    pub removed: usize,
}

/// Parts of the table, of some thousand entries each, that one sweep reads.
const PARTS_PER_SWEEP: usize = 8;

impl FlowTables {
    /// Opens the pins of an installation.
    pub fn open(installation: Installation) -> Result<Self, FlowError> {
        let pins = Pins::existing(installation)?;
        Ok(Self {
            flows: Map::open(&pins.map("flows")).map_err(failed("open", "flows"))?,
            drops: Map::open(&pins.map("drops")).map_err(failed("open", "drops"))?,
            fragments: Map::open(&pins.map("fragments")).map_err(failed("open", "fragments"))?,
            reasons: Counters::open(&pins.map("reasons")).map_err(failed("open", "reasons"))?,
        })
    }

    /// All flow entries, those that have ended and are not swept yet included.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowRecord)>, FlowError> {
        self.flows.read_all().map_err(failed("read", "flows"))
    }

    /// One flow entry.
    pub fn flow(&self, key: &FlowKey) -> Result<Option<FlowRecord>, FlowError> {
        self.flows.lookup(key).map_err(failed("read", "flows"))
    }

    /// How many flow entries there may be.
    #[must_use]
    pub fn flow_entries_max(&self) -> u32 {
        self.flows.entries_max
    }

    /// The latest dropped flows.
    pub fn drops(&self) -> Result<Vec<(FlowKey, DropRecord)>, FlowError> {
        self.drops.read_all().map_err(failed("read", "drops"))
    }

    /// One dropped flow.
    pub fn dropped(&self, key: &FlowKey) -> Result<Option<DropRecord>, FlowError> {
        self.drops.lookup(key).map_err(failed("read", "drops"))
    }

    /// How many packets were dropped, by reason; reasons that never came up are zero.
    pub fn reasons(&self) -> Result<Vec<(Reason, u64)>, FlowError> {
        let sums = Reason::ALL.iter().map(|reason| {
            let sum = self
                .reasons
                .sum(*reason as u32)
                .map_err(failed("read", "reasons"))?;
            Ok((*reason, sum))
        });
        sums.collect()
    }

    /// Removes ended flows from the next part of the table, and those of which an end has no device
    /// among `devices` any more: nothing would remove these for the days that their timeouts last. Entries
    /// that hold a port of a NAT gateway are removed by `release`, which says whether they are gone.
    ///
    /// An entry is read again right before it is removed. A connection that begins anew on the same
    /// 5-tuple in the microsecond between loses its entry, and its next packet is judged as new.
    pub fn sweep(
        &self,
        sweep: &mut Sweep,
        now_ns: u64,
        devices: &BTreeSet<u32>,
        release: &dyn Fn(&ReleaseOrder) -> io::Result<bool>,
    ) -> Result<Swept, FlowError> {
        let mut swept = Swept::default();
        for _ in 0..PARTS_PER_SWEEP {
            let part = self
                .flows
                .read(&mut sweep.cursor)
                .map_err(failed("read", "flows"))?;
            let Some(entries) = part else {
                sweep.cursor = Cursor::default();
                break;
            };
            swept.read += entries.len();
            for (key, entry) in entries {
                let idle_ns = now_ns.saturating_sub(entry.last_seen_ns);
                let is_old = idle_ns > u64::from(SHORTEST_S) * SECOND_NS;
                let is_lost = has_lost_device(&key, &entry, devices);
                if !is_lost && !(is_old && self.has_ended(&key, now_ns)?) {
                    continue;
                }
                let is_gone = if entry.flags & flag::HOLDS_PORT == 0 {
                    self.flows.delete(&key).map(|()| true)
                } else {
                    release(&ReleaseOrder { key, is_lost })
                };
                let is_gone = is_gone.map_err(failed("delete from", "flows"))?;
                swept.removed += usize::from(is_gone);
            }
        }
        Ok(swept)
    }

    /// Removes every flow, dropped flow and fragment, and sets the counters to zero.
    pub fn forget(&self) -> Result<(), FlowError> {
        clear(&self.flows, "flows")?;
        clear(&self.fragments, "fragments")?;
        clear(&self.drops, "drops")?;
        for reason in Reason::ALL {
            let cleared = self.reasons.clear(*reason as u32);
            cleared.map_err(failed("write", "reasons"))?;
        }
        Ok(())
    }

    fn has_ended(&self, key: &FlowKey, now_ns: u64) -> Result<bool, FlowError> {
        let Some(entry) = self.flow(key)? else {
            return Ok(false);
        };
        let opposite = match entry.opposite(key) {
            Some(opposite) => self.flow(&opposite)?,
            None => None,
        };
        Ok(now_ns > entry.ends_ns(key.protocol, opposite.as_ref()))
    }
}

/// Whether the device of one of a flow's ends is gone. A target without a device number has none here.
fn has_lost_device(key: &FlowKey, entry: &FlowRecord, devices: &BTreeSet<u32>) -> bool {
    let target = u32::try_from(entry.target_ifindex).unwrap_or(0);
    !devices.contains(&key.ifindex) || target != 0 && !devices.contains(&target)
}

pub(crate) fn clear<K: Plain, V: Plain>(
    map: &Map<K, V>,
    table: &'static str,
) -> Result<(), FlowError> {
    let entries: Vec<(K, V)> = map.read_all().map_err(failed("read", table))?;
    let mut keys = entries.iter().map(|(key, _)| key);
    keys.try_for_each(|key| map.delete(key))
        .map_err(failed("delete from", table))
}

pub(crate) fn failed(action: &'static str, table: &'static str) -> impl Fn(io::Error) -> FlowError {
    move |source| FlowError::Table {
        action,
        table,
        source,
    }
}

/// The clock that the programs stamp entries with.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * SECOND_NS + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_goes_with_the_device_of_either_end() {
        let key = FlowKey {
            ifindex: 5,
            ..FlowKey::default()
        };
        let to = |target_ifindex| FlowRecord {
            target_ifindex,
            ..FlowRecord::default()
        };
        let devices = BTreeSet::from([5, 6]);
        assert!(!has_lost_device(&key, &to(6), &devices));
        assert!(!has_lost_device(&key, &to(0), &devices));
        assert!(has_lost_device(&key, &to(7), &devices));
        assert!(has_lost_device(&key, &to(6), &BTreeSet::from([6])));
    }
}
