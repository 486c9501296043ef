"""`enid capture`: every packet of an interface, with what became of it."""

import json
import signal
import subprocess
import time

import dpkt
import pytest

from support.capture import Capture, by_dpkt_alone, counts, read
from support.lab import ANYWHERE
from support.mirror import VXLAN, Mirror, both, is_copy
from support.network import allow, deny
from support.rules import everything, udp
from support.until import until


@pytest.fixture
def pair(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, server = lab.launch(subnet, group, count=2)
    server.agent.serve_udp(port=7)
    server.agent.serve_tcp(port=80)
    return vpc, subnet, client, server


@pytest.fixture
def capture(lab, tmp_path):
    """Begins captures: `capture(eni, "--count", "3")`."""
    begun = []

    def begin(eni, *options):
        begun.append(Capture(lab.daemon, eni, tmp_path / f"{len(begun)}.pcapng", *options))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.stop()


def rules(lab, group, egress):
    described = lab.ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    return [one["SecurityGroupRuleId"] for one in described if one["IsEgress"] == egress]


def ask(client, server, port=7, **options):
    assert client.agent.datagram(address=server.ip, port=port, **options).endswith(client.ip)


def test_both_directions_with_their_rules(lab, pair, capture):
    vpc, subnet, client, server = pair
    before = time.time_ns()
    there, here = capture(server.eni), capture(client.eni)
    ask(client, server, length=100)
    out, back = here.seen(2)
    assert [packet.direction for packet in (out, back)] == ["egress", "ingress"]
    group = client.describe()["SecurityGroups"][0]["GroupId"]
    [egress], [ingress] = rules(lab, group, egress=True), rules(lab, group, egress=False)
    assert out.comment == f"forward to {server.eni} egress {egress} ingress {ingress}"
    assert back.comment.startswith(f"forward to {client.eni} from {server.eni}")
    assert (out.ip.udp.dport, len(out.ip.udp.data)) == (7, 100)
    assert before < out.time_ns <= back.time_ns < time.time_ns()
    # The other end sees the same packets the other way.
    assert [packet.direction for packet in there.seen(2)] == ["ingress", "egress"]
    assert there.packets()[0].ip.udp.data == out.ip.udp.data
    code, said = here.stop()
    assert (code, said) == (0, "enid: 2 packets\n")
    interface, packets, statistics = read(here.path.read_bytes())
    assert len(packets) == 2 and counts(statistics) == (2, 0)
    # A reader that is not ours reads it, to the nanosecond.
    times = [when for when, _ in by_dpkt_alone(here.path)]
    assert abs(times[0] - out.time_ns / 1e9) < 1e-3
    # Afterwards nothing is copied any more.
    ask(client, server)
    assert len(there.seen(4)) == 4 and len(here.packets()) == 2
    there.stop()
    assert lab.daemon.json("verify")["agree"]


def test_dropped_packets_say_why_and_where(lab, network, pair, capture):
    vpc, subnet, client, server = pair
    here, there = capture(client.eni), capture(server.eni)
    shut = lab.group(vpc, "shut")
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=server.eni, Groups=[shut])
    assert client.agent.datagram(address=server.ip, port=9) == "timeout"
    [packet] = here.seen(1)
    assert packet.comment == f"drop ingress-rule at {server.eni}"
    assert (packet.direction, packet.ip.udp.dport) == ("egress", 9)
    [packet] = there.seen(1)
    assert packet.comment == f"drop ingress-rule at {server.eni} from {client.eni}"
    assert packet.direction == "ingress"
    # What its own group keeps in is not seen at the other end.
    closed = lab.group(vpc, "closed", egress=[udp(ANYWHERE, 1)])
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=client.eni, Groups=[closed])
    assert client.agent.datagram(address=server.ip, port=9) == "timeout"
    assert here.seen(2)[1].comment == f"drop egress-rule at {client.eni}"
    assert len(there.packets()) == 1


def test_network_acls_and_routes_are_named(lab, network, pair, capture):
    vpc, subnet, client, server = pair
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = client.describe()["SecurityGroups"][0]["GroupId"]
    distant = lab.instance(far, group)
    distant.agent.serve_udp(port=7)
    acl = network.acl(vpc, allow(100), allow(110, out=True), deny(50, "17", (9, 9), out=True))
    network.use_acl(acl, subnet)
    here = capture(client.eni)
    ask(client, distant)
    passed, answer = here.seen(2)
    assert passed.comment.endswith(" acl-entries 110 route local")
    assert client.agent.datagram(address=distant.ip, port=9) == "timeout"
    assert here.seen(3)[2].comment == f"drop acl-egress at {client.eni} by {acl} entry 50"
    assert client.agent.datagram(address="192.0.2.1", port=9) == "timeout"
    assert here.seen(4)[3].comment == f"drop acl-egress at {client.eni} by {acl} entry 50"
    assert client.agent.datagram(address="192.0.2.1", port=8) == "timeout"
    assert here.seen(5)[4].comment == f"drop no-route at {client.eni}"


