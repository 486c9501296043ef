"""Listeners whose connections end at the load balancer's node: TLS, and the proxy protocol.

        us-east-1a 10.0.0.0/24: client, near, the node      us-east-1b 10.0.1.0/24: far, the node
"""

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import threading

import pytest

from support.balancer import Balancers
from support.certificates import Certificate
from support.errors import refused
from support.lab import ANYWHERE, Lab
from support.rules import everything, tcp
from support.until import until

HERE = "us-east-1a"
_INTERPRETER = os.path.realpath(sys.executable)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

# Talks to an address, with TLS if it is told to, and tells what it saw.
_CLIENT = """
import contextlib, hashlib, json, os, select, socket, ssl, sys, time
asked = json.loads(sys.argv[1])
seen = {}
try:
    stream = socket.create_connection((asked["address"], asked["port"]), timeout=asked["timeout"])
    stream.settimeout(20)
    seen["local"] = stream.getsockname()[1]
    if "tls" in asked:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        wanted = asked["tls"]
        if "most" in wanted:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion[wanted["most"]]
        if "ciphers" in wanted:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(wanted["ciphers"])
        if "alpn" in wanted:
            context.set_alpn_protocols(wanted["alpn"])
        stream = context.wrap_socket(stream, server_hostname=wanted.get("name"))
        seen["certificate"] = hashlib.sha256(stream.getpeercert(True)).hexdigest()
        seen["alpn"], seen["version"] = stream.selected_alpn_protocol(), stream.version()
    said = memoryview(os.urandom(asked["length"]))
    heard, more = bytearray(), asked["more"]
    # One thread does both, in turns: OpenSSL's connections are not to be read and written at once.
    stream.setblocking(False)
    busy = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    rest, last = said, time.monotonic()
    while asked.get("half") or len(heard) < len(said) + more:
        before = len(rest), len(heard)
        with contextlib.suppress(*busy):
            if rest:
                rest = rest[stream.send(rest[:65536]):]
                if not rest and asked.get("half"):
                    stream.shutdown(socket.SHUT_WR)
        with contextlib.suppress(*busy):
            data = stream.recv(65536)
            if not data:
                seen["ended"] = True
                break
            heard += data
        if (len(rest), len(heard)) != before:
            last = time.monotonic()
        elif time.monotonic() - last > asked["patience"]:
            raise TimeoutError
        else:
            select.select([stream], [], [], 0.01 if rest else 1)
    stream.settimeout(20)
    seen["head"] = bytes(heard[:more]).hex()
    seen["whole"] = bytes(heard[more:]) == said
    if asked.get("stay"):
        print("stays", flush=True)
        # Below TLS, where a reset is not taken for an end.
        below = socket.socket(fileno=os.dup(stream.fileno()))
        below.settimeout(20)
        seen["then"] = len(below.recv(1))
except OSError as error:
    seen["error"] = type(error).__name__
print(json.dumps(seen), flush=True)
"""

# Sends back what arrives over TLS.
_SERVER = """
import json, os, socket, ssl, sys, tempfile, threading
asked = json.loads(sys.argv[1])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile("w") as file:
    file.write(asked["pem"])
    file.flush()
    context.load_cert_chain(file.name)
context.set_alpn_protocols(["h2"])
listener = socket.create_server(("0.0.0.0", asked["port"]))
print("listens", flush=True)
def echo(stream):
    try:
        with context.wrap_socket(stream, server_side=True) as stream:
            first = True
            while data := stream.recv(65536):
                alpn = (stream.selected_alpn_protocol() or "--").encode() if first else b""
                stream.sendall(alpn + data)
                first = False
    except OSError:
        pass
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""

# Sends back what arrives, and tells who came.
_WITNESS = """
import json, socket, threading
listener = socket.create_server(("0.0.0.0", 8080))
print("listens", flush=True)
def echo(stream):
    try:
        with stream:
            while data := stream.recv(65536):
                stream.sendall(data)
    except OSError:
        pass
while True:
    stream, peer = listener.accept()
    print(json.dumps(peer), flush=True)
    threading.Thread(target=echo, args=(stream,), daemon=True).start()
