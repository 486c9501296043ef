//! Real packets through the loaded programs, in network namespaces of their own.
//!
//! ```text
//!   namespace a ── etha ─┐                        ┌─ ethb ── namespace b
//!                        eniA ─ namespace host ─ eniB
//!                        eniC ─┘
//!   namespace c ── ethc   (another VPC, with b's address)
//! ```

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use enid_host::datapath::{Attach, Datapath, DatapathError, Options, Shut};
use enid_host::loader;
use enid_host::netlink::{Netlink, VethPair};
use enid_host::netns::NetNs;
use enid_model::id::EniId;
use enid_model::network_interface::Mac;
use enid_pipeline::Reason;
use enid_pipeline::bytes::{self, Addr};
use enid_pipeline::table::{
    Direction, Endpoint, EndpointKey, EniRecord, GATE_CLOSED, GATE_OPEN, GateGroupKey,
    PolicyRecord, Route, RouteKey, RuleBits, SubnetRecord, TABLE_BITS, protocol, trie_id,
};
use enid_plan::gate::{self, RulePeer, RuleSpec};
use enid_plan::tables::Tables;

use crate::common::Host;

/// Namespaces and pins of one test; gone when it ends, however it ends.
struct Lab {
    host: Host,
    names: Vec<String>,
}

impl Lab {
    fn new() -> Option<Self> {
        let host = Host::new()?;
        let mark = host.installation().to_string();
        let names = ["h", "a", "b", "c"]
            .map(|end| format!("enid-{mark}-{end}"))
            .to_vec();
        for name in &names {
            NetNs::create(name).unwrap();
        }
        Some(Self { host, names })
    }

    fn namespace(&self, end: usize) -> NetNs {
        NetNs::open(&self.names[end]).unwrap()
    }

    fn in_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace(HOST).run(work).unwrap()
    }

    fn open(&self) -> Datapath {
        self.open_with(None)
    }

    /// Where the devices are, as an agent does it.
    fn open_with(&self, attach: Option<Attach>) -> Datapath {
        let options = Options {
            flow_entries_max: 1024,
            attach,
        };
        self.in_host(|| Datapath::open(self.host.installation(), options).unwrap())
    }

    /// A pair of devices for an end; switched on only when its programs are there.
    fn plug(&self, datapath: &mut Datapath, end: usize) -> u32 {
        let namespace = self.namespace(end);
        let name = format!("eni{end}");
        let ifindex = self.in_host(|| {
            let mut netlink = Netlink::open().unwrap();
            let pair = VethPair {
                name: &name,
                mac: Mac([2, 0, 0, 0, 1, u8::try_from(end).unwrap()]),
                peer_name: "eth0",
                peer_mac: Mac(mac(end).0),
                peer_namespace: Some(&namespace),
                mtu: 9001,
            };
            netlink.create_veth(pair).unwrap();
            let ifindex = netlink.link_index(&name).unwrap().unwrap();
            datapath.attach(EniId(eni(end)), &name).unwrap();
            netlink.set_up(ifindex).unwrap();
            ifindex
        });
        let address = address(end);
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        for command in [
            "ip link set lo up".to_owned(),
            format!("ip addr add {address}/24 dev eth0"),
            "ip link set eth0 up".to_owned(),
            format!("ip route add default via {gateway}"),
        ] {
            self.shell(end, &command);
        }
        ifindex
    }

    fn shell(&self, end: usize, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let output = self
            .namespace(end)
            .run(|| command.output().unwrap())
            .unwrap();
        output.status.success()
    }

    fn ping(&self, end: usize, to: Ipv4Addr) -> bool {
        self.shell(end, &format!("ping -c 1 -W 1 -q {to}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            NetNs::delete(name).unwrap();
        }
        loader::remove_pins(self.host.installation()).unwrap();
    }
}

const HOST: usize = 0;
const A: usize = 1;
const B: usize = 2;
const C: usize = 3;
const GROUP: u64 = 0x5a;
const POLICY: u64 = 77;

fn mac(end: usize) -> bytes::Mac {
    bytes::Mac([2, 0, 0, 0, 2, u8::try_from(end).unwrap()])
}

fn eni(end: usize) -> u64 {
    0xe0 + end as u64
}

/// C has the address of B, in another VPC.
fn address(end: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, if end == A { 10 } else { 20 })
}

fn vpc(end: usize) -> u64 {
    if end == C { 2 } else { 1 }
}

fn everybody(id: u64, protocol: Option<u8>, from: u16, to: u16) -> RuleSpec {
    let peer = RulePeer::Cidr("0.0.0.0/0".parse().unwrap());
    RuleSpec {
        id,
        peer,
        protocol,
        from,
        to,
    }
}

