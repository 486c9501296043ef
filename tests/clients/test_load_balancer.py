"""Network load balancers and their listeners through boto3 and the aws CLI."""

import functools
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from support.errors import refused

ACCOUNT = "123456789012"
PREFIX = f"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}"
AT_ONCE = {"Delay": 1, "MaxAttempts": 1}


@pytest.fixture(scope="module")
def elbv2(daemon):
    return daemon.client("elbv2")


@pytest.fixture
def place(papers, elbv2):
    """A VPC with subnets in two zones. What is made there goes before it does."""
    vpc, first = papers.network()
    second = papers.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    yield vpc, first, second
    mine = [it for it in elbv2.describe_load_balancers()["LoadBalancers"] if it["VpcId"] == vpc]
    for balancer in mine:
        elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    for group in elbv2.describe_target_groups()["TargetGroups"]:
        if group["VpcId"] == vpc:
            elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def name():
    return f"b-{uuid.uuid4().hex[:12]}"


def create(elbv2, *subnets, **options):
    options = {"Name": name(), "Type": "network", "Scheme": "internal"} | options
    if "SubnetMappings" not in options:
        options = {"Subnets": list(subnets)} | options
    [made] = elbv2.create_load_balancer(**options)["LoadBalancers"]
    return made


def target_group(elbv2, vpc, protocol="TCP"):
    made = elbv2.create_target_group(Name=name(), Protocol=protocol, Port=80, VpcId=vpc)
    return made["TargetGroups"][0]["TargetGroupArn"]


def forward(group):
    return [{"Type": "forward", "TargetGroupArn": group}]


def nodes(ec2, balancer):
    path = balancer["LoadBalancerArn"].split(":loadbalancer/")[1]
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "description", "Values": [f"ELB {path}"]}])["NetworkInterfaces"]
    return sorted(found, key=lambda it: it["AvailabilityZone"])


def test_a_life(elbv2, ec2, place):
    vpc, first, second = place
    called = name()
    made = create(elbv2, first, second, Name=called, Tags=[{"Key": "a", "Value": "b"}])
    arn = made["LoadBalancerArn"]
    digits = arn.rsplit("/", 1)[1]
    assert arn == f"{PREFIX}:loadbalancer/net/{called}/{digits}" and len(digits) == 16
    elbv2.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn], WaiterConfig=AT_ONCE)
    elbv2.get_waiter("load_balancer_exists").wait(Names=[called], WaiterConfig=AT_ONCE)
    [shown] = elbv2.describe_load_balancers(Names=[called])["LoadBalancers"]
    assert shown == made
    zones = made.pop("AvailabilityZones")
    assert made.pop("CreatedTime")
    assert made == {
        "LoadBalancerArn": arn, "LoadBalancerName": called, "Scheme": "internal", "VpcId": vpc,
        "DNSName": f"{called}-{digits}.elb.us-east-1.amazonaws.com", "Type": "network",
        "CanonicalHostedZoneId": "Z26RNL4JYFTOTI", "State": {"Code": "active"},
        "IpAddressType": "ipv4", "SecurityGroups": [], "EnablePrefixForIpv6SourceNat": "off"}
    assert [(it["ZoneName"], it["SubnetId"], it["LoadBalancerAddresses"]) for it in zones] == [
        ("us-east-1a", first, []), ("us-east-1b", second, [])]
    # The same again is the same, anything else is refused.
    assert create(elbv2, first, second, Name=called,
                  Tags=[{"Key": "a", "Value": "b"}])["LoadBalancerArn"] == arn
    with refused("DuplicateLoadBalancerName", f"A load balancer with the same name '{called}' "
                 "exists, but with different settings"):
        create(elbv2, first, Name=called)
    for node in nodes(ec2, shown):
        assert node["InterfaceType"] == "network_load_balancer" and node["Status"] == "in-use"
        assert node["RequesterId"] == "amazon-elb" and node["RequesterManaged"]
        assert node["Groups"] == [] and "Association" not in node
        with refused("AuthFailure"):
            ec2.delete_network_interface(NetworkInterfaceId=node["NetworkInterfaceId"])
    with refused("DependencyViolation"):
        ec2.delete_subnet(SubnetId=second)
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    elbv2.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn], WaiterConfig=AT_ONCE)
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    assert nodes(ec2, shown) == []
    with refused("LoadBalancerNotFound", f"Load balancers '[{called}]' not found"):
        elbv2.describe_load_balancers(Names=[called])
    with refused("LoadBalancerNotFound", f"Load balancer '{arn}' not found"):
        elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)


