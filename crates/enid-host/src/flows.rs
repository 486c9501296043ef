//! What the programs write: flows, dropped flows, counters. Read from the pins, with or without an agent.
//!
//! The sweep removes flows that have ended. The pipeline itself treats those as ended, so a sweep only
//! makes room; it goes through the table a part at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use enid_pipeline::allowance::Allowance;
use enid_pipeline::counter::CounterKey;
use enid_pipeline::drops::DropRecord;
use enid_pipeline::flow::{FlowKey, FlowRecord, SECOND_NS, flag};
use enid_pipeline::fragments::{FragmentKey, FragmentRecord};
use enid_pipeline::release::ReleaseOrder;
use enid_pipeline::room::{UseRecord, WHOLE};
use enid_pipeline::strays::{StrayKey, StrayRecord};
use enid_pipeline::table::{EniRecord, OUTSIDE, protocol};
use enid_pipeline::{Reason, counter};

use crate::Installation;
use crate::flow_observer::{FlowObserver, STRAY_QUIET_NS, SettledEntry, Swept};
use crate::loader::{LoadError, Pins};
use crate::maps::{BATCH, Counters, Cursor, Map, Plain};

/// Why the tables that the programs write cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Flows were removed each time that they were counted.
    #[error("the flow table changes too quickly to be counted")]
    Busy,
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
    strays: Map<StrayKey, StrayRecord>,
    fragments: Map<FragmentKey, FragmentRecord>,
    reasons: Counters,
    uses: Map<u64, UseRecord>,
    allowances: Map<u64, Allowance>,
    eni_counters: Map<CounterKey, u64>,
    enis: Map<u64, EniRecord>,
}

/// Where the next part of the flow table begins.
#[derive(Debug, Default)]
pub struct Sweep {
    cursor: Cursor,
    /// When the pass over the whole table began; 0 between two.
    began_ns: u64,
}

/// What a sweep is done with.
pub struct Sweeper<'a> {
    /// Devices that are there.
    pub devices: &'a BTreeSet<u32>,
    /// Removes an entry, with all that it holds and has counted, and says whether it is gone.
    pub release: &'a dyn Fn(&ReleaseOrder) -> io::Result<bool>,
    /// Who accounts for what flows carry, if somebody does.
    pub observer: Option<&'a mut (dyn FlowObserver + 'static)>,
}

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SweepOutcome {
    /// Entries read.
    pub read: usize,
    /// Entries removed.
    pub removed: usize,
}

/// Parts of the table, of some thousand entries each, that one sweep reads at least.
const PARTS_PER_SWEEP: usize = 8;
/// Sweeps in which the whole table is gone through: what has ended gives its room back in so many seconds.
/// A million connections, two million entries, are then some 60,000 entries a second.
const SWEEPS_PER_PASS: u64 = 32;

impl FlowTables {
    /// Opens the pins of an installation.
    pub fn open(installation: Installation) -> Result<Self, FlowError> {
        let pins = Pins::existing(installation)?;
        Ok(Self {
            flows: Map::open(&pins.map("flows")).map_err(failed("open", "flows"))?,
            drops: Map::open(&pins.map("drops")).map_err(failed("open", "drops"))?,
            strays: Map::open(&pins.map("strays")).map_err(failed("open", "strays"))?,
            fragments: Map::open(&pins.map("fragments")).map_err(failed("open", "fragments"))?,
            reasons: Counters::open(&pins.map("reasons")).map_err(failed("open", "reasons"))?,
            uses: Map::open(&pins.map("uses")).map_err(failed("open", "uses"))?,
            allowances: Map::open(&pins.map("allowances")).map_err(failed("open", "allowances"))?,
            eni_counters: Map::open(&pins.map("eni_counters"))
                .map_err(failed("open", "eni_counters"))?,
            enis: Map::open(&pins.map("enis")).map_err(failed("open", "enis"))?,
        })
    }

