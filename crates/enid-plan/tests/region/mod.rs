//! Records of a small region, and random changes of it.
//!
//! ```text
//!  vpc 1: subnets 1, 2; tables 1 (main), 3; ACLs 1 (default), 3      vpc 2: subnet 3; table 2; ACL 2
//!  interface n: subnet 1 + n % 3; public address 198.18.1.n          Elastic IP n: 198.18.0.n
//! ```

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use enid_model::Tags;
use enid_model::address::{ElasticIp, ElasticIpAssociation};
use enid_model::dhcp_options::{DhcpOptions, NameServer};
use enid_model::gateway::{EgressOnlyInternetGateway, InternetGateway};
use enid_model::id::{
    AllocationId, AssociationId, AttachmentId, DhcpOptionsId, EgressOnlyInternetGatewayId, EniId,
    InstanceId, InternetGatewayId, NatGatewayId, NetworkAclId, PrefixListId, ReservationId,
    RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId, TrafficMirrorFilterId,
    TrafficMirrorFilterRuleId, TrafficMirrorSessionId, TrafficMirrorTargetId, VpcCidrAssociationId,
    VpcId, VpcPeeringConnectionId,
};
use enid_model::instance::{DesiredState, Instance, Recorded};
use enid_model::instance_metadata::MetadataOptions;
use enid_model::key::{AccountId, Key, RegionName, Scope};
use enid_model::nat_gateway::{NatGateway, NatGatewayAddress};
use enid_model::network_acl::{AclAction, NetworkAcl, NetworkAclEntry};
use enid_model::network_interface::{Attachment, InterfaceType, Mac, NetworkInterface};
use enid_model::prefix_list::{AddressFamily, LastChange, PrefixList, PrefixListEntry};
use enid_model::private_dns_name::PrivateDnsNameOptions;
use enid_model::record::Record;
use enid_model::route_table::{Route, RouteDestination, RouteTable, RouteTarget};
use enid_model::security_group::{Direction, Matcher, Peer, Rule, SecurityGroup, Service};
use enid_model::state::{Revision, State};
use enid_model::subnet::{Subnet, SubnetIpv6Cidr, SubnetNetworkAcl, SubnetRouteTable};
use enid_model::time::Timestamp;
use enid_model::traffic_mirror::{
    MirrorAction, PortRange, TrafficMirrorFilter, TrafficMirrorFilterRule, TrafficMirrorSession,
    TrafficMirrorTarget,
};
use enid_model::vpc::{Vpc, VpcCidr, VpcIpv6Cidr};
use enid_model::vpc_peering_connection::{PeeredVpc, PeeringStatus, VpcPeeringConnection};
use ipnet::{IpNet, Ipv4Net};

/// What there is at the start.
pub(crate) fn first() -> Vec<Record> {
    let subnets = (1..4).map(|id| subnet(id, false, None, vpc_of(id)));
    let vpcs = [vpc(1, false, false, 1), vpc(2, false, false, 2)];
    vpcs.into_iter().chain(subnets).collect()
}

/// A literal block.
pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a literal block")
}

fn v4(text: &str) -> Ipv4Net {
    text.parse().expect("a literal block")
}

fn small(id: u64) -> u8 {
    u8::try_from(id).expect("few ids")
}

fn vpc_of(subnet: u64) -> u64 {
    1 + subnet / 3
}

/// A VPC.
pub(crate) fn vpc(id: u64, has_more: bool, has_ipv6: bool, main: u64) -> Record {
    let ipv6 = VpcIpv6Cidr {
        association: VpcCidrAssociationId(id + 10),
        cidr: format!("2001:db8:0:{id}00::/56").parse().expect("a block"),
        pool: "Amazon".to_owned(),
        network_border_group: String::new(),
    };
    let more = VpcCidr {
        association: VpcCidrAssociationId(id + 20),
        cidr: v4(&format!("10.{}.0.0/16", id + 100)),
    };
    Record::Vpc(Vpc {
        id: VpcId(id),
        cidr: v4(&format!("10.{}.0.0/16", id - 1)),
        cidr_association: VpcCidrAssociationId(id),
        secondary_cidrs: has_more.then_some(more).into_iter().collect(),
        ipv6_cidrs: has_ipv6.then_some(ipv6).into_iter().collect(),
        is_default: false,
        default_group: SecurityGroupId(1),
        main_route_table: RouteTableId(main),
        main_route_table_association: Default::default(),
        default_network_acl: NetworkAclId(id),
        dhcp_options: Some(DhcpOptionsId(1 + u64::from(has_more))),
        enable_dns_support: true,
        enable_dns_hostnames: false,
        network_address_usage_metrics: false,
        tags: Tags::new(),
    })
}