def test_addresses_of_nodes(elbv2, ec2, papers, place):
    vpc, first, second = place
    elastic = papers.address()
    mapping = {"SubnetId": first, "AllocationId": elastic["AllocationId"]}
    public = {"Scheme": "internet-facing", "SubnetMappings": [mapping, {"SubnetId": second}]}
    with refused("InvalidSubnet", f"VPC {vpc} has no internet gateway"):
        create(elbv2, **public)
    papers.internet(vpc)
    made = create(elbv2, **public)
    assert [it["LoadBalancerAddresses"] for it in made["AvailabilityZones"]] == [
        [{"IpAddress": elastic["PublicIp"], "AllocationId": elastic["AllocationId"]}], []]
    one, other = nodes(ec2, made)
    assert one["Association"]["PublicIp"] == elastic["PublicIp"]
    assert one["Association"]["IpOwnerId"] == ACCOUNT
    assert other["Association"]["PublicIp"] and "AllocationId" not in other["Association"]
    association = one["Association"]["AssociationId"]
    with refused("AuthFailure"):
        ec2.disassociate_address(AssociationId=association)
    with refused("ResourceInUse", f"The allocation ID '{elastic['AllocationId']}' is already in use"):
        create(elbv2, **public)
    with refused("AllocationIdNotFound"):
        create(elbv2, Scheme="internet-facing",
               SubnetMappings=[{"SubnetId": first, "AllocationId": "eipalloc-00000000000000007"}])
    with refused("InvalidConfigurationRequest", "You cannot specify private IPv4 addresses for "
                 "internet-facing load balancers"):
        create(elbv2, Scheme="internet-facing",
               SubnetMappings=[{"SubnetId": first, "PrivateIPv4Address": "10.0.0.50"}])
    chosen = create(elbv2, SubnetMappings=[{"SubnetId": first, "PrivateIPv4Address": "10.0.0.50"}])
    assert chosen["AvailabilityZones"][0]["LoadBalancerAddresses"] == [
        {"PrivateIPv4Address": "10.0.0.50"}]
    with refused("InvalidSubnet"):
        create(elbv2, SubnetMappings=[{"SubnetId": first, "PrivateIPv4Address": "10.0.0.50"}])
    elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    [left] = ec2.describe_addresses(AllocationIds=[elastic["AllocationId"]])["Addresses"]
    assert "AssociationId" not in left, "the Elastic IP is kept"


