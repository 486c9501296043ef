//! Devices in the kernel: what an instance sees of its ENIs, and what the host does.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use common::Host;
use enid_host::device::{DeviceError, EniDevice};
use enid_host::doctor;
use enid_host::netlink::{Link, Netlink, VethPair};
use enid_host::netns::NetNs;
use enid_model::id::EniId;
use enid_model::network_interface::Mac;

const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// The first or a further device of an instance, in one subnet.
fn device(host: &Host, device_index: u8) -> EniDevice {
    // The first twelve digits of an ENI's id make the link's name: they have to be this test's.
    let bits = host.instance(0).0 & (u64::MAX >> 4) | u64::from(device_index) << 60;
    EniDevice {
        eni: EniId(bits),
        network_card_index: 0,
        device_index,
        name: None,
        mac: Mac([2, 0, 0, 0, 1, device_index]),
        router_mac: ROUTER,
        subnet: "10.0.1.0/24".parse().unwrap(),
        primary: Ipv4Addr::new(10, 0, 1, 10 + device_index),
        secondaries: vec![Ipv4Addr::new(10, 0, 1, 110 + device_index)],
        ipv6_subnet: None,
        ipv6_addresses: Vec::new(),
    }
}

fn host_link(device: &EniDevice) -> Option<Link> {
    Netlink::open().unwrap().link(&device.host_name()).unwrap()
}

fn instance_link(device: &EniDevice, namespace: &NetNs) -> Link {
    let mut netlink = Netlink::open_in(namespace).unwrap();
    netlink.link(&device.instance_name()).unwrap().unwrap()
}

/// What `ip` says in the namespace, with single spaces.
fn ip(namespace: &NetNs, arguments: &str) -> Vec<String> {
    let output = Command::new("ip")
        .args(["-n", namespace.name()])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Switches a device on, whatever number the kernel gave it.
fn up(device: &EniDevice, namespace: &NetNs) -> Result<(), DeviceError> {
    let index = host_link(device).unwrap().index;
    device.up(namespace, index)
}

#[test]
fn a_device_is_made_off_and_switched_on_later() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    let eth0 = device(&host, 0);
    let links = eth0.create(host.installation(), &namespace).unwrap();

    let outer = host_link(&eth0).unwrap();
    let inner = instance_link(&eth0, &namespace);
    assert_eq!((outer.index, inner.index), (links.host, links.instance));
    assert!(!outer.is_up && !inner.is_up);
    assert_eq!((outer.mac, inner.mac), (Some(ROUTER), Some(eth0.mac)));
    assert_eq!(outer.alias, Some(host.installation().eni_alias(eth0.eni)));
    assert_eq!(ip(&namespace, "route show"), Vec::<String>::new());

    up(&eth0, &namespace).unwrap();
    assert!(host_link(&eth0).unwrap().is_up && instance_link(&eth0, &namespace).is_up);
    assert_eq!(
        ip(&namespace, "route show"),
        [
            "default via 10.0.1.1 dev eth0 proto dhcp src 10.0.1.10 metric 512",
            "10.0.1.0/24 dev eth0 proto dhcp scope link src 10.0.1.10 metric 512",
        ]
    );
    let shown = ip(&namespace, "-br addr show eth0").join(" ");
    assert!(shown.contains("eth0@") && shown.contains(" UP 10.0.1.10/24 10.0.1.110/32"));
    // No address of the kernel's own making on either side.
    assert!(!shown.contains("fe80"));
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", eth0.host_name());
    assert_eq!(std::fs::read_to_string(ipv6).unwrap(), "1\n");
    assert!(
        ip(&namespace, "link show eth0")
            .join(" ")
            .contains("mtu 9001")
    );
    // The second time is as good as the first.
    up(&eth0, &namespace).unwrap();
    eth0.down().unwrap();
    assert!(!host_link(&eth0).unwrap().is_up);
}

#[test]
fn a_device_without_its_far_end_stays_off() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    let eth0 = device(&host, 0);
    let links = eth0.create(host.installation(), &namespace).unwrap();
    ip(&namespace, "link set eth0 name other");
    let refused = eth0.up(&namespace, links.host);
    assert!(matches!(refused, Err(DeviceError::Missing { .. })));
    assert!(!host_link(&eth0).unwrap().is_up);
    ip(&namespace, "link set other name eth0");
    eth0.up(&namespace, links.host).unwrap();
    assert!(host_link(&eth0).unwrap().is_up);
}

