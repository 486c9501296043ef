//! The plan, kept current: a change to one resource touches only what depends on it.
//!
//! The tables fall into fragments with one owner each: an interface owns its record and its
//! addresses, a policy and a network ACL their gates, a route table its routes, a subnet its record. No
//! two owners write the same key at the same time, except that an address can move from one interface
//! to another.
//! [`Planner::advance`] finds which owners a new state concerns, compiles their fragments anew, and
//! says how they differ. What a planner holds depends on the state and the devices alone, not on
//! the way there: the test below compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_model::id::{
    EniId, InstanceId, LoadBalancerId, NatGatewayId, NetworkAclId, ResourceId as _, RouteTableId,
    SecurityGroupId, SubnetId, TrafficMirrorFilterId, VpcId,
};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, State};
use enid_pipeline::table::EniRecord;

use crate::allowance::Allowances;
use crate::concern::Concerned;
use crate::fault::Fault;
use crate::fragment::{self, AclGates, Policy, PublicPools};
use crate::instances::{DeviceSpec, InstanceSpec, NodeSpec, device_spec, instance_spec, node_spec};
use crate::tables::{TableDiff, Tables};

/// Who writes a fragment of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Eni(EniId),
    Instance(InstanceId),
    LoadBalancer(LoadBalancerId),
    MirrorFilter(TrafficMirrorFilterId),
    NatGateway(NatGatewayId),
    NetworkAcl(NetworkAclId),
    Outside,
    Policy(u64),
    RouteTable(RouteTableId),
    Service(VpcId),
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
    /// Nodes of load balancers that have come, changed or gone; see [`Planner::node`].
    pub nodes: BTreeSet<EniId>,
    /// VPCs whose first device has come, or whose last one has gone; see [`Planner::vpc_in_use`].
    pub vpcs: BTreeSet<VpcId>,
}

/// The plan of one host.
#[derive(Debug, Default)]
pub struct Planner {
    state: Arc<State>,
    fragments: BTreeMap<Owner, Tables>,
    /// The gates of the network ACLs that have a record.
    acl_gates: BTreeMap<NetworkAclId, AclGates>,
    policies: BTreeMap<u64, Policy>,
    policies_of_group: BTreeMap<SecurityGroupId, BTreeSet<u64>>,
    policy_of_eni: BTreeMap<EniId, u64>,
    enis_of_policy: BTreeMap<u64, BTreeSet<EniId>>,
    devices: BTreeMap<EniId, DeviceSpec>,
    /// The nodes of load balancers.
    nodes: BTreeMap<EniId, NodeSpec>,
    /// The VPCs of the devices, and how many of them each has.
    vpcs_in_use: BTreeMap<VpcId, (Scope, usize)>,
    instances: BTreeMap<InstanceId, InstanceSpec>,
    /// The host-side device of each interface that has one.
    bound: BTreeMap<EniId, u32>,
    /// How much of their packets somebody captures at interfaces, those that are not here included.
    captured: BTreeMap<EniId, u32>,
    /// Interfaces here of whose packets copies are wanted.
    watched: BTreeSet<EniId>,
    /// What instances may use, if that is enforced.
    allowances: Option<Allowances>,
    /// What fails because somebody wants it to.
    faults: BTreeSet<Fault>,
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

    /// The same for a host that leads to the outside, with these pools of public addresses.
    #[must_use]
    pub fn with_outside(mut self, pools: &PublicPools) -> Self {
        let fragment = fragment::of_outside(pools);
        self.fragments.insert(Owner::Outside, fragment);
        self
    }

    /// The same for a host that enforces allowances.
    #[must_use]
    pub fn with_allowances(mut self, allowances: Option<Allowances>) -> Self {
        self.allowances = allowances;
        self
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

    /// The device that a node of a load balancer shall have.
    #[must_use]
    pub fn node(&self, eni: EniId) -> Option<&NodeSpec> {
        self.nodes.get(&eni)
    }

    /// All nodes, by interface.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<EniId, NodeSpec> {
        &self.nodes
    }

    /// The account and region of a VPC that a device is in; `None` if none is.
    #[must_use]
    pub fn vpc_in_use(&self, vpc: VpcId) -> Option<&Scope> {
        self.vpcs_in_use.get(&vpc).map(|(scope, _)| scope)
    }

    /// All VPCs that devices are in.
    pub fn vpcs_in_use(&self) -> impl Iterator<Item = VpcId> + '_ {
        self.vpcs_in_use.keys().copied()
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
        let concerned = Concerned::between(&self.state, &state);
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

