//! The tables in ordinary memory: for tests, for `explain`, and for whatever asks what would happen.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use crate::{
    allowance::Allowance,
    balancer::{
        ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
    },
    bytes::Addr,
    capture::Capture,
    copy::Note,
    counter::CounterKey,
    drops::{DropEntry, DropRecord},
    flow::{FlowEntry, FlowKey, FlowRecord},
    fragments::{FragmentKey, FragmentRecord},
    frame::Frame,
    mirror::{MirrorFilter, MirrorRecord},
    nat_counts::{NatCountsEntry, NatCountsRecord, NatPortsEntry, NatPortsKey, NatPortsRecord},
    reason::{REASON_COUNTERS, Reason},
    room::{UseEntry, UseRecord},
    strays::{StrayEntry, StrayKey, StrayRecord},
    table::{
        ADDR_BITS, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey,
        GateServiceKey, MacKey, NatRecord, Outside, PROTOCOL_BITS, PolicyRecord, Pool, PoolKey,
        PrefixKey, PublicOf, PublicRecord, Route, RouteKey, RuleBits, SERVICE_BITS, ServiceRecord,
        SubnetRecord, TABLE_BITS,
    },
    table_set::TableSet,
    tables::Tables,
};

/// Tables in memory, with a flow table of their own.
#[derive(Debug)]
pub struct Memory {
    /// What the plan fills.
    pub tables: TableSet,
    /// The present generation; see [`Memory::change`].
    pub generation: u64,
    /// The way to the outside: none at first.
    pub outside: Outside,
    /// How many flow entries there may be.
    pub flows_max: usize,
    /// Of how many destinations NAT gateways' ports are counted.
    pub nat_ports_max: usize,
    flows: RefCell<HashMap<FlowKey, Rc<FlowEntry>>>,
    fragments: RefCell<HashMap<FragmentKey, FragmentRecord>>,
    drops: RefCell<HashMap<FlowKey, Rc<DropEntry>>>,
    strays: RefCell<BTreeMap<StrayKey, Rc<StrayEntry>>>,
    link_local: RefCell<HashMap<u64, Rc<Cell<u64>>>>,
    nat_ports: RefCell<HashMap<NatPortsKey, Rc<NatPortsEntry>>>,
    nat_counts: RefCell<HashMap<u64, Rc<NatCountsEntry>>>,
    reasons: [Cell<u64>; REASON_COUNTERS as usize],
    buckets: RefCell<HashMap<FlowKey, Rc<Cell<u64>>>>,
    uses: RefCell<BTreeMap<u64, Rc<UseEntry>>>,
    counters: RefCell<BTreeMap<CounterKey, u64>>,
    copies: RefCell<Vec<(Note, Vec<u8>)>>,
}

impl Memory {
    /// Tables of the first generation, with no flows.
    pub fn new(tables: TableSet) -> Self {
        Self {
            tables,
            generation: 1,
            outside: Outside::default(),
            flows_max: usize::MAX,
            nat_ports_max: usize::MAX,
            flows: RefCell::default(),
            fragments: RefCell::default(),
            drops: RefCell::default(),
            strays: RefCell::default(),
            link_local: RefCell::default(),
            nat_ports: RefCell::default(),
            nat_counts: RefCell::default(),
            reasons: [const { Cell::new(0) }; REASON_COUNTERS as usize],
            buckets: RefCell::default(),
            uses: RefCell::default(),
            counters: RefCell::default(),
            copies: RefCell::default(),
        }
    }

    /// Replaces the tables and raises the generation.
    pub fn change(&mut self, tables: TableSet) {
        self.tables = tables;
        self.generation += 1;
    }

    /// Forgets all flows.
    pub fn forget_flows(&mut self) {
        self.flows.get_mut().clear();
    }

    /// All flow entries.
    pub fn flows(&self) -> BTreeMap<FlowKey, FlowRecord> {
        self.flows
            .borrow()
            .iter()
            .map(|(key, entry)| (*key, entry.snapshot()))
            .collect()
    }

    /// All entries of dropped flows.
    pub fn drops(&self) -> BTreeMap<FlowKey, DropRecord> {
        self.drops
            .borrow()
            .iter()
            .map(|(key, entry)| (*key, entry.map(Cell::get)))
            .collect()
    }