def test_services_and_the_outside(lab, network, internet, pair, capture):
    vpc, subnet, client, server = pair
    gateway = lab.internet(vpc)
    table = network.table(vpc, subnet)
    network.route(table, "0.0.0.0/0", gateway)
    public = lab.address()
    lab.ec2.associate_address(AllocationId=public["AllocationId"], InstanceId=client.id)
    here = capture(client.eni)
    assert client.agent.connect(address="169.254.169.254", port=80, timeout=0.2) != "open"
    asked, answered = here.seen(2)[:2]
    assert (asked.comment, asked.direction) == ("forward to services", "egress")
    assert (answered.comment, answered.direction) == (
        f"forward to {client.eni} from services", "ingress")
    known = len(here.packets())
    client.agent.serve_udp(port=9)
    assert internet.agent.datagram(address=public["PublicIp"], port=9) != "timeout"

    def of_udp():
        return [packet for packet in here.packets() if isinstance(packet.ip.data, dpkt.udp.UDP)]

    arrived, back = until(lambda: len(found := of_udp()) == 2 and found, "two packets")
    # As the interface has them, with its private address.
    assert arrived.ip.dst == bytes(int(part) for part in client.ip.split("."))
    assert arrived.comment.startswith(f"forward to {client.eni} from outside")
    assert back.comment.startswith("forward to outside") and known >= 2


def test_as_much_as_was_asked_for(lab, pair, capture):
    vpc, subnet, client, server = pair
    few, short = capture(client.eni, "--count", "3"), capture(client.eni, "--snaplen", "60")
    soon = capture(server.eni, "--for", "300ms")
    for _ in range(3):
        ask(client, server, length=500)
    assert few.wait() == (0, "enid: 3 packets\n")
    assert len(few.packets()) == 3 and len(few.packets()[0].bytes) == 542
    packet = short.seen(6)[0]
    assert (len(packet.bytes), packet.length) == (60, 542)
    assert soon.wait()[0] == 0
    for wrong in (["--count", "0"], ["--for", "soon"], ["--snaplen", "99999"]):
        assert lab.daemon.run("capture", client.eni, *wrong, check=False).returncode == 2


def test_lines_and_json(lab, pair):
    vpc, subnet, client, server = pair
    # `-` is the standard output.
    file = subprocess.Popen(lab.daemon.command("capture", client.eni, "--write", "-", "--count", "2"),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert file.stdout.read(4) == b"\n\r\r\n"
    lines = subprocess.Popen(lab.daemon.command("capture", client.eni), stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    objects = subprocess.Popen(lab.daemon.command("--json", "capture", client.eni, "--count", "2"),
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def has_two():
        # When it has begun nobody says, so it is asked until both have come.
        ask(client, server)
        return objects.poll() is not None

    until(has_two, "two packets")
    out, back = (json.loads(line) for line in objects.stdout.read().splitlines())
    assert {out["direction"], back["direction"]} == {"egress", "ingress"}
    assert (out["verdict"], out["reason"], out["protocol"]) == ("forward", None, 17)
    assert len(read(b"\n\r\r\n" + file.stdout.read())[1]) == 2
    assert file.wait() == 0
    line = lines.stdout.readline()
    assert " udp " in line and f"{client.ip}:" in line and f"{server.ip}:7" in line, line
    assert " forward to " in line
    lines.send_signal(signal.SIGINT)
    assert lines.wait() == 0


def test_who_is_not_there_is_not_captured(lab, pair):
    vpc, subnet, client, server = pair
    loose = lab.interface(subnet)["NetworkInterfaceId"]
    for eni in (loose, "eni-00000000000000007"):
        answer = lab.daemon.run("capture", eni, check=False)
        assert answer.returncode == 1
        assert answer.stderr == (
            f"enid: {eni} is no interface of an instance that runs on this host\n")
    assert lab.daemon.run("capture", "i-1", check=False).returncode == 2


def test_what_a_slow_reader_misses_is_counted(lab, pair, capture):
    vpc, subnet, client, server = pair
    slow = capture(client.eni)
    slow.process.send_signal(signal.SIGSTOP)
    sent = 0
    while sent < 10_000:
        sent += client.agent.pour_udp(address=server.ip, port=7, seconds=0.5, per_second=60_000,
                                      length=1_000)
    slow.process.send_signal(signal.SIGCONT)
    until(lambda: len(slow.packets()) > 100, "what was kept")
    code, said = slow.stop()
    assert code == 0 and "more were lost" in said
    _, packets, statistics = read(slow.path.read_bytes())
    received, dropped = counts(statistics)
    assert dropped > 0 and received == len(packets) + dropped
    # Meanwhile nothing was slow for the guests.
    ask(client, server)


def test_a_daemon_that_ends_ends_the_capture(lab, pair, capture):
    vpc, subnet, client, server = pair
    here = capture(client.eni)
    ask(client, server)
    here.seen(2)
    lab.daemon.kill()
    code, said = here.wait()
    assert (code, said) == (1, "enid: 2 packets; the daemon has ended\n")
    _, packets, statistics = read(here.path.read_bytes())
    assert len(packets) == 2 and counts(statistics) == (2, 0)
    ask(client, server)
    # The next one switches off what nobody captures any more.
    lab.daemon.start()
    assert lab.daemon.json("verify")["agree"]
    ask(client, server)


def test_a_target_of_mirror_sessions_is_seen_getting_copies(lab, pair, capture):
    vpc, subnet, client, server = pair
    monitor = lab.instance(subnet, client.describe()["SecurityGroups"][0]["GroupId"])
    monitor.agent.serve_udp(port=VXLAN, echo=False)
    mirror = Mirror(lab)
    try:
        mirror.session(client, mirror.target(monitor), mirror.filter(*both()))
        there, here = capture(monitor.eni), capture(client.eni)
        ask(client, server)
        copies = there.seen(2)
        assert all(is_copy(packet.bytes) for packet in copies)
        assert {packet.comment for packet in copies} == {"forward mirrored"}
        assert len(here.seen(2)) == 2
    finally:
        mirror.close()
