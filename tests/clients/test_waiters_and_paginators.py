"""botocore's waiters and paginators, all of them: each works, or its operation is refused by name."""

import botocore
import botocore.exceptions
import botocore.session
import pytest

from support.errors import refused

_LOADER = botocore.session.get_session().get_component("data_loader")
PAGINATORS = _LOADER.load_service_model("ec2", "paginators-1")["pagination"]
WAITERS = _LOADER.load_service_model("ec2", "waiters-2")["waiters"]

# What a waiter of something that Enid has is asked, by what `everything` has made.
WAITED_FOR = {
    "InstanceExists": "InstanceIds", "InstanceRunning": "InstanceIds",
    "InstanceStatusOk": "InstanceIds", "SystemStatusOk": "InstanceIds",
    "ImageAvailable": "ImageIds", "ImageExists": "ImageIds",
    "InternetGatewayExists": "InternetGatewayIds", "KeyPairExists": "KeyNames",
    "NatGatewayAvailable": "NatGatewayIds", "NetworkInterfaceAvailable": "NetworkInterfaceIds",
    "SecurityGroupExists": "GroupIds", "SubnetAvailable": "SubnetIds", "VolumeInUse": "VolumeIds",
    "VpcAvailable": "VpcIds", "VpcExists": "VpcIds",
    "VpcPeeringConnectionExists": "VpcPeeringConnectionIds",
}
# What is waited for when it is stopped, gone or left behind.
ENDED = {
    "InstanceStopped": "InstanceIds", "InstanceTerminated": "InstanceIds",
    "NatGatewayDeleted": "NatGatewayIds", "VolumeAvailable": "VolumeIds",
    "VolumeDeleted": "VolumeIds", "VpcPeeringConnectionDeleted": "VpcPeeringConnectionIds",
}
ASSOCIATIONS = {"SecurityGroupVpcAssociationAssociated", "SecurityGroupVpcAssociationDisassociated"}


@pytest.fixture(scope="module")
def everything(daemon):
    """A network with one of everything that is waited for: ids by the parameter that takes them."""
    ec2 = daemon.client()
    vpc, peer = (ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
                 for number in (1, 2))
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName="g", Description="g")["GroupId"]
    disk = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}
    instance = ec2.run_instances(
        ImageId="ami-0123456789abcdef0", InstanceType="t3.micro", MinCount=1, MaxCount=1,
        SubnetId=subnet, BlockDeviceMappings=[disk])["Instances"][0]
    volumes = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    nat = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=peer)["VpcPeeringConnection"]
    eni = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    prefixes = ec2.create_managed_prefix_list(
        PrefixListName="p", AddressFamily="IPv4", MaxEntries=9,
        Entries=[{"Cidr": f"10.{number}.0.0/16"} for number in range(9)])["PrefixList"]
    ec2.create_key_pair(KeyName="waited-for", KeyType="ed25519")
    return {
        "GroupIds": [group], "ImageIds": [instance["ImageId"]], "KeyNames": ["waited-for"],
        "InstanceIds": [instance["InstanceId"]], "InternetGatewayIds": [gateway],
        "NatGatewayIds": [nat["NatGatewayId"]], "NetworkInterfaceIds": [eni],
        "SubnetIds": [subnet], "VolumeIds": volumes, "VpcIds": [vpc], "peer": peer,
        "list": prefixes["PrefixListId"],
        "VpcPeeringConnectionIds": [peering["VpcPeeringConnectionId"]]}


def waiter(ec2, name):
    found = ec2.get_waiter(botocore.xform_name(name))
    found.config.delay, found.config.max_attempts = 0, 3
    return found


@pytest.mark.parametrize("name", sorted(WAITED_FOR))
def test_what_is_there_is_not_waited_for(ec2, everything, name):
    waiter(ec2, name).wait(**{WAITED_FOR[name]: everything[WAITED_FOR[name]]})


