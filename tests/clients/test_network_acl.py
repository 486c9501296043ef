"""Network ACLs through boto3."""

import pytest

from support.errors import refused
from support.lab import Lab

UNKNOWN = "acl-00000000000000001"
ALLOW_ALL = {"Protocol": "-1", "RuleAction": "allow", "CidrBlock": "0.0.0.0/0"}


def acls(ec2, **filters):
    """The ACLs with these filters: `_` is a hyphen, `__` a stop."""
    answer = ec2.describe_network_acls(Filters=[
        {"Name": name.replace("__", ".").replace("_", "-"), "Values": values}
        for name, values in filters.items()])
    return answer["NetworkAcls"]


def custom(ec2, vpc):
    return ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]


@pytest.fixture
def vpc(ec2, papers):
    """A VPC whose own ACLs are gone before the laboratory deletes it."""
    vpc = papers.vpc()
    yield vpc
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for acl in acls(ec2, vpc_id=[vpc], default=["false"]):
        ec2.delete_network_acl(NetworkAclId=acl["NetworkAclId"])


def test_default_acl(ec2, vpc):
    [acl] = acls(ec2, vpc_id=[vpc])
    assert acl["IsDefault"] and acl["OwnerId"] == "123456789012"
    assert [(e["Egress"], e["RuleNumber"], e["RuleAction"]) for e in acl["Entries"]] == [
        (True, 100, "allow"), (True, 32767, "deny"),
        (False, 100, "allow"), (False, 32767, "deny")]
    assert {(e["Protocol"], e["CidrBlock"]) for e in acl["Entries"]} == {("-1", "0.0.0.0/0")}
    words = f"cannot delete default network ACL {acl['NetworkAclId']}"
    with refused("InvalidParameterValue", words):
        ec2.delete_network_acl(NetworkAclId=acl["NetworkAclId"])


def test_new_acl_denies_all(ec2, vpc):
    made = ec2.create_network_acl(VpcId=vpc, ClientToken="once", TagSpecifications=[
        {"ResourceType": "network-acl", "Tags": [{"Key": "tier", "Value": "web"}]}])
    acl = made["NetworkAcl"]
    assert made["ClientToken"] == "once" and not acl["IsDefault"] and acl["Associations"] == []
    assert [(e["Egress"], e["RuleNumber"], e["RuleAction"]) for e in acl["Entries"]] == [
        (True, 32767, "deny"), (False, 32767, "deny")]
    again = ec2.create_network_acl(VpcId=vpc, ClientToken="once", TagSpecifications=[
        {"ResourceType": "network-acl", "Tags": [{"Key": "tier", "Value": "web"}]}])
    assert again["NetworkAcl"]["NetworkAclId"] == acl["NetworkAclId"]
    with refused("IdempotentParameterMismatch"):
        ec2.create_network_acl(VpcId=vpc, ClientToken="once")
    [shown] = ec2.describe_network_acls(
        Filters=[{"Name": "tag:tier", "Values": ["web"]}])["NetworkAcls"]
    assert shown == acl
    ec2.create_tags(Resources=[acl["NetworkAclId"]], Tags=[{"Key": "b", "Value": "2"}])
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [acl["NetworkAclId"]]}])
    assert {(tag["ResourceType"], tag["Key"]) for tag in tags["Tags"]} == {
        ("network-acl", "tier"), ("network-acl", "b")}


def test_entries(ec2, vpc):
    acl = custom(ec2, vpc)

    def create(number, egress=False, **entry):
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=number, Egress=egress, **entry)

    web = {"Protocol": "6", "RuleAction": "allow", "CidrBlock": "10.1.2.3/16",
           "PortRange": {"From": 80, "To": 81}}
    create(200, **web)
    create(100, Protocol="udp", RuleAction="deny", CidrBlock="192.0.2.1/32",
           PortRange={"From": 53, "To": 53})
    create(300, Protocol="1", RuleAction="allow", CidrBlock="0.0.0.0/0",
           IcmpTypeCode={"Type": 3, "Code": -1})
    create(400, Protocol="58", RuleAction="allow", Ipv6CidrBlock="2001:db8::1/64",
           IcmpTypeCode={"Type": -1, "Code": -1})
    create(32766, Protocol="50", RuleAction="allow", CidrBlock="0.0.0.0/0",
           PortRange={"From": 1, "To": 2})
    create(100, egress=True, **ALLOW_ALL)
    [shown] = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    ingress = [entry for entry in shown["Entries"] if not entry["Egress"]]
    assert [entry["RuleNumber"] for entry in ingress] == [100, 200, 300, 400, 32766, 32767]
    assert ingress[0] == {"Egress": False, "RuleNumber": 100, "RuleAction": "deny",
                          "Protocol": "17", "CidrBlock": "192.0.2.1/32",
                          "PortRange": {"From": 53, "To": 53}}
    assert ingress[1]["CidrBlock"] == "10.1.0.0/16", "host bits are cleared"
    assert ingress[2]["IcmpTypeCode"] == {"Type": 3, "Code": -1}
    assert ingress[3]["Ipv6CidrBlock"] == "2001:db8::/64" and ingress[3]["Protocol"] == "58"
    assert "PortRange" not in ingress[4], "protocols without ports have none"

    with refused("NetworkAclEntryAlreadyExists",
                 "The network acl entry identified by 200 already exists."):
        create(200, **web)
    ec2.replace_network_acl_entry(NetworkAclId=acl, RuleNumber=200, Egress=False, **ALLOW_ALL)
    with refused("InvalidNetworkAclEntry.NotFound",
                 "The network acl entry identified by 201 does not exist."):
        ec2.replace_network_acl_entry(NetworkAclId=acl, RuleNumber=201, Egress=False, **ALLOW_ALL)
    ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    with refused("InvalidNetworkAclEntry.NotFound"):
        ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    [shown] = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    assert [(e["Egress"], e["RuleNumber"], e["Protocol"]) for e in shown["Entries"]] == [
        (True, 100, "-1"), (True, 32767, "-1"), (False, 200, "-1"), (False, 300, "1"),
        (False, 400, "58"), (False, 32766, "50"), (False, 32767, "-1")]


