//! Link-local services: a place for them in each VPC that has a device here.
//!
//! Namespaces and links take the kernel some ten milliseconds to make and more to remove, so threads of
//! their own do it: the first instance of a VPC comes up meanwhile, and waits at most for the rest. One that
//! is there already goes on without services for this moment.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use enid_model::id::{EniId, InstanceId, VpcId};
use enid_plan::resolver_of;

use super::guests::Event;
use super::{Agent, AgentError, Input, Verification, WorkerEvent};
use crate::datapath::ServiceLinks;
use crate::services::Sockets;
use crate::services::site::{Site, SiteError};

/// The services of one VPC, as this host has them.
#[derive(Debug)]
pub(super) enum Service {
    /// A thread makes their place; instances whose devices are ready wait for it.
    Beginning(Vec<Waiting>),
    /// They are there.
    Serving(Site, ServiceLinks),
}

/// An instance whose devices are made, with these.
type Waiting = (InstanceId, Vec<(EniId, u32)>);

impl Agent {
    /// Removes what is left of an earlier agent's services, and begins those that the plan wants.
    pub(super) fn begin_services(&mut self) -> Result<(), AgentError> {
        for (vpc, index) in Site::list(self.installation)? {
            if self.planner.vpc_in_use(vpc).is_none() {
                Site::remove(index)?;
            }
        }
        let vpcs = self.planner.vpcs_in_use().collect();
        self.settle_services(vpcs);
        Ok(())
    }

    /// Begins and ends the services of VPCs as the plan says. What fails is tried again later: an instance
    /// is better without them than not there.
    pub(super) fn settle_services(&mut self, vpcs: BTreeSet<VpcId>) {
        self.unserved.extend(vpcs);
        for vpc in std::mem::take(&mut self.unserved) {
            let is_wanted = self.planner.vpc_in_use(vpc).is_some();
            match self.serving.get(&vpc) {
                None if is_wanted => self.begin_service(vpc),
                Some(Service::Serving(..)) if !is_wanted => self.end_service(vpc),
                // A thread is at it; its end leads here again.
                _ => {}
            }
        }
    }

    fn begin_service(&mut self, vpc: VpcId) {
        let scope = self.planner.vpc_in_use(vpc);
        let region = scope.and_then(|scope| self.planner.state().region(scope));
        let Some(record) = region.and_then(|region| region.vpcs.get(&vpc)) else {
            return;
        };
        let resolver = resolver_of(record.cidr);
        let installation = self.installation;
        let beginning = Service::Beginning(Vec::new());
        self.serving.insert(vpc, beginning);
        self.apart(vpc, move || {
            let make = || -> Result<(Site, Sockets), SiteError> {
                let site = Site::create(installation, vpc, resolver)?;
                let sockets = site.sockets(resolver)?;
                Ok((site, sockets))
            };
            // Nobody would begin the services of a VPC again whose thread ended without a word.
            let made = catch_unwind(AssertUnwindSafe(make));
            let made = made.map_err(|_panic| "the thread panicked".into());
            let made = made.and_then(|made| made.map_err(|error| crate::chain(&error).into()));
            Some(Event::ServiceMade(vpc, made.map(Box::new)))
        });
    }

    /// The place is there, or could not be made.
    pub(super) fn on_service_made(
        &mut self,
        vpc: VpcId,
        made: Result<Box<(Site, Sockets)>, Box<str>>,
    ) {
        let waiting = match self.serving.remove(&vpc) {
            Some(Service::Beginning(waiting)) => waiting,
            other => {
                // It was given up meanwhile.
                self.serving.extend(other.map(|service| (vpc, service)));
                return;
            }
        };
        let settled = made.and_then(|made| {
            let (site, sockets) = *made;
            self.open_service(vpc, site, sockets)
                .map_err(|error| crate::chain(&error).into())
        });
        if let Err(error) = settled {
            tracing::error!(%vpc, %error, "the link-local services of a VPC could not begin");
            self.unserved.insert(vpc);
        }
        for (instance, devices) in waiting {
            self.on_prepared(instance, &devices);
        }
        if self.planner.vpc_in_use(vpc).is_none() {
            self.settle_services(BTreeSet::from([vpc]));
        }
    }

