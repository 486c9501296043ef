use enid_model::id::EniId;
use enid_model::instance::DesiredState;
use enid_model::subnet::HostnameType;
use enid_model::vpc_peering_connection::PeeringStatus;

use super::super::fixture::{World, scope, world};
use super::*;

const INTERNAL: &str = "eu-west-1.compute.internal.";

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(name, kind));
    message
}

fn ask(world: &World, eni: u64, message: &Message) -> Answer {
    let state = world.state();
    let asker = Asker::of_eni(&state, &scope(), EniId(eni)).expect("an interface");
    let bytes = message.to_vec().expect("a message");
    answer(&asker, &bytes, Transport::Udp)
}

/// What an interface is told, in short: data, `NXDOMAIN zone`, `NODATA zone`, or `elsewhere`.
fn told(world: &World, eni: u64, name: &str, kind: RecordType) -> String {
    let reply = match ask(world, eni, &query(name, kind)) {
        Answer::Forward => return "elsewhere".to_owned(),
        Answer::Ignore => return "nothing".to_owned(),
        Answer::Reply(bytes) => Message::from_vec(&bytes).expect("a message"),
    };
    assert_eq!(reply.metadata.id, 7);
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    if let Some(record) = reply.answers.first() {
        assert_eq!(record.name.to_ascii(), name);
        assert_eq!(record.ttl, 60);
        return record.data.to_string();
    }
    let code = match reply.metadata.response_code {
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NoError => "NODATA",
        other => return other.to_string(),
    };
    let soa = reply.authorities.first().expect("an SOA record");
    assert_eq!(soa.record_type(), RecordType::SOA);
    format!("{code} {}", soa.name)
}

fn internal(label: &str) -> String {
    format!("{label}.{INTERNAL}")
}

#[test]
fn private_names_are_those_of_near_addresses() {
    let world = world();
    for (label, kind, found) in [
        ("ip-10-0-1-5", RecordType::A, "10.0.1.5"),
        ("IP-10-0-1-5", RecordType::A, "10.0.1.5"),
        ("ip-10-0-1-5", RecordType::AAAA, "NODATA"),
        ("ip-10-0-1-5", RecordType::TXT, "NODATA"),
        // Every address of the VPC has one, and those of its peer.
        ("ip-10-0-0-2", RecordType::A, "10.0.0.2"),
        ("ip-10-1-1-5", RecordType::A, "10.1.1.5"),
        ("ip-10-2-1-5", RecordType::A, "NXDOMAIN"),
        ("ip-10-0-1-256", RecordType::A, "NXDOMAIN"),
        ("sub.ip-10-0-1-5", RecordType::A, "NXDOMAIN"),
        ("web", RecordType::A, "NXDOMAIN"),
        ("instance-data", RecordType::A, "169.254.169.254"),
    ] {
        let found = match found {
            "NODATA" | "NXDOMAIN" => format!("{found} {INTERNAL}"),
            data => data.to_owned(),
        };
        assert_eq!(told(&world, 1, &internal(label), kind), found, "{label}");
    }
    let mut world = world;
    world.peering(1, |connection| connection.status = PeeringStatus::Deleted);
    let gone = told(&world, 1, &internal("ip-10-1-1-5"), RecordType::A);
    assert_eq!(gone, format!("NXDOMAIN {INTERNAL}"));
    let other = "ip-10-0-1-5.ec2.internal.";
    let found = told(&world, 1, other, RecordType::A);
    assert_eq!(found, "NXDOMAIN ec2.internal.");
    let found = told(&world, 1, "web.corp.internal.", RecordType::A);
    assert_eq!(found, "elsewhere");
}

#[test]
fn resource_names_have_the_records_that_options_say() {
    let mut world = world();
    let name = internal("i-00000000000000001");
    let tell = |world: &World| {
        let kinds = [RecordType::A, RecordType::AAAA];
        kinds.map(|kind| told(world, 1, &name, kind))
    };
    let none = format!("NODATA {INTERNAL}");
    assert_eq!(tell(&world), [none.clone(), none.clone()]);
    world.instance(1, |instance| {
        instance.private_dns_name_options.resource_name_a_record = true;
    });
    assert_eq!(tell(&world), ["10.0.1.5", &none]);
    world.instance(1, |instance| {
        instance.private_dns_name_options.resource_name_aaaa_record = true;
    });
    assert_eq!(tell(&world), ["10.0.1.5", "2600:1f10:0:100::5"]);
    // From the peer as well, until the instance is gone.
    assert_eq!(told(&world, 3, &name, RecordType::A), "10.0.1.5");
    world.instance(1, |instance| instance.desired = DesiredState::Terminated);
    let gone = format!("NXDOMAIN {INTERNAL}");
    assert_eq!(tell(&world), [gone.clone(), gone]);
}

