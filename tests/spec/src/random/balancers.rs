//! Random load balancers, changes of them, and packets to their nodes.

use enid_model::target::HealthState;
use enid_model::target_group::{BalancedProtocol, MinimumHealthy};
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use ipnet::{IpNet, Ipv4Net};

use super::{ENIS, FAR_AWAY, FAR_AWAY_V6, GROUPS_PER_VPC, PORTS, Random, SUBNETS};
use crate::balancer::{Balancer, Listener, Target, TargetGroup, UNHEALTHY};
use crate::reading::Sender;
use crate::region::{Eni, POOL, Region, Way};

/// The ports of the targets of each group: none is a target of two.
const TARGET_PORTS: [u16; 3] = [1024, 443, 53];
/// Of each VPC's load balancer the listeners, with what they carry and after how long they forget.
const LISTENERS: [(BalancedProtocol, u16, u16); 4] = [
    (BalancedProtocol::TcpUdp, 80, 350),
    (BalancedProtocol::Udp, 53, 350),
    (BalancedProtocol::Tcp, 443, 100),
    (BalancedProtocol::TcpUdp, 40_000, 350),
];

impl Random {
    /// A region with load balancers in two of its VPCs: in up to three zones, and in one.
    pub fn balanced_region(&mut self, ifindexes: &[u32; ENIS]) -> Region {
        let mut region = self.region_of(ifindexes, &SUBNETS);
        let mut all = vec![0, 1, 5];
        all.retain(|_| self.chance(70));
        if all.is_empty() {
            all.push(1);
        }
        let base = region.subnets[0].id - 0x1000;
        let other = self.one(&[2, 4]);
        region.balancers = vec![
            self.balancer(&region, base + 0x3000, &all),
            self.balancer(&region, base + 0x4000, &[other]),
        ];
        region.balance();
        self.open(&mut region);
        region
    }

    /// Lets more pass than in other regions: what matters here comes after many gates. In half of them who is
    /// in the first VPC goes out through its NAT gateway, also to public load balancers.
    fn open(&mut self, region: &mut Region) {
        for group in &mut region.groups {
            for rules in [&mut group.egress, &mut group.ingress] {
                if self.chance(40) {
                    rules.push(self.rule_of("0.0.0.0/0", None));
                    rules.push(self.rule_of("::/0", None));
                }
            }
        }
        if self.chance(50) {
            return;
        }
        let ways = [
            (0, Way::Nat(0)),
            (1, Way::InternetGateway),
            (5, Way::Nat(0)),
        ];
        for (subnet, way) in ways {
            let routes = &mut region.subnets[subnet].routes;
            let is_for_all = |net: &IpNet| net.addr().is_ipv4() && net.prefix_len() == 0;
            routes.retain(|(net, _)| !is_for_all(net));
            routes.push((IpNet::V4(Ipv4Net::default()), way));
        }
    }

    fn balancer(&mut self, region: &Region, id: u64, subnets: &[usize]) -> Balancer {
        let (is_dualstack, is_public) = (self.chance(60), self.chance(75));
        let vpc = region.subnets[subnets[0]].vpc;
        let is_public = is_public && region.gateways.contains(&vpc);
        let groups = self.groups_of_nodes(subnets[0]);
        let node = |(number, subnet): (u8, &usize)| {
            let home = &region.subnets[*subnet];
            let mut addresses = vec![home.addr(9)];
            addresses.extend(is_dualstack.then(|| home.v6(9)));
            let [.., kind, _] = id.to_be_bytes();
            Eni {
                id: id + u64::from(number),
                subnet: *subnet,
                addresses,
                prefixes: Vec::new(),
                public: is_public.then(|| Addr::v4([POOL[0], POOL[1], kind, number])),
                groups: groups.clone(),
                mac: Mac([2, 0, 0, 0, kind, number]),
                check: true,
                ifindex: 0,
                is_up: false,
            }
        };
        let mut target_groups = Vec::new();
        for (number, port) in (0..).zip(TARGET_PORTS) {
            let mut group = TargetGroup {
                id: id + 0x100 + number,
                is_v6: number == 2,
                preserves: self.chance(60),
                is_sticky: self.chance(25),
                crosses: self.one(&[None, None, Some(true), Some(false)]),
                ends_deregistered: self.chance(30),
                ends_unhealthy: self.chance(70),
                least_healthy: MinimumHealthy {
                    count: self.one(&[Some(1), Some(1), Some(1), Some(2), None]),
                    percentage: self.one(&[None, None, Some(60)]),
                },
                targets: Vec::new(),
            };
            for _ in 0..1 + self.below(4) {
                self.add_target(region, vpc, &mut group, port);
            }
            target_groups.push(group);
        }
        let forwards: [&[(usize, u16)]; 4] = [
            &[(0, 1), (2, 1)],
            &[(0, 2), (1, 1), (2, 1)],
            &[(1, 1)],
            &[(2, 1), (0, 0), (1, 3)],
        ];
        let listeners = (0..)
            .zip(LISTENERS)
            .map(|(number, (carries, port, idle_s))| {
                let forward = self.one(&forwards).to_vec();
                Listener {
                    id: id + 0x200 + number,
                    carries,
                    port,
                    idle_s,
                    is_sticky: self.chance(25),
                    forward,
                }
            });
        let listeners = listeners.collect();
        Balancer {
            id,
            nodes: (1..).zip(subnets).map(node).collect(),
            crosses: self.chance(50),
            denies_ipv6_internet: self.chance(30),
            listeners,
            groups: target_groups,
        }
    }