    /// All flow entries, those that have ended and are not swept yet included.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowRecord)>, FlowError> {
        self.flows.read_all().map_err(failed("read", "flows"))
    }

    /// How many flows go on through each node of load balancers, by its interface and their protocol.
    pub fn balanced(&self, now_ns: u64) -> Result<BTreeMap<(u64, u8), u64>, FlowError> {
        Ok(balanced(&self.flows()?, now_ns))
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
    /// any more: nothing would remove these for the days that their timeouts last. Those of interfaces that
    /// the observer watches go when it has accounted for them. Packets without a flow likewise.
    ///
    /// A connection that begins anew on the same 5-tuple in the microsecond of that loses its entry, and its
    /// next packet is judged as new.
    pub fn sweep(
        &self,
        sweep: &mut Sweep,
        now_ns: u64,
        mut sweeper: Sweeper<'_>,
    ) -> Result<SweepOutcome, FlowError> {
        let mut swept = SweepOutcome::default();
        let mut seen = Swept {
            now_ns,
            ..Swept::default()
        };
        if sweep.began_ns == 0 {
            sweep.began_ns = now_ns;
        }
        if let Some(observer) = &mut sweeper.observer {
            swept.removed += self.remove_settled(observer.settled(), now_ns, &sweeper)?;
        }
        let parts = self.usage(WHOLE)?.entries / (BATCH as u64 * SWEEPS_PER_PASS);
        let parts = usize::try_from(parts).unwrap_or(usize::MAX);
        for _ in 0..parts.max(PARTS_PER_SWEEP) {
            let part = self
                .flows
                .read(&mut sweep.cursor)
                .map_err(failed("read", "flows"))?;
            let Some(entries) = part else {
                sweep.cursor = Cursor::default();
                seen.pass_began_ns = Some(sweep.began_ns);
                sweep.began_ns = 0;
                break;
            };
            swept.read += entries.len();
            for (key, entry) in entries {
                let is_lost = has_lost_device(&key, &entry, sweeper.devices);
                // Of nearly all that goes on its own entry says so.
                let has_ended = is_lost || !entry.is_settled(key.protocol, now_ns);
                let ends = [entry.source_eni, entry.target_eni, entry.via];
                if sweeper.is_watched(ends) {
                    seen.flows.push((key, entry, has_ended));
                    continue;
                }
                if !has_ended {
                    continue;
                }
                let is_gone = (sweeper.release)(&ReleaseOrder { key, is_lost });
                let is_gone = is_gone.map_err(failed("delete from", "flows"))?;
                swept.removed += usize::from(is_gone);
            }
        }
        self.sweep_strays(&mut seen, &sweeper)?;
        if let Some(observer) = sweeper.observer {
            observer.saw(seen);
        }
        Ok(swept)
    }

    /// Removes entries of which everything has been accounted for, unless they count more by now.
    fn remove_settled(
        &self,
        settled: Vec<SettledEntry>,
        now_ns: u64,
        sweeper: &Sweeper<'_>,
    ) -> Result<usize, FlowError> {
        let mut removed = 0;
        for entry in settled {
            match entry {
                SettledEntry::Flow(key, packets) => {
                    let Some(entry) = self.flow(&key)?.filter(|it| it.packets == packets) else {
                        continue;
                    };
                    let is_lost = has_lost_device(&key, &entry, sweeper.devices);
                    if !is_lost && entry.is_settled(key.protocol, now_ns) {
                        continue;
                    }
                    let is_gone = (sweeper.release)(&ReleaseOrder { key, is_lost });
                    removed += usize::from(is_gone.map_err(failed("delete from", "flows"))?);
                }
                SettledEntry::Stray(key, packets) => {
                    let entry = self.strays.lookup(&key).map_err(failed("read", "strays"))?;
                    let is_quiet = |it: &StrayRecord| it.packets == packets && is_quiet(it, now_ns);
                    if entry.as_ref().is_some_and(is_quiet) {
                        let deleted = self.strays.delete(&key);
                        deleted.map_err(failed("delete from", "strays"))?;
                    }
                }
            }
        }
        Ok(removed)
    }

    /// Reads what is counted of packets without a flow, and removes what nobody wants to know of.
    fn sweep_strays(&self, seen: &mut Swept, sweeper: &Sweeper<'_>) -> Result<(), FlowError> {
        let strays: Vec<(StrayKey, StrayRecord)> = self.strays()?;
        seen.is_full = strays.len() >= self.strays.entries_max as usize;
        for (key, entry) in strays {
            if sweeper.is_watched([entry.source_eni, entry.target_eni, entry.via]) {
                seen.strays.push((key, entry));
            } else if is_quiet(&entry, seen.now_ns) || seen.is_full {
                let deleted = self.strays.delete(&key);
                deleted.map_err(failed("delete from", "strays"))?;
            }
        }
        Ok(())
    }

    /// What is counted of packets without a flow.
    pub fn strays(&self) -> Result<Vec<(StrayKey, StrayRecord)>, FlowError> {
        self.strays.read_all().map_err(failed("read", "strays"))
    }

    /// Removes every flow, dropped flow and fragment, and sets the counters to zero.
    pub fn forget(&self) -> Result<(), FlowError> {
        clear(&self.flows, "flows")?;
        clear(&self.fragments, "fragments")?;
        clear(&self.drops, "drops")?;
        clear(&self.strays, "strays")?;
        clear(&self.eni_counters, "eni_counters")?;
        clear(&self.uses, "uses")?;
        for reason in Reason::ALL {
            let cleared = self.reasons.clear(*reason as u32);
            cleared.map_err(failed("write", "reasons"))?;
        }
        Ok(())
    }

    /// What an instance uses up; of the whole table for [`WHOLE`].
    pub fn usage(&self, instance: u64) -> Result<UseRecord, FlowError> {
        let found = self
            .uses
            .lookup(&instance)
            .map_err(failed("read", "uses"))?;
        Ok(found.unwrap_or_default())
    }

    /// The instance of each interface that packets reach; 0 where it has none.
    pub fn instances(&self) -> Result<BTreeMap<u64, u64>, FlowError> {
        let records: Vec<(u64, EniRecord)> =
            self.enis.read_all().map_err(failed("read", "enis"))?;
        let records = records.into_iter();
        Ok(records
            .map(|(eni, record)| (eni, record.instance))
            .collect())
    }

    /// What an instance may use; `None` where nothing is enforced.
    pub fn allowance(&self, instance: u64) -> Result<Option<Allowance>, FlowError> {
        let found = self.allowances.lookup(&instance);
        found.map_err(failed("read", "allowances"))
    }

    /// What interfaces have sent and got, exactly, the flows that are over included; and how many flows
    /// there were and are of what they send.
    pub fn totals(&self) -> Result<Totals, FlowError> {
        // A flow that is removed while the table is read would count twice or not at all: read again.
        for _ in 0..TRIES {
            let (before, _) = self.counted()?;
            let flows = self.flows()?;
            let (after, mut totals) = self.counted()?;
            if before != after {
                continue;
            }
            for (key, entry) in flows {
                totals.add(key.protocol, &entry);
            }
            return Ok(totals);
        }
        Err(FlowError::Busy)
    }

    /// How many flows, and connections within them, are over, and everything that is counted at interfaces.
    fn counted(&self) -> Result<(u64, Totals), FlowError> {
        let mut totals = Totals::default();
        let counters: Vec<(CounterKey, u64)> = self
            .eni_counters
            .read_all()
            .map_err(failed("read", "eni_counters"))?;
        let mut over = 0_u64;
        for (key, amount) in counters {
            if matches!(key.what, counter::FLOWS_OVER | counter::HANDSHAKES) {
                over = over.wrapping_add(amount);
            }
            let counted = totals.enis.entry(key.eni).or_default();
            counted.note(key.what, amount);
        }
        Ok((over, totals))
    }

    /// Which counters these are: the same text as long as none of them begins anew.
    #[must_use]
    pub fn life(&self) -> String {
        life(self.eni_counters.id)
    }

    /// Forgets what was counted for interfaces and instances other than these. What an instance still
    /// holds stays. An interface that has just departed is noted, and its counters stay until the next
    /// time: somebody may want to read what it counted last.
    pub fn forget_others(
        &self,
        departed: &mut BTreeSet<u64>,
        is_eni: impl Fn(u64) -> bool,
        is_instance: impl Fn(u64) -> bool,
    ) -> Result<(), FlowError> {
        let counters: Vec<(CounterKey, u64)> = self
            .eni_counters
            .read_all()
            .map_err(failed("read", "eni_counters"))?;
        let before = std::mem::take(departed);
        for (key, _) in counters.iter().filter(|(key, _)| !is_eni(key.eni)) {
            if before.contains(&key.eni) {
                let deleted = self.eni_counters.delete(key);
                deleted.map_err(failed("delete from", "eni_counters"))?;
            } else {
                departed.insert(key.eni);
            }
        }
        let uses: Vec<(u64, UseRecord)> = self.uses.read_all().map_err(failed("read", "uses"))?;
        for (instance, usage) in uses {
            if instance != WHOLE && !is_instance(instance) && usage.entries == 0 {
                let deleted = self.uses.delete(&instance);
                deleted.map_err(failed("delete from", "uses"))?;
            }
        }
        Ok(())
    }
}