/// A set of DHCP options. Sets never change, but one can come for a VPC that names it already: in an upgrade.
pub(crate) fn dhcp_options(id: u64, own: bool) -> Record {
    let server = match own {
        true => NameServer::AmazonProvidedDns,
        false => NameServer::Address(Ipv4Addr::new(10, 0, 1, 53).into()),
    };
    Record::DhcpOptions(DhcpOptions {
        id: DhcpOptionsId(id),
        domain_name: own.then(|| format!("corp{id}.example")),
        domain_name_servers: vec![server],
        ..DhcpOptions::default()
    })
}

/// A subnet.
pub(crate) fn subnet(id: u64, has_ipv6: bool, table: Option<u64>, acl: u64) -> Record {
    let vpc = vpc_of(id);
    Record::Subnet(Subnet {
        id: SubnetId(id),
        vpc: VpcId(vpc),
        cidr: v4(&format!("10.{}.{id}.0/24", vpc - 1)),
        zone: "eu-west-1a".to_owned(),
        zone_id: "euw1-az1".to_owned(),
        default_for_az: false,
        ipv6_cidr: has_ipv6.then(|| SubnetIpv6Cidr {
            association: Default::default(),
            cidr: format!("2001:db8:0:{vpc}0{id}::/64")
                .parse()
                .expect("a block"),
        }),
        route_table: table.map(|table| SubnetRouteTable {
            association: Default::default(),
            table: RouteTableId(table),
        }),
        network_acl: SubnetNetworkAcl {
            association: Default::default(),
            acl: NetworkAclId(acl),
        },
        attributes: Default::default(),
        tags: Tags::new(),
    })
}

/// An interface of a subnet that follows from its id, attached or not.
pub(crate) fn eni(id: u64, instance: Option<u64>, host: u8) -> NetworkInterface {
    let subnet = 1 + id % 3;
    let vpc = vpc_of(subnet);
    NetworkInterface {
        id: EniId(id),
        subnet: SubnetId(subnet),
        vpc: VpcId(vpc),
        mac: Mac([2, 0, 0, 0, 0, small(id)]),
        description: String::new(),
        groups: vec![SecurityGroupId(1)],
        addresses: vec![Ipv4Addr::new(10, small(vpc - 1), small(subnet), host)],
        ipv4_prefixes: Vec::new(),
        ipv6_addresses: Vec::new(),
        ipv6_prefixes: Vec::new(),
        primary_ipv6: false,
        public_address: None,
        associate_public_address: false,
        connection_tracking: Default::default(),
        interface_type: InterfaceType::Interface,
        source_dest_check: true,
        requester_id: None,
        attachment: instance.map(|instance| Attachment {
            id: AttachmentId(id),
            instance: InstanceId(instance),
            instance_owner: None,
            device_index: small(id),
            network_card_index: 0,
            attach_time: Timestamp(0),
            delete_on_termination: true,
        }),
        tags: Tags::new(),
    }
}