def test_what_cannot_be_made(elbv2, papers, place):
    vpc, first, second = place
    same_zone = papers.subnet(vpc, "10.0.2.0/24")
    _, foreign = papers.network("10.9.0.0/16")
    tiny = papers.subnet(vpc, "10.0.3.0/28", "us-east-1c")
    group = papers.group(vpc, "web")
    for options, code, message in [
            ({"Name": "internal-a"}, "ValidationError",
             "Load balancer name 'internal-a' cannot begin with 'internal-'"),
            ({"Name": "a" * 33}, "ValidationError",
             f"Load balancer name '{'a' * 33}' cannot be longer than '32' characters"),
            ({"Subnets": []}, "ValidationError", "At least one subnet must be specified"),
            ({"Subnets": [first, same_zone]}, "InvalidConfigurationRequest",
             "A load balancer cannot be attached to multiple subnets in the same Availability Zone"),
            ({"Subnets": ["subnet-00000000000000007"]}, "SubnetNotFound",
             "The subnet ID 'subnet-00000000000000007' does not exist"),
            ({"SecurityGroups": ["sg-00000000000000007"]}, "InvalidSecurityGroup", None),
            ({"Tags": [{"Key": "a", "Value": ""}] * 2}, "DuplicateTagKeys", None),
            ({"Scheme": "public"}, "ValidationError", "…Member must satisfy enum value set"),
            ({"Type": "gateway"}, "UnsupportedOperation",
             "Enid does not implement the value 'gateway' of the parameter Type of "
             "CreateLoadBalancer."),
            ({"IpAddressType": "dualstack"}, "InvalidSubnet",
             "You must specify subnets with an associated IPv6 CIDR block: "
             f"'{first}' has none"),
            ({"IpAddressType": "dualstack-without-public-ipv4"}, "UnsupportedOperation", None),
            ({"EnablePrefixForIpv6SourceNat": "on"}, "UnsupportedOperation", None)]:
        with refused(code, message):
            create(elbv2, first, **options)
    with refused("InvalidSubnet"):
        create(elbv2, second, foreign)
    with refused("UnsupportedOperation", "Enid does not implement the value 'application' of the "
                 "parameter Type of CreateLoadBalancer."):
        elbv2.create_load_balancer(Name=name(), Subnets=[first])
    papers.internet(vpc)
    balancer = create(elbv2, tiny, Scheme="internet-facing", SecurityGroups=[group])
    assert balancer["SecurityGroups"] == [group]
    assert balancer["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == "on"
    for _ in range(3):
        create(elbv2, tiny)
    with refused("InvalidSubnet", f"Not enough IP space available in {tiny}. ELB requires at least "
                 "8 free IP addresses in each subnet."):
        create(elbv2, tiny, Scheme="internet-facing")


def test_zones_and_groups_change(elbv2, ec2, papers, place):
    vpc, first, second = place
    one, two = papers.group(vpc, "one"), papers.group(vpc, "two")
    made = create(elbv2, first, SecurityGroups=[one])
    arn = made["LoadBalancerArn"]
    [before] = nodes(ec2, made)
    done = elbv2.set_subnets(LoadBalancerArn=arn, Subnets=[second, first])
    assert [it["ZoneName"] for it in done["AvailabilityZones"]] == ["us-east-1a", "us-east-1b"]
    assert [it["PrivateIpAddress"] for it in nodes(ec2, made)][0] == before["PrivateIpAddress"]
    done = elbv2.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[two])
    assert done["SecurityGroupIds"] == [two]
    assert [[it["GroupId"] for it in node["Groups"]] for node in nodes(ec2, made)] == [[two]] * 2
    ec2.delete_security_group(GroupId=one)
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=two)
    with refused("InvalidConfigurationRequest"):
        elbv2.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[])
    with refused("UnsupportedOperation"):
        elbv2.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[two],
                                  EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic="off")
    bare = create(elbv2, first)
    with refused("InvalidConfigurationRequest", "You cannot set security groups for a Network Load "
                 "Balancer that was created without security groups"):
        elbv2.set_security_groups(LoadBalancerArn=bare["LoadBalancerArn"], SecurityGroups=[two])
    assert elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4") \
        ["IpAddressType"] == "ipv4"
    with refused("InvalidSubnet"):
        elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="dualstack")
    elbv2.set_subnets(LoadBalancerArn=arn, SubnetMappings=[{"SubnetId": second}])
    assert [it["SubnetId"] for it in nodes(ec2, made)] == [second]


def test_attributes(elbv2, place):
    _, first, _ = place
    arn = create(elbv2, first)["LoadBalancerArn"]
    told = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    assert {it["Key"]: it["Value"] for it in told} == {
        "access_logs.s3.bucket": "", "access_logs.s3.enabled": "false", "access_logs.s3.prefix": "",
        "deletion_protection.enabled": "false",
        "dns_record.client_routing_policy": "any_availability_zone",
        "ipv6.deny_all_igw_traffic": "true", "load_balancing.cross_zone.enabled": "false",
        "secondary_ips.auto_assigned.per_subnet": "0", "zonal_shift.config.enabled": "false"}

    def modify(key, value):
        done = elbv2.modify_load_balancer_attributes(
            LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])
        return {it["Key"]: it["Value"] for it in done["Attributes"]}[key]

    assert modify("load_balancing.cross_zone.enabled", "true") == "true"
    assert modify("deletion_protection.enabled", "true") == "true"
    with refused("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because "
                 "deletion protection is enabled"):
        elbv2.delete_load_balancer(LoadBalancerArn=arn)
    assert modify("deletion_protection.enabled", "false") == "false"
    with refused("UnsupportedOperation", "Enid does not implement the value 'true' of the attribute "
                 "zonal_shift.config.enabled"):
        modify("zonal_shift.config.enabled", "true")
    with refused("InvalidConfigurationRequest", "'access_logs.s3.bucket' must be specified when "
                 "'access_logs.s3.enabled' is true"):
        modify("access_logs.s3.enabled", "true")
    assert modify("access_logs.s3.bucket", "my-logs") == "my-logs"
    assert modify("access_logs.s3.prefix", "web/tls") == "web/tls"
    assert modify("access_logs.s3.enabled", "true") == "true"
    with refused("InvalidConfigurationRequest", "Load balancer attribute key "
                 "'idle_timeout.timeout_seconds' is not supported on load balancers with type "
                 "'network'"):
        modify("idle_timeout.timeout_seconds", "60")
    with refused("ValidationError", "Load balancer attribute key 'colour' is not recognized"):
        modify("colour", "red")


