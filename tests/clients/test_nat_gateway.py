"""NAT gateways through boto3."""

import pytest

from support.errors import refused
from support.until import until

UNKNOWN = "nat-00000000000000001"


@pytest.fixture
def place(ec2, papers):
    """A VPC with an internet gateway and one subnet."""
    vpc, subnet = papers.network()
    papers.internet(vpc)
    return vpc, subnet


def create(ec2, subnet, **options):
    return ec2.create_nat_gateway(SubnetId=subnet, **options)["NatGateway"]


def shown(ec2, gateway):
    [found] = ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"]
    return found


def test_a_life(ec2, papers, place):
    vpc, subnet = place
    elastic = papers.address()
    before = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    made = create(ec2, subnet, AllocationId=elastic["AllocationId"], PrivateIpAddress="10.0.0.77",
                  TagSpecifications=[{"ResourceType": "natgateway",
                                      "Tags": [{"Key": "a", "Value": "b"}]}])
    gateway = made["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(
        NatGatewayIds=[gateway], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    described = shown(ec2, gateway)
    assert described == made and made["State"] == "available"
    assert made["VpcId"] == vpc and made["SubnetId"] == subnet
    assert made["ConnectivityType"] == "public" and made["Tags"] == [{"Key": "a", "Value": "b"}]
    [address] = made["NatGatewayAddresses"]
    [associated] = ec2.describe_addresses(AllocationIds=[elastic["AllocationId"]])["Addresses"]
    assert address == {
        "AllocationId": elastic["AllocationId"], "PublicIp": elastic["PublicIp"],
        "PrivateIp": "10.0.0.77", "NetworkInterfaceId": associated["NetworkInterfaceId"],
        "AssociationId": associated["AssociationId"], "IsPrimary": True, "Status": "succeeded"}
    after = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    assert before - after == 1
    with refused("DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    assert ec2.delete_nat_gateway(NatGatewayId=gateway)["NatGatewayId"] == gateway
    ec2.get_waiter("nat_gateway_deleted").wait(
        NatGatewayIds=[gateway], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    deleted = shown(ec2, gateway)
    assert deleted["State"] == "deleted" and deleted["DeleteTime"] >= deleted["CreateTime"]
    [associated] = ec2.describe_addresses(AllocationIds=[elastic["AllocationId"]])["Addresses"]
    assert "AssociationId" not in associated, "the Elastic IP is kept"
    with refused("NatGatewayNotFound", f"The Nat Gateway {gateway} was not found"):
        ec2.delete_nat_gateway(NatGatewayId=gateway)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[address["NetworkInterfaceId"]])


def test_its_interface_is_its_own(ec2, papers, place):
    _, subnet = place
    allocation = papers.address()["AllocationId"]
    made = create(ec2, subnet, AllocationId=allocation)
    gateway, [address] = made["NatGatewayId"], made["NatGatewayAddresses"]
    eni = address["NetworkInterfaceId"]
    [described] = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    assert described["InterfaceType"] == "nat_gateway" and described["RequesterManaged"]
    assert described["Status"] == "in-use" and not described["SourceDestCheck"]
    assert described["Description"] == f"Interface for NAT Gateway {gateway}"
    assert described["Association"]["PublicIp"] == address["PublicIp"]
    attachment = described["Attachment"]["AttachmentId"]
    assert attachment.startswith("ela-attach-") and "InstanceId" not in described["Attachment"]
    for name, value in [("interface-type", "nat_gateway"), ("attachment.attachment-id", attachment),
                        ("description", described["Description"]), ("subnet-id", subnet),
                        ("attachment.instance-owner-id", "amazon-aws"), ("status", "in-use"),
                        ("association.allocation-id", allocation),
                        ("association.association-id", address["AssociationId"]),
                        ("requester-managed", "true")]:
        found = ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])
        ids = [one["NetworkInterfaceId"] for one in found["NetworkInterfaces"]]
        assert eni in ids, name
    words = "You do not have permission to access the specified resource."
    for call, options in [
        (ec2.delete_network_interface, {}),
        (ec2.modify_network_interface_attribute, {"SourceDestCheck": {"Value": True}}),
        (ec2.reset_network_interface_attribute, {"SourceDestCheck": "true"}),
        (ec2.assign_private_ip_addresses, {"SecondaryPrivateIpAddressCount": 1}),
        (ec2.unassign_private_ip_addresses, {"PrivateIpAddresses": [address["PrivateIp"]]}),
        (ec2.associate_address, {"AllocationId": papers.address()["AllocationId"]}),
    ]:
        with refused("AuthFailure", words):
            call(NetworkInterfaceId=eni, **options)
    with refused("OperationNotPermitted",
                 "You are not allowed to manage 'ela-attach' attachments."):
        ec2.detach_network_interface(AttachmentId=attachment)
    with refused("AuthFailure", words):
        ec2.disassociate_address(AssociationId=address["AssociationId"])
    with refused("InvalidIPAddress.InUse", f"Address {address['PublicIp']} is in use."):
        ec2.release_address(AllocationId=allocation)
    # Tags are the one thing that users may change.
    ec2.create_tags(Resources=[eni], Tags=[{"Key": "a", "Value": "b"}])
    ec2.delete_nat_gateway(NatGatewayId=gateway)


