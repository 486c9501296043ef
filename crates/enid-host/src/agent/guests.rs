//! Instances: what the plan wants, against what runs.
//!
//! ```text
//!            prepare            start
//!   Idle ──────────▶ Preparing ──────▶ Starting ──▶ Running ──▶ Ending ──▶ Idle
//!                        │  failed        │ failed                          │
//!                        └────────────────┴──▶ Idle            Removing ────┘ (forgotten)
//! ```
//!
//! Each step but `Idle` and `Running` is a worker's. When it ends, the instance is looked at
//! again, so that what the plan says meanwhile is never lost. An instance that could not be ended or
//! removed is `Stuck` until the next try.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use enid_model::id::{EniId, InstanceId, VpcId};
use enid_plan::InstanceSpec;
use rustix::event::{PollFd, PollFlags, poll};

use super::{Agent, Input, Output, WorkerEvent};
use crate::device::EniDevice;
use crate::health::Seen;
use crate::netns::NetNs;
use crate::sandbox::{Sandbox, Spec, Status};
use crate::services::Sockets;
use crate::services::site::Site;

/// An instance on this host.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) phase: Phase,
    /// The boot that could not be made to run, so that it is not tried again and again.
    pub(super) failed: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Ending,
    Idle,
    Preparing { boot: u32 },
    Removing,
    Running { boot: u32 },
    Starting { boot: u32 },
    Stuck,
}

/// What a worker says of an instance, or of the services of a VPC.
#[derive(Debug)]
pub(super) enum Event {
    /// The processes have ended, and with them the namespace.
    Ended(InstanceId),
    /// The first process of this boot ended by itself.
    Exited(InstanceId, u32),
    /// A step failed.
    Failed(InstanceId, Arc<str>),
    /// Namespace and devices are there, switched off.
    Prepared(InstanceId, Vec<(EniId, u32)>),
    /// Nothing is left.
    Removed(InstanceId),
    /// A target of a load balancer is in another state.
    Saw(Seen),
    /// The place of a VPC's link-local services is there, or could not be made.
    ServiceMade(VpcId, Result<Box<(Site, Sockets)>, Box<str>>),
    /// The processes run.
    Started(InstanceId),
}

/// The file in an instance's directory that says which boot runs.
const BOOT_FILE: &str = "boot";

impl Agent {
    /// Finds out whether an instance runs from before, and goes on from there.
    pub(super) fn adopt_guest(&mut self, id: InstanceId) {
        if self.guests.contains_key(&id) {
            return;
        }
        let spec = self.planner.instance(id);
        if spec.is_some_and(|spec| spec.driver.is_foreign()) {
            let (phase, has_ended) = self.find_foreign(id);
            self.found(id, phase, has_ended);
            return;
        }
        let sandbox = Sandbox::of(&self.config.data_dir, id);
        let boot = read_boot(sandbox.dir());
        let status = sandbox.status();
        let phase = match (&status, boot) {
            // It ended while no agent watched. After a restart of the host it would be started again.
            (Ok(Status::Dead), Some(boot))
                if sandbox.is_of_this_host_boot() && self.is_to_run(id, boot) =>
            {
                Phase::Running { boot }
            }
            (Ok(Status::Dead), _) => Phase::Idle,
            (Ok(Status::Running), Some(boot)) => Phase::Running { boot },
            // An agent ended in the middle of a launch: what there is of it is ended first.
            _ => Phase::Stuck,
        };
        self.found(id, phase, matches!(status, Ok(Status::Dead)));
    }

    /// Goes on with an instance that was found in a phase; it may have ended since.
    fn found(&mut self, id: InstanceId, phase: Phase, has_ended: bool) {
        let failed = None;
        self.guests.insert(id, Guest { phase, failed });
        if let Phase::Running { boot } = phase {
            if !has_ended {
                tracing::info!(instance = %id, boot, "adopting an instance");
            }
            for spec in self.planned_devices(id) {
                let eni = spec.eni;
                if let Some(ifindex) = self.planner.bound(eni)
                    && let Err(error) = self.adopt_device(spec, ifindex)
                {
                    tracing::error!(
                        %eni,
                        error = crate::chain(&error),
                        "a device could not be adopted"
                    );
                }
            }
            if has_ended {
                self.on_exited(id, boot);
                return;
            }
            if !self.is_foreign(id) {
                self.watch(id, boot);
            }
        }
        self.reconcile(id);
    }

