"""How good connections are, and whether instances can be reached, as metrics: what packets did is what
CloudWatch and Prometheus tell.

        subnet 10.0.0.0/24       subnet 10.0.1.0/24
        client ───────────────── server
"""

import datetime
import subprocess

import pytest

from support.lab import ANYWHERE, Lab
from support.network import Network, allow, deny
from support.rules import tcp
from support.until import until

# Metrics of a second instead of a minute.
CONFIG = """[metrics]
every_s = 1
"""

PATIENCE = 20


@pytest.fixture
def daemon(start_daemon):
    return start_daemon("ebpf", config=CONFIG)


@pytest.fixture
def lab(daemon):
    lab = Lab(daemon)
    yield lab
    lab.close()


@pytest.fixture
def network(lab):
    network = Network(lab)
    yield network
    network.close()


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


def points(cloudwatch, name, namespace="Enid", period=3600, **dimension):
    now = datetime.datetime.now(datetime.UTC)
    [(key, value)] = dimension.items()
    found = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName=name, Period=period,
        Statistics=["SampleCount", "Sum", "Maximum"],
        StartTime=now - datetime.timedelta(minutes=10), EndTime=now + datetime.timedelta(seconds=period),
        Dimensions=[{"Name": key, "Value": value}])["Datapoints"]
    return sorted(found, key=lambda point: point["Timestamp"])


def sums(cloudwatch, name, **dimension):
    """How many values there are, and their sum."""
    found = points(cloudwatch, name, **dimension)
    return (sum(point["SampleCount"] for point in found), sum(point["Sum"] for point in found))


def exposed(daemon, name, eni):
    _, _, text = daemon.get("/metrics")
    values = [line.split()[-1] for line in text.splitlines()
              if line.startswith(name + "{") and eni in line]
    return float(values[0]) if values else None


def test_round_trips_and_what_was_sent_again_are_published(daemon, lab, network, cloudwatch):
    # Fails if a handshake counts twice or not at all, or if what is sent once counts as sent again.
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "server", [tcp(ANYWHERE, 80)])
    client, server = lab.instance(near, lab.group(vpc, "client")), lab.instance(far, group)
    acl = network.acl(vpc, allow(100), allow(100, out=True))
    network.use_acl(acl, far)
    server.agent.serve_tcp(port=80)

    def counted(instance):
        [found] = daemon.json("counters", instance.eni)["interfaces"]
        return found

    def agrees(instance):
        """Whether all that was counted was published, of the interface and of its instance."""
        kernel = counted(instance)
        eni = {"NetworkInterfaceId": instance.eni}
        if (sums(cloudwatch, "TcpHandshakes", **eni)[1],
                sums(cloudwatch, "TcpPacketsOut", **eni)[1],
                sums(cloudwatch, "TcpRetransmits", **eni)[1]) != (
                    kernel["tcp_handshakes"], kernel["tcp_packets_out"], kernel["tcp_retransmits"]):
            return None
        for whose in (eni, {"InstanceId": instance.id}):
            trips = sums(cloudwatch, "TcpRoundTripTime", **whose)
            assert trips == (kernel["tcp_handshakes"], pytest.approx(kernel["tcp_handshake_us"]))
            rate = sums(cloudwatch, "TcpRetransmissionRate", **whose)
            assert rate == (kernel["tcp_packets_out"],
                            pytest.approx(100 * kernel["tcp_retransmits"]))
        return kernel

    for port in (50_001, 50_002):
        assert client.agent.connect(address=server.ip, port=80, name=f"{port}",
                                    source_port=port) == "open"
        assert client.agent.exchange(name=f"{port}", length=20_000) == "open"
    calm = until(lambda: agrees(client), "the client's metrics agree", within=PATIENCE)
    assert (calm["tcp_handshakes"], calm["tcp_retransmits"]) == (2, 0)
    assert until(lambda: agrees(server), "the server's metrics agree",
                 within=PATIENCE)["tcp_handshakes"] == 2
    # Answers no longer come back: the client asks again and again, and then gives up.
    network.entry(acl, deny(70, out=True))
    assert client.agent.connect(address=server.ip, port=80, source_port=50_003,
                                timeout=1.5) == "timeout"
    again = until(lambda: (found := agrees(client)) and found["tcp_retransmits"] and found,
                  "what was sent again is published", within=PATIENCE)
    assert again["tcp_handshakes"] == 2
    # Prometheus has the counters themselves.
    for name, value in {"tcp_handshakes_total": again["tcp_handshakes"],
                        "tcp_handshake_seconds_total": again["tcp_handshake_us"] / 1e6,
                        "tcp_transmit_packets_total": again["tcp_packets_out"],
                        "tcp_retransmitted_packets_total": again["tcp_retransmits"]}.items():
        assert exposed(daemon, f"enid_eni_{name}", client.eni) == pytest.approx(value), name


