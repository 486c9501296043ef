"""Dualstack load balancers: flows of IPv6 to a node reach its targets by IPv6, and every gate is asked.

        internet ---- :1::/64: client, near, the node      :2::/64: far, the node
"""

import ipaddress
import os
import struct
import sys

import pytest

from support.balancer import Balancers
from support.certificates import Certificate
from support.lab import ANYWHERE
from support.rules import everything, permission
from support.until import until

HERE, THERE = "us-east-1a", "us-east-1b"
_INTERPRETER = os.path.realpath(sys.executable)

# Sends some bytes by TLS, and says whether they came back.
_TALK = """
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    stream = context.wrap_socket(socket.create_connection((sys.argv[1], 443), timeout=3))
    said, heard = os.urandom(1000), b""
    stream.sendall(said)
    while len(heard) < len(said) and (data := stream.recv(65536)):
        heard += data
    print("open" if heard == said else "cut")
except OSError as error:
    print(type(error).__name__)
"""


class Place:
    """A client and two targets with addresses of both families, behind a dualstack load balancer."""

    def __init__(self, lab, balancers):
        self.lab, self.balancers = lab, balancers
        self.vpc, self.here = lab.network_of_both_families()
        self.there = lab.subnet(self.vpc, "10.0.1.0/24", zone=THERE)
        [described] = lab.ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"]
        self.block = described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
        [_, second, *_] = ipaddress.ip_network(self.block).subnets(new_prefix=64)
        lab.ec2.associate_subnet_cidr_block(SubnetId=self.there, Ipv6CidrBlock=str(second))
        self.group = lab.group(self.vpc, "open", [everything(ANYWHERE), everything("::/0")])
        self.own = lab.group(self.vpc, "client", [everything(ANYWHERE), everything("::/0")])
        self.client = self.launch(self.here, self.own)
        self.near = self.launch(self.here, self.group)
        self.far = self.launch(self.there, self.group)
        for one in (self.near, self.far):
            one.agent.serve_tcp(port=8080, address="::")
        self.elb = balancers.elb

    def launch(self, subnet, group):
        one = self.lab.instance(subnet, group, Ipv6AddressCount=1, EnablePrimaryIpv6=True)
        one.ip6 = one.interface()["Ipv6Addresses"][0]["Ipv6Address"]
        return one

    def balance(self, kind="ip", targets=None, scheme="internal", groups=(), **attributes):
        request = {"SecurityGroups": list(groups)} if groups else {}
        made = self.elb.create_load_balancer(
            Name="wide", Type="network", Scheme=scheme, IpAddressType="dualstack",
            Subnets=[self.here, self.there], **request)["LoadBalancers"][0]
        assert made["IpAddressType"] == "dualstack"
        self.arn, self.name = made["LoadBalancerArn"], made["DNSName"]
        self.balancers.adopt(self.arn)
        self.balancers.elb.modify_load_balancer_attributes(
            LoadBalancerArn=self.arn,
            Attributes=[{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}])
        self.nodes = {zone: node["Ipv6Addresses"][0]["Ipv6Address"]
                      for zone, node in self.balancers.nodes(self.arn).items()}
        self.targets = self.balancers.group("wide", self.vpc, 8080, kind=kind,
                                            addresses="ipv6", **attributes)
        self.listener = self.balancers.listen(self.arn, self.targets, 80)
        targets = targets or (self.near, self.far)
        ids = [one.ip6 if kind == "ip" else one.id for one in targets]
        self.balancers.register(self.targets, *ids)
        health = self.balancers.health
        until(lambda: {health(self.targets).get(one) for one in ids} == {"healthy"},
              "the targets are healthy", within=30)
        # What was seen is told before it is in force; an answered change comes after it, and is.
        self.lab.ec2.create_tags(Resources=[self.vpc], Tags=[{"Key": "seen", "Value": "health"}])
        return self.nodes[HERE]

    def opens(self, address, **options):
        return self.client.agent.connect(address=address, port=80, **options)

    def end_tls(self, targets):
        """A TLS listener at port 443, with a certificate of its own."""
        arn = Certificate("example.com").imported(self.lab.daemon.client("acm"))
        self.balancers.listen(self.arn, targets, 443, "TLS",
                              Certificates=[{"CertificateArn": arn}])

    def talks(self, address):
        return self.client.exec(_INTERPRETER, "-I", "-c", _TALK, address).stdout.strip()

    def came(self, target):
        """From which addresses connections came to a target."""
        return {flow["source"] for flow in self.lab.daemon.json("flows")
                if flow["destination"] == target and flow["verdict"] == "forward"
                and flow["destination_port"] == 8080}

    def ways(self):
        """Where the flows of the client's went, and from which address."""
        return {(flow["translation"]["source"], flow["translation"]["destination"])
                for flow in self.lab.daemon.json("flows")
                if flow["source_eni"] == self.client.eni and flow["translation"]}


