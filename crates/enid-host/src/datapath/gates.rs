//! Compiled rule sets in the kernel: put as a whole or not at all, and deleted when nobody reads them.
//!
//! The tables of gates have an end. A gate that does not fit takes nothing else along: what was put
//! of it is taken back, and the policies that name it are closed in its direction ([`Shut`]). They
//! let less pass than their rules say, never more.

use std::collections::{BTreeMap, BTreeSet};

use enid_pipeline::table::{
    Direction, GATE_CLOSED, GateGroupKey, GateRemoteKey, GateRuleKey, GateServiceKey, PolicyRecord,
    gate_of_ipv6, open_bit, protocol, split_bit, trie_id_value,
};
use enid_plan::tables::{Change, TableDiff, Tables};

use super::{Datapath, DatapathError};

/// A direction of a policy that is closed because the kernel took not all of its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shut {
    /// The policy.
    pub policy: u64,
    /// The direction in which it lets nothing pass.
    pub direction: Direction,
    /// The gate that it should have.
    pub gate: u64,
}

/// Gates that could not be put.
#[derive(Debug, Default)]
pub(super) struct Unfit {
    gates: BTreeSet<u64>,
    /// Why the first of them could not.
    pub(super) error: Option<DatapathError>,
}

/// Gate entries that nothing names any more; only gate tables are used.
///
/// They are deleted by the second sweep after: program runs that began before the change have ended
/// by then, even if a sweep was due right after it.
#[derive(Debug, Default)]
pub(super) struct Retired {
    since_sweep: GateKeys,
    before_sweep: GateKeys,
}

/// Keys of gate entries.
#[derive(Debug, Default)]
struct GateKeys {
    remotes: BTreeSet<GateRemoteKey>,
    groups: BTreeSet<GateGroupKey>,
    services: BTreeSet<GateServiceKey>,
    rules: BTreeSet<GateRuleKey>,
}

impl GateKeys {
    fn remove_puts(&mut self, diff: &TableDiff) {
        fn remove<K: Ord, V>(keys: &mut BTreeSet<K>, change: &Change<K, V>) {
            for (key, _) in &change.put {
                keys.remove(key);
            }
        }
        remove(&mut self.remotes, &diff.gate_remotes);
        remove(&mut self.groups, &diff.gate_groups);
        remove(&mut self.services, &diff.gate_services);
        remove(&mut self.rules, &diff.gate_rules);
    }

    fn add_deletes(&mut self, diff: &TableDiff) {
        self.remotes.extend(&diff.gate_remotes.delete);
        self.groups.extend(&diff.gate_groups.delete);
        self.services.extend(&diff.gate_services.delete);
        self.rules.extend(&diff.gate_rules.delete);
    }

    fn remove_from(&self, tables: &mut Tables) {
        tables
            .gate_remotes
            .retain(|key, _| !self.remotes.contains(key));
        tables
            .gate_groups
            .retain(|key, _| !self.groups.contains(key));
        tables
            .gate_services
            .retain(|key, _| !self.services.contains(key));
        tables.gate_rules.retain(|key, _| !self.rules.contains(key));
    }
}

impl Retired {
    /// Remembers gate entries to delete, except those that were put again.
    pub(super) fn add(&mut self, diff: &TableDiff) {
        self.since_sweep.remove_puts(diff);
        self.before_sweep.remove_puts(diff);
        self.since_sweep.add_deletes(diff);
    }

    /// Leaves out what only waits to be deleted.
    pub(super) fn remove_from(&self, tables: &mut Tables) {
        self.since_sweep.remove_from(tables);
        self.before_sweep.remove_from(tables);
    }
}

impl Datapath {
    /// Policies that are closed because the kernel took not all of their gates.
    #[must_use]
    pub fn shut(&self) -> &BTreeSet<Shut> {
        &self.shut
    }

    /// Leaves out of a difference the entries of gates that the kernel did not take: that their
    /// policies are closed says it all.
    pub fn without_shut(&self, diff: &mut TableDiff) {
        let is_shut = |gate: u64| {
            let halves = |shut: &Shut| [shut.gate, gate_of_ipv6(shut.gate)];
            self.shut.iter().any(|shut| halves(shut).contains(&gate))
        };
        let remotes = &mut diff.gate_remotes.put;
        remotes.retain(|(key, _)| !is_shut(key.gate_id()));
        let groups = &mut diff.gate_groups.put;
        groups.retain(|(key, _)| !is_shut(key.gate_id()));
        let services = &mut diff.gate_services.put;
        services.retain(|(key, _)| !is_shut(key.gate_id()));
        let rules = &mut diff.gate_rules.put;
        rules.retain(|(key, _)| !is_shut(key.gate_id()));
    }

