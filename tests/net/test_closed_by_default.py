"""Nothing passes that no rule allows."""

from support.lab import ANYWHERE
from support.rules import icmp, tcp


def test_default_group_lets_in_only_itself(lab):
    # Fails if group references match any ENI of the VPC, or none.
    vpc, subnet = lab.network()
    stranger_group = lab.group(vpc, "stranger")
    server, member = lab.launch(subnet, count=2)
    stranger = lab.instance(subnet, stranger_group)
    server.agent.serve_tcp(port=80)

    assert member.agent.connect(address=server.ip, port=80) == "open"
    assert member.agent.ping(address=server.ip) == "open"
    assert stranger.agent.connect(address=server.ip, port=80) == "timeout"
    assert stranger.agent.ping(address=server.ip) == "timeout"


def test_group_without_ingress_rules_blocks_everything(lab):
    # Fails if the ingress gate is skipped for a policy without rules.
    vpc, subnet = lab.network()
    closed = lab.group(vpc, "closed")
    open_group = lab.group(vpc, "open", [tcp(ANYWHERE, 80), icmp(ANYWHERE)])
    hidden, client = lab.launch(subnet, closed, count=2)
    seen = lab.instance(subnet, open_group)
    for server in (hidden, seen):
        server.agent.serve_tcp(port=80)

    assert client.agent.connect(address=seen.ip, port=80) == "open"
    probes = [client.agent.start("connect", address=hidden.ip, port=80),
              client.agent.start("datagram", address=hidden.ip, port=53),
              client.agent.start("ping", address=hidden.ip)]
    assert [probe.result(5) for probe in probes] == ["timeout"] * 3
    # What goes out of a closed instance comes back: the gates are stateful.
    assert hidden.agent.connect(address=seen.ip, port=80) == "open"
    assert hidden.agent.ping(address=seen.ip) == "open"


def test_a_rule_opens_its_protocol_and_ports_only(lab):
    # Fails if port ranges are compiled one too wide, or protocols are mixed up.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "range", [tcp(ANYWHERE, 8000, 8010)])
    server, client = lab.launch(subnet, group, count=2)
    for port in (7999, 8000, 8007, 8010, 8011):
        server.agent.serve_tcp(port=port)
    server.agent.serve_udp(port=8000)

    probes = {port: client.agent.start("connect", address=server.ip, port=port)
              for port in (7999, 8000, 8007, 8010, 8011)}
    udp_probe = client.agent.start("datagram", address=server.ip, port=8000)
    assert {port: probe.result(5) for port, probe in probes.items()} == {
        7999: "timeout", 8000: "open", 8007: "open", 8010: "open", 8011: "timeout"}
    assert udp_probe.result(5) == "timeout"


def test_a_rule_opens_its_block_only(lab):
    # Fails if prefixes of rules are compared with the wrong length.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "block", [tcp("10.0.0.16/30", 80)])
    server = lab.instance(subnet, group, PrivateIpAddress="10.0.0.200")
    inside = lab.instance(subnet, group, PrivateIpAddress="10.0.0.19")
    outside = lab.instance(subnet, group, PrivateIpAddress="10.0.0.20")
    server.agent.serve_tcp(port=80)

    assert inside.agent.connect(address=server.ip, port=80) == "open"
    assert outside.agent.connect(address=server.ip, port=80) == "timeout"