def test_what_has_ended_is_not_waited_for(ec2, everything):
    instances, volumes = everything["InstanceIds"], everything["VolumeIds"]
    ec2.stop_instances(InstanceIds=instances)
    waiter(ec2, "InstanceStopped").wait(InstanceIds=instances)
    with pytest.raises(botocore.exceptions.WaiterError):
        waiter(ec2, "InstanceTerminated").wait(InstanceIds=instances)
    ec2.terminate_instances(InstanceIds=instances)
    waiter(ec2, "InstanceTerminated").wait(InstanceIds=instances)
    waiter(ec2, "VolumeDeleted").wait(VolumeIds=volumes[:1])
    waiter(ec2, "VolumeAvailable").wait(VolumeIds=volumes[1:])
    ec2.delete_volume(VolumeId=volumes[1])
    ec2.delete_nat_gateway(NatGatewayId=everything["NatGatewayIds"][0])
    waiter(ec2, "NatGatewayDeleted").wait(NatGatewayIds=everything["NatGatewayIds"])
    peering = everything["VpcPeeringConnectionIds"]
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering[0])
    waiter(ec2, "VpcPeeringConnectionDeleted").wait(VpcPeeringConnectionIds=peering)


def test_associations_are_waited_for(ec2, everything):
    pair = {"GroupId": everything["GroupIds"][0], "VpcId": everything["peer"]}
    filters = [{"Name": "group-id", "Values": [pair["GroupId"]]}]
    ec2.associate_security_group_vpc(**pair)
    waiter(ec2, "SecurityGroupVpcAssociationAssociated").wait(Filters=filters)
    ec2.disassociate_security_group_vpc(**pair)
    waiter(ec2, "SecurityGroupVpcAssociationDisassociated").wait(Filters=filters)


@pytest.mark.parametrize("name", sorted(set(WAITERS) - set(WAITED_FOR) - set(ENDED) - ASSOCIATIONS))
def test_waiters_of_what_is_not_there_are_refused_by_name(ec2, name):
    operation = WAITERS[name]["operation"]
    required = ec2.meta.service_model.operation_model(operation).input_shape.required_members
    with refused("UnsupportedOperation", f"Enid does not implement the operation {operation}."):
        options = {member: "i-0123456789abcdef0" for member in required}
        getattr(ec2, botocore.xform_name(operation))(**options)


def value_of(shape):
    """Any value that a client lets pass."""
    if shape.type_name == "structure":
        return {name: value_of(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [value_of(shape.member)]
    if shape.type_name in ("integer", "long"):
        return shape.metadata.get("min", 1)
    return {"boolean": True, "timestamp": "2026-01-01T00:00:00Z"}.get(shape.type_name, "x")


@pytest.mark.parametrize("operation", sorted(PAGINATORS))
def test_pages_are_the_whole_or_refused_by_name(ec2, everything, operation):
    options = {"DescribeLaunchTemplateVersions": {"Versions": ["$Latest"]},
               "DescribeStaleSecurityGroups": {"VpcId": everything["VpcIds"][0]},
               "GetManagedPrefixListAssociations": {"PrefixListId": everything["list"]},
               "GetManagedPrefixListEntries": {"PrefixListId": everything["list"]},
               "GetSecurityGroupsForVpc": {"VpcId": everything["VpcIds"][0]}}.get(operation)
    if options is None:
        shape = ec2.meta.service_model.operation_model(operation).input_shape
        options = {member: value_of(shape.members[member]) for member in shape.required_members}
    keys = PAGINATORS[operation]["result_key"]
    keys = keys if isinstance(keys, list) else [keys]
    paginator = ec2.get_paginator(botocore.xform_name(operation))

    def whole(**config):
        pages = list(paginator.paginate(**options, PaginationConfig=config))
        return [[item for page in pages for item in page[key]] for key in keys]

    try:
        all_at_once = whole()
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        assert told["Code"] == "UnsupportedOperation"
        assert told["Message"] == f"Enid does not implement the operation {operation}."
    else:
        assert whole(PageSize=5) == all_at_once
