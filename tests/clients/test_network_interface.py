"""Network interfaces through boto3, on a daemon that carries no packets."""

import pytest

from support.errors import refused

UNKNOWN = "eni-00000000000000001"


@pytest.fixture
def place(papers):
    return papers.network()


def show(ec2, eni):
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]


def addresses(ec2, eni):
    return [one["PrivateIpAddress"] for one in show(ec2, eni)["PrivateIpAddresses"]]


def create(papers, subnet, **options):
    return papers.interface(subnet, **options)["NetworkInterfaceId"]


def test_shape(ec2, papers, place):
    vpc, subnet = place
    made = papers.interface(subnet, Description="a & b", PrivateIpAddress="10.0.0.9",
                            TagSpecifications=[{"ResourceType": "network-interface",
                                                "Tags": [{"Key": "k", "Value": "v"}]}])
    assert made["Status"] in ("pending", "available")
    shown = show(ec2, made["NetworkInterfaceId"])
    assert {name: shown[name] for name in (
        "Status", "SubnetId", "VpcId", "Description", "PrivateIpAddress", "SourceDestCheck",
        "InterfaceType", "OwnerId", "AvailabilityZone", "RequesterManaged", "PrivateDnsName",
        "TagSet")} == {
        "Status": "available", "SubnetId": subnet, "VpcId": vpc, "Description": "a & b",
        "PrivateIpAddress": "10.0.0.9", "SourceDestCheck": True, "InterfaceType": "interface",
        "OwnerId": "123456789012", "AvailabilityZone": "us-east-1a", "RequesterManaged": False,
        "PrivateDnsName": "ip-10-0-0-9.ec2.internal", "TagSet": [{"Key": "k", "Value": "v"}]}
    assert [one["Primary"] for one in shown["PrivateIpAddresses"]] == [True]
    assert [one["GroupName"] for one in shown["Groups"]] == ["default"]
    assert int(shown["MacAddress"][:2], 16) & 3 == 2, "locally administered, not multicast"
    assert "Attachment" not in shown
    ec2.get_waiter("network_interface_available").wait(
        NetworkInterfaceIds=[made["NetworkInterfaceId"]])


@pytest.mark.parametrize(("options", "code", "words"), [
    ({"PrivateIpAddress": "10.0.1.9"}, "InvalidParameterValue",
     "Address does not fall within the subnet's address range"),
    ({"PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue",
     "Address is in subnet's reserved address range"),
    ({"PrivateIpAddress": "10.0.0.255"}, "InvalidParameterValue",
     "Address is in subnet's reserved address range"),
    ({"PrivateIpAddress": "10.0.0.300"}, "InvalidParameterValue",
     "invalid value for parameter address: 10.0.0.300"),
    ({"PrivateIpAddress": "10.0.0.50"}, "InvalidIPAddress.InUse",
     "The specified address is already in use."),
    ({"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.60", "Primary": True},
                             {"PrivateIpAddress": "10.0.0.61", "Primary": True}]},
     "InvalidParameterCombination", None),
    ({"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.60"}],
      "SecondaryPrivateIpAddressCount": 1}, "InvalidParameterCombination", None),
    ({"Groups": ["sg-00000000000000001"]}, "InvalidGroup.NotFound",
     "The security group 'sg-00000000000000001' does not exist"),
    ({"Groups": ["web"]}, "InvalidGroupId.Malformed", None),
    ({"InterfaceType": "efa"}, "UnsupportedOperation", "…InterfaceType"),
    ({"ClientToken": "x" * 65}, "InvalidParameterValue", None),
])
def test_wrong_creations(ec2, papers, place, options, code, words):
    vpc, subnet = place
    create(papers, subnet, PrivateIpAddress="10.0.0.50")
    with refused(code, words):
        ec2.create_network_interface(SubnetId=subnet, **options)
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    assert len(ec2.describe_network_interfaces(Filters=of_vpc)["NetworkInterfaces"]) == 1


def test_subnet_runs_out_of_addresses(ec2, papers):
    vpc = papers.vpc()
    subnet = papers.subnet(vpc, "10.0.0.0/28")
    made = [papers.interface(subnet)["PrivateIpAddress"] for _ in range(11)]
    assert sorted(made) == sorted(f"10.0.0.{host}" for host in range(4, 15))
    with refused("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough "
                 "free addresses to satisfy the request."):
        papers.interface(subnet)


def test_client_token(ec2, papers, place):
    _, subnet = place
    first = create(papers, subnet, ClientToken="token", Description="d")
    assert create(papers, subnet, ClientToken="token", Description="d") == first
    with refused("IdempotentParameterMismatch"):
        create(papers, subnet, ClientToken="token", Description="other")
    assert create(papers, subnet, ClientToken="Token", Description="d") != first