#[test]
fn a_further_device_has_a_table_of_its_own() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    for index in [0, 1] {
        let device = device(&host, index);
        device.create(host.installation(), &namespace).unwrap();
        up(&device, &namespace).unwrap();
    }
    assert_eq!(
        ip(&namespace, "rule show"),
        [
            "0: from all lookup local",
            "10001: from 10.0.1.11 lookup 10001 proto dhcp",
            "10001: from 10.0.1.111 lookup 10001 proto dhcp",
            "32766: from all lookup main",
            "32767: from all lookup default",
        ]
    );
    assert_eq!(
        ip(&namespace, "route show table 10001"),
        [
            "default via 10.0.1.1 dev eth1 proto dhcp src 10.0.1.11 metric 513",
            "10.0.1.0/24 dev eth1 proto dhcp scope link src 10.0.1.11 metric 513",
        ]
    );
    // Each address leaves through its own device, also within the one subnet.
    for (source, name) in [("10.0.1.10", "eth0"), ("10.0.1.111", "eth1")] {
        let route = ip(&namespace, &format!("route get 10.0.1.200 from {source}"));
        assert!(route[0].contains(&format!("dev {name} ")), "{route:?}");
    }

    let eth1 = device(&host, 1);
    EniDevice::delete(host.installation(), eth1.eni).unwrap();
    assert_eq!(host_link(&eth1), None);
    let left = ip(&namespace, "route show");
    assert!(left.iter().all(|route| route.contains("eth0")), "{left:?}");
    EniDevice::delete(host.installation(), eth1.eni).unwrap();
    // A device attached again finds the rules of the first time and is none the worse for it.
    eth1.create(host.installation(), &namespace).unwrap();
    up(&eth1, &namespace).unwrap();
    assert_eq!(ip(&namespace, "rule show").len(), 5);
}

#[test]
fn ipv6_comes_from_the_subnet_and_goes_with_it() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    let mut eth1 = device(&host, 1);
    let block = "2001:db8:0:1::/64".parse().unwrap();
    let (first, second) = ("2001:db8:0:1::5", "2001:db8:0:1::6");
    eth1.ipv6_subnet = Some(block);
    eth1.ipv6_addresses = vec![first.parse().unwrap()];
    eth1.create(host.installation(), &namespace).unwrap();
    up(&eth1, &namespace).unwrap();
    // Nothing waits for duplicates to be found: the address can be used at once.
    let addresses = ip(&namespace, "-6 -o addr show dev eth1").join("\n");
    assert!(addresses.contains(&format!("{first}/128")), "{addresses}");
    assert!(addresses.contains("fe80::ff:fe00:101/64"), "{addresses}");
    assert!(!addresses.contains("tentative"), "{addresses}");
    let routes = [
        "2001:db8:0:1::/64 dev eth1 proto dhcp metric 513 pref medium",
        "default via fe80:ec2::1 dev eth1 proto dhcp metric 513 pref medium",
    ];
    assert_eq!(ip(&namespace, "-6 route show table 10001"), routes);
    let route = &ip(&namespace, &format!("route get 2600::1 from {first}"))[0];
    assert!(
        route.contains("via fe80:ec2::1 dev eth1 table 10001"),
        "{route}"
    );

    eth1.assign(&namespace, second.parse().unwrap()).unwrap();
    let rules = ip(&namespace, "-6 rule show").join("\n");
    assert!(
        rules.contains(&format!("from {second} lookup 10001")),
        "{rules}"
    );
    for address in eth1.all_addresses().into_iter().filter(IpAddr::is_ipv6) {
        eth1.unassign(&namespace, address).unwrap();
    }
    eth1.unassign(&namespace, second.parse().unwrap()).unwrap();
    eth1.ipv6_subnet = None;
    eth1.reroute(&namespace, Some(block)).unwrap();
    assert_eq!(
        ip(&namespace, "-6 addr show dev eth1"),
        Vec::<String>::new()
    );
    let rules = ip(&namespace, "-6 rule show").join("\n");
    assert!(!rules.contains("10001"), "{rules}");
    for table in ["main", "10001"] {
        let left = ip(&namespace, &format!("-6 route show table {table}"));
        assert_eq!(left, Vec::<String>::new());
    }
}

