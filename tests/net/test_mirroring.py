"""Traffic mirroring: copies of packets, as their target gets them.

        10.0.0.0/24: source ── server            10.0.1.0/24: monitor
"""

import pytest

from support.lab import ANYWHERE
from support.mirror import VXLAN, Copy, Mirror, both, copies, is_copy, rule
from support.network import allow, deny
from support.rules import everything, tcp, udp
from support.tap import IMAGE, Tap
from support.until import until

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58


@pytest.fixture
def mirror(lab):
    made = Mirror(lab)
    yield made
    made.close()


@pytest.fixture
def three(lab):
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    source, server = lab.launch(near, group, count=2)
    monitor = lab.instance(far, group)
    server.agent.serve_udp(port=7)
    server.agent.serve_tcp(port=80)
    listen(monitor)
    return vpc, source, server, monitor


def listen(monitor):
    monitor.agent.serve_udp(port=VXLAN, echo=False)
    monitor.agent.sniff(device="eth0")


def ask(source, server, port=7, **options):
    """A datagram that must be answered."""
    assert source.agent.datagram(address=server.ip, port=port, **options).endswith(source.ip)


def seen(monitor, count):
    """As many copies as shall come, once they have."""
    found = []

    def all_there():
        found.extend(copies(monitor))
        return len(found) >= count

    until(all_there, f"{count} copies")
    assert len(found) == count, found
    return found


def to_and_from(monitor, address):
    """The copy of what went to an address and that of the answer: copies that two CPUs make may overtake
    each other."""
    return sorted(seen(monitor, 2), key=lambda copy: copy.inner.destination != address)


def reasons(lab, instance):
    [counted] = lab.daemon.json("counters", instance.eni)["interfaces"]
    return {reason: count for reason, count in counted["drops"].items() if count}


def test_what_it_sends_and_gets_is_copied(lab, mirror, three):
    vpc, source, server, monitor = three
    mirror.session(source, mirror.target(monitor), mirror.filter(*both()))
    ask(source, server, length=100)
    out, back = to_and_from(monitor, server.ip)
    for copy in (out, back):
        assert (copy.source, copy.target, copy.vni) == (source.ip, monitor.ip, 7)
        assert copy.source_port >= 0xC000
    assert (out.inner.source, out.inner.destination) == (source.ip, server.ip)
    assert (out.inner.port, len(out.inner.body)) == (7, 108)
    assert out.frame[6:12].hex(":") == source.agent.mac(device="eth0")
    assert (back.inner.source, back.inner.destination) == (server.ip, source.ip)
    assert back.frame[:6].hex(":") == source.agent.mac(device="eth0")
    # Of other protocols as well; what the others send each other is not.
    assert source.agent.ping(address=server.ip) == "open"
    assert [copy.inner.protocol for copy in seen(monitor, 2)] == [ICMP, ICMP]
    assert source.agent.connect(address=server.ip, port=80) == "open"
    assert {copy.inner.protocol for copy in copies(monitor)} == {TCP}
    assert monitor.agent.ping(address=server.ip) == "open"
    ask(source, server)
    seen(monitor, 2)
    assert lab.daemon.json("verify")["agree"]
    [counted] = lab.daemon.json("counters", source.eni)["interfaces"]
    assert counted["mirrored_packets"] >= 6 and counted["copies_lost"] == 0


def test_ipv6_is_copied_in_ipv4(lab, mirror):
    vpc, subnet = lab.network_of_both_families()
    group = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    source, server = lab.launch(subnet, group, count=2, Ipv6AddressCount=1)
    monitor = lab.instance(subnet, group)
    listen(monitor)
    six = server.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    server.agent.serve_udp(port=7, address="::")
    only_v6 = mirror.filter(*both(source="::/0", destination="::/0"))
    mirror.session(source, mirror.target(monitor), only_v6)
    assert source.agent.ping(address=server.ip) == "open"
    assert source.agent.ping(address=six) == "open"
    assert [copy.inner.protocol for copy in seen(monitor, 2)] == [ICMP6, ICMP6]
    assert source.agent.datagram(address=six, port=7) != "timeout"
    [out, _] = to_and_from(monitor, six)
    assert (out.inner.protocol, out.inner.destination) == (UDP, six)
    assert out.source == source.ip


