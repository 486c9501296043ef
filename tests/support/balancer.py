"""Load balancers for one test, made through the API and removed again in the end."""

from support.until import until

# The shortest interval that AWS takes.
QUICK = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
         "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2}


class Balancers:
    """What makes load balancers with their groups and listeners."""

    def __init__(self, lab):
        self.lab = lab
        self.elb = lab.daemon.client("elbv2")
        self._balancers = []
        self._groups = []

    def make(self, name, *subnets, scheme="internal", groups=(), **attributes):
        """A load balancer; gives its ARN and the addresses of its nodes by zone."""
        request = {"Name": name, "Type": "network", "Scheme": scheme, "Subnets": list(subnets)}
        if groups:
            request["SecurityGroups"] = list(groups)
        made = self.elb.create_load_balancer(**request)["LoadBalancers"][0]
        arn = made["LoadBalancerArn"]
        self._balancers.append(arn)
        if attributes:
            self.elb.modify_load_balancer_attributes(
                LoadBalancerArn=arn, Attributes=_attributes(attributes))
        return arn, self.nodes(arn)

    def adopt(self, arn):
        """Sees to it that a load balancer that somebody else has made is removed."""
        self._balancers.append(arn)

    def nodes(self, arn):
        """The interfaces of a load balancer's nodes by zone."""
        path = arn.split(":loadbalancer/")[1]
        filters = [{"Name": "description", "Values": [f"ELB {path}"]}]
        found = self.lab.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        return {one["AvailabilityZone"]: one for one in found}

    def group(self, name, vpc, port, protocol="TCP", kind="instance", check=None,
              addresses="ipv4", **attributes):
        made = self.elb.create_target_group(
            Name=name, VpcId=vpc, Port=port, Protocol=protocol, TargetType=kind,
            IpAddressType=addresses, **(QUICK | (check or {})))
        arn = made["TargetGroups"][0]["TargetGroupArn"]
        self._groups.append(arn)
        if attributes:
            self.set(arn, **attributes)
        return arn

    def set(self, group, **attributes):
        self.elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=_attributes(attributes))

    def listen(self, balancer, group, port, protocol="TCP", **options):
        made = self.elb.create_listener(
            LoadBalancerArn=balancer, Port=port, Protocol=protocol, **options,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
        return made["Listeners"][0]["ListenerArn"]

    def register(self, group, *ids):
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": one} for one in ids])

    def deregister(self, group, *ids):
        self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": one} for one in ids])

    def health(self, group):
        """What is known of the targets of a group, by id."""
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in found}

    def wait(self, group, within=15, **states):
        """Waits until the states of targets are these; ids are written with underscores."""
        wanted = {name.replace("_", "-"): state for name, state in states.items()}
        return until(lambda: {one: self.health(group).get(one) for one in wanted} == wanted,
                     f"{wanted} of {group}", within=within)

    def close(self):
        for arn in self._balancers:
            self.elb.delete_load_balancer(LoadBalancerArn=arn)
        for arn in self._groups:
            self.elb.delete_target_group(TargetGroupArn=arn)


def _attributes(given):
    """`load_balancing__cross_zone__enabled=True` is `load_balancing.cross_zone.enabled`."""
    return [{"Key": key.replace("__", "."),
             "Value": str(value).lower() if isinstance(value, bool) else str(value)}
            for key, value in given.items()]
