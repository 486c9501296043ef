//! The agent: makes its host be what the plan says.
//!
//! One thread owns the plan, the datapath and the devices, and takes one input at a time
//! ([`Agent::run`]). What takes long, starting and ending the processes of instances, is done by a
//! worker thread per instance, whose end is an input as well. Nothing is remembered that the
//! kernel or the data directory does not hold, so that a new agent finds everything again.
//!
//! Order, so that no packet passes without policy: tables first, then the programs on a device,
//! then the device goes up. On the way back: the tables forget the interface, then its device goes
//! or is switched off, and the programs only after that: a device without them is the host's.
//!
//! What fails is tried again until it succeeds ([`Agent::retry_if_due`]). A revision is
//! acknowledged only when the kernel's tables hold all of it, or all but what an earlier one, whose
//! caller got an error, brought beyond the room that there is ([`Standing::Short`]).

mod checks;
mod copies;
mod devices;
mod faults;
mod foreign;
mod guests;
mod nodes;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use enid_model::id::{EniId, InstanceId, VpcId};
use enid_model::state::{Revision, State};
use enid_pipeline::table::{Direction, Outside};
use enid_plan::allowance::Allowances;
use enid_plan::fault::Fault;
use enid_plan::tables::TableDiff;
use enid_plan::{DeviceSpec, NodeSpec, Planner};

pub use self::checks::Checked;
pub use self::faults::{FaultError, Standing as StandingFault};
pub use self::foreign::{ForeignError, ForeignGuest, ForeignInterface};

use self::faults::Faults;
use self::guests::{Event, Guest};
use self::services::Service;
use crate::Installation;
use crate::adoption::Adoption;
use crate::capture::{Capture, CaptureError, Captures};
use crate::copies::CopyPair;
use crate::datapath::{Datapath, DatapathError};
use crate::device::{DeviceError, EniDevice};
use crate::flow_observer::FlowObserver;
use crate::health::{Health, Seen};
use crate::outside::{Gateway, OutsideError};
use crate::proxy::{Proxies, ProxyReports};
use crate::sandbox::{self, InitProgram};
use crate::services::Services;
use crate::services::imds::{Imds, KeyError};
use crate::services::site::SiteError;
use crate::tap::TapOwner;

/// How an agent works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The daemon's data directory.
    pub data_dir: PathBuf,
    /// The program that becomes an instance's first process.
    pub init: InitProgram,
    /// How long an instance's processes have to end when it is stopped.
    pub grace: Duration,
    /// The way to the outside; without one, nothing goes there.
    pub outside: Option<Gateway>,
    /// What instances may use of the network, if that is enforced.
    pub allowances: Option<Allowances>,
    /// Where the proxies of load balancers' nodes report.
    pub proxy_reports: ProxyReports,
}

