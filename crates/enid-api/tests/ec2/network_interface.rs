//! Network interfaces.

use crate::client::{Answer, Client};

/// A region with a VPC, a subnet in the first zone and a group.
struct Place {
    client: Client,
    vpc: String,
    subnet: String,
    group: String,
}

impl Place {
    fn new() -> Self {
        let client = Client::new();
        let vpc = client.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]);
        let vpc = vpc.first("vpcId");
        let subnet = [
            ("VpcId", vpc.as_str()),
            ("CidrBlock", "10.0.1.0/24"),
            ("AvailabilityZone", "eu-west-1a"),
        ];
        let subnet = client.call("CreateSubnet", &subnet).first("subnetId");
        let group = [
            ("VpcId", vpc.as_str()),
            ("GroupName", "web"),
            ("GroupDescription", "d"),
        ];
        let group = client.call("CreateSecurityGroup", &group).first("groupId");
        Self {
            client,
            vpc,
            subnet,
            group,
        }
    }

    fn create(&self, parameters: &[(&str, &str)]) -> Answer {
        let mut all = vec![("SubnetId", self.subnet.as_str())];
        all.extend(parameters);
        self.client.call("CreateNetworkInterface", &all)
    }

    fn refused(&self, parameters: &[(&str, &str)]) -> String {
        let mut all = vec![("SubnetId", self.subnet.as_str())];
        all.extend(parameters);
        let answer = self.client.ask("CreateNetworkInterface", &all);
        answer.expect_err("it is to be refused")
    }

    fn launch(&self) -> String {
        let launch = [
            ("ImageId", "ami-12345678"),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", self.subnet.as_str()),
        ];
        self.client
            .call("RunInstances", &launch)
            .first("instanceId")
    }
}

#[test]
fn an_interface_is_shown_as_aws_shows_it() {
    let place = Place::new();
    let made = place.create(&[
        ("Description", "<first>"),
        ("SecurityGroupId.1", &place.group),
        ("PrivateIpAddress", "10.0.1.10"),
        ("PrivateIpAddresses.1.PrivateIpAddress", "10.0.1.11"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "one"),
    ]);
    let id = made.first("networkInterfaceId");
    let shown = place.client.call(
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", &id)],
    );
    for part in [
        "<availabilityZone>eu-west-1a</availabilityZone>",
        "<description>&lt;first&gt;</description>",
        "<groupName>web</groupName>",
        "<interfaceType>interface</interfaceType>",
        "<ipv6AddressesSet/>",
        "<ownerId>123456789012</ownerId>",
        "<privateDnsName>ip-10-0-1-10.eu-west-1.compute.internal</privateDnsName>",
        "<privateIpAddress>10.0.1.11</privateIpAddress>",
        "<requesterManaged>false</requesterManaged>",
        "<sourceDestCheck>true</sourceDestCheck>",
        "<key>Name</key><value>one</value>",
        &format!("<groupId>{}</groupId>", place.group),
        &format!("<vpcId>{}</vpcId>", place.vpc),
    ] {
        assert!(made.holds(part), "{part}: {made:?}");
        assert!(shown.holds(part), "{part}: {shown:?}");
    }
    assert_eq!(made.first("status"), "pending");
    assert_eq!(shown.first("status"), "available");
    assert_eq!(shown.all("primary"), ["true", "false"]);
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let place = Place::new();
    let client = &place.client;
    let made = place.create(&[
        ("Description", "first"),
        ("SecurityGroupId.1", &place.group),
        ("PrivateIpAddress", "10.0.1.10"),
        ("SecondaryPrivateIpAddressCount", "1"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "one"),
    ]);
    let id = made.first("networkInterfaceId");
    let instance = place.launch();
    let attach = [
        ("NetworkInterfaceId", id.as_str()),
        ("InstanceId", &instance),
        ("DeviceIndex", "1"),
    ];
    let attached = client.call("AttachNetworkInterface", &attach);
    let (attachment, mac) = (attached.first("attachmentId"), made.first("macAddress"));
    let found = |filter| client.filtered("DescribeNetworkInterfaces", "macAddress", filter);
    let mine = [mac.clone()];
    for filter in [
        ("addresses.primary", "false"),
        ("addresses.private-ip-address", "10.0.1.10"),
        ("attachment.attachment-id", &attachment),
        ("attachment.delete-on-termination", "false"),
        ("attachment.device-index", "1"),
        ("description", "fi?st"),
        ("group-id", &place.group),
        ("group-name", "web"),
        ("mac-address", &mac),
        ("network-interface-id", &id),
        (
            "private-dns-name",
            "ip-10-0-1-10.eu-west-1.compute.internal",
        ),
        ("private-ip-address", "10.0.1.10"),
        ("private-ip-address", "10.0.1.1?"),
        ("tag:Name", "one"),
        ("tag-key", "Name"),
    ] {
        assert_eq!(found(filter), mine, "{filter:?}");
    }
    // The instance's primary interface has these in common with it.
    for filter in [
        ("attachment.attach-time", "2026-01-02T03:04:05.000Z"),
        ("attachment.instance-id", &*instance),
        ("attachment.instance-owner-id", "123456789012"),
        ("attachment.network-card-index", "0"),
        ("attachment.status", "attached"),
        ("availability-zone", "eu-west-1a"),
        ("availability-zone-id", "euw1-az1"),
        ("interface-type", "interface"),
        ("owner-id", "123456789012"),
        ("requester-managed", "false"),
        ("source-dest-check", "true"),
        ("status", "in-use"),
        ("subnet-id", &place.subnet),
        ("vpc-id", &place.vpc),
    ] {
        assert_eq!(found(filter).len(), 2, "{filter:?}");
    }
    for filter in [
        ("addresses.association.public-ip", "198.18.0.1"),
        ("association.public-ip", "198.18.0.1"),
        ("attachment.instance-id", "i-00000000000000007"),
        ("group-id", "sg-00000000000000007"),
        ("group-id", "web"),
        ("ipv6-addresses.ipv6-address", "2001:db8::1"),
        ("private-dns-name", "ip-10-0-1-10.ec2.internal"),
        ("private-ip-address", "10.0.2.10"),
        ("requester-id", "amazon-elb"),
        ("status", "available"),
        ("subnet-id", "subnet-00000000000000007"),
        ("tag:Name", "One"),
        ("vpc-id", "vpc-00000000000000007"),
    ] {
        assert!(found(filter).is_empty(), "{filter:?}");
    }
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    assert_eq!(
        client.ask("DescribeNetworkInterfaces", &unknown),
        Err("InvalidParameterValue: The filter 'colour' is invalid".to_owned())
    );
}

