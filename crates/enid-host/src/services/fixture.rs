//! A small region for tests of what is answered.
//!
//! ```text
//!  vpc 1: 10.0.0.0/16, 2600:1f10:0:100::/56, names         pcx 1      vpc 2: 10.1.0.0/16, names
//!    subnet 1: 10.0.1.0/24, 2600:1f10:0:100::/64          ───────       subnet 3: 10.1.1.0/24
//!    subnet 2: 10.0.2.0/24
//!  instance 1: eni 1 (10.0.1.5, 10.0.1.6, …::5, 198.18.0.10)          instance 2: eni 3 (10.1.1.5,
//!              eni 2 (10.0.2.5, 10.0.2.16/28)                           198.18.0.20)
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use enid_model::address::{ElasticIp, PublicAddress, PublicAddressHolder};
use enid_model::id::{
    AllocationId, AssociationId, AttachmentId, DhcpOptionsId, EniId, InstanceId,
    NetworkAclAssociationId, NetworkAclId, ReservationId, RouteTableAssociationId, RouteTableId,
    SecurityGroupId, SubnetCidrAssociationId, SubnetId, VpcCidrAssociationId, VpcId,
    VpcPeeringConnectionId,
};
use enid_model::instance::Instance;
use enid_model::key::{AccountId, Key, Kind, RegionName, Scope};
use enid_model::network_interface::NetworkInterface;
use enid_model::record::{FORMAT, Record};
use enid_model::state::{Revision, State, lease_name};
use enid_model::subnet::{AddressLease, Ipv6Lease};
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::VpcPeeringConnection;
use serde_json::{Value, json};

/// Records by key; what a test changes before they are a state.
#[derive(Clone)]
pub(super) struct World(BTreeMap<Key, Record>);

pub(super) fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    }
}

macro_rules! changes {
    ($($name:ident: $record:ident ($id:ty);)*) => {$(
        pub(super) fn $name(&mut self, id: u64, change: impl FnOnce(&mut $record)) {
            let key = key(Kind::$record, <$id>::from_bits(id));
            match self.0.get_mut(&key) {
                Some(Record::$record(record)) => change(record),
                other => panic!("{key}: {other:?}"),
            }
        }
    )*};
}

use enid_model::id::ResourceId as _;

impl World {
    changes! {
        elastic_ip: ElasticIp (AllocationId);
        eni: NetworkInterface (EniId);
        instance: Instance (InstanceId);
        peering: VpcPeeringConnection (VpcPeeringConnectionId);
        vpc: Vpc (VpcId);
    }

    pub(super) fn state(&self) -> State {
        let mut state = State::default();
        for (number, (key, record)) in (1..).zip(&self.0) {
            state.apply(Revision(number), key, Some(record.clone()));
        }
        state
    }

    fn put(&mut self, name: impl ToString, record: Record) {
        self.0.insert(key(record.kind(), name), record);
    }

    /// Records are in their stored form, so that one that gets another member stays readable.
    pub(super) fn json(&mut self, kind: Kind, name: impl ToString, mut record: Value) {
        record["v"] = FORMAT.into();
        let record = Record::from_bytes(kind, record.to_string().as_bytes());
        self.put(name, record.expect("a record of its kind"));
    }

    fn add_vpc(&mut self, id: u64, cidr: &str, ipv6_cidrs: Value) {
        let vpc = VpcId(id);
        self.json(
            Kind::Vpc,
            vpc,
            json!({
                "id": vpc, "cidr": cidr, "cidr_association": VpcCidrAssociationId(id),
                "ipv6_cidrs": ipv6_cidrs, "is_default": false,
                "default_group": SecurityGroupId(id), "main_route_table": RouteTableId(id),
                "main_route_table_association": RouteTableAssociationId(id),
                "default_network_acl": NetworkAclId(id), "dhcp_options": DhcpOptionsId(1),
                "enable_dns_support": true, "enable_dns_hostnames": true, "tags": {},
            }),
        );
        let group = SecurityGroupId(id);
        self.json(
            Kind::SecurityGroup,
            group,
            json!({
                "id": group, "vpc": vpc, "name": format!("group-{id}"), "description": "",
                "tags": {}, "rules": {},
            }),
        );
    }

    fn add_subnet(&mut self, id: u64, vpc: u64, cidr: &str, ipv6_cidr: Value) {
        let subnet = SubnetId(id);
        self.json(
            Kind::Subnet,
            subnet,
            json!({
                "id": subnet, "vpc": VpcId(vpc), "cidr": cidr, "zone": "eu-west-1a",
                "zone_id": "euw1-az1", "default_for_az": false, "tags": {}, "ipv6_cidr": ipv6_cidr,
                "network_acl": {
                    "association": NetworkAclAssociationId(id), "acl": NetworkAclId(vpc),
                },
            }),
        );
    }

    fn add_instance(&mut self, id: u64, vpc: u64, subnet: u64) {
        let instance = InstanceId(id);
        self.json(
            Kind::Instance,
            instance,
            json!({
                "id": instance, "reservation": ReservationId(id), "launch_index": 0,
                "image": "ami-0123456789abcdef0", "instance_type": "t3.micro", "vpc": VpcId(vpc),
                "subnet": SubnetId(subnet), "zone": "eu-west-1a", "desired": "running", "boot": 1,
                "launch_time": 1_767_323_045_000_u64, "state_reason": null,
                "transition_time": null, "disable_api_termination": false,
                "terminate_on_shutdown": false, "client_token": null, "recorded": {}, "tags": {},
            }),
        );
    }

