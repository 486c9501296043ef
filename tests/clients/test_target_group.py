"""Target groups and their targets through boto3."""

import uuid

import pytest
from botocore.exceptions import WaiterError

from support.errors import refused
from support.until import until

# What is said of a target that nobody can check.
UNCHECKED = {"State": "unavailable", "Reason": "Target.HealthCheckDisabled",
             "Description": "Health checks are disabled: no datapath runs that could check"}
AT_ONCE = {"Delay": 1, "MaxAttempts": 1}


@pytest.fixture(scope="module")
def elbv2(daemon):
    return daemon.client("elbv2")


@pytest.fixture
def place(papers, elbv2):
    """A VPC with a subnet. What is made there goes before it does."""
    vpc, subnet = papers.network()
    yield vpc, subnet
    for balancer in elbv2.describe_load_balancers()["LoadBalancers"]:
        if balancer["VpcId"] == vpc:
            elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    for group in elbv2.describe_target_groups()["TargetGroups"]:
        if group["VpcId"] == vpc:
            elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def name():
    return f"t-{uuid.uuid4().hex[:12]}"


def create(elbv2, vpc, **options):
    options = {"Name": name(), "Protocol": "TCP", "Port": 80, "VpcId": vpc} | options
    [made] = elbv2.create_target_group(**options)["TargetGroups"]
    return made


def listen(elbv2, subnet, group):
    """A load balancer that leads to a group."""
    [made] = elbv2.create_load_balancer(Name=name(), Type="network", Scheme="internal",
                                        Subnets=[subnet])["LoadBalancers"]
    arn = made["LoadBalancerArn"]
    [listener] = elbv2.create_listener(
        LoadBalancerArn=arn, Protocol="TCP", Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])["Listeners"]
    return arn, listener["ListenerArn"]


def health(elbv2, group, *targets):
    options = {"Targets": [{"Id": it} for it in targets]} if targets else {}
    told = elbv2.describe_target_health(TargetGroupArn=group, **options)
    return {(it["Target"]["Id"], it["Target"]["Port"]):
            (it["TargetHealth"]["State"], it["TargetHealth"].get("Reason"))
            for it in told["TargetHealthDescriptions"]}


def test_a_life(elbv2, place):
    vpc, _ = place
    called = name()
    made = create(elbv2, vpc, Name=called, Tags=[{"Key": "a", "Value": "b"}])
    arn = made.pop("TargetGroupArn")
    assert arn.split(":", 5)[5].startswith(f"targetgroup/{called}/")
    assert made == {
        "TargetGroupName": called, "Protocol": "TCP", "Port": 80, "VpcId": vpc,
        "HealthCheckProtocol": "TCP", "HealthCheckPort": "traffic-port",
        "HealthCheckEnabled": True, "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 10, "HealthyThresholdCount": 5, "UnhealthyThresholdCount": 2,
        "LoadBalancerArns": [], "TargetType": "instance", "IpAddressType": "ipv4"}
    again = create(elbv2, vpc, Name=called, Tags=[{"Key": "a", "Value": "b"}])
    assert again["TargetGroupArn"] == arn
    with refused("DuplicateTargetGroupName",
                 f"A target group with the same name '{called}' exists, but with different settings"):
        create(elbv2, vpc, Name=called, Port=81)
    [changed] = elbv2.modify_target_group(
        TargetGroupArn=arn, HealthCheckProtocol="HTTP", HealthCheckPath="/health",
        HealthCheckPort="8080", HealthCheckIntervalSeconds=5, HealthyThresholdCount=2,
        Matcher={"HttpCode": "200,204"})["TargetGroups"]
    assert changed["HealthCheckPath"] == "/health" and changed["HealthCheckPort"] == "8080"
    assert changed["Matcher"] == {"HttpCode": "200,204"}
    assert changed["HealthCheckTimeoutSeconds"] == 5
    [shown] = elbv2.describe_target_groups(Names=[called])["TargetGroups"]
    assert shown == changed
    elbv2.delete_target_group(TargetGroupArn=arn)
    elbv2.delete_target_group(TargetGroupArn=arn)
    for options in [{"Names": [called]}, {"TargetGroupArns": [arn]}]:
        with refused("TargetGroupNotFound", "One or more target groups not found"):
            elbv2.describe_target_groups(**options)
    with refused("TargetGroupNotFound", f"Target group '{arn}' not found"):
        elbv2.describe_target_health(TargetGroupArn=arn)
    with refused("ValidationError", "'x' is not a valid target group ARN"):
        elbv2.delete_target_group(TargetGroupArn="x")


