//! The region: resources and the operations on them, each one transaction.
//!
//! An operation reads the state through a [`Draft`], checks AWS's rules, and writes what shall be
//! true into the same draft. [`Control::transact`] commits it if everything that was read is still
//! so, and otherwise runs the operation again. It answers when every live host obeys the commit.
//!
//! One file per resource, by AWS's name for it. Operations that read only take a
//! [`RegionState`](enid_model::state::RegionState) from [`Control::read`].

#![forbid(unsafe_code)]

pub mod account;
mod address;
mod address_association;
mod address_lease;
mod address_limit;
mod alarm;
mod alarm_action;
mod alarm_message;
mod alarm_rule;
mod alarm_state;
mod anomaly_detector;
mod attachment;
mod balancer_tag;
mod certificate;
mod certificate_facts;
mod dashboard;
mod delivery_policy;
mod dhcp_options;
mod draft;
mod egress_only_internet_gateway;
mod error;
#[cfg(test)]
mod fixture;
mod flow_log;
mod idempotency;
mod image;
mod instance;
mod instance_attribute;
mod instance_launch;
mod instance_metadata;
mod instance_specification;
mod instance_state;
mod internet_gateway;
mod ipv6_lease;
mod key_material;
mod key_pair;
mod launch_template;
mod listener;
mod listener_tls;
mod load_balancer;
mod load_balancer_attribute;
mod load_balancer_node;
mod log_group;
mod log_stream;
mod metric_filter;
mod nat_gateway;
mod nat_gateway_address;
mod nat_gateway_drain;
mod network_acl;
mod network_acl_entry;
mod network_interface;
mod network_interface_address;
mod network_interface_attribute;
mod network_interface_ipv6;
mod network_interface_permission;
mod prefix_list;
mod private_dns_name;
mod public_address;
mod public_pool;
mod quota;
mod region;
mod route;
mod route_table;
mod route_table_edge;
mod route_target;
mod security_group;
mod security_group_permission;
mod security_group_reference;
mod security_group_rule;
mod security_group_rule_edit;
mod security_group_vpc_association;
mod subnet;
mod subnet_cidr_block;
mod subnet_cidr_reservation;
mod subscription;
mod subscription_filter;
mod tag;
mod taggable;
mod target;
mod target_group;
mod target_group_attribute;
mod target_health;
mod target_quota;
mod topic;
mod traffic_mirror_filter;
mod traffic_mirror_filter_rule;
mod traffic_mirror_session;
mod traffic_mirror_target;
mod volume;
mod vpc;
mod vpc_cidr_block;
mod vpc_peering_connection;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enid_model::key::{AccountId, RegionName, Scope};
use enid_model::region::Region;
use enid_model::state::{RegionState, Revision, State};
use enid_model::time::{Clock, Timestamp};
use enid_store::{CommitError, Store};
use rand::rngs::StdRng;

pub use address::{AddressSelector, AllocateAddress, DEFAULT_POOL};
pub use address_association::{AssociateAddress, AssociationTarget};
pub use address_lease::{ListedAddress, WantedAddresses, parse_address, parse_prefix};
pub use alarm::{PutAlarm, alarm_arn, alarm_named_by_arn};
pub use alarm_action::{ActionTarget, InstanceAction, has_overdue_suppression};
pub use alarm_rule::{RuleError, alarm_children};
pub use alarm_state::Judged;
pub use attachment::AttachNetworkInterface;
pub use balancer_tag::balancer_tags;
pub use certificate::{ImportCertificate, certificate_arn, certificate_named, listeners_with};
pub use dashboard::dashboard_arn;
pub use delivery_policy::{subscription_delivery_policy, topic_delivery_policy};
pub use dhcp_options::{AMAZON_PROVIDED_DNS, CreateDhcpOptions};
pub use draft::Draft;
pub use egress_only_internet_gateway::CreateEgressOnlyInternetGateway;
pub use error::{
    AddressingError, AlarmError, BalancingError, CertificateError, ComputingError, DashboardError,
    Error, FlowLogError, LogsError, MetadataError, MirroringError, NotificationError, RoutingError,
};
pub use flow_log::{
    BucketRefusal, CreateFlowLogs, FileOptions, FlowLogOutcomes, FlowLogResourceType,
};
pub use image::Images;