    /// An interface with its leases: (instance, device index), VPC, subnet, addresses.
    fn add_eni(&mut self, id: u64, at: (u64, u8), place: (u64, u64), addresses: &[&str]) {
        let eni = EniId(id);
        let ipv4: Vec<&&str> = addresses.iter().filter(|a| !a.contains(':')).collect();
        let ipv6: Vec<&&str> = addresses.iter().filter(|a| a.contains(':')).collect();
        self.json(
            Kind::NetworkInterface,
            eni,
            json!({
                "id": eni, "subnet": SubnetId(place.1), "vpc": VpcId(place.0),
                "mac": format!("06:00:00:00:00:{id:02x}"), "description": "",
                "groups": [SecurityGroupId(place.0)], "addresses": ipv4, "ipv6_addresses": ipv6,
                "source_dest_check": true, "requester_id": null, "tags": {},
                "attachment": {
                    "id": AttachmentId(id), "instance": InstanceId(at.0), "device_index": at.1,
                    "network_card_index": 0, "attach_time": 0, "delete_on_termination": true,
                },
            }),
        );
        for address in addresses {
            let address: IpAddr = address.parse().expect("an address");
            let name = lease_name(SubnetId(place.1), address);
            let lease = match address {
                IpAddr::V4(_) => Record::AddressLease(AddressLease { eni }),
                IpAddr::V6(_) => Record::Ipv6Lease(Ipv6Lease { eni }),
            };
            self.put(name, lease);
        }
    }

    fn claim(&mut self, address: &str, holder: PublicAddressHolder) {
        let Scope { account, region } = scope();
        let claim = PublicAddress {
            account,
            region,
            holder,
        };
        self.put(address, Record::PublicAddress(claim));
    }
}

/// The region in the drawing.
pub(super) fn world() -> World {
    let mut world = World(BTreeMap::new());
    world.json(
        Kind::DhcpOptions,
        DhcpOptionsId(1),
        json!({
            "id": DhcpOptionsId(1), "domain_name": "eu-west-1.compute.internal",
            "domain_name_servers": ["amazon_provided_dns"], "tags": {},
        }),
    );
    let block = json!([{
        "association": VpcCidrAssociationId(11), "cidr": "2600:1f10:0:100::/56",
        "pool": "Amazon", "network_border_group": "eu-west-1",
    }]);
    world.add_vpc(1, "10.0.0.0/16", block);
    world.add_vpc(2, "10.1.0.0/16", json!([]));
    let block = json!({
        "association": SubnetCidrAssociationId(1), "cidr": "2600:1f10:0:100::/64",
    });
    world.add_subnet(1, 1, "10.0.1.0/24", block);
    world.add_subnet(2, 1, "10.0.2.0/24", Value::Null);
    world.add_subnet(3, 2, "10.1.1.0/24", Value::Null);
    world.add_instance(1, 1, 1);
    world.add_instance(2, 2, 3);
    let first = ["10.0.1.5", "10.0.1.6", "2600:1f10:0:100::5"];
    world.add_eni(1, (1, 0), (1, 1), &first);
    world.add_eni(2, (1, 1), (1, 2), &["10.0.2.5"]);
    world.eni(2, |eni| {
        eni.ipv4_prefixes = vec!["10.0.2.16/28".parse().expect("a block")];
    });
    world.add_eni(3, (2, 0), (2, 3), &["10.1.1.5"]);
    world.eni(3, |eni| {
        eni.public_address = "198.18.0.20".parse().ok();
    });
    world.claim(
        "198.18.0.20",
        PublicAddressHolder::NetworkInterface(EniId(3)),
    );
    world.json(
        Kind::ElasticIp,
        AllocationId(1),
        json!({
            "id": AllocationId(1), "public_ip": "198.18.0.10", "pool": "amazon",
            "network_border_group": "eu-west-1", "ptr_record": null, "tags": {},
            "association": {
                "id": AssociationId(1), "eni": EniId(1), "private_ip": "10.0.1.5",
            },
        }),
    );
    let holder = PublicAddressHolder::ElasticIp(AllocationId(1));
    world.claim("198.18.0.10", holder);
    let side = |vpc: u64, cidr: &str| {
        json!({
            "vpc": VpcId(vpc), "cidrs": [cidr], "ipv6_cidrs": [], "allow_dns_resolution": false,
        })
    };
    let pcx = VpcPeeringConnectionId(1);
    world.json(
        Kind::VpcPeeringConnection,
        pcx,
        json!({
            "id": pcx, "requester": side(1, "10.0.0.0/16"), "accepter": side(2, "10.1.0.0/16"),
            "status": "active", "create_time": 0, "status_time": 0, "tags": {},
        }),
    );
    world
}

fn key(kind: Kind, name: impl ToString) -> Key {
    let everywhere = kind == Kind::PublicAddress;
    Key {
        scope: if everywhere {
            Scope::everywhere()
        } else {
            scope()
        },
        kind,
        name: name.to_string().into(),
    }
}