/// How often totals are tried.
const TRIES: usize = 20;

/// Everything that was counted at interfaces.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    /// By interface.
    pub enis: BTreeMap<u64, EniTotals>,
}

impl Totals {
    /// Adds what a flow that goes on has counted.
    fn add(&mut self, number: u8, flow: &FlowRecord) {
        if flow.source_eni != OUTSIDE {
            let source = self.enis.entry(flow.source_eni).or_default();
            source.packets_out += flow.packets;
            source.bytes_out += flow.bytes;
            source.active += 1;
            if number == protocol::TCP {
                source.tcp_packets_out += flow.packets;
                source.retransmits += u64::from(flow.retransmits());
            }
            if let Some(microseconds) = flow.round_trip_us() {
                source.handshakes += 1;
                source.handshake_us += u64::from(microseconds);
            }
        }
        if flow.target_eni != OUTSIDE {
            let target = self.enis.entry(flow.target_eni).or_default();
            target.packets_in += flow.packets;
            target.bytes_in += flow.bytes;
        }
    }
}

/// What was counted at one interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EniTotals {
    /// Packets that its mirror sessions sent.
    pub mirrored_packets: u64,
    /// Their bytes.
    pub mirrored_bytes: u64,
    /// Copies of its packets that could not be made, or told of.
    pub copies_lost: u64,
    /// Packets that it sent.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets of TCP among those that it sent.
    pub tcp_packets_out: u64,
    /// Those of them that it sent again.
    pub retransmits: u64,
    /// Handshakes in which the answer to what it sent was timed, begun by it or accepted.
    pub handshakes: u64,
    /// The microseconds that these answers took.
    pub handshake_us: u64,
    /// Packets that it got.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Flows of what it sends that are in the table.
    pub active: u64,
    /// Those that are not any more.
    pub over: u64,
    /// Dropped packets.
    pub drops: BTreeMap<Reason, u64>,
}