pub use instance_attribute::{CreditOutcomes, ModifyInstance};
pub use instance_launch::{Reservation, default_subnet};
pub use instance_metadata::{ModifyMetadataDefaults, WantedMetadata};
pub use instance_specification::{InterfaceSpecification, RunInstances};
pub use instance_state::{InstanceState, StateChange, is_visible, transition_reason};
pub use internet_gateway::gateway_of;
pub use ipv6_lease::{WantedIpv6Addresses, parse_ipv6_address, parse_ipv6_prefix};
pub use key_pair::{CreateKeyPair, ImportKeyPair, KeyPairSelector, key_pair_named};
pub use launch_template::{
    CreateLaunchTemplate, CreateLaunchTemplateVersion, DeletedVersions, LaunchParameters,
    NewVersion, TemplateSelector, VersionKept, VersionSelector, template_selected,
    template_version,
};
pub use listener::{
    CreateListener, ForwardAction, LISTENERS_MAX, ModifyListener, listener_attributes,
};
pub use listener_tls::WantedTls;
pub use load_balancer::{CreateLoadBalancer, load_balancer_arn, load_balancer_named};
pub use load_balancer_attribute::{Attribute, load_balancer_attributes, new_access_log_bucket};
pub use load_balancer_node::SubnetMapping;
pub use log_group::{CreateLogGroup, check_group_name, log_group_named};
pub use log_stream::{check_stream_name, log_stream_named};
pub use metric_filter::PutMetricFilter;
pub use nat_gateway::{CreateNatGateway, nat_gateway_is_visible};
pub use nat_gateway_address::{AssignPrivateNatGatewayAddress, AssociateNatGatewayAddress};
pub use nat_gateway_drain::DrainSeconds;
pub use network_acl::CreateNetworkAcl;
pub use network_acl_entry::{AclEntryKey, WantedAclEntry, last_acl_entries};
pub use network_interface::CreateNetworkInterface;
pub use network_interface_address::{AssignPrivateAddresses, AssignedPrivateAddresses};
pub use network_interface_attribute::ModifyNetworkInterface;
pub use network_interface_ipv6::Ipv6Addresses;
pub use prefix_list::{CreatePrefixList, ModifyPrefixList, WantedEntry, version_of};
pub use private_dns_name::WantedPrivateDnsName;
pub use public_address::public_address_of;
pub use public_pool::{NamedPool, PublicPools};
pub use quota::Quotas;
pub use route::WantedDestination;
pub use route_table::{CreateRouteTable, RouteTableUser};
pub use route_target::{WantedTarget, is_active};
pub use security_group::{CreateSecurityGroup, GroupSelector, group_named};
pub use security_group_permission::{
    FlatPermission, GroupPair, IpPermission, IpRange, PrefixListPeer,
};
pub use security_group_reference::{ForeignPeer, active_peering, foreign_peer};
pub use security_group_rule::{AuthorizeRules, Authorized, RevokeRules, Revoked};
pub use security_group_rule_edit::{RuleRequest, UpdateRuleDescriptions};
pub use subnet::{CreateSubnet, ModifySubnetAttribute, available_addresses};
pub use subnet_cidr_reservation::CreateSubnetCidrReservation;
pub use subscription::{
    CheckedFilterPolicy, Subscribe, Subscribed, SubscriptionAttribute, subscription_arn,
    subscription_with_token,
};
pub use subscription_filter::PutSubscriptionFilter;
pub use tag::{Tag, TagSelector, TagSpecification};
pub use taggable::{Taggable, tagged, tagged_others, tags_of};
pub use target::{ALL_ZONES, NamedTarget, is_over, target_key};
pub use target_group::{
    CreateTargetGroup, TRAFFIC_PORT, WantedHealthCheck, target_group_arn, target_group_named,
};
pub use target_group_attribute::target_group_attributes;
pub use target_health::{NOT_REGISTERED, TargetCondition};
pub use target_quota::{TARGETS_PER_BALANCER_MAX, TARGETS_PER_GROUP_MAX, TARGETS_PER_ZONE_MAX};
pub use topic::{CreateTopic, TopicAttribute, check_owner, topic_arn, topic_named};
pub use traffic_mirror_filter::CreateTrafficMirrorFilter;
pub use traffic_mirror_filter_rule::{
    CreateTrafficMirrorFilterRule, MirrorRuleField, ModifyTrafficMirrorFilterRule, WantedPorts,
};
pub use traffic_mirror_session::{
    CreateTrafficMirrorSession, MirrorSessionField, ModifyTrafficMirrorSession,
};
pub use traffic_mirror_target::CreateTrafficMirrorTarget;
pub use volume::{ROOT_SIZE_GIB, WantedDevice, cpu_credits, place_of_volume};
pub use vpc::{CreateVpc, ModifyVpcAttribute, default_vpc};
pub use vpc_cidr_block::{IPV6_POOL, VpcBlock, WantedBlock, WantedIpv6Block};
pub use vpc_peering_connection::{
    CreateVpcPeeringConnection, expiration_time, is_peering_visible, peering_status, status_code,
};

/// Who calls, and where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The caller's account; resources that a call makes belong to it.
    pub account: AccountId,
    /// The region that the call was signed for.
    pub region: &'static Region,
    /// Whether to stop short of changing anything: the answer is then [`Error::DryRun`].
    pub dry_run: bool,
    /// What the request asks for, in a form that is the same for two requests only if both ask for
    /// the same, in every version. Needed where a client token is.
    pub asked: Option<Arc<str>>,
}

impl Caller {
    /// What the caller can see.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            account: self.account,
            region: RegionName::new(self.region.name),
        }
    }
}