#[test]
fn secondary_addresses_come_and_go() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    for index in [0, 1] {
        device(&host, index)
            .create(host.installation(), &namespace)
            .unwrap();
    }
    let eth1 = device(&host, 1);
    let further = IpAddr::from([10, 0, 1, 50]);
    eth1.assign(&namespace, further).unwrap();
    eth1.assign(&namespace, further).unwrap();
    let both = [eth1.primary.into(), eth1.secondaries[0].into(), further];
    assert_eq!(eth1.addresses(&namespace).unwrap(), both);
    assert!(
        ip(&namespace, "rule show")
            .iter()
            .any(|rule| rule.contains("from 10.0.1.50 "))
    );
    eth1.unassign(&namespace, further).unwrap();
    eth1.unassign(&namespace, further).unwrap();
    assert_eq!(eth1.addresses(&namespace).unwrap(), both[..2]);
    assert!(
        !ip(&namespace, "rule show")
            .iter()
            .any(|rule| rule.contains("from 10.0.1.50 "))
    );
    assert_eq!(device(&host, 0).addresses(&namespace).unwrap().len(), 2);
    let missing = device(&host, 2).assign(&namespace, further);
    assert!(matches!(missing, Err(DeviceError::Missing { .. })));
}

#[test]
fn a_device_replaces_only_its_own_remains() {
    let Some(host) = Host::new() else { return };
    let namespace = host.sandbox(0).prepare().unwrap();
    let eth0 = device(&host, 0);
    let first = eth0.create(host.installation(), &namespace).unwrap();
    let second = eth0.create(host.installation(), &namespace).unwrap();
    assert_ne!(first.host, second.host);
    let devices = EniDevice::list(host.installation()).unwrap();
    assert_eq!(devices, [(eth0.eni, second.host)]);

    // The same name with somebody else's mark.
    let Some(other) = Host::new() else { return };
    EniDevice::delete(host.installation(), eth0.eni).unwrap();
    let mut netlink = Netlink::open().unwrap();
    let name = eth0.host_name();
    netlink
        .create_veth(VethPair {
            name: &name,
            mac: ROUTER,
            peer_name: "eth0",
            peer_mac: eth0.mac,
            peer_namespace: Some(&namespace),
            mtu: 1500,
        })
        .unwrap();
    let index = netlink.link_index(&name).unwrap().unwrap();
    netlink
        .set_alias(index, &other.installation().eni_alias(eth0.eni))
        .unwrap();
    let refused = eth0.create(host.installation(), &namespace);
    assert!(matches!(refused, Err(DeviceError::Foreign { .. })));
    let refused = EniDevice::delete(host.installation(), eth0.eni);
    assert!(matches!(refused, Err(DeviceError::Foreign { .. })));
    assert!(host_link(&eth0).is_some());
    EniDevice::delete(other.installation(), eth0.eni).unwrap();
    assert!(host_link(&eth0).is_none());
}

#[test]
fn a_stop_takes_the_devices_along() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(0);
    let eth0 = device(&host, 0);
    let namespace = sandbox.prepare().unwrap();
    eth0.create(host.installation(), &namespace).unwrap();
    sandbox.start(&common::spec()).unwrap();
    up(&eth0, &namespace).unwrap();
    assert_eq!(
        host.shell(0, "ip -4 addr show eth0 | grep -c inet").1,
        "2\n"
    );
    // Attached while it runs.
    let eth1 = device(&host, 1);
    eth1.create(host.installation(), &namespace).unwrap();
    up(&eth1, &namespace).unwrap();
    assert_eq!(
        host.shell(0, "cat /sys/class/net/eth1/address").1,
        "02:00:00:00:01:01\n"
    );
    drop(namespace);
    sandbox.stop(std::time::Duration::from_secs(1)).unwrap();
    assert_eq!((host_link(&eth0), host_link(&eth1)), (None, None));
    let namespace = sandbox.prepare().unwrap();
    eth0.create(host.installation(), &namespace).unwrap();
}

#[test]
fn a_fit_host_is_found_fit() {
    let Some(_host) = Host::new() else { return };
    let findings = doctor::examine();
    assert!(doctor::is_fit(&findings), "{findings:?}");
    assert!(findings.iter().all(|finding| !finding.remedy.is_empty()));
    let left = NetNs::names().unwrap();
    let own = format!("enid-doctor-{}", std::process::id());
    assert!(!left.contains(&own), "{left:?}");
}