    /// What is counted of packets without a flow's entry.
    pub fn strays(&self) -> BTreeMap<StrayKey, StrayRecord> {
        let strays = self.strays.borrow();
        let entries = strays.iter();
        entries
            .map(|(key, entry)| (*key, entry.map(Cell::get)))
            .collect()
    }

    /// The ports that NAT gateways have given.
    pub fn ports(&self) -> BTreeMap<NatPortsKey, NatPortsRecord> {
        let ports = self.nat_ports.borrow();
        let entries = ports.iter();
        entries
            .map(|(key, entry)| (*key, entry.map(Cell::get)))
            .collect()
    }

    /// What a NAT gateway has counted.
    pub fn counts_of(&self, nat: u64) -> NatCountsRecord {
        match self.nat_counts.borrow().get(&nat) {
            Some(entry) => entry.map(Cell::get),
            None => NatCountsRecord::default(),
        }
    }

    /// What instances use up.
    pub fn uses(&self) -> BTreeMap<u64, UseRecord> {
        let uses = self.uses.borrow();
        uses.iter()
            .map(|(instance, entry)| (*instance, entry.map(Cell::get)))
            .collect()
    }

    /// What was counted at ENIs.
    pub fn counters(&self) -> BTreeMap<CounterKey, u64> {
        self.counters.borrow().clone()
    }

    /// The copies that were made since this was asked last, and what goes with them.
    pub fn take_copies(&self) -> Vec<(Note, Vec<u8>)> {
        self.copies.take()
    }

    /// How many packets were dropped for a reason.
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].get()
    }
}

/// The value with the longest prefix of `key`.
fn longest<K: Ord, V>(
    table: &BTreeMap<K, V>,
    lengths: impl Iterator<Item = u32>,
    key: impl Fn(u32) -> K,
) -> Option<&V> {
    lengths.map(key).find_map(|key| table.get(&key))
}

impl Tables for Memory {
    fn exact_ns(&self, tick_ns: u64) -> u64 {
        tick_ns
    }

    type Flow<'a> = Rc<FlowEntry>;
    type Drop<'a> = Rc<DropEntry>;
    type Stray<'a> = Rc<StrayEntry>;
    type Word<'a> = Rc<Cell<u64>>;
    type Ports<'a> = Rc<NatPortsEntry>;
    type Counts<'a> = Rc<NatCountsEntry>;
    type Use<'a> = Rc<UseEntry>;

    fn generation(&self) -> u64 {
        self.generation
    }

    fn outside(&self) -> Option<&Outside> {
        (self.outside.ifindex != 0).then_some(&self.outside)
    }

    fn device(&self, ifindex: u32) -> Option<u64> {
        self.tables.devices.get(&ifindex).copied()
    }

