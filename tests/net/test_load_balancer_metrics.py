"""What the nodes of load balancers carry and refuse becomes metrics, and their flows have names.

        us-east-1a 10.0.0.0/24: client, near, the node      us-east-1b 10.0.1.0/24: far, the node
"""

import datetime

import pytest

from support.balancer import Balancers
from support.lab import ANYWHERE, Lab
from support.rules import everything, tcp
from support.until import until

# Metrics of a second instead of a minute.
CONFIG = """[metrics]
every_s = 1
"""
HERE, THERE = "us-east-1a", "us-east-1b"
# A datapoint comes when its second is over.
PATIENCE = 20


class Place:
    """A client and two targets in two zones."""

    def __init__(self, lab):
        self.lab, self.balancers = lab, Balancers(lab)
        self.vpc, self.here = lab.network()
        self.there = lab.subnet(self.vpc, "10.0.1.0/24", zone=THERE)
        group = lab.group(self.vpc, "open", [everything(ANYWHERE)])
        [self.client] = lab.launch(self.here, group)
        [self.near] = lab.launch(self.here, group)
        [self.far] = lab.launch(self.there, group)
        for one in (self.near, self.far):
            one.agent.serve_tcp(port=8080)
            one.agent.serve_udp(port=8080)
        self.cloudwatch = lab.daemon.client("cloudwatch")

    def value(self, name, statistic="Sum", group=None, zone=None, balancer=None):
        """A statistic of all datapoints of a metric; `None` without any."""
        wanted = {"LoadBalancer": (balancer or self.balancer).split(":loadbalancer/")[1]}
        if group:
            wanted["TargetGroup"] = group.split(":")[-1]
        if zone:
            wanted["AvailabilityZone"] = zone
        now = datetime.datetime.now(datetime.UTC)
        points = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/NetworkELB", MetricName=name, Period=3600, Statistics=[statistic],
            StartTime=now - datetime.timedelta(hours=3), EndTime=now + datetime.timedelta(hours=1),
            Dimensions=[{"Name": key, "Value": value} for key, value in wanted.items()])
        found = [point[statistic] for point in points["Datapoints"]]
        return {"Sum": sum, "Maximum": max, "Minimum": min}[statistic](found) if found else None

    def tells(self, **wanted):
        """Waits until the sums of metrics are these."""
        until(lambda: {name: self.value(name) for name in wanted} == wanted,
              f"metrics are {wanted}, of "
              f"{ {name: self.value(name) for name in wanted} }", within=PATIENCE)


@pytest.fixture
def place(start_daemon):
    lab = Lab(start_daemon("ebpf", config=CONFIG))
    place = Place(lab)
    yield place
    place.balancers.close()
    lab.close()


