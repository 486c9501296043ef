//! The store and this host's agent: states go down, what the host obeys and sees comes up.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use enid_control::{Caller, Control};
use enid_host::Installation;
use enid_host::agent::{self, Agent, Checked, ForeignError, Input, Output, Verification, Work};
use enid_host::capture::{Capture, CaptureError};
use enid_host::datapath::{Attach, Datapath, Options};
use enid_host::flow_observer::FlowObserver;
use enid_host::health::Seen;
use enid_host::outside::Gateway;
use enid_host::proxy::ProxyReports;
use enid_host::sandbox::InitProgram;
use enid_model::id::{EniId, InstanceId};
use enid_model::key::Scope;
use enid_model::region::Region;
use enid_model::state::State;
use enid_plan::allowance::Allowances;
use enid_store::{HostHandle, Observation, Observed, Store};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::Config;
use crate::paths::DataDir;

/// How long an instance's processes have to end when it is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// A boot that does not run any more, or could not be made to.
struct Ended {
    instance: InstanceId,
    boot: u32,
    /// Why it could not be made to run; `None` if it ended by itself.
    why: Option<Arc<str>>,
}

/// This host's agent, at work.
pub(crate) struct Host {
    inbox: Sender<Input>,
    agent: JoinHandle<()>,
    work: Arc<Work>,
    proxy_reports: ProxyReports,
    exits: Mutex<Option<UnboundedReceiver<Ended>>>,
    seen: Mutex<Option<UnboundedReceiver<Seen>>>,
}

impl Host {
    /// Takes over what is on the host, brings it to the store's state, and follows the store.
    pub(crate) fn start(
        own: &DataDir,
        config: &Config,
        attach: Option<Attach>,
        store: &Store,
        gateway: Gateway,
        allowances: Option<Allowances>,
        observer: Option<Box<dyn FlowObserver>>,
    ) -> anyhow::Result<Self> {
        let mut options = Options {
            attach,
            ..Options::default()
        };
        if let Some(entries) = config.datapath.flow_entries {
            options.flow_entries_max = entries;
        }
        let installation = Installation::of(own.path());
        let datapath = Datapath::open(installation, options)
            .map_err(|error| anyhow::anyhow!("load the datapath: {}", enid_host::chain(&error)))?;
        let (inbox, inputs) = channel();
        let (exited, exits) = unbounded_channel();
        let (saw, seen) = unbounded_channel();
        let mut changes = store.watch();
        let state = Arc::clone(&changes.borrow_and_update());
        let handle = store.hosts().join("local".into());
        let proxy_reports = ProxyReports::default();
        let agent_config = agent::Config {
            data_dir: own.path().to_owned(),
            init: InitProgram::Own,
            grace: GRACE,
            outside: Some(gateway),
            allowances,
            proxy_reports: proxy_reports.clone(),
        };
        let work = Arc::default();
        let say = move |output| match output {
            Output::Saw(it) => {
                // At the daemon's end nobody listens; the next daemon sees it again.
                let _ = saw.send(it);
            }
            output => on_output(&handle, &exited, output),
        };
        let agent = Agent::start(agent_config, datapath, state, inbox.clone(), say)
            .map_err(|error| anyhow::anyhow!("take over the host: {}", enid_host::chain(&error)))?
            .with_observer(observer)
            .with_work(Arc::clone(&work));
        let agent = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || {
                let _end = EndWithAgent;
                agent.run(&inputs);
            })
            .context("start the agent's thread")?;
        let states = inbox.clone();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let state = Arc::clone(&changes.borrow_and_update());
                if states.send(Input::State(state)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            inbox,
            agent,
            work,
            proxy_reports,
            exits: Mutex::new(Some(exits)),
            seen: Mutex::new(Some(seen)),
        })
    }

    /// What the proxies of load balancers' nodes tell of themselves since the daemon began.
    pub(crate) fn proxy_reports(&self) -> ProxyReports {
        self.proxy_reports.clone()
    }

    /// Tells the control plane of instances that end by themselves, from now on.
    pub(crate) fn report_exits(&self, control: &Arc<Control>) {
        let taken = self
            .exits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut exits) = taken else { return };
        let control = Arc::clone(control);
        tokio::spawn(async move {
            while let Some(Ended {
                instance,
                boot,
                why,
            }) = exits.recv().await
            {
                // An instance that is in no region any more needs no record of its end.
                let Some(caller) = owner(&control.store().state(), instance) else {
                    continue;
                };
                let recorded = match why {
                    None => control.instance_exited(&caller, instance, boot).await,
                    Some(why) => control.instance_failed(&caller, instance, boot, &why).await,
                };
                if let Err(error) = recorded {
                    tracing::error!(%instance, %error, "an instance's end was not recorded");
                }
            }
        });
    }

    /// Tells the control plane of the health of load balancers' targets, from now on.
    pub(crate) fn report_health(&self, control: &Arc<Control>) {
        let taken = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut seen) = taken else { return };
        let control = Arc::clone(control);
        tokio::spawn(async move {
            let mut all = Vec::new();
            while seen.recv_many(&mut all, SEEN_MAX).await > 0 {
                let mut by_scope: BTreeMap<Scope, Vec<_>> = BTreeMap::new();
                for Seen {
                    scope,
                    key,
                    uid,
                    state,
                } in all.drain(..)
                {
                    by_scope.entry(scope).or_default().push((key, uid, state));
                }
                for (scope, seen) in by_scope {
                    let Some(caller) = caller_in(&scope) else {
                        continue;
                    };
                    if let Err(error) = control.observe_target_health(&caller, &seen).await {
                        // It is told again after the next check.
                        tracing::warn!(%error, "the health of targets was not recorded");
                    }
                }
            }
        });
    }

    /// What the agent has done since it started.
    pub(crate) fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }

    /// A way to ask the agent that outlives borrowing.
    pub(crate) fn inquiry(&self) -> Inquiry {
        Inquiry(self.inbox.clone())
    }

    /// Ends the agent. Instances and packets go on.
    pub(crate) fn stop(self) {
        // An agent that is gone has nothing to end.
        let _ = self.inbox.send(Input::Stop);
        if self.agent.join().is_err() {
            tracing::error!("the agent panicked");
        }
    }
}