    /// The security groups of a load balancer with nodes in a subnet, or none.
    fn groups_of_nodes(&mut self, subnet: usize) -> Vec<usize> {
        if self.chance(55) {
            return Vec::new();
        }
        let vpc = usize::try_from(SUBNETS[subnet].0 - 1).unwrap_or(0);
        let first = vpc * GROUPS_PER_VPC;
        let groups: Vec<usize> = (first..first + GROUPS_PER_VPC).collect();
        vec![self.one(&groups)]
    }

    /// Registers an interface of the VPC, or seldom an address that nobody has.
    fn add_target(&mut self, region: &Region, vpc: u64, group: &mut TargetGroup, port: u16) {
        let of_vpc = |eni: &&Eni| region.subnet_of(eni).vpc == vpc;
        let enis: Vec<&Eni> = region.enis.iter().filter(of_vpc).collect();
        if enis.is_empty() {
            return;
        }
        let eni = enis[self.index(enis.len())];
        let home = region.subnet_of(eni);
        let nobody = if group.is_v6 {
            home.v6(201)
        } else {
            home.addr(201)
        };
        let own = eni
            .addresses
            .iter()
            .find(|addr| addr.is_v4() != group.is_v6);
        let address = if self.chance(5) {
            nobody
        } else {
            *own.unwrap_or(&nobody)
        };
        if group.targets.iter().any(|target| target.address == address) {
            return;
        }
        group.targets.push(Target {
            address,
            port,
            zone: self.chance(90).then_some(eni.subnet),
            health: self.health(),
            is_draining: false,
        });
    }

    fn health(&mut self) -> HealthState {
        let all = [HealthState::Healthy, UNHEALTHY, HealthState::Initial];
        all[usize::try_from([0, 0, 0, 1, 1, 2][self.index(6)]).unwrap_or(0)]
    }

    /// Changes something of a region with load balancers: as a rule not of these.
    pub fn change_balanced(&mut self, region: &mut Region) {
        if self.chance(70) {
            self.change(region);
            return;
        }
        let number = self.index(region.balancers.len());
        let mut balancer = region.balancers[number].clone();
        let vpc = region.subnet_of(&balancer.nodes[0]).vpc;
        let which = self.index(balancer.groups.len());
        let group = &mut balancer.groups[which];
        let index = self.index(group.targets.len().max(1));
        match (self.below(10), group.targets.get_mut(index)) {
            (0..=3, Some(target)) => target.health = self.health(),
            (4, Some(target)) => target.is_draining = !target.is_draining,
            (5, Some(_)) => {
                group.targets.remove(index);
            }
            (6, _) => group.preserves = !group.preserves,
            (7, _) => balancer.crosses = !balancer.crosses,
            (8, _) => {
                let groups = self.groups_of_nodes(balancer.nodes[0].subnet);
                for node in &mut balancer.nodes {
                    node.groups.clone_from(&groups);
                }
            }
            _ => self.add_target(region, vpc, group, TARGET_PORTS[which]),
        }
        region.balancers[number] = balancer;
        region.balance();
    }

    /// A packet to a node, of somebody inside or outside.
    pub(super) fn packet_to_node<'a>(&mut self, region: &'a Region) -> (Sender<'a>, PacketBuilder) {
        let balancer = &region.balancers[self.index(region.balancers.len())];
        let node = &balancer.nodes[self.index(balancer.nodes.len())];
        let listener = LISTENERS[self.index(LISTENERS.len())].1;
        let to = if self.chance(92) {
            listener
        } else {
            self.one(&PORTS)
        };
        let from = self.one(&PORTS);
        let transport = match self.below(20) {
            0..=9 => Transport::Tcp {
                from,
                to,
                flags: self.tcp_flags(),
            },
            10..=18 => Transport::Udp { from, to },
            _ => Transport::echo(from),
        };
        let wide = node.addresses.get(1).filter(|_| self.chance(35));
        let is_outside = self.chance(15) && (wide.is_some() || node.public.is_some());
        if is_outside {
            let (source, target) = match (wide, node.public) {
                (Some(wide), _) => (self.one(&FAR_AWAY_V6), *wide),
                (None, public) => (self.one(&FAR_AWAY), public.unwrap_or_default()),
            };
            let packet = PacketBuilder::new(source, target, of_family(transport, target));
            return self.send(region, Sender::Outside, packet);
        }
        let eni = &region.enis[self.index(region.enis.len())];
        let has_nat = |(_, way): &(IpNet, Way)| matches!(way, Way::Nat(_));
        let public_share = match region.subnet_of(eni).routes.iter().any(has_nat) {
            true => 85,
            false => 40,
        };
        let target = match (wide, node.public) {
            (Some(wide), _) => *wide,
            (None, Some(public)) if self.chance(public_share) => public,
            (None, _) => node.addresses[0],
        };
        let own = super::packet::of_family(eni, target.is_v4());
        let source = self.one(&own);
        let packet = PacketBuilder::new(source, target, of_family(transport, target));
        self.send(region, Sender::Eni(eni), packet)
    }
}

/// An echo in the words of the other family, if that is the target's.
fn of_family(transport: Transport, target: Addr) -> Transport {
    match transport {
        Transport::Icmp { rest, .. } if !target.is_v4() => Transport::Icmp {
            kind: 128,
            code: 0,
            rest,
            body: Vec::new(),
        },
        same => same,
    }
}
