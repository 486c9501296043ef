//! What the unit tests of operations start from: an empty store, a clock that stands still.

use std::collections::BTreeMap;
use std::sync::Arc;

use enid_model::Tags;
use enid_model::id::{
    EniId, InternetGatewayId, LoadBalancerId, SecurityGroupId, SubnetId, TargetGroupId,
    TrafficMirrorFilterId, TrafficMirrorSessionId, TrafficMirrorTargetId, VpcId,
};
use enid_model::key::AccountId;
use enid_model::listener::Forward;
use enid_model::load_balancer::{IpAddressType, LoadBalancer, Scheme};
use enid_model::network_interface::ConnectionTracking;
use enid_model::region::Region;
use enid_model::security_group::SecurityGroup;
use enid_model::subnet::{Subnet, SubnetAttributes};
use enid_model::target_group::{
    BalancedProtocol, TargetGroup, TargetGroupIpAddressType, TargetType,
};
use enid_model::time::{Clock, Timestamp};
use enid_model::vpc::Vpc;
use enid_store::Store;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::address_lease::WantedAddresses;
use crate::ipv6_lease::WantedIpv6Addresses;
use crate::region::{NewVpc, new_acl_association};
use crate::{
    Caller, Control, CreateListener, CreateLoadBalancer, CreateNetworkInterface, CreateTargetGroup,
    CreateTrafficMirrorFilter, CreateTrafficMirrorSession, CreateTrafficMirrorTarget, Draft,
    ForwardAction, InterfaceSpecification, RunInstances, SubnetMapping, WantedHealthCheck,
};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000)
    }
}

/// A control plane over a store in memory.
pub(crate) fn control() -> Control {
    let store = Store::in_memory().expect("a store in memory opens");
    Control::new(store, Arc::new(Frozen), StdRng::seed_from_u64(1))
}

/// A caller in eu-west-1.
pub(crate) fn caller() -> Caller {
    Caller {
        account: AccountId::DEFAULT,
        region: Region::named("eu-west-1").expect("a region of AWS"),
        dry_run: false,
        asked: None,
    }
}

/// A VPC with a subnet in the first zone, for tests of what lives in one.
pub(crate) struct Place {
    pub(crate) subnet: SubnetId,
    pub(crate) default_group: SecurityGroupId,
    /// Six groups of the VPC, one more than an interface may have.
    pub(crate) groups: Vec<SecurityGroupId>,
    /// The group of another VPC.
    pub(crate) foreign_group: SecurityGroupId,
    /// A subnet in another zone of the VPC.
    pub(crate) far_subnet: SubnetId,
    /// A subnet of another VPC, in the first zone.
    pub(crate) foreign_subnet: SubnetId,
}

/// Makes one; the VPC is 10.0.0.0/16.
pub(crate) async fn place(control: &Control, cidr: &str) -> Place {
    let make = |draft: &mut Draft<'_>| {
        let mut vpc = || {
            let block = "10.0.0.0/16".parse().expect("a literal block parses");
            let new = NewVpc {
                cidr: block,
                ipv6_cidr: None,
                is_default: false,
                dhcp_options: None,
                routes: Vec::new(),
                tags: Tags::new(),
            };
            crate::region::new_vpc(draft, new)
        };
        let (home, foreign) = (vpc(), vpc());
        let mut subnet = |vpc: &Vpc, cidr: &str, zone: &str| {
            let id = draft.mint();
            let network_acl = new_acl_association(draft, vpc.default_network_acl);
            draft.create(Subnet {
                id,
                vpc: vpc.id,
                cidr: cidr.parse().expect("a literal block parses"),
                zone: format!("eu-west-1{zone}"),
                zone_id: String::new(),
                default_for_az: false,
                ipv6_cidr: None,
                route_table: None,
                network_acl,
                attributes: SubnetAttributes::default(),
                tags: Tags::new(),
            });
            id
        };
        let subnet_ids = [
            subnet(&home, cidr, "a"),
            subnet(&home, "10.0.255.0/24", "b"),
            subnet(&foreign, cidr, "a"),
        ];
        let groups = (0..6)
            .map(|number| {
                let group = SecurityGroup {
                    id: draft.mint(),
                    vpc: home.id,
                    name: format!("group {number}"),
                    description: String::new(),
                    associated_vpcs: std::collections::BTreeSet::new(),
                    rules: BTreeMap::new(),
                    tags: Tags::new(),
                };
                let id = group.id;
                draft.create(group);
                id
            })
            .collect();
        let [subnet, far_subnet, foreign_subnet] = subnet_ids;
        Ok(Place {
            subnet,
            default_group: home.default_group,
            groups,
            foreign_group: foreign.default_group,
            far_subnet,
            foreign_subnet,
        })
    };
    let made = control.transact(&caller(), make).await;
    made.expect("a place can be made")
}

