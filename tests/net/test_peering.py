"""Peering connections: two VPCs, routes both ways, and no way through.

        vpc a: 10.1.0.0/16 --- vpc b: 10.2.0.0/16 --- vpc c: 10.3.0.0/16
"""

import pytest

from support.lab import ANYWHERE
from support.rules import everything, udp


@pytest.fixture
def vpcs(lab):
    """An instance in each VPC, and the VPC's main table."""
    ends = []
    for number in (1, 2, 3):
        vpc, subnet = lab.network(f"10.{number}.0.0/16")
        group = lab.group(vpc, "own")
        one = lab.instance(subnet, group)
        one.agent.serve_udp(port=7)
        filters = [{"Name": "vpc-id", "Values": [vpc]}]
        [table] = lab.ec2.describe_route_tables(Filters=filters)["RouteTables"]
        ends.append((vpc, table["RouteTableId"], group, one))
    return ends


def asks(one, other):
    return one.agent.datagram(address=other.ip, port=7)


def test_peers_meet_where_routes_and_rules_say_so(lab, network, vpcs):
    (vpc_a, table_a, group_a, a), (vpc_b, table_b, group_b, b), (_, table_c, group_c, c) = vpcs
    for group in (group_a, group_b, group_c):
        lab.authorize(group, everything(ANYWHERE))
    connection = network.peer(vpc_a, vpc_b)
    assert asks(a, b) == "timeout"
    network.route(table_a, "10.2.0.0/16", connection)
    # There, and not back.
    assert asks(a, b) == "timeout"
    assert [message["from"][0] for message in b.agent.received(port=7)] == [a.ip]
    network.route(table_b, "10.1.0.0/16", connection)
    assert asks(a, b) == f"5 {a.ip}"
    assert asks(b, a) == f"5 {b.ip}"

    # What lies behind the peer stays out of reach, whatever routes say.
    second = network.peer(vpc_b, vpcs[2][0])
    network.route(table_b, "10.3.0.0/16", second)
    network.route(table_c, "10.2.0.0/16", second)
    network.route(table_c, "10.1.0.0/16", second)
    network.route(table_a, "10.3.0.0/16", connection)
    assert asks(b, c) == f"5 {b.ip}"
    assert asks(a, c) == "timeout"
    assert c.agent.received(port=7)[-1]["from"][0] == b.ip

    # The end of the connection is the end of its flows.
    lab.ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=connection)
    assert network.route_state(table_a, "10.2.0.0/16") == "blackhole"
    assert asks(a, b) == "timeout"
    assert asks(b, c) == f"5 {b.ip}"


def test_groups_are_known_across_a_peering_connection(lab, network, vpcs):
    # Fails if the remote's groups are looked up in one VPC only.
    (vpc_a, table_a, group_a, a), (vpc_b, table_b, group_b, b), _ = vpcs
    connection = network.peer(vpc_a, vpc_b)
    network.route(table_a, "10.2.0.0/16", connection)
    network.route(table_b, "10.1.0.0/16", connection)
    assert asks(a, b) == "timeout"
    lab.authorize(group_b, udp(group_a, 7))
    assert asks(a, b) == f"5 {a.ip}"
    assert asks(b, a) == "timeout"
