//! The datapath of one host: its tables, and the programs on its devices.
//!
//! Changes are applied in an order that no packet sees a mix of: what is new is put first and nothing
//! refers to it yet, then what refers to it is switched over, then the generation is raised so that
//! every flow is judged again by the new tables, then what is no longer wanted is deleted.
//!
//! [`Datapath::apply`] returns when the kernel obeys. Entries of gates that no policy names any more
//! stay until the next sweep: a program run that began before the switch may still read them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_model::id::EniId;
use enid_pipeline::table::{
    Config, Endpoint, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey,
    GateServiceKey, PolicyRecord, Route, RouteKey, RuleBits, SubnetRecord,
};
use enid_plan::tables::{Change, TableDiff, Tables};

use crate::flows::{FlowError, FlowTables, Sweep};
use crate::loader::{self, LINK_EGRESS, LINK_GUARD, LoadError, Pins, Programs};
use crate::maps::{self, Hook, Map, Plain};
use crate::{Installation, netlink};

/// How a datapath is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Flows that the table holds at most, two entries each. A table that is there keeps its size until
    /// everything is taken down.
    pub flow_entries_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { flow_entries_max: 524_288 }
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
    /// The flow table cannot be read.
    #[error(transparent)]
    Flows(#[from] FlowError),
    /// Programs and maps cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A link has another program than it should.
    #[error("the device of {0} has not the datapath's programs")]
    NotAttached(EniId),
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
    /// A program run of [`Datapath::inject`] failed.
    #[error("run the egress program")]
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
        let map = map.map_err(|source| DatapathError::Table { action: "open", table: name, source })?;
        Ok(Self { name, map })
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> DatapathError {
        let table = self.name;
        move |source| DatapathError::Table { action, table, source }
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

/// The loaded datapath.
#[derive(Debug)]
pub struct Datapath {
    installation: Installation,
    pins: Pins,
    programs: Programs,
    devices: Table<u32, u64>,
    enis: Table<u64, EniRecord>,
    endpoints: Table<EndpointKey, Endpoint>,
    subnets: Table<u64, SubnetRecord>,
    routes: Table<RouteKey, Route>,
    policies: Table<u64, PolicyRecord>,
    gate_remotes: Table<GateRemoteKey, RuleBits>,
    gate_groups: Table<GateGroupKey, RuleBits>,
    gate_services: Table<GateServiceKey, RuleBits>,
    gate_rules: Table<GateRuleKey, GateRule>,
    config: Table<u32, Config>,
    flows: FlowTables,
    sweep: Sweep,
    swept_ns: u64,
    /// Gate entries that nothing names any more; only gate tables are used.
    retired: TableDiff,
}

impl Datapath {
    /// Adopts what an earlier agent of this installation pinned, or loads it. All flows that are there
    /// are judged again by their next packet: an agent may have ended half way through a change.
    pub fn open(installation: Installation, options: Options) -> Result<Self, DatapathError> {
        let pins = Pins::of(installation);
        let programs = loader::load(&pins, options.flow_entries_max)?;
        let datapath = Self {
            installation,
            devices: Table::open(&pins, "devices")?,
            enis: Table::open(&pins, "enis")?,
            endpoints: Table::open(&pins, "endpoints")?,
            subnets: Table::open(&pins, "subnets")?,
            routes: Table::open(&pins, "routes")?,
            policies: Table::open(&pins, "policies")?,
            gate_remotes: Table::open(&pins, "gate_remotes")?,
            gate_groups: Table::open(&pins, "gate_groups")?,
            gate_services: Table::open(&pins, "gate_services")?,
            gate_rules: Table::open(&pins, "gate_rules")?,
            config: Table::open(&pins, "config")?,
            flows: FlowTables::open(installation)?,
            sweep: Sweep::default(),
            swept_ns: 0,
            retired: TableDiff::default(),
            programs,
            pins,
        };
        datapath.raise_generation()?;
        Ok(datapath)
    }

    /// The tables as the kernel has them, without what only waits to be deleted.
    pub fn read(&self) -> Result<Tables, DatapathError> {
        let mut tables = Tables {
            devices: self.devices.read()?,
            enis: self.enis.read()?,
            endpoints: self.endpoints.read()?,
            subnets: self.subnets.read()?,
            routes: self.routes.read()?,
            policies: self.policies.read()?,
            gate_remotes: self.gate_remotes.read()?,
            gate_groups: self.gate_groups.read()?,
            gate_services: self.gate_services.read()?,
            gate_rules: self.gate_rules.read()?,
        };
        tables.apply(&self.retired);
        Ok(tables)
    }

    /// Changes the tables. When this returns every packet obeys; see the module for the order.
    ///
    /// After an error the kernel may hold a part of the change: read and repair.
    pub fn apply(&mut self, diff: &TableDiff) -> Result<(), DatapathError> {
        if diff.is_empty() {
            return Ok(());
        }
        self.gate_rules.put(&diff.gate_rules)?;
        self.gate_groups.put(&diff.gate_groups)?;
        self.gate_remotes.put(&diff.gate_remotes)?;
        self.gate_services.put(&diff.gate_services)?;
        self.subnets.put(&diff.subnets)?;
        self.routes.put(&diff.routes)?;
        self.policies.put(&diff.policies)?;
        self.enis.put(&diff.enis)?;
        self.endpoints.put(&diff.endpoints)?;
        self.devices.put(&diff.devices)?;

        self.devices.delete(&diff.devices.delete)?;
        self.endpoints.delete(&diff.endpoints.delete)?;
        self.enis.delete(&diff.enis.delete)?;
        self.policies.delete(&diff.policies.delete)?;
        self.routes.delete(&diff.routes.delete)?;
        self.subnets.delete(&diff.subnets.delete)?;
        // Raised when everything that a flow is judged by has changed: a flow that was stamped in between
        // has the old generation and is judged again.
        self.raise_generation()?;
        self.retire(diff);
        Ok(())
    }

    /// Changes whatever the kernel holds to what the plan says: at the start, and after an error.
    /// Returns how many entries differed.
    pub fn repair(&mut self, plan: &Tables) -> Result<usize, DatapathError> {
        let diff = self.read()?.diff(plan);
        self.apply(&diff)?;
        // A change that failed may have come as far as this and no further.
        self.raise_generation()?;
        Ok(diff.len())
    }

    /// Remembers gate entries to delete, except those that were put again.
    fn retire(&mut self, diff: &TableDiff) {
        fn retire<K: Copy + PartialEq, V>(retired: &mut Change<K, V>, change: &Change<K, V>) {
            if !retired.delete.is_empty() {
                retired.delete.retain(|key| !change.put.iter().any(|(put, _)| put == key));
            }
            retired.delete.extend(&change.delete);
        }
        retire(&mut self.retired.gate_remotes, &diff.gate_remotes);
        retire(&mut self.retired.gate_groups, &diff.gate_groups);
        retire(&mut self.retired.gate_services, &diff.gate_services);
        retire(&mut self.retired.gate_rules, &diff.gate_rules);
    }

    fn delete_retired(&mut self) -> Result<(), DatapathError> {
        self.gate_services.delete(&self.retired.gate_services.delete)?;
        self.gate_remotes.delete(&self.retired.gate_remotes.delete)?;
        self.gate_groups.delete(&self.retired.gate_groups.delete)?;
        self.gate_rules.delete(&self.retired.gate_rules.delete)?;
        self.retired = TableDiff::default();
        Ok(())
    }

    fn raise_generation(&self) -> Result<(), DatapathError> {
        let config = self.config.map.lookup(&0).map_err(self.config.failed("read"))?;
        let generation = config.unwrap_or_default().generation.wrapping_add(1).max(1);
        let config = Config { generation };
        self.config.map.put(&0, &config).map_err(self.config.failed("write"))
    }

    /// Puts the programs on the host-side device of an ENI, or adopts them there. Links of an earlier
    /// layout go after that: the device is never without.
    pub fn attach(&mut self, eni: EniId, device: &str) -> Result<(), DatapathError> {
        let failed = |source| DatapathError::Device { name: device.to_owned(), source };
        let mut netlink = netlink::Netlink::open().map_err(failed)?;
        let ifindex = netlink.link_index(device).map_err(failed)?;
        let ifindex = ifindex.ok_or_else(|| DatapathError::NoDevice(device.to_owned()))?;
        self.attach_index(eni, ifindex)
    }

    /// The same, by the device's index in the present network namespace.
    pub fn attach_index(&mut self, eni: EniId, ifindex: u32) -> Result<(), DatapathError> {
        for (kind, hook) in KINDS {
            self.attach_link(eni, ifindex, kind, hook)?;
        }
        for layout in loader::other_layouts(self.installation)? {
            for (kind, _) in KINDS {
                unpin(&link_path(&layout, eni, kind))?;
            }
            if loader::entries(&layout.links())?.is_empty() {
                layout.remove()?;
            }
        }
        Ok(())
    }

    fn attach_link(
        &self,
        eni: EniId,
        ifindex: u32,
        kind: &str,
        hook: Hook,
    ) -> Result<(), DatapathError> {
        let path = link_path(&self.pins, eni, kind);
        let failed = |action| link_error(action, &path);
        if let Some(link) = open_link(&path)? {
            let info = maps::link_info(link.as_fd()).map_err(failed("read"))?;
            if info.ifindex == ifindex {
                // The loader has put the present program behind it.
                return Ok(());
            }
            unpin(&path)?;
        }
        let program = match hook {
            Hook::Egress => self.programs.guard(),
            Hook::Ingress => self.programs.egress(),
        };
        let link = maps::attach(program, ifindex, hook).map_err(failed("attach the program of"))?;
        maps::pin(link.as_fd(), &path).map_err(failed("pin"))
    }

    /// Forgets the links of an ENI. A device that is still there loses its programs by this, and its
    /// packets would reach the host's own stack: delete the device, or take it down, before.
    pub fn detach(&mut self, eni: EniId) -> Result<(), DatapathError> {
        for (kind, _) in KINDS {
            unpin(&link_path(&self.pins, eni, kind))?;
        }
        Ok(())
    }

    /// Whether both programs are on the device of an ENI.
    pub fn verify_attached(&self, eni: EniId) -> Result<(), DatapathError> {
        for (kind, hook) in KINDS {
            let path = link_path(&self.pins, eni, kind);
            let failed = link_error("read", &path);
            let program = match hook {
                Hook::Egress => self.programs.guard(),
                Hook::Ingress => self.programs.egress(),
            };
            let Some(link) = open_link(&path)? else {
                return Err(DatapathError::NotAttached(eni));
            };
            let info = maps::link_info(link.as_fd()).map_err(&failed)?;
            let wanted = maps::program_id(program).map_err(&failed)?;
            if info.ifindex == 0 || info.program_id != wanted {
                return Err(DatapathError::NotAttached(eni));
            }
        }
        Ok(())
    }

    /// Deletes what waits to be deleted and sweeps a part of the flow table, if the last time was long
    /// enough ago.
    pub fn sweep_if_due(&mut self, every: Duration) -> Result<(), DatapathError> {
        let now_ns = crate::flows::monotonic_ns();
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        if now_ns.saturating_sub(self.swept_ns) < every_ns {
            return Ok(());
        }
        self.swept_ns = now_ns;
        self.delete_retired()?;
        self.flows.sweep(&mut self.sweep, now_ns)?;
        Ok(())
    }

    /// The tables that the programs write.
    #[must_use]
    pub fn flows(&self) -> &FlowTables {
        &self.flows
    }

    /// Runs the egress program on a frame as if it had come from a device of this namespace, flow table
    /// and counters included. Returns the verdict of the hook; the frame is as the program left it.
    pub fn inject(&self, ifindex: u32, frame: &mut [u8]) -> Result<u32, DatapathError> {
        maps::test_run(self.programs.egress(), ifindex, frame).map_err(DatapathError::TestRun)
    }
}

/// The two links of an ENI.
const KINDS: [(&str, Hook); 2] = [(LINK_EGRESS, Hook::Ingress), (LINK_GUARD, Hook::Egress)];

fn link_path(pins: &Pins, eni: EniId, kind: &str) -> PathBuf {
    pins.links().join(format!("{eni}-{kind}"))
}

fn link_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DatapathError {
    let path = path.to_owned();
    move |source| DatapathError::Link { action, path: path.clone(), source }
}

fn open_link(path: &Path) -> Result<Option<OwnedFd>, DatapathError> {
    match maps::open_pin(path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(link_error("open", path)(error)),
    }
}

fn unpin(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(link_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}
