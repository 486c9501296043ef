//! The kernel's maps as the tables of the pipeline.
//!
//! Maps are pinned by name; the directory of the pins carries a hash of their layout. Entries that a
//! lookup gives stay readable until the program ends (RCU). An entry that is deleted meanwhile may be
//! given to another key at once. It takes a packet in the very microsecond of its flow's removal, which
//! has ended, lost its device, or is forgotten with all others; and the worst is that the packet counts
//! for the flow that took the place, and goes to that one's ENI if both came with the same MAC addresses.
//!
//! The flow table is allocated in full when it is made: a new flow then costs no memory allocation, some
//! 15 % of the time that the programs spend on a short TCP connection.

use core::{arch::asm, cell::Cell, ffi::c_void, mem::size_of};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_CURRENT_CPU, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::{
        bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_lookup_elem, bpf_map_update_elem,
        bpf_perf_event_output,
    },
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerfEventArray},
};
use enid_pipeline::{
    REASON_COUNTERS, Reason, Scratch, Tables,
    allowance::Allowance,
    balancer::{
        ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
    },
    bytes::Addr,
    capture::{Capture, Seen, seen},
    copy::Note,
    counter::{self, CounterKey},
    drops::{DropEntry, DropRecord},
    flow::{FlowEntry, FlowKey, FlowRecord},
    fragments::{FragmentKey, FragmentRecord},
    frame::Frame,
    mirror::{MirrorFilter, MirrorRecord, Wrapping},
    nat_counts::{NatCountsEntry, NatCountsRecord, NatPortsEntry, NatPortsKey, NatPortsRecord},
    room::{UseEntry, UseRecord},
    strays::{StrayEntry, StrayKey, StrayRecord},
    table::{
        Config, Endpoint, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule,
        GateRuleKey, GateServiceKey, MacKey, NatRecord, Outside, PolicyRecord, Pool, PoolKey,
        PrefixKey, PublicOf, PublicRecord, Route, RouteKey, RuleBits, ServiceRecord, SubnetRecord,
        limit,
    },
};

use crate::skb::Skb;

#[map(name = "devices")]
static DEVICES: HashMap<u32, u64> = HashMap::pinned(limit::DEVICES, BPF_F_NO_PREALLOC);
#[map(name = "enis")]
static ENIS: HashMap<u64, EniRecord> = HashMap::pinned(limit::ENIS, BPF_F_NO_PREALLOC);
#[map(name = "endpoints")]
static ENDPOINTS: HashMap<EndpointKey, Endpoint> =
    HashMap::pinned(limit::ENDPOINTS, BPF_F_NO_PREALLOC);
#[map(name = "prefixes")]
static PREFIXES: LpmTrie<[u32; 6], Endpoint> = LpmTrie::pinned(limit::PREFIXES, 0);
#[map(name = "subnets")]
static SUBNETS: HashMap<u64, SubnetRecord> = HashMap::pinned(limit::SUBNETS, BPF_F_NO_PREALLOC);
#[map(name = "routes")]
static ROUTES: LpmTrie<[u32; 6], Route> = LpmTrie::pinned(limit::ROUTES, 0);
#[map(name = "nats")]
static NATS: HashMap<u64, NatRecord> = HashMap::pinned(limit::NATS, BPF_F_NO_PREALLOC);
#[map(name = "publics")]
static PUBLICS: HashMap<Addr, PublicRecord> = HashMap::pinned(limit::PUBLICS, BPF_F_NO_PREALLOC);
#[map(name = "public_of")]
static PUBLIC_OF: HashMap<EndpointKey, PublicOf> =
    HashMap::pinned(limit::PUBLICS, BPF_F_NO_PREALLOC);