#[test]
fn pages_hold_every_interface_once() {
    let place = Place::new();
    let made: std::collections::BTreeSet<String> = (0..13)
        .map(|_| place.create(&[]).first("networkInterfaceId"))
        .collect();
    for filter in [
        ("subnet-id", place.subnet.as_str()),
        ("vpc-id", &place.vpc),
        ("status", "*"),
    ] {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let mut parameters = vec![
                ("MaxResults", "5"),
                ("Filter.1.Name", filter.0),
                ("Filter.1.Value.1", filter.1),
            ];
            if !token.is_empty() {
                parameters.push(("NextToken", &token));
            }
            let page = place.client.call("DescribeNetworkInterfaces", &parameters);
            let ids = page.all("networkInterfaceId");
            seen.extend(ids.into_iter().map(str::to_owned));
            match page.all("nextToken").first() {
                Some(next) => token = (*next).to_owned(),
                None => break,
            }
        }
        assert!(seen.iter().eq(&made), "{filter:?}");
    }
    let id = made.first().expect("some were made");
    let both = [("NetworkInterfaceId.1", id.as_str()), ("MaxResults", "5")];
    let refused = place.client.refused("DescribeNetworkInterfaces", &both);
    assert_eq!(refused, "InvalidParameterCombination");
}

#[test]
fn refusals_have_aws_words() {
    let place = Place::new();
    place.create(&[("PrivateIpAddress", "10.0.1.10")]);
    for (parameters, words) in [
        (
            ("PrivateIpAddress", "10.0.1.10"),
            "InvalidIPAddress.InUse: The specified address is already in use.",
        ),
        (
            ("PrivateIpAddress", "10.0.1.3"),
            "InvalidParameterValue: Address is in subnet's reserved address range",
        ),
        (
            ("PrivateIpAddress", "10.0.2.3"),
            "InvalidParameterValue: Address does not fall within the subnet's address range",
        ),
        (
            ("PrivateIpAddress", "10.0.1"),
            "InvalidParameterValue: invalid value for parameter address: 10.0.1",
        ),
        (
            ("SecurityGroupId.1", "sg-0123456789abcdef0"),
            "InvalidGroup.NotFound: The security group 'sg-0123456789abcdef0' does not exist",
        ),
        (
            ("InterfaceType", "trunk"),
            "UnsupportedOperation: Enid does not implement the value 'trunk' of the parameter \
             InterfaceType of CreateNetworkInterface.",
        ),
    ] {
        assert_eq!(place.refused(&[parameters]), words);
    }
    let absent = [
        ("NetworkInterfaceId.1", "eni-0123456789abcdef0"),
        ("NetworkInterfaceId.2", "eni-12345678"),
    ];
    assert_eq!(
        place.client.ask("DescribeNetworkInterfaces", &absent),
        Err(
            "InvalidNetworkInterfaceID.NotFound: The networkInterface IDs \
             'eni-0123456789abcdef0, eni-12345678' do not exist"
                .to_owned()
        )
    );
    let malformed = [("NetworkInterfaceId", "eni-7")];
    assert_eq!(
        place.client.refused("DeleteNetworkInterface", &malformed),
        "InvalidNetworkInterfaceId.Malformed"
    );
    let malformed = [("AttachmentId", "eni-7")];
    assert_eq!(
        place.client.refused("DetachNetworkInterface", &malformed),
        "InvalidNetworkInterfaceAttachmentId.Malformed"
    );
}

