//! From the kernel's entries to rows of the store.

mod gateway;
mod seen;
pub(super) mod telling;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::time::{Clock, Timestamp};
use enid_pipeline::Reason;
use enid_pipeline::flow::flag;
use enid_pipeline::strays::{Refusal, StrayKey, StrayRecord};
use enid_pipeline::table::{OUTSIDE, protocol};

use self::gateway::{Ends, Station};
use self::telling::{Telling, at_gateway, row, window_of};
use self::words::{
    Edges, acl_entry, has_ports, ip, ports, route, rule, tcp_flags_of, traffic_path,
};
use super::account::{Account, Counted, Delta, EntryKey, PARTS, Seen as Told};
use super::row::{KIND, Row, batch};
use super::watch::{EniFacts, Watch};
use crate::store::{Store, StoreError, Write};

pub use self::seen::{Seen, SeenFlow, Settled};

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
    /// Bytes of each part's notes since the last full one, and of that one.
    noted: [(usize, usize); PARTS],
    /// The windows in which packets were not told by 5-tuple.
    is_skipping: bool,
}

/// The owners of the notes of each part of the account.
const OWNERS: [&str; PARTS] = [
    "flow-accounts-0",
    "flow-accounts-1",
    "flow-accounts-2",
    "flow-accounts-3",
    "flow-accounts-4",
    "flow-accounts-5",
    "flow-accounts-6",
    "flow-accounts-7",
    "flow-accounts-8",
    "flow-accounts-9",
    "flow-accounts-a",
    "flow-accounts-b",
    "flow-accounts-c",
    "flow-accounts-d",
    "flow-accounts-e",
    "flow-accounts-f",
];
/// The owner of notes in the first form, when there was one for all. They tell of entries that are not there
/// any more, because those have changed as well, and of what is closed.
const FIRST_OWNER: &str = "flow-account";

/// How long interfaces that are gone are remembered.
const GONE_MS: i64 = 300_000;

/// How long packets without a flow must be quiet before their count is removed.
const QUIET_NS: u64 = 10_000_000_000;

/// How far the clock of the entries may be behind: it is read as of the last tick.
const COARSE_MS: i64 = 20;

/// Of how many windows in a row is said that packets were skipped: of those before them nothing is told.
const SKIPPED_WINDOWS_MAX: i64 = 1_440;

/// Rows that are stored at once.
const ROWS_AT_ONCE: usize = 16_384;

/// Notes of fewer bytes of one part are not worth a full one.
const NOTED_MIN: usize = 1 << 16;

