//! Instances.

use crate::client::{Answer, Client};

const ONE: [(&str, &str); 4] = [
    ("ImageId", "ami-12345678"),
    ("InstanceType", "t3.small"),
    ("MinCount", "1"),
    ("MaxCount", "1"),
];

fn launch(client: &Client, more: &[(&str, &str)]) -> Result<Answer, String> {
    let mut parameters = ONE.to_vec();
    for (name, value) in more {
        parameters.retain(|(known, _)| known != name);
        parameters.push((name, value));
    }
    client.ask("RunInstances", &parameters)
}

/// Makes a key pair with this name.
fn key(client: &Client, name: &str) {
    let parameters = [("KeyName", name), ("KeyType", "ed25519")];
    client.call("CreateKeyPair", &parameters);
}

#[test]
fn an_instance_is_shown_as_aws_shows_it() {
    let client = Client::new();
    key(&client, "mine");
    let launched = launch(
        &client,
        &[
            ("MaxCount", "2"),
            ("KeyName", "mine"),
            ("Monitoring.Enabled", "true"),
            ("ClientToken", "once"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "web"),
        ],
    );
    let launched = launched.expect("a launch");
    assert_eq!(launched.all("amiLaunchIndex"), ["0", "1"]);
    assert!(launched.holds("<instanceState><code>0</code><name>pending</name></instanceState>"));
    let id = launched.first("instanceId");
    let shown = client.call("DescribeInstances", &[("InstanceId.1", &id)]);
    for part in [
        "<instanceState><code>16</code><name>running</name></instanceState>",
        "<keyName>mine</keyName>",
        "<monitoring><state>enabled</state></monitoring>",
        "<clientToken>once</clientToken>",
        "<imageId>ami-12345678</imageId>",
        "<instanceType>t3.small</instanceType>",
        "<launchTime>2026-01-02T03:04:05.000Z</launchTime>",
        "<availabilityZone>eu-west-1a</availabilityZone>",
        "<tenancy>default</tenancy>",
        "<deviceIndex>0</deviceIndex>",
        "<deleteOnTermination>true</deleteOnTermination>",
        "<key>Name</key><value>web</value>",
        "<blockDeviceMapping><item><deviceName>/dev/xvda</deviceName>",
        "<productCodes/>",
        "<reason></reason>",
    ] {
        assert!(
            shown.holds(part) || shown.holds(&part.replace("<reason></reason>", "<reason/>")),
            "{part}: {shown:?}"
        );
    }
    // Both in one reservation.
    let all = client.call("DescribeInstances", &[]);
    assert_eq!(all.all("reservationId"), launched.all("reservationId"));
    assert_eq!(all.all("amiLaunchIndex").len(), 2);
}

