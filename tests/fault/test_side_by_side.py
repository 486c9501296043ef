"""Two daemons on one host: the same addresses, and neither sees the other."""

import pytest

from support.lab import ANYWHERE, Lab
from support.rules import everything

pytestmark = pytest.mark.real_packets


def test_two_daemons(start_daemon):
    # Fails if pins, devices, names or keys are shared between data directories.
    daemons = [start_daemon("ebpf"), start_daemon("ebpf")]
    ends = []
    for daemon in daemons:
        lab = Lab(daemon)
        vpc, subnet = lab.network()
        group = lab.group(vpc, "open", [everything(ANYWHERE)])
        ends.append([lab.instance(subnet, group, PrivateIpAddress=f"10.0.0.{host}")
                     for host in (10, 11)])
    for number, (client, server) in enumerate(ends):
        server.agent.serve_udp(port=7)
        sent = client.agent.datagram(address="10.0.0.11", port=7, text=f"of {number}")
        assert sent == "4 10.0.0.10"
    for number, (_, server) in enumerate(ends):
        assert [one["text"] for one in server.agent.received(port=7)] == [f"of {number}"]
        assert daemons[number].json("verify")["agree"]

    first, second = daemons
    seen = {flow["source_eni"] for flow in second.json("flows")}
    assert ends[1][0].eni in seen and ends[0][0].eni not in seen
    assert second.run("exec", ends[0][0].id, "--", "true", check=False).returncode != 0
    keys = first.environment()
    with pytest.raises(Exception, match="AuthFailure"):
        second.client(keys=keys).describe_vpcs()

    # One goes, the other stays.
    for instance in ends[0]:
        instance.forget_agent()
    first.down()
    client, server = ends[1]
    assert client.agent.ping(address=server.ip) == "open"
    assert second.json("verify")["agree"]