fn members(id: u64, protocol: Option<u8>, from: u16, to: u16) -> RuleSpec {
    RuleSpec {
        id,
        peer: RulePeer::Group(GROUP),
        protocol,
        from,
        to,
    }
}

/// Tables for devices with these indexes, and one policy for all.
fn tables(ends: &[(usize, u32)], egress: &[RuleSpec], ingress: &[RuleSpec]) -> Tables {
    let mut tables = Tables::default();
    for (end, ifindex) in ends {
        let (subnet, route_table) = (vpc(*end) + 10, vpc(*end) + 20);
        let mut groups = [0; 16];
        groups[0] = GROUP;
        let record = EniRecord {
            vpc: vpc(*end),
            subnet,
            policy: POLICY,
            instance: eni(*end) + 0x100,
            groups,
            ifindex: *ifindex,
            tcp_established_s: 432_000,
            udp_s: 30,
            udp_stream_s: 180,
            mac: mac(*end),
            flags: EniRecord::SOURCE_DEST_CHECK,
            group_count: 1,
        };
        tables.devices.insert(*ifindex, eni(*end));
        tables.enis.insert(eni(*end), record);
        let key = EndpointKey {
            vpc: vpc(*end),
            addr: Addr::from(address(*end)),
        };
        tables.endpoints.insert(key, Endpoint { eni: eni(*end) });
        let network = Addr::v4([10, 0, 0, 0]);
        let record = SubnetRecord {
            vpc: vpc(*end),
            router: Addr::v4([10, 0, 0, 1]),
            cidr: network,
            router_v6: Addr::UNSPECIFIED,
            route_table,
            acl: 0,
            acl_egress: GATE_OPEN,
            acl_ingress: GATE_OPEN,
            cidr_len: 120,
            router_mac: bytes::Mac([2, 0, 0, 0, 9, 9]),
            pad: [0; 6],
        };
        tables.subnets.insert(subnet, record);
        let prefix_len = TABLE_BITS + 120;
        let key = RouteKey {
            prefix_len,
            table: trie_id(route_table),
            addr: network,
        };
        tables.routes.insert(
            key,
            Route {
                target: 0,
                kind: Route::LOCAL,
                prefix_len: 120,
            },
        );
    }
    let egress = gate::compile(POLICY, Direction::Egress, egress);
    let ingress = gate::compile(POLICY, Direction::Ingress, ingress);
    let record = PolicyRecord {
        egress_gate: egress.id,
        ingress_gate: ingress.id,
        open: gate::open_bits(&egress, &ingress),
    };
    tables.policies.insert(POLICY, record);
    egress.insert_into(&mut tables);
    ingress.insert_into(&mut tables);
    tables
}

fn change(datapath: &mut Datapath, wanted: &Tables) {
    let diff = datapath.read().unwrap().diff(wanted);
    datapath.apply(&diff).unwrap();
    assert_eq!(datapath.read().unwrap(), *wanted);
}

fn dropped(datapath: &Datapath, reason: Reason) -> u64 {
    let all = datapath.flows().reasons().unwrap();
    all.into_iter()
        .find(|(found, _)| *found == reason)
        .map_or(0, |(_, count)| count)
}

#[test]
fn packets_pass_when_both_gates_are_open_and_only_then() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, B].map(|end| (end, lab.plug(&mut datapath, end)));
    let out = everybody(1, None, 0, u16::MAX);
    let echo = members(2, Some(protocol::ICMP), 0x0800, 0x08ff);

    change(&mut datapath, &tables(&ends, &[out], &[]));
    assert!(!lab.ping(A, address(B)));
    assert!(dropped(&datapath, Reason::IngressRule) > 0);
    assert_eq!(dropped(&datapath, Reason::EgressRule), 0);

    // No wait after the change.
    change(&mut datapath, &tables(&ends, &[out], &[echo]));
    assert!(lab.ping(A, address(B)));
    assert!(lab.ping(B, address(A)));
    let flows = datapath.flows().flows().unwrap();
    let deciding: Vec<_> = flows.iter().map(|(_, flow)| flow.ingress_rule).collect();
    assert!(deciding.contains(&2), "{flows:?}");

    change(&mut datapath, &tables(&ends, &[], &[echo]));
    assert!(!lab.ping(A, address(B)));
    assert!(dropped(&datapath, Reason::EgressRule) > 0);
}

#[test]
fn a_tracked_connection_survives_the_revoke_and_the_agent() {
    survives(None);
}

#[test]
fn it_survives_behind_filters_as_well() {
    survives(Some(Attach::Tc));
}

