//! Security groups and their rules.

use crate::client::Client;

/// A group of a VPC that is not the default one: (VPC, group).
fn group(client: &Client) -> (String, String) {
    let vpc = client.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]);
    let vpc = vpc.first("vpcId");
    let group = client.call(
        "CreateSecurityGroup",
        &[
            ("GroupName", "web"),
            ("GroupDescription", "the web"),
            ("VpcId", &vpc),
        ],
    );
    let group = group.first("groupId");
    (vpc, group)
}

/// Lets TCP port 22 in from an IPv4 block, an IPv6 block and the group itself.
fn authorize(client: &Client, group: &str) -> crate::client::Answer {
    client.call(
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "6"),
            ("IpPermissions.1.FromPort", "22"),
            ("IpPermissions.1.ToPort", "22"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.9/24"),
            ("IpPermissions.1.IpRanges.1.Description", "ssh"),
            ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::/32"),
            ("IpPermissions.1.Groups.1.GroupId", group),
        ],
    )
}

#[test]
fn rules_of_one_protocol_and_ports_are_shown_together() {
    let client = Client::new();
    let (_, group) = group(&client);
    let made = authorize(&client, &group);
    assert_eq!(made.all("securityGroupRuleId").len(), 3);
    let peer = format!(
        "<referencedGroupInfo><groupId>{group}</groupId><userId>123456789012</userId></referencedGroupInfo>"
    );
    for part in [
        "<isEgress>false</isEgress><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort>",
        "<cidrIpv4>192.0.2.0/24</cidrIpv4><description>ssh</description>",
        "<cidrIpv6>2001:db8::/32</cidrIpv6>",
        peer.as_str(),
    ] {
        assert!(made.holds(part), "{part}: {made:?}");
    }
    let shown = client.call("DescribeSecurityGroups", &[("GroupId.1", &group)]);
    let pair = format!(
        "<groups><item><userId>123456789012</userId><groupId>{group}</groupId></item></groups>"
    );
    for part in [
        "<ipPermissions><item><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort>",
        pair.as_str(),
        "<ipRanges><item><description>ssh</description><cidrIp>192.0.2.0/24</cidrIp></item></ipRanges>",
        "<ipv6Ranges><item><cidrIpv6>2001:db8::/32</cidrIpv6></item></ipv6Ranges><prefixListIds/>",
        "<ipPermissionsEgress><item><ipProtocol>-1</ipProtocol><groups/>",
        "<groupDescription>the web</groupDescription>",
    ] {
        assert!(shown.holds(part), "{part}: {shown:?}");
    }
}

#[test]
fn what_is_shown_can_be_revoked_as_it_is() {
    let client = Client::new();
    let (_, group) = group(&client);
    authorize(&client, &group);
    let revoked = client.call(
        "RevokeSecurityGroupIngress",
        &[
            ("GroupId", &group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "22"),
            ("IpPermissions.1.ToPort", "22"),
            ("IpPermissions.1.Groups.1.GroupId", &group),
            ("IpPermissions.1.Groups.1.UserId", "123456789012"),
        ],
    );
    assert!(revoked.holds("<unknownIpPermissionSet/>"), "{revoked:?}");
    assert!(revoked.holds(&format!("<referencedGroupId>{group}</referencedGroupId>")));
    let left = client.filtered(
        "DescribeSecurityGroupRules",
        "securityGroupRuleId",
        ("group-id", &group),
    );
    assert_eq!(left.len(), 3);
    let again = client.refused(
        "RevokeSecurityGroupIngress",
        &[
            ("GroupId", &group),
            ("IpProtocol", "tcp"),
            ("FromPort", "23"),
            ("ToPort", "23"),
            ("CidrIp", "192.0.2.0/24"),
        ],
    );
    assert_eq!(again, "InvalidPermission.NotFound");
}

#[test]
fn in_the_default_vpc_unknown_permissions_are_listed() {
    let client = Client::new();
    let answer = client.call(
        "RevokeSecurityGroupIngress",
        &[
            ("GroupName", "default"),
            ("IpProtocol", "-1"),
            ("CidrIp", "192.0.2.0/24"),
        ],
    );
    assert!(answer.holds("<unknownIpPermissionSet><item><ipProtocol>-1</ipProtocol>"));
    assert!(answer.holds("<revokedSecurityGroupRuleSet/>"), "{answer:?}");
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let client = Client::new();
    let (vpc, group) = group(&client);
    authorize(&client, &group);
    let found = |filter| {
        client
            .filtered("DescribeSecurityGroups", "ownerId", filter)
            .len()
    };
    for (filter, count) in [
        (("description", "the web"), 1),
        (("group-id", group.as_str()), 1),
        (("group-name", "web"), 1),
        (("group-name", "default"), 2),
        (("ip-permission.cidr", "192.0.2.0/24"), 1),
        (("ip-permission.from-port", "22"), 1),
        (("ip-permission.group-id", &group), 1),
        (("ip-permission.group-name", "web"), 1),
        (("ip-permission.ipv6-cidr", "2001:db8::/32"), 1),
        (("ip-permission.protocol", "tcp"), 1),
        (("ip-permission.to-port", "22"), 1),
        (("ip-permission.user-id", "123456789012"), 3),
        (("egress.ip-permission.cidr", "0.0.0.0/0"), 3),
        (("egress.ip-permission.protocol", "-1"), 3),
        (("owner-id", "123456789012"), 3),
        (("vpc-id", &vpc), 2),
        (("egress.ip-permission.from-port", "*"), 0),
        (("ip-permission.cidr", "192.0.2.9/24"), 0),
        (("ip-permission.prefix-list-id", "*"), 0),
        (("ip-permission.protocol", "udp"), 0),
        (("vpc-id", "vpc-00000000000000000"), 0),
    ] {
        assert_eq!(found(filter), count, "{filter:?}");
    }
    // Two filters on rules may be met by two rules, but the group must meet both.
    let both = [
        ("Filter.1.Name", "ip-permission.cidr"),
        ("Filter.1.Value.1", "192.0.2.0/24"),
        ("Filter.2.Name", "ip-permission.group-id"),
        ("Filter.2.Value.1", group.as_str()),
        ("Filter.3.Name", "vpc-id"),
        ("Filter.3.Value.1", &vpc),
    ];
    let both = client.call("DescribeSecurityGroups", &both);
    assert_eq!(both.all("ownerId").len(), 1);
}