    fn eni(&self, eni: u64) -> Option<&EniRecord> {
        self.tables.enis.get(&eni)
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<u64> {
        self.tables.endpoints.get(key).map(|endpoint| endpoint.eni)
    }

    fn prefix(&self, key: &PrefixKey) -> Option<u64> {
        let lengths = (TABLE_BITS..=ADDR_BITS).rev();
        let found = longest(&self.tables.prefixes, lengths, |prefix_len| PrefixKey {
            prefix_len,
            vpc: key.vpc,
            addr: key.addr.masked(prefix_len - TABLE_BITS),
        });
        found.map(|endpoint| endpoint.eni)
    }

    fn subnet(&self, subnet: u64) -> Option<&SubnetRecord> {
        self.tables.subnets.get(&subnet)
    }

    fn route(&self, key: &RouteKey) -> Option<&Route> {
        longest(
            &self.tables.routes,
            (TABLE_BITS..=ADDR_BITS).rev(),
            |prefix_len| RouteKey {
                prefix_len,
                table: key.table,
                addr: key.addr.masked(prefix_len - TABLE_BITS),
            },
        )
    }

    fn nat(&self, nat: u64) -> Option<&NatRecord> {
        self.tables.nats.get(&nat)
    }

    fn public(&self, addr: &Addr) -> Option<&PublicRecord> {
        self.tables.publics.get(addr)
    }

    fn public_of(&self, key: &EndpointKey) -> Option<&PublicOf> {
        self.tables.public_of.get(key)
    }

    fn pool(&self, key: &PoolKey) -> Option<&Pool> {
        longest(&self.tables.pools, (0..=128).rev(), |prefix_len| PoolKey {
            prefix_len,
            addr: key.addr.masked(prefix_len),
        })
    }

    fn service(&self, vpc: u64) -> Option<&ServiceRecord> {
        self.tables.services.get(&vpc)
    }

    fn service_device(&self, ifindex: u32) -> Option<u64> {
        self.tables.service_devices.get(&ifindex).copied()
    }

    fn mac(&self, key: &MacKey) -> Option<u64> {
        self.tables.macs.get(key).map(|endpoint| endpoint.eni)
    }

    fn link_local(&self, eni: u64) -> Option<Rc<Cell<u64>>> {
        Some(self.link_local.borrow_mut().entry(eni).or_default().clone())
    }

    fn policy(&self, policy: u64) -> Option<&PolicyRecord> {
        self.tables.policies.get(&policy)
    }

    fn gate_remote(&self, key: &GateRemoteKey) -> Option<&RuleBits> {
        let lengths = (TABLE_BITS..=ADDR_BITS).rev();
        longest(&self.tables.gate_remotes, lengths, |prefix_len| {
            GateRemoteKey {
                prefix_len,
                gate: key.gate,
                addr: key.addr.masked(prefix_len - TABLE_BITS),
            }
        })
    }

    fn gate_group(&self, key: &GateGroupKey) -> Option<&RuleBits> {
        self.tables.gate_groups.get(key)
    }

    fn gate_service(&self, key: &GateServiceKey) -> Option<&RuleBits> {
        let lengths = (PROTOCOL_BITS..=SERVICE_BITS).rev().chain([TABLE_BITS]);
        longest(&self.tables.gate_services, lengths, |prefix_len| {
            let has_protocol = prefix_len >= PROTOCOL_BITS;
            let free = SERVICE_BITS - prefix_len.max(PROTOCOL_BITS);
            let port = u32::from(u16::from_be_bytes(key.port)) >> free << free;
            let port = u16::try_from(port).unwrap_or(0);
            GateServiceKey {
                prefix_len,
                gate: key.gate,
                protocol: if has_protocol { key.protocol } else { 0 },
                port: if has_protocol {
                    port.to_be_bytes()
                } else {
                    [0; 2]
                },
                pad: 0,
            }
        })
    }

    fn gate_rule(&self, key: &GateRuleKey) -> Option<&GateRule> {
        self.tables.gate_rules.get(key)
    }

    fn listener(&self, key: &ListenerKey) -> Option<&ListenerRecord> {
        self.tables.listeners.get(key)
    }

    fn balancer_slots(&self, key: &SlotsKey) -> Option<&Slots> {
        self.tables.balancer_slots.get(key)
    }

    fn balancer_target(&self, key: &TargetKey) -> Option<&TargetRecord> {
        self.tables.balancer_targets.get(key)
    }

    fn balancer_member(&self, key: &MemberKey) -> Option<&Member> {
        self.tables.balancer_members.get(key)
    }

    fn mirror(&self, eni: u64) -> Option<&MirrorRecord> {
        self.tables.mirrors.get(&eni)
    }

    fn mirror_filter(&self, filter: u64) -> Option<&MirrorFilter> {
        self.tables.mirror_filters.get(&filter)
    }

    fn capture(&self, eni: u64) -> Option<&Capture> {
        self.tables.captures.get(&eni)
    }

    fn has_copies(&self) -> bool {
        true
    }

    fn copy<F: Frame>(&self, frame: &mut F, note: &mut Note) {
        let bytes = (0..frame.len()).filter_map(|at| frame.load::<1>(at));
        let bytes = bytes.map(|byte| byte.0[0]).collect();
        self.copies.borrow_mut().push((*note, bytes));
    }

    fn allowance(&self, instance: u64) -> Option<&Allowance> {
        self.tables.allowances.get(&instance)
    }

    fn usage(&self, instance: u64) -> Option<Rc<UseEntry>> {
        Some(self.uses.borrow_mut().entry(instance).or_default().clone())
    }

    fn flow_bucket(&self, key: &FlowKey) -> Option<Rc<Cell<u64>>> {
        Some(self.buckets.borrow_mut().entry(*key).or_default().clone())
    }

    fn flow_entries_max(&self) -> u64 {
        self.flows_max as u64
    }

    fn flow(&self, key: &FlowKey) -> Option<Rc<FlowEntry>> {
        self.flows.borrow().get(key).cloned()
    }

    fn insert_flow(&self, key: &FlowKey, record: &FlowRecord) -> bool {
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= self.flows_max || flows.contains_key(key) {
            return false;
        }
        flows.insert(*key, Rc::new(record.entry()));
        true
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRecord> {
        self.fragments.borrow().get(key).copied()
    }

    fn insert_fragment(&self, key: &FragmentKey, record: &FragmentRecord) {
        self.fragments.borrow_mut().insert(*key, *record);
    }

    fn nat_ports(&self, key: &NatPortsKey) -> Option<Rc<NatPortsEntry>> {
        self.nat_ports.borrow().get(key).cloned()
    }

    fn insert_nat_ports(&self, key: &NatPortsKey) {
        let mut ports = self.nat_ports.borrow_mut();
        if ports.len() < self.nat_ports_max {
            ports.entry(*key).or_default();
        }
    }

    fn nat_counts(&self, nat: u64) -> Option<Rc<NatCountsEntry>> {
        self.nat_counts.borrow().get(&nat).cloned()
    }

    fn insert_nat_counts(&self, nat: u64) {
        self.nat_counts.borrow_mut().entry(nat).or_default();
    }

    fn dropped(&self, key: &FlowKey) -> Option<Rc<DropEntry>> {
        Some(self.drops.borrow_mut().entry(*key).or_default().clone())
    }

    fn stray(&self, key: &StrayKey) -> Option<Rc<StrayEntry>> {
        Some(self.strays.borrow_mut().entry(*key).or_default().clone())
    }

    fn count(&self, reason: Reason, packets: u64) {
        self.add(&self.reasons[reason as usize], packets);
    }

    fn count_at(&self, eni: u64, what: u32, amount: u64) {
        let key = CounterKey { eni, what, pad: 0 };
        *self.counters.borrow_mut().entry(key).or_default() += amount;
    }

    fn add(&self, word: &Cell<u64>, amount: u64) {
        word.set(word.get().wrapping_add(amount));
    }

    fn fetch_add(&self, word: &Cell<u64>, amount: u64) -> u64 {
        word.replace(word.get().wrapping_add(amount))
    }

    fn set(&self, word: &Cell<u64>, bits: u64) {
        word.set(word.get() | bits);
    }

    fn replace(&self, word: &Cell<u64>, seen: u64, new: u64) -> bool {
        let is_unchanged = word.get() == seen;
        if is_unchanged {
            word.set(new);
        }
        is_unchanged
    }

    fn fetch_set(&self, word: &Cell<u64>, bits: u64) -> u64 {
        word.replace(word.get() | bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bytes::Addr, table::trie_id};

    #[test]
    fn the_longest_prefix_wins() {
        let mut tables = TableSet::default();
        for (prefix_len, addr, target) in [
            (8, [10, 0, 0, 0], 1),
            (24, [10, 1, 2, 0], 2),
            (0, [0; 4], 3),
        ] {
            let key = RouteKey {
                prefix_len: TABLE_BITS + 96 + prefix_len,
                table: trie_id(5),
                addr: Addr::v4(addr),
            };
            tables.routes.insert(
                key,
                Route {
                    target,
                    kind: Route::LOCAL,
                    prefix_len: 96 + prefix_len,
                },
            );
        }
        let memory = Memory::new(tables);
        let target = |table, addr| {
            let key = RouteKey {
                prefix_len: ADDR_BITS,
                table: trie_id(table),
                addr: Addr::v4(addr),
            };
            memory.route(&key).map(|route| route.target)
        };
        assert_eq!(target(5, [10, 1, 2, 3]), Some(2));
        assert_eq!(target(5, [10, 1, 3, 3]), Some(1));
        assert_eq!(target(5, [11, 0, 0, 1]), Some(3));
        assert_eq!(target(6, [10, 1, 2, 3]), None);
    }
}
