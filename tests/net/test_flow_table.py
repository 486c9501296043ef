"""A flow table with no room left takes no new flow, and keeps the old ones; none fills it for all."""

import pytest

from support.daemon import DEFAULT_CONFIG
from support.lab import ANYWHERE, Lab
from support.rules import everything
from support.until import until

pytestmark = pytest.mark.real_packets


def laboratory(start_daemon, entries, count):
    """A daemon with so many flow entries (a connection has two), and instances that let all pass."""
    config = f"{DEFAULT_CONFIG}[datapath]\nflow_entries = {entries}\n"
    lab = Lab(start_daemon("ebpf", config=config))
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    instances = lab.launch(subnet, group, count=count)
    for instance in instances:
        instance.agent.serve_tcp(port=80)
        instance.agent.serve_udp(port=7)
    return lab, instances


def dropped(lab, instance):
    """Why packets were dropped at the instance's interface."""
    [interface] = lab.daemon.json("counters", instance.eni)["interfaces"]
    return interface["drops"]


def test_one_that_opens_without_end_leaves_room_for_others(start_daemon):
    # Fails if one instance can take every entry: others could open no connection any more.
    lab, (server, client, third, fourth) = laboratory(start_daemon, entries=96, count=4)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    for _ in range(200):
        client.agent.datagram(address=server.ip, port=7, wait=False)
    assert client.agent.connect(address=server.ip, port=80, timeout=0.2) == "timeout"
    assert set(dropped(lab, client)) | set(dropped(lab, server)) == {"flow-share"}
    shown = [flow for flow in lab.daemon.json("flows") if flow["source_eni"] == client.eni]
    assert {flow["reason"] for flow in shown if flow["verdict"] == "drop"} == {"flow-share"}
    assert client.agent.exchange(name="old") == "open"
    for _ in range(5):
        assert third.agent.connect(address=fourth.ip, port=80) == "open"
    assert not dropped(lab, third) and not dropped(lab, fourth)
    lab.close()


def test_full_table(start_daemon):
    # Fails if flows are evicted, pass untracked, or are dropped without a reason; or if the room that
    # the sweep makes is not given back.
    lab, (a, b, c, d) = laboratory(start_daemon, entries=8, count=4)
    assert a.agent.connect(address=b.ip, port=80, name="old") == "open"
    for _ in range(2):
        assert a.agent.connect(address=b.ip, port=80) == "open"
    assert c.agent.connect(address=d.ip, port=80, name="other") == "open"
    table = lab.daemon.json("counters")["flow_table"]
    assert table == {"entries": 8, "entries_max": 8}
    assert c.agent.connect(address=d.ip, port=80, timeout=0.2) == "timeout"
    shown = [flow for flow in lab.daemon.json("flows") if flow["verdict"] == "drop"]
    assert {flow["reason"] for flow in shown} == {"flow-table-full"}, shown
    assert a.agent.exchange(name="old") == "open"
    assert c.agent.exchange(name="other") == "open"
    # Two of A's connections are closed: ten seconds later they are over, and the sweep finds them.
    until(lambda: c.agent.connect(address=d.ip, port=80, timeout=0.2) == "open",
          "a new connection finds room", within=25)
    assert a.agent.exchange(name="old") == "open"
    lab.close()
