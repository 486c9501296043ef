//! What the proxies of load balancers' nodes go by: the very tables that packets are balanced by, asked for a
//! connection instead of a packet.

use std::net::{IpAddr, SocketAddr};

use enid_model::id::{EniId, ResourceId as _, TargetGroupId};
use enid_model::load_balancer::LoadBalancer;
use enid_model::state::RegionState;
use enid_pipeline::balancer::{
    CHUNK, ListenerKey, ListenerRecord, Member, MemberKey, SLOTS, Share, SlotsKey, TargetKey,
};
use enid_pipeline::bytes::{Addr, Be16};
use enid_pipeline::table::protocol;
use sha2::{Digest as _, Sha256};

use crate::fragment::of_load_balancer;
use crate::tables::Tables;

/// The tables of one load balancer.
#[derive(Debug, Default)]
pub struct BalancerTables(Tables);

/// The target of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The target group that got the connection.
    pub group: TargetGroupId,
    /// The target.
    pub target: SocketAddr,
    /// Whether too few targets are healthy, and all get connections.
    pub is_fail_open: bool,
}

impl BalancerTables {
    /// The tables of a load balancer. `before` is what there was of it: what did not change is taken over.
    #[must_use]
    pub fn of(region: &RegionState, balancer: &LoadBalancer, before: Option<&Self>) -> Self {
        let before = before.map(|Self(tables)| tables);
        Self(of_load_balancer(region, balancer, before))
    }

    /// The target that a node gives a new connection, by the family of its client: one of that family if the
    /// listener leads to any. `number` is any, and another for each connection; where groups or targets are
    /// sticky the client's address is what counts.
    #[must_use]
    pub fn choose(&self, node: EniId, port: u16, client: IpAddr, number: u64) -> Option<Choice> {
        let listener = self.listener(node, port, client.is_ipv6())?;
        let hash = |is_sticky| if is_sticky { sticky(client) } else { number };
        // Other bits than those that choose the slot, as in the datapath.
        let place = hash(listener.flags & ListenerRecord::STICKY != 0) >> 40;
        let place = place.checked_rem(u64::from(listener.weights))?;
        let mut shares = listener.shares.iter().take(listener.count as usize);
        let share = shares.find(|share| place < u64::from(share.below))?;
        let hash = hash(share.flags & Share::STICKY != 0);
        let slot = u32::try_from(hash % u64::from(SLOTS)).ok()?;
        let key = SlotsKey {
            table: share.table,
            chunk: slot / CHUNK,
            pad: 0,
        };
        let slots = self.0.balancer_slots.get(&key)?;
        let number = slots.0.get((slot % CHUNK) as usize)?;
        let key = TargetKey {
            table: share.table,
            number: u32::from(*number),
            pad: 0,
        };
        let target = self.0.balancer_targets.get(&key)?;
        Some(Choice {
            group: TargetGroupId::from_bits(share.group),
            target: SocketAddr::new(target.address.into(), target.port.value()),
            is_fail_open: share.flags & Share::FAIL_OPEN != 0,
        })
    }

    /// Whether a connection to a target ends: the listener is gone or leads to its group no more, the target
    /// was deregistered and the group does not let such connections go on, or it is unhealthy.
    #[must_use]
    pub fn is_over(&self, node: EniId, port: u16, client: IpAddr, choice: &Choice) -> bool {
        let Some(listener) = self.listener(node, port, client.is_ipv6()) else {
            return true;
        };
        let key = MemberKey {
            group: choice.group.bits(),
            address: Addr::from(choice.target.ip()),
            port: Be16::new(choice.target.port()),
            pad: [0; 6],
        };
        match self.0.balancer_members.get(&key) {
            Some(member) => member.flags & Member::ENDS != 0,
            None => listener.flags & ListenerRecord::FORGETS != 0,
        }
    }

    fn listener(&self, node: EniId, port: u16, is_v6: bool) -> Option<&ListenerRecord> {
        let key = ListenerKey {
            node: node.bits(),
            port: Be16::new(port),
            protocol: protocol::TCP,
            is_v6: is_v6.into(),
            pad: [0; 4],
        };
        self.0.listeners.get(&key)
    }
}