#[map(name = "pools")]
static POOLS: LpmTrie<[u32; 4], Pool> = LpmTrie::pinned(limit::POOLS, 0);
#[map(name = "services")]
static SERVICES: HashMap<u64, ServiceRecord> = HashMap::pinned(limit::SERVICES, BPF_F_NO_PREALLOC);
#[map(name = "service_devices")]
static SERVICE_DEVICES: HashMap<u32, u64> = HashMap::pinned(limit::SERVICES, BPF_F_NO_PREALLOC);
#[map(name = "macs")]
static MACS: HashMap<MacKey, Endpoint> = HashMap::pinned(limit::ENIS, BPF_F_NO_PREALLOC);
#[map(name = "policies")]
static POLICIES: HashMap<u64, PolicyRecord> = HashMap::pinned(limit::POLICIES, BPF_F_NO_PREALLOC);
#[map(name = "gate_remotes")]
static GATE_REMOTES: LpmTrie<[u32; 6], RuleBits> = LpmTrie::pinned(limit::GATE_REMOTES, 0);
#[map(name = "gate_groups")]
static GATE_GROUPS: HashMap<GateGroupKey, RuleBits> =
    HashMap::pinned(limit::GATE_GROUPS, BPF_F_NO_PREALLOC);
#[map(name = "gate_services")]
static GATE_SERVICES: LpmTrie<[u32; 3], RuleBits> = LpmTrie::pinned(limit::GATE_SERVICES, 0);
#[map(name = "gate_rules")]
static GATE_RULES: HashMap<GateRuleKey, GateRule> =
    HashMap::pinned(limit::GATE_RULES, BPF_F_NO_PREALLOC);
#[map(name = "config")]
static CONFIG: Array<Config> = Array::pinned(1, 0);
#[map(name = "allowances")]
static ALLOWANCES: HashMap<u64, Allowance> = HashMap::pinned(limit::INSTANCES, BPF_F_NO_PREALLOC);
#[map(name = "uses")]
static USES: HashMap<u64, UseRecord> = HashMap::pinned(limit::INSTANCES, BPF_F_NO_PREALLOC);
#[map(name = "flow_buckets")]
static FLOW_BUCKETS: LruHashMap<FlowKey, u64> = LruHashMap::pinned(limit::FLOW_BUCKETS, 0);
#[map(name = "eni_counters")]
static ENI_COUNTERS: HashMap<CounterKey, u64> =
    HashMap::pinned(limit::ENI_COUNTERS, BPF_F_NO_PREALLOC);
#[map(name = "flows")]
static FLOWS: HashMap<FlowKey, FlowRecord> = HashMap::pinned(limit::FLOWS, 0);
#[map(name = "drops")]
static DROPS: LruHashMap<FlowKey, DropRecord> = LruHashMap::pinned(limit::DROPS, 0);
#[map(name = "strays")]
static STRAYS: HashMap<StrayKey, StrayRecord> = HashMap::pinned(limit::STRAYS, BPF_F_NO_PREALLOC);
#[map(name = "fragments")]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentRecord> = LruHashMap::pinned(limit::FRAGMENTS, 0);
#[map(name = "link_local")]
static LINK_LOCAL: LruHashMap<u64, u64> = LruHashMap::pinned(limit::DEVICES, 0);
#[map(name = "nat_ports")]
static NAT_PORTS: HashMap<NatPortsKey, NatPortsRecord> =
    HashMap::pinned(limit::NAT_PORTS, BPF_F_NO_PREALLOC);
#[map(name = "nat_counts")]
static NAT_COUNTS: HashMap<u64, NatCountsRecord> = HashMap::pinned(limit::NATS, BPF_F_NO_PREALLOC);
#[map(name = "reasons")]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_COUNTERS, 0);
#[map(name = "mirrors")]
static MIRRORS: HashMap<u64, MirrorRecord> = HashMap::pinned(limit::MIRRORS, BPF_F_NO_PREALLOC);
#[map(name = "mirror_filters")]
static MIRROR_FILTERS: HashMap<u64, MirrorFilter> =
    HashMap::pinned(limit::MIRRORS, BPF_F_NO_PREALLOC);
#[map(name = "captures")]
static CAPTURES: HashMap<u64, Capture> = HashMap::pinned(limit::CAPTURES, BPF_F_NO_PREALLOC);
#[map(name = "listeners")]
static LISTENERS: HashMap<ListenerKey, ListenerRecord> =
    HashMap::pinned(limit::LISTENERS, BPF_F_NO_PREALLOC);
#[map(name = "balancer_slots")]
static BALANCER_SLOTS: HashMap<SlotsKey, Slots> =
    HashMap::pinned(limit::BALANCER_SLOTS, BPF_F_NO_PREALLOC);