    /// Puts the gates of a difference: all that fit, each as a whole.
    pub(super) fn put_gates(&mut self, diff: &TableDiff) -> Unfit {
        let mut unfit = Unfit::default();
        if self.put_gate_entries(diff).is_ok() {
            return unfit;
        }
        // Not all at once, so one by one, with all the room that there is. Program runs that still
        // read a retired gate drop their packet.
        self.take_back(diff);
        let old = [&self.retired.before_sweep, &self.retired.since_sweep];
        if old.into_iter().all(|keys| self.delete_keys(keys).is_ok()) {
            self.retired = Retired::default();
        }
        for (gate, part) in by_gate(diff) {
            if let Err(error) = self.put_gate_entries(&part) {
                self.take_back(&part);
                unfit.gates.insert(gate);
                unfit.error.get_or_insert(error);
            }
        }
        unfit
    }

    /// What is to be put of policies: what the difference says, but closed where a policy names a
    /// gate that could not be put.
    pub(super) fn close_unfit(
        &mut self,
        diff: &TableDiff,
        unfit: &Unfit,
    ) -> Result<Change<u64, PolicyRecord>, DatapathError> {
        let change = &diff.policies;
        let changed = change.put.iter().map(|(id, _)| id).chain(&change.delete);
        let changed: BTreeSet<u64> = changed.copied().collect();
        self.shut.retain(|shut| !changed.contains(&shut.policy));
        let mut wanted: BTreeMap<u64, PolicyRecord> = change.put.iter().copied().collect();
        if !unfit.gates.is_empty() {
            // A gate of which entries were missing may be named by a policy that does not change.
            let present: BTreeMap<u64, PolicyRecord> = self.policies.read()?;
            for (id, record) in present {
                if !changed.contains(&id) && unfit.names(&record) {
                    wanted.insert(id, record);
                }
            }
        }
        for (id, record) in &mut wanted {
            for direction in [Direction::Egress, Direction::Ingress] {
                if let Some(gate) = unfit.close(record, direction) {
                    self.shut.insert(Shut {
                        policy: *id,
                        direction,
                        gate,
                    });
                }
            }
        }
        Ok(Change {
            put: wanted.into_iter().collect(),
            delete: Vec::new(),
        })
    }

    /// Deletes what was retired before the previous sweep.
    pub(super) fn delete_retired(&mut self) -> Result<(), DatapathError> {
        self.delete_keys(&self.retired.before_sweep)?;
        self.retired.before_sweep = std::mem::take(&mut self.retired.since_sweep);
        Ok(())
    }

    fn delete_keys(&self, keys: &GateKeys) -> Result<(), DatapathError> {
        self.gate_services.delete(&keys.services)?;
        self.gate_remotes.delete(&keys.remotes)?;
        self.gate_groups.delete(&keys.groups)?;
        self.gate_rules.delete(&keys.rules)
    }

    fn put_gate_entries(&self, diff: &TableDiff) -> Result<(), DatapathError> {
        self.gate_rules.put(&diff.gate_rules)?;
        self.gate_groups.put(&diff.gate_groups)?;
        self.gate_remotes.put(&diff.gate_remotes)?;
        self.gate_services.put(&diff.gate_services)
    }

    /// Deletes what a difference puts of gates. Entries that cannot be deleted are named by no open
    /// policy, and the next comparison with the plan finds them.
    fn take_back(&self, diff: &TableDiff) {
        fn keys<K, V>(change: &Change<K, V>) -> impl Iterator<Item = &K> {
            change.put.iter().map(|(key, _)| key)
        }
        let _ = self.gate_services.delete(keys(&diff.gate_services));
        let _ = self.gate_remotes.delete(keys(&diff.gate_remotes));
        let _ = self.gate_groups.delete(keys(&diff.gate_groups));
        let _ = self.gate_rules.delete(keys(&diff.gate_rules));
    }
}

impl Unfit {
    fn names(&self, record: &PolicyRecord) -> bool {
        self.has_of(record, Direction::Egress) || self.has_of(record, Direction::Ingress)
    }

    /// Whether the gate of a direction is among these, or the one of IPv6 beside it.
    fn has_of(&self, record: &PolicyRecord, direction: Direction) -> bool {
        let gate = match direction {
            Direction::Egress => record.egress_gate,
            Direction::Ingress => record.ingress_gate,
        };
        let is_split = record.open & split_bit(direction) != 0;
        self.gates.contains(&gate) || is_split && self.gates.contains(&gate_of_ipv6(gate))
    }

    /// Closes one direction of a policy if its gate could not be put. Returns that gate.
    fn close(&self, record: &mut PolicyRecord, direction: Direction) -> Option<u64> {
        if !self.has_of(record, direction) {
            return None;
        }
        let gate = match direction {
            Direction::Egress => &mut record.egress_gate,
            Direction::Ingress => &mut record.ingress_gate,
        };
        let wanted = std::mem::replace(gate, GATE_CLOSED);
        record.open &= !split_bit(direction);
        for number in [protocol::TCP, protocol::UDP] {
            for is_v4 in [true, false] {
                record.open &= !open_bit(direction, number, is_v4);
            }
        }
        Some(wanted)
    }
}