#[test]
fn public_names_are_private_addresses_inside() {
    let mut world = world();
    let zone = "eu-west-1.compute.amazonaws.com.";
    let first = format!("ec2-198-18-0-10.{zone}");
    let second = format!("ec2-198-18-0-20.{zone}");
    let a = RecordType::A;
    assert_eq!(told(&world, 1, &first, a), "10.0.1.5");
    assert_eq!(told(&world, 1, &second, a), "198.18.0.20");
    assert_eq!(
        told(&world, 1, &first, RecordType::AAAA),
        format!("NODATA {zone}")
    );
    // Only the owner's side of the peering connection counts.
    world.peering(1, |pcx| pcx.requester.allow_dns_resolution = true);
    assert_eq!(told(&world, 1, &second, a), "198.18.0.20");
    assert_eq!(told(&world, 3, &first, a), "10.0.1.5");
    world.peering(1, |pcx| pcx.accepter.allow_dns_resolution = true);
    assert_eq!(told(&world, 1, &second, a), "10.1.1.5");
    world.vpc(2, |vpc| vpc.enable_dns_hostnames = false);
    assert_eq!(told(&world, 1, &second, a), format!("NXDOMAIN {zone}"));
    world.elastic_ip(1, |elastic_ip| elastic_ip.association = None);
    assert_eq!(told(&world, 1, &first, a), format!("NXDOMAIN {zone}"));
    // Whose address it is, nobody here knows.
    assert_eq!(
        told(&world, 1, &format!("ec2-198-18-0-30.{zone}"), a),
        "elsewhere"
    );
    let other = "ec2-198-18-0-20.us-west-2.compute.amazonaws.com.";
    assert_eq!(told(&world, 1, other, a), "elsewhere");
    assert_eq!(told(&world, 1, "aws.amazon.com.", a), "elsewhere");
}

#[test]
fn addresses_point_back_to_names() {
    let mut world = world();
    let ptr = RecordType::PTR;
    let v6 = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.1.f.1.0.0.6.2.ip6.arpa.";
    let v6_zone = "1.0.0.0.0.0.0.1.f.1.0.0.6.2.ip6.arpa.";
    for (name, found) in [
        (
            "5.1.0.10.in-addr.arpa.",
            "ip-10-0-1-5.eu-west-1.compute.internal.",
        ),
        (
            "2.0.0.10.in-addr.arpa.",
            "ip-10-0-0-2.eu-west-1.compute.internal.",
        ),
        (
            "5.1.1.10.in-addr.arpa.",
            "ip-10-1-1-5.eu-west-1.compute.internal.",
        ),
        ("5.1.2.10.in-addr.arpa.", "NXDOMAIN 10.in-addr.arpa."),
        ("1.10.in-addr.arpa.", "NODATA 10.in-addr.arpa."),
        ("x.1.0.10.in-addr.arpa.", "NXDOMAIN 10.in-addr.arpa."),
        ("05.1.0.10.in-addr.arpa.", "NXDOMAIN 10.in-addr.arpa."),
        (
            "1.0.168.192.in-addr.arpa.",
            "NXDOMAIN 168.192.in-addr.arpa.",
        ),
        ("1.0.20.172.in-addr.arpa.", "NXDOMAIN 20.172.in-addr.arpa."),
        ("1.0.32.172.in-addr.arpa.", "elsewhere"),
        (
            "10.0.18.198.in-addr.arpa.",
            "ec2-198-18-0-10.eu-west-1.compute.amazonaws.com.",
        ),
        ("11.0.18.198.in-addr.arpa.", "elsewhere"),
        ("8.8.8.8.in-addr.arpa.", "elsewhere"),
        (v6, &format!("NXDOMAIN {v6_zone}")),
        ("1.0.0.2.ip6.arpa.", "elsewhere"),
    ] {
        assert_eq!(told(&world, 1, name, ptr), found, "{name}");
    }
    assert_eq!(
        told(&world, 1, "5.1.0.10.in-addr.arpa.", RecordType::A),
        "NODATA 10.in-addr.arpa."
    );
    world.elastic_ip(1, |elastic_ip| {
        elastic_ip.ptr_record = Some("mail.example.com.".to_owned());
    });
    let set = told(&world, 1, "10.0.18.198.in-addr.arpa.", ptr);
    assert_eq!(set, "mail.example.com.");
    world.instance(1, |instance| {
        let options = &mut instance.private_dns_name_options;
        options.hostname_type = HostnameType::ResourceName;
        options.resource_name_a_record = true;
        options.resource_name_aaaa_record = true;
    });
    let name = internal("i-00000000000000001");
    assert_eq!(told(&world, 1, "5.1.0.10.in-addr.arpa.", ptr), name);
    assert_eq!(told(&world, 1, v6, ptr), name);
    world.vpc(1, |vpc| vpc.enable_dns_hostnames = false);
    let unnamed = told(&world, 1, "5.1.0.10.in-addr.arpa.", ptr);
    assert_eq!(unnamed, "NXDOMAIN 10.in-addr.arpa.");
}