#[map(name = "balancer_targets")]
static BALANCER_TARGETS: HashMap<TargetKey, TargetRecord> =
    HashMap::pinned(limit::BALANCER_TARGETS, BPF_F_NO_PREALLOC);
#[map(name = "balancer_members")]
static BALANCER_MEMBERS: HashMap<MemberKey, Member> =
    HashMap::pinned(limit::BALANCER_MEMBERS, BPF_F_NO_PREALLOC);
#[map(name = "captured")]
static CAPTURED: PerfEventArray<Seen> = PerfEventArray::pinned(0);
#[map(name = "copying")]
static COPYING: PerCpuArray<Copying> = PerCpuArray::pinned(1, 0);
#[map(name = "seal")]
static SEAL: Array<[u32; 2]> = Array::pinned(1, 0);
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::pinned(1, 0);

/// The handle that map helpers take.
macro_rules! handle {
    ($map:ident) => {
        (&raw const $map).cast_mut().cast::<c_void>()
    };
}

/// The working memory of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: a program on a TC hook runs with bottom halves off, so there is one user per CPU at a time,
    // and the map lives as long as the program. Its bytes are zero at first, which every field allows, and
    // later what a pipeline run wrote.
    unsafe { SCRATCH.get_ptr_mut(0).and_then(|scratch| scratch.as_mut()) }
}

/// The working memory of the program that gets copies, which runs while another one waits for it.
#[repr(C)]
pub(crate) struct Copying {
    /// The copy that is made in this moment; of ENI 0 if there is none.
    pub(crate) note: Note,
    pub(crate) wrapping: Wrapping,
    seen: Seen,
}

impl Copying {
    /// Tells whoever captures at the ENI.
    #[inline(always)]
    pub(crate) fn tell(&mut self, context: *mut __sk_buff, frame: &Skb) {
        // SAFETY: the helper has no arguments and only reads the clock.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        if !seen(&KernelTables, frame, &self.note, now_ns, &mut self.seen) {
            return;
        }
        let flags = u64::from(self.seen.captured) << 32 | u64::from(BPF_F_CURRENT_CPU);
        // SAFETY: the helper reads one record, and as many bytes of the packet as the flags say, which it
        // compares with the packet's length.
        let status = unsafe {
            bpf_perf_event_output(
                context.cast(),
                handle!(CAPTURED),
                flags,
                (&raw mut self.seen).cast(),
                size_of::<Seen>() as u64,
            )
        };
        if status != 0 {
            KernelTables.count_at(self.note.eni, counter::COPIES_LOST, 1);
        }
    }
}

/// The same for copies.
#[inline(always)]
pub(crate) fn copying() -> Option<&'static mut Copying> {
    // SAFETY: as `scratch`. A program that makes a copy holds no reference to this while the program that
    // gets it runs.
    unsafe { COPYING.get_ptr_mut(0).and_then(|copying| copying.as_mut()) }
}

/// The kernel's maps.
pub(crate) struct KernelTables;

/// What a NAT gateway begins with. Not on the stack.
static NO_COUNTS: NatCountsRecord = NatCountsRecord {
    out_packets: 0,
    out_bytes: 0,
    back_packets: 0,
    back_bytes: 0,
    refused_out_packets: 0,
    refused_out_bytes: 0,
    refused_back_packets: 0,
    refused_back_bytes: 0,
    dropped_packets: 0,
    active: 0,
    attempts: 0,
    established: 0,
    port_errors: 0,
    idle: 0,
    out_resets: 0,
    back_resets: 0,
    fail_open: 0,
    udp_bytes: 0,
    udp_flows: 0,
    own_resets: 0,
    rejected_tcp: 0,
    rejected_udp: 0,
    blocked_in_tcp: 0,
    blocked_in_udp: 0,
    blocked_out_tcp: 0,
    blocked_out_udp: 0,
};

/// What a count of packets without a flow's entry begins with. Not on the stack.
static NO_STRAY: StrayRecord = StrayRecord {
    packets: 0,
    bytes: 0,
    first_seen_ns: 0,
    last_seen_ns: 0,
    source_eni: 0,
    target_eni: 0,
    tcp_flags: 0,
    acl: 0,
    acl_entry: 0,
    via: 0,
};

