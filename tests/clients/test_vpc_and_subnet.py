"""VPCs and subnets through boto3."""

import pytest

from support.errors import refused
from support.lab import Lab

UNKNOWN_VPC = "vpc-00000000000000001"


def by_vpc(vpc):
    return [{"Name": "vpc-id", "Values": [vpc]}]


def test_vpc_shape(ec2, papers):
    vpc = ec2.create_vpc(CidrBlock="10.1.2.3/16", TagSpecifications=[
        {"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "a b&c<d>"}]}])["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    assert vpc["CidrBlock"] == "10.1.0.0/16", "host bits are cleared"
    assert vpc["State"] in ("pending", "available")
    assert not vpc["IsDefault"] and vpc["InstanceTenancy"] == "default"
    assert vpc["Tags"] == [{"Key": "Name", "Value": "a b&c<d>"}]
    [shown] = ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"]
    assert shown["State"] == "available" and shown["OwnerId"] == "123456789012"
    assert shown["CidrBlockAssociationSet"][0]["CidrBlock"] == "10.1.0.0/16"
    [group] = ec2.describe_security_groups(Filters=by_vpc(vpc["VpcId"]))["SecurityGroups"]
    assert group["GroupName"] == "default"
    [rule] = group["IpPermissions"]
    assert rule["IpProtocol"] == "-1"
    assert rule["UserIdGroupPairs"] == [{"UserId": "123456789012", "GroupId": group["GroupId"]}]
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]


def test_vpc_attributes(ec2, papers):
    vpc = papers.vpc()

    def attribute(name):
        answer = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
        return answer[name[0].upper() + name[1:]]["Value"]

    assert (attribute("enableDnsSupport"), attribute("enableDnsHostnames")) == (True, False)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert attribute("enableDnsHostnames") is True
    with refused("InvalidParameterValue"):
        ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDns")


@pytest.mark.parametrize(("cidr", "code"), [
    ("10.0.0.0/8", "InvalidVpc.Range"), ("10.0.0.0/29", "InvalidVpc.Range"),
    ("10.0.0.0", "InvalidParameterValue"), ("10.0.0.0/33", "InvalidParameterValue"),
    ("nonsense", "InvalidParameterValue"), ("10.0.0.256/16", "InvalidParameterValue"),
    ("169.254.0.0/16", "InvalidVpc.Range"), ("fd00::/56", "InvalidParameterValue"),
])
def test_wrong_vpc_blocks(ec2, cidr, code):
    before = len(ec2.describe_vpcs()["Vpcs"])
    with refused(code, f"…{cidr}"):
        ec2.create_vpc(CidrBlock=cidr)
    assert len(ec2.describe_vpcs()["Vpcs"]) == before


@pytest.mark.parametrize(("cidr", "code", "words"), [
    ("10.0.0.128/25", "InvalidSubnet.Conflict",
     "The CIDR '10.0.0.128/25' conflicts with another subnet"),
    ("10.0.0.0/24", "InvalidSubnet.Conflict",
     "The CIDR '10.0.0.0/24' conflicts with another subnet"),
    ("10.1.0.0/24", "InvalidSubnet.Range", "The CIDR '10.1.0.0/24' is invalid."),
    ("10.0.1.0/29", "InvalidSubnet.Range", "The CIDR '10.0.1.0/29' is invalid."),
    ("10.0.1.0/x", "InvalidParameterValue", "…10.0.1.0/x"),
])
def test_wrong_subnet_blocks(ec2, papers, cidr, code, words):
    vpc, _ = papers.network()
    with refused(code, words):
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr)
    assert len(ec2.describe_subnets(Filters=by_vpc(vpc))["Subnets"]) == 1


def test_subnet_shape(ec2, papers):
    vpc = papers.vpc()
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.4.0/28", AvailabilityZone="us-east-1c",
                               TagSpecifications=[{"ResourceType": "subnet", "Tags": [
                                   {"Key": "tier", "Value": "data"}]}])["Subnet"]
    assert subnet["AvailabilityZone"] == "us-east-1c"
    assert subnet["AvailableIpAddressCount"] == 11, "five of sixteen are reserved"
    papers.interface(subnet["SubnetId"])
    [shown] = ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"]
    assert shown["AvailableIpAddressCount"] == 10
    assert shown["State"] == "available" and shown["MapPublicIpOnLaunch"] is False
    assert shown["Tags"] == [{"Key": "tier", "Value": "data"}]
    with refused("InvalidParameterValue", "…us-east-1z"):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.5.0/28", AvailabilityZone="us-east-1z")
    for value in (True, False):
        ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"],
                                    MapPublicIpOnLaunch={"Value": value})
        [shown] = ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"]
        assert shown["MapPublicIpOnLaunch"] is value


def test_dependencies(ec2, papers):
    vpc, subnet = papers.network()
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    with refused("DependencyViolation",
                 f"The subnet '{subnet}' has dependencies and cannot be deleted."):
        ec2.delete_subnet(SubnetId=subnet)
    with refused("DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted."):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    ec2.delete_subnet(SubnetId=subnet)
    with refused("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist"):
        ec2.describe_subnets(SubnetIds=[subnet])


