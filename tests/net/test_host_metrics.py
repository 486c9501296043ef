"""What the datapath counts becomes metrics: the sum of all datapoints is what the kernel counted.

        subnet 10.0.0.0/24
        client ── server
"""

import datetime
import json

import pytest
from sns_message_validator import SNSMessageValidator

from support.endpoint import Endpoint
from support.lab import ANYWHERE, Lab
from support.network import Network
from support.outside import Internet
from support.rules import everything, tcp
from support.until import until

# Metrics of a second instead of a minute, and of five seconds with basic monitoring.
CONFIG = """[metrics]
every_s = 1
"""

# A datapoint comes when its period is over; the counters are read at its end.
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
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


def total(cloudwatch, namespace, name, statistic="Sum", **dimensions):
    """A statistic of all datapoints of a metric, over all time; `None` without any."""
    now = datetime.datetime.now(datetime.UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName=name, Period=3600, Statistics=[statistic],
        StartTime=now - datetime.timedelta(hours=3), EndTime=now + datetime.timedelta(hours=1),
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()])
    points = [point[statistic] for point in answer["Datapoints"]]
    if not points:
        return None
    return max(points) if statistic == "Maximum" else sum(points)


def counters(daemon, eni):
    [found] = daemon.json("counters", eni)["interfaces"]
    return found


def pair(lab):
    """A client and a server that it may ask at port 80."""
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp("10.0.0.0/16", 80)])
    client, server = lab.instance(subnet, lab.group(vpc, "client")), lab.instance(subnet, group)
    server.agent.serve_tcp(port=80)
    return client, server


def talk(client, server, count=3, first=50_000):
    for number in range(first, first + count):
        name = f"connection {number}"
        assert client.agent.connect(address=server.ip, port=80, name=name,
                                    source_port=number) == "open"
        client.agent.start("close", name=name).result(5)


PER_ENI = {"BytesIn": "bytes_in", "BytesOut": "bytes_out", "PacketsIn": "packets_in",
           "PacketsOut": "packets_out", "FlowsNew": "flows_new"}


def agrees(daemon, cloudwatch, instance):
    """Whether all that the interface counted was published."""
    counted = counters(daemon, instance.eni)
    published = {name: total(cloudwatch, "Enid", name, NetworkInterfaceId=instance.eni)
                 for name in PER_ENI}
    return published == {name: counted[key] for name, key in PER_ENI.items()}


def test_all_that_was_counted_is_published_once_also_over_a_crash(daemon, lab, cloudwatch):
    # Fails if a count is lost or told twice: by the daemon's end, or between two periods.
    client, server = pair(lab)
    for round in range(3):
        talk(client, server, first=50_000 + 10 * round)
        if round == 1:
            daemon.kill()
            daemon.start()
    for instance in (client, server):
        until(lambda: agrees(daemon, cloudwatch, instance), "the sums agree", within=PATIENCE)
        counted = counters(daemon, instance.eni)
        for name, key in {"NetworkIn": "bytes_in", "NetworkOut": "bytes_out",
                          "NetworkPacketsIn": "packets_in",
                          "NetworkPacketsOut": "packets_out"}.items():
            until(lambda: total(cloudwatch, "AWS/EC2", name, InstanceId=instance.id)
                  == counted[key], f"{name} agrees", within=PATIENCE)


def test_a_drop_is_told_with_its_reason(daemon, lab, cloudwatch):
    # The packet that passes is counted as passed, the other as dropped, and at whom.
    client, server = pair(lab)
    talk(client, server, count=1)
    assert client.agent.connect(address=server.ip, port=81, name="shut", timeout=0.3) != "open"
    dropped = counters(daemon, server.eni)["drops"]
    [(reason, packets)] = dropped.items()
    until(lambda: total(cloudwatch, "Enid", "PacketsDropped", NetworkInterfaceId=server.eni,
                        Reason=reason) == packets, "the drops are told", within=PATIENCE)
    assert total(cloudwatch, "Enid", "PacketsDropped", NetworkInterfaceId=server.eni) == packets
    listed = cloudwatch.list_metrics(Namespace="Enid", MetricName="PacketsDropped")["Metrics"]
    told = [{one["Name"]: one["Value"] for one in metric["Dimensions"]} for metric in listed]
    assert {"NetworkInterfaceId": server.eni, "Reason": reason} in told
    assert not any(one["NetworkInterfaceId"] == client.eni and "Reason" in one for one in told)


