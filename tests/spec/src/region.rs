//! A small region, described as a person would.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    Direction, Endpoint, EndpointKey, EniRecord, GATE_OPEN, GROUPS_MAX, PolicyRecord, Route,
    RouteKey, SubnetRecord, TABLE_BITS, trie_id,
};
use enid_plan::gate::{self, RuleSpec};
use enid_plan::tables::Tables;

/// A security group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: u64,
    /// Who may be sent to.
    pub egress: Vec<RuleSpec>,
    /// Who may send.
    pub ingress: Vec<RuleSpec>,
}

/// A subnet: a /24 of its VPC.
#[derive(Clone, Copy, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: u64,
    /// Its VPC.
    pub vpc: u64,
    /// The third octet of `10.0.x.0/24`.
    pub octet: u8,
}

impl Subnet {
    /// The virtual router's address.
    #[must_use]
    pub fn router(&self) -> Addr {
        Addr::v4([10, 0, self.octet, 1])
    }

    /// The virtual router's MAC.
    #[must_use]
    pub fn router_mac(&self) -> Mac {
        let [.., a, b] = self.id.to_be_bytes();
        Mac([2, 0xff, 0, 0, a, b])
    }
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Eni {
    /// Its id.
    pub id: u64,
    /// Its subnet, by number.
    pub subnet: usize,
    /// Its private addresses.
    pub addresses: Vec<Addr>,
    /// Its security groups, by number.
    pub groups: Vec<usize>,
    /// Its MAC.
    pub mac: Mac,
    /// Whether the source/destination check is on.
    pub check: bool,
    /// Its device.
    pub ifindex: u32,
    /// Whether the tables know its device.
    pub is_up: bool,
}

/// A region.
#[derive(Clone, Default, Debug)]
pub struct Region {
    /// Subnets of all VPCs.
    pub subnets: Vec<Subnet>,
    /// Groups of all VPCs.
    pub groups: Vec<Group>,
    /// Interfaces of all VPCs.
    pub enis: Vec<Eni>,
}

/// Idle timeouts that all interfaces have.
pub const TCP_ESTABLISHED_S: u32 = 600;
/// Of UDP before it is a stream.
pub const UDP_S: u32 = 30;
/// Of a UDP stream.
pub const UDP_STREAM_S: u32 = 180;

impl Region {
    /// The subnet of an interface.
    #[must_use]
    pub fn subnet_of(&self, eni: &Eni) -> &Subnet {
        &self.subnets[eni.subnet]
    }

    /// The interface that has an address in a VPC.
    #[must_use]
    pub fn owner(&self, vpc: u64, addr: Addr) -> Option<&Eni> {
        self.enis
            .iter()
            .find(|eni| self.subnet_of(eni).vpc == vpc && eni.addresses.contains(&addr))
    }

    /// The tables that the plan makes of the region.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        for subnet in &self.subnets {
            let cidr = Addr::v4([10, 0, subnet.octet, 0]);
            let record = SubnetRecord {
                vpc: subnet.vpc,
                router: subnet.router(),
                cidr,
                cidr_len: 120,
                router_v6: Addr::UNSPECIFIED,
                route_table: subnet.vpc,
                acl: 0,
                acl_egress: GATE_OPEN,
                acl_ingress: GATE_OPEN,
                router_mac: subnet.router_mac(),
                pad: [0; 6],
            };
            tables.subnets.insert(subnet.id, record);
            let key = RouteKey {
                prefix_len: TABLE_BITS + 112,
                table: trie_id(subnet.vpc),
                addr: Addr::v4([10, 0, 0, 0]),
            };
            let route = Route {
                target: 0,
                kind: Route::LOCAL,
                prefix_len: 112,
            };
            tables.routes.insert(key, route);
        }
        for eni in &self.enis {
            self.add_eni(eni, &mut tables);
        }
        tables
    }

    fn add_eni(&self, eni: &Eni, tables: &mut Tables) {
        let subnet = self.subnet_of(eni);
        // Interfaces with the same groups share a policy.
        let policy = eni
            .groups
            .iter()
            .fold(1, |id, group| id * 64 + *group as u64);
        let mut groups = [0; GROUPS_MAX];
        for (slot, group) in groups.iter_mut().zip(&eni.groups) {
            *slot = self.groups[*group].id;
        }
        let record = EniRecord {
            vpc: subnet.vpc,
            subnet: subnet.id,
            policy,
            groups,
            ifindex: if eni.is_up { eni.ifindex } else { 0 },
            tcp_established_s: TCP_ESTABLISHED_S,
            udp_s: UDP_S,
            udp_stream_s: UDP_STREAM_S,
            mac: eni.mac,
            flags: if eni.check {
                EniRecord::SOURCE_DEST_CHECK
            } else {
                0
            },
            group_count: u8::try_from(eni.groups.len()).unwrap_or(u8::MAX),
        };
        tables.enis.insert(eni.id, record);
        if eni.is_up {
            tables.devices.insert(eni.ifindex, eni.id);
        }
        for addr in &eni.addresses {
            let key = EndpointKey {
                vpc: subnet.vpc,
                addr: *addr,
            };
            tables.endpoints.insert(key, Endpoint { eni: eni.id });
        }
        let rules = |direction| -> Vec<RuleSpec> {
            let groups = eni.groups.iter().map(|group| &self.groups[*group]);
            groups
                .flat_map(|group| match direction {
                    Direction::Egress => group.egress.clone(),
                    Direction::Ingress => group.ingress.clone(),
                })
                .collect()
        };
        let egress = gate::compile(policy, Direction::Egress, &rules(Direction::Egress));
        let ingress = gate::compile(policy, Direction::Ingress, &rules(Direction::Ingress));
        let record = PolicyRecord {
            egress_gate: egress.id,
            ingress_gate: ingress.id,
            open: gate::open_bits(&egress, &ingress),
        };
        tables.policies.insert(policy, record);
        egress.insert_into(tables);
        ingress.insert_into(tables);
    }
}
