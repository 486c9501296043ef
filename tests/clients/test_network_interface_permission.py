"""Permissions of other accounts to attach an interface, and interfaces that are lent by them."""

import json

import pytest

from support.errors import refused
from support.lab import Lab

OTHER = "000000000077"
THIRD = "000000000078"
OWNER = "123456789012"
GRANTED = "network-interface-permission."


def client_of(daemon, account, **options):
    key = daemon.json("key", "create", "--account", account)
    return daemon.client(keys={"AWS_ACCESS_KEY_ID": key["access_key_id"],
                               "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}, **options)


@pytest.fixture(scope="module")
def other(daemon):
    """A client of the account that borrows."""
    return client_of(daemon, OTHER)


@pytest.fixture
def theirs(daemon, other):
    """A laboratory of the account that borrows."""
    lab = Lab(daemon, other)
    yield lab
    lab.close()


@pytest.fixture
def place(papers, theirs):
    """An interface of one account, and an instance of the other one in the same zone."""
    vpc, subnet = papers.network()
    eni = papers.interface(subnet, TagSpecifications=[{
        "ResourceType": "network-interface", "Tags": [{"Key": "Name", "Value": "lent"}]}])
    _, far = theirs.network("10.1.0.0/16")
    return vpc, eni, theirs.instance(far)


def permit(ec2, eni, account=OTHER, **options):
    answer = ec2.create_network_interface_permission(
        NetworkInterfaceId=eni, AwsAccountId=account, Permission="INSTANCE-ATTACH", **options)
    return answer["InterfacePermission"]


def attach(client, eni, instance, index=1):
    return client.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance,
                                           DeviceIndex=index)["AttachmentId"]


def described(client, eni):
    [found] = client.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    return found


def permissions(client, **options):
    answer = client.describe_network_interface_permissions(**options)
    return answer["NetworkInterfacePermissions"]


def test_a_permission_is_told_as_it_was_given(ec2, other, place):
    eni = place[1]["NetworkInterfaceId"]
    given = permit(ec2, eni)
    name = given["NetworkInterfacePermissionId"]
    assert name.startswith("eni-perm-")
    assert given == {"NetworkInterfacePermissionId": name, "NetworkInterfaceId": eni,
                     "AwsAccountId": OTHER, "Permission": "INSTANCE-ATTACH",
                     "PermissionState": {"State": "granted"}}
    assert permissions(ec2, NetworkInterfacePermissionIds=[name]) == [given]
    for field, value in [("network-interface-permission-id", name), ("network-interface-id", eni),
                         ("aws-account-id", OTHER), ("permission", "INSTANCE-*")]:
        here = [{"Name": GRANTED + field, "Values": [value]},
                {"Name": GRANTED + "network-interface-id", "Values": [eni]}]
        assert permissions(ec2, Filters=here) == [given], field
        nothing = [{"Name": GRANTED + field, "Values": ["x"]}]
        assert permissions(ec2, Filters=nothing) == []
    services = [{"Name": GRANTED + "aws-service", "Values": ["*"]}]
    assert permissions(ec2, Filters=services) == []
    # The same again is the same; it is the owner's to see.
    assert permit(ec2, eni) == given
    assert permissions(other) == []
    with refused("InvalidNetworkInterfacePermissionID.NotFound"):
        permissions(other, NetworkInterfacePermissionIds=[name])
    deleted = ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name)
    assert deleted["Return"] is True
    with refused("InvalidNetworkInterfacePermissionID.NotFound",
                 f"The network interface permission ID '{name}' does not exist"):
        ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name)


