"""Egress-only internet gateways through boto3."""

import pytest

from support.errors import refused

UNKNOWN = "eigw-00000000000000001"


def create(ec2, vpc, **options):
    made = ec2.create_egress_only_internet_gateway(VpcId=vpc, **options)
    return made["EgressOnlyInternetGateway"]


def delete(ec2, gateway):
    return ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=gateway)


def test_a_life(ec2, papers):
    vpc = papers.vpc()
    kind = "egress-only-internet-gateway"
    made = create(ec2, vpc, TagSpecifications=[
        {"ResourceType": kind, "Tags": [{"Key": "vpc", "Value": vpc}]}])
    gateway = made["EgressOnlyInternetGatewayId"]
    assert made["Attachments"] == [{"State": "attached", "VpcId": vpc}]
    by_tag = [{"Name": "tag:vpc", "Values": [vpc]}]
    for options in ({"EgressOnlyInternetGatewayIds": [gateway]}, {"Filters": by_tag}):
        shown = ec2.describe_egress_only_internet_gateways(**options)
        assert shown["EgressOnlyInternetGateways"] == [made]
    [tag] = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [gateway]}])["Tags"]
    assert tag["ResourceType"] == kind
    with refused("InvalidParameterValue"):
        create(ec2, vpc)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    assert delete(ec2, gateway)["ReturnCode"] is True
    with refused("InvalidGatewayID.NotFound", f"The gateway ID '{gateway}' does not exist"):
        delete(ec2, gateway)


def test_refusals(ec2, papers):
    with refused("InvalidVpcID.NotFound"):
        create(ec2, "vpc-00000000000000001")
    with refused("InvalidGatewayID.NotFound"):
        ec2.describe_egress_only_internet_gateways(EgressOnlyInternetGatewayIds=[UNKNOWN])
    with refused("InvalidEgressOnlyInternetGatewayId.Malformed"):
        delete(ec2, "eigw-1")
    with refused("InvalidParameterValue", "The filter 'vpc-id' is invalid"):
        ec2.describe_egress_only_internet_gateways(
            Filters=[{"Name": "vpc-id", "Values": ["vpc-1"]}])
    vpc = papers.vpc()
    made = create(ec2, vpc, ClientToken=vpc)
    assert create(ec2, vpc, ClientToken=vpc) == made
    delete(ec2, made["EgressOnlyInternetGatewayId"])


def test_the_quota_is_aws_own(start_daemon):
    ec2 = start_daemon("none", config="[quotas]\nvpcs = 10\n").client()
    vpcs = [ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"] for number in range(6)]
    for vpc in vpcs[:5]:
        create(ec2, vpc)
    with refused("EgressOnlyInternetGatewayLimitExceeded"):
        create(ec2, vpcs[5])