def test_what_cannot_be_made(elbv2, place):
    vpc, _ = place
    for options, code, message in [
            ({"Name": "-a"}, "ValidationError",
             "Target group name '-a' cannot begin or end with '-'"),
            ({"Protocol": "HTTP"}, "UnsupportedOperation",
             "Enid does not implement the value 'HTTP' of the parameter Protocol of "
             "CreateTargetGroup."),
            ({"TargetType": "lambda"}, "UnsupportedOperation", None),
            ({"TargetType": "alb"}, "UnsupportedOperation", None),
            ({"Protocol": "XMPP"}, "ValidationError", "…Member must satisfy enum value set"),
            ({"VpcId": "vpc-00000000000000007"}, "ValidationError",
             "The VPC ID 'vpc-00000000000000007' is not found"),
            ({"HealthCheckIntervalSeconds": 301}, "ValidationError", "…less than or equal to 300"),
            ({"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 6}, "ValidationError",
             "Health check timeout '6' must be smaller than or equal to the interval '5'"),
            ({"HealthCheckPath": "/"}, "InvalidConfigurationRequest", None),
            ({"HealthCheckEnabled": False}, "ValidationError", None),
            ({"HealthCheckProtocol": "HTTP", "Matcher": {"HttpCode": "100"}}, "ValidationError",
             None),
            ({"IpAddressType": "ipv6", "Protocol": "UDP"}, "InvalidConfigurationRequest", None)]:
        with refused(code, message):
            create(elbv2, vpc, **options)
    with refused("ValidationError", "A port must be specified"):
        elbv2.create_target_group(Name=name(), Protocol="TCP", VpcId=vpc)


def test_attributes(elbv2, place):
    vpc, _ = place
    arn = create(elbv2, vpc)["TargetGroupArn"]
    told = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    healthy = "target_group_health"
    assert {it["Key"]: it["Value"] for it in told} == {
        "deregistration_delay.timeout_seconds": "300",
        "deregistration_delay.connection_termination.enabled": "false",
        "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
        "preserve_client_ip.enabled": "true", "proxy_protocol_v2.enabled": "false",
        "stickiness.enabled": "false", "stickiness.type": "source_ip",
        f"{healthy}.dns_failover.minimum_healthy_targets.count": "1",
        f"{healthy}.dns_failover.minimum_healthy_targets.percentage": "off",
        f"{healthy}.unhealthy_state_routing.minimum_healthy_targets.count": "1",
        f"{healthy}.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
        "target_health_state.unhealthy.connection_termination.enabled": "true",
        "target_health_state.unhealthy.draining_interval_seconds": "0"}

    def modify(arn, key, value):
        done = elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": key, "Value": value}])
        return {it["Key"]: it["Value"] for it in done["Attributes"]}[key]

    assert modify(arn, "deregistration_delay.timeout_seconds", "30") == "30"
    assert modify(arn, "load_balancing.cross_zone.enabled", "true") == "true"
    for key, value in [("deregistration_delay.timeout_seconds", "3601"),
                       ("stickiness.type", "lb_cookie"),
                       ("slow_start.duration_seconds", "30"),
                       ("target_health_state.unhealthy.draining_interval_seconds", "1")]:
        with refused("InvalidConfigurationRequest"):
            modify(arn, key, value)
    assert modify(arn, "proxy_protocol_v2.enabled", "true") == "true"
    assert modify(arn, "preserve_client_ip.enabled", "false") == "false"
    udp = create(elbv2, vpc, Protocol="UDP")["TargetGroupArn"]
    with refused("InvalidConfigurationRequest", "Client IP preservation cannot be disabled for "
                 "target groups with the UDP protocol"):
        modify(udp, "preserve_client_ip.enabled", "false")
    with refused("UnsupportedOperation", "…proxy_protocol_v2.enabled for target groups with the UDP"):
        modify(udp, "proxy_protocol_v2.enabled", "true")
    by_ip = create(elbv2, vpc, TargetType="ip")["TargetGroupArn"]
    told = elbv2.describe_target_group_attributes(TargetGroupArn=by_ip)["Attributes"]
    assert {"Key": "preserve_client_ip.enabled", "Value": "false"} in told


def test_targets_come_and_go(elbv2, papers, place):
    """Nobody checks without a datapath, and so nobody says that a target is healthy."""
    vpc, subnet = place
    group = create(elbv2, vpc)["TargetGroupArn"]
    one, other = papers.instance(subnet).id, papers.instance(subnet).id
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "1"}])
    elbv2.register_targets(TargetGroupArn=group,
                           Targets=[{"Id": one}, {"Id": one, "Port": 81}, {"Id": other}])
    unused = ("unused", "Target.NotInUse")
    assert health(elbv2, group) == {(one, 80): unused, (one, 81): unused, (other, 80): unused}
    _, listener = listen(elbv2, subnet, group)
    with pytest.raises(WaiterError):
        elbv2.get_waiter("target_in_service").wait(
            TargetGroupArn=group, WaiterConfig={"Delay": 0, "MaxAttempts": 2})
    [told] = elbv2.describe_target_health(
        TargetGroupArn=group, Targets=[{"Id": other}])["TargetHealthDescriptions"]
    assert told == {"Target": {"Id": other, "Port": 80}, "HealthCheckPort": "80",
                    "TargetHealth": UNCHECKED}
    gone = [{"Id": one, "Port": 81}]
    elbv2.deregister_targets(TargetGroupArn=group, Targets=gone)
    assert health(elbv2, group)[one, 81] == ("draining", "Target.DeregistrationInProgress")
    until(lambda: (one, 81) not in health(elbv2, group), "the target is drained")
    elbv2.get_waiter("target_deregistered").wait(TargetGroupArn=group, Targets=gone,
                                                 WaiterConfig=AT_ONCE)
    never = "i-00000000000000007"
    assert health(elbv2, group, never) == {(never, 80): ("unused", "Target.NotRegistered")}
    papers.ec2.stop_instances(InstanceIds=[one])
    assert health(elbv2, group)[one, 80] == ("unused", "Target.InvalidState")
    papers.ec2.start_instances(InstanceIds=[one])
    assert health(elbv2, group)[one, 80] == ("unavailable", "Target.HealthCheckDisabled")
    papers.ec2.terminate_instances(InstanceIds=[other])
    assert health(elbv2, group)[other, 80] == ("unused", "Target.InvalidState")
    elbv2.delete_listener(ListenerArn=listener)
    assert health(elbv2, group)[one, 80] == unused
    elbv2.deregister_targets(TargetGroupArn=group, Targets=[{"Id": one}, {"Id": never}])
    assert (one, 80) not in health(elbv2, group), "nothing can have come to it"