impl Collector {
    /// A collector that goes on where the store says that the last one ended. What ends before `delivered`
    /// was delivered: no row may be added to it.
    pub fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        window_ms: i64,
        delivered: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut account = Account::default();
        let mut closed_ms = delivered.0;
        let first_notes = store.notes(FIRST_OWNER)?;
        for note in &first_notes {
            if let Some(head) = note.first_chunk::<8>() {
                closed_ms = closed_ms.max(i64::from_le_bytes(*head));
            }
        }
        if first_notes.iter().any(|note| note.len() > 8) {
            let closed = closed_ms.to_le_bytes().to_vec();
            store.append(Write::new().note(FIRST_OWNER, true, closed))?;
        }
        let mut noted = [(0, 0); PARTS];
        let window = window_of(clock.now().0, window_ms);
        for (owner, noted) in OWNERS.iter().zip(&mut noted) {
            for note in store.notes(owner)? {
                if let Some((head, entries)) = note.split_first_chunk::<8>() {
                    closed_ms = closed_ms.max(i64::from_le_bytes(*head));
                    // Those that are gone are told of in the next window: the present one may be closed.
                    account.recall(entries, window - 1);
                    noted.0 += note.len();
                }
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
            noted,
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

    /// Whether anybody wants to know of the packets of an interface, or of a NAT gateway's by the gateway's id,
    /// or did until a moment ago.
    #[must_use]
    pub fn is_watched(&self, eni: u64) -> bool {
        let is_watched = |eni| self.watch.eni(eni).is_some() || self.gone.contains_key(&eni);
        let gateway = || self.watch.gateway(eni);
        is_watched(eni) || gateway().is_some_and(|gateway| is_watched(gateway.eni))
    }

    /// The interfaces that are watched, and the NAT gateways that have one of them.
    #[must_use]
    pub fn watched(&self) -> Vec<u64> {
        let watched = self.watch.all().map(|facts| facts.eni.0);
        let gateways = self.watch.gateways().map(|(id, _)| id);
        let gateways = gateways.filter(|id| self.is_watched(*id));
        let gone = self.gone.keys().copied();
        watched.chain(gone).chain(gateways).collect()
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
        let gateway = self.watch.gateway(record.via);
        let via = gateway.map_or(0, |gateway| gateway.eni);
        let ends = [record.source_eni, record.target_eni, via];
        if !ends.iter().any(|eni| self.is_watched(*eni)) {
            return;
        }
        let counted = Counted {
            first_seen_ns: record.first_seen_ns,
            packets: record.packets,
            bytes: record.bytes,
            retransmits: record.retransmits(),
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
        let is_tcp = key.protocol == protocol::TCP;
        let common = |eni: &Arc<EniFacts>, is_egress| Row {
            is_accepted: true,
            rtt_us: record.round_trip_us().filter(|_| is_tcp),
            retransmits: is_tcp.then_some(delta.retransmits),
            ..row(eni, is_egress, &delta, times, ports, key.protocol)
        };
        let edges = Edges::of(record);
        let acl = |edge: Option<usize>| edge.and_then(|edge| acl_entry(record.acl_entries, edge));
        if let Some(eni) = self.facts(record.source_eni) {
            telling.rows.push(Row {
                source: eni.own(source),
                target,
                packet_source: source,
                packet_target: target,
                traffic_path: traffic_path(record.route),
                sg_rule: rule(record.egress_rule),
                nacl_entry: acl(edges.source),
                route: route(record.route, source.is_ipv4()),
                ..common(eni, true)
            });
        }
        if let (Some(gateway), Some(eni)) = (self.watch.gateway(record.via), self.facts(via)) {
            let key_ends = Ends {
                source,
                target,
                ports,
            };
            let (came, left) = gateway::of_flow(gateway, record, key.protocol, key_ends);
            telling.rows.push(Row {
                nacl_entry: acl(edges.gateway_in),
                ..at_gateway(common(eni, false), came)
            });
            telling.rows.push(Row {
                traffic_path: Some(gateway::traffic_path(record, key_ends)),
                nacl_entry: acl(edges.gateway_out),
                ..at_gateway(common(eni, true), left)
            });
        }
        if let Some(eni) = self.facts(record.target_eni) {
            let (mut source, mut target, mut ports) = (source, target, ports);
            if record.flags & flag::TRANSLATED != 0 {
                let new = record.translation(key);
                source = IpAddr::from(new.source);
                target = IpAddr::from(new.target);
                if has_ports(key.protocol) {
                    ports = (new.source_port.value(), new.target_port.value());
                }
            }
            telling.rows.push(Row {
                source,
                target: eni.own(target),
                packet_source: source,
                packet_target: eni.own_of_packet(target),
                source_port: ports.0,
                target_port: ports.1,
                sg_rule: rule(record.ingress_rule),
                nacl_entry: acl(edges.target),
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
        let gateway = self.watch.gateway(record.via);
        let via = gateway.map_or(0, |gateway| gateway.eni);
        let ends = [record.source_eni, record.target_eni, via];
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
            retransmits: 0,
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
        let drop_reason = reason.map(Reason::label);
        let (reached, refused) = gateway::reached(key.reason, record);
        // What was refused or lost on its way came to no interface behind.
        let at = |station: Station, eni: &Arc<EniFacts>, is_egress| Row {
            is_accepted: refused != Some(station),
            nacl_entry: record
                .acl_entry_number()
                .filter(|_| refused == Some(station)),
            drop_reason,
            ..row(eni, is_egress, &delta, times, ports, key.flow.protocol)
        };
        if let Some(eni) = self.facts(record.source_eni) {
            telling.rows.push(Row {
                source: eni.own(source),
                target,
                packet_source: source,
                packet_target: target,
                ..at(Station::Source, eni, true)
            });
        }
        if let (Some(gateway), Some(eni)) = (self.watch.gateway(record.via), self.facts(via)) {
            let receiver = self.facts(record.target_eni).map(|facts| &**facts);
            let key_ends = Ends {
                source,
                target,
                ports,
            };
            let (came, left) = gateway::of_stray(gateway, eni, receiver, key_ends);
            if reached >= Station::GatewayIn {
                let row = at(Station::GatewayIn, eni, false);
                telling.rows.push(at_gateway(row, came));
            }
            if reached >= Station::GatewayOut {
                let row = at(Station::GatewayOut, eni, true);
                telling.rows.push(at_gateway(row, left));
            }
        }
        if let Some(eni) = self
            .facts(record.target_eni)
            .filter(|_| reached == Station::Target)
        {
            telling.rows.push(Row {
                source,
                target: eni.own(target),
                packet_source: source,
                packet_target: eni.own_of_packet(target),
                ..at(Station::Target, eni, false)
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
        if is_new && first_ms + COARSE_MS < since {
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
    fn since(&self, ends: [u64; 3]) -> i64 {
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
        let closed = self.closed_ms.to_le_bytes();
        let mut parts: [Vec<u8>; PARTS] = Default::default();
        for (entry, counted, end_ms) in &notes {
            Account::note(entry, *counted, *end_ms, &mut parts[entry.part()]);
            self.account.tell(*entry, *counted, *end_ms, telling.window);
        }
        let mut write = Write::new();
        let parts = parts.into_iter().enumerate().zip(&mut self.noted);
        for (((part, mut noted), sums), owner) in parts.zip(OWNERS) {
            if noted.is_empty() {
                continue;
            }
            sums.0 += noted.len();
            let is_full = sums.0 > NOTED_MIN.max(2 * sums.1);
            if is_full {
                noted = self.account.notes(part);
                *sums = (noted.len(), noted.len());
            }
            noted.splice(0..0, closed);
            write = write.note(owner, is_full, noted);
        }
        let stored = batch(&rows).map_err(StoreError::from);
        let stored = stored.and_then(|batch| self.store.append(write.batch(KIND, batch)));
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
        // A window whose packets were given up is not closed before it says so.
        if self.is_skipping && !self.skip(closed, now) {
            return;
        }
        self.closed_ms = closed;
    }

    /// Says in the windows that end that packets of watched interfaces may not have been told. False if that
    /// could not be stored.
    fn skip(&mut self, closed: i64, now: i64) -> bool {
        let nothing = Delta {
            packets: 0,
            bytes: 0,
            retransmits: 0,
            tcp_flags: 0,
            before_ms: None,
        };
        let window_ms = self.window_ms.max(1);
        let windows = closed.saturating_sub(self.closed_ms) / window_ms;
        // Nothing is known of what was before the first pass.
        let windows = match self.closed_ms {
            i64::MIN => 1,
            _ => windows.clamp(1, SKIPPED_WINDOWS_MAX),
        };
        for back in (1..=windows).rev() {
            let begins = closed - back * window_ms;
            let time = begins + window_ms - 1;
            let enis = self.watch.all();
            let rows: Vec<Row> = enis
                .map(|eni| Row {
                    is_skipped: true,
                    ..row(eni, false, &nothing, (time, time, begins), (0, 0), 0)
                })
                .collect();
            let stored = batch(&rows).map_err(StoreError::from);
            let stored = stored.and_then(|rows| self.store.append(Write::new().batch(KIND, rows)));
            if let Err(error) = stored {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    now,
                    "that flow logs skip packets could not be stored, their windows stay open"
                );
                return false;
            }
        }
        self.is_skipping = false;
        true
    }
}

#[cfg(test)]
mod tests;