def test_what_cannot_be_permitted_is_refused(ec2, other, place):
    eni = place[1]["NetworkInterfaceId"]
    with refused("MissingParameter", "The request must contain the parameter awsAccountId"):
        ec2.create_network_interface_permission(NetworkInterfaceId=eni,
                                                Permission="INSTANCE-ATTACH")
    with refused("UnsupportedOperation", "…AwsService"):
        ec2.create_network_interface_permission(NetworkInterfaceId=eni, AwsService="lambda",
                                                Permission="INSTANCE-ATTACH")
    with refused("UnsupportedOperation", "…EIP-ASSOCIATE"):
        ec2.create_network_interface_permission(NetworkInterfaceId=eni, AwsAccountId=OTHER,
                                                Permission="EIP-ASSOCIATE")
    with refused("InvalidParameterValue"):
        ec2.create_network_interface_permission(NetworkInterfaceId=eni, AwsAccountId=OTHER,
                                                Permission="INSTANCE-DETACH")
    for account in ("1", "a" * 12, "1234567890123"):
        with refused("InvalidParameterValue", f"…Value ({account}) for parameter awsAccountId"):
            permit(ec2, eni, account)
    with refused("InvalidParameterValue", f"…The account {OWNER} owns"):
        permit(ec2, eni, OWNER)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        permit(ec2, "eni-00000000000000001")
    with refused("InvalidNetworkInterfaceId.Malformed"):
        permit(ec2, "eni-1")
    with refused("InvalidNetworkInterfaceID.NotFound"):
        permit(other, eni, THIRD)
    with refused("InvalidNetworkInterfacePermissionID.Malformed"):
        ec2.delete_network_interface_permission(NetworkInterfacePermissionId="eni-perm-1")
    with refused("DryRunOperation", status=412):
        permit(ec2, eni, DryRun=True)
    assert permissions(ec2) == []
    # To a single account, and one at a time.
    permit(ec2, eni)
    with refused("OperationNotPermitted", "…one account at a time"):
        permit(ec2, eni, THIRD)
    with refused("InvalidParameterValue", "The filter 'network-interface-id' is invalid"):
        permissions(ec2, Filters=[{"Name": "network-interface-id", "Values": [eni]}])


def test_permissions_come_in_pages(ec2, papers):
    _, subnet = papers.network("10.2.0.0/16")
    given = [permit(ec2, papers.interface(subnet)["NetworkInterfaceId"]) for _ in range(7)]
    pages = ec2.get_paginator("describe_network_interface_permissions")
    pages = list(pages.paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["NetworkInterfacePermissions"]) for page in pages] == [5, 2]
    seen = [one for page in pages for one in page["NetworkInterfacePermissions"]]
    assert sorted(seen, key=str) == sorted(given, key=str)
    # The client itself refuses a smaller size.
    with refused("InvalidParameterValue"):
        permissions(ec2, MaxResults=256)
    with refused("InvalidParameterCombination"):
        permissions(ec2, MaxResults=5, NetworkInterfacePermissionIds=[
            given[0]["NetworkInterfacePermissionId"]])


def test_the_borrower_sees_it_from_the_permission_on(ec2, other, place):
    vpc, made, instance = place
    eni = made["NetworkInterfaceId"]
    with refused("InvalidNetworkInterfaceID.NotFound"):
        attach(other, eni, instance.id)
    name = permit(ec2, eni)["NetworkInterfacePermissionId"]
    shown = described(other, eni)
    assert (shown["OwnerId"], shown["VpcId"], shown["Status"]) == (OWNER, vpc, "available")
    assert shown["Groups"] == made["Groups"]
    assert shown["PrivateIpAddress"] == made["PrivateIpAddress"]
    assert shown["TagSet"] == [] and described(ec2, eni)["TagSet"]
    for filters, count in [([("owner-id", OWNER)], 1), ([("owner-id", OTHER)], 1),
                           ([("vpc-id", vpc)], 1), ([("tag:Name", "lent")], 0),
                           ([("status", "available")], 1), ([], 2)]:
        filters = [{"Name": field, "Values": [value]} for field, value in filters]
        found = other.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        assert len(found) == count, filters
    both = [eni, instance.eni]
    found = other.describe_network_interfaces(NetworkInterfaceIds=both)["NetworkInterfaces"]
    assert {one["NetworkInterfaceId"] for one in found} == set(both)
    attribute = other.describe_network_interface_attribute(NetworkInterfaceId=eni,
                                                           Attribute="description")
    assert attribute["Description"] == {"Value": ""}
    # It sees it, and that is all.
    for call in (
            lambda: other.delete_network_interface(NetworkInterfaceId=eni),
            lambda: other.modify_network_interface_attribute(
                NetworkInterfaceId=eni, Description={"Value": "mine"}),
            lambda: other.assign_private_ip_addresses(NetworkInterfaceId=eni,
                                                      SecondaryPrivateIpAddressCount=1),
            lambda: other.create_tags(Resources=[eni], Tags=[{"Key": "a", "Value": "b"}])):
        with refused("InvalidNetworkInterfaceID.NotFound"):
            call()
    with refused("UnsupportedOperation", "…another account"):
        other.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
                            NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": eni}])
    ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        described(other, eni)


