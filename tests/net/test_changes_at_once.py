"""A change of rules is in force when it is answered: no test here waits after a call."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.lab import ANYWHERE
from support.rules import everything, tcp


@pytest.fixture
def pair(lab):
    """A server whose group has no ingress rules, and a client."""
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server")
    other = lab.group(vpc, "client")
    server = lab.instance(subnet, group)
    client = lab.instance(subnet, other)
    server.agent.serve_tcp(port=80)
    return server, client, group, other


def test_authorize_opens_and_revoke_closes(lab, pair):
    # Fails if an answer is given before the maps hold the change, in either direction.
    server, client, group, _ = pair
    rule = tcp(ANYWHERE, 80)
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    for _ in range(10):
        lab.authorize(group, rule)
        assert client.agent.connect(address=server.ip, port=80) == "open"
        lab.revoke(group, rule)
        assert client.agent.connect(address=server.ip, port=80, timeout=0.1) == "timeout"


def test_egress_revoke_closes_and_authorize_opens(lab, pair):
    # Fails if only ingress changes are awaited.
    server, client, group, other = pair
    lab.authorize(group, tcp(ANYWHERE, 80))
    for _ in range(3):
        lab.revoke_egress(other, everything(ANYWHERE))
        assert client.agent.connect(address=server.ip, port=80, timeout=0.1) == "timeout"
        lab.authorize_egress(other, everything(ANYWHERE))
        assert client.agent.connect(address=server.ip, port=80) == "open"


@pytest.mark.parametrize("peer", ["the client's address", "the client's group"])
def test_tracked_connection_survives_the_revoke(lab, pair, peer):
    # Fails if rules are judged per packet for tracked flows, or the flow table is flushed.
    server, client, group, other = pair
    rule = tcp(f"{client.ip}/32" if peer == "the client's address" else other, 80)
    lab.authorize(group, rule)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    lab.revoke(group, rule)
    assert client.agent.exchange(name="old") == "open"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    # And it still does after other changes of the same policy.
    lab.authorize(group, tcp(ANYWHERE, 443))
    assert client.agent.exchange(name="old") == "open"


def test_untracked_connection_is_cut_by_the_revoke(lab, pair):
    # Fails if flows of an any-peer rule beside an open other direction count as tracked.
    server, client, group, _ = pair
    rule = tcp(ANYWHERE, 80)
    lab.authorize(group, rule)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    assert client.agent.exchange(name="old") == "open"
    lab.revoke(group, rule)
    assert client.agent.exchange(name="old") == "timeout"
    # The rule comes back, and so does the flow: TCP sends again what was lost.
    lab.authorize(group, rule)
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_connection_without_open_egress_is_tracked(lab):
    # Fails if an any-peer ingress rule alone makes a flow untracked: the other direction counts.
    vpc, subnet = lab.network()
    rule = tcp(ANYWHERE, 80)
    group = lab.group(vpc, "server", [rule], egress=[])
    server = lab.instance(subnet, group)
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    lab.revoke(group, rule)
    assert client.agent.exchange(name="old") == "open"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"


def test_modified_rule_is_in_force(lab, pair):
    # Fails if ModifySecurityGroupRules does not reach the maps, or forgets the old rule there.
    server, client, group, _ = pair
    server.agent.serve_tcp(port=81)
    [rule] = lab.authorize(group, tcp(ANYWHERE, 80))
    lab.ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        "SecurityGroupRuleId": rule,
        "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81,
                              "CidrIpv4": ANYWHERE}}])
    assert client.agent.connect(address=server.ip, port=81) == "open"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"


def test_changed_groups_are_in_force(lab, pair):
    # Fails if an ENI keeps its old policy after ModifyNetworkInterfaceAttribute.
    server, client, group, other = pair
    lab.authorize(group, tcp(ANYWHERE, 80))
    assert client.agent.connect(address=server.ip, port=80) == "open"
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=server.eni, Groups=[other])
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=server.eni,
                                               Groups=[other, group])
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_many_clients_at_once(lab, pair):
    # Fails if a call is answered for a commit that another one's tables have not taken in yet.
    server, client, group, _ = pair
    for port in range(1000, 1040):
        server.agent.serve_tcp(port=port)

    def authorize_and_try(port):
        lab.authorize(group, tcp(ANYWHERE, port))
        opened = client.agent.connect(address=server.ip, port=port, timeout=0.9)
        lab.revoke(group, tcp(ANYWHERE, port))
        return opened, client.agent.connect(address=server.ip, port=port, timeout=0.2)

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(authorize_and_try, range(1000, 1040)))
    assert results == {("open", "timeout")}