/// # Safety
/// `K` and `V` have the sizes that the map was made with, and every byte pattern is a `V`.
#[inline(always)]
unsafe fn lookup<'a, K, V>(map: *mut c_void, key: &K) -> Option<&'a V> {
    // SAFETY: the caller keeps the sizes; the value lives until the program ends.
    unsafe {
        bpf_map_lookup_elem(map, (&raw const *key).cast())
            .cast::<V>()
            .as_ref()
    }
}

/// # Safety
/// `K` and `V` have the sizes that the map was made with.
#[inline(always)]
unsafe fn update<K, V>(map: *mut c_void, key: &K, value: &V, flags: u64) -> bool {
    // SAFETY: the caller keeps the sizes; the helper copies both.
    unsafe {
        bpf_map_update_elem(
            map,
            (&raw const *key).cast(),
            (&raw const *value).cast(),
            flags,
        ) == 0
    }
}

/// The device that copies are sent out of; 0 if there is none.
#[inline(always)]
fn copies() -> u32 {
    // SAFETY: see `KernelTables::generation`.
    match unsafe { lookup::<u32, Config>(handle!(CONFIG), &0) } {
        Some(config) => config.copies,
        None => 0,
    }
}

/// The secret by which the guard of a tap knows what the pipeline delivers; zeros before there is one.
#[inline(always)]
pub(crate) fn seal() -> [u32; 2] {
    // SAFETY: key and value are those of the map's definition above.
    match unsafe { lookup::<u32, [u32; 2]>(handle!(SEAL), &0) } {
        Some(seal) => *seal,
        None => [0; 2],
    }
}

impl Tables for KernelTables {
    type Flow<'a> = &'a FlowEntry;
    type Drop<'a> = &'a DropEntry;
    type Stray<'a> = &'a StrayEntry;
    type Word<'a> = &'a Cell<u64>;
    type Ports<'a> = &'a NatPortsEntry;
    type Counts<'a> = &'a NatCountsEntry;
    type Use<'a> = &'a UseEntry;

    #[inline(always)]
    fn exact_ns(&self, _tick_ns: u64) -> u64 {
        // SAFETY: the helper has no arguments and only reads the clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn generation(&self) -> u64 {
        // SAFETY: key and value are those of the map's definition above, as in all functions below.
        match unsafe { lookup::<u32, Config>(handle!(CONFIG), &0) } {
            Some(config) => config.generation,
            None => 0,
        }
    }

    #[inline(always)]
    fn outside(&self) -> Option<&Outside> {
        // SAFETY: see `generation`.
        let config: Option<&Config> = unsafe { lookup::<u32, Config>(handle!(CONFIG), &0) };
        match config {
            Some(config) if config.outside.ifindex != 0 => Some(&config.outside),
            _ => None,
        }
    }