def test_a_filter_says_which(lab, mirror, three):
    vpc, source, server, monitor = three
    server.agent.serve_udp(port=8)
    chosen = mirror.filter(
        rule(action="reject", protocol=UDP, ports=(8, 9)),
        rule(protocol=UDP, destination=f"{server.ip}/32"),
        rule(out=False, protocol=TCP, source_ports=(80, 80)),
    )
    mirror.session(source, mirror.target(monitor), chosen)
    for port in (8, 7):
        ask(source, server, port=port)
    assert [copy.inner.port for copy in seen(monitor, 1)] == [7]
    # Of a TCP connection only what comes back.
    assert source.agent.connect(address=server.ip, port=80) == "open"
    ask(source, server)
    found = [copy.inner.source_port for copy in copies(monitor)
             if copy.inner.protocol == TCP]
    assert found and set(found) == {80}
    # A rule that changes holds for the flow that is there.
    rejected = lab.ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[chosen])
    [first] = [one for one in rejected["TrafficMirrorFilters"][0]["EgressFilterRules"]
               if one["RuleNumber"] == 1]
    ask(source, server, port=8, name="kept")
    # The connection's end may still come.
    assert {copy.inner.protocol for copy in copies(monitor)} <= {TCP}
    lab.ec2.delete_traffic_mirror_filter_rule(
        TrafficMirrorFilterRuleId=first["TrafficMirrorFilterRuleId"])
    ask(source, server, port=8, name="kept")

    def the_copy():
        return [copy.inner.port for copy in copies(monitor) if copy.inner.protocol == UDP]

    assert until(the_copy, "the copy") == [8]


def test_sessions_are_asked_in_their_order(lab, mirror, three):
    vpc, source, server, monitor = three
    target = mirror.target(monitor)
    mirror.session(source, target, mirror.filter(*both()), number=30, vni=300)
    mirror.session(source, target, mirror.filter(rule(protocol=UDP)), number=20, vni=200)
    first = mirror.session(source, target, mirror.filter(rule(protocol=ICMP)), number=10, vni=100)
    ask(source, server)
    assert [copy.vni for copy in to_and_from(monitor, server.ip)] == [200, 300]
    assert source.agent.ping(address=server.ip) == "open"
    assert [copy.vni for copy in to_and_from(monitor, server.ip)] == [100, 300]
    mirror.end(first)
    assert source.agent.ping(address=server.ip) == "open"
    assert [copy.vni for copy in to_and_from(monitor, server.ip)] == [300, 300]


def test_a_session_holds_for_what_is_under_way_and_ends_at_once(lab, mirror, three):
    vpc, source, server, monitor = three
    target, everything_is = mirror.target(monitor), mirror.filter(*both())
    assert source.agent.connect(address=server.ip, port=80, name="kept") == "open"
    session = mirror.session(source, target, everything_is)
    assert source.agent.exchange(name="kept") == "open"
    assert {copy.inner.protocol for copy in copies(monitor)} == {TCP}
    mirror.end(session)
    copies(monitor)
    for _ in range(20):
        assert source.agent.exchange(name="kept") == "open"
    assert copies(monitor) == []


def test_what_is_dropped_at_the_source_is_not_copied(lab, network, mirror, three):
    vpc, source, server, monitor = three
    mirror.session(source, mirror.target(monitor), mirror.filter(*both()))
    closed = lab.group(vpc, "closed", egress=[udp(ANYWHERE, 7)])
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=source.eni, Groups=[closed])
    assert source.agent.datagram(address=server.ip, port=8) == "timeout"
    assert server.agent.datagram(address=source.ip, port=9) == "timeout"
    ask(source, server)
    assert {copy.inner.port for copy in seen(monitor, 2)} - {7} < set(range(1024, 65536))
    # What the other end drops has left.
    shut = lab.group(vpc, "shut")
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=server.eni, Groups=[shut])
    assert source.agent.datagram(address=server.ip, port=7, source_port=5000) == "timeout"
    assert [copy.inner.port for copy in seen(monitor, 1)] == [7]


def test_the_targets_group_and_the_acls_judge_copies(lab, network, mirror, three):
    vpc, source, server, monitor = three
    mirror.session(source, mirror.target(monitor), mirror.filter(rule()))
    only_tcp = lab.group(vpc, "tcp", [tcp(ANYWHERE, 1, 65535)])
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=monitor.eni, Groups=[only_tcp])
    ask(source, server)
    until(lambda: reasons(lab, monitor) == {"ingress-rule": 1}, "the drop is counted")
    lab.authorize(only_tcp, udp(ANYWHERE, VXLAN))
    ask(source, server)
    seen(monitor, 1)
    # The network ACL of the source's subnet, for what leaves it to the target.
    acl = network.acl(vpc, allow(100), allow(110, out=True), deny(50, "17", (VXLAN, VXLAN), out=True))
    network.use_acl(acl, source.describe()["SubnetId"])
    ask(source, server)
    until(lambda: reasons(lab, source).get("acl-egress") == 1, "the drop is counted")
    assert copies(monitor) == []
    # Copies are in no list of flows.
    ports = {flow["destination_port"] for flow in lab.daemon.json("flows")}
    assert VXLAN not in ports


