"""`enid flows`: what was carried and what was not, with rules and counts."""

import json
import subprocess
import time

from support.lab import ANYWHERE
from support.rules import tcp, udp

HEADERS = 14 + 20 + 8  # Ethernet, IPv4 and UDP.


def flows(lab, source, target, **wanted):
    """The flows from one instance to another; nobody else has these addresses in this VPC."""
    shown = lab.daemon.json("flows")
    return [flow for flow in shown
            if flow["source_eni"] == source.eni and flow["destination"] == target.ip
            and all(flow[name] == value for name, value in wanted.items())]


def test_carried_flows_have_rules_and_counts(lab):
    # Fails if packets are lost from the counts, or the flow names another rule.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", egress=[])
    out_group = lab.group(vpc, "client", egress=[])
    [in_rule] = lab.authorize(group, udp("10.0.0.0/16", 53))
    [out_rule] = lab.authorize_egress(out_group, udp("10.0.0.0/16", 53))
    server, client = lab.instance(subnet, group), lab.instance(subnet, out_group)
    server.agent.serve_udp(port=53)
    lengths = [10, 100, 1000, 8000]
    answered = []
    for length in lengths:
        answered.append(client.agent.datagram(address=server.ip, port=53, length=length,
                                              name="flow", source_port=5353))
    assert answered == [f"{length} {client.ip}" for length in lengths]

    [forward] = flows(lab, client, server, destination_port=53)
    assert (forward["verdict"], forward["reason"]) == ("forward", None)
    assert (forward["egress_rule"], forward["ingress_rule"]) == (out_rule, in_rule)
    assert (forward["protocol"], forward["source_port"]) == (17, 5353)
    assert forward["destination_eni"] == server.eni and not forward["reply"]
    assert forward["packets"] == len(lengths)
    assert forward["bytes"] in (sum(lengths) + len(lengths) * HEADERS,
                                sum(lengths) + len(lengths) * (HEADERS - 14))
    [reply] = flows(lab, server, client, source_port=53)
    assert reply["reply"] and reply["packets"] == len(lengths)
    # At each interface the rule that admitted the connection there, seen from this direction.
    assert (reply["egress_rule"], reply["ingress_rule"]) == (out_rule, in_rule)
    # What cannot match is not there.
    assert flows(lab, client, server, destination_port=54) == []


def test_dropped_flows_have_reasons_and_counts(lab):
    # Fails if a drop is not counted, or blames the wrong gate.
    vpc, subnet = lab.network()
    closed = lab.group(vpc, "closed")
    limited = lab.group(vpc, "limited", egress=[udp(ANYWHERE, 1, 100)])
    server, client = lab.instance(subnet, closed), lab.instance(subnet, limited)
    for _ in range(5):
        client.agent.datagram(address=server.ip, port=53, length=100, name="in", wait=False)
    for _ in range(3):
        client.agent.datagram(address=server.ip, port=200, length=100, name="out", wait=False)
    [at_ingress] = flows(lab, client, server, destination_port=53)
    assert (at_ingress["verdict"], at_ingress["reason"]) == ("drop", "ingress-rule")
    assert at_ingress["packets"] == 5
    assert at_ingress["bytes"] // 5 - 100 in (HEADERS, HEADERS - 14)
    [at_egress] = flows(lab, client, server, destination_port=200)
    assert (at_egress["reason"], at_egress["packets"]) == ("egress-rule", 3)


def test_other_drops_have_their_reasons(lab):
    # Fails if a stage drops without a record that says why.
    vpc, subnet = lab.network()
    client, other = lab.launch(subnet, lab.group(vpc, "group"), count=2)
    client.agent.send_ip(source="192.0.2.1", destination=other.ip, protocol=17, payload="", port=1)
    client.agent.datagram(address="198.51.100.1", port=1, wait=False)
    # Nobody has the address, so the guest would give up on it by itself: ARP has no answer.
    client.exec("ip", "neighbour", "replace", "10.0.0.99", "dev", "eth0", "lladdr",
                client.agent.ask_arp(device="eth0", target="10.0.0.1", sender=client.ip))
    client.agent.datagram(address="10.0.0.99", port=1, wait=False)
    shown = [flow for flow in lab.daemon.json("flows") if flow["source_eni"] == client.eni]
    reasons = {(flow["source"], flow["destination"]): flow["reason"] for flow in shown
               if flow["verdict"] == "drop" and flow["protocol"] == 17}
    assert reasons == {("192.0.2.1", other.ip): "source-address",
                       (client.ip, "198.51.100.1"): "no-route",
                       (client.ip, "10.0.0.99"): "no-endpoint"}