def test_listeners(elbv2, place):
    vpc, first, _ = place
    balancer = create(elbv2, first)
    arn = balancer["LoadBalancerArn"]
    tcp, udp = target_group(elbv2, vpc), target_group(elbv2, vpc, "UDP")
    make = {"LoadBalancerArn": arn, "Protocol": "TCP", "Port": 80, "DefaultActions": forward(tcp)}
    [made] = elbv2.create_listener(**make, Tags=[{"Key": "a", "Value": "b"}])["Listeners"]
    listener = made["ListenerArn"]
    assert listener.startswith(arn.replace(":loadbalancer/", ":listener/") + "/")
    assert made == {
        "ListenerArn": listener, "LoadBalancerArn": arn, "Port": 80, "Protocol": "TCP",
        "DefaultActions": [{
            "Type": "forward", "TargetGroupArn": tcp, "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": tcp, "Weight": 1}]}}]}
    [shown] = elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    assert shown == made
    [group] = elbv2.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
    assert (group["TargetGroupArn"], group["LoadBalancerArns"]) == (tcp, [arn])
    [rule] = elbv2.describe_rules(ListenerArn=listener)["Rules"]
    assert (rule["Priority"], rule["IsDefault"], rule["Conditions"]) == ("default", True, [])
    assert rule["Actions"] == made["DefaultActions"]
    assert elbv2.describe_rules(RuleArns=[rule["RuleArn"]])["Rules"] == [rule]
    with refused("DuplicateListener", "A listener with the specified port already exists."):
        elbv2.create_listener(**make | {"Protocol": "UDP", "DefaultActions": forward(udp)})
    with refused("IncompatibleProtocols"):
        elbv2.create_listener(**make | {"Port": 81, "DefaultActions": forward(udp)})
    with refused("TargetGroupNotFound", f"Target group '{tcp[:-1]}0' not found"
                 if not tcp.endswith("0") else None):
        elbv2.create_listener(**make | {"Port": 81, "DefaultActions": forward(tcp[:-1] + (
            "0" if not tcp.endswith("0") else "1"))})
    for options, code, message in [
            ({"Protocol": "TLS"}, "ValidationError",
             "A certificate must be specified for TLS listeners"),
            ({"Protocol": "HTTP"}, "UnsupportedOperation", None),
            ({"Protocol": "XMPP"}, "ValidationError", "…1 validation error detected: Value 'XMPP'"),
            ({"Port": 70000}, "ValidationError", "…less than or equal to 65535"),
            ({"DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {
                "StatusCode": "200"}}]}, "UnsupportedOperation", None),
            ({"DefaultActions": [{"Type": "forward"}]}, "InvalidLoadBalancerAction", None),
            ({"DefaultActions": forward(tcp) * 2}, "TooManyActions", None)]:
        with refused(code, message):
            elbv2.create_listener(**make | {"Port": 81} | options)
    other = create(elbv2, first)["LoadBalancerArn"]
    with refused("TargetGroupAssociationLimit", "The following target groups cannot be associated "
                 f"with more than one load balancer: {tcp}"):
        elbv2.create_listener(**make | {"LoadBalancerArn": other})
    with refused("ResourceInUse",
                 f"Target group '{tcp}' is currently in use by a listener or a rule"):
        elbv2.delete_target_group(TargetGroupArn=tcp)
    [moved] = elbv2.modify_listener(ListenerArn=listener, Port=53, Protocol="UDP",
                                    DefaultActions=forward(udp))["Listeners"]
    assert (moved["Port"], moved["Protocol"]) == (53, "UDP")
    assert elbv2.describe_listener_attributes(ListenerArn=listener)["Attributes"] == []
    elbv2.delete_target_group(TargetGroupArn=tcp)
    elbv2.delete_listener(ListenerArn=listener)
    for call in [lambda: elbv2.delete_listener(ListenerArn=listener),
                 lambda: elbv2.describe_listeners(ListenerArns=[listener])]:
        with refused("ListenerNotFound", "One or more listeners not found"):
            call()
    with refused("ValidationError", "You must specify either listener ARNs or a load balancer ARN"):
        elbv2.describe_listeners()
    with refused("ValidationError", "'x' is not a valid load balancer ARN"):
        elbv2.describe_listeners(LoadBalancerArn="x")