def test_a_copy_is_cut(lab, mirror, three):
    vpc, source, server, monitor = three
    target, everything_is = mirror.target(monitor), mirror.filter(rule(protocol=UDP))
    short = mirror.session(source, target, everything_is, PacketLength=60)
    ask(source, server, length=1000)
    [copy] = seen(monitor, 1)
    assert (len(copy.frame), copy.length) == (60, 96)
    mirror.end(short)
    mirror.session(source, target, everything_is)
    # What fits with the new headers is whole, and what does not is cut to the MTU.
    ask(source, server, length=9001 - 50 - 28)
    [copy] = seen(monitor, 1)
    assert copy.inner.is_whole and copy.length == 9001
    ask(source, server, length=9001 - 28)
    [copy] = seen(monitor, 1)
    assert not copy.inner.is_whole and copy.length == 9001


@pytest.mark.parametrize("offload", [True, False])
def test_bulk_arrives_as_packets_of_the_wire(lab, mirror, three, offload):
    vpc, source, server, monitor = three
    for guest in (source, server):
        guest.agent.offload(device="eth0", on=offload)
    server.exec("ip", "link", "set", "eth0", "mtu", "1500")
    source.exec("ip", "link", "set", "eth0", "mtu", "1500")
    target, bulk = mirror.target(monitor), mirror.filter(rule(protocol=TCP))
    session = mirror.session(source, target, bulk)
    assert source.agent.connect(address=server.ip, port=80, name="bulk") == "open"
    assert source.agent.exchange(name="bulk", length=200_000, timeout=10) == "open"
    ask_length, found = 200_005, {}

    def all_there():
        for copy in copies(monitor):
            assert copy.inner.is_whole and len(copy.frame) <= 1514
            sequence = int.from_bytes(copy.inner.body[4:8], "big")
            found[sequence] = len(copy.inner.body) - (copy.inner.body[12] >> 4) * 4
        return sum(found.values()) >= ask_length

    until(all_there, "all bytes that the source sent")
    assert sum(found.values()) == ask_length
    # The heads of packets alone, if a session wants no more.
    mirror.end(session)
    mirror.session(source, target, bulk, PacketLength=80)
    assert source.agent.exchange(name="bulk", length=50_000, timeout=10) == "open"
    until(lambda: reasons(lab, source) == {} and (heads := copies(monitor)) and
          all(len(copy.frame) <= 80 for copy in heads), "heads of packets")


def test_many_datagrams_in_one_arrive_one_by_one(lab, mirror, three):
    vpc, source, server, monitor = three
    mirror.session(source, mirror.target(monitor), mirror.filter(rule(protocol=UDP)))
    sent = source.agent.pour_udp(address=server.ip, port=7, seconds=0.2, per_second=2_000,
                                 length=1_200, segments=8)
    assert sent >= 8
    found = seen(monitor, sent)
    assert all(copy.inner.is_whole and len(copy.inner.body) == 1_208 for copy in found)


def test_fragments_are_copied_one_by_one(lab, mirror, three):
    vpc, source, server, monitor = three
    for guest in (source, server):
        guest.exec("ip", "link", "set", "eth0", "mtu", "1500")
    mirror.session(source, mirror.target(monitor), mirror.filter(rule(protocol=UDP)))
    ask(source, server, length=4_000)
    found = seen(monitor, 3)
    assert sum(len(copy.frame) - 34 for copy in found) == 4_008


def test_questions_to_the_resolver_only_if_asked_for(lab, mirror, three):
    vpc, source, server, monitor = three
    chosen = mirror.filter(*both())
    mirror.session(source, mirror.target(monitor), chosen)
    name = "ip-10-0-0-10.ec2.internal"
    query = ("getent", "hosts", name)
    source.exec(*query, check=False)
    source.exec("sh", "-c", "wget -q -O - -T 1 http://169.254.169.254/ || true")
    assert copies(monitor) == []
    lab.ec2.modify_traffic_mirror_filter_network_services(
        TrafficMirrorFilterId=chosen, AddNetworkServices=["amazon-dns"])
    assert source.agent.datagram(address="10.0.0.2", port=53, text="\x01\x02\x01\x00" + "\x00\x01" +
                                 "\x00" * 6 + "\x01a\x00\x00\x01\x00\x01") != "timeout"
    assert [copy.inner.port == 53 for copy in to_and_from(monitor, "10.0.0.2")] == [True, False]