def test_flows_need_no_daemon_and_follow(lab):
    # Fails if the command asks the daemon instead of the kernel, or prints only once.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [tcp(ANYWHERE, 80)])
    server, client = lab.launch(subnet, group, count=2)
    server.agent.serve_tcp(port=80)
    command = lab.daemon.command("--json", "flows", "--follow")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert client.agent.connect(address=server.ip, port=80) == "open"
            for line in process.stdout:
                flow = json.loads(line)
                if flow["source"] == client.ip and flow["source_eni"] == client.eni:
                    break
            assert flow["verdict"] == "forward" and flow["destination_port"] == 80
        finally:
            process.kill()
    shown = lab.daemon.run("flows").stdout
    assert f"{client.ip}:" in shown and f"-> {server.ip}:80" in shown


def test_top_shows_who_sends_who_drops_and_how_far_it_is(lab):
    # Fails if a rate is another interface's, or a refused packet or a handshake is not seen.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp(ANYWHERE, 80)])
    client, server = lab.instance(subnet, lab.group(vpc, "client")), lab.instance(subnet, group)
    lab.instance(subnet, group)
    server.agent.serve_tcp(port=80)
    command = lab.daemon.command("--json", "top", "--every", "2", "--count", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(30):
            client.agent.connect(address=server.ip, port=80)
            client.agent.datagram(address=server.ip, port=53, wait=False)
            if process.poll() is not None:
                break
            time.sleep(0.1)
        rows = {row["eni"]: row for row in json.loads(process.stdout.read())}
    assert list(rows)[:2] != [] and set(list(rows)[:2]) == {client.eni, server.eni}
    sent, got = rows[client.eni], rows[server.eni]
    assert (sent["instance"], got["instance"]) == (client.id, server.id)
    assert sent["packets_out_per_s"] > 0 and got["bytes_in_per_s"] > 0
    assert got["reason"] == "ingress-rule" and got["drops_per_s"] > 0
    assert sent["reason"] is None and sent["drops_per_s"] == 0
    assert 0 < sent["rtt_us"] < 1_000_000 and sent["retransmits_per_s"] == 0
    [idle] = [row for eni, row in rows.items() if eni not in (client.eni, server.eni)]
    assert (idle["bytes_out_per_s"], idle["rtt_us"], idle["flows"]) == (0, None, 0)
    text = lab.daemon.run("top", "--every", "0.1", "--count", "1").stdout
    assert text.startswith("interface ") and client.eni in text and " rtt " in text


def test_flows_are_chosen_by_what_is_asked_for(lab):
    # Fails if a filter shows what it should not, or hides what it should show.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp(ANYWHERE, 80)])
    client, server = lab.instance(subnet, lab.group(vpc, "client")), lab.instance(subnet, group)
    other = lab.instance(subnet, group)
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80) == "open"
    client.agent.datagram(address=server.ip, port=53, wait=False)

    def chosen(*words):
        return {(flow["verdict"], flow["reason"], flow["protocol"], flow["reply"])
                for flow in lab.daemon.json("flows", *words)}

    there, back = ("forward", None, 6, False), ("forward", None, 6, True)
    refused = ("drop", "ingress-rule", 17, False)
    for who in (("--eni", client.eni), ("--instance", server.id)):
        assert chosen(*who) == {there, back, refused}
        assert chosen(*who, "--port", "80") == {there, back}
        assert chosen(*who, "--verdict", "drop") == {refused}
        assert chosen(*who, "--reason", "ingress-rule") == {refused}
        assert chosen(*who, "--reason", "egress-rule") == set()
        assert chosen(*who, "--port", "80", "--verdict", "drop") == set()
    assert chosen("--eni", other.eni) == chosen("--instance", other.id) == set()
    wrong = lab.daemon.run("flows", "--reason", "because", check=False)
    assert wrong.returncode == 1 and "there is no such reason" in wrong.stderr
