"""Elastic IP addresses through boto3."""

import pytest

from support.errors import refused

UNKNOWN = "eipalloc-00000000000000001"


@pytest.fixture
def place(ec2, papers):
    """A VPC with an internet gateway and one subnet."""
    vpc, subnet = papers.network()
    papers.internet(vpc)
    return vpc, subnet


def shown(ec2, allocation):
    [address] = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    return address


def interface(ec2, eni):
    answer = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])
    return answer["NetworkInterfaces"][0]


def test_a_life(ec2, papers, place):
    _, subnet = place
    made = ec2.allocate_address(Domain="vpc", TagSpecifications=[
        {"ResourceType": "elastic-ip", "Tags": [{"Key": "a", "Value": "b"}]}])
    allocation = made["AllocationId"]
    assert made["Domain"] == "vpc" and made["PublicIpv4Pool"] == "amazon"
    assert made["NetworkBorderGroup"] == "us-east-1"
    free = {"AllocationId": allocation, "PublicIp": made["PublicIp"], "Domain": "vpc",
            "PublicIpv4Pool": "amazon", "NetworkBorderGroup": "us-east-1",
            "Tags": [{"Key": "a", "Value": "b"}]}
    assert shown(ec2, allocation) == free
    instance = papers.instance(subnet)
    association = ec2.associate_address(AllocationId=allocation, InstanceId=instance.id)
    association = association["AssociationId"]
    assert shown(ec2, allocation) == free | {
        "AssociationId": association, "InstanceId": instance.id,
        "NetworkInterfaceId": instance.eni, "NetworkInterfaceOwnerId": "123456789012",
        "PrivateIpAddress": instance.ip}
    expected = {"AllocationId": allocation, "AssociationId": association,
                "IpOwnerId": "123456789012", "PublicDnsName": "", "PublicIp": made["PublicIp"]}
    eni = interface(ec2, instance.eni)
    assert eni["Association"] == expected
    assert eni["PrivateIpAddresses"][0]["Association"] == expected
    described = instance.describe()
    assert described["PublicIpAddress"] == made["PublicIp"]
    assert described["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == "123456789012"
    with refused("InvalidIPAddress.InUse", f"Address {made['PublicIp']} is in use."):
        ec2.release_address(AllocationId=allocation)
    again = ec2.associate_address(AllocationId=allocation, InstanceId=instance.id,
                                  AllowReassociation=False)
    assert again["AssociationId"] == association, "the same association is no other"
    ec2.disassociate_address(AssociationId=association)
    with refused("InvalidAssociationID.NotFound",
                 f"The association ID '{association}' does not exist"):
        ec2.disassociate_address(AssociationId=association)
    assert "Association" not in interface(ec2, instance.eni)
    assert "PublicIpAddress" not in instance.describe()
    ec2.release_address(AllocationId=allocation)
    with refused("InvalidAllocationID.NotFound",
                 f"The allocation ID '{allocation}' does not exist"):
        ec2.release_address(AllocationId=allocation)


def test_where_an_address_can_be(ec2, papers, place):
    vpc, subnet = place
    allocation = papers.address()["AllocationId"]
    eni = papers.interface(subnet, SecondaryPrivateIpAddressCount=1)
    addresses = [one["PrivateIpAddress"] for one in eni["PrivateIpAddresses"]]
    eni = eni["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=eni)
    assert shown(ec2, allocation)["PrivateIpAddress"] == addresses[0]
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=eni,
                          PrivateIpAddress=addresses[1])
    described = interface(ec2, eni)
    assert "Association" not in described
    assert described["PrivateIpAddresses"][1]["Association"]["AllocationId"] == allocation
    with refused("InvalidParameterValue",
                 f"Some of the specified addresses are not assigned to interface {eni}"):
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=eni,
                              PrivateIpAddress="10.0.0.200")
    elsewhere, far = papers.network("10.1.0.0/16")
    far = papers.interface(far)["NetworkInterfaceId"]
    with refused("Gateway.NotAttached",
                 f"Network {elsewhere} is not attached to any internet gateway"):
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=far)