impl EniTotals {
    fn note(&mut self, what: u32, amount: u64) {
        match what {
            counter::PACKETS_OUT => self.packets_out += amount,
            counter::BYTES_OUT => self.bytes_out += amount,
            counter::PACKETS_IN => self.packets_in += amount,
            counter::BYTES_IN => self.bytes_in += amount,
            counter::FLOWS_OVER => self.over += amount,
            counter::MIRRORED_PACKETS => self.mirrored_packets += amount,
            counter::MIRRORED_BYTES => self.mirrored_bytes += amount,
            counter::COPIES_LOST => self.copies_lost += amount,
            counter::TCP_PACKETS_OUT => self.tcp_packets_out += amount,
            counter::RETRANSMITS => self.retransmits += amount,
            counter::HANDSHAKES => self.handshakes += amount,
            counter::HANDSHAKE_US => self.handshake_us += amount,
            _ => {
                if let Some(reason) = Reason::from_number(what) {
                    *self.drops.entry(reason).or_default() += amount;
                }
            }
        }
    }

    /// How many packets were dropped for a reason.
    #[must_use]
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }
}

impl Sweeper<'_> {
    /// Whether somebody wants to know what one of these sends or gets: the interfaces at the ends, and the NAT
    /// gateway between them.
    fn is_watched(&self, ends: [u64; 3]) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(|it| ends.into_iter().any(|eni| it.is_watched(eni)))
    }
}

