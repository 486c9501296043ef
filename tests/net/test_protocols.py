"""UDP, ICMP, errors that belong to a flow, and fragments."""

import pytest

from support.lab import ANYWHERE
from support.rules import icmp, permission, tcp, udp


def pair(lab, *ingress, egress=None):
    """A client without ingress rules, and a server with these."""
    vpc, subnet = lab.network()
    server = lab.instance(subnet, lab.group(vpc, "server", ingress, egress))
    client = lab.instance(subnet, lab.group(vpc, "client"))
    return client, server


def test_udp_answers_pass_and_nothing_else_comes_back(lab):
    # Fails if UDP is stateless, or if a flow opens the client's other ports.
    client, server = pair(lab, udp(ANYWHERE, 53), egress=[])
    server.agent.serve_udp(port=53)
    client.agent.serve_udp(port=4000)
    asked = client.agent.datagram(address=server.ip, port=53, name="flow", source_port=3000)
    assert asked == f"5 {client.ip}"
    assert client.agent.datagram(address=server.ip, port=53, name="flow") == f"5 {client.ip}"
    assert server.agent.datagram(address=client.ip, port=4000) == "timeout"


def test_echo_needs_a_rule_and_its_reply_none(lab):
    # Fails if ICMP is let through, or its replies are judged like requests.
    client, server = pair(lab, icmp(ANYWHERE, 8, -1), egress=[])
    assert client.agent.ping(address=server.ip) == "open"
    assert client.agent.ping(address=server.ip, length=5000) == "open"
    # The server may not even send, and the client lets nothing in.
    assert server.agent.ping(address=client.ip) == "timeout"


def test_icmp_rules_tell_types_apart(lab):
    # Fails if the type of a rule is taken for its code, or ignored.
    client, server = pair(lab, icmp(ANYWHERE, 13, -1))
    assert client.agent.ping(address=server.ip) == "timeout"
    lab.authorize(server.describe()["SecurityGroups"][0]["GroupId"], icmp(ANYWHERE, 8, 0))
    assert client.agent.ping(address=server.ip) == "open"


def test_errors_of_a_tracked_flow_come_back(lab):
    # Fails if ICMP errors are judged by the gates alone: nothing allows ICMP here.
    client, server = pair(lab, udp("10.0.0.0/16", 1, 65535), egress=[])
    assert client.agent.datagram(address=server.ip, port=9999) == "refused"


def test_errors_of_no_flow_are_judged_by_the_gates(lab):
    # Fails if every ICMP error passes. It quotes a datagram that the client has never sent.
    client, server = pair(lab, tcp(ANYWHERE, 80))
    client.agent.sniff(device="eth0")
    quoted = ("4500001d00004000401100000a000005" "0a000006" "03e803e900090000" "00")
    body = bytes([3, 3, 0, 0, 0, 0, 0, 0]) + bytes.fromhex(quoted)
    server.agent.send_ip(source=server.ip, destination=client.ip, protocol=1,
                         payload=body.decode("latin-1"))
    # The same way carries a packet that may pass; what was sent before it would be there.
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80) == "open"
    arrived = [frame for frame in client.agent.sniffed(device="eth0") if frame[24:28] == "0800"]
    assert arrived and not [frame for frame in arrived if frame[46:48] == "01"]


@pytest.mark.parametrize("length", [9000, 20000, 60000])
def test_fragments_follow_their_first(lab, length):
    # Fails if later fragments, which have no ports, are judged by rules of ports or are dropped.
    client, server = pair(lab, udp(ANYWHERE, 53), egress=[])
    server.agent.serve_udp(port=53)
    server.agent.serve_udp(port=54)
    probes = [client.agent.start("datagram", address=server.ip, port=port, length=length)
              for port in (53, 54)]
    assert [probe.result(5) for probe in probes] == [f"{length} {client.ip}", "timeout"]
    assert server.agent.received(port=54) == []


def test_jumbo_segments_pass(lab):
    # Fails if the path's MTU is not 9001, or offloaded checksums are broken on the way.
    client, server = pair(lab, tcp(ANYWHERE, 80))
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, name="big") == "open"
    assert client.agent.exchange(name="big", length=1_000_000, timeout=5) == "open"
    assert client.agent.connect(address=server.ip, port=81) == "timeout"


def test_other_protocols_have_rules_by_number(lab):
    # Fails if only TCP, UDP and ICMP are looked up. 47 is GRE, 50 is ESP.
    client, server = pair(lab, permission(47, ANYWHERE))
    server.agent.sniff(device="eth0")
    for protocol in (50, 47):
        client.agent.send_ip(source=client.ip, destination=server.ip, protocol=protocol,
                             payload="payload")
    arrived = server.agent.sniffed(device="eth0")
    protocols = [frame[46:48] for frame in arrived if frame[24:28] == "0800"]
    assert protocols == ["2f"]