@pytest.fixture
def place(lab):
    balancers = Balancers(lab)
    yield Place(lab, balancers)
    balancers.close()


def dropped(lab, address):
    return {flow["reason"] for flow in lab.daemon.json("flows")
            if flow["verdict"] == "drop" and flow["destination"] == address}


def test_a_flow_of_ipv6_reaches_targets_and_the_gates_are_asked(place):
    lab = place.lab
    node = place.balance(preserve_client_ip__enabled=True)
    assert place.opens(node, name="kept") == "open"
    assert place.client.agent.exchange(name="kept", length=1 << 20, timeout=5) == "open"
    for _ in range(20):
        assert place.opens(node) == "open"
    assert place.ways() == {(place.client.ip6, place.near.ip6), (place.client.ip6, place.far.ip6)}
    # No listener at this port.
    assert place.client.agent.connect(address=node, port=81) == "timeout"
    assert dropped(lab, node) == {"no-listener"}
    # The targets' gate sees the client's address.
    lab.revoke(place.group, everything("::/0"))
    lab.authorize(place.group, permission("tcp", f"{place.client.ip6}/128", 8080))
    assert place.opens(node) == "open"
    lab.revoke(place.group, permission("tcp", f"{place.client.ip6}/128", 8080))
    assert place.opens(node) == "timeout"
    assert "ingress-rule" in dropped(lab, node)
    lab.authorize(place.group, everything("::/0"))
    # Without preservation it sees the node's.
    place.balancers.set(place.targets, preserve_client_ip__enabled=False)
    before = place.ways()
    assert place.opens(node, name="hidden") == "open"
    assert place.client.agent.exchange(name="hidden", length=1 << 20, timeout=5) == "open"
    assert {source for source, _ in place.ways() - before} == {node}
    # A connection that nobody knows is reset.
    place.elb.delete_listener(ListenerArn=place.listener)
    assert place.client.agent.exchange(name="kept", timeout=1) not in ("open", "timeout")
    assert "balancer-reset" in dropped(lab, node)
    assert lab.daemon.json("verify")["differences"] == []


def test_names_lead_to_addresses_of_both_families(place):
    place.balance(kind="instance", targets=[place.near])

    def answers(kind):
        words = place.client.exec("getent", kind, place.name).stdout.split()
        return {word for word in words if "." in word or ":" in word} - {place.name}

    assert answers("ahostsv6") == set(place.nodes.values())
    nodes = place.balancers.nodes(place.arn).values()
    assert answers("ahostsv4") == {node["PrivateIpAddress"] for node in nodes}
    place.elb.deregister_targets(TargetGroupArn=place.targets, Targets=[{"Id": place.near.id}])
    place.elb.delete_listener(ListenerArn=place.listener)
    place.elb.set_ip_address_type(LoadBalancerArn=place.arn, IpAddressType="ipv4")
    assert answers("ahostsv4") == {node["PrivateIpAddress"] for node in nodes}
    assert not any(":" in word and not word.startswith("::ffff:") for word in answers("ahostsv6"))


def test_who_is_outside_comes_in_unless_that_is_denied(place, network, internet):
    gateway = place.lab.internet(place.vpc)
    table = network.table(place.vpc, place.here, place.there)
    network.route(table, "::/0", gateway)
    network.route(table, "0.0.0.0/0", gateway)
    node = place.balance(scheme="internet-facing", targets=[place.far],
                         preserve_client_ip__enabled=True)
    assert internet.agent.connect(address=node, port=80, name="kept") == "open"
    assert internet.agent.exchange(name="kept", length=1 << 16, timeout=5) == "open"
    place.elb.modify_load_balancer_attributes(
        LoadBalancerArn=place.arn,
        Attributes=[{"Key": "ipv6.deny_all_igw_traffic", "Value": "true"}])
    assert internet.agent.connect(address=node, port=80) == "timeout"
    assert "balancer-route" in dropped(place.lab, node)
    assert place.opens(node) == "open"


