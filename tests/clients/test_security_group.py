"""Security groups and their rules through boto3."""

import pytest

from support.errors import refused
from support.lab import ANYWHERE
from support.rules import everything, icmp, tcp, udp

UNKNOWN = "sg-00000000000000001"


@pytest.fixture
def place(ec2, papers):
    vpc = papers.vpc()
    return vpc, papers.group(vpc, "web")


def ingress(ec2, group):
    [shown] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return shown["IpPermissions"]


def rules(ec2, group, egress=False):
    filters = [{"Name": "group-id", "Values": [group]}]
    shown = ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
    return [rule for rule in shown if rule["IsEgress"] == egress]


def test_group_shape(ec2, place):
    vpc, group = place
    [shown] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert (shown["GroupName"], shown["Description"], shown["VpcId"]) == ("web", "web", vpc)
    assert shown["IpPermissions"] == []
    assert [one["IpRanges"] for one in shown["IpPermissionsEgress"]] == [[{"CidrIp": ANYWHERE}]]
    assert shown["SecurityGroupArn"].endswith(f":123456789012:security-group/{group}")


def test_names_of_groups(ec2, place):
    vpc, group = place
    words = f"The security group 'web' already exists for VPC '{vpc}'"
    with refused("InvalidGroup.Duplicate", words):
        ec2.create_security_group(VpcId=vpc, GroupName="web", Description="d")
    with refused("InvalidGroup.Reserved"):
        ec2.create_security_group(VpcId=vpc, GroupName="default", Description="d")
    for name in ("sg-web", "x" * 256):
        with refused("InvalidParameterValue"):
            ec2.create_security_group(VpcId=vpc, GroupName=name, Description="d")
    with refused("InvalidParameterValue"):
        ec2.create_security_group(VpcId=vpc, GroupName="ok", Description="ümlaut")


def test_authorize_describe_revoke(ec2, place):
    vpc, group = place
    answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "6", "FromPort": 80, "ToPort": 81,
         "IpRanges": [{"CidrIp": "10.0.0.9/24", "Description": "office"}],
         "Ipv6Ranges": [{"CidrIpv6": "fd00::/8"}],
         "UserIdGroupPairs": [{"GroupId": group}]}, icmp(ANYWHERE, 8, 0)])
    assert answer["Return"] is True
    made = {(rule.get("CidrIpv4") or rule.get("CidrIpv6") or
             rule["ReferencedGroupInfo"]["GroupId"]): rule for rule in answer["SecurityGroupRules"]}
    assert set(made) == {"10.0.0.0/24", "fd00::/8", group, ANYWHERE}
    rule = made["10.0.0.0/24"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 80, 81)
    assert rule["Description"] == "office" and rule["IsEgress"] is False
    assert rule["SecurityGroupRuleId"].startswith("sgr-")

    shown = {one["IpProtocol"]: one for one in ingress(ec2, group)}
    assert shown["tcp"]["IpRanges"] == [{"CidrIp": "10.0.0.0/24", "Description": "office"}]
    assert shown["tcp"]["Ipv6Ranges"] == [{"CidrIpv6": "fd00::/8"}]
    assert (shown["icmp"]["FromPort"], shown["icmp"]["ToPort"]) == (8, 0)
    assert {one["SecurityGroupRuleId"] for one in rules(ec2, group)} == {
        one["SecurityGroupRuleId"] for one in made.values()}

    with refused("InvalidPermission.Duplicate", 'the specified rule "peer: 10.0.0.0/24, TCP, '
                 'from port: 80, to port: 81, ALLOW" already exists'):
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[udp(ANYWHERE, 53), tcp("10.0.0.0/24", 80, 81)])
    assert len(rules(ec2, group)) == 4, "all or nothing"

    revoked = ec2.revoke_security_group_ingress(
        GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
    assert revoked["Return"] is True
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(group, 80, 81)])
    with refused("InvalidPermission.NotFound",
                 "The specified rule does not exist in this security group."):
        ec2.revoke_security_group_ingress(
            GroupId=group, IpPermissions=[icmp(ANYWHERE, 8, 0), tcp("10.0.0.0/24", 80)])
    assert len(rules(ec2, group)) == 2
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.revoke_security_group_ingress(
            GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])


def test_flat_parameters(ec2, place):
    _, group = place
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                         CidrIp="192.0.2.0/24")
    [rule] = rules(ec2, group)
    assert (rule["FromPort"], rule["CidrIpv4"]) == (22, "192.0.2.0/24")
    ec2.revoke_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                      CidrIp="192.0.2.0/24")
    assert rules(ec2, group) == []


