//! The plan, kept current: a change to one resource touches only what depends on it.
//!
//! The tables fall into fragments with one owner each: an interface owns its record and its
//! addresses, a policy its gates, a subnet its record, a VPC its local route. No two owners write
//! the same key at the same time, except that an address can move from one interface to another.
//! [`Planner::advance`] finds which owners a new state concerns, compiles their fragments anew, and
//! says how they differ. What a planner holds depends on the state and the devices alone, not on
//! the way there: the test below compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_model::id::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{Map, RegionState, State, Stored};
use imbl::ordmap::DiffItem;

use crate::fragment::{self, Policy};
use crate::instances::{DeviceSpec, InstanceSpec, device_spec, instance_spec};
use crate::tables::{TableDiff, Tables};

/// Who writes a fragment of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Eni(EniId),
    Policy(u64),
    Subnet(SubnetId),
    Vpc(VpcId),
}

/// How a plan differs from the one before.
#[derive(Debug, Default)]
pub struct Delta {
    /// Changes to the kernel's tables.
    pub tables: TableDiff,
    /// Interfaces whose device has come, changed or gone; see [`Planner::device`].
    pub devices: BTreeSet<EniId>,
    /// Instances that have come, changed or gone; see [`Planner::instance`].
    pub instances: BTreeSet<InstanceId>,
}

/// The plan of one host.
#[derive(Debug, Default)]
pub struct Planner {
    state: Arc<State>,
    fragments: BTreeMap<Owner, Tables>,
    policies: BTreeMap<u64, Policy>,
    policies_of_group: BTreeMap<SecurityGroupId, BTreeSet<u64>>,
    policy_of_eni: BTreeMap<EniId, u64>,
    enis_of_policy: BTreeMap<u64, BTreeSet<EniId>>,
    devices: BTreeMap<EniId, DeviceSpec>,
    instances: BTreeMap<InstanceId, InstanceSpec>,
    /// The host-side device of each interface that has one.
    bound: BTreeMap<EniId, u32>,
}

/// What a new state concerns.
#[derive(Default)]
struct Concerned {
    enis: BTreeSet<(Scope, EniId)>,
    groups: BTreeSet<SecurityGroupId>,
    instances: BTreeSet<(Scope, InstanceId)>,
    subnets: BTreeSet<(Scope, SubnetId)>,
    vpcs: BTreeSet<(Scope, VpcId)>,
}

impl Planner {
    /// A planner for a host on which these interfaces already have devices.
    #[must_use]
    pub fn new(bound: BTreeMap<EniId, u32>) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    /// The device that an interface shall have.
    #[must_use]
    pub fn device(&self, eni: EniId) -> Option<&DeviceSpec> {
        self.devices.get(&eni)
    }

    /// All devices, by interface.
    #[must_use]
    pub fn devices(&self) -> &BTreeMap<EniId, DeviceSpec> {
        &self.devices
    }

