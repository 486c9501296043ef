"""Egress and ingress are gates of their own: a packet needs both, in whatever order rules came.

        a (egress gate) --> b (ingress gate)      same subnet, or c in another one
"""

import random

import pytest

from support.lab import ANYWHERE
from support.rules import tcp, udp


@pytest.mark.parametrize("where", ["same subnet", "other subnet", "other zone"])
def test_both_gates_decide(lab, where):
    # Fails if one verdict is made for both gates, or a gate is skipped for same-subnet traffic.
    vpc = lab.vpc()
    here = lab.subnet(vpc, "10.0.0.0/24")
    there = {"same subnet": lambda: here,
             "other subnet": lambda: lab.subnet(vpc, "10.0.1.0/24"),
             "other zone": lambda: lab.subnet(vpc, "10.0.2.0/24", zone="us-east-1b")}[where]()
    # Port 1: both gates allow. 2: only egress. 3: only ingress. 4: neither.
    egress = lab.group(vpc, "a", egress=[tcp(ANYWHERE, 1, 2)])
    ingress = lab.group(vpc, "b", [tcp(ANYWHERE, 1), tcp(ANYWHERE, 3)], egress=[])
    a = lab.instance(here, egress)
    b = lab.instance(there, ingress)
    for port in (1, 2, 3, 4):
        b.agent.serve_tcp(port=port)
    probes = [a.agent.start("connect", address=b.ip, port=port) for port in (1, 2, 3, 4)]
    assert [probe.result(5) for probe in probes] == ["open", "timeout", "timeout", "timeout"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order_of_rules_and_groups_does_not_matter(lab, seed):
    # Fails if the first rule of a policy decides instead of any, or a group's order is its weight.
    shuffled = random.Random(seed)
    vpc, subnet = lab.network()
    open_ports = [100, 200, 300, 400, 500, 600]
    closed_ports = [99, 101, 250, 601]
    groups = [lab.group(vpc, f"g{number}", egress=[]) for number in range(3)]
    both = [(lab.authorize, port) for port in open_ports]
    both += [(lab.authorize_egress, port) for port in open_ports]
    # Rules that never match lie between.
    both += [(lab.authorize, port) for port in (7, 8)] + [(lab.authorize_egress, 9)]
    shuffled.shuffle(both)
    for call, port in both:
        call(shuffled.choice(groups), tcp(shuffled.choice(["10.0.0.0/16", ANYWHERE]), port))
    a = lab.instance(subnet, *shuffled.sample(groups, 3))
    b = lab.instance(subnet, *shuffled.sample(groups, 3))
    for port in open_ports + closed_ports:
        b.agent.serve_tcp(port=port)
    probes = {port: a.agent.start("connect", address=b.ip, port=port)
              for port in open_ports + closed_ports}
    results = {port: probe.result(5) for port, probe in probes.items()}
    assert results == {port: "open" if port in open_ports else "timeout" for port in results}


def test_a_gate_is_not_opened_by_the_other_direction(lab):
    # Fails if ingress rules are looked up in the egress gate: both instances carry both groups.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "ingress-only", [udp(ANYWHERE, 53)], egress=[])
    mute, server = lab.launch(subnet, group, count=2)
    free = lab.instance(subnet, lab.group(vpc, "free"))
    server.agent.serve_udp(port=53)
    assert free.agent.datagram(address=server.ip, port=53) == f"5 {free.ip}"
    assert mute.agent.datagram(address=server.ip, port=53) == "timeout"


def test_many_rules_beside_the_one_that_matches(lab):
    # Fails if bit vectors are cut at a word's end: the policy holds 120 rules in two groups.
    vpc, subnet = lab.network()
    first, second = lab.group(vpc, "first"), lab.group(vpc, "second")
    lab.authorize(first, *[tcp(f"10.0.0.{host}/32", 1000 + host) for host in range(10, 70)])
    lab.authorize(second, *[tcp(f"10.0.0.{host}/32", 1000 + host) for host in range(70, 130)])
    server = lab.instance(subnet, first, second, PrivateIpAddress="10.0.0.250")
    client = lab.instance(subnet, lab.group(vpc, "client"), PrivateIpAddress="10.0.0.129")
    for port in (1129, 1128):
        server.agent.serve_tcp(port=port)
    probes = [client.agent.start("connect", address=server.ip, port=port) for port in (1129, 1128)]
    assert [probe.result(5) for probe in probes] == ["open", "timeout"]