#[test]
fn a_rule_is_modified_and_described_by_id() {
    let client = Client::new();
    let (_, group) = group(&client);
    let rule = authorize(&client, &group).first("securityGroupRuleId");
    let modify = [
        ("GroupId", group.as_str()),
        ("SecurityGroupRule.1.SecurityGroupRuleId", &rule),
        ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "udp"),
        ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "53"),
        ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "53"),
        ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv6", "::/0"),
    ];
    client.call("ModifySecurityGroupRules", &modify);
    let describe = [
        ("GroupId", group.as_str()),
        ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", &rule),
        ("SecurityGroupRuleDescription.1.Description", "names"),
    ];
    client.call("UpdateSecurityGroupRuleDescriptionsIngress", &describe);
    // The rule is no egress rule.
    let egress = client.refused("UpdateSecurityGroupRuleDescriptionsEgress", &describe);
    assert_eq!(egress, "InvalidSecurityGroupRuleId.NotFound");
    let shown = client.call(
        "DescribeSecurityGroupRules",
        &[("SecurityGroupRuleId.1", &rule)],
    );
    assert!(shown.holds("<ipProtocol>udp</ipProtocol><fromPort>53</fromPort><toPort>53</toPort>"));
    assert!(shown.holds("<cidrIpv6>::/0</cidrIpv6><description>names</description>"));
    assert!(!shown.holds("<cidrIpv4>"));
    let unknown = [("SecurityGroupRuleId.1", "sgr-00000000000000000")];
    assert_eq!(
        client.ask("DescribeSecurityGroupRules", &unknown),
        Err(
            "InvalidSecurityGroupRuleId.NotFound: The security group rule ID \
             'sgr-00000000000000000' does not exist"
                .to_owned()
        )
    );
}

#[test]
fn rules_are_paged_once_each() {
    let client = Client::new();
    let (_, group) = group(&client);
    authorize(&client, &group);
    // With those of two default groups and the egress rule: 3 + 1 + 2 + 2.
    let first = client.call("DescribeSecurityGroupRules", &[("MaxResults", "5")]);
    let token = first.first("nextToken");
    let second = [("MaxResults", "5"), ("NextToken", token.as_str())];
    let second = client.call("DescribeSecurityGroupRules", &second);
    let mut seen = first.all("securityGroupRuleId");
    seen.extend(second.all("securityGroupRuleId"));
    assert_eq!(seen.len(), 8);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    assert!(second.all("nextToken").is_empty());
    let other = [("MaxResults", "5"), ("NextToken", token.as_str())];
    assert_eq!(client.refused("DescribeVpcs", &other), "InvalidNextToken");
}

#[test]
fn groups_are_named_in_the_default_vpc() {
    let client = Client::new();
    let shown = client.call("DescribeSecurityGroups", &[("GroupName.1", "default")]);
    assert_eq!(shown.all("groupName"), ["default"]);
    let unknown = client.refused("DescribeSecurityGroups", &[("GroupName.1", "web")]);
    assert_eq!(unknown, "InvalidGroup.NotFound");
    let default = client.refused("DeleteSecurityGroup", &[("GroupName", "default")]);
    assert_eq!(default, "CannotDelete");
    let neither = client.refused("DeleteSecurityGroup", &[]);
    assert_eq!(neither, "MissingParameter");
    let malformed = client.refused("DeleteSecurityGroup", &[("GroupId", "web")]);
    assert_eq!(malformed, "InvalidGroupId.Malformed");
}

#[test]
fn account_attributes_can_be_chosen() {
    let client = Client::new();
    let vpc = client.call("DescribeVpcs", &[]).first("vpcId");
    let one = client.call(
        "DescribeAccountAttributes",
        &[("AttributeName.1", "default-vpc")],
    );
    assert_eq!(one.all("attributeName"), ["default-vpc"]);
    assert_eq!(one.all("attributeValue"), [vpc.as_str()]);
    let unknown = [("AttributeName.1", "color")];
    assert_eq!(
        client.refused("DescribeAccountAttributes", &unknown),
        "InvalidParameterValue"
    );
}