fn group(id: u64, rules: &[(bool, u16, Peer)]) -> Record {
    let rules = (1..).zip(rules).map(|(number, (egress, port, peer))| {
        let direction = if *egress {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let service = Service::Tcp {
            from: *port,
            to: *port,
        };
        let rule = Rule {
            id: SecurityGroupRuleId(id * 100 + number),
            matcher: Matcher {
                direction,
                service,
                peer: *peer,
            },
            description: None,
            tags: Tags::new(),
        };
        (rule.id, rule)
    });
    Record::SecurityGroup(SecurityGroup {
        id: SecurityGroupId(id),
        vpc: VpcId(1),
        name: format!("group-{id}"),
        description: String::new(),
        associated_vpcs: BTreeSet::new(),
        rules: rules.collect(),
        tags: Tags::new(),
    })
}

/// An instance.
pub(crate) fn instance(id: u64, running: bool) -> Record {
    Record::Instance(Instance {
        id: InstanceId(id),
        reservation: ReservationId(1),
        launch_index: 0,
        image: "ami-00000000000000001".to_owned(),
        instance_type: "t3.micro".to_owned(),
        vpc: VpcId(1),
        subnet: SubnetId(1),
        zone: "eu-west-1a".to_owned(),
        desired: if running {
            DesiredState::Running
        } else {
            DesiredState::Stopped
        },
        boot: 1,
        launch_time: Timestamp(0),
        state_reason: None,
        transition_time: None,
        user_data: None,
        disable_api_termination: false,
        disable_api_stop: false,
        terminate_on_shutdown: false,
        metadata_options: MetadataOptions::default(),
        private_dns_name_options: PrivateDnsNameOptions::default(),
        client_token: None,
        recorded: Recorded::default(),
        tags: Tags::new(),
    })
}

/// A route table.
pub(crate) fn route_table(id: u64, routes: BTreeMap<RouteDestination, RouteTarget>) -> Record {
    let vpc = if id == 2 { 2 } else { 1 };
    let routes = routes.into_iter().map(|(destination, target)| Route {
        destination,
        target,
    });
    Record::RouteTable(RouteTable {
        id: RouteTableId(id),
        vpc: VpcId(vpc),
        routes: routes.collect(),
        tags: Tags::new(),
    })
}

/// A network ACL, from (is egress, number, allows, block).
pub(crate) fn acl(id: u64, entries: &[(bool, u16, bool, u8)]) -> Record {
    let blocks = ["0.0.0.0/0", "::/0", "10.0.0.0/8"];
    let entries = entries.iter().map(|(egress, number, allows, block)| {
        let direction = if *egress {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        NetworkAclEntry {
            direction,
            number: *number,
            action: if *allows {
                AclAction::Allow
            } else {
                AclAction::Deny
            },
            service: Service::All,
            cidr: net(blocks[usize::from(*block)]),
        }
    });
    // A number is used once in a direction.
    let unique: BTreeMap<_, _> = entries.map(|it| ((it.direction, it.number), it)).collect();
    Record::NetworkAcl(NetworkAcl {
        id: NetworkAclId(id),
        vpc: VpcId(if id == 2 { 2 } else { 1 }),
        is_default: id < 3,
        entries: unique.into_values().collect(),
        tags: Tags::new(),
    })
}

/// An internet gateway.
pub(crate) fn internet_gateway(id: u64, vpc: Option<u64>) -> Record {
    Record::InternetGateway(InternetGateway {
        id: InternetGatewayId(id),
        vpc: vpc.map(VpcId),
        route_table: None,
        tags: Tags::new(),
    })
}

/// An egress-only internet gateway.
pub(crate) fn egress_only(id: u64, vpc: u64) -> Record {
    Record::EgressOnlyInternetGateway(EgressOnlyInternetGateway {
        id: EgressOnlyInternetGatewayId(id),
        vpc: VpcId(vpc),
        tags: Tags::new(),
    })
}

/// A private NAT gateway.
pub(crate) fn nat_gateway(id: u64, eni: u64, is_deleted: bool, count: u8) -> Record {
    let address = |host| NatGatewayAddress {
        private_ip: Ipv4Addr::new(10, 0, 1, host),
        public: None,
        drain_until: None,
    };
    Record::NatGateway(NatGateway {
        id: NatGatewayId(id),
        vpc: VpcId(1),
        subnet: SubnetId(1),
        is_public: false,
        eni: EniId(eni),
        addresses: (0..count).map(address).collect(),
        create_time: Timestamp(0),
        delete_time: is_deleted.then_some(Timestamp(1)),
        tags: Tags::new(),
    })
}

/// An Elastic IP, associated with (interface, last byte of the address).
pub(crate) fn elastic_ip(id: u64, association: Option<(u64, u8)>) -> Record {
    let association = association.map(|(eni, host)| {
        let subnet = 1 + eni % 3;
        let vpc = small(vpc_of(subnet));
        ElasticIpAssociation {
            id: AssociationId(id),
            eni: EniId(eni),
            private_ip: Ipv4Addr::new(10, vpc - 1, small(subnet), host),
        }
    });
    Record::ElasticIp(ElasticIp {
        id: AllocationId(id),
        public_ip: Ipv4Addr::new(198, 18, 0, small(id)),
        pool: "amazon".to_owned(),
        network_border_group: String::new(),
        association,
        ptr_record: None,
        tags: Tags::new(),
    })
}

/// A peering connection of the two VPCs.
pub(crate) fn peering(id: u64, is_active: bool, is_turned: bool) -> Record {
    let side = |vpc| PeeredVpc {
        vpc: VpcId(vpc),
        cidrs: Vec::new(),
        ipv6_cidrs: Vec::new(),
        allow_dns_resolution: false,
    };
    let (requester, accepter) = if is_turned { (2, 1) } else { (1, 2) };
    Record::VpcPeeringConnection(VpcPeeringConnection {
        id: VpcPeeringConnectionId(id),
        requester: side(requester),
        accepter: side(accepter),
        status: if is_active {
            PeeringStatus::Active
        } else {
            PeeringStatus::Deleted
        },
        create_time: Timestamp(0),
        status_time: Timestamp(0),
        tags: Tags::new(),
    })
}

/// A prefix list of blocks 10.n.0.0/16.
pub(crate) fn prefix_list(id: u64, blocks: &BTreeSet<u8>) -> Record {
    let entry = |block: &u8| PrefixListEntry {
        cidr: net(&format!("10.{block}.0.0/16")),
        description: None,
    };
    let entries = blocks.iter().map(entry).collect();
    Record::PrefixList(PrefixList {
        id: PrefixListId(id),
        name: "list".to_owned(),
        family: AddressFamily::Ipv4,
        entries_max: 10,
        change: LastChange::Created,
        version: 1,
        versions: BTreeMap::from([(1, entries)]),
        tags: Tags::new(),
    })
}

/// A target of mirror sessions.
pub(crate) fn mirror_target(id: u64, eni: u64) -> Record {
    Record::TrafficMirrorTarget(TrafficMirrorTarget {
        id: TrafficMirrorTargetId(id),
        network_interface: EniId(eni),
        description: None,
        tags: Tags::new(),
    })
}

/// A filter with rules: for which direction, whether it accepts, and for which port.
pub(crate) fn mirror_filter(id: u64, dns: bool, rules: &[(bool, bool, Option<u16>)]) -> Record {
    let rules = (1..).zip(rules).map(|(number, (egress, accepts, port))| {
        let rule = TrafficMirrorFilterRule {
            id: TrafficMirrorFilterRuleId(10 * id + u64::from(number)),
            direction: match egress {
                true => Direction::Egress,
                false => Direction::Ingress,
            },
            number,
            action: match accepts {
                true => MirrorAction::Accept,
                false => MirrorAction::Reject,
            },
            protocol: port.map(|_| 17),
            source_ports: None,
            destination_ports: port.map(|from| PortRange { from, to: from + 9 }),
            source: net("0.0.0.0/0"),
            destination: net("10.0.0.0/8"),
            description: None,
            tags: Tags::new(),
        };
        (rule.id, rule)
    });
    Record::TrafficMirrorFilter(TrafficMirrorFilter {
        id: TrafficMirrorFilterId(id),
        rules: rules.collect(),
        amazon_dns: dns,
        description: None,
        tags: Tags::new(),
    })
}

/// A session, which has the number 100 - `id`.
pub(crate) fn mirror_session(id: u64, eni: u64, target: u64, filter: u64) -> Record {
    Record::TrafficMirrorSession(TrafficMirrorSession {
        id: TrafficMirrorSessionId(id),
        network_interface: EniId(eni),
        target: TrafficMirrorTargetId(target),
        filter: TrafficMirrorFilterId(filter),
        number: 100 - u16::from(small(id)),
        virtual_network_id: 1000 + u32::from(small(id)),
        packet_length: (id == 2).then_some(80),
        description: None,
        tags: Tags::new(),
    })
}

/// Where everything is.
pub(crate) fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    }
}

