//! From the kernel's entries to rows of the store.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::id::SecurityGroupRuleId;
use enid_model::time::{Clock, Timestamp};
use enid_pipeline::Reason;
use enid_pipeline::bytes::Addr;
use enid_pipeline::flow::{FlowKey, FlowRecord, Translation, flag, tcp};
use enid_pipeline::strays::{PASSED, Refusal, StrayKey, StrayRecord};
use enid_pipeline::table::{OUTSIDE, Route, protocol};

use super::account::{Account, Counted, Delta, EntryKey, NOTE_BYTES, Seen as Told};
use super::row::{KIND, Row, batch};
use super::watch::{EniFacts, Watch};
use crate::store::{Store, StoreError, Write};

/// A part of the kernel's tables as somebody read it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The clock of the entries' times, when they were read.
    pub now_ns: u64,
    /// Flows.
    pub flows: Vec<SeenFlow>,
    /// Packets without a flow.
    pub strays: Vec<(StrayKey, StrayRecord)>,
    /// Whether there was no room for another count of packets without a flow.
    pub is_full: bool,
    /// Whether these are the last of a pass over all entries, and when that began.
    pub pass: Option<Timestamp>,
}

/// A flow's entry.
#[derive(Debug, Clone, Copy)]
pub struct SeenFlow {
    /// Its key.
    pub key: FlowKey,
    /// What it counts.
    pub record: FlowRecord,
    /// Whether it is to be removed as soon as it is accounted for.
    pub has_ended: bool,
}

/// An entry of which everything has been told: it may be removed, as long as it counts no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// A flow's.
    Flow(FlowKey, u64),
    /// One of packets without a flow.
    Stray(StrayKey, u64),
}

/// Makes rows of what the kernel counts for watched interfaces.
pub struct Collector {
    store: Store,
    clock: Arc<dyn Clock>,
    /// The length of a window.
    window_ms: i64,
    account: Account,
    watch: Watch,
    /// What is said of interfaces that are gone, and since when they are: their last packets are still told.
    gone: BTreeMap<u64, (Arc<EniFacts>, i64)>,
    /// No row is added before this time any more.
    closed_ms: i64,
    /// Bytes of notes since the last full one, and of that one.
    noted: (usize, usize),
    /// The windows in which packets were not told by 5-tuple.
    is_skipping: bool,
}

/// The owner of the notes.
const OWNER: &str = "flow-account";

/// How long interfaces that are gone are remembered.
const GONE_MS: i64 = 300_000;

/// How long packets without a flow must be quiet before their count is removed.
const QUIET_NS: u64 = 10_000_000_000;

/// Rows that are stored at once.
const ROWS_AT_ONCE: usize = 16_384;

/// Notes of fewer bytes are not worth a full one.
const NOTED_MIN: usize = 1 << 20;

impl Collector {
    /// A collector that goes on where the store says that the last one ended.
    pub fn open(store: Store, clock: Arc<dyn Clock>, window_ms: i64) -> Result<Self, StoreError> {
        let mut account = Account::default();
        let mut closed_ms = i64::MIN;
        let notes = store.notes(OWNER)?;
        let window = window_of(clock.now().0, window_ms);
        for note in &notes {
            if let Some((head, entries)) = note.split_first_chunk::<8>() {
                closed_ms = closed_ms.max(i64::from_le_bytes(*head));
                // Those that are gone are told of in the next window: the present one may be closed.
                account.recall(entries, window - 1);
            }
        }
        Ok(Self {
            store,
            clock,
            window_ms,
            account,
            watch: Watch::default(),
            gone: BTreeMap::new(),
            closed_ms,
            noted: (notes.iter().map(Vec::len).sum(), 0),
            is_skipping: false,
        })
    }

    /// Follows what is watched.
    pub fn follow(&mut self, watch: Watch) {
        let now = self.clock.now().0;
        for facts in self.watch.all() {
            if watch.eni(facts.eni.0).is_none() {
                self.gone.insert(facts.eni.0, (Arc::clone(facts), now));
            }
        }
        self.gone
            .retain(|bits, (_, since)| watch.eni(*bits).is_none() && now - *since < GONE_MS);
        self.watch = watch;
    }

    /// Whether anybody wants to know of an interface's packets, or did until a moment ago.
    #[must_use]
    pub fn is_watched(&self, eni: u64) -> bool {
        self.watch.eni(eni).is_some() || self.gone.contains_key(&eni)
    }