/// The way to the outside, which says from where public addresses can be given out.
pub(crate) fn gateway(own: &DataDir, config: &Config) -> anyhow::Result<Gateway> {
    let installation = Installation::of(own.path());
    Gateway::establish(installation, own.path(), &config.outside.wanted())
        .map_err(|error| anyhow::anyhow!("open the outside: {}", enid_host::chain(&error)))
}

/// An agent that panicked enforces nothing any more, and every answer would say otherwise: the
/// daemon ends with it. What is in the kernel stays in force.
struct EndWithAgent;

impl Drop for EndWithAgent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Asks the agent.
#[derive(Clone)]
pub(crate) struct Inquiry(Sender<Input>);

impl Inquiry {
    /// Tells the agent something. False if it is gone.
    pub(super) fn send(&self, input: Input) -> bool {
        self.0.send(input).is_ok()
    }

    /// Compares kernel and plan. `None` if the agent is gone. Blocks.
    pub(crate) fn verify(&self) -> Option<Verification> {
        let (answer, answered): (_, Receiver<Verification>) = channel();
        self.0.send(Input::Verify(answer)).ok()?;
        answered.recv().ok()
    }

    /// Checks the instances that run. `None` if the agent is gone, or does not come to it. Blocks.
    pub(crate) fn check(&self) -> Option<BTreeMap<InstanceId, Checked>> {
        let (answer, answered) = channel();
        self.0.send(Input::Check(answer)).ok()?;
        answered.recv_timeout(CHECK_PATIENCE).ok()
    }

    /// Begins a capture. `None` if the agent is gone. Blocks.
    pub(crate) fn capture(
        &self,
        eni: EniId,
        snaplen: u32,
    ) -> Option<Result<Capture, CaptureError>> {
        let (answer, answered) = channel();
        let input = Input::Capture {
            eni,
            snaplen,
            answer,
        };
        self.0.send(input).ok()?;
        answered.recv().ok()
    }

    /// Has the agent do something with a guest that somebody else runs, and waits until an instance that
    /// starts just now is ready for it. `None` if the agent is gone. Blocks.
    pub(crate) fn foreign<T>(
        &self,
        input: impl Fn(Sender<Result<T, ForeignError>>) -> Input,
    ) -> Option<Result<T, ForeignError>> {
        for _ in 0..READY_TRIES {
            let (answer, answered) = channel();
            self.0.send(input(answer)).ok()?;
            match answered.recv().ok()? {
                Err(ForeignError::Busy(_)) => std::thread::sleep(READY_EVERY),
                done => return Some(done),
            }
        }
        let (answer, answered) = channel();
        self.0.send(input(answer)).ok()?;
        answered.recv().ok()
    }
}

/// How often an instance that starts or ends is asked again: for ten seconds.
const READY_TRIES: u32 = 200;
const READY_EVERY: Duration = Duration::from_millis(50);

/// How long a check may wait for an agent that is busy.
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// Observations of health that are recorded at once.
const SEEN_MAX: usize = 1_000;

/// In whose name what happens in a region is recorded.
fn caller_in(scope: &Scope) -> Option<Caller> {
    Some(Caller {
        account: scope.account,
        region: Region::named(scope.region.as_str())?,
        dry_run: false,
        asked: None,
    })
}

/// Every account's every region that has come to life.
pub(crate) fn owners(state: &State) -> Vec<Caller> {
    let scopes = state.regions().keys();
    scopes.filter_map(caller_in).collect()
}

/// In whose name, and where, what happens to an instance is recorded.
fn owner(state: &State, instance: InstanceId) -> Option<Caller> {
    let mut regions = state.regions().iter();
    let (scope, _) = regions.find(|(_, region)| region.instances.contains_key(&instance))?;
    caller_in(scope)
}

fn on_output(handle: &HostHandle, exited: &UnboundedSender<Ended>, output: Output) {
    let observe = |id, boot, state| handle.observe(id, Observed { boot, state });
    let report = |instance, boot, why| {
        // At the daemon's end nobody listens; the next daemon sees that it does not run.
        let _ = exited.send(Ended {
            instance,
            boot,
            why,
        });
    };
    match output {
        Output::Obeys(revision) => handle.acknowledge(revision),
        Output::Runs(id, boot) => observe(id, boot, Observation::Running),
        Output::Stopped(id, boot) => observe(id, boot, Observation::Stopped),
        Output::Failed(id, boot, why) => {
            observe(id, boot, Observation::Failed(Arc::clone(&why)));
            report(id, boot, Some(why));
        }
        Output::Gone(id) => handle.forget(id),
        // Of targets, and told elsewhere.
        Output::Saw(_) => {}
        Output::Exited(id, boot) => {
            // Its devices are there until the agent says that it has stopped.
            observe(id, boot, Observation::Ending);
            report(id, boot, None);
        }
    }
}