def test_several_target_groups_share_a_listener(elbv2, place):
    vpc, first, _ = place
    arn = create(elbv2, first)["LoadBalancerArn"]
    groups = [target_group(elbv2, vpc) for _ in range(6)]

    def action(*shares, **sticky):
        return [{"Type": "forward", "Order": 1, "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": group, "Weight": weight} for group, weight in shares],
            "TargetGroupStickinessConfig": {"Enabled": False} | sticky}}]

    listen = {"LoadBalancerArn": arn, "Protocol": "TCP", "Port": 80}
    [made] = elbv2.create_listener(
        **listen, DefaultActions=action((groups[0], 1), (groups[1], 3)))["Listeners"]
    [told] = made["DefaultActions"]
    assert told == {"Type": "forward", "Order": 1, "ForwardConfig": {
        "TargetGroups": [{"TargetGroupArn": groups[0], "Weight": 1},
                         {"TargetGroupArn": groups[1], "Weight": 3}],
        "TargetGroupStickinessConfig": {"Enabled": False}}}
    for shares, code, message in [
            ([(group, 1) for group in groups], "TooManyActions",
             "The maximum number of target groups per action is 5"),
            ([(groups[0], 1)] * 2, "ValidationError", None),
            ([(groups[0], 1000)], "ValidationError",
             "Target group weight '1000' must be between 0 and 999 inclusive")]:
        with refused(code, message):
            elbv2.modify_listener(ListenerArn=made["ListenerArn"], DefaultActions=action(*shares))
    modify = functools.partial(elbv2.modify_listener, ListenerArn=made["ListenerArn"])
    with refused("ValidationError", "Target group stickiness duration '0' must be between 1 and "
                                    "604800 seconds inclusive"):
        modify(DefaultActions=action((groups[0], 1), Enabled=True, DurationSeconds=0))
    [sticky] = modify(DefaultActions=action(
        (groups[0], 1), Enabled=True, DurationSeconds=3600))["Listeners"]
    [told] = sticky["DefaultActions"]
    assert told["ForwardConfig"]["TargetGroupStickinessConfig"] == {
        "Enabled": True, "DurationSeconds": 3600}
    # What says nothing of it takes it away.
    [plain] = modify(DefaultActions=forward(groups[0]))["Listeners"]
    assert "TargetGroupStickinessConfig" not in plain["DefaultActions"][0]["ForwardConfig"]


def test_the_idle_timeout_is_the_listeners(elbv2, place):
    vpc, first, _ = place
    arn = create(elbv2, first)["LoadBalancerArn"]
    [made] = elbv2.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=80,
                                   DefaultActions=forward(target_group(elbv2, vpc)))["Listeners"]
    key, listener = "tcp.idle_timeout.seconds", made["ListenerArn"]
    assert elbv2.describe_listener_attributes(ListenerArn=listener)["Attributes"] == [
        {"Key": key, "Value": "350"}]
    done = elbv2.modify_listener_attributes(ListenerArn=listener,
                                            Attributes=[{"Key": key, "Value": "60"}])
    assert done["Attributes"] == [{"Key": key, "Value": "60"}]
    with refused("InvalidConfigurationRequest",
                 f"'{key}' value '6001' is not valid: it must be between 60 and 6000"):
        elbv2.modify_listener_attributes(ListenerArn=listener,
                                         Attributes=[{"Key": key, "Value": "6001"}])


def test_tags(elbv2, place):
    vpc, first, _ = place
    balancer = create(elbv2, first, Tags=[{"Key": "a", "Value": "1"}])["LoadBalancerArn"]
    group = target_group(elbv2, vpc)
    [listener] = elbv2.create_listener(LoadBalancerArn=balancer, Protocol="TCP", Port=80,
                                       DefaultActions=forward(group))["Listeners"]
    arns = [balancer, group, listener["ListenerArn"]]
    elbv2.add_tags(ResourceArns=arns, Tags=[{"Key": "b", "Value": "2"}])
    elbv2.remove_tags(ResourceArns=[balancer], TagKeys=["a", "never"])
    told = elbv2.describe_tags(ResourceArns=arns)["TagDescriptions"]
    assert told == [{"ResourceArn": arn, "Tags": [{"Key": "b", "Value": "2"}]} for arn in arns]
    with refused("DuplicateTagKeys", "Tag key 'c' was specified more than once"):
        elbv2.add_tags(ResourceArns=arns, Tags=[{"Key": "c", "Value": ""}] * 2)
    with refused("TooManyTags"):
        elbv2.add_tags(ResourceArns=arns,
                       Tags=[{"Key": str(number), "Value": ""} for number in range(50)])
    with refused("ValidationError", "'x' is not a valid resource ARN"):
        elbv2.describe_tags(ResourceArns=["x"])