def test_what_a_load_balancer_does_is_told(place):
    lab, balancers, client = place.lab, place.balancers, place.client
    own = lab.group(place.vpc, "balancer", [everything(ANYWHERE)])
    place.balancer, nodes = balancers.make("told", place.here, place.there, groups=[own])
    addresses = {zone: node["PrivateIpAddress"] for zone, node in nodes.items()}
    group = balancers.group("told", place.vpc, 8080, "TCP_UDP")
    balancers.listen(place.balancer, group, 80, "TCP_UDP")
    balancers.register(group, place.near.id, place.far.id)
    # Until a check was seen nobody is healthy, nor anything else.
    until(lambda: set(balancers.health(group).values()) == {"healthy"}, "they are healthy", 20)
    lab.ec2.create_tags(Resources=[place.vpc], Tags=[{"Key": "seen", "Value": "health"}])
    for zone, ports in ((HERE, range(5000, 5003)), (THERE, range(5003, 5005))):
        for port in ports:
            assert client.agent.connect(address=addresses[zone], port=80, source_port=port,
                                        name=f"kept {port}") == "open"
    for port in range(6000, 6004):
        assert client.agent.datagram(address=addresses[HERE], port=80,
                                     source_port=port) != "timeout"
    place.tells(NewFlowCount=9, NewFlowCount_TCP=5, NewFlowCount_UDP=4, UnhealthyRoutingFlowCount=0,
                RejectedFlowCount=0, TCP_ELB_Reset_Count=0)
    assert place.value("NewFlowCount", zone=THERE) == 2
    until(lambda: place.value("ActiveFlowCount", "Maximum") == 9, "they go on", PATIENCE)
    assert place.value("ActiveFlowCount_TCP", "Maximum", zone=HERE) == 3
    # Five bytes and the answer, which is longer, with their headers.
    assert place.value("ProcessedBytes_UDP") > 4 * 2 * (5 + 28)
    assert place.value("ProcessedPackets") > 4 * 2 + 5 * 3
    carried = place.value("ProcessedBytes")
    assert carried == place.value("ProcessedBytes_TCP") + place.value("ProcessedBytes_UDP")
    # Far more of a unit's rate of new UDP flows and active TCP ones than of its bytes.
    until(lambda: (place.value("ConsumedLCUs_UDP") or 0) > 3.99 / (400 * 3600), "units", PATIENCE)
    assert place.value("ConsumedLCUs_TCP") > 4.99 / (800 * 3600)
    assert place.value("ConsumedLCUs_TLS") == 0
    of_all = place.value("ConsumedLCUs")
    assert of_all > 4.99 / (800 * 3600) + 3.99 / (400 * 3600)
    assert place.value("ConsumedLCUs", zone=HERE) is None
    for statistic in ("Maximum", "Minimum"):
        assert place.value("ZonalHealthStatus", statistic, zone=HERE) in (0, 1)
    assert place.value("HealthyHostCount", "Maximum", group=group) == 2
    assert place.value("HealthyHostCount", "Maximum", group=group, zone=THERE) == 1
    assert place.value("UnHealthyHostCount", "Maximum", group=group) == 0
    # What the groups refuse counts each time that it is tried.
    lab.revoke(own, everything(ANYWHERE))
    lab.authorize(own, tcp(ANYWHERE, 81))
    assert client.agent.datagram(address=addresses[HERE], port=80, source_port=7000) == "timeout"
    assert client.agent.connect(address=addresses[HERE], port=80, timeout=0.3) == "timeout"
    until(lambda: place.value("SecurityGroupBlockedFlowCount_Inbound_UDP") == 1,
          "blocked", PATIENCE)
    assert place.value("SecurityGroupBlockedFlowCount_Inbound_TCP") >= 1
    lab.authorize(own, everything(ANYWHERE))

    # The same at /metrics, by zones, and by name in flows.
    _, _, text = lab.daemon.get("/metrics")
    line = [line for line in text.splitlines() if line.startswith("enid_nlb_udp_flows_total{")
            and f'availability_zone="{HERE}"' in line]
    assert [value.rsplit(" ", 1)[1] for value in line] == ["4"]
    flows = lab.daemon.json("flows", "--target-group", "told", "--port", "5000")
    assert {(flow["load_balancer"], flow["target_group"], flow["target"], flow["reply"])
            for flow in flows} == {("told", "told", place.near.id, False),
                                   ("told", "told", place.near.id, True)}
    assert lab.daemon.json("flows", "--target-group", "other") == []
    assert lab.daemon.json("flows", "--load-balancer", "told", "--verdict", "drop")
    shown = lab.daemon.run("flows", "--port", "5003").stdout
    assert f" through told to {place.far.id} of told " in shown

    # Without a target new flows are rejected, and what was open is reset.
    balancers.set(group, deregistration_delay__timeout_seconds=0,
                  deregistration_delay__connection_termination__enabled=True)
    balancers.deregister(group, place.near.id, place.far.id)
    assert client.agent.datagram(address=addresses[HERE], port=80, source_port=7001) == "timeout"
    assert client.agent.exchange(name="kept 5001", timeout=1) not in ("open", "timeout")
    until(lambda: place.value("TCP_ELB_Reset_Count") >= 1, "it was reset", PATIENCE)
    until(lambda: place.value("RejectedFlowCount") == 1, "it was rejected", PATIENCE)
    assert place.value("RejectedFlowCount_TCP") == 0
    explained = lab.daemon.json("explain", "--from", client.id, "--to", addresses[HERE],
                                "--protocol", "tcp", "--port", "80")
    [hop] = [hop for hop in explained["hops"] if hop["stage"] == "load-balancer"]
    assert (hop["verdict"], hop["reason"]) == ("deny", "balancer-target")
    assert hop["detail"] == ("listener TCP_UDP 80: target group told has 0 of 0 targets healthy "
                             f"in {HERE}")
    nobody = lab.daemon.json("explain", "--from", client.id, "--to", addresses[HERE],
                             "--protocol", "tcp", "--port", "9")
    [hop] = [hop for hop in nobody["hops"] if hop["stage"] == "load-balancer"]
    assert hop["detail"] == "no listener for protocol 6 at port 9"


def test_a_load_balancer_that_goes_is_told_to_its_end(place):
    balancers, client = place.balancers, place.client
    place.balancer, nodes = balancers.make("gone", place.here)
    group = balancers.group("gone", place.vpc, 8080, "UDP", check={"HealthCheckPort": "9"})
    balancers.listen(place.balancer, group, 80, "UDP")
    balancers.register(group, place.near.id)
    [node] = nodes.values()
    place.tells(NewFlowCount=0)
    # Nobody is known to be healthy, so all get flows, and are counted so.
    assert client.agent.datagram(address=node["PrivateIpAddress"], port=80) != "timeout"
    balancers.elb.delete_load_balancer(LoadBalancerArn=place.balancer)
    place.tells(NewFlowCount=1, UnhealthyRoutingFlowCount=1)


def test_what_a_proxy_carries_of_tcp_is_told(place):
    balancers, client = place.balancers, place.client
    place.balancer, nodes = balancers.make("proxied", place.here)
    group = balancers.group("proxied", place.vpc, 8080, check={"HealthCheckPort": "9"},
                            proxy_protocol_v2__enabled=True)
    balancers.listen(place.balancer, group, 80)
    balancers.register(group, place.near.id)
    address = nodes[HERE]["PrivateIpAddress"]
    place.tells(NewFlowCount_TCP=0)
    # The header comes back before what was said.
    agent = client.agent
    assert agent.connect(address=address, port=80, name="kept", timeout=2) != "timeout"
    place.tells(NewFlowCount=1, NewFlowCount_TCP=1, NewFlowCount_TLS=0, RejectedFlowCount=0,
                UnhealthyRoutingFlowCount=1)
    until(lambda: (place.value("ProcessedBytes_TCP") or 0) >= 5 + 28, "bytes", PATIENCE)
    assert place.value("ProcessedBytes_TCP") == place.value("ProcessedBytes")
    balancers.deregister(group, place.near.id)
    place.lab.in_force()
    assert agent.connect(address=address, port=80, timeout=2) not in ("open", "timeout")
    place.tells(NewFlowCount_TCP=2, RejectedFlowCount=1, RejectedFlowCount_TCP=1)
