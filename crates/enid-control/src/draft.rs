//! An operation in progress: what it reads, and what it will change.
//!
//! Reading a record through [`Draft::require`] makes the commit depend on it: if it changes or goes
//! meanwhile, the operation runs again on what is there then. So an operation cannot leave a
//! reference to something that is gone. What depends on the *absence* of records says so with
//! [`Draft::demand`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::address::{ElasticIp, PublicAddress, PublicAddressHolder};
use enid_model::dhcp_options::DhcpOptions;
use enid_model::flow_log::FlowLog;
use enid_model::gateway::{EgressOnlyInternetGateway, InternetGateway};
use enid_model::id::ResourceId;
use enid_model::instance::Instance;
use enid_model::key::{AccountId, Key, Kind, Scope};
use enid_model::key_pair::KeyPair;
use enid_model::launch_template::LaunchTemplate;
use enid_model::listener::Listener;
use enid_model::load_balancer::LoadBalancer;
use enid_model::nat_gateway::NatGateway;
use enid_model::network_acl::NetworkAcl;
use enid_model::network_interface::{Attachment, NetworkInterface};
use enid_model::network_interface_permission::{LentInterface, NetworkInterfacePermission};
use enid_model::prefix_list::PrefixList;
use enid_model::record::{GroupName, Record};
use enid_model::reference::Reference;
use enid_model::route_table::RouteTable;
use enid_model::security_group::SecurityGroup;
use enid_model::state::{Map, RegionState, Revision, State, Stored};
use enid_model::subnet::{AddressLease, Subnet, SubnetCidrReservation};
use enid_model::target_group::TargetGroup;
use enid_model::time::Timestamp;
use enid_model::traffic_mirror::{TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget};
use enid_model::volume::Volume;
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::VpcPeeringConnection;
use enid_store::{Condition, Transaction};
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::{Caller, Control, Error, PublicPools, Quotas};

/// A record that has a typed id of its own.
pub trait Resource: Sized + Clone {
    /// Its id.
    type Id: ResourceId;
    /// What it is in stored keys.
    const KIND: Kind;
    /// Its own id.
    fn id(&self) -> Self::Id;
    /// The region's records of this kind.
    fn map(region: &RegionState) -> &Map<Self::Id, Stored<Self>>;
    /// As any record.
    fn into_record(self) -> Record;
    /// The error for an id that names none.
    fn not_found(id: Self::Id) -> Error;
}

macro_rules! resources {
    ($($record:ident($id:ident): $map:ident;)*) => {$(
        impl Resource for $record {
            type Id = enid_model::id::$id;
            const KIND: Kind = Kind::$record;

            fn id(&self) -> Self::Id {
                self.id
            }

            fn map(region: &RegionState) -> &Map<Self::Id, Stored<Self>> {
                &region.$map
            }

            fn into_record(self) -> Record {
                Record::$record(self)
            }

            fn not_found(id: Self::Id) -> Error {
                Error::not_found(id)
            }
        }
    )*};
}

resources! {
    DhcpOptions(DhcpOptionsId): dhcp_options;
    EgressOnlyInternetGateway(EgressOnlyInternetGatewayId): egress_only_internet_gateways;
    ElasticIp(AllocationId): elastic_ips;
    FlowLog(FlowLogId): flow_logs;
    Instance(InstanceId): instances;
    InternetGateway(InternetGatewayId): internet_gateways;
    KeyPair(KeyPairId): key_pairs;
    LaunchTemplate(LaunchTemplateId): launch_templates;
    LentInterface(EniId): lent_interfaces;
    Listener(ListenerId): listeners;
    LoadBalancer(LoadBalancerId): load_balancers;
    NatGateway(NatGatewayId): nat_gateways;
    NetworkAcl(NetworkAclId): network_acls;
    NetworkInterface(EniId): network_interfaces;
    NetworkInterfacePermission(NetworkInterfacePermissionId): network_interface_permissions;
    PrefixList(PrefixListId): prefix_lists;
    RouteTable(RouteTableId): route_tables;
    SecurityGroup(SecurityGroupId): security_groups;
    Subnet(SubnetId): subnets;
    SubnetCidrReservation(SubnetCidrReservationId): subnet_cidr_reservations;
    TargetGroup(TargetGroupId): target_groups;
    TrafficMirrorFilter(TrafficMirrorFilterId): traffic_mirror_filters;
    TrafficMirrorSession(TrafficMirrorSessionId): traffic_mirror_sessions;
    TrafficMirrorTarget(TrafficMirrorTargetId): traffic_mirror_targets;
    Volume(VolumeId): volumes;
    Vpc(VpcId): vpcs;
    VpcPeeringConnection(VpcPeeringConnectionId): vpc_peering_connections;
}