    /// The interfaces that are watched.
    #[must_use]
    pub fn watched(&self) -> Vec<u64> {
        let watched = self.watch.all().map(|facts| facts.eni.0);
        watched.chain(self.gone.keys().copied()).collect()
    }

    /// No row is added to windows that end before.
    #[must_use]
    pub fn closed(&self) -> Timestamp {
        Timestamp(self.closed_ms)
    }

    /// How many entries are accounted for.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.account.len()
    }

    /// Tells what the entries count beyond what was told of them. Returns those of which everything is told
    /// and durable. If nothing can be stored what they count is given up, as skipped: telemetry must not fill
    /// the kernel's tables.
    pub fn collect(&mut self, seen: Seen) -> Vec<Settled> {
        let now = self.clock.now().0;
        let mut telling = Telling {
            now,
            offset_ns: now.saturating_mul(1_000_000) - i64::try_from(seen.now_ns).unwrap_or(0),
            window: window_of(now, self.window_ms),
            rows: Vec::new(),
            notes: Vec::new(),
            settled: Vec::new(),
        };
        self.is_skipping |= seen.is_full;
        let mut settled = Vec::new();
        for flow in &seen.flows {
            self.flow(flow, &mut telling);
            if telling.rows.len() >= ROWS_AT_ONCE {
                settled.append(&mut self.store(&mut telling));
            }
        }
        for (key, record) in &seen.strays {
            self.stray(key, record, seen.now_ns, &mut telling);
            if telling.rows.len() >= ROWS_AT_ONCE {
                settled.append(&mut self.store(&mut telling));
            }
        }
        settled.append(&mut self.store(&mut telling));
        if let Some(began) = seen.pass {
            self.end_pass(began.0, now);
        }
        settled
    }

    fn flow(&mut self, seen: &SeenFlow, telling: &mut Telling) {
        let SeenFlow {
            key,
            record,
            has_ended,
        } = seen;
        let ends = [record.source_eni, record.target_eni];
        if !ends.iter().any(|eni| self.is_watched(*eni)) {
            return;
        }
        let counted = Counted {
            first_seen_ns: record.first_seen_ns,
            packets: record.packets,
            bytes: record.bytes,
            tcp_flags: tcp_flags_of(record),
        };
        let entry = EntryKey::flow(*key);
        let last_ms = telling.wall_ms(record.last_seen_ns);
        let first_ms = telling.wall_ms(record.first_seen_ns);
        let since = self.since(ends);
        let lived = (first_ms, last_ms);
        let Some(delta) = self.see(&entry, counted, lived, since, *has_ended, telling) else {
            if *has_ended {
                telling.settled.push(Settled::Flow(*key, record.packets));
            }
            return;
        };
        let times = self.times(telling, &delta, first_ms, last_ms, *has_ended);
        let (source, target) = (ip(&key.source), ip(&key.target));
        let ports = ports(key);
        let common = |eni: &Arc<EniFacts>, is_egress| Row {
            is_accepted: true,
            ..row(eni, is_egress, &delta, times, ports, key.protocol)
        };
        if let Some(eni) = self.facts(record.source_eni) {
            telling.rows.push(Row {
                source: eni.own(source),
                target,
                packet_source: source,
                packet_target: target,
                traffic_path: traffic_path(record.route),
                sg_rule: rule(record.egress_rule),
                nacl_entry: acl_entry(record.acl_entries, 0),
                route: route(record.route, source.is_ipv4()),
                ..common(eni, true)
            });
        }
        if let Some(eni) = self.facts(record.target_eni) {
            let (mut source, mut target, mut ports) = (source, target, ports);
            if record.flags & flag::TRANSLATED != 0 {
                let new = Translation::from_words(record.new_addresses, record.new_ports);
                source = IpAddr::from(new.source);
                target = IpAddr::from(new.target);
                if has_ports(key.protocol) {
                    ports = (new.source_port.value(), new.target_port.value());
                }
            }
            // The edge of its own subnet is the second on the way from another one, the first from the
            // outside. Limit: behind a NAT gateway it is not known which.
            let edge = usize::from(record.source_eni != OUTSIDE);
            telling.rows.push(Row {
                source,
                target: eni.own(target),
                packet_source: source,
                packet_target: eni.own_of_packet(target),
                source_port: ports.0,
                target_port: ports.1,
                sg_rule: rule(record.ingress_rule),
                nacl_entry: acl_entry(record.acl_entries, edge).filter(|_| record.via == 0),
                ..common(eni, false)
            });
        }
        telling.note(entry, counted, times.1);
        if *has_ended {
            telling.settled.push(Settled::Flow(*key, record.packets));
        }
    }

    fn stray(&mut self, key: &StrayKey, record: &StrayRecord, now_ns: u64, telling: &mut Telling) {
        let is_quiet = now_ns.saturating_sub(record.last_seen_ns) > QUIET_NS;
        let reason = Reason::from_number(key.reason);
        let refusal = reason.map(Refusal::of);
        let ends = [record.source_eni, record.target_eni];
        let is_watched = ends.iter().any(|eni| self.is_watched(*eni));
        if !is_watched || refusal == Some(Refusal::Unjudged) {
            if is_quiet {
                telling.settled.push(Settled::Stray(*key, record.packets));
            }
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "eight flags")]
        let counted = Counted {
            first_seen_ns: record.first_seen_ns,
            packets: record.packets,
            bytes: record.bytes,
            tcp_flags: record.tcp_flags as u8,
        };
        let entry = EntryKey::stray(*key);
        let last_ms = telling.wall_ms(record.last_seen_ns);
        let first_ms = telling.wall_ms(record.first_seen_ns);
        let since = self.since(ends);
        let lived = (first_ms, last_ms);
        let Some(delta) = self.see(&entry, counted, lived, since, is_quiet, telling) else {
            if is_quiet {
                telling.settled.push(Settled::Stray(*key, record.packets));
            }
            return;
        };
        let times = self.times(telling, &delta, first_ms, last_ms, is_quiet);
        let (source, target) = (ip(&key.flow.source), ip(&key.flow.target));
        let ports = ports(&key.flow);
        let refused_entry = u16::try_from(record.acl_entry).ok();
        let refused_entry = refused_entry.filter(|_| record.acl != 0);
        let drop_reason = reason.map(Reason::label);
        let common = |eni: &Arc<EniFacts>, is_egress| Row {
            drop_reason,
            ..row(eni, is_egress, &delta, times, ports, key.flow.protocol)
        };
        if let Some(eni) = self.facts(record.source_eni) {
            let is_refused = refusal == Some(Refusal::AtSource);
            telling.rows.push(Row {
                is_accepted: !is_refused,
                source: eni.own(source),
                target,
                packet_source: source,
                packet_target: target,
                nacl_entry: refused_entry.filter(|_| is_refused),
                ..common(eni, true)
            });
        }
        // What was lost on its way came to no other interface.
        let came = key.reason == PASSED || refusal == Some(Refusal::AtTarget);
        if let Some(eni) = self.facts(record.target_eni).filter(|_| came) {
            telling.rows.push(Row {
                is_accepted: key.reason == PASSED,
                source,
                target: eni.own(target),
                packet_source: source,
                packet_target: eni.own_of_packet(target),
                nacl_entry: refused_entry,
                ..common(eni, false)
            });
        }
        telling.note(entry, counted, times.1);
        if is_quiet {
            telling.settled.push(Settled::Stray(*key, record.packets));
        }
    }

    /// What is to be told of an entry, if anything. What was counted before anybody wanted to know is not.
    fn see(
        &mut self,
        entry: &EntryKey,
        counted: Counted,
        (first_ms, last_ms): (i64, i64),
        since: i64,
        is_last: bool,
        telling: &mut Telling,
    ) -> Option<Delta> {
        let seen = self.account.see(entry, counted, telling.window, is_last);
        let is_new = matches!(
            seen,
            Told::Later { is_new: true } | Told::Tell { is_new: true, .. }
        );
        if is_new && first_ms < since {
            telling.note(*entry, counted, last_ms);
            self.account.tell(*entry, counted, last_ms, telling.window);
            return None;
        }
        match seen {
            Told::Tell { delta, .. } => Some(delta),
            Told::Later { .. } | Told::Nothing => None,
        }
    }

    /// Since when somebody wants to know of an entry with these ends.
    fn since(&self, ends: [u64; 2]) -> i64 {
        let facts = ends.into_iter().filter_map(|eni| self.facts(eni));
        facts.map(|facts| facts.since.0).min().unwrap_or(i64::MAX)
    }

    fn facts(&self, eni: u64) -> Option<&Arc<EniFacts>> {
        if eni == 0 || eni == OUTSIDE {
            return None;
        }
        let gone = || self.gone.get(&eni).map(|(facts, _)| facts);
        self.watch.eni(eni).or_else(gone)
    }

    /// The times of a row: to which window it belongs, when its packets ended, when they began.
    fn times(
        &self,
        telling: &Telling,
        delta: &Delta,
        first_ms: i64,
        last_ms: i64,
        is_last: bool,
    ) -> (i64, i64, i64) {
        let window_begins = telling.window * self.window_ms;
        // What goes on over the end of a window is told of in the one that ended.
        let latest = if is_last || last_ms >= telling.now {
            telling.now
        } else {
            last_ms
        };
        let latest = if is_last {
            latest.min(last_ms.max(self.closed_ms))
        } else {
            latest.min(window_begins - 1)
        };
        let time = latest.max(self.closed_ms);
        let end = last_ms.min(time).max(first_ms.min(time));
        let start = match delta.before_ms {
            None => first_ms,
            Some(before) => before.max(window_of(time, self.window_ms) * self.window_ms),
        };
        (time, end, start.min(end))
    }

    /// Makes rows and notes durable.
    fn store(&mut self, telling: &mut Telling) -> Vec<Settled> {
        let settled = std::mem::take(&mut telling.settled);
        if telling.rows.is_empty() && telling.notes.is_empty() {
            return settled;
        }
        let rows = std::mem::take(&mut telling.rows);
        let notes = std::mem::take(&mut telling.notes);
        let mut bytes = self.closed_ms.to_le_bytes().to_vec();
        for (entry, counted, end_ms) in &notes {
            Account::note(entry, *counted, *end_ms, &mut bytes);
            self.account.tell(*entry, *counted, *end_ms, telling.window);
        }
        self.noted.0 += bytes.len();
        let is_full = self.noted.0 > NOTED_MIN.max(2 * self.noted.1);
        if is_full {
            bytes.truncate(8);
            bytes.append(&mut self.account.notes());
            self.noted = (bytes.len(), self.account.len() * NOTE_BYTES);
        }
        let stored = batch(&rows).map_err(StoreError::from).and_then(|batch| {
            let write = Write::new().note(OWNER, is_full, bytes);
            self.store.append(write.batch(KIND, batch))
        });
        if let Err(error) = stored {
            self.is_skipping = true;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                rows = rows.len(),
                "rows of flow logs are given up"
            );
        }
        settled
    }

    /// Closes the windows that ended before a pass over all entries began.
    fn end_pass(&mut self, began: i64, now: i64) {
        self.account.end_pass();
        let closed = window_of(began, self.window_ms) * self.window_ms;
        if closed <= self.closed_ms {
            return;
        }
        if self.is_skipping {
            self.skip(closed - 1, now);
        }
        self.closed_ms = closed;
    }

    /// Says in the window that ends that packets of watched interfaces may not have been told.
    fn skip(&mut self, time: i64, now: i64) {
        let begins = window_of(time, self.window_ms) * self.window_ms;
        let nothing = Delta {
            packets: 0,
            bytes: 0,
            tcp_flags: 0,
            before_ms: None,
        };
        let rows: Vec<Row> = self
            .watch
            .all()
            .map(|eni| Row {
                is_skipped: true,
                ..row(eni, false, &nothing, (time, time, begins), (0, 0), 0)
            })
            .collect();
        let stored = batch(&rows).map_err(StoreError::from);
        let stored = stored.and_then(|batch| self.store.append(Write::new().batch(KIND, batch)));
        match stored {
            Ok(_) => self.is_skipping = false,
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                now,
                "that flow logs skip packets could not be stored"
            ),
        }
    }
}

