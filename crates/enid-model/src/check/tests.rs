use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::*;
use crate::address::{ElasticIpAssociation, PublicAddress, PublicAddressHolder};
use crate::id::{
    AllocationId, AssociationId, AttachmentId, DhcpOptionsId, InstanceId, InternetGatewayId,
    NetworkAclAssociationId, NetworkAclId, NetworkInterfacePermissionId, ReservationId,
    RouteTableAssociationId, RouteTableId, SecurityGroupRuleId, SubnetId, TrafficMirrorFilterId,
    TrafficMirrorFilterRuleId, TrafficMirrorSessionId, TrafficMirrorTargetId, VpcCidrAssociationId,
};
use crate::key::{AccountId, Key, RegionName};
use crate::network_interface::{Attachment, Mac};
use crate::record::{GroupName, Record};
use crate::state::{Revision, lease_name};
use crate::subnet::AddressLease;
use crate::time::Timestamp;

const VPC: VpcId = VpcId(1);
const SUBNET: SubnetId = SubnetId(1);
const GROUP: SecurityGroupId = SecurityGroupId(1);
const ENI: EniId = EniId(1);
const INSTANCE: InstanceId = InstanceId(1);

/// Records by key; what a test changes before they are checked.
#[derive(Clone)]
pub(super) struct World(BTreeMap<Key, Record>);

fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    }
}

/// The account that interfaces are lent to.
const BORROWER: AccountId = AccountId(2);

fn key(kind: Kind, name: impl ToString) -> Key {
    Key {
        scope: match kind {
            Kind::PublicAddress => Scope::everywhere(),
            Kind::LentInterface => Scope {
                account: BORROWER,
                ..scope()
            },
            _ => scope(),
        },
        kind,
        name: name.to_string().into(),
    }
}

impl World {
    pub(super) fn put(&mut self, name: impl ToString, record: Record) {
        self.0.insert(key(record.kind(), name), record);
    }

    pub(super) fn json(&mut self, kind: Kind, name: impl ToString, mut record: serde_json::Value) {
        record["v"] = crate::record::FORMAT.into();
        let record = Record::from_bytes(kind, record.to_string().as_bytes());
        self.put(name, record.expect("a record of its kind"));
    }

    pub(super) fn remove(&mut self, kind: Kind, name: impl ToString) {
        assert!(self.0.remove(&key(kind, name)).is_some());
    }

    pub(super) fn eni(&mut self, id: EniId, change: impl FnOnce(&mut NetworkInterface)) {
        match self.0.get_mut(&key(Kind::NetworkInterface, id)) {
            Some(Record::NetworkInterface(eni)) => change(eni),
            other => panic!("{id}: {other:?}"),
        }
    }

    pub(super) fn check(&self) -> Vec<Finding> {
        let mut state = State::default();
        for (number, (key, record)) in (1..).zip(&self.0) {
            state.apply(Revision(number), key, Some(record.clone()));
        }
        check(&state)
    }
}