def test_detailed_monitoring_is_finer_and_adds_up_over_instances(daemon, lab, cloudwatch):
    vpc, subnet = lab.network()
    basic = lab.instance(subnet)
    detailed = lab.instance(subnet, Monitoring={"Enabled": True})

    def periods(instance):
        """How many datapoints there are, and of how many values."""
        now = datetime.datetime.now(datetime.UTC)
        answer = cloudwatch.get_metric_statistics(
            Namespace="AWS/EC2", MetricName="NetworkIn", Period=1, Statistics=["SampleCount"],
            StartTime=now - datetime.timedelta(minutes=2), EndTime=now,
            Dimensions=[{"Name": "InstanceId", "Value": instance.id}])
        return [point["SampleCount"] for point in answer["Datapoints"]]

    found = until(lambda: len(periods(basic)) >= 2 and periods(basic), "two periods",
                  within=PATIENCE)
    # The first may have begun late, and a busy host reads a second later: one value for two seconds.
    assert 4 <= sorted(found)[-1] <= 5
    assert len(periods(detailed)) >= 5 and set(periods(detailed)) == {1}
    assert total(cloudwatch, "AWS/EC2", "NetworkIn", ImageId="ami-0123456789abcdef0") is not None
    assert total(cloudwatch, "AWS/EC2", "NetworkIn", InstanceType="m5.large") is not None
    lab.ec2.unmonitor_instances(InstanceIds=[detailed.id])
    lab.ec2.terminate_instances(InstanceIds=[basic.id])

    def is_quiet():
        """Nothing new is told of an instance that is gone."""
        latest = cloudwatch.get_metric_statistics(
            Namespace="AWS/EC2", MetricName="NetworkIn", Period=1, Statistics=["Sum"],
            StartTime=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=12),
            EndTime=datetime.datetime.now(datetime.UTC),
            Dimensions=[{"Name": "InstanceId", "Value": basic.id}])
        return not latest["Datapoints"]

    until(is_quiet, "metrics of a terminated instance end", within=40)


def test_traffic_sets_an_alarm_off_that_an_endpoint_hears_of(daemon, lab, cloudwatch):
    # The whole way: packets, counters, datapoints, an alarm, a topic, a signed message.
    client, server = pair(lab)
    lab.ec2.monitor_instances(InstanceIds=[server.id])
    sns = daemon.client("sns")
    endpoint = Endpoint()
    try:
        topic = sns.create_topic(Name="alarms")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)
        question = endpoint.wait("SubscriptionConfirmation")[-1].json()
        sns.confirm_subscription(TopicArn=topic, Token=question["Token"])
        cloudwatch.put_metric_alarm(
            AlarmName="traffic", Namespace="AWS/EC2", MetricName="NetworkIn", Statistic="Sum",
            Dimensions=[{"Name": "InstanceId", "Value": server.id}], Period=10,
            EvaluationPeriods=1, Threshold=100, ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[topic], OKActions=[topic])
        # Nothing comes in, and the alarm says so.
        calm = json.loads(endpoint.wait("Notification", 1, within=60)[0].json()["Message"])
        assert calm["NewStateValue"] == "OK"

        def is_off():
            talk(client, server, count=1, first=next(ports))
            return len(endpoint.of_kind("Notification")) > 1

        ports = iter(range(51_000, 60_000))
        until(is_off, "the alarm goes off", within=60)
        envelope = endpoint.of_kind("Notification")[1].json()
        validator = SNSMessageValidator(cert_url_regex="^" + daemon.url)
        validator.validate_message(message=envelope)
        alarm = json.loads(envelope["Message"])
        assert (alarm["NewStateValue"], alarm["OldStateValue"]) == ("ALARM", "OK")
        assert alarm["NewStateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [")
        assert alarm["Trigger"]["Dimensions"] == [{"value": server.id, "name": "InstanceId"}]
    finally:
        endpoint.close()


def test_a_nat_gateways_metrics_are_what_it_counted(daemon, lab, cloudwatch):
    network, internet = Network(lab), Internet()
    try:
        vpc, hidden = lab.network()
        public = lab.subnet(vpc, "10.0.1.0/24")
        group = lab.group(vpc, "open", [everything(ANYWHERE)])
        out = network.table(vpc, public)
        network.route(out, "0.0.0.0/0", lab.internet(vpc))
        address = lab.address()
        nat = network.nat_gateway(public, AllocationId=address["AllocationId"])
        network.route(network.table(vpc, hidden), "0.0.0.0/0", nat)
        client = lab.instance(hidden, group)
        me = internet.address(address["PublicIp"])
        internet.agent.serve_tcp(port=8080, address=me)
        assert client.agent.connect(address=me, port=8080, name="kept") == "open"

        def agrees():
            [gateway] = [one for one in daemon.json("nat") if one["nat_gateway"] == nat]
            counted = gateway["metrics"]
            assert counted.pop("ActiveConnectionCount") == 1
            shown = {name: total(cloudwatch, "AWS/NATGateway", name, NatGatewayId=nat)
                     for name in counted}
            return counted["BytesOutToDestination"] > 0 and shown == counted

        until(agrees, "the metrics agree", within=PATIENCE)
        assert total(cloudwatch, "AWS/NATGateway", "ActiveConnectionCount", "Maximum",
                     NatGatewayId=nat) == 1
    finally:
        network.close()
        internet.close()