def test_a_target_of_a_zone_without_a_node(elbv2, papers, place):
    vpc, subnet = place
    far = papers.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    group = create(elbv2, vpc, TargetType="ip")["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=group, Targets=[
        {"Id": "10.0.0.9"}, {"Id": "10.0.1.9"}, {"Id": "192.168.7.7", "AvailabilityZone": "all"}])
    arn, _ = listen(elbv2, subnet, group)
    told = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    told = {it["Target"]["Id"]: it for it in told}
    assert told["10.0.1.9"]["TargetHealth"] == {
        "State": "unused", "Reason": "Target.NotInUse",
        "Description": "Target is in an Availability Zone that is not enabled for the load balancer"}
    assert told["192.168.7.7"]["Target"]["AvailabilityZone"] == "all"
    assert told["10.0.0.9"]["TargetHealth"] == UNCHECKED
    elbv2.set_subnets(LoadBalancerArn=arn, Subnets=[subnet, far])
    assert health(elbv2, group)["10.0.1.9", 80] == ("unavailable", "Target.HealthCheckDisabled")


def test_targets_that_cannot_be(elbv2, papers, place):
    vpc, subnet = place
    _, foreign = papers.network("10.9.0.0/16")
    instances = create(elbv2, vpc)["TargetGroupArn"]
    addresses = create(elbv2, vpc, TargetType="ip")["TargetGroupArn"]
    stopped, elsewhere = papers.instance(subnet).id, papers.instance(foreign).id
    papers.ec2.stop_instances(InstanceIds=[stopped])
    for group, target, code, message in [
            (instances, {"Id": stopped}, "InvalidTarget", "The following targets are not in a "
             f"running state and cannot be registered: '{stopped}'"),
            (instances, {"Id": elsewhere}, "InvalidTarget", "The following targets are not in the "
             f"target group VPC '{vpc}': '{elsewhere}'"),
            (instances, {"Id": "10.0.0.9"}, "ValidationError",
             "Instance ID '10.0.0.9' is not valid"),
            (instances, {"Id": stopped, "Port": 65536}, "ValidationError", None),
            (addresses, {"Id": "10.4.40.87"}, "ValidationError", "The Availability Zone is required "
             "for IP address '10.4.40.87' because it is not in the VPC"),
            (addresses, {"Id": "8.8.8.8", "AvailabilityZone": "all"}, "ValidationError", None),
            (addresses, {"Id": "10.0.0.9", "QuicServerId": "x"}, "UnsupportedOperation", None)]:
        with refused(code, message):
            elbv2.register_targets(TargetGroupArn=group, Targets=[target])
    with refused("TooManyTargets"):
        elbv2.register_targets(TargetGroupArn=addresses, Targets=[
            {"Id": "10.0.0.9", "Port": port} for port in range(1, 1002)])
    assert health(elbv2, addresses) == {}