/// A VPC with a subnet, an instance with its interface, and an Elastic IP for that. What the interface
/// sends is mirrored to another one.
///
/// The records are in their stored form, so that a record that gets another member stays readable.
pub(super) fn world() -> World {
    let mut world = World(BTreeMap::new());
    world.json(
        Kind::Region,
        "",
        json!({"first_default_vpc": VPC, "dhcp_options": DhcpOptionsId(1), "outfit": 1}),
    );
    world.json(
        Kind::Vpc,
        VPC,
        json!({
            "id": VPC, "cidr": "10.0.0.0/16", "cidr_association": VpcCidrAssociationId(1),
            "is_default": false, "default_group": GROUP, "main_route_table": RouteTableId(1),
            "main_route_table_association": RouteTableAssociationId(1),
            "default_network_acl": NetworkAclId(1), "dhcp_options": null,
            "enable_dns_support": true, "enable_dns_hostnames": false, "tags": {},
        }),
    );
    world.json(
        Kind::Subnet,
        SUBNET,
        json!({
            "id": SUBNET, "vpc": VPC, "cidr": "10.0.0.0/24", "zone": "eu-west-1a",
            "zone_id": "euw1-az1", "default_for_az": false, "tags": {},
            "network_acl": {"association": NetworkAclAssociationId(1), "acl": NetworkAclId(1)},
        }),
    );
    world.json(
        Kind::NetworkAcl,
        NetworkAclId(1),
        json!({"id": NetworkAclId(1), "vpc": VPC, "is_default": true, "entries": [], "tags": {}}),
    );
    // Its gateway is gone: a blackhole is no finding.
    let route = json!({
        "destination": {"cidr": "0.0.0.0/0"},
        "target": {"internet_gateway": InternetGatewayId(9)},
    });
    world.json(
        Kind::RouteTable,
        RouteTableId(1),
        json!({"id": RouteTableId(1), "vpc": VPC, "routes": [route], "tags": {}}),
    );
    let rule = SecurityGroupRuleId(1);
    world.json(
        Kind::SecurityGroup,
        GROUP,
        json!({
            "id": GROUP, "vpc": VPC, "name": "default", "description": "", "tags": {},
            "rules": {rule.to_string(): {
                "id": rule, "description": null, "tags": {},
                "matcher": {"direction": "ingress", "service": "all", "peer": {"group": GROUP}},
            }},
        }),
    );
    let name = format!("{VPC}/default");
    world.put(name, Record::GroupName(GroupName { group: GROUP }));
    add_eni(&mut world, ENI, 5);
    world.json(
        Kind::Instance,
        INSTANCE,
        json!({
            "id": INSTANCE, "reservation": ReservationId(1), "launch_index": 0, "image": "ami-1",
            "instance_type": "t3.micro", "vpc": VPC, "subnet": SUBNET, "zone": "eu-west-1a",
            "desired": "running", "boot": 1, "launch_time": 0, "state_reason": null,
            "transition_time": null, "disable_api_termination": false,
            "terminate_on_shutdown": false, "client_token": null, "recorded": {}, "tags": {},
        }),
    );
    world.eni(ENI, |eni| eni.attachment = Some(attachment(1)));
    add_elastic_ip(&mut world, 1, Some(association(1, 5)));
    add_eni(&mut world, EniId(100), 100);
    add_mirror_target(&mut world, 1, EniId(100));
    add_mirror_filter(&mut world, 1, &[mirror_rule(1, 1), mirror_rule(2, 2)]);
    add_mirror_session(&mut world, 1, 1);
    let permission = NetworkInterfacePermissionId(1);
    world.json(
        Kind::NetworkInterfacePermission,
        permission,
        json!({"id": permission, "eni": EniId(100), "account": BORROWER}),
    );
    add_lent(&mut world, &json!({}));
    world
}