@pytest.mark.parametrize(("permission", "code", "words"), [
    (tcp("10.0.0.0/33", 80), "InvalidParameterValue", "CIDR block 10.0.0.0/33 is malformed"),
    (tcp("nonsense", 80), "InvalidParameterValue", "CIDR block nonsense is malformed"),
    ({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": ANYWHERE}]}, "InvalidParameterValue", "…port"),
    (tcp(ANYWHERE, 90, 80), "InvalidParameterValue", "Invalid TCP/UDP port range (90:80)"),
    (tcp(ANYWHERE, 80, 65536), "InvalidPermission.Malformed", "…65536"),
    ({"IpProtocol": "tpc", "IpRanges": [{"CidrIp": ANYWHERE}]}, "InvalidParameterValue",
     "Invalid value 'tpc' for IP protocol. Unknown protocol."),
    ({"IpProtocol": "256", "IpRanges": [{"CidrIp": ANYWHERE}]}, "InvalidParameterValue", "…256"),
    (icmp(ANYWHERE, -1, 3), "InvalidPermission.Malformed", None),
    (tcp(UNKNOWN, 80), "InvalidGroup.NotFound", f"The security group '{UNKNOWN}' does not exist"),
    ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1,
      "PrefixListIds": [{"PrefixListId": "pl-12345678"}]}, "InvalidPrefixListID.NotFound",
     "…pl-12345678"),
])
def test_wrong_rules(ec2, place, permission, code, words):
    _, group = place
    with refused(code, words):
        ec2.authorize_security_group_ingress(GroupId=group,
                                             IpPermissions=[tcp(ANYWHERE, 1), permission])
    assert rules(ec2, group) == []


def test_modify_and_describe_rules(ec2, papers, place):
    _, group = place
    rule = papers.authorize(group, tcp("10.0.0.0/24", 80))[0]
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        "SecurityGroupRuleId": rule, "SecurityGroupRule": {
            "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.0/16",
            "Description": "names"}}])
    [shown] = rules(ec2, group)
    assert shown["SecurityGroupRuleId"] == rule, "the id is kept"
    assert (shown["IpProtocol"], shown["CidrIpv4"], shown["Description"]) == (
        "udp", "10.0.0.0/16", "names")
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group, SecurityGroupRuleDescriptions=[
            {"SecurityGroupRuleId": rule, "Description": "changed"}])
    [shown] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
    assert shown["Description"] == "changed"
    ec2.create_tags(Resources=[rule], Tags=[{"Key": "owner", "Value": "me"}])
    [shown] = ec2.describe_security_group_rules(
        Filters=[{"Name": "tag:owner", "Values": ["me"]}])["SecurityGroupRules"]
    assert shown["SecurityGroupRuleId"] == rule
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.describe_security_group_rules(SecurityGroupRuleIds=["sgr-00000000000000001"])


def test_egress(ec2, papers, place):
    _, group = place
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything(ANYWHERE)])
    assert rules(ec2, group, egress=True) == []
    papers.authorize_egress(group, tcp(ANYWHERE, 443))
    [rule] = rules(ec2, group, egress=True)
    assert rule["FromPort"] == 443 and rules(ec2, group) == []
    ec2.update_security_group_rule_descriptions_egress(GroupId=group, IpPermissions=[
        tcp(ANYWHERE, 443) | {"IpRanges": [{"CidrIp": ANYWHERE, "Description": "web"}]}])
    assert rules(ec2, group, egress=True)[0]["Description"] == "web"


def test_deletion(ec2, papers, place):
    vpc, group = place
    other = papers.group(vpc, "other", [tcp(group, 80)])
    subnet = papers.subnet(vpc)
    words = f"resource {group} has a dependent object"
    with refused("DependencyViolation", words):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_security_group(GroupId=other)
    eni = papers.interface(subnet, group)["NetworkInterfaceId"]
    with refused("DependencyViolation", words):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    ec2.delete_security_group(GroupId=group)
    with refused("InvalidGroup.NotFound", f"The security group '{group}' does not exist"):
        ec2.delete_security_group(GroupId=group)
    default = papers.default_group(vpc)
    with refused("CannotDelete", f'the specified group: "{default}" name: "default" '
                 "cannot be deleted by a user"):
        ec2.delete_security_group(GroupId=default)
    with refused("InvalidGroupId.Malformed"):
        ec2.delete_security_group(GroupId="web")


def test_quotas(ec2, papers, place):
    vpc, group = place
    papers.authorize(group, *[tcp(ANYWHERE, port) for port in range(1, 61)])
    with refused("RulesPerSecurityGroupLimitExceeded",
                 "The maximum number of rules per security group has been reached."):
        papers.authorize(group, tcp(ANYWHERE, 61))
    papers.authorize(group, tcp("fd00::/8", 61))  # IPv6 counts on its own.
    subnet = papers.subnet(vpc)
    groups = [papers.group(vpc, f"g{number}") for number in range(6)]
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        papers.interface(subnet, *groups)
    papers.interface(subnet, *groups[:5])


def test_filters(ec2, papers, place):
    vpc, group = place
    other = papers.group(vpc, "db", [tcp(group, 5432), tcp("10.0.0.0/8", 22)])

    def names(**filters):
        wanted = [{"Name": "vpc-id", "Values": [vpc]}]
        wanted += [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]}
                   for name, value in filters.items()]
        shown = ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]
        return sorted(one["GroupName"] for one in shown)

    assert names() == ["db", "default", "web"]
    assert names(group_name="*b") == ["db", "web"]
    assert names(ip_permission__group_id=group) == ["db"]
    assert names(ip_permission__cidr="10.0.0.0/8") == ["db"]
    assert names(ip_permission__to_port="5432", ip_permission__cidr="10.0.0.0/8") == ["db"]
    assert names(egress__ip_permission__cidr=ANYWHERE) == ["db", "default", "web"]
    assert names(description="web") == ["web"]
    assert names(group_id=other) == ["db"]
    assert names(ip_permission__protocol="udp") == []
