//! Load balancers: their targets by group and by address.

use std::net::{IpAddr, Ipv6Addr};

use imbl::OrdSet;

use super::{RegionState, Revision, Stored};
use crate::id::{InstanceId, ListenerId, LoadBalancerId, TargetGroupId};
use crate::instance::DesiredState;
use crate::listener::Listener;
use crate::load_balancer::{IpAddressType, LoadBalancer};
use crate::network_interface::NetworkInterface;
use crate::target::{Target, TargetId, TargetKey};
use crate::target_group::{BalancedProtocol, TargetGroup};
use crate::vpc_peering_connection::PeeringStatus;

/// Why a registered target is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// No listener leads to its group.
    NotListened,
    /// Its instance is stopped.
    Stopped,
    /// Its instance is gone.
    Terminated,
    /// Its load balancer has no node in its zone.
    ZoneNotEnabled,
}

/// The keys of targets by address.
pub(super) type TargetsByAddress = OrdSet<(IpAddr, TargetKey)>;

impl RegionState {
    /// Whether the TCP connections to a listener, by one family, end at the node: their bytes change there,
    /// as TLS ends and headers of the proxy protocol are put before what clients send, or their family does.
    #[must_use]
    pub fn is_proxied(&self, listener: &Listener, is_ipv6: bool) -> bool {
        let Some(balancer) = self.load_balancers.get(&listener.load_balancer) else {
            return false;
        };
        if !listener.protocol.has_tcp()
            || is_ipv6 && balancer.ip_address_type != IpAddressType::Dualstack
        {
            return false;
        }
        listener.protocol == BalancedProtocol::Tls
            || self.is_translated(listener, is_ipv6)
            || self
                .groups_of_listener(listener)
                .any(|group| group.attributes.proxy_protocol_v2)
    }

    /// Whether the TCP connections to a listener, by one family, go to targets of the other one: it leads to
    /// no group of their own.
    #[must_use]
    pub fn is_translated(&self, listener: &Listener, is_ipv6: bool) -> bool {
        let mut groups = self.groups_of_listener(listener);
        listener.protocol.has_tcp() && groups.all(|group| group.is_ipv6() != is_ipv6)
    }