def test_reassociation(ec2, papers, place):
    _, subnet = place
    first, second = (papers.address()["AllocationId"] for _ in range(2))
    one, two = (papers.interface(subnet)["NetworkInterfaceId"] for _ in range(2))
    association = ec2.associate_address(AllocationId=first, NetworkInterfaceId=one)
    association = association["AssociationId"]
    with refused("Resource.AlreadyAssociated",
                 f"resource {first} is already associated with associate-id {association}"):
        ec2.associate_address(AllocationId=first, NetworkInterfaceId=two, AllowReassociation=False)
    moved = ec2.associate_address(AllocationId=first, NetworkInterfaceId=two)["AssociationId"]
    assert moved != association
    assert "Association" not in interface(ec2, one)
    # The one that the private address has makes room without a word.
    ec2.associate_address(AllocationId=second, NetworkInterfaceId=two)
    assert "AssociationId" not in shown(ec2, first)
    assert interface(ec2, two)["Association"]["AllocationId"] == second


def test_how_addresses_and_targets_are_named(ec2, papers, place):
    _, subnet = place
    made = papers.address()
    allocation, address = made["AllocationId"], made["PublicIp"]
    instance = papers.instance(subnet)
    by_address = "You must specify an allocation id when mapping an address to a VPC instance"
    for options, code, words in [
        ({"PublicIp": address, "InstanceId": instance.id}, "InvalidParameterCombination",
         by_address),
        ({"PublicIp": "198.18.0.1", "InstanceId": instance.id}, "InvalidAddress.NotFound",
         "Address '198.18.0.1' not found."),
        ({"InstanceId": instance.id}, "MissingParameter",
         "Either public IP or allocation id must be specified"),
        ({"AllocationId": allocation, "PublicIp": address, "InstanceId": instance.id},
         "InvalidParameterCombination",
         "You may specify public IP or allocation id, but not both in the same call"),
        ({"AllocationId": allocation}, "MissingParameter",
         "Either an instance id or a network interface id must be specified"),
        ({"AllocationId": allocation, "InstanceId": instance.id,
          "NetworkInterfaceId": instance.eni}, "InvalidParameterCombination",
         "You may specify an instance id or a network interface id, but not both in the same call"),
        ({"AllocationId": UNKNOWN, "InstanceId": instance.id}, "InvalidAllocationID.NotFound",
         f"The allocation ID '{UNKNOWN}' does not exist"),
        ({"AllocationId": allocation, "InstanceId": "i-00000000000000001"},
         "InvalidInstanceID.NotFound", "The instance ID 'i-00000000000000001' does not exist"),
        ({"AllocationId": allocation, "NetworkInterfaceId": "eni-00000000000000001"},
         "InvalidNetworkInterfaceID.NotFound",
         "The networkInterface ID 'eni-00000000000000001' does not exist"),
    ]:
        with refused(code, words):
            ec2.associate_address(**options)
    with refused("InvalidParameterValue",
                 "You must specify an allocation id when releasing a VPC elastic IP address"):
        ec2.release_address(PublicIp=address)
    with refused("InvalidParameterValue", "You must specify an association id when unmapping an "
                 "address from a VPC instance"):
        ec2.disassociate_address(PublicIp=address)
    with refused("InvalidAddress.NotFound"):
        ec2.release_address(AllocationId=allocation, NetworkBorderGroup="us-west-2")
    second = papers.interface(subnet)["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=instance.id, DeviceIndex=1)
    with refused("InvalidInstanceID", f"There are multiple interfaces attached to instance "
                 f"'{instance.id}'. Please specify an interface ID for the operation instead."):
        ec2.associate_address(AllocationId=allocation, InstanceId=instance.id)
    ec2.terminate_instances(InstanceIds=[instance.id])
    with refused("IncorrectInstanceState", f"The terminated instance '{instance.id}' is not in a "
                 "valid state for this operation."):
        ec2.associate_address(AllocationId=allocation, InstanceId=instance.id)


def test_associations_go_with_their_private_address(ec2, papers, place):
    _, subnet = place
    allocation = papers.address()["AllocationId"]
    source = papers.interface(subnet, SecondaryPrivateIpAddressCount=1)
    secondary = source["PrivateIpAddresses"][1]["PrivateIpAddress"]
    source = source["NetworkInterfaceId"]
    target = papers.interface(subnet)["NetworkInterfaceId"]
    association = ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=source,
                                        PrivateIpAddress=secondary)["AssociationId"]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=target, PrivateIpAddresses=[secondary],
                                    AllowReassignment=True)
    moved = shown(ec2, allocation)
    assert (moved["NetworkInterfaceId"], moved["AssociationId"]) == (target, association)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=target, PrivateIpAddresses=[secondary])
    assert "AssociationId" not in shown(ec2, allocation)
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=target)
    ec2.delete_network_interface(NetworkInterfaceId=target)
    assert "AssociationId" not in shown(ec2, allocation)
    instance = papers.instance(subnet)
    ec2.associate_address(AllocationId=allocation, InstanceId=instance.id)
    ec2.stop_instances(InstanceIds=[instance.id])
    assert shown(ec2, allocation)["InstanceId"] == instance.id, "an Elastic IP outlives a stop"
    ec2.terminate_instances(InstanceIds=[instance.id])
    assert "AssociationId" not in shown(ec2, allocation)


