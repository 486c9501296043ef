"""Network address usage: the size of a VPC, in CloudWatch for whoever switches it on."""

import datetime

import pytest

from support.until import until

NAMES = ("NetworkAddressUsage", "NetworkAddressUsagePeered")


@pytest.fixture(scope="module")
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


def enable(ec2, vpc, value=True):
    ec2.modify_vpc_attribute(VpcId=vpc, EnableNetworkAddressUsageMetrics={"Value": value})
    attribute = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableNetworkAddressUsageMetrics")
    assert attribute["EnableNetworkAddressUsageMetrics"] == {"Value": value}


def datapoints(cloudwatch, vpc, name):
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    return cloudwatch.get_metric_statistics(
        Namespace="AWS/EC2", MetricName=name, StartTime=now - hour, EndTime=now + hour,
        Dimensions=[{"Name": "Per-VPC Metrics", "Value": vpc}], Period=3600,
        Statistics=["Maximum", "SampleCount"])["Datapoints"]


def listed(cloudwatch, vpc):
    metrics = cloudwatch.list_metrics(
        Namespace="AWS/EC2", Dimensions=[{"Name": "Per-VPC Metrics", "Value": vpc}])["Metrics"]
    return sorted(metric["MetricName"] for metric in metrics)


def test_a_vpc_is_as_large_as_what_is_in_it(daemon, ec2, cloudwatch, papers):
    (vpc, subnet), (peer, far) = papers.network(), papers.network("10.1.0.0/16")
    # One address; two and a prefix of an interface that is not the first, which counts as well.
    instance = papers.instance(subnet)
    eni = papers.interface(subnet, SecondaryPrivateIpAddressCount=1)
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                    Ipv4PrefixCount=1)
    ec2.attach_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                 InstanceId=instance.id, DeviceIndex=1)
    # What is attached to nothing does not count; a NAT gateway counts six.
    papers.interface(subnet)
    ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")
    papers.instance(far)
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=peer)
    peering = peering["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    enable(ec2, vpc)
    until(lambda: listed(cloudwatch, vpc) == list(NAMES), "both metrics are there")
    [own], [peered] = (datapoints(cloudwatch, vpc, name) for name in NAMES)
    assert own["Maximum"] == 1 + (2 + 1 + 1) + 6
    assert peered["Maximum"] == own["Maximum"] + 1
    # Whoever scrapes is told at once.
    _, _, exposed = daemon.get("/metrics")
    for name, units in (("usage", own), ("usage_peered", peered)):
        [line] = [line for line in exposed.splitlines() if vpc in line
                  and line.startswith(f"enid_vpc_network_address_{name}{{")]
        assert float(line.split()[-1]) == units["Maximum"] and f'vpc_id="{vpc}"' in line
    assert peer not in exposed
    # Once a day: what changes afterwards comes tomorrow, and nobody else is measured.
    assert (own["SampleCount"], own["Unit"]) == (1.0, "Count")
    assert listed(cloudwatch, peer) == []
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)


def test_it_is_off_unless_somebody_switches_it_on(ec2, cloudwatch, papers):
    vpc, _ = papers.network()
    attribute = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableNetworkAddressUsageMetrics")
    assert attribute["EnableNetworkAddressUsageMetrics"] == {"Value": False}
    enable(ec2, vpc)
    until(lambda: listed(cloudwatch, vpc) == list(NAMES), "both metrics are there")
    assert [point["Maximum"] for point in datapoints(cloudwatch, vpc, NAMES[0])] == [0.0]
    enable(ec2, vpc, False)
    enable(ec2, vpc, False)