def test_who_had_no_connections_has_no_round_trips(lab, cloudwatch):
    _, subnet = lab.network()
    quiet = lab.instance(subnet)
    until(lambda: points(cloudwatch, "BytesOut", NetworkInterfaceId=quiet.eni),
          "it has metrics", within=PATIENCE)
    for name in ("TcpHandshakes", "TcpRoundTripTime", "TcpRetransmissionRate"):
        assert points(cloudwatch, name, NetworkInterfaceId=quiet.eni) == []


def test_status_checks_tell_whose_end_is_down(daemon, lab, cloudwatch):
    # One instance fails its checks, the other passes them all the time.
    _, subnet = lab.network()
    ill, well = lab.instance(subnet), lab.instance(subnet)
    device = f"eni{ill.eni.removeprefix('eni-')[:12]}"

    def latest(name, instance):
        found = points(cloudwatch, name, "AWS/EC2", period=1, InstanceId=instance.id)
        return found[-1]["Maximum"] if found else None

    def told(instance):
        """The metrics of now, as whether each check fails."""
        return tuple(latest(f"StatusCheckFailed{part}", instance)
                     for part in ("", "_Instance", "_System"))

    def described(instance):
        [status] = lab.ec2.describe_instance_status(InstanceIds=[instance.id])["InstanceStatuses"]
        return status["InstanceStatus"], status["SystemStatus"]

    until(lambda: told(ill) == told(well) == (0, 0, 0), "both pass", within=PATIENCE)
    ill.exec("ip", "link", "set", "eth0", "down")
    until(lambda: told(ill) == (1, 1, 0), "the instance's check fails", within=PATIENCE)
    own, system = described(ill)
    assert (own["Status"], system["Status"]) == ("impaired", "ok")
    [detail] = own["Details"]
    assert (detail["Name"], detail["Status"]) == ("reachability", "failed")
    assert "ImpairedSince" in detail
    only = lab.ec2.describe_instance_status(
        Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}])["InstanceStatuses"]
    assert [status["InstanceId"] for status in only] == [ill.id]
    ill.exec("ip", "link", "set", "eth0", "up")
    until(lambda: told(ill) == (0, 0, 0), "it passes again", within=PATIENCE)
    assert [status["Status"] for status in described(ill)] == ["ok", "ok"]
    # The host's end: nothing reaches the instance either.
    subprocess.run(["ip", "link", "set", device, "down"], check=True)
    try:
        until(lambda: told(ill) == (1, 1, 1), "the system's check fails", within=PATIENCE)
        assert [status["Status"] for status in described(ill)] == ["impaired", "impaired"]
    finally:
        subprocess.run(["ip", "link", "set", device, "up"], check=True)
    until(lambda: told(ill) == (0, 0, 0), "it passes again", within=PATIENCE)
    # Whoever is stopped has no checks.
    lab.ec2.stop_instances(InstanceIds=[ill.id])
    assert lab.ec2.describe_instance_status(InstanceIds=[ill.id])["InstanceStatuses"] == []
    assert told(well) == (0, 0, 0)