def test_attributes(ec2, papers, place):
    vpc, subnet = place
    eni = create(papers, subnet)
    groups = [papers.group(vpc, name) for name in ("a", "b")]

    def modify(**options):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, **options)

    modify(Description={"Value": "new"})
    modify(SourceDestCheck={"Value": False})
    modify(Groups=groups)
    shown = show(ec2, eni)
    assert (shown["Description"], shown["SourceDestCheck"]) == ("new", False)
    assert {one["GroupId"] for one in shown["Groups"]} == set(groups)
    for attribute, name, value in (("description", "Description", {"Value": "new"}),
                                   ("sourceDestCheck", "SourceDestCheck", {"Value": False})):
        answer = ec2.describe_network_interface_attribute(NetworkInterfaceId=eni,
                                                          Attribute=attribute)
        assert answer[name] == value
    ec2.reset_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck="true")
    assert show(ec2, eni)["SourceDestCheck"] is True
    with refused("InvalidParameterCombination"):
        modify(Description={"Value": "x"}, SourceDestCheck={"Value": False})
    with refused("InvalidParameterCombination"):
        modify()
    assert show(ec2, eni)["Description"] == "new"
    other_vpc = papers.vpc()
    with refused("InvalidGroup.NotFound"):
        modify(Groups=[papers.default_group(other_vpc)])


def test_secondary_addresses(ec2, papers, place):
    _, subnet = place
    eni = create(papers, subnet, PrivateIpAddress="10.0.0.10")
    other = create(papers, subnet)
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=eni,
                                             PrivateIpAddresses=["10.0.0.20", "10.0.0.21"])
    assert {one["PrivateIpAddress"] for one in answer["AssignedPrivateIpAddresses"]} == {
        "10.0.0.20", "10.0.0.21"}
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    assert len(addresses(ec2, eni)) == 5 and addresses(ec2, eni)[0] == "10.0.0.10"
    with refused("InvalidParameterValue", "[10.0.0.20] assigned, but move is not allowed."):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=other,
                                        PrivateIpAddresses=["10.0.0.30", "10.0.0.20"])
    assert len(addresses(ec2, other)) == 1, "all or nothing"
    ec2.assign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=["10.0.0.20"],
                                    AllowReassignment=True)
    assert "10.0.0.20" in addresses(ec2, other) and "10.0.0.20" not in addresses(ec2, eni)
    with refused("InvalidParameterValue"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=other, AllowReassignment=True,
                                        PrivateIpAddresses=["10.0.0.10"])
    with refused("InvalidParameterValue",
                 f"Some of the specified addresses are not assigned to interface {eni}"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.20"])
    with refused("InvalidParameterValue",
                 "…primary IP address of an interface cannot be unassigned."):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.10"])
    with refused("MissingParameter"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.21"])
    assert "10.0.0.21" not in addresses(ec2, eni)


def test_attach_and_detach(ec2, papers, place):
    vpc, subnet = place
    instance = papers.instance(subnet)
    eni = create(papers, subnet)
    attachment = ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance.id,
                                              DeviceIndex=1)["AttachmentId"]
    shown = show(ec2, eni)
    assert shown["Status"] == "in-use"
    assert {name: shown["Attachment"][name] for name in (
        "AttachmentId", "InstanceId", "DeviceIndex", "Status", "DeleteOnTermination")} == {
        "AttachmentId": attachment, "InstanceId": instance.id, "DeviceIndex": 1,
        "Status": "attached", "DeleteOnTermination": False}
    in_use = f"Network interface '{eni}' is currently in use."
    with refused("InvalidParameterValue", in_use):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    with refused("InvalidParameterValue", in_use):
        ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance.id, DeviceIndex=2)
    spare = create(papers, subnet)
    with refused("InvalidParameterValue", f"Instance '{instance.id}' already has an interface "
                 "attached at device index '1'."):
        ec2.attach_network_interface(NetworkInterfaceId=spare, InstanceId=instance.id,
                                     DeviceIndex=1)
    ec2.attach_network_interface(NetworkInterfaceId=spare, InstanceId=instance.id, DeviceIndex=2)
    with refused("AttachmentLimitExceeded", "Interface count 4 exceeds the limit for m5.large"):
        ec2.attach_network_interface(NetworkInterfaceId=create(papers, subnet),
                                     InstanceId=instance.id, DeviceIndex=3)
    elsewhere = papers.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    ec2.detach_network_interface(AttachmentId=show(ec2, spare)["Attachment"]["AttachmentId"])
    with refused("InvalidParameterCombination", "You may not attach a network interface to an "
                 "instance if they are not in the same availability zone"):
        ec2.attach_network_interface(NetworkInterfaceId=create(papers, elsewhere),
                                     InstanceId=instance.id, DeviceIndex=2)
    primary = show(ec2, instance.eni)["Attachment"]["AttachmentId"]
    with refused("OperationNotPermitted", "The network interface at device index 0 and "
                 "networkCard index 0 cannot be detached."):
        ec2.detach_network_interface(AttachmentId=primary)
    with refused("InvalidAttachmentID.NotFound"):
        ec2.detach_network_interface(AttachmentId="eni-attach-00000000000000001")
    with refused("InvalidInstanceID.NotFound"):
        ec2.attach_network_interface(NetworkInterfaceId=spare, InstanceId="i-00000000000000001",
                                     DeviceIndex=1)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Attachment={
        "AttachmentId": attachment, "DeleteOnTermination": True})
    assert show(ec2, spare)["Status"] == "available"
    ec2.terminate_instances(InstanceIds=[instance.id])
    for gone in (eni, instance.eni):
        with refused("InvalidNetworkInterfaceID.NotFound",
                     f"The networkInterface ID '{gone}' does not exist"):
            show(ec2, gone)