    /// Whether somebody else runs what is in an instance.
    fn is_foreign(&self, id: InstanceId) -> bool {
        let spec = self.planner.instance(id);
        spec.is_some_and(|spec| spec.driver.is_foreign())
    }

    /// Whether the plan has this boot of an instance run.
    fn is_to_run(&self, id: InstanceId, boot: u32) -> bool {
        let spec = self.planner.instance(id);
        spec.is_some_and(|spec| spec.running && spec.boot == boot)
    }

    /// Compares an instance with the plan, and begins the next step, if one is due.
    pub(super) fn reconcile(&mut self, id: InstanceId) {
        let spec = self.planner.instance(id).cloned();
        if spec.is_none() && !self.guests.contains_key(&id) {
            return;
        }
        let guest = self.guests.entry(id).or_insert(Guest {
            phase: Phase::Idle,
            failed: None,
        });
        match (guest.phase, spec) {
            (Phase::Idle, Some(spec)) if !spec.running => {
                (self.say)(Output::Stopped(id, spec.boot));
            }
            // A boot that failed is not tried again.
            (Phase::Idle, Some(spec)) if guest.failed != Some(spec.boot) => {
                guest.phase = Phase::Preparing { boot: spec.boot };
                // From here on there is something of it on this host.
                (self.say)(Output::Stopped(id, spec.boot.saturating_sub(1)));
                if !spec.driver.is_foreign() {
                    self.prepare(&spec);
                } else if let Err(why) = self.start_foreign(&spec) {
                    self.on_failed(id, &why);
                } else {
                    let phase = Phase::Running { boot: spec.boot };
                    self.guests.insert(
                        id,
                        Guest {
                            phase,
                            failed: None,
                        },
                    );
                    (self.say)(Output::Runs(id, spec.boot));
                }
            }
            (Phase::Idle | Phase::Running { .. } | Phase::Stuck, None) => {
                guest.phase = Phase::Removing;
                self.release_devices(id);
                let sandbox = Sandbox::of(&self.config.data_dir, id);
                self.work(id, move || {
                    sandbox.terminate().map_err(|failures| {
                        let words: Vec<String> = failures.iter().map(|e| crate::chain(e)).collect();
                        words.join("; ")
                    })?;
                    Ok(Event::Removed(id))
                });
            }
            (Phase::Running { .. }, Some(spec)) if !spec.running => {
                guest.phase = Phase::Ending;
                self.end(id);
            }
            (Phase::Stuck, Some(_)) => {
                guest.phase = Phase::Ending;
                self.end(id);
            }
            (Phase::Running { boot }, Some(spec))
                if boot < spec.boot && !spec.driver.is_foreign() =>
            {
                guest.phase = Phase::Starting { boot: spec.boot };
                let sandbox = Sandbox::of(&self.config.data_dir, id);
                let start = self.start_spec(&spec);
                self.work(id, move || {
                    sandbox.reboot(&start).map_err(|e| crate::chain(&e))?;
                    write_boot(sandbox.dir(), spec.boot)?;
                    Ok(Event::Started(id))
                });
            }
            (Phase::Running { boot }, Some(_)) => {
                if let Err(error) = self.reconcile_devices(id) {
                    tracing::error!(
                        instance = %id,
                        error = crate::chain(&error),
                        "the devices of an instance could not be changed"
                    );
                    self.owed.insert(id);
                }
                (self.say)(Output::Runs(id, boot));
            }
            // A worker is at it; its end leads here again.
            _ => {}
        }
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Prepared(id, devices) => self.on_prepared(id, &devices),
            Event::Started(id) => {
                if let Some(guest) = self.guests.get_mut(&id)
                    && let Phase::Starting { boot } = guest.phase
                {
                    guest.phase = Phase::Running { boot };
                    self.watch(id, boot);
                    self.reconcile(id);
                }
            }
            Event::Ended(id) => {
                if let Some(guest) = self.guests.get_mut(&id) {
                    guest.phase = Phase::Idle;
                    self.reconcile(id);
                }
            }
            Event::Removed(id) => {
                self.guests.remove(&id);
                self.adoptions.remove(&id);
                self.forget_flows_if_reset();
                (self.say)(Output::Gone(id));
                self.reconcile(id);
            }
            Event::Failed(id, why) => self.on_failed(id, &why),
            Event::Saw(seen) => (self.say)(Output::Saw(seen)),
            Event::ServiceMade(vpc, made) => self.on_service_made(vpc, made),
            Event::Exited(id, boot) => self.on_exited(id, boot),
        }
    }

    /// Namespace and devices are there: the datapath learns of them, the programs go on them, and
    /// only then are they switched on.
    pub(super) fn on_prepared(&mut self, id: InstanceId, devices: &[(EniId, u32)]) {
        if self.waits_for_services(id, devices) {
            return;
        }
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let Phase::Preparing { boot } = guest.phase else {
            return;
        };
        guest.phase = Phase::Starting { boot };
        let mut ready = Vec::new();
        for (eni, ifindex) in devices {
            let planned = self.planner.device(*eni);
            let Some(spec) = planned.filter(|spec| spec.instance == id).cloned() else {
                // The interface left meanwhile. Where it is now it has a device of its own.
                if !self.devices.contains_key(eni)
                    && let Err(error) = self.unplug(*eni)
                {
                    tracing::error!(%eni, error = crate::chain(&error), "a device was not removed");
                }
                continue;
            };
            self.devices.insert(*eni, spec.clone());
            if let Err(error) = self.bind(*eni, *ifindex) {
                self.on_failed(id, &crate::chain(&error));
                return;
            }
            ready.push((self.device_of(&spec), *ifindex));
        }
        let Some(spec) = self.planner.instance(id).cloned() else {
            self.on_failed(id, "the instance was terminated while it started");
            return;
        };
        let sandbox = Sandbox::of(&self.config.data_dir, id);
        let start = self.start_spec(&spec);
        self.work(id, move || {
            let namespace = NetNs::open(&id.to_string()).map_err(|e| crate::chain(&e))?;
            for (device, ifindex) in &ready {
                device
                    .up(&namespace, *ifindex)
                    .map_err(|e| crate::chain(&e))?;
            }
            sandbox.start(&start).map_err(|e| crate::chain(&e))?;
            write_boot(sandbox.dir(), boot)?;
            Ok(Event::Started(id))
        });
    }

    /// A step failed: what there is of the instance is taken away, its directory excepted.
    fn on_failed(&mut self, id: InstanceId, why: &str) {
        tracing::error!(instance = %id, error = why, "an instance could not be changed");
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let boot = match guest.phase {
            Phase::Preparing { boot } | Phase::Starting { boot } => boot,
            _ => {
                guest.phase = Phase::Stuck;
                self.owed.insert(id);
                return;
            }
        };
        guest.failed = Some(boot);
        guest.phase = Phase::Ending;
        (self.say)(Output::Failed(id, boot, why.into()));
        self.end(id);
    }

    pub(super) fn on_exited(&mut self, id: InstanceId, boot: u32) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        // A reboot ends the first process as well; then another boot runs by now.
        if guest.phase != (Phase::Running { boot }) {
            return;
        }
        tracing::info!(instance = %id, boot, "an instance ended by itself");
        guest.phase = Phase::Ending;
        guest.failed = Some(boot);
        (self.say)(Output::Exited(id, boot));
        self.end(id);
    }

    /// First worker of a launch: namespace and devices.
    fn prepare(&self, spec: &InstanceSpec) {
        let id = spec.id;
        let sandbox = Sandbox::of(&self.config.data_dir, id);
        let installation = self.installation;
        let devices = self.planned_devices(id);
        let devices: Vec<EniDevice> = devices.iter().map(|it| self.device_of(it)).collect();
        self.work(id, move || {
            let namespace = sandbox.prepare().map_err(|e| crate::chain(&e))?;
            let mut made = Vec::new();
            for device in &devices {
                let links = device
                    .create(installation, &namespace)
                    .map_err(|e| crate::chain(&e))?;
                made.push((device.eni, links.host));
            }
            Ok(Event::Prepared(id, made))
        });
    }

    /// Worker that ends an instance's processes; the caller has noted that it ends.
    fn end(&mut self, id: InstanceId) {
        self.release_devices(id);
        let sandbox = Sandbox::of(&self.config.data_dir, id);
        let grace = self.config.grace;
        self.work(id, move || {
            sandbox.stop(grace).map_err(|e| crate::chain(&e))?;
            Ok(Event::Ended(id))
        });
    }

    fn start_spec(&self, spec: &InstanceSpec) -> Spec {
        Spec {
            image: spec.image.clone(),
            hostname: spec.host_name.clone(),
            address: spec.address,
            resolv_conf: resolv_conf(spec),
            authorized_key: spec.authorized_key.as_deref().map(str::to_owned),
            user_data: spec.user_data.as_deref().map(<[u8]>::to_vec),
            grace: self.config.grace,
            init: self.config.init.clone(),
        }
    }

    /// Runs a step on a thread of its own. Its end, or its failure in words, is an input.
    fn work(&self, id: InstanceId, step: impl FnOnce() -> Result<Event, String> + Send + 'static) {
        let inbox = self.inbox.clone();
        let working = move || {
            // Nobody would look at an instance again whose worker ended without a word.
            let outcome = catch_unwind(AssertUnwindSafe(step));
            let outcome = outcome.unwrap_or_else(|_panic| Err("the step panicked".to_owned()));
            let event = outcome.unwrap_or_else(|why| Event::Failed(id, why.into()));
            // The agent may have stopped; the next one finds the instance as it is.
            let _ = inbox.send(Input::Worker(WorkerEvent(event)));
        };
        let thread = std::thread::Builder::new().name(format!("work {id}"));
        if let Err(error) = thread.spawn(working) {
            let event = Event::Failed(id, format!("start a thread: {error}").into());
            // The agent reads it next; at its end nobody does.
            let _ = self.inbox.send(Input::Worker(WorkerEvent(event)));
        }
    }

    /// Waits on a thread of its own for an instance's first process to end.
    fn watch(&self, id: InstanceId, boot: u32) {
        let sandbox = Sandbox::of(&self.config.data_dir, id);
        let inbox = self.inbox.clone();
        let waiting = move || {
            loop {
                match sandbox.watch() {
                    Ok(Some(process)) => break wait_readable(&process),
                    Ok(None) => break,
                    // One that cannot be watched now, for lack of descriptors, has not ended.
                    Err(_) => std::thread::sleep(WATCH_AGAIN),
                }
            }
            // Collects the process if it is a child of this one.
            let _ = sandbox.status();
            let event = Event::Exited(id, boot);
            let _ = inbox.send(Input::Worker(WorkerEvent(event)));
        };
        let thread = std::thread::Builder::new()
            .name(format!("watch {id}"))
            .stack_size(WATCH_STACK_BYTES);
        if let Err(error) = thread.spawn(waiting) {
            tracing::error!(instance = %id, %error, "an instance cannot be watched");
        }
    }
}