/// A caller's region with all others, at one revision: what is attached across accounts is told by two
/// of them.
#[derive(Clone)]
pub struct Seen {
    /// All regions.
    pub state: Arc<State>,
    /// Whose region it is, and where.
    pub scope: Scope,
    /// The region.
    pub region: Arc<RegionState>,
}

impl std::ops::Deref for Seen {
    type Target = RegionState;

    fn deref(&self) -> &RegionState {
        &self.region
    }
}

/// How long a host may take to obey a change. A healthy one takes milliseconds.
const ENFORCEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// The control plane over one store.
pub struct Control {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Mutex<StdRng>,
    quotas: Quotas,
    images: Images,
    pools: PublicPools,
    /// Whether there are log groups that flow logs may go to.
    has_log_groups: bool,
}

/// How often an operation is run again because others changed what it had read. Each round, at
/// least one of the rivals commits, so this many rounds mean this many rivals.
const ROUNDS_MAX: u32 = 100;

impl Control {
    /// A control plane that tells time by a clock and draws ids and addresses from a generator.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, random: StdRng) -> Self {
        let random = Mutex::new(random);
        Self {
            store,
            clock,
            random,
            quotas: Quotas::default(),
            images: Images::default(),
            pools: PublicPools::default(),
            has_log_groups: false,
        }
    }

    /// The same with other quotas.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }

    /// The same with another choice of images.
    #[must_use]
    pub fn with_images(self, images: Images) -> Self {
        Self { images, ..self }
    }

    /// The same with other pools of public addresses.
    #[must_use]
    pub fn with_pools(self, pools: PublicPools) -> Self {
        Self { pools, ..self }
    }

    /// The same with log groups that flow logs may go to.
    #[must_use]
    pub fn with_log_groups(self) -> Self {
        Self {
            has_log_groups: true,
            ..self
        }
    }

    /// Which images can be launched.
    #[must_use]
    pub fn images(&self) -> Images {
        self.images
    }

    /// Where public addresses and IPv6 blocks come from.
    #[must_use]
    pub fn pools(&self) -> &PublicPools {
        &self.pools
    }

    /// The quotas in force.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The caller's region as it is now. It comes to life here if this is its first use.
    pub async fn read(&self, caller: &Caller) -> Result<Arc<RegionState>, Error> {
        Ok(self.see(caller).await?.region)
    }

    /// The same with the regions of other accounts.
    pub async fn see(&self, caller: &Caller) -> Result<Seen, Error> {
        let scope = caller.scope();
        loop {
            let state = self.store.state();
            if let Some(region) = state.region(&scope).filter(|r| region::is_awake(r)) {
                let region = Arc::clone(region);
                return Ok(Seen {
                    state,
                    scope,
                    region,
                });
            }
            let awake = Caller {
                dry_run: false,
                ..caller.clone()
            };
            self.attempt(&awake, &mut region::wake).await?;
        }
    }

    /// Runs an operation until it commits, fails, or finds nothing to change.
    pub async fn transact<T>(
        &self,
        caller: &Caller,
        mut operation: impl FnMut(&mut Draft<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // A reset may come between waking the region and the operation, which must not see a
        // region without what every region has.
        let mut awake = |draft: &mut Draft<'_>| {
            if region::is_awake(&draft.region) {
                operation(draft)
            } else {
                Err(Error::TooManyRivals)
            }
        };
        for _ in 0..ROUNDS_MAX {
            self.read(caller).await?;
            match self.attempt(caller, &mut awake).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) | Err(Error::TooManyRivals) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::TooManyRivals)
    }

    /// The generator of ids, addresses and keys.
    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every live host obeys a revision.
    async fn enforced(&self, revision: Revision) -> Result<(), Error> {
        let obeyed = self.store.hosts().obeyed(revision);
        tokio::time::timeout(ENFORCEMENT_PATIENCE, obeyed)
            .await
            .map_err(|_elapsed| Error::NotEnforced)
    }

    /// One round; `None` if somebody else changed what it had read.
    async fn attempt<T>(
        &self,
        caller: &Caller,
        operation: &mut impl FnMut(&mut Draft<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let (read, transaction, done) = {
            let state = self.store.state();
            let mut random = self.random();
            let mut draft = Draft::new(self, caller, &state, &mut random);
            let done = operation(&mut draft)?;
            (state.revision, draft.into_transaction(), done)
        };
        if caller.dry_run {
            return Err(Error::DryRun);
        }
        if transaction.is_empty() {
            // What was found to be so already may be another call's, and not in force yet.
            self.enforced(read).await?;
            return Ok(Some(done));
        }
        match self.store.commit(transaction).await {
            Ok(revision) => {
                self.enforced(revision).await?;
                Ok(Some(done))
            }
            Err(CommitError::Conflict) => Ok(None),
            Err(CommitError::Full) => Err(Error::StoreFull),
            Err(CommitError::Stopped) => Err(Error::StoreStopped),
        }
    }
}
