//! A small region, described as a person would.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    Direction, Endpoint, EndpointKey, EniRecord, GROUPS_MAX, NatRecord, PolicyRecord, Pool,
    PoolKey, PublicOf, PublicRecord, Route, RouteKey, SubnetRecord, TABLE_BITS, trie_id,
};
use enid_plan::gate::{self, AclEntry, RuleSpec};
use enid_plan::tables::Tables;
use ipnet::Ipv4Net;

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

/// A subnet: a /24 of its VPC. It has a route table and a network ACL of its own.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: u64,
    /// Its VPC.
    pub vpc: u64,
    /// The first octets of its addresses.
    pub network: [u8; 3],
    /// Routes beside the VPC's local one, which is a /16.
    pub routes: Vec<(Ipv4Net, Way)>,
    /// What its network ACL says of what leaves, in any order.
    pub acl_egress: Vec<AclEntry>,
    /// And of what enters.
    pub acl_ingress: Vec<AclEntry>,
}

/// What a route leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Nowhere: its target is gone.
    Blackhole,
    /// The VPC's internet gateway.
    InternetGateway,
    /// The VPC itself.
    Local,
    /// A NAT gateway, by number.
    Nat(usize),
    /// Another VPC.
    Peer(u64),
}

/// A NAT gateway.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Its id.
    pub id: u64,
    /// The id of its interface.
    pub eni: u64,
    /// Its subnet, by number.
    pub subnet: usize,
    /// Private and public addresses; without public ones it is a private gateway.
    pub addresses: Vec<(Addr, Option<Addr>)>,
}

impl Subnet {
    /// The virtual router's address.
    #[must_use]
    pub fn router(&self) -> Addr {
        self.addr(1)
    }

    /// An address of the subnet.
    #[must_use]
    pub fn addr(&self, host: u8) -> Addr {
        let [a, b, c] = self.network;
        Addr::v4([a, b, c, host])
    }

