"""Writes the data directory of a version, for `test_upgrade.py` to open with later ones.

    ENID_BIN=path/to/the/old/enid python tests/upgrade/write.py 0.1

makes `0.1.tar.xz`, to be committed once, when that version is done. It holds one record of every kind
that the version knows, and `seen.json`: what the version itself said about them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.daemon import Daemon  # noqa: E402 (found by the path above)

IMAGE = "ami-0123456789abcdef0"
TOKEN = "a-call-before-the-upgrade"


def populate(ec2):
    """One of everything; returns what a call with a client token has made."""
    tags = {"Tags": [{"Key": "Name", "Value": "written before"}]}
    vpc = ec2.create_vpc(
        CidrBlock="10.7.0.0/16", AmazonProvidedIpv6CidrBlock=True,
        TagSpecifications=[{"ResourceType": "vpc", **tags}])["Vpc"]["VpcId"]
    ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.8.0.0/16")
    six = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.7.0.0/24", Ipv6CidrBlock=six.replace("/56", "/64"),
        AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    ec2.create_subnet_cidr_reservation(
        SubnetId=subnet, Cidr="10.7.0.64/26", ReservationType="prefix")
    options = ec2.create_dhcp_options(DhcpConfigurations=[
        {"Key": "domain-name", "Values": ["before.example"]}])["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    prefixes = ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=4, AddressFamily="IPv4",
        Entries=[{"Cidr": "198.51.100.0/24", "Description": "one"}])["PrefixList"]["PrefixListId"]
    group = ec2.create_security_group(
        VpcId=vpc, GroupName="web", Description="web")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
         "PrefixListIds": [{"PrefixListId": prefixes}], "UserIdGroupPairs": [{"GroupId": group}]}])
    internet = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    egress = ec2.create_egress_only_internet_gateway(
        VpcId=vpc)["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    default = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    peering = ec2.create_vpc_peering_connection(
        VpcId=vpc, PeerVpcId=default["VpcId"])["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    for destination, target in (
            ({"DestinationCidrBlock": "0.0.0.0/0"}, {"GatewayId": internet}),
            ({"DestinationIpv6CidrBlock": "::/0"}, {"EgressOnlyInternetGatewayId": egress}),
            ({"DestinationPrefixListId": prefixes}, {"NatGatewayId": nat}),
            ({"DestinationCidrBlock": default["CidrBlock"]}, {"VpcPeeringConnectionId": peering})):
        ec2.create_route(RouteTableId=table, **destination, **target)
    acl = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    ec2.create_network_acl_entry(
        NetworkAclId=acl, RuleNumber=100, Protocol="6", RuleAction="allow", Egress=False,
        CidrBlock="0.0.0.0/0", PortRange={"From": 80, "To": 81})
    ec2.create_key_pair(KeyName="alice", KeyType="ed25519")
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={
        "ImageId": IMAGE, "InstanceType": "m5.large", "KeyName": "alice"})
    launch = {"MinCount": 1, "MaxCount": 1, "SubnetId": subnet, "SecurityGroupIds": [group]}
    made = [ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "web"}, **launch),
            ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", UserData="#!/bin/true",
                              ClientToken=TOKEN, **launch)]
    running, stopped = (one["Instances"][0]["InstanceId"] for one in made)
    ec2.stop_instances(InstanceIds=[stopped])
    eni = ec2.create_network_interface(
        SubnetId=subnet, Groups=[group], Ipv6AddressCount=1,
        SecondaryPrivateIpAddressCount=2)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=running, DeviceIndex=1)
    prefixed = ec2.create_network_interface(SubnetId=subnet, Ipv4PrefixCount=1)
    elastic = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=elastic, NetworkInterfaceId=eni)
    ec2.create_tags(Resources=[stopped, prefixed["NetworkInterface"]["NetworkInterfaceId"]], **tags)


# What is asked before and after: the operation and the list of its answer.
DESCRIPTIONS = {
    "describe_addresses": "Addresses",
    "describe_dhcp_options": "DhcpOptions",
    "describe_egress_only_internet_gateways": "EgressOnlyInternetGateways",
    "describe_instances": "Reservations",
    "describe_internet_gateways": "InternetGateways",
    "describe_key_pairs": "KeyPairs",
    "describe_launch_template_versions": "LaunchTemplateVersions",
    "describe_managed_prefix_lists": "PrefixLists",
    "describe_nat_gateways": "NatGateways",
    "describe_network_acls": "NetworkAcls",
    "describe_network_interfaces": "NetworkInterfaces",
    "describe_route_tables": "RouteTables",
    "describe_security_group_rules": "SecurityGroupRules",
    "describe_security_groups": "SecurityGroups",
    "describe_subnets": "Subnets",
    "describe_tags": "Tags",
    "describe_vpc_peering_connections": "VpcPeeringConnections",
    "describe_vpcs": "Vpcs",
}


def seen(ec2):
    """Everything there is to tell, in JSON's words."""
    told = {}
    for operation, member in DESCRIPTIONS.items():
        options = {"Versions": ["$Latest"]} if "versions" in operation else {}
        told[operation] = getattr(ec2, operation)(**options)[member]
    return json.loads(json.dumps(told, default=str))


def main(version):
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(directory, "none").start()
        ec2 = daemon.client()
        populate(ec2)
        (daemon.data / "seen.json").write_text(json.dumps(seen(ec2), indent=1))
        daemon.stop()
        subprocess.run(["tar", "--create", "--xz", "--file", HERE / f"{version}.tar.xz", "--owner=0",
                        "--group=0", "--directory", directory, "data"], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
