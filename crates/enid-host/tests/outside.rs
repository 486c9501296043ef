//! The way to the outside in the kernel: who gets which pool, and that nothing goes further.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod common;

use std::process::Command;

use common::Host;
use enid_host::netns::NetNs;
use enid_host::outside::{Gateway, OutsideError, Wanted};
use ipnet::IpNet;

/// A namespace that plays the host, so that the machine's own is left alone.
struct Machine(NetNs);

impl Machine {
    fn new(host: &Host) -> Self {
        let machine = Self(NetNs::create(&format!("enid-{}", host.installation())).unwrap());
        machine.ip("link set lo up").unwrap();
        machine
    }

    /// What `ip` says here, or what it complains about.
    fn ip(&self, arguments: &str) -> Result<String, String> {
        let output = Command::new("ip")
            .args(["-n", self.0.name()])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    fn establish(&self, host: &Host) -> Result<Gateway, OutsideError> {
        self.0
            .run(|| Gateway::establish(host.installation(), host.data_dir(), &wanted()))
            .unwrap()
    }

    fn verify(&self, gateway: &Gateway) -> Vec<String> {
        self.0.run(|| gateway.verify()).unwrap().unwrap()
    }

    fn remove(&self, host: &Host) {
        self.0
            .run(|| Gateway::remove(host.installation()))
            .unwrap()
            .unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        NetNs::delete(self.0.name()).unwrap();
    }
}

fn wanted() -> Wanted {
    Wanted::slices_of(
        "198.18.0.0/15".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
    )
}

fn pools(gateway: &Gateway) -> [String; 2] {
    [
        gateway.pools.ipv4.to_string(),
        gateway.pools.ipv6.to_string(),
    ]
}

fn far(host: &Host) -> String {
    format!("enid{}", &host.installation().to_string()[..8])
}

#[test]
fn it_is_made_once_adopted_and_removed_without_a_trace() {
    let Some(host) = Host::new() else { return };
    let machine = Machine::new(&host);
    let gateway = machine.establish(&host).unwrap();
    assert_eq!(pools(&gateway), ["198.18.0.0/19", "2001:db8::/40"]);
    // The datapath's end is off until its program is there.
    assert_eq!(machine.verify(&gateway).len(), 1);
    machine.0.run(|| gateway.connect()).unwrap().unwrap();
    assert_eq!(machine.verify(&gateway), Vec::<String>::new());
    let addresses = machine.ip("-o addr show").unwrap();
    assert!(addresses.contains("198.18.0.1/19"), "{addresses}");
    assert!(addresses.contains("2001:db8::1/40"), "{addresses}");
    assert!(!addresses.contains("tentative"), "{addresses}");

    assert_eq!(machine.establish(&host).unwrap(), gateway);
    assert_eq!(machine.verify(&gateway), Vec::<String>::new());

    machine.ip("rule del pref 1").unwrap();
    machine.ip("-6 route del 2001:db8::/40").unwrap();
    assert_eq!(machine.verify(&gateway).len(), 2);
    assert_eq!(machine.establish(&host).unwrap(), gateway);
    assert_eq!(machine.verify(&gateway), Vec::<String>::new());

    machine.remove(&host);
    machine.remove(&host);
    for what in ["link show", "rule show", "-6 rule show", "route show"] {
        let left = machine.ip(what).unwrap();
        assert!(!left.contains("enid") && !left.contains("eni-gw"), "{left}");
    }
    assert_eq!(machine.verify(&gateway).len(), 2);
}

#[test]
fn each_installation_has_a_slice_of_its_own_and_keeps_it() {
    let Some(first) = Host::new() else { return };
    let Some(second) = Host::new() else { return };
    let machine = Machine::new(&first);
    // Somebody's own network lies in the way, and a default route does not.
    machine.ip("tuntap add up0 mode tap").unwrap();
    machine.ip("link set up0 up").unwrap();
    machine.ip("route add default dev up0").unwrap();
    machine.ip("route add 198.18.32.0/24 dev up0").unwrap();
    let one = machine.establish(&first).unwrap();
    let two = machine.establish(&second).unwrap();
    assert_eq!(pools(&one), ["198.18.0.0/19", "2001:db8::/40"]);
    assert_eq!(pools(&two), ["198.18.64.0/19", "2001:db8:100::/40"]);

    // The second one comes back to its own, though an earlier one has become free.
    machine.remove(&first);
    machine.remove(&second);
    assert_eq!(machine.establish(&second).unwrap().pools, two.pools);
    machine.remove(&second);
    machine.ip("route add 198.18.64.0/20 dev up0").unwrap();
    let refused = machine.establish(&second).unwrap_err();
    let own: IpNet = "198.18.64.0/19".parse().unwrap();
    assert!(matches!(&refused, OutsideError::Taken { pools } if *pools == [own]));
    // What is refused leaves nothing.
    assert!(!machine.ip("link show").unwrap().contains("eni-gw"));
    assert_eq!(machine.establish(&first).unwrap().pools, one.pools);
}

#[test]
fn a_link_of_somebody_else_is_left_alone() {
    let Some(host) = Host::new() else { return };
    let machine = Machine::new(&host);
    let name = far(&host);
    machine.ip(&format!("tuntap add {name} mode tap")).unwrap();
    let refused = machine.establish(&host).unwrap_err();
    assert!(matches!(&refused, OutsideError::Foreign { name: found } if *found == name));
    let removed = machine.0.run(|| Gateway::remove(host.installation()));
    assert!(removed.unwrap().is_err());
    machine.ip(&format!("link show {name}")).unwrap();
}

/// What comes in by the host's end is for the host's own addresses or for nobody, though the machine
/// forwards everything else.
#[test]
fn what_comes_from_instances_goes_no_further() {
    let Some(host) = Host::new() else { return };
    let machine = Machine::new(&host);
    machine.establish(&host).unwrap();
    for (name, block) in [("up0", "192.0.2.2/24"), ("in0", "192.0.3.2/24")] {
        machine.ip(&format!("tuntap add {name} mode tap")).unwrap();
        machine.ip(&format!("addr add {block} dev {name}")).unwrap();
        machine.ip(&format!("link set {name} up")).unwrap();
    }
    machine
        .ip("route add default via 192.0.2.1 dev up0")
        .unwrap();
    machine
        .ip("-6 addr add 2001:db8:ffff::2/64 dev up0 nodad")
        .unwrap();
    let forwards = [
        ("ipv4/conf/all/forwarding", "1"),
        ("ipv6/conf/all/forwarding", "1"),
    ];
    machine
        .0
        .run(|| {
            // As a container engine does when it starts: every device there is forwards after this.
            for (switch, value) in forwards {
                std::fs::write(format!("/proc/sys/net/{switch}"), value).unwrap();
            }
        })
        .unwrap();
    let get = |to: &str, from: &str, by: &str| {
        machine.ip(&format!("route get {to} from {from} iif {by}"))
    };
    let far = far(&host);
    assert!(get("203.0.113.9", "192.0.3.9", "in0").is_ok());
    assert!(get("203.0.113.9", "198.18.0.9", &far).is_err());
    assert!(get("192.0.2.1", "198.18.0.9", &far).is_err());
    let own = get("198.18.0.1", "198.18.0.9", &far).unwrap();
    assert!(own.contains("local"), "{own}");
    assert!(get("192.0.2.2", "198.18.0.9", &far).is_ok());
    // Sources that are not behind it are not believed.
    assert!(get("198.18.0.1", "192.0.3.9", &far).is_err());
    let get = |to: &str| machine.ip(&format!("-6 route get {to} from 2001:db8::9 iif {far}"));
    assert!(get("2001:db8:ffff::9").is_err_and(|error| !error.contains("Usage")));
    assert!(get("2001:db8::1").unwrap().contains("local"));
}