def test_secondary_addresses(ec2, papers, place):
    _, subnet = place
    first, second = papers.address()["AllocationId"], papers.address()["AllocationId"]
    gateway = create(ec2, subnet, AllocationId=first)["NatGatewayId"]
    added = ec2.associate_nat_gateway_address(NatGatewayId=gateway, AllocationIds=[second],
                                              PrivateIpAddresses=["10.0.0.88"])
    [address] = added["NatGatewayAddresses"]
    assert address["PrivateIp"] == "10.0.0.88" and not address["IsPrimary"]
    assert address in shown(ec2, gateway)["NatGatewayAddresses"]
    third = papers.address()["AllocationId"]
    with refused("NatGatewayAddressLimitExceeded"):
        ec2.associate_nat_gateway_address(NatGatewayId=gateway, AllocationIds=[third])
    gone = ec2.disassociate_nat_gateway_address(NatGatewayId=gateway,
                                                AssociationIds=[address["AssociationId"]])
    assert gone["NatGatewayAddresses"][0]["Status"] == "disassociating"
    # No connection uses it.
    until(lambda: len(shown(ec2, gateway)["NatGatewayAddresses"]) == 1, "the address is released")
    [primary] = shown(ec2, gateway)["NatGatewayAddresses"]
    with refused("InvalidParameterValue"):
        ec2.disassociate_nat_gateway_address(NatGatewayId=gateway,
                                             AssociationIds=[primary["AssociationId"]])
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    made = create(ec2, subnet, AllocationId=first, SecondaryAllocationIds=[second])
    assert len(made["NatGatewayAddresses"]) == 2
    ec2.delete_nat_gateway(NatGatewayId=made["NatGatewayId"])


def test_a_private_gateway(ec2, papers):
    _, subnet = papers.network()
    made = create(ec2, subnet, ConnectivityType="private", SecondaryPrivateIpAddressCount=2)
    gateway = made["NatGatewayId"]
    assert made["ConnectivityType"] == "private" and len(made["NatGatewayAddresses"]) == 3
    assert not any("AllocationId" in address for address in made["NatGatewayAddresses"])
    added = ec2.assign_private_nat_gateway_address(NatGatewayId=gateway,
                                                   PrivateIpAddresses=["10.0.0.99"])
    assert added["NatGatewayAddresses"][0]["PrivateIp"] == "10.0.0.99"
    ec2.unassign_private_nat_gateway_address(NatGatewayId=gateway,
                                             PrivateIpAddresses=["10.0.0.99"],
                                             MaxDrainDurationSeconds=1)
    until(lambda: len(shown(ec2, gateway)["NatGatewayAddresses"]) == 3, "the address is released")
    ec2.delete_nat_gateway(NatGatewayId=gateway)


