"""VPCs with the same addresses never meet.

        vpc 1: 10.0.0.10 --- 10.0.0.11          vpc 2: 10.0.0.10 --- 10.0.0.11
"""

from support.lab import ANYWHERE
from support.rules import everything


def test_overlapping_vpcs(lab):
    # Fails if endpoints or flows are keyed by address without the VPC.
    ends = []
    for _ in range(2):
        vpc, subnet = lab.network()
        group = lab.group(vpc, "open", [everything(ANYWHERE)])
        ends.append([lab.instance(subnet, group, PrivateIpAddress=f"10.0.0.{host}")
                     for host in (10, 11)])
    for _, server in ends:
        server.agent.serve_udp(port=7)
    for number, (client, server) in enumerate(ends):
        # The same five-tuple in both.
        sent = client.agent.datagram(address="10.0.0.11", port=7, source_port=4000,
                                     text=f"vpc {number}")
        assert sent == "5 10.0.0.10"
    for number, (_, server) in enumerate(ends):
        assert [message["text"] for message in server.agent.received(port=7)] == [f"vpc {number}"]


def test_an_address_of_the_other_vpc_is_nowhere(lab):
    # Fails if routing leaves the VPC: 10.0.0.50 exists only in the second one.
    vpc, subnet = lab.network()
    client = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]))
    other_vpc, other_subnet = lab.network()
    open_group = lab.group(other_vpc, "open", [everything(ANYWHERE)])
    alone = lab.instance(other_subnet, open_group, PrivateIpAddress="10.0.0.50")
    near = lab.instance(other_subnet, open_group)
    alone.agent.serve_tcp(port=80)
    assert near.agent.connect(address="10.0.0.50", port=80) == "open"
    assert client.agent.connect(address="10.0.0.50", port=80) in ("timeout", "unreachable")


def test_the_host_and_the_internet_are_out_of_reach(lab):
    # Fails if instances see the host's stack or its routes: there is no gateway in this VPC.
    vpc, subnet = lab.network()
    near, client = lab.launch(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]), count=2)
    port = lab.daemon.port
    near.agent.serve_tcp(port=port)
    probes = [client.agent.start("connect", address=address, port=port)
              for address in ("198.51.100.1", "10.0.0.1", "169.254.169.254")]
    assert client.agent.connect(address=near.ip, port=port) == "open"
    for probe in probes:
        assert probe.result(5) in ("timeout", "unreachable")