def test_what_comes_from_outside_is_copied_as_it_arrives(lab, network, internet, mirror, three):
    vpc, source, server, monitor = three
    gateway = lab.internet(vpc)
    table = network.table(vpc, source.describe()["SubnetId"])
    network.route(table, "0.0.0.0/0", gateway)
    public = lab.address()
    lab.ec2.associate_address(AllocationId=public["AllocationId"], InstanceId=source.id)
    mirror.session(source, mirror.target(monitor), mirror.filter(*both()))
    source.agent.serve_udp(port=9)
    elsewhere = internet.address(public["PublicIp"])
    assert internet.agent.datagram(address=public["PublicIp"], port=9) != "timeout"
    arrived, answer = to_and_from(monitor, source.ip)
    assert (arrived.inner.source, arrived.inner.destination) == (elsewhere, source.ip)
    assert (answer.inner.source, answer.inner.destination) == (source.ip, elsewhere)


def test_a_target_behind_a_peering_connection(lab, network, mirror, three):
    vpc, source, server, _ = three
    other, subnet = lab.network("10.9.0.0/16")
    monitor = lab.instance(subnet, lab.group(other, "copies", [udp("10.0.0.0/16", VXLAN)]))
    listen(monitor)
    mirror.session(source, mirror.target(monitor), mirror.filter(rule(protocol=UDP)))
    # No route leads there yet.
    ask(source, server)
    until(lambda: reasons(lab, source) == {"no-route": 1}, "the drop is counted")
    connection = network.peer(vpc, other)
    table = network.table(vpc, source.describe()["SubnetId"])
    network.route(table, "10.9.0.0/16", connection)
    ask(source, server)
    [copy] = seen(monitor, 1)
    assert (copy.source, copy.target) == (source.ip, monitor.ip)


def test_a_guest_on_a_tap_is_mirrored(lab, mirror):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    guest = lab.instance(subnet, group, ImageId=IMAGE)
    server, monitor = lab.launch(subnet, group, count=2)
    server.agent.serve_udp(port=7)
    listen(monitor)
    of_guest = mirror.session(guest, mirror.target(monitor), mirror.filter(*both(protocol=UDP)))
    tap = Tap(lab.daemon.json("tap", guest.id)["interfaces"][0])
    try:
        assert tap.datagram(server.ip, 7, b"hello") == f"5 {guest.ip}".encode()
        out, back = to_and_from(monitor, server.ip)
        assert (out.inner.source, back.inner.source) == (guest.ip, server.ip)
        # And gets copies, when it is no source any more.
        mirror.end(of_guest)
        to_tap = mirror.session(server, mirror.target(guest), mirror.filter(rule(protocol=ICMP)))
        assert server.agent.ping(address=monitor.ip) == "open"
        [copy] = [Copy(frame) for _, frame in tap.frames(0.5) if is_copy(frame)]
        assert (copy.source, copy.inner.destination) == (server.ip, monitor.ip)
        mirror.end(to_tap)
    finally:
        tap.close()


def test_without_a_listener_nothing_goes_round(lab, mirror):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    source, server, monitor = lab.launch(subnet, group, count=3)
    server.agent.serve_udp(port=7)
    monitor.agent.sniff(device="eth0")
    mirror.session(source, mirror.target(monitor), mirror.filter(*both()))
    ask(source, server)
    # Only those two, although the monitor answers each with an error.
    seen(monitor, 2)
    assert source.agent.ping(address=server.ip) == "open"
    assert [copy.inner.protocol for copy in seen(monitor, 2)] == [ICMP, ICMP]


def test_mirroring_goes_on_without_the_daemon_and_behind_the_next(lab, mirror, three):
    vpc, source, server, monitor = three
    mirror.session(source, mirror.target(monitor), mirror.filter(*both()))
    ask(source, server)
    seen(monitor, 2)
    lab.daemon.kill()
    ask(source, server)
    seen(monitor, 2)
    lab.daemon.start()
    ask(source, server)
    seen(monitor, 2)
    assert lab.daemon.json("verify")["agree"]