fn survives(attach: Option<Attach>) {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open_with(attach);
    let ends = [A, B].map(|end| (end, lab.plug(&mut datapath, end)));
    let out = everybody(1, None, 0, u16::MAX);
    let open = tables(
        &ends,
        &[out],
        &[members(2, Some(protocol::TCP), 5000, 5000)],
    );
    let closed = tables(&ends, &[out], &[]);
    change(&mut datapath, &open);

    let server = SocketAddr::from((address(B), 5000));
    let listener = lab
        .namespace(B)
        .run(|| TcpListener::bind(server).unwrap())
        .unwrap();
    let connect = || {
        lab.namespace(A)
            .run(|| TcpStream::connect_timeout(&server, Duration::from_secs(1)))
    };
    let mut client = connect().unwrap().unwrap();
    let (mut served, _) = listener.accept().unwrap();
    let mut exchange = |client: &mut TcpStream, text: &[u8]| {
        client.write_all(text).unwrap();
        let mut read = vec![0; text.len()];
        served.read_exact(&mut read).unwrap();
        served.write_all(&read).unwrap();
        client.read_exact(&mut read).unwrap();
        assert_eq!(read, text);
    };
    exchange(&mut client, b"before");

    change(&mut datapath, &closed);
    exchange(&mut client, b"after the revoke");
    assert!(connect().unwrap().is_err());

    // The agent is gone; programs, maps and links are not.
    drop(datapath);
    exchange(&mut client, b"without an agent");
    let mut datapath = lab.open_with(attach);
    change(&mut datapath, &closed);
    exchange(&mut client, &[7; 100_000]);
    for (end, ifindex) in ends {
        lab.in_host(|| datapath.verify_attached(EniId(eni(end)), ifindex).unwrap());
    }

    // A later Enid with other programs puts them behind the links that are there.
    drop(datapath);
    let layouts = std::fs::read_dir(loader::pin_root(lab.host.installation())).unwrap();
    let programs = layouts
        .map(|entry| entry.unwrap().path())
        .next()
        .unwrap()
        .join("programs");
    let text = std::fs::read_dir(&programs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::rename(&text, programs.join("older")).unwrap();
    let datapath = lab.open_with(attach);
    assert!(text.exists() && !programs.join("older").exists());
    for (end, ifindex) in ends {
        lab.in_host(|| datapath.verify_attached(EniId(eni(end)), ifindex).unwrap());
    }
    exchange(&mut client, b"through new programs");
}

#[test]
fn the_same_address_in_two_vpcs_never_meets() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, C].map(|end| (end, lab.plug(&mut datapath, end)));
    let all = everybody(1, None, 0, u16::MAX);
    change(&mut datapath, &tables(&ends, &[all], &[all]));
    assert!(!lab.ping(A, address(C)));
    let b = (B, lab.plug(&mut datapath, B));
    change(
        &mut datapath,
        &tables(&[ends[0], ends[1], b], &[all], &[all]),
    );
    // What waits for an answer to the first question would ask again only a second later.
    assert!(lab.shell(A, "ip neighbour flush all"));
    assert!(lab.ping(A, address(B)));
    let key = |end| move |target: u64| target == eni(end);
    let flows = datapath.flows().flows().unwrap();
    assert!(flows.iter().any(|(_, flow)| key(B)(flow.target_eni)));
    assert!(!flows.iter().any(|(_, flow)| key(C)(flow.target_eni)));
}

#[test]
fn the_hosts_own_stack_is_kept_out() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, B].map(|end| (end, lab.plug(&mut datapath, end)));
    let all = everybody(1, None, 0, u16::MAX);
    change(&mut datapath, &tables(&ends, &[all], &[all]));
    assert!(lab.shell(HOST, "ip addr add 10.0.0.99/24 dev eni1"));
    assert!(!lab.ping(HOST, address(A)));
    assert!(dropped(&datapath, Reason::HostTraffic) > 0);
    assert!(lab.ping(B, address(A)));
}

#[test]
fn large_packets_are_fragmented_and_pass() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, B].map(|end| (end, lab.plug(&mut datapath, end)));
    let all = everybody(1, None, 0, u16::MAX);
    let echo = members(2, Some(protocol::ICMP), 0x0800, 0x0800);
    change(&mut datapath, &tables(&ends, &[all], &[echo]));
    assert!(lab.shell(A, &format!("ping -c 1 -W 1 -q -s 20000 {}", address(B))));
    assert_eq!(dropped(&datapath, Reason::FragmentUnknown), 0);
    // A port that nobody listens on says so, though no rule admits the ICMP error.
    change(
        &mut datapath,
        &tables(&ends, &[all], &[members(3, Some(protocol::UDP), 9, 9)]),
    );
    let refused = lab.namespace(A).run(|| {
        let socket = std::net::UdpSocket::bind((address(A), 0)).unwrap();
        socket.connect((address(B), 9)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket.send(b"x").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    });
    assert_eq!(refused.unwrap(), std::io::ErrorKind::ConnectionRefused);
    let flows = datapath.flows().flows().unwrap();
    assert!(flows.iter().any(|(_, flow)| flow.related_packets() == 1));
}