def test_both_accounts_see_the_attachment(ec2, other, place):
    _, made, instance = place
    eni = made["NetworkInterfaceId"]
    name = permit(ec2, eni)["NetworkInterfacePermissionId"]
    attachment = attach(other, eni, instance.id)
    mine, their = (described(client, eni)["Attachment"] for client in (ec2, other))
    assert mine["AttachmentId"] == their["AttachmentId"] == attachment
    assert mine["InstanceOwnerId"] == their["InstanceOwnerId"] == OTHER
    assert (mine["DeviceIndex"], mine["Status"]) == (1, "attached")
    assert mine["DeleteOnTermination"] is False
    # Which instance it is concerns its own account only.
    assert "InstanceId" not in mine and their["InstanceId"] == instance.id
    of_instance = [{"Name": "attachment.instance-id", "Values": [instance.id]}]
    found = [client.describe_network_interfaces(Filters=of_instance)["NetworkInterfaces"]
             for client in (ec2, other)]
    assert [len(each) for each in found] == [0, 2]
    by_owner = [{"Name": "attachment.instance-owner-id", "Values": [OTHER]}]
    assert len(ec2.describe_network_interfaces(Filters=by_owner)["NetworkInterfaces"]) == 1
    shown = {each["NetworkInterfaceId"]: each
             for each in instance.lab.ec2.describe_instances(InstanceIds=[instance.id])
             ["Reservations"][0]["Instances"][0]["NetworkInterfaces"]}
    assert {shown[eni]["OwnerId"], shown[instance.eni]["OwnerId"]} == {OWNER, OTHER}
    assert shown[eni]["Attachment"]["AttachmentId"] == attachment
    by_eni = [{"Name": "network-interface.network-interface-id", "Values": [eni]}]
    found = other.describe_instances(Filters=by_eni)["Reservations"]
    assert [one["InstanceId"] for each in found for one in each["Instances"]] == [instance.id]
    # It counts where one interface only would do.
    with refused("InvalidInstanceID"):
        other.modify_instance_attribute(InstanceId=instance.id, SourceDestCheck={"Value": False})
    with refused("InvalidParameterValue", f"Network interface '{eni}' is currently in use."):
        attach(other, eni, instance.id, 2)
    with refused("InvalidParameterValue", f"Network interface '{eni}' is currently in use."):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    with refused("OperationNotPermitted", f"…'{name}'"):
        ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name)
    with refused("OperationNotPermitted"):
        ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name, Force=False)
    # By force the permission goes and the attachment stays.
    ec2.delete_network_interface_permission(NetworkInterfacePermissionId=name, Force=True)
    assert permissions(ec2) == []
    assert described(other, eni)["Attachment"]["AttachmentId"] == attachment
    other.detach_network_interface(AttachmentId=attachment)
    assert described(ec2, eni)["Status"] == "available"
    with refused("InvalidNetworkInterfaceID.NotFound"):
        attach(other, eni, instance.id)


def test_either_account_detaches(daemon, ec2, other, place):
    _, made, instance = place
    eni = made["NetworkInterfaceId"]
    permit(ec2, eni)
    stranger = client_of(daemon, THIRD)
    for client in (ec2, other):
        attachment = attach(other, eni, instance.id)
        with refused("InvalidAttachmentID.NotFound"):
            stranger.detach_network_interface(AttachmentId=attachment)
        with refused("InvalidAttachmentID.NotFound"):
            other.modify_network_interface_attribute(
                NetworkInterfaceId=instance.eni,
                Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
        client.detach_network_interface(AttachmentId=attachment, Force=True)
        for seen in (described(ec2, eni), described(other, eni)):
            assert seen["Status"] == "available" and "Attachment" not in seen


@pytest.mark.parametrize("goes", [False, True])
def test_the_end_of_the_instance(ec2, other, place, goes):
    _, made, instance = place
    eni = made["NetworkInterfaceId"]
    name = permit(ec2, eni)["NetworkInterfacePermissionId"]
    attachment = attach(other, eni, instance.id)
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=eni,
        Attachment={"AttachmentId": attachment, "DeleteOnTermination": goes})
    other.stop_instances(InstanceIds=[instance.id])
    assert described(ec2, eni)["Status"] == "in-use"
    other.start_instances(InstanceIds=[instance.id])
    other.terminate_instances(InstanceIds=[instance.id])
    if goes:
        for client in (ec2, other):
            with refused("InvalidNetworkInterfaceID.NotFound"):
                described(client, eni)
        with refused("InvalidNetworkInterfacePermissionID.NotFound"):
            permissions(ec2, NetworkInterfacePermissionIds=[name])
    else:
        assert described(ec2, eni)["Status"] == described(other, eni)["Status"] == "available"