/// Puts a record into the state, or deletes it.
pub(crate) fn apply(state: &mut State, record: Record, is_there: bool) {
    apply_in(state, scope(), record, is_there);
}

/// The same in another account's region.
pub(crate) fn apply_in(state: &mut State, scope: Scope, record: Record, is_there: bool) {
    let key = Key {
        scope,
        kind: record.kind(),
        name: name(&record).into(),
    };
    let revision = Revision(state.revision.0 + 1);
    state.apply(revision, &key, is_there.then_some(record));
}

fn name(record: &Record) -> String {
    match record {
        Record::DhcpOptions(it) => it.id.to_string(),
        Record::EgressOnlyInternetGateway(it) => it.id.to_string(),
        Record::ElasticIp(it) => it.id.to_string(),
        Record::Instance(it) => it.id.to_string(),
        Record::InternetGateway(it) => it.id.to_string(),
        Record::LentInterface(it) => it.id.to_string(),
        Record::Listener(it) => it.id.to_string(),
        Record::LoadBalancer(it) => it.id.to_string(),
        Record::NatGateway(it) => it.id.to_string(),
        Record::NetworkAcl(it) => it.id.to_string(),
        Record::NetworkInterface(it) => it.id.to_string(),
        Record::PrefixList(it) => it.id.to_string(),
        Record::RouteTable(it) => it.id.to_string(),
        Record::SecurityGroup(it) => it.id.to_string(),
        Record::Subnet(it) => it.id.to_string(),
        Record::Target(it) => it.key.to_string(),
        Record::TargetGroup(it) => it.id.to_string(),
        Record::TrafficMirrorFilter(it) => it.id.to_string(),
        Record::TrafficMirrorSession(it) => it.id.to_string(),
        Record::TrafficMirrorTarget(it) => it.id.to_string(),
        Record::Vpc(it) => it.id.to_string(),
        Record::VpcPeeringConnection(it) => it.id.to_string(),
        other => unreachable!("no step makes {other:?}"),
    }
}