def test_unknown_ids(ec2):
    with refused("InvalidVpcID.NotFound", f"The vpc ID '{UNKNOWN_VPC}' does not exist"):
        ec2.describe_vpcs(VpcIds=[UNKNOWN_VPC])
    with refused("InvalidVpcID.NotFound"):
        ec2.create_subnet(VpcId=UNKNOWN_VPC, CidrBlock="10.0.0.0/24")
    with refused("InvalidVpcID.NotFound"):
        ec2.delete_vpc(VpcId=UNKNOWN_VPC)
    assert ec2.describe_vpcs(Filters=by_vpc(UNKNOWN_VPC))["Vpcs"] == []


def test_filters_and_pages(ec2, papers):
    made = [papers.vpc(f"10.{number}.0.0/16") for number in range(7)]
    for number, vpc in enumerate(made):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "suite", "Value": f"pages-{number % 2}"}])
    pages = ec2.get_paginator("describe_vpcs").paginate(
        Filters=[{"Name": "tag:suite", "Values": ["pages-?"]}], PaginationConfig={"PageSize": 5})
    seen = [[vpc["VpcId"] for vpc in page["Vpcs"]] for page in pages]
    assert sorted(sum(seen, [])) == sorted(made) and len(seen) >= 2

    def ids(*filters):
        answer = ec2.describe_vpcs(Filters=[{"Name": name, "Values": values}
                                            for name, values in filters])
        return {vpc["VpcId"] for vpc in answer["Vpcs"]}

    assert ids(("vpc-id", made)) == set(made)
    assert ids(("vpc-id", made), ("tag:suite", ["pages-0"])) == set(made[::2])
    assert ids(("vpc-id", made), ("cidr", ["10.3.0.0/16"])) == {made[3]}
    assert ids(("tag-key", ["suite"]), ("cidr-block", ["10.4.*"])) in ({made[4]}, set())
    assert ids(("vpc-id", made), ("is-default", ["true"])) == set()
    assert ids(("tag:suite", ["Pages-0"])) == set(), "values are case-sensitive"
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        ids(("colour", ["red"]))
    with refused("InvalidParameterCombination"):
        ec2.describe_vpcs(VpcIds=made, MaxResults=5)
    # boto3 itself knows that 4 are too few; AWS's upper end it leaves to the service.
    with refused("InvalidParameterValue", "…1001"):
        ec2.describe_vpcs(MaxResults=1001)
    for bad in ("nonsense", "AAAA"):
        with pytest.raises(ec2.exceptions.ClientError, match="Invalid(Next|Pagination)Token"):
            ec2.describe_vpcs(MaxResults=5, NextToken=bad)
    with refused("FilterLimitExceeded"):
        ids(("vpc-id", [f"vpc-{number}" for number in range(201)]))
    with refused("FilterLimitExceeded"):
        ids(("vpc-id", ["x" * 256]))


def test_quota_of_vpcs(start_daemon):
    daemon = start_daemon("none", config="")
    lab = Lab(daemon)
    for number in range(4):  # The default VPC is the first of AWS's five.
        lab.vpc(f"10.{number}.0.0/16")
    with refused("VpcLimitExceeded", "The maximum number of VPCs has been reached."):
        lab.vpc("10.9.0.0/16")
    daemon.client(region="eu-west-1").create_vpc(CidrBlock="10.0.0.0/16")
    lab.ec2.delete_vpc(VpcId=lab._vpcs.pop())
    lab.vpc("10.9.0.0/16")


def test_dry_run(ec2, papers):
    before = len(ec2.describe_vpcs()["Vpcs"])
    words = "Request would have succeeded, but DryRun flag is set."
    with refused("DryRunOperation", words, 412):
        ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    with refused("DryRunOperation", words, 412):
        ec2.describe_vpcs(DryRun=True)
    with refused("InvalidVpc.Range"):
        ec2.create_vpc(CidrBlock="10.0.0.0/8", DryRun=True)
    vpc, subnet = papers.network()
    with refused("DryRunOperation", words, 412):
        ec2.delete_subnet(SubnetId=subnet, DryRun=True)
    assert len(ec2.describe_vpcs()["Vpcs"]) == before + 1
    assert len(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]) == 1


def test_tags(ec2, papers):
    vpc, subnet = papers.network()
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    group = papers.group(vpc, "tagged")
    resources = [vpc, subnet, eni, group]
    ec2.create_tags(Resources=resources,
                    Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    shown = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": resources}])["Tags"]
    assert {(tag["ResourceId"], tag["Key"], tag["Value"]) for tag in shown} == {
        (resource, key, value) for resource in resources for key, value in (("a", "1"), ("b", ""))}
    assert {tag["ResourceType"] for tag in shown} == {
        "vpc", "subnet", "network-interface", "security-group"}
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "a", "Value": "2"}, {"Key": "b"}])
    [only] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert only["Tags"] == [{"Key": "a", "Value": "1"}], "another value deletes nothing"
    with refused("InvalidParameterValue",
                 "Tag keys starting with 'aws:' are reserved for internal use"):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "aws:x", "Value": "1"}])
    with refused("TagLimitExceeded"):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)])
    with refused("InvalidVpcID.NotFound"):
        ec2.create_tags(Resources=[eni, UNKNOWN_VPC], Tags=[{"Key": "c", "Value": ""}])
    assert "c" not in {tag["Key"] for tag in ec2.describe_network_interfaces(
        NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]["TagSet"]}, "all or nothing"
    with refused("InvalidParameterValue"):
        ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[
            {"ResourceType": "subnet", "Tags": [{"Key": "a", "Value": ""}]}])
