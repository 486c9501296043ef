//! The datapath of one host: its tables, and the programs on its devices.
//!
//! Changes are applied in an order that no packet sees a mix of: what is new is put first and nothing
//! refers to it yet, then what refers to it is switched over, then what is no longer wanted is deleted,
//! then the generation is raised so that every flow is judged again by the new tables.
//!
//! [`Datapath::apply`] returns when the kernel obeys. Entries of gates that no policy names any more
//! stay for a sweep or two: a program run that began before the switch may still read them. A part of a
//! change that fails does not keep the rest from coming into force, least of all what closes.

mod copies;
mod filters;
mod gates;
mod links;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use enid_model::id::EniId;
use enid_pipeline::allowance::Allowance;
use enid_pipeline::balancer::{
    ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
};
use enid_pipeline::bytes::Addr;
use enid_pipeline::capture::Capture;
use enid_pipeline::mirror::{MirrorFilter, MirrorRecord};
use enid_pipeline::release::ReleaseOrder;
use enid_pipeline::table::{
    Config, Endpoint, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey,
    GateServiceKey, MacKey, NatRecord, Outside, PolicyRecord, Pool, PoolKey, PrefixKey, PublicOf,
    PublicRecord, Route, RouteKey, RuleBits, ServiceRecord, SubnetRecord, limit,
};
use enid_plan::tables::{Change, TableDiff, Tables};

use self::gates::Retired;
pub use self::gates::Shut;
pub use self::links::ServiceLinks;
use crate::copies::CopyPairError;
use crate::flow_observer::FlowObserver;
use crate::flows::{FlowError, FlowTables, Sweep, Sweeper};
use crate::loader::{self, LoadError, Pins, Programs};
use crate::maps::{self, Map, Plain};
use crate::nat_counts::NatTables;
use crate::{Installation, netlink};

/// How a datapath is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Entries that the flow table holds at most; a connection has two. Each takes 264 bytes of kernel
    /// memory from the start: 69 MB by default. A table that is there keeps its size until everything
    /// is taken down.
    pub flow_entries_max: u32,
    /// How programs are put on devices; the best that the kernel has, if nothing is said.
    pub attach: Option<Attach>,
}

/// How programs are put on devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Filters of the traffic control, which every kernel has.
    Tc,
    /// Links, since Linux 6.6: pinned ones stay when the daemon ends, and nobody removes them by chance.
    Tcx,
}