/// An operation in progress.
pub struct Draft<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// The caller's region as it was when the operation began; another account's within
    /// [`Draft::within`].
    pub region: Arc<RegionState>,
    /// All regions, as they were then.
    pub state: &'a State,
    /// The revision of that.
    pub revision: Revision,
    /// What is claimed across all accounts and regions, as it was then.
    pub everywhere: Arc<RegionState>,
    /// Where public addresses come from.
    pub pools: &'a PublicPools,
    /// The time of the operation.
    pub now: Timestamp,
    /// How many of each resource there may be.
    pub quotas: &'a Quotas,
    random: &'a mut StdRng,
    scope: Scope,
    /// The public addresses that this operation claims.
    claimed: BTreeSet<IpAddr>,
    transaction: Transaction,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        control: &'a Control,
        caller: &'a Caller,
        state: &'a State,
        random: &'a mut StdRng,
    ) -> Self {
        let scope = caller.scope();
        let part = |scope| state.region(scope).map(Arc::clone).unwrap_or_default();
        Self {
            caller,
            region: part(&scope),
            state,
            revision: state.revision,
            everywhere: part(&Scope::everywhere()),
            pools: &control.pools,
            now: control.now(),
            quotas: &control.quotas,
            random,
            scope,
            claimed: BTreeSet::new(),
            transaction: Transaction::default(),
        }
    }

    pub(crate) fn into_transaction(self) -> Transaction {
        self.transaction
    }

    /// Whose region [`Draft::region`] is, and where.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Does a part of the operation in the same region of another account: what it reads, demands and
    /// changes is of that account, and part of this transaction.
    pub fn within<T>(&mut self, account: AccountId, act: impl FnOnce(&mut Self) -> T) -> T {
        let scope = Scope {
            account,
            region: self.scope.region.clone(),
        };
        let region = self.state.region(&scope).map(Arc::clone);
        let own_region = std::mem::replace(&mut self.region, region.unwrap_or_default());
        let own_scope = std::mem::replace(&mut self.scope, scope);
        let done = act(self);
        self.region = own_region;
        self.scope = own_scope;
        done
    }

    /// The instance of an attachment, whosever it is; see [`Draft::require`].
    pub fn require_instance_of(
        &mut self,
        attachment: &Attachment,
    ) -> Result<Stored<Instance>, Error> {
        let account = attachment.instance_owner.unwrap_or(self.scope.account);
        self.within(account, |draft| draft.require(attachment.instance))
    }

    /// A new id. 64 random bits: that two are equal is not worth a thought, and creating a record
    /// demands that its key is absent all the same.
    pub fn mint<I: ResourceId>(&mut self) -> I {
        I::from_bits(self.random.next_u64())
    }

    /// Random bits.
    pub fn random(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// The resource with an id, which must still be the same when the operation commits.
    pub fn require<T: Resource>(&mut self, id: T::Id) -> Result<Stored<T>, Error> {
        let found = T::map(&self.region).get(&id).cloned();
        let found = found.ok_or_else(|| T::not_found(id))?;
        self.depend(&found);
        Ok(found)
    }

    /// Demands that a resource that was found in [`Draft::region`] is still the same at the commit.
    pub fn depend<T: Resource>(&mut self, found: &Stored<T>) {
        let key = self.key(T::KIND, found.id().to_string());
        self.transaction.depend(key, found.revision);
    }

    /// Demands any other condition; see [`Draft::key`].
    pub fn demand(&mut self, condition: Condition) {
        self.transaction.conditions.push(condition);
    }

    /// Demands that no record of a kind has been written since the operation began: for operations
    /// that looked for records and found none.
    pub fn demand_none_new(&mut self, kind: Kind) {
        let condition = Condition::NoneWrittenSince(self.scope.clone(), kind, self.revision);
        self.demand(condition);
    }

    /// Demands that no record of a kind that names this resource has been written since the
    /// operation began: for operations that looked for such records and found none. What other
    /// resources' records do is no matter, so this is the one to use where it suffices.
    pub fn demand_unnamed<I: ResourceId>(&mut self, kind: Kind, id: I) {
        let (scope, named) = (self.scope.clone(), Reference::to(id));
        self.demand(Condition::UnnamedSince(scope, kind, named, self.revision));
    }

    /// A key of the caller's region.
    #[must_use]
    pub fn key(&self, kind: Kind, name: impl Into<Box<str>>) -> Key {
        Key {
            scope: self.scope.clone(),
            kind,
            name: name.into(),
        }
    }

    /// Creates a resource.
    pub fn create<T: Resource>(&mut self, resource: T) {
        let key = self.key(T::KIND, resource.id().to_string());
        self.transaction.create(key, resource.into_record());
    }

    /// Replaces a resource by a new version of itself.
    pub fn update<T: Resource>(&mut self, read: &Stored<T>, new: T) {
        let key = self.key(T::KIND, read.id().to_string());
        self.transaction
            .update(key, read.revision, new.into_record());
    }

    /// Replaces a resource by an edited version of itself; nothing happens if they are equal.
    pub fn edit<T: Resource + PartialEq>(&mut self, read: &Stored<T>, edit: impl FnOnce(&mut T)) {
        let mut new = T::clone(read);
        edit(&mut new);
        if new != **read {
            self.update(read, new);
        }
    }

    /// Deletes a resource.
    pub fn delete<T: Resource>(&mut self, read: &Stored<T>) {
        let key = self.key(T::KIND, read.id().to_string());
        self.transaction.delete(key, read.revision);
    }

    /// Creates a record of a kind that has no typed id: a lease, a name, a token.
    pub fn claim(&mut self, name: impl Into<Box<str>>, record: Record) {
        let key = self.key(record.kind(), name);
        self.transaction.create(key, record);
    }

    /// Replaces such a record.
    pub fn replace(&mut self, name: impl Into<Box<str>>, read: Revision, record: Record) {
        let key = self.key(record.kind(), name);
        self.transaction.update(key, read, record);
    }

    /// Deletes such a record.
    pub fn release(&mut self, kind: Kind, name: impl Into<Box<str>>, read: Revision) {
        let key = self.key(kind, name);
        self.transaction.delete(key, read);
    }

    /// Claims an address of a subnet for an interface.
    pub fn lease(&mut self, subnet: &Subnet, address: std::net::Ipv4Addr, lease: AddressLease) {
        let name = enid_model::state::lease_name(subnet.id, address);
        self.claim(name, Record::AddressLease(lease));
    }

    /// Claims a public address, or an IPv6 block by its first address.
    pub fn claim_public(&mut self, address: IpAddr, holder: PublicAddressHolder) {
        let key = public_key(address);
        let claim = PublicAddress {
            account: self.scope.account,
            region: self.scope.region.clone(),
            holder,
        };
        self.claimed.insert(address);
        self.transaction.create(key, Record::PublicAddress(claim));
    }

    /// Whether nobody has a public address. One that this operation gives back is not free before
    /// it commits.
    #[must_use]
    pub fn is_public_free(&self, address: IpAddr) -> bool {
        !self.everywhere.public_addresses.contains_key(&address) && !self.claimed.contains(&address)
    }

    /// Gives a public address back to its pool.
    pub fn release_public(&mut self, address: IpAddr) {
        let claim = self.everywhere.public_addresses.get(&address);
        if let Some(revision) = claim.map(|claim| claim.revision) {
            self.transaction.delete(public_key(address), revision);
        }
    }

    /// Claims a group's name in its VPC; the key is in lower case as AWS compares without case.
    pub fn claim_group_name(&mut self, group: &SecurityGroup) {
        let name = GroupName { group: group.id };
        self.claim(group_name_key(group), Record::GroupName(name));
    }
}

/// The key under which a public address is claimed.
fn public_key(address: IpAddr) -> Key {
    Key {
        scope: Scope::everywhere(),
        kind: Kind::PublicAddress,
        name: address.to_string().into(),
    }
}

/// The key name under which a group's name is claimed.
#[must_use]
pub(crate) fn group_name_key(group: &SecurityGroup) -> String {
    format!("{}/{}", group.vpc, group.name.to_lowercase())
}