"""


class Place:
    """A client and two targets in two zones, behind a load balancer."""

    def __init__(self, lab, balancers):
        self.lab, self.balancers = lab, balancers
        self.acm = lab.daemon.client("acm")
        self.vpc, self.here = lab.network()
        self.there = lab.subnet(self.vpc, "10.0.1.0/24", zone="us-east-1b")
        self.group = lab.group(self.vpc, "open", [everything(ANYWHERE)])
        self.own = lab.group(self.vpc, "client", [everything(ANYWHERE)])
        [self.client] = lab.launch(self.here, self.own)
        [self.near] = lab.launch(self.here, self.group)
        [self.far] = lab.launch(self.there, self.group)
        self._processes = []
        self._arns = []

    def balance(self, groups=(), targets=None, protocol="TLS", targets_protocol="TCP",
                certificate=None, preserves=False, **options):
        balancers = self.balancers
        self.balancer, self.nodes = balancers.make(
            "test", self.here, self.there, groups=groups,
            load_balancing__cross_zone__enabled=True)
        self.port = 443 if protocol == "TLS" else 80
        attributes = options.pop("attributes", {})
        self.targets = balancers.group(
            "test", self.vpc, 8080, targets_protocol,
            preserve_client_ip__enabled=preserves, **attributes)
        if certificate:
            options["Certificates"] = [{"CertificateArn": self.imported(certificate)}]
        self.listener = balancers.listen(
            self.balancer, self.targets, self.port, protocol, **options)
        ids = [one.id for one in (targets or (self.near,))]
        balancers.register(self.targets, *ids)
        states = {one.replace("-", "_"): "healthy" for one in ids}
        balancers.wait(self.targets, within=30, **states)
        # What was seen is told before it is in force; an answered change comes after it, and is.
        self.lab.ec2.create_tags(Resources=[self.vpc], Tags=[{"Key": "seen", "Value": "health"}])
        self.address = self.nodes[HERE]["PrivateIpAddress"]

    def imported(self, certificate):
        self._arns.append(certificate.imported(self.acm))
        return self._arns[-1]

    def begin(self, length=5, more=0, timeout=1, patience=20, **asked):
        """A client that talks to the node, in a process of its own."""
        asked |= {"address": self.address, "port": self.port, "length": length, "more": more,
                  "timeout": timeout, "patience": patience}
        command = self.lab.daemon.command("exec", self.client.id, "--")
        return self._run([*command, _INTERPRETER, "-I", "-c", _CLIENT, json.dumps(asked)])

    def talk(self, **asked):
        out, _ = self.begin(**asked).communicate(timeout=60)
        return json.loads(out.splitlines()[-1])

    def serve_tls(self, one, certificate):
        asked = json.dumps({"pem": certificate.pem + certificate.key, "port": 8080})
        command = self.lab.daemon.command("exec", one.id, "--")
        server = self._run([*command, _INTERPRETER, "-I", "-c", _SERVER, asked])
        assert server.stdout.readline() == "listens\n"

    def witness(self, one):
        """An echo on port 8080 of an instance. Returns what tells who came there, but for health checks."""
        command = self.lab.daemon.command("exec", one.id, "--")
        server = self._run([*command, _INTERPRETER, "-I", "-c", _WITNESS])
        assert server.stdout.readline() == "listens\n"
        peers = []

        def read():
            for line in server.stdout:
                peers.append(json.loads(line))

        threading.Thread(target=read, daemon=True).start()

        def seen():
            nodes = {node["PrivateIpAddress"] for node in self.nodes.values()}
            return [peer for peer in list(peers) if peer[0] not in nodes]

        return seen

    def _run(self, command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def close(self):
        for process in self._processes:
            process.kill()
            process.wait()
        self.balancers.close()
        for arn in self._arns:
            self.acm.delete_certificate(CertificateArn=arn)


def _from_group(group):
    return {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
            "UserIdGroupPairs": [{"GroupId": group}]}


@pytest.fixture
def place(lab):
    place = Place(lab, Balancers(lab))
    yield place
    place.close()


def test_the_proxy_protocol_tells_targets_who_their_client_is(place):
    place.near.agent.serve_tcp(port=8080)
    place.balance(protocol="TCP", attributes={"proxy_protocol_v2__enabled": True})
    seen = place.talk(more=28)
    assert seen["whole"], seen
    ends = [bytes(map(int, ip.split("."))) for ip in (place.client.ip, place.address)]
    assert bytes.fromhex(seen["head"]) == (
        SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + b"".join(ends)
        + struct.pack("!HH", seen["local"], 80))
    assert place.talk(more=28, length=1 << 20, half=True)["whole"]
    # Without the attribute the datapath balances as ever.
    place.balancers.set(place.targets, proxy_protocol_v2__enabled=False)
    assert place.talk()["whole"]


def test_tls_ends_at_the_node(place):
    place.near.agent.serve_tcp(port=8080)
    usual, named = Certificate("example.com"), Certificate("*.example.org", kind="rsa")
    place.balance(certificate=usual, AlpnPolicy=["HTTP2Preferred"])
    place.balancers.elb.add_listener_certificates(
        ListenerArn=place.listener,
        Certificates=[{"CertificateArn": place.imported(named)}])
    seen = place.talk(tls={"alpn": ["http/1.1", "h2"]}, length=10 << 20)
    assert (seen["whole"], seen["alpn"], seen["version"]) == (True, "h2", "TLSv1.3"), seen
    assert seen["certificate"] == usual.fingerprint
    seen = place.talk(tls={"name": "www.example.org"})
    assert (seen["whole"], seen["certificate"]) == (True, named.fingerprint), seen
    seen = place.talk(tls={"name": "www.example.net"})
    assert seen["certificate"] == usual.fingerprint
    # Nothing older than TLS 1.2, no cipher of another mode, and no plain text.
    assert place.talk(tls={"most": "TLSv1_2"})["whole"]
    assert "error" in place.talk(tls={"most": "TLSv1_1"})
    assert "error" in place.talk(tls={"ciphers": "ECDHE-ECDSA-AES128-SHA256"})
    plain = place.talk()
    assert "error" in plain or not plain["whole"]
    place.balancers.elb.modify_listener(
        ListenerArn=place.listener, SslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06")
    assert place.talk(tls={})["version"] == "TLSv1.3"
    assert "error" in place.talk(tls={"most": "TLSv1_2"})
    # No listener, nobody who answers.
    place.balancers.elb.delete_listener(ListenerArn=place.listener)
    assert place.talk(tls={})["error"] == "TimeoutError"


def test_tls_goes_on_to_targets_that_speak_it(place):
    place.serve_tls(place.near, Certificate("of.nobody"))
    place.balance(certificate=Certificate("example.com"), targets_protocol="TLS",
                  AlpnPolicy=["HTTP2Optional"])
    seen = place.talk(tls={"alpn": ["h2"]}, more=2, length=1 << 20)
    assert (seen["whole"], bytes.fromhex(seen["head"])) == (True, b"h2"), seen
    assert place.talk(tls={}, more=2)["whole"]


def test_each_gate_may_refuse(place):
    lab = place.lab
    place.far.agent.serve_tcp(port=8080)
    own = lab.group(place.vpc, "balancer", [tcp(ANYWHERE, 443)], egress=[tcp(ANYWHERE, 8080)])
    place.balance(certificate=Certificate("example.com"), groups=[own], targets=[place.far])
    reach = {"tls": {}, "timeout": 0.5}
    assert place.talk(**reach)["whole"]
    # What comes to the node.
    lab.revoke(own, tcp(ANYWHERE, 443))
    assert place.talk(**reach)["error"] == "TimeoutError"
    lab.authorize(own, tcp(ANYWHERE, 443))
    # What the target lets in: the node's address, which its group's members have.
    lab.revoke(place.group, everything(ANYWHERE))
    assert not place.talk(**reach).get("whole")
    lab.authorize(place.group, {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
                                "UserIdGroupPairs": [{"GroupId": own}]})
    assert place.talk(**reach)["whole"]


def test_targets_see_their_client_through_tls(place):
    # Fails if the target learns another address, or its answers go to whoever has the client's.
    lab = place.lab
    seen_by = place.witness(place.far)
    own = lab.group(place.vpc, "balancer", [tcp(ANYWHERE, 443)])
    place.balance(certificate=Certificate("example.com"), groups=[own], targets=[place.far],
                  preserves=True)
    seen = place.talk(tls={}, length=1 << 20)
    assert seen["whole"], seen
    assert seen_by()[-1] == [place.client.ip, seen["local"]]
    # What answers is judged again after any change, and goes to the node still.
    long = place.begin(tls={}, length=64 << 20)
    until(lambda: len(seen_by()) == 2, "a second connection")
    lab.revoke(place.group, everything(ANYWHERE))
    for rule, passes in [(tcp(f"{place.client.ip}/32", 8080), True),
                         (tcp(f"{place.address}/32", 8080), False),
                         (_from_group(own), True), (_from_group(place.own), False)]:
        lab.authorize(place.group, rule)
        seen = place.talk(tls={}, patience=1)
        assert bool(seen.get("whole")) is passes, (rule, seen)
        lab.revoke(place.group, rule)
    out, _ = long.communicate(timeout=60)
    assert json.loads(out)["whole"]


def test_targets_see_their_client_through_the_proxy_protocol(place):
    seen_by = place.witness(place.near)
    place.balance(protocol="TCP", preserves=True, attributes={"proxy_protocol_v2__enabled": True})
    seen = place.talk(more=28)
    assert seen["whole"], seen
    header = bytes.fromhex(seen["head"])
    assert struct.unpack("!H", header[24:26])[0] == seen["local"]
    assert seen_by()[-1] == [place.client.ip, seen["local"]]


def test_targets_in_a_peered_vpc_see_their_client(place, network):
    lab, balancers = place.lab, place.balancers
    far, subnet = lab.network("10.9.0.0/16")
    connection = network.peer(place.vpc, far)
    group = lab.group(far, "open", [everything(ANYWHERE)])
    [target] = lab.launch(subnet, group)
    seen_by = place.witness(target)
    place.near.agent.serve_tcp(port=8080)
    place.balance(certificate=Certificate("example.com"))
    peered = balancers.group("peered", place.vpc, 8080, kind="ip",
                             preserve_client_ip__enabled=True)
    balancers.elb.modify_listener(ListenerArn=place.listener, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": peered}])
    balancers.elb.register_targets(TargetGroupArn=peered, Targets=[
        {"Id": target.ip, "AvailabilityZone": "all"}])
    here, there = network.table(place.vpc, place.here, place.there), network.table(far, subnet)
    network.route(here, "10.9.0.0/16", connection)
    # The node's subnet is not led to: the target's answers go nowhere, and no check has seen it.
    assert not place.talk(tls={}, patience=1).get("whole")
    network.route(there, "10.0.0.0/16", connection)
    until(lambda: set(balancers.health(peered).values()) == {"healthy"}, "it is healthy", 30)
    lab.in_force()
    seen = place.talk(tls={}, length=1 << 20)
    assert seen["whole"], seen
    assert seen_by()[-1] == [place.client.ip, seen["local"]]
    # The gate of the target judges the client's address.
    lab.revoke(group, everything(ANYWHERE))
    lab.authorize(group, tcp(f"{place.address}/32", 8080))
    assert not place.talk(tls={}, patience=1).get("whole")
    lab.authorize(group, tcp(f"{place.client.ip}/32", 8080))
    assert place.talk(tls={})["whole"]
    balancers.elb.modify_listener(ListenerArn=place.listener, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": place.targets}])


def test_connections_end_with_their_target(place):
    place.near.agent.serve_tcp(port=8080)
    place.balance(certificate=Certificate("example.com"),
                  attributes={"deregistration_delay__connection_termination__enabled": True,
                              "deregistration_delay__timeout_seconds": "0"})
    stays = place.begin(tls={}, stay=True)
    assert stays.stdout.readline() == "stays\n"
    place.balancers.deregister(place.targets, place.near.id)
    out, _ = stays.communicate(timeout=30)
    ended = json.loads(out)
    assert ended.get("error") == "ConnectionResetError", ended
    # And where nobody is registered, nobody is reached.
    until(lambda: not place.talk(tls={}).get("whole"), "no target", within=10)


# Files of two seconds instead of five minutes.
_SHORT = """[flow_logs]
window_s = 1
file_s = 2
"""


@pytest.fixture
def logging(start_daemon):
    lab = Lab(start_daemon("ebpf", config=_SHORT))
    place = Place(lab, Balancers(lab))
    yield place
    place.close()
    lab.close()


def _rows(place, *path):
    """The rows of all files below a folder of a bucket."""
    files = (place.lab.daemon.data / "buckets").joinpath(*path).rglob("*.log.gz")
    return [line.split(" ") for file in sorted(files)
            for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def test_connections_are_in_the_access_log(logging):
    place = logging
    elb = place.balancers.elb
    certificate = Certificate("example.com")
    place.serve_tls(place.near, Certificate("of.nobody"))
    place.balance(certificate=certificate, targets_protocol="TLS", AlpnPolicy=["HTTP2Optional"])

    def set_attributes(**attributes):
        elb.modify_load_balancer_attributes(LoadBalancerArn=place.balancer, Attributes=[
            {"Key": f"access_logs.s3.{key}", "Value": value} for key, value in attributes.items()])

    with refused("InvalidConfigurationRequest"):
        set_attributes(enabled="true")
    # Nothing is logged until it is asked for.
    assert place.talk(tls={}, more=2)["whole"]
    set_attributes(enabled="true", bucket="of-mine", prefix="web")
    folder = ("of-mine", "web", "AWSLogs", "123456789012")
    begun = place.lab.daemon.data.joinpath("buckets", *folder, "ELBAccessLogTestFile")
    until(begun.exists, "the test file is there", 10)
    seen = place.talk(tls={"alpn": ["h2", "x"], "name": "example.com"}, more=2, length=1000)
    assert seen["whole"], seen
    assert "error" in place.talk(tls={"most": "TLSv1_1"})
    until(lambda: len(_rows(place, *folder)) == 2, "two rows", 20)
    [good, bad] = sorted(_rows(place, *folder), key=lambda row: row[-2] == "-")
    arn, listener = place.balancer.split(":loadbalancer/")[1], place.listener.split("/")[-1]
    assert good[:2] == ["tls", "2.0"] and good[3:5] == [arn, listener]
    assert good[5:7] == [f"{place.client.ip}:{seen['local']}", f"{place.address}:443"]
    assert int(good[7]) >= int(good[8]) >= 0
    # What the target sent is two bytes more.
    assert good[9:12] == ["1000", "1002", "-"]
    assert good[12] == place._arns[0]
    assert good[13:17] == ["-", "TLS_AES_256_GCM_SHA384", "tlsv13", "-"]
    assert good[17:21] == ["example.com", "h2", "h2", '"h2","x"']
    assert bad[8:11] == ["-", "0", "0"] and bad[14:16] == ["-", "-"]
    name = re.compile(r"123456789012_elasticloadbalancing_us-east-1_"
                      + re.escape(arn.replace("/", ".")) + r"_\d{8}T\d{4}Z_[a-z0-9]{8}\.log\.gz")
    of_day = place.lab.daemon.data.joinpath(
        "buckets", *folder, "elasticloadbalancing", "us-east-1")
    files = list(of_day.rglob("*.gz"))
    assert files and all(name.fullmatch(file.name) for file in files), files
    days = {str(file.parent.relative_to(of_day)) for file in files}
    assert days <= {when.replace("-", "/")[:10] for when in (good[2], bad[2])}, days
    # What goes on at the daemon's end is told then, and nothing after logs are off.
    kept = place.begin(tls={}, more=2, stay=True)
    assert kept.stdout.readline() == "stays\n"
    set_attributes(enabled="false")
    assert place.talk(tls={}, more=2)["whole"]
    place.lab.daemon.stop()
    rows = _rows(place, *folder)
    place.lab.daemon.start()
    assert len(rows) == 3
