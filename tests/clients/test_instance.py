"""Instances through boto3, on a daemon that carries no packets."""

import pytest

from support.errors import refused
from support.lab import IMAGE

UNKNOWN = "i-00000000000000001"


def show(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]


def run(ec2, **options):
    return ec2.run_instances(**({"ImageId": IMAGE, "InstanceType": "t3.micro", "MinCount": 1,
                                 "MaxCount": 1} | options))


def test_shape_and_life(ec2, papers):
    vpc, subnet = papers.network()
    instance = papers.instance(subnet, TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]},
        {"ResourceType": "network-interface", "Tags": [{"Key": "Name", "Value": "web-eth0"}]}])
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance.id])
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[instance.id])
    shown = show(ec2, instance.id)
    assert shown["State"] == {"Code": 16, "Name": "running"}
    assert (shown["ImageId"], shown["InstanceType"]) == (IMAGE, "m5.large")
    assert (shown["VpcId"], shown["SubnetId"]) == (vpc, subnet)
    assert shown["Placement"]["AvailabilityZone"] == "us-east-1a"
    assert shown["Tags"] == [{"Key": "Name", "Value": "web"}]
    [eni] = shown["NetworkInterfaces"]
    assert eni["Attachment"]["DeleteOnTermination"] and eni["Attachment"]["DeviceIndex"] == 0
    assert eni["PrivateIpAddress"] == shown["PrivateIpAddress"]
    assert instance.interface()["TagSet"] == [{"Key": "Name", "Value": "web-eth0"}]

    stopping = ec2.stop_instances(InstanceIds=[instance.id])["StoppingInstances"][0]
    assert stopping["PreviousState"]["Name"] == "running"
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance.id])
    stopped = show(ec2, instance.id)
    assert stopped["State"] == {"Code": 80, "Name": "stopped"}
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert instance.interface()["Status"] == "in-use"
    with refused("IncorrectInstanceState"):
        ec2.reboot_instances(InstanceIds=[instance.id])
    starting = ec2.start_instances(InstanceIds=[instance.id])["StartingInstances"][0]
    assert starting["PreviousState"]["Name"] == "stopped"
    ec2.reboot_instances(InstanceIds=[instance.id])
    ending = ec2.terminate_instances(InstanceIds=[instance.id])["TerminatingInstances"][0]
    assert ending["CurrentState"]["Name"] in ("shutting-down", "terminated")
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance.id])
    assert show(ec2, instance.id)["State"]["Code"] == 48
    ec2.terminate_instances(InstanceIds=[instance.id])  # Idempotent.
    with refused("IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[instance.id])
    with refused("InvalidNetworkInterfaceID.NotFound"):
        instance.interface()


def test_default_subnet(ec2, papers):
    instance = papers.instance(None)
    shown = show(ec2, instance.id)
    [vpc] = ec2.describe_vpcs(VpcIds=[shown["VpcId"]])["Vpcs"]
    assert vpc["IsDefault"] and shown["PrivateIpAddress"].startswith("172.31.")
    other = papers.instance(None, Placement={"AvailabilityZone": "us-east-1b"},
                            SecurityGroups=["default"])
    assert show(ec2, other.id)["Placement"]["AvailabilityZone"] == "us-east-1b"
    with refused("InvalidGroup.NotFound", "…'nonsense'"):
        run(ec2, SecurityGroups=["nonsense"])


@pytest.mark.parametrize(("options", "code", "words"), [
    ({"ImageId": "nonsense"}, "InvalidAMIID.Malformed",
     'Invalid id: "nonsense" (expecting "ami-...")'),
    ({"InstanceType": "m9.enormous"}, "InvalidParameterValue", "…m9.enormous"),
    ({"MinCount": 2}, "InvalidParameterCombination", None),
    ({"MinCount": 0, "MaxCount": 0}, "InvalidParameterValue", None),
    ({"SubnetId": "subnet-00000000000000001"}, "InvalidSubnetID.NotFound", None),
    ({"PrivateIpAddress": "192.0.2.1"}, "InvalidParameterValue",
     "Address 192.0.2.1 does not fall within the subnet's address range"),
    ({"PrivateIpAddress": "10.0.0.50"}, "InvalidIPAddress.InUse", "Address 10.0.0.50 is in use."),
    ({"SecurityGroupIds": ["sg-00000000000000001"]}, "InvalidGroup.NotFound", None),
    ({"UserData": "x" * 16385}, "InvalidParameterValue", None),
    ({"Placement": {"Tenancy": "dedicated"}}, "UnsupportedOperation", "…Tenancy"),
    ({"Ipv6AddressCount": 1}, "InvalidParameterValue", "…does not have an IPv6 CIDR block"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0, "AssociatePublicIpAddress": True},
                            {"DeviceIndex": 1}], "SubnetId": None},
     "InvalidParameterCombination", "The associatePublicIPAddress parameter cannot be specified "
     "when launching with multiple network interfaces."),
    ({"NetworkInterfaces": [{"DeviceIndex": 0}]}, "InvalidParameterCombination", None),
    ({"NetworkInterfaces": [{"DeviceIndex": 1}], "SubnetId": None},
     "InvalidParameterCombination", None),
    ({"IamInstanceProfile": {"Name": "x"}}, "UnsupportedOperation", "…IamInstanceProfile"),
])
def test_wrong_launches(ec2, papers, options, code, words):
    """Nothing half done: no instance, no interface, no address taken."""
    vpc, subnet = papers.network()
    papers.interface(subnet, PrivateIpAddress="10.0.0.50")
    request = {"SubnetId": subnet} | options
    if request["SubnetId"] is None:
        del request["SubnetId"]
        request["NetworkInterfaces"][0]["SubnetId"] = subnet
    with refused(code, words):
        run(ec2, **request)
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    assert ec2.describe_instances(Filters=of_vpc)["Reservations"] == []
    assert len(ec2.describe_network_interfaces(Filters=of_vpc)["NetworkInterfaces"]) == 1


