"""Route tables decide where packets go that leave their subnet.

        10.0.0.0/24: client     10.0.1.0/24: server     10.0.2.0/24: middlebox
"""

import pytest

from support.lab import ANYWHERE
from support.rules import everything


@pytest.fixture
def ends(lab):
    vpc, near = lab.network()
    far, between = (lab.subnet(vpc, f"10.0.{number}.0/24") for number in (1, 2))
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, server = lab.instance(near, group), lab.instance(far, group)
    server.agent.serve_tcp(port=80)
    return vpc, (near, far, between), group, client, server


def dropped(lab, sender):
    """The reasons of what an instance could not send."""
    return {flow["reason"] for flow in lab.daemon.json("flows")
            if flow["verdict"] == "drop" and flow["source_eni"] == sender.eni}


def test_the_way_out_is_what_the_table_says(lab, network, internet, ends):
    vpc, (near, _, _), _, client, _ = ends
    gateway = lab.internet(vpc)
    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=client.id)
    me = internet.address(address["PublicIp"])
    internet.agent.serve_tcp(port=8080, address=me)
    client.agent.serve_udp(port=7)
    assert client.agent.connect(address=me, port=8080) == "timeout"
    assert dropped(lab, client) == {"no-route"}
    # A packet comes in without a route, and its answer does not go out.
    assert internet.agent.datagram(address=address["PublicIp"], port=7) == "timeout"
    assert client.agent.received(port=7)[0]["from"][0] == me

    table = network.table(vpc, near)
    network.route(table, "0.0.0.0/0", gateway)
    assert client.agent.connect(address=me, port=8080, name="out") == "open"
    assert internet.agent.datagram(address=address["PublicIp"], port=7) == f"5 {me}"
    # Only a part of the internet, and established flows are no exception.
    network.route(table, "203.0.113.0/24", gateway)
    network.unroute(table, "0.0.0.0/0")
    assert client.agent.exchange(name="out") == "timeout"
    assert client.agent.ping(address="203.0.113.9") == "timeout"


def test_a_middlebox_gets_what_a_more_specific_route_gives_it(lab, network, ends):
    vpc, (near, far, between), group, client, server = ends
    middlebox = lab.instance(between, group)
    middlebox.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    there, back = network.table(vpc, near), network.table(vpc, far)
    network.route(there, "10.0.1.0/24", middlebox.eni)
    network.route(back, "10.0.0.0/24", middlebox.eni)
    middlebox.agent.sniff(device="eth0")
    # Its own check is still on: packets for others are dropped before it.
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert dropped(lab, client) == {"destination-check"}
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=middlebox.eni,
                                               SourceDestCheck={"Value": False})
    assert client.agent.connect(address=server.ip, port=80, name="through") == "open"
    middlebox.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert client.agent.exchange(name="through") == "timeout"
    middlebox.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert client.agent.connect(address=server.ip, port=80) == "open"

    assert network.route_state(there, "10.0.1.0/24") == "active"
    middlebox.forget_agent()
    lab.ec2.stop_instances(InstanceIds=[middlebox.id])
    assert network.route_state(there, "10.0.1.0/24") == "blackhole"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert "blackhole" in dropped(lab, client)
    network.unroute(there, "10.0.1.0/24")
    network.unroute(back, "10.0.0.0/24")
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_the_main_table_is_for_subnets_without_one(lab, network, ends):
    vpc, (near, far, _), _, client, server = ends
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    [main] = lab.ec2.describe_route_tables(Filters=filters)["RouteTables"]
    # A route to a target that is down, for all subnets, then for all but the client's.
    network.route(main["RouteTableId"], "10.0.1.0/24", lab.interface(near)["NetworkInterfaceId"])
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert dropped(lab, client) == {"blackhole"}
    network.table(vpc, near)
    assert client.agent.connect(address=server.ip, port=80) == "open"
    network.unroute(main["RouteTableId"], "10.0.1.0/24")
