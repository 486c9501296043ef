"""IPv6 addresses of network interfaces and instances, through boto3."""

import ipaddress

import pytest

from support.errors import refused
from support.lab import IMAGE


@pytest.fixture(autouse=True)
def _whole(papers):
    """After each test the stored region is consistent, with what the test made still in it."""
    yield
    papers.daemon.run("check")


@pytest.fixture
def dual(ec2, papers):
    """A subnet with an IPv6 block: its id and the block."""
    vpc = ec2.create_vpc(CidrBlock="10.50.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    network = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    block = next(network.subnets(new_prefix=64))
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.50.0.0/24",
                               Ipv6CidrBlock=str(block), AvailabilityZone="us-east-1a")["Subnet"]
    return subnet["SubnetId"], block


def shown(ec2, eni):
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]


def addresses(interface):
    return [one["Ipv6Address"] for one in interface["Ipv6Addresses"]]


def run(papers, subnet, **options):
    request = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    if subnet:
        request["SubnetId"] = subnet
    return papers._run(request | options)


def test_addresses_come_and_go(ec2, papers, dual):
    subnet, block = dual
    named = [str(block[0x10]), str(block[0x11])]
    made = papers.interface(subnet, Ipv6Addresses=[{"Ipv6Address": one} for one in named])
    eni = made["NetworkInterfaceId"]
    assert addresses(made) == named and made["Ipv6Address"] == named[0]
    assert [one["IsPrimaryIpv6"] for one in made["Ipv6Addresses"]] == [False, False]
    answer = ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6AddressCount=2)
    assert answer["NetworkInterfaceId"] == eni
    new = answer["AssignedIpv6Addresses"]
    assert len(new) == 2 and all(ipaddress.ip_address(one) in block for one in new)
    assert addresses(shown(ec2, eni)) == named + new
    [found] = ec2.describe_network_interfaces(Filters=[
        {"Name": "ipv6-addresses.ipv6-address", "Values": [new[1]]}])["NetworkInterfaces"]
    assert found["NetworkInterfaceId"] == eni
    gone = ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[named[0]])
    assert gone["UnassignedIpv6Addresses"] == [named[0]]
    assert addresses(shown(ec2, eni)) == named[1:] + new
    other = papers.interface(subnet, Ipv6Addresses=[{"Ipv6Address": named[0]}])
    assert addresses(other) == named[:1]


def test_wrong_addresses(ec2, papers, dual):
    subnet, block = dual
    taken = str(block[0x20])
    papers.interface(subnet, Ipv6Addresses=[{"Ipv6Address": taken}])
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    for address, code, words in [
            (taken, "InvalidIPAddress.InUse", f"The IPv6 address {taken} is already in use."),
            (str(block[1]), "InvalidParameterValue",
             "Address is in subnet's reserved address range"),
            ("2001:db9::1", "InvalidParameterValue", "…does not fall within"),
            ("10.0.0.1", "InvalidParameterValue", "invalid value for parameter address: 10.0.0.1")]:
        with refused(code, words):
            ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[address])
    with refused("InvalidParameterCombination",
                 "IPv6 addresses and IPv6 address count may not be specified on the same request"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[str(block[0x21])],
                                  Ipv6AddressCount=1)
    with refused("MissingParameter"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=eni)
    with refused("MissingParameter"):
        ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni)
    with refused("InvalidParameterValue",
                 f"Some of the specified addresses are not assigned to interface {eni}"):
        ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[taken])
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId="eni-00000000000000001", Ipv6AddressCount=1)
    plain = papers.subnet(papers.vpc("10.51.0.0/16"), "10.51.0.0/24")
    with refused("InvalidParameterValue", f"The subnet '{plain}' does not have an IPv6 CIDR block"):
        papers.interface(plain, Ipv6AddressCount=1)


def test_a_subnet_that_assigns(ec2, papers, dual):
    subnet, _ = dual
    ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    assert len(addresses(papers.interface(subnet))) == 1
    assert addresses(papers.interface(subnet, Ipv6AddressCount=0)) == []
    [instance] = run(papers, subnet)
    described = instance.describe()
    [interface] = described["NetworkInterfaces"]
    assert [described["Ipv6Address"]] == addresses(interface)
    found = ec2.describe_instances(Filters=[
        {"Name": "ipv6-address", "Values": [described["Ipv6Address"]]}])["Reservations"]
    assert [one["Instances"][0]["InstanceId"] for one in found] == [instance.id]


