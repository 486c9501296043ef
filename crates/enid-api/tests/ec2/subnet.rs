//! Subnets.

use crate::client::Client;

#[test]
fn a_subnet_is_shown_as_aws_shows_it() {
    let client = Client::new();
    let vpc = client.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]);
    let vpc = vpc.first("vpcId");
    let made = client.call(
        "CreateSubnet",
        &[
            ("VpcId", &vpc),
            ("CidrBlock", "10.0.1.0/24"),
            ("AvailabilityZoneId", "euw1-az2"),
        ],
    );
    let id = made.first("subnetId");
    let shown = client.call("DescribeSubnets", &[("SubnetId.1", &id)]);
    let arn = format!("arn:aws:ec2:eu-west-1:123456789012:subnet/{id}");
    assert_eq!(shown.first("subnetArn"), arn);
    for part in [
        "<availabilityZone>eu-west-1b</availabilityZone>",
        "<availabilityZoneId>euw1-az2</availabilityZoneId>",
        "<availableIpAddressCount>251</availableIpAddressCount>",
        "<cidrBlock>10.0.1.0/24</cidrBlock>",
        "<defaultForAz>false</defaultForAz>",
        "<ipv6CidrBlockAssociationSet/>",
        "<mapPublicIpOnLaunch>false</mapPublicIpOnLaunch>",
        "<state>available</state>",
        "<tagSet/>",
    ] {
        assert!(made.holds(part), "{part}: {made:?}");
        assert!(shown.holds(part), "{part}: {shown:?}");
    }
    let in_use = client.refused("DeleteVpc", &[("VpcId", &vpc)]);
    assert_eq!(in_use, "DependencyViolation");
    client.call("DeleteSubnet", &[("SubnetId", &id)]);
    let gone = client.refused("DeleteSubnet", &[("SubnetId", &id)]);
    assert_eq!(gone, "InvalidSubnetID.NotFound");
    let malformed = client.refused("DeleteSubnet", &[("SubnetId", "subnet-x")]);
    assert_eq!(malformed, "InvalidSubnetID.Malformed");
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let client = Client::new();
    let vpc = client.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]);
    let vpc = vpc.first("vpcId");
    let made = client.call(
        "CreateSubnet",
        &[("VpcId", &vpc), ("CidrBlock", "10.0.1.0/28")],
    );
    let id = made.first("subnetId");
    let (arn, pattern) = (format!("*/{id}"), vpc.replace("vpc-0", "vpc-?"));
    let found = |filter| client.filtered("DescribeSubnets", "subnetId", filter);
    for filter in [
        ("available-ip-address-count", "11"),
        ("cidr-block", "10.0.1.0/28"),
        ("default-for-az", "false"),
        ("subnet-arn", &arn),
        ("subnet-id", &id),
        ("vpc-id", &vpc),
        ("vpc-id", &pattern),
    ] {
        assert_eq!(found(filter), [id.as_str()], "{filter:?}");
    }
    // The default subnets, one in each of the three zones, are there as well.
    for (filter, count) in [
        (("availability-zone", "eu-west-1a"), 2),
        (("availability-zone-id", "euw1-az2"), 1),
        (("default-for-az", "true"), 3),
        (("map-public-ip-on-launch", "true"), 3),
        (
            (
                "private-dns-name-options-on-launch.hostname-type",
                "ip-name",
            ),
            4,
        ),
        (("state", "available"), 4),
        (("ipv6-native", "true"), 0),
        (("outpost-arn", "*"), 0),
        (("state", "pending"), 0),
        (("vpc-id", "vpc-00000000000000000"), 0),
    ] {
        assert_eq!(found(filter).len(), count, "{filter:?}");
    }
}

#[test]
fn public_addresses_at_launch_can_be_switched() {
    let client = Client::new();
    let id = client.call("DescribeSubnets", &[]).first("subnetId");
    let modify = |value| {
        let parameters = [
            ("SubnetId", id.as_str()),
            ("MapPublicIpOnLaunch.Value", value),
        ];
        client.ask("ModifySubnetAttribute", &parameters)
    };
    for value in ["true", "false"] {
        assert!(modify(value).is_ok());
        let shown = client.call("DescribeSubnets", &[("SubnetId.1", &id)]);
        assert_eq!(shown.first("mapPublicIpOnLaunch"), value);
    }
}
