"""Accounts: two keys of two accounts on one daemon see nothing of each other."""

import pytest

from support.errors import refused

OTHER = "000000000042"


@pytest.fixture(scope="module")
def other(daemon):
    """A client of another account."""
    key = daemon.json("key", "create", "--account", OTHER)
    keys = {"AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
    return daemon.client(keys=keys)


@pytest.fixture
def made(papers):
    """One of each, in the first account."""
    vpc, subnet = papers.network()
    group = papers.group(vpc, "web")
    ec2 = papers.ec2
    eni = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]
    instance = ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
                                 SubnetId=subnet)["Instances"][0]["InstanceId"]
    yield {"vpc": vpc, "subnet": subnet, "group": group, "eni": eni["NetworkInterfaceId"],
           "instance": instance}
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])


def test_ids_of_one_account_name_nothing_in_another(other, made):
    for call, code in [
        (lambda: other.describe_vpcs(VpcIds=[made["vpc"]]), "InvalidVpcID.NotFound"),
        (lambda: other.delete_vpc(VpcId=made["vpc"]), "InvalidVpcID.NotFound"),
        (lambda: other.create_subnet(VpcId=made["vpc"], CidrBlock="10.0.9.0/24"),
         "InvalidVpcID.NotFound"),
        (lambda: other.describe_subnets(SubnetIds=[made["subnet"]]), "InvalidSubnetID.NotFound"),
        (lambda: other.create_network_interface(SubnetId=made["subnet"]),
         "InvalidSubnetID.NotFound"),
        (lambda: other.describe_security_groups(GroupIds=[made["group"]]), "InvalidGroup.NotFound"),
        (lambda: other.delete_security_group(GroupId=made["group"]), "InvalidGroup.NotFound"),
        (lambda: other.describe_network_interfaces(NetworkInterfaceIds=[made["eni"]]),
         "InvalidNetworkInterfaceID.NotFound"),
        (lambda: other.delete_network_interface(NetworkInterfaceId=made["eni"]),
         "InvalidNetworkInterfaceID.NotFound"),
        (lambda: other.describe_instances(InstanceIds=[made["instance"]]),
         "InvalidInstanceID.NotFound"),
        (lambda: other.terminate_instances(InstanceIds=[made["instance"]]),
         "InvalidInstanceID.NotFound"),
        (lambda: other.create_tags(Resources=[made["vpc"]], Tags=[{"Key": "a", "Value": "b"}]),
         "InvalidVpcID.NotFound"),
    ]:
        with refused(code):
            call()


def test_lists_hold_only_what_is_ones_own(ec2, other, made):
    ec2.create_tags(Resources=[made["vpc"]], Tags=[{"Key": "whose", "Value": "mine"}])
    own = [vpc["VpcId"] for vpc in other.describe_vpcs()["Vpcs"]]
    assert made["vpc"] not in own and len(own) == 1, "its default VPC"
    assert other.describe_network_interfaces()["NetworkInterfaces"] == []
    assert other.describe_instances()["Reservations"] == []
    assert other.describe_tags()["Tags"] == []
    groups = other.describe_security_groups()["SecurityGroups"]
    assert {group["VpcId"] for group in groups} == set(own)


def test_each_owns_what_it_makes(ec2, other, made):
    mine = ec2.describe_vpcs(VpcIds=[made["vpc"]])["Vpcs"][0]
    assert mine["OwnerId"] == "123456789012"
    vpc = other.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]
    subnet = other.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24")["Subnet"]
    group = other.create_security_group(VpcId=vpc["VpcId"], GroupName="web", Description="x")
    eni = other.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]
    described = other.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0]
    owners = {vpc["OwnerId"], subnet["OwnerId"], described["OwnerId"], eni["OwnerId"]}
    assert owners == {OTHER}
    assert f":{OTHER}:subnet/" in subnet["SubnetArn"]
    with refused("InvalidVpcID.NotFound"):
        ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])
    other.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    other.delete_security_group(GroupId=group["GroupId"])
    other.delete_subnet(SubnetId=subnet["SubnetId"])
    other.delete_vpc(VpcId=vpc["VpcId"])


def test_a_group_of_another_account_is_no_peer(other, made):
    group = other.create_security_group(GroupName="peer", Description="x")["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1,
                  "UserIdGroupPairs": [{"GroupId": made["group"]}]}
    with refused("InvalidGroup.NotFound"):
        other.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    other.delete_security_group(GroupId=group)


def test_a_key_is_of_its_account(daemon, other):
    key = daemon.json("key", "create", "--account", OTHER)
    keys = {"AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
    vpc = other.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    same = daemon.client(keys=keys)
    assert same.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    same.delete_vpc(VpcId=vpc)
    assert daemon.client("sts", keys=keys).get_caller_identity()["Account"] == OTHER