def test_launch_limits_of_the_type(ec2, papers):
    _, subnet = papers.network()
    three = [{"DeviceIndex": index, "SubnetId": subnet} for index in range(3)]
    with refused("AttachmentLimitExceeded", "Interface count 3 exceeds the limit for t3.micro"):
        run(ec2, NetworkInterfaces=three)
    with refused("InvalidInterface.IpAddressLimitExceeded"):
        run(ec2, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet,
                                     "SecondaryPrivateIpAddressCount": 2}])
    taken = papers.instance(subnet)
    with refused("InvalidNetworkInterface.InUse", f"Interface: [{taken.eni}] in use."):
        run(ec2, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": taken.eni}])


def test_client_token(ec2, papers):
    _, subnet = papers.network()
    first = papers.instance(subnet, ClientToken="launch")
    again = run(ec2, InstanceType="m5.large", SubnetId=subnet, ClientToken="launch",
                PrivateIpAddress=first.ip)
    assert [one["InstanceId"] for one in again["Instances"]] == [first.id]
    with refused("IdempotentParameterMismatch"):
        run(ec2, InstanceType="m5.xlarge", SubnetId=subnet, ClientToken="launch")


def test_several_and_their_pages(ec2, papers):
    _, subnet = papers.network()
    made = papers.launch_together(subnet, 12, InstanceType="t3.small")
    assert len({one.ip for one in made}) == 12
    filters = [{"Name": "subnet-id", "Values": [subnet]}]
    pages = list(ec2.get_paginator("describe_instances").paginate(
        Filters=filters, PaginationConfig={"PageSize": 5}))
    seen = [one["InstanceId"] for page in pages for reservation in page["Reservations"]
            for one in reservation["Instances"]]
    assert sorted(seen) == sorted(one.id for one in made)

    def ids(name, *values):
        answer = ec2.describe_instances(Filters=[*filters, {"Name": name, "Values": list(values)}])
        return [one["InstanceId"] for reservation in answer["Reservations"]
                for one in reservation["Instances"]]

    assert ids("private-ip-address", made[3].ip) == [made[3].id]
    assert ids("network-interface.network-interface-id", made[4].eni) == [made[4].id]
    assert ids("instance-state-name", "stopped") == []
    assert len(ids("instance-type", "t3.*")) == 12
    ec2.stop_instances(InstanceIds=[made[0].id])
    assert ids("instance-state-name", "stopped", "stopping") == [made[0].id]
    status = ec2.describe_instance_status(InstanceIds=[made[0].id, made[1].id])
    assert [one["InstanceId"] for one in status["InstanceStatuses"]] == [made[1].id]
    every = ec2.describe_instance_status(InstanceIds=[made[0].id], IncludeAllInstances=True)
    assert every["InstanceStatuses"][0]["InstanceState"]["Name"] == "stopped"


def test_protection(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet, DisableApiTermination=True)
    with refused("OperationNotPermitted", "…disableApiTermination"):
        ec2.terminate_instances(InstanceIds=[instance.id])
    ec2.modify_instance_attribute(InstanceId=instance.id, DisableApiTermination={"Value": False})
    shown = ec2.describe_instance_attribute(InstanceId=instance.id,
                                            Attribute="disableApiTermination")
    assert shown["DisableApiTermination"] == {"Value": False}


def test_unknown_ids(ec2, papers):
    words = f"The instance ID '{UNKNOWN}' does not exist"
    for call in (ec2.describe_instances, ec2.terminate_instances, ec2.stop_instances,
                 ec2.start_instances, ec2.reboot_instances):
        with refused("InvalidInstanceID.NotFound", words):
            call(InstanceIds=[UNKNOWN])
        with refused("InvalidInstanceID.Malformed"):
            call(InstanceIds=["web"])
    with refused("InvalidInstanceID.NotFound", words):
        ec2.get_console_output(InstanceId=UNKNOWN)
    _, subnet = papers.network()
    instance = papers.instance(subnet)
    with refused("InvalidInstanceID.NotFound"):
        ec2.stop_instances(InstanceIds=[instance.id, UNKNOWN])
    assert show(ec2, instance.id)["State"]["Name"] == "running", "all or nothing"


def test_protection_from_stopping(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet, DisableApiStop=True)
    with refused("OperationNotPermitted",
                 f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop'"
                 " instance attribute and try again."):
        ec2.stop_instances(InstanceIds=[instance.id])

    def shown():
        answer = ec2.describe_instance_attribute(InstanceId=instance.id, Attribute="disableApiStop")
        return answer["DisableApiStop"]["Value"]

    assert shown() is True
    ec2.modify_instance_attribute(InstanceId=instance.id, DisableApiStop={"Value": False})
    assert shown() is False
    ec2.stop_instances(InstanceIds=[instance.id])


def test_attributes_by_name_and_their_reset(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet)

    def shown(attribute):
        answer = ec2.describe_instance_attribute(InstanceId=instance.id, Attribute=attribute)
        return answer[attribute[0].upper() + attribute[1:]]["Value"]

    def change(attribute, value, **options):
        ec2.modify_instance_attribute(
            InstanceId=instance.id, Attribute=attribute, Value=value, **options)

    change("disableApiTermination", "true")
    assert shown("disableApiTermination") is True
    change("disableApiTermination", "false")
    change("sourceDestCheck", "false")
    assert instance.interface()["SourceDestCheck"] is False
    ec2.reset_instance_attribute(InstanceId=instance.id, Attribute="sourceDestCheck")
    assert instance.interface()["SourceDestCheck"] is True
    with refused("IncorrectInstanceState"):
        change("instanceType", "m5.xlarge")
    with refused("InvalidParameterValue", "…Expected true or false."):
        change("sourceDestCheck", "perhaps")
    with refused("InvalidParameterCombination"):
        change("sourceDestCheck", "true", SourceDestCheck={"Value": False})
    with refused("UnsupportedOperation", "…Attribute"):
        change("kernel", "aki-1")
    with refused("UnsupportedOperation", "…Attribute"):
        ec2.reset_instance_attribute(InstanceId=instance.id, Attribute="kernel")


def test_monitoring_is_recorded(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet)
    answer = ec2.monitor_instances(InstanceIds=[instance.id])
    assert answer["InstanceMonitorings"] == [
        {"InstanceId": instance.id, "Monitoring": {"State": "enabled"}}]
    assert instance.describe()["Monitoring"]["State"] == "enabled"
    ec2.unmonitor_instances(InstanceIds=[instance.id])
    assert instance.describe()["Monitoring"]["State"] == "disabled"
    with refused("InvalidInstanceID.NotFound"):
        ec2.monitor_instances(InstanceIds=["i-00000000000000001"])


def test_types_are_offered_everywhere(ec2):
    by_type = [{"Name": "instance-type", "Values": ["t3.micro"]}]

    def offered(**options):
        answer = ec2.describe_instance_type_offerings(Filters=by_type, **options)
        return [one["Location"] for one in answer["InstanceTypeOfferings"]]

    assert offered() == ["us-east-1"]
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    assert offered(LocationType="availability-zone") == zones
    at = [{"Name": "location", "Values": ["us-east-1b"]}]
    page = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=at, MaxResults=5)
    assert len(page["InstanceTypeOfferings"]) == 5 and page["NextToken"]
    with refused("UnsupportedOperation", "…LocationType"):
        offered(LocationType="outpost")


@pytest.mark.parametrize("name", ["enid-netns", "enid-tap"])
def test_a_guest_that_enid_does_not_run_is_not_rebooted(ec2, papers, name):
    vpc, subnet = papers.network()
    found = ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
    image = found[0]["ImageId"]
    instance = papers.instance(subnet, ImageId=image)
    assert show(ec2, instance.id)["ImageId"] == image
    with refused("UnsupportedOperation", "…the reboot of a guest that Enid does not run"):
        ec2.reboot_instances(InstanceIds=[instance.id])
    ec2.stop_instances(InstanceIds=[instance.id])
    ec2.start_instances(InstanceIds=[instance.id])
    assert show(ec2, instance.id)["State"]["Name"] in ("pending", "running")