    /// The target groups that a listener leads to.
    pub fn groups_of_listener<'a>(
        &'a self,
        listener: &'a Listener,
    ) -> impl Iterator<Item = &'a Stored<TargetGroup>> {
        let groups = listener.forward.iter();
        groups.filter_map(|forward| self.target_groups.get(&forward.group))
    }

    /// The targets of a group, those on their way out included.
    pub fn targets_of_group(
        &self,
        group: TargetGroupId,
    ) -> impl Iterator<Item = &Stored<Target>> + '_ {
        self.targets
            .range(first_of(group)..=last_of(group))
            .map(|(_, target)| target)
    }

    /// The targets with an address, in whichever VPC it is.
    pub fn targets_at(&self, address: IpAddr) -> impl Iterator<Item = &Stored<Target>> + '_ {
        let first = (address, first_of(TargetGroupId(0)));
        let last = (address, last_of(TargetGroupId(u64::MAX)));
        self.targets_by_address
            .range(first..=last)
            .filter_map(|(_, key)| self.targets.get(key))
    }

    /// The interface that a target means, if there is one: its instance's primary one, or the one that
    /// has its address in the group's VPC or in one that is peered with it.
    #[must_use]
    pub fn target_eni(&self, target: &Target) -> Option<&Stored<NetworkInterface>> {
        if let TargetId::Instance(id) = target.key.id {
            return self.primary_eni(id);
        }
        let vpc = self.target_groups.get(&target.key.group)?.vpc;
        let address = target.address;
        self.eni_at(vpc, address).or_else(|| {
            let peerings = self.peerings_of_vpc(vpc);
            let mut live = peerings
                .filter_map(|id| self.vpc_peering_connections.get(&id))
                .filter(|connection| connection.status == PeeringStatus::Active);
            live.find_map(|connection| {
                let sides = [connection.requester.vpc, connection.accepter.vpc];
                let other = sides.into_iter().find(|side| *side != vpc)?;
                self.eni_at(other, address)
            })
        })
    }

    /// Why a registered target gets no flows and is not checked, if it is so.
    #[must_use]
    pub fn why_unused(&self, target: &Target) -> Option<Unused> {
        let Some(balancer) = self.load_balancers_of_group(target.key.group).next() else {
            return Some(Unused::NotListened);
        };
        if let TargetId::Instance(id) = target.key.id {
            match self.instances.get(&id).map(|found| found.desired) {
                Some(DesiredState::Running) => {}
                Some(DesiredState::Stopped) => return Some(Unused::Stopped),
                Some(DesiredState::Terminated) | None => return Some(Unused::Terminated),
            }
        }
        let mut zones = balancer.zones.iter();
        let is_enabled = zones.any(|own| target.is_of_zone(&own.zone));
        (!is_enabled).then_some(Unused::ZoneNotEnabled)
    }

    /// The load balancers with a listener that leads to a group. AWS allows one.
    pub fn load_balancers_of_group(
        &self,
        group: TargetGroupId,
    ) -> impl Iterator<Item = &Stored<LoadBalancer>> + '_ {
        let balancers: std::collections::BTreeSet<LoadBalancerId> = self
            .listeners_of_target_group(group)
            .filter_map(|id| Some(self.listeners.get(&id)?.load_balancer))
            .collect();
        balancers
            .into_iter()
            .filter_map(|id| self.load_balancers.get(&id))
    }

    /// The listener of a load balancer at a port.
    #[must_use]
    pub fn listener_at(&self, balancer: LoadBalancerId, port: u16) -> Option<&Stored<Listener>> {
        let mut listeners = self
            .listeners_of_load_balancer(balancer)
            .filter_map(|id: ListenerId| self.listeners.get(&id));
        listeners.find(|listener| listener.port == port)
    }

    /// Puts a target under its key.
    pub(super) fn put_target(&mut self, revision: Revision, at: TargetKey, target: Target) {
        self.targets_by_address.insert((target.address, at));
        let record = target.into();
        self.targets.insert(at, Stored { revision, record });
    }

    /// Removes the target of a key.
    pub(super) fn delete_target(&mut self, at: TargetKey) {
        if let Some(target) = self.targets.remove(&at) {
            self.targets_by_address.remove(&(target.address, at));
        }
    }
}

fn first_of(group: TargetGroupId) -> TargetKey {
    TargetKey {
        group,
        id: TargetId::Instance(InstanceId(0)),
        port: 0,
    }
}

fn last_of(group: TargetGroupId) -> TargetKey {
    TargetKey {
        group,
        id: TargetId::Ip(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
        port: u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TargetUid;
    use crate::target::{HealthState, TargetHealth};
    use crate::time::Timestamp;

    fn target(group: u64, id: TargetId, port: u16, last: u8) -> Target {
        Target {
            key: TargetKey {
                group: TargetGroupId(group),
                id,
                port,
            },
            uid: TargetUid(1),
            address: [10, 0, 0, last].into(),
            zone: None,
            is_zone_chosen: false,
            registered_at: Timestamp(0),
            draining_until: None,
            health: TargetHealth {
                state: HealthState::Initial,
                since: Timestamp(0),
            },
        }
    }

    #[test]
    fn targets_are_found_by_group_and_by_address() {
        let mut region = RegionState::default();
        let instance = TargetId::Instance(InstanceId(7));
        let address = TargetId::Ip([10, 0, 0, 5].into());
        for target in [
            target(1, instance, 80, 5),
            target(1, instance, 81, 5),
            target(1, address, 80, 5),
            target(2, address, u16::MAX, 5),
            target(2, instance, 0, 6),
        ] {
            region.put_target(Revision(1), target.key, target);
        }
        let of = |group| region.targets_of_group(TargetGroupId(group)).count();
        assert_eq!([of(0), of(1), of(2), of(3)], [0, 3, 2, 0]);
        let at = |region: &RegionState, last| region.targets_at([10, 0, 0, last].into()).count();
        assert_eq!([at(&region, 5), at(&region, 6), at(&region, 7)], [4, 1, 0]);
        let key = target(1, instance, 81, 5).key;
        region.delete_target(key);
        assert_eq!(at(&region, 5), 3);
        assert!(!region.targets.contains_key(&key));
    }
}