/// Keys that belong to a gate.
trait GateKey {
    fn gate_id(&self) -> u64;
}

impl GateKey for GateRemoteKey {
    fn gate_id(&self) -> u64 {
        trie_id_value(self.gate)
    }
}

impl GateKey for GateGroupKey {
    fn gate_id(&self) -> u64 {
        self.gate
    }
}

impl GateKey for GateServiceKey {
    fn gate_id(&self) -> u64 {
        trie_id_value(self.gate)
    }
}

impl GateKey for GateRuleKey {
    fn gate_id(&self) -> u64 {
        self.gate
    }
}

/// What a difference puts, gate by gate.
fn by_gate(diff: &TableDiff) -> BTreeMap<u64, TableDiff> {
    fn sort<K: GateKey + Copy, V: Copy>(
        parts: &mut BTreeMap<u64, TableDiff>,
        change: &Change<K, V>,
        table: impl Fn(&mut TableDiff) -> &mut Change<K, V>,
    ) {
        for (key, value) in &change.put {
            let part = parts.entry(key.gate_id()).or_default();
            table(part).put.push((*key, *value));
        }
    }
    let mut parts = BTreeMap::new();
    sort(&mut parts, &diff.gate_remotes, |d| &mut d.gate_remotes);
    sort(&mut parts, &diff.gate_groups, |d| &mut d.gate_groups);
    sort(&mut parts, &diff.gate_services, |d| &mut d.gate_services);
    sort(&mut parts, &diff.gate_rules, |d| &mut d.gate_rules);
    parts
}

#[cfg(test)]
mod tests {
    use enid_pipeline::table::{GateRule, RuleBits, trie_id};

    use super::*;

    fn rule(gate: u64) -> GateRuleKey {
        GateRuleKey {
            gate,
            bit: 0,
            pad: 0,
        }
    }

    #[test]
    fn one_direction_is_closed_and_the_other_is_left() {
        let unfit = Unfit {
            gates: BTreeSet::from([7]),
            error: None,
        };
        let open = |direction| open_bit(direction, protocol::TCP, true);
        let mut record = PolicyRecord {
            egress_gate: 6,
            ingress_gate: 7,
            open: open(Direction::Egress) | open(Direction::Ingress),
        };
        assert!(unfit.names(&record));
        assert_eq!(unfit.close(&mut record, Direction::Egress), None);
        assert_eq!(unfit.close(&mut record, Direction::Ingress), Some(7));
        let closed = PolicyRecord {
            egress_gate: 6,
            ingress_gate: GATE_CLOSED,
            open: open(Direction::Egress),
        };
        assert_eq!(record, closed);
        assert!(!unfit.names(&record));
    }

    #[test]
    fn a_direction_is_closed_if_its_ipv6_half_is_not_there() {
        let unfit = Unfit {
            gates: BTreeSet::from([gate_of_ipv6(6)]),
            error: None,
        };
        let mut whole = PolicyRecord {
            egress_gate: 6,
            ingress_gate: 7,
            open: split_bit(Direction::Ingress),
        };
        assert_eq!(unfit.close(&mut whole, Direction::Egress), None);
        let mut split = PolicyRecord {
            open: split_bit(Direction::Egress) | split_bit(Direction::Ingress),
            ..whole
        };
        assert!(unfit.names(&split));
        assert_eq!(unfit.close(&mut split, Direction::Egress), Some(6));
        let closed = PolicyRecord {
            egress_gate: GATE_CLOSED,
            ..whole
        };
        assert_eq!(split, closed);
    }

    #[test]
    fn entries_are_sorted_by_their_gates() {
        let mut tables = Tables::default();
        tables.gate_rules.insert(rule(7), GateRule::default());
        tables.gate_rules.insert(rule(8), GateRule::default());
        let key = GateServiceKey {
            prefix_len: 64,
            gate: trie_id(8),
            protocol: 0,
            port: [0; 2],
            pad: 0,
        };
        tables.gate_services.insert(key, RuleBits::NONE);
        let parts = by_gate(&Tables::default().diff(&tables));
        let sizes: Vec<_> = parts
            .iter()
            .map(|(gate, part)| (*gate, part.len()))
            .collect();
        assert_eq!(sizes, [(7, 1), (8, 2)]);
    }

    #[test]
    fn what_is_put_again_is_not_retired() {
        let mut tables = Tables::default();
        tables.gate_rules.insert(rule(7), GateRule::default());
        let gone = tables.diff(&Tables::default());
        let back = Tables::default().diff(&tables);
        let shown = |retired: &Retired| {
            let mut shown = tables.clone();
            retired.remove_from(&mut shown);
            shown.len()
        };
        let mut retired = Retired::default();
        retired.add(&gone);
        assert_eq!(shown(&retired), 0);
        retired.before_sweep = std::mem::take(&mut retired.since_sweep);
        assert_eq!(shown(&retired), 0);
        retired.add(&back);
        assert_eq!(shown(&retired), 1);
    }
}