def test_pages_and_limits(elbv2, place):
    _, first, _ = place
    made = {create(elbv2, first)["LoadBalancerArn"] for _ in range(5)}
    pages = list(elbv2.get_paginator("describe_load_balancers").paginate(
        PaginationConfig={"PageSize": 2}))
    found = [it["LoadBalancerArn"] for page in pages for it in page["LoadBalancers"]]
    assert made <= set(found) and len(found) == len(set(found)) and len(pages) >= 3
    with refused("ValidationError"):
        elbv2.describe_load_balancers(PageSize=401)
    with refused("ValidationError"):
        elbv2.describe_load_balancers(Marker="?")
    limits = elbv2.get_paginator("describe_account_limits").paginate()
    limits = {it["Name"]: it["Max"] for page in limits for it in page["Limits"]}
    assert limits["targets-per-availability-zone-per-network-load-balancer"] == "500"
    assert limits["network-load-balancers"] == "50" and limits["target-groups"] == "3000"


def test_other_partitions(daemon):
    ec2, elbv2 = daemon.client(region="cn-north-1"), daemon.client("elbv2", region="cn-north-1")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = target_group(elbv2, vpc)
    assert group.startswith(f"arn:aws-cn:elasticloadbalancing:cn-north-1:{ACCOUNT}:targetgroup/")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = create(elbv2, subnet)
    assert made["DNSName"].endswith(".elb.cn-north-1.amazonaws.com.cn")
    elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    elbv2.delete_target_group(TargetGroupArn=group)


def test_policies_name_the_balancer(daemon, elbv2, place, tmp_path):
    _, first, _ = place
    made = create(elbv2, first)
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "elasticloadbalancing:Describe*", "Resource": "*"},
        {"Effect": "Allow", "Action": "elasticloadbalancing:AddTags",
         "Resource": f"{PREFIX}:loadbalancer/net/{made['LoadBalancerName']}/*"}]}))
    key = daemon.json("key", "create", "--policy", str(policy))
    keys = {"AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
    holder = daemon.client("elbv2", keys=keys)
    assert holder.describe_load_balancers()["LoadBalancers"]
    tags = [{"Key": "a", "Value": "b"}]
    holder.add_tags(ResourceArns=[made["LoadBalancerArn"]], Tags=tags)
    with refused("AccessDenied", status=403):
        holder.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    other = create(elbv2, first)
    with refused("AccessDenied", status=403):
        holder.add_tags(ResourceArns=[other["LoadBalancerArn"]], Tags=tags)


def test_the_aws_cli(daemon, place):
    vpc, first, _ = place

    def aws(*words):
        done = subprocess.run(
            [sys.executable, str(Path(sys.executable).with_name("aws")), "elbv2", *words,
             "--output", "json"],
            capture_output=True, text=True, timeout=60, env=daemon.aws_environment())
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    [made] = aws("create-load-balancer", "--name", name(), "--type", "network", "--scheme",
                 "internal", "--subnets", first)["LoadBalancers"]
    arn = made["LoadBalancerArn"]
    aws("wait", "load-balancer-available", "--load-balancer-arns", arn)
    [group] = aws("create-target-group", "--name", name(), "--protocol", "TCP", "--port", "80",
                  "--vpc-id", vpc, "--target-type", "ip")["TargetGroups"]
    group = group["TargetGroupArn"]
    aws("register-targets", "--target-group-arn", group, "--targets", "Id=10.0.0.9,Port=8080")
    aws("create-listener", "--load-balancer-arn", arn, "--protocol", "TCP", "--port", "80",
        "--default-actions", f"Type=forward,TargetGroupArn={group}")
    # Nobody checks it here; what is waited for with a datapath is in tests/net/test_health_checks.py.
    [health] = aws("describe-target-health", "--target-group-arn", group)["TargetHealthDescriptions"]
    assert health["Target"] == {"Id": "10.0.0.9", "Port": 8080}
    aws("delete-load-balancer", "--load-balancer-arn", arn)
    aws("wait", "load-balancers-deleted", "--load-balancer-arns", arn)
    aws("delete-target-group", "--target-group-arn", group)