    /// Tables, programs, and only then the link: as for interfaces.
    fn open_service(&mut self, vpc: VpcId, site: Site, sockets: Sockets) -> Result<(), AgentError> {
        let Some(scope) = self.planner.vpc_in_use(vpc).cloned() else {
            // No device is in the VPC any more. The namespace goes with its last descriptor.
            return Ok(());
        };
        let links = self.datapath.attach_service(site.index)?;
        let diff = self.planner.bind_service(vpc, Some(site.index));
        self.settle(&diff)?;
        site.connect()?;
        self.services.open(scope, vpc, sockets);
        self.serving.insert(vpc, Service::Serving(site, links));
        Ok(())
    }

    fn end_service(&mut self, vpc: VpcId) {
        let diff = self.planner.bind_service(vpc, None);
        if let Err(error) = self.settle(&diff) {
            tracing::error!(%vpc, error = crate::chain(&error), "services were not taken out of the tables");
        }
        self.services.close(vpc);
        if let Some(Service::Serving(site, links)) = self.serving.remove(&vpc) {
            self.apart(vpc, move || {
                if let Err(error) = Site::remove(site.index) {
                    let error = crate::chain(&error);
                    tracing::error!(%vpc, error, "the link to services was not removed");
                }
                drop(links);
                None
            });
        }
    }

    /// Whether an instance with these devices has to wait for the services of its VPC. If so it is looked
    /// at again when they are there.
    pub(super) fn waits_for_services(&mut self, id: InstanceId, devices: &[(EniId, u32)]) -> bool {
        for (eni, _) in devices {
            let Some(spec) = self.planner.device(*eni) else {
                continue;
            };
            if let Some(Service::Beginning(waiting)) = self.serving.get_mut(&spec.vpc) {
                waiting.push((id, devices.to_vec()));
                return true;
            }
        }
        false
    }

    /// Runs a step on a thread of its own. What it says is an input.
    fn apart(&self, vpc: VpcId, step: impl FnOnce() -> Option<Event> + Send + 'static) {
        let inbox = self.inbox.clone();
        let thread = std::thread::Builder::new().name(format!("site {vpc}"));
        let spawned = thread.spawn(move || {
            if let Some(event) = step() {
                // The agent may have stopped; what it held is gone by then.
                let _ = inbox.send(Input::Worker(WorkerEvent(event)));
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%vpc, %error, "a thread for services could not be started");
            let why = Err("there is no thread to make their place".into());
            let event = Event::ServiceMade(vpc, why);
            // The agent reads it next; at its end nobody does.
            let _ = self.inbox.send(Input::Worker(WorkerEvent(event)));
        }
    }

    pub(super) fn verify_services(&self, found: &mut Verification) {
        for vpc in self.planner.vpcs_in_use() {
            let (site, links) = match self.serving.get(&vpc) {
                Some(Service::Serving(site, links)) => (site, links),
                // They come in this moment.
                Some(Service::Beginning(_)) => continue,
                None => {
                    let words = format!("{vpc} has no link-local services");
                    found.differences.push(words);
                    continue;
                }
            };
            match site.is_up() {
                Ok(true) => {}
                Ok(false) => {
                    let words =
                        format!("the link to the services of {vpc} is not there, or switched off");
                    found.differences.push(words);
                    continue;
                }
                Err(error) => found.differences.push(crate::chain(&error)),
            }
            match self.datapath.verify_service(links, site.index) {
                Ok(true) => {}
                Ok(false) => {
                    let words = format!("the link to the services of {vpc} has not its programs");
                    found.differences.push(words);
                }
                Err(error) => found.differences.push(crate::chain(&error)),
            }
        }
    }
}
