"""Attributes of subnets and reservations in their blocks, through boto3."""

import ipaddress

import pytest

from support.errors import refused


@pytest.fixture
def dual(ec2, papers):
    """A subnet with an IPv6 block: its id and the block."""
    vpc = ec2.create_vpc(CidrBlock="10.40.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    network = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    block = next(network.subnets(new_prefix=64))
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.40.0.0/24",
                               Ipv6CidrBlock=str(block), AvailabilityZone="us-east-1a")["Subnet"]
    return subnet["SubnetId"], block


def shown(ec2, subnet):
    return ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]


def test_ipv6_on_creation(ec2, papers, dual):
    subnet, _ = dual
    assert shown(ec2, subnet)["AssignIpv6AddressOnCreation"] is False
    ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    assert shown(ec2, subnet)["AssignIpv6AddressOnCreation"] is True
    association = shown(ec2, subnet)["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]
    with refused("InvalidCidrBlock.InUse",
                 f"The subnet IPv6 CIDR block with association ID {association} may not be "
                 "disassociated, because its subnet has assign-ipv6-address-on-creation set to "
                 "true."):
        ec2.disassociate_subnet_cidr_block(AssociationId=association)
    ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": False})
    ec2.disassociate_subnet_cidr_block(AssociationId=association)
    with refused("InvalidParameterValue",
                 "Invalid value 'true' for assign-ipv6-address-on-creation. Cannot set "
                 "assign-ipv6-address-on-creation to true unless the subnet "
                 f"({subnet}) has an IPv6 CIDR block associated with it."):
        ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    with refused("InvalidSubnetID.NotFound"):
        ec2.modify_subnet_attribute(SubnetId="subnet-00000000000000001",
                                    AssignIpv6AddressOnCreation={"Value": False})
    with refused("UnsupportedOperation", "…EnableDns64"):
        ec2.modify_subnet_attribute(SubnetId=subnet, EnableDns64={"Value": True})
    ec2.modify_subnet_attribute(SubnetId=subnet, EnableDns64={"Value": False})
    with refused("MissingParameter", "The request must contain the parameter attribute"):
        ec2.modify_subnet_attribute(SubnetId=subnet)
    with refused("InvalidParameterCombination", "…enableDns64, mapPublicIpOnLaunch"):
        ec2.modify_subnet_attribute(SubnetId=subnet, EnableDns64={"Value": False},
                                    MapPublicIpOnLaunch={"Value": True})


def test_reservations(ec2, papers, dual):
    subnet, block = dual
    tags = [{"ResourceType": "subnet-cidr-reservation", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = ec2.create_subnet_cidr_reservation(
        SubnetId=subnet, Cidr="10.40.0.64/27", ReservationType="prefix", Description="pods",
        TagSpecifications=tags)["SubnetCidrReservation"]
    assert made["SubnetCidrReservationId"].startswith("scr-")
    assert (made["Cidr"], made["ReservationType"]) == ("10.40.0.64/27", "prefix")
    assert made["Description"] == "pods" and made["OwnerId"] == "123456789012"
    high = str(list(block.subnets(new_prefix=66))[3])
    ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr=high, ReservationType="explicit")
    got = ec2.get_subnet_cidr_reservations(SubnetId=subnet)
    assert [one["Cidr"] for one in got["SubnetIpv4CidrReservations"]] == ["10.40.0.64/27"]
    assert got["SubnetIpv4CidrReservations"][0]["Tags"] == [{"Key": "a", "Value": "b"}]
    assert [one["Cidr"] for one in got["SubnetIpv6CidrReservations"]] == [high]
    for name, value, count in [("reservationType", "prefix", 1), ("subnet-id", subnet, 2),
                               ("tag:a", "b", 1), ("tag-key", "z", 0)]:
        got = ec2.get_subnet_cidr_reservations(
            SubnetId=subnet, Filters=[{"Name": name, "Values": [value]}])
        found = got["SubnetIpv4CidrReservations"] + got["SubnetIpv6CidrReservations"]
        assert len(found) == count, name
    with refused("InvalidParameterValue", "…overlaps"):
        ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.40.0.64/28",
                                           ReservationType="explicit")
    with refused("InvalidParameterValue", "…not within"):
        ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.41.0.0/28",
                                           ReservationType="explicit")
    with refused("InvalidParameterValue"):
        ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.40.0.0/28",
                                           ReservationType="other")
    ec2.delete_tags(Resources=[made["SubnetCidrReservationId"]])
    gone = ec2.delete_subnet_cidr_reservation(
        SubnetCidrReservationId=made["SubnetCidrReservationId"])["DeletedSubnetCidrReservation"]
    assert gone["Cidr"] == "10.40.0.64/27"
    with refused("InvalidSubnetCidrReservationID.NotFound"):
        ec2.delete_subnet_cidr_reservation(
            SubnetCidrReservationId=made["SubnetCidrReservationId"])
    with refused("InvalidSubnetID.NotFound"):
        ec2.get_subnet_cidr_reservations(SubnetId="subnet-00000000000000001")


def test_automatic_addresses_avoid_reservations(ec2, papers):
    vpc = papers.vpc("10.42.0.0/16")
    subnet = papers.subnet(vpc, "10.42.0.0/28")
    # Of eleven addresses, 4 to 7 are kept for whoever names them and 8 to 11 for prefixes.
    for cidr, kind in [("10.42.0.4/30", "explicit"), ("10.42.0.8/30", "prefix")]:
        ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr=cidr, ReservationType=kind)
    chosen = {papers.interface(subnet)["PrivateIpAddress"] for _ in range(3)}
    assert chosen == {"10.42.0.12", "10.42.0.13", "10.42.0.14"}
    with refused("InsufficientFreeAddressesInSubnet"):
        papers.interface(subnet)
    named = papers.interface(subnet, PrivateIpAddress="10.42.0.5")
    assert named["PrivateIpAddress"] == "10.42.0.5"
    assert shown(ec2, subnet)["AvailableIpAddressCount"] == 7