/// The flows of clients through each node, by protocol, that go on.
fn balanced(flows: &[(FlowKey, FlowRecord)], now_ns: u64) -> BTreeMap<(u64, u8), u64> {
    let mut counts = BTreeMap::new();
    for (key, entry) in flows {
        let is_over = entry.flags & (flag::REPLY | flag::CLOSING | flag::ENDED) != 0;
        if entry.flags & flag::BALANCED != 0 && !is_over && entry.is_settled(key.protocol, now_ns) {
            *counts.entry((entry.via, key.protocol)).or_default() += 1;
        }
    }
    counts
}

/// Whether packets without a flow have not come for a while.
fn is_quiet(entry: &StrayRecord, now_ns: u64) -> bool {
    now_ns.saturating_sub(entry.last_seen_ns) > STRAY_QUIET_NS
}

/// Whether the device of one of a flow's ends is gone. A target without a device number has none here.
fn has_lost_device(key: &FlowKey, entry: &FlowRecord, devices: &BTreeSet<u32>) -> bool {
    let target = entry.target_device();
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

/// What tells counters from those of the same name in another boot, or in other maps.
pub(crate) fn life(map: u32) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot: String = boot.chars().take(8).collect();
    format!("{boot}-{map}")
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
    use enid_pipeline::flow::{RETRANSMIT, Timeouts};

    use super::*;

    #[test]
    fn a_flow_counts_at_both_ends_and_the_outside_has_no_counters() {
        let flow = |source_eni, target_eni| FlowRecord {
            packets: 3,
            bytes: 300,
            begun: 40 << 32,
            troubles: RETRANSMIT,
            source_eni,
            target_eni,
            ..FlowRecord::default()
        };
        let mut totals = Totals::default();
        totals.add(protocol::TCP, &flow(1, 2));
        totals.add(protocol::UDP, &flow(1, OUTSIDE));
        totals.add(protocol::TCP, &flow(OUTSIDE, 2));
        assert_eq!(totals.enis.len(), 2);
        let (one, two) = (&totals.enis[&1], &totals.enis[&2]);
        assert_eq!((one.packets_out, one.bytes_in, one.active), (6, 0, 2));
        assert_eq!((two.packets_in, two.bytes_out, two.active), (6, 0, 0));
        assert_eq!((one.tcp_packets_out, one.retransmits), (3, 1));
        assert_eq!((one.handshakes, one.handshake_us), (2, 80));
        assert_eq!((two.tcp_packets_out, two.handshakes), (0, 0));
    }

    #[test]
    fn what_goes_on_through_a_node_is_counted_once() {
        let timeouts = Timeouts {
            first_s: 350,
            stream_s: 120,
            is_kept: false,
        };
        let of = |protocol, via, flags, last_seen_s: u64| {
            let key = FlowKey {
                protocol,
                ..FlowKey::default()
            };
            let record = FlowRecord {
                via,
                flags,
                last_seen_ns: last_seen_s * SECOND_NS,
                timeouts: timeouts.word(),
                ..FlowRecord::default()
            };
            (key, record)
        };
        let both = flag::BALANCED | flag::COUNTED;
        let flows = [
            of(protocol::UDP, 9, both, 1000),
            of(protocol::UDP, 9, both | flag::REPLY, 1000),
            of(protocol::UDP, 9, both | flag::ENDED, 1000),
            of(protocol::UDP, 9, both, 10),
            of(protocol::UDP, 7, flag::COUNTED, 1000),
            of(protocol::TCP, 9, both, 1000),
            of(protocol::TCP, 9, both | flag::CLOSING, 1000),
        ];
        let counts = balanced(&flows, 1001 * SECOND_NS);
        let wanted = BTreeMap::from([((9, protocol::TCP), 1), ((9, protocol::UDP), 1)]);
        assert_eq!(counts, wanted);
    }

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