def test_filters(ec2, papers, place):
    _, subnet = place
    made = [papers.address(TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [
        {"Key": "number", "Value": str(number)}]}]) for number in range(3)]
    ids = [one["AllocationId"] for one in made]
    instance = papers.instance(subnet)
    association = ec2.associate_address(AllocationId=ids[0], InstanceId=instance.id)

    def found(name, *values):
        answer = ec2.describe_addresses(Filters=[{"Name": name, "Values": list(values)}])
        return {address["AllocationId"] for address in answer["Addresses"]} & set(ids)

    assert found("allocation-id", *ids[:2]) == set(ids[:2])
    assert found("public-ip", made[1]["PublicIp"]) == {ids[1]}
    assert found("domain", "vpc") == set(ids)
    assert found("network-border-group", "us-east-1") == set(ids)
    assert found("tag:number", "2") == {ids[2]}
    for name, value in [("association-id", association["AssociationId"]),
                        ("instance-id", instance.id), ("network-interface-id", instance.eni),
                        ("network-interface-owner-id", "123456789012"),
                        ("private-ip-address", instance.ip)]:
        assert found(name, value) == {ids[0]}, name
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found("colour", "red")
    answer = ec2.describe_addresses(PublicIps=[made[2]["PublicIp"]])["Addresses"]
    assert [address["AllocationId"] for address in answer] == [ids[2]]
    with refused("InvalidAddress.NotFound", "Address '203.0.113.9' not found."):
        ec2.describe_addresses(PublicIps=["203.0.113.9"])
    with refused("InvalidAllocationID.NotFound", f"The allocation ID '{UNKNOWN}' does not exist"):
        ec2.describe_addresses(AllocationIds=[UNKNOWN])

    def enis(name, value):
        answer = ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])
        return [eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]]

    for name, value in [("association.allocation-id", ids[0]),
                        ("association.association-id", association["AssociationId"]),
                        ("association.public-ip", made[0]["PublicIp"]),
                        ("addresses.association.public-ip", made[0]["PublicIp"])]:
        assert enis(name, value) == [instance.eni], name
    assert instance.eni in enis("association.ip-owner-id", "123456789012")
    assert enis("association.ip-owner-id", "amazon") == []