def test_tls_ends_at_the_node_by_ipv6(place):
    lab = place.lab
    node = place.balance(preserve_client_ip__enabled=True, targets=[place.near])
    place.end_tls(place.targets)
    assert place.talks(node) == "open"
    # The target's gate sees the client's address, and the nodes' of the health checks.
    lab.revoke(place.group, everything("::/0"))
    own = permission("tcp", f"{place.client.ip6}/128", 8080)
    for address in (*place.nodes.values(), place.client.ip6):
        lab.authorize(place.group, permission("tcp", f"{address}/128", 8080))
    assert place.talks(node) == "open"
    lab.revoke(place.group, own)
    assert place.talks(node) != "open"
    assert "ingress-rule" in dropped(lab, place.near.ip6)
    # The node's alone without preservation.
    place.balancers.set(place.targets, preserve_client_ip__enabled=False)
    assert place.talks(node) == "open"
    for address in place.nodes.values():
        lab.revoke(place.group, permission("tcp", f"{address}/128", 8080))
    assert place.talks(node) != "open"
    assert lab.daemon.json("verify")["differences"] == []


def test_where_tls_ends_targets_of_ipv4_serve_clients_of_ipv6(place):
    lab = place.lab
    node = place.balance(targets=[place.near])
    narrow = place.balancers.group("narrow", place.vpc, 8080)
    place.end_tls(narrow)
    place.balancers.register(narrow, place.near.id)
    place.balancers.wait(narrow, within=30, **{place.near.id.replace("-", "_"): "healthy"})
    lab.ec2.create_tags(Resources=[place.vpc], Tags=[{"Key": "seen", "Value": "narrow"}])
    assert place.talks(node) == "open"
    # The client's address is kept where it is of the target's family, and the node's is seen else.
    nodes = place.balancers.nodes(place.arn)
    ip = nodes[HERE]["PrivateIpAddress"]
    assert place.talks(ip) == "open"
    assert {ip, place.client.ip} <= place.came(place.near.ip)
    lab.revoke(place.group, everything(ANYWHERE))
    for one in nodes.values():
        lab.authorize(place.group, permission("tcp", f"{one['PrivateIpAddress']}/32", 8080))
    assert place.talks(node) == "open"
    assert place.talks(ip) != "open"
    for one in nodes.values():
        lab.revoke(place.group, permission("tcp", f"{one['PrivateIpAddress']}/32", 8080))
    assert place.talks(node) != "open"
    assert "ingress-rule" in dropped(lab, place.near.ip)


def test_a_tcp_listener_leads_to_targets_of_the_other_family(place):
    lab = place.lab
    node = place.balance(targets=[place.near], preserve_client_ip__enabled=True)
    narrow = place.balancers.group("narrow", place.vpc, 8080)
    listener = place.balancers.listen(place.arn, narrow, 81)
    place.balancers.register(narrow, place.near.id)
    place.balancers.wait(narrow, within=30, **{place.near.id.replace("-", "_"): "healthy"})
    lab.ec2.create_tags(Resources=[place.vpc], Tags=[{"Key": "seen", "Value": "narrow"}])
    nodes = place.balancers.nodes(place.arn)
    ip = nodes[HERE]["PrivateIpAddress"]
    agent = place.client.agent

    def carries(address, port):
        opened = agent.connect(address=address, port=port, name="kept", timeout=3)
        return opened == "open" and agent.exchange(name="kept", length=1 << 20, timeout=5) == "open"

    # Clients of IPv6 to targets of IPv4, and the other way round: these see the node's address, and
    # those of the same family the client's.
    assert carries(node, 81) and carries(ip, 81)
    assert ip in place.came(place.near.ip) and (place.client.ip, place.near.ip) in place.ways()
    assert carries(ip, 80) and carries(node, 80)
    assert node in place.came(place.near.ip6)
    assert (place.client.ip6, place.near.ip6) in place.ways()
    # Each gate is asked: the node's address is let in, no client's is.
    lab.revoke(place.group, everything(ANYWHERE))
    for one in nodes.values():
        lab.authorize(place.group, permission("tcp", f"{one['PrivateIpAddress']}/32", 8080))
    assert carries(node, 81)
    assert agent.connect(address=ip, port=81) == "timeout"
    for one in nodes.values():
        lab.revoke(place.group, permission("tcp", f"{one['PrivateIpAddress']}/32", 8080))
    assert not carries(node, 81)
    assert "ingress-rule" in dropped(lab, place.near.ip)
    lab.authorize(place.group, everything(ANYWHERE))
    # It is told that the node's proxy goes on from there, and what then happens to its own connection.
    explained = lab.daemon.json("explain", "--from", place.client.id, "--to", node,
                                "--protocol", "tcp", "--port", "81")
    [hop] = [hop for hop in explained["hops"] if hop["stage"] == "load-balancer"]
    assert (explained["verdict"], hop["verdict"]) == ("forward", "allow")
    assert hop["detail"].endswith("; connections end at the node, and its proxy makes others to targets")
    assert explained["to"]["eni"] == nodes[HERE]["NetworkInterfaceId"]
    onward = lab.daemon.json("explain", "--from", nodes[HERE]["NetworkInterfaceId"],
                             "--to", place.near.id, "--protocol", "tcp", "--port", "8080")
    assert onward["verdict"] == "forward"
    flows = lab.daemon.json("flows", "--load-balancer", "wide", "--target-group", "narrow")
    assert (ip, place.near.ip, place.near.id) in {
        (flow["source"], flow["destination"], flow["target"]) for flow in flows}
    # A group of the client's own family takes the listener back into the datapath.
    assert carries(node, 81)
    before = place.ways()
    place.elb.modify_listener(ListenerArn=listener, DefaultActions=[{
        "Type": "forward", "ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": one, "Weight": 1} for one in (narrow, place.targets)]}}])
    assert carries(node, 81)
    assert place.ways() - before == {(place.client.ip6, place.near.ip6)} - before
    place.elb.delete_listener(ListenerArn=listener)
    assert agent.connect(address=node, port=81) == "timeout"
    assert lab.daemon.json("verify")["differences"] == []