#[test]
fn states_are_answered_and_shown() {
    let client = Client::new();
    let launched = launch(&client, &[]).expect("a launch");
    let id = launched.first("instanceId");
    let of = [("InstanceId.1", id.as_str())];
    let status = |all: &str| {
        let parameters = [("IncludeAllInstances", all)];
        client.call("DescribeInstanceStatus", &parameters)
    };
    let names = |answer: &Answer| {
        let names = answer.all("name").into_iter();
        let states = names.filter(|name| *name != "reachability");
        states.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&status("false")), ["running"]);
    assert!(status("false").holds("<status>ok</status>"));
    assert_eq!(
        names(&client.call("StopInstances", &of)),
        ["stopping", "running"]
    );
    assert!(names(&status("false")).is_empty());
    assert_eq!(names(&status("true")), ["stopped"]);
    assert!(status("true").holds("<status>not-applicable</status>"));
    let shown = client.call("DescribeInstances", &of);
    assert_eq!(
        shown.first("reason"),
        "User initiated (2026-01-02 03:04:05 GMT)"
    );
    assert!(shown.holds("<code>Client.UserInitiatedShutdown</code>"));
    assert_eq!(
        names(&client.call("StartInstances", &of)),
        ["pending", "stopped"]
    );
    let answer = client.call("RebootInstances", &of);
    assert!(answer.holds("<return>true</return>"));
    let ended = client.call("TerminateInstances", &of);
    assert_eq!(names(&ended), ["shutting-down", "running"]);
    let shown = client.call("DescribeInstances", &of);
    assert!(shown.holds("<code>48</code><name>terminated</name>"));
    assert!(shown.holds("<networkInterfaceSet/>") && shown.all("vpcId").is_empty());
    assert_eq!(
        client.refused("StartInstances", &of),
        "IncorrectInstanceState"
    );
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let client = Client::new();
    key(&client, "mine");
    let data = [("UserData", "IyEvYmluL3NoCg=="), ("KeyName", "mine")];
    let launched = launch(&client, &data).expect("a launch");
    let other = launch(&client, &[("InstanceType", "m5.large")]);
    let other = other.expect("a launch").first("instanceId");
    client.call("StopInstances", &[("InstanceId.1", &other)]);
    let element = |name| launched.first(name);
    let id = element("instanceId");
    let found = |filter: (&str, &str)| client.filtered("DescribeInstances", "instanceId", filter);
    let (address, name) = (element("privateIpAddress"), element("privateDnsName"));
    let (eni, mac) = (element("networkInterfaceId"), element("macAddress"));
    for filter in [
        ("instance-id", id.as_str()),
        ("instance-state-code", "16"),
        ("instance-state-name", "running"),
        ("instance-type", "t3.*"),
        ("ip-address", &element("publicIp")),
        ("dns-name", &element("publicDnsName")),
        ("network-interface.association.ip-owner-id", "amazon"),
        (
            "network-interface.association.public-ip",
            &element("publicIp"),
        ),
        ("key-name", "mine"),
        ("network-interface.addresses.private-ip-address", &address),
        ("network-interface.mac-address", &mac),
        ("network-interface.network-interface-id", &eni),
        ("private-dns-name", &name),
        ("private-ip-address", &address),
        ("reservation-id", &element("reservationId")),
    ] {
        assert_eq!(found(filter), [id.as_str()], "{filter:?}");
    }
    for filter in [
        ("availability-zone", "eu-west-1a"),
        ("availability-zone-id", "euw1-az1"),
        ("group-id", &*element("groupId")),
        ("group-name", "default"),
        ("hypervisor", "xen"),
        ("image-id", "ami-12345678"),
        ("launch-index", "0"),
        ("launch-time", "2026-01-02*"),
        ("monitoring-state", "disabled"),
        ("network-interface.subnet-id", &element("subnetId")),
        ("owner-id", "123456789012"),
        ("source-dest-check", "true"),
        ("subnet-id", &element("subnetId")),
        ("tenancy", "default"),
        ("vpc-id", &element("vpcId")),
    ] {
        assert_eq!(found(filter).len(), 2, "{filter:?}");
    }
    assert_eq!(found(("state-reason-code", "Client.*")), [other.as_str()]);
    assert_eq!(found(("reason", "User initiated *")), [other.as_str()]);
    for filter in [
        ("iam-instance-profile.arn", "*"),
        ("instance-lifecycle", "spot"),
        ("platform", "windows"),
        ("tag:Name", "*"),
        ("vpc-id", "vpc-1"),
    ] {
        assert!(found(filter).is_empty(), "{filter:?}");
    }
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    assert_eq!(
        client.refused("DescribeInstances", &unknown),
        "InvalidParameterValue"
    );
}

