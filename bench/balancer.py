"""A network load balancer: through its node beside without it, and beside proxies.

    client ENI ------ node ------ target ENI 0        through
          |             \\-------- target ENI 1
          \\----------------------- target ENI 0       direct

The client and the targets of `through` and `direct` are the same. The proxies have a client, a middle and
targets of their own (`proxies.py`), and a bare pair says what is theirs and what is their ends'.
"""

import cores
import daemon
import links
import probe
import proxies
from shell import sh

# As in the probe: what swallows, what sends back, and what is connected to.
STREAM_PORT, ECHO_PORT, CONNECT_PORT = 7001, 7002, 7003
PORTS = (STREAM_PORT, CONNECT_PORT)
TARGETS = 2
# The shortest that AWS takes.
CHECK = {
    "HealthCheckProtocol": "TCP",
    # Not a port that is measured.
    "HealthCheckPort": str(ECHO_PORT),
    "HealthCheckIntervalSeconds": 5,
    "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2,
}
HEALTHY_WITHIN_S = 60

# As in `traffic`, with what a core gives.
TESTS = {
    "throughput": ("tcp-stream", {"bytes_per_second": True, "bytes_per_core": True}),
    "connections": ("tcp-crr", {"per_second": True, "per_core": True}),
}


def ends(stack):
    """Every link that is measured; what is at the far end of those without a server runs already."""
    enid = stack.enter_context(daemon.private())
    through, direct = balanced(enid, stack)
    bare = stack.enter_context(links.bare())
    found = {"through": through, "direct": direct, "veth": bare}
    for program in (proxies.haproxy, proxies.nginx):
        proxied = proxies.proxied(program, PORTS, TARGETS, probe.server)
        found[program.__name__] = stack.enter_context(proxied)
    return found


def balanced(enid, stack):
    """A client's links to the node of a balancer, whose targets are healthy, and to one of these."""
    region = daemon.Region(enid.endpoint)
    (client, _), *targets = region.launch(region.groups(1), count=1 + TARGETS)
    for instance in (client, *(instance for instance, _ in targets)):
        sh(f"ip -n {instance} link set eth0 mtu {links.MTU}")
        links.tune(instance)
    direct, *others = [links.Link(client, instance, address) for instance, address in targets]
    for link in (direct, *others):
        stack.enter_context(probe.server(link))
    node = balancer(enid.endpoint, region, [instance for instance, _ in targets])
    # Its server runs already, as does that of `through`.
    return links.Link(client, None, node), links.Link(client, None, direct.server_address)


def balancer(endpoint, region, instances):
    """The address of a load balancer's node whose listeners lead to these instances, all healthy."""
    elb = endpoint.client("elbv2")
    made = elb.create_load_balancer(
        Name="bench", Type="network", Scheme="internal", Subnets=[region.subnet]
    )
    arn = made["LoadBalancers"][0]["LoadBalancerArn"]
    groups = []
    for port in PORTS:
        made = elb.create_target_group(
            Name=f"port-{port}", Protocol="TCP", Port=port, VpcId=region.vpc, **CHECK
        )
        group = made["TargetGroups"][0]["TargetGroupArn"]
        groups.append(group)
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": one} for one in instances])
        elb.create_listener(
            LoadBalancerArn=arn,
            Protocol="TCP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
    for group in groups:
        elb.get_waiter("target_in_service").wait(
            TargetGroupArn=group, WaiterConfig={"Delay": 1, "MaxAttempts": HEALTHY_WITHIN_S}
        )
    # What is told of health is in force when a later change is answered.
    region.ec2.create_tags(Resources=[region.vpc], Tags=[{"Key": "seen", "Value": "health"}])
    name = arn.partition(":loadbalancer/")[2]
    filters = [{"Name": "description", "Values": [f"ELB {name}"]}]
    [node] = region.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    return node["PrivateIpAddress"]


def measure(link, mode, seconds, **arguments):
    """As the probe does, and what each busy core of the machine gives of it."""
    meter = cores.Meter()
    seen = probe.measure(link, mode, seconds, **arguments)
    busy = meter.busy()
    for figure in ("per_second", "bytes_per_second"):
        if figure in seen:
            seen[figure.replace("second", "core")] = seen[figure] / busy
    return seen
