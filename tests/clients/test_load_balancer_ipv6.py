"""Dualstack load balancers and target groups of IPv6 through boto3."""

import ipaddress
import uuid

import pytest

from support.errors import refused


@pytest.fixture(scope="module")
def elbv2(daemon):
    return daemon.client("elbv2")


@pytest.fixture
def place(papers, elbv2, ec2):
    """A VPC with a subnet of both families in each of two zones, and one of IPv4 alone."""
    vpc, first = papers.network()
    second = papers.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    plain = papers.subnet(vpc, "10.0.2.0/24", "us-east-1c")
    ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    [described] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = ipaddress.ip_network(described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    parts = block.subnets(new_prefix=64)
    blocks = {}
    for subnet in (first, second):
        blocks[subnet] = next(parts)
        ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=str(blocks[subnet]))
    yield vpc, first, second, plain, blocks
    mine = [it for it in elbv2.describe_load_balancers()["LoadBalancers"] if it["VpcId"] == vpc]
    for balancer in mine:
        elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    for group in elbv2.describe_target_groups()["TargetGroups"]:
        if group["VpcId"] == vpc:
            elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def name():
    return f"b-{uuid.uuid4().hex[:12]}"


def create(elbv2, *subnets, **options):
    options = {"Name": name(), "Type": "network", "Scheme": "internal",
               "IpAddressType": "dualstack"} | options
    if "SubnetMappings" not in options:
        options = {"Subnets": list(subnets)} | options
    return elbv2.create_load_balancer(**options)["LoadBalancers"][0]


def group_of(elbv2, vpc, **options):
    options = {"Protocol": "TCP", "Port": 80, "IpAddressType": "ipv6", "TargetType": "ip"} | options
    made = elbv2.create_target_group(Name=name(), VpcId=vpc, **options)["TargetGroups"][0]
    return made["TargetGroupArn"]


def listen(elbv2, balancer, group, port=80, protocol="TCP"):
    return elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"], Port=port, Protocol=protocol,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])["Listeners"][0]


def wide(ec2, balancer):
    """The IPv6 addresses of the nodes by zone."""
    path = balancer["LoadBalancerArn"].split(":loadbalancer/")[1]
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "description", "Values": [f"ELB {path}"]}])["NetworkInterfaces"]
    return {it["AvailabilityZone"]: [one["Ipv6Address"] for one in it["Ipv6Addresses"]]
            for it in found}


def test_nodes_have_addresses_of_both_families(elbv2, ec2, place):
    _, first, second, plain, blocks = place
    made = create(elbv2, first, second)
    assert made["IpAddressType"] == "dualstack"
    zones = {"us-east-1a": blocks[first], "us-east-1b": blocks[second]}
    given = wide(ec2, made)
    assert {zone: ipaddress.ip_address(own) in zones[zone]
            for zone, [own] in given.items()} == {zone: True for zone in zones}
    # They are the load balancer's, and nobody else gives it any.
    path = made["LoadBalancerArn"].split(":loadbalancer/")[1]
    [node, *_] = ec2.describe_network_interfaces(
        Filters=[{"Name": "description", "Values": [f"ELB {path}"]}])["NetworkInterfaces"]
    with refused("AuthFailure"):
        ec2.assign_ipv6_addresses(NetworkInterfaceId=node["NetworkInterfaceId"],
                                  Ipv6AddressCount=1)
    # Asked for twice it is there once.
    again = create(elbv2, first, second, Name=made["LoadBalancerName"])
    assert again["LoadBalancerArn"] == made["LoadBalancerArn"]
    with refused("DuplicateLoadBalancerName"):
        create(elbv2, first, second, Name=made["LoadBalancerName"], IpAddressType="ipv4")
    arn = made["LoadBalancerArn"]
    with refused("InvalidSubnet", "You must specify subnets with an associated IPv6 CIDR block: "
                 f"'{plain}' has none"):
        elbv2.set_subnets(LoadBalancerArn=arn, Subnets=[first, second, plain])
    done = elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")
    assert done["IpAddressType"] == "ipv4"
    assert wide(ec2, made) == {zone: [] for zone in zones}
    done = elbv2.set_subnets(LoadBalancerArn=arn, Subnets=[first, second, plain])
    with refused("InvalidSubnet"):
        elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="dualstack")
    done = elbv2.set_subnets(LoadBalancerArn=arn, Subnets=[first, second],
                             IpAddressType="dualstack")
    assert done["IpAddressType"] == "dualstack"
    assert {zone: len(own) for zone, own in wide(ec2, made).items()} == {zone: 1 for zone in zones}