/// What is being told.
struct Telling {
    now: i64,
    /// From the entries' clock to the wall's.
    offset_ns: i64,
    window: i64,
    rows: Vec<Row>,
    notes: Vec<(EntryKey, Counted, i64)>,
    settled: Vec<Settled>,
}

impl Telling {
    fn wall_ms(&self, at_ns: u64) -> i64 {
        let at = i64::try_from(at_ns).unwrap_or(i64::MAX);
        at.saturating_add(self.offset_ns).div_euclid(1_000_000)
    }

    fn note(&mut self, entry: EntryKey, counted: Counted, end_ms: i64) {
        self.notes.push((entry, counted, end_ms));
    }
}

/// The number of a time's window.
fn window_of(time_ms: i64, window_ms: i64) -> i64 {
    time_ms.div_euclid(window_ms.max(1))
}

/// A row whose addresses are still to be said.
fn row(
    eni: &Arc<EniFacts>,
    is_egress: bool,
    delta: &Delta,
    (time_ms, end_ms, start_ms): (i64, i64, i64),
    (source_port, target_port): (u16, u16),
    protocol: u8,
) -> Row {
    let nobody = IpAddr::from([0; 4]);
    Row {
        time_ms,
        eni: Arc::clone(eni),
        is_egress,
        is_accepted: false,
        is_skipped: false,
        source: nobody,
        target: nobody,
        packet_source: nobody,
        packet_target: nobody,
        source_port,
        target_port,
        protocol,
        packets: delta.packets,
        bytes: delta.bytes,
        start_ms,
        end_ms,
        tcp_flags: delta.tcp_flags,
        traffic_path: None,
        sg_rule: None,
        nacl_entry: None,
        route: None,
        drop_reason: None,
    }
}