#[test]
fn attributes_are_shown_and_changed() {
    let client = Client::new();
    let data = [("UserData", "IyEvYmluL3NoCg==")];
    let id = launch(&client, &data)
        .expect("a launch")
        .first("instanceId");
    let show = |attribute| {
        let parameters = [("InstanceId", &*id), ("Attribute", attribute)];
        client.call("DescribeInstanceAttribute", &parameters)
    };
    for (attribute, part) in [
        ("blockDeviceMapping", "<deviceName>/dev/xvda</deviceName>"),
        (
            "disableApiStop",
            "<disableApiStop><value>false</value></disableApiStop>",
        ),
        ("enaSupport", "<enaSupport><value>true</value></enaSupport>"),
        ("groupSet", "<groupName>default</groupName>"),
        ("instanceInitiatedShutdownBehavior", "<value>stop</value>"),
        (
            "instanceType",
            "<instanceType><value>t3.small</value></instanceType>",
        ),
        ("rootDeviceName", "<value>/dev/xvda</value>"),
        (
            "userData",
            "<userData><value>IyEvYmluL3NoCg==</value></userData>",
        ),
    ] {
        let shown = show(attribute);
        assert!(shown.holds(part), "{shown:?}");
    }
    for (parameter, attribute) in [
        (("SourceDestCheck.Value", "false"), "sourceDestCheck"),
        (
            ("DisableApiTermination.Value", "true"),
            "disableApiTermination",
        ),
        (
            ("InstanceInitiatedShutdownBehavior.Value", "terminate"),
            "instanceInitiatedShutdownBehavior",
        ),
    ] {
        let parameters = [("InstanceId", id.as_str()), parameter];
        client.call("ModifyInstanceAttribute", &parameters);
        assert_eq!(show(attribute).first("value"), parameter.1);
    }
    let running = [
        ("InstanceId", id.as_str()),
        ("InstanceType.Value", "m5.large"),
    ];
    let refused = client.refused("ModifyInstanceAttribute", &running);
    assert_eq!(refused, "IncorrectInstanceState");
    client.call("StopInstances", &[("InstanceId.1", &id)]);
    for (parameter, attribute, wanted) in [
        (
            ("InstanceType.Value", "m5.large"),
            "instanceType",
            "m5.large",
        ),
        (
            ("UserData.Value", "IyEvYmluL2Jhc2g="),
            "userData",
            "IyEvYmluL2Jhc2g=",
        ),
        (("EbsOptimized.Value", "true"), "ebsOptimized", "true"),
    ] {
        let parameters = [("InstanceId", id.as_str()), parameter];
        client.call("ModifyInstanceAttribute", &parameters);
        assert_eq!(show(attribute).first("value"), wanted);
    }
    let refused = client.ask("TerminateInstances", &[("InstanceId.1", &id)]);
    assert_eq!(
        refused,
        Err(format!(
            "OperationNotPermitted: The instance '{id}' may not be terminated. Modify its \
             'disableApiTermination' instance attribute and try again."
        ))
    );
}

#[test]
fn refusals_have_aws_words() {
    let client = Client::new();
    for (parameter, words) in [
        (
            ("ImageId", "ubuntu"),
            "InvalidAMIID.Malformed: Invalid id: \"ubuntu\" (expecting \"ami-...\")",
        ),
        (
            ("InstanceType", "t9.nano"),
            "InvalidParameterValue: Invalid value 't9.nano' for InstanceType.",
        ),
        (
            ("UserData", "#!/bin/sh"),
            "InvalidParameterValue: Invalid BASE64 encoding of user data.",
        ),
        (
            ("SubnetId", "subnet-12345678"),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-12345678' does not exist",
        ),
        (
            ("PrivateIpAddress", "10.0.0.9"),
            "InvalidParameterValue: Address 10.0.0.9 does not fall within the subnet's address range",
        ),
        (
            ("NetworkInterface.1.SubnetId", "subnet-12345678"),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-12345678' does not exist",
        ),
        (
            ("NetworkInterface.1.PrivateIpAddress", "172.31.0.9"),
            "InvalidParameterCombination: Each network interface requires a device index.",
        ),
    ] {
        let refused = launch(&client, &[parameter]);
        assert_eq!(refused.map(|_| ()), Err(words.to_owned()));
    }
    let public = [
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ("NetworkInterface.2.DeviceIndex", "1"),
    ];
    assert_eq!(
        launch(&client, &public).map(|_| ()),
        Err(
            "InvalidParameterCombination: The associatePublicIPAddress parameter cannot be \
             specified when launching with multiple network interfaces."
                .to_owned()
        )
    );
    let both = [
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("SecurityGroup.1", "default"),
    ];
    assert_eq!(
        launch(&client, &both).map(|_| ()),
        Err(
            "InvalidParameterCombination: Network interfaces and an instance-level security \
             groups may not be specified on the same request"
                .to_owned()
        )
    );
    assert!(
        client
            .call("DescribeInstances", &[])
            .all("instanceId")
            .is_empty()
    );
    let none: [(&str, &str); 0] = [];
    assert_eq!(client.refused("StopInstances", &none), "MissingParameter");
    let malformed = [("InstanceId.1", "i-x")];
    assert_eq!(
        client.refused("DescribeInstances", &malformed),
        "InvalidInstanceID.Malformed"
    );
}

#[test]
fn a_console_without_a_host_is_empty() {
    let client = Client::new();
    let id = launch(&client, &[]).expect("a launch").first("instanceId");
    let output = client.call("GetConsoleOutput", &[("InstanceId", &id)]);
    assert_eq!(output.first("instanceId"), id);
    assert!(output.all("output").is_empty());
    let unknown = [("InstanceId", "i-0123456789abcdef0")];
    assert_eq!(
        client.refused("GetConsoleOutput", &unknown),
        "InvalidInstanceID.NotFound"
    );
}