def test_what_is_denied_from_the_internet_does_not_reach_a_proxy(place, network, internet):
    gateway = place.lab.internet(place.vpc)
    network.route(network.table(place.vpc, place.here, place.there), "::/0", gateway)
    node = place.balance(scheme="internet-facing", targets=[place.near])
    narrow = place.balancers.group("narrow", place.vpc, 8080)
    place.balancers.listen(place.arn, narrow, 81)
    place.balancers.register(narrow, place.near.id)
    place.balancers.wait(narrow, within=30, **{place.near.id.replace("-", "_"): "healthy"})
    place.lab.ec2.create_tags(Resources=[place.vpc], Tags=[{"Key": "seen", "Value": "narrow"}])
    assert internet.agent.connect(address=node, port=81, timeout=3) == "open"
    place.elb.modify_load_balancer_attributes(
        LoadBalancerArn=place.arn,
        Attributes=[{"Key": "ipv6.deny_all_igw_traffic", "Value": "true"}])
    assert internet.agent.connect(address=node, port=81) == "timeout"
    assert "balancer-route" in dropped(place.lab, node)
    assert place.client.agent.connect(address=node, port=81, timeout=3) == "open"


def test_errors_about_a_flow_go_through_the_node(place):
    node = place.balance(targets=[place.near], preserve_client_ip__enabled=True)
    assert place.opens(node) == "open"
    # From now on the target says of every packet of the client's that it is prohibited.
    for words in (f"add from {place.client.ip6} prohibit pref 5", "add pref 10 table local",
                  "del pref 0"):
        done = place.near.exec("ip", "-6", "rule", *words.split())
        assert done.returncode == 0, done.stderr
    told = place.client.agent.connect(address=node, port=80, timeout=5)
    assert told == "PermissionError(13, 'Permission denied')"
    # Whoever is no target says nothing about it: what the client asks elsewhere goes on.
    assert place.client.agent.connect(address=place.far.ip6, port=8080) == "open"


def test_the_proxy_protocol_tells_clients_of_ipv6(place):
    node = place.balance(targets=[place.near], proxy_protocol_v2__enabled=True)
    # The target sends back what it gets: the header before what the client said.
    talk = ("import socket, sys\n"
            "stream = socket.create_connection((sys.argv[1], 80), timeout=3)\n"
            "stream.sendall(b'hello')\n"
            "heard = b''\n"
            "while len(heard) < 57: heard += stream.recv(100)\n"
            "print(stream.getsockname()[1], heard.hex())\n")
    port, heard = place.client.exec(_INTERPRETER, "-I", "-c", talk, node).stdout.split()
    ends = [ipaddress.ip_address(ip).packed for ip in (place.client.ip6, node)]
    assert bytes.fromhex(heard) == (
        b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x21" + struct.pack("!H", 36) + b"".join(ends)
        + struct.pack("!HH", int(port), 80) + b"hello")