fn ip(address: &Addr) -> IpAddr {
    IpAddr::from(address.octets()).to_canonical()
}

const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// The ports of a key, of protocols that have any.
fn ports(key: &FlowKey) -> (u16, u16) {
    match has_ports(key.protocol) {
        true => (key.source_port.value(), key.target_port.value()),
        false => (0, 0),
    }
}

/// The flags that flow logs tell of a flow's packets: an ACK only with a SYN in the same packet, which only
/// who answers sends.
fn tcp_flags_of(record: &FlowRecord) -> u8 {
    let [_, seen, ..] = record.flags.to_le_bytes();
    let told = seen & (tcp::FIN | tcp::SYN | tcp::RST);
    if record.flags & flag::REPLY != 0 && seen & tcp::SYN != 0 {
        told | tcp::ACK & seen
    } else {
        told
    }
}

fn rule(bits: u64) -> Option<String> {
    (bits != 0).then(|| SecurityGroupRuleId(bits).to_string())
}

/// The entry of the network ACL at an edge of a subnet on a flow's way, by the edge's place on it. None if
/// it was not crossed, or its ACL lets everything pass.
fn acl_entry(word: u64, edge: usize) -> Option<u16> {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    let entries = [[a, b], [c, d], [e, f], [g, h]];
    let entry = entries.get(edge).copied().map(u16::from_le_bytes);
    entry.filter(|entry| *entry != 0)
}