def test_what_the_owner_does_with_it_meanwhile(ec2, other, papers, place):
    vpc, made, instance = place
    eni = made["NetworkInterfaceId"]
    papers.internet(vpc)
    permit(ec2, eni)
    attach(other, eni, instance.id)
    # As many addresses as the type of the borrower's instance allows: an m5.large ten.
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=9)
    with refused("PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1)
    allocation = papers.address()["AllocationId"]
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=eni)
    [address] = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    assert address["NetworkInterfaceId"] == eni and "InstanceId" not in address
    assert described(other, eni)["Association"]["PublicIp"] == address["PublicIp"]
    group = papers.group(vpc, "other")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[group])
    assert [one["GroupId"] for one in described(other, eni)["Groups"]] == [group]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16",
                     NetworkInterfaceId=eni)

    def route():
        [found] = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return found["Routes"][1]

    assert route()["InstanceOwnerId"] == OTHER and "InstanceId" not in route()
    assert route()["State"] == "active"
    other.stop_instances(InstanceIds=[instance.id])
    assert route()["State"] == "blackhole"
    # Smaller types have no room for what the interface holds.
    with refused("PrivateIpAddressLimitExceeded"):
        other.modify_instance_attribute(InstanceId=instance.id,
                                        InstanceType={"Value": "t3.micro"})
    ec2.delete_route_table(RouteTableId=table)


def test_pages_hold_own_and_lent_ones(ec2, other, papers, theirs):
    _, subnet = papers.network("10.3.0.0/16")
    _, near = theirs.network("10.4.0.0/16")
    lent = [papers.interface(subnet)["NetworkInterfaceId"] for _ in range(6)]
    own = [theirs.interface(near)["NetworkInterfaceId"] for _ in range(6)]
    for eni in lent:
        permit(ec2, eni)
    pages = other.get_paginator("describe_network_interfaces")
    pages = list(pages.paginate(PaginationConfig={"PageSize": 5}))
    seen = [one["NetworkInterfaceId"] for page in pages for one in page["NetworkInterfaces"]]
    assert seen == sorted(lent + own)
    assert [len(page["NetworkInterfaces"]) for page in pages] == [5, 5, 2]
    for eni in lent:
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    left = other.describe_network_interfaces()["NetworkInterfaces"]
    assert {one["NetworkInterfaceId"] for one in left} == set(own)
    assert permissions(ec2) == []


def test_zones_and_regions(daemon, ec2, other, papers, place):
    vpc, _, instance = place
    far = papers.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    eni = papers.interface(far)["NetworkInterfaceId"]
    permit(ec2, eni)
    with refused("InvalidParameterCombination", "You may not attach a network interface to an "
                 "instance if they are not in the same availability zone"):
        attach(other, eni, instance.id)
    with refused("InvalidInstanceID.NotFound"):
        attach(ec2, eni, instance.id)
    key = daemon.json("key", "create", "--account", OTHER)
    elsewhere = daemon.client(region="eu-west-1", keys={
        "AWS_ACCESS_KEY_ID": key["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]})
    with refused("InvalidNetworkInterfaceID.NotFound"):
        described(elsewhere, eni)


def test_a_policy_names_a_lent_interface_by_its_owner(daemon, ec2, place, tmp_path):
    eni, instance = place[1]["NetworkInterfaceId"], place[2]
    permit(ec2, eni)
    of = "arn:aws:ec2:us-east-1:{}:{}/*"
    for account, allowed in [(OTHER, False), (OWNER, True)]:
        statement = {"Effect": "Allow", "Action": "ec2:*NetworkInterface", "Resource": [
            of.format(account, "network-interface"), of.format(OTHER, "instance")]}
        policy = tmp_path / f"{account}.json"
        policy.write_text(json.dumps(
            {"Version": "2012-10-17", "Statement": [statement]}))
        key = daemon.json("key", "create", "--account", OTHER, "--policy", str(policy))
        client = daemon.client(keys={"AWS_ACCESS_KEY_ID": key["access_key_id"],
                                     "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]})
        if allowed:
            client.detach_network_interface(AttachmentId=attach(client, eni, instance.id))
        else:
            with refused("UnauthorizedOperation", status=403):
                attach(client, eni, instance.id)