def test_an_address_may_be_asked_for(elbv2, ec2, place):
    _, first, second, _, blocks = place
    mapping = {"SubnetId": first, "IPv6Address": str(blocks[first][0x99])}
    made = create(elbv2, SubnetMappings=[mapping, {"SubnetId": second}])
    [told, nothing] = [it["LoadBalancerAddresses"] for it in made["AvailabilityZones"]]
    assert told == [{"IPv6Address": mapping["IPv6Address"]}] and nothing == []
    assert wide(ec2, made)["us-east-1a"] == [mapping["IPv6Address"]]
    with refused("InvalidSubnet", f"…The IPv6 address '{mapping['IPv6Address']}' cannot be used"):
        create(elbv2, SubnetMappings=[mapping])
    elsewhere = {"SubnetId": first, "IPv6Address": str(blocks[second][0x99])}
    with refused("InvalidSubnet"):
        create(elbv2, SubnetMappings=[elsewhere])
    with refused("ValidationError", "The IPv6 address 'one' is not valid"):
        create(elbv2, SubnetMappings=[{"SubnetId": first, "IPv6Address": "one"}])
    with refused("InvalidConfigurationRequest",
                 "You can specify IPv6 addresses for dualstack load balancers only"):
        create(elbv2, SubnetMappings=[mapping], IpAddressType="ipv4")
    # The address is free again with its load balancer.
    elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    create(elbv2, SubnetMappings=[mapping])


def test_targets_have_addresses_of_their_groups_family(elbv2, ec2, papers, place):
    vpc, first, second, _, blocks = place
    group = group_of(elbv2, vpc)
    described = elbv2.describe_target_groups(TargetGroupArns=[group])["TargetGroups"]
    assert described[0]["IpAddressType"] == "ipv6"
    own = str(blocks[first][0x77])
    elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": own}])
    [told] = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert told["Target"] == {"Id": own, "Port": 80}
    for address, message in [
            ("10.0.0.7", "The IP address '10.0.0.7' is not a valid IPv6 address"),
            ("2001:db8:ffff::1", "The IP address '2001:db8:ffff::1' is not in a subnet of the VPC")]:
        with refused("ValidationError", message):
            elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    with refused("ValidationError", f"The IP address '{own}' is not a valid IPv4 address"):
        elbv2.register_targets(TargetGroupArn=group_of(elbv2, vpc, IpAddressType="ipv4"),
                               Targets=[{"Id": own}])
    for protocol in ("UDP", "TCP_UDP"):
        with refused("InvalidConfigurationRequest",
                     f"Target groups with the {protocol} protocol and the IP address type ipv6 "
                     "need EnablePrefixForIpv6SourceNat, which is not supported"):
            group_of(elbv2, vpc, Protocol=protocol)


def test_listeners_go_with_the_addresses(elbv2, place):
    vpc, first, _, _, _ = place
    ipv6, ipv4 = group_of(elbv2, vpc), group_of(elbv2, vpc, IpAddressType="ipv4")
    udp = group_of(elbv2, vpc, Protocol="UDP", IpAddressType="ipv4")
    narrow = create(elbv2, first, IpAddressType="ipv4")
    path = ipv6.split(":")[-1]
    with refused("InvalidConfigurationRequest", f"Target group '{path}' has the IP address type "
                 "ipv6, which needs a dualstack load balancer"):
        listen(elbv2, narrow, ipv6)
    both = create(elbv2, first)
    needs = ("Listeners with the UDP protocol need EnablePrefixForIpv6SourceNat on dualstack load "
             "balancers, which is not supported")
    with refused("InvalidConfigurationRequest", needs):
        listen(elbv2, both, udp, protocol="UDP")
    listen(elbv2, narrow, udp, protocol="UDP")
    with refused("InvalidConfigurationRequest", needs):
        elbv2.set_ip_address_type(LoadBalancerArn=narrow["LoadBalancerArn"],
                                  IpAddressType="dualstack")
    listen(elbv2, both, ipv4, port=81)
    listener = listen(elbv2, both, ipv6)
    with refused("InvalidConfigurationRequest", f"Target group '{path}' has the IP address type "
                 "ipv6, which needs a dualstack load balancer"):
        elbv2.set_ip_address_type(LoadBalancerArn=both["LoadBalancerArn"], IpAddressType="ipv4")
    elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
    elbv2.set_ip_address_type(LoadBalancerArn=both["LoadBalancerArn"], IpAddressType="ipv4")


def test_the_internet_may_be_kept_away(elbv2, place):
    _, first, _, _, _ = place
    arn = create(elbv2, first)["LoadBalancerArn"]

    def set_to(value):
        done = elbv2.modify_load_balancer_attributes(
            LoadBalancerArn=arn,
            Attributes=[{"Key": "ipv6.deny_all_igw_traffic", "Value": value}])
        return {it["Key"]: it["Value"] for it in done["Attributes"]}["ipv6.deny_all_igw_traffic"]

    told = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    assert {"Key": "ipv6.deny_all_igw_traffic", "Value": "true"} in told
    assert set_to("false") == "false"
    with refused("InvalidConfigurationRequest"):
        set_to("perhaps")
