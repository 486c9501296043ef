"""Delegated prefixes of network interfaces, through boto3."""

import ipaddress

import pytest

from support.errors import refused

FRAGMENTED = ("The specified subnet does not have enough free cidr blocks to satisfy the request.")


@pytest.fixture(autouse=True)
def _whole(papers):
    """After each test the stored region is consistent, with what the test made still in it."""
    yield
    papers.daemon.run("check")


def shown(ec2, eni):
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]


def free(ec2, subnet):
    return ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]


def test_ipv4_prefixes(ec2, papers):
    vpc = papers.vpc("10.60.0.0/16")
    subnet = papers.subnet(vpc, "10.60.0.0/26")
    made = papers.interface(subnet, PrivateIpAddress="10.60.0.60",
                            Ipv4Prefixes=[{"Ipv4Prefix": "10.60.0.16/28"}])
    eni = made["NetworkInterfaceId"]
    assert made["Ipv4Prefixes"] == [{"Ipv4Prefix": "10.60.0.16/28"}]
    assert free(ec2, subnet) == 59 - 17
    with refused("InvalidIPAddress.InUse"):
        papers.interface(subnet, PrivateIpAddress="10.60.0.20")
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    assert answer["AssignedIpv4Prefixes"] == [{"Ipv4Prefix": "10.60.0.32/28"}]
    assert answer["AssignedPrivateIpAddresses"] == []
    with refused("InsufficientCidrBlocks", FRAGMENTED):
        ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.60.0.0/30",
                                           ReservationType="explicit")
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=["10.60.0.16/28"])
        papers.interface(subnet, PrivateIpAddress="10.60.0.20")
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    for prefix, code, words in [
            ("10.60.0.0/28", "InvalidParameterValue", "…reserved address range"),
            ("10.60.1.0/28", "InvalidParameterValue", "…does not fall within"),
            ("10.60.0.32/28", "InvalidIPAddress.InUse", "…already in use"),
            ("10.60.0.17/28", "InvalidParameterValue", "…10.60.0.17/28"),
            ("10.60.0.16/27", "InvalidParameterValue", "…10.60.0.16/27")]:
        with refused(code, words):
            ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=[prefix])
    with refused("InvalidParameterCombination"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4PrefixCount=1,
                                        SecondaryPrivateIpAddressCount=1)
    with refused("InvalidParameterValue",
                 f"Some of the specified addresses are not assigned to interface {eni}"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=["10.60.0.16/28"])
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    assert free(ec2, subnet) == 58


def test_a_full_subnet(ec2, papers):
    subnet = papers.subnet(papers.vpc("10.61.0.0/16"), "10.61.0.0/28")
    with refused("InvalidParameterValue",
                 "There aren't sufficient free Ipv4 addresses or prefixes"):
        papers.interface(subnet, Ipv4PrefixCount=1)
    assert free(ec2, subnet) == 11, "nothing is kept of what failed"


def test_prefixes_come_from_their_reservation(ec2, papers):
    subnet = papers.subnet(papers.vpc("10.62.0.0/16"), "10.62.0.0/24")
    ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.62.0.96/27",
                                       ReservationType="prefix")
    made = papers.interface(subnet, Ipv4PrefixCount=2)
    assert sorted(one["Ipv4Prefix"] for one in made["Ipv4Prefixes"]) == [
        "10.62.0.112/28", "10.62.0.96/28"]
    with refused("InsufficientCidrBlocks", FRAGMENTED):
        papers.interface(subnet, Ipv4PrefixCount=1)


def test_ipv6_prefixes(ec2, papers):
    vpc = ec2.create_vpc(CidrBlock="10.63.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    network = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    block = next(network.subnets(new_prefix=64))
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.63.0.0/24",
                               Ipv6CidrBlock=str(block))["Subnet"]["SubnetId"]
    prefixes = block.subnets(new_prefix=80)
    reserved, first = str(next(prefixes)), str(next(prefixes))
    made = papers.interface(subnet, Ipv6Prefixes=[{"Ipv6Prefix": first}])
    eni = made["NetworkInterfaceId"]
    assert made["Ipv6Prefixes"] == [{"Ipv6Prefix": first}] and made["Ipv6Addresses"] == []
    inside = str(ipaddress.ip_network(first)[9])
    with refused("InvalidIPAddress.InUse"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[inside])
    with refused("InvalidParameterValue", "…reserved address range"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Prefixes=[reserved])
    with refused("InvalidIPAddress.InUse"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Prefixes=[first])
    with refused("InvalidParameterValue", f"…{block}"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Prefixes=[str(block)])
    new = ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6PrefixCount=1)
    [prefix] = new["AssignedIpv6Prefixes"]
    assert ipaddress.ip_network(prefix).subnet_of(block)
    gone = ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Prefixes=[first])
    assert gone["UnassignedIpv6Prefixes"] == [first]
    assert shown(ec2, eni)["Ipv6Prefixes"] == [{"Ipv6Prefix": prefix}]
    ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[inside])


def test_nitro_only(ec2, papers):
    subnet = papers.subnet(papers.vpc("10.64.0.0/16"), "10.64.0.0/24")
    with refused("InvalidParameterValue", "…t2.micro"):
        papers._run({"ImageId": "ami-0123456789abcdef0", "InstanceType": "t2.micro", "MinCount": 1,
                     "MaxCount": 1, "NetworkInterfaces": [
                         {"DeviceIndex": 0, "SubnetId": subnet, "Ipv4PrefixCount": 1}]})
    instance = papers.instance(subnet, InstanceType="t3.micro")
    ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni, Ipv4PrefixCount=1)
    with refused("PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni, Ipv4PrefixCount=1)
