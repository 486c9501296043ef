//! The tables that the plan fills, as ordinary maps, and how two sets of them differ.

use std::collections::BTreeMap;

use crate::allowance::Allowance;
use crate::balancer::{
    ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
};
use crate::bytes::Addr;
use crate::capture::Capture;
use crate::mirror::{MirrorFilter, MirrorRecord};
use crate::table::{
    Endpoint, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey,
    GateServiceKey, MacKey, NatRecord, PolicyRecord, Pool, PoolKey, PrefixKey, PublicOf,
    PublicRecord, Route, RouteKey, RuleBits, ServiceRecord, SubnetRecord,
};

/// How one table differs from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<K, V> {
    /// Entries that are new or different.
    pub put: Vec<(K, V)>,
    /// Keys that are gone.
    pub delete: Vec<K>,
}

impl<K, V> Default for Change<K, V> {
    fn default() -> Self {
        Self {
            put: Vec::new(),
            delete: Vec::new(),
        }
    }
}

impl<K, V> Change<K, V> {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// How many entries differ.
    pub fn len(&self) -> usize {
        self.put.len() + self.delete.len()
    }
}

fn change<K: Ord + Copy, V: PartialEq + Copy>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Change<K, V> {
    let put = new
        .iter()
        .filter(|(key, value)| old.get(key) != Some(value));
    let delete = old.keys().filter(|key| !new.contains_key(key));
    Change {
        put: put.map(|(k, v)| (*k, *v)).collect(),
        delete: delete.copied().collect(),
    }
}

/// Declares both structs from one list, so that no table is forgotten by an operation.
macro_rules! tables {
    ($($(#[$doc:meta])+ $name:ident: $key:ty => $value:ty;)+) => {
        /// All tables that the plan fills.
        #[derive(Clone, Default, PartialEq, Eq, Debug)]
        pub struct TableSet {
            $($(#[$doc])+ pub $name: BTreeMap<$key, $value>,)+
        }

        /// How one set of tables differs from another.
        #[derive(Clone, Default, PartialEq, Eq, Debug)]
        pub struct TableDiff {
            $($(#[$doc])+ pub $name: Change<$key, $value>,)+
        }

        impl TableSet {
            /// What has to change in `self` for it to be `new`.
            #[must_use]
            pub fn diff(&self, new: &Self) -> TableDiff {
                TableDiff { $($name: change(&self.$name, &new.$name),)+ }
            }

            /// Adds all entries of another set; they replace those with the same keys.
            pub fn extend(&mut self, other: &Self) {
                $(self.$name.extend(other.$name.iter().map(|(k, v)| (*k, *v)));)+
            }

            /// Changes the tables as a difference says.
            pub fn apply(&mut self, diff: &TableDiff) {
                $(
                    for (key, value) in &diff.$name.put {
                        self.$name.insert(*key, *value);
                    }
                    for key in &diff.$name.delete {
                        self.$name.remove(key);
                    }
                )+
            }

            /// How many entries there are in all tables.
            #[must_use]
            pub fn len(&self) -> usize {
                0 $(+ self.$name.len())+
            }

            /// Whether all tables are empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl TableDiff {
            /// Whether there is no difference.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many entries differ.
            #[must_use]
            pub fn len(&self) -> usize {
                0 $(+ self.$name.len())+
            }

            /// Each difference in words: table, what is wrong, and the key.
            #[must_use]
            pub fn describe(&self) -> Vec<String> {
                let mut lines = Vec::with_capacity(self.len());
                $(
                    for (key, value) in &self.$name.put {
                        lines.push(format!("{}: missing or different {key:?}: {value:?}", stringify!($name)));
                    }
                    for key in &self.$name.delete {
                        lines.push(format!("{}: not wanted {key:?}", stringify!($name)));
                    }
                )+
                lines
            }
        }
    };
}

tables! {
    /// Host-side device → ENI.
    devices: u32 => u64;
    /// Network interfaces.
    enis: u64 => EniRecord;
    /// Addresses → ENI.
    endpoints: EndpointKey => Endpoint;
    /// Delegated prefixes → ENI.
    prefixes: PrefixKey => Endpoint;
    /// MAC addresses → ENI.
    /// Subnets.
    subnets: u64 => SubnetRecord;
    /// Routes.
    routes: RouteKey => Route;
    /// NAT gateways.
    nats: u64 => NatRecord;
    /// Public addresses → private ones.
    publics: Addr => PublicRecord;
    /// Private addresses → public ones.
    public_of: EndpointKey => PublicOf;
    /// Pools of public addresses, and IPv6 blocks of VPCs.
    pools: PoolKey => Pool;
    /// VPCs → their link-local services.
    services: u64 => ServiceRecord;
    /// Devices that lead to link-local services → their VPC.
    service_devices: u32 => u64;
    /// MAC addresses → ENI.
    macs: MacKey => Endpoint;
    /// Instances → what they may use.
    allowances: u64 => Allowance;
    /// Ports of load balancers' nodes → where flows go.
    listeners: ListenerKey => ListenerRecord;
    /// Maglev tables.
    balancer_slots: SlotsKey => Slots;
    /// The targets that they name.
    balancer_targets: TargetKey => TargetRecord;
    /// Targets → what becomes of their flows.
    balancer_members: MemberKey => Member;
    /// ENIs → their mirror sessions.
    mirrors: u64 => MirrorRecord;
    /// Filters of mirror sessions.
    mirror_filters: u64 => MirrorFilter;
    /// ENIs → what is captured of their packets.
    captures: u64 => Capture;
    /// Policies → gates.
    policies: u64 => PolicyRecord;
    /// Remote prefixes → rules.
    gate_remotes: GateRemoteKey => RuleBits;
    /// Security groups → rules.
    gate_groups: GateGroupKey => RuleBits;
    /// Protocols and ports → rules.
    gate_services: GateServiceKey => RuleBits;
    /// Rules.
    gate_rules: GateRuleKey => GateRule;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(gate: u64) -> PolicyRecord {
        PolicyRecord {
            egress_gate: gate,
            ingress_gate: 0,
            open: 0,
        }
    }

    #[test]
    fn applying_the_difference_makes_the_other() {
        let mut old = TableSet::default();
        old.policies.insert(1, policy(10));
        old.policies.insert(2, policy(20));
        old.devices.insert(3, 7);
        let mut new = TableSet::default();
        new.policies.insert(2, policy(21));
        new.policies.insert(4, policy(40));
        new.devices.insert(3, 7);

        let diff = old.diff(&new);
        assert_eq!(diff.policies.delete, [1]);
        assert_eq!(diff.policies.put, [(2, policy(21)), (4, policy(40))]);
        assert!(diff.devices.is_empty());
        assert_eq!(diff.len(), 3);
        assert_eq!(diff.describe().len(), 3);
        old.apply(&diff);
        assert_eq!(old, new);
        assert!(old.diff(&new).is_empty());
    }
}