@pytest.mark.parametrize(("change", "code", "words"), [
    ({"RuleNumber": 0}, "InvalidParameterValue", "…ruleNumber"),
    ({"RuleNumber": 32767}, "InvalidParameterValue", "…ruleNumber"),
    ({"RuleNumber": -1}, "InvalidParameterValue", "…ruleNumber"),
    ({"RuleAction": "maybe"}, "InvalidParameterValue", "…maybe"),
    ({"Protocol": "256"}, "InvalidParameterValue", "…256"),
    ({"Protocol": "tpc"}, "InvalidParameterValue", "…tpc"),
    ({"CidrBlock": "10.0.0.0/33"}, "InvalidParameterValue", "…10.0.0.0/33"),
    ({"CidrBlock": None}, "MissingParameter", "…cidrBlock"),
    ({"Ipv6CidrBlock": "::/0"}, "InvalidParameterCombination", "…ipv6CidrBlock"),
    ({"CidrBlock": None, "Ipv6CidrBlock": "0.0.0.0/0"}, "InvalidParameterValue", "…0.0.0.0/0"),
    ({"Protocol": "6"}, "MissingParameter", "…portRange"),
    ({"Protocol": "17", "PortRange": {"From": 1}}, "MissingParameter", "…portRange.to"),
    ({"Protocol": "6", "PortRange": {"From": 2, "To": 1}}, "InvalidParameterValue", "…(2:1)"),
    ({"Protocol": "6", "PortRange": {"From": 0, "To": 65536}}, "InvalidParameterValue", "…65536"),
    ({"Protocol": "1"}, "MissingParameter", "…icmpTypeCode"),
    ({"Protocol": "1", "IcmpTypeCode": {"Type": 256, "Code": 0}}, "InvalidParameterValue",
     "ICMP type (256) out of range"),
    ({"Protocol": "1", "IcmpTypeCode": {"Type": -1, "Code": 0}}, "InvalidParameterValue",
     "ICMP code must be -1 when the ICMP type is -1"),
])
def test_wrong_entries(ec2, vpc, change, code, words):
    acl = custom(ec2, vpc)
    entry = {"NetworkAclId": acl, "RuleNumber": 1, "Egress": False} | ALLOW_ALL | change
    entry = {name: value for name, value in entry.items() if value is not None}
    with refused(code, words):
        ec2.create_network_acl_entry(**entry)
    [shown] = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    assert len(shown["Entries"]) == 2


def test_associations(ec2, papers, vpc):
    subnet = papers.subnet(vpc)
    [default] = acls(ec2, vpc_id=[vpc])
    [association] = default["Associations"]
    assert association["SubnetId"] == subnet
    acl = custom(ec2, vpc)
    new = ec2.replace_network_acl_association(
        AssociationId=association["NetworkAclAssociationId"], NetworkAclId=acl)["NewAssociationId"]
    assert new != association["NetworkAclAssociationId"]
    [shown] = acls(ec2, association__subnet_id=[subnet])
    assert shown["NetworkAclId"] == acl
    assert shown["Associations"] == [{"NetworkAclAssociationId": new, "NetworkAclId": acl,
                                      "SubnetId": subnet}]
    with refused("InvalidAssociationID.NotFound", "The association ID "
                 f"'{association['NetworkAclAssociationId']}' does not exist"):
        ec2.replace_network_acl_association(
            AssociationId=association["NetworkAclAssociationId"], NetworkAclId=acl)
    with refused("DependencyViolation",
                 f"The networkAcl '{acl}' has dependencies and cannot be deleted."):
        ec2.delete_network_acl(NetworkAclId=acl)
    other = papers.vpc("10.1.0.0/16")
    [foreign] = acls(ec2, vpc_id=[other])
    with refused("InvalidParameterValue", f"network acl {foreign['NetworkAclId']} and subnet "
                 f"{subnet} belong to different networks"):
        ec2.replace_network_acl_association(AssociationId=new,
                                            NetworkAclId=foreign["NetworkAclId"])
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_network_acl(NetworkAclId=acl)
    with refused("InvalidNetworkAclID.NotFound", f"The networkAcl ID '{acl}' does not exist"):
        ec2.describe_network_acls(NetworkAclIds=[acl])


