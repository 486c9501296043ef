//! Who asks a link-local service: an interface, known by the VPC that it asks in and the address
//! that it asks from.

use std::net::IpAddr;

use enid_model::id::{EniId, InstanceId, VpcId};
use enid_model::instance::{DesiredState, Instance};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::region::Region;
use enid_model::state::{RegionState, State};
use enid_model::vpc::Vpc;

/// An interface that asks, with what is known of it at one revision.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// All regions.
    pub state: &'a State,
    /// Whose the interface is, and where.
    pub scope: &'a Scope,
    /// The region that it is in.
    pub region: &'static Region,
    /// What there is in that region.
    pub resources: &'a RegionState,
    /// The interface.
    pub eni: &'a NetworkInterface,
    /// Its VPC.
    pub vpc: &'a Vpc,
    /// The zones that an injected fault stops.
    pub failing: &'a [String],
}

impl<'a> Asker<'a> {
    /// The interface with an id.
    #[must_use]
    pub fn of_eni(state: &'a State, scope: &Scope, eni: EniId) -> Option<Self> {
        let (scope, resources) = state.regions().get_key_value(scope)?;
        let eni = resources.network_interfaces.get(&eni)?;
        Some(Self {
            state,
            scope,
            region: Region::named(scope.region.as_str())?,
            resources,
            eni,
            vpc: resources.vpcs.get(&eni.vpc)?,
            failing: &[],
        })
    }

    /// The interface of a VPC that has an address.
    #[must_use]
    pub fn at(state: &'a State, scope: &Scope, vpc: VpcId, address: IpAddr) -> Option<Self> {
        let eni = state.region(scope)?.eni_at(vpc, address)?.id;
        Self::of_eni(state, scope, eni)
    }

    /// The instance that the interface is attached to, unless it is terminated.
    #[must_use]
    pub fn instance(&self) -> Option<&'a Instance> {
        let instance = self.state.instance_of(self.scope, self.eni)?;
        (instance.desired != DesiredState::Terminated).then_some(instance)
    }

    /// The same instance, asking from its primary interface if this one is another account's: what there
    /// is to tell of it is in its own account.
    #[must_use]
    pub fn at_home(&self) -> Option<Self> {
        let attachment = self.eni.attachment.as_ref()?;
        if attachment.instance_owner.is_none() {
            return Some(*self);
        }
        let scope = attachment.scope_of_instance(self.scope);
        let home = self.state.region(&scope)?;
        let primary = home.primary_eni(attachment.instance)?.id;
        Self::of_eni(self.state, &scope, primary)
    }

    /// The interfaces that other accounts lent to an instance of this one.
    pub fn lent_to(&self, instance: InstanceId) -> impl Iterator<Item = Self> {
        let lent = self.state.lent_to(self.scope, instance).into_iter();
        let state = self.state;
        lent.filter_map(move |lent| Self::of_eni(state, lent.scope, lent.eni.id))
    }
}