/// Kind and prefix length of a route's word.
fn parts_of_route(word: u64) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    let parts = (word as u32, (word >> 32) as u32);
    parts
}

/// The route that decided, in words.
fn route(word: u64, is_ipv4: bool) -> Option<String> {
    let (kind, prefix) = parts_of_route(word);
    let name = match kind {
        Route::LOCAL => "local",
        Route::BLACKHOLE => "blackhole",
        Route::ENI => "network-interface",
        Route::INTERNET_GATEWAY => "internet-gateway",
        Route::NAT_GATEWAY => "nat-gateway",
        Route::PEERING => "peering",
        Route::EGRESS_ONLY => "egress-only-gateway",
        _ => return None,
    };
    // IPv4 lies in the last 32 of 128 bits.
    let prefix = if is_ipv4 {
        prefix.saturating_sub(96)
    } else {
        prefix
    };
    Some(format!("{name}/{prefix}"))
}

/// VPC User Guide, "Flow log records": the numbers of `traffic-path`.
fn traffic_path(word: u64) -> Option<u8> {
    match parts_of_route(word).0 {
        Route::NONE | Route::LOCAL | Route::ENI | Route::NAT_GATEWAY => Some(1),
        Route::PEERING => Some(4),
        Route::INTERNET_GATEWAY => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use enid_pipeline::bytes::Be16;

    use super::*;
    use crate::flow::row::rows;
    use crate::flow::watch::fixture;
    use crate::store::{Keys, Options, Query};

    struct Set(AtomicI64);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    /// A collector of two interfaces, A at 10.0.0.5 and B at 10.0.0.6; windows of a second.
    struct World {
        root: tempfile::TempDir,
        clock: Arc<Set>,
        store: Store,
        collector: Collector,
    }

    const A: u64 = 0xa;
    const B: u64 = 0xb;

    fn open(root: &std::path::Path, clock: &Arc<Set>) -> (Store, Collector) {
        let options = Options {
            is_durable: false,
            disk_reserve: 0,
            ..Options::new(root.to_owned())
        };
        let store = Store::open(options, crate::kinds(), clock.clone()).unwrap();
        let mut collector = Collector::open(store.clone(), clock.clone(), 1_000).unwrap();
        let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
        collector.follow(fixture::watch(
            enis.map(|(bits, address)| fixture::eni(bits, address)),
        ));
        (store, collector)
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let clock = Arc::new(Set(AtomicI64::new(10_500)));
            let (store, collector) = open(root.path(), &clock);
            Self {
                root,
                clock,
                store,
                collector,
            }
        }

        fn at(&self, ms: i64) {
            self.clock.0.store(ms, Ordering::Relaxed);
        }

        /// The kernel's clock is the wall's here.
        fn seen(&self) -> Seen {
            let now = self.clock.now();
            Seen {
                now_ns: ns(now.0),
                pass: Some(now),
                ..Seen::default()
            }
        }

        fn see(&mut self, flow: SeenFlow) -> Vec<Settled> {
            let seen = Seen {
                flows: vec![flow],
                ..self.seen()
            };
            self.collector.collect(seen)
        }

        /// Interface, direction, whether accepted, packets.
        fn told(&self) -> Vec<(String, bool, bool, u64)> {
            let query = Query {
                kind: KIND,
                from: Timestamp(i64::MIN),
                to: Timestamp(i64::MAX),
                keys: Keys::All,
                columns: None,
            };
            let batch = self.store.scan_sorted(&query).unwrap();
            rows(&batch)
                .map(|row| {
                    let eni = row.eni().trim_start_matches("eni-").trim_start_matches('0');
                    let flags = (row.flag("is_egress"), row.flag("is_accepted"));
                    (eni.to_owned(), flags.0, flags.1, row.count("packets"))
                })
                .collect()
        }
    }

    fn ns(ms: i64) -> u64 {
        u64::try_from(ms).unwrap() * 1_000_000
    }

    fn key() -> FlowKey {
        FlowKey {
            ifindex: 3,
            protocol: protocol::TCP,
            source: Addr::v4([10, 0, 0, 5]),
            target: Addr::v4([10, 0, 0, 6]),
            source_port: Be16::new(40_000),
            target_port: Be16::new(80),
            ..FlowKey::default()
        }
    }

    fn flow(packets: u64, last_ms: i64, has_ended: bool) -> SeenFlow {
        SeenFlow {
            key: key(),
            record: FlowRecord {
                packets,
                bytes: packets * 60,
                first_seen_ns: ns(10_100),
                last_seen_ns: ns(last_ms),
                source_eni: A,
                target_eni: B,
                flags: u64::from(tcp::SYN) << flag::TCP_SHIFT,
                ..FlowRecord::default()
            },
            has_ended,
        }
    }

    fn told(
        eni: &str,
        is_egress: bool,
        is_accepted: bool,
        packets: u64,
    ) -> (String, bool, bool, u64) {
        (eni.to_owned(), is_egress, is_accepted, packets)
    }

    #[test]
    fn a_flow_is_told_at_both_interfaces_once_a_window_and_settled_at_its_end() {
        let mut world = World::new();
        assert!(world.see(flow(3, 10_400, false)).is_empty());
        assert!(world.told().is_empty());
        world.at(11_200);
        assert!(world.see(flow(5, 11_100, false)).is_empty());
        let first = [told("a", true, true, 5), told("b", false, true, 5)];
        assert_eq!(world.told(), first);
        assert_eq!(world.collector.closed(), Timestamp(11_000));
        world.at(11_600);
        let settled = world.see(flow(6, 11_300, true));
        assert_eq!(settled, [Settled::Flow(key(), 6)]);
        assert_eq!(world.told().iter().map(|row| row.3).sum::<u64>(), 12);
        // Nothing more is told of it, however often it is seen.
        assert_eq!(world.see(flow(6, 11_300, true)).len(), 1);
        assert_eq!(world.told().len(), 4);
    }

    #[test]
    fn a_crash_between_any_two_steps_neither_loses_nor_repeats() {
        let mut world = World::new();
        let mut sum = 0;
        for (step, packets) in [3, 5, 5, 9, 12].into_iter().enumerate() {
            world.at(10_500 + 700 * i64::try_from(step).unwrap());
            let _ = world.see(flow(packets, 10_400, false));
            // The end of the process: what it knew is gone.
            drop(world.collector);
            drop(world.store);
            (world.store, world.collector) = open(world.root.path(), &world.clock);
            sum = packets;
        }
        world.at(20_000);
        let _ = world.see(flow(sum, 10_400, true));
        let of_a = world.told().into_iter().filter(|row| row.0 == "a");
        assert_eq!(of_a.map(|row| row.3).sum::<u64>(), sum);
    }

    #[test]
    fn what_was_there_before_the_flow_log_is_not_told() {
        let mut world = World::new();
        let enis = [(A, [10, 0, 0, 5]), (B, [10, 0, 0, 6])];
        world
            .collector
            .follow(fixture::watch(enis.map(|(bits, address)| EniFacts {
                since: Timestamp(10_200),
                ..fixture::eni(bits, address)
            })));
        let _ = world.see(flow(100, 10_400, false));
        world.at(12_000);
        let _ = world.see(flow(103, 11_900, false));
        let later = [told("a", true, true, 3), told("b", false, true, 3)];
        assert_eq!(world.told(), later);
    }

    #[test]
    fn a_refused_packet_is_told_where_it_was_refused() {
        let mut world = World::new();
        let stray = |reason: Reason| {
            let key = StrayKey {
                flow: key(),
                reason: reason as u32,
            };
            let record = StrayRecord {
                packets: 1,
                bytes: 60,
                first_seen_ns: ns(10_100),
                last_seen_ns: ns(10_100),
                source_eni: A,
                target_eni: B,
                tcp_flags: 2,
                ..StrayRecord::default()
            };
            (key, record)
        };
        let reasons = [
            Reason::IngressRule,
            Reason::EgressRule,
            Reason::NoRoute,
            Reason::SourceAddress,
        ];
        let seen = |world: &World| Seen {
            strays: reasons.map(stray).into(),
            ..world.seen()
        };
        world.at(11_500);
        let first = seen(&world);
        assert!(world.collector.collect(first).is_empty());
        world.at(30_000);
        let last = seen(&world);
        assert_eq!(world.collector.collect(last).len(), 4);
        let mut rows = world.told();
        rows.sort();
        let expected = [
            // Refused there.
            told("a", true, false, 1),
            // Refused by B, and without a route.
            told("a", true, true, 1),
            told("a", true, true, 1),
            told("b", false, false, 1),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_could_not_be_counted_is_told_as_skipped() {
        let mut world = World::new();
        let full = Seen {
            is_full: true,
            ..world.seen()
        };
        let _ = world.collector.collect(full);
        world.at(11_500);
        let next = world.seen();
        let _ = world.collector.collect(next);
        assert_eq!(world.told().len(), 2, "one for each interface");
        world.at(12_500);
        let next = world.seen();
        let _ = world.collector.collect(next);
        assert_eq!(world.told().len(), 2);
    }

    #[test]
    fn flags_are_those_that_flow_logs_tell() {
        let of = |seen: u8, more: u64| {
            tcp_flags_of(&FlowRecord {
                flags: u64::from(seen) << flag::TCP_SHIFT | more,
                ..FlowRecord::default()
            })
        };
        let (fin, syn, rst, ack) = (tcp::FIN, tcp::SYN, tcp::RST, tcp::ACK);
        assert_eq!(of(syn | ack | fin, 0), 3);
        assert_eq!(of(syn | ack | fin, flag::REPLY), 19);
        assert_eq!(of(ack | 0x08, flag::REPLY), 0);
        assert_eq!(of(syn | rst | ack, flag::REPLY), 22);
    }

    #[test]
    fn routes_have_words_and_ways_their_numbers() {
        let word = |kind: u32, prefix: u64| u64::from(kind) | prefix << 32;
        assert_eq!(
            route(word(Route::LOCAL, 112), true).as_deref(),
            Some("local/16")
        );
        let gateway = word(Route::INTERNET_GATEWAY, 96);
        assert_eq!(route(gateway, true).as_deref(), Some("internet-gateway/0"));
        assert_eq!(traffic_path(gateway), Some(8));
        assert_eq!((route(0, true), traffic_path(0)), (None, Some(1)));
        assert_eq!(traffic_path(word(Route::PEERING, 112)), Some(4));
        let entries = 100 | 200 << 32;
        assert_eq!(
            (acl_entry(entries, 0), acl_entry(entries, 1)),
            (Some(100), None)
        );
        assert_eq!(
            (acl_entry(entries, 2), acl_entry(entries, 4)),
            (Some(200), None)
        );
    }
}