fn sticky(client: IpAddr) -> u64 {
    let digest = match client {
        IpAddr::V4(client) => Sha256::digest(client.octets()),
        IpAddr::V6(client) => Sha256::digest(client.octets()),
    };
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(digest);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use enid_pipeline::balancer::{SHARES_MAX, Slots, TargetRecord};

    use super::*;

    const NODE: EniId = EniId(7);
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    /// Two groups with a target each, the second with nine of ten connections.
    fn tables(flags: u32) -> BalancerTables {
        let mut tables = Tables::default();
        let mut shares = [Share::default(); SHARES_MAX];
        for (index, (group, below)) in [(1_u64, 1_u32), (2, 10)].into_iter().enumerate() {
            shares[index] = Share {
                group,
                table: group,
                below,
                flags,
            };
            for chunk in 0..=SLOTS / CHUNK {
                let key = SlotsKey {
                    table: group,
                    chunk,
                    pad: 0,
                };
                let mut slots = Slots([0; CHUNK as usize]);
                for (at, slot) in slots.0.iter_mut().enumerate() {
                    *slot = u16::from(at % 2 == 1);
                }
                tables.balancer_slots.insert(key, slots);
            }
            for number in [0, 1] {
                let key = TargetKey {
                    table: group,
                    number,
                    pad: 0,
                };
                let target = TargetRecord {
                    vpc: 1,
                    address: Addr::v4([
                        10,
                        0,
                        0,
                        u8::try_from(10 * group).unwrap() + u8::try_from(number).unwrap(),
                    ]),
                    port: Be16::new(8080),
                    pad: [0; 6],
                };
                tables.balancer_targets.insert(key, target);
            }
        }
        let key = ListenerKey {
            node: NODE.bits(),
            port: Be16::new(443),
            protocol: protocol::TCP,
            is_v6: 0,
            pad: [0; 4],
        };
        let record = ListenerRecord {
            shares,
            count: 2,
            weights: 10,
            idle_s: 350,
            flags: ListenerRecord::DELIVERED,
            address: Addr::v4([10, 0, 0, 4]),
        };
        tables.listeners.insert(key, record);
        BalancerTables(tables)
    }

    fn chosen(tables: &BalancerTables, client: [u8; 4]) -> BTreeSet<SocketAddr> {
        let numbers = (0..100_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let choices = numbers.filter_map(|it| tables.choose(NODE, 443, client.into(), it));
        choices.map(|choice| choice.target).collect()
    }

    #[test]
    fn connections_spread_over_groups_and_targets_unless_they_stick() {
        let spread = tables(0);
        assert_eq!(chosen(&spread, [10, 0, 0, 9]).len(), 4);
        let sticky = tables(Share::STICKY);
        // The group is each connection's own, the target in it the client's.
        assert_eq!(chosen(&sticky, [10, 0, 0, 9]).len(), 2);
        let mut fixed = tables(0);
        for listener in fixed.0.listeners.values_mut() {
            listener.flags |= ListenerRecord::STICKY;
        }
        // And the other way round; each client has its own.
        let of_client = |last| {
            let groups = chosen(&fixed, [10, 0, 0, last]).into_iter();
            groups.map(|target| target.to_string().starts_with("10.0.0.1"))
        };
        let all: BTreeSet<Vec<bool>> = (1..60).map(|last| of_client(last).collect()).collect();
        assert_eq!(all, BTreeSet::from([vec![true, true], vec![false, false]]));
        assert!(spread.choose(NODE, 444, CLIENT, 0).is_none());
        // The node has no such listener for IPv6.
        let other = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert!(spread.choose(NODE, 443, other, 0).is_none());
    }

    #[test]
    fn a_connection_goes_on_until_its_target_or_listener_is_gone() {
        let mut known = tables(0);
        let choice = known.choose(NODE, 443, CLIENT, 0).expect("a target");
        assert!(!known.is_over(NODE, 443, CLIENT, &choice));
        assert!(known.is_over(NODE, 444, CLIENT, &choice));
        let key = MemberKey {
            group: choice.group.bits(),
            address: Addr::from(choice.target.ip()),
            port: Be16::new(choice.target.port()),
            pad: [0; 6],
        };
        known.0.balancer_members.insert(key, Member { flags: 0 });
        assert!(!known.is_over(NODE, 443, CLIENT, &choice));
        known.0.balancer_members.insert(
            key,
            Member {
                flags: Member::ENDS,
            },
        );
        assert!(known.is_over(NODE, 443, CLIENT, &choice));
        // Deregistered, where the group ends such connections.
        known.0.balancer_members.clear();
        for listener in known.0.listeners.values_mut() {
            listener.flags |= ListenerRecord::FORGETS;
        }
        assert!(known.is_over(NODE, 443, CLIENT, &choice));
    }
}