/// A watcher only polls.
const WATCH_STACK_BYTES: usize = 128 << 10;

/// How long a watcher waits when the kernel has no descriptor or memory for it.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

fn wait_readable(fd: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::thread::sleep(WATCH_AGAIN),
        }
    }
}

/// What a DHCP client would make of the VPC's option set.
fn resolv_conf(spec: &InstanceSpec) -> String {
    let search = spec
        .search
        .iter()
        .map(|domain| format!("search {domain}\n"));
    let resolvers = spec.resolvers.iter();
    search
        .chain(resolvers.map(|address| format!("nameserver {address}\n")))
        .collect()
}

/// The boot that ran when an agent last looked.
pub(super) fn read_boot(directory: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(directory.join(BOOT_FILE)).ok()?;
    text.trim().parse().ok()
}

/// Written when the boot runs: an agent that finds an older number reboots once more.
pub(super) fn write_boot(directory: &Path, boot: u32) -> Result<(), String> {
    let path = directory.join(BOOT_FILE);
    let new = path.with_extension("new");
    let failed = |path: &Path, e| format!("write {}: {e}", path.display());
    std::fs::write(&new, boot.to_string()).map_err(|e| failed(&new, e))?;
    std::fs::rename(&new, &path).map_err(|e| failed(&path, e))
}
