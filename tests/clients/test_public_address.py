"""Public addresses that instances are given by themselves, through boto3."""

import pytest

from support.errors import refused


@pytest.fixture
def place(ec2, papers):
    """A VPC with an internet gateway, DNS names and one subnet that gives public addresses."""
    vpc, subnet = papers.network()
    papers.internet(vpc)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    return vpc, subnet


def public(instance):
    return instance.describe().get("PublicIpAddress")


def test_an_address_lives_with_the_run(ec2, papers, place):
    _, subnet = place
    instance = papers.instance(subnet)
    first = public(instance)
    described = instance.describe()
    name = f"ec2-{first.replace('.', '-')}.compute-1.amazonaws.com"
    assert described["PublicDnsName"] == name
    expected = {"IpOwnerId": "amazon", "PublicDnsName": name, "PublicIp": first}
    eni = instance.interface()
    assert eni["Association"] == eni["PrivateIpAddresses"][0]["Association"] == expected
    [shown] = described["NetworkInterfaces"]
    assert shown["Association"] == shown["PrivateIpAddresses"][0]["Association"] == expected
    assert first not in [one["PublicIp"] for one in ec2.describe_addresses()["Addresses"]]
    for filters in [("ip-address", first), ("dns-name", name),
                    ("network-interface.association.public-ip", first)]:
        found = ec2.describe_instances(Filters=[{"Name": filters[0], "Values": [filters[1]]}])
        [reservation] = found["Reservations"]
        assert reservation["Instances"][0]["InstanceId"] == instance.id, filters
    ec2.stop_instances(InstanceIds=[instance.id])
    assert public(instance) is None and instance.describe()["PublicDnsName"] == ""
    assert "Association" not in instance.interface()
    ec2.start_instances(InstanceIds=[instance.id])
    second = public(instance)
    assert second not in (None, first)
    ec2.reboot_instances(InstanceIds=[instance.id])
    assert public(instance) == second
    ec2.terminate_instances(InstanceIds=[instance.id])
    assert public(instance) is None


def test_an_elastic_ip_takes_its_place(ec2, papers, place):
    _, subnet = place
    instance = papers.instance(subnet)
    own = public(instance)
    elastic = papers.address()
    association = ec2.associate_address(AllocationId=elastic["AllocationId"],
                                        InstanceId=instance.id)["AssociationId"]
    assert public(instance) == elastic["PublicIp"]
    # What was the instance's own can be anybody's now.
    papers.address(Address=own)
    ec2.disassociate_address(AssociationId=association)
    assert public(instance) not in (None, own, elastic["PublicIp"])


def test_a_launch_and_an_interface_say_what_they_want(ec2, papers, place):
    vpc, subnet = place
    plain = papers.subnet(vpc, "10.0.1.0/24")

    def launched(subnet, **wish):
        return papers._run({"ImageId": "ami-12345678", "InstanceType": "m5.large", "MinCount": 1,
                            "MaxCount": 1, "NetworkInterfaces": [
                                {"DeviceIndex": 0, "SubnetId": subnet} | wish]})[0]

    assert public(launched(subnet)) and not public(launched(plain))
    assert not public(launched(subnet, AssociatePublicIpAddress=False))
    instance = launched(plain, AssociatePublicIpAddress=True)
    assert public(instance)

    def attribute():
        answer = ec2.describe_network_interface_attribute(
            NetworkInterfaceId=instance.eni, Attribute="associatePublicIpAddress")
        return answer["AssociatePublicIpAddress"]

    assert attribute() is True
    for wish in (False, True):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=instance.eni,
                                               AssociatePublicIpAddress=wish)
        assert attribute() is wish and bool(public(instance)) is wish
    existing = papers.interface(subnet)["NetworkInterfaceId"]
    with refused("InvalidParameterCombination"):
        papers._run({"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1,
                     "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": existing,
                                            "AssociatePublicIpAddress": True}]})


def test_every_instance_of_a_launch_has_another(papers, place):
    _, subnet = place
    instances = papers.launch_together(subnet, 5)
    assert len({public(instance) for instance in instances} - {None}) == 5


def test_instances_of_the_default_vpc_have_one(papers):
    assert public(papers.instance(None)).startswith("198.1")
