"""Network ACLs judge what crosses the edge of a subnet, each packet on its own.

        subnet 10.0.0.0/24           subnet 10.0.1.0/24
        client, neighbour            server
"""

import pytest

from support.lab import ANYWHERE
from support.network import allow, deny
from support.rules import everything


@pytest.fixture
def ends(lab):
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, neighbour = lab.launch(near, group, count=2)
    server = lab.instance(far, group)
    server.agent.serve_tcp(port=80)
    server.agent.serve_tcp(port=81)
    server.agent.serve_udp(port=53)
    return vpc, near, far, client, neighbour, server


def reasons(lab, sender):
    """Why packets of an instance were dropped, by destination port."""
    return {flow["destination_port"]: flow["reason"] for flow in lab.daemon.json("flows")
            if flow["verdict"] == "drop" and flow["source_eni"] == sender.eni}


def test_an_empty_list_cuts_what_crosses_and_nothing_else(lab, network, ends):
    vpc, _, far, client, neighbour, server = ends
    neighbour.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, name="far") == "open"
    assert client.agent.connect(address=neighbour.ip, port=80, name="near") == "open"
    empty = network.acl(vpc)
    network.use_acl(empty, far)
    # The connection is tracked by the groups at both ends, and is cut all the same.
    assert client.agent.exchange(name="far") == "timeout"
    assert client.agent.exchange(name="near") == "open"
    assert client.agent.connect(address=server.ip, port=81) == "timeout"
    assert reasons(lab, client)[81] == "acl-ingress"
    network.entry(empty, allow(100))
    network.entry(empty, allow(100, out=True))
    assert client.agent.connect(address=server.ip, port=81) == "open"


def test_answers_need_an_entry_of_their_own(lab, network, ends):
    vpc, near, _, client, _, server = ends
    one_way = network.acl(vpc, allow(100, 17, 53, out=True))
    network.use_acl(one_way, near)
    assert client.agent.datagram(address=server.ip, port=53, name="asks") == "timeout"
    [message] = server.agent.received(port=53)
    assert message["from"][0] == client.ip
    network.entry(one_way, allow(100, 17, (1024, 65535)))
    assert client.agent.datagram(address=server.ip, port=53, name="asks") == f"5 {client.ip}"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    assert reasons(lab, client)[80] == "acl-egress"
    assert client.agent.ping(address=server.ip) == "timeout"
    network.entry(one_way, allow(110, 1, out=True))
    network.entry(one_way, allow(110, 1))
    assert client.agent.ping(address=server.ip) == "open"


@pytest.mark.parametrize("order, outcome", [((90, 100), "timeout"), ((110, 100), "open")])
def test_the_lowest_number_decides(lab, network, ends, order, outcome):
    vpc, _, far, client, _, server = ends
    denying, allowing = order
    acl = network.acl(vpc, deny(denying, 6, 80, block=client.ip + "/32"),
                      allow(allowing), allow(100, out=True))
    network.use_acl(acl, far)
    assert client.agent.connect(address=server.ip, port=80) == outcome
    assert client.agent.connect(address=server.ip, port=81) == "open"


def test_entries_say_which_let_a_flow_pass(lab, network, ends):
    vpc, _, far, client, _, server = ends
    acl = network.acl(vpc, allow(7, 17, (0, 65535)), allow(32766, 17, (0, 65535), out=True))
    network.use_acl(acl, far)
    assert client.agent.datagram(address=server.ip, port=53) == f"5 {client.ip}"
    entries = {flow["reply"]: flow["acl_entries"] for flow in lab.daemon.json("flows")
               if flow["verdict"] == "forward" and flow["protocol"] == 17
               and client.eni in (flow["source_eni"], flow["destination_eni"])}
    assert entries == {False: [0, 7], True: [32766]}
