//! VPCs.

use crate::client::Client;

#[test]
fn a_vpc_is_shown_as_aws_shows_it() {
    let client = Client::new();
    let made = client.call(
        "CreateVpc",
        &[
            ("CidrBlock", "10.0.0.1/16"),
            ("TagSpecification.1.ResourceType", "vpc"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "a & b"),
        ],
    );
    let id = made.first("vpcId");
    let shown = client.call("DescribeVpcs", &[("VpcId.1", &id)]);
    for part in [
        "<ownerId>123456789012</ownerId>",
        "<instanceTenancy>default</instanceTenancy>",
        "<ipv6CidrBlockAssociationSet/>",
        "<cidrBlock>10.0.0.0/16</cidrBlock><cidrBlockState><state>associated</state>",
        "<isDefault>false</isDefault>",
        "<tagSet><item><key>Name</key><value>a &amp; b</value></item></tagSet>",
        "<state>available</state>",
    ] {
        assert!(made.holds(part), "{part}: {made:?}");
        assert!(shown.holds(part), "{part}: {shown:?}");
    }
    assert!(
        client
            .call("DeleteVpc", &[("VpcId", &id)])
            .holds("<return>true</return>")
    );
    let gone = client.ask("DescribeVpcs", &[("VpcId.1", &id)]);
    let message = format!("InvalidVpcID.NotFound: The vpc ID '{id}' does not exist");
    assert_eq!(gone, Err(message));
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let client = Client::new();
    let made = client.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]);
    let (id, association) = (made.first("vpcId"), made.first("associationId"));
    let tag = [
        ("ResourceId.1", id.as_str()),
        ("Tag.1.Key", "k"),
        ("Tag.1.Value", "v"),
    ];
    client.call("CreateTags", &tag);
    let found = |filter| client.filtered("DescribeVpcs", "vpcId", filter);
    let options = made.first("dhcpOptionsId");
    let by_association = (
        "cidr-block-association.association-id",
        association.as_str(),
    );
    for filter in [
        ("cidr", "10.0.0.0/16"),
        ("cidr-block-association.cidr-block", "10.0.*"),
        by_association,
        ("is-default", "false"),
        ("tag:k", "v"),
        ("tag-key", "k"),
        ("vpc-id", &id),
    ] {
        assert_eq!(found(filter), [id.as_str()], "{filter:?}");
    }
    for filter in [
        ("owner-id", "123456789012"),
        ("state", "available"),
        ("cidr-block-association.state", "associated"),
        ("dhcp-options-id", &options),
    ] {
        assert_eq!(found(filter).len(), 2, "{filter:?}");
    }
    for filter in [
        ("cidr", "10.0.0.0/8"),
        ("ipv6-cidr-block-association.state", "*"),
        ("owner-id", "1"),
        ("tag:k", "w"),
        ("vpc-id", "vpc"),
    ] {
        assert!(found(filter).is_empty(), "{filter:?}");
    }
}

#[test]
fn vpcs_are_paged() {
    let client = Client::new();
    for number in 0..4 {
        client.call(
            "CreateVpc",
            &[("CidrBlock", &format!("10.{number}.0.0/16"))],
        );
    }
    let whole = client.call("DescribeVpcs", &[("MaxResults", "5")]);
    assert_eq!(whole.all("vpcId").len(), 5);
    assert!(whole.all("nextToken").is_empty());
    let few = client.refused("DescribeVpcs", &[("MaxResults", "4")]);
    assert_eq!(few, "InvalidParameterValue");
    let id = whole.first("vpcId");
    let both = client.refused("DescribeVpcs", &[("MaxResults", "5"), ("VpcId.1", &id)]);
    assert_eq!(both, "InvalidParameterCombination");
}

#[test]
fn attributes_are_told_one_at_a_time() {
    let client = Client::new();
    let id = client.call("DescribeVpcs", &[]).first("vpcId");
    let attribute = |name| {
        let parameters = [("VpcId", id.as_str()), ("Attribute", name)];
        client.call("DescribeVpcAttribute", &parameters)
    };
    let change = [("VpcId", id.as_str()), ("EnableDnsSupport.Value", "false")];
    client.call("ModifyVpcAttribute", &change);
    let support = attribute("enableDnsSupport");
    assert!(support.holds("<enableDnsSupport><value>false</value></enableDnsSupport>"));
    assert!(!support.holds("enableDnsHostnames"));
    let hostnames = attribute("enableDnsHostnames");
    assert!(hostnames.holds("<enableDnsHostnames><value>true</value></enableDnsHostnames>"));
    let unknown = [("VpcId", id.as_str()), ("Attribute", "color")];
    assert_eq!(
        client.refused("DescribeVpcAttribute", &unknown),
        "InvalidParameterValue"
    );
}
