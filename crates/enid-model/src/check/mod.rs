//! Is everything that is stored consistent? Each kind of record has a function that says what must
//! be true of it.
//!
//! Every operation is one transaction, so these invariants hold at every revision, not only when
//! nothing is under way. A finding is a bug of Enid (or of whoever wrote into its store), never of
//! its users. `enid check` prints findings; the tests demand that there are none.
//!
//! A new kind of record needs an arm in [`Report::kind`]: the match is exhaustive.

mod address;
mod alarm;
mod gateway;
mod interface;
mod lease;
mod load_balancer;
mod log;
mod name;
mod permission;
mod route;
mod security;
mod topic;
mod traffic_mirror;
mod volume;
mod vpc;

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::id::{EniId, SecurityGroupId, VpcId};
use crate::key::{Kind, Scope};
use crate::network_interface::NetworkInterface;
use crate::state::{RegionState, State};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Where: account and region.
    pub scope: String,
    /// What the record is, such as `network-interface`.
    pub kind: String,
    /// Which one.
    pub record: String,
    /// What must be true of it.
    pub invariant: String,
    /// What was found instead.
    pub found: String,
}

impl Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            scope,
            kind,
            record,
            invariant,
            found,
        } = self;
        write!(f, "{scope}/{kind}/{record}: {invariant}: {found}")
    }
}

/// Holds all records against what must be true of them.
#[must_use]
pub fn check(state: &State) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (scope, region) in state.regions() {
        let mut report = Report {
            state,
            scope,
            region,
            kind: Kind::Region,
            findings: Vec::new(),
        };
        for kind in Kind::all() {
            report.kind(kind);
        }
        report.indexes();
        findings.append(&mut report.findings);
    }
    findings
}

/// The examination of one region.
struct Report<'a> {
    /// Everything: what is claimed across all regions is not in the region.
    state: &'a State,
    scope: &'a Scope,
    region: &'a RegionState,
    /// The kind that is being examined.
    kind: Kind,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    fn kind(&mut self, kind: Kind) {
        self.kind = kind;
        match kind {
            Kind::AddressLease => self.address_leases(),
            // An option set refers to nothing, what a flow log is of may be gone, and everything about a
            // region's first steps may have gone since. What a client token made may be gone as well.
            // So may what an alarm's history tells of, and what an alarm is to do.
            // A detector may be of a metric that has no data yet. A certificate refers to nothing.
            Kind::AlarmAction
            | Kind::AlarmHistory
            | Kind::AnomalyDetector
            | Kind::Certificate
            | Kind::Dashboard
            | Kind::DhcpOptions
            | Kind::FlowLog
            | Kind::Region
            | Kind::Token
            | Kind::Topic => {}
            Kind::Alarm => self.alarms(),
            Kind::EgressOnlyInternetGateway => self.egress_only_internet_gateways(),
            Kind::ElasticIp => self.elastic_ips(),
            Kind::GroupName => self.group_names(),
            Kind::Instance => self.instances(),
            Kind::InternetGateway => self.internet_gateways(),
            Kind::Ipv6Lease => self.ipv6_leases(),
            Kind::Ipv6PrefixLease => self.ipv6_prefix_leases(),
            Kind::KeyPair => self.key_pairs(),
            Kind::LaunchTemplate => self.launch_templates(),
            Kind::LentInterface => self.lent_interfaces(),
            Kind::Listener => self.listeners(),
            Kind::LoadBalancer => self.load_balancers(),
            Kind::LogGroup => self.log_groups(),
            Kind::LogStream => self.log_streams(),
            Kind::NameClaim => self.names(),
            Kind::NatGateway => self.nat_gateways(),
            Kind::NetworkAcl => self.network_acls(),
            Kind::NetworkInterface => self.network_interfaces(),
            Kind::NetworkInterfacePermission => self.network_interface_permissions(),
            Kind::PrefixList => self.prefix_lists(),
            Kind::PublicAddress => self.public_addresses(),
            Kind::RouteTable => self.route_tables(),
            Kind::SecurityGroup => self.security_groups(),
            Kind::Subnet => self.subnets(),
            Kind::SubnetCidrReservation => self.subnet_cidr_reservations(),
            Kind::Subscription => self.subscriptions(),
            Kind::Target => self.targets(),
            Kind::TargetGroup => self.target_groups(),
            Kind::TrafficMirrorFilter => self.traffic_mirror_filters(),
            Kind::TrafficMirrorSession => self.traffic_mirror_sessions(),
            Kind::TrafficMirrorTarget => self.traffic_mirror_targets(),
            Kind::Volume => self.volumes(),
            Kind::Vpc => self.vpcs(),
            Kind::VpcPeeringConnection => self.vpc_peering_connections(),
        }
    }

    /// Each index is what the records say.
    fn indexes(&mut self) {
        self.kind = Kind::Region;
        for index in self.region.stale_indexes() {
            self.find(&"", "every index is what the records say", &index);
        }
    }

    /// Notes what is wrong with a record.
    fn find(&mut self, record: &dyn Display, invariant: &'static str, found: &dyn Display) {
        self.findings.push(Finding {
            scope: format!("{}/{}", self.scope.account, self.scope.region),
            kind: self.kind.word().to_owned(),
            record: record.to_string(),
            invariant: invariant.to_owned(),
            found: found.to_string(),
        });
    }

    /// Notes it unless the invariant holds.
    fn need(
        &mut self,
        holds: bool,
        record: &dyn Display,
        invariant: &'static str,
        found: &dyn Display,
    ) {
        if !holds {
            self.find(record, invariant, found);
        }
    }

    /// An interface that must be there.
    fn eni(&mut self, record: &dyn Display, id: EniId) -> Option<&'a NetworkInterface> {
        let found = self.region.network_interfaces.get(&id);
        self.need(found.is_some(), record, "its interface is there", &id);
        found.map(|eni| &**eni.record())
    }

    /// The VPC of a record must be there.
    fn vpc(&mut self, record: &dyn Display, id: VpcId) {
        let there = self.region.vpcs.contains_key(&id);
        self.need(there, record, "its VPC is there", &id);
    }

    /// A group must be there.
    fn group(&mut self, record: &dyn Display, invariant: &'static str, id: SecurityGroupId) {
        let there = self.region.security_groups.contains_key(&id);
        self.need(there, record, invariant, &id);
    }

    /// Each value belongs to one record only.
    fn unique<T: Ord + Display>(
        &mut self,
        invariant: &'static str,
        values: impl Iterator<Item = (T, String)>,
    ) {
        let mut seen = BTreeMap::new();
        for (value, record) in values {
            if let Some(other) = seen.insert(value, record.clone()) {
                self.find(&record, invariant, &format_args!("{other} has the same"));
            }
        }
    }

    /// Whether the region has the records that came with a later version than the one that brought
    /// it to life; it gets them at its next use.
    fn is_current(&self) -> bool {
        let record = self.region.region.as_ref();
        record.is_some_and(|record| record.outfit > 0)
    }
}

#[cfg(test)]
mod tests;