#[test]
fn attributes_are_changed_shown_and_reset() {
    let place = Place::new();
    let id = place.create(&[]).first("networkInterfaceId");
    let modify = |parameters: &[(&str, &str)]| {
        let mut all = vec![("NetworkInterfaceId", id.as_str())];
        all.extend(parameters);
        place.client.ask("ModifyNetworkInterfaceAttribute", &all)
    };
    let show = |attribute| {
        let parameters = [("NetworkInterfaceId", &*id), ("Attribute", attribute)];
        place
            .client
            .call("DescribeNetworkInterfaceAttribute", &parameters)
    };
    assert!(modify(&[("Description.Value", "new")]).is_ok());
    assert!(show("description").holds("<description><value>new</value></description>"));
    assert!(modify(&[("SourceDestCheck.Value", "false")]).is_ok());
    assert!(show("sourceDestCheck").holds("<sourceDestCheck><value>false</value>"));
    let reset = [("NetworkInterfaceId", &*id), ("SourceDestCheck", "true")];
    let answer = place.client.call("ResetNetworkInterfaceAttribute", &reset);
    assert!(answer.holds("<return>true</return>"));
    assert!(show("sourceDestCheck").holds("<sourceDestCheck><value>true</value>"));
    assert!(modify(&[("SecurityGroupId.1", &place.group)]).is_ok());
    assert_eq!(show("groupSet").first("groupId"), place.group);
    assert!(!show("attachment").holds("<attachment>"));
    assert_eq!(
        modify(&[
            ("Description.Value", "a"),
            ("SourceDestCheck.Value", "true")
        ]),
        Err(
            "InvalidParameterCombination: Fields for multiple attribute types specified: \
             description, sourceDestCheck"
                .to_owned()
        )
    );
}

#[test]
fn addresses_move_only_when_that_is_allowed() {
    let place = Place::new();
    let one = place.create(&[]).first("networkInterfaceId");
    let two = place.create(&[]).first("networkInterfaceId");
    let assign = |id: &str, more: &[(&str, &str)]| {
        let mut all = vec![("NetworkInterfaceId", id)];
        all.extend(more);
        place.client.ask("AssignPrivateIpAddresses", &all)
    };
    let address = ("PrivateIpAddress.1", "10.0.1.99");
    let assigned = assign(&one, &[address]).expect("the address is free");
    assert_eq!(assigned.all("privateIpAddress"), ["10.0.1.99"]);
    assert_eq!(
        assign(&two, &[address]),
        Err("InvalidParameterValue: [10.0.1.99] assigned, but move is not allowed.".to_owned())
    );
    assert!(assign(&two, &[address, ("AllowReassignment", "true")]).is_ok());
    let holders = |address| {
        place.client.filtered(
            "DescribeNetworkInterfaces",
            "networkInterfaceId",
            ("private-ip-address", address),
        )
    };
    assert_eq!(holders("10.0.1.99"), [two.as_str()]);
    let unassign = [("NetworkInterfaceId", two.as_str()), address];
    place.client.call("UnassignPrivateIpAddresses", &unassign);
    assert!(holders("10.0.1.99").is_empty());
    assert_eq!(
        place.client.ask("UnassignPrivateIpAddresses", &unassign),
        Err(format!(
            "InvalidParameterValue: Some of the specified addresses are not assigned to interface {two}"
        ))
    );
}

#[test]
fn what_is_told_again_is_what_is_true_now() {
    let place = Place::new();
    let id = place.create(&[]).first("networkInterfaceId");
    place.create(&[]);
    let told = || place.client.call("DescribeNetworkInterfaces", &[]);
    let first = told();
    assert_eq!(told(), first);
    // The interface changes, then something that an answer takes from elsewhere: its group's VPC.
    let describe = [("NetworkInterfaceId", &*id), ("Description.Value", "new")];
    place
        .client
        .call("ModifyNetworkInterfaceAttribute", &describe);
    assert!(!first.holds("<description>new</description>"));
    assert_eq!(told().all("description"), {
        let mut both = vec!["new", ""];
        if told().all("networkInterfaceId")[0] != id {
            both.reverse();
        }
        both
    });
    let gateway = place.client.call("CreateInternetGateway", &[]);
    let gateway = gateway.first("internetGatewayId");
    let attach = [("InternetGatewayId", &*gateway), ("VpcId", &*place.vpc)];
    place.client.call("AttachInternetGateway", &attach);
    let address = place.client.call("AllocateAddress", &[("Domain", "vpc")]);
    let associate = [
        ("AllocationId", &*address.first("allocationId")),
        ("NetworkInterfaceId", &*id),
    ];
    place.client.call("AssociateAddress", &associate);
    assert!(told().holds("<publicDnsName></publicDnsName>"));
    let names = [("VpcId", &*place.vpc), ("EnableDnsHostnames.Value", "true")];
    place.client.call("ModifyVpcAttribute", &names);
    assert!(told().holds("<publicDnsName>ec2-"));
    let release = [("AssociationId", &*told().first("associationId"))];
    place.client.call("DisassociateAddress", &release);
    assert!(!told().holds("<publicIp>"));
}