    /// What shall be done with an instance; `None` if nothing of it is to be kept.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&InstanceSpec> {
        self.instances.get(&id)
    }

    /// All instances.
    #[must_use]
    pub fn instances(&self) -> &BTreeMap<InstanceId, InstanceSpec> {
        &self.instances
    }

    /// The state that the plan was made from.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The tables as a whole, for a comparison with the kernel's.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut whole = Tables::default();
        for fragment in self.fragments.values() {
            whole.extend(fragment);
        }
        whole
    }

    /// Takes a new state.
    pub fn advance(&mut self, state: Arc<State>) -> Delta {
        let concerned = self.concerned(&state);
        self.state = state;
        let mut delta = Delta::default();
        // Fragments of one advance are compared as a whole: an address that moves between
        // interfaces is then one replaced entry.
        let mut before = Tables::default();
        let mut after = Tables::default();
        let mut policies: BTreeSet<u64> = concerned
            .groups
            .iter()
            .filter_map(|group| self.policies_of_group.get(group))
            .flatten()
            .copied()
            .collect();

        for (scope, id) in &concerned.subnets {
            let fragment = self.region(scope).and_then(|region| {
                let subnet = region.subnets.get(id)?;
                let vpc = region.vpcs.get(&subnet.vpc)?;
                Some(fragment::of_subnet(vpc, subnet))
            });
            self.set(Owner::Subnet(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.vpcs {
            let found = self.region(scope).and_then(|r| r.vpcs.get(id).cloned());
            let fragment = found.map(|vpc| fragment::of_vpc(&vpc));
            self.set(Owner::Vpc(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.enis {
            let region = self.region(scope);
            let eni = region.as_ref().and_then(|r| r.network_interfaces.get(id));
            let device = region
                .as_ref()
                .zip(eni)
                .and_then(|(region, eni)| device_spec(region, eni));
            if self.devices.get(id) != device.as_ref() {
                delta.devices.insert(*id);
            }
            let eni = eni.filter(|_| device.is_some()).cloned();
            policies.extend(self.join_policy(scope, *id, eni.as_deref()));
            let fragment = eni.and_then(|eni| {
                let policy = self.policy_of_eni.get(id).copied()?;
                let ifindex = self.bound.get(id).copied();
                Some(fragment::of_eni(&eni, policy, ifindex))
            });
            self.set(Owner::Eni(*id), fragment, &mut before, &mut after);
            match device {
                Some(device) => self.devices.insert(*id, device),
                None => self.devices.remove(id),
            };
        }
        for id in policies {
            let fragment = self.compile(id);
            self.set(Owner::Policy(id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.instances {
            let spec = self.region(scope).and_then(|region| {
                let instance = region.instances.get(id)?;
                instance_spec(scope.region.as_str(), &region, instance)
            });
            if self.instances.get(id) != spec.as_ref() {
                delta.instances.insert(*id);
            }
            match spec {
                Some(spec) => self.instances.insert(*id, spec),
                None => self.instances.remove(id),
            };
        }
        delta.tables = before.diff(&after);
        delta
    }

    /// Says that an interface has a device on this host (`Some`), or none any more.
    pub fn bind(&mut self, eni: EniId, ifindex: Option<u32>) -> TableDiff {
        match ifindex {
            Some(ifindex) => self.bound.insert(eni, ifindex),
            None => self.bound.remove(&eni),
        };
        let owner = Owner::Eni(eni);
        let Some(before) = self.fragments.get(&owner) else {
            return TableDiff::default();
        };
        let mut after = before.clone();
        fragment::rebind(&mut after, eni, ifindex);
        let diff = before.diff(&after);
        self.fragments.insert(owner, after);
        diff
    }

    /// The index of an interface's host-side device.
    #[must_use]
    pub fn bound(&self, eni: EniId) -> Option<u32> {
        self.bound.get(&eni).copied()
    }

    fn region(&self, scope: &Scope) -> Option<Arc<RegionState>> {
        self.state.region(scope).cloned()
    }

    fn set(
        &mut self,
        owner: Owner,
        fragment: Option<Tables>,
        before: &mut Tables,
        after: &mut Tables,
    ) {
        if let Some(old) = self.fragments.remove(&owner) {
            before.extend(&old);
        }
        if let Some(new) = fragment {
            after.extend(&new);
            self.fragments.insert(owner, new);
        }
    }

    /// Moves an interface to the policy of its groups. Returns the policies that came or went.
    fn join_policy(
        &mut self,
        scope: &Scope,
        id: EniId,
        eni: Option<&NetworkInterface>,
    ) -> BTreeSet<u64> {
        let mut concerned = BTreeSet::new();
        let new = eni.map(|eni| Policy::of(scope.clone(), &eni.groups));
        let new_id = new.as_ref().map(|policy| policy.id);
        let old_id = self.policy_of_eni.get(&id).copied();
        if new_id == old_id {
            return concerned;
        }
        if let Some(old_id) = old_id {
            self.policy_of_eni.remove(&id);
            let members = self.enis_of_policy.entry(old_id).or_default();
            members.remove(&id);
            if members.is_empty() {
                self.enis_of_policy.remove(&old_id);
                if let Some(old) = self.policies.remove(&old_id) {
                    for group in old.groups {
                        let users = self.policies_of_group.entry(group).or_default();
                        users.remove(&old_id);
                        if users.is_empty() {
                            self.policies_of_group.remove(&group);
                        }
                    }
                }
                concerned.insert(old_id);
            }
        }
        if let Some(new) = new {
            self.policy_of_eni.insert(id, new.id);
            self.enis_of_policy.entry(new.id).or_default().insert(id);
            if !self.policies.contains_key(&new.id) {
                for group in &new.groups {
                    let users = self.policies_of_group.entry(*group).or_default();
                    users.insert(new.id);
                }
                concerned.insert(new.id);
                self.policies.insert(new.id, new);
            }
        }
        concerned
    }

    fn compile(&self, id: u64) -> Option<Tables> {
        let policy = self.policies.get(&id)?;
        let region = self.state.region(&policy.scope)?;
        let groups: Vec<_> = policy
            .groups
            .iter()
            .filter_map(|group| region.security_groups.get(group))
            .map(|group| Arc::clone(group.record()))
            .collect();
        Some(fragment::of_policy(policy, &groups))
    }

    fn concerned(&self, new: &State) -> Concerned {
        let mut concerned = Concerned::default();
        let nothing = Arc::default();
        let scopes: BTreeSet<&Scope> = self
            .state
            .regions()
            .keys()
            .chain(new.regions().keys())
            .collect();
        for scope in scopes {
            let before = self.state.region(scope).unwrap_or(&nothing);
            let after = new.region(scope).unwrap_or(&nothing);
            if !Arc::ptr_eq(before, after) {
                concern(&mut concerned, scope, before, after);
            }
        }
        concerned
    }
}

/// Adds what differs between two states of a region, and what depends on it.
fn concern(concerned: &mut Concerned, scope: &Scope, before: &RegionState, after: &RegionState) {
    let enis = changed(&before.network_interfaces, &after.network_interfaces);
    for id in enis {
        concerned.enis.insert((scope.clone(), id));
        // An instance's host name follows its primary interface.
        for region in [before, after] {
            let eni = region.network_interfaces.get(&id);
            if let Some(attachment) = eni.and_then(|eni| eni.attachment.as_ref()) {
                let member = (scope.clone(), attachment.instance);
                concerned.instances.insert(member);
            }
        }
    }
    for id in changed(&before.instances, &after.instances) {
        concerned.instances.insert((scope.clone(), id));
        for region in [before, after] {
            for eni in region.enis_of_instance(id) {
                concerned.enis.insert((scope.clone(), eni.id));
            }
        }
    }
    let groups = changed(&before.security_groups, &after.security_groups);
    concerned.groups.extend(groups);
    // Of these, an interface's fragment holds only what never changes while they exist.
    for id in changed(&before.subnets, &after.subnets) {
        concerned.subnets.insert((scope.clone(), id));
        let of = |region: &RegionState| region.subnets.get(&id).map(|subnet| subnet.cidr);
        if of(before) != of(after) {
            let enis = after.enis_of_subnet(id).map(|eni| (scope.clone(), eni));
            concerned.enis.extend(enis);
        }
    }
    for id in changed(&before.vpcs, &after.vpcs) {
        concerned.vpcs.insert((scope.clone(), id));
        let of = |region: &RegionState| region.vpcs.get(&id).map(|vpc| vpc.main_route_table);
        if of(before) != of(after) {
            let subnets = after.subnets.values().filter(|subnet| subnet.vpc == id);
            let subnets = subnets.map(|subnet| (scope.clone(), subnet.id));
            concerned.subnets.extend(subnets);
        }
    }
}

/// The keys whose records differ between two maps; what the maps share is not visited.
fn changed<K: Ord + Copy, T: PartialEq>(
    before: &Map<K, Stored<T>>,
    after: &Map<K, Stored<T>>,
) -> Vec<K> {
    let keys = before.diff(after).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => *key,
        DiffItem::Update { new: (key, _), .. } => *key,
    });
    keys.collect()
}