#[test]
fn rules_that_do_not_fit_close_their_policy_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, B, C].map(|end| (end, lab.plug(&mut datapath, end)));
    let out = everybody(1, None, 0, u16::MAX);
    let by_address = everybody(2, Some(protocol::ICMP), 0x0800, 0x08ff);
    let by_group = members(3, Some(protocol::ICMP), 0x0800, 0x08ff);
    let mut full = tables(&ends, &[out], &[by_address]);
    for group in 0..GROUP_ENTRIES_MAX {
        let nobodys = GateGroupKey { gate: 1, group };
        full.gate_groups.insert(nobodys, RuleBits::NONE);
    }
    change(&mut datapath, &full);
    assert!(lab.ping(A, address(B)));

    // Rules that need one entry more, and an interface that goes.
    let mut wanted = tables(&ends[..2], &[out], &[by_group]);
    let gate = wanted.policies[&POLICY].ingress_gate;
    wanted.gate_groups.extend(full.gate_groups);
    let diff = datapath.read().unwrap().diff(&wanted);
    let refused = datapath.apply(&diff);
    assert!(
        matches!(refused, Err(DatapathError::Shut(_))),
        "{refused:?}"
    );
    let shut = Shut {
        policy: POLICY,
        direction: Direction::Ingress,
        gate,
    };
    assert!(datapath.shut().iter().eq([&shut]));
    assert!(!lab.ping(A, address(B)));
    assert!(dropped(&datapath, Reason::IngressRule) > 0);
    assert_eq!(dropped(&datapath, Reason::EgressRule), 0);
    let kernel = datapath.read().unwrap();
    let mut diff = kernel.diff(&wanted);
    assert_eq!(kernel.devices, wanted.devices);
    assert_eq!(kernel.policies[&POLICY].ingress_gate, GATE_CLOSED);
    assert!(diff.len() > 1);
    datapath.without_shut(&mut diff);
    assert_eq!(diff.len(), 1);

    // With room again they fit: at once, or when the old entries are deleted.
    wanted.gate_groups.retain(|key, _| key.gate == gate);
    let _ = datapath.repair(&wanted);
    datapath.repair(&wanted).unwrap();
    assert!(datapath.shut().is_empty());
    assert_eq!(datapath.read().unwrap(), wanted);
    assert!(lab.ping(A, address(B)));
}

/// The size of the table `gate_groups`.
const GROUP_ENTRIES_MAX: u64 = 262_144;

#[test]
fn flows_go_with_their_devices_and_when_they_are_forgotten() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let ends = [A, B].map(|end| (end, lab.plug(&mut datapath, end)));
    let all = everybody(1, None, 0, u16::MAX);
    change(&mut datapath, &tables(&ends, &[all], &[all]));
    assert!(lab.ping(A, address(B)));
    assert!(!lab.ping(A, Ipv4Addr::new(10, 0, 0, 77)));
    datapath.sweep_if_due(Duration::ZERO, None).unwrap();
    assert_eq!(datapath.flows().flows().unwrap().len(), 2);

    change(&mut datapath, &tables(&ends[..1], &[all], &[all]));
    datapath.sweep_if_due(Duration::ZERO, None).unwrap();
    assert_eq!(datapath.flows().flows().unwrap(), []);

    change(&mut datapath, &tables(&ends, &[all], &[]));
    assert!(!lab.ping(A, address(B)));
    assert!(dropped(&datapath, Reason::IngressRule) > 0);
    assert!(!datapath.flows().drops().unwrap().is_empty());
    datapath.forget_flows().unwrap();
    assert_eq!(datapath.flows().drops().unwrap(), []);
    assert!(
        datapath
            .flows()
            .reasons()
            .unwrap()
            .iter()
            .all(|(_, count)| *count == 0)
    );
}

#[test]
fn programs_are_sought_on_the_right_device_and_links_of_strangers_go() {
    let Some(lab) = Lab::new() else { return };
    let mut datapath = lab.open();
    let [a, b] = [A, B].map(|end| lab.plug(&mut datapath, end));
    datapath.verify_attached(EniId(eni(A)), a).unwrap();
    assert!(datapath.verify_attached(EniId(eni(A)), b).is_err());
    datapath
        .forget_links(|known| known == EniId(eni(A)))
        .unwrap();
    datapath.verify_attached(EniId(eni(A)), a).unwrap();
    assert!(datapath.verify_attached(EniId(eni(B)), b).is_err());
}