/// An interface in the place's subnet, with everything as it is by default.
pub(crate) fn new_eni(place: &Place) -> CreateNetworkInterface {
    CreateNetworkInterface {
        subnet: place.subnet,
        description: String::new(),
        groups: Vec::new(),
        addresses: WantedAddresses::default(),
        ipv6: WantedIpv6Addresses::default(),
        connection_tracking: ConnectionTracking::default(),
        client_token: None,
        tags: Vec::new(),
    }
}

/// One instance of a type that may have two interfaces with two addresses each.
pub(crate) fn new_instance(place: &Place) -> RunInstances {
    RunInstances {
        image: "ami-00000000".to_owned(),
        instance_type: Some("t3.micro".to_owned()),
        min_count: 1,
        max_count: 1,
        subnet: Some(place.subnet),
        ..RunInstances::default()
    }
}

/// A new interface of a launch.
pub(crate) fn interface(device_index: i32, subnet: SubnetId) -> InterfaceSpecification {
    InterfaceSpecification {
        device_index: Some(device_index),
        subnet: Some(subnet),
        ..InterfaceSpecification::default()
    }
}

/// One instance with these interfaces.
pub(crate) fn with_interfaces(
    place: &Place,
    interfaces: &[InterfaceSpecification],
) -> RunInstances {
    RunInstances {
        subnet: None,
        interfaces: interfaces.to_vec(),
        ..new_instance(place)
    }
}

/// Attaches an internet gateway to the VPC of a place.
pub(crate) async fn internet(control: &Control, place: &Place) -> InternetGatewayId {
    let caller = caller();
    let region = control.read(&caller).await.expect("the region is alive");
    let subnet = region.subnets.get(&place.subnet);
    let vpc = subnet.expect("the place has a subnet").vpc;
    let made = control.create_internet_gateway(&caller, &[]).await;
    let id = made.expect("an internet gateway").id;
    let attached = control.attach_internet_gateway(&caller, id, vpc).await;
    assert_eq!(attached, Ok(()));
    id
}

/// What is not as it must be, apart from the names of a place's groups, which nobody claims.
pub(crate) fn findings(control: &Control) -> Vec<enid_model::check::Finding> {
    let mut findings = enid_model::check::check(&control.store().state());
    findings.retain(|finding| finding.kind != "security-group");
    findings
}

/// The VPC of a place.
pub(crate) async fn vpc_of(control: &Control, place: &Place) -> VpcId {
    let region = control.read(&caller()).await.expect("the region is alive");
    let subnet = region.subnets.get(&place.subnet);
    subnet.expect("the place has a subnet").vpc
}

/// What makes an internal load balancer in both zones of a place.
pub(crate) fn new_balancer(place: &Place, name: &str) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: name.to_owned(),
        scheme: Scheme::Internal,
        ip_address_type: IpAddressType::Ipv4,
        subnets: [place.subnet, place.far_subnet].map(mapping).to_vec(),
        security_groups: Vec::new(),
        tags: Vec::new(),
    }
}