/// What the borrower knows of the interface that it may attach.
fn add_lent(world: &mut World, changes: &serde_json::Value) {
    let mut lent = json!({
        "id": EniId(100), "owner": AccountId::DEFAULT, "attachment": null,
        "permission": NetworkInterfacePermissionId(1),
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        lent[name] = value.clone();
    }
    world.json(Kind::LentInterface, EniId(100), lent);
}

fn lent_attachment(id: u64) -> serde_json::Value {
    json!({"attachment": {"id": AttachmentId(id), "instance": INSTANCE}})
}

fn add_mirror_target(world: &mut World, id: u64, eni: EniId) {
    let id = TrafficMirrorTargetId(id);
    let target = json!({"id": id, "network_interface": eni, "tags": {}});
    world.json(Kind::TrafficMirrorTarget, id, target);
}

fn mirror_rule(id: u64, number: u16) -> serde_json::Value {
    json!({
        "id": TrafficMirrorFilterRuleId(id), "direction": "egress", "number": number,
        "action": "accept", "protocol": 6, "source": "0.0.0.0/0", "destination": "10.0.0.0/8",
        "destination_ports": {"from": 22, "to": 22}, "tags": {},
    })
}

fn add_mirror_filter(world: &mut World, id: u64, rules: &[serde_json::Value]) {
    let id = TrafficMirrorFilterId(id);
    let rules = rules.iter().map(|rule| {
        let id = rule["id"].as_str().expect("a rule has its id");
        (id.to_owned(), rule.clone())
    });
    let rules: serde_json::Map<_, _> = rules.collect();
    let filter = json!({"id": id, "rules": rules, "amazon_dns": false, "tags": {}});
    world.json(Kind::TrafficMirrorFilter, id, filter);
}

fn add_mirror_session(world: &mut World, id: u64, number: u16) {
    let id = TrafficMirrorSessionId(id);
    world.json(
        Kind::TrafficMirrorSession,
        id,
        json!({
            "id": id, "network_interface": ENI, "target": TrafficMirrorTargetId(1),
            "filter": TrafficMirrorFilterId(1), "number": number, "virtual_network_id": 7,
            "tags": {},
        }),
    );
}

fn attachment(id: u64) -> Attachment {
    Attachment {
        id: AttachmentId(id),
        instance: INSTANCE,
        instance_owner: None,
        device_index: 0,
        network_card_index: 0,
        attach_time: Timestamp(0),
        delete_on_termination: true,
    }
}

fn association(id: u64, last: u8) -> ElasticIpAssociation {
    ElasticIpAssociation {
        id: AssociationId(id),
        eni: ENI,
        private_ip: [10, 0, 0, last].into(),
    }
}

pub(super) fn add_eni(world: &mut World, id: EniId, last: u8) {
    world.json(
        Kind::NetworkInterface,
        id,
        json!({
            "id": id, "subnet": SUBNET, "vpc": VPC, "mac": Mac([2, 0, 0, 0, 0, last]),
            "description": "", "groups": [GROUP], "addresses": [format!("10.0.0.{last}")],
            "source_dest_check": true, "requester_id": null, "attachment": null, "tags": {},
        }),
    );
    lease(world, id, last);
}

fn lease(world: &mut World, eni: EniId, last: u8) {
    let name = lease_name(SUBNET, IpAddr::from([10, 0, 0, last]));
    world.put(name, Record::AddressLease(AddressLease { eni }));
}

fn add_elastic_ip(world: &mut World, number: u8, association: Option<ElasticIpAssociation>) {
    let (id, address) = (AllocationId(number.into()), format!("198.18.0.{number}"));
    let claim = PublicAddress {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
        holder: PublicAddressHolder::ElasticIp(id),
    };
    world.put(&address, Record::PublicAddress(claim));
    world.json(
        Kind::ElasticIp,
        id,
        json!({
            "id": id, "public_ip": address, "pool": "amazon", "network_border_group": "eu-west-1",
            "association": association, "ptr_record": null, "tags": {},
        }),
    );
}

#[test]
fn a_whole_world_has_no_findings() {
    assert_eq!(world().check(), []);
}

#[test]
fn a_finding_names_record_and_invariant() {
    let mut world = world();
    world.remove(Kind::AddressLease, format!("{SUBNET}/10.0.0.5"));
    let findings = world.check();
    let [finding] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    assert_eq!(
        finding.to_string(),
        "123456789012/eu-west-1/network-interface/eni-00000000000000001: \
         each of its addresses is leased to it: 10.0.0.5"
    );
}

/// Changes to a whole world, each with an invariant that it breaks.
type Change = fn(&mut World);

const CHANGES: &[(&str, Change)] = &[
    ("its holder has what it claims", |world| {
        lease(world, ENI, 9);
    }),
    ("its interface is there", |world| {
        lease(world, EniId(9), 9);
    }),
    ("each of its addresses is leased to it", |world| {
        add_eni(world, EniId(2), 6);
        world.eni(EniId(2), |eni| eni.addresses.push([10, 0, 0, 5].into()));
    }),
    ("each of its addresses is in its subnet", |world| {
        world.eni(ENI, |eni| eni.addresses.push([10, 0, 1, 5].into()));
    }),
    ("none of its addresses is reserved", |world| {
        world.eni(ENI, |eni| eni.addresses.push([10, 0, 0, 1].into()));
    }),
    ("each of its addresses is there once", |world| {
        world.eni(ENI, |eni| eni.addresses.push([10, 0, 0, 5].into()));
    }),
    ("it has a primary address", |world| {
        world.eni(ENI, |eni| eni.addresses.clear());
    }),
    ("its MAC address is its own", |world| {
        add_eni(world, EniId(2), 6);
        world.eni(EniId(2), |eni| eni.mac = Mac([2, 0, 0, 0, 0, 5]));
    }),
    ("it has a group", |world| {
        world.eni(ENI, |eni| eni.groups.clear())
    }),
    ("each of its groups is there", |world| {
        world.eni(ENI, |eni| eni.groups = vec![SecurityGroupId(9)]);
    }),
    ("its instance is there", |world| {
        world.remove(Kind::Instance, INSTANCE);
    }),
    ("its account has the interface lent by it", |world| {
        world.remove(Kind::LentInterface, EniId(100));
    }),
    ("its account has the interface lent by it", |world| {
        add_lent(world, &json!({"owner": AccountId(3)}));
    }),
    ("its permission is there", |world| {
        world.remove(
            Kind::NetworkInterfacePermission,
            NetworkInterfacePermissionId(1),
        );
    }),
    ("it is permitted or attached", |world| {
        add_lent(world, &json!({"permission": null}));
    }),
    ("its owner has it attached as well", |world| {
        add_lent(world, &lent_attachment(9));
    }),
    ("its instance is there, and not terminated", |world| {
        add_lent(world, &lent_attachment(9));
    }),
    ("the account of its instance has it lent", |world| {
        world.eni(EniId(100), |eni| {
            let mut lent = attachment(9);
            lent.instance_owner = Some(BORROWER);
            eni.attachment = Some(lent);
        });
    }),
    (
        "no other account's instance has it as its primary interface",
        |world| {
            world.eni(EniId(100), |eni| {
                let mut lent = attachment(9);
                lent.instance_owner = Some(BORROWER);
                eni.attachment = Some(lent);
            });
        },
    ),
    ("it has a primary interface", |world| {
        world.eni(ENI, |eni| eni.attachment = None);
    }),
    ("each device index is used once", |world| {
        add_eni(world, EniId(2), 6);
        world.eni(EniId(2), |eni| eni.attachment = Some(attachment(2)));
    }),
    ("its attachment is its own", |world| {
        add_eni(world, EniId(2), 6);
        world.eni(EniId(2), |eni| eni.attachment = Some(attachment(1)));
    }),
    ("its subnet is there", |world| {
        world.remove(Kind::Subnet, SUBNET)
    }),
    ("its VPC is there", |world| world.remove(Kind::Vpc, VPC)),
    ("its default group is there", |world| {
        world.remove(Kind::SecurityGroup, GROUP);
    }),
    ("its name is claimed by it", |world| {
        world.remove(Kind::GroupName, format!("{VPC}/default"));
    }),
    ("its group has the name", |world| {
        let name = format!("{VPC}/other");
        world.put(name, Record::GroupName(GroupName { group: GROUP }));
    }),
    ("its main route table is there", |world| {
        world.remove(Kind::RouteTable, RouteTableId(1));
    }),
    ("its default network ACL is there", |world| {
        world.remove(Kind::NetworkAcl, NetworkAclId(1));
    }),
    ("its network ACL is there, in its VPC", |world| {
        world.remove(Kind::NetworkAcl, NetworkAclId(1));
    }),
    ("its VPC has one internet gateway", |world| {
        for id in [1, 2].map(InternetGatewayId) {
            let gateway = json!({"id": id, "vpc": VPC, "tags": {}});
            world.json(Kind::InternetGateway, id, gateway);
        }
    }),
    ("its public address is claimed for it", |world| {
        world.remove(Kind::PublicAddress, "198.18.0.1");
    }),
    ("its holder has it", |world| {
        world.remove(Kind::ElasticIp, AllocationId(1));
    }),
    (
        "its interface has the address that it stands for",
        |world| {
            let association = ElasticIpAssociation {
                id: AssociationId(2),
                eni: ENI,
                private_ip: [10, 0, 0, 6].into(),
            };
            add_elastic_ip(world, 2, Some(association));
        },
    ),
    ("one Elastic IP stands for an address", |world| {
        add_elastic_ip(world, 2, Some(association(2, 5)));
    }),
    ("its source is no target", |world| {
        add_mirror_target(world, 2, ENI);
    }),
    ("its target is there", |world| {
        world.remove(Kind::TrafficMirrorTarget, TrafficMirrorTargetId(1));
    }),
    ("its filter is there", |world| {
        world.remove(Kind::TrafficMirrorFilter, TrafficMirrorFilterId(1));
    }),
    ("a source's sessions have numbers of their own", |world| {
        add_mirror_session(world, 2, 1);
    }),
    ("its source has no more sessions than it may", |world| {
        (2..5).for_each(|id| add_mirror_session(world, id.into(), id));
    }),
    ("its rules are its own", |world| {
        add_mirror_filter(world, 2, &[mirror_rule(1, 1)]);
    }),
    ("a direction's rules have numbers of their own", |world| {
        add_mirror_filter(world, 1, &[mirror_rule(1, 1), mirror_rule(2, 1)]);
    }),
    ("it has no more rules than it may", |world| {
        let rules: Vec<_> = (1..12).map(|id| mirror_rule(id.into(), id)).collect();
        add_mirror_filter(world, 1, &rules);
    }),
    ("only TCP and UDP have ports", |world| {
        let mut rule = mirror_rule(1, 1);
        rule["protocol"] = 1.into();
        add_mirror_filter(world, 1, &[rule]);
    }),
    ("its rules' ports are in order", |world| {
        let mut rule = mirror_rule(1, 1);
        rule["destination_ports"]["to"] = 21.into();
        add_mirror_filter(world, 1, &[rule]);
    }),
    ("both blocks of a rule are of one family", |world| {
        let mut rule = mirror_rule(1, 1);
        rule["source"] = "::/0".into();
        add_mirror_filter(world, 1, &[rule]);
    }),
];

#[test]
fn each_change_breaks_its_invariant() {
    for (invariant, change) in CHANGES {
        let mut world = world();
        change(&mut world);
        let findings = world.check();
        let found = findings.iter().any(|found| found.invariant == *invariant);
        assert!(found, "{invariant}: {findings:?}");
    }
}
