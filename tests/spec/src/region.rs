//! A small region, described as a person would.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    Direction, Endpoint, EndpointKey, EniRecord, GROUPS_MAX, MacKey, NatRecord, PolicyRecord, Pool,
    PoolKey, PrefixKey, PublicOf, PublicRecord, Route, RouteKey, SubnetRecord, TABLE_BITS, trie_id,
};
use enid_plan::gate::{self, AclEntry, RuleSpec};
use enid_plan::tables::Tables;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::balancer::{self, Balancer};

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
    /// Routes beside the VPC's local ones, a /16 and a /56.
    pub routes: Vec<(IpNet, Way)>,
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
    /// Out by the VPC's egress-only internet gateway; IPv6 only.
    EgressOnly,
    /// An interface, by number, whoever has the destination.
    Eni(usize),
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

    /// The VPC's blocks.
    #[must_use]
    pub fn locals(&self) -> [IpNet; 2] {
        let [a, b, _] = self.network;
        // Unwrap: both are prefix lengths of their families.
        let ipv4 = Ipv4Net::new([a, b, 0, 0].into(), 16).unwrap();
        let ipv6 = Ipv6Net::new(self.v6_base(0).into(), 56).unwrap();
        [IpNet::V4(ipv4), IpNet::V6(ipv6)]
    }

    /// Its own blocks.
    #[must_use]
    pub fn blocks(&self) -> [IpNet; 2] {
        let [a, b, c] = self.network;
        // Unwrap: both are prefix lengths of their families.
        let ipv4 = Ipv4Net::new([a, b, c, 0].into(), 24).unwrap();
        let ipv6 = Ipv6Net::new(self.v6_base(c).into(), 64).unwrap();
        [IpNet::V4(ipv4), IpNet::V6(ipv6)]
    }

    /// An IPv6 address of the subnet.
    #[must_use]
    pub fn v6(&self, host: u8) -> Addr {
        let mut octets = self.v6_base(self.network[2]);
        octets[15] = host;
        Addr::v6(octets)
    }

    /// The VPC's number makes its /56, the third octet of the IPv4 network the subnet's /64.
    const fn v6_base(&self, subnet: u8) -> [u8; 16] {
        let [.., vpc] = self.vpc.to_be_bytes();
        let [a, b, c, d] = V6_POOL;
        [a, b, c, d, 0, 0, vpc, subnet, 0, 0, 0, 0, 0, 0, 0, 0]
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
    /// Its private addresses, the primary one first, and its IPv6 addresses.
    pub addresses: Vec<Addr>,
    /// The prefixes that it was delegated.
    pub prefixes: Vec<IpNet>,
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
    /// Route tables of internet gateways, by their VPCs: routes beside the local ones.
    pub edges: Vec<(u64, Vec<(IpNet, Way)>)>,
    /// Load balancers of all VPCs.
    pub balancers: Vec<Balancer>,
    /// What the plan makes of them: see [`Region::balance`].
    pub balanced: Tables,
}

/// The MAC address at the far end of the device that leads outside.
pub const FAR: Mac = Mac([2, 0xee, 0, 0, 0, 1]);
/// The near end.
pub const NEAR: Mac = Mac([2, 0xee, 0, 0, 0, 2]);
/// The first octets of the pool of public addresses, a /15.
pub const POOL: [u8; 2] = [198, 18];
/// The pool of IPv6 blocks, a /32.
pub const V6_POOL: [u8; 4] = [0x20, 1, 0xd, 0xb8];
/// The far end's own address.
pub const HOST: Addr = Addr::v4([198, 18, 0, 1]);

