"""Injected faults: real packets stop, and pass again when the fault is lifted.

        zone us-east-1a: a, b        zone us-east-1b: c
"""

import time

import pytest

from support.lab import ANYWHERE
from support.rules import everything
from support.until import until


@pytest.fixture
def ends(lab):
    vpc, first = lab.network()
    second = lab.subnet(vpc, "10.0.1.0/24", zone="us-east-1b")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    a, b = lab.launch(first, group, count=2)
    (c,) = lab.launch(second, group)
    for one in (a, b, c):
        one.agent.serve_tcp(port=80)
    yield a, b, c
    lab.daemon.run("fault", "clear")


def standing(lab):
    return [(it["fault"], it["keep"]) for it in lab.daemon.json("fault", "list")]


def opens(one, other):
    return one.agent.connect(address=other.ip, port=80)


def test_a_zone_stops_and_comes_back(lab, ends):
    a, b, c = ends
    assert opens(a, b) == opens(c, a) == "open"
    assert a.agent.connect(address=c.ip, port=80, name="kept") == "open"
    lab.daemon.run("fault", "zone", "us-east-1a")
    assert standing(lab) == [("zone us-east-1a", False)]
    # Inside the zone, into it and out of it; what is established stops with the rest.
    assert opens(a, b) == opens(c, a) == opens(a, c) == "timeout"
    assert a.agent.exchange(name="kept", length=10, timeout=1) == "timeout"
    enis = {one.eni for one in ends}
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["verdict"] == "drop" and flow["source_eni"] in enis}
    assert reasons == {"fault"}
    lab.daemon.run("fault", "clear")
    assert standing(lab) == []
    assert opens(a, b) == opens(c, a) == "open"
    assert lab.daemon.json("verify")["differences"] == []


def test_a_target_stops_and_its_time_lifts_it(lab, ends):
    a, b, c = ends
    lab.daemon.run("fault", "target", b.id, "--for", "2s")
    began = time.monotonic()
    assert opens(a, b) == "timeout" and opens(a, c) == "open"
    until(lambda: standing(lab) == [], "the fault is lifted", within=10)
    assert time.monotonic() - began < 6
    assert opens(a, b) == "open"
    lab.daemon.run("fault", "target", c.eni)
    assert opens(a, c) == "timeout" and opens(a, b) == "open"


def test_a_nat_gateway_without_ports_refuses_what_is_new(lab, network, internet):
    vpc, hidden = lab.network()
    public = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    out = network.table(vpc, public)
    network.route(out, ANYWHERE, lab.internet(vpc))
    address = lab.address()
    nat = network.nat_gateway(public, AllocationId=address["AllocationId"])
    network.route(network.table(vpc, hidden), ANYWHERE, nat)
    [a] = lab.launch(hidden, group)
    me = internet.address(address["PublicIp"])
    internet.agent.serve_tcp(port=8080, address=me)
    assert a.agent.connect(address=me, port=8080, name="kept") == "open"
    lab.daemon.run("fault", "nat-ports", nat)
    assert a.agent.connect(address=me, port=8080) == "timeout"
    assert a.agent.exchange(name="kept") == "open"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows") if flow["verdict"] == "drop"}
    assert "nat-port-allocation" in reasons
    lab.daemon.run("fault", "clear")
    assert a.agent.connect(address=me, port=8080) == "open"


def test_a_fault_ends_with_the_daemon_unless_it_is_kept(lab, ends):
    a, b, c = ends
    lab.daemon.run("fault", "target", b.id)
    lab.daemon.run("fault", "target", c.id, "--keep")
    lab.daemon.kill()
    lab.daemon.start()
    assert standing(lab) == [(f"target {c.id}", True)]
    assert opens(a, b) == "open" and opens(a, c) == "timeout"


def test_what_is_not_there_cannot_fail(lab, ends):
    for words, why in [
        (("zone", "us-east-1z"), "there is no zone us-east-1z"),
        (("target", "i-00000000000000001"), "there is no target i-00000000000000001"),
        (("nat-ports", "nat-00000000000000001"), "there is no nat-ports"),
    ]:
        done = lab.daemon.run("fault", *words, check=False)
        assert done.returncode == 1 and why in done.stderr
    for words in [("target", "subnet-1"), ("zone", "us-east-1a", "--for", "5"),
                  ("zone", "us-east-1a", "--for", "5s", "--keep")]:
        assert lab.daemon.run("fault", *words, check=False).returncode == 2
    assert standing(lab) == []