def test_a_primary_address(ec2, papers, dual):
    subnet, block = dual
    made = papers.interface(subnet, Ipv6AddressCount=1, EnablePrimaryIpv6=True)
    [only] = made["Ipv6Addresses"]
    assert only["IsPrimaryIpv6"] is True
    eni = made["NetworkInterfaceId"]
    with refused("InvalidParameterValue",
                 "The primary IPv6 address of an interface cannot be unassigned."):
        ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[only["Ipv6Address"]])
    with refused("InvalidParameterValue", "…cannot be disabled"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, EnablePrimaryIpv6=False)
    with refused("InvalidParameterCombination"):
        papers.interface(subnet, EnablePrimaryIpv6=True)
    later = papers.interface(subnet, Ipv6AddressCount=1)["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=later, EnablePrimaryIpv6=True)
    assert shown(ec2, later)["Ipv6Addresses"][0]["IsPrimaryIpv6"] is True


def test_limits_of_the_instance_type(ec2, papers, dual):
    subnet, _ = dual
    [instance] = run(papers, subnet, InstanceType="t3.micro", Ipv6AddressCount=2)
    with refused("PrivateIpAddressLimitExceeded", "Number of IPv6 addresses will exceed limit."):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=instance.eni, Ipv6AddressCount=1)
    with refused("InvalidInterface.IpAddressLimitExceeded"):
        run(papers, subnet, InstanceType="t3.micro", Ipv6AddressCount=3)


def test_every_form_of_a_launch(ec2, papers, dual):
    subnet, block = dual
    [instance] = run(papers, subnet, Ipv6Addresses=[{"Ipv6Address": str(block[0x30])}],
                     EnablePrimaryIpv6=True)
    described = instance.describe()
    assert described["Ipv6Address"] == str(block[0x30])
    assert described["NetworkInterfaces"][0]["Ipv6Addresses"] == [
        {"Ipv6Address": str(block[0x30]), "IsPrimaryIpv6": True}]
    existing = papers.interface(subnet, Ipv6AddressCount=1)
    [instance] = run(papers, None, NetworkInterfaces=[
        {"DeviceIndex": 0, "SubnetId": subnet, "Ipv6AddressCount": 2, "PrimaryIpv6": True,
         "Ipv4PrefixCount": 1, "ConnectionTrackingSpecification": {"UdpTimeout": 45}},
        {"DeviceIndex": 1, "SubnetId": subnet, "Ipv6PrefixCount": 1,
         "SecondaryPrivateIpAddressCount": 2},
        {"DeviceIndex": 2, "NetworkInterfaceId": existing["NetworkInterfaceId"]}])
    first, second, third = instance.describe()["NetworkInterfaces"]
    assert [one["IsPrimaryIpv6"] for one in first["Ipv6Addresses"]] == [True, False]
    assert len(first["Ipv4Prefixes"]) == 1
    assert first["ConnectionTrackingConfiguration"] == {"UdpTimeout": 45}
    assert len(second["Ipv6Prefixes"]) == 1 and len(second["PrivateIpAddresses"]) == 3
    assert addresses(third) == addresses(existing)

    interface = {"DeviceIndex": 0, "SubnetId": subnet}
    with refused("InvalidParameterCombination"):
        run(papers, None, Ipv6AddressCount=1, NetworkInterfaces=[interface])
    with refused("InvalidParameterValue", "…You can and can only specify one of ipv6-addresses"):
        run(papers, None, NetworkInterfaces=[
            interface | {"Ipv6AddressCount": 1, "Ipv6PrefixCount": 1}])
    with refused("InvalidParameterCombination"):
        run(papers, None, NetworkInterfaces=[
            interface | {"SecondaryPrivateIpAddressCount": 1, "Ipv4PrefixCount": 1}])
    with refused("InvalidParameterCombination"):
        run(papers, None, NetworkInterfaces=[
            {"DeviceIndex": 0, "NetworkInterfaceId": existing["NetworkInterfaceId"],
             "Ipv6AddressCount": 1}])
    with refused("InvalidParameterCombination"):
        run(papers, subnet, MinCount=2, MaxCount=2,
            Ipv6Addresses=[{"Ipv6Address": str(block[0x40])}])
    with refused("UnsupportedOperation", "…efa"):
        run(papers, None, NetworkInterfaces=[interface | {"InterfaceType": "efa"}])


def test_idle_timeouts(ec2, papers, dual):
    subnet, _ = dual
    made = papers.interface(subnet, ConnectionTrackingSpecification={"TcpEstablishedTimeout": 350})
    eni = made["NetworkInterfaceId"]
    assert made["ConnectionTrackingConfiguration"] == {"TcpEstablishedTimeout": 350}
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=eni, ConnectionTrackingSpecification={"UdpStreamTimeout": 60})
    assert shown(ec2, eni)["ConnectionTrackingConfiguration"] == {
        "TcpEstablishedTimeout": 350, "UdpStreamTimeout": 60}
    for name, value in [("TcpEstablishedTimeout", 59), ("UdpStreamTimeout", 181),
                        ("UdpTimeout", 61), ("UdpTimeout", -1)]:
        with refused("InvalidParameterValue"):
            ec2.modify_network_interface_attribute(
                NetworkInterfaceId=eni, ConnectionTrackingSpecification={name: value})
    assert "ConnectionTrackingConfiguration" not in papers.interface(subnet)
