"""Internet gateways through boto3."""

import pytest

from support.errors import refused

UNKNOWN = "igw-00000000000000001"


def create(ec2, **tags):
    kind = {"ResourceType": "internet-gateway",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    options = {"TagSpecifications": [kind]} if tags else {}
    return ec2.create_internet_gateway(**options)["InternetGateway"]["InternetGatewayId"]


def test_a_life(ec2, papers):
    vpc = papers.vpc()
    made = ec2.create_internet_gateway(TagSpecifications=[
        {"ResourceType": "internet-gateway", "Tags": [{"Key": "a", "Value": "b"}]}])
    made = made["InternetGateway"]
    gateway = made["InternetGatewayId"]
    assert made["Attachments"] == [] and made["OwnerId"] == "123456789012"
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    waiter = ec2.get_waiter("internet_gateway_exists")
    waiter.wait(InternetGatewayIds=[gateway], WaiterConfig={"MaxAttempts": 1})
    [shown] = ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]
    assert shown == made | {"Attachments": [{"State": "available", "VpcId": vpc}]}
    assert ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [gateway]}])["Tags"] == [
        {"Key": "a", "Value": "b", "ResourceId": gateway, "ResourceType": "internet-gateway"}]
    with refused("DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted."):
        ec2.delete_vpc(VpcId=vpc)
    with refused("DependencyViolation",
                 f"The internetGateway '{gateway}' has dependencies and cannot be deleted."):
        ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    with refused("InvalidInternetGatewayID.NotFound",
                 f"The internetGateway ID '{gateway}' does not exist"):
        ec2.describe_internet_gateways(InternetGatewayIds=[gateway])


def test_one_vpc_has_one_gateway(ec2, papers):
    vpc, other = papers.vpc(), papers.vpc("10.1.0.0/16")
    gateway, second = papers.internet(vpc), create(ec2)
    with refused("Resource.AlreadyAssociated",
                 f"resource {gateway} is already attached to network {vpc}"):
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=other)
    with refused("InvalidParameterValue",
                 f"Network {vpc} already has an internet gateway attached"):
        ec2.attach_internet_gateway(InternetGatewayId=second, VpcId=vpc)
    with refused("Gateway.NotAttached", f"resource {gateway} is not attached to network {other}"):
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=other)
    ec2.delete_internet_gateway(InternetGatewayId=second)


def test_a_gateway_stays_while_public_addresses_are_mapped(ec2, papers):
    vpc, subnet = papers.network()
    gateway = papers.internet(vpc)
    words = (f"Network {vpc} has some mapped public address(es). Please unmap those public "
             "address(es) before detaching the gateway.")

    def detach():
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)

    eni = papers.interface(subnet)["NetworkInterfaceId"]
    allocation = papers.address()["AllocationId"]
    association = ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=eni)
    with refused("DependencyViolation", words):
        detach()
    ec2.disassociate_address(AssociationId=association["AssociationId"])
    detach()
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    instance = papers.instance(subnet)
    with refused("DependencyViolation", words):
        detach()
    ec2.stop_instances(InstanceIds=[instance.id])
    detach()
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


def test_filters_and_pages(ec2, papers):
    vpc = papers.vpc()
    attached = papers.internet(vpc)
    made = [create(ec2, suite="pages") for _ in range(6)]

    def ids(name, *values):
        found = ec2.describe_internet_gateways(Filters=[{"Name": name, "Values": list(values)}])
        return {gateway["InternetGatewayId"] for gateway in found["InternetGateways"]}

    assert ids("attachment.vpc-id", vpc) == {attached}
    assert attached in ids("attachment.state", "available")
    assert not ids("attachment.state", "available") & set(made)
    assert ids("internet-gateway-id", *made[:2]) == set(made[:2])
    assert ids("tag:suite", "pages") == set(made)
    assert ids("owner-id", "123456789012") >= set(made)
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        ids("colour", "red")
    pages = ec2.get_paginator("describe_internet_gateways").paginate(
        Filters=[{"Name": "tag:suite", "Values": ["pages"]}], PaginationConfig={"PageSize": 5})
    seen = [[one["InternetGatewayId"] for one in page["InternetGateways"]] for page in pages]
    assert [len(page) for page in seen] == [5, 1] and set(sum(seen, [])) == set(made)
    for gateway in made:
        ec2.delete_internet_gateway(InternetGatewayId=gateway)


def test_unknown_ids_and_dry_runs(ec2, papers):
    vpc = papers.vpc()
    words = f"The internetGateway ID '{UNKNOWN}' does not exist"
    for call in (ec2.attach_internet_gateway, ec2.detach_internet_gateway):
        with refused("InvalidInternetGatewayID.NotFound", words):
            call(InternetGatewayId=UNKNOWN, VpcId=vpc)
    with refused("InvalidInternetGatewayID.NotFound", words):
        ec2.delete_internet_gateway(InternetGatewayId=UNKNOWN)
    with refused("InvalidInternetGatewayId.Malformed"):
        ec2.delete_internet_gateway(InternetGatewayId="igw-1")
    gateway = create(ec2)
    with refused("InvalidVpcID.NotFound"):
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId="vpc-00000000000000001")
    with refused("DryRunOperation", status=412):
        ec2.delete_internet_gateway(InternetGatewayId=gateway, DryRun=True)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


@pytest.fixture
def strict(start_daemon):
    """A daemon with AWS's own quotas."""
    return start_daemon("none", config="").client()


def test_the_quota_counts_the_default_gateway(strict):
    made = [create(strict) for _ in range(4)]
    with refused("InternetGatewayLimitExceeded",
                 "The maximum number of internet gateways has been reached."):
        create(strict)
    strict.delete_internet_gateway(InternetGatewayId=made[0])
    create(strict)