/// What an agent is told.
#[derive(Debug)]
pub enum Input {
    /// The state is now this.
    State(Arc<State>),
    /// A worker has something to say; only agents send these.
    #[doc(hidden)]
    Worker(WorkerEvent),
    /// Put the interfaces of an instance into a namespace; the answer goes to the sender.
    Adopt {
        /// The instance.
        instance: InstanceId,
        /// The file that stands for the namespace, or its name.
        namespace: PathBuf,
        /// The name of the first interface there.
        ifname: String,
        /// Whom to answer.
        answer: Sender<Result<ForeignGuest, ForeignError>>,
    },
    /// Look whether they are there.
    Inspect {
        /// The instance.
        instance: InstanceId,
        /// Whom to answer.
        answer: Sender<Result<ForeignGuest, ForeignError>>,
    },
    /// Take them out again, and say whether they were anywhere.
    Release {
        /// The instance.
        instance: InstanceId,
        /// Whom to answer.
        answer: Sender<Result<bool, ForeignError>>,
    },
    /// Give the taps of an instance to somebody, and tell what they are.
    Taps {
        /// The instance.
        instance: InstanceId,
        /// To whom; to nobody else if nothing is said.
        owner: Option<TapOwner>,
        /// Whom to answer.
        answer: Sender<Result<ForeignGuest, ForeignError>>,
    },
    /// Capture packets of an interface.
    Capture {
        /// The interface.
        eni: EniId,
        /// How many bytes of each at most.
        snaplen: u32,
        /// Whom to answer.
        answer: Sender<Result<Capture, CaptureError>>,
    },
    /// A capture is over; only captures send this.
    #[doc(hidden)]
    EndCapture(u64),
    /// Inject a fault; it is in force when the answer comes, which is what fails then.
    Inject {
        /// What is to fail.
        fault: Fault,
        /// For how long; `None` is until it is lifted.
        span: Option<Duration>,
        /// Whether it goes on after a restart.
        is_kept: bool,
        /// Whom to answer.
        answer: Sender<Result<Vec<StandingFault>, FaultError>>,
    },
    /// Tell the faults that go on.
    Faults(Sender<Vec<StandingFault>>),
    /// Lift a fault, or all.
    Lift {
        /// Which; `None` is all.
        fault: Option<Fault>,
        /// Whom to answer.
        answer: Sender<Result<Vec<StandingFault>, FaultError>>,
    },
    /// Check the instances that run; those whose links cannot be seen are not answered.
    Check(Sender<BTreeMap<InstanceId, Checked>>),
    /// Compare tables and kernel; the answer goes to the sender.
    Verify(Sender<Verification>),
    /// End. Instances and packets go on.
    Stop,
}

/// What a worker thread says.
#[derive(Debug)]
pub struct WorkerEvent(Event);

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The maps hold this revision.
    Obeys(Revision),
    /// This boot of the instance runs, and its interfaces are up.
    Runs(InstanceId, u32),
    /// The instance does not run, as its spec with this boot says.
    Stopped(InstanceId, u32),
    /// Nothing is left of the instance.
    Gone(InstanceId),
    /// This boot of the instance could not be made to run.
    Failed(InstanceId, u32, Arc<str>),
    /// The instance ended by itself.
    Exited(InstanceId, u32),
    /// A target of a load balancer was seen to be in another state than before.
    Saw(Seen),
}