def test_wanted_addresses_pools_and_border_groups(ec2, papers):
    address = papers.address(Address="198.19.255.7")
    assert address["PublicIp"] == "198.19.255.7"
    for options, code in [({"Address": "198.19.255.7"}, "InvalidAddress.NotFound"),
                          ({"Address": "8.8.8.8"}, "InvalidAddress.NotFound"),
                          ({"Address": "nonsense"}, "InvalidParameterValue"),
                          ({"PublicIpv4Pool": "ipv4pool-ec2-0123"},
                           "InvalidPublicIpv4PoolID.NotFound"),
                          ({"NetworkBorderGroup": "us-west-2"}, "InvalidParameterValue"),
                          ({"CustomerOwnedIpv4Pool": "x"}, "UnsupportedOperation"),
                          ({"IpamPoolId": "ipam-pool-1"}, "UnsupportedOperation")]:
        with refused(code):
            ec2.allocate_address(Domain="vpc", **options)
    papers.address(PublicIpv4Pool="amazon", NetworkBorderGroup="us-east-1")
    assert ec2.describe_public_ipv4_pools()["PublicIpv4Pools"] == []
    with refused("InvalidPublicIpv4PoolID.NotFound"):
        ec2.describe_public_ipv4_pools(PoolIds=["ipv4pool-ec2-0123"])


def test_reverse_names(ec2, papers):
    made = papers.address()
    allocation = made["AllocationId"]
    changed = ec2.modify_address_attribute(AllocationId=allocation, DomainName="mail.example.com")
    named = {"AllocationId": allocation, "PublicIp": made["PublicIp"],
             "PtrRecord": "mail.example.com."}
    assert changed["Address"] == named
    answer = ec2.describe_addresses_attribute(AllocationIds=[allocation], Attribute="domain-name")
    assert answer["Addresses"] == [named]
    with refused("InvalidAddress.Locked"):
        ec2.release_address(AllocationId=allocation)
    with refused("InvalidParameterValue"):
        ec2.modify_address_attribute(AllocationId=allocation, DomainName="-")
    reset = ec2.reset_address_attribute(AllocationId=allocation, Attribute="domain-name")
    assert "PtrRecord" not in reset["Address"]


def test_the_default_vpc_lets_addresses_go(ec2, papers):
    instance = papers.instance(None)
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    before = instance.describe()["PublicIpAddress"]
    ec2.associate_address(AllocationId=allocation, InstanceId=instance.id)
    assert instance.describe()["PublicIpAddress"] != before
    ec2.release_address(AllocationId=allocation)
    described = interface(ec2, instance.eni)
    assert described["Association"]["IpOwnerId"] == "amazon", "it has one of its own again"


def test_the_quota_is_aws_own(start_daemon):
    ec2 = start_daemon("none", config="").client()
    for _ in range(5):
        ec2.allocate_address(Domain="vpc")
    with refused("AddressLimitExceeded", "The maximum number of addresses has been reached."):
        ec2.allocate_address(Domain="vpc")


def test_configured_pools(start_daemon):
    pool = "ipv4pool-ec2-0123456789abcdef0"
    ec2 = start_daemon("none", config=f"""[outside]
pool = "203.0.113.0/24"
[[outside.named_pools]]
id = "{pool}"
cidr = "203.0.113.64/26"
description = "for the office"
""").client()

    def shown():
        [found] = ec2.describe_public_ipv4_pools(PoolIds=[pool])["PublicIpv4Pools"]
        return found

    assert shown() == {
        "PoolId": pool, "Description": "for the office", "NetworkBorderGroup": "us-east-1",
        "PoolAddressRanges": [{"FirstAddress": "203.0.113.64", "LastAddress": "203.0.113.127",
                               "AddressCount": 64, "AvailableAddressCount": 64}],
        "TotalAddressCount": 64, "TotalAvailableAddressCount": 64, "Tags": []}
    made = ec2.allocate_address(Domain="vpc", PublicIpv4Pool=pool)
    assert made["PublicIpv4Pool"] == pool
    assert 64 <= int(made["PublicIp"].rsplit(".")[-1]) < 128
    assert shown()["TotalAvailableAddressCount"] == 63
    with refused("InvalidPublicIpv4PoolID.NotFound"):
        ec2.allocate_address(Domain="vpc", PublicIpv4Pool="ipv4pool-ec2-1")
    other = ec2.allocate_address(Domain="vpc")
    assert other["PublicIpv4Pool"] == "amazon"
    assert not 64 <= int(other["PublicIp"].rsplit(".")[-1]) < 128
    ec2.release_address(AllocationId=made["AllocationId"])
    assert shown()["TotalAvailableAddressCount"] == 64
