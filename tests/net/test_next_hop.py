"""Next hops inside a subnet, by MAC address.

        10.0.0.0/24: client ── forwarder            10.0.1.0/24: server
                        (the client's own route leads to it)
"""

import pytest

from support.lab import ANYWHERE
from support.rules import everything, tcp


@pytest.fixture
def three(lab):
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, forwarder = lab.launch(near, group, count=2)
    server = lab.instance(far, group)
    server.agent.serve_tcp(port=80)
    client.exec("ip", "route", "add", "10.0.1.0/24", "via", forwarder.ip)
    return vpc, near, client, forwarder, server


def forwards(lab, instance, does):
    instance.exec("sh", "-c", f"echo {int(does)} > /proc/sys/net/ipv4/ip_forward")
    # The router says nothing of better ways: redirects would.
    instance.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects;"
                              "echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects")
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=instance.eni,
                                               SourceDestCheck={"Value": not does})


def reasons(lab, sender):
    return {flow["reason"] for flow in lab.daemon.json("flows")
            if flow["verdict"] == "drop" and flow["source_eni"] == sender.eni}


def test_a_neighbour_that_forwards_gets_what_is_sent_to_its_mac(lab, network, three):
    vpc, near, client, forwarder, server = three
    # The check is on: it takes nothing for others.
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert reasons(lab, client) == {"destination-check"}
    forwards(lab, forwarder, True)
    # Past the client's own route table, which leads nowhere: the forwarder's copy asks it.
    forwarder.agent.sniff(device="eth0")
    assert client.agent.connect(address=server.ip, port=80, name="by") == "open"
    assert forwarder.agent.sniffed(device="eth0") != []
    forwarder.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert client.agent.exchange(name="by") == "timeout"
    forwards(lab, forwarder, True)
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_its_group_is_asked(lab, three):
    vpc, near, client, forwarder, server = three
    forwards(lab, forwarder, True)
    server.agent.serve_tcp(port=81)
    guards = lab.group(vpc, "guards", [tcp("10.0.0.0/24", 80)])
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=forwarder.eni, Groups=[guards])
    assert client.agent.connect(address=server.ip, port=80) == "open"
    assert client.agent.connect(address=server.ip, port=81) == "timeout"
    assert reasons(lab, client) == {"ingress-rule"}


def test_no_route_table_is_asked_before_the_neighbour(lab, network, three):
    vpc, near, client, forwarder, server = three
    forwards(lab, forwarder, True)
    # To an address that no route is for: it reaches the neighbour, and goes no further.
    client.exec("ip", "route", "add", "192.0.2.0/24", "via", forwarder.ip)
    assert client.agent.datagram(address="192.0.2.9", port=7) == "timeout"
    assert reasons(lab, client) == set()
    assert reasons(lab, forwarder) == {"no-route"}
    # By the router it ends at once.
    client.exec("ip", "route", "del", "192.0.2.0/24")
    assert client.agent.datagram(address="192.0.2.9", port=7) == "timeout"
    assert reasons(lab, client) == {"no-route"}


def test_a_mac_of_another_subnet_is_nobodys(lab, three):
    _, _, client, forwarder, server = three
    forwards(lab, server, True)
    mac = server.agent.mac(device="eth0")
    client.exec("ip", "neigh", "replace", forwarder.ip, "lladdr", mac, "dev", "eth0", "nud",
                "permanent")
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert reasons(lab, client) == {"destination-mac"}


def test_link_local_addresses_reach_neighbours(lab):
    vpc = lab.vpc()
    lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    [described] = lab.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    subnet = lab.subnet(vpc)
    lab.ec2.associate_subnet_cidr_block(SubnetId=subnet,
                                        Ipv6CidrBlock=block.replace("/56", "/64"))
    closed = lab.group(vpc, "closed")
    a, b = lab.launch(subnet, closed, count=2, Ipv6AddressCount=1)

    def on_link(instance):
        shown = instance.exec("ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link")
        return shown.stdout.split("inet6 ")[1].split("/")[0]

    there = on_link(b) + "%eth0"
    assert a.agent.ping(address=there) == "timeout"
    lab.authorize(closed, everything(closed))
    assert a.agent.ping(address=there) == "open"
    # One that is not made from the MAC is nobody's.
    b.exec("ip", "address", "add", "fe80::1234/64", "dev", "eth0")
    assert a.agent.ping(address="fe80::1234%eth0") in ("timeout", "unreachable")