/// The address on its link that an interface makes from its MAC.
#[must_use]
pub const fn on_link(mac: Mac) -> Addr {
    let Mac([a, b, c, d, e, f]) = mac;
    Addr::v6([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// The prefix length of a block, counted in 128 bits.
const fn bits_of(net: &IpNet) -> u32 {
    match net {
        IpNet::V4(net) => 96 + net.prefix_len() as u32,
        IpNet::V6(net) => net.prefix_len() as u32,
    }
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

    /// All interfaces that a packet can be for, those of the nodes of load balancers included.
    fn all_enis(&self) -> impl Iterator<Item = &Eni> {
        let nodes = self.balancers.iter().flat_map(|balancer| &balancer.nodes);
        self.enis.iter().chain(nodes)
    }

    /// The load balancer whose node has this interface.
    #[must_use]
    pub fn balancer_of(&self, node: u64) -> Option<(&Balancer, &Eni)> {
        self.balancers.iter().find_map(|balancer| {
            let mut nodes = balancer.nodes.iter();
            let node = nodes.find(|own| own.id == node)?;
            Some((balancer, node))
        })
    }

    /// Has the plan read the load balancers: to be called when they have changed.
    pub fn balance(&mut self) {
        self.balanced = balancer::tables_of(self);
    }

    /// The interface that has an address in a VPC.
    #[must_use]
    pub fn owner(&self, vpc: u64, addr: Addr) -> Option<&Eni> {
        let of_vpc = || self.all_enis().filter(|eni| self.subnet_of(eni).vpc == vpc);
        let ip = std::net::IpAddr::from(addr);
        let has_prefix = |eni: &&Eni| eni.prefixes.iter().any(|prefix| prefix.contains(&ip));
        let exact = of_vpc().find(|eni| eni.addresses.contains(&addr));
        exact.or_else(|| of_vpc().find(has_prefix))
    }

    /// The interface with a MAC in a subnet.
    #[must_use]
    pub fn neighbour(&self, subnet: usize, mac: Mac) -> Option<&Eni> {
        let mut enis = self.all_enis();
        enis.find(|eni| (eni.subnet, eni.mac) == (subnet, mac))
    }

    /// The interface that has an address as somebody in a subnet sees it: on the link, an interface has
    /// the address that is made from its MAC, and no other.
    #[must_use]
    pub fn owner_seen(&self, subnet: usize, addr: Addr) -> Option<&Eni> {
        if addr.is_v4() || !addr.is_link_local() {
            return self.owner(self.subnets[subnet].vpc, addr);
        }
        let mut enis = self.all_enis();
        enis.find(|eni| eni.subnet == subnet && on_link(eni.mac) == addr)
    }

    /// The routes of the internet gateway of a VPC, if it has a table of its own.
    #[must_use]
    pub fn edge(&self, vpc: u64) -> Option<&[(IpNet, Way)]> {
        let edge = self.edges.iter().find(|(of, _)| *of == vpc);
        edge.map(|(_, routes)| routes.as_slice())
    }

    /// The VPC whose IPv6 block an address is of.
    #[must_use]
    pub fn vpc_of_v6(&self, addr: Addr) -> Option<u64> {
        let ip = std::net::IpAddr::from(addr);
        let mut subnets = self.subnets.iter();
        let found = subnets.find(|subnet| subnet.locals()[1].contains(&ip));
        found.map(|subnet| subnet.vpc)
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
            .all_enis()
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
        let mut tables = self.balanced.clone();
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
                edge: self.edge_table(vpc),
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
        self.add_edges(&mut tables);
        for eni in self.all_enis() {
            self.add_eni(eni, &mut tables);
        }
        tables
    }

    /// The id of a gateway's route table; 0 if it has none.
    fn edge_table(&self, vpc: u64) -> u64 {
        self.edge(vpc).map_or(0, |_| vpc + 0x800)
    }

    /// The route tables of gateways, and what IPv6 has instead of public addresses.
    fn add_edges(&self, tables: &mut Tables) {
        let mut add = |net: IpNet, pool: Pool| {
            let key = PoolKey {
                prefix_len: bits_of(&net),
                addr: Addr::from(net.network()),
            };
            tables.pools.insert(key, pool);
        };
        let [a, b, c, d] = V6_POOL;
        // Unwrap: 32 is a prefix length.
        let pool = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let pool = Ipv6Net::new(pool.into(), 32).unwrap();
        add(IpNet::V6(pool), Pool::default());
        for subnet in &self.subnets {
            let vpc = subnet.vpc;
            let is_open = self.gateways.contains(&vpc);
            let pool = Pool {
                vpc,
                flags: if is_open { Pool::INTERNET_GATEWAY } else { 0 },
                edge: self.edge_table(vpc),
            };
            add(subnet.locals()[1], pool);
        }
        for (vpc, routes) in &self.edges {
            let subnet = self.subnets.iter().find(|subnet| subnet.vpc == *vpc);
            let locals = subnet.into_iter().flat_map(Subnet::locals);
            self.add_routes(self.edge_table(*vpc), locals, routes, tables);
        }
    }

    fn add_routes(
        &self,
        table: u64,
        locals: impl Iterator<Item = IpNet>,
        routes: &[(IpNet, Way)],
        tables: &mut Tables,
    ) {
        let mut add = |net: &IpNet, (kind, target): (u32, u64)| {
            let prefix_len = bits_of(net);
            let key = RouteKey {
                prefix_len: TABLE_BITS + prefix_len,
                table: trie_id(table),
                addr: Addr::from(net.network()),
            };
            let route = Route {
                target,
                kind,
                prefix_len,
            };
            tables.routes.insert(key, route);
        };
        // An IPv6 route for everything holds for no IPv4 address.
        add(&IpNet::V4(Ipv4Net::default()), (Route::NONE, 0));
        for net in locals {
            add(&net, (Route::LOCAL, 0));
        }
        for (net, way) in routes {
            let target = match way {
                Way::Blackhole => (Route::BLACKHOLE, 0),
                Way::EgressOnly => (Route::EGRESS_ONLY, 2),
                Way::Eni(number) => (Route::ENI, self.enis[*number].id),
                Way::InternetGateway => (Route::INTERNET_GATEWAY, 1),
                Way::Local => (Route::LOCAL, 0),
                Way::Nat(number) => (Route::NAT_GATEWAY, self.nats[*number].id),
                Way::Peer(vpc) => (Route::PEERING, *vpc),
            };
            add(net, target);
        }
    }

    fn add_subnet(&self, subnet: &Subnet, tables: &mut Tables) {
        let acl = subnet.id + 1;
        let [egress, ingress] = [
            (Direction::Egress, &subnet.acl_egress),
            (Direction::Ingress, &subnet.acl_ingress),
        ]
        .map(|(direction, entries)| gate::compile_acl(acl, direction, entries, true));
        let record = SubnetRecord {
            vpc: subnet.vpc,
            router: subnet.router(),
            cidr: subnet.addr(0),
            cidr_len: 120,
            router_v6: subnet.v6(1),
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
        let locals = subnet.locals().into_iter();
        self.add_routes(subnet.id, locals, &subnet.routes, tables);
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
            draining: 0,
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
            // In place of security groups, whose it is.
            policy: nat.id,
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
        let mut flags = 0;
        if eni.check {
            flags |= EniRecord::SOURCE_DEST_CHECK;
        }
        if eni.public.is_some() {
            flags |= EniRecord::PUBLIC;
        }
        if self.balancer_of(eni.id).is_some() {
            flags |= EniRecord::BALANCER;
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
            flags,
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
        for prefix in &eni.prefixes {
            let key = PrefixKey {
                prefix_len: TABLE_BITS + bits_of(prefix),
                vpc: trie_id(subnet.vpc),
                addr: Addr::from(prefix.network()),
            };
            tables.prefixes.insert(key, Endpoint { eni: eni.id });
        }
        let key = MacKey {
            vpc: subnet.vpc,
            mac: eni.mac,
            pad: [0; 2],
        };
        tables.macs.insert(key, Endpoint { eni: eni.id });
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