/// A subnet with any address.
pub(crate) fn mapping(subnet: SubnetId) -> SubnetMapping {
    SubnetMapping {
        subnet,
        allocation: None,
        private_ip: None,
        ipv6: None,
    }
}

/// Makes such a load balancer.
pub(crate) async fn balancer(control: &Control, place: &Place, name: &str) -> LoadBalancer {
    let input = new_balancer(place, name);
    let made = control.create_load_balancer(&caller(), &input).await;
    made.expect("a load balancer")
}

/// A target group of instances at port 80.
pub(crate) async fn target_group(
    control: &Control,
    place: &Place,
    name: &str,
    protocol: BalancedProtocol,
) -> TargetGroup {
    let input = CreateTargetGroup {
        name: name.to_owned(),
        protocol: Some(protocol),
        port: Some(80),
        vpc: Some(vpc_of(control, place).await),
        target_type: TargetType::Instance,
        ip_address_type: TargetGroupIpAddressType::Ipv4,
        health_check: WantedHealthCheck::default(),
        tags: Vec::new(),
    };
    let made = control.create_target_group(&caller(), &input).await;
    made.expect("a target group")
}

/// A TCP listener that leads to a group.
pub(crate) fn new_listener(
    load_balancer: LoadBalancerId,
    port: i32,
    group: TargetGroupId,
) -> CreateListener {
    CreateListener {
        load_balancer,
        protocol: Some(BalancedProtocol::Tcp),
        port: Some(port),
        action: ForwardAction {
            groups: vec![Forward { group, weight: 1 }],
            stickiness: None,
            order: None,
        },
        tls: crate::WantedTls::default(),
        tags: Vec::new(),
    }
}

/// Something that can be mirrored: an instance's primary interface, a free one that is a target, and
/// a filter without rules.
pub(crate) struct Mirror {
    pub(crate) source: EniId,
    pub(crate) target: TrafficMirrorTargetId,
    pub(crate) target_eni: EniId,
    pub(crate) filter: TrafficMirrorFilterId,
}

/// Makes one, with an instance of this type as the source's.
pub(crate) async fn mirror(control: &Control, place: &Place, instance_type: &str) -> Mirror {
    let caller = caller();
    let launch = RunInstances {
        instance_type: Some(instance_type.to_owned()),
        ..new_instance(place)
    };
    let launched = control.run_instances(&caller, launch).await;
    let instance = launched.expect("a launch").instances[0].id;
    let region = control.read(&caller).await.expect("the region is alive");
    let source = region.primary_eni(instance).expect("it has one").id;
    let made = control.create_network_interface(&caller, new_eni(place));
    let target_eni = made.await.expect("an interface").id;
    let target = new_target(target_eni);
    let made = control.create_traffic_mirror_target(&caller, &target);
    let target = made.await.expect("a target").id;
    let filter = CreateTrafficMirrorFilter::default();
    let made = control.create_traffic_mirror_filter(&caller, &filter);
    let filter = made.await.expect("a filter").id;
    Mirror {
        source,
        target,
        target_eni,
        filter,
    }
}

/// A session of a mirror without more.
pub(crate) async fn session(
    control: &Control,
    mirror: &Mirror,
    number: i32,
) -> TrafficMirrorSessionId {
    let input = new_session(mirror, number);
    let made = control
        .create_traffic_mirror_session(&caller(), &input)
        .await;
    made.expect("a session").id
}

/// A target without more.
pub(crate) fn new_target(eni: EniId) -> CreateTrafficMirrorTarget {
    CreateTrafficMirrorTarget {
        eni,
        description: None,
        client_token: None,
        tags: Vec::new(),
    }
}

/// What makes a session without more.
pub(crate) fn new_session(mirror: &Mirror, number: i32) -> CreateTrafficMirrorSession {
    CreateTrafficMirrorSession {
        eni: mirror.source,
        target: mirror.target,
        filter: mirror.filter,
        number,
        virtual_network_id: None,
        packet_length: None,
        description: None,
        client_token: None,
        tags: Vec::new(),
    }
}