    /// The VPC's block.
    #[must_use]
    pub fn local(&self) -> Ipv4Net {
        let [a, b, _] = self.network;
        // Unwrap: 16 is a prefix length.
        Ipv4Net::new([a, b, 0, 0].into(), 16).unwrap()
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
    /// The public address of the first of them.
    pub public: Option<Addr>,
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
    /// NAT gateways of all VPCs.
    pub nats: Vec<Nat>,
    /// VPCs with an internet gateway.
    pub gateways: Vec<u64>,
}

/// The MAC address at the far end of the device that leads outside.
pub const FAR: Mac = Mac([2, 0xee, 0, 0, 0, 1]);
/// The near end.
pub const NEAR: Mac = Mac([2, 0xee, 0, 0, 0, 2]);
/// The IPv6 address of an interface, by the last octet of its MAC; 1 is the router's.
#[must_use]
pub const fn v6(last: u8) -> Addr {
    Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

/// The first octets of the pool of public addresses, a /15.
pub const POOL: [u8; 2] = [198, 18];
/// The far end's own address.
pub const HOST: Addr = Addr::v4([198, 18, 0, 1]);

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

    /// The private address of a VPC with an internet gateway that a public one stands for, and that VPC.
    #[must_use]
    pub fn private_of(&self, public: Addr) -> Option<(u64, Addr)> {
        self.publics()
            .find_map(|(vpc, private, other)| (other == public).then_some((vpc, private)))
    }

    /// The public address of a private one.
    #[must_use]
    pub fn public_of(&self, vpc: u64, private: Addr) -> Option<Addr> {
        self.publics()
            .find_map(|(of, other, public)| ((of, other) == (vpc, private)).then_some(public))
    }

    /// The NAT gateway that has a private address in a VPC.
    #[must_use]
    pub fn nat_at(&self, vpc: u64, addr: Addr) -> Option<&Nat> {
        self.nats.iter().find(|nat| {
            let is_its_own = nat.addresses.iter().any(|(private, _)| *private == addr);
            self.subnets[nat.subnet].vpc == vpc && is_its_own
        })
    }

    fn publics(&self) -> impl Iterator<Item = (u64, Addr, Addr)> {
        let of_enis = self
            .enis
            .iter()
            .filter_map(|eni| Some((self.subnet_of(eni).vpc, eni.addresses[0], eni.public?)));
        let of_nats = self.nats.iter().flat_map(|nat| {
            let vpc = self.subnets[nat.subnet].vpc;
            let both = nat.addresses.iter();
            both.filter_map(move |(private, public)| Some((vpc, *private, (*public)?)))
        });
        of_enis.chain(of_nats)
    }

    /// The tables that the plan makes of the region.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        for subnet in &self.subnets {
            self.add_subnet(subnet, &mut tables);
        }
        for nat in &self.nats {
            self.add_nat(nat, &mut tables);
        }
        for (vpc, private, public) in self.publics() {
            let eni = self.owner(vpc, private).map(|eni| eni.id);
            let eni = eni.or_else(|| self.nat_at(vpc, private).map(|nat| nat.eni));
            let record = PublicRecord {
                vpc,
                eni: eni.unwrap_or(0),
                private,
                edge: 0,
            };
            tables.publics.insert(public, record);
            let key = EndpointKey { vpc, addr: private };
            tables.public_of.insert(key, PublicOf { addr: public });
        }
        let [a, b] = POOL;
        for (prefix_len, addr, flags) in [
            (96 + 15, Addr::v4([a, b, 0, 0]), 0),
            (128, HOST, Pool::HOST),
        ] {
            let key = PoolKey { prefix_len, addr };
            let pool = Pool {
                vpc: 0,
                flags,
                edge: 0,
            };
            tables.pools.insert(key, pool);
        }
        for eni in &self.enis {
            self.add_eni(eni, &mut tables);
        }
        tables
    }

    fn add_subnet(&self, subnet: &Subnet, tables: &mut Tables) {
        let acl = subnet.id + 1;
        let [egress, ingress] = [
            (Direction::Egress, &subnet.acl_egress),
            (Direction::Ingress, &subnet.acl_ingress),
        ]
        .map(|(direction, entries)| gate::compile_acl(acl, direction, entries, false));
        let record = SubnetRecord {
            vpc: subnet.vpc,
            router: subnet.router(),
            cidr: subnet.addr(0),
            cidr_len: 120,
            router_v6: v6(1),
            route_table: subnet.id,
            acl,
            acl_egress: egress.id,
            acl_ingress: ingress.id,
            router_mac: subnet.router_mac(),
            pad: [0; 6],
        };
        egress.insert_into(tables);
        ingress.insert_into(tables);
        tables.subnets.insert(subnet.id, record);
        let local = [(subnet.local(), Way::Local)];
        for (net, way) in local.iter().chain(&subnet.routes) {
            let (kind, target) = match way {
                Way::Blackhole => (Route::BLACKHOLE, 0),
                Way::InternetGateway => (Route::INTERNET_GATEWAY, 1),
                Way::Local => (Route::LOCAL, 0),
                Way::Nat(number) => (Route::NAT_GATEWAY, self.nats[*number].id),
                Way::Peer(vpc) => (Route::PEERING, *vpc),
            };
            let prefix_len = 96 + u32::from(net.prefix_len());
            let key = RouteKey {
                prefix_len: TABLE_BITS + prefix_len,
                table: trie_id(subnet.id),
                addr: Addr::from(net.network()),
            };
            let route = Route {
                target,
                kind,
                prefix_len,
            };
            tables.routes.insert(key, route);
        }
    }

    fn add_nat(&self, nat: &Nat, tables: &mut Tables) {
        let subnet = &self.subnets[nat.subnet];
        let is_public = nat.addresses.iter().all(|(_, public)| public.is_some());
        let mut record = NatRecord {
            vpc: subnet.vpc,
            subnet: subnet.id,
            eni: nat.eni,
            flags: if is_public { NatRecord::PUBLIC } else { 0 },
            count: u32::try_from(nat.addresses.len()).unwrap_or(0),
            private: [[0; 4]; 8],
            public: [[0; 4]; 8],
        };
        for (number, (private, public)) in nat.addresses.iter().enumerate() {
            record.private[number] = private.v4_octets();
            record.public[number] = public.unwrap_or_default().v4_octets();
            let key = EndpointKey {
                vpc: subnet.vpc,
                addr: *private,
            };
            tables.endpoints.insert(key, Endpoint { eni: nat.eni });
        }
        tables.nats.insert(nat.id, record);
        let interface = EniRecord {
            vpc: subnet.vpc,
            subnet: subnet.id,
            policy: 0,
            instance: 0,
            groups: [0; GROUPS_MAX],
            ifindex: 0,
            tcp_established_s: TCP_ESTABLISHED_S,
            udp_s: UDP_S,
            udp_stream_s: UDP_STREAM_S,
            mac: Mac([2, 0, 0, 0, 1, 1]),
            flags: EniRecord::NAT_GATEWAY,
            group_count: 0,
        };
        tables.enis.insert(nat.eni, interface);
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
            instance: 0,
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
        // IPv6 is not read: the addresses are there for neighbours to ask about.
        let own_v6 = v6(eni.mac.0[5]);
        for addr in eni.addresses.iter().chain([&own_v6]) {
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
