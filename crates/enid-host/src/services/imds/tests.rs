use enid_model::id::EniId;
use enid_model::instance::DesiredState;
use enid_model::key::Kind;

use super::super::fixture::{World, scope, world};
use super::*;

const NOON: Timestamp = Timestamp(1_800_000_000_000);

fn imds() -> Imds {
    Imds::with_key([1; 32])
}

/// The answer to what an interface asks.
fn ask(world: &World, eni: u64, request: Request<'_>) -> Option<Response> {
    let state = world.state();
    let asker = Asker::of_eni(&state, &scope(), EniId(eni)).expect("an interface");
    imds().answer(&asker, &request, NOON)
}

fn get(target: &str) -> Request<'_> {
    Request {
        method: "GET",
        target,
        ..Request::default()
    }
}

fn put(target: &str) -> Request<'_> {
    Request {
        method: "PUT",
        target,
        ttl: Some(b"60"),
        ..Request::default()
    }
}

/// The body of what eni 1 gets without a token; `None` if it is no 200.
fn read(world: &World, target: &str) -> Option<String> {
    let response = ask(world, 1, get(target)).expect("an answer");
    let body = String::from_utf8(response.body).expect("text");
    (response.status == 200).then_some(body)
}

fn status(world: &World, request: Request<'_>) -> Option<u16> {
    ask(world, 1, request).map(|response| response.status)
}

#[test]
fn a_listing_names_what_is_below_it() {
    let mut world = world();
    world.instance(1, |instance| {
        instance.recorded.key_name = Some("mine".to_owned());
        instance.recorded.public_key = Some("ssh-ed25519 AAAA mine".to_owned());
        instance.user_data = Some(b"#!/bin/sh\n".to_vec());
    });
    for (target, body) in [
        ("/latest", "dynamic\nmeta-data\nuser-data"),
        ("/latest/", "dynamic\nmeta-data\nuser-data"),
        (
            "/latest/meta-data/",
            "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\n\
             hostname\ninstance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nipv6\n\
             local-hostname\nlocal-ipv4\nmac\nnetwork/\nplacement/\nprofile\npublic-hostname\n\
             public-ipv4\npublic-keys/\nreservation-id\nsecurity-groups\nservices/\nsystem",
        ),
        ("/latest/meta-data/network/", "interfaces/"),
        (
            "/latest/meta-data/network/interfaces/macs/",
            "06:00:00:00:00:01/\n06:00:00:00:00:02/",
        ),
        (
            "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:01/",
            "device-number\ninterface-id\nipv4-associations/\nipv6s\nlocal-hostname\nlocal-ipv4s\n\
             mac\nnetwork-card\nowner-id\npublic-hostname\npublic-ipv4s\nsecurity-group-ids\n\
             security-groups\nsubnet-id\nsubnet-ipv4-cidr-block\nsubnet-ipv6-cidr-blocks\nvpc-id\n\
             vpc-ipv4-cidr-block\nvpc-ipv4-cidr-blocks\nvpc-ipv6-cidr-blocks",
        ),
        (
            "/latest/meta-data/placement",
            "availability-zone\navailability-zone-id\nregion",
        ),
        ("/latest/meta-data/public-keys/", "0=mine"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        (
            "/latest/meta-data/public-keys/0/openssh-key",
            "ssh-ed25519 AAAA mine",
        ),
        ("/latest/dynamic/", "fws/\ninstance-identity/"),
        ("/latest/dynamic/instance-identity/", "document"),
    ] {
        assert_eq!(read(&world, target).as_deref(), Some(body), "{target}");
    }
}

#[test]
fn values_are_those_of_the_state() {
    let world = world();
    let eth0 = "network/interfaces/macs/06:00:00:00:00:01";
    let eth1 = "network/interfaces/macs/06:00:00:00:00:02";
    for (path, value) in [
        ("ami-id", "ami-0123456789abcdef0"),
        ("hostname", "ip-10-0-1-5.eu-west-1.compute.internal"),
        ("instance-id", "i-00000000000000001"),
        ("ipv6", "2600:1f10:0:100::5"),
        ("local-ipv4", "10.0.1.5"),
        ("mac", "06:00:00:00:00:01"),
        ("placement/availability-zone-id", "euw1-az1"),
        (
            "public-hostname",
            "ec2-198-18-0-10.eu-west-1.compute.amazonaws.com",
        ),
        ("public-ipv4", "198.18.0.10"),
        ("reservation-id", "r-00000000000000001"),
        ("security-groups", "group-1"),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
        (&format!("{eth0}/device-number"), "0"),
        (&format!("{eth0}/ipv4-associations/198.18.0.10"), "10.0.1.5"),
        (&format!("{eth0}/local-ipv4s"), "10.0.1.5\n10.0.1.6"),
        (&format!("{eth0}/owner-id"), "123456789012"),
        (
            &format!("{eth0}/security-group-ids"),
            "sg-00000000000000001",
        ),
        (
            &format!("{eth0}/subnet-ipv6-cidr-blocks"),
            "2600:1f10:0:100::/64",
        ),
        (&format!("{eth1}/device-number"), "1"),
        (&format!("{eth1}/interface-id"), "eni-00000000000000002"),
        (&format!("{eth1}/ipv4-prefix"), "10.0.2.16/28"),
        (
            &format!("{eth1}/local-hostname"),
            "ip-10-0-2-5.eu-west-1.compute.internal",
        ),
        (&format!("{eth1}/subnet-ipv4-cidr-block"), "10.0.2.0/24"),
        (&format!("{eth1}/vpc-ipv4-cidr-blocks"), "10.0.0.0/16"),
        // Doubled and trailing slashes are clients' carelessness, a query says nothing.
        ("/instance-id/", "i-00000000000000001"),
        ("instance-id?v=1", "i-00000000000000001"),
    ] {
        let target = format!("/latest/meta-data/{path}");
        assert_eq!(read(&world, &target).as_deref(), Some(value), "{target}");
    }
    for absent in [
        "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:02/public-ipv4s",
        "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:03/",
        "/latest/meta-data/iam/",
        "/latest/meta-data/public-keys/",
        "/latest/meta-data/tags/",
        "/latest/meta-data/instance",
        "/latest/dynamic/instance-identity/pkcs7",
        "/latest/user-data",
        "/2009-04-05/",
        "/nothing",
    ] {
        assert_eq!(read(&world, absent), None, "{absent}");
    }
}

#[test]
fn the_identity_document_is_json_in_the_layout_of_aws() {
    let text = read(&world(), "/latest/dynamic/instance-identity/document");
    let text = text.expect("a document");
    assert!(text.starts_with("{\n  \"accountId\" : \"123456789012\",\n"));
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["pendingTime"], "2026-01-02T03:04:05Z");
    assert_eq!(document["privateIp"], "10.0.1.5");
    assert!(document["kernelId"].is_null());
}