    #[inline(always)]
    fn device(&self, ifindex: u32) -> Option<u64> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(DEVICES), &ifindex) }.copied()
    }

    #[inline(always)]
    fn eni(&self, eni: u64) -> Option<&EniRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(ENIS), &eni) }
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<u64> {
        // SAFETY: see `generation`.
        let endpoint: Option<&Endpoint> = unsafe { lookup(handle!(ENDPOINTS), key) };
        endpoint.map(|endpoint| endpoint.eni)
    }

    #[inline(always)]
    fn prefix(&self, key: &PrefixKey) -> Option<u64> {
        // SAFETY: see `generation`; a `PrefixKey` is a prefix length and six words.
        let endpoint: Option<&Endpoint> = unsafe { lookup(handle!(PREFIXES), key) };
        endpoint.map(|endpoint| endpoint.eni)
    }

    #[inline(always)]
    fn subnet(&self, subnet: u64) -> Option<&SubnetRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(SUBNETS), &subnet) }
    }

    #[inline(always)]
    fn route(&self, key: &RouteKey) -> Option<&Route> {
        // SAFETY: see `generation`; a `RouteKey` is a prefix length and six words.
        unsafe { lookup(handle!(ROUTES), key) }
    }

    #[inline(always)]
    fn nat(&self, nat: u64) -> Option<&NatRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(NATS), &nat) }
    }

    #[inline(always)]
    fn public(&self, addr: &Addr) -> Option<&PublicRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(PUBLICS), addr) }
    }

    #[inline(always)]
    fn public_of(&self, key: &EndpointKey) -> Option<&PublicOf> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(PUBLIC_OF), key) }
    }

    #[inline(always)]
    fn pool(&self, key: &PoolKey) -> Option<&Pool> {
        // SAFETY: see `generation`; a `PoolKey` is a prefix length and four words.
        unsafe { lookup(handle!(POOLS), key) }
    }

    #[inline(always)]
    fn service(&self, vpc: u64) -> Option<&ServiceRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(SERVICES), &vpc) }
    }

    #[inline(always)]
    fn service_device(&self, ifindex: u32) -> Option<u64> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(SERVICE_DEVICES), &ifindex) }.copied()
    }

    #[inline(always)]
    fn mac(&self, key: &MacKey) -> Option<u64> {
        // SAFETY: see `generation`.
        let endpoint: Option<&Endpoint> = unsafe { lookup(handle!(MACS), key) };
        endpoint.map(|endpoint| endpoint.eni)
    }

    #[inline(always)]
    fn link_local(&self, eni: u64) -> Option<&Cell<u64>> {
        // SAFETY: see `generation` and `flow`: one aligned word, which `add` and `replace` change.
        unsafe {
            if let Some(word) = lookup(handle!(LINK_LOCAL), &eni) {
                return Some(word);
            }
            // That another CPU made it meanwhile is fine.
            let _ = update(handle!(LINK_LOCAL), &eni, &0_u64, u64::from(BPF_NOEXIST));
            lookup(handle!(LINK_LOCAL), &eni)
        }
    }

    #[inline(always)]
    fn policy(&self, policy: u64) -> Option<&PolicyRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(POLICIES), &policy) }
    }

    #[inline(always)]
    fn gate_remote(&self, key: &GateRemoteKey) -> Option<&RuleBits> {
        // SAFETY: see `generation`; a `GateRemoteKey` is a prefix length and six words.
        unsafe { lookup(handle!(GATE_REMOTES), key) }
    }

    #[inline(always)]
    fn gate_group(&self, key: &GateGroupKey) -> Option<&RuleBits> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(GATE_GROUPS), key) }
    }

    #[inline(always)]
    fn gate_service(&self, key: &GateServiceKey) -> Option<&RuleBits> {
        // SAFETY: see `generation`; a `GateServiceKey` is a prefix length and three words.
        unsafe { lookup(handle!(GATE_SERVICES), key) }
    }

    #[inline(always)]
    fn gate_rule(&self, key: &GateRuleKey) -> Option<&GateRule> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(GATE_RULES), key) }
    }

    #[inline(always)]
    fn listener(&self, key: &ListenerKey) -> Option<&ListenerRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(LISTENERS), key) }
    }

    #[inline(always)]
    fn balancer_slots(&self, key: &SlotsKey) -> Option<&Slots> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(BALANCER_SLOTS), key) }
    }

    #[inline(always)]
    fn balancer_target(&self, key: &TargetKey) -> Option<&TargetRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(BALANCER_TARGETS), key) }
    }

    #[inline(always)]
    fn balancer_member(&self, key: &MemberKey) -> Option<&Member> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(BALANCER_MEMBERS), key) }
    }

    #[inline(always)]
    fn mirror(&self, eni: u64) -> Option<&MirrorRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(MIRRORS), &eni) }
    }

    #[inline(always)]
    fn mirror_filter(&self, filter: u64) -> Option<&MirrorFilter> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(MIRROR_FILTERS), &filter) }
    }

    #[inline(always)]
    fn capture(&self, eni: u64) -> Option<&Capture> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(CAPTURES), &eni) }
    }

    #[inline(always)]
    fn has_copies(&self) -> bool {
        copies() != 0
    }

    #[inline(always)]
    fn copy<F: Frame>(&self, frame: &mut F, note: &mut Note) {
        let ifindex = copies();
        if ifindex == 0 {
            return;
        }
        let Some(copying) = COPYING.get_ptr_mut(0) else {
            return;
        };
        const WORDS: usize = size_of::<Note>() / 8;
        let from = (&raw const *note).cast::<u64>();
        // SAFETY: see `copying`: nobody else refers to this CPU's value now. A note is words. Volatile, because
        // the program that reads it runs within the helper, of which the compiler knows nothing; and word by
        // word, because a whole one would go over the stack.
        unsafe {
            let to = (&raw mut (*copying).note).cast::<u64>();
            for word in 0..WORDS {
                to.add(word).write_volatile(from.add(word).read());
            }
        }
        let is_made = frame.send_copy(ifindex);
        // SAFETY: as above. From here on what comes to the device is no copy.
        unsafe { (&raw mut (*copying).note.eni).write_volatile(0) };
        if !is_made {
            self.count_at(note.eni, counter::COPIES_LOST, 1);
        }
    }

    #[inline(always)]
    fn allowance(&self, instance: u64) -> Option<&Allowance> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(ALLOWANCES), &instance) }
    }

    #[inline(always)]
    fn usage(&self, instance: u64) -> Option<&UseEntry> {
        // SAFETY: see `generation` and `flow`.
        unsafe {
            if let Some(entry) = lookup(handle!(USES), &instance) {
                return Some(entry);
            }
            const NOTHING: UseRecord = UseRecord {
                entries: 0,
                tracked: 0,
                bandwidth_in: 0,
                bandwidth_out: 0,
                credits_in: 0,
                credits_out: 0,
                gateway_in: 0,
                gateway_out: 0,
                packets: 0,
            };
            let _ = update(handle!(USES), &instance, &NOTHING, u64::from(BPF_NOEXIST));
            lookup(handle!(USES), &instance)
        }
    }

    #[inline(always)]
    fn flow_bucket(&self, key: &FlowKey) -> Option<&Cell<u64>> {
        // SAFETY: see `generation` and `flow`.
        unsafe {
            if let Some(bucket) = lookup(handle!(FLOW_BUCKETS), key) {
                return Some(bucket);
            }
            let _ = update(handle!(FLOW_BUCKETS), key, &0_u64, u64::from(BPF_NOEXIST));
            lookup(handle!(FLOW_BUCKETS), key)
        }
    }

    #[inline(always)]
    fn flow_entries_max(&self) -> u64 {
        // SAFETY: see `generation`.
        match unsafe { lookup::<u32, Config>(handle!(CONFIG), &0) } {
            Some(config) if config.flow_entries_max != 0 => config.flow_entries_max,
            _ => u64::MAX,
        }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&FlowEntry> {
        // SAFETY: see `generation`; a `FlowEntry` is a `FlowRecord` in cells. Other CPUs write the same
        // words: each is aligned, loaded and stored by one instruction, and summed by `add` and `set`.
        unsafe { lookup(handle!(FLOWS), key) }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, record: &FlowRecord) -> bool {
        // SAFETY: see `generation`.
        unsafe { update(handle!(FLOWS), key, record, u64::from(BPF_NOEXIST)) }
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // SAFETY: the helper reads one key of the map's size. That the entry is gone already is fine.
        let _ = unsafe { bpf_map_delete_elem(handle!(FLOWS), (&raw const *key).cast()) };
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRecord> {
        // SAFETY: see `generation`.
        unsafe { lookup(handle!(FRAGMENTS), key) }.copied()
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, record: &FragmentRecord) {
        // SAFETY: see `generation`. If it fails the later fragments are dropped and counted.
        let _ = unsafe { update(handle!(FRAGMENTS), key, record, 0) };
    }

    #[inline(always)]
    fn nat_ports(&self, key: &NatPortsKey) -> Option<&NatPortsEntry> {
        // SAFETY: see `generation` and `flow`.
        unsafe { lookup(handle!(NAT_PORTS), key) }
    }

    #[inline(always)]
    fn insert_nat_ports(&self, key: &NatPortsKey) {
        const NONE: NatPortsRecord = NatPortsRecord {
            taken: 0,
            taken_ns: 0,
        };
        // SAFETY: see `generation`. If it fails the next lookup finds nothing, and the packet is refused.
        let _ = unsafe { update(handle!(NAT_PORTS), key, &NONE, u64::from(BPF_NOEXIST)) };
    }

    #[inline(always)]
    fn nat_counts(&self, nat: u64) -> Option<&NatCountsEntry> {
        // SAFETY: see `generation` and `flow`.
        unsafe { lookup(handle!(NAT_COUNTS), &nat) }
    }

    #[inline(always)]
    fn insert_nat_counts(&self, nat: u64) {
        // SAFETY: see `generation`. A gateway without an entry works and counts nothing.
        let _ = unsafe {
            update(
                handle!(NAT_COUNTS),
                &nat,
                &NO_COUNTS,
                u64::from(BPF_NOEXIST),
            )
        };
    }

    #[inline(always)]
    fn dropped(&self, key: &FlowKey) -> Option<&DropEntry> {
        // SAFETY: see `generation` and `flow`.
        unsafe {
            if let Some(entry) = lookup(handle!(DROPS), key) {
                return Some(entry);
            }
            const EMPTY: DropRecord = DropRecord {
                packets: 0,
                bytes: 0,
                first_seen_ns: 0,
                last_seen_ns: 0,
                reason: 0,
                source_eni: 0,
                target_eni: 0,
                acl: 0,
                acl_entry: 0,
            };
            let _ = update(handle!(DROPS), key, &EMPTY, u64::from(BPF_NOEXIST));
            lookup(handle!(DROPS), key)
        }
    }

    #[inline(always)]
    fn stray(&self, key: &StrayKey) -> Option<&StrayEntry> {
        // SAFETY: see `generation` and `flow`.
        unsafe {
            if let Some(entry) = lookup(handle!(STRAYS), key) {
                return Some(entry);
            }
            let _ = update(handle!(STRAYS), key, &NO_STRAY, u64::from(BPF_NOEXIST));
            lookup(handle!(STRAYS), key)
        }
    }

    #[inline(always)]
    fn count(&self, reason: Reason, packets: u64) {
        // SAFETY: this CPU's counter, and bottom halves are off: nobody else adds to it.
        unsafe {
            if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
                *counter += packets;
            }
        }
    }

    #[inline(always)]
    fn count_at(&self, eni: u64, what: u32, amount: u64) {
        let key = CounterKey { eni, what, pad: 0 };
        // SAFETY: see `generation` and `flow`: the counter is a word that is only added to.
        unsafe {
            if let Some(counter) = lookup::<CounterKey, Cell<u64>>(handle!(ENI_COUNTERS), &key) {
                return self.add(counter, amount);
            }
            // Another CPU may make it first; if there is no room the amount is not counted.
            if update(handle!(ENI_COUNTERS), &key, &amount, u64::from(BPF_NOEXIST)) {
                return;
            }
            if let Some(counter) = lookup::<CounterKey, Cell<u64>>(handle!(ENI_COUNTERS), &key) {
                self.add(counter, amount);
            }
        }
    }

    #[inline(always)]
    fn add(&self, word: &Cell<u64>, amount: u64) {
        // SAFETY: an atomic sum into one aligned word of a map's value. `core` has none for this target.
        unsafe {
            asm!("lock *(u64 *)({word} + 0) += {amount}", word = in(reg) word.as_ptr(), amount = in(reg) amount);
        }
    }

    #[inline(always)]
    fn fetch_add(&self, word: &Cell<u64>, amount: u64) -> u64 {
        let mut before = amount;
        // SAFETY: as `add`; the register gets what the word was.
        unsafe {
            asm!("{before} = atomic_fetch_add((u64 *)({word} + 0), {before})", word = in(reg) word.as_ptr(), before = inout(reg) before);
        }
        before
    }

    #[inline(always)]
    fn fetch_set(&self, word: &Cell<u64>, bits: u64) -> u64 {
        let mut before = bits;
        // SAFETY: as `fetch_add`.
        unsafe {
            asm!("{before} = atomic_fetch_or((u64 *)({word} + 0), {before})", word = in(reg) word.as_ptr(), before = inout(reg) before);
        }
        before
    }

    #[inline(always)]
    fn set(&self, word: &Cell<u64>, bits: u64) {
        // SAFETY: as `add`.
        unsafe {
            asm!("lock *(u64 *)({word} + 0) |= {bits}", word = in(reg) word.as_ptr(), bits = in(reg) bits);
        }
    }

    #[inline(always)]
    fn replace(&self, word: &Cell<u64>, seen: u64, new: u64) -> bool {
        let mut found = seen;
        // SAFETY: as `add`; the instruction takes what it expects from register 0, and leaves there what it
        // found.
        unsafe {
            asm!("r0 = cmpxchg_64({word} + 0, r0, {new})", word = in(reg) word.as_ptr(), new = in(reg) new, inout("r0") found);
        }
        found == seen
    }
}