def test_address_limit_of_the_type(ec2, papers, place):
    _, subnet = place
    instance = papers.instance(subnet, InstanceType="t3.nano")  # Two addresses per interface.
    ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni,
                                    SecondaryPrivateIpAddressCount=1)
    with refused("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit."):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni,
                                        SecondaryPrivateIpAddressCount=1)


def test_unknown_ids(ec2):
    words = f"The networkInterface ID '{UNKNOWN}' does not exist"
    for call in (lambda: show(ec2, UNKNOWN),
                 lambda: ec2.delete_network_interface(NetworkInterfaceId=UNKNOWN)):
        with refused("InvalidNetworkInterfaceID.NotFound", words):
            call()
    with refused("InvalidNetworkInterfaceId.Malformed", 'Invalid id: "x" (expecting "eni-...")'):
        show(ec2, "x")
    with refused("InvalidSubnetID.NotFound",
                 "The subnet ID 'subnet-00000000000000001' does not exist"):
        ec2.create_network_interface(SubnetId="subnet-00000000000000001")


# Filter name, and how its value is read from the answer about the interface.
FILTERS = {
    "addresses.primary": lambda eni: "true",
    "addresses.private-ip-address": lambda eni: eni["PrivateIpAddresses"][1]["PrivateIpAddress"],
    "attachment.attachment-id": lambda eni: eni["Attachment"]["AttachmentId"],
    "attachment.delete-on-termination": lambda eni: "false",
    "attachment.device-index": lambda eni: "1",
    "attachment.instance-id": lambda eni: eni["Attachment"]["InstanceId"],
    "attachment.instance-owner-id": lambda eni: eni["OwnerId"],
    "attachment.status": lambda eni: "attached",
    "availability-zone": lambda eni: eni["AvailabilityZone"],
    "availability-zone-id": lambda eni: eni.get("AvailabilityZoneId", "use1-az*"),
    "description": lambda eni: "find m?",
    "group-id": lambda eni: eni["Groups"][0]["GroupId"],
    "interface-type": lambda eni: "interface",
    "mac-address": lambda eni: eni["MacAddress"],
    "network-interface-id": lambda eni: eni["NetworkInterfaceId"],
    "owner-id": lambda eni: eni["OwnerId"],
    "private-dns-name": lambda eni: eni["PrivateDnsName"],
    "private-ip-address": lambda eni: eni["PrivateIpAddress"],
    "requester-managed": lambda eni: "false",
    "source-dest-check": lambda eni: "true",
    "status": lambda eni: "in-use",
    "subnet-id": lambda eni: eni["SubnetId"],
    "tag:wanted": lambda eni: "y*s",
    "tag-key": lambda eni: "wanted",
    "vpc-id": lambda eni: eni["VpcId"],
}


def test_filters(ec2, papers, place):
    """Each filter finds the interface by its value, and does not by another one."""
    vpc, subnet = place
    group = papers.group(vpc, "filtered")
    eni = papers.interface(subnet, group, Description="find me", SecondaryPrivateIpAddressCount=1,
                           TagSpecifications=[{"ResourceType": "network-interface", "Tags": [
                               {"Key": "wanted", "Value": "yes"}]}])["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=papers.instance(subnet).id,
                                 DeviceIndex=1)
    shown = show(ec2, eni)

    def found(*filters):
        wanted = [{"Name": name, "Values": [value]} for name, value in filters]
        answer = ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
        return eni in {one["NetworkInterfaceId"] for one in answer}

    of_vpc = ("vpc-id", vpc)
    wrong = {}
    for name, value in FILTERS.items():
        if not found((name, value(shown))) or not found((name, value(shown)), of_vpc):
            wrong[name] = "not found"
        if found((name, "other"), of_vpc):
            wrong[name] = "found by another value"
    assert wrong == {}
    for name in ("association.public-ip", "association.allocation-id",
                 "ipv6-addresses.ipv6-address", "requester-id"):
        assert not found((name, "x")), "known to AWS, and nothing here has one"
    with refused("InvalidParameterValue", "The filter 'VpcId' is invalid"):
        found(("VpcId", vpc))


def test_pages(ec2, papers, place):
    vpc, subnet = place
    made = {create(papers, subnet) for _ in range(12)}
    paginator = ec2.get_paginator("describe_network_interfaces")
    pages = list(paginator.paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}],
                                    PaginationConfig={"PageSize": 5}))
    seen = [one["NetworkInterfaceId"] for page in pages for one in page["NetworkInterfaces"]]
    assert len(pages) == 3 and len(seen) == 12 and set(seen) == made
