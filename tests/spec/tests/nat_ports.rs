//! The kernel program gives 55,000 ports of a NAT gateway towards one destination, and no more; and what
//! the agent's sweep removes is free again.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod lab;

use std::collections::BTreeSet;
use std::time::Duration;

use enid_host::datapath::{Datapath, Options};
use enid_host::netns::NetNs;
use enid_pipeline::Reason;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_plan::gate::{AclEntry, RulePeer, RuleSpec};
use enid_plan::tables::Tables;
use enid_spec::region::{Eni, Group, Nat, Region, Subnet, Way};

use crate::lab::{Lab, REDIRECT, SHOT, devices, way_out};

const NAT: u64 = 0x300;
const X: Addr = Addr::v4([203, 0, 113, 9]);

/// One instance behind a NAT gateway with so many addresses.
fn region(ifindex: u32, addresses: u8) -> Region {
    let everything = RuleSpec {
        id: 100,
        // Unwrap: constants.
        peer: RulePeer::Cidr("0.0.0.0/0".parse().unwrap()),
        protocol: None,
        from: 0,
        to: u16::MAX,
    };
    let subnet = |id: u64, third, way| Subnet {
        id,
        vpc: 1,
        network: [10, 0, third],
        routes: vec![("0.0.0.0/0".parse().unwrap(), way)],
        acl_egress: vec![AclEntry {
            allows: true,
            rule: everything,
        }],
        acl_ingress: vec![AclEntry {
            allows: true,
            rule: everything,
        }],
    };
    let pair = |host| {
        let public = Addr::v4([198, 18, 0, host]);
        (Addr::v4([10, 0, 1, host]), Some(public))
    };
    Region {
        subnets: vec![
            subnet(0x100, 0, Way::Nat(0)),
            subnet(0x101, 1, Way::InternetGateway),
        ],
        groups: vec![Group {
            id: 0x200,
            egress: vec![everything],
            ingress: Vec::new(),
        }],
        enis: vec![Eni {
            id: 0x400,
            subnet: 0,
            addresses: vec![Addr::v4([10, 0, 0, 10])],
            prefixes: Vec::new(),
            public: None,
            groups: vec![0],
            mac: Mac([2, 0, 0, 0, 0, 10]),
            check: true,
            ifindex,
            is_up: true,
        }],
        nats: vec![Nat {
            id: NAT,
            eni: 0x301,
            subnet: 1,
            addresses: (5..5 + addresses).map(pair).collect(),
        }],
        gateways: vec![1],
        ..Region::default()
    }
}

/// A datagram from a port of the instance's to port 53 of X.
fn sent(region: &Region, port: u16) -> Vec<u8> {
    let (eni, router) = (&region.enis[0], region.subnets[0].router_mac());
    let transport = Transport::Udp { from: port, to: 53 };
    let packet = PacketBuilder::new(eni.addresses[0], X, transport);
    packet.macs(eni.mac, router).frame()
}

#[test]
fn the_connection_after_the_55_000th_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let namespace = NetNs::open(&lab.name).expect("the namespace is there");
    let work = || {
        let (ifindexes, outside) = devices();
        let mut datapath =
            Datapath::open(lab.installation(), Options::default()).expect("the datapath loads");
        let way_out = way_out(outside);
        datapath
            .set_outside(way_out)
            .expect("the way out is written");
        let one = region(ifindexes[0], 1);
        let diff = Tables::default().diff(&one.tables());
        datapath.apply(&diff).expect("the tables change");
        let inject = |datapath: &Datapath, port: u16| {
            let mut frame = sent(&one, port);
            let verdict = datapath.inject(ifindexes[0], &mut frame);
            let source = Addr::v4([frame[26], frame[27], frame[28], frame[29]]);
            let port = u16::from_be_bytes([frame[34], frame[35]]);
            (verdict.expect("the program runs"), source, port)
        };
        let mut taken = BTreeSet::new();
        for port in 1..=55_000 {
            let (verdict, source, port) = inject(&datapath, port);
            assert_eq!((verdict, source), (REDIRECT, Addr::v4([198, 18, 0, 5])));
            assert!(port >= 1024 && taken.insert(port), "{port}");
        }
        for port in 55_001..55_101 {
            assert_eq!(inject(&datapath, port).0, SHOT);
        }
        let reasons = datapath
            .flows()
            .reasons()
            .expect("the counters can be read");
        let refused = reasons.iter().filter(|(_, count)| *count > 0);
        let refused: Vec<_> = refused.collect();
        assert_eq!(refused, [&(Reason::NatPortAllocation, 100)]);
        let counted = |datapath: &Datapath| {
            let ports = datapath
                .nat_tables()
                .ports()
                .expect("the ports can be read");
            ports.iter().map(|(_, record)| record.taken).sum::<u64>()
        };
        assert_eq!(counted(&datapath), 55_000);
        let counts = datapath
            .nat_tables()
            .counts()
            .expect("the counts can be read");
        let [(NAT, _, counts)] = counts.as_slice() else {
            panic!("another gateway");
        };
        assert_eq!((counts.out_packets, counts.port_errors), (55_000, 100));
        // Those that have a port keep it, and a second address has room for the others.
        assert_eq!(inject(&datapath, 7).0, REDIRECT);
        let two = region(ifindexes[0], 2);
        let diff = one.tables().diff(&two.tables());
        datapath.apply(&diff).expect("the tables change");
        for port in 55_001..55_101 {
            let (verdict, source, _) = inject(&datapath, port);
            assert_eq!((verdict, source), (REDIRECT, Addr::v4([198, 18, 0, 6])));
        }
        assert_eq!(counted(&datapath), 55_100);
        // The instance goes, and with it its ports.
        let mut none = two.clone();
        none.enis[0].is_up = false;
        let diff = two.tables().diff(&none.tables());
        datapath.apply(&diff).expect("the tables change");
        while counted(&datapath) > 0 {
            let before = counted(&datapath);
            datapath
                .sweep_if_due(Duration::ZERO, None)
                .expect("the sweep runs");
            datapath
                .sweep_if_due(Duration::ZERO, None)
                .expect("the sweep runs");
            assert!(counted(&datapath) < before, "{before} ports are not freed");
        }
        assert_eq!(datapath.flows().flows().expect("the flows can be read"), []);
    };
    namespace.run(work).expect("the namespace can be entered");
}