        // Before the subnets, which have their gates.
        for (scope, id) in &concerned.network_acls {
            let fragment = self.compile_acl(scope, *id);
            self.set(Owner::NetworkAcl(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.subnets {
            let fragment = self.region(scope).and_then(|region| {
                let subnet = region.subnets.get(id)?;
                let vpc = region.vpcs.get(&subnet.vpc)?;
                let gates_of = |acl| self.acl_gates.get(&acl).copied();
                Some(fragment::of_subnet(vpc, subnet, gates_of))
            });
            self.set(Owner::Subnet(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.vpcs {
            let fragment = self.region(scope).and_then(|region| {
                let vpc = region.vpcs.get(id)?;
                Some(fragment::of_vpc(&region, vpc))
            });
            self.set(Owner::Vpc(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.route_tables {
            let fragment = fragment::of_route_table(&self.state, scope, *id);
            self.set(Owner::RouteTable(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.nat_gateways {
            let fragment = self.region(scope).and_then(|region| {
                let gateway = region.nat_gateways.get(id)?;
                let is_available = gateway.is_available();
                let is_exhausted = self.faults.contains(&Fault::NatPorts(*id));
                is_available.then(|| fragment::of_nat_gateway(gateway, is_exhausted))
            });
            self.set(Owner::NatGateway(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.load_balancers {
            let fragment = self.region(scope).and_then(|region| {
                let balancer = region.load_balancers.get(id)?;
                let before = self.fragments.get(&Owner::LoadBalancer(*id));
                Some(fragment::of_load_balancer(&region, balancer, before))
            });
            self.set(Owner::LoadBalancer(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.mirror_filters {
            let region = self.region(scope);
            let filter = region
                .as_ref()
                .and_then(|region| region.traffic_mirror_filters.get(id));
            let fragment = filter.map(|filter| fragment::of_mirror_filter(filter));
            self.set(Owner::MirrorFilter(*id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.enis {
            let region = self.region(scope);
            let eni = region.as_ref().and_then(|r| r.network_interfaces.get(id));
            let device = eni.and_then(|eni| device_spec(&self.state, scope, eni));
            if self.devices.get(id) != device.as_ref() {
                delta.devices.insert(*id);
            }
            let node = region
                .as_ref()
                .zip(eni)
                .and_then(|(region, eni)| node_spec(region, eni));
            let is_node = node.is_some();
            // A NAT gateway's interface has no device and no security groups.
            let member = eni.filter(|_| device.is_some() || is_node);
            policies.extend(self.join_policy(scope, *id, member.map(|eni| &**eni)));
            let fragment = region.as_ref().zip(eni).and_then(|(region, eni)| {
                let is_known =
                    device.is_some() || is_node || fragment::is_of_nat_gateway(region, eni);
                let policy = self.policy_of_eni.get(id).copied().unwrap_or(0);
                let ifindex = self.bound.get(id).copied();
                let is_metered = self.allowances.is_some();
                let is_faulty = self.is_faulty(region, eni);
                is_known.then(|| {
                    let instance = self.state.instance_of(scope, eni);
                    let instance = instance.map(|instance| &**instance.record());
                    let mut tables =
                        fragment::of_eni(region, eni, instance, policy, ifindex, is_metered);
                    fragment::set_faulty(&mut tables, *id, is_faulty);
                    fragment::recapture(&mut tables, *id, self.captured.get(id).copied());
                    tables
                })
            });
            self.note_watched(*id, fragment.as_ref());
            self.set(Owner::Eni(*id), fragment, &mut before, &mut after);
            if self.nodes.get(id) != node.as_ref() {
                delta.nodes.insert(*id);
            }
            match node {
                Some(node) => self.nodes.insert(*id, node),
                None => self.nodes.remove(id),
            };
            let vpc = device.as_ref().map(|device| device.vpc);
            let old = match device {
                Some(device) => self.devices.insert(*id, device),
                None => self.devices.remove(id),
            };
            let old_vpc = old.map(|device| device.vpc);
            if vpc != old_vpc {
                delta.vpcs.extend(self.count_device(scope, old_vpc, vpc));
            }
        }
        for id in policies {
            let fragment = self.compile(id);
            self.set(Owner::Policy(id), fragment, &mut before, &mut after);
        }
        for (scope, id) in &concerned.instances {
            let spec = self.region(scope).and_then(|region| {
                let instance = region.instances.get(id)?;
                instance_spec(&region, instance)
            });
            let running = spec.as_ref().filter(|spec| spec.running);
            let fragment = running
                .zip(self.allowances.as_ref())
                .and_then(|(_, allowances)| {
                    let region = self.region(scope)?;
                    let instance = region.instances.get(id)?;
                    Some(fragment::of_instance(instance, allowances))
                });
            self.set(Owner::Instance(*id), fragment, &mut before, &mut after);
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

    /// Says how much of its packets somebody captures at an interface (`Some`), or that nobody does any more.
    pub fn capture(&mut self, eni: EniId, snaplen: Option<u32>) -> TableDiff {
        match snaplen {
            Some(snaplen) => self.captured.insert(eni, snaplen),
            None => self.captured.remove(&eni),
        };
        let owner = Owner::Eni(eni);
        let Some(before) = self.fragments.get(&owner) else {
            return TableDiff::default();
        };
        let mut after = before.clone();
        fragment::recapture(&mut after, eni, snaplen);
        let diff = before.diff(&after);
        self.note_watched(eni, Some(&after));
        self.fragments.insert(owner, after);
        diff
    }

    /// Says what fails from now on, and nothing else does.
    pub fn set_faults(&mut self, faults: BTreeSet<Fault>) -> TableDiff {
        self.faults = faults;
        let (mut before, mut after) = (Tables::default(), Tables::default());
        let state = Arc::clone(&self.state);
        for region in state.regions().values() {
            for eni in region.network_interfaces.values() {
                let is_faulty = self.is_faulty(region, eni);
                let owner = Owner::Eni(eni.id);
                if let Some(mut fragment) = self.fragments.get(&owner).cloned() {
                    fragment::set_faulty(&mut fragment, eni.id, is_faulty);
                    self.set(owner, Some(fragment), &mut before, &mut after);
                }
            }
            for gateway in region.nat_gateways.values() {
                let is_exhausted = self.faults.contains(&Fault::NatPorts(gateway.id));
                let owner = Owner::NatGateway(gateway.id);
                if self.fragments.contains_key(&owner) {
                    let fragment = fragment::of_nat_gateway(gateway, is_exhausted);
                    self.set(owner, Some(fragment), &mut before, &mut after);
                }
            }
        }
        before.diff(&after)
    }

    fn is_faulty(&self, region: &RegionState, eni: &NetworkInterface) -> bool {
        self.faults.iter().any(|fault| fault.stops(region, eni))
    }

    /// Whether copies are wanted of packets of any interface.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.watched.is_empty()
    }

    fn note_watched(&mut self, eni: EniId, fragment: Option<&Tables>) {
        let record = fragment.and_then(|tables| tables.enis.get(&eni.bits()));
        if record.is_some_and(|record| record.flags & EniRecord::WATCHED != 0) {
            self.watched.insert(eni);
        } else {
            self.watched.remove(&eni);
        }
    }

    /// Says that a VPC that is in use has a device on this host that leads to its link-local services
    /// (`Some`), or none any more.
    pub fn bind_service(&mut self, vpc: VpcId, ifindex: Option<u32>) -> TableDiff {
        let owner = Owner::Service(vpc);
        let (mut before, mut after) = (Tables::default(), Tables::default());
        let scope = self.vpc_in_use(vpc).cloned();
        let region = scope.and_then(|scope| self.region(&scope));
        let record = region.as_ref().and_then(|region| region.vpcs.get(&vpc));
        let fragment = record
            .zip(ifindex)
            .map(|(record, ifindex)| fragment::of_service(record, ifindex));
        self.set(owner, fragment, &mut before, &mut after);
        before.diff(&after)
    }

    /// The index of an interface's host-side device.
    #[must_use]
    pub fn bound(&self, eni: EniId) -> Option<u32> {
        self.bound.get(&eni).copied()
    }

    fn region(&self, scope: &Scope) -> Option<Arc<RegionState>> {
        self.state.region(scope).cloned()
    }

    /// Moves a device from one VPC to another. Returns the VPCs that are in use by this, or no more.
    fn count_device(
        &mut self,
        scope: &Scope,
        old: Option<VpcId>,
        new: Option<VpcId>,
    ) -> BTreeSet<VpcId> {
        let mut changed = BTreeSet::new();
        if let Some(new) = new {
            let (_, count) = self
                .vpcs_in_use
                .entry(new)
                .or_insert_with(|| (scope.clone(), 0));
            *count += 1;
            if *count == 1 {
                changed.insert(new);
            }
        }
        if let Some(old) = old
            && let Some((_, count)) = self.vpcs_in_use.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.vpcs_in_use.remove(&old);
                changed.insert(old);
            }
        }
        changed
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
        Some(fragment::of_policy(region, policy))
    }

    fn compile_acl(&mut self, scope: &Scope, id: NetworkAclId) -> Option<Tables> {
        let region = self.region(scope);
        let acl = region.as_ref().and_then(|r| r.network_acls.get(&id));
        let Some((region, acl)) = region.as_ref().zip(acl) else {
            self.acl_gates.remove(&id);
            return None;
        };
        let (gates, fragment) = fragment::of_network_acl(region, acl);
        self.acl_gates.insert(id, gates);
        Some(fragment)
    }
}