def test_unknown_ids(ec2, vpc):
    words = f"The networkAcl ID '{UNKNOWN}' does not exist"
    with refused("InvalidNetworkAclID.NotFound", words):
        ec2.delete_network_acl(NetworkAclId=UNKNOWN)
    with refused("InvalidNetworkAclID.NotFound", words):
        ec2.create_network_acl_entry(NetworkAclId=UNKNOWN, RuleNumber=1, Egress=True, **ALLOW_ALL)
    with refused("InvalidNetworkAclId.Malformed"):
        ec2.delete_network_acl(NetworkAclId="acl-x")
    with refused("InvalidVpcID.NotFound"):
        ec2.create_network_acl(VpcId="vpc-00000000000000001")
    custom(ec2, vpc)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    with refused("DryRunOperation", status=412):
        ec2.create_network_acl(VpcId=vpc, DryRun=True)


def test_filters_and_pages(ec2, vpc):
    made = sorted(custom(ec2, vpc) for _ in range(6))
    ec2.create_network_acl_entry(NetworkAclId=made[2], RuleNumber=7, Egress=True, Protocol="6",
                                 RuleAction="deny", CidrBlock="203.0.113.0/24",
                                 PortRange={"From": 25, "To": 26})
    ec2.create_network_acl_entry(NetworkAclId=made[3], RuleNumber=8, Egress=True, Protocol="1",
                                 RuleAction="allow", Ipv6CidrBlock="2001:db8::/32",
                                 IcmpTypeCode={"Type": 8, "Code": 9})

    def found(name, *values):
        answer = ec2.describe_network_acls(Filters=[
            {"Name": "network-acl-id", "Values": made}, {"Name": name, "Values": list(values)}])
        return [acl["NetworkAclId"] for acl in answer["NetworkAcls"]]

    for name, value, wanted in [
            ("entry.cidr", "203.0.113.0/24", made[2:3]), ("entry.rule-number", "7", made[2:3]),
            ("entry.protocol", "6", made[2:3]), ("entry.protocol", "tcp", made[2:3]),
            ("entry.port-range.from", "25", made[2:3]), ("entry.port-range.to", "26", made[2:3]),
            ("entry.ipv6-cidr", "2001:db8::/32", made[3:4]), ("entry.icmp.type", "8", made[3:4]),
            ("entry.icmp.code", "9", made[3:4]), ("entry.rule-action", "allow", made[3:4]),
            ("entry.rule-action", "deny", made), ("entry.egress", "true", made),
            ("default", "true", []), ("owner-id", "123456789012", made), ("vpc-id", vpc, made),
            ("association.network-acl-id", made[0], []), ("association.subnet-id", "*", []),
            ("association.association-id", "*", [])]:
        assert found(name, value) == wanted, (name, value)
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found("colour", "red")
    pages = ec2.get_paginator("describe_network_acls").paginate(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 5})
    seen = [acl["NetworkAclId"] for page in pages for acl in page["NetworkAcls"]]
    assert len(seen) == 7 and set(made) < set(seen) and seen == sorted(seen)


def test_quotas(start_daemon):
    config = "[quotas]\nnetwork_acls_per_vpc = 2\nentries_per_network_acl = 2\n"
    lab = Lab(start_daemon("none", config=config))
    vpc = lab.vpc()
    acl = custom(lab.ec2, vpc)
    with refused("NetworkAclLimitExceeded", "The maximum number of network acls has been reached."):
        custom(lab.ec2, vpc)

    def create(number, egress, block):
        name = "Ipv6CidrBlock" if ":" in block else "CidrBlock"
        lab.ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=number, Egress=egress,
                                         Protocol="-1", RuleAction="allow", **{name: block})

    for number in (1, 2):
        for place, (egress, block) in enumerate([
                (True, "0.0.0.0/0"), (False, "0.0.0.0/0"), (True, "::/0"), (False, "::/0")]):
            create(10 * place + number, egress, block)
    for egress, block in [(True, "0.0.0.0/0"), (False, "::/0")]:
        with refused("NetworkAclEntryLimitExceeded",
                     "The maximum number of network acl entries has been reached."):
            create(99, egress, block)
    lab.ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=1, Egress=True)
    create(99, True, "0.0.0.0/0")