#[test]
fn a_version_has_what_was_there_then() {
    let world = world();
    let versions = read(&world, "/").expect("the versions");
    assert!(versions.starts_with("1.0\n2007-01-19\n") && versions.ends_with("\nlatest"));
    for (version, listing) in [
        (
            "1.0",
            "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\n\
             profile\nreservation-id\nsecurity-groups",
        ),
        (
            "2009-04-04",
            "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\n\
             instance-action\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\n\
             profile\npublic-hostname\npublic-ipv4\nreservation-id\nsecurity-groups",
        ),
    ] {
        let target = format!("/{version}/meta-data/");
        assert_eq!(read(&world, &target).as_deref(), Some(listing));
    }
    let mac = "meta-data/network/interfaces/macs/06:00:00:00:00:01";
    assert_eq!(read(&world, &format!("/2011-01-01/{mac}/ipv6s")), None);
    let since = read(&world, &format!("/2016-06-30/{mac}/ipv6s"));
    assert_eq!(since.as_deref(), Some("2600:1f10:0:100::5"));
}

#[test]
fn a_session_is_begun_with_put() {
    let world = world();
    let token = put("/latest/api/token");
    let response = ask(&world, 1, token).expect("an answer");
    assert_eq!((response.status, response.ttl), (200, Some(60)));
    assert_eq!(response.hop_limit, Some(1));
    let with = |token| Request {
        token: Some(token),
        ..get("/latest/meta-data/instance-id")
    };
    assert_eq!(status(&world, with(&response.body)), Some(200));
    // Another instance's session is none, and neither is a made-up one, required or not.
    let other = ask(&world, 3, with(&response.body)).map(|response| response.status);
    assert_eq!(other, Some(401));
    assert_eq!(status(&world, with(b"AQAAA==")), Some(401));

    let ttl = |ttl| Request { ttl, ..token };
    for (wanted, found) in [
        (Some(&b"1"[..]), 200),
        (Some(b"21600"), 200),
        (Some(b"21601"), 400),
        (Some(b"0"), 400),
        (Some(b"-1"), 400),
        (Some(b"soon"), 400),
        (Some(b"\xff"), 400),
        (None, 400),
    ] {
        assert_eq!(status(&world, ttl(wanted)), Some(found), "{wanted:?}");
    }
    let forwarded = Request {
        is_forwarded: true,
        ..token
    };
    assert_eq!(status(&world, forwarded), Some(403));
    assert_eq!(status(&world, put("/2009-04-04/api/token")), Some(403));
    assert_eq!(status(&world, put("/latest/meta-data/")), Some(405));
    assert_eq!(status(&world, get("/latest/api/token")), Some(405));
    let post = Request {
        method: "POST",
        ..get("/latest/meta-data/")
    };
    assert_eq!(status(&world, post), Some(405));
}