/// How the kernel differs from the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Each difference, in words.
    pub differences: Vec<String>,
    /// How many table entries agree.
    pub entries: usize,
    /// How many devices were looked at.
    pub devices: usize,
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The datapath cannot be loaded, read or changed.
    #[error("datapath")]
    Datapath(#[from] DatapathError),
    /// A device cannot be made, found or removed.
    #[error("device")]
    Device(#[from] DeviceError),
    /// An instance's namespace cannot be opened.
    #[error("open the namespace")]
    NetNs(#[from] crate::netns::NetNsError),
    /// The host's links cannot be listed.
    #[error("list links")]
    Links(#[from] crate::netlink::NetlinkError),
    /// The way to the outside cannot be opened.
    #[error("the way to the outside")]
    Outside(#[from] OutsideError),
    /// The services of a VPC have no place.
    #[error("link-local services")]
    Site(#[from] SiteError),
    /// The metadata service has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The thread of health checks cannot be started.
    #[error("start the thread of health checks")]
    Health(#[source] std::io::Error),
    /// The thread of proxies cannot be started.
    #[error("start the thread of load balancers' proxies")]
    Proxies(#[source] std::io::Error),
    /// The ports that a load balancer's node begins connections from cannot be set.
    #[error("set the ports of a load balancer's node")]
    NodePorts(#[source] std::io::Error),
    /// The services' thread cannot be started.
    #[error("start the thread of link-local services")]
    Services(#[source] std::io::Error),
    /// The data directory cannot be read.
    #[error("read the data directory")]
    DataDir(#[source] std::io::Error),
}

/// How often expired flows are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often counters are removed of what does not exist any more.
const FORGET_EVERY: Duration = Duration::from_secs(90);

/// How often what has failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// How often rules that did not fit are tried again: each try compares all tables.
const RETRY_SHORT_EVERY: Duration = Duration::from_secs(20);

/// How long nothing is acknowledged after new rules did not fit. The control plane waits for ten
/// seconds: whoever asked for them has had an error by then, and no later acknowledgement tells them
/// otherwise.
const WITHHELD: Duration = Duration::from_secs(15);

/// How far the kernel's tables hold what the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// They hold all of it.
    Agreed,
    /// They hold all but the rules of some interfaces, which are closed instead. What wanted these
    /// rules was not acknowledged; what comes after it is, from the given moment on.
    Short(Instant),
    /// A change failed, and they may hold a part of it.
    Unsure,
}

/// A direction of an interface that is closed because its rules, the gate, did not fit.
type Closed = (EniId, Direction, u64);

/// One host's agent.
pub struct Agent {
    config: Config,
    installation: Installation,
    datapath: Datapath,
    planner: Planner,
    /// Devices as they are on this host.
    devices: BTreeMap<EniId, DeviceSpec>,
    guests: BTreeMap<InstanceId, Guest>,
    faults: Faults,
    health: Health,
    proxies: Proxies,
    /// The nodes of load balancers that have a device.
    nodes: BTreeMap<EniId, NodeSpec>,
    /// Nodes to look at again: what was done about them failed.
    nodes_owed: BTreeSet<EniId>,
    services: Services,
    /// The VPCs that have link-local services.
    serving: BTreeMap<VpcId, Service>,
    /// VPCs whose services have to begin or end still.
    unserved: BTreeSet<VpcId>,
    /// Where the interfaces of instances are whose namespace is somebody else's.
    adoptions: BTreeMap<InstanceId, Adoption>,
    /// The links that copies of packets go through, since the first one was wanted.
    copies: Option<CopyPair>,
    captures: Captures,
    looked: Instant,
    standing: Standing,
    /// What was closed when the tables were last changed.
    closed: BTreeSet<Closed>,
    /// Instances to look at again: a change concerns them, or something about them failed.
    owed: BTreeSet<InstanceId>,
    tried: Instant,
    forgotten: Instant,
    /// Interfaces that were gone when counters were forgotten last.
    departed: BTreeSet<u64>,
    inbox: Sender<Input>,
    say: Box<dyn Fn(Output) + Send>,
    /// Who accounts for what flows carry.
    observer: Option<Box<dyn FlowObserver>>,
    work: Arc<Work>,
}

/// How much work an agent has done.
#[derive(Debug, Default)]
pub struct Work {
    /// Sweeps of the flow table.
    pub sweeps: AtomicU64,
    /// The time that they took.
    pub sweep_ns: AtomicU64,
}

impl Agent {
    /// Takes over what an earlier agent of the same data directory left, and brings it to a state.
    ///
    /// `inbox` is the sender of the channel that [`Agent::run`] will read.
    pub fn start(
        config: Config,
        datapath: Datapath,
        state: Arc<State>,
        inbox: Sender<Input>,
        say: impl Fn(Output) + Send + 'static,
    ) -> Result<Self, AgentError> {
        let installation = Installation::of(&config.data_dir);
        let bound: BTreeMap<EniId, u32> = EniDevice::list(installation)?.into_iter().collect();
        let mut planner = Planner::new(bound).with_allowances(config.allowances.clone());
        if let Some(gateway) = &config.outside {
            planner = planner.with_outside(&gateway.pools);
        }
        let imds = Imds::open(&config.data_dir)?;
        let services = Services::start(Arc::clone(&state), imds).map_err(AgentError::Services)?;
        let seen = inbox.clone();
        let saw = move |it| {
            // The agent may have stopped; the next one sees it again.
            let _ = seen.send(Input::Worker(WorkerEvent(Event::Saw(it))));
        };
        let health = Health::start(Arc::clone(&state), saw).map_err(AgentError::Health)?;
        let reports = config.proxy_reports.clone();
        let proxies = Proxies::start(Arc::clone(&state), reports).map_err(AgentError::Proxies)?;
        let mut agent = Self {
            planner,
            services,
            serving: BTreeMap::new(),
            unserved: BTreeSet::new(),
            devices: BTreeMap::new(),
            guests: BTreeMap::new(),
            faults: Faults::default(),
            health,
            proxies,
            nodes: BTreeMap::new(),
            nodes_owed: BTreeSet::new(),
            adoptions: BTreeMap::new(),
            copies: None,
            captures: Captures::default(),
            looked: Instant::now(),
            standing: Standing::Unsure,
            closed: BTreeSet::new(),
            owed: BTreeSet::new(),
            tried: Instant::now(),
            forgotten: Instant::now(),
            departed: BTreeSet::new(),
            config,
            installation,
            datapath,
            inbox,
            say: Box::new(say),
            observer: None,
            work: Arc::default(),
        };
        agent.adopt(state)?;
        Ok(agent)
    }

    /// The same with somebody who accounts for what flows carry.
    #[must_use]
    pub fn with_observer(self, observer: Option<Box<dyn FlowObserver>>) -> Self {
        Self { observer, ..self }
    }

    /// The same, telling how much it has done.
    #[must_use]
    pub fn with_work(self, work: Arc<Work>) -> Self {
        Self { work, ..self }
    }

    /// Works until told to stop, or until every sender is gone.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            match inputs.recv_timeout(SWEEP_EVERY) {
                Ok(Input::State(state)) => self.follow(state),
                Ok(Input::Worker(WorkerEvent(event))) => self.on_event(event),
                // Whoever asked may have gone, here and below.
                Ok(Input::Adopt {
                    instance,
                    namespace,
                    ifname,
                    answer,
                }) => {
                    let _ = answer.send(self.adopt_namespace(instance, &namespace, &ifname));
                }
                Ok(Input::Inspect { instance, answer }) => {
                    let _ = answer.send(self.inspect(instance));
                }
                Ok(Input::Release { instance, answer }) => {
                    let _ = answer.send(self.release_namespace(instance));
                }
                Ok(Input::Taps {
                    instance,
                    owner,
                    answer,
                }) => {
                    let _ = answer.send(self.taps(instance, owner));
                }
                Ok(Input::Capture {
                    eni,
                    snaplen,
                    answer,
                }) => {
                    let _ = answer.send(self.capture(eni, snaplen));
                }
                Ok(Input::EndCapture(id)) => self.end_capture(id),
                Ok(Input::Inject {
                    fault,
                    span,
                    is_kept,
                    answer,
                }) => {
                    let _ = answer.send(self.inject(fault, span, is_kept));
                }
                Ok(Input::Faults(answer)) => {
                    let _ = answer.send(self.standing_faults());
                }
                Ok(Input::Lift { fault, answer }) => {
                    let _ = answer.send(self.lift(fault.as_ref()));
                }
                Ok(Input::Check(answer)) => match self.check() {
                    Ok(found) => {
                        let _ = answer.send(found);
                    }
                    Err(error) => {
                        tracing::warn!(error = crate::chain(&error), "instances were not checked");
                    }
                },
                Ok(Input::Verify(answer)) => {
                    let _ = answer.send(self.verify());
                }
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.lift_if_due();
            self.sweep_if_due();
            self.notice_vanished_if_due();
            self.retry_if_due();
        }
    }

    /// Compares the kernel's tables and devices with the plan.
    #[must_use]
    pub fn verify(&mut self) -> Verification {
        let mut found = Verification::default();
        let plan = self.planner.tables();
        found.entries = plan.len();
        match self.datapath.read() {
            Ok(kernel) => {
                let mut diff = kernel.diff(&plan);
                self.datapath.without_shut(&mut diff);
                found.differences.extend(diff.describe());
            }
            Err(error) => found.differences.push(crate::chain(&error)),
        }
        let closed = self.closed.iter().map(|(eni, direction, _)| {
            let rules = match direction {
                Direction::Egress => "egress rules",
                Direction::Ingress => "ingress rules",
            };
            format!("{eni} is closed: its {rules} do not fit into the kernel's tables")
        });
        found.differences.extend(closed);
        self.verify_devices(&mut found);
        self.verify_outside(&mut found);
        self.verify_services(&mut found);
        self.verify_copies(&mut found);
        found
    }

    /// The kernel may hold tables, devices and instances from before. Nothing that the plan agrees
    /// with is touched.
    fn adopt(&mut self, state: Arc<State>) -> Result<(), AgentError> {
        let revision = state.revision;
        let delta = self.planner.advance(state);
        self.adopt_faults()?;
        let known = sandbox::instances(&self.config.data_dir).map_err(AgentError::DataDir)?;
        self.read_adoptions(&known);
        self.forget_strays()?;
        self.adopt_copies()?;
        self.settle(&delta.tables)?;
        self.open_outside()?;
        self.begin_services()?;
        self.settle_nodes(delta.nodes);
        for id in known.into_iter().chain(delta.instances) {
            self.adopt_guest(id);
        }
        // Whoever asked an earlier agent for what does not fit is not waiting any more.
        if self.standing != Standing::Unsure {
            (self.say)(Output::Obeys(revision));
        }
        if let Standing::Short(acknowledges_at) = &mut self.standing {
            *acknowledges_at = Instant::now();
        }
        Ok(())
    }

    /// Lets packets to and from the outside pass, now that the tables say which.
    fn open_outside(&mut self) -> Result<(), AgentError> {
        match &self.config.outside {
            Some(gateway) => {
                self.datapath.attach_outside(gateway.outside)?;
                gateway.connect()?;
            }
            None => self.datapath.set_outside(Outside::default())?,
        }
        Ok(())
    }

    fn verify_outside(&self, found: &mut Verification) {
        let Some(gateway) = &self.config.outside else {
            return;
        };
        match gateway.verify() {
            Ok(differences) => found.differences.extend(differences),
            Err(error) => found.differences.push(crate::chain(&error)),
        }
        if let Err(error) = self.datapath.verify_outside(gateway.outside) {
            found.differences.push(crate::chain(&error));
        }
    }

    fn follow(&mut self, state: Arc<State>) {
        self.services.follow(Arc::clone(&state));
        self.health.follow(Arc::clone(&state));
        self.proxies.follow(Arc::clone(&state));
        let delta = self.planner.advance(state);
        self.owed.extend(delta.instances);
        for eni in &delta.devices {
            let specs = [self.devices.get(eni), self.planner.device(*eni)];
            let instances = specs.into_iter().flatten().map(|spec| spec.instance);
            self.owed.extend(instances);
        }
        let settled = self.settle(&delta.tables);
        self.settle_services(delta.vpcs);
        let settled = settled.and_then(|()| self.part(&delta.devices));
        self.finish(settled);
        // Nobody's packets wait for a node's device.
        self.settle_nodes(delta.nodes);
    }

    /// Tries again what has failed, if the last time was long enough ago.
    fn retry_if_due(&mut self) {
        let every = match self.standing {
            Standing::Unsure => RETRY_EVERY,
            _ if !self.owed.is_empty() || !self.unserved.is_empty() => RETRY_EVERY,
            _ if !self.nodes_owed.is_empty() => RETRY_EVERY,
            Standing::Short(_) => RETRY_SHORT_EVERY,
            Standing::Agreed => return,
        };
        if self.tried.elapsed() < every {
            return;
        }
        let settled = self.settle(&TableDiff::default());
        self.settle_services(BTreeSet::new());
        self.finish(settled);
        self.settle_nodes(BTreeSet::new());
    }

    /// Goes on after a change of the tables: instances that it concerns are looked at, and the
    /// revision is acknowledged. If it failed nobody is told that the revision is in force.
    fn finish(&mut self, settled: Result<(), DatapathError>) {
        self.tried = Instant::now();
        let revision = self.planner.state().revision;
        if let Err(error) = settled {
            tracing::error!(
                error = crate::chain(&error),
                revision = revision.0,
                "the kernel's tables could not be changed"
            );
            return;
        }
        self.services.in_force();
        for id in std::mem::take(&mut self.owed) {
            self.reconcile(id);
        }
        self.forget_flows_if_reset();
        // A device that could not be bound leaves the tables behind the plan.
        let is_in_force = match self.standing {
            Standing::Agreed => true,
            Standing::Short(acknowledges_at) => acknowledges_at <= Instant::now(),
            Standing::Unsure => false,
        };
        if is_in_force {
            (self.say)(Output::Obeys(revision));
        }
    }

    /// Makes the kernel's tables be the plan's: by the difference that the planner gave, or, when
    /// an earlier one failed, by what the kernel says that it holds. Rules that do not fit are no
    /// error here: all else is in force, and work on devices and instances goes on.
    fn settle(&mut self, diff: &TableDiff) -> Result<(), DatapathError> {
        let before = std::mem::replace(&mut self.standing, Standing::Unsure);
        self.open_copies_if_wanted()?;
        let settled = if before == Standing::Agreed {
            self.datapath.apply(diff)
        } else {
            self.datapath
                .repair(&self.planner.tables())
                .map(|changes| match changes {
                    0 => {}
                    _ => tracing::info!(changes, "repaired the kernel's tables"),
                })
        };
        match settled {
            Ok(()) => {
                self.closed.clear();
                self.standing = Standing::Agreed;
                Ok(())
            }
            Err(error @ DatapathError::Shut(_)) => {
                let closed = self.closed_now();
                let acknowledges_at = match before {
                    // Nothing that somebody may be waiting for.
                    Standing::Short(earlier) if closed.is_subset(&self.closed) => earlier,
                    _ => Instant::now() + WITHHELD,
                };
                for (eni, direction, _) in closed.difference(&self.closed) {
                    tracing::error!(
                        %eni,
                        ?direction,
                        error = crate::chain(&error),
                        "an interface is closed, its rules do not fit"
                    );
                }
                self.closed = closed;
                self.standing = Standing::Short(acknowledges_at);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The interfaces that have a policy which is closed.
    fn closed_now(&self) -> BTreeSet<Closed> {
        let enis = self.planner.tables().enis;
        let mut closed = BTreeSet::new();
        for shut in self.datapath.shut() {
            let members = enis.iter().filter(|(_, eni)| eni.policy == shut.policy);
            closed.extend(members.map(|(id, _)| (EniId(*id), shut.direction, shut.gate)));
        }
        closed
    }

    /// Forgets what was seen of packets when everything else is forgotten and gone.
    fn forget_flows_if_reset(&mut self) {
        if !self.planner.state().regions().is_empty() || !self.guests.is_empty() {
            return;
        }
        if let Err(error) = self.datapath.forget_flows() {
            tracing::warn!(error = crate::chain(&error), "flows were not forgotten");
        }
    }

    fn notice_vanished_if_due(&mut self) {
        if self.looked.elapsed() >= SWEEP_EVERY {
            self.looked = Instant::now();
            self.notice_vanished();
        }
    }

    fn sweep_if_due(&mut self) {
        let observer = self.observer.as_deref_mut();
        match self.datapath.sweep_if_due(SWEEP_EVERY, observer) {
            Ok(None) => {}
            Ok(Some(took)) => {
                let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                self.work.sweeps.fetch_add(1, Ordering::Relaxed);
                self.work.sweep_ns.fetch_add(took_ns, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(error = crate::chain(&error), "flows could not be swept");
            }
        }
        if self.forgotten.elapsed() < FORGET_EVERY {
            return;
        }
        self.forgotten = Instant::now();
        let regions = || self.planner.state().regions().values();
        let is_eni = |id| regions().any(|it| it.network_interfaces.contains_key(&EniId(id)));
        let is_instance = |id| regions().any(|it| it.instances.contains_key(&InstanceId(id)));
        let flows = self.datapath.flows();
        if let Err(error) = flows.forget_others(&mut self.departed, is_eni, is_instance) {
            tracing::warn!(error = crate::chain(&error), "counters were not removed");
        }
    }
}
