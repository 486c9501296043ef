//! Link-local services: a place for them in each VPC that has a device here.

use std::collections::BTreeSet;

use enid_model::id::VpcId;
use enid_plan::resolver_of;

use super::{Agent, AgentError, Verification};
use crate::datapath::ServiceLinks;
use crate::services::site::Site;

/// The services of one VPC, as this host has them.
#[derive(Debug)]
pub(super) struct Service {
    site: Site,
    links: ServiceLinks,
}

impl Agent {
    /// Removes what is left of an earlier agent's services, and begins those that the plan wants.
    pub(super) fn begin_services(&mut self) -> Result<(), AgentError> {
        for vpc in Site::list(self.installation)? {
            Site::delete(self.installation, vpc)?;
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
            let settled = match (is_wanted, self.serving.contains_key(&vpc)) {
                (true, false) => self.begin_service(vpc),
                (false, true) => self.end_service(vpc),
                _ => Ok(()),
            };
            if let Err(error) = settled {
                tracing::error!(
                    %vpc,
                    error = crate::chain(&error),
                    "the link-local services of a VPC were not changed"
                );
                self.unserved.insert(vpc);
            }
        }
    }

    fn begin_service(&mut self, vpc: VpcId) -> Result<(), AgentError> {
        let Some(scope) = self.planner.vpc_in_use(vpc).cloned() else {
            return Ok(());
        };
        let region = self.planner.state().region(&scope);
        let Some(record) = region.and_then(|region| region.vpcs.get(&vpc)) else {
            return Ok(());
        };
        let resolver = resolver_of(record.cidr);
        let site = Site::create(self.installation, vpc, resolver)?;
        let sockets = site.sockets(resolver)?;
        let links = self.datapath.attach_service(site.index)?;
        let diff = self.planner.bind_service(vpc, Some(site.index));
        self.settle(&diff)?;
        site.connect()?;
        self.services.open(scope, vpc, sockets);
        self.serving.insert(vpc, Service { site, links });
        Ok(())
    }

    fn end_service(&mut self, vpc: VpcId) -> Result<(), AgentError> {
        let diff = self.planner.bind_service(vpc, None);
        self.settle(&diff)?;
        self.services.close(vpc);
        self.serving.remove(&vpc);
        Ok(Site::delete(self.installation, vpc)?)
    }

    pub(super) fn verify_services(&self, found: &mut Verification) {
        for vpc in self.planner.vpcs_in_use() {
            let Some(Service { site, links }) = self.serving.get(&vpc) else {
                let words = format!("{vpc} has no link-local services");
                found.differences.push(words);
                continue;
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
        match Site::list(self.installation) {
            Ok(vpcs) => {
                let strays = vpcs.iter().filter(|vpc| !self.serving.contains_key(*vpc));
                let words = strays.map(|vpc| format!("a link to services of {vpc} is left over"));
                found.differences.extend(words);
            }
            Err(error) => found.differences.push(crate::chain(&error)),
        }
    }
}
