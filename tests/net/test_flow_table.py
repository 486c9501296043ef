"""A flow table that is full takes no new flow, and keeps the old ones."""

import pytest

from support.daemon import DEFAULT_CONFIG
from support.lab import ANYWHERE, Lab
from support.rules import everything

pytestmark = pytest.mark.real_packets

ENTRIES = 64  # A connection has two.


def test_full_table(start_daemon):
    # Fails if flows are evicted, pass untracked, or are dropped without a reason.
    daemon = start_daemon("ebpf", config=f"{DEFAULT_CONFIG}[datapath]\nflow_entries = {ENTRIES}\n")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    server, client = lab.launch(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]), count=2)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=7)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    for _ in range(2 * ENTRIES):
        client.agent.datagram(address=server.ip, port=7, wait=False)
    assert client.agent.connect(address=server.ip, port=80, timeout=0.2) == "timeout"
    assert client.agent.exchange(name="old") == "open"
    shown = [flow for flow in daemon.json("flows") if flow["source_eni"] == client.eni]
    assert {flow["reason"] for flow in shown if flow["verdict"] == "drop"} == {"flow-table-full"}
    carried = [flow for flow in daemon.json("flows") if flow["verdict"] == "forward"]
    assert len(carried) <= ENTRIES
    lab.close()