#[test]
fn options_decide_who_is_answered() {
    let mut world = world();
    let target = "/latest/meta-data/instance-id";
    world.instance(1, |instance| {
        instance.metadata_options.tokens_required = true;
        instance.metadata_options.hop_limit = 3;
    });
    assert_eq!(status(&world, get(target)), Some(401));
    let response = ask(&world, 1, put("/latest/api/token")).expect("an answer");
    assert_eq!(response.hop_limit, Some(3));
    let with = Request {
        token: Some(&response.body),
        ..get(target)
    };
    assert_eq!(status(&world, with), Some(200));
    let over_ipv6 = Request {
        over_ipv6: true,
        ..with
    };
    assert_eq!(status(&world, over_ipv6), None);
    world.instance(1, |instance| instance.metadata_options.ipv6_enabled = true);
    assert_eq!(status(&world, over_ipv6), Some(200));
    world.instance(1, |instance| {
        instance.metadata_options.endpoint_enabled = false;
    });
    assert_eq!(status(&world, with), Some(403));
    assert_eq!(status(&world, put("/latest/api/token")), Some(403));
}

#[test]
fn only_an_instance_is_answered() {
    let mut world = world();
    let root = get("/");
    assert_eq!(
        ask(&world, 2, root).map(|response| response.status),
        Some(200)
    );
    world.eni(2, |eni| eni.attachment = None);
    assert_eq!(ask(&world, 2, root), None);
    world.instance(1, |instance| instance.desired = DesiredState::Terminated);
    assert_eq!(ask(&world, 1, root), None);
}

#[test]
fn tags_are_told_if_they_shall_be() {
    let mut world = world();
    world.instance(1, |instance| {
        for (key, value) in [("Name", "web 1"), ("a:b", ""), ("not/told", "x")] {
            instance.tags.insert(key.to_owned(), value.to_owned());
        }
    });
    assert_eq!(read(&world, "/latest/meta-data/tags/instance/Name"), None);
    world.instance(1, |instance| instance.metadata_options.tags_enabled = true);
    for (path, body) in [("", "Name\na:b"), ("Name", "web 1"), ("a:b", "")] {
        let target = format!("/latest/meta-data/tags/instance/{path}");
        assert_eq!(read(&world, &target).as_deref(), Some(body), "{target}");
    }
    assert_eq!(read(&world, "/2021-01-03/meta-data/tags/instance/"), None);
}

#[test]
fn user_data_are_bytes() {
    let mut world = world();
    world.instance(1, |instance| instance.user_data = Some(vec![0, 255]));
    let response = ask(&world, 1, get("/2009-04-04/user-data")).expect("an answer");
    assert_eq!(response.content_type, "application/octet-stream");
    assert_eq!(response.body, [0, 255]);
}

#[test]
fn names_follow_option_set_and_hostname_type() {
    use enid_model::id::DhcpOptionsId;
    use enid_model::subnet::HostnameType;

    let mut world = world();
    let name = "/latest/meta-data/local-hostname";
    world.instance(1, |instance| {
        instance.private_dns_name_options.hostname_type = HostnameType::ResourceName;
    });
    assert_eq!(
        read(&world, name).as_deref(),
        Some("i-00000000000000001.eu-west-1.compute.internal")
    );
    world.json(
        Kind::DhcpOptions,
        DhcpOptionsId(1),
        serde_json::json!({
            "id": DhcpOptionsId(1), "domain_name": "corp.example lab.example",
            "domain_name_servers": [], "tags": {},
        }),
    );
    assert_eq!(
        read(&world, name).as_deref(),
        Some("i-00000000000000001.corp.example")
    );
    world.vpc(1, |vpc| vpc.enable_dns_hostnames = false);
    assert_eq!(read(&world, "/latest/meta-data/public-hostname"), None);
}
