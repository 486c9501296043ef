"""IPv6: the same gates and routes, and no translation.

        internet ---- internet gateway ---- :1::/64: a, b      :2::/64: c
"""

import ipaddress

import pytest

from support.lab import ANYWHERE
from support.network import allow
from support.rules import everything, permission


@pytest.fixture
def vpc(lab):
    vpc = lab.vpc()
    lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    return vpc


@pytest.fixture
def subnets(lab, vpc):
    """Two subnets with a /64 each."""
    [described] = lab.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = ipaddress.ip_network(described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    parts = block.subnets(new_prefix=64)
    made = [lab.subnet(vpc, f"10.0.{number}.0/24") for number in range(2)]
    for subnet in made:
        lab.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=str(next(parts)))
    return made


def launch(lab, subnet, group):
    """An instance with one IPv6 address, which it also has in itself."""
    one = lab.instance(subnet, group, Ipv6AddressCount=1)
    one.ip6 = one.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    one.agent.serve_udp(port=7, address="::")
    one.agent.serve_tcp(port=80, address="::")
    return one


def open_group(lab, vpc):
    return lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])


def test_within_a_subnet_and_across(lab, vpc, subnets):
    group = open_group(lab, vpc)
    a, b = (launch(lab, subnets[0], group) for _ in range(2))
    c = launch(lab, subnets[1], group)
    for other in (b, c):
        assert a.agent.datagram(address=other.ip6, port=7) == f"5 {a.ip6}"
        assert a.agent.connect(address=other.ip6, port=80, name=other.ip6) == "open"
        assert a.agent.exchange(name=other.ip6, length=1 << 20, timeout=5) == "open"
        assert a.agent.ping(address=other.ip6) == "open"
    assert c.agent.datagram(address=a.ip6, port=7) == f"5 {c.ip6}"


def test_ipv4_rules_are_not_for_ipv6(lab, vpc, subnets):
    group = lab.group(vpc, "ipv4", [everything(ANYWHERE)])
    a, b = (launch(lab, subnets[0], group) for _ in range(2))
    b.agent.serve_tcp(port=81)
    assert a.agent.connect(address=b.ip, port=81) == "open"
    assert a.agent.datagram(address=b.ip6, port=7) == "timeout"
    lab.authorize(group, permission("udp", a.ip6 + "/128", 7))
    assert a.agent.datagram(address=b.ip6, port=7) == f"5 {a.ip6}"
    assert a.agent.connect(address=b.ip6, port=80) == "timeout"
    lab.authorize(group, permission("tcp", group, 80))
    assert a.agent.connect(address=b.ip6, port=80) == "open"


def test_lists_judge_ipv6_by_entries_of_its_own(lab, network, vpc, subnets):
    group = open_group(lab, vpc)
    a, c = launch(lab, subnets[0], group), launch(lab, subnets[1], group)
    acl = network.acl(vpc, allow(100), allow(100, out=True))
    network.use_acl(acl, subnets[1])
    assert a.agent.datagram(address=c.ip6, port=7) == "timeout"
    network.entry(acl, allow(200, block="::/0"))
    network.entry(acl, allow(200, block="::/0", out=True))
    assert a.agent.datagram(address=c.ip6, port=7) == f"5 {a.ip6}"


def test_addresses_come_and_go_while_it_runs(lab, vpc, subnets):
    group = open_group(lab, vpc)
    a = launch(lab, subnets[0], group)
    late = lab.instance(subnets[1], group)
    assigned = lab.ec2.assign_ipv6_addresses(NetworkInterfaceId=late.eni, Ipv6AddressCount=1)
    [address] = assigned["AssignedIpv6Addresses"]
    late.agent.serve_udp(port=7, address="::")
    assert a.agent.datagram(address=address, port=7) == f"5 {a.ip6}"
    assert late.agent.datagram(address=a.ip6, port=7) == f"5 {address}"
    lab.ec2.unassign_ipv6_addresses(NetworkInterfaceId=late.eni, Ipv6Addresses=[address])
    assert a.agent.datagram(address=address, port=7) == "timeout"


def test_a_delegated_prefix_is_the_instances_own(lab, vpc, subnets):
    group = open_group(lab, vpc)
    a, c = launch(lab, subnets[0], group), launch(lab, subnets[1], group)
    assigned = lab.ec2.assign_ipv6_addresses(NetworkInterfaceId=c.eni, Ipv6PrefixCount=1)
    prefix = ipaddress.ip_network(assigned["AssignedIpv6Prefixes"][0])
    own = str(prefix[77])
    # Nothing is configured for it in the instance: that is its own matter, as on AWS.
    assert a.agent.datagram(address=own, port=7) in ("timeout", "unreachable")
    c.exec("ip", "addr", "add", own + "/128", "dev", "lo")
    c.agent.serve_udp(port=8, address=own)
    assert a.agent.datagram(address=own, port=8) == f"5 {a.ip6}"
    assert a.agent.connect(address=own, port=80) == "open"
    assert c.agent.datagram(address=a.ip6, port=7, source=own) == f"5 {own}"


def test_to_the_internet_and_back_without_translation(lab, network, internet, vpc, subnets):
    group = open_group(lab, vpc)
    a = launch(lab, subnets[0], group)
    me = internet.address(a.ip6)
    internet.agent.serve_udp(port=5353, address=me)
    internet.agent.serve_tcp(port=8080, address=me)
    assert a.agent.datagram(address=me, port=5353) == "timeout"
    gateway = lab.internet(vpc)
    table = network.table(vpc, subnets[0])
    network.route(table, "::/0", gateway)
    assert a.agent.datagram(address=me, port=5353) == f"5 {a.ip6}"
    assert a.agent.connect(address=me, port=8080, name="out") == "open"
    assert a.agent.exchange(name="out", length=1 << 20, timeout=5) == "open"
    assert a.agent.ping(address=me) == "open"
    assert internet.agent.datagram(address=a.ip6, port=7) == f"5 {me}"
    assert internet.agent.ping(address=a.ip6) == "open"
    network.unroute(table, "::/0")
    assert a.agent.exchange(name="out") == "timeout"


def test_an_egress_only_gateway_lets_answers_in_and_nothing_else(lab, network, internet, vpc,
                                                                 subnets):
    group = open_group(lab, vpc)
    a = launch(lab, subnets[0], group)
    me = internet.address(a.ip6)
    internet.agent.serve_udp(port=5353, address=me)
    table = network.table(vpc, subnets[0])
    gateway = network.egress_only_gateway(vpc)
    network.route(table, "::/0", gateway)
    assert a.agent.datagram(address=me, port=5353, source_port=7000,
                            name="asks") == f"5 {a.ip6}"
    assert a.agent.ping(address=me) == "open"
    # By any other port nobody comes in, though the group would let them.
    assert internet.agent.datagram(address=a.ip6, port=7) == "timeout"
    assert internet.agent.ping(address=a.ip6) == "timeout"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["destination"] == a.ip6 and flow["verdict"] == "drop"}
    assert reasons == {"no-internet-gateway"}
    assert a.agent.datagram(address=me, port=5353, name="asks") == f"5 {a.ip6}"
    # Errors about what went out come back as well.
    assert a.agent.datagram(address=me, port=9999) == "refused"
