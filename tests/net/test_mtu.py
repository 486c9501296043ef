"""The longest packets: 9,001 bytes in a VPC, 8,500 through a NAT gateway, 1,500 to the internet.

        internet ---- internet gateway (1500) ---- 10.0.1.0/24: NAT gateway (8500), c (public address)
                                 |                      |
                                 +-------------- 10.0.0.0/24: a, b (public addresses)
"""

import ipaddress

import pytest

from support.lab import ANYWHERE
from support.network import allow
from support.rules import everything


def give_address(lab, instance):
    """Gives an instance an Elastic IP; its public address."""
    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance.id)
    return address["PublicIp"]


@pytest.fixture
def open_network(lab, network):
    """A VPC, a subnet with a route to the internet, and a group that lets everything pass."""
    vpc, subnet = lab.network()
    table = network.table(vpc, subnet)
    network.route(table, "0.0.0.0/0", lab.internet(vpc))
    return vpc, subnet, lab.group(vpc, "open", [everything(ANYWHERE)])


def reasons(lab, instance):
    return {flow["reason"] for flow in lab.daemon.json("flows")
            if flow["source_eni"] == instance.eni and flow["verdict"] == "drop"}


def test_inside_a_vpc_9001_bytes_pass(lab, open_network):
    _, subnet, group = open_network
    a, b = lab.launch(subnet, group, count=2)
    b.agent.serve_udp(port=7)
    assert a.agent.too_long(address=b.ip, port=7, length=9001 - 28, timeout=0.2) == "nobody"
    [message] = b.agent.received(port=7)
    assert message["length"] == 9001 - 28


def test_the_router_says_what_the_internet_takes(lab, internet, open_network):
    # Fails if packets of more than 1,500 bytes leave, or nobody tells their sender.
    _, subnet, group = open_network
    a = lab.instance(subnet, group)
    public = give_address(lab, a)
    me = internet.address(public)
    internet.agent.serve_udp(port=5354, address=me)
    for length in (1501, 4000, 9001):
        told = a.agent.too_long(address=me, port=5354, length=length - 28)
        assert told == [1500, "10.0.0.1"], length
    assert a.agent.too_long(address=me, port=5354, length=1500 - 28, timeout=0.2) == "nobody"
    assert [message["length"] for message in internet.agent.received(port=5354)
            if message["from"][0] == public] == [1472]
    assert reasons(lab, a) == {"too-big"}
    # Who may cut does so from now on.
    assert a.agent.datagram(address=me, port=5354, length=5000) == f"5000 {public}"
    assert a.agent.ping(address=me, length=3000) == "open"


def test_tcp_finds_the_length_by_itself(lab, open_network):
    # Both ends announce 8,961 bytes, and only 1,500 pass between their public addresses.
    _, subnet, group = open_network
    a, b = lab.launch(subnet, group, count=2)
    give_address(lab, a)
    public = give_address(lab, b)
    b.agent.serve_tcp(port=80)
    assert a.agent.connect(address=public, port=80, name="far") == "open"
    assert a.agent.exchange(name="far", length=1 << 20, timeout=10) == "open"
    assert reasons(lab, a) == {"too-big"}
    # By the private address nothing is too long.
    assert a.agent.connect(address=b.ip, port=80, name="near") == "open"
    assert a.agent.exchange(name="near", length=1 << 20, timeout=5) == "open"


def test_ipv6_senders_are_told_by_their_router(lab, internet, network):
    vpc = lab.vpc()
    lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    [described] = lab.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = ipaddress.ip_network(described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    subnet = lab.subnet(vpc)
    net = next(block.subnets(new_prefix=64))
    lab.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=str(net))
    table = network.table(vpc, subnet)
    network.route(table, "::/0", lab.internet(vpc))
    group = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    one = lab.instance(subnet, group, Ipv6AddressCount=1)
    own = one.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    me = internet.address(own)
    internet.agent.serve_udp(port=5355, address=me)
    told = one.agent.too_long(address=me, port=5355, length=1453)
    assert told == [1500, str(net.network_address + 1)]
    assert one.agent.too_long(address=me, port=5355, length=1452, timeout=0.2) == "nobody"
    assert [message["length"] for message in internet.agent.received(port=5355)
            if message["from"][0] == own] == [1452]
    assert one.agent.datagram(address=me, port=5355, length=4000) == f"4000 {own}"


def test_a_nat_gateway_says_it_itself(lab, internet, network, open_network):
    vpc, subnet, group = open_network
    hidden = lab.subnet(vpc, "10.0.1.0/24")
    address = lab.address()
    nat = network.nat_gateway(subnet, AllocationId=address["AllocationId"],
                              PrivateIpAddress="10.0.0.200")
    through = network.table(vpc, hidden)
    network.route(through, "0.0.0.0/0", nat)
    a = lab.instance(hidden, group)
    public = address["PublicIp"]
    me = internet.address(public)
    internet.agent.serve_udp(port=5356, address=me)
    assert a.agent.too_long(address=me, port=5356, length=8501 - 28) == [8500, "10.0.0.200"]
    assert a.agent.too_long(address=me, port=5356, length=1501 - 28) == [1500, "10.0.0.200"]
    assert a.agent.too_long(address=me, port=5356, length=1472, timeout=0.2) == "nobody"
    assert a.agent.datagram(address=me, port=5356, length=5000) == f"5000 {public}"
    # What the network ACL on the way does not let back is not heard.
    ports = (0, 65535)
    acl = network.acl(vpc, allow(100, 17, ports), allow(100, 17, ports, out=True))
    network.use_acl(acl, hidden)
    assert a.agent.too_long(address=me, port=5356, length=8501 - 28, timeout=0.3) == "nobody"


def test_through_a_private_nat_gateway_segments_fit(lab, network, open_network):
    # The gateway lowers what both ends announce: nothing is too long for it, and nobody has to be told.
    vpc, _, group = open_network
    subnet, between, far = (lab.subnet(vpc, f"10.0.{number}.0/24") for number in (3, 1, 2))
    nat = network.nat_gateway(between, ConnectivityType="private", PrivateIpAddress="10.0.1.200")
    through = network.table(vpc, subnet)
    network.route(through, "10.0.2.0/24", nat)
    client, server = lab.instance(subnet, group), lab.instance(far, group)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=7)
    assert client.agent.connect(address=server.ip, port=80, name="flow") == "open"
    assert client.agent.exchange(name="flow", length=1 << 20, timeout=5) == "open"
    assert reasons(lab, client) | reasons(lab, server) == set()
    told = client.agent.too_long(address=server.ip, port=7, length=8501 - 28)
    assert told == [8500, "10.0.1.200"]
    assert reasons(lab, client) == {"too-big"}