#[test]
fn a_vpc_without_dns_support_has_no_resolver() {
    let mut world = world();
    world.vpc(1, |vpc| vpc.enable_dns_support = false);
    let found = told(&world, 1, &internal("ip-10-0-1-5"), RecordType::A);
    assert_eq!(found, "nothing");
    assert_eq!(told(&world, 1, "example.com.", RecordType::A), "nothing");
}

#[test]
fn what_is_no_plain_question_is_refused() {
    let world = world();
    let code = |message: &Message| match ask(&world, 1, message) {
        Answer::Reply(bytes) => {
            let reply = Message::from_vec(&bytes).expect("a message");
            Some(reply.metadata.response_code)
        }
        _ => None,
    };
    let plain = query(&internal("ip-10-0-1-5"), RecordType::A);
    assert_eq!(code(&plain), Some(ResponseCode::NoError));
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::ANY] {
        let message = query(INTERNAL, kind);
        assert_eq!(code(&message), Some(ResponseCode::Refused), "{kind}");
    }
    let mut chaos = plain.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), Some(ResponseCode::Refused));
    let mut update = plain.clone();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), Some(ResponseCode::NotImp));
    let mut two = plain.clone();
    two.queries.push(plain.queries[0].clone());
    assert_eq!(code(&two), Some(ResponseCode::FormErr));
    let mut response = plain.clone();
    response.metadata.message_type = MessageType::Response;
    assert_eq!(code(&response), None);
    let mut newer = plain;
    newer.set_edns(Edns::new());
    if let Some(edns) = &mut newer.edns {
        edns.set_version(1);
    }
    // BADVERS shares its number with BADSIG.
    assert_eq!(code(&newer).map(u16::from), Some(16));
}

#[test]
fn bytes_that_are_no_message_are_told_so() {
    let world = world();
    let state = world.state();
    let asker = Asker::of_eni(&state, &scope(), EniId(1)).expect("an interface");
    for short in [&b""[..], b"\0\x07", &[0; 11]] {
        assert_eq!(answer(&asker, short, Transport::Udp), Answer::Ignore);
    }
    // One question is announced, none follows.
    let bytes = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let Answer::Reply(reply) = answer(&asker, &bytes, Transport::Udp) else {
        panic!("a reply");
    };
    assert_eq!(reply[..4], [0, 7, 0x80, 1]);
}

#[test]
fn a_long_answer_is_cut_in_a_datagram_only() {
    let mut world = world();
    let label = "x".repeat(63);
    let long = format!("{label}.{label}.{label}.{}.", "y".repeat(50));
    world.elastic_ip(1, |elastic_ip| elastic_ip.ptr_record = Some(long.clone()));
    let name = "10.0.18.198.in-addr.arpa.";
    assert_eq!(told(&world, 1, name, RecordType::PTR), long);
    // A name of 246 bytes, and a question for it.
    let mut reply = query(&long, RecordType::TXT);
    reply.metadata.message_type = MessageType::Response;
    let target = Name::from_ascii(&long).expect("a name");
    for _ in 0..40 {
        let data = RData::PTR(hickory_proto::rr::rdata::PTR(target.clone()));
        let record = Record::from_rdata(target.clone(), TTL_S, data);
        reply.add_answer(record);
    }
    let asked = query(&long, RecordType::TXT).to_vec().expect("a query");
    let said = reply.to_vec().expect("a reply");
    assert!(said.len() > UDP_BYTES);
    let whole = passed_on(&asked, &said, Transport::Tcp).expect("a reply");
    assert_eq!(whole, said);
    let cut = passed_on(&asked, &said, Transport::Udp).expect("a reply");
    let cut = Message::from_vec(&cut).expect("a message");
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let other = query("example.com.", RecordType::A)
        .to_vec()
        .expect("a query");
    assert_eq!(passed_on(&other, &said, Transport::Tcp), None);
    assert_eq!(passed_on(&asked, &asked, Transport::Tcp), None);
}

#[test]
fn an_answer_has_an_opt_record_if_the_query_has() {
    let world = world();
    let mut message = query(&internal("ip-10-0-1-5"), RecordType::A);
    for asked in [false, true] {
        if asked {
            message.set_edns(Edns::new());
        }
        let Answer::Reply(bytes) = ask(&world, 1, &message) else {
            panic!("a reply");
        };
        let reply = Message::from_vec(&bytes).expect("a message");
        assert_eq!(reply.edns.is_some(), asked);
    }
}

#[test]
fn a_failure_repeats_the_question() {
    let message = query("example.com.", RecordType::A);
    let bytes = message.to_vec().expect("a query");
    let reply = failure(&bytes).expect("a reply");
    let reply = Message::from_vec(&reply).expect("a message");
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(reply.queries, message.queries);
    assert_eq!(failure(b"short"), None);
}