def test_refusals(ec2, papers, place):
    _, subnet = place
    allocation = papers.address()["AllocationId"]
    other, closed = papers.network("10.1.0.0/16")
    taken = papers.interface(subnet, PrivateIpAddress="10.0.0.50")["NetworkInterfaceId"]
    for options, code, words in [
        ({"SubnetId": closed, "AllocationId": allocation}, "Gateway.NotAttached",
         f"Network {other} has no Internet gateway attached"),
        ({}, "MissingParameter", "The request must contain the parameter allocationId"),
        ({"AllocationId": "eipalloc-00000000000000001"}, "InvalidAllocationID.NotFound", None),
        ({"ConnectivityType": "private", "AllocationId": allocation},
         "InvalidParameterCombination", None),
        ({"AllocationId": allocation, "SecondaryPrivateIpAddressCount": 1},
         "InvalidParameterCombination", None),
        ({"AllocationId": allocation, "PrivateIpAddress": "10.0.0.50"}, "InvalidIPAddress.InUse",
         "The specified address is already in use."),
        ({"AllocationId": allocation, "PrivateIpAddress": "10.9.0.1"}, "InvalidParameterValue",
         None),
        ({"SubnetId": "subnet-00000000000000001", "AllocationId": allocation},
         "InvalidSubnetID.NotFound", None),
        ({"AvailabilityMode": "regional", "AllocationId": allocation}, "UnsupportedOperation",
         "…AvailabilityMode"),
    ]:
        with refused(code, words):
            ec2.create_nat_gateway(**{"SubnetId": subnet} | options)
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=taken)
    with refused("Resource.AlreadyAssociated",
                 f"Elastic IP address {allocation} is already associated"):
        create(ec2, subnet, AllocationId=allocation)
    with refused("NatGatewayNotFound", f"The Nat Gateway {UNKNOWN} was not found"):
        ec2.describe_nat_gateways(NatGatewayIds=[UNKNOWN])
    with refused("NatGatewayMalformed"):
        ec2.delete_nat_gateway(NatGatewayId="nat-1")


def test_filters_pages_and_tokens(ec2, papers):
    vpc, subnet = papers.network()
    made = [create(ec2, subnet, ConnectivityType="private", ClientToken=f"{vpc}-{number}",
                   TagSpecifications=[{"ResourceType": "natgateway", "Tags": [
                       {"Key": "number", "Value": str(number)}]}])["NatGatewayId"]
            for number in range(6)]
    again = create(ec2, subnet, ConnectivityType="private", ClientToken=f"{vpc}-0",
                   TagSpecifications=[{"ResourceType": "natgateway", "Tags": [
                       {"Key": "number", "Value": "0"}]}])
    assert again["NatGatewayId"] == made[0]
    with refused("IdempotentParameterMismatch"):
        create(ec2, subnet, ConnectivityType="private", ClientToken=f"{vpc}-0")
    ec2.delete_nat_gateway(NatGatewayId=made[5])

    def found(name, *values):
        answer = ec2.describe_nat_gateways(Filters=[{"Name": name, "Values": list(values)}])
        return {gateway["NatGatewayId"] for gateway in answer["NatGateways"]} & set(made)

    assert found("vpc-id", vpc) == found("subnet-id", subnet) == set(made)
    assert found("state", "available", "pending") == set(made[:5])
    assert found("state", "deleted") == {made[5]}
    assert found("nat-gateway-id", made[1]) == {made[1]}
    assert found("tag:number", "2") == {made[2]}
    pages = ec2.get_paginator("describe_nat_gateways").paginate(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 5})
    seen = [[gateway["NatGatewayId"] for gateway in page["NatGateways"]] for page in pages]
    assert [len(page) for page in seen] == [5, 1] and set(sum(seen, [])) == set(made)
    for gateway in made[:5]:
        ec2.delete_nat_gateway(NatGatewayId=gateway)


def test_the_quota_is_of_a_zone(start_daemon):
    ec2 = start_daemon("none", config="").client()
    subnets = ec2.describe_subnets()["Subnets"]
    here, there = subnets[0]["SubnetId"], subnets[1]["SubnetId"]
    made = [create(ec2, here, ConnectivityType="private")["NatGatewayId"] for _ in range(5)]
    with refused("NatGatewayLimitExceeded",
                 "Performing this operation would exceed the limit of 5 NAT gateways"):
        create(ec2, here, ConnectivityType="private")
    create(ec2, there, ConnectivityType="private")
    ec2.delete_nat_gateway(NatGatewayId=made[0])
    create(ec2, here, ConnectivityType="private")
