"""What `--enforce-allowances` limits: bandwidth, packets, single flows and connections of an instance.

Rates are measured where packets arrive, over seconds after the first burst: what the buckets hold at
first is not part of a rate.
"""

import time

import pytest

from support.daemon import DEFAULT_CONFIG
from support.lab import ANYWHERE, Lab
from support.rules import everything, tcp, udp
from support.until import until

pytestmark = pytest.mark.real_packets

SINK = 5001
HEADERS = 28  # IPv4 and UDP.
SMALL, FREE = "t3.nano", "m5.large"

# Everything about the type is far above what a test sends, but for what it names itself.
AMPLE = {"baseline_gbps": 100.0, "peak_gbps": 100.0, "flow_gbps": 100.0,
         "packets_per_second": 100_000_000, "tracked_connections": 1_000_000}


def config(enforce=True, burst_seconds=300, **small):
    """A configuration in which the small type has these figures and nothing else limits it."""
    lines = [DEFAULT_CONFIG, "[allowances]", f"enforce = {str(enforce).lower()}",
             f"burst_seconds = {burst_seconds}"]
    for name, figures in ((SMALL, AMPLE | small), (FREE, AMPLE)):
        lines.append(f'[allowances.types."{name}"]')
        lines += [f"{key} = {value}" for key, value in figures.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture
def pair(start_daemon):
    """A small instance and one that nothing limits; every packet passes their groups."""
    labs = []

    def make(**options):
        lab = Lab(start_daemon("ebpf", config=config(**options)))
        labs.append(lab)
        vpc, subnet = lab.network()
        group = lab.group(vpc, "open", [everything(ANYWHERE)])
        small = lab.instance(subnet, group, InstanceType=SMALL)
        free = lab.instance(subnet, group, InstanceType=FREE)
        return lab, small, free

    yield make
    for lab in labs:
        lab.close()


def counters(lab, instance):
    [interface] = lab.daemon.json("counters", instance.eni)["interfaces"]
    return interface


def rate(agent, port, key, seconds=5.0, after=1.5):
    """What arrives at a counting port in a second, once the first burst is over."""
    time.sleep(after)  # Not for a condition: the time is what is measured.
    first, begin = agent.counted(port=port)[key], time.monotonic()
    time.sleep(seconds)
    last, end = agent.counted(port=port)[key], time.monotonic()
    return (last - first) / (end - begin)


def near(expected):
    return pytest.approx(expected, rel=0.05)


def pour_udp(sender, receiver, mbps, length=1000, segments=1, seconds=7.5):
    """Begins to send at a rate of wire bits, headers included."""
    per_second = mbps * 1e6 / 8 / (length + HEADERS)
    return sender.agent.start("pour_udp", address=receiver.ip, port=SINK, seconds=seconds,
                              per_second=per_second, length=length, segments=segments)


@pytest.mark.parametrize("segments", [1, 40])
def test_bandwidth_out(pair, segments):
    # Fails if the limit is off by more than 5 %, or if a frame of many segments counts as one packet.
    lab, small, free = pair(baseline_gbps=0.04, peak_gbps=0.04)
    free.agent.count_udp(port=SINK)
    pouring = pour_udp(small, free, mbps=80, segments=segments)
    arrived = rate(free.agent, SINK, "packets")
    assert arrived * (1000 + HEADERS) * 8 / 1e6 == near(40)
    sent = pouring.result(20)
    seen = counters(lab, small)
    assert seen["bw_out_allowance_exceeded"] > sent * 0.3
    # Every packet is one that passed or one that was dropped.
    assert seen["packets_out"] + seen["bw_out_allowance_exceeded"] == sent
    assert counters(lab, free)["packets_in"] == seen["packets_out"]
    assert seen["bytes_out"] == seen["packets_out"] * (1000 + HEADERS)
    assert set(seen["drops"]) == {"bandwidth-out-allowance"} and counters(lab, free)["drops"] == {}


def test_what_keeps_to_the_bandwidth_passes(pair):
    # Fails if a packet below the limit is dropped.
    lab, small, free = pair(baseline_gbps=0.04, peak_gbps=0.04)
    free.agent.count_udp(port=SINK)
    sent = pour_udp(small, free, mbps=36, seconds=3).result(20)
    until(lambda: free.agent.counted(port=SINK)["packets"] == sent, "all of them arrive")
    assert counters(lab, small)["drops"] == {}


def test_bandwidth_in(pair):
    # Fails if what an instance gets is not limited, or is counted at who sends.
    lab, small, free = pair(baseline_gbps=0.04, peak_gbps=0.04)
    small.agent.count_udp(port=SINK)
    pouring = pour_udp(free, small, mbps=80)
    arrived = rate(small.agent, SINK, "packets")
    assert arrived * (1000 + HEADERS) * 8 / 1e6 == near(40)
    pouring.result(20)
    assert counters(lab, small)["bw_in_allowance_exceeded"] > 0
    assert set(counters(lab, small)["drops"]) == {"bandwidth-in-allowance"}
    assert counters(lab, free)["drops"] == {}


@pytest.mark.parametrize("connections", [1, 4])
def test_tcp_gets_the_bandwidth(pair, connections):
    # Fails if TCP, which slows down for what is dropped, gets less than the limit.
    lab, small, free = pair(baseline_gbps=0.2, peak_gbps=0.2)
    free.agent.count_tcp(port=SINK)
    pouring = small.agent.start("pour_tcp", address=free.ip, port=SINK, seconds=10,
                                connections=connections)
    # Packets of 9,001 bytes carry 8,949 of the stream.
    arrived = rate(free.agent, SINK, "bytes", seconds=8.0) * 9001 / 8949
    assert arrived * 8 / 1e9 == near(0.2)
    pouring.result(20)
    assert counters(lab, small)["bw_out_allowance_exceeded"] > 0


def test_packets_per_second(pair):
    # Fails if packets are not limited, or those of one frame count as one.
    lab, small, free = pair(packets_per_second=4_000)
    free.agent.count_udp(port=SINK)
    pouring = pour_udp(small, free, mbps=80, segments=20)
    assert rate(free.agent, SINK, "packets") == near(4_000)
    pouring.result(20)
    assert counters(lab, small)["pps_allowance_exceeded"] > 0
    assert set(counters(lab, small)["drops"]) == {"packet-allowance"}


def test_credits_end_and_the_baseline_holds(pair):
    # Fails if an instance has no burst, or goes on at its peak for ever.
    lab, small, free = pair(baseline_gbps=0.02, peak_gbps=0.1, burst_seconds=3)
    free.agent.count_udp(port=SINK)
    pouring = pour_udp(small, free, mbps=150, seconds=12)
    burst = rate(free.agent, SINK, "packets", seconds=1.5, after=0.7)
    later = rate(free.agent, SINK, "packets", seconds=5.0, after=2.5)
    assert burst * (1000 + HEADERS) * 8 / 1e6 == near(100)
    assert later * (1000 + HEADERS) * 8 / 1e6 == near(20)
    pouring.result(20)
    assert counters(lab, small)["bw_out_allowance_exceeded"] > 0


def test_one_flow_is_limited_and_two_get_twice_as_much(pair):
    # Fails if the limit of a single flow is missing, or is that of all flows together.
    lab, small, free = pair(flow_gbps=0.02)
    free.agent.count_udp(port=SINK)
    pouring = pour_udp(small, free, mbps=60)
    assert rate(free.agent, SINK, "packets") * (1000 + HEADERS) * 8 / 1e6 == near(20)
    pouring.result(20)
    both = [pour_udp(small, free, mbps=60) for _ in range(2)]
    assert rate(free.agent, SINK, "packets") * (1000 + HEADERS) * 8 / 1e6 == near(40)
    for pouring in both:
        pouring.result(20)
    assert set(counters(lab, small)["drops"]) == {"flow-allowance"}


def test_tracked_connections(start_daemon):
    # Fails if connections beyond the allowance pass, if untracked ones count, or if what has ended is
    # never given back.
    lab = Lab(start_daemon("ebpf", config=config(tracked_connections=5)))
    vpc, subnet = lab.network()
    # Its rule names a network, so what it admits is tracked; UDP from everybody is not.
    small_group = lab.group(vpc, "small", [tcp("10.0.0.0/16", 80), udp(ANYWHERE, 7)])
    server = lab.instance(subnet, small_group, InstanceType=SMALL)
    client = lab.instance(subnet, lab.group(vpc, "free"), InstanceType=FREE)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=7)
    assert counters(lab, server)["conntrack_allowance_available"] == 5
    for number in range(5):
        assert client.agent.connect(address=server.ip, port=80, name=f"c{number}") == "open"
    seen = counters(lab, server)
    assert (seen["conntrack_connections"], seen["conntrack_allowance_available"]) == (5, 0)
    assert client.agent.connect(address=server.ip, port=80, timeout=0.2) == "timeout"
    assert counters(lab, server)["conntrack_allowance_exceeded"] > 0
    assert set(counters(lab, server)["drops"]) == {"conntrack-allowance"}
    assert counters(lab, client)["drops"] == {}
    assert client.agent.datagram(address=server.ip, port=7) != "timeout"
    for number in range(5):
        assert client.agent.exchange(name=f"c{number}") == "open"
    client.agent.start("close", name="c0").result(5)
    until(lambda: client.agent.connect(address=server.ip, port=80, timeout=0.2) == "open",
          "the closed connection's place is free", within=25)
    lab.close()


def test_nothing_is_limited_unless_asked_for(pair):
    # Fails if figures of the configuration hold without `enforce`.
    lab, small, free = pair(enforce=False, packets_per_second=64, tracked_connections=1)
    free.agent.count_udp(port=SINK)
    sent = pour_udp(small, free, mbps=20, seconds=1).result(20)
    until(lambda: free.agent.counted(port=SINK)["packets"] == sent, "all of them arrive")
    seen = counters(lab, small)
    assert seen["drops"] == {} and seen["conntrack_allowance_available"] is None


def test_the_flag_enforces_what_the_type_has(start_daemon):
    # Fails if the flag does nothing, or if a type's own figures are not the ones of AWS's list.
    daemon = start_daemon("ebpf", start=False)
    serve = daemon.serve_command
    daemon.serve_command = lambda: [*serve(), "--enforce-allowances"]
    daemon.start()
    lab = Lab(daemon)
    _, subnet = lab.network()
    two, ninety_six = (lab.instance(subnet, InstanceType=kind) for kind in
                       ("t3.nano", "m5.24xlarge"))
    available = [counters(lab, instance)["conntrack_allowance_available"]
                 for instance in (two, ninety_six)]
    assert available == [2 * 68_406, 96 * 68_406]
    lab.close()