impl Attach {
    /// The best that this kernel has.
    pub fn best() -> Result<Self, DatapathError> {
        let program = maps::load_dropping_program().map_err(DatapathError::Probe)?;
        Ok(if maps::has_tcx(program.as_fd()) {
            Self::Tcx
        } else {
            Self::Tc
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flow_entries_max: limit::FLOWS,
            attach: None,
        }
    }
}

/// Why the datapath cannot be loaded, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A link cannot be made, read or removed.
    #[error("{action} {}", path.display())]
    Link {
        /// What was tried.
        action: &'static str,
        /// The link's pin.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The kernel was not to be asked what it can do.
    #[error("load a program to try the kernel with")]
    Probe(#[source] io::Error),
    /// A filter cannot be put, read or removed.
    #[error("filters of the device {ifindex}")]
    Filter {
        /// The device.
        ifindex: u32,
        /// How it failed.
        source: netlink::NetlinkError,
    },
    /// The host's links cannot be listed.
    #[error("look for filters")]
    Links(#[source] netlink::NetlinkError),
    /// The host's links cannot be read.
    #[error("find the device {name}")]
    Device {
        /// Its name.
        name: String,
        /// How it failed.
        source: netlink::NetlinkError,
    },
    /// There is no such device.
    #[error("there is no device {0}")]
    NoDevice(String),
    /// The links that copies go through cannot be made.
    #[error(transparent)]
    CopyPair(#[from] CopyPairError),
    /// The links that copies go through have other programs than they should.
    #[error("the links for copies of packets have not the datapath's programs")]
    CopiesNotAttached,
    /// The flow table cannot be read.
    #[error(transparent)]
    Flows(#[from] FlowError),
    /// Programs and maps cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A link has another program than it should.
    #[error("the device of {0} has not the datapath's programs")]
    NotAttached(EniId),
    /// The same of the device that leads to the outside.
    #[error("the device that leads to the outside has not the datapath's program")]
    OutsideNotAttached,
    /// The kernel did not take the rules of some policies, which are closed instead.
    #[error("put the rules of all policies")]
    Shut(#[source] Box<Self>),
    /// A table cannot be read or written.
    #[error("{action} the table {table}")]
    Table {
        /// What was tried.
        action: &'static str,
        /// Which table.
        table: &'static str,
        /// How it failed.
        source: io::Error,
    },
    /// The programs cannot be put on a device that leads to link-local services.
    #[error("attach programs to the device {ifindex}, which leads to link-local services")]
    Service {
        /// The device's index.
        ifindex: u32,
        /// How it failed.
        source: io::Error,
    },
    /// A program run of [`Datapath::inject`] failed.
    #[error("run a kernel program")]
    TestRun(#[source] io::Error),
}

/// One kernel map and its name.
#[derive(Debug)]
struct Table<K, V> {
    name: &'static str,
    map: Map<K, V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let map = Map::open(&pins.map(name));
        let map = map.map_err(|source| DatapathError::Table {
            action: "open",
            table: name,
            source,
        })?;
        Ok(Self { name, map })
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> DatapathError {
        let table = self.name;
        move |source| DatapathError::Table {
            action,
            table,
            source,
        }
    }

    fn put(&self, change: &Change<K, V>) -> Result<(), DatapathError> {
        if change.put.is_empty() {
            return Ok(());
        }
        self.map.put_all(&change.put).map_err(self.failed("write"))
    }

    fn delete<'a>(&self, keys: impl IntoIterator<Item = &'a K>) -> Result<(), DatapathError>
    where
        K: 'a,
    {
        for key in keys {
            self.map.delete(key).map_err(self.failed("delete from"))?;
        }
        Ok(())
    }

    fn read<C: Extend<(K, V)> + Default>(&self) -> Result<C, DatapathError> {
        self.map.read_all().map_err(self.failed("read"))
    }
}

/// One word of the seal.
const HALF: u64 = 0xffff_ffff;

/// The loaded datapath.
#[derive(Debug)]
pub struct Datapath {
    installation: Installation,
    pins: Pins,
    attach: Attach,
    programs: Programs,
    devices: Table<u32, u64>,
    enis: Table<u64, EniRecord>,
    endpoints: Table<EndpointKey, Endpoint>,
    prefixes: Table<PrefixKey, Endpoint>,
    subnets: Table<u64, SubnetRecord>,
    routes: Table<RouteKey, Route>,
    nats: Table<u64, NatRecord>,
    publics: Table<Addr, PublicRecord>,
    public_of: Table<EndpointKey, PublicOf>,
    pools: Table<PoolKey, Pool>,
    services: Table<u64, ServiceRecord>,
    service_devices: Table<u32, u64>,
    macs: Table<MacKey, Endpoint>,
    allowances: Table<u64, Allowance>,
    listeners: Table<ListenerKey, ListenerRecord>,
    balancer_slots: Table<SlotsKey, Slots>,
    balancer_targets: Table<TargetKey, TargetRecord>,
    balancer_members: Table<MemberKey, Member>,
    mirrors: Table<u64, MirrorRecord>,
    mirror_filters: Table<u64, MirrorFilter>,
    captures: Table<u64, Capture>,
    policies: Table<u64, PolicyRecord>,
    gate_remotes: Table<GateRemoteKey, RuleBits>,
    gate_groups: Table<GateGroupKey, RuleBits>,
    gate_services: Table<GateServiceKey, RuleBits>,
    gate_rules: Table<GateRuleKey, GateRule>,
    config: Table<u32, Config>,
    flows: FlowTables,
    nat_tables: NatTables,
    sweep: Sweep,
    swept_ns: u64,
    retired: Retired,
    shut: BTreeSet<Shut>,
}

impl Datapath {
    /// Adopts what an earlier agent of this installation pinned, or loads it. All flows that are there
    /// are judged again by their next packet: an agent may have ended half way through a change.
    pub fn open(installation: Installation, options: Options) -> Result<Self, DatapathError> {
        let pins = Pins::of(installation);
        let programs = loader::load(&pins, options.flow_entries_max)?;
        let attach = options.attach.map_or_else(Attach::best, Ok)?;
        if attach == Attach::Tc {
            filters::replace_all(installation, &programs)?;
        }
        let datapath = Self {
            installation,
            attach,
            devices: Table::open(&pins, "devices")?,
            enis: Table::open(&pins, "enis")?,
            endpoints: Table::open(&pins, "endpoints")?,
            prefixes: Table::open(&pins, "prefixes")?,
            subnets: Table::open(&pins, "subnets")?,
            routes: Table::open(&pins, "routes")?,
            nats: Table::open(&pins, "nats")?,
            publics: Table::open(&pins, "publics")?,
            public_of: Table::open(&pins, "public_of")?,
            pools: Table::open(&pins, "pools")?,
            services: Table::open(&pins, "services")?,
            service_devices: Table::open(&pins, "service_devices")?,
            macs: Table::open(&pins, "macs")?,
            allowances: Table::open(&pins, "allowances")?,
            listeners: Table::open(&pins, "listeners")?,
            balancer_slots: Table::open(&pins, "balancer_slots")?,
            balancer_targets: Table::open(&pins, "balancer_targets")?,
            balancer_members: Table::open(&pins, "balancer_members")?,
            mirrors: Table::open(&pins, "mirrors")?,
            mirror_filters: Table::open(&pins, "mirror_filters")?,
            captures: Table::open(&pins, "captures")?,
            policies: Table::open(&pins, "policies")?,
            gate_remotes: Table::open(&pins, "gate_remotes")?,
            gate_groups: Table::open(&pins, "gate_groups")?,
            gate_services: Table::open(&pins, "gate_services")?,
            gate_rules: Table::open(&pins, "gate_rules")?,
            config: Table::open(&pins, "config")?,
            flows: FlowTables::open(installation)?,
            nat_tables: NatTables::open(installation)?,
            sweep: Sweep::default(),
            swept_ns: 0,
            retired: Retired::default(),
            shut: BTreeSet::new(),
            programs,
            pins,
        };
        datapath.seal()?;
        datapath.raise_generation()?;
        Ok(datapath)
    }

    /// Makes the secret that marks what the programs deliver to taps, unless there is one.
    fn seal(&self) -> Result<(), DatapathError> {
        let table: Table<u32, u64> = Table::open(&self.pins, "seal")?;
        let mut seal = table.map.lookup(&0).map_err(table.failed("read"))?;
        // The programs take a zero in its first half for none.
        while seal.is_none_or(|seal| seal & HALF == 0 || seal & !HALF == 0) {
            let mut bytes = [0; 8];
            let mut source = File::open("/dev/urandom").map_err(table.failed("seal"))?;
            source
                .read_exact(&mut bytes)
                .map_err(table.failed("seal"))?;
            let new = u64::from_ne_bytes(bytes);
            table.map.put(&0, &new).map_err(table.failed("write"))?;
            seal = Some(new);
        }
        Ok(())
    }

    /// The tables as the kernel has them, without what only waits to be deleted.
    pub fn read(&self) -> Result<Tables, DatapathError> {
        let mut tables = Tables {
            devices: self.devices.read()?,
            enis: self.enis.read()?,
            endpoints: self.endpoints.read()?,
            prefixes: self.prefixes.read()?,
            subnets: self.subnets.read()?,
            routes: self.routes.read()?,
            nats: self.nats.read()?,
            publics: self.publics.read()?,
            public_of: self.public_of.read()?,
            pools: self.pools.read()?,
            services: self.services.read()?,
            service_devices: self.service_devices.read()?,
            macs: self.macs.read()?,
            allowances: self.allowances.read()?,
            listeners: self.listeners.read()?,
            balancer_slots: self.balancer_slots.read()?,
            balancer_targets: self.balancer_targets.read()?,
            balancer_members: self.balancer_members.read()?,
            mirrors: self.mirrors.read()?,
            mirror_filters: self.mirror_filters.read()?,
            captures: self.captures.read()?,
            policies: self.policies.read()?,
            gate_remotes: self.gate_remotes.read()?,
            gate_groups: self.gate_groups.read()?,
            gate_services: self.gate_services.read()?,
            gate_rules: self.gate_rules.read()?,
        };
        self.retired.remove_from(&mut tables);
        Ok(tables)
    }

    /// Changes the tables. When this returns every packet obeys; see the module for the order.
    ///
    /// After [`DatapathError::Shut`] the kernel holds all of the change, but for the policies that
    /// [`Datapath::shut`] names: these are closed. After any other error it may hold a part of the
    /// change. Read and repair after both.
    pub fn apply(&mut self, diff: &TableDiff) -> Result<(), DatapathError> {
        if diff.is_empty() {
            return Ok(());
        }
        let unfit = self.put_gates(diff);
        let policies = self.close_unfit(diff, &unfit);
        let mut outcome = Ok(());
        for step in [
            self.subnets.put(&diff.subnets),
            self.nats.put(&diff.nats),
            self.publics.put(&diff.publics),
            self.public_of.put(&diff.public_of),
            self.pools.put(&diff.pools),
            self.routes.put(&diff.routes),
            self.services.put(&diff.services),
            self.service_devices.put(&diff.service_devices),
            policies.and_then(|policies| self.policies.put(&policies)),
            self.allowances.put(&diff.allowances),
            self.balancer_targets.put(&diff.balancer_targets),
            self.balancer_slots.put(&diff.balancer_slots),
            self.balancer_members.put(&diff.balancer_members),
            self.listeners.put(&diff.listeners),
            self.mirror_filters.put(&diff.mirror_filters),
            self.mirrors.put(&diff.mirrors),
            self.captures.put(&diff.captures),
            self.enis.put(&diff.enis),
            self.endpoints.put(&diff.endpoints),
            self.prefixes.put(&diff.prefixes),
            self.macs.put(&diff.macs),
            self.devices.put(&diff.devices),
            self.devices.delete(&diff.devices.delete),
            self.endpoints.delete(&diff.endpoints.delete),
            self.prefixes.delete(&diff.prefixes.delete),
            self.macs.delete(&diff.macs.delete),
            self.enis.delete(&diff.enis.delete),
            self.captures.delete(&diff.captures.delete),
            self.mirrors.delete(&diff.mirrors.delete),
            self.mirror_filters.delete(&diff.mirror_filters.delete),
            self.listeners.delete(&diff.listeners.delete),
            self.balancer_members.delete(&diff.balancer_members.delete),
            self.balancer_slots.delete(&diff.balancer_slots.delete),
            self.balancer_targets.delete(&diff.balancer_targets.delete),
            self.allowances.delete(&diff.allowances.delete),
            self.policies.delete(&diff.policies.delete),
            self.service_devices.delete(&diff.service_devices.delete),
            self.services.delete(&diff.services.delete),
            self.routes.delete(&diff.routes.delete),
            self.pools.delete(&diff.pools.delete),
            self.public_of.delete(&diff.public_of.delete),
            self.publics.delete(&diff.publics.delete),
            self.nats.delete(&diff.nats.delete),
            self.subnets.delete(&diff.subnets.delete),
            // Raised when everything that a flow is judged by has changed: a flow that was stamped in
            // between has the old generation and is judged again.
            self.raise_generation(),
        ] {
            outcome = outcome.and(step);
        }
        outcome?;
        self.retired.add(diff);
        match unfit.error {
            None => Ok(()),
            Some(source) => Err(DatapathError::Shut(Box::new(source))),
        }
    }

    /// Changes whatever the kernel holds to what the plan says: at the start, and after an error.
    /// Returns how many entries differed.
    pub fn repair(&mut self, plan: &Tables) -> Result<usize, DatapathError> {
        let diff = self.read()?.diff(plan);
        // Closed policies are among the differences, if the plan still has them open.
        self.shut.clear();
        let applied = self.apply(&diff);
        // A change that failed may have come as far as this and no further.
        self.raise_generation()?;
        applied.map(|()| diff.len())
    }

    fn outside(&self) -> Result<Outside, DatapathError> {
        let config = self.config.map.lookup(&0);
        let config = config.map_err(self.config.failed("read"))?;
        Ok(config.unwrap_or_default().outside)
    }

    /// Says by which device packets go to the outside and come from there; index 0 is none.
    pub fn set_outside(&mut self, outside: Outside) -> Result<(), DatapathError> {
        let config = self.config.map.lookup(&0);
        let config = config.map_err(self.config.failed("read"))?;
        let config = Config {
            outside,
            ..config.unwrap_or_default()
        };
        let written = self.config.map.put(&0, &config);
        written.map_err(self.config.failed("write"))?;
        self.raise_generation()
    }

    fn raise_generation(&self) -> Result<(), DatapathError> {
        let config = self
            .config
            .map
            .lookup(&0)
            .map_err(self.config.failed("read"))?;
        let mut config = config.unwrap_or_default();
        config.generation = config.generation.wrapping_add(1).max(1);
        config.flow_entries_max = u64::from(self.flows.flow_entries_max());
        self.config
            .map
            .put(&0, &config)
            .map_err(self.config.failed("write"))
    }

    /// Deletes what waits to be deleted and sweeps a part of the flow table, if the last time was long
    /// enough ago. Answers how long that took.
    pub fn sweep_if_due(
        &mut self,
        every: Duration,
        observer: Option<&mut (dyn FlowObserver + 'static)>,
    ) -> Result<Option<Duration>, DatapathError> {
        let now_ns = crate::flows::monotonic_ns();
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        if now_ns.saturating_sub(self.swept_ns) < every_ns {
            return Ok(None);
        }
        self.swept_ns = now_ns;
        self.delete_retired()?;
        let devices: Vec<(u32, u64)> = self.devices.read()?;
        let devices = devices.into_iter().map(|(ifindex, _)| ifindex);
        // Flows from and to the outside have its device at that end.
        let devices = devices.chain([self.outside()?.ifindex]).collect();
        let release = |order: &ReleaseOrder| {
            let run = maps::test_run(self.programs.release(), 0, &mut frame_of(order));
            run.map(|said| said == ReleaseOrder::GONE)
        };
        let sweeper = Sweeper {
            devices: &devices,
            release: &release,
            observer,
        };
        self.flows.sweep(&mut self.sweep, now_ns, sweeper)?;
        self.nat_tables.sweep(now_ns)?;
        let took_ns = crate::flows::monotonic_ns().saturating_sub(now_ns);
        Ok(Some(Duration::from_nanos(took_ns)))
    }

    /// What NAT gateways count.
    #[must_use]
    pub fn nat_tables(&self) -> &NatTables {
        &self.nat_tables
    }

    /// Forgets every flow, every fragment, and what was counted.
    pub fn forget_flows(&mut self) -> Result<(), DatapathError> {
        self.sweep = Sweep::default();
        let (flows, nat) = (self.flows.forget(), self.nat_tables.forget());
        Ok(flows.and(nat)?)
    }

    /// The tables that the programs write.
    #[must_use]
    pub fn flows(&self) -> &FlowTables {
        &self.flows
    }

    /// Runs the egress program on a frame as if it had come from a device of this namespace, flow table
    /// and counters included. Returns the verdict of the hook; the frame is as the program left it.
    pub fn inject(&self, ifindex: u32, frame: &mut Vec<u8>) -> Result<u32, DatapathError> {
        maps::test_run(self.programs.egress(), ifindex, frame).map_err(DatapathError::TestRun)
    }

    /// The same with the program for what comes from the outside.
    pub fn inject_outside(&self, ifindex: u32, frame: &mut Vec<u8>) -> Result<u32, DatapathError> {
        maps::test_run(self.programs.outside(), ifindex, frame).map_err(DatapathError::TestRun)
    }
}

/// The frame that an order is in.
fn frame_of(order: &ReleaseOrder) -> Vec<u8> {
    let mut frame = vec![0; ReleaseOrder::OFFSET as usize];
    frame.extend(order.to_bytes());
    frame
}
